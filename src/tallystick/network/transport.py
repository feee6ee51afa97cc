"""The one contract that every transport between nodes keeps; a conformance suite runs against each of them.

1. A peer is authenticated before it is seen: its name is its Ed25519 public key, 32 bytes, which it has proven to hold.
2. There is at most one connection with a peer. Frames arrive whole and within the bound of a message: urgent ones
   (`messages.is_urgent`) in order, and all others in order; urgent ones overtake others wherever those wait.
3. Nothing blocks. What waits for a peer is bounded in bytes; a peer that falls behind is closed, and told to be so: a
   frame that was sent over a connection either arrives, or the connection ends.
4. A dialled peer is dialled again, with back-off, until it is forgotten.
5. Of two connections with one peer, begun by both sides at once, both sides keep the same one. A peer that connects
   anew has lost the one before, which ends.
"""

from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct

FRAME_BYTES: Final = 64
"""What a frame that waits counts beyond its length, so that small ones are bounded too."""


class TransportError(Exception):
    """Something is in the way of reaching others, or of being reached; the message says what."""


class NobodyAnswers(TransportError):
    """No answer comes from there."""


class Connected(Struct, frozen=True):
    """A peer can be reached from now on. `address`: where it was dialled; `None` when it came by itself."""

    peer: bytes
    address: str | None


class Disconnected(Struct, frozen=True):
    """The connection ended, with all that was under way in it. `reason` is for people."""

    peer: bytes
    reason: str


class Received(Struct, frozen=True):
    """One frame from a connected peer."""

    peer: bytes
    frame: bytes


TransportEvent = Connected | Disconnected | Received


class Transport(Protocol):
    """How one node reaches the others. `on_event` is called with each event, in order, from the event loop.

    `on_event` is never called from within another call, so it may itself call whatever stands here.
    """

    async def start(self, on_event: Callable[[TransportEvent], None]) -> None:
        """Listen, from now on. Raises `TransportError` when the address is taken or is none."""

    async def stop(self) -> None:
        """End all connections; nothing is told any more. It is not started again."""

    @property
    def listening(self) -> str | None:
        """Where others can dial this node, as "host:port", once it has started; `None` when it does not listen."""

    def admit(self, is_admitted: Callable[[bytes], bool]) -> None:
        """Who may be a peer, from now on: connections with others end, and none begin. At first: nobody."""

    def dial(self, peer: bytes, address: str) -> None:
        """Connect to this peer, there, and again whenever the connection ends. A later address replaces an earlier."""

    def forget(self, peer: bytes) -> None:
        """Dial this peer no more, and end the connection with it."""

    def send(self, peer: bytes, frame: bytes) -> None:
        """Put a frame on its way, if the peer is connected; never blocks.

        Raises `ValueError` for one of more than `MAX_MESSAGE_BYTES`.
        """

    def pause(self, peer: bytes, *, is_urgent: bool = False) -> None:
        """Take no more of this peer's frames in bulk, or urgent ones, until resumed: they wait with it.

        Those of the other class go on coming; but urgent ones that wait for long take the others' room.
        """

    def resume(self, peer: bytes, *, is_urgent: bool = False) -> None:
        """Take those frames again."""

    def troubles(self) -> dict[bytes, str]:
        """Of the dialled peers that are not connected: why not, for people, once it is known."""
