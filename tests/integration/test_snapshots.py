"""A node that starts from a snapshot in its store: the same node as one that replays all, whatever happened to it."""

import dataclasses
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from tests.builders import (
    ADA,
    MEMBERS,
    FinalScribe,
    Scribe,
    found,
    refuses,
    sign_block,
    staking,
    statement,
    statements,
    vote,
    with_payload,
)
from tests.integration.test_store import execute

from tallystick.consensus.proof_of_stake import check_drawn
from tallystick.course.lone_forger import LoneForger
from tallystick.course.stake_rule import StakeRule
from tallystick.integrity.check import Check
from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.merkle import Frontier
from tallystick.ledger.messages import Entry
from tallystick.ledger.state import State
from tallystick.ledger.vote import FINALIZE, tally_of
from tallystick.network import replay
from tallystick.network.memory_archive import MemoryArchive
from tallystick.network.replay import TAIL_BLOCKS, replayed
from tallystick.network.simulated import SimulatedNetwork
from tallystick.network.simulated_host import member
from tallystick.node.events import PersistBlock
from tallystick.node.finality_proofs import TrustedBlock
from tallystick.problems import DamagedStore, StoreError
from tallystick.storage.state_codec import encode_state
from tallystick.storage.store import Store

FOUNDED = found(epoch_blocks=4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chain.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.create(path, FOUNDED) as store:
        yield store


def chain_of(blocks: int) -> FinalScribe:
    """A chain on which stakes move."""
    scribe = FinalScribe(FOUNDED)
    for number in range(blocks):
        at_ms = FOUNDED.created_ms + number
        moving = staking(1 if number % 3 else -1, at_ms=at_ms, ledger=FOUNDED.ledger_id)
        scribe.forge(moving, *(statement(f"{number} {place}", ledger=FOUNDED.ledger_id) for place in range(number % 4)))
    return scribe


def keep(scribe: FinalScribe, store: Store, until: int | None = None) -> None:
    for kept in scribe.kept[store.tip_index : until]:
        store.append(kept)


def started(store: Store, trusted_block: TrustedBlock | None = None) -> Blockchain:
    """What a node starts from."""
    return replayed(store.genesis, check_drawn, store, trusted_block)


def assert_same(chain: Blockchain, scribe: Scribe) -> None:
    """It has come to what the scribe's chain has come to, and finds all that stands there."""
    assert chain.state == scribe.state
    for block in scribe.blocks:
        for position, certificate in enumerate(block.certificates):
            place = chain.place_of(certificate.id)
            assert place is not None
            assert (place.block_index, place.position) == (block.index, position)
    assert chain.place_of(bytes(32)) is None
    assert len(chain.certificate_index) == scribe.state.log.size


def snapshot_at(store: Store) -> int | None:
    snapshot = store.snapshot()
    return None if snapshot is None else snapshot.state.index


@pytest.mark.parametrize("kept", [0, 1, 4, 7, 8, 20])
def test_a_node_starts_from_a_snapshot_and_replays_only_what_follows(store: Store, kept: int) -> None:
    scribe = chain_of(20 + TAIL_BLOCKS)
    keep(scribe, store, kept)
    store.keep_snapshot(started(store))
    keep(scribe, store)
    with Store.open(store.path) as again:
        assert snapshot_at(again) == (kept or None)
        execute(store.path, "UPDATE blocks SET encoded = x'00' WHERE block_index <= ?", kept)  # nobody looks at them
        chain = started(again)
        assert_same(chain, scribe)
        again.keep_snapshot(chain)
        assert snapshot_at(again) == 20 + TAIL_BLOCKS


def test_snapshots_are_written_bit_by_bit_and_read_as_one(store: Store) -> None:
    scribe = chain_of(30)
    chain = started(store)
    for block in scribe.blocks:
        keep(scribe, store, block.index)
        chain.append(block)
        if block.index % 7 == 0:
            store.keep_snapshot(chain)
    with Store.open(store.path) as again:
        assert snapshot_at(again) == 28
        assert_same(started(again), scribe)


def test_a_snapshot_is_due_when_enough_came_since_the_last(store: Store) -> None:
    scribe = chain_of(65)
    chain = started(store)
    due = []
    for block in scribe.blocks:
        keep(scribe, store, block.index)
        chain.append(block)
        if store.is_snapshot_due:
            store.keep_snapshot(chain)
            due.append(block.index)
    assert due == [64]


DAMAGES: dict[str, str] = {
    "state": "UPDATE snapshot SET encoded = substr(encoded, 1, length(encoded) - 1) || x'07'",
    "state missing": "DELETE FROM snapshot",
    "state is text": "UPDATE snapshot SET encoded = 'hello'",
    "other index": "UPDATE snapshot SET block_index = 9",
    "ids": "UPDATE ids SET ids = zeroblob(length(ids)) WHERE last_block = 5",
    "counts": "UPDATE ids SET counts = counts || x'00000000' WHERE last_block = 5",
    "odd counts": "UPDATE ids SET counts = x'01' WHERE last_block = 10",
    "no counts": "UPDATE ids SET counts = 7",
    "a row gone": "DELETE FROM ids WHERE last_block = 5",
    "all rows gone": "DELETE FROM ids",
    "another chain's": "UPDATE blocks SET block_hash = zeroblob(32) WHERE block_index = 10",
    "the table gone": "DROP TABLE ids",
}


@pytest.mark.parametrize("sql", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_snapshot_is_none_and_everything_is_replayed(store: Store, sql: str) -> None:
    scribe = chain_of(12)
    for kept in (5, 10):
        keep(scribe, store, kept)
        store.keep_snapshot(started(store))
    assert snapshot_at(store) == 10
    execute(store.path, sql)
    with Store.open(store.path) as again:
        assert snapshot_at(again) is None
        keep(scribe, again)
        chain = started(again)
        assert chain.state == scribe.state
        assert all(chain.place_of(one.id) for block in scribe.blocks for one in block.certificates)


def fields_of_before(state: State) -> bytes:
    """As an earlier version wrote it: the roots of the tip's header in the place of the voters, and the parameters."""
    tip, stakes, epoch, log, headers, ends, *_ = msgspec.msgpack.decode(encode_state(state))
    return encode([tip, stakes, epoch, log, headers, state.params, ends, state.roots])


OTHER_FORMS: dict[str, Callable[[State], bytes]] = {
    "of before": fields_of_before,
    "a map of a state's attributes": encode,
    "a field less": lambda state: encode(msgspec.msgpack.decode(encode_state(state))[:-1]),
    "beyond bounds": lambda state: encode_state(dataclasses.replace(state, log=Frontier(2**60, (bytes(32),)))),
    "of a root that is not the tip's": lambda state: encode_state(dataclasses.replace(state, voters=bytes(32))),
}


@pytest.mark.parametrize("form", OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_a_state_in_another_form_is_no_snapshot_though_its_digest_is_right(
    store: Store, form: Callable[[State], bytes]
) -> None:
    scribe = chain_of(12)
    keep(scribe, store)
    store.keep_snapshot(started(store))
    encoded = form(scribe.state)
    ((ids_digest,),) = store.database.select("SELECT digest FROM ids ORDER BY last_block DESC LIMIT 1")
    execute(store.path, "UPDATE snapshot SET encoded = ?, digest = ?", encoded, sha256(ids_digest + encoded).digest())
    with Store.open(store.path) as again:
        assert snapshot_at(again) is None
        assert_same(started(again), scribe)


def test_a_new_snapshot_takes_the_place_of_a_damaged_one(store: Store) -> None:
    scribe = chain_of(12)
    keep(scribe, store, 5)
    store.keep_snapshot(started(store))
    execute(store.path, "UPDATE ids SET ids = zeroblob(length(ids))")
    with Store.open(store.path) as again:
        keep(scribe, again)
        again.keep_snapshot(started(again))
        assert snapshot_at(again) == 12
        assert_same(started(again), scribe)


def test_a_snapshot_of_another_chain_is_not_taken(store: Store) -> None:
    scribe = chain_of(12)
    keep(scribe, store)
    chain = started(store)
    store.keep_snapshot(chain)
    chain.append(chain_of(13).blocks[12])
    with pytest.raises(StoreError, match="does not end with block 13 of this chain"):
        store.keep_snapshot(chain)
    assert snapshot_at(store) == 12


TAIL: dict[str, tuple[Callable[[FinalScribe], Block], Rule]] = {
    "certificate": (lambda scribe: redated(scribe.blocks[9]), Rule.B7),
    "parent": (lambda scribe: chain_of(9).draft(parent_hash=bytes(32)), Rule.B2),
}


def redated(block: Block) -> Block:
    first, *rest = block.certificates
    return replace(block, certificates=(replace(first, timestamp_ms=first.timestamp_ms + 1), *rest))


@pytest.mark.parametrize(("make", "rule"), TAIL.values(), ids=TAIL)
def test_a_changed_block_after_the_snapshot_is_found_at_the_start(
    store: Store, make: Callable[[FinalScribe], Block], rule: Rule
) -> None:
    scribe = chain_of(12)
    keep(scribe, store, 5)
    store.keep_snapshot(started(store))
    keep(scribe, store)
    changed = make(scribe)
    execute(store.path, "UPDATE blocks SET encoded = ? WHERE block_index = 10", changed.encoded)
    with Store.open(store.path) as again, refuses(rule):
        started(again)


def with_false_certificate(block: Block) -> bytes:
    """Its hash is another: a hash covers the signatures of certificates."""
    first, *rest = block.certificates
    return replace(block, certificates=(replace(first, signature=bytes(64)), *rest)).encoded


def resigned(block: Block) -> bytes:
    """The same certificates under another header, by its own forger."""
    by_key = {member.public_key: member for member in MEMBERS.values()}
    header = replace(block.header, timestamp_ms=block.header.timestamp_ms + 1)
    return sign_block(header, block.certificates, by_key[header.forger]).encoded


LAST = 24
CHANGES: dict[str, tuple[Callable[[Block], bytes], str]] = {
    "garbage": (lambda block: b"\xc1" * 300, r"block {} was altered: \[E2\]"),
    "cut short": (lambda block: block.encoded[:-1], r"block {} was altered: \[E2\]"),
    "a certificate": (with_false_certificate, r"\[B7\] .*: the kept block {}: "),
    "the forger's signature": (lambda block: replace(block, signature=bytes(64)).encoded, r"\[B3\] .*kept block {}: "),
    "another header": (resigned, r"\[B2\] .*: the kept block {} is not the one"),
}


@pytest.mark.parametrize(("change", "told"), CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("index", [LAST, LAST - 3, LAST - TAIL_BLOCKS + 1])
def test_damage_among_the_last_blocks_is_found_at_the_start_though_the_snapshot_is_of_the_tip(
    store: Store, index: int, change: Callable[[Block], bytes], told: str
) -> None:
    scribe = chain_of(LAST)
    keep(scribe, store)
    store.keep_snapshot(started(store))
    execute(store.path, "UPDATE blocks SET encoded = ? WHERE block_index = ?", change(scribe.blocks[index - 1]), index)
    with Store.open(store.path) as again:
        assert snapshot_at(again) == LAST
        with pytest.raises((Refused, DamagedStore), match=told.format(index)):
            started(again)


@pytest.mark.parametrize("index", [LAST, LAST - 1, LAST - 4])
def test_damaged_votes_for_the_last_blocks_are_found_at_the_start(store: Store, index: int) -> None:
    scribe = chain_of(LAST)
    keep(scribe, store)
    store.keep_snapshot(started(store))
    good, other = scribe.archive.finalization(index), scribe.archive.finalization(index - 2)
    assert good is not None
    assert other is not None
    false = type(good)(good.ballot, tuple((member, bytes(64)) for member, _ in good.signatures))
    few = type(good)(good.ballot, good.signatures[:2])
    for changed, rule in ((false, Rule.V1), (few, Rule.V2), (other, Rule.V2)):
        sql = "UPDATE finalizations SET encoded = ? WHERE block_index = ?"
        execute(store.path, sql, encode(changed), index)
        with Store.open(store.path) as again, refuses(rule, f"the kept block {index}: "):
            started(again)
        execute(store.path, sql, encode(good), index)
    with Store.open(store.path) as again:
        started(again)


def test_a_last_block_that_is_gone_is_missed_at_the_start(store: Store) -> None:
    keep(chain_of(LAST), store)
    execute(store.path, "DELETE FROM blocks WHERE block_index > ?", LAST - 2)
    with Store.open(store.path) as again, refuses(Rule.B1, f"the kept block {LAST - 1} is gone"):
        started(again)


@pytest.mark.parametrize("length", range(1, 14))
def test_a_good_chain_that_ends_anywhere_in_an_epoch_starts(store: Store, length: int) -> None:
    scribe = chain_of(length)
    keep(scribe, store)
    for _ in range(2):  # replayed, then from the snapshot
        chain = started(store)
        assert chain.state == scribe.state
        store.keep_snapshot(chain)


def test_of_long_blocks_at_the_end_a_start_verifies_only_so_much(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "TAIL_SIGNATURES", 4)
    scribe = FinalScribe(FOUNDED)
    for number in range(3):
        scribe.forge(*(statement(f"{number} {place}", ledger=FOUNDED.ledger_id) for place in range(8)))
    keep(scribe, store)
    store.keep_snapshot(started(store))
    execute(store.path, "UPDATE blocks SET encoded = x'c1' WHERE block_index = 2")
    with Store.open(store.path) as again:
        started(again)
    false = replace(scribe.blocks[2], signature=bytes(64)).encoded
    execute(store.path, "UPDATE blocks SET encoded = ? WHERE block_index = 3", false)
    with Store.open(store.path) as again, refuses(Rule.B3):
        started(again)


def test_a_false_finalization_of_the_tip_is_found_at_the_start(store: Store) -> None:
    scribe = chain_of(6)
    keep(scribe, store, 5)
    store.keep_snapshot(started(store))
    block, epoch = scribe.blocks[5], chain_of(5).state.epoch
    few = scribe.finalization(epoch, block, ADA)
    other_block = tally_of([vote(FINALIZE, b"b" * 32, member, 1, 2, FOUNDED) for member in MEMBERS.values()])
    forged = scribe.archive.finalization(6)
    assert forged is not None
    forged = type(forged)(forged.ballot, tuple((member, bytes(64)) for member, _ in forged.signatures))
    for proof, rule in ((few, Rule.V2), (other_block, Rule.V2), (forged, Rule.V1)):
        with Store.open(store.path) as again:
            again.append(PersistBlock(block, (), proof))
            with refuses(rule):
                started(again)
        execute(store.path, "DELETE FROM blocks WHERE block_index = 6")
        execute(store.path, "DELETE FROM finalizations WHERE block_index = 6")


def test_a_lone_forgers_last_block_with_a_false_signature_is_found_at_the_start(tmp_path: Path) -> None:
    scribe = Scribe(found(ADA))
    scribe.forge_many(2)
    archive = MemoryArchive([scribe.blocks[0], replace(scribe.blocks[1], signature=bytes(64))])
    with refuses(Rule.B3):
        replayed(scribe.genesis, LoneForger(StakeRule()).check_forger, archive)


def test_the_trusted_block_is_looked_for_below_the_snapshot_too(store: Store) -> None:
    scribe = chain_of(12)
    keep(scribe, store)
    store.keep_snapshot(started(store))
    started(store, TrustedBlock(6, scribe.blocks[5].hash))
    with refuses(Rule.V4):
        started(store, TrustedBlock(6, bytes(32)))


def test_what_payloads_are_lacking_is_known_without_the_blocks(store: Store) -> None:
    scribe = FinalScribe(FOUNDED)
    entries = [with_payload(f"payload {number}", ledger=FOUNDED.ledger_id) for number in range(6)]
    for entry in entries:
        scribe.forge(entry.certificate)
    keep(scribe, store)
    wanted = [entry.payload.hash() for entry in entries]
    store.keep_payload(entries[1].payload)
    store.erase_payload(wanted[2])
    left = [wanted[0], *wanted[3:]]
    assert store.lacking(100) == left
    assert store.lacking(2) == left[-2:]
    memory = MemoryArchive(scribe.blocks)
    memory.keep_payload(entries[1].payload)
    memory.erase_payload(wanted[2])
    assert memory.lacking(100) == left
    assert memory.lacking(2) == left[-2:]
    with store.batch():
        store.payload_tables.rebuild(store.blocks())
    assert store.lacking(100) == left


def test_a_second_certificate_with_a_kept_or_erased_payload_awaits_nothing(store: Store) -> None:
    scribe = FinalScribe(FOUNDED)
    kept, gone = (with_payload(name, ledger=FOUNDED.ledger_id) for name in ("kept", "gone"))
    again = [
        statement("again", ledger=FOUNDED.ledger_id, payload=entry.payload, at_ms=FOUNDED.created_ms + 5)
        for entry in (kept, gone)
    ]
    first, second = scribe.forge(kept.certificate, gone.certificate), scribe.forge(*again)
    store.append(PersistBlock(first, (kept.payload, gone.payload)))
    store.erase_payload(gone.payload.hash())
    store.append(PersistBlock(second, ()))
    assert store.lacking(100) == []


def test_members_that_restart_from_snapshots_go_on_agreeing(tmp_path: Path, seed: int) -> None:
    network = SimulatedNetwork(FOUNDED, seed)
    stores = {name: Store.create(tmp_path / f"{name}.db", FOUNDED) for name in MEMBERS}
    for name, wallet in MEMBERS.items():
        network.add(name, member(wallet), archive=stores[name])
    network.connect_all()
    certificates = statements(60, ledger=FOUNDED.ledger_id)
    for number, certificate in enumerate(certificates):
        name = list(MEMBERS)[number % 4]
        network.submit(name, Entry(certificate))
        network.run_for(400)
        if number % 9 == 5:
            host = network.hosts[name]
            stores[name].keep_snapshot(host.node.chain)
            network.crash(name)
            network.run_for(300)
            network.restart(name)
    assert network.run_until(
        lambda: all(
            host.node.chain.place_of(one.id) is not None for host in network.hosts.values() for one in certificates
        ),
        120_000,
    ), f"seed {seed}"
    assert len({host.node.state.tip.hash for host in network.hosts.values()}) == 1, f"seed {seed}"
    for name, store in stores.items():
        whole = replayed(FOUNDED, check_drawn, MemoryArchive(store.blocks()))
        assert whole.state == network.hosts[name].node.state, f"seed {seed}"
        report = Check(store).run()
        assert report.is_sound, (f"seed {seed}", report)
        assert not report.unproven, f"seed {seed}"
        store.close()
