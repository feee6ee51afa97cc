"""Where the oldest certificates stand, by their ids: sorted runs in the store's file, and a filter of them in memory.

A log-structured merge tree (O'Neil et al., 1996), without what nobody asks of it. A run is for each of its
certificates 8 bytes of the id and the number, sorted. New runs come from memory (`Snapshots`), and two of like size are
merged, a few rows at a time: so a certificate is written anew as often as the log doubles, and no snapshot takes long.
Of each run two bytes more of each id are in memory, and where those begin that share some leading bits: an id that is
on no run is found there to be on none, but for one in some thousands, at 17 bits a certificate.

Ids are not hashed with a secret. Who grinds ids that begin alike makes one stretch of those bytes longer, and looking
up such an id costs the read of a row: as it does for any id that is on the chain, and those are public.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import pairwise
from struct import iter_unpack
from typing import Any, Final, NamedTuple

from tallystick.storage.sqlite_file import Database

ROW_ENTRIES: Final = 512
_ENTRY_BYTES: Final = 12
_KEY_BYTES: Final = 8
"""Of an id in an entry; the others are its number."""
_BUCKET_ENTRIES: Final = 32
_RUN_BITS: Final = 32
_MOST_RATIO: Final = 3
"""Two runs are merged when the larger is at most so many times the smaller."""
_MERGED: Final = 12
"""How many entries are merged for each certificate that came; the doublings up to 100 million take 11."""
_SELECT_ROW: Final = "SELECT entries, digest FROM id_runs WHERE place = ?"
_SELECT_ROWS: Final = (
    "SELECT place, bounds, marks, digest FROM id_runs WHERE place >= ? AND place < ? ORDER BY place LIMIT 256"
)
_DELETE_ROWS: Final = (
    "DELETE FROM id_runs WHERE place IN (SELECT place FROM id_runs WHERE place >= ? AND place < ? LIMIT ?)"
)

Select = Callable[[str, tuple[int, ...]], list[Any]]


class Layout(NamedTuple):
    """What runs there are, as a snapshot keeps it."""

    runs: list[tuple[int, int, bytes]]
    """The number of each run, how many certificates are on it, and the digest of what it has in memory."""
    merges: list[tuple[int, int, int, int, bytes]]
    """Merges under way: the number of the run made, of the two read, how many were taken of the first, and a digest."""
    gone: list[int]
    """Runs whose rows are to be deleted."""
    next: int
    """The number of the next run."""


class _Run:
    """The part of one run that is in memory, as far as its rows are written."""

    def __init__(self, number: int, size: int) -> None:
        self.number, self.size, self.rows = number, size, 0
        bits = (size // _BUCKET_ENTRIES).bit_length()
        self.shift, self._buckets = 32 - bits, 1 << bits
        self.bounds = array("I")
        """Where in `marks` each bucket begins; what an id begins with says its bucket."""
        self.marks = bytearray()
        """Of each certificate bytes 4 and 5 of its id."""
        self.hash = sha256()

    @property
    def written(self) -> int:
        """How many certificates its rows hold so far."""
        return len(self.marks) // 2

    def place(self, row: int) -> int:
        return (self.number << _RUN_BITS) + row

    def add(self, entries: list[bytes]) -> tuple[int, bytes, bytes, bytes, bytes]:
        """Take the next row's entries, and return that row."""
        start, joined = len(self.marks), b"".join(entries)
        last = int.from_bytes(entries[-1][:4], "big") >> self.shift
        begun = [(one << self.shift).to_bytes(4, "big") for one in range(len(self.bounds), last + 1)]
        bounds = array("I", [start + 2 * bisect_left(entries, one) for one in begun])
        if self.written + len(entries) == self.size:
            bounds.extend([2 * self.size] * (self._buckets + 1 - len(self.bounds) - len(bounds)))
        marks = bytearray(2 * len(entries))
        marks[::2], marks[1::2] = joined[4::_ENTRY_BYTES], joined[5::_ENTRY_BYTES]
        row = (self.place(self.rows), bounds.tobytes(), bytes(marks), sha256(joined).digest(), joined)
        self.load(*row[1:4])
        return row

    def load(self, bounds: bytes, marks: bytes, digest: bytes) -> None:
        """Take what is in memory of the next row."""
        self.hash.update(b"".join((len(bounds).to_bytes(4, "big"), bounds, marks, digest)))
        self.bounds.frombytes(bounds)
        self.marks += marks
        self.rows += 1

    def entries(self, row: int, select: Select) -> bytes:
        """Those of a row, one after the other. Raises `ValueError` when they are not what was written."""
        found = select(_SELECT_ROW, (self.place(row),))
        if not found or not isinstance(found[0][0], bytes) or sha256(found[0][0]).digest() != found[0][1]:
            raise ValueError(f"row {row} of run {self.number} is not what was written")
        if len(found[0][0]) != _ENTRY_BYTES * min(ROW_ENTRIES, self.written - ROW_ENTRIES * row):
            raise ValueError(f"row {row} of run {self.number} has another length")
        return bytes(found[0][0])


