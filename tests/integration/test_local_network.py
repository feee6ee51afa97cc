"""Node processes that are started for a demo: they end with it, whatever happens."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from tests.integration import network as integration
from tests.integration.command_line import called
from tests.integration.network import short_folder, wait_for
from tests.ports import drawn_port

from tallystick.api.views import Outcome
from tallystick.cli.output import Terminal
from tallystick.client.drafts import in_words
from tallystick.demo import local_network
from tallystick.demo.local_network import LocalNetwork, NodeProcess, terminated_like_interrupted
from tallystick.demo.real_demo import PARAMS, UNIVERSITIES, RealDemo
from tallystick.demo.up import _tell
from tallystick.host import addresses
from tallystick.host.founding import found_here
from tallystick.problems import NotInTime, Problem


@pytest.fixture
def network(tmp_path: Path) -> Iterator[LocalNetwork[NodeProcess]]:
    """Two nodes, none of which is started."""
    with short_folder() as path:
        folders = found_here("test", path / "net", 2, "", params=PARAMS, port=drawn_port(2))
        with LocalNetwork([NodeProcess(one) for one in folders]) as made:
            yield made


def pids(network: LocalNetwork[NodeProcess]) -> list[int]:
    return [node.process.pid for node in network.running if node.process]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_nodes_start_and_end_when_they_are_asked_to(network: LocalNetwork[NodeProcess]) -> None:
    network.start()
    assert all(node.status().is_voting for node in network.nodes)
    assert [node.name for node in network.running] == ["node-1", "node-2"]
    started = pids(network)
    assert network.stop() == {"node-1": 0, "node-2": 0}
    assert not any(map(is_alive, started))
    assert network.running == []


def test_a_killed_node_starts_again(network: LocalNetwork[NodeProcess]) -> None:
    first = network.nodes[0]
    for _ in range(2):
        network.start()
        pid, *_ = pids(network)
        first.kill()
        assert not is_alive(pid)


def test_a_node_that_does_not_listen_to_reason_is_killed(
    network: LocalNetwork[NodeProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_network, "_STOP_SECONDS", 5.0)
    network.start()
    started = pids(network)
    os.kill(started[0], signal.SIGSTOP)
    assert network.stop() == {"node-1": -signal.SIGKILL, "node-2": 0}
    assert not any(map(is_alive, started))


def test_a_node_that_ends_is_told_with_its_last_words(network: LocalNetwork[NodeProcess]) -> None:
    first, second = network.nodes
    host, _, port = second.folder.settings().listen.rpartition(":")
    with socket.create_server((host, int(port))):
        first.launch()
        second.launch()
        with pytest.raises(Problem, match=rf"node-2 has ended with 2: .*{port}"):
            network.wait_until_voting()


def test_waiting_has_an_end(network: LocalNetwork[NodeProcess], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_network, "_START_SECONDS", 0.3)
    first, second = network.nodes
    first.launch()
    with pytest.raises(NotInTime, match=r"for a sign: that did not come within 0 s.*node-1: "):
        network.wait_until(lambda: bool(second.status()), "for a sign")
    assert second.last_words == "nothing"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_all_nodes(network: LocalNetwork[NodeProcess], number: int) -> None:
    started: list[int] = []

    def work() -> None:
        with terminated_like_interrupted(), network:
            network.start()
            started.extend(pids(network))
            os.kill(os.getpid(), number)
            signal.pause()

    with pytest.raises(KeyboardInterrupt):
        work()
    assert len(started) == 2
    assert not any(map(is_alive, started))


def test_ports_are_drawn_among_those_that_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_are_free", lambda ports: ports == range(20_500, 20_503))
    assert {addresses.drawn_port(3) for _ in range(3)} == {20_500}
    monkeypatch.setattr(addresses, "_are_free", lambda ports: False)
    with pytest.raises(addresses.AddressError, match=r"no 3 ports in a row from 20000 to 32001 of .* are free"):
        addresses.drawn_port(3)


@pytest.mark.parametrize(
    ("reason", "raised", "told"),
    [
        (None, NotInTime, "node-1 did not certify 'away' within 60 s"),
        ("[C1] a wrong signature", Problem, "node-1 did not certify 'away': [C1] a wrong signature"),
    ],
)
def test_the_demo_tells_what_it_could_not_certify(
    network: LocalNetwork[NodeProcess], reason: str | None, raised: type[Problem], told: str
) -> None:
    outcome, demo = Outcome("00", "waiting", reason=reason), RealDemo(Terminal(quiet=True), network)
    client = SimpleNamespace(sign=lambda statements: statements, submit=lambda signed, timeout_s: [outcome])
    node: Any = SimpleNamespace(name="node-1", client=lambda: nullcontext(client))
    with pytest.raises(Problem) as said:
        demo._certify(node, in_words("away"))
    assert (type(said.value), str(said.value)) == (raised, told)


def test_the_demo_does_not_claim_that_an_outsider_was_refused_who_was_not(
    network: LocalNetwork[NodeProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = RealDemo(Terminal(quiet=True), network)
    monkeypatch.setattr(demo, "_try", lambda *_: Outcome("00", "final"))
    demo._refuse_an_outsider(network.nodes[1])
    (verdict,) = demo._verdicts
    assert (verdict.holds, verdict.says) == (False, "An outsider's fake was not refused by rule D1: it is final")


def up(folder: Path, *args: str) -> subprocess.Popen[str]:
    """`tallystick up`."""
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NO_COLOR": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*local_network.COMMAND, "up", *args], cwd=folder, env=environment, **pipes)


@pytest.mark.parametrize(
    ("number", "args"),
    [(signal.SIGINT, ["--nodes", "2"]), (signal.SIGTERM, ["--nodes", "2"]), (signal.SIGTERM, ["net"])],
)
def test_up_says_what_to_try_and_ends_with_all_its_nodes(number: int, args: list[str]) -> None:
    with short_folder() as path:
        found_here("class", path / "net", 2, "", params=replace(PARAMS, anybody_certifies=True), port=drawn_port(2))
        with up(path, *args) as process:
            assert process.stdout is not None
            folder = _folder_in(process.stdout.readline(), "2 nodes run in ")
            told = list(takewhile(lambda line: "tallystick join $(tallystick invite" not in line, process.stdout))
            who, own = (
                ("The ledger is open", "stake 50") if args == ["net"] else ("University A, University B", "member")
            )
            assert who in told[0]
            assert any(f"tallystick {own} " in line for line in told)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            nodes = [int(one) for one in children.read_text().split()] if children.exists() else []
            process.send_signal(number)
            rest, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
        assert "All 2 nodes have ended." in rest
        assert not any(map(is_alive, nodes))
        assert [one.name for one in path.iterdir()] == ["net"]
        assert folder == Path("net") if args == ["net"] else not folder.exists()


def test_the_nodes_end_in_order_when_up_is_killed() -> None:
    with short_folder() as path:
        found_here("class", path / "net", 2, "", params=PARAMS, port=drawn_port(2), called=UNIVERSITIES[:2])
        nodes = [integration.NodeProcess(path / "net" / f"node-{number}") for number in (1, 2)]
        with up(path, "net") as process:
            assert process.stdout is not None
            _folder_in(process.stdout.readline(), "2 nodes run in ")
            process.kill()
        wait_for(lambda: all("stopped" in one.log for one in nodes), "both have ended in order")


@pytest.mark.parametrize(("members", "others"), [(1, []), (2, [2]), (3, [2, 3]), (4, [2, 3]), (5, [2, 3, 4])])
def test_up_advises_a_motion_without_harm_and_with_as_many_words_as_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], members: int, others: list[int]
) -> None:
    port, called = drawn_port(members), UNIVERSITIES[:members]
    folders = found_here("test", tmp_path / "net", members, "", params=PARAMS, port=port, called=called)
    _tell(folders)
    told = [shlex.split(line) for line in capsys.readouterr().out.splitlines() if line.startswith("  tallystick m")]
    assert [line[1:3] for line in told if line[1] == "member"] == [
        ["member", one] for one in ("list", "rename", "admit")
    ]
    approving = [Path(line[-1]).name for line in told if line[1:4] == ["motion", "approve", "ID"]]
    assert approving == [f"node-{one}" for one in others]


def _folder_in(told: str, after: str) -> Path:
    assert told.startswith(f"✓ {after}")
    return Path(told.removeprefix(f"✓ {after}").split(";")[0])


def test_who_is_invited_joins_with_the_command_that_up_tells() -> None:
    with short_folder() as path, up(path, "--nodes", "2") as process:
        assert process.stdout is not None
        told = next(line for line in process.stdout if "tallystick join" in line)
        admitting = process.stdout.readline()
        first = Path(shlex.split(admitting)[-1])
        as_module = f'tallystick() {{ {shlex.join(local_network.COMMAND)} "$@"; }}'
        joined = integration.NodeProcess(path / "mine")
        with subprocess.Popen(["bash", "-c", f"{as_module}; {told}"], cwd=path, start_new_session=True) as joining:
            try:
                joined.wait_until_running()
                called("certify", "--subject", "too early", "--data", joined.folder.path, expect=6)
                shell = ["bash", "-eu", "-o", "pipefail", "-c", f"{as_module}; {admitting.rstrip()} --yes"]
                subprocess.run(shell, cwd=path, stdin=subprocess.DEVNULL, timeout=60, check=True)
                second = ("--data", first.with_name("node-2"))
                (motion,) = wait_for(lambda: _motions(second), "the other member knows it")
                called("motion", "approve", motion["id"], "--yes", *second)
                wait_for(lambda: joined.status().stake == 100, "it is a member")
                called("certify", "--subject", "joined", "--no-proof", "--data", joined.folder.path)
                assert joined.status().tip_index >= 1
            finally:
                os.killpg(joining.pid, signal.SIGTERM)
                process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def _motions(at: tuple[str, Path]) -> Any:
    return json.loads(called("motion", "list", "--json", *at).stdout)["motions"]


def test_a_network_of_one_node_certifies_and_ends() -> None:
    with short_folder() as path, up(path, "--nodes", "1") as process:
        assert process.stdout is not None
        folder = _folder_in(process.stdout.readline(), "one node runs in ")
        called("certify", "--subject", "alone", "--no-proof", "--data", folder / "node-1")
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "The node has ended." in rest


def test_up_tells_of_a_folder_without_nodes(tmp_path: Path) -> None:
    with up(tmp_path, "nothing") as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "there are no nodes in nothing; make some with: tallystick new NAME --members 4 --into nothing" in errors
