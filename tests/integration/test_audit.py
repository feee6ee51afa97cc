"""`tallystick audit` of logs that other programs may have made: what it finds, keeps, and ends with."""

from errno import ENOSPC
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.integration.command_line import cli, in_json
from tests.tiled_log import TiledLog
from tests.working_copy import ROOT

from tallystick.client.auditing import LogAudit, log_of_key
from tallystick.client.mirror import FolderFiles, Mirror
from tallystick.host import seen_logs
from tallystick.host.own_files import TrustError, write_whole
from tallystick.host.seen_logs import MAX_SMALLER, SeenLog, SeenLogs, Smaller
from tallystick.ledger.checkpoint import parse_checkpoint
from tallystick.ledger.errors import Rule
from tallystick.ledger.note import make_note
from tallystick.ledger.tlog_conflict import parse_conflict
from tallystick.problems import ExitCode

VECTORS = ROOT / "tests" / "vectors" / "c2sp"
SEVERAL_TILES = 700


@pytest.fixture
def log() -> TiledLog:
    return TiledLog().grow(SEVERAL_TILES)


class Auditor:
    """Audits one mirror after the other, under one memory."""

    def __init__(self, folder: Path, log: TiledLog) -> None:
        self.folder, self.vkey = folder, log.key.text
        self.mirrors = 0

    def write(self, log: TiledLog) -> Path:
        self.mirrors += 1
        return log.write(self.folder / f"mirror-{self.mirrors}")

    def audit(self, mirror: Path | str, *more: str, expect: int = 0):
        args = ("audit", str(mirror), "--log", self.vkey, "--trust", str(self.folder / "trust"), *more)
        return in_json(*args, cwd=self.folder, expect=expect)

    @property
    def evidence(self) -> list[Path]:
        return sorted((self.folder / "trust").glob("conflicts/*/*.tlog-conflict"))


@pytest.fixture
def auditor(tmp_path: Path, log: TiledLog) -> Auditor:
    return Auditor(tmp_path, log)


def test_a_log_that_grows_is_audited_from_where_it_was_seen(auditor, log):
    mirror = auditor.write(log)
    first = auditor.audit(mirror)
    assert (first["size"], first["seen_before"], first["derived_since"]) == (SEVERAL_TILES, None, 0)
    again = auditor.audit(mirror)
    assert (again["seen_before"], again["entries"]) == (SEVERAL_TILES, 0)
    log.grow(1_300).write(mirror)
    grown = auditor.audit(mirror)
    assert (grown["seen_before"], grown["derived_since"], grown["entries"]) == (SEVERAL_TILES, SEVERAL_TILES, 600)
    assert auditor.audit(mirror, "--all")["entries"] == 1_300
    assert grown["root"] == log.root().hex()


def test_what_it_says_to_people(auditor, log):
    mirror, where = auditor.write(log), ("--trust", str(auditor.folder / "trust"))
    said = cli("audit", str(mirror), "--log", auditor.vkey, *where, cwd=auditor.folder).stdout
    assert said.startswith("✓ log.example/one: 700 entries; 700 entries derived again")
    assert "for the first time" in said
    assert "Nothing is new" in cli("audit", str(mirror), "--log", auditor.vkey, *where, cwd=auditor.folder).stdout
    assert not cli("audit", str(mirror), "--log", auditor.vkey, *where, "--quiet", cwd=auditor.folder).output


def test_the_log_of_others_is_audited(tmp_path):
    """Made by golang.org/x/mod/sumdb and torchwood."""
    vkey, trust = (VECTORS / "log.vkey").read_text().strip(), ("--trust", "trust")
    for name, size in (("log-1", 1), ("log-5", 5)):
        told = in_json("audit", str(VECTORS / name), "--log", vkey, *trust, cwd=tmp_path)
        assert (told["origin"], told["size"]) == ("vectors.tallystick.example/log", size)
    policy = str(VECTORS / "policy-3of4.txt")
    assert in_json("audit", str(VECTORS / "log-5"), "--policy", policy, *trust, cwd=tmp_path)["seen_before"] == 5
    cli("audit", str(VECTORS / "log-1"), "--log", vkey, *trust, cwd=tmp_path, expect=ExitCode.OLDER)


