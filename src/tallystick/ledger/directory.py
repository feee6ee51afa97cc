"""Who is who: organisations, their keys, and from when to when each key counts.

A key stands here once, for ever: entries end, and none is deleted. So a certificate belongs to the organisation that
held its key at its log index, whatever is claimed later.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from msgspec.structs import replace

from tallystick.ledger.changes import (
    CERTIFYING,
    AddIssuer,
    Admit,
    AnyKeyOperation,
    EndIssuer,
    Role,
    RotateMemberKey,
    SetMemberRole,
    SetMlDsaKey,
)
from tallystick.ledger.encoding import Codec, Encoded, derived, digest, encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import Index, Label, Milliseconds, MlDsaKey, OrganisationId, PublicKey, Title, WebDomain
from tallystick.ledger.names import fold
from tallystick.ledger.params import Params
from tallystick.ledger.trie import Trie, TrieProof, proven_value

MAX_LIVE_KEYS: Final = 64
MAX_CHANGES_AN_EPOCH: Final = 8


class Position(Encoded):
    """Where a certificate enters the log."""

    epoch: int
    log_index: int
    timestamp_ms: int
    """Of the block."""


class KeyEntry(Encoded):
    """One key: whose it is, and for which stretch of the log."""

    organisation: OrganisationId
    role: Role
    label: Label
    since: Index
    """The first log index at which it counts."""
    until: Index | None = None
    """The first at which it counts no more; `None`: it has not ended."""
    until_ms: Milliseconds | None = None
    """The block time from which it counts no more."""
    compromised_since: Index | None = None
    """What it certified from this log index on is void."""
    successor: PublicKey | None = None
    """The member key that its own organisation put in its place: evidence against this one burns that one, too."""

    def counts_at(self, log_index: int, timestamp_ms: int) -> bool:
        """Whether it is in force for a certificate at this log index, in a block of this time."""
        has_ended = self.until is not None and log_index >= self.until
        is_over = self.until_ms is not None and timestamp_ms >= self.until_ms
        return self.since <= log_index and not has_ended and not is_over


class MlDsaEntry(Encoded):
    """The ML-DSA-44 key of a member key."""

    organisation: OrganisationId
    key: MlDsaKey | None
    """`None`: it has none any more."""
    since: Index
    """The log index from which on this is so."""


class Rotation(Encoded):
    """A member key that follows another when the block time has come."""

    key: PublicKey
    due_ms: Milliseconds
    compromised_since: Index | None


class Organisation(Encoded):
    """One organisation. Without a member key it was removed."""

    id: OrganisationId
    title: Title
    domain: WebDomain | None
    member_key: PublicKey | None
    organisation_key: PublicKey | None = None
    rotation: Rotation | None = None
    live_keys: int = 1
    changes: tuple[Index, Index] = (0, 0)
    """An epoch, and how many changes of its own keys the organisation made in it."""
    rotated_ms: Milliseconds | None = None
    """The block time at which a rotation of its member key was last due."""


_key_entries: Final[Codec[KeyEntry]] = Codec(KeyEntry, 1024, "key entry")
_organisations: Final[Codec[Organisation]] = Codec(Organisation, 2048, "organisation")
_ml_dsa_entries: Final[Codec[MlDsaEntry]] = Codec(MlDsaEntry, 2048, "ML-DSA key entry")


@dataclass(frozen=True)
class Directory:
    """All organisations and keys that ever were. Methods return another one, and raise before anything is changed."""

    organisations: Mapping[str, Organisation] = field(default_factory=dict)
    keys: Mapping[bytes, KeyEntry] = field(default_factory=dict)
    ml_dsa: Mapping[bytes, MlDsaEntry] = field(default_factory=dict)
    """By member key, those that ever had one."""
    trie: Trie = field(default_factory=Trie)
    """Key entries under their keys, organisations and ML-DSA keys under hashes; the values are encoded."""

    @classmethod
    def of(
        cls,
        organisations: Sequence[Organisation],
        keys: Mapping[bytes, KeyEntry],
        ml_dsa: Mapping[bytes, MlDsaEntry] | None = None,
    ) -> "Directory":
        """The directory with these records. Raises `Refused` (D2)."""
        _holders_of(organisations)
        return cls()._with(organisations, keys, ml_dsa)

    def __bool__(self) -> bool:
        return bool(self.organisations)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Directory) and self.root == other.root

    def __hash__(self) -> int:
        return hash(self.root)

    @property
    def root(self) -> bytes:
        """Its part of the state root, 32 bytes."""
        return self.trie.root()

    # ---- what it says -----------------------------------------------------------------------------------------

    def organisation(self, organisation_id: str) -> Organisation:
        """The organisation with this id. Raises `Refused` (M2) if there is none, or no more."""
        found = self.organisations.get(organisation_id)
        if found is None or found.member_key is None:
            raise Refused(Rule.M2, f"there is no organisation {organisation_id}")
        return found

    def member_of(self, key: bytes) -> Organisation | None:
        """The organisation whose member key this is now."""
        entry = self.keys.get(key)
        found = self.organisations[entry.organisation] if entry is not None else None
        return found if found is not None and found.member_key == key else None

    @derived
    def member_keys(self) -> frozenset[bytes]:
        """The current member keys, those without stake included."""
        return frozenset(one.member_key for one in self.organisations.values() if one.member_key is not None)

    @derived
    def announced(self) -> tuple[tuple[str, Rotation], ...]:
        """The rotations that are not in effect yet, by organisation, in order of their ids."""
        rotating = ((one.id, one.rotation) for one in self.organisations.values() if one.rotation is not None)
        return tuple(sorted(rotating, key=lambda pair: pair[0]))

    def check_certifies(self, key: bytes, at: Position) -> KeyEntry:
        """The key's entry. Raises `Refused` (D1) unless it may certify there."""
        entry = self.keys.get(key)
        if entry is None:
            raise Refused(Rule.D1, f"{key.hex()[:16]}… is no key of an organisation of this ledger")
        if entry.role not in CERTIFYING:
            raise Refused(Rule.D1, f"{key.hex()[:16]}… of {entry.organisation} is no issuer key")
        if not entry.counts_at(at.log_index, at.timestamp_ms):
            raise Refused(Rule.D1, f"the key {key.hex()[:16]}… of {entry.organisation} has ended")
        return entry

    def may_certify(self, key: bytes, at: Position) -> bool:
        """Whether the key may certify there."""
        try:
            self.check_certifies(key, at)
        except Refused:
            return False
        return True

    def holder(self, key: bytes, log_index: int) -> str | None:
        """The id of the organisation that held the key at a log index."""
        entry = self.keys.get(key)
        return entry.organisation if entry is not None and entry.since <= log_index else None

    def ml_dsa_key(self, member: bytes) -> bytes | None:
        """The ML-DSA-44 key that stands for a member key."""
        entry = self.ml_dsa.get(member)
        return entry.key if entry is not None else None

    def successors(self, key: bytes) -> Iterator[bytes]:
        """The member keys that its organisation put in its place, one after the other."""
        while (entry := self.keys.get(key)) is not None and entry.successor is not None:
            key = entry.successor
            yield key

    # ---- by motion --------------------------------------------------------------------------------------------

    def admit(self, change: Admit, at: Position) -> "Directory":
        """With another organisation. Raises `Refused` (M2, D2, D4)."""
        if change.organisation in self.organisations:
            raise Refused(Rule.M2, f"there is an organisation {change.organisation} already, or was")
        self._check_new(change.key)
        organisation = Organisation(change.organisation, change.title, change.domain, change.key)
        self._check_name(organisation)
        return self._with([organisation], {change.key: KeyEntry(organisation.id, Role(change.role), "", at.log_index)})

    def remove(self, organisation_id: str, at: Position) -> "Directory":
        """All keys of the organisation end. Raises `Refused` (M2)."""
        gone = self.organisation(organisation_id)
        if len(self.member_keys) == 1:
            raise Refused(Rule.M2, f"{organisation_id} is the last: nobody could decide anything any more")
        live = {key: one for key, one in self.keys.items() if one.organisation == gone.id and one.until is None}
        ended = {key: replace(one, until=at.log_index) for key, one in live.items()}
        gone = replace(gone, member_key=None, organisation_key=None, rotation=None, live_keys=0)
        return self._with([gone], ended)

    def replace_member_key(
        self, organisation_id: str, after: bytes, compromised_since: int | None, at: Position
    ) -> "Directory":
        """Another member key in the place and role of the one before. Raises `Refused` (M2, D4)."""
        return self._with_member_key(self.organisation(organisation_id), after, compromised_since, at)

    def _with_member_key(
        self,
        organisation: Organisation,
        after: bytes,
        compromised_since: int | None,
        at: Position,
        successor: bytes | None = None,
    ) -> "Directory":
        assert organisation.member_key is not None, "an organisation that is not removed has one"
        self._check_new(after)
        _check_reached(compromised_since, at, Rule.M2)
        before = self.keys[organisation.member_key]
        ended = replace(before, until=at.log_index, compromised_since=compromised_since, successor=successor)
        entries = {
            organisation.member_key: ended,
            after: KeyEntry(organisation.id, before.role, before.label, at.log_index),
        }
        return self._with([replace(organisation, member_key=after, rotation=None)], entries)

    def set_organisation_key(
        self, organisation_id: str, before: bytes | None, after: bytes | None, at: Position
    ) -> "Directory":
        """Another organisation key, or none; what was announced before is off. Raises `Refused` (M2, D4, D5)."""
        organisation = self.organisation(organisation_id)
        if organisation.organisation_key != before or before == after:
            raise Refused(Rule.M2, f"the organisation key of {organisation_id} is another")
        entries = {}
        if before is not None:
            entries[before] = replace(self.keys[before], until=at.log_index)
        if after is not None:
            self._check_new(after)
            entries[after] = KeyEntry(organisation_id, Role.ORGANISATION, "", at.log_index)
        live_keys = organisation.live_keys + (after is not None) - (before is not None)
        _check_live(organisation_id, live_keys)
        organisation = replace(organisation, organisation_key=after, live_keys=live_keys, rotation=None)
        return self._with([organisation], entries)

    def rename(self, organisation_id: str, title: str, domain: str | None) -> "Directory":
        """Another title and domain. Raises `Refused` (M2, D2)."""
        organisation = replace(self.organisation(organisation_id), title=title, domain=domain)
        self._check_name(organisation)
        return self._with([organisation], {})

    def stop_rotation(self, organisation_id: str, key: bytes) -> "Directory":
        """Without the rotation that was announced. Raises `Refused` (M2)."""
        organisation = self.organisation(organisation_id)
        if organisation.rotation is None or organisation.rotation.key != key:
            raise Refused(Rule.M2, f"{organisation_id} has announced no rotation to {key.hex()[:16]}…")
        return self._with([replace(organisation, rotation=None)], {})

    def set_compromised(self, key: bytes, before: int | None, since: int) -> "Directory":
        """What a key of an organisation that is gone certified from a log index on is void. Raises `Refused` (M2)."""
        entry = self.keys.get(key)
        if entry is None:
            raise Refused(Rule.M2, f"{key.hex()[:16]}… is no key of an organisation of this ledger")
        if self.organisations[entry.organisation].member_key is not None:
            raise Refused(Rule.M2, f"{entry.organisation} is there, and says itself which of its keys are compromised")
        if entry.compromised_since != before:
            raise Refused(Rule.M2, f"since when {key.hex()[:16]}… is compromised is not what the motion changes from")
        return self._with([], {key: _compromised(key, entry, since, Rule.M2)})

    def forgone_rotation(self, organisation_id: str, at: Position) -> "Directory":
        """Without the rotation that is due and cannot be: it counts as one, as it ends an epoch, too."""
        organisation = replace(self.organisation(organisation_id), rotation=None, rotated_ms=at.timestamp_ms)
        return self._with([organisation], {})

    # ---- by an organisation -----------------------------------------------------------------------------------

    def rotated(self, organisation_id: str, at: Position) -> "Directory":
        """With the member key that the organisation announced. Raises `Refused` (M2, D4)."""
        organisation = self.organisation(organisation_id)
        assert organisation.rotation is not None, "one was announced"
        after, since = organisation.rotation.key, organisation.rotation.compromised_since
        return self._with_member_key(replace(organisation, rotated_ms=at.timestamp_ms), after, since, at, after)

    def change_keys(self, operation: AnyKeyOperation, actor: bytes, at: Position, params: Params) -> "Directory":
        """What an organisation does with its own keys. Raises `Refused` (D4 to D7)."""
        organisation = self._acting(actor, operation)
        epoch, count = organisation.changes
        count = count + 1 if epoch == at.epoch else 1
        if count > MAX_CHANGES_AN_EPOCH:
            raise Refused(Rule.D5, f"{organisation.id} changed {MAX_CHANGES_AN_EPOCH} keys in this epoch")
        organisation, entries = replace(organisation, changes=(at.epoch, count)), dict[bytes, KeyEntry]()
        ml_dsa = dict[bytes, MlDsaEntry]()
        match operation:
            case AddIssuer(_, key, label, until_ms):
                self._check_new(key)
                organisation = replace(organisation, live_keys=organisation.live_keys + 1)
                _check_live(organisation.id, organisation.live_keys)
                entries[key] = KeyEntry(organisation.id, Role.ISSUER, label, at.log_index, None, until_ms)
            case EndIssuer(key, compromised_since):
                entries[key] = self._ended(key, compromised_since, at)
                if self.keys[key].until is None:
                    organisation = replace(organisation, live_keys=organisation.live_keys - 1)
            case RotateMemberKey(_, _, after, compromised_since):
                self._check_new(after)
                _check_reached(compromised_since, at, Rule.D6)
                due_ms = _rotation_due_ms(organisation, at.timestamp_ms, params)
                organisation = replace(organisation, rotation=Rotation(after, due_ms, compromised_since))
            case SetMemberRole(key, role):
                entries[key] = replace(self.keys[key], role=Role(role))
            case SetMlDsaKey(member, key):
                if key == self.ml_dsa_key(member):
                    raise Refused(Rule.D7, f"that is so already of {member.hex()[:16]}…")
                ml_dsa[member] = MlDsaEntry(organisation.id, key, at.log_index)
        return self._with([organisation], entries, ml_dsa)

    def _acting(self, actor: bytes, operation: AnyKeyOperation) -> Organisation:
        """The organisation that the key acts for. Raises `Refused` (D6) unless it may do that."""
        entry = self.keys.get(actor)
        organisation = self.organisations[entry.organisation] if entry is not None else None
        if organisation is None or actor != (organisation.organisation_key or organisation.member_key):
            raise Refused(Rule.D6, f"{actor.hex()[:16]}… may change no organisation's keys")
        match operation:
            case AddIssuer(named) | RotateMemberKey(named):
                is_own = named == organisation.id
            case EndIssuer(key) | SetMemberRole(key) | SetMlDsaKey(key):
                is_own = key in self.keys and self.keys[key].organisation == organisation.id
        if not is_own:
            raise Refused(Rule.D6, f"{organisation.id} changes its own keys alone")
        if isinstance(operation, RotateMemberKey) and operation.before != organisation.member_key:
            raise Refused(Rule.D6, f"the member key of {organisation.id} is another")
        if isinstance(operation, SetMemberRole) and operation.key != organisation.member_key:
            raise Refused(Rule.D6, f"the member key of {organisation.id} is another")
        if isinstance(operation, SetMlDsaKey) and operation.member != organisation.member_key:
            raise Refused(Rule.D7, f"the member key of {organisation.id} is another")
        return organisation

    def _ended(self, key: bytes, compromised_since: int | None, at: Position) -> KeyEntry:
        """An issuer key's entry, ended; or that of any ended key, compromised earlier than was said. Else D6."""
        entry = self.keys[key]
        if entry.until is None:
            if entry.role is not Role.ISSUER:
                raise Refused(Rule.D6, f"{key.hex()[:16]}… is no issuer key: a member key is rotated or replaced")
            _check_reached(compromised_since, at, Rule.D6)
            return replace(entry, until=at.log_index, compromised_since=compromised_since)
        return _compromised(key, entry, compromised_since, Rule.D6)

    # ---- making another ---------------------------------------------------------------------------------------

    def _check_new(self, key: bytes) -> None:
        if key in self.keys:
            raise Refused(Rule.D4, f"{key.hex()[:16]}… is or was a key of {self.keys[key].organisation}")

    def _check_name(self, organisation: Organisation) -> None:
        for name in (organisation.id, organisation.title):
            if self._holders.get(fold(name), organisation.id) != organisation.id:
                raise Refused(Rule.D2, f"the name {name} looks like that of {self._holders[fold(name)]}")

    @derived
    def _holders(self) -> dict[str, str]:
        """Of each folded name the organisation that has it, in this state."""
        return _holders_of(self.organisations.values())

    def _with(
        self,
        organisations: Sequence[Organisation],
        entries: Mapping[bytes, KeyEntry],
        ml_dsa: Mapping[bytes, MlDsaEntry] | None = None,
    ) -> "Directory":
        trie = self.trie
        for one in organisations:
            trie = trie.set(organisation_place(one.id), one.encoded)
        for key, entry in entries.items():
            trie = trie.set(key, entry.encoded)
        for member, of_ml_dsa in (ml_dsa or {}).items():
            trie = trie.set(ml_dsa_place(member), of_ml_dsa.encoded)
        merged = {**self.organisations, **{one.id: one for one in organisations}}
        return Directory(merged, {**self.keys, **entries}, {**self.ml_dsa, **(ml_dsa or {})}, trie)


