"""Policies as c2sp.org/tlog-policy has them, and what they hold of notes."""

from itertools import combinations

import pytest
from tests.builders import ADA, BEN, CY, DOT, STRANGER, refuses

from tallystick.ledger.checkpoint import (
    Checkpoint,
    cosign,
    cosigned_bytes,
    cosigner_key,
    log_key,
    signed_checkpoint,
)
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.note import KeyType, Note, NoteKey, NoteSignature, make_note, parse_key
from tallystick.ledger.tlog_policy import MAX_POLICY_BYTES, MAX_USES, Policy, parse_policy

ORIGIN = "north.example/log"
PEOPLE = {"a": ADA, "b": BEN, "c": CY, "d": DOT}
LOG = f"log {log_key(ORIGIN, ADA.public_key).text}\n"
WITNESSES = "".join(f"witness {name} {cosigner_key(ORIGIN, one.public_key).text}\n" for name, one in PEOPLE.items())
POST_QUANTUM = NoteKey("pq.example", 6, b"q" * 1_312).text


def parsed(rules: str, head: str = LOG + WITNESSES) -> Policy:
    return parse_policy((head + rules).encode(errors="surrogateescape"))


def keys(names: str) -> set[bytes]:
    return {PEOPLE[name].public_key for name in names}


def note(*names: str, origin: str = ORIGIN) -> Note:
    """What these cosigned; the first of them signed as the log, too."""
    head = Checkpoint(origin, 5, b"r" * 32)
    return signed_checkpoint(origin, [cosign(PEOPLE[one], head, 1_000 + n) for n, one in enumerate(names)])


def fulfilled_by(policy: Policy) -> set[str]:
    """The smallest sets of people that are a quorum."""
    sets = ["".join(names) for size in range(5) for names in combinations("abcd", size)]
    held = [one for one in sets if policy.holds(keys(one))]
    return {one for one in held if not any(set(other) < set(one) for other in held)}


@pytest.mark.parametrize(
    ("rules", "quorums"),
    [
        ("quorum none\n", {""}),
        ("quorum b\n", {"b"}),
        ("group g all a b c d\nquorum g\n", {"abcd"}),
        ("group g any a b c d\nquorum g\n", {"a", "b", "c", "d"}),
        ("group g 3 a b c d\nquorum g\n", {"abc", "abd", "acd", "bcd"}),
        ("group x any a b\ngroup y any c d\ngroup z all x y\nquorum z\n", {"ac", "ad", "bc", "bd"}),
        ("group x all a b\ngroup z any x c\nquorum z\n", {"ab", "c"}),
        ("group x all a b\ngroup y 2 x c d\nquorum y\n", {"abc", "abd", "cd"}),
        ("group x all a\nquorum x\n", {"a"}),
        ("group all all a b\ngroup any any all c\nquorum any\n", {"ab", "c"}),
        ("group x any a b\nquorum c\n", {"c"}),
        ("group x all a b\nquorum a\n", {"a"}),
        (f"witness q {POST_QUANTUM}\ngroup x any q a\nquorum x\n", {"a"}),
    ],
)
def test_quorums(rules, quorums):
    assert fulfilled_by(parsed(rules)) == quorums


@pytest.mark.parametrize(
    "rules",
    [
        "  quorum \t a \t\n",
        "\n \t\n# a comment\n\t#another\nquorum a\n",
        "quorum a\ngroup g any b\n",
        "group \udcff\udce2 any a\nquorum \udcff\udce2\n",
        "group é any a\nquorum é\n",
        "group K any b\ngroup \u212a any a\nquorum \u212a\n",
        "# \udcff\nquorum a\n",
        "group #x any a\nquorum #x\n",
        "group x\xa0y any a\nquorum x\xa0y\n",
    ],
)
def test_forms_that_are_legal(rules):
    assert fulfilled_by(parsed(rules)) == {"a"}


