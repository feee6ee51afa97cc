"""Until when the node of a member has to run whose key ends: the organisation is removed, or has another key."""

from typing import NamedTuple

from tallystick.api.governed_views import Leaving
from tallystick.api.words import SHORT_ID
from tallystick.ledger.changes import VOTING, Remove, ReplaceMemberKey
from tallystick.ledger.directory import Organisation
from tallystick.ledger.state import State
from tallystick.node.agreement import AgreementStatus


class _End(NamedTuple):
    """How a key ends, or has ended."""

    how: str
    what: str
    """In words."""
    successor: bytes | None = None
    due_ms: int | None = None
    motion: bytes | None = None


def leaving_of(key: bytes, state: State, agreement: AgreementStatus) -> Leaving | None:
    """What there is to say of a key that was a member's, or is one and is to end; `None`: nothing."""
    entry = state.directory.keys.get(key)
    if entry is None or entry.role not in VOTING:
        return None
    one = state.directory.organisations[entry.organisation]
    end = _moved_or_announced(one, key, state) if one.member_key == key else _ended(one)
    if end is None:
        return None
    has_left = one.member_key != key
    return Leaving(
        organisation=one.id,
        how=end.how,
        successor=end.successor.hex() if end.successor is not None else None,
        left_with=agreement.left_with,
        due_ms=end.due_ms,
        motion=end.motion.hex() if end.motion is not None else None,
        may_stop=agreement.may_stop,
        summary=_left(end, state.epoch.number, agreement)
        if has_left
        else f"{end.what}; let this node run until then: it votes",
    )


def _ended(one: Organisation) -> _End:
    """Which key followed is known while the organisation is there, of the latest one."""
    if one.member_key is None:
        return _End("removed", f"{one.title} was removed")
    return _End("replaced", f"the member key of {one.title} is another", one.member_key)


def _moved_or_announced(one: Organisation, key: bytes, state: State) -> _End | None:
    """A rotation that is announced, or else the first open motion by which the key would end."""
    if one.rotation is not None:
        after, due_ms = one.rotation.key, one.rotation.due_ms
        what = f"the key {after.hex()[:SHORT_ID]}… follows this one as the member key of {one.title}, when that is due"
        return _End("replaced", what, after, due_ms)
    for motion in sorted(state.motions.open.values(), key=lambda other: other.log_index):
        passes = f"when motion {motion.id.hex()[:SHORT_ID]} passes"
        match motion.change:
            case Remove(organisation=name) if name == one.id:
                return _End("removed", f"{one.title} is removed {passes}", motion=motion.id)
            case ReplaceMemberKey(organisation=name, before=before, after=after) if (name, before) == (one.id, key):
                what = f"{after.hex()[:SHORT_ID]}… is the member key of {one.title} {passes}"
                return _End("replaced", what, after, motion=motion.id)
    return None


def _left(end: _End, epoch: int, agreement: AgreementStatus) -> str:
    if agreement.left_with is None:
        return f"{end.what}; let this node run until epoch {epoch:,} has ended: it votes until then"
    block = f"block {agreement.left_with:,}, the last that it could vote on"
    if agreement.may_stop:
        return f"{end.what}, and this key votes no more: the node may be switched off, as others have {block}"
    return f"{end.what}, and this key votes no more: let the node run until others say that they have {block}"
