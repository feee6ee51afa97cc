"""Everything in the file of a chain, derived again: it finds all damage, and says what can be repaired from where.

Unlike `CheckedChain`, which does not exist for a chain that breaks a rule, a check goes on behind what is damaged: a
block is bound by hashes to the blocks around it, and by the votes of its epoch's members, whom the state roots of
earlier blocks name.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby
from typing import Final

from tallystick.consensus.proof_of_stake import check_drawn
from tallystick.host.batches import Claim
from tallystick.host.claims import claimed
from tallystick.host.verification import verify_in_line, verifying
from tallystick.ledger.block import Block, block_codec, check_form, check_signatures, genesis_block, verified
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import check_signed, payload_codec
from tallystick.ledger.checkpoint import cosignature_codec
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.finality import FinalHeader, Finalization, next_epoch
from tallystick.ledger.header import Header
from tallystick.ledger.merkle import leaf_hash
from tallystick.ledger.state import State
from tallystick.ledger.vote import Tally, check_vote_signatures, tally_codec
from tallystick.problems import DamagedStore
from tallystick.storage.decision_tables import Decided
from tallystick.storage.payload_tables import is_hash
from tallystick.storage.sqlite_file import decode_column
from tallystick.storage.store import EpochEnd, Store
from tallystick.storage.waiting_table import decoded_submission

_CLAIMS_AT_ONCE: Final = 4_096
_ROWS_AT_ONCE: Final = 64
_FALSE_SIGNATURE: Final = "a signature in it is not good"
_LINES: Final = {
    "finalizations": "finalization of block {}: {}",
    "epoch_ends": "end of epoch {}: {}",
    "payloads": "payload {1}",
    "erased": "note that a payload was erased, {1}",
    "proposals": "proposal {1}",
    "cosignatures": "cosignature of {1}",
    "waiting": "certificates that waited, to be submitted again, {1}",
}
"""What is said of a damaged row, by table."""

Verify = Callable[[Sequence[Claim]], Sequence[bool]]
"""Whether each of these signatures is good; in worker processes, where there are some."""


@dataclass
class Report:
    """What a check found. Nothing of it is changed in the file; `repair` does that."""

    tip_index: int
    pages: list[str] = field(default_factory=list)
    """What SQLite says of pages of the file. If anything, nothing else was looked at: `salvage` comes first."""
    rows: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    """By table, and there by number: damaged rows, and missing blocks, each with the reason."""
    unproven: dict[int, int] = field(default_factory=dict)
    """Last blocks of epochs without a finalization, each with its epoch; no damage below a trusted block."""
    ends: dict[int, EpochEnd | None] = field(default_factory=dict)
    """What should be kept with last blocks of epochs and is not, by index; `None`: nothing should be."""
    derived: list[str] = field(default_factory=list)
    """What is derived and is not what it should be."""
    decided: list[Decided] = field(default_factory=list)
    """What became of motions, as far as every block follows from the one before."""
    members_hashes: bytearray = field(default_factory=bytearray)
    """Likewise, of each block the part of its state root that is not about the log, 32 bytes."""
    epochs: dict[int, Epoch] = field(default_factory=dict)
    """The epochs whose members are known, by number."""
    chain: Blockchain | None = None
    """The whole chain, if every block follows from the one before."""
    final: State | None = None
    """What the chain has come to at the last block that votes prove final, if `chain`."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is damaged."""
        return not (self.pages or self.derived or any(self.rows.values()))

    @property
    def last_good(self) -> int:
        """The index of the last block that is not damaged; what follows is fetched like any later block."""
        return next((index for index in range(self.tip_index, 0, -1) if index not in self.rows["blocks"]), 0)

    @property
    def missing_blocks(self) -> list[tuple[int, int]]:
        """First and last index of each damaged range below the last good block: to be fetched, and put back."""
        last = self.last_good
        return [(one[0], one[-1]) for one in _ranges(index for index in self.rows["blocks"] if index < last)]

    @property
    def missing_finalizations(self) -> list[int]:
        """The last blocks of epochs whose finalization should be fetched; later ones prove the others."""
        last = self.last_good
        return [index for index in self.unproven if index <= last]

    @property
    def lines(self) -> list[str]:
        """All damage in words, a line each."""
        finalizations, votes = self.rows["finalizations"], self.rows["votes"]
        found = [f"pages of the file: {one}" for one in self.pages]
        found += _by_ranges(self.rows["blocks"])
        found += [
            f"finalization of block {index}, the last of its epoch: missing"
            for index in self.unproven
            if index not in finalizations
        ]
        found += [
            said.format(row, reason)
            for table, said in _LINES.items()
            for row, reason in sorted(self.rows[table].items())
        ]
        found += [f"derived: {what}" for what in self.derived]
        return [*found, f"votes: {len(votes)} damaged"] if votes else found


