"""Everything in the file of a chain, derived again: it finds all damage, and says what can be repaired from where.

Unlike `CheckedChain`, which does not exist for a chain that breaks a rule, a check goes on behind what is damaged: a
block is bound by hashes to the blocks around it, and by the votes of its epoch's members, whom the state roots of
earlier blocks name.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from tallystick.consensus.proof_of_stake import check_drawn
from tallystick.host.claims import Claim, claimed
from tallystick.host.verification import verify_in_line
from tallystick.ledger.block import Block, block_codec, check_form, check_signatures, genesis_block, verified
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import certificate_codec
from tallystick.ledger.encoding import Codec
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.finality import FinalHeader, Finalization, Members, next_epoch
from tallystick.ledger.header import Header
from tallystick.ledger.state import State, StateRoots
from tallystick.ledger.vote import Tally, check_vote_signatures, tally_codec
from tallystick.problems import DamagedStore
from tallystick.storage.store import EpochEnd, Store

_CLAIMS_AT_ONCE: Final = 4_096
_ROWS_AT_ONCE: Final = 64
_HASH_BYTES: Final = 32

Verify = Callable[[Sequence[Claim]], Sequence[bool]]
"""Whether each of these signatures is good; in worker processes, where there are some."""

T = TypeVar("T")


@dataclass
class Report:
    """What a check found. Nothing of it is changed in the file; `repair` does that."""

    tip_index: int
    pages: list[str] = field(default_factory=list)
    """What SQLite says of pages of the file. If anything, nothing else was looked at: `salvage` comes first."""
    blocks: dict[int, str] = field(default_factory=dict)
    """Damaged or missing blocks, each with the reason."""
    finalizations: dict[int, str] = field(default_factory=dict)
    """Damaged finalizations, by the index of their block."""
    unproven: dict[int, int] = field(default_factory=dict)
    """Last blocks of epochs without a finalization, each with its epoch; no damage where a checkpoint was trusted."""
    ends: dict[int, tuple[Header, StateRoots, Members | None] | None] = field(default_factory=dict)
    """What is kept with last blocks of epochs and is not what it should be, by index; `None`: nothing should be."""
    payloads: dict[bytes, str] = field(default_factory=dict)
    """Damaged payloads, by hash."""
    votes: dict[int, str] = field(default_factory=dict)
    """Rows of votes and certificates of them that are damaged; other members have them."""
    proposals: dict[int, str] = field(default_factory=dict)
    """Rows of proposed blocks that are damaged; other members have them."""
    waiting: dict[int, str] = field(default_factory=dict)
    """Rows of certificates that wait to be forged and are damaged: who submitted them should do so again."""
    derived: list[str] = field(default_factory=list)
    """What is derived and is not what it should be."""
    epochs: dict[int, Epoch] = field(default_factory=dict)
    """The epochs whose members are known, by number."""
    chain: Blockchain | None = None
    """The whole chain, if every block follows from the one before."""
    final: State | None = None
    """What the chain has come to at the last block that votes prove final, if `chain`."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is damaged."""
        rows = (self.blocks, self.finalizations, self.payloads, self.votes, self.proposals, self.waiting)
        return not (self.pages or self.derived or any(rows))

    @property
    def log_root(self) -> bytes | None:
        """The root of the log up to `final`, if all of it could be derived."""
        return self.final.log.root() if self.final is not None else None

    @property
    def last_good(self) -> int:
        """The index of the last block that is not damaged; what follows is fetched like any later block."""
        return next((index for index in range(self.tip_index, 0, -1) if index not in self.blocks), 0)

    @property
    def missing_blocks(self) -> list[tuple[int, int]]:
        """First and last index of each damaged range below the last good block: to be fetched, and put back."""
        ranges: list[tuple[int, int]] = []
        for index in sorted(one for one in self.blocks if one < self.last_good):
            if ranges and ranges[-1][1] == index - 1:
                ranges[-1] = (ranges[-1][0], index)
            else:
                ranges.append((index, index))
        return ranges

    @property
    def missing_finalizations(self) -> list[int]:
        """The last blocks of epochs whose finalization should be fetched; later ones prove the others."""
        return [index for index in self.unproven if index <= self.last_good]


