"""Writes a mirror into a folder, for any web server: what its `checkpoint` names is whole at every moment.

Files are written under another name, and renamed. The checkpoint comes last, when all others are on the disk and lead
to its roots. What is cut off before that leaves files that nobody is told of; the next run goes on from the last stage.
"""

import errno
import fcntl
import os
import re
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from tallystick.ledger.checkpoint import Checkpoint, parse_checkpoint
from tallystick.ledger.errors import Refused
from tallystick.ledger.merkle import HASH_BYTES
from tallystick.ledger.note import MAX_NOTE_BYTES, parse_note
from tallystick.ledger.trie import Trie
from tallystick.problems import CannotMake, DamagedStore, DataInUse, UnreadableFile
from tallystick.storage.described_files import read_bounded
from tallystick.storage.log_tiles import Tree
from tallystick.storage.mirror import (
    CHECKPOINT_PATH,
    IDS,
    MAX_STATE_BYTES,
    MirroredHeader,
    MirroredState,
    Part,
    max_bytes,
    parse_path,
    state_codec,
    state_path,
)
from tallystick.storage.mirror_growth import File, Growth, parts_at_end
from tallystick.storage.outline import Outline
from tallystick.storage.sqlite_file import sync
from tallystick.storage.store import Store

KEEP_PARTIAL_S: Final = 3_600
"""So long after a later checkpoint took its place, what only an older one names can still be read."""
KEEP_STATE_S: Final = 86_400
_TIDY_EVERY_S: Final = 600
_WRITERS: Final = 8
"""Threads: most of writing a file is waiting for the disk."""
_MOST_WAITING: Final = 64
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755
"""For the user of a web server."""
_UNFINISHED: Final = ".tallystick-unfinished"
_STAGE: Final = ".tallystick-stage"
"""How far a run has come that is not at its end: a block, and the size of the log after it. Nothing of it is believed.
"""
_STAGE_WIDTH: Final = IDS.span
"""Certificates. So a stage ends with few rows of ids beyond the last full file, and costs little."""
_MOST_NOTED_BYTES: Final = 33
_NOTED: Final = re.compile(rb"([1-9][0-9]{0,15}) ([0-9]{1,16})")
_LEDGER: Final = ".tallystick-ledger"
"""Whose mirror it is (the id of the ledger): the first file, so that what was cut off is taken for no other's."""
_OWN: Final = frozenset({"tile", "tallystick", CHECKPOINT_PATH, _UNFINISHED})


_ROOM, _MAY_NOT = "make room", "have the folder be one that you may write to, or name another"
_ADVICE: Final = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _MAY_NOT),
}


class Published(NamedTuple):
    """What became of a mirror."""

    checkpoint: Checkpoint
    certificates: int
    """That are new in it."""
    files: int
    """That were written."""
    size_bytes: int
    """Of those."""


class _Head(NamedTuple):
    """What a mirror's newest checkpoint names."""

    note: str
    checkpoint: Checkpoint
    state: MirroredState | None
    """`None`: it is not what was written."""


