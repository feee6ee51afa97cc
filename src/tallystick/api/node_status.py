"""How a running node is, and why its ledger does or does not advance: the same words at every door."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Final

from tallystick.api.views import Key, Missing, Status, ViewNumber
from tallystick.consensus.signing_guard import GuardStatus
from tallystick.host.runner import Runner, now_ms
from tallystick.ledger.epoch import Epoch
from tallystick.node.agreement import AgreementStatus

STUCK_DELTAS: Final = 8
"""Something waits, and no block became final for so many delta: the ledger is stuck (docs/protocol.md)."""
_MOST_NAMES: Final = 5
_WELL: Final = ("advancing", "quiet", "catching_up")


def status_of(runner: Runner, names: Mapping[bytes, str], key: bytes, address: str, started_ms: int) -> Status:
    """What `tallystick status` and GET /v1/status tell."""
    return _Look(runner, names, key).status(address, started_ms)


class _Look:
    """A node at one moment."""

    def __init__(self, runner: Runner, names: Mapping[bytes, str], key: bytes) -> None:
        node = runner.node
        self.runner, self.node, self.names, self.key = runner, node, names, key
        self.state, self.now_ms = node.state, now_ms()
        self.agreement: AgreementStatus = node.agreement_status()
        self.epoch: Epoch = node.state.epoch
        self.reached = runner.connected.keys() | {key}
        self.heard_stake = sum(stake for member, stake in self.epoch.members if member in self.reached)
        self.waiting = len(node.box)
        self.best_index = max(node.sync.best_index, node.state.index)

    def status(self, address: str, started_ms: int) -> Status:
        state, agreement = self.state, self.agreement
        name, why_not_voting = self._state(), self._why_not_voting()
        stake = self.epoch.stake(self.key)
        return Status(
            state=name,
            is_well=name in _WELL and why_not_voting is None,
            why=self._why(name, why_not_voting),
            ledger_id=self.node.chain.ledger_id.hex(),
            ledger_name=self.node.chain.genesis.name,
            version=version("tallystick"),
            node=self._key(self.key),
            address=address,
            started_ms=started_ms,
            now_ms=self.now_ms,
            tip_index=state.index,
            tip_hash=state.tip.hash.hex(),
            tip_timestamp_ms=state.tip.timestamp_ms,
            best_index=self.best_index,
            log_size=state.log.size,
            waiting=self.waiting,
            epoch=self.epoch.number,
            view=agreement.view,
            stake=stake,
            total_stake=self.epoch.total,
            heard_stake=self.heard_stake,
            is_voting=bool(stake) and why_not_voting is None,
            why_not_voting=why_not_voting,
            guard=agreement.guard.value if agreement.guard else None,
            unanswered=[self._key(one) for one in agreement.unanswered],
            silent_until=_place(agreement.silent_until),
            twin=_place(agreement.twin),
            is_loss_accepted=agreement.is_loss_accepted,
            is_burned=agreement.is_burned,
            mismatch=agreement.mismatch,
            peers=len(self.runner.connected),
            members=len(self.epoch.members),
            members_connected=sum(member in self.reached for member, _ in self.epoch.members),
            stuck_since_ms=self._stuck_since_ms(),
            missing=[self._missing(*one) for one in self.epoch.members if one[0] not in self._heard()],
        )

    # ---- what hinders it ----------------------------------------------------------------------------------------

    def _state(self) -> str:
        hindrance = self._hindrance()
        if hindrance in ("mismatch", "burned", "twin"):
            return hindrance
        if self.best_index > self.state.index:
            return "catching_up"
        if not self.epoch.is_quorum(self.heard_stake):
            return "out_of_reach"
        if self._stuck_since_ms() is not None:
            return "stuck"
        return hindrance or ("advancing" if self.waiting else "quiet")

    def _hindrance(self) -> str | None:
        """What keeps this node's key from signing what it finds right, if anything does."""
        agreement = self.agreement
        if agreement.mismatch or agreement.is_burned:
            return "mismatch" if agreement.mismatch else "burned"
        if agreement.guard is GuardStatus.TWIN:
            return "twin"
        if not self.epoch.stake(self.key):
            return None
        if agreement.guard is GuardStatus.LOST:
            return "recovering"
        place = agreement.epoch, agreement.view
        return "silent" if agreement.silent_until is not None and place <= agreement.silent_until else None

    def _stuck_since_ms(self) -> int | None:
        """Since when nothing became final while something waits, if that is long."""
        since_ms = self.runner.waiting_since_ms
        long_ms = STUCK_DELTAS * self.state.params.delta_ms
        return since_ms if since_ms is not None and self.now_ms - since_ms > long_ms else None

    def _heard(self) -> frozenset[bytes]:
        """The members of whom nothing has to be said."""
        is_told = self._stuck_since_ms() is not None or not self.epoch.is_quorum(self.heard_stake)
        silent = set(self.runner.stuck.missing) if self.runner.stuck else set()
        return frozenset(self.reached - silent if is_told else dict(self.epoch.members))

    # ---- in words -----------------------------------------------------------------------------------------------

    def _why(self, state: str, why_not_voting: str | None) -> str:
        waits = f"{self.waiting:,} waiting" if self.waiting else "nothing waits"
        missing = self._names([one for one, _ in self.epoch.members if one not in self._heard()])
        needed = 2 * self.epoch.total // 3 + 1
        reach = f"{self.heard_stake:,} of {self.epoch.total:,} tokens at stake are in reach, {needed:,} are needed"
        match state:
            case "out_of_reach":
                return f"nothing can become final: {reach}; missing: {missing} ({waits})"
            case "stuck":
                seconds = (self.now_ms - (self._stuck_since_ms() or self.now_ms)) // 1000
                return f"no block became final for {seconds:,} s, and {waits}: {reach}; missing: {missing or 'nobody'}"
            case "catching_up":
                percent = 100 * self.state.index // self.best_index
                return f"block {self.state.index:,} of {self.best_index:,}, {percent} %"
            case "advancing":
                return f"{waits} to be forged into a block"
            case "quiet":
                return f"{waits}; a quiet ledger makes no blocks"
        return why_not_voting or ""

    def _why_not_voting(self) -> str | None:
        agreement = self.agreement
        match self._hindrance():
            case "mismatch":
                return f"a quorum chose what is illegal by this node's state ({agreement.mismatch}); it signs nothing"
            case "burned":
                return "this key signed what no honest member signs: its stake is lost, its votes with this epoch"
            case "twin":
                epoch, view = agreement.twin or (0, 0)
                seen = f"another machine signs with this node's own key (seen in epoch {epoch:,}, view {view:,})"
                return f"{seen}, so this one signs nothing; stop the other for good, then: tallystick guard recover"
            case "recovering":
                waits = self._names(agreement.unanswered)
                asked = f"it asks the others, and {waits} did not answer yet" if waits else "all others answered"
                alone = "" if waits else " and are no quorum without it: read tallystick guard accept-loss --help"
                word = "; its operator accepted the loss" if agreement.is_loss_accepted else alone
                return f"what this key signed is lost; {asked}{word}"
            case "silent" if agreement.silent_until is not None:
                epoch, view = agreement.silent_until
                return f"what this key signed is lost, so it votes from epoch {epoch:,}, view {view + 1:,} on"
        return None

    def _names(self, keys: "list[bytes] | tuple[bytes, ...]") -> str:
        shown = ", ".join(self.names.get(one) or f"{one.hex()[:12]}…" for one in keys[:_MOST_NAMES])
        return f"{shown} and {len(keys) - _MOST_NAMES} more" if len(keys) > _MOST_NAMES else shown

    def _key(self, key: bytes) -> Key:
        return Key(key.hex(), self.names.get(key))

    def _missing(self, member: bytes, stake: int) -> Missing:
        connected = member in self.runner.connected
        return Missing(self._key(member), stake, connected, self.runner.last_heard_ms.get(member))


def _place(place: tuple[int, int] | None) -> ViewNumber | None:
    return None if place is None else ViewNumber(*place)
