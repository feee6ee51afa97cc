import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from tests.course.people import FIELDS, Diploma, signed, staked

from tallystick.course import Block, Certificate, Refused, StakingOperation, Wallet, now
from tallystick.ledger.errors import Rule

ALICE, BOB = Wallet(), Wallet()


# ---- the assignment, cells 8 to 10 ----------------------------------------------------------------------------------


def test_two_certificates_made_in_a_row_differ():
    made = [Certificate(ALICE.publicKey) for _ in range(2_000)]
    assert len({one.hash() for one in made}) == len({one.timestamp for one in made}) == 2_000


def test_the_clock_hands_out_each_millisecond_once_and_only_forward():
    handed_out = [now() for _ in range(2_000)]
    assert handed_out == sorted(set(handed_out))


def test_certificates_of_one_issuer_and_time_are_the_same():
    one, other = Certificate(ALICE.publicKey), Certificate(ALICE.publicKey)
    assert one != other
    other.timestamp = one.timestamp
    assert one == other
    assert one.equals(other)
    assert hash(one) == hash(other)
    assert isinstance(hash(one), int)
    assert one.hash() == other.hash()


def test_a_set_keeps_one_of_two_same_certificates():
    one, other = Certificate(ALICE.publicKey), Certificate(ALICE.publicKey)
    other.timestamp = one.timestamp
    certificates = {one}
    certificates.add(other)
    assert len(certificates) == 1
    assert other in certificates
    certificates.remove(other)
    assert certificates == set()


def test_the_signature_is_no_part_of_what_a_certificate_says():
    certificate = Certificate(ALICE.publicKey)
    before = certificate.hash()
    ALICE.sign(certificate)
    assert certificate.hash() == before


@pytest.mark.parametrize("stranger", [None, 42, "text", object(), [], Wallet(), float("nan")])
def test_comparing_with_a_stranger_says_no(stranger):
    certificate = Certificate(ALICE.publicKey)
    assert not certificate == stranger  # noqa: SIM201 - `==` itself is what is asked
    assert certificate != stranger
    assert not certificate.equals(stranger)
    assert stranger not in [certificate]


def test_nonsense_equals_itself_only():
    nonsense, other = Certificate("nobody"), Certificate("nobody")
    other.timestamp = nonsense.timestamp
    assert nonsense == nonsense
    assert nonsense != other
    assert nonsense != Certificate(ALICE.publicKey)


# ---- signing and changing -------------------------------------------------------------------------------------------


def test_a_new_certificate_is_unsigned():
    certificate = Certificate(ALICE.publicKey)
    assert certificate.signature == ""
    assert not certificate.is_signed()


def test_only_the_issuers_signature_counts():
    assert signed(ALICE).is_signed()
    assert not signed(BOB, Certificate(ALICE.publicKey)).is_signed()


@pytest.mark.parametrize(
    ("name", "value"),
    [("timestamp", 5), ("issuerPublicKey", BOB.publicKey), ("student", "Eve"), ("grades", {"maths": 6}), ("new", 1)],
    ids=["timestamp", "issuer", "student", "grades", "new"],
)
def test_a_change_after_signing_breaks_the_signature(name, value):
    diploma = signed(ALICE, Diploma(ALICE.publicKey, "Bob", {"maths": 4}))
    assert diploma.is_signed()
    setattr(diploma, name, value)
    assert not diploma.is_signed()


def test_a_change_deep_inside_a_field_breaks_the_signature_and_undoing_it_mends_it():
    diploma = signed(ALICE, Diploma(ALICE.publicKey, "Bob", {"maths": [4]}))
    diploma.grades["maths"].append(6)
    assert not diploma.is_signed()
    diploma.grades["maths"].pop()
    assert diploma.is_signed()


def test_values_that_are_equal_but_of_another_type_are_a_change():
    diploma = signed(ALICE, Diploma(ALICE.publicKey, "Bob", 1))
    for other in (True, 1.0):
        diploma.grades = other
        assert not diploma.is_signed()
    diploma.grades = 1
    assert diploma.is_signed()


def test_a_renamed_field_is_a_change():
    diploma = signed(ALICE, Diploma(ALICE.publicKey, "Bob", 1))
    assert diploma.is_signed()
    diploma.marks = vars(diploma).pop("grades")
    assert not diploma.is_signed()


