"""The genesis: what it must hold, and that its id depends on all of it."""

import pytest
from msgspec.structs import replace
from tests.builders import ADA, BEN, GENESIS, MEMBERS, START_MS, found, refuses, wallet
from tests.curve import TORSION, encoded

from tallystick.ledger.block import genesis_block
from tallystick.ledger.changes import Role
from tallystick.ledger.encoding import digest, encode
from tallystick.ledger.errors import Rule
from tallystick.ledger.fields import MAX_TOKENS
from tallystick.ledger.genesis import Allotment, Founder, decode_genesis, make_genesis
from tallystick.ledger.params import Params


def allotment(member=ADA.public_key, free=10, staked=10):
    return Allotment(member, free, staked)


def decode(**changes):
    return decode_genesis(encode(replace(GENESIS, **changes)))


def test_the_id_is_the_hash_of_the_genesis_and_block_0_carries_it():
    assert GENESIS.ledger_id == digest(encode(GENESIS)) == decode_genesis(encode(GENESIS)).ledger_id
    block = genesis_block(GENESIS)
    assert (block.index, block.header.ledger_id, block.header.timestamp_ms) == (0, GENESIS.ledger_id, START_MS)
    assert block.certificates == ()


@pytest.mark.parametrize(
    "other",
    [
        replace(GENESIS, name="other"),
        replace(GENESIS, created_ms=START_MS + 1),
        replace(GENESIS, params=Params()),
        replace(GENESIS, allotments=GENESIS.allotments[1:]),
        found(free=1_001),
        found(staked=101),
    ],
    ids=["name", "time", "params", "members", "free tokens", "stakes"],
)
def test_every_field_changes_the_ledgers_id(other):
    assert other.ledger_id != GENESIS.ledger_id
    assert genesis_block(other).hash != genesis_block(GENESIS).hash


def test_members_come_in_any_order_and_stand_in_one():
    allotments = [allotment(member.public_key) for member in MEMBERS.values()]
    assert make_genesis("n", 0, allotments) == make_genesis("n", 0, allotments[::-1])
    assert GENESIS.stakes().total == 4 * 1_100
    assert GENESIS.stakes().total_staked == 400


def test_members_are_distinct_and_in_order():
    with refuses(Rule.G1):
        make_genesis("n", 0, [allotment(free=1), allotment(free=2)])
    with refuses(Rule.G1):
        decode(allotments=GENESIS.allotments[::-1])
    with refuses(Rule.G1):
        decode(allotments=(*GENESIS.allotments, GENESIS.allotments[-1]))


@pytest.mark.parametrize("key", [encoded(point) for point in TORSION] + [b"\x02" + bytes(31)], ids=bytes.hex)
def test_a_member_whose_key_could_sign_anything_is_refused(key):
    with refuses(Rule.K1):
        make_genesis("n", 0, [allotment(), allotment(key)])


@pytest.mark.parametrize(
    "allotments",
    [
        [],
        [allotment(staked=0)],
        [allotment(free=MAX_TOKENS)],
        [allotment(), allotment(BEN.public_key, MAX_TOKENS - 29)],
    ],
    ids=["nobody", "nothing staked", "too many of one", "too many together"],
)
def test_tokens_are_staked_and_bounded(allotments):
    with refuses(Rule.G2):
        make_genesis("n", 0, allotments)


@pytest.mark.parametrize(
    ("epoch_blocks", "epoch_ms", "unbonding_blocks", "unbonding_ms"),
    [(100, 10, 199, 20), (100, 10, 200, 19), (100, 10, 0, 0), (1, 0, 1, 0), (32_769, 0, 65_536, 0)],
)
def test_stake_stays_liable_for_two_epochs_at_least(epoch_blocks, epoch_ms, unbonding_blocks, unbonding_ms):
    epoch = {"epoch_blocks": epoch_blocks, "epoch_ms": epoch_ms}
    unbonding = {"unbonding_blocks": unbonding_blocks, "unbonding_ms": unbonding_ms}
    with refuses(Rule.G3):
        found(**epoch, **unbonding)
    found(**epoch, **unbonding, mint_freely=True)


def test_two_epochs_are_enough_and_unbonding_has_a_bound():
    """The state names each epoch whose evidence is legal: their number is bounded."""
    for epoch_ms, bound_ms in ((10, 40_960), (0, 4_096)):
        found(epoch_blocks=100, epoch_ms=epoch_ms, unbonding_blocks=200, unbonding_ms=2 * epoch_ms)
        found(epoch_blocks=100, epoch_ms=epoch_ms, unbonding_blocks=65_536, unbonding_ms=bound_ms)
        for mint_freely in (False, True):
            with refuses(Rule.G3):
                found(epoch_ms=epoch_ms, unbonding_ms=bound_ms + 1, mint_freely=mint_freely)


def test_a_ledger_may_hold_as_many_tokens_as_the_bound():
    assert make_genesis("n", 0, [allotment(free=MAX_TOKENS - 10)]).stakes().total == MAX_TOKENS


def test_the_course_may_begin_without_stake():
    assert make_genesis("course", 0, [], Params(mint_freely=True)).stakes().total == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"free": -1},
        {"staked": -1},
        {"free": MAX_TOKENS + 1},
        {"free": 1.5},
        {"staked": True},
        {"member": bytes(31)},
        {"member": "ada"},
    ],
    ids=str,
)
def test_an_allotment_out_of_bounds_is_refused(wrong):
    with refuses(Rule.E2):
        make_genesis("n", 0, [replace(allotment(), **wrong)])


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "\x00", 5, None], ids=repr)
def test_a_name_is_a_short_line_of_text(name):
    with refuses(Rule.E2):
        make_genesis(name, 0, [allotment()])