def test_urls_may_stand_last():
    head = LOG[:-1] + " https://log.example/\n" + WITNESSES.replace("\n", " https://witness.example/é\n")
    assert fulfilled_by(parsed("quorum a\n", head)) == {"a"}


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ("", "has a quorum"),
        ("quorum a\nquorum a\n", "the one quorum"),
        ("quorum none\nquorum none\n", "the one quorum"),
        ("quorum x\n", "the one quorum"),
        ("quorum a b\n", "known form"),
        ("quorum\n", "known form"),
        ("quorum x\ngroup x any a\n", "the one quorum"),
        ("Quorum a\n", "known form"),
        ("quorum a", "control characters"),
        ("quorum a\r\n", "control characters"),
        ("quorum a\x00\n", "control characters"),
        ("quorum a\x7f\n", "control characters"),
        ("quorum a\x0b\n", "control characters"),
        ("quorum a # why\n", "known form"),
        ("policy v1\nquorum a\n", "known form"),
        ("log\nquorum a\n", "known form"),
        ("witness x\nquorum a\n", "known form"),
        ("group x all\nquorum a\n", "known form"),
        ("group x\nquorum a\n", "known form"),
        ("group none any a\nquorum a\n", "other than none"),
        ("group a any b\nquorum a\n", "a name of its own"),
        ("group x any a\ngroup x any b\nquorum a\n", "a name of its own"),
        ("group x any none\nquorum a\n", "of a line before"),
        ("group x any x\nquorum a\n", "of a line before"),
        ("group x any y\ngroup y any a\nquorum a\n", "of a line before"),
        ("group x any a a\nquorum a\n", "member stands in a line before"),
        ("group x any a\ngroup y any a\nquorum a\n", "member stands in a line before"),
        ("group x 0 a b\nquorum a\n", "from 1 to that of its members"),
        ("group x 3 a b\nquorum a\n", "from 1 to that of its members"),
        ("group x 01 a b\nquorum a\n", "from 1 to that of its members"),
        ("group x +1 a b\nquorum a\n", "from 1 to that of its members"),
        ("group x \u0661 a b\nquorum a\n", "from 1 to that of its members"),
        ("group x 1.0 a b\nquorum a\n", "from 1 to that of its members"),
        ("group x most a b\nquorum a\n", "from 1 to that of its members"),
        ("group x 99999999999999999999 a b\nquorum a\n", "from 1 to that of its members"),
        (f"witness x {cosigner_key('other', ADA.public_key).text}\nquorum a\n", "witness stands in a line before"),
        (f"witness a {cosigner_key('other', STRANGER.public_key).text}\nquorum a\n", "a name of its own"),
        (f"witness x {log_key('other', STRANGER.public_key).text}\nquorum a\n", "signs by a type for cosignatures"),
        (f"log {log_key('other', ADA.public_key).text}\nquorum a\n", "log stands in a line before"),
        ("log north.example+00000000+AAAA\nquorum a\n", "its id follows"),
        (f"witness q {POST_QUANTUM}\nquorum q\n", "types that are not verified here"),
        (f"witness q {POST_QUANTUM}\ngroup x all a q\nquorum x\n", "types that are not verified here"),
    ],
)
def test_what_is_no_policy(rules, reason):
    with refuses(Rule.P1, reason):
        parsed(rules)


def test_a_refusal_tells_the_line():
    with refuses(Rule.P1, "line 7 of the policy: "):
        parsed("# comment\nquorum x\n")


@pytest.mark.parametrize("head", ["", f"log {POST_QUANTUM}\n"])
def test_a_policy_without_a_log_whose_signature_is_verified_is_refused(head):
    with refuses(Rule.P1, "of one log"):
        parsed("quorum none\n", head)


@pytest.mark.parametrize("key_type", [1, 4])
@pytest.mark.parametrize("public_key", [bytes(32), (1).to_bytes(32, "little"), b"k" * 31, b"k" * 33], ids=len)
def test_keys_that_are_none_of_ed25519_are_refused(key_type, public_key):
    kind = "log" if key_type == 1 else "witness x"
    with refuses(Rule.P1, "no point of the main subgroup"):
        parsed(f"{kind} {NoteKey('x.example', key_type, public_key).text}\nquorum a\n")


