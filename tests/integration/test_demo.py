"""The demo with real processes, as a person meets it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.builders import GENESIS
from tests.integration.command_line import REPORT, cli, in_json

from tallystick.demo.account import Account
from tallystick.demo.closing_view import show_account
from tallystick.demo.play import LEDGER_NAME
from tallystick.ledger.genesis import make_genesis
from tallystick.problems import StoreError
from tallystick.storage.store import Store


def demo(folder: Path, *args: str) -> subprocess.Popen[str]:
    (folder / "report.txt").write_bytes(REPORT)
    (folder / "tmp").mkdir()
    own = {name: value for name, value in os.environ.items() if not name.startswith("TALLYSTICK_")}
    environment = {**own, "NO_COLOR": "1", "COLUMNS": "100", "HOME": str(folder), "TMPDIR": str(folder / "tmp")}
    command = [sys.executable, "-W", "error", "-m", "tallystick", "demo", "report.txt", *args]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


def nodes_of(folder: Path) -> list[int]:
    """The processes whose command line names the folder's temporary files."""
    asked = subprocess.run(["ps", "-e", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    lines = [line.split(None, 1) for line in asked.splitlines()]
    return [int(pid) for pid, args in lines if str(folder / "tmp") in args]


def test_the_demo_ends_well_and_leaves_only_the_kept_ledger_and_a_proof(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with demo(tmp_path, "--json") as process:
        shown, errors = process.communicate(timeout=240)
    assert process.returncode == 0, (shown, errors)
    account = json.loads(shown)
    assert [one["what"] for one in account["verdicts"] if one["holds"]] == [
        "the_outsider_was_refused",
        "went_on_without_the_killed",
        "the_joiner_caught_up",
        "another_was_admitted",
        "the_lost_key_was_replaced",
        "the_revoked_was_valid_until_then",
        "all_ended_well",
        "nodes_agree",
        "all_files_verify",
        "the_proof_outlived_the_nodes",
        "the_changed_document_failed",
    ]
    assert [one for one in account["verdicts"] if not one["holds"]] == []
    facts = {one["what"]: one["facts"] for one in account["verdicts"]}
    names = [f"node-{number}" for number in (1, 2, 3, 6, 5)]
    assert facts["all_ended_well"]["exit_codes"] == dict.fromkeys(names, 0)
    assert [one["name"] for one in account["nodes"]] == names
    titles = [f"University {letter}" for letter in "ABCDE"]
    assert [one["member"] for one in account["nodes"]] == titles
    ledger = account["ledger"]
    ends = {(one["tip_index"], one["tip_hash"], one["log_size"], one["log_root"]) for one in account["nodes"]}
    assert ends == {(ledger["tip"]["index"], ledger["tip"]["hash"], ledger["log_size"], ledger["log_root"])}
    assert {one["title"]: one["staked"] for one in account["organisations"]} == dict.fromkeys(titles, 100)
    of_d = next(one for one in account["organisations"] if one["id"] == "university-d")
    old, new = sorted(of_d["keys"], key=lambda key: key["since"])
    assert (old["until"], new["until"], new["key"]) == (new["since"], None, of_d["member_key"])
    assert account["epochs"] == [dict.fromkeys(titles[:4], 100), *[dict.fromkeys(titles, 100)] * 2]
    _check_decisions(account, facts)
    _check_proof(account, facts)
    monkeypatch.setenv("COLUMNS", "100")
    show_account(msgspec.convert(account, Account), Path("tallystick-demo.db"), Path("report.txt"))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    for words in (
        "node-6 University D",
        "University A: moves to admit",
        "admitted later",
        "key replaced",
        "issuer may certify",
        "✓ University E was admitted by a motion that passed with block ",
        "✓ “Diploma: Margaret Hamilton, BSc” verifies without any node, by its proof and the ledger's id:",
        "✓ With one byte changed, “Diploma: Margaret Hamilton, MSc”, it fails at check P10: document",
        "tallystick member list",
        f"  file://{Path.cwd()}/tallystick-demo-proof/verify.html",
        f"tallystick show certificate {facts['the_revoked_was_valid_until_then']['id'][:16]}",
    ):
        assert words in shown
    killing = facts["went_on_without_the_killed"]
    assert killing["kept_index"] <= killing["tip_index"] < killing["went_on"]["index"] < killing["last_index"]
    assert killing["last_index"] <= killing["caught_up"]["index"] < killing["voted_again"]["index"]
    (file,) = account["files"]
    assert file["verified_by"] == file["failed_when_changed_by"] == [*titles, "the kept chain"]
    assert nodes_of(tmp_path) == []
    left = ["report.txt", "tallystick-demo-proof", "tallystick-demo.db", "tmp"]
    assert sorted(one.name for one in tmp_path.iterdir()) == left
    _check_handed_on(tmp_path / "tallystick-demo-proof", ledger["ledger_id"])
    assert list((tmp_path / "tmp").iterdir()) == []
    assert len(in_json("search", "--file", "report.txt", cwd=tmp_path)["certificates"]) == 1
    revoked = facts["the_revoked_was_valid_until_then"]["id"]
    shown = cli("show", "certificate", revoked, cwd=tmp_path).stdout
    assert "Diploma: Grace Hopper, PhD" in shown
    assert "revoked (mistake), since 2" in shown


def test_what_no_demo_left_is_not_replaced(tmp_path: Path) -> None:
    """An editor's copy, say, of the diploma that was changed by hand."""
    (tmp_path / "report.txt").write_bytes(REPORT)
    folder = tmp_path / "tallystick-demo-proof"
    folder.write_text("mine")
    told = "tallystick-demo-proof is no folder; move it away, or name another file with --chain"
    assert told in cli("demo", "report.txt", cwd=tmp_path, expect=StoreError.exit_code).stderr
    folder.unlink()
    folder.mkdir()
    (folder / "hamilton.txt~").write_text("mine")
    told = "tallystick-demo-proof has a file hamilton.txt~, which no demo left there; move it away, or"
    assert told in cli("demo", "report.txt", cwd=tmp_path, expect=StoreError.exit_code).stderr
    assert [one.name for one in folder.iterdir()] == ["hamilton.txt~"]


def _check_handed_on(folder: Path, ledger_id: str) -> None:
    """A diploma that verifies, beside its proof, the page, and the ledger's id as its first line."""
    left = ["hamilton.txt", "hamilton.txt.tlog-proof", "ledger-id.txt", "verify.html"]
    assert sorted(one.name for one in folder.iterdir()) == left
    assert (folder / "ledger-id.txt").read_text().splitlines()[0] == ledger_id
    cli("verify", "hamilton.txt", "--ledger", ledger_id, cwd=folder)


def _check_decisions(account: Any, facts: Any) -> None:
    """Two motions passed, each with its epoch's last block, and nothing of the outsider's is on the ledger."""
    certificates = [one for block in account["blocks"] for one in block["certificates"]]
    admitted, replaced = facts["another_was_admitted"], facts["the_lost_key_was_replaced"]
    assert admitted["title"] == "University E"
    last = [max(one["index"] for one in account["blocks"] if one["epoch"] == epoch) for epoch in (0, 1)]
    assert [admitted["passed"]["index"], replaced["passed"]["index"]] == last
    assert replaced["lost_at"] < replaced["passed"]["index"] < replaced["certified"]["index"]
    kinds = [one["kind"] for one in certificates]
    assert (kinds.count("motion"), kinds.count("approval"), kinds.count("revocation")) == (2, 2 + 3, 1)
    assert all(one["is_listed"] for one in certificates)
    assert not any("Nobody" in one["summary"] for one in certificates)
    assert [(one["node"], one["rule"]) for one in account["refusals"]] == [("node-2", "D1"), ("node-1", "D1")]
    asked = facts["the_revoked_was_valid_until_then"]["states"]
    assert list(asked.values()) == ["not_yet", "valid", "valid", "revoked"]
    assert list(asked) == sorted(asked)


def _check_proof(account: Any, facts: Any) -> None:
    """It is of this ledger, of members of whom the genesis names some, and of these very bytes."""
    genuine, forged = (facts[one]["verdict"] for one in ("the_proof_outlived_the_nodes", "the_changed_document_failed"))
    proven, ledger = genuine["proven"], account["ledger"]
    assert (genuine["result"], genuine["failure"]) == ("verified", None)
    assert (proven["ledger_id"], proven["issuer"]["organisation"]) == (ledger["ledger_id"], "university-a")
    assert proven["subject"] == "Diploma: Margaret Hamilton, BSc"
    assert proven["checkpoint_block"] == proven["block"] == ledger["tip"]["index"]
    assert proven["cosigned_stake"] * 3 > proven["total_stake"] * 2 == 2 * 500
    joined = {key for change in proven["changes"] for key in change["joined"]}
    first = {key for one in account["organisations"] for key in (entry["key"] for entry in one["keys"][:1])}
    assert len(joined) == 2, "University E, and the new key of University D"
    assert {one["key"] for one in proven["cosigners"]} <= first | joined
    assert (forged["result"], forged["proven"], forged["failure"]["rule"]) == ("other_document", None, "P10")
    assert forged["failure"]["expected"] == genuine["sha256"] == proven["document"]["sha256"]
    assert forged["failure"]["found"] == forged["sha256"] != genuine["sha256"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_all_as_it_was(tmp_path: Path, number: int) -> None:
    before = {"report.txt": REPORT}
    if number == signal.SIGTERM:
        chain = tmp_path / "tallystick-demo.db"
        Store.create(chain, make_genesis(LEDGER_NAME, 0, list(GENESIS.allotments), GENESIS.params)).close()
        before[chain.name] = chain.read_bytes()
    with demo(tmp_path) as process:
        assert process.stdout is not None
        assert any("is killed (SIGKILL)" in line for line in process.stdout)
        assert len(nodes_of(tmp_path)) >= 3
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped" in errors
    assert nodes_of(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir() if one.is_file()} == before
