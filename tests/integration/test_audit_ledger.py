"""`tallystick audit` of a ledger: members are followed, every header and state root is derived, forks are told."""

from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.integration.command_line import cli, in_json
from tests.integration.test_proving import NAMES, replaced
from tests.mirrors import mirror_files
from tests.proving import ProvenLedger, short_epochs

from tallystick.client import rederiving
from tallystick.host.seen_logs import SeenLogs
from tallystick.host.trust import TrustedLedger, TrustStore
from tallystick.ledger.checkpoint import log_key
from tallystick.ledger.errors import Rule
from tallystick.ledger.note import KeyType
from tallystick.ledger.tlog_conflict import parse_conflict
from tallystick.problems import ExitCode
from tallystick.storage.mirror import HEADERS, IDS, bundle, header_codec, items_in, part_with

GENESIS = short_epochs(4)


class Mirrored:
    """A ledger, whose mirror is written anew at each checkpoint."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(exist_ok=True)
        self.ledger = ProvenLedger(folder / f"{name}.db", GENESIS)
        self.folder, self.sent = folder / name, 0

    def forge(self, count: int, by: str = "ada", each: int = 3) -> "Mirrored":
        for _ in range(count):
            made = [self.ledger.scribe.statement(by, subject=f"{self.sent + n}") for n in range(each)]
            self.ledger.forge(*made)
            self.sent += each
        return self

    def write(self, *names: str) -> Path:
        for path, data in mirror_files(self.ledger, self.ledger.countersigned(*names)).items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return self.folder


@pytest.fixture
def mirrored(tmp_path: Path) -> Mirrored:
    return Mirrored(tmp_path, "honest").forge(9)


def audit(folder: Path, mirror: Path, *more: str, expect: int = 0):
    args = ("audit", str(mirror), "--ledger", GENESIS.ledger_id.hex(), "--trust", "trust", *more)
    return in_json(*args, cwd=folder, expect=expect)


def test_a_ledger_that_grows_is_audited_block_by_block(tmp_path, mirrored):
    first = audit(tmp_path, mirrored.write())
    assert (first["size"], first["blocks"], first["seen_before"]) == (27, 10, None)
    assert audit(tmp_path, mirrored.folder)["blocks"] == 0
    mirrored.forge(120)
    grown = audit(tmp_path, mirrored.write())
    assert (grown["seen_before"], grown["entries"], grown["blocks"]) == (27, 360, 120)
    again = audit(tmp_path, mirrored.folder, "--all")
    assert (again["entries"], again["blocks"]) == (387, 130)


def test_a_ledger_that_was_audited_as_a_log_alone_is_derived_from_where_it_was(tmp_path, mirrored):
    """The log's audit has no anchor: that of the ledger's stays, and without any all is derived."""
    vkey = log_key(GENESIS.origin, GENESIS.stakes().members[0][0]).text
    as_log = ("audit", str(mirrored.write()), "--log", vkey, "--trust", "trust")
    in_json(*as_log, cwd=tmp_path)
    first = audit(tmp_path, mirrored.folder)
    assert (first["derived_since"], first["seen_before"], first["blocks"]) == (0, 27, 10)
    mirrored.forge(2).write()
    assert in_json(*as_log, cwd=tmp_path)["derived_since"] == 27
    mirrored.forge(1).write()
    grown = audit(tmp_path, mirrored.folder)
    assert (grown["derived_since"], grown["seen_before"], grown["blocks"]) == (27, 33, 3)


def test_a_smaller_fork_of_the_members_is_convicted_by_the_next_audit(tmp_path, mirrored):
    audit(tmp_path, mirrored.write())
    fork = Mirrored(tmp_path / "x", "fork").forge(5).forge(2, "ben")
    audit(tmp_path, fork.write(), expect=ExitCode.OLDER)
    audit(tmp_path, mirrored.folder, expect=ExitCode.OTHER_HISTORY)
    (path,) = (tmp_path / "trust").glob("conflicts/*/*.tlog-conflict")
    judged = in_json("verify", str(path), "--ledger", GENESIS.ledger_id.hex(), "--trust", "trust", cwd=tmp_path)
    assert (judged["trusted"], len(judged["signers"])) == (True, 4)
    assert {key.type for key in parse_conflict(path.read_bytes()).keys} == {KeyType.LOG, KeyType.COSIGNATURE}
    assert audit(tmp_path, mirrored.folder)["entries"] == 0
    other = parse_conflict(path.read_bytes())._replace(genesis=short_epochs(2).encoded)
    (tmp_path / "other.tlog-conflict").write_text(other.encoded)
    said = in_json("verify", "other.tlog-conflict", "--trust", "trust", cwd=tmp_path, expect=ExitCode.NO_PROOF)
    assert "another ledger's" in said["detail"]


def test_a_mirror_in_the_name_of_another_ledger_is_another_log(tmp_path, mirrored):
    """Its checkpoint says to be of the ledger, and what stands beside it is of another genesis."""
    path, other = mirrored.write() / "checkpoint", "ab" * 32
    path.write_text(path.read_text().replace(GENESIS.ledger_id.hex(), other))
    args = ("audit", str(mirrored.folder), "--ledger", other, "--trust", "trust")
    assert Rule.P3.name in in_json(*args, cwd=tmp_path, expect=ExitCode.NOT_TRUSTED)["detail"]


def test_evidence_is_of_one_ledger_alone(tmp_path, mirrored):
    audit(tmp_path, mirrored.write())
    fork = Mirrored(tmp_path / "x", "fork").forge(9, "ben")
    audit(tmp_path, fork.write(), expect=ExitCode.OTHER_HISTORY)
    (path,) = (tmp_path / "trust").glob("conflicts/*/*.tlog-conflict")
    told = in_json("verify", str(path), "--ledger", "ab" * 32, cwd=tmp_path, expect=ExitCode.NOT_TRUSTED)
    assert (told["trusted"], len(told["signers"])) == (False, 4)


def test_a_trusted_ledger_needs_no_name(tmp_path, mirrored):
    cli("trust", "add", GENESIS.ledger_id.hex(), "--name", "ours", "--trust", "trust", cwd=tmp_path)
    assert in_json("audit", str(mirrored.write()), "--trust", "trust", cwd=tmp_path)["size"] == 27
    other = in_json("audit", str(mirrored.folder), "--ledger", "00" * 32, "--trust", "trust", cwd=tmp_path, expect=10)
    assert GENESIS.ledger_id.hex() in other["detail"]


def test_a_checkpoint_that_too_few_countersigned_is_not_taken(tmp_path, mirrored):
    checkpoint = mirrored.write("ada", "ben", "cy") / "checkpoint"
    checkpoint.write_text(checkpoint.read_text().rpartition("\n— ")[0] + "\n")
    told = audit(tmp_path, mirrored.folder, expect=ExitCode.NOT_PROVEN)
    assert f"[{Rule.P7.name}] stake that countersigned: more than 2/3 of 40 expected, 20 found" in told["detail"]


@pytest.mark.parametrize("more", [0, 5], ids=["of one size", "grown"])
def test_a_fork_of_the_members_is_kept_and_judged_by_their_stake(tmp_path, mirrored, more):
    audit(tmp_path, mirrored.write())
    fork = Mirrored(tmp_path / "x", "fork").forge(5).forge(4 + more, "ben")
    told = audit(tmp_path, fork.write("ada", "ben", "cy"), expect=ExitCode.OTHER_HISTORY)
    (path,) = (tmp_path / "trust").glob("conflicts/*/*.tlog-conflict")
    assert path.name in told["detail"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    untrusted = in_json("verify", str(path), cwd=elsewhere, expect=ExitCode.NOT_TRUSTED)
    assert len(untrusted["signers"]) == 3
    judged = in_json("verify", str(path), "--ledger", GENESIS.ledger_id.hex(), cwd=elsewhere)
    assert (judged["trusted"], judged["epoch"], judged["stake"], judged["total_stake"]) == (True, 0, 30, 40)
    assert len(judged["signers"]) == 3
    said = cli("verify", str(path), "--ledger", GENESIS.ledger_id.hex(), cwd=elsewhere).stdout
    assert "30 of 40 staked" in said
    assert "more than 1/3" in said
    assert audit(tmp_path, mirrored.folder)["entries"] == 0


def test_what_an_audit_keeps_is_told_by_trust(tmp_path, mirrored):
    """Trusted by its id alone: its genesis, and with it the log's name, was not seen by the trust folder yet."""
    for ledger_id, name in ((GENESIS.ledger_id.hex(), "ours"), ("ab" * 32, "other")):
        cli("trust", "add", ledger_id, "--name", name, "--trust", "trust", cwd=tmp_path)
    audit(tmp_path, mirrored.write())
    assert "conflict" not in cli("trust", "list", "--trust", "trust", cwd=tmp_path).stdout
    fork = Mirrored(tmp_path / "x", "fork").forge(9, "ben")
    audit(tmp_path, fork.write("ada", "ben", "cy"), expect=ExitCode.OTHER_HISTORY)
    (path,) = (tmp_path / "trust").glob("conflicts/*/*.tlog-conflict")
    told = in_json("trust", "list", "--trust", "trust", cwd=tmp_path)["ledgers"]
    kept = {one["name"]: [Path(path).name for path in one["conflicting_checkpoints"]] for one in told}
    assert kept == {"ours": [path.name], "other": []}
    assert "! 1 conflict" in cli("trust", "list", "--trust", "trust", cwd=tmp_path).stdout
    shown = cli("trust", "show", "ours", "--trust", "trust", cwd=tmp_path).stdout
    assert (
        f"an audit kept two checkpoints of its log that conflict: tallystick verify trust/{path.parent.parent.name}"
        in shown
    )
    cli("trust", "remove", "ours", "--yes", "--trust", "trust", cwd=tmp_path)
    added = cli("trust", "add", GENESIS.ledger_id.hex(), "--name", "ours", "--trust", "trust", cwd=tmp_path)
    assert "1 conflict" in added.output


