"""The draft of a ledger that continues another: a file that goes round, and the lines that come back, each a consent.

A draft is a genesis with the consents given so far. The text of the file is Bech32m, as an invite's.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tallystick.host.invite import from_bech32m, to_bech32m
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.genesis import Genesis, decode_genesis, with_consents
from tallystick.ledger.params import MAX_GENESIS_BYTES
from tallystick.problems import BadRequest, Problem, UnreadableFile

PREFIX: Final = "tallystick-draft"

_CONSENT: Final = re.compile(r"(?P<key>[0-9a-f]{64}):(?P<signature>[0-9a-f]{128})")


def check_free(path: Path) -> None:
    """Raise `Problem` where a draft would take the place of another file."""
    if path.exists():
        raise Problem(f"{path} exists already; name another file for the draft")


def write_draft(path: Path, draft: Genesis) -> None:
    """Write a new file. Raises `Problem`."""
    try:
        with path.open("x") as file:
            file.write(to_bech32m(PREFIX, draft.encoded) + "\n")
    except OSError as error:
        raise Problem(f"{path} cannot be written: {error.strerror}") from None


def read_draft(path: Path) -> Genesis:
    """Raise `UnreadableFile`, and `Refused` as `decode_genesis` (E2, too: mistyped, cut off, or no draft)."""
    try:
        with path.open("rb") as file:
            data = file.read(2 * MAX_GENESIS_BYTES)
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}") from None
    line = "".join(data.decode("ascii", "replace").split())
    if not line.startswith(f"{PREFIX}1"):
        raise Refused(Rule.E2, f"a draft begins with {PREFIX}1; name the file that tallystick new --draft wrote")
    draft = decode_genesis(from_bech32m(PREFIX, line))
    if draft.continues is None:
        raise Refused(Rule.E2, "this is a ledger that continues none")
    return draft


def write_consent(key: bytes, signature: bytes) -> str:
    """Key and signature in a line."""
    return f"{key.hex()}:{signature.hex()}"


def with_lines(draft: Genesis, lines: Iterable[str]) -> Genesis:
    """The draft with these consents beside those it has. Raises `BadRequest`, `Refused` (G5)."""
    assert draft.continues is not None, "it continues no ledger"
    consents: Mapping[bytes, bytes] = dict(draft.continues.consents)
    for line in lines:
        match = _CONSENT.fullmatch("".join(line.split()).lower())
        if match is None:
            raise BadRequest(f"{line!r} is no consent: copy all of the line that tallystick key continue printed")
        consents = {**consents, bytes.fromhex(match["key"]): bytes.fromhex(match["signature"])}
    return with_consents(draft, consents)
