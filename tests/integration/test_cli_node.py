"""The commands with which a node comes to be: key, new, run, invite, join; and the help of all commands."""

import stat
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from tests.builders import ADA, BEN, CY, DOT, GENESIS
from tests.integration.command_line import PASSPHRASE, cli, in_json
from tests.integration.fake_node import Running
from typer.testing import CliRunner

from tallystick.cli import app, joining
from tallystick.cli.running import LogLevel
from tallystick.host.control import (
    InviteMade,
    MakeInvite,
)
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.host.invite import Invite
from tallystick.host.key_file import create_key_file
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.wallet import Wallet
from tallystick.storage.store import Store

KEYS = {name: member.public_key.hex() for name, member in (("ADA", ADA), ("BEN", BEN), ("CY", CY), ("DOT", DOT))}


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


ALL_COMMANDS = list(commands(typer.main.get_command(app)))


# ---- help and completion --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=lambda path: " ".join(path) or "tallystick")
def test_every_command_has_an_example_and_the_exit_codes_in_its_help(tmp_path: Path, command: tuple[str, ...]) -> None:
    shown = cli(*command, "--help", cwd=tmp_path).stdout
    assert "Example" in shown
    assert " ".join(("tallystick", *command)) in shown
    codes = {"run": ("0 stopped", "1 a part of it failed", "2 wrong usage", "3 its state", "4 another machine signs")}
    usual = ("0 all is well", "1 it does not verify", "2 wrong usage", "3 no node runs", "4 not final", "130 ")
    for code in codes.get(" ".join(command), usual):
        assert code in shown


def test_every_command_that_ends_by_itself_speaks_json(tmp_path: Path) -> None:
    silent = {(), ("key",), ("guard",), ("run",), ("up",)}
    for command in ALL_COMMANDS:
        assert ("--json" in cli(*command, "--help", cwd=tmp_path).stdout) == (command not in silent), command


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("tallystick cer", ["certify"]),
        ("tallystick key ", ["new", "show"]),
        ("tallystick guard ", ["show", "move", "lost", "recover", "accept-loss"]),
        ("tallystick show ", ["chain", "block", "certificate", "stakes", "member", "peers"]),
        ("tallystick show block ", []),
        ("tallystick run --log-level ", [level.value for level in LogLevel]),
        ("tallystick join ", []),
        ("tallystick stake ", []),
    ],
)
def test_the_shell_completes_what_there_is_to_complete(tmp_path: Path, typed: str, completed: list[str]) -> None:
    words = typed.split(" ")
    asked = {"_TALLYSTICK_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    with chdir(tmp_path):
        result = CliRunner(env={**asked, "HOME": str(tmp_path)}).invoke(app, [], prog_name="tallystick")
    assert result.stdout.split() == completed


# ---- keys -----------------------------------------------------------------------------------------------------


def test_a_key_is_made_once_and_its_public_half_is_shown_without_a_passphrase(tmp_path: Path) -> None:
    made = cli("key", "new", cwd=tmp_path, TALLYSTICK_PASSPHRASE=PASSPHRASE)
    public_key = made.stdout.strip()
    assert DataFolder(tmp_path / ".tallystick").wallet(PASSPHRASE).public_key.hex() == public_key
    assert cli("key", "show", cwd=tmp_path).stdout == f"{public_key}\n"
    assert in_json("key", "show", cwd=tmp_path)["public_key"] == public_key
    again = cli("key", "new", "--no-passphrase", cwd=tmp_path, expect=2)
    assert "a key is never overwritten" in again.stderr
    assert cli("key", "show", cwd=tmp_path).stdout == f"{public_key}\n"


def test_without_a_terminal_a_passphrase_has_to_come_from_somewhere(tmp_path: Path) -> None:
    for empty in ({}, {"TALLYSTICK_PASSPHRASE": ""}):
        told = cli("key", "new", cwd=tmp_path, expect=2, **empty).stderr
        assert "set $TALLYSTICK_PASSPHRASE, name a file with --passphrase-file, or say --no-passphrase" in told
    assert not (tmp_path / ".tallystick" / "key").exists()
    told = cli("key", "new", "--no-passphrase", cwd=tmp_path).stderr
    assert "warning: this key has no passphrase" in told
    assert DataFolder(tmp_path / ".tallystick").wallet("").public_key


def test_the_passphrase_comes_from_a_file_that_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text(f"{PASSPHRASE}\n")
    file.chmod(0o640)
    told = cli("key", "new", "--passphrase-file", "passphrase", cwd=tmp_path, expect=2).stderr
    assert "has mode 0640, so others may read it; run: chmod 600" in told
    file.chmod(0o600)
    cli("key", "new", "--passphrase-file", "passphrase", cwd=tmp_path)
    assert DataFolder(tmp_path / ".tallystick").wallet(PASSPHRASE).public_key


@pytest.mark.parametrize(("mode", "code"), [(0o400, 0), (0o440, 0), (0o444, 2), (0o460, 2)])
def test_a_credential_of_systemd_may_be_its_groups_to_read(tmp_path: Path, mode: int, code: int) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "passphrase").write_text(PASSPHRASE)
    (credentials / "passphrase").chmod(mode)
    args = ["key", "new", "--passphrase-file", str(credentials / "passphrase")]
    cli(*args, cwd=tmp_path, expect=code, CREDENTIALS_DIRECTORY=str(credentials))


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * 1025])
def test_a_file_without_a_passphrase_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "passphrase").write_bytes(content)
    (tmp_path / "passphrase").chmod(0o600)
    told = cli("key", "new", "--passphrase-file", "passphrase", cwd=tmp_path, expect=2).stderr
    assert "passphrase" in told
    assert "holds no" in told


