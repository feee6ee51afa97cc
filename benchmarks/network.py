"""Real nodes, processes on this machine, fed over HTTP, beside bare signature verification on the same cores."""

import http.client
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import msgspec
import nacl.bindings as sodium

from benchmarks.processes import ports, spent_s
from benchmarks.result import Figure, at_least, at_most, figure
from benchmarks.workload import ISSUERS, cpu_seconds
from tallystick.api.questions import Submission
from tallystick.api.views import Status
from tallystick.client.blocking import Client
from tallystick.demo.local_network import COMMAND, LocalNetwork, NodeProcess
from tallystick.host.clock import now_ms
from tallystick.host.data_folder import DataFolder
from tallystick.host.founding import found_here
from tallystick.host.local_socket import short_address
from tallystick.host.verification import BATCH_CLAIMS, verify_in_line
from tallystick.ledger.certificate import Statement, issue_statement
from tallystick.ledger.encoding import encode
from tallystick.ledger.messages import Entry
from tallystick.ledger.params import Params

ROUNDS = 5
PER_ROUND = 16_384
BATCH = 1024
FEEDERS = 4
PARAMS = Params(max_block_certificates=2048)
_PATIENCE_S = 300.0
_ASKED_EVERY_S = 0.05
"""How far a joiner has come: each answer takes its loop, and this process, 1 to 2 ms."""
_APART = 1_000_000
"""Between the numbers of one lot of certificates and of the next."""
_BARE = "bare libsodium verification on all cores"


# ---- the benchmarks -------------------------------------------------------------------------------------------------


def one_node() -> Iterator[Figure]:
    """Certificates made final by a node that is fed over HTTP at its own door, a second, over bare verification."""
    with running_nodes(1) as (folder,):
        ratios, rates = _fed([folder])
    goal = at_least(0.80, native=1.8)
    yield figure(
        "final / bare", f"one node, fed over HTTP, certificates final on disk a second / {_BARE}", ratios, goal=goal
    )
    yield figure("final", "the same alone", rates, "certificates/s")


def four_nodes() -> Iterator[Figure]:
    """Sum over four nodes of what each verifies and stores, a second, over bare verification."""
    with running_nodes(4) as folders:
        ratios, rates = _fed(folders)
    goal = at_least(0.75, native=1.6)
    summed = [len(folders) * one for one in ratios]
    yield figure("verified and stored / bare", f"the same, summed over four nodes / {_BARE}", summed, goal=goal)
    yield figure("final", "certificates final at all four", rates, "certificates/s")


def beside_verifying() -> Iterator[Figure]:
    """Processor time of a node that is fed, workers included, without what verifying the same signatures takes."""
    with running_network(1) as nodes:
        (folder,), sessions = [one.folder for one in nodes.nodes], sessions_of(nodes)
        feed([folder], statements_for(folder, BATCH, 0))
        whole, verifying = [], []
        for number in range(ROUNDS):
            certificates = statements_for(folder, PER_ROUND, (number + 1) * PER_ROUND)
            before_s = spent_s(sessions)
            feed([folder], certificates)
            whole.append(1e6 * (spent_s(sessions) - before_s) / PER_ROUND)
            verifying.append(_verifying_us(folder, certificates))
    rest = [both - alone for both, alone in zip(whole, verifying, strict=True)]
    what = "processor time of a node for a certificate, fed over HTTP, all its processes and threads"
    yield figure("beside verifying", f"{what}, less that of verifying", rest, "µs", goal=at_most(12, native=10))
    yield figure("whole", what, whole, "µs")
    yield figure(
        "verifying", f"the same signatures by the node's verifier alone, in batches of {BATCH_CLAIMS}", verifying, "µs"
    )


def sync(certificates: int, rounds: int) -> Iterator[Figure]:
    """Joiners fetch and verify a ledger, from its first block to its last, over bare verification."""
    with running_nodes(1) as (folder,), tempfile.TemporaryDirectory() as others:
        for start in range(0, certificates, PER_ROUND):
            feed([folder], statements_for(folder, min(PER_ROUND, certificates - start), start))
        with Client(folder.path) as client:
            invite = client.invite()
        signed = _signed(folder, statements_for(folder, PER_ROUND, certificates))
        ratios, rates = [], []
        for number in range(rounds):
            before = _bare_rate(signed)
            rate = _joined(invite, DataFolder(Path(others) / f"joiner-{number}"), certificates)
            ratios.append(2 * rate / (before + _bare_rate(signed)))
            rates.append(rate)
    goal = at_least(0.85, native=2.0)
    what = f"a joiner fetches, verifies and keeps {certificates:,} certificates, a second / {_BARE}"
    yield figure("sync / bare", what, ratios, goal=goal)
    yield figure("sync", "the same alone", rates, "certificates/s")


