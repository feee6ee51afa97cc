"""How much of everything one node will hold, ask for and answer. Local choices, not part of the ledger."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from tallystick.ledger.params import MAX_MESSAGE_BYTES

_ALLOWANCES: Final = 4096
"""Peers whose allowances are remembered."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one node; counts, bytes and milliseconds, units last."""

    box_certificates: int = 65_536
    box_bytes: int = 64 * 1024 * 1024
    box_certificates_per_issuer: int = 16_384
    """Of an organisation altogether; of a key that is in none."""
    box_decisions_per_issuer: int = 2_048
    """Revocations, supersessions and erasures among them, likewise: each is looked at again with every block."""
    box_decisions_of_outsiders: int = 8_192
    """Of all keys together that are in no organisation."""
    box_moves_per_issuer: int = 64
    """Of a key, beside all these: motions, key changes, and words on motions."""
    box_move_bytes_per_issuer: int = 256 * 1024

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
    statuses_per_second: int = 8
    """What a peer may tell of where it stands, likewise; it may save up eight seconds' worth. Each names thousands of
    certificates, and honest ones tell some three a second at most."""
    old_ids_per_message: int = 64
    """So many of the ids that a peer names are looked up in the file, where that is needed: each costs some 0.1 ms."""

    request_timeout_ms: int = 2_000
    eager_peers: int = 3
    """So many peers are pushed to from the start; a tree remains of that."""
    prune_every_ms: int = 1_000
    """Of the certificates heard in such a time, the one with the lowest id shows which links are redundant…"""
    prune_after_ms: int = 250
    """…once it was heard this long ago, when it should have come by all links."""
    gossip_batch_ms: int = 10
    """New certificates leave at once when the line was quiet this long, else together when it has passed."""
    gossip_batch_bytes: int = 64 * 1024
    """They leave in messages near this size: while one is sent, or looked at, nothing overtakes it."""
    announce_first_ms: int = 500
    announce_last_ms: int = 32_000
    """News is announced at intervals that double from first to last; then, if no certificate waits, it is silent."""

    dialled_members: int = 256
    """So many other members a member is to be connected with: all of them, on a ledger of usual size."""
    dialled_by_observers: int = 8
    """So many peers a node without stake is to be connected with; while some do not answer, up to four times as many
    are dialled."""
    dial_patience_ms: int = 10_000
    """An observer's peer that did not answer for this long is no longer counted upon."""
    ban_ms: int = 3_600_000
    """So long whoever broke what no honest peer breaks (N5) is no peer."""
    observer_addresses: int = 64
    """Address records kept of keys without tokens; those of keys with tokens are all kept."""
    addresses_per_second: int = 16
    """Address records that a peer may tell, on average, that this node did not know; it may save up as many as the
    largest ledger has members."""
    cosignatures_per_second: int = 256
    """Cosignatures that a peer may tell, on average, that this node did not know; it may save up as many as the
    largest ledger has members."""
    ml_dsa_per_second: int = 16
    """Likewise by ML-DSA-44, each of which is verified on the spot, in about 0.1 ms."""


class Allowances:
    """A token bucket for each peer. Kept while a peer is away, or it could fill its own by connecting again."""

    def __init__(self, per_second: float, saved: int) -> None:
        self._per_second = per_second
        self._saved = saved
        self._left: dict[Hashable, tuple[float, int]] = {}

    def take(self, now_ms: int, peer: Hashable) -> bool:
        """Use one token of the peer's if there is one."""
        tokens, filled_ms = self._left.pop(peer, (self._saved, now_ms))
        tokens = min(self._saved, tokens + max(0, now_ms - filled_ms) * self._per_second / 1000)
        self._left[peer] = (tokens - 1 if tokens >= 1 else tokens, now_ms)
        if len(self._left) > _ALLOWANCES:
            del self._left[next(iter(self._left))]
        return tokens >= 1
