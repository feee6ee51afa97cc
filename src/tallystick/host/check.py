"""Everything in the file of a chain, derived again: it finds all damage, and says what can be repaired from where.

Unlike `CheckedChain`, which does not exist for a chain that breaks a rule, a check goes on behind what is damaged: a
block is bound by hashes to the blocks around it, and by the votes of its epoch's members, whom earlier votes name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from tallystick.consensus.lone_forger import LoneForger
from tallystick.consensus.proof_of_stake import ProofOfStake, check_drawn
from tallystick.host.errors import DamagedStore
from tallystick.host.store import Store
from tallystick.host.verification import verify_in_line
from tallystick.ledger.block import Block, block_codec, check_block_alone, genesis_block
from tallystick.ledger.blockchain import Blockchain, State
from tallystick.ledger.certificate import certificate_codec, check_evidence
from tallystick.ledger.encoding import ZERO_DIGEST, Codec
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.finality import Members
from tallystick.ledger.keys import is_signed
from tallystick.ledger.stake import Account, StakeTable
from tallystick.ledger.vote import FINALIZE, Tally, tally_codec
from tallystick.node.intake import Claim

_CLAIMS_AT_ONCE: Final = 4_096
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
    """Damaged finalizations and members named by them, by the index of their block."""
    unproven: list[int] = field(default_factory=list)
    """Last blocks of epochs without a finalization; no damage where a checkpoint was trusted instead."""
    payloads: dict[bytes, str] = field(default_factory=dict)
    """Damaged payloads, by hash."""
    votes: dict[int, str] = field(default_factory=dict)
    """Rows of this member's own record that cannot be trusted: it must not vote as if it remembered everything."""
    proposals: dict[int, str] = field(default_factory=dict)
    """Rows of proposed blocks that are damaged; other members have them."""
    waiting: dict[int, str] = field(default_factory=dict)
    """Rows of certificates that wait to be forged and are damaged: who handed them in should do so again."""
    derived: list[str] = field(default_factory=list)
    """What is derived and is not what it should be."""
    epochs: dict[int, Epoch] = field(default_factory=dict)
    """The epochs whose members are known, by number."""
    chain: Blockchain | None = None
    """The whole chain, if every block follows from the one before."""
    final: State | None = None
    """What the chain has come to at the last block that votes prove final (a lone forger's: the last), if `chain`."""
    is_voted: bool = False
    """Whether blocks are final by votes, not by a lone forger's word."""

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
        self._report = Report(tip_index, epochs={0: Epoch(0, genesis.stakes())})
        self._claims: list[Claim] = []
        self._blames: list[Callable[[], object]] = []
        self._hashes, self._parents, self._final = (bytearray(_HASH_BYTES * (tip_index + 1)) for _ in range(3))

    def run(self) -> Report:
        """Look at everything. Raises `StoreError` when the disk reports an error."""
        report, store = self._report, self._store
        report.pages = _damaged_pages(store)
        if report.pages:
            return report
        report.is_voted = _is_voted(store)
        lone = LoneForger(ProofOfStake()).check_forger
        report.chain = Blockchain(store.genesis, check_drawn if report.is_voted else lone)
        report.final = report.chain.state
        for index in range(1, report.tip_index + 1):
            self._check_block(index)
            self._check_finality(index)
            self._on_block(index)
        self._flush()
        self._check_beyond_the_tip()
        self._check_links()
        self._check_payloads()
        self._check_own_record()
        self._flush()
        if report.blocks:
            report.chain = None
        if report.chain is None:
            report.final = None
        self._check_derived()
        return report

    # ---- blocks and finalizations -----------------------------------------------------------------------------

    def _check_block(self, index: int) -> None:
        """A block by itself, and, as long as all before it are good, by the rules."""
        report = self._report
        rows = self._store.database.select("SELECT block_hash, encoded FROM blocks WHERE block_index = ?", (index,))
        if not rows:
            report.chain, report.blocks[index] = None, "missing"
            return
        try:
            block = _decoded(block_codec, rows[0][1])
            if block.index != index:
                raise Refused(Rule.B1, f"it says that its index is {block.index}")
            check_block_alone(block, self._ledger_id)
            self._claim_block(block)
            if report.chain is not None:
                report.chain.append(block, None)
        except Refused as refused:
            report.chain = None
            if refused.rule is not Rule.B2:  # which of two blocks is the wrong one, the links will tell
                report.blocks[index] = str(refused)
                return
        self._hashes[_at(index)], self._parents[_at(index)] = block.hash, block.header.parent_hash
        if rows[0][0] != block.hash:
            self._blame_derived("hashes of blocks")

    def _claim_block(self, block: Block) -> None:
        blame = partial(self._report.blocks.setdefault, block.index, "a signature in it is not good")
        self._claim((block.header.signed_bytes(), block.signature, block.header.forger), blame)
        for one in block.certificates:
            check_evidence(one, self._ledger_id, is_signed)
            self._claim((one.signed_bytes(self._ledger_id), one.signature, one.issuer), blame)

    def _check_finality(self, index: int) -> None:
        """The votes kept with a block, and whom they name as the next epoch's members."""
        report, number = self._report, self._params.epoch_of(index)
        ends_epoch, epoch = index % self._params.epoch_blocks == 0, report.epochs.get(number)
        tally = None
        try:
            tally = self._store.finalization(index)
            members = self._store.members(index)
            if tally is not None and epoch is not None:
                self._check_votes(index, tally, epoch, members if ends_epoch else None)
        except (DamagedStore, Refused) as damage:
            report.finalizations[index] = str(damage.refused if isinstance(damage, DamagedStore) else damage)
            tally = None
        if ends_epoch and tally is None and report.is_voted:
            report.unproven.append(index)
        if report.chain is not None:
            if ends_epoch:
                report.epochs[number + 1] = report.chain.state.epoch
            if tally is not None or not report.is_voted:
                report.final = report.chain.state

    def _check_votes(self, index: int, tally: Tally, epoch: Epoch, members: Members | None) -> None:
        report, ballot = self._report, tally.ballot
        voters = [member for member, _ in tally.signatures]
        if (ballot.kind, ballot.epoch) != (FINALIZE, epoch.number) or voters != sorted(set(voters)):
            raise Refused(Rule.V2, f"these votes finalize nothing in epoch {epoch.number}")
        if not epoch.is_quorum(sum(epoch.stake(member) for member in voters)):
            raise Refused(Rule.V2, "these votes are not more than 2/3 of the stake")
        following = epoch
        if index % self._params.epoch_blocks == 0:
            table = StakeTable({key: Account(0, stake) for key, stake in members}) if members else epoch.stakes
            following = Epoch(epoch.number + 1, table)
        derived = report.chain.state.epoch if report.chain is not None else following
        if not ballot.stakes_hash == following.hash == derived.hash:
            raise Refused(Rule.V2, "these votes name other members")
        report.epochs.setdefault(following.number, following)
        self._final[_at(index)] = ballot.block_hash
        signed = ballot.signed_bytes(self._ledger_id)
        for member, signature in tally.signatures:
            self._claim((signed, signature, member), partial(self._unproven, index))

    def _unproven(self, index: int) -> None:
        self._report.finalizations[index] = "a vote in it is not signed by its member"
        self._final[_at(index)] = ZERO_DIGEST

    def _check_beyond_the_tip(self) -> None:
        """Votes and members of blocks that are gone would be in the way of those that come in their place."""
        for table in ("finalizations", "members"):
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

    def _check_own_record(self) -> None:
        """Votes, proposals and waiting certificates: each row by itself."""
        report = self._report
        for row, epoch, encoded in self._store.database.select("SELECT number, epoch, encoded FROM votes"):
            try:
                tally = _decoded(tally_codec, encoded)
                if tally.ballot.epoch != epoch:
                    raise Refused(Rule.V1, f"it is of epoch {tally.ballot.epoch}, not {epoch}")
            except Refused as refused:
                report.votes[row] = str(refused)
                continue
            blame = partial(report.votes.setdefault, row, "a signature in it is not good")
            for member, signature in tally.signatures:
                self._claim((tally.ballot.signed_bytes(self._ledger_id), signature, member), blame)
        for row, encoded in self._store.database.select("SELECT rowid, encoded FROM proposals"):
            try:
                check_block_alone(_decoded(block_codec, encoded), self._ledger_id)
            except Refused as refused:
                report.proposals[row] = str(refused)
        for row, kept_id, encoded in self._store.database.select("SELECT number, certificate_id, encoded FROM waiting"):
            try:
                if _decoded(certificate_codec, encoded).id != kept_id:
                    raise Refused(Rule.E2, "its id is another")
            except Refused as refused:
                report.waiting[row] = str(refused)

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

    def _claim(self, claim: Claim, blame: Callable[[], object]) -> None:
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


def _is_voted(store: Store) -> bool:
    """Whether blocks are final by votes, though all votes may be lost: a lone forger's view is always the index."""
    if store.database.select("SELECT 1 FROM finalizations UNION SELECT 1 FROM members"):
        return True
    for (encoded,) in store.database.select("SELECT encoded FROM blocks ORDER BY block_index DESC LIMIT 16"):
        try:
            header = _decoded(block_codec, encoded).header
        except Refused:
            continue
        return header.view != header.index
    return False


def _decoded(codec: Codec[T], encoded: object) -> T:
    return codec.decode(encoded if isinstance(encoded, bytes) else b"")


def _at(index: int) -> slice:
    return slice(_HASH_BYTES * index, _HASH_BYTES * (index + 1))
