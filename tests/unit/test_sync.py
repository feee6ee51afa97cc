"""Catching up: who is asked for what, what is set aside for whom, and how liars and stallers are got round."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import GENESIS, FinalScribe, Scribe, found, refuses, statement

from tallystick.ledger.block import Block
from tallystick.ledger.errors import Rule
from tallystick.ledger.messages import FinalizationRequest, Finalizations, HeaderRequest, Headers
from tallystick.node.finality_proofs import Finality, FinalityProofs, TrustedBlock
from tallystick.node.limits import Limits
from tallystick.node.sync import SetAside, Sync

LIMITS = Limits(range_blocks=10, requests_in_flight=3, set_aside_blocks_per_peer=4)
BLOCKS = Scribe().forge_many(30)


def sync_with(limits=LIMITS, **tips):
    """A lone forger's ledger: what peers have can be asked for at once."""
    sync = Sync(limits, Finality(GENESIS.params, limits.range_blocks))
    for peer, tip in tips.items():
        sync.heard_tip(peer, tip, 0)
    return sync


def asked(sync, tip=0, now_ms=0):
    return [(send.peer, send.message.start, send.message.count) for send in sync.ask(tip, now_ms)]


def block_at(index):
    return BLOCKS[index - 1]


# ---- asking -----------------------------------------------------------------------------------------------------


def test_nothing_is_asked_of_peers_that_are_no_further():
    assert asked(sync_with(), 5) == []
    assert asked(sync_with(x=5, y=3), 5) == []
    assert sync_with(x=5).deadline_ms() is None


def test_the_missing_ranges_are_spread_over_the_peers_that_have_them():
    assert asked(sync_with(x=100, y=100, z=100)) == [("x", 1, 10), ("y", 11, 10), ("z", 21, 10)]
    assert asked(sync_with(x=15, y=100)) == [("x", 1, 10), ("y", 11, 10), ("y", 21, 10)]
    assert asked(sync_with(x=4)) == [("x", 1, 4)]
    assert asked(sync_with(x=3, y=8), 2) == [("x", 3, 1), ("y", 4, 5)]


def test_only_so_many_requests_are_under_way():
    sync = sync_with(x=100)
    assert len(asked(sync)) == LIMITS.requests_in_flight
    assert asked(sync) == []
    assert sync.answered("x", 1, 10, 0)
    sync.added(10)
    assert asked(sync, 10) == [("x", 31, 10)]


def test_ranges_are_as_long_as_fits_an_answer_if_blocks_are_as_large_as_the_last_that_came():
    small, large = block_at(1), Scribe().draft(*[statement(f"{number}") for number in range(40)])
    sync = sync_with(replace(LIMITS, answer_bytes=3 * len(large.encoded)), x=100)
    sync.came([large])
    assert asked(sync) == [("x", 1, 3), ("x", 4, 3), ("x", 7, 3)]
    sync.forget("x")
    sync.heard_tip("x", 100, 0)
    sync.came([large, small])
    assert [count for _, _, count in asked(sync)] == [5, 5, 5]
    sync.added(15)
    sync.came([small])
    assert asked(sync, 15) == [("x", 16, 10), ("x", 26, 10), ("x", 36, 10)]


def test_a_block_larger_than_an_answer_is_asked_for_by_itself():
    sync = sync_with(replace(LIMITS, answer_bytes=1), x=100)
    sync.came([block_at(1)])
    assert asked(sync, 1) == [("x", 2, 1), ("x", 3, 1), ("x", 4, 1)]


def test_however_high_a_tip_a_peer_claims_only_the_nearest_blocks_are_asked_for():
    assert asked(sync_with(liar=2**53 - 1)) == [("liar", 1, 10), ("liar", 11, 10), ("liar", 21, 10)]


def test_a_request_that_ran_out_of_time_goes_to_another():
    sync = sync_with(x=10, y=10)
    assert asked(sync) == [("x", 1, 10)]
    assert sync.deadline_ms() == LIMITS.request_timeout_ms
    sync.expire(LIMITS.request_timeout_ms - 1)
    assert asked(sync, 0, LIMITS.request_timeout_ms - 1) == []
    sync.expire(LIMITS.request_timeout_ms)
    assert asked(sync, 0, LIMITS.request_timeout_ms) == [("y", 1, 10)]