def organisation_place(organisation_id: str) -> bytes:
    """The key in the trie under which an organisation stands (32 bytes)."""
    return digest(b"tallystick.organisation.v1\x00" + encode(organisation_id))


def ml_dsa_place(member: bytes) -> bytes:
    """The key in the trie under which a member key's ML-DSA key stands (32 bytes)."""
    return digest(b"tallystick.pq.v1\x00" + member)


def proven_key(proof: TrieProof, key: bytes, root: bytes) -> KeyEntry | None:
    """The key's entry in the directory with this root, or `None`. Raises `Refused` (T1; E1 to E3)."""
    found = proven_value(proof, key, root)
    return _key_entries.decode(found) if found is not None else None


def proven_organisation(proof: TrieProof, organisation_id: str, root: bytes) -> Organisation:
    """The organisation in the directory with this root. Raises `Refused` (T1; E1 to E3)."""
    found = proven_value(proof, organisation_place(organisation_id), root)
    if found is None:
        raise Refused(Rule.T1, f"it shows that the directory has no organisation {organisation_id}")
    return _organisations.decode(found)


class VoterKeys(NamedTuple):
    """What a directory is shown to say of voters, by their keys."""

    holders: dict[bytes, str]
    """Ids of organisations."""
    ml_dsa: dict[bytes, bytes]
    """ML-DSA-44 keys."""


