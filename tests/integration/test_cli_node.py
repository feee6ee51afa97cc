"""The commands with which a node comes to be: key, new, run, invite, join; and the help of all commands."""

import json
import os
import pty
import re
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import chdir
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from tests.builders import ADA, BEN, CY, DOT, GENESIS
from tests.integration.command_line import PASSPHRASE, USUAL, cli, in_json
from tests.integration.network import Network, NodeProcess, short_folder
from tests.ports import drawn_port
from tests.working_copy import ROOT
from typer.testing import CliRunner

from tallystick.cli.app import app
from tallystick.cli.running import LogLevel
from tallystick.consensus.signing_guard import Lost
from tallystick.host import founding
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.host.guard_file import GuardFile
from tallystick.host.invite import read_invite, write_invite
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.wallet import Wallet
from tallystick.problems import ExitCode, NodeExit
from tallystick.storage.store import Store

KEYS = {name: member.public_key.hex() for name, member in (("ADA", ADA), ("BEN", BEN), ("CY", CY), ("DOT", DOT))}


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name in group.list_commands(None) if hasattr(group, "list_commands") else ():
        yield from commands(group.get_command(None, name), (*path, name))


@cache
def help_of(command: tuple[str, ...]) -> str:
    """What a command prints with --help."""
    return cli(*command, "--help", cwd=Path.cwd()).stdout


ALL_COMMANDS = list(commands(typer.main.get_command(app)))
INVITE = write_invite(GENESIS.ledger_id, BEN.public_key, ("127.0.0.1:9",))


@pytest.fixture
def own_node(tmp_path: Path) -> DataFolder:
    """A node whose key has a passphrase."""
    node = DataFolder(tmp_path / "node")
    node.create_key(ADA, PASSPHRASE, "interactive")
    node.create(Settings("127.0.0.1:7117", "127.0.0.1:7117"), GENESIS)
    return node


# ---- help and completion --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=lambda path: " ".join(path) or "tallystick")
def test_every_command_has_an_example_and_the_exit_codes_in_its_help(command: tuple[str, ...]) -> None:
    shown = help_of(command)
    assert "Example" in shown
    assert " ".join(("tallystick", *command)) in shown
    codes = {"run": ("0 stopped", "1 a part of it failed", "2 wrong usage", "3 its state", "4 another machine signs")}
    usual = ("0 all is well", "1 the ledger does not advance", "2 wrong usage", "3 no node runs", "4 not in time")
    further = ("5 not there", "6 refused by a rule", "7 damaged", "130 stopped by Ctrl-C")
    for code in codes.get(" ".join(command), (*usual, *further)):
        assert code in shown


def test_what_stands_in_brackets_is_shown_in_the_help() -> None:
    """The names of extras are no markup."""
    for command, extra in ((("renew",), "without tallystick[pq]"), (("key", "ml-dsa"), "pip install 'tallystick[pq]'")):
        assert extra in " ".join(help_of(command).split())


def test_the_manual_lists_all_exit_codes() -> None:
    _, commands, node = (ROOT / "docs" / "operate.md").read_text().split("**Exit codes")
    told = " ".join(commands.split("\n\n", maxsplit=1)[0].split())
    for one in ExitCode:
        assert f"{one.value} {one.says.split(' or ')[0]}" in told
    _, _, *rows = node.split("\n\n")[1].splitlines()
    assert [row.split(" | ")[0] for row in rows] == [f"| {ended.value}" for ended in NodeExit]


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=lambda path: " ".join(path) or "tallystick")
def test_the_help_names_no_type_of_python(command: tuple[str, ...]) -> None:
    shown = help_of(command)
    assert not re.search(r"<[A-Za-z][^>|=]*>", shown)
    if command == ("certify",):
        assert re.search(r"--note +NOTE +More about it", shown)


GROUPS = ("key", "guard", "names", "member", "motion", "issuer", "trust", "witness")
SILENT = {(), ("run",), ("up",), *((name,) for name in GROUPS)}
"""They end when they are told to, or only name further commands."""
IN_JSON = [one for one in ALL_COMMANDS if one not in SILENT]


def test_every_command_that_ends_by_itself_speaks_json() -> None:
    for command in ALL_COMMANDS:
        assert ("--json" in help_of(command)) == (command in IN_JSON), command


def problem_of(tmp_path: Path, *args: str) -> Any:
    """What a command that fails under --json prints: one object, with the code that it ends with."""
    with chdir(tmp_path):
        result = CliRunner(env={"HOME": str(tmp_path)}).invoke(app, [*args, "--json"])
    told = json.loads(result.stdout)
    assert told["exit_code"] == result.exit_code, (args, result.stdout)
    assert result.exit_code in set(ExitCode) - {ExitCode.OK}
    assert told["type"] == f"urn:tallystick:problem:{told['code']}"
    assert told["detail"]
    return told


@pytest.mark.parametrize("command", IN_JSON, ids=" ".join)
def test_wrong_usage_is_told_as_json(tmp_path: Path, command: tuple[str, ...]) -> None:
    told = problem_of(tmp_path, *command, "--no-such-option")
    assert (told["code"], told["exit_code"]) == ("bad-request", ExitCode.USAGE)
    assert "--no-such-option" in told["detail"] or "'AMOUNT'" in told["detail"]


