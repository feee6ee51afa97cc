"""What a node makes of cosignatures that peers tell, and what it holds and keeps of them."""

import pytest
from msgspec.structs import replace
from tests.builders import (
    ADA,
    BEN,
    CY,
    DOT,
    MEMBERS,
    STRANGER,
    Bench,
    FinalScribe,
    Scribe,
    cut_off,
    found,
    of_kind,
    rules,
    statement,
)
from tests.member_bench import MemberBench, sent

from tallystick.consensus.signing_guard import Cosigned, Floor, Lost
from tallystick.ledger.checkpoint import Checkpoint, cosign
from tallystick.ledger.errors import Rule
from tallystick.ledger.messages import Blocks, CertificateRequest, CosignatureRequest, Cosignatures, Status
from tallystick.network.memory_archive import MemoryArchive
from tallystick.node.checkpoints import _ANSWERS_FIRST_MS, ANEW_AFTER_S, MAX_AHEAD_S
from tallystick.node.events import (
    FreshCheckpointAsked,
    Multicast,
    PeerConnected,
    PeerDisconnected,
    PersistBlock,
    PersistCosignatures,
    PersistSigned,
    ReportBlock,
    ReportRefused,
    Timer,
)
from tallystick.node.limits import Limits

GENESIS = found(epoch_blocks=1_000)
BLOCKS = 4


@pytest.fixture
def scribe():
    """Four blocks with a certificate each, a second apart: the chain names all of them."""
    scribe = FinalScribe(GENESIS)
    for number in range(BLOCKS):
        one = statement(f"no. {number}", ledger=GENESIS.ledger_id)
        scribe.forge(one, timestamp_ms=scribe.state.tip.timestamp_ms + 1_000)
    return scribe


def roots(scribe):
    """By size of the log."""
    return {state.log.size: state.log.root() for state in states(scribe)}


def states(scribe):
    replay = FinalScribe(scribe.genesis)
    for block in scribe.blocks:
        replay.chain.append(block)
        yield replay.state


def bench_at(scribe, index, owner=ADA, **more):
    """A member that has so many of the blocks; it knows that it signed its own."""
    archive = MemoryArchive()
    for kept in scribe.kept[:index]:
        archive.append(kept)
    return MemberBench(owner, GENESIS, **{"archive": archive, "records": [Floor(GENESIS.ledger_id, 0, 99)], **more})


def cosigned(scribe, member, size, *, root=None, time_s=None):
    return cosign(member, Checkpoint(GENESIS.origin, size, root or roots(scribe)[size]), time_s or now_s(scribe))


def now_s(scribe):
    return scribe.state.tip.timestamp_ms // 1000


def tell(bench, *cosignatures, peer="x"):
    return bench.receive(Cosignatures(cosignatures), peer)


def follow(bench, scribe, index):
    """The peer "x" has the next blocks."""
    tip = scribe.blocks[index - 1]
    heard = bench.receive(Status(GENESIS.ledger_id, 0, index, tip.hash, ()))
    start = bench.node.state.index + 1
    finalization = scribe.archive.finalization(index)
    return heard + bench.receive(Blocks(start, tuple(scribe.blocks[start - 1 : index]), (), finalization))


def members_of(bench):
    found = bench.node.checkpoint
    return {one.member for one in found.cosignatures} if found else set()


def test_more_than_two_thirds_of_the_stake_countersign_a_checkpoint_and_later_ones_join_them(scribe):
    bench = bench_at(scribe, 2)
    for voter, others in ((BEN, set()), (CY, set()), (DOT, {BEN, CY, DOT})):
        assert rules(tell(bench, cosigned(scribe, voter, 2))) == []
        assert members_of(bench) == {one.public_key for one in others}
    assert bench.node.checkpoint.state == bench.node.state
    bench.wait(1_000, Timer.CHECKPOINT)
    assert members_of(bench) == {one.public_key for one in MEMBERS.values()}
    keys = [one.member for one in bench.node.checkpoint.cosignatures]
    assert keys == sorted(keys)


