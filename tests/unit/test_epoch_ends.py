"""What a node makes of cosignatures by ML-DSA-44 that peers tell of an epoch's end, and what it signs itself."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
from msgspec.structs import replace
from tests.builders import ADA, BEN, CY, DOT, START_MS, STRANGER, cut_off, of_kind, rules, wallet
from tests.governed import FinalGovernedScribe, directory_genesis
from tests.member_bench import MemberBench, sent
from tests.ml_dsa import StandIn, verify_stand_in

from tallystick.consensus.signing_guard import Floor
from tallystick.ledger.changes import Role
from tallystick.ledger.checkpoint import Checkpoint, MlDsaCosignature, cosign, cosigner_key, subtree_bytes
from tallystick.ledger.errors import Rule
from tallystick.ledger.genesis import Founder, make_genesis
from tallystick.ledger.messages import (
    MAX_ML_DSA_COSIGNATURES,
    Blocks,
    CertificateRequest,
    CosignatureRequest,
    Cosignatures,
    Finalizations,
    MlDsaCosignatures,
    Status,
)
from tallystick.network.memory_archive import MemoryArchive
from tallystick.node.checkpoints import MAX_AHEAD_S
from tallystick.node.epoch_ends import MlDsa
from tallystick.node.events import Multicast, PeerConnected, PersistSigned, Timer
from tallystick.node.limits import Limits

GENESIS = directory_genesis(epoch_blocks=4, epoch_ms=1_000, unbonding_blocks=8, unbonding_ms=2_000)
KEYS = {name: StandIn(name) for name in ("ada", "ben", "cy")}
"""Dot has none."""


@pytest.fixture
def scribe():
    """Three members register keys; then the first epoch ends, with its fourth block."""
    scribe = FinalGovernedScribe(GENESIS)
    scribe.forge(*[scribe.ml_dsa(name, key.public_key) for name, key in KEYS.items()])
    forge_until(scribe, 1)
    return scribe


def forge_until(scribe, epoch):
    while scribe.state.epoch.number < epoch:
        scribe.forge(scribe.statement(next(iter(scribe.keys))), timestamp_ms=scribe.state.tip.timestamp_ms + 1_000)


def bench_at(scribe, owner=ADA, index=None, **more):
    """A member that has so many of the blocks, on a machine that knows ML-DSA; it signed nothing that is open."""
    archive = MemoryArchive()
    for kept in scribe.kept[:index]:
        archive.append(kept)
    signer, genesis = KEYS.get({ADA: "ada", BEN: "ben"}.get(owner, "")), scribe.genesis
    more = {"ml_dsa": MlDsa(verify_stand_in, signer), "records": [Floor(genesis.ledger_id, 9, 0)], **more}
    return MemberBench(owner, genesis, archive=archive, **more)


def line(scribe, member, key=None, *, size=None, root=None, time_s=None, name=None):
    """What a member signs of the last block's log."""
    state, origin = scribe.state, scribe.genesis.origin
    head = Checkpoint(origin, size or state.log.size, root or state.log.root())
    time_s = time_s or state.tip.timestamp_ms // 1000
    message = subtree_bytes(name or cosigner_key(origin, member.public_key).name, time_s, head)
    key = key or KEYS[{ADA: "ada", BEN: "ben", CY: "cy"}[member]]
    return MlDsaCosignature(head.size, head.root, member.public_key, time_s, key.sign(message))


