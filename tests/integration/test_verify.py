"""`tallystick verify`: of a running node, of a stopped one, and of files that others hand over."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.builders import GENESIS, STRANGER
from tests.integration.command_line import REPORT, USUAL, cli, in_json
from tests.integration.network import Network, NodeProcess, running_network, wait_for

from tallystick.api import views
from tallystick.api.reader import LedgerReader
from tallystick.client.blocking import Client
from tallystick.ledger.block import block_codec
from tallystick.ledger.encoding import encode
from tallystick.ledger.vote import tally_codec
from tallystick.storage.store import Store

NAMED = "which you did not name: pass --ledger"


def issuer(key: str, name: str) -> dict[str, str | None]:
    """A key that is of no organisation, in an answer."""
    return {"key": key, "name": name, "organisation": None, "title": None, "label": None}


def key_of(chain: Path, name: str) -> str:
    with Store.open(chain, read_only=True) as store:
        return next(key.hex() for key, one in store.names().items() if one == name)


def ledger_id(chain: Path) -> str:
    with Store.open(chain, read_only=True) as store:
        return store.genesis.ledger_id.hex()


# ---- of a running node ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    with running_network(4) as found:
        yield found


def test_a_file_certified_at_one_node_is_verified_at_another(net: Network, tmp_path: Path) -> None:
    first, _, third, _ = net.nodes
    (tmp_path / "report.pdf").write_bytes(REPORT)
    (tmp_path / "other.pdf").write_bytes(b"The bridge is not sound.\n")
    at_first, at_third = (["--data", str(one.folder.path)] for one in (first, third))
    (done,) = in_json("certify", "report.pdf", "--note", "final version", *at_first, cwd=tmp_path)["results"]
    wait_for(lambda: third.status().tip_index >= done["outcome"]["block_index"], "the other node has the block")
    told = in_json("verify", "report.pdf", *at_third, cwd=tmp_path)
    (file,) = told["files"]
    (one,) = file["certificates"]
    assert (file["verifies"], told["is_ledger_known"]) == (True, True)
    assert one["certificate"]["id"] == done["outcome"]["id"]
    assert one["certificate"]["issuer"] == issuer(key_of(first.folder.ledger_path, "node-1"), "node-1")
    assert (one["checked"], one["claimed"]) == (
        ["signature", "payload", "block", "votes"],
        ["place in the log", "validity", "stake of the voters"],
    )
    shown = cli("verify", "report.pdf", *at_third, cwd=tmp_path).stdout
    for words in (
        f"Ledger Network {told['ledger']['ledger_id']}",
        f"✓ report.pdf is certified by {one['certificate']['issuer']['key']} (node-1)",
        "says         File report.pdf",
        "note         final version",
        "by votes of ",
        "claimed only place in the log, validity, stake of the voters",
    ):
        assert words in shown
    cli("verify", "other.pdf", *at_third, cwd=tmp_path, expect=1)


@contextmanager
def certified_report(folder: Path) -> Iterator[NodeProcess]:
    """A ledger's only node, which has certified a report in this folder."""
    with running_network(1) as net:
        (node,) = net.nodes
        (folder / "report.txt").write_bytes(REPORT)
        cli("certify", "report.txt", "--data", str(node.folder.path), cwd=folder)
        yield node


def test_a_stopped_nodes_ledger_is_checked_as_a_file_and_says_the_same(tmp_path: Path) -> None:
    with certified_report(tmp_path) as node:
        data = ["--data", str(node.folder.path)]
        running = in_json("verify", "report.txt", *data, cwd=tmp_path)
        assert node.stop() == 0
        stopped = in_json("verify", "report.txt", *data, cwd=tmp_path)
        (one,) = stopped["files"][0]["certificates"]
        assert one["claimed"] == []
        assert {"place in the log", "validity", "stake of the voters"} <= set(one["checked"])
        for told in (running, stopped):
            told["files"][0]["certificates"][0].update(checked=None, claimed=None)
        assert running == stopped


