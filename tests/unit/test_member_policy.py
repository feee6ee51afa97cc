"""Policies of a ledger's members: how many are needed, and what is said about them."""

import pytest
from tests.builders import wallet

from tallystick.api.member_policy import Witness, needed_of, policy_text, warnings_of
from tallystick.ledger.tlog_policy import parse_policy


def witnesses(*stakes: int) -> list[Witness]:
    return [Witness(wallet(f"w{number}").public_key, stake, f"w{number}") for number, stake in enumerate(stakes)]


@pytest.mark.parametrize(
    ("stakes", "needed"),
    [
        ((10,), 1),
        ((10, 10), 2),
        ((10, 10, 10), 3),
        ((10, 10, 10, 10), 3),
        ((1,) * 7, 5),
        ((1,) * 64, 43),
        ((1, 1, 1, 97), 4),
        ((30, 30, 40), 3),
        ((5, 5, 5, 6), 3),
        ((1, 100, 100, 100, 100), 4),
    ],
)
def test_any_so_many_hold_more_than_two_thirds(stakes: tuple[int, ...], needed: int) -> None:
    found = witnesses(*stakes)
    assert needed_of(found) == needed
    policy = parse_policy(policy_text("test/" + "00" * 32, 3, found[0].key, found).encode())
    by_stake = sorted(found, key=lambda one: one.stake)
    assert policy.holds({one.key for one in by_stake[:needed]})
    assert 3 * sum(one.stake for one in by_stake[:needed]) > 2 * sum(stakes)
    assert not policy.holds({one.key for one in by_stake[-needed + 1 :]} if needed > 1 else set())


def test_what_whoever_uses_it_has_to_know_is_said() -> None:
    three, four, many = witnesses(1, 1, 1), witnesses(1, 1, 1, 1), witnesses(*(1,) * 33)
    assert [len(warnings_of(7, found)) for found in (three, four, many)] == [2, 1, 3]
    assert "for epoch 7" in warnings_of(7, four)[0]
    assert "one log signature" in warnings_of(7, many)[1]
    assert "33 witnesses" in warnings_of(7, many)[2]
    text = policy_text("test/" + "00" * 32, 7, four[0].key, four)
    assert "# this policy is for epoch 7" in text
    assert text.count("\nlog ") == 1
