"""Trust in a browser: what is poisoned in the storage, other tabs, what is removed meanwhile, and evidence."""

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page

from tallystick.ledger.bundle import extra_codec
from tallystick.ledger.encoding import encode
from tallystick.ledger.tlog_proof import parse_proof
from tests.page.chromium import (
    DOCUMENT,
    FROM,
    LEDGER,
    OF_ITS_OWN,
    ON_DISK,
    checked,
    document,
    file,
    give,
    lines,
    opened,
    proof,
    tab_of,
    trust,
)
from tests.page.test_corpus_in_browser import anchors_of, confirm, dropped, keep, ledger, text_of, write
from tests.page.test_page import OTHER, VERIFIED, drop, kept
from tests.proof_corpus import CASES, read

BY_NAME = {case["name"]: case for case in CASES}
NEWER = anchors_of(BY_NAME["early-older"]["demand"])
"""The header of a later block than that of the proof early-valid."""
IS_OLDER = "A newer block of this ledger was verified here before: a newer proof may say otherwise"
NOT_READ = "Some of what was kept cannot be read, and counts for nothing"
NOT_KEPT = "; it is not kept here: keep both files yourself"
MOST_LEDGERS = 256
MOST_CONFLICTS = 32  # of a ledger
MOST_KEPT_BYTES = 512 * 1024
KEY_BYTES = 34  # of a key in a list of them
STEPS = 3
"""At which other things happen while one of the proofs here is verified."""

WITHOUT_ROOM = """() => {
  localStorage.setItem("tallystick.trust.v1", "\\u03a9".repeat(2_700_000));  // Chromium has room for 5 Mi characters
  dispatchEvent(new StorageEvent("storage"));
}"""
INTERRUPT = """([step, change]) => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const tell = () => window.seen.push(...all("[data-result]").map((one) => one.dataset.result));
  const remove = () => all("#ledgers button").find((one) => one.innerText.startsWith("Remove")).click();
  let left = step;
  if (window.atStep === undefined) {
    const [now, later] = [performance.now.bind(performance), setTimeout];
    let asked = 0;
    performance.now = () => now() + 1_000 * (asked += 1);  // there is time for other things at each step
    window.setTimeout = (then, ms) => later(async () => { await window.atStep?.(); then(); }, ms);
  }
  window.seen = [];
  window.watch?.disconnect();
  window.watch = new MutationObserver(tell);
  window.atStep = () => {
    if ((left -= 1) >= 0) return;
    window.atStep = null;
    if (change === null) ["ask", "do"].forEach(remove);
    else localStorage.setItem("tallystick.trust.v1", change);
    tell();
    window.watch.observe(document.querySelector("#found"), { childList: true, subtree: true });
    return change === null ? new Promise((goOn) => { window.goOn = goOn; }) : undefined;
  };
}"""


def interrupt(page: Page, step: int, change: str | None) -> None:
    """At this step of a verification another tab writes this, of which the page is not told yet. `None`: the user
    presses Remove, and what was being verified goes on at `window.goOn()`. All results shown from then on are noted.

    The page is watched from here on, and not from its start: then the tests' clock would set timers of its own, which
    are no steps.
    """
    page.evaluate(INTERRUPT, [step, change])


def with_proof(name: str, members: bytes | None = None) -> dict[str, bytes]:
    """The document, a proof of the corpus, and what lies beside it."""
    files = {"document.txt": DOCUMENT, "document.txt.tlog-proof": read(f"{name}.tlog-proof") or b""}
    return files if members is None else files | {"document.txt.members": members}


def shown_by(data: bytes) -> dict[str, Any]:
    """A proof, as the page keeps it."""
    return {"proof": b64encode(data).decode(), "members": None}


