"""Real nodes that decide: from signing a decision, on an idle ledger, to its effect at every node."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec.structs import replace

from benchmarks.network import PARAMS
from benchmarks.processes import ports
from benchmarks.result import Figure, at_most, figure
from tallystick.api import decisions as d
from tallystick.client.blocking import Client
from tallystick.demo.local_network import LocalNetwork, NodeProcess
from tallystick.host.clock import now_ms
from tallystick.host.founding import found_here
from tallystick.ledger.changes import sign_admission
from tallystick.ledger.wallet import Wallet

MEMBERS = 4
SAMPLES = 20
IDLE_S = 1.0
"""Without a certificate, before each decision."""
GOVERNED = replace(PARAMS, anybody_certifies=False, rotation_delay_ms=0)
_EXPIRES_MS = 3_600_000
_POLL_S = 0.005


def motions_and_rotations() -> Iterator[Figure]:
    """Four nodes: motions that two more approve one after the other, and rotations without delay."""
    with _four_nodes() as (paths, nodes):
        names = [f"organisation-{number}" for number in range(SAMPLES)]
        motions = [_admitted_s(nodes, name) for name in names]
        rotations = [_rotated_s(paths[0], nodes, name) for name in names]
    what, goal = "from signing, on an idle ledger, until in effect at all of four nodes", at_most(10)
    yield figure("motion", f"{what}: two more approve one after the other", motions, "s", goal=goal)
    yield figure("rotation", f"{what}: of a member key, without delay", rotations, "s", goal=goal)


@contextmanager
def _four_nodes() -> Iterator[tuple[list[Path], list[Client]]]:
    """Their folders, and a client at the door of each."""
    with ExitStack() as stack:
        into = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folders = found_here("bench", into / "net", MEMBERS, "", params=GOVERNED, port=ports(MEMBERS).start)
        network = stack.enter_context(LocalNetwork([NodeProcess(folder) for folder in folders]))
        for node in network.nodes:
            node.launch("--log-level", "warning")
        network.wait_until_voting()
        yield [one.path for one in folders], [stack.enter_context(node.client()) for node in network.nodes]


def _key(name: str) -> Wallet:
    return Wallet(name.encode().ljust(32, b"."))


def _admitted_s(nodes: Sequence[Client], name: str) -> float:
    """Until everybody has an organisation that one moves to admit, and two others approve when they hear of it."""
    key = _key(name)
    admitted = sign_admission(key, nodes[0].ledger_id, name).hex()
    change = d.Admit(name, name, None, key.public_key.hex(), "member", 0, admitted)
    time.sleep(IDLE_S)
    began_s = time.perf_counter()
    motion = nodes[0].move(change, expires_ms=now_ms() + _EXPIRES_MS).id
    for node in nodes[1:3]:
        while motion not in {one.id for one in node.status().motions}:
            time.sleep(_POLL_S)
        node.approve(motion)
    _wait_for_key(nodes, name, key)
    return time.perf_counter() - began_s


def _rotated_s(path: Path, nodes: Sequence[Client], name: str) -> float:
    """Until everybody has the key that follows an organisation's; each rotates once, as more have to wait."""
    before, after = _key(name), _key(f"{name} anew")
    admitted = sign_admission(after, nodes[0].ledger_id, name).hex()
    change = d.RotateMemberKey(name, before.public_key.hex(), after.public_key.hex(), None, admitted)
    time.sleep(IDLE_S)
    with Client(path, wallet=before) as client:
        began_s = time.perf_counter()
        client.change_keys(change)
        _wait_for_key(nodes, name, after)
        return time.perf_counter() - began_s


def _wait_for_key(nodes: Sequence[Client], name: str, key: Wallet) -> None:
    """Until this is the organisation's member key at all nodes."""
    wanted = name, key.public_key.hex()
    for node in nodes:
        while wanted not in {(one.id, one.member_key) for one in node.organisations().organisations}:
            time.sleep(_POLL_S)
