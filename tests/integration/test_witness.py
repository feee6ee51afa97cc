"""A witness of others' logs: what it keeps, what it refuses, and that nothing it cosigned is ever rolled back."""

import asyncio
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from tests.builders import ADA, GENESIS
from tests.integration.command_line import cli, in_json
from tests.integration.network import Network, NodeProcess
from tests.ports import drawn_port
from tests.tiled_log import TiledLog

from tallystick.api.witnessing import WitnessDoor
from tallystick.host import witness as witness_file
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.host.witness import (
    NotConsistent,
    NotOfThisLog,
    OtherSize,
    UnknownLog,
    Witness,
    create_witness,
)
from tallystick.ledger.checkpoint import signed_at
from tallystick.ledger.note import KeyType, Note, NoteKey, parse_key, parse_note
from tallystick.ledger.tlog_witness import AddCheckpoint, parse_add_checkpoint, witness_key
from tallystick.ledger.wallet import Wallet
from tallystick.problems import BadRequest, DamagedStore, StoreFailed

WALLET = Wallet(bytes([5]) * 32)
NAME = "witness.example/w1"
KEY = witness_key(NAME, WALLET.public_key)
NOW_S = 1_800_000_000


def request(log: TiledLog, old_size: int, size: int | None = None) -> bytes:
    """The log's own request, from one size to another."""
    at = log.fork(len(log.entries) if size is None else size)
    return AddCheckpoint(old_size, tuple(at.proof(old_size)), at.note(), at.checkpoint()).encoded.encode()


@pytest.fixture
def log() -> TiledLog:
    return TiledLog().grow(40)


@pytest.fixture
def witness(tmp_path: Path, log: TiledLog) -> Iterator[Witness]:
    create_witness(tmp_path / "witness.db", NAME, WALLET.public_key)
    opened = Witness(tmp_path / "witness.db")
    opened.add_log(log.key.text)
    yield opened
    opened.close()


def ask(witness: Witness, body: bytes, now_s: int = NOW_S) -> str:
    return witness.add_checkpoint(body, WALLET, now_s)


def latest(witness: Witness) -> int:
    return witness.logs()[0].latest.size


def cosigned(note: Note, answer: str) -> list[int]:
    """The times of the witness's cosignatures under the log's note, once the answer is put there."""
    return signed_at(KEY, parse_note(note.encoded + answer))


def test_a_log_that_grows_is_cosigned_each_time(witness, log):
    for old_size, size in ((0, 0), (0, 1), (1, 7), (7, 7), (7, 8), (8, 40)):
        answer = ask(witness, request(log, old_size, size), NOW_S + size)
        assert cosigned(log.note(size), answer) == [NOW_S + size]
        assert answer.startswith(f"— {NAME} ")
        assert answer.endswith("\n")
        assert latest(witness) == size


def test_a_log_that_is_removed_is_not_cosigned_and_goes_on_where_it_was_when_it_is_added_again(witness, log):
    ask(witness, request(log, 0, 7))
    origin_hash = sha256(log.key.name.encode()).hexdigest()
    witness.remove_log(log.key.name)
    assert witness.logs() == []
    with pytest.raises(UnknownLog):
        ask(witness, request(log, 7, 40))
    with pytest.raises(UnknownLog):
        witness.checkpoint(origin_hash)
    for origin in (log.key.name, "\udcff"):
        with pytest.raises(UnknownLog, match="witness show"):
            witness.remove_log(origin)
    other = NoteKey(log.key.name, KeyType.LOG, WALLET.public_key)
    with pytest.raises(BadRequest, match="by another key"):
        witness.add_log(other.text)
    witness.add_log(log.key.text)
    assert latest(witness) == 7
    assert witness.checkpoint(origin_hash)
    with pytest.raises(OtherSize):
        ask(witness, request(log, 0, 40))
    assert cosigned(log.note(40), ask(witness, request(log, 7, 40)))


def test_what_is_not_the_latest_is_told_the_size_of_that(witness, log):
    ask(witness, request(log, 0, 7))
    for old_size in (0, 1, 6, 8, 40):
        with pytest.raises(OtherSize) as other:
            ask(witness, request(log, old_size, 40))
        assert other.value.size == 7
    assert latest(witness) == 7


