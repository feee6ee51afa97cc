"""What happens in the demo, and in which order. `world.py` carries it out, `view.py` shows it.

Nodes are numbered from 1; the one after the last joins late.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

LEDGER_NAME: Final = "tallystick demo"

HONEST: Final = ("Alice", "Bob", "Delphine")
FRAUD: Final = "Charlie"

FREE_TOKENS: Final = 100
"""What everybody has to stake, the fraud too."""
STAKED_TOKENS: Final = 100
"""What each of the first nodes begins with at stake."""

FORGE_AT_CERTIFICATES: Final = 5
FORGE_AFTER_MS: Final = 1_800

FRAME_MS: Final = 100
"""Virtual time passes in frames of this length; people act between two frames."""
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

    NOT_DRAWN = "a block that he was not drawn to forge"
    OTHER_PARENT = "a block on a parent that is not the tip"
    OLD_INDEX = "a rival for a block that is on the chain"
    FORGED_SIGNATURE = "a block in the drawn forger's name"
    DOUBLED_CERTIFICATE = "a block with a certificate twice (stolen key)"
    OLD_CERTIFICATE = "a block repeating a certificate (stolen key)"
    ILLEGAL_STAKE = "a block staking what he lacks (stolen key)"
    OTHER_CERTIFICATES = "a block with its certificates exchanged"
    BACKDATED = "a block dated before its parent"
    TOO_BIG = "a block over 1 MiB"
    OTHER_LEDGER = "a block of another ledger"

    GARBAGE = "bytes that mean nothing"
    OVERSIZED = "a message of 2 MiB and 1 byte"
    NOT_CANONICAL = "a message encoded the long way round"
    LATER_VERSION = "a block of a version to come"
    STRANGER = "a greeting from another ledger"


@dataclass(frozen=True)
class CertifyFile:
    """A person certifies one of the files (by its place in the list) at a node."""

    person: str
    node: int
    file: int


@dataclass(frozen=True)
class Say:
    """A person makes a statement at a node; the text is its payload."""

    person: str
    node: int
    subject: str
    text: str


@dataclass(frozen=True)
class Stake:
    """Whoever runs the node moves tokens into stake, or (below zero) out of it."""

    node: int
    amount: int


@dataclass(frozen=True)
class Try:
    """The fraud tries something on a node."""

    illegal: Illegal
    node: int


@dataclass(frozen=True)
class Join:
    """The late joiner appears, and asks the others for everything it missed."""


@dataclass(frozen=True)
class Settle:
    """Nobody does anything until all nodes agree and no certificate waits."""


Act = CertifyFile | Say | Stake | Try | Join | Settle


@dataclass(frozen=True)
class Scene:
    """Acts that belong together, with the same time between any two."""

    title: str
    pause_ms: int
    acts: tuple[Act, ...]


def runner_of(node: int) -> str:
    """Who runs a node: the honest people the first three, further members the others."""
    return HONEST[node - 1] if node <= len(HONEST) else f"Node {node}"


_ATTEMPTS: Final = tuple(Illegal)
_BLOCKS_FROM: Final = _ATTEMPTS.index(Illegal.NOT_DRAWN)

_WORK: Final = (
    ("Bob", "Delivery {} received", 4711, "12 crates, none damaged"),
    ("Alice", "Diploma 2025-{} awarded", 118, "with distinction"),
    ("Delphine", "Sample {} measured", 83, "pH 7.04 at 21.3 degrees"),
)


def script(node_count: int, file_count: int) -> tuple[Scene, ...]:
    """The whole demo for so many nodes and files."""
    files = [CertifyFile(HONEST[place % 3], place % node_count + 1, place) for place in range(file_count)]
    attempts = [Try(illegal, place % node_count + 1) for place, illegal in enumerate(_ATTEMPTS)]
    work = [_work(number, node_count) for number in range(len(attempts) + 4)]
    late = node_count + 1
    return (
        Scene("Honest people certify files", max(FRAME_MS, min(500, 4_000 // file_count)), tuple(files)),
        Scene(
            "They stake tokens and make statements",
            400,
            (Stake(1, 50), work[0], work[1], Stake(2, -40), work[2], work[3], Settle()),
        ),
        Scene(
            "Charlie, the fraud, hands in illegal certificates, while honest work goes on",
            300,
            _side_by_side(attempts[:_BLOCKS_FROM], work[4:]),
        ),
        Scene(
            "Charlie throws illegal blocks and bytes at the nodes, while honest work goes on",
            300,
            _side_by_side(attempts[_BLOCKS_FROM:], work[4 + _BLOCKS_FROM :]),
        ),
        Scene(
            "A node joins late, catches up, and takes part",
            500,
            (
                Join(),
                Settle(),
                Stake(late, FREE_TOKENS),
                Say(runner_of(late), late, "The whole chain checked", "from its first block on"),
                Say("Alice", late, "Audit closed", "handed in at the new node"),
                Settle(),
            ),
        ),
    )


def _work(number: int, node_count: int) -> Say:
    person, subject, first, text = _WORK[number % len(_WORK)]
    return Say(person, number % node_count + 1, subject.format(first + number // len(_WORK)), text)


def _side_by_side(attempts: list[Try], work: list[Say]) -> tuple[Act, ...]:
    return tuple(act for pair in zip(attempts, work, strict=False) for act in pair)