def test_a_history_that_proofs_contradict_is_not_taken_though_it_is_seen_for_the_first_time(tmp_path, mirrored):
    """What was verified by proofs is kept as anchors: here that of the honest checkpoint's block."""
    audit(tmp_path, mirrored.write())
    seen = SeenLogs(tmp_path / "trust").get(GENESIS.origin)
    assert seen is not None
    assert seen.anchor is not None
    store = TrustStore(tmp_path / "other")
    store.add(TrustedLedger("ours", GENESIS.ledger_id, 0, "a test", None, (seen.anchor,)))
    fork = Mirrored(tmp_path / "x", "fork").forge(9, "ben").write()
    args = ("audit", str(fork), "--ledger", "ours", "--trust", "other")
    told = in_json(*args, cwd=tmp_path, expect=ExitCode.OTHER_HISTORY)
    assert "another history than the proofs that were verified here" in told["detail"]
    assert not (tmp_path / "other" / "logs").exists()
    args = ("audit", str(mirrored.folder), "--ledger", "ours", "--trust", "other")
    assert in_json(*args, cwd=tmp_path)["size"] == 27


def test_members_who_joined_later_are_known_by_what_was_audited_and_not_by_the_genesis(tmp_path):
    """All founders' keys were replaced before the two histories part."""
    honest, fork = Mirrored(tmp_path, "honest"), Mirrored(tmp_path / "x", "fork")
    for one in (honest, fork):
        one.forge(1)
        for name in NAMES:
            replaced(one.ledger, name, f"{name}-2")
    audit(tmp_path, honest.forge(2, "ada-2").write())
    audit(tmp_path, fork.forge(3, "ben-2").write(), expect=ExitCode.OTHER_HISTORY)
    (path,) = (tmp_path / "trust").glob("conflicts/*/*.tlog-conflict")
    args = ("verify", str(path), "--ledger", GENESIS.ledger_id.hex(), "--trust")
    by_genesis = in_json(*args, "elsewhere", cwd=tmp_path, expect=ExitCode.NOT_TRUSTED)
    assert (by_genesis["stake"], len(by_genesis["signers"])) == (0, 4)
    audited = in_json(*args, "trust", cwd=tmp_path)
    assert (audited["trusted"], audited["stake"], audited["total_stake"]) == (True, 40, 40)
    assert audited["epoch"] > 0


