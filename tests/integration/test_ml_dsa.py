"""Keys of ML-DSA-44 by the commands: made, registered, used by nodes that run, and told by `verify`."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace
from tests.integration.command_line import cli
from tests.integration.network import QUICK, Network, NodeProcess, running_network, wait_for
from tests.integration.test_governing import at, said, told
from tests.ml_dsa import LACKING, KnownWallet
from tests.proof_corpus import CASES, FOLDER, LISTED

from tallystick.client.doors import AnswerProblem
from tallystick.client.own_node import OwnNode
from tallystick.client.proof_files import PROOF, RawProof, find_proof
from tallystick.client.verdicts import Question, Verifier
from tallystick.host.ml_dsa import has_ml_dsa
from tallystick.host.trust import TrustStore
from tallystick.ledger.bundle import Bundle, read_bundle
from tallystick.ledger.checkpoint import log_key, ml_dsa_cosigner_key
from tallystick.ledger.fields import ML_DSA_SIGNATURE_BYTES
from tallystick.ledger.note import make_note
from tallystick.ledger.tlog_proof import parse_proof
from tallystick.problems import NotYet

pytestmark = pytest.mark.skipif(not has_ml_dsa(), reason=LACKING)
SHORT: Final = replace(
    QUICK, anybody_certifies=False, epoch_blocks=3, epoch_ms=1_000, unbonding_blocks=6, unbonding_ms=2_000
)


@pytest.fixture(scope="module")
def two() -> Iterator[Network]:
    """Two organisations, whose epochs are short."""
    with running_network(2, SHORT) as net:
        yield net


def test_members_sign_the_ends_of_epochs_by_ml_dsa_and_verify_tells_it(two: Network) -> None:
    first, second = two.nodes
    refused = said("member", "ml-dsa", *at(first), expect=2)
    assert "make it with: tallystick key ml-dsa --data" in refused
    for node in two.nodes:
        made = told("key", "ml-dsa", "--no-passphrase", *at(node))
        assert made["key_file"] == str(node.folder.ml_dsa_path)
        assert "never overwritten" in said("key", "ml-dsa", "--no-passphrase", *at(node), expect=2)
        assert f"has the ML-DSA-44 key {made['sha256'][:16]}…: block" in said("member", "ml-dsa", *at(node))
        assert "nothing was changed" in said("member", "ml-dsa", *at(node), expect=2)
    report = two.path / "report.txt"
    report.write_text("The bridge is sound.")
    (result,) = told("certify", report, *at(first))["results"]
    assert "leave out --ml-dsa" in said("prove", report, "--ml-dsa", *at(first), expect=NotYet.exit_code)
    for node in two.nodes:
        node.stop()
        node.start("--no-passphrase")
    wait_for(lambda: signers(first, result["outcome"]["id"]) == 2, "an epoch ended that both signed by ML-DSA")
    said("prove", report, "--ml-dsa", *at(first))
    wait_for(lambda: told("status", *at(first))["ml_dsa"]["is_end_signed"], "it signed the newest end")
    status = told("status", *at(first))["ml_dsa"]
    assert (status["is_signing"], status["why_not"]) == (True, None)
    assert status["key"] == status["registered"]
    assert f"it signs the ends of epochs by the key {status['key'][:16]}…" in said("status", *at(first))
    ledger_id = told("show", *at(second))["ledger_id"]
    shown = said("verify", report, "--ledger", ledger_id)
    assert "also signed with ML-DSA-44 by 2 members with" in shown
    assert "which covers the log only, not members and status" in shown
    (verdict,) = told("verify", report, "--ledger", ledger_id)["files"]
    found = verdict["proven"]["ml_dsa"]
    assert (len(found["members"]), found["stake"], found["unchecked"]) == (2, verdict["proven"]["total_stake"], [])
    path = two.path / f"report.txt{PROOF}"
    signed = path.read_bytes()
    replaced = said("prove", report, *at(first))
    (kept,) = two.path.glob(f"report.txt.20*{PROOF}")
    assert kept.read_bytes() == signed
    assert f"{kept}, with ML-DSA-44 signatures of 2 members that the new one lacks" in replaced

    def is_renewed_by_ml_dsa() -> bool:
        """Until a later epoch has ended so, a renewed proof is an ordinary one; the one that is kept is remembered."""
        if not is_renewed(first, path):
            return False
        (verdict,) = told("verify", report, "--ledger", ledger_id)["files"]
        return bool(verdict["proven"]["ml_dsa"]["members"])

    wait_for(is_renewed_by_ml_dsa, "a later epoch ended that members signed by ML-DSA")
    assert "has no ML-DSA-44 key now" in said("member", "ml-dsa", "--end", *at(first))
    assert "nothing was changed" in said("member", "ml-dsa", "--end", *at(first), expect=2)


def test_verify_says_by_whom_and_where_it_cannot_check_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verified(name: str, expect: int = 0) -> str:
        proof = str(FOLDER / f"ml-dsa-{name}.tlog-proof")
        args = ("verify", str(FOLDER / "document.txt"), "--proof", proof, "--ledger", ledger_id)
        return " ".join(cli(*args, cwd=tmp_path, expect=expect).output.split())

    (case,) = [case for case in CASES if case["name"] == "ml-dsa-valid"]
    ledger_id = case["demand"]["ledger"]
    covers = "which covers the log only, not members and status"
    assert f"also signed with ML-DSA-44 by 3 members with 30 of 40 tokens at stake, {covers}" in verified("valid")
    assert "P15, ML-DSA signatures are by registered keys" in verified("bad", expect=12)
    monkeypatch.setattr("tallystick.client.verdicts.ml_dsa_verifier", lambda: None)
    for name in ("valid", "bad"):
        told = verified(name)
        assert "ML-DSA signatures of 3 members: not checked here; install tallystick[pq]" in told
        assert covers not in told


def test_a_policy_of_ml_dsa_witnesses_alone_says_that_the_ledger_has_to_be_named(tmp_path: Path) -> None:
    """Votes are by Ed25519: by such witnesses nobody knows whose count."""
    (case,) = [case for case in CASES if case["name"] == "ml-dsa-valid"]
    bundle, policy = read_bundle((FOLDER / case["proof"]).read_bytes()), tmp_path / "policy"
    origin, ledger_id = bundle.extra.genesis.origin, case["demand"]["ledger"]
    member, key = bytes.fromhex(case["said"]["ml_dsa"]["signed"][0]), KnownWallet("ada").public_key
    assert bundle.proof.checkpoint.signed_by(ml_dsa_cosigner_key(origin, member, key))
    witness = ml_dsa_cosigner_key(origin, member, key).text
    policy.write_text(f"log {log_key(origin, member).text}\nwitness q {witness}\nquorum q\n")
    args = ("verify", str(FOLDER / "document.txt"), "--proof", str(FOLDER / case["proof"]), "--policy", str(policy))
    told = " ".join(cli(*args, cwd=tmp_path, expect=10).output.split())
    assert "the policy needs witnesses by ML-DSA-44, and members vote by Ed25519" in told
    assert "name the ledger, too: --ledger ID" in told
    assert "P3, ledger is one that the verifier trusts" in told
    cli(*args, "--ledger", ledger_id, cwd=tmp_path)


def signers(node: NodeProcess, certificate_id: str) -> int:
    """After one more certificate: how many members' signatures by ML-DSA are in a proof."""
    node.certify("one more")
    with node.client() as client:
        try:
            made = client.prove(certificate_id, ml_dsa=True)
        except AnswerProblem as problem:
            if problem.code != NotYet.code:
                raise
            return 0
    note = read_bundle(made.proof.encode()).proof.checkpoint
    return sum(len(one.signature) > ML_DSA_SIGNATURE_BYTES for one in note.signatures)


