"""Byzantine members that send more than anybody wants, or fill what room others have before they offend."""

from hashlib import sha256

from tests.simulation.campaign.byzantine import Byzantine
from tests.simulation.campaign.voters import Equivocator

from tallystick.ledger.block import Block
from tallystick.ledger.certificate import Statement, issue_stake, issue_statement
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.header import SignedHeader
from tallystick.ledger.messages import (
    BlockRequest,
    Certificates,
    Entry,
    FinalizationRequest,
    Message,
    Proposal,
    ProposalCertificates,
    ProposalRequest,
    RecoveryRequest,
    ViewCertificateRequest,
    Votes,
)
from tallystick.ledger.vote import NOTARIZE, NULLIFY, Tally, tally_of
from tallystick.ledger.wallet import Wallet, sign

FLOODED_BOX = 40
"""What boxes hold where somebody fills them."""

_PAUSE_MS = 40
_FLOODS_BEFORE_THE_LAST = 50
_MESSAGES_BEFORE_THE_FLOOD = 20


class Flooder(Byzantine):
    """Sends certificates of proposals that nobody asked for, proposals that are never whole, votes for far views."""

    def __init__(self, *arguments, **more) -> None:
        self._latest_ms = 0
        self._floods = 0
        self._proposed: dict[tuple[int, int], SignedHeader] = {}
        super().__init__(*arguments, **more)

    def say(self, peer: str, message: Message) -> None:
        """Its node's own proposals are left out: it does not contradict itself."""
        if not isinstance(message, Proposal | ProposalCertificates):
            self.tell(peer, message)

    def hear(self, peer: str, message: Message) -> None:
        if isinstance(message, ProposalRequest):
            self.tell(peer, ProposalCertificates(message.block_hash, tuple(self._statements(20))))
        if self.network.now_ms < self._latest_ms + _PAUSE_MS:
            return
        self._latest_ms = self.network.now_ms
        self._floods += 1
        if self._floods == _FLOODS_BEFORE_THE_LAST:
            self._stuff()
        flood = self.random.choice([self._certificates, self._proposals, self._votes, self._questions])
        for one in flood():
            self.tell(peer, one)

    def _stuff(self) -> None:
        """Say one vote so often in a tally that it would be a certificate; nobody listens after that."""
        vote = self.sign(self.wallet, self.ballot(NULLIFY, self.view, ZERO_DIGEST))
        for other in self.others():
            self.tell(other, Votes((Tally(vote.ballot, ((vote.member, vote.signature),) * 7),)))

    def _certificates(self) -> list[Message]:
        known = [*self.simplex.proposals._whole, self.random.randbytes(32)]
        return [ProposalCertificates(self.random.choice(known), tuple(self._statements(20)))]

    def _proposals(self) -> list[Message]:
        """Signed as they have to be, in its own views, of certificates that nobody has."""
        views = [one for one in range(self.view, self.view + 20) if self.leader(one) == self.wallet.public_key]
        return [self._never_whole(view) for view in views]

    def _never_whole(self, view: int) -> Proposal:
        place = (self.epoch.number, view)
        if place not in self._proposed:
            made = self.make(self.on(self.node.state, view), certificates=tuple(self._statements(1)))
            del self.made[made.hash]
            self._proposed[place] = made.signed_header
        ids = tuple(self.random.randbytes(32) for _ in range(50))
        return Proposal(view, None, self._proposed[place].header, self._proposed[place].signature, ids)

    def _votes(self) -> list[Message]:
        ballots = [self.ballot(NOTARIZE, self.view + 50 + ahead, self.random.randbytes(32)) for ahead in range(20)]
        return [Votes(tuple(tally_of([self.sign(self.wallet, one)]) for one in ballots))]

    def _questions(self) -> list[Message]:
        request = RecoveryRequest(self.wallet.public_key, self.random.randbytes(32))
        return [
            sign(request, self.wallet, self.network.genesis.ledger_id),
            ViewCertificateRequest(self.epoch.number, 0, 2**40),
            FinalizationRequest(0),
            BlockRequest(1, 256),
            ProposalRequest(self.random.randbytes(32), tuple(self.random.randbytes(32) for _ in range(50))),
        ]

    def _statements(self, count: int) -> list[Statement]:
        ledger_id, now_ms = self.network.genesis.ledger_id, self.network.now_ms
        subjects = [f"{self.random.getrandbits(64)}" for _ in range(count)]
        return [issue_statement(self.wallet, ledger_id, now_ms, subject) for subject in subjects]


class BoxFiller(Equivocator):
    """Fills the others' certificate boxes, so that no evidence has room, and then equivocates."""

    _filled = 0

    def hear(self, peer: str, message: Message) -> None:
        if self._filled < 4 * FLOODED_BOX:
            self.fill()
        if self._filled >= FLOODED_BOX:
            super().hear(peer, message)

    def forged(self, block: Block) -> None:
        if self._filled >= FLOODED_BOX:
            super().forged(block)

    def fill(self) -> None:
        """Certificates of many issuers, to everybody."""
        entries = []
        for _ in range(FLOODED_BOX // 4):
            self._filled += 1
            issuer = Wallet(sha256(f"{self.name} {self._filled % 8}".encode()).digest())
            ledger_id, now_ms = self.network.genesis.ledger_id, self.network.now_ms
            entries.append(Entry(issue_statement(issuer, ledger_id, now_ms, f"{self.name} fills {self._filled}")))
        for other in self.others():
            self.tell(other, Certificates(tuple(entries)))


class Withdrawer(BoxFiller):
    """Withdraws all its stake, offends while it still counts, and then fills the boxes so that no evidence has room."""

    _has_withdrawn = False
    _messages = 0

    def hear(self, peer: str, message: Message) -> None:
        account = self.node.state.stakes.account(self.wallet.public_key)
        if not self._has_withdrawn and account.staked:
            self._has_withdrawn = True
            now_ms = self.network.now_ms
            operation = issue_stake(self.wallet, self.network.genesis.ledger_id, now_ms, -account.staked)
            self.network.submit(self.name, Entry(operation))
        elif self._has_withdrawn and not account.staked:
            Equivocator.hear(self, peer, message)
            self._messages += 1
            if self._messages > _MESSAGES_BEFORE_THE_FLOOD and self._filled < 4 * FLOODED_BOX:
                self.fill()

    def forged(self, block: Block) -> None:
        Equivocator.forged(self, block)