def with_members(name: str, size_bytes: int) -> dict[str, bytes]:
    """The same with the hand-over in a file beside the proof, both of nearly that size, by keys that no voters name."""
    parsed = parse_proof(read(f"{name}.tlog-proof") or b"")
    extra = extra_codec.decode(parsed.extra or b"")
    assert extra.hand_over is not None
    own, given = parsed._replace(extra=encode(replace(extra, hand_over=None))).encoded.encode(), extra.hand_over
    keys = [number.to_bytes(32) for number in range((size_bytes - len(own) - len(encode(given)) - 2) // KEY_BYTES)]
    members = encode(replace(given, keys=(*given.keys, *keys)))
    return with_proof(name, members) | {"document.txt.tlog-proof": own}


def trusting_anew(page: Page, anchors: Sequence[Any] = ()) -> None:
    """No file is there, and of the ledger these headers are known."""
    page.evaluate("document.querySelector('#clear').click()")
    write(page, text_of([ledger(LEDGER, anchors=anchors)]))
    confirm(page)


def anchors_kept(page: Page) -> Any:
    (one,) = kept(page)["ledgers"]
    return one["anchors"]


def wait(page: Page) -> None:
    """Until all is judged."""
    page.wait_for_selector("#results[aria-busy=false]:not([hidden])")


# ---- what is poisoned -------------------------------------------------------------------------------------------


def poisoned_ledgers() -> list[Any]:
    """What is no ledger, or says of one what cannot be."""
    own = {**NEWER[0], "ledger_id": OTHER}
    rising = [{**own, "index": at, "timestamp_ms": at} for at in range(33)]
    changes: list[dict[str, Any]] = [
        {"ledgerId": "__proto__"},
        {"ledgerId": OTHER.upper()},
        {"ledgerId": [OTHER]},
        {"name": "__proto__"},
        {"name": "<b>"},
        {"name": "ab" * 16},  # like the beginning of an id
        {"name": None},
        {"addedMs": "1"},
        {"addedMs": -1},
        {"addedFrom": {}},
        {"addedFrom": "x" * 201},
        {"title": 1},
        {"anchors": {"__proto__": [], "length": 1}},
        {"anchors": [None]},
        {"anchors": NEWER},  # of the other ledger
        {"anchors": [own, own]},
        {"anchors": [rising[2], {**rising[1], "index": 3}]},  # a later block of an earlier time
        {"anchors": rising},
        {"anchors": [{**own, "index": 0.5}]},
        {"anchors": [{**own, "voters": [[1, 1]]}]},
        {"anchors": [{**own, "voters": own["voters"] * 2_000}]},
        {"shownBy": "proof"},
        {"shownBy": {"proof": "AAAA"}},
        {"shownBy": {"proof": "A=A=", "members": None}},
        {"shownBy": {"proof": "A" * (2 * MOST_KEPT_BYTES + 4), "members": None}},
    ]
    changed = [ledger(OTHER, **{"name": f"poisoned-{at}", **change}) for at, change in enumerate(changes)]
    return [*[None] * MOST_LEDGERS, 1, "text", [], {}, {"__proto__": ledger(OTHER, name="inherited")}, *changed]


def conflict(ledger_id: str = LEDGER, number: int = 0, **changed: Any) -> dict[str, Any]:
    """Evidence, as the page keeps it."""
    refused = {"proof": b64encode(f"proof {number:02}".encode()).decode(), "members": None}
    told = {"ledgerId": ledger_id, "name": "corpus", "seenMs": 1, "reason": "another history", "before": None}
    return {**told, "refused": refused, **changed}


def test_beside_what_is_poisoned_the_good_counts_and_stays(browser: Browser) -> None:
    page = opened(browser)
    doubled = [ledger(LEDGER, name="second"), ledger(OTHER)]  # of the same id, of the same name
    wrong: list[Any] = [
        {"ledgerId": "__proto__"},
        {"name": 1},
        {"seenMs": 1.5},
        {"reason": "x" * 4_001},
        {"refused": 1},
    ]
    evidence: list[Any] = [
        *[None] * MOST_LEDGERS * MOST_CONFLICTS,
        [],
        {},
        *(conflict(**one) for one in wrong),
        conflict(),
    ]
    text = text_of([*poisoned_ledgers(), ledger(LEDGER), *doubled], evidence)
    write(page, text)
    assert NOT_READ in page.inner_text("#storage-note")
    assert page.locator("#ledgers h3").all_inner_texts() == ["corpus"]
    assert page.locator("#conflicts .conflict").count() == 1
    confirm(page)
    assert dropped(page, with_proof("base-valid"))[0] == VERIFIED
    left = kept(page)
    assert [one["name"] for one in left["ledgers"]] == ["corpus"]
    assert len(left["ledgers"][0]["anchors"]) == 1
    assert left["conflicts"] == [conflict()]
    assert page.evaluate("localStorage.getItem('tallystick.trust.v1.damaged')") == text
    assert page.evaluate("Object.keys(Object.prototype).length") == 0
    checked(page)


def test_a_storage_without_any_trust_in_it_is_said_and_set_aside(browser: Browser) -> None:
    page = opened(browser)
    good = text_of([ledger(LEDGER)])
    texts = [
        *("", "no JSON", "null", '"text"', "[]", "1e999", "[" * 100_000, text_of([None] * 10_000)),
        f'{{"__proto__": {good}}}',
        good.replace('"format": 1', '"format": 2'),
        good.replace('"conflicts": []', '"conflicts": {"length": 0}'),
    ]
    give(page, document(), proof("base-valid"))
    for text in texts:
        write(page, text)
        check_nothing_counts(page)
        assert page.evaluate("text => localStorage.getItem('tallystick.trust.v1.damaged') === text", text), text[:80]
    page.evaluate("localStorage.clear()")
    page.evaluate(WITHOUT_ROOM)
    check_nothing_counts(page)
    assert page.evaluate("localStorage.length") == 1, "there is no room for a copy"
    trust(page)
    page.wait_for_selector("[data-result=verified]")
    assert page.inner_text("#storage-note") == ""
    checked(page)


def check_nothing_counts(page: Page) -> None:
    """The page says that it cannot read what is kept, and goes on without it."""
    wait(page)
    assert NOT_READ in page.inner_text("#storage-note")
    assert page.inner_text("#ledgers") == "None yet."
    assert page.get_attribute(".card", "data-result") == "not_trusted"


# ---- what happens meanwhile, and in other tabs ------------------------------------------------------------------


@pytest.mark.parametrize("address", [ON_DISK, OF_ITS_OWN])
def test_what_is_not_trusted_any_more_is_not_verified_and_not_trusted_again(browser: Browser, address: str) -> None:
    page = opened(browser, address=address)
    second = [document("second.txt"), proof("base-valid", "second.txt.tlog-proof")]
    for step in range(STEPS):
        trusting_anew(page, NEWER)
        interrupt(page, step, None)
        drop(page, document(), proof("early-valid"))
        page.evaluate("window.goOn()")
        drop(page, *second)  # shows what came of the first, too
        check_nothing_is_trusted(page)
        trusting_anew(page)
        interrupt(page, step, text_of([]))
        dropped(page, with_proof("base-valid"))
        check_nothing_is_trusted(page)
    trusting_anew(page)
    assert dropped(page, with_proof("base-valid"))[0] == VERIFIED
    interrupt(page, 0, None)
    drop(page, *second)
    check_nothing_is_trusted(page)
    checked(page)


def check_nothing_is_trusted(page: Page) -> None:
    """From the interruption on no file was shown as verified, and no ledger came back."""
    assert set(page.evaluate("window.seen")) == {"not_trusted"}
    assert kept(page)["ledgers"] == []


def test_a_newer_header_that_another_tab_kept_meanwhile_stays(browser: Browser) -> None:
    page = opened(browser, address=OF_ITS_OWN)
    for step in range(STEPS):
        trusting_anew(page)
        interrupt(page, step, text_of([ledger(LEDGER, anchors=NEWER)]))
        assert dropped(page, with_proof("early-valid"))[:2] == [VERIFIED, f"  !            {IS_OLDER}"]
        assert anchors_kept(page) == NEWER
    for name in ("early-conflict-order", "early-conflict-time"):
        case = BY_NAME[name]
        keep(page, case["demand"])
        assert "P4" in dropped(page, with_proof(case["proof"].removesuffix(".tlog-proof")))[1]
        assert anchors_kept(page) == anchors_of(case["demand"])
    checked(page)


def test_two_tabs_heed_each_other_and_neither_goes_back(browser: Browser) -> None:
    page = opened(browser)
    other = tab_of(page.context)
    trust(page)
    other.wait_for_selector("[data-confirm]")
    confirm(other)
    drop(page, document(), proof("early-valid"))
    (early,) = anchors_kept(page)
    drop(other, document(), proof("replaced-valid"))
    assert lines(other)[0] == VERIFIED
    both = anchors_kept(other)
    assert both[0] == early
    assert len(both) == 2
    page.wait_for_selector(f"text={IS_OLDER}")
    drop(page, document("again.txt"), proof("early-valid", "again.txt.tlog-proof"))
    assert anchors_kept(page) == both
    other.get_by_role("button", name="Remove corpus").click()
    other.get_by_role("button", name="Remove", exact=True).click()
    page.wait_for_selector("#results[aria-busy=false] [data-result=not_trusted]")
    assert page.locator("[data-result=verified]").count() == 0
    assert page.inner_text("#status") == "Another tab changed what is trusted. 2 files: 0 verified, 2 not."
    checked(page)


# ---- what is kept -----------------------------------------------------------------------------------------------


def test_evidence_is_bounded_in_size_and_number(browser: Browser) -> None:
    page = opened(browser)
    keep(page, {"ledger": LEDGER, "anchors": []})
    assert dropped(page, with_proof("base-valid"))[0] == VERIFIED
    trusted, another = kept(page)["ledgers"], with_proof("replaced-valid")
    longest, longer = (with_members("replaced-valid", MOST_KEPT_BYTES + more) for more in (0, KEY_BYTES))
    assert dropped(page, longer)[2].endswith(NOT_KEPT)
    assert kept(page)["conflicts"] == []
    assert not dropped(page, longest)[2].endswith(NOT_KEPT)
    (refused,) = kept(page)["conflicts"]
    assert b64decode(refused["refused"]["members"]) == longest["document.txt.members"]

    others = [conflict(OTHER, number) for number in range(MOST_CONFLICTS)]
    own = [conflict(LEDGER, number) for number in range(MOST_CONFLICTS + 1)]
    page.click("#clear")
    write(page, text_of(trusted, [*others, *own[:-2]]))
    assert not dropped(page, another)[2].endswith(NOT_KEPT)
    assert not dropped(page, another)[2].endswith(NOT_KEPT), "it is kept already"
    *before, refused = kept(page)["conflicts"]
    assert before == [*others, *own[:-2]]
    assert refused["refused"] == shown_by(another["document.txt.tlog-proof"])
    page.click("#clear")
    write(page, text_of(trusted, own[:-1]))
    assert page.inner_text("#storage-note") == ""
    assert dropped(page, another)[2].endswith(NOT_KEPT)
    assert kept(page)["conflicts"] == own[:-1]
    write(page, text_of(trusted, own))
    assert NOT_READ in page.inner_text("#storage-note")
    assert page.locator("#conflicts .conflict").count() == MOST_CONFLICTS
    checked(page)


def test_members_beside_a_proof_that_needs_none_are_not_kept_with_it(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    useless = bytes(MOST_KEPT_BYTES)
    assert dropped(page, with_proof("base-valid", useless))[0] == VERIFIED
    assert not dropped(page, with_proof("replaced-valid", useless))[2].endswith(NOT_KEPT)
    (trusted,), (refused,) = kept(page)["ledgers"], kept(page)["conflicts"]
    assert trusted["shownBy"] == refused["before"] == shown_by(read("base-valid.tlog-proof") or b"")
    assert refused["refused"] == shown_by(read("replaced-valid.tlog-proof") or b"")
    checked(page)


def test_what_is_known_of_a_ledger_stays_when_it_is_added_or_imported_again(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    drop(page, document(), proof("early-valid"))
    page.click("#move-details summary")
    with page.expect_download() as download:
        page.click("#export")
    exported = json.loads(Path(download.value.path()).read_text())
    drop(page, document("later.txt"), proof("replaced-valid", "later.txt.tlog-proof"))
    (before,) = kept(page)["ledgers"]
    assert len(before["anchors"]) == 2
    trust(page, name="again")
    page.wait_for_selector("text=corpus is trusted.")
    assert kept(page)["ledgers"] == [before]
    (mine,) = exported["ledgers"]
    exported["ledgers"].append({**mine, "ledgerId": OTHER, "name": "other", "anchors": []})
    page.set_input_files("#import", [file("trust.json", json.dumps(exported).encode())])
    page.get_by_role("button", name="Trust 1 ledger").click()
    page.wait_for_selector("text=1 ledger added; 1 proof of 2 verified anew")
    same, other = kept(page)["ledgers"]
    assert same == before
    assert [other["ledgerId"], other["anchors"], other["shownBy"]] == [OTHER, [], None], "its proof is of another"
    assert other["addedFrom"] == f"imported from trust.json: {FROM}"
    checked(page)
