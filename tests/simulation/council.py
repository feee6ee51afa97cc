"""A council: `Simplex` alone, at a simulated table, in virtual time.

Each seat is the smallest honest host that agreement allows: a journal that is written before anything is sent, a chain
that is kept, votes and proposals to all, standings, and blocks for whoever lacks them. The seed decides every fault.
`Auditor` watches, and works out for itself what it judges by.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, NamedTuple

from msgspec.structs import replace
from tests.builders import START_MS, wallet

from tallystick.consensus.agreement import Cast, Caught, Finalized, Keep, Lacks, Output, Repeat
from tallystick.consensus.simplex import Simplex
from tallystick.ledger.block import Block, sign_block
from tallystick.ledger.blockchain import Blockchain, State
from tallystick.ledger.certificate import AnyCertificate, issue_stake, issue_statement
from tallystick.ledger.encoding import ZERO_DIGEST, encode
from tallystick.ledger.errors import Refused
from tallystick.ledger.finality import check_final
from tallystick.ledger.genesis import Allotment, Genesis, make_genesis
from tallystick.ledger.params import Params
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Tally, Vote, cast, tally_of
from tallystick.ledger.wallet import Wallet

DELTA_MS = 300
_STEPS_AT_ONCE = 500
"""More steps than any event can take: agreement that always has one more thing to do would never return."""


class Standing(NamedTuple):
    """Where a member stands. `asks` wants an answer, which repeats `asks` as `answers`."""

    member: bytes
    epoch: int
    view: int
    tip_index: int
    tallies: tuple[Tally, ...]
    yours: Vote | None
    asks: int | None
    answers: int | None


class Wanted(NamedTuple):
    """Asks for a block by its hash."""

    block_hash: bytes


class Final(NamedTuple):
    """Blocks that follow each other, the last with its finalization."""

    blocks: tuple[Block, ...]
    finalization: Tally


Message = Vote | Block | Standing | Wanted | Final


@dataclass
class Weather:
    """What the network does to messages, and chance to hosts."""

    delay_ms: tuple[int, int] = (5, 60)
    loss: float = 0.0
    duplication: float = 0.0
    crash: float = 0.0
    """The chance of a crash at each place between two outputs, and between writing and sending."""
    down_ms: tuple[int, int] = (300, 4_000)
    groups: tuple[frozenset[str], ...] = ()
    """While these are set, messages pass within a group only."""

    def joins(self, one: str, other: str) -> bool:
        return not self.groups or any(one in group and other in group for group in self.groups)


CALM = Weather()


@dataclass
class Disk:
    """What survives a crash."""

    votes: list[Vote] = field(default_factory=list)
    proposals: dict[bytes, Block] = field(default_factory=dict)
    finals: list[Final] = field(default_factory=list)

    def copy(self) -> "Disk":
        return Disk(list(self.votes), dict(self.proposals), list(self.finals))


class Crash(Exception):
    """The host stops here."""


class Broken(AssertionError):
    """A checker failed."""


class Box:
    """What waits at a seat, in order of arrival."""

    def __init__(self, params: Params, now_ms: int, certificates: Iterable[AnyCertificate] = ()) -> None:
        self._params = params
        self._waiting = {one.id: (one, now_ms) for one in certificates}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, certificate: AnyCertificate, now_ms: int) -> None:
        self._waiting.setdefault(certificate.id, (certificate, now_ms))

    def settle(self, block: Block) -> None:
        for certificate in block.certificates:
            self._waiting.pop(certificate.id, None)

    def due_ms(self, holds: Callable[[bytes], bool]) -> int | None:
        since = [since_ms for one, since_ms in self._waiting.values() if not holds(one.id)]
        if len(since) >= self._params.forge_at_certificates:
            return since[self._params.forge_at_certificates - 1]
        return since[0] + (self._params.forge_after_ms or 0) if since else None

    def choose(self, base: State, holds: Callable[[bytes], bool]) -> list[AnyCertificate]:
        chosen: list[AnyCertificate] = []
        for one, _ in self._waiting.values():
            if len(chosen) < self._params.max_block_certificates and not holds(one.id):
                try:
                    base.stakes.after([*chosen, one], base.index + 1)
                except Refused:
                    continue
                chosen.append(one)
        return chosen


class Auditor:
    """Judges what honest members sign and hold final, by its own reading of the rules."""

    def __init__(self, genesis: Genesis) -> None:
        self._chain = Blockchain(genesis, lambda state, header: None)
        self.blocks: list[Block] = []
        self.conflicts: list[tuple[Block, Block]] = []
        self._signed: dict[tuple[bytes, int, int], set[Vote]] = defaultdict(set)
        self.seen: dict[tuple[bytes, int, int], set[Vote]] = defaultdict(set)
        self._electorate = {1: dict(self._chain.state.epoch.members)}

    def signed(self, vote: Vote) -> None:
        """An honest member's vote left its host."""
        self._note(self._signed, vote)
        for earlier in self._signed[vote.member, *vote.round]:
            if vote.conflicts_with(earlier):
                raise Broken(f"an honest member signed both {earlier.ballot} and {vote.ballot}")

    def heard(self, vote: Vote) -> None:
        """An honest member received a vote."""
        self._note(self.seen, vote)

    @staticmethod
    def _note(votes: dict[tuple[bytes, int, int], set[Vote]], vote: Vote) -> None:
        votes[vote.member, *vote.round].add(vote)

    def final(self, final: Final) -> None:
        """An honest member holds these blocks final."""
        for block in final.blocks:
            if block.index <= len(self.blocks):
                known = self.blocks[block.index - 1]
                if known.hash != block.hash:
                    self.conflicts.append((known, block))
                continue
            if self.conflicts:
                return
            try:
                self._chain.append(block, None)
            except Refused as refused:
                raise Broken(f"block {block.index} is final and illegal: {refused}") from refused
            self.blocks.append(block)
            self._note_electorate(block.index)
        if not self.conflicts:
            self._check_quorum(final)

    def _note_electorate(self, index: int) -> None:
        """Who votes on the next block: those with stake when its epoch began."""
        stakes, begins = self._chain.state.stakes, index % self._chain.genesis.params.epoch_blocks == 0
        self._electorate[index + 1] = dict(stakes.members) if begins else self._electorate[index]

    def _check_quorum(self, final: Final) -> None:
        last, ballot = final.blocks[-1], final.finalization.ballot
        electorate = self._electorate[last.index]
        stake = sum(electorate.get(member, 0) for member in {member for member, _ in final.finalization.signatures})
        epoch = (last.index - 1) // self._chain.genesis.params.epoch_blocks
        if (ballot.kind, ballot.epoch, ballot.block_hash) != (FINALIZE, epoch, last.hash) or 3 * stake <= 2 * sum(
            electorate.values()
        ):
            raise Broken(f"block {last.index} is final by {stake} of {sum(electorate.values())} tokens")
        forgers = {block.header.forger for block in final.blocks}
        if not forgers <= electorate.keys():
            raise Broken(f"block {last.index}: its forger has no stake in this epoch")

    def offenders(self) -> set[bytes]:
        """Members against whom honest members, together, hold two votes that conflict."""
        return {
            key[0]
            for key, votes in self.seen.items()
            if any(one.conflicts_with(other) for one in votes for other in votes)
        }

    def certificates(self) -> list[bytes]:
        return [one.id for block in self.blocks for one in block.certificates]


