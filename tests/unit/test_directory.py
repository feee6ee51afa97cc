"""Who is who: organisations, their keys, and from when to when each key counts."""

import pytest
from msgspec.structs import replace
from tests.builders import ADA, BEN, START_MS, STRANGER, Scribe, evidence, refuses
from tests.governed import DAY_MS, GovernedScribe, directory_genesis

from tallystick.ledger.certificate import KeyChange, check_signed, issue
from tallystick.ledger.changes import (
    Admit,
    EndIssuer,
    Rename,
    Role,
    RotateMemberKey,
    SetMemberRole,
    SetMlDsaKey,
    StopRotation,
    sign_admission,
)
from tallystick.ledger.directory import (
    MAX_CHANGES_AN_EPOCH,
    MAX_LIVE_KEYS,
    Directory,
    MlDsaEntry,
    Position,
    organisation_place,
    proven_voters,
)
from tallystick.ledger.encoding import digest, encode
from tallystick.ledger.errors import Rule
from tallystick.ledger.fields import UNSIGNED
from tallystick.ledger.keys import Domain, is_signed
from tallystick.ledger.merkle import EMPTY_ROOT
from tallystick.ledger.motions import Outcome
from tallystick.ledger.state import genesis_state
from tallystick.ledger.transition import next_state

FOUR = ("ada", "ben", "cy", "dot")


@pytest.fixture
def scribe():
    return GovernedScribe()


def next_day(scribe, days=1):
    """A block of statements, so many days later."""
    scribe.forge(scribe.statement(), timestamp_ms=scribe.state.tip.timestamp_ms + round(days * DAY_MS))


# ---- what it holds ----------------------------------------------------------------------------------------------


def test_the_first_directory_holds_the_founders(scribe):
    directory = scribe.state.directory
    assert list(directory.organisations) == list(FOUR)
    assert directory.member_keys == {scribe.key(name).public_key for name in FOUR}
    assert (scribe.entry("ada").role, scribe.entry("ada").since, scribe.entry("ada").until) == (Role.MEMBER, 0, None)
    assert scribe.state.roots.directory == directory.root != EMPTY_ROOT


def test_its_root_is_that_of_a_trie_of_the_encoded_records(scribe):
    scribe.forge(scribe.add_issuer("issuer"))
    directory = scribe.state.directory
    records = {key: encode(entry) for key, entry in directory.keys.items()}
    for one in directory.organisations.values():
        records[digest(b"tallystick.organisation.v1\x00" + encode(one.id))] = encode(one)
    assert dict(directory.trie.items()) == records
    assert organisation_place("ada") in records
    assert Directory.of([*directory.organisations.values()][::-1], directory.keys) == directory
    assert Directory() != directory
    assert not Directory()
    assert hash(Directory()) == hash(Directory.of([], {}))


# ---- who may certify --------------------------------------------------------------------------------------------


def test_a_key_that_is_not_listed_certifies_nothing(scribe):
    known = scribe.statement()
    scribe.forge(known)
    for one in (scribe.statement("stranger"), scribe.revocation(known, "stranger")):
        with refuses(Rule.D1, "no key of an organisation"):
            scribe.forge(one)


def test_evidence_is_legal_from_anybody(scribe):
    scribe.forge(evidence(BEN, STRANGER, genesis=scribe.genesis))
    assert scribe.state.stakes.burned == 10


def test_a_burned_member_certifies_until_it_is_removed(scribe):
    scribe.forge(evidence(BEN, genesis=scribe.genesis))
    scribe.forge(scribe.statement("ben"))
    scribe.decide(scribe.remove("ben"), "ada", "cy", "dot")
    with refuses(Rule.D1, "has ended"):
        scribe.forge(scribe.statement("ben"))


def test_anybody_certifies_where_the_ledger_says_so():
    scribe = GovernedScribe(directory_genesis(anybody_certifies=True))
    scribe.forge(scribe.statement("stranger"))


def test_an_issuer_key_certifies_from_the_next_certificate_on(scribe):
    with refuses(Rule.D1):
        scribe.forge(scribe.statement("issuer"), scribe.add_issuer("issuer"))
    scribe.forge(scribe.statement(), scribe.add_issuer("issuer"), scribe.statement("issuer"))
    assert scribe.entry("issuer").since == 1


