"""The chain as its next block sees it: what was agreed so far, and which blocks may follow.

A `Blockchain` keeps what validating the next block takes, whatever the chain's length; the blocks themselves are the
host's to keep (`PersistBlock`). Signatures are checked before a block comes here (node/intake.py).
"""

from collections.abc import Callable, Set
from typing import Final, NamedTuple, Protocol

from tallystick.ledger.block import Block, VerifiedBlock, check_form
from tallystick.ledger.certificate import Statement
from tallystick.ledger.certificate_index import CertificateIndex, Found, Place
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.header import Header
from tallystick.ledger.params import MAX_BLOCK_TIMESTAMP_MS, Params
from tallystick.ledger.state import State, genesis_state
from tallystick.ledger.transition import next_state


class Snapshot(NamedTuple):
    """What a chain has come to: enough to go on from there without the blocks before."""

    state: State
    certificate_index: CertificateIndex


CheckForger = Callable[[State, Header], None]
"""Raises `Refused` (B4) unless the header's forger may extend the state."""


class Above(Protocol):
    """The blocks between the tip and the base of another."""

    def known(self, ids: Set[bytes]) -> Set[bytes]:
        """Those of these ids whose certificates stand in one of them."""

    def find(self, certificate_id: bytes) -> Found | None:
        """Where in the log that certificate stands then, and its issuer."""


class _Nothing:
    def known(self, ids: Set[bytes]) -> Set[bytes]:
        return frozenset()

    def find(self, certificate_id: bytes) -> Found | None:
        return None


NOTHING: Final = _Nothing()
"""No block stands between."""


class Blockchain:
    """The agreed state and the look-up of every certificate on the chain, both kept as blocks are added."""

    def __init__(self, genesis: Genesis, check_forger: CheckForger, start: Snapshot | None = None) -> None:
        """Begin at the genesis, or at a snapshot of this ledger, whose places are then this chain's to add to."""
        self.genesis = genesis
        self._check_forger = check_forger
        self.state, self.certificate_index = start or Snapshot(genesis_state(genesis), CertificateIndex())

    @property
    def ledger_id(self) -> bytes:
        """The ledger's id, 32 bytes."""
        return self.genesis.ledger_id

    def place_of(self, certificate_id: bytes) -> Place | None:
        """Where the certificate with this id stands, or `None`. The cost does not grow with the chain."""
        return self.certificate_index.place_of(certificate_id)

    def finder(self, above: Above = NOTHING) -> Callable[[bytes], Found | None]:
        """Finds certificates on the chain, and in the blocks above it that a block extends."""
        return lambda certificate_id: self.certificate_index.find(certificate_id) or above.find(certificate_id)

    def after(self, block: VerifiedBlock, base: State | None = None, above: Above = NOTHING) -> State:
        """The one gate: the state after a block, which is legal there in every respect; nothing changes here.

        `base` is the state that the block extends, by default the tip's; `above` are the blocks between the two.
        Raises `Refused` (E4, B10, B9, B7, B1, B2, B8, B11, B4, B6, B5, B12). The clock is not asked (`check_clock`):
        what was legal once is legal for ever.
        """
        header, base = block.header, base or self.state
        check_form(block, self.ledger_id)
        check_follows(header, base.tip)
        _check_time_and_epoch(header, base)
        self._check_forger(base, header)
        self._check_certificates(block, base.params, above)
        try:
            state = next_state(base, header, block.certificates, self.finder(above))
        except Refused as refused:
            raise Refused(Rule.B5, str(refused)) from refused
        if state.root != header.state_root:
            ours, theirs = state.root.hex()[:16], header.state_root.hex()[:16]
            raise Refused(Rule.B12, f"root {theirs}… in the header, the block leads to {ours}…")
        return state

    def append(self, block: VerifiedBlock) -> None:
        """Check the block, then add it. Raises `Refused` as `after` does, and then nothing has changed."""
        self.publish(block, self.after(block))

    def publish(self, block: Block, state: State) -> None:
        """Add the next block, which was found to lead from the tip to this state."""
        self.state = state
        ids = b"".join([certificate.id for certificate in block.certificates])
        issuers = [one.issuer if isinstance(one, Statement) else b"" for one in block.certificates]
        self.certificate_index.extend(ids, [len(block.certificates)], issuers)

    def _check_certificates(self, block: Block, params: Params, above: Above) -> None:
        count = len(block.certificates)
        if not params.min_block_certificates <= count <= params.max_block_certificates:
            allowed = f"{params.min_block_certificates} to {params.max_block_certificates}"
            raise Refused(Rule.B9, f"{count} certificates, {allowed} allowed")
        ids = {certificate.id: None for certificate in block.certificates}
        if known := self.certificate_index.known(ids) | above.known(ids.keys()):
            first = next(one for one in ids if one in known)
            raise Refused(Rule.B6, f"certificate {first.hex()[:16]}… is on the chain already")
        if len(ids) < count:
            raise Refused(Rule.B6, "a certificate stands twice in the block")


def check_follows(header: Header, tip: Header) -> None:
    """Raise `Refused` (B1, B2) unless the header names `tip` as what it extends."""
    if header.index != tip.index + 1:
        raise Refused(Rule.B1, f"index {header.index}, the next is {tip.index + 1}")
    if header.parent_hash != tip.hash:
        raise Refused(Rule.B2, f"parent {header.parent_hash.hex()[:16]}…, the tip is {tip.hash.hex()[:16]}…")


def check_clock(header: Header, params: Params, now_ms: int) -> None:
    """Raise `Refused` (B8) for a block ahead of the clock: asked before a vote, or before a lone forger's is added."""
    ahead_ms = params.block_ahead_ms
    if ahead_ms is not None and header.timestamp_ms > now_ms + ahead_ms:
        raise Refused(Rule.B8, f"{header.timestamp_ms - now_ms} ms ahead of the clock, {ahead_ms} ms allowed")


def _check_time_and_epoch(header: Header, base: State) -> None:
    if header.timestamp_ms <= base.tip.timestamp_ms:
        raise Refused(Rule.B8, f"time {header.timestamp_ms} ms is not after the parent's {base.tip.timestamp_ms} ms")
    if header.timestamp_ms > MAX_BLOCK_TIMESTAMP_MS:
        raise Refused(Rule.B8, f"time {header.timestamp_ms} ms leaves no room for later blocks")
    if header.epoch != base.epoch.number:
        raise Refused(Rule.B11, f"epoch {header.epoch}, after the parent it is {base.epoch.number}")
