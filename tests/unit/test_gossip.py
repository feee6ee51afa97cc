"""Gossip: a tree of eager links, small batches, missing certificates asked for once, announcements that grow rare."""

import pytest
from tests.builders import GENESIS, payload, statement, statements, with_payload

from tallystick.ledger.encoding import encode
from tallystick.ledger.messages import (
    MAX_ENTRIES,
    MAX_IDS,
    CertificateRequest,
    Certificates,
    Entry,
    Prune,
    Status,
    in_parts,
)
from tallystick.ledger.params import MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES
from tallystick.ledger.state import genesis_state
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.events import Multicast, Send
from tallystick.node.gossip import _MENDED_AGAIN_MS, Gossip
from tallystick.node.limits import Limits

LIMITS = Limits()
GRAFT = CertificateRequest(())


def connected(*peers, limits=LIMITS):
    gossip = Gossip(limits)
    for peer in peers:
        gossip.connected(peer)
    return gossip


def offered(*subjects_and_sources, peers=("x", "y", "z")):
    gossip = connected(*peers)
    for subject, source in subjects_and_sources:
        gossip.offer(Entry(statement(subject)), source, 0)
    return gossip


def pushed(gossip, now_ms=10_000):
    """Whom a certificate of this node's own would be pushed to."""
    gossip.offer(Entry(statement(f"own at {now_ms}")), None, now_ms)
    return {peer for one in gossip.flush(now_ms) for peer in one.peers}


def pushed_by(gossip, peers):
    """Which of these peers push to it: links are eager on both sides or on neither."""
    eager = set(gossip.eager())
    return [peer for peer in peers if peer in eager]


def pruned(gossip, peer, *ids, now_ms=5_000):
    """What follows, sooner or later, from a peer's pushing what was known already."""
    return gossip.heard_again(peer, ids, now_ms)


def in_order_of_id(count):
    return sorted((one.id, one) for one in statements(count))


# ---- the tree ---------------------------------------------------------------------------------------------------


def test_the_first_peers_are_pushed_to_and_know_it():
    gossip = Gossip(Limits(eager_peers=2))
    assert [gossip.connected(peer) for peer in "xyz"] == [[Send("x", GRAFT)], [Send("y", GRAFT)], []]
    assert pushed(gossip) == {"x", "y"}


def test_a_peer_that_leaves_the_tree_is_replaced_at_once_by_one_that_was_not_in_it():
    gossip = connected("x", "y", "z", limits=Limits(eager_peers=2))
    assert gossip.disconnected("x", 0) == [Send("z", GRAFT)]
    assert pushed(gossip) == {"y", "z"}
    gossip.connected("w")
    assert gossip.disconnected("never there", 20_000) == []
    gossip.pruned("w")
    assert gossip.disconnected("w", 20_000) == [], "what is lazy is not missed"


def test_soon_after_a_loss_a_link_is_replaced_if_something_came_first_over_it_or_if_it_was_the_last():
    soon_ms = _MENDED_AGAIN_MS - 1
    gossip = connected("u", "v", "w", "x", "y", limits=Limits(eager_peers=3))
    assert gossip.disconnected("u", 0) == [Send("x", GRAFT)]
    gossip.offer(Entry(statement()), "v", 1)
    assert gossip.disconnected("w", soon_ms) == []
    assert gossip.disconnected("v", soon_ms) == [Send("y", GRAFT)]
    gossip.connected("v")
    gossip.connected("z")
    assert gossip.disconnected("v", soon_ms) == [], "nothing came over the link that it has had since"
    assert [gossip.disconnected(peer, soon_ms) for peer in "xy"] == [[], [Send("z", GRAFT)]]
    for peer in "abc":
        gossip.connected(peer)
    assert gossip.disconnected("a", soon_ms + 1) == [Send("c", GRAFT)]


def test_only_the_lowest_of_the_certificates_heard_lately_prunes():
    """Two that travel at once from two sides could otherwise cut all links of a circle."""
    (low, _), (middle, _), (high, _) = in_order_of_id(3)
    by_id = dict(in_order_of_id(3))
    gossip = connected("x", "y", "z")
    gossip.offer(Entry(by_id[middle]), "x", 0)
    gossip.offer(Entry(by_id[high]), "y", 1)
    assert pruned(gossip, "z", high) == []
    assert pruned(gossip, "z", high, middle) == [Send("z", Prune())]
    gossip.offer(Entry(by_id[low]), "y", 2)
    assert pruned(gossip, "x", middle) == []
    assert pruned(gossip, "x", low) == [Send("x", Prune())]
    assert pushed(gossip) == {"y"}


