"""The examples of docs/http.md, run as they stand, but for the port."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.command_line import USUAL
from tests.integration.network import network
from tests.ports import drawn_port

DOCS = Path(__file__).resolve().parents[2] / "docs" / "http.md"
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", DOCS.read_text(), re.M | re.S)
DOOR = "127.0.0.1:7180"


@pytest.fixture(scope="module")
def door() -> str:
    """Where the node's second door is, instead of what the examples say: others may listen there."""
    return f"127.0.0.1:{drawn_port()}"


@pytest.fixture(scope="module")
def home(door: str) -> Iterator[Path]:
    """A home with a node in its usual folder that runs with both doors."""
    with network(1) as net:
        (node,) = net.nodes
        node.start("--api", door)
        (net.path / USUAL.parent).mkdir(parents=True)
        (net.path / USUAL).symlink_to(node.folder.path)
        (net.path / "report.pdf").write_bytes(b"The bridge is sound.\n")
        yield net.path


def run(command: list[str], home: Path) -> str:
    environment = {**os.environ, "HOME": str(home)}
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_does_what_it_says(home: Path, door: str, number: int) -> None:
    language, text = BLOCKS[number][0], BLOCKS[number][1].replace(DOOR, door)
    if language == "python":
        assert "final" in run([sys.executable, "-c", text], home)
        return
    if shutil.which("curl") is None:
        pytest.skip("curl is not here, so the examples that call it DID NOT RUN")
    said = run(["bash", "-eu", "-o", "pipefail", "-c", text], home)
    assert said
    assert "urn:tallystick:problem" not in said


def test_there_are_examples() -> None:
    assert len(BLOCKS) >= 5
    assert sum(DOOR in text for _, text in BLOCKS) >= 2