def test_of_a_file_whose_payload_was_erased_it_says_what_is_kept_here(tmp_path: Path) -> None:
    with certified_report(tmp_path) as node:
        data = ["--data", str(node.folder.path)]
        (file,) = in_json("verify", "report.txt", *data, cwd=tmp_path)["files"]
        cli("erase", file["certificates"][0]["certificate"]["payload_hash"], "--yes", *data, cwd=tmp_path)
        (file,) = in_json("verify", "report.txt", *data, cwd=tmp_path, expect=1)["files"]
        assert file["why_not"] == "no certificate whose payload is kept here covers it; another node may have one"


# ---- of a file ---------------------------------------------------------------------------------------------------


def test_all_of_a_certificate_is_told(folder: Path, ledger: Path) -> None:
    told = in_json("verify", "report.txt", "--data", "node", cwd=folder)
    (one,) = told["files"][0]["certificates"]
    certificate = one["certificate"]
    assert certificate["issuer"] == issuer(key_of(ledger, "Alice"), "Alice")
    assert (certificate["place"]["block_index"], certificate["place"]["position"]) == (1, 0)
    assert (one["finality"]["stake"], one["finality"]["total_stake"]) == (300, 400)
    (folder / "another name.txt").write_bytes(REPORT)
    shown = cli("verify", "another name.txt", "--data", "node", cwd=folder).stdout
    for words in (
        "every hash, signature, vote and rule checked again",
        "by votes of 300 of 400 tokens at stake",
        "certified as report.txt",
        f"{certificate['issuer']['key']} (Alice)",
        certificate["id"],
        told["ledger"]["ledger_id"],
    ):
        assert words in shown


@pytest.mark.parametrize("name", ["report.txt", "a (2)-b_c.tar.gz"])
def test_one_changed_byte_fails_and_the_other_version_is_told(folder: Path, name: str) -> None:
    (folder / name).write_bytes(REPORT[:-1] + b"!")
    done = cli("verify", name, "--data", "node", cwd=folder, expect=1)
    assert f"× {name}: no certificate whose payload is kept here covers it; another node may have one" in done.stdout
    assert ("A file of this name is certified with other bytes" in done.stdout) == (name == "report.txt")
    assert not in_json("verify", name, "--data", "node", cwd=folder, expect=1)["files"][0]["verifies"]


def test_of_many_files_each_has_a_line_and_all_a_sum(folder: Path) -> None:
    for number in range(6):
        (folder / f"{number}.txt").write_bytes(REPORT if number % 2 else bytes([number + 1]))
    names = [f"{number}.txt" for number in range(6)]
    done = cli("verify", *names, "--data", "node", cwd=folder, expect=1)
    assert [line[:7] for line in done.stdout.splitlines() if line[:1] in "✓×" and line] == [
        *("× 0.txt", "× 2.txt", "× 4.txt"),
        *("✓ 1.txt", "✓ 3.txt", "✓ 5.txt"),
    ]
    assert done.stdout.endswith("6 files: 3 certified, 3 not\n")


def test_quiet_says_it_by_the_exit_code_alone(folder: Path) -> None:
    for given, code in ((REPORT, 0), (b"other", 1)):
        (folder / "report.txt").write_bytes(given)
        done = cli("verify", "report.txt", "--quiet", "--data", "node", cwd=folder, expect=code)
        assert (done.stdout, done.stderr) == ("", "")


def test_standard_input_is_verified(folder: Path) -> None:
    given = REPORT.decode()
    assert "✓ standard input" in cli("verify", "-", "--data", "node", cwd=folder, given=given).stdout
    cli("verify", "-", "--data", "node", cwd=folder, given=given + "!", expect=1)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["gone.txt"], "there is no file gone.txt"),
        (["."], "is a directory; name the files in it one by one"),
        (["empty"], "is empty: there is nothing to certify or to verify"),
        ([], "Missing argument"),
        (["report.txt", "--ledger", "0123"], "its first 16 hexadecimal digits, or more"),
        (["report.txt", "--ledger", "Famous University"], "its first 16 hexadecimal digits, or more"),
        (["report.txt", "--url", "http://x", "--chain", "y"], "exclude each other"),
        (["report.txt", "--chain", "gone.db"], "there is no gone.db here"),
    ],
)
def test_verify_says_what_is_wrong(folder: Path, args: list[str], message: str) -> None:
    (folder / "empty").touch()
    done = cli("verify", *args, "--data", "node", cwd=folder, expect=2)
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""


