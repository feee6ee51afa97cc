"""Answers about proofs: at the newest countersigned checkpoint of a running node, or at that of a file."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from tallystick.api import proving_views as views
from tallystick.api import questions as q
from tallystick.api.log_place import LogPlace
from tallystick.host.clock import now_ms
from tallystick.host.submissions import in_turns
from tallystick.ledger.checkpoint import MAX_LOG_LINES
from tallystick.node.checkpoints import Countersigned
from tallystick.node.events import Action, FreshCheckpointAsked
from tallystick.problems import NotRunning, NotThere, NotYet
from tallystick.storage.making import ProofFiles
from tallystick.storage.proving import Prover, signed_note, status_s
from tallystick.storage.store import Store

if TYPE_CHECKING:
    from tallystick.api.reader import LedgerReader, Thread
    from tallystick.host.runner import Runner

_FRESH_S: Final = 60
_WAIT_FRESH_MS: Final = 3_000
"""At least so long for members to countersign anew."""
_YOUNG_S: Final = 2
"""So long after the last cosignature others may still be on their way."""
_MOST_DELTA_MS: Final = 1_000
_AT_ONCE: Final = 32
"""So many proofs are made before others have their turn."""
_MOST_ANSWER_CHARACTERS: Final = 16 * 1024 * 1024
_SOON: Final = "members countersign within seconds, if more than 2/3 of the stake is there; ask again then"
_AT_AN_END: Final = (
    "ask again when the next epoch has ended, of a node with tallystick[pq]; or leave out --ml-dsa, ml_dsa"
)
_KEPT: Final = (
    "; what was countersigned before the start its file still proves: stop it, and `tallystick prove --chain`"
)

IsEnough = Callable[[Countersigned | None], bool]


class Checkpoints(Protocol):
    """Where countersigned checkpoints come from."""

    @property
    def epoch_end(self) -> Countersigned | None:
        """The newest of an epoch's end that members cosigned by ML-DSA-44, too, if there is one."""

    @property
    def newest(self) -> Countersigned | None:
        """The newest one, if there is one."""

    async def wait(self, is_enough: IsEnough, wait_ms: int) -> None:
        """Wait until the newest one is enough, but only so long."""

    def ask_fresh(self) -> None:
        """Have members countersign anew. Raises `NotRunning` for a file."""


class KeptCheckpoint(NamedTuple):
    """The one that a file has."""

    newest: Countersigned | None
    epoch_end: None = None
    """What members cosigned by ML-DSA-44 is not kept."""

    async def wait(self, _is_enough: IsEnough, _wait_ms: int) -> None:
        """Nothing comes."""

    def ask_fresh(self) -> None:
        """Raises `NotRunning`."""
        raise NotRunning("nobody countersigns a file anew; ask a running node")


