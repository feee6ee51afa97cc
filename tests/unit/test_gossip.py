"""Gossip: certificates leave in small batches, missing ones are asked for once, announcements grow rare."""

from tests.builders import payload, statement, statements, with_payload

from tallystick.ledger.encoding import encode
from tallystick.ledger.messages import MAX_ENTRIES, MAX_IDS, Certificates, Entry
from tallystick.ledger.params import MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES
from tallystick.node.gossip import Gossip, batched
from tallystick.node.limits import Limits

LIMITS = Limits()


def offered(*subjects_and_sources):
    gossip = Gossip(LIMITS)
    for subject, source in subjects_and_sources:
        gossip.offer(Entry(statement(subject)), source)
    return gossip


def test_after_a_quiet_while_news_leaves_at_once():
    gossip = offered(("one", None))
    assert gossip.due_ms(1_000) == 1_000
    assert [one.message.entries for one in gossip.flush(1_000)] == [(Entry(statement("one")),)]
    assert gossip.due_ms(1_000) is None
    assert gossip.flush(1_000) == []
    gossip.offer(Entry(statement("two")), None)
    assert gossip.due_ms(1_000 + LIMITS.gossip_batch_ms) == 1_000 + LIMITS.gossip_batch_ms


def test_soon_after_that_news_waits_for_a_batch():
    gossip = offered(("one", None))
    gossip.flush(1_000)
    for subject in ("two", "three"):
        gossip.offer(Entry(statement(subject)), None)
        assert gossip.due_ms(1_003) == 1_000 + LIMITS.gossip_batch_ms
    (batch,) = gossip.flush(1_010)
    assert batch.message == Certificates((Entry(statement("two")), Entry(statement("three"))))


def test_news_does_not_go_back_to_where_it_came_from():
    assert offered(("one", "x"), ("two", "x")).flush(0)[0].but == "x"
    assert offered(("one", "x"), ("two", "y")).flush(0)[0].but is None
    assert offered(("one", "x"), ("two", None)).flush(0)[0].but is None
    gossip = offered(("one", "x"), ("two", "y"))
    gossip.flush(0)
    gossip.offer(Entry(statement("three")), "z")
    assert gossip.flush(20)[0].but == "z"


def test_what_was_asked_for_is_not_asked_again_until_it_is_late():
    gossip, ids = Gossip(LIMITS), tuple(one.id for one in statements(3))
    assert gossip.to_ask(ids[:2], 0) == ids[:2]
    assert gossip.to_ask(ids, 1) == ids[2:]
    assert gossip.to_ask(ids, LIMITS.request_timeout_ms) == ids[:2]
    gossip.received(ids[0])
    assert gossip.to_ask(ids, LIMITS.request_timeout_ms) == ids[:1]


def test_a_liar_cannot_have_a_node_remember_ever_more_ids():
    limits = Limits(box_certificates=1_000)
    gossip, asked = Gossip(limits), 0
    for number in range(100):
        ids = tuple((number * MAX_IDS + place).to_bytes(32, "big") for place in range(MAX_IDS))
        asked += len(gossip.to_ask(ids, 0))
    assert 0 < asked <= limits.box_certificates
    assert gossip.to_ask((b"x" * 32,), limits.request_timeout_ms) == (b"x" * 32,)


def test_announcements_grow_rare_and_end_and_news_begins_them_anew():
    gossip, now_ms, gaps = Gossip(LIMITS), 0, []
    at_ms = gossip.news(now_ms)
    while at_ms is not None:
        gaps.append(at_ms - now_ms)
        now_ms = at_ms
        at_ms = gossip.announced(now_ms)
    assert gaps == [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000]
    assert gossip.news(now_ms) == now_ms + LIMITS.announce_first_ms


def test_batches_fit_into_messages():
    assert batched([], 100) == []
    large = [
        Entry(statement(f"{number}", payload=payload("x" * MAX_PAYLOAD_BYTES)), payload("x" * MAX_PAYLOAD_BYTES))
        for number in range(40)
    ]
    small = [with_payload(f"{number}") for number in range(MAX_ENTRIES + 10)]
    for entries in (large, small):
        batches = batched(entries, LIMITS.answer_bytes)
        assert [entry for batch in batches for entry in batch] == entries
        assert all(len(encode(Certificates(batch))) <= MAX_MESSAGE_BYTES for batch in batches)
        assert all(len(batch) <= MAX_ENTRIES for batch in batches)
    assert len(batched(large, LIMITS.answer_bytes)) < len(large) / 10
