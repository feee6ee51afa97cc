"""The lone-forger rule: one forger is entitled to each index, and its signature alone makes the block final.

For the course and for a ledger of one member. It assumes what the assignment assumes: that the entitled forger is
awake and honest, so that two valid blocks never compete.
"""

from collections.abc import Sequence
from typing import Protocol

from tallystick.consensus.signing_guard import SigningGuard
from tallystick.ledger.block import Block, VerifiedBlock, verified
from tallystick.ledger.certificate import AnyCertificate
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.header import Header
from tallystick.ledger.state import State
from tallystick.ledger.transition import make_header


class ForgerRule(Protocol):
    """Who is entitled to forge the next block: Proof of Stake, Proof of Work, or a student's own."""

    def may_forge(self, state: State, forger: bytes) -> bool:
        """Whether this key has a turn to take after `state`."""

    def check(self, state: State, header: Header) -> None:
        """Raise `Refused` (B4) unless the header's forger may extend `state`."""

    def work(self, header: Header) -> tuple[Header, bool]:
        """Spend a bounded effort on the header: the header to go on with, and whether it is ready to be signed."""


class LoneForger:
    """Judges forgers by a rule, and forges for one key, a bounded step at a time."""

    def __init__(self, rule: ForgerRule, guard: SigningGuard | None = None) -> None:
        self.rule = rule
        self.guard = guard
        self._attempt: tuple[Header, Sequence[AnyCertificate]] | None = None

    def check_forger(self, state: State, header: Header) -> None:
        """Raise `Refused` (B4) unless the header's forger is entitled to the index, in its only view."""
        if header.view != header.index:
            raise Refused(Rule.B4, f"view {header.view} at index {header.index}: a lone forger has no second view")
        self.rule.check(state, header)

    def may_forge(self, state: State) -> bool:
        """Whether this node's own key has a turn to take."""
        guard, index = self.guard, state.index + 1
        if guard is None or not guard.may_sign_header(state.epoch.number, index):
            return False
        return self.rule.may_forge(state, guard.key)

    def forge(self, now_ms: int, state: State, certificates: Sequence[AnyCertificate]) -> VerifiedBlock | None:
        """Forge the block after `state`, or spend one step of work on it and return `None`: call again.

        An attempt goes on with the certificates that it began with, until the chain moves on or `stop` is called.
        Raises `Refused` (S1 to S8, V6) for certificates that are illegal in the next block.
        """
        if self.guard is None:
            return None
        if self._attempt is None or self._attempt[0].parent_hash != state.tip.hash:
            self._attempt = (make_header(state, state.index + 1, now_ms, self.guard.key, certificates), certificates)
        header, chosen = self._attempt
        header, ready = self.rule.work(header)
        if not ready:
            self._attempt = (header, chosen)
            return None
        self._attempt = None
        signature = self.guard.sign_header(header)
        return verified(Block(header, signature, tuple(chosen))) if signature is not None else None

    def stop(self) -> None:
        """Give up an attempt under way; nothing of it is kept."""
        self._attempt = None
