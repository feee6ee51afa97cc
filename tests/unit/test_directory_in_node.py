"""A node of a ledger with a directory: whose certificates it looks at, what leaves its box, and who is its peer."""

from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace
from tests.builders import (
    ADA,
    BEN,
    CY,
    DOT,
    START_MS,
    STRANGER,
    Bench,
    cut_off,
    evidence,
    lone_driver,
    of_kind,
    refuses,
    rules,
    sign_block,
    simplex_driver,
)
from tests.governed import DAY_MS, GovernedScribe, directory_genesis

from tallystick.ledger.block import VerifiedBlock
from tallystick.ledger.blockchain import NOTHING
from tallystick.ledger.certificate import AnyCertificate, Motion, certificates_hash, issue, issue_stake, issue_statement
from tallystick.ledger.changes import (
    AddIssuer,
    Admit,
    EndIssuer,
    Remove,
    Rename,
    ReplaceMemberKey,
    Role,
    SetMemberRole,
    SetParameter,
)
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.messages import Certificates, Entry, NewBlock, Proposal, ProposalCertificates, Votes
from tallystick.ledger.params import MAX_BLOCK_BYTES
from tallystick.ledger.state import State
from tallystick.ledger.transition import make_header
from tallystick.ledger.vote import NOTARIZE, NULLIFY, Ballot, cast, tally_of
from tallystick.network.archiving import sign_address
from tallystick.node import certificate_box, events
from tallystick.node.events import ForgetCertificate, ReportAccepted, ReportRefused, Started
from tallystick.node.limits import Limits
from tallystick.node.peer_exchange import PeerExchange
from tallystick.node.simplex_driver import SimplexDriver
from tallystick.storage.state_codec import decode_state, encode_state

HOUR_MS = 3_600_000
RENAME = Rename("ada", "University of Ada", "Ada's", None, None)


class Following(Bench):
    """A node that follows the chain of a scribe."""

    def __init__(self, scribe: GovernedScribe | None = None, **more: Any) -> None:
        self.scribe = scribe or GovernedScribe()
        super().__init__(self.scribe.genesis, blocks=self.scribe.blocks, **more)

    def follow(self) -> list[events.Action]:
        """Take the scribe's new blocks; what follows from the last."""
        actions = list[events.Action]()
        for block in self.scribe.blocks[self.node.state.index :]:
            self.now_ms = max(self.now_ms, block.header.timestamp_ms)
            actions = self.receive(NewBlock(block), peer=BEN.public_key)
        assert self.node.state == self.scribe.state
        return actions


def lost(actions: list[events.Action]) -> dict[bytes, Rule]:
    """What left the box, by which rule; each is forgotten, too."""
    told = [one for one in of_kind(ReportRefused, actions) if one.certificate_id is not None]
    assert [one.certificate_id for one in told] == [one.certificate_id for one in of_kind(ForgetCertificate, actions)]
    return {one.certificate_id: one.refused.rule for one in told}


# ---- whose certificates are looked at ---------------------------------------------------------------------------


def of_strangers(scribe: GovernedScribe) -> list[tuple[AnyCertificate, Rule]]:
    """What nobody but listed keys may issue, by others."""
    scribe.keys["stranger"] = STRANGER
    operation = AddIssuer("ada", STRANGER.public_key, "", None, scribe.admission("stranger", "ada"))
    target = scribe.statement()
    motion = scribe.motion(RENAME)
    return [
        (scribe.statement("stranger"), Rule.D1),
        (scribe.revocation(target, "stranger"), Rule.D1),
        (scribe.supersession(target, scribe.statement(), "stranger"), Rule.D1),
        (scribe.motion(RENAME, "stranger"), Rule.M1),
        (scribe.approval(motion, "stranger"), Rule.M1),
        (scribe.objection(motion, "stranger"), Rule.M1),
        (scribe.key_change(operation, "stranger"), Rule.D6),
        (scribe.erasure(target, "stranger"), Rule.D1),
        (scribe.erased(motion, target, "stranger"), Rule.R4),
        (issue_stake(STRANGER, scribe.ledger_id, START_MS, 5), Rule.S9),
    ]


