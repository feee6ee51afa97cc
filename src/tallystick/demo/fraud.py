"""How the fraud makes what is illegal. The engine refuses each of these; an honest node needs none of it."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from tallystick.consensus.simplex import Simplex
from tallystick.ledger import certificate, messages
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import AnyCertificate, Payload, Statement
from tallystick.ledger.encoding import digest
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.header import VERSION, Header
from tallystick.ledger.keys import Domain
from tallystick.ledger.messages import Certificates, Entry, Message, Status, Votes, encode_message
from tallystick.ledger.params import MAX_MESSAGE_BYTES
from tallystick.ledger.transition import make_header
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Tally, Vote, cast, tally_of
from tallystick.ledger.wallet import Wallet, sign
from tallystick.network.archiving import FullArchive
from tallystick.node.node import Node

HONEST: Final = ("Alice", "Bob", "Delphine")
FRAUD: Final = "Charlie"

_YEAR_MS: Final = 365 * 24 * 3600 * 1000
_A_BURST: Final = 129
"""One request more than a peer may have saved up (rule N3)."""


class Fraud(msgspec.Struct, frozen=True):
    """Charlie in front of one node: he has his wallet, and a copy of the chain with its finalizations."""

    wallet: Wallet
    honest: Sequence[bytes]
    """The honest users' keys, Alice's first."""
    node: Node
    simplex: Simplex
    kept: FullArchive
    now_ms: int

    @property
    def issuer(self) -> tuple[Wallet, bytes, int]:
        """He, on this ledger, now: who issues a certificate."""
        return self.wallet, self.node.chain.ledger_id, self.now_ms

    def throws(self, what: str) -> list[bytes | Entry]:
        """What he throws at the node that he is after: bytes, and what he submits."""
        made = (CERTIFICATES | MESSAGES | IN_TURN | BURNED)[what](self)
        return [one if isinstance(one, bytes | Entry) else encode_message(one) for one in made]

    def statement(self, subject: str = "I own the town hall") -> Statement:
        """A statement of his own: legal, whatever one thinks of it."""
        return certificate.issue_statement(*self.issuer, subject)

    def stake(self, amount: int) -> Entry:
        """A staking operation of his own."""
        return Entry(certificate.issue_stake(*self.issuer, amount))

    def in_victims_name(self) -> Certificates:
        """A statement that names Alice and that he signs."""
        claimed = replace(self.statement("I owe Charlie 1000"), issuer=self.honest[0])
        signature = self.wallet.sign(Domain.CERTIFICATE, self.node.chain.ledger_id, claimed.body)
        return _offered(replace(claimed, signature=signature))

    def victims_own(self) -> Statement:
        """A statement of Alice's that is on the chain."""
        certificates = (one for block in self.kept.blocks() for one in block.certificates)
        return next(one for one in certificates if isinstance(one, Statement) and one.issuer == self.honest[0])

    def with_other_payload(self) -> Certificates:
        """A certificate beside a payload that it does not cover."""
        certified, shown = (Payload(bytes(32), "", "text/plain", text) for text in (b"1 euro", b"1000 euros"))
        return _offered(certificate.issue_statement(*self.issuer, "Receipt", certified), shown)

    def vote(self, kind: int, block_hash: bytes = ZERO_DIGEST, member: bytes | None = None) -> Tally:
        """A vote in the view at hand that he signs, in his name or in that of a member."""
        ballot = Ballot(kind, self.simplex.epoch.number, self.simplex.view, block_hash)
        return tally_of([self.cast(ballot, member or self.wallet.public_key)])

    def cast(self, ballot: Ballot, member: bytes) -> Vote:
        """A vote that he signs, for whomever."""
        return replace(cast(self.wallet, self.node.chain.ledger_id, ballot), member=member)

    def sign_of_life(self) -> Votes:
        """His vote to nullify: a leader that is not heard of is passed over at once."""
        return Votes((self.vote(NULLIFY),))

    def two_votes(self) -> list[Message]:
        """His votes for two blocks in one view: what no honest member signs."""
        return [Votes((self.vote(NOTARIZE, digest(name)),)) for name in (b"one block", b"another block")]

    def honest_votes(self) -> tuple[Vote, Vote]:
        """One honest member's votes for the first and the last block that were voted for: anybody can read them."""
        indexes = range(1, self.node.state.index + 1)
        kept = [one for index in indexes if (one := self.kept.finalization(index)) is not None]
        first = {vote.member: vote for vote in kept[0].votes}
        return next((first[vote.member], vote) for vote in kept[-1].votes if vote.member in first)

    def evidence(self, first: Vote, second: Vote) -> AnyCertificate:
        """Evidence of two votes, issued by him."""
        return certificate.issue_evidence(*self.issuer, first, second)

    def forged_evidence(self) -> Certificates:
        """A member's vote beside one that would contradict it, had the member signed it."""
        _, own = self.honest_votes()
        denied = replace(own.ballot, kind=NULLIFY, block_hash=ZERO_DIGEST)
        return _offered(self.evidence(own, self.cast(denied, own.member)))

    def of_both(self, offender: Wallet, epoch: int) -> Entry:
        """Evidence against one of his keys, which voted to finalize the first view of an epoch and to nullify it."""
        ballots = Ballot(FINALIZE, epoch, 1, bytes(32)), Ballot(NULLIFY, epoch, 1, ZERO_DIGEST)
        first, second = (cast(offender, self.node.chain.ledger_id, ballot) for ballot in ballots)
        return Entry(self.evidence(first, second))

    def forged_recovery(self) -> messages.RecoveryRequest:
        """A member, not the one that runs the node, is said to have lost what it signed; Charlie says so."""
        member = next(one for one in self.honest if one != self.simplex.guard.key)
        return sign(messages.RecoveryRequest(member, digest(b"nonce")), self.wallet, self.node.chain.ledger_id)

    def block(self, forger: bytes | None = None, **header_fields: Any) -> Block:
        """The next block, as he would have it, signed by him: other fields in the header."""
        covered, forger = (self.statement(),), forger or self.wallet.public_key
        header = make_header(self.node.state, self.simplex.view, self.now_ms, forger, covered)
        header = replace(header, **header_fields)
        return Block(header, self.wallet.sign(Domain.BLOCK, header.ledger_id, header.encoded), covered)

    def own_block(self, **header_fields: Any) -> Block:
        """A block of his: on one tip and in one view always the same, so that he does not contradict himself."""
        return replace(self, now_ms=self.node.state.tip.timestamp_ms + 1).block(**header_fields)

    def propose(self, block: Block) -> messages.Proposal:
        """A block as a proposal: its header, and the ids of what it holds."""
        ids, final_view = tuple(one.id for one in block.certificates), self.simplex.views.final_view
        return messages.Proposal(block.header.view, final_view, block.header, block.signature, ids)

    def in_drawn_name(self, **header_fields: Any) -> messages.Proposal:
        """A proposal that names who is drawn, and that he signs: the others' are not looked at."""
        views = self.simplex.views
        view = views.view + (views.leader(views.view) == self.wallet.public_key)
        drawn = views.leader(view)
        if drawn == self.wallet.public_key:  # twice in a row: in his own name it might contradict another of his own
            drawn = self.honest[0]
        return self.propose(self.block(forger=drawn, view=view, **header_fields))

    def in_turn(self, **header_fields: Any) -> list[Message]:
        """His own proposal, and what it holds."""
        block = self.own_block(**header_fields)
        return [self.propose(block), _offered(block.certificates[0])]

    def voted_for_alone(self) -> list[Message]:
        """A block and his vote to make it final."""
        block = self.own_block()
        return self.pretend(block, self.vote(FINALIZE, block.hash))

    def unlinked(self) -> list[Message]:
        """A block, and as what makes it final a later header that does not follow from it."""
        block = self.block()
        return self.pretend(block, self.of_another_block(), replace(block.header, index=block.index + 1))

    def pretend(self, block: Block, finalization: Tally | None = None, *headers: Header) -> list[Message]:
        """Blocks that nobody asked for are not looked at: he says that he is a block ahead, and answers the request."""
        start = self.node.state.index + 1
        ahead = Status(self.node.chain.ledger_id, self.node.state.epoch.number, start, block.hash, ())
        return [ahead, messages.Blocks(start, (block,), headers, finalization)]

    def of_another_block(self) -> Tally | None:
        """The votes that made the tip, or the last voted for before it, final."""
        finalizations = map(self.kept.finalization, range(self.node.state.index, 0, -1))
        return next((one for one in finalizations if one is not None), None)


