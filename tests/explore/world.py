"""Members of Simplex without nodes, keys or time: real agreement, views and guards, stand-in signatures.

Messages about a view travel in the phase that is named after it, within the sides of its partition, and at once.
What is sent about a later view waits for that phase. When nothing travels any more, time passes for those that are
still in the view: one delta, then until it is over. Between phases sides change: who meets tells each other what a
node tells a new peer, and takes the final blocks that it lacks. What is asked for is answered by those of the side.

The gate is the ledger's own, remembered by block, so that equal blocks are judged once for all courses.
"""

from collections.abc import Callable, Iterable
from typing import Any

from tallystick.consensus import simplex as simplex_module
from tallystick.consensus.agreement import (
    Equivocation,
    Finalized,
    PersistQuorum,
    Rebroadcast,
    RequestBlock,
    RequestViewCertificates,
    SendProposal,
    SendVote,
    StateMismatch,
    TwinFound,
)
from tallystick.consensus.proposals import Proposals
from tallystick.consensus.recovery import Recovery
from tallystick.consensus.signing_guard import GuardRecord, LossAccepted, Lost, SigningGuard, _Entry
from tallystick.consensus.simplex import Simplex
from tallystick.consensus.view_timer import ViewTimer
from tallystick.consensus.views import Views, ViewState
from tallystick.ledger.blockchain import NOTHING, Above, Blockchain
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import MAX_TIMESTAMP_MS
from tallystick.ledger.finality import Finalization
from tallystick.ledger.genesis import Allotment, make_genesis
from tallystick.ledger.params import Params
from tallystick.ledger.state import State
from tallystick.ledger.transition import make_header
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Tally
from tallystick.node import late_votes
from tallystick.node.late_votes import LateVotes
from tests.builders import START_MS, statement, wallet

_SIGNATURE = bytes(64)
_NOW_MS = START_MS + 1_000
_FORGED_MS = START_MS + 590_000
"""The date of all first blocks: within the first epoch, and not behind the clock, however long a course lasts."""
_HEALING_ROUNDS = 60
_FEW = 3
_STEPS = 40


class Violation(AssertionError):
    """Something happened that must not."""


class Key:
    """A wallet whose signatures say nothing: nobody here forges them."""

    def __init__(self, number: int) -> None:
        self.public_key = wallet(str(number)).public_key

    def sign(self, domain: object, ledger_id: bytes, data: bytes) -> bytes:
        """See `Wallet`."""
        return _SIGNATURE


KEYS = [Key(number) for number in range(1, 8)]


def ledger(*stakes: int) -> Any:
    """The genesis of a ledger of the first keys, with these stakes."""
    allotments = [Allotment(key.public_key, 0, stake) for key, stake in zip(KEYS, stakes, strict=False)]
    return make_genesis("explore", START_MS, allotments, Params(mint_freely=False, block_ahead_ms=None))


class Gate:
    """The ledger's gate for one genesis, which remembers its verdicts; leaders are the course's."""

    def __init__(self, genesis: Any) -> None:
        self.genesis, self.ledger_id = genesis, genesis.ledger_id
        self.leaders: list[int] = []
        """Of view 1 and on: places in `KEYS`; later views go round."""
        self._chain = Blockchain(genesis, lambda state, header: None)
        self.start: State = self._chain.state
        self._verdicts: dict[bytes, State | Refused] = {}
        self._headers: dict[tuple[bytes, int, bytes, tuple[bytes, ...]], Any] = {}
        self._members = len(self.start.epoch.members)

    def leader(self, stakes: object, ledger_id: object, epoch: object, view: int) -> bytes:
        """In place of the draw."""
        place = self.leaders[view - 1] if view <= len(self.leaders) else view % self._members
        return KEYS[place].public_key

    def after(self, block: Any, base: State, above: Above) -> State:
        """See `Blockchain.after`."""
        header = block.header
        if header.forger != self.leader(None, None, None, header.view):
            raise Refused(Rule.B4, "not its leader")
        verdict = self._verdicts.get(block.hash)
        if verdict is None:
            try:
                verdict = self._chain.after(block, base, above)
            except Refused as refused:
                verdict = refused
            self._verdicts[block.hash] = verdict
        if isinstance(verdict, Refused):
            raise verdict
        return verdict

    def make_header(
        self, base: State, view: int, now_ms: int, forger: bytes, certificates: Any, find: Any = None
    ) -> Any:
        """See `ledger.transition.make_header`; the time follows from the parent alone, so that equal blocks are one."""
        place = (base.tip.hash, view, forger, tuple(one.id for one in certificates))
        header = self._headers.get(place)
        if header is None:
            header = self._headers[place] = make_header(base, view, _FORGED_MS, forger, certificates)
        return header