def test_a_peer_that_never_answers_counts_for_nothing_in_the_end_and_the_node_hears_of_it():
    sync, now_ms, requests = sync_with(staller=10), 0, 0
    while sent := asked(sync, 0, now_ms):
        requests += len(sent)
        now_ms += LIMITS.request_timeout_ms
        lost = sync.expire(now_ms)
    assert lost
    assert requests == 5
    sync.heard_tip("staller", 10, 0)
    assert asked(sync, 0, now_ms)


def test_a_peer_that_answers_now_and_then_is_asked_on():
    sync, now_ms, tip = sync_with(slow=1_000), 0, 0
    for _ in range(10):
        asked(sync, tip, now_ms)
        now_ms += LIMITS.request_timeout_ms
        assert not sync.expire(now_ms)
        (_, start, count), *_ = asked(sync, tip, now_ms)
        assert sync.answered("slow", start, count, now_ms)
        tip = start + count - 1
        sync.added(tip)
    assert sync.tip_of("slow") == 1_000


def test_the_time_of_a_request_begins_anew_when_the_one_before_it_was_answered():
    """Answers wait here while the blocks of the first are verified: that is not their sender's fault."""
    sync, timeout_ms = sync_with(x=20, y=30), LIMITS.request_timeout_ms
    assert asked(sync) == [("x", 1, 10), ("y", 11, 10), ("y", 21, 10)]
    sync.answered("y", 11, 10, timeout_ms - 1)
    sync.set_aside("y", SetAside(block_at(11), None))
    assert not sync.expire(timeout_ms)
    assert sync.deadline_ms() == 2 * timeout_ms - 1, "the silence of one is not ended by another's word"
    assert asked(sync, 0, timeout_ms) == [("y", 1, 10), ("y", 12, 9)]


def test_a_request_that_was_passed_over_has_no_more_time():
    """A peer that withholds the nearest blocks holds a joiner up for the time of that request alone."""
    sync, timeout_ms = sync_with(x=30), LIMITS.request_timeout_ms
    assert asked(sync) == [("x", 1, 10), ("x", 11, 10), ("x", 21, 10)]
    sync.heard_tip("y", 10, 0)
    sync.answered("x", 11, 10, timeout_ms - 1)
    assert sync.deadline_ms() == timeout_ms
    sync.expire(timeout_ms)
    assert asked(sync, 0, timeout_ms)[0] == ("y", 1, 10)
    assert not sync.expire(2 * timeout_ms - 2), "what comes after it has"


def test_an_answer_that_passed_an_earlier_request_over_is_no_merit():
    sync, timeout_ms = sync_with(replace(LIMITS, requests_in_flight=8), x=30), LIMITS.request_timeout_ms
    asked(sync)
    sync.expire(timeout_ms)
    asked(sync, 0, timeout_ms)
    sync.heard_tip("y", 60, 0)
    assert len(asked(sync, 0, timeout_ms)) == 3, "y has more to do than x from here on"
    sync.answered("x", 11, 10, timeout_ms + 1)
    assert asked(sync, 0, timeout_ms + 1) == [("y", 11, 10)]
    sync.answered("x", 1, 10, timeout_ms + 2)
    assert asked(sync, 0, timeout_ms + 2) == [("x", 1, 10)]


def test_what_a_lost_peer_was_asked_is_asked_elsewhere():
    sync = sync_with(x=20, y=20)
    assert asked(sync) == [("x", 1, 10), ("y", 11, 10)]
    sync.set_aside("x", SetAside(block_at(15), None))
    sync.forget("x")
    assert sync.set_aside_count == 0
    assert asked(sync) == [("y", 1, 10)]
    sync.forget("never heard of")


def test_only_what_was_asked_is_an_answer_and_only_once():
    sync = sync_with(x=10)
    asked(sync)
    for peer, start in (("y", 1), ("x", 2), ("x", 0)):
        assert not sync.answered(peer, start, 10, 0)
    assert sync.answered("x", 1, 10, 0)
    assert not sync.answered("x", 1, 10, 0)


def test_the_best_index_follows_what_peers_tell_and_what_is_taken_back():
    sync = sync_with(liar=1_000, y=5)
    assert (sync.best_index, sync.is_behind(5, 0)) == (1_000, True)
    sync.distrust("liar", 0)
    assert (sync.best_index, sync.is_behind(5, 0)) == (5, False)
    sync.heard_tip("y", 7, 0)
    assert (sync.best_index, sync.is_behind(5, 0)) == (7, True)
    sync.forget("y")
    assert (sync.best_index, sync.is_behind(5, 0)) == (0, False)