def proven_voters(proofs: Iterable[TrieProof], voters: Iterable[bytes], root: bytes) -> VoterKeys:
    """What proofs of their places show, in the directory with this root. Raises `Refused` (T1; E1 to E3)."""
    places, found = {ml_dsa_place(key): key for key in voters}, VoterKeys({}, {})
    for one in proofs:
        place = one.leaf_key or b""
        if (voter := places.get(place)) is not None:
            value = proven_value(one, place, root)
            if value is not None and (key := _ml_dsa_entries.decode(value).key) is not None:
                found.ml_dsa[voter] = key
        elif (entry := proven_key(one, place, root)) is not None:
            found.holders[place] = entry.organisation
    return found


def prove_key(trie: Trie, key: bytes) -> tuple[TrieProof, TrieProof | None]:
    """What the directory with this trie says of a key, and of the organisation that has it; `None`: none has.

    Raises `Refused` (E1 to E3) where the key's entry is none.
    """
    entry = trie.get(key)
    holder = None if entry is None else organisation_place(_key_entries.decode(entry).organisation)
    return trie.prove(key), trie.prove(holder) if holder is not None else None


def _rotation_due_ms(organisation: Organisation, now_ms: int, params: Params) -> int:
    """One rotation of an organisation in *epoch ms* at most: each ends an epoch, so it could end all of them."""
    due_ms = now_ms if organisation.organisation_key is not None else now_ms + params.rotation_delay_ms
    return due_ms if organisation.rotated_ms is None else max(due_ms, organisation.rotated_ms + params.epoch_ms)