class _Writer:
    """Puts files in their places, each whole."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._unfinished = folder, folder / _UNFINISHED
        self._numbers = count()
        self._real = folder.resolve()
        self._folders = set[Path]()
        """In which all files stand that were put, those that stood there already, too."""
        self.sizes_bytes: list[int] = []
        """Of what was written."""

    def put(self, path: str, data: bytes) -> None:
        """Put a file there, on the disk before it has its name, unless it stands there already."""
        target = self._folder / path
        if (folder := target.parent) not in self._folders:
            _check_inside(folder, self._real)
            self._folders.add(folder)
        with suppress(OSError):
            if target.stat().st_size == len(data) and target.read_bytes() == data:
                return
        self.put_whole(target, data)
        self.sizes_bytes.append(len(data))

    def put_whole(self, target: Path, data: bytes) -> None:
        """Put a file there, in place of one that may be there."""
        unfinished = self._unfinished / str(next(self._numbers))
        with unfinished.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), _FILE_MODE)
            os.fsync(stream.fileno())
        try:
            unfinished.replace(target)
        except FileNotFoundError:
            _make_folder(target.parent)
            unfinished.replace(target)

    @contextmanager
    def putting(self) -> Iterator[Callable[[str, bytes], None]]:
        """Gives what has files put by threads, while others are derived. When it is left, all are in their places."""
        waiting = deque[Future[None]]()

        def put(path: str, data: bytes) -> None:
            if len(waiting) == _MOST_WAITING:
                waiting.popleft().result()
            waiting.append(pool.submit(self.put, path, data))

        with ThreadPoolExecutor(_WRITERS) as pool:
            yield put
            while waiting:
                waiting.popleft().result()

    def sync_names(self) -> None:
        """Have the names of all that was put on the disk, too."""
        folders = {self._folder}
        for folder in self._folders:
            folders.update([folder, *folder.parents[: len(folder.relative_to(self._folder).parts)]])
        for folder in folders:
            sync(folder)


def _make_folder(folder: Path) -> None:
    """With those that it stands in, open to the user of a web server; those that are there stay as they are."""
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        folder.chmod(_FOLDER_MODE)


def _check_inside(folder: Path, mirror: Path) -> None:
    """Raise `CannotMake` if a link leads out of the mirror."""
    try:
        is_inside = folder.resolve().is_relative_to(mirror)
    except (OSError, RuntimeError):  # links in a circle
        is_inside = False
    if not is_inside:
        raise CannotMake(f"{folder} leads out of the mirror, and nothing is written there; remove that link")


class MirrorFolder:
    """A mirror of one ledger in a folder. Only one process writes it: use it as a context."""

    def __init__(self, folder: Path, store: Store) -> None:
        """`store`: where the blocks are read, of a running node or not."""
        self.folder, self._store = folder, store
        self._tries: dict[str, tuple[frozenset[tuple[bytes, bytes]], Trie]] = {}
        self._tidied_s: float | None = None
        self._writer = _Writer(folder)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and let no other process write it meanwhile. Raises `CannotMake`, `DataInUse`."""
        with self._explained():
            _make_folder(self.folder)
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                advice = "end that one first, or name another folder"
                raise DataInUse(f"another process writes a mirror into {self.folder}; {advice}") from None
            self._published()
            try:
                yield
            finally:
                self._clear()
        finally:
            os.close(descriptor)

    def _clear(self) -> None:
        """Remove what was cut off."""
        shutil.rmtree(self.folder / _UNFINISHED, ignore_errors=True)

    def publish(self, note: str, state: bytes, on_done: Callable[[int], object] = lambda done: None) -> Published:
        """Bring the mirror to a checkpoint; `state` is the encoded `MirroredState` of it. `on_done`: how large it is.

        Raises `CannotMake` where the folder holds something else, `DamagedStore` if the blocks do not lead to the
        checkpoint, and then what was published before stands.
        """
        self._writer = _Writer(self.folder)
        head, before = self._checked(note, state), self._published()
        self._check_continues(before, head)
        with self._explained():
            self._clear()
            (self.folder / _UNFINISHED).mkdir()
            self._claim()
            if before is not None and (kept := self._kept_state(before, head)) is not None:
                head = head._replace(state=kept)
            else:
                self._grow(before, head, state, on_done)
            if before is None or before.note != note:
                self._switch(note)
            with suppress(OSError):  # it is published: what is left over goes another time
                if before is not None and before.checkpoint != head.checkpoint:
                    self._retire(before, head)
                self._tidy(head)
        start = before.checkpoint.size if before is not None else 0
        sizes = self._writer.sizes_bytes
        return Published(head.checkpoint, head.checkpoint.size - start, len(sizes), sum(sizes))

    # ---- what is published, and may be ------------------------------------------------------------------------

    def _checked(self, note: str, encoded: bytes) -> _Head:
        """A checkpoint and its state, if they belong together. Raises `DamagedStore`."""
        try:
            checkpoint, state = parse_checkpoint(parse_note(note).text), state_codec.decode(encoded)
        except Refused as refused:
            raise DamagedStore(f"the checkpoint to publish cannot be read: {refused}", refused) from None
        if not self._belong_together(checkpoint, state):
            raise DamagedStore("the checkpoint to publish and its state do not belong together; ask another node")
        return _Head(note, checkpoint, state)

    def _belong_together(self, checkpoint: Checkpoint, state: MirroredState) -> bool:
        """Whether each part of the state leads to the checkpoint, or to the header that it comes with."""
        log, of_members, genesis = state.log, state.of_members, self._store.genesis
        return (
            (state.genesis.ledger_id, checkpoint.origin) == (genesis.ledger_id, genesis.origin)
            and (checkpoint.size, checkpoint.root) == (log.log_size, log.log_root)
            and (state.header.state_root, log.members_hash) == (log.hash, of_members.hash)
            and self._trie_root("directory", state.directory) == of_members.directory
            and self._trie_root("status", state.status) == of_members.status
        )

    def _trie_root(self, name: str, entries: tuple[tuple[bytes, bytes], ...]) -> bytes:
        """The root over entries, of which most were there the last time, and none goes."""
        known, trie = self._tries.get(name, (frozenset(), Trie()))
        now = frozenset(entries)
        if not {key for key, _ in known} <= {key for key, _ in now}:
            known, trie = frozenset(), Trie()
        for key, value in now - known:
            trie = trie.set(key, value)
        self._tries[name] = now, trie
        return trie.root()

    def _claim(self) -> None:
        """Have it say whose mirror it is, on the disk, before anything else is in it."""
        if self._claimed() is None:
            self._writer.put_whole(self.folder / _LEDGER, self._store.genesis.ledger_id.hex().encode())
            sync(self.folder)

    def _claimed(self) -> str | None:
        """The id of the ledger whose mirror it is."""
        found = read_bounded(self.folder / _LEDGER, 2 * HASH_BYTES)
        return found.decode(errors="replace") if found is not None else None

    def _published(self) -> _Head | None:
        """What the folder holds. Raises `CannotMake` if that is no mirror of this ledger."""
        with self._explained():
            found = {one.name for one in self.folder.iterdir() if not one.name.startswith(".")}
            claimed = self._claimed()
            for one in found & _OWN:
                _check_inside(self.folder / one, self.folder.resolve())
        if claimed not in (None, self._store.genesis.ledger_id.hex()):
            raise CannotMake(f"{self.folder} is a mirror of another ledger, as {_LEDGER} says; name another folder")
        others = found if claimed is None else found - _OWN
        try:
            data = read_bounded(self.folder / CHECKPOINT_PATH, MAX_NOTE_BYTES)
            if data is None:
                if others:
                    advice = "name an empty folder, or a mirror of this ledger"
                    raise CannotMake(f"{self.folder} holds {min(others)!r} and is no mirror; {advice}")
                return None
            note = data.decode()
            checkpoint = parse_checkpoint(parse_note(note).text)
        except (UnreadableFile, UnicodeDecodeError, Refused):
            advice = "move it away, or name another folder"
            raise CannotMake(f"{self.folder / CHECKPOINT_PATH} is no checkpoint that can be read; {advice}") from None
        try:
            state = state_codec.decode(read_bounded(self.folder / state_path(checkpoint.size), MAX_STATE_BYTES) or b"")
        except (UnreadableFile, Refused):
            return _Head(note, checkpoint, None)
        is_its = (state.log.log_size, state.log.log_root) == (checkpoint.size, checkpoint.root)
        return _Head(note, checkpoint, state if is_its else None)

    def _kept_state(self, before: _Head, head: _Head) -> MirroredState | None:
        """The published state, if it is sound and of the same log: of an earlier block, maybe."""
        kept = before.state if before.checkpoint == head.checkpoint else None
        if kept is None or not self._belong_together(head.checkpoint, kept):
            return None
        block = self._store.outline(kept.header.index)
        return kept if block is not None and block.header == kept.header else None

    def _check_continues(self, before: _Head | None, head: _Head) -> None:
        """Raise `CannotMake` unless the published log is the beginning of this one."""
        if before is None:
            return
        (origin, size, root), new = before.checkpoint, head.checkpoint
        if origin != new.origin:
            other = f"{self.folder} is a mirror of another ledger, whose log is called {origin!r}"
            raise CannotMake(f"{other}; name another folder")
        if size > new.size:
            larger = f"{self.folder} has {size:,} certificates, and the newest checkpoint here covers {new.size:,}"
            raise CannotMake(f"{larger}; wait until this node has caught up: a published log never shrinks")
        if self._store.hash_tiles.root(Tree.LOG, size) != root:
            conflict = f"{self.folder} has another history of this ledger: its log of {size:,} certificates conflicts"
            raise CannotMake(f"{conflict} with the one here; keep both, ask the other members, and name another folder")

    # ---- writing ----------------------------------------------------------------------------------------------

    def _grow(self, before: _Head | None, head: _Head, state: bytes, on_done: Callable[[int], object]) -> None:
        """Write all that lies between. Raises `DamagedStore` unless it leads to the roots of the checkpoint."""
        assert head.state is not None
        last = head.state.header.index
        growth = self._growth(before, last)
        blocks = zip(
            self._store.outlines(growth.next_block), self._store.members_hashes(growth.next_block), strict=False
        )
        while growth.next_block <= last:
            with self._writer.putting() as put:
                for part, data in self._stage(growth, last, blocks, on_done):
                    put(part.path, data)
            if growth.next_block <= last:
                self._note_stage(growth)
        self._writer.put(state_path(head.checkpoint.size), state)
        if (growth.log, growth.headers_root) != (head.checkpoint[1:], head.state.log.headers_root):
            raise self._damaged("its blocks do not lead to the checkpoint")

    def _stage(
        self, growth: Growth, last: int, blocks: Iterator[tuple[Outline, bytes]], on_done: Callable[[int], object]
    ) -> Iterator[File]:
        """Add the blocks of one stage; all files that change by them. Raises `DamagedStore`."""
        end = growth.size - growth.size % _STAGE_WIDTH + _STAGE_WIDTH
        try:
            while growth.next_block <= last and growth.size < end:
                yield from growth.add(*next(blocks))
                on_done(growth.size)
        except Refused as refused:
            raise self._damaged(str(refused), refused) from None
        except StopIteration:
            raise self._damaged(f"block {growth.next_block} is missing") from None
        yield from growth.rest()

    def _note_stage(self, growth: Growth) -> None:
        """Have on the disk all that was written; then note that a run that is cut off later goes on from here."""
        self._writer.sync_names()
        self._writer.put_whole(self.folder / _STAGE, b"%d %d" % (growth.next_block - 1, growth.size))

    def _growth(self, before: _Head | None, last: int) -> Growth:
        """From the last stage or the end of the mirror; from the beginning if the last files are not what they were."""
        ends = [self._noted()]
        if before is not None and before.state is not None:
            ends.append((before.state.header.index, before.checkpoint.size))
        for index, size in sorted(ends, reverse=True):
            block = self._store.outline(index) if 0 < index <= last else None
            if block is not None:
                at = MirroredHeader(block.header, size, self._store.members_hash(index))
                with suppress(Refused, OSError, IndexError):
                    return Growth.resumed(self._store.genesis, at, self._read, self._store.hash_tiles.root)
        return Growth(self._store.genesis)

    def _noted(self) -> tuple[int, int]:
        """Where a run that was cut off ended its last stage: a block, or 0, and the size of the log after it."""
        found = _NOTED.fullmatch(read_bounded(self.folder / _STAGE, _MOST_NOTED_BYTES) or b"")
        return (int(found[1]), int(found[2])) if found is not None else (0, 0)

    def _read(self, part: Part) -> bytes:
        return read_bounded(self.folder / part.path, max_bytes(part)) or b""

    def _switch(self, note: str) -> None:
        """Have on the disk all that was written, and the names of it; then tell of it."""
        self._writer.sync_names()
        self._writer.put(CHECKPOINT_PATH, note.encode())
        (self.folder / _STAGE).unlink(missing_ok=True)
        sync(self.folder)

    # ---- tidying ----------------------------------------------------------------------------------------------

    def _retire(self, before: _Head, head: _Head) -> None:
        """Note when the files that only the older checkpoint names stopped being needed: now."""
        assert head.state is not None
        ending = set(parts_at_end(before.state)) - set(parts_at_end(head.state)) if before.state is not None else ()
        for path in [state_path(before.checkpoint.size), *(one.path for one in ending)]:
            with suppress(FileNotFoundError):
                os.utime(self.folder / path)

    def _tidy(self, head: _Head) -> None:
        """Remove, now and then, what no reader can still need."""
        now_s = time.time()
        if self._tidied_s is not None and 0 <= now_s - self._tidied_s < _TIDY_EVERY_S:
            return
        self._tidied_s = now_s
        assert head.state is not None
        needed = {one.path for one in parts_at_end(head.state)} | {state_path(head.checkpoint.size)}
        for path in (self.folder / "tallystick" / "state").glob("*"):
            self._remove_old(path, needed, now_s - KEEP_STATE_S)
        for folder in [*self.folder.glob("tile/**/*.p"), *self.folder.glob("tallystick/**/*.p")]:
            for path in folder.iterdir():
                part = parse_path(str(path.relative_to(self.folder)))
                is_ids = part is not None and part.series.folder == "tallystick/ids"
                if is_ids or folder.with_suffix("").exists():  # C2SP tlog-tiles: a partial one until the full is there
                    self._remove_old(path, needed, now_s - KEEP_PARTIAL_S)
            with suppress(OSError):
                folder.rmdir()

    def _remove_old(self, path: Path, needed: set[str], before_s: float) -> None:
        if str(path.relative_to(self.folder)) not in needed and path.stat().st_mtime < before_s:
            path.unlink()

    # ---- what is in the way -----------------------------------------------------------------------------------

    def _damaged(self, what: str, refused: Refused | None = None) -> DamagedStore:
        return DamagedStore(f"{self._store.path}: {what}; run: tallystick check --repair", refused)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = f"{error.filename or self.folder} cannot be written: {error.strerror or error}"
            advice = _ADVICE.get(error.errno or 0, "check the folder and its disk")
            raise CannotMake(f"{reason}; what was published before stands: {advice}, and run this again") from None