def test_an_empty_answer_takes_back_what_the_peer_claimed():
    sync = sync_with(liar=1_000, y=5)
    assert asked(sync)[0] == ("liar", 1, 10)
    assert sync.answered("liar", 1, 0, 0)
    assert ("y", 1, 5) in asked(sync)


def test_empty_answers_in_any_order_never_raise_a_claim_again():
    sync = sync_with(liar=1_000)
    requests, answers = asked(sync), 0
    while requests and answers < 100:
        peer, start, _ = requests.pop(0)
        sync.answered(peer, start, 0, 0)
        requests += asked(sync)
        answers += 1
    assert answers == 3


def test_blocks_that_came_otherwise_end_the_request_for_them():
    sync = sync_with(x=10)
    asked(sync)
    sync.added(9)
    assert sync.deadline_ms() is not None
    sync.added(10)
    assert sync.deadline_ms() is None


def test_set_aside_blocks_are_not_asked_for():
    sync = sync_with(x=10)
    sync.set_aside("x", SetAside(block_at(4), None))
    sync.set_aside("x", SetAside(block_at(5), None))
    assert asked(sync) == [("x", 1, 3), ("x", 6, 5)]


def test_a_distrusted_peer_is_asked_again_when_it_told_its_tip_anew_and_time_has_passed():
    sync = sync_with(x=10)
    sync.set_aside("x", SetAside(block_at(4), None))
    sync.distrust("x", 0)
    sync.distrust("never heard of", 0)
    assert sync.set_aside_count == 0
    assert asked(sync, 0, LIMITS.request_timeout_ms) == []
    sync.heard_tip("x", 10, 0)
    assert asked(sync, 0, LIMITS.request_timeout_ms - 1) == []
    assert asked(sync, 0, LIMITS.request_timeout_ms) == [("x", 1, 10)]


# ---- proof comes first --------------------------------------------------------------------------------------------


EPOCH_BLOCKS = 4


@pytest.fixture(scope="module")
def chain():
    scribe = FinalScribe(found(epoch_blocks=EPOCH_BLOCKS))
    scribe.forge_many(18)
    return scribe


def simplex_sync(chain, trusted_block=None, limits=LIMITS, **claims):
    """Each peer claims a tip and the epoch of the block after it."""
    finality = FinalityProofs(FinalScribe(chain.genesis).state, limits.range_blocks, trusted_block)
    sync = Sync(limits, finality)
    for peer, (tip, epoch) in claims.items():
        sync.heard_tip(peer, tip, epoch)
    return sync, finality


def questions(sync, now_ms=0):
    sends = sync.ask(0, now_ms)
    kinds = (FinalizationRequest, HeaderRequest)
    asked = [(send.peer, send.message) for send in sends if isinstance(send.message, kinds)]
    return asked, [(send.peer, send.message.start, send.message.count) for send in sends[len(asked) :]]


def prove(sync, finality, peer, *proofs):
    """The peer's answer comes, as the node takes it."""
    assert sync.proof_answered(peer, Finalizations(proofs))
    if not finality.take(Finalizations(proofs)):
        sync.proved(peer)


def test_within_the_own_epoch_nothing_has_to_be_proven_first(chain):
    sync, _ = simplex_sync(chain, x=(3, 0))
    assert questions(sync) == ([], [("x", 1, 3)])


def test_one_peer_whose_chain_is_in_a_later_epoch_is_asked_for_proof_before_blocks(chain):
    sync, finality = simplex_sync(chain, x=(3, 0), y=(18, 4), z=(18, 4))
    assert questions(sync) == ([("y", FinalizationRequest(0))], [("x", 1, 3)])
    assert questions(sync) == ([], [])
    prove(sync, finality, "y", *chain.proofs(4, 8))
    assert questions(sync) == ([("y", FinalizationRequest(2))], [("y", 4, 1), ("z", 5, 4)])
    assert sync.answered("x", 1, 3, 0)
    prove(sync, finality, "y", *chain.proofs(12, 16, 18))
    assert questions(sync) == ([], [("x", 1, 3)])
    assert sync.answered("z", 5, 4, 0)
    sync.added(8)
    assert [send.message.start for send in sync.ask(8, 0)] == [9, 11, 13]


