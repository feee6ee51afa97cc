"""A mirror in a folder: whole at every moment, whatever is cut off, and never of two ledgers."""

import errno
import os
import random
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.mirrors import files_in, grow, head_of, index_of, publish, read_whole
from tests.proving import ProvenLedger

from tallystick.ledger.certificate import certificate_codec
from tallystick.problems import CannotMake, DamagedStore, DataInUse
from tallystick.storage import mirror_files
from tallystick.storage.mirror import ENTRIES, IDS, Part, state_codec, state_path, tile_path
from tallystick.storage.mirror_files import KEEP_PARTIAL_S, KEEP_STATE_S, MirrorFolder


@pytest.fixture
def ledger(tmp_path: Path) -> ProvenLedger:
    return ProvenLedger(tmp_path / "ledger.db")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mirror"


def tree(folder: Path) -> dict[str, bytes]:
    """All files that are served."""
    files = [one for one in folder.rglob("*") if one.is_file() and not one.name.startswith(".")]
    return {str(one.relative_to(folder)): one.read_bytes() for one in files}


# ---- what is written ------------------------------------------------------------------------------------------------


def test_a_mirror_has_all_certificates_in_order(ledger: ProvenLedger, folder: Path) -> None:
    grow(ledger, 1, 255, 1, 300, 7)
    done = publish(ledger, folder)
    whole = read_whole(files_in(folder))
    certificates = [one for index in range(1, 6) for one in ledger.block(index).certificates]
    assert [certificate_codec.decode(one) for one in whole.entries] == certificates
    assert whole.state.genesis == ledger.genesis
    assert (done.certificates, done.checkpoint.size) == (564, 564)
    assert (done.files, done.size_bytes) == (len(tree(folder)), sum(map(len, tree(folder).values())))
    for at in (0, 255, 256, 563):
        assert index_of(files_in(folder), 564, certificates[at].id) == [at]
    assert index_of(files_in(folder), 564, bytes(32)) == []


@pytest.mark.parametrize("number", range(3))
def test_a_mirror_that_grew_is_that_which_was_written_at_once(
    ledger: ProvenLedger, folder: Path, tmp_path: Path, number: int
) -> None:
    draw = random.Random(number)
    for _ in range(5):
        grow(ledger, *(draw.choice((0, 1, 2, 60, 255, 256, 257)) for _ in range(draw.randrange(1, 5))), 1)
        publish(ledger, folder)
    publish(ledger, tmp_path / "at-once")
    grown, at_once = tree(folder), tree(tmp_path / "at-once")
    assert {path: grown[path] for path in at_once} == at_once
    others = grown.keys() - at_once
    assert all(".p/" in one or one.startswith("tallystick/state/") for one in others)
    read_whole(files_in(folder))


def test_many_blocks_fill_tiles_of_headers(ledger: ProvenLedger, folder: Path) -> None:
    grow(ledger, *[1] * 200)
    publish(ledger, folder)
    grow(ledger, *[1] * 80)
    publish(ledger, folder)
    assert (folder / "tallystick/tile/1/000.p/1").exists()
    assert (folder / "tallystick/headers/000").exists()
    read_whole(files_in(folder))


def test_what_is_there_is_not_written_again(ledger: ProvenLedger, folder: Path) -> None:
    grow(ledger, 300)
    publish(ledger, folder)
    assert publish(ledger, folder)[1:] == (0, 0, 0)
    grow(ledger, 1)
    done = publish(ledger, folder)
    assert done.certificates == 1
    assert done.files < 12


def test_a_checkpoint_that_was_countersigned_anew_takes_its_place(ledger: ProvenLedger, folder: Path) -> None:
    grow(ledger, 3)
    publish(ledger, folder)
    note, state = head_of(ledger, ledger.countersigned(time_s=2_000_000_000))
    mirror = MirrorFolder(folder, ledger.store)
    with mirror.held():
        assert mirror.publish(note, state).files == 1
    assert (folder / "checkpoint").read_text() == note
    read_whole(files_in(folder))


def test_a_web_server_may_read_all_of_it(ledger: ProvenLedger, folder: Path) -> None:
    before = os.umask(0o077)
    try:
        grow(ledger, 3)
        publish(ledger, folder)
    finally:
        os.umask(before)
    for one in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(one.stat().st_mode) == (0o755 if one.is_dir() else 0o644)
    assert [one.name for one in folder.glob(".*")] == [".tallystick-ledger"], "what is unfinished is not left behind"


# ---- what is refused ------------------------------------------------------------------------------------------------


