"""Batches of claims of every kind that rule K2 tells apart, made quickly; and all verifiers held against each other.

    python -m tests.crafted --claims 1000000 --seed 1

PyNaCl verifies each claim alone, the native module the whole batch; one claim of `PLAIN_SHARE` is decided in plain
integers, too. Prints how many there were of each kind. Ends with 1 at the first difference, and prints the claim.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from random import Random

from tallystick.host.batches import VERIFIER, Claim, verify_natively, verify_one_by_one
from tallystick.ledger.encoding import encode
from tests.curve import BASE, TORSION, L, P, add, at_height, challenge, decided_by, encoded, times

PLAIN_SHARE = 500
_SIZES = (1, 2, 3, 4, 5, 16, 64, 256, 256, 1024)
_ISSUERS = 64
_NONCES = 64

_pool = Random(32)
_SECRETS = [_pool.randrange(1, L) for _ in range(_ISSUERS)]
_NONCE_SCALARS = [_pool.randrange(1, L) for _ in range(_NONCES)]
_KEY_POINTS = [times(secret, BASE) for secret in _SECRETS]
_KEYS = [encoded(point) for point in _KEY_POINTS]
_MIXED_KEYS = [[encoded(add(point, torsion)) for torsion in TORSION] for point in _KEY_POINTS[:8]]
_NONCE_POINTS = [times(nonce, BASE) for nonce in _NONCE_SCALARS]
_COMMITMENTS = [[encoded(add(point, torsion)) for torsion in TORSION] for point in _NONCE_POINTS[:16]]
_COMMITMENTS += [[encoded(point)] * 8 for point in _NONCE_POINTS[16:]]
_SMALL = [encoded(torsion) for torsion in TORSION]
_OFF_THE_CURVE = [y.to_bytes(32, "little") for y in range(2, 60) if at_height(y) is None]
_NON_CANONICAL = [(y | sign << 255).to_bytes(32, "little") for y in range(P, 2**255) for sign in (0, 1)]
_NON_CANONICAL += [(y | 1 << 255).to_bytes(32, "little") for y in (1, P - 1)]


class Crafter:
    """Makes batches; the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.kinds = Counter[str]()

    def batch(self) -> list[Claim]:
        """Claims of a number that batches have: all honest, or with few or many others among them."""
        size, share = self._random.choice(_SIZES), self._random.choice((0, 0.004, 0.03, 0.3, 1))
        claims: list[Claim] = []
        while len(claims) < size:
            name = self._random.choice(list(KINDS)) if self._random.random() < share else "honest"
            claims += KINDS[name](self)
            self.kinds[name] += 1
        self._random.shuffle(claims)
        return claims

    def made(
        self, key: bytes | None = None, small: bytes | None = None, torsion: int = 0, more: int = 0, multiple: int = 1
    ) -> Claim:
        """A claim by the arithmetic of Ed25519, for what is given; `multiple`: what the challenge is divisible by."""
        issuer, nonce = (
            self._random.randrange(8 if key else _ISSUERS),
            self._random.randrange(16 if torsion else _NONCES),
        )
        if key is not None:
            issuer = next((number for number, mixed in enumerate(_MIXED_KEYS) if key in mixed), issuer)
        public_key, commitment = key or _KEYS[issuer], small or _COMMITMENTS[nonce][torsion]
        while True:
            message = self._random.randbytes(self._random.choice((0, 40, 100, 200, 300)))
            hashed = challenge(commitment, public_key, message)
            if hashed % multiple == 0 or not message:
                break
        scalar = (0 if small else _NONCE_SCALARS[nonce]) + hashed * (0 if key in _SMALL else _SECRETS[issuer])
        return message, commitment + (scalar % L + more).to_bytes(32, "little"), public_key

    def honest(self) -> list[Claim]:
        return [self.made()]

    def _mixed_key(self) -> bytes:
        return self._random.choice(_MIXED_KEYS)[self._random.randrange(1, 8)]

    def of_mixed_key(self) -> list[Claim]:
        """PyNaCl alone accepts some: the challenge is often a multiple of 8."""
        return [self.made(self._mixed_key(), multiple=self._random.choice((1, 8)))]

    def whose_torsion_cancels(self) -> list[Claim]:
        """In one claim, between key and R; and between two claims of valid keys."""
        torsion = self._random.randrange(1, 8)
        pair = [self.made(torsion=torsion), self.made(torsion=8 - torsion)]
        return [*pair, self.made(self._mixed_key(), torsion=torsion)]

    def whose_errors_cancel(self) -> list[Claim]:
        """What a batch without random factors accepts."""
        more = self._random.randrange(1, L // 4)
        one, other = (self.made() for _ in range(2))
        return [_with_scalar(one, more), _with_scalar(other, -more)]

    def whose_scalar_is_high(self) -> list[Claim]:
        return [self.made(more=L * self._random.randrange(1, 15)), self.made(more=L)]

    def whose_scalar_is_wrong(self) -> list[Claim]:
        return [_with_scalar(self.made(), self._random.choice((1, -1, L // 2)))]

    def swapped(self) -> list[Claim]:
        """Each with a part of the other."""
        one, other = self.made(), self.made()
        part = self._random.randrange(3)
        first, second = list(one), list(other)
        first[part], second[part] = second[part], first[part]
        return [(first[0], first[1], first[2]), (second[0], second[1], second[2])]

    def with_a_bit_changed(self) -> list[Claim]:
        parts = [bytearray(part) for part in self.made()]
        part = self._random.choice([part for part in parts if part])
        part[self._random.randrange(len(part))] ^= 1 << self._random.randrange(8)
        return [(bytes(parts[0]), bytes(parts[1]), bytes(parts[2]))]

    def of_no_form(self) -> list[Claim]:
        """Keys and signatures that are too short or too long."""
        message, signature, key = self.made()
        size = self._random.choice((0, 1, 31, 33, 64, 65))
        return [
            (message, signature[:-1], key),
            (message, signature + b"\0", key),
            (message, signature, (key * 3)[:size]),
        ]


def _with_scalar(claim: Claim, more: int) -> Claim:
    message, signature, key = claim
    scalar = (int.from_bytes(signature[32:], "little") + more) % L
    return message, signature[:32] + scalar.to_bytes(32, "little"), key


def _each(points: list[bytes], as_key: bool) -> Callable[[Crafter], list[Claim]]:
    def one(crafter: Crafter) -> list[Claim]:
        point = crafter._random.choice(points)
        return [crafter.made(key=point) if as_key else crafter.made(small=point)]

    return one


KINDS: dict[str, Callable[[Crafter], list[Claim]]] = {
    "honest": Crafter.honest,
    "key of mixed order": Crafter.of_mixed_key,
    "key of small order": _each(_SMALL, as_key=True),
    "key off the curve": _each(_OFF_THE_CURVE, as_key=True),
    "key not canonical": _each(_NON_CANONICAL, as_key=True),
    "R of mixed order": lambda crafter: [crafter.made(torsion=crafter._random.randrange(1, 8))],
    "R of small order": _each(_SMALL, as_key=False),
    "R off the curve": _each(_OFF_THE_CURVE, as_key=False),
    "R not canonical": _each(_NON_CANONICAL, as_key=False),
    "torsion that cancels": Crafter.whose_torsion_cancels,
    "errors that cancel": Crafter.whose_errors_cancel,
    "S not below L": Crafter.whose_scalar_is_high,
    "another S": Crafter.whose_scalar_is_wrong,
    "parts swapped": Crafter.swapped,
    "a bit changed": Crafter.with_a_bit_changed,
    "of another length": Crafter.of_no_form,
}


def difference(claims: list[Claim], plain: Random) -> str | None:
    """What the verifiers differ in, if anything."""
    assert verify_natively is not None
    batch = encode(claims)
    together, alone = verify_natively(batch), verify_one_by_one(batch)
    for number, claim in enumerate(claims):
        if together[number] != alone[number]:
            return f"native {together[number]}, PyNaCl {alone[number]}: {[part.hex() for part in claim]}"
        is_formed = len(claim[1]) == 64 and len(claim[2]) == 32
        if is_formed and plain.randrange(PLAIN_SHARE) == 0:
            decision = decided_by(*claim)
            if (decision in ("libsodium", "cofactored")) != alone[number]:
                return f"in plain integers {decision}, verified {alone[number]}: {[part.hex() for part in claim]}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if verify_natively is None:
        sys.exit("the native module is not here: make fast")
    crafter, plain, claims, accepted, batches = Crafter(asked.seed), Random(asked.seed), 0, 0, 0
    while claims < asked.claims:
        batch = crafter.batch()
        if found := difference(batch, plain):
            print(found)
            return 1
        claims, batches = claims + len(batch), batches + 1
        accepted += sum(verify_natively(encode(batch)))
    print(f"{claims:,} claims in {batches:,} batches, {accepted:,} accepted; {VERIFIER}, PyNaCl and the rule agree")
    print(", ".join(f"{name}: {count:,}" for name, count in sorted(crafter.kinds.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
