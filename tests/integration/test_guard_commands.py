"""`tallystick guard`: a key is made with its guard and moves with it; what its operator says is kept."""

import os
import shutil
import stat
from pathlib import Path

import pytest
from tests.builders import ADA, BEN, GENESIS
from tests.integration.command_line import PASSPHRASE, cli, in_json

from tallystick.consensus.signing_guard import LossAccepted, Lost, Moved, Recovered, Signed, TwinSeen
from tallystick.host import data_folder
from tallystick.host.data_folder import DataFolder, FolderError, Settings
from tallystick.host.data_lock import data_lock
from tallystick.host.guard_file import GuardError, GuardFile, create_guard, read_guard
from tallystick.ledger.vote import NOTARIZE, Ballot

LEDGER = GENESIS.ledger_id
SIGNED = Signed(LEDGER, 0, 3, None, Ballot(NOTARIZE, 0, 3, bytes(range(32))))
COMMANDS = [["show"], ["move", "elsewhere"], ["lost"], ["recover"], ["accept-loss", "--yes"]]


@pytest.fixture
def node(tmp_path: Path) -> DataFolder:
    """A member's node in `node`, whose key has signed."""
    folder = DataFolder(tmp_path / "node")
    folder.create_key(ADA, PASSPHRASE, "interactive")
    folder.create(Settings("127.0.0.1:7117", "127.0.0.1:7117"), GENESIS)
    write(folder, SIGNED)
    return folder


def write(folder: DataFolder, *records: object) -> None:
    with GuardFile.open(folder.guard_path, ADA.public_key) as file:
        file.append(list(records))  # type: ignore[arg-type]


def kept(folder: DataFolder) -> list[object]:
    found = read_guard(folder.guard_path, ADA.public_key)
    assert found.loss is None
    return list(found.records)


# ---- made -----------------------------------------------------------------------------------------------------


def test_every_key_is_made_with_a_guard(tmp_path: Path) -> None:
    cli("key", "new", "--data", "one", "--no-passphrase", cwd=tmp_path)
    cli("new", "class", "--members", "2", "--into", "net", "--no-passphrase", cwd=tmp_path)
    for path in (tmp_path / "one", tmp_path / "net" / "node-1", tmp_path / "net" / "node-2"):
        folder = DataFolder(path)
        assert read_guard(folder.guard_path, folder.public_key()) == ([], None, folder.guard_path.stat().st_size)
        assert stat.S_IMODE(folder.guard_path.stat().st_mode) == 0o600


def test_a_key_is_not_made_beside_the_guard_of_another_that_has_signed(tmp_path: Path, node: DataFolder) -> None:
    other = DataFolder(tmp_path / "other")
    other.make()
    shutil.copy(node.guard_path, other.guard_path)
    with pytest.raises(GuardError, match="is the guard of another key"):
        other.create_key(BEN, PASSPHRASE, "interactive")
    assert not other.key_path.exists()
    assert kept(other) == [SIGNED]


def test_what_a_cut_off_key_new_left_is_in_nobodys_way(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "node")
    folder.make()
    create_guard(folder.guard_path, BEN.public_key)
    folder.create_key(ADA, PASSPHRASE, "interactive")
    assert kept(folder) == []


# ---- shown ----------------------------------------------------------------------------------------------------


def test_show_tells_of_the_folders_ledger_and_changes_nothing(tmp_path: Path, node: DataFolder) -> None:
    before = node.guard_path.read_bytes()
    told = in_json("guard", "show", "--data", "node", cwd=tmp_path)
    assert (told["public_key"], told["loss"], told["elsewhere"]) == (ADA.public_key.hex(), None, "ready")
    (line,) = told["ledgers"]
    assert (line["ledger_id"], line["name"], line["status"], line["views"]) == (LEDGER.hex(), GENESIS.name, "ready", 1)
    assert "ready; holds what it signed in 1 view" in cli("guard", "show", "--data", "node", cwd=tmp_path).stdout
    assert node.guard_path.read_bytes() == before


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_show_tells_of_a_lost_guard_and_keeps_it_as_it_is(tmp_path: Path, node: DataFolder, how: str) -> None:
    if how == "missing":
        node.guard_path.unlink()
    else:
        node.guard_path.write_bytes(b"nonsense")
    told = in_json("guard", "show", "--data", "node", cwd=tmp_path)
    assert told["loss"] == ("there is no guard file node/guard" if how == "missing" else "node/guard is damaged")
    assert [told["elsewhere"], *(one["status"] for one in told["ledgers"])] == ["lost", "lost"]
    assert [one.name for one in node.path.glob("guard*")] == ([] if how == "missing" else ["guard"])


