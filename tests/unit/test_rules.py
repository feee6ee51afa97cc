"""Every rule has one number, one title in docs/protocol.md, and a test that cites it."""

import re
from pathlib import Path

import pytest

from tallystick.ledger.errors import BLAMES_THE_PEER, Refused, Rule

TESTS = Path(__file__).parents[1]
PROTOCOL = TESTS.parent / "docs" / "protocol.md"
CITED = {
    name
    for path in TESTS.rglob("test_*.py")
    if path.name != Path(__file__).name
    for name in re.findall(r"\bRule\.([A-Z]\d+)\b", path.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("rule", Rule, ids=lambda rule: rule.name)
def test_every_rule_is_cited_by_a_test(rule):
    assert rule.name in CITED


def test_the_protocol_lists_these_rules_with_these_titles_in_this_order():
    rows = re.findall(r"^\| \*\*([A-Z]\d+)\*\* \| (.+?) \|", PROTOCOL.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert rows == [(rule.name, rule.value) for rule in Rule]


def test_a_refusal_names_its_rule():
    refused = Refused(Rule.B1, "because")
    assert str(refused) == "[B1] block index follows the tip: because"
    assert (refused.rule, refused.reason) == (Rule.B1, "because")
    assert isinstance(refused, ValueError)


def test_titles_and_numbers_are_distinct():
    assert len({rule.value for rule in Rule}) == len(Rule)
    assert set(Rule) > BLAMES_THE_PEER
