"""`tallystick check --repair` with real nodes and files: all damage is named, and only what is damaged is fetched."""

import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.integration.command_line import cli, in_json
from tests.integration.network import (
    PATIENCE_S,
    QUICK,
    Network,
    NodeProcess,
    network,
    tallystick,
    wait_for,
    with_settings,
)
from tests.integration.test_store import execute

from tallystick.integrity import refetch
from tallystick.integrity.checked_chain import CheckedChain
from tallystick.integrity.salvage import salvage
from tallystick.storage.store import Store

EPOCH = 4
BLOCKS = 22
REPORT = b"The bridge is sound.\n"


@dataclass
class World:
    """Three members that run, and a fourth that was stopped, and what its folder held then."""

    net: Network
    damaged: NodeProcess
    kept: Path
    log_root: str
    tip: int

    @property
    def path(self) -> Path:
        return self.damaged.folder.ledger_path

    @property
    def others(self) -> list[NodeProcess]:
        return [node for node in self.net.nodes if node is not self.damaged]

    def restore(self) -> None:
        folder = self.damaged.folder.path
        shutil.rmtree(folder)
        shutil.copytree(self.kept, folder)

    def check(self, *options: str, expect: int = 0) -> Any:
        return in_json("check", "--data", str(self.path.parent), *options, cwd=self.path.parent, expect=expect)

    def repair(self, expect: int = 0) -> Any:
        return self.check("--repair", "--no-passphrase", expect=expect)

    def blocks(self) -> list[bytes]:
        with Store.open(self.path, read_only=True) as store:
            return [block.encoded for block in store.blocks()]


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    with network(4, replace(QUICK, epoch_blocks=EPOCH, epoch_ms=1, unbonding_blocks=2 * EPOCH, unbonding_ms=2)) as net:
        net.start()
        (net.path / "report.txt").write_bytes(REPORT)
        tallystick("certify", net.path / "report.txt", "--data", net.nodes[0].folder.path)
        while net.nodes[0].status().tip_index < BLOCKS:
            net.nodes[0].certify(f"before {net.nodes[0].status().tip_index}")
        net.wait_until_agreed()
        damaged = net.nodes[3]
        assert damaged.stop() == 0
        kept = net.path / "kept"
        shutil.copytree(damaged.folder.path, kept, ignore=shutil.ignore_patterns("*.sock"))
        with Store.open(damaged.folder.ledger_path, read_only=True) as store:
            chain = CheckedChain(store)
            yield World(net, damaged, kept, chain.state.log.root().hex(), store.tip_index)


@pytest.fixture
def world(made: World) -> World:
    made.restore()
    return made


# ---- damage ---------------------------------------------------------------------------------------------------


def do(*statements: str) -> Callable[[World], None]:
    def damage(world: World) -> None:
        for sql in statements:
            execute(world.path, sql.format(tip=world.tip, before=world.tip - 1))

    return damage


