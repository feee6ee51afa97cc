"""Clients that keep a door waiting, each kind against a server of its own: it makes room, ends them, and tells."""

import asyncio
import resource
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tallystick.api import server as server_module
from tallystick.api.rates import source_of
from tallystick.api.server import MAX_CONNECTIONS, Server, Tls, listen_remotely, room_for_connections
from tallystick.problems import Problem

MOST = 4
ASK = b"GET /short HTTP/1.1\r\nHost: door\r\n\r\n"
HELD = ASK.replace(b"short", b"held")
POST = b"POST /read HTTP/1.1\r\nHost: door\r\n"
MUCH = b"x" * 32 * 1024 * 1024
KEEPS_WAITING = {
    "nothing": b"",
    "a part of a head": ASK[:-2],
    "a body that never comes": POST + b"Content-Length: 9\r\n\r\n",
    "a chunk that never comes": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
    "no other request": ASK,
    "a line break for a request": ASK + b"\r\n",
    "a request, and a part of one": ASK + ASK[:-2],
    "an answer that is not taken": ASK.replace(b"short", b"long"),
    "a stream that is not taken": ASK.replace(b"short", b"stream"),
    "a body that nobody reads": ASK[:-2] + b"Content-Length: 9\r\n\r\n",
    "a request that is held, and a part of one": HELD + ASK[:-2],
    "a request that is held, and one without its body": HELD + POST + b"Content-Length: 9\r\n\r\n",
}
MALFORMED = {
    "no HTTP": b"hello\r\n\r\n",
    "a line without end": b"GET /" + b"x" * 800_000,
    "a header without end": ASK[:-2] + b"A: " + b"x" * 800_000,
    "a trailer without end": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: " + b"x" * 800_000,
    "a trailer without end, after a body": POST
    + b"Transfer-Encoding: chunked\r\n\r\n30d40\r\n"
    + b"x" * 200_000
    + b"\r\n0\r\nA: "
    + b"x" * 800_000,
    "many headers": ASK[:-2] + b"A:\r\n" * 300,
    "many trailers": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + b"A:\r\n" * 300,
    "many requests ahead": HELD * 40,
}


class Door:
    """A server with room for few, and its clients."""

    def __init__(self, port: int, server: Server) -> None:
        self.port = port
        self.server = server
        self.go_on = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []

    async def send(self, data: bytes, **how: Any) -> asyncio.StreamReader:
        """By a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **how)
        self._writers.append(writer)
        writer.write(data)
        return reader

    def connections(self) -> list[Any]:
        """The transports of those that the server holds."""
        return [one.transport for one in self.server._server.server_state.connections]

    async def ask(self, **tls: Any) -> bytes:
        """As an honest client; what is answered."""
        return await (await self.send(ASK, **tls)).readuntil(b"short")

    def close(self) -> None:
        """All connections of clients."""
        self.go_on.set()
        for one in self._writers:
            one.close()


@asynccontextmanager
async def opened(tls: Tls | None = None, most: int = MOST) -> AsyncIterator[Door]:
    """A door, until the block is left."""

    async def short(_: Request) -> Response:
        return PlainTextResponse("short")

    async def some(_: Request) -> Response:
        return PlainTextResponse(MUCH[:20_000])

    async def long(_: Request) -> Response:
        return PlainTextResponse(MUCH)

    async def stream(_: Request) -> Response:
        return StreamingResponse(MUCH[:65_536] for _ in range(512))

    async def held(_: Request) -> Response:
        await door.go_on.wait()
        return PlainTextResponse("held")

    async def read(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    routes = [
        Route(f"/{one.__name__}", one, methods=["GET", "POST"]) for one in (short, some, long, stream, held, read)
    ]
    listening = listen_remotely("127.0.0.1", 0)
    port = listening.getsockname()[1]
    server = Server(Starlette(routes=routes), listening, most, tls)
    door = Door(port, server)
    await server.start()
    try:
        async with asyncio.timeout(30):
            yield door
    finally:
        door.close()
        await server.stop()


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


async def cut(reader: asyncio.StreamReader) -> bytes:
    """What came before the end, of a connection that the server ends."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


@pytest.fixture
def certificate(tmp_path: Path) -> Tls:
    tls = Tls(tmp_path / "certificate.pem", tmp_path / "key.pem")
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=door -keyout"
    subprocess.run([*make.split(), tls.key, "-out", tls.certificate], check=True, capture_output=True)
    return tls


