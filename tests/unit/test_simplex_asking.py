"""What one member of Simplex asks for when it lacks a block that the others build on."""

import pytest
from tests.builders import GENESIS, MEMBERS, EmptyBox, vote

from tallystick.consensus.agreement import Lacks
from tallystick.consensus.simplex import Simplex
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.encoding import ZERO_DIGEST
from tallystick.ledger.vote import NOTARIZE, NULLIFY

NOW_MS = GENESIS.created_ms + 1_000
UNKNOWN = b"\x07" * 32


@pytest.fixture
def simplex():
    observer = Simplex()
    observer.start(Blockchain(GENESIS, observer.check_forger), [], [])
    return observer


def asked(simplex):
    """All that is asked for until nothing more is to be done, well before anything is repeated."""
    found = []
    while outputs := simplex.step(NOW_MS, EmptyBox()):
        found += [one.block_hash for one in outputs if isinstance(one, Lacks)]
    return set(found)


def all_vote(simplex, kind, view, block_hash):
    for member in MEMBERS.values():
        simplex.add_vote(vote(kind, block_hash, member, view=view))


def test_a_block_that_the_others_notarized_is_asked_for_anew_in_each_view(simplex):
    """Where views keep ending nothing is ever repeated: with one request for all views, its loss was for ever."""
    all_vote(simplex, NOTARIZE, 1, UNKNOWN)
    assert asked(simplex) == {UNKNOWN}
    assert asked(simplex) == set()
    for view in (2, 3):
        all_vote(simplex, NULLIFY, view, ZERO_DIGEST)
        assert asked(simplex) | asked(simplex) == {UNKNOWN}, "at the latest with the next message"
        assert asked(simplex) == set()
