"""Server-sent events: one for each block that becomes final, with the log's size after it as id, to resume from."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from tallystick.api.reader import LedgerReader
from tallystick.api.views import BlockEvent, in_json
from tallystick.ledger.block import Block
from tallystick.node.events import Action, ReportBlock
from tallystick.problems import BadRequest, Busy

_HEARTBEAT_SECONDS: Final = 15.0
_TELLS_A_SECOND: Final = 200
"""After a quiet while listeners hear at once; under load each so seldom that all together cost the node little."""
_MOST_AT_ONCE: Final = 64
_MOST_CACHED: Final = 256
_HEARTBEAT: Final = b": still here\n\n"


class BlockEvents:
    """The final blocks of one ledger, for any number of listeners. `watch` sees all actions of the node."""

    def __init__(self, reader: LedgerReader, most: int) -> None:
        """`most`: listeners at once."""
        self._reader, self._most = reader, most
        self._news = asyncio.Event()
        self._cached: dict[int, asyncio.Task[tuple[bytes, int]]] = {}
        """By block: the event as it is sent, and the log's size after it. It is made once for all that wait for it."""
        self._told_s = 0.0
        self._telling: asyncio.TimerHandle | None = None
        self._is_closing = False
        self._listeners = 0

    def watch(self, action: Action) -> None:
        """See blocks become final."""
        if not isinstance(action, ReportBlock):
            return
        if self._listeners:  # now the block is at hand, and later it would have to be read
            self._start(action.block.index, action.block)
        if self._telling is None:
            loop = asyncio.get_running_loop()
            self._telling = loop.call_at(max(loop.time(), self._told_s + self._listeners / _TELLS_A_SECOND), self._tell)

    def _tell(self) -> None:
        self._told_s, self._telling = asyncio.get_running_loop().time(), None
        news, self._news = self._news, asyncio.Event()
        news.set()

    def close(self) -> None:
        """Let nobody listen any longer."""
        self._is_closing = True
        if self._telling is not None:
            self._telling.cancel()
        self._news.set()

    def after(self, last_event_id: str | None) -> int:
        """The log index to go on from. Raises `BadRequest`, `Busy`."""
        if self._listeners >= self._most:
            raise Busy(f"{self._most} listen already; ask for /v1/log now and then instead")
        size = self._reader.state.log.size
        if last_event_id is None:
            return size
        if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 17):
            raise BadRequest(f"{last_event_id!r} is not the id of an event here: the size of the log")
        return min(int(last_event_id), size)

    async def follow(self, size: int) -> AsyncGenerator[bytes, None]:
        """The events of all blocks after the log had this size, as they come."""
        self._listeners += 1
        try:
            yield _HEARTBEAT
            while not self._is_closing:
                news = self._news
                events: list[bytes] = []
                while size < self._reader.state.log.size and len(events) < _MOST_AT_ONCE:
                    event, size = await self._event(self._reader.at(size).place.block_index)
                    events.append(event)
                if events:
                    yield b"".join(events)
                    continue
                try:
                    async with asyncio.timeout(_HEARTBEAT_SECONDS):
                        await news.wait()
                except TimeoutError:
                    yield _HEARTBEAT
        finally:
            self._listeners -= 1

    async def _event(self, index: int) -> tuple[bytes, int]:
        made = self._cached.get(index)
        if made is None or (made.done() and made.exception() is not None):
            made = self._start(index)
        return made.result() if made.done() else await asyncio.shield(made)

    def _start(self, index: int, block: Block | None = None) -> asyncio.Task[tuple[bytes, int]]:
        made = self._cached[index] = asyncio.create_task(self._make(index, block))
        if len(self._cached) > _MOST_CACHED:
            del self._cached[next(iter(self._cached))]
        return made

    async def _make(self, index: int, block: Block | None) -> tuple[bytes, int]:
        line = await self._reader.line(index, block)
        first = self._reader.first_of(index)
        size = first + line.certificate_count
        told = in_json(BlockEvent(block=line, first_log_index=first, log_size=size))
        return b"id: %d\nevent: block\ndata: %b\n\n" % (size, told), size
