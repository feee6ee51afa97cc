"""What waits to be decided: how much of it, until when, and what it costs to look at."""

from typing import Any

import pytest
from tests.builders import START_MS, noting, payload, refuses
from tests.governed import NAMES, GovernedScribe, directory_genesis

from tallystick.ledger import stake
from tallystick.ledger.certificate import AnyCertificate, Motion, Revocation, Statement, issue, issue_decision
from tallystick.ledger.changes import AnyChange, Effect, Rename, Role
from tallystick.ledger.encoding import encode
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


# ---- whose it is ------------------------------------------------------------------------------------------------


def refused_by(rule: Rule, box: CertificateBox, one: AnyCertificate, said: str = "") -> None:
    with refuses(rule, said):
        box.add(Entry(one), START_MS + 1)


def put(box: CertificateBox, *more: AnyCertificate) -> None:
    for one in more:
        box.add(Entry(one), START_MS + 1)


def test_one_organisation_fills_its_share_with_all_its_keys_and_no_more(scribe: GovernedScribe) -> None:
    scribe.forge(scribe.add_issuer("office"), scribe.add_issuer("registry"))
    waiting = [scribe.statement(name) for name in ("ada", "office", "registry")]
    box = box_of(scribe, *waiting, box_certificates_per_issuer=3)
    for name in ("ada", "office"):
        refused_by(Rule.C7, box, scribe.statement(name), "3 certificates of ada wait already; submit it again later")
    put(box, scribe.statement("ben"))
    box.tip_advanced(waiting[2:], scribe.state)
    put(box, scribe.statement("registry"))
    refused_by(Rule.C7, box, scribe.statement("ada"))


def test_keys_of_no_organisation_have_a_share_each() -> None:
    scribe = GovernedScribe(directory_genesis(anybody_certifies=True))
    for name in ("x", "y"):
        scribe.key(name)
    box = box_of(scribe, scribe.statement("x"), box_certificates_per_issuer=1)
    refused_by(Rule.C7, box, scribe.statement("x"), "1 certificates of this issuer")
    put(box, scribe.statement("y"))


def test_what_waits_of_a_key_that_is_listed_meanwhile_is_counted_where_it_was() -> None:
    scribe = GovernedScribe(directory_genesis(anybody_certifies=True))
    scribe.key("office")
    box = box_of(scribe, early := scribe.statement("office"), scribe.statement(), box_certificates_per_issuer=1)
    block = scribe.forge(scribe.add_issuer("office"))
    box.tip_advanced(block.certificates, scribe.state)
    box.tip_advanced([early], scribe.state)
    refused_by(Rule.C7, box, scribe.statement("office"), "of ada")


@pytest.mark.parametrize("full", [{"box_certificates": 2}, {"box_bytes": 300}])
def test_a_full_box_takes_what_members_decide_by(scribe: GovernedScribe, full: dict[str, int]) -> None:
    """Else one organisation keeps out the motion by which the others remove it."""
    scribe.forge(motion := scribe.motion(RENAME))
    box = box_of(scribe, scribe.statement(), scribe.statement(), **full)
    refused_by(Rule.C6, box, scribe.statement("ben"))
    put(box, scribe.motion(scribe.remove("ada"), "ben"), scribe.approval(motion, "cy"), scribe.objection(motion, "ben"))
    put(box, scribe.add_issuer("office", "ben"))
    refused_by(Rule.C6, box, scribe.statement("ben"))
    assert len(box) == 6


def test_what_members_decide_by_keeps_no_certificates_out(scribe: GovernedScribe) -> None:
    box = box_of(scribe, scribe.motion(RENAME), scribe.add_issuer("office"), box_certificates=1, box_bytes=250)
    put(box, scribe.statement())


def test_few_motions_and_key_changes_of_one_key_wait(scribe: GovernedScribe) -> None:
    """They cost more to look at than a statement does, with every block, and no block holds many of them."""
    waiting: list[AnyCertificate] = [scribe.motion(RENAME), scribe.add_issuer("office")]
    box = box_of(scribe, *waiting, box_moves_per_issuer=2)
    refused: list[AnyCertificate] = [scribe.motion(RENAME), scribe.add_issuer("another")]
    for more in refused:
        with refuses(Rule.C7, "2 motions, key changes and words on motions of this issuer"):
            box.add(Entry(more), START_MS + 1)
    taken: list[AnyCertificate] = [scribe.motion(RENAME, "ben"), scribe.statement()]
    for other in taken:
        box.add(Entry(other), START_MS + 1)
    scribe.forge(waiting[0])
    box.tip_advanced([waiting[0]], scribe.state)
    box.add(Entry(scribe.motion(RENAME)), START_MS + 2)
    with refuses(Rule.C7):
        box.add(Entry(scribe.motion(RENAME)), START_MS + 2)