def is_renewed(node: NodeProcess, path: Path) -> bool:
    """After one more certificate."""
    node.certify("one more")
    (one,) = told("renew", path, *at(node))["proofs"]
    return bool(one["state"] == "renewed")


def test_a_newer_proof_that_is_without_them_is_told(tmp_path: Path) -> None:
    (case,) = [case for case in CASES if case["name"] == "ml-dsa-valid"]
    document, at_hand = tmp_path / "document.txt", (FOLDER / case["proof"]).read_bytes()
    document.write_bytes((FOLDER / "document.txt").read_bytes())
    (tmp_path / f"document.txt{PROOF}").write_bytes(at_hand)
    proof = parse_proof(at_hand)
    others = [one for one in proof.checkpoint.signatures if len(one.signature) < ML_DSA_SIGNATURE_BYTES]
    bare = proof._replace(checkpoint=make_note(proof.checkpoint.text, others)).encoded.encode()

    def newest(files: RawProof, _before: Bundle) -> RawProof:
        return files

    question = Question(LISTED["now_ms"], ledger=case["demand"]["ledger"], url="https://node.example")
    for newer, is_told in ((bare, True), (at_hand, False)):
        verifier = Verifier(TrustStore(tmp_path / "trust"), OwnNode(), question, partial(newest, RawProof(newer)))
        one = verifier.verify(find_proof(document))
        assert (one.exit_code, one.online) == (0, "https://node.example")
        assert any("without the signatures by ML-DSA-44" in warning for warning in verifier.warnings) == is_told
