"""How organisations and motions are told."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from msgspec.structs import asdict

from tallystick.api import governed_views
from tallystick.api.decisions import change_view
from tallystick.api.key_book import KeyBook, name_of
from tallystick.api.words import change_in_words
from tallystick.host.founding import indispensable
from tallystick.ledger import changes
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import AnyCertificate, Approval, Motion, Objection
from tallystick.ledger.certificate_index import Place
from tallystick.ledger.changes import AnyChange
from tallystick.ledger.directory import KeyEntry, Organisation
from tallystick.ledger.motions import OpenMotion, Outcome
from tallystick.ledger.state import State
from tallystick.storage.decision_tables import Decided

_MOST_NAMED: Final = 3
_STATES: Final = {
    Outcome.PASSED: "passed",
    Outcome.CLOSED: "closed",
    Outcome.EXPIRED: "expired",
    Outcome.VOID: "void",
}


# ---- organisations ----------------------------------------------------------------------------------------------


def organisation_line(one: Organisation, state: State, keys: KeyBook) -> governed_views.OrganisationLine:
    """An organisation, as it is told in a list."""
    key = one.member_key
    return governed_views.OrganisationLine(
        id=one.id,
        title=one.title,
        domain=one.domain,
        member_key=key.hex() if key is not None else None,
        organisation_key=one.organisation_key.hex() if one.organisation_key is not None else None,
        staked=state.stakes.account(key).staked if key is not None else 0,
        votes_with=state.epoch.stake(key) if key is not None else 0,
        live_keys=one.live_keys,
        rotation=_rotation(one, keys),
    )


def organisation_view(one: Organisation, state: State, keys: KeyBook) -> governed_views.Organisation:
    """An organisation with all its keys, the oldest first."""
    own = [(key, entry) for key, entry in state.directory.keys.items() if entry.organisation == one.id]
    own.sort(key=lambda pair: (pair[1].since, pair[0]))
    told = [_key_of_organisation(key, entry, state) for key, entry in own]
    ml_dsa_key = state.directory.ml_dsa_key(one.member_key) if one.member_key is not None else None
    return governed_views.Organisation(
        **asdict(organisation_line(one, state, keys)), keys=told, ml_dsa_key=ml_dsa_key.hex() if ml_dsa_key else None
    )


def rotations_in(state: State, keys: KeyBook) -> list[governed_views.Rotation]:
    """The member keys that are announced, in the order of their organisations."""
    rotating = (_rotation(state.directory.organisations[name], keys) for name, _ in state.directory.announced)
    return [one for one in rotating if one is not None]


def _rotation(one: Organisation, keys: KeyBook) -> governed_views.Rotation | None:
    found, before = one.rotation, one.member_key
    if found is None or before is None:
        return None
    return governed_views.Rotation(one.id, keys.view(before), found.key.hex(), found.due_ms, found.compromised_since)


def _key_of_organisation(key: bytes, entry: KeyEntry, state: State) -> governed_views.KeyOfOrganisation:
    return governed_views.KeyOfOrganisation(
        key=key.hex(),
        role=entry.role.name.lower(),
        label=entry.label,
        since=entry.since,
        until=entry.until,
        until_ms=entry.until_ms,
        compromised_since=entry.compromised_since,
        is_in_force=entry.counts_at(state.log.size, state.tip.timestamp_ms + 1),
    )


# ---- without whom the ledger stops ------------------------------------------------------------------------------


def stops_without(change: AnyChange, stakes: Mapping[str, tuple[str, int]]) -> tuple[list[str], str | None]:
    """Those, by title, without whom nothing becomes final after a change, and that in words.

    Of each organisation's id, `stakes` has title and stake. None, if nobody is, or if the same are so already.
    """
    after = _stakes_after(change, stakes)
    needed = indispensable(dict(after))
    if not needed or set(needed) == set(indispensable(dict(stakes.values()))):
        return [], None
    voting = sum(stake > 0 for _, stake in after)
    who = f"any of its {voting} members" if len(needed) == voting > 1 else ", ".join(needed)
    gone = "one of them" if len(needed) > 1 else "it"
    stops = f"Afterwards the ledger stops without {who}: nothing becomes final, and if {gone} is gone for good, nobody"
    return needed, f"{stops} can remove or replace it, and the ledger has ended. Four equal members go on without one."


def _stakes_after(change: AnyChange, stakes: Mapping[str, tuple[str, int]]) -> Collection[tuple[str, int]]:
    match change:
        case changes.Admit(organisation=own, title=title, stake=stake):
            return {**stakes, own: (title, stake)}.values()
        case changes.Remove(organisation=own):
            return {one: of for one, of in stakes.items() if one != own}.values()
        case changes.SetStakes(stakes=set_to):
            after = {one.organisation: one.after for one in set_to}
            return [(title, after.get(one, stake)) for one, (title, stake) in stakes.items()]
    return stakes.values()


# ---- motions ----------------------------------------------------------------------------------------------------


class _Count(NamedTuple):
    """The words on a motion, and the stakes by which they count."""

    words: Mapping[bytes, int]
    """Of each key the last one: 1 approves, 0 objects."""
    stakes: Mapping[bytes, int]
    """Of those that count."""

    def stake(self, word: int) -> int:
        """Of those with this word."""
        return sum(stake for key, stake in self.stakes.items() if self.words.get(key) == word)

    @property
    def total(self) -> int:
        return sum(self.stakes.values())

    @property
    def needed(self) -> int:
        return 2 * self.total // 3 + 1

    def views(self, keys: KeyBook) -> list[governed_views.MotionWord]:
        """Each member's, those with most at stake first."""
        said = {1: "approves", 0: "objects", None: None}
        ordered = sorted(self.stakes, key=lambda key: (-self.stakes[key], key))
        return [
            governed_views.MotionWord(keys.view(key), self.stakes[key], said[self.words.get(key)]) for key in ordered
        ]

    def in_words(self, keys: KeyBook) -> str:
        """What an open motion waits for."""
        silent = [one.member for one in self.views(keys) if one.word is None]
        named = ", ".join(map(name_of, silent[:_MOST_NAMED]))
        more = f" and {len(silent) - _MOST_NAMED} more" if len(silent) > _MOST_NAMED else ""
        have = f"{self.stake(1):,} of {self.total:,} tokens at stake approve, {self.needed:,} are needed"
        return f"{have}; no word yet from: {named}{more}" if silent else have


