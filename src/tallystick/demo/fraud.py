"""How the fraud makes what is illegal. The engine refuses each of these; an honest node needs none of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from tallystick.consensus.simplex import Simplex
from tallystick.demo.scenario import FRAUD, HONEST, Illegal
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import (
    AnyCertificate,
    Payload,
    Statement,
    issue_evidence,
    issue_stake,
    issue_statement,
)
from tallystick.ledger.encoding import digest
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.header import VERSION, Header
from tallystick.ledger.keys import Domain
from tallystick.ledger.messages import (
    BlockRequest,
    Blocks,
    Certificates,
    Entry,
    Message,
    Proposal,
    RecoveryRequest,
    Status,
    Votes,
    encode_message,
)
from tallystick.ledger.params import MAX_MESSAGE_BYTES
from tallystick.ledger.state import make_header
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Tally, Vote, cast, tally_of
from tallystick.ledger.wallet import Wallet, sign
from tallystick.network.archiving import FullArchive
from tallystick.node.node import Node

_YEAR_MS: Final = 365 * 24 * 3600 * 1000
_A_BURST: Final = 129
"""One request more than a peer may have saved up (rule N3)."""

Thrown = Sequence[bytes] | Sequence[Entry]
"""Messages sent to a node as an unknown peer, or certificates submitted there as a user does."""


def make(illegal: Illegal, fraud: "Fraud") -> Thrown:
    """What the fraud throws at the node that he is after."""
    return _WAYS[illegal](fraud)


@dataclass(frozen=True)
class Fraud:
    """Charlie in front of one node: he has his wallet, and a copy of the chain with its finalizations."""

    wallets: Mapping[str, Wallet]
    node: Node
    agreement: Simplex
    kept: FullArchive
    now_ms: int

    @property
    def ledger_id(self) -> bytes:
        """The ledger that he is on."""
        return self.node.chain.ledger_id

    @property
    def wallet(self) -> Wallet:
        """His own."""
        return self.wallets[FRAUD]

    @property
    def victim(self) -> bytes:
        """Alice's public key."""
        return self.wallets[HONEST[0]].public_key

    # ---- certificates ---------------------------------------------------------------------------------------

    def statement(self, subject: str = "I own the town hall", at_ms: int | None = None) -> Statement:
        """A statement of his own: legal, whatever one thinks of it."""
        return issue_statement(self.wallet, self.ledger_id, self.now_ms if at_ms is None else at_ms, subject)

    def stake(self, amount: int) -> AnyCertificate:
        """A staking operation of his own."""
        return issue_stake(self.wallet, self.ledger_id, self.now_ms, amount)

    def in_victims_name(self) -> Statement:
        """A statement that names Alice and that he signs."""
        claimed = replace(self.statement("I owe Charlie 1000"), issuer=self.victim)
        return replace(claimed, signature=self.wallet.sign(Domain.CERTIFICATE, self.ledger_id, claimed.body))

    def victims_own(self) -> Statement:
        """A statement of Alice's that is on the chain."""
        certificates = (certificate for block in self.kept.blocks() for certificate in block.certificates)
        return next(one for one in certificates if isinstance(one, Statement) and one.issuer == self.victim)

    def with_other_payload(self) -> Entry:
        """A certificate beside a payload that it does not cover."""
        certified, shown = (Payload(bytes(32), "text/plain", text) for text in (b"1 euro", b"1000 euros"))
        return Entry(issue_statement(self.wallet, self.ledger_id, self.now_ms, "Receipt", certified), shown)

    # ---- votes ----------------------------------------------------------------------------------------------

    def ballot(self, kind: int, block_hash: bytes = ZERO_DIGEST) -> Ballot:
        """What a member would put its name to now."""
        return Ballot(kind, self.agreement.epoch.number, self.agreement.view, block_hash)

    def two_votes(self) -> tuple[Vote, Vote]:
        """His votes for two blocks in one view: what no honest member signs."""
        ballots = (self.ballot(NOTARIZE, digest(name)) for name in (b"one block", b"another block"))
        first, second = (cast(self.wallet, self.ledger_id, ballot) for ballot in ballots)
        return first, second

    def sign_of_life(self) -> bytes:
        """His vote to nullify: a leader that is not heard of is passed over at once."""
        (message,) = _voted(cast(self.wallet, self.ledger_id, self.ballot(NULLIFY)))
        return message

    def honest_votes(self) -> tuple[Vote, Vote]:
        """One honest member's votes for the first and the last block that were voted for: anybody can read them."""
        indexes = range(1, self.node.state.index + 1)
        kept = [one for index in indexes if (one := self.kept.finalization(index)) is not None]
        first = {vote.member: vote for vote in kept[0].votes}
        return next((first[vote.member], vote) for vote in kept[-1].votes if vote.member in first)

    def forged_vote(self, ballot: Ballot, member: bytes) -> Vote:
        """A vote that names a member and that he signs."""
        return replace(cast(self.wallet, self.ledger_id, ballot), member=member)

    def evidence(self, first: Vote, second: Vote) -> list[bytes]:
        """Evidence of two votes, issued by him."""
        return _offered(Entry(issue_evidence(self.wallet, self.ledger_id, self.now_ms, first, second)))

    def forged_evidence(self) -> list[bytes]:
        """A member's vote beside one that would contradict it, had the member signed it."""
        _, own = self.honest_votes()
        denied = replace(own.ballot, kind=NULLIFY, block_hash=ZERO_DIGEST)
        return self.evidence(own, self.forged_vote(denied, own.member))

    def evidence_of_nobody(self) -> list[Entry]:
        """Two votes that do conflict, by a key of his that holds nothing."""
        nobody = Wallet(digest(b"one more of Charlie's keys"))
        return self.of_both(nobody, self.agreement.epoch.number)

    def of_both(self, offender: Wallet, epoch: int) -> list[Entry]:
        """Evidence against one of his keys, which voted to finalize the first view of an epoch and to nullify it."""
        ballots = Ballot(FINALIZE, epoch, 1, bytes(32)), Ballot(NULLIFY, epoch, 1, ZERO_DIGEST)
        votes = (cast(offender, self.ledger_id, ballot) for ballot in ballots)
        return [Entry(issue_evidence(self.wallet, self.ledger_id, self.now_ms, *votes))]

    def forged_recovery(self) -> RecoveryRequest:
        """A member, not the one that runs the node, is said to have lost what it signed; Charlie says so."""
        keys = (self.wallets[name].public_key for name in HONEST)
        member = next(one for one in keys if one != self.agreement.guard.key)
        return sign(RecoveryRequest(member, digest(b"nonce")), self.wallet, self.ledger_id)

    # ---- blocks ---------------------------------------------------------------------------------------------

    def block(
        self,
        *certificates: AnyCertificate,
        forger: bytes | None = None,
        **header_fields: Any,
    ) -> Block:
        """The next block, as he would have it, signed by him: other fields in the header."""
        covered = certificates or (self.statement(),)
        forger = forger or self.wallet.public_key
        header = make_header(self.node.state, self.agreement.view, self.now_ms, forger, covered)
        header = replace(header, **header_fields)
        return Block(header, self.wallet.sign(Domain.BLOCK, header.ledger_id, header.encoded), tuple(covered))

    def propose(self, block: Block) -> list[bytes]:
        """A block as a proposal: its header, and the ids of what it holds."""
        ids, final_view = tuple(one.id for one in block.certificates), self.agreement.views.final_view
        return [encode_message(Proposal(block.header.view, final_view, block.header, block.signature, ids))]

    def in_drawn_name(self, **header_fields: Any) -> list[bytes]:
        """A proposal that names who is drawn, and that he signs: the others' are not looked at."""
        views = self.agreement.views
        view = views.view + (views.leader(views.view) == self.wallet.public_key)
        drawn = views.leader(view)
        if drawn == self.wallet.public_key:  # twice in a row: in his own name it might contradict another of his own
            drawn = self.victim
        return self.propose(self.block(forger=drawn, view=view, **header_fields))

    def in_turn(self, **header_fields: Any) -> list[bytes]:
        """His own proposal, and what it holds: in one view always the same, so that he does not contradict himself."""
        time_ms = self.node.state.tip.timestamp_ms + 1
        held = self.statement(at_ms=time_ms)
        block = self.block(held, timestamp_ms=time_ms, **header_fields)
        return [*self.propose(block), *_offered(Entry(held))]

    def unlinked(self) -> list[bytes]:
        """A block, and as what makes it final a later header that does not follow from it."""
        block = self.block()
        return self.pretend(block, self.of_another_block(), (replace(block.header, index=block.index + 1),))

    def pretend(self, block: Block, finalization: Tally | None = None, headers: tuple[Header, ...] = ()) -> list[bytes]:
        """Blocks that nobody asked for are not looked at: he says that he is a block ahead, and answers the request."""
        start = self.node.state.index + 1
        ahead = Status(self.ledger_id, self.node.state.epoch.number, start, block.hash, ())
        return [encode_message(ahead), encode_message(Blocks(start, (block,), headers, finalization))]

    def voted_for_alone(self) -> list[bytes]:
        """A block and his vote to make it final: on one tip always the same, so that he does not contradict himself."""
        time_ms = self.node.state.tip.timestamp_ms + 1
        block = self.block(self.statement(at_ms=time_ms), timestamp_ms=time_ms)
        return self.pretend(block, tally_of([cast(self.wallet, self.ledger_id, self.ballot(FINALIZE, block.hash))]))

    def of_another_block(self) -> Tally | None:
        """The votes that made the tip, or the last voted for before it, final."""
        finalizations = map(self.kept.finalization, range(self.node.state.index, 0, -1))
        return next((one for one in finalizations if one is not None), None)


