"""What a node writes down of its running: lines for people, or JSON objects for machines, on standard error."""

import json
import logging
import sys
from typing import Any

LEVELS = ("debug", "info", "warning", "error")

_log = logging.getLogger("tallystick")


def start_logging(level: str, as_json: bool) -> None:
    """From now on, write what is at least this important."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if as_json else _Lines())
    _log.handlers[:] = [handler]
    _log.propagate = False
    _log.setLevel(level.upper())


def note(level: int, event: str, **fields: Any) -> None:
    """Write one line: what happened, and with what. Bytes are written in hex."""
    if _log.isEnabledFor(level):
        plain = {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}
        _log.log(level, event, extra={"fields": plain})


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={_short(value)}" for name, value in getattr(record, "fields", {}).items())
        line = f"{self.formatTime(record)} {record.levelname.lower():<7} {record.getMessage()}  {fields}".rstrip()
        return "".join(char if char.isprintable() else "?" for char in line)  # peers have a say in some of it


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at_ms = int(record.created * 1000)
        level = record.levelname.lower()
        return json.dumps(
            {"at_ms": at_ms, "level": level, "event": record.getMessage(), **getattr(record, "fields", {})}
        )


def _short(value: object) -> str:
    text = str(value)
    is_key = len(text) == 64 and all(char in "0123456789abcdef" for char in text)
    return f"{text[:16]}…" if is_key else (json.dumps(text, ensure_ascii=False) if " " in text else text)
