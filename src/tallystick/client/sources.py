"""Where the files of a log can be read: a mirror by its URL or folder, a node's folder, the file of a chain."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from threading import Lock

import httpx

from tallystick.client.doors import socket_address
from tallystick.client.mirror import Files, Wanted, WebFiles, files_at
from tallystick.host.data_folder import DataFolder


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

    def read(self, wanted: Sequence[Wanted]) -> list[bytes | None]:
        """What the file's reader tells: one after the other, whichever thread asks."""
        with self._turn:
            return self._runner.run(self._read_all(wanted))

    async def _read_all(self, wanted: Sequence[Wanted]) -> list[bytes | None]:
        responses = [(await self._http.get(f"/{path}"), most) for path, most in wanted]
        return [one.content[: most + 1] if one.status_code == httpx.codes.OK else None for one, most in responses]

    def close(self) -> None:
        """Close the file."""
        self._runner.run(self._http.aclose())
        self._runner.run(self._stack.aclose())
        self._runner.close()


def source_at(where: str) -> Files:
    """The files of the log there. Raises `Problem` for what is no place of one, `NotRunning`."""
    path = Path(where).expanduser()
    if "://" not in where and path.is_file():
        return _ChainFiles(path)
    if "://" not in where and DataFolder(path).is_there:
        files = WebFiles("http://tallystick/", httpx.AsyncHTTPTransport(uds=socket_address(path)))
        files.where = str(path)
        return files
    return files_at(where)
