"""A second opinion on what organisations decide: who is who, open motions, and what passed, by other code than ours."""

from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace
from tests.simulation.campaign.books import Books, Broken, End, Unbonding

from tallystick.ledger import certificate as kinds
from tallystick.ledger import changes
from tallystick.ledger.block import Block
from tallystick.ledger.genesis import Genesis

_DAY_MS = 86_400_000
_MOST_OPEN = 4


@dataclass
class Key:
    """Whose a key is, and for which stretch of the log."""

    organisation: str
    certifies: bool
    since: int
    until: int | None = None


@dataclass
class Open:
    """A motion, and the last word of each key."""

    member: bytes
    change: Any
    expires_ms: int
    words: dict[bytes, bool] = field(default_factory=dict)
    said_ms: dict[bytes, int] = field(default_factory=dict)
    has_passed: bool = False


class GovernedBooks(Books):
    """Of a ledger with a directory. Raises `Broken` at what no honest member may agree to."""

    def __init__(self, genesis: Genesis) -> None:
        super().__init__(genesis)
        self.members: dict[str, bytes] = {}
        """The current member key of each organisation that is not removed."""
        self.keys: dict[bytes, Key] = {}
        self.motions: dict[bytes, Open] = {}
        self.outcomes: list[str] = []
        """What became of motions, in order."""
        self.rotations: dict[str, tuple[bytes, int]] = {}
        self._rotated_ms: dict[str, int] = {}
        self._successors: dict[bytes, bytes] = {}
        self._organisations: set[str] = set()
        self._held: dict[bytes, str] = {}
        self._effects: dict[bytes, int] = {}
        self._log_size = 0
        self._is_due = True
        for one in genesis.founders:
            self._enter(one.organisation, one.key, one.role)
            self.staked[one.key] = one.stake
        self.tokens, self.epochs = self._sum(), [self._stakes()]
        self._before = (dict(self.staked), set(self.punished))
        """Evidence burns at a block's end: its motions are judged by the stakes before it."""

    def may_certify(self, key: bytes) -> bool:
        """Whether a key may certify in the next block."""
        entry = self.keys.get(key)
        return self._params.anybody_certifies or (entry is not None and entry.certifies and entry.until is None)

    # ---- certificates -------------------------------------------------------------------------------------------

    def _take(self, one: Any, block: Block) -> None:
        at_ms = block.header.timestamp_ms
        is_certified = isinstance(one, kinds.Statement | kinds.Revocation | kinds.Supersession)
        if is_certified and not self.may_certify(one.issuer):
            raise Broken(f"block {block.index} holds what a key issued that may not certify")
        match one:
            case kinds.Statement():
                if one.issuer in self.keys:
                    self._held[one.id] = self.keys[one.issuer].organisation
            case kinds.StakingOperation():
                raise Broken(f"block {block.index} moves stake that only motions move")
            case kinds.Motion(change=change, expires_ms=expires_ms):
                self._check_member(one, block)
                is_in_time = at_ms < expires_ms <= at_ms + 90 * _DAY_MS
                of_member = sum(other.member == one.issuer for other in self.motions.values())
                if not is_in_time or of_member >= _MOST_OPEN or not self._holds(change, *self._before):
                    raise Broken(f"block {block.index} holds a motion that is void: {change}")
                words, said_ms = {one.issuer: True}, {one.issuer: one.timestamp_ms}
                self.motions[one.id] = Open(one.issuer, change, expires_ms, words, said_ms)
            case kinds.Approval() | kinds.Objection():
                self._check_member(one, block)
                motion = self.motions.get(one.motion)
                if motion is None or motion.has_passed:
                    raise Broken(f"block {block.index} holds a word on a motion that is not open")
                if one.timestamp_ms <= motion.said_ms.get(one.issuer, 0):
                    raise Broken(f"block {block.index} holds a word that is no later than one before it")
                motion.words[one.issuer] = isinstance(one, kinds.Approval)
                motion.said_ms[one.issuer] = one.timestamp_ms
            case kinds.KeyChange(operation=operation):
                self._change_keys(one.issuer, operation, block)
            case kinds.Revocation(target=target, effect=effect):
                if self._held.get(target) != self.keys[one.issuer].organisation or effect <= self._effects.get(
                    target, 0
                ):
                    raise Broken(f"block {block.index} revokes what is not its issuer's, or weakens a revocation")
                self._effects[target] = effect
            case _:
                super()._take(one, block)
        self._is_due = self._is_due or isinstance(one, kinds.Motion | kinds.Approval | kinds.Objection)
        self._log_size += 1

    def _check_member(self, one: Any, block: Block) -> None:
        if one.issuer not in self.members.values():
            raise Broken(f"block {block.index} counts a word of a key that is no member's")

    def _change_keys(self, actor: bytes, operation: Any, block: Block) -> None:
        name = next((name for name, key in self.members.items() if key == actor), None)
        match operation:
            case changes.AddIssuer(organisation=organisation, key=key) if organisation == name and key not in self.keys:
                self.keys[key] = Key(organisation, True, self._log_size)
            case changes.EndIssuer(key=key) if key in self.keys and self.keys[key].organisation == name:
                self.keys[key].until = self.keys[key].until or self._log_size
            case changes.RotateMemberKey(organisation=organisation, before=before, after=after) if (
                organisation == name and before == actor and after not in self.keys
            ):
                due_ms = block.header.timestamp_ms + self._params.rotation_delay_ms
                if organisation in self._rotated_ms:
                    due_ms = max(due_ms, self._rotated_ms[organisation] + self._params.epoch_ms)
                self.rotations[organisation] = (after, due_ms)
            case _:
                raise Broken(f"block {block.index} changes keys that are not the actor's: {operation}")

    # ---- the block's end ----------------------------------------------------------------------------------------

    def _end_epoch(self, here: End) -> None:
        stakes = self.epochs[-1]
        total = sum(stakes.values())
        if self._is_due or any(one.expires_ms <= here.at_ms for one in self.motions.values() if not one.has_passed):
            self._count(stakes, total, here.at_ms)
        self._is_due = False
        passed = [one for one in self.motions.values() if one.has_passed]
        if passed or self._rotating(here.at_ms):
            self._carry_out(passed, here)
            self._begin(self._stakes() or stakes, here)
        else:
            super()._end_epoch(here)
            if self._began is here:
                self._carry_out([], here)
        self._is_due = self._is_due or self._began is here
        self.free.clear()  # what was withdrawn belongs to nobody in the end
        self.tokens = self._sum()
        self._before = (dict(self.staked), set(self.punished))

    def _rotating(self, at_ms: int) -> list[str]:
        return sorted(name for name, (_, due_ms) in self.rotations.items() if due_ms <= at_ms)

    def _count(self, stakes: dict[bytes, int], total: int, at_ms: int) -> None:
        for motion_id, one in list(self.motions.items()):
            words = {key: word for key, word in one.words.items() if key in self.members.values()}
            approving = sum(stakes.get(key, 0) for key, word in words.items() if word)
            objecting = sum(stakes.get(key, 0) for key, word in words.items() if not word)
            if one.has_passed:
                continue
            if one.expires_ms <= at_ms:
                self._close(motion_id, "expired")
            elif 3 * approving > 2 * total:
                one.has_passed = True
            elif 3 * objecting >= total:
                self._close(motion_id, "closed")

    def _close(self, motion_id: bytes, outcome: str) -> None:
        del self.motions[motion_id]
        self.outcomes.append(outcome)

    def _carry_out(self, passed: list[Open], here: End) -> None:
        for motion_id in [one for one, motion in self.motions.items() if motion in passed]:
            change = self.motions[motion_id].change
            holds = self._holds(change, self.staked, self.punished)
            if holds:
                self._apply(change, here)
            self._close(motion_id, "passed" if holds else "void")
        for name in self._rotating(here.at_ms):
            after, _ = self.rotations.pop(name)
            self._rotated_ms[name] = here.at_ms  # whether or not it can be: it ended the epoch
            if after not in self.keys:
                self._successors[self.members[name]] = after
                self._replace_key(name, after, here)

    def _burn(self, evidence: kinds.Evidence, block: Block) -> None:
        super()._burn(evidence, block)
        key = evidence.offender
        while (after := self._successors.get(key)) is not None:
            self._lose(after)
            key = after

    def _holds(self, change: Any, staked: dict[bytes, int], punished: set[bytes]) -> bool:
        """Whether what a motion changes from is so; of changes that the campaign does not make: yes."""
        match change:
            case changes.Admit(organisation=name, key=key):
                return name not in self._organisations and key not in self.keys
            case changes.Remove(organisation=name, stake=stake):
                is_so = name in self.members and staked[self.members[name]] == stake
                return is_so and stake < sum(staked.values()) and len(self.members) > 1
            case changes.SetStakes(stakes=stakes):
                keys = [(self.members.get(one.organisation), one) for one in stakes]
                is_legal = all(not one.after or key not in punished for key, one in keys)
                return is_legal and all(key is not None and staked[key] == one.before for key, one in keys)
            case changes.ReplaceMemberKey(organisation=name, before=before, after=after):
                return self.members.get(name) == before and after not in self.keys
            case changes.SetParameter(parameter=parameter, before=before):
                return bool(getattr(self._params, parameter) == before)
        return True

    def _apply(self, change: Any, here: End) -> None:
        match change:
            case changes.Admit(organisation=name, key=key, role=role, stake=stake):
                self._enter(name, key, role)
                self._set_stake(key, stake, here)
            case changes.Remove(organisation=name):
                self._set_stake(self.members.pop(name), 0, here)
                self.rotations.pop(name, None)
                for entry in [one for one in self.keys.values() if one.organisation == name and one.until is None]:
                    entry.until = self._log_size
            case changes.SetStakes(stakes=stakes):
                for one in stakes:
                    self._set_stake(self.members[one.organisation], one.after, here)
            case changes.ReplaceMemberKey(organisation=name, after=after):
                self._replace_key(name, after, here)
            case changes.SetParameter(parameter=parameter, after=after):
                self._params = replace(self._params, **{parameter: after})
            case _:
                raise Broken(f"nobody who is honest approves of {change}")

    def _enter(self, name: str, key: bytes, role: int) -> None:
        self._organisations.add(name)
        self.members[name] = key
        self.keys[key] = Key(name, role == changes.Role.MEMBER, self._log_size)

    def _replace_key(self, name: str, after: bytes, here: End) -> None:
        before = self.members[name]
        stake, self.keys[before].until = self.staked[before], self._log_size
        self.members[name], self.keys[after] = after, Key(name, self.keys[before].certifies, self._log_size)
        self.rotations.pop(name, None)
        self._set_stake(before, 0, here)
        self._set_stake(after, stake, here)

    def _set_stake(self, key: bytes, stake: int, here: End) -> None:
        epoch, more = len(self.epochs) - 1, stake - self.staked.get(key, 0)
        if more > 0 and not self.liable(key):
            self.since[key] = epoch + 1
        if more < 0:
            place = (epoch + 2, here.index + self._params.unbonding_blocks, self._until_ms(here.at_ms))
            self.unbonding.append(Unbonding(key, *place, -more))
        self.staked[key] = stake
