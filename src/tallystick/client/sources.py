"""Where the files of a log can be read: a mirror by its URL or folder, a node's folder, the file of a chain."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import httpx

from tallystick.client.doors import socket_address
from tallystick.client.mirror import Files, Wanted, WebFiles, files_at
from tallystick.host.data_folder import DataFolder

_HERE: Final = "http://tallystick/"


class _NodeFiles(WebFiles):
    """Of a running node, by the socket in its folder."""

    def __init__(self, folder: Path) -> None:
        """Raises `NotRunning`."""
        super().__init__(_HERE, httpx.AsyncHTTPTransport(uds=socket_address(folder)))
        self.where = str(folder)


class _ChainFiles:
    """Of a chain's file, all of which is checked before."""

    def __init__(self, path: Path) -> None:
        """Raises `StoreError`, `DamagedStore`."""
        self.where = str(path)
        self._runner, self._stack = asyncio.Runner(), AsyncExitStack()
        try:
            self._http = self._runner.run(self._opened(path))
        except BaseException:
            self._runner.close()
            raise

    async def _opened(self, path: Path) -> httpx.AsyncClient:
        from tallystick.api.file_source import open_file  # noqa: PLC0415  # who reads a mirror needs none of it

        app = await self._stack.enter_async_context(open_file(path))
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url=_HERE)
        return await self._stack.enter_async_context(http)

    def read(self, wanted: Sequence[Wanted]) -> list[bytes | None]:
        """What the file's reader tells."""
        return [self._runner.run(self._read(path, most)) for path, most in wanted]

    async def _read(self, path: str, most: int) -> bytes | None:
        response = await self._http.get(f"/{path}")
        return response.content[: most + 1] if response.status_code == httpx.codes.OK else None

    def close(self) -> None:
        """Close the file."""
        with self._runner:
            self._runner.run(self._stack.aclose())


def source_at(where: str) -> Files:
    """The files of the log there. Raises `Problem` for what is no place of one."""
    path = Path(where).expanduser()
    if "://" not in where and path.is_file():
        return _ChainFiles(path)
    if "://" not in where and DataFolder(path).is_there:
        return _NodeFiles(path)
    return files_at(where)
