"""What a node's operator asks it with the command: status, stake, invite, unban, erase, names, backup, config."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import fields, replace
from tests.integration.command_line import REPORT, cli, in_json
from tests.integration.network import Network, NodeProcess, running_network, wait_for

from tallystick.api import views
from tallystick.cli.words import utc
from tallystick.client.blocking import Client
from tallystick.host.data_folder import DataFolder
from tallystick.host.invite import read_invite
from tallystick.ledger.params import Params
from tallystick.problems import NotRunning

PARAMS = Params(delta_ms=100, epoch_ms=600_000, unbonding_blocks=200, unbonding_ms=3_600_000)


@pytest.fixture(scope="module")
def pair() -> Iterator[Network]:
    """Two members, who both have to vote."""
    with running_network(2, PARAMS) as net:
        yield net


@pytest.fixture
def node(pair: Network) -> NodeProcess:
    return pair.nodes[0]


def at(node: NodeProcess) -> tuple[str, str]:
    return "--data", str(node.folder.path)


# ---- status ---------------------------------------------------------------------------------------------------


def test_status_says_how_the_node_is(pair: Network, node: NodeProcess, tmp_path: Path) -> None:
    pair.wait_until_agreed()
    told = in_json("status", *at(node), cwd=tmp_path)
    assert list(told) == [one.name for one in fields(views.Status)]
    assert (told["state"], told["is_well"], told["missing"]) == ("quiet", True, [])
    shown = cli("status", *at(node), cwd=tmp_path).stdout
    assert shown.startswith("✓ quiet: nothing waits; a quiet ledger makes no blocks")
    for words in ("votes with 100 of 200 tokens", "node-1", node.folder.settings().address, "1 connected; 2 of 2"):
        assert words in shown


def test_a_member_that_is_off_is_named_and_nothing_can_become_final(pair: Network, tmp_path: Path) -> None:
    first, second = pair.nodes
    assert second.stop() == 0
    try:
        wait_for(lambda: first.status().members_connected == 1, "it is missed")
        told = in_json("status", *at(first), cwd=tmp_path, expect=1)
        assert (told["state"], told["is_well"], told["waiting"]) == ("out_of_reach", False, 0)
        assert [one["member"]["name"] for one in told["missing"]] == ["node-2"]
        shown = cli("status", *at(first), cwd=tmp_path, expect=1).stdout
        reach = "100 of 200 tokens at stake are in reach, 134 are needed; missing: node-2"
        assert f"× out of reach: nothing can become final: {reach}" in shown
        assert re.search(r"missing +node-2 \(\w{8}…\) with 100 tokens: not connected, last heard of .* ago", shown)
    finally:
        second.start()
    wait_for(lambda: first.status().members_connected == 2, "it is back")
    cli("status", *at(first), cwd=tmp_path)


@pytest.mark.parametrize(
    "args",
    [["stake", "5"], ["status"], ["invite"], ["show", "peers"], ["unban", "abcd"], ["erase", "0" * 64]],
    ids=" ".join,
)
def test_without_a_running_node_it_ends_with_3_and_says_how_to_start_it(folder: Path, args: list[str]) -> None:
    assert "tallystick run --data node" in cli(*args, "--data", "node", cwd=folder, expect=3).stderr
    told = cli(*args, "--data", "elsewhere", cwd=folder, expect=2).stderr
    assert "there is no node in elsewhere: make one with tallystick new or tallystick join" in told
    assert in_json(*args, "--data", "node", cwd=folder, expect=3)["code"] == "not-running"


def test_what_only_a_node_tells_is_not_asked_of_a_file(folder: Path) -> None:
    told = cli("show", "peers", "--chain", "node/ledger.db", cwd=folder, expect=3).stderr
    assert "peers are what a running node has" in told


def test_watching_is_for_people(node: NodeProcess, tmp_path: Path) -> None:
    assert "--watch is for people" in in_json("status", "--watch", *at(node), cwd=tmp_path, expect=2)["detail"]


# ---- stake ------------------------------------------------------------------------------------------------------


def test_stake_says_when_it_takes_effect(node: NodeProcess, tmp_path: Path) -> None:
    shown = " ".join(cli("stake", "7", *at(node), cwd=tmp_path).stdout.split())
    assert shown.startswith("✓ 7 tokens staked: block ")
    assert "It counts from epoch 1 on; it begins after the first block that is 10 min or more into epoch 0." in shown
    assert "liable" not in shown
    (outcome,) = in_json("stake", "1", *at(node), cwd=tmp_path)["outcomes"]
    assert outcome["state"] == "final"
    assert in_json("show", "certificate", outcome["id"], *at(node), cwd=tmp_path)["amount"] == 1


def test_withdrawing_asks_and_says_until_when_the_tokens_are_liable(node: NodeProcess, tmp_path: Path) -> None:
    before = in_json("show", "member", "node-1", *at(node), cwd=tmp_path)
    told = cli("stake", "-3", *at(node), cwd=tmp_path, expect=2).stderr
    assert "The node votes with the tokens until epoch 1 begins, or the one after. They are liable, and free no" in told
    assert "no sooner than epoch 2, block" in told
    assert "let the node run until then. Withdraw 3 tokens from stake? Say so with --yes" in told
    assert in_json("show", "member", "node-1", *at(node), cwd=tmp_path) == before, "nothing was withdrawn"
    shown = " ".join(cli("stake", "-3", "--yes", *at(node), cwd=tmp_path).stdout.split())
    after = in_json("show", "member", "node-1", *at(node), cwd=tmp_path)["account"]
    assert after["staked"] == before["account"]["staked"] - 3
    (unbonding,) = after["unbonding"]
    until = f"epoch {unbonding['free_from_epoch']}, block {unbonding['free_from_block']} and "
    assert f"They are liable, and free from {until}{utc(unbonding['free_from_ms'])} on. Let the node run" in shown
    listed = cli("show", "member", "node-1", *at(node), cwd=tmp_path).stdout
    assert f"3 tokens until {until}{utc(unbonding['free_from_ms'])}" in listed


def test_a_stake_that_is_refused_names_the_rule(node: NodeProcess, tmp_path: Path) -> None:
    assert "[S2] tokens to stake are" in cli("stake", "5000", *at(node), cwd=tmp_path, expect=6).stderr
    (outcome,) = in_json("stake", "5000", *at(node), cwd=tmp_path, expect=6)["outcomes"]
    assert (outcome["state"], outcome["rule"]) == ("refused", "S2")
    assert "0 tokens move nothing" in cli("stake", "0", *at(node), cwd=tmp_path, expect=2).stderr


def test_a_stake_is_told_also_when_the_node_goes_away_then(
    node: NodeProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise NotRunning("no node runs there")

    monkeypatch.setattr(Client, "block", gone)
    for amount, state, code in (("1", "final", 0), ("5000", "refused", 6)):
        (outcome,) = in_json("stake", amount, *at(node), cwd=tmp_path, expect=code)["outcomes"]
        assert outcome["state"] == state
    assert "[S2] tokens to stake are" in cli("stake", "5000", *at(node), cwd=tmp_path, expect=6).stderr
    shown = cli("stake", "1", *at(node), cwd=tmp_path)
    assert shown.stdout.startswith("✓ 1 tokens staked: block ")
    assert "warning: from when on it counts was not told: no node runs there" in shown.stderr


def test_under_json_a_stake_is_one_object_and_nothing_is_asked_after_it(
    node: NodeProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "block", interrupted)
    (outcome,) = in_json("stake", "1", *at(node), cwd=tmp_path)["outcomes"]
    assert outcome["state"] == "final"


# ---- invite, unban, erase ---------------------------------------------------------------------------------------


def test_an_invite_is_one_line_that_names_the_ledger(node: NodeProcess, tmp_path: Path) -> None:
    line = cli("invite", *at(node), cwd=tmp_path).stdout
    invite = read_invite(line.strip())
    assert invite.ledger_id.hex() == node.status().ledger_id
    assert in_json("invite", *at(node), cwd=tmp_path) == {"schema": 1, "invite": line.strip()}


def test_who_is_not_banned_is_not_let_in_again(node: NodeProcess, tmp_path: Path) -> None:
    told = cli("unban", "node-2", *at(node), cwd=tmp_path, expect=5).stderr
    assert "no banned peer is called node-2" in told


def test_a_payload_is_erased_and_everything_else_stays(node: NodeProcess, tmp_path: Path) -> None:
    (tmp_path / "secret name.txt").write_bytes(REPORT)
    with Client(node.folder.path) as client:
        certified = client.certify(tmp_path / "secret name.txt").id
        search = ("search", "secret", *at(node))
        wait_for(lambda: in_json(*search, cwd=tmp_path)["certificates"], "it is found")
        told = cli("erase", certified[:12], *at(node), cwd=tmp_path, expect=2).stderr
        assert "… about the file secret name.txt from this node, for good?" in told
        assert "The certificate and every proof of it stay; other nodes and backups keep their copies." in told
        assert client.certificate(certified).payload is not None
        assert "is erased here" in cli("erase", certified[:12], "--yes", *at(node), cwd=tmp_path).stdout
        one = client.certificate(certified)
        assert one.payload is None
        assert one.payload_hash is not None
    assert "not kept here: it was erased" in cli("show", "certificate", certified, *at(node), cwd=tmp_path).stdout
    file = str(tmp_path / "secret name.txt")
    wait_for(lambda: not in_json("search", "--file", file, *at(node), cwd=tmp_path)["certificates"], "it is let go")
    erased = {"schema": 1, "payload_hash": one.payload_hash, "order": None, "confirmations": []}
    assert in_json("erase", one.payload_hash, "--yes", *at(node), cwd=tmp_path) == erased
    ordering = cli("erase", certified, "--everywhere", "--yes", *at(node), cwd=tmp_path, expect=2).stderr
    assert "this ledger is open" in ordering
    cli("erase", "00000000", "--yes", *at(node), cwd=tmp_path, expect=5)
    (stake,) = in_json("stake", "1", *at(node), cwd=tmp_path)["outcomes"]
    assert "has no payload" in cli("erase", stake["id"], "--yes", *at(node), cwd=tmp_path, expect=5).stderr


# ---- names ------------------------------------------------------------------------------------------------------


def book(node: NodeProcess, cwd: Path) -> dict[str, str]:
    return {one["key"]: one["name"] for one in in_json("names", "list", *at(node), cwd=cwd)["names"]}


def test_a_running_node_calls_others_as_its_operator_does(pair: Network, node: NodeProcess, tmp_path: Path) -> None:
    key, stranger = pair.nodes[1].folder.public_key().hex(), "ab" * 32
    try:
        cli("names", "set", key[:8], "Bertha", *at(node), cwd=tmp_path)
        assert "Bertha (" in cli("show", "peers", *at(node), cwd=tmp_path).stdout
        assert in_json("show", "member", "Bertha", *at(node), cwd=tmp_path)["account"]["member"]["key"] == key
        cli("names", "set", stranger, "Cecil", *at(node), cwd=tmp_path)
        assert book(node, tmp_path)[stranger] == "Cecil"
        assert cli("search", "--issuer", "Cecil", *at(node), cwd=tmp_path).stdout == "", "who has no account is found"
        cli("names", "set", stranger, "Bertha", *at(node), cwd=tmp_path)
        cli("names", "set", "Cecil", "Carl", *at(node), cwd=tmp_path, expect=5)
    finally:
        for one, name in ((stranger, ""), (key, "node-2")):
            cli("names", "set", one, name, *at(node), cwd=tmp_path)
    assert set(book(node, tmp_path).values()) == {"node-1", "node-2"}


def test_the_address_book_of_a_stopped_node_is_kept_too(folder: Path) -> None:
    key, stranger = (
        in_json("show", "member", "Bob", "--data", "node", cwd=folder)["account"]["member"]["key"],
        "ab" * 32,
    )
    for who, name in (("Bob", "Robert"), (key[:8], "Roberta"), (stranger, "Cecil")):
        cli("names", "set", who, name, "--data", "node", cwd=folder)
    shown = cli("names", "list", "--data", "node", cwd=folder).stdout
    assert f"Cecil      {stranger}" in shown
    assert in_json("show", "member", "Roberta", "--data", "node", cwd=folder)["account"]["member"]["key"] == key
    cli("names", "set", "Cecil", "", "--data", "node", cwd=folder)
    assert "Cecil" not in cli("names", "list", "--data", "node", cwd=folder).stdout
    cli("names", "set", "Nobody", "x", "--data", "node", cwd=folder, expect=5)
    cli("names", "set", key, "Twin", "--data", "node", cwd=folder)
    cli("names", "set", "Alice", "Twin", "--data", "node", cwd=folder)
    told = cli("show", "member", "Twin", "--data", "node", cwd=folder, expect=2).stderr
    assert "2 accounts are called Twin" in told
    assert "more than one" in cli("names", "set", "Twin", "x", "--data", "node", cwd=folder, expect=2).stderr


@pytest.mark.parametrize("name", ["x" * 101, "a\nb", "a\u202eb", "\udcff"])
def test_a_name_is_short_and_can_be_seen(folder: Path, name: str) -> None:
    told = cli("names", "set", "Bob", name, "--data", "node", cwd=folder, expect=2).stderr
    assert "a name is at most 100 characters that can be seen" in told


# ---- backup, config ---------------------------------------------------------------------------------------------


def test_a_running_node_makes_its_own_backup(node: NodeProcess, tmp_path: Path) -> None:
    """It may be in another folder than we are."""
    told = in_json("backup", "copy.db", *at(node), cwd=tmp_path)
    copy = tmp_path / "copy.db"
    assert told == {
        "schema": 1,
        "path": str(copy),
        "tip_index": node.status().tip_index,
        "size_bytes": copy.stat().st_size,
    }
    assert in_json("show", "--chain", "copy.db", cwd=tmp_path)["tip"]["index"] == told["tip_index"]
    assert "exists already" in cli("backup", "copy.db", *at(node), cwd=tmp_path, expect=2).stderr
    shown = cli("backup", "a copy.db", *at(node), cwd=tmp_path)
    assert "tallystick check --chain 'a copy.db'" in shown.stderr


def test_the_ledger_of_a_stopped_node_is_copied_from_its_file(folder: Path) -> None:
    told = in_json("backup", "copy.db", "--data", "node", cwd=folder)
    assert in_json("show", "--chain", "copy.db", cwd=folder)["tip"]["index"] == told["tip_index"] > 10
    assert "exists already" in cli("backup", "copy.db", "--data", "node", cwd=folder, expect=2).stderr


def test_config_says_where_each_setting_comes_from(folder: Path) -> None:
    key = "ab" * 32
    node = DataFolder(folder / "node")
    with_peer = f"{key}@127.0.0.1:7200"
    node.write_settings(node.settings().__class__("0.0.0.0:7117", "node.example.org:7117", (with_peer,)))
    file = "node/node.toml"
    expected = [("listen", "0.0.0.0:7117"), ("address", "node.example.org:7117"), ("bootstrap", with_peer)]
    for told, origin in (
        (in_json("config", "--data", "node", cwd=folder), "--data"),
        (in_json("config", cwd=folder, TALLYSTICK_DATA="node"), "$TALLYSTICK_DATA"),
    ):
        settings = [(one["name"], one["value"], one["origin"]) for one in told["settings"]]
        assert settings == [("folder", "node", origin), *((name, value, file) for name, value in expected)]
    shown = cli("config", "--data", "node", cwd=folder).stdout
    assert f"bootstrap    {with_peer}  ({file})" in shown
    cli("config", cwd=folder, expect=2)
    node.settings_path.write_text("listen = 5\n")
    assert "mend it by hand" in cli("config", "--data", "node", cwd=folder, expect=2).stderr


def test_config_tells_the_address_that_a_running_node_was_started_with(
    node: NodeProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_the_run = "--address of the running node"
    assert of_the_run not in cli("config", *at(node), cwd=tmp_path).stdout
    status = replace(node.status(), address="node.example.org:7200")
    monkeypatch.setattr(Client, "status", lambda _: status)
    told = in_json("config", *at(node), cwd=tmp_path)["settings"][-1]
    assert told == {"name": "address", "value": status.address, "origin": of_the_run}