ARGUMENTS: dict[tuple[str, ...], Sequence[str]] = {
    ("demo",): ["missing.txt"],
    ("new",): ["name", "--members", "2", "--delta-ms", "1", "--no-passphrase"],
    ("join",): ["tallystick1"],
    ("certify",): ["missing.txt"],
    ("verify",): ["missing.txt"],
    ("renew",): ["."],
    ("anchor",): ["."],
    ("page",): ["--to", "no/such/folder.html"],
    ("trust", "add"): ["ab"],
    ("trust", "add-tsa"): ["missing.pem"],
    ("trust", "show"): ["ours"],
    ("trust", "remove"): ["ours"],
    ("stake",): ["5"],
    ("show", "block"): ["1"],
    ("show", "certificate"): ["ab" * 32],
    ("show", "member"): ["Ada"],
    ("guard", "move"): ["elsewhere"],
    ("audit",): ["elsewhere"],
    ("witness", "new"): ["witness.example"],
    ("witness", "add-log"): ["log.example"],
    ("backup",): ["copy.db"],
    ("unban",): ["ab" * 32],
}
"""Of commands that need some."""


@pytest.mark.parametrize("command", [one for one in IN_JSON if one != ("trust", "list")], ids=" ".join)
def test_what_is_in_the_way_in_an_empty_folder_is_told_as_json(tmp_path: Path, command: tuple[str, ...]) -> None:
    told = problem_of(tmp_path, *command, *ARGUMENTS.get(command, ()))
    others = {
        ("join",): ExitCode.REFUSED,
        ("trust", "show"): ExitCode.NOT_THERE,
        ("trust", "remove"): ExitCode.NOT_THERE,
        ("audit",): ExitCode.NOT_TRUSTED,
        ("witness", "show"): ExitCode.NOT_THERE,
        ("witness", "add-log"): ExitCode.REFUSED,
    }
    expected = (others[command],) if command in others else (ExitCode.USAGE, ExitCode.NOT_RUNNING)
    assert told["exit_code"] in expected, told


def test_what_a_rule_refuses_is_told_with_the_rule(tmp_path: Path, own_node: DataFolder) -> None:
    own_node.key_path.chmod(0o644)
    told = problem_of(tmp_path, "key", "show", "--data", "node")
    assert (told["code"], told["exit_code"], told["rule"]) == ("refused", ExitCode.REFUSED, "K3")
    assert told["detail"].startswith("[K3] key file readable by its owner alone: ")
    own_node.key_path.chmod(0o600)
    signing = ("certify", "--subject", "x", "--key", "node/key", "--no-passphrase", "--data", "node")
    assert problem_of(tmp_path, *signing)["rule"] == "K4"
    assert "[K4]" in cli(*signing, cwd=tmp_path, expect=6).stderr


@pytest.mark.parametrize(
    ("command", "instead"),
    [
        (["key", "new", "--data", "new"], "set $TALLYSTICK_PASSPHRASE, name a file with --passphrase-file, or say"),
        (["guard", "accept-loss", "--data", "node"], "Say so with --yes"),
    ],
)
def test_under_json_nothing_is_asked(tmp_path: Path, own_node: DataFolder, command: list[str], instead: str) -> None:
    """Not even at a terminal."""
    with GuardFile.open(own_node.guard_path, ADA.public_key) as guard:
        guard.append([Lost(GENESIS.ledger_id)])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLYSTICK_")}
    terminal, stdin = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tallystick", *command, "--json"],
            cwd=tmp_path,
            env={**environment, "HOME": str(tmp_path)},
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            start_new_session=True,
            check=False,
        )
    finally:
        os.close(terminal)
        os.close(stdin)
    told = json.loads(done.stdout)
    assert (done.returncode, told["code"], done.stderr) == (ExitCode.USAGE, "bad-request", "")
    assert instead in told["detail"]


OF_A_RUNNING_NODE = ("zmq", "uvicorn", "h11", "structlog", "multiprocessing")
HEAVY = (*OF_A_RUNNING_NODE, "httpx", "starlette", "rich.progress", "prometheus_client", "platformdirs")

COMMAND = "from tallystick.__main__ import main; main()"