class Seat:
    """An honest host. The Byzantine ones build on it and change what goes out, or in."""

    is_honest = True

    def __init__(self, council: "Council", name: str, owner: Wallet, skew_ms: int = 0) -> None:
        self.council, self.name, self.wallet, self.skew_ms = council, name, owner, skew_ms
        self.disk = Disk()
        self.copies: list[Disk] = []
        self.caught: list[Caught] = []
        self.is_up = False
        self.life = 0
        self._wakes_at: int | None = None

    @property
    def now_ms(self) -> int:
        return self.council.now_ms + self.skew_ms

    # ---- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Come up with what is on the disk, and ask the others where they stand."""
        genesis = self.council.genesis
        self.is_up, self.life, self._wakes_at = True, self.life + 1, None
        self.simplex = Simplex(self.wallet)
        self.chain = Blockchain(genesis, self.simplex.check_forger)
        for final in self.disk.finals:
            for block in final.blocks:
                self.chain.append(block, None)
        self.box = Box(genesis.params, self.now_ms, self.council.submitted.values())
        for final in self.disk.finals:
            for block in final.blocks:
                self.box.settle(block)
        self.simplex.start(self.chain, self.disk.votes, self.disk.proposals.values())
        if self.disk.finals:
            self._count(self.disk.finals[-1].finalization)
        self.tell_standing()
        self.run()

    def crash(self) -> None:
        self.is_up = False
        self.council.count("crashes")

    def restore_copy(self) -> None:
        """Put an old copy of the disk in its place, or of the votes only."""
        if self.copies:
            copy = self.council.random.choice(self.copies[-4:]).copy()
            finals = self.council.random.choice([copy.finals, self.disk.finals])
            self.disk = Disk(copy.votes, copy.proposals, finals)
            self.council.count("old copies")

    def _may_crash(self) -> None:
        if self.council.random.random() < self.council.weather.crash:
            raise Crash

    # ---- what comes in ------------------------------------------------------------------------------------------

    def receive(self, sender: str, message: Message) -> None:
        match message:
            case Vote():
                self._add_vote(message)
            case Block():
                self._note_caught(self.simplex.add_block(message))
            case Standing():
                self._hear_standing(sender, message)
            case Wanted(block_hash):
                block = self.simplex.proposal(block_hash)
                if block is not None:
                    self.send(sender, block)
            case Final():
                self._follow(message)
        self.run()

    def submit(self, certificate: AnyCertificate) -> None:
        if self.is_up:
            self.box.add(certificate, self.now_ms)
            self.run()

    def _add_vote(self, vote: Vote) -> None:
        if self.is_honest:
            self.council.auditor.heard(vote)
        self._note_caught(self.simplex.add_vote(vote))

    def _note_caught(self, caught: Caught | None) -> None:
        if caught is not None:
            self.caught.append(caught)

    def _count(self, tally: Tally) -> None:
        for vote in tally.votes:
            self._add_vote(vote)

    def _hear_standing(self, sender: str, standing: Standing) -> None:
        for tally in standing.tallies:
            self._count(tally)
        if standing.answers == self.life and standing.epoch == self.simplex.epoch.number:
            self.simplex.heard_standing(standing.member, standing.view, standing.yours)
        if standing.asks is not None:
            self.send(sender, self._standing(standing.member, None, standing.asks))
        for final in self.disk.finals:
            if final.blocks[-1].index > standing.tip_index:
                self.send(sender, final)

    def check_final(self, state: State, block: Block, finalization: Tally) -> None:
        check_final(state.epoch, block.header, finalization, None)

    def _follow(self, final: Final) -> None:
        new = tuple(block for block in final.blocks if block.index > self.chain.state.index)
        if not new or new[0].index != self.chain.state.index + 1:
            return
        try:
            self.check_final(self.chain.state, new[-1], final.finalization)
        except Refused as refused:
            self.council.count(f"refused {refused.rule.name}")
            return
        try:
            for block in new:
                self.chain.append(block, None)
        except Refused:
            self.council.count("final and illegal")
            return
        self._keep_final(Final(new, final.finalization))

    # ---- what goes out ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Carry out what follows, until nothing does; then sleep."""
        try:
            for _ in range(_STEPS_AT_ONCE):
                outputs = self.simplex.step(self.now_ms, self.box)
                if not outputs:
                    break
                for output in outputs:
                    self.carry_out(output)
                    self._may_crash()
            else:
                raise Broken(f"{self.name}: step never comes to an end: {outputs}")
        except Crash:
            self.crash()
            self.council.revive(self)
            return
        self._sleep()

    def carry_out(self, output: Output) -> None:
        match output:
            case Cast(vote, block):
                self.persist(vote, block)
                self._may_crash()
                self.cast(vote, block)
            case Keep(tally):
                self.disk.votes.extend(tally.votes)
            case Finalized(blocks, states, finalization):
                for block, state in zip(blocks, states, strict=True):
                    self.chain.publish(block, state)
                self._keep_final(Final(blocks, finalization))
            case Lacks(block_hash):
                self.broadcast(Wanted(block_hash))
            case Repeat():
                self.tell_standing(tells_all=True)

    def persist(self, vote: Vote, block: Block | None) -> None:
        self.disk.votes.append(vote)
        if block is not None:
            self.disk.proposals[block.hash] = block
        if len(self.disk.votes) % 3 == 0:
            self.copies.append(self.disk.copy())

    def cast(self, vote: Vote, block: Block | None) -> None:
        """Broadcast a vote, and one's own proposal."""
        if self.is_honest:
            self.council.auditor.signed(vote)
        if block is not None and block.header.forger == self.wallet.public_key:
            self.broadcast(block)
        self.broadcast(vote)

    def _keep_final(self, final: Final) -> None:
        self.disk.finals.append(final)
        if self.is_honest:
            self.council.auditor.final(final)
        for block in final.blocks:
            self.box.settle(block)
        self.simplex.moved()
        self._count(final.finalization)

    def _standing(self, to: bytes, asks: int | None, answers: int | None, tells_all: bool = False) -> Standing:
        simplex = self.simplex
        tallies = tuple(simplex.standing()) if tells_all else self._quorums_and_own_votes()
        where = (simplex.epoch.number, simplex.view, self.chain.state.index, tallies)
        return Standing(self.wallet.public_key, *where, simplex.last_vote_of(to), asks, answers)

    def _quorums_and_own_votes(self) -> tuple[Tally, ...]:
        """The least that an answer has to hold: what is safe may not rest on other members' votes being passed on."""
        epoch, own, tallies = self.simplex.epoch, self.wallet.public_key, []
        for tally in self.simplex.standing():
            if epoch.is_quorum(sum(epoch.stake(member) for member, _ in tally.signatures)):
                tallies.append(tally)
            else:
                tallies += [tally_of([vote]) for vote in tally.votes if vote.member == own]
        return tuple(tallies)

    def tell_standing(self, tells_all: bool = False) -> None:
        for other in self.council.seats.values():
            if other is not self:
                self.send(other.name, self._standing(other.wallet.public_key, self.life, None, tells_all))

    def broadcast(self, message: Message) -> None:
        for name in self.council.seats:
            if name != self.name:
                self.send(name, message)

    def send(self, to: str, message: Message) -> None:
        if self.is_honest and isinstance(message, Standing):
            for tally in message.tallies:
                for vote in tally.votes:
                    if vote.member == self.wallet.public_key:
                        self.council.auditor.signed(vote)
        self.council.deliver(self.name, to, message)

    def _sleep(self) -> None:
        wake_ms = self.simplex.wake_ms(self.now_ms, self.box)
        if wake_ms is None or wake_ms == self._wakes_at:
            return
        if wake_ms <= self.now_ms:
            raise Broken(f"{self.name}: wants to be woken in the past, {wake_ms - self.now_ms} ms")
        self._wakes_at = wake_ms
        life = self.life
        self.council.at(wake_ms - self.skew_ms, lambda: self._wake(life, wake_ms))

    def _wake(self, life: int, wake_ms: int) -> None:
        if self.is_up and life == self.life and wake_ms == self._wakes_at:
            self._wakes_at = None
            self.run()

    @property
    def is_quiet(self) -> bool:
        return not self.simplex.step(self.now_ms, self.box) and self.simplex.wake_ms(self.now_ms, self.box) is None