class _Source:
    """A run that a merge reads, from one of its entries on."""

    def __init__(self, run: _Run, taken: int) -> None:
        self.run, self.taken = run, taken
        self._ahead: list[bytes] = []

    def next(self, select: Select) -> list[bytes]:
        """The next entries, as many as a row has or all that are left."""
        while len(self._ahead) < ROW_ENTRIES and (at := self.taken + len(self._ahead)) < self.run.size:
            row, skipped = divmod(at, ROW_ENTRIES)
            self._ahead += _parted(self.run.entries(row, select))[skipped:]
        return self._ahead[:ROW_ENTRIES]

    def take(self, count: int) -> None:
        del self._ahead[:count]
        self.taken += count


class _Merge(NamedTuple):
    """A run that is being made of two."""

    made: _Run
    left: _Source
    right: _Source

    def next(self, select: Select) -> list[bytes]:
        """The entries of the next row."""
        left, right = self.left.next(select), self.right.next(select)
        entries = sorted(left + right)[:ROW_ENTRIES]
        self.left.take(bisect_right(left, entries[-1]))
        self.right.take(bisect_right(right, entries[-1]))
        return entries


class IdRuns:
    """The derived table `id_runs`: it leads from an id to a number.

    Reading raises `ValueError` where the table is not what was written. Other threads may look up while this one grows
    runs: they see what was there before, until `publish`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.clear()

    def clear(self) -> None:
        """Know of no run."""
        self._runs: list[_Run] = []
        self._merges: list[_Merge] = []
        self._gone: list[int] = []
        self._next = 1
        self.publish()

    @property
    def size(self) -> int:
        """How many certificates are on runs: the oldest."""
        return sum(one.size for one in self._runs)

    def publish(self) -> None:
        """Look up on the runs that there are now: what was written of them is committed. `filters` is another then."""
        self.filters = [(one.shift, one.bounds, one.marks, one) for one in self._runs]

    # ---- looking up -----------------------------------------------------------------------------------------

    def may_have(self, certificate_id: bytes) -> bool:
        """Whether `candidates` may read a row of this id: of those on no run it does so for one in some thousands."""
        leading, mark = int.from_bytes(certificate_id[:4]), certificate_id[4:6]
        for shift, bounds, marks, _ in self.filters:
            bucket = leading >> shift
            if marks.find(mark, bounds[bucket], bounds[bucket + 1]) >= 0:
                return True
        return False

    def candidates(self, certificate_id: bytes, select: Select) -> list[int]:
        """The numbers of certificates whose ids have the same 8 first bytes: hardly ever more than the one."""
        found: list[int] = []
        leading, mark = int.from_bytes(certificate_id[:4]), certificate_id[4:6]
        for shift, bounds, marks, run in self.filters:
            bucket = leading >> shift
            at = marks.find(mark, bounds[bucket], bounds[bucket + 1])
            if at >= 0:
                found += _confirmed(run, certificate_id, at, bounds[bucket + 1], select)
        return found

    def with_prefix(self, prefix: str, select: Select) -> Iterator[int]:
        """The numbers of certificates whose ids begin so, in hex, as far as 8 bytes tell."""
        prefix = prefix[: 2 * _KEY_BYTES]
        first, last = (int((prefix + 8 * digit)[:8], 16) for digit in "0f")
        for shift, bounds, _, run in self.filters:
            start, end = bounds[first >> shift] // 2, bounds[(last >> shift) + 1] // 2
            for row in range(start // ROW_ENTRIES, -(-end // ROW_ENTRIES)):
                for entry in _parted(run.entries(row, select)):
                    if entry[:_KEY_BYTES].hex().startswith(prefix):
                        yield int.from_bytes(entry[_KEY_BYTES:])

    def are_as_derived(self, ids: Callable[[int, int], bytes]) -> bool:
        """Whether the runs lead from these ids, by first number and count, to their numbers, each once."""
        select = self._database.select
        seen = bytearray(self.size)
        for run in self._runs:
            again = _Run(run.number, run.size)
            for row in range(run.rows):
                entries = _parted(run.entries(row, select))
                for entry in entries:
                    number = int.from_bytes(entry[_KEY_BYTES:])
                    if number >= len(seen) or not ids(number, 1).startswith(entry[:_KEY_BYTES]):
                        return False
                    seen[number] += 1
                again.add(entries)
            if (again.bounds, again.marks) != (run.bounds, run.marks):
                return False
        return seen.count(1) == len(seen)

    # ---- growing, within a transaction ----------------------------------------------------------------------

    def layout(self) -> Layout:
        """What runs there are."""
        runs = [(one.number, one.size, one.hash.digest()) for one in self._runs]
        merges = [
            (one.made.number, one.left.run.number, one.right.run.number, one.left.taken, one.made.hash.digest())
            for one in self._merges
        ]
        return Layout(runs, merges, list(self._gone), self._next)

    def read(self, layout: Layout) -> None:
        """Take into memory what belongs there. Raises `ValueError`, `LookupError` where the table is another."""
        runs = {number: self._read_run(_Run(number, size), digest) for number, size, digest in layout.runs}
        if any(one.written != one.size for one in runs.values()):
            raise ValueError("a run is not whole")
        merges = list[_Merge]()
        for number, left, right, taken, digest in layout.merges:
            made = self._read_run(_Run(number, runs[left].size + runs[right].size), digest)
            merges.append(_Merge(made, _Source(runs[left], taken), _Source(runs[right], made.written - taken)))
        self._runs, self._merges, self._gone, self._next = list(runs.values()), merges, list(layout.gone), layout.next
        self.publish()

    def _read_run(self, run: _Run, digest: bytes) -> _Run:
        while rows := self._database.select(_SELECT_ROWS, (run.place(run.rows), run.place(1 << _RUN_BITS))):
            for _, bounds, marks, row_digest in rows:
                run.load(bounds, marks, row_digest)
        if run.hash.digest() != digest:
            raise ValueError(f"run {run.number} is not what was written")
        return run

    def add(self, ids: bytes) -> None:
        """Make a run of the next certificates, whose ids these are, one after the other."""
        numbered = enumerate(iter_unpack(f"{_KEY_BYTES}s24x", ids), start=self.size)
        entries = sorted([one + number.to_bytes(4) for number, (one,) in numbered])
        run = self._begin(len(entries))
        for start in range(0, len(entries), ROW_ENTRIES):
            self._insert(run, entries[start : start + ROW_ENTRIES])
        self._runs.append(run)

    def merge(self, came: int) -> None:
        """Go on with merges, and with deleting what they read, as far as it is due after so many certificates."""
        rows = _MERGED * came // ROW_ENTRIES + 1
        self._delete(rows)
        while pair := self._pair():
            made = self._begin(sum(one.size for one in pair))
            self._merges.append(_Merge(made, _Source(pair[0], 0), _Source(pair[1], 0)))
        for one in sorted(self._merges, key=lambda one: one.made.size):
            while rows > 0 and one.made.written < one.made.size:
                self._insert(one.made, one.next(self._database.select))
                rows -= 1
            if one.made.written == one.made.size:
                sources = (one.left.run, one.right.run)
                self._merges.remove(one)
                self._runs = [*(run for run in self._runs if run not in sources), one.made]
                self._gone += [run.number for run in sources]

    def _pair(self) -> tuple[_Run, _Run] | None:
        """Two runs to be merged."""
        merging = [run for one in self._merges for run in (one.left.run, one.right.run)]
        free = sorted((one for one in self._runs if one not in merging), key=lambda one: one.size)
        return next(((one, two) for one, two in pairwise(free) if two.size <= _MOST_RATIO * one.size), None)

    def _begin(self, size: int) -> _Run:
        self._next += 1
        return _Run(self._next - 1, size)

    def _insert(self, run: _Run, entries: list[bytes]) -> None:
        self._database.execute("INSERT INTO id_runs VALUES (?, ?, ?, ?, ?)", run.add(entries))

    def _delete(self, most: int) -> None:
        """Delete rows of runs on which nobody has looked up since the snapshot before."""
        if self._gone:
            first, end = self._gone[0] << _RUN_BITS, (self._gone[0] + 1) << _RUN_BITS
            self._database.execute(_DELETE_ROWS, (first, end, most))
            if not self._database.select("SELECT 1 FROM id_runs WHERE place >= ? AND place < ? LIMIT 1", (first, end)):
                del self._gone[0]


def _confirmed(run: _Run, certificate_id: bytes, at: int, end: int, select: Select) -> list[int]:
    """The numbers of those whose marks are the id's, from a place on, and that begin as it does."""
    found, mark, read, entries = [], certificate_id[4:6], -1, b""
    while at >= 0:
        if at % 2 == 0:
            row, place = divmod(at // 2, ROW_ENTRIES)
            if row != read:  # ids that begin alike stand side by side
                read, entries = row, run.entries(row, select)
            entry = entries[_ENTRY_BYTES * place : _ENTRY_BYTES * (place + 1)]
            if certificate_id.startswith(entry[:_KEY_BYTES]):
                found.append(int.from_bytes(entry[_KEY_BYTES:]))
        at = run.marks.find(mark, at + 1, end)
    return found


def _parted(entries: bytes) -> list[bytes]:
    return [one for (one,) in iter_unpack(f"{_ENTRY_BYTES}s", entries)]
