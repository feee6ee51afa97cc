"""Dialling in virtual time: hosts that find each other by key and address, as they do over a real transport."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from tallystick.ledger.wallet import Wallet
from tallystick.node.events import Peer

_HANDSHAKE_MS: Final = 20
_FIRST_WAIT_MS: Final = 100
_LONGEST_WAIT_MS: Final = 30_000


@dataclass(frozen=True)
class Home:
    """Of a host that dials: its key, where it listens (`None`: nowhere), and whom its operator named, and where."""

    wallet: Wallet
    address: str | None
    known: tuple[tuple[bytes, str], ...] = ()


@dataclass(eq=False)
class _Dial:
    address: str


class Joinable(Protocol):
    """What dialling takes of a network."""

    now_ms: int

    def at(self, at_ms: int, call: Callable[[], object]) -> None:
        """Call this at a time."""

    def join(self, name: str, peer: Peer, address: str) -> bool:
        """Connect a host with a peer; whether they are connected now."""


class Dialling:
    """What every host dials: until it is forgotten, again with back-off whenever there is no connection."""

    def __init__(self, network: Joinable) -> None:
        self._network = network
        self._dials: defaultdict[str, dict[Peer, _Dial]] = defaultdict(dict)

    def dial(self, name: str, peer: Peer, address: str) -> None:
        """A host dials a peer; a later address replaces an earlier one."""
        dial = self._dials[name][peer] = _Dial(address)
        self._try_at(self._network.now_ms + _HANDSHAKE_MS, name, peer, dial, _FIRST_WAIT_MS)

    def forget(self, name: str, peer: Peer) -> None:
        """A host dials a peer no more."""
        self._dials[name].pop(peer, None)

    def stop(self, name: str) -> None:
        """A host crashed."""
        self._dials[name].clear()

    def ended(self, name: str, peer: Peer) -> None:
        """A connection ended: a host that dialled it dials again."""
        if peer in self._dials[name]:
            self.dial(name, peer, self._dials[name][peer].address)

    def _try_at(self, at_ms: int, name: str, peer: Peer, dial: _Dial, wait_ms: int) -> None:
        self._network.at(at_ms, lambda: self._try(name, peer, dial, wait_ms))

    def _try(self, name: str, peer: Peer, dial: _Dial, wait_ms: int) -> None:
        network = self._network
        if self._dials[name].get(peer) is dial and not network.join(name, peer, dial.address):
            self._try_at(network.now_ms + wait_ms, name, peer, dial, min(2 * wait_ms, _LONGEST_WAIT_MS))
