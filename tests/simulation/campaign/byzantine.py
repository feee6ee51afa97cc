"""What members that do not keep to the protocol have in common: the production node, and a wrapper around it.

All of them together have less than a third of the stake (but in one scenario), and they know each other's keys.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from random import Random

from msgspec.structs import replace
from tests.builders import sign_block

from tallystick.consensus.agreement import PersistQuorum
from tallystick.consensus.proposals import Pending
from tallystick.consensus.signing_guard import SigningGuard
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import certificates_hash, issue_stake
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.header import Header
from tallystick.ledger.messages import (
    Certificates,
    Entry,
    Message,
    Proposal,
    ProposalCertificates,
    ProposalRequest,
    Votes,
    decode_message,
    encode_message,
)
from tallystick.ledger.state import State
from tallystick.ledger.transition import make_header, next_state
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Vote, cast, tally_of
from tallystick.ledger.wallet import Wallet
from tallystick.network.archiving import answer
from tallystick.network.simulated_host import SimulatedHost
from tallystick.node.events import Action, Broadcast, Multicast, Peer, Send, SendKept


class Heedless(SigningGuard):
    """A guard that does not mind what else is signed with its key."""

    def saw(self, one: Ballot | Header) -> bool:
        return False


class Byzantine(SimulatedHost):
    """Runs the production node, and stands between it and its peers. By itself it changes nothing."""

    def __init__(self, *arguments, coalition: Iterable[Wallet], random: Random) -> None:
        self.coalition, self.random = list(coalition), random
        self.made: dict[bytes, Block] = {}
        self._forged: set[bytes] = set()
        self._has_staked_anew = False
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

    def start(self) -> None:
        """What its node finds out about the coalition, its own echo included, it keeps to itself."""
        super().start()
        keys, found = {one.public_key for one in self.coalition}, self.agreement.take_equivocations
        self.agreement.take_equivocations = lambda: [  # type: ignore[method-assign]
            one for one in found() if one.offender not in keys
        ]

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
            case SendKept(peer, request):
                if (said := answer(self.archive, request, self.node.limits.answer_bytes)) is not None:
                    self.say(str(peer), said)
            case PersistQuorum(_, blocks):
                super().carry_out(action)
                for block in [one for one in blocks if self.is_own(one) and one.hash not in self._forged]:
                    self._forged.add(block.hash)
                    self.forged(block)
            case _:
                super().carry_out(action)

    def receive(self, peer: Peer, data: bytes) -> None:
        if self.is_up:
            name, message = str(peer), decode_message(data)
            if isinstance(message, ProposalRequest) and message.block_hash in self.made:
                block = self.made[message.block_hash]
                wanted = tuple(one for one in block.certificates if one.id in message.ids)
                answer = ProposalCertificates(block.hash, wanted) if message.ids else proposal_of(block)
                self.tell(name, answer)
            self.hear(name, message)
            if not self._has_staked_anew and self.wallet.public_key in self.node.state.stakes.burned_keys:
                self._has_staked_anew = True
                self.stake_anew()
        super().receive(peer, data)

    # ---- tools of the trade -------------------------------------------------------------------------------------

    @property
    def wallet(self) -> Wallet:
        wallet = self.agreement.wallet
        assert wallet is not None
        return wallet

    @property
    def epoch(self) -> Epoch:
        return self.simplex.epoch

    @property
    def view(self) -> int:
        return self.simplex.view

    def leader(self, view: int) -> bytes | None:
        return self.simplex.views.leader(view)

    def tell(self, peer: str, message: Message | bytes) -> None:
        data = message if isinstance(message, bytes) else encode_message(message)
        self.network.send(self.name, peer, data)

    def others(self) -> list[str]:
        return self.network.peers(self.name)

    def is_own(self, block: Block) -> bool:
        return block.header.forger == self.wallet.public_key

    def is_favoured(self, peer: str) -> bool:
        """Whether the peer is of the half that this member chose at its first word."""
        if self.favoured is None:
            others = sorted(self.others())
            self.favoured = set(self.random.sample(others, len(others) // 2))
        return peer in self.favoured

    def stake_anew(self) -> None:
        """Stake what was not burned, as nobody may whose key was."""
        operation = issue_stake(self.wallet, self.network.genesis.ledger_id, self.network.now_ms, 50)
        for other in self.others():
            self.tell(other, Certificates((Entry(operation),)))

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

    def newest(self) -> Pending | None:
        """The newest notarized block, if it is above the final tip and passed by the gate."""
        simplex = self.simplex
        chosen = [one for _, state in simplex.views.open() for one in state.chosen]
        return simplex.proposals._passed.get(chosen[-1]) if chosen else None

    def base_of(self, header: Header) -> State | None:
        """The state that a block above the final tip extends."""
        if header.parent_hash == self.node.state.tip.hash:
            return self.node.state
        pending = self.simplex.proposals.validate(header.parent_hash)
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


def proposal_of(block: Block) -> Proposal:
    ids = tuple(one.id for one in block.certificates)
    return Proposal(block.header.view, None, block.header, block.signature, ids)


def host_of(role: type[Byzantine], coalition: list[Wallet], random: Random) -> Callable[..., Byzantine]:
    """What `SimulatedNetwork.add` makes the host with."""
    return partial(role, coalition=coalition, random=random)
