"""`tallystick certify`: what goes out, what comes back, and that nothing is certified twice."""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.builders import ADA, BEN
from tests.integration.command_line import PASSPHRASE, REPORT, cli
from tests.integration.network import NodeProcess, network, running_network, wait_for
from tests.ports import drawn_port

from tallystick.api import views
from tallystick.client.batches import ResultFile
from tallystick.client.blocking import Client
from tallystick.client.client import BATCH
from tallystick.client.drafts import read_batch
from tallystick.host.key_file import create_key_file
from tallystick.ledger.file_statement import FILE_MEDIA_TYPE
from tallystick.ledger.messages import entry_codec
from tallystick.problems import NotRunning, Problem

HERE: dict[str, Any] = {"TALLYSTICK_PASSPHRASE": PASSPHRASE}


@pytest.fixture(scope="module")
def node() -> Iterator[NodeProcess]:
    """A ledger's only node, running; the tests certify what no other does."""
    with running_network(1) as net:
        yield net.nodes[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file that nobody has certified."""
    (tmp_path / "report.txt").write_bytes(REPORT + str(tmp_path).encode())
    return tmp_path


def certify(node: NodeProcess, folder: Path, *args: str, expect: int = 0, **more: Any) -> list[dict[str, Any]]:
    """The results, as JSON tells them."""
    done = cli("certify", *args, "--data", str(node.folder.path), "--json", cwd=folder, expect=expect, **more)
    results: list[dict[str, Any]] = json.loads(done.stdout)["results"]
    return results


def said(node: NodeProcess, folder: Path, *args: str, expect: int = 0, **more: Any) -> Any:
    return cli("certify", *args, "--data", str(node.folder.path), cwd=folder, expect=expect, **more)


def ids(results: list[dict[str, Any]]) -> list[str]:
    return [one["outcome"]["id"] for one in results]


def states(results: list[dict[str, Any]]) -> list[str]:
    return [one["outcome"]["state"] for one in results]


def on_ledger(node: NodeProcess, certificate_id: str) -> views.Certificate:
    with Client(node.folder.path) as client:
        return client.certificate(certificate_id)


def stated(node: NodeProcess, certificate_id: str) -> views.File:
    payload = on_ledger(node, certificate_id).payload
    assert payload is not None
    assert payload.file is not None
    return payload.file


def log_size(node: NodeProcess) -> int:
    with Client(node.folder.path) as client:
        return client.ledger().log_size


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


# ---- what goes out ----------------------------------------------------------------------------------------------


def test_of_a_file_only_name_size_and_hash_go_out(node: NodeProcess, folder: Path) -> None:
    (one,) = certify(node, folder, "report.txt", "--note", "final")
    assert (one["file"], one["subject"], one["was_certified"]) == ("report.txt", "File report.txt", False)
    certificate, file = on_ledger(node, one["outcome"]["id"]), stated(node, one["outcome"]["id"])
    assert certificate.payload is not None
    assert b"bridge" not in bytes.fromhex(certificate.payload.encoded)
    assert (file.name, file.note, file.sha256) == ("report.txt", "final", one["sha256"])
    place = certificate.place
    assert one["outcome"]["state"] == "final"
    assert (place.block_index, place.position, place.log_index) == tuple(
        one["outcome"][name] for name in ("block_index", "position", "log_index")
    )


def test_a_statement_in_words_needs_no_file(node: NodeProcess, folder: Path) -> None:
    (one,) = certify(node, folder, "--subject", "Ada: BSc", "--note", "1.0", "--media-type", "application/json")
    certificate = on_ledger(node, one["outcome"]["id"])
    assert certificate.payload is not None
    assert (certificate.subject, certificate.payload.media_type) == ("Ada: BSc", "application/json")
    assert b"1.0" in bytes.fromhex(certificate.payload.encoded)
    shown = said(node, folder, "--subject", "Ben: BSc").stdout
    assert "✓ Ben: BSc is certified: block " in shown


def test_standard_input_is_certified_under_a_name(node: NodeProcess, folder: Path) -> None:
    (one,) = certify(node, folder, "-", "--name", "said.txt", "--note", "by ear", given=f"said in {folder}")
    file = stated(node, one["outcome"]["id"])
    assert (file.name, file.note) == ("said.txt", "by ear")
    (two,) = certify(node, folder, "-", "--name", "said.txt", given=f"said in {folder}")
    assert (two["was_certified"], two["outcome"]["id"]) == (True, one["outcome"]["id"])


def test_a_folder_is_certified_file_by_file(node: NodeProcess, folder: Path) -> None:
    below = folder / "below" / "further"
    below.mkdir(parents=True)
    for path in (folder / "below" / "b.txt", below / "a.txt", below / "same.txt", folder / "below" / "same.txt"):
        path.write_text(f"{path.name} of {folder}")
    (below / "empty").touch()
    (below / "dangling").symlink_to("nowhere")
    done = said(node, folder, "--recursive", "below", "--results", "below/results.csv")
    assert "2 files below below left out: they are empty, or no regular files" in done.stderr
    assert "4 statements: 4 final" in done.stdout
    again = certify(node, folder, "--recursive", "below", "--results", "below/results.csv")
    assert [one["file"] for one in again] == [
        f"below/{name}" for name in ("b.txt", "same.txt", "further/a.txt", "further/same.txt")
    ]
    assert all(one["was_certified"] for one in again)
    assert again[1]["outcome"] == again[3]["outcome"], "what says the same needs one certificate"
    (folder / "none").mkdir()
    assert "there is nothing to certify below none" in said(node, folder, "--recursive", "none", expect=2).stderr


def test_a_key_of_ones_own_signs_here(node: NodeProcess, folder: Path) -> None:
    create_key_file(folder / "ada.key", ADA, PASSPHRASE, "interactive")
    (one,) = certify(node, folder, "report.txt", "--key", "ada.key", **HERE)
    assert on_ledger(node, one["outcome"]["id"]).issuer.key == ADA.public_key.hex()
    (other,) = certify(node, folder, "report.txt")
    assert not other["was_certified"], "by another issuer"


def test_a_statement_in_words_is_certified_once_only_with_a_result_file(node: NodeProcess, folder: Path) -> None:
    said_so = ("--subject", f"a word of {folder.name}", "--note", "a note")
    (one,), (two,) = (certify(node, folder, *said_so) for _ in range(2))
    assert one["outcome"]["id"] != two["outcome"]["id"]
    (one,), (two,) = (certify(node, folder, *said_so, "--results", "results.csv") for _ in range(2))
    assert one["outcome"]["id"] == two["outcome"]["id"]
    assert [one["was_certified"], two["was_certified"]] == [False, True]


def test_at_a_url_the_next_step_is_a_command_that_works_there(folder: Path) -> None:
    create_key_file(folder / "ada.key", ADA, "", "minimal")
    with network(1) as net:
        url = f"http://127.0.0.1:{drawn_port(1)}"
        net.nodes[0].start("--api", url.removeprefix("http://"))
        there = ("--url", url, "--key", "ada.key")
        trusted, step = cli("certify", "report.txt", *there, cwd=folder).stderr.split(
            " can verify it, offline: tallystick "
        )
        assert f"Whoever trusts the ledger {shlex.split(step)[-1]}" in trusted
        assert "✓ report.txt is certified by" in cli(*shlex.split(step), cwd=folder).stdout
        told = cli("certify", "--subject", "a", "--no-wait", *there, cwd=folder).stderr
        assert told.strip() in ("", "It becomes final by itself"), "of a node elsewhere there is no status"


def test_a_batch_goes_out_in_requests_that_the_node_takes(node: NodeProcess, folder: Path) -> None:
    rows = [f"statement {number} of {folder.name}" for number in range(BATCH + 10)]
    (folder / "batch.csv").write_text("subject\n" + "\n".join(rows) + "\n")
    results = certify(node, folder, "--batch", "batch.csv")
    assert [one["subject"] for one in results] == rows
    assert set(states(results)) == {"final"}
    assert len(set(ids(results))) == len(rows)
    shown = said(node, folder, "--batch", "batch.csv").stdout
    assert f"1,034 statements: 1,034 certified already; took {shown.split('took ')[1]}" == shown


def test_large_notes_go_out_in_requests_that_the_node_takes(node: NodeProcess, folder: Path) -> None:
    note = "x" * 65_000
    (folder / "batch.csv").write_text("subject,note\n" + "".join(f"{n} {folder.name},{note}\n" for n in range(150)))
    assert set(states(certify(node, folder, "--batch", "batch.csv"))) == {"final"}
    assert all(one["was_certified"] for one in certify(node, folder, "--batch", "batch.csv"))


def test_a_row_may_name_a_file_beside_the_table(node: NodeProcess, folder: Path) -> None:
    (folder / "table").mkdir()
    (folder / "table" / "a.txt").write_text(f"a of {folder}")
    table = '\ufefffile,subject,note,media_type\na.txt,,"one, two",\n,Ada,1.0,application/json\n,Ben,,\n'
    (folder / "table" / "batch.csv").write_text(table)
    results = certify(node, folder, "--batch", "table/batch.csv")
    assert [(one["line"], one["subject"], one["file"]) for one in results] == [
        (2, "File a.txt", "table/a.txt"),
        (3, "Ada", None),
        (4, "Ben", None),
    ]
    payloads = [on_ledger(node, one).payload for one in ids(results)]
    assert [one and one.media_type for one in payloads] == [FILE_MEDIA_TYPE, "application/json", None]
    assert stated(node, ids(results)[0]).note == "one, two"
    assert [one["certificate_id"] for one in rows_of(folder / "table" / "batch.results.csv")] == ids(results)


# ---- what is wrong, before anything is sent ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("subject\na\n\n" + "x" * 257 + "\n", "line 4: the subject has 257 characters, 256 are allowed"),
        ("subject,note\na," + "x" * 70_000 + "\n", "line 2: the note has 70,000 bytes, 65,536 are allowed"),
        ("subject,note\na,b\n\x07,b\n", "line 3: the subject holds a line break or another control character"),
        ("subject,file\na,\n,gone.txt\n", "line 3: there is no file"),
        ("file,note\nreport.txt," + "x" * 1_025 + "\n", "line 2: the note has 1,025 characters, 1,024 are allowed"),
        ("subject,note\na,b\nc\n", "line 3: fewer fields than columns"),
        ("subject\na,b\n", "line 2: more fields than columns"),
        ("subject,note\n,b\n", "line 2: neither a subject nor a file"),
        ("subject,media_type\na,text/plain\n", "line 2: a media type without a note"),
        ("file,media_type\nreport.txt,text/plain\n", "line 2: a media type is the note's"),
        ("subject\na\nb\na\n", "line 4: says the same as line 2"),
        ("subjekt\na\n", "has a column 'subjekt'"),
        ("note\na\n", "neither a column subject nor a column file"),
        ("subject,subject\na,b\n", "has a column twice"),
        ("subject\n", "has no rows"),
        ("", "neither a column"),
        ('subject\n"a\n', "is no CSV file"),
        ("subject\n" + "\n".join("x" * 300 for _ in range(12)) + "\n", "; and 2 more. Nothing was sent"),
    ],
)
def test_one_bad_row_and_nothing_is_sent(node: NodeProcess, folder: Path, table: str, message: str) -> None:
    before = log_size(node)
    (folder / "batch.csv").write_text(table)
    done = said(node, folder, "--batch", "batch.csv", expect=2)
    assert message in done.stderr
    assert "regex" not in done.stderr
    assert done.stdout == ""
    assert not (folder / "batch.results.csv").exists()
    assert log_size(node) == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "name a FILE, a --subject, or a --batch"),
        (["report.txt", "--batch", "x.csv"], "stands in the CSV file alone"),
        (["--subject", "a", "--media-type", "text/plain"], "--media-type is the note's"),
        (["report.txt", "--note", "a", "--media-type", "text/plain"], "--media-type is the note's"),
        (["--batch", "gone.csv"], "gone.csv cannot be read"),
        (
            ["gone.txt", "report.txt", "lost.txt"],
            "lost.txt; check its name and the folder you are in. Nothing was sent",
        ),
        (["--recursive", "gone"], "gone cannot be read"),
        (["--subject", "a\nb"], "the subject holds a line break"),
        (["--subject", "a", "--note", "x" * 70_000], "65,536 are allowed; certify it as a file"),
        (["report.txt", "--note", "x" * 2_000], "1,024 are allowed"),
        (["report.txt", "--note", "a\nb"], "the note holds a line break"),
        (["-"], "--name is what standard input is called"),
        (["report.txt", "--name", "x"], "--name is what standard input is called"),
        (["report.txt", "--url", "http://127.0.0.1:9"], "--url needs --key"),
        (["report.txt", "--key", "gone.key"], "there is no key file gone.key"),
        (["report.txt", "--results", "gone/x.csv"], "gone/x.csv cannot be written"),
    ],
)
def test_certify_says_what_is_wrong(node: NodeProcess, folder: Path, args: list[str], message: str) -> None:
    before = log_size(node)
    done = said(node, folder, *args, expect=2, **HERE)
    assert message in " ".join(done.stderr.split())
    assert "regex" not in done.stderr
    assert done.stdout == ""
    assert log_size(node) == before


def test_what_is_wrong_is_json_when_json_is_asked_for(node: NodeProcess, folder: Path) -> None:
    done = cli("certify", "gone.txt", "--json", "--data", str(node.folder.path), cwd=folder, expect=2)
    assert "there is no file gone.txt" in json.loads(done.stdout)["detail"]


def test_without_a_running_node_it_ends_with_3_and_says_how_to_start_it(folder: Path) -> None:
    with network(1) as net:
        told = said(net.nodes[0], folder, "report.txt", expect=3).stderr
        assert f"tallystick run --data {net.nodes[0].folder.path}" in told
    told = cli("certify", "report.txt", "--data", "elsewhere", cwd=folder, expect=2).stderr
    assert "there is no node in elsewhere: make one with tallystick new or tallystick join" in told


# ---- refused ----------------------------------------------------------------------------------------------------


def test_a_refusal_is_told_with_its_rule(node: NodeProcess, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_key_file(folder / "ben.key", BEN, PASSPHRASE, "interactive")
    (folder / "batch.csv").write_text("subject\nlate\n")
    real_ns = time.time_ns
    args = ["--batch", "batch.csv", "--key", "ben.key"]
    with monkeypatch.context() as patch:
        patch.setattr("tallystick.client.client.time.time_ns", lambda: real_ns() + 3_600 * 10**9)
        (one,) = certify(node, folder, *args, expect=6, **HERE)
    assert (one["outcome"]["state"], one["outcome"]["rule"]) == ("refused", "C2")
    (row,) = rows_of(folder / "batch.results.csv")
    assert (row["state"], row["rule"]) == ("refused", "C2")
    shown = said(node, folder, *args, expect=6, **HERE).stdout
    assert "× late was refused: [C2] certificate not dated in the future: " in shown
    assert row["certificate_id"] in shown, "the same bytes again"


# ---- once, and not twice ----------------------------------------------------------------------------------------


def test_a_file_that_this_key_has_certified_is_not_certified_again(node: NodeProcess, folder: Path) -> None:
    (first,) = certify(node, folder, "report.txt")
    before = log_size(node)
    shown = said(node, folder, "report.txt", "--note", "something else").stdout
    assert "✓ report.txt was certified already: block " in shown
    assert first["outcome"]["id"] in shown
    assert log_size(node) == before
    (again,) = certify(node, folder, "report.txt", "--again")
    assert again["outcome"]["id"] != first["outcome"]["id"]
    assert log_size(node) == before + 1


def test_everything_is_signed_and_kept_before_anything_is_sent(
    node: NodeProcess, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "batch.csv").write_text("subject,file\nAda,\n,report.txt\n")
    before = log_size(node)

    def interrupted(*_: Any, **__: Any) -> None:
        states = [row["state"] for row in rows_of(folder / "batch.results.csv")]
        assert states == ["signed", "signed"]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Client, "submit", interrupted)
        done = said(node, folder, "--batch", "batch.csv", expect=130)
    assert "error: stopped; " in done.stderr
    assert "The same command again goes on where this one stopped" in done.stderr
    rows = rows_of(folder / "batch.results.csv")
    assert log_size(node) == before
    results = certify(node, folder, "--batch", "batch.csv")
    assert ids(results) == [row["certificate_id"] for row in rows]
    assert states(results) == ["final", "final"]
    assert log_size(node) == before + 2
    assert [row["entry"] for row in rows_of(folder / "batch.results.csv")] == [row["entry"] for row in rows]


def test_what_was_not_sent_is_said(node: NodeProcess, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"{number} of {folder.name}" for number in range(2 * BATCH + 2)]
    (folder / "batch.csv").write_text("subject\n" + "\n".join(rows) + "\n")
    before, submit, calls = log_size(node), Client.submit, iter(range(10))

    def gone(client: Client, *args: Any, **options: Any) -> Any:
        if next(calls):
            raise NotRunning("the node has gone")
        return submit(client, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Client, "submit", gone)
        done = said(node, folder, "--batch", "batch.csv", expect=3)
    assert "error: the node has gone" in done.stderr
    assert f"{BATCH:,} sent, not answered, 2 not sent; took" in done.stdout
    results = certify(node, folder, "--batch", "batch.csv")
    assert set(states(results)) == {"final"}
    assert log_size(node) == before + len(rows), "nothing twice"


def test_a_batch_is_gone_on_with_where_the_ledger_was_stuck(folder: Path) -> None:
    with network(3) as net:
        first, second, third = net.nodes
        first.start()
        (folder / "batch.csv").write_text("subject,file\nAda,\nBen,\n,report.txt\n")
        done = said(first, folder, "--batch", "batch.csv", "--timeout", "5", expect=4)
        assert done.stderr.count("warning: nothing can become final: 100 of 300 tokens at stake are in reach") == 1
        assert "node-2" in done.stderr
        assert "node-3" in done.stderr
        assert "error: the time was up" in done.stderr
        assert "3 statements: 3 waiting" in done.stdout
        assert "✓" not in done.stdout
        assert "not final yet" in said(first, folder, "--subject", "Cy", "--no-wait").stdout
        interrupt_when_it_waits(first, folder)
        rows = rows_of(folder / "batch.results.csv")
        assert [row["state"] for row in rows[:3]] == ["waiting"] * 3
        (folder / "batch.csv").write_text("subject,file\nDee,\nBen,\n,report.txt\n")
        second.start()
        third.start()
        results = certify(first, folder, "--batch", "batch.csv")
        assert states(results) == ["final"] * 3
        assert ids(results)[1:] == [row["certificate_id"] for row in rows[1:3]]
        net.wait_until_agreed()
        kept = {row["subject"]: row for row in rows_of(folder / "batch.results.csv")}
        assert list(kept) == ["Dee", "Ben", "File report.txt", "Ada", "Eve"], "what is no row any more is kept, last"
        assert kept["Ada"] == rows[0]
        with Client(first.folder.path) as client:
            said_so = sorted(one.summary for one in client.log(1_000).certificates)
        assert said_so == ["Ada", "Ben", "Cy", "Dee", "Eve", "File report.txt"]


def interrupt_when_it_waits(node: NodeProcess, folder: Path) -> None:
    """Ctrl-C, when the node has all of a repeated batch and one more."""
    command = [sys.executable, "-m", "tallystick", "certify", "--batch", "batch.csv", "--data", str(node.folder.path)]
    before = node.status().waiting
    with (folder / "batch.csv").open("a") as stream:
        stream.write("Eve,\n")
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, env={**os.environ, "NO_COLOR": "1"}, **pipes) as process:
        wait_for(lambda: node.status().waiting > before, "all is sent")
        process.send_signal(signal.SIGINT)
        shown, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "4 statements: " in shown
    assert "Traceback" not in errors
    assert "error: stopped; what the node has goes on by itself" in errors
    assert [row["subject"] for row in rows_of(folder / "batch.results.csv")] == ["Ada", "Ben", "File report.txt", "Eve"]


def test_outcomes_are_told_when_the_node_stops_in_between(folder: Path) -> None:
    with network(3) as net:
        first = net.nodes[0]
        first.start()
        (folder / "batch.csv").write_text("subject\nAda\nBen\n")
        submit = Client.submit

        def submit_and_kill(client: Client, *args: Any, **options: Any) -> Any:
            outcomes = submit(client, *args, **options)
            first.kill()
            return outcomes

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Client, "submit", submit_and_kill)
            patch.setattr("tallystick.client.doors._FIRST_PAUSE_S", 0.001)
            told = json.loads(
                cli(
                    "certify", "--batch", "batch.csv", "--data", str(first.folder.path), "--json", cwd=folder, expect=3
                ).stdout
            )
        assert [one["outcome"]["state"] for one in told["results"]] == ["waiting", "waiting"]
        assert told["problem"]["code"] == "not-running"
        net.start()
        assert states(certify(first, folder, "--batch", "batch.csv")) == ["final", "final"]
        net.assert_equal_chains(accepted=[bytes.fromhex(one["outcome"]["id"]) for one in told["results"]])


# ---- the result file --------------------------------------------------------------------------------------------


def test_the_result_file_is_its_users_alone_and_holds_what_was_sent(node: NodeProcess, folder: Path) -> None:
    (folder / "batch.csv").write_text('subject,note\n"Ada, BSc",secret\n')
    (one,) = certify(node, folder, "--batch", "batch.csv", "--results", "other.csv")
    assert (folder / "other.csv").stat().st_mode & 0o777 == 0o600
    (row,) = rows_of(folder / "other.csv")
    assert (row["line"], row["subject"], row["state"]) == ("2", "Ada, BSc", "final")
    with ResultFile(folder / "other.csv").path.open() as stream:
        assert stream.readline() == (
            "line,subject,file,sha256,proof,certificate_id,entry,state,block_index,position,log_index,rule,reason\n"
        )
    entry = entry_codec.decode(b64decode(row["entry"]))
    assert entry.certificate.id.hex() == one["outcome"]["id"] == row["certificate_id"]
    assert entry.payload is not None
    assert entry.payload.content == b"secret"
    assert sorted(one.name for one in folder.iterdir()) == [
        "batch.csv",
        "batch.proofs",
        "other.csv",
        "report.txt",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("my notes\n", "is no result file of certify, or was altered (line 1); it is left as it is"),
        (None, "is no result file of certify, or was altered (row 1)"),
    ],
)
def test_another_file_is_not_overwritten(node: NodeProcess, folder: Path, content: str | None, message: str) -> None:
    (folder / "batch.csv").write_text("subject\nAda\n")
    results = folder / "batch.results.csv"
    if content is None:
        certify(node, folder, "--batch", "batch.csv")
        content = results.read_text().replace("kpYB", "kpYC")
    results.write_text(content)
    assert message in said(node, folder, "--batch", "batch.csv", expect=2).stderr
    assert results.read_text() == content


def test_what_another_key_or_for_another_ledger_was_signed_is_not_sent(node: NodeProcess, folder: Path) -> None:
    (folder / "batch.csv").write_text("subject\nAda\n")
    certify(node, folder, "--batch", "batch.csv")
    create_key_file(folder / "ada.key", ADA, PASSPHRASE, "interactive")
    args = ["--batch", "batch.csv", "--key", "ada.key"]
    assert "use that key, or another --results" in said(node, folder, *args, expect=2, **HERE).stderr
    certify(node, folder, *args, "--results", "ada.csv", **HERE)
    with running_network(1) as net:
        told = said(net.nodes[0], folder, *args, "--results", "ada.csv", expect=2, **HERE).stderr
        assert "was signed for another ledger, or was altered" in told
        assert log_size(net.nodes[0]) == 0


def test_two_runs_at_once_do_not_both_sign(folder: Path) -> None:
    first, second = ResultFile(folder / "x.csv"), ResultFile(folder / "x.csv")
    assert first.read(bytes(32), bytes(32)) == second.read(bytes(32), bytes(32)) == []
    first.write([], {})
    with pytest.raises(Problem, match="another run has just made"):
        second.write([], {})
    first.write([], {})
    assert ResultFile(folder / "x.csv").read(bytes(32), bytes(32)) == []
    assert [one.name for one in folder.glob("*.csv")] == ["x.csv"]


def test_hints_can_be_pasted_and_names_are_printable(node: NodeProcess, folder: Path) -> None:
    name = "a b\u202egnp.txt"
    (folder / name).write_text(f"x of {folder}")
    done = said(node, folder, name)
    assert "a b\\u{202e}gnp.txt is certified" in done.stdout
    assert "tallystick verify 'a b\\u{202e}gnp.txt' --ledger " in done.stderr
    home, name = str(node.folder.path.parent), node.folder.path.name
    done = cli("certify", "report.txt", "--data", f"~/{name}", cwd=folder, HOME=home)
    assert re.search(r"tallystick verify report.txt --ledger [0-9a-f]{64}\n", done.stderr)


def test_a_table_is_read_with_all_its_lines(folder: Path) -> None:
    (folder / "b.csv").write_text('subject,note\n"Ada","1\n2"\nBen,\n')
    assert [(one.line, one.subject) for one in read_batch(folder / "b.csv")] == [(3, "Ada"), (4, "Ben")]