class Silent(Seat):
    """Never says a word."""

    is_honest = False

    def start(self) -> None:
        """Stay down."""


class Nullifier(Seat):
    """Votes to nullify every view it hears of, and for nothing else."""

    is_honest = False

    def carry_out(self, output: Output) -> None:
        if not isinstance(output, Cast):
            super().carry_out(output)

    def receive(self, sender: str, message: Message) -> None:
        if isinstance(message, Vote) and message.ballot.kind == NOTARIZE:
            self.broadcast(forged(self, message, nullify=True))
        super().receive(sender, message)


class Withholder(Seat):
    """Shows its proposals to some members only, and hands out no block that others lack."""

    is_honest = False

    def send(self, to: str, message: Message) -> None:
        is_block = isinstance(message, Block)
        if not is_block or self.council.random.random() < 0.4:
            super().send(to, message)


class Equivocator(Seat):
    """Signs two blocks in a view, one for each half of the others, and says yes to whatever anybody votes for."""

    is_honest = False

    def receive(self, sender: str, message: Message) -> None:
        if isinstance(message, Vote) and message.member != self.wallet.public_key and sender in self.council.honest:
            self.send(sender, forged(self, message))
            others = [name for name in self.council.honest if name != sender]
            if others:
                self.send(self.council.random.choice(others), forged(self, message, nullify=True))
        super().receive(sender, message)

    def cast(self, vote: Vote, block: Block | None) -> None:
        if block is None or block.header.forger != self.wallet.public_key or vote.ballot.kind != NOTARIZE:
            super().cast(vote, block)
            return
        other = another_block(self, block)
        for place, name in enumerate(self.council.seats):
            if name != self.name:
                chosen = other if place % 2 else block
                self.send(name, chosen)
                self.send(name, forged(self, vote, block_hash=chosen.hash))


