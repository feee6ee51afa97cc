"""The page that verifies, in a real browser: how long a proof takes, from its bytes to the verdict."""

from collections.abc import Iterator

from playwright.sync_api import Page
from tests.page.chromium import LEDGER, chromium, document, give, proof, started, trust

from benchmarks.result import Absent, Figure, at_most, figure
from tallystick.api.verify_page import PAGE

SAMPLES = 40


def four_members() -> Iterator[Figure | Absent]:
    """Milliseconds for a proof of a ledger with four members, none of whom changed, and its document."""
    if chromium() is None:
        yield Absent("verified", "there is no Chromium on this machine")
        return
    with started() as browser:
        page = browser.new_page()
        page.goto(PAGE.as_uri())
        trust(page, LEDGER)
        first, *others = [_verified_ms(page) for _ in range(SAMPLES + 1)]
    what = "a proof of 4 members and its document, in Chromium, from bytes to verdict"
    yield figure("verified", what, others, "ms", goal=at_most(150))
    yield figure("verified first", "the first of a page", [first], "ms")


def _verified_ms(page: Page) -> float:
    if page.is_enabled("#clear"):
        page.click("#clear")
    page.evaluate("performance.clearMeasures()")
    give(page, document(), proof("base-valid"))
    assert page.get_attribute(".card", "data-result") == "verified"
    (took_ms,) = page.evaluate("performance.getEntriesByName('verify').map((one) => one.duration)")
    return float(took_ms)
