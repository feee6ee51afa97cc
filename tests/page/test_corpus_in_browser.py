"""Proofs of the corpus in a real browser, in one load: the same verdict, step and words.

One of each form; all of them are judged under Node, by the same modules (test_page_verifier.py).
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from playwright.sync_api import Browser, Page

from tallystick.ledger.encoding import Codec
from tallystick.proof.members import Anchor
from tests.page.chromium import DOCUMENT, LINES_OF_CARD, NOW_MS, OF_ITS_OWN, checked, file, opened
from tests.page.expected import CASES
from tests.proof_corpus import read

KEPT_WHERE = "; what shows it is kept in this browser, under Trusted ledgers"
_DROPPED = f"""async files => {{
  const results = document.querySelector("#results");
  document.querySelector("#clear").click();
  const transfer = new DataTransfer();
  for (const [name, data] of files) {{
    transfer.items.add(new File([Uint8Array.from(atob(data), (char) => char.charCodeAt(0))], name));
  }}
  document.querySelector("#drop").dispatchEvent(new DragEvent("drop", {{ bubbles: true, dataTransfer: transfer }}));
  await new Promise((done) => {{
    const isDone = () => results.getAttribute("aria-busy") === "false" && done();
    new MutationObserver(isDone).observe(results, {{ attributes: true }});
    isDone();
  }});
  return ({LINES_OF_CARD})(document.querySelector(".card"));
}}"""
_anchors: Codec[Anchor] = Codec(Anchor, 1024 * 1024, "anchor")


def form_of(case: dict[str, Any]) -> tuple[object, ...]:
    """What the page does with a case: what judged it, and which lines it shows."""
    return case["exit"], case["rule"], *(line[: len("  certificate  ")] for line in case["told"])


def test_each_form_has_the_same_verdict_step_and_words(browser: Browser) -> None:
    forms = {form_of(case): case for case in CASES}
    assert len(forms) > 50
    page = opened(browser, address=OF_ITS_OWN)
    asked: dict[str, Any] = {"issuer": None, "at_ms": None, "fresh_ms": None, "policy": None}
    for case in forms.values():
        demand = case["demand"]
        keep(page, demand)
        if (wanted := {name: demand[name] for name in asked}) != asked:
            ask(page, wanted)
            asked = wanted
        if case["exit"] == 6:
            assert (
                page.inner_text("#policy-error") == f"{case['told'][0].removeprefix('error: ')}. Choose another file."
            )
            continue
        base = "document.txt" if demand["document"] else case["proof"].removesuffix(".tlog-proof")
        names = {"proof": f"{base}.tlog-proof", "members": f"{base}.members", "payload": f"{base}.payload"}
        files = {name: data for kind, name in names.items() if (data := read(case[kind])) is not None}
        files |= {"document.txt": DOCUMENT} if demand["document"] else {}
        assert dropped(page, files) == expected(case, names["proof"]), case["name"]
    checked(page)


def dropped(page: Page, files: dict[str, bytes]) -> list[str]:
    """Remove what is there, drop these, and wait for what is said of them: all of it in one call, as there are many."""
    told: list[str] = page.evaluate(_DROPPED, [[name, b64encode(data).decode()] for name, data in files.items()])
    return told


def keep(page: Page, demand: dict[str, Any]) -> None:
    """Have the browser keep what the case's verifier trusts, as another tab of the page would. Headers in it count as
    they are where the storage is the page's own.
    """
    write(page, text_of([ledger(demand["ledger"], anchors=anchors_of(demand))] if demand["ledger"] else []))
    confirm(page)
    assert page.locator("#storage-note").inner_text() == ""


def anchors_of(demand: dict[str, Any]) -> list[dict[str, Any]]:
    """The headers that the case's verifier knows, in the page's form."""
    return [to_json_form(_anchors.decode(bytes.fromhex(one))) for one in demand["anchors"]]


def ledger(ledger_id: str, **changed: Any) -> dict[str, Any]:
    """A trusted ledger, as the page keeps it."""
    known = {"ledgerId": ledger_id, "name": "corpus", "addedMs": NOW_MS, "addedFrom": "a test"}
    return {**known, "title": None, "anchors": [], "shownBy": None, **changed}


def text_of(ledgers: Sequence[Any], conflicts: Sequence[Any] = ()) -> str:
    """All that is trusted, as the page keeps it."""
    return json.dumps({"format": 1, "ledgers": ledgers, "conflicts": conflicts})


def write(page: Page, text: str) -> None:
    """Put this into the page's storage, as another tab does."""
    page.evaluate(
        "kept => { localStorage.setItem('tallystick.trust.v1', kept); dispatchEvent(new StorageEvent('storage')); }",
        text,
    )


def confirm(page: Page) -> None:
    """Confirm all that is kept, where the page is opened from disk, so that another page could have written it."""
    page.evaluate("document.querySelectorAll('[data-confirm]').forEach((one) => one.click())")


def to_json_form(anchor: Anchor) -> dict[str, Any]:
    return {
        "ledger_id": anchor.ledger_id.hex(),
        "epoch": anchor.epoch,
        "voters": [[key.hex(), stake] for key, stake in anchor.voters],
        "index": anchor.index,
        "block_hash": anchor.block_hash.hex(),
        "timestamp_ms": anchor.timestamp_ms,
    }


def ask(page: Page, wanted: dict[str, Any]) -> None:
    page.evaluate("document.querySelector('#asked-details').open = true")
    page.fill("#issuer", wanted["issuer"] or "")
    page.fill("#at", str(wanted["at_ms"]) if wanted["at_ms"] is not None else "")
    page.fill("#fresh", f"{wanted['fresh_ms'] // 1000}s" if wanted["fresh_ms"] is not None else "")
    page.set_input_files("#policy", [file(wanted["policy"], read(wanted["policy"]) or b"")] if wanted["policy"] else [])
    page.click("#asked button[type=submit]")
    if wanted["policy"]:
        page.wait_for_selector(f"#policy-error:not(:empty), #asked-summary:has-text('policy {wanted['policy']}')")


def expected(case: dict[str, Any], proof: str) -> list[str]:
    """What `verify` prints, where the ledger is kept as trusted, and the proof's file has this name."""
    told: list[str] = case["told"]
    if case["rule"] == "P3" and case["demand"]["ledger"]:  # the page asks for no ledger: the file's is not trusted
        nobody = next(one for one in CASES if one["name"] == "trust-nobody")["told"]
        told = [nobody[0], nobody[1], nobody[2], *told[told.index(nobody[3]) :]]
    said = [one.replace("which you named, and nothing is kept of", "which you trust as corpus") for one in told]
    said = [f"  proof        {proof}" if one.startswith("  proof        ") else one for one in said]
    is_conflict = case["failure"] is not None and "two histories" in (case["failure"]["advice"] or "")
    return [one + KEPT_WHERE if is_conflict and one.startswith("  do next") else one for one in said]
