"""The guard file: what was synced is there after any crash, what a crash tears is dropped, and other damage is lost."""

import itertools
import os
import random
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import ballots, digests

from tallystick.consensus.signing_guard import (
    Confirmed,
    Cosigned,
    Floor,
    GuardRecord,
    GuardStatus,
    Limited,
    LossAccepted,
    Lost,
    Moved,
    Recovered,
    Signed,
    TwinSeen,
)
from tallystick.host import guard_file
from tallystick.host.guard_file import (
    FRAME_BYTES,
    GROWN_BYTES,
    GuardError,
    GuardFailed,
    GuardFile,
    compacted,
    create_guard,
    read_guard,
    summaries,
    write_guard,
)
from tallystick.ledger.vote import NOTARIZE, Ballot
from tallystick.ledger.wallet import Wallet

WALLET = Wallet(bytes(range(32)))
KEY = WALLET.public_key
LEDGERS = [bytes([number]) * 32 for number in (1, 2, 3)]

ledger_ids = st.sampled_from(LEDGERS)
numbers = st.integers(0, 5)
places: dict[str, Any] = {"ledger_id": ledger_ids, "epoch": numbers, "view": numbers}
guard_records = st.one_of(
    st.builds(Signed, **places, header_hash=st.none() | digests, ballot=st.none() | ballots),
    st.builds(Floor, **places),
    st.builds(Lost, st.none() | ledger_ids),
    st.builds(Recovered, **places),
    st.builds(Confirmed, ledger_ids),
    st.builds(LossAccepted, ledger_ids),
    st.builds(Limited, **places),
    st.builds(TwinSeen, **places),
    st.just(Moved()),
    st.builds(Cosigned, ledger_ids, numbers, digests, numbers),
)
appends = st.lists(st.lists(guard_records, min_size=1, max_size=4), max_size=6)


def signed(view: int) -> Signed:
    return Signed(LEDGERS[0], 0, view, None, Ballot(NOTARIZE, 0, view, bytes([view % 256]) * 32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_guard(tmp_path / "guard", KEY)
    return tmp_path / "guard"


def filled(path: Path, *batches: Sequence[GuardRecord]) -> list[int]:
    """Append these; where the file ended before the first, after it, and so on."""
    sizes = [path.stat().st_size]
    with GuardFile.open(path, KEY) as file:
        for batch in batches:
            file.append(batch)
            sizes.append(path.stat().st_size)
    return sizes


def in_a_folder(test: Callable[[Path], None]) -> None:
    with TemporaryDirectory() as folder:
        create_guard(Path(folder) / "guard", KEY)
        test(Path(folder) / "guard")


# ---- kept -------------------------------------------------------------------------------------------------------


@given(appends)
def test_what_was_appended_is_read_again_in_order(batches: list[list[GuardRecord]]) -> None:
    def test(path: Path) -> None:
        filled(path, *batches)
        with GuardFile.open(path, KEY) as again:
            assert again.loss is None
            assert list(again.records) == [record for batch in batches for record in batch]

    in_a_folder(test)


def test_a_guard_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_guard(tmp_path / "guard", KEY)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "guard").stat().st_mode) == 0o600


def test_more_records_than_a_frame_holds_are_all_kept(path: Path) -> None:
    records: list[GuardRecord] = [signed(view) for view in range(200)]
    filled(path, records)
    assert read_guard(path, KEY).records == records


def test_the_guard_of_another_key_is_an_error_with_advice_and_stays_as_it_is(path: Path) -> None:
    filled(path, [signed(1)])
    before = path.read_bytes()
    other = Wallet(bytes(32)).public_key
    with pytest.raises(GuardError, match=rf"{KEY.hex()[:16]}…, not of .*; put the guard of this key there"):
        GuardFile.open(path, other)
    with pytest.raises(GuardError, match="is the guard of another key; move it to where its key is"):
        create_guard(path, other)
    assert path.read_bytes() == before


def test_a_guard_that_says_nothing_gives_way_to_a_fresh_keys(path: Path) -> None:
    other = Wallet(bytes(32)).public_key
    create_guard(path, other)
    assert read_guard(path, other).loss is None


def test_a_guard_of_a_later_version_is_an_error_and_not_lost(path: Path) -> None:
    path.write_bytes(guard_file._frame(b"\x92\x02\xc4\x20" + KEY))
    with pytest.raises(GuardError, match="is of version 2, 1 is known; use a later tallystick"):
        GuardFile.open(path, KEY)


