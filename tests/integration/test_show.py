"""`show` and `search`: a ledger and its parts, of a chain's file and of a running node, in pages."""

import hashlib
import os
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.builders import GENESIS, FinalScribe, statement
from tests.integration.command_line import REPORT, USUAL, cli, in_json
from tests.integration.network import NodeProcess, network, running_network, tallystick
from tests.integration.told_chain import ToldChain

from tallystick.cli.show import PAGE
from tallystick.client.blocking import Client
from tallystick.ledger.block import genesis_block
from tallystick.ledger.certificate import Payload
from tallystick.storage.store import Store

CHAIN = "tallystick-demo.db"
MORE = "There is more: "


@pytest.fixture(scope="module")
def kept(ledger: Path) -> Iterator[ToldChain]:
    """What the commands are to tell of."""
    with Store.open(ledger, read_only=True) as store:
        yield ToldChain(store)


@pytest.fixture
def after(tmp_path: Path, ledger: Path) -> Path:
    """A folder with a copy of the chain where a demo leaves it."""
    shutil.copy(ledger, tmp_path / CHAIN)
    (tmp_path / "report.txt").write_bytes(REPORT)
    return tmp_path


@pytest.fixture(scope="module")
def node() -> Iterator[NodeProcess]:
    """A node that runs, and has certified."""
    with running_network(1) as net:
        (node,) = net.nodes
        with Client(node.folder.path) as client:
            texts = [(f"delivery {number}", Payload(bytes(32), "", "text/plain", b"received")) for number in range(3)]
            client.submit(client.sign([*texts, ("Ada: BSc", None)]))
        yield node


# ---- show -----------------------------------------------------------------------------------------------------


def test_show_tells_the_chain_that_is_kept(after: Path, kept: ToldChain) -> None:
    told = in_json("show", cwd=after)
    assert (told["ledger_id"], told["name"]) == (kept.genesis.ledger_id.hex(), kept.genesis.name)
    assert (told["tip"]["hash"], told["log_root"]) == (kept.state.tip.hash.hex(), kept.state.log.root().hex())
    assert (told["log_size"], told["burned"], told["total"]) == (kept.state.log.size, 100, 1_000)
    blocks = in_json("show", "blocks", cwd=after)["blocks"]
    assert [one["hash"] for one in reversed(blocks)] == [hash_of(kept, 0), *(one.hash.hex() for one in kept.blocks())]
    shown = cli("show", cwd=after).stdout
    assert kept.state.tip.hash.hex() in shown
    assert "every hash, signature, vote and rule checked again" in shown
    assert "Alice (" in shown


def hash_of(kept: ToldChain, index: int) -> str:
    return [genesis_block(kept.genesis), *kept.blocks()][index].hash.hex()


def test_show_a_block_a_certificate_and_the_stakes(after: Path, kept: ToldChain) -> None:
    block = in_json("show", "block", "1", cwd=after)
    assert block["hash"] == hash_of(kept, 1)
    assert in_json("show", "block", "0", cwd=after)["hash"] == block["parent_hash"]
    one = block["certificates"][0]
    certificate = in_json("show", "certificate", one["id"][:10], cwd=after)
    assert certificate["id"] == one["id"]
    assert certificate["payload"]["file"]["name"] == "report.txt"
    stakes = in_json("show", "stakes", cwd=after)
    accounts = {one["member"]["key"]: one["staked"] for one in stakes["members"]}
    assert {bytes.fromhex(key): staked for key, staked in accounts.items() if staked} == dict(kept.state.stakes.members)
    finality = kept.finality(1)
    assert finality is not None
    assert (block["finality"]["stake"], block["finality"]["total_stake"]) == (finality.stake, finality.total_stake)
    assert f"votes of {finality.stake} of {finality.total_stake} tokens" in cli("show", "block", "1", cwd=after).stdout
    for part in (["block", "0"], ["certificate", one["id"]], ["stakes"], ["log"], ["blocks"], ["member", "Alice"]):
        assert cli("show", *part, cwd=after).stdout


