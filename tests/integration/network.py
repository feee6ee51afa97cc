"""A network of real node processes on this machine, in a folder of its own; whatever happens, all of them are ended."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace
from tests.integration.forked import ForkedProcess
from tests.integration.told_chain import ToldChain
from tests.ports import OF_TESTS, drawn_port

from tallystick.api.views import Outcome, Status
from tallystick.client.blocking import Client
from tallystick.demo import local_network
from tallystick.demo.local_network import LocalNetwork
from tallystick.host.addresses import split_address
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.host.founding import found_here
from tallystick.ledger.certificate import SALT_BYTES, Payload
from tallystick.ledger.genesis import Allotment, make_genesis
from tallystick.ledger.params import Params
from tallystick.ledger.wallet import Wallet
from tallystick.problems import NotInTime, NotRunning, Problem
from tallystick.storage.store import Store

PATIENCE_S: Final = 90.0
"""After so long something is broken, even on a machine with much else to do."""
QUICK: Final = Params(delta_ms=100)

_FOUNDED_MS: Final = 1_700_000_000_000
_NOT_WITHOUT_US: Final = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
"""Has a process end with the one that started it, even when that one is killed and can end nobody."""
_COMMAND: Final = ("-m", "tallystick")
_POLL_S: Final = 0.02
_SELDOM_S: Final = 0.1
_TAIL_LINES: Final = 40


def wait_for(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Ask again and again until it is so, and return what was said then; fail with `what` was waited for in vain.

    The longer it takes, the seldomer it asks: an answer takes as much processor time as a vote.
    """
    begun_s = time.monotonic()
    while True:
        if found := condition():
            return found
        waited_s = time.monotonic() - begun_s
        assert waited_s < patience_s, f"in vain waited for {patience_s:.0f} s: {what}"
        time.sleep(min(max(_POLL_S, waited_s / 20), _SELDOM_S))


class NodeProcess(local_network.NodeProcess):
    """What tests ask of a node's process, too."""

    def __init__(self, path: Path, *, before: Sequence[str] = (), module: Sequence[str] = _COMMAND) -> None:
        """`before`: a command that runs the node's (`ip netns exec NAME`); `module`: what runs in its Python."""
        start = [*before, *_NOT_WITHOUT_US, sys.executable, *module]
        super().__init__(DataFolder(path), command=start)
        self._is_alone = bool(before)
        self._arguments = None if before or module != _COMMAND else self._command[len(start) :]

    def launch(self, *options: str) -> None:
        """Start the process: forked, where nothing else is to run it."""
        assert self._is_alone or _port(self.folder) in OF_TESTS, "others run meanwhile: take a port of tests.ports"
        if self._arguments is None:
            return super().launch(*options)
        assert self.process is None, f"{self.name} runs already"
        with self.log_path.open("ab") as log, Path(os.devnull).open("rb") as nothing:
            files = nothing.fileno(), log.fileno(), log.fileno()
            process: Any = ForkedProcess([*self._arguments, *options], self._environment, files, start_new_session=True)
            self.process = process
        return None

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self.process is not None, f"{self.name} does not run"
        return self.process.pid

    def wait_until_running(self) -> None:
        """Until it answers on its socket."""
        wait_for(self._answers, f"{self.name} answers")

    def start(self, *options: str) -> None:
        """Start the process, and wait until it answers."""
        self.launch(*options)
        self.wait_until_running()

    def _answers(self) -> bool:
        code = self.process.poll() if self.process else None
        assert code is None, f"{self.name} ended with {code} instead of running"
        try:
            self.status()
        except Problem:
            return False
        return True

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; returns its exit code."""
        self.send_signal(number)
        return self.wait(PATIENCE_S)

    def certify(self, *subjects: str) -> list[Outcome]:
        """Certify and wait; where each became final."""
        with self.client() as client:
            outcomes = client.submit(client.sign([(one, None) for one in subjects]), timeout_s=PATIENCE_S)
        assert all(one.state == "final" for one in outcomes), outcomes
        return outcomes

    @contextmanager
    def chain(self) -> Iterator[ToldChain]:
        """What it keeps, checked from the genesis on; only while it does not run."""
        assert self.process is None, f"{self.name} runs"
        with Store.open(self.folder.ledger_path, read_only=True) as store:
            yield ToldChain(store)

    def rss_bytes(self, what: str = "VmRSS") -> int:
        """Its resident memory; `VmHWM`: the most it has been."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