def cosigned(scribe, *members):
    head = Checkpoint(scribe.genesis.origin, scribe.state.log.size, scribe.state.log.root())
    return Cosignatures(tuple(cosign(one, head, scribe.state.tip.timestamp_ms // 1000) for one in members))


def tell(bench, *lines, peer="x"):
    return bench.receive(MlDsaCosignatures(lines), peer)


def end_of(bench):
    return bench.node.epoch_checkpoint


def members_of(bench):
    found = end_of(bench)
    return {one.member for one in found.ml_dsa} if found else set()


def test_a_proof_can_be_made_at_an_end_that_is_countersigned_and_has_lines(scribe):
    bench = bench_at(scribe, DOT)
    assert rules(tell(bench, line(scribe, BEN), line(scribe, CY))) == []
    assert end_of(bench) is None, "nobody countersigned it by Ed25519 yet"
    bench.receive(cosigned(scribe, ADA, BEN, CY))
    found = end_of(bench)
    assert found.state == scribe.state
    assert members_of(bench) == {BEN.public_key, CY.public_key}
    assert [one.member for one in found.ml_dsa] == sorted(one.member for one in found.ml_dsa)
    assert {one.member for one in found.cosignatures} >= {ADA.public_key, BEN.public_key, CY.public_key}


def test_without_lines_there_is_no_such_checkpoint(scribe):
    bench = bench_at(scribe, DOT)
    bench.receive(cosigned(scribe, ADA, BEN, CY))
    assert bench.node.checkpoint is not None
    assert end_of(bench) is None


def test_a_member_signs_the_end_by_both_keys_once_the_guard_has_it(scribe):
    bench = bench_at(scribe)
    actions = bench.wait(1_000, Timer.CHECKPOINT)
    (own,), (by_ml_dsa,) = ([one for said in sent(kind, actions) for one in said.cosignatures] for kind in BOTH)
    assert (own.size, own.root, own.member, own.time_s) == (
        by_ml_dsa.size,
        by_ml_dsa.root,
        by_ml_dsa.member,
        by_ml_dsa.time_s,
    )
    assert by_ml_dsa.is_signed(GENESIS.origin, KEYS["ada"].public_key, verify_stand_in)
    places = [place for place, one in enumerate(actions) if isinstance(one, PersistSigned)]
    leaving = [place for place, one in enumerate(actions) if isinstance(getattr(one, "message", None), BOTH)]
    assert len(leaving) == 2
    assert max(places) < min(leaving)
    assert sent(MlDsaCosignatures, bench.wait(5_000, Timer.CHECKPOINT)) == []


def test_a_node_tells_whether_it_signs_and_whose_lines_of_the_newest_end_it_has(scribe):
    bench, key = bench_at(scribe), KEYS["ada"].public_key
    assert bench.node.ml_dsa == (key, scribe.state.log.size, frozenset())
    tell(bench, line(scribe, BEN))
    bench.wait(1_000, Timer.CHECKPOINT)
    assert bench.node.ml_dsa == (key, scribe.state.log.size, {ADA.public_key, BEN.public_key})
    assert bench_at(scribe, DOT, index=3).node.ml_dsa == (None, None, frozenset())
    assert bench_at(scribe, ml_dsa=None).node.ml_dsa is None


BOTH = (Cosignatures, MlDsaCosignatures)


@pytest.mark.parametrize(
    "ml_dsa", [None, MlDsa(verify_stand_in), MlDsa(verify_stand_in, StandIn("another"))], ids=["extra", "file", "key"]
)
def test_a_member_without_the_extra_the_key_file_or_the_registered_key_cosigns_as_before(scribe, ml_dsa):
    bench = bench_at(scribe, ml_dsa=ml_dsa)
    actions = bench.wait(1_000, Timer.CHECKPOINT)
    assert len(sent(Cosignatures, actions)) == 1
    assert sent(MlDsaCosignatures, actions) == []


def test_within_an_epoch_nothing_is_signed_by_ml_dsa(scribe):
    bench = bench_at(scribe, index=2)
    actions = bench.wait(1_000, Timer.CHECKPOINT)
    assert len(sent(Cosignatures, actions)) == 1
    assert sent(MlDsaCosignatures, actions) == []


def test_a_node_without_the_extra_neither_counts_nor_passes_on_nor_blames(scribe):
    bench = bench_at(scribe, DOT, ml_dsa=None)
    bench.receive(CertificateRequest(()), "y")
    bench.receive(cosigned(scribe, ADA, BEN, CY))
    actions = tell(bench, line(scribe, BEN), replace(line(scribe, CY), signature=bytes(2_420)))
    assert actions == []
    assert end_of(bench) is None


def test_a_member_whose_newest_cosignature_is_of_a_later_log_signs_the_end_no_more(scribe):
    """It fetched the end together with a later block: it cosigned that alone, and never signs a smaller log after."""
    scribe.forge(scribe.statement(), timestamp_ms=scribe.state.tip.timestamp_ms + 1_000)
    bench = bench_at(scribe, index=3)
    actions = follow(bench, scribe) + bench.wait(1_000, Timer.CHECKPOINT)
    assert [one.size for said in sent(Cosignatures, actions) for one in said.cosignatures] == [scribe.state.log.size]
    assert sent(MlDsaCosignatures, actions) == []
    assert sent(MlDsaCosignatures, bench.handle(PeerConnected("z"))) == [], "nothing is held as of the end either"


def test_what_is_new_goes_along_the_tree_once_and_a_new_peer_is_told(scribe):
    bench = bench_at(scribe, DOT)
    bench.receive(CertificateRequest(()), "y")
    said = line(scribe, BEN)
    actions = tell(bench, said)
    assert [one.peers for one in of_kind(Multicast, actions)] == [("y",)]
    assert sent(MlDsaCosignatures, actions) == [MlDsaCosignatures((said,))]
    assert sent(MlDsaCosignatures, tell(bench, said, peer="y")) == []
    assert sent(MlDsaCosignatures, bench.handle(PeerConnected("z"))) == [MlDsaCosignatures((said,))]
    assert sent(MlDsaCosignatures, bench.receive(CosignatureRequest(), "y")) == [MlDsaCosignatures((said,))]


def test_a_peer_that_asks_again_and_again_is_told_once_a_minute(scribe):
    """Some bytes are answered with up to 160 kB; what is new comes along the tree anyway."""
    bench = bench_at(scribe, DOT)
    said = MlDsaCosignatures((line(scribe, BEN),))
    tell(bench, *said.cosignatures)

    def asked(peer, times=5):
        answers = [sent(MlDsaCosignatures, bench.receive(CosignatureRequest(), peer)) for _ in range(times)]
        return [one for answer in answers for one in answer]

    assert sent(MlDsaCosignatures, bench.handle(PeerConnected("z"))) == [said]
    assert asked("z") == [said], "when it had to fetch blocks to know the members"
    assert sent(MlDsaCosignatures, bench.handle(PeerConnected("z"))) == [], "nor by connecting anew"
    assert asked("y") == [said, said], "another peer has its own allowance"
    bench.now_ms += 60_000
    assert asked("z") == [said]


# ---- attacks ----------------------------------------------------------------------------------------------------


def forged(scribe):
    """By what is wrong with it: a line in the name of a member, and the rule."""
    ben, state = line(scribe, BEN), scribe.state
    return {
        "signature": (replace(ben, signature=bytes(2_420)), Rule.N10),
        "another's key": (line(scribe, BEN, KEYS["cy"]), Rule.N10),
        "another's line": (replace(line(scribe, CY), member=BEN.public_key), Rule.N10),
        "another's name": (line(scribe, BEN, name=cosigner_key(GENESIS.origin, CY.public_key).name), Rule.N10),
        "another time": (replace(ben, time_s=ben.time_s + 1), Rule.N10),
        "another root": (line(scribe, BEN, root=bytes(32)), Rule.N10),
        "the root of a size before": (replace(ben, size=state.log.size + 1), Rule.N10),
        "ahead": (line(scribe, BEN, time_s=state.tip.timestamp_ms // 1000 + MAX_AHEAD_S + 2), Rule.N12),
    }


@pytest.mark.parametrize("what", [*forged(FinalGovernedScribe(GENESIS))])
def test_a_line_that_is_not_the_members_takes_no_other_with_it_and_blames_nobody(scribe, what):
    bench = bench_at(scribe, DOT)
    bench.receive(cosigned(scribe, ADA, BEN, CY))
    bad, rule = forged(scribe)[what]
    actions = tell(bench, bad, line(scribe, CY))
    assert rules(actions) == [rule]
    assert cut_off(actions) == set()
    assert members_of(bench) == {CY.public_key}


@pytest.mark.parametrize("member", [DOT, STRANGER])
def test_who_has_no_key_registered_is_not_even_looked_at(scribe, member):
    bench = bench_at(scribe, CY)
    assert tell(bench, line(scribe, member, StandIn("listed nowhere"))) == []


def test_an_older_size_is_not_looked_at(scribe):
    """Replayed from an earlier end: what it was told of there counts there alone."""
    bench, old = bench_at(scribe, DOT), line(scribe, BEN)
    forge_until(scribe, 2)
    bench = bench_at(scribe, DOT)
    assert tell(bench, old) == []
    assert rules(tell(bench, replace(old, size=scribe.state.log.size, root=scribe.state.log.root()))) == [Rule.N10]


def test_a_flood_is_verified_within_the_peers_allowance_alone(scribe):
    calls = []

    def verify(message, signature, key):
        calls.append(message)
        return False

    bench = bench_at(scribe, DOT, ml_dsa=MlDsa(verify), limits=Limits(ml_dsa_per_second=1))
    bad = replace(line(scribe, BEN), signature=bytes(2_420))
    reported = [rules(tell(bench, *[bad] * MAX_ML_DSA_COSIGNATURES)) for _ in range(20)]
    assert reported == [[Rule.N10]] * 4 + [[Rule.N11]] * 16, "one a message"
    assert len(calls) == 4 * MAX_ML_DSA_COSIGNATURES
    tell(bench, bad, peer="y")
    assert len(calls) == 4 * MAX_ML_DSA_COSIGNATURES + 1, "another peer has its own"


def test_more_lines_than_a_message_may_have_disconnect(scribe):
    bench = bench_at(scribe, DOT)
    actions = tell(bench, *[line(scribe, BEN)] * (MAX_ML_DSA_COSIGNATURES + 1))
    assert rules(actions) == [Rule.E2]
    assert cut_off(actions) == {"x"}


# ---- ahead, and later ends --------------------------------------------------------------------------------------


def follow(bench, scribe):
    """The peer "x" has the next blocks, and proves the epochs between."""
    start, tip = bench.node.state.index + 1, scribe.blocks[-1]
    heard = bench.receive(Status(scribe.genesis.ledger_id, tip.header.epoch, tip.header.index, tip.hash, ()))
    headers = [one.header for one in scribe.blocks[start - 1 :]]
    ends = [one.index for one, after in pairwise(headers) if one.epoch < after.epoch]
    if ends:
        heard += bench.receive(Finalizations(scribe.proofs(*ends)))
    for last in (*ends, tip.header.index):
        finalization = scribe.archive.finalization(last)
        heard += bench.receive(Blocks(start, tuple(scribe.blocks[start - 1 : last]), (), finalization))
        start = last + 1
    return heard


def test_a_line_of_a_larger_log_counts_when_the_node_gets_there_and_is_passed_on_then(scribe):
    bench = bench_at(scribe, DOT, index=3)
    bench.receive(CertificateRequest(()), "y")
    said = line(scribe, BEN)
    assert sent(MlDsaCosignatures, tell(bench, said)) == []
    assert rules(tell(bench, replace(line(scribe, CY), signature=bytes(2_420)))) == [Rule.N10]
    actions = follow(bench, scribe)
    assert bench.node.state.index == 4
    assert sent(MlDsaCosignatures, actions) == [MlDsaCosignatures((said,))]
    bench.receive(cosigned(scribe, ADA, BEN, CY))
    assert members_of(bench) == {BEN.public_key}


def test_a_line_of_a_larger_log_by_a_key_that_is_replaced_until_then_does_not_count():
    scribe, new = FinalGovernedScribe(GENESIS), StandIn("ben, new")
    scribe.forge(scribe.ml_dsa("ben", KEYS["ben"].public_key))
    forge_until(scribe, 0)
    scribe.forge(scribe.statement(), timestamp_ms=scribe.state.tip.timestamp_ms + 1_000)
    before = len(scribe.blocks)
    scribe.forge(scribe.ml_dsa("ben", new.public_key), timestamp_ms=scribe.state.tip.timestamp_ms + 1_000)
    forge_until(scribe, 1)
    bench = bench_at(scribe, DOT, index=before)
    assert rules(tell(bench, line(scribe, BEN))) == [], "good by the key that ben has so far"
    follow(bench, scribe)
    bench.receive(cosigned(scribe, ADA, BEN, CY))
    assert end_of(bench) is None
    assert rules(tell(bench, line(scribe, BEN, new))) == []
    assert members_of(bench) == {BEN.public_key}


def test_a_line_by_a_key_that_is_replaced_makes_room_for_one_by_the_new_key():
    """Both are of a log that is larger still."""
    scribe, new = FinalGovernedScribe(GENESIS), StandIn("ben, new")
    scribe.forge(scribe.ml_dsa("ben", KEYS["ben"].public_key))
    scribe.forge(scribe.statement(), timestamp_ms=scribe.state.tip.timestamp_ms + 1_000)
    before = len(scribe.blocks)
    scribe.forge(scribe.ml_dsa("ben", new.public_key), timestamp_ms=scribe.state.tip.timestamp_ms + 1_000)
    forge_until(scribe, 1)
    first_end = SimpleNamespace(**{**vars(scribe), "blocks": list(scribe.blocks), "proofs": scribe.proofs})
    forge_until(scribe, 2)
    bench = bench_at(scribe, DOT, index=before)
    tell(bench, line(scribe, BEN))
    follow(bench, first_end)
    tell(bench, line(scribe, BEN, new))
    follow(bench, scribe)
    bench.receive(cosigned(scribe, ADA, BEN, CY))
    assert members_of(bench) == {BEN.public_key}


def test_the_end_before_is_proven_at_until_the_next_one_can_be(scribe):
    bench, first = bench_at(scribe, DOT), scribe.state
    tell(bench, line(scribe, BEN))
    bench.receive(cosigned(scribe, ADA, BEN, CY))
    forge_until(scribe, 2)
    follow(bench, scribe)
    assert bench.node.state.epoch.number == 2
    assert end_of(bench).state == first
    tell(bench, line(scribe, CY))
    bench.receive(cosigned(scribe, ADA, BEN, CY))
    assert end_of(bench).state == scribe.state
    assert members_of(bench) == {CY.public_key}


def test_a_line_of_a_larger_log_is_not_replaced_by_one_of_a_smaller(scribe):
    """Replayed from the end before, it would take the place of the one that is still to count."""
    old = line(scribe, BEN)
    forge_until(scribe, 2)
    bench = bench_at(scribe, DOT, index=3)
    tell(bench, line(scribe, BEN))
    assert rules(tell(bench, old)) == []
    follow(bench, scribe)
    bench.receive(cosigned(scribe, ADA, BEN, CY))
    assert members_of(bench) == {BEN.public_key}


# ---- more members with keys than a message has lines -----------------------------------------------------------


CROWD = {f"m{number:02}": wallet(f"m{number:02}") for number in range(MAX_ML_DSA_COSIGNATURES + 1)}
POOREST = CROWD["m07"]


@pytest.fixture(scope="module")
def crowd():
    """All members have keys at the end of the first epoch; one has less stake than the others."""
    founders = [
        Founder(name, name, None, one.public_key, Role.MEMBER, 9 if one is POOREST else 10)
        for name, one in CROWD.items()
    ]
    terms = replace(GENESIS.params, unbonding_blocks=8)
    scribe = FinalGovernedScribe(make_genesis("crowd", START_MS, (), terms, founders), CROWD)
    for name in CROWD:
        scribe.key(name)
    scribe.forge(*[scribe.ml_dsa(name, StandIn(name).public_key) for name in CROWD])
    forge_until(scribe, 1)
    return scribe


def crowd_lines(scribe):
    """By member, all of them."""
    return {one.public_key: line(scribe, one, StandIn(name)) for name, one in CROWD.items()}


def test_of_more_members_than_a_message_has_lines_those_with_the_most_stake_count(crowd):
    bench, lines = bench_at(crowd, None), crowd_lines(crowd)
    last = lines.pop(POOREST.public_key)
    assert rules(tell(bench, last)) == []
    tell(bench, *lines.values())
    tell(bench, last, peer="y")
    bench.receive(cosigned(crowd, *CROWD.values()))
    assert members_of(bench) == set(lines)
    (told,) = sent(MlDsaCosignatures, bench.handle(PeerConnected("z")))
    assert len(told.cosignatures) == MAX_ML_DSA_COSIGNATURES


def test_of_a_larger_log_a_line_of_who_has_less_stake_than_those_that_count_is_dropped_at_its_end(crowd):
    bench, lines = bench_at(crowd, None, index=3), crowd_lines(crowd)
    last = lines.pop(POOREST.public_key)
    tell(bench, last)
    tell(bench, next(iter(lines.values())))
    follow(bench, crowd)
    bench.receive(cosigned(crowd, *CROWD.values()))
    assert members_of(bench) == {next(iter(lines))}


def test_of_a_larger_log_no_more_lines_are_verified_and_held_than_a_message_has(crowd):
    calls = []

    def verify(message, signature, key):
        calls.append(key)
        return verify_stand_in(message, signature, key)

    bench = bench_at(crowd, None, index=3, ml_dsa=MlDsa(verify))
    first, *others = crowd_lines(crowd).values()
    tell(bench, *others)
    tell(bench, first, peer="y")
    assert len(calls) == MAX_ML_DSA_COSIGNATURES
    follow(bench, crowd)
    (told,) = sent(MlDsaCosignatures, bench.handle(PeerConnected("z")))
    assert first not in told.cosignatures
