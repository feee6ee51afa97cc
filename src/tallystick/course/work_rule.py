"""Proof of Work as a rule of the engine: whoever finds a nonce that makes the header's hash small enough may forge.

Two forgers can find blocks at the same index, and the lone-forger rule does not choose between them: run it with one
forger at a time, or expect the network to part.
"""

from typing import Final

from msgspec.structs import replace

from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.header import Header
from tallystick.ledger.state import State

_SPACE: Final = 2**256
_ATTEMPTS: Final = 2_000
"""Nonces tried in one go, some milliseconds: between goes the forger hears whether to stop."""


class WorkRule:
    """`difficulty` is the number of hashes that a block costs on average: 1 or more, adjustable at any time."""

    def __init__(self, difficulty: int) -> None:
        self.difficulty = difficulty

    @property
    def difficulty(self) -> int:
        """Expected hashes for a block."""
        return self._difficulty

    @difficulty.setter
    def difficulty(self, difficulty: int) -> None:
        if type(difficulty) is not int or not 1 <= difficulty < _SPACE:
            raise ValueError(f"a difficulty is a whole number from 1 to 2^256 - 1, not {difficulty!r}")
        self._difficulty = difficulty

    def is_enough(self, header: Header) -> bool:
        """Whether the header's hash, as a number, is below 2^256 / difficulty."""
        return int.from_bytes(header.hash, "big") < _SPACE // self._difficulty

    def may_forge(self, state: State, forger: bytes) -> bool:
        """Everybody may try."""
        return True

    def check(self, state: State, header: Header) -> None:
        """Raise `Refused` (B4) unless the header's hash shows the work."""
        if not self.is_enough(header):
            raise Refused(Rule.B4, f"hash {header.hash.hex()[:16]}… does not show work of {self._difficulty} hashes")

    def work(self, header: Header) -> tuple[Header, bool]:
        """Try nonces from the header's on: the header that shows the work and `True`, or where to go on and `False`."""
        for nonce in range(header.nonce, header.nonce + _ATTEMPTS):
            candidate = replace(header, nonce=nonce)
            if self.is_enough(candidate):
                return candidate, True
        return replace(header, nonce=header.nonce + _ATTEMPTS), False
