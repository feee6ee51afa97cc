"""The page that verifies, in a real browser: how long a proof takes, from its bytes to the verdict."""

from playwright.sync_api import Page
from tests.page.chromium import LEDGER, chromium, document, give, proof, started, trust

from benchmarks.workload import summary
from tallystick.api.verify_page import PAGE

SAMPLES = 40


def four_members() -> str:
    """Milliseconds for a proof of a ledger with four members, none of whom changed, and its document."""
    if chromium() is None:
        return "not measured: there is no Chromium on this machine"
    with started() as browser:
        page = browser.new_page()
        page.goto(PAGE.as_uri())
        trust(page, LEDGER)
        first, *others = [_verified_ms(page) for _ in range(SAMPLES + 1)]
    return f"{len(others)} proofs of 4 members: {summary(others)} ms each, the first {first:.0f} ms, goal < 150"


def _verified_ms(page: Page) -> float:
    if page.is_enabled("#clear"):
        page.click("#clear")
    page.evaluate("performance.clearMeasures()")
    give(page, document(), proof("base-valid"))
    assert page.get_attribute(".card", "data-result") == "verified"
    (took_ms,) = page.evaluate("performance.getEntriesByName('verify').map((one) => one.duration)")
    return float(took_ms)
