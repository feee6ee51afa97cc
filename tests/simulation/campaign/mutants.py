"""Rules broken on purpose in the production code, to see that the campaign, or a trial of its own, notices."""

import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from tests.simulation.campaign.run import Outcome, run_seed

from tallystick.consensus.agreement import PersistQuorum
from tallystick.consensus.proposals import Proposals
from tallystick.consensus.recovery import Recovery
from tallystick.consensus.signing_guard import Confirmed, GuardState, SigningGuard
from tallystick.consensus.simplex import Simplex
from tallystick.consensus.view_timer import ViewTimer
from tallystick.consensus.views import Views
from tallystick.ledger import finality, keys, motions, vote
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.directory import Directory
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.finality import VoteCertificate
from tallystick.ledger.motions import Motions
from tallystick.ledger.stake import StakeTable
from tallystick.ledger.transition import Draft
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY
from tallystick.network.simulated_host import SimulatedHost
from tallystick.node import knowledge
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.checkpoints import Checkpoints
from tallystick.node.events import PersistCertificates, PersistSigned
from tallystick.node.keeping import Stretch
from tallystick.node.node import Node
from tallystick.node.simplex_driver import SimplexDriver
from tallystick.node.sync import Sync

Replacement = tuple[Any, str, Any]
"""A class or module, the name of a method, property or function, and what stands there instead."""

MOST_SEEDS = 500


def rewritten(owner: Any, method: str, *changes: tuple[str, str]) -> Replacement:
    """A method, or a module's function, with its own text changed."""
    original = inspect.getattr_static(owner, method)
    inner: Any = original.fget if isinstance(original, property) else getattr(owner, method)
    source = textwrap.dedent(inspect.getsource(inner))
    for old, new in changes:
        assert old in source, f"{owner.__name__}.{method} does not read {old!r} any more"
        source = source.replace(old, new)
    scope: dict[str, Any] = {}
    exec(source, vars(owner if inspect.ismodule(owner) else inspect.getmodule(owner)), scope)
    if inspect.ismodule(owner):  # whoever imported the function has to meet the change, too
        return inner, "__code__", scope[method].__code__
    return owner, method, scope[method]


def _quorum(enough: Callable[[int, int], bool]) -> list[Replacement]:
    return [(Epoch, "is_quorum", lambda self, stake: enough(stake, self.total))]


def _without(action: type) -> list[Replacement]:
    """The host does not carry this action out."""
    original = SimulatedHost.carry_out
    return [(SimulatedHost, "carry_out", lambda self, one: isinstance(one, action) or original(self, one))]


def _heedless_guard() -> list[Replacement]:
    """The guard signs what contradicts what it holds; `Simplex` still looks by itself."""
    change = ("return not any(one.conflicts_with(ballot) for one in held)", "return True")
    return [rewritten(SigningGuard, "may_sign", change)]


def _forgets(kind: int, within: str) -> list[Replacement]:
    """In this method it does not matter whether a vote of this kind was signed; nor does it to the guard."""
    original, has_signed = getattr(Simplex, within), Simplex._has_signed

    def forgetful(self, *arguments):
        self._has_signed = lambda view, asked: asked != kind and has_signed(self, view, asked)
        try:
            return original(self, *arguments)
        finally:
            del self._has_signed

    return [*_heedless_guard(), (Simplex, within, forgetful)]


def nullify_after_finalize() -> list[Replacement]:
    """As long as certificates are kept, the view of a finalize vote has ended: nobody is in it any more."""
    return [*_forgets(FINALIZE, "_nullify"), *notarizations_are_dropped_at_a_restart()]


