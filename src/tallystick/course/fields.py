"""What a student writes into a certificate, in canonical bytes: the fields of its own travel in the payload."""

import math
from typing import Any, Final, TypeVar

import msgspec
from msgspec.msgpack import Decoder, Encoder, Ext

from tallystick.ledger.certificate import SALT_BYTES, Payload, payload_codec
from tallystick.ledger.errors import Refused, Rule

T = TypeVar("T")

SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})
"""Types whose values never change, so that an encoding of them stays good."""

_MEDIA_TYPE: Final = "application/msgpack"
_NO_SALT: Final = bytes(SALT_BYTES)
"""The hash of a course certificate depends on its fields alone; the course never erases a payload."""

_DEEPEST: Final = 32
_TUPLE: Final = 1

_ALLOWED: Final = (
    "a certificate can hold text, bytes, whole and decimal numbers, True, False, None, "
    "and lists, tuples and dictionaries of these"
)

_encoder = Encoder(order="sorted")


def _ext_hook(code: int, data: memoryview) -> object:
    return tuple(_decoder.decode(data)) if code == _TUPLE else Ext(code, bytes(data))


_decoder: Decoder[Any] = Decoder(ext_hook=_ext_hook)


def encode_fields(fields: dict[str, object]) -> Payload:
    """The payload that covers these fields. Raises `Refused` (E1, E2) for what cannot be encoded."""
    try:
        content = _encoder.encode({name: _plain(name, value, 0) for name, value in fields.items()})
    except Refused:
        raise
    except (ValueError, TypeError):
        raise Refused(Rule.E2, f"fields {', '.join(map(str, fields))} cannot be encoded; {_ALLOWED}") from None
    payload = Payload(_NO_SALT, "", _MEDIA_TYPE, content)
    payload_codec.encode_checked(payload)
    return payload


def decode_fields(payload: Payload) -> dict[str, object]:
    """The fields that `encode_fields` put into the payload, equal to the original ones."""
    fields: dict[str, object] = _decoder.decode(payload.content)
    return fields


def _plain(name: str, value: object, depth: int) -> object:
    """The value in terms of MessagePack, or a refusal that names the field."""
    if depth > _DEEPEST:
        raise Refused(Rule.E2, f"field {name!r} is nested more than {_DEEPEST} deep, or holds itself")
    if isinstance(value, float) and not math.isfinite(value):
        raise Refused(Rule.E2, f"field {name!r} is {value}, which is not a number that equals itself or can be reached")
    if type(value) is int and not -(2**63) <= value < 2**64:
        raise Refused(Rule.E2, f"field {name!r} does not fit 64 bits; write so large a number as text")
    if type(value) in SCALARS:
        return value
    if type(value) is list:
        return [_plain(name, one, depth + 1) for one in value]
    if type(value) is tuple:
        return Ext(_TUPLE, _encoder.encode([_plain(name, one, depth + 1) for one in value]))
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: _plain(name, one, depth + 1) for key, one in value.items()}
    what = "a dictionary whose keys are not all text" if isinstance(value, dict) else f"a {type(value).__name__}"
    raise Refused(Rule.E2, f"field {name!r} is, or holds, {what}; {_ALLOWED}")


def checked(name: str, value: object, declared: type[T], expected: str) -> T:
    """The value, if it is of the engine's declared type. Raises `Refused` (E2) with what was expected."""
    try:
        return msgspec.convert(value, declared)
    except (msgspec.ValidationError, RecursionError, OverflowError):
        raise Refused(Rule.E2, f"{name} is {_shown(value)}; {expected}") from None


def from_hex(name: str, value: object, length: int, expected: str) -> bytes:
    """The bytes that a hex string stands for. Raises `Refused` (E2) unless it is the one way to write that many."""
    try:
        data = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        data = b""
    if len(data) != length or data.hex() != value:
        raise Refused(Rule.E2, f"{name} is {_shown(value)}; {expected}")
    return data


def _shown(value: object) -> str:
    """The value in few words; a stranger's `repr` may be long, or fail."""
    if type(value) not in SCALARS:
        return f"a {type(value).__name__}"
    text = repr(value) if not isinstance(value, int) or value.bit_length() < 512 else "a huge number"
    return text if len(text) <= 40 else f"{text[:37]}…"