def test_show_tells_of_a_twin_in_words(tmp_path: Path, node: DataFolder) -> None:
    write(node, TwinSeen(LEDGER, 2, 7))
    shown = cli("guard", "show", "--data", "node", cwd=tmp_path).stdout
    assert "twin; another machine signed in epoch 2, view 7" in shown


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_no_guard_command_touches_a_node_that_runs(tmp_path: Path, node: DataFolder, command: list[str]) -> None:
    with data_lock(node.path):
        told = cli("guard", *command, "--data", "node", cwd=tmp_path, expect=2).stderr
    assert f"node is in use by process {os.getpid()}; stop that one first" in told
    assert kept(node) == [SIGNED]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_folder_without_a_key_is_told(tmp_path: Path, command: list[str]) -> None:
    DataFolder(tmp_path / "node").make()
    assert "there is no key file" in cli("guard", *command, "--data", "node", cwd=tmp_path, expect=2).stderr
    assert not (tmp_path / "node" / "guard").exists()


@pytest.mark.parametrize("command", ["move", "lost", "recover", "accept-loss"])
def test_the_help_says_what_a_command_risks(tmp_path: Path, command: str) -> None:
    assert "Risk: " in " ".join(cli("guard", command, "--help", cwd=tmp_path).stdout.split())


# ---- moved ----------------------------------------------------------------------------------------------------


def test_a_key_moves_with_its_guard_and_the_move_closes_it_here(tmp_path: Path, node: DataFolder) -> None:
    told = in_json("guard", "move", "stick", "--data", "node", cwd=tmp_path)
    assert told == {"schema": 1, "public_key": ADA.public_key.hex(), "became": "moved", "moved_to": "stick"}
    moved = DataFolder(tmp_path / "stick")
    assert stat.S_IMODE(moved.path.stat().st_mode) == 0o700
    assert {one.name: stat.S_IMODE(one.stat().st_mode) for one in moved.path.iterdir()} == {
        "key": 0o600,
        "guard": 0o600,
    }
    assert moved.wallet(PASSPHRASE).public_key == ADA.public_key
    assert SIGNED in kept(moved)
    assert Moved() not in kept(moved)
    assert kept(node)[-1] == Moved()
    again = cli("guard", "move", "second", "--data", "node", cwd=tmp_path, expect=2).stderr
    assert "was moved already" in again
    assert not (tmp_path / "second").exists()
    said = cli("run", "--data", "node", cwd=tmp_path, expect=2, TALLYSTICK_PASSPHRASE=PASSPHRASE).stderr
    assert "was moved to another machine: run it there" in said


