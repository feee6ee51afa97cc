"""What a node writes down, on standard error."""

import asyncio
import json
import logging
import re
import time
from typing import Any

import pytest
from tests.builders import ADA, BEN, Scribe, evidence

from tallystick.consensus.signing_guard import GuardStatus
from tallystick.host.logs import ReportLog, note, start_logging
from tallystick.node.agreement import AgreementStatus
from tallystick.node.events import ReportBlock, ReportStuck


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


def told(capsys: pytest.CaptureFixture[str], *statuses: tuple[int, AgreementStatus]) -> list[dict[str, Any]]:
    """The lines about these, each at its time (ms)."""
    start_logging("info", as_json=True)
    log = ReportLog()
    for at_ms, status in statuses:
        log.note_agreement(at_ms, status)
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def standing(guard: GuardStatus, view: int = 1, **more: Any) -> AgreementStatus:
    return AgreementStatus("simplex", 0, view, ADA.public_key, guard, **more)


def test_a_recovery_is_logged_when_it_is_news_and_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    both, one = (BEN.public_key, ADA.public_key), (BEN.public_key,)
    waiting = [(at_ms, standing(GuardStatus.LOST, unanswered=both)) for at_ms in range(0, 65_000, 5_000)]
    fewer = [(at_ms, standing(GuardStatus.LOST, unanswered=one)) for at_ms in range(65_000, 80_000, 5_000)]
    silent = [(at_ms, standing(GuardStatus.READY, 4, silent_until=(0, 6))) for at_ms in range(80_000, 200_000, 5_000)]
    votes = [(at_ms, standing(GuardStatus.READY, 7)) for at_ms in range(200_000, 400_000, 5_000)]
    lines = told(capsys, *waiting, *fewer, *silent, *votes)
    keys = [key.hex()[:16] for key in both]
    assert [(line["level"], line["event"], line.get("unanswered")) for line in lines] == [
        ("warning", "recovering", ",".join(keys)),
        ("warning", "recovering", ",".join(keys)),
        ("warning", "recovering", keys[0]),
        ("warning", "recovered", None),
        ("info", "votes again", None),
    ]
    assert (lines[3]["silent_until_epoch"], lines[3]["silent_until_view"]) == (0, 6)


def test_a_member_that_starts_silent_or_votes_as_always_is_logged_so(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = told(capsys, (0, standing(GuardStatus.READY, silent_until=(0, 6))))
    assert (line["event"], line["silent_until_view"]) == ("silent", 6)
    assert told(capsys, *((at_ms, standing(GuardStatus.READY)) for at_ms in range(0, 200_000, 5_000))) == []


def test_a_twin_is_an_error_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, *((at_ms, standing(GuardStatus.TWIN, twin=(0, 3))) for at_ms in range(0, 115_000, 5_000)))
    assert [(line["level"], line["event"], line["view"]) for line in lines] == [("error", "twin", 3)] * 2
    assert "tallystick guard recover" in lines[0]["then"]


def test_a_burn_is_an_error_that_names_key_block_and_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("error", as_json=True)
    proof = evidence(BEN)
    ReportLog().note(0, ReportBlock(Scribe().draft(proof), forged_here=False))
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["level"], line["event"], line["key"], line["block"]) == ("error", "burned", BEN.public_key.hex(), 1)
    assert (line["by"], line["evidence"]) == ("two votes", proof.id.hex())


def everybody_writes(as_json: bool) -> None:
    """This project, asyncio, the HTTP server, and the HTTP API about a fault."""
    start_logging("info", as_json)
    note(logging.DEBUG, "not asked for")
    note(
        logging.WARNING, "refused", peer=ADA.public_key, reason="a\n b", short=b"\x01\x02", signature=b"x" * 5_000, n=7
    )
    loop = asyncio.new_event_loop()
    loop.call_exception_handler({"message": "unheard", "exception": ValueError("y" * 5_000)})
    loop.close()
    logging.getLogger("uvicorn.error").info("not asked for")
    logging.getLogger("uvicorn.error").error("bad %s", "re\nquest", extra={"color_message": "red"})
    logging.getLogger("tallystick.api.app").error("fault", extra={"path": "/v1/\u202e"})


def test_every_librarys_lines_take_the_form_of_ours_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    everybody_writes(as_json=False)
    lines = capsys.readouterr().err.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", line) for line in lines)
    ours, of_asyncio, of_uvicorn, of_the_api = (line[24:] for line in lines)
    assert ours == (
        f"warning refused  peer={ADA.public_key.hex()[:16]}… "
        rf'reason="a\\u{{a}} b" short=0102 signature={"78" * 2_000}… n=7'
    )
    assert re.fullmatch(r'error   unheard  traceback="ValueError: y{5000}"', of_asyncio)
    assert of_uvicorn == r"error   bad re\u{a}quest"
    assert of_the_api == r"error   fault  path=/v1/\u{202e}"


def test_every_librarys_lines_take_the_form_of_ours_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    everybody_writes(as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert all(list(line)[:3] == ["at_ms", "level", "event"] for line in lines)
    now_ms = time.time_ns() // 1_000_000
    assert all(isinstance(at_ms := line.pop("at_ms"), int) and now_ms - 60_000 < at_ms <= now_ms for line in lines)
    ours, of_asyncio, of_uvicorn, of_the_api = lines
    assert ours == {
        "level": "warning",
        "event": "refused",
        "peer": ADA.public_key.hex(),
        "reason": r"a\u{a} b",
        "short": "0102",
        "signature": "78" * 2_000 + "…",
        "n": 7,
    }
    assert of_asyncio == {"level": "error", "event": "unheard", "traceback": "ValueError: " + "y" * 5_000}
    assert of_uvicorn == {"level": "error", "event": r"bad re\u{a}quest"}
    assert of_the_api == {"level": "error", "event": "fault", "path": r"/v1/\u{202e}"}
