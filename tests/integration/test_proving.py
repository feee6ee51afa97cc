"""Proofs are made from a store: a verifier who trusts the ledger takes them, and they stay as small as they should."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.builders import START_MS, refuses, wallet
from tests.governed import directory_genesis
from tests.integration.test_store import execute
from tests.proving import NOW_MS, REPORT, ProvenLedger, read, short_epochs

from tallystick.integrity.checked_chain import CheckedChain
from tallystick.ledger.certificate import Payload, issue_statement
from tallystick.ledger.changes import AnyChange, Effect
from tallystick.ledger.checkpoint import Checkpoint, Cosignature, cosign
from tallystick.ledger.encoding import Codec, encode
from tallystick.ledger.errors import Rule
from tallystick.ledger.genesis import Allotment, make_genesis
from tallystick.ledger.params import Params
from tallystick.ledger.state import genesis_state
from tallystick.ledger.validity import ValidityState
from tallystick.node.checkpoints import Countersigned
from tallystick.node.events import PersistCosignatures
from tallystick.problems import BadRequest, DamagedStore, NotThere, Problem
from tallystick.proof.members import Anchor
from tallystick.storage.hand_over import NotKept
from tallystick.storage.proving import Prover, signed_note
from tallystick.storage.store import Store

NAMES = ("ada", "ben", "cy", "dot")


@pytest.fixture
def ledger(tmp_path: Path) -> ProvenLedger:
    return ProvenLedger(tmp_path / "chain.db", short_epochs(4))


def test_a_proof_of_a_later_checkpoint_verifies(ledger: ProvenLedger) -> None:
    one, payload = ledger.about()
    ledger.forge()
    entered = ledger.forge(ledger.scribe.statement(), one, ledger.scribe.statement(), payloads=[payload])
    ledger.forge_until(3)
    ledger.forge()
    files = ledger.prove(one, ledger.countersigned())
    assert (files.members, files.payload) == (None, None)
    found = ledger.verdict(files, document=REPORT, issuer="ada")
    assert (found.certificate, found.document, found.block) == (one, REPORT, entered.header)
    assert found.organisation is not None
    assert found.organisation.id == "ada"
    assert {one.organisation for one in found.cosigners} == set(NAMES)
    assert found.validity is not None
    assert found.validity.state is ValidityState.VALID
    assert len(files.proof) <= 8_192


def test_a_proof_at_the_block_of_the_certificate_itself_and_of_the_first(ledger: ProvenLedger) -> None:
    one = ledger.scribe.statement()
    block = ledger.forge(one)
    found = ledger.verdict(ledger.prove(one, ledger.countersigned("ada", "ben", "cy")))
    assert (found.block, found.header, found.log_index) == (block.header, block.header, 0)
    assert read(ledger.prove(one, ledger.countersigned())).extra.entrance.header is None


def test_each_certificate_of_each_block_has_a_proof_at_each_checkpoint(ledger: ProvenLedger) -> None:
    said = [ledger.scribe.statement() for _ in range(12)]
    for first in range(0, 12, 3):
        ledger.forge(*said[first : first + 3])
        at = ledger.countersigned()
        for number, one in enumerate(said[: first + 3]):
            found = ledger.verdict(ledger.prove(one, at))
            assert (found.certificate, found.log_index, found.block.index) == (one, number, number // 3 + 1)


def test_a_checkpoint_does_not_prove_what_came_later(ledger: ProvenLedger) -> None:
    one = ledger.scribe.statement()
    ledger.forge()
    at = ledger.countersigned()
    ledger.forge(one)
    with pytest.raises(NotThere, match="not covered by a checkpoint yet"):
        ledger.prove(one, at)


def test_where_votes_made_a_later_block_final_its_headers_are_in_the_proof(ledger: ProvenLedger) -> None:
    one = ledger.scribe.statement()
    ledger.forge(one, is_finalized=False)
    at = ledger.countersigned()
    with pytest.raises(NotKept, match="block 1 final"):
        ledger.prove(one, at)
    ledger.forge(is_finalized=False)
    last = ledger.forge()
    files = ledger.prove(one, at)
    assert [header.index for header in read(files).extra.following] == [2, 3]
    assert ledger.verdict(files).header != last.header


def test_votes_of_the_next_epoch_do_not_make_a_block_of_this_one_final(ledger: ProvenLedger) -> None:
    one = ledger.scribe.statement()
    for _ in range(3):
        ledger.forge()
    ledger.forge(one, is_finalized=False)
    at = ledger.countersigned()
    ledger.forge()
    with pytest.raises(NotKept, match="block 4 final"):
        ledger.prove(one, at)


def test_what_became_of_a_certificate_and_of_its_issuers_key_is_in_the_proof(ledger: ProvenLedger) -> None:
    ledger.forge(ledger.scribe.add_issuer("registry"))
    one, other, payload = ledger.scribe.statement("registry"), *ledger.about(by="registry")
    ledger.forge(one, other, payloads=[payload])
    ledger.forge(ledger.scribe.revocation(one, effect=Effect.REVOKED))
    ledger.forge(ledger.scribe.end_issuer("registry"))
    at = ledger.countersigned()
    with refuses(Rule.P12, "revoked"):
        ledger.verdict(ledger.prove(one, at))
    found = ledger.verdict(ledger.prove(other, at), document=REPORT, issuer="ada")
    assert found.issuer is not None
    assert found.issuer.label == "registry"
    assert found.issuer.until is not None


def test_an_erased_payload_leaves_the_proof_as_it_is(ledger: ProvenLedger) -> None:
    one, payload = ledger.about()
    ledger.forge(one, payloads=[payload])
    at = ledger.countersigned()
    ledger.store.erase_payload(payload.hash())
    found = ledger.verdict(ledger.prove(one, at))
    assert found.is_content_gone
    assert found.document is None


def test_a_payload_that_does_not_fit_stands_beside_the_proof(ledger: ProvenLedger) -> None:
    payload = Payload(bytes(32), "", "text/plain", bytes(60_000))
    one = issue_statement(ledger.scribe.key("ada"), ledger.genesis.ledger_id, START_MS, "", payload)
    ledger.forge(one, payloads=[payload])
    files = ledger.prove(one, ledger.countersigned())
    assert files.payload is not None
    assert len(files.proof) <= 8_192
    assert ledger.verdict(files).payload == payload
    assert ledger.verdict(files._replace(payload=None)).is_content_gone


def test_damage_in_what_is_derived_is_found_before_a_proof_leaves(ledger: ProvenLedger, tmp_path: Path) -> None:
    one = ledger.scribe.statement()
    for _ in range(2):
        ledger.forge()
    ledger.forge(one)
    ledger.forge()
    at, path = ledger.countersigned(), tmp_path / "chain.db"
    for sql in ("UPDATE state_parts SET members_hash = zeroblob(32)", "DELETE FROM state_parts"):
        ledger.store.close()
        execute(path, sql)
        ledger = reopened(ledger, path)
        with pytest.raises(DamagedStore, match="run: tallystick check --repair"):
            ledger.prove(one, at)


def test_of_many_certificates_in_a_block_a_proof_decodes_its_own(
    ledger: ProvenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [ledger.scribe.statement() for _ in range(20)]
    ledger.forge(*said[:10])
    ledger.forge(*said[10:])
    replaced(ledger, "ada", "ada-2")
    ledger.forge(ledger.scribe.statement("ada-2"))
    at, decoded, decode = ledger.countersigned(), list[str](), Codec[Any].decode

    def counted(codec: Codec[Any], data: bytes) -> Any:
        decoded.append(codec.name)
        return decode(codec, data)

    monkeypatch.setattr(Codec, "decode", counted)
    monkeypatch.setattr(Store, "block", None)
    files = ledger.prove(said[14], at)
    assert decoded.count("certificate") == 1
    monkeypatch.undo()
    assert ledger.verdict(files).certificate == said[14]


def test_a_certificate_that_was_altered_in_its_block_is_told(ledger: ProvenLedger, tmp_path: Path) -> None:
    one = ledger.scribe.statement()
    block = ledger.forge(one)
    at = ledger.countersigned()
    ledger.store.close()
    altered = encode([block.header, block.signature, [5]]).hex()
    execute(tmp_path / "chain.db", f"UPDATE blocks SET encoded = x'{altered}'")
    with pytest.raises(DamagedStore, match="certificate 0 of block 1 was altered"):
        reopened(ledger, tmp_path / "chain.db").prove(one, at)


def reopened(ledger: ProvenLedger, path: Path) -> ProvenLedger:
    ledger.store = Store.open(path, read_only=True)
    ledger.prover = Prover(ledger.store)
    return ledger


def test_there_is_no_proof_where_as_many_as_a_note_has_room_for_hold_too_little(tmp_path: Path) -> None:
    for count, least in ((148, 1), (149, 1), (149, 1_000)):
        wallets = [wallet(f"member {number}") for number in range(count)]
        allotments = [Allotment(one.public_key, 0, least if one is wallets[0] else 1) for one in wallets]
        genesis = make_genesis("test", START_MS, allotments, Params())
        state = genesis_state(genesis)
        checkpoint = Checkpoint(genesis.origin, 0, state.log.root())
        at = Countersigned(state, state.epoch, tuple(cosign(one, checkpoint, NOW_MS // 1000) for one in wallets))
        if (count, least) == (149, 1):
            with pytest.raises(Problem, match="of 149 members, the 99 with the most stake hold no more than 2/3 of it"):
                signed_note(genesis, at)
        else:
            assert len(signed_note(genesis, at).signatures) == 100


# ---- members --------------------------------------------------------------------------------------------------------


def replaced(ledger: ProvenLedger, organisation: str, after: str) -> None:
    """The organisation's member key is replaced by a motion, in one epoch."""
    scribe = ledger.scribe
    epoch = scribe.state.epoch.number
    motion = scribe.motion(scribe.replace_key(organisation, after), holder(ledger, "ada"))
    ledger.forge(motion, *[scribe.approval(motion, holder(ledger, one)) for one in ("ben", "cy")])
    ledger.forge_until(epoch + 1)