def test_an_older_request_that_is_sent_again_rolls_nothing_back(witness, log):
    requests = [request(log, 0, 7), request(log, 7, 12), request(log, 12, 40)]
    for one in requests:
        ask(witness, one)
    for one in requests:
        with pytest.raises(OtherSize):
            ask(witness, one)
    assert latest(witness) == 40


def test_another_history_is_not_cosigned(witness, log):
    ask(witness, request(log, 0, 20))
    fork = log.fork(5).grow(40, "other")
    for body in (request(fork, 20, 20), request(fork, 20, 40)):
        with pytest.raises(NotConsistent):
            ask(witness, body)
    with pytest.raises(NotConsistent):  # a proof where none may be
        ask(witness, request(log, 20, 20).replace(b"old 20\n", b"old 20\n" + b"A" * 43 + b"=\n"))
    assert (latest(witness), witness.logs()[0].latest.root) == (20, log.root(20))


def test_only_the_log_s_own_key_has_a_checkpoint_cosigned(witness, log):
    stranger = TiledLog(seed=bytes([9]) * 32).grow(3)
    with pytest.raises(NotOfThisLog):
        ask(witness, request(stranger, 0))
    good = request(log, 0)
    signature = good.decode().rpartition(" ")[2]
    with pytest.raises(NotOfThisLog):  # in the name of the key, and not good
        ask(witness, good.replace(signature.encode(), (signature[:20] + "AAAA" + signature[24:]).encode()))
    both = parse_add_checkpoint(good)
    lines = (*stranger.note().signatures, *both.note.signatures)
    ask(witness, both._replace(note=both.note._replace(signatures=lines)).encoded.encode())  # unknown keys: let pass
    assert latest(witness) == 40


@pytest.mark.parametrize("origin", ["log.example/0ne", "log.example/One", "log.example/one/", "log.example/\u043ene"])
def test_a_look_alike_is_another_log(witness, origin):
    with pytest.raises(UnknownLog):
        ask(witness, request(TiledLog(origin).grow(3), 0))


def test_two_logs_of_one_key_are_two_logs(witness, log):
    """The name is part of the key: a checkpoint of the one is not taken for the other's, whoever signed it."""
    second = TiledLog("log.example/two").grow(9)
    assert second.wallet.public_key == log.wallet.public_key
    witness.add_log(second.key.text)
    ask(witness, request(log, 0, 7))
    ask(witness, request(second, 0, 9))
    assert {one.key.name: one.latest.size for one in witness.logs()} == {log.key.name: 7, second.key.name: 9}
    crossed = parse_add_checkpoint(request(second, 0))
    signed = log.key.signature(log.wallet.sign_note(crossed.note.text.encode()))
    with pytest.raises(NotOfThisLog):
        ask(witness, crossed._replace(note=crossed.note._replace(signatures=(signed,))).encoded.encode())


def test_a_log_has_one_key(witness, log):
    assert witness.add_log(log.key.text) == log.key
    with pytest.raises(BadRequest, match="by another key"):
        witness.add_log(TiledLog(seed=bytes([9]) * 32).key.text)
    with pytest.raises(BadRequest, match="0x01"):
        witness.add_log(KEY.text)


def test_so_many_logs_are_known_and_removed_ones_count(witness, log, monkeypatch):
    monkeypatch.setattr(witness_file, "_MAX_LOGS", 2)
    second, third = (TiledLog(f"log.example/{number}").key for number in (2, 3))
    witness.add_log(second.text)
    witness.remove_log(second.name)
    with pytest.raises(BadRequest, match="the most there can be"):
        witness.add_log(third.text)
    assert [witness.add_log(one.text) for one in (second, log.key)] == [second, log.key]


def test_of_lines_in_the_name_of_the_log_s_key_all_have_to_be_good(witness, log):
    """A key whose id is the same counts as the log's own, as its line names no other; one of another id is unknown."""
    good = parse_add_checkpoint(request(log, 0, 7))
    (by_log,) = good.note.signatures
    stranger = Wallet(bytes([9]) * 32)
    same_id = log.key.signature(stranger.sign_note(good.note.text.encode()))
    other_id = NoteKey(log.key.name, KeyType.LOG, stranger.public_key).signature(bytes(64))

    def signed(*lines) -> bytes:
        return good._replace(note=good.note._replace(signatures=lines)).encoded.encode()

    for lines in ((same_id,), (by_log, same_id), (same_id, by_log), (other_id,)):
        with pytest.raises(NotOfThisLog):
            ask(witness, signed(*lines))
    assert cosigned(log.note(7), ask(witness, signed(other_id, by_log, by_log)))
    assert len(parse_note(witness.checkpoint(sha256(log.key.name.encode()).hexdigest())).signatures) == 2