@pytest.mark.parametrize("place", range(10))
def test_what_a_stranger_issues_is_refused_before_any_signature_is_looked_at(place: int) -> None:
    bench = Following()
    certificate, rule = of_strangers(bench.scribe)[place]
    with refuses(rule):
        bench.submit(certificate)
    actions = bench.receive(Certificates((Entry(certificate),)))
    assert rules(actions) == [rule]
    assert not cut_off(actions), "an honest peer may be ahead or behind"
    assert bench.verified == []
    assert len(bench.node.box) == 0


def test_a_flood_of_motions_by_strangers_costs_no_signature_and_no_room() -> None:
    bench = Following()
    expires_ms = START_MS + 30 * DAY_MS
    flood = [issue(Motion, STRANGER, bench.scribe.ledger_id, START_MS + n, RENAME, expires_ms) for n in range(100)]
    actions = bench.receive(Certificates(tuple(Entry(one) for one in flood)))
    assert rules(actions) == [Rule.M1] * 100
    assert (bench.verified, len(bench.node.box), cut_off(actions)) == ([], 0, set())


def test_a_key_certifies_at_a_node_as_soon_as_its_block_is_there() -> None:
    """And is refused at one that is a block behind, which has it when the certificate is brought again."""
    bench, scribe = Following(), GovernedScribe()
    bench.scribe = scribe
    added = AddIssuer("ada", scribe.key("office").public_key, "office", None, scribe.admission("office", "ada"))
    scribe.forge(scribe.key_change(added, "ada"))
    early = scribe.statement("office")
    assert rules(bench.receive(Certificates((Entry(early),)))) == [Rule.D1]
    bench.follow()
    assert of_kind(ReportAccepted, bench.receive(Certificates((Entry(early),))))
    assert len(bench.node.box) == 1


def test_where_anybody_certifies_strangers_do_and_yet_move_nothing() -> None:
    bench = Following(GovernedScribe(directory_genesis(anybody_certifies=True)))
    bench.scribe.keys["stranger"] = STRANGER
    bench.submit(bench.scribe.statement("stranger"))
    with refuses(Rule.M1):
        bench.submit(bench.scribe.motion(RENAME, "stranger"))
    assert len(bench.node.box) == 1


# ---- what leaves the box ----------------------------------------------------------------------------------------


def test_approvals_of_a_motion_that_is_closed_leave_the_box_and_it_is_said_why() -> None:
    bench = Following()
    scribe = bench.scribe
    motion = scribe.motion(RENAME)
    scribe.forge(motion)
    bench.follow()
    late = scribe.approval(motion, "ben")
    bench.submit(late)
    scribe.forge(scribe.objection(motion, "cy"), scribe.objection(motion, "dot"))
    assert lost(bench.follow()) == {late.id: Rule.M4}
    assert late.id not in bench.node.box


def test_what_an_ended_key_certified_leaves_the_box() -> None:
    bench = Following()
    scribe = bench.scribe
    office = scribe.key("office").public_key
    scribe.forge(scribe.key_change(AddIssuer("ada", office, "", None, scribe.admission("office", "ada")), "ada"))
    bench.follow()
    late, other = scribe.statement("office"), scribe.statement("ben")
    bench.submit(late)
    bench.submit(other)
    scribe.forge(scribe.key_change(EndIssuer(office, None), "ada"))
    assert lost(bench.follow()) == {late.id: Rule.D1}
    assert other.id in bench.node.box


def test_what_a_removed_organisation_submitted_leaves_the_box() -> None:
    bench = Following()
    scribe = bench.scribe
    target = scribe.statement("dot")
    scribe.forge(target)
    bench.follow()
    waiting: list[AnyCertificate] = [
        scribe.statement("dot"),
        scribe.motion(RENAME, "dot"),
        scribe.revocation(target, "dot"),
    ]
    for one in waiting:
        bench.submit(one)
    scribe.decide(Remove("dot", 10), "ada", "ben", "cy")
    assert lost(bench.follow()) == dict(zip([one.id for one in waiting], [Rule.D1, Rule.M1, Rule.D1], strict=True))


def test_a_revocation_that_comes_second_leaves_the_box() -> None:
    bench = Following()
    scribe = bench.scribe
    target = scribe.statement()
    scribe.forge(target)
    bench.follow()
    second = scribe.revocation(target)
    bench.submit(second)
    scribe.forge(scribe.revocation(target))
    assert lost(bench.follow()) == {second.id: Rule.R3}


