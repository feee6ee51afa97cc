"""The corpus of proofs: each case gets the verdict that is listed, and the files are what the code makes."""

from hashlib import sha256

import pytest
from tests.builders import refuses
from tests.ml_dsa import LACKING
from tests.proof_corpus import CASES, FOLDER, LISTED, accepted_by_others, verdict_of
from tests.vectors import proofs
from tests.vectors.proof_cases import EXITS, VERDICTS

from tallystick.host.ml_dsa import has_ml_dsa
from tallystick.ledger.errors import Refused, Rule

UNUSABLE = {"trust-policy-broken", "trust-policy-small-order"}
"""The policy is none."""
CHECKS = {
    *(Rule.P1, Rule.P2, Rule.P3, Rule.P4, Rule.P5, Rule.P6, Rule.P7, Rule.P8, Rule.C1, Rule.T1),
    *(Rule.P9, Rule.P10, Rule.P11, Rule.P12, Rule.P13, Rule.P15),
}
needs_ml_dsa = pytest.mark.skipif(not has_ml_dsa(), reason=LACKING)


def marked(case):
    marks = (needs_ml_dsa,) if case["demand"].get("verifies_ml_dsa") else ()
    return pytest.param(case, id=case["name"], marks=marks)


@pytest.mark.parametrize("case", [marked(one) for one in CASES])
def test_the_verdict_is_the_one_listed(case):
    if case["rule"] is None:
        verdict = verdict_of(case)
        assert case["said"]["log_index"] == verdict.log_index
        assert case["said"]["anchor"] == verdict.anchor.encoded.hex()
        told = case["said"].get("ml_dsa", {"signed": [], "stake": 0, "unchecked": []})
        assert told["signed"] == [key.hex() for key in verdict.ml_dsa.signed]
        assert (told["stake"], len(told["unchecked"])) == (verdict.ml_dsa_stake, len(verdict.ml_dsa.unchecked))
        assert (case["exit"], case["verdict"], case["failure"]) == (0, "valid", None)
        return
    with pytest.raises(Refused) as caught:
        verdict_of(case)
    assert caught.value.rule.name == case["rule"], caught.value
    assert case["exit"] == (6 if case["name"] in UNUSABLE else EXITS[caught.value.rule])
    assert case["verdict"] == VERDICTS[case["exit"]]
    failure = case["failure"]
    assert (failure["rule"], failure["reason"]) == (case["rule"], caught.value.reason)


def test_words_say_the_verdict_and_what_to_do_next():
    """Of each case the first line; below it the check and the advice of those that are refused."""
    for case in CASES:
        first, *more = case["told"]
        if case["name"] in UNUSABLE:
            assert (more, first.startswith("error: [P1] ")) == ([], True), case["name"]
        elif case["rule"] is None:
            assert first.startswith("✓ "), case["name"]
            assert any(case["said"]["certificate"] in line for line in more), case["name"]
        else:
            failure = case["failure"]
            assert first.startswith("× "), case["name"]
            assert more[0] == f"  check        {failure['rule']}, {failure['step']}"
            assert more[1] == f"  do next      {failure['advice']}"


@needs_ml_dsa
def test_the_files_are_what_the_code_makes():
    made = proofs.make()
    assert {path.name for path in FOLDER.iterdir()} == {*made, "README.md"}
    assert {name for name, data in made.items() if (FOLDER / name).read_bytes() != data} == set()


def test_every_check_fails_in_some_case_and_there_are_many_proofs():
    assert {case["rule"] for case in CASES} == {None, *(rule.name for rule in CHECKS)}
    assert set(EXITS) == CHECKS
    assert len({case["proof"] for case in CASES}) >= 120
    assert len({case["name"] for case in CASES}) == len(CASES)


def test_each_family_has_a_valid_proof():
    families = {case["name"].rpartition("-")[0] for case in CASES if case["name"].endswith("-valid")}
    assert {case["name"] for case in CASES if case["rule"] is None} > {f"{name}-valid" for name in families}
    assert len(families) >= 20


def test_what_is_broken_where_other_tools_look_is_refused_by_them_too():
    """What only `extra` tells is refused by our verifier alone; nothing that ours takes is refused by the documents."""
    for case in CASES:
        if case["rule"] is None and not case["name"].startswith(("trust-policy", "early-older")):
            assert accepted_by_others(case), case["name"]
        if case["rule"] in {"P1", "P8"} and not case["name"].startswith("trust-policy"):
            assert not accepted_by_others(case), case["name"]


def test_the_document_is_the_one_listed():
    data = (FOLDER / "document.txt").read_bytes()
    assert LISTED["document"] == {"size_bytes": len(data), "sha256": sha256(data).hexdigest()}


@pytest.mark.parametrize("name", ["base-content-gone", "erased-document"])
def test_where_content_is_gone_that_is_said(name):
    (case,) = [case for case in CASES if case["name"] == name]
    with refuses(Rule.P10, "its content is not in this proof"):
        verdict_of(case)


def test_proofs_have_the_sizes_that_are_promised():
    sizes = {case["name"]: (FOLDER / case["proof"]).stat().st_size for case in CASES if case["rule"] is None}
    assert sizes["base-valid"] <= 8 * 1024
    assert sizes["hundred-valid"] < 64_000
    assert max(sizes.values()) < 64 * 1024