def holder(ledger: ProvenLedger, organisation: str) -> str:
    """The name of the wallet that is the organisation's member key now."""
    key = ledger.scribe.member_key(organisation)
    return next(name for name, one in ledger.scribe.keys.items() if one.public_key == key)


def test_members_are_followed_although_each_was_replaced(ledger: ProvenLedger) -> None:
    one = ledger.scribe.statement()
    ledger.forge(one)
    before, first = ledger.prove(one, ledger.countersigned()), [ledger.scribe.key(name).public_key for name in NAMES]
    for name in NAMES:
        replaced(ledger, name, f"{name}-2")
    ledger.forge(ledger.scribe.statement("ada-2"))
    renewed = ledger.prove(one, ledger.countersigned())
    assert len(read(renewed).hand_over.steps) < 4
    found = ledger.verdict(renewed)
    later = [ledger.scribe.key(f"{name}-2").public_key for name in NAMES]
    assert {one.key for one in found.cosigners} == set(later)
    assert {one.organisation for one in found.cosigners} == set(NAMES)
    assert {key for change in found.changes for key in change.left} == set(first)
    assert {key for change in found.changes for key in change.joined} == set(later)
    for anchors in ((), (found.anchor,)):
        old = ledger.verdict(before, anchors=anchors)
        assert ({one.key for one in old.cosigners}, old.changes, old.is_older) == (set(first), (), bool(anchors))