def test_statements_of_strangers_leave_the_box_when_only_listed_keys_may_certify() -> None:
    bench = Following(GovernedScribe(directory_genesis(anybody_certifies=True)))
    scribe = bench.scribe
    scribe.keys["stranger"] = STRANGER
    late = scribe.statement("stranger")
    bench.submit(late)
    scribe.decide(SetParameter("anybody_certifies", 1, 0), "ada", "ben", "cy")
    assert lost(bench.follow()) == {late.id: Rule.D1}


def test_what_is_too_late_for_any_block_leaves_the_box_though_no_block_comes() -> None:
    """Else it would be waited for without end."""
    bench = Following()
    scribe = bench.scribe
    until_ms = bench.now_ms + HOUR_MS
    added = AddIssuer("ada", scribe.key("office").public_key, "", until_ms, scribe.admission("office", "ada"))
    scribe.forge(scribe.key_change(added, "ada"))
    bench.follow()
    statement = scribe.statement("office")
    motion = issue(Motion, BEN, scribe.ledger_id, START_MS, RENAME, until_ms)
    bench.submit(statement)
    bench.submit(motion)
    bench.now_ms = until_ms - 1
    assert lost(bench.submit(scribe.statement("ben"))) == {}
    bench.now_ms = until_ms
    assert lost(bench.submit(scribe.statement("ben"))) == {statement.id: Rule.D1, motion.id: Rule.M3}
    assert len(bench.node.box) == 2


def test_a_motion_that_expires_as_late_as_it_may_is_kept_over_blocks_and_a_restart() -> None:
    """The tip may be older than the motion, which is not to expire more than 90 days after its block."""
    bench = Following()
    scribe = bench.scribe
    bench.now_ms += DAY_MS
    motion = issue(Motion, BEN, scribe.ledger_id, bench.now_ms, RENAME, bench.now_ms + 90 * DAY_MS)
    assert of_kind(ReportAccepted, bench.submit(motion))
    scribe.forge()
    assert lost(bench.follow()) == {}
    bench.archive.keep_certificates([Entry(motion)])
    again = Bench(scribe.genesis, archive=bench.archive, agreement=lone_driver(None, scribe.genesis))
    assert motion.id in again.node.box


# ---- blocks made of the box ---------------------------------------------------------------------------------------


def test_what_stands_in_its_own_way_in_a_block_is_left_for_a_later_one_and_takes_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of a member's motions is legal by itself, and four of them together."""
    monkeypatch.setattr(certificate_box, "_BLOCK_OVERHEAD_BYTES", MAX_BLOCK_BYTES - 3_000)
    bench = Following()
    scribe = bench.scribe
    for place in range(40):
        bench.submit(scribe.motion(Rename("ada", "University of Ada", f"Ada's {place}", None, None), "ben"))
    last = scribe.statement()
    bench.submit(last)
    chosen = bench.node.box.choose(bench.now_ms, bench.node.state, NOTHING)
    assert [type(one) for one in chosen[:4]] == [Motion] * 4
    assert chosen[4:] == [last]
    scribe.forge(*chosen)
    left = lost(bench.follow())
    assert list(left.values()) == [Rule.M3] * 36


def test_two_that_end_the_same_key_are_not_put_into_one_block() -> None:
    bench = Following()
    scribe = bench.scribe
    office = scribe.key("office").public_key
    scribe.forge(scribe.key_change(AddIssuer("ada", office, "", None, scribe.admission("office", "ada")), "ada"))
    bench.follow()
    ends = [scribe.key_change(EndIssuer(office, None), "ada") for _ in range(2)]
    late = scribe.statement("office")
    both: list[AnyCertificate] = [*ends, late]
    for one in both:
        bench.submit(one)
    chosen = bench.node.box.choose(bench.now_ms, bench.node.state, NOTHING)
    assert chosen == ends[:1]
    scribe.forge(*chosen)


# ---- peers ----------------------------------------------------------------------------------------------------------


def closed(**more: Any) -> Genesis:
    return directory_genesis(admits_observers=False, **more)


SHORT = {"epoch_ms": 1, "unbonding_ms": 2}


def admitting(scribe: GovernedScribe) -> Admit:
    return Admit("eve", "Eve's", None, scribe.key("eve").public_key, Role.MEMBER, 0, scribe.admission("eve", "eve"))


