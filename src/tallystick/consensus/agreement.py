"""What agreement says to the node that carries it out, and what it asks of the node's certificate box."""

from typing import NamedTuple, Protocol

from tallystick.ledger.block import VerifiedBlock
from tallystick.ledger.blockchain import Above
from tallystick.ledger.certificate import AnyCertificate
from tallystick.ledger.errors import Refused
from tallystick.ledger.finality import Finalization
from tallystick.ledger.header import SignedHeader
from tallystick.ledger.state import State
from tallystick.ledger.vote import Tally, Vote


class Waiting(Protocol):
    """The certificate box, as far as agreement looks into it."""

    def __len__(self) -> int:
        """How many certificates wait, those in blocks that are not final among them."""

    def choose(self, now_ms: int, base: State, above: Above, until_ms: int = ...) -> list[AnyCertificate]:
        """Certificates for a block made now on `base`, legal in this order: all, or those that came by some time."""


class SendProposal(NamedTuple):
    """Tell everybody what this node proposes in a view, once the vote for it is durable."""

    view: int
    parent_view: int | None
    block: VerifiedBlock
    is_new: bool
    """Whether the block is new; else it is notarized, and proposed again."""


class SendVote(NamedTuple):
    """Make the vote durable, then tell everybody."""

    vote: Vote


class PersistQuorum(NamedTuple):
    """Make durable what the votes of this step rest on: certificates, or votes of views that are over, and blocks."""

    tallies: tuple[Tally, ...]
    blocks: tuple[VerifiedBlock, ...]


class Finalized(NamedTuple):
    """These blocks follow the tip, each with the state it leads to; this finalized the last, if votes did."""

    blocks: tuple[VerifiedBlock, ...]
    states: tuple[State, ...]
    finalization: Finalization | None


class StateMismatch(NamedTuple):
    """A quorum chose a block that the gate refuses: this node's state is not the ledger's. It votes no more."""

    refused: Refused


class TwinFound(NamedTuple):
    """Another machine signs with this node's key: it signs no more."""

    epoch: int
    view: int


class IllegalProposal(NamedTuple):
    """The gate refused a proposal, which this leader signed."""

    forger: bytes
    refused: Refused


class RequestBlock(NamedTuple):
    """A block that was voted for is not known whole: ask for it."""

    block_hash: bytes


class RequestViewCertificates(NamedTuple):
    """Certificates of these views are lacking to propose or to vote: ask for them."""

    first: int
    last: int


class RelayVotes(NamedTuple):
    """The view lasts: pass on these votes, which some members may not hear from those who cast them."""

    tallies: tuple[Tally, ...]


class Rebroadcast(NamedTuple):
    """Nothing moves: tell the others again what they may lack."""


class Equivocation(NamedTuple):
    """Two votes, or two headers, that no honest member signs both."""

    first: Vote | SignedHeader
    second: Vote | SignedHeader

    @property
    def offender(self) -> bytes:
        """Whose they are."""
        return self.first.member if isinstance(self.first, Vote) else self.first.header.forger


Output = (
    SendProposal
    | SendVote
    | PersistQuorum
    | Finalized
    | StateMismatch
    | TwinFound
    | IllegalProposal
    | RequestBlock
    | RequestViewCertificates
    | RelayVotes
    | Rebroadcast
)
