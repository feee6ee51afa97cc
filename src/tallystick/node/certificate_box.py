"""The certificate box: what waits to be forged, in order of arrival, bounded in count, in bytes and per issuer."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from tallystick.ledger.certificate import AnyCertificate, Evidence, Payload, StakingOperation
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.messages import Entry
from tallystick.ledger.params import MAX_BLOCK_BYTES, MAX_TIMESTAMP_MS
from tallystick.ledger.stake import StakeTable
from tallystick.node.limits import Limits

_BLOCK_OVERHEAD_BYTES = 1024
"""More than a block's header, signature and array frames take."""


class Waiting(NamedTuple):
    """A certificate in the box, when it came (ms), and the bytes it takes there."""

    entry: Entry
    since_ms: int
    size_bytes: int


class CertificateBox:
    """Any prefix of the box is legal in a block: staking operations are checked as if all before them were forged."""

    def __init__(self, limits: Limits, stakes: StakeTable, index: int) -> None:
        """`stakes` are those that the next block, `index`, will find."""
        self._limits = limits
        self._index = index
        self._waiting: dict[bytes, Waiting] = {}
        self._of_issuer: Counter[bytes] = Counter()
        self._staking: dict[bytes, StakingOperation | Evidence] = {}
        self._projected = stakes
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, certificate_id: object) -> bool:
        return certificate_id in self._waiting

    def __iter__(self) -> Iterator[AnyCertificate]:
        return (waiting.entry.certificate for waiting in self._waiting.values())

    def waiting(self) -> Iterable[Waiting]:
        """Everything in the box, in order of arrival."""
        return self._waiting.values()

    @property
    def block_bytes(self) -> int:
        """The room that a block has for certificates."""
        return MAX_BLOCK_BYTES - _BLOCK_OVERHEAD_BYTES

    @property
    def size_bytes(self) -> int:
        """Encoded bytes of everything in the box, payloads included."""
        return self._bytes

    def get(self, certificate_id: bytes) -> Entry | None:
        """The entry with this certificate id, if it waits here."""
        waiting = self._waiting.get(certificate_id)
        return waiting.entry if waiting else None

    def holds(self, certificate: AnyCertificate) -> bool | None:
        """Whether this very certificate waits here; `None` when none with its id does."""
        waiting = self._waiting.get(certificate.id)
        return waiting and waiting.entry.certificate.signature == certificate.signature

    def ids(self, most: int, after_ms: int = -1, until_ms: int = MAX_TIMESTAMP_MS) -> tuple[bytes, ...]:
        """The ids of the certificates that have waited longest, of those that came after one time and by another."""
        came = (one for one, waiting in self._waiting.items() if after_ms < waiting.since_ms <= until_ms)
        return tuple(islice(came, most))

    def oldest_ms(self) -> int | None:
        """Since when the oldest certificate waits."""
        return next((waiting.since_ms for waiting in self._waiting.values()), None)

    def newest_ms(self) -> int | None:
        """Since when the newest certificate waits."""
        return next((waiting.since_ms for waiting in reversed(self._waiting.values())), None)

    def add(self, entry: Entry, now_ms: int) -> None:
        """Put an entry last. Raises `Refused` (C4, C6, C7, S1 to S6), and then nothing has changed."""
        certificate = entry.certificate
        if certificate.id in self._waiting:
            raise Refused(Rule.C4, f"certificate {certificate.id.hex()[:16]}… is in the box")
        size = len(certificate.encoded) + (len(encode(entry.payload)) if entry.payload else 0)
        self._check_room(certificate.issuer, size)
        if isinstance(certificate, StakingOperation | Evidence):
            self._projected = self._projected.after([certificate], self._index)
            self._staking[certificate.id] = certificate
        self._waiting[certificate.id] = Waiting(entry, now_ms, size)
        self._of_issuer[certificate.issuer] += 1
        self._bytes += size

    def _check_room(self, issuer: bytes, size_bytes: int) -> None:
        limits = self._limits
        if len(self._waiting) >= limits.box_certificates:
            raise Refused(Rule.C6, f"{limits.box_certificates} certificates wait already; hand it in again later")
        if self._bytes + size_bytes > limits.box_bytes:
            raise Refused(Rule.C6, f"the box's {limits.box_bytes} bytes are used up; hand it in again later")
        if self._of_issuer[issuer] >= limits.box_certificates_per_issuer:
            most = limits.box_certificates_per_issuer
            raise Refused(Rule.C7, f"{most} of this issuer's certificates wait already; hand it in again later")

    def first(self, count: int) -> list[AnyCertificate]:
        """The certificates for the next block: those that waited longest, as many as fit (at most `count`)."""
        chosen, room = [], self.block_bytes
        for waiting in islice(self._waiting.values(), count):
            room -= len(waiting.entry.certificate.encoded)
            if room < 0:
                break
            chosen.append(waiting.entry.certificate)
        return chosen

    def settle(
        self, certificates: Iterable[AnyCertificate], stakes: StakeTable, index: int
    ) -> tuple[dict[bytes, Payload], list[tuple[bytes, Refused]]]:
        """A block with these certificates was added; `stakes` are those that the next block, `index`, will find.

        They leave the box; so do staking operations that are no longer legal. Returns the payloads of the block's
        certificates by their hash, and which others left, by id, and why.
        """
        payloads: dict[bytes, Payload] = {}
        for certificate in certificates:
            entry = self._remove(certificate.id)
            if entry and entry.payload and certificate.payload_hash:
                payloads[certificate.payload_hash] = entry.payload
        self._index = index
        return payloads, self._project_again(stakes)

    def erase_payload(self, payload_hash: bytes) -> None:
        """Forget a payload; the certificates that cover it stay."""
        for certificate_id, (entry, since_ms, size_bytes) in self._waiting.items():
            if entry.payload and entry.certificate.payload_hash == payload_hash:
                freed = len(encode(entry.payload))
                self._waiting[certificate_id] = Waiting(Entry(entry.certificate), since_ms, size_bytes - freed)
                self._bytes -= freed

    def _remove(self, certificate_id: bytes) -> Entry | None:
        waiting = self._waiting.pop(certificate_id, None)
        if waiting is None:
            return None
        issuer = waiting.entry.certificate.issuer
        self._staking.pop(certificate_id, None)
        self._bytes -= waiting.size_bytes
        self._of_issuer[issuer] -= 1
        if not self._of_issuer[issuer]:
            del self._of_issuer[issuer]
        return waiting.entry

    def _project_again(self, stakes: StakeTable) -> list[tuple[bytes, Refused]]:
        try:
            self._projected = stakes.after(self._staking.values(), self._index)
        except Refused:
            pass
        else:
            return []
        self._projected, left = stakes, list[tuple[bytes, Refused]]()
        for operation in list(self._staking.values()):
            try:
                self._projected = self._projected.after([operation], self._index)
            except Refused as refused:
                self._remove(operation.id)
                left.append((operation.id, refused))
        return left
