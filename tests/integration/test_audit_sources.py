"""`tallystick audit` of what real nodes serve, write and keep: by URL, a node's folder, a mirror and a chain's file."""

import shutil
from functools import partial
from pathlib import Path

from tests.integration.command_line import cli, in_json
from tests.integration.network import Network, NodeProcess, wait_for
from tests.ports import drawn_port

from tallystick.client.blocking import Client
from tallystick.problems import ExitCode


def test_a_ledger_is_audited_wherever_it_is_served(tmp_path: Path) -> None:
    """Four nodes; one's door, its folder, a mirror that it wrote, a second node, and the file that is left."""
    ports = ("--port", str(drawn_port(4)))
    cli("new", "class", "--members", "4", "--into", "net", *ports, "--no-passphrase", cwd=tmp_path)
    port, sizes = drawn_port(1), list[int]()

    def audit(source: str, expect: int = 0) -> None:
        args = ("audit", source, "--ledger", ledger_id, "--trust", "trust")
        told = in_json(*args, cwd=tmp_path, expect=expect)
        sizes.append(told["size"] if expect == 0 else -expect)

    def countersigned(size: int) -> None:
        """What is audited next covers so much, at each node that is asked."""
        for node in nodes[:2]:
            with node.client() as client:
                wait_for(partial(_covers, client, size), f"a checkpoint of {size} certificates at {node.name}")

    with Network(tmp_path) as net:
        nodes = [net.add(NodeProcess(tmp_path / "net" / f"node-{number}")) for number in range(1, 5)]
        nodes[0].launch("--api", f"127.0.0.1:{port}")
        for node in nodes[1:]:
            node.launch()
        for node in nodes:
            node.wait_until_running()
        ledger_id = nodes[0].status().ledger_id
        nodes[0].certify(*(f"diploma {number}" for number in range(30)))
        countersigned(30)
        cli("export", "mirror", "--data", "net/node-1", cwd=tmp_path)
        audit("mirror")
        shutil.copytree(tmp_path / "mirror", tmp_path / "copy")
        audit(f"http://127.0.0.1:{port}")
        audit("net/node-2")
        nodes[0].certify(*(f"more {number}" for number in range(300)))
        countersigned(330)
        cli("export", "mirror", "--data", "net/node-1", cwd=tmp_path)
        audit("net/node-1")
        audit("mirror")
        audit("copy", ExitCode.OLDER)
        for node in nodes:
            node.stop()
        audit("net/node-2", ExitCode.NOT_RUNNING)
    first, url, second, grown, written, old, stopped = sizes
    assert first <= url <= second <= grown <= written
    assert first >= 30
    assert grown >= 330
    assert (old, stopped) == (-ExitCode.OLDER, -ExitCode.NOT_RUNNING)
    args = ("audit", "net/node-1/ledger.db", "--ledger", ledger_id, "--trust", "other")
    assert in_json(*args, cwd=tmp_path)["blocks"] > 1


def _covers(client: Client, size: int) -> bool:
    return client.checkpoint().log_size >= size