@pytest.mark.parametrize(("forked_at", "until"), [(300, SEVERAL_TILES), (0, SEVERAL_TILES), (699, 1_300), (5, 1_300)])
def test_a_fork_is_found_and_kept_as_evidence_that_anybody_judges(auditor, log, forked_at, until):
    honest = auditor.write(log)
    auditor.audit(honest)
    fork = auditor.write(log.fork(forked_at).grow(until, "other"))
    told = auditor.audit(fork, expect=ExitCode.OTHER_HISTORY)
    assert told["code"] == "other-history"
    (path,) = auditor.evidence
    assert str(path) in told["detail"]
    conflict = parse_conflict(path.read_bytes())
    conflict.check()
    assert conflict.signers([log.key]) == {log.wallet.public_key}
    auditor.audit(fork, expect=ExitCode.OTHER_HISTORY)
    assert auditor.evidence == [path]
    assert auditor.audit(honest)["entries"] == 0  # what was seen stays


@pytest.mark.parametrize("until", [SEVERAL_TILES, 1_300], ids=["of the size that was seen", "grown"])
def test_a_fork_that_is_smaller_is_convicted_by_the_next_larger_log(auditor, log, until):
    honest = auditor.write(log)
    auditor.audit(honest)
    forks = [log.fork(300).grow(size, "other") for size in (650, 640)]
    for smaller in (*forks, log.fork(600)):  # an honest old copy, too
        assert "or it is a fork" in auditor.audit(auditor.write(smaller), expect=ExitCode.OLDER)["detail"]
    assert auditor.evidence == []
    log.grow(until).write(honest)
    auditor.audit(honest, expect=ExitCode.OTHER_HISTORY)
    conflicts = [parse_conflict(path.read_bytes()) for path in auditor.evidence]
    for conflict in conflicts:
        conflict.check()
        assert conflict.signers([log.key]) == {log.wallet.public_key}
    assert sorted(conflict.checkpoints[0].size for conflict in conflicts) == [640, 650]
    assert {conflict.checkpoints[1].size for conflict in conflicts} == {until}
    after = auditor.audit(honest)  # its evidence is kept: what is new is derived again, and no more is told of it
    assert (after["seen_before"], after["entries"]) == (SEVERAL_TILES, until - SEVERAL_TILES)
    assert len(auditor.evidence) == 2


def test_what_is_found_is_told_though_nothing_can_be_written(auditor, log, monkeypatch):
    honest = auditor.write(log)
    auditor.audit(honest)
    larger, smaller = (auditor.write(log.fork(300).grow(size, "other")) for size in (900, 650))
    before = SeenLogs(auditor.folder / "trust").get(log.key.name)

    def is_full(path: Path, data: bytes, but: str = "") -> None:
        if path.suffix == but:
            return write_whole(path, data)
        raise OSError(ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(seen_logs, "write_whole", is_full)
        for fork, code in ((larger, ExitCode.OTHER_HISTORY), (smaller, ExitCode.OLDER)):
            told = auditor.audit(fork, expect=code)["detail"]
            assert "not kept, as" in told
            assert "No space left" in told
    assert auditor.evidence == []
    assert SeenLogs(auditor.folder / "trust").get(log.key.name) == before
    auditor.audit(smaller, expect=ExitCode.OLDER)
    with monkeypatch.context() as full:
        full.setattr(seen_logs, "write_whole", partial(is_full, but=".json"))
        auditor.audit(honest, expect=ExitCode.OTHER_HISTORY)
    auditor.audit(honest, expect=ExitCode.OTHER_HISTORY)  # it is not forgotten before its evidence is kept
    assert len(auditor.evidence) == 1
    auditor.audit(honest)


@pytest.mark.parametrize("size", [1, 256, 650])
def test_a_smaller_fork_beside_the_tiles_of_what_was_seen_is_convicted_at_once(auditor, log, size):
    """A log that was rolled back, and signed anew, by who left the tiles of the larger one."""
    mirror = auditor.write(log)
    auditor.audit(mirror)
    (mirror / "checkpoint").write_text(log.fork(size - 1).grow(size, "other").note().encoded)
    auditor.audit(mirror, expect=ExitCode.OTHER_HISTORY)
    (path,) = auditor.evidence
    conflict = parse_conflict(path.read_bytes())
    conflict.check()
    assert [one.size for one in conflict.checkpoints] == [size, SEVERAL_TILES]
    assert SeenLogs(auditor.folder / "trust").get(log.key.name).smaller == ()
    (mirror / "checkpoint").write_text(log.note(size).encoded)
    auditor.audit(mirror, expect=ExitCode.OLDER)
    assert auditor.evidence == [path]


@pytest.mark.parametrize("answer", ["elsewhere", "compressed"])
def test_a_server_that_answers_for_tiles_that_it_lacks_hides_no_smaller_log(auditor, log, answer):
    """Many hosts have a page of their own, or send to one, for what is not there."""
    auditor.audit(auditor.write(log))
    copy = auditor.write(TiledLog().grow(300))

    class Handler(SimpleHTTPRequestHandler):
        def send_error(self, *_: Any, **__: Any) -> None:
            self.send_response(HTTPStatus.FOUND if answer == "elsewhere" else HTTPStatus.OK)
            self.send_header(*(("Location", "/sorry") if answer == "elsewhere" else ("Content-Encoding", "br")))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(copy))) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        try:
            told = auditor.audit(f"http://127.0.0.1:{server.server_port}", expect=ExitCode.OLDER)
        finally:
            server.shutdown()
            serving.join()
    assert "700 were seen" in told["detail"]
    assert SeenLogs(auditor.folder / "trust").get(log.key.name).smaller


