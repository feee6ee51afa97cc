"""Node processes that are started for a demo: they end with it, whatever happens."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick.cli.founding import found_here
from tallystick.demo import local_network
from tallystick.demo.local_network import LocalNetwork, terminated_like_interrupted
from tallystick.demo.real_demo import PARAMS
from tallystick.problems import HostError

FAKE = (sys.executable, "-m", "tests.integration.fake_run")


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalNetwork]:
    """Three nodes, none of which is started."""
    monkeypatch.setattr(local_network, "COMMAND", FAKE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    folders = found_here("test", tmp_path / "net", 3, "", params=PARAMS)
    with LocalNetwork({one.path.name: one for one in folders}, "") as made:
        yield made


def behave(network: LocalNetwork, name: str, how: str) -> None:
    (network.folders[name].path / "behaviour").write_text(how)


def pids(network: LocalNetwork) -> list[int]:
    return [process.pid for process in network._processes.values()]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_nodes_start_and_end_when_they_are_asked_to(network: LocalNetwork) -> None:
    for name in network.folders:
        network.start(name)
    network.wait_until_voting()
    assert network.running == ["node-1", "node-2", "node-3"]
    started = pids(network)
    assert network.stop() == {"node-1": 0, "node-2": 0, "node-3": 0}
    assert not any(map(is_alive, started))
    assert network.running == []


def test_a_killed_node_starts_again(network: LocalNetwork) -> None:
    for _ in range(2):
        network.start("node-1")
        network.wait_until_voting()
        (pid,) = pids(network)
        (network.folders["node-1"].socket_path).unlink(missing_ok=True)
        network.kill("node-1")
        assert not is_alive(pid)


def test_a_node_that_does_not_listen_to_reason_is_killed(
    network: LocalNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_network, "_STOP_SECONDS", 0.5)
    behave(network, "node-2", "deaf")
    for name in network.folders:
        network.start(name)
    network.wait_until_voting()
    started = pids(network)
    codes = network.stop()
    assert codes == {"node-1": 0, "node-2": -signal.SIGKILL, "node-3": 0}
    assert not any(map(is_alive, started))


def test_a_node_that_ends_is_told_with_its_last_words(network: LocalNetwork) -> None:
    behave(network, "node-2", "fails")
    network.start("node-1")
    network.start("node-2")
    with pytest.raises(HostError, match="node-2 has ended with 3: the port is taken"):
        network.wait_until_voting()


def test_waiting_has_an_end(network: LocalNetwork) -> None:
    behave(network, "node-1", "silent")
    network.start("node-1")
    with pytest.raises(HostError, match=r"for a sign: that did not come within 0 s.*node-1: nothing"):
        network.wait_until(lambda: bool(network.status("node-1")), "for a sign", at_most_s=0.3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_all_nodes(network: LocalNetwork, number: int) -> None:
    started: list[int] = []

    def work() -> None:
        with terminated_like_interrupted(), network:
            for name in network.folders:
                network.start(name)
            started.extend(pids(network))
            network.wait_until_voting()
            os.kill(os.getpid(), number)
            signal.pause()

    with pytest.raises(KeyboardInterrupt):
        work()
    assert len(started) == 3
    assert not any(map(is_alive, started))


def up(folder: Path, *args: str) -> subprocess.Popen[str]:
    """`tallystick up`, with nodes that only seem to be some."""
    program = (
        "import sys; from tallystick.cli import app; from tallystick.demo import local_network; "
        f"local_network.COMMAND = {FAKE!r}; app(sys.argv[1:], prog_name='tallystick')"
    )
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NO_COLOR": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", program, "up", *args], cwd=folder, env=environment, **pipes)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_says_what_to_try_and_ends_with_all_its_nodes(tmp_path: Path, number: int) -> None:
    found_here("class", tmp_path / "net", 2, "", params=PARAMS)
    with up(tmp_path, "net") as process:
        assert process.stdout is not None
        assert any("tallystick join $(tallystick invite" in line for line in process.stdout)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        nodes = [int(one) for one in children.read_text().split()] if children.exists() else []
        process.send_signal(number)
        rest, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "All 2 nodes have ended." in rest
    assert not any(map(is_alive, nodes))


def test_up_tells_of_a_folder_without_nodes(tmp_path: Path) -> None:
    with up(tmp_path, "nothing") as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "there are no nodes in nothing; make some with: tallystick new NAME --members 4 --into nothing" in errors
