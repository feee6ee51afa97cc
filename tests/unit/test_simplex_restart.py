"""What a member of Simplex does not do after a restart, whatever its record may have lost before."""

import pytest
from tests.builders import GENESIS, MEMBERS, EmptyBox, statement, vote

from tallystick.consensus.agreement import Cast
from tallystick.consensus.simplex import Simplex
from tallystick.ledger.block import make_header, sign_block
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.vote import FINALIZE, NOTARIZE

NOW_MS = GENESIS.created_ms + 1_000


def restarted(wallet, own, block):
    """A member that starts with these votes of its own, and has heard from all others that they know the last."""
    member = Simplex(wallet)
    chain = Blockchain(GENESIS, member.check_forger)
    member.start(chain, own, [block])
    for other in MEMBERS.values():
        if other is not wallet:
            member.heard_standing(other.public_key, 3, own[-1])
    return member


def finalized(member):
    """The views that it votes to finalize."""
    views = []
    while outputs := member.step(NOW_MS, EmptyBox()):
        views += [one.vote.ballot.view for one in outputs if isinstance(one, Cast) and one.vote.ballot.kind == FINALIZE]
    return views


@pytest.mark.parametrize(("last_view", "expected"), [(1, [1]), (2, [])])
def test_a_view_before_its_latest_vote_gets_no_new_vote_after_a_restart(last_view, expected):
    """It may have nullified that view, and lost the vote when it was restored from an old backup (seed 5210)."""
    drawn = Simplex()
    chain = Blockchain(GENESIS, drawn.check_forger)
    drawn.start(chain, [], [])
    forger = next(one for one in MEMBERS.values() if one.public_key == drawn.leader(1))
    wallet = next(one for one in MEMBERS.values() if one is not forger)
    certificates = (statement("first", ledger=GENESIS.ledger_id),)
    header = make_header(chain.state.tip, 1, NOW_MS, forger.public_key, certificates)
    block = sign_block(header, certificates, forger)
    own = [vote(NOTARIZE, block.hash, wallet, view=view) for view in range(1, last_view + 1)]
    member = restarted(wallet, own, block)
    for other in MEMBERS.values():
        member.add_vote(vote(NOTARIZE, block.hash, other, view=1))
    assert finalized(member) == expected
