from collections.abc import Iterator

import pytest

from tallystick.course import Node


@pytest.fixture(autouse=True)
def _empty_network() -> Iterator[None]:
    Node.reset_network()
    yield
    Node.reset_network()