def test_who_verified_while_there_were_more_members_follows_a_proof_of_fewer(
    tmp_path: Path,
) -> None:
    """The votes of the four that were and are members hold all that is known, and half of what was between."""
    genesis = directory_genesis(epoch_blocks=1000, unbonding_blocks=2000, unbonding_ms=2000, epoch_ms=1000)
    ledger, members = ProvenLedger(tmp_path / "chain.db", genesis), [*NAMES]
    scribe, added = ledger.scribe, ("eve", "fay", "gus", "hal")

    def decide(change: AnyChange) -> None:
        motion = scribe.motion(change, members[0])
        ledger.forge(motion, *[scribe.approval(motion, name) for name in members[1:]])

    one, payload = ledger.about()
    ledger.forge(one, payloads=[payload])
    for name in added:
        decide(scribe.admit(name, stake=10))
        members.append(name)
    ledger.forge()
    anchor = ledger.verdict(ledger.prove(one, ledger.countersigned())).anchor
    assert len(anchor.voters) == 8
    for name in added:
        decide(scribe.remove(name))
        members.remove(name)
    ledger.forge()
    files = ledger.prove(one, ledger.countersigned())
    assert len(read(files).hand_over.steps) > 0
    for known in ((), (anchor,)):
        assert len(ledger.verdict(files, anchors=known).anchor.voters) == 4


def test_a_proof_since_a_later_epoch_is_for_who_verified_that(ledger: ProvenLedger) -> None:
    one = ledger.scribe.statement()
    ledger.forge(one)
    for name in NAMES:
        replaced(ledger, name, f"{name}-2")
    ledger.forge(ledger.scribe.statement("ada-2"))
    at, anchors = ledger.countersigned(), list[Anchor]()
    for since in range(at.voters.number + 1):
        files = ledger.prove(one, at, since)
        assert read(files).hand_over.since == since
        if since == 0:
            anchors.append(ledger.verdict(files).anchor)
        else:
            with refuses(Rule.P4):
                ledger.verdict(files)
    last = ledger.prove(one, at, at.voters.number)
    assert not read(last).hand_over.steps
    assert ledger.verdict(last, anchors=tuple(anchors)).anchor == anchors[0]
    with pytest.raises(BadRequest, match="later than the checkpoint"):
        ledger.prove(one, at, at.voters.number + 1)


