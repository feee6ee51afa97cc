"""How the fraud makes what is illegal. The engine refuses each of these; an honest node needs none of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from tallystick.cli.scenario import FRAUD, HONEST, Illegal
from tallystick.consensus.proof_of_stake import ProofOfStake
from tallystick.ledger.block import Block, certificates_hash, sign_block
from tallystick.ledger.certificate import AnyCertificate, Payload, Statement, issue_stake, issue_statement
from tallystick.ledger.encoding import ZERO_DIGEST
from tallystick.ledger.header import VERSION, Header
from tallystick.ledger.keys import Domain
from tallystick.ledger.messages import Certificates, Entry, Message, NewBlock, Status, encode_message
from tallystick.ledger.params import MAX_BLOCK_BYTES, MAX_MESSAGE_BYTES, MAX_SUBJECT_CHARACTERS
from tallystick.ledger.wallet import Wallet
from tallystick.node.archive import Archive
from tallystick.node.node import Node

_YEAR_MS: Final = 365 * 24 * 3600 * 1000

Thrown = bytes | Sequence[Entry]
"""Bytes sent to a node as an unknown peer, or certificates handed in there as a person does."""


def make(illegal: Illegal, fraud: "Fraud") -> Thrown:
    """What the fraud throws at the node that he is after."""
    return _WAYS[illegal](fraud)


@dataclass(frozen=True)
class Fraud:
    """Charlie in front of one node: his wallet, stolen copies of all others, and an eye on the node's chain."""

    wallets: Mapping[str, Wallet]
    node: Node
    archive: Archive
    now_ms: int

    @property
    def ledger_id(self) -> bytes:
        """The ledger that he is on."""
        return self.node.chain.ledger_id

    @property
    def wallet(self) -> Wallet:
        """His own."""
        return self.wallets[FRAUD]

    def drawn(self) -> Wallet:
        """The stolen key of the forger drawn for the next block."""
        key = ProofOfStake().forger_after(self.node.state)
        return next(wallet for wallet in self.wallets.values() if wallet.public_key == key)

    # ---- certificates ---------------------------------------------------------------------------------------

    def statement(self, subject: str = "I own the town hall", at_ms: int | None = None) -> Statement:
        """A statement of his own: legal, whatever one thinks of it."""
        return issue_statement(self.wallet, self.ledger_id, self.now_ms if at_ms is None else at_ms, subject)

    def stake(self, amount: int) -> AnyCertificate:
        """A staking operation of his own."""
        return issue_stake(self.wallet, self.ledger_id, self.now_ms, amount)

    def in_victims_name(self) -> Statement:
        """A statement that names Alice and that he signs."""
        victim = self.wallets[HONEST[0]].public_key
        claimed = replace(self.statement("I owe Charlie 1000"), issuer=victim)
        return replace(claimed, signature=self.wallet.sign(Domain.CERTIFICATE, self.ledger_id, claimed.body))

    def victims_own(self) -> Statement:
        """A statement of Alice's that is on the chain."""
        victim = self.wallets[HONEST[0]].public_key
        certificates = (certificate for block in self.archive.blocks() for certificate in block.certificates)
        return next(one for one in certificates if isinstance(one, Statement) and one.issuer == victim)

    def with_other_payload(self) -> Entry:
        """A certificate beside a payload that it does not cover."""
        certified, shown = (Payload(bytes(32), "text/plain", text) for text in (b"1 euro", b"1000 euros"))
        return Entry(issue_statement(self.wallet, self.ledger_id, self.now_ms, "Receipt", certified), shown)

    # ---- blocks ---------------------------------------------------------------------------------------------

    def block(
        self,
        *certificates: AnyCertificate,
        forger: Wallet | None = None,
        signer: Wallet | None = None,
        put_in: Sequence[AnyCertificate] | None = None,
        **header_fields: Any,
    ) -> bytes:
        """The next block, as he would have it: other fields in the header, another signer, other certificates inside.

        Where he names nothing else it is what an honest forger would make.
        """
        covered = certificates or (self.statement(),)
        tip, forger = self.node.state.tip, forger or self.wallet
        header = Header(
            version=VERSION,
            ledger_id=self.ledger_id,
            index=tip.index + 1,
            view=tip.index + 1,
            parent_hash=tip.hash,
            timestamp_ms=max(self.now_ms, tip.timestamp_ms + 1),
            forger=forger.public_key,
            certificates_hash=certificates_hash(covered),
        )
        header = replace(header, **header_fields)
        return _new_block(sign_block(header, put_in or covered, signer or forger))

    def rival_of_tip(self) -> bytes:
        """Another block in the place of the latest."""
        index = self.node.state.index
        return self.block(index=index, view=index)

    def too_big(self) -> bytes:
        """Unsigned certificates will do: a block's size is looked at before their signatures."""
        long = replace(self.statement(), subject="\N{MONEY BAG}" * MAX_SUBJECT_CHARACTERS)
        return self.block(*[long] * (MAX_BLOCK_BYTES // len(long.encoded) + 1))


def _new_block(block: Block) -> bytes:
    return encode_message(NewBlock(block))


def _offered(entry: Entry) -> bytes:
    return encode_message(Certificates((entry,)))


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
    Illegal.WITHDRAW_TOO_MUCH: lambda fraud: [Entry(fraud.stake(-1))],
    Illegal.NOT_DRAWN: lambda fraud: fraud.block(),
    Illegal.OTHER_PARENT: lambda fraud: fraud.block(parent_hash=ZERO_DIGEST),
    Illegal.OLD_INDEX: lambda fraud: fraud.rival_of_tip(),
    Illegal.FORGED_SIGNATURE: lambda fraud: fraud.block(forger=fraud.drawn(), signer=fraud.wallet),
    Illegal.DOUBLED_CERTIFICATE: lambda fraud: fraud.block(*[fraud.statement()] * 2, forger=fraud.drawn()),
    Illegal.OLD_CERTIFICATE: lambda fraud: fraud.block(fraud.victims_own(), forger=fraud.drawn()),
    Illegal.ILLEGAL_STAKE: lambda fraud: fraud.block(fraud.stake(1_000_000), forger=fraud.drawn()),
    Illegal.OTHER_CERTIFICATES: lambda fraud: fraud.block(put_in=[fraud.statement("I own the bridge too")]),
    Illegal.BACKDATED: lambda fraud: fraud.block(timestamp_ms=fraud.node.chain.genesis.created_ms),
    Illegal.TOO_BIG: lambda fraud: fraud.too_big(),
    Illegal.OTHER_LEDGER: lambda fraud: fraud.block(ledger_id=ZERO_DIGEST),
    Illegal.GARBAGE: lambda fraud: b"\xc1 let me in",
    Illegal.OVERSIZED: lambda fraud: bytes(MAX_MESSAGE_BYTES + 1),
    Illegal.NOT_CANONICAL: lambda fraud: _the_long_way_round(Status(fraud.ledger_id, 0, ZERO_DIGEST, ())),
    Illegal.LATER_VERSION: lambda fraud: fraud.block(version=VERSION + 1),
    Illegal.STRANGER: lambda fraud: encode_message(Status(ZERO_DIGEST, 0, ZERO_DIGEST, ())),
}
