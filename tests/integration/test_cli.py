"""The command as a person meets it: real processes, what they print, and what they end with."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import chdir, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from tests.builders import GENESIS
from typer.testing import CliRunner, Result

from tallystick.api import views
from tallystick.cli import output
from tallystick.cli.app import app
from tallystick.cli.output import Terminal
from tallystick.consensus.signing_guard import Floor, Signed
from tallystick.demo import scenes, simulation
from tallystick.demo.account import FileLine, Killing, Moment, NodeLine
from tallystick.demo.play import KeptChain, Play, read_back
from tallystick.demo.scenes import SimulatedDemo
from tallystick.demo.simulation import PARAMS
from tallystick.integrity.checked_chain import CheckedChain
from tallystick.ledger.vote import NULLIFY, Ballot
from tallystick.node.events import PersistSigned
from tallystick.storage.store import Store

REPORT = b"The bridge is sound.\n" * 100
CHAIN = "tallystick-demo.db"
OWN = {name: value for name, value in os.environ.items() if not name.startswith("TALLYSTICK_")}
ENVIRONMENT = {**OWN, "NO_COLOR": "1", "COLUMNS": "100"}

EXPECTED = {
    "a certificate in Alice's name": "C1",
    "the same certificate a second time": "C4",
    "Alice's certificate with its subject changed": "C1",
    "a payload that is not the one certified": "C3",
    "a certificate dated a year ahead": "C2",
    "a certificate already on the chain": "C5",
    "a staking operation of 0 tokens": "S1",
    "staking a million tokens": "S2",
    "withdrawing stake that he does not have": "S3",
    "evidence of two votes that do not conflict": "V3",
    "evidence with a vote that was never signed": "V1",
    "evidence against a key without stake": "S6",
    "a vote in Alice's name": "V1",
    "a request for recovery in a member's name": "V1",
    "a proposal in the name of who is drawn": "B3",
    "a proposal for another ledger": "B10",
    "a block that nobody voted for": "V2",
    "a block final by his own vote alone": "V2",
    "a block with the votes for another one": "V2",
    "a block that its proof does not follow from": "B2",
    "bytes that mean nothing": "E2",
    "a message of 2 MiB and 1 byte": "E1",
    "a message encoded the long way round": "E3",
    "a greeting from another ledger": "N1",
    "129 requests at once": "N3",
    "a proposal with a wrong state root": "B12",
    "a proposal of a version to come": "E4",
    "staking with the key that was burned": "S8",
    "evidence of an epoch long past": "V6",
}


def tallystick(*args: str, cwd: Path, expect: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tallystick", *args],
        cwd=cwd,
        env={**ENVIRONMENT, "HOME": str(cwd), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expect, (args, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def quick(*args: str, cwd: Path, expect: int = 0) -> Result:
    """The same without a process of its own, for the many small things."""
    with chdir(cwd):
        result = CliRunner(env={"NO_COLOR": "1", "COLUMNS": "6000", "HOME": str(cwd), "TALLYSTICK_DATA": None}).invoke(
            app, args
        )
    assert result.exit_code == expect, (args, result.exit_code, result.output)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def in_json(*args: str, cwd: Path, expect: int = 0) -> Any:
    return json.loads(quick(*args, "--json", cwd=cwd, expect=expect).stdout)


PLAY = ("demo", "report.txt", "data.csv", "--simulated", "--json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder in which a demo has been, and its account."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "report.txt").write_bytes(REPORT)
    (folder / "data.csv").write_text("1,2\n")
    played = tallystick(*PLAY, "--seed", "7", cwd=folder, PYTHONHASHSEED="2", TZ="America/Lima").stdout
    (folder / "account.json").write_text(played)
    return folder, json.loads(played)


@pytest.fixture
def after(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy of that folder, to do anything with."""
    shutil.copytree(finished[0], tmp_path / "after")
    return tmp_path / "after"


# ---- demo -----------------------------------------------------------------------------------------------------


VERDICTS = [
    "went_on_without_the_killed",
    "burned_the_stake_of_who_signed_twice",
    "stopped_in_halves_and_went_on",
    "the_joiner_caught_up",
    "all_attempts_refused",
    "nodes_agree",
    "all_files_verify",
]


