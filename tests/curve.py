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
    x, y, z = 0, 1, 1
    for bit in f"{scalar:b}":
        x, y, z = _sum((x, y, z), (x, y, z))
        if bit == "1":
            x, y, z = _sum((x, y, z), (*point, 1))
    inverse = pow(z, -1, P)
    return x * inverse % P, y * inverse % P


def _sum(one: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
    """The same as `add`, in projective coordinates: without a division."""
    (x1, y1, z1), (x2, y2, z2) = one, other
    z, x, y = z1 * z2 % P, x1 * x2 % P, y1 * y2 % P
    squared, product = z * z % P, _D * x * y % P
    less, more = squared - product, squared + product
    return z * less * ((x1 + y1) * (x2 + y2) - x - y) % P, z * more * (x + y) % P, less * more % P


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


def is_canonical(point: bytes) -> bool:
    """Whether y < p, and x = 0 has no sign bit (RFC 8032, 5.1.3); not whether there is such a point."""
    encoding = int.from_bytes(point, "little")
    y, sign = encoding % 2**255, encoding >> 255
    return y < P and not (sign and y in (1, P - 1))


def decoded(point: bytes) -> Point | None:
    """The point with this encoding, if it is a canonical one."""
    encoding = int.from_bytes(point, "little")
    found = at_height(encoding % 2**255)
    if found is None or not is_canonical(point):
        return None
    return found if found[0] % 2 == encoding >> 255 else negated(found)


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


def decided_by(message: bytes, signature: bytes, public_key: bytes) -> str:
    """Rule K2 in plain integers: the first check that refuses, or what accepts; as tests/vectors/README.md has it."""
    commitment, scalar = signature[:32], int.from_bytes(signature[32:], "little")
    if scalar >= L:
        return "S"
    if not is_canonical(commitment):
        return "R"
    key, point = decoded(public_key), decoded(commitment)
    if key is None or key == NEUTRAL or times(L, key) != NEUTRAL:
        return "K1"
    hashed = challenge(commitment, public_key, message)
    if point is None or not equation_holds(point, key, scalar, hashed, cofactor=8):
        return "equation"
    is_everywhere = equation_holds(point, key, scalar, hashed) and times(8, point) != NEUTRAL
    return "libsodium" if is_everywhere else "cofactored"
