"""One real node and those who use it: started, stopped, asked by many at once, and by people with the command."""

import asyncio
import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
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

from tallystick.api.views import Outcome
from tallystick.host.key_file import create_key_file
from tallystick.host.local_socket import short_address
from tallystick.ledger.params import Params
from tallystick.ledger.wallet import Wallet
from tallystick.network.transport import Connected
from tallystick.network.zeromq import ZeroMQTransport
from tallystick.problems import Problem


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
        assert not alone.folder.api_path.exists()
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
    assert {bytes.fromhex(one.id) for one in told.final} | set(told.accepted) <= set(ids)


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
        assert f"cannot listen at {taken}: another program listens there; name another with --listen" in other.log
        assert not other.folder.api_path.exists()


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
        node.folder.key_path.chmod(0o600)
        passphrase.chmod(0o644)
        assert f"run: chmod 600 {passphrase}" in tallystick(*run, expect=2).stderr


def test_a_folder_in_which_nothing_may_be_written_is_told(tmp_path: Path) -> None:
    with network(1) as net:
        (node,) = net.nodes
        lock = node.folder.path / "lock"
        lock.unlink(missing_ok=True)
        lock.mkdir()
        said = tallystick("run", "--data", node.folder.path, "--no-passphrase", expect=2).stderr
        assert f"{lock} cannot be made" in said
        assert "that you may write to" in said


# ---- at its own door ---------------------------------------------------------------------------------------------


def raw(node: NodeProcess) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(30)
    one.connect(short_address(node.folder.api_path))
    return one


@pytest.mark.parametrize(
    "garbage", [b"", b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/sign HTTP/1.1\r\n" * 9]
)
def test_what_is_not_http_harms_nobody(shared: NodeProcess, garbage: bytes) -> None:
    with raw(shared) as one:
        one.sendall(garbage)
        one.shutdown(socket.SHUT_WR)
        while one.recv(65_536):
            pass
    shared.certify("the node goes on")


def test_a_client_that_hangs_up_in_the_middle_of_a_request_is_nobodys_trouble(alone: NodeProcess) -> None:
    body = b'{"statements": [{"subject": "half"}]}'
    head = b"POST /v1/sign HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    request = head % len(body) + body
    for length in (0, 3, len(head) // 2, len(request) - len(body), len(request) - 5, len(request)):
        with raw(alone) as one:
            one.sendall(request[:length])
    alone.certify("the node goes on")
    assert alone.stop() == 0
    assert "Traceback" not in alone.log


def test_a_client_that_reads_no_answers_does_not_stop_the_node(alone: NodeProcess) -> None:
    request = b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    with raw(alone) as silent:
        silent.settimeout(1.0)
        silent.sendall(16 * request)  # the answers that nobody reads fill all buffers
        alone.certify("others are served")
        with suppress(TimeoutError, ConnectionError):
            for _ in range(4_000):  # more than may be sent ahead
                silent.sendall(request)
        alone.certify("others are still served")
        assert alone.stop() == 0


def test_fifty_clients_at_once_are_all_served(shared: NodeProcess) -> None:
    served: list[Outcome] = []
    everybody_is_there = threading.Barrier(50)

    def serve(number: int) -> None:
        with shared.client() as client:
            everybody_is_there.wait()
            client.status()
            served.extend(client.submit(client.sign([(f"{number}.{one}", None) for one in range(4)])))
            client.status()

    clients = [threading.Thread(target=serve, args=(number,), daemon=True) for number in range(50)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(90)
    assert len({one.id for one in served if one.state == "final"}) == 200


def test_nobody_is_left_waiting_for_a_node_that_stops(alone: NodeProcess) -> None:
    said: list[object] = []

    def ask() -> None:
        with alone.client() as client:
            try:
                for number in range(10_000):
                    said[:] = client.submit(client.sign([(f"{number}", None)]))
            except Problem as error:
                said[:] = [error]

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    wait_for(lambda: said, "it is served")
    assert alone.stop() == 0
    asking.join(30)
    assert isinstance(said[0], Problem)


def test_who_waits_and_who_listens_are_let_go_when_a_node_stops() -> None:
    with network(2) as net:
        node, _ = net.nodes  # alone it decides nothing
        node.start()
        with raw(node) as waiting, raw(node) as listening, node.client() as client:
            listening.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in listening.recv(65_536)
            (certificate_id,) = [one.id for one in client.submit(client.sign([("it waits", None)]), timeout_s=0)]
            body = b'{"ids": ["%b"], "wait_ms": 30000}' % certificate_id.encode()
            head = (
                b"POST /v1/outcomes HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            )
            waiting.sendall(head % len(body) + body)
            client.status()  # by now it waits
            assert node.stop() == 0
            answer = b"".join(iter(lambda: waiting.recv(65_536), b""))
            assert b"200 OK" in answer
            assert b'"waiting"' in answer
        assert "Traceback" not in node.log


# ---- bans -------------------------------------------------------------------------------------------------------


def test_who_sends_what_no_honest_node_sends_is_banned_and_let_in_again_by_command(alone: NodeProcess) -> None:
    status, stranger = alone.status(), Wallet(bytes(range(32)))
    connected: list[bytes] = []
    where = ("--data", alone.folder.path)

    async def dial_and_send_nonsense() -> None:
        transport = ZeroMQTransport(stranger, bytes.fromhex(status.ledger_id))

        def on_event(event: object) -> None:
            if isinstance(event, Connected):
                connected.append(event.peer)
                if len(connected) == 1:
                    transport.send(event.peer, b"\xff")

        await transport.start(on_event)
        transport.admit(lambda key: True)
        transport.dial(bytes.fromhex(status.node.key), status.address)
        await asyncio.to_thread(wait_for, banned, "it is banned")
        await asyncio.to_thread(wait_for, lambda: "not admitted" in str(transport.troubles()), "it is not let in")
        assert len(connected) == 1
        assert "tallystick unban" in (await asyncio.to_thread(tallystick, "show", "peers", *where)).stdout
        await asyncio.to_thread(tallystick, "unban", "0" * 64, *where, expect=5)
        await asyncio.to_thread(tallystick, "unban", stranger.public_key.hex()[:8], *where)
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
    (outcome,) = done["outcomes"]
    assert outcome["state"] == "final"
    counts_from = on(first, "show", "block", outcome["block_index"])["epoch"] + 1
    while second.status().epoch < counts_from:
        assert second.status().total_stake == before.total_stake
        second.certify("to get on")
    wait_for(lambda: first.status().total_stake == before.total_stake + 50, "the stake counts")
    assert first.status().stake == before.stake + 50
    assert on(second, "status")["total_stake"] == before.total_stake + 50
    tallystick("stake", "--data", first.folder.path, "1000", expect=6)


def test_a_command_without_a_node_says_how_to_start_one(tmp_path: Path) -> None:
    with network(1) as net:
        (node,) = net.nodes
        said = tallystick("status", "--data", node.folder.path, expect=3).stderr
        assert f"tallystick run --data {node.folder.path}" in said.replace("\n", " ")
