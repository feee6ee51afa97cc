"""What a node asks of agreement, whichever rule runs: Simplex or the lone forger."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from tallystick.consensus.agreement import Equivocation, Finalized
from tallystick.consensus.signing_guard import GuardStatus, Place, SigningGuard
from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import Blockchain, CheckForger
from tallystick.ledger.certificate import AnyCertificate
from tallystick.ledger.checkpoint import Checkpoint, Cosignature
from tallystick.ledger.finality import Finalization
from tallystick.ledger.messages import ProposalRequest, Said, Votes
from tallystick.ledger.state import State
from tallystick.ledger.vote import Ballot, Tally, Vote
from tallystick.ledger.wallet import Wallet
from tallystick.node.archive import Archive
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.events import Action, Peer
from tallystick.node.finality_proofs import Finality, TrustedBlock
from tallystick.node.limits import Limits


class AgreementStatus(Struct, frozen=True):
    """How this node's part in agreement stands, for whoever consults the node."""

    rule: str
    epoch: int
    view: int
    key: bytes | None = None
    guard: GuardStatus | None = None
    unanswered: tuple[bytes, ...] = ()
    """While the guard is lost: the members that have not answered."""
    silent_until: tuple[int, int] | None = None
    """Up to this epoch and view the member does not vote freely."""
    twin: tuple[int, int] | None = None
    is_burned: bool = False
    is_loss_accepted: bool = False
    mismatch: str | None = None
    """Why this node's state is not the ledger's."""
    left_with: int | None = None
    """The block with which this key ended, if it was a member's: its votes counted up to that block."""
    may_stop: bool = False
    """Whether the node may be switched off: more than a third of the stake that is left says that it has that block,
    or another block follows it."""


def status_of(rule: str, view: int, guard: SigningGuard | None, state: State) -> AgreementStatus:
    """What a key's guard, and the ledger, say of it."""
    place = (state.epoch.number, view)
    if guard is None or guard.wallet is None:
        return AgreementStatus(rule, *place)
    own = AgreementStatus(rule, *place, guard.key, guard.status, twin=guard.twin)
    silent_until = guard.silent_until if guard.silent_until and guard.silent_until >= place else None
    is_burned = guard.key in state.stakes.burned_keys
    return replace(own, silent_until=silent_until, is_burned=is_burned, is_loss_accepted=guard.is_loss_accepted)


class Step(NamedTuple):
    """What one step of agreement came to, beside its actions."""

    finalized: Finalized | None = None
    """Blocks that follow the tip now; add them, tell agreement (`tip_advanced`), and step again."""
    wake_ms: int | None = None
    is_stuck: bool = False
    """Whether nothing moves, so that peers are told where this node stands."""


class Agreement:
    """One rule, as the node drives it; it never calls the node. By itself it is a rule by which nobody votes."""

    wallet: Wallet | None = None
    """The key that this node forges and votes with, if it does."""
    has_cosigners = False
    """Whether members cosign checkpoints."""

    @property
    def check_forger(self) -> CheckForger:
        """Who may forge, for the gate."""
        raise NotImplementedError

    def finality(self, chain: Blockchain, limits: Limits, trusted_block: TrustedBlock | None) -> Finality:
        """How blocks of peers are known to be final."""
        raise NotImplementedError

    def start(self, chain: Blockchain, box: CertificateBox, archive: Archive | None) -> None:
        """Begin, or begin again from what was kept."""
        raise NotImplementedError

    def step(self, now_ms: int, is_behind: Callable[[], bool], actions: list[Action]) -> Step:
        """Do all that is to be done now, up to the next blocks that are final."""
        raise NotImplementedError

    def tip_advanced(self, finalization: Finalization | None) -> None:
        """The tip moved, by this finalization if by votes, and is kept."""
        raise NotImplementedError

    def status(self) -> AgreementStatus:
        """How it stands."""
        raise NotImplementedError

    def added(self, finalized: Finalized, actions: list[Action]) -> None:
        """Blocks of the last step were added, and are kept."""

    def cosign(self, checkpoint: Checkpoint, place: Place, time_s: int, actions: list[Action]) -> Cosignature | None:
        """Cosign the log after a final block of this place, as far as the signing guard allows it."""
        return None

    # ---- what peers say ---------------------------------------------------------------------------------------

    def is_wanted(self, message: Said) -> bool:
        """Whether a message is worth verifying: asked for, of a member, of its leader, of this time."""
        return False

    def wanted_votes(self, votes: Votes) -> Votes | None:
        """Of these votes those that would count."""
        return None

    def is_over(self, ballot: Ballot) -> bool:
        """Whether the ballot is for a view that is over here."""
        return False

    def unkept(self) -> Iterable[Tally]:
        """Votes of views that are over which are not kept yet."""
        return ()

    def knows_vote(self, vote: Vote) -> bool:
        """Whether this very vote, signature included, was counted."""
        return False

    def connected(self, now_ms: int, peer: Peer, actions: list[Action]) -> None:
        """A peer is there: tell it what it may lack."""

    def disconnected(self, peer: Peer) -> None:
        """A peer is gone; if it is a member, it is not waited for until it is heard again."""

    def heard(self, member: bytes) -> None:
        """A peer that has this key votes: whether or not its vote still counts, it is there."""

    def receive(self, now_ms: int, peer: Peer, said: Said, actions: list[Action]) -> None:
        """Take what a peer says; `step` then says what follows."""

    def heard_late(self, now_ms: int, peer: Peer, tallies: Iterable[Tally], actions: list[Action]) -> None:
        """A peer says votes, not verified, of views that are over: it may have missed how they ended."""

    def proposed_on(self, block_hash: bytes) -> tuple[State, Iterator[AnyCertificate]] | None:
        """The state that an unfinished proposal extends, if both are known, and its certificates that are at hand."""
        return None

    def answer(self, peer: Peer, request: ProposalRequest, actions: list[Action]) -> None:
        """Answer what a peer asks of blocks that are not final."""

    def compare(self, blocks: tuple[Block, ...], finalization: Tally | None) -> None:
        """Look for contradictions in blocks that a peer sent."""

    def take_equivocations(self) -> Iterable[Equivocation]:
        """What was found since this was last asked: each proves a contradiction."""
        return ()