def test_nothing_is_pruned_before_a_lower_certificate_had_time_to_come():
    (low, first), (high, second) = in_order_of_id(2)
    gossip = connected("x", "y", "z")
    gossip.offer(Entry(second), "x", 0)
    assert pruned(gossip, "y", high, now_ms=LIMITS.prune_after_ms - 1) == []
    gossip.offer(Entry(first), "z", LIMITS.prune_after_ms - 1)
    assert pruned(gossip, "x", low, now_ms=LIMITS.prune_after_ms) == []
    (told, _) = gossip.announce(2 * LIMITS.prune_after_ms, TIP, Box())
    assert told == Send("x", Prune())
    assert pushed(gossip) == {"y", "z"}


def test_a_certificate_prunes_for_a_while_then_another_does():
    (low, first), (high, second) = in_order_of_id(2)
    gossip = connected("x", "y")
    gossip.offer(Entry(first), "x", 0)
    gossip.offer(Entry(second), "x", LIMITS.prune_every_ms - 1)
    assert pruned(gossip, "y", high) == []
    gossip = connected("x", "y")
    gossip.offer(Entry(first), "x", 0)
    gossip.offer(Entry(second), "x", LIMITS.prune_every_ms)
    assert pruned(gossip, "y", low) == []
    assert pruned(gossip, "y", high) == [Send("y", Prune())]


@pytest.mark.parametrize("source", ["x", "a stranger"])
def test_who_brought_it_first_is_not_pruned_nor_is_who_is_no_peer(source):
    gossip = connected("x", "y")
    gossip.offer(Entry(statement()), "x", 0)
    assert pruned(gossip, source, statement().id) == []
    assert pushed(gossip) == {"x", "y"}


def test_what_was_heard_before_a_peer_left_prunes_no_link():
    """Where it came first is gone: were the links over which it came again pruned, too, none might be left."""
    gossip = connected("w", "x", "y", "z", limits=Limits(eager_peers=4))
    gossip.offer(Entry(statement()), "z", 0)
    assert pruned(gossip, "y", statement().id, now_ms=1) == []
    gossip.disconnected("w", 2)
    assert pruned(gossip, "x", statement().id) == [], "perhaps others have it over the lost link"
    assert pushed(gossip) == {"x", "y", "z"}


def test_soon_after_a_loss_what_came_first_over_a_lost_link_prunes_no_other_and_the_rest_does():
    (low, first), (high, second) = in_order_of_id(2)
    prune = {peer: Send(peer, Prune()) for peer in "vy"}
    for lost, by_low, by_high in (("x", [prune["y"], prune["v"]], []), ("z", [], [prune["v"]])):
        gossip = connected("u", "v", "w", "x", "y", "z", limits=Limits(eager_peers=6))
        gossip.disconnected("u", 0)
        gossip.offer(Entry(first), "z", 0)
        gossip.offer(Entry(second), "w", 0)
        assert pruned(gossip, "y", low, now_ms=1) == []
        gossip.disconnected(lost, 2)
        assert [pruned(gossip, "v", low), pruned(gossip, "v", high)] == [by_low, by_high]


def test_a_peer_that_comes_and_goes_does_not_keep_the_tree_from_forming():
    peers = [f"peer {number}" for number in range(8)]
    gossip, copies = connected(*peers), 0
    for number, one in enumerate(statements(500)):
        now_ms = 40 * number
        if number % 5 == 0:  # whoever asks for nothing is pushed to
            gossip.connected("restless")
            gossip.grafted("restless")
            gossip.disconnected("restless", now_ms)
        first, *others = pushed_by(gossip, peers)
        gossip.offer(Entry(one), first, now_ms)
        for peer in others:
            copies += 1
            gossip.heard_again(peer, (one.id,), now_ms + 20)
    assert len(pushed_by(gossip, peers)) <= 2
    assert copies < 100


