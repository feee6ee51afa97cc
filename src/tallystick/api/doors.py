"""Opens a running node's doors, and closes them: the node's own socket, and TCP if its operator wants it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar

from tallystick.api.app import Door, make_app
from tallystick.api.live_node import LiveNode
from tallystick.api.reader import LedgerReader
from tallystick.api.routes import Source
from tallystick.api.server import Server, listen_locally
from tallystick.host.process import Hosted
from tallystick.storage.store import Store

T = TypeVar("T")


@asynccontextmanager
async def open_doors(hosted: Hosted) -> AsyncIterator[None]:
    """Serve a node until the block is left. Raises `Problem` when a door cannot be opened."""
    folder, runner = hosted.folder, hosted.submissions.runner
    async with AsyncExitStack() as stack:
        thread = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="reads"))

        async def read(look: Callable[[], T]) -> T:
            return await asyncio.get_running_loop().run_in_executor(thread, look)

        store = await read(partial(Store.open, folder.ledger_path, read_only=True))
        stack.push_async_callback(read, store.close)
        reader = await read(partial(LedgerReader, runner.node.chain, store))
        node = LiveNode(hosted.submissions, hosted.wallet, hosted.address, hosted.make_invite)
        server = Server(make_app(Source(reader, read, node), Door.LOCAL), listen_locally(folder.api_path))
        stack.callback(folder.api_path.unlink, missing_ok=True)
        await server.start()
        stack.push_async_callback(server.stop)
        yield