@pytest.mark.parametrize("cut_off_at", ["write_guard", "write_sealed", "Moved"])
def test_a_move_that_was_cut_off_is_done_again(
    node: DataFolder, tmp_path: Path, cut_off_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    target = tmp_path / "stick"
    with monkeypatch.context() as patch:
        patch.setattr(data_folder, cut_off_at, cut_off)
        with pytest.raises(KeyboardInterrupt):
            node.move_key(target)
    assert Moved() not in kept(node)
    if cut_off_at == "Moved":
        assert SIGNED in kept(DataFolder(target)), "what is carried away is whole before this guard is closed"
    node.move_key(target)
    assert kept(node)[-1] == Moved()
    assert DataFolder(target).wallet(PASSPHRASE).public_key == ADA.public_key


def test_what_signed_where_a_key_was_to_be_moved_is_not_written_over(node: DataFolder, tmp_path: Path) -> None:
    target = DataFolder(tmp_path / "stick")
    target.make()
    shutil.copy(node.guard_path, target.guard_path)
    write(target, Signed(LEDGER, 0, 4, None, Ballot(NOTARIZE, 0, 4, bytes(32))))
    before = target.guard_path.read_bytes()
    with pytest.raises(FolderError, match="is no copy of what is to be moved there"):
        node.move_key(target.path)
    assert target.guard_path.read_bytes() == before
    assert kept(node) == [SIGNED]


def test_a_key_is_not_moved_into_its_own_folder_nor_over_another_key(node: DataFolder, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="is the key's own folder"):
        node.move_key(node.path / ".." / "node")
    other = DataFolder(tmp_path / "other")
    other.create_key(BEN, PASSPHRASE, "interactive")
    with pytest.raises(FolderError, match="key exists, and is no copy"):
        node.move_key(other.path)
    assert kept(node) == [SIGNED]


def test_a_moved_key_is_brought_back_only_by_its_operators_word(tmp_path: Path, node: DataFolder) -> None:
    node.move_key(tmp_path / "stick")
    for command in ("recover", "accept-loss"):
        cli("guard", command, "--yes", "--data", "node", cwd=tmp_path, expect=2)
    assert "Say so with --yes" in cli("guard", "lost", "--data", "node", cwd=tmp_path, expect=2).stderr
    assert kept(node)[-1] == Moved()
    cli("guard", "lost", "--yes", "--data", "node", cwd=tmp_path)
    assert in_json("guard", "show", "--data", "node", cwd=tmp_path)["ledgers"][0]["status"] == "lost"


# ---- the operator's word --------------------------------------------------------------------------------------


def test_a_set_back_machine_is_lost_on_every_ledger(tmp_path: Path, node: DataFolder) -> None:
    cli("guard", "lost", "--data", "node", cwd=tmp_path)
    assert kept(node) == [SIGNED, Lost(None)]
    told = in_json("guard", "show", "--data", "node", cwd=tmp_path)
    assert [told["elsewhere"], *(one["status"] for one in told["ledgers"])] == ["lost", "lost"]


def test_after_a_twin_recovery_begins_when_the_operator_says_that_it_is_gone(tmp_path: Path, node: DataFolder) -> None:
    write(node, TwinSeen(LEDGER, 0, 4))
    assert "Say so with --yes" in cli("guard", "recover", "--data", "node", cwd=tmp_path, expect=2).stderr
    assert kept(node) == [SIGNED, TwinSeen(LEDGER, 0, 4)]
    cli("guard", "recover", "--yes", "--data", "node", cwd=tmp_path)
    assert kept(node)[-1] == Lost(LEDGER)
    assert in_json("guard", "show", "--data", "node", cwd=tmp_path)["elsewhere"] == "ready"


def test_a_loss_is_accepted_once_there_is_one_and_only_when_the_risk_is_known(tmp_path: Path, node: DataFolder) -> None:
    told = cli("guard", "accept-loss", "--yes", "--data", "node", cwd=tmp_path, expect=2).stderr
    assert "the guard is ready, not lost: there is no loss to accept" in told
    node.guard_path.unlink()
    told = cli("guard", "accept-loss", "--data", "node", cwd=tmp_path, expect=2).stderr
    assert "This risks the stake" in told
    assert kept(node) == [Lost(None)]
    done = in_json("guard", "accept-loss", "--yes", "--data", "node", cwd=tmp_path)
    assert done["became"] == "loss accepted"
    assert kept(node) == [Lost(None), LossAccepted(LEDGER)]
    (line,) = in_json("guard", "show", "--data", "node", cwd=tmp_path)["ledgers"]
    assert (line["status"], line["is_loss_accepted"]) == ("lost", True)


def test_the_operators_word_ends_the_silence_after_a_recovery(tmp_path: Path, node: DataFolder) -> None:
    write(node, Lost(LEDGER), Recovered(LEDGER, 0, 5))
    cli("guard", "accept-loss", "--yes", "--data", "node", cwd=tmp_path)
    (line,) = in_json("guard", "show", "--data", "node", cwd=tmp_path)["ledgers"]
    assert (line["status"], line["is_loss_accepted"]) == ("lost", True)


def test_the_guard_of_another_key_is_told_with_what_to_do(tmp_path: Path, node: DataFolder) -> None:
    other = DataFolder(tmp_path / "other")
    other.create_key(BEN, PASSPHRASE, "interactive")
    shutil.copy(other.guard_path, node.guard_path)
    for command in COMMANDS:
        told = cli("guard", *command, "--data", "node", cwd=tmp_path, expect=2).stderr
        assert "put the guard of this key there" in told
    said = cli("run", "--data", "node", cwd=tmp_path, expect=2, TALLYSTICK_PASSPHRASE=PASSPHRASE).stderr
    assert "put the guard of this key there" in said
