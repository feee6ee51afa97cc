"""Votes that come when their view is over: looked up in what is kept, and verified only where that proves something."""

import pytest
from msgspec.structs import replace
from tests.builders import GENESIS, LEDGER, MEMBERS, STRANGER, FinalScribe, found, of_kind, rules, vote
from tests.member_bench import LEADER, OTHERS, OWNER, MemberBench, certificate

from tallystick.consensus.agreement import Equivocation
from tallystick.ledger.errors import Rule
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, tally_of
from tallystick.network.archiving import carry_out
from tallystick.network.memory_archive import MemoryArchive
from tallystick.node.events import PersistFinalization, ReadVotes, VotesRead
from tallystick.node.late_votes import LateVotes

ACCUSED = OTHERS[0]
KEPT = vote(NOTARIZE, b"a" * 32, ACCUSED)
LATE = vote(NOTARIZE, b"b" * 32, ACCUSED)
HARMLESS = vote(FINALIZE, b"a" * 32, ACCUSED)


def late_bench(**more):
    """A member that is in view 20, and has kept a vote of view 1."""
    kept = MemoryArchive()
    kept.keep_votes([tally_of([KEPT])], [])
    bench = MemberBench(archive=kept, **more)
    bench.hear(*certificate(NULLIFY, view=19))
    bench.verified.clear()
    return bench


def read(bench, actions):
    """Have the host read what is kept, as it was asked to."""
    done = []
    for late in (one.late for one in of_kind(ReadVotes, actions)):
        kept = bench.archive.votes_of(late.ballot.epoch, late.ballot.view)
        done += bench.handle(VotesRead(late, tuple(kept)))
    return done


def accused(bench):
    return [(one.offender, {one.first, one.second}) for one in bench.node.box.evidence]


# ---- in a node --------------------------------------------------------------------------------------------------


def test_a_late_vote_that_contradicts_a_kept_one_is_evidence():
    bench = late_bench()
    actions = bench.hear(LATE)
    assert of_kind(ReadVotes, actions) == [ReadVotes(tally_of([LATE]))]
    assert bench.verified == [], "not before something kept makes it worth it"
    read(bench, actions)
    assert accused(bench) == [(ACCUSED.public_key, {KEPT, LATE})]


def test_a_false_vote_under_the_signature_of_a_true_one_does_not_hide_it():
    """An accomplice could so keep a forker unconvicted wherever it comes first."""
    poison = replace(vote(NOTARIZE, b"c" * 32, ACCUSED), signature=LATE.signature)
    bench = late_bench()
    for late in (poison, LATE):
        read(bench, bench.hear(late))
    assert accused(bench) == [(ACCUSED.public_key, {KEPT, LATE})]


@pytest.mark.parametrize("late", [HARMLESS, KEPT, replace(LATE, signature=bytes(64)), vote(NULLIFY, member=LEADER)])
def test_a_late_vote_that_contradicts_nothing_or_is_not_signed_is_none(late):
    bench = late_bench()
    read(bench, bench.hear(late))
    assert accused(bench) == []


def test_a_late_finalization_of_another_fork_convicts_all_who_signed_both():
    bench, signed = late_bench(), [vote(NULLIFY, member=one) for one in (LEADER, *OTHERS)]
    bench.archive.keep_votes([tally_of(signed)], [])
    read(bench, bench.hear(*certificate(FINALIZE, b"b" * 32, LEADER, *OTHERS)))
    assert {offender for offender, _ in accused(bench)} == {one.public_key for one in (LEADER, *OTHERS)}


def test_votes_for_a_final_block_and_of_strangers_are_not_looked_up():
    scribe = FinalScribe(GENESIS)
    block = scribe.forge()
    bench = MemberBench(archive=scribe.archive)
    late = [vote(kind, block.hash, ACCUSED) for kind in (NOTARIZE, FINALIZE)]
    late += [vote(NOTARIZE, b"b" * 32, STRANGER), vote(NULLIFY, member=ACCUSED, view=2)]
    assert of_kind(ReadVotes, bench.hear(*late)) == []
    (asked,) = of_kind(ReadVotes, bench.hear(vote(NULLIFY, member=ACCUSED), vote(NULLIFY, member=STRANGER)))
    assert asked.late == tally_of([vote(NULLIFY, member=ACCUSED)])


