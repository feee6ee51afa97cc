"""A ledger of three that lost one for good, and those who go on with another that says so."""

import re
import shlex
import shutil
import sqlite3
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace
from tests.builders import ADA, BEN, CY
from tests.integration.command_line import PASSPHRASE, USUAL, called, cli, in_json
from tests.integration.network import NodeProcess, network, wait_for
from tests.integration.test_governing import GOVERNED, at, certified, said, shown_of, told
from tests.ports import drawn_port
from tests.working_copy import ROOT

from tallystick.host.data_folder import DataFolder, Settings
from tallystick.host.data_lock import data_lock
from tallystick.host.drafts import read_draft, write_draft
from tallystick.host.key_file import create_key_file
from tallystick.ledger.certificate import SALT_BYTES, issue_statement
from tallystick.ledger.changes import Role
from tallystick.ledger.file_statement import file_payload
from tallystick.ledger.genesis import Founder, Genesis, continuing, make_genesis
from tallystick.ledger.messages import Entry
from tallystick.ledger.params import Params
from tallystick.network.simulated import SimulatedNetwork
from tallystick.network.simulated_host import member
from tallystick.storage.described_files import describe_file
from tallystick.storage.store import Store

OLD: Final = {"ada": ADA, "ben": BEN, "cy": CY}
_FOUNDED_MS: Final = 1_750_000_000_000
BY_TWO: Final = "continued by 2 of 3 members with 200 of 300 tokens at stake, a decision outside the ledger"
BY_ONE: Final = "continued by 1 of 3 members with 100 of 300 tokens at stake, a decision outside the ledger"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ada, ben and cy of a ledger of three, with three blocks: a file in the first and one in the last."""
    path = tmp_path_factory.mktemp("written")
    (path / "diploma.txt").write_text("Ada Lovelace, BSc")
    (path / "late.txt").write_text("Ada Lovelace, MSc")
    founders = [
        Founder(name, f"University of {name.title()}", None, one.public_key, Role.MEMBER, 100)
        for name, one in OLD.items()
    ]
    genesis = make_genesis("diplomas", _FOUNDED_MS, (), Params(anybody_certifies=False, delta_ms=100), founders)
    with ExitStack() as stack:
        sim = SimulatedNetwork(genesis, seed=1)
        for name, wallet in OLD.items():
            folder = DataFolder(path / name)
            folder.create_key(wallet, "", "minimal")
            folder.create(Settings("127.0.0.1:7000", "127.0.0.1:7000"), genesis)
            store = stack.enter_context(Store.open(folder.ledger_path))
            sim.add(name, member(wallet), archive=store)
        sim.connect_all()
        sim.run_for(200)
        for number, file in enumerate(("diploma.txt", None, "late.txt")):
            payload = file_payload(describe_file(path / file), bytes(SALT_BYTES)) if file else None
            one = issue_statement(ADA, genesis.ledger_id, _FOUNDED_MS, "" if payload else "a subject", payload)
            sim.submit("ada", Entry(one, payload))
            tips = [host.node for host in sim.hosts.values()]
            assert sim.run_until(lambda: {node.state.index for node in tips} == {number + 1}, 60_000)  # noqa: B023
    return path


@pytest.fixture
def old(written: Path, tmp_path: Path) -> Path:
    """A copy of those folders, to do anything with. Cy's is gone for good."""
    shutil.copytree(written, tmp_path / "w")
    shutil.rmtree(tmp_path / "w" / "cy")
    return tmp_path / "w"


