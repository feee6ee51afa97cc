"""The page says of a verdict what `tallystick verify` says, word for word, and shows strange text as it does."""

from functools import partial
from typing import Any

import pytest
from msgspec import to_builtins

from tallystick.api.proof_views import FileVerdict
from tallystick.cli.show import moment_ms
from tallystick.cli.verify import span_ms
from tallystick.cli.verify_words import row_of
from tallystick.cli.words import lasting, many, utc
from tallystick.host.text import printable
from tests.page.expected import CASES
from tests.page.under_node import under_node
from tests.proof_corpus import LISTED, bundle_of, demand_of
from tests.strange_text import MARKUP, STRANGE
from tests.vectors.proof_told import view_of

TIMES = [0, 1, 999, 1_000, 59_999, 951_782_400_000, 1_750_086_400_000, 253_402_300_799_999, 253_402_300_800_000, 2**53]
SPANS = [0, 49, 50, 51, 150, 250, 350, 750, 999, 1_000, 59_999, 60_000, 3_599_999, 3_660_000, 86_399_999, 90_000_000]
VISIBLE = ["", "plain", "Grüße, 東京, עברית, मराठी, ✓ é", r"C:\users \n \u0041 {u}", "👩", MARKUP]


def views() -> list[FileVerdict]:
    """Of each case of the corpus that is judged, in its order."""
    judged = [case for case in CASES if case["exit"] != 6]
    return [view_of(partial(bundle_of, case), demand_of(case), "document.txt", case["proof"]) for case in judged]


def exact(value: Any) -> Any:
    """Whole numbers beyond what JavaScript's have room for as text, which becomes a BigInt."""
    match value:
        case dict():
            return {name: exact(one) for name, one in value.items()}
        case list():
            return [exact(one) for one in value]
        case int() if abs(value) > 2**53:
            return str(value)
    return value


@pytest.fixture(scope="module")
def said() -> list[dict[str, Any]]:
    found = views()
    told: list[dict[str, Any]] = under_node(
        "words_of_corpus.mjs", {"nowMs": LISTED["now_ms"], "views": exact(to_builtins(found))}
    )
    return [{**one, "view": view} for one, view in zip(told, found, strict=True)]


def test_every_verdict_of_the_corpus_is_told_as_verify_tells_it(said: list[dict[str, Any]]) -> None:
    judged = [case for case in CASES if case["exit"] != 6]
    assert [one["lines"] for one in said] == [case["told"] for case in judged]


def test_the_line_of_each_among_many_is_the_same(said: list[dict[str, Any]]) -> None:
    assert [one["row"] for one in said] == [row_of(one["view"], LISTED["now_ms"]) for one in said]


def test_times_spans_and_counts_are_told_the_same() -> None:
    told = under_node("plain_words.mjs", {"times": TIMES, "spans": SPANS, "counts": SPANS})
    assert told["times"] == [utc(one) for one in TIMES]
    assert told["spans"] == [lasting(one) for one in SPANS]
    assert told["counts"] == [many(one, "day") for one in SPANS]


def test_times_and_spans_are_read_as_on_the_command_line() -> None:
    good = {
        "times": [
            "2027-06-30",
            "2027-06-30T12:00",
            "2027-06-30 12:00:01.5+02:00",
            "20270630T12+0200",
            "0",
            "1750086400000",
        ]
    }
    good["spans"] = ["30d", "12h", "90min", "1s", "0s"]
    bad = {
        "times": ["yesterday", "2027-13-01", "2027-06-30T25:00", "-1", "2025-02-30"],
        "spans": ["30", "d", "1.5h", "1 d", "-1d"],
    }
    told = under_node("entered.mjs", good)
    assert told["times"] == [moment_ms(one) for one in good["times"]]
    assert told["spans"] == [span_ms(one) for one in good["spans"]]
    assert under_node("entered.mjs", bad) == {"times": [None] * 5, "spans": [None] * 5}


def test_shares_are_rounded_the_same() -> None:
    pairs = [[part, whole] for whole in (1, 3, 7, 8, 40, 200, 1_000) for part in range(whole + 1)]
    assert under_node("plain_words.mjs", {"shares": pairs})["shares"] == [f"{100 * a / b:.0f}" for a, b in pairs]


def test_strange_text_is_written_out_and_visible_text_stays() -> None:
    known = [chr(code) for code in range(0x3000)]
    texts = [*VISIBLE, *(f"a{one}b" for one in STRANGE.values()), r"\u{202e}", *known]
    assert under_node("plain_words.mjs", {"texts": texts})["texts"] == [printable(one) for one in texts]