def test_what_is_new_goes_along_the_tree_and_not_back_and_is_not_verified_twice(scribe):
    bench = bench_at(scribe, 2)
    bench.receive(CertificateRequest(()), "y")
    actions = tell(bench, cosigned(scribe, BEN, 2))
    assert [one.peers for one in of_kind(Multicast, actions)] == [("y",)]
    bench.verified.clear()
    assert sent(Cosignatures, tell(bench, cosigned(scribe, BEN, 2), peer="y")) == []
    assert bench.verified == []


@pytest.mark.parametrize("which", ["signature", "log_signature"])
def test_one_that_its_member_did_not_sign_takes_no_other_with_it_and_blames_nobody(scribe, which):
    bench = bench_at(scribe, 2)
    bad, good = replace(cosigned(scribe, BEN, 2), **{which: bytes(64)}), cosigned(scribe, CY, 2)
    actions = tell(bench, bad, good)
    assert rules(actions) == [Rule.N10]
    assert cut_off(actions) == set()
    assert [one for said in sent(Cosignatures, actions) for one in said.cosignatures] == [good]


def test_another_root_of_the_same_size_is_told_and_never_counts(scribe):
    bench = bench_at(scribe, 2)
    strange = [cosigned(scribe, one, 2, root=b"r" * 32) for one in (BEN, CY, DOT)]
    assert [rules(tell(bench, one)) for one in strange] == [[Rule.N10]] * 3
    actions = tell(bench, *strange)
    assert rules(actions) == [Rule.N10], "one a message"
    assert "another log of 2 certificates" in str(of_kind(ReportRefused, actions)[0].refused)
    assert sent(Cosignatures, actions) == []
    assert cut_off(actions) == set()
    bench.wait(1_000, Timer.CHECKPOINT)
    assert bench.node.checkpoint is None


@pytest.mark.parametrize("is_other", [False, True])
def test_one_of_a_larger_log_is_looked_at_when_the_node_gets_there(scribe, is_other):
    bench = bench_at(scribe, 2)
    bench.receive(CertificateRequest(()), "y")
    ahead = [cosigned(scribe, one, 4, root=b"r" * 32 if is_other else None) for one in (BEN, CY, DOT)]
    assert sent(Cosignatures, tell(bench, *ahead)) == []
    bench.verified.clear()
    tell(bench, *ahead)
    assert bench.verified == [], "one a member is held"
    actions = follow(bench, scribe, 4)
    assert rules(actions) == ([Rule.N10] * 3 if is_other else [])
    if is_other:
        assert bench.node.checkpoint is None
    else:
        assert members_of(bench) >= {one.public_key for one in (BEN, CY, DOT)}
        passed_on = [one for one in of_kind(Multicast, actions) if isinstance(one.message, Cosignatures)]
        assert [set(one.message.cosignatures) for one in passed_on] == [set(ahead)]