# ---- new ------------------------------------------------------------------------------------------------------


def test_nodes_on_one_machine_know_each_other(tmp_path: Path) -> None:
    told = in_json("new", "class", "--members", "3", "--into", "net", "--no-passphrase", cwd=tmp_path)
    folders = [DataFolder(tmp_path / "net" / f"node-{number}") for number in (1, 2, 3)]
    settings = [one.settings() for one in folders]
    ports = [int(one.address.rsplit(":", 1)[1]) for one in settings]
    assert ports == list(range(ports[0], ports[0] + 3))
    assert all(one.listen == one.address and one.address.startswith("127.0.0.1:") for one in settings)
    own = [f"{folder.wallet('').public_key.hex()}@{one.address}" for folder, one in zip(folders, settings, strict=True)]
    assert [set(one.bootstrap) for one in settings] == [set(own) - {one} for one in own]
    assert [f"{one['public_key']}@{one['address']}" for one in told["nodes"]] == own
    for one in folders:
        assert stat.S_IMODE(one.path.stat().st_mode) == 0o700
        with Store.open(one.ledger_path, read_only=True) as store:
            assert store.genesis.ledger_id.hex() == told["ledger_id"]
            assert {one.staked for one in store.genesis.allotments} == {100}
            assert sorted(store.names().values()) == ["node-1", "node-2", "node-3"]
    again = cli("new", "class", "--members", "3", "--into", "net", "--no-passphrase", cwd=tmp_path, expect=2)
    assert "net holds something already" in again.stderr


@pytest.mark.parametrize(
    "wrong", [["--port", "65535"], ["--unbonding-blocks", "1"], ["--unbonding-ms", "1"], ["--stake", str(2**53)]]
)
def test_nodes_are_made_all_or_none(tmp_path: Path, wrong: list[str]) -> None:
    cli("new", "class", "--members", "2", "--no-passphrase", *wrong, cwd=tmp_path, expect=2)
    assert [one.name for one in tmp_path.iterdir()] == []


def test_a_ledger_is_founded_for_the_keys_that_others_made(tmp_path: Path) -> None:
    members = ["--member", f"Ada={KEYS['ADA']}", "--member", f"Ben={KEYS['BEN']}:250"]
    options = ["--address", "node.example.org:9000", "--as", "Cy", "--epoch-blocks", "7", "--epoch-ms", "1000"]
    told = in_json("new", "diplomas", *members, *options, "--data", "node", "--no-passphrase", cwd=tmp_path)
    node = DataFolder(tmp_path / "node")
    assert node.settings() == Settings("0.0.0.0:9000", "node.example.org:9000")
    own = node.wallet("").public_key
    assert [(one["name"], one["stake"]) for one in told["members"]] == [("Cy", 100), ("Ada", 100), ("Ben", 250)]
    with Store.open(node.ledger_path, read_only=True) as store:
        assert store.names() == {own: "Cy", ADA.public_key: "Ada", BEN.public_key: "Ben"}
        params = store.genesis.params
        assert (params.epoch_blocks, params.epoch_ms) == (7, 1_000)
        assert (params.unbonding_blocks, params.unbonding_ms) == (14, 4_096_000), "no more epochs than it can name"
    again = cli("new", "other", *members, *options, "--data", "node", "--no-passphrase", cwd=tmp_path, expect=2)
    assert "holds a node already" in again.stderr


