"""Attacks on who is who and what is valid: each fails, and would succeed if its rule were broken (docs/threats.md)."""

import inspect
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.builders import ADA, START_MS, refuses
from tests.governed import NAMES, GovernedScribe, directory_genesis
from tests.simulation.campaign.mutants import Replacement, replaced, rewritten
from tests.unit import test_continuation, test_directory, test_erasure, test_motions, test_status, test_transition

from tallystick.ledger import directory, keys, motions
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import Approval, Motion, Objection, issue
from tallystick.ledger.changes import Admission, Effect, Role, SetMemberRole, SetStakes, StakeChange
from tallystick.ledger.continuation import Continuation
from tallystick.ledger.directory import Directory, KeyEntry
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.finality import Finalization
from tallystick.ledger.motions import MAX_OPEN_A_MEMBER, MAX_OPEN_MS, Motions, OpenMotion
from tallystick.ledger.params import MAX_CERTIFICATE_BYTES
from tallystick.ledger.status import Status
from tallystick.ledger.transition import Draft
from tallystick.ledger.vote import FINALIZE, Ballot, cast, tally_of

THREATS = Path(__file__).parents[2] / "docs" / "threats.md"


@pytest.fixture
def scribe() -> GovernedScribe:
    return GovernedScribe()


# ---- attacks that no other test tries ---------------------------------------------------------------------------


def test_a_replaced_key_votes_for_no_block(scribe):
    """Two that stay and the old key are no quorum of four; with the new key they are."""
    scribe.decide(scribe.replace_key("ada", "new"), "ben", "cy", "dot")
    epoch, block = scribe.state.epoch, scribe.draft(scribe.statement("ben"))

    def finalization(*names: str) -> Finalization:
        ballot = Ballot(FINALIZE, epoch.number, 1, block.hash)
        return Finalization(tally_of([cast(scribe.key(one), scribe.ledger_id, ballot) for one in names]), epoch)

    with refuses(Rule.V2, "20 of 40"):
        finalization("ben", "cy", "ada")
    finalization("ben", "cy", "new")


def test_words_and_motions_of_another_ledger_say_nothing(scribe):
    """Its organisations may be the same, with the same keys, and the motion too."""
    other = GovernedScribe(directory_genesis((20, 20, 20)))
    change = SetStakes((StakeChange("ada", 10, 10),))
    motion = issue(Motion, ADA, scribe.ledger_id, START_MS, change, START_MS + MAX_OPEN_MS)
    scribe.forge(motion)
    for replayed in (
        issue(Motion, ADA, other.ledger_id, START_MS + 1, change, START_MS + MAX_OPEN_MS),
        other.approval(motion, "ben"),
        other.objection(motion, "ben"),
        other.key_change(scribe.rotation("ada", "new").operation, "ada"),
        other.statement("ada"),
    ):
        with refuses(Rule.C1):
            scribe.forge(replayed)


def test_a_word_is_not_said_twice_by_another(scribe):
    """A forger keeps an approval back until its member has taken it back, and would have it count as the last word."""
    motion = scribe.motion(scribe.remove("dot"))
    approval, objection = scribe.approval(motion, "ben"), scribe.objection(motion, "ben")
    scribe.forge(motion, scribe.approval(motion, "cy"))
    with refuses(Rule.M4):
        scribe.forge(objection, approval)
    scribe.forge(objection)
    with refuses(Rule.M4):
        scribe.forge(approval)
    assert not scribe.state.decided