def test_an_ended_issuer_key_certifies_nothing_from_that_certificate_on(scribe):
    scribe.forge(scribe.add_issuer("issuer"))
    with refuses(Rule.D1, "has ended"):
        scribe.forge(scribe.end_issuer("issuer"), scribe.statement("issuer"))
    scribe.forge(scribe.statement("issuer"), scribe.end_issuer("issuer"), scribe.statement())
    assert (scribe.entry("issuer").since, scribe.entry("issuer").until) == (0, 2)
    with refuses(Rule.D1):
        scribe.forge(scribe.statement("issuer"))


def test_an_issuer_key_ends_by_block_time_not_by_the_certificates_date(scribe):
    until_ms = scribe.state.tip.timestamp_ms + 1_000
    scribe.forge(scribe.add_issuer("issuer", until_ms=until_ms))
    old = scribe.statement("issuer")
    scribe.forge(scribe.statement("issuer"), timestamp_ms=until_ms - 1)
    with refuses(Rule.D1):
        scribe.forge(old, timestamp_ms=until_ms)


def test_the_member_key_certifies_unless_its_organisation_says_no(scribe):
    scribe.forge(scribe.key_change(SetMemberRole(ADA.public_key, Role.VOTER), "ada"))
    with refuses(Rule.D1, "no issuer key"):
        scribe.forge(scribe.statement("ada"))
    assert scribe.decide(scribe.remove("dot"), *FOUR).epoch.number == 1, "it votes as before"
    scribe.forge(scribe.key_change(SetMemberRole(ADA.public_key, Role.MEMBER), "ada"), scribe.statement("ada"))


def test_an_organisation_key_certifies_nothing(scribe):
    scribe.decide(scribe.organisation_key("ada", "offline"), *FOUR[:3])
    with refuses(Rule.D1, "no issuer key"):
        scribe.forge(scribe.statement("offline"))


def test_an_organisation_without_stake_certifies_and_moves_and_does_not_weigh(scribe):
    scribe.decide(scribe.admit("eve"), *FOUR[:3])
    assert (scribe.state.epoch.total, scribe.stake_of("eve")) == (40, 0)
    scribe.forge(scribe.statement("eve"))
    motion = scribe.motion(scribe.set_stakes(eve=10), "eve")
    scribe.forge(motion, scribe.approval(motion, "ada"), scribe.approval(motion, "ben"))
    assert motion.id in scribe.state.motions.open, "20 of 40 are no quorum"


# ---- admission --------------------------------------------------------------------------------------------------


def without_admission(change):
    return replace(change, admitted=UNSIGNED)


def test_each_key_signs_its_own_admission(scribe):
    changes = [scribe.admit("eve"), scribe.replace_key("ada", "new"), scribe.organisation_key("ada", "offline")]
    for change in changes:
        scribe.forge(scribe.motion(change))
        with refuses(Rule.D3):
            scribe.forge(scribe.motion(without_admission(change)))
    for made in (scribe.add_issuer("issuer"), scribe.rotation("ada", "newer")):
        with refuses(Rule.D3):
            scribe.forge(scribe.key_change(without_admission(made.operation), "ada"))
        scribe.forge(made)
    with refuses(Rule.D3):
        scribe.forge(scribe.motion(replace(changes[2], admitted=None)))


def test_an_admission_of_another_ledger_or_organisation_counts_for_nothing(scribe):
    other = GovernedScribe(directory_genesis((20, 20, 20)))
    good = scribe.admit("eve")
    replayed = other.admit("eve")
    assert replace(replayed, admitted=good.admitted) == good
    with refuses(Rule.D3):
        scribe.forge(scribe.motion(replayed))
    of_ben = scribe.admission("issuer", "ben")
    with refuses(Rule.D3, "did not sign its admission to ada"):
        made = scribe.add_issuer("issuer", "ada")
        scribe.forge(scribe.key_change(replace(made.operation, admitted=of_ben), "ada"))


def test_an_admission_is_no_other_signature_of_the_key(scribe):
    """A statement's signature over the same bytes is not one."""
    signature = scribe.key("eve").sign(Domain.CERTIFICATE, scribe.ledger_id, encode("eve"))
    change = replace(scribe.admit("eve"), admitted=signature)
    with refuses(Rule.D3):
        check_signed(scribe.motion(change), scribe.ledger_id, is_signed)


# ---- a key once, for ever ---------------------------------------------------------------------------------------


