"""The HTTP API beside what it is held against: a server that answers a constant, ingest without listeners."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import SimpleNamespace

import httpx

from benchmarks.network import BATCH, PER_ROUND, ROUNDS, feed, running_nodes, statements_for
from benchmarks.result import Figure, at_least, at_most, figure
from benchmarks.workload import ISSUERS, ledger, member_wallets
from tallystick.client.blocking import Client
from tallystick.ledger.certificate import Statement
from tallystick.storage.search_index import Query, SearchIndex

READS = 3_000
LISTENERS = 200
SEARCHED = 1_000_000
_IN_A_BLOCK = 1_000
_CONSTANT = """
import socket, sys
from pathlib import Path
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from tallystick.api.server import Server
from tallystick.host.local_socket import listen_locally
import asyncio
async def constant(request): return Response(b"x" * 800, media_type="application/json")
async def main():
    await Server(Starlette(routes=[Route("/{path:path}", constant)]), listen_locally(Path(sys.argv[1])), 64).start()
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
_LISTENERS = """
import selectors, socket, sys
waiting = selectors.DefaultSelector()
for _ in range(int(sys.argv[2])):
    one = socket.socket(socket.AF_UNIX)
    one.connect(sys.argv[1])
    one.sendall(b"GET /v1/events HTTP/1.1\\r\\nHost: tallystick\\r\\n\\r\\n")
    assert one.recv(65536).startswith(b"HTTP/1.1 200")
    waiting.register(one, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in waiting.select():
        key.fileobj.recv(65536)
"""


def reads() -> Iterator[Figure]:
    """Certificates by id, a second, over answers of a constant by the same server."""
    with running_nodes(1) as (folder,), _constant_server() as constant:
        feed([folder], statements_for(folder, BATCH, 0))
        with Client(folder.path) as client:
            ids = [one.id for one in client.log(limit=100).certificates]
        ratios = [
            _rate(folder.api_path, [f"/v1/certificates/{one}" for one in ids]) / _rate(constant, ["/constant"])
            for _ in range(ROUNDS)
        ]
    what = "a certificate by its id over HTTP, a second / answers of a constant by the same server"
    yield figure("read / constant", what, ratios, goal=at_least(0.50))


def listeners() -> Iterator[Figure]:
    """Ingest while 200 clients listen to events, over ingest while nobody does."""
    with running_nodes(1) as (folder,):
        feed([folder], statements_for(folder, BATCH, 0))
        ratios = []
        for number in range(ROUNDS):
            certificates = statements_for(folder, 2 * PER_ROUND, (number + 1) * 2 * PER_ROUND)
            alone_s = feed([folder], certificates[:PER_ROUND])
            with _listening(folder.api_path):
                ratios.append(alone_s / feed([folder], certificates[PER_ROUND:]))
    what = f"ingest beside {LISTENERS} clients that listen to events / without"
    yield figure("beside listeners / without", what, ratios, goal=at_least(0.95))


def search() -> Iterator[Figure]:
    """Searches among a million certificates: the slowest kind of each."""
    with tempfile.TemporaryDirectory() as folder:
        index = SearchIndex(Path(folder) / "search.db", ledger(member_wallets(4)).ledger_id)
        blocks = _Blocks()
        while index.fill(blocks, SEARCHED // _IN_A_BLOCK, {}):  # type: ignore[arg-type]  # as a store shows them
            pass
        issuer = ISSUERS[0].public_key
        queries = {
            "a word that all have": Query("diploma"),
            "a rare word": Query("w4711"),
            "two letters of many words": Query("w1", is_prefix=True),
            "three letters of many words": Query("w12", is_prefix=True),
            "four letters that all have": Query("dipl", is_prefix=True),
            "five letters that all have": Query("diplo", is_prefix=True),
            "an issuer": Query(issuer=issuer),
            "word and issuer": Query("diploma", issuer=issuer),
            "everything": Query(),
        }
        for what, query in queries.items():
            yield figure(what, f"searched for among {SEARCHED:,}", _took_ms(index, query), "ms", goal=at_most(20))
        index.close()


class _Blocks:
    """Blocks of diplomas without payloads, made when they are asked for."""

    def __init__(self) -> None:
        self._random = Random(1)

    def block(self, index: int) -> SimpleNamespace:
        first = (index - 1) * _IN_A_BLOCK
        diplomas = [_diploma(self._random, first + one) for one in range(_IN_A_BLOCK)]
        return SimpleNamespace(index=index, header=SimpleNamespace(timestamp_ms=index), certificates=diplomas)


def _took_ms(index: SearchIndex, query: Query) -> list[float]:
    took = []
    for _ in range(21):
        began_s = time.perf_counter()
        index.find(query, index.size, 50)
        took.append(1000 * (time.perf_counter() - began_s))
    return took


def _diploma(random: Random, number: int) -> Statement:
    subject = f"Diploma of w{random.randrange(20_000)} w{random.randrange(20_000)}, number {number}"
    return Statement(ISSUERS[number % len(ISSUERS)].public_key, number, subject, None)


def _rate(socket: Path, paths: list[str]) -> float:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://tallystick") as client:
        client.get(paths[0])
        began_s = time.perf_counter()
        for number in range(READS):
            client.get(paths[number % len(paths)])
        return READS / (time.perf_counter() - began_s)


@contextmanager
def _constant_server() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "constant.sock"
        with subprocess.Popen([sys.executable, "-c", _CONSTANT, str(path)], stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            server.stdout.readline()
            try:
                yield path
            finally:
                server.kill()


@contextmanager
def _listening(socket: Path) -> Iterator[None]:
    """So many listeners, in a process of their own that does little with what it hears."""
    command = [sys.executable, "-c", _LISTENERS, str(socket), str(LISTENERS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as listeners:
        assert listeners.stdout is not None
        listeners.stdout.readline()
        try:
            yield
        finally:
            listeners.kill()
