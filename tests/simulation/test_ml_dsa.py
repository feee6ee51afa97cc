"""Cosignatures by ML-DSA-44 at the ends of epochs, simulated: by the real library, and by a stand-in."""

from typing import Any

import pytest
from tests.ml_dsa import LACKING, StandIn, verify_stand_in
from tests.simulation.governed_ledger import SEVEN, GovernedLedger

from tallystick.host.ml_dsa import MlDsaWallet, has_ml_dsa, ml_dsa_verifier
from tallystick.ledger.changes import SetMlDsaKey
from tallystick.ledger.encoding import digest
from tallystick.network.simulated import Link
from tallystick.node.epoch_ends import MlDsa

FOUR = SEVEN[:4]
EPOCHS: dict[str, Any] = {"epoch_blocks": 4, "epoch_ms": 3_000, "unbonding_blocks": 8, "unbonding_ms": 6_000}


def real(name):
    return MlDsaWallet(digest(name.encode()))


KINDS = [
    pytest.param((StandIn, lambda: verify_stand_in), id="stand-in"),
    pytest.param((real, ml_dsa_verifier), id="real", marks=pytest.mark.skipif(not has_ml_dsa(), reason=LACKING)),
]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def ledger_with(seed, kind, *signing, verifying=(), link=None):
    """Four members, of whom some register keys and have them on their machines; others can only verify."""
    key_of, verifier = kind
    ledger = GovernedLedger(int(seed), *FOUR, link=link, **EPOCHS)
    for name in (*signing, *verifying):
        host = ledger.network.hosts[name]
        host.ml_dsa = MlDsa(verifier(), key_of(name) if name in signing else None)
        ledger.network.crash(name)
        ledger.network.restart(name)
    ledger.network.connect_all()
    ledger.network.run_for(1_000)
    for name in signing:
        operation = SetMlDsaKey(ledger.key(name).public_key, key_of(name).public_key)
        assert ledger.settles(ledger.change_keys(operation, name))
    return ledger


def run_epochs(ledger, epochs):
    end = ledger.state.epoch.number + epochs
    while ledger.state.epoch.number < end:
        assert ledger.settles(ledger.statement("ada"))
        ledger.network.run_for(1_200)
    ledger.network.run_for(3_000)


def lines_of(ledger):
    """By host: the members with lines at the newest end that a proof can be made at, by name."""
    names = {ledger.key(name).public_key: name for name in FOUR}
    found = {name: host.node.epoch_checkpoint for name, host in ledger.up.items()}
    return {name: {names[line.member] for line in one.ml_dsa} if one else None for name, one in found.items()}


def test_the_ends_of_epochs_get_lines_of_all_who_registered_a_key(seed, kind):
    ledger = ledger_with(seed, kind, "ada", "ben", "cy", verifying=("dot",))
    run_epochs(ledger, 2)
    assert lines_of(ledger) == {name: {"ada", "ben", "cy"} for name in FOUR}
    for host in ledger.up.values():
        found = host.node.epoch_checkpoint
        assert found.state.epoch.number == found.state.tip.epoch + 1
        for line in found.ml_dsa:
            key = found.state.directory.ml_dsa_key(line.member)
            assert line.is_signed(ledger.network.genesis.origin, key, kind[1]())


def test_members_without_the_extra_go_on_and_take_no_part(seed, kind):
    ledger = ledger_with(seed, kind, "ada", "ben")
    run_epochs(ledger, 2)
    assert lines_of(ledger) == {"ada": {"ada", "ben"}, "ben": {"ada", "ben"}, "cy": None, "dot": None}
    assert {host.node.checkpoint.state.index for host in ledger.up.values()} == {ledger.state.index}
    assert not ledger.cut_off


def test_the_ledger_goes_on_while_who_signs_by_ml_dsa_is_away(seed, kind):
    ledger = ledger_with(seed, kind, "dot", verifying=("ada", "ben", "cy"))
    ledger.network.crash("dot")
    run_epochs(ledger, 2)
    assert set(lines_of(ledger).values()) == {None}
    ledger.network.restart("dot")
    ledger.network.connect_all()
    ledger.network.run_for(10_000)
    run_epochs(ledger, 1)
    assert lines_of(ledger) == {name: {"dot"} for name in FOUR}


def test_on_a_bad_line_the_lines_come_later_or_not_and_nothing_else_suffers(seed):
    link = Link(delay_min_ms=5, delay_max_ms=400, loss=0.05)
    ledger = ledger_with(seed, (StandIn, lambda: verify_stand_in), *FOUR, link=link)
    run_epochs(ledger, 3)
    assert not ledger.cut_off
    assert {host.node.state.epoch.number for host in ledger.up.values()} == {ledger.state.epoch.number}
    assert any(lines for lines in lines_of(ledger).values())
