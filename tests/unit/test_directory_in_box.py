"""What waits to be decided: how much of it, until when, and what it costs to look at."""

from typing import Any

import pytest
from tests.builders import START_MS, noting, refuses
from tests.governed import NAMES, GovernedScribe, directory_genesis

from tallystick.ledger import stake
from tallystick.ledger.certificate import AnyCertificate, Motion, issue
from tallystick.ledger.changes import AnyChange, Rename, Role
from tallystick.ledger.errors import Rule
from tallystick.ledger.genesis import Founder, make_genesis
from tallystick.ledger.messages import Entry
from tallystick.ledger.names import fold
from tallystick.ledger.params import Params
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.limits import Limits

RENAME = Rename("ada", "University of Ada", "Ada's", None, None)
HOUR_MS = 3_600_000


@pytest.fixture
def scribe() -> GovernedScribe:
    return GovernedScribe()


def box_of(scribe: GovernedScribe, *waiting: AnyCertificate, **limits: Any) -> CertificateBox:
    box = CertificateBox(Limits(**limits), scribe.state, scribe.chain.finder)
    for one in waiting:
        box.add(Entry(one), START_MS + 1)
    return box


def over(box: CertificateBox, now_ms: int) -> dict[bytes, Rule]:
    """What leaves the box when it is so late, though no block came."""
    return {certificate_id: refused.rule for certificate_id, refused in box.time_passed(now_ms)}


def test_a_word_on_a_motion_that_expired_leaves_the_box_though_no_block_comes(scribe: GovernedScribe) -> None:
    """A node whose clock is behind may be the only one that took it, and would ask for a block for ever."""
    until_ms = START_MS + HOUR_MS
    scribe.forge(motion := issue(Motion, NAMES["ada"], scribe.ledger_id, START_MS, RENAME, until_ms))
    words: list[AnyCertificate] = [scribe.approval(motion, "ben"), scribe.objection(motion, "cy")]
    box = box_of(scribe, *words, scribe.statement())
    assert over(box, until_ms - 1) == {}
    assert over(box, until_ms) == dict.fromkeys([word.id for word in words], Rule.M4)
    assert len(box) == 1


def test_a_revocation_by_a_key_whose_time_is_over_leaves_the_box_also_where_anybody_certifies() -> None:
    scribe = GovernedScribe(directory_genesis(anybody_certifies=True))
    until_ms = START_MS + HOUR_MS
    scribe.forge(scribe.add_issuer("office", until_ms=until_ms), target := scribe.statement())
    late, kept = scribe.revocation(target, "office"), scribe.statement("office")
    box = box_of(scribe, late, kept)
    assert over(box, until_ms - 1) == {}
    assert over(box, until_ms) == {late.id: Rule.R2}
    assert list(box) == [kept]


class Unread(dict[bytes, int]):
    """Times by id that nobody looks through."""

    def items(self) -> Any:
        raise AssertionError("each of them was looked at")


def test_while_nothing_is_too_late_nobody_looks_at_what_waits(scribe: GovernedScribe) -> None:
    """The time is asked for with every message."""
    scribe.forge(scribe.add_issuer("office", until_ms=START_MS + HOUR_MS))
    soon = issue(Motion, NAMES["ada"], scribe.ledger_id, START_MS, RENAME, START_MS + HOUR_MS // 2)
    box = box_of(scribe, first := scribe.statement("office"), soon)
    times, box._until_ms = box._until_ms, Unread(box._until_ms)
    assert over(box, START_MS + HOUR_MS // 2 - 1) == {}
    box._until_ms = times
    assert over(box, START_MS + HOUR_MS // 2) == {soon.id: Rule.M3}
    box._until_ms = Unread(box._until_ms)
    assert over(box, START_MS + HOUR_MS - 1) == {}
    box._until_ms = times
    assert over(box, START_MS + HOUR_MS) == {first.id: Rule.D1}


def test_what_a_keys_end_makes_not_illegal_is_looked_at_once() -> None:
    """What a key certified before it was listed is its own, and no organisation's."""
    scribe = GovernedScribe(directory_genesis(anybody_certifies=True))
    scribe.key("office")
    scribe.forge(target := scribe.statement("office"))
    scribe.forge(scribe.add_issuer("office", until_ms=START_MS + HOUR_MS))
    box = box_of(scribe, own := scribe.revocation(target, "office"))
    assert over(box, START_MS + HOUR_MS) == {}
    box._until_ms = Unread(box._until_ms)
    assert over(box, START_MS + HOUR_MS) == {}
    assert list(box) == [own]


def test_few_motions_and_key_changes_of_one_key_wait(scribe: GovernedScribe) -> None:
    """They cost more to look at than a statement does, with every block, and no block holds many of them."""
    waiting: list[AnyCertificate] = [scribe.motion(RENAME), scribe.add_issuer("office")]
    box = box_of(scribe, *waiting, box_moves_per_issuer=2)
    refused: list[AnyCertificate] = [scribe.motion(RENAME), scribe.add_issuer("another")]
    for more in refused:
        with refuses(Rule.C7, "2 of its motions and key changes"):
            box.add(Entry(more), START_MS + 1)
    taken: list[AnyCertificate] = [scribe.motion(RENAME, "ben"), scribe.statement()]
    for other in taken:
        box.add(Entry(other), START_MS + 1)
    scribe.forge(waiting[0])
    box.tip_advanced([waiting[0]], scribe.state)
    box.add(Entry(scribe.motion(RENAME)), START_MS + 2)
    with refuses(Rule.C7):
        box.add(Entry(scribe.motion(RENAME)), START_MS + 2)


def test_what_a_motion_costs_to_look_at_does_not_grow_with_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one member stops the others with motions that it never has to get through."""
    scribe = GovernedScribe()
    names = [f"org-{place}" for place in range(40)]
    founders = [Founder(one, f"University {one}", None, scribe.key(one).public_key, Role.MEMBER, 10) for one in names]
    genesis = make_genesis("many", START_MS, (), Params(anybody_certifies=False), founders)
    scribe = GovernedScribe(genesis, scribe.keys)
    changes: list[AnyChange] = [scribe.admit("eve"), scribe.set_stakes(**{"org-7": 9})]
    box = box_of(scribe, *[scribe.motion(change, "org-0") for change in changes])
    looked_at = list[object]()
    monkeypatch.setattr("tallystick.ledger.directory.fold", noting(looked_at, fold))
    monkeypatch.setattr(stake.Account, "at", noting(looked_at, stake.Account.at))
    for change in changes * 5:
        box.add(Entry(scribe.motion(change, "org-0")), START_MS + 1)
    assert 0 < len(looked_at) < len(names)