class Chain:
    """One process's chain, as far as agreement looks at it."""

    def __init__(self, gate: Gate) -> None:
        self.gate, self.genesis, self.ledger_id = gate, gate.genesis, gate.ledger_id
        self.state = gate.start

    def after(self, block: Any, base: State | None = None, above: Above = NOTHING) -> State:
        """See `Blockchain`."""
        return self.gate.after(block, base or self.state, above)

    def finder(self, above: Above) -> Any:
        """See `Blockchain`."""
        return above.find


class Box:
    """The certificates that wait at one process: its own, and after healing everybody's."""

    def __init__(self, waiting: tuple[Any, ...]) -> None:
        self.waiting = waiting

    def __len__(self) -> int:
        """See `Waiting`."""
        return len(self.waiting)

    def choose(self, now_ms: int, base: State, above: Above, until_ms: int = MAX_TIMESTAMP_MS) -> list[Any]:
        """See `Waiting`."""
        known = above.known({one.id for one in self.waiting})
        return [one for one in self.waiting if one.id not in known]


class BlindGuard(SigningGuard):
    """A twin's: it does not notice that another machine signs with its key."""

    def saw(self, one: object) -> bool:
        """See `SigningGuard`."""
        return False


class Process:
    """One machine that takes part, and what it keeps."""

    def __init__(self, place: int, key: int, gate: Gate, waiting: tuple[Any, ...], *, is_twin: bool) -> None:
        self.place, self.key, self.is_twin = place, key, is_twin
        self.now_ms = _NOW_MS
        self.chain, self.box = Chain(gate), Box(waiting)
        self.file: list[GuardRecord] = []
        self.kept: dict[Ballot, Tally] = {}
        self.blocks: list[Any] = []
        self.finalization: Finalization | None = None
        self.final_blocks: tuple[tuple[Any, State], ...] = ()
        self.signed: dict[tuple[int, int], bytes] = {}
        self.headers: dict[int, bytes] = {}
        self.inbox: list[tuple[str, Any]] = []
        self.start()

    def start(self) -> None:
        """(Re)start from what it keeps."""
        self.shown: dict[int, list[Ballot]] = {}
        """The ballots of the twins' key that it took since, by view."""
        guard_type = BlindGuard if self.is_twin else SigningGuard
        gate = self.chain.gate
        guard = guard_type(KEYS[self.key], gate.ledger_id, self.file, bytes([self.place]) * 32)  # type: ignore[arg-type]
        self.simplex = Simplex(guard, gate.leader)
        self.simplex.start(self.chain, self.finalization, list(self.kept.values()), self.blocks)  # type: ignore[arg-type]

    def hear(self, kind: str, said: Any) -> list[Equivocation | None]:
        """Take a message. Returns what it proves of others, beside what was heard or kept before."""
        simplex = self.simplex
        match kind:
            case "votes" if said.ballot.view < simplex.views.oldest_wanted:
                return list(self._compare_late(said))
            case "votes":
                return list(simplex.add_tally(said))
            case "proposal":
                found = simplex.add_block(said.block)
                simplex.views.heard_parent_view(said.view, said.block.hash, said.parent_view)
                return [found]
            case "block":
                return [simplex.add_block(said)]
        raise Violation(kind)

    def _compare_late(self, tally: Tally) -> Iterable[Equivocation]:
        """As a node does with votes of views that are over."""
        held = (*self.kept.values(), *self.simplex.views.forgotten)
        return LateVotes().compare((tally,), held, self.chain.ledger_id)  # a new one: it remembers signatures

    def is_shown_both(self, tally: Tally, member: bytes) -> bool:
        """Whether these votes, and others that it took before, contradict each other in this member's name."""
        views, ballot = self.simplex.views, tally.ballot
        if all(signer != member for signer, _ in tally.signatures):
            return False
        is_late = ballot.view < views.oldest_wanted
        if not is_late and not views.is_certificate(tally) and not views.wants_vote(ballot, views.view):
            return False
        others = self.shown.setdefault(ballot.view, [])
        is_crossed = any(one.conflicts_with(ballot) for one in others)
        if not is_late and len(others) < _FEW and ballot not in others:
            others.append(ballot)
        return is_crossed


