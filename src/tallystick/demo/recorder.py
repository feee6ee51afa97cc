"""Whoever watches the nodes of the demo, and writes down what happened: the story, for people and for the account."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tallystick.cli.words import many, names_of, seconds
from tallystick.consensus.agreement import Output, PersistQuorum, SendVote, Waiting
from tallystick.consensus.signing_guard import SigningGuard
from tallystick.consensus.simplex import Simplex
from tallystick.demo.scenario import Illegal, Try
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import Evidence
from tallystick.ledger.errors import Refused
from tallystick.ledger.vote import NULLIFY, Ballot, Vote
from tallystick.node.events import ReportStuck

AT_ONCE_MS: Final = 50


@dataclass(frozen=True)
class StoryEvent:
    """One line of the story."""

    time_ms: int
    kind: str
    """`honest`, `block`, `refused`, `trouble` or `network`."""
    text: str


@dataclass(frozen=True)
class Refusal:
    """Something that a node refused; `attempt` when it was one of the fraud's."""

    node: str
    refused: Refused
    attempt: Illegal | None


@dataclass(frozen=True)
class Nullified:
    """A view that over 2/3 of the stake gave up; `lasted_ms` with something to do, `drawn` was to forge."""

    epoch: int
    view: int
    drawn: str
    time_ms: int
    lasted_ms: int


@dataclass
class Killing:
    """A node was killed when its member was drawn to forge next."""

    node: str
    member: str
    epoch: int
    view: int
    tip_index: int
    killed_ms: int
    went_on_index: int | None = None
    """The first block that became final without it."""
    went_on_ms: int | None = None
    restarted_ms: int | None = None
    caught_up_ms: int | None = None
    voted_again_ms: int | None = None


@dataclass(frozen=True)
class Stuck:
    """A node says that nothing becomes final, and why."""

    node: str
    epoch: int
    since_ms: int
    """The time since which its view has had something to do."""
    heard_stake: int
    total_stake: int
    missing: tuple[str, ...]


@dataclass
class Parting:
    """The network was in two halves for a while."""

    sides: tuple[tuple[str, ...], tuple[str, ...]]
    tip_index: int
    parted_ms: int
    healed_ms: int | None = None
    tip_index_when_healed: int | None = None
    went_on_ms: int | None = None
    said: list[Stuck] = field(default_factory=list)


@dataclass
class Doubling:
    """A member signed two votes that conflict."""

    member: str
    epoch: int
    view: int
    staked: int
    signed_ms: int
    accuser: str | None = None
    recorded_in: int | None = None


@dataclass
class Story:
    """All that was seen to happen."""

    events: list[StoryEvent] = field(default_factory=list)
    attempts: list[Try] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    forged: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    nullified: dict[tuple[int, int], Nullified] = field(default_factory=dict)
    killing: Killing | None = None
    parting: Parting | None = None
    doubling: Doubling | None = None
    tip_index: int = 0


class Watched(Simplex):
    """Agreement as it is, and somebody who is told what it decides, and how long its view had had something to do."""

    def __init__(self, guard: SigningGuard, tell: Callable[[Output, int], None]) -> None:
        super().__init__(guard)
        self._tell = tell

    def step(self, now_ms: int, waiting: Waiting) -> list[Output]:
        """Take a step, and tell of its outputs."""
        since_ms = now_ms if self.timer.since_ms is None else self.timer.since_ms
        outputs = super().step(now_ms, waiting)
        for output in outputs:
            self._tell(output, now_ms - since_ms)
        return outputs


