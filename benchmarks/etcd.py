"""etcd of three, as a floor: it replicates and syncs, too, checks no signature, and trusts each of its members."""

import base64
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPException
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.http_json import NotAccepted, ask, connected
from benchmarks.processes import NotInstalled, Processes, ports
from tallystick.host.addresses import HERE

NODES: Final = 3
BATCH: Final = 128
"""Most that etcd takes in one transaction."""
FEEDERS: Final = 24
_POLL_S: Final = 0.01


class EtcdNetwork:
    """Three members that run."""

    def __init__(self, folders: Sequence[Path], client_ports: Sequence[int], record_bytes: int) -> None:
        self.folders = folders
        self.processes = Processes()
        self._ports, self._record_bytes, self._made = client_ports, record_bytes, count()

    @property
    def sessions(self) -> list[int]:
        """Of its processes."""
        return self.processes.sessions

    def is_ready(self) -> bool:
        """Whether all take part."""
        try:
            return all(int(self._status(port).get("leader", 0)) for port in self._ports)
        except (OSError, HTTPException):
            return False

    def prepare(self, count: int) -> list[bytes]:
        """So many new records, as transactions of 128."""
        puts = [{"requestPut": self._put()} for _ in range(count)]
        return [json.dumps({"success": puts[first : first + BATCH]}).encode() for first in range(0, count, BATCH)]

    def feed(self, bodies: Sequence[bytes], count: int) -> float:
        """Hand them in at all members; seconds until all of them have applied them."""
        began_s = time.perf_counter()
        with ThreadPoolExecutor(FEEDERS) as pool:
            list(pool.map(self._send, range(FEEDERS), [bodies[feeder::FEEDERS] for feeder in range(FEEDERS)]))
        revisions = [self._revision(port) for port in self._ports]
        for port in self._ports:
            while self._revision(port) < max(revisions):
                time.sleep(_POLL_S)
        return time.perf_counter() - began_s

    def submit(self, node: int) -> float:
        """Hand one record in at a member, anew while that has no leader; milliseconds until it is committed."""
        connection, body = connected(self._ports[node]), json.dumps(self._put()).encode()
        began_s = time.perf_counter()
        while True:
            with suppress(NotAccepted):
                ask(connection, "/v3/kv/put", body)
                break
        took_ms = 1000 * (time.perf_counter() - began_s)
        connection.close()
        return took_ms

    def repeat(self, bodies: Sequence[bytes]) -> bool:
        """Here that would be as much work as the first time."""
        return False

    def kill(self, node: int) -> None:
        """End one's process."""
        self.processes.kill(node)

    def stop(self, node: int) -> None:
        """Let one stand still."""
        self.processes.stop(node)

    def _put(self) -> dict[str, str]:
        key = f"{next(self._made):016x}"
        return {"key": _encoded(key), "value": _encoded("v" * (self._record_bytes - len(key)))}

    def _send(self, feeder: int, bodies: Sequence[bytes]) -> None:
        connection = connected(self._ports[feeder % NODES])
        for body in bodies:
            assert ask(connection, "/v3/kv/txn", body)["succeeded"]
        connection.close()

    def _status(self, port: int) -> Any:
        connection = connected(port)
        told = ask(connection, "/v3/maintenance/status", b"{}")
        connection.close()
        return told

    def _revision(self, port: int) -> int:
        return int(self._status(port)["header"]["revision"])


@contextmanager
def running(record_bytes: int) -> Iterator[EtcdNetwork]:
    """A new cluster, as it comes. Raises `NotInstalled`."""
    program = shutil.which("etcd")
    if program is None:
        raise NotInstalled("there is no etcd on this machine")
    with TemporaryDirectory() as into:
        drawn, names = ports(2 * NODES), [f"member-{number}" for number in range(NODES)]
        peers = [f"http://{HERE}:{port}" for port in drawn[NODES:]]
        cluster = ",".join(f"{name}={peer}" for name, peer in zip(names, peers, strict=True))
        network = EtcdNetwork([Path(into) / name for name in names], drawn[:NODES], record_bytes)
        with network.processes:
            for name, folder, port, peer in zip(names, network.folders, drawn[:NODES], peers, strict=True):
                told = {
                    "name": name,
                    "data-dir": str(folder),
                    "listen-client-urls": (client := f"http://{HERE}:{port}"),
                    "advertise-client-urls": client,
                    "listen-peer-urls": peer,
                    "initial-advertise-peer-urls": peer,
                    "initial-cluster": cluster,
                    "log-level": "error",
                }
                command = [program, *(f"--{option}={value}" for option, value in told.items())]
                network.processes.launch(command, folder.with_suffix(".log"))
            network.processes.wait_until(network.is_ready)
            yield network


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
