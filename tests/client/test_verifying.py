"""`verify --online`: a newer proof from a node, over HTTP."""

import shutil
from pathlib import Path

from tests.api.conftest import Doors
from tests.integration.command_line import cli, in_json
from tests.ports import drawn_port

from tallystick.client.blocking import Client
from tallystick.client.proof_files import PROOF


def test_a_newer_proof_is_asked_for_and_verified_under_the_same_trust(doors: Doors, tmp_path: Path) -> None:
    report = tmp_path / "report.pdf"
    shutil.copy(doors.report, report)
    with Client(doors.url) as client:
        proof = client.prove(doors.ids[0]).proof
    report.with_name(f"report.pdf{PROOF}").write_text(proof)
    verify = ("verify", "report.pdf")
    online = ("--online", doors.url)
    (one,) = in_json(*verify, *online, cwd=tmp_path, expect=10)["files"]
    assert (one["online"], one["failure"]["rule"]) == (None, "P3"), "a node does not make its ledger trusted"
    cli("trust", "add", doors.ledger_id.hex(), "--name", "ours", cwd=tmp_path)
    (before,) = in_json(*verify, cwd=tmp_path)["files"]
    (one,) = in_json(*verify, *online, cwd=tmp_path)["files"]
    assert (one["online"], one["exit_code"]) == (doors.url, 0)
    assert one["proven"]["status_ms"] >= before["proven"]["status_ms"]
    assert f"a newer one, from {doors.url}" in cli(*verify, *online, cwd=tmp_path).stdout
    nobody = f"http://127.0.0.1:{drawn_port(1)}"
    told = cli(*verify, "report.pdf", "--online", nobody, cwd=tmp_path, expect=16).stdout
    assert told.count(f"no newer proof could be had from {nobody}: ") == 2


def test_a_nodes_door_is_a_mirror_too_and_proves_alike(doors: Doors, tmp_path: Path) -> None:
    with Client(doors.url) as client:
        client.checkpoint(fresh=True)
        asked = client.prove(doors.ids[0])
    (tmp_path / f"asked{PROOF}").write_text(asked.proof)
    for url in (doors.url, f"{doors.url}/"):
        made = in_json("prove", f"asked{PROOF}", "--from", url, "--to", "made", cwd=tmp_path)["proofs"]
        assert [one["certificate"] for one in made] == [doors.ids[0]]
    assert (tmp_path / "made").read_text() == asked.proof
