"""What was decided on a ledger with a directory: which certificates are about which, and what became of motions."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple, Protocol

from tallystick.ledger.block import Block
from tallystick.ledger.certificate import (
    Approval,
    Erasure,
    ErasureConfirmation,
    Motion,
    Objection,
    Revocation,
    Statement,
    Supersession,
)
from tallystick.ledger.certificate_index import Place
from tallystick.ledger.changes import Erase, SetStatus
from tallystick.ledger.encoding import digest
from tallystick.ledger.motions import Outcome
from tallystick.storage.sqlite_file import Database

ORDERS: Final = digest(b"tallystick.erasure-orders")
"""No certificate's id: what orders that a payload be erased stands in `about` under this one, too."""
BEFORE_ALL: Final = Place(0, -1)
_OUTCOMES: Final = frozenset(map(int, Outcome))


class Decided(NamedTuple):
    """What became of a motion."""

    motion: bytes
    block_index: int
    """With which block."""
    outcome: Outcome


class Decisions(Protocol):
    """What was decided, as it can be looked up."""

    def places_about(self, certificate_id: bytes, after: Place = BEFORE_ALL) -> list[Place]:
        """Where the words on a motion, or what is decided about a statement, stand, in order; and all `ORDERS`."""

    def outcome_of(self, motion: bytes) -> Decided | None:
        """What became of a motion; `None`: nothing yet."""

    def outcomes(self, skip: int, most: int) -> list[Decided]:
        """The motions that were decided, the latest first."""


class DecisionTables:
    """The derived tables `about` and `decided`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def places_about(self, certificate_id: bytes, after: Place = BEFORE_ALL) -> list[Place]:
        """Where the words on a motion, or what is decided about a statement, stand, in order; and all `ORDERS`."""
        sql = "SELECT block_index, position FROM about WHERE certificate_id = ? AND (block_index, position) > (?, ?)"
        rows = self._database.select(f"{sql} ORDER BY block_index, position", (certificate_id, *after))
        return [Place(*row) for row in rows]

    def outcome_of(self, motion: bytes) -> Decided | None:
        """What became of a motion; `None`: nothing yet."""
        sql = "SELECT motion, block_index, outcome FROM decided WHERE motion = ?"
        return next(_decided(self._database.select(sql, (motion,))), None)

    def outcomes(self, skip: int, most: int) -> list[Decided]:
        """The motions that were decided, the latest first."""
        sql = "SELECT motion, block_index, outcome FROM decided ORDER BY block_index DESC, motion LIMIT ? OFFSET ?"
        return list(_decided(self._database.select(sql, (most, skip))))

    # ---- within a transaction -------------------------------------------------------------------------------

    def add_block(self, block: Block, decided: Mapping[bytes, Outcome]) -> None:
        """Note of which certificates a new block's are about, and what became of motions with it."""
        rows = [(about, block.index, position) for about, position in _about(block)]
        self._database.execute_many("INSERT OR REPLACE INTO about VALUES (?, ?, ?)", rows)
        self.keep_outcomes(Decided(motion, block.index, outcome) for motion, outcome in decided.items())

    def keep_outcomes(self, decided: Iterable[Decided]) -> None:
        """Note what became of motions."""
        rows = [(one.motion, one.block_index, int(one.outcome)) for one in decided]
        self._database.execute_many("INSERT OR REPLACE INTO decided VALUES (?, ?, ?)", rows)

    def cut(self, last: int) -> None:
        """Forget what came with the blocks after this one."""
        for table in ("about", "decided"):
            self._database.execute(f"DELETE FROM {table} WHERE block_index > ?", (last,))  # noqa: S608

    def rebuild(self, blocks: Iterable[Block]) -> None:
        """Derive anew what follows from the blocks."""
        self._database.execute("DELETE FROM about")
        for block in blocks:
            self.add_block(block, {})

    def rebuild_outcomes(self, decided: Iterable[Decided]) -> None:
        """Keep what a replay found, and nothing else."""
        self._database.execute("DELETE FROM decided")
        self.keep_outcomes(decided)

    def are_as_derived(self, blocks: Iterable[Block]) -> bool:
        """Whether `about` holds what follows from the blocks, and nothing else."""
        count = 0
        sql = "SELECT 1 FROM about WHERE (certificate_id, block_index, position) = (?, ?, ?)"
        for block in blocks:
            for about, position in _about(block):
                if not self._database.select(sql, (about, block.index, position)):
                    return False
                count += 1
        return self._database.select("SELECT count(*) FROM about") == [(count,)]

    def are_outcomes(self, decided: Iterable[Decided]) -> bool:
        """Whether `decided` holds these, and nothing else."""
        kept = self._database.select("SELECT motion, block_index, outcome FROM decided")
        return sorted(map(repr, kept)) == sorted(repr((*one[:2], int(one.outcome))) for one in decided)


class NotedDecisions:
    """The same, noted while a chain is checked."""

    def __init__(self) -> None:
        self._about: dict[bytes, list[Place]] = {}
        self._decided: dict[bytes, Decided] = {}

    def places_about(self, certificate_id: bytes, after: Place = BEFORE_ALL) -> list[Place]:
        """Where the words on a motion, or what is decided about a statement, stand, in order; and all `ORDERS`."""
        return [one for one in self._about.get(certificate_id, []) if one > after]

    def outcome_of(self, motion: bytes) -> Decided | None:
        """What became of a motion; `None`: nothing yet."""
        return self._decided.get(motion)

    def outcomes(self, skip: int, most: int) -> list[Decided]:
        """The motions that were decided, the latest first."""
        ordered = sorted(self._decided.values(), key=lambda one: (-one.block_index, one.motion))
        return ordered[skip : skip + most]

    def add_block(self, block: Block, decided: Mapping[bytes, Outcome]) -> None:
        """Note what the next block holds, and what became of motions with it."""
        for about, position in _about(block):
            self._about.setdefault(about, []).append(Place(block.index, position))
        self._decided |= {motion: Decided(motion, block.index, outcome) for motion, outcome in decided.items()}


def _about(block: Block) -> Iterator[tuple[bytes, int]]:
    """The ids that the block's certificates are about, and their positions."""
    for position, one in enumerate(block.certificates):
        match one:
            case Statement():
                pass
            case Approval(motion=about) | Objection(motion=about):
                yield about, position
            case Revocation(target=about) | Supersession(target=about) | ErasureConfirmation(target=about):
                yield about, position
            case Motion(change=SetStatus(target=about)):
                yield about, position
            case Erasure(target=about) | Motion(change=Erase(target=about)):
                yield about, position
                yield ORDERS, position


def _decided(rows: Iterable[tuple[bytes, int, int]]) -> Iterator[Decided]:
    """A changed row is left out: `check` tells of it."""
    return (Decided(motion, index, Outcome(outcome)) for motion, index, outcome in rows if outcome in _OUTCOMES)