def test_honest_old_copies_are_forgotten_when_a_larger_log_holds_them(auditor, log):
    honest = auditor.write(log)
    auditor.audit(honest)
    for size in range(1, MAX_SMALLER + 3):
        auditor.audit(auditor.write(log.fork(size)), expect=ExitCode.OLDER)
    seen = SeenLogs(auditor.folder / "trust")
    sizes = [parse_checkpoint(one.note.text).size for one in seen.get(log.key.name).smaller]
    assert sizes == list(range(3, MAX_SMALLER + 3))
    assert auditor.audit(honest)["entries"] == 0
    assert seen.get(log.key.name).smaller == ()


def test_an_empty_log_goes_on_to_any(auditor, log):
    """One that is signed with another root than an empty log has is no part of any, and hinders no later audit."""
    empty, mirror = auditor.write(log.fork(0)), auditor.write(log)
    assert auditor.audit(empty)["entries"] == 0
    assert auditor.audit(mirror)["seen_before"] == 0
    auditor.audit(empty, expect=ExitCode.OLDER)
    text = log.checkpoint(0)._replace(root=bytes(32)).text
    signed = make_note(text, [log.key.signature(log.wallet.sign_note(text.encode()))])
    (empty / "checkpoint").write_text(signed.encoded)
    assert "empty log" in auditor.audit(empty, expect=ExitCode.DAMAGED)["detail"]
    auditor.audit(mirror)
    assert not auditor.evidence


def test_what_goes_while_a_newer_checkpoint_is_published_is_read_anew(auditor, log):
    auditor.audit(auditor.write(log.fork(300)))
    older = [log.note(650).encoded.encode()]

    class Published(FolderFiles):
        """A mirror that has a newer checkpoint the second time: the tiles of the older one are gone."""

        def read(self, wanted):
            if older and wanted[0][0] == "checkpoint":
                return [older.pop()]
            return super().read(wanted)

    with Mirror(Published(auditor.write(log))) as mirror:
        found = LogAudit(mirror, log_of_key(log.key), SeenLogs(auditor.folder / "trust"))
    assert (older, found.checkpoint.size) == ([], SEVERAL_TILES)


def test_an_older_copy_is_no_news(auditor, log):
    mirror = auditor.write(TiledLog().grow(1_300))
    auditor.audit(mirror)
    told = auditor.audit(auditor.write(log), expect=ExitCode.OLDER)
    assert "1,300 were seen" in told["detail"]
    assert auditor.audit(mirror)["seen_before"] == 1_300


