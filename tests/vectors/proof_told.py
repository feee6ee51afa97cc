"""What `tallystick verify` says of a case of the corpus: the view of its verdict, and the words that people read."""

from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from msgspec import to_builtins

from tallystick.api.proof_views import Failure, FileVerdict
from tallystick.api.proven import RESULTS, advice_of, claims_view, exit_code_of, failure_view, proven_view
from tallystick.cli.output import say
from tallystick.cli.verify_words import tell_verdict
from tallystick.ledger.bundle import Bundle
from tallystick.ledger.errors import Refused
from tallystick.problems import ExitCode
from tallystick.proof.verify import Demand, Verdict, verify
from tests.proving import NOW_MS
from tests.vectors.proof_cases import Case


def told_of(case: Case, document: str, proof: str) -> dict[str, Any]:
    """`failure` and `told` of a case whose files have these names. Of an unusable policy: the error that it ends with.

    The ledger is trusted because it is named, or counts by the policy alone; nothing is kept.
    """
    try:
        demand = case.asked.demand
    except Refused as refused:
        failure, error = to_builtins(failure_view(refused)) | {"advice": None}, f"error: {refused}"
        return {"failure": failure, "told": _lines(lambda: say(error))}
    view = view_of(lambda: case.bundle, demand, document, proof)
    failure = to_builtins(view.failure)
    return {"failure": failure, "told": _lines(lambda: tell_verdict(view, NOW_MS))}


def view_of(read: Callable[[], Bundle], demand: Demand, document: str, proof: str) -> FileVerdict:
    """The verdict on a proof, which is read, as a view, as `client.verdicts` makes it."""
    bundle, failed, verdict = None, None, None
    try:
        bundle = read()
        verdict = verify(bundle, demand)
    except Refused as refused:
        failed = refused
        found = getattr(refused, "verdict", None)
        verdict = found if isinstance(found, Verdict) else None
    code = exit_code_of(failed) if failed is not None else ExitCode.OK
    at_hand = demand.document
    trusted_by = "named" if demand.ledger_id is not None else "policy"
    return FileVerdict(
        name=document if at_hand is not None else proof,
        sha256=at_hand.sha256.hex() if at_hand is not None else None,
        size_bytes=at_hand.size_bytes if at_hand is not None else None,
        proof=proof,
        exit_code=code,
        result=RESULTS[code],
        online=None,
        claims=claims_view(bundle) if bundle is not None else None,
        proven=proven_view(verdict, trusted_by, None, {}, demand.at_ms) if verdict is not None else None,
        time_stamp=None,
        failure=_failure(failed, bundle) if failed is not None else None,
    )


def _failure(failed: Refused, bundle: Bundle | None) -> Failure:
    if bundle is None:
        return failure_view(failed)
    is_lacking = bundle.payload is None and bundle.extra.certificate.payload_hash is not None
    return failure_view(failed, advice_of(failed, bundle), is_lacking)


def _lines(tell: Callable[[], None]) -> list[str]:
    """What is printed meanwhile, into a file."""
    with redirect_stdout(StringIO()) as printed:
        tell()
    return printed.getvalue().splitlines()
