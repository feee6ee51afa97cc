"""The page as people use it: files dropped and chosen, what is trusted, what is printed, and what stays out."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from pypdf import PdfReader

from tests.page.chromium import (
    DOCUMENT,
    FROM,
    LEDGER,
    NOW_MS,
    OF_ITS_OWN,
    checked,
    document,
    file,
    give,
    lines,
    opened,
    proof,
    trust,
)
from tests.page.test_corpus_in_browser import confirm, keep
from tests.proof_corpus import CASES, read

VERIFIED = "✓ document.txt is certified by University of Ada (ada)"
OTHER = "ab" * 32
NO_STORAGE = (
    "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } });"
)

_DROP = """async ([target, files]) => {
  const transfer = new DataTransfer();
  for (const [name, bytes] of files) transfer.items.add(new File([new Uint8Array(bytes)], name));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    const how = { bubbles: true, cancelable: true, dataTransfer: transfer };
    document.querySelector(target).dispatchEvent(new DragEvent(kind, how));
  }
  return document.querySelectorAll(".card-actions button:enabled").length;
}"""

_HELD_BACK = """() => {
  const held = new Promise((resume) => {
    window.goOn = async () => {
      resume();
      await new Promise((done) => setTimeout(done));
    };
  });
  Blob.prototype.arrayBuffer = async () => {
    await held;
    return new ArrayBuffer(8);
  };
}"""


def drop(page: Page, *files: Any) -> None:
    savable = page.evaluate(_DROP, ["#drop", [[one["name"], list(one["buffer"])] for one in files]])
    assert savable == 0, "while files are verified, what is shown may not count any more"
    page.wait_for_selector("#results[aria-busy=false]:not([hidden])")


def kept(page: Page) -> Any:
    return json.loads(page.evaluate("localStorage.getItem('tallystick.trust.v1')"))


# ---- files ------------------------------------------------------------------------------------------------------


def test_files_are_put_together_in_any_order_and_added_later(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    drop(page, proof("base-valid"))
    assert (
        lines(page)[0]
        == "✓ document.txt.tlog-proof proves a certificate by University of Ada (ada); no document was compared"
    )
    assert page.inner_text(".badge") == "Verified, no document"
    drop(page, document())
    assert lines(page)[0] == VERIFIED
    assert page.locator(".card").count() == 1
    checked(page)


def test_what_belongs_beside_a_proof_waits_for_it(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    drop(page, file("document.txt.payload", read("base-payload-beside.payload") or b""), document())
    assert "document.txt.payload belongs beside a proof that is not here" in page.inner_text("#waiting")
    assert page.get_attribute(".card", "data-result") == "no_proof"
    drop(page, proof("base-payload-beside"))
    assert page.inner_text("#waiting") == ""
    assert lines(page)[0] == VERIFIED
    checked(page)


def test_a_proof_of_another_name_is_found_by_the_hash_or_chosen(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    give(page, document("renamed.pdf"), proof("base-valid", "download (1).tlog-proof"))
    assert lines(page)[0] == VERIFIED.replace("document.txt", "renamed.pdf")
    page.click("#clear")
    give(page, document("changed.pdf", b"changed"), proof("base-valid", "download (1).tlog-proof"))
    page.get_by_label("Its proof is").select_option(label="download (1).tlog-proof")
    page.get_by_role("button", name="Use", exact=True).click()
    page.wait_for_selector("[data-result=other_document]")
    assert page.locator(".card").count() == 1
    told = page.inner_text(".failure")
    assert hashlib.sha256(DOCUMENT).hexdigest() in told
    assert hashlib.sha256(b"changed").hexdigest() in told
    checked(page)


def test_a_large_document_is_hashed_in_pieces(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser)
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(range(256)) * 50_000)
    page.set_input_files("#choose", large)
    page.wait_for_selector("#results[aria-busy=false]:not([hidden])")
    with page.expect_download() as download:
        page.click("text=Save as JSON")
    told = json.loads(Path(download.value.path()).read_text())
    assert told["files"][0]["sha256"] == hashlib.sha256(large.read_bytes()).hexdigest()
    assert told["files"][0]["size_bytes"] == large.stat().st_size
    checked(page)


def test_many_files_are_a_table_that_is_filtered_and_opened(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    names = ("base-valid", "base-bad-cosignature", "stake-valid", "base-three-of-four")
    several = [one for name in names for one in (document(f"{name}.txt"), proof(name, f"{name}.txt.tlog-proof"))]
    give(page, *several, document("lonely.txt", b"other"))
    assert page.inner_text(".summary") == "5 files: 2 verified, 3 not"
    assert page.inner_text("#status") == "5 files: 2 verified, 3 not."
    rows = page.locator("tr.line:visible")
    page.get_by_text("Not verified", exact=True).click()
    assert rows.count() == 3
    page.get_by_label("Name has").fill("lone")
    assert [rows.count(), rows.get_by_role("button").inner_text()] == [1, "lonely.txt"]
    rows.get_by_role("button").click()
    assert rows.get_by_role("button").get_attribute("aria-expanded") == "true"
    assert page.get_attribute(".card", "data-result") == "no_proof"
    checked(page)


def test_a_forged_file_of_the_same_name_size_and_time_is_judged_for_itself(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser)
    trust(page)
    genuine, forged = tmp_path / "genuine" / "document.txt", tmp_path / "forged" / "document.txt"
    for path, data in ((genuine, DOCUMENT), (forged, DOCUMENT[:-2] + b"X\n")):
        path.parent.mkdir()
        path.write_bytes(data)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    (genuine.parent / "document.txt.tlog-proof").write_bytes(read("base-valid.tlog-proof") or b"")
    page.set_input_files("#choose", [genuine, genuine.parent / "document.txt.tlog-proof"])
    page.wait_for_selector("#results[aria-busy=false] [data-result=verified]")
    page.set_input_files("#choose", [forged])
    page.wait_for_selector("#results[aria-busy=false] [data-result=other_document]")
    assert page.inner_text("#status") == "2 files: 1 verified, 1 not."
    assert "More than one file called document.txt" in page.inner_text("#waiting")
    page.set_input_files("#choose", [forged])
    page.wait_for_selector("#results[aria-busy=false]")
    assert page.locator(".card").count() == 2, "what is given again, and is the same, is one item"
    checked(page)


def test_pairs_of_the_same_names_are_put_together_as_they_were_given(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    give(page, document(), proof("base-valid"))
    give(page, document(data=DOCUMENT + b"!"), file("document.txt.tlog-proof", b"garbage"))
    results = page.eval_on_selector_all(".card", "cards => cards.map((one) => one.dataset.result)")
    assert len(results) == 2
    assert results[0] == "verified"
    assert results[1] != "verified"
    checked(page)


def test_a_verdict_keeps_the_time_at_which_it_was_judged(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    give(page, document(), proof("base-valid"))
    page.clock.set_fixed_time(NOW_MS / 1000 + 400 * 86_400)
    drop(page, document("other.txt", b"x"))
    page.click("text=Print statement >> nth=0")
    assert "2025-06-16 15:06:40" in (page.locator("#statement").text_content() or "")
    checked(page)


def test_what_another_page_on_disk_could_have_kept_counts_once_confirmed(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    page.reload()
    give(page, document(), proof("base-valid"))
    assert page.get_attribute(".card", "data-result") == "not_trusted"
    assert "opened from disk" in page.inner_text("#disk-note")
    confirm(page)
    page.wait_for_selector("[data-result=verified]")
    checked(page)


# ---- trust ------------------------------------------------------------------------------------------------------


def test_nothing_is_trusted_that_was_not_entered(browser: Browser) -> None:
    page = opened(browser)
    give(page, document(), proof("base-valid"))
    assert page.get_attribute(".card", "data-result") == "not_trusted"
    assert "What the file claims, none of which is verified:" in lines(page)[3]
    card = page.locator(".card")
    card.get_by_text("I have the ledger’s id").click()
    for entered, problem in {
        LEDGER[:-1]: "64 hexadecimal digits",
        OTHER: "another ledger than the one whose id you entered",
        LEDGER: "Say where you have the id from",
    }.items():
        card.get_by_label("Ledger id").fill(entered)
        card.get_by_role("button", name="Trust this ledger").click()
        assert problem in card.get_by_role("alert").inner_text()
    assert page.evaluate("localStorage.getItem('tallystick.trust.v1')") is None
    card.get_by_label("Where do you have it from?").fill(FROM)
    card.get_by_label("Ledger id").fill(f"  {LEDGER[:32].upper()} {LEDGER[32:]}\n")
    card.get_by_role("button", name="Trust this ledger").click()
    page.wait_for_selector("[data-result=verified]")
    assert kept(page)["ledgers"][0]["addedFrom"] == FROM
    checked(page)


def test_an_id_that_was_copied_from_the_claims_is_refused(browser: Browser) -> None:
    page = opened(browser, permissions=["clipboard-read", "clipboard-write"])
    give(page, document(), proof("base-valid"))
    page.locator(".claims code").first.dblclick()
    page.keyboard.press("Control+C")
    page.click("#trust-details summary")
    page.locator("#trust-form textarea").focus()
    page.keyboard.press("Control+V")
    page.locator("#trust-form").get_by_label("Where do you have it from?").fill(FROM)
    page.locator("#trust-form").get_by_role("button").click()
    assert page.input_value("#trust-form textarea").strip() == LEDGER
    assert "copied from what was given here" in page.inner_text("#trust-form .error")
    checked(page)


def test_trust_is_kept_renamed_and_removed(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    give(page, document(), proof("base-valid"))
    newest = kept(page)["ledgers"][0]["anchors"][-1]["index"]
    page.reload()
    confirm(page)
    page.wait_for_selector(f"text=Newest verified block: {newest}")
    give(page, document(), proof("base-valid"))
    assert [one["index"] for one in kept(page)["ledgers"][0]["anchors"]] == [newest]
    page.get_by_role("button", name="Rename corpus").click()
    page.get_by_label("New name of corpus").fill("not a name")
    page.get_by_role("button", name="Keep the name").click()
    assert "is no local name" in page.inner_text("#ledgers")
    page.get_by_label("New name of corpus").fill("ours")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=which you trust as ours")
    page.get_by_role("button", name="Remove ours").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    page.wait_for_selector("[data-result=not_trusted]")
    assert kept(page)["ledgers"] == []
    checked(page)


def test_an_export_is_shown_before_it_counts_and_its_proof_is_verified_anew(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    give(page, document(), proof("base-valid"))
    page.click("#move-details summary")
    with page.expect_download() as download:
        page.click("#export")
    exported = json.loads(Path(download.value.path()).read_text())
    newest = exported["ledgers"][0]["anchors"][-1]
    checked(page)
    exported["ledgers"][0]["anchors"] = [{**newest, "index": newest["index"] + 1_000, "block_hash": OTHER}]
    other = opened(browser)
    other.click("#move-details summary")
    other.set_input_files("#import", [file("trust.json", json.dumps(exported).encode())])
    other.wait_for_selector("#import-preview code")
    assert LEDGER in other.inner_text("#import-preview")
    assert other.inner_text("#ledgers") == "None yet."
    other.get_by_role("button", name="Trust 1 ledger").click()
    other.wait_for_selector("text=1 ledger added; 1 proof of 1 verified anew")
    (ledger,) = kept(other)["ledgers"]
    assert ledger["anchors"] == [newest], "what the file says of headers counts for nothing"
    assert ledger["addedFrom"] == f"imported from trust.json: {FROM}"
    checked(other)


@pytest.mark.parametrize("data", [b"", b"{", b'{"format": 1, "ledgers": [{}], "conflicts": []}', b"\xff" * 100, b"[]"])
def test_what_is_no_export_changes_nothing(browser: Browser, data: bytes) -> None:
    page = opened(browser)
    page.click("#move-details summary")
    page.set_input_files("#import", [file("trust.json", data)])
    page.wait_for_selector("#import-preview [role=alert]")
    assert "is no export of trusted ledgers" in page.inner_text("#import-preview")
    assert page.evaluate("localStorage.getItem('tallystick.trust.v1')") is None
    checked(page)


def test_another_history_is_refused_and_kept_as_evidence_for_good(browser: Browser) -> None:
    page = opened(browser, address=OF_ITS_OWN)
    case = next(one for one in CASES if one["failure"] and "two histories" in (one["failure"]["advice"] or ""))
    keep(page, case["demand"])
    shows = file("document.txt.tlog-proof", read(case["proof"]) or b"")
    give(page, *([document()] if case["demand"]["document"] else []), shows)
    assert "kept in this browser" in lines(page)[2]
    page.get_by_role("button", name="Remove corpus").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    assert kept(page)["ledgers"] == []
    page.reload()
    assert case["failure"]["reason"] in page.inner_text("#conflicts")
    with page.expect_download() as download:
        page.click("text=Save the refused proof")
    assert Path(download.value.path()).read_bytes() == read(case["proof"])
    checked(page)


def test_without_storage_trust_lasts_as_long_as_the_page(browser: Browser) -> None:
    page = opened(browser, NO_STORAGE)
    assert "keeps nothing for this page" in page.inner_text("#storage-note")
    trust(page)
    give(page, document(), proof("base-valid"))
    assert lines(page)[0] == VERIFIED
    page.reload()
    assert page.inner_text("#ledgers") == "None yet."
    checked(page)


def test_what_is_kept_and_broken_is_said_and_counts_for_nothing(browser: Browser) -> None:
    page = opened(browser)
    page.evaluate('localStorage.setItem(\'tallystick.trust.v1\', \'{"format": 1, "ledgers": [1], "conflicts": []}\')')
    page.reload()
    assert "cannot be read, and counts for nothing" in page.inner_text("#storage-note")
    assert page.inner_text("#ledgers") == "None yet."
    trust(page)
    assert page.evaluate("localStorage.getItem('tallystick.trust.v1.damaged')").startswith('{"format": 1')
    checked(page)


# ---- what is asked ----------------------------------------------------------------------------------------------


def test_what_is_asked_for_counts_for_all_files(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    give(page, document(), proof("base-valid"))
    page.click("#asked-summary")
    page.fill("#at", "yesterday")
    page.fill("#fresh", "30 days")
    page.click("text=Ask so")
    assert "is no time" in page.inner_text("#at-error")
    assert "is no span of time" in page.inner_text("#fresh-error")
    assert page.get_attribute(".card", "data-result") == "verified"
    page.fill("#at", "")
    page.fill("#fresh", "")
    page.fill("#issuer", "University of Ben")
    page.click("text=Ask so")
    page.wait_for_selector("[data-result=other_issuer]")
    assert page.inner_text("#asked-summary") == "issuer University of Ben"
    page.click("text=Ask for anything")
    page.wait_for_selector("[data-result=verified]")
    checked(page)


def test_a_policy_that_is_read_too_late_or_not_at_all_is_not_asked_for(browser: Browser) -> None:
    page = opened(browser)
    page.click("#asked-summary")
    page.set_input_files("#policy", [file("any.policy", b"no policy\n")])
    page.evaluate(_HELD_BACK)
    page.click("text=Ask so")
    page.click("text=Ask for anything")
    page.evaluate("window.goOn()")
    assert [page.inner_text("#policy-error"), page.inner_text("#status")] == ["", "Nothing more is asked for."]
    page.set_input_files("#policy", [file("gone.policy", b"no policy\n")])
    page.evaluate("() => { File.prototype.slice = () => { throw new DOMException('gone'); }; }")
    page.click("text=Ask so")
    page.wait_for_selector("#policy-error:has-text('gone.policy cannot be read')")
    assert page.inner_text("#asked-summary") == "Any issuer, at any age of its status"
    checked(page)


# ---- what stays out ---------------------------------------------------------------------------------------------


def test_nothing_leaves_the_page_and_nothing_comes_in(browser: Browser) -> None:
    page = opened(browser)
    trust(page)
    give(page, document(), proof("base-valid"))
    checked_before = list(page.wrong)  # type: ignore[attr-defined]
    assert checked_before == []
    tried = page.evaluate("""async () => {
      const script = document.createElement("script");
      script.textContent = "window.pwned = true";
      document.body.append(script);
      const image = new Image();
      const isBlocked = new Promise((done) => { image.onerror = () => done(true); image.onload = () => done(false); });
      image.src = "data:image/gif;base64,R0lGODlhAQABAAAAACw=";
      const asked = await fetch("http://127.0.0.1:9/").then(() => "answered", () => "refused");
      const styled = document.createElement("p");
      styled.setAttribute("style", "color: red");
      document.body.append(styled);
      return [window.pwned ?? false, await isBlocked, asked, styled.style.color];
    }""")
    assert tried == [False, True, "refused", ""]
    assert all("Content Security Policy" in one for one in page.wrong if one)  # type: ignore[attr-defined]
    page.context.close()


def test_strange_text_is_written_out_and_markup_is_text(browser: Browser) -> None:
    page = opened(browser)
    name = "a\u202eb<img src=x onerror=pwned=1>.txt"
    give(page, document(name), proof("base-valid", f"{name}.tlog-proof"))
    assert page.inner_text(".card h3").startswith("a\\u{202e}b<img src=x onerror=pwned=1>.txt is not verified")
    assert page.locator("img").count() == 0
    with page.expect_download() as download:
        page.click("text=Save as JSON")
    assert download.value.suggested_filename.startswith("a_u{202e}b")
    checked(page)


# ---- keys, paper, looks -----------------------------------------------------------------------------------------


def test_keys_are_enough(browser: Browser) -> None:
    page = opened(browser, locale="en-GB")  # a tab of its own, as no dialog of the system's opens in it from here on
    page.on("filechooser", lambda chooser: None)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.wait_for_selector("#choose:focus")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([document(), proof("base-valid")])
    page.wait_for_selector("[data-result=not_trusted]")
    tab_to(page, "summary", "I have the ledger’s id")
    page.keyboard.press("Enter")
    for text in (LEDGER, FROM):
        page.keyboard.press("Tab")
        page.keyboard.type(text)
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-result=verified]")
    assert page.inner_text("#status") == "ledger-1cc50b6d is trusted. document.txt: verified."
    tab_to(page, "button", "Print statement")
    page.keyboard.press("Enter")
    assert page.evaluate("window.printed")
    checked(page)


def tab_to(page: Page, tag: str, text: str) -> None:
    """Go on with the tabulator until this has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        tag_there, text_there = page.evaluate("[document.activeElement.localName, document.activeElement.textContent]")
        if tag_there == tag and text in text_there:
            return
    raise AssertionError(f"the tabulator does not reach {text!r}")