@pytest.mark.parametrize(
    "params",
    [
        {"forge_at_certificates": 0},
        {"forge_at_certificates": 8193},
        {"max_block_certificates": 0},
        {"min_block_certificates": 2},
        {"block_ahead_ms": 0.5},
        {"certificate_ahead_ms": "soon"},
        {"epoch_blocks": 0},
        {"epoch_blocks": 2**53},
        {"epoch_blocks": None},
        {"epoch_ms": -1},
        {"epoch_ms": None},
        {"epoch_ms": 2**53},
        {"unbonding_blocks": -1},
        {"unbonding_blocks": 65_537},
        {"unbonding_ms": -1},
        {"unbonding_ms": 2**53},
        {"delta_ms": 0},
        {"delta_ms": 0.5},
        {"mint_freely": 1},
        {"admits_observers": None},
    ],
    ids=str,
)
def test_parameters_out_of_bounds_are_refused(params):
    with refuses(Rule.E2):
        make_genesis("n", 0, [allotment()], Params(**params))


def test_the_parameters_of_epochs_stand_before_the_last_four():
    params = Params(epoch_blocks=5, epoch_ms=6, unbonding_blocks=7, unbonding_ms=8, delta_ms=9, rotation_delay_ms=10)
    assert encode(params).endswith(b"\x05\x06\x07\x08\x09\xc2\xc3\xc3\x0a")
    assert encode(Params(admits_observers=False, rotation_delay_ms=0)).endswith(b"\xc2\xc3\x00")
    assert encode(Params(anybody_certifies=False, rotation_delay_ms=0)).endswith(b"\xc3\xc2\x00")


def test_a_later_version_is_refused():
    with refuses(Rule.E4):
        decode(version=2)
    for version in (0, 256, -1):
        with refuses(Rule.E2):
            decode(version=version)


def test_an_oversized_genesis_is_refused():
    many = [Allotment(number.to_bytes(32, "big"), 1, 1) for number in range(4097)]
    with refuses(Rule.E2):
        make_genesis("n", 0, many)
    with refuses(Rule.E1):
        decode_genesis(bytes(1024 * 1024 + 1))


# ---- founding organisations -------------------------------------------------------------------------------------


def founder(name="ada", key=ADA.public_key, **changes):
    return replace(Founder(name, f"University of {name}", None, key, Role.MEMBER, 10), **changes)


def test_founders_hold_all_stake_and_come_in_any_order():
    two = [founder(), founder("ben", BEN.public_key, stake=0)]
    genesis = make_genesis("n", 0, (), None, two[::-1])
    assert genesis == make_genesis("n", 0, (), None, two)
    assert [one.organisation for one in genesis.founders] == ["ada", "ben"]
    assert (genesis.stakes().total, genesis.stakes().members) == (10, ((ADA.public_key, 10),))
    with refuses(Rule.G4, "not to both"):
        make_genesis("n", 0, [allotment(BEN.public_key)], None, [founder()])
    with refuses(Rule.G2):
        make_genesis("n", 0, (), None, [founder(stake=0)])


def test_without_founders_anybody_certifies():
    with refuses(Rule.G4, "nobody could certify"):
        found(anybody_certifies=False)
    make_genesis("n", 0, (), Params(anybody_certifies=False), [founder()])


def test_the_course_has_no_organisations():
    with refuses(Rule.G4, "minted freely"):
        make_genesis("n", 0, (), Params(mint_freely=True), [founder()])


def test_founders_are_distinct_and_in_order():
    two = (founder(), founder("ben", BEN.public_key))
    for founders in (two[::-1], (two[0], two[0]), (two[0], founder("ben"))):
        with refuses(Rule.G1):
            decode(allotments=(), founders=founders)
    with refuses(Rule.D2):
        make_genesis("n", 0, (), None, [two[0], replace(two[1], title="UNIVERSITY OF ADA")])


@pytest.mark.parametrize("stake", [0, 10])
def test_a_founder_whose_key_could_sign_anything_is_refused(stake):
    with refuses(Rule.K1):
        make_genesis("n", 0, (), None, [founder(), founder("odd", encoded(TORSION[0]), stake=stake)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"organisation": ""},
        {"organisation": "-ada"},
        {"organisation": "Ada"},
        {"organisation": "a" * 41},
        {"organisation": "ada\n"},
        {"title": ""},
        {"title": "x" * 65},
        {"title": "a\tb"},
        {"domain": "localhost"},
        {"domain": "a..b"},
        {"domain": "a.b\n"},
        {"key": bytes(31)},
        {"role": Role.ISSUER},
        {"role": 0},
        {"stake": -1},
        {"stake": MAX_TOKENS + 1},
    ],
    ids=str,
)
def test_a_founder_out_of_bounds_is_refused(wrong):
    with refuses(Rule.E2):
        make_genesis("n", 0, (), None, [founder(), replace(founder("zoe", BEN.public_key), **wrong)])


def test_thousands_may_found_a_ledger():
    many = [founder(f"o-{number}", wallet(f"{number}").public_key) for number in range(2_000)]
    genesis = make_genesis("n", 0, (), None, many)
    assert len(genesis.directory().organisations) == len(genesis.directory().keys) == 2_000