def loaded(libraries: Sequence[str], code: str, *args: str, cwd: Path, expect: int = 0) -> list[str]:
    """Which of these the code has loaded when it has ended."""
    heard = f"print(json.dumps([one for one in {libraries} if one in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"import atexit, json, sys\natexit.register(lambda: {heard})\n{code}", *args],
        cwd=cwd,
        env={**os.environ, "HOME": str(cwd)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "command",
    [
        ["--version"],
        ["key", "show", "--data", "node"],
        ["guard", "show", "--data", "node"],
        [
            "new",
            "name",
            "--member",
            f"Ada={KEYS['ADA']}",
            "--as",
            "Cy",
            "--address",
            "127.0.0.1:9000",
            "--no-passphrase",
            "--data",
            "new",
        ],
        ["run", "--data", "elsewhere"],
        ["check", "--data", "elsewhere"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_command_loads_what_it_needs_and_no_more(tmp_path: Path, own_node: DataFolder, command: list[str]) -> None:
    assert loaded(HEAVY, COMMAND, *command, cwd=tmp_path, expect=2 if "elsewhere" in command else 0) == []


@pytest.mark.parametrize(
    "command", [["show"], ["show", "log"], ["search", "diploma"], ["verify", "report"]], ids=" ".join
)
def test_a_command_that_reads_a_file_loads_nothing_of_a_running_node(
    tmp_path: Path, own_node: DataFolder, command: list[str]
) -> None:
    (tmp_path / "report").write_text("report")
    expect = 11 if "verify" in command else 0
    assert loaded(OF_A_RUNNING_NODE, COMMAND, *command, "--data", "node", cwd=tmp_path, expect=expect) == []


def test_the_package_loads_no_library_before_it_is_used(tmp_path: Path) -> None:
    assert loaded(("msgspec", "nacl", "typer", "rich", *HEAVY), "import tallystick", cwd=tmp_path) == []


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("tallystick cer", ["certify"]),
        ("tallystick key ", ["new", "ml-dsa", "show", "admit", "rotate", "continue"]),
        ("tallystick guard ", ["show", "move", "lost", "recover", "accept-loss"]),
        ("tallystick show ", ["chain", "blocks", "block", "certificate", "log", "stakes", "member", "peers"]),
        ("tallystick show block ", []),
        ("tallystick run --log-level ", list(get_args(LogLevel))),
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
    assert DataFolder(tmp_path / USUAL).wallet(PASSPHRASE).public_key.hex() == public_key
    assert cli("key", "show", cwd=tmp_path).stdout == f"{public_key}\n"
    assert in_json("key", "show", cwd=tmp_path)["public_key"] == public_key
    again = cli("key", "new", "--no-passphrase", cwd=tmp_path, expect=2)
    assert "a key is never overwritten" in again.stderr
    assert cli("key", "show", cwd=tmp_path).stdout == f"{public_key}\n"


def test_without_a_named_folder_it_is_the_users_own_for_data(tmp_path: Path) -> None:
    cases: tuple[tuple[Path, dict[str, Any]], ...] = (
        (tmp_path / USUAL, {}),
        (tmp_path / "data" / "tallystick", {"XDG_DATA_HOME": str(tmp_path / "data")}),
        (tmp_path / "named", {"XDG_DATA_HOME": str(tmp_path / "other"), "TALLYSTICK_DATA": "named"}),
    )
    for folder, environment in cases:
        cli("key", "new", "--no-passphrase", cwd=tmp_path, **environment)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert cli("key", "show", cwd=tmp_path, **environment).stdout == f"{DataFolder(folder).public_key().hex()}\n"
    assert not (tmp_path / "other").exists()


def test_without_a_terminal_a_passphrase_has_to_come_from_somewhere(tmp_path: Path) -> None:
    for empty in ({}, {"TALLYSTICK_PASSPHRASE": ""}):
        told = cli("key", "new", cwd=tmp_path, expect=2, **empty).stderr
        assert "set $TALLYSTICK_PASSPHRASE, name a file with --passphrase-file, or say --no-passphrase" in told
    assert not (tmp_path / USUAL / "key").exists()
    told = cli("key", "new", "--no-passphrase", cwd=tmp_path).stderr
    assert "warning: this key has no passphrase" in told
    assert DataFolder(tmp_path / USUAL).wallet("").public_key


def test_the_passphrase_comes_from_a_file_that_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text(f"{PASSPHRASE}\n")
    file.chmod(0o640)
    told = cli("key", "new", "--passphrase-file", "passphrase", cwd=tmp_path, expect=2).stderr
    assert "has mode 0640, so others may read it; run: chmod 600" in told
    file.chmod(0o600)
    cli("key", "new", "--passphrase-file", "passphrase", cwd=tmp_path)
    assert DataFolder(tmp_path / USUAL).wallet(PASSPHRASE).public_key


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
            founders = store.genesis.founders
            assert (
                [one.organisation for one in founders]
                == [one.title for one in founders]
                == sorted(store.names().values())
            )
            assert ({one.stake for one in founders}, store.genesis.allotments) == ({100}, ())
            assert sorted(store.names().values()) == ["node-1", "node-2", "node-3"]
    again = cli("new", "class", "--members", "3", "--into", "net", "--no-passphrase", cwd=tmp_path, expect=2)
    assert "net holds something already" in again.stderr


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (["--port", "65535"], 2),
        (["--unbonding-blocks", "1"], 6),
        (["--unbonding-ms", "1"], 2),
        (["--stake", str(2**53)], 6),
    ],
)
def test_nodes_are_made_all_or_none(tmp_path: Path, wrong: list[str], code: int) -> None:
    cli("new", "class", "--members", "2", "--no-passphrase", *wrong, cwd=tmp_path, expect=code)
    assert [one.name for one in tmp_path.iterdir()] == []


def test_a_ledger_is_founded_for_the_keys_that_others_made(tmp_path: Path) -> None:
    members = ["--member", f"Ada={KEYS['ADA']}", "--member", f"Ben={KEYS['BEN']}:250"]
    options = ["--address", "node.example.org:9000", "--as", "Cy", "--epoch-blocks", "7", "--epoch-ms", "1000"]
    told = in_json("new", "diplomas", *members, *options, "--data", "node", "--no-passphrase", cwd=tmp_path)
    node = DataFolder(tmp_path / "node")
    own = node.wallet("").public_key
    assert node.settings() == Settings("0.0.0.0:9000", "node.example.org:9000", key=own.hex())
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
        (["--member", f"Cy={KEYS['ADA']}"], "two members have the name Cy"),
        (["--member", f"cy!={KEYS['ADA']}"], "two members have the id cy"),
        (["--member", f"日本={KEYS['ADA']}"], "'日本' has no letters that an id may have; say ID/NAME"),
        (["--member", f"A={KEYS['ADA']}", "--free", "5"], "--free needs --open"),
        (["--member", f"A={KEYS['ADA']}", "--address", "nowhere"], "'nowhere' is no address"),
        (["--member", f"A={KEYS['ADA']}", "--address", "x:99999"], "'x:99999' is no address"),
    ],
)
def test_new_says_what_is_wrong(tmp_path: Path, args: list[str], message: str) -> None:
    options = ["--as", "Cy", *([] if "--address" in args else ["--address", "127.0.0.1:9000"])]
    code = 6 if message == "[K1]" else 2
    done = cli("new", "name", *args, *options, "--no-passphrase", cwd=tmp_path, expect=code)
    assert message in " ".join(done.stderr.split())
    assert not DataFolder(tmp_path / USUAL).is_there


