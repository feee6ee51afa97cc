"""What a node knows already, and what it wants: intake verifies nothing twice, or in vain."""

from collections.abc import Iterable, Sequence

from tallystick.ledger import messages
from tallystick.ledger.certificate import (
    AnyCertificate,
    Approval,
    Certified,
    ErasureConfirmation,
    KeyChange,
    Motion,
    Objection,
    StakingOperation,
    Statement,
)
from tallystick.ledger.changes import AddIssuer, SetMemberRole
from tallystick.ledger.directory import Position
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.messages import Message, Votes, is_said
from tallystick.ledger.state import State
from tallystick.ledger.vote import Tally
from tallystick.node.agreement import Agreement
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.chain_copy import ChainCopy
from tallystick.node.events import Peer
from tallystick.node.late_votes import LateVotes
from tallystick.node.limits import Limits
from tallystick.node.peer_exchange import PeerExchange


class Knowledge:
    """All of it is asked before any signature is verified."""

    def __init__(
        self, agreement: Agreement, copy: ChainCopy, box: CertificateBox, exchange: PeerExchange, limits: Limits
    ) -> None:
        self._agreement, self._copy, self._limits = agreement, copy, limits
        self.sort_out = box.sort_out
        """Tells certificates that wait in the box, as `has_verified` does, from others."""
        self.has_verified = box.holds
        """Whether this very certificate, signature included, waits in the box: its id says nothing of its signature."""
        self.knows_block = copy.has_verified
        """Whether this very block, its forger's signature included, is one of the latest of the chain."""
        self.knows_vote = agreement.knows_vote
        """Whether this very vote, signature included, was counted."""
        self.knows_address = exchange.knows
        """Whether this very record, signature included, is the one kept of its key."""
        self.check_proof = copy.finality.check_proof
        """Raises `Refused` for votes that prove nothing, however they are signed."""
        self.wants_cosignature = copy.checkpoints.wants
        """Whether this cosignature would count, or may later."""
        self.is_cosigned = copy.checkpoints.is_signed
        """Whether its member signed it for this ledger's log."""
        self.wanted_votes = agreement.wanted_votes
        """Of these votes those that would count."""

    def on_chain(self, ids: Iterable[bytes]) -> set[bytes]:
        """Those of these ids that are on the chain: another certificate with one of them is refused (C5).

        Where a peer names many that the file may have, those beyond its share count as being there: it is asked for
        none of them. Of others hardly any is among them, and what waits somewhere is announced again.
        """
        return self._copy.chain.certificate_index.known(ids, self._limits.old_ids_per_message)

    def check_issuer(self, certificate: AnyCertificate) -> None:
        """Raise `Refused` (D1, D6, M1, R4, S9) for what this issuer may not issue: its signature is not looked at."""
        state = self._copy.chain.state
        if not (state.params.anybody_certifies and isinstance(certificate, Statement)):
            _check_issuer(certificate, state)

    def check_proposed(self, block_hash: bytes, certificates: Sequence[AnyCertificate]) -> None:
        """The same for certificates of a proposal, on the block that it extends: keys may be listed there already.

        While that block is not known, their signatures have to do; likewise for a key that the proposal itself lists.
        """
        if (found := self._agreement.proposed_on(block_hash)) is None:
            return
        state, at_hand = found
        changed = set[bytes]()
        if not state.params.anybody_certifies:
            changed = {key for one in (*at_hand, *certificates) if (key := _key_changed(one)) is not None}
        for one in certificates:
            if not (isinstance(one, Certified) and one.issuer in changed):
                _check_issuer(one, state)

    def is_wanted(self, peer: Peer, message: Message) -> bool:
        """Whether the message is worth verifying: asked for, of a member, of its leader, of this time."""
        match message:
            case messages.Certificates():  # most are
                return True
            case messages.Blocks(start):
                return self._copy.sync.is_asked(peer, start)
            case messages.Finalizations() | messages.Headers() as proof:
                return self._copy.sync.is_answer(peer, proof)
            case messages.NewBlock(block):
                return self._copy.finality.takes_new_blocks and not self._copy.knows(block.hash)
            case said if is_said(said) and not isinstance(said, Votes):
                return self._agreement.is_wanted(said)
        return True

    def late_votes(self, votes: Votes) -> tuple[Tally, ...]:
        """Of these votes those for views that are over, which may contradict what is kept of them."""
        over = (one for one in votes.tallies if self._agreement.is_over(one.ballot))
        return LateVotes.select(over, self._copy.chain.state, self._copy.knows)


def _key_changed(certificate: AnyCertificate) -> bytes | None:
    """The key that may certify after this certificate, though it could not before."""
    match certificate:
        case KeyChange(operation=AddIssuer(key=key) | SetMemberRole(key=key)):
            return key
    return None


def _check_issuer(certificate: AnyCertificate, state: State) -> None:
    """Cheap, and enough to keep out whoever is not of this ledger; the box then asks all rules."""
    directory, issuer = state.directory, certificate.issuer
    match certificate:
        case Motion() | Approval() | Objection() if directory.member_of(issuer) is None:
            raise Refused(Rule.M1, f"{issuer.hex()[:16]}… is no member key of this ledger")
        case ErasureConfirmation() if directory.member_of(issuer) is None:
            raise Refused(Rule.R4, f"{issuer.hex()[:16]}… is no member key of this ledger")
        case KeyChange() if issuer not in directory.keys:
            raise Refused(Rule.D6, f"{issuer.hex()[:16]}… may change no organisation's keys")
        case StakingOperation() if directory:
            raise Refused(Rule.S9, "members decide on stakes together here: make a motion")
        case _ if isinstance(certificate, Certified) and not state.params.anybody_certifies:
            directory.check_certifies(issuer, Position(state.epoch.number, state.log.size, state.tip.timestamp_ms))