class Meeting(Following):
    """A node that is told who its peers are."""

    def __init__(self, scribe: GovernedScribe) -> None:
        super().__init__(scribe)
        record = sign_address(ADA, scribe.ledger_id, "127.0.0.1:1", START_MS)
        self.handle(Started(ADA.public_key, record, ()))

    def admits(self, *names: str) -> list[bool]:
        return [self.node.exchange.admits(self.scribe.key(name).public_key) for name in names]


def test_an_organisation_without_stake_is_a_peer_from_the_block_that_admits_it_on() -> None:
    bench = Meeting(GovernedScribe(closed()))
    assert bench.admits("ben", "eve") == [True, False]
    bench.scribe.decide(admitting(bench.scribe), "ada", "ben", "cy")
    admitted = of_kind(events.Admit, bench.follow())
    assert bench.scribe.key("eve").public_key in admitted[-1].keys
    assert bench.admits("ben", "eve") == [True, True]


def test_a_removed_organisations_key_is_a_peer_for_one_epoch_more_though_its_stake_is_liable() -> None:
    """Else it would not hear that it was removed, nor that its node may be switched off."""
    bench = Meeting(GovernedScribe(closed(**SHORT)))
    bench.handle(events.PeerConnected(DOT.public_key))
    bench.scribe.decide(Remove("dot", 10), "ada", "ben", "cy")
    assert cut_off(bench.follow()) == set()
    assert bench.admits("cy", "dot") == [True, True]
    bench.scribe.decide(admitting(bench.scribe), "ada", "ben", "cy")
    actions = bench.follow()
    assert bench.node.state.stakes.account(DOT.public_key).liable == 10
    assert cut_off(actions) == {DOT.public_key}
    assert Rule.N6 in rules(actions)
    assert bench.admits("cy", "dot") == [True, False]


def test_a_removed_organisations_key_is_a_peer_for_an_epochs_time_though_decisions_end_epochs_early() -> None:
    bench = Meeting(GovernedScribe(closed()))
    bench.handle(events.PeerConnected(DOT.public_key))
    left_ms = bench.scribe.decide(Remove("dot", 10), "ada", "ben", "cy").tip.timestamp_ms
    for change in (admitting(bench.scribe), RENAME):
        bench.scribe.decide(change, "ada", "ben", "cy")
    assert cut_off(bench.follow()) == set()
    over_ms = left_ms + bench.node.state.params.epoch_ms
    bench.scribe.forge(timestamp_ms=over_ms - 1)
    assert cut_off(bench.follow()) == set()
    assert bench.admits("dot") == [True]
    bench.scribe.forge(timestamp_ms=over_ms)
    assert cut_off(bench.follow()) == {DOT.public_key}
    assert bench.admits("dot") == [False]


def test_a_removed_organisations_key_is_a_peer_of_a_node_that_was_started_again() -> None:
    """From its blocks or from a snapshot: the state says who has just left."""
    scribe = GovernedScribe(closed(**SHORT))
    scribe.forge(scribe.rotation("cy", "other"), scribe.add_issuer("office"))
    scribe.decide(Remove("dot", 10), "ada", "ben", "cy")
    scribe.forge(timestamp_ms=scribe.state.tip.timestamp_ms + 10)
    bench = Meeting(scribe)
    assert bench.admits("dot", "office", "other") == [True, False, False]
    kept = decode_state(encode_state(scribe.state), scribe.genesis)
    assert PeerExchange(Limits(), scribe.genesis, kept, ()).admits(DOT.public_key)
    scribe.decide(admitting(scribe), "ada", "ben", "cy")
    assert cut_off(bench.follow()) == set(), "it was not connected"
    assert bench.admits("dot") == Meeting(scribe).admits("dot") == [False]


def test_a_burned_key_that_is_removed_is_cut_off_at_once() -> None:
    bench = Meeting(GovernedScribe(closed()))
    bench.handle(events.PeerConnected(DOT.public_key))
    bench.scribe.forge(evidence(DOT, genesis=bench.scribe.genesis))
    bench.scribe.decide(Remove("dot", 0), "ada", "ben", "cy")
    assert cut_off(bench.follow()) == {DOT.public_key}