ADA_AT_9000 = ["--member", f"Ada={KEYS['ADA']}", "--address", "127.0.0.1:9000"]


def test_a_ledger_has_organisations_unless_it_is_open(tmp_path: Path) -> None:
    said = ["--as", "University of A", "--member", f"ub/Universität B={KEYS['BEN']}:7", "--address", "127.0.0.1:9000"]
    told = in_json("new", "x", *said, "--data", "own", "--no-passphrase", cwd=tmp_path)
    assert [(one["organisation"], one["name"], one["stake"]) for one in told["members"]] == [
        ("university-of-a", "University of A", 100),
        ("ub", "Universität B", 7),
    ]
    with Store.open(tmp_path / "own" / "ledger.db", read_only=True) as store:
        genesis = store.genesis
    assert not genesis.params.anybody_certifies
    assert [(one.organisation, one.title, one.stake) for one in genesis.founders] == [
        ("ub", "Universität B", 7),
        ("university-of-a", "University of A", 100),
    ]
    told = in_json("new", "x", *ADA_AT_9000, "--open", "--free", "5", "--data", "open", "--no-passphrase", cwd=tmp_path)
    assert [(one["organisation"], one["name"]) for one in told["members"]] == [(None, "founder"), (None, "Ada")]
    with Store.open(tmp_path / "open" / "ledger.db", read_only=True) as store:
        assert store.genesis.params.anybody_certifies
        assert not store.genesis.founders
        assert {(one.free, one.staked) for one in store.genesis.allotments} == {(5, 100)}


def test_a_founder_has_to_say_what_its_organisation_is_called(tmp_path: Path) -> None:
    new = ["new", "name", *ADA_AT_9000, "--no-passphrase"]
    for problem in (cli(*new, cwd=tmp_path, expect=2).stderr, in_json(*new, cwd=tmp_path, expect=2)["detail"]):
        assert "what is your organisation called? Say so with --as NAME" in problem
    assert not (tmp_path / USUAL).exists(), "no key is made for it"


def test_at_a_terminal_a_founder_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick.cli.founding.can_ask", lambda: True)
    shown = cli("new", "name", *ADA_AT_9000, "--no-passphrase", cwd=tmp_path, given="Uni Cy\n")
    assert "Your organisation's name, for all to read on the ledger" in shown.stderr
    assert re.search(r"Uni Cy +uni-cy +100 +", shown.stdout)


def test_a_key_in_a_folder_without_a_node_is_told_to_name_the_ledger(tmp_path: Path) -> None:
    cli("key", "new", "--no-passphrase", "--data", "mine", cwd=tmp_path)
    told = cli("key", "admit", "uni-e", "--data", "mine", cwd=tmp_path, expect=2).stderr
    assert "mine is on no ledger yet; name with --ledger which is meant: its id, 64 hexadecimal digits, or an" in told


@pytest.mark.parametrize(
    ("stakes", "who"),
    [
        ([100], "Indispensable: the only member: without it"),
        ([100, 100, 100], "Indispensable: each of 3 members: without one of them"),
        ([100, 100, 100, 100], None),
        ([200, 100, 100, 100], "Indispensable: m0: without it"),
        ([150, 150, 10, 10], "Indispensable: m0, m1: without one of them"),
    ],
)
def test_a_founder_is_told_which_members_nobody_can_do_without(
    tmp_path: Path, stakes: list[int], who: str | None
) -> None:
    own = cli("key", "new", "--data", "own", "--no-passphrase", cwd=tmp_path).stdout.strip()
    keys = [own, *KEYS.values()]
    named = [f"m{at}={key}:{stake}" for at, (key, stake) in enumerate(zip(keys, stakes, strict=False))]
    members = [one for name in named for one in ("--member", name)]
    new = ["new", "x", *members, "--address", "a:1", "--no-passphrase"]
    shown = " ".join(cli(*new, "--data", "own", cwd=tmp_path).stdout.split())
    if who is None:
        assert "It goes on without any one member; the others can remove one that is gone" in shown
    else:
        assert f"! {who} nothing becomes final." in shown
        assert "the ledger has ended. Four equal members go on" in shown
        neither = "others can neither remove nor replace it, and the ledger has ended. Four equal members go on"
        assert (neither in shown) == (len(stakes) > 1), "of one member there are no others"


