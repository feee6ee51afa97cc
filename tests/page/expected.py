"""What Python says of proofs, for the page's verifier to be held to: of the corpus, and of changed files.

`python -m tests.page.expected --runs 100000` compares so many changed files, and says how many were judged alike.
"""

import argparse
import json
import os
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from random import Random
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any, Final

from msgspec import to_builtins
from tests.fuzz.mutations import mutated
from tests.proof_corpus import CASES, bundle_of, demand_of, read
from tests.vectors.proof_told import view_of

from tallystick.ledger.errors import Refused
from tallystick.ledger.tlog_policy import parse_policy
from tallystick.ledger.tlog_proof import parse_proof
from tallystick.proof.bundle import read_bundle

HERE: Final = Path(__file__).parent
_EXACT: Final = 2**53 - 1
_CHUNK: Final = 5_000
_LONGEST_PROOF: Final = 12_000


def corpus_views() -> dict[str, Any]:
    """Of each case the verdict's view, in JSON; none of those whose policy is unusable."""
    views = {}
    for case in CASES:
        try:
            demand = demand_of(case)
        except Refused:
            continue
        views[case["name"]] = _plain(view_of(lambda case=case: bundle_of(case), demand, "document.txt", case["proof"]))
    return views


def changed_files(runs: int, seed: int) -> Iterator[dict[str, Any]]:
    """Cases with a file changed at random, and what is said of them: proofs, their line extra, and policies."""
    cases = [case for case in CASES if case["rule"] is None and len(read(case["proof"]) or b"") < _LONGEST_PROOF]
    proofs = [read(case["proof"]) or b"" for case in cases]
    extras = [parse_proof(one).extra or b"" for one in proofs]
    policies = [read(name) or b"" for name in sorted({case["demand"]["policy"] for case in CASES} - {None})]
    for number in range(runs):
        random = Random(f"{seed} {number}")
        at = random.randrange(len(cases))
        case, proof, policy = cases[at], proofs[at], read(cases[at]["demand"]["policy"])
        kind = random.choice(("proof", "extra", "extra", "policy"))
        if kind == "proof":
            proof = mutated(proof, proofs, random)
        elif kind == "extra":
            proof = parse_proof(proof)._replace(extra=mutated(extras[at], extras, random)).encoded.encode()
        else:
            policy = mutated(random.choice(policies), policies, random)
        yield _changed(case, proof, policy)


def _changed(case: dict[str, Any], proof: bytes, policy: bytes | None) -> dict[str, Any]:
    files = {"proof": _base64(proof), "policy": policy if policy is None else _base64(policy)}
    try:
        demand = demand_of(case)._replace(policy=None if policy is None else parse_policy(policy))
    except Refused as refused:
        return {"case": case["name"], **files, "expected": {"exit_code": 6, "reason": refused.reason}}
    members, payload = read(case["members"]), read(case["payload"])
    document = case["demand"]["document"] or case["proof"]
    view = view_of(lambda: read_bundle(proof, members, payload), demand, document, case["proof"])
    return {"case": case["name"], **files, "expected": _plain(view)}


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _plain(value: Any) -> Any:
    """In JSON; what JavaScript's numbers do not hold exactly as text."""
    match to_builtins(value):
        case dict() as fields:
            return {name: _plain(one) for name, one in fields.items()}
        case list() as values:
            return [_plain(one) for one in values]
        case int() as number if abs(number) > _EXACT:
            return str(number)
        case plain:
            return plain


def run_suite(name: str, given: Any = None) -> str:
    """Run one file of tests in Node, once; what it prints. `given` reaches it as JSON. Raises `AssertionError`."""
    node = which("node")
    assert node is not None, "node is not installed"
    with TemporaryDirectory() as folder:
        path = Path(folder) / "given.json"
        path.write_text(json.dumps(given), encoding="ascii")
        command = [node, str(HERE / name)]
        environment = {**os.environ, "TALLYSTICK_GIVEN": str(path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    return done.stdout


def main() -> None:
    """Compare changed files, in chunks."""
    parser = argparse.ArgumentParser(prog="python -m tests.page.expected")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for chunk in range(-(-given.runs // _CHUNK)):
        cases = list(changed_files(min(_CHUNK, given.runs - chunk * _CHUNK), given.seed * 1_000 + chunk))
        run_suite("changed.test.js", cases)
        print(f"{chunk * _CHUNK + len(cases):,} changed files are judged alike", flush=True)


if __name__ == "__main__":
    main()
