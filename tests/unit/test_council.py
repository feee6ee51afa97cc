"""The node's part in Simplex on the wire: how much it tells at once, and whose answers count."""

import pytest
from msgspec.structs import replace
from tallystick.node.council import in_parts
from tests.builders import ADA, BEN, CY, DOT, GENESIS, LEDGER, START_MS, STRANGER, of_kind, rules, vote

from tallystick.consensus.simplex import Simplex
from tallystick.ledger.messages import (
    MAX_TALLIES,
    Standing,
    StandingRequest,
    Votes,
    decode_message,
    encode_message,
    sign_standing,
)
from tallystick.ledger.params import MAX_GENESIS_MEMBERS, MAX_MESSAGE_BYTES
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Tally
from tallystick.node.events import Broadcast, MessageReceived, PeerConnected, Send
from tallystick.node.intake import Intake
from tallystick.node.node import Node


class Table:
    """A member's node, and what peers say to it."""

    def __init__(self, owner=ADA):
        self.node = Node(GENESIS, Simplex(owner))
        self.verified = []
        self.intake = Intake(LEDGER, self.node, self._verify)
        self.now_ms = START_MS + 1_000

    def _verify(self, data, signature, key):
        self.verified.append(key)
        return True

    def receive(self, message, peer="peer"):
        return self.node.handle(self.now_ms, MessageReceived(peer, self.intake.check(encode_message(message))))

    def asks(self):
        """Its question to a new peer."""
        actions = self.node.handle(self.now_ms, PeerConnected("new"))
        return next(one.message for one in of_kind(Send, actions) if isinstance(one.message, StandingRequest))

    @property
    def may_vote(self):
        self.node._council.step(self.now_ms, [])
        simplex = self.node._council.simplex
        return simplex._record.may_vote(simplex.epoch, 1)


def standing(member, asker, asked_ms, yours=None):
    return sign_standing(Standing(member.public_key, asker, asked_ms, 0, 1, yours, ()), member, LEDGER)


def tally(signatures, view):
    ballot = vote(NOTARIZE, view=view).ballot
    return Tally(ballot, tuple((number.to_bytes(32, "big"), bytes(64)) for number in range(signatures)))


@pytest.mark.parametrize(
    ("count", "signatures", "parts"),
    [(0, 1, 0), (1, 1, 1), (MAX_TALLIES, 1, 1), (MAX_TALLIES + 1, 1, 2), (20, MAX_GENESIS_MEMBERS, 10)],
)
def test_votes_are_told_in_messages_that_are_not_too_big(count, signatures, parts):
    tallies = [tally(signatures, view) for view in range(count)]
    told = in_parts(tallies)
    assert len(told) == parts
    assert [one for part in told for one in part] == tallies
    for part in told:
        assert len(encode_message(Votes(part))) <= MAX_MESSAGE_BYTES
        assert decode_message(encode_message(Votes(part))) == Votes(part)


def test_a_member_tells_all_votes_that_it_knows():
    table = Table()
    votes = [vote(NULLIFY, member=BEN), vote(NOTARIZE, b"a" * 32, CY), vote(FINALIZE, b"b" * 32, CY, view=3)]
    table.receive(Votes(tuple(Tally(one.ballot, ((one.member, one.signature),)) for one in votes)))
    answered = of_kind(Send, table.receive(StandingRequest(None, START_MS)))
    told = [one for tally in answered[-1].message.tallies for one in tally.votes]
    assert sorted(told, key=repr) == sorted(votes, key=repr)
    assert told[0] == votes[2], "the newest first"


def test_a_vote_that_was_counted_is_not_verified_again_and_another_signature_is():
    table, one = Table(), vote(NULLIFY, member=BEN)
    for times in (1, 1, 1):
        table.receive(Votes((Tally(one.ballot, ((one.member, one.signature),)),)))
        assert table.verified == [BEN.public_key] * times
    table.receive(Votes((Tally(one.ballot, ((one.member, bytes(64)),)),)))
    assert table.verified == [BEN.public_key] * 2


def test_a_member_votes_after_a_quorum_answered_it_and_not_after_answers_to_others():
    table = Table()
    asked = table.asks()
    assert asked == StandingRequest(ADA.public_key, table.now_ms)
    for asker, asked_ms in ((BEN.public_key, asked.asked_ms), (None, asked.asked_ms), (ADA.public_key, START_MS)):
        for member in (BEN, CY, DOT):
            assert rules(table.receive(standing(member, asker, asked_ms))) == []
        assert not table.may_vote
    for member in (BEN, STRANGER):
        table.receive(standing(member, ADA.public_key, asked.asked_ms))
        assert not table.may_vote
    table.receive(standing(CY, ADA.public_key, asked.asked_ms))
    assert table.may_vote


@pytest.mark.parametrize(("yours", "may_vote"), [(vote(NULLIFY, member=DOT), True), (vote(NULLIFY, member=ADA), False)])
def test_only_a_vote_of_ones_own_tells_of_an_old_backup(yours, may_vote):
    table = Table()
    asked = table.asks()
    for member in (BEN, CY):
        table.receive(standing(member, ADA.public_key, asked.asked_ms, yours))
    assert table.may_vote is may_vote


def test_who_asks_again_is_answered_by_the_peers_of_its_peers():
    table = Table()
    for number, passed_on in ((1, 0), (2, 1), (2, 0), (3, 1)):
        asked = StandingRequest(BEN.public_key, START_MS + number)
        actions = table.receive(asked, "ben")
        assert of_kind(Broadcast, actions) == [Broadcast(asked, but="ben")] * passed_on
    answer = standing(CY, BEN.public_key, START_MS + 2)
    assert of_kind(Send, table.receive(answer, "cy")) == [Send("ben", answer)]
    assert of_kind(Send, table.receive(answer, "dot")) == [], "once is enough"
    for no_answer in (
        standing(CY, BEN.public_key, START_MS + 9),
        standing(STRANGER, BEN.public_key, START_MS + 2),
        replace(answer, asker=DOT.public_key),
    ):
        assert of_kind(Send, table.receive(no_answer, "cy")) == []
    own = StandingRequest(ADA.public_key, START_MS + 5)
    for asker in (own, replace(own, asked_ms=START_MS + 6), *(StandingRequest(None, START_MS + n) for n in (1, 2))):
        assert of_kind(Broadcast, table.receive(asker, "ben")) == []


def test_a_stranger_may_ask_as_often_as_it_likes_and_nobody_else_is_asked():
    table = Table()
    for number in range(5):
        actions = table.receive(StandingRequest(STRANGER.public_key, START_MS + number), "stranger")
        assert of_kind(Broadcast, actions) == []
