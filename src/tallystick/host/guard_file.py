"""The guard file: what a key has signed, in a small file beside it (docs/protocol.md, section 4, "Signing guard").

It is a row of frames: marker, length of the payload (2 bytes, big-endian), the first 4 bytes of SHA-256 over length and
payload, payload. The first one says whose key it is; each further one is an array of records, written and synced at
once. What a crash can leave of the last frame is dropped. Any other damage means that the guard is lost: the file is
kept aside, and the new one says so.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct

from tallystick.consensus.signing_guard import (
    NOWHERE,
    Confirmed,
    Cosigned,
    Floor,
    GuardRecord,
    GuardState,
    GuardStatus,
    Limited,
    LossAccepted,
    Lost,
    Moved,
    Recovered,
    Signed,
    SigningGuard,
    TwinSeen,
    ledger_of,
)
from tallystick.ledger.encoding import Codec, digest, encode
from tallystick.ledger.errors import Refused
from tallystick.ledger.fields import PublicKey
from tallystick.ledger.vote import Ballot
from tallystick.ledger.wallet import Wallet
from tallystick.problems import Problem
from tallystick.storage.sqlite_file import free_name, sync_folder

FRAME_BYTES: Final = 4096
"""The longest frame: a torn one takes no more with it."""
GROWN_BYTES: Final = 256 * 1024
"""From this size on the file is rewritten, unless it was twice as large after the last time."""

_MARKER: Final = b"\xd7G"
_HEAD_BYTES: Final = len(_MARKER) + 2 + 4
_SECTOR_BYTES: Final = 512
_VERSION: Final = 1
_UNKNOWN: Final = "what this key signed last may not be kept, so the node ends; mend the disk, and start it again"


class GuardError(Problem):
    """The guard file cannot be used as asked."""


class GuardFailed(GuardError):
    """Whether the last records are on the disk is not known: nothing may be signed any more, and the process ends."""


class _Head(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: int
    public_key: PublicKey


_heads: Final[Codec[_Head]] = Codec(_Head, FRAME_BYTES, "head of a guard file")
_records: Final[Codec[tuple[GuardRecord, ...]]] = Codec(tuple[GuardRecord, ...], FRAME_BYTES, "guard records")


class GuardContents(NamedTuple):
    """What a guard file holds."""

    records: list[GuardRecord]
    loss: str | None = None
    """Why it has to be taken for lost; the records are then those that can still be read."""
    size_bytes: int = 0
    """Where the next frame goes: a torn one behind it counts for nothing."""


def read_guard(path: Path, public_key: bytes) -> GuardContents:
    """What a file holds, whole or not. Raises `GuardError` when it cannot be read, or is another key's."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return GuardContents([], f"there is no guard file {path}")
    except OSError as error:
        raise GuardError(f"{path} cannot be read: {error.strerror}; check its permissions") from None
    payloads, size_bytes, is_damaged = _parse(data)
    records: list[GuardRecord] = []
    if (head := _head(payloads)) is not None:
        _check_head(path, head, public_key)
    for payload in payloads[1:]:
        try:
            records += _records.decode(payload)
        except Refused:
            is_damaged = True
    if is_damaged or head is None:
        return GuardContents(records, f"{path} is damaged")
    return GuardContents(records, None, size_bytes)


def create_guard(path: Path, public_key: bytes) -> None:
    """Make the guard of a fresh key. Raises `GuardError` where one of another key stands that has signed anything."""
    if path.exists():
        head = _head(_parse(path.read_bytes())[0])
        if head is None or read_guard(path, head.public_key).records:
            advice = "move it to where its key is, or remove it if that key is no more"
            raise GuardError(f"{path} is the guard of another key; {advice}")
    write_guard(path, public_key, [])


def guard_bytes(public_key: bytes, records: Iterable[GuardRecord]) -> bytes:
    """A whole guard file."""
    return b"".join([_frame(encode(_Head(_VERSION, public_key))), *_record_frames(records)])


