"""The node's table of contents: all that can happen to it, and all that it asks of its host.

A host carries actions out in their order. A `Persist…` is durable before the next action starts, so nothing is
sent that a crash could make the node forget.
"""

from collections.abc import Hashable, Iterable
from enum import Enum
from typing import Final, TypeGuard, get_args

from msgspec import Struct

from tallystick.consensus.agreement import PersistQuorum, StateMismatch, TwinFound
from tallystick.consensus.signing_guard import GuardRecord
from tallystick.ledger.address import AddressRecord
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import AnyCertificate, Payload
from tallystick.ledger.checkpoint import Cosignature
from tallystick.ledger.errors import BLAMES_THE_PEER, Refused
from tallystick.ledger.finality import Members
from tallystick.ledger.messages import Entry, Kept, Message
from tallystick.ledger.motions import Outcome
from tallystick.ledger.roots import StateRoots
from tallystick.ledger.vote import Tally

Peer = Hashable
"""How the host names a peer that it has authenticated."""


class Timer(Enum):
    """What the node wants to be woken for; setting one again replaces it."""

    AGREE = "agree"
    GOSSIP = "gossip"
    ANNOUNCE = "announce"
    SYNC = "sync"
    DIAL = "dial"
    CHECKPOINT = "checkpoint"


class CheckedMessage(Struct, frozen=True):
    """What intake made of a peer's bytes: the legal part of the message, and the refusals of the rest."""

    message: Message | None
    refusals: tuple[Refused, ...] = ()
    known: tuple[bytes, ...] = ()
    """Ids of certificates that came along and were known already."""
    late: tuple[Tally, ...] = ()
    """Votes of views that are over, not verified: what is kept of those views may show that they contradict it."""
    is_voter: bool = False
    """Whether votes of the peer's own came along, however late; not verified, as its transport proves its key."""


class CheckedEntry(Struct, frozen=True):
    """A certificate whose signature and payload intake found good."""

    entry: Entry


# ---- events -----------------------------------------------------------------------------------------------------


class Started(Struct, frozen=True):
    """The host begins: the first event of a node that is to find its peers by itself, and the first of its actions.

    `key` is the node's own, the one that its transport proves to peers; `record` says where it listens, if it does.
    `known` is whom the operator named: keys, each with an address. They are dialled whatever becomes of the rest.
    """

    key: bytes
    record: AddressRecord | None
    known: tuple[tuple[bytes, str], ...] = ()


class PeerConnected(Struct, frozen=True):
    """A peer can be reached from now on."""

    peer: Peer


class PeerDisconnected(Struct, frozen=True):
    """A peer cannot be reached any more."""

    peer: Peer


class MessageReceived(Struct, frozen=True):
    """A connected peer sent bytes; this is what intake made of them."""

    peer: Peer
    checked: CheckedMessage


class CertificatesSubmitted(Struct, frozen=True):
    """A user submitted certificates. Each is accepted or refused by itself."""

    checked: tuple[CheckedEntry, ...]


class PayloadErasureAsked(Struct, frozen=True):
    """A user wants this node to forget a payload for good."""

    payload_hash: bytes


class UnbanAsked(Struct, frozen=True):
    """A user wants a banned peer to be let in again."""

    peer: Peer


class FreshCheckpointAsked(Struct, frozen=True):
    """A user wants the tip cosigned anew: without it, nothing is signed while nothing happens."""


class VotesRead(Struct, frozen=True):
    """What is kept of a view, read because votes for it came late."""

    late: Tally
    kept: tuple[Tally, ...]


class TimerFired(Struct, frozen=True):
    """The time a timer was set to has come."""

    timer: Timer


Event = (
    Started
    | PeerConnected
    | PeerDisconnected
    | MessageReceived
    | CertificatesSubmitted
    | PayloadErasureAsked
    | UnbanAsked
    | FreshCheckpointAsked
    | VotesRead
    | TimerFired
)

# ---- actions ----------------------------------------------------------------------------------------------------


class PersistBlock(Struct, frozen=True):
    """Keep the block, next on this node's copy of the chain, with the payloads at hand."""

    block: Block
    payloads: tuple[Payload, ...]
    finalization: Tally | None = None
    """The votes that made it final, unless a later block's did; the lone forger needs none."""
    roots: StateRoots | None = None
    """Given for the last block of an epoch: they prove who votes in the next."""
    members: Members | None = None
    """Those of the epoch that it begins, if they are others than before, or have other stakes."""
    oldest_epoch: int = 0
    """Votes of epochs before this one are evidence no more: they go."""
    decided: tuple[tuple[bytes, Outcome], ...] = ()
    """What became of motions with it, by their ids."""
    members_hash: bytes = b""
    """The part of its state root that is not about the log (`LogRoots`); proofs of its time open that root later."""


class PersistSigned(Struct, frozen=True):
    """Append these records to the signing guard, and sync it, before anything that follows."""

    records: tuple[GuardRecord, ...]
    is_beside: bool = False
    """Whether what is kept right after it may be synced at the same time: either may outlive a crash alone."""


class PersistFinalization(Struct, frozen=True):
    """More votes came for the last block of an epoch: keep these in the place of its finalization."""

    block_index: int
    finalization: Tally


