"""Folders given to the page: a mirror renews the proofs at hand and is never believed; others are documents."""

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tallystick.client.mirror import FolderFiles, Mirror
from tallystick.client.mirror_proving import MirrorProver
from tallystick.storage.mirror import state_path
from tests.governed import directory_genesis
from tests.mirrors import write_mirror
from tests.page.chromium import DOCUMENT, checked, give, lines, opened, trust
from tests.page.ledgers import Certified, certified
from tests.proof_corpus import read as of_corpus
from tests.proving import ProvenLedger, read

_COPIED = """() => {
  getSelection().selectAllChildren(document.querySelector("[data-mirror]"));
  document.dispatchEvent(new ClipboardEvent("copy"));
}"""


@pytest.fixture
def diploma(tmp_path: Path) -> Certified:
    return certified(tmp_path)


def with_diploma(browser: Browser, diploma: Certified) -> Page:
    page = opened(browser)
    trust(page, diploma.ledger_id)
    give(page, *diploma.given)
    assert page.get_attribute(".card", "data-result") == "verified"
    return page


def drop_folder(page: Page, folder: Path) -> None:
    """As from the system's own window of files."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    page.locator("#drop").scroll_into_view_if_needed()
    box = page.locator("#drop").bounding_box()
    assert box is not None
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": box["x"] + 9, "y": box["y"] + 9, "data": data})


def use(page: Page, mirror: Path, *, is_dropped: bool) -> None:
    """Give a mirror, and wait until what it leads to is told, not what one before it led to."""
    page.evaluate("for (const one of document.querySelectorAll('[data-mirror]')) one.removeAttribute('data-mirror')")
    if is_dropped:
        drop_folder(page, mirror)
    else:
        page.set_input_files("#choose-mirror", mirror)
    page.wait_for_selector("[data-mirror]")
    page.wait_for_selector("#results[aria-busy=false]:not([hidden])")


@pytest.mark.parametrize("is_dropped", [True, False])
def test_a_mirror_renews_a_proof_as_python_does(browser: Browser, diploma: Certified, is_dropped: bool) -> None:
    page = with_diploma(browser, diploma)
    diploma.go_on()
    folder = diploma.mirror()
    with Mirror(FolderFiles(folder)) as mirror:
        made = MirrorProver(mirror).prove(diploma.statement.id.hex(), read(diploma.older))
    use(page, folder, is_dropped=is_dropped)
    assert page.get_attribute(".card", "data-result") == "verified"
    assert lines(page)[-1] == "  proof        a newer one, from the mirror mirror"
    origin = diploma.ledger.genesis.origin
    assert f"Mirror mirror, which says that it has 2 certificates of {origin}" in page.inner_text("#waiting")
    assert "newer proofs are asked of it" in page.inner_text("#waiting")
    with page.expect_download() as download:
        page.click("text=Save the newer proof")
    assert download.value.suggested_filename == "diploma.pdf.tlog-proof"
    assert Path(download.value.path()).read_bytes() == made.proof.encode()
    checked(page)


def test_what_was_decided_since_counts(browser: Browser, diploma: Certified) -> None:
    page = with_diploma(browser, diploma)
    diploma.go_on(is_revoked=True)
    use(page, diploma.mirror(), is_dropped=True)
    assert page.get_attribute(".card", "data-result") == "not_valid"
    assert lines(page)[-1] == "  proof        a newer one, from the mirror mirror"
    page.click("#clear")
    give(page, *diploma.given)
    assert page.inner_text("#waiting") == "", "a removed mirror counts no more"
    assert page.locator("text=Save the newer proof").count() == 0
    checked(page)


def test_a_mirror_waits_for_proofs_of_its_ledger_and_can_be_put_away(browser: Browser, diploma: Certified) -> None:
    page = opened(browser)
    trust(page, diploma.ledger_id)
    diploma.go_on()
    drop_folder(page, diploma.mirror())
    page.wait_for_selector("text=no proof here is of its ledger")
    page.evaluate(_COPIED)
    trust(page, diploma.ledger_id)
    assert "copied from what was given here" in page.inner_text("#trust-form .error")
    give(page, *diploma.given)
    assert lines(page)[-1] == "  proof        a newer one, from the mirror mirror"
    page.get_by_role("button", name="Do not use it").click()
    page.wait_for_selector("text=The mirror mirror is not used any more. diploma.pdf: verified.")
    assert lines(page)[-1] == "  proof        diploma.pdf.tlog-proof"
    checked(page)


def test_an_empty_folder_is_said(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser)
    (tmp_path / "papers").mkdir()
    drop_folder(page, tmp_path / "papers")
    page.wait_for_selector("text=Nothing was found that can be verified.")
    checked(page)


def test_an_older_mirror_replaces_nothing(browser: Browser, diploma: Certified) -> None:
    folder = diploma.mirror(diploma.at_older)
    diploma.go_on(is_revoked=True)
    page = opened(browser)
    trust(page, diploma.ledger_id)
    give(page, diploma.given[0], proof_of(diploma))
    before = lines(page)
    use(page, folder, is_dropped=True)
    assert lines(page) == before
    said = "The proof from the mirror mirror is older than the one at hand, which counts."
    assert said in page.inner_text("#waiting")
    assert page.locator("text=Save the newer proof").count() == 0
    checked(page)


def proof_of(diploma: Certified) -> dict[str, object]:
    return {**diploma.given[1], "buffer": diploma.newer().proof.encode()}


def test_a_changed_mirror_leads_to_words(browser: Browser, diploma: Certified) -> None:
    page = with_diploma(browser, diploma)
    diploma.go_on()
    folder = diploma.mirror()
    state = folder / state_path(2)
    data = state.read_bytes()
    wrong = [
        (data[:-40] + bytes([data[-40] ^ 1]) + data[-39:], "what the mirror holds is not sound: "),
        (None, f"the mirror lacks {state_path(2)}"),
    ]
    for changed, said in wrong:
        state.write_bytes(changed) if changed is not None else state.unlink()
        use(page, folder, is_dropped=True)
        assert page.get_attribute(".card", "data-result") == "not_fresh"
        assert lines(page)[0].startswith(
            f"× diploma.pdf is not verified: no newer proof could be had from the mirror mirror: {said}"
        )
        assert "What is proven of it all the same:" in lines(page)[3]
    checked(page)


def test_a_mirror_without_end_is_not_read(browser: Browser, diploma: Certified) -> None:
    page = with_diploma(browser, diploma)
    folder = diploma.mirror()
    state = folder / state_path(1)
    with state.open("r+b") as stream:
        stream.truncate(1 << 40)
    use(page, folder, is_dropped=True)
    assert f"{state_path(1)} has {1 << 40} bytes, {64 << 20} allowed" in lines(page)[0]
    with (folder / "checkpoint").open("r+b") as stream:
        stream.truncate(1 << 40)
    drop_folder(page, folder)
    page.wait_for_selector("text=mirror is not used: what the mirror holds is not sound: checkpoint has")
    checked(page)


def test_a_mirror_of_another_ledger_renews_nothing_here(browser: Browser, diploma: Certified, tmp_path: Path) -> None:
    page = with_diploma(browser, diploma)
    other = ProvenLedger(tmp_path / "other.db", directory_genesis((7, 7, 7, 7)))
    other.forge(other.scribe.statement())
    write_mirror(other, other.countersigned(), tmp_path / "elsewhere")
    before = lines(page)
    use(page, tmp_path / "elsewhere", is_dropped=True)
    assert lines(page) == before
    assert "no proof here is of its ledger" in page.inner_text("#waiting")
    # A mirror whose checkpoint alone is of the proof's ledger.
    folder = diploma.mirror()
    size = 1
    shutil.copy(tmp_path / "elsewhere" / state_path(size), folder / state_path(size))
    use(page, folder, is_dropped=True)
    page.wait_for_selector("[data-result=not_fresh]")
    assert "does not lead to the genesis of the proof at hand" in lines(page)[0]
    checked(page)


def test_a_mirror_of_another_history_is_refused_and_kept(browser: Browser, diploma: Certified, tmp_path: Path) -> None:
    page = with_diploma(browser, diploma)
    fork = ProvenLedger(tmp_path / "fork.db", diploma.ledger.genesis)
    fork.forge(diploma.statement, fork.scribe.statement())
    write_mirror(fork, fork.countersigned(), tmp_path / "fork")
    use(page, tmp_path / "fork", is_dropped=True)
    page.wait_for_selector("[data-result=not_proven]")
    assert "kept in this browser, under Trusted ledgers" in lines(page)[2]
    assert "Other histories that were seen" in page.inner_text("#conflicts")
    checked(page)


def test_what_is_chosen_as_a_mirror_and_is_none_is_said(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser)
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "a.txt").write_bytes(b"a")
    page.set_input_files("#choose-mirror", tmp_path / "papers")
    page.wait_for_selector("text=papers is not used: this is no mirror: it has no file checkpoint")
    assert page.locator(".card").count() == 0
    page.click("#clear")
    assert page.inner_text("#waiting") == ""
    checked(page)


def test_a_folder_of_documents_is_its_files_each_with_the_proof_beside_it(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser)
    trust(page)
    for name, data in {"one": DOCUMENT, "two/deep": b"changed"}.items():
        inner = tmp_path / "papers" / name
        inner.mkdir(parents=True)
        (inner / "document.txt").write_bytes(data)
        (inner / "document.txt.tlog-proof").write_bytes(of_corpus("base-valid.tlog-proof") or b"")
    (tmp_path / "papers" / ".hidden").write_bytes(b"of the system")
    drop_folder(page, tmp_path / "papers")
    page.wait_for_selector("#results[aria-busy=false] .card")
    results = page.eval_on_selector_all(".card", "all => all.map(one => one.dataset.result)")
    assert sorted(results) == ["other_document", "verified"]
    checked(page)


def test_a_folder_as_deep_as_it_goes_ends(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser)
    deep = tmp_path / "papers"
    for name in ["a"] * 20:
        deep /= name
        deep.mkdir(parents=True)
        (deep / "document.txt").write_bytes(DOCUMENT)
    drop_folder(page, tmp_path / "papers")
    page.wait_for_selector("#results[aria-busy=false] .line")
    assert page.locator(".line").count() == 15
    checked(page)
