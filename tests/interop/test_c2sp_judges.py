"""Torchwood and formats judge the C2SP vectors as the vectors say that they do."""

import json
from pathlib import Path

import pytest
from tests.interop.judges import Judges

VECTORS = Path(__file__).parent.parent / "vectors" / "c2sp"
VERDICTS = json.loads((VECTORS / "verdicts.json").read_text())
"""`torchwood` and `formats`: whether that library accepts the proof. `strict`: whether the C2SP documents, read
strictly, make it valid; our own verifier is held to `strict`, also where a judge differs."""


def case(verdict):
    return (VECTORS / verdict["leaf"]).read_bytes(), (VECTORS / verdict["proof"]).read_bytes().decode()


@pytest.mark.parametrize("judge", ["torchwood", "formats"])
def test_a_judge_gives_the_listed_verdicts(judges: Judges, judge):
    said: dict[tuple[str, str], str] = {}
    for policy in sorted({verdict["policy"] for verdict in VERDICTS}):
        asked = [verdict for verdict in VERDICTS if verdict["policy"] == policy]
        answers = getattr(judges, judge)((VECTORS / policy).read_text(), [case(verdict) for verdict in asked])
        said |= {(v["proof"], v["what"]): answer for v, answer in zip(asked, answers, strict=True)}
    assert len(said) == len(VERDICTS)
    expected = {(verdict["proof"], verdict["what"]): verdict[judge] for verdict in VERDICTS}
    assert {key: answer == "ok" for key, answer in said.items()} == expected, said


def test_every_proof_and_policy_of_the_vectors_is_judged():
    listed = {VECTORS / verdict[part] for verdict in VERDICTS for part in ("proof", "leaf", "policy")}
    assert listed == {*VECTORS.glob("proofs/*"), *VECTORS.glob("policy-*.txt")}


def test_verdicts_come_in_the_order_of_the_proofs(judges: Judges):
    policy = (VECTORS / "policy-3of4.txt").read_text()
    leaf, good = (VECTORS / "proofs/size5-index2.leaf").read_bytes(), (VECTORS / "proofs/size5-index2.tlog-proof")
    proof = good.read_bytes().decode()
    cases = [(leaf, proof), (leaf + b"!", proof), (leaf, proof.replace("index 2", "index 3")), (leaf, proof)] * 100
    for said in (judges.torchwood(policy, cases), judges.formats(policy, cases)):
        assert [answer == "ok" for answer in said] == [True, False, False, True] * 100
        assert len(set(said)) > 1