def test_an_older_copy_of_a_ledger(tmp_path, mirrored):
    old = mirrored.write()
    copy = tmp_path / "copy"
    old.rename(copy)
    mirrored.forge(3)
    audit(tmp_path, mirrored.write())
    audit(tmp_path, copy, expect=ExitCode.OLDER)


def files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.rglob("*") if one.is_file())


def test_no_changed_byte_of_a_mirror_passes(tmp_path, mirrored):
    """Of each file, in the middle: every one is looked at, but for the tries, which an audit does not need."""
    mirrored.write()
    for path in files(mirrored.folder):
        good = path.read_bytes()
        at = len(good) // 2 if "state" not in str(path) else 200
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(AssertionError, match=r"exit_code.*: (2|7|10|12),"):
            audit(tmp_path, mirrored.folder)
        path.write_bytes(good)
        assert not (tmp_path / "trust" / "logs").exists(), path
    audit(tmp_path, mirrored.folder)


def test_rows_of_ids_stand_in_order(tmp_path, mirrored):
    """All of them, and the right ones: whoever searches them by halves would find none."""
    path = mirrored.write() / "tallystick" / "ids" / "000.p" / "27"
    rows = items_in(part_with(IDS, 0, 27), path.read_bytes())
    path.write_bytes(b"".join([rows[1], rows[0], *rows[2:]]))
    assert "other ids" in audit(tmp_path, mirrored.folder, expect=ExitCode.DAMAGED)["detail"]