class Recorder:
    """Turns what the nodes report and decide into the story."""

    def __init__(self, names: Mapping[bytes, str], runners: Mapping[str, str], elapsed_ms: Callable[[], int]) -> None:
        self.story = Story()
        self._names = names
        self._runners = runners
        self._elapsed_ms = elapsed_ms
        self._catching_up: set[str] = set()

    def tell(self, kind: str, text: str) -> None:
        """Add a line to the story, now."""
        self.story.events.append(StoryEvent(self._elapsed_ms(), kind, text))

    def name_of(self, public_key: bytes | None) -> str:
        """What the demo calls a key."""
        return self._names.get(public_key or b"", "nobody")

    def refused(self, node: str, refused: Refused, peer: object, attempt: Illegal | None) -> None:
        """A node refused something."""
        story = self.story
        story.refusals.append(Refusal(node, refused, attempt))
        story.refused[node] += 1
        what = f"Charlie: {attempt.value}" if attempt else f"something from {peer or 'its own box'}"
        self.tell("refused", f"{node} refuses [{refused.rule.name}] {what}")

    # ---- blocks ---------------------------------------------------------------------------------------------

    def final(self, node: str, block: Block, forged_here: bool) -> None:
        """A block became final at a node."""
        is_news = block.index > self.story.tip_index
        if is_news:
            self.story.tip_index = block.index
        if forged_here:
            self.story.forged[node] += 1
        if is_news:
            self.tell("block", self._describe(block))
            self._note_evidence(block)
            self._note_going_on(block)
        self._note_catching_up(node, block.index)

    def _describe(self, block: Block) -> str:
        forger, count = self.name_of(block.header.forger), many(len(block.certificates), "certificate")
        node = next((name for name, runner in self._runners.items() if runner == forger), forger)
        by = node if forger == node else f"{forger} ({node})"
        return f"Block {block.index} by {by} is final: view {block.header.view}, {count}"

    def _note_evidence(self, block: Block) -> None:
        doubling = self.story.doubling
        evidence = next((one for one in block.certificates if isinstance(one, Evidence)), None)
        if doubling and evidence and self.name_of(evidence.offender) == doubling.member:
            doubling.accuser, doubling.recorded_in = self.name_of(evidence.issuer), block.index
            self.tell(
                "trouble",
                f"Block {block.index} holds both votes: {doubling.member} loses the {doubling.staked} tokens at stake",
            )

    def _note_going_on(self, block: Block) -> None:
        killing, parting = self.story.killing, self.story.parting
        if killing and killing.went_on_ms is None:
            killing.went_on_ms, killing.went_on_index = self._elapsed_ms(), block.index
            self.tell("network", f"The ledger goes on without {killing.node}: block {block.index} is final")
        if parting and parting.healed_ms is not None and parting.went_on_ms is None:
            parting.went_on_ms = self._elapsed_ms()
            took = seconds(parting.went_on_ms - parting.healed_ms)
            self.tell("network", f"The ledger goes on by itself, {took} after the halves met")

    # ---- coming back ----------------------------------------------------------------------------------------

    def comes(self, node: str) -> None:
        """A node joins, or comes back: it has blocks to catch up with."""
        self._catching_up.add(node)

    def _note_catching_up(self, node: str, index: int) -> None:
        if node not in self._catching_up or index < self.story.tip_index:
            return
        self._catching_up.remove(node)
        killing = self.story.killing
        if killing and node == killing.node:
            killing.caught_up_ms = self._elapsed_ms()
            missed = many(index - killing.tip_index, "block")
            self.tell("network", f"{node} has caught up: it had missed {missed}, each checked")
        else:
            self.tell("network", f"{node} has caught up: {many(index, 'block')}, each checked")

    # ---- agreement ------------------------------------------------------------------------------------------

    def decided(self, node: str, agreement: Simplex, output: Output, lasted_ms: int) -> None:
        """A member voted, or saw a quorum."""
        match output:
            case PersistQuorum(tallies):
                for tally in tallies:
                    stake = sum(agreement.epoch.stake(member) for member, _ in tally.signatures)
                    if tally.ballot.kind == NULLIFY and agreement.epoch.is_quorum(stake):
                        self._note_nullified(agreement, tally.ballot, lasted_ms)
            case SendVote(vote):
                self._note_vote(node, vote)

    def _note_nullified(self, agreement: Simplex, ballot: Ballot, lasted_ms: int) -> None:
        nullified, round_ = self.story.nullified, (ballot.epoch, ballot.view)
        if round_ in nullified:
            return
        drawn = self.name_of(agreement.views.leader(ballot.view))
        nullified[round_] = Nullified(*round_, drawn, self._elapsed_ms(), lasted_ms)
        when = f"after {seconds(lasted_ms)}" if lasted_ms >= AT_ONCE_MS else "at once"
        what = f"View {ballot.view} of epoch {ballot.epoch} is nullified {when}"
        self.tell("trouble", f"{what}: {drawn} was to forge, and nothing came of it")

    def _note_vote(self, node: str, vote: Vote) -> None:
        killing = self.story.killing
        if killing and node == killing.node and killing.caught_up_ms is not None and killing.voted_again_ms is None:
            killing.voted_again_ms = self._elapsed_ms()
            self.tell("network", f"{node} votes again, in view {vote.ballot.view} of epoch {vote.ballot.epoch}")

    def stuck(self, node: str, report: ReportStuck, since_ms: int) -> None:
        """A node says that nothing becomes final. Said once for the same members missing."""
        parting = self.story.parting
        missing = tuple(self.name_of(one) for one in report.missing)
        if parting is None or parting.healed_ms is not None or any(one.missing == missing for one in parting.said):
            return
        parting.said.append(Stuck(node, report.epoch, since_ms, report.heard_stake, report.total_stake, missing))
        heard = f"hears {report.heard_stake} of {report.total_stake} tokens; missing: {names_of(missing)}"
        self.tell("trouble", f"{node}: stuck since {seconds(since_ms)}, {heard}")