# ---- lost -------------------------------------------------------------------------------------------------------


def test_no_guard_beside_a_key_is_a_lost_one_and_is_so_until_it_is_recovered(tmp_path: Path) -> None:
    path = tmp_path / "guard"
    with GuardFile.open(path, KEY) as file:
        assert file.loss == f"there is no guard file {path}"
        assert list(file.records) == [Lost(None)]
    with GuardFile.open(path, KEY) as again:
        assert again.loss is None, "it was said"
        assert again.signing_guard(WALLET, LEDGERS[0]).status is GuardStatus.LOST
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@given(appends.filter(bool), st.data())
def test_a_last_append_that_was_cut_off_is_dropped_and_written_over(
    batches: list[list[GuardRecord]], data: st.DataObject
) -> None:
    def test(path: Path) -> None:
        sizes = filled(path, *batches)
        os.truncate(path, data.draw(st.integers(sizes[-2], sizes[-1] - 1)))
        kept = [record for batch in batches[:-1] for record in batch]
        with GuardFile.open(path, KEY) as file:
            assert file.loss is None
            assert list(file.records) == kept
            file.append([signed(7)])
        assert read_guard(path, KEY).records == [*kept, signed(7)]
        assert not list(path.parent.glob("*damaged*"))

    in_a_folder(test)


def test_sectors_of_the_last_append_that_never_reached_the_disk_are_no_damage(path: Path) -> None:
    records: list[GuardRecord] = [signed(view) for view in range(12)]
    *_, start, end = filled(path, [signed(99)], records)
    whole = path.read_bytes()
    edges = [start, *range(start - start % 512 + 512, end, 512), end]
    for first, last in itertools.pairwise(edges):
        path.write_bytes(whole[:first] + bytes(last - first) + whole[last:])
        found = read_guard(path, KEY)
        assert (found.loss, found.records) == (None, [signed(99)]), (first, last)


