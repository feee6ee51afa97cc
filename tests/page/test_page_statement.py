"""The printed statement: of each outcome what the card says, warnings too, and nothing else on the paper."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from tests.page.chromium import OF_ITS_OWN, checked, document, file, give, opened, proof, trust
from tests.page.ledgers import attached, certified
from tests.page.test_corpus_in_browser import CASES, ask, dropped, keep
from tests.page.test_page import drop
from tests.proof_corpus import read

WARNED = ("early-older", "continued-valid", "early-older-not-fresh")
FAILED = ("trust-nobody", "base-empty", "base-bad-cosignature", "issuer-another", "revoked-now", "other-size-compared")
RESULTS = {
    *("verified", "not_trusted", "no_proof", "not_proven"),
    *("other_issuer", "other_document", "not_valid", "not_fresh"),
}
WARNINGS = "[data-warning], #waiting .note.warning"
PRINTED = """warnings => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const seen = (selector) => all(selector).filter((one) => one.checkVisibility()).map((one) => one.innerText);
  const held = (selector) => all(selector).map((one) => one.textContent);
  const asItIs = { outcome: seen(".badge, .card h3"), warned: seen(warnings) };
  all(".card-actions button").find((one) => one.textContent === "Print statement").click();
  const told = {
    onPaper: [...document.body.children].filter((one) => one.checkVisibility()).map((one) => one.id),
    outcome: seen("#statement h1, #statement .sentence"),
    warned: seen("#statement .warned"),
    text: seen("#statement").join(""),
    fields: held(".card [data-told] dd, .card .compared dd, .card .lead"),
    warnings: held(warnings),
  };
  dispatchEvent(new Event("afterprint"));
  return { ...told, asItIs };
}"""


def check_printed(page: Page, result: str, warnings: int) -> None:
    """What the one card says is what is printed, and its warnings are."""
    page.emulate_media(media="print")
    found = page.evaluate(PRINTED, WARNINGS)
    assert page.get_attribute(".card", "data-result") == result
    assert found["onPaper"] == ["statement"]
    assert found["outcome"] == found["asItIs"]["outcome"]
    assert found["warnings"] == found["asItIs"]["warned"], "a page that is printed as it is"
    assert found["warned"] == [f"! {one}" for one in found["warnings"]]
    assert len(found["warned"]) == warnings
    printed = "".join(found["text"].split())
    for text in found["fields"]:
        assert "".join(text.split()) in printed
    page.emulate_media(media="screen")


def test_of_each_outcome_all_that_the_card_says_is_printed(browser: Browser) -> None:
    page = opened(browser, address=OF_ITS_OWN)
    results = set()
    for case in [one for one in CASES if one["name"] in (*WARNED, *FAILED)]:
        demand: dict[str, Any] = case["demand"]
        keep(page, demand)
        ask(page, demand)
        files = {"document.txt.tlog-proof": read(case["proof"]) or b"", "document.txt": document()["buffer"]}
        dropped(page, files)
        result = page.get_attribute(".card", "data-result") or ""
        check_printed(page, result, 1 if case["name"] in WARNED else 0)
        results.add(result)
    assert results == RESULTS
    checked(page)


def test_what_the_page_itself_warns_of_is_printed(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser)
    diploma = certified(tmp_path)
    trust(page)
    trust(page, diploma.ledger_id, "diplomas")
    give(page, file("diploma.pdf", attached(diploma.older)))
    check_printed(page, "certified_part", 0)
    page.click("#clear")
    diploma.go_on()
    give(page, diploma.given[0], file("diploma.pdf.tlog-proof", diploma.newer().proof.encode()))
    check_printed(page, "verified", 0)
    page.set_input_files("#choose-mirror", diploma.mirror(diploma.at_older))
    page.wait_for_selector("text=is older than the one at hand, which counts")
    check_printed(page, "verified", 1)
    page.click("#clear")
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new DOMException('full'); }; }")
    give(page, document(), proof("base-valid"))
    assert "What was verified is not kept." in page.inner_text("#waiting")
    check_printed(page, "verified", 1)
    page.click("#clear")
    page.evaluate("() => { File.prototype.slice = () => { throw new DOMException('gone'); }; }")
    drop(page, document("gone.txt"))
    check_printed(page, "unreadable", 0)
    checked(page)
