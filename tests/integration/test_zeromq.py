"""The transport over real sockets on this machine: strangers, vandals, and processes that stop."""

import asyncio
import gc
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import cast

import pytest
import zmq
from tests.builders import GENESIS
from tests.conformance.worlds import LIMITS, RealWorld, Station, wallet_of

from tallystick.ledger.encoding import digest, encode
from tallystick.ledger.params import MAX_MESSAGE_BYTES
from tallystick.network.connection import WINDOW_BYTES
from tallystick.network.curve import x25519_key
from tallystick.network.handshake import DiallerHandshake, ListenerHandshake
from tallystick.network.sockets import bind, connect, open_socket
from tallystick.network.transport import Connected, Disconnected, TransportError
from tallystick.network.zeromq import ANSWER, END, HELLO, PING, PROOF, TAKEN, WELCOME, ZeroMQTransport, fetch_genesis

LEDGER = GENESIS.ledger_id
QUICK = replace(LIMITS, handshake_ms=500, ping_after_ms=100, dead_after_ms=800)
HERE = Path(__file__).parent


def run(story: Callable[[RealWorld], Awaitable[None]]) -> None:
    async def whole() -> None:
        world = RealWorld()
        try:
            await story(world)
        finally:
            await world.stop()

    asyncio.run(whole())


def place_of(station: Station) -> tuple[str, int]:
    host, _, port = station.transport.listening.rpartition(":")
    return host.strip("[]"), int(port)


class Vandal:
    """A key that is admitted, and a socket that says what it likes."""

    def __init__(
        self, number: int, victim: Station, place: tuple[str, int] | None = None, routing_id: bytes | None = None
    ) -> None:
        self.wallet = wallet_of(number)
        self.key = self.wallet.public_key
        self.context = zmq.Context()
        self.socket = open_socket(self.context, zmq.DEALER, self.wallet, 5_000)
        if routing_id is not None:
            self.socket.routing_id = routing_id
        self.handshake = DiallerHandshake(self.wallet, LEDGER, victim.key, bytes(32), False)
        self._victim = victim
        self._place = place or place_of(victim)

    def __enter__(self) -> "Vandal":
        connect(self.socket, self._victim.key, *self._place)
        return self

    def __exit__(self, *_: object) -> None:
        self.context.destroy(linger=0)

    def say(self, *parts: bytes) -> None:
        self.socket.send_multipart(parts, zmq.NOBLOCK)

    async def hear(self, world: RealWorld, *kinds: bytes) -> bytes:
        """The body of the next word of one of these kinds."""
        while True:
            await world.until(lambda: self.socket.poll(0))
            message = self.socket.recv_multipart()
            if message[0] in kinds:
                return message[1]

    async def hear_frame(self, world: RealWorld) -> bytes:
        """The next message of one part."""
        while True:
            await world.until(lambda: self.socket.poll(0))
            message = self.socket.recv_multipart()
            if len(message) == 1:
                return message[0]

    async def shake_hands(self, world: RealWorld) -> None:
        self.say(HELLO, self.handshake.hello())
        self.say(PROOF, self.handshake.prove(await self.hear(world, ANSWER)))
        await self.hear(world, WELCOME)