def cut(path: Path, after: int) -> None:
    """What the ledger of a node is that heard no more."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in ("blocks", "finalizations"):
            connection.execute(f"DELETE FROM {table} WHERE block_index > ?", (after,))


def key_in(old: Path, folder: str) -> str:
    """A new key in a folder of its own."""
    return cli("key", "new", "--no-passphrase", "--data", folder, cwd=old).stdout.strip()


def drafted(old: Path, *more: str) -> Path:
    """Ben's and Ada's draft, made by Ben from his old node."""
    ada = key_in(old, "ada-2")
    new = ["new", "diplomas 2", "--continues", "ben", "--data", "ben-2", "--member", f"ada/University of Ada={ada}"]
    cli(*new, "--draft", "draft.txt", "--no-passphrase", "--yes", *more, cwd=old)
    return old / "draft.txt"


def signed(old: Path, expect: int = 0) -> str:
    """The line that Ada answers with, from her old node."""
    return cli("key", "continue", "draft.txt", "--data", "ada", "--yes", cwd=old, expect=expect).stdout.strip()


def founded(old: Path, *lines: str, expect: int = 0) -> Any:
    given = [one for line in lines for one in ("--signed", line)]
    place = ["--address", "127.0.0.1:7001", "--data", "ben-2"]
    return in_json("new", "--from-draft", "draft.txt", *given, *place, cwd=old, expect=expect)


def genesis_in(folder: Path) -> Genesis:
    with Store.open(folder / "ledger.db", read_only=True) as store:
        return store.genesis


def lines(text: str) -> str:
    return " ".join(text.split())


def shown_by(old: Path, *args: str, expect: int = 0) -> str:
    """What a command prints, in a line."""
    return lines(cli(*args, cwd=old, expect=expect).stdout)


def warned_by(old: Path, *args: str, expect: int = 0) -> str:
    """What it says beside that."""
    return lines(cli(*args, cwd=old, expect=expect).stderr)


# ---- founding ---------------------------------------------------------------------------------------------------


def test_two_of_three_go_on_and_all_are_told_by_how_many(old: Path) -> None:
    drafted(old)
    line = signed(old)
    assert re.fullmatch(f"{ADA.public_key.hex()}:[0-9a-f]{{128}}", line)
    made = founded(old, line)
    before = made["continues"]
    assert before["summary"] == BY_TWO
    assert (before["name"], before["block_index"], before["log_size"]) == ("diplomas", 3, 3)
    assert before["ledger_id"] == genesis_in(old / "ben").ledger_id.hex()
    assert {one["organisation"]: one["has_signed"] for one in before["members"]} == {
        "ada": True,
        "ben": True,
        "cy": False,
    }
    assert {one["organisation"] for one in made["members"]} == {"ada", "ben"}
    assert made["name"] == "diplomas 2"
    shown = cli("show", "--data", "ben-2", cwd=old).stdout
    assert f"{BY_TWO}: it goes on from diplomas ({before['ledger_id'][:16]}…) after block 3" in lines(shown)
    assert BY_TWO not in cli("show", "--data", "ben", cwd=old).stdout
    assert in_json("show", "--data", "ben-2", cwd=old)["continues"] == before
    assert in_json("show", "--data", "ben", cwd=old)["continues"] is None


def test_a_member_of_the_new_ledger_that_has_not_signed_is_named(old: Path) -> None:
    drafted(old)
    new = ["new", "--from-draft", "draft.txt", "--address", "127.0.0.1:7001", "--data", "ben-2"]
    said = "warning: University of Ada: a member of the new ledger that has not signed"
    assert said in warned_by(old, *new)


def test_one_that_goes_on_alone_needs_one_command(old: Path) -> None:
    """Its organisation keeps its id and name, and more can join later, by motion."""
    new = ["new", "diplomas 2", "--continues", "ben", "--address", "127.0.0.1:7001", "--data", "ben-2"]
    shown = cli(*new, "--no-passphrase", "--yes", cwd=old).stdout
    assert BY_ONE in lines(shown)
    assert "Indispensable: the only member: without it nothing becomes final. If its key is gone for good" in lines(
        shown
    )
    (founder,) = genesis_in(old / "ben-2").founders
    assert (founder.organisation, founder.title, founder.stake) == ("ben", "University of Ben", 100)
    assert founder.key != BEN.public_key
    assert (old / "ben" / "key").exists()


def test_who_goes_on_is_shown_what_the_old_key_signs_and_asked(old: Path) -> None:
    new = ["new", "diplomas 2", "--continues", "ben", "--data", "ben-2", "--no-passphrase"]
    for more in (["--address", "127.0.0.1:7001"], ["--draft", "draft.txt"]):
        asked = warned_by(old, *new, *more, expect=2)
        assert "Draft of the ledger diplomas 2, which begins on " in asked
        assert f"was member ben {BEN.public_key.hex()[:16]}… with 100 tokens: has not signed" in asked
        assert "member University of Ben (ben) " in asked
        assert "No ledger decides that, and it cannot be taken back. Say so with --yes" in asked
        assert not (old / "ben-2" / "ledger.db").exists()
        assert not (old / "draft.txt").exists()


def test_no_ledger_is_continued_whose_node_runs(old: Path) -> None:
    drafted(old)
    for folder, command in (
        ("ben", ["new", "x", "--continues", "ben", "--data", "n", "--address", "a:1", "--no-passphrase"]),
        ("ada", ["key", "continue", "draft.txt", "--data", "ada"]),
    ):
        with data_lock(old / folder):
            assert "is in use by process" in warned_by(old, *command, "--yes", expect=2)
    assert not (old / "n").exists(), "no key is made for it"


def test_a_backup_is_enough_with_the_old_key(old: Path) -> None:
    shutil.copy(old / "ben" / "ledger.db", old / "copy.db")
    new = ["new", "x", "--continues", "copy.db", "--address", "a:1", "--data", "n", "--no-passphrase", "--yes"]
    assert "no key in copy.db; name the file of the old node's key with --key" in cli(*new, cwd=old, expect=2).stderr
    assert BY_ONE in shown_by(old, *new, "--key", "ben/key")


def test_the_old_key_moves_with_its_guard_to_the_new_node(old: Path) -> None:
    cli("guard", "move", "ben-2", "--data", "ben", cwd=old)
    new = ["new", "diplomas 2", "--continues", "ben", "--address", "127.0.0.1:7001", "--data", "ben-2"]
    cli(*new, "--no-passphrase", "--yes", cwd=old)
    genesis = genesis_in(old / "ben-2")
    assert [one.key for one in genesis.founders] == [BEN.public_key]
    ledgers = in_json("guard", "show", "--data", "ben-2", cwd=old)["ledgers"]
    assert {one["ledger_id"]: one["status"] for one in ledgers}[genesis.ledger_id.hex()] == "ready"
    assert in_json("guard", "show", "--data", "ben", cwd=old)["elsewhere"] == "moved"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--continues", "nowhere"], 2, "nowhere"),
        (["--continues", "ben", "--data", "ben"], 2, "holds a node already"),
        (["--continues", "ben", "--key", "stranger/key"], 2, "has no stake on diplomas after block 3"),
        (["--continues", "ben", "--draft", "diploma.txt"], 2, "diploma.txt exists already"),
        (["--continues", "empty"], 2, "no block of it is final, so there is nothing to continue"),
        (["--continues", "damaged"], 7, "block 2"),
        (["--continues", "ben", "--members", "3"], 2, "say either --members N"),
        (["--draft", "d", "--member", f"A={'00' * 32}"], 2, "--key and --draft need --continues"),
        (["--signed", "x", "--members", "2"], 2, "--signed needs --from-draft"),
        (["--from-draft", "d"], 2, "name, members and stakes are those of the draft"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_new_says_why_a_ledger_cannot_be_continued(old: Path, args: list[str], code: int, message: str) -> None:
    key_in(old, "stranger")
    DataFolder(old / "empty").path.mkdir()
    shutil.copy(old / "ben" / "key", old / "empty")
    Store.create(old / "empty" / "ledger.db", genesis_in(old / "ben")).close()
    shutil.copytree(old / "ben", old / "damaged")
    with closing(sqlite3.connect(old / "damaged" / "ledger.db")) as connection, connection:
        connection.execute("UPDATE blocks SET encoded = zeroblob(200) WHERE block_index = 2")
    data = [] if "--data" in args else ["--data", "n"]
    done = cli("new", "x", *args, *data, "--address", "a:1", "--no-passphrase", cwd=old, expect=code)
    assert message in lines(done.stderr)
    assert not (old / "n").exists(), "no key is made for it"


# ---- consent ----------------------------------------------------------------------------------------------------


def test_who_signs_is_shown_the_draft_and_asked(old: Path) -> None:
    drafted(old)
    asked = cli("key", "continue", "draft.txt", "--data", "ada", cwd=old, expect=2)
    assert asked.stdout == ""
    shown = lines(asked.stderr)
    for part in (
        "Draft of the ledger diplomas 2, which begins on ",
        f"! {BY_ONE}: it goes on from diplomas",
        f"old ledger {genesis_in(old / 'ada').ledger_id.hex()}",
        "final block 3, of ",
        f"was member ben {BEN.public_key.hex()[:16]}… with 100 tokens: has signed",
        f"was member ada {ADA.public_key.hex()[:16]}… with 100 tokens: has not signed",
        "member University of Ada (ada) ",
        "changed delta_ms is 300, and was 100",
        "No ledger decides that, and it cannot be taken back. Say so with --yes",
    ):
        assert part in shown
    assert "your copy is" not in shown
    consent = in_json("key", "continue", "draft.txt", "--data", "ada", "--yes", cwd=old)
    assert consent["line"] == f"{consent['public_key']}:{consent['signature']}" == signed(old)
    assert (consent["own_block_index"], consent["draft"]["continues"]["block_index"]) == (3, 3)


def test_an_older_or_newer_copy_is_named(old: Path) -> None:
    shutil.copytree(old / "ada", old / "whole")
    cut(old / "ada" / "ledger.db", 1)
    drafted(old)
    behind = warned_by(old, "key", "continue", "draft.txt", "--data", "ada", "--yes")
    assert "your copy is older: it ends with block 1, the draft goes on after block 3; it does not show" in behind
    shutil.rmtree(old / "ada")
    (old / "whole").rename(old / "ada")
    (old / "draft.txt").unlink()
    shutil.rmtree(old / "ada-2")
    shutil.rmtree(old / "ben-2")
    cut(old / "ben" / "ledger.db", 1)
    drafted(old)
    ahead = warned_by(old, "key", "continue", "draft.txt", "--data", "ada", "--yes")
    assert "your copy is newer: it ends with block 3, the draft goes on after block 1; what is in 2 blocks" in ahead


def test_a_draft_that_says_something_else_of_the_old_ledger_is_not_signed(old: Path) -> None:
    """Else who makes the draft decides alone who had which stake."""
    draft = read_draft(drafted(old))
    assert draft.continues is not None
    first, *others = draft.continues.voters
    for change in (
        {"voters": (replace(first, stake=1_000), *others)},
        {"voters": (replace(first, organisation="zoe"), *others)},
        {"voters": tuple(one for one in draft.continues.voters if one.key != CY.public_key)},
        {"block_hash": bytes(32)},
        {"log_root": bytes(32)},
        {"log_size": 2},
        {"timestamp_ms": draft.continues.timestamp_ms - 1},
        {"name": "certificates"},
    ):
        (old / "draft.txt").unlink()
        wrong: Any = change
        write_draft(old / "draft.txt", continuing(draft, replace(draft.continues, **wrong), [BEN]))
        done = cli("key", "continue", "draft.txt", "--data", "ada", "--yes", cwd=old, expect=2)
        assert "is not what this node's own copy of the old ledger says of block 3" in lines(done.stderr)
    (old / "draft.txt").unlink()
    write_draft(old / "draft.txt", continuing(draft, replace(draft.continues, ledger_id=bytes(32)), [BEN]))
    done = cli("key", "continue", "draft.txt", "--data", "ada", "--yes", cwd=old, expect=2)
    assert "and this node's is another" in lines(done.stderr)


def test_only_old_members_sign(old: Path) -> None:
    drafted(old)
    shutil.copy(old / "ada-2" / "key", old / "ada" / "key")
    told = warned_by(old, "key", "continue", "draft.txt", "--data", "ada", "--yes", expect=2)
    assert "has no stake on diplomas after block 3" in told


def test_founding_from_a_draft_says_what_is_wrong(old: Path) -> None:
    drafted(old)
    line = signed(old)
    assert "is no consent: copy all of the line" in founded(old, line[:-1], expect=2)["detail"]
    other = line[:-1] + ("0" if line[-1] != "0" else "1")
    assert founded(old, other, expect=6)["rule"] == "G5"
    stranger = f"{key_in(old, 'stranger')}:{line[65:]}"
    assert founded(old, stranger, expect=6)["rule"] == "G5"
    (old / "short.txt").write_text((old / "draft.txt").read_text()[:-9])
    place = ["--address", "a:1", "--data", "ben-2"]
    assert "mistyped" in cli("new", "--from-draft", "short.txt", *place, cwd=old, expect=6).stderr
    assert "a draft begins with" in cli("new", "--from-draft", "diploma.txt", *place, cwd=old, expect=6).stderr
    cli("new", "--from-draft", "missing.txt", *place, cwd=old, expect=2)
    elsewhere = ["--address", "a:1", "--data", "stranger"]
    done = cli("new", "--from-draft", "draft.txt", *elsewhere, cwd=old, expect=2)
    assert "is no key of a member in draft.txt" in lines(done.stderr)
    assert not DataFolder(old / "ben-2").is_there
    assert founded(old)["continues"]["summary"] == BY_ONE, "who did not sign is not counted"


def test_a_consent_to_one_draft_serves_for_no_other(old: Path) -> None:
    drafted(old)
    line = signed(old)
    (old / "draft.txt").unlink()
    shutil.rmtree(old / "ada-2")
    drafted(old, "--stake", "7")
    assert founded(old, line, expect=6)["rule"] == "G5"


# ---- the manual -------------------------------------------------------------------------------------------------


def test_the_manuals_commands_do_what_it_says(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that need no running node, each in the home of who types it."""
    manual = (ROOT / "docs" / "operate.md").read_text()
    section = manual.partition("## Going on without a quorum")[2].partition("\n## ")[0]
    make, draft, consent, found, alone = re.findall(r"^tallystick (.+)$", section, re.M)
    bob, carol, single = homes = [old / name for name in ("bob", "carol", "single")]
    for home, folder, wallet in zip(homes, ("ben", "ada", "ben"), (BEN, ADA, BEN), strict=True):
        shutil.copytree(old / folder, home / "old")
        (home / "old" / "key").unlink()
        create_key_file(home / "old" / "key", wallet, PASSPHRASE, "minimal")
        (home / "passphrase").write_text(PASSPHRASE)
        (home / "passphrase").chmod(0o600)
        if home is not single:
            typed(home, make)
    shutil.copy(carol / "public.key", bob / "carol.key")
    with monkeypatch.context() as patched:
        patched.setattr("tallystick.cli.output.can_ask", lambda: True)
        typed(bob, draft, given="y\n")
        shutil.copy(bob / "draft.txt", carol)
        typed(carol, consent, given="y\n")
        went_on_alone = typed(single, alone, given="y\n")
    shutil.copy(carol / "consent.txt", bob / "carol.txt")
    assert BY_TWO in typed(bob, found)
    assert BY_ONE in went_on_alone
    assert DataFolder(bob / USUAL).is_there
    assert "guard move .local/share/tallystick --data old" in section