def test_monitors_retrieve_the_latest_with_both_signatures(witness, log):
    digest = sha256(log.key.name.encode()).hexdigest()
    with pytest.raises(UnknownLog):
        witness.checkpoint(digest)
    ask(witness, request(log, 0, 7))
    note = parse_note(witness.checkpoint(digest))
    assert note.text == log.note(7).text
    assert (signed_at(log.key, note), signed_at(KEY, note)) == ([0], [NOW_S])
    with pytest.raises(UnknownLog):
        witness.checkpoint(digest[:-1])


def test_of_requests_at_the_same_time_one_is_cosigned(tmp_path, witness, log):
    """Two processes with the file open, and many threads: sizes only rise, and each is cosigned once."""
    forks = [log.fork(1).grow(20 + number, f"fork {number}") for number in range(8)]
    other = Witness(tmp_path / "witness.db")
    ask(witness, request(log, 0, 1))
    won = []

    def submit(number: int) -> None:
        try:
            ask((witness, other)[number % 2], request(forks[number], 1))
        except OtherSize:
            return
        won.append(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(submit, range(8)))
    other.close()
    assert len(won) == 1
    assert latest(witness) == 20 + won[0]


def test_what_was_cosigned_is_known_after_the_file_is_opened_again(tmp_path, witness, log):
    ask(witness, request(log, 0, 7))
    witness.close()
    again = Witness(tmp_path / "witness.db")
    with pytest.raises(OtherSize):
        ask(again, request(log, 0, 7))
    again.close()


class FailsToCommit:
    """A connection that cannot commit; `meanwhile` is called first."""

    def __init__(self, real, code, meanwhile=lambda: None):
        self.real, self.code, self.meanwhile = real, code, meanwhile

    def execute(self, sql, *values):
        if sql == "COMMIT":
            self.meanwhile()
            error = sqlite3.OperationalError("it fails")
            error.sqlite_errorcode = self.code
            raise error
        return self.real.execute(sql, *values)

    def __getattr__(self, name):
        return getattr(self.real, name)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY])
def test_a_witness_that_does_not_know_whether_it_kept_something_answers_no_more(witness, log, monkeypatch, code):
    """Whatever SQLite calls the failure, and to nobody."""
    monkeypatch.setattr(witness, "_connection", FailsToCommit(witness._connection, code))
    with pytest.raises(StoreFailed):
        ask(witness, request(log, 0, 7))
    monkeypatch.undo()
    for again in (
        lambda: ask(witness, request(log, 0, 7)),
        lambda: witness.checkpoint("ab" * 32),
        witness.logs,
        lambda: witness.add_log(log.key.text),
        lambda: witness.remove_log(log.key.name),
    ):
        with pytest.raises(StoreFailed):
            again()


def test_the_operator_is_told_once_that_the_witness_failed(witness, log, monkeypatch, caplog):
    """Whoever asks gets 500 until the node is started again; the node itself goes on."""

    class Body:
        async def read_bytes(self, *_):
            return request(log, 0, 7)

    spent: list[float] = []
    bodies: Any = Body()
    door: Any = WitnessDoor(witness, WALLET).routes(bodies, lambda _, cost: spent.append(cost))
    monkeypatch.setattr(witness, "_connection", FailsToCommit(witness._connection, sqlite3.SQLITE_FULL))
    asked = SimpleNamespace(path_params={"origin_hash": "ab" * 32})
    for _, _, answer in (*door, *door):
        with pytest.raises(StoreFailed) as failed:
            asyncio.run(answer(asked))
        assert failed.value.http_status == 500
    assert [str(line.msg["event"]) for line in caplog.records if line.levelno == logging.ERROR] == ["witness failed"]
    assert len(spent) == 2
    assert min(spent) >= 10  # verifying, signing and a sync cost more than a read


