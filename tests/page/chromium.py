"""The page in a real Chromium: where that is, and what tests do with the page."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from weakref import WeakKeyDictionary

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

from tallystick.api.verify_page import PAGE
from tests.proof_corpus import FOLDER, LISTED

VARIABLE = "TALLYSTICK_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NOW_MS: int = LISTED["now_ms"]
LEDGER: str = LISTED["cases"][0]["demand"]["ledger"]
DOCUMENT = (FOLDER / "document.txt").read_bytes()
FROM = "a letter of the registrar"
ON_DISK = PAGE.as_uri()
OF_ITS_OWN = "https://verify.example/verify"
"""An address at which no other page is, so that the page's storage is its own. The tests answer there."""

_TRUST = """given => {
  document.querySelector("#trust-details").open = true;
  for (const [field, text] of Object.entries(given)) {
    const input = document.querySelector(`#trust-form [id$="-${field}"]`);
    input.value = text;
    input.dispatchEvent(new InputEvent("input", { bubbles: true }));
  }
  document.querySelector("#trust-form form").requestSubmit();
}"""

LINES_OF_CARD = """card => {
  const field = (label, text) => `  ${label.padEnd(13)}${text}`;
  const parts = [...card.querySelectorAll(".lead, [data-warning], dl[data-told] > div, .claims > h4")];
  return [`${card.dataset.mark} ${card.querySelector("h3").textContent}`, ...parts.map((part) => {
    if (part.matches("[data-warning]")) return field("!", part.textContent);
    if (!part.matches("div")) return `  ${part.textContent}`;
    return field(part.querySelector("dt").textContent, part.querySelector("dd").textContent);
  })];
}"""


def chromium() -> str | None:
    """The program that `$TALLYSTICK_CHROMIUM` names, or one on the path."""
    return os.environ.get(VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)


_Way = tuple[Browser, str]
_ways = WeakKeyDictionary[Page, _Way]()
"""Tabs without a script of their own, which another test may use that wants the same of a profile."""
_USUAL: ViewportSize = {"width": 1280, "height": 720}
_at_rest: dict[_Way, Page] = {}
"""A tab that a test is through with, in an otherwise new profile: there the page's code is compiled already, without
which a test takes four times as long.
"""


@contextmanager
def started() -> Iterator[Browser]:
    """A browser without a window. Without one on this machine the test is skipped."""
    path = chromium()
    if path is None:
        pytest.skip(
            "NOT TESTED: the page, as there is no Chromium; install one (apt-get install chromium), or name it in "
            f"${VARIABLE}"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        for way in [one for one in _at_rest if one[0] is browser]:
            del _at_rest[way]
        browser.close()


def opened(browser: Browser, script: str = "", address: str = ON_DISK, **context: Any) -> Page:
    """The page from disk, or from its own address, in a profile that holds nothing, at the corpus's time. What goes
    wrong in it fails the test at `checked`.
    """
    way = browser, repr(sorted(context.items()))
    if not script and (page := _at_rest.pop(way, None)) is not None:
        page.set_viewport_size(context.get("viewport", _USUAL))
        page.emulate_media(media="null", color_scheme="null")
        return _gone_to(page, address)
    profile = browser.new_context(**context)
    profile.route(OF_ITS_OWN, lambda route: route.fulfill(path=PAGE, content_type="text/html; charset=utf-8"))
    page = tab_of(profile, script, address)
    if not script:
        _ways[page] = way
    return page


def tab_of(context: BrowserContext, script: str = "", address: str = ON_DISK) -> Page:
    """One more tab with the page, which shares the profile's storage with the others of its address."""
    page: Any = context.new_page()
    page.add_init_script(f"window.print = () => window.printed = true; window.wrong = []; {script}")
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda said: page.wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("request", lambda request: page.wrong.append(request.url) if request.url != page.address else None)
    return _gone_to(page, address)


def _gone_to(page: Any, address: str) -> Page:
    page.wrong, page.address = list[str](), address
    page.clock.set_fixed_time(NOW_MS / 1000)
    page.goto(address)
    return cast(Page, page)


def checked(page: Page) -> None:
    """Nothing went wrong in any tab: no error, no breach of the policy, no request but for the page itself."""
    told = [one for tab in page.context.pages for one in tab.wrong]  # type: ignore[attr-defined]
    wrong = [one for one in told if not one.startswith("blob:")]
    assert not wrong, wrong
    way = _ways.get(page)
    if len(page.context.pages) > 1 or way is None:
        page.context.close()
        return
    page.evaluate("localStorage.clear()")
    page.goto("about:blank")
    _at_rest[way] = page


def file(name: str, data: bytes) -> Any:
    """A file as Playwright gives it to a page."""
    return {"name": name, "mimeType": "application/octet-stream", "buffer": data}


def proof(name: str, as_name: str = "document.txt.tlog-proof") -> Any:
    """A proof of the corpus, under another name."""
    return file(as_name, (FOLDER / f"{name}.tlog-proof").read_bytes())


def document(name: str = "document.txt", data: bytes = DOCUMENT) -> Any:
    """The corpus's document."""
    return file(name, data)


def give(page: Page, *files: Any) -> None:
    """Choose files, and wait until they are judged."""
    page.set_input_files("#choose", list(files))
    page.wait_for_selector("#results[aria-busy=false]:not([hidden])")


def trust(page: Page, ledger_id: str = LEDGER, name: str = "corpus") -> None:
    """Trust a ledger, in the panel, in one call: by clicks and keys it takes four times as long, and a few tests do."""
    page.evaluate(_TRUST, {"id": ledger_id, "from": FROM, "name": name})


def lines(page: Page) -> list[str]:
    """What the one card says, as `tallystick verify` would print it."""
    told: list[str] = page.eval_on_selector(".card", LINES_OF_CARD)
    return told