def _offered(certificate: AnyCertificate, payload: Payload | None = None) -> Certificates:
    return Certificates((Entry(certificate, payload),))


def _greeting(ledger_id: bytes) -> Status:
    return Status(ledger_id, 0, 0, ZERO_DIGEST, ())


def _the_long_way_round(message: Message) -> bytes:
    """The same value, with its array's length in two bytes where one would do."""
    data = encode_message(message)
    length = len(msgspec.msgpack.decode(data))
    return b"\xdc" + length.to_bytes(2, "big") + data[1:]


# ---- all that he tries, in words --------------------------------------------------------------------------------

_Attempts = dict[str, Callable[[Fraud], Sequence[Message | bytes | Entry]]]
"""Messages and bytes are sent to a node as by an unknown peer, entries are submitted there as by a user."""

CERTIFICATES: Final[_Attempts] = {
    "a certificate in Alice's name": lambda his: [his.in_victims_name()],
    "the same certificate a second time": lambda his: [Entry(his.statement())] * 2,
    "Alice's certificate with its subject changed": lambda his: [
        _offered(replace(his.victims_own(), subject="I owe Charlie 1000"))
    ],
    "a payload that is not the one certified": lambda his: [his.with_other_payload()],
    "a certificate dated a year ahead": lambda his: [Entry(replace(his, now_ms=his.now_ms + _YEAR_MS).statement())],
    "a certificate already on the chain": lambda his: [Entry(his.victims_own())],
    "a staking operation of 0 tokens": lambda his: [his.stake(0)],
    "staking a million tokens": lambda his: [his.stake(1_000_000)],
    "withdrawing stake that he does not have": lambda his: [his.stake(-1_000)],
    "evidence of two votes that do not conflict": lambda his: [_offered(his.evidence(*his.honest_votes()))],
    "evidence with a vote that was never signed": lambda his: [his.forged_evidence()],
    "evidence against a key without stake": lambda his: [
        his.of_both(Wallet(digest(b"one more of Charlie's keys")), his.simplex.epoch.number)
    ],
}
MESSAGES: Final[_Attempts] = {
    "a vote in Alice's name": lambda his: [Votes((his.vote(NULLIFY, member=his.honest[0]),))],
    "a request for recovery in a member's name": lambda his: [his.forged_recovery()],
    "a proposal in the name of who is drawn": lambda his: [his.in_drawn_name()],
    "a proposal for another ledger": lambda his: [his.in_drawn_name(ledger_id=ZERO_DIGEST)],
    "a block that nobody voted for": lambda his: his.pretend(his.block()),
    "a block final by his own vote alone": Fraud.voted_for_alone,
    "a block with the votes for another one": lambda his: his.pretend(his.block(), his.of_another_block()),
    "a block that its proof does not follow from": Fraud.unlinked,
    "bytes that mean nothing": lambda his: [b"\xc1 let me in"],
    "a message of 2 MiB and 1 byte": lambda his: [bytes(MAX_MESSAGE_BYTES + 1)],
    "a message encoded the long way round": lambda his: [_the_long_way_round(_greeting(his.node.chain.ledger_id))],
    "a greeting from another ledger": lambda his: [_greeting(ZERO_DIGEST)],
    "129 requests at once": lambda his: [messages.BlockRequest(1, 1)] * _A_BURST,
}
IN_TURN: Final[_Attempts] = {
    "a proposal with a wrong state root": lambda his: his.in_turn(state_root=digest(b"Charlie holds all tokens")),
    "a proposal of a version to come": lambda his: his.in_turn(version=VERSION + 1),
}
"""What he proposes once he is a member and drawn to forge."""
BURNED: Final[_Attempts] = {
    "staking with the key that was burned": lambda his: [his.stake(1)],
    "evidence of an epoch long past": lambda his: [his.of_both(his.wallet, 0)],
}
"""What he tries with a key that contradicted itself."""
