"""A ledger with a directory: its organisations, and whoever acts for them."""

from typing import Any

from tallystick.ledger.block import VerifiedBlock
from tallystick.ledger.certificate import (
    AnyCertificate,
    Approval,
    Erasure,
    ErasureConfirmation,
    KeyChange,
    Motion,
    Objection,
    Revocation,
    Statement,
    Supersession,
    check_signed,
    issue,
    issue_statement,
)
from tallystick.ledger.changes import (
    AddIssuer,
    Admit,
    AnyChange,
    AnyKeyOperation,
    Effect,
    EndIssuer,
    Reason,
    Remove,
    ReplaceMemberKey,
    Role,
    RotateMemberKey,
    SetMlDsaKey,
    SetOrganisationKey,
    SetStakes,
    SetStatus,
    StakeChange,
    sign_admission,
)
from tallystick.ledger.directory import KeyEntry
from tallystick.ledger.genesis import Founder, Genesis, make_genesis
from tallystick.ledger.params import Params
from tallystick.ledger.state import State
from tallystick.ledger.transition import next_state
from tallystick.ledger.wallet import Wallet
from tests.builders import ADA, BEN, CY, DOT, START_MS, FinalScribe, Scribe, verify, wallet

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

    def __init__(self, genesis: Genesis | None = None, keys: dict[str, Wallet] | None = None) -> None:
        super().__init__(genesis or directory_genesis())
        self.keys: dict[str, Wallet] = dict(keys or NAMES)
        """The wallets by name; organisations' member keys go by the organisations' ids."""
        self._number = 0
        self._own = set[bytes]()
        """Leaf hashes, which cover the signature, of statements that it has signed and need not verify."""

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

    def forge(self, *certificates: AnyCertificate, **changes: Any) -> VerifiedBlock:
        """The next block, added if all its signatures are good. Raises `Refused`, by the certificate's own rule."""
        for one in certificates:
            if one.leaf_hash not in self._own:
                check_signed(one, self.ledger_id, verify)
        return super().forge(*certificates, **changes)

    def state_after(self, *certificates: AnyCertificate, **changes: Any) -> State:
        """The state after one more block. Raises `Refused`."""
        self.forge(*certificates, **changes)
        return self.state

    def admission(self, name: str, organisation: str) -> bytes:
        return sign_admission(self.key(name), self.ledger_id, organisation)

    def statement(self, by: str = "ada", subject: str = "") -> Statement:
        self._number += 1
        made = issue_statement(self.key(by), self.ledger_id, START_MS, subject or f"statement {self._number}")
        self._own.add(made.leaf_hash)
        return made

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

    def erasure(self, target: Statement, by: str = "ada") -> Erasure:
        return issue(Erasure, self.key(by), self.ledger_id, self._now(), target.id)

    def erased(self, order: AnyCertificate, target: Statement, by: str) -> ErasureConfirmation:
        return issue(ErasureConfirmation, self.key(by), self.ledger_id, 0, order.id, target.id)

    # ---- changes ----------------------------------------------------------------------------------------------

    def admit(self, name: str, stake: int = 0, role: Role = Role.MEMBER, title: str = "") -> Admit:
        title = title or f"University of {name.title()}"
        return Admit(name, title, None, self.key(name).public_key, role, stake, self.admission(name, name))

    def remove(self, name: str) -> Remove:
        return Remove(name, self.stake_of(name))

    def set_status(self, target: Statement, reason: Reason = Reason.ORGANISATION_ENDED) -> SetStatus:
        return SetStatus(target.id, Effect.REVOKED, reason)

    def set_stakes(self, **after: int) -> SetStakes:
        return SetStakes(tuple(StakeChange(name, self.stake_of(name), after[name]) for name in sorted(after)))

    def replace_key(self, organisation: str, after: str, since: int | None = None) -> ReplaceMemberKey:
        before, key = self.member_key(organisation), self.key(after).public_key
        return ReplaceMemberKey(organisation, before, key, since, self.admission(after, organisation))

    def organisation_key(self, organisation: str, after: str | None) -> SetOrganisationKey:
        before = self.state.directory.organisations[organisation].organisation_key
        if after is None:
            return SetOrganisationKey(organisation, before, None, None)
        return SetOrganisationKey(organisation, before, self.key(after).public_key, self.admission(after, organisation))

    def add_issuer(self, name: str, organisation: str = "ada", by: str = "", until_ms: int | None = None) -> KeyChange:
        key, admitted = self.key(name).public_key, self.admission(name, organisation)
        return self.key_change(AddIssuer(organisation, key, "registry", until_ms, admitted), by or organisation)

    def end_issuer(self, name: str, by: str = "ada", since: int | None = None) -> KeyChange:
        return self.key_change(EndIssuer(self.key(name).public_key, since), by)

    def rotation(self, organisation: str, after: str, by: str = "", since: int | None = None) -> KeyChange:
        key, admitted = self.key(after).public_key, self.admission(after, organisation)
        before = self.member_key(organisation)
        return self.key_change(RotateMemberKey(organisation, before, key, since, admitted), by or organisation)

    def ml_dsa(self, organisation: str, key: bytes | None, by: str = "") -> KeyChange:
        """Its member key's ML-DSA-44 key is registered, or ended."""
        return self.key_change(SetMlDsaKey(self.member_key(organisation), key), by or organisation)

    def member_key(self, organisation: str) -> bytes:
        key = self.state.directory.organisations[organisation].member_key
        assert key is not None
        return key

    def entry(self, name: str) -> KeyEntry:
        """What the directory says of the key with this name."""
        return self.state.directory.keys[self.key(name).public_key]

    def stake_of(self, organisation: str) -> int:
        return self.state.stakes.account(self.member_key(organisation)).staked

    def decide(self, change: AnyChange, *names: str) -> State:
        """A motion that is approved by all of these, in one block."""
        motion = self.motion(change, names[0])
        return self.state_after(motion, *[self.approval(motion, one) for one in names[1:]])

    def _now(self) -> int:
        self._number += 1
        return START_MS + self._number


class FinalGovernedScribe(GovernedScribe, FinalScribe):
    """With finalizations."""
