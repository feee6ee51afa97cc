"""Real nodes, processes on this machine, beside bare signature verification on the same cores and bare sockets."""

import http.client
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import nacl.bindings as sodium
import zmq

from benchmarks.workload import ISSUERS, summary
from tallystick.api.questions import NewStatement, SignedHere, Submission
from tallystick.api.views import Signed, Status
from tallystick.client.blocking import Client
from tallystick.demo.local_network import LocalNetwork, NodeProcess
from tallystick.host.clock import now_ms
from tallystick.host.data_folder import DataFolder
from tallystick.host.founding import found_here
from tallystick.host.local_socket import short_address
from tallystick.ledger.certificate import Statement, issue_statement
from tallystick.ledger.encoding import encode
from tallystick.ledger.messages import Entry
from tallystick.ledger.params import Params

ROUNDS = 5
PER_ROUND = 16_384
BATCH = 1024
FEEDERS = 4
LATENCY_SAMPLES = 200
SYNC_CERTIFICATES = 100_000
PARAMS = Params(max_block_certificates=2048)
_PATIENCE_S = 300.0


# ---- the benchmarks -------------------------------------------------------------------------------------------------


def one_node() -> str:
    """Certificates made final by a node that is fed over HTTP at its own door, a second, over bare verification."""
    with running_nodes(1) as (folder,):
        ratios, rates = _fed([folder])
    return (
        f"one node, fed over HTTP, final / bare verification on all cores: {summary(ratios)}, goal >= 0.50\n"
        f"  ({statistics.median(rates):,.0f} certificates/s)"
    )


def four_nodes() -> str:
    """Sum over four nodes of what each verifies and stores, a second, over bare verification."""
    with running_nodes(4) as folders:
        ratios, rates = _fed(folders)
    together = summary([len(folders) * one for one in ratios])
    return (
        f"four nodes, verified and stored by all / bare verification on all cores: {together}, "
        f"goal >= 0.50\n  ({statistics.median(rates):,.0f} certificates/s final everywhere)"
    )


def latency() -> str:
    """From handing a certificate in to hearing that it is final, four idle nodes, one at a time."""
    with running_nodes(4) as folders:
        connection, took_ms = _UnixConnection(folders[0].api_path), []
        for number in range(LATENCY_SAMPLES):
            began_s = time.perf_counter()
            body = msgspec.json.encode(SignedHere([NewStatement(f"sample {number}")], wait_ms=60_000))
            connection.request("POST", "/v1/sign", body, {"Content-Type": "application/json"})
            (outcome,) = msgspec.json.decode(connection.getresponse().read(), type=Signed).outcomes
            assert outcome.state == "final"
            took_ms.append(1000 * (time.perf_counter() - began_s))
            time.sleep(0.05)
    round_trips_ms = _round_trips_ms()
    cuts = statistics.quantiles(took_ms, n=100)
    bare = statistics.median(round_trips_ms)
    return (
        f"from submitting to final, four idle nodes: median {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms, goal <= 150 and "
        f"500; a bare ZeroMQ round trip {bare:.2f} ms: {cuts[49] / bare:.0f} of those"
    )


def sync() -> str:
    """Joiners fetch and verify a ledger, from its first block to its last, over bare verification."""
    with running_nodes(1) as (folder,), tempfile.TemporaryDirectory() as others:
        for start in range(0, SYNC_CERTIFICATES, PER_ROUND):
            feed([folder], statements_for(folder, min(PER_ROUND, SYNC_CERTIFICATES - start), start))
        with Client(folder.path) as client:
            invite = client.invite()
        signed = _signed(folder, statements_for(folder, PER_ROUND, SYNC_CERTIFICATES))
        ratios, rates = [], []
        for number in range(ROUNDS):
            before = _bare_rate(signed)
            rate = _joined(invite, DataFolder(Path(others) / f"joiner-{number}"))
            ratios.append(2 * rate / (before + _bare_rate(signed)))
            rates.append(rate)
    return (
        f"a joiner's sync of {SYNC_CERTIFICATES:,} certificates / bare verification on all cores: {summary(ratios)}, "
        f"goal >= 0.60\n  ({statistics.median(rates):,.0f} certificates/s)"
    )


def _joined(invite: str, joiner: DataFolder) -> float:
    """Certificates a second that a new node fetches, verifies and keeps, from the first that it has to the last."""
    environment = {**os.environ, "TALLYSTICK_PASSPHRASE": ""}
    join = [sys.executable, "-m", "tallystick", "join", invite, "--data", str(joiner.path), "--no-passphrase"]
    subprocess.run(join, check=True, env=environment, capture_output=True)
    with _running([joiner]):
        while not (begun_with := _status(joiner).log_size):
            time.sleep(0.01)
        began_s = time.perf_counter()
        while _status(joiner).log_size < SYNC_CERTIFICATES:
            time.sleep(0.01)
        return (SYNC_CERTIFICATES - begun_with) / (time.perf_counter() - began_s)


# ---- feeding --------------------------------------------------------------------------------------------------------