class PersistCertificates(Struct, frozen=True):
    """Keep certificates that a user submitted here, and their payloads, until a block holds them."""

    entries: tuple[Entry, ...]


class ForgetCertificate(Struct, frozen=True):
    """A kept certificate will never be in a block: it is no longer legal."""

    certificate_id: bytes


class PersistPayload(Struct, frozen=True):
    """Keep a payload that came after its block."""

    payload: Payload


class ErasePayload(Struct, frozen=True):
    """Forget the payload with this hash, and never take it again."""

    payload_hash: bytes


class PersistAddress(Struct, frozen=True):
    """Keep where a key with tokens can be reached, in the place of what was kept of it."""

    record: AddressRecord


class PersistCosignatures(Struct, frozen=True):
    """Keep cosignatures, each in the place of an earlier one of its member for a log of this size."""

    cosignatures: tuple[Cosignature, ...]
    since: int
    """The newest countersigned checkpoint's size: those of smaller logs go. 0: which one it is is not known."""
    dropped: tuple[int, ...] = ()
    """Of logs of these sizes too: they never became a quorum."""


class Admit(Struct, frozen=True):
    """Who may be a peer from now on: these (`None`: anybody), but none that is banned. Connections with others end."""

    keys: frozenset[bytes] | None
    banned: frozenset[Peer] = frozenset()


class Dial(Struct, frozen=True):
    """Connect with the node that has this key, there, and again whenever that ends; a later address replaces it."""

    peer: bytes
    address: str


class Forget(Struct, frozen=True):
    """Dial this peer no more, and end the connection with it."""

    peer: bytes


class Send(Struct, frozen=True):
    """Send a message to one peer."""

    peer: Peer
    message: Message


class Broadcast(Struct, frozen=True):
    """Send a message to every connected peer but one (the one that it came from)."""

    message: Message
    but: Peer | None = None


class Multicast(Struct, frozen=True):
    """Send a message, encoded once, to these peers."""

    peers: tuple[Peer, ...]
    message: Message


class SendKept(Struct, frozen=True):
    """Answer a request from what is kept (network/archiving.py, `answer`), near the answer bound."""

    peer: Peer
    request: Kept


class ReadVotes(Struct, frozen=True):
    """Read what is kept of the view of these votes, which came late, and tell the node (`VotesRead`)."""

    late: Tally


class SetTimer(Struct, frozen=True):
    """Fire the timer at this time, at once if that has passed."""

    timer: Timer
    at_ms: int


class Disconnect(Struct, frozen=True):
    """End the connection: the peer broke a rule that no honest peer breaks (rule N5)."""

    peer: Peer
    refused: Refused


class ReportAccepted(Struct, frozen=True):
    """Certificates entered the box."""

    certificates: tuple[AnyCertificate, ...]


class ReportBlock(Struct, frozen=True):
    """A block became the tip; `forged_here` when this node made it."""

    block: Block
    forged_here: bool


class ReportStuck(Struct, frozen=True):
    """Agreement does not advance: who is missing, and how much stake was heard of the more than 2/3 that it takes."""

    epoch: int
    view: int
    since_ms: int
    heard_stake: int
    total_stake: int
    missing: tuple[bytes, ...]


class ReportRefused(Struct, frozen=True):
    """Something was refused."""

    refused: Refused
    peer: Peer | None
    """Who sent it, or forged the proposal; `None`: a user at this node."""
    certificate_id: bytes | None = None
    """Of what a user submitted."""


ArchiveChange = (
    PersistBlock
    | PersistCertificates
    | ForgetCertificate
    | PersistPayload
    | PersistQuorum
    | ErasePayload
    | PersistAddress
    | PersistCosignatures
    | PersistFinalization
)

Report = ReportAccepted | ReportBlock | ReportRefused | ReportStuck | TwinFound | StateMismatch

Action = (
    ArchiveChange
    | PersistSigned
    | ReadVotes
    | Send
    | Broadcast
    | Multicast
    | SendKept
    | SetTimer
    | Admit
    | Dial
    | Forget
    | Disconnect
    | Report
)

_ARCHIVE_CHANGES: Final = frozenset(get_args(ArchiveChange))
_REPORTS: Final = frozenset(get_args(Report))


def is_archive_change(action: Action) -> TypeGuard[ArchiveChange]:
    """`isinstance`, which asks each class of a union in turn, as one look-up: every action is asked."""
    return type(action) in _ARCHIVE_CHANGES


def is_report(action: Action) -> TypeGuard[Report]:
    """Likewise."""
    return type(action) in _REPORTS


def give_up(left: Iterable[tuple[bytes, Refused]], actions: list[Action]) -> None:
    """Certificates left the box, by id, as no block can hold them any more: forget them, and report why."""
    for certificate_id, refused in left:
        actions += [ForgetCertificate(certificate_id), ReportRefused(refused, None, certificate_id)]


def refuse(peer: Peer | None, refused: Refused, actions: list[Action]) -> None:
    """Report a refusal, and end the connection with a peer that broke what no honest peer breaks (N5)."""
    actions.append(ReportRefused(refused, peer))
    if peer is not None and refused.rule in BLAMES_THE_PEER:
        actions.append(Disconnect(peer, refused))
