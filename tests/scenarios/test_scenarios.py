"""Every text scenario plays as it is written; harness.py explains the words. `--rewrite` writes them anew."""

from pathlib import Path

import pytest
from tests.scenarios.harness import check

FILES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=[one.stem for one in FILES])
def test_scenario(path, request):
    expected, actual = check(path, rewrite=request.config.getoption("--rewrite"))
    assert actual == expected


def test_there_are_enough_of_them():
    assert len(FILES) >= 30