def refused(ledger: ProvenLedger, folder: Path, words: str) -> None:
    before = tree(folder)
    with pytest.raises(CannotMake, match=words):
        publish(ledger, folder)
    assert tree(folder) == before, "nothing has changed"


def test_the_mirror_of_another_ledger_is_refused(ledger: ProvenLedger, folder: Path, tmp_path: Path) -> None:
    other = ProvenLedger(tmp_path / "other.db", replace(ledger.genesis, name="Other"))
    grow(other, 2)
    publish(other, folder)
    grow(ledger, 3)
    refused(ledger, folder, "a mirror of another ledger.*name another folder")


def test_a_mirror_that_was_cut_off_is_still_that_of_its_ledger(
    ledger: ProvenLedger, folder: Path, tmp_path: Path
) -> None:
    other = ProvenLedger(tmp_path / "other.db", replace(ledger.genesis, name="Other"))
    for one in (other, ledger):
        grow(one, 2)
    publish(other, folder)
    (folder / "checkpoint").unlink()
    refused(ledger, folder, "a mirror of another ledger.*name another folder")
    publish(other, folder)
    (folder / "checkpoint").unlink()
    (folder / ".tallystick-ledger").unlink()
    refused(ledger, folder, "holds 'tallystick' and is no mirror")


def test_links_do_not_lead_out_of_a_mirror(ledger: ProvenLedger, folder: Path, tmp_path: Path) -> None:
    grow(ledger, 2)
    publish(ledger, folder)
    for name in ("tile", "tile/entries"):
        shutil.rmtree(tmp_path / "outside", ignore_errors=True)
        (folder / name).rename(tmp_path / "outside")
        (folder / name).symlink_to(tmp_path / "outside")
        before = tree(tmp_path / "outside")
        grow(ledger, 1)
        with pytest.raises(CannotMake, match="leads out of the mirror"):
            publish(ledger, folder)
        assert tree(tmp_path / "outside") == before
        (folder / name).unlink()
        (tmp_path / "outside").rename(folder / name)


