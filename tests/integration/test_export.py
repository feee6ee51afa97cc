"""`tallystick export`: of a running node and of a file, once and for as long as the ledger goes on."""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.api.conftest import entry
from tests.integration.command_line import cli, in_json
from tests.integration.network import NodeProcess, running_network, wait_for
from tests.mirrors import Whole, files_in, read_whole

from tallystick.client.blocking import Client
from tallystick.ledger.encoding import encode

COMMAND = [sys.executable, "-m", "tallystick"]


@pytest.fixture(scope="module")
def node() -> Iterator[NodeProcess]:
    """A ledger's only node, running."""
    with running_network(1) as net:
        yield net.nodes[0]


class Load:
    """Certifies at a node."""

    def __init__(self, node: NodeProcess) -> None:
        self.node = node
        self._count = 0

    def certify(self, count: int) -> None:
        """So many statements, until they are final."""
        with Client(self.node.folder.path) as client:
            numbers = range(self._count, self._count + count)
            client.submit([encode(entry(client.ledger_id, f"{id(self)} {number}")) for number in numbers])
        self._count += count

    def size(self) -> int:
        """Of the log."""
        with Client(self.node.folder.path) as client:
            return client.ledger().log_size


@pytest.fixture
def load(node: NodeProcess) -> Load:
    return Load(node)


def size_of(folder: Path) -> int:
    """What a reader finds, who begins anew when what an older checkpoint named went; 0: nothing is published yet."""
    return whole_of(folder).checkpoint.size if (folder / "checkpoint").exists() else 0


def whole_of(folder: Path) -> Whole:
    return read_whole(files_in(folder))


def test_a_running_node_is_exported_and_then_what_is_new(node: NodeProcess, load: Load, tmp_path: Path) -> None:
    load.certify(300)
    told = in_json("export", "mirror", "--data", str(node.folder.path), cwd=tmp_path)
    whole = whole_of(tmp_path / "mirror")
    assert (told["log_size"], told["log_root"]) == (whole.checkpoint.size, whole.checkpoint.root.hex())
    assert told["certificates"] == told["log_size"] >= 300
    assert told["ledger_id"] == whole.state.genesis.ledger_id.hex()
    load.certify(5)
    size = load.size()
    wait_for(lambda: _newest(node) == size, "a checkpoint of all of it")
    said = cli("export", "mirror", "--data", str(node.folder.path), cwd=tmp_path).output
    assert f"✓ mirror holds {size:,} certificates" in said
    assert f"new          {size - told['log_size']:,} certificates, in " in said
    assert "docs/mirrors.md" in said
    assert whole_of(tmp_path / "mirror").checkpoint.size == size


def _newest(node: NodeProcess) -> int:
    with Client(node.folder.path) as client:
        return client.checkpoint().log_size


def test_a_file_is_exported_without_a_node_and_is_not_followed(node: NodeProcess, load: Load, tmp_path: Path) -> None:
    load.certify(3)
    with Client(node.folder.path) as client:
        client.checkpoint(timeout_s=30)
        client.backup(tmp_path / "copy.db")
    told = in_json("export", "mirror", "--chain", "copy.db", cwd=tmp_path)
    assert whole_of(tmp_path / "mirror").checkpoint.size == told["log_size"]
    cli("export", "mirror", "--data", str(node.folder.path), cwd=tmp_path)
    refused = cli("export", "mirror", "--chain", "copy.db", "--follow", cwd=tmp_path, expect=2).output
    assert "--follow needs a running node" in refused


def test_what_is_no_place_for_a_mirror_is_refused(node: NodeProcess, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "diary.txt").write_text("private")
    said = cli("export", "home", "--data", str(node.folder.path), cwd=tmp_path, expect=2).output
    assert "is no mirror; name an empty folder, or a mirror of this ledger" in said
    assert [one.name for one in (tmp_path / "home").iterdir()] == ["diary.txt"]


def following(node: NodeProcess, folder: Path, *args: str) -> subprocess.Popen[str]:
    command = [*COMMAND, "export", str(folder), "--follow", "--data", str(node.folder.path), *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_reader_never_sees_an_inconsistent_mirror_while_the_ledger_goes_on(
    node: NodeProcess, load: Load, tmp_path: Path
) -> None:
    folder, seen = tmp_path / "mirror", list[int]()
    load.certify(1)

    def read_under_load(count: int) -> bool:
        load.certify(1 + 37 * count % 120)
        seen.extend(size_of(folder) for _ in range(3))
        return len(set(seen)) > 4

    with following(node, folder, "--json") as process:
        try:
            wait_for((folder / "checkpoint").exists, "the first checkpoint")
            wait_for(lambda: read_under_load(len(seen)), "several publications")
            last = load.size()
            wait_for(lambda: size_of(folder) == last, "all of it in the mirror")
        finally:
            process.send_signal(signal.SIGTERM)
            out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    told: dict[str, Any] = json.loads(out)
    assert seen == sorted(seen), "a mirror never shrinks"
    assert (told["log_size"], told["certificates"]) == (last, last)
    assert told["checkpoints"] > 4


def test_killed_at_any_moment_it_is_whole_and_the_next_run_goes_on(
    node: NodeProcess, load: Load, tmp_path: Path
) -> None:
    folder, sizes, draw = tmp_path / "mirror", [0], random.Random(1)
    for _ in range(5):
        load.certify(400)
        with following(node, folder) as process:
            wait_for((folder / "tile").exists, "something that was written")
            for _ in range(draw.randrange(4)):
                load.certify(30)
            process.kill()
        sizes.append(size_of(folder))
    assert sizes == sorted(sizes)
    cli("export", "mirror", "--data", str(node.folder.path), cwd=tmp_path)
    assert size_of(folder) >= sizes[-1]
    assert not (folder / ".tallystick-unfinished").exists()


def test_a_node_that_is_away_is_waited_for(tmp_path: Path) -> None:
    with running_network(1) as net:
        (node,) = net.nodes
        load, folder = Load(node), tmp_path / "mirror"
        load.certify(2)
        with following(node, folder) as process:
            try:
                wait_for((folder / "checkpoint").exists, "the first checkpoint")
                node.stop()
                assert process.stderr is not None
                assert any("it is waited for" in line for line in process.stderr)
                node.start()
                load.certify(2)
                wait_for(lambda: size_of(folder) == load.size(), "what came after the start")
            finally:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=60)
        assert process.returncode == 0
