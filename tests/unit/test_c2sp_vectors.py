"""The C2SP vectors, which other people's tools made: our parsers and a policy judge each by the strict reading."""

import json
from pathlib import Path

import pytest
from tests.builders import refuses
from tests.ml_dsa import LACKING
from tests.proof_corpus import check_strictly

from tallystick.host.ml_dsa import has_ml_dsa, ml_dsa_verifier
from tallystick.ledger.checkpoint import parse_checkpoint, signed_at
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.note import make_note, parse_key, parse_note
from tallystick.ledger.tlog_policy import parse_policy
from tallystick.ledger.tlog_proof import parse_proof

VECTORS = Path(__file__).parent.parent / "vectors" / "c2sp"
VERDICTS = json.loads((VECTORS / "verdicts.json").read_text())
WITHOUT_ML_DSA = {"proofs/mldsa.tlog-proof": "the quorum of the policy needs keys of types that are not verified here"}
"""Valid by the documents, and refused with these words where ML-DSA-44 cannot be verified."""
needs_ml_dsa = pytest.mark.skipif(not has_ml_dsa(), reason=LACKING)


def judge(verdict, verify_ml_dsa=None):
    """Raise `Refused` unless the proof holds, as far as other tools can tell."""
    policy, leaf, proof = ((VECTORS / verdict[part]).read_bytes() for part in ("policy", "leaf", "proof"))
    check_strictly(policy, leaf, proof, verify_ml_dsa)


@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda one: f"{one['proof'][7:-11]}-{one['what']}")
def test_the_verdict_is_that_of_the_strict_reading(verdict):
    if verdict["strict"] and verdict["proof"] not in WITHOUT_ML_DSA:
        judge(verdict)
        return
    with pytest.raises(Refused) as caught:
        judge(verdict)
    assert caught.value.rule in {Rule.P1, Rule.P7, Rule.P8, Rule.T2}
    assert WITHOUT_ML_DSA.get(verdict["proof"], "") in caught.value.reason


@needs_ml_dsa
@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda one: f"{one['proof'][7:-11]}-{one['what']}")
def test_with_ml_dsa_the_verdict_is_that_of_the_strict_reading_without_exception(verdict):
    if verdict["strict"]:
        judge(verdict, ml_dsa_verifier())
        return
    with pytest.raises(Refused) as caught:
        judge(verdict, ml_dsa_verifier())
    assert caught.value.rule in {Rule.P1, Rule.P7, Rule.P8, Rule.T2}


@needs_ml_dsa
@pytest.mark.parametrize("at", [0, 7, 8, 2_427])
def test_a_changed_cosignature_by_ml_dsa_rejects_the_note(at):
    """Its time (the first 8 bytes) is signed, too."""
    policy = parse_policy((VECTORS / "policy-pq.txt").read_bytes(), ml_dsa_verifier())
    note = parse_proof((VECTORS / "proofs/mldsa.tlog-proof").read_bytes()).checkpoint
    of_log, of_witness = note.signatures
    data = bytearray(of_witness.signature)
    data[at] ^= 1
    with refuses(Rule.P7, "not by its key"):
        policy.check(make_note(note.text, [of_log, of_witness._replace(signature=bytes(data))]))


@needs_ml_dsa
def test_what_ml_dsa_signs_has_names_of_at_most_255_bytes():
    """A longer one cannot be signed, so what stands under it is no signature."""
    note = parse_proof((VECTORS / "proofs/mldsa.tlog-proof").read_bytes()).checkpoint
    key = parse_key((VECTORS / "policy-pq.txt").read_text().split("\n")[1].split()[2])._replace(name="x" * 256)
    lines = [*note.signatures, key.signature(note.signatures[1].signature)]
    with refuses(Rule.P7, "not by its key"):
        signed_at(key, make_note(note.text, lines), lambda *_: True)
    assert signed_at(key._replace(name="x" * 255), make_note(note.text, lines), lambda *_: True) == []


def test_what_ml_dsa_signed_is_let_pass_where_the_quorum_does_without_it():
    lines = (VECTORS / "policy-pq.txt").read_text().replace("quorum pq", "quorum none")
    parse_policy(lines.encode()).check(parse_proof((VECTORS / "proofs/mldsa.tlog-proof").read_bytes()).checkpoint)
    with refuses(Rule.P1, "types that are not verified here"):
        parse_policy((VECTORS / "policy-pq.txt").read_bytes())


@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda one: one["proof"])
def test_what_is_read_is_written_the_same(verdict):
    data = (VECTORS / verdict["proof"]).read_bytes()
    try:
        proof = parse_proof(data)
    except Refused:
        assert not verdict["strict"]
    else:
        assert proof.encoded.encode() == data


@pytest.mark.parametrize("log", ["log-1", "log-5"])
def test_checkpoints_of_other_logs_are_read(log):
    note = parse_note((VECTORS / log / "checkpoint").read_text())
    assert parse_checkpoint(note.text).size == int(log[4:])
    assert parse_checkpoint(note.text).text == note.text
    assert note.signed_by(parse_key((VECTORS / "log.vkey").read_text().strip()))


@pytest.mark.parametrize("key", json.loads((VECTORS / "keys.json").read_text()).values(), ids=lambda one: one["vkey"])
def test_keys_of_others_are_read_and_written(key):
    assert parse_key(key["vkey"]).text == key["vkey"]
