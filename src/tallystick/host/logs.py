"""What a node writes down of its running: lines for people, or JSON objects for machines, on standard error."""

import json
import logging
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from tallystick.consensus.signing_guard import GuardStatus
from tallystick.host.text import is_hex_digest, printable, shortened, to_json
from tallystick.ledger.certificate import Evidence, VoteEvidence
from tallystick.node.agreement import AgreementStatus
from tallystick.node.events import Report, ReportAccepted, ReportBlock, ReportRefused, ReportStuck

if TYPE_CHECKING:  # it loads with the first line: whoever only reads a file needs none of it
    from structlog.stdlib import BoundLogger
    from structlog.typing import EventDict

_AGAIN_MS: Final = 60_000
"""How long after a line that says what the ledger, or this node, waits for, the next one says the same."""
_SIGNING: Final = (None, GuardStatus.READY)
_TWIN: Final = "tallystick guard recover, once no other machine has this key"


def start_logging(level: str, as_json: bool) -> None:
    """From now on, write what is at least this important; of asyncio and other libraries, their warnings.

    Every line takes the same form, of whatever library: it may quote what a peer sent.
    """
    from structlog.processors import JSONRenderer, format_exc_info  # noqa: PLC0415
    from structlog.stdlib import ExtraAdder, ProcessorFormatter  # noqa: PLC0415

    lines = ProcessorFormatter(
        fmt="%(message)s" if as_json else "%(asctime)s %(message)s",
        foreign_pre_chain=[ExtraAdder(["path"])],  # of a fault in the HTTP API
        processors=[format_exc_info, _plain, JSONRenderer(lambda line, **_: to_json(line)) if as_json else _as_words],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(lines)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("tallystick").setLevel(level.upper())


def note(level: int, event: str, **fields: Any) -> None:
    """Write one line: what happened, and with what. Bytes are written in hex."""
    _log().log(level, event, **fields)


@cache
def _log() -> "BoundLogger":
    from structlog.stdlib import BoundLogger, ProcessorFormatter, filter_by_level  # noqa: PLC0415

    return BoundLogger(
        logging.getLogger("tallystick"), [filter_by_level, ProcessorFormatter.wrap_for_formatter], context={}
    )


class ReportLog:
    """Writes down what a node reports. That it is stuck, it reports over and over; a log says it when it is news."""

    def __init__(self) -> None:
        self._stuck_ms = 0
        self._missing: tuple[bytes, ...] | None = None
        self._told: tuple[GuardStatus | None, tuple[bytes, ...], tuple[int, int] | None] = (None, (), None)
        self._told_ms = 0

    def note(self, now_ms: int, report: Report) -> None:
        """Write a line, at the level that fits."""
        match report:
            case ReportAccepted(certificates) if logging.getLogger("tallystick").isEnabledFor(logging.DEBUG):
                for certificate in certificates:
                    note(logging.DEBUG, "accepted", certificate=certificate.id)
            case ReportBlock(block, forged_here):
                self._missing = None
                count = len(block.certificates)
                note(logging.INFO, "block final", index=block.index, certificates=count, forged_here=forged_here)
                for one in block.certificates:
                    if isinstance(one, Evidence):
                        what = "two votes" if isinstance(one, VoteEvidence) else "two headers"
                        note(logging.ERROR, "burned", key=one.offender, block=block.index, by=what, evidence=one.id)
            case ReportRefused(refused, peer):
                level, sender = (logging.WARNING, peer) if isinstance(peer, bytes) else (logging.INFO, b"")
                note(level, "refused", rule=refused.rule.name, reason=str(refused), peer=sender)
            case ReportStuck():
                self._note_stuck(now_ms, report)

    def note_agreement(self, now_ms: int, status: AgreementStatus) -> None:
        """Write what is new of this node's part in agreement; what keeps its key from signing, again every minute."""
        told = (status.guard, status.unanswered, status.silent_until)
        if told == self._told and (status.guard in _SIGNING or now_ms < self._told_ms + _AGAIN_MS):
            return
        was_lost, was_silent = self._told[0] is GuardStatus.LOST, self._told[2] is not None
        self._told, self._told_ms = told, now_ms
        where = {"epoch": status.epoch, "view": status.view}
        if status.guard is GuardStatus.TWIN and status.twin is not None:
            seen_epoch, seen_view = status.twin
            note(logging.ERROR, "twin", epoch=seen_epoch, view=seen_view, key=status.key, signs="nothing", then=_TWIN)
        elif status.guard is GuardStatus.LOST:
            unanswered = ",".join(member.hex()[:16] for member in status.unanswered)
            note(logging.WARNING, "recovering", **where, unanswered=unanswered, loss_accepted=status.is_loss_accepted)
        elif status.silent_until is not None:
            epoch, view = status.silent_until
            event = "recovered" if was_lost else "silent"
            note(logging.WARNING, event, **where, silent_until_epoch=epoch, silent_until_view=view)
        elif was_lost or was_silent:
            note(logging.INFO, "votes again", **where)

    def _note_stuck(self, now_ms: int, report: ReportStuck) -> None:
        if report.missing == self._missing and now_ms - self._stuck_ms < _AGAIN_MS:
            return
        self._missing, self._stuck_ms = report.missing, now_ms
        missing = ",".join(member.hex()[:16] for member in report.missing)
        stake = f"{report.heard_stake}/{report.total_stake}"
        note(logging.WARNING, "stuck", epoch=report.epoch, view=report.view, heard=stake, missing=missing)


def _plain(_logger: object, level: str, line: "EventDict") -> "EventDict":
    """The line as both forms begin with it: when, how grave, what, and with what. A traceback is never shortened."""
    record, event, trace = line.pop("_record"), line.pop("event"), line.pop("exception", None)
    del line["_from_structlog"]
    texts = {name: value.hex() if isinstance(value, bytes) else value for name, value in line.items()}
    fields = {name: shortened(value) if isinstance(value, str) else value for name, value in texts.items()}
    if trace is not None:
        fields["traceback"] = trace
    return {"at_ms": int(record.created * 1000), "level": level, "event": event, **fields}


def _as_words(_logger: object, level: str, line: "EventDict") -> str:
    words = "".join(f" {name}={_word(value)}" for name, value in list(line.items())[3:])
    return f"{level:<7} {printable(line['event'])} {words}".rstrip()


def _word(value: object) -> str:
    """The value as one word; in quotes, as JSON has them, when it holds a space or begins with a quote."""
    text = printable(str(value))
    if is_hex_digest(text):
        return f"{text[:16]}…"  # a key
    return json.dumps(text, ensure_ascii=False) if " " in text or text.startswith('"') else text
