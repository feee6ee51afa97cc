"""Makes proofs that need no node: of a certificate, at a checkpoint that members countersigned (proof/bundle.py)."""

from functools import lru_cache
from typing import Final, NamedTuple

from msgspec.structs import replace

from tallystick.ledger.certificate import AnyCertificate
from tallystick.ledger.certificate_index import Place
from tallystick.ledger.checkpoint import Cosignature, signed_checkpoint, status_time
from tallystick.ledger.directory import organisation_place
from tallystick.ledger.encoding import encode
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.header import Header
from tallystick.ledger.merkle import leaf_hash, root_from_path
from tallystick.ledger.note import MAX_NOTE_SIGNATURES, Note
from tallystick.ledger.roots import LogRoots
from tallystick.ledger.state import State, genesis_state
from tallystick.ledger.tlog_proof import TlogProof
from tallystick.ledger.trie import TrieProof
from tallystick.node.checkpoints import Countersigned
from tallystick.problems import BadRequest, DamagedStore, NotThere, Problem
from tallystick.proof.bundle import (
    MAX_EXTRA_BYTES,
    MAX_FOLLOWING,
    Entrance,
    FinalVotes,
    HandOver,
    ProofExtra,
)
from tallystick.proof.bundle import VERSION as PROOF_VERSION
from tallystick.storage.hand_over import EpochEnds, NotKept, final_votes, plan_hand_over
from tallystick.storage.log_tiles import Tree
from tallystick.storage.mirror import VERSION as MIRROR_VERSION
from tallystick.storage.mirror import MirroredState
from tallystick.storage.store import Outline, Store

_SHARED_AT_HAND: Final = 4
_ROOTS_AT_HAND: Final = 64
_BLOCKS_AT_HAND: Final = 16


class ProofFiles(NamedTuple):
    """A proof, and what does not fit into it."""

    proof: str
    """FILE.tlog-proof, a text."""
    members: bytes | None
    """FILE.members, an encoded `HandOver`."""
    payload: bytes | None
    """FILE.payload, an encoded `Payload`."""


class _Shared(NamedTuple):
    """What all proofs of one checkpoint have in common."""

    note: Note
    votes: FinalVotes
    following: tuple[Header, ...]
    hand_over: HandOver
    cosigners: tuple[TrieProof, ...]


