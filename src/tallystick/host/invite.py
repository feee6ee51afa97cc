"""An invite in one line of text: which ledger, and where to find one of its nodes.

The text is Bech32m (BIP 350), which was made to be copied by people: one case, no letters that look alike, and a
checksum that notices every slip of up to four characters in a short text, and nearly every other.
"""

from typing import Annotated, Final

from msgspec import Meta, Struct

from tallystick.ledger.address import Address
from tallystick.ledger.encoding import Codec
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import Digest, PublicKey

VERSION: Final = 1
MAX_TEXT_CHARACTERS: Final = 4096
PREFIX: Final = "tallystick"

_CHARACTERS: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES: Final = {character: value for value, character in enumerate(_CHARACTERS)}
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32M: Final = 0x2BC830A3
_CHECKSUM_CHARACTERS: Final = 6


class Invite(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The ledger's id, the key of the node that invites, and the addresses at which it may answer, best first."""

    version: Annotated[int, Meta(ge=1, le=255)]
    ledger_id: Digest
    key: PublicKey
    addresses: Annotated[tuple[Address, ...], Meta(min_length=1, max_length=8)]


_codec: Codec[Invite] = Codec(Invite, MAX_TEXT_CHARACTERS // 8 * 5, "invite")


def write_invite(ledger_id: bytes, key: bytes, addresses: tuple[str, ...]) -> str:
    """The line `tallystick1…`. Raises `Refused` (E2) for what is no id, key or address, or more than 8 addresses."""
    return to_bech32m(PREFIX, _codec.encode_checked(Invite(VERSION, ledger_id, key, addresses)))


def read_invite(text: str) -> Invite:
    """Read the line; white space in it, as mail programs put there, counts for nothing.

    Raises `Refused` (E1 too long; E2 mistyped, cut off, or no invite; E3; E4 made by a later version).
    """
    if len(text) > 2 * MAX_TEXT_CHARACTERS:
        raise Refused(Rule.E1, f"invite of {len(text)} characters, {MAX_TEXT_CHARACTERS} allowed")
    line = "".join(text.split())
    if len(line) > MAX_TEXT_CHARACTERS:
        raise Refused(Rule.E1, f"invite of {len(line)} characters, {MAX_TEXT_CHARACTERS} allowed")
    if not line.lower().startswith(f"{PREFIX}1"):
        raise Refused(Rule.E2, f"an invite begins with {PREFIX}1; copy all of the line")
    data = from_bech32m(PREFIX, line)
    if len(data) > 1 and data[0] >> 4 == 9 and VERSION < data[1] < 128:  # an array of whatever a later one holds
        raise Refused(Rule.E4, f"invite of version {data[1]}, {VERSION} is known; use a later version of this program")
    return _codec.decode(data)


def to_bech32m(prefix: str, data: bytes) -> str:
    """Bytes as Bech32m text with this lower-case prefix, of any length."""
    bits, bit_count = int.from_bytes(data, "big"), 8 * len(data)
    bits, bit_count = bits << (-bit_count % 5), bit_count + -bit_count % 5
    values = [bits >> shift & 31 for shift in range(bit_count - 5, -1, -5)]
    check = _remainder(prefix, [*values, *[0] * _CHECKSUM_CHARACTERS]) ^ _BECH32M
    values += [check >> shift & 31 for shift in range(25, -1, -5)]
    return f"{prefix}1{''.join(_CHARACTERS[value] for value in values)}"


def from_bech32m(prefix: str, text: str) -> bytes:
    """The bytes of a text that begins with the prefix and `1`. Raises `Refused` (E2) where it was mistyped or cut."""
    if text not in (text.lower(), text.upper()):
        raise Refused(Rule.E2, "the text has small and capital letters mixed; copy it again, all of it")
    lower = text.lower()
    for place, character in enumerate(lower[len(prefix) + 1 :], start=len(prefix) + 2):
        if character not in _VALUES:
            raise Refused(Rule.E2, f"{character!r} at place {place} stands in no such text; copy it again, all of it")
    values = [_VALUES[character] for character in lower[len(prefix) + 1 :]]
    if len(values) < _CHECKSUM_CHARACTERS or _remainder(prefix, values) != _BECH32M:
        raise Refused(Rule.E2, "a character of the text was mistyped, or some are missing; copy it again, all of it")
    del values[-_CHECKSUM_CHARACTERS:]
    bits, spare = 0, 5 * len(values) % 8
    for value in values:
        bits = bits << 5 | value
    if spare > 4 or bits & ((1 << spare) - 1):
        raise Refused(Rule.E2, "the text is no whole number of bytes; copy it again, all of it")
    return (bits >> spare).to_bytes(5 * len(values) // 8, "big")


def _remainder(prefix: str, values: list[int]) -> int:
    """The BCH checksum of BIP 173 over prefix and values."""
    letters = prefix.encode("ascii")
    check = 1
    for value in (*(letter >> 5 for letter in letters), 0, *(letter & 31 for letter in letters), *values):
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for place, term in enumerate(_GENERATOR):
            check ^= term if top >> place & 1 else 0
    return check
