"""The same questions, answered by the file of a chain that was checked from its genesis on."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tallystick.api.app import App, Door
from tallystick.api.reader import Find, LedgerReader, Thread
from tallystick.integrity.checked_chain import CheckedChain
from tallystick.ledger.block import Block
from tallystick.ledger.certificate_index import Place
from tallystick.storage.file_statement import FileStatement
from tallystick.storage.search_index import Query, SearchIndex
from tallystick.storage.store import Store


class _CheckedReader(LedgerReader):
    """Answers from what the check found, where nothing vouches for an index or table that the file has."""

    def __init__(self, checked: CheckedChain, store: Store, read: Thread, find: Find) -> None:
        super().__init__(checked.chain, store, read, find)
        self._checked = checked

    def stating(self, sha256: bytes) -> list[tuple[FileStatement, Place]]:
        return self._checked.stating(sha256)

    def members_for(self, block: Block) -> Mapping[bytes, int]:
        return dict(self._checked.epoch_of(block.index).members)


@asynccontextmanager
async def open_file(path: Path, on_block: Callable[[int], object] = lambda index: None) -> AsyncIterator[App]:
    """Check the chain in a file, and serve it. Raises `StoreError`, `DamagedStore`."""
    async with AsyncExitStack() as stack:
        read = stack.enter_context(Thread("file"))
        store = await read.opened(stack, Store.open, path, read_only=True)
        checked = await read(CheckedChain, store, on_block)
        scratch = Path(stack.enter_context(TemporaryDirectory()))
        indexes: list[SearchIndex] = []

        def find(query: Query, below: int, limit: int) -> tuple[list[int], int]:
            if not indexes:  # made when it is asked for, which most who open a file never do
                indexes.append(SearchIndex(scratch / "search.db", store.genesis.ledger_id))
                while indexes[0].fill(store, checked.state.index):
                    pass
            return indexes[0].find(query, below, limit), indexes[0].size

        def close() -> None:
            for index in indexes:
                index.close()

        async def search(query: Query, below: int, limit: int) -> tuple[list[int], int]:
            return await read(find, query, below, limit)

        stack.push_async_callback(read, close)
        yield App(await read(_CheckedReader, checked, store, read, search), Door())
