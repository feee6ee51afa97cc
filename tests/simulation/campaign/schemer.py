"""A Byzantine member of a ledger with a directory: it decides alone what takes all, and says again what is over."""

from collections import deque
from collections.abc import Callable
from hashlib import sha256

from tests.simulation.campaign.byzantine import Byzantine

from tallystick.ledger.block import Block
from tallystick.ledger.certificate import (
    AnyCertificate,
    Approval,
    KeyChange,
    Motion,
    Objection,
    Revocation,
    Statement,
    issue,
    issue_stake,
    issue_statement,
)
from tallystick.ledger.changes import (
    AddIssuer,
    Admit,
    AnyChange,
    Effect,
    Reason,
    Remove,
    Role,
    RotateMemberKey,
    SetParameter,
    SetStakes,
    StakeChange,
    sign_admission,
)
from tallystick.ledger.messages import Certificates, Entry, Message
from tallystick.ledger.wallet import Wallet

_DAY_MS = 86_400_000
_PAUSE_MS = 60
_REMEMBERED = 60


class Schemer(Byzantine):
    """Moves, approves twice, approves for other epochs and for values that changed, claims others' keys, replays."""

    def __init__(self, *arguments, **more) -> None:
        self._latest_ms = 0
        self._said: deque[AnyCertificate] = deque(maxlen=_REMEMBERED)
        """Decisions of anybody, to be said again."""
        self._number = 0
        super().__init__(*arguments, **more)

    def hear(self, peer: str, message: Message) -> None:
        if isinstance(message, Certificates):
            self._said.extend(one.certificate for one in message.entries if not isinstance(one.certificate, Statement))
        now_ms = self.network.now_ms
        others = self.others()
        if now_ms < self._latest_ms + _PAUSE_MS or not others:
            return
        self._latest_ms = now_ms
        if (scheme := self._scheme()) is not None:
            self._said.append(scheme)
            for other in self.random.sample(others, self.random.randint(1, len(others))):
                self.tell(other, Certificates((Entry(scheme),)))

    def forged(self, block: Block) -> None:
        """Now and then it proposes what nobody may decide so."""
        if self.random.random() < 0.5 and (scheme := self._illegal()) is not None:
            self.propose(self.make(block, certificates=(*block.certificates, scheme)), self.others())

    # ---- schemes ------------------------------------------------------------------------------------------------

    def _scheme(self) -> AnyCertificate | None:
        schemes: list[Callable[[], AnyCertificate | None]] = [
            *[self._motion, self._word, self._word, self._again, self._again, self._of_a_stranger, self._claim],
            *[self._rotation, self._revocation, self._illegal],
        ]
        return self.random.choice(schemes)()

    def _illegal(self) -> AnyCertificate | None:
        """What no block may hold, whatever the state."""
        stranger = self._stranger()
        some_id = self.random.randbytes(32)
        makes: list[Callable[[], AnyCertificate | None]] = [
            lambda: self._issue(Approval, self.wallet, some_id),
            lambda: self._issue(Objection, stranger, some_id),
            lambda: self._issue(Motion, stranger, self._change(), self.network.now_ms + _DAY_MS),
            lambda: self._issue(Motion, self.wallet, self._change(), self.network.now_ms + 91 * _DAY_MS),
            lambda: self._issue(Motion, self.wallet, self._of_other_values(), self.network.now_ms + _DAY_MS),
            lambda: self._issue(Revocation, self.wallet, some_id, Effect.VOID, Reason.FRAUD),
            lambda: issue_statement(stranger, self._ledger_id, self.network.now_ms, "a stranger's"),
            lambda: issue_stake(self.wallet, self._ledger_id, self.network.now_ms, 5),
        ]
        return self.random.choice(makes)()

    def _motion(self) -> AnyCertificate:
        days = self.random.choice([0.00001, 1, 80])
        return self._issue(Motion, self.wallet, self._change(), self.network.now_ms + int(days * _DAY_MS))

    def _change(self) -> AnyChange:
        """What nobody else approves of."""
        state, stranger = self.node.state, self._stranger()
        own = state.directory.member_of(self.wallet.public_key)
        others = [one.id for one in state.directory.organisations.values() if one.member_key and one is not own]
        victim = self.random.choice(others)
        key = state.directory.organisation(victim).member_key
        assert key is not None
        name, staked = f"{self.name}-{self._number}", state.stakes.account(key).staked
        grown = state.stakes.account(self.wallet.public_key).staked
        admitted = sign_admission(stranger, self._ledger_id, name)
        changes: list[AnyChange] = [
            Remove(victim, staked),
            Admit(name, name, None, stranger.public_key, Role.MEMBER, 1_000, admitted),
            SetParameter("anybody_certifies", int(state.params.anybody_certifies), 1),
            SetStakes((StakeChange(victim, staked, 1),)),
        ]
        if own is not None:
            changes.append(SetStakes((StakeChange(own.id, grown, grown + 10_000),)))
        return self.random.choice(changes)

    def _of_other_values(self) -> AnyChange:
        """It changes from what does not hold, or did once."""
        most = self.node.state.params.max_block_certificates
        return SetParameter("max_block_certificates", most + 1, most)

    def _word(self) -> AnyCertificate | None:
        """On what is open, once more; or on what is not, of whatever epoch."""
        moved = [*self.node.state.motions.open, *(one.id for one in self._said if isinstance(one, Motion))]
        kind = self.random.choice([Approval, Approval, Objection])
        return self._issue(kind, self.wallet, self.random.choice(moved)) if moved else None

    def _again(self) -> AnyCertificate | None:
        return self.random.choice(self._said) if self._said else None

    def _of_a_stranger(self) -> AnyCertificate:
        return issue_statement(self._stranger(), self._ledger_id, self.network.now_ms, f"fake {self._number}")

    def _claim(self) -> AnyCertificate | None:
        """Another's key as an issuer key of its own, or one that admits itself elsewhere."""
        own = self.node.state.directory.member_of(self.wallet.public_key)
        if own is None:
            return None
        claimed = self.random.choice(list(self.node.state.directory.keys))
        stranger, key = self._stranger(), claimed if self.random.random() < 0.5 else self._stranger().public_key
        admitted = sign_admission(stranger, self._ledger_id, "another")
        return self._issue(KeyChange, self.wallet, AddIssuer(own.id, key, "claimed", None, admitted))

    def _rotation(self) -> AnyCertificate | None:
        """To a key of which nobody runs a node; and not too often, as it is legal."""
        own = self.node.state.directory.member_of(self.wallet.public_key)
        if own is None or self.random.random() < 0.9:
            return None
        after = Wallet(sha256(f"{self.name} after".encode()).digest())
        admitted = sign_admission(after, self._ledger_id, own.id)
        change = RotateMemberKey(own.id, self.wallet.public_key, after.public_key, None, admitted)
        return self._issue(KeyChange, self.wallet, change)

    def _revocation(self) -> AnyCertificate | None:
        """Of what others certified."""
        of_others = (
            one.id
            for block in self.archive.blocks()
            for one in block.certificates
            if isinstance(one, Statement) and one.issuer != self.wallet.public_key
        )
        target = next(of_others, None)
        return target if target is None else self._issue(Revocation, self.wallet, target, Effect.VOID, Reason.FRAUD)

    # ---- tools ----------------------------------------------------------------------------------------------------

    @property
    def _ledger_id(self) -> bytes:
        return self.network.genesis.ledger_id

    def _stranger(self) -> Wallet:
        self._number += 1
        return Wallet(sha256(f"{self.name} {self._number}".encode()).digest())

    def _issue(self, kind, wallet, *fields) -> AnyCertificate:
        made: AnyCertificate = issue(kind, wallet, self._ledger_id, self.network.now_ms, *fields)
        return made
