"""The corpus of proofs as any other program reads it: from its files."""

import json
from pathlib import Path
from typing import Any

from tallystick.host.ml_dsa import ml_dsa_verifier
from tallystick.ledger.bundle import Bundle, read_bundle
from tallystick.ledger.checkpoint import parse_checkpoint
from tallystick.ledger.encoding import Codec
from tallystick.ledger.errors import Refused, Rule, expect
from tallystick.ledger.file_statement import FileStatement
from tallystick.ledger.keys import Verify
from tallystick.ledger.merkle import leaf_hash, root_from_path
from tallystick.ledger.tlog_policy import parse_policy
from tallystick.ledger.tlog_proof import parse_proof
from tallystick.proof.members import Anchor
from tallystick.proof.verify import Demand, Verdict, verify

FOLDER = Path(__file__).parent / "vectors" / "proofs"
LISTED: dict[str, Any] = json.loads((FOLDER / "verdicts.json").read_text(encoding="ascii"))
CASES: list[dict[str, Any]] = LISTED["cases"]

_anchors: Codec[Anchor] = Codec(Anchor, 1024 * 1024, "anchor")


def read(name: str | None) -> bytes | None:
    """A file of the corpus, if there is one of this name."""
    return (FOLDER / name).read_bytes() if name is not None else None


def verdict_of(case: dict[str, Any]) -> Verdict:
    """Raises `Refused`."""
    demand = demand_of(case)
    return verify(bundle_of(case), demand)


def bundle_of(case: dict[str, Any]) -> Bundle:
    """The proof with the files beside it. Raises `Refused`."""
    proof = read(case["proof"])
    assert proof is not None
    return read_bundle(proof, read(case["members"]), read(case["payload"]))


def demand_of(case: dict[str, Any]) -> Demand:
    """What the verifier trusts and asks for. Raises `Refused` for a policy that is none."""
    asked, document = case["demand"], LISTED["document"]
    policy = read(asked["policy"])
    return Demand(
        now_ms=LISTED["now_ms"],
        ledger_id=bytes.fromhex(asked["ledger"]) if asked["ledger"] else None,
        anchors=tuple(_anchors.decode(bytes.fromhex(one)) for one in asked["anchors"]),
        policy=parse_policy(policy) if policy is not None else None,
        document=FileStatement("at hand", document["size_bytes"], bytes.fromhex(document["sha256"]))
        if asked["document"]
        else None,
        issuer=asked["issuer"],
        at_ms=asked["at_ms"],
        fresh_ms=asked["fresh_ms"],
        verify_ml_dsa=ml_dsa_verifier() if asked.get("verifies_ml_dsa") else None,
    )


def accepted_by_others(case: dict[str, Any]) -> bool:
    """Whether the C2SP documents, read strictly, make it valid for who knows nothing of `extra`."""
    proof, policy = read(case["proof"]), read(case["others"]["policy"])
    assert proof is not None
    assert policy is not None
    try:
        check_strictly(policy, bytes.fromhex(case["others"]["leaf"]), proof)
    except Refused:
        return False
    return True


def check_strictly(policy: bytes, leaf: bytes, proof: bytes, verify_ml_dsa: Verify | None = None) -> None:
    """Raise `Refused` unless a tlog-proof shows this leaf, by the C2SP documents and a policy."""
    signers, parsed = parse_policy(policy, verify_ml_dsa), parse_proof(proof)
    signers.check(parsed.checkpoint)
    head = parse_checkpoint(parsed.checkpoint.text)
    expect(Rule.P8, "root", head.root, root_from_path(leaf_hash(leaf), parsed.log_index, head.size, parsed.path))
