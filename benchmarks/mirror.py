"""A mirror: written over the plain writing of the same files, and served by a node over a constant."""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.network import BATCH, feed, running_nodes, statements_for
from benchmarks.proofs import BLOCK, Kept, four_members
from benchmarks.result import Figure, at_least, figure
from benchmarks.workload import ISSUERS, statements
from tallystick.ledger.encoding import encode
from tallystick.storage.mirror import ENTRIES, Part, tile_path
from tallystick.storage.mirror_files import MirrorFolder
from tallystick.storage.proving import signed_note
from tallystick.storage.store import Store

CERTIFICATES = 100_000
SERVED = 32_768
READS = 1_000
ROUNDS = 5
MEMBERS = 4
_STATIC = """
import asyncio, sys
from pathlib import Path
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from tallystick.api.server import Server
from tallystick.host.local_socket import listen_locally
data = Path(sys.argv[2]).read_bytes()
async def constant(request): return Response(data, media_type="application/octet-stream")
async def main():
    await Server(Starlette(routes=[Route("/{path:path}", constant)]), listen_locally(Path(sys.argv[1])), 64).start()
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def export() -> Iterator[Figure]:
    """Certificates a second into a new mirror, and how that compares with writing the same files plainly."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Store.create(folder / "ledger.db", four_members()) as store:
            kept = Kept(store, ISSUERS[:MEMBERS])
            for first in range(0, CERTIFICATES, BLOCK):
                kept.forge(statements(kept.genesis, min(BLOCK, CERTIFICATES - first), first))
            at = kept.countersigned()
            note, state = signed_note(kept.genesis, at).encoded, encode(kept.prover().mirrored(at))
            rates, cpu_rates, ratios = [], [], []
            for _ in range(ROUNDS):
                mirror = MirrorFolder(folder / "mirror", store)
                began_s, began_cpu_s = time.perf_counter(), time.process_time()
                with mirror.held():
                    done = mirror.publish(note, state)
                took_s = time.perf_counter() - began_s
                rates.append(CERTIFICATES / took_s)
                cpu_rates.append(CERTIFICATES / (time.process_time() - began_cpu_s))
                ratios.append(_written_plainly(folder) / took_s)
                shutil.rmtree(folder / "mirror")
    what = f"{CERTIFICATES:,} certificates, blocks of {BLOCK}, into a new mirror of {done.files:,} synced files"
    yield figure("export", what, rates, "certificates/s", goal=at_least(100_000))
    yield figure("export, processor time", "the same", cpu_rates, "certificates/s")
    yield figure("plain writing / export", "seconds to write the same files, unsynced / those of the export", ratios)


def tiles() -> Iterator[Figure]:
    """Tiles a second at a node's door, over the same bytes as a constant answer of the same server."""
    with running_nodes(1) as (folder,):
        feed([folder], statements_for(folder, SERVED, 0))
        full = SERVED // BATCH * BATCH // 256
        hashes, entries = (
            [tile_path(0, one) for one in range(full)],
            [Part(ENTRIES, one, 256).path for one in range(full)],
        )
        with _asking(folder.api_path) as http:
            while http.get(f"/{hashes[-1]}").status_code != httpx.codes.OK:
                time.sleep(0.1)
            first_ms = {what: _first_ms(http, paths) for what, paths in (("hashes", hashes), ("entries", entries))}
            for what, paths in (("hashes", hashes), ("entries", entries)):
                with _static_server(http.get(f"/{paths[0]}").content) as constant, _asking(constant) as static:
                    ratios = [_rate(http, paths) / _rate(static, paths) for _ in range(ROUNDS)]
                about = f"a tile of 256 {what} at a node's door, a second"
                yield figure(what, f"{about} / a constant of the same bytes, same server", ratios, goal=at_least(0.80))
                yield figure(f"{what}, first", "the same that nobody asked for yet, median", [first_ms[what]], "ms")


@contextmanager
def _asking(path: Path) -> Iterator[httpx.Client]:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://tallystick") as client:
        yield client


def _first_ms(http: httpx.Client, paths: Sequence[str]) -> float:
    """Of tiles that nobody asked for yet, the median."""
    took_ms = []
    for path in paths[:-1]:
        began_s = time.perf_counter()
        http.get(f"/{path}")
        took_ms.append(1000 * (time.perf_counter() - began_s))
    return statistics.median(took_ms)


def _rate(http: httpx.Client, paths: Sequence[str]) -> float:
    began_s = time.perf_counter()
    for number in range(READS):
        assert http.get(f"/{paths[number % len(paths)]}").status_code == httpx.codes.OK
    return READS / (time.perf_counter() - began_s)


@contextmanager
def _static_server(data: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path, file = Path(folder) / "static.sock", Path(folder) / "tile"
        file.write_bytes(data)
        with subprocess.Popen([sys.executable, "-c", _STATIC, str(path), str(file)], stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            server.stdout.readline()
            try:
                yield path
            finally:
                server.kill()


def _written_plainly(folder: Path) -> float:
    """Seconds for writing what stands in the mirror, each file at once and none of them synced."""
    files = [(one, one.read_bytes()) for one in (folder / "mirror").rglob("*") if one.is_file()]
    plain = folder / "plain"
    for folder_path in {one.parent for one, _ in files}:
        (plain / folder_path.relative_to(folder / "mirror")).mkdir(parents=True, exist_ok=True)
    began_s = time.perf_counter()
    for one, data in files:
        (plain / one.relative_to(folder / "mirror")).write_bytes(data)
    took_s = time.perf_counter() - began_s
    shutil.rmtree(plain)
    return took_s
