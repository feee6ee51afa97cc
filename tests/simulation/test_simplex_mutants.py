"""Rules broken on purpose: the checkers have to notice every one of them."""

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from tallystick.consensus.record import Record
from tallystick.consensus.rounds import Rounds
from tests.simulation.council import Broken, Council, Equivocator, Final, Forker, Nullifier, Seat, Twin, Weather
from tests.simulation.test_simplex import EQUAL, SEVEN, chaos, finish, table

from tallystick.consensus.simplex import Simplex
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, cast, tally_of

Patch = Callable[[pytest.MonkeyPatch], None]
MOST_SEEDS = 60
FIRST_SEED = {
    "nullify after finalize": 80,
    "quorums not kept": 80,
    "contradictions left out of quorums": 625,
}
"""Where the hunt for what is seldom noticed begins: long hunts from seed 1 needed 85, 85 and 631 seeds."""

_HAS_CAST = Simplex._has_cast


def majority_is_enough(patch):
    patch.setattr(Epoch, "is_quorum", lambda self, stake: 2 * stake > self.total)


def a_third_is_enough(patch):
    patch.setattr(Epoch, "is_quorum", lambda self, stake: 3 * stake > self.total)


def votes_are_not_persisted(patch):
    patch.setattr(Seat, "persist", lambda self, vote, block: None)


def votes_are_sent_first(patch):
    def carry_out(self, output):
        if hasattr(output, "vote"):
            self.cast(output.vote, output.block)
            self._may_crash()
        original(self, output)

    original = Seat.carry_out
    patch.setattr(Seat, "carry_out", carry_out)


def _forgets(kind: int, within: str) -> Patch:
    """In this method, it does not matter whether a vote of this kind was cast."""

    def apply(patch):
        original = getattr(Simplex, within)

        def forgetful(self, *arguments):
            self._has_cast = lambda view, asked: asked != kind and _HAS_CAST(self, view, asked)
            try:
                return original(self, *arguments)
            finally:
                del self._has_cast

        patch.setattr(Simplex, within, forgetful)

    return apply


def nullify_after_finalize(patch):
    """As long as quorums are kept, the view of a finalize vote has ended: nobody is in it any more."""
    _forgets(FINALIZE, "_nullify")(patch)
    quorums_are_not_kept(patch)


def an_old_copy_votes_at_once(patch):
    def heard(self, member, view, yours):
        original(self, member, view, None)

    original = Simplex.heard_standing
    patch.setattr(Simplex, "heard_standing", heard)


def nobody_is_asked_after_a_restart(patch):
    def may_vote(self, epoch, view):
        return self._wallet is not None and epoch.stake(self._wallet.public_key) > 0

    patch.setattr(Record, "may_vote", may_vote)


def stakes_of_the_tip_count(patch):
    def epoch(self):
        state = self._chain.state
        return Epoch(state.epoch.number, state.stakes)

    def check_final(self, state, block, finalization):
        """Take whatever comes: the stakes differ by then."""

    patch.setattr(Rounds, "epoch", property(epoch))
    patch.setattr(Seat, "check_final", check_final)


def any_parent_may_be_followed(patch):
    patch.setattr(Rounds, "may_follow", lambda self, block_hash, view: True)


def the_final_tip_is_proposed_on(patch):
    patch.setattr(Rounds, "parent_for", lambda self, view: self._chain.state.tip.hash)
    any_parent_may_be_followed(patch)


def nullifications_are_not_looked_for(patch):
    def may_follow(self, block_hash, view):
        known = {round_.notarized for earlier, round_ in self._rounds.items() if earlier < view}
        return block_hash in known or block_hash == self._chain.state.tip.hash

    patch.setattr(Rounds, "may_follow", may_follow)


def quorums_are_not_kept(patch):
    patch.setattr(Simplex, "_keep", lambda self, kind, view, outputs: None)


def the_leader_is_not_checked(patch):
    def apply(self, round_, vote):
        if vote.ballot.kind == NOTARIZE and round_.proposed is None:
            round_.proposed = vote.ballot.block_hash
        original(self, round_, vote)

    original = Rounds._count
    patch.setattr(Rounds, "_count", apply)
    patch.setattr(Rounds, "wants", lambda self, header: header.view > self.final_view)
    patch.setattr(Simplex, "leader", lambda self, view: self._wallet and self._wallet.public_key)
    patch.setattr(Simplex, "check_forger", lambda self, state, header: None)


def finalizations_are_not_counted(patch):
    patch.setattr(Seat, "check_final", lambda self, state, block, finalization: None)


