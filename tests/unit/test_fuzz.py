"""A short run of tests/fuzz: parsers of what strangers hand over raise `Refused`, and read nothing in two forms."""

import pytest
from tests.fuzz.__main__ import fuzz
from tests.fuzz.targets import TARGETS

RUNS = {"verdict": 30, "verdict of an extra": 100, "PDF": 300} | dict.fromkeys(
    [name for name in TARGETS if name.startswith("mirror")], 100
)


@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_refuses_or_reads(name):
    said = fuzz(name, RUNS.get(name, 1_000), seed=1)
    assert said["runs"] == RUNS.get(name, 1_000)
    assert said["read"] or name == "verdict of an extra"
