"""The certificate box: what waits to be forged, in order of arrival, bounded in count, in bytes and by source."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice

from msgspec import Struct
from msgspec.structs import replace

from tallystick.ledger.blockchain import NOTHING, Above
from tallystick.ledger.certificate import (
    AnyCertificate,
    Approval,
    Certified,
    Decision,
    Evidence,
    Motion,
    Objection,
    Payload,
    ProposalEvidence,
    StakingOperation,
    Statement,
    VoteEvidence,
)
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import MAX_TIMESTAMP_MS
from tallystick.ledger.messages import Entry
from tallystick.ledger.params import MAX_BLOCK_BYTES
from tallystick.ledger.state import State
from tallystick.ledger.transition import Draft, Find
from tallystick.node.box_shares import BoxShares, Share
from tallystick.node.evidence_pool import EvidencePool
from tallystick.node.limits import Limits

_MOVING = (StakingOperation, VoteEvidence, ProposalEvidence)
_BLOCK_OVERHEAD_BYTES = 1024
"""More than a block's header, signature and array frames take."""


class BoxEntry(Struct, frozen=True, gc=False):
    """A certificate in the box, when it came (ms), the bytes it takes there, and the shares in which it waits.

    Nothing in it leads back to it, so the garbage collector has no business with what waits.
    """

    entry: Entry
    since_ms: int
    size_bytes: int
    shares: Sequence[Share]