def test_what_does_not_count_is_not_verified(scribe):
    bench = bench_at(scribe, 3)
    bench.wait(1_000, Timer.CHECKPOINT)
    time_s = now_s(scribe)
    tell(bench, cosigned(scribe, BEN, 3, time_s=time_s))
    bench.verified.clear()
    for one in (
        cosigned(scribe, STRANGER, 3),
        cosigned(scribe, STRANGER, 4),
        cosigned(scribe, CY, 1),
        cosigned(scribe, BEN, 3, time_s=time_s - 1),
        cosigned(scribe, BEN, 3, time_s=time_s + ANEW_AFTER_S - 1),
    ):
        assert rules(tell(bench, one)) == []
    assert bench.verified == []
    bench.now_ms += 1_000 * ANEW_AFTER_S
    later = cosigned(scribe, BEN, 3, time_s=time_s + ANEW_AFTER_S)
    bench.receive(CertificateRequest(()), "y")
    assert sent(Cosignatures, tell(bench, later)) == [Cosignatures((later,))]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"signature": bytes(64)}, [Rule.N10]),
        ({"root": b"r" * 32}, [Rule.N10]),
        ({"time_s": 2**42}, [Rule.N12]),
    ],
)
def test_a_thousand_equal_ones_are_verified_and_refused_once(scribe, change, expected):
    bench = bench_at(scribe, 2)
    bench.receive(CertificateRequest(()), "y")
    one = cosigned(scribe, BEN, 2, root=change.get("root"), time_s=change.get("time_s"))
    one = replace(one, signature=change.get("signature", one.signature))
    actions = tell(bench, *[one] * 1_024)
    assert rules(actions) == expected
    assert len(bench.verified) <= 2, "its two signatures"
    assert [said.cosignatures for said in sent(Cosignatures, actions)] == ([] if expected else [(one,)])


def test_one_refusal_a_message_is_told_and_each_message_says_one_time_a_member_and_size(scribe):
    bench = bench_at(scribe, 2)
    bad = [replace(cosigned(scribe, one, 2), signature=bytes(64)) for one in (BEN, CY, DOT)]
    assert rules(tell(bench, *bad)) == [Rule.N10]
    later = [cosigned(scribe, BEN, 2, time_s=ANEW_AFTER_S * minute) for minute in range(1, 9)]
    (said,) = sent(Cosignatures, [*bench.receive(CertificateRequest(()), "y"), *tell(bench, *later)])
    assert said.cosignatures == (later[0],)


def test_whatever_times_a_member_claims_it_is_heard_once_a_minute_of_the_nodes_own(scribe):
    bench = bench_at(scribe, 2)
    bench.receive(CertificateRequest(()), "y")

    def heard(first, count):
        told = [cosigned(scribe, BEN, 2, time_s=ANEW_AFTER_S * (first + place)) for place in range(count)]
        passed_on = [said for each in told for said in sent(Cosignatures, tell(bench, each))]
        return [one for said in passed_on for one in said.cosignatures if one.member == BEN.public_key]

    assert len(heard(1, 100)) == 5, "the first, and what is saved up for peers that tell older ones"
    bench.now_ms += 1_000 * ANEW_AFTER_S
    assert len(heard(101, 100)) == 1
    bench.now_ms += 10_000 * ANEW_AFTER_S
    assert len(heard(201, 100)) == 4
    assert [one.time_s for one in heard(401, 1)] == []
    bench.now_ms += 1_000 * ANEW_AFTER_S
    assert len(heard(501, 1)) == 1
    assert len(sent(Cosignatures, tell(bench, cosigned(scribe, CY, 2)))) == 1, "others are heard as well"


def test_one_that_is_dated_in_the_future_does_not_count(scribe):
    bench = bench_at(scribe, 2)
    now = bench.now_ms // 1000
    for member, ahead_s, expected in ((BEN, MAX_AHEAD_S, []), (CY, MAX_AHEAD_S + 1, [Rule.N12])):
        for size in (2, 3):
            actions = tell(bench, cosigned(scribe, member, size, time_s=now + ahead_s))
            assert rules(actions) == expected, size
            assert cut_off(actions) == set()


def test_a_peer_tells_no_more_than_its_allowance(scribe):
    bench = bench_at(scribe, 2, limits=Limits(cosignatures_per_second=1))
    allowances = bench.node._checkpoints._allowances
    while allowances.take(bench.now_ms, "x"):
        pass
    assert rules(tell(bench, cosigned(scribe, BEN, 2), cosigned(scribe, CY, 2))) == [Rule.N11]
    assert rules(tell(bench, cosigned(scribe, BEN, 2), peer="y")) == []
    bench.now_ms += 1_000
    assert rules(tell(bench, cosigned(scribe, CY, 2))) == []


