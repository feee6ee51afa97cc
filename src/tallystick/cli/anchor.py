"""`tallystick anchor`: time stamps of an authority beside proofs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tallystick.api.made_proof_views import Anchored, NotStamped, ProofStamped
from tallystick.api.problem_view import problem_view
from tallystick.cli.options import TSA_VARIABLE, Trust, Tsa, argument, option, trust_store
from tallystick.cli.output import MOST_LINES, counting, field, give, marked, say
from tallystick.cli.words import many, utc
from tallystick.client.proof_folders import find_proofs
from tallystick.problems import BadRequest, ExitCode, Problem

if TYPE_CHECKING:
    from tallystick.client.anchoring import Anchorer


def anchor(
    files: Annotated[list[Path], argument("FILE|DIR", "Documents with a proof, proofs, folders.")],
    *,
    tsa: Tsa = None,
    trust: Trust = None,
    timeout: Annotated[float, option("Wait no longer for each answer.", "SECONDS", min=0.1)] = 30.0,
) -> None:
    """Have a time stamping authority (RFC 3161) stamp the checkpoint of each proof: FILE.tsr beside it. Keep both.

    A token shows, under an authority that the verifier trusts, that the log and the signatures under it existed by a
    time: also when their kind of signature is broken later. tallystick verify reads it; so does openssl ts.

    Of a PDF that carries its proof, too: the token is in FILE.pdf.tsr, and not in the PDF. Hand on both.

    The authority is asked once for proofs that were made together, learns a hash, when, and from which address it is
    asked, and has to be one that you trust: tallystick trust add-tsa. A proof with a token that holds is left as it is.

    Examples:
      tallystick anchor report.pdf --tsa https://freetsa.org/tsr
      tallystick anchor diplomas/ --tsa https://tsa.uni-a.example
    """
    anchorer = open_anchorer(tsa, trust, timeout)
    found, stamped, failed = list[Path](), list[ProofStamped](), list[tuple[Path, Problem]]()
    for path, problem in find_proofs(files):
        if problem is None:
            found.append(path)
        else:
            failed.append((path, problem))
    with counting("Stamping proofs", len(found)) as on_done:
        for number, path in enumerate(found, start=1):
            try:
                stamped.append(anchorer.anchor(path))
            except Problem as problem:
                failed.append((path, problem))
            on_done(number)
    if len(files) == len(failed) == 1 and not stamped and not files[0].is_dir():
        raise failed[0][1]
    lost = [NotStamped(str(path), problem_view(problem)) for path, problem in failed]
    give(Anchored(requests=anchorer.requests, stamped=stamped, failed=lost))
    _tell(stamped, lost)
    if not stamped and not lost:
        say("There is no proof in it: no name ends with .tlog-proof, and no PDF carries one")
    if codes := {problem.exit_code for _, problem in failed}:
        raise typer.Exit(codes.pop() if len(codes) == 1 else ExitCode.FAILED)


def open_anchorer(tsa: str | None, trust: Path | None, timeout_s: float) -> "Anchorer":
    """Who asks the authority that was named. Raises `BadRequest` if none was, or none is trusted; `Problem`."""
    if tsa is None:
        ways = f"name one's URL with --tsa, or in ${TSA_VARIABLE}"
        raise BadRequest(f"no time stamping authority is named, and none is asked unless you say so: {ways}")
    from tallystick.client.anchoring import Anchorer  # noqa: PLC0415  # its libraries are not needed before
    from tallystick.client.time_stamps import TimeStamps  # noqa: PLC0415
    from tallystick.host.authorities import Authorities  # noqa: PLC0415

    authorities = Authorities(trust_store(trust).path)
    anchorer = Anchorer(tsa, TimeStamps(authorities.read_all), timeout_s)
    if not authorities.names():
        advice = "get its root certificate from the authority: tallystick trust add-tsa FILE.pem"
        raise BadRequest(f"no time stamping authority is trusted, so no token could be verified; {advice}")
    return anchorer


def _tell(stamped: list[ProofStamped], failed: list[NotStamped]) -> None:
    """What became of each proof, and how many there are."""
    for lost in failed[:MOST_LINES]:
        say(marked("×", lost.proof, f" is not time stamped: {lost.problem.detail}"))
    if len(failed) > MOST_LINES:
        say(f"… and {len(failed) - MOST_LINES:,} more that are not")
    for one in stamped[:MOST_LINES]:
        was = ", as before" if one.was_there else ""
        say(marked("✓", one.proof, f" is time stamped{was}: not later than {utc(one.not_later_ms)}"))
        say(field("token", one.time_stamp))
        say(field("by", f"{one.authority}, which you trust as {one.known_as}"))
    if len(stamped) > MOST_LINES:
        say(f"… and {len(stamped) - MOST_LINES:,} more")
    if len(stamped) + len(failed) > 1:
        say(f"{many(len(stamped), 'proof')} time stamped{f', {len(failed):,} not' if failed else ''}")