def test_a_key_stands_once_in_the_directory_for_ever(scribe):
    scribe.forge(scribe.add_issuer("issuer"), scribe.end_issuer("issuer"))
    scribe.keys.update(eve=scribe.key("issuer"), ben2=BEN)
    for name in ("issuer", "ben2", "ada"):
        with refuses(Rule.D4, "is or was a key of"):
            scribe.forge(scribe.add_issuer(name))
        with refuses(Rule.D4):
            scribe.forge(scribe.rotation("ada", name))
        with refuses(Rule.D4):
            scribe.forge(scribe.motion(scribe.replace_key("ada", name)))
        with refuses(Rule.D4):
            scribe.forge(scribe.motion(scribe.organisation_key("ada", name)))
    with refuses(Rule.D4):
        scribe.forge(scribe.motion(scribe.admit("eve")))


def test_another_organisations_issuer_key_cannot_be_claimed(scribe):
    """Even if the key's owner signs: whose certificates it made is settled by who listed it first."""
    diploma = scribe.statement("issuer")
    scribe.forge(scribe.add_issuer("issuer", "ada"), diploma)
    with refuses(Rule.D4):
        scribe.forge(scribe.add_issuer("issuer", "ben"))
    with refuses(Rule.D6, "changes its own keys alone"):
        scribe.forge(scribe.end_issuer("issuer", "ben"))
    with refuses(Rule.R2):
        scribe.forge(scribe.revocation(diploma, "ben"))
    scribe.forge(scribe.end_issuer("issuer", "ada"))
    with refuses(Rule.D4):
        scribe.forge(scribe.add_issuer("issuer", "ben"))


def test_the_directory_forgets_no_key(scribe):
    scribe.forge(scribe.add_issuer("issuer"), scribe.end_issuer("issuer"))
    scribe.decide(scribe.remove("ada"), *FOUR[:3])
    assert scribe.entry("issuer").organisation == scribe.entry("ada").organisation == "ada"
    assert scribe.state.directory.organisations["ada"].member_key is None
    with refuses(Rule.M2, "already, or was"):
        scribe.keys["new ada"] = scribe.key("x")
        new = scribe.key("x").public_key
        scribe.forge(scribe.motion(Admit("ada", "Another", None, new, 1, 0, scribe.admission("x", "ada")), "ben"))


def test_a_certificate_belongs_to_who_held_its_key_at_its_log_index(scribe):
    scribe.forge(scribe.statement(), scribe.add_issuer("issuer"))
    directory, key = scribe.state.directory, scribe.key("issuer").public_key
    assert [directory.holder(key, index) for index in (0, 1, 10**6)] == [None, "ada", "ada"]
    assert directory.holder(STRANGER.public_key, 5) is None
    assert directory.may_certify(key, Position(0, 2, START_MS))
    assert not directory.may_certify(key, Position(0, 0, START_MS))


# ---- bounds -----------------------------------------------------------------------------------------------------


def test_an_organisation_changes_its_keys_eight_times_an_epoch():
    scribe = GovernedScribe(directory_genesis(epoch_blocks=3, epoch_ms=3, unbonding_blocks=6, unbonding_ms=6))
    scribe.forge(*[scribe.add_issuer(f"issuer {number}") for number in range(8)])
    scribe.forge(scribe.add_issuer("of ben", "ben"))
    for made in (scribe.add_issuer("one more"), scribe.end_issuer("issuer 1"), scribe.rotation("ada", "new")):
        with refuses(Rule.D5, "changed 8 keys in this epoch"):
            scribe.forge(made)
    scribe.forge()
    assert scribe.state.epoch.number == 1
    scribe.forge(scribe.add_issuer("one more"))
    assert scribe.state.directory.organisations["ada"].changes == (1, 1)


def test_an_organisation_has_64_keys_at_most_that_have_not_ended():
    scribe = GovernedScribe(directory_genesis(epoch_blocks=1, epoch_ms=1, unbonding_blocks=6, unbonding_ms=6))
    for start in range(0, MAX_LIVE_KEYS - 1, 8):
        scribe.forge(*[scribe.add_issuer(f"issuer {one}") for one in range(start, min(start + 8, MAX_LIVE_KEYS - 1))])
    assert scribe.state.directory.organisations["ada"].live_keys == 64
    with refuses(Rule.D5, "64 keys"):
        scribe.forge(scribe.add_issuer("one more"))
    with refuses(Rule.D5):
        scribe.forge(scribe.motion(scribe.organisation_key("ada", "offline")))
    scribe.forge(scribe.end_issuer("issuer 5"), scribe.add_issuer("one more"))
    live = [one for one in scribe.state.directory.keys.values() if one.organisation == "ada" and one.until is None]
    assert len(live) == scribe.state.directory.organisations["ada"].live_keys == 64