# ---- which ledger, and whose certificates -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger that a forger has founded under the other's name, with an Alice of the forger's own."""
    folder = tmp_path_factory.mktemp("forged")
    (folder / "report.txt").write_bytes(REPORT)
    cli("demo", "report.txt", "--simulated", "--seed", "666", "--chain", "forged.db", cwd=folder)
    return folder / "forged.db"


def test_a_forgers_ledger_under_a_famous_name_does_not_verify(folder: Path, ledger: Path, forged: Path) -> None:
    with Store.open(ledger, read_only=True) as ours, Store.open(forged, read_only=True) as theirs:
        assert ours.genesis.name == theirs.genesis.name
    ids = ledger_id(ledger), ledger_id(forged)
    chain = ["verify", "report.txt", "--chain", str(forged)]
    for data in ([], ["--data", "node"]):
        done = cli(*chain, *data, cwd=folder, expect=1)
        assert f"on the ledger 'tallystick demo' (id {ids[1]}), {NAMED} {ids[1]} if you know that id" in done.stdout
        assert "✓" not in done.stdout
        assert "Alice" not in done.stdout
    told = in_json(*chain, cwd=folder, expect=1)
    assert not told["is_ledger_known"]
    assert "Alice" not in json.dumps(told)
    done = cli(*chain, "--data", "node", "--ledger", ids[0], cwd=folder, expect=1)
    assert "which is not the one that you named" in done.stdout
    for beginning in (ids[1], ids[1][:16].upper()):
        done = cli(*chain, "--data", "node", "--ledger", beginning, cwd=folder)
        assert f"✓ report.txt is certified by {key_of(forged, 'Alice')}" in done.stdout
        assert "Alice" not in done.stdout, "names are our own address book's"


def test_a_file_of_the_own_nodes_ledger_needs_no_naming(folder: Path, ledger: Path) -> None:
    chain = ["verify", "report.txt", "--chain", str(ledger)]
    assert "(Alice)" in cli(*chain, "--data", "node", cwd=folder).stdout
    assert NAMED in cli(*chain, cwd=folder, expect=1).stdout
    shutil.move(folder / "node", folder / USUAL)
    assert "(Alice)" in cli(*chain, cwd=folder).stdout


def test_a_file_that_lies_about_does_not_speak_in_a_nodes_place(folder: Path, ledger: Path) -> None:
    shutil.copy(ledger, folder / "tallystick-demo.db")
    Store.create(folder / "empty.db", GENESIS).close()
    shutil.copy(folder / "empty.db", folder / "node" / "ledger.db")
    shutil.move(folder / "node", folder / USUAL)
    told = in_json("verify", "report.txt", cwd=folder, expect=1)
    assert told["ledger"]["ledger_id"] == GENESIS.ledger_id.hex()
    shutil.move(folder / USUAL, folder / "away")
    assert NAMED in cli("verify", "report.txt", cwd=folder, expect=1).stdout, "nor does it vouch for itself"
    cli("verify", "report.txt", "--ledger", ledger_id(ledger)[:16], cwd=folder)


def test_only_the_named_issuers_certificates_count(folder: Path, ledger: Path, forged: Path) -> None:
    verify = ["verify", "report.txt", "--data", "node", "--issuer"]
    alice, bob = key_of(ledger, "Alice"), key_of(ledger, "Bob")
    for issuer in ("Alice", alice, alice[:16].upper()):
        cli(*verify, issuer, cwd=folder)
    for issuer in ("Bob", bob, bob[:16]):
        done = cli(*verify, issuer, cwd=folder, expect=1)
        assert f"it is certified, but not by the issuer that you named; by: {alice}" in done.stdout
    other = ["--chain", str(forged), "--ledger", ledger_id(forged)]
    cli(*verify, "Alice", *other, cwd=folder, expect=1)
    cli(*verify, key_of(forged, "Alice"), *other, cwd=folder)


