"""In which order the page checks what is not trusted: as Python, all of P1 and P2 first, consents too, and then P3."""

import json
from base64 import b64encode
from functools import partial
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from msgspec import to_builtins
from msgspec.structs import replace

from tallystick.ledger.bundle import extra_codec, read_bundle
from tallystick.ledger.continuation import Continuation
from tallystick.ledger.genesis import Genesis, decode_genesis
from tallystick.ledger.tlog_proof import parse_proof
from tests.page.expected import CASES, run_suite
from tests.proof_corpus import demand_of, read
from tests.vectors.proof_told import view_of

pytestmark = pytest.mark.skipif(
    which("node") is None, reason="node is not installed: THE PAGE'S VERIFIER IS NOT TESTED"
)

VECTORS = Path(__file__).parents[1] / "vectors"


def continued() -> tuple[Genesis, Continuation]:
    """A genesis that goes on from another ledger, with good consents."""
    listed = json.loads((VECTORS / "geneses.json").read_bytes())
    geneses = (decode_genesis(bytes.fromhex(one["encoded"])) for one in listed)
    return next((one, one.continues) for one in geneses if one.continues is not None)


def judged(case: dict[str, Any], genesis: Genesis, members: bytes | None, has_hand_over: bool) -> dict[str, Any]:
    """What Python says of the case's proof with another genesis, and maybe with its hand-over beside it."""
    parsed = parse_proof(read(case["proof"]) or b"")
    extra = extra_codec.decode(parsed.extra or b"")
    changed = replace(extra, genesis=genesis, hand_over=extra.hand_over if has_hand_over else None)
    files = {"proof": parsed._replace(extra=changed.encoded).encoded.encode(), "members": members, "payload": None}
    read_changed = partial(read_bundle, files["proof"] or b"", members)
    view = view_of(read_changed, demand_of(case), case["demand"]["document"] or case["proof"], case["proof"])
    encoded = {name: None if data is None else b64encode(data).decode() for name, data in files.items()}
    return {"case": case["name"], "files": {**encoded, "policy": None}, "expected": to_builtins(view)}


def test_bad_consents_and_a_bad_hand_over_of_a_ledger_that_is_not_trusted_are_told_as_by_python() -> None:
    """P2 comes before P3, whatever is trusted; and of both the consents are looked at first."""
    genesis, said = continued()
    (key, signature), *others = said.consents
    bad = replace(genesis, continues=replace(said, consents=((key, signature[:-1] + b"\x01"), *others)))
    cases = [
        judged(case, one, members, has_hand_over=members is None)
        for case in CASES
        if case["name"] in ("trust-nobody", "trust-another")
        for one in (genesis, bad)
        for members in (None, b"\x90", b"")
    ]
    told = {(one["expected"]["failure"]["rule"], one["expected"]["claims"] is None) for one in cases}
    assert told == {("P2", True), ("P3", False)}
    run_suite("changed.test.js", cases)


def test_a_policy_that_was_read_once_counts_as_its_bytes_do() -> None:
    run_suite("policy.test.js")