class CertificateBox:
    """Staking operations are checked as if all before them were forged. Evidence waits apart (`evidence`).

    All else is legal by itself in a block on the tip, and leaves when it is not any more.
    """

    def __init__(
        self, limits: Limits, state: State, finder: Callable[[Above], Find] = lambda above: above.find
    ) -> None:
        """`finder` finds certificates on the chain, and in the blocks above it."""
        self.evidence = EvidencePool()
        self._shares = BoxShares(limits)
        self._state = state
        self._finder = finder
        self._waiting: dict[bytes, BoxEntry] = {}
        self._of_issuer: dict[bytes, int] = {}
        """How many wait of each issuer of whom any waits."""
        self._staking: dict[bytes, StakingOperation] = {}
        self._decisions: dict[bytes, Decision] = {}
        self._until_ms: dict[bytes, int] = {}
        """By id: the time from which on a certificate is illegal in any block."""
        self._first_until_ms = MAX_TIMESTAMP_MS + 1
        """None of these times is earlier."""
        self._projected = state.stakes
        self.size_bytes = 0
        """Encoded bytes of all that waits here, payloads included; evidence apart."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self.evidence)

    def __contains__(self, certificate_id: object) -> bool:
        return certificate_id in self._waiting or certificate_id in self.evidence

    def __iter__(self) -> Iterator[AnyCertificate]:
        return chain(self.evidence, (waiting.entry.certificate for waiting in self._waiting.values()))

    def get(self, certificate_id: bytes) -> Entry | None:
        """The entry with this certificate id, if it waits here."""
        waiting = self._waiting.get(certificate_id)
        return waiting.entry if waiting else self.evidence.get(certificate_id)

    def holds(self, certificate: AnyCertificate) -> bool:
        """Whether this very certificate, signature included, waits here."""
        waiting = self._waiting.get(certificate.id)
        entry = waiting.entry if waiting is not None else self.evidence.get(certificate.id)
        return entry is not None and entry.certificate.signature == certificate.signature

    def sort_out(self, entries: Iterable[Entry]) -> tuple[list[Entry], list[bytes]]:
        """Those of these entries that wait here not at all, or signed otherwise; and the ids of all others."""
        waiting, of_evidence, others, ids = self._waiting, self.evidence.get, list[Entry](), list[bytes]()
        for entry in entries:
            certificate = entry.certificate
            held = waiting.get(certificate.id)
            here = held.entry if held is not None else of_evidence(certificate.id)
            if here is None or here.certificate.signature != certificate.signature:
                others.append(entry)
            else:
                ids.append(certificate.id)
        return others, ids

    def ids(self, most: int, after_ms: int = -1, until_ms: int = MAX_TIMESTAMP_MS) -> tuple[bytes, ...]:
        """The ids of what waits longest, of what came after one time and by another; evidence first, in any case."""
        came = (one for one, waiting in self._waiting.items() if after_ms < waiting.since_ms <= until_ms)
        return tuple(islice(chain((one.id for one in self.evidence), came), most))

    def newest_ms(self) -> int | None:
        """Since when the newest certificate waits."""
        return next((waiting.since_ms for waiting in reversed(self._waiting.values())), None)

    # ---- for a block ------------------------------------------------------------------------------------------

    def choose(self, now_ms: int, base: State, above: Above, until_ms: int = MAX_TIMESTAMP_MS) -> list[AnyCertificate]:
        """Certificates for a block made now on `base`, as many as fit and are legal in this order: evidence first.

        Of the others those that came by some time. What came later than now came before the clock was set back.
        """
        chosen: list[AnyCertificate] = []
        stakes, context, room = base.stakes, base.context(now_ms), MAX_BLOCK_BYTES - _BLOCK_OVERHEAD_BYTES
        draft, most = Draft(base, context, self._finder(above)), base.params.max_block_certificates
        known = above.known(self._waiting.keys()) | above.known({one.id for one in self.evidence})
        waiting = self._waiting.values()
        came = (one.entry.certificate for one in waiting if one.since_ms <= until_ms or one.since_ms > now_ms)
        for certificate in chain(self.evidence, came):
            if certificate.id in known:
                continue
            size = len(certificate.encoded)
            if size > room or len(chosen) == most:
                break
            try:
                moved = stakes.after([certificate], context) if isinstance(certificate, _MOVING) else stakes
                draft.add(certificate)
            except Refused:
                continue
            stakes, room = moved, room - size
            chosen.append(certificate)
        return chosen

    def add(self, entry: Entry, now_ms: int) -> None:
        """Put an entry last. Raises `Refused`, and changes nothing then (C4, C6, C7; S, V6, D, M and R in a block)."""
        certificate = entry.certificate
        is_statement = isinstance(certificate, Statement)
        if not is_statement and isinstance(certificate, Evidence):
            return self.evidence.add(certificate, self._state, now_ms)
        certificate_id, issuer, state = certificate.id, certificate.issuer, self._state
        if certificate_id in self._waiting:
            raise Refused(Rule.C4, f"certificate {certificate_id.hex()[:16]}… is in the box")
        size = len(certificate.encoded) + (len(encode(entry.payload)) if entry.payload else 0)
        listed = state.directory.keys.get(issuer)
        shares = self._shares.of(certificate, listed.organisation if listed is not None else None)
        self._shares.check_room(shares, size)
        if not (is_statement and state.params.anybody_certifies):
            self._note_bound(certificate, now_ms)
        self._waiting[certificate_id] = BoxEntry(entry, now_ms, size, shares)
        self._of_issuer[issuer] = self._of_issuer.get(issuer, 0) + 1
        self._shares.change(shares, 1, size)
        self.size_bytes += size
        return None

    def _note_bound(self, certificate: AnyCertificate, now_ms: int) -> None:
        """Note what may become illegal while it waits. Raises `Refused` if it is so already."""
        self._draft(now_ms).add(certificate)
        if isinstance(certificate, StakingOperation):
            self._projected = self._projected.after([certificate], self._state.context(now_ms))
            self._staking[certificate.id] = certificate
        if isinstance(certificate, Decision):
            self._decisions[certificate.id] = certificate
        if (until_ms := self._ends_ms(certificate)) is not None:
            self._until_ms[certificate.id] = until_ms
            self._first_until_ms = min(self._first_until_ms, until_ms)

    def add_again(self, entry: Entry) -> None:
        """Put what waited before a restart last. Raises `Refused` as `add` does."""
        self.add(entry, max(self._state.tip.timestamp_ms, _claimed_ms(entry.certificate)))

    def tip_advanced(
        self, certificates: Iterable[AnyCertificate], state: State
    ) -> tuple[dict[bytes, Payload], list[tuple[bytes, Refused]]]:
        """A block with these certificates was added, and led to this state.

        They leave the box; so does what is no longer legal. Returns the payloads of the block's certificates by their
        hash, and which others left, by id, and why.
        """
        payloads: dict[bytes, Payload] = {}
        for certificate in certificates:
            entry = self._remove(certificate.id)
            if entry and entry.payload and certificate.payload_hash:
                payloads[certificate.payload_hash] = entry.payload
            if self.evidence and certificate.id in self.evidence and isinstance(certificate, Evidence):
                self.evidence.remove(certificate.offender)
        self._state = state
        return payloads, [*self.evidence.drop_illegal(state), *self._project_again(), *self._drop_illegal()]

    def time_passed(self, now_ms: int) -> list[tuple[bytes, Refused]]:
        """What is too late for any block leaves, though the tip did not move. Returns its ids, and why."""
        late = self.evidence.drop_illegal(self._state, now_ms) if self.evidence else []
        if now_ms < self._first_until_ms:
            return late
        over = [one for one, until_ms in self._until_ms.items() if until_ms <= now_ms]
        for one in over:
            del self._until_ms[one]  # what is legal all the same stays so, as far as time goes
        self._first_until_ms = min(self._until_ms.values(), default=MAX_TIMESTAMP_MS + 1)
        return [*late, *self._drop([self._waiting[one].entry.certificate for one in over], now_ms)]

    def erase_payload(self, payload_hash: bytes) -> None:
        """Forget a payload; the certificates that cover it stay."""
        for certificate_id, waiting in self._waiting.items():
            certificate, payload = waiting.entry.certificate, waiting.entry.payload
            if payload and certificate.payload_hash == payload_hash:
                freed = len(encode(payload))
                left = replace(waiting, entry=Entry(certificate), size_bytes=waiting.size_bytes - freed)
                self._waiting[certificate_id] = left
                self._shares.change(waiting.shares, 0, -freed)
                self.size_bytes -= freed

    def _remove(self, certificate_id: bytes) -> Entry | None:
        waiting = self._waiting.pop(certificate_id, None)
        if waiting is None:
            return None
        issuer = waiting.entry.certificate.issuer
        self._shares.change(waiting.shares, -1, -waiting.size_bytes)
        for bound in (self._staking, self._decisions, self._until_ms):
            if bound:
                bound.pop(certificate_id, None)
        self.size_bytes -= waiting.size_bytes
        self._of_issuer[issuer] -= 1
        if not self._of_issuer[issuer]:
            del self._of_issuer[issuer]
        return waiting.entry

    def _draft(self, now_ms: int) -> Draft:
        return Draft(self._state, self._state.context(now_ms), self._finder(NOTHING))

    def _ends_ms(self, certificate: AnyCertificate) -> int | None:
        """When the certificate, or its motion, expires, or the key that issued it ends, by the time of its block."""
        if isinstance(certificate, Motion):
            return certificate.expires_ms
        if isinstance(certificate, Approval | Objection):
            return self._state.motions.open[certificate.motion].expires_ms
        entry = self._state.directory.keys.get(certificate.issuer)
        anybody = self._state.params.anybody_certifies
        is_bound = isinstance(certificate, Certified) and not (anybody and isinstance(certificate, Statement))
        return entry.until_ms if entry is not None and is_bound else None

    def _drop_illegal(self) -> list[tuple[bytes, Refused]]:
        """Decisions that came too late leave, and what those issued who may certify no more."""
        directory = self._state.directory
        suspects: list[AnyCertificate] = list(self._decisions.values())
        if not self._state.params.anybody_certifies:
            at = self._draft(0).at
            ended = {one for one in self._of_issuer if not directory.may_certify(one, at)}
            if ended:
                suspects = [one for one in self if isinstance(one, Decision) or one.issuer in ended]
        return self._drop(suspects, 0)

    def _drop(self, suspects: Iterable[AnyCertificate], now_ms: int) -> list[tuple[bytes, Refused]]:
        """Those of these leave that are illegal in a block made now, or just after the tip if that is later."""
        left = list[tuple[bytes, Refused]]()
        for one in suspects:
            try:
                self._draft(max(now_ms, _claimed_ms(one))).add(one)
            except Refused as refused:
                self._remove(one.id)
                left.append((one.id, refused))
        return left

    def _project_again(self) -> list[tuple[bytes, Refused]]:
        context, stakes = self._state.context(0), self._state.stakes
        try:
            self._projected = stakes.after(self._staking.values(), context)
        except Refused:
            pass
        else:
            return []
        self._projected, left = stakes, list[tuple[bytes, Refused]]()
        for operation in list(self._staking.values()):
            try:
                self._projected = self._projected.after([operation], context)
            except Refused as refused:
                self._remove(operation.id)
                left.append((operation.id, refused))
        return left


def _claimed_ms(certificate: AnyCertificate) -> int:
    """The time that a motion claims: the tip may be old, and a motion is not to expire too long after its block."""
    return min(certificate.timestamp_ms, certificate.expires_ms - 1) if isinstance(certificate, Motion) else 0
