"""Server-sent events: one for each block that becomes final, with the log's size after it as id, to resume from."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from tallystick.api.reader import LedgerReader
from tallystick.api.views import BlockEvent, in_json
from tallystick.node.events import Action, ReportBlock
from tallystick.problems import BadRequest, Busy

MOST_LISTENERS: Final = 512
_HEARTBEAT_SECONDS: Final = 15.0
_MOST_CACHED: Final = 256
_HEARTBEAT: Final = b": still here\n\n"


class BlockEvents:
    """The final blocks of one ledger, for any number of listeners. `watch` sees all actions of the node."""

    def __init__(self, reader: LedgerReader) -> None:
        self._reader = reader
        self._news = asyncio.Event()
        self._cached: dict[int, tuple[bytes, int]] = {}
        """By block: the event as it is sent, and the log's size after it."""
        self._is_closing = False
        self._listeners = 0

    def watch(self, action: Action) -> None:
        """See blocks become final."""
        if isinstance(action, ReportBlock):
            self._news.set()
            self._news = asyncio.Event()

    def close(self) -> None:
        """Let nobody listen any longer."""
        self._is_closing = True
        self._news.set()

    def after(self, last_event_id: str | None) -> int:
        """The log index to go on from. Raises `BadRequest`, `Busy`."""
        if self._listeners >= MOST_LISTENERS:
            raise Busy(f"{MOST_LISTENERS} listen already; ask for /v1/log now and then instead")
        size = self._reader.state.log.size
        if last_event_id is None:
            return size
        if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 17):
            raise BadRequest(f"{last_event_id!r} is not the id of an event here: the size of the log")
        return min(int(last_event_id), size)

    async def follow(self, size: int) -> AsyncIterator[bytes]:
        """The events of all blocks after the log had this size, as they come."""
        self._listeners += 1
        try:
            yield _HEARTBEAT
            while not self._is_closing:
                news = self._news
                while size < self._reader.state.log.size:
                    event, size = await self._event(self._reader.at(size).place.block_index)
                    yield event
                try:
                    async with asyncio.timeout(_HEARTBEAT_SECONDS):
                        await news.wait()
                except TimeoutError:
                    yield _HEARTBEAT
        finally:
            self._listeners -= 1

    async def _event(self, index: int) -> tuple[bytes, int]:
        if index not in self._cached:
            (line,) = (await self._reader.blocks(1, index)).blocks
            first = self._reader.first_of(index)
            size = first + line.certificate_count
            told = in_json(BlockEvent(block=line, first_log_index=first, log_size=size))
            self._cached[index] = b"id: %d\nevent: block\ndata: %b\n\n" % (size, told), size
            if len(self._cached) > _MOST_CACHED:
                del self._cached[next(iter(self._cached))]
        return self._cached[index]