def test_the_link_that_the_pruning_certificate_came_over_becomes_eager():
    gossip = connected("x", "y")
    gossip.pruned("x")
    gossip.offer(Entry(statement()), "x", 0)
    assert pushed(gossip) == {"x", "y"}


# ---- pushing ----------------------------------------------------------------------------------------------------


def test_after_a_quiet_while_news_leaves_at_once():
    gossip = offered(("one", None))
    assert gossip.due_ms(1_000) == 1_000
    assert gossip.flush(1_000) == [Multicast(("x", "y", "z"), Certificates((Entry(statement("one")),)))]
    assert gossip.due_ms(1_000) is None
    assert gossip.flush(1_000) == []
    gossip.offer(Entry(statement("two")), None, 1_000)
    assert gossip.due_ms(1_000 + LIMITS.gossip_batch_ms) == 1_000 + LIMITS.gossip_batch_ms


def test_soon_after_that_news_waits_for_a_batch():
    gossip = offered(("one", None))
    gossip.flush(1_000)
    for subject in ("two", "three"):
        gossip.offer(Entry(statement(subject)), None, 1_000)
        assert gossip.due_ms(1_003) == 1_000 + LIMITS.gossip_batch_ms
    (batch,) = gossip.flush(1_010)
    assert batch.message == Certificates((Entry(statement("two")), Entry(statement("three"))))


def received(gossip):
    """By peer: the subjects that are pushed to it."""
    subjects = {}
    for one in gossip.flush(0):
        for peer in one.peers:
            assert peer not in subjects
            subjects[peer] = [entry.certificate.subject for entry in one.message.entries]
    return subjects


def test_news_does_not_go_back_to_where_it_came_from():
    assert received(offered(("one", "x"), ("two", "x"))) == {"y": ["one", "two"], "z": ["one", "two"]}
    mixed = {"x": ["two", "three"], "y": ["one", "three"], "z": ["one", "two", "three"]}
    assert received(offered(("one", "x"), ("two", "y"), ("three", None))) == mixed
    assert received(offered(("one", "x"), peers=("x",))) == {}


def test_nothing_is_pushed_to_a_peer_that_is_pruned_or_gone():
    gossip = offered(("one", None))
    gossip.pruned("x")
    gossip.disconnected("y", 0)
    assert received(gossip) == {"x": ["one"], "z": ["one"]}, "x replaces y"


# ---- asking -----------------------------------------------------------------------------------------------------


def asked(gossip, ids, now_ms):
    return tuple(one for send in gossip.ask("x", ids, now_ms) for one in send.message.ids)


def test_what_was_asked_for_is_not_asked_again_until_it_is_late():
    gossip, ids = Gossip(LIMITS), tuple(one.id for one in statements(3))
    assert asked(gossip, ids[:2], 0) == ids[:2]
    assert asked(gossip, ids, 1) == ids[2:]
    assert gossip.ask("x", ids, 1) == []
    assert asked(gossip, ids, LIMITS.request_timeout_ms) == ids[:2]
    gossip.received(ids[:1])
    assert asked(gossip, ids, LIMITS.request_timeout_ms) == ids[:1]


def test_a_liar_cannot_have_a_node_remember_ever_more_ids():
    limits = Limits(box_certificates=1_000)
    gossip, count = Gossip(limits), 0
    for number in range(100):
        ids = tuple((number * MAX_IDS + place).to_bytes(32, "big") for place in range(MAX_IDS))
        count += len(asked(gossip, ids, 0))
    assert 0 < count <= limits.box_certificates
    assert asked(gossip, (b"x" * 32,), limits.request_timeout_ms) == (b"x" * 32,)


# ---- announcing -------------------------------------------------------------------------------------------------


TIP = Status(bytes(32), 0, 0, bytes(32), ())


class Box(CertificateBox):
    """A box in which certificates wait since these times (ms)."""

    def __init__(self, *came):
        super().__init__(LIMITS, genesis_state(GENESIS))
        self.since_ms = {}
        for certificate, since_ms in zip(statements(len(came)), came, strict=True):
            self.add(Entry(certificate), since_ms)
            self.since_ms[certificate.id] = since_ms


