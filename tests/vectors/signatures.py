"""Signatures at the edges of rule K2. Each refused one breaks one check and, where one can be made, no other.

Each message is what the issuer of a statement signs, so that every vector also goes where certificates go.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tallystick.host import acceptance
from tallystick.ledger.certificate import Statement
from tallystick.ledger.keys import Domain
from tests.builders import ADA, BEN, LEDGER, START_MS
from tests.curve import BASE, TORSION, L, P, Point, add, at_height, challenge, encoded, times

PATH = Path(acceptance.__file__).parent / acceptance.VECTORS

LIBSODIUM, COFACTORED = "libsodium", "cofactored"
S, R, K1, EQUATION = "S", "R", "K1", "equation"


class Vector(NamedTuple):
    """`decided_by`: the first check that refuses it; or what accepts it, any libsodium or the cofactored equation."""

    name: str
    public_key: bytes
    message: bytes
    signature: bytes
    accepted: bool
    decided_by: str


_SECRET, _NONCE = 7**80 % L, 5**90 % L
_KEY_POINT, _NONCE_POINT = times(_SECRET, BASE), times(_NONCE, BASE)
_KEY, _COMMITMENT = encoded(_KEY_POINT), encoded(_NONCE_POINT)
_OFF_THE_CURVE = next(y for y in range(2, 100) if at_height(y) is None).to_bytes(32, "little")

_NEGATIVE_ZEROS = {"x = 0, y = 1 with the sign bit": (1, 1), "x = 0, y = p - 1 with the sign bit": (P - 1, 1)}
_TOO_HIGH = {f"y = p + {y}{', signed' * sign}": (P + y, sign) for y in (0, 1) for sign in (0, 1)}
_NON_CANONICAL = {
    name: (y | sign << 255).to_bytes(32, "little") for name, (y, sign) in (_NEGATIVE_ZEROS | _TOO_HIGH).items()
}
"""Those whose points are of small order: for no other ones can anybody make a signature that holds but for this."""


def _honest(hashed: int) -> int:
    return (_NONCE + hashed * _SECRET) % L


def _more(more: int, hashed: int) -> int:
    return _honest(hashed) + more


def _without_nonce(hashed: int) -> int:
    """S for an R of small order."""
    return hashed * _SECRET % L


def _vector(
    name: str,
    decided_by: str,
    key: bytes = _KEY,
    commitment: bytes = _COMMITMENT,
    scalar: Callable[[int], int] = _honest,
    fits: Callable[[int], bool] = lambda hashed: True,
) -> Vector:
    """The first statement for whose challenge k `fits(k)`, and the signature with S = `scalar(k)`."""
    for number in count():
        message = Statement(key, START_MS, f"{name} / {number}", None).signed_bytes(LEDGER)
        hashed = challenge(commitment, key, message)
        if fits(hashed):
            signature = commitment + scalar(hashed).to_bytes(32, "little")
            return Vector(name, key, message, signature, decided_by in (LIBSODIUM, COFACTORED), decided_by)
    raise AssertionError


def _mixed(point: Point, torsion: int) -> bytes:
    return encoded(add(point, TORSION[torsion]))


def _accepted() -> Iterator[Vector]:
    statement = Statement(ADA.public_key, START_MS, "honest", None)
    signature = ADA.sign(Domain.CERTIFICATE, LEDGER, statement.body)
    yield Vector("honest", ADA.public_key, statement.signed_bytes(LEDGER), signature, True, LIBSODIUM)
    yield _vector("honest, made by the arithmetic of the vectors", LIBSODIUM)
    for torsion in range(8):
        small = encoded(TORSION[torsion])
        yield _vector(f"R of small order, {torsion} T", COFACTORED, commitment=small, scalar=_without_nonce)
    for torsion in range(1, 8):
        yield _vector(f"R of mixed order, r B + {torsion} T", COFACTORED, commitment=_mixed(_NONCE_POINT, torsion))


def _refused_by_s() -> Iterator[Vector]:
    for times_l in (1, 2, 8, 15):
        yield _vector(f"S + {times_l} L", S, scalar=partial(_more, times_l * L))
    small = encoded(TORSION[1])
    yield _vector("S + L, R of small order", S, commitment=small, scalar=lambda hashed: _without_nonce(hashed) + L)
    yield _vector("S = L", S, scalar=lambda hashed: L)
    yield _vector("S = L, R the identity", S, commitment=encoded(TORSION[0]), scalar=lambda hashed: L)
    yield _vector("S = 2^256 - 1", S, scalar=lambda hashed: 2**256 - 1)


def _refused_by_r() -> Iterator[Vector]:
    for name, commitment in _NON_CANONICAL.items():
        yield _vector(f"R not canonical, {name}", R, commitment=commitment, scalar=_without_nonce)
    for name, number in (("y = p + 18", 2**255 - 1), ("y = p + 18, signed", 2**256 - 1)):
        yield _vector(f"R not canonical, {name}", R, commitment=number.to_bytes(32, "little"))


def _refused_by_k1() -> Iterator[Vector]:
    for torsion in range(8):
        small = encoded(TORSION[torsion])
        yield _vector(f"A of small order, {torsion} T", K1, small, scalar=lambda hashed: _NONCE)
    for torsion in range(1, 8):
        key = _mixed(_KEY_POINT, torsion)
        yield _vector(f"A of mixed order, a B + {torsion} T, k = 0 mod 8", K1, key, fits=lambda hashed: not hashed % 8)
    mixed = _mixed(_KEY_POINT, 1)
    yield _vector("A of mixed order, k = 1 mod 8", K1, mixed, fits=lambda hashed: hashed % 8 == 1)
    cancelling = _mixed(_NONCE_POINT, 3)
    yield _vector("A and R of mixed order, which cancel", K1, mixed, cancelling, fits=lambda hashed: hashed % 8 == 5)
    for name, key in _NON_CANONICAL.items():
        yield _vector(f"A not canonical, {name}", K1, key, scalar=lambda hashed: _NONCE)
    yield _vector("A off the curve", K1, _OFF_THE_CURVE)


def _refused_by_the_equation() -> Iterator[Vector]:
    yield _vector("R off the curve", EQUATION, commitment=_OFF_THE_CURVE)
    yield _vector("S = 0", EQUATION, scalar=lambda hashed: 0)
    for torsion in range(8):
        small = encoded(TORSION[torsion])
        yield _vector(f"S = 0, R of small order, {torsion} T", EQUATION, commitment=small, scalar=lambda hashed: 0)
    yield _vector("S = 1", EQUATION, scalar=lambda hashed: 1)
    yield _vector("S = L - 1", EQUATION, scalar=lambda hashed: L - 1)
    yield _vector("S + 1", EQUATION, scalar=lambda hashed: (_honest(hashed) + 1) % L)
    yield _vector("S + 1, R of mixed order", EQUATION, _KEY, _mixed(_NONCE_POINT, 1), lambda k: (_honest(k) + 1) % L)
    yield _vector("the key of another", EQUATION, BEN.public_key)
    other = Statement(_KEY, START_MS, "another message", None).signed_bytes(LEDGER)
    yield _vector("", EQUATION)._replace(name="another message", message=other)


def vectors() -> list[Vector]:
    """All of them, in the order of the checks."""
    groups = (_accepted(), _refused_by_s(), _refused_by_r(), _refused_by_k1(), _refused_by_the_equation())
    return [vector for group in groups for vector in group]
