"""A ledger that outlives all its first members: real nodes, and certificates that come in all the while."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.integration.command_line import called
from tests.integration.network import Network, NodeProcess, Stream, running_network, streams, wait_for
from tests.integration.test_governing import GOVERNED, at, joined, may_stop, moved, said, told

from tallystick.consensus.signing_guard import Signed
from tallystick.host.clock import now_ms
from tallystick.host.data_folder import DataFolder
from tallystick.host.guard_file import read_guard
from tallystick.host.key_file import open_key_file
from tallystick.ledger.bundle import read_bundle
from tallystick.ledger.wallet import Wallet
from tallystick.proof.verify import Demand, verify
from tallystick.storage.making import ProofFiles


def test_all_first_members_are_replaced_while_certificates_come_in_and_nothing_is_lost() -> None:
    """Four become five; one is lost for good and removed; one rotates its key, of one it is replaced, one leaves.

    What was proven before stays so, and a proof made anew tells of each change.
    """
    with running_network(4, GOVERNED) as net:
        first, second, third, lost = net.nodes
        founders = {node.folder.public_key() for node in net.nodes}
        (diploma,) = first.certify("Diploma")
        with first.client() as client:
            proofs = [client.prove(diploma.id)]
        _carry(moved(first, "motion", "set", "rotation_delay_ms", "0"), second, third)
        fifth = _admitted(net, "node-5", first, second, third)
        registry = _registry(net, fifth)
        lost.kill()
        shutil.rmtree(lost.folder.path)
        net.nodes.remove(lost)
        with streams([first, fifth], batch=2, wallet=registry, pause_s=0.5) as coming:
            _carry(moved(first, "member", "remove", "node-4", "--yes"), second, third, fifth)

            rotated, admission = joined(net, "node-1b", "node-1")
            called("key", "rotate", admission, *at(first), "--yes")
            _votes(rotated)

            replaced, admission = joined(net, "node-2b", "node-2")
            _carry(moved(third, "member", "replace-key", admission, "--yes"), rotated, fifth)
            _votes(replaced)

            sixth = _admitted(net, "node-6", fifth, rotated, replaced)
            _carry(moved(third, "member", "leave", "--yes"), rotated, replaced, sixth)

            left = {node: _left_with(node) for node in (first, second, third)}
            before = [len(one.final) for one in coming]
            wait_for(lambda: _more(coming, before), "certificates become final without any of the first members")
        (last,) = sixth.certify("All members are others")
        net.wait_until_agreed(max(left.values()) + 1)
        signed = {node: _signed_in(node) for node in left}
        votes = {node.name for node in net.nodes if node.status().is_voting}
        assert votes == {"node-1b", "node-2b", "node-5", "node-6"}
        later = {node.folder.public_key() for node in (rotated, replaced, fifth, sixth)}
        with sixth.client() as client:
            client.prove(last.id)  # waits for a checkpoint that all of these countersign
            proofs.append(client.prove(diploma.id))
        assert [one.refused for one in coming] == [[], []]
        net.assert_equal_chains(
            [outcome for one in coming for outcome in one.final], [one for each in coming for one in each.accepted]
        )
        for node, index in left.items():
            _assert_signs_nothing_after(node, index, signed[node])
    _assert_proven(proofs, diploma.id, founders, later)


def _assert_proven(proofs: Sequence[ProofFiles], certificate: str, founders: set[bytes], later: set[bytes]) -> None:
    """By whoever knows the ledger's id alone: a proof made before the founders were replaced, and one made after."""
    bundles = [read_bundle(one.proof.encode(), one.members, one.payload) for one in proofs]
    ledger_id = bundles[0].extra.genesis.ledger_id
    before, after = (verify(one, Demand(now_ms(), ledger_id)) for one in bundles)
    assert before.certificate.id.hex() == after.certificate.id.hex() == certificate
    assert before.block == after.block
    assert ({one.key for one in before.cosigners} <= founders, before.changes) == (True, ())
    assert {one.key for one in after.cosigners} <= later
    assert founders <= {key for change in after.changes for key in change.left}
    assert later <= {key for change in after.changes for key in change.joined}
    again = verify(bundles[0], Demand(now_ms(), ledger_id, anchors=(after.anchor,)))
    assert (again.is_older, again.block) == (True, after.block)


def _signed_in(node: NodeProcess) -> set[int]:
    """The epochs in which its key signed anything since the node was started: at its end the guard forgets that."""
    records = read_guard(node.folder.guard_path, node.folder.public_key()).records
    return {one.epoch for one in records if isinstance(one, Signed)}


def _assert_signs_nothing_after(node: NodeProcess, index: int, signed: set[int]) -> None:
    """Of a node that ran on after its key left with this block; `signed`: in which epochs it signed anything."""
    key = node.folder.public_key()
    with node.chain() as chain:
        blocks = list(chain.blocks())
        voted = [one.index for one in blocks if key in chain.finality(one.index).voters]
    forged = [one.index for one in blocks if one.header.forger == key]
    assert voted, "it was a member"
    assert max(voted + forged) <= index < len(blocks)
    last = blocks[index - 1].header.epoch
    assert max(signed) <= last < blocks[-1].header.epoch


def _carry(motion: str, *nodes: NodeProcess) -> None:
    """Members approve a motion until it has passed; each of them has heard of it by its own node."""
    for node in nodes:
        with node.client() as client:
            wait_for(lambda: motion in {one.id for one in client.motions().motions}, f"{node.name} knows the motion")
            assert client.approve(motion).outcome.state == "final"
    with nodes[-1].client() as client:
        assert client.motion(motion).state == "passed"


def _admitted(net: Network, name: str, mover: NodeProcess, *others: NodeProcess) -> NodeProcess:
    node, admission = joined(net, name, name)
    _carry(moved(mover, "member", "admit", admission, "--title", name.title()), *others)
    _votes(node)
    return node


def _votes(node: NodeProcess) -> None:
    wait_for(lambda: node.status().is_voting and node.status().stake == 100, f"{node.name} votes")


def _registry(net: Network, node: NodeProcess) -> Wallet:
    """An issuer key of the node's organisation."""
    path: Path = net.path / "registry"
    called("key", "new", "--no-passphrase", "--data", path)
    ledger = told("show", *at(node))["ledger_id"]
    line = called("key", "admit", node.name, "--ledger", ledger, "--data", path).stdout.strip()
    called("issuer", "add", line, "--label", "Registry", *at(node))
    return open_key_file(DataFolder(path).key_path, "")


def _left_with(node: NodeProcess) -> int:
    """The block with which a member left; its node runs on, and says that it need not."""
    wait_for(lambda: may_stop(node), f"{node.name} may be switched off")
    assert "this key votes no more: the node may be switched off" in said("status", *at(node), expect=1)
    leaving = node.status().leaving
    assert leaving is not None
    assert leaving.left_with is not None
    return leaving.left_with


def _more(coming: Sequence[Stream], before: Sequence[int]) -> bool:
    return all(len(one.final) > count for one, count in zip(coming, before, strict=True))
