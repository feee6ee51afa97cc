"""Members that cannot reach each other, on machines of their own as far as the kernel is concerned."""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from msgspec.structs import replace
from tests.integration.network import Network, NodeProcess, network, streams, tallystick, wait_for

PORT = 7117


@dataclass
class Wires:
    """A bridge to which each machine is connected by a cable that can be pulled."""

    tag: str

    def ip(self, *args: str) -> None:
        """Raises `CalledProcessError`."""
        subprocess.run(["ip", *args], check=True, capture_output=True, text=True)

    def machine(self, number: int) -> str:
        """Its network namespace."""
        return f"tl{self.tag}n{number}"

    def plug(self, number: int, bridge: str) -> None:
        """Connect a machine with this bridge, `a` or `b`, instead of another."""
        self.ip("link", "set", f"tl{self.tag}v{number}", "master", f"tl{self.tag}{bridge}")


def address(number: int) -> str:
    return f"10.77.104.{number}"


@contextmanager
def machines(count: int) -> Iterator[Wires]:
    """Network namespaces, all on bridge `a`; skips where they are not allowed. Nothing of them remains."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("NOT TESTED: network namespaces take Linux, root and the command ip")
    wires = Wires(secrets.token_hex(3))
    with ExitStack() as stack:

        def make(undo: tuple[str, ...], *args: str) -> None:
            wires.ip(*args)
            stack.callback(subprocess.run, ["ip", *undo], check=False, capture_output=True)

        try:
            for bridge in (f"tl{wires.tag}a", f"tl{wires.tag}b"):
                make(("link", "del", bridge), "link", "add", bridge, "type", "bridge")
                wires.ip("link", "set", bridge, "up")
            for number in range(1, count + 1):
                name, cable, inner = wires.machine(number), f"tl{wires.tag}v{number}", f"tl{wires.tag}p{number}"
                make(("netns", "del", name), "netns", "add", name)
                make(("link", "del", cable), "link", "add", cable, "type", "veth", "peer", "name", inner)
                wires.ip("link", "set", inner, "netns", name)
                wires.ip("-n", name, "addr", "add", f"{address(number)}/24", "dev", inner)
                for device in ("lo", inner):
                    wires.ip("-n", name, "link", "set", device, "up")
                wires.ip("link", "set", cable, "up")
                wires.plug(number, "a")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"NOT TESTED, no network namespaces may be made here: {error.stderr.strip()}")
        yield wires


def settle(net: Network, wires: Wires) -> None:
    """Put each node on a machine of its own."""
    keys = [node.folder.public_key().hex() for node in net.nodes]
    known = [f"{key}@{address(number)}:{PORT}" for number, key in enumerate(keys, 1)]
    for number, node in enumerate(list(net.nodes), 1):
        own = f"{address(number)}:{PORT}"
        others = tuple(one for one in known if not one.endswith(own))
        node.folder.write_settings(replace(node.folder.settings(), listen=own, address=own, bootstrap=others))
        net.nodes[number - 1] = NodeProcess(node.folder.path, before=("ip", "netns", "exec", wires.machine(number)))


def test_neither_half_of_a_parted_network_makes_a_block_final_and_together_they_go_on() -> None:
    with machines(4) as wires, network() as net:
        settle(net, wires)
        net.start()
        with streams(net.nodes) as told:
            wait_for(lambda: all(one.final for one in told), "certificates become final through each node")
            for number in (3, 4):
                wires.plug(number, "b")
            wait_for(
                lambda: all(node.status().state == "out_of_reach" for node in net.nodes), "all say that they are stuck"
            )
            before = {node.status().tip_index for node in net.nodes}
            keys = [node.folder.public_key() for node in net.nodes]
            for half, other in ((0, 2), (2, 0)):
                missing = set(keys[other : other + 2])
                for node in net.nodes[half : half + 2]:

                    def names_them(node: NodeProcess = node, missing: set[bytes] = missing) -> bool:
                        return {bytes.fromhex(one.member.key) for one in node.status().missing} == missing

                    wait_for(names_them, f"{node.name} says who is missing")
            said = tallystick("status", "--data", net.nodes[0].folder.path, expect=1).stdout.replace("\n", " ")
            assert "200 of 400 tokens at stake are in reach, 267 are needed;" in said
            assert "missing: node-3, node-4" in said or "missing: node-4, node-3" in said
            with net.nodes[3].client() as client:
                (outcome,) = client.submit(client.sign([("in vain", None)]), timeout_s=5.0)
            assert outcome.state == "waiting"
            after = {node.status().tip_index for node in net.nodes}
            assert max(after) <= max(before), "a half made a block final"
            for number in (3, 4):
                wires.plug(number, "a")
            seen = [len(one.final) for one in told]
            wait_for(lambda: all(len(one.final) > much for one, much in zip(told, seen, strict=True)), "they go on")
        net.wait_until_agreed()
        assert not [node.name for node in net.nodes if not node.status().is_well]
        final, accepted = [one for each in told for one in each.final], [one for each in told for one in each.accepted]
        net.assert_equal_chains(final, accepted)
