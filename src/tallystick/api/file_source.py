"""The same questions, answered by the file of a chain that was checked from its genesis on."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tallystick.api.app import App
from tallystick.api.proving import KeptCheckpoint
from tallystick.api.reader import Find, LedgerReader, Thread
from tallystick.integrity.checked_chain import CheckedChain
from tallystick.ledger.block import Block
from tallystick.ledger.certificate_index import Place
from tallystick.ledger.file_statement import FileStatement
from tallystick.storage.search_index import Query, SearchIndex
from tallystick.storage.store import Store


class CheckedReader(LedgerReader):
    """Answers from what the check found, where nothing vouches for an index or table that the file has."""

    def __init__(self, checked: CheckedChain, store: Store, read: Thread, find: Find) -> None:
        super().__init__(checked.chain, store, read, find, KeptCheckpoint(checked.checkpoint))
        self.checked, self.decisions = checked, checked.decisions

    def stating(self, sha256: bytes) -> list[tuple[FileStatement, Place]]:
        return self.checked.stating(sha256)

    def members_for(self, block: Block) -> Mapping[bytes, int]:
        return dict(self.checked.epoch_of(block.index).members)


@asynccontextmanager
async def open_file(path: Path, on_block: Callable[[int], object] = lambda index: None) -> AsyncIterator[App]:
    """Check the chain in a file, and serve it. Raises `StoreError`, `DamagedStore`."""
    async with AsyncExitStack() as stack:
        read = stack.enter_context(Thread("file"))
        store = await read.opened(stack, Store.open, path, read_only=True)
        checked = await read(CheckedChain, store, on_block)
        scratch = Path(stack.enter_context(TemporaryDirectory()))

        @cache  # made when it is asked for, which most who open a file never do
        def index() -> SearchIndex:
            made = SearchIndex(scratch / "search.db", store.genesis.ledger_id)
            stack.push_async_callback(read, made.close)
            while made.fill(store, checked.state.index, {}):
                pass
            return made

        async def find(query: Query, below: int, limit: int) -> tuple[list[int], int]:
            return await read(lambda: (index().find(query, below, limit), index().size))

        yield App(await read(CheckedReader, checked, store, read, find))
