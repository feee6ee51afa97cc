"""A PDF that carries its proof: the page vouches for its first bytes alone; and files for other programs."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tallystick.client.pdf_revision import find_mark
from tests.page.chromium import checked, document, file, give, lines, opened, proof, trust
from tests.page.ledgers import PDF, Certified, attached, certified
from tests.pdfs import by_hand

VECTORS = Path(__file__).parents[1] / "vectors" / "pdf"
SHADOW = b"\n3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>\nendobj\n%%EOF\n"
AS_A_WHOLE = (
    "! diploma.pdf is not verified as a whole: what is certified is the PDF as it was before its proof was attached,"
    f" its first {len(PDF)} bytes; this page does not check what was added after them, tallystick verify does (P16)"
)


@pytest.fixture
def diploma(tmp_path: Path) -> Certified:
    return certified(tmp_path)


def trusting(browser: Browser, diploma: Certified) -> Page:
    page = opened(browser)
    trust(page, diploma.ledger_id)
    return page


def told(page: Page) -> Any:
    """The JSON of the first card."""
    with page.expect_download() as download:
        page.locator("text=Save as JSON").first.click()
    return json.loads(Path(download.value.path()).read_text())


@pytest.mark.parametrize("added", [b"", SHADOW, b" " * (5 << 20)], ids=["exactly", "shadow", "beyond a piece"])
def test_whatever_follows_the_first_bytes_the_file_is_not_verified(
    browser: Browser, diploma: Certified, added: bytes
) -> None:
    page = trusting(browser, diploma)
    give(page, file("diploma.pdf", attached(diploma.older) + added))
    assert page.get_attribute(".card", "data-result") == "certified_part"
    assert "is-verified" not in (page.get_attribute(".card", "class") or "")
    assert page.inner_text(".badge") == "Not verified as a whole: only a part is certified"
    assert page.inner_text("#status") == "diploma.pdf: not verified as a whole: only a part is certified."
    said = lines(page)
    assert said[0] == AS_A_WHOLE
    assert said[3] == f"  What is proven of its first {len(PDF)} bytes:"
    assert f"the PDF as it was before the proof was attached: its first {len(PDF)} bytes" in said[4]
    assert said[-1] == "  proof        attached to the PDF; what else was added to it is not checked here"
    found = told(page)
    (one,) = found["files"]
    assert [found["verified"], one["exit_code"], one["result"], one["failure"]["rule"]] == [
        0,
        12,
        "certified_part",
        "P16",
    ]
    assert [one["is_attached"], one["size_bytes"], one["proven"]["document"]["sha256"]] == [
        True,
        len(PDF),
        one["sha256"],
    ]
    page.click("text=Print statement")
    assert page.text_content("#statement h1") == "Not verified as a whole: only a part is certified"
    checked(page)


def test_the_certified_pdf_is_saved_and_verified(browser: Browser, diploma: Certified) -> None:
    page = trusting(browser, diploma)
    give(page, file("diploma.pdf", attached(diploma.older) + SHADOW))
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the certified PDF").click()
    assert download.value.suggested_filename == "diploma.certified.pdf"
    assert Path(download.value.path()).read_bytes() == PDF
    page.wait_for_selector("[data-result=verified]")
    assert page.locator(".card h3").all_inner_texts()[1].startswith("diploma.certified.pdf is certified by")
    assert page.locator("[data-result=certified_part]").count() == 1
    checked(page)


def test_a_changed_pdf_is_another_document(browser: Browser, diploma: Certified) -> None:
    page = trusting(browser, diploma)
    changed = attached(diploma.older).replace(b"99 99", b"98 99")
    give(page, file("diploma.pdf", changed))
    assert page.get_attribute(".card", "data-result") == "other_document"
    checked(page)


def test_a_mark_at_another_place_is_told(browser: Browser, diploma: Certified) -> None:
    page = trusting(browser, diploma)
    whole = attached(diploma.older)
    twice = whole + whole[len(PDF) :].replace(b"prefix=%d " % len(PDF), b"prefix=%d " % len(whole))
    wrong = {
        "moved.pdf": (b"%PDF-1.7\n" + whole, "changed after certification, or another PDF with a proof is in it"),
        "twice.pdf": (twice, f"a proof was attached to it twice, the second time after {len(whole):,} bytes"),
    }
    for name, (data, said) in wrong.items():
        give(page, file(name, data))
        assert page.get_attribute(".card", "data-result") == "other_document"
        assert said in lines(page)[0]
        assert lines(page)[1] == "  check        P16, nothing but its proof follows the PDF"
        assert page.get_by_role("button", name="Save the certified PDF").count() == 0
        page.click("#clear")
    checked(page)


@pytest.mark.parametrize("before_end", [1, 20, 90])
def test_a_mark_across_the_end_of_a_piece_is_found(browser: Browser, tmp_path: Path, before_end: int) -> None:
    lacking = (4 << 20) - before_end - len(by_hand(more={4: b"(%b)" % (b" " * (4 << 20))}))
    diploma = certified(tmp_path, by_hand(more={4: b"(%b)" % (b" " * ((4 << 20) + lacking))}))
    assert len(diploma.pdf) == (4 << 20) - before_end
    page = trusting(browser, diploma)
    give(page, file("diploma.pdf", attached(diploma.older, diploma.pdf)))
    assert page.get_attribute(".card", "data-result") == "certified_part"
    checked(page)


def test_a_proof_beside_a_pdf_that_carries_one_is_not_looked_at(browser: Browser, diploma: Certified) -> None:
    page = trusting(browser, diploma)
    give(page, file("diploma.pdf", attached(diploma.older)), *diploma.given[1:])
    assert page.locator(".card").count() == 1
    assert lines(page)[0] == AS_A_WHOLE
    assert "diploma.pdf.tlog-proof is not looked at: diploma.pdf carries its proof." in page.inner_text("#waiting")
    page.click("#clear")
    give(page, *diploma.given)
    assert page.get_attribute(".card", "data-result") == "verified", "a PDF without a proof in it is as any document"
    checked(page)


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*-attached.pdf")), ids=lambda path: path.stem)
def test_the_proof_is_found_in_others_pdf_files(browser: Browser, path: Path) -> None:
    page = opened(browser)
    data = path.read_bytes()
    mark = find_mark(data)
    assert mark is not None
    give(page, file("a.pdf", data))
    (one,) = told(page)["files"]
    assert [one["is_attached"], one["size_bytes"]] == [True, mark.prefix_bytes]
    assert one["result"] in ("not_trusted", "no_proof")
    if one["result"] == "not_trusted":
        assert f"  at hand      the first {mark.prefix_bytes:,} bytes, SHA-256 {one['sha256']}" in lines(page)
        trust(page, one["claims"]["ledger_id"])
        page.wait_for_selector("[data-result=other_document]")
        assert page.locator("[data-result=verified]").count() == 0
    checked(page)


def test_a_mirror_renews_the_proof_in_a_pdf(browser: Browser, diploma: Certified) -> None:
    page = trusting(browser, diploma)
    give(page, file("diploma.pdf", attached(diploma.older)))
    diploma.go_on()
    page.set_input_files("#choose-mirror", diploma.mirror())
    page.wait_for_selector("text=Save the newer proof")
    assert lines(page)[0] == AS_A_WHOLE
    assert lines(page)[-1] == "  proof        a newer one, from the mirror mirror"
    checked(page)


# ---- files for other programs -----------------------------------------------------------------------------------


def test_a_time_stamp_beside_a_proof_is_told_and_tells_no_time(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    give(page, file("document.txt.tsr", b"\x30\x03\x02\x01\x00"))
    assert "document.txt.tsr belongs beside a proof that is not here: add document.txt.tlog-proof." in page.inner_text(
        "#waiting"
    )
    give(page, document(), proof("base-valid"))
    assert page.get_attribute(".card", "data-result") == "verified"
    said = "a time stamp token lies beside it; this page does not verify time stamps: tallystick verify"
    assert f"  time stamped {said}" in lines(page)
    (one,) = told(page)["files"]
    assert [one["time_stamp"]["state"], one["time_stamp"]["not_later_ms"]] == ["not_verifiable", None]
    checked(page)


def test_two_checkpoints_that_conflict_are_for_verify(browser: Browser) -> None:
    page = opened(browser)
    give(page, file("log.tlog-conflict", b"tallystick/tlog-conflict@v1\n"))
    assert "log.tlog-conflict holds two checkpoints of one log" in page.inner_text("#waiting")
    assert "tallystick verify log.tlog-conflict" in page.inner_text("#waiting")
    assert page.locator(".card").count() == 0
    give(page, file("other.unknown", b"anything"))
    assert page.get_attribute(".card", "data-result") == "no_proof"
    checked(page)
