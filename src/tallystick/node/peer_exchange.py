"""Peers learnt from peers: where each node can be reached, who may be a peer, and whom to dial.

Whoever knows one node comes to know all: at connection each side tells the signed address records that it has, and
passes on what is new to it. Only keys with tokens, or of an organisation, are sure of a place here, and only stake
decides who is dialled, so that records of made-up keys crowd nobody out.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from tallystick.ledger.address import MAX_AHEAD_MS, AddressRecord
from tallystick.ledger.encoding import digest
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.keys import is_signed
from tallystick.ledger.messages import MAX_ADDRESSES, Addresses, in_parts
from tallystick.ledger.params import MAX_GENESIS_MEMBERS
from tallystick.ledger.state import State
from tallystick.node import events
from tallystick.node.events import Action, Disconnect, Peer, Send, Started
from tallystick.node.limits import Allowances, Limits

_BANNED: Final = 4096
_DIALLED_FOR_ONE: Final = 4
"""Peers that an observer dials for each one that it is to be connected with, at most."""


class _Dialled(Struct):
    """Where a peer was dialled, and since when it has been out of reach."""

    address: str
    since_ms: int


class Ban(Struct, frozen=True):
    """What a peer broke that no honest peer breaks (N5), and until when it is no peer for that."""

    until_ms: int
    refused: Refused


class PeerExchange:
    """The newest record of each key, the connected peers, and those that the host was told to dial."""

    def __init__(self, limits: Limits, genesis: Genesis, state: State, kept: Iterable[AddressRecord]) -> None:
        """`kept` comes from the archive, so it may be anybody's: what is not signed by its key is left out."""
        self._limits = limits
        self._key = b""
        self._known: dict[bytes, str] = {}
        self.records = {
            one.key: one for one in kept if is_signed(one.signed_bytes(genesis.ledger_id), one.signature, one.key)
        }
        self._connected: dict[Peer, None] = {}
        self._dialled: dict[bytes, _Dialled] = {}
        self.bans: dict[Peer, Ban] = {}
        """The oldest ban first."""
        self._allowances = Allowances(limits.addresses_per_second, MAX_GENESIS_MEMBERS)
        self._follow(state)

    def _follow(self, state: State) -> None:
        """A directory says whose member keys there are; what is left of a removed one's stake makes it no member."""
        self._state, self._has_directory = state, bool(state.directory)
        self._members = frozenset(key for key, _ in (*state.stakes.members, *state.epoch.members))
        known = state.directory.member_keys if state.directory else state.stakes.holders
        self._holders = known | self._members
        self._admits_observers = state.params.admits_observers
        self._leaving = frozenset[bytes]() if self._admits_observers else _just_left(state)
        self._admitted = None if self._admits_observers else self._holders | self._leaving

    # ---- who may be a peer --------------------------------------------------------------------------------------

    def admits(self, peer: Peer) -> bool:
        """Whether this may be a peer (N6), unless banned (N5): anybody, or whoever has tokens or stake in the epoch.

        Of a ledger with a directory: anybody, or member keys, those without stake included, and for a while
        those that ended: they have to hear that they did, and that others have the block.
        """
        return (self._admitted is None or peer in self._admitted) and peer not in self.bans

    def started(self, started: Started, actions: list[Action]) -> None:
        """The host tells who this node is, and begins to admit and to dial."""
        self._key, self._known = started.key, dict(started.known)
        if started.record is None:
            self.records.pop(started.key, None)
        elif self._take(started.record):
            actions.append(events.PersistAddress(started.record))
        actions.append(self._admit)

    @property
    def _admit(self) -> events.Admit:
        return events.Admit(self._admitted, frozenset(self.bans))

    def tip_advanced(self, state: State, actions: list[Action]) -> bool:
        """Follow the tip. Returns whether others may have to be dialled.

        That is so when tokens moved, an epoch began, or the time of a key that had just left is over.
        """
        if state is self._state:
            return False
        before, self._state = self._state, state
        is_over = self._leaving and self._leaving != _just_left(state)
        if state.stakes is before.stakes and state.epoch is before.epoch and not is_over:
            return False
        admitted = self._admitted
        self._follow(state)
        self._make_room()
        if self._admitted != admitted:
            actions.append(self._admit)
            for peer in self._connected:
                if not self.admits(peer):
                    self._turn_away(peer, actions)
        return True

    def _turn_away(self, peer: Peer, actions: list[Action]) -> None:
        if peer in self.bans:
            actions.append(Disconnect(peer, self.bans[peer].refused))
        else:
            what = "is no organisation's member key" if self._has_directory else "has no tokens"
            refused = Refused(Rule.N6, f"its key {what}, and this ledger admits no observers")
            actions += [events.ReportRefused(refused, peer), Disconnect(peer, refused)]

    # ---- bans ---------------------------------------------------------------------------------------------------

    def ban(self, now_ms: int, peer: Peer, refused: Refused, actions: list[Action]) -> None:
        """Have nothing to do with a peer for a while; a ban under way is not made longer."""
        if peer not in self.bans:
            self.bans[peer] = Ban(now_ms + self._limits.ban_ms, refused)
            if len(self.bans) > _BANNED:
                del self.bans[next(iter(self.bans))]
            actions.append(self._admit)

    def unban(self, peer: Peer, actions: list[Action]) -> None:
        """Let a peer in again before its time."""
        if self.bans.pop(peer, None) is not None:
            actions.append(self._admit)

    # ---- where they are -----------------------------------------------------------------------------------------

    def knows(self, record: AddressRecord) -> bool:
        """Whether this very record is the one kept of its key."""
        return self.records.get(record.key) == record

    def connected(self, now_ms: int, peer: Peer, actions: list[Action]) -> bool:
        """A peer is there: it is told all that is known, or turned away. Returns whether it is admitted."""
        if not self.admits(peer):
            self._turn_away(peer, actions)
            return False
        self._connected[peer] = None
        others = sorted((key for key in self.records if key not in (self._key, peer)), key=self._rank)
        told = [self.records[key] for key in (self._key, *others) if key in self.records]
        actions.extend(Send(peer, Addresses(part)) for part in in_parts(told, MAX_ADDRESSES))
        return True

    def disconnected(self, now_ms: int, peer: Peer) -> None:
        """A peer is gone."""
        self._connected.pop(peer, None)
        if peer in self._dialled:
            self._dialled[peer].since_ms = now_ms

    def heard(self, now_ms: int, peer: Peer, records: Iterable[AddressRecord], actions: list[Action]) -> bool:
        """A peer tells where nodes are: what is new is kept and passed on. Returns whether anything was."""
        news = []
        for record in records:
            if self.knows(record):
                continue
            if not self._allowances.take(now_ms, peer):
                rate = self._limits.addresses_per_second
                actions.append(events.ReportRefused(Refused(Rule.N9, f"more than {rate} new ones a second"), peer))
                break
            if record.time_ms > now_ms + MAX_AHEAD_MS:
                ahead = f"dated {record.time_ms - now_ms} ms ahead of this node's clock, {MAX_AHEAD_MS} ms allowed"
                actions.append(events.ReportRefused(Refused(Rule.N8, ahead), peer))
            elif record.key != self._key and self._take(record):
                news.append(record)
        actions.extend(events.PersistAddress(record) for record in news if record.key in self._holders)
        if news:
            actions.append(events.Broadcast(Addresses(tuple(news)), but=peer))
        return bool(news)

    def _take(self, record: AddressRecord) -> bool:
        """Keep a record if it is the latest of its key and there is room for it."""
        held = self.records.get(record.key)
        if held is not None and held.time_ms >= record.time_ms:
            return False
        self.records[record.key] = record
        self._make_room()
        return self.knows(record)

    def _make_room(self) -> None:
        """Let go of records whose keys may be no peers, and of those without tokens all but the first few by rank."""
        others = [key for key in self.records if key not in self._holders and key != self._key]
        most = self._limits.observer_addresses if self._admits_observers else 0
        for key in sorted(others, key=self._rank)[most:]:
            del self.records[key]

    # ---- whom to dial -------------------------------------------------------------------------------------------

    def _rank(self, key: bytes) -> tuple[bool, bool, bytes]:
        """Members before whoever has tokens before all others; among equals an order of this node's own.

        It is another one at every node, so they do not all dial the same few.
        """
        return key not in self._members, key not in self._holders, digest(self._key + key)

    def dial(self, now_ms: int, actions: list[Action]) -> int | None:
        """Dial whom this node should be connected with, and forget whom it dialled and should not.

        Returns when a ban ends, or it has waited long enough for those that do not answer; `None`: there is neither.
        """
        for peer in [one for one, ban in self.bans.items() if ban.until_ms <= now_ms]:
            self.unban(peer, actions)
        wanted = self._wanted(now_ms)
        for peer in [one for one in self._dialled if one not in wanted]:
            del self._dialled[peer]
            actions.append(events.Forget(peer))
        for peer, address in wanted.items():
            dialled = self._dialled.get(peer)
            if peer not in self._connected and (dialled is None or dialled.address != address):
                self._dialled[peer] = _Dialled(address, now_ms)
                actions.append(events.Dial(peer, address))
        ends = [ban.until_ms for ban in self.bans.values()]
        if self._key not in self._members:
            away = [one for peer, one in self._dialled.items() if peer not in self._connected]
            ends += [one.since_ms + self._limits.dial_patience_ms for one in away]
        return min((end_ms for end_ms in ends if end_ms > now_ms), default=None)

    def _wanted(self, now_ms: int) -> dict[bytes, str]:
        """Whom to be connected with, in order of rank, each with its address: what its own key says goes first."""
        addresses = {**self._known, **{key: record.address for key, record in self.records.items()}}
        able = [key for key in addresses if key != self._key and self.admits(key)]
        able.sort(key=self._rank)
        if self._key in self._members:
            chosen = [key for key in able if key in self._members][: self._limits.dialled_members]
        else:
            chosen = self._enough(able, now_ms)
        return {key: addresses[key] for key in (*chosen, *(key for key in self._known if key in able))}

    def _enough(self, able: list[bytes], now_ms: int) -> list[bytes]:
        """The first few that can be counted upon, and those before them that cannot: they may come back."""
        few = self._limits.dialled_by_observers
        counted = 0
        for place, key in enumerate(able[: _DIALLED_FOR_ONE * few]):
            if counted == few:
                return able[:place]
            dialled = self._dialled.get(key)
            is_late = dialled is not None and now_ms >= dialled.since_ms + self._limits.dial_patience_ms
            counted += key in self._connected or not is_late
        return able[: _DIALLED_FOR_ONE * few]


def _just_left(state: State) -> frozenset[bytes]:
    """The member keys that ended in good standing, neither burned nor known as compromised, not long ago.

    They lost their stake with the end of the epoch before, or less than *epoch ms* of block time ago: a decision ends
    an epoch early. The state tells, as what they had is unbonding since then.
    """
    epoch, tip_ms, params = state.epoch.number, state.tip.timestamp_ms, state.params
    freed_in = {
        end.freed_from(params).epoch
        for end in state.epoch_ends
        if end.epoch >= epoch - 1 or tip_ms - end.timestamp_ms < params.epoch_ms
    }
    return frozenset(
        key
        for key, account in state.stakes.accounts.items()
        if any(freed.epoch in freed_in for freed, _ in account.unbonding) and _has_ended(key, state)
    )


def _has_ended(key: bytes, state: State) -> bool:
    entry = state.directory.keys.get(key)
    is_over = entry is not None and entry.until is not None and entry.compromised_since is None
    return is_over and key not in state.stakes.burned_keys
