"""Makes proofs from a mirror: byte for byte those that a node makes at the same checkpoint, but for payloads.

docs/proofs.md tells how. Whoever takes a proof verifies it, as every other. What is checked here tells what is wrong
with a mirror's files, and the checkpoint is proven first: nobody else says how large the log is that is searched.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from tallystick.client.mirror import Mirror, Missing, TiledTree
from tallystick.ledger.bundle import Bundle, Entrance
from tallystick.ledger.certificate import AnyCertificate, certificate_codec
from tallystick.ledger.checkpoint import Checkpoint, cosigner_key
from tallystick.ledger.errors import NotProven, Refused
from tallystick.ledger.genesis import decode_genesis
from tallystick.ledger.header import Header
from tallystick.ledger.merkle import leaf_hash, root_from_path
from tallystick.ledger.note import Note
from tallystick.ledger.roots import LogRoots
from tallystick.ledger.trie import Trie
from tallystick.problems import Ambiguous, NotInTime, NotThere, Problem
from tallystick.proof.head import Head, proven_head
from tallystick.proof.members import last_voters
from tallystick.storage.log_tiles import Tree
from tallystick.storage.making import Leaf, ProofFiles, Shared, prove_cosigners, put_together
from tallystick.storage.mirror import (
    ENTRIES,
    HEADERS,
    IDS,
    VERSION,
    MirroredHeader,
    MirroredState,
    Part,
    header_codec,
    parts_of,
    places_in,
    state_path,
)

_MOST_ALIKE: Final = 64
"""So many certificates are looked at whose ids begin alike: of an honest log there are none."""
_MOST_ID_FILES: Final = 512
"""So many are searched at the most, of 768 KiB each: those of 33 million certificates."""
_TRIES: Final = 4
"""So often the newest checkpoint is taken, if files of an earlier one go meanwhile."""

T = TypeVar("T")


class MirrorProver:
    """Makes proofs from a mirror, all at the checkpoint that it had first, or at a newer one if files of that went."""

    def __init__(self, mirror: Mirror) -> None:
        """Reads the newest checkpoint. Raises `Problem`, `Missing`, `DamagedStore`."""
        self._mirror = mirror
        self._at = _newest(mirror, mirror.checkpoint())

    @property
    def ledger_id(self) -> bytes:
        """Of the ledger, as the mirror says it (32 bytes)."""
        return self._at.head.genesis.ledger_id

    def certificate_id(self, beginning: str) -> str:
        """The whole id of the one certificate whose id begins so (8 digits or more). Raises `NotThere`, `Ambiguous`."""
        found = self._on_newest(lambda at: at.beginning_with(beginning.lower()))
        if not found:
            raise NotThere(f"no certificate's id begins with {beginning} in the mirror {self._mirror.where}")
        if len(found) > 1:
            raise Ambiguous(f"{len(found)} certificates' ids begin with {beginning}; name more of it")
        return next(iter(found))

    def prove(self, certificate_id: str, before: Bundle | None = None) -> ProofFiles:
        """The proof of a certificate by its whole id (64 hexadecimal digits).

        An earlier proof tells its place, and brings the payload, as a mirror has none. Raises `NotThere`, `Missing`,
        `DamagedStore`, `Problem`.
        """
        if before is not None and before.extra.genesis.ledger_id != self.ledger_id:
            other = before.extra.genesis.ledger_id.hex()
            is_of = f"the mirror {self._mirror.where} is of the ledger {self.ledger_id.hex()}"
            raise NotThere(f"{is_of}, and the proof of {other}; name a mirror of that")
        return self._on_newest(lambda at: at.prove(certificate_id, before))

    def _on_newest(self, made: "Callable[[_At], T]") -> T:
        """What went meanwhile is looked for at a newer checkpoint, if there is one."""
        for _ in range(_TRIES):
            try:
                return made(self._at)
            except Missing:
                newest = self._mirror.checkpoint()
                if newest[0] == self._at.head.note:
                    raise
                self._at = _newest(self._mirror, newest, self._at.head)
        raise _too_fast(self._mirror)


def _newest(mirror: Mirror, told: tuple[Note, Checkpoint], before: Shared | None = None) -> "_At":
    """At the checkpoint that is told, or a newer one if its state is gone. `before`: the head of an older one."""
    note, checkpoint = told
    for _ in range(_TRIES):
        try:
            return _At(mirror, _head(mirror, note, checkpoint, before))
        except Missing:
            again = mirror.checkpoint()
            if again == (note, checkpoint):
                raise
            note, checkpoint = again
    raise _too_fast(mirror)


def _too_fast(mirror: Mirror) -> Problem:
    return NotInTime(f"the mirror {mirror.where} changes faster than it can be read; try again, or name another")


class _At:
    """A mirror at one checkpoint."""

    def __init__(self, mirror: Mirror, head: Shared) -> None:
        self._mirror, self.head = mirror, head
        self._size, self._index = head.log.log_size, head.header.index
        self._log = TiledTree(mirror, Tree.LOG, self._size)
        self._headers = TiledTree(mirror, Tree.HEADERS, self._index)

    def beginning_with(self, beginning: str) -> list[str]:
        """The ids of all certificates that begin so."""
        return [one.id.hex() for _, one in self._found(beginning)]

    def prove(self, certificate_id: str, before: Bundle | None) -> ProofFiles:
        """The proof. What an earlier one says of its place is not believed."""
        index = before.proof.log_index if before is not None else self._size
        if index >= self._size or self._certificate(index).id.hex() != certificate_id:
            index = self._index_of(certificate_id)
        certificate, payload = self._certificate(index), before.payload if before is not None else None
        is_covered = payload is not None and payload.hash() == certificate.payload_hash
        path = self._log.path(index, self._size)
        self._check_path(path, certificate.leaf_hash, index, self._size, self.head.log.log_root)
        entrance = self._entrance(index)
        try:
            return put_together(self.head, Leaf(certificate, payload if is_covered else None, index, path, entrance))
        except Refused as refused:
            raise self._mirror.damaged(refused.reason) from None

    # ---- the certificate --------------------------------------------------------------------------------------------

    def _index_of(self, certificate_id: str) -> int:
        for index, _ in self._found(certificate_id):
            return index
        covers = f"the mirror {self._mirror.where}, whose checkpoint covers {self._size} certificates"
        raise NotThere(f"certificate {certificate_id[:16]}… is not in {covers}; name a newer mirror, or a node")

    def _found(self, beginning: str) -> Iterator[tuple[int, AnyCertificate]]:
        """All certificates whose ids begin so, each once, with their places."""
        start, looked_at = bytes.fromhex(beginning[: len(beginning) // 2 * 2]), 0
        if self._size > _MOST_ID_FILES * IDS.span:
            too_many = f"the log of the mirror {self._mirror.where} has {self._size:,} certificates, too many to search"
            raise Problem(f"{too_many}; name an earlier proof, which tells its place, or a node")
        for part in parts_of(IDS, self._size):
            for index in self._places(part, start):
                if (looked_at := looked_at + 1) > _MOST_ALIKE:
                    raise self._mirror.damaged(f"more than {_MOST_ALIKE} ids begin with {beginning}")
                certificate = self._certificate(index)
                if certificate.id.hex().startswith(beginning):
                    yield index, certificate

    def _places(self, part: Part, start: bytes) -> list[int]:
        read, data = self._mirror.file(part)
        return [one for one in self._mirror.checked(lambda: places_in(read, data, start)) if one < self._size]

    def _certificate(self, index: int) -> AnyCertificate:
        encoded = self._mirror.item(ENTRIES, index, self._size)
        return self._mirror.decoded(certificate_codec, encoded, f"certificate {index}")

    def _check_path(self, path: Sequence[bytes], leaf: bytes, index: int, size: int, root: bytes) -> None:
        if self._mirror.checked(lambda: root_from_path(leaf, index, size, path)) != root:
            raise self._mirror.damaged(f"item {index} of {size} does not lead to the root of the checkpoint")

    # ---- the block with which it entered the log --------------------------------------------------------------------

    def _entrance(self, log_index: int) -> Entrance:
        """Headers and roots of the first block after which the log is larger than the index, and of the one before."""
        head, block = self.head, bisect_right(range(self._index), log_index, key=lambda one: self._block(one).log_size)
        header, log, path = None, None, tuple[bytes, ...]()
        if block == 0:
            raise self._mirror.damaged("its block 0 has certificates")
        if block != self._index:
            header, log = self._opened(block)
            path = self._headers.path(block, self._index)
            self._check_path(path, leaf_hash(header.encoded), block, self._index, head.log.headers_root)
        return Entrance(header, log, path, *self._opened(block - 1))

    def _block(self, index: int) -> MirroredHeader:
        encoded = self._mirror.item(HEADERS, index, self._index)
        return self._mirror.decoded(header_codec, encoded, f"header {index}")

    def _opened(self, index: int) -> tuple[Header, LogRoots]:
        """A block's header, and its state root as far as the log, as the tiles tell it."""
        block = self._block(index)
        if block.log_size > self._size:
            raise self._mirror.damaged(f"after block {index} the log is larger than that of the checkpoint")
        log_root, headers_root = self._log.root(block.log_size), self._headers.root(index)
        roots = LogRoots(block.log_size, log_root, headers_root, block.members_hash)
        if roots.hash != block.header.state_root:
            raise self._mirror.damaged(f"what is derived of block {index} does not lead to its state root")
        return block.header, roots