def _joined(invite: str, joiner: DataFolder, certificates: int) -> float:
    """Certificates a second that a new node fetches, verifies and keeps."""
    environment = {**os.environ, "TALLYSTICK_PASSPHRASE": ""}
    join = [sys.executable, "-m", "tallystick", "join", invite, "--data", str(joiner.path), "--no-passphrase"]
    subprocess.run(join, check=True, env=environment, capture_output=True)
    return synced(joiner, 0, certificates).rate


class Synced(NamedTuple):
    """What a node did that fetched, verified and kept certificates."""

    rate: float
    """A second, from the first to the last."""
    spent_us: float
    """Processor time of each, its workers included."""


def synced(joiner: DataFolder, held: int, certificates: int) -> Synced:
    """Run a node that holds some of these certificates until it has all."""
    with running([joiner]) as nodes, Client(joiner.path) as client:
        while (begun_with := client.status().log_size) <= held:
            time.sleep(0.01)
        began_s, spent_before_s = time.perf_counter(), spent_s(sessions_of(nodes))
        while client.status().log_size < certificates:
            time.sleep(_ASKED_EVERY_S)
        count, took_s = certificates - begun_with, time.perf_counter() - began_s
        return Synced(count / took_s, 1e6 * (spent_s(sessions_of(nodes)) - spent_before_s) / count)


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
    return feed_requests(folders, requests(certificates), len(certificates))


def requests(certificates: Sequence[Statement]) -> list[bytes]:
    """Bodies of requests that hand them in, `BATCH` in each, and wait until they are final."""
    encoded = [encode(Entry(one)) for one in certificates]
    batches = [encoded[start : start + BATCH] for start in range(0, len(encoded), BATCH)]
    return [msgspec.msgpack.encode(Submission(batch, wait_ms=60_000)) for batch in batches]


def feed_requests(folders: Sequence[DataFolder], bodies: Sequence[bytes], certificates: int) -> float:
    """Send them over `FEEDERS` connections, one to each node in turn; the seconds until all is final everywhere."""
    target = _status(folders[0]).log_size + certificates
    shares = [(folders[number % len(folders)], bodies[number::FEEDERS]) for number in range(FEEDERS)]
    began_s = time.perf_counter()
    with ThreadPoolExecutor(FEEDERS) as pool:
        list(pool.map(_submit, shares))
        for folder in folders:
            while _status(folder).log_size < target:
                time.sleep(0.005)
    return time.perf_counter() - began_s


