"""What became of statements: revoked, void, superseded. A trie over certificate ids, in the state root."""

from dataclasses import dataclass, field

from msgspec import Struct
from msgspec.structs import replace

from tallystick.ledger.changes import Effect, Reason
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.trie import Trie, TrieProof, proven_value

_ENTRY_BYTES = 1 + 1 + 8 + 8 + 32 + 8


class StatusEntry(Struct, frozen=True):
    """What a certificate did to a statement."""

    effect: Effect
    reason: int
    log_index: int
    """Of the certificate that did it, or of the first after the block in which a motion did."""
    timestamp_ms: int
    """Of its block."""
    acting: bytes
    """The certificate's id (of a motion, if that did it)."""
    superseded_ms: int = 0
    """The block time since when it was superseded before that; 0: it was not. Else nobody could tell it later."""

    @property
    def packed(self) -> bytes:
        """The value in the trie: effect and reason (a byte each), log index, ms, acting id, ms of the supersession.

        Numbers have 8 bytes, big-endian.
        """
        at = self.log_index.to_bytes(8, "big") + self.timestamp_ms.to_bytes(8, "big")
        return bytes((self.effect, self.reason)) + at + self.acting + self.superseded_ms.to_bytes(8, "big")


def unpacked(packed: bytes) -> StatusEntry:
    """Raise `Refused` (E2) unless these are the bytes of an entry."""
    if len(packed) != _ENTRY_BYTES or packed[0] not in tuple(Effect) or packed[1] not in tuple(Reason):
        raise Refused(Rule.E2, "no entry of a status")
    log_index, timestamp_ms = int.from_bytes(packed[2:10], "big"), int.from_bytes(packed[10:18], "big")
    superseded_ms = int.from_bytes(packed[50:], "big")
    return StatusEntry(Effect(packed[0]), packed[1], log_index, timestamp_ms, packed[18:50], superseded_ms)


def proven_status(proof: TrieProof, certificate_id: bytes, root: bytes) -> StatusEntry | None:
    """The entry of a statement under the status root, or `None`: it has none. Raises `Refused` (T1, E2)."""
    found = proven_value(proof, certificate_id, root)
    return unpacked(found) if found is not None else None


@dataclass(frozen=True)
class Status:
    """The entries of all statements that have one; a later entry is stronger than the one before."""

    trie: Trie = field(default_factory=Trie)

    @property
    def root(self) -> bytes:
        """Its part of the state root, 32 bytes."""
        return self.trie.root()

    def of(self, certificate_id: bytes) -> StatusEntry | None:
        """The entry of the statement with this id; `None`: nothing became of it."""
        packed = self.trie.get(certificate_id)
        return unpacked(packed) if packed is not None else None

    def after(self, target: bytes, entry: StatusEntry) -> "Status":
        """With this entry. Raises `Refused` (R3) unless it is stronger than the one before."""
        before = self.of(target)
        if before is not None and entry.effect <= before.effect:
            said = f"{target.hex()[:16]}… is {before.effect.name.lower()} already"
            raise Refused(Rule.R3, said)
        if before is not None and before.effect is Effect.SUPERSEDED:
            entry = replace(entry, superseded_ms=before.timestamp_ms)
        return Status(self.trie.set(target, entry.packed))
