"""Whom a node dials, and again whenever the connection ends: one task a peer."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Final

import zmq

from tallystick.ledger.errors import Refused
from tallystick.network.connection import Connection, TransportLimits
from tallystick.network.sockets import resolve
from tallystick.network.transport import TransportError

NOT_ADMITTED: Final = "the key is not admitted"

_AT_A_TIME: Final = 16
_MOST_PLACES: Final = 4
"""Of those that one host name stands for."""
_MOST_DOUBLINGS: Final = 20

_random = SystemRandom()


@dataclass
class _Dial:
    address: str
    task: asyncio.Task[None] = field(init=False)
    trouble: str = ""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when waiting has become pointless."""


class Dialling:
    """Keeps dialling each peer that it is told to, while there is no connection with it."""

    def __init__(
        self,
        limits: TransportLimits,
        open_peers: Mapping[bytes, Connection],
        is_admitted: Callable[[bytes], bool],
        connect: Callable[[bytes, str, tuple[str, int]], Connection],
    ) -> None:
        """`connect` begins a connection: peer, address, numeric address. It may raise `Refused` and `zmq.ZMQError`."""
        self._limits = limits
        self._open_peers = open_peers
        self._is_admitted = is_admitted
        self._connect = connect
        self._dials: dict[bytes, _Dial] = {}
        self._free = asyncio.Semaphore(_AT_A_TIME)

    def __contains__(self, peer: bytes) -> bool:
        return peer in self._dials

    def dial(self, peer: bytes, address: str) -> None:
        """Dial from now on, there."""
        dial = self._dials.get(peer)
        if dial is None:
            dial = self._dials[peer] = _Dial(address)
            dial.task = asyncio.create_task(self._pursue(peer, dial))
        elif dial.address != address:
            dial.address = address
            dial.wake.set()

    def forget(self, peer: bytes) -> None:
        """Dial no more."""
        dial = self._dials.pop(peer, None)
        if dial is not None:
            dial.task.cancel()

    async def stop(self) -> None:
        """Dial nobody any more."""
        tasks = [dial.task for dial in self._dials.values()]
        for peer in list(self._dials):
            self.forget(peer)
        await asyncio.gather(*tasks, return_exceptions=True)

    def admission_changed(self) -> None:
        """Those that were held up by it are dialled now."""
        for peer, dial in self._dials.items():
            if dial.trouble == NOT_ADMITTED and self._is_admitted(peer):
                dial.wake.set()

    def note(self, peer: bytes, trouble: str) -> None:
        """Why there is no connection with a peer, if it is one of those dialled."""
        if peer in self._dials:
            self._dials[peer].trouble = trouble

    def troubles(self) -> dict[bytes, str]:
        """Why those that are not connected are not."""
        dials = self._dials.items()
        return {peer: dial.trouble for peer, dial in dials if dial.trouble and peer not in self._open_peers}

    async def _pursue(self, peer: bytes, dial: _Dial) -> None:
        loop, limits, failures = asyncio.get_running_loop(), self._limits, 0
        while True:
            began = loop.time()
            connection = self._open_peers.get(peer) or await self._attempt(peer, dial)
            if connection is not None:
                await connection.ended.wait()
                if loop.time() - began > limits.redial_last_ms / 1000:
                    failures = 0
            delay_ms = min(limits.redial_last_ms, limits.redial_first_ms * 2**failures)
            failures = min(failures + 1, _MOST_DOUBLINGS)
            with suppress(TimeoutError):
                await asyncio.wait_for(dial.wake.wait(), delay_ms / 1000 * _random.uniform(0.5, 1))
                dial.wake.clear()
                failures = 0

    async def _attempt(self, peer: bytes, dial: _Dial) -> Connection | None:
        """Dial once, at all that the address stands for; the connection that is open then."""
        address = dial.address
        async with self._free:
            try:
                if not self._is_admitted(peer):
                    raise TransportError(NOT_ADMITTED)
                for place in (await resolve(address, self._limits.handshake_ms))[:_MOST_PLACES]:
                    if peer not in self._open_peers:
                        await self._connect(peer, address, place).settled.wait()
            except (TransportError, Refused, zmq.ZMQError) as error:
                dial.trouble = str(error)
            return self._open_peers.get(peer)
