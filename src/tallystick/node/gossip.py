"""Sharing what is new: certificates in small batches, and the announcements by which nodes find what they missed."""

from tallystick.ledger.messages import MAX_ENTRIES, Certificates, Entry
from tallystick.node.events import Broadcast, Peer
from tallystick.node.limits import Limits


class Gossip:
    """Fresh certificates on their way out, the ones asked for, and when to announce next."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._fresh: list[Entry] = []
        self._source: Peer | None = None
        self._mixed = False
        self._flushed_ms: int | None = None
        self._asked: dict[bytes, int] = {}
        self._interval_ms = limits.announce_first_ms
        self._announce_ms: int | None = None

    def offer(self, entry: Entry, source: Peer | None) -> None:
        """Put a certificate that was just accepted on its way; it does not go back to where it came from."""
        if not self._fresh:
            self._source, self._mixed = source, False
        elif source != self._source:
            self._mixed = True
        self._fresh.append(entry)

    def erase_payload(self, payload_hash: bytes) -> None:
        """Forget a payload; the certificates that cover it still go out."""
        self._fresh = [
            Entry(one.certificate) if one.certificate.payload_hash == payload_hash else one for one in self._fresh
        ]

    def due_ms(self, now_ms: int) -> int | None:
        """When the waiting batch leaves: now after a quiet while, else when that has passed; `None`: no batch."""
        if not self._fresh:
            return None
        if self._flushed_ms is None:
            return now_ms
        return max(now_ms, self._flushed_ms + self._limits.gossip_batch_ms)

    def flush(self, now_ms: int) -> list[Broadcast]:
        """The batches to broadcast now."""
        but = None if self._mixed else self._source
        batches = [Broadcast(Certificates(batch), but) for batch in batched(self._fresh, self._limits.answer_bytes)]
        self._fresh = []
        self._flushed_ms = now_ms
        return batches

    def to_ask(self, ids: tuple[bytes, ...], now_ms: int) -> tuple[bytes, ...]:
        """Of ids that this node lacks, those not asked for lately; they count as asked for from now."""
        fresh_ms, most = now_ms - self._limits.request_timeout_ms, self._limits.box_certificates
        if len(self._asked) + len(ids) > most:
            self._asked = {one: asked_ms for one, asked_ms in self._asked.items() if asked_ms > fresh_ms}
        asking = tuple(one for one in ids if self._asked.get(one, fresh_ms) <= fresh_ms)
        asking = asking[: max(0, most - len(self._asked))]
        self._asked.update(dict.fromkeys(asking, now_ms))
        return asking

    def received(self, certificate_id: bytes) -> None:
        """A certificate came, so it may be asked for again if it is ever lost."""
        self._asked.pop(certificate_id, None)

    def news(self, now_ms: int) -> int:
        """Something changed: announce soon, then at doubling intervals. Returns when."""
        self._interval_ms = self._limits.announce_first_ms
        self._announce_ms = now_ms + self._interval_ms
        return self._announce_ms

    def announced(self, now_ms: int) -> int | None:
        """An announcement was made; when the next one is due, or `None`: from here on, silence."""
        self._interval_ms *= 2
        if self._interval_ms > self._limits.announce_last_ms:
            self._announce_ms = None
        else:
            self._announce_ms = now_ms + self._interval_ms
        return self._announce_ms


def batched(entries: list[Entry], most_bytes: int) -> list[tuple[Entry, ...]]:
    """Split entries into batches near `most_bytes` and within the count that a message may hold."""
    batches: list[tuple[Entry, ...]] = []
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        entry_bytes = len(entry.certificate.encoded) + (len(entry.payload.content) + 512 if entry.payload else 1)
        if batch and (size + entry_bytes > most_bytes or len(batch) == MAX_ENTRIES):
            batches.append(tuple(batch))
            batch, size = [], 0
        batch.append(entry)
        size += entry_bytes
    if batch:
        batches.append(tuple(batch))
    return batches