class UnixConnection(http.client.HTTPConnection):
    """HTTP at the socket in a node's folder."""

    def __init__(self, path: Path) -> None:
        super().__init__("tallystick", timeout=_PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(short_address(self._path))


def _submit(share: tuple[DataFolder, Sequence[bytes]]) -> None:
    """Send requests one after the other, each when all of the last is final."""
    folder, bodies = share
    connection = UnixConnection(folder.api_path)
    for body in bodies:
        _ask(connection, body)
    connection.close()


def _ask(connection: http.client.HTTPConnection, body: bytes) -> None:
    connection.request("POST", "/v1/certificates", body, {"Content-Type": "application/vnd.msgpack"})
    answer = connection.getresponse()
    told = answer.read()
    assert answer.status == http.client.OK, told


def statements_for(folder: DataFolder, count: int, first: int) -> list[Statement]:
    ledger_id, signed_ms = bytes.fromhex(_status(folder).ledger_id), now_ms()
    return [
        issue_statement(ISSUERS[number % len(ISSUERS)], ledger_id, signed_ms, _subject(number))
        for number in range(first, first + count)
    ]


def _subject(number: int) -> str:
    return f"sample {number:>10} of a batch, as filed"


RECORD_BYTES = len(encode(Entry(issue_statement(ISSUERS[0], bytes(32), now_ms(), _subject(0)))))
"""Of each certificate that nodes are fed, and so of a record that their peers are fed."""


def _status(folder: DataFolder) -> Status:
    with Client(folder.path) as client:
        return client.status()


# ---- processes ------------------------------------------------------------------------------------------------------


@contextmanager
def running_nodes(members: int) -> Iterator[list[DataFolder]]:
    """The folders of as many nodes of a new ledger, which run."""
    with running_network(members) as nodes:
        yield [one.folder for one in nodes.nodes]


@contextmanager
def running_network(members: int, command: Sequence[str] = COMMAND) -> Iterator[LocalNetwork[NodeProcess]]:
    """As many nodes of a new ledger, which run and know each other."""
    with tempfile.TemporaryDirectory() as into:
        port = ports(members).start
        folders = found_here("bench", Path(into) / "net", members, "", params=PARAMS, port=port)
        with running(folders, command) as nodes:
            yield nodes


@contextmanager
def running(folders: Sequence[DataFolder], command: Sequence[str] = COMMAND) -> Iterator[LocalNetwork[NodeProcess]]:
    """Their nodes, which run until it is left."""
    with LocalNetwork([NodeProcess(folder, command=command) for folder in folders]) as nodes:
        for node in nodes.nodes:
            node.launch("--log-level", "warning")
        nodes.wait_until_voting()
        yield nodes


def sessions_of(nodes: LocalNetwork[NodeProcess]) -> list[int]:
    """Of the processes that run, each with its workers."""
    return [one.process.pid for one in nodes.running if one.process is not None]


class FourNodes:
    """Four nodes of a new ledger, as `peers` compares them with others'."""

    def __init__(self, nodes: LocalNetwork[NodeProcess]) -> None:
        self.folders = [one.folder.path for one in nodes.nodes]
        self._nodes, self._made = nodes, count()
        self._doors = [one.folder for one in nodes.nodes]

    @property
    def sessions(self) -> list[int]:
        """Of the processes that run."""
        return sessions_of(self._nodes)

    def prepare(self, count: int) -> list[bytes]:
        """So many new certificates, as requests of `BATCH`, each answered when all of it is final."""
        return requests(statements_for(self._doors[0], count, next(self._made) * _APART))

    def feed(self, bodies: Sequence[bytes], count: int) -> float:
        """Hand them in at all nodes; seconds until they are final at all of them."""
        return feed_requests(self._doors, bodies, count)

    def submit(self, node: int) -> float:
        """Hand one in at a node; milliseconds until it tells that it is final."""
        (body,) = self.prepare(1)
        connection = UnixConnection(self._doors[node].api_path)
        connection.connect()
        began_s = time.perf_counter()
        _ask(connection, body)
        took_ms = 1000 * (time.perf_counter() - began_s)
        connection.close()
        return took_ms

    def repeat(self, bodies: Sequence[bytes]) -> bool:
        """Each is found on the chain."""
        feed_requests(self._doors, bodies, 0)
        return True

    def kill(self, node: int) -> None:
        """End a node's process."""
        self._nodes.nodes[node].kill()

    def stop(self, node: int) -> None:
        """Let a node stand still; its workers wait for it."""
        self._nodes.nodes[node].send_signal(signal.SIGSTOP)


@contextmanager
def four_running() -> Iterator[FourNodes]:
    """A new network of four."""
    with running_network(4) as nodes:
        yield FourNodes(nodes)


# ---- what they are held against -------------------------------------------------------------------------------------


def _verifying_us(folder: DataFolder, certificates: Sequence[Statement]) -> float:
    """Processor time of one signature, in this process, as the node's verifier verifies a batch of them."""
    ledger_id = bytes.fromhex(_status(folder).ledger_id)
    claims = [(one.signed_bytes(ledger_id), one.signature, one.issuer) for one in certificates]
    batches = [claims[start : start + BATCH_CLAIMS] for start in range(0, len(claims), BATCH_CLAIMS)]
    return 1e6 * cpu_seconds(lambda: [verify_in_line(one) for one in batches]) / len(claims)


def _signed(folder: DataFolder, certificates: Sequence[Statement]) -> list[tuple[bytes, bytes]]:
    ledger_id = bytes.fromhex(_status(folder).ledger_id)
    return [(one.signature + one.signed_bytes(ledger_id), one.issuer) for one in certificates]


def _bare_rate(signed: list[tuple[bytes, bytes]]) -> float:
    """Verifications a second, libsodium alone, a process a core; the nodes are idle meanwhile."""
    cores = os.cpu_count() or 1
    pool, parts = multiprocessing.get_context("fork").Pool(cores), [signed[start::cores] for start in range(cores)]
    pool.map(_verify, [part[:16] for part in parts])
    spent_s = pool.map(_verify, parts)
    pool.close()  # terminated they would show that they were interrupted
    pool.join()
    return len(signed) / max(spent_s)


def _verify(signed: list[tuple[bytes, bytes]]) -> float:
    """The seconds that it takes to verify these."""
    began_s = time.perf_counter()
    for message, key in signed:
        sodium.crypto_sign_open(message, key)
    return time.perf_counter() - began_s
