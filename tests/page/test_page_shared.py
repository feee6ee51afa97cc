"""Storage that other pages can write to, as that of pages from disk: what of it counts."""

from hashlib import sha256
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tallystick.ledger.file_statement import FileStatement
from tests.page.chromium import DOCUMENT, LEDGER, OF_ITS_OWN, checked, opened, trust
from tests.page.forged import Forged, forged
from tests.page.test_corpus_in_browser import anchors_of, confirm, dropped, ledger, text_of, to_json_form, write
from tests.page.test_page import VERIFIED, kept
from tests.page.test_page_trust import (
    BY_NAME,
    IS_OLDER,
    NEWER,
    STEPS,
    interrupt,
    shown_by,
    trusting_anew,
    with_proof,
)
from tests.proof_corpus import read

NOT_KNOWN = "the proof starts from an epoch not verified here before"
SINCE_ANCHORS = anchors_of(BY_NAME["since-valid"]["demand"])


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Forged:
    """What another page has made for the corpus's ledger."""
    about = FileStatement("document.txt", len(DOCUMENT), sha256(DOCUMENT).digest())
    return forged(tmp_path_factory.mktemp("forged"), about)


def plant(page: Page, made: Forged, **changed: Any) -> None:
    """Another page writes that the forger's header was verified of the true ledger."""
    write(page, text_of([ledger(LEDGER, **{"anchors": [to_json_form(made.anchor)], **changed})]))


def judged(page: Page, data: bytes) -> list[str]:
    return dropped(page, {"document.txt": DOCUMENT, "document.txt.tlog-proof": data})


def check_refused(page: Page, made: Forged) -> None:
    """The forged proof is not verified, and a true one of the same ledger is."""
    told = judged(page, made.proof)
    assert page.get_attribute(".card", "data-result") == "not_proven", told
    assert NOT_KNOWN in told[0]
    assert dropped(page, with_proof("base-valid"))[0] == VERIFIED


def test_a_header_that_another_page_planted_does_not_count_by_the_confirmation_of_the_id(
    browser: Browser, planted: Forged
) -> None:
    page = opened(browser)
    plant(page, planted)
    confirm(page)
    check_refused(page, planted)
    checked(page)


def test_a_header_that_another_page_plants_after_the_confirmation_does_not_count(
    browser: Browser, planted: Forged
) -> None:
    page = opened(browser)
    trust(page)
    plant(page, planted)
    check_refused(page, planted)
    plant(page, planted)
    check_refused(page, planted)
    checked(page)


def test_a_header_that_is_planted_with_the_forged_proof_of_it_does_not_count(browser: Browser, planted: Forged) -> None:
    page = opened(browser)
    for own in (planted.proof, read("since-valid.tlog-proof") or b"", b"no proof"):
        page.reload()
        plant(page, planted, shownBy=shown_by(own))
        confirm(page)
        check_refused(page, planted)
    checked(page)


def test_what_this_page_verified_stays_whatever_another_page_writes(browser: Browser, planted: Forged) -> None:
    page = opened(browser)
    trust(page)
    dropped(page, with_proof("early-valid"))
    dropped(page, with_proof("replaced-valid"))
    proofs = [{"shownBy": shown_by(one)} for one in (planted.proof, b"no proof")]
    changes: list[dict[str, Any]] = [{"anchors": []}, {}, *proofs]
    for change in changes:
        plant(page, planted, **change)
        assert IS_OLDER in dropped(page, with_proof("early-valid"))[1]
        assert "Newest verified block: 10" in page.inner_text("#ledgers")
    checked(page)


def test_what_was_verified_before_is_verified_anew_by_the_proof_that_is_kept(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    dropped(page, with_proof("early-valid"))
    dropped(page, with_proof("replaced-valid"))
    (before,) = kept(page)["ledgers"]
    early, newest = before["anchors"]
    page.reload()
    assert "Newest verified block" not in page.inner_text("#ledgers")
    confirm(page)
    page.wait_for_selector("text=Newest verified block: 10")
    assert kept(page)["ledgers"] == [{**before, "anchors": [newest]}], "nothing shows the header before"
    assert IS_OLDER in dropped(page, with_proof("early-valid"))[1]
    page.reload()
    confirm(page)
    assert IS_OLDER in dropped(page, with_proof("early-valid"))[1], "at once"
    write(page, text_of([{**before, "anchors": [early], "shownBy": None}]))
    page.reload()
    confirm(page)
    assert IS_OLDER not in dropped(page, with_proof("early-valid"))[1], "there is no proof of the newest"
    checked(page)


def test_what_another_page_shows_by_a_proof_counts_from_what_this_page_knows(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    since = shown_by(read("since-valid.tlog-proof") or b"")
    write(page, text_of([ledger(LEDGER, anchors=SINCE_ANCHORS, shownBy=since)]))
    assert NOT_KNOWN in dropped(page, with_proof("since-valid"))[0]
    write(page, text_of([ledger(LEDGER, shownBy=shown_by(read("middle-valid.tlog-proof") or b""))]))
    assert dropped(page, with_proof("since-valid"))[0] == VERIFIED
    checked(page)


def test_what_another_tab_showed_by_a_proof_meanwhile_stays(browser: Browser) -> None:
    page = opened(browser)
    newer = shown_by(read("replaced-valid.tlog-proof") or b"")
    for step in range(STEPS):
        page.reload()
        trusting_anew(page)
        interrupt(page, step, text_of([ledger(LEDGER, anchors=NEWER, shownBy=newer)]))
        assert dropped(page, with_proof("early-valid"))[:2] == [VERIFIED, f"  !            {IS_OLDER}"]
        (one,) = kept(page)["ledgers"]
        assert one["shownBy"] == newer
    checked(page)


def test_what_was_removed_and_is_planted_again_counts_once_it_is_confirmed(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    planted_again = page.evaluate("localStorage.getItem('tallystick.trust.v1')")
    page.get_by_role("button", name="Remove corpus").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    write(page, planted_again)
    dropped(page, with_proof("base-valid"))
    assert page.get_attribute(".card", "data-result") == "not_trusted"
    confirm(page)
    page.wait_for_selector("[data-result=verified]")
    write(page, text_of([]))
    write(page, planted_again)
    page.wait_for_selector("[data-result=not_trusted]")
    confirm(page)
    page.wait_for_selector("[data-result=verified]")
    write(page, planted_again.replace('"corpus"', '"another"'))  # whose name the user did not give it
    page.wait_for_selector("[data-result=not_trusted]")
    checked(page)


def test_at_an_address_of_its_own_all_that_was_verified_counts_without_being_asked(browser: Browser) -> None:
    page = opened(browser, address=OF_ITS_OWN)
    trust(page)
    write(page, text_of([ledger(LEDGER, anchors=SINCE_ANCHORS)]))
    assert page.inner_text("#disk-note") == ""
    assert dropped(page, with_proof("since-valid"))[0] == VERIFIED
    page.reload()
    assert page.locator("[data-confirm]").count() == 0
    assert dropped(page, with_proof("since-last-valid"))[0] == VERIFIED
    checked(page)
