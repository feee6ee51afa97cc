"""Rule K2 on every path that a signature takes: in line, in a worker, kept in a store, at the start of a node."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import count
from pathlib import Path
from typing import cast

import nacl.bindings as sodium
import pytest
from nacl.exceptions import UnavailableError
from tests.builders import (
    ADA,
    BEN,
    GENESIS,
    LEDGER,
    START_MS,
    Bench,
    Scribe,
    evidence,
    lone_driver,
    proposal_evidence,
    refuses,
    signed_header,
    started_node,
    statement,
    vote,
)
from tests.curve import BASE, TORSION, L, add, challenge, encoded, times
from tests.vectors.signatures import Vector, vectors

from tallystick.host.acceptance import check_acceptance
from tallystick.host.batches import Claim
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.host.process import Hosted, run_node
from tallystick.host.verification import IN_LINE_CLAIMS, Verifier, verify_in_line, verifying
from tallystick.integrity.check import Check
from tallystick.ledger import keys
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import AnyCertificate, certificate_codec
from tallystick.ledger.errors import Rule
from tallystick.ledger.keys import Domain, is_signed, signed_bytes
from tallystick.ledger.messages import (
    Addresses,
    Certificates,
    Entry,
    Message,
    NewBlock,
    Proposal,
    RecoveryRequest,
    Votes,
    encode_message,
)
from tallystick.ledger.state import genesis_state
from tallystick.ledger.transition import next_state
from tallystick.ledger.vote import FINALIZE, tally_of
from tallystick.ledger.wallet import Wallet, sign
from tallystick.network.archiving import sign_address
from tallystick.network.curve import x25519_key
from tallystick.network.handshake import NONCE_BYTES, DiallerHandshake, ListenerHandshake, PeerError
from tallystick.network.memory_archive import MemoryArchive
from tallystick.node.events import PersistBlock
from tallystick.node.intake import Intake
from tallystick.node.knowledge import Knowledge
from tallystick.node.node import Node
from tallystick.problems import VerificationFailed
from tallystick.storage.store import Store

VECTORS = vectors()
CLAIMS = [(one.message, one.signature, one.public_key) for one in VECTORS]
VERDICTS = [one.accepted for one in VECTORS]

each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector.decided_by}: {vector.name}")


def certificate(vector: Vector) -> AnyCertificate:
    body = vector.message.removeprefix(signed_bytes(Domain.CERTIFICATE, LEDGER, b""))
    return certificate_codec.decode(body + b"\xc4\x40" + vector.signature)


def block_with(vector: Vector) -> Block:
    return Scribe().draft(certificate(vector))


# ---- the vectors ----------------------------------------------------------------------------------------------------


@each_vector
def test_in_line(vector: Vector) -> None:
    entry, intake = Entry(certificate(vector)), Bench().intake
    alone, in_block = (
        intake.check("peer", encode_message(one)) for one in (Certificates((entry,)), NewBlock(block_with(vector)))
    )
    if vector.accepted:
        assert intake.check_entry(entry).entry == entry
        assert alone.message == Certificates((entry,))
        assert in_block.message == NewBlock(block_with(vector))
    else:
        with refuses(Rule.C1):
            intake.check_entry(entry)
        assert [one.rule for one in alone.refusals] == [Rule.C1]
        assert [one.rule for one in in_block.refusals] == [Rule.B5]


def test_in_the_loop_and_in_workers() -> None:
    async def verdicts(claims: list[Claim]) -> list[bool]:
        verifier = Verifier(2)
        await verifier.start()
        try:
            return await verifier.verify(claims)
        finally:
            await verifier.stop()

    assert asyncio.run(verdicts(CLAIMS)) == VERDICTS
    assert asyncio.run(verdicts(CLAIMS[:IN_LINE_CLAIMS])) == VERDICTS[:IN_LINE_CLAIMS]
    assert verify_in_line(CLAIMS) == VERDICTS


@each_vector
def test_at_the_start_from_what_was_kept(vector: Vector) -> None:
    archive = MemoryArchive([block_with(vector)])

    def start() -> Node:
        return started_node(GENESIS, lone_driver(), archive)

    if vector.accepted:
        assert start().state.index == 1
    else:
        with refuses(Rule.B5, "the kept block 1: "):
            start()


@each_vector
def test_in_a_store_that_is_checked(vector: Vector, tmp_path: Path) -> None:
    with Store.create(tmp_path / "chain.db", GENESIS) as store:
        block = block_with(vector)
        after = next_state(genesis_state(GENESIS), block.header, block.certificates)
        store.append(PersistBlock(block, (), members_hash=after.members_hash))
        assert Check(store).run().is_sound == vector.accepted
        if not vector.accepted:
            with refuses(Rule.B5, "the kept block 1: "):
                started_node(GENESIS, lone_driver(), store)


# ---- every key ------------------------------------------------------------------------------------------------------


class MixedWallet(Wallet):
    """Signs with a key of mixed order what PyNaCl alone accepts: it looks for an R with k = 0 mod 8."""

    __slots__ = ()
    _SECRET = 7**80 % L

    def __init__(self) -> None:
        self.public_key = encoded(add(times(self._SECRET, BASE), TORSION[1]))

    def sign(self, domain: Domain, ledger_id: bytes, body: bytes) -> bytes:
        message = signed_bytes(domain, ledger_id, body)
        for nonce in count(1):
            commitment = encoded(times(nonce, BASE))
            hashed = challenge(commitment, self.public_key, message)
            if hashed % 8 == 0:
                return commitment + ((nonce + hashed * self._SECRET) % L).to_bytes(32, "little")
        raise AssertionError


MIXED = MixedWallet()


def certificates(*several: AnyCertificate) -> Message:
    return Certificates(tuple(map(Entry, several)))


def proposal(forger: Wallet) -> Message:
    header = signed_header(forger)
    return Proposal(header.header.view, 0, header.header, header.signature, (bytes(32),))


def recovery_request(member: Wallet) -> Message:
    return sign(RecoveryRequest(member.public_key, bytes(32)), member, LEDGER)


class Curious:
    """Knows nothing, and wants to know everything: no message is dropped before its signatures are looked at."""

    def __getattr__(self, asked: str) -> Callable[..., bool]:
        return lambda *_: asked == "is_wanted"

    def sort_out(self, entries: tuple[Entry, ...]) -> tuple[list[Entry], list[bytes]]:
        return list(entries), []

    def on_chain(self, _ids: list[bytes]) -> set[bytes]:
        return set()

    def wanted_votes(self, votes: Votes) -> Votes:
        return votes

    def late_votes(self, votes: Votes) -> tuple[()]:
        return ()


SIGNED_BY: dict[str, tuple[Callable[[Wallet], Message], Rule]] = {
    "issuer": (lambda one: certificates(statement(issuer=one)), Rule.C1),
    "accused of two votes": (lambda one: certificates(evidence(one)), Rule.V1),
    "accused of two headers": (lambda one: certificates(proposal_evidence(one)), Rule.B3),
    "who accuses": (lambda one: certificates(evidence(issuer=one)), Rule.C1),
    "member that votes": (lambda one: Votes((tally_of([vote(FINALIZE, b"b" * 32, one)]),)), Rule.V1),
    "member that recovers": (recovery_request, Rule.V1),
    "forger of a block": (lambda one: NewBlock(Scribe().draft(statement(), signer=one)), Rule.B3),
    "forger of a proposal": (proposal, Rule.B3),
    "whose address it is": (lambda one: Addresses((sign_address(one, LEDGER, "h:1", START_MS),)), Rule.N7),
}


@pytest.mark.parametrize(("message", "rule"), SIGNED_BY.values(), ids=SIGNED_BY)
def test_no_key_of_mixed_order_signs_anything(message: Callable[[Wallet], Message], rule: Rule) -> None:
    intake = Intake(LEDGER, cast(Knowledge, Curious()))
    assert intake.check("peer", encode_message(message(BEN))).message == message(BEN)
    checked = intake.check("peer", encode_message(message(MIXED)))
    assert (checked.message, [one.rule for one in checked.refusals]) == (None, [rule])


def test_no_key_of_mixed_order_answers_a_call() -> None:
    nonce = bytes(NONCE_BYTES)
    for peer in (BEN, MIXED):
        dialler = DiallerHandshake(ADA, LEDGER, peer.public_key, nonce, wants_genesis=False)
        answer = ListenerHandshake(peer, LEDGER, nonce, x25519_key(ADA.public_key)).answer(dialler.hello())
        if peer is BEN:
            dialler.prove(answer)
        else:
            with pytest.raises(PeerError, match="has not proven"):
                dialler.prove(answer)


def test_what_the_mixed_key_signs_is_what_pynacl_alone_accepts() -> None:
    signature = MIXED.sign(Domain.VOTE, LEDGER, b"body")
    message = signed_bytes(Domain.VOTE, LEDGER, b"body")
    assert sodium.crypto_sign_open(signature + message, MIXED.public_key) == message
    assert not is_signed(message, signature, MIXED.public_key)


# ---- the start ------------------------------------------------------------------------------------------------------


def unavailable(*_: bytes) -> bytes:
    raise UnavailableError("not in this build")


DIFFERENT: dict[str, tuple[str, Callable[..., object], str]] = {
    "takes keys of mixed order": ("crypto_core_ed25519_is_valid_point", lambda _: True, "RuntimeError.*refused .K1"),
    "refuses all keys": ("crypto_core_ed25519_is_valid_point", lambda _: False, "'honest' is refused.*accepted"),
    "accepts anything": ("crypto_sign_open", lambda *_: b"", "is accepted.*refused .equation"),
    "lacks arithmetic": ("crypto_core_ed25519_sub", unavailable, "is refused.*accepted .cofactored"),
    "lacks multiplication": ("crypto_scalarmult_ed25519_noclamp", unavailable, "not in this build"),
}


@pytest.fixture(params=DIFFERENT.values(), ids=list(DIFFERENT))
def different(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A libsodium that carries the rule out in another way; what is to be said of it."""
    name, function, told = request.param
    monkeypatch.setattr(sodium, name, function)
    keys._is_valid_key.cache_clear()
    yield told
    keys._is_valid_key.cache_clear()