class Prover:
    """Makes proofs from the store of a chain; use it on the thread that reads the store."""

    def __init__(self, store: Store) -> None:
        """Reads blocks without decoding more of them than a proof has; the last ones are at hand."""
        self._store = store
        self._outline = lru_cache(_BLOCKS_AT_HAND)(self._read_outline)
        self._ends = EpochEnds(store)
        self._log_roots = lru_cache(_ROOTS_AT_HAND)(self._read_log_roots)
        self._shared: dict[tuple[bytes, tuple[Cosignature, ...], int], _Shared] = {}

    def prove(self, place: Place, log_index: int, at: Countersigned, since: int = 0) -> ProofFiles:
        """The proof of the certificate there, for whoever knows the voters of epoch `since`; 0: the genesis.

        Raises `NotThere` unless the checkpoint covers it, `NotKept`, `DamagedStore`.
        """
        state = at.state
        if log_index >= state.log.size:
            raise NotThere(f"certificate {log_index} of the log is not covered by a checkpoint yet")
        shared = self._shared_of(at, since)
        block, certificate = self._outline(place.block_index), self.certificate(place)
        payload = self._store.payload(certificate.payload_hash) if certificate.payload_hash else None
        issuer, organisation = _issuer(state, certificate)
        extra = ProofExtra(
            version=PROOF_VERSION,
            genesis=self._store.genesis,
            certificate=certificate,
            payload=payload,
            header=state.tip,
            votes=shared.votes,
            following=shared.following,
            hand_over=shared.hand_over,
            log=state.roots.of_log,
            of_members=state.roots.of_members,
            entrance=self._entrance(block, log_index - place.position, state),
            status=state.status.trie.prove(certificate.id),
            issuer=issuer,
            organisation=organisation,
            cosigners=shared.cosigners,
        )
        path = self._path(Tree.LOG, log_index, state.log.size, certificate.leaf_hash, state.roots.log_root)
        encoded, members, beside = encode(extra), None, None
        if len(encoded) > MAX_EXTRA_BYTES and payload is not None:
            extra, beside = replace(extra, payload=None), encode(payload)
            encoded = encode(extra)
        if len(encoded) > MAX_EXTRA_BYTES:
            extra, members = replace(extra, hand_over=None), shared.hand_over.encoded
            encoded = encode(extra)
        if len(encoded) > MAX_EXTRA_BYTES:
            raise Problem(f"a proof of this ledger takes {len(encoded)} bytes, {MAX_EXTRA_BYTES} are allowed")
        return ProofFiles(TlogProof(encoded, log_index, path, shared.note).encoded, members, beside)

    def mirrored(self, at: Countersigned) -> MirroredState:
        """What a mirror holds beside tiles, for proofs at this checkpoint. Raises `NotKept`, `DamagedStore`."""
        state, shared = at.state, self._shared_of(at, 0)
        return MirroredState(
            version=MIRROR_VERSION,
            genesis=self._store.genesis,
            header=state.tip,
            votes=shared.votes,
            following=shared.following,
            hand_over=shared.hand_over,
            log=state.roots.of_log,
            of_members=state.roots.of_members,
            directory=tuple(state.directory.trie.items()),
            status=tuple(state.status.trie.items()),
        )

    def certificate(self, place: Place) -> AnyCertificate:
        """The one there. Raises `DamagedStore`."""
        return self._store.certificate_in(self._outline(place.block_index), place.position)

    # ---- of all proofs at a checkpoint --------------------------------------------------------------------------

    def _shared_of(self, at: Countersigned, since: int) -> _Shared:
        key = (at.state.tip.hash, at.cosignatures, since)
        if key not in self._shared:
            while len(self._shared) >= _SHARED_AT_HAND:
                del self._shared[next(iter(self._shared))]
            self._shared[key] = self._share(at, since)
        return self._shared[key]

    def _share(self, at: Countersigned, since: int) -> _Shared:
        state, epoch = at.state, at.voters.number
        if since > epoch:
            raise BadRequest(f"epoch {since} is later than the checkpoint, which is of epoch {epoch}")
        last = self._store.finalized_from(state.index)
        votes = self._store.finalization(last) if last is not None else None
        if last is None or votes is None or votes.ballot.epoch != epoch or last - state.index > MAX_FOLLOWING:
            raise NotKept(f"the votes that make block {state.index} final are not kept here; ask another node")
        following = tuple(self._header(index) for index in range(state.index + 1, last + 1))
        named = {one.key for one in self._store.genesis.founders}
        cosignatures = _chosen(at)
        others = [one.member for one in cosignatures if one.member not in named] if state.directory else []
        return _Shared(
            note=signed_checkpoint(self._store.genesis.origin, cosignatures),
            votes=final_votes(votes, at.voters.members),
            following=following,
            hand_over=plan_hand_over(self._ends, since, epoch, votes),
            cosigners=tuple(state.directory.trie.prove(one) for one in others),
        )

    # ---- of one certificate -------------------------------------------------------------------------------------

    def _entrance(self, block: Outline, size_before: int, state: State) -> Entrance:
        """The block, and the one before it, after which the log had this size."""
        index = block.index
        header, log, path = None, None, tuple[bytes, ...]()
        if index != state.index:
            header, log = block.header, self._log_roots(index, size_before + len(block.certificates))
            leaf = leaf_hash(header.encoded)
            path = self._path(Tree.HEADERS, index, state.index, leaf, state.roots.headers_root)
        return Entrance(header, log, path, self._header(index - 1), self._log_roots(index - 1, size_before))

    def _header(self, index: int) -> Header:
        return self._outline(index).header if index else genesis_state(self._store.genesis).tip

    def _read_outline(self, index: int) -> Outline:
        found = self._store.outline(index)
        if found is None:
            raise self._damaged(f"block {index} is missing")
        return found

    def _path(self, tree: Tree, index: int, size: int, leaf: bytes, root: bytes) -> tuple[bytes, ...]:
        """The audit path of a leaf. Raises `DamagedStore` unless it leads to the root."""
        path = tuple(self._store.hash_tiles.path(tree, index, size))
        if root_from_path(leaf, index, size, path) != root:
            raise self._damaged(f"the tiles of hashes of its {tree.name.lower()} are not those of its blocks")
        return path

    def _read_log_roots(self, index: int, log_size: int) -> LogRoots:
        """The state root of a block, opened as far as the log. Raises `DamagedStore` if that was not kept well."""
        if index == 0:
            return genesis_state(self._store.genesis).roots.of_log
        tiles, members_hash = self._store.hash_tiles, self._store.members_hash(index)
        roots = LogRoots(log_size, tiles.root(Tree.LOG, log_size), tiles.root(Tree.HEADERS, index), members_hash)
        if roots.hash != self._header(index).state_root:
            raise self._damaged(f"what is derived of block {index} does not lead to its state root")
        return roots

    def _damaged(self, what: str) -> DamagedStore:
        return DamagedStore(f"{self._store.path}: {what}; run: tallystick check --repair")


def signed_note(genesis: Genesis, at: Countersigned) -> Note:
    """A countersigned checkpoint as a signed note. Raises `Problem` where that has no room for enough of them."""
    return signed_checkpoint(genesis.origin, _chosen(at))


def status_s(at: Countersigned) -> int:
    """The time (s) by which members with more than 2/3 of the stake say that nothing later was final."""
    return status_time(((one.time_s, at.voters.stake(one.member)) for one in at.cosignatures), at.voters.total)


def _chosen(at: Countersigned) -> list[Cosignature]:
    """Those that a note has room for: of many, those with the most stake. They are told in the order of their keys."""
    by_stake = sorted(at.cosignatures, key=lambda one: (-at.voters.stake(one.member), one.member))
    chosen = by_stake[: MAX_NOTE_SIGNATURES - 1]
    if not at.voters.is_quorum(sum(at.voters.stake(one.member) for one in chosen)):
        of = f"of {len(at.voters.members)} members, the {len(chosen)} with the most stake hold no more than 2/3 of it"
        raise Problem(f"{of}, and a proof has room for no more: there is none until they hold more of it")
    return sorted(chosen, key=lambda one: one.member)


def _issuer(state: State, certificate: AnyCertificate) -> tuple[TrieProof, TrieProof | None]:
    """What the directory says of the issuer's key, and of the organisation that has it."""
    directory = state.directory
    entry = directory.keys.get(certificate.issuer)
    holder = directory.trie.prove(organisation_place(entry.organisation)) if entry is not None else None
    return directory.trie.prove(certificate.issuer), holder
