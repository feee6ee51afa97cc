"""The newest checkpoint that an auditor saw of each log: beside the trusted ledgers, and it never goes back."""

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, Struct

from tallystick.host.trust import TrustError, TrustStore
from tallystick.ledger.checkpoint import Checkpoint, parse_checkpoint
from tallystick.ledger.errors import Refused
from tallystick.ledger.fields import Milliseconds
from tallystick.ledger.note import MAX_NOTE_BYTES, Note, parse_note
from tallystick.ledger.tlog_conflict import TlogConflict
from tallystick.problems import DamagedStore
from tallystick.proof.members import Anchor

_FORMAT: Final = 1


class SeenLog(Struct, frozen=True, forbid_unknown_fields=True):
    """A log as it was when it was last audited, and found to be in order."""

    origin: str
    encoded: Annotated[str, Meta(max_length=MAX_NOTE_BYTES)]
    """The signed checkpoint, as it came."""
    seen_ms: Milliseconds
    anchor: Anchor | None = None
    """Of a ledger of this program: the checkpoint's block, and who voted in its epoch."""

    @property
    def note(self) -> Note:
        """The signed checkpoint."""
        return parse_note(self.encoded)

    @property
    def checkpoint(self) -> Checkpoint:
        """What it says."""
        return parse_checkpoint(self.note.text)


class _File(Struct, forbid_unknown_fields=True):
    format: int
    sha256: str
    log: Raw


class SeenLogs:
    """What is kept of logs in the folder of trusted ledgers. Raises `TrustError`, `DamagedStore`."""

    def __init__(self, store: TrustStore) -> None:
        self._store = store

    def get(self, origin: str) -> SeenLog | None:
        """The newest that was seen; `None`: nothing was."""
        name = _name(origin)
        data = self._store.read_file(name)
        if data is None:
            return None
        try:
            file = msgspec.json.decode(data, type=_File)
            if file.format != _FORMAT or sha256(bytes(file.log)).hexdigest() != file.sha256:
                raise ValueError("it is not as it was written")
            found = msgspec.json.decode(file.log, type=SeenLog)
            if (found.origin, found.checkpoint.origin) != (origin, origin):
                raise ValueError("it is of another log")
        except (ValueError, RecursionError, Refused):
            path = self._store.path / name
            advice = "restore it from a copy; if there is none, remove it, and the next audit begins anew"
            raise DamagedStore(f"{path} is damaged, so what was seen of this log is not known: {advice}") from None
        return found

    def keep(self, newer: SeenLog, before: SeenLog | None) -> None:
        """Keep what was found to go on from `before`, which was the newest when the audit began.

        Raises `TrustError` if another audit has kept another since: it is to be audited once more.
        """
        with self._store.locked():
            if self.get(newer.origin) != before:
                raise TrustError("another audit of this log has ended meanwhile; run this one again")
            encoded = msgspec.json.encode(newer)
            file = _File(_FORMAT, sha256(encoded).hexdigest(), Raw(encoded))
            self._store.write_file(_name(newer.origin), msgspec.json.encode(file) + b"\n")

    def keep_conflict(self, conflict: TlogConflict) -> Path:
        """Keep evidence for good; where. The same is kept once."""
        origin, data = conflict.checkpoints[0].origin, conflict.encoded.encode()
        name = f"conflicts/{_digest(origin)}/{sha256(data).hexdigest()[:32]}.tlog-conflict"
        with self._store.locked():
            if self._store.read_file(name) == data:
                return self._store.path / name
            return self._store.write_file(name, data)


def _digest(origin: str) -> str:
    return sha256(origin.encode(errors="surrogateescape")).hexdigest()


def _name(origin: str) -> str:
    return f"logs/{_digest(origin)}.json"