def test_policies_are_bounded():
    keys_of_others = "".join(
        f"witness w{number} {NoteKey('x', 7, number.to_bytes(4, 'big')).text}\n" for number in range(MAX_USES)
    )
    with refuses(Rule.P1, "one too many"):
        parsed(keys_of_others + "quorum a\n")
    with refuses(Rule.P1, f"at most {MAX_POLICY_BYTES} bytes"):
        parsed("#" * MAX_POLICY_BYTES + "\nquorum a\n")
    assert fulfilled_by(parsed("\n" * 100_000 + "quorum a\n")) == {"a"}


def test_each_of_32_logs_witnesses_and_groups_is_taken():
    lines = [f"log {NoteKey(f'log{n}', 9, bytes([n])).text}" for n in range(31)]
    lines += [f"witness w{n} {NoteKey('x', 9, bytes([n])).text}" for n in range(28)]
    lines += ["group g0 any a", *(f"group g{n} any g{n - 1}" for n in range(1, 32)), "quorum g31"]
    assert fulfilled_by(parsed("\n".join(lines) + "\n")) == {"a"}


# ---- notes ---------------------------------------------------------------------------------------------------


TWO_OF_FOUR = "group g 2 a b c d\nquorum g\n"


def test_a_checkpoint_with_log_and_quorum_passes():
    parsed(TWO_OF_FOUR).check(note("a", "b"))
    parsed("quorum none\n").check(note("a"))


def test_too_few_cosigners_are_no_quorum():
    with refuses(Rule.P7, "no quorum"):
        parsed(TWO_OF_FOUR).check(note("a"))


def test_cosigners_that_are_unknown_do_not_count_and_do_no_harm():
    head = LOG + "".join(line for line in WITNESSES.splitlines(keepends=True) if line[8] in "ab")
    policy = parsed("group g all a b\nquorum g\n", head)
    policy.check(note("a", "b", "c"))
    with refuses(Rule.P7, "no quorum"):
        policy.check(note("a", "c", "d"))


def without(signed: Note, key: NoteKey) -> list[NoteSignature]:
    return [one for one in signed.signatures if one.key_id != key.id]


def test_a_log_must_have_signed():
    signed, log = note("a", "b"), log_key(ORIGIN, ADA.public_key)
    with refuses(Rule.P7, "no log of the policy signed this checkpoint of north.example/log"):
        parsed(TWO_OF_FOUR).check(make_note(signed.text, without(signed, log)))


def test_any_one_of_the_logs_is_enough():
    head = LOG + f"log {log_key(ORIGIN, BEN.public_key).text}\n" + WITNESSES
    signed = note("a", "b")
    for member in (ADA, BEN):
        one_log = make_note(signed.text, without(signed, log_key(ORIGIN, member.public_key)))
        parsed(TWO_OF_FOUR, head).check(one_log)


def test_the_log_signs_for_its_own_origin_only():
    signed = note("a", "b", origin="other.example/log")
    text, ours = signed.text, log_key(ORIGIN, ADA.public_key)
    witnesses = [cosigner_key(ORIGIN, one.public_key) for one in (ADA, BEN)]
    cosigned = [
        key.signature((9).to_bytes(8, "big") + one.sign_note(cosigned_bytes(9, text)))
        for key, one in zip(witnesses, (ADA, BEN), strict=True)
    ]
    forged = make_note(text, [ours.signature(ADA.sign_note(text.encode())), *cosigned])
    with refuses(Rule.P7, "no log of the policy signed this checkpoint of other.example/log"):
        parsed(TWO_OF_FOUR).check(forged)


def spoilt(signed: Note, key: NoteKey, *, is_copy: bool) -> Note:
    """Its last byte changed; in a second line if it is a copy."""
    lines = []
    for one in signed.signatures:
        bad = one._replace(signature=one.signature[:-1] + bytes([one.signature[-1] ^ 1]))
        lines += [one, bad] if is_copy and one.key_id == key.id else [bad if one.key_id == key.id else one]
    return make_note(signed.text, lines)


