from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.page.chromium import started


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with started() as found:
        yield found