class Relay:
    """Passes on to a node what somebody sends, some 30 MB a second, as a line of the real world would."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self.passed_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.place = ("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        self._server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, near: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        far, far_writer = await asyncio.open_connection(*place_of(self._station))
        for reader, writer in ((near, far_writer), (far, near_writer)):
            self._tasks.add(asyncio.create_task(self._pass_on(reader, writer)))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(300_000):
                writer.write(data)
                await writer.drain()
                self.passed_bytes += len(data)
                await asyncio.sleep(0.01)
        writer.close()


async def assert_alive(world: RealWorld, station: Station, number: int = 90) -> None:
    """Somebody honest comes, and is heard."""
    honest = await world.station(number, listen=None)
    honest.dial(station)
    await world.until(lambda: honest.is_connected_with(station))
    honest.send(station, b"good morning")
    await world.until(lambda: station.frames_from(honest) == [b"good morning"])


# ---- addresses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
def test_addresses_are_ipv4_ipv6_or_names(listen):
    if listen.startswith("[") and not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback, so listening there is NOT tested")

    async def story(world):
        ada, ben = await world.station(1), await world.station(2, listen=listen)
        host, port = place_of(ben)
        assert port > 0
        assert ben.transport.listening == (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        address = f"localhost:{port}" if listen.startswith("localhost") else ben.transport.listening
        ada.transport.dial(ben.key, address)
        await world.until(lambda: ada.told)
        assert ada.told == [Connected(ben.key, address)]

    run(story)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("nowhere", "host:port"),
        ("::1:80", "host:port"),
        (":80", "host:port"),
        ("127.0.0.1:", "host:port"),
        ("127.0.0.1:-1", "host:port"),
        ("127.0.0.1:٣", "host:port"),
        ("127.0.0.1:70000", "65535"),
        ("no.such.host.invalid:80", "no machine of the name"),
        ("x" * 300 + ":80", "no machine of the name"),
        ("127.0.0.1:9", "nobody answers"),
    ],
)
def test_an_address_that_leads_nowhere_is_a_trouble_with_its_reason(address, why):
    async def story(world):
        ada = await world.station(1)
        ben = wallet_of(2).public_key
        ada.transport.dial(ben, address)
        await world.until(lambda: ben in ada.transport.troubles())
        assert why in ada.transport.troubles()[ben]
        assert ada.told == []

    run(story)


def test_a_peer_that_is_no_key_is_a_trouble():
    async def story(world):
        ada, ben = await world.station(1), await world.station(2)
        ada.transport.dial(b"\xff" * 32, ben.transport.listening)
        await world.until(ada.transport.troubles)
        assert "K1" in ada.transport.troubles()[b"\xff" * 32]

    run(story)


# ---- who is who -------------------------------------------------------------------------------------------------


def test_a_strangers_key_is_refused_before_it_says_a_word():
    async def story(world):
        ada = await world.station(1, admits={wallet_of(2).public_key})
        eve = await world.station(3)
        eve.dial(ada)
        await world.until(eve.transport.troubles)
        assert eve.transport.troubles() == {ada.key: "the peer does not admit this node's key"}
        assert ada.told == []

    run(story)


def test_a_negated_key_shares_the_encryption_but_is_not_taken_for_the_other():
    """Two Ed25519 keys have one X25519 form: ZAP admits both, and the handshake tells which it is."""

    async def story(world):
        eve = wallet_of(3)
        twin = eve.public_key[:31] + bytes([eve.public_key[31] ^ 0x80])
        ada = await world.station(1, admits={twin})
        with Vandal(3, ada) as vandal:
            vandal.say(HELLO, vandal.handshake.hello())
            vandal.say(PROOF, vandal.handshake.prove(await vandal.hear(world, ANSWER)))
            assert b"not admitted" in await vandal.hear(world, END)
        assert ada.told == []

    run(story)


def test_a_hello_in_anothers_name_is_refused():
    async def story(world):
        ada = await world.station(1)
        with Vandal(3, ada) as vandal:
            posing = DiallerHandshake(wallet_of(4), LEDGER, ada.key, bytes(32), False)
            vandal.say(HELLO, posing.hello())
            assert b"another key" in await vandal.hear(world, END)
        assert ada.told == []

    run(story)


def test_a_proof_made_for_another_session_is_refused():
    async def story(world):
        ada = await world.station(1)
        with Vandal(3, ada) as first, Vandal(3, ada) as second:
            first.say(HELLO, first.handshake.hello())
            proof = first.handshake.prove(await first.hear(world, ANSWER))
            second.say(HELLO, second.handshake.hello())  # same key, same nonce of its own
            await second.hear(world, ANSWER)
            second.say(PROOF, proof)
            assert b"has not proven" in await second.hear(world, END)
        assert ada.told == []

    run(story)


def test_another_key_at_an_address_is_not_taken_for_the_dialled_one():
    async def story(world):
        ada, ben = await world.station(1), await world.station(2)
        expected = wallet_of(7).public_key
        ada.transport.dial(expected, ben.transport.listening)
        await world.until(ada.transport.troubles)
        assert "another key" in ada.transport.troubles()[expected]
        assert ada.told == ben.told == []

    run(story)


def test_two_nodes_with_one_key_are_told_so():
    async def story(world):
        ada, again = await world.station(1), await world.station(1)
        again.dial(ada)
        await world.until(again.transport.troubles)
        assert "same key" in again.transport.troubles()[ada.key]

    run(story)


def test_a_node_of_another_ledger_is_told_which_is_which():
    async def story(world):
        ada = await world.station(1)
        ben = ZeroMQTransport(wallet_of(2), bytes(32))
        await ben.start(lambda event: None)
        ben.admit(lambda key: True)
        ben.dial(ada.key, ada.transport.listening)
        await world.until(ben.troubles)
        assert f"on ledger {LEDGER.hex()}, the dialling one on {bytes(32).hex()}" in ben.troubles()[ada.key]
        await ben.stop()

    run(story)


@pytest.mark.parametrize("version", [0, 2, 65_535])
def test_a_node_of_another_version_is_told_which_is_older(version):
    async def story(world):
        ada = await world.station(1)
        with Vandal(3, ada) as vandal:
            vandal.say(HELLO, version.to_bytes(2, "big") + b"as that version says")
            heard = (await vandal.hear(world, END)).decode()
        assert "speaks version 1" in heard
        assert f"version {version};" in heard

    run(story)


# ---- vandals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word",
    [
        (HELLO, b""),
        (HELLO, b"\x00\x01"),
        (HELLO, b"\x00\x01" + bytes(range(100))),
        (HELLO, b"\x00\x01" + b"\x91" * 100_000),
        (b"\x1b[31mred", b""),
        (b"a frame before hello",),
        (b"one", b"two", b"three"),
        (PROOF, b""),
        (WELCOME, b""),
        (TAKEN, bytes(8)),
    ],
    ids=str,
)
def test_words_that_mean_nothing_before_the_handshake_end_the_connection(word):
    async def story(world):
        ada = await world.station(1, limits=QUICK)
        with Vandal(3, ada) as vandal:
            vandal.say(*word)
            await world.until(lambda: _tcp_connections_of(ada))
            await world.until(lambda: not _tcp_connections_of(ada))
        assert ada.told == []
        await assert_alive(world, ada)

    run(story)


def _tcp_connections_of(station: Station) -> list[object]:
    """The connections that it has accepted and not yet given up."""
    transport = cast(ZeroMQTransport, station.transport)
    return list(transport._tcp_connections._by_descriptor.values())


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ((b"one", b"two", b"three"), "3 parts"),
        ((HELLO, b""), "hello"),
        ((b"\x1b[31mred\n", b""), "?[31mred?"),
        ((TAKEN, bytes(7)), "never sent"),
        ((TAKEN, (10**9).to_bytes(8, "big")), "never sent"),
        ((PING, bytes(2_000)), "words"),
    ],
    ids=str,
)
def test_words_that_mean_nothing_end_an_open_connection_with_a_reason(word, why):
    async def story(world):
        ada = await world.station(1)
        with Vandal(3, ada) as vandal:
            await vandal.shake_hands(world)
            vandal.say(*word)
            assert why in (await vandal.hear(world, END)).decode()
            await world.until(lambda: Disconnected in map(type, ada.told))
        assert why in ada.told[-1].reason

    run(story)


def test_a_peers_last_words_are_fit_for_a_log():
    async def story(world):
        ada = await world.station(1)
        with Vandal(3, ada) as vandal:
            await vandal.shake_hands(world)
            vandal.say(END, b"\x1b[2J\xff\n" + b"a" * 900)
            await world.until(lambda: Disconnected in map(type, ada.told))
        assert ada.told[-1].reason.isprintable()
        assert len(ada.told[-1].reason) < 400

    run(story)


def test_one_that_only_chatters_is_cut_off():
    async def story(world):
        ada = await world.station(1)
        with Vandal(3, ada) as vandal:
            await vandal.shake_hands(world)
            for _ in range(5_000):
                vandal.say(PING, b"")
            await world.until(lambda: Disconnected in map(type, ada.told))
        assert "words" in ada.told[-1].reason

    run(story)


def test_an_oversized_message_is_not_taken():
    async def story(world):
        ada = await world.station(1)
        with Vandal(3, ada) as vandal:
            await vandal.shake_hands(world)
            vandal.say(bytes(MAX_MESSAGE_BYTES + 1))
            await world.until(lambda: Disconnected in map(type, ada.told))
        await assert_alive(world, ada)
        assert [type(one) for one in ada.told if one.peer == vandal.key] == [Connected, Disconnected]

    run(story)


def test_one_that_sends_on_without_being_let_is_cut_off():
    async def story(world):
        ada = await world.station(1)
        with Vandal(3, ada) as vandal:
            await vandal.shake_hands(world)
            ada.transport.pause(vandal.key)
            for _ in range(WINDOW_BYTES // MAX_MESSAGE_BYTES + 1):
                vandal.say(bytes(MAX_MESSAGE_BYTES))
            await world.until(lambda: Disconnected in map(type, ada.told))
            assert "window" in ada.told[-1].reason
        assert [type(one) for one in ada.told] == [Connected, Disconnected]

    run(story)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells; a message without end is NOT bounded here")
@pytest.mark.parametrize("is_introduced", [True, False], ids=["after the handshake", "as its first"])
def test_a_message_without_end_is_cut_off(is_introduced):
    async def story(world):
        ada = await world.station(1)
        relay = Relay(ada)
        await relay.start()
        with Vandal(3, ada, relay.place) as vandal:
            if is_introduced:
                await vandal.shake_hands(world)
            for _ in range(60):
                vandal.socket.send(bytes(1024 * 1024), zmq.SNDMORE)
            vandal.say(b"the last part")
            await world.until(lambda: relay.passed_bytes > WINDOW_BYTES)
            await world.until(lambda: not _tcp_connections_of(ada))
            assert relay.passed_bytes < 30 * 1024 * 1024
        if is_introduced:
            assert "without end" in ada.told[-1].reason
        await relay.stop()
        await assert_alive(world, ada)

    run(story)


def test_garbage_and_silence_over_plain_tcp_are_given_up():
    async def story(world):
        ada = await world.station(1, limits=QUICK)
        speeches = [
            *(
                b"",
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                b"\x16\x03\x01\x02\x00\x01",
                bytes(range(1, 256)) * 20,
                bytes(64),
            ),
            b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL" + bytes(48),
            b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01CURVE" + bytes(48) + b"\x06\xff" * 5_000,
        ]
        with ExitStack() as stack:
            plain = [stack.enter_context(socket.create_connection(place_of(ada))) for _ in speeches]
            for one, speech in zip(plain, speeches, strict=True):
                one.sendall(speech)
            await assert_alive(world, ada)
            for one in plain:
                one.setblocking(False)
                await world.until(lambda one=one: _has_ended(one))
        assert len(ada.told) == 2

    run(story)


def _has_ended(one: socket.socket) -> bool:
    try:
        while one.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def test_one_that_writes_a_byte_at_a_time_is_given_up():
    async def story(world):
        ada = await world.station(1, limits=QUICK)
        greeting = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01CURVE" + bytes(48)
        with socket.create_connection(place_of(ada)) as slow:
            began = time.monotonic()
            slow.setblocking(False)
            for byte in greeting:
                if _has_ended(slow):
                    break
                slow.send(bytes([byte]))
                await world.let_pass(0.1)
            else:
                pytest.fail(f"it was let go on for {time.monotonic() - began} s")
        assert ada.told == []

    run(story)


def test_a_thousand_idle_connections_keep_nobody_out():
    count = 1_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * count + 500
    if soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            pytest.skip(f"{hard} open files allowed: a thousand idle connections are NOT tested")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))

    async def story(world):
        ada = await world.station(1, limits=replace(LIMITS, handshake_ms=60_000, opening_connections=50))
        with ExitStack() as stack:
            for number in range(count):
                one = stack.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(place_of(ada))
                if number % 50 == 49:
                    await world.let_pass(0.01)
            await assert_alive(world, ada)
            await world.until(lambda: len(_tcp_connections_of(ada)) <= 52)
        await world.until(lambda: len(_tcp_connections_of(ada)) == 1)

    run(story)


def test_peers_that_come_by_themselves_are_bounded_but_one_that_is_dialled_is_let_in():
    async def story(world):
        ada = await world.station(1, limits=replace(LIMITS, peers=2))
        ben, cem, dan = [await world.station(number) for number in (2, 3, 4)]
        await world.connected(ben, ada)
        await world.connected(cem, ada)
        dan.dial(ada)
        await world.until(dan.transport.troubles)
        assert "no room" in dan.transport.troubles()[ada.key]
        ada.transport.dial(dan.key, "127.0.0.1:9")
        await world.until(lambda: dan.is_connected_with(ada))

    run(story)


# ---- one connection a pair --------------------------------------------------------------------------------------


def test_a_peer_that_connects_anew_has_lost_the_connection_before():
    async def story(world):
        ada = await world.station(1)
        with Vandal(3, ada) as first, Vandal(3, ada) as second:
            await first.shake_hands(world)
            await second.shake_hands(world)
            assert b"anew" in await first.hear(world, END)
            ada.transport.send(first.key, b"to the newer one")
            assert await second.hear_frame(world) == b"to the newer one"
        assert [type(one) for one in ada.told] == [Connected, Disconnected, Connected]

    run(story)


def test_a_handshake_that_began_before_another_was_done_is_not_gone_on_with():
    async def story(world):
        ada = await world.station(1)
        with Vandal(3, ada) as slow, Vandal(3, ada) as quick:
            slow.say(HELLO, slow.handshake.hello())
            proof = slow.handshake.prove(await slow.hear(world, ANSWER))
            await quick.shake_hands(world)
            assert b"came first" in await slow.hear(world, END)
            slow.say(PROOF, proof)
            await world.let_pass(0.1)
        assert ada.told[0] == Connected(quick.key, None)
        assert Connected not in map(type, ada.told[1:])

    run(story)


@pytest.mark.parametrize("number", [1, 2], ids=["a higher key", "a lower key"])
def test_if_both_have_sent_their_proof_the_lower_keys_connection_stays(number):
    numbers = sorted((1, 2), key=lambda one: wallet_of(one).public_key)
    own, other = numbers if number == 1 else numbers[::-1]

    async def story(world):
        ada = await world.station(own)
        with Vandal(other, ada) as vandal, Listening(vandal) as listening:
            ada.transport.dial(vandal.key, listening.address)
            await listening.take_proof(world, ada)
            vandal.say(HELLO, vandal.handshake.hello())
            vandal.say(PROOF, vandal.handshake.prove(await vandal.hear(world, ANSWER)))
            if number == 1:
                assert b"came first" in await vandal.hear(world, END)
                assert ada.told == []
                listening.say(WELCOME, b"")
                await world.until(lambda: ada.told)
                assert ada.told == [Connected(vandal.key, listening.address)]
            else:
                await vandal.hear(world, WELCOME)
                await world.until(lambda: ada.told)
                assert ada.told == [Connected(vandal.key, None)]

    run(story)


class Listening:
    """Where a vandal's key can be dialled, too."""

    def __init__(self, vandal: Vandal) -> None:
        self._wallet = vandal.wallet
        self._socket = open_socket(vandal.context, zmq.ROUTER, vandal.wallet, 5_000)
        self._routing_id = b""

    def __enter__(self) -> "Listening":
        self.address = bind(self._socket, "127.0.0.1", 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    async def take_proof(self, world: RealWorld, dialler: Station) -> None:
        """Everything but the welcome."""
        await world.until(lambda: self._socket.poll(0))
        self._routing_id, kind, hello = self._socket.recv_multipart()
        assert kind == HELLO
        handshake = ListenerHandshake(self._wallet, LEDGER, bytes(32), x25519_key(dialler.key))
        self.say(ANSWER, handshake.answer(hello))
        await world.until(lambda: self._socket.poll(0))
        _, kind, proof = self._socket.recv_multipart()
        assert kind == PROOF
        assert not handshake.check(proof)

    def say(self, *parts: bytes) -> None:
        self._socket.send_multipart([self._routing_id, *parts])


def test_a_routing_id_that_one_left_gives_another_nothing():
    """ZeroMQ lets a peer choose its routing id: here two want the same, and one takes it the moment it is free."""

    async def story(world):
        ada = await world.station(1)
        with Vandal(3, ada, routing_id=b"x") as ben:
            await ben.shake_hands(world)
            with Vandal(4, ada, routing_id=b"x") as eve:
                await world.until(lambda: len(_tcp_connections_of(ada)) == 2)
                await world.let_pass(0.2)
                ben.socket.close()
                time.sleep(0.1)  # ada has not yet looked
                eve.say(b"x")
                eve.say(b"not from ben")
                time.sleep(0.1)
                ada.transport._router.drain()
                await world.until(lambda: Disconnected in map(type, ada.told))
        assert [type(one) for one in ada.told] == [Connected, Disconnected]
        assert {one.peer for one in ada.told} == {ben.key}

    run(story)


def test_however_nodes_come_and_go_in_the_end_each_has_one_connection_with_each(seed):
    async def story(world):
        random, count = Random(seed), 4
        stations = [await world.station(number) for number in range(1, count + 1)]
        addresses = [station.transport.listening for station in stations]
        all_ever = list(stations)

        def dial_all(number):
            for other, address in zip(stations, addresses, strict=True):
                if other is not stations[number]:
                    stations[number].transport.dial(other.key, address)

        for number in range(count):
            dial_all(number)
        for _ in range(25):
            await world.let_pass(random.uniform(0, 0.1))
            number, other = random.sample(range(count), 2)
            if random.random() < 0.5:
                await stations[number].transport.stop()
                stations[number] = await world.station(number + 1, listen=addresses[number])
                all_ever.append(stations[number])
            else:
                stations[number].transport.forget(stations[other].key)
            dial_all(number)
        pairs = [(one, other) for one in stations for other in stations if one is not other]
        await world.until(lambda: all(one.is_connected_with(other) for one, other in pairs))
        await world.let_pass(0.3)
        for one, other in pairs:
            one.send(other, b"from " + one.key)
        await world.until(lambda: all(b"from " + one.key in other.frames_from(one) for one, other in pairs))
        for station in all_ever:
            _assert_told_in_turn(station)

    run(story)


def _assert_told_in_turn(station: Station) -> None:
    """Each peer connects, then disconnects, then connects…, and is heard only in between."""
    connected: set[bytes] = set()
    for event in station.told:
        assert (event.peer in connected) != isinstance(event, Connected)
        if isinstance(event, Connected):
            connected.add(event.peer)
        elif isinstance(event, Disconnected):
            connected.remove(event.peer)


# ---- dialling again ---------------------------------------------------------------------------------------------

PATIENT = replace(LIMITS, redial_first_ms=60_000, redial_last_ms=60_000)


def test_a_new_address_is_dialled_without_waiting_for_the_old_ones_turn():
    async def story(world):
        ada, ben = await world.station(1, limits=PATIENT), await world.station(2)
        ada.transport.dial(ben.key, "127.0.0.1:9")
        await world.until(ada.transport.troubles)
        await world.connected(ada, ben)

    run(story)


def test_one_that_comes_to_be_admitted_is_dialled_without_waiting():
    async def story(world):
        ada, ben = await world.station(1, limits=PATIENT, admits=()), await world.station(2)
        ada.dial(ben)
        await world.until(ada.transport.troubles)
        ada.transport.admit(lambda key: key == ben.key)
        await world.until(lambda: ada.is_connected_with(ben))

    run(story)


def test_dialling_the_same_address_again_hurries_nothing():
    async def story(world):
        ada, ben = await world.station(1, limits=PATIENT), await world.station(2)
        with socket.create_server(("127.0.0.1", 0)) as busy:
            address = f"127.0.0.1:{busy.getsockname()[1]}"
        ada.transport.dial(ben.key, address)
        await world.until(ada.transport.troubles)
        with socket.create_server(("127.0.0.1", int(address.split(":")[1]))) as busy:
            busy.setblocking(False)
            ada.transport.dial(ben.key, address)
            await world.let_pass(0.3)
            with pytest.raises(BlockingIOError):
                busy.accept()

    run(story)


# ---- a ledger's genesis -----------------------------------------------------------------------------------------


def test_the_genesis_is_fetched_before_there_is_a_node():
    async def story(world):
        ada = ZeroMQTransport(wallet_of(1), LEDGER, "127.0.0.1:0", encode(GENESIS), LIMITS)
        told = list[object]()
        await ada.start(told.append)
        assert ada.listening is not None
        ada.admit(lambda key: key == wallet_of(2).public_key)
        key = wallet_of(1).public_key
        assert await fetch_genesis(wallet_of(2), LEDGER, key, ada.listening, 5_000) == encode(GENESIS)
        for wallet, ledger_id, peer, why in (
            (wallet_of(3), LEDGER, key, "does not admit"),
            (wallet_of(2), bytes(32), key, "on ledger"),
            (wallet_of(2), LEDGER, wallet_of(4).public_key, "another key"),
            (wallet_of(2), LEDGER, b"\xff" * 32, "K1"),
        ):
            with pytest.raises(TransportError, match=why):
                await fetch_genesis(wallet, ledger_id, peer, ada.listening, 5_000)
        for address in ("nowhere", "127.0.0.1:9"):
            with pytest.raises(TransportError, match=r"address|nobody"):
                await fetch_genesis(wallet_of(2), LEDGER, key, address, 5_000)
        assert told == []
        await ada.stop()

    run(story)


def test_a_genesis_of_another_ledger_is_not_taken():
    async def story(world):
        ada = ZeroMQTransport(wallet_of(1), LEDGER, "127.0.0.1:0", b"something else", LIMITS)
        await ada.start(lambda event: None)
        assert ada.listening is not None
        ada.admit(lambda key: True)
        assert digest(b"something else") != LEDGER
        with pytest.raises(TransportError, match="another ledger"):
            await fetch_genesis(wallet_of(2), LEDGER, wallet_of(1).public_key, ada.listening, 5_000)
        await ada.stop()

    run(story)


def test_a_genesis_that_does_not_come_is_waited_for_in_bounds():
    async def story(world):
        with socket.create_server(("127.0.0.1", 0)) as mute:
            address = f"127.0.0.1:{mute.getsockname()[1]}"
            with pytest.raises(TransportError, match=r"within|answer"):
                await fetch_genesis(wallet_of(2), LEDGER, wallet_of(1).public_key, address, 300)

    run(story)


# ---- processes --------------------------------------------------------------------------------------------------


@contextmanager
def process(number: int, listen: str = "127.0.0.1:0") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A peer in a process of its own, and where it listens; gone afterwards."""
    arguments = [sys.executable, str(HERE / "peer_process.py"), number.to_bytes(32, "big").hex(), LEDGER.hex(), listen]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as started:
        try:
            yield started, started.stdout.readline().strip()
        finally:
            started.kill()


def test_a_stopped_process_holds_up_nobody_and_is_noticed():
    async def story(world):
        limits = replace(LIMITS, ping_after_ms=100, dead_after_ms=1_000)
        ada, cem = await world.station(1, limits=limits), await world.station(3)
        await world.connected(ada, cem)
        cem.on_told = lambda event: cem.transport.send(ada.key, b"still here") if cem.frames_from(ada) else None
        with process(2) as (ben_process, address):
            ben = Station(wallet_of(2), ada.transport)
            ada.transport.dial(ben.key, address)
            await world.until(lambda: ada.is_connected_with(ben))
            ben_process.send_signal(signal.SIGSTOP)
            while ada.is_connected_with(ben):
                for one in (ben, cem):
                    ada.send(one, bytes(100_000))
                answers = len(ada.frames_from(cem))
                await world.until(lambda before=answers: len(ada.frames_from(cem)) > before)
            assert "silent" in ada.reason_from(ben) or "slow" in ada.reason_from(ben)
            assert len(ada.connections_with(cem)) == 1
            ben_process.send_signal(signal.SIGCONT)
            await world.until(lambda: ada.is_connected_with(ben))
            ada.send(ben, b"are you well?")
            await world.until(lambda: b"are you well?" in ada.frames_from(ben))

    run(story)


def test_silence_alone_is_noticed_too():
    async def story(world):
        ada = await world.station(1, limits=replace(LIMITS, ping_after_ms=100, dead_after_ms=600))
        with process(2) as (ben_process, address):
            ben = Station(wallet_of(2), ada.transport)
            ada.transport.dial(ben.key, address)
            await world.until(lambda: ada.is_connected_with(ben))
            ben_process.send_signal(signal.SIGSTOP)
            await world.until(lambda: not ada.is_connected_with(ben))
            assert "silent" in ada.reason_from(ben)

    run(story)


def test_a_killed_process_is_noticed_and_its_successor_connected():
    async def story(world):
        ada = await world.station(1)
        ben = Station(wallet_of(2), ada.transport)
        with process(2) as (ben_process, address):
            ada.transport.dial(ben.key, address)
            await world.until(lambda: ada.is_connected_with(ben))
            ben_process.kill()
            await world.until(lambda: not ada.is_connected_with(ben))
        with process(2, address):
            await world.until(lambda: ada.is_connected_with(ben))
            ada.send(ben, b"anew")
            await world.until(lambda: ada.frames_from(ben) == [b"anew"])

    run(story)


def test_idle_peers_stay_connected_by_their_pings():
    async def story(world):
        ada, ben = [await world.station(number, limits=QUICK) for number in (1, 2)]
        await world.connected(ada, ben)
        await world.let_pass(2.5 * QUICK.dead_after_ms / 1000)
        assert len(ada.told) == len(ben.told) == 1

    run(story)


def test_a_node_that_stood_still_does_not_blame_its_peers():
    async def story(world):
        limits = replace(LIMITS, ping_after_ms=100, dead_after_ms=900)
        ada = await world.station(1, limits=limits)
        with process(2) as (_, address):
            ben = Station(wallet_of(2), ada.transport)
            ada.transport.dial(ben.key, address)
            await world.until(lambda: ada.is_connected_with(ben))
            time.sleep(1.5)  # the whole event loop, as a suspended machine would
            ada.send(ben, b"good morning")
            await world.until(lambda: ada.frames_from(ben) == [b"good morning"])
            assert len(ada.connections_with(ben)) == 1

    run(story)


def _open_files() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def test_stop_leaves_nothing_behind():
    async def story(world):
        ada, ben = await world.station(11), await world.station(12)
        await world.connected(ada, ben)
        ada.transport.dial(wallet_of(13).public_key, "127.0.0.1:9")
        with socket.create_connection(place_of(ada)):
            await world.until(lambda: len(_tcp_connections_of(ada)) >= 1)
            await ada.transport.stop()
            await ben.transport.stop()
        assert len(asyncio.all_tasks()) == 1

    gc.collect()
    files, threads = _open_files(), threading.active_count()
    for _ in range(3):
        run(story)
        gc.collect()
    assert _open_files() <= files
    assert threading.active_count() <= threads
