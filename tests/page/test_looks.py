"""What eyes, screen readers and small screens need of the page, measured: contrast, names, order, width, motion."""

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize

from tallystick.storage.mirror import state_path
from tests.page.chromium import checked, document, file, give, opened, proof, trust
from tests.page.ledgers import Certified, attached, certified

LEAST_CONTRAST = 4.5
PHONE: ViewportSize = {"width": 320, "height": 640}
DESK: ViewportSize = {"width": 1280, "height": 900}
STATES = (
    *("empty", "not-trusted", "verified", "not-valid", "not-proven", "other-document", "no-proof", "many", "asked"),
    *("certified-part", "mirror", "no-newer"),
)
SCHEMES = ("light", "dark")
SHOTS = os.environ.get("TALLYSTICK_SCREENSHOTS")
"""A folder to which pictures of each state are written, to be looked at."""

_CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (rgb) => {
    const linear = (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb.slice(0, 3).map((one) => linear(one / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const hasText = [...node.childNodes].some((one) => one.nodeType === 3 && one.textContent.trim());
    const isUnseen = node.disabled || node.closest("svg, script, style, .hidden, .quiet");
    if (!hasText || isUnseen || !node.checkVisibility()) continue;
    const [front, back] = [light(rgba(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    found.push([ratio, `${node.localName}.${node.className}: ${node.textContent.trim().slice(0, 40)}`]);
  }
  return found;
}"""

_UNNAMED = """() => {
  const wrong = [];
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push(`two of id ${id}`);
  for (const one of document.querySelectorAll("button, summary, a, input, select, textarea, progress")) {
    const labels = [...(one.labels ?? [])].map((label) => label.textContent).join("");
    const name = one.getAttribute("aria-label") || one.textContent.trim() || labels;
    if (!name.trim()) wrong.push(`without a name: ${one.outerHTML.slice(0, 80)}`);
  }
  for (const attribute of ["aria-describedby", "aria-labelledby", "aria-controls", "for"]) {
    for (const one of document.querySelectorAll(`[${attribute}]`)) {
      const named = one.getAttribute(attribute).split(" ");
      for (const id of named) if (!document.getElementById(id)) wrong.push(`${attribute} names ${id}: not there`);
    }
  }
  for (const one of document.querySelectorAll("svg:not([aria-hidden=true])")) wrong.push("a drawing that is read out");
  let level = 0;
  for (const one of document.querySelectorAll("h1, h2, h3, h4")) {
    const own = Number(one.localName[1]);
    if (own > level + 1) wrong.push(`${one.localName} after h${level}: ${one.textContent}`);
    level = own;
  }
  for (const tag of ["h1", "main"]) if (document.querySelectorAll(tag).length !== 1) wrong.push(`not one ${tag}`);
  if (document.documentElement.lang !== "en") wrong.push("without a language");
  if (document.querySelectorAll("[style]").length) wrong.push("a style of its own");
  return wrong;
}"""


def bring_to(page: Page, state: str, folder: Path) -> None:
    """Have the page in one of `STATES`."""
    if state in ("certified-part", "mirror", "no-newer"):
        bring_to_own_ledger(page, state, certified(folder))
        return
    if state not in ("empty", "not-trusted", "no-proof"):
        trust(page)
    if state == "no-proof":
        give(page, document(), file("another.txt.tlog-proof", b"no proof"))
    elif state == "not-proven":
        give(page, document(), proof("base-bad-cosignature"))
    elif state == "other-document":
        give(page, document(data=b"changed"), proof("base-valid"))
    elif state == "not-valid":
        give(page, document(), proof("revoked-now"))
        claimed = page.locator(".claims dd").first.inner_text().rpartition(" ")[2]
        trust(page, claimed, "second")
        page.wait_for_selector("[data-result=not_valid]")
    elif state == "many":
        names = ("base-valid", "base-bad-cosignature", "base-three-of-four", "base-names-changed")
        give(page, *(one for name in names for one in (document(f"{name}.txt"), proof(name, f"{name}.txt.tlog-proof"))))
        page.locator("button.opener").last.click()
    elif state != "empty":
        give(page, document(), proof("base-valid"))
    if state == "not-trusted":
        page.click(".trust-here summary")
    if state == "asked":
        for summary in page.locator(".panel summary").all():
            summary.click()
        page.fill("#at", "yesterday")
        page.click("text=Ask so")


def bring_to_own_ledger(page: Page, state: str, diploma: Certified) -> None:
    trust(page, diploma.ledger_id)
    if state == "certified-part":
        give(page, file("diploma.pdf", attached(diploma.older)))
        return
    give(page, *diploma.given, file("diploma.pdf.tsr", b"token"))
    diploma.go_on()
    mirror = diploma.mirror()
    if state == "no-newer":
        (mirror / state_path(2)).unlink()
    page.set_input_files("#choose-mirror", mirror)
    page.wait_for_selector("[data-mirror]")
    page.wait_for_selector("#results[aria-busy=false]")


@pytest.mark.parametrize("state", STATES)
def test_text_stands_out_everything_has_a_name_and_nothing_is_too_wide(
    browser: Browser, state: str, tmp_path: Path
) -> None:
    page = opened(browser, viewport=DESK, reduced_motion="reduce")
    bring_to(page, state, tmp_path)
    backgrounds = {looked_at(page, scheme, state) for scheme in SCHEMES}
    assert len(backgrounds) == len(SCHEMES)
    checked(page)


def looked_at(page: Page, scheme: Any, state: str) -> str:
    """The page's background in this scheme, in which text stands out and nothing is too wide."""
    page.set_viewport_size(DESK)
    page.emulate_media(color_scheme=scheme)
    contrasts = page.evaluate(_CONTRASTS)
    assert len(contrasts) > 10
    assert [one for one in contrasts if one[0] < LEAST_CONTRAST] == [], scheme
    assert page.evaluate(_UNNAMED) == []
    shoot(page, f"{state}-{scheme}")
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shoot(page, f"{state}-{scheme}-phone")
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def shoot(page: Page, name: str) -> None:
    if SHOTS is not None:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True, caret="initial")  # else inputs get a style


def test_what_is_found_is_read_out_and_the_focus_is_seen(browser: Browser) -> None:
    page = opened(browser)
    status = page.get_by_role("status").first
    assert status.get_attribute("aria-live") == "polite"
    give(page, document(), proof("base-valid"))
    assert status.inner_text() == "document.txt: not verified: ledger not trusted."
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    checked(page)


def test_nothing_moves_for_who_wants_no_motion(browser: Browser) -> None:
    page = opened(browser, reduced_motion="reduce")
    moving = (
        "[...document.querySelectorAll('*')].filter((one) => getComputedStyle(one).transitionDuration !== '0s').length"
    )
    assert page.evaluate(moving) == 0
    checked(page)


def test_results_come_without_moving_what_stands_above(browser: Browser) -> None:
    page = opened(browser, viewport=DESK)
    trust(page)
    give(page, document(), proof("base-valid"))
    before = page.locator(".running").bounding_box()
    give(page, document("second.txt"), proof("base-valid", "second.txt.tlog-proof"))
    assert page.locator(".running").bounding_box() == before
    checked(page)