# ---- an organisation and its keys -------------------------------------------------------------------------------


def test_only_the_member_key_changes_keys_while_there_is_no_organisation_key(scribe):
    scribe.forge(scribe.add_issuer("issuer"))
    for by in ("issuer", "ben", "stranger"):
        with refuses(Rule.D6):
            scribe.forge(scribe.add_issuer("another", "ada", by))
        with refuses(Rule.D6):
            scribe.forge(scribe.end_issuer("issuer", by))
        with refuses(Rule.D6):
            scribe.forge(scribe.rotation("ada", "another", by))
        with refuses(Rule.D6):
            scribe.forge(scribe.key_change(SetMemberRole(ADA.public_key, Role.VOTER), by))
    with refuses(Rule.D6):
        scribe.forge(scribe.end_issuer("never heard of"))


def test_the_organisation_key_alone_changes_keys_once_there_is_one(scribe):
    scribe.decide(scribe.organisation_key("ada", "offline"), *FOUR[:3])
    with refuses(Rule.D6):
        scribe.forge(scribe.add_issuer("issuer", "ada", "ada"))
    with refuses(Rule.D6):
        scribe.forge(scribe.rotation("ada", "new", "ada"))
    scribe.forge(scribe.add_issuer("issuer", "ada", "offline"), scribe.end_issuer("issuer", "offline"))
    motion = scribe.motion(scribe.remove("dot"))
    scribe.forge(motion, scribe.statement("ada"))
    with refuses(Rule.M1):
        scribe.forge(scribe.approval(motion, "offline"))
    scribe.decide(scribe.organisation_key("ada", None), *FOUR[:3])
    assert scribe.entry("offline").until == scribe.state.log.size
    with refuses(Rule.D6):
        scribe.forge(scribe.add_issuer("issuer 2", "ada", "offline"))
    scribe.forge(scribe.add_issuer("issuer 2"))


def test_a_member_key_is_not_ended_but_rotated(scribe):
    with refuses(Rule.D6, "rotated or replaced"):
        scribe.forge(scribe.key_change(EndIssuer(ADA.public_key, None), "ada"))
    scribe.decide(scribe.organisation_key("ada", "offline"), *FOUR[:3])
    with refuses(Rule.D6, "rotated or replaced"):
        scribe.forge(scribe.end_issuer("offline", "offline"))
    other = SetMemberRole(scribe.key("offline").public_key, Role.VOTER)
    with refuses(Rule.D6, "the member key of ada is another"):
        scribe.forge(scribe.key_change(other, "offline"))


def test_what_an_organisation_names_has_to_be_its_own(scribe):
    made = scribe.rotation("ben", "new", "ada")
    with refuses(Rule.D6, "changes its own keys alone"):
        scribe.forge(made)
    stale = RotateMemberKey("ada", BEN.public_key, scribe.key("n").public_key, None, scribe.admission("n", "ada"))
    with refuses(Rule.D6, "the member key of ada is another"):
        scribe.forge(scribe.key_change(stale, "ada"))


def test_a_removed_organisation_changes_nothing(scribe):
    scribe.forge(scribe.add_issuer("issuer"))
    scribe.decide(scribe.organisation_key("ada", "offline"), *FOUR[:3])
    scribe.decide(scribe.remove("ada"), "ben", "cy", "dot")
    for by in ("ada", "offline", "issuer"):
        with refuses(Rule.D6):
            scribe.forge(scribe.add_issuer("another", "ada", by))
    size = scribe.state.log.size
    assert [scribe.entry(name).until for name in ("ada", "offline", "issuer")] == [size] * 3, "at the same index"


def test_a_ledger_without_organisations_has_no_keys_to_change():
    scribe, key = Scribe(), ADA.public_key
    made = issue(KeyChange, ADA, scribe.genesis.ledger_id, START_MS, SetMemberRole(key, Role.VOTER))
    with refuses(Rule.D6):
        next_state(scribe.state, scribe.draft(made).header, [made])


# ---- rotation ---------------------------------------------------------------------------------------------------