def open_motions(state: State) -> list[OpenMotion]:
    """The latest first."""
    return sorted(state.motions.open.values(), key=lambda one: -one.log_index)


def open_motion_line(one: OpenMotion, state: State, keys: KeyBook) -> governed_views.MotionLine:
    """A motion that is open, as it is told in a list."""
    count = _open_count(one, state)
    waits_for = "the next epoch" if one.has_passed else count.in_words(keys)
    needed, danger = stops_without(one.change, _stakes(state))
    return governed_views.MotionLine(
        id=one.id.hex(),
        summary=change_in_words(one.change),
        change=change_view(one.change),
        mover=keys.view(one.member),
        log_index=one.log_index,
        expires_ms=one.expires_ms,
        state="accepted" if one.has_passed else "open",
        approving=count.stake(1),
        objecting=count.stake(0),
        needed=count.needed,
        total_stake=count.total,
        waits_for=waits_for,
        decided_block=None,
        decided_ms=None,
        stops_without=needed,
        danger=danger,
    )


def open_motion_view(one: OpenMotion, state: State, keys: KeyBook) -> governed_views.Motion:
    """A motion that is open, with the word of each member."""
    return governed_views.Motion(
        **asdict(open_motion_line(one, state, keys)), words=_open_count(one, state).views(keys)
    )


def _stakes(state: State) -> dict[str, tuple[str, int]]:
    found = state.directory.organisations.values()
    return {
        one.id: (one.title, state.stakes.account(one.member_key).staked) for one in found if one.member_key is not None
    }


def _open_count(one: OpenMotion, state: State) -> _Count:
    """A key that is no member key any more has a say no more, and its stake still counts among all."""
    members = state.directory.member_keys
    words = {key: word for key, word, _ in one.words if key in members}
    return _Count(words, dict(state.epoch.members))


class Past(NamedTuple):
    """A motion that was decided, with all that tells how."""

    motion: Motion
    log_index: int
    decided: Decided
    block: Block
    """With which it was."""
    words: Mapping[bytes, int]
    stakes: Mapping[bytes, int]
    """Of the members of the block's epoch."""


def past_motion_line(past: Past, keys: KeyBook) -> governed_views.MotionLine:
    """A motion that was decided, as it is told in a list."""
    motion, count = past.motion, _Count(past.words, past.stakes)
    return governed_views.MotionLine(
        id=motion.id.hex(),
        summary=change_in_words(motion.change),
        change=change_view(motion.change),
        mover=keys.view(motion.issuer),
        log_index=past.log_index,
        expires_ms=motion.expires_ms,
        state=_STATES[past.decided.outcome],
        approving=count.stake(1),
        objecting=count.stake(0),
        needed=count.needed,
        total_stake=count.total,
        waits_for=None,
        decided_block=past.block.index,
        decided_ms=past.block.header.timestamp_ms,
        stops_without=[],
        danger=None,
    )


def past_motion_view(past: Past, keys: KeyBook) -> governed_views.Motion:
    """A motion that was decided, with the last word of each member."""
    words = _Count(past.words, past.stakes).views(keys)
    return governed_views.Motion(**asdict(past_motion_line(past, keys)), words=words)


def last_words(
    motion: Motion, places: Iterable[Place], until: int, certificate_at: Callable[[Place], AnyCertificate]
) -> dict[bytes, int]:
    """Each key's last word on a motion up to a block: 1 approves, 0 objects. Who moves it approves."""
    said = {motion.issuer: 1}
    for one in _words(places, until, certificate_at):
        said[one.issuer] = int(isinstance(one, Approval))
    return said


def _words(
    places: Iterable[Place], until: int, certificate_at: Callable[[Place], AnyCertificate]
) -> Iterator[Approval | Objection]:
    for place in places:
        one = certificate_at(place) if place.block_index <= until else None
        if isinstance(one, Approval | Objection):
            yield one