@pytest.mark.parametrize("since", [None, 0])
def test_a_replaced_key_makes_way_for_its_successor_at_once_if_it_was_compromised(since: int | None) -> None:
    bench = Meeting(GovernedScribe(closed(**SHORT)))
    scribe = bench.scribe
    bench.handle(events.PeerConnected(DOT.public_key))
    new, admitted = scribe.key("new").public_key, scribe.admission("new", "dot")
    scribe.decide(ReplaceMemberKey("dot", DOT.public_key, new, since, admitted), "ada", "ben", "cy")
    first = cut_off(bench.follow())
    assert first == (set() if since is None else {DOT.public_key})
    assert bench.admits("new", "dot") == [True, since is None]
    scribe.decide(admitting(scribe), "ada", "ben", "cy")
    assert first | cut_off(bench.follow()) == {DOT.public_key}
    assert bench.admits("new", "dot") == [True, False]


@pytest.mark.parametrize("is_open", [True, False])
def test_a_motion_says_whether_observers_are_peers(is_open: bool) -> None:
    bench = Meeting(GovernedScribe(directory_genesis(admits_observers=not is_open)))
    stranger = STRANGER.public_key
    if not is_open:
        bench.handle(events.PeerConnected(stranger))
    bench.scribe.decide(SetParameter("admits_observers", int(not is_open), int(is_open)), "ada", "ben", "cy")
    actions = bench.follow()
    assert cut_off(actions) == (set() if is_open else {stranger})
    assert of_kind(events.Admit, actions)[-1].keys == (None if is_open else bench.node.state.directory.member_keys)
    assert bench.node.exchange.admits(stranger) == is_open


# ---- parameters as they are now -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("allowed_ms", "is_refused"), [(60_000, True), (3_600_000, False)])
def test_how_far_ahead_a_certificate_may_be_dated_is_what_was_decided_last(allowed_ms: int, is_refused: bool) -> None:
    bench = Following()
    if allowed_ms != 60_000:
        bench.scribe.decide(SetParameter("certificate_ahead_ms", 60_000, allowed_ms), "ada", "ben", "cy")
        bench.follow()
    dated = issue_statement(ADA, bench.scribe.ledger_id, bench.now_ms + 600_000, "ahead")
    assert rules(bench.submit(dated)) == [Rule.C2] * is_refused


def test_how_far_ahead_a_lone_forgers_block_may_be_dated_is_what_was_decided_last() -> None:
    bench = Following()
    bench.scribe.decide(SetParameter("block_ahead_ms", 500, 60_000), "ada", "ben", "cy")
    bench.follow()
    block = bench.scribe.draft(bench.scribe.statement(), timestamp_ms=bench.now_ms + 30_000)
    assert rules(bench.receive(NewBlock(block))) == []
    assert bench.node.state.index == 2


def test_a_member_key_that_is_to_certify_no_more_is_refused_from_that_block_on() -> None:
    bench = Following()
    scribe = bench.scribe
    scribe.forge(scribe.key_change(SetMemberRole(CY.public_key, Role.VOTER), "cy"))
    bench.follow()
    bench.verified.clear()
    with refuses(Rule.D1):
        bench.submit(scribe.statement("cy"))
    assert bench.verified == []
    bench.submit(scribe.motion(RENAME, "cy"))


# ---- certificates of a proposal -------------------------------------------------------------------------------------


class Proposing(Bench):
    """Ada's node under Simplex, and what leaders propose to it."""

    def __init__(self) -> None:
        self.scribe = GovernedScribe()
        super().__init__(self.scribe.genesis, agreement=simplex_driver(ADA, self.scribe.genesis))
        self.handle(events.PeerConnected("ben"))

    def propose(self, base: State, view: int, *certificates: AnyCertificate, parent_view: int = 0) -> VerifiedBlock:
        """The leader of a view proposes a block of certificates that this node has to ask for."""
        assert isinstance(self.agreement, SimplexDriver)
        leader = self.agreement.simplex.views.leader(view)
        forger = next(one for one in (ADA, BEN, CY, DOT) if one.public_key == leader)
        find = self.node.chain.finder()
        with suppress(Refused):
            header = make_header(base, view, self.now_ms, forger.public_key, certificates, find)
            return self._propose(sign_block(header, certificates, forger), parent_view)
        header = make_header(base, view, self.now_ms, forger.public_key, (), find)
        header = replace(header, certificates_hash=certificates_hash(certificates))
        return self._propose(sign_block(header, certificates, forger), parent_view)

    def _propose(self, block: VerifiedBlock, parent_view: int) -> VerifiedBlock:
        ids = tuple(one.id for one in block.certificates)
        self.receive(Proposal(block.header.view, parent_view, block.header, block.signature, ids), "ben")
        self.wait(300)
        return block

    def view_of_others(self, after: int = 0) -> int:
        """The next view that this node does not lead."""
        assert isinstance(self.agreement, SimplexDriver)
        views = self.agreement.simplex.views
        return next(view for view in range(after + 1, after + 50) if views.leader(view) != ADA.public_key)