def the_next_epoch_begins_at_once(patch):
    _rewrite(patch, Rounds.judge, "if base.epoch.number != self.epoch.number:", "if False:")
    _rewrite(patch, Simplex._make_block, " or base.epoch.number != self.epoch.number", "")


def blocks_are_finalized_that_were_not_notarized(patch):
    _rewrite(patch, Simplex._vote_to_finalize, "round_.notarized", "round_.proposed")
    _rewrite(patch, Simplex._keep, "if self._wallet and ballot not in round_.kept:", "if False:")


def contradictions_do_not_count_in_quorums(patch):
    _rewrite(patch, Rounds.add_vote, "if earlier is None or ballot in round_.weight:", "if earlier is None:")


def _rewrite(patch, method: Any, old: str, new: str) -> None:
    """Change a method's own text."""
    module, (owner, name) = inspect.getmodule(method), method.__qualname__.split(".")
    source = textwrap.dedent(inspect.getsource(method))
    assert old in source, f"{name} does not read {old!r} any more"
    scope: dict[str, Any] = {}
    exec(source.replace(old, new), vars(module), scope)
    patch.setattr(getattr(module, owner), name, scope[name])


MUTANTS = {
    "majority": majority_is_enough,
    "a third": a_third_is_enough,
    "votes not persisted": votes_are_not_persisted,
    "votes sent before they are persisted": votes_are_sent_first,
    "finalize after nullify": _forgets(NULLIFY, "_vote_to_finalize"),
    "nullify after finalize": nullify_after_finalize,
    "a second notarize vote": _forgets(NOTARIZE, "_notarize"),
    "old copy not recognized": an_old_copy_votes_at_once,
    "no standings before voting": nobody_is_asked_after_a_restart,
    "stakes of the tip": stakes_of_the_tip_count,
    "any parent": any_parent_may_be_followed,
    "proposes on the final tip": the_final_tip_is_proposed_on,
    "nullifications not looked for": nullifications_are_not_looked_for,
    "quorums not kept": quorums_are_not_kept,
    "any leader": the_leader_is_not_checked,
    "finalizations not counted": finalizations_are_not_counted,
    "finalize without notarization": blocks_are_finalized_that_were_not_notarized,
    "contradictions left out of quorums": contradictions_do_not_count_in_quorums,
    "epoch begins early": the_next_epoch_begins_at_once,
}


class Counterfeiter(Equivocator):
    """An equivocator that also hands out its own blocks as final, on its one vote."""

    def cast(self, vote, block):
        super().cast(vote, block)
        if block is not None and block.header.forger == self.wallet.public_key and vote.ballot.kind == NOTARIZE:
            self.broadcast(counterfeit(self, vote, block))


def counterfeit(seat, vote, block):
    """A finalization by one member."""
    ballot = replace(vote.ballot, kind=FINALIZE)
    return Final((block,), tally_of([cast(seat.wallet, seat.council.genesis.ledger_id, ballot)]))


def hunt(seed: int) -> None:
    """One run with as much against the rules as they should withstand."""
    roles: list[dict[str, Any]] = [
        *({}, {"ada": Equivocator}, {"ben": Twin}, {"cy": Nullifier}, {"dot": Counterfeiter}, {"ada": Forker})
    ]
    role = {} if seed % 5 == 2 else roles[seed % 6]  # whoever forgot may count as faulty itself
    council: Council = table(seed, [EQUAL, SEVEN][seed // 6 % 2], role, moves_stake=not role, epoch_blocks=3)
    council.moves_stake &= seed % 5 != 2
    council.weather = Weather(loss=0.15, duplication=0.1, delay_ms=(1, 400), crash=0.02 if seed % 2 else 0.0)
    if seed % 5 in (0, 2):
        council.weather = Weather(delay_ms=(1, 400))
        council.open()
        for _ in range(8):
            council.submit(2)
            council.run_until(council.now_ms + council.random.randint(100, 2_000))
            honest = list(council.honest.values())
            council.restart(honest[1:2] if seed % 5 else honest, from_copy=seed % 5 == 2)
    else:
        chaos(council)
    finish(council)


def seeds_needed(first: int) -> int | None:
    """The seed, from the first on, at which a checker fails; `None`: that takes too many."""
    for seed in range(first, first + MOST_SEEDS):
        try:
            hunt(seed)
        except Broken:
            return seed
    return None


def test_the_rules_as_they_are_withstand_the_hunt(seed):
    hunt(seed)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_noticed(name, monkeypatch):
    MUTANTS[name](monkeypatch)
    needed = seeds_needed(FIRST_SEED.get(name, 1))
    assert needed is not None, f"{name}: {MOST_SEEDS} seeds did not notice"