def test_what_is_open_takes_a_bounded_part_of_the_state():
    """Whatever members move and say, though they rotate their keys: four motions each, and a word of each member."""
    scribe = GovernedScribe(directory_genesis(rotation_delay_ms=0, anybody_certifies=True))
    for turn, key in enumerate(("{}", "{} again")):
        for name in NAMES:
            by = key.format(name)
            if turn:
                scribe.forge(scribe.rotation(name, by))
            for number in range(MAX_OPEN_A_MEMBER + 1):
                title = f"{name} {turn} {number} ".ljust(64, "x")
                with suppress(Refused):
                    scribe.forge(scribe.motion(scribe.admit(f"{name}-{turn}-{number}", title=title), by))
    for motion_id in scribe.state.motions.open:
        scribe.forge(issue(Objection, scribe.key("ada again"), scribe.ledger_id, START_MS, motion_id))
        scribe.forge(issue(Approval, scribe.key("ben again"), scribe.ledger_id, START_MS, motion_id))
    opened = scribe.state.motions.open
    assert len(opened) == MAX_OPEN_A_MEMBER * len(NAMES)
    assert sum(len(one.encoded) for one in opened.values()) <= len(opened) * (MAX_CERTIFICATE_BYTES + 40 * len(NAMES))


def test_a_thief_with_an_organisations_member_key_changes_none_of_its_keys_if_they_stand_under_an_offline_key(scribe):
    """It adds and ends none, rotates none, changes no role, and takes the offline key away by no motion of its own."""
    scribe.forge(scribe.add_issuer("office"))
    scribe.decide(scribe.organisation_key("ada", "offline"), "ada", "ben", "cy")
    before = scribe.state.directory
    for attempt in (
        scribe.add_issuer("thief's", "ada", "ada"),
        scribe.end_issuer("office", "ada", since=0),
        scribe.rotation("ada", "thief", "ada"),
        scribe.key_change(SetMemberRole(ADA.public_key, Role.VOTER), "ada"),
    ):
        with refuses(Rule.D6):
            scribe.forge(attempt)
    scribe.forge(scribe.motion(scribe.organisation_key("ada", None), "ada"))
    assert scribe.state.directory == before


# ---- all of them ------------------------------------------------------------------------------------------------


def _text(owner: object, name: str, old: str, new: str) -> Callable[[], list[Replacement]]:
    """The rule broken by another text of a function."""
    return lambda: [rewritten(owner, name, (old, new))]


def _call(owner: object, name: str, instead: Callable[..., object]) -> Callable[[], list[Replacement]]:
    """The rule broken by another function."""
    return lambda: [(owner, name, instead)]


_ANY_LEDGER = _text(keys, "signed_bytes", "ledger_id + body", "body")
_NOBODY_ASKED = _call(Draft, "_check_member", lambda self, certificate: None)
_ENDLESS = _call(KeyEntry, "counts_at", lambda self, log_index, timestamp_ms: True)
_COUNTED = "epoch.is_quorum(motion.stake(epoch, 1))"