def test_a_founder_has_to_say_where_its_node_is_reached(tmp_path: Path) -> None:
    done = cli("new", "name", "--member", f"A={KEYS['ADA']}", "--no-passphrase", cwd=tmp_path, expect=2)
    assert "say where the others will reach this node, as in --address" in done.stderr


IMPLAUSIBLE = {
    "--delta-ms": ("1", "19", "0", "-5", "60001"),
    "--epoch-ms": ("0", "999", str(32 * 86_400_000)),
    "--epoch-blocks": ("0", "-1", "40000"),
    "--unbonding-ms": ("1999", "-1", str(367 * 86_400_000)),
}


@pytest.mark.parametrize(("option", "value"), [(one, value) for one, values in IMPLAUSIBLE.items() for value in values])
def test_a_ledger_that_could_not_work_is_not_founded(tmp_path: Path, option: str, value: str) -> None:
    args = ["--members", "2", "--no-passphrase", option, value]
    told = cli("new", "name", *args, cwd=tmp_path, expect=2).stderr
    assert f"{option} {value} is not between " in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        ["--delta-ms", "20"],
        ["--delta-ms", "60000"],
        ["--epoch-ms", "1000", "--epoch-blocks", "1"],
        ["--epoch-ms", str(31 * 86_400_000), "--unbonding-ms", str(366 * 86_400_000)],
    ],
    ids=" ".join,
)
def test_what_is_just_plausible_is_founded(tmp_path: Path, options: list[str]) -> None:
    cli("new", "name", "--members", "1", "--no-passphrase", *options, cwd=tmp_path)


def test_a_founder_is_told_when_the_ledger_begins(tmp_path: Path) -> None:
    before_ms = time.time_ns() // 1_000_000
    told = in_json("new", "name", "--members", "1", "--no-passphrase", cwd=tmp_path)
    assert before_ms <= told["created_ms"] <= time.time_ns() // 1_000_000
    shown = cli("new", "name", "--members", "1", "--into", "b", "--no-passphrase", cwd=tmp_path).stdout
    assert f"which begins on {datetime.now(UTC):%Y-%m-}" in shown


# ---- addresses and folders where they are entered ---------------------------------------------------------------

NO_ADDRESSES = {
    "nowhere": "it takes a host and a port",
    ":7117": "it takes a host and a port",
    "x:99999": "its port is no number from 1 to 65535",
    "x:0": "its port is no number from 1 to 65535",
    "x:": "its port is no number from 1 to 65535",
    "x:٣": "its port is no number from 1 to 65535",
    "http://x:80": "leave http:// out",
    "https://x": "leave https:// out",
    "tcp://x:7117": "leave tcp:// out",
    "::1:7117": "an IPv6 address stands in brackets",
    "[x]:7117": "no name in ASCII and no IP address",
    "[127.0.0.1]:7117": "no name in ASCII and no IP address",
    "bücher.example:7117": "no name in ASCII and no IP address",
    "a b:7117": "no name in ASCII and no IP address",
    "*:7117": "no name in ASCII and no IP address",
    "300.1.1.1:7117": "no name in ASCII and no IP address",
    f"{'x' * 300}:7117": "no name in ASCII and no IP address",
}
NOT_TO_REACH = ["0.0.0.0:7117", "[::]:7117", "[::0]:7117"]


@pytest.mark.parametrize("option", ["--listen", "--address"])
@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_what_is_no_address_is_told_where_it_is_entered(
    tmp_path: Path, own_node: DataFolder, address: str, option: str
) -> None:
    where = [option, address, *(["--address", "a.example:1"] if option == "--listen" else [])]
    commands = (
        ["new", "name", "--member", f"Ada={KEYS['ADA']}", *where, "--data", "new", "--no-passphrase"],
        ["join", INVITE, *where, "--data", "new", "--no-passphrase"],
        ["run", *where, "--data", "node"],
    )
    for command in commands:
        told = cli(*command, cwd=tmp_path, expect=2).stderr
        assert f"{address!r} is no address: " in told
        assert NO_ADDRESSES[address] in told
        assert "pattern" not in told
    assert not (tmp_path / "new").exists(), "no key is made for it"


