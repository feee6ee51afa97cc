"""What one member of Simplex makes of a leader that seems to have signed two blocks for one view."""

import pytest
from tests.builders import GENESIS, MEMBERS, EmptyBox, signed_header, vote

from tallystick.consensus.agreement import CaughtForging, Lacks
from tallystick.consensus.simplex import Simplex
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.vote import NOTARIZE

NOW_MS = GENESIS.created_ms + 1_000


@pytest.fixture
def simplex():
    observer = Simplex()
    observer.start(Blockchain(GENESIS, observer.check_forger), [], [])
    return observer


def leader_of(simplex, view):
    return next(one for one in MEMBERS.values() if one.public_key == simplex.leader(view))


def asked(simplex, now_ms=NOW_MS):
    return [one.block_hash for one in simplex.step(now_ms, EmptyBox()) if isinstance(one, Lacks)]


def votes_for_other_blocks(simplex, view):
    """From each member that is not the leader, for a block of its own."""
    others = [one for one in MEMBERS.values() if one.public_key != simplex.leader(view)]
    return [vote(NOTARIZE, bytes([number]) * 32, one, view=view) for number, one in enumerate(others, 1)]


@pytest.mark.parametrize("header_first", [True, False])
def test_a_vote_for_another_block_than_the_leaders_is_looked_into_once_a_view(simplex, header_first):
    header, votes = signed_header(leader_of(simplex, 1)), votes_for_other_blocks(simplex, 1)
    if header_first:
        assert simplex.add_header(header) is None
    for one in votes:
        assert simplex.add_vote(one) is None
    if not header_first:
        assert asked(simplex) == []
        assert simplex.add_header(header) is None
    (rival,) = asked(simplex)
    assert rival in {one.ballot.block_hash for one in votes}
    assert asked(simplex) == asked(simplex) == []


def test_a_vote_for_the_leaders_block_or_the_final_tip_is_no_riddle(simplex):
    header = signed_header(leader_of(simplex, 1))
    simplex.add_header(header)
    members = [one for one in MEMBERS.values() if one is not leader_of(simplex, 1)]
    simplex.add_vote(vote(NOTARIZE, header.header.hash, members[0]))
    simplex.add_vote(vote(NOTARIZE, Blockchain(GENESIS, simplex.check_forger).state.tip.hash, members[1]))
    assert asked(simplex) == []


def test_two_headers_of_a_leader_for_one_view_are_evidence_and_nothing_else_is(simplex):
    leader = leader_of(simplex, 1)
    stranger = next(one for one in MEMBERS.values() if one is not leader)
    first, second = signed_header(leader), signed_header(leader, index=2)
    assert simplex.add_header(first) is None
    assert simplex.add_header(first) is None
    for harmless in (
        signed_header(leader, view=500, nonce=1),
        signed_header(leader, index=101, nonce=1),
        signed_header(stranger, nonce=1),
        signed_header(leader_of(simplex, 2), view=2, nonce=1),
    ):
        assert simplex.add_header(harmless) is None
    assert simplex.add_header(second) == CaughtForging(first, second)
    assert CaughtForging(first, second).offender == leader.public_key
