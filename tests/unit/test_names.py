"""Names are folded by one frozen table: look-alikes fold alike, other names stay apart, what is no name is refused."""

import json
import unicodedata
from hashlib import sha256
from importlib import resources
from itertools import pairwise

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.builders import refuses
from tests.vectors.names import NAMES
from tools.make_folding import Folding, decomposed, is_dropped, script

from tallystick.ledger import names
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.names import FOLDING, FOLDING_HASH, fold

FILE = resources.files("tallystick.ledger").joinpath(FOLDING).read_bytes()
TABLE = json.loads(FILE)
SYLLABLES = range(0xAC00, 0xD7A4)

needs_unicode_14 = pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="another Unicode version")


def characters(codes):
    for one in codes.split():
        first, _, last = one.partition("-")
        yield from map(chr, range(int(first, 16), int(last or first, 16) + 1))


ITSELF = dict.fromkeys(characters(TABLE["itself"]))
CLASSES = {name: set(characters(codes)) for name, codes in TABLE["classes"].items()}
FOLDED = {one: text for text, codes in TABLE["folded"].items() for one in characters(codes)}
KNOWN = {one: one for one in ITSELF} | FOLDED | {chr(one): unicodedata.normalize("NFD", chr(one)) for one in SYLLABLES}
DECLARED_DROPPED = CLASSES["dropped_marks"] | CLASSES["punctuation"]

characters_of_names = st.one_of(
    st.sampled_from(sorted(FOLDED)),
    st.sampled_from(sorted(KNOWN)),
    st.sampled_from(sorted(CLASSES["marks"])),
    st.sampled_from("aeiou 'éкαर्शがｶﾞ한"),
)
likely_names = st.text(characters_of_names, min_size=1, max_size=12)


def folding(name):
    """None where the name is refused, by the only rule that may do so."""
    try:
        return fold(name)
    except Refused as refused:
        assert refused.rule is Rule.D2  # noqa: PT017
        return None


def test_the_table_is_the_frozen_one():
    assert sha256(FILE).hexdigest() == FOLDING_HASH
    assert TABLE["unicode"] == "14.0.0"
    assert FILE.isascii()


def test_another_table_is_not_used(monkeypatch):
    monkeypatch.setattr(names, "FOLDING_HASH", "00" * 32)
    names._table.cache_clear()
    with pytest.raises(ImportError, match=r"folding\.json is not the one of this version"):
        fold("Torino")


@pytest.mark.parametrize(
    "alike",
    [
        ["Università di Torino", "Universita di Torino", "UNIVERSITÀ DI TORINO", "Universita\u0300 di Torino"],
        ["Torino", "Тorino", "Tоrinо", "Tοrino", "Ｔｏｒｉｎｏ", "T0r1no", "Torıno", "TORİNO", "Tørino", "Torlno"],
        ["NATO", "ΝΑΤΟ", "NАТО", "N.A.T.O.", "N-A-T-O", "N A T O", "nato"],
        ["Kazan", "Каzan", "ΚΑΖΑΝ", "ĸazan", "\u212aazan"],
        ["Straße", "STRASSE", "STRAẞE", "Strasse"],
        ["L'Aquila", "L’Aquila", "LʼAquila", "LAquila", "L‘Aquila"],
        ["Málaga", "Malaga", "Ma\u0301laga", "Mälaga"],
        ["Ελλάς", "ΕΛΛΑΣ", "Ελλασ"],
        ["Лейпциг", "ЛЕИПЦИГ", "Леипциг"],
        ["Пи", "Πи"],
        ["Œuvre", "Oeuvre", "œuvre"],
        ["Col·legi", "Collegi", "Coŀlegi"],
        ["Lab 12", "Lab १२", "Lab １２"],
        ["מכון 12", "מכון ١٢"],
        ["ガス", "ｶﾞｽ", "カ\u3099ス"],
        ["서울", "\u1109\u1165\u110b\u116e\u11af"],
        ["שלום", "שָׁלוֹם"],
        ["محمد", "مُحَمَّد"],
        ["क़लम", "\u0958लम"],
        ["กำ", "ก\u0e4d\u0e32"],
        ["თბილისი", "ᲗᲑᲘᲚᲘᲡᲘ"],
        ["Երևան", "ԵՐԵՒԱՆ"],
    ],
    ids=lambda alike: alike[0],
)
def test_look_alikes_fold_alike(alike):
    assert len({fold(name) for name in alike}) == 1