@pytest.mark.parametrize("part", [["show", "blocks"], ["show", "log"], ["show", "stakes"], ["search"]])
def test_what_is_long_comes_in_pages_and_the_command_for_the_next_is_told(after: Path, part: list[str]) -> None:
    (name,) = in_json(*part, cwd=after).keys() - {"schema", "next", "epoch", "indexed"}
    whole = in_json(*part, cwd=after)[name]
    limit = 3 if part[-1] == "stakes" else 20
    paged: list[Any] = []
    command = [*part, "--chain", CHAIN, "--limit", str(limit)]
    while command:
        page = in_json(*command, cwd=after)
        assert len(page[name]) <= limit
        paged += page[name]
        told = cli(*command, cwd=after).stderr
        assert (MORE in told) == (page["next"] is not None)
        command = shlex.split(told.strip().removeprefix(MORE))[1:] if MORE in told else []
    assert paged == whole
    assert len(whole) > limit


def test_people_get_pages_that_fit_a_screen(after: Path, kept: ToldChain) -> None:
    assert kept.state.log.size > PAGE
    done = cli("show", "log", cwd=after)
    assert f"{MORE}tallystick show log --cursor {PAGE}" in done.stderr
    numbers = [line.split()[0] for line in done.stdout.splitlines() if line.split() and line.split()[0].isdigit()]
    assert numbers == [str(number) for number in range(PAGE)]
    assert f"{MORE}tallystick show blocks --cursor" in cli("show", cwd=after).stderr


def test_the_command_for_the_next_page_can_be_pasted(folder: Path) -> None:
    """A shell leaves a quoted ~ as it is."""
    for command in (["show", "log"], ["search", "--kind", "statement"]):
        told = cli(*command, "--limit", "1", "--data", "~/node", cwd=folder).stderr
        assert f"--data {folder / 'node'} --cursor " in told


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["block", "999"], 5, "there is no block 999: the last is"),
        (["block", "9" * 5000], 2, "Invalid value: '999"),
        (["certificate", "0" * 64], 5, "no certificate's id begins with 0000"),
        (["certificate", ""], 2, "is no name, id or key"),
        (["certificate", "xyz"], 2, "how it begins: 8 to 64 hexadecimal digits"),
        (["certificate", "00"], 2, "8 to 64 hexadecimal digits"),
        (["certificate"], 2, "a certificate is named by an id"),
        (["member"], 2, "a member is named by a name or key"),
        (["member", "Nobody"], 5, "no account is called Nobody"),
        (["member", "a/b"], 2, "is no name, id or key"),
        (["block"], 2, "a block is named by an index"),
        (["block", "-1"], 2, "No such option"),
        (["block", "one"], 2, "is not a block's index"),
        (["block", "²"], 2, "is not a block's index"),
        (["stakes", "1"], 2, "takes no index, id or name"),
        (["nonsense"], 2, "is not one of"),
        (["block", "1", "--limit", "3"], 2, "are for pages; block has none"),
        (["log", "--limit", "0"], 2, "Invalid value for '--limit'"),
        (["log", "--cursor", "x"], 2, "Invalid value for '--cursor'"),
        (["--chain", "nothing.db"], 2, "there is no nothing.db here: make one with tallystick demo"),
        (["--chain", "."], 2, "is a directory; name the file of a chain"),
        (["--chain", "report.txt"], 2, "is not a database"),
    ],
)
def test_show_says_what_is_wrong(after: Path, args: list[str], code: int, message: str) -> None:
    done = cli("show", *args, cwd=after, expect=code)
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_a_problem_is_json_where_json_is_asked_for(after: Path) -> None:
    told = in_json("show", "block", "999", cwd=after, expect=5)
    assert (told["code"], told["exit_code"], told["status"]) == ("not-there", 5, 404)


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
    for command in (["show"], ["show", "stakes"], ["search", "report"]):
        done = cli(*command, cwd=after, expect=7)
        assert message in done.stderr
        assert done.stdout == ""
        told = in_json(*command, cwd=after, expect=7)
        assert message in told["detail"]
        assert f"[{told['rule']}]" in told["detail"]


