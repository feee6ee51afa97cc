"""Rules broken on purpose in the production code, to see that the campaign notices."""

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from tallystick.consensus.record import Record
from tallystick.consensus.rounds import Rounds
from tallystick.node.council import Council
from tests.simulation.campaign.run import Outcome, run_seed

from tallystick.consensus.simplex import Simplex
from tallystick.ledger import finality
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.stake import StakeTable
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY
from tallystick.network.simulated_host import SimulatedHost
from tallystick.node import chain_copy, trail
from tallystick.node.events import PersistCertificates, PersistVotes

Replacement = tuple[Any, str, Any]
"""A class, the name of a method or property, and what stands there instead."""

MOST_SEEDS = 500


def rewritten(owner: Any, method: str, *changes: tuple[str, str]) -> Replacement:
    """A method, or a module's function, with its own text changed."""
    source = textwrap.dedent(inspect.getsource(getattr(owner, method)))
    for old, new in changes:
        assert old in source, f"{owner.__name__}.{method} does not read {old!r} any more"
        source = source.replace(old, new)
    scope: dict[str, Any] = {}
    exec(source, vars(owner if inspect.ismodule(owner) else inspect.getmodule(owner)), scope)
    return owner, method, scope[method]


def _quorum(enough: Callable[[int, int], bool]) -> list[Replacement]:
    return [(Epoch, "is_quorum", lambda self, stake: enough(stake, self.total))]


def _forgets(kind: int, within: str) -> list[Replacement]:
    """In this method it does not matter whether a vote of this kind was cast."""
    original, has_cast = getattr(Simplex, within), Simplex._has_cast

    def forgetful(self, *arguments):
        self._has_cast = lambda view, asked: asked != kind and has_cast(self, view, asked)
        try:
            return original(self, *arguments)
        finally:
            del self._has_cast

    return [(Simplex, within, forgetful)]


def _without(action: type) -> list[Replacement]:
    """The host does not carry this action out."""
    original = SimulatedHost.carry_out
    return [(SimulatedHost, "carry_out", lambda self, one: isinstance(one, action) or original(self, one))]


def votes_sent_first() -> list[Replacement]:
    def cast(self, vote, block, actions):
        start = len(actions)
        original(self, vote, block, actions)
        actions[start:] = actions[start + 1 :] + actions[start : start + 1]

    original = Council._cast
    return [(Council, "_cast", cast)]


def nullify_after_finalize() -> list[Replacement]:
    """As long as a quorum is kept, the view of a finalize vote has ended: nobody is in it any more."""
    keep = Simplex._keep
    some = (Simplex, "_keep", lambda self, kind, view, outputs: kind == NULLIFY and keep(self, kind, view, outputs))
    return [*_forgets(FINALIZE, "_nullify"), some]


def a_second_notarize_vote() -> list[Replacement]:
    """Whatever was proposed last in a view is voted for, whether or not something else was before."""
    original, has_cast = Simplex._notarize, Simplex._has_cast

    def forgetful(self, *arguments):
        own, proposed = self._record._own, self._rounds.at(self.view).proposed

        def has_cast_for_it(view, kind):
            vote = own.get((self.epoch.number, view, kind))
            return has_cast(self, view, kind) and (kind != NOTARIZE or vote.ballot.block_hash == proposed)

        self._has_cast = has_cast_for_it
        try:
            return original(self, *arguments)
        finally:
            del self._has_cast

    return [
        (Simplex, "_notarize", forgetful),
        rewritten(Rounds, "_count", (" and round_.proposed is None", "")),
    ]


def stakes_of_the_tip() -> list[Replacement]:
    epoch = property(lambda self: Epoch(self._chain.state.epoch.number, self._chain.state.stakes))
    return [(Rounds, "epoch", epoch)]


def any_finalization(old: str) -> list[Replacement]:
    """Finalizations are taken without this check."""
    _, name, careless = rewritten(finality, "check_final", (f"if {old}", f"if False and {old}"))
    return [(module, name, careless) for module in (finality, trail, chain_copy)]


def half_a_block_is_enough() -> list[Replacement]:
    changes = (
        ("pending = self._rounds.judge(proposed, outputs)", "pending = None"),
        ("        return\n    header", "        return self._cast(NOTARIZE, view, proposed, outputs)\n    header"),
    )
    return [rewritten(Simplex, "_notarize", *changes)]