class World:
    """Processes, what travels between them, and what was found final. The first processes have one key each."""

    def __init__(self, gate: Gate, *, twins: int = 1) -> None:
        members = len(gate.start.epoch.members)
        keys = [*range(members), *range(twins)]
        waiting = [(statement(f"of {place}", ledger=gate.ledger_id),) for place in range(len(keys))]
        self._another = (statement("submitted after a loss", ledger=gate.ledger_id),)
        self.gate = gate
        self.processes = [
            Process(place, key, gate, waiting[place], is_twin=key < twins) for place, key in enumerate(keys)
        ]
        self.final: dict[int, bytes] = {}
        self.held: list[tuple[int, int, str, Any]] = []
        self.travelling: list[tuple[int, int, str, Any]] = []
        self.phase = 0
        self.sides = 0
        self.has_equivocated = False
        """Whether the twins signed what no honest member signs both."""
        self.is_shown = False
        """Whether an honest member took votes of both kinds."""
        self.is_caught = False
        self.loser: Process | None = None
        """Who loses its guard as soon as it enters the next view, alone."""
        self.has_lost = False

    def copied(self) -> "World":
        """The same world, to go another way from here."""
        memo: dict[int, Any] = {}
        return _copied(self, memo)  # type: ignore[no-any-return]

    # ---- a phase ----------------------------------------------------------------------------------------------

    def run_phase(self, sides: int) -> None:
        """The next view's: `sides` says by one bit a process on which side of the partition it is."""
        self.phase += 1
        self._change_sides(sides)
        self._settle(self.processes)
        delta_ms = self.gate.genesis.params.delta_ms
        for duration_ms in (delta_ms, 2 * delta_ms):
            late = [one for one in self.processes if one.simplex.view <= self.phase]
            for process in late:
                process.now_ms += duration_ms
            if late:
                self._settle(late)

    def heal(self) -> int:
        """All are connected, and every honest member's certificates are known to all. Returns how many rounds it took.

        Raises `Violation` unless all of them become final everywhere.
        """
        honest = [one for one in self.processes if not one.is_twin]
        wanted = {one.id for process in honest for one in process.box.waiting}
        everything = tuple({one.id: one for process in self.processes for one in process.box.waiting}.values())
        for process in self.processes:
            process.box.waiting = everything
        self.phase = 1 << 30
        self._change_sides(0)
        for rounds in range(_HEALING_ROUNDS):
            self._settle(self.processes, lambda: not any(process.box.waiting for process in honest))
            if not any(process.box.waiting for process in honest):
                self._check_conviction()
                return rounds
            for process in self.processes:
                wake_ms = process.simplex.wake_ms(process.now_ms, process.box)
                process.now_ms = max(process.now_ms + 1, wake_ms or 0)
                self._ask_to_recover(process)
                for other in self.processes:  # who waits tells where it stands, and takes what it lacks
                    if other.chain.state.index > process.chain.state.index:
                        self._sync(process, other)
        self._check_conviction()
        lacking = {process.place: len(process.box.waiting) for process in honest}
        raise Violation(f"no progress after healing: waiting {lacking} of {len(wanted)}, views {self.views()}")

    def views(self) -> list[int]:
        """Where each process is."""
        return [one.simplex.view for one in self.processes]

    def _same_side(self, one: int, other: int) -> bool:
        return not ((self.sides >> one) ^ (self.sides >> other)) & 1

    def _change_sides(self, sides: int) -> None:
        """Who meets tells the other what a node tells a new peer, and takes final blocks that it lacks."""
        before, self.sides = self.sides, sides
        held, self.held = self.held, []
        self.travelling += held
        for one in self.processes:
            met = [other for other in self.processes if self._same_side(one.place, other.place)]
            met = [other for other in met if ((before >> one.place) ^ (before >> other.place)) & 1]
            for other in met:
                if other.chain.state.index > one.chain.state.index:
                    self._sync(one, other)
            if met:
                told = one.simplex.views.rebroadcast()
                for other in met:
                    other.inbox += [("votes", tally) for tally in told]
            self._ask_to_recover(one)

    def _sync(self, process: Process, other: Process) -> None:
        if other.finalization is None:
            return
        known = process.chain.state.index
        for block, state in other.final_blocks:
            if state.index > known:
                self._note_final(state.index, block.hash)
                if block.header.parent_hash != process.chain.state.tip.hash:
                    raise Violation(f"process {process.place} holds another block {known} final")
                process.chain.state = state
                process.final_blocks += ((block, state),)
        process.finalization = other.finalization
        process.simplex.tip_advanced(other.finalization)
        self._tidy(process)

    def _settle(self, awake: Iterable[Process], is_done: Callable[[], bool] = lambda: False) -> None:
        """Step those that are awake, then let travel what travels, until nothing does, or all is done."""
        for process in awake:
            if not process.inbox:
                self._step(process)
        while (self.travelling or any(process.inbox for process in self.processes)) and not is_done():
            self._deliver()
            for process in self.processes if self.loser is None else [self.loser, *self.processes]:
                if process.inbox:
                    inbox, process.inbox = process.inbox, []
                    for kind, said in inbox:
                        if kind == "votes" and not process.is_twin:
                            self.is_shown = self.is_shown or process.is_shown_both(said, KEYS[0].public_key)
                        for found in process.hear(kind, said):
                            if found is not None:
                                self._on_found(process, found)
                    self._step(process)
                    if process is self.loser and process.simplex.view > self.phase:
                        self._lose_alone(process)

    def _lose_alone(self, process: Process) -> None:
        """It alone was told how the view ended: what was on its way is lost, and its machine with all that it kept."""
        self.loser = None
        self.travelling = []
        for one in self.processes:
            one.inbox = []
        process.kept, process.blocks, process.final_blocks = {}, [], ()
        process.chain.state, process.finalization = self.gate.start, None
        process.box.waiting = self._another
        self.lose_guard(process.place)

    def _deliver(self) -> None:
        travelling, self.travelling = self.travelling, []
        sides = [
            [other for other in self.processes if self._same_side(one.place, other.place)] for one in self.processes
        ]
        for message in travelling:
            sender, view, kind, said = message
            if view > self.phase:
                self.held.append(message)
                continue
            for process in sides[sender]:
                if process.place != sender:
                    process.inbox.append((kind, said))

    # ---- what a process does ----------------------------------------------------------------------------------

    def _step(self, process: Process) -> None:
        simplex, guard = process.simplex, process.simplex.guard
        assert guard is not None
        for _ in range(_STEPS):
            outputs = simplex.step(process.now_ms, process.box)
            process.file += guard.take_records()
            again = False
            for output in outputs:
                again = self._carry_out(process, output) or again
            if not again:
                return
        raise Violation(f"process {process.place} comes to no rest")

    def _carry_out(self, process: Process, output: Any) -> bool:
        """Returns whether there may be more to do at once."""
        match output:
            case SendVote(vote):
                self._note_signed(process, vote.ballot)
                tally = Tally(vote.ballot, ((vote.member, vote.signature),))
                self.travelling.append((process.place, vote.ballot.view, "votes", tally))
                return True
            case SendProposal(view, _, block, is_new):
                if is_new and process.headers.setdefault(view, block.hash) != block.hash and not process.is_twin:
                    raise Violation(f"process {process.place} signed two blocks in view {view}")
                self.travelling.append((process.place, view, "proposal", output))
            case PersistQuorum(tallies, blocks):
                process.blocks += blocks
                process.kept.update({tally.ballot: tally for tally in tallies})
                return True
            case Finalized(blocks, states, finalization):
                for block, state in zip(blocks, states, strict=True):
                    self._note_final(state.index, block.hash)
                    process.final_blocks += ((block, state),)
                process.chain.state, process.finalization = states[-1], finalization
                process.simplex.tip_advanced(finalization)
                self._tidy(process)
                return True
            case RequestBlock(block_hash):
                self._answer_block(process, block_hash)
            case RequestViewCertificates(first, last):
                self._answer_views(process, first, last)
            case Rebroadcast():
                votes = process.simplex.views.rebroadcast()
                self.travelling += [(process.place, 0, "votes", tally) for tally in votes]
                return True
            case StateMismatch() | TwinFound():
                raise Violation(f"process {process.place}: {output}")
        return False

    def _tidy(self, process: Process) -> None:
        on_chain = {one.id for block, _ in process.final_blocks for one in block.certificates}
        process.box.waiting = tuple(one for one in process.box.waiting if one.id not in on_chain)

    def _answer_block(self, process: Process, block_hash: bytes) -> None:
        for other in self.processes:
            if other is not process and self._same_side(process.place, other.place):
                block = other.simplex.proposals.whole(block_hash)
                if block is not None and other.simplex.proposals.validate(block_hash) is not None:
                    process.inbox.append(("block", block))
                    return

    def _answer_views(self, process: Process, first: int, last: int) -> None:
        for other in self.processes:
            if other is not process and self._same_side(process.place, other.place):
                for ballot, tally in other.kept.items():
                    if first <= ballot.view <= last and process.simplex.views.is_certificate(tally):
                        process.inbox.append(("votes", tally))

    # ---- lost guards ------------------------------------------------------------------------------------------

    def lose_guard(self, place: int, *, is_accepted: bool = False) -> None:
        """A process restarts without its guard; its database is whole. With the operator's word if that is given."""
        process = self.processes[place]
        self.has_lost = True
        process.file = [Lost(None)]
        if is_accepted:
            process.file.append(LossAccepted(self.gate.ledger_id))
        process.start()

    def _ask_to_recover(self, process: Process) -> None:
        """Those of the side answer, as a node does that is asked."""
        if not process.simplex.is_recovering:
            return
        recovery = process.simplex.recovery
        assert recovery is not None
        recovery.asked()
        for other in self.processes:
            if other is process or not self._same_side(process.place, other.place):
                continue
            proven = other.simplex.proven_view()
            if proven is None:
                continue
            view, entered_by = proven
            for tally in other.simplex.views.votes_of(KEYS[process.key].public_key):
                process.simplex.add_tally(tally)
            recovery.answered(KEYS[other.key].public_key, view)
            if entered_by is not None:
                process.simplex.add_tally(entered_by)

    # ---- what must hold ---------------------------------------------------------------------------------------

    def _check_conviction(self) -> None:
        if self.is_shown and not self.is_caught:
            raise Violation("an honest member was shown how the twin contradicts itself, and saw nothing")

    def _note_final(self, index: int, block_hash: bytes) -> None:
        if self.final.setdefault(index, block_hash) != block_hash:
            raise Violation(f"two final blocks at index {index}")

    def _note_signed(self, process: Process, ballot: Ballot) -> None:
        """An honest process contradicts nothing that it ever signed; twins together may."""
        signed = process.signed
        before = signed.setdefault((ballot.view, ballot.kind), ballot.block_hash)
        other = {NULLIFY: FINALIZE, FINALIZE: NULLIFY}.get(ballot.kind, NOTARIZE)
        is_crossed = ballot.kind != NOTARIZE and (ballot.view, other) in signed
        if before != ballot.block_hash or is_crossed:
            raise Violation(f"process {process.place} contradicts itself: {ballot}, signed {signed}")
        if process.is_twin:
            for twin in self.processes:
                if twin is not process and twin.key == process.key:
                    crossed = (ballot.view, other) in twin.signed and ballot.kind != NOTARIZE
                    differs = twin.signed.get((ballot.view, ballot.kind), ballot.block_hash) != ballot.block_hash
                    self.has_equivocated = self.has_equivocated or crossed or differs

    def _on_found(self, process: Process, found: Equivocation) -> None:
        offender = next(one for one in self.processes if KEYS[one.key].public_key == found.offender)
        if not offender.is_twin:
            raise Violation(f"process {process.place} accuses {offender.place}, which is honest")
        self.is_caught = True


