"""A kept chain read back: votes prove its blocks final, and what they do not prove is left out."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.builders import ADA, BEN, MEMBERS, evidence, found, statement
from tests.integration.told_chain import ToldChain

from tallystick.client.blocking import Client
from tallystick.client.doors import AnswerProblem
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Rule
from tallystick.ledger.messages import Entry
from tallystick.ledger.vote import FINALIZE, Ballot, Tally, cast, tally_codec, tally_of
from tallystick.network.simulated import SimulatedNetwork
from tallystick.network.simulated_host import member
from tallystick.problems import DamagedStore, ExitCode
from tallystick.storage.store import Store

EPOCH_BLOCKS = 4
FOUNDED = found(epoch_blocks=EPOCH_BLOCKS)
BLOCKS = 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chain.db"


@pytest.fixture
def kept(path: Path) -> Iterator[Store]:
    """What Ada's node kept of ten blocks that four members agreed on; then Ben lost his stake."""
    with Store.create(path, FOUNDED) as store:
        network = SimulatedNetwork(FOUNDED, seed=1)
        for name, wallet in MEMBERS.items():
            network.add(name, member(wallet), archive=store if name == "ada" else None)
        network.connect_all()
        network.run_for(200)
        ledger = FOUNDED.ledger_id
        for index in range(1, BLOCKS + 1):
            one = evidence(genesis=FOUNDED, epoch=2) if index == BLOCKS else statement(f"number {index}", ledger=ledger)
            network.submit("ada", Entry(one))
            tips = [host.node for host in network.hosts.values()]
            assert network.run_until(lambda: {node.state.index for node in tips} == {index}, 60_000)  # noqa: B023
        yield store


def put(path: Path, index: int, finalization: Tally | bytes | None) -> None:
    """What somebody with a SQLite tool does to a block's finalization."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM finalizations WHERE block_index = ?", (index,))
        if finalization is not None:
            encoded = finalization if isinstance(finalization, bytes) else encode(finalization)
            connection.execute("INSERT INTO finalizations VALUES (?, ?)", (index, encoded))


def finalization_of(store: Store, index: int) -> Tally:
    finalization = store.finalization(index)
    assert finalization is not None
    return finalization


def test_every_block_is_proven_final_by_its_epochs_members(kept: Store) -> None:
    checked = ToldChain(kept)
    assert (checked.state.index, checked.left_out) == (BLOCKS, 0)
    assert [checked.epoch_of(index).number for index in range(1, BLOCKS + 1)] == [0] * 4 + [1] * 4 + [2] * 2
    for index in range(1, BLOCKS + 1):
        finality = checked.finality(index)
        assert index <= finality.by_block
        assert checked.epoch_of(index) is checked.epoch_of(finality.by_block)
        assert finality.total_stake == 400
        assert finality.stake == 100 * len(finality.voters) > 266
    assert checked.burned == {BEN.public_key: 100}
    assert checked.state.stakes.burned == 100


def test_every_changed_byte_of_a_finalization_is_found(kept: Store, path: Path) -> None:
    encoded = encode(finalization_of(kept, EPOCH_BLOCKS))
    for place in range(0, len(encoded), 11):
        changed = bytearray(encoded)
        changed[place] ^= 1
        put(path, EPOCH_BLOCKS, bytes(changed))
        with Store.open(path, read_only=True) as store, pytest.raises(DamagedStore, match="block 4"):
            ToldChain(store)


def test_too_few_votes_or_the_votes_for_another_block_are_refused(kept: Store, path: Path) -> None:
    good = finalization_of(kept, BLOCKS)
    last = kept.block(BLOCKS)
    assert last is not None
    own = cast(ADA, FOUNDED.ledger_id, Ballot(FINALIZE, 2, good.ballot.view, last.hash))
    first = finalization_of(kept, 4)
    for forged, rule in (
        (tally_of([own]), Rule.V2),
        (tally_of(good.votes[:2]), Rule.V2),
        (first, Rule.V2),
        (tally_codec.encode_checked(Tally(good.ballot, good.signatures[:1] * 3)), Rule.V2),
        (b"\xc1", Rule.E2),
    ):
        put(path, BLOCKS, forged)
        with Store.open(path, read_only=True) as store, pytest.raises(DamagedStore) as caught:
            ToldChain(store)
        assert caught.value.refused is not None
        assert caught.value.refused.rule is rule


def test_what_no_votes_prove_final_is_left_out(kept: Store, path: Path) -> None:
    proven = [index for index in range(1, BLOCKS + 1) if kept.finalization(index)]
    assert proven[-1] == BLOCKS
    put(path, BLOCKS, None)
    with Store.open(path, read_only=True) as store:
        checked = ToldChain(store)
        assert (checked.state.index, checked.left_out) == (proven[-2], BLOCKS - proven[-2])
        assert [block.index for block in checked.blocks()] == list(range(1, proven[-2] + 1))
        assert checked.burned == {}
        with pytest.raises(IndexError):
            checked.epoch_of(BLOCKS)
        last_id = next(iter(kept.blocks(BLOCKS))).certificates[0].id
        assert checked.chain.place_of(last_id) is None
    with Client(path) as client:
        for ask in (lambda: client.block(BLOCKS), lambda: client.certificate(last_id.hex())):
            with pytest.raises(AnswerProblem) as told:
                ask()
            assert told.value.exit_code is ExitCode.NOT_THERE


def test_of_a_chain_without_votes_nothing_is_taken(kept: Store, path: Path) -> None:
    for index in range(1, BLOCKS + 1):
        put(path, index, None)
    with Store.open(path, read_only=True) as store:
        checked = ToldChain(store)
        assert (checked.state.index, checked.left_out) == (0, BLOCKS)
        assert (list(checked.blocks()), checked.forged, checked.state.log.size) == ([], {}, 0)