def test_a_missing_file_of_a_ledger_is_damage(tmp_path, mirrored):
    mirrored.write()
    for path in files(mirrored.folder):
        if path.name != "checkpoint":
            path.rename(tmp_path / "aside")
            told = audit(tmp_path, mirrored.folder, expect=ExitCode.DAMAGED)
            assert path.relative_to(mirrored.folder).as_posix() in told["detail"]
            (tmp_path / "aside").rename(path)


def test_ids_of_other_certificates_are_damage(tmp_path, mirrored):
    path = mirrored.write() / "tallystick" / "ids" / "000.p" / "27"
    rows = items_in(part_with(IDS, 0, 27), path.read_bytes())
    path.write_bytes(b"".join([*rows[:-1], b"\xff" * 8 + rows[-1][8:]]))
    assert "other ids" in audit(tmp_path, mirrored.folder, expect=ExitCode.DAMAGED)["detail"]


@pytest.mark.parametrize("log_size", [0, 28, 2**53 - 1])
def test_a_block_that_says_to_have_what_no_block_can_have_is_damage(tmp_path, mirrored, log_size, monkeypatch):
    """Before any entry of it is read."""
    path = mirrored.write() / "tallystick" / "headers" / "000.p" / "9"
    headers = [header_codec.decode(one) for one in items_in(part_with(HEADERS, 0, 9), path.read_bytes())]
    path.write_bytes(
        bundle(
            [one.encoded for one in [*headers[:4], replace(headers[4], log_size=log_size)]]
            + [one.encoded for one in headers[5:]]
        )
    )
    told = audit(tmp_path, mirrored.folder, expect=ExitCode.DAMAGED)
    assert "block 4 is said to have" in told["detail"]
    path.write_bytes(bundle([one.encoded for one in headers]))
    monkeypatch.setattr(rederiving, "MAX_BLOCK_CERTIFICATES", 2)
    told = audit(tmp_path, mirrored.folder, expect=ExitCode.DAMAGED)
    assert "block 1 is said to have 3 certificates" in told["detail"]


def test_a_members_hash_that_does_not_lead_to_the_state_root_is_damage(tmp_path, mirrored):
    """It stands in no header: only the state root tells."""
    path = mirrored.write() / "tallystick" / "headers" / "000.p" / "9"
    headers = [header_codec.decode(one) for one in items_in(part_with(HEADERS, 0, 9), path.read_bytes())]
    for number in (0, 4, 8):
        changed = [*headers[:number], replace(headers[number], members_hash=bytes(32)), *headers[number + 1 :]]
        path.write_bytes(bundle([one.encoded for one in changed]))
        told = audit(tmp_path, mirrored.folder, expect=ExitCode.DAMAGED)
        assert f"state root of block {number}" in told["detail"]


def test_a_header_that_covers_other_certificates_is_told_as_what_members_signed(tmp_path, mirrored, monkeypatch):
    mirrored.write()
    monkeypatch.setattr(rederiving, "digest", lambda data: bytes(32))
    told = audit(tmp_path, mirrored.folder, expect=ExitCode.NOT_PROVEN)
    assert f"[{Rule.B7.name}] the header of block 0 covers other certificates" in told["detail"]


def test_what_members_signed_though_its_issuer_did_not_is_told_as_such(tmp_path, mirrored, monkeypatch):
    """The mirror is sound, and so are the signatures of the members: it is not the mirror that is to blame."""
    mirrored.write()
    monkeypatch.setattr(rederiving, "is_signed", lambda message, signature, key: False)
    told = audit(tmp_path, mirrored.folder, expect=ExitCode.NOT_PROVEN)
    assert told["code"] == "illegal-record"
    assert "certificate 0 of the log: [C1]" in told["detail"]
