"""A proof as a file: c2sp.org/tlog-proof, with all that only this verifier needs in its `extra` line.

Other tools read the certificate's index, the hashes and the countersigned checkpoint. Nothing in `extra` counts unless
`proof.verify` binds it to the checkpoint's header or to the certificate.
"""

from typing import Annotated, Final, NamedTuple

from msgspec import Meta

from tallystick.ledger.certificate import AnyCertificate, Payload, payload_codec
from tallystick.ledger.checkpoint import Checkpoint, parse_checkpoint
from tallystick.ledger.encoding import Codec, Encoded
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import Digest, Index, PublicKey, Signature, Stake, Version
from tallystick.ledger.genesis import Genesis, decode_genesis
from tallystick.ledger.header import Header
from tallystick.ledger.params import MAX_GENESIS_MEMBERS
from tallystick.ledger.roots import LogRoots, MemberRoots
from tallystick.ledger.tlog_proof import MAX_PATH, TlogProof, parse_proof
from tallystick.ledger.trie import TrieProof

VERSION: Final = 1
MAX_EXTRA_BYTES: Final = 48_000
"""Before Base64: others refuse a line over 64 KiB."""
MAX_MEMBERS_BYTES: Final = 8 * 1024 * 1024
"""Of a hand-over in a file of its own."""
MAX_FOLLOWING: Final = 64
MAX_STEPS: Final = 8_192

Path = Annotated[tuple[Digest, ...], Meta(max_length=MAX_PATH)]
Voters = Annotated[tuple[tuple[Index, Stake], ...], Meta(min_length=1, max_length=MAX_GENESIS_MEMBERS)]
"""Of an epoch: the place of each key in the hand-over's list, and its stake; keys ascend."""


class FinalVotes(Encoded):
    """Votes that finalize a block, of the voters of its epoch."""

    view: Index
    """In which they were cast: the block's own, or a later one in which it was proposed again."""
    signatures: Annotated[tuple[tuple[Index, Signature], ...], Meta(min_length=1, max_length=MAX_GENESIS_MEMBERS)]
    """The place of each voter among the epoch's, from 0, ascending, and its signature."""


class Step(Encoded):
    """The last block of an epoch, which tells the members of the next."""

    header: Header
    votes: FinalVotes
    log: LogRoots
    of_members: MemberRoots
    voters: Voters | None
    """Of the block's epoch; `None`: those known from the step before."""
    next_voters: Voters | None
    """Of the next epoch; `None`: the same, with the same stakes."""


class HandOver(Encoded):
    """How the members of the checkpoint's epoch follow from those of an earlier one."""

    since: Index
    """The epoch that it starts from; 0: that of the genesis."""
    first: Voters | None
    """Of that epoch; `None`: the genesis's."""
    keys: Annotated[tuple[PublicKey, ...], Meta(max_length=MAX_STEPS * 16)]
    """Keys that `Voters` name by place, each once. Before them, from place 0, come those of the genesis's voters."""
    steps: Annotated[tuple[Step, ...], Meta(max_length=MAX_STEPS)]
    voters: Voters | None
    """Of the checkpoint's epoch; `None`: those known from the last step."""


class Entrance(Encoded):
    """The block with which the certificate entered the log, and the one before: their log sizes enclose its index."""

    header: Header | None
    """`None`: it is the checkpoint's own block."""
    log: LogRoots | None
    path: Path
    """From the header to the headers root of the checkpoint's block (RFC 6962); empty for its own block."""
    parent: Header
    parent_log: LogRoots


class ProofExtra(Encoded):
    """What only this verifier needs."""

    version: Version
    genesis: Genesis
    certificate: AnyCertificate
    payload: Payload | None
    """`None`: it covers none, it stands in a file beside the proof, or it is gone."""
    header: Header
    """Of the checkpoint's block."""
    votes: FinalVotes
    """For the block, or for the last of `following`."""
    following: Annotated[tuple[Header, ...], Meta(max_length=MAX_FOLLOWING)]
    """The headers after it, of the same epoch, up to that of the block that was voted for."""
    hand_over: HandOver | None
    """`None`: in a file beside the proof."""
    log: LogRoots
    of_members: MemberRoots
    entrance: Entrance
    status: TrieProof
    """Of the certificate's id, in the status trie."""
    issuer: TrieProof
    """Of its key, in the directory trie; likewise the entry of the organisation that has the key, if one does."""
    organisation: TrieProof | None
    cosigners: Annotated[tuple[TrieProof, ...], Meta(max_length=MAX_GENESIS_MEMBERS)]
    """In the directory trie: of the keys of voters that the genesis does not name, keys ascending; likewise of the
    ML-DSA keys of voters."""


extra_codec: Final[Codec[ProofExtra]] = Codec(ProofExtra, MAX_EXTRA_BYTES, "extra")
hand_over_codec: Final[Codec[HandOver]] = Codec(HandOver, MAX_MEMBERS_BYTES, "hand-over of members")


class Bundle(NamedTuple):
    """A proof with all that belongs to it: read, not verified."""

    proof: TlogProof
    checkpoint: Checkpoint
    extra: ProofExtra
    hand_over: HandOver
    payload: Payload | None


def read_bundle(proof: bytes, members: bytes | None = None, payload: bytes | None = None) -> Bundle:
    """Read a proof, and the files beside it that hold what did not fit. Raises `Refused` (P1, P2)."""
    parsed = parse_proof(proof)
    checkpoint = parse_checkpoint(parsed.checkpoint.text)
    if parsed.extra is None:
        raise Refused(Rule.P2, "the proof has no line extra: other tools can verify it, by a policy")
    try:
        extra = extra_codec.decode(parsed.extra)
        decode_genesis(extra.genesis.encoded)
        hand_over = hand_over_codec.decode(members) if extra.hand_over is None and members else extra.hand_over
        beside = payload_codec.decode(payload) if extra.payload is None and payload else extra.payload
    except Refused as refused:
        raise Refused(Rule.P2, str(refused)) from None
    if extra.version != VERSION:
        raise Refused(Rule.P2, f"extra of version {extra.version}, {VERSION} is known; use a later tallystick")
    if hand_over is None:
        raise Refused(Rule.P2, "the hand-over of members stands in a file beside the proof, which is missing: .members")
    return Bundle(parsed, checkpoint, extra, hand_over, beside)