def test_only_the_answer_to_the_question_ends_it(chain):
    sync, finality = simplex_sync(chain, x=(18, 4), y=(18, 4))
    sync.ask(0, 0)
    for peer, proof in (
        ("y", Finalizations(chain.proofs(4))),
        ("x", Finalizations(chain.proofs(8))),
        ("x", Headers((chain.blocks[0].header,))),
        ("never heard of", Finalizations(())),
    ):
        assert not sync.proof_answered(peer, proof)
    assert sync.deadline_ms() == LIMITS.request_timeout_ms
    prove(sync, finality, "x", *chain.proofs(4))
    assert not sync.proof_answered("x", Finalizations(chain.proofs(4)))
    assert questions(sync)[0] == [("x", FinalizationRequest(1))]


def test_what_a_peer_cannot_prove_it_is_not_asked_for(chain):
    sync, finality = simplex_sync(chain, liar=(1_000, 9), x=(18, 4))
    assert questions(sync)[0] == [("liar", FinalizationRequest(0))]
    prove(sync, finality, "liar")
    assert questions(sync)[0] == [("x", FinalizationRequest(0))]
    prove(sync, finality, "x", *chain.proofs(4, 8, 12, 16, 18))
    asked, blocks = questions(sync)
    assert asked == []
    assert {peer for peer, _, _ in blocks} == {"x"}
    assert sync.tip_of("liar") == 0
    sync.heard_tip("liar", 1_000, 9)
    assert questions(sync)[0] == [("liar", FinalizationRequest(4))]
    prove(sync, finality, "liar", *chain.proofs(18))
    assert sync.tip_of("liar") == 16


def test_a_peer_that_tells_an_earlier_place_late_takes_back_nothing(chain):
    sync, _ = simplex_sync(chain, x=(18, 4))
    sync.heard_tip("x", 3, 0)
    assert questions(sync)[0] == [("x", FinalizationRequest(0))]
    assert sync.tip_of("x") == 18


def test_a_question_that_is_not_answered_goes_to_another(chain):
    sync, _ = simplex_sync(chain, x=(18, 4), y=(18, 4))
    assert questions(sync)[0] == [("x", FinalizationRequest(0))]
    sync.expire(LIMITS.request_timeout_ms)
    assert questions(sync, LIMITS.request_timeout_ms)[0] == [("y", FinalizationRequest(0))]
    sync.forget("y")
    assert questions(sync, LIMITS.request_timeout_ms)[0] == [("x", FinalizationRequest(0))]


def test_an_epoch_that_was_claimed_and_taken_back_is_not_asked_about_again(chain):
    """By an empty answer, by blocks that did not fit, and by silence."""
    for take_back in (lambda sync: sync.answered("x", 1, 0, 0), lambda sync: sync.distrust("x", 0)):
        sync, finality = simplex_sync(chain, x=(18, 4))
        sync.ask(0, 0)
        prove(sync, finality, "x", *chain.proofs(4))
        assert questions(sync)[0] == [("x", FinalizationRequest(1))]
        assert sync.proof_answered("x", Finalizations(()))
        take_back(sync)
        assert sync.ask(0, LIMITS.request_timeout_ms) == []


def test_below_a_trusted_block_headers_are_asked_of_who_reaches_it(chain):
    trusted_block = TrustedBlock(17, chain.blocks[16].hash)
    sync, finality = simplex_sync(chain, trusted_block, replace(LIMITS, answer_bytes=1), x=(16, 4), y=(18, 4))
    assert questions(sync) == ([("y", HeaderRequest(17, 17))], [])
    proof = Headers(tuple(block.header for block in chain.blocks[:17]))
    for other in (Headers(proof.headers[:-1]), Finalizations(())):
        assert not sync.proof_answered("y", other)
    assert sync.proof_answered("y", proof)
    assert finality.take(proof)
    sync.came(chain.blocks[:1])
    assert questions(sync) == ([], [("x", 1, 4), ("y", 5, 4), ("x", 9, 2)]), "where a range ends is what proves it"


# ---- setting aside ----------------------------------------------------------------------------------------------