def in_view(view: int) -> Proposing:
    """A node that others led to this view."""
    bench = Proposing()
    if view > 1:
        ballot = Ballot(NULLIFY, 0, view - 1, ZERO_DIGEST)
        tally = tally_of([cast(one, bench.scribe.ledger_id, ballot) for one in (BEN, CY, DOT)])
        bench.receive(Votes((tally,)), "ben")
    return bench


@pytest.mark.parametrize("place", range(10))
def test_a_strangers_certificates_in_a_proposal_are_refused_before_their_signatures_are_looked_at(place: int) -> None:
    view = Proposing().view_of_others()
    bench = in_view(view)
    certificate, rule = of_strangers(bench.scribe)[place]
    block = bench.propose(bench.node.state, view, certificate)
    bench.verified.clear()
    actions = bench.receive(ProposalCertificates(block.hash, (certificate,)), "ben")
    assert rules(actions) == [rule]
    assert not cut_off(actions), "who passes it on may be honest"
    assert bench.verified == []
    listed = bench.scribe.statement("ben")
    other = bench.propose(bench.node.state, view, listed)
    bench.receive(ProposalCertificates(other.hash, (listed,)), "ben")
    assert [claim[2] for claim in bench.verified][-1] == BEN.public_key, "others' are looked at as always"


def test_a_key_that_the_block_before_adds_certifies_in_a_proposal_though_that_block_is_not_final() -> None:
    """A leader may have seen it become final sooner."""
    view = Proposing().view_of_others()
    bench = in_view(view)
    scribe = bench.scribe
    office = scribe.key("office").public_key
    added = scribe.key_change(AddIssuer("ada", office, "", None, scribe.admission("office", "ada")), "ada")
    first = bench.propose(bench.node.state, view, added)
    bench.receive(ProposalCertificates(first.hash, (added,)), "ben")
    ballot = Ballot(NOTARIZE, 0, view, first.hash)
    bench.receive(Votes((tally_of([cast(one, scribe.ledger_id, ballot) for one in (BEN, CY, DOT)]),)), "ben")
    assert isinstance(bench.agreement, SimplexDriver)
    pending = bench.agreement.simplex.proposals.validate(first.hash)
    assert pending is not None
    assert bench.node.state.index == 0
    later = bench.agreement.simplex.view
    if bench.agreement.simplex.views.leader(later) == ADA.public_key:
        later += 1
    early = scribe.statement("office")
    second = bench.propose(pending.state, later, early, parent_view=view)
    assert rules(bench.receive(Certificates((Entry(early),)), "ben")) == [Rule.D1], "not into the box yet"
    assert rules(bench.receive(ProposalCertificates(second.hash, (early,)), "ben")) == []
    assert bench.agreement.simplex.proposals.whole(second.hash) is not None


@pytest.mark.parametrize("is_waiting", [False, True])
def test_a_key_that_a_proposal_lists_itself_certifies_in_it(is_waiting: bool) -> None:
    """Else nodes that do not know yet what it extends would vote for what the others never have whole."""
    view = Proposing().view_of_others()
    bench = in_view(view)
    scribe = bench.scribe
    role, added = scribe.key_change(SetMemberRole(BEN.public_key, Role.VOTER), "ben"), scribe.add_issuer("office")
    listed, stranger = scribe.statement("office"), scribe.statement("stranger")
    if is_waiting:
        bench.submit(added)
    block = bench.propose(bench.node.state, view, added, listed, role)
    asked = () if is_waiting else (added,)
    assert rules(bench.receive(ProposalCertificates(block.hash, (*asked, listed, role)), "ben")) == []
    assert isinstance(bench.agreement, SimplexDriver)
    assert bench.agreement.simplex.proposals.whole(block.hash) is not None
    assert bench.agreement.simplex.proposals.validate(block.hash) is not None
    other = bench.propose(bench.node.state, view, added, stranger)
    assert rules(bench.receive(ProposalCertificates(other.hash, (*asked, stranger)), "ben")) == [Rule.D1]
