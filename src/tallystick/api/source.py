"""What a ledger is asked, by a running node or of a file that was checked. Each method is a route (`routes.py`)."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

from tallystick.api import questions as q
from tallystick.api import views
from tallystick.api.live_node import LiveNode
from tallystick.api.reader import LedgerReader, LogPlace, page
from tallystick.problems import NotAllowed, NotRunning
from tallystick.storage.search_index import Query

P = ParamSpec("P")
T = TypeVar("T")


class Thread(ThreadPoolExecutor):
    """A thread of its own, for what may take its time."""

    def __init__(self, name: str) -> None:
        super().__init__(1, thread_name_prefix=name)

    async def __call__(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Run this there."""
        return await asyncio.get_running_loop().run_in_executor(self, partial(work, *args, **options))


@dataclass
class Source:
    """A ledger, and its node if that runs."""

    reader: LedgerReader
    read: Thread
    """Runs what reads the store, where that disturbs nobody."""
    find: Callable[[Query, int | None, int], Awaitable[tuple[list[int], int]]] | None = None
    """Searches: the log indexes found, and how many certificates were looked through. `None`: not at this door."""
    node: LiveNode | None = None

    def live(self) -> LiveNode:
        """The node. Raises `NotRunning`."""
        if self.node is None:
            raise NotRunning("a file does not tell this, a running node does; start one with: tallystick run")
        return self.node

    async def ledger(self) -> views.Ledger:
        """The ledger as a whole."""
        return await self.read(self.reader.ledger, self.reader.state)

    async def blocks(self, limit: q.Limit = 50, cursor: q.Cursor = None) -> views.Blocks:
        """Blocks, the newest first."""
        tip = self.reader.state.index
        lines = await self.read(self.reader.blocks, tip if cursor is None else min(tip, cursor), limit)
        first = lines[-1].index
        return views.Blocks(blocks=lines, next=str(first - 1) if first else None)

    async def block(self, index: q.BlockIndex, encoded: q.AsEncoded = False) -> views.Block:
        """One block, with its certificates."""
        return await self.read(self.reader.block, index, self.reader.state, encoded=encoded)

    async def certificate(self, id: q.IdBeginning) -> views.Certificate:
        """One final certificate, by its id or how that begins (8 digits or more)."""
        return await self.read(self.reader.certificate, self.reader.find(id))

    async def log(self, limit: q.Limit = 50, cursor: q.Cursor = None) -> views.Certificates:
        """All certificates in the order of the log, the oldest first."""
        places = self.reader.page(cursor or 0, limit)
        end = (cursor or 0) + len(places)
        following = str(end) if end < self.reader.state.log.size else None
        return views.Certificates(certificates=await self.read(self.reader.lines, places), next=following)

    async def file(
        self, sha256: q.HexInPath, size_bytes: q.SizeBytes = None, limit: q.Limit = 50, cursor: q.Cursor = None
    ) -> views.Found:
        """The certificates whose payloads state a file with this SHA-256."""
        places = await self.read(self.reader.covering, bytes.fromhex(sha256), size_bytes)
        shown, following = page(places, limit, cursor)
        found = [LogPlace(one, self.reader.log_index(one)) for one in shown]
        certificates = await self.read(lambda: [self.reader.certificate(one) for one in found])
        return views.Found(certificates=certificates, next=following)

    async def search(self, question: q.Search) -> views.Certificates:
        """Certificates by words, issuer, kind, media type, file, time and block, the newest first.

        Pages stay as they are while the ledger grows.
        """
        if self.find is None:
            raise NotAllowed("this door lists nobody; look certificates up by their id, or by a file's SHA-256")
        issuer, sha256 = (bytes.fromhex(one) if one else None for one in (question.issuer, question.sha256))
        bounds = question.since_ms, question.until_ms, question.first_block, question.last_block
        query = Query(question.text, question.prefix, issuer, question.kind, question.media_type, sha256, *bounds)
        found, indexed = await self.find(query, question.cursor, question.limit)
        lines = await self.read(self.reader.lines, [self.reader.at(one) for one in found])
        following = str(found[-1]) if len(found) == question.limit else None
        return views.Certificates(certificates=lines, next=following, indexed=indexed)

    async def members(self, limit: q.Limit = 50, cursor: q.Cursor = None) -> views.Members:
        """All accounts, those with most at stake first."""
        shown, following = page(self.reader.members(), limit, cursor)
        return views.Members(members=shown, epoch=self.reader.state.epoch.number, next=following)

    async def member(self, who: q.Who) -> views.MemberAnswer:
        """One account, by the member's name or how its key begins."""
        return views.MemberAnswer(account=self.reader.pick_member(who))

    async def names(self, limit: q.Limit = 50, cursor: q.Cursor = None) -> views.Names:
        """The address book, in the order of the keys."""
        shown, following = page([self.reader.key(one) for one in sorted(self.reader.names)], limit, cursor)
        return views.Names(names=shown, next=following)
