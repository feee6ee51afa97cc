"""How a running node is, and why its ledger does or does not advance: the same words at every door."""

from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from tallystick.api.continuation_view import continuation_view
from tallystick.api.governance import open_motion_line, open_motions, rotations_in
from tallystick.api.key_book import KeyBook
from tallystick.api.leaving import leaving_of
from tallystick.api.views import Missing, MlDsaSigning, Status, ViewNumber
from tallystick.consensus.signing_guard import GuardStatus
from tallystick.host.batches import VERIFIER
from tallystick.host.clock import now_ms

if TYPE_CHECKING:  # a file's reader does without
    from tallystick.host.runner import Runner
    from tallystick.node.epoch_ends import OwnPart

STUCK_DELTAS: Final = 8
"""Something waits, and no block became final for so many delta: the ledger is stuck (docs/protocol.md)."""
_MOST_NAMES: Final = 5
_WELL: Final = ("advancing", "quiet", "catching_up")
_ABOVE_ALL: Final = ("mismatch", "burned", "twin")
"""States in which nothing else matters."""


def status_of(runner: "Runner", keys: KeyBook, key: bytes, address: str, started_ms: int) -> Status:
    """What `tallystick status` and GET /v1/status tell."""
    look = _Look(runner, keys, key)
    node, state, agreement, epoch = runner.node, look.state, look.agreement, look.epoch
    name, why = look.told()
    why_not_voting = look.hindrance[1] if look.hindrance else None
    return Status(
        state=name,
        is_well=name in _WELL and why_not_voting is None,
        why=why,
        ledger_id=node.chain.ledger_id.hex(),
        ledger_name=node.chain.genesis.name,
        version=version("tallystick"),
        verifier=VERIFIER,
        node=keys.view(key),
        address=address,
        started_ms=started_ms,
        now_ms=look.now_ms,
        tip_index=state.index,
        tip_hash=state.tip.hash.hex(),
        tip_timestamp_ms=state.tip.timestamp_ms,
        best_index=look.best_index,
        log_size=state.log.size,
        waiting=look.waiting,
        epoch=epoch.number,
        view=agreement.view,
        stake=epoch.stake(key),
        total_stake=epoch.total,
        heard_stake=look.heard_stake,
        is_voting=bool(epoch.stake(key)) and why_not_voting is None,
        why_not_voting=why_not_voting,
        guard=agreement.guard.value if agreement.guard else None,
        unanswered=[keys.view(one) for one in agreement.unanswered],
        silent_until=ViewNumber(*agreement.silent_until) if agreement.silent_until else None,
        twin=ViewNumber(*agreement.twin) if agreement.twin else None,
        is_loss_accepted=agreement.is_loss_accepted,
        is_burned=agreement.is_burned,
        mismatch=agreement.mismatch,
        peers=len(runner.connected),
        members=len(epoch.members),
        members_connected=sum(member in look.reached for member, _ in epoch.members),
        stuck_since_ms=look.stuck_since_ms,
        missing=[
            Missing(keys.view(one), epoch.stake(one), one in runner.connected, runner.last_heard_ms.get(one))
            for one in look.missing
        ],
        motions=[open_motion_line(one, state, keys) for one in open_motions(state)],
        rotations=rotations_in(state, keys),
        leaving=look.leaving,
        continues=continuation_view(node.chain.genesis),
        ml_dsa=_ml_dsa(node.ml_dsa, state.directory.ml_dsa_key(key), key),
    )


def _ml_dsa(own: "OwnPart | None", registered: bytes | None, member: bytes) -> MlDsaSigning:
    """Whether it signs the ends of epochs by ML-DSA-44; if not, what is missing first."""
    key = own.key if own is not None else None
    why_not = None
    if own is None:
        why_not = "the library for ML-DSA-44 is not installed here: tallystick[pq]"
    elif key is None:
        why_not = "this node has no key of ML-DSA-44: tallystick key ml-dsa"
    elif key != registered:
        which = "no key of ML-DSA-44" if registered is None else "another key of ML-DSA-44"
        why_not = f"the ledger has {which} for this node's own key: tallystick member ml-dsa"
    return MlDsaSigning(
        is_signing=why_not is None,
        why_not=why_not,
        key=sha256(key).hexdigest() if key is not None else None,
        registered=sha256(registered).hexdigest() if registered is not None else None,
        end_size=own.end_size if own is not None else None,
        end_signatures=len(own.members) if own is not None else 0,
        is_end_signed=own is not None and member in own.members,
    )