def typed(home: Path, command: str, given: str | None = None) -> str:
    """What a line of the manual prints, or writes to a file."""
    line, _, file = command.partition(" > ")
    line = re.sub(r"\$\(cat ([^)]+)\)", lambda found: (home / found[1]).read_text().strip(), line)
    printed = cli(*shlex.split(line), cwd=home, given=given).stdout
    printed = printed.partition(given)[2] if given else printed  # without the echo of what was typed
    if file:
        (home / file).write_text(printed)
    return lines(printed)


# ---- with real nodes --------------------------------------------------------------------------------------------


def has_one(node: NodeProcess) -> bool:
    return node.status().log_size == 1


def test_three_of_whom_one_is_lost_for_good_go_on_as_a_new_ledger(tmp_path: Path) -> None:
    diploma, later = tmp_path / "diploma.txt", tmp_path / "later.txt"
    with network(3, GOVERNED) as net:
        net.start()
        first, second, lost = net.nodes
        certified(first, diploma, "Ada Lovelace, BSc")
        tip = net.wait_until_agreed()
        lost.kill()
        shutil.rmtree(lost.folder.path)
        later.write_text("Ada Lovelace, MSc")
        called("certify", later, "--no-wait", *at(first))
        wait_for(lambda: first.status().state == "out_of_reach", "the others notice")
        assert "nothing can become final: 200 of 300 tokens" in said("status", *at(first), expect=1)
        assert (first.stop(), second.stop()) == (0, 0)

        new, draft = [DataFolder(net.path / "net" / name) for name in ("node-1b", "node-2b")], tmp_path / "draft.txt"
        key = called("key", "new", "--no-passphrase", "--data", new[0].path).stdout.strip()
        named = ("--member", f"node-1={key}", "--data", new[1].path, "--delta-ms", "100", "--no-passphrase")
        called("new", "Network 2", "--continues", second.folder.path, *named, "--draft", draft, "--yes")
        line = called("key", "continue", draft, *at(first), "--yes").stdout.strip()
        place = ("--address", f"127.0.0.1:{drawn_port()}", "--data", new[1].path)
        made = told("new", "--from-draft", draft, "--signed", line, *place)
        assert (made["continues"]["summary"], made["continues"]["block_hash"]) == (BY_TWO, tip.tip_hash)
        assert [one["organisation"] for one in made["members"]] == ["node-1", "node-2"]
        second_again = net.add(NodeProcess(new[1].path))
        second_again.start()
        invite = called("invite", *at(second_again)).stdout.strip()
        address = ("--address", f"127.0.0.1:{drawn_port()}")
        assert BY_TWO in said("join", invite, *address, "--data", new[0].path)
        first_again = net.add(NodeProcess(new[0].path))
        first_again.start()

        certified(first_again, later, "Ada Lovelace, MSc")
        for node in (first_again, second_again):
            wait_for(partial(has_one, node), "both have it")
            assert BY_TWO in said("status", *at(node))
            assert "(node-1)" in shown_of(later, *at(node))
            assert BY_TWO in said("show", *at(node))
            assert told("search", "--file", diploma, *at(node))["certificates"] == []
        assert "(node-1)" in shown_of(diploma, *at(first)), "the old folder is read as before"
        shown = told("show", *at(second))
        assert (shown["ledger_id"], shown["tip"]["hash"]) == (tip.ledger_id, tip.tip_hash)