ATTACKS: dict[str, tuple[Callable[..., object], Callable[[], list[Replacement]]]] = {
    "An outsider certifies": (
        test_directory.test_a_key_that_is_not_listed_certifies_nothing,
        _call(Directory, "check_certifies", lambda self, key, at: self.keys.get(key)),
    ),
    "A name that looks like another's": (
        test_directory.test_names_are_unique_among_titles_and_ids,
        _call(Directory, "_check_name", lambda self, organisation: None),
    ),
    "An admission of another ledger, or for another organisation": (
        test_directory.test_an_admission_of_another_ledger_or_organisation_counts_for_nothing,
        _call(Admission, "check", lambda self, ledger_id, verify: None),
    ),
    "Another's issuer key claimed": (
        test_directory.test_another_organisations_issuer_key_cannot_be_claimed,
        _call(Directory, "_check_new", lambda self, key: None),
    ),
    "Another's diplomas claimed by listing their key later": (
        test_status.test_a_statement_belongs_to_who_held_its_key_at_its_index_not_to_who_lists_the_key_later,
        _text(Directory, "holder", " and entry.since <= log_index", ""),
    ),
    "A certificate by a key that ended in the same block": (
        test_directory.test_an_ended_issuer_key_certifies_nothing_from_that_certificate_on,
        _ENDLESS,
    ),
    "An approval by a key that ended": (
        test_motions.test_the_key_that_a_block_replaces_votes_in_that_block_and_in_none_after,
        _NOBODY_ASKED,
    ),
    "A replaced key's words still count": (
        test_motions.test_a_replaced_key_votes_no_more_and_its_words_count_no_more,
        _call(OpenMotion, "of", lambda self, members: self),
    ),
    "A replaced key still votes for blocks": (
        test_a_replaced_key_votes_for_no_block,
        _text(motions, "moved_stake", "stakes.with_stake(before, 0, context)", "stakes"),
    ),
    "A revocation by an ended key": (test_status.test_an_ended_key_revokes_nothing, _ENDLESS),
    "A revocation of what another certified": (
        test_status.test_no_other_organisation_revokes,
        _call(Draft, "_acts_for", lambda self, actor, held: True),
    ),
    "A revocation revoked": (
        test_status.test_a_revocation_is_not_revoked,
        _text(Blockchain, "publish", 'one.issuer if isinstance(one, Statement) else b""', "one.issuer"),
    ),
    "A revocation weakened": (
        test_status.test_status_only_strengthens,
        _text(Status, "after", "entry.effect <= before.effect", "False"),
    ),
    "A flood of motions": (
        test_motions.test_a_member_has_four_open_motions_at_most,
        _text(Motions, "moved", ">= MAX_OPEN_A_MEMBER", ">= 99"),
    ),
    "A flood of motions by a member that rotates its key": (
        test_motions.test_a_member_that_rotates_its_key_has_no_more_than_four,
        _text(Motions, "moved", "directory.keys[one.member].organisation == mover", "one.member == motion.issuer"),
    ),
    "A state filled with motions and words": (
        test_what_is_open_takes_a_bounded_part_of_the_state,
        _text(Motions, "moved", ">= MAX_OPEN_A_MEMBER", ">= 99"),
    ),
    "Capture by a third of the stake": (
        test_motions.test_a_third_of_the_stake_captures_nothing,
        _text(Motions, "counted", _COUNTED, "3 * motion.stake(epoch, 1) >= epoch.total"),
    ),
    "Two of three remove the third": (
        test_motions.test_the_targets_stake_counts,
        _text(Motions, "counted", _COUNTED, "2 * motion.stake(epoch, 1) >= epoch.total"),
    ),
    "A member raises its own stake": (
        test_motions.test_nobody_raises_its_own_stake,
        _text(Draft, "add", "if governed.directory:", "if False:"),
    ),
    "An approval said twice": (
        test_motions.test_who_approves_twice_counts_once,
        _text(
            Motions,
            "heard",
            "if one[0] != word.issuer]",
            "]",
        ),
    ),
    "An approval that was taken back, said again by another": (
        test_a_word_is_not_said_twice_by_another,
        _text(Motions, "heard", "word.timestamp_ms <= said_ms", "False"),
    ),
    "Approvals counted by the stakes of another epoch": (
        test_motions.test_it_is_counted_by_the_stakes_of_the_epoch_not_by_those_at_the_tip,
        _text(
            Draft,
            "finish",
            ".counted(which, base.epoch, ",
            ".counted(which, dataclasses.replace(base.epoch, stakes=self.governed.stakes), ",
        ),
    ),
    "Approvals for values that changed since": (
        test_motions.test_a_motion_is_void_if_what_it_changes_from_holds_no_more,
        _text(motions, "_check_holds", "now != before", "False"),
    ),
    "Words and motions of another ledger": (test_words_and_motions_of_another_ledger_say_nothing, _ANY_LEDGER),
    "A thief of the member key rotates it at once": (
        test_directory.test_a_rotation_by_the_member_key_takes_effect_after_the_delay,
        _call(Draft, "_due", lambda self, header: list(self.governed.directory.announced)),
    ),
    "A member rotates its key away from evidence": (
        test_transition.test_evidence_against_a_rotated_key_burns_its_successors,
        _call(Directory, "successors", lambda self, key: iter(())),
    ),
    "An organisation ends one epoch after the other by rotating": (
        test_directory.test_an_organisation_rotates_once_in_the_time_of_an_epoch,
        _text(directory, "_rotation_due_ms", "organisation.rotated_ms is None", "True"),
    ),
    "A thief's rotation goes on though the others stop it": (
        test_directory.test_a_thiefs_rotation_is_stopped_by_motion,
        _call(Directory, "stop_rotation", lambda self, organisation_id, key: self),
    ),
    "A thief of the member key changes keys that stand under an organisation key": (
        test_a_thief_with_an_organisations_member_key_changes_none_of_its_keys_if_they_stand_under_an_offline_key,
        _text(
            Directory,
            "_acting",
            "actor != (organisation.organisation_key or organisation.member_key)",
            "actor not in (organisation.organisation_key, organisation.member_key)",
        ),
    ),
    "An order to erase what another certified": (
        test_erasure.test_no_other_organisation_orders,
        _call(Draft, "_acts_for", lambda self, actor, held: True),
    ),
    "An order to erase by a key that may not certify": (
        test_erasure.test_who_may_not_certify_orders_nothing,
        _call(Directory, "check_certifies", lambda self, key, at: self.keys.get(key)),
    ),
    "A confirmation by who is no member": (
        test_erasure.test_a_voter_confirms_and_an_issuer_key_or_a_stranger_does_not,
        _text(Draft, "_check_confirms", "self.governed.directory.member_of(one.issuer) is None", "False"),
    ),
    "A confirmation of a motion that has not passed": (
        test_erasure.test_a_motion_that_has_not_passed_is_no_order,
        _text(Draft, "_check_confirms", "one.order in self.motions.open", "False"),
    ),
    "A log filled with confirmations of one order": (
        test_erasure.test_each_field_beside_order_and_target_is_fixed,
        _text(Draft, "_check_confirms", "one.timestamp_ms or one.subject or one.payload_hash is not None", "False"),
    ),
    "A ledger that says it continues another, by nobody of that": (
        test_continuation.test_somebody_of_the_old_ledger_signs,
        _text(Continuation, "check", "if not signers:", "if False:"),
    ),
    "A consent used for another ledger than was signed": (
        test_continuation.test_a_consent_serves_for_nothing_else,
        _text(Continuation, "check", "not verify(message, signature, key)", "False"),
    ),
}
"""Each with the test in which it fails, and with its rule broken."""