def test_a_monitor_is_not_told_a_cosignature_that_is_not_kept_yet(witness, log, monkeypatch):
    """While it is committed, which fails here, another thread asks: it waits, and then it is told nothing."""
    digest, told = sha256(log.key.name.encode()).hexdigest(), []
    begun = threading.Event()

    def monitor() -> None:
        begun.set()
        for read in (lambda: witness.checkpoint(digest), witness.logs):
            try:
                told.append(read())
            except StoreFailed as failed:
                told.append(type(failed))

    thread = threading.Thread(target=monitor)

    def meanwhile() -> None:
        thread.start()
        begun.wait()
        thread.join(0.2)  # it waits for the lock: that it is done by now is the fault

    monkeypatch.setattr(witness, "_connection", FailsToCommit(witness._connection, sqlite3.SQLITE_FULL, meanwhile))
    with pytest.raises(StoreFailed):
        ask(witness, request(log, 0, 7))
    thread.join()
    assert told == [StoreFailed, StoreFailed]


def test_a_commit_is_synced(witness):
    """FULL: in WAL mode SQLite syncs at each commit with no less."""
    assert witness._connection.execute("PRAGMA synchronous").fetchall() == [(2,)]


def test_a_log_is_found_by_an_index(witness):
    sql = "EXPLAIN QUERY PLAN " + witness_file._COSIGNED
    plan = [row[3] for row in witness._connection.execute(sql, ("ab" * 32,))]
    assert all(one.startswith("SEARCH") and "origin_hash" in one for one in plan), plan


@pytest.mark.parametrize("data", [b"", b"x" * 10, b"SQLite format 3\0" + b"garbage" * 900])
def test_a_damaged_file_is_never_restored(tmp_path, witness, data):
    witness.close()
    (tmp_path / "witness.db").write_bytes(data)
    with pytest.raises(DamagedStore, match="never restore witness") as damaged:
        Witness(tmp_path / "witness.db")
    assert "backup" not in str(damaged.value)


