"""Byzantine members that vote or propose what nobody may, or keep from others what they need."""

from collections.abc import Callable

from msgspec.structs import replace
from tests.simulation.campaign.byzantine import Byzantine, proposal_of

from tallystick.ledger.block import Block
from tallystick.ledger.certificate import Statement, issue_stake, issue_statement
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.messages import (
    Blocks,
    Finalizations,
    Headers,
    Message,
    Proposal,
    ProposalCertificates,
    RecoveryResponse,
    Votes,
)
from tallystick.ledger.params import MAX_BLOCK_BYTES
from tallystick.ledger.state import State
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, tally_of
from tallystick.node.events import Peer


class Silent(Byzantine):
    """Connects and listens, and never says a word."""

    def say(self, peer: str, message: Message) -> None:
        pass


class Withholder(Byzantine):
    """Shows its votes and proposals to half of the others, and answers nobody who asks for anything."""

    def say(self, peer: str, message: Message) -> None:
        is_answer = isinstance(message, Blocks | Finalizations | Headers | RecoveryResponse | ProposalCertificates)
        if not is_answer and (not isinstance(message, Votes | Proposal) or self.is_favoured(peer)):
            self.tell(peer, message)

    def forged(self, block: Block) -> None:
        """Now and then it proposes to everybody a certificate that it shows to nobody."""
        if self.random.random() < 0.5:
            secret = issue_statement(self.wallet, block.header.ledger_id, block.header.timestamp_ms, "a secret")
            hidden = self.make(block, certificates=(secret,))
            self.made.clear()
            self.propose(hidden, self.others())


class Nullifier(Byzantine):
    """Votes to nullify every view at once, and for nothing else."""

    _nullified: tuple[int, int] = (-1, -1)

    def say(self, peer: str, message: Message) -> None:
        if not isinstance(message, Proposal | Votes | RecoveryResponse):
            self.tell(peer, message)

    def hear(self, peer: str, message: Message) -> None:
        epoch, view = self.epoch.number, self.view
        if (epoch, view) > self._nullified:
            self._nullified = (epoch, view)
            ballots = [self.ballot(NULLIFY, one, ZERO_DIGEST) for one in (view, view + 1)]
            votes = Votes(tuple(tally_of([self.sign(self.wallet, ballot)]) for ballot in ballots))
            for other in self.others():
                self.tell(other, votes)


class Loafer(Byzantine):
    """Votes for what others propose, so that it is heard, and proposes nothing itself."""

    def say(self, peer: str, message: Message) -> None:
        said: Message | None = message
        if isinstance(message, Votes):
            others = tuple(one for one in message.tallies if not self._is_for_own(one.ballot))
            said = Votes(others) if others else None
        if said is not None and not isinstance(said, Proposal):
            self.tell(peer, said)

    def _is_for_own(self, ballot: Ballot) -> bool:
        return ballot.kind == NOTARIZE and self.leader(ballot.view) == self.wallet.public_key


class Equivocator(Byzantine):
    """Proposes two blocks in one view, one to each half of the others, and votes both ways on everything."""

    def __init__(self, *arguments, **more) -> None:
        self._rivals: dict[bytes, Block] = {}
        self._echoed: set[Ballot] = set()
        super().__init__(*arguments, **more)

    def forged(self, block: Block) -> None:
        """The second block stands beside the first, or on the final tip, whatever was notarized since."""
        state = self.node.state
        if self.random.random() < 0.5 or state.tip.hash == block.header.parent_hash:
            rival = self.make(block, nonce=1)
        else:
            fresh = tuple(one for one in block.certificates if self.node.chain.place_of(one.id) is None)
            rival = self.make(self.on(state, block.header.view), certificates=fresh)
        self._rivals[block.hash] = rival

    def say(self, peer: str, message: Message) -> None:
        if isinstance(message, Proposal) and message.header.hash in self._rivals and self.is_favoured(peer):
            message = proposal_of(self._rivals[message.header.hash])
        elif isinstance(message, Votes) and self.is_favoured(peer):
            message = Votes(tuple(self._turned(tally.ballot) or tally for tally in message.tallies))
        self.tell(peer, message)

    def _turned(self, ballot: Ballot):
        rival = self._rivals.get(ballot.block_hash)
        return rival and self.vote(ballot, block_hash=rival.hash).tallies[0]

    def hear(self, peer: str, message: Message) -> None:
        if not isinstance(message, Votes):
            return
        for ballot in (tally.ballot for tally in message.tallies):
            if ballot.view < self.view - 1 or ballot in self._echoed or ballot.kind == NULLIFY:
                continue
            self._echoed.add(ballot)
            others = [other for other in self.others() if other != peer]
            self.tell(peer, self.vote(ballot))
            for other in others:
                self.tell(other, self.vote(ballot, NULLIFY if self.is_favoured(other) else None))