def test_an_issuers_name_is_the_own_address_books(folder: Path, ledger: Path) -> None:
    chain = ["verify", "report.txt", "--chain", str(ledger), "--ledger", ledger_id(ledger)]
    assert "you have no node here" in cli(*chain, "--issuer", "Alice", cwd=folder, expect=5).stderr
    said = cli(*chain, "--data", "node", "--issuer", "Zoe", cwd=folder, expect=5).stderr
    assert "your node's address book has nobody called Zoe" in said
    with Store.open(folder / "node" / "ledger.db") as store:
        store.remember_names({STRANGER.public_key: "Alice"})
    said = cli(*chain, "--data", "node", "--issuer", "Alice", cwd=folder, expect=2).stderr
    assert "Alice is what your node's address book calls 2 keys" in said
    assert STRANGER.public_key.hex() in said


# ---- what is damaged, and who lies ------------------------------------------------------------------------------


def tamper(path: Path, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(sql, values).rowcount


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("UPDATE blocks SET encoded = x'c1' WHERE block_index = 3", "block 3 was altered: [E2]"),
        ("UPDATE blocks SET encoded = replace(encoded, CAST('File' AS BLOB), CAST('Fake' AS BLOB))", "was altered: ["),
        ("DELETE FROM blocks WHERE block_index = 2", "block 2 was altered: [B1]"),
        ("UPDATE payloads SET encoded = x'c1'", "was altered: [E2]"),
    ],
)
def test_a_tampered_chain_is_told_with_the_rule(folder: Path, sql: str, message: str) -> None:
    tamper(folder / "node" / "ledger.db", sql)
    done = cli("verify", "report.txt", "--data", "node", cwd=folder, expect=7)
    assert message in done.stderr
    assert done.stdout == ""


def test_a_truncated_chain_is_told(folder: Path) -> None:
    chain = folder / "node" / "ledger.db"
    os.truncate(chain, chain.stat().st_size // 2)
    said = cli("verify", "report.txt", "--chain", str(chain), cwd=folder, expect=7).stderr
    assert "is damaged, or only a part of a file; check and repair it" in said


def test_a_files_own_index_and_table_of_voters_are_not_believed(folder: Path) -> None:
    chain = folder / "node" / "ledger.db"
    before = in_json("verify", "report.txt", "--data", "node", cwd=folder)
    tamper(chain, "DELETE FROM files")
    richer = encode(((STRANGER.public_key, 10**6),))
    tamper(chain, "UPDATE epoch_ends SET members = ? WHERE members IS NOT NULL", richer)
    assert in_json("verify", "report.txt", "--data", "node", cwd=folder) == before


def _other_certificate(reader: LedgerReader, told: views.Certificate) -> views.Certificate:
    other = reader.at(reader.first_of(2))
    return replace(LedgerReader.certificate_at(reader, other), place=told.place)


def _other_place(_: LedgerReader, told: views.Certificate) -> views.Certificate:
    return replace(told, place=replace(told.place, position=told.place.position + 1))


def _forged_certificate(_: LedgerReader, told: views.Certificate) -> views.Certificate:
    return replace(told, encoded=told.encoded[:-2] + f"{int(told.encoded[-2:], 16) ^ 1:02x}")


def _other_payload(_: LedgerReader, told: views.Certificate) -> views.Certificate:
    assert told.payload
    altered = bytes.fromhex(told.payload.encoded).replace(b"report.txt", b"reporT.txt")
    return replace(told, payload=replace(told.payload, encoded=altered.hex()))


def _other_subject(_: LedgerReader, told: views.Certificate) -> views.Certificate:
    return replace(told, subject="Diploma of Ada")


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (_other_certificate, "does not state this file"),
        (_other_place, "does not hold: [B7]"),
        (_forged_certificate, "does not hold: [C1]"),
        (_other_payload, "does not hold: [C3]"),
        (_other_subject, "does not hold: [B7]"),
    ],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_who_lies_about_a_certificate_is_caught(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    lie: Callable[[LedgerReader, views.Certificate], views.Certificate],
    said: str,
) -> None:
    honest = LedgerReader.certificate_at
    with monkeypatch.context() as patch:

        def certificate(reader: LedgerReader, *asked: Any) -> views.Certificate:
            patch.setattr(LedgerReader, "certificate_at", honest)
            return lie(reader, honest(reader, *asked))

        patch.setattr(LedgerReader, "certificate_at", certificate)
        done = cli("verify", "report.txt", "--data", "node", cwd=folder, expect=7)
    assert said in done.stderr
    assert done.stdout == ""


