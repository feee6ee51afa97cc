"""The newest checkpoint that an auditor saw of each log: beside the trusted ledgers, and it never goes back."""

from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.structs import replace

from tallystick.host.own_files import TrustError, check_own_folder, explained, locked, read_own, write_whole
from tallystick.ledger.checkpoint import Checkpoint, parse_checkpoint
from tallystick.ledger.errors import Refused
from tallystick.ledger.fields import Index, Milliseconds
from tallystick.ledger.note import MAX_NOTE_BYTES, Note, parse_note
from tallystick.ledger.tlog_conflict import TlogConflict, parse_conflict
from tallystick.problems import DamagedStore, ExitCode
from tallystick.proof.members import Anchor
from tallystick.storage.sqlite_file import sync_folder

_MAX_FILE_BYTES: Final = 8 * 1024 * 1024
_FORMAT: Final = 1
MAX_SMALLER: Final = 16


class Smaller(Struct, frozen=True, forbid_unknown_fields=True):
    """A signed checkpoint that was shown after a larger one: an old copy, or a fork."""

    encoded: Annotated[str, Meta(max_length=MAX_NOTE_BYTES)]
    """The signed checkpoint, as it came."""
    anchor: Anchor | None = None
    """Of a ledger of this program: the checkpoint's block, and who voted in its epoch."""

    @property
    def note(self) -> Note:
        """The signed checkpoint."""
        return parse_note(self.encoded)


class SeenLog(Struct, frozen=True, forbid_unknown_fields=True):
    """A log as it was when it was last audited, and found to be in order."""

    origin: str
    encoded: Annotated[str, Meta(max_length=MAX_NOTE_BYTES)]
    """The signed checkpoint, as it came."""
    seen_ms: Milliseconds
    anchor: Anchor | None = None
    """Of a ledger of this program: the block up to which it was derived, and who voted in its epoch."""
    anchored_size: Index | None = None
    """Of the log after the anchor's block: the checkpoint's, unless it was audited without its ledger since."""
    smaller: Annotated[tuple[Smaller, ...], Meta(max_length=MAX_SMALLER)] = ()
    """What was shown since and is to be compared with the next larger log, the oldest first."""

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


class AuditedMeanwhile(TrustError):
    """Another audit has kept a newer checkpoint since this one began."""

    code, exit_code = "not-in-time", ExitCode.NOT_IN_TIME


class SeenLogs:
    """What is kept of logs in the folder of trusted ledgers. Raises `TrustError`, `DamagedStore`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, origin: str) -> SeenLog | None:
        """The newest that was seen; `None`: nothing was."""
        path = self._folder / _name(origin)
        data = self._read(path)
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
            advice = "restore it from a copy; if there is none, remove it, and the next audit begins anew"
            raise DamagedStore(f"{path} is damaged, so what was seen of this log is not known: {advice}") from None
        return found

    def keep(self, newer: SeenLog, before: SeenLog | None) -> None:
        """Keep what was found to go on from `before`, which was the newest when the audit began, and all its smaller.

        A smaller one that another audit has kept since stays. Raises `TrustError` if another has kept a newer since: it
        is to be audited once more.
        """
        with locked(self._folder):
            found = self.get(newer.origin)
            if _without_smaller(found) != _without_smaller(before):
                raise AuditedMeanwhile("another audit of this log has ended meanwhile; run this one again")
            if found is not None and before is not None:
                newer = replace(newer, smaller=tuple(one for one in found.smaller if one not in before.smaller))
            self._put(newer)

    def keep_smaller(self, origin: str, one: Smaller) -> None:
        """Keep it once, until a larger log tells whether it is a part of that: the last few. Raises `TrustError`."""
        with locked(self._folder):
            found = self.get(origin)
            if found is not None and all(known.encoded != one.encoded for known in found.smaller):
                self._put(replace(found, smaller=(*found.smaller, one)[-MAX_SMALLER:]))

    def forget_smaller(self, origin: str, one: Smaller) -> None:
        """It is compared no more: that it is a fork is known, and the evidence kept. Raises `TrustError`."""
        with locked(self._folder):
            found = self.get(origin)
            if found is not None:
                self._put(replace(found, smaller=tuple(known for known in found.smaller if known != one)))

    def keep_conflict(self, conflict: TlogConflict) -> Path:
        """Keep evidence for good; where. The same is kept once."""
        origin, data = conflict.checkpoints[0].origin, conflict.encoded.encode()
        path = self._folder / "conflicts" / _digest(origin) / f"{sha256(data).hexdigest()[:32]}.tlog-conflict"
        with locked(self._folder):
            if self._read(path) != data:
                self._write(path, data)
        return path

    def conflicts(self, ledger_id: bytes) -> list[Path]:
        """The files of evidence that are kept of a ledger's log, whatever its short name is. Raises `TrustError`."""
        found = []
        for path in sorted((self._folder / "conflicts").glob("*/*.tlog-conflict")):
            with suppress(Refused):
                origin = parse_conflict(self._read(path) or b"").checkpoints[0].origin
                found += [path] if origin.endswith(f"/{ledger_id.hex()}") else []
        return found

    def _put(self, log: SeenLog) -> None:
        """Under the lock."""
        encoded = msgspec.json.encode(log)
        file = _File(_FORMAT, sha256(encoded).hexdigest(), Raw(encoded))
        self._write(self._folder / _name(log.origin), msgspec.json.encode(file) + b"\n")

    def _read(self, path: Path) -> bytes | None:
        check_own_folder(self._folder)
        return read_own(path, _MAX_FILE_BYTES)

    def _write(self, path: Path, data: bytes) -> None:
        """Under the lock."""
        with explained(self._folder):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, data)
            sync_folder(path.parent)


def _without_smaller(log: SeenLog | None) -> SeenLog | None:
    return replace(log, smaller=()) if log is not None else None


def _digest(origin: str) -> str:
    return sha256(origin.encode(errors="surrogateescape")).hexdigest()


def _name(origin: str) -> str:
    return f"logs/{_digest(origin)}.json"
