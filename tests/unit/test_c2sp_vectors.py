"""The C2SP vectors, which other people's tools made: our parsers and a policy judge each by the strict reading."""

import json
from pathlib import Path

import pytest
from tests.builders import refuses
from tests.proof_corpus import check_strictly

from tallystick.ledger.checkpoint import parse_checkpoint
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.note import parse_key, parse_note
from tallystick.ledger.tlog_policy import parse_policy
from tallystick.ledger.tlog_proof import parse_proof

VECTORS = Path(__file__).parent.parent / "vectors" / "c2sp"
VERDICTS = json.loads((VECTORS / "verdicts.json").read_text())
KNOWN_DIFFERENCES = {
    "proofs/mldsa.tlog-proof": "the quorum of the policy needs keys of types that are not verified here"
}
"""Valid by the documents, and refused with these words: ML-DSA-44 is not verified."""


def judge(verdict):
    """Raise `Refused` unless the proof holds, as far as other tools can tell."""
    check_strictly(*[(VECTORS / verdict[part]).read_bytes() for part in ("policy", "leaf", "proof")])


@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda one: f"{one['proof'][7:-11]}-{one['what']}")
def test_the_verdict_is_that_of_the_strict_reading(verdict):
    if verdict["strict"] and verdict["proof"] not in KNOWN_DIFFERENCES:
        judge(verdict)
        return
    with pytest.raises(Refused) as caught:
        judge(verdict)
    assert caught.value.rule in {Rule.P1, Rule.P7, Rule.P8, Rule.T2}
    assert KNOWN_DIFFERENCES.get(verdict["proof"], "") in caught.value.reason


def test_each_known_difference_is_a_proof_that_the_strict_reading_accepts():
    assert {one["proof"] for one in VERDICTS if one["strict"]} >= set(KNOWN_DIFFERENCES)


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