def test_a_truncated_chain_is_told(after: Path) -> None:
    os.truncate(after / CHAIN, (after / CHAIN).stat().st_size // 2)
    done = cli("show", cwd=after, expect=7)
    assert "is damaged, or only a part of a file; check and repair it" in done.stderr


def test_a_chain_trimmed_at_its_end_is_still_a_chain_but_covers_less(after: Path) -> None:
    """Nothing in one copy can show that the chain was longer; the other copies can."""
    tamper(after / CHAIN, "DELETE FROM blocks WHERE block_index > 1")
    assert in_json("show", cwd=after)["tip"]["index"] == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_chain_in_a_folder_that_may_not_be_written_is_read(after: Path) -> None:
    after.chmod(0o500)
    try:
        cli("show", cwd=after)
        cli("search", "report", cwd=after)
    finally:
        after.chmod(0o700)


# ---- of a node ------------------------------------------------------------------------------------------------


def test_a_statement_without_a_subject_is_told_as_such(tmp_path: Path) -> None:
    scribe = FinalScribe(GENESIS)
    scribe.forge(statement(""))
    with Store.create(tmp_path / "chain.db", GENESIS) as store:
        store.append(scribe.kept[-1])
    assert "(no subject)" in cli("show", "log", "--chain", "chain.db", cwd=tmp_path).stdout
    (told,) = in_json("show", "log", "--chain", "chain.db", cwd=tmp_path)["certificates"]
    assert (told["kind"], told["summary"]) == ("statement", "")
    shown = cli("show", "certificate", told["id"], "--chain", "chain.db", cwd=tmp_path).stdout
    assert shown.startswith("Statement  (no subject)\n")


def test_a_running_node_tells_the_same_as_its_file(tmp_path: Path) -> None:
    with network(1) as net:
        (node,) = net.nodes
        node.start()
        where = ("--data", str(node.folder.path))
        with Client(node.folder.path) as client:
            client.submit(client.sign([(f"delivery {number}", None) for number in range(3)]))
            certificate_id = client.log().certificates[0].id
        parts = ["show", "show blocks", "show block 1", "show block 0", "show log", "show stakes", "show member node-1"]
        parts += [f"show certificate {certificate_id[:12]}", "search delivery", "names list"]
        told = {one: in_json(*one.split(), *where, cwd=tmp_path) for one in parts}
        assert "as the running node has it" in cli("show", *where, cwd=tmp_path).stdout
        net.stop_in_order()
        assert {one: in_json(*one.split(), *where, cwd=tmp_path) for one in parts} == told
        assert "checked again" in cli("show", *where, cwd=tmp_path).stdout


def test_show_a_member_by_name_and_by_key(node: NodeProcess, after: Path) -> None:
    for where in (["--data", str(node.folder.path)], ["--chain", CHAIN]):
        name = "node-1" if "--data" in where else "Bob"
        by_name = in_json("show", "member", name, *where, cwd=after)
        key = by_name["account"]["member"]["key"]
        assert in_json("show", "member", key[:9], *where, cwd=after) == by_name
        shown = cli("show", "member", name, *where, cwd=after).stdout
        assert f"{name} ({key[:8]}…)" in shown
        assert key in shown


def test_show_says_what_a_node_does_not_have(node: NodeProcess, tmp_path: Path) -> None:
    where = ("--data", str(node.folder.path))
    for args in (["block", "999"], ["certificate", "00000000"], ["member", "Nobody"]):
        cli("show", *args, *where, cwd=tmp_path, expect=5)


def test_a_file_that_lies_about_does_not_speak_in_a_nodes_place(folder: Path, ledger: Path) -> None:
    shutil.copy(ledger, folder / CHAIN)
    Store.create(folder / "empty.db", GENESIS).close()
    shutil.copy(folder / "empty.db", folder / "node" / "ledger.db")
    shutil.move(folder / "node", folder / USUAL)
    assert in_json("show", cwd=folder)["ledger_id"] == GENESIS.ledger_id.hex()
    shutil.move(folder / USUAL, folder / "away")
    assert in_json("show", cwd=folder)["tip"]["index"] > 10


def test_a_node_that_was_killed_is_told_from_one_that_runs(tmp_path: Path) -> None:
    with running_network(1) as net:
        (node,) = net.nodes
        node.kill()
        assert (node.folder.path / "api.sock").exists()
        assert "tallystick run" in tallystick("status", "--data", node.folder.path, expect=3).stderr
        assert in_json("show", "--data", str(node.folder.path), cwd=tmp_path)["log_size"] == 0


# ---- search -----------------------------------------------------------------------------------------------------


def subjects(*args: str, cwd: Path) -> list[str]:
    return [one["summary"] for one in in_json("search", *args, cwd=cwd)["certificates"]]


def test_certificates_are_found_by_all_that_they_are(node: NodeProcess, tmp_path: Path) -> None:
    where = ("--data", str(node.folder.path))
    report = tmp_path / "a report.txt"
    report.write_bytes(REPORT)
    with Client(node.folder.path) as client:
        client.certify(report, note="bridge 12")
        certified_ms = client.block(client.ledger().tip.index).timestamp_ms
    deliveries = [f"delivery {number}" for number in (2, 1, 0)]
    this = ["File a report.txt"]
    assert subjects("Delivery", *where, cwd=tmp_path) == deliveries
    assert subjects("delivery", "1", *where, cwd=tmp_path) == ["delivery 1"]
    assert subjects("deliv", *where, cwd=tmp_path) == []
    assert subjects("--prefix", "deliv", *where, cwd=tmp_path) == deliveries
    assert subjects("bridge", *where, cwd=tmp_path) == this
    assert subjects("--media-type", "text/plain", *where, cwd=tmp_path) == deliveries
    assert subjects("--file", str(report), *where, cwd=tmp_path) == this
    assert subjects("--sha256", hashlib.sha256(REPORT).hexdigest().upper(), *where, cwd=tmp_path) == this
    assert subjects("--since", str(certified_ms), *where, cwd=tmp_path) == this
    assert subjects("--until", str(certified_ms - 1), *where, cwd=tmp_path) == ["Ada: BSc", *deliveries]
    assert subjects("--issuer", "node-1", "BSc", *where, cwd=tmp_path) == ["Ada: BSc"]
    assert subjects("--issuer", "0" * 64, *where, cwd=tmp_path) == []
    assert subjects("--kind", "stake", *where, cwd=tmp_path) == []
    assert "no account is called Nobody" in cli("search", "--issuer", "Nobody", *where, cwd=tmp_path, expect=5).stderr


def test_a_day_is_meant_to_its_end(after: Path, kept: ToldChain) -> None:
    """The demo's chain is of the first day of 2025."""
    size = kept.state.log.size
    for since, until, found in (
        ("2025-01-01", "2025-01-01", size),
        ("2025-01-01T00:00", "2025-01-01T23:59:59+00:00", size),
        ("2025-01-01T02:00:00+02:00", "2025-01-02", size),
        ("2024-12-30", "2024-12-31", 0),
        ("2025-01-02", "2026-01-01", 0),
    ):
        assert len(subjects("--since", since, "--until", until, cwd=after)) == found, (since, until)


def test_evidence_and_stakes_are_found_by_their_kind(after: Path) -> None:
    assert subjects("--kind", "stake", "--issuer", "Alice", cwd=after) == ["stakes 20"]
    (evidence,) = subjects("--kind", "evidence", cwd=after)
    assert evidence.endswith("signed votes that conflict")


def test_nothing_found_is_an_answer(after: Path) -> None:
    done = cli("search", "nowhere", cwd=after)
    assert done.stdout == ""
    assert "Nothing matches" in done.stderr
    assert "Nothing matches" not in cli("search", "--kind", "statement", "--cursor", "0", cwd=after).stderr


def test_the_next_page_of_a_search_asks_for_the_same(after: Path) -> None:
    command = ["search", "--prefix", "-deliv", "--kind", "statement", "--since", "2025-01-01", "--limit", "1"]
    told = cli(*command[:1], "--", *command[2:3], cwd=after).stderr
    assert "Nothing matches" in told
    told = cli("search", "--kind", "statement", "--since", "2025-01-01", "--limit", "1", cwd=after).stderr
    assert told.startswith(f"{MORE}tallystick search --kind statement --since 1735689600000 --limit 1 --cursor ")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--since", "yesterday"], "'yesterday' is no time: a day, a day and a time, or milliseconds since 1970"),
        (["--sha256", "abc"], "is no SHA-256: 64 hexadecimal digits"),
        (["--kind", "nonsense"], "is not one of"),
        (["--file", "gone.txt"], "there is no file gone.txt"),
        (["--file", "report.txt", "--sha256", "0" * 64], "exclude each other"),
        (["x" * 256], "more than 255 characters"),
        (["--media-type", "x" * 256], "more than 255 characters"),
        (["\udcff"], "holds what is no character"),
    ],
)
def test_search_says_what_is_wrong(after: Path, args: list[str], message: str) -> None:
    done = cli("search", *args, cwd=after, expect=2)
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""
