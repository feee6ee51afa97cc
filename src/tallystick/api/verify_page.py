"""The page that verifies in a browser, verify.html: where it is, which one, and under which policy it is served."""

import re
from functools import cache
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).with_name("verify.html")
"""Made from page/ by tools/make_page.py."""

_POLICY: Final = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">')
_VERSION: Final = re.compile(r'<meta name="tallystick-page" content="([^"]+)">')


def page_bytes() -> bytes:
    """The whole page."""
    return PAGE.read_bytes()


def page_version() -> str:
    """What the page calls itself: the version of the package, and how the SHA-256 of its script begins."""
    return _told(_VERSION)


@cache
def page_headers() -> dict[str, str]:
    """What it is served with: its own policy, and what only a header can forbid."""
    return {
        "Content-Security-Policy": f"{_told(_POLICY)}; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def _told(what: re.Pattern[str]) -> str:
    found = what.search(page_bytes().decode())
    assert found is not None, "tools/make_page.py puts it there"
    return found[1]
