"""Members that do not keep to the protocol, each the production node with a wrapper that is named by what it does.

All of them together have less than a third of the stake (but in one scenario), and they know each other's keys.
"""

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from random import Random

from msgspec.structs import replace

from tallystick.consensus.signing_guard import SigningGuard
from tallystick.ledger.block import Block, sign_block
from tallystick.ledger.certificate import Statement, certificates_hash, issue_stake, issue_statement
from tallystick.ledger.encoding import ZERO_DIGEST
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused
from tallystick.ledger.header import Header
from tallystick.ledger.messages import (
    Blocks,
    Finalizations,
    Headers,
    Message,
    Proposal,
    ProposalCertificates,
    ProposalRequest,
    RecoveryResponse,
    Status,
    Votes,
    decode_message,
    encode_message,
)
from tallystick.ledger.state import State, make_header, next_state
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Vote, cast, tally_of
from tallystick.ledger.wallet import Wallet
from tallystick.network.simulated import SimulatedHost
from tallystick.node.archive import answer
from tallystick.node.events import Action, Answer, Broadcast, Multicast, PersistVotes, Send

_HEARD = 120
"""Messages that a replayer remembers."""


class Heedless(SigningGuard):
    """A guard that does not mind what else is signed with its key."""

    def saw_ballot(self, ballot: Ballot) -> bool:
        return False

    def saw_header(self, header: Header) -> bool:
        return False