def _offered(entry: Entry) -> list[bytes]:
    return [encode_message(Certificates((entry,)))]


def _voted(vote: Vote) -> list[bytes]:
    return [encode_message(Votes((tally_of([vote]),)))]


def _the_long_way_round(message: Message) -> bytes:
    """The same value, with its array's length in two bytes where one would do."""
    data = encode_message(message)
    length = len(msgspec.msgpack.decode(data))
    return b"\xdc" + length.to_bytes(2, "big") + data[1:]


_WAYS: Final[dict[Illegal, Callable[[Fraud], Thrown]]] = {
    Illegal.ANOTHERS_NAME: lambda fraud: _offered(Entry(fraud.in_victims_name())),
    Illegal.TWICE_IN_A_ROW: lambda fraud: [Entry(fraud.statement())] * 2,
    Illegal.ALTERED: lambda fraud: _offered(Entry(replace(fraud.victims_own(), subject="I owe Charlie 1000"))),
    Illegal.OTHER_PAYLOAD: lambda fraud: _offered(fraud.with_other_payload()),
    Illegal.FROM_THE_FUTURE: lambda fraud: [Entry(fraud.statement(at_ms=fraud.now_ms + _YEAR_MS))],
    Illegal.ON_THE_CHAIN: lambda fraud: [Entry(fraud.victims_own())],
    Illegal.STAKE_NOTHING: lambda fraud: [Entry(fraud.stake(0))],
    Illegal.STAKE_TOO_MUCH: lambda fraud: [Entry(fraud.stake(1_000_000))],
    Illegal.WITHDRAW_TOO_MUCH: lambda fraud: [Entry(fraud.stake(-1_000))],
    Illegal.FALSE_EVIDENCE: lambda fraud: fraud.evidence(*fraud.honest_votes()),
    Illegal.FORGED_EVIDENCE: lambda fraud: fraud.forged_evidence(),
    Illegal.EVIDENCE_OF_NOBODY: lambda fraud: fraud.evidence_of_nobody(),
    Illegal.FORGED_VOTE: lambda fraud: _voted(fraud.forged_vote(fraud.ballot(NULLIFY), fraud.victim)),
    Illegal.FORGED_RECOVERY: lambda fraud: [encode_message(fraud.forged_recovery())],
    Illegal.FORGED_PROPOSAL: lambda fraud: fraud.in_drawn_name(),
    Illegal.OTHER_LEDGER: lambda fraud: fraud.in_drawn_name(ledger_id=ZERO_DIGEST),
    Illegal.UNVOTED: lambda fraud: fraud.pretend(fraud.block()),
    Illegal.VOTED_FOR_ALONE: lambda fraud: fraud.voted_for_alone(),
    Illegal.OTHER_FINALIZATION: lambda fraud: fraud.pretend(fraud.block(), fraud.of_another_block()),
    Illegal.OTHER_PARENT: Fraud.unlinked,
    Illegal.GARBAGE: lambda fraud: [b"\xc1 let me in"],
    Illegal.OVERSIZED: lambda fraud: [bytes(MAX_MESSAGE_BYTES + 1)],
    Illegal.NOT_CANONICAL: lambda fraud: [_the_long_way_round(Status(fraud.ledger_id, 0, 0, ZERO_DIGEST, ()))],
    Illegal.STRANGER: lambda fraud: [encode_message(Status(ZERO_DIGEST, 0, 0, ZERO_DIGEST, ()))],
    Illegal.TOO_MANY_REQUESTS: lambda fraud: [encode_message(BlockRequest(1, 1))] * _A_BURST,
    Illegal.WRONG_ROOT: lambda fraud: fraud.in_turn(state_root=digest(b"Charlie holds all tokens")),
    Illegal.LATER_VERSION: lambda fraud: fraud.in_turn(version=VERSION + 1),
    Illegal.BURNED_KEY: lambda fraud: [Entry(fraud.stake(1))],
    Illegal.STALE_EVIDENCE: lambda fraud: fraud.of_both(fraud.wallet, 0),
}