DIES = """
import os, signal, sys
from pathlib import Path
from tallystick.host import witness
from tallystick.ledger.wallet import Wallet

real = witness.witness_cosignature
opened = witness.Witness(Path(sys.argv[1]))
body = sys.stdin.buffer.read()
if sys.argv[2] == "before":
    def dying(*given):
        os.kill(os.getpid(), signal.SIGKILL)
    witness.witness_cosignature = dying
opened.add_checkpoint(body, Wallet(bytes([5]) * 32), 1_800_000_000)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("when", "kept"), [("before", 0), ("after", 7)])
def test_a_witness_that_is_killed_before_it_answers_has_kept_what_it_may_have_told(tmp_path, witness, log, when, kept):
    """Between keeping and answering: what may have been told is known; another history is not cosigned then."""
    witness.close()
    command = [sys.executable, "-c", DIES, str(tmp_path / "witness.db"), when]
    ran = subprocess.run(command, input=request(log, 0, 7), env=os.environ, check=False, capture_output=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    again = Witness(tmp_path / "witness.db")
    assert latest(again) == kept
    fork = log.fork(3).grow(9, "other")
    if kept:
        with pytest.raises(NotConsistent):
            ask(again, request(fork, 7))
    again.close()


# ---- as a part of a node ----------------------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path / "node")
    folder.create_key(ADA, "", "minimal")
    address = f"127.0.0.1:{drawn_port(1)}"
    folder.create(Settings(address, address), GENESIS)
    return folder


def new_witness(folder: DataFolder) -> NoteKey:
    free = ("--no-passphrase", "--data", str(folder.path))
    return parse_key(in_json("witness", "new", NAME, *free, cwd=folder.path.parent)["key"])


def test_a_witness_has_a_key_of_its_own_and_refuses_the_node_s_own_log_and_key(tmp_path, node, log):
    where = ("--data", "node")
    cli("witness", "show", *where, cwd=tmp_path, expect=5)
    key = new_witness(node)
    assert key.public_key != node.public_key()
    cli("witness", "new", "other", "--no-passphrase", *where, cwd=tmp_path, expect=2)
    assert node.witness_key_path.stat().st_mode & 0o777 == node.witness_path.stat().st_mode & 0o777 == 0o600
    own = TiledLog(GENESIS.origin)
    assert "own ledger" in in_json("witness", "add-log", own.key.text, *where, cwd=tmp_path, expect=2)["detail"]
    for public_key in (node.public_key(), key.public_key):
        claimed = NoteKey("log.example/one", 1, public_key).text
        assert "key of the node" in in_json("witness", "add-log", claimed, *where, cwd=tmp_path, expect=2)["detail"]
    added = in_json("witness", "add-log", log.key.text, *where, cwd=tmp_path)
    assert added["logs"] == [{"origin": log.key.name, "key": log.key.text, "size": 0}]
    assert in_json("witness", "show", *where, cwd=tmp_path)["key"] == key.text
    assert cli("witness", "show", *where, cwd=tmp_path).stdout.startswith(key.text + "\n")


def test_making_a_witness_that_was_cut_off_can_be_run_again(tmp_path, node, log):
    """Its file is made first: without the key it has cosigned nothing, unless the key was taken away."""
    create_witness(node.witness_path, NAME, WALLET.public_key)
    node.witness_path.with_name("witness.db.unfinished").write_bytes(b"cut off")
    key = new_witness(node)
    cli("witness", "add-log", log.key.text, "--data", "node", cwd=tmp_path)
    assert key.public_key != WALLET.public_key
    free = ("--no-passphrase", "--data", "node")
    node.witness_key_path.rename(tmp_path / "aside")
    assert "put it back" in in_json("witness", "new", "other", *free, cwd=tmp_path, expect=2)["detail"]
    (tmp_path / "aside").rename(node.witness_key_path)
    node.witness_path.unlink()
    for args in (("new", "other", *free), ("show", "--data", "node")):
        assert "never restore" in in_json("witness", *args, cwd=tmp_path, expect=2)["detail"]


def test_names_that_no_note_can_hold_are_refused_and_nothing_is_made(tmp_path, node):
    for name in ("", "a b", "a+b", "a\nb"):
        cli("witness", "new", name, "--no-passphrase", "--data", "node", cwd=tmp_path, expect=6)
    assert not node.witness_path.exists()
    assert not node.witness_key_path.exists()


def test_a_node_answers_as_the_specification_says_and_is_killed_without_harm(tmp_path, node, log):
    port, digest = drawn_port(1), sha256(log.key.name.encode()).hexdigest()
    with Network(tmp_path) as net, httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
        process = net.add(NodeProcess(node.path))
        process.start("--api", f"127.0.0.1:{port}")
        assert http.post("/add-checkpoint", content=request(log, 0)).status_code == 404  # off by default
        process.stop()
        key = new_witness(node)
        process.start("--api", f"127.0.0.1:{port}")

        def post(body: bytes) -> httpx.Response:
            return http.post("/add-checkpoint", content=body)

        assert post(request(log, 0, 7)).status_code == 404  # not known yet
        cli("witness", "add-log", log.key.text, "--data", "node", cwd=tmp_path)  # while it runs
        assert http.get(f"/{digest}/checkpoint").status_code == 404
        good = post(request(log, 0, 7))
        assert (good.status_code, good.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert len(signed_at(key, parse_note(log.note(7).encoded + good.text))) == 1
        assert http.get(f"/{digest}/checkpoint").text.startswith(log.note(7).text)
        other = post(request(log, 0, 20))
        assert (other.status_code, other.text) == (409, "7\n")
        assert other.headers["content-type"] == "text/x.tlog.size"
        assert post(request(log, 7, 7)).status_code == 200
        assert post(request(log.fork(3).grow(9, "other"), 7)).status_code == 422
        assert post(request(TiledLog(seed=bytes([9]) * 32).grow(9), 7)).status_code == 403
        assert post(request(log, 7, 9).replace(b"old 7", b"old 07")).status_code == 400
        assert post(request(log, 7, 9).replace(b"old 7", b"old 10")).status_code == 400
        assert post(b"x" * 200_000).status_code == 413
        assert http.get("/add-checkpoint").status_code == 405
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        process.start("--api", f"127.0.0.1:{port}")
        assert post(request(log, 0, 20)).text == "7\n"
        assert post(request(log, 7, 20)).status_code == 200
        process.stop()
    assert json.loads(cli("witness", "show", "--json", "--data", "node", cwd=tmp_path).stdout)["logs"][0]["size"] == 20


def test_a_witness_whose_key_was_swapped_does_not_start(tmp_path, node):
    new_witness(node)
    node.witness_key_path.write_bytes(node.key_path.read_bytes())
    port = drawn_port(1)
    args = ("run", "--data", "node", "--no-passphrase", "--api", f"127.0.0.1:{port}")
    assert "is not the key of" in cli(*args, cwd=tmp_path, expect=2).stderr
