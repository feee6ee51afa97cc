"""The line by which a key says that it wants to be an organisation's: `tallystick key admit` prints it."""

from typing import Annotated, Final, NamedTuple

import typer

from tallystick.cli.options import argument, option
from tallystick.ledger.changes import Admission
from tallystick.ledger.fields import MAX_INDEX
from tallystick.ledger.keys import is_signed

_PARTS: Final = 3

Admitted = Annotated[str, argument("ADMISSION", "The line that tallystick key admit printed for the new key.")]
Since = Annotated[
    int | None,
    option("The old key was stolen: what it certified from this log index on is void.", "INDEX", min=0, max=MAX_INDEX),
]


class Admitting(NamedTuple):
    """A key that wants to be an organisation's, as it signed that itself."""

    organisation: str
    key: str
    signature: str

    @property
    def line(self) -> str:
        """In a line of text."""
        return ":".join(self)


def read_admission(line: str, ledger_id: bytes) -> Admitting:
    """What `Admitting.line` gave for this ledger. Raises `typer.BadParameter`, `Refused` (D3)."""
    parts = line.strip().split(":")
    if len(parts) != _PARTS or [len(one) for one in parts[1:]] != [64, 128]:
        raise typer.BadParameter(
            f"{line!r} is no admission: tallystick key admit prints it, ORGANISATION:KEY:SIGNATURE"
        )
    found = Admitting(*parts)
    try:
        key, signature = bytes.fromhex(found.key), bytes.fromhex(found.signature)
    except ValueError:
        raise typer.BadParameter("key and signature of an admission are hexadecimal") from None
    Admission(found.organisation, key, signature).check(ledger_id, is_signed)
    return found


def void_since(index: int | None) -> str:
    """What becomes of what a key certified that was stolen, for the middle of a question; else nothing."""
    return "" if index is None else f", and what it certified from log index {index:,} on is void"
