"""`tallystick prove` and `policy`, and the proofs that `certify` writes: with a node, and without."""

import csv
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.command_line import cli, in_json
from tests.integration.network import NodeProcess, running_network, wait_for
from tests.integration.test_proving import replaced
from tests.proving import ProvenLedger, short_epochs

from tallystick.client.blocking import Client
from tallystick.client.made_proofs import ProofJudge
from tallystick.client.own_node import OwnNode
from tallystick.client.proof_files import MEMBERS, PAYLOAD, PROOF, TIME_STAMP, read_proof
from tallystick.client.proof_writing import certificate_in, write_proof
from tallystick.host.clock import now_ms
from tallystick.host.trust import TrustStore
from tallystick.ledger.tlog_policy import parse_policy
from tallystick.problems import CannotMake, DamagedStore, UnreadableFile
from tallystick.proof.verify import Demand, Verdict, verify
from tallystick.storage import making
from tallystick.storage.making import ProofFiles


@pytest.fixture(scope="module")
def node() -> Iterator[NodeProcess]:
    """A ledger's only node, running."""
    with running_network(1) as net:
        yield net.nodes[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file that nobody has certified."""
    (tmp_path / "report.txt").write_bytes(b"The bridge is sound.\n" + str(tmp_path).encode())
    return tmp_path


class User:
    """Who calls commands in a folder, with a node."""

    def __init__(self, node: NodeProcess, folder: Path) -> None:
        self.node, self.folder = node, folder
        with Client(node.folder.path) as client:
            self.ledger_id = client.ledger_id

    def json(self, command: str, *args: str, expect: int = 0, **more: Any) -> Any:
        return in_json(command, *args, "--data", str(self.node.folder.path), cwd=self.folder, expect=expect, **more)

    def said(self, command: str, *args: str, expect: int = 0) -> str:
        return cli(command, *args, "--data", str(self.node.folder.path), cwd=self.folder, expect=expect).output

    def certify(self, *args: str, expect: int = 0) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = self.json("certify", *args, expect=expect)["results"]
        return results

    def verdict(self, proof: str) -> Verdict:
        """Of a proof in the folder."""
        return verify(read_proof(self.folder / proof).bundle, Demand(now_ms(), self.ledger_id))

    def proofs(self) -> list[str]:
        return sorted(str(one.relative_to(self.folder)) for one in self.folder.rglob(f"*{PROOF}"))


@pytest.fixture
def user(node: NodeProcess, folder: Path) -> User:
    return User(node, folder)


# ---- certify --------------------------------------------------------------------------------------------------------


def test_certify_writes_a_proof_beside_the_file(user: User) -> None:
    (one,) = user.certify("report.txt")
    assert one["proof"] == f"report.txt{PROOF}"
    found = user.verdict(one["proof"])
    assert found.certificate.id.hex() == one["outcome"]["id"]
    assert found.document is not None
    assert found.document.name == "report.txt"
    said = user.said("certify", "report.txt")
    assert f"proof        report.txt{PROOF}" in said
    ledger_id = user.ledger_id.hex()
    assert (
        f"Whoever trusts the ledger {ledger_id} can verify it, offline: "
        f"tallystick verify report.txt --ledger {ledger_id}\n"
    ) in said
    cli("verify", "report.txt", "--ledger", ledger_id, cwd=user.folder)


def test_certify_writes_no_proof_if_none_is_wanted_or_nothing_is_final_yet(user: User) -> None:
    for args in (["--no-proof"], ["--no-wait"]):
        (one,) = user.certify("--subject", f"said {args}", *args)
        assert one["proof"] is None
    assert user.proofs() == []
    assert "--proofs-to is for proofs" in user.said("certify", "report.txt", "--no-wait", "--proofs-to", "x", expect=2)


def test_a_statement_in_words_has_its_proof_where_certify_runs(user: User) -> None:
    (one,) = user.certify("--subject", f"said in {user.folder}")
    assert user.proofs() == [f"{one['outcome']['id']}{PROOF}"] == [one["proof"]]
    (other,) = user.certify("--subject", f"also {user.folder}", "--proofs-to", "proofs")
    assert Path(other["proof"]).parent == Path("proofs")
    assert user.verdict(other["proof"]).certificate.id.hex() == other["outcome"]["id"]


def test_a_repeated_run_makes_the_proofs_that_are_missing(user: User) -> None:
    (one,) = user.certify("report.txt", "--results", "r.csv", "--no-proof")
    assert one["proof"] is None
    (two,) = user.certify("report.txt", "--results", "r.csv")
    assert (two["was_certified"], two["outcome"], two["proof"]) == (True, one["outcome"], f"report.txt{PROOF}")
    before = (user.folder / two["proof"]).stat().st_mtime_ns
    user.certify("report.txt", "--results", "r.csv")
    assert (user.folder / two["proof"]).stat().st_mtime_ns == before, "what is there is not made again"
    with (user.folder / "r.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["proof"] == f"report.txt{PROOF}"


def test_a_batch_has_its_proofs_in_a_folder_under_names_that_any_file_system_takes(user: User) -> None:
    (user.folder / "a").mkdir()
    (user.folder / "a" / "report.txt").write_text(f"another {user.folder}")
    subjects = [f"Ada/Löve: BSc {user.folder}", "../../etc/passwd", "??", f"Ada Löve BSc {user.folder}", "a" * 200]
    rows = [*([one, ""] for one in subjects), ["x", "report.txt"], ["y", "a/report.txt"]]
    with (user.folder / "x.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["subject", "file"], *rows])
    results = user.certify("--batch", "x.csv")
    assert len(results) == len(rows)
    names = [Path(one["proof"]).relative_to("x.proofs").name for one in results]
    assert all(len(one) < 120 and one.isascii() and not one.startswith(".") for one in names)
    assert len(set(names)) == len(rows)
    for one in results:
        assert user.verdict(one["proof"]).certificate.id.hex() == one["outcome"]["id"]
    again = user.certify("--batch", "x.csv")
    assert [one["proof"] for one in again] == [one["proof"] for one in results]


def test_the_proof_of_another_certificate_is_not_overwritten(user: User) -> None:
    (one,) = user.certify("report.txt")
    kept = (user.folder / one["proof"]).read_bytes()
    (user.folder / "report.txt").write_text(f"changed in {user.folder}")
    (two,) = user.certify("report.txt")
    assert (user.folder / one["proof"]).read_bytes() == kept
    assert two["proof"] == f"report.txt-{two['outcome']['id'][:16]}{PROOF}"
    assert user.verdict(two["proof"]).certificate.id.hex() == two["outcome"]["id"]
    assert f"tallystick verify report.txt --proof {two['proof']}" in user.said("certify", "report.txt")


def test_proofs_below_a_folder_are_not_certified(user: User) -> None:
    user.certify("--recursive", ".")
    for ending in (MEMBERS, PAYLOAD, TIME_STAMP):
        (user.folder / f"report.txt{ending}").write_text("beside the proof")
        (user.folder / f"other{ending}").write_text(f"of no proof {user.folder}")
    results = user.certify("--recursive", ".")
    assert sorted(Path(one["file"]).name for one in results) == [
        "other.members",
        "other.payload",
        "other.tsr",
        "report.txt",
    ]


def test_killed_between_certifying_and_proving_the_next_run_makes_the_proofs(user: User) -> None:
    """A process of its own, which stands still before it proves, and is killed there."""
    program = (
        "import sys, time\n"
        "from tallystick.client.blocking import Client\n"
        "def stand(*args, **more):\n"
        "    print('proving', flush=True)\n"
        "    time.sleep(600)\n"
        "Client.proofs = stand\n"
        "from tallystick.cli.app import app\n"
        "app(sys.argv[1:])\n"
    )
    args = ["certify", "report.txt", "--results", "r.csv", "--data", str(user.node.folder.path)]
    with subprocess.Popen(
        [sys.executable, "-c", program, *args], cwd=user.folder, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "proving\n"
        os.kill(process.pid, signal.SIGKILL)
    assert user.proofs() == []
    with Client(user.node.folder.path) as client:
        before = client.ledger().log_size
    (one,) = user.certify("report.txt", "--results", "r.csv")
    assert one["was_certified"]
    assert user.verdict(one["proof"]).certificate.id.hex() == one["outcome"]["id"]
    with Client(user.node.folder.path) as client:
        assert client.ledger().log_size == before


def test_a_proof_that_cannot_be_written_does_not_hinder_the_others(user: User) -> None:
    long, other = "a" * 250, "z.txt"
    (user.folder / long).write_text(f"long {user.folder}")
    (user.folder / other).write_text(f"other {user.folder}")
    told = user.json("certify", long, other, "report.txt", "--results", "r.csv", expect=2)
    assert [one["outcome"]["state"] for one in told["results"]] == ["final"] * 3
    proofs = [None, f"{other}{PROOF}", f"report.txt{PROOF}"]
    assert [one["proof"] for one in told["results"]] == proofs
    assert "all of it is certified, but" in told["problem"]["detail"]
    assert f"{long}{PROOF} cannot be written" in told["problem"]["detail"]
    assert told["problem"]["detail"].endswith("name another place with --proofs-to")
    with (user.folder / "r.csv").open(newline="") as stream:
        assert [row["proof"] or None for row in csv.DictReader(stream)] == proofs
    assert "cannot be written" in user.said("prove", long, expect=2)
    assert f"{long}{PROOF} cannot be read" in user.said("verify", long, expect=2)
    (one,) = user.certify(long, "--proofs-to", "proofs")
    assert user.verdict(one["proof"]).certificate.id.hex() == one["outcome"]["id"]


def test_what_has_the_place_is_told_with_the_option_of_the_command(tmp_path: Path) -> None:
    (tmp_path / f"report.txt{MEMBERS}").mkdir()
    ledger = ProvenLedger(tmp_path / "chain.db")
    one, payload = ledger.about()
    ledger.forge(one, payloads=[payload])
    files = ledger.prove(one, ledger.countersigned())
    made = files._replace(members=read_proof_of(files).hand_over.encoded)
    with pytest.raises(CannotMake, match="move it away, or name another place with --proofs-to"):
        write_proof(made, tmp_path / f"report.txt{PROOF}", "name another place with --proofs-to")


# ---- prove ----------------------------------------------------------------------------------------------------------


def test_prove_makes_a_proof_by_file_by_id_and_of_a_proof(user: User) -> None:
    (one,) = user.certify("report.txt", "--no-proof")
    certificate_id = one["outcome"]["id"]
    (made,) = user.json("prove", "report.txt")["proofs"]
    assert (made["proof"], made["certificate"], made["was_there"]) == (f"report.txt{PROOF}", certificate_id, False)
    (by_id,) = user.json("prove", certificate_id[:12])["proofs"]
    assert by_id["proof"] == f"{certificate_id}{PROOF}"
    user.certify("--subject", f"later than {user.folder}")
    (again,) = user.json("prove", made["proof"])["proofs"]
    assert (again["proof"], again["was_there"]) == (made["proof"], True)
    assert again["block_index"] > made["block_index"]
    before, after = user.verdict(by_id["proof"]), user.verdict(again["proof"])
    assert before.block == after.block, "the block time stays"
    assert before.header.index < after.header.index
    assert "tallystick verify FILE --proof elsewhere" in user.said("prove", certificate_id, "--to", "elsewhere")
    said = user.said("prove", "report.txt", certificate_id)
    assert f"✓ report.txt{PROOF} is made anew: the log up to block" in said
    assert "2 proofs made" in said


def test_prove_says_when_a_file_of_this_name_is_certified_with_other_bytes(user: User) -> None:
    user.certify("report.txt")
    certified = (user.folder / "report.txt").read_bytes()
    (user.folder / "report.txt").write_bytes(certified + b"!")
    said = user.said("prove", "report.txt", expect=5)
    assert "there is no certificate about this file" in said
    assert "a file of this name is certified with other bytes" in said
    (user.folder / "unknown").write_text("unknown")
    assert "with other bytes" not in user.said("prove", "unknown", expect=5)


def test_prove_refuses_what_it_cannot_prove_or_would_overwrite(user: User) -> None:
    user.certify("report.txt")
    (other,) = user.certify("--subject", f"other {user.folder}", "--no-proof")
    other_id = other["outcome"]["id"]
    assert "no file nowhere, and no id" in user.said("prove", "nowhere", expect=5)
    assert "no certificate's id begins with" in user.said("prove", "ab" * 32, expect=5)
    to = user.said("prove", other_id, "--to", f"report.txt{PROOF}", expect=2)
    assert "is the proof of another certificate" in to
    (user.folder / "notes").write_text("mine")
    assert "is no proof" in user.said("prove", other_id, "--to", "notes", expect=2)
    assert (user.folder / "notes").read_text() == "mine"
    assert "epoch 99 is later" in user.said("prove", "report.txt", "--since", "99", expect=2)
    (user.folder / "broken").write_text("c2sp.org/tlog-proof@v1\n")
    assert "is no proof that can be read" in user.said("prove", "broken", expect=5)
    assert "--to is for the proof of one" in user.said("prove", other_id, "report.txt", "--to", "x", expect=2)


def test_of_several_the_others_are_proven_if_one_cannot_be(user: User) -> None:
    user.certify("report.txt", "--no-proof")
    (user.folder / "unknown").write_text(f"unknown {user.folder}")
    told = user.json("prove", "unknown", "report.txt", expect=5)
    assert [one["proof"] for one in told["proofs"]] == [f"report.txt{PROOF}"]
    assert [(one["what"], one["problem"]["exit_code"]) for one in told["failed"]] == [("unknown", 5)]
    said = user.said("prove", "unknown", "report.txt", ".", expect=1)
    assert "× unknown has no new proof: there is no certificate about this file" in said
    assert f"✓ report.txt{PROOF} is made anew" in said
    assert "1 proof made, 2 not" in said


def test_a_chains_file_proves_as_the_node_does(user: User) -> None:
    (one,) = user.certify("report.txt", "--no-proof")
    size = one["outcome"]["log_index"] + 1

    def copied() -> Path | None:
        """A copy of which the newest checkpoint that is kept covers the certificate."""
        path = user.folder / f"copy-{now_ms()}.db"
        with Client(user.node.folder.path) as client:
            client.backup(path)
        with Client(path) as client:
            return path if client.checkpoint().log_size >= size else None

    copy = wait_for(copied, "a checkpoint of all is kept")
    (made,) = in_json("prove", "report.txt", "--chain", str(copy), cwd=user.folder)["proofs"]
    assert user.verdict(made["proof"]).certificate.id.hex() == one["outcome"]["id"]


def test_a_proof_for_who_knows_a_later_epoch_is_checked_from_there(tmp_path: Path) -> None:
    ledger = ProvenLedger(tmp_path / "chain.db", short_epochs(4))
    one = ledger.scribe.statement()
    ledger.forge(one)
    for name in ("ada", "ben"):
        replaced(ledger, name, f"{name}-2")
    ledger.forge(ledger.scribe.statement("ada-2"))
    at, ledger_id = ledger.countersigned(), ledger.genesis.ledger_id
    judge = ProofJudge(TrustStore(tmp_path / "trust"), OwnNode(), now_ms())
    for since in range(at.voters.number + 1):
        made = ledger.prove(one, at, since)
        assert judge.verdict_of_made(made, ledger_id, since).certificate == one
        with pytest.raises(DamagedStore, match=r"what was made is no proof that holds: \[P3\].*nothing was written"):
            judge.verdict_of_made(made, bytes(32), since)
    with pytest.raises(DamagedStore, match=r"no proof that holds: \[P4\]"):  # whoever made it may make up its members
        judge.verdict_of_made(made, ledger_id)


def test_what_stands_beside_a_proof_is_written_first_and_nothing_of_somebody_elses_is_lost(tmp_path: Path) -> None:
    ledger = ProvenLedger(tmp_path / "chain.db")
    one, payload = ledger.about()
    ledger.forge(one, payloads=[payload])
    files = ledger.prove(one, ledger.countersigned())
    hand_over = read_proof_of(files).hand_over.encoded
    path = tmp_path / f"report.pdf{PROOF}"
    made = files._replace(members=hand_over, payload=payload.encoded)
    for _ in range(2):
        written = write_proof(made, path)
        assert (written.members, written.payload) == (tmp_path / "report.pdf.members", tmp_path / "report.pdf.payload")
        assert [one.read_bytes() for one in (path, written.members, written.payload) if one] == [
            files.proof.encode(),
            hand_over,
            payload.encoded,
        ]
    for ending in (MEMBERS, PAYLOAD):
        own = tmp_path / f"own{ending}"
        own.write_text("mine")
        with pytest.raises(CannotMake, match="belongs to no proof"):
            write_proof(made, tmp_path / f"own{PROOF}")
        assert own.read_text() == "mine"
        assert not (tmp_path / f"own{PROOF}").exists()
        own.unlink()
    assert not list(tmp_path.glob(".tallystick-*"))


def test_a_renewal_that_is_cut_off_between_its_files_is_told_and_mended_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, path = ProvenLedger(tmp_path / "chain.db", short_epochs(4)), tmp_path / f"report.pdf{PROOF}"
    one, payload = ledger.about()
    ledger.forge(one, payloads=[payload])
    made = []
    for name in ("ada", "ben"):
        replaced(ledger, name, f"{name}-2")
        ledger.forge(ledger.scribe.statement("ada-2"))
        at = ledger.countersigned()
        most = len(read_proof_of(ledger.prove(one, at)).extra.encoded) - len(payload.encoded)
        monkeypatch.setattr(making, "MAX_EXTRA_BYTES", most - 1)
        made.append(ledger.prove(one, at))
        monkeypatch.undo()
    before, after = made
    written = write_proof(before, path)
    assert written.members is not None
    replace = Path.replace

    def cut_off(self: Path, target: Path) -> Path:
        if target == path:
            raise OSError(errno.EIO, "cut off")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", cut_off)
    with pytest.raises(CannotMake, match=r"report.pdf.tlog-proof cannot be written: cut off"):
        write_proof(after, path)
    monkeypatch.undo()
    assert (path.read_text(), written.members.read_bytes()) == (before.proof, after.members)
    verify_it = ("verify", path.name, "--ledger", ledger.genesis.ledger_id.hex())
    told = in_json(*verify_it, cwd=tmp_path, expect=12)["files"][0]["failure"]
    assert told["rule"] in ("P4", "P5")
    assert "if .members beside it was made for another proof, of this file, too, make it anew" in told["advice"]
    assert certificate_in(path) == one.id.hex()
    write_proof(after, path)
    in_json(*verify_it, cwd=tmp_path)


def test_nothing_is_written_unless_all_of_it_may_be(tmp_path: Path) -> None:
    ledger = ProvenLedger(tmp_path / "chain.db")
    one, payload = ledger.about()
    ledger.forge(one, payloads=[payload])
    files = ledger.prove(one, ledger.countersigned())
    made = files._replace(members=read_proof_of(files).hand_over.encoded, payload=payload.encoded)
    path = tmp_path / f"report.pdf{PROOF}"
    places = [tmp_path / "report.pdf.members", tmp_path / "report.pdf.payload", path]
    for place in places:
        for put in (lambda one: one.mkdir(), os.mkfifo, lambda one: one.write_bytes(bytes(9 * 1024 * 1024))):
            put(place)
            with pytest.raises(CannotMake, match=f"{place.name} is there, and "):
                write_proof(made, path)
            assert [one for one in places if one.exists()] == [place]
            place.rmdir() if place.is_dir() else place.unlink()
    path.mkdir()
    with pytest.raises(UnreadableFile, match=r"report.pdf.tlog-proof is a directory or a device, and no proof"):
        read_proof(path)


def test_a_folder_of_the_proofs_name_does_not_end_a_batch(user: User) -> None:
    (user.folder / f"report.txt{PROOF}").mkdir()
    (user.folder / "other.txt").write_text(f"other {user.folder}")
    results = user.certify("report.txt", "other.txt")
    assert [one["proof"] for one in results] == [
        f"report.txt-{results[0]['outcome']['id'][:16]}{PROOF}",
        f"other.txt{PROOF}",
    ]


def read_proof_of(files: ProofFiles) -> Any:
    from tallystick.ledger.bundle import read_bundle  # noqa: PLC0415

    return read_bundle(files.proof.encode(), files.members, files.payload)


# ---- policy ---------------------------------------------------------------------------------------------------------


def test_policy_writes_one_log_and_all_members_and_says_what_it_is_not(user: User) -> None:
    user.certify("report.txt")
    told = user.json("policy")
    text = "".join(line + "\n" for line in told["policy"])
    policy = parse_policy(text.encode())
    policy.check(read_proof(user.folder / f"report.txt{PROOF}").bundle.proof.checkpoint)
    assert (told["members"], told["needed"], told["epoch"]) == (1, 1, 0)
    assert [line.split()[0] for line in told["policy"] if not line.startswith("#")] == [
        "log",
        "witness",
        "group",
        "quorum",
    ]
    done = cli("policy", "--data", str(user.node.folder.path), "--to", "p.policy", cwd=user.folder)
    assert "for epoch 0" in done.stderr
    assert "it needs everybody" in done.stderr
    assert "✓ p.policy: 1 of 1 member of epoch 0" in done.stdout
    assert (user.folder / "p.policy").read_text() == text
    assert "is there" in user.said("policy", "--to", "p.policy", expect=2)
    shown = cli("policy", "--data", str(user.node.folder.path), cwd=user.folder)
    assert shown.stdout == text


def test_json_of_a_proof_is_one_object(user: User) -> None:
    user.certify("report.txt")
    assert set(user.json("prove", "report.txt")) == {"schema", "proofs", "failed"}
