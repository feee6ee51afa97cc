"""Thousands that connect and keep the node waiting: refused, bounded, told; and the node goes on."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from tests.api.conftest import Doors, body, entry, opened_doors
from tests.integration.network import wait_for

from tallystick.api.server import MAX_CONNECTIONS

CROWD = 10_000
MOST_BYTES = 64 * 1024
"""Of the node's memory, for each connection that it holds in the crowd below."""
HEAD = b"POST /v1/certificates HTTP/1.1\r\nHost: ledger.example.org\r\n"
NO_BODY = HEAD + b"Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"
KINDS = (b"", HEAD, b"GET /" + b"x" * 4_000, NO_BODY)
"""Half-open without a byte; a head that goes on byte by byte; a line without end; a body that never comes."""


@pytest.fixture(scope="module")
def doors() -> Iterator[Doors]:
    """Of a node that no other test asks."""
    with opened_doors() as found:
        yield found


@pytest.fixture
def open_files() -> Iterator[None]:
    """As many as the crowd needs in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = CROWD + 1_000
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            pytest.skip(f"{hard} open files allowed, {needed} needed: 10,000 connections are NOT tested")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def place_of(doors: Doors) -> tuple[str, int]:
    host, port = doors.url.removeprefix("http://").split(":")
    return host, int(port)


def send(to: list[socket.socket], data: bytes) -> None:
    """To all that are not cut yet."""
    for one in to:
        with suppress(ConnectionError):
            one.send(data)


def ask(doors: Doors, when: int) -> None:
    """As an honest user, at each door, by a connection of his own."""
    with doors.local() as local, doors.remote() as remote:
        for name, client in (("near", local), ("far", remote)):
            assert client.get("/v1/ledger").status_code == 200
            sent = entry(doors.ledger_id, f"{name}, in the crowd of {when}")
            (told,) = client.post("/v1/certificates", json=body(sent, wait_ms=20_000)).json()["outcomes"]
            assert told["state"] == "final"


def test_ten_thousand_that_keep_the_node_waiting_hinder_nobody(doors: Doors, open_files: None) -> None:
    node = doors.node
    descriptors = Path(f"/proc/{node.pid}/fd")
    ask(doors, 0)
    Path(f"/proc/{node.pid}/clear_refs").write_text("5")  # its peak of memory counts from here
    log, files, memory_bytes = node.log, len(list(descriptors.iterdir())), node.rss_bytes()
    held: list[socket.socket] = []
    with ExitStack() as stack:
        for number in range(1, CROWD + 1):
            one = stack.enter_context(socket.create_connection(place_of(doors), timeout=30))
            held.append(one)
            send([one], KINDS[number % len(KINDS)])
            if number % 1_000 == 0:
                send(held[0 :: len(KINDS)], b"x")
                send(held[1 :: len(KINDS)], b"x" * 1_000)
                ask(doors, number)
        assert len(list(descriptors.iterdir())) < files + MAX_CONNECTIONS + 64
        assert node.rss_bytes("VmHWM") < memory_bytes + MAX_CONNECTIONS * MOST_BYTES
    wait_for(lambda: len(list(descriptors.iterdir())) <= files, "all descriptors are given back")
    ask(doors, CROWD + 1)

    def told() -> list[str]:
        return [line for line in node.log[len(log) :].splitlines() if "connections cut" in line]

    def cut() -> int:
        words = [word.partition("=") for line in told() for word in line.split()]
        return sum(int(count) for reason, _, count in words if reason in ("crowded", "slow"))

    wait_for(lambda: cut() >= CROWD - MAX_CONNECTIONS, "the log tells how many were cut")
    assert len(told()) < CROWD / 100


def test_bodies_that_never_come_take_no_places(doors: Doors) -> None:
    with ExitStack() as stack:
        for _ in range(800):
            one = stack.enter_context(socket.create_connection(place_of(doors), timeout=30))
            one.sendall(NO_BODY)
        ask(doors, 800)