def find_damage(
    store: Store, verify: Verify | None = None, on_block: Callable[[int], object] = lambda index: None
) -> Report:
    """Check all that the file holds, as it is at this moment. Without `verify`, it starts processes to verify in."""
    if verify is None:
        with asyncio.Runner() as runner, verifying(runner) as in_processes:
            return find_damage(store, in_processes, on_block)
    with store.frozen():
        return Check(store, verify, on_block).run()


class Check:
    """One pass over a store that nobody writes to meanwhile."""

    def __init__(
        self, store: Store, verify: Verify = verify_in_line, on_block: Callable[[int], object] = lambda index: None
    ) -> None:
        """`on_block` is called with the index of each block that was looked at."""
        self._store, self._verify, self._on_block = store, verify, on_block
        self._ledger_id = store.genesis.ledger_id
        self._report = Report(store.tip_index)
        self._claims: list[tuple[Claim, Callable[[], object]]] = []
        self._parent_hash: bytes | None = genesis_block(store.genesis).hash
        self._is_bound: list[bool | None] = [None] * (store.tip_index + 2)
        """By index: whether the block names the one before it as its parent, if that is known."""
        self._cosigned: dict[int, tuple[bytes, Epoch] | None] = {}
        """By size of which cosignatures are kept: the root of that log, and who votes in its block's epoch."""
        self._is_voted_for: list[bool | None] = [True] + [None] * store.tip_index
        """By index: whether votes made this block final (or another one), if there are any."""

    def run(self) -> Report:
        """Look at everything. Raises `StoreError` when the disk reports an error."""
        report, store = self._report, self._store
        report.pages = _damaged_pages(store)
        if report.pages:
            return report
        report.chain = Blockchain(store.genesis, check_drawn)
        report.final = report.chain.state
        report.epochs[0] = report.final.epoch
        sizes = store.database.select("SELECT DISTINCT size FROM cosignatures")
        self._cosigned = dict.fromkeys(size for (size,) in sizes)
        for index in range(1, report.tip_index + 1):
            self._check_finality(index, self._check_block(index))
            self._on_block(index)
        self._flush()
        self._check_beyond_the_tip()
        self._check_links()
        self._check_rows("payloads", "payload_hash, encoded", self._check_payload)
        self._check_rows("erased", "payload_hash", self._check_erased)
        self._check_rows("votes", "epoch, view, encoded", self._check_vote)
        self._check_rows("proposals", "block_hash, encoded", self._check_proposal)
        self._check_rows("cosignatures", "member, size, encoded", self._check_cosignature)
        self._check_rows("waiting", "digest, encoded", self._check_waiting)
        self._flush()
        if report.rows["blocks"]:
            report.chain = None
        if report.chain is None:
            report.final = None
        self._check_derived()
        return report

    # ---- blocks and finalizations -----------------------------------------------------------------------------

    def _check_block(self, index: int) -> Header | None:
        """A block by itself, and, as long as all before it are good, by the rules. Its header, if it is good."""
        report, damaged, parent_hash = self._report, self._report.rows["blocks"], self._parent_hash
        self._parent_hash = None
        sql = "SELECT block_hash, header_leaf, encoded FROM blocks WHERE block_index = ?"
        rows = self._store.database.select(sql, (index,))
        if not rows:
            report.chain, damaged[index] = None, "missing"
            return None
        try:
            block = decode_column(block_codec, rows[0][2])
            if block.index != index:
                raise Refused(Rule.B1, f"it says that its index is {block.index}")
            self._check_alone(block, partial(damaged.setdefault, index, _FALSE_SIGNATURE))
            if report.chain is not None:
                epoch = report.chain.state.epoch
                report.chain.append(verified(block))
                self._note_log(report.chain.state, epoch)
                outcomes = report.chain.state.decided.items()
                report.decided += [Decided(motion, index, outcome) for motion, outcome in outcomes]
                report.members_hashes += report.chain.state.members_hash
        except Refused as refused:
            report.chain = None
            if refused.rule is not Rule.B2:  # which of two blocks is the wrong one, the links will tell
                damaged[index] = str(refused)
                return None
        self._parent_hash = block.hash
        if parent_hash is not None:
            self._is_bound[index] = block.header.parent_hash == parent_hash
        if rows[0][:2] != (block.hash, leaf_hash(block.header.encoded)):
            self._blame_derived("hashes of blocks")
        return block.header

    def _note_log(self, state: State, epoch: Epoch) -> None:
        if self._cosigned.get(state.log.size, True) is None:
            self._cosigned[state.log.size] = state.log.root(), epoch

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
            reason = damage.refused if isinstance(damage, DamagedStore) else damage
            report.rows["finalizations"][index], tally = str(reason), None
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
        voted_for = Finalization(tally, epoch).ballot.block_hash
        if header is not None:
            self._is_voted_for[index] = voted_for == header.hash
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
            self._blame_end(index, due)
        return due

    def _blame_end(self, index: int, due: EpochEnd | None) -> None:
        self._report.ends[index] = due
        self._blame_derived("ends of epochs")

    def _unproven(self, index: int) -> None:
        self._report.rows["finalizations"][index] = "a vote in it is not signed by its member"
        self._is_voted_for[index] = None

    def _check_beyond_the_tip(self) -> None:
        """What is kept with blocks that are gone would be in the way of what comes in their place."""
        for table in ("finalizations", "epoch_ends"):
            sql = f"SELECT rowid FROM {table} WHERE block_index > ?"  # noqa: S608
            for (row,) in self._store.database.select(sql, (self._report.tip_index,)):
                self._report.rows[table][row] = "there is no such block"

    def _check_links(self) -> None:
        """From the end back: a block is the one that votes made final, or that the next good block names."""
        blocks = self._report.rows["blocks"]
        for index in range(self._report.tip_index, -1, -1):
            is_named = None if index + 1 in blocks else self._is_bound[index + 1]
            if index in blocks:
                continue
            if self._is_voted_for[index] is False:
                blocks[index] = "votes made another block final"
            elif is_named is False and self._is_voted_for[index]:
                blocks[index + 1] = "its parent is another block than the one that is final"
            elif is_named is False:
                blocks[index] = "the next block names another one as its parent"

    # ---- what stands beside the blocks ----------------------------------------------------------------------

    def _check_rows(self, table: str, columns: str, check: Callable[..., None]) -> None:
        """Each row by itself, a few at a time, told by its key: `check` is given whom to blame, key and columns."""
        sql = f"SELECT rowid, {columns} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT ?"  # noqa: S608
        damaged, last = self._report.rows[table], -1
        while rows := self._store.database.select(sql, (last, _ROWS_AT_ONCE)):
            for last, key, *values in rows:
                name = f"{key.hex():.16}…" if isinstance(key, bytes) else f"{key!r:.16}"
                try:
                    check(partial(damaged.setdefault, last, f"{name}: {_FALSE_SIGNATURE}"), key, *values)
                except Refused as refused:
                    damaged[last] = f"{name}: {refused}"

    def _check_vote(self, blame: Callable[[], object], epoch: int, view: int, encoded: object) -> None:
        tally = decode_column(tally_codec, encoded)
        if (tally.ballot.epoch, tally.ballot.view) != (epoch, view):
            raise Refused(Rule.V1, f"it is of epoch {tally.ballot.epoch} and view {tally.ballot.view}")
        check_vote_signatures(tally, self._ledger_id, claimed(partial(self._claim, blame)))

    def _check_payload(self, _: object, kept_hash: object, encoded: object) -> None:
        if decode_column(payload_codec, encoded).hash() != kept_hash:
            raise Refused(Rule.C3, "its hash is another")

    def _check_erased(self, _: object, kept_hash: object) -> None:
        if not is_hash(kept_hash):
            raise Refused(Rule.E2, "it is no hash")

    def _check_proposal(self, blame: Callable[[], object], kept_hash: object, encoded: object) -> None:
        block = decode_column(block_codec, encoded)
        if block.hash != kept_hash:
            raise Refused(Rule.E2, "its hash is another")
        self._check_alone(block, blame)

    def _check_cosignature(self, blame: Callable[[], object], member: object, size: int, encoded: object) -> None:
        """One of a log behind a damaged block is compared with nothing."""
        one = decode_column(cosignature_codec, encoded)
        if (one.member, one.size) != (member, size):
            raise Refused(Rule.N10, "it stands in another's place")
        if (known := self._cosigned[size]) is not None:
            root, epoch = known
            if one.root != root or not epoch.stake(one.member):
                raise Refused(Rule.N10, f"it is of another log of {size} certificates, or not of a member")
        elif self._report.chain is not None:
            raise Refused(Rule.N10, f"no block ends a log of {size} certificates")
        one.is_signed(self._store.genesis.origin, claimed(partial(self._claim, blame)))

    def _check_waiting(self, blame: Callable[[], object], kept_digest: object, encoded: object) -> None:
        for one in decoded_submission(kept_digest, encoded):
            check_signed(one, self._ledger_id, claimed(partial(self._claim, blame)))

    def _check_derived(self) -> None:
        """The indexes, what is awaited, and the snapshot, as far as what they derive from is whole."""
        report, tables = self._report, self._store.payload_tables
        is_whole = not (report.rows["blocks"] or report.rows["payloads"])
        if is_whole and not tables.are_as_derived(self._store.blocks()):
            self._blame_derived("index of files and payloads")
        decisions = self._store.decision_tables
        if not report.rows["blocks"] and not decisions.are_as_derived(self._store.blocks()):
            self._blame_derived("index of decisions")
        all_blocks = chain([genesis_block(self._store.genesis)], self._store.blocks())
        if not report.rows["blocks"] and not self._store.hash_tiles.are_as_derived(all_blocks):
            self._blame_derived("tiles of hashes")
        if report.chain is not None and not decisions.are_outcomes(report.decided):
            self._blame_derived("outcomes of motions")
        if report.chain is not None and not self._are_state_parts(report.members_hashes):
            self._blame_derived("parts of states")
        snapshot = self._store.snapshot()
        if snapshot is None:
            if self._store.database.select(
                "SELECT 1 FROM snapshot UNION SELECT 1 FROM ids UNION SELECT 1 FROM id_runs"
            ):
                self._blame_derived("snapshot")
        elif report.chain is not None:
            is_prefix = self._store.is_snapshot_of(report.chain)
            if not is_prefix or (snapshot.state.index == report.tip_index and snapshot.state != report.chain.state):
                self._blame_derived("snapshot")

    def _are_state_parts(self, due: bytes | bytearray) -> bool:
        """Whether the table holds these, of block 1 and those after it, and nothing else."""
        last, sql = 0, "SELECT * FROM state_parts WHERE block_index > ? ORDER BY block_index LIMIT ?"
        while rows := self._store.database.select(sql, (last, _ROWS_AT_ONCE)):
            due_rows = [(at, bytes(due[32 * (at - 1) : 32 * at])) for at in range(last + 1, last + len(rows) + 1)]
            if rows != due_rows:
                return False
            last += len(rows)
        return 32 * last == len(due)

    def _blame_derived(self, what: str) -> None:
        if what not in self._report.derived:
            self._report.derived.append(what)

    # ---- signatures -----------------------------------------------------------------------------------------

    def _claim(self, blame: Callable[[], object], claim: Claim) -> None:
        """Have a signature checked, some time; if it is not good, `blame` is called."""
        self._claims.append((claim, blame))
        if len(self._claims) >= _CLAIMS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        claims, self._claims = self._claims, []
        for (_, blame), is_good in zip(claims, self._verify([claim for claim, _ in claims]), strict=True):
            if not is_good:
                blame()


def _ranges(indexes: Iterator[int]) -> list[list[int]]:
    """The indexes, ascending, parted where one is left out."""
    groups = groupby(enumerate(sorted(indexes)), lambda one: one[1] - one[0])
    return [[index for _, index in group] for _, group in groups]


def _by_ranges(blocks: Mapping[int, str]) -> Iterator[str]:
    """One line for blocks that follow each other and have the same damage."""
    for reason, group in groupby(sorted(blocks), blocks.__getitem__):
        for one in _ranges(group):
            yield f"block {one[0]}: {reason}" if len(one) == 1 else f"blocks {one[0]} to {one[-1]}: {reason}"


def _damaged_pages(store: Store) -> list[str]:
    try:
        found = [row[0].decode() for row in store.database.select("PRAGMA integrity_check(20)")]
    except DamagedStore as damage:
        return [str(damage)]
    return [] if found == ["ok"] else found