def write_guard(path: Path, public_key: bytes, records: Iterable[GuardRecord]) -> None:
    """Write a whole guard file, durably, in the place of what was there. Raises `GuardError`: then all is as before."""
    try:
        _write_whole(path, public_key, records)
    except OSError as error:
        raise GuardError(f"{path} cannot be written: {error.strerror}; make sure that the disk is sound") from None


class GuardFile:
    """The guard file of a node that runs, or of a command that changes it; one process has it, under the data lock."""

    def __init__(self, path: Path, public_key: bytes, contents: GuardContents) -> None:
        """Use `open`."""
        self.path = path
        self.loss = contents.loss
        """Why the guard was found lost when it was opened."""
        self._public_key = public_key
        self._records = contents.records
        self._guard: tuple[bytes, SigningGuard] | None = None
        self._failure: str | None = None
        self._descriptor = -1
        self._thread = ThreadPoolExecutor(1, "guard")
        self._use(contents.size_bytes)

    @classmethod
    def open(cls, path: Path, public_key: bytes) -> "GuardFile":
        """Open the guard of a key. A missing or damaged one is replaced by one that says that the guard was lost.

        Raises `GuardError` when it cannot be used, or is another key's.
        """
        found = read_guard(path, public_key)
        if found.loss is None:
            return cls(path, public_key, found)
        # What holds whatever else was lost: what was signed, and what says that nothing may be signed.
        records: list[GuardRecord] = [Lost(None)]
        records += [one for one in found.records if isinstance(one, Signed | Floor | TwinSeen | Moved | Cosigned)]
        loss = found.loss
        if path.exists():
            loss = f"{loss}; it is kept as {_set_aside(path)}"
        write_guard(path, public_key, records)
        return cls(path, public_key, GuardContents(records, loss, path.stat().st_size))

    def __enter__(self) -> "GuardFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def records(self) -> Sequence[GuardRecord]:
        """What it held when it was opened, and what was appended since."""
        return self._records

    def signing_guard(self, wallet: Wallet, ledger_id: bytes) -> SigningGuard:
        """What signs on a ledger by this file's records; its floor tells later what need not be kept of them."""
        guard = SigningGuard(wallet, ledger_id, self._records, os.urandom(32))
        self._guard = ledger_id, guard
        return guard

    def append(self, records: Sequence[GuardRecord]) -> None:
        """Write records, and sync them. Raises `GuardFailed`: nothing may be signed or sent after that."""
        with self._failing():
            self._write_frames(records)
            os.fsync(self._descriptor)
        self._records.extend(records)

    @contextmanager
    def appending(self, records: Sequence[GuardRecord]) -> Iterator[None]:
        """Write records, and sync them while what stands inside is done. On leaving they are on the disk.

        Raises `GuardFailed`: nothing may be signed or sent after that.
        """
        with self._failing():
            self._write_frames(records)
        syncing = self._thread.submit(os.fsync, self._descriptor)
        try:
            yield
        finally:
            with self._failing():
                syncing.result()
        self._records.extend(records)

    def _write_frames(self, records: Sequence[GuardRecord]) -> None:
        """Each frame but the last is synced before the next one: one at most is torn."""
        self._check_place()
        for number, frame in enumerate(_record_frames(records)):
            if number:
                os.fsync(self._descriptor)
            _write(self._descriptor, frame, self._size_bytes)
            self._size_bytes += len(frame)

    @property
    def is_grown(self) -> bool:
        """Whether it is time to compact it."""
        return self._size_bytes > self._most_bytes

    def compact(self) -> None:
        """Rewrite it with what still counts: nothing at or below the floor. Raises `GuardFailed`."""
        floors: list[GuardRecord] = []
        if self._guard is not None and self._guard[1].final >= (0, 0):
            floors.append(Floor(self._guard[0], *self._guard[1].final))
        records = compacted([*self._records, *floors])
        with self._failing():
            self._check_place()
            _write_whole(self.path, self._public_key, records)
        self._records = records
        os.close(self._descriptor)
        self._use(self.path.stat().st_size)

    def close(self) -> None:
        """Let the file go."""
        self._thread.shutdown()
        os.close(self._descriptor)

    def _use(self, size_bytes: int) -> None:
        """Go on in the file that is there now; what is torn at its end is cut off."""
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            if os.fstat(self._descriptor).st_size > size_bytes:
                os.ftruncate(self._descriptor, size_bytes)
                os.fsync(self._descriptor)
        except OSError as error:
            raise GuardError(f"{self.path} cannot be used: {error.strerror}; check its permissions") from None
        self._size_bytes = size_bytes
        self._most_bytes = max(GROWN_BYTES, 2 * size_bytes)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Let whatever fails inside be the end: a failed sync tells once, and then never again."""
        if self._failure is None:
            try:
                yield
                return
            except OSError as error:
                self._failure = f"{self.path} cannot be written: {error.strerror}; {_UNKNOWN}"
        raise GuardFailed(self._failure)

    def _check_place(self) -> None:
        """Raise unless the name still leads to this file: what is written elsewhere nobody finds again."""
        here, named = os.fstat(self._descriptor), self.path.stat()
        if (here.st_dev, here.st_ino) != (named.st_dev, named.st_ino):
            raise OSError(0, "it was replaced while it was in use")


def _set_aside(path: Path) -> Path:
    aside = free_name(path)
    try:
        path.rename(aside)
    except OSError as error:
        raise GuardError(f"{path} cannot be kept aside: {error.strerror}; check its permissions") from None
    return aside


def _head(payloads: Sequence[bytes]) -> _Head | None:
    """What a file says of itself, if its beginning can be read."""
    try:
        return _heads.decode(payloads[0]) if payloads else None
    except Refused:
        return None


def _check_head(path: Path, head: _Head, public_key: bytes) -> None:
    if head.version != _VERSION:
        raise GuardError(f"{path} is of version {head.version}, {_VERSION} is known; use a later tallystick")
    if head.public_key != public_key:
        whose = f"{path} is the guard of the key {head.public_key.hex()[:16]}…, not of {public_key.hex()[:16]}…"
        raise GuardError(f"{whose}; put the guard of this key there, or move that one away: this key's is then lost")


# ---- what records come to ----------------------------------------------------------------------------------------


def summaries(records: Iterable[GuardRecord]) -> dict[bytes | None, GuardState]:
    """What records come to, by ledger; `None` stands for every ledger that they do not name.

    What concerns all ledgers, concerns that one too.
    """
    unknown = GuardState()
    ledgers: dict[bytes | None, GuardState] = {None: unknown}
    for record in records:
        ledger_id = ledger_of(record)
        if ledger_id is not None:
            ledgers.setdefault(ledger_id, GuardState(unknown.status)).apply(record)
        else:
            for one in ledgers.values():
                one.apply(record)
    return ledgers


def compacted(records: Iterable[GuardRecord]) -> list[GuardRecord]:
    """The fewest records that say the same, for each ledger; a guard file is rewritten so when it has grown."""
    ledgers = summaries(records)
    unknown = ledgers[None]
    general: list[GuardRecord] = [Lost(None)] if unknown.status is GuardStatus.LOST else []
    own = [record for ledger_id, one in ledgers.items() if ledger_id for record in _fewest(one, ledger_id)]
    is_moved = unknown.status is GuardStatus.MOVED
    return [*general, *own, *([Moved()] if is_moved else [])]


def _fewest(state: GuardState, ledger_id: bytes) -> Iterator[GuardRecord]:
    """The fewest records that come to this state."""
    if state.final != NOWHERE:
        yield Floor(ledger_id, *state.final)
    for place, entry in sorted(state.entries.items()):
        ballots: list[Ballot | None] = [*entry.ballots]
        for ballot in ballots or [None]:
            yield Signed(ledger_id, *place, entry.header_hash, ballot)
    if state.cosigned is not None:
        yield state.cosigned
    word = [LossAccepted(ledger_id)] if state.is_loss_accepted else []
    if state.limited != NOWHERE:  # below the floor, too: up to there nothing is cosigned
        yield Limited(ledger_id, *state.limited)
    if state.recovered is not None:
        yield from word  # before the recovery, or it would end its silence
        if state.silent != NOWHERE or state.recovered != state.limited:
            yield Recovered(ledger_id, *state.recovered)
        word = []
    elif state.silent != NOWHERE:
        yield Recovered(ledger_id, *state.silent)
    if state.status is GuardStatus.LOST:
        yield Lost(ledger_id)
    elif state.recovered is None:
        yield Confirmed(ledger_id)
    yield from word
    if state.twin is not None:
        yield TwinSeen(ledger_id, *state.twin)


# ---- bytes ------------------------------------------------------------------------------------------------------


def _frame(payload: bytes) -> bytes:
    body = len(payload).to_bytes(2, "big") + payload
    return _MARKER + body[:2] + digest(body)[:4] + payload


def _record_frames(records: Iterable[GuardRecord]) -> Iterator[bytes]:
    """As many records in a frame as fit."""
    fitting: list[GuardRecord] = []
    size_bytes = _HEAD_BYTES + 3
    for record in records:
        more_bytes = len(encode(record))
        if fitting and size_bytes + more_bytes > FRAME_BYTES:
            yield _frame(encode(fitting))
            fitting, size_bytes = [], _HEAD_BYTES + 3
        fitting.append(record)
        size_bytes += more_bytes
    if fitting:
        yield _frame(encode(fitting))


def _parse(data: bytes) -> tuple[list[bytes], int, bool]:
    """The payloads of all whole frames, where the last one ends, and whether more is wrong than a torn last frame."""
    payloads, start, end, is_damaged = [], 0, 0, False
    while 0 <= start < len(data):
        payload = _payload_at(data, start)
        if payload is None:
            start = data.find(_MARKER, start + 1)  # a whole frame behind a broken one: that one was not the last
            continue
        is_damaged |= start != end
        payloads.append(payload)
        start = end = start + _HEAD_BYTES + len(payload)
    return payloads, end, is_damaged or not _may_be_torn(data, end)


def _payload_at(data: bytes, start: int) -> bytes | None:
    marker, size = data[start : start + 2], data[start + 2 : start + 4]
    payload = data[start + _HEAD_BYTES : start + _HEAD_BYTES + int.from_bytes(size, "big")]
    is_whole = marker == _MARKER and len(payload) == int.from_bytes(size, "big")
    return payload if is_whole and digest(size + payload)[:4] == data[start + 4 : start + _HEAD_BYTES] else None


def _may_be_torn(data: bytes, start: int) -> bool:
    """Whether a frame that was not synced can have left what is here: cut off, or without some of its sectors."""
    rest = data[start:]
    if len(rest) > FRAME_BYTES:
        return False
    size_bytes = _HEAD_BYTES + int.from_bytes(rest[2:4], "big")
    is_cut_off = len(rest) < _HEAD_BYTES or (rest.startswith(_MARKER) and len(rest) < size_bytes <= FRAME_BYTES)
    ends = [*range(start - start % _SECTOR_BYTES + _SECTOR_BYTES, len(data), _SECTOR_BYTES), len(data)]
    sectors = [data[first:last] for first, last in zip([start, *ends], ends, strict=False)]
    return is_cut_off or not all(any(sector) for sector in sectors)


def _write_whole(path: Path, public_key: bytes, records: Iterable[GuardRecord]) -> None:
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        _write(descriptor, guard_bytes(public_key, records), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.replace(path)
    sync_folder(path)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
