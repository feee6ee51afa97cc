"""Ed25519 in plain integers (RFC 8032, 5.1), to make the signatures that no honest signer makes."""

from hashlib import sha512

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, P - 2, P) % P
_SQRT_MINUS_1 = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]
NEUTRAL: Point = (0, 1)


def add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    product = _D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P)
    return x % P, y % P


def times(scalar: int, point: Point) -> Point:
    result = NEUTRAL
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def negated(point: Point) -> Point:
    return -point[0] % P, point[1]


def encoded(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def at_height(y: int) -> Point | None:
    """A point with this y, if there is one."""
    squared = (y * y - 1) * pow(_D * y * y + 1, P - 2, P) % P
    x = pow(squared, (P + 3) // 8, P)
    for root in (x, x * _SQRT_MINUS_1 % P):
        if root * root % P == squared:
            return root, y
    return None


def _base() -> Point:
    point = at_height(4 * pow(5, P - 2, P) % P)
    assert point is not None
    return point if point[0] % 2 == 0 else negated(point)


def _torsion() -> Point:
    """A point of order 8."""
    for y in range(2, 100):
        point = at_height(y)
        if point is not None and times(4, times(L, point)) != NEUTRAL:
            return times(L, point)
    raise AssertionError("no point of order 8")


BASE = _base()
TORSION = [times(k, _torsion()) for k in range(8)]
"""The eight points of small order; `TORSION[k]` has order 8 / gcd(8, k)."""


def challenge(commitment: bytes, key: bytes, message: bytes) -> int:
    return int.from_bytes(sha512(commitment + key + message).digest(), "little") % L


def equation_holds(commitment: Point, key: Point, scalar: int, hashed: int, cofactor: int = 1) -> bool:
    """Whether cofactor·S·B = cofactor·(R + h·A)."""
    left = times(cofactor * scalar, BASE)
    return left == times(cofactor, add(commitment, times(hashed, key)))