def test_the_founders_own_key_may_be_among_those_named(tmp_path: Path) -> None:
    key = cli("key", "new", "--data", "node", "--no-passphrase", cwd=tmp_path).stdout.strip()
    members = ["--member", f"Ada={KEYS['ADA']}", "--member", f"me={key}:5"]
    place = ["--address", "127.0.0.1:9000", "--data", "node", "--no-passphrase"]
    told = in_json("new", "diplomas", *members, *place, cwd=tmp_path)
    assert [(one["name"], one["stake"]) for one in told["members"]] == [("Ada", 100), ("me", 5)]
    assert DataFolder(tmp_path / "node").settings().listen == "127.0.0.1:9000"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "say either --members N, or --member NAME=KEY"),
        (["--members", "2", "--member", f"A={KEYS['ADA']}"], "say either --members N, or --member NAME=KEY"),
        (["--member", "Ada"], "'Ada' does not name a member: NAME=KEY"),
        (["--member", "Ada=12ab"], "does not name a member: NAME=KEY"),
        (["--member", f"Ada={KEYS['ADA']}:0"], "1 to 9007199254740991 tokens at stake"),
        (["--member", f"Ada={'00' * 32}"], "[K1]"),
        (["--member", f"A={KEYS['ADA']}", "--member", f"A={KEYS['BEN']}"], "two members have the name A"),
        (["--member", f"A={KEYS['ADA']}", "--member", f"B={KEYS['ADA']}"], "two members have the key"),
        (["--member", f"A={KEYS['ADA']}", "--address", "nowhere"], "'nowhere' is no address"),
        (["--member", f"A={KEYS['ADA']}", "--address", "x:99999"], "'x:99999' is no address"),
    ],
)
def test_new_says_what_is_wrong(tmp_path: Path, args: list[str], message: str) -> None:
    options = [] if "--address" in args else ["--address", "127.0.0.1:9000"]
    done = cli("new", "name", *args, *options, "--no-passphrase", cwd=tmp_path, expect=2)
    assert message in " ".join(done.stderr.split())
    assert not DataFolder(tmp_path / ".tallystick").is_there


def test_a_founder_has_to_say_where_its_node_is_reached(tmp_path: Path) -> None:
    done = cli("new", "name", "--member", f"A={KEYS['ADA']}", "--no-passphrase", cwd=tmp_path, expect=2)
    assert "say where the others will reach this node, as in --address" in done.stderr


# ---- run ------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_node(tmp_path: Path) -> DataFolder:
    """A node whose key has a passphrase."""
    node = DataFolder(tmp_path / "node")
    node.create_key(ADA, PASSPHRASE, "interactive")
    node.create(Settings("127.0.0.1:7117", "127.0.0.1:7117"), GENESIS)
    return node


def test_run_hands_the_opened_key_to_the_node(
    tmp_path: Path, own_node: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[DataFolder, Wallet, dict[str, Any]]] = []

    def run_node(folder: DataFolder, wallet: Wallet, **options: Any) -> int:
        ran.append((folder, wallet, options))
        return 5

    monkeypatch.setitem(sys.modules, "tallystick.host.process", SimpleNamespace(run_node=run_node))
    args = ["run", "--data", "node", "--listen", "127.0.0.1:8000", "--log-json", "--log-level", "debug"]
    cli(*args, cwd=tmp_path, expect=2, TALLYSTICK_PASSPHRASE="wrong")
    assert not ran
    assert own_node.settings().listen == "127.0.0.1:7117"
    cli(*args, cwd=tmp_path, expect=5, TALLYSTICK_PASSPHRASE=PASSPHRASE)
    ((folder, wallet, options),) = ran
    assert folder.path == Path("node")
    assert wallet.public_key == ADA.public_key
    assert options == {"log_json": True, "log_level": "debug"}
    assert own_node.settings() == Settings("127.0.0.1:8000", "127.0.0.1:7117")