def install(gate: Gate) -> None:
    """Have blocks made as the gate remembers them, and take every signature for good."""
    simplex_module.make_header = gate.make_header  # type: ignore[attr-defined]
    late_votes.is_signed = lambda *claim: True  # type: ignore[attr-defined]


# ---- copies -----------------------------------------------------------------------------------------------------


def _copied_object(value: Any, memo: dict[int, Any]) -> Any:
    known = memo.get(id(value))
    if known is not None:
        return known
    copy = memo[id(value)] = object.__new__(type(value))
    target = copy.__dict__
    for name, one in value.__dict__.items():
        copier = _COPIERS.get(type(one))
        target[name] = copier(one, memo) if copier is not None else one
    return copy


def _copied_dict(value: dict[Any, Any], memo: dict[int, Any]) -> dict[Any, Any]:
    if not value:
        return {}
    copier = _COPIERS.get(type(next(iter(value.values()))))
    return {key: copier(one, memo) for key, one in value.items()} if copier is not None else value.copy()


def _copied_list(value: list[Any], memo: dict[int, Any]) -> list[Any]:
    known = memo.get(id(value))
    if known is None:
        copier = _COPIERS.get(type(value[0])) if value else None
        known = memo[id(value)] = [copier(one, memo) for one in value] if copier is not None else value.copy()
    return known


_OWN = (World, Process, Chain, Box, Simplex, Views, Proposals, ViewState, ViewTimer, Recovery, _Entry)
_COPIERS: dict[type, Callable[[Any, dict[int, Any]], Any]] = {
    **dict.fromkeys((*_OWN, SigningGuard, BlindGuard), _copied_object),
    dict: _copied_dict,
    list: _copied_list,
    set: lambda value, memo: value.copy(),
}


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    return _COPIERS[type(value)](value, memo)