class LiveCheckpoints:
    """Those of a running node."""

    def __init__(self, runner: "Runner") -> None:
        self._runner = runner
        self._news: asyncio.Event | None = None
        """Set when something happened, while somebody waits."""
        runner.watchers.append(self._watch)

    @property
    def newest(self) -> Countersigned | None:
        """As the node knows it."""
        return self._runner.node.checkpoint

    @property
    def epoch_end(self) -> Countersigned | None:
        """Likewise."""
        return self._runner.node.epoch_checkpoint

    async def wait(self, is_enough: IsEnough, wait_ms: int) -> None:
        """Look whenever the node did something."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_ms / 1000):
                while not is_enough(self.newest):
                    self._news = self._news or asyncio.Event()
                    await self._news.wait()

    def ask_fresh(self) -> None:
        """At once; what comes of it is waited for."""
        self._runner.handle(FreshCheckpointAsked())

    def _watch(self, _action: Action) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None


class Proofs:
    """Makes the answers, for a reader."""

    def __init__(self, reader: "LedgerReader", store: Store, read: "Thread", checkpoints: Checkpoints) -> None:
        """On the thread that reads."""
        self._reader, self._read, self._genesis, self._checkpoints = reader, read, store.genesis, checkpoints
        self.prover = Prover(store)

    async def newest(self, covered: int = 0, *, fresh: bool = False, wait_ms: int = 0) -> Countersigned:
        """The newest checkpoint, if it covers so much of the log; where it does not, one is asked for.

        Raises `NotYet`, `NotThere`, `NotRunning`.
        """

        def covers(at: Countersigned | None) -> bool:
            return at is not None and at.state.log.size >= covered

        if not covers(self._checkpoints.newest):
            with suppress(NotRunning):
                self._checkpoints.ask_fresh()
            await self._checkpoints.wait(covers, max(wait_ms, _WAIT_FRESH_MS) if fresh else wait_ms)
        if fresh and covers(self._checkpoints.newest):
            await self._renew(wait_ms)
        if wait_ms:
            await self._wait_for_all()
        at = self._checkpoints.newest
        if at is not None and covers(at):
            return at
        what = f"covers {at.state.log.size} certificates of the log" if at is not None else "is not known here"
        if isinstance(self._checkpoints, KeptCheckpoint):
            raise NotThere(f"the newest checkpoint {what}, and this file gets no other; ask a running node")
        raise NotYet(f"the newest checkpoint {what}: {_SOON}{_KEPT if at is None else ''}")

    async def _renew(self, wait_ms: int) -> None:
        """What is older than a minute, by the members' own clocks, is countersigned anew, if they can be reached."""
        before = self._checkpoints.newest
        since_s = status_s(before) if before is not None else 0
        if since_s > now_ms() // 1000 - _FRESH_S:
            return
        self._checkpoints.ask_fresh()
        await self._checkpoints.wait(lambda at: at is not None and status_s(at) > since_s, max(wait_ms, _WAIT_FRESH_MS))

    async def _wait_for_all(self) -> None:
        """A quorum is enough, but each of a few members signs as the log, and a policy may name any of them."""
        at = self._checkpoints.newest
        if at is None or len(at.voters.members) > MAX_LOG_LINES:
            return
        if now_ms() // 1000 - max(one.time_s for one in at.cosignatures) <= _YOUNG_S:
            delta_ms = min(at.state.params.delta_ms, _MOST_DELTA_MS)
            await self._checkpoints.wait(lambda one: one is not None and one.is_complete, delta_ms)

    async def one(self, at: LogPlace, since: int, *, fresh: bool, wait_ms: int, ml_dsa: bool) -> views.ProofAnswer:
        """One proof; `ml_dsa`: at the newest epoch's end that members cosigned by ML-DSA-44, too."""
        covered = at.log_index + 1
        checkpoint = self._epoch_end(covered) if ml_dsa else await self.newest(covered, fresh=fresh, wait_ms=wait_ms)
        (made,) = await self._read(self._made, [at], checkpoint, since)
        return views.ProofAnswer(proof=made)

    def _epoch_end(self, covered: int) -> Countersigned:
        at = self._checkpoints.epoch_end
        if at is not None and at.state.log.size >= covered:
            return at
        if isinstance(self._checkpoints, KeptCheckpoint):
            raise NotThere("a file keeps nothing that members cosigned by ML-DSA-44; ask a running node")
        which = f"covers {at.state.log.size} certificates of the log" if at is not None else "is not known here"
        raise NotYet(f"the newest end of an epoch that members cosigned by ML-DSA-44 {which}: {_AT_AN_END}")

    async def many(self, asked: q.ProofsAsked) -> views.Proofs:
        """Proofs at one checkpoint, of what it covers."""
        ids = [bytes.fromhex(one) for one in asked.ids]
        index = self._reader.certificate_index
        places = {one.hex(): self._reader.place_of(one) async for some in in_turns(index, ids) for one in some}
        covered = max((at.log_index + 1 for at in places.values() if at is not None), default=0)
        with suppress(NotYet, NotThere):  # of those that are covered there are proofs all the same
            await self.newest(covered, fresh=asked.fresh, wait_ms=asked.wait_ms)
        checkpoint = await self.newest()
        left_out, wanted = list[views.LeftOut](), list[LogPlace]()
        for one, at in places.items():
            if at is None:
                left_out.append(views.LeftOut(one, NotThere.code, "it is not on the ledger; it may wait"))
            elif at.log_index >= checkpoint.state.log.size:
                left_out.append(views.LeftOut(one, NotYet.code, f"no checkpoint covers it yet: {_SOON}"))
            else:
                wanted.append(at)
        proofs, size = list[views.Proof](), 0
        while len(proofs) < len(wanted) and size < _MOST_ANSWER_CHARACTERS:
            some = wanted[len(proofs) : len(proofs) + _AT_ONCE]
            made = await self._read(self._made, some, checkpoint, asked.since)
            proofs += made
            size += sum(len(one.proof) + len(one.members or "") + len(one.payload or "") for one in made)
        named = {at: one for one, at in places.items()}
        more = [views.LeftOut(named[at], "more", "the answer is as large as it may be") for at in wanted[len(proofs) :]]
        return views.Proofs(proofs=proofs, left_out=[*left_out, *more])

    def _made(self, places: Sequence[LogPlace], checkpoint: Countersigned, since: int) -> list[views.Proof]:
        return [self._view(at, self.prover.prove(at.place, at.log_index, checkpoint, since)) for at in places]

    def _view(self, at: LogPlace, made: ProofFiles) -> views.Proof:
        members, payload = (one.hex() if one is not None else None for one in (made.members, made.payload))
        certificate_id = self.prover.certificate(at.place).id.hex()
        return views.Proof(id=certificate_id, proof=made.proof, members=members, payload=payload)

    async def checkpoint(self, *, fresh: bool, wait_ms: int) -> views.Checkpoint:
        """The newest one."""
        at = await self.newest(fresh=fresh, wait_ms=wait_ms)
        state, voters = at.state, at.voters
        times_ms = {one.member: 1000 * one.time_s for one in at.cosignatures}
        members = [
            views.CheckpointMember(self._reader.key(key), stake, times_ms.get(key)) for key, stake in voters.members
        ]
        return views.Checkpoint(
            note=signed_note(self._genesis, at).encoded,
            origin=self._genesis.origin,
            log_size=state.log.size,
            log_root=state.log.root().hex(),
            block_index=state.index,
            block_hash=state.tip.hash.hex(),
            block_timestamp_ms=state.tip.timestamp_ms,
            epoch=voters.number,
            status_ms=1000 * status_s(at),
            members=members,
            total_stake=voters.total,
        )