# ---- the own part ---------------------------------------------------------------------------------------------------


def test_of_several_blocks_that_become_final_at_once_only_the_newest_is_cosigned_and_synced_before_it_leaves(scribe):
    bench = bench_at(scribe, 0)
    final = follow(bench, scribe, 4)
    actions = bench.wait(_ANSWERS_FIRST_MS, Timer.CHECKPOINT)
    (said,) = [one for said in sent(Cosignatures, actions) for one in said.cosignatures]
    assert (said.size, said.root, said.member) == (4, roots(scribe)[4], ADA.public_key)
    assert said.is_signed(GENESIS.origin)
    kinds = [type(one) for one in [*final, *actions] if isinstance(one, PersistSigned | PersistBlock)]
    assert kinds == [PersistBlock] * 4 + [PersistSigned]
    synced = next(place for place, one in enumerate(actions) if isinstance(one, PersistSigned))
    left = next(p for p, one in enumerate(actions) if isinstance(getattr(one, "message", None), Cosignatures))
    assert synced < left
    assert actions[synced].records[-1] == Cosigned(GENESIS.ledger_id, 4, said.root, said.time_s)


def test_who_waits_for_a_block_is_told_before_the_guard_is_synced_for_its_cosignature(scribe):
    bench = bench_at(scribe, 3)
    final = follow(bench, scribe, 4)
    assert of_kind((ReportBlock, PersistSigned), final) == of_kind(ReportBlock, final) != []
    early = bench.wait(_ANSWERS_FIRST_MS - 1, Timer.CHECKPOINT)
    assert of_kind(PersistSigned, early) == []
    assert of_kind(PersistSigned, bench.wait(1, Timer.CHECKPOINT)) != []


def test_nothing_is_cosigned_while_a_peer_has_more_blocks_and_the_newest_named_one_is_when_they_came(scribe):
    bench = bench_at(scribe, 2)
    behind = bench.receive(Status(GENESIS.ledger_id, 0, 4, scribe.blocks[3].hash, ()))
    behind += bench.wait(1_000, Timer.CHECKPOINT)
    behind += bench.handle(FreshCheckpointAsked())
    finalization = scribe.archive.finalization(3)
    behind += bench.receive(Blocks(3, (scribe.blocks[2],), (), finalization)) if finalization else []
    behind += bench.wait(500, Timer.CHECKPOINT)
    assert sent(Cosignatures, behind) == []
    follow(bench, scribe, 4)
    (said,) = sent(Cosignatures, bench.wait(_ANSWERS_FIRST_MS, Timer.CHECKPOINT))
    assert said.cosignatures[0].size == 4


def test_a_peer_that_claims_more_blocks_and_sends_none_does_not_keep_a_member_from_cosigning(scribe):
    bench = bench_at(scribe, 2)
    bench.receive(Status(GENESIS.ledger_id, 0, 9, b"b" * 32, ()))
    assert sent(Cosignatures, bench.wait(1_000, Timer.CHECKPOINT)) == []
    (said,) = sent(Cosignatures, bench.wait(5_000, Timer.SYNC))
    assert said.cosignatures[0].size == 2


def asked(bench, duration_ms):
    """How often a node asks its peers to tell, and to cosign, while so long nothing else happens."""
    return len(sent(CosignatureRequest, bench.wait(duration_ms, Timer.CHECKPOINT)))