class _Look:
    """A node at one moment."""

    def __init__(self, runner: "Runner", keys: KeyBook, key: bytes) -> None:
        node = runner.node
        self.keys, self.key, self.state, self.epoch = keys, key, node.state, node.state.epoch
        self.agreement, self.now_ms, self.waiting = node.agreement_status(), now_ms(), len(node.box)
        self.best_index = max(node.sync.best_index, node.state.index)
        self.reached = runner.connected.keys() | {key}
        self.heard_stake = sum(stake for member, stake in self.epoch.members if member in self.reached)
        self.is_quorum = self.epoch.is_quorum(self.heard_stake)
        since_ms, long_ms = runner.waiting_since_ms, STUCK_DELTAS * node.state.params.delta_ms
        self.stuck_since_ms = since_ms if since_ms is not None and self.now_ms - since_ms > long_ms else None
        """Since when nothing became final while something waits, if that is long."""
        heard = self.reached - set(runner.stuck.missing if runner.stuck else ())
        is_told = self.stuck_since_ms is not None or not self.is_quorum
        self.missing = [one for one, _ in self.epoch.members if is_told and one not in heard]
        self.leaving = leaving_of(key, self.state, self.agreement)
        self.hindrance = self._hindrance()

    def told(self) -> tuple[str, str]:
        """The node's state, and why in words."""
        waits = f"{self.waiting:,} waiting" if self.waiting else "nothing waits"
        total, missing = self.epoch.total, self._named(self.missing)
        reach = f"{self.heard_stake:,} of {total:,} tokens at stake are in reach, {2 * total // 3 + 1:,} are needed"
        if self.hindrance is not None and self.hindrance[0] in _ABOVE_ALL:
            return self.hindrance
        if self.best_index > self.state.index:
            percent = 100 * self.state.index // self.best_index
            return "catching_up", f"block {self.state.index:,} of {self.best_index:,}, {percent} %"
        has_left = self.hindrance is not None and self.hindrance[0] == "left"
        if not self.is_quorum and not has_left:
            return "out_of_reach", f"nothing can become final: {reach}; missing: {missing} ({waits})"
        if self.stuck_since_ms is not None and not has_left:
            lasts = f"no block became final for {(self.now_ms - self.stuck_since_ms) // 1000:,} s, and {waits}"
            return "stuck", f"{lasts}: {reach}; missing: {missing or 'nobody'}"
        if self.hindrance is not None:
            return self.hindrance
        advancing = "advancing", f"{waits} to be forged into a block"
        return advancing if self.waiting else ("quiet", f"{waits}; a quiet ledger makes no blocks")

    def _hindrance(self) -> tuple[str, str] | None:
        """What keeps this node's key from signing what it finds right, if anything does: a state, and in words."""
        agreement = self.agreement
        if (why := agreement.mismatch) is not None:
            return "mismatch", f"a quorum chose what is illegal by this node's state ({why}); it signs nothing"
        if self.leaving is not None and self.leaving.left_with is not None:
            return "left", self.leaving.summary
        if agreement.is_burned:
            return "burned", "this key signed what no honest member signs: its stake is lost, its votes with this epoch"
        if agreement.guard is GuardStatus.TWIN:
            epoch, view = agreement.twin or (0, 0)
            seen = f"another machine signs with this node's own key (seen in epoch {epoch:,}, view {view:,})"
            return "twin", f"{seen}, so this one signs nothing; stop the other for good, then: tallystick guard recover"
        return self._recovery() if self.epoch.stake(self.key) else None

    def _recovery(self) -> tuple[str, str] | None:
        """How a member stands that lost what its key signed."""
        agreement = self.agreement
        if agreement.guard is GuardStatus.LOST:
            waits = self._named(agreement.unanswered)
            asked = f"it asks the others, and {waits} did not answer yet" if waits else "all others answered"
            alone = "" if waits else " and are no quorum without it: read tallystick guard accept-loss --help"
            word = "; its operator accepted the loss" if agreement.is_loss_accepted else alone
            return "recovering", f"what this key signed is lost; {asked}{word}"
        epoch, view = agreement.silent_until or (-1, -1)
        is_silent = (agreement.epoch, agreement.view) <= (epoch, view)
        words = f"what this key signed is lost, so it votes from epoch {epoch:,}, view {view + 1:,} on"
        return ("silent", words) if is_silent else None

    def _named(self, keys: Sequence[bytes]) -> str:
        shown = ", ".join(self.keys.said(one) for one in keys[:_MOST_NAMES])
        return f"{shown} and {len(keys) - _MOST_NAMES} more" if len(keys) > _MOST_NAMES else shown