def _fed(folders: Sequence[DataFolder]) -> tuple[list[float], list[float]]:
    """In each round: how many certificates a second all nodes made final, over bare verification; and the former."""
    ratios, rates = [], []
    feed(folders, statements_for(folders[0], BATCH, 0))
    for number in range(ROUNDS):
        certificates = statements_for(folders[0], PER_ROUND, (number + 1) * PER_ROUND)
        before = _bare_rate(_signed(folders[0], certificates))
        rate = PER_ROUND / feed(folders, certificates)
        bare = (before + _bare_rate(_signed(folders[0], certificates))) / 2
        ratios.append(rate / bare)
        rates.append(rate)
    return ratios, rates


def feed(folders: Sequence[DataFolder], certificates: Sequence[Statement]) -> float:
    """Hand all in, each at one node, and wait until they are final at every node; the seconds that took."""
    target = _status(folders[0]).log_size + len(certificates)
    encoded = [encode(Entry(one)) for one in certificates]
    batches = [encoded[start : start + BATCH] for start in range(0, len(encoded), BATCH)]
    shares = [(folders[number % len(folders)], batches[number::FEEDERS]) for number in range(FEEDERS)]
    began_s = time.perf_counter()
    with ThreadPoolExecutor(FEEDERS) as pool:
        list(pool.map(_submit, shares))
        for folder in folders:
            while _status(folder).log_size < target:
                time.sleep(0.005)
    return time.perf_counter() - began_s


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("tallystick", timeout=_PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(short_address(self._path))


def _submit(share: tuple[DataFolder, Sequence[list[bytes]]]) -> None:
    """Send the batches one after the other, each when all of the last is final."""
    folder, batches = share
    connection = _UnixConnection(folder.api_path)
    for batch in batches:
        body = msgspec.msgpack.encode(Submission(batch, wait_ms=60_000))
        connection.request("POST", "/v1/certificates", body, {"Content-Type": "application/vnd.msgpack"})
        answer = connection.getresponse()
        told = answer.read()
        assert answer.status == 200, told
    connection.close()


def statements_for(folder: DataFolder, count: int, first: int) -> list[Statement]:
    ledger_id, signed_ms = bytes.fromhex(_status(folder).ledger_id), now_ms()
    return [
        issue_statement(
            ISSUERS[number % len(ISSUERS)], ledger_id, signed_ms, f"sample {number:>8} of a batch, as filed"
        )
        for number in range(first, first + count)
    ]


def _status(folder: DataFolder) -> Status:
    with Client(folder.path) as client:
        return client.status()


# ---- processes ------------------------------------------------------------------------------------------------------


@contextmanager
def running_nodes(members: int) -> Iterator[list[DataFolder]]:
    with tempfile.TemporaryDirectory() as into:
        folders = found_here("bench", Path(into) / "net", members, "", params=PARAMS)
        with _running(folders):
            yield folders


@contextmanager
def _running(folders: Sequence[DataFolder]) -> Iterator[None]:
    """The folders' nodes run and know all members, until the end."""
    with LocalNetwork([NodeProcess(folder) for folder in folders]) as network:
        for node in network.nodes:
            node.launch("--log-level", "warning")
        network.wait_until_voting()
        yield


# ---- what they are held against -------------------------------------------------------------------------------------


def _signed(folder: DataFolder, certificates: Sequence[Statement]) -> list[tuple[bytes, bytes]]:
    ledger_id = bytes.fromhex(_status(folder).ledger_id)
    return [(one.signature + one.signed_bytes(ledger_id), one.issuer) for one in certificates]


def _bare_rate(signed: list[tuple[bytes, bytes]]) -> float:
    """Verifications a second, libsodium alone, a process a core; the nodes are idle meanwhile."""
    cores = os.cpu_count() or 1
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        parts = [signed[start::cores] for start in range(cores)]
        pool.map(_verify, [part[:16] for part in parts])
        spent_s = pool.map(_verify, parts)
    return len(signed) / max(spent_s)


def _verify(signed: list[tuple[bytes, bytes]]) -> float:
    """The seconds that it takes to verify these."""
    began_s = time.perf_counter()
    for message, key in signed:
        sodium.crypto_sign_open(message, key)
    return time.perf_counter() - began_s


def _round_trips_ms() -> list[float]:
    """Of 250 bytes between two processes over bare ZeroMQ sockets on the loopback interface."""
    context = zmq.Context()
    try:
        with context.socket(zmq.PAIR) as near:
            port = near.bind_to_random_port("tcp://127.0.0.1")
            echo = multiprocessing.get_context("spawn").Process(target=_echo, args=(port,))
            echo.start()
            took = []
            for _ in range(1000):
                began_s = time.perf_counter()
                near.send(bytes(250))
                near.recv()
                took.append(1000 * (time.perf_counter() - began_s))
            near.send(b"")
            echo.join()
    finally:
        context.term()
    return took


def _echo(port: int) -> None:
    with zmq.Context() as context, context.socket(zmq.PAIR) as far:
        far.connect(f"tcp://127.0.0.1:{port}")
        while frame := far.recv():
            far.send(frame)