def _holders_of(organisations: Iterable[Organisation]) -> dict[str, str]:
    """Of each folded title and id its organisation, a removed one too. Raises `Refused` (D2) if two look alike."""
    holders = dict[str, str]()
    for one in organisations:
        for name in (one.id, one.title):
            if (holder := holders.setdefault(fold(name), one.id)) != one.id:
                raise Refused(Rule.D2, f"the name {name} looks like that of {holder}")
    return holders


def _check_reached(compromised_since: int | None, at: Position, rule: Rule) -> None:
    if compromised_since is not None and compromised_since > at.log_index:
        raise Refused(rule, f"compromised since {compromised_since}, the log has come to {at.log_index}")


def _compromised(key: bytes, entry: KeyEntry, since: int | None, rule: Rule) -> KeyEntry:
    """The entry of a key that has ended, compromised earlier than was said."""
    known = entry.until if entry.compromised_since is None else entry.compromised_since
    if since is None or known is None or since >= known:
        raise Refused(rule, f"{key.hex()[:16]}… has ended already, and what it certified from {known} on is void")
    return replace(entry, compromised_since=since)


def _check_live(organisation_id: str, live_keys: int) -> None:
    if live_keys > MAX_LIVE_KEYS:
        raise Refused(Rule.D5, f"{organisation_id} has {MAX_LIVE_KEYS} keys that have not ended")