def a_second_notarize_vote() -> list[Replacement]:
    """Whatever was proposed last in a view is voted for, whether or not something else was before."""
    original, has_signed = Simplex._notarize, Simplex._has_signed

    def forgetful(self, *arguments):
        proposed = self.views.at(self.view).proposed
        votes = self.guard.votes(self.epoch.number)
        was_for_it = any(one.ballot == self.views.ballot(NOTARIZE, self.view, proposed) for one in votes)
        self._has_voted = lambda view: was_for_it or has_signed(self, view, NULLIFY)
        try:
            return original(self, *arguments)
        finally:
            del self._has_voted

    return [
        *_heedless_guard(),
        (Simplex, "_notarize", forgetful),
        rewritten(Views, "_add", ("if state.proposed is None and vote.member", "if vote.member")),
    ]


def stakes_of_the_tip() -> list[Replacement]:
    def epoch(self):
        state = self._chain.state
        return Epoch(state.epoch.number, state.stakes, state.epoch.first_index, state.epoch.start_ms)

    return [(Views, "epoch", property(epoch))]


def any_finalization() -> list[Replacement]:
    """Finalizations of any block, of any epoch, are taken for those of the block at hand."""
    change = ("if (header.epoch, header.hash) !=", "if False and (header.epoch, header.hash) !=")
    kind = ("if (ballot.kind, ballot.epoch) != (self.kind, voters.number):", "if False:")
    return [
        rewritten(finality, "check_final", change),
        rewritten(VoteCertificate, "__post_init__", kind),
    ]


def half_a_block_is_enough() -> list[Replacement]:
    changes = (
        ("        self.proposals.request(state.proposed)\n        return\n",
         "        ballot = self.views.ballot(NOTARIZE, view, state.proposed)\n"
         "        vote = self.guard.sign(ballot) if self.has_stake else None\n"
         "        self.views.outputs += [agreement.SendVote(vote)] if vote else []\n        return\n"),
    )  # fmt: skip
    return [rewritten(Simplex, "_notarize", *changes)]


def any_stake_moves() -> list[Replacement]:
    changes = (("if amount > account.free + minted:", "if False:"), ("if -amount > account.staked:", "if False:"))
    return [rewritten(StakeTable, "_moved", *changes)]


def the_box_loses_what_was_voted_for() -> list[Replacement]:
    def carry_out(self, now_ms, outputs, actions):
        original(self, now_ms, outputs, actions)
        for block in [getattr(one, "block", None) for one in outputs]:
            for one in block.certificates if block is not None else ():
                self._box._remove(one.id)

    original = SimplexDriver._carry_out
    return [(SimplexDriver, "_carry_out", carry_out)]


def anybody_leads() -> list[Replacement]:
    return [
        (Simplex, "check_forger", staticmethod(lambda state, header: None)),
        rewritten(Views, "_is_in_turn", (" and header.forger == self.leader(header.view)", "")),
        rewritten(Views, "_add", (" and vote.member == state.leader", "")),
        rewritten(Simplex, "_propose", (" or self.views.leader(self.view) != self.guard.key", "")),
    ]


def epochs_begin_early() -> list[Replacement]:
    return [
        rewritten(Proposals, "validate", ("if base.epoch.number != self._chain.state.epoch.number:", "if False:")),
        rewritten(Simplex, "_forge", ("base.epoch.number != self.epoch.number or ", "")),
    ]


def _in_order(order: str) -> list[Replacement]:
    """What one event asks for is carried out in this order."""
    return [rewritten(Stretch, "in_order", ("[*self._passed_on, *signed, *self._kept, *self._told]", order))]


def _dropped_at_a_restart(kind: int) -> list[Replacement]:
    def start(self, chain, finalization, tallies=(), proposals=()):
        return original(self, chain, finalization, [one for one in tallies if one.ballot.kind != kind], proposals)

    original = Simplex.start
    return [(Simplex, "start", start)]


def notarizations_are_dropped_at_a_restart() -> list[Replacement]:
    return _dropped_at_a_restart(NOTARIZE)


def a_lost_guard_counts_as_ready() -> list[Replacement]:
    def apply(self, record):
        original(self, record)
        if type(record).__name__ == "Lost":
            self.status = type(self.status).READY

    original = GuardState.apply
    return [(GuardState, "apply", apply)]


