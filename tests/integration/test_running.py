"""One real node and those who use it: started, stopped, asked by many at once, and by people with the command."""

import asyncio
import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.network import (
    Network,
    NodeProcess,
    network,
    running_network,
    streams,
    tallystick,
    wait_for,
    with_settings,
)

from tallystick.host.control import (
    MAX_FRAME_BYTES,
    Certify,
    Finalized,
    GetStatus,
    NewStatement,
    framed,
    short_address,
)
from tallystick.host.key_file import create_key_file
from tallystick.ledger.params import Params
from tallystick.ledger.wallet import Wallet
from tallystick.network.transport import Connected
from tallystick.network.zeromq import ZeroMQTransport
from tallystick.problems import HostError


@pytest.fixture
def alone() -> Iterator[NodeProcess]:
    """A ledger's only node, running."""
    with running_network(1) as net:
        yield net.nodes[0]


@pytest.fixture(scope="module")
def shared() -> Iterator[NodeProcess]:
    """The same, for tests that leave it running."""
    with running_network(1) as net:
        yield net.nodes[0]


# ---- started and stopped ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_node_in_order_and_it_starts_again_with_all_it_had(
    alone: NodeProcess, number: signal.Signals
) -> None:
    with streams([alone], batch=16) as (told,):
        wait_for(lambda: len(told.final) > 50, "certificates stream in")
        assert alone.stop(number) == 0
        assert not alone.folder.socket_path.exists()
        assert not alone.folder.ledger_path.with_name("ledger.db-wal").exists(), "the ledger is in one file"
        assert "stopped" in alone.log.splitlines()[-1]
        alone.start()
        seen = len(told.final)
        wait_for(lambda: len(told.final) > seen, "certificates stream in again")
    wait_for(lambda: not alone.status().waiting, "all that was taken becomes final")
    assert alone.stop(number) == 0
    with alone.chain() as chain:
        ids = [one.id for block in chain.blocks() for one in block.certificates]
    assert len(ids) == len(set(ids))
    assert {one.certificate_id for one in told.final} | set(told.accepted) <= set(ids)


def test_a_second_process_on_the_same_folder_is_refused_and_told_of_the_first(shared: NodeProcess) -> None:
    said = tallystick("run", "--data", shared.folder.path, "--no-passphrase", expect=2)
    assert f"{shared.folder.path} is in use by process {shared.pid}; stop that one first" in said.stderr
    shared.certify("the first goes on")


def test_a_port_that_is_taken_is_told(shared: NodeProcess) -> None:
    with network(1) as net:
        (other,) = net.nodes
        taken = shared.folder.settings().listen
        with_settings(other, listen=taken)
        other.launch()
        assert other.wait() == 2
        assert f"cannot listen at {taken}: " in other.log
        assert "Address already in use" in other.log
        assert not other.folder.socket_path.exists()


def test_a_wrong_passphrase_and_a_folder_without_permission_are_told(tmp_path: Path) -> None:
    with network(1) as net:
        (node,) = net.nodes
        wallet = node.folder.wallet("")
        node.folder.key_path.unlink()
        create_key_file(node.folder.key_path, wallet, "right", "interactive")
        passphrase = tmp_path / "passphrase"
        passphrase.write_text("wrong\n")
        passphrase.chmod(0o600)
        run = ("run", "--data", node.folder.path, "--passphrase-file", passphrase)
        assert "[K4]" in tallystick(*run, expect=2).stderr
        node.folder.key_path.chmod(0o644)
        assert f"run: chmod 600 {node.folder.key_path}" in tallystick(*run, expect=2).stderr
        passphrase.chmod(0o644)
        assert f"run: chmod 600 {passphrase}" in tallystick(*run, expect=2).stderr


def test_a_folder_in_which_nothing_may_be_written_is_told(tmp_path: Path) -> None:
    with network(1) as net:
        (node,) = net.nodes
        lock = node.folder.lock_path
        lock.unlink(missing_ok=True)
        lock.mkdir()
        said = tallystick("run", "--data", node.folder.path, "--no-passphrase", expect=2).stderr
        assert f"{lock} cannot be made" in said
        assert "that you may write to" in said


