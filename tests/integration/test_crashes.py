"""Real nodes that are killed, stopped and starved: what was told to be final stays, and what was accepted comes."""

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from tests.integration.network import (
    PATIENCE_S,
    NodeProcess,
    network,
    running_network,
    streams,
    tallystick,
    wait_for,
)

from tallystick.api.views import Outcome
from tallystick.ledger.certificate import SALT_BYTES, Payload
from tallystick.problems import ExitCode, Problem
from tallystick.storage.store import Store

KILLS = 5
MEGABYTE = 1_000_000

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: it looks into /proc, which only Linux has")


def workers_of(node: NodeProcess) -> list[int]:
    """The verification workers of a node: its child processes."""
    tasks = Path(f"/proc/{node.pid}/task/{node.pid}/children")
    return [int(pid) for pid in tasks.read_text().split()]


# ---- killed -----------------------------------------------------------------------------------------------------


def test_nothing_final_is_lost_or_doubled_when_nodes_are_killed_at_any_moment(seed: int) -> None:
    chance = random.Random(seed)
    with running_network() as net:
        with streams(net.nodes) as told:
            for _ in range(KILLS):
                before = sum(len(one.final) for one in told)
                wait_for(lambda: sum(len(one.final) for one in told) > before, "the ledger goes on")  # noqa: B023
                time.sleep(chance.uniform(0, 0.5))
                doomed = chance.sample(net.nodes, chance.choice((1, 1, 1, 2, 4)))
                for node in doomed:
                    node.kill()
                for node in doomed:
                    node.launch()
                for node in doomed:
                    node.wait_until_running()
            heard = [len(one.final) for one in told]
            wait_for(
                lambda: all(len(one.final) > had for one, had in zip(told, heard, strict=True)),
                "everybody is answered again",
            )
        net.wait_until_agreed()
        assert sum(one.resumed + one.cut_off for one in told), "nobody was killed while somebody waited for an answer"
        assert not [one for each in told for one in each.refused]
        final = [one for each in told for one in each.final]
        accepted = [one for each in told for one in each.accepted]
        net.assert_equal_chains(final, accepted)


def test_who_follows_a_node_that_is_killed_hears_of_every_certificate_once() -> None:
    heard: list[str] = []

    def follow(node: NodeProcess) -> None:
        with node.client() as client:
            for line in client.follow(0):
                heard.append(line.id)
                if line.summary == "the last":
                    return

    with running_network() as net:
        node, other, *_ = net.nodes
        follower = threading.Thread(target=follow, args=(node,), name="follower", daemon=True)
        follower.start()
        for number in range(3):
            (told,) = other.certify(f"heard of {number}")
            wait_for(lambda: told.id in heard, "who follows hears of it")  # noqa: B023
            node.kill()
            other.certify(f"missed {number}")
            node.start()
        other.certify("the last")
        follower.join(PATIENCE_S)
        assert not follower.is_alive(), "who follows did not hear of the last one"
        net.assert_equal_chains()
        with node.chain() as chain:
            assert heard == [one.id.hex() for block in chain.blocks() for one in block.certificates]


def test_what_a_node_took_while_it_was_alone_outlives_its_death(seed: int) -> None:
    """Nobody else has it, so it comes from the disk or not at all."""
    with network() as net:
        first, second, *_ = net.nodes
        first.start()
        accepted = []
        with first.client() as client:
            payload = Payload(bytes(SALT_BYTES), "", "text/plain", b"kept")
            entries = client.sign([(f"{one}", payload) for one in range(10 * seed)])
            accepted += [bytes.fromhex(one.id) for one in client.submit(entries, timeout_s=0) if one.state == "waiting"]
        assert len(accepted) == 10 * seed
        first.kill()
        net.start()
        second.certify("beside it")
        net.wait_until_agreed()
        net.assert_equal_chains(accepted=accepted)


