"""The same questions, answered by the file of a chain that was checked from its genesis on."""

import asyncio
from collections.abc import AsyncIterator, Callable
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
from tallystick.storage.search_index import Query, SearchIndex
from tallystick.storage.store import Store


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
            reader = await read(partial(LedgerReader, checked.chain, store))

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
