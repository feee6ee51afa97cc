"""Puts a proof together, from a store or a mirror alike; what does not fit into it stands in files beside it."""

from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from tallystick.ledger.bundle import MAX_EXTRA_BYTES, VERSION, Entrance, FinalVotes, HandOver, ProofExtra
from tallystick.ledger.certificate import AnyCertificate, Payload
from tallystick.ledger.directory import prove_key
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.header import Header
from tallystick.ledger.note import Note
from tallystick.ledger.roots import LogRoots, MemberRoots
from tallystick.ledger.tlog_proof import TlogProof
from tallystick.ledger.trie import Trie, TrieProof


class ProofFiles(NamedTuple):
    """A proof, and what does not fit into it."""

    proof: str
    """FILE.tlog-proof, a text."""
    members: bytes | None
    """FILE.members, an encoded `HandOver`."""
    payload: bytes | None
    """FILE.payload, an encoded `Payload`."""


class Shared(NamedTuple):
    """A countersigned checkpoint, and all that proofs at it have in common."""

    genesis: Genesis
    note: Note
    header: Header
    """Of the checkpoint's block."""
    votes: FinalVotes
    following: tuple[Header, ...]
    hand_over: HandOver
    log: LogRoots
    of_members: MemberRoots
    directory: Trie
    status: Trie
    """Both after that block."""
    cosigners: tuple[TrieProof, ...]


class Leaf(NamedTuple):
    """A certificate, and how it stands in the log of a head."""

    certificate: AnyCertificate
    payload: Payload | None
    log_index: int
    path: tuple[bytes, ...]
    """RFC 6962, from the leaf upwards."""
    entrance: Entrance


def prove_cosigners(genesis: Genesis, cosigned: Iterable[bytes], directory: Trie) -> tuple[TrieProof, ...]:
    """Whose the keys are that cosigned and that the genesis does not name; a ledger without organisations says of none.

    Keys ascend.
    """
    named = {one.key for one in genesis.founders}
    return tuple(directory.prove(one) for one in cosigned if one not in named) if len(directory) else ()


def put_together(head: Shared, leaf: Leaf) -> ProofFiles:
    """The proof of the certificate at that head. Raises `Refused` (P2) if even so it is too long; E1 to E3."""
    issuer, organisation = prove_key(head.directory, leaf.certificate.issuer)
    extra = ProofExtra(
        version=VERSION,
        genesis=head.genesis,
        certificate=leaf.certificate,
        payload=leaf.payload,
        header=head.header,
        votes=head.votes,
        following=head.following,
        hand_over=head.hand_over,
        log=head.log,
        of_members=head.of_members,
        entrance=leaf.entrance,
        status=head.status.prove(leaf.certificate.id),
        issuer=issuer,
        organisation=organisation,
        cosigners=head.cosigners,
    )
    encoded, members, payload = encode(extra), None, None
    if len(encoded) > MAX_EXTRA_BYTES and leaf.payload is not None:
        extra, payload = replace(extra, payload=None), encode(leaf.payload)
        encoded = encode(extra)
    if len(encoded) > MAX_EXTRA_BYTES:
        extra, members = replace(extra, hand_over=None), head.hand_over.encoded
        encoded = encode(extra)
    if len(encoded) > MAX_EXTRA_BYTES:
        raise Refused(Rule.P2, f"a proof of this ledger takes {len(encoded)} bytes, {MAX_EXTRA_BYTES} are allowed")
    return ProofFiles(TlogProof(encoded, leaf.log_index, leaf.path, head.note).encoded, members, payload)
