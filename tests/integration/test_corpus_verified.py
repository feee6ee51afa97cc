"""`tallystick verify` ends as the corpus of proofs says, of all that can be asked on the command line."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from tests.integration.command_line import in_json
from tests.proof_corpus import CASES, FOLDER, read

from tallystick.host.ml_dsa import has_ml_dsa

ASKED = [
    case
    for case in CASES
    if not case["demand"]["anchors"]
    and case["demand"]["fresh_ms"] is None
    and case["demand"].get("verifies_ml_dsa") in (None, has_ml_dsa())
]
"""What was verified before, and how old a status is, follows from the user's folder and the clock; whether ML-DSA-44 is
known from the machine."""


def groups() -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Cases of one family of which the same is asked: chains of several families have one genesis, and contradict."""
    found = defaultdict(list)
    for case in ASKED:
        demand = case["demand"]
        if demand["at_ms"] is None:
            family = case["name"].split("-")[0]
            found[demand["ledger"], demand["policy"], demand["issuer"], family].append(case)
    return dict(found)


GROUPS = groups()


@pytest.mark.parametrize("asked", GROUPS, ids=lambda asked: GROUPS[asked][0]["name"])
def test_each_file_ends_as_listed(tmp_path: Path, asked: tuple[str | None, ...]) -> None:
    cases = GROUPS[asked]
    ledger, policy, issuer, _ = asked
    given = {"--ledger": ledger, "--policy": str(FOLDER / policy) if policy else None, "--issuer": issuer}
    options = [part for name, value in given.items() if value for part in (name, value)]
    files, codes = [put(tmp_path, case) for case in cases], {case["exit"] for case in cases} - {0}
    told = in_json(
        "verify", *files, *options, cwd=tmp_path, expect=codes.pop() if len(codes) == 1 else min(1, len(codes))
    )
    if "files" not in told:
        assert [(told["exit_code"], told["rule"])] == [(case["exit"], case["rule"]) for case in cases]
        return
    said = [(one["exit_code"], one["failure"]) for one in told["files"]]
    assert said == [(case["exit"], case["failure"]) for case in cases]


def put(folder: Path, case: dict[str, Any]) -> str:
    """The document, if there is one, with its proof beside it; what to name on the command line."""
    name = f"{case['name']}.txt"
    for ending in ("proof", "members", "payload"):
        data = read(case[ending])
        if data is not None:
            (folder / f"{name}.{'tlog-proof' if ending == 'proof' else ending}").write_bytes(data)
    if case["demand"]["document"] is None:
        return f"{name}.tlog-proof"
    (folder / name).write_bytes((FOLDER / "document.txt").read_bytes())
    return name
