"""The one step between the network and the node: from bytes to a checked message, or to refusals.

Bounds, form, what is known already, who may issue it, signatures, in that order: the cheap checks first.
"""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from tallystick.ledger import messages
from tallystick.ledger.address import AddressRecord
from tallystick.ledger.block import Block, check_certificates_hash, check_form, check_signatures
from tallystick.ledger.certificate import check_payload, check_signed
from tallystick.ledger.checkpoint import Cosignature
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.header import SignedHeader
from tallystick.ledger.keys import Verify, is_signed
from tallystick.ledger.messages import Certificates, Entry, Message, Votes, decode_message
from tallystick.ledger.vote import Tally, check_tally, check_vote_signatures
from tallystick.node.events import CheckedEntry, CheckedMessage, Peer
from tallystick.node.knowledge import Knowledge

T = TypeVar("T")

_NOTHING: Final = CheckedMessage(None)


class Intake:
    """Checks what can be checked without the chain. `verify` and `decode` stand open for caches.

    What the node knows already is not verified, nor what it does not want.
    """

    def __init__(
        self,
        ledger_id: bytes,
        knowledge: Knowledge,
        verify: Verify = is_signed,
        decode: Callable[[bytes], Message] = decode_message,
    ) -> None:
        self._ledger_id = ledger_id
        self._knowledge = knowledge
        self._verify = verify
        self._decode = decode

    def verifying_by(self, verify: Verify) -> "Intake":
        """The same with another `verify`."""
        return Intake(self._ledger_id, self._knowledge, verify, self._decode)

    def check(self, peer: Peer, data: bytes) -> CheckedMessage:
        """Check a peer's bytes. Never raises: what is illegal comes back as refusals.

        E*, C*, V*, B*, N4, N7; D1, D6, M1, S9.
        """
        try:
            message = self._decode(data)
        except Refused as refused:
            return CheckedMessage(None, (refused,))
        return self._check_message(peer, message) if self._knowledge.is_wanted(peer, message) else _NOTHING

    def check_entry(self, entry: Entry) -> CheckedEntry:
        """Check a submitted certificate. It was decoded, or held to its form (`check_form`), before.

        Raises `Refused` (D1, D6, M1, S9; C3, C1).
        """
        self._check_entry(entry)
        return CheckedEntry(entry)

    def _check_message(self, peer: Peer, message: Message) -> CheckedMessage:
        match message:
            case Certificates(entries):
                return self._check_entries(entries)
            case Votes() | messages.Cosignatures():
                return self._check_heard(peer, message)
        refused = _refusal_of(self._check_signatures, message)
        if refused is None:
            return CheckedMessage(message)
        match message:  # an answer is over, and of no use
            case messages.Blocks(start):
                return CheckedMessage(messages.Blocks(start, ()), (refused,))
            case messages.Finalizations():
                return CheckedMessage(messages.Finalizations(()), (refused,))
        return CheckedMessage(None, (refused,))

    def _check_entries(self, entries: tuple[Entry, ...]) -> CheckedMessage:
        others, known = self._knowledge.sort_out(entries)  # most of what gossip brings was heard from another side
        good, refusals = list[Entry](), list[Refused]()
        on_chain = self._knowledge.on_chain([one.certificate.id for one in others])
        for entry in others:
            if entry.certificate.id in on_chain:
                known.append(entry.certificate.id)
                continue
            try:
                self._check_entry(entry)
            except Refused as refused:
                refusals.append(refused)
            else:
                good.append(entry)
        return CheckedMessage(Certificates(tuple(good)) if good else None, tuple(refusals), tuple(known))

    def _check_entry(self, entry: Entry) -> None:
        self._knowledge.check_issuer(entry.certificate)
        check_payload(entry.certificate, entry.payload)
        check_signed(entry.certificate, self._ledger_id, self._verify)

    def _check_signatures(self, message: Message) -> None:
        match message:
            case messages.NewBlock(block):
                check_form(block, self._ledger_id)
                self._check_block(block)
            case messages.Blocks(_, blocks, _, finalization):
                self._knowledge.check_proof(message)
                for block in blocks:
                    check_certificates_hash(block)
                self._check_votes([finalization] if finalization else [])
                for block in blocks:
                    self._check_block(block)
            case messages.RecoveryRequest():
                self._check_recovery(message)
            case messages.RecoveryResponse(entered_by=entered_by, votes=votes):
                self._check_recovery(message)
                self._check_votes([*votes, entered_by] if entered_by else votes)
            case messages.Proposal(_, _, header, signature):
                SignedHeader(header, signature).check(self._ledger_id, self._verify)
            case messages.Finalizations(proofs):
                self._knowledge.check_proof(message)
                self._check_votes(one.finalization for one in proofs)
            case messages.Addresses(records):
                self._check_addresses(records)
            case messages.ProposalCertificates(block_hash, certificates):
                self._knowledge.check_proposed(block_hash, certificates)
                for one in certificates:
                    if not self._knowledge.has_verified(one):
                        check_signed(one, self._ledger_id, self._verify)

    def _check_block(self, block: Block) -> None:
        """Signatures alone. Of a block that was asked for the gate judges the form: a quorum may have chosen it."""
        if not self._knowledge.knows_block(block):
            check_signatures(block, self._ledger_id, self._verify, self._knowledge.has_verified)

    def _check_addresses(self, records: Iterable[AddressRecord]) -> None:
        for record in (one for one in records if not self._knowledge.knows_address(one)):
            if not self._verify(record.signed_bytes(self._ledger_id), record.signature, record.key):
                raise Refused(Rule.N7, f"the address of {record.key.hex()[:16]}… is not signed by it")

    def _check_heard(self, peer: Peer, said: Votes | messages.Cosignatures) -> CheckedMessage:
        """Of what a peer heard, each part stands for itself: one that is badly signed takes no other with it."""
        return self._check_votes_heard(peer, said) if isinstance(said, Votes) else self._check_cosignatures(said)

    def _check_votes_heard(self, peer: Peer, votes: Votes) -> CheckedMessage:
        refusals = [refused for one in votes.tallies if (refused := _refusal_of(check_tally, one))][:1]
        if refusals:
            return CheckedMessage(None, tuple(refusals))
        late, wanted, good = self._knowledge.late_votes(votes), self._knowledge.wanted_votes(votes), []
        for tally in wanted.tallies if wanted else ():
            if refused := _refusal_of(self._check_vote_signatures, tally):
                refusals.append(refused)
            else:
                good.append(tally)
        is_voter = any(member == peer for one in votes.tallies for member, _ in one.signatures)
        return CheckedMessage(Votes(tuple(good)) if good else None, tuple(refusals), late=late, is_voter=is_voter)

    def _check_cosignatures(self, said: messages.Cosignatures) -> CheckedMessage:
        """One a member and size is looked at, and one refusal told: no honest peer sends more."""
        refusals, good, wanted = list[Refused](), [], dict[tuple[bytes, int], Cosignature]()
        for one in filter(self._knowledge.wants_cosignature, said.cosignatures):
            wanted.setdefault((one.member, one.size), one)
        for one in wanted.values():
            if self._knowledge.is_cosigned(one, self._verify):
                good.append(one)
            else:
                refusals.append(Refused(Rule.N10, f"it is not signed by {one.member.hex()[:16]}…"))
        return CheckedMessage(messages.Cosignatures(tuple(good)) if good else None, tuple(refusals[:1]))

    def _check_recovery(self, message: messages.RecoveryRequest | messages.RecoveryResponse) -> None:
        member = message.member
        if not self._verify(message.signed_bytes(self._ledger_id), message.signature, member):
            raise Refused(Rule.V1, f"what {member.hex()[:16]}… says of recovery is not signed by it")

    def _check_votes(self, tallies: Iterable[Tally]) -> None:
        """Most were heard before, from another side or the time before."""
        for tally in tallies:
            check_tally(tally)
            self._check_vote_signatures(tally)

    def _check_vote_signatures(self, tally: Tally) -> None:
        check_vote_signatures(tally, self._ledger_id, self._verify, self._knowledge.knows_vote)


def _refusal_of(check: Callable[[T], None], one: T) -> Refused | None:
    """What the check refuses."""
    try:
        check(one)
    except Refused as refused:
        return refused
    return None