def test_few_words_of_one_key_wait_whatever_it_says(scribe: GovernedScribe) -> None:
    scribe.forge(motion := scribe.motion(RENAME))
    box = box_of(scribe, scribe.approval(motion, "ben"), scribe.objection(motion, "ben"), box_moves_per_issuer=2)
    refused_by(Rule.C7, box, scribe.approval(motion, "ben"))
    put(box, scribe.approval(motion, "cy"))


def test_who_stole_one_key_of_an_organisation_keeps_the_other_key_from_nothing(scribe: GovernedScribe) -> None:
    scribe.decide(scribe.organisation_key("ada", "off"), "ada", "ben", "cy")
    box = box_of(scribe, scribe.motion(RENAME), scribe.statement(), box_moves_per_issuer=1)
    refused_by(Rule.C7, box, scribe.motion(RENAME))
    put(box, scribe.rotation("ada", "new", by="off"))


def test_the_bytes_of_one_keys_motions_are_bounded_payloads_included(scribe: GovernedScribe) -> None:
    words = payload("why")
    fields = [RENAME, START_MS + HOUR_MS]
    motions = [issue_decision(Motion, NAMES["ada"], scribe.ledger_id, START_MS + n, fields, words) for n in range(2)]
    most = 2 * len(motions[0].encoded) + len(encode(words))
    box = box_of(scribe, box_move_bytes_per_issuer=most)
    box.add(Entry(motions[0], words), START_MS + 1)
    with refuses(Rule.C7, f"the {most} bytes for motions"):
        box.add(Entry(motions[1], words), START_MS + 1)
    box.erase_payload(words.hash())
    box.add(Entry(motions[1], words), START_MS + 1)


# ---- what is looked at with every block ----------------------------------------------------------------------------


def revocations(scribe: GovernedScribe, target: Statement, by: str, count: int) -> list[AnyCertificate]:
    issuer = scribe.key(by).public_key
    return [Revocation(issuer, START_MS + n, "", None, target.id, Effect.REVOKED, 1) for n in range(count)]


def test_an_organisation_revokes_a_thousand_diplomas_at_once(scribe: GovernedScribe) -> None:
    scribe.forge(target := scribe.statement())
    assert len(box_of(scribe, *revocations(scribe, target, "ada", 1_000))) == 1_000


def test_few_decisions_of_one_organisation_wait(scribe: GovernedScribe) -> None:
    """Each of them is looked at again with every block."""
    scribe.forge(scribe.add_issuer("office"), target := scribe.statement(), other := scribe.statement("ben"))
    waiting: list[AnyCertificate] = [scribe.revocation(target), scribe.erasure(target, "office")]
    box = box_of(scribe, *waiting, box_decisions_per_issuer=2)
    said = "2 revocations, supersessions and erasures of ada wait already; submit it again later"
    refused_by(Rule.C7, box, scribe.revocation(target, "office"), said)
    refused_by(Rule.C7, box, scribe.erasure(target), said)
    put(box, scribe.revocation(other, "ben"), scribe.statement(), scribe.motion(RENAME))
    block = scribe.forge(waiting[1])
    box.tip_advanced(block.certificates, scribe.state)
    put(box, scribe.erasure(target))


def test_few_decisions_of_all_who_are_in_no_organisation_wait() -> None:
    """They may be as many keys as somebody likes."""
    scribe = GovernedScribe(directory_genesis(anybody_certifies=True))
    for name in ("x", "y"):
        scribe.key(name)
    targets = {name: scribe.statement(name) for name in ("x", "y", "ben")}
    scribe.forge(*targets.values())
    waiting = [scribe.revocation(targets[name], name) for name in ("x", "y")]
    box = box_of(scribe, *waiting, box_decisions_of_outsiders=2)
    refused_by(
        Rule.C7, box, scribe.erasure(targets["x"], "x"), "2 revocations, supersessions and erasures of keys in no"
    )
    put(box, scribe.revocation(targets["ben"], "ben"), scribe.statement("x"))


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