def test_run_says_what_is_missing(tmp_path: Path, own_node: DataFolder) -> None:
    assert "there is no node in other" in cli("run", "--data", "other", cwd=tmp_path, expect=2).stderr
    told = cli("run", "--data", "node", "--listen", "x", cwd=tmp_path, expect=2, TALLYSTICK_PASSPHRASE="x").stderr
    assert "'x' is no address" in told
    told = cli("run", "--data", "node", cwd=tmp_path, expect=2, TALLYSTICK_PASSPHRASE="wrong").stderr
    assert "[K4] passphrase opens the key file" in told
    own_node.key_path.chmod(0o644)
    told = cli("run", "--data", "node", cwd=tmp_path, expect=2, TALLYSTICK_PASSPHRASE=PASSPHRASE).stderr
    assert "[K3]" in told
    own_node.key_path.unlink()
    assert "has no key file any more" in cli("run", "--data", "node", cwd=tmp_path, expect=2).stderr


# ---- invite and join ------------------------------------------------------------------------------------------


def test_an_invite_is_one_line_alone(folder: Path, running: Running) -> None:
    running.start(lambda request: [InviteMade("tallystick1xyz")] if request == MakeInvite() else None)
    assert cli("invite", "--data", "node", cwd=folder).stdout == "tallystick1xyz\n"
    assert in_json("invite", "--data", "node", cwd=folder) == {"invite": "tallystick1xyz"}


@pytest.fixture
def invite_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An invite that can be read, and a node that answers with the ledger; the invites that were read."""
    invites: list[str] = []

    def read(invite: str) -> Invite:
        invites.append(invite)
        return Invite(1, GENESIS.ledger_id, BEN.public_key, ("127.0.0.1:7200",))

    monkeypatch.setattr(joining, "read_invite", read)
    monkeypatch.setattr(joining, "fetch", lambda invited, wallet: GENESIS)
    return invites


def test_whoever_is_invited_joins_with_the_line_alone(tmp_path: Path, invite_read: list[str]) -> None:
    told = in_json("join", "tallystick1", "abc", "--data", "node", "--no-passphrase", cwd=tmp_path)
    assert invite_read == ["tallystick1 abc"], "mail programs break lines"
    node = DataFolder(tmp_path / "node")
    settings = node.settings()
    assert settings.bootstrap_peers == [(BEN.public_key, "127.0.0.1:7200")]
    assert settings.listen == settings.address == told["address"]
    assert settings.address.startswith("127.0.0.1:"), "the inviting node is on this machine"
    with Store.open(node.ledger_path, read_only=True) as store:
        assert store.genesis == GENESIS
    assert told["public_key"] == node.wallet("").public_key.hex()
    assert told["stake_at_first"] == 0
    again = cli("join", "tallystick1", "--data", "node", "--no-passphrase", cwd=tmp_path, expect=2)
    assert "holds a node already" in again.stderr


def test_a_key_made_before_joins_as_the_member_that_it_is(tmp_path: Path, invite_read: list[str]) -> None:
    node = DataFolder(tmp_path / "node")
    node.make()
    create_key_file(node.key_path, ADA, PASSPHRASE, "interactive")
    args = ["join", "tallystick1", "--data", "node", "--address", "ada.example.org:7000"]
    shown = cli(*args, cwd=tmp_path, TALLYSTICK_PASSPHRASE=PASSPHRASE).stdout
    assert "a first member, with 100 tokens at stake" in shown
    assert node.settings().listen == "0.0.0.0:7000"


def test_a_ledger_that_is_not_the_invites_is_not_joined(
    tmp_path: Path, invite_read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object) -> None:
        raise Refused(Rule.N1, "the document is another ledger's")

    monkeypatch.setattr(joining, "fetch", fetch)
    assert "[N1]" in cli("join", "t", "--data", "node", "--no-passphrase", cwd=tmp_path, expect=2).stderr
    assert not DataFolder(tmp_path / "node").is_there
