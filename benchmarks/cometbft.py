"""CometBFT with its own key-value store behind it: four nodes on this machine, driven over their RPC.

It agrees, gossips and keeps as it does in production: it syncs its log of consensus messages, its blocks and its state.
Its key-value store checks that a record has one "=", and no signature, and keeps its own state in memory.
"""

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Condition
from typing import Any, Final

import platformdirs

from benchmarks.http_json import PATIENCE_S, ask, connected, get
from benchmarks.processes import NotInstalled, Processes, ports
from tallystick.host.addresses import HERE

VERSION: Final = "v0.38.26"
NODES: Final = 4
BATCH: Final = 512
_PACKAGE: Final = f"github.com/cometbft/cometbft/cmd/cometbft@{VERSION}"
_BUILD_S: Final = 400
_POLL_S: Final = 0.01
_RETRY_S: Final = 0.05
_MOST_LOST: Final = 64
_METAS: Final = 20
"""Most block headers that one answer tells."""

_OF_ALL: Final = {
    "log_level": "error",
    "rpc.pprof_laddr": "",
    "rpc.max_request_batch_size": BATCH,
    "rpc.timeout_broadcast_tx_commit": "60s",
    "p2p.addr_book_strict": False,
    "p2p.allow_duplicate_ip": True,
}
"""What four on one machine take, and what is fed to them."""
DEFAULT: Final[Mapping[str, Any]] = {}
TUNED: Final[Mapping[str, Any]] = {
    "p2p.flush_throttle_timeout": "2ms",
    "p2p.send_rate": 512_000_000,
    "p2p.recv_rate": 512_000_000,
    "p2p.max_packet_msg_payload_size": 65_536,
    "mempool.recheck": False,
    "mempool.size": 50_000,
    "mempool.cache_size": 100_000,
    "consensus.timeout_commit": "0s",
    "consensus.create_empty_blocks": False,
    "consensus.peer_gossip_sleep_duration": "2ms",
    "tx_index.indexer": "null",
}


def binary() -> Path:
    """The program, built from its source when it is wanted first. Raises `NotInstalled`."""
    folder = platformdirs.user_cache_path("tallystick") / f"cometbft-{VERSION}"
    program = folder / "cometbft"
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        raise NotInstalled("there is no go on this machine to build CometBFT with")
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"GOBIN": str(folder), "GOFLAGS": "-mod=mod"}
    command = ["env", *(f"{name}={value}" for name, value in environment.items()), go, "install", _PACKAGE]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_BUILD_S)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"go install {_PACKAGE} took more than {_BUILD_S} s") from None
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise NotInstalled(f"go install {_PACKAGE} failed: {last}") from None
    return program