def test_set_aside_blocks_come_back_when_their_turn_comes():
    sync, rival = sync_with(), Scribe().draft(statement("rival"), index=3)
    sync.set_aside("x", SetAside(block_at(3), None))
    sync.set_aside("y", SetAside(rival, None))
    sync.set_aside("x", SetAside(block_at(4), None))
    assert sync.set_aside_count == 3
    assert sync.take(2) == []
    assert sorted(sync.take(3), key=lambda one: one[0]) == [
        ("x", SetAside(block_at(3), None)),
        ("y", SetAside(rival, None)),
    ]
    assert sync.take(3) == []
    assert sync.set_aside_count == 1
    sync.added(4)
    assert sync.set_aside_count == 0


def test_a_peers_far_blocks_make_way_for_its_nearer_ones_and_never_for_anothers():
    sync = sync_with()
    sync.set_aside("other", SetAside(block_at(29), None))
    for index in range(20, 1, -1):
        sync.set_aside("x", SetAside(block_at(index), None))
        assert sync.set_aside_count <= LIMITS.set_aside_blocks_per_peer + 1
    kept = [index for index in range(2, 31) if sync.take(index)]
    assert kept == [2, 3, 4, 5, 29]


def test_a_block_beyond_the_senders_share_is_refused():
    sync = sync_with()
    for index in range(2, 6):
        sync.set_aside("x", SetAside(block_at(index), None))
    with refuses(Rule.N2):
        sync.set_aside("x", SetAside(block_at(6), None))
    assert [index for index in range(2, 31) if sync.take(index)] == [2, 3, 4, 5]


def test_bytes_set_aside_are_bounded_too():
    size = max(len(block.encoded) for block in BLOCKS)
    sync = sync_with(Limits(set_aside_bytes_per_peer=3 * size))
    for index in range(30, 1, -1):
        sync.set_aside("x", SetAside(block_at(index), None))
        assert sync.set_aside_count <= 3
    with refuses(Rule.N2):
        sync.set_aside("x", SetAside(block_at(9), None))


@pytest.mark.parametrize("index", [3, 7, 9], ids=["nearest", "between", "furthest"])
def test_a_refused_block_leaves_what_was_set_aside(index):
    blocks = {one: block_at(one) for one in (3, 7, 9)}
    sync = sync_with(Limits(set_aside_bytes_per_peer=sum(len(block.encoded) for block in blocks.values())))
    for block in blocks.values():
        sync.set_aside("x", SetAside(block, None))
    huge = Scribe().draft(*[statement(f"{number}") for number in range(20)], index=index)
    with refuses(Rule.N2):
        sync.set_aside("x", SetAside(huge, None))
    assert [sync.take(one) for one in blocks] == [[("x", SetAside(block, None))] for block in blocks.values()]


def test_one_block_an_index_and_peer_is_kept():
    sync = sync_with()
    for number in range(50):
        sync.set_aside("x", SetAside(Scribe().draft(statement(f"{number}"), index=7), None))
    assert sync.set_aside_count == 1
    ((peer, aside),) = sync.take(7)
    assert (peer, aside.block.certificates) == ("x", (statement("49"),))


VARIANTS = [Scribe().draft(statement("x" * 40 * size), index=index) for index in range(1, 7) for size in range(3)]


@given(st.lists(st.sampled_from(VARIANTS) | st.integers(1, 6) | st.just("distrust"), max_size=40))
def test_a_share_is_what_its_bounds_leave_whatever_came_and_went(happened):
    """Against the rule worked out anew for every block: the furthest make way, a block that is furthest is refused."""
    limits = Limits(set_aside_blocks_per_peer=4, set_aside_bytes_per_peer=3 * len(VARIANTS[1].encoded))
    sync = sync_with(limits, x=0)
    kept: dict[int, Block] = {}
    for one in happened:
        if one == "distrust":
            sync.distrust("x", 0)
            kept = {}
        elif isinstance(one, int):
            assert [aside.block for _, aside in sync.take(one)] == ([kept.pop(one)] if one in kept else [])
        else:
            left = {**kept, one.index: one}
            while len(left) > 4 or sum(len(block.encoded) for block in left.values()) > limits.set_aside_bytes_per_peer:
                del left[max(left)]
            if one.index in left:
                sync.set_aside("x", SetAside(one, None))
                kept = left
            else:
                with refuses(Rule.N2):
                    sync.set_aside("x", SetAside(one, None))
        assert sync.set_aside_count == len(kept)
    assert {index: aside.block for index in range(1, 7) for _, aside in sync.take(index)} == kept