@pytest.mark.parametrize(
    "apart",
    [
        ["Torino", "Turino", "Tornio", "Torin"],
        ["Bergen", "Bern", "Berger"],
        ["Nova", "Vova", "Lund", "Lynd"],
        ["Lab 2", "Lab 3", "Lab 22"],
        ["東京大学", "東北大学", "京都大学", "东京大学"],
        ["جامعة القاهرة", "جامعة بغداد"],
        ["הטכניון", "האוניברסיטה"],
        ["בן", "בו"],
        ["दिल्ली", "दिल्लि", "दल्ली", "पटना"],
        ["जरा", "ज़रा"],
        ["ป่า", "ป้า", "ปา"],
        ["かき", "がき", "カキ"],
        ["서울", "서을"],
        ["νόμος", "λόγος", "τόμος"],
        ["Кров", "Кровь", "Крот"],
        ["кућа", "куна"],
        ["நகர்", "நகரம்"],
    ],
    ids=lambda apart: apart[0],
)
def test_other_names_stay_apart(apart):
    assert len({fold(name) for name in apart}) == len(apart)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "the name is empty"),
        (" ", "has a space at an end"),
        (" Torino", "has a space at an end"),
        ("Torino ", "has a space at an end"),
        ("Università  di Torino", "two in a row"),
        ("--- .", "the name has no letter and no digit"),
        ("\u0301Torino", "has a mark without its letter"),
        ("\u093eक", "has a mark without its letter"),
        ("\uff9eガ", "has a mark without its letter"),
        ("Torino \u0301a", "has a mark without its letter"),
        ("Torino-\u0301a", "has a mark without its letter"),
        ("Torino תורינו", "mixes directions of writing"),
        ("جامعة Torino", "mixes directions of writing"),
        ("Torino ١", "mixes directions of writing"),
        ("東京 א", "mixes directions of writing"),
        ("ก\u0e48\u0e38", "has marks out of their order"),
        ("क\u094d\u0301\u093c", "has marks out of their order"),
        ("が\u093c", "has marks out of their order"),
        ("Noνara", "has in one word Greek letters"),
        ("Torinσ", "has in one word Greek letters"),
        ("Сυбирь", "has in one word Greek letters"),
        ("Ьank", "has in one word Cyrillic letters"),
        ("La6 Лaб", "has in one word Cyrillic letters"),
    ],
)
def test_what_is_no_name_is_refused(name, reason):
    with refuses(Rule.D2, reason):
        fold(name)


@pytest.mark.parametrize(
    "code",
    [
        *(0x00, 0x09, 0x0A, 0x7F, 0x85),  # controls
        *(0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF),  # unseen
        *(0x200E, 0x200F, 0x061C, 0x202A, 0x202E, 0x2066, 0x2069),  # directions
        *(0xA0, 0x2003, 0x2028, 0x202F, 0x3000),  # other spaces
        *(0xE000, 0xF8FF, 0x10FFFD),  # private
        *(0x378, 0xFFFF, 0x1FAE8, 0x10FFFF),  # unassigned in Unicode 14.0
        *(0xD800, 0xDFFF),  # halves
        *(0x1F511, 0x2603, 0x2122, 0xA9, 0x24, 0x3C, 0x5B, 0x5F, 0x60, 0x7C, 0x7E),  # signs
        *(0x2177, 0xB2, 0xBD, 0x24C9, 0x1D413),  # other numbers and letters in another dress
        *(0x34F, 0x20DD, 0xFE0F, 0x115F, 0x3164, 0x640, 0x17B4),  # marks and letters that nobody sees
        *(0x1D1B, 0x1C0, 0xA9FF, 0x16A0, 0x10330),  # letters that no name of today has
        *(0xF900, 0x2F800, 0xF73),  # written otherwise in NFC
    ],
    ids=lambda code: f"U+{code:04X}",
)
def test_a_character_outside_of_the_table_is_refused(code):
    with refuses(Rule.D2, f"U+{code:04X} is no character of names"):
        fold(f"To{chr(code)}rino")


