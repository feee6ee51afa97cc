"""A state in bytes: it comes back as it was, or not at all."""

from dataclasses import replace

import msgspec
import pytest
from msgspec.structs import replace as struct_replace
from tests.builders import ADA, BEN, FinalScribe, Scribe, evidence, found, refuses, staking, statement

from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.merkle import Frontier
from tallystick.ledger.params import Params
from tallystick.ledger.stake import Account
from tallystick.ledger.transition import make_header, next_state
from tallystick.storage.state_codec import decode_state, encode_state

FOUNDED = found(epoch_blocks=3)


def states():
    """Of a chain with withdrawals under way, burned stake, and epochs whose stakes are not those at the tip."""
    scribe = FinalScribe(FOUNDED)
    yield scribe.state
    ledger = FOUNDED.ledger_id
    for certificate in (
        staking(50, ledger=ledger),
        staking(-30, BEN, ledger=ledger),
        staking(-10, BEN, at_ms=FOUNDED.created_ms + 1, ledger=ledger),
        evidence(BEN, ADA, genesis=FOUNDED),
    ):
        scribe.forge(certificate)
        yield scribe.state
        scribe.forge(statement("between", ledger=ledger, at_ms=FOUNDED.created_ms + scribe.state.index))
        yield scribe.state


def test_a_state_comes_back_as_it_was_and_leads_on_to_the_same_states():
    for state in states():
        again = decode_state(encode_state(state), FOUNDED)
        assert again == state
        assert (again.epoch.stakes is again.stakes) == (state.epoch.stakes == state.stakes)
        assert again.root == state.tip.state_root
        assert (again.epoch.hash, again.stakes.total) == (state.epoch.hash, state.stakes.total)
        more = [staking(-5, ledger=FOUNDED.ledger_id, at_ms=FOUNDED.created_ms + 99)]
        header = make_header(state, 1, 0, ADA.public_key, more)
        assert make_header(again, 1, 0, ADA.public_key, more) == header
        assert next_state(again, header, more) == next_state(state, header, more)
    assert state.stakes.burned_keys and state.epoch_ends  # noqa: PT018  or the states above show nothing of them


def test_a_state_of_another_ledger_is_refused():
    with refuses(Rule.B10):
        decode_state(encode_state(Scribe(found(ADA)).state), FOUNDED)


def test_a_frontier_that_does_not_fit_its_size_is_refused():
    *_, state = states()
    for odd in (
        replace(state, log=state.log._replace(size=2 * state.log.size + 1)),
        replace(state, headers=state.headers._replace(size=2 * state.headers.size + 1)),
    ):
        with refuses(Rule.E2):
            decode_state(encode_state(odd), FOUNDED)


def test_stakes_that_are_those_of_the_epoch_are_encoded_once():
    encoded = [(state, msgspec.msgpack.decode(encode_state(state))) for state in states()]
    assert all((fields[2][1] is None) == (state.epoch.stakes == state.stakes) for state, fields in encoded)
    assert len({fields[2][1] is None for _, fields in encoded}) == 2


LAST = [*states()][-1]
ODD = {
    "a later root": (replace(LAST, tip=struct_replace(LAST.tip, state_root=bytes(32))), Rule.B12),
    "another log": (replace(LAST, log=LAST.log._replace(peaks=(bytes(32),) * len(LAST.log.peaks))), Rule.B12),
    "other stakes": (replace(LAST, stakes=replace(LAST.stakes, burned=LAST.stakes.burned + 1)), Rule.B12),
    "other members": (replace(LAST, epoch=replace(LAST.epoch, number=LAST.epoch.number + 1)), Rule.B12),
    "other voters": (replace(LAST, voters=bytes(32)), Rule.B12),
    "other ends": (replace(LAST, epoch_ends=()), Rule.B12),
    "a short key": (replace(LAST, stakes=replace(LAST.stakes, accounts={b"k" * 31: Account(1, 1)})), Rule.E2),
    "a short peak": (replace(LAST, log=LAST.log._replace(peaks=(b"p",) * len(LAST.log.peaks))), Rule.E2),
    "a size beyond bounds": (replace(LAST, log=Frontier(2**60, (bytes(32),))), Rule.E2),
    "burned below zero": (replace(LAST, stakes=replace(LAST.stakes, burned=-1)), Rule.E2),
    "an epoch beyond bounds": (replace(LAST, epoch=replace(LAST.epoch, number=2**60)), Rule.E2),
    "an epoch's first index below zero": (replace(LAST, epoch=replace(LAST.epoch, first_index=-1)), Rule.E2),
    "an epoch's start beyond bounds": (replace(LAST, epoch=replace(LAST.epoch, start_ms=2**60)), Rule.E2),
    "voters too short": (replace(LAST, voters=bytes(31)), Rule.E2),
}


@pytest.mark.parametrize(("odd", "rule"), ODD.values(), ids=ODD)
def test_a_state_that_is_none_is_refused(odd, rule):
    with refuses(rule):
        decode_state(encode_state(odd), FOUNDED)


def test_a_state_of_other_parameters_is_refused():
    other = replace(LAST, params=Params(delta_ms=1))
    with refuses(Rule.B12):
        decode_state(encode_state(other), FOUNDED)


@pytest.mark.parametrize("odd", ["a field more", "a field less", "other bytes"])
def test_a_state_in_another_form_is_refused(odd):
    fields = msgspec.msgpack.decode(encode_state(LAST))
    if odd == "a field more":
        data = encode([*fields, 0])
    elif odd == "a field less":
        data = encode(fields[:-1])
    else:
        data = encode_state(LAST)
        data = bytes([0xDC, 0, data[0] & 0x0F]) + data[1:]  # the length of the outer array in three bytes
    with refuses(Rule.E3 if odd == "other bytes" else Rule.E2):
        decode_state(data, FOUNDED)


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_bytes_that_are_no_state_are_refused(cut):
    *_, state = states()
    with pytest.raises(Refused):
        decode_state(encode_state(state)[:cut] if cut else b"", FOUNDED)
