"""A state in bytes: it comes back as it was, or not at all."""

from dataclasses import replace

import pytest
from tests.builders import ADA, BEN, FinalScribe, Scribe, evidence, found, refuses, staking, statement

from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.state import make_header, next_state
from tallystick.storage.snapshots import decode_state, encode_state

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


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_bytes_that_are_no_state_are_refused(cut):
    *_, state = states()
    with pytest.raises(Refused):
        decode_state(encode_state(state)[:cut] if cut else b"", FOUNDED)
