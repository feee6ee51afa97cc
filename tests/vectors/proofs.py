"""Writes the corpus of proofs: `python -m tests.vectors.proofs`. tests/vectors/proofs/README.md says what is in it."""

import json
from pathlib import Path
from typing import Any

from tallystick.ledger.checkpoint import MlDsaCosigners
from tallystick.proof.verify import Verdict
from tests import ml_dsa
from tests.proving import NOW_MS, short_epochs
from tests.vectors import proof_claims, proof_forms, proof_ledgers, proof_ml_dsa
from tests.vectors.proof_cases import DOCUMENT, REPORT, VERDICTS, Case, on_a_new_ledger
from tests.vectors.proof_told import told_of

FOLDER = Path(__file__).parent / "proofs"
DOCUMENT_NAME = "document.txt"
LISTED = "verdicts.json"


def cases() -> list[Case]:
    """All, each of a ledger that is written anew."""
    writers = (
        (proof_forms.write, short_epochs(4)),
        *proof_ledgers.WRITERS,
        *proof_claims.WRITERS,
        *proof_ml_dsa.WRITERS,
    )
    return [case for write, genesis in writers for case in on_a_new_ledger(write, genesis)]


def make() -> dict[str, bytes]:
    """The files by their names. Those of equal bytes are one."""
    files = {DOCUMENT_NAME: DOCUMENT}
    names: dict[bytes, str] = {}

    def file(name: str, data: bytes | None) -> str | None:
        if data is None:
            return None
        if data not in names:
            assert name not in files, f"{name} twice"
            names[data], files[name] = name, data
        return names[data]

    listed = []
    for case in cases():
        asked = case.asked
        demand = {
            "ledger": asked.ledger and asked.ledger.hex(),
            "anchors": [one.encoded.hex() for one in asked.anchors],
            "policy": file(f"{case.name}.policy", asked.policy.encode() if asked.policy is not None else None),
            "document": DOCUMENT_NAME if asked.has_document else None,
            "issuer": asked.issuer,
            "at_ms": asked.at_ms,
            "fresh_ms": asked.fresh_ms,
            **({"verifies_ml_dsa": asked.verifies_ml_dsa} if asked.verifies_ml_dsa is not None else {}),
        }
        listed.append(
            {
                "name": case.name,
                "what": case.what,
                "proof": file(f"{case.name}.tlog-proof", case.proof),
                "members": file(f"{case.name}.members", case.members),
                "payload": file(f"{case.name}.payload", case.payload),
                "demand": demand,
                "verdict": VERDICTS[case.exit_code],
                "rule": case.rule and case.rule.name,
                "exit": case.exit_code,
                "said": _said(case) if case.rule is None else None,
                **told_of(case, DOCUMENT_NAME, file(f"{case.name}.tlog-proof", case.proof) or ""),
                "others": {"policy": file(f"{case.name}.policy", case.others_policy.encode()), "leaf": case.leaf.hex()},
            }
        )
    known = {"now_ms": NOW_MS, "document": {"size_bytes": REPORT.size_bytes, "sha256": REPORT.sha256.hex()}}
    text = json.dumps({**known, "cases": listed}, indent=1, ensure_ascii=True) + "\n"
    return {**files, LISTED: text.encode("ascii")}


def _said(case: Case) -> dict[str, Any]:
    """What a verifier says of a valid proof. Raises `Refused` if it is not."""
    verdict = case.judge()
    return {
        "ledger": verdict.genesis.ledger_id.hex(),
        "certificate": verdict.certificate.id.hex(),
        "log_index": verdict.log_index,
        "issuer": verdict.certificate.issuer.hex(),
        "organisation": verdict.organisation.id if verdict.organisation is not None else None,
        "block": verdict.block.index,
        "block_ms": verdict.block.timestamp_ms,
        "claimed_ms": verdict.certificate.timestamp_ms,
        "final_s": verdict.final_s,
        "status_s": verdict.status_s,
        "cosigners": [one.organisation for one in verdict.cosigners],
        "cosigned_stake": sum(one.stake for one in verdict.cosigners),
        "total_stake": verdict.total_stake,
        "changes": [one.epoch for one in verdict.changes],
        "validity": verdict.validity.state.value if verdict.validity is not None else None,
        "key": verdict.validity.key.value
        if verdict.validity is not None and verdict.validity.key is not None
        else None,
        "content_gone": verdict.is_content_gone,
        "older": verdict.is_older,
        **({"ml_dsa": _said_by_ml_dsa(verdict)} if verdict.ml_dsa != MlDsaCosigners() else {}),
        "anchor": verdict.anchor.encoded.hex(),
    }


def _said_by_ml_dsa(verdict: Verdict) -> dict[str, Any]:
    found = verdict.ml_dsa
    return {
        "signed": [key.hex() for key in found.signed],
        "stake": verdict.ml_dsa_stake,
        "unchecked": [key.hex() for key in found.unchecked],
    }


def main() -> None:
    """Write the files, and remove those that are no more made."""
    FOLDER.mkdir(exist_ok=True)
    made = make()
    for path in FOLDER.iterdir():
        if path.name not in made and path.name != "README.md":
            path.unlink()
    for name, data in made.items():
        (FOLDER / name).write_bytes(data)
    ml_dsa.keep()


if __name__ == "__main__":
    main()