def named(gossip, now_ms, box):
    """Whom an announcement goes to, and how long ago those certificates came that it names (ms)."""
    (told,) = gossip.announce(now_ms, TIP, box)
    return told.peers, [now_ms - box.since_ms[one] for one in told.message.waiting]


def gaps_of(gossip, box, at_most=20):
    gaps, now_ms, at_ms = list[int](), 1_000, gossip.news(1_000)
    while at_ms is not None and len(gaps) < at_most:
        gaps.append(at_ms - now_ms)
        now_ms = at_ms
        gossip.announce(now_ms, TIP, box)
        at_ms = gossip.announce_ms
    return gaps


def test_announcements_grow_rare_and_end_and_news_begins_them_anew():
    gossip = connected("x")
    doubling = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000]
    assert gaps_of(gossip, Box()) == doubling
    assert gaps_of(gossip, Box()) == doubling
    assert gaps_of(gossip, Box(1_000)) == [*doubling, *[32_000] * 13], "somebody may lack it still"
    assert gaps_of(connected(), Box(1_000)) == [500], "nobody is there to tell"


def test_who_has_everything_is_not_told_until_there_is_news():
    gossip, nothing = connected("x", "y"), Box()
    gossip.news(0)
    gossip.in_sync("x")
    gossip.in_sync("a stranger")
    assert gossip.announce(500, TIP, nothing) == [Multicast(("x", "y"), TIP)], "x does not know that we have it"
    assert gossip.announce(1_500, TIP, nothing) == [Multicast(("y",), TIP)]
    gossip.in_sync("y")
    assert gossip.announce(3_500, TIP, nothing) == []
    assert gossip.announce_ms is None
    gossip.news(5_000)
    assert gossip.announce(5_500, TIP, nothing) == [Multicast(("x", "y"), TIP)]
    gossip.in_sync("x")
    gossip.connected("x")
    assert gossip.announce(6_500, TIP, nothing) == [Multicast(("x", "y"), TIP)], "it may have forgotten"


def test_what_was_just_pushed_is_announced_when_it_had_time_to_arrive():
    gossip, box = connected("x"), Box(100_000, 100_400, 100_600)
    gossip.news(100_000)
    assert named(gossip, 100_500, box) == (("x",), [500])
    assert gossip.announce_ms == 101_000
    assert named(gossip, 101_000, box) == (("x",), [600])
    assert named(gossip, 101_500, box) == (("x",), [900])
    assert gossip.announce_ms == 102_500
    assert named(gossip, 102_500, box) == (("x",), [2_500, 2_100, 1_900]), "no news since: all of it once more"


def test_while_news_goes_on_a_certificate_is_named_once_and_then_now_and_again():
    """Or a box that is always full would be listed twice a second, to everybody."""
    gossip, box, times = connected("x"), Box(100_000), []
    gossip.announce(99_000, TIP, Box())
    for now_ms in range(100_500, 180_000, 500):
        gossip.news(now_ms - 500)
        if named(gossip, now_ms, box)[1]:
            times.append(now_ms)
    assert times == [100_500, 131_000, 163_000]


def test_news_brings_the_next_announcement_forward_and_never_puts_it_off():
    gossip = connected("x")
    assert gossip.news(0) == 500
    assert gossip.news(400) == 500
    gossip.announce(500, TIP, Box())
    gossip.announce(1_500, TIP, Box())
    assert gossip.announce_ms == 3_500
    assert gossip.news(1_600) == 2_100


def test_batches_fit_into_messages():
    assert list(in_parts([], 9, 100)) == []
    large = [
        Entry(statement(f"{number}", payload=payload("x" * MAX_PAYLOAD_BYTES)), payload("x" * MAX_PAYLOAD_BYTES))
        for number in range(40)
    ]
    small = [with_payload(f"{number}") for number in range(MAX_ENTRIES + 10)]
    for entries in (large, small):
        batches = list(in_parts(entries, MAX_ENTRIES, LIMITS.answer_bytes))
        assert [entry for batch in batches for entry in batch] == entries
        assert all(len(encode(Certificates(batch))) <= MAX_MESSAGE_BYTES for batch in batches)
        assert all(len(batch) <= MAX_ENTRIES for batch in batches)
    assert len(list(in_parts(large, MAX_ENTRIES, LIMITS.answer_bytes))) < len(large) / 10
