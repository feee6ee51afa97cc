"""What a peer may have a node look up in its file: a few ids a message, whatever the peer names."""

import pytest
from tests.builders import Bench, Scribe, cut_off, of_kind, rules, statement, statements
from tests.kept_elsewhere import KeptElsewhere

from tallystick.ledger.messages import MAX_IDS, CertificateRequest, Certificates, Entry, Status
from tallystick.node.events import PeerConnected, ReportAccepted, Send
from tallystick.node.limits import Limits

MOST = Limits().old_ids_per_message
OLD = statements(3 * MOST)


@pytest.fixture
def file():
    """What has the ids of the chain."""
    return KeptElsewhere([one.id for one in OLD])


@pytest.fixture
def bench(file):
    """A node whose chain is in its file, with a peer."""
    scribe = Scribe()
    scribe.forge(*OLD)
    bench = Bench(blocks=scribe.blocks)
    bench.node.chain.certificate_index.let_go(file, len(OLD))
    bench.handle(PeerConnected("x"))
    return bench


def status(bench, *ids):
    tip = bench.node.state.tip
    return Status(bench.node.chain.ledger_id, 0, tip.index, tip.hash, ids)


def asked_for(actions):
    return [one.message.ids for one in of_kind(Send, actions) if isinstance(one.message, CertificateRequest)]


@pytest.mark.parametrize("is_there", [True, False], ids=["old", "begin as old ones do"])
def test_old_ids_that_a_peer_announces_are_looked_up_a_few_at_a_time_and_new_ones_are_asked_for(bench, file, is_there):
    old = [one.id if is_there else one.id[:8] + bytes(24) for one in OLD]
    new = [statement(f"new {number}").id for number in range(MAX_IDS - len(old))]
    (asked,) = asked_for(bench.receive(status(bench, *new[:9], *old, *new[9:]), "x"))
    assert len(file.read) == MOST
    assert [one for one in asked if one in {*new}] == new
    assert len(asked) == len(new) + (0 if is_there else MOST)


def test_one_id_named_many_times_is_looked_up_and_asked_for_once(bench, file):
    new = statement("new").id
    assert asked_for(bench.receive(status(bench, *[OLD[0].id, new] * 2_000), "x")) == [(new,)]
    assert file.read == [OLD[0].id]


def test_old_certificates_pushed_again_are_looked_up_a_few_at_a_time_and_new_ones_beside_them_are_taken(bench, file):
    new = [statement(f"new {number}") for number in range(9)]
    actions = bench.receive(Certificates(tuple(Entry(one) for one in [*new[:4], *OLD, *new[4:]])), "x")
    assert len(file.read) == MOST
    assert [one.id for told in of_kind(ReportAccepted, actions) for one in told.certificates] == [one.id for one in new]
    assert (rules(actions), cut_off(actions)) == ([], set()), "an honest peer on a slow line does that, too"
    assert len(bench.verified) == len(new)


def test_what_memory_tells_of_is_one_lot_and_what_the_file_may_have_comes_a_few_at_a_time(bench, file):
    index, new = bench.node.chain.certificate_index, [statement(f"new {number}").id for number in range(2 * MOST)]
    old = [one.id for one in OLD]
    asked = [*new[:5], *old, *new[5:]]
    lots = list(index.in_lots(asked, MOST))
    assert lots == [new, old[:MOST], old[MOST : 2 * MOST], old[2 * MOST :]]
    assert file.read == []
    assert index.known(new) == set()
    file.asked.clear()
    assert list(index.in_lots(new, MOST)) == [new]
    assert file.asked == [], "what was found absent is not asked for again"