def test_copies_are_certificates_of_their_own():
    original = signed(ALICE, Diploma(ALICE.publicKey, "Bob", {"maths": 4}))
    original.hash()
    for duplicate in (copy.copy(original), copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
        assert duplicate == original
        assert duplicate.is_signed()
        duplicate.timestamp += 1
        assert duplicate != original
        assert not duplicate.is_signed()


def test_a_wallet_keeps_its_secret():
    wallet = Wallet()
    assert wallet.publicKey not in {Wallet().publicKey, ""}
    assert {wallet: 1}[wallet] == 1
    shown = f"{wallet!r} {vars(wallet)}"
    assert wallet.engine._secret[:32].hex() not in shown
    with pytest.raises(AttributeError):
        wallet.publicKey = "another"  # type: ignore[misc]


@pytest.mark.parametrize("thing", [None, "text", 5, ALICE, [Certificate(ALICE.publicKey)]])
def test_a_wallet_signs_certificates_and_blocks_only(thing):
    with pytest.raises(Refused, match="a wallet signs a Certificate or a Block"):
        ALICE.sign(thing)


# ---- fields of one's own --------------------------------------------------------------------------------------------


@given(FIELDS, FIELDS)
def test_any_fields_survive_the_way_through_the_engine(one, other):
    diploma = signed(ALICE, Diploma(ALICE.publicKey, one, other))
    arrived = Diploma.from_entry(diploma.as_entry())
    assert vars(arrived) == vars(diploma)
    assert arrived.is_signed()
    assert arrived.as_entry() == diploma.as_entry()
    arrived._memo = None  # as if nothing were remembered
    assert arrived.as_entry() == diploma.as_entry()


def test_fields_are_covered_whatever_order_they_were_set_in():
    one: Any = Certificate(ALICE.publicKey)
    other: Any = Certificate(ALICE.publicKey)
    other.timestamp = one.timestamp
    one.first, one.second = {"a": 1, "b": 2}, 2
    other.second, other.first = 2, {"b": 2, "a": 1}
    assert one == other
    other.second = 3
    assert one != other


def test_classes_of_different_names_say_different_things():
    class Degree(Diploma):
        pass

    one, other = Diploma(ALICE.publicKey, "Bob", 1), Degree(ALICE.publicKey, "Bob", 1)
    other.timestamp = one.timestamp
    assert one != other


def test_a_plain_certificate_has_no_payload():
    assert Certificate(ALICE.publicKey).as_entry().payload is None
    assert staked(ALICE, 3).as_entry().payload is None


def _itself():
    loop = list[object]()
    loop.append(loop)
    return loop


NONSENSE = {
    "an object": object(),
    "a set": {1, 2},
    "a function": print,
    "not a number": float("nan"),
    "endless": float("inf"),
    "too large": 2**64,
    "half a character": "\ud800",
    "half a character in a tuple": ("\ud800",),
    "keys that are no text": {1: 2},
    "itself": _itself(),
    "inside": [{"deep": (object(),)}],
    "too long": "x" * 70_000,
}


@pytest.mark.parametrize("value", NONSENSE.values(), ids=NONSENSE.keys())
def test_a_field_that_cannot_be_encoded_is_refused_by_name(value):
    diploma = Diploma(ALICE.publicKey, "Bob", value)
    for use in (diploma.hash, lambda: hash(diploma), lambda: ALICE.sign(diploma)):
        with pytest.raises(Refused) as refused:
            use()
        assert refused.value.rule in (Rule.E1, Rule.E2)
    assert diploma.signature == ""
    assert not diploma.is_signed()
    assert diploma in [diploma]


@pytest.mark.parametrize("key", [None, 42, "", "Alice", b"\1" * 32, "ab" * 31, "AB" * 32, " " + "ab" * 32, "ab " * 32])
def test_an_issuer_that_is_no_key_is_refused(key):
    with pytest.raises(Refused, match=r"issuerPublicKey is .*; it has to be a wallet's publicKey"):
        Certificate(key).hash()


@pytest.mark.parametrize("timestamp", [None, True, 1.5, -1, 2**53, 10**400, "now", object()])
def test_a_timestamp_that_is_none_is_refused(timestamp):
    certificate = Certificate(ALICE.publicKey)
    certificate.timestamp = timestamp
    with pytest.raises(Refused, match=r"timestamp is .*; it has to be a whole number of milliseconds"):
        ALICE.sign(certificate)


@pytest.mark.parametrize("amount", [None, True, 1.0, "5", 2**53, -(2**53), 10**400])
def test_an_amount_that_is_none_is_refused(amount):
    with pytest.raises(Refused, match=r"amount is .*; it has to be a whole number of tokens"):
        ALICE.sign(StakingOperation(ALICE.publicKey, amount))


@pytest.mark.parametrize("signature", [None, 0, "zz", "ab" * 63, b"\1" * 64])
def test_a_signature_that_is_none_is_refused(signature):
    certificate = Certificate(ALICE.publicKey)
    certificate.signature = signature
    with pytest.raises(Refused, match=r"signature is .*; have the issuer's wallet sign it"):
        certificate.hash()


def test_a_subclass_that_forgets_its_parents_init_is_told():
    class Forgetful(Certificate):
        def __init__(self):
            self.note = "hello"

    with pytest.raises(Refused, match=r"Forgetful has no issuerPublicKey; its __init__ has to call super\(\).__init__"):
        Forgetful().hash()


def test_a_subclass_with_slots_is_told():
    with pytest.raises(TypeError, match="remove __slots__"):

        class Slotted(Certificate):
            __slots__ = ("note",)


def test_a_class_name_too_long_is_refused():
    with pytest.raises(Refused, match="give the class a shorter"):
        type("X" * 300, (Certificate,), {})(ALICE.publicKey).hash()


# ---- blocks are certificates too ------------------------------------------------------------------------------------


def _block(*certificates):
    block = Block(ALICE.publicKey, 1, "ab" * 32, list(certificates))
    ALICE.sign(block)
    return block


def test_a_block_is_signed_with_its_certificates():
    block = _block(signed(BOB))
    assert block.is_signed()
    assert block != block.certificateList[0]
    block.certificateList.append(signed(BOB))
    assert not block.is_signed()
    assert isinstance(block, Certificate)


@pytest.mark.parametrize(
    ("name", "value"),
    [("index", 2), ("parentBlockHash", "cd" * 32), ("nonce", 1), ("timestamp", 5), ("issuerPublicKey", BOB.publicKey)],
    ids=["index", "parent", "nonce", "timestamp", "issuer"],
)
def test_a_change_to_a_signed_block_breaks_its_signature(name, value):
    block = _block()
    setattr(block, name, value)
    assert not block.is_signed()


def test_a_change_to_a_certificate_in_a_signed_block_breaks_the_blocks_signature():
    certificate = signed(BOB, Diploma(BOB.publicKey, "Carl", [1]))
    block = _block(certificate, signed(BOB))
    certificate.grades.append(2)
    assert not block.is_signed()
    certificate.grades.pop()
    assert block.is_signed()
    certificate.signature = ""
    assert not block.is_signed()


def test_a_block_keeps_its_own_list_of_certificates():
    certificates = [signed(BOB)]
    block = Block(ALICE.publicKey, 1, "ab" * 32, certificates)
    certificates.append(signed(BOB))
    assert len(block.certificateList) == 1


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("index", True, "index is True; it has to be a whole number"),
        ("index", -1, "index is -1; it has to be a whole number"),
        ("index", 2**70, "it has to be a whole number"),
        ("nonce", 1.5, "nonce is 1.5; it has to be a whole number"),
        ("parentBlockHash", None, r"parentBlockHash is None; it has to be a block's hash\(\)"),
        ("parentBlockHash", "0", r"it has to be a block's hash\(\)"),
        ("certificateList", None, "certificateList is a NoneType; it has to be a list"),
        ("certificateList", {1: 2}, "certificateList is a dict; it has to be a list"),
        ("certificateList", ["text"], "certificateList holds a str; it has to hold certificates"),
        ("note", "hello", "a block's hash does not cover note; put it into a certificate"),
    ],
)
def test_a_nonsensical_block_is_refused_by_name(name, value, told):
    block = Block(ALICE.publicKey, 1, "ab" * 32, [])
    setattr(block, name, value)
    with pytest.raises(Refused, match=told):
        ALICE.sign(block)


def test_a_block_in_a_block_is_refused():
    with pytest.raises(Refused, match="a Block is no certificate"):
        _block(_block())