def _try(test: Callable[..., object]) -> None:
    """Run a test with what it asks for, as pytest would."""
    scribe, wanted = GovernedScribe(), inspect.signature(test).parameters
    known: dict[str, object] = {"scribe": scribe, "first": Effect.VOID, "second": Effect.REVOKED}
    known["more"] = {"timestamp_ms": 1}
    if "diploma" in wanted:
        known["diploma"] = diploma = scribe.statement("issuer")
        scribe.forge(scribe.add_issuer("issuer"), diploma)
    if "order" in wanted:
        known["order"] = order = scribe.erasure(diploma)
        scribe.forge(order)
    if "other" in wanted:
        known["other"] = test_continuation.others()[0]
    test(**{name: known[name] for name in wanted})


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_fails_and_would_not_without_its_rule(name):
    test, breaking = ATTACKS[name]
    _try(test)
    with (
        replaced(breaking()),
        pytest.raises((AssertionError, AttributeError, Refused, KeyError, pytest.fail.Exception)),
    ):
        _try(test)


def test_the_documentation_lists_each_attack_and_the_test_in_which_it_fails():
    rows = re.findall(r"^\| (.+?) \| (.+?) \| `(.+?)`, `(.+?)` \|$", THREATS.read_text(encoding="utf-8"), re.MULTILINE)
    said = {name: (file, test) for name, _, file, test in rows}
    root = THREATS.parents[1]
    for name, (test, _) in ATTACKS.items():
        file = Path(inspect.getfile(test)).relative_to(root).as_posix()
        assert said.pop(name) == (file, test.__name__)
    for file, test in said.values():
        assert f"def {test}(" in (root / file).read_text(encoding="utf-8"), test
    for rule in re.findall(r"\b[A-Z]\d+\b", " ".join(rules for _, rules, _, _ in rows)):
        assert rule in Rule.__members__
