"""What happens in the demo, and in which order. `simulation.py` carries it out, `live_view.py` shows it.

Nodes are numbered from 1; the one after the last joins late.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import count, cycle, islice
from typing import Final

HONEST: Final = ("Alice", "Bob", "Delphine")
FRAUD: Final = "Charlie"

FREE_TOKENS: Final = 100
"""What everybody has to stake, the fraud too."""
STAKED_TOKENS: Final = 100
"""What each of the first nodes begins with at stake."""
FRAUDS_STAKE: Final = 15
"""What the fraud stakes at first: together with any one node, less than a third."""

EPOCH_BLOCKS: Final = 10
EPOCH_MS: Final = 5_000
UNBONDING_BLOCKS: Final = 20
UNBONDING_MS: Final = 10_000
DELTA_MS: Final = 300

FRAME_MS: Final = 100
"""Virtual time passes in frames of this length; users act between two frames."""
SETTLE_AT_MOST_MS: Final = 60_000


class Illegal(Enum):
    """What the fraud tries; the value says it in words."""

    ANOTHERS_NAME = "a certificate in Alice's name"
    TWICE_IN_A_ROW = "the same certificate a second time"
    ALTERED = "Alice's certificate with its subject changed"
    OTHER_PAYLOAD = "a payload that is not the one certified"
    FROM_THE_FUTURE = "a certificate dated a year ahead"
    ON_THE_CHAIN = "a certificate already on the chain"
    STAKE_NOTHING = "a staking operation of 0 tokens"
    STAKE_TOO_MUCH = "staking a million tokens"
    WITHDRAW_TOO_MUCH = "withdrawing stake that he does not have"
    FALSE_EVIDENCE = "evidence of two votes that do not conflict"
    FORGED_EVIDENCE = "evidence with a vote that was never signed"
    EVIDENCE_OF_NOBODY = "evidence against a key without stake"

    FORGED_VOTE = "a vote in Alice's name"
    FORGED_RECOVERY = "a request for recovery in a member's name"
    FORGED_PROPOSAL = "a proposal in the name of who is drawn"
    OTHER_LEDGER = "a proposal for another ledger"
    UNVOTED = "a block that nobody voted for"
    VOTED_FOR_ALONE = "a block final by his own vote alone"
    OTHER_FINALIZATION = "a block with the votes for another one"
    OTHER_PARENT = "a block that its proof does not follow from"

    GARBAGE = "bytes that mean nothing"
    OVERSIZED = "a message of 2 MiB and 1 byte"
    NOT_CANONICAL = "a message encoded the long way round"
    STRANGER = "a greeting from another ledger"
    TOO_MANY_REQUESTS = "129 requests at once"

    WRONG_ROOT = "a proposal with a wrong state root"
    LATER_VERSION = "a proposal of a version to come"
    BURNED_KEY = "staking with the key that was burned"
    STALE_EVIDENCE = "evidence of an epoch long past"


@dataclass(frozen=True)
class CertifyFile:
    """A user certifies one of the files (by its place in the list) at a node."""

    user: str
    node: int
    file: int


@dataclass(frozen=True)
class Say:
    """A user makes a statement at a node; the text is its payload."""

    user: str
    node: int
    subject: str
    text: str


@dataclass(frozen=True)
class Stake:
    """A user moves own tokens into stake, or (below zero) out of it."""

    user: str
    node: int
    amount: int


@dataclass(frozen=True)
class Try:
    """The fraud tries something on a node."""

    illegal: Illegal
    node: int


@dataclass(frozen=True)
class AwaitTurn:
    """Honest work goes on until the fraud, a member by now, is drawn to forge; what is left of it is not done."""

    meanwhile: tuple[Say, ...]


@dataclass(frozen=True)
class TryInTurn:
    """The fraud, drawn to forge, tries something on all nodes."""

    illegal: Illegal


@dataclass(frozen=True)
class KillForger:
    """The node of the member that is drawn to forge next stops, without a word."""


@dataclass(frozen=True)
class RestartKilled:
    """The killed node starts again, from what it had kept."""


@dataclass(frozen=True)
class SignTwice:
    """The fraud, by now a member, votes for two blocks in one view; one node gets to see both votes."""

    node: int


@dataclass(frozen=True)
class Part:
    """The nodes up to this one lose the others: no side has more than 2/3 of the stake."""

    last_node: int


@dataclass(frozen=True)
class Heal:
    """The parted nodes reach each other again."""


@dataclass(frozen=True)
class Join:
    """The late joiner appears, and asks the others for everything it missed."""


@dataclass(frozen=True)
class Wait:
    """Nobody does anything for a while."""

    duration_ms: int


@dataclass(frozen=True)
class Settle:
    """Nobody does anything until all running nodes agree and no certificate waits."""


Act = (
    CertifyFile
    | Say
    | Stake
    | Try
    | AwaitTurn
    | TryInTurn
    | KillForger
    | RestartKilled
    | SignTwice
    | Part
    | Heal
    | Join
    | Wait
    | Settle
)


@dataclass(frozen=True)
class Scene:
    """Acts that belong together, with the same time between any two."""

    title: str
    pause_ms: int
    acts: tuple[Act, ...]


def runner_of(node: int) -> str:
    """Who runs a node: the honest users the first three, further members the others."""
    return HONEST[node - 1] if node <= len(HONEST) else f"Node {node}"


_ATTEMPTS: Final = tuple(Illegal)
_VOTES_FROM: Final = _ATTEMPTS.index(Illegal.FORGED_VOTE)
_AS_MEMBER_FROM: Final = _ATTEMPTS.index(Illegal.WRONG_ROOT)
_MOST_VIEWS: Final = 60
"""Until the fraud is drawn: with a fifth of the stake, one time in 600,000 he is not."""

_WORK: Final = (
    ("Bob", "Delivery {} received", 4711, "12 crates, none damaged"),
    ("Alice", "Diploma 2025-{} awarded", 118, "with distinction"),
    ("Delphine", "Sample {} measured", 83, "pH 7.04 at 21.3 degrees"),
)


def script(node_count: int, file_count: int) -> tuple[Scene, ...]:
    """The whole demo for so many nodes and files."""
    work = map(_work, count(), cycle(range(1, node_count + 1)))
    return (*_opening(node_count, file_count, work), *_trouble(node_count, work), _late_joiner(node_count + 1))


def _opening(node_count: int, file_count: int, work: Iterator[Say]) -> tuple[Scene, ...]:
    files = [CertifyFile(HONEST[place % 3], place % node_count + 1, place) for place in range(file_count)]
    stakes = [Stake("Alice", 1, 20), Stake("Bob", 2, -20), Stake(FRAUD, 3, FRAUDS_STAKE)]
    staking = _side_by_side(stakes, work)
    return (
        Scene("Honest users certify files", max(FRAME_MS, min(400, 4_000 // file_count)), tuple(files)),
        Scene("They stake tokens and make statements; so does Charlie, the fraud", 300, (*staking, Settle())),
    )


def _trouble(node_count: int, work: Iterator[Say]) -> tuple[Scene, ...]:
    attempts = [Try(illegal, place % node_count + 1) for place, illegal in enumerate(_ATTEMPTS)]
    certificates = _side_by_side(attempts[:_VOTES_FROM], work)
    killing: tuple[Act, ...] = (KillForger(), *islice(work, 7), Settle(), Wait(1_000))
    coming_back: tuple[Act, ...] = (RestartKilled(), Wait(500), *islice(work, 5), Settle())
    votes_and_blocks = _side_by_side(attempts[_VOTES_FROM:_AS_MEMBER_FROM], work)
    turn = AwaitTurn(_readings(_MOST_VIEWS))
    lies = (turn, TryInTurn(Illegal.WRONG_ROOT), turn, TryInTurn(Illegal.LATER_VERSION))
    forging: tuple[Act, ...] = (Stake(FRAUD, 3, FREE_TOKENS - FRAUDS_STAKE), *lies)
    burned = (Try(Illegal.BURNED_KEY, 1), Try(Illegal.STALE_EVIDENCE, 2))
    signing_twice: tuple[Act, ...] = (SignTwice(3), *islice(work, 5), Settle(), *burned, Settle())
    parting: tuple[Act, ...] = (Part(node_count // 2), *islice(work, 6), Wait(2_400), Heal(), Settle())
    return (
        Scene("Charlie submits illegal certificates, while honest work goes on", 200, (*certificates, Settle())),
        Scene("The node drawn to forge next is killed: the ledger goes on without it", 200, killing + coming_back),
        Scene("Charlie throws forged votes, blocks and bytes at the nodes", 200, (*votes_and_blocks, Settle())),
        Scene("Charlie stakes all he has, is drawn to forge, and lies about the state", 300, (*forging, Settle())),
        Scene("Charlie signs two votes that conflict: they cost his stake, and his key is dead", 300, signing_twice),
        Scene("The network parts in two halves, and neither makes a block final", 300, parting),
    )


def _late_joiner(late: int) -> Scene:
    newcomer = runner_of(late)
    acts: tuple[Act, ...] = (
        Join(),
        Settle(),
        Stake(newcomer, late, FREE_TOKENS),
        Stake("Delphine", 3, -30),
        Say(newcomer, late, "The whole chain checked", "from its first block on"),
        Say("Alice", late, "Audit closed", "submitted at the new node"),
        Settle(),
    )
    return Scene("A node joins late, catches up, and takes part", 400, acts)


def _readings(count: int) -> tuple[Say, ...]:
    return tuple(Say("Delphine", 3, f"River gauge {number + 1}", "2.31 m") for number in range(count))


def _work(number: int, node: int) -> Say:
    user, subject, first, text = _WORK[number % len(_WORK)]
    return Say(user, node, subject.format(first + number // len(_WORK)), text)


def _side_by_side(acts: Sequence[Act], work: Iterator[Say]) -> tuple[Act, ...]:
    return tuple(one for act in acts for one in (act, next(work)))