def test_a_rotation_by_the_member_key_takes_effect_after_the_delay(scribe):
    scribe.forge(scribe.rotation("ada", "new"))
    start_ms = scribe.state.tip.timestamp_ms
    scribe.forge(scribe.statement("ada"), timestamp_ms=start_ms + DAY_MS - 1)
    assert scribe.member_key("ada") == ADA.public_key
    assert scribe.state.directory.announced[0][0] == "ada"
    epoch = scribe.state.epoch.number
    scribe.forge(scribe.statement("ada"), timestamp_ms=start_ms + DAY_MS)
    assert scribe.member_key("ada") == scribe.key("new").public_key
    assert (scribe.state.epoch.number, scribe.state.directory.announced) == (epoch + 1, ())
    assert scribe.state.epoch.stake(scribe.key("new").public_key) == scribe.stake_of("ada") == 10
    assert scribe.state.epoch.stake(ADA.public_key) == 0
    assert scribe.entry("ada").until == scribe.entry("new").since == scribe.state.log.size
    with refuses(Rule.D1):
        scribe.forge(scribe.statement("ada"))
    scribe.forge(scribe.statement("new"))


def test_the_delay_is_the_ledgers():
    scribe = GovernedScribe(directory_genesis(rotation_delay_ms=5))
    scribe.forge(scribe.rotation("ada", "new"))
    scribe.forge(scribe.statement("ben"), timestamp_ms=scribe.state.tip.timestamp_ms + 4)
    assert scribe.member_key("ada") == ADA.public_key
    scribe.forge(scribe.statement("ben"))
    assert scribe.member_key("ada") == scribe.key("new").public_key
    at_once = GovernedScribe(directory_genesis(rotation_delay_ms=0))
    at_once.forge(at_once.rotation("ada", "new"))
    assert at_once.member_key("ada") == at_once.key("new").public_key


def test_a_rotation_by_the_organisation_key_takes_effect_with_its_block(scribe):
    scribe.decide(scribe.organisation_key("ada", "offline"), *FOUR[:3])
    scribe.forge(scribe.rotation("ada", "new", "offline", since=0))
    assert scribe.member_key("ada") == scribe.key("new").public_key
    assert scribe.state.epoch.number == 2
    assert scribe.entry("ada").compromised_since == 0


def test_an_organisation_rotates_once_in_the_time_of_an_epoch(scribe):
    """Each rotation ends an epoch: one organisation would end one with every block."""
    scribe.decide(scribe.organisation_key("ada", "offline"), *FOUR[:3])
    scribe.forge(scribe.rotation("ada", "new", "offline"))
    rotated_ms, epoch = scribe.state.tip.timestamp_ms, scribe.state.epoch.number
    scribe.forge(scribe.rotation("ada", "newer", "offline"))
    due_ms = rotated_ms + scribe.genesis.params.epoch_ms
    assert scribe.state.directory.organisations["ada"].rotation.due_ms == due_ms
    scribe.forge(scribe.statement("ben"), timestamp_ms=due_ms - 1)
    assert (scribe.member_key("ada"), scribe.state.epoch.number) == (scribe.key("new").public_key, epoch)
    scribe.forge(scribe.statement("ben"), timestamp_ms=due_ms)
    assert (scribe.member_key("ada"), scribe.state.epoch.number) == (scribe.key("newer").public_key, epoch + 1)
    late_ms = due_ms + scribe.genesis.params.epoch_ms
    scribe.forge(scribe.rotation("ada", "newest", "offline"), timestamp_ms=late_ms)
    assert scribe.member_key("ada") == scribe.key("newest").public_key


def test_a_rotation_that_is_off_counts_as_one(scribe):
    """It ends an epoch as well: with a key that is listed meanwhile an organisation would end one with every block."""
    scribe.decide(scribe.organisation_key("ada", "offline"), *FOUR[:3])
    epoch = scribe.state.epoch.number
    for number in range(3):
        name = f"issuer {number}"
        scribe.forge(scribe.rotation("ada", name, "offline"), scribe.add_issuer(name, "ada", "offline"))
    assert scribe.member_key("ada") == ADA.public_key
    assert scribe.state.epoch.number == epoch + 1
    assert scribe.state.directory.organisations["ada"].rotation.due_ms > scribe.state.tip.timestamp_ms + 500_000


def test_a_rotated_key_keeps_its_role():
    scribe = GovernedScribe(directory_genesis(rotation_delay_ms=0))
    scribe.forge(scribe.key_change(SetMemberRole(ADA.public_key, Role.VOTER), "ada"), scribe.rotation("ada", "new"))
    assert scribe.entry("new").role is Role.VOTER