@pytest.mark.parametrize("told", [[BEN], []], ids=["one cosigned", "none heard"])
def test_what_a_tip_lacks_of_a_quorum_is_asked_for_three_times_a_minute_apart_and_so_it_is_of_the_next(scribe, told):
    delta_ms = GENESIS.params.delta_ms
    bench = bench_at(scribe, 2, None)
    bench.handle(PeerConnected("x"))
    for index in (2, 3):
        for one in told:
            tell(bench, cosigned(scribe, one, index))
        assert asked(bench, 3 * delta_ms - 1) == 0
        for _ in range(3):
            assert asked(bench, 1) == 1
            assert asked(bench, 1_000 * ANEW_AFTER_S - 1) == 0
        assert asked(bench, 600_000) == 0, "then there is silence: its members may be down for ever"
        follow(bench, scribe, index + 1)
    tell(bench, *(cosigned(scribe, one, 4) for one in (BEN, CY, DOT)))
    assert asked(bench, 600_000) == 0, "it has a quorum"


def test_nobody_is_asked_more_than_once_a_minute_nor_for_blocks_that_a_liar_claims(scribe):
    delta_ms = GENESIS.params.delta_ms
    bench = bench_at(scribe, 2, None)
    bench.handle(PeerConnected("x"))
    assert asked(bench, 3 * delta_ms) == 1
    follow(bench, scribe, 3)
    assert asked(bench, 1_000 * ANEW_AFTER_S - 1) == 0
    assert asked(bench, 600_000) == 3
    for tip in range(5, 60):
        bench.receive(Status(GENESIS.ledger_id, 0, tip, bytes(32), ()), f"liar {tip}")
        bench.handle(PeerDisconnected(f"liar {tip}"))
        assert asked(bench, 1_000) == 0
    assert asked(bench, 600_000) == 0


def test_where_one_forges_alone_nobody_is_asked():
    scribe = Scribe()
    bench = Bench(blocks=[scribe.forge(statement())])
    bench.handle(PeerConnected("x"))
    assert asked(bench, 600_000) == 0


def test_who_fetched_a_tip_that_it_knows_to_be_countersigned_asks_nobody(scribe):
    bench = bench_at(scribe, 2, None)
    tell(bench, *(cosigned(scribe, one, 4) for one in (BEN, CY, DOT)))
    follow(bench, scribe, 4)
    assert bench.node.checkpoint is not None
    assert sent(CosignatureRequest, bench.wait(600_000, Timer.CHECKPOINT)) == []


@pytest.mark.parametrize("owner", [STRANGER, None])
def test_nobody_but_members_cosigns(scribe, owner):
    bench = bench_at(scribe, 2, owner)
    actions = follow(bench, scribe, 4) + bench.wait(10_000, Timer.CHECKPOINT)
    assert len(of_kind(PersistBlock, actions)) == 2
    assert sent(Cosignatures, actions) == []


def test_a_key_that_lost_its_guard_cosigns_nothing(scribe):
    bench = bench_at(scribe, 2, records=[Lost(None)])
    actions = follow(bench, scribe, 4) + bench.wait(10_000, Timer.CHECKPOINT)
    assert sent(Cosignatures, actions) == []


def test_the_tip_is_cosigned_when_nothing_has_waited_for_delta(scribe):
    delta_ms = GENESIS.params.delta_ms
    bench = bench_at(scribe, 2)
    assert sent(Cosignatures, bench.wait(delta_ms - 1, Timer.CHECKPOINT)) == []
    bench.submit(statement("waits", ledger=GENESIS.ledger_id))
    assert sent(Cosignatures, bench.wait(10_000, Timer.CHECKPOINT)) == []
    bench = bench_at(scribe, 2)
    (said,) = sent(Cosignatures, bench.wait(delta_ms, Timer.CHECKPOINT))
    assert said.cosignatures[0].size == 2
    assert sent(Cosignatures, bench.wait(600_000, Timer.CHECKPOINT)) == [], "then there is silence"