@given(appends.filter(lambda batches: len(batches) > 1), st.data())
def test_any_other_damage_is_a_loss_that_is_kept_aside_and_said(
    batches: list[list[GuardRecord]], data: st.DataObject
) -> None:
    def test(path: Path) -> None:
        sizes = filled(path, *batches)
        whole = path.read_bytes()
        place = data.draw(st.integers(0, sizes[-2] - 1))
        damaged = bytearray(whole)
        damaged[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes(damaged)
        with GuardFile.open(path, KEY) as file:
            aside = path.with_name("guard.damaged-1")
            assert file.loss == f"{path} is damaged; it is kept as {aside}"
            assert aside.read_bytes() == bytes(damaged)
            assert file.records[0] == Lost(None)
            assert set(file.records[1:]) <= {record for batch in batches for record in batch}
        with GuardFile.open(path, KEY) as again:
            assert again.loss is None

    in_a_folder(test)


@pytest.mark.parametrize("data", [b"", b"x", b"\xff" * 5_000, bytes(4_096), b"\xd7G\x00\x05nope"])
def test_what_is_no_guard_file_is_lost_too(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with GuardFile.open(path, KEY) as file:
        assert file.loss
        assert "is damaged" in file.loss
        assert list(file.records) == [Lost(None)]


def test_many_frames_overwritten_at_the_end_are_no_torn_one(path: Path, seed: int) -> None:
    sizes = filled(path, *([signed(view)] for view in range(80)))
    whole, chance = path.read_bytes(), random.Random(seed)
    assert sizes[-1] - sizes[14] > FRAME_BYTES
    for first in range(0, 79, 7):
        left = sizes[-1] - sizes[first]
        for instead in (chance.randbytes(left), *([bytes(left)] if left > FRAME_BYTES else [])):
            path.write_bytes(whole[: sizes[first]] + instead)
            assert read_guard(path, KEY).loss, first


def test_nothing_of_a_torn_frame_is_left_behind_a_shorter_one(path: Path) -> None:
    _, end = filled(path, [signed(view) for view in range(20)])
    os.truncate(path, end - 1)
    filled(path, [signed(1)])
    found = read_guard(path, KEY)
    assert (found.loss, found.records) == (None, [signed(1)])


def test_what_forbids_signing_outlives_the_damage_of_something_else(path: Path) -> None:
    twin, floor = TwinSeen(LEDGERS[0], 1, 2), Floor(LEDGERS[1], 3, 4)
    cosigned = Cosigned(LEDGERS[0], 7, bytes(32), 8)
    sizes = filled(path, [signed(1)], [twin, floor, cosigned, Recovered(LEDGERS[2], 1, 1)], [Moved()])
    damaged = bytearray(path.read_bytes())
    damaged[sizes[0] + 20] ^= 1
    path.write_bytes(damaged)
    with GuardFile.open(path, KEY) as file:
        assert list(file.records) == [Lost(None), twin, floor, cosigned, Moved()]
        assert file.signing_guard(WALLET, LEDGERS[0]).status is GuardStatus.MOVED


def test_a_second_damaged_file_does_not_take_the_place_of_the_first(path: Path) -> None:
    for number in (1, 2):
        path.write_bytes(b"damaged %d" % number)
        GuardFile.open(path, KEY).close()
        assert path.with_name(f"guard.damaged-{number}").read_bytes() == b"damaged %d" % number


# ---- compacted --------------------------------------------------------------------------------------------------


@given(st.lists(guard_records, max_size=30))
def test_a_compacted_file_says_the_same_of_every_ledger(records: list[GuardRecord]) -> None:
    short = compacted(records)
    long_said, short_said = summaries(records), summaries(short)
    for ledger_id in (None, *LEDGERS):
        one, other = short_said.get(ledger_id, short_said[None]), long_said.get(ledger_id, long_said[None])
        for name in ("status", "floor", "silent_until", "twin", "is_loss_accepted", "entries", "cosigned"):
            assert getattr(one, name) == getattr(other, name), name
    assert compacted(short) == short


def test_a_grown_file_is_rewritten_without_what_is_below_the_floor(path: Path) -> None:
    with GuardFile.open(path, KEY) as file:
        guard = file.signing_guard(WALLET, LEDGERS[0])
        file.append([signed(view) for view in range(1, GROWN_BYTES // 40)])
        was_grown = file.is_grown
        guard.raise_floor(0, 5_000)
        file.compact()
        assert (was_grown, file.is_grown) == (True, False)
        file.append([signed(0)])
        after = list(file.records)
    assert read_guard(path, KEY).records == after
    assert after[0] == Floor(LEDGERS[0], 0, 5_000)
    assert path.stat().st_size < GROWN_BYTES
    assert [one.name for one in path.parent.iterdir()] == ["guard"]


def test_a_file_in_which_everything_counts_is_not_rewritten_with_every_append(path: Path) -> None:
    with GuardFile.open(path, KEY) as file:
        file.append([signed(view) for view in range(1, GROWN_BYTES // 40)])
        assert file.is_grown
        file.compact()
        assert path.stat().st_size > GROWN_BYTES, "nothing is final, so all of it counts"
        assert not file.is_grown


# ---- failing disks ----------------------------------------------------------------------------------------------


def appended(file: GuardFile, records: Sequence[GuardRecord], *, is_beside: bool) -> None:
    """Append, in line or while something else is done."""
    if is_beside:
        with file.appending(records):
            pass
    else:
        file.append(records)


@pytest.mark.parametrize("is_beside", [False, True])
@pytest.mark.parametrize("call", ["fsync", "pwrite"])
def test_after_a_failed_write_or_sync_nothing_is_appended_any_more(
    path: Path, call: str, is_beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with GuardFile.open(path, KEY) as file:
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(GuardFailed, match="Input/output error; what this key signed last may not be kept"):
                appended(file, [signed(1)], is_beside=is_beside)
        for again in (lambda: appended(file, [signed(2)], is_beside=is_beside), file.compact):
            with pytest.raises(GuardFailed, match="Input/output error"):
                again()


def test_a_guard_that_was_replaced_under_a_running_node_ends_it(path: Path) -> None:
    with GuardFile.open(path, KEY) as file:
        write_guard(path, KEY, [])
        with pytest.raises(GuardFailed, match="it was replaced while it was in use"):
            file.append([signed(1)])
    with GuardFile.open(path, KEY) as file:
        path.unlink()
        with pytest.raises(GuardFailed, match="No such file"):
            file.append([signed(1)])


class Done(NamedTuple):
    """One call to the system, on a file by its inode."""

    call: str
    file: int
    offset: int = 0
    data: bytes = b""


class Disk:
    """Takes the guard file's calls down, and shows what could be there after a power cut at any of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[Done | int] = []
        """Calls, and in between how many appends had returned."""
        self._calls = {name: getattr(os, name) for name in ("pwrite", "fsync", "ftruncate", "replace")}
        for name in ("pwrite", "fsync", "ftruncate"):
            monkeypatch.setattr(os, name, getattr(self, name))
        monkeypatch.setattr(guard_file, "sync_folder", lambda path: self.log.append(Done("folder", 0)))
        replace = Path.replace
        monkeypatch.setattr(Path, "replace", lambda new, path: self._rename(replace, new, path))

    def _rename(self, replace: Any, new: Path, path: Path) -> None:
        self.log.append(Done("rename", new.stat().st_ino))
        replace(new, path)

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        self.log.append(Done("write", os.fstat(descriptor).st_ino, offset, bytes(data)))
        return int(self._calls["pwrite"](descriptor, data, offset))

    def fsync(self, descriptor: int) -> None:
        self.log.append(Done("sync", os.fstat(descriptor).st_ino))

    def ftruncate(self, descriptor: int, size: int) -> None:
        raise AssertionError("nothing is torn in this life")

    def after_crash(self, point: int, kept: str, chance: random.Random) -> Iterator[bytes | None]:
        """What can stand under the guard's name: the file that was there before a rename that was not synced, too."""
        synced: dict[int, bytearray] = {}
        unsynced: dict[int, list[Done]] = {}
        named: list[int | None] = [None]
        for done in self.log[:point]:
            match done:
                case Done("write", file):
                    unsynced.setdefault(file, []).append(done)
                case Done("sync", file):
                    for write in unsynced.pop(file, []):
                        put(synced.setdefault(file, bytearray()), write.offset, write.data)
                case Done("rename", file):
                    named.append(file)
                case Done("folder"):
                    named = named[-1:]
        for one in named:
            if one is None:
                yield None
                continue
            data = bytearray(synced.get(one, b""))
            for write in unsynced.get(one, []):
                for offset, part in parts(write):
                    if kept == "kept" or (kept == "torn" and chance.random() < 0.5):
                        put(data, offset, part)
            yield bytes(data)


def put(data: bytearray, offset: int, part: bytes) -> None:
    data.extend(bytes(max(0, offset + len(part) - len(data))))
    data[offset : offset + len(part)] = part


def parts(write: Done) -> Iterator[tuple[int, bytes]]:
    """What reaches the disk by itself: sectors."""
    start = write.offset
    while start < write.offset + len(write.data):
        end = min(start - start % 512 + 512, write.offset + len(write.data))
        yield start, write.data[start - write.offset : end - write.offset]
        start = end


@pytest.mark.parametrize("kept", ["lost", "torn", "kept"])
def test_after_a_power_cut_at_any_write_or_sync_all_that_was_synced_is_there(
    tmp_path: Path, kept: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, chance = tmp_path / "guard", random.Random(f"{seed} {kept}")
    states: list[list[GuardRecord]] = []
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        create_guard(path, KEY)
        with GuardFile.open(path, KEY) as file:
            for number in range(30):
                states.append(list(file.records))
                disk.log.append(number)
                if number % 7 == 6:
                    file.compact()
                else:
                    records = [signed(100 * number + one) for one in range(chance.choice((1, 1, 2, 3, 40)))]
                    appended(file, records, is_beside=number % 2 == 1)
            states.append(list(file.records))
        disk.log.append(30)
    again = tmp_path / "again"
    for point in range(len(disk.log) + 1):
        marks = [one for one in disk.log[:point] if isinstance(one, int)]
        for data in disk.after_crash(point, kept, chance):
            if not marks:
                continue  # the key is not made before its guard is
            assert data is not None
            again.write_bytes(data)
            found = read_guard(again, KEY)
            assert found.loss is None, (point, found.loss)
            before, after = states[marks[-1]], states[min(marks[-1] + 1, 30)]
            is_part = found.records == after[: len(found.records)] and found.records[: len(before)] == before
            assert is_part or found.records in (before, after), point


def test_the_longest_frame_is_one_that_can_be_torn(path: Path) -> None:
    sizes = filled(path, [signed(view) for view in range(500)])
    assert sizes[-1] - sizes[0] > 9 * FRAME_BYTES
    os.truncate(path, sizes[-1] - 1)
    assert read_guard(path, KEY).loss is None