class Byzantine(SimulatedHost):
    """Runs the production node, and stands between it and its peers. By itself it changes nothing."""

    def __init__(self, *arguments, coalition: Iterable[Wallet], random: Random) -> None:
        self.coalition, self.random = list(coalition), random
        self.made: dict[bytes, Block] = {}
        self._forged: set[bytes] = set()
        self.favoured: set[str] | None = None
        super().__init__(*arguments)

    # ---- what a role changes ----------------------------------------------------------------------------------

    def say(self, peer: str, message: Message) -> None:
        """The node wants this said to a peer."""
        self.tell(peer, message)

    def hear(self, peer: str, message: Message) -> None:
        """A peer said this; the node hears it next."""

    def forged(self, block: Block) -> None:
        """The node made this block for its view, and is about to propose it."""

    # ---- how it does so -----------------------------------------------------------------------------------------

    def guard(self, wallet: Wallet) -> SigningGuard:
        return Heedless(wallet, self.network.genesis.ledger_id, self.guard_records, bytes(32))

    def carry_out(self, action: Action) -> None:
        match action:
            case Send(peer, message):
                self.say(str(peer), message)
            case Broadcast(message, but):
                for peer in self.network.peers(self.name):
                    if peer != but:
                        self.say(peer, message)
            case Multicast(peers, message):
                for peer in peers:
                    self.say(str(peer), message)
            case _ if isinstance(action, Answer):
                if (said := answer(self.archive, action, self.node.limits.answer_bytes)) is not None:
                    self.say(str(action.peer), said)
            case PersistVotes(_, blocks):
                super().carry_out(action)
                for block in [one for one in blocks if self.is_own(one) and one.hash not in self._forged]:
                    self._forged.add(block.hash)
                    self.forged(block)
            case _:
                super().carry_out(action)

    def receive(self, peer: str, data: bytes) -> None:
        if self.is_up:
            message = decode_message(data)
            if isinstance(message, ProposalRequest) and message.block_hash in self.made:
                block = self.made[message.block_hash]
                wanted = tuple(one for one in block.certificates if one.id in message.ids)
                answer = ProposalCertificates(block.hash, wanted) if message.ids else proposal_of(block)
                self.tell(peer, answer)
            self.hear(peer, message)
        super().receive(peer, data)

    # ---- tools of the trade -------------------------------------------------------------------------------------

    @property
    def wallet(self) -> Wallet:
        return self.agreement.wallet

    @property
    def epoch(self) -> Epoch:
        return self.agreement.simplex.epoch

    @property
    def view(self) -> int:
        return self.agreement.simplex.view

    def leader(self, view: int) -> bytes | None:
        return self.agreement.simplex.views.leader(view)

    def tell(self, peer: str, message: Message | bytes) -> None:
        data = message if isinstance(message, bytes) else encode_message(message)
        self.network.send(self.name, peer, data)

    def others(self) -> list[str]:
        return self.network.peers(self.name)

    def is_own(self, block: Block) -> bool:
        return block.header.forger == self.wallet.public_key and block.header.view == self.view

    def is_favoured(self, peer: str) -> bool:
        """Whether the peer is of the half that this member chose at its first word."""
        if self.favoured is None:
            others = sorted(self.others())
            self.favoured = set(self.random.sample(others, len(others) // 2))
        return peer in self.favoured

    def vote(self, ballot: Ballot, kind: int | None = None, block_hash: bytes | None = None) -> Votes:
        """A vote like another's, or of another kind, or for another block."""
        ballot = replace(ballot, kind=kind or ballot.kind, block_hash=block_hash or ballot.block_hash)
        if ballot.kind == NULLIFY:
            ballot = replace(ballot, block_hash=ZERO_DIGEST)
        return Votes((tally_of([self.sign(self.wallet, ballot)]),))

    def sign(self, wallet: Wallet, ballot: Ballot) -> Vote:
        return cast(wallet, self.network.genesis.ledger_id, ballot)

    def ballot(self, kind: int, view: int, block_hash: bytes) -> Ballot:
        return Ballot(kind, self.epoch.number, view, block_hash)

    def base_of(self, header: Header) -> State | None:
        """The state that a block above the final tip extends."""
        if header.parent_hash == self.node.state.tip.hash:
            return self.node.state
        pending = self.agreement.simplex.views.validate(header.parent_hash, [])
        return pending.state if pending is not None else None

    def make(self, block: Block, **changes) -> Block:
        """A block as another, signed anew, with the state root it takes; it is handed out to whoever asks for it."""
        certificates, is_rooted = changes.pop("certificates", block.certificates), "state_root" not in changes
        header = replace(block.header, **{"certificates_hash": certificates_hash(certificates), **changes})
        base = self.base_of(header) if is_rooted else None
        if base is not None:
            with suppress(Refused):
                header = replace(header, state_root=next_state(base, header, certificates).root)
        made = sign_block(header, certificates, self.wallet)
        self.made[made.hash] = made
        return made

    def on(self, base: State, view: int) -> Block:
        """A block on this state, of this view, with nothing in it."""
        header = make_header(base, view, self.network.now_ms, self.wallet.public_key, ())
        return Block(header, b"", ())

    def propose(self, block: Block, peers: Iterable[str]) -> None:
        """Propose a block of one's own making, with the votes of the whole coalition for it."""
        ballot = self.ballot(NOTARIZE, block.header.view, block.hash)
        votes = [tally_of([self.sign(one, ballot) for one in self.coalition])]
        votes += [tally_of([self.sign(one, replace(ballot, kind=FINALIZE)) for one in self.coalition])]
        for peer in peers:
            self.tell(peer, proposal_of(block))
            self.tell(peer, Votes(tuple(votes)))


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
        if isinstance(message, Votes):
            helps = [
                tally for tally in message.tallies if self._leads(tally.ballot.view) or tally.ballot.kind == FINALIZE
            ]
            if helps:
                return
        if not isinstance(message, Proposal):
            self.tell(peer, message)

    def receive(self, peer: str, data: bytes) -> None:
        super().receive(peer, data)
        place = (self.epoch.number, self.view)
        if self.is_up and place > self._led and self._leads(place[1]):
            self._led = place
            self._lie()

    def _leads(self, view: int) -> bool:
        return self.leader(view) == self.wallet.public_key

    def _lie(self) -> None:
        """Illegal in itself; or beside what is notarized above the final tip, which may well become final."""
        state, newest = self.node.state, self.agreement.simplex.views.newest()
        if newest is not None and self.random.random() < 0.8:
            false = self._on(state)
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


class LyingSyncer(Byzantine):
    """Boasts of a long chain, and answers who asks for blocks with whatever might be taken for one."""

    def say(self, peer: str, message: Message) -> None:
        if isinstance(message, Status):
            self.tell(peer, replace(message, tip_index=message.tip_index + self.random.randint(1, 40)))
        elif isinstance(message, Blocks):
            lies: list[Callable[[Blocks], Blocks | None]] = [
                *(self._altered, self._reordered, self._foreign, self._unfinished, self._by_too_few),
                *[self._mislabelled] * 4,
                *[self._made_up] * 2,
                *(lambda answer: answer, lambda answer: None, lambda answer: Blocks(answer.start, ())),
            ]
            lie = self.random.choice(lies)(message)
            if lie is not None:
                self.tell(peer, lie)
        elif isinstance(message, Finalizations) and message.proofs:
            proof = self.random.choice([self._other_members, self._proven_by_too_few, self._backwards])
            self.tell(peer, proof(message) if self.random.random() < 0.4 else message)
        else:
            self.tell(peer, message)

    def _other_members(self, answer: Finalizations) -> Finalizations:
        """The coalition alone has stake in the next epoch."""
        members = tuple(sorted((one.public_key, 1_000) for one in self.coalition))
        return Finalizations((*answer.proofs[:-1], replace(answer.proofs[-1], members=members)))

    def _proven_by_too_few(self, answer: Finalizations) -> Finalizations:
        last = answer.proofs[-1]
        few = replace(last, finalization=tally_of(last.finalization.votes[:1]))
        return Finalizations((*answer.proofs[:-1], few))

    def _backwards(self, answer: Finalizations) -> Finalizations:
        return Finalizations(answer.proofs[::-1])

    def _altered(self, answer: Blocks) -> Blocks:
        at_ms = self.network.now_ms
        fresh = issue_statement(self.wallet, self.network.genesis.ledger_id, at_ms, "slipped in")
        return replace(answer, blocks=tuple(
            self.make(block, certificates=(*block.certificates, fresh)) for block in answer.blocks
        ))  # fmt: skip

    def _reordered(self, answer: Blocks) -> Blocks:
        return replace(answer, blocks=answer.blocks[::-1])

    def _foreign(self, answer: Blocks) -> Blocks:
        return replace(answer, blocks=tuple(self.make(one, ledger_id=bytes(32)) for one in answer.blocks))

    def _unfinished(self, answer: Blocks) -> Blocks:
        return replace(answer, finalization=None)

    def _by_too_few(self, answer: Blocks) -> Blocks:
        if answer.finalization is None:
            return answer
        some = [one for one in answer.finalization.votes if self.random.random() < 0.6]
        return replace(answer, finalization=tally_of(some or answer.finalization.votes[:1]))

    def _mislabelled(self, answer: Blocks) -> Blocks:
        """The finalization of another block, epoch or kind."""
        kept = [self.archive.finalization(block.index) for block in self.archive.blocks()]
        known = [one for one in kept if one is not None and one != answer.finalization]
        return replace(answer, headers=(), finalization=self.random.choice(known) if known else None)

    def _made_up(self, answer: Blocks) -> Blocks:
        """Blocks that nobody ever saw, forged by the coalition in views that are its own, finalized by it alone."""
        state, blocks = self.node.state, list(answer.blocks)[:-1]
        parent = blocks[-1].header if blocks else state.tip
        if parent.index + 1 < answer.start:
            return Blocks(answer.start, ())
        keys = {one.public_key: one for one in self.coalition}
        views = range(parent.view + 1, parent.view + 60)
        view = next((one for one in views if self.leader(one) in keys), None)
        if view is None:
            return answer
        forger = keys[self.leader(view)]
        fresh = issue_statement(forger, self.network.genesis.ledger_id, self.network.now_ms, "made up")
        header = make_header(state, view, parent.timestamp_ms, forger.public_key, (fresh,))
        place = {"index": parent.index + 1, "parent_hash": parent.hash, "epoch": parent.epoch}
        block = sign_block(replace(header, timestamp_ms=parent.timestamp_ms + 1, **place), (fresh,), forger)
        ballot = Ballot(FINALIZE, parent.epoch, view, block.hash)
        votes = tally_of([self.sign(one, ballot) for one in self.coalition])
        return Blocks(answer.start, (*blocks, block), (), votes)


class StaleReplayer(Byzantine):
    """Says again, to anybody and at any time, what it once heard or said itself."""

    def __init__(self, *arguments, **more) -> None:
        self._heard: deque[bytes] = deque(maxlen=_HEARD)
        super().__init__(*arguments, **more)

    def say(self, peer: str, message: Message) -> None:
        self._heard.append(encode_message(message))
        self.tell(peer, message)

    def receive(self, peer: str, data: bytes) -> None:
        if self.is_up:
            self._heard.append(data)
            others = self.others()
            if self.random.random() < 0.3 and others:
                self.tell(self.random.choice(others), self.random.choice(self._heard))
        super().receive(peer, data)


class Twins(Byzantine):
    """One key on two machines, each with its own archive; both follow the protocol, and neither knows of the other."""


ROLES = (Silent, Withholder, Nullifier, Equivocator, Counterfeiter, LyingSyncer, StaleReplayer, Twins)


def proposal_of(block: Block, view: int | None = None, parent_view: int | None = None) -> Proposal:
    ids = tuple(one.id for one in block.certificates)
    return Proposal(block.header.view if view is None else view, parent_view, block.header, block.signature, ids)


def host_of(role: type[Byzantine], coalition: list[Wallet], random: Random) -> Callable[..., Byzantine]:
    """What `SimulatedNetwork.add` makes the host with."""
    return partial(role, coalition=coalition, random=random)