def _head(mirror: Mirror, note: Note, checkpoint: Checkpoint, before: Shared | None) -> Shared:
    """What all proofs at the checkpoint have in common: first what is small, and whether it was signed."""
    told = mirror.state(checkpoint.size)
    if told.version != VERSION:
        raise Problem(f"the mirror {mirror.where} is of version {told.version}, {VERSION} is known; update tallystick")
    _check_signed(mirror, note, checkpoint, told)
    directory, status = _tries(mirror, checkpoint, told, before)
    voters = mirror.checked(lambda: last_voters(told.genesis, told.hand_over))
    cosigned = [one for one, _ in voters if note.signed_by(cosigner_key(checkpoint.origin, one))]
    return Shared(
        genesis=told.genesis,
        note=note,
        header=told.header,
        votes=told.votes,
        following=told.following,
        hand_over=told.hand_over,
        log=told.log,
        of_members=told.of_members,
        directory=directory,
        status=status,
        cosigners=prove_cosigners(told.genesis, cosigned, directory),
    )


def _check_signed(mirror: Mirror, note: Note, checkpoint: Checkpoint, told: MirroredState) -> None:
    """Raise `DamagedStore` unless members, followed from the genesis that is told, signed the checkpoint (P4 to P7).

    Whether that is the ledger that is trusted, whoever verifies the proof asks.
    """
    path, genesis = state_path(checkpoint.size), told.genesis
    mirror.checked(lambda: decode_genesis(genesis.encoded))
    for what, expected, found in (
        ("the checkpoint", checkpoint, Checkpoint(genesis.origin, told.log.log_size, told.log.log_root)),
        ("the state root", told.header.state_root, told.log.hash),
        ("the hash of its member roots", told.log.members_hash, told.of_members.hash),
    ):
        if expected != found:
            raise mirror.damaged(f"{path} does not lead to {what}")
    parts = (told.header, told.votes, told.following, told.hand_over, told.log, told.of_members)
    try:
        proven_head(Head(genesis, *parts, note), genesis.ledger_id)
    except NotProven as failed:
        raise mirror.damaged(f"its checkpoint is not proven: [{failed.rule.name}] {failed.reason}") from None
    except Refused as refused:
        raise mirror.damaged(f"its checkpoint is not proven: {refused}") from None


def _tries(mirror: Mirror, checkpoint: Checkpoint, told: MirroredState, before: Shared | None) -> tuple[Trie, Trie]:
    """Directory and status; those that were built before, where the roots are the same."""
    if before is not None and before.of_members == told.of_members:
        return before.directory, before.status
    path, made = state_path(checkpoint.size), list[Trie]()
    for what, entries, root in (
        ("directory", told.directory, told.of_members.directory),
        ("status", told.status, told.of_members.status),
    ):
        try:
            trie = Trie.of(entries)
        except ValueError:
            raise mirror.damaged(f"{path} tells the {what} in another order") from None
        if trie.root() != root:
            raise mirror.damaged(f"{path} does not lead to the root of the {what}")
        made.append(trie)
    return made[0], made[1]