def overwrite_a_page_with(table: str, index: int) -> Callable[[World], None]:
    """The page in which a row of this block is."""

    def damage(world: World) -> None:
        with closing(sqlite3.connect(world.path)) as connection:
            sql = f"SELECT encoded FROM {table} WHERE block_index = ?"
            ((encoded,),) = connection.execute(sql, (index,))
        with world.path.open("r+b") as file:
            file.seek(world.path.read_bytes().index(encoded) // 4096 * 4096)
            file.write(random.Random(table).randbytes(4096))

    return damage


def overwrite_the_first_page(world: World) -> None:
    with world.path.open("r+b") as file:
        file.write(bytes(4096))


@dataclass
class Damage:
    """What is done to the file, what a check then says, and how many blocks and finalizations have to come back."""

    do: Callable[[World], None]
    says: Sequence[str]
    blocks: int = 0
    finalizations: int = 0
    dropped: int = 0
    is_copied: bool = False


DAMAGES = {
    "a block flipped": Damage(
        do(
            "UPDATE blocks SET encoded = substr(encoded, 1, 200) || x'ffff' || substr(encoded, 203) "
            "WHERE block_index = 7"
        ),
        ["block 7: "],
        blocks=1,
    ),
    "a stretch gone": Damage(
        do("DELETE FROM blocks WHERE block_index BETWEEN 5 AND 14"), ["blocks 5 to 14: missing"], blocks=10
    ),
    "an epoch's last votes gone": Damage(
        do("DELETE FROM finalizations WHERE block_index = 8"),
        ["finalization of block 8, the last of its epoch: missing"],
        finalizations=1,
    ),
    "votes flipped": Damage(
        do("UPDATE finalizations SET encoded = x'c1' WHERE block_index IN (6, 12)"),
        ["finalization of block 6: ", "finalization of block 12: "],
        finalizations=1,
    ),
    "the end flipped": Damage(
        do("UPDATE blocks SET encoded = x'c1' WHERE block_index >= {before}"),
        ["blocks {before} to {tip}: [E2]"],
        dropped=2,
    ),
    "the end gone, its votes there": Damage(
        do("DELETE FROM blocks WHERE block_index = {tip}"),
        ["finalization of block {tip}: there is no such block"],
    ),
    "votes that are kept": Damage(do("UPDATE votes SET encoded = x'c1'"), ["votes: "]),
    "ends of epochs": Damage(
        do("DELETE FROM epoch_ends WHERE epoch = 1", "UPDATE epoch_ends SET roots = x'c1' WHERE epoch = 2"),
        ["derived: ends of epochs"],
    ),
    "payload and index": Damage(
        do("UPDATE payloads SET encoded = x'c1'", "DELETE FROM snapshot", "DELETE FROM files"),
        ["payload ", "derived: snapshot"],
    ),
    "much at once": Damage(
        do(
            "DELETE FROM blocks WHERE block_index IN (1, 4, 9, 10)",
            "DELETE FROM finalizations WHERE block_index < 13",
            "DELETE FROM epoch_ends",
            "UPDATE blocks SET encoded = x'c1' WHERE block_index = {tip}",
            "UPDATE votes SET encoded = x'c1'",
        ),
        ["block 1: missing", "blocks 9 to 10: missing", "block {tip}: [E2]", "votes: "],
        blocks=4,
        finalizations=3,
        dropped=1,
    ),
    "a page of blocks": Damage(overwrite_a_page_with("blocks", 10), ["pages of the file: "], blocks=-1, is_copied=True),
    "a page of votes": Damage(
        overwrite_a_page_with("finalizations", 10), ["pages of the file: "], finalizations=-1, is_copied=True
    ),
    "the first page": Damage(overwrite_the_first_page, ["is not a database"], is_copied=True),
}
"""-1: some, by how the file is laid out."""


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_named_and_mended_and_nothing_else_is_fetched(world: World, damage: Damage) -> None:
    before = world.blocks()
    damage.do(world)
    shown = cli("check", "--data", str(world.path.parent), cwd=world.net.path, expect=7)
    told = shown.stdout + shown.stderr
    for line in damage.says:
        assert line.format(tip=world.tip, before=world.tip - 1) in told, told
    assert f"tallystick check --repair --data {world.path.parent}" in told
    mended = world.repair()
    assert mended["is_sound"]
    assert mended["dropped_blocks"] == damage.dropped
    for count, expected in (("refetched_blocks", damage.blocks), ("refetched_finalizations", damage.finalizations)):
        assert 0 < mended[count] < BLOCKS if expected < 0 else mended[count] == expected, mended
    assert bool(mended["damaged_files"]) == damage.is_copied
    assert all(Path(one).exists() for one in mended["damaged_files"])
    after = world.blocks()
    assert after == before[: mended["tip_index"]]
    checked = world.check()
    assert (checked["is_sound"], checked["damage"], checked["left_out"]) == (True, [], 0)
    if len(after) == len(before):
        assert checked["log_root"] == world.log_root
    assert world.repair()["found"] == []


def test_a_good_ledger_needs_no_repair_no_key_and_no_peer(world: World) -> None:
    world.damaged.folder.key_path.unlink()
    with_settings(world.damaged, bootstrap=())
    shown = cli("check", "--repair", "--data", str(world.path.parent), cwd=world.net.path)
    assert "nothing is damaged" in shown.stdout
    assert shown.stderr == ""


# ---- peers ------------------------------------------------------------------------------------------------------


class AnsweringPeer:
    """See answering_peer.py: it has the place of a node that was stopped."""

    def __init__(self, node: NodeProcess, manner: str, answers: int = 1_000) -> None:
        program = Path(__file__).with_name("answering_peer.py")
        command = [sys.executable, str(program), str(node.folder.path), manner, str(answers)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "listening\n"

    def asked(self) -> list[str]:
        """End it; what it was asked."""
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        return out.splitlines()


@contextmanager
def answering(*peers: tuple[NodeProcess, str, int]) -> Iterator[list[AnsweringPeer]]:
    """In the place of nodes that run, which run again afterwards."""
    found: list[AnsweringPeer] = []
    try:
        for node, manner, answers in peers:
            assert node.stop() == 0
            found.append(AnsweringPeer(node, manner, answers))
        yield found
    finally:
        for one in found:
            if one.process.poll() is None:
                one.process.kill()
                one.process.communicate()
        for node, _, _ in peers:
            node.start()


def known_alone(world: World, *nodes: NodeProcess) -> None:
    """The damaged node knows of no other peers."""
    execute(world.path, "DELETE FROM addresses")
    keys = [(node.folder.public_key().hex(), node.folder.settings().address) for node in nodes]
    with_settings(world.damaged, bootstrap=tuple(f"{key}@{address}" for key, address in keys))


def test_a_peer_is_asked_for_damaged_ranges_alone(world: World) -> None:
    do("DELETE FROM blocks WHERE block_index IN (3, 4, 5, 17)", "DELETE FROM finalizations WHERE block_index = 12")(
        world
    )
    known_alone(world, world.others[0])
    with answering((world.others[0], "honest", 100)) as (peer,):
        mended = world.repair()
        assert peer.asked() == ["BlockRequest 17 1", "BlockRequest 3 3", "BlockRequest 5 1", "FinalizationRequest 2"]
    assert (mended["refetched_blocks"], mended["refetched_finalizations"]) == (4, 1)
    assert world.check()["log_root"] == world.log_root


def test_who_sends_what_is_false_or_nothing_is_passed_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refetch, "ANSWER_S", 0.5)
    do("DELETE FROM blocks WHERE block_index BETWEEN 3 AND 5", "DELETE FROM finalizations WHERE block_index = 12")(
        world
    )
    false, silent, honest = world.others
    known_alone(world, false, silent, honest)
    with answering((false, "false", 100), (silent, "silent", 0), (honest, "honest", 100)) as peers:
        mended = world.repair()
        asked = [peer.asked() for peer in peers]
    assert mended["is_sound"]
    blocks = ["BlockRequest 3 3", "BlockRequest 5 1"]  # an answer ends with its epoch
    again = ["FinalizationRequest 2"]  # its members are known once the blocks are there: all are asked anew
    assert asked == [blocks + again, blocks[:1] + again, blocks + again]
    assert world.check()["log_root"] == world.log_root


def test_if_all_peers_send_what_is_false_it_is_said_and_the_rest_is_repaired(world: World) -> None:
    do("DELETE FROM blocks WHERE block_index = 3", "UPDATE payloads SET encoded = x'c1'", "DELETE FROM snapshot")(world)
    known_alone(world, world.others[0])
    with answering((world.others[0], "false", 100)):
        data = str(world.path.parent)
        done = cli("check", "--repair", "--no-passphrase", "--data", data, cwd=world.net.path, expect=7)
    assert "could not be repaired as a whole: blocks 3 to 3" in done.stderr
    assert "is not good" in done.stderr
    assert "repair again when other members run" in done.stderr
    assert world.check(expect=7)["damage"] == ["block 3: missing"]
    known_alone(world, world.others[1])
    assert world.repair()["refetched_blocks"] == 1
    assert world.check()["log_root"] == world.log_root


def test_with_nobody_in_reach_it_says_so_and_goes_on_the_next_time(world: World) -> None:
    do("UPDATE blocks SET encoded = x'c1' WHERE block_index BETWEEN 6 AND 9")(world)
    bootstrap = world.damaged.folder.settings().bootstrap
    known_alone(world)
    data = ("--data", str(world.path.parent))
    done = cli("check", "--repair", "--no-passphrase", *data, cwd=world.net.path, expect=7)
    assert "no peer can be reached to fetch from (none is known)" in done.stderr
    with_settings(world.damaged, bootstrap=(f"{'00' * 32}@127.0.0.1:9",))
    done = cli("check", "--repair", "--no-passphrase", *data, cwd=world.net.path, expect=7)
    assert "no peer can be reached to fetch from (0000000000000000…: " in done.stderr
    assert "start another member's node" in done.stderr
    assert world.check(expect=7)["damage"] == ["blocks 6 to 9: missing"]
    with_settings(world.damaged, bootstrap=bootstrap)
    assert world.repair()["refetched_blocks"] == 4
    assert world.check()["log_root"] == world.log_root


def test_a_repair_that_is_killed_half_way_goes_on_where_it_was(world: World) -> None:
    do("DELETE FROM blocks WHERE block_index IN (3, 7, 8, 11)")(world)
    known_alone(world, world.others[0])
    with answering((world.others[0], "honest", 2)):  # two answers, and then it lets everybody wait
        command = ["check", "--repair", "--no-passphrase", "--data", str(world.path.parent)]
        repairing = subprocess.Popen([sys.executable, "-m", "tallystick", *command], stderr=subprocess.DEVNULL)
        wait_for(lambda: len(present(world)) == world.tip - 1, "two ranges are back")
        repairing.kill()
        repairing.wait()
    known_alone(world, world.others[1])
    mended = world.repair()
    assert mended["refetched_blocks"] == 1, "the other three are there"
    assert mended["found"] == ["block 3: missing"]
    assert world.check()["log_root"] == world.log_root


def present(world: World) -> list[int]:
    with closing(sqlite3.connect(world.path)) as connection:
        return [index for (index,) in connection.execute("SELECT block_index FROM blocks")]


@pytest.mark.parametrize("step", ["copied", "moved", "moved in part"])
def test_a_copy_that_is_cut_off_while_files_change_places_is_ended_or_begun_again(world: World, step: str) -> None:
    path, before = world.path, world.blocks()
    overwrite_a_page_with("blocks", 10)(world)
    done = path.with_name("ledger.salvaged.db")
    if step == "copied":
        path.with_name("ledger.unfinished.db").write_bytes(b"half of it")
        done.write_bytes(b"of another time")
    else:
        salvage(path, done)
        path.replace(path.with_name("ledger.damaged-1.db"))
        if step == "moved in part":
            path.with_name("ledger.db-wal").write_bytes(b"what must not be read into another file")
    mended = world.repair()
    assert [Path(one).name for one in mended["damaged_files"]] == ["ledger.damaged-1.db"]
    assert world.blocks() == before
    left = {one.name for one in path.parent.iterdir() if one.name.startswith("ledger")}
    beside = {"ledger.damaged-1.db-wal"} if step == "moved in part" else set()
    assert left == {"ledger.db", "ledger.damaged-1.db"} | beside


# ---- the node -------------------------------------------------------------------------------------------------


def test_a_node_with_a_damaged_end_does_not_start_and_says_what_to_do(world: World) -> None:
    do("UPDATE blocks SET encoded = x'c1' WHERE block_index = {tip}")(world)
    with Store.open(world.path, read_only=True) as store:
        snapshot = store.snapshot()
        assert snapshot is not None
        assert snapshot.state.index == world.tip, "its snapshot is of the tip: without a look at it nobody would notice"
    told = tallystick("run", "--no-passphrase", "--data", world.path.parent, expect=1)
    assert f"block {world.tip} was altered: [E2]" in told.stderr
    assert f"tallystick check --repair --data {world.path.parent}" in told.stderr
    assert world.repair()["dropped_blocks"] == 1


def test_a_repaired_node_catches_up_verifies_and_votes_again(world: World) -> None:
    net, node = world.net, world.damaged
    net.wait_until_voting()
    do(
        "UPDATE blocks SET encoded = x'c1' WHERE block_index IN (5, 6, {tip})",
        "DELETE FROM finalizations WHERE block_index = 12",
        "UPDATE votes SET encoded = x'c1'",
        "UPDATE payloads SET encoded = x'c1'",
    )(world)
    data = ("--data", node.folder.path)
    told = tallystick("check", *data, expect=7)
    assert "blocks 5 to 6: [E2]" in told.stdout
    mended = tallystick("check", "--repair", "--no-passphrase", *data)
    assert "repaired, and checked again" in mended.stdout
    assert "2 blocks and 1 finalization fetched from peers" in mended.stdout
    assert "1 damaged block at the end dropped, for the node to fetch" in mended.stdout
    assert f"tallystick run --data {node.folder.path}" in mended.stderr
    net.nodes[0].certify("while it was away")
    node.start()
    refused = tallystick("check", "--repair", "--no-passphrase", *data, expect=2)
    assert f"is in use by process {node.pid}; stop that one first" in refused.stderr
    net.wait_until_agreed(world.tip + 1)
    for number in range(2 * EPOCH):
        net.nodes[number % 3].certify(f"after {number}")
    wait_for(lambda: node.status().is_voting, "it votes again")
    others = world.others
    assert others[2].stop() == 0
    others[0].certify("with its vote, or not at all")
    others[2].start()
    assert "File report.txt" in tallystick("search", "--file", world.net.path / "report.txt", *data).stdout
    assert "✓" in tallystick("check", *data).stdout, "while it runs"
    net.wait_until_agreed()
    assert node.stop() == 0
    assert world.check()["is_sound"]
    assert world.repair()["found"] == []