@linux_only
def test_nobody_notices_a_killed_verification_worker() -> None:
    with running_network(1) as net:
        (node,) = net.nodes
        before = workers_of(node)
        with streams([node], batch=64) as (told,):
            wait_for(lambda: told.final, "certificates become final")
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: len(workers_of(node)) == len(before), "the workers are replaced")
            seen = len(told.final)
            wait_for(lambda: len(told.final) > seen, "the node goes on")
        assert not set(before) & set(workers_of(node))
        assert not told.cut_off
        assert not told.refused
        net.assert_equal_chains(told.final, told.accepted)


@linux_only
def test_workers_end_with_their_killed_node() -> None:
    with running_network(1) as net:
        (node,) = net.nodes
        pids = workers_of(node)
        assert pids
        node.kill()
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the workers end")


# ---- slow -------------------------------------------------------------------------------------------------------


@linux_only
def test_a_peer_that_stands_still_holds_nobody_up_and_catches_up() -> None:
    """The others are to keep no more for it than a queue's worth, of the 48 MB that each would have sent it."""
    payload = Payload(bytes(SALT_BYTES), "", "application/octet-stream", os.urandom(60_000))
    with running_network() as net:
        *others, slow = net.nodes
        others[0].certify("first")
        before = max(node.rss_bytes() for node in others)
        slow.send_signal(signal.SIGSTOP)
        final = 0
        with others[0].client() as client:
            for number in range(20):
                entries = client.sign([(f"much {number}.{one}", payload) for one in range(40)])
                final += sum(one.state == "final" for one in client.submit(entries))
        assert final == 800
        assert max(node.rss_bytes("VmHWM") for node in others) < before + 150 * MEGABYTE
        slow.send_signal(signal.SIGCONT)
        net.wait_until_agreed()
        net.wait_until_voting()
        slow.certify("last")
        net.assert_equal_chains()


# ---- the disk ---------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """A file system of this size, mounted over the folder, with what was in it. Skips where that is not allowed."""
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    path.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tally-test", str(path)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"NOT TESTED, no file system may be mounted here: {mounted.stderr.strip()}")
    try:
        shutil.copytree(aside, path, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def certify_until_it_ends(node: NodeProcess) -> list[bytes]:
    """Certify through a node until it gives up; what it took until then."""
    accepted: list[bytes] = []

    def taken(outcomes: Sequence[Outcome]) -> None:
        accepted.extend(bytes.fromhex(one.id) for one in outcomes if one.state != "refused")

    payload = Payload(bytes(SALT_BYTES), "", "application/octet-stream", os.urandom(20_000))
    with suppress(Problem), node.client() as client:
        for number in range(1000):
            client.submit(client.sign([(f"filling {number}.{one}", payload) for one in range(8)]), on_outcomes=taken)
    return accepted


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="NOT TESTED: only root may mount")
def test_a_full_disk_ends_the_node_with_advice_and_room_heals_it() -> None:
    with network(1) as net, small_disk(net.nodes[0].folder.path, "3m"):
        (node,) = net.nodes
        node.start()
        accepted = certify_until_it_ends(node)
        assert node.wait() == 1
        assert "the disk is full; make room and try again" in node.log
        subprocess.run(["mount", "-o", "remount,size=64m", str(node.folder.path)], check=True)
        node.start()
        net.wait_until_agreed()
        node.certify("there is room again")
        net.assert_equal_chains(accepted=accepted)


@linux_only
def test_a_disk_that_fails_ends_one_node_with_advice_and_the_others_go_on() -> None:
    """A limit on the size of its files, set from outside while it runs, makes the next write fail."""
    with running_network() as net:
        failing, *others = net.nodes
        final = failing.certify("before")
        size = failing.folder.ledger_path.with_name("ledger.db-wal").stat().st_size
        resource.prlimit(failing.pid, resource.RLIMIT_FSIZE, (size, size))
        accepted = certify_until_it_ends(failing)
        assert failing.wait() == 1
        assert "the disk reports an error; check it before anything else" in failing.log
        final += others[0].certify("the others go on")
        failing.start()
        net.wait_until_agreed()
        net.assert_equal_chains(final, accepted)


