"""What all answers have, and how they tell keys and outcomes."""

import json
import re
from typing import Any, Final

import msgspec
from msgspec import Struct

SCHEMA: Final = 1
_NOT_PLAIN: Final = re.compile(r"[^\x00-\x7e]+")


class View(Struct, frozen=True):
    """An answer, or a part of one."""


def in_json(answer: Any) -> bytes:
    """JSON in ASCII: nothing in it drives, or reorders, the terminal of who looks at it."""
    body = msgspec.json.encode(answer)
    if body.isascii() and b"\x7f" not in body:
        return body
    return _NOT_PLAIN.sub(lambda found: json.dumps(found[0])[1:-1], body.decode()).encode()


class Answer(View, frozen=True, kw_only=True):
    """A whole answer."""

    schema: int = SCHEMA


class Key(View, frozen=True):
    """Somebody's key."""

    key: str
    """32 bytes."""
    name: str | None
    """In the address book of the node or file that answers; nobody else vouches for it."""
    organisation: str | None = None
    """The id of the organisation that the directory has it under, on which all nodes agree; `null`: none."""
    title: str | None = None
    """Of the organisation."""
    label: str | None = None
    """Of an issuer key, as its organisation chose."""


class Outcome(View, frozen=True):
    """What became of a certificate that was submitted."""

    id: str
    state: str
    """`unknown` (submit it again, that is safe), `waiting`, `final` or `refused`."""
    block_index: int | None = None
    """Once it is final, as the next two."""
    position: int | None = None
    log_index: int | None = None
    rule: str | None = None
    """Of a refusal (docs/protocol.md)."""
    reason: str | None = None