class Counterfeiter(Byzantine):
    """Proposes in each of its views a block that no honest member may vote for, with all votes of its coalition."""

    def __init__(self, *arguments, **more) -> None:
        self._led = (-1, -1)
        super().__init__(*arguments, **more)

    def say(self, peer: str, message: Message) -> None:
        """What the node proposes is left out, its votes for that, and its help to make anything final."""
        helps = isinstance(message, Votes) and any(self._helps(tally.ballot) for tally in message.tallies)
        if not helps and not isinstance(message, Proposal):
            self.tell(peer, message)

    def receive(self, peer: Peer, data: bytes) -> None:
        super().receive(peer, data)
        place = (self.epoch.number, self.view)
        if self.is_up and place > self._led and self._leads(place[1]):
            self._led = place
            self._lie()

    def _helps(self, ballot: Ballot) -> bool:
        return self._leads(ballot.view) or ballot.kind == FINALIZE or ballot.block_hash in self._forged

    def _leads(self, view: int) -> bool:
        return self.leader(view) == self.wallet.public_key

    def _lie(self) -> None:
        """Illegal in itself; or beside what is notarized above the final tip, which may well become final."""
        state, newest = self.node.state, self.newest()
        if newest is not None and self.random.random() < 0.8:
            false: Block | None = self._on(state)
        else:
            base = newest.state if newest is not None else state
            false = self.random.choice([self._seen_before, self._overdrawn, self._from_the_future])(self._on(base))
        if false is not None:
            self.propose(false, self.others())

    def _on(self, base: State) -> Block:
        """With a certificate that others have already, if there is one: so nobody has to ask for it first."""
        view, now_ms = self.view, self.network.now_ms
        held = {one.id for block in self.archive.proposals() for one in block.certificates}
        known = (one for one in self.node.box if isinstance(one, Statement) and one.id not in held)
        chosen = next(known, None) or issue_statement(self.wallet, base.tip.ledger_id, now_ms, f"view {view}")
        return self.make(self.on(base, view), certificates=(chosen,))

    def _seen_before(self, block: Block) -> Block | None:
        kept = [one for final in self.archive.blocks() for one in final.certificates]
        return self.make(block, certificates=(*block.certificates, self.random.choice(kept))) if kept else None

    def _overdrawn(self, block: Block) -> Block:
        more = issue_stake(self.wallet, block.header.ledger_id, block.header.timestamp_ms, 1_000_000)
        return self.make(block, certificates=(*block.certificates, more))

    def _from_the_future(self, block: Block) -> Block:
        return self.make(block, timestamp_ms=block.header.timestamp_ms + 60_000)


class FormBreaker(Counterfeiter):
    """Proposes in each of its views a block that breaks the form, or commits to what does not follow from it."""

    _has_been_big = False

    def _lie(self) -> None:
        newest = self.newest()
        block = self._on(newest.state if newest is not None else self.node.state)
        header, more = block.header, self._new_statements(2)
        lies: list[Callable[[], Block]] = [
            lambda: self.make(block, version=2),
            lambda: self.make(block, state_root=self.random.randbytes(32)),
            lambda: self.make(block, state_root=self.node.state.root),
            lambda: self.make(block, epoch=header.epoch + 100),
            lambda: self.make(block, ledger_id=bytes(32)),
            lambda: self.make(block, index=header.index + 1),
            lambda: self.make(block, timestamp_ms=1),
            lambda: self.make(block, certificates=()),
            lambda: self.make(block, certificates=(*block.certificates, *block.certificates)),
            lambda: self.make(block, certificates_hash=self.random.randbytes(32)),
            lambda: self.make(block, certificates=(*block.certificates, replace(more[0], signature=more[1].signature))),
            lambda: self.make(block, certificates=tuple(self._new_statements(self._most + 1))),
        ]
        if not self._has_been_big and self.random.random() < 0.1:
            self._has_been_big = True
            lies = [lambda: self.make(block, certificates=tuple(self._new_statements(MAX_BLOCK_BYTES // 350)))]
        self.propose(self.random.choice(lies)(), self.others())

    @property
    def _most(self) -> int:
        """Of certificates in a block, where so many can be made in time."""
        most = self.network.genesis.params.max_block_certificates
        return most if most < 100 else 1

    def _new_statements(self, count: int) -> list[Statement]:
        ledger_id, now_ms = self.network.genesis.ledger_id, self.network.now_ms
        subjects = [f"{self.name} {now_ms} {number}".ljust(256) for number in range(count)]
        return [issue_statement(self.wallet, ledger_id, now_ms, subject) for subject in subjects]