class CometNetwork:
    """Four validators that run, and agree."""

    def __init__(self, homes: Sequence[Path], rpc_ports: Sequence[int], record_bytes: int, window: int) -> None:
        self.folders = [home / "data" for home in homes]
        self.processes = Processes()
        self._homes, self._ports = homes, rpc_ports
        self._record_bytes, self._window = record_bytes, window
        self._room = Condition()
        self._made = self._sent = self._final = self._height = 0

    @property
    def sessions(self) -> list[int]:
        """Of its processes."""
        return self.processes.sessions

    def start(self, program: Path) -> None:
        """Start all, and wait until they have peers and a first block."""
        for home in self._homes:
            self.processes.launch([str(program), "start", "--home", str(home), "--proxy_app", "kvstore"], home / "log")
        self.processes.wait_until(lambda: all(map(self._is_ready, self._ports)))

    def repeat(self, bodies: Sequence[bytes]) -> bool:
        """Their hashes are remembered, and they are refused."""
        with ThreadPoolExecutor(NODES) as pool:
            list(pool.map(self._say_again, self._ports, [bodies[node::NODES] for node in range(NODES)]))
        return True

    def _say_again(self, port: int, bodies: Sequence[bytes]) -> None:
        connection = connected(port)
        for body in bodies:
            assert all("error" in one for one in ask(connection, "/", body)), "a record was not known"
        connection.close()

    def kill(self, node: int) -> None:
        """End one's process."""
        self.processes.kill(node)

    def stop(self, node: int) -> None:
        """Let one stand still."""
        self.processes.stop(node)

    def prepare(self, count: int) -> list[bytes]:
        """So many new records, as requests of 512 that are answered before a record is looked at."""
        calls = [_call("broadcast_tx_async", tx=self._record()) for _ in range(count)]
        return [json.dumps(calls[start : start + BATCH]).encode() for start in range(0, count, BATCH)]

    def feed(self, bodies: Sequence[bytes], count: int) -> float:
        """Hand them in at all nodes, never more under way than fits; seconds until all are final at all nodes."""
        self._count()
        self._sent, goal = self._final, self._final + count
        began_s = time.perf_counter()
        with ThreadPoolExecutor(NODES) as pool:
            sending = [pool.submit(self._send, port, bodies[node::NODES]) for node, port in enumerate(self._ports)]
            self._wait_for(goal, sending)
        for port in self._ports:
            while self._status(port) < self._height:
                time.sleep(_POLL_S)
        return time.perf_counter() - began_s

    def submit(self, node: int) -> float:
        """Hand one record in at a node, and wait until it is final there; the milliseconds."""
        connection = connected(self._ports[node])
        body = json.dumps(_call("broadcast_tx_commit", tx=self._record())).encode()
        began_s = time.perf_counter()
        answer = ask(connection, "/", body)
        took_ms = 1000 * (time.perf_counter() - began_s)
        connection.close()
        assert int(answer["result"]["height"]) > 0, answer
        return took_ms

    def _record(self) -> str:
        """A key that nothing had before, and a value that makes up the size."""
        with self._room:
            self._made += 1
            key = f"{self._made:016x}="
        return base64.b64encode((key + "v" * (self._record_bytes - len(key))).encode()).decode()

    def _send(self, port: int, bodies: Sequence[bytes]) -> None:
        connection = connected(port)
        for body in bodies:
            with self._room:
                assert self._room.wait_for(lambda: self._sent + BATCH <= self._final + self._window, PATIENCE_S)
                self._sent += BATCH
            rest = body
            while refused := [place for place, one in enumerate(ask(connection, "/", rest)) if _is_refused(one)]:
                calls = json.loads(rest)
                rest = json.dumps([calls[place] for place in refused]).encode()
                time.sleep(_RETRY_S)
        connection.close()

    def _wait_for(self, goal: int, sending: Sequence[Future[None]]) -> None:
        """Until so many are final, or nothing waits any more: a full mempool drops some without a word."""
        until_s = time.monotonic() + PATIENCE_S
        while self._final < goal:
            is_all_sent = all(one.done() and one.result() is None for one in sending)
            is_nothing_left = is_all_sent and not any(map(self._waiting, self._ports))
            self._count()
            if is_nothing_left:
                break
            assert time.monotonic() < until_s, f"{goal - self._final} records were not final in time"
            time.sleep(_POLL_S)
        assert goal - self._final <= _MOST_LOST, f"{goal - self._final} records were lost"

    def _waiting(self, port: int) -> int:
        return int(_get(port, "/num_unconfirmed_txs")["total"])

    def _count(self) -> None:
        """What the first node has in blocks by now."""
        while metas := self._new_blocks():
            with self._room:
                self._final += sum(int(one["num_txs"]) for one in metas)
                self._height = max(int(one["header"]["height"]) for one in metas)
                self._room.notify_all()

    def _new_blocks(self) -> list[dict[str, Any]]:
        low = self._height + 1
        if self._status(self._ports[0]) < low:
            return []
        told = _get(self._ports[0], f"/blockchain?minHeight={low}&maxHeight={low + _METAS - 1}")
        return list(told["block_metas"])

    def _status(self, port: int) -> int:
        return int(_get(port, "/status")["sync_info"]["latest_block_height"])

    def _is_ready(self, port: int) -> bool:
        try:
            return int(_get(port, "/net_info")["n_peers"]) == NODES - 1 and self._status(port) > 0
        except (OSError, HTTPException):
            return False


@contextmanager
def running(settings: Mapping[str, Any], record_bytes: int, window: int) -> Iterator[CometNetwork]:
    """A new network with these settings beside those that it comes with. Raises `NotInstalled`."""
    program = binary()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        made = [str(program), "testnet", "--v", str(NODES), "--o", str(folder), "--populate-persistent-peers=false"]
        subprocess.run(made, check=True, capture_output=True)
        homes, drawn = [folder / f"node{number}" for number in range(NODES)], ports(2 * NODES)
        peers = [f"{_node_id(program, home)}@{HERE}:{port}" for home, port in zip(homes, drawn[:NODES], strict=True)]
        for number, home in enumerate(homes):
            own = {
                "p2p.laddr": f"tcp://{HERE}:{drawn[number]}",
                "rpc.laddr": f"tcp://{HERE}:{drawn[NODES + number]}",
                "p2p.persistent_peers": ",".join(peers[:number] + peers[number + 1 :]),
            }
            _configure(home / "config" / "config.toml", {**_OF_ALL, **own, **settings})
        network = CometNetwork(homes, drawn[NODES:], record_bytes, window)
        stack.enter_context(network.processes)
        network.start(program)
        yield network


def _node_id(program: Path, home: Path) -> str:
    shown = subprocess.run([program, "show-node-id", "--home", home], check=True, capture_output=True, text=True)
    return shown.stdout.strip()


def _configure(path: Path, settings: Mapping[str, Any]) -> None:
    """Change settings, each of which the file has once; those of a section are named SECTION.NAME."""
    section, lines, left = "", path.read_text().splitlines(), dict(settings)
    for number, line in enumerate(lines):
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            section = f"{heading[1]}."
        elif (setting := re.match(r"(\w+) = ", line)) and (name := section + setting[1]) in left:
            lines[number] = f"{setting[1]} = {json.dumps(left.pop(name))}"
    assert not left, f"CometBFT {VERSION} has no {', '.join(left)}"
    path.write_text("\n".join([*lines, ""]))


def _call(method: str, **params: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def _is_refused(answer: dict[str, Any]) -> bool:
    """Whether a record is to be handed in again, since the mempool is full."""
    error = str(answer.get("error", ""))
    assert not error or re.search("mempool is .*full", error), error
    return bool(error)


def _get(port: int, path: str) -> Any:
    return get(port, path)["result"]
