"""What a node writes down, on standard error."""

import json

import pytest
from tests.builders import ADA, BEN

from tallystick.host.logs import ReportLog, start_logging
from tallystick.node.events import ReportStuck


def stuck(view: int, *missing: bytes) -> ReportStuck:
    return ReportStuck(epoch=0, view=view, since_ms=0, heard_stake=200, total_stake=400, missing=missing)


def test_that_it_is_stuck_is_said_when_it_is_news_and_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("info", as_json=True)
    log = ReportLog()
    for at_ms in range(0, 90_000, 300):
        log.note(at_ms, stuck(at_ms // 300, ADA.public_key))
    log.note(90_000, stuck(301, BEN.public_key))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["view"], line["missing"]) for line in lines] == [
        ("stuck", 0, ADA.public_key.hex()[:16]),
        ("stuck", 200, ADA.public_key.hex()[:16]),
        ("stuck", 301, BEN.public_key.hex()[:16]),
    ]