def own_votes_are_forgotten_at_a_restart() -> list[Replacement]:
    def init(self, wallet, ledger_id, records=(), entropy=b""):
        original(self, wallet, ledger_id, [one for one in records if type(one).__name__ != "Signed"], entropy)

    original = SigningGuard.__init__
    return [(SigningGuard, "__init__", init)]


def an_early_block_is_nullified() -> list[Replacement]:
    noted = "except Refused as refused:\n        self.proposals._refused[block.hash] = refused"
    return [rewritten(Simplex, "_notarize", ("except Refused:", noted))]


def the_last_answer_counts() -> list[Replacement]:
    return [
        rewritten(
            Recovery, "answered", ("max(view, self._answers.get(member, 0))", "view")
        )
    ]  # fmt: skip


def finalizations_are_not_counted() -> list[Replacement]:
    """What members say by a finalization is not held against what else they say."""

    def add_tally(self, tally):
        found = original(self, tally)
        return [] if tally.ballot.kind == FINALIZE else found

    original = Views.add_tally
    return [(Views, "add_tally", add_tally)]


def tallies_in_any_order() -> list[Replacement]:
    return [rewritten(vote, "check_tally", ("if members != sorted(set(members)):", "if False:"))]


def two_and_five_delta_swapped() -> list[Replacement]:
    change = ("deltas = _LONGEST if is_proposed else 2", "deltas = 2 if is_proposed else _LONGEST")
    return [rewritten(ViewTimer, "deadline_ms", change)]


def routes_are_never_cleared() -> list[Replacement]:
    change = ("if len(self._routes) > _ROUTES:", "if False:")
    return [rewritten(SimplexDriver, "_on_recovery_request", change)]


def who_recovers_answers() -> list[Replacement]:
    def proven_view(self):
        entered_by = self.views.entered_by
        return self.view, entered_by.tally if entered_by is not None else None

    return [(Simplex, "proven_view", proven_view)]


def any_nonce_will_do() -> list[Replacement]:
    return [rewritten(SimplexDriver, "_is_wanted_response", (" and response.nonce == recovery.nonce", ""))]


def who_decides_is_not_asked() -> list[Replacement]:
    return [
        (Draft, "_check_member", lambda self, certificate: None),
        rewritten(knowledge, "_check_issuer", ("if directory.member_of(issuer) is None:", "if False:")),
    ]


def anybody_certifies() -> list[Replacement]:
    return [(Directory, "check_certifies", lambda self, key, at: self.keys.get(key))]


def the_box_lets_go_of_what_is_legal() -> list[Replacement]:
    """With each block all that waits leaves, as if its keys had ended."""

    def drop_illegal(self):
        refused = Refused(Rule.D1, "the key has ended")
        return [(one, refused) for one in list(self._waiting) if self._remove(one)]

    return [(CertificateBox, "_drop_illegal", drop_illegal)]


def k1_after_pynacl() -> list[Replacement]:
    changes = (
        (" or not _is_valid_key(public_key)", ""),
        ("        return _cofactored", "        return _is_valid_key(public_key) and _cofactored"),
    )
    return [rewritten(keys, "is_signed", *changes)]


def negative_zero() -> list[Replacement]:
    accepted = {(1).to_bytes(32, "little")[:31] + b"\x80", bytes.fromhex("ec" + "ff" * 31)}
    return [(keys, "_NON_CANONICAL", keys._NON_CANONICAL - accepted)]