def verdict_on(what: str, account: dict[str, Any]) -> dict[str, Any]:
    """What a verdict rests on; it holds."""
    (verdict,) = [one for one in account["verdicts"] if one["what"] == what]
    assert verdict["holds"], verdict
    facts: dict[str, Any] = verdict["facts"]
    return facts


def test_the_demo_ends_with_one_agreed_chain(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, account = finished
    assert [one["what"] for one in account["verdicts"]] == VERDICTS
    assert [one for one in account["verdicts"] if not one["holds"]] == []
    ledger, blocks = account["ledger"], account["blocks"]
    assert len(account["nodes"]) == 5
    ends = {(node["tip_index"], node["tip_hash"], node["log_size"], node["log_root"]) for node in account["nodes"]}
    assert ends == {(ledger["tip"]["index"], ledger["tip"]["hash"], ledger["log_size"], ledger["log_root"])}
    assert [block["index"] for block in blocks] == list(range(1, ledger["tip"]["index"] + 1))
    forged = Counter(block["forger"]["name"] for block in blocks)
    assert sum(forged[node["member"]] for node in account["nodes"]) == len(blocks)
    assert ledger == in_json("show", cwd=folder)
    burned = verdict_on("burned_the_stake_of_who_signed_twice", account)["burned"]
    assert sum(burned.values()) == ledger["burned"]
    held = sum(one[where] for one in account["members"] for where in ("free", "staked"))
    unbonding = sum(part["amount"] for one in account["members"] for part in one["unbonding"])
    assert held + unbonding + sum(burned.values()) == 6 * 100 + 4 * 100
    said = [one["summary"] for block in account["blocks"] for one in block["certificates"]]
    assert "stakes 20" in said
    assert "withdraws 20 from stake" in said
    assert "stakes 100" in said, "the late joiner takes part"


def test_every_block_is_final_by_more_than_two_thirds_of_its_epochs_stake(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    _, account = finished
    assert len(account["epochs"]) > 2
    for block in account["blocks"]:
        final, stakes = block["finality"], account["epochs"][block["epoch"]]
        by_block = account["blocks"][final["by_block"] - 1]
        assert block["index"] <= by_block["index"]
        assert block["epoch"] == by_block["epoch"]
        assert final["total_stake"] == sum(stakes.values())
        assert final["stake"] == sum(stakes[voter["name"]] for voter in final["voters"])
        assert 3 * final["stake"] > 2 * final["total_stake"]
    unbonding = {one["member"]["name"]: one["unbonding"] for one in account["members"] if one["unbonding"]}
    assert {name: [part["amount"] for part in parts] for name, parts in unbonding.items()} == {"Delphine": [30]}


def test_the_ledger_goes_on_without_the_forger_that_was_killed(finished: tuple[Path, dict[str, Any]]) -> None:
    _, account = finished
    killing = verdict_on("went_on_without_the_killed", account)
    in_vain = account["nullified"]
    (missed,) = [one for one in in_vain if (one["epoch"], one["view"]) == (killing["epoch"], killing["view"])]
    assert missed["drawn"] == killing["member"]
    assert missed["lasted_ms"] >= 2 * PARAMS.delta_ms
    assert killing["kept_index"] <= killing["tip_index"]
    assert killing["went_on"]["index"] <= killing["last_index"] <= killing["caught_up"]["index"]
    instead = account["blocks"][killing["went_on"]["index"] - 1]
    assert instead["index"] == killing["tip_index"] + 1
    assert instead["epoch"] == killing["epoch"]
    assert instead["view"] > killing["view"]
    assert killing["member"] not in {one["name"] for one in (instead["forger"], *instead["finality"]["voters"])}
    came = [killing[what]["ms"] for what in ("went_on", "caught_up", "voted_again")]
    times = [killing["killed_ms"], came[0], killing["restarted_ms"], *came[1:]]
    assert times == sorted(times)


def test_a_parted_network_says_who_is_missing_and_goes_on_when_they_return(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    _, account = finished
    parting = verdict_on("stopped_in_halves_and_went_on", account)
    assert parting["more"] == 0
    runs = {node["name"]: node["member"] for node in account["nodes"]}
    assert parting["stuck"]
    for said in parting["stuck"]:
        (others,) = [side for side in parting["sides"] if said["node"] not in side]
        assert {runs[other] for other in others} <= set(said["missing"])
        assert 3 * said["heard_stake"] <= 2 * said["total_stake"]
        assert parting["parted_ms"] < said["since_ms"] < parting["healed_ms"]
    assert parting["went_on"]["ms"] > parting["healed_ms"]
    assert parting["went_on"]["index"] < account["ledger"]["tip"]["index"]


def test_who_signs_twice_loses_the_stake_and_the_next_epochs_vote(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, account = finished
    doubling = verdict_on("burned_the_stake_of_who_signed_twice", account)
    ((index, accuser),) = doubling["recorded"]
    block = account["blocks"][index - 1]
    (evidence,) = [one for one in block["certificates"] if one["kind"] == "evidence"]
    assert evidence["issuer"]["name"] == accuser != "Charlie"
    (charlie,) = [one for one in account["members"] if one["member"]["name"] == "Charlie"]
    assert evidence["summary"] == "shows that Charlie signed votes that conflict"
    assert (charlie["staked"], charlie["is_burned"], doubling["staked"]) == (0, True, 100)
    assert (charlie["free"], charlie["unbonding"], doubling["burned"]) == (0, [], {"Charlie": 100})
    stakes = in_json("show", cwd=folder)
    assert (stakes["total"], stakes["burned"]) == (1_000, 100)
    has_a_vote = ["Charlie" in stakes for stakes in account["epochs"]]
    assert has_a_vote[block["epoch"]]
    assert not any(has_a_vote[block["epoch"] + 1 :])


def test_every_attempt_of_the_fraud_is_refused_by_the_rule_it_breaks(finished: tuple[Path, dict[str, Any]]) -> None:
    _, account = finished
    assert set(verdict_on("all_attempts_refused", account)["attempts"]) == set(EXPECTED)
    refusals = account["refusals"]
    counts = Counter((one["attempt"], one["rule"]) for one in refusals)
    assert counts == {(what, rule): 4 if rule in ("B12", "E4") else 1 for what, rule in EXPECTED.items()}
    nodes = [node["name"] for node in account["nodes"][:4]]
    for in_turn in ("B12", "E4"):
        refused_by = sorted(one["node"] for one in refusals if one["rule"] == in_turn)
        assert refused_by == nodes, "every node refuses what the drawn forger proposes"


def test_each_file_verifies_and_fails_when_one_byte_is_changed(finished: tuple[Path, dict[str, Any]]) -> None:
    _, account = finished
    verdict_on("all_files_verify", account)
    assert [file["name"] for file in account["files"]] == ["report.txt", "data.csv"]
    for file in account["files"]:
        assert file["verified_by"] == file["failed_when_changed_by"] == ["the kept chain"]


def test_the_simulated_account_is_the_same_in_every_process_and_folder(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "report.txt").write_bytes(REPORT)
    (tmp_path / "data.csv").write_text("1,2\n")
    command = (*PLAY, "--seed", "7", "--chain", "a.db")
    again = tallystick(*command, cwd=tmp_path, PYTHONHASHSEED="1", TZ="Asia/Tokyo").stdout
    folder, account = finished
    assert again == (folder / "account.json").read_text()
    assert str(tmp_path) not in again
    assert (tmp_path / "a.db").read_bytes() == (folder / CHAIN).read_bytes()
    assert in_json(*PLAY[:-1], "--seed", "8", cwd=tmp_path)["trace_digest"] != account["trace_digest"]


@pytest.fixture
def _only_what_leads_to_the_burning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most other scenes are left out."""
    for scene in ("_try_all", "_kill_the_forger", "_part"):
        monkeypatch.setattr(SimulatedDemo, scene, lambda *_: None)


@pytest.mark.usefixtures("_only_what_leads_to_the_burning")
def test_without_a_seed_the_simulated_account_is_another_every_time(tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_bytes(REPORT)
    play = ("demo", "report.txt", "--simulated")
    ids = {in_json(*play, cwd=tmp_path, expect=1)["ledger"]["ledger_id"] for _ in range(2)}
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("nodes", "seed_of"), [("5", "4"), ("7", "4"), ("4", "4717796103643926747"), ("4", "1911648536343708474")]
)
def test_the_demo_works_with_other_numbers_of_nodes_and_when_the_fraud_is_not_heard_at_once(
    tmp_path: Path, nodes: str, seed_of: str
) -> None:
    (tmp_path / "report.txt").write_bytes(REPORT)
    account = in_json("demo", "report.txt", "--nodes", nodes, "--simulated", "--seed", seed_of, cwd=tmp_path)
    assert len(account["nodes"]) == int(nodes) + 1
    assert [one["what"] for one in account["verdicts"] if one["holds"]] == VERDICTS


@pytest.mark.parametrize("chance", range(3))
def test_the_demo_ends_well_whatever_is_lost_on_the_way(tmp_path: Path, chance: int, seed: Any) -> None:
    (tmp_path / "report.txt").write_bytes(REPORT)
    one = str(int(seed) * 3 + chance)
    account = in_json("demo", "report.txt", "--simulated", "--seed", one, cwd=tmp_path)
    assert account["blocks"], one


@pytest.mark.parametrize(
    ("what", "instead", "verdict"),
    [
        ("tallystick.demo.fraud.Fraud.throws", lambda fraud, what: [], "× 0 of Charlie's 29 illegal attempts"),
        ("tallystick.demo.fraud.Fraud.two_votes", lambda fraud: [fraud.sign_of_life()] * 2, "× No evidence was"),
        ("tallystick.network.simulated.SimulatedNetwork.crash", lambda network, name: None, "no view was nullified"),
        ("tallystick.network.simulated.SimulatedNetwork.partition", lambda network, *groups: None, "× The halves"),
        ("tallystick.demo.scenes.check_file", lambda path, doors: FileLine(path.name, "", [], []), "× 0 of 1 file"),
        (
            "tallystick.demo.scenes.SimulatedDemo._node_line",
            lambda demo, name: NodeLine(name, name, 0, 67, "00", 0, "00"),
            "× The 5 nodes do not agree",
        ),
        ("tallystick.demo.play.Play.judge_joining", lambda *_: None, "× Nobody judged this: the_joiner_caught_up"),
    ],
)
def test_what_the_demo_could_not_show_it_does_not_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, instead: Any, verdict: str
) -> None:
    (tmp_path / "README.md").write_text("read me")
    monkeypatch.setattr(what, instead)
    shown = quick("demo", "--simulated", "--seed", "4", cwd=tmp_path, expect=1).stdout
    (line,) = [line for line in shown.splitlines() if verdict in line]
    assert line.startswith("×")
    assert shown.count("✓ ") == 7 - 1, "the other verdicts"


def _charlie(kept: KeptChain, **fields: Any) -> KeptChain:
    def changed(one: views.Member) -> views.Member:
        return replace(one, **fields) if one.member.name == "Charlie" else one

    return kept._replace(members=[changed(one) for one in kept.members])


def _recorded_again(kept: KeptChain) -> KeptChain:
    holding = [one for one in kept.blocks if any(held.kind == "evidence" for held in one.certificates)]
    return kept._replace(blocks=[*kept.blocks, *holding])


@pytest.mark.usefixtures("_only_what_leads_to_the_burning")
@pytest.mark.parametrize(
    "changed",
    [
        None,
        _recorded_again,
        lambda kept: kept._replace(ledger=replace(kept.ledger, burned=99)),
        lambda kept: kept._replace(members=[replace(one, is_burned=True) for one in kept.members]),
        lambda kept: _charlie(kept, staked=1),
        lambda kept: _charlie(kept, free=1),
        lambda kept: _charlie(kept, unbonding=[views.Unbonding(1, 0, 0, 0)]),
        lambda kept: _charlie(kept, is_burned=False),
    ],
)
def test_that_a_stake_is_burned_is_judged_by_the_kept_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: Callable[[KeptChain], KeptChain] | None
) -> None:
    (tmp_path / "README.md").write_text("read me")
    if changed is not None:
        monkeypatch.setattr(scenes, "read_back", lambda chain: changed(read_back(chain)))
    account = in_json("demo", "--simulated", "--seed", "4", cwd=tmp_path, expect=1)
    (holds,) = [one["holds"] for one in account["verdicts"] if one["what"] == "burned_the_stake_of_who_signed_twice"]
    assert holds is (changed is None)


WENT_ON = Killing("node-3", 10, 0, 9, 5_000, 14, Moment(1_000, 11), Moment(6_000, 14), Moment(7_000, 16))


@pytest.mark.parametrize(
    ("one", "is_missed", "says"),
    [
        (WENT_ON, True, "block 11 was final without it; back after 5.0 s, it caught up in 1.0 s, and votes again"),
        (WENT_ON, False, "node-3 was killed, and no view was nullified for lack of it"),
        (replace(WENT_ON, went_on=Moment()), True, "the ledger did not go on"),
        (replace(WENT_ON, went_on=Moment(1_000, 10)), False, "the ledger did not go on"),
        (replace(WENT_ON, went_on=Moment(1_000, 15)), True, "the ledger did not go on"),
        (replace(WENT_ON, caught_up=Moment()), True, "node-3, which was killed, did not come back"),
        (replace(WENT_ON, caught_up=Moment(6_000, 13)), True, "node-3, which was killed, did not come back"),
        (replace(WENT_ON, voted_again=Moment()), True, "node-3, which was killed, did not come back"),
    ],
)
def test_a_killing_is_judged_by_the_blocks_and_told_as_it_was(one: Killing, is_missed: bool, says: str) -> None:
    verdict = Play(Terminal(quiet=True), lambda: 0, 0).judge_killing(one, is_missed=is_missed)
    assert verdict.says.endswith(says)
    assert verdict.holds is (says.endswith("votes again"))


def test_a_node_votes_again_when_it_signs_a_ballot_and_not_before() -> None:
    demo = SimulatedDemo(Terminal(quiet=True), [Path(__file__)], 4, 1, 0)
    demo._votes["Node 1"] = voted = Moment()
    host: Any = SimpleNamespace(name="Node 1")
    place = demo.genesis.ledger_id, 0, 1
    for record in (Floor(*place), Signed(*place, bytes(32), None)):
        demo._on_action(host, PersistSigned((record,)))
        assert voted.ms is None
    demo._on_action(host, PersistSigned((Floor(*place), Signed(*place, None, Ballot(NULLIFY, 0, 1, bytes(32))))))
    assert voted.ms is not None


def test_the_readme_shows_what_the_demo_prints(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    shutil.copy(root / "LICENSE", tmp_path)
    told, _, sample = (root / "README.md").read_text().partition(" ends so, every time:\n\n```text\n")
    command = told.rpartition("`tallystick ")[2].rstrip("`").split()
    picture, verdicts = (part.split("\n") for part in sample.partition("\n```")[0].split("\n\n"))
    shown = [line.rstrip() for line in tallystick(*command, cwd=tmp_path).stdout.split("\n")]
    for part in (picture, verdicts):
        first = shown.index(part[0])
        assert shown[first : first + len(part)] == part
    assert [line[0] for line in shown if line.startswith(("✓", "×"))].count("✓") == len(VERDICTS)


def test_into_a_pipe_the_story_and_the_account_are_printed_for_people(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("read me")
    shown = tallystick("demo", "--simulated", "--seed", "7", cwd=tmp_path).stdout
    for words in (
        "Alice certifies README.md at Node 1",
        "refuses [C1] Charlie: a certificate in Alice's name",
        "Node 5 joins, with an empty chain",
        "Node 5 has caught up",
        "An open ledger: no organisations, anybody certifies",
        "is killed, drawn to forge in view",
        "The ledger goes on without Node",
        "votes again, in view",
        "Charlie votes for two blocks in view",
        "Charlie loses the 100 tokens at stake",
        "The network parts: nodes 1 2 | 3 4",
        "The ledger goes on by itself",
        "Who forged when",
        "Who has what at stake, forged what, and voted",
        "What was refused, and by which rule",
        "✓ All 5 nodes agree",
        "✓ 29 of Charlie's 29 illegal attempts were refused",
        "✓ 1 of 1 file verified, and failed when changed",
        "tallystick search --file README.md",
    ):
        assert words in shown
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_where_there_is_no_readme_the_demo_certifies_files_of_its_own(tmp_path: Path) -> None:
    shown = quick("demo", "--simulated", cwd=tmp_path).stdout
    assert "No README.md or LICENSE here" in shown
    searched = next(line for line in shown.splitlines() if "search --file" in line)
    found = in_json(*searched.split()[1:], cwd=tmp_path)
    assert len(found["certificates"]) == 1
    assert "✓ 2 of 2 files verified" in shown


def test_a_terminal_without_our_signs_gets_others(tmp_path: Path) -> None:
    shown = tallystick("demo", "--simulated", cwd=tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="0").stdout
    assert "? All 5 nodes agree" in shown


def test_an_earlier_demo_is_replaced_and_nothing_else(after: Path) -> None:
    before = in_json("show", cwd=after)["ledger_id"]
    quick("demo", "data.csv", "--simulated", cwd=after)
    assert in_json("show", cwd=after)["ledger_id"] != before
    for name, content in (("notes.txt", b"my notes, not yours to overwrite"), ("empty", b"")):
        (after / name).write_bytes(content)
        for kind in ([], ["--simulated"]):
            quick("demo", "data.csv", "--chain", name, *kind, cwd=after, expect=2)
        assert (after / name).read_bytes() == content
    Store.create(after / "real.db", GENESIS).close()
    real = (after / "real.db").read_bytes()
    done = quick("demo", "data.csv", "--chain", "real.db", cwd=after, expect=2)
    assert "holds the ledger 'test' and is left alone; name another file with --chain" in done.stderr
    assert (after / "real.db").read_bytes() == real


def test_a_demo_killed_in_the_middle_leaves_a_chain_that_can_be_read_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_bytes(REPORT)
    command = [sys.executable, "-m", "tallystick", "demo", "report.txt", "--simulated", "--speed", "20"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("Block 4 by" in line for line in process.stdout)
        process.send_signal(signal.SIGKILL)
    with Store.open(tmp_path / CHAIN, read_only=True) as store:
        assert CheckedChain(store).state.index >= 3
    assert "File report.txt" in quick("search", "--file", "report.txt", cwd=tmp_path).stdout
    quick("demo", "report.txt", "--simulated", cwd=tmp_path)


def test_a_demo_that_is_interrupted_says_so(tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_bytes(REPORT)
    command = [sys.executable, "-m", "tallystick", "demo", "report.txt", "--simulated", "--speed", "10"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any("Block 1 by" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        message = process.stderr.read()
    assert process.returncode == 130
    assert f"stopped; the blocks forged so far are in {CHAIN}" in " ".join(message.split())
    quick("show", cwd=tmp_path)


def test_speed_is_kept(tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_bytes(REPORT)
    begun = time.monotonic()
    account = in_json("demo", "report.txt", "--simulated", "--speed", "20", cwd=tmp_path)
    assert time.monotonic() - begun > account["took_ms"] / 1000 / 20


@pytest.mark.parametrize(("frame_s", "took_s"), [(0.003, 0.05), (0.01, 0.1)])
def test_what_the_demo_itself_takes_is_no_pause_beside_the_speed(
    monkeypatch: pytest.MonkeyPatch, frame_s: float, took_s: float
) -> None:
    now_s = [0.0]

    def pass_time(duration_s: float) -> None:
        assert duration_s >= 0
        now_s[0] += duration_s

    monkeypatch.setattr(simulation, "time", SimpleNamespace(monotonic=lambda: now_s[0], sleep=pass_time))
    demo = SimulatedDemo(Terminal(quiet=True), [Path(__file__)], 4, 1, 20)
    monkeypatch.setattr(demo._network, "run_for", lambda duration_ms: pass_time(frame_s))
    demo._elapse(10 * simulation.FRAME_MS)
    assert now_s[0] == pytest.approx(took_s)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("gone.txt", "there is no file gone.txt"),
        (".", "is a directory; name the files in it one by one"),
        ("empty", "is empty: there is nothing to certify or to verify"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(after: Path, file: str, message: str) -> None:
    (after / "empty").touch()
    done = quick("demo", file, cwd=after, expect=2)
    assert message in done.stderr
    assert done.stdout == ""


def tamper(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("UPDATE blocks SET encoded = x'c1' WHERE block_index = 3", "block 3 was altered: [E2]"),
        ("UPDATE blocks SET encoded = replace(encoded, CAST('File' AS BLOB), CAST('Fake' AS BLOB))", "was altered: ["),
        ("DELETE FROM blocks WHERE block_index = 2", "block 2 was altered: [B1]"),
        ("UPDATE payloads SET encoded = x'c1'", "was altered: [E2]"),
    ],
)
def test_a_tampered_chain_fails_and_names_the_rule(after: Path, sql: str, message: str) -> None:
    tamper(after / CHAIN, sql)
    for command in (["show"], ["show", "stakes"]):
        done = quick(*command, cwd=after, expect=7)
        assert message in done.stderr
        assert done.stdout == ""


def test_who_votes_in_an_epoch_is_read_from_the_blocks_and_not_from_a_table_of_the_file(after: Path) -> None:
    epochs = read_back(after / CHAIN).epochs
    tamper(after / CHAIN, "UPDATE epoch_ends SET members = NULL")
    assert read_back(after / CHAIN).epochs == epochs
    assert len({*map(str, epochs)}) > 1


def test_a_truncated_chain_is_told(after: Path) -> None:
    os.truncate(after / CHAIN, (after / CHAIN).stat().st_size // 2)
    for command in (["show"],):
        done = quick(*command, cwd=after, expect=7)
        assert "is damaged, or only a part of a file; check and repair it" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_takes_no_chain(after: Path) -> None:
    after.chmod(0o500)
    try:
        for kind in ([], ["--simulated"]):
            tallystick("demo", "report.txt", "--chain", "new.db", *kind, cwd=after, expect=2)
    finally:
        after.chmod(0o700)


# ---- the command itself ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["demo"], ["show"], ["verify"]])
def test_help_has_an_example_and_the_exit_codes(tmp_path: Path, command: list[str]) -> None:
    shown = quick(*command, "--help", cwd=tmp_path).stdout
    assert "Example" in shown
    assert "tallystick demo" in shown or f"tallystick {command[0]}" in shown
    assert "Exit codes: 0" in shown


def test_version(tmp_path: Path) -> None:
    assert tallystick("--version", cwd=tmp_path).stdout.startswith("tallystick 0.")


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["demo", "--nodes", "3"],
        ["demo", "--nodes", "51"],
        ["demo", "--seed", "-1"],
        ["demo", "--speed", "-1"],
        ["demo", "--speed", "1"],
        ["demo", "--seed", "1"],
        ["demo", "--nodes", "17"],
    ],
)
def test_wrong_usage_ends_with_2(tmp_path: Path, args: list[str]) -> None:
    assert quick(*args, cwd=tmp_path, expect=2).stdout == ""
    assert not (tmp_path / CHAIN).exists()


def test_the_installed_command_is_the_same(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("tallystick")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == tallystick("--version", cwd=tmp_path).stdout


def test_where_the_shell_does_not_find_the_command_its_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after `make demo`, which installs it into `.venv`."""
    program = tmp_path / "the bin" / "tallystick"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program), "demo"])
    monkeypatch.setenv("PATH", str(tmp_path))
    output.say_how_to_find_it()
    told = capsys.readouterr().out.splitlines()[-1]
    asked = subprocess.run(
        ["/bin/bash", "-c", f"{told}; command -v tallystick"], capture_output=True, text=True, check=True
    )
    assert asked.stdout == f"{program}\n"
    monkeypatch.setenv("PATH", str(program.parent))
    output.say_how_to_find_it()
    assert capsys.readouterr().out == ""