def test_tidying_that_fails_does_not_undo_what_is_published(
    ledger: ProvenLedger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(ledger, 2)
    publish(ledger, folder)
    grow(ledger, 2)

    def fails(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "not yours")

    monkeypatch.setattr(os, "utime", fails)
    assert publish(ledger, folder).checkpoint.size == 4
    assert read_whole(files_in(folder)).checkpoint.size == 4


@pytest.mark.parametrize(
    ("code", "said"), [(errno.ENOSPC, "make room"), (errno.EROFS, "may write to"), (errno.EIO, "its disk")]
)
def test_what_to_do_follows_from_what_hinders(
    ledger: ProvenLedger, folder: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str
) -> None:
    grow(ledger, 2)
    with failing(2, OSError(code, os.strerror(code)), monkeypatch), pytest.raises(CannotMake, match=said):
        publish(ledger, folder)


@contextmanager
def changes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """What came to the disk, and which names were given, in order."""
    done = list[tuple[str, str]]()
    fsync, replace_file = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        done.append(("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def renamed(source: Path, target: Path) -> Path:
        done.append(("name", str(target)))
        assert ("sync", str(source)) in done, "its bytes first"
        return replace_file(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", synced)
        patch.setattr(Path, "replace", renamed)
        yield done


def test_all_is_on_the_disk_before_a_checkpoint_names_it(
    ledger: ProvenLedger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes before a name, names before the checkpoint; those of files that a run that was cut off left, too."""
    grow(ledger, 300)
    publish(ledger, folder)
    (folder / "checkpoint").unlink()  # what was cut off before it: nobody knows which names are on the disk
    (folder / Part(ENTRIES, 0, 256).path).unlink()
    with changes(monkeypatch) as done:
        publish(ledger, folder)
    switch = done.index(("name", str(folder / "checkpoint")))
    assert done[switch + 1 :] == [("sync", str(folder))]
    last_name = max(at for at, (what, _) in enumerate(done[:switch]) if what == "name")
    synced_after = {where for what, where in done[last_name:switch] if what == "sync"}
    assert {str(one) for one in (folder, *folder.rglob("*")) if one.is_dir()} <= synced_after


def test_a_larger_and_a_conflicting_log_are_refused(ledger: ProvenLedger, folder: Path, tmp_path: Path) -> None:
    other = ProvenLedger(tmp_path / "other.db")
    other.forge(other.scribe.statement("ben", "another history"), other.scribe.statement("ben", "of this ledger"))
    publish(other, folder)
    grow(ledger, 1)
    refused(ledger, folder, "has 2 certificates, and the newest checkpoint here covers 1; wait")
    grow(ledger, 4)
    refused(ledger, folder, "another history of this ledger: its log of 2 certificates conflicts.*keep both")


def test_a_folder_with_something_else_is_refused(ledger: ProvenLedger, folder: Path) -> None:
    grow(ledger, 1)
    folder.mkdir()
    (folder / "diary.txt").write_text("private")
    refused(ledger, folder, "holds 'diary.txt' and is no mirror; name an empty folder")
    (folder / "checkpoint").write_text("a boat")
    refused(ledger, folder, "checkpoint is no checkpoint that can be read; move it away")


def test_two_do_not_write_one_mirror(ledger: ProvenLedger, folder: Path) -> None:
    grow(ledger, 300)
    note, state = head_of(ledger)
    mirror, refusals = MirrorFolder(folder, ledger.store), list[DataInUse]()

    def meanwhile(_size: int) -> None:
        with pytest.raises(DataInUse, match="end that one first") as caught:
            publish(ledger, folder)
        refusals.append(caught.value)

    with mirror.held():
        mirror.publish(note, state, meanwhile)
    assert len(refusals) == 1
    assert read_whole(files_in(folder)).checkpoint.size == 300, "the other one was not disturbed"


def test_a_place_that_cannot_be_written_is_told(ledger: ProvenLedger, tmp_path: Path) -> None:
    grow(ledger, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotMake, match="cannot be written: Not a directory"):
        publish(ledger, tmp_path / "file" / "mirror")


def test_a_state_of_another_checkpoint_is_refused(ledger: ProvenLedger, folder: Path) -> None:
    grow(ledger, 1)
    before = head_of(ledger)
    grow(ledger, 1)
    after = head_of(ledger)
    mirror = MirrorFolder(folder, ledger.store)
    with mirror.held():
        for note, state in ((before[0], after[1]), (after[0], before[1]), (after[0], after[1][:-1]), ("x", after[1])):
            with pytest.raises(DamagedStore):
                mirror.publish(note, state)
        mirror.publish(*after)


def test_blocks_that_do_not_lead_to_the_checkpoint_are_not_published(ledger: ProvenLedger, folder: Path) -> None:
    grow(ledger, 2)
    publish(ledger, folder)
    grow(ledger, 2, 3)
    row = ledger.store.block(2)
    assert row is not None
    altered = row.encoded.replace(b"sample 3", b"sample 9")
    ledger.store.database.execute("UPDATE blocks SET encoded = ? WHERE block_index = 2", (altered,))
    with pytest.raises(DamagedStore, match="derived of block 2 does not lead to its state root; run: tallystick check"):
        publish(ledger, folder)
    assert read_whole(files_in(folder)).checkpoint.size == 2
    ledger.store.database.execute("DELETE FROM blocks WHERE block_index = 2")
    with pytest.raises(DamagedStore, match="block 2"):
        publish(ledger, folder)


# ---- what is cut off or damaged -------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    """Another last byte."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


class Cut(BaseException):
    """The process ends."""


@contextmanager
def failing(at: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The `at`-th change of the folder does not happen any more, nor do those after it."""
    count = [0]

    def counted(work: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **options: object) -> object:
            count[0] += 1
            if count[0] > at:
                raise error
            return work(*args, **options)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", counted(Path.replace))
        patch.setattr(Path, "open", counted(Path.open))
        patch.setattr(os, "fsync", counted(os.fsync))
        patch.setattr(os, "utime", counted(os.utime))
        yield count


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), Cut()], ids=["full", "killed"])
@pytest.mark.parametrize("start", [0, 300])
def test_cut_off_anywhere_the_mirror_is_whole_and_the_next_run_goes_on(
    ledger: ProvenLedger,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: int,
    error: BaseException,
) -> None:
    original = tmp_path / "original"
    if start:
        grow(ledger, start)
        publish(ledger, original)
    else:
        original.mkdir()
    grow(ledger, 270)
    note, state = head_of(ledger)
    at, is_done, sizes = 0, False, set[int]()
    while not is_done:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(original, folder)
        mirror = MirrorFolder(folder, ledger.store)
        with suppress(Cut, CannotMake), mirror.held(), failing(at, error, monkeypatch):
            mirror.publish(note, state)
            is_done = True
        if start or (folder / "checkpoint").exists():
            sizes.add(read_whole(files_in(folder)).checkpoint.size)
        publish(ledger, folder)
        assert read_whole(files_in(folder)).checkpoint.size == start + 270
        at += 1
    assert at > 20
    assert sizes == ({start} if start else set()) | {start + 270}


@pytest.fixture
def staged(ledger: ProvenLedger, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A first export ends a stage with block 3, and is killed with block 4; so many certificates are in it."""
    monkeypatch.setattr(mirror_files, "_STAGE_WIDTH", 300)
    grow(ledger, *[1] * 2, 301, 20, 10)

    def kill(size: int) -> None:
        if size > 303:
            raise Cut

    with suppress(Cut):
        publish(ledger, folder, kill)
    assert not (folder / "checkpoint").exists()
    return 303


def goes_on_from(ledger: ProvenLedger, folder: Path) -> int:
    """The size of the log after the first block that a run adds to the mirror, which is whole then."""
    sizes = list[int]()
    publish(ledger, folder, sizes.append)
    read_whole(files_in(folder))
    assert index_of(files_in(folder), 333, ledger.block(3).certificates[300].id) == [302]
    assert [one.name for one in folder.glob(".*")] == [".tallystick-ledger"]
    return sizes[0]


def test_a_first_export_that_was_killed_goes_on_from_its_last_stage(
    ledger: ProvenLedger, folder: Path, monkeypatch: pytest.MonkeyPatch, staged: int
) -> None:
    """Also where the run after it is cut off at once."""
    with suppress(Cut), failing(0, Cut(), monkeypatch):
        publish(ledger, folder)
    assert goes_on_from(ledger, folder) == staged + 20


@pytest.mark.parametrize(
    ("path", "damage"),
    [
        (tile_path(0, 1, 47), flip),
        (tile_path(1, 0, 1), flip),
        (Part(ENTRIES, 1, 47).path, flip),
        (Part(ENTRIES, 1, 47).path, Path.unlink),
        (Part(IDS, 0, 303).path, flip),
        ("tallystick/headers/000.p/3", flip),
        ("tallystick/tile/0/000.p/3", flip),
        (".tallystick-stage", flip),
        (".tallystick-stage", Path.unlink),
    ],
)
def test_a_stage_whose_end_was_damaged_is_written_anew(
    ledger: ProvenLedger, folder: Path, staged: int, path: str, damage: Callable[[Path], None]
) -> None:
    damage(folder / path)
    assert goes_on_from(ledger, folder) == 1


@pytest.mark.parametrize("noted", [b"3 302", b"2 303", b"9999 303", b"3 9999999999999999", b"0 0", b"3" * 99])
def test_what_is_noted_of_a_stage_is_not_believed(
    ledger: ProvenLedger, folder: Path, staged: int, noted: bytes
) -> None:
    assert (folder / ".tallystick-stage").read_bytes() == b"3 303"
    (folder / ".tallystick-stage").write_bytes(noted)
    assert goes_on_from(ledger, folder) == 1


def test_a_stage_is_noted_when_it_is_on_the_disk(
    ledger: ProvenLedger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_files, "_STAGE_WIDTH", 300)
    grow(ledger, 301, 2)
    with changes(monkeypatch) as done:
        publish(ledger, folder)
    noted = done.index(("name", str(folder / ".tallystick-stage")))
    last_name = max(at for at, (what, _) in enumerate(done[:noted]) if what == "name")
    synced = {where for what, where in done[last_name:noted] if what == "sync"}
    for path in (Part(ENTRIES, 0, 256).path, Part(IDS, 0, 301).path, "tallystick/headers/000.p/1"):
        assert ("name", str(folder / path)) in done[:noted]
        assert str((folder / path).parent) in synced


def test_a_stage_that_is_beyond_an_older_checkpoint_is_passed_over(
    ledger: ProvenLedger, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run is of a node, or of a backup, that is behind."""
    monkeypatch.setattr(mirror_files, "_STAGE_WIDTH", 10)
    grow(ledger, 1)
    earlier = head_of(ledger)
    grow(ledger, 10, 1)

    def kill(size: int) -> None:
        if size == 12:
            raise Cut

    with suppress(Cut):
        publish(ledger, folder, kill)
    assert (folder / ".tallystick-stage").read_bytes() == b"2 11"
    mirror = MirrorFolder(folder, ledger.store)
    with mirror.held():
        mirror.publish(*earlier)
    assert read_whole(files_in(folder)).checkpoint.size == 1


@pytest.mark.parametrize(
    ("noted", "sizes"), [(b"3 22", [42]), (b"3 2", [22, 42])], ids=["the stage", "of another block"]
)
def test_a_long_way_to_catch_up_goes_on_from_its_last_stage_too(
    ledger: ProvenLedger, folder: Path, monkeypatch: pytest.MonkeyPatch, noted: bytes, sizes: list[int]
) -> None:
    grow(ledger, 1, 1)
    publish(ledger, folder)
    monkeypatch.setattr(mirror_files, "_STAGE_WIDTH", 10)
    grow(ledger, 20, 20)

    def fill_the_disk(size: int) -> None:
        if size == 42:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(CannotMake, match="make room"):
        publish(ledger, folder, fill_the_disk)
    assert read_whole(files_in(folder)).checkpoint.size == 2
    assert (folder / ".tallystick-stage").read_bytes() == b"3 22"
    (folder / ".tallystick-stage").write_bytes(noted)
    seen = list[int]()
    publish(ledger, folder, seen.append)
    assert seen == sizes
    read_whole(files_in(folder))


def test_a_file_that_was_cut_off_before_it_was_published_is_written_anew(ledger: ProvenLedger, folder: Path) -> None:
    """As after a power failure: a name may be there without its bytes."""
    grow(ledger, 300)
    folder.mkdir()
    (folder / ".tallystick-ledger").write_text(ledger.genesis.ledger_id.hex())
    for path in (tile_path(0, 0), Part(ENTRIES, 1, 44).path):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"")
    publish(ledger, folder)
    read_whole(files_in(folder))


@pytest.mark.parametrize(
    "path",
    [
        tile_path(0, 1, 44),
        tile_path(1, 0, 1),
        Part(ENTRIES, 1, 44).path,
        Part(IDS, 0, 300).path,
        "tallystick/headers/000.p/1",
        "tallystick/tile/0/000.p/1",
        state_path(300),
    ],
)
@pytest.mark.parametrize("is_lost", [True, False])
def test_a_mirror_whose_end_was_damaged_is_mended_by_the_next_run(
    ledger: ProvenLedger, folder: Path, path: str, is_lost: bool
) -> None:
    grow(ledger, 300)
    publish(ledger, folder)
    if is_lost:
        (folder / path).unlink()
    else:
        flip(folder / path)
    grow(ledger, 2)
    publish(ledger, folder)
    whole = read_whole(files_in(folder))
    assert index_of(files_in(folder), 302, ledger.block(1).certificates[299].id) == [299]
    assert whole.checkpoint.size == 302


@pytest.mark.parametrize("grown", [0, 2])
def test_no_byte_of_a_published_state_is_believed(ledger: ProvenLedger, folder: Path, grown: int) -> None:
    """What it says of the last block becomes an entry of the headers: a wrong one would stay there."""
    grow(ledger, 3)
    publish(ledger, folder)
    path = folder / state_path(3)
    state = state_codec.decode(path.read_bytes())
    grow(ledger, *[1] * grown)
    other = bytes(32)
    for damaged in (
        replace(state, log=replace(state.log, members_hash=other)),
        replace(state, header=replace(state.header, view=state.header.view + 1)),
        replace(state, header=replace(state.header, index=2)),
        replace(state, status=((other, b""),)),
    ):
        path.write_bytes(damaged.encoded)
        publish(ledger, folder)
        assert read_whole(files_in(folder)).checkpoint.size == 3 + grown
        assert grown or path.read_bytes() == state.encoded


# ---- what goes ------------------------------------------------------------------------------------------------------


def test_what_only_older_checkpoints_name_goes_when_nobody_can_need_it(
    ledger: ProvenLedger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in (3, 4, 260):
        grow(ledger, count)
        publish(ledger, folder)
    paths = {path for path in tree(folder) if ".p/" in path or "/state/" in path}
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + KEEP_PARTIAL_S - 10)
    publish(ledger, folder)
    assert {path for path in tree(folder) if ".p/" in path or "/state/" in path} == paths, "a reader may be at work"
    monkeypatch.setattr(time, "time", lambda: now_s + KEEP_PARTIAL_S + 10)
    publish(ledger, folder)
    left = tree(folder).keys()
    assert not any(path.startswith(("tile/0/000.p/", "tile/entries/000.p/")) for path in left)
    assert {path for path in left if "/ids/" in path} == {"tallystick/ids/000.p/267"}
    assert {path for path in left if "/state/" in path} == {state_path(size) for size in (3, 7, 267)}
    assert "tallystick/headers/000.p/1" in left, "a partial file stays until the full one is there"
    monkeypatch.setattr(time, "time", lambda: now_s + KEEP_STATE_S + 10)
    publish(ledger, folder)
    assert {path for path in tree(folder) if "/state/" in path} == {state_path(267)}
    read_whole(files_in(folder))
