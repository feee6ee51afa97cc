"""A C2SP log that grows in memory, as any other program has one: signed checkpoints, tiles and bundles of entries."""

from collections.abc import Iterable
from pathlib import Path

from tallystick.ledger.checkpoint import Checkpoint
from tallystick.ledger.merkle import leaf_hash
from tallystick.ledger.note import KeyType, Note, NoteKey, make_note
from tallystick.ledger.wallet import Wallet
from tests.log_proofs import consistency_proof, root


class TiledLog:
    """Entries, and what follows from them."""

    def __init__(self, origin: str = "log.example/one", seed: bytes = bytes(32)) -> None:
        self.wallet = Wallet(seed)
        self.key = NoteKey(origin, KeyType.LOG, self.wallet.public_key)
        self.entries: list[bytes] = []

    def fork(self, at: int) -> "TiledLog":
        """Another history of the same log, from there on."""
        other = TiledLog(self.key.name, self.wallet.seed())
        other.entries = self.entries[:at]
        return other

    def add(self, *entries: bytes) -> "TiledLog":
        self.entries += entries
        return self

    def grow(self, until: int, text: str = "entry") -> "TiledLog":
        return self.add(*(f"{text} {number}".encode() for number in range(len(self.entries), until)))

    @property
    def leaves(self) -> list[bytes]:
        return [leaf_hash(one) for one in self.entries]

    def root(self, size: int | None = None) -> bytes:
        return root(self.leaves[:size])

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        size = len(self.entries) if size is None else size
        return Checkpoint(self.key.name, size, self.root(size))

    def note(self, size: int | None = None, signed_by: "TiledLog | None" = None) -> Note:
        text, signer = self.checkpoint(size).text, signed_by or self
        return make_note(text, [signer.key.signature(signer.wallet.sign_note(text.encode()))])

    def proof(self, old_size: int) -> list[bytes]:
        return consistency_proof(self.leaves, old_size) if 0 < old_size < len(self.entries) else []

    def write(self, folder: Path) -> Path:
        """Everything at its newest size; what is there stays, as of an append-only log."""
        entries = [len(one).to_bytes(2, "big") + one for one in self.entries]
        _write_tiles(folder / "tile" / "entries", entries)
        row, level = self.leaves, 0
        while row:
            _write_tiles(folder / "tile" / str(level), row)
            row = [root(row[at : at + 256]) for at in range(0, len(row) - 255, 256)]
            level += 1
        folder.mkdir(parents=True, exist_ok=True)  # of an empty log
        (folder / "checkpoint").write_text(self.note().encoded)
        return folder


def _write_tiles(folder: Path, items: Iterable[bytes]) -> None:
    items = list(items)
    for number in range(-(-len(items) // 256)):
        held = items[number * 256 : (number + 1) * 256]
        assert number < 1000, "one group of digits"
        path = folder / f"{number:03d}" if len(held) == 256 else folder / f"{number:03d}.p" / str(len(held))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(held))
