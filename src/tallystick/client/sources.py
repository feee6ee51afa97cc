"""Where the files of a log can be read: a mirror by its URL or folder, a node's folder, the file of a chain."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from threading import Lock
from typing import Final

import httpx

from tallystick.client.doors import socket_address
from tallystick.client.mirror import Files, WebFiles, files_at
from tallystick.host.data_folder import DataFolder

_PATIENCE_S: Final = 30.0


class _NodeFiles(WebFiles):
    """Of a running node, by the socket in its folder."""

    def __init__(self, folder: Path) -> None:
        """Raises `NotRunning`."""
        address = socket_address(folder)
        super().__init__("http://tallystick/")
        self._http.close()
        self._http = httpx.Client(transport=httpx.HTTPTransport(uds=address), timeout=_PATIENCE_S)
        self.where = str(folder)


class _ChainFiles:
    """Of a chain's file, all of which is checked before."""

    def __init__(self, path: Path) -> None:
        """Raises `StoreError`, `DamagedStore`."""
        from tallystick.api.file_source import open_file  # noqa: PLC0415  # who reads a mirror needs none of it

        self.where = str(path)
        self._runner, self._stack, self._turn = asyncio.Runner(), AsyncExitStack(), Lock()
        try:
            app = self._runner.run(self._stack.enter_async_context(open_file(path)))
        except BaseException:
            self._runner.close()
            raise
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://tallystick")

    def read(self, path: str, most: int) -> bytes | None:
        """What the file's reader tells: one after the other, whichever thread asks."""
        with self._turn:
            response = self._runner.run(self._http.get(f"/{path}"))
        return response.content[: most + 1] if response.status_code == httpx.codes.OK else None

    def close(self) -> None:
        """Close the file."""
        self._runner.run(self._http.aclose())
        self._runner.run(self._stack.aclose())
        self._runner.close()


def source_at(where: str) -> Files:
    """The files of the log there. Raises `Problem` for what is no place of one."""
    path = Path(where).expanduser()
    if "://" not in where and path.is_file():
        return _ChainFiles(path)
    if "://" not in where and DataFolder(path).is_there:
        return _NodeFiles(path)
    return files_at(where)
