"""Makes proofs that need no node: of a certificate, at a checkpoint that members countersigned (ledger/bundle.py)."""

from functools import lru_cache
from typing import Final

from tallystick.ledger.bundle import MAX_FOLLOWING, Entrance
from tallystick.ledger.certificate import AnyCertificate
from tallystick.ledger.certificate_index import Place
from tallystick.ledger.checkpoint import MAX_LOG_LINES, Cosignature, MlDsaCosignature, signed_checkpoint, status_time
from tallystick.ledger.directory import ml_dsa_place
from tallystick.ledger.errors import Refused
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.header import Header
from tallystick.ledger.merkle import leaf_hash, root_from_path
from tallystick.ledger.note import MAX_NOTE_SIGNATURES, Note
from tallystick.ledger.roots import LogRoots
from tallystick.ledger.state import State, genesis_state
from tallystick.node.checkpoints import Countersigned
from tallystick.problems import BadRequest, DamagedStore, NotThere, Problem
from tallystick.storage.hand_over import EpochEnds, NotKept, final_votes, plan_hand_over
from tallystick.storage.log_tiles import Tree
from tallystick.storage.making import Leaf, ProofFiles, Shared, prove_cosigners, put_together
from tallystick.storage.mirror import VERSION as MIRROR_VERSION
from tallystick.storage.mirror import MirroredState
from tallystick.storage.outline import Outline
from tallystick.storage.store import Store

MAX_ML_DSA: Final = 16
"""Of so many members a proof tells cosignatures by ML-DSA: each takes 5 kB with its key."""
_HEADS_AT_HAND: Final = 4
_ROOTS_AT_HAND: Final = 64
_BLOCKS_AT_HAND: Final = 16


class Prover:
    """Makes proofs from the store of a chain; use it on the thread that reads the store."""

    def __init__(self, store: Store) -> None:
        """Reads blocks without decoding more of them than a proof has; the last ones are at hand."""
        self._store = store
        self._outline = lru_cache(_BLOCKS_AT_HAND)(self._read_outline)
        self._ends = EpochEnds(store)
        self._log_roots = lru_cache(_ROOTS_AT_HAND)(self._read_log_roots)
        self._heads: dict[tuple[bytes, tuple[object, ...], int], Shared] = {}

    def prove(self, place: Place, log_index: int, at: Countersigned, since: int = 0) -> ProofFiles:
        """The proof of the certificate there, for whoever knows the voters of epoch `since`; 0: the genesis.

        Raises `NotThere` unless the checkpoint covers it, `NotKept`, `DamagedStore`.
        """
        state = at.state
        if log_index >= state.log.size:
            raise NotThere(f"certificate {log_index} of the log is not covered by a checkpoint yet")
        block, certificate = self._outline(place.block_index), self.certificate(place)
        leaf = Leaf(
            certificate=certificate,
            payload=self._store.payload(certificate.payload_hash) if certificate.payload_hash else None,
            log_index=log_index,
            path=self._path(Tree.LOG, log_index, state.log.size, certificate.leaf_hash, state.roots.log_root),
            entrance=self._entrance(block, log_index - place.position, state),
        )
        try:
            return put_together(self._head_of(at, since), leaf)
        except Refused as refused:
            raise Problem(refused.reason) from None

    def mirrored(self, at: Countersigned) -> MirroredState:
        """What a mirror holds beside tiles, for proofs at this checkpoint. Raises `NotKept`, `DamagedStore`."""
        head = self._head_of(at, 0)
        return MirroredState(
            version=MIRROR_VERSION,
            genesis=head.genesis,
            header=head.header,
            votes=head.votes,
            following=head.following,
            hand_over=head.hand_over,
            log=head.log,
            of_members=head.of_members,
            directory=tuple(head.directory.items()),
            status=tuple(head.status.items()),
        )

    def certificate(self, place: Place) -> AnyCertificate:
        """The one there. Raises `DamagedStore`."""
        return self._store.certificate_in(self._outline(place.block_index), place.position)

    # ---- of all proofs at a checkpoint --------------------------------------------------------------------------

    def _head_of(self, at: Countersigned, since: int) -> Shared:
        key = (at.state.tip.hash, (at.cosignatures, at.ml_dsa), since)
        if key not in self._heads:
            while len(self._heads) >= _HEADS_AT_HAND:
                del self._heads[next(iter(self._heads))]
            self._heads[key] = self._read_head(at, since)
        return self._heads[key]

    def _read_head(self, at: Countersigned, since: int) -> Shared:
        state, epoch = at.state, at.voters.number
        if since > epoch:
            raise BadRequest(f"epoch {since} is later than the checkpoint, which is of epoch {epoch}")
        last = self._store.finalized_from(state.index)
        votes = self._store.finalization(last) if last is not None else None
        if last is None or votes is None or votes.ballot.epoch != epoch or last - state.index > MAX_FOLLOWING:
            raise NotKept(f"the votes that make block {state.index} final are not kept here; ask another node")
        following = tuple(self._header(index) for index in range(state.index + 1, last + 1))
        cosignatures = _chosen(at)
        genesis, directory = self._store.genesis, state.directory
        ml_dsa = _chosen_ml_dsa(at, len(cosignatures))
        keys = {one.member: directory.ml_dsa_key(one.member) for one in ml_dsa}
        lines = [one.line(genesis.origin, key) for one in ml_dsa if (key := keys[one.member]) is not None]
        cosigners = prove_cosigners(genesis, (one.member for one in cosignatures), directory.trie)
        return Shared(
            genesis=genesis,
            note=signed_checkpoint(genesis.origin, cosignatures, further=lines),
            header=state.tip,
            votes=final_votes(votes, at.voters.members),
            following=following,
            hand_over=plan_hand_over(self._ends, since, epoch, votes),
            log=state.roots.of_log,
            of_members=state.roots.of_members,
            directory=directory.trie,
            status=state.status.trie,
            cosigners=cosigners + tuple(directory.trie.prove(ml_dsa_place(one.member)) for one in ml_dsa),
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
    """Those that a note has room for: of many, those with the most stake. They are told in the order of their keys.

    Those by ML-DSA have their room beside them if a quorum does without it.
    """
    by_stake = sorted(at.cosignatures, key=lambda one: (-at.voters.stake(one.member), one.member))
    places = MAX_NOTE_SIGNATURES - 1
    for room in (places - min(len(at.ml_dsa), MAX_ML_DSA), places):
        chosen = by_stake[:room]
        if at.voters.is_quorum(sum(at.voters.stake(one.member) for one in chosen)):
            break
    else:
        of = f"of {len(at.voters.members)} members, the {len(chosen)} with the most stake hold no more than 2/3 of it"
        raise Problem(f"{of}, and a proof has room for no more: there is none until they hold more of it")
    return sorted(chosen, key=lambda one: one.member)


def _chosen_ml_dsa(at: Countersigned, cosigners: int) -> list[MlDsaCosignature]:
    """Likewise those by ML-DSA that there is room for, beside the others."""
    room = MAX_NOTE_SIGNATURES - cosigners - (cosigners if cosigners <= MAX_LOG_LINES else 1)
    by_stake = sorted(at.ml_dsa, key=lambda one: (-at.voters.stake(one.member), one.member))
    return sorted(by_stake[: min(MAX_ML_DSA, room)], key=lambda one: one.member)
