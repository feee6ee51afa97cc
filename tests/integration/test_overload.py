"""Members that have more certificates to verify than they can lose no view: what a proposal names goes before."""

from pathlib import Path

from tests.builders import statement
from tests.integration import held_up_node
from tests.integration.network import PATIENCE_S, Network, NodeProcess, network

from tallystick.consensus.proof_of_stake import draw
from tallystick.ledger.encoding import encode
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.messages import Entry
from tallystick.ledger.params import Params
from tallystick.ledger.state import genesis_state
from tallystick.ledger.vote import NULLIFY
from tallystick.storage.store import Store

ROUNDS = 4
BATCH = 600
UNHURRIED = Params(delta_ms=2_000)
"""A view lasts 10 s: long enough for four nodes that share a busy machine with others."""


def held_up(net: Network) -> dict[bytes, Path]:
    """Have all nodes run so that each can be held up; the files that do it, by the nodes' keys."""
    gates = dict[bytes, Path]()
    for number, node in enumerate(net.nodes):
        path = node.folder.path
        gate = path.with_name(f"{path.name}.held")
        net.nodes[number] = NodeProcess(path, module=(held_up_node.__file__, str(gate)))
        gates[node.folder.public_key()] = gate
    return gates


def leader(genesis: Genesis, view: int) -> bytes:
    stakes = genesis_state(genesis).epoch.stakes
    drawn = draw(stakes, genesis.ledger_id, 0, view)
    assert drawn is not None
    return drawn


def test_voters_that_verify_nothing_in_bulk_vote_for_what_is_proposed() -> None:
    with network(4, UNHURRIED) as net:
        with net.nodes[0].chain() as chain:
            genesis = chain.genesis
        gates = held_up(net)
        net.start()
        nodes = dict(zip(gates, net.nodes, strict=True))
        for number in range(ROUNDS):
            proposer = leader(genesis, net.wait_until_agreed(number).view)
            for key, gate in gates.items():
                if key != proposer:
                    gate.touch()
            names = (f"round {number}, certificate {one}" for one in range(BATCH))
            entries = [encode(Entry(statement(one, ledger=genesis.ledger_id))) for one in names]
            with nodes[proposer].client() as client:
                outcomes = client.submit(entries, timeout_s=PATIENCE_S)
            assert {one.state for one in outcomes} == {"final"}
            for gate in gates.values():
                gate.unlink(missing_ok=True)
        net.stop_in_order()
        for node in net.nodes:
            with Store.open(node.folder.ledger_path, read_only=True) as store:
                assert not [one for one in store.votes(0) if one.ballot.kind == NULLIFY]
                views = [block.header.view for block in store.blocks()]
                assert views == list(range(1, len(views) + 1))
