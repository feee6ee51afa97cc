"""The same questions, answered by the file of a chain that was checked from its genesis on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tallystick.api.app import App, Door
from tallystick.api.reader import LedgerReader
from tallystick.api.routes import Source
from tallystick.integrity.checked_chain import CheckedChain
from tallystick.ledger.block import Block
from tallystick.ledger.certificate_index import Place
from tallystick.storage.file_statement import FileStatement
from tallystick.storage.search_index import Query, SearchIndex
from tallystick.storage.store import Store


class _CheckedReader(LedgerReader):
    """Answers from what the check found, where nothing vouches for an index or table that the file has."""

    def __init__(self, checked: CheckedChain, store: Store) -> None:
        super().__init__(checked.chain, store)
        self._checked = checked

    def stating(self, sha256: bytes) -> list[tuple[FileStatement, Place]]:
        return self._checked.stating(sha256)

    def members_for(self, block: Block) -> Mapping[bytes, int]:
        return dict(self._checked.epoch_of(block.index).members)


@asynccontextmanager
async def open_file(path: Path, on_block: Callable[[int], object] = lambda index: None) -> AsyncIterator[App]:
    """Check the chain in a file, and serve it. Raises `StoreError`, `DamagedStore`."""
    with ThreadPoolExecutor(1, thread_name_prefix="file") as thread, TemporaryDirectory() as scratch:

        async def read(look: Callable[[], Any]) -> Any:
            return await asyncio.get_running_loop().run_in_executor(thread, look)

        indexes: list[SearchIndex] = []

        def find(store: Store, last: int, query: Query, below: int | None, limit: int) -> tuple[list[int], int]:
            if not indexes:  # made when it is asked for, which most who open a file never do
                indexes.append(SearchIndex(Path(scratch) / "search.db", store.genesis.ledger_id))
                while indexes[0].fill(store, last):
                    pass
            return indexes[0].find(query, below, limit), indexes[0].size

        store = await read(partial(Store.open, path, read_only=True))
        try:
            checked = await read(partial(CheckedChain, store, on_block))
            reader = await read(partial(_CheckedReader, checked, store))

            async def search(query: Query, below: int | None, limit: int) -> tuple[list[int], int]:
                found: tuple[list[int], int] = await read(
                    partial(find, store, checked.state.index, query, below, limit)
                )
                return found

            yield App(Source(reader, read, search), Door())
        finally:
            for index in indexes:
                await read(index.close)
            await read(store.close)
