"""What Python says of proofs, for the page's verifier to be held to: of the corpus, and of changed files.

`python -m tests.page.expected --runs 100000` compares so many changed files, and says how many were judged alike.
"""

import argparse
import json
import os
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any, Final

from msgspec import to_builtins

from tallystick.ledger.bundle import extra_codec, read_bundle
from tallystick.ledger.errors import Refused
from tallystick.ledger.tlog_policy import parse_policy
from tallystick.ledger.tlog_proof import parse_proof
from tests.fuzz.mutations import mutated
from tests.proof_corpus import CASES as ALL_CASES
from tests.proof_corpus import bundle_of, demand_of, read
from tests.vectors.proof_told import view_of

HERE: Final = Path(__file__).parent
CASES: Final = [case for case in ALL_CASES if not case["demand"].get("verifies_ml_dsa")]
"""All but those for a verifier that knows ML-DSA-44: the page's does not."""
_EXACT: Final = 2**53 - 1
_CHUNK: Final = 5_000
_LONGEST_PROOF: Final = 24_000
_BESIDE: Final = ("proof", "members", "payload")


def corpus_views() -> dict[str, Any]:
    """Of each case the verdict's view, in JSON; none of those whose policy is unusable."""
    views = {}
    for case in CASES:
        try:
            demand = demand_of(case)
        except Refused:
            continue
        views[case["name"]] = _plain(view_of(partial(bundle_of, case), demand, "document.txt", case["proof"]))
    return views


def changed_files(runs: int, seed: int) -> Iterator[dict[str, Any]]:
    """Cases with a file changed at random, and what is said of them.

    Proofs, their line extra, policies, and the files beside a proof where there are some.
    """
    cases = [case for case in CASES if case["rule"] is None and len(read(case["proof"]) or b"") < _LONGEST_PROOF]
    all_files = [
        {kind: read(case[kind]) for kind in _BESIDE} | {"policy": read(case["demand"]["policy"])} for case in cases
    ]
    others = {kind: [one for files in all_files if (one := files[kind]) is not None] for kind in (*_BESIDE, "policy")}
    extras = [_extra_of(proof) for proof in others["proof"]]
    for number in range(runs):
        random = Random(f"{seed} {number}")
        at = random.randrange(len(cases))
        files = dict(all_files[at])
        kind = random.choice(("proof", "extra", "extra", "policy", "beside"))
        beside = [one for one in ("members", "payload") if files[one] is not None]
        if kind == "beside" and beside:
            kind = random.choice(beside)
            files[kind] = mutated(files[kind] or b"", others[kind], random)
        elif kind == "policy":
            files[kind] = mutated(random.choice(others[kind]), others[kind], random)
        elif kind == "proof":
            files[kind] = mutated(files[kind] or b"", others[kind], random)
        else:
            changed = mutated(extras[at], extras, random)
            files["proof"] = parse_proof(files["proof"] or b"")._replace(extra=changed).encoded.encode()
        yield _changed(cases[at], files)


def _extra_of(proof: bytes) -> bytes:
    return parse_proof(proof).extra or b""


def _covers_payload(proof: bytes) -> bool:
    """Whether its certificate covers one: if it does not, `verify` reads no file beside it."""
    try:
        return extra_codec.decode(_extra_of(proof)).certificate.payload_hash is not None
    except Refused:
        return False


def _changed(case: dict[str, Any], files: dict[str, bytes | None]) -> dict[str, Any]:
    told = {name: None if data is None else b64encode(data).decode() for name, data in files.items()}
    policy = files["policy"]
    try:
        demand = demand_of(case)._replace(policy=None if policy is None else parse_policy(policy))
    except Refused as refused:
        return {"case": case["name"], "files": told, "expected": {"exit_code": 6, "reason": refused.reason}}
    document, proof = case["demand"]["document"] or case["proof"], files["proof"] or b""
    payload = files["payload"] if _covers_payload(proof) else None
    view = view_of(lambda: read_bundle(proof, files["members"], payload), demand, document, case["proof"])
    return {"case": case["name"], "files": told, "expected": _plain(view)}


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
