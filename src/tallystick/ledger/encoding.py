"""Canonical bytes: MessagePack arrays, bounded before they are decoded, the same bytes when encoded again.

A value has one encoding. Whatever decodes to it but is not that encoding is refused, so a signature and a
hash always cover the bytes that travelled.
"""

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, Generic, TypeVar, dataclass_transform

import msgspec
from msgspec import Struct

from tallystick.ledger.errors import Refused, Rule

T = TypeVar("T")

encode: Final = msgspec.msgpack.Encoder().encode
"""The canonical bytes of a value; a struct's own fields decide its layout."""

_SAID: Final = {"truncated": "ends too early", "trailing": "goes on after its end", "length": "has another length"}


def _said(error: Exception) -> str:
    """What is wrong for a person, and in which field, one in another; a struct's first is 0."""
    field = ".".join(re.findall(r"\[(\d+)\]", str(error)))
    said = next((said for sign, said in _SAID.items() if sign in str(error)), "is not as declared")
    return f"field {field} {said}" if field else f"it {said}"


def digest(data: bytes) -> bytes:
    """SHA-256, 32 bytes."""
    return sha256(data).digest()


class derived(Generic[T]):  # noqa: N801  used like `property`
    """A property worked out once, and kept in the instance's dictionary.

    `functools.cached_property` without its lock, which until Python 3.12 costs more than most of what is kept so: two
    threads might work it out both, to the same end.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        if instance is None:
            raise AttributeError(self._name)
        value: T = self._compute(instance)
        instance.__dict__[self._name] = value
        return value


@dataclass_transform(frozen_default=True)
class Encoded(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """Base of what is sent, kept or hashed: immutable, an array of its fields. Subclasses inherit all of that."""

    @derived
    def encoded(self) -> bytes:
        """The canonical bytes."""
        return encode(self)


class Codec(Generic[T]):
    """Decodes one declared type, or refuses the bytes by rules E1 to E3."""

    def __init__(self, declared: object, max_bytes: int, name: str) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(declared)
        self.max_bytes = max_bytes
        self.name = name

    def decode(self, data: bytes) -> T:
        """Raise `Refused` (E1 too long, E2 not the declared form, E3 not canonical)."""
        if len(data) > self.max_bytes:
            raise Refused(Rule.E1, f"{self.name} of {len(data)} bytes, {self.max_bytes} allowed")
        try:
            value = self._decoder.decode(data)
            canonical = encode(value)
        except (ValueError, RecursionError, OverflowError) as error:
            raise Refused(Rule.E2, f"{self.name}: {_said(error)}") from None
        if canonical != data:
            raise Refused(Rule.E3, f"{self.name}: encoding it again gives other bytes")
        return value

    def encode_checked(self, value: T) -> bytes:
        """Encode a value made here, held to all that a peer will hold it to. Raises `Refused` (E1, E2, E3)."""
        try:
            data = encode(value)
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            raise Refused(Rule.E2, f"{self.name}: {_said(error)}") from None
        self.decode(data)
        return data
