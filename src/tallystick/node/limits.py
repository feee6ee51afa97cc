"""How much of everything one node will hold, ask for and answer. Local choices, not part of the ledger."""

from dataclasses import dataclass

from tallystick.ledger.params import MAX_MESSAGE_BYTES


@dataclass(frozen=True)
class Limits:
    """Bounds of one node; counts, bytes and milliseconds, units last."""

    box_certificates: int = 65_536
    box_bytes: int = 64 * 1024 * 1024
    box_certificates_per_issuer: int = 16_384

    set_aside_blocks_per_peer: int = 512
    set_aside_bytes_per_peer: int = 16 * 1024 * 1024

    range_blocks: int = 64
    """Blocks, or payloads, asked for in one request."""
    wanted_payloads: int = 65_536
    """Payloads looked for at a time."""
    requests_in_flight: int = 4
    answer_bytes: int = MAX_MESSAGE_BYTES // 2
    """A node's answers and batches stay near this size (one item may exceed it)."""
    waits_when_behind: bool = True
    """Whether a forger lets a longer chain that it heard of come in before its turn (the course has no timers)."""
    requests_per_second: int = 64
    """What a peer may ask, on average; it may save up two seconds' worth."""

    request_timeout_ms: int = 2_000
    eager_peers: int = 3
    """So many peers are pushed to from the start; a tree remains of that."""
    prune_every_ms: int = 1_000
    """Of the certificates heard in such a time, the one with the lowest id shows which links are redundant…"""
    prune_after_ms: int = 250
    """…once it was heard this long ago, when it should have come by all links."""
    gossip_batch_ms: int = 10
    """New certificates leave at once when the line was quiet this long, else together when it has passed."""
    announce_first_ms: int = 500
    announce_last_ms: int = 32_000
    """After news a node tells where it stands at intervals that double from first to last. Then, if no certificate
    waits, it is silent."""


class Allowance:
    """A token bucket: what one peer may still ask."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._tokens = 2.0 * per_second
        self._filled_ms: int | None = None

    def take(self, now_ms: int) -> bool:
        """Use one token if there is one."""
        if self._filled_ms is not None:
            earned = max(0, now_ms - self._filled_ms) * self._per_second / 1000
            self._tokens = min(2.0 * self._per_second, self._tokens + earned)
        self._filled_ms = now_ms
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