@pytest.mark.parametrize("address", NOT_TO_REACH)
def test_all_addresses_of_a_machine_are_none_to_reach_it_at(tmp_path: Path, own_node: DataFolder, address: str) -> None:
    for command in (
        ["new", "name", "--member", f"Ada={KEYS['ADA']}", "--data", "new", "--no-passphrase"],
        ["join", INVITE, "--data", "new", "--no-passphrase"],
        ["run", "--data", "node"],
    ):
        told = cli(*command, "--address", address, cwd=tmp_path, expect=2).stderr
        assert "stands for all addresses of a machine, and nobody reaches it there; name one of them" in told
    assert not (tmp_path / "new").exists()
    listening = ["--listen", address, "--address", "ada.example:7000", "--data", "new", "--no-passphrase"]
    cli("new", "name", "--member", f"Ada={KEYS['ADA']}", "--as", "Cy", *listening, cwd=tmp_path)
    assert DataFolder(tmp_path / "new").settings().listen == address


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('listen = "x"', "'x' is no address"),
        ('address = "0.0.0.0:7117"', "nobody reaches it there"),
        ('bootstrap = ["x@y:1"]', "does not name a peer: KEY@HOST:PORT"),
        (f'bootstrap = ["{"ab" * 32}@http://y:1"]', "leave http:// out"),
        ("listen = 7117", "it holds listen and address"),
        ('further = "x"', "it holds listen and address"),
        ("listen = ", "node.toml: it is no TOML, at "),
        ('x = "\\q"', "node.toml: it is no TOML, at line 14, column 8; mend"),
    ],
)
def test_what_is_wrong_in_node_toml_is_told(tmp_path: Path, own_node: DataFolder, line: str, reason: str) -> None:
    kept = own_node.settings_path.read_text().splitlines()
    name = line.split(" ", maxsplit=1)[0]
    own_node.settings_path.write_text("\n".join([*(one for one in kept if not one.startswith(name)), line]))
    told = cli("run", "--data", "node", cwd=tmp_path, expect=2, TALLYSTICK_PASSPHRASE=PASSPHRASE).stderr
    assert "node.toml: " in told
    assert reason in told
    assert "mend it by hand" in told


def test_a_folder_in_which_a_socket_has_too_long_a_name_is_refused_before_anything_is_made(
    tmp_path: Path, own_node: DataFolder
) -> None:
    deep = "d" * 120
    member = ["--member", f"Ada={KEYS['ADA']}", "--address", "a.example:1"]
    for command in (
        ["key", "new", "--data", deep],
        ["new", "name", *member, "--as", "Cy", "--data", deep],
        ["new", "name", "--members", "1", "--into", deep],
        ["join", INVITE, "--data", deep],
    ):
        told = cli(*command, "--no-passphrase", cwd=tmp_path, expect=2).stderr
        assert (
            "is too long a name for a socket, which has at most 103 bytes; choose a data folder with a shorter" in told
        )
    assert not (tmp_path / deep).exists()
    own_node.path.rename(tmp_path / deep)
    assert "is too long a name for a socket" in cli("run", "--data", deep, cwd=tmp_path, expect=2).stderr
    cli("check", "--data", deep, cwd=tmp_path)


# ---- run ------------------------------------------------------------------------------------------------------


def test_run_hands_the_opened_key_to_the_node(
    tmp_path: Path, own_node: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[DataFolder, Settings, Wallet]] = []

    def run_node(folder: DataFolder, settings: Settings, wallet: Wallet, *_: object) -> int:
        ran.append((folder, settings, wallet))
        return 5

    logs: list[tuple[str, bool]] = []
    monkeypatch.setattr("tallystick.host.logs.start_logging", lambda *args: logs.append(args))

    monkeypatch.setattr("tallystick.host.process.run_node", run_node)
    before = own_node.settings_path.read_bytes()
    args = ["run", "--data", "node", "--listen", "127.0.0.1:8000", "--log-json", "--log-level", "debug"]
    cli(*args, cwd=tmp_path, expect=2, TALLYSTICK_PASSPHRASE="wrong")
    assert not ran
    cli(*args, cwd=tmp_path, expect=5, TALLYSTICK_PASSPHRASE=PASSPHRASE)
    ((folder, settings, wallet),) = ran
    assert folder.path == Path("node")
    assert wallet.public_key == ADA.public_key
    assert logs == [("debug", True)]
    assert (settings.listen, settings.address) == ("127.0.0.1:8000", "127.0.0.1:7117")
    assert own_node.settings_path.read_bytes() == before, "it holds for that run alone"


def test_run_leaves_its_input_to_the_passphrase_and_refuses_one_that_no_program_holds(
    tmp_path: Path, own_node: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert own_node.path.is_dir()
    ran: list[tuple[object, ...]] = []
    monkeypatch.setattr("tallystick.host.logs.start_logging", lambda *_: None)

    def run_node(*args: object) -> int:
        ran.append(args)
        return 0

    monkeypatch.setattr("tallystick.host.process.run_node", run_node)
    args = ("run", "--data", "node", "--until-eof")
    terminal, other_side = os.openpty()
    reading, writing = os.pipe()
    closed = os.dup(reading)
    os.close(closed)
    try:
        for descriptor, why in ((other_side, "does not read a terminal"), (closed, "it is closed")):
            monkeypatch.setattr("tallystick.cli.running._STANDARD_INPUT", descriptor)
            assert why in cli(*args, cwd=tmp_path, expect=2, TALLYSTICK_PASSPHRASE=PASSPHRASE).stderr
        assert not ran
        monkeypatch.setattr("tallystick.cli.running._STANDARD_INPUT", reading)
        os.write(writing, PASSPHRASE.encode())
        cli(*args, cwd=tmp_path, TALLYSTICK_PASSPHRASE=PASSPHRASE)
        assert ran[0][-1] == reading
        assert os.read(reading, 100) == PASSPHRASE.encode(), "the node reads it, and only once it runs"
    finally:
        for one in (terminal, other_side, reading, writing):
            os.close(one)


@pytest.mark.parametrize("args", [["--members", "1"], ["--as", "Cy", *ADA_AT_9000, "--data", "own"]])
def test_a_node_whose_key_has_no_passphrase_runs_as_the_next_step_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str]
) -> None:
    ran: list[bytes] = []

    def run_node(_folder: DataFolder, _settings: Settings, wallet: Wallet, *_: object) -> int:
        ran.append(wallet.public_key)
        return 0

    monkeypatch.setattr("tallystick.host.logs.start_logging", lambda *_: None)
    monkeypatch.setattr("tallystick.host.process.run_node", run_node)
    shown = cli("new", "class", *args, "--no-passphrase", cwd=tmp_path).stdout
    (step,) = (line.strip().split("   ")[0] for line in shown.splitlines() if line.startswith("  tallystick run "))
    _, *command = shlex.split(step)
    cli(*command, cwd=tmp_path)
    assert ran == [DataFolder(tmp_path / command[-1]).public_key()]
    told = cli(*command, cwd=tmp_path, expect=2, TALLYSTICK_PASSPHRASE="wrong").stderr
    assert "[K4]" in told, "what is told is taken at its word"