def test_every_character_folds_to_something_or_is_declared_as_dropped():
    assert not ITSELF.keys() & FOLDED.keys()
    assert {one for one, text in FOLDED.items() if not text} == DECLARED_DROPPED
    for one in [one for one in KNOWN if one < "\u3400"] + sorted(KNOWN)[::101]:
        text = KNOWN[one]
        assert folding(one) in (text or None, None)
        assert folding(f"東{one}") in (f"東{text}", None)


def test_the_table_is_closed():
    """What a character folds to folds to itself."""
    assert all(part in ITSELF for text in KNOWN.values() for part in text)


def test_everything_that_the_classes_name_is_in_the_table():
    for members in (*CLASSES.values(), *map(set, map(characters, TABLE["orders"]))):
        assert members
        assert members <= KNOWN.keys()


@given(likely_names)
@example("ㅎ")
@example("Ῥόδος")
def test_a_folding_folds_to_itself_or_is_refused(name):
    folded = folding(name)
    assume(folded is not None)
    assert folding(folded) in (folded, None)


@given(st.text(max_size=12))
def test_any_text_is_folded_or_refused(name):
    folded = folding(name)
    assert folded is None or folded == "".join(KNOWN[one] for one in name)


@given(likely_names, st.sampled_from(["NFC", "NFD"]))
@example("Tor\u0323\u0307ino", "NFC")
@example("が\u093c", "NFD")
@example("क\u0958\u094d", "NFC")
def test_composed_and_decomposed_forms_fold_alike_or_are_refused(name, form):
    """One of two forms may be refused: an order of marks, or a character that NFC does away with."""
    folded, other = folding(name), folding(unicodedata.normalize(form, name))
    assert folded == other or None in (folded, other)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_names_fold_alike_in_every_form(name, form):
    assert fold(unicodedata.normalize(form, name)) == fold(name)


def test_every_composed_letter_folds_as_what_it_is_made_of():
    made = {one: unicodedata.normalize("NFD", one) for one in KNOWN}
    for one, of in made.items():
        assert KNOWN[one] == "".join(KNOWN[part] for part in of)
    assert {"é", "й", "\u0958", "が", "한", "\u212b"} <= {one for one, of in made.items() if one != of}


@needs_unicode_14
def test_a_sample_of_the_table_follows_from_unicode():
    """But for the list of look-alikes, which is not kept here: what they stand for has to be what folds to itself."""
    unaware = Folding("")
    assert unaware.allowed == KNOWN.keys()
    for one in sorted(unaware.allowed)[::13]:
        if ord(one) not in SYLLABLES:
            assert KNOWN[one] == "".join(KNOWN[part] for part in unaware.fold(one))
            assert (not KNOWN[one]) == all(map(is_dropped, decomposed(one)))
            assert one in FOLDED or script(one) != "LATIN" or one.casefold() == one
    for codes in TABLE["orders"]:
        assert len({unicodedata.combining(decomposed(one)[-1]) for one in characters(codes)}) == 1


@needs_unicode_14
def test_marks_are_ordered_as_unicode_orders_them():
    orders = [{unicodedata.combining(one) for one in characters(codes)} - {0} for codes in TABLE["orders"]]
    assert all(len(one) == 1 for one in orders)
    assert all(min(one) < min(other) for one, other in pairwise(orders))