class Check:
    """One pass over a store that nobody writes to meanwhile."""

    def __init__(
        self,
        store: Store,
        verify: Verify = verify_in_line,
        on_block: Callable[[int], object] = lambda index: None,
    ) -> None:
        """`on_block` is called with the index of each block that was looked at."""
        genesis, tip_index = store.genesis, store.tip_index
        self._store, self._verify, self._on_block = store, verify, on_block
        self._params, self._ledger_id = genesis.params, genesis.ledger_id
        self._report = Report(tip_index)
        self._claims: list[Claim] = []
        self._blames: list[Callable[[], object]] = []
        self._hashes, self._parents, self._final = (bytearray(_HASH_BYTES * (tip_index + 1)) for _ in range(3))

    def run(self) -> Report:
        """Look at everything. Raises `StoreError` when the disk reports an error."""
        report, store = self._report, self._store
        report.pages = _damaged_pages(store)
        if report.pages:
            return report
        report.chain = Blockchain(store.genesis, check_drawn)
        report.final = report.chain.state
        report.epochs[0] = report.final.epoch
        for index in range(1, report.tip_index + 1):
            self._check_finality(index, self._check_block(index))
            self._on_block(index)
        self._flush()
        self._check_beyond_the_tip()
        self._check_links()
        self._check_payloads()
        self._check_votes_and_waiting()
        self._flush()
        if report.blocks:
            report.chain = None
        if report.chain is None:
            report.final = None
        self._check_derived()
        return report

    # ---- blocks and finalizations -----------------------------------------------------------------------------

    def _check_block(self, index: int) -> Header | None:
        """A block by itself, and, as long as all before it are good, by the rules. Its header, if it is good."""
        report = self._report
        rows = self._store.database.select("SELECT block_hash, encoded FROM blocks WHERE block_index = ?", (index,))
        if not rows:
            report.chain, report.blocks[index] = None, "missing"
            return None
        try:
            block = _decoded(block_codec, rows[0][1])
            if block.index != index:
                raise Refused(Rule.B1, f"it says that its index is {block.index}")
            self._check_alone(block, partial(report.blocks.setdefault, index, "a signature in it is not good"))
            if report.chain is not None:
                report.chain.append(verified(block))
        except Refused as refused:
            report.chain = None
            if refused.rule is not Rule.B2:  # which of two blocks is the wrong one, the links will tell
                report.blocks[index] = str(refused)
                return None
        self._hashes[_at(index)], self._parents[_at(index)] = block.hash, block.header.parent_hash
        if rows[0][0] != block.hash:
            self._blame_derived("hashes of blocks")
        return block.header

    def _check_alone(self, block: Block, blame: Callable[[], object]) -> None:
        check_form(block, self._ledger_id)
        check_signatures(block, self._ledger_id, claimed(partial(self._claim, blame)))

    def _check_finality(self, index: int, header: Header | None) -> None:
        """What is kept with a block: the votes for it, and whom it names as the next epoch's members."""
        report, store, tally, end = self._report, self._store, None, None
        try:
            tally = store.finalization(index)
            if tally is not None:
                self._check_votes(index, header, tally)
        except (DamagedStore, Refused) as damage:
            report.finalizations[index] = _reason(damage)
            tally = None
        try:
            end = store.epoch_end(index)
            if report.chain is None and end is not None and header is not None:
                self._follow(header, tally, end)
        except (DamagedStore, Refused):
            self._blame_end(index, None)
            end = None
        if report.chain is not None and header is not None:
            end = self._check_end(index, header, report.chain.state, end)
            if tally is not None:
                report.final = report.chain.state
        if end is not None and tally is None:
            report.unproven[index] = end.epoch

    def _check_votes(self, index: int, header: Header | None, tally: Tally) -> None:
        """Votes are validated if the members of their epoch are known."""
        number, epoch = tally.ballot.epoch, self._report.epochs.get(tally.ballot.epoch)
        if header is not None and number != header.epoch:
            raise Refused(Rule.V2, f"these votes are of epoch {number}, the block of epoch {header.epoch}")
        if epoch is None:
            return
        self._final[_at(index)] = Finalization(tally, epoch).ballot.block_hash
        check_vote_signatures(tally, self._ledger_id, claimed(partial(self._claim, partial(self._unproven, index))))

    def _follow(self, header: Header, tally: Tally | None, end: EpochEnd) -> None:
        """Behind a damaged block, who votes in the next epoch is known by votes and state roots."""
        if (end.epoch, end.roots.hash) != (header.epoch, header.state_root):
            raise Refused(Rule.B12, "these state roots are not those of the block")
        epoch = self._report.epochs.get(end.epoch)
        if tally is not None and epoch is not None:
            following = next_epoch(epoch, FinalHeader(header, tally, end.roots, end.members))
            self._report.epochs[following.number] = following

    def _check_end(self, index: int, header: Header, state: State, kept: EpochEnd | None) -> EpochEnd | None:
        """What should be kept if this block, which leads to this state, is the last of its epoch."""
        due, report = None, self._report
        if state.epoch.number != header.epoch:
            before, report.epochs[state.epoch.number] = report.epochs[header.epoch], state.epoch
            is_changed = before.members != state.epoch.members
            due = EpochEnd(header.epoch, state.roots, state.epoch.members if is_changed else None)
        if kept != due:
            self._blame_end(index, due and (header, due.roots, due.members))
        return due

    def _blame_end(self, index: int, due: tuple[Header, StateRoots, Members | None] | None) -> None:
        self._report.ends[index] = due
        self._blame_derived("ends of epochs")

    def _unproven(self, index: int) -> None:
        self._report.finalizations[index] = "a vote in it is not signed by its member"
        self._final[_at(index)] = ZERO_DIGEST

    def _check_beyond_the_tip(self) -> None:
        """What is kept with blocks that are gone would be in the way of what comes in their place."""
        for table in ("finalizations", "epoch_ends"):
            sql = f"SELECT block_index FROM {table} WHERE block_index > ?"  # noqa: S608
            for (index,) in self._store.database.select(sql, (self._report.tip_index,)):
                self._report.finalizations[index] = "there is no such block"

    def _check_links(self) -> None:
        """From the end back: a block is the one that votes made final, or that the next good block names."""
        blocks, named = self._report.blocks, bytearray(ZERO_DIGEST)
        self._hashes[_at(0)] = self._final[_at(0)] = genesis_block(self._store.genesis).hash
        for index in range(self._report.tip_index, -1, -1):
            kept, final = self._hashes[_at(index)], self._final[_at(index)]
            if index in blocks:
                named = bytearray(ZERO_DIGEST)
                continue
            if final == kept and named not in (ZERO_DIGEST, kept):
                blocks[index + 1] = "its parent is another block than the one that is final"
            elif final not in (ZERO_DIGEST, kept):
                blocks[index] = "votes made another block final"
            elif named not in (ZERO_DIGEST, kept):
                blocks[index] = "the next block names another one as its parent"
            named = self._parents[_at(index)] if index not in blocks else bytearray(ZERO_DIGEST)

    # ---- what stands beside the blocks ----------------------------------------------------------------------

    def _check_payloads(self) -> None:
        for payload_hash in self._store.payload_tables.hashes():
            try:
                self._store.payload_tables.get(payload_hash)
            except DamagedStore as damage:
                self._report.payloads[payload_hash] = str(damage.refused)

    def _check_votes_and_waiting(self) -> None:
        """Votes, proposals and waiting certificates: each row by itself."""
        report = self._report
        for row, epoch, view, encoded in self._rows("votes", "epoch, view, encoded"):
            blame = partial(report.votes.setdefault, row, "a signature in it is not good")
            try:
                tally = _decoded(tally_codec, encoded)
                if (tally.ballot.epoch, tally.ballot.view) != (epoch, view):
                    raise Refused(Rule.V1, f"it is of epoch {tally.ballot.epoch} and view {tally.ballot.view}")
                check_vote_signatures(tally, self._ledger_id, claimed(partial(self._claim, blame)))
            except Refused as refused:
                report.votes[row] = str(refused)
        for row, encoded in self._rows("proposals", "encoded"):
            blame = partial(report.proposals.setdefault, row, "a signature in it is not good")
            try:
                self._check_alone(_decoded(block_codec, encoded), blame)
            except Refused as refused:
                report.proposals[row] = str(refused)
        for row, kept_id, encoded in self._rows("waiting", "certificate_id, encoded"):
            try:
                if _decoded(certificate_codec, encoded).id != kept_id:
                    raise Refused(Rule.E2, "its id is another")
            except Refused as refused:
                report.waiting[row] = str(refused)

    def _rows(self, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
        """Row number and columns of each row, a few at a time."""
        sql = f"SELECT rowid, {columns} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT ?"  # noqa: S608
        last = -1
        while rows := self._store.database.select(sql, (last, _ROWS_AT_ONCE)):
            yield from rows
            last = rows[-1][0]

    def _check_derived(self) -> None:
        """The index of files, what is awaited, and the snapshot, as far as what they derive from is whole."""
        report, tables = self._report, self._store.payload_tables
        if not report.blocks and not report.payloads and not tables.are_as_derived(self._store.blocks()):
            self._blame_derived("index of files and payloads")
        snapshot = self._store.snapshot()
        if snapshot is None:
            if self._store.database.select("SELECT 1 FROM snapshot UNION SELECT 1 FROM ids"):
                self._blame_derived("snapshot")
        elif report.chain is not None:
            ids, counts = snapshot.certificate_index.ids_after(0)
            all_ids, all_counts = report.chain.certificate_index.ids_after(0)
            is_at_tip = snapshot.state.index == report.tip_index
            if (
                not all_ids.startswith(ids)
                or all_counts[: len(counts)] != counts
                or (is_at_tip and snapshot.state != report.chain.state)
            ):
                self._blame_derived("snapshot")

    def _blame_derived(self, what: str) -> None:
        if what not in self._report.derived:
            self._report.derived.append(what)

    # ---- signatures -----------------------------------------------------------------------------------------

    def _claim(self, blame: Callable[[], object], claim: Claim) -> None:
        """Have a signature checked, some time; if it is not good, `blame` is called."""
        self._claims.append(claim)
        self._blames.append(blame)
        if len(self._claims) >= _CLAIMS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        claims, blames = self._claims, self._blames
        self._claims, self._blames = [], []
        for blame, is_good in zip(blames, self._verify(claims), strict=True):
            if not is_good:
                blame()


def _damaged_pages(store: Store) -> list[str]:
    try:
        found = [row[0].decode() for row in store.database.select("PRAGMA integrity_check(20)")]
    except DamagedStore as damage:
        return [str(damage)]
    return [] if found == ["ok"] else found


def _decoded(codec: Codec[T], encoded: object) -> T:
    return codec.decode(encoded if isinstance(encoded, bytes) else b"")


def _reason(damage: DamagedStore | Refused) -> str:
    return str(damage.refused if isinstance(damage, DamagedStore) else damage)


def _at(index: int) -> slice:
    return slice(_HASH_BYTES * index, _HASH_BYTES * (index + 1))
