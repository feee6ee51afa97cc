"""Looking for payloads: a certificate that came in a block came without its own, and some peer may have it."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import islice

from tallystick.ledger.block import Block
from tallystick.ledger.certificate import Payload
from tallystick.ledger.messages import PayloadRequest
from tallystick.node.events import Peer, Send
from tallystick.node.limits import Limits


@dataclass(frozen=True)
class _Request:
    hashes: tuple[bytes, ...]
    deadline_ms: int


class PayloadSearch:
    """One request at a time to each peer. What a peer does not have is asked of the others, and of those to come."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._erased: set[bytes] = set()
        self._wanted: dict[bytes, set[Peer]] = {}
        self._requests: dict[Peer, _Request | None] = {}

    def want(self, payload_hash: bytes) -> None:
        """Look for a payload from now on, unless it was erased; beyond the limit the oldest wish is given up."""
        if payload_hash in self._erased:
            return
        self._wanted.setdefault(payload_hash, set())
        if len(self._wanted) > self._limits.wanted_payloads:
            del self._wanted[next(iter(self._wanted))]

    def want_those_of(self, block: Block, at_hand: Container[bytes]) -> None:
        """Look for the payloads of a block's certificates but those at hand."""
        for certificate in block.certificates:
            if certificate.payload_hash and certificate.payload_hash not in at_hand:
                self.want(certificate.payload_hash)

    def erase(self, payload_hash: bytes) -> None:
        """Look for it no longer, and never again."""
        self._erased.add(payload_hash)
        self._wanted.pop(payload_hash, None)

    def is_erased(self, payload_hash: bytes | None) -> bool:
        """Whether a user had this node forget it for good."""
        return payload_hash in self._erased

    def connected(self, peer: Peer) -> None:
        """A peer that may be asked."""
        self._requests.setdefault(peer, None)

    def forget(self, peer: Peer) -> None:
        """The peer is gone; should it come back, it is asked for everything anew."""
        self._requests.pop(peer, None)
        for without in self._wanted.values():
            without.discard(peer)

    def received(self, peer: Peer, payloads: Iterable[Payload]) -> list[Payload]:
        """An answer came. Returns what was wanted of it."""
        found = [payload for payload in payloads if self._wanted.pop(payload.hash(), None) is not None]
        request = self._requests.get(peer)
        if request is not None:
            self._requests[peer] = None
            for payload_hash in request.hashes:
                if (without := self._wanted.pop(payload_hash, None)) is not None:
                    # Put last. An answer may be cut short, so only an empty one means "none of them".
                    self._wanted[payload_hash] = without if found else without | {peer}
        return found

    def expire(self, now_ms: int) -> None:
        """Give up on requests whose time has run out: their peers may be asked again."""
        for peer, request in self._requests.items():
            if request is not None and request.deadline_ms <= now_ms:
                self._requests[peer] = None

    def deadline_ms(self) -> int | None:
        """When the first request under way runs out of time."""
        return min((one.deadline_ms for one in self._requests.values() if one is not None), default=None)

    def ask(self, now_ms: int) -> list[Send]:
        """A request to each peer that has none under way and may have something."""
        if not self._wanted:
            return []
        sends = []
        asked = {one for request in self._requests.values() if request for one in request.hashes}
        for peer, request in self._requests.items():
            if request is not None:
                continue
            may_have = (one for one, without in self._wanted.items() if one not in asked and peer not in without)
            hashes = tuple(islice(may_have, self._limits.range_blocks))
            if hashes:
                asked.update(hashes)
                self._requests[peer] = _Request(hashes, now_ms + self._limits.request_timeout_ms)
                sends.append(Send(peer, PayloadRequest(hashes)))
        return sends
