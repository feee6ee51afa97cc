"""A ledger with a directory: its organisations, and whoever acts for them."""

from typing import Any

from tallystick.ledger.certificate import (
    AnyCertificate,
    Approval,
    KeyChange,
    Motion,
    Objection,
    Revocation,
    Statement,
    Supersession,
    issue,
    issue_statement,
)
from tallystick.ledger.changes import AnyChange, AnyKeyOperation, Effect, Reason, Role, sign_admission
from tallystick.ledger.genesis import Founder, Genesis, make_genesis
from tallystick.ledger.params import Params
from tallystick.ledger.state import State
from tallystick.ledger.transition import next_state
from tallystick.ledger.wallet import Wallet
from tests.builders import ADA, BEN, CY, DOT, START_MS, Scribe, wallet

NAMES = {"ada": ADA, "ben": BEN, "cy": CY, "dot": DOT}
DAY_MS = 86_400_000


def directory_genesis(stakes: tuple[int, ...] = (10, 10, 10, 10), **params: Any) -> Genesis:
    """Organisations ada, ben, cy and dot, as many as there are stakes."""
    founders = [
        Founder(name, f"University of {name.title()}", None, key.public_key, Role.MEMBER, stake)
        for (name, key), stake in zip(NAMES.items(), stakes, strict=False)
    ]
    return make_genesis("governed", START_MS, (), Params(**{"anybody_certifies": False, **params}), founders)


class GovernedScribe(Scribe):
    """Writes the chain of a ledger with a directory. Each call of `forge` is one block."""

    def __init__(self, genesis: Genesis | None = None) -> None:
        super().__init__(genesis or directory_genesis())
        self.keys: dict[str, Wallet] = dict(NAMES)
        """The wallets by name; organisations' member keys go by the organisations' ids."""
        self._number = 0

    @property
    def ledger_id(self) -> bytes:
        return self.genesis.ledger_id

    def key(self, name: str) -> Wallet:
        """The wallet of this name, made when it is first asked for."""
        if name not in self.keys:
            self.keys[name] = wallet(name)
        self._wallets[self.keys[name].public_key] = self.keys[name]
        return self.keys[name]

    def draft(self, *certificates: AnyCertificate, signer: Wallet | None = None, **changes: Any) -> Any:
        """As a scribe's, but with what the chain holds in reach."""
        block = super().draft(*certificates, signer=signer, **{"state_root": bytes(32), **changes})
        if "state_root" in changes:
            return block
        find = self.chain.finder()
        root = next_state(self.state, block.header, certificates, find).root
        return super().draft(*certificates, signer=signer, **{**changes, "state_root": root})

    def state_after(self, *certificates: AnyCertificate, **changes: Any) -> State:
        """The state after one more block. Raises `Refused`."""
        self.forge(*certificates, **changes)
        return self.state

    def admission(self, name: str, organisation: str) -> bytes:
        return sign_admission(self.key(name), self.ledger_id, organisation)

    def statement(self, by: str = "ada", subject: str = "") -> Statement:
        self._number += 1
        return issue_statement(self.key(by), self.ledger_id, START_MS, subject or f"statement {self._number}")

    def _statement(self) -> Statement:
        return self.statement(self._certifier())

    def _certifier(self) -> str:
        """Somebody who may certify."""
        directory = self.state.directory
        return next(name for name, one in self.keys.items() if directory.member_of(one.public_key) is not None)

    def motion(self, change: AnyChange, by: str = "ada", days: int = 30) -> Motion:
        expires_ms = self.state.tip.timestamp_ms + days * DAY_MS
        return issue(Motion, self.key(by), self.ledger_id, self._now(), change, expires_ms)

    def approval(self, motion: Motion, by: str) -> Approval:
        return issue(Approval, self.key(by), self.ledger_id, self._now(), motion.id)

    def objection(self, motion: Motion, by: str) -> Objection:
        return issue(Objection, self.key(by), self.ledger_id, self._now(), motion.id)

    def key_change(self, operation: AnyKeyOperation, by: str) -> KeyChange:
        return issue(KeyChange, self.key(by), self.ledger_id, self._now(), operation)

    def revocation(
        self, target: Statement, by: str = "ada", effect: Effect = Effect.REVOKED, reason: Reason = Reason.MISTAKE
    ) -> Revocation:
        return issue(Revocation, self.key(by), self.ledger_id, self._now(), target.id, effect, reason)

    def supersession(self, target: Statement, successor: Statement, by: str = "ada") -> Supersession:
        return issue(Supersession, self.key(by), self.ledger_id, self._now(), target.id, successor.id)

    def decide(self, change: AnyChange, *names: str) -> State:
        """A motion that is approved by all of these, in one block."""
        motion = self.motion(change, names[0])
        return self.state_after(motion, *[self.approval(motion, one) for one in names[1:]])

    def _now(self) -> int:
        self._number += 1
        return START_MS + self._number
