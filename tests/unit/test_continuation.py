"""A ledger that continues another: who signed that, what they signed, and what is refused (rule G5)."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.builders import ADA, BEN, CY, DOT, START_MS, STRANGER, refuses, wallet
from tests.curve import TORSION, encoded
from tests.strategies import digests, indexes, texts, times

from tallystick.ledger.changes import Role
from tallystick.ledger.continuation import MAX_OLD_VOTERS, Continuation, OldVoter
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Rule
from tallystick.ledger.fields import MAX_TOKENS
from tallystick.ledger.genesis import (
    Allotment,
    Founder,
    Genesis,
    continuing,
    decode_genesis,
    make_genesis,
    sign_consent,
    with_consents,
)
from tallystick.ledger.keys import Domain
from tallystick.ledger.params import MAX_GENESIS_BYTES, Params
from tallystick.ledger.stake import MAX_SHARED_STAKE
from tallystick.ledger.wallet import Wallet

OLD_ID = bytes([9]) * 32


def voters(*wallets: Wallet, stake: int = 100) -> tuple[OldVoter, ...]:
    return tuple(sorted([OldVoter(one.public_key, stake, None) for one in wallets], key=lambda one: one.key))


def old(**changes) -> Continuation:
    plain = Continuation(OLD_ID, "old", 7, bytes(32), START_MS - 1, 21, bytes(32), voters(ADA, BEN, CY))
    return replace(plain, **changes)


def plain(*wallets: Wallet, created_ms: int = START_MS, name: str = "new") -> Genesis:
    """A ledger of these, which continues none."""
    return make_genesis(name, created_ms, [Allotment(one.public_key, 0, 100) for one in wallets])


def continued(*signers: Wallet, **changes) -> Genesis:
    return continuing(plain(BEN, CY), old(**changes), signers)


def tampered(genesis: Genesis, **changes) -> bytes:
    """The bytes with other consents or another old ledger, and all else as it was signed."""
    assert genesis.continues is not None
    return encode(replace(genesis, continues=replace(genesis.continues, **changes)))


def test_a_genesis_says_which_ledger_it_continues_and_who_signed_that():
    genesis = continued(CY, BEN)
    assert decode_genesis(genesis.encoded) == genesis
    assert genesis.continues is not None
    assert [one.key for one in genesis.continues.consenting] == sorted([BEN.public_key, CY.public_key])
    assert genesis.continues.total_stake == 300
    assert genesis.ledger_id != plain(BEN, CY).ledger_id
    assert plain(BEN, CY).continues is None


def test_one_that_goes_on_alone_is_enough_and_others_may_sign_later():
    """The order in which they sign does not matter: one ledger comes of it."""
    alone = continued(BEN)
    assert len(alone.continues.consents) == 1
    both = {**dict(alone.continues.consents), CY.public_key: sign_consent(CY, alone)}
    assert with_consents(alone, both) == continued(CY, BEN)
    assert with_consents(alone, both).ledger_id != alone.ledger_id


def test_somebody_of_the_old_ledger_signs():
    with refuses(Rule.G5, "nobody of the old ledger"):
        continued()
    with refuses(Rule.G5, "had no stake on the old ledger"):
        continued(BEN, DOT)


def test_the_old_voters_have_stake():
    with refuses(Rule.E2):
        continued(BEN, voters=voters(BEN, stake=0))
    with refuses(Rule.G5, "tokens at stake on the old ledger"):
        continued(BEN, voters=voters(BEN, CY, stake=MAX_TOKENS))
    assert continued(BEN, voters=voters(BEN, stake=MAX_TOKENS)).continues.total_stake == MAX_TOKENS


def test_consents_and_voters_ascend_each_once():
    genesis = continued(BEN, CY)
    consents = genesis.continues.consents
    for wrong in (consents[::-1], (consents[0], consents[0]), (*consents, consents[1])):
        with refuses(Rule.G5, "those who sign the continuation"):
            decode_genesis(tampered(genesis, consents=wrong))
    one, two, three = voters(ADA, BEN, CY)
    for wrong in ((two, one, three), (one, one, two), (one, two, three, three)):
        with refuses(Rule.G5, "voters of the old ledger"):
            continued(BEN, voters=wrong)


@pytest.mark.parametrize("key", [encoded(point) for point in TORSION], ids=bytes.hex)
def test_an_old_voter_whose_key_could_sign_anything_is_refused(key):
    wrong = tuple(sorted([*voters(BEN), OldVoter(key, 100, None)], key=lambda one: one.key))
    with refuses(Rule.K1):
        continued(BEN, voters=wrong)


@dataclass
class Elsewhere:
    """Uses a consent for something that its signer did not consent to."""

    name: str
    genesis: Genesis


def others():
    other = continued(ADA)
    return [
        Elsewhere("another name", replace(other, name="other")),
        Elsewhere("another time", replace(other, created_ms=START_MS + 1)),
        Elsewhere("other stakes", replace(other, allotments=plain(BEN, CY).allotments[:1])),
        Elsewhere("other people", replace(other, allotments=plain(BEN, STRANGER).allotments)),
        Elsewhere("other parameters", replace(other, params=Params(admits_observers=False))),
        Elsewhere("another id", continued(ADA, ledger_id=bytes(32))),
        Elsewhere("another old name", continued(ADA, name="older")),
        Elsewhere("another block", continued(ADA, block_hash=bytes([1]) * 32)),
        Elsewhere("an earlier block", continued(ADA, index=6)),
        Elsewhere("another block time", continued(ADA, timestamp_ms=START_MS - 2)),
        Elsewhere("a shorter log", continued(ADA, log_size=20)),
        Elsewhere("another log", continued(ADA, log_root=bytes([1]) * 32)),
        Elsewhere("fewer old voters", continued(ADA, voters=voters(ADA, BEN))),
        Elsewhere("other old stakes", continued(ADA, voters=voters(ADA, BEN, CY, stake=1))),
    ]


@pytest.mark.parametrize("other", others(), ids=lambda one: one.name)
def test_a_consent_serves_for_nothing_else(other: Elsewhere):
    signed = sign_consent(BEN, continued(ADA))
    with refuses(Rule.G5, "not to this genesis"):
        with_consents(other.genesis, {BEN.public_key: signed})


def test_a_consent_is_in_its_own_domain_and_under_its_signers_own_key():
    genesis = continued(ADA)
    unsigned = replace(genesis, continues=genesis.continues.with_consents({})).encoded
    for domain in Domain:
        signed = {BEN.public_key: BEN.sign(domain, OLD_ID, unsigned)}
        if domain is Domain.CONTINUATION:
            assert with_consents(genesis, signed).continues.consents == tuple(signed.items())
            continue
        with refuses(Rule.G5, "not to this genesis"):
            with_consents(genesis, signed)
    with refuses(Rule.G5):
        with_consents(genesis, {BEN.public_key: BEN.sign(Domain.CONTINUATION, genesis.ledger_id, unsigned)})
    with refuses(Rule.G5):
        with_consents(genesis, {BEN.public_key: sign_consent(CY, genesis)})


def test_a_continuation_begins_after_the_block_that_it_goes_on_from():
    continued(BEN, timestamp_ms=START_MS)
    with refuses(Rule.G5, "begins before"):
        continued(BEN, timestamp_ms=START_MS + 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ledger_id": bytes(31)},
        {"name": ""},
        {"name": "a\nb"},
        {"name": "x" * 65},
        {"index": 0},
        {"index": 2**53},
        {"block_hash": bytes(33)},
        {"timestamp_ms": -1},
        {"log_size": -1},
        {"log_root": None},
        {"voters": ()},
        {"voters": (OldVoter(BEN.public_key, 1, "Ben"),)},
    ],
    ids=str,
)
def test_a_continuation_out_of_bounds_is_refused(wrong):
    with refuses(Rule.E2):
        continued(BEN, **wrong)


def test_as_many_old_voters_as_may_be_all_sign_and_found_organisations():
    wallets = [wallet(f"{number}") for number in range(MAX_OLD_VOTERS + 1)]
    founders = [
        Founder(f"o-{number:038}", f"{number} {'ü' * 58}", None, one.public_key, Role.MEMBER, MAX_SHARED_STAKE // 2048)
        for number, one in enumerate(wallets[:-1])
    ]
    many = [OldVoter(one.public_key, MAX_TOKENS // 2048, f"o-{number:038}") for number, one in enumerate(wallets)]
    many.sort(key=lambda one: one.key)
    genesis = make_genesis("n", START_MS, (), Params(anybody_certifies=False), founders)
    signers = sorted(wallets, key=lambda one: one.public_key)
    full = continuing(genesis, old(voters=tuple(many[:-1])), signers[:-1])
    assert len(full.continues.consenting) == MAX_OLD_VOTERS
    assert len(full.encoded) < MAX_GENESIS_BYTES / 2
    with refuses(Rule.E2):
        continuing(genesis, old(voters=tuple(many)), signers[:1])


@given(
    name=texts.filter(bool),
    facts=st.tuples(digests, digests, indexes.filter(bool), indexes, times, digests),
    stakes=st.lists(st.integers(1, 2**40), min_size=1, max_size=4),
    who=st.sets(st.integers(0, 3), min_size=1),
)
def test_any_continuation_is_read_as_it_was_written(name, facts, stakes, who):
    ledger_id, block_hash, index, log_size, timestamp_ms, log_root = facts
    pairs = sorted(zip((ADA, BEN, CY, DOT), stakes, strict=False), key=lambda pair: pair[0].public_key)
    known = tuple(OldVoter(one.public_key, stake, None) for one, stake in pairs)
    continues = Continuation(ledger_id, name, index, block_hash, timestamp_ms, log_size, log_root, known)
    signers = [pairs[one % len(pairs)][0] for one in who]
    genesis = continuing(plain(DOT, created_ms=timestamp_ms), continues, signers)
    assert decode_genesis(genesis.encoded) == genesis
    assert {one.key for one in genesis.continues.consenting} == {one.public_key for one in signers}
    assert genesis.continues.with_consents({}) == continues
