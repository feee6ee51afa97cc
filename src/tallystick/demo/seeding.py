"""Where the simulated demo's keys and salts come from: a seed, so that the account is the same every time."""

from collections.abc import Callable
from hashlib import sha256

Seeding = Callable[[str], bytes]
"""Gives 32 bytes for a purpose."""


def from_seed(seed: int) -> Seeding:
    """The same bytes for the same seed and purpose. Everybody can derive them: fit for a show only."""

    def derive(purpose: str) -> bytes:
        return sha256(f"tallystick demo {seed} {purpose}".encode()).digest()

    return derive