def test_this_machines_libsodium_carries_the_rule_out() -> None:
    check_acceptance()


def no_doors(_hosted: Hosted) -> AbstractAsyncContextManager[None]:
    raise AssertionError("a node was started")


def test_a_node_does_not_start_on_a_libsodium_that_breaks_the_rule(different: str, tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.write_settings(Settings("127.0.0.1:7420", "127.0.0.1:7420"))
    told = rf"\[K2\].*{different}.*install PyNaCl"
    with pytest.raises(VerificationFailed, match=told):
        check_acceptance()
    with pytest.raises(VerificationFailed, match=told):
        run_node(folder, folder.settings(), ADA, no_doors)
    with asyncio.Runner() as runner, pytest.raises(VerificationFailed, match=told), verifying(runner):
        pass


WORKER = """
import nacl.bindings as sodium
sodium.crypto_core_ed25519_is_valid_point = lambda key: True
from tallystick.host.verification_worker import main
main()
"""


def test_a_worker_does_not_start_on_it_either() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.shutdown(socket.SHUT_WR)
        worker = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{WORKER}"]
        done = subprocess.run(worker, stdin=theirs.fileno(), capture_output=True, text=True, timeout=60, check=False)
        theirs.close()
        assert ours.recv(1) == b""
    assert done.returncode == 1
    assert "[K2]" in done.stderr
    assert "install PyNaCl" in done.stderr
    assert "Traceback" not in done.stderr