def test_a_hundred_replacements_take_less_than_64_kb_and_what_does_not_fit_stands_beside(tmp_path: Path) -> None:
    ledger = ProvenLedger(tmp_path / "chain.db", short_epochs(1))
    one, payload = ledger.about()
    ledger.forge(one, payloads=[payload])
    proofs = []
    for count in (100, 120):
        for number in range(ledger.scribe.state.epoch.number, count + 1):
            replaced(ledger, NAMES[number % 4], f"{NAMES[number % 4]}-{number}")
        ledger.forge(ledger.scribe.statement(holder(ledger, "ada")))
        proofs.append(ledger.prove(one, ledger.countersigned()))
        assert ledger.verdict(proofs[-1], document=REPORT).changes[-1].epoch == ledger.epoch.number
    inside, beside = proofs
    hand_over = read(inside).hand_over
    assert (inside.members, inside.payload) == (None, None)
    assert len(hand_over.encoded) < 64_000
    assert len(hand_over.encoded) / len(hand_over.steps) < 1_000
    assert len(set(hand_over.keys)) == len(hand_over.keys) == 100
    assert beside.members is not None
    assert beside.payload is not None
    with refuses(Rule.P2, "members"):
        ledger.verdict(beside._replace(members=None))


def test_a_step_that_lost_its_votes_is_passed_over_or_missed(ledger: ProvenLedger, tmp_path: Path) -> None:
    one = ledger.scribe.statement()
    ledger.forge(one)
    for name in NAMES:
        replaced(ledger, name, f"{name}-2")
    ledger.forge(ledger.scribe.statement("ada-2"))
    at = ledger.countersigned()
    taken = [step.header.index for step in read(ledger.prove(one, at)).hand_over.steps]
    ledger.store.close()
    execute(tmp_path / "chain.db", f"DELETE FROM finalizations WHERE block_index = {taken[0]}")
    ledger = reopened(ledger, tmp_path / "chain.db")
    files = ledger.prove(one, at)
    assert taken[0] not in [step.header.index for step in read(files).hand_over.steps]
    assert ledger.verdict(files).certificate == one
    execute(tmp_path / "chain.db", f"DELETE FROM finalizations WHERE block_index < {at.state.index - 1}")
    with pytest.raises(NotKept, match="epoch 0 final"):
        reopened(ledger, tmp_path / "chain.db").prove(one, at)


def test_proofs_of_one_checkpoint_share_what_they_have_in_common(ledger: ProvenLedger) -> None:
    said = [ledger.scribe.statement() for _ in range(3)]
    ledger.forge(*said)
    at = ledger.countersigned()
    extras = [read(ledger.prove(one, at)).extra for one in said]
    assert len({replace(one, certificate=said[0]).encoded for one in extras}) == 1


# ---- of a file ------------------------------------------------------------------------------------------------------


def test_a_checked_file_proves_at_the_newest_checkpoint_of_which_a_quorum_is_kept(ledger: ProvenLedger) -> None:
    one = ledger.scribe.statement()
    ledger.forge(one)
    first = ledger.countersigned("ada", "ben", "cy")
    ledger.forge()
    too_few = ledger.countersigned("ada", "ben")
    ledger.forge_until(2)
    last = ledger.countersigned()
    wrong = [replace(signed, signature=bytes(64)) for signed in last.cosignatures]
    other = [replace(signed, root=bytes(32)) for signed in last.cosignatures]

    def newest(*kept: Sequence[Cosignature]) -> Countersigned | None:
        ledger.store.database.execute("DELETE FROM cosignatures")
        for cosignatures in kept:
            ledger.store.keep_cosignatures(PersistCosignatures(tuple(cosignatures), 0))
        return CheckedChain(ledger.store).checkpoint

    assert newest() is None
    assert newest(too_few.cosignatures) is None
    for none in ((), too_few.cosignatures, wrong, other):
        found = newest(first.cosignatures, none)
        assert found == first
        assert found is not None
        assert ledger.verdict(ledger.prove(one, found)).header.index == 1
    assert newest(first.cosignatures, last.cosignatures) == last