@pytest.mark.parametrize("is_copy", [False, True])
@pytest.mark.parametrize("make_key", [log_key, cosigner_key])
def test_a_bad_signature_of_a_known_key_rejects_the_note(make_key, is_copy):
    signed = note("a", "b", "c", "d")
    with refuses(Rule.P7, "is not by its key"):
        parsed(TWO_OF_FOUR).check(spoilt(signed, make_key(ORIGIN, ADA.public_key), is_copy=is_copy))
    parsed(TWO_OF_FOUR).check(spoilt(signed, log_key(ORIGIN, DOT.public_key), is_copy=is_copy))  # it is unknown


def test_a_line_twice_counts_once():
    signed = note("a")
    with refuses(Rule.P7, "no quorum"):
        parsed(TWO_OF_FOUR).check(make_note(signed.text, [*signed.signatures, *signed.signatures]))


def test_a_cosignature_stands_for_its_own_time():
    signed, key = note("a", "b"), cosigner_key(ORIGIN, BEN.public_key)
    lines = [
        one._replace(signature=(9).to_bytes(8, "big") + one.signature[8:]) if one.key_id == key.id else one
        for one in signed.signatures
    ]
    with refuses(Rule.P7, "is not by its key"):
        parsed(TWO_OF_FOUR).check(make_note(signed.text, lines))


@pytest.mark.parametrize(("data", "reason"), [(bytes(71), "71 bytes"), (b"\xff" * 72, "of the time")])
def test_a_cosignature_that_is_none_rejects_the_note(data, reason):
    signed, key = note("a", "b"), cosigner_key(ORIGIN, CY.public_key)
    with refuses(Rule.P1, reason):
        parsed(TWO_OF_FOUR).check(make_note(signed.text, [*signed.signatures, key.signature(data)]))


def test_signatures_of_other_types_by_a_known_name_never_count():
    """A key of ML-DSA has another id, and nothing under it is verified."""
    quantum = parse_key(POST_QUANTUM)
    signed = note("a")
    policy = parsed(f"witness q {POST_QUANTUM}\ngroup g 2 a b q\nquorum g\n")
    with refuses(Rule.P7, "no quorum"):
        policy.check(make_note(signed.text, [*signed.signatures, quantum.signature(bytes(2_428))]))
    assert not policy.holds({quantum.public_key, ADA.public_key})


@pytest.mark.parametrize(("data", "reason"), [(bytes(2_427), "2427 bytes"), (b"\xff" * 2_428, "of the time")])
def test_a_signature_by_ml_dsa_that_is_none_rejects_the_note_where_it_cannot_be_verified_too(data, reason):
    """So the verdict on it does not depend on what is installed."""
    rules, signed = f"witness q {POST_QUANTUM}\nquorum a\n", note("a")
    broken = make_note(signed.text, [*signed.signatures, parse_key(POST_QUANTUM).signature(data)])
    for verify in (None, lambda *_: True):
        with refuses(Rule.P1, reason):
            parse_policy((LOG + WITNESSES + rules).encode(), verify).check(broken)


def test_log_signatures_are_no_cosignatures():
    """The same member key makes both; each counts as what it is."""
    signed = note("a", "b")
    only_logs = [one for one in signed.signatures if one.name == ORIGIN]
    with refuses(Rule.P7, "no quorum"):
        parsed(TWO_OF_FOUR).check(make_note(signed.text, only_logs))
    assert {one.type for one in parsed(TWO_OF_FOUR).keys} == {KeyType.LOG, KeyType.COSIGNATURE}


def test_a_note_that_is_no_checkpoint_is_refused():
    with pytest.raises(Refused) as caught:
        parsed("quorum none\n").check(make_note("a letter\n", [log_key(ORIGIN, ADA.public_key).signature(bytes(64))]))
    assert caught.value.rule is Rule.P1