class Network(LocalNetwork[NodeProcess]):
    """Node processes of one ledger. On a failure their logs are printed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def __exit__(self, *raised: object) -> None:
        for node in self.running:
            node.kill()  # ends a stopped one, too
        if raised[0] is not None:
            for node in self.nodes:
                tail = "\n".join(node.log.splitlines()[-_TAIL_LINES:])
                sys.stderr.write(f"\n---- the log of {node.name} ends ----\n{tail}\n")

    def add(self, node: NodeProcess) -> NodeProcess:
        """Have this one ended, too."""
        self.nodes.append(node)
        return node

    def stop_in_order(self) -> None:
        """All; each has to end by itself."""
        codes = self.stop()
        assert not any(codes.values()), f"not all ended in order: {codes}"

    def wait_until_agreed(self, index: int = 0) -> Status:
        """Until all that run stand at one tip, `index` or later, with empty boxes; what one of them says then."""
        running = self.running

        def agreed() -> Status | None:
            said = [node.status() for node in running]
            is_one = len({(one.tip_index, one.tip_hash, one.log_size) for one in said}) == 1
            return said[0] if is_one and said[0].tip_index >= index and not any(one.waiting for one in said) else None

        found = wait_for(agreed, f"all stand at one tip, {index} or later, and nothing waits")
        assert isinstance(found, Status)
        return found

    def assert_equal_chains(self, final: Sequence[Outcome] = (), accepted: Sequence[bytes] = ()) -> ToldChain:
        """Stop all, check each chain, and compare them block by block; `final` stands where it was told to.

        `accepted`: ids that are there once each. Returns the first chain, whose file is closed.
        """
        self.stop_in_order()
        with ExitStack() as stack:
            chains = [stack.enter_context(node.chain()) for node in self.nodes]
            hashes = [[block.hash for block in chain.blocks()] for chain in chains]
            assert all(one == hashes[0] for one in hashes[1:]), "the chains differ"
            assert len({chain.state.log for chain in chains}) == 1
            places = [(one.id, (block.index, at)) for block in chains[0].blocks() for at, one in _numbered(block)]
            place_of = dict(places)
            assert len(places) == len(place_of), "a certificate is on the ledger twice"
            for one in final:
                assert place_of.get(bytes.fromhex(one.id)) == (one.block_index, one.position), (
                    "final, and moved or lost"
                )
            lost = [one.hex() for one in accepted if one not in place_of]
            assert not lost, f"accepted, and lost: {lost}"
            for chain in chains:
                assert_tokens_conserved(chain)
                assert not chain.burned, "an honest member contradicted itself"
            return chains[0]


def _port(folder: DataFolder) -> int:
    return split_address(folder.settings().listen)[1]


def _numbered(block: Any) -> Iterator[tuple[int, Any]]:
    return enumerate(block.certificates)


def assert_tokens_conserved(chain: ToldChain) -> None:
    """What the genesis gave is all there is; with a directory motions give and take."""
    if chain.state.directory:
        return
    given = sum(one.free + one.staked for one in chain.genesis.allotments)
    stakes = chain.state.stakes
    assert sum(account.total for account in stakes.accounts.values()) + stakes.burned == given


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder for files; its name is short, as sockets need it."""
    path = Path(tempfile.mkdtemp(prefix="tally-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def network(members: int = 4, params: Params = QUICK) -> Iterator[Network]:
    """Members with equal stakes, each in a folder node-1 and so on; nothing runs yet."""
    with short_folder() as path, Network(path) as found:
        folders = found_here("Network", path / "net", members, "", params=params, port=drawn_port(members))
        for folder in folders:
            found.add(NodeProcess(folder.path))
        yield found


@contextmanager
def running_network(members: int = 4, params: Params = QUICK) -> Iterator[Network]:
    """The same, and all run."""
    with network(members, params) as found:
        found.start()
        yield found


def set_up_member(
    path: Path, wallet: Wallet, stakes: dict[bytes, int], params: Params, addresses: dict[bytes, str], *, name: str
) -> NodeProcess:
    """The folder of one member of a ledger with these stakes; the same arguments give all of them the same ledger."""
    allotments = [Allotment(key, 100, stake) for key, stake in stakes.items()]
    genesis = make_genesis(name, _FOUNDED_MS, allotments, params)
    known = tuple(f"{key.hex()}@{address}" for key, address in addresses.items() if key != wallet.public_key)
    own = addresses[wallet.public_key]
    folder = DataFolder(path)
    folder.create_key(wallet, "", "minimal")
    folder.create(Settings(own, own, known), genesis)
    return NodeProcess(path)


class Stream(threading.Thread):
    """Somebody who goes on certifying through one node, come what may, and writes down what the node told."""

    def __init__(self, node: NodeProcess, batch: int = 4, wallet: Wallet | None = None, pause_s: float = 0.05) -> None:
        """`wallet` signs instead of the node; between two requests it pauses."""
        super().__init__(name=f"stream to {node.name}", daemon=True)
        self.accepted: list[bytes] = []
        self.final: list[Outcome] = []
        self.refused: list[Outcome] = []
        self.cut_off = 0
        """Requests that got no answer: the node died, and was away for longer than the client is patient."""
        self.resumed = 0
        """Requests that outlived the node's process: the next one answered."""
        self._node = node
        self._batch, self._wallet, self._pause_s = batch, wallet, pause_s
        self._ending = threading.Event()
        self._asked = 0

    def run(self) -> None:
        """In the thread."""
        while not self._ending.is_set():
            try:
                with Client(self._node.folder.path, wallet=self._wallet) as client:
                    while not self._ending.is_set():
                        self._ask(client)
                        self._ending.wait(self._pause_s)
            except NotRunning:
                self._ending.wait(_POLL_S)

    def _ask(self, client: Client) -> None:
        process = self._node.process
        try:
            self._certify(client)
        except (NotRunning, NotInTime):
            self.cut_off += 1
        else:
            self.resumed += process is not None and self._node.process is not process

    def _certify(self, client: Client) -> None:
        self._asked += 1
        subjects = [f"{self.name}: {self._asked}.{one}" for one in range(self._batch)]
        salt, content = bytes(SALT_BYTES), b"x" * 64
        entries = client.sign([(one, Payload(salt, "", "text/plain", content)) for one in subjects])
        outcomes = client.submit(entries, timeout_s=PATIENCE_S, on_outcomes=self._taken)
        self.final += [one for one in outcomes if one.state == "final"]
        self.refused += [one for one in outcomes if one.state == "refused"]

    def _taken(self, outcomes: Sequence[Outcome]) -> None:
        self.accepted += [bytes.fromhex(one.id) for one in outcomes if one.state != "refused"]

    def end(self) -> None:
        """No new request; returns when the last one is answered."""
        self._ending.set()
        self.join(PATIENCE_S)
        assert not self.is_alive(), f"{self.name} is still waiting for an answer"


@contextmanager
def streams(
    nodes: Sequence[NodeProcess], batch: int = 4, wallet: Wallet | None = None, pause_s: float = 0.05
) -> Iterator[list[Stream]]:
    """One to each of these nodes, until the block is left; `wallet` signs instead of the nodes."""
    found = [Stream(node, batch, wallet, pause_s) for node in nodes]
    for one in found:
        one.start()
    try:
        yield found
    finally:
        for one in found:
            one._ending.set()
    for one in found:
        one.end()


def with_settings(node: NodeProcess, **changes: Any) -> None:
    """Change the node's settings."""
    node.folder.write_settings(replace(node.folder.settings(), **changes))


def tallystick(*args: object, expect: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run the command; it has to end with this code, and without a traceback."""
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    with ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2))
        nothing = stack.enter_context(Path(os.devnull).open("rb"))
        process = ForkedProcess([*map(str, args)], environment, (nothing.fileno(), out.fileno(), err.fileno()))
        stack.callback(process.kill)
        code = process.wait(PATIENCE_S)
        out.seek(0), err.seek(0)
        done = subprocess.CompletedProcess(process.args, code, out.read(), err.read())
    assert done.returncode == expect, (args, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done