def test_a_ledger_that_is_gone_is_told_at_the_start() -> None:
    with network(1) as net:
        (node,) = net.nodes
        node.folder.ledger_path.unlink()
        node.launch()
        assert node.wait() == 2
        assert f"there is no file {node.folder.ledger_path}" in node.log


@linux_only
def test_a_ledger_that_is_removed_under_a_running_node_ends_it() -> None:
    with running_network(1) as net:
        (node,) = net.nodes
        node.certify("before")
        node.folder.ledger_path.unlink()
        certify_until_it_ends(node)
        assert node.wait() == 1
        assert f"{node.folder.ledger_path} was removed or replaced while it was in use" in node.log


def test_damage_is_told_at_the_start_and_by_check_with_advice() -> None:
    with running_network(1) as net:
        (node,) = net.nodes
        for number in range(10):
            node.certify(*(f"{number}.{one}" for one in range(50)))
        node.kill()  # so that the next start replays all blocks
        path = node.folder.ledger_path
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            ((page_bytes,),) = connection.execute("PRAGMA page_size").fetchall()
        sound = path.read_bytes()
        page = sound.index(b"5.25") // page_bytes * page_bytes
        altered = sound.replace(b"5.25", b"5.x5")
        torn = sound[:page] + os.urandom(page_bytes) + sound[page + page_bytes :]
        cut_short = sound[: len(sound) // 2]
        for damaged in (altered, torn, cut_short):
            path.write_bytes(damaged)
            said = tallystick("check", "--data", node.folder.path, expect=ExitCode.DAMAGED)
            node.launch()
            assert node.wait() == 1
            assert any(one in said.stdout + said.stderr for one in ("block ", "pages of the file: ", "is damaged")), (
                said
            )
            told = node.log.splitlines()[-1]
            assert "was altered" in told or "check and repair it, or restore it from a backup" in told, told
            for advice in (said.stderr, told):
                assert f"tallystick check --repair --data {node.folder.path}" in advice
        path.write_bytes(sound)
        tallystick("check", "--data", node.folder.path)
        node.start()
        node.certify("restored")


# ---- an old copy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [3, 4])
@pytest.mark.parametrize("has_backup", [True, False], ids=["old backup", "nothing left"])
def test_a_node_that_lost_its_database_and_not_its_guard_votes_at_once_and_does_not_contradict_itself(
    members: int, has_backup: bool
) -> None:
    """Without one of three equal members nothing is decided, so that one must not stay silent."""
    with running_network(members) as net:
        node, *others = net.nodes
        copy = net.path / "old.db"
        with Store.open(node.folder.ledger_path, read_only=True) as store:
            genesis = store.genesis
        final = node.certify("in the backup")
        with streams(net.nodes) as told:
            wait_for(lambda: all(one.final for one in told), "certificates stream in")
            with node.client() as client:
                index = client.backup(copy).tip_index
            wait_for(lambda: node.status().tip_index > index + 5, "the ledger goes on after the backup")
            node.kill()
            for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
                node.folder.path.joinpath(name).unlink(missing_ok=True)
            if has_backup:
                copy.rename(node.folder.ledger_path)
            else:
                Store.create(node.folder.ledger_path, genesis).close()
            node.start()
            assert node.status().guard == "ready"
            if members > 3:
                others[0].kill()  # from here on it takes the restored node's votes to go on
            final += node.certify("with its vote")
        if members > 3:
            others[0].start()
        net.wait_until_agreed()
        final += [one for each in told for one in each.final]
        kept = [one for each in told if each is not told[0] for one in each.accepted]
        net.assert_equal_chains(final, kept)
