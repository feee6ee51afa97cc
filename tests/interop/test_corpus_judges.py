"""Torchwood and formats judge our corpus of proofs: they take what is valid, and see what is broken where they look."""

from functools import cache

import pytest
from tests.interop.judges import Judges
from tests.proof_corpus import CASES, accepted_by_others, read

_NUMBERS = "its parser of numbers takes signs and leading zeros"
_BASE64 = "Base64 whose last bits are not zero is taken"
_DUPLICATE = "of several lines of one key only the first counts"
_IGNORED = "a bad cosignature of a known key is let pass, where enough others are good"
_COFACTOR = "Ed25519 is verified without the cofactor, so that an R of mixed order is refused"
KNOWN_DIFFERENCES = {
    "torchwood": {
        "base-index-sign": _NUMBERS,
        "base-index-zero-first": _NUMBERS,
        "base-hash-not-canonical": _BASE64,
        "base-bad-twice": _DUPLICATE,
        "base-torsion-1": _COFACTOR,
        "base-torsion-4": _COFACTOR,
    },
    "formats": {
        "base-no-final-newline": "the last newline may be missing",
        "base-crlf": "lines may end with CR LF",
        "base-index-zero-first": _NUMBERS,
        "base-hash-not-canonical": _BASE64,
        "base-blank-line-signed": "an extension line may be empty",
        "base-extra-too-large": "no line may have more than 64 KiB; none of our valid proofs has one",
        **dict.fromkeys(
            [
                f"base-{name}"
                for name in ("bad-cosignature", "bad-twice", "swapped", "cosignature-short", "time-changed")
            ]
            + [f"base-{name}" for name in ("time-negative", "s-plus-8l", "s-plus-l", "r-identity", "r-not-canonical")],
            _IGNORED,
        ),
    },
}
"""Where a judge says otherwise than the C2SP documents, read strictly, and why. Ours is held to the documents."""


@cache
def by_the_documents() -> dict[str, bool]:
    return {case["name"]: accepted_by_others(case) for case in CASES}


@pytest.mark.parametrize("judge", ["torchwood", "formats"])
def test_a_judge_differs_from_the_documents_only_where_it_is_known_to(judges: Judges, judge):
    said: dict[str, str] = {}
    for policy in sorted({case["others"]["policy"] for case in CASES}):
        asked = [case for case in CASES if case["others"]["policy"] == policy]
        proofs = [(bytes.fromhex(one["others"]["leaf"]), text(one["proof"])) for one in asked]
        answers = getattr(judges, judge)(text(policy), proofs)
        said |= {one["name"]: answer for one, answer in zip(asked, answers, strict=True)}
    assert len(said) == len(CASES)
    differs = {name: answer for name, answer in said.items() if (answer == "ok") != by_the_documents()[name]}
    assert set(differs) == set(KNOWN_DIFFERENCES[judge]), differs


def test_valid_proofs_of_every_family_are_judged():
    valid = {name for name, is_valid in by_the_documents().items() if is_valid}
    assert {case["name"] for case in CASES if case["name"].endswith("-valid")} <= valid
    assert len(by_the_documents()) - len(valid) >= 80


def text(name):
    return read(name).decode(errors="surrogateescape")