@pytest.mark.parametrize("command", [["check"], ["show"], ["search", "x"]], ids=" ".join)
def test_where_nothing_is_named_and_nothing_is_there_it_says_where_it_looked(
    tmp_path: Path, command: list[str]
) -> None:
    told = cli(*command, cwd=tmp_path, expect=2).stderr
    assert f"there is no node in {tmp_path / USUAL}, and no tallystick-demo.db here: make one with" in told


@pytest.mark.parametrize("command", [["check"], ["show"], ["search", "x"]], ids=" ".join)
@pytest.mark.parametrize("content", ["", "subject,file\n" * 100])
def test_a_named_file_that_is_no_chain_is_wrong_usage_and_no_damage(
    tmp_path: Path, own_node: DataFolder, command: list[str], content: str
) -> None:
    (tmp_path / "bad.csv").write_text(content)
    told = cli(*command, "--chain", "bad.csv", cwd=tmp_path, expect=2).stderr
    assert "name the file of a" in told
    assert "disk" not in told
    own_node.ledger_path.write_text(content)
    told = cli("check", "--data", "node", cwd=tmp_path, expect=7).stderr
    assert "look after the disk, then: tallystick check --repair --data node" in told


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


@pytest.mark.parametrize(
    "option",
    [
        ["--api-host", "a.example"],
        ["--api-proxy", "10.0.0.1"],
        ["--api-search"],
        ["--tls-cert", "cert.pem"],
        ["--tls-key", "key.pem"],
    ],
    ids=lambda option: option[0],
)
def test_options_of_a_door_that_is_not_opened_are_wrong_usage(
    tmp_path: Path, own_node: DataFolder, option: list[str]
) -> None:
    told = cli("run", "--data", "node", *option, cwd=tmp_path, expect=2, TALLYSTICK_PASSPHRASE="wrong").stderr
    assert "--api-host, --api-proxy, --api-search, --tls-cert and --tls-key need --api" in told
    assert "[K4]" not in told


def test_a_node_whose_door_has_no_certificate_ends_at_once(tmp_path: Path, own_node: DataFolder) -> None:
    listen = ["--listen", f"127.0.0.1:{drawn_port(1)}"]
    door = ["--api", f"127.0.0.1:{drawn_port(1)}", "--tls-cert", "cert.pem", "--tls-key", "key.pem"]
    told = cli("run", "--data", "node", *listen, *door, cwd=tmp_path, expect=2, TALLYSTICK_PASSPHRASE=PASSPHRASE).stderr
    assert "--tls-cert cert.pem and --tls-key key.pem cannot be used: No such file or directory" in told
    assert not own_node.api_path.exists()


def test_a_node_of_another_key_than_it_was_set_up_for_says_so(tmp_path: Path, own_node: DataFolder) -> None:
    for one in (own_node.key_path, own_node.guard_path):
        one.rename(tmp_path / one.name)
    lost = cli("key", "new", "--data", "node", "--no-passphrase", cwd=tmp_path, expect=2).stderr
    assert f"node was set up for the key {KEYS['ADA'][:16]}…, whose file is gone; restore node/key from a copy" in lost
    other = DataFolder(tmp_path / "other")
    other.create_key(BEN, PASSPHRASE, "interactive")
    for name in ("key", "guard"):
        (other.path / name).rename(own_node.path / name)
    said = f"node was set up for the key {KEYS['ADA'][:16]}…, and node/key holds {KEYS['BEN'][:16]}…"
    told = cli("run", "--data", "node", cwd=tmp_path, expect=2, TALLYSTICK_PASSPHRASE=PASSPHRASE).stderr
    assert f"{said}; restore that key's file; or, if another key is meant, join the ledger with it" in told
    shown = cli("key", "show", "--data", "node", cwd=tmp_path)
    assert f"warning: {said}" in shown.stderr
    assert shown.stdout == f"{KEYS['BEN']}\n"