# ---- the control socket -----------------------------------------------------------------------------------------


def raw(node: NodeProcess) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(30)
    one.connect(short_address(node.folder.socket_path))
    return one


def everything_from(one: socket.socket) -> bytes:
    parts = []
    while part := one.recv(65_536):
        parts.append(part)
    return b"".join(parts)


GARBAGE = {
    "not MessagePack": b"\x00\x00\x00\x03\xc1\xc1\xc1",
    "no known request": b"\x00\x00\x00\x0c\x81\xa4type\xa5Steal",
    "a wrong field": b"\x00\x00\x00\x1c\x82\xa4type\xa8GetBlock\xa5index\xa5seven\x00\x00",
    "empty": b"\x00\x00\x00\x00",
    "text": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "too long": (MAX_FRAME_BYTES + 1).to_bytes(4, "big"),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_on_the_control_socket_gets_an_error_and_the_node_goes_on(shared: NodeProcess, what: str) -> None:
    with raw(shared) as one:
        one.sendall(GARBAGE[what])
        one.shutdown(socket.SHUT_WR)
        said = everything_from(one)
    assert b"Failed" in said, said
    shared.certify("the node goes on")


def test_a_client_that_hangs_up_in_the_middle_of_a_request_is_nobodys_trouble(alone: NodeProcess) -> None:
    request = framed(Certify((NewStatement("half"),)))
    for length in (0, 3, 4, len(request) // 2, len(request)):
        with raw(alone) as one:
            one.sendall(request[:length])
    alone.certify("the node goes on")
    assert alone.stop() == 0
    assert "Traceback" not in alone.log


def test_fifty_clients_at_once_are_all_served(shared: NodeProcess) -> None:
    served: list[Finalized] = []
    everybody_is_there = threading.Barrier(50)

    def serve(number: int) -> None:
        with shared.client() as client:
            everybody_is_there.wait()
            for request in (
                GetStatus(),
                Certify(tuple(NewStatement(f"{number}.{one}") for one in range(4))),
                GetStatus(),
            ):
                served.extend(one for one in client.ask(request) if isinstance(one, Finalized))

    clients = [threading.Thread(target=serve, args=(number,), daemon=True) for number in range(50)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(90)
    assert len({one.certificate_id for one in served}) == 200


def test_a_client_that_reads_no_answers_does_not_stop_the_node(alone: NodeProcess) -> None:
    with raw(alone) as silent:
        silent.settimeout(1.0)
        asked = framed(Certify(tuple(NewStatement(f"{one}") for one in range(512))))
        try:
            for _ in range(40):  # until the answers that nobody reads fill all buffers
                silent.sendall(asked)
        except TimeoutError:
            pass
        alone.certify("others are served")
        assert alone.stop() == 0


def test_the_socket_is_its_users_alone(shared: NodeProcess) -> None:
    assert shared.folder.socket_path.stat().st_mode & 0o777 == 0o600
    assert shared.folder.path.stat().st_mode & 0o777 == 0o700


def test_nobody_is_left_waiting_for_a_node_that_stops(alone: NodeProcess) -> None:
    said: list[object] = []

    def ask() -> None:
        with alone.client() as client:
            try:
                for number in range(10_000):
                    said[:] = list(client.ask(Certify((NewStatement(f"{number}"),))))
            except HostError as error:
                said[:] = [error]

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    wait_for(lambda: said, "it is served")
    assert alone.stop() == 0
    asking.join(30)
    assert isinstance(said[0], HostError)


# ---- bans -------------------------------------------------------------------------------------------------------


def test_who_sends_what_no_honest_node_sends_is_banned_and_let_in_again_by_command(alone: NodeProcess) -> None:
    status, stranger = alone.status(), Wallet(bytes(range(32)))
    connected: list[bytes] = []

    async def dial_and_send_nonsense() -> None:
        transport = ZeroMQTransport(stranger, status.ledger_id)

        def on_event(event: object) -> None:
            if isinstance(event, Connected):
                connected.append(event.peer)
                if len(connected) == 1:
                    transport.send(event.peer, b"\xff")

        await transport.start(on_event)
        transport.admit(lambda key: True)
        transport.dial(status.key, status.address)
        await asyncio.to_thread(wait_for, banned, "it is banned")
        await asyncio.to_thread(wait_for, lambda: "not admitted" in str(transport.troubles()), "it is not let in")
        assert len(connected) == 1
        await asyncio.to_thread(tallystick, "unban", stranger.public_key.hex()[:8], "--data", alone.folder.path)
        await asyncio.to_thread(wait_for, lambda: len(connected) == 2, "it is let in")
        await transport.stop()

    def banned() -> list[dict[str, Any]]:
        return [one for one in on(alone, "show", "peers")["peers"] if one["banned_until_ms"]]

    asyncio.run(dial_and_send_nonsense())
    assert banned() == []
    assert "peer banned" in alone.log


# ---- the command against a network ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def consortium() -> Iterator[Network]:
    with running_network(
        4, Params(delta_ms=100, epoch_blocks=3, epoch_ms=1_000, unbonding_blocks=6, unbonding_ms=2_000)
    ) as net:
        yield net


def on(node: NodeProcess, *args: object, expect: int = 0) -> dict[str, Any]:
    command, *rest = args
    found = json.loads(tallystick(command, "--data", node.folder.path, "--json", *rest, expect=expect).stdout)
    assert isinstance(found, dict)
    return found


def test_a_file_certified_at_one_node_is_verified_at_another(consortium: Network, tmp_path: Path) -> None:
    first, _, third, _ = consortium.nodes
    report = tmp_path / "report.pdf"
    report.write_bytes(b"The bridge is sound.\n" * 100)
    done = on(first, "certify", report, "--note", "final version")
    assert (done["final"], done["refused"]) == (1, 0)
    (certified,) = done["certificates"]
    wait_for(lambda: third.status().index >= certified["block_index"], "the other node has the block")
    verified = on(third, "verify", report)
    assert certified["id"] in json.dumps(verified)
    shown = on(third, "show", "certificate", certified["id"][:12])
    assert "report.pdf" in json.dumps(shown)
    assert certified["id"] in json.dumps(on(third, "show", "block", certified["block_index"]))
    other = tmp_path / "other.pdf"
    other.write_bytes(b"The bridge is not sound.\n")
    tallystick("verify", "--data", third.folder.path, other, expect=1)


def test_status_and_stakes_are_the_same_at_all_nodes(consortium: Network) -> None:
    consortium.nodes[1].certify("something")
    consortium.wait_until_agreed()
    said = [on(node, "status") for node in consortium.nodes]
    assert {one["state"] for one in said} == {"quiet"}
    assert len({one["tip_hash"] for one in said}) == 1
    assert {(one["peers"], one["members_connected"], one["members"]) for one in said} == {(3, 4, 4)}
    assert all(one["is_voting"] for one in said)


def test_a_stake_counts_from_the_next_epoch_on(consortium: Network) -> None:
    first, second, *_ = consortium.nodes
    before = first.status()
    done = on(first, "stake", "50")
    assert (done["state"], done["amount"]) == ("final", 50)
    counts_from = int(str(done["counts_from_epoch"]))
    while second.status().epoch < counts_from:
        assert second.status().total_stake == before.total_stake
        second.certify("to get on")
    wait_for(lambda: first.status().total_stake == before.total_stake + 50, "the stake counts")
    assert first.status().stake == before.stake + 50
    assert on(second, "status")["total_stake"] == before.total_stake + 50
    tallystick("stake", "--data", first.folder.path, "1000", expect=1)


def test_a_command_without_a_node_says_how_to_start_one(tmp_path: Path) -> None:
    with network(1) as net:
        (node,) = net.nodes
        said = tallystick("status", "--data", node.folder.path, expect=3).stderr
        assert f"tallystick run --data {node.folder.path}" in said.replace("\n", " ")