def test_a_thiefs_rotation_is_stopped_by_motion(scribe):
    theft = scribe.rotation("ada", "thief")
    scribe.forge(theft)
    scribe.decide(StopRotation("ada", scribe.key("thief").public_key), "ben", "cy", "dot")
    next_day(scribe, 2)
    assert scribe.member_key("ada") == ADA.public_key
    with refuses(Rule.M2, "has announced no rotation"):
        scribe.forge(scribe.motion(StopRotation("ada", scribe.key("thief").public_key), "ben"))


def test_a_thief_that_announces_another_key_waits_anew(scribe):
    """So a motion to stop the first is void, but nothing is lost: the delay begins again."""
    scribe.forge(scribe.rotation("ada", "thief"))
    motion = scribe.motion(StopRotation("ada", scribe.key("thief").public_key), "ben")
    scribe.forge(motion, scribe.rotation("ada", "thief 2"), timestamp_ms=scribe.state.tip.timestamp_ms + DAY_MS - 9)
    announced_ms = scribe.state.tip.timestamp_ms
    scribe.forge(scribe.approval(motion, "cy"), scribe.approval(motion, "dot"))
    assert scribe.state.decided == {motion.id: Outcome.VOID}
    scribe.forge(scribe.statement("ben"), timestamp_ms=announced_ms + DAY_MS - 1)
    assert scribe.member_key("ada") == ADA.public_key
    scribe.decide(scribe.replace_key("ada", "new", 0), "ben", "cy", "dot")
    assert scribe.member_key("ada") == scribe.key("new").public_key, "the motion was faster"
    assert not scribe.state.directory.announced


def test_a_new_organisation_key_puts_off_what_a_thief_announced(scribe):
    scribe.forge(scribe.rotation("ada", "thief"))
    scribe.decide(scribe.organisation_key("ada", "offline"), "ben", "cy", "dot")
    next_day(scribe, 2)
    assert scribe.member_key("ada") == ADA.public_key


def test_a_removed_organisation_rotates_no_more(scribe):
    scribe.forge(scribe.rotation("ada", "new"))
    scribe.decide(scribe.remove("ada"), "ben", "cy", "dot")
    scribe.forge(scribe.statement("ben"), timestamp_ms=scribe.state.tip.timestamp_ms + 2 * DAY_MS)
    assert scribe.key("new").public_key not in scribe.state.directory.keys


def test_a_rotation_to_a_key_that_is_listed_meanwhile_is_off(scribe):
    """Its owner admitted it to two organisations: the first that lists it has it."""
    scribe.forge(scribe.rotation("ada", "new"), scribe.rotation("ben", "new"))
    next_day(scribe, 2)
    assert scribe.member_key("ada") == scribe.key("new").public_key
    assert scribe.member_key("ben") == BEN.public_key
    assert scribe.state.directory.announced == ()
    assert scribe.stake_of("ben") == 10


def test_a_burned_member_rotates_and_comes_back_when_the_others_say_so(scribe):
    scribe.forge(evidence(BEN, genesis=scribe.genesis), scribe.rotation("ben", "new"))
    next_day(scribe, 2)
    assert scribe.member_key("ben") == scribe.key("new").public_key
    assert scribe.stake_of("ben") == 0
    scribe.decide(scribe.set_stakes(ben=10), "ada", "cy", "dot")
    assert scribe.state.epoch.stake(scribe.key("new").public_key) == 10


# ---- compromised keys -------------------------------------------------------------------------------------------


def test_an_issuer_key_is_compromised_since_an_index_in_one_entry(scribe):
    scribe.forge(scribe.add_issuer("issuer"), scribe.statement("issuer"), scribe.statement("issuer"))
    scribe.forge(scribe.end_issuer("issuer", since=2))
    assert (scribe.entry("issuer").until, scribe.entry("issuer").compromised_since) == (3, 2)