class Forker(Seat):
    """Proposes on the final tip, whatever is notarized above it."""

    is_honest = False

    def run(self) -> None:
        self.simplex._rounds.parent_for = lambda view: self.chain.state.tip.hash
        super().run()


class Twin(Seat):
    """One of two hosts with the same key; neither knows of the other."""

    is_honest = False


def forged(seat: Seat, vote: Vote, *, nullify: bool = False, block_hash: bytes | None = None) -> Vote:
    """A seat's own vote, as another's but for what is said."""
    ballot = replace(vote.ballot, block_hash=block_hash or vote.ballot.block_hash)
    if nullify:
        ballot = replace(ballot, kind=NULLIFY, block_hash=ZERO_DIGEST)
    return cast(seat.wallet, seat.council.genesis.ledger_id, ballot)


def another_block(seat: Seat, block: Block) -> Block:
    """A second block for the same place, as legal as the first."""
    return sign_block(replace(block.header, nonce=block.header.nonce + 1), block.certificates, seat.wallet)


class Council:
    """The table: seats, the messages between them, and time. Everything follows from the seed."""

    def __init__(
        self, seed: int, stakes: dict[str, int], *, skew_ms: int = 0, moves_stake: bool = True, **params: Any
    ) -> None:
        self.seed, self.random = seed, Random(seed)
        self.wallets = {name: wallet(name) for name in stakes}
        allotments = [Allotment(self.wallets[name].public_key, 1_000, stake) for name, stake in stakes.items()]
        defaults = {"delta_ms": DELTA_MS, "forge_after_ms": 50, "forge_at_certificates": 3, "epoch_blocks": 4}
        defaults |= params
        unbonding = {"unbonding_blocks": defaults["epoch_blocks"]}
        self.genesis = make_genesis("council", START_MS, allotments, Params(**{**unbonding, **defaults}))
        self.auditor = Auditor(self.genesis)
        self.seats: dict[str, Seat] = {}
        self.submitted: dict[bytes, AnyCertificate] = {}
        self.weather = Weather()
        self.now_ms = START_MS + 1_000
        self.counted: Counter[str] = Counter()
        self.moves_stake = moves_stake
        self.expects_conflict = False
        self._skew_ms = skew_ms
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()

    # ---- who sits there -----------------------------------------------------------------------------------------

    def seat(self, name: str, role: type[Seat] = Seat, member: str | None = None) -> Seat:
        """Give a member a seat; `member` if the seat has another name (twins)."""
        skew_ms = self.random.randint(-self._skew_ms, self._skew_ms)
        self.seats[name] = seat = role(self, name, self.wallets[member or name], skew_ms)
        return seat

    @property
    def honest(self) -> dict[str, Seat]:
        return {name: seat for name, seat in self.seats.items() if seat.is_honest}

    def open(self) -> None:
        """All seats start."""
        for seat in self.seats.values():
            seat.start()

    # ---- time and messages --------------------------------------------------------------------------------------

    def count(self, what: str) -> None:
        self.counted[what] += 1

    def at(self, when_ms: int, what: Callable[[], None]) -> None:
        heappush(self._agenda, (max(when_ms, self.now_ms), next(self._order), what))

    def deliver(self, sender: str, to: str, message: Message) -> None:
        """Send a message through the weather."""
        weather, copies = self.weather, 1
        if not weather.joins(sender, to) or self.random.random() < weather.loss:
            self.count("lost")
            return
        if self.random.random() < weather.duplication:
            copies = 2
            self.count("duplicated")
        for _ in range(copies):
            self.at(self.now_ms + self.random.randint(*weather.delay_ms), lambda: self._arrive(sender, to, message))

    def _arrive(self, sender: str, to: str, message: Message) -> None:
        if self.seats[to].is_up:
            self.seats[to].receive(sender, message)

    def revive(self, seat: Seat) -> None:
        """Start a crashed seat again after a while."""
        self.at(self.now_ms + self.random.randint(*self.weather.down_ms), seat.start)

    def restart(self, seats: Iterable[Seat], *, from_copy: bool = False) -> None:
        """Stop these seats and start them when nothing of theirs is on its way any more; perhaps from an old copy."""
        for seat in seats:
            seat.crash()
            if from_copy:
                seat.restore_copy()
            self.at(self.now_ms + self.weather.delay_ms[1] + 1, seat.start)

    def run_until(self, when_ms: int) -> None:
        while self._agenda and self._agenda[0][0] <= when_ms:
            self._next()
        self.now_ms = max(self.now_ms, when_ms)

    def _next(self) -> None:
        self.now_ms, _, what = heappop(self._agenda)
        what()
        self.count("events")
        if self.auditor.conflicts and not self.expects_conflict:
            raise Broken(f"two blocks are final in one place: {self.auditor.conflicts[0]}")

    # ---- certificates -------------------------------------------------------------------------------------------

    def submit(self, number: int = 1) -> None:
        """Hand certificates to every seat: statements, and small moves of stake."""
        self.submit_to(self.seats, number)

    def submit_to(self, seats: Iterable[str], number: int) -> None:
        """Hand certificates to some seats."""
        for _ in range(number):
            name = self.random.choice(list(self.wallets))
            issuer, subject, ledger = self.wallets[name], f"certificate {len(self.submitted)}", self.genesis.ledger_id
            if self.moves_stake and self.random.random() < 0.4:
                one: AnyCertificate = issue_stake(issuer, ledger, START_MS + len(self.submitted), self._amount(issuer))
            else:
                one = issue_statement(issuer, ledger, START_MS, subject)
            self.submitted[one.id] = one
            for seat in seats:
                self.at(self.now_ms + self.random.randint(0, 100), partial(self.seats[seat].submit, one))

    def _amount(self, issuer: Wallet) -> int:
        """Small, and legal whatever else is on its way."""
        amounts = [1, 2, 5] if self.genesis.stakes().account(issuer.public_key).staked < 100 else [-2, -1, 1, 2, 5]
        return self.random.choice(amounts)

    # ---- what must come out -------------------------------------------------------------------------------------

    def is_done(self) -> bool:
        """Whether every honest seat holds everything submitted."""
        wanted = len(self.submitted)
        return all(seat.is_up and seat.chain.state.log.size == wanted for seat in self.honest.values())

    def settle(self, within_ms: int = 200 * DELTA_MS) -> int:
        """Heal, and wait until all is final everywhere; the time that took."""
        self.weather = CALM
        healed_ms = self.now_ms
        while not self.is_done() and self._agenda and self._agenda[0][0] <= healed_ms + within_ms:
            self._next()
        if not self.is_done():
            raise Broken(f"not final {self.now_ms - healed_ms} ms after healing: {self.certificate_index()}")
        took_ms = self.now_ms - healed_ms
        self._check_outcome()
        return took_ms

    def places(self) -> dict[str, Any]:
        return {
            name: (seat.is_up and (seat.simplex.epoch.number, seat.simplex.view, seat.chain.state.log.size))
            for name, seat in self.seats.items()
            if type(seat) is not Silent
        }

    def _check_outcome(self) -> None:
        final = self.auditor.certificates()
        if sorted(final) != sorted(self.submitted):
            raise Broken("what was submitted is not on the chain exactly once")
        replay = Blockchain(self.genesis, Simplex().check_forger)
        for block in self.auditor.blocks:
            replay.append(block, None)
        for seat in self.honest.values():
            if seat.chain.state != replay.state or replay.state.stakes.total != self.genesis.stakes().total:
                raise Broken(f"{seat.name}: replay gives another state")

    def check_silence(self, within_ms: int = 400 * DELTA_MS) -> None:
        """Wait until nothing is on its way, and nobody wants to be woken."""
        self.run_until(self.now_ms + within_ms)
        busy = {
            name: place
            for name, place in self.certificate_index().items()
            if name in self.honest and not self.seats[name].is_quiet
        }
        if busy or self._agenda:
            raise Broken(f"not silent with nothing to do: {busy}, {len(self._agenda)} to come")

    def digest(self) -> str:
        """The same seed gives the same digest."""
        return sha256(
            encode([block.hash for block in self.auditor.blocks]) + str(sorted(self.counted.items())).encode()
        ).hexdigest()
