"""The state after a block: what its root commits to, and of which epochs evidence is legal."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict
from tests.builders import (
    ADA,
    BEN,
    CY,
    DOT,
    MEMBERS,
    START_MS,
    FinalScribe,
    evidence,
    found,
    proposal_evidence,
    refuses,
    staking,
    statement,
)
from tests.log_proofs import root

from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.encoding import digest, encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.merkle import EMPTY_ROOT, leaf_hash
from tallystick.ledger.roots import StateRoots
from tallystick.ledger.stake import BlockContext
from tallystick.ledger.state import genesis_state
from tallystick.ledger.transition import context_of
from tallystick.storage.state_codec import decode_state, encode_state

GENESIS = found(epoch_blocks=3)
LEDGER = GENESIS.ledger_id


def changed(before, after):
    """Which roots a block changed, but for the two trees, which grow with each block, and the voters."""
    old, new = asdict(before.roots), asdict(after.roots)
    return {name for name in old if old[name] != new[name]} - {"log_size", "log_root", "headers_root"}


def test_block_0_has_the_root_of_the_genesis_state():
    state = genesis_state(GENESIS)
    assert state.tip.state_root == state.root == state.roots.hash
    assert state.roots == StateRoots(
        log_size=0,
        log_root=EMPTY_ROOT,
        headers_root=EMPTY_ROOT,
        voters=state.epoch.hash,
        next_voters=state.epoch.hash,
        accounts=state.stakes.accounts_hash,
        burned=digest(encode([0, []])),
        parameters=digest(encode(GENESIS.params)),
        evidence=digest(encode([])),
        directory=EMPTY_ROOT,
        status=EMPTY_ROOT,
        motions=EMPTY_ROOT,
    )
    rest = (state.roots.accounts, state.roots.burned, state.roots.parameters, state.roots.evidence, state.roots.motions)
    members = digest(encode((state.epoch.hash, state.epoch.hash, EMPTY_ROOT, EMPTY_ROOT, digest(encode(rest)))))
    assert state.root == digest(encode((0, EMPTY_ROOT, EMPTY_ROOT, members)))
    assert genesis_state(found(epoch_blocks=3, admits_observers=False)).root != state.root
    assert genesis_state(found(mint_freely=True)).tip.state_root == bytes(32), "the course makes blocks without a chain"


def test_roots_say_what_the_state_holds():
    scribe = FinalScribe(GENESIS)
    scribe.forge(statement(ledger=LEDGER), staking(7, ledger=LEDGER))
    scribe.forge(staking(-5, BEN, ledger=LEDGER), evidence(CY, genesis=GENESIS))
    last, state = scribe.forge(), scribe.state
    leaves = [one.leaf_hash for block in scribe.blocks for one in block.certificates]
    headers = [genesis_state(GENESIS).tip, *(block.header for block in scribe.blocks[:-1])]
    accounts = [
        [key, [account.free, account.staked, account.unbonding, account.since]]
        for key, account in sorted(state.stakes.accounts.items())
    ]
    assert state.roots == StateRoots(
        log_size=len(leaves),
        log_root=root(leaves),
        headers_root=root([leaf_hash(header.encoded) for header in headers]),
        voters=digest(encode([0, GENESIS.stakes().members])),
        next_voters=digest(encode([1, state.stakes.members])),
        accounts=digest(encode(accounts)),
        burned=digest(encode([100, [CY.public_key]])),
        parameters=digest(encode(GENESIS.params)),
        evidence=digest(encode([[0, 3, last.header.timestamp_ms]])),
    )
    assert state.epoch_ends == (context_of(last.header),)


def test_a_root_changes_with_its_part_of_the_state_and_with_nothing_else():
    scribe = FinalScribe(found(epoch_blocks=4))
    ledger = scribe.genesis.ledger_id
    for certificate, expected in (
        (statement(ledger=ledger), set()),
        (staking(5, ledger=ledger), {"accounts"}),
        (evidence(BEN, genesis=scribe.genesis), {"accounts", "burned"}),
        (statement("last of its epoch", ledger=ledger), {"next_voters", "evidence"}),
        (statement("first of the next", ledger=ledger), {"voters"}),
    ):
        before = scribe.state
        scribe.forge(certificate)
        assert changed(before, scribe.state) == expected
        assert scribe.state.roots.log_size == before.roots.log_size + 1
        assert scribe.state.roots.headers_root != before.roots.headers_root


# ---- evidence of which epochs -----------------------------------------------------------------------------------


def legal_until(scribe, epoch):
    """The index of the last block in which evidence of the epoch was legal, while the chain goes on by 20 blocks."""
    last = None
    for _ in range(20):
        try:
            scribe.chain.after(scribe.draft(evidence(DOT, genesis=scribe.genesis, epoch=epoch)))
        except Refused as refused:
            assert refused.__cause__.rule is Rule.V6  # noqa: PT017
        else:
            last = scribe.state.index + 1
        scribe.forge()
    return last


@pytest.mark.parametrize(
    ("params", "last"),
    [
        ({"unbonding_blocks": 6}, 8),  # epoch 0 ends with block 3
        ({"unbonding_blocks": 11}, 13),
        ({"unbonding_blocks": 6, "unbonding_ms": 11}, 13),
    ],
)
def test_evidence_is_legal_as_long_as_the_stake_that_counted_is_liable(params, last):
    scribe = FinalScribe(found(epoch_blocks=3, **params))
    assert legal_until(scribe, 0) == last


def test_stake_withdrawn_in_an_epochs_first_block_is_not_free_before_its_next_but_one():
    """Whoever voted can be convicted in the epoch after, however short epochs are."""
    genesis = found(epoch_blocks=1, epoch_ms=0)
    scribe = FinalScribe(genesis)
    scribe.forge(staking(-100, DOT, ledger=genesis.ledger_id))
    assert scribe.state.stakes.account(DOT.public_key).unbonding[0][0] == BlockContext(2, 3, START_MS + 1)
    scribe.chain.after(scribe.draft(evidence(DOT, genesis=genesis)))
    scribe.forge()
    with pytest.raises(Refused) as refused:
        scribe.chain.after(scribe.draft(evidence(DOT, genesis=genesis)))
    assert refused.value.__cause__.rule is Rule.V6


@pytest.mark.parametrize("make", [evidence, proposal_evidence])
@pytest.mark.parametrize("epoch", [1, 2**53 - 1])
def test_evidence_of_an_epoch_that_has_not_begun_is_refused(make, epoch):
    scribe = FinalScribe(GENESIS)
    with refuses(Rule.V6):
        scribe.state.check_liable(make(BEN, genesis=GENESIS, epoch=epoch), scribe.state.context(0))
    with refuses(Rule.B5, Rule.V6.name):
        scribe.forge(make(BEN, genesis=GENESIS, epoch=epoch))
    scribe.forge(make(BEN, genesis=GENESIS))


def test_old_evidence_is_not_replayed_on_tokens_that_were_staked_since():
    """One contradiction of epoch 0 burned whatever its member staked later, again and again (`Rule.S8`, `Rule.V6`)."""
    scribe = FinalScribe(GENESIS)
    scribe.forge(evidence(BEN, genesis=GENESIS), staking(-100, DOT, ledger=LEDGER))
    with refuses(Rule.B5, Rule.S8.name):
        scribe.forge(staking(200, BEN, ledger=LEDGER))
    scribe.forge_many(5)
    scribe.forge(staking(1_100, DOT, ledger=LEDGER, at_ms=START_MS + 1))
    assert scribe.state.stakes.account(DOT.public_key).since == 3
    again = evidence(DOT, genesis=GENESIS, view=2)
    with refuses(Rule.B5, Rule.S6.name):
        scribe.forge(again)
    scribe.forge_many(20)
    with refuses(Rule.B5, Rule.V6.name):
        scribe.forge(again)
    assert scribe.state.stakes.burned == 100


def test_the_ends_of_epochs_are_kept_no_longer_than_their_evidence_is_legal():
    scribe = FinalScribe(GENESIS)
    for _ in range(40):
        scribe.forge()
        assert len(scribe.state.epoch_ends) <= 2
    assert [one.epoch for one in scribe.state.epoch_ends] == [11, 12]


# ---- every chain ------------------------------------------------------------------------------------------------

people = st.sampled_from(list(MEMBERS.values()))
moves = st.one_of(
    st.tuples(people, st.integers(-150, 1_200)).map(lambda one: lambda at: staking(one[1], one[0], at, LEDGER)),
    st.tuples(people, st.integers(0, 3)).map(lambda one: lambda at: evidence(one[0], ADA, at, GENESIS, one[1])),
    st.just(lambda at: statement(f"at {at}", ledger=LEDGER)),
)


@given(st.lists(st.tuples(moves, st.integers(1, 4)), max_size=14))
def test_tokens_are_conserved_and_replay_and_snapshots_lead_to_the_same_roots(steps):
    scribe = FinalScribe(GENESIS)
    replay = Blockchain(GENESIS, lambda state, header: None)
    for place, (move, ms) in enumerate(steps):
        before, time_ms = scribe.state, scribe.state.tip.timestamp_ms + ms
        try:
            block = scribe.forge(move(START_MS + place), timestamp_ms=time_ms)
        except Refused as refused:
            assert refused.rule is Rule.B5  # noqa: PT017
            assert scribe.state is before
            continue
        state = scribe.state
        assert state.root == block.header.state_root == state.roots.hash
        assert state.stakes.total == GENESIS.stakes().total
        assert state.stakes.burned >= before.stakes.burned
        assert ("accounts" in changed(before, state)) == (before.stakes.accounts != state.stakes.accounts)
        assert ("evidence" in changed(before, state)) == (before.epoch_ends != state.epoch_ends)
        assert state.roots.voters == before.epoch.hash
        replay.append(block)
        replay.state = decode_state(encode_state(replay.state), GENESIS)
        assert [getattr(replay.state, one.name) for one in fields(state)] == [
            getattr(state, one.name) for one in fields(state)
        ]