@pytest.mark.parametrize("name", ["base-valid", "replaced-valid", "of-64-valid", "revoked-now", "base-bad-cosignature"])
def test_the_statement_is_one_page_and_says_all(browser: Browser, tmp_path: Path, name: str) -> None:
    page = opened(browser)
    give(page, document(), proof(name))
    claimed = page.locator(".claims dd").first.inner_text().rpartition(" ")[2]
    trust(page, claimed)
    page.wait_for_selector(".card:not([data-result=not_trusted])")
    said = lines(page)
    page.click("text=Print statement")
    page.pdf(path=tmp_path / "statement.pdf", prefer_css_page_size=True)
    reader = PdfReader(tmp_path / "statement.pdf")
    assert len(reader.pages) == 1
    printed = "".join(reader.pages[0].extract_text().split())
    for line in said[1:]:
        text = line if line.startswith("  What") else line[15:]
        assert "".join(text.split()) in printed, line
    digest = hashlib.sha256(read(f"{name}.tlog-proof") or b"").hexdigest()
    for words in ("Statement of verification", digest, claimed, "nobody has signed it", "eIDAS", "2025-06-16 15:06:40"):
        assert "".join(words.split()) in printed
    assert page.get_attribute("meta[name=tallystick-page]", "content").replace(" ", "") in printed
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator(".card").is_visible()
    checked(page)