def test_how_much_is_looked_up_for_a_peer_is_bounded():
    bench = late_bench()
    many = [vote(NOTARIZE, b"b" * 32, ACCUSED, view=view) for view in range(1, 10)]
    asked = [len(of_kind(ReadVotes, bench.hear(*many))) for _ in range(200)]
    assert max(asked) == 4
    assert sum(asked) <= 4 * 2 * bench.node.limits.requests_per_second
    assert len(of_kind(ReadVotes, bench.hear(LATE, peer="y"))) == 1


# ---- which are worth it -----------------------------------------------------------------------------------------


def test_votes_of_an_epoch_whose_evidence_is_over_are_let_go():
    scribe = FinalScribe(found(epoch_blocks=2))
    states = [scribe.state]
    for _ in range(10):
        scribe.forge()
        states.append(scribe.state)
    late = (tally_of([vote(NULLIFY, member=ACCUSED)]),)
    selected = [LateVotes().select(late, state, lambda block_hash: False) for state in states]
    assert selected == [late] * 6 + [()] * 5


def compare(late, kept=(KEPT,), votes=None):
    return list((votes or LateVotes()).compare((tally_of(late),), tuple(tally_of([one]) for one in kept), LEDGER))


def test_a_contradiction_is_found_once():
    votes = LateVotes()
    assert compare([LATE], votes=votes) == [Equivocation(KEPT, LATE)]
    assert compare([LATE], votes=votes) == []


def test_the_first_bad_signature_ends_it_so_a_forged_tally_costs_one():
    """An honest peer has verified all of a tally before it passes it on."""
    members = sorted((LEADER, *OTHERS, OWNER), key=lambda one: one.public_key)
    kept = [vote(NULLIFY, member=one) for one in members]
    late = [vote(FINALIZE, b"b" * 32, one) for one in members]
    assert len(compare(late, kept)) == 4
    late[1] = replace(late[1], signature=bytes(64))
    assert [one.offender for one in compare(late, kept)] == [members[0].public_key]


# ---- for the last block of an epoch ---------------------------------------------------------------------------------

SHORT = found(epoch_blocks=1)
ORDERED = sorted(MEMBERS.values(), key=lambda one: one.public_key)


def ended_bench(*voters, owner=None):
    """A node whose ledger is in its second epoch: the last block of the first was finalized by three of four."""
    scribe = FinalScribe(SHORT)
    epoch, block = scribe.state.epoch, scribe.forge(is_finalized=False)
    kept = replace(scribe.kept[0], finalization=scribe.finalization(epoch, block, *(voters or ORDERED[:3])))
    archive = MemoryArchive()
    archive.append(kept)
    return MemberBench(owner, SHORT, archive=archive), block


def finalizing(block, member, **changes):
    return vote(FINALIZE, block.hash, member, **{"view": block.header.view, "genesis": SHORT, **changes})


def kept_votes(bench, actions):
    """Who finalized the block, as it is kept after this."""
    for one in of_kind(PersistFinalization, actions):
        carry_out(one, bench.archive)
    return [member for member, _ in bench.archive.finalization(1).signatures]


def test_a_late_vote_for_the_last_block_of_an_epoch_joins_what_is_kept_once():
    bench, block = ended_bench()
    late = finalizing(block, ORDERED[3])
    assert kept_votes(bench, bench.hear(late)) == [one.public_key for one in ORDERED]
    assert bench.archive.final_header(1).finalization.ballot == late.ballot
    bench.verified.clear()
    again = bench.hear(late, *(finalizing(block, one) for one in ORDERED), peer="y")
    assert of_kind(PersistFinalization, again) == []
    assert bench.verified == []


def test_after_a_restart_it_does_as_well():
    bench, block = ended_bench(*ORDERED[1:])
    bench = MemberBench(None, SHORT, archive=bench.archive)
    assert kept_votes(bench, bench.hear(finalizing(block, ORDERED[0]))) == [one.public_key for one in ORDERED]


@pytest.mark.parametrize(
    ("member", "changes"),
    [
        (STRANGER, {}),
        (ORDERED[3], {"view": 7}),
        (ORDERED[3], {"epoch": 1}),
    ],
    ids=["a stranger", "another view", "another epoch"],
)
def test_another_vote_does_not(member, changes):
    bench, block = ended_bench()
    assert of_kind(PersistFinalization, bench.hear(finalizing(block, member, **changes))) == []


def test_neither_does_one_that_is_not_signed():
    bench, block = ended_bench()
    actions = bench.hear(replace(finalizing(block, ORDERED[3]), signature=bytes(64)))
    assert of_kind(PersistFinalization, actions) == []
    assert rules(actions) == [Rule.V1]
