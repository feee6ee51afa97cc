"""Signed notes: a text with signatures of named keys (c2sp.org/signed-note v1.0.0), and the keys' text form."""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable
from enum import IntEnum
from hashlib import sha256
from typing import Final, NamedTuple

from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import ML_DSA_KEY_BYTES
from tallystick.ledger.keys import check_public_key

MAX_NOTE_BYTES: Final = 128 * 1024
"""Room for 16 signatures of nearly 5 kB, which every reader of notes takes."""
MAX_NOTE_SIGNATURES: Final = 100

_KEY_ID_BYTES: Final = 4
_LINE: Final = re.compile(r"— ([^ +]+) ([A-Za-z0-9+/]+={0,2})", re.ASCII)
_REFUSED: Final = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")
_NAME: Final = re.compile(r"[^\s+\x00-\x1f\ud800-\udfff]+")


class KeyType(IntEnum):
    """What a key of a note signs, and how."""

    LOG = 0x01
    """Ed25519 over the text."""
    COSIGNATURE = 0x04
    """Ed25519 over time and text (c2sp.org/tlog-cosignature)."""
    ML_DSA = 0x06
    """ML-DSA-44 over name, time, origin, size and root (likewise)."""


class NoteSignature(NamedTuple):
    """One line under a note: a key's name and id (4 bytes), and what it signed with, not verified."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """The line, without its end."""
        return f"— {self.name} {b64encode(self.key_id + self.signature).decode()}"


class NoteKey(NamedTuple):
    """A key that signs notes under a name."""

    name: str
    type: int
    public_key: bytes

    @property
    def id(self) -> bytes:
        """4 bytes, which a signature names the key by."""
        return sha256(self.name.encode() + b"\n" + bytes((self.type,)) + self.public_key).digest()[:_KEY_ID_BYTES]

    @property
    def text(self) -> str:
        """The key in one line, as policies and other tools take it ("vkey")."""
        return f"{self.name}+{self.id.hex()}+{b64encode(bytes((self.type,)) + self.public_key).decode()}"

    def signature(self, signed: bytes) -> NoteSignature:
        """The line with what this key signed."""
        return NoteSignature(self.name, self.id, signed)


class Note(NamedTuple):
    """A text, which ends with a newline, and the signatures under it."""

    text: str
    signatures: tuple[NoteSignature, ...]

    @property
    def encoded(self) -> str:
        """The note as it is written."""
        return self.text + "\n" + "".join(one.line + "\n" for one in self.signatures)

    def signed_by(self, key: NoteKey) -> list[bytes]:
        """What stands under the note in the name of this key, not verified."""
        return [one.signature for one in self.signatures if (one.name, one.key_id) == (key.name, key.id)]


def make_note(text: str, signatures: Iterable[NoteSignature]) -> Note:
    """The note of this text. Raises `Refused` (P1) as `parse_note` does."""
    return parse_note(Note(text, tuple(signatures)).encoded)


def parse_note(encoded: str) -> Note:
    """Raise `Refused` (P1) unless this is a signed note: text, empty line, one signature at least."""
    if found := _REFUSED.search(encoded):
        raise Refused(Rule.P1, f"the note has the character U+{ord(found.group()):04X}")
    if len(encoded.encode()) > MAX_NOTE_BYTES:
        raise Refused(Rule.P1, f"a note of {len(encoded.encode())} bytes, {MAX_NOTE_BYTES} allowed")
    text, gap, under = encoded.rpartition("\n\n")
    if not gap or not under.endswith("\n"):
        raise Refused(Rule.P1, "the note does not end with an empty line and signatures, each with a newline")
    lines = under[:-1].split("\n")
    if len(lines) > MAX_NOTE_SIGNATURES:
        raise Refused(Rule.P1, f"a note with {len(lines)} signatures, {MAX_NOTE_SIGNATURES} allowed")
    return Note(text + "\n", tuple(_parse_line(number, line) for number, line in enumerate(lines, start=1)))


def parse_key(text: str) -> NoteKey:
    """A key from its text form. Raises `Refused` (P1; K1 where it is no key of Ed25519 and should be)."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    data = decode_base64(encoded, "the key")
    if len(data) < 2 or not _NAME.fullmatch(name) or NoteKey(name, data[0], data[1:]).id.hex() != key_id:
        raise Refused(Rule.P1, "a key is written as name+8 hexadecimal digits of its id+base64, and its id follows")
    key = NoteKey(name, data[0], data[1:])
    if key.type in (KeyType.LOG, KeyType.COSIGNATURE):
        check_public_key(key.public_key)
    if key.type == KeyType.ML_DSA and len(key.public_key) != ML_DSA_KEY_BYTES:
        raise Refused(Rule.P1, f"a key of ML-DSA-44 has {ML_DSA_KEY_BYTES:,} bytes, not {len(key.public_key):,}")
    return key


def decode_base64(text: str, what: str) -> bytes:
    """The bytes of standard Base64 with padding, in its one canonical form. Raises `Refused` (P1)."""
    try:
        data = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        data = b""
    if b64encode(data).decode() != text:
        raise Refused(Rule.P1, f"{what} is not written in canonical Base64")
    return data


def _parse_line(number: int, line: str) -> NoteSignature:
    found = _LINE.fullmatch(line)
    if found is None or not _NAME.fullmatch(found.group(1)):
        raise Refused(Rule.P1, f"signature {number} of the note is not written as: — name base64")
    data = decode_base64(found.group(2), f"signature {number} of the note")
    if len(data) <= _KEY_ID_BYTES:
        raise Refused(Rule.P1, f"signature {number} of the note is too short")
    return NoteSignature(found.group(1), data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])