# ---- invite and join ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inviting() -> Iterator[tuple[NodeProcess, str]]:
    """A founder's node, whose ledger ADA is a member of, too; and the line with which it invites."""
    with short_folder() as path, Network(path) as net:
        place = f"127.0.0.1:{drawn_port(1)}"
        member = ("--as", "Cy", "--member", f"Ada={KEYS['ADA']}", "--address", place)
        cli("new", "diplomas", *member, "--data", "founder", "--no-passphrase", cwd=path)
        node = net.add(NodeProcess(path / "founder"))
        node.start()
        line = cli("invite", "--data", "founder", cwd=path).stdout
        assert line.startswith("tallystick1")
        assert line.endswith("\n")
        assert line.count("\n") == 1
        assert in_json("invite", "--data", "founder", cwd=path)["invite"] == line.strip()
        yield node, line.strip()


def genesis_of(folder: DataFolder) -> Genesis:
    with Store.open(folder.ledger_path, read_only=True) as store:
        return store.genesis


def test_whoever_is_invited_joins_with_the_line_alone(tmp_path: Path, inviting: tuple[NodeProcess, str]) -> None:
    founder, line = inviting
    broken = (line[:30], line[30:])  # as mail programs do
    told = in_json("join", *broken, "--data", "node", "--no-passphrase", cwd=tmp_path)
    node = DataFolder(tmp_path / "node")
    settings = node.settings()
    assert settings.bootstrap_peers == [(founder.folder.public_key(), founder.folder.settings().address)]
    assert settings.listen == settings.address == told["address"]
    assert settings.address.startswith("127.0.0.1:"), "the inviting node is on this machine"
    assert genesis_of(node) == genesis_of(founder.folder)
    assert told["public_key"] == settings.key == node.wallet("").public_key.hex()
    assert (told["stake_at_first"], told["name"]) == (0, "diplomas")
    again = cli("join", line, "--data", "node", "--no-passphrase", cwd=tmp_path, expect=2)
    assert "holds a node already" in again.stderr


def test_who_joins_and_runs_gets_no_json(tmp_path: Path) -> None:
    args = ["join", INVITE, "--run", "--data", "node", "--no-passphrase"]
    assert "--run gives no result" in in_json(*args, cwd=tmp_path, expect=2)["detail"]
    assert list(tmp_path.iterdir()) == []
    assert "from then on exit codes are run's" in cli("join", "--help", cwd=tmp_path).stdout


def test_a_key_made_before_joins_as_the_member_that_it_is(tmp_path: Path, inviting: tuple[NodeProcess, str]) -> None:
    _, line = inviting
    node = DataFolder(tmp_path / "node")
    node.create_key(ADA, PASSPHRASE, "interactive")
    args = ["join", line, "--data", "node", "--address", "ada.example.org:7000"]
    shown = cli(*args, cwd=tmp_path, TALLYSTICK_PASSPHRASE=PASSPHRASE).stdout
    assert "a first member, with 100 tokens at stake" in shown
    assert node.settings().listen == "0.0.0.0:7000"


@pytest.mark.parametrize("what", ["ledger", "key"])
def test_a_ledger_that_is_not_the_invites_is_not_joined(
    tmp_path: Path, inviting: tuple[NodeProcess, str], what: str
) -> None:
    invited = read_invite(inviting[1])
    ledger_id = GENESIS.ledger_id if what == "ledger" else invited.ledger_id
    key = BEN.public_key if what == "key" else invited.key
    forged = write_invite(ledger_id, key, invited.addresses)
    told = cli("join", forged, "--data", "node", "--no-passphrase", cwd=tmp_path, expect=2).stderr
    assert "make sure that the inviting node runs and can be reached from here" in told
    assert not DataFolder(tmp_path / "node").is_there


def test_where_nobody_answers_no_node_runs(tmp_path: Path) -> None:
    line = write_invite(GENESIS.ledger_id, BEN.public_key, (f"127.0.0.1:{drawn_port(1)}",))
    told = in_json("join", line, "--data", "node", "--no-passphrase", cwd=tmp_path, expect=3)
    assert (told["code"], told["status"]) == ("not-running", 503)
    assert "nobody answers there; make sure that the inviting node runs" in told["detail"]
    assert not DataFolder(tmp_path / "node").is_there


@pytest.mark.parametrize("mistyped", ["tallystick1", "hello", "{line}x"])
def test_a_mistyped_invite_is_told_and_nothing_is_made(
    tmp_path: Path, inviting: tuple[NodeProcess, str], mistyped: str
) -> None:
    line = mistyped.format(line=inviting[1])
    assert "copy " in cli("join", line, "--data", "node", "--no-passphrase", cwd=tmp_path, expect=6).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_begins_ahead_of_the_clock_is_not_joined(
    tmp_path: Path, inviting: tuple[NodeProcess, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    founder, line = inviting
    created_ms = genesis_of(founder.folder).created_ms
    monkeypatch.setattr(founding, "now_ms", lambda: created_ms - 501)
    told = cli("join", line, "--data", "node", "--no-passphrase", cwd=tmp_path, expect=2).stderr
    assert "the ledger begins 0.5 s ahead of this machine's clock" in told
    assert "set this clock right" in told
    assert not DataFolder(tmp_path / "node").is_there
    monkeypatch.setattr(founding, "now_ms", lambda: created_ms - 500)
    cli("join", line, "--data", "node", "--no-passphrase", cwd=tmp_path)
