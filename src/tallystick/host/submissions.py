"""What became of certificates that were submitted at this node: unknown, waiting, final or refused."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from tallystick.host.clock import now_ms
from tallystick.ledger.certificate_index import CertificateIndex, Place
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.messages import Entry
from tallystick.node.box_shares import Move
from tallystick.node.events import Action, ForgetCertificate, ReportBlock, ReportRefused
from tallystick.problems import Busy

if TYPE_CHECKING:  # a file's reader does without
    from tallystick.host.runner import Runner

_ROOM_PART: Final = 2
"""Of the box: submissions wait while more than this part of it is full."""
_ROOM_SECONDS: Final = 30.0
_LOOKED_UP_AT_ONCE: Final = 64
"""So many old certificates before others have their turn: each is a read of the file."""
_KEPT_MS: Final = 600_000
_MOST_KEPT: Final = 65_536


class Waiting(NamedTuple):
    """It is legal, kept here, and not final yet."""


Outcome = Place | Waiting | Refused | None
"""A final certificate's place, or why there is none. `None`: not known here; to submit it, also again, is safe."""


async def in_turns(index: CertificateIndex, certificate_ids: Iterable[bytes]) -> AsyncIterator[Sequence[bytes]]:
    """The ids in lots that may be looked up on the event loop; others have their turn in between."""
    for number, some in enumerate(index.in_lots(certificate_ids, _LOOKED_UP_AT_ONCE)):
        if number:
            await asyncio.sleep(0)
        yield some


class Submissions:
    """Submission is idempotent: a certificate is told apart by its id, and once is enough. `watch` sees all actions."""

    def __init__(self, runner: "Runner") -> None:
        self.runner = runner
        self._refused: OrderedDict[bytes, tuple[int, Refused]] = OrderedDict()
        """By id, with the time (ms) when each is forgotten. A bad signature is not here: the id does not cover it."""
        self._waiters: dict[bytes, asyncio.Event] = {}
        """By id, of those that somebody waits or waited for: set when it is settled."""
        self._has_room = asyncio.Event()
        self._is_closing = False
        runner.watchers.append(self.watch)

    async def submit(self, entries: Sequence[Entry], timeout_s: float = 0) -> list[Outcome]:
        """Check the entries and put the legal ones into the node's box, where they are kept; what became of each.

        Waits for those that are taken, as `wait` does. Raises `Busy` when the box has no room for long.
        """
        by_id = {entry.certificate.id: entry for entry in entries}
        box, on_chain = self.runner.node.box, await self._on_chain(by_id)
        fresh = {one: entry for one, entry in by_id.items() if one not in on_chain and one not in box}
        refused = await self._submit_fresh(fresh)
        if timeout_s:
            await self.wait(by_id, timeout_s)
        outcomes = await self.outcomes(by_id.keys() - refused.keys())
        return [refused.get(one.certificate.id) or outcomes[one.certificate.id] for one in entries]

    async def _on_chain(self, ids: Iterable[bytes]) -> set[bytes]:
        """Those that are on the chain."""
        index = self.runner.node.chain.certificate_index
        maybe, on_chain = index.known(ids, 0), set[bytes]()
        async for some in in_turns(index, maybe):
            on_chain |= index.known(some)
        return on_chain

    async def _submit_fresh(self, fresh: dict[bytes, Entry]) -> dict[bytes, Refused]:
        """Submit entries, by id; why those were refused that were."""
        if not fresh:
            return {}
        if not all(isinstance(entry.certificate, Move) for entry in fresh.values()):  # those have a share of their own
            await self._wait_for_room()
        if self._refused:
            for one in fresh:
                self._refused.pop(one, None)
        refusals = await self.runner.submit(fresh.values())
        refused = {one: refusal for one, refusal in zip(fresh, refusals, strict=True) if refusal is not None}
        for one, refusal in refused.items():
            if refusal.rule is not Rule.C1:
                self._note_refused(one, refusal)
        return refused

    async def outcomes(self, certificate_ids: Iterable[bytes]) -> dict[bytes, Outcome]:
        """What became of each of the certificates with these ids, as far as is known here."""
        index = self.runner.node.chain.certificate_index
        return {one: self._outcome(one) async for some in in_turns(index, certificate_ids) for one in some}

    def _outcome(self, certificate_id: bytes) -> Outcome:
        node = self.runner.node
        if certificate_id in node.box:
            return Waiting()
        if (place := node.chain.place_of(certificate_id)) is not None:
            return place
        until_ms, refused = self._refused.get(certificate_id, (0, None))
        return refused if until_ms > now_ms() else None

    async def wait(self, certificate_ids: Iterable[bytes], timeout_s: float) -> None:
        """Wait until none of them is waiting any more, or until the time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for one in certificate_ids:
                    if one in self.runner.node.box and not self._is_closing:
                        await self._waiters.setdefault(one, asyncio.Event()).wait()

    def close(self) -> None:
        """Let nobody wait any longer."""
        self._is_closing = True
        self._has_room.set()
        for settled in self._waiters.values():
            settled.set()

    def watch(self, action: Action) -> None:
        """See what becomes of certificates."""
        match action:
            case ReportRefused(refused, None, certificate_id) if certificate_id is not None:
                self._note_refused(certificate_id, refused)
                self._settled(certificate_id)
            case ReportBlock():
                self._has_room.set()
                for one in [one for one in self._waiters if one not in self.runner.node.box]:
                    self._settled(one)
            case ForgetCertificate(certificate_id):
                self._has_room.set()
                self._settled(certificate_id)

    def _settled(self, certificate_id: bytes) -> None:
        if (settled := self._waiters.pop(certificate_id, None)) is not None:
            settled.set()

    def _note_refused(self, certificate_id: bytes, refused: Refused) -> None:
        now = now_ms()
        self._refused[certificate_id] = now + _KEPT_MS, refused
        self._refused.move_to_end(certificate_id)
        while len(self._refused) > _MOST_KEPT or next(iter(self._refused.values()))[0] <= now:
            self._refused.popitem(last=False)

    async def _wait_for_room(self) -> None:
        node = self.runner.node
        try:
            async with asyncio.timeout(_ROOM_SECONDS):
                while len(node.box) > node.limits.box_certificates // _ROOM_PART:
                    if self._is_closing:
                        raise Busy("this node is about to stop; submit these again when it runs")
                    self._has_room.clear()
                    await self._has_room.wait()
        except TimeoutError:
            raise Busy(f"{len(node.box):,} certificates wait here already; submit these again later") from None