@pytest.mark.parametrize("kind", KEEPS_WAITING)
def test_one_that_keeps_a_full_door_waiting_makes_room(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with opened() as door:
            for _ in range(3 * MOST):
                await door.send(KEEPS_WAITING[kind])
            await asyncio.sleep(0.3)  # buffers take some of an answer that its client does not take
            for _ in range(2 * MOST):
                assert await door.ask()
                assert len(door.server._listening._open) <= MOST + 1

    run(story())
    assert "connections cut" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one address of their own only")
def test_an_address_that_opens_many_loses_its_own_and_nobody_elses(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with opened() as door:
            other = await door.send(ASK[:-2], local_addr=("127.0.0.2", 0))
            for _ in range(3 * MOST):
                assert await door.ask()
            assert not other.at_eof(), "it has kept the door waiting the longest"
            door._writers[0].write(b"\r\n")
            assert await other.readuntil(b"short")

    run(story())
    assert "connections cut" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one address of their own only")
def test_who_opens_one_from_each_network_of_a_site_loses_them_and_a_class_behind_one_address_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def in_ipv6(address: str, *bits: int) -> str:
        """As if 127.0.1.N were in the /64 number N of one /48."""
        number = address.rpartition(".")[2]
        return source_of(f"2001:db8:0:{number}::1" if address.startswith("127.0.1.") else address, *bits)

    monkeypatch.setattr(server_module, "source_of", in_ipv6)

    async def story() -> None:
        async with opened(most=8) as door:
            learners = [await door.send(ASK[:-2], local_addr=("127.0.0.2", 0)) for _ in range(3)]
            for number in range(1, 25):
                await door.send(ASK[:-2], local_addr=(f"127.0.1.{number}", 0))
            assert await door.ask()
            for one, learner in enumerate(learners):
                door._writers[one].write(b"\r\n")
                assert await learner.readuntil(b"short")
            assert len(door.server._listening._by_site) <= 3

    run(story())


@pytest.mark.parametrize("kind", KEEPS_WAITING)
def test_one_that_keeps_a_door_waiting_is_ended_in_time(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_HEAD_SECONDS", 0.2)
    monkeypatch.setattr(server_module, "_IDLE_SECONDS", 0.2)

    async def story() -> None:
        async with opened() as door:
            readers = [await door.send(KEEPS_WAITING[kind]) for _ in range(2)]
            await asyncio.sleep(1)  # of an answer that is not taken, nothing may be read before
            for reader in readers:
                assert len(await cut(reader)) < len(MUCH)

    run(story())


def test_who_does_not_take_its_last_answer_is_ended_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_IDLE_SECONDS", 0.3)
    monkeypatch.setattr(server_module, "_HEAD_SECONDS", 0.3)

    async def story() -> None:
        async with opened() as door:
            loop = asyncio.get_running_loop()
            for last in (ASK[:-2] + b"Connection: close\r\n\r\n", b"no HTTP\r\n\r\n"):
                with socket.socket() as deaf:
                    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                    deaf.setblocking(False)
                    await loop.sock_connect(deaf, ("127.0.0.1", door.port))
                    while not any(one.get_write_buffer_size() for one in door.connections()):
                        await loop.sock_sendall(deaf, ASK.replace(b"short", b"some"))
                        await asyncio.sleep(0.01)
                    (held,) = door.connections()
                    assert held.get_write_buffer_size() < 65_536, "writing is paused, which ends it otherwise"
                    await loop.sock_sendall(deaf, last)
                    while door.connections():
                        await asyncio.sleep(0.01)
            assert await door.ask()

    run(story())


def test_an_idle_client_is_no_slow_one(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(server_module, "_KEEP_ALIVE_SECONDS", 0.1)

    async def story() -> None:
        async with opened() as door:
            for _ in range(MOST):
                await cut(await door.send(ASK))

    run(story())
    assert not caplog.records


@pytest.mark.parametrize("kind", MALFORMED)
def test_what_is_no_request_is_refused_while_it_comes(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with opened() as door:
            await cut(await door.send(MALFORMED[kind]))
            assert await door.ask()

    run(story())
    (told,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert told.msg == {"event": "connections cut", "malformed": 1}


def test_a_body_in_the_smallest_chunks_is_one() -> None:
    async def story() -> None:
        async with opened() as door:
            answer = await door.send(
                POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n"
            )
            assert b"200 OK" in await answer.readline()

    run(story())


def test_one_that_is_being_answered_is_not_cut_for_another(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with opened() as door:
            answers = [await door.send(HELD) for _ in range(MOST)]
            await asyncio.sleep(0.1)
            for _ in range(3):
                assert await cut(await door.send(ASK)) == b""
            door.go_on.set()
            for answer in answers:
                assert await answer.readuntil(b"held")

    run(story())
    assert [one.msg for one in caplog.records] == [{"event": "connections cut", "crowded": 3}]


def test_a_tls_handshake_that_never_ends_makes_room_and_ends(certificate: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        trusted = ssl.create_default_context(cafile=certificate.certificate)
        async with opened(certificate) as door:
            for _ in range(5 * MOST):
                await door.send(b"\x16\x03")
            for _ in range(2 * MOST):
                assert await door.ask(ssl=trusted, server_hostname="door")
            await cut(await door.send(b"\x16\x03"))

    monkeypatch.setattr(server_module, "_HEAD_SECONDS", 1.0)
    run(story())


@pytest.mark.parametrize(
    ("certificate_file", "key_file", "reason"),
    [("gone.pem", "key.pem", "No such file"), ("certificate.pem", "gone.pem", "No such file"), ("junk", "junk", "PEM")],
)
def test_a_door_whose_tls_files_cannot_be_used_is_not_opened(
    tmp_path: Path, certificate: Tls, certificate_file: str, key_file: str, reason: str
) -> None:
    (tmp_path / "junk").write_text("junk")
    tls = Tls(certificate.certificate.with_name(certificate_file), certificate.key.with_name(key_file))
    with listen_remotely("127.0.0.1", 0) as listening, pytest.raises(Problem, match=reason) as told:
        Server(Starlette(), listening, MOST, tls)
    assert f"--tls-cert {tls.certificate} and --tls-key {tls.key} cannot be used" in str(told.value)


def test_why_a_door_cannot_be_opened_is_said_in_plain_words() -> None:
    with listen_remotely("127.0.0.1", 0) as taken:
        for host, port, why in (
            ("127.0.0.1", taken.getsockname()[1], "another program listens there"),
            ("192.0.2.1", 0, "it is no address of this machine"),
            ("nobody.invalid", 0, "no machine of this name is known"),
        ):
            with pytest.raises(Problem, match=f"^the API cannot listen at {host}:{port}: {why}; name another --api$"):
                listen_remotely(host, port)


def test_a_door_that_cannot_listen_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise OSError("no room")

    async def story() -> None:
        listening = listen_remotely("127.0.0.1", 0)
        server = Server(Starlette(), listening, MOST)
        monkeypatch.setattr(asyncio.get_running_loop(), "create_server", fail)
        with pytest.raises(OSError, match="no room"):
            await server.start()
        server._listening.close()

    run(story())


def test_a_door_out_of_open_files_makes_room(caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def story() -> None:
        async with opened(most=100) as door:
            held = [await door.send(b"") for _ in range(MOST)]
            await door.ask()
            with socket.socket() as honest:  # it has the lowest descriptor that was free
                resource.setrlimit(resource.RLIMIT_NOFILE, (honest.fileno() + 1, hard))
                honest.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(honest, ("127.0.0.1", door.port))
                await loop.sock_sendall(honest, ASK)
                assert b"200 OK" in await loop.sock_recv(honest, 1_000)
            assert await cut(held[0]) == b""

    try:
        run(story())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    (told,) = caplog.records
    assert cast(dict[str, Any], told.msg)["crowded"] in range(1, MOST + 1)


@pytest.mark.parametrize(
    ("soft", "hard", "given", "room"),
    [
        (1_024, 65_536, 3_072, MAX_CONNECTIONS),
        (1_024, resource.RLIM_INFINITY, 3_072, MAX_CONNECTIONS),
        (1_024, 1_024, 1_024, 256),
        (256, 2_048, 2_048, 512),
        (65_536, 65_536, None, MAX_CONNECTIONS),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, MAX_CONNECTIONS),
    ],
)
def test_open_files_are_raised_to_what_the_doors_take(
    soft: int,
    hard: int,
    given: int | None,
    room: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert room_for_connections() == room
    assert asked == ([] if given is None else [(given, hard)])
    assert ("few open files" in caplog.text) is (room < MAX_CONNECTIONS)
