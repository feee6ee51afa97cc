"""A ledger that grows block by block, and its reader, without a node."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.builders import Scribe, keep

from tallystick.api.proving import KeptCheckpoint
from tallystick.api.reader import LedgerReader, Thread
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import AnyCertificate
from tallystick.storage.search_index import Query
from tallystick.storage.store import Store


@dataclass(frozen=True)
class Kept:
    scribe: Scribe
    store: Store
    """That is written to."""
    reader: LedgerReader

    def forge(self, *certificates: AnyCertificate, **changes: Any) -> Block:
        """The next block, kept."""
        block = self.scribe.forge(*certificates, **changes)
        keep(self.store, block, decided=tuple(self.scribe.state.decided.items()))
        return block


async def _find(query: Query, below: int, limit: int) -> tuple[list[int], int]:
    raise AssertionError("nothing is searched")


@asynccontextmanager
async def kept_ledger(folder: Path, scribe: Scribe | None = None) -> AsyncIterator[Kept]:
    """In ledger.db in the folder."""
    scribe, path = scribe or Scribe(), folder / "ledger.db"
    async with AsyncExitStack() as stack:
        store = stack.enter_context(Store.create(path, scribe.genesis))
        read = stack.enter_context(Thread("reads"))
        looked_at = await read.opened(stack, Store.open, path, read_only=True)
        reader = await read(LedgerReader, scribe.chain, looked_at, read, _find, KeptCheckpoint(None))
        yield Kept(scribe, store, reader)
