"""Opens a running node's doors, and closes them: the node's own socket, and TCP if its operator wants it."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

from tallystick.api.app import App, TcpDoor
from tallystick.api.live_node import LiveNode
from tallystick.api.proving import LiveCheckpoints
from tallystick.api.reader import Find, LedgerReader, Thread
from tallystick.api.server import Server, listen_remotely, room_for_connections
from tallystick.host.local_socket import listen_locally
from tallystick.host.logs import note
from tallystick.host.process import Hosted
from tallystick.ledger.block import Block
from tallystick.node.events import Action, ErasePayload, PersistPayload, ReportBlock
from tallystick.problems import StoreError
from tallystick.storage.search_index import BLOCKS_AT_ONCE, Query, SearchIndex
from tallystick.storage.store import Store

_PAUSE_SECONDS: Final = 0.02
"""Between two stretches of filling the index: agreement comes first."""
_RETRY_SECONDS: Final = 30.0
"""After the index could not be filled: the disk may have room again."""
_LOW_PRIORITY: Final = 10


@asynccontextmanager
async def open_doors(tcp: TcpDoor | None, hosted: Hosted) -> AsyncIterator[None]:
    """Serve a node until the block is left. Raises `Problem` when a door cannot be opened."""
    folder, chain = hosted.folder, hosted.submissions.runner.node.chain
    async with AsyncExitStack() as stack:
        read = stack.enter_context(Thread("reads"))
        store = await read.opened(stack, Store.open, folder.ledger_path, read_only=True)
        find = await stack.enter_async_context(_search(hosted))
        checkpoints = LiveCheckpoints(hosted.submissions.runner)
        reader = await read(LedgerReader, chain, store, read, find, checkpoints)
        most = room_for_connections()
        node = LiveNode(reader, hosted, most)
        stack.callback(folder.api_path.unlink, missing_ok=True)
        servers = [Server(App(reader, None, node).asgi, listen_locally(folder.api_path), most)]
        stack.push_async_callback(servers[0].stop)
        if tcp is not None:
            listening = listen_remotely(tcp.host, tcp.port)
            servers.append(Server(App(reader, tcp, node).asgi, listening, most, tcp.tls))
            stack.push_async_callback(servers[1].stop)
        for server in servers:
            await server.start()
        stack.callback(node.events.close)
        stack.callback(hosted.submissions.close)
        yield


class _News:
    """What the index has not taken in yet."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.payloads: set[bytes] = set()
        """Hashes of those that came later than their certificates, or were erased."""
        self.recent: dict[int, Block] = {}
        """Blocks that the index lacks, the latest of them, by index: they need not be read."""

    def watch(self, action: Action) -> None:
        """See what the node does."""
        match action:
            case ReportBlock(block):
                self.recent[block.index] = block
                self.recent.pop(block.index - BLOCKS_AT_ONCE, None)
            case PersistPayload(payload):
                self.payloads.add(payload.hash())
            case ErasePayload(payload_hash):
                self.payloads.add(payload_hash)
            case _:
                return
        self.came.set()

    def forget(self, last: int) -> None:
        """Let go of the blocks up to this one, which the index has taken in."""
        for index in [one for one in self.recent if one <= last]:
            del self.recent[index]


@asynccontextmanager
async def _search(hosted: Hosted) -> AsyncIterator[Find]:
    """The index of a running node, on two threads: one looks, another fills."""
    folder, node = hosted.folder, hosted.submissions.runner.node
    news, leaving = _News(), asyncio.Event()
    payloads = news.payloads

    async def find(query: Query, below: int, limit: int) -> tuple[list[int], int]:
        return await look(lambda: (index.find(query, below, limit), index.size))

    async def fill_some() -> bool:
        last = node.state.index
        if await fill(filled.fill, store, last, news.recent.copy()):
            return True
        news.forget(last)
        return False

    async def keep_filling() -> None:
        """Take in what is new, a stretch at a time; before leaving, what payloads came and were erased."""
        while payloads or not leaving.is_set():
            news.came.clear()
            changed = payloads.copy()
            payloads.clear()
            try:
                if changed:
                    await fill(filled.refill, store, changed)
                while not leaving.is_set() and await fill_some():
                    await asyncio.sleep(_PAUSE_SECONDS)
                if not leaving.is_set():
                    await news.came.wait()
            except StoreError as error:
                note(logging.ERROR, "search index", reason=str(error))
                if leaving.is_set():
                    return  # the next start goes on with them
                payloads.update(changed)
                with suppress(TimeoutError):
                    await asyncio.wait_for(leaving.wait(), _RETRY_SECONDS)

    async with AsyncExitStack() as stack:
        look, fill = stack.enter_context(Thread("search")), stack.enter_context(Thread("index"))
        await fill(_give_way)
        store = await fill.opened(stack, Store.open, folder.ledger_path, read_only=True)
        filled = await fill.opened(stack, SearchIndex, folder.search_path, node.chain.ledger_id)
        index = await look.opened(stack, SearchIndex, folder.search_path, node.chain.ledger_id, read_only=True)
        hosted.submissions.runner.watchers.append(news.watch)
        payloads.update(await fill(lambda: [*filled.lacking(), *store.erased()]))
        filling = asyncio.create_task(keep_filling())
        try:
            yield find
        finally:
            leaving.set()
            news.came.set()
            await filling


def _give_way() -> None:
    """Let this thread run when nothing else wants to."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOW_PRIORITY)
