"""One member's node at a table of four: the test says what the others say, and looks at what the node answers."""

from collections.abc import Iterable
from hashlib import sha256, sha512
from types import UnionType
from typing import Any

from msgspec.structs import replace
from nacl.bindings import (
    crypto_core_ed25519_scalar_add,
    crypto_core_ed25519_scalar_mul,
    crypto_core_ed25519_scalar_reduce,
    crypto_scalarmult_ed25519_base_noclamp,
)

from tallystick.consensus.proof_of_stake import draw
from tallystick.consensus.signing_guard import GuardRecord
from tallystick.consensus.views import grouped
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import Statement
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.messages import Message, Proposal, Votes
from tallystick.ledger.vote import Vote
from tallystick.ledger.wallet import Wallet
from tallystick.node.events import Action, Broadcast, Multicast, Peer, PeerConnected, Send
from tallystick.node.simplex_driver import SimplexDriver
from tests.builders import GENESIS, LEDGER, MEMBERS, Bench, of_kind, simplex_driver, vote


def leader_of(view: int) -> Wallet:
    """Who leads this view of the first epoch."""
    drawn = draw(GENESIS.stakes(), LEDGER, 0, view)
    return next(one for one in MEMBERS.values() if one.public_key == drawn)


LEADER = leader_of(1)
"""Who leads view 1 of the tests' ledger."""
OWNER = next(one for one in MEMBERS.values() if one not in map(leader_of, (1, 2, 3)))
OTHERS = [one for one in MEMBERS.values() if one not in (LEADER, OWNER)]
"""`OWNER` is the member whose node is looked at: it leads none of the first views. `OTHERS` are the other two."""


class MemberBench(Bench):
    """The node of a member (`None`: of an observer), with the peers "x" and "y"."""

    agreement: SimplexDriver

    def __init__(
        self, owner: Wallet | None = OWNER, genesis: Genesis = GENESIS, records: Iterable[GuardRecord] = (), **more: Any
    ) -> None:
        super().__init__(genesis, agreement=simplex_driver(owner, genesis, *records), **more)
        self.began = [one for peer in "xy" for one in self.handle(PeerConnected(peer))]

    def receive(self, message: Message | bytes, peer: Peer = "x") -> list[Action]:
        return super().receive(message, peer)

    def hear(self, *votes: Vote, peer: Peer = "x") -> list[Action]:
        """A peer passes on votes."""
        return self.receive(votes_message(*votes), peer)


def votes_message(*votes: Vote) -> Votes:
    return Votes(tuple(grouped(votes)))


def certificate(kind: int, block_hash: bytes = ZERO_DIGEST, *members: Wallet, **more: Any) -> list[Vote]:
    """Votes of three members of four, unless others are named."""
    return [vote(kind, block_hash, one, **more) for one in members or (LEADER, *OTHERS)]


def proposal_of(block: Block, parent_view: int = 0) -> Proposal:
    """What the leader tells everybody of its block."""
    ids = tuple(one.id for one in block.certificates)
    return Proposal(block.header.view, parent_view, block.header, block.signature, ids)


def sent(kind: type[Message] | UnionType, actions: Iterable[Action]) -> list[Any]:
    """The messages of this kind that leave, to whomever."""
    return [one.message for one in of_kind((Send, Broadcast, Multicast), actions) if isinstance(one.message, kind)]


def cast_by(owner: Wallet, actions: Iterable[Action]) -> list[tuple[int, int, bytes]]:
    """The votes of this member's that leave for the first time: kind, view and block."""
    votes = [
        one for said in of_kind(Broadcast, actions) if isinstance(said.message, Votes) for one in said.message.tallies
    ]
    return [
        (one.ballot.kind, one.ballot.view, one.ballot.block_hash)
        for one in votes
        if [member for member, _ in one.signatures] == [owner.public_key]
    ]


def signed_again(certificate: Statement, name: str) -> Statement:
    """The same certificate of the person with this name, with another signature that is as good (other nonce)."""
    secret = sha512(sha256(name.encode()).digest()).digest()[:32]
    clamped = bytes([secret[0] & 248, *secret[1:31], secret[31] & 63 | 64])
    scalar = crypto_core_ed25519_scalar_reduce(clamped + bytes(32))
    nonce = crypto_core_ed25519_scalar_reduce(sha512(secret + b"another nonce").digest())
    commitment = crypto_scalarmult_ed25519_base_noclamp(nonce)
    hashed = sha512(commitment + certificate.issuer + certificate.signed_bytes(LEDGER)).digest()
    response = crypto_core_ed25519_scalar_mul(crypto_core_ed25519_scalar_reduce(hashed), scalar)
    return replace(certificate, signature=commitment + crypto_core_ed25519_scalar_add(nonce, response))