def test_an_idle_tip_is_cosigned_anew_a_minute_later_when_somebody_asks(scribe):
    bench = bench_at(scribe, 2)
    (first,) = sent(Cosignatures, bench.wait(1_000, Timer.CHECKPOINT))
    asked = bench.receive(CosignatureRequest())
    assert sent(Cosignatures, asked) == [first], "a peer is told what is at hand"
    assert len(sent(CosignatureRequest, asked)) == 1
    assert sent(CosignatureRequest | Cosignatures, bench.handle(FreshCheckpointAsked())) == []
    bench.now_ms += 1_000 * ANEW_AFTER_S
    asked = bench.handle(FreshCheckpointAsked())
    assert len(sent(CosignatureRequest, asked)) == 1
    (said,) = [one for said in sent(Cosignatures, asked) for one in said.cosignatures]
    assert said.time_s == bench.now_ms // 1000
    bench.receive(CertificateRequest(()), "y")


def test_who_connects_is_told_what_is_at_hand(scribe):
    bench = bench_at(scribe, 2)
    heard = {cosigned(scribe, one, 2) for one in (BEN, CY, DOT)}
    tell(bench, *heard)
    (said,) = sent(Cosignatures, bench.handle(PeerConnected("z")))
    assert set(said.cosignatures) == heard


# ---- what is held and kept ------------------------------------------------------------------------------------------


def test_it_is_kept_with_the_next_block_or_after_delta_and_counts_after_a_restart(scribe):
    bench = bench_at(scribe, 3)
    for one in (BEN, CY, DOT):
        assert of_kind(PersistCosignatures, tell(bench, cosigned(scribe, one, 3))) == []
    actions = follow(bench, scribe, 4)
    places = [type(one) for one in actions if isinstance(one, PersistCosignatures | PersistBlock)]
    assert places == [PersistCosignatures, PersistBlock]
    (kept,) = of_kind(PersistCosignatures, actions)
    assert {one.member for one in kept.cosignatures} == {one.public_key for one in (BEN, CY, DOT)}
    assert kept.since == 3
    for one in (BEN, CY, DOT):
        tell(bench, cosigned(scribe, one, 4))
    delta_ms = GENESIS.params.delta_ms
    (later,) = of_kind(PersistCosignatures, bench.wait(delta_ms, Timer.CHECKPOINT))
    assert later.since == 4
    archive = bench_at(scribe, 4).archive
    for one in (kept, later):
        archive.keep_cosignatures(one)
    assert {one.size for one in archive.cosignatures()} == {4}
    again = bench_at(scribe, 4, archive=archive)
    assert again.node.checkpoint == bench.node.checkpoint
    assert len(members_of(again)) == 4


@pytest.mark.parametrize("change", [{"signature": bytes(64)}, {"root": bytes(32)}, {"member": STRANGER.public_key}])
def test_a_kept_one_that_was_altered_does_not_count(scribe, change):
    bench = bench_at(scribe, 2)
    kept = [cosigned(scribe, one, 2) for one in (BEN, CY, DOT)]
    bench.archive.keep_cosignatures(PersistCosignatures((replace(kept[0], **change), *kept[1:]), 0))
    assert MemberBench(None, GENESIS, archive=bench.archive).node.checkpoint is None


def test_only_a_few_states_are_held_however_long_no_quorum_cosigns():
    scribe = FinalScribe(GENESIS)
    bench = bench_at(scribe, 0)
    kept = MemoryArchive()
    for number in range(1, 60):
        one = statement(f"no. {number}", ledger=GENESIS.ledger_id)
        scribe.forge(one, timestamp_ms=scribe.state.tip.timestamp_ms + 1_000)
        bench.now_ms = scribe.state.tip.timestamp_ms
        actions = follow(bench, scribe, number) + tell(bench, cosigned_by(scribe, BEN))
        for change in of_kind(PersistCosignatures, actions):
            kept.keep_cosignatures(change)
    assert len(bench.node._checkpoints._candidates) <= 10
    assert len(list(kept.cosignatures())) <= 20
    assert len(bench.node._checkpoints._unkept) <= 20


def cosigned_by(scribe, member):
    return cosign(member, Checkpoint(GENESIS.origin, scribe.state.log.size, scribe.state.log.root()), now_s(scribe))