MUTANTS: dict[str, Callable[[], list[Replacement]]] = {
    "a smaller log is cosigned": lambda: [
        rewritten(SigningGuard, "cosign", ("if last is not None and record.size <= last.size:", "if False:"))
    ],
    "who lost its guard cosigns": lambda: [
        rewritten(SigningGuard, "cosign", (" or place <= max(self.silent, self.limited)", ""))
    ],
    "a cosignature leaves before the guard is synced": lambda: [
        rewritten(SimplexDriver, "cosign", ("self._sync_guard(actions)", "pass"))
    ],
    "members of the next epoch countersign": lambda: [
        rewritten(Checkpoints, "added", ("self._hold(state, epoch)", "self._hold(state, state.epoch)"))
    ],
    "cosignatures are not told to who missed them": lambda: [(Checkpoints, "told", lambda self: iter(()))],
    "another log counts": lambda: [rewritten(Checkpoints, "receive", ("one.root != candidate.root", "False"))],
    "a block from the past is notarized": lambda: [(Simplex, "_is_backdated", lambda self, header, now_ms: False)],
    "a majority is a quorum": lambda: _quorum(lambda stake, total: 2 * stake > total),
    "two thirds, no more, are a quorum": lambda: _quorum(lambda stake, total: 3 * stake >= 2 * total),
    "the guard is not synced": lambda: _without(PersistSigned),
    "votes are sent before the guard is synced": lambda: _in_order(
        "[*self._passed_on, *self._told, *signed, *self._kept]"
    ),
    "database before guard": lambda: _in_order("[*self._passed_on, *self._kept, *signed, *self._told]"),
    "what the key signs is kept beside the guard": lambda: [(Stretch, "is_beside", True)],
    "records are synced before what they rely on": lambda: [
        rewritten(Stretch, "add", ("self.is_rested_on |=", "_ ="))
    ],
    "own votes are forgotten at a restart": own_votes_are_forgotten_at_a_restart,
    "certificates are not persisted": lambda: _without(PersistQuorum),
    "finalize after nullify": lambda: _forgets(NULLIFY, "_vote_to_finalize"),
    "nullify after finalize": nullify_after_finalize,
    "a second notarize vote in a view": a_second_notarize_vote,
    "stakes of the tip count": stakes_of_the_tip,
    "may_follow is always true": lambda: [(Views, "may_follow", lambda self, block_hash, view: True)],
    "a vote on half a block": half_a_block_is_enough,
    "certificates twice on the chain": lambda: [(Blockchain, "_check_certificates", lambda self, *_: None)],
    "anybody's tokens move": any_stake_moves,
    "a block from the future is notarized": lambda: [
        rewritten(Simplex, "_notarize", ("check_clock(block.header, self.chain.state.params, now_ms)", "pass"))
    ],
    "anybody leads": anybody_leads,
    "an epoch begins before the last ended": epochs_begin_early,
    "who lost its guard votes at once": a_lost_guard_counts_as_ready,
    "nobody needs to answer": lambda: [
        rewritten(Recovery, "finish", ("if epoch.is_quorum(", "if True or ("))
    ],
    "floor + 0": lambda: [rewritten(Recovery, "finish", (".values()]) + 1", ".values()])"))],
    "own answer counted": lambda: [rewritten(Recovery, "answered", ("if member == self._guard.key:", "if False:"))],
    "the last answer counts": the_last_answer_counts,
    "an answer that proves nothing counts": lambda: [(SimplexDriver, "_proves", lambda self, response: True)],
    "who recovers, or cannot prove its view, answers": who_recovers_answers,
    "any nonce will do": any_nonce_will_do,
    "no second recovery after an epoch": lambda: [
        (SigningGuard, "recover_again", lambda self: self.note(Confirmed(self.ledger_id)))
    ],
    "the floor is not synced": lambda: [
        rewritten(Recovery, "finish", ("self._guard.note(Recovered(", "self._guard.apply(Recovered("))
    ],
    "finalizations of little stake": lambda: [
        rewritten(VoteCertificate, "__post_init__", ("if not voters.is_quorum(stake):", "if False:"))
    ],
    "finalizations of another block or epoch": any_finalization,
    "finalizations are not counted": finalizations_are_not_counted,
    "evidence is ignored": lambda: [(Node, "_report_equivocations", lambda self, now_ms, found, actions: None)],
    "contradictions count in no quorum": lambda: [
        rewritten(Views, "_add", (" or ballot in state.weight or len(known) < 4:", ":"))
    ],
    "a burned key is staked anew": lambda: [
        rewritten(StakeTable, "after", ("if one.issuer in burned_keys:", "if False:"))
    ],
    "the state root is not compared": lambda: [
        rewritten(Blockchain, "after", ("if state.root != header.state_root:", "if False:"))
    ],
    "the box loses what was voted for": the_box_loses_what_was_voted_for,
    "what users submit is not persisted": lambda: _without(PersistCertificates),
    "old views are never forgotten": lambda: [
        rewritten(Views, "_raise_final_view", ("[one for one in self._views if one <= view]", "()"))
    ],
    "nullifications are dropped at a restart": lambda: _dropped_at_a_restart(NULLIFY),
    "certificates are not told to who missed them": lambda: [(Views, "rebroadcast", lambda self: [])],
    "an early block is nullified": an_early_block_is_nullified,
    "everybody is silent after a jump": lambda: [
        rewritten(Views, "_certify", ("self.lived_from = self.view", "pass"))
    ],
    "stalls are not reset": lambda: [rewritten(Sync, "answered", ("share.stalls = 0", "pass"))],
    "routes are never cleared": routes_are_never_cleared,
    "tally members in any order": tallies_in_any_order,
    "2 delta and 5 delta swapped": two_and_five_delta_swapped,
    "who decides is not asked": who_decides_is_not_asked,
    "anybody certifies": anybody_certifies,
    "half of the stake decides": lambda: [
        rewritten(Motions, "counted", ("epoch.is_quorum(motion.stake(epoch, 1))",
                                       "2 * motion.stake(epoch, 1) >= epoch.total"))
    ],
    "motions are counted by the stakes of the tip": lambda: [
        rewritten(Draft, "finish", (".counted(which, base.epoch, ",
                                    ".counted(which, dataclasses.replace(base.epoch, stakes=base.stakes), "))
    ],
    "a motion is carried out whatever changed": lambda: [
        rewritten(motions, "_check_holds", ("if now != before:", "if False:"))
    ],
    "a member moves without end": lambda: [rewritten(Motions, "moved", (">= MAX_OPEN_A_MEMBER", ">= 99"))],
    "what passed waits for the epoch to end": lambda: [rewritten(Draft, "_is_last", ("self.motions.passed or ", ""))],
    "a removed member's keys go on": lambda: [rewritten(Directory, "remove", ("until=at.log_index", "until=None"))],
    "what became illegal stays in the box": lambda: [(CertificateBox, "_drop_illegal", lambda self: [])],
    "what is too late stays in the box": lambda: [(CertificateBox, "time_passed", lambda self, now_ms: [])],
    "the box proposes what is illegal": lambda: [
        rewritten(CertificateBox, "choose", ("draft.add(certificate)", "pass"))
    ],
    "the box lets go of what is legal": the_box_lets_go_of_what_is_legal,
    "K1 after PyNaCl": k1_after_pynacl,
    "negative-zero R accepted": negative_zero,
}  # fmt: skip


@contextmanager
def replaced(replacements: Iterable[Replacement]) -> Iterator[None]:
    """While inside, these stand instead."""
    with ExitStack() as stack:
        for owner, attribute, value in replacements:
            if attribute == "__code__":
                stack.callback(setattr, owner, attribute, owner.__code__)
                owner.__code__ = value
            else:
                stack.enter_context(patch.object(owner, attribute, value))
        yield


@contextmanager
def broken(name: str) -> Iterator[None]:
    """While inside, this rule is broken."""
    with replaced(MUTANTS[name]()):
        yield


def hunt(name: str, first: int = 1, most: int = MOST_SEEDS) -> Outcome | None:
    """The first seed's outcome, of so many, in which the campaign notices the mutant."""
    with broken(name):
        for seed in range(first, first + most):
            outcome = run_seed(seed)
            if outcome.broken:
                return outcome
    return None