def test_a_checkpoint_that_is_not_signed_by_the_log_counts_for_nothing(auditor, log):
    mirror = auditor.write(log)
    stranger = TiledLog(seed=bytes([7]) * 32)
    (mirror / "checkpoint").write_text(log.note(signed_by=stranger).encoded)
    told = auditor.audit(mirror, expect=ExitCode.NOT_PROVEN)
    assert Rule.P7.name in told["detail"]
    (mirror / "checkpoint").write_text(make_note(log.checkpoint().text, [log.key.signature(bytes(64))]).encoded)
    auditor.audit(mirror, expect=ExitCode.NOT_PROVEN)
    assert not (auditor.folder / "trust" / "logs").exists()


def test_the_checkpoint_of_another_log_is_not_taken(auditor):
    told = auditor.audit(auditor.write(TiledLog("log.example/0ne").grow(3)), expect=ExitCode.NOT_TRUSTED)
    assert "log.example/0ne" in told["detail"]


DAMAGES = {
    "an entry": ("tile/entries/001", lambda data: data[:2] + b"X" + data[3:]),
    "an entry's length": ("tile/entries/001", lambda data: b"\xff" + data[1:]),
    "the last entries": ("tile/entries/002.p/188", lambda data: data + b"\x00\x01x"),
    "a hash": ("tile/0/001", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    "a tile cut off": ("tile/0/000", lambda data: data[:-32]),
    "a hash above": ("tile/1/000.p/2", lambda data: bytes(32) + data[32:]),
    "the last tile": ("tile/0/002.p/188", lambda data: data[:-32] + bytes(32)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_mirror_is_named_and_nothing_is_kept(auditor, log, damage):
    name, change = DAMAGES[damage]
    mirror = auditor.write(log)
    path = mirror / name
    path.write_bytes(change(path.read_bytes()))
    told = auditor.audit(mirror, expect=ExitCode.DAMAGED)
    assert "tile/" in told["detail"] or "root" in told["detail"]
    assert not (auditor.folder / "trust" / "logs").exists()


def test_tiles_that_do_not_lead_from_what_was_seen_are_damaged_and_no_evidence(auditor, log):
    auditor.audit(auditor.write(log))
    mirror = auditor.write(log.grow(1_300))
    path = mirror / "tile" / "1" / "000.p" / "5"
    path.write_bytes(bytes(32) + path.read_bytes()[32:])
    auditor.audit(mirror, expect=ExitCode.DAMAGED)
    assert not auditor.evidence


def test_a_whole_mirror_of_another_history_than_was_signed_is_damaged(auditor, log):
    """Its tiles are those of its entries; only the signed root is of others."""
    mirror = auditor.write(log.fork(5).grow(SEVERAL_TILES, "other"))
    (mirror / "checkpoint").write_text(log.note().encoded)
    assert "does not lead to the root" in auditor.audit(mirror, expect=ExitCode.DAMAGED)["detail"]


def test_of_two_audits_at_the_same_time_none_takes_the_other_back(tmp_path, log):
    logs, name = SeenLogs(tmp_path / "trust"), log.key.name
    first, second = (SeenLog(name, log.note(size).encoded, 0) for size in (300, 700))
    logs.keep(second, None)
    with pytest.raises(TrustError, match="run this one again") as meanwhile:
        logs.keep(first, None)
    assert meanwhile.value.exit_code == ExitCode.NOT_IN_TIME
    assert logs.get(name) == second
    logs.keep(second, second)
    compared, later = (Smaller(log.note(size).encoded) for size in (5, 6))
    for one in (compared, compared):
        logs.keep_smaller(name, one)
    before = logs.get(name)
    assert before.smaller == (compared,)
    logs.keep_smaller(name, later)  # by another audit, of another source, meanwhile
    logs.keep(second, before)
    assert logs.get(name).smaller == (later,)
    logs.forget_smaller(name, later)
    assert logs.get(name) == second


def test_a_file_that_is_missing_is_told(auditor, log):
    mirror = auditor.write(log)
    (mirror / "tile" / "entries" / "001").unlink()
    assert "tile/entries/001" in auditor.audit(mirror, expect=ExitCode.DAMAGED)["detail"]


def test_a_folder_that_others_may_change_is_not_wrong_usage(auditor, log):
    (auditor.folder / "trust").mkdir(mode=0o700)
    (auditor.folder / "trust").chmod(0o777)
    told = auditor.audit(auditor.write(log), expect=ExitCode.NOT_TRUSTED)
    assert "may be changed by others" in told["detail"]


def test_a_source_that_nobody_serves(auditor):
    for url in ("http://127.0.0.1:9", "http://127.0.0.1:9/mirror/"):
        assert auditor.audit(Path("x"), expect=2)["detail"]
        args = ("audit", url, "--log", auditor.vkey, "--trust", "trust")
        cli(*args, cwd=auditor.folder, expect=ExitCode.NOT_RUNNING)


def test_what_was_seen_is_not_guessed_from_a_damaged_file(auditor, log):
    mirror = auditor.write(log)
    auditor.audit(mirror)
    (path,) = (auditor.folder / "trust" / "logs").iterdir()
    good = path.read_bytes()
    path.write_bytes(good.replace(b"700", b"100"))
    assert "is damaged" in auditor.audit(mirror, expect=ExitCode.DAMAGED)["detail"]
    logs, other = SeenLogs(auditor.folder / "trust"), TiledLog("log.example/two").grow(3)
    logs.keep(SeenLog(other.key.name, other.note().encoded, 0), None)
    (others,) = (one for one in path.parent.iterdir() if one != path)
    path.write_bytes(others.read_bytes())
    assert "is damaged" in auditor.audit(mirror, expect=ExitCode.DAMAGED)["detail"]
    path.write_bytes(good)
    auditor.audit(mirror)


def test_it_has_to_be_said_whose_log_it_is(auditor, log):
    mirror = auditor.write(log)
    cli("audit", str(mirror), "--trust", "trust", cwd=auditor.folder, expect=ExitCode.NOT_TRUSTED)
    cli("audit", str(mirror), "--log", auditor.vkey, "--ledger", "x", cwd=auditor.folder, expect=2)
    cli("audit", str(mirror), "--log", "x", "--trust", "trust", cwd=auditor.folder, expect=6)


# ---- the evidence, judged ---------------------------------------------------------------------------------------


@pytest.fixture
def evidence(auditor: Auditor, log: TiledLog) -> Path:
    auditor.audit(auditor.write(log))
    auditor.audit(auditor.write(log.fork(300).grow(1_300, "other")), expect=ExitCode.OTHER_HISTORY)
    return auditor.evidence[0]


def test_evidence_is_judged_offline_by_a_policy_or_by_the_keys_in_it(tmp_path, evidence, log):
    told = in_json("verify", str(evidence), "--trust", "nothing", cwd=tmp_path, expect=ExitCode.NOT_TRUSTED)
    assert (told["trusted"], told["signers"]) == (False, [log.wallet.public_key.hex()])
    (tmp_path / "policy").write_text(f"log {log.key.text}\nquorum none\n")
    told = in_json("verify", str(evidence), "--policy", "policy", cwd=tmp_path)
    assert (told["trusted"], told["sizes"]) == (True, [700, 1_300])
    assert told["roots"][0] == log.root().hex() != told["other_root"]
    said = cli("verify", str(evidence), "--policy", "policy", cwd=tmp_path).stdout
    assert "has two histories" in said
    assert log.wallet.public_key.hex() in said


def test_evidence_that_shows_nothing_is_refused(tmp_path, evidence, log):
    path, good = tmp_path / "x.tlog-conflict", evidence.read_text()
    for changed, code in (
        (good.replace("\nroot ", "\nroot A"), ExitCode.NO_PROOF),
        (good.replace("@v1", "@v9"), ExitCode.NO_PROOF),
        (good.replace("\n700\n", "\n699\n"), ExitCode.NOT_PROVEN),
    ):
        path.write_text(changed)
        cli("verify", str(path), cwd=tmp_path, expect=code)
    stranger = TiledLog(seed=bytes([9]) * 32)
    (tmp_path / "policy").write_text(f"log {stranger.key.text}\nquorum none\n")
    told = in_json("verify", str(evidence), "--policy", "policy", cwd=tmp_path, expect=ExitCode.NOT_PROVEN)
    assert Rule.A3.name in told["detail"]
    cli("verify", str(evidence), str(evidence), cwd=tmp_path, expect=2)
    cli("verify", "none.tlog-conflict", cwd=tmp_path, expect=2)