def _other_hash(told: views.Block) -> views.Block:
    block = block_codec.decode(bytes.fromhex(told.encoded or ""))
    header = replace(block.header, timestamp_ms=block.header.timestamp_ms + 1)
    return replace(told, encoded=encode(replace(block, header=header)).hex())


def _without_a_certificate(told: views.Block) -> views.Block:
    block = block_codec.decode(bytes.fromhex(told.encoded or ""))
    return replace(told, encoded=encode(replace(block, certificates=block.certificates[1:])).hex())


def _other_time(told: views.Block) -> views.Block:
    return replace(told, hash="0" * 64)


def _with_tally(told: views.Block, altered: Callable[[Any], Any]) -> views.Block:
    assert told.finality
    tally = tally_codec.decode(bytes.fromhex(told.finality.encoded or ""))
    return replace(told, finality=replace(told.finality, encoded=encode(altered(tally)).hex()))


def _forged_vote(told: views.Block) -> views.Block:
    def forged(tally: Any) -> Any:
        (member, signature), *others = tally.signatures
        return replace(tally, signatures=((member, signature[:-1] + bytes([signature[-1] ^ 1])), *others))

    return _with_tally(told, forged)


def _other_vote(told: views.Block) -> views.Block:
    return _with_tally(told, lambda tally: replace(tally, ballot=replace(tally.ballot, block_hash=bytes(32))))


@pytest.mark.parametrize(
    ("lie", "rule"),
    [
        (_other_hash, "B3"),
        (_without_a_certificate, "B7"),
        (_other_time, "B1"),
        (_forged_vote, "V1"),
        (_other_vote, "V2"),
    ],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_who_lies_about_a_block_is_caught(
    folder: Path, monkeypatch: pytest.MonkeyPatch, lie: Callable[[views.Block], views.Block], rule: str
) -> None:
    honest = LedgerReader.read_block
    monkeypatch.setattr(LedgerReader, "read_block", lambda *args, **options: lie(honest(*args, **options)))
    done = cli("verify", "report.txt", "--data", "node", cwd=folder, expect=7)
    assert f"does not hold: [{rule}]" in done.stderr
    assert done.stdout == ""


def test_a_block_without_votes_of_its_own_is_final_with_a_later_one(
    folder: Path, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = LedgerReader.read_block

    def block(reader: LedgerReader, index: int, *args: Any, **options: Any) -> views.Block:
        told = honest(reader, index, *args, **options)
        return replace(told, finality=honest(reader, 2, *args, **options).finality) if index == 1 else told

    monkeypatch.setattr(LedgerReader, "read_block", block)
    shown = cli("verify", "report.txt", "--data", "node", cwd=folder).stdout
    assert "tokens at stake, for block 2" in shown
    with Client(ledger) as client:
        client._client.is_file = False  # as of a node
        (found,) = client.verify(folder / "report.txt")
    assert "that the block voted for builds on it" in found.claimed


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_chain_in_a_folder_that_may_not_be_written_is_read(folder: Path) -> None:
    (folder / "node").chmod(0o500)
    try:
        cli("verify", "report.txt", "--data", "node", cwd=folder)
    finally:
        (folder / "node").chmod(0o700)