def test_compromise_is_only_ever_found_to_be_earlier(scribe):
    scribe.forge(scribe.add_issuer("issuer"), *[scribe.statement("issuer") for _ in range(5)])
    with refuses(Rule.D6, "the log has come to 6"):
        scribe.forge(scribe.end_issuer("issuer", since=7))
    scribe.forge(scribe.end_issuer("issuer"))
    for since in (None, 6, 7):
        with refuses(Rule.D6, "has ended already"):
            scribe.forge(scribe.end_issuer("issuer", since=since))
    for since in (4, 0):
        live_keys = scribe.state.directory.organisations["ada"].live_keys
        scribe.forge(scribe.end_issuer("issuer", since=since))
        assert (scribe.entry("issuer").until, scribe.entry("issuer").compromised_since) == (6, since)
        assert scribe.state.directory.organisations["ada"].live_keys == live_keys
    for since in (None, 0, 3):
        with refuses(Rule.D6, "from 0 on is void"):
            scribe.forge(scribe.end_issuer("issuer", since=since))


def test_a_replaced_member_key_may_turn_out_to_have_been_compromised(scribe):
    scribe.forge(scribe.statement("ada"), scribe.statement("ada"))
    scribe.decide(scribe.replace_key("ada", "new"), "ben", "cy", "dot")
    scribe.keys["old"] = ADA
    scribe.forge(scribe.end_issuer("old", "new", since=1))
    assert scribe.entry("old").compromised_since == 1


def test_no_key_is_compromised_since_an_index_that_is_not_reached(scribe):
    size = scribe.state.log.size
    with refuses(Rule.M2, "the log has come to"):
        scribe.forge(scribe.motion(scribe.replace_key("ada", "new", size + 1)))
    with refuses(Rule.D6, "the log has come to"):
        scribe.forge(scribe.rotation("ada", "new", since=size + 1))
    assert scribe.decide(scribe.replace_key("ada", "new", size), "ben", "cy", "dot").directory
    assert scribe.entry("ada").compromised_since == size


# ---- names ------------------------------------------------------------------------------------------------------


def test_names_are_unique_among_titles_and_ids(scribe):
    for title in ("University of Ben", "UNIVERSITY OF BEN", "BEN"):
        with refuses(Rule.D2, "looks like that of ben"):
            scribe.forge(scribe.motion(scribe.admit("eve", title=title)))
        with refuses(Rule.D2):
            scribe.forge(scribe.motion(rename(title)))
    scribe.decide(rename("Eve"), *FOUR[:3])
    with refuses(Rule.D2, "the name eve looks like that of ada"):
        scribe.forge(scribe.motion(scribe.admit("eve", title="Another")))


def rename(title):
    return Rename("ada", "University of Ada", title, None, None)


def test_a_removed_organisation_keeps_its_name_and_a_renamed_one_gives_its_former_back(scribe):
    scribe.decide(scribe.remove("dot"), *FOUR[:3])
    with refuses(Rule.D2):
        scribe.forge(scribe.motion(scribe.admit("eve", title="University of Dot")))
    scribe.decide(rename("Ada University"), *FOUR[:3])
    assert scribe.state.directory.organisations["ada"].title == "Ada University"
    scribe.decide(scribe.admit("eve", title="University of Ada"), *FOUR[:3])
    again = Directory.of([*scribe.state.directory.organisations.values()], scribe.state.directory.keys)
    assert again == scribe.state.directory


def test_an_organisation_may_be_renamed_to_what_looks_like_its_own_name(scribe):
    scribe.decide(rename("UNIVERSITY OF ADA"), *FOUR[:3])
    assert scribe.state.directory.organisations["ada"].title == "UNIVERSITY OF ADA"


def test_the_genesis_directory_is_that_of_the_first_state():
    genesis = directory_genesis()
    assert genesis_state(genesis).directory == genesis.directory()
    assert sign_admission(ADA, genesis.ledger_id, "ada") != sign_admission(ADA, genesis.ledger_id, "ben")


# ---- ML-DSA keys ------------------------------------------------------------------------------------------------

ML_DSA_KEY, ANOTHER_ML_DSA_KEY = bytes(1_312), bytes([7]) * 1_312


def test_a_member_registers_replaces_and_ends_its_ml_dsa_key(scribe):
    root = scribe.state.directory.root
    scribe.forge(scribe.statement(), scribe.ml_dsa("ada", ML_DSA_KEY))
    assert scribe.state.directory.ml_dsa_key(ADA.public_key) == ML_DSA_KEY
    assert scribe.state.directory.ml_dsa[ADA.public_key] == MlDsaEntry("ada", ML_DSA_KEY, 1)
    assert scribe.state.directory.root != root
    scribe.forge(scribe.ml_dsa("ada", ANOTHER_ML_DSA_KEY))
    assert scribe.state.directory.ml_dsa_key(ADA.public_key) == ANOTHER_ML_DSA_KEY
    scribe.forge(scribe.ml_dsa("ada", None))
    assert scribe.state.directory.ml_dsa_key(ADA.public_key) is None
    assert scribe.state.directory.ml_dsa_key(BEN.public_key) is None
    assert scribe.state.directory.organisations["ada"].live_keys == 1, "it is none of the keys that are counted"