def any_stake_moves() -> list[Replacement]:
    changes = (("if amount > account.free + minted:", "if False:"), ("if -amount > account.staked:", "if False:"))
    return [rewritten(StakeTable, "_moved", *changes)]


def the_box_loses_what_was_voted_for() -> list[Replacement]:
    def cast(self, vote, block, actions):
        original(self, vote, block, actions)
        if block is not None:
            for one in block.certificates:
                self._box._remove(one.id)

    original = Council._cast
    return [(Council, "_cast", cast)]


def anybody_leads() -> list[Replacement]:
    return [
        (Simplex, "check_forger", staticmethod(lambda state, header: None)),
        rewritten(Rounds, "_is_in_turn", (" and header.forger == self.at(header.view).leader", "")),
        rewritten(Rounds, "_count", (" and vote.member == round_.leader", "")),
        rewritten(Simplex, "_propose", (" or self.leader(self.view) != self._wallet.public_key", "")),
    ]


def epochs_begin_early() -> list[Replacement]:
    return [
        rewritten(Rounds, "judge", ("if base.epoch.number != self.epoch.number:", "if False:")),
        rewritten(Simplex, "_make_block", (" or base.epoch.number != self.epoch.number", "")),
    ]


MUTANTS: dict[str, Callable[[], list[Replacement]]] = {
    "a majority is a quorum": lambda: _quorum(lambda stake, total: 2 * stake > total),
    "two thirds, no more, are a quorum": lambda: _quorum(lambda stake, total: 3 * stake >= 2 * total),
    "votes are not persisted": lambda: _without(PersistVotes),
    "votes are sent before they are persisted": votes_sent_first,
    "own votes are forgotten at a restart": lambda: [(Record, "restore", lambda self, votes, is_stale=False: None)],
    "quorums are not persisted": lambda: [(Simplex, "_keep", lambda self, kind, view, outputs: None)],
    "finalize after nullify": lambda: _forgets(NULLIFY, "_vote_to_finalize"),
    "nullify after finalize": nullify_after_finalize,
    "a second notarize vote in a view": a_second_notarize_vote,
    "stakes of the tip count": stakes_of_the_tip,
    "nullifications are not looked for": lambda: [(Rounds, "may_follow", lambda self, block_hash, view: True)],
    "a vote on half a block": half_a_block_is_enough,
    "certificates twice on the chain": lambda: [(Blockchain, "_check_certificates", lambda self, block, holds: None)],
    "anybody's tokens move": any_stake_moves,
    "blocks from the future": lambda: [rewritten(Simplex, "_notarize", ("and not is_early", ""))],
    "anybody leads": anybody_leads,
    "an epoch begins before the last ended": epochs_begin_early,
    "an old backup votes at once": lambda: [(Record, "recall", lambda self, epoch, vote: None)],
    "nobody is asked after a restart": lambda: [(Record, "has_heard_enough", lambda self, epoch: True)],
    "finalizations of little stake": lambda: any_finalization("not epoch.is_quorum(stake)"),
    "finalizations of another block or epoch": lambda: any_finalization("ballot != "),
    "evidence is ignored": lambda: [(Council, "accuse", lambda self, now_ms, caught, actions: None)],
    "contradictions count in no quorum": lambda: [
        rewritten(Rounds, "add_vote", ("if earlier is None or ballot in round_.weight:", "if earlier is None:"))
    ],
    "the box loses what was voted for": the_box_loses_what_was_voted_for,
    "what people hand in is not persisted": lambda: _without(PersistCertificates),
    "old views are never forgotten": lambda: [
        rewritten(Rounds, "_settle", (" if one >= self.final_view}", "}"))
    ],
    "quorums are not told to who missed them": lambda: [(Simplex, "standing", lambda self: [])],
}  # fmt: skip


@contextmanager
def broken(name: str) -> Iterator[None]:
    """While inside, this rule is broken."""
    with ExitStack() as stack:
        for owner, attribute, value in MUTANTS[name]():
            stack.enter_context(patch.object(owner, attribute, value))
        yield


def hunt(name: str, first: int = 1, most: int = MOST_SEEDS) -> Outcome | None:
    """The first seed's outcome, of so many, in which the campaign notices the mutant."""
    with broken(name):
        for seed in range(first, first + most):
            outcome = run_seed(seed)
            if outcome.broken:
                return outcome
    return None
