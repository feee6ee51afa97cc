"""Opens a running node's doors, and closes them: the node's own socket, and TCP if its operator wants it."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from tallystick.api.app import App, Door
from tallystick.api.events import BlockEvents
from tallystick.api.live_node import LiveNode
from tallystick.api.rates import REMOTE, Rates
from tallystick.api.reader import LedgerReader, Thread
from tallystick.api.server import Server, Tls, listen_remotely
from tallystick.host.local_socket import listen_locally
from tallystick.host.process import Hosted
from tallystick.node.events import Action, ErasePayload, PersistPayload, ReportBlock
from tallystick.storage.search_index import Query, SearchIndex
from tallystick.storage.store import Store

_PAUSE_SECONDS: Final = 0.02
"""Between two stretches of filling the index: agreement comes first."""
_LOW_PRIORITY: Final = 10


@dataclass(frozen=True)
class TcpDoor:
    """A door for everybody: reads and signed submissions alone."""

    host: str
    port: int
    names: tuple[str, ...] = ()
    """What it is called, besides its address, with or without a port."""
    tls: Tls | None = None
    proxy: str | None = None
    """The address of a proxy in front of it, whose `X-Forwarded-For` counts."""
    lists: bool = False
    """Whether it may be searched, which lists people."""

    @property
    def door(self) -> Door:
        """What the application has to know of it."""
        names = {f"{self.host}:{self.port}", f"localhost:{self.port}", *self.names}
        names |= {f"{name}:{self.port}" for name in self.names}
        hosts = frozenset(name.lower() for name in names)
        return Door(is_local=False, hosts=hosts, rates=Rates(REMOTE, self.proxy), lists=self.lists)


@asynccontextmanager
async def open_doors(tcp: TcpDoor | None, hosted: Hosted) -> AsyncIterator[None]:
    """Serve a node until the block is left. Raises `Problem` when a door cannot be opened."""
    folder, chain = hosted.folder, hosted.submissions.runner.node.chain
    async with AsyncExitStack() as stack:
        read = stack.enter_context(Thread("reads"))
        store = await read(Store.open, folder.ledger_path, read_only=True)
        stack.push_async_callback(read, store.close)
        search = await stack.enter_async_context(_search(hosted))
        reader = await read(LedgerReader, chain, store, read, search.find)
        node, events = LiveNode(reader, hosted), BlockEvents(reader)
        hosted.watchers.extend([events.watch, search.watch])
        servers = [Server(App(reader, Door(), node, events).asgi, listen_locally(folder.api_path))]
        stack.callback(folder.api_path.unlink, missing_ok=True)
        if tcp is not None:
            app = App(reader, tcp.door, node, events)
            servers.append(Server(app.asgi, listen_remotely(tcp.host, tcp.port), tcp.tls))
        for server in servers:
            await server.start()
            stack.push_async_callback(server.stop)
        stack.callback(events.close)
        stack.callback(hosted.submissions.close)
        yield


class _Search:
    """The index of a running node: one thread looks, another fills."""

    def __init__(self, hosted: Hosted, stack: AsyncExitStack) -> None:
        self._hosted, self._stack = hosted, stack
        self._look, self._fill = (stack.enter_context(Thread(name)) for name in ("search", "index"))
        self._news = asyncio.Event()
        self._payloads: set[bytes] = set()

    def watch(self, action: Action) -> None:
        """See what there is to take in."""
        match action:
            case PersistPayload(payload):
                self._payloads.add(payload.hash())
            case ErasePayload(payload_hash):
                self._payloads.add(payload_hash)
        if isinstance(action, ReportBlock | PersistPayload | ErasePayload):
            self._news.set()

    async def find(self, query: Query, below: int | None, limit: int) -> tuple[list[int], int]:
        """As `Find`."""
        return await self._look(lambda: (self._index.find(query, below, limit), self._index.size))

    async def open(self) -> None:
        """Open the index twice: to fill it, and to look into it."""
        folder, ledger_id = self._hosted.folder, self._hosted.submissions.runner.node.chain.ledger_id
        await self._fill(_give_way)
        self._store = await self._fill(Store.open, folder.ledger_path, read_only=True)
        self._stack.push_async_callback(self._fill, self._store.close)
        self._filled = await self._fill(SearchIndex, folder.search_path, ledger_id)
        self._stack.push_async_callback(self._fill, self._filled.close)
        self._index = await self._look(SearchIndex, folder.search_path, ledger_id, read_only=True)
        self._stack.push_async_callback(self._look, self._index.close)
        self._payloads.update(await self._fill(self._filled.lacking))

    async def keep_filling(self) -> None:
        """Take in what is new, a stretch at a time, for ever."""
        node = self._hosted.submissions.runner.node
        while True:
            self._news.clear()
            payloads, self._payloads = self._payloads, set()
            if payloads:
                await self._fill(self._filled.refill, self._store, payloads)
            while await self._fill(self._filled.fill, self._store, node.state.index):
                await asyncio.sleep(_PAUSE_SECONDS)
            await self._news.wait()


@asynccontextmanager
async def _search(hosted: Hosted) -> AsyncIterator[_Search]:
    async with AsyncExitStack() as stack:
        search = _Search(hosted, stack)
        await search.open()
        filling = asyncio.create_task(search.keep_filling())
        try:
            yield search
        finally:
            filling.cancel()
            with suppress(asyncio.CancelledError):
                await filling


def _give_way() -> None:
    """Let this thread run when nothing else wants to."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOW_PRIORITY)