def test_ml_dsa_keys_stand_in_the_trie_at_places_of_their_own(scribe):
    scribe.forge(scribe.ml_dsa("ada", ML_DSA_KEY))
    directory = scribe.state.directory
    place = digest(b"tallystick.pq.v1\x00" + ADA.public_key)
    assert directory.trie.get(place) == encode(MlDsaEntry("ada", ML_DSA_KEY, 0))
    assert directory == Directory.of([*directory.organisations.values()], directory.keys, directory.ml_dsa)
    proofs = [directory.trie.prove(one) for one in (place, ADA.public_key)]
    assert proven_voters(proofs, [ADA.public_key], directory.root) == (
        {ADA.public_key: "ada"},
        {ADA.public_key: ML_DSA_KEY},
    )
    scribe.forge(scribe.ml_dsa("ada", None))
    proofs = [scribe.state.directory.trie.prove(place)]
    assert proven_voters(proofs, [ADA.public_key], scribe.state.directory.root) == ({}, {})


def test_an_ml_dsa_key_that_changes_nothing_is_refused(scribe):
    with refuses(Rule.D7, "so already"):
        scribe.forge(scribe.ml_dsa("ada", None))
    scribe.forge(scribe.ml_dsa("ada", ML_DSA_KEY))
    with refuses(Rule.D7, "so already"):
        scribe.forge(scribe.ml_dsa("ada", ML_DSA_KEY))


def test_two_members_may_list_the_same_ml_dsa_key(scribe):
    """It is of no use: what a key signs names the member key."""
    scribe.forge(scribe.ml_dsa("ada", ML_DSA_KEY), scribe.ml_dsa("ben", ML_DSA_KEY))
    assert scribe.state.directory.ml_dsa_key(BEN.public_key) == ML_DSA_KEY


def test_only_who_changes_an_organisations_keys_sets_its_ml_dsa_key(scribe):
    scribe.forge(scribe.add_issuer("issuer"))
    for by in ("issuer", "ben", "stranger"):
        with refuses(Rule.D6):
            scribe.forge(scribe.ml_dsa("ada", ML_DSA_KEY, by))
    scribe.decide(scribe.organisation_key("ada", "offline"), *FOUR[:3])
    with refuses(Rule.D6):
        scribe.forge(scribe.ml_dsa("ada", ML_DSA_KEY, "ada"))
    scribe.forge(scribe.ml_dsa("ada", ML_DSA_KEY, "offline"))
    assert scribe.state.directory.ml_dsa_key(ADA.public_key) == ML_DSA_KEY


def test_an_ml_dsa_key_is_of_the_member_key_in_force(scribe):
    scribe.forge(scribe.add_issuer("issuer"), scribe.ml_dsa("ada", ML_DSA_KEY))
    with refuses(Rule.D7, "member key of ada is another"):
        scribe.forge(scribe.key_change(SetMlDsaKey(scribe.key("issuer").public_key, ML_DSA_KEY), "ada"))
    scribe.decide(scribe.replace_key("ada", "new"), *FOUR[1:])
    with refuses(Rule.D7, "member key of ada is another"):
        scribe.forge(scribe.key_change(SetMlDsaKey(ADA.public_key, None), "new"))
    assert scribe.state.directory.ml_dsa_key(scribe.key("new").public_key) is None, "it is registered anew"


def test_changes_of_an_ml_dsa_key_count_among_those_of_an_epoch(scribe):
    for number in range(MAX_CHANGES_AN_EPOCH):
        scribe.forge(scribe.ml_dsa("ada", bytes([number + 1]) * 1_312))
    with refuses(Rule.D5, "changed 8 keys"):
        scribe.forge(scribe.ml_dsa("ada", None))


@pytest.mark.parametrize("size_bytes", [0, 1_311, 1_313])
def test_an_ml_dsa_key_of_another_length_is_refused(scribe, size_bytes):
    with refuses(Rule.E2):
        scribe.ml_dsa("ada", bytes(size_bytes))
