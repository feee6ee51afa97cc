"""`tallystick prove`: a proof of a certificate, which needs no node."""

import re
import shlex
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

from tallystick.api.command_views import NotProved, ProofMade, ProofsMade
from tallystick.api.problem_view import problem_view
from tallystick.api.words import SHORT_ID
from tallystick.cli.options import ChainFile, Data, argument, flag, open_source, option
from tallystick.cli.output import MOST_LINES, field, give, hint, marked, say
from tallystick.cli.words import how_to_verify, many, utc
from tallystick.client.blocking import Client
from tallystick.client.pdf_files import as_it_was, carried_in
from tallystick.client.pdf_files import attach as attach_proof
from tallystick.client.proof_files import PROOF, is_proof, is_there
from tallystick.client.proof_writing import (
    Written,
    attached_form,
    certificate_about,
    certificate_attached,
    certificate_in,
    is_taken,
    write_proof,
)
from tallystick.ledger.file_statement import FileStatement
from tallystick.problems import CannotMake, ExitCode, NotThere, Problem
from tallystick.proof.bundle import read_bundle
from tallystick.storage.described_files import describe_file

_ID: Final = re.compile(r"[0-9a-fA-F]{8,64}")


class _Wanted(NamedTuple):
    """A certificate, and where its proof goes."""

    file: str | None
    certificate_id: str
    to: Path
    attached_to: FileStatement | None = None
    """The PDF as it was before, if the proof is attached to it."""


def prove(
    what: Annotated[list[str], argument("FILE|ID", "Files that are certified, proofs to renew, ids of certificates.")],
    *,
    since: Annotated[
        int, option("For who knows the members of this epoch.", "EPOCH", min=0, show_default="those of the genesis")
    ] = 0,
    to: Annotated[Path | None, option("Write it there.", "FILE", show_default="FILE.tlog-proof, ID.tlog-proof")] = None,
    attach: Annotated[
        bool, flag("--attach", "Attach it to the PDF. A proof that a PDF carries is made anew there in any case.")
    ] = False,
    timeout: Annotated[float, option("Wait no longer for members to countersign.", "SECONDS", min=0)] = 30.0,
    chain: ChainFile = None,
    data: Data = None,
    url: Annotated[str | None, option("Ask the node at this URL instead.")] = None,
) -> None:
    """Make the proof of a certificate, or make it anew: FILE.tlog-proof, beside the file. Keep it with the file.

    With it whoever trusts the ledger can verify the file, offline, when all nodes are gone: tallystick verify FILE
    --ledger ID. A proof says as of
    when its status is known; made anew it has a later one, and the same block time.

    Of several, one that cannot be made does not hinder the others; the code is that of all that fail, or 1.

    With --attach, a PDF carries its proof, as an attachment that viewers list; a proof attached before is replaced.

    A long proof has further files beside it, FILE.members and FILE.payload: hand them on together.

    Examples:
      tallystick prove report.pdf
      tallystick prove diplomas/*.pdf --attach
      tallystick prove 3f786850e387550f --to diploma.tlog-proof
    """
    if to is not None and len(what) > 1:
        raise typer.BadParameter("--to is for the proof of one")
    if attach and to is not None:
        raise typer.BadParameter("--attach puts the proof into the PDF: without --to")
    if url is not None and chain is not None:
        raise typer.BadParameter("--url and --chain exclude each other")
    with open_source(chain, data, url) as client:
        made, failed, codes = list[ProofMade](), list[NotProved](), set[int]()
        for one in what:
            try:
                made.append(_made(client, _wanted(client, one, to, attach), since, timeout))
            except Problem as problem:
                if len(what) == 1:
                    raise
                failed.append(NotProved(one, problem_view(problem)))
                codes.add(problem.exit_code)
    give(ProofsMade(proofs=made, failed=failed))
    _tell(made, failed, client.ledger_id.hex())
    if codes:
        raise typer.Exit(codes.pop() if len(codes) == 1 else ExitCode.FAILED)


def _wanted(client: Client, what: str, to: Path | None, attach: bool) -> _Wanted:
    """A file comes before an id that is written alike."""
    path = Path(what)
    if not is_there(path, "name a file, or the id of its certificate"):
        if _ID.fullmatch(what) is None:
            raise NotThere(f"there is no file {what}, and no id is written so")
        if attach:
            raise NotThere(f"there is no file {what}; name the PDF to which its proof is to be attached")
        certificate_id = client.certificate(what).id
        return _Wanted(None, certificate_id, to or Path(certificate_id + PROOF))
    if attach or carried_in(path) is not None:
        described = as_it_was(path)
        certificate_id = certificate_about(client, described, certificate_attached(path)).id
        return _Wanted(what, certificate_id, to or path, described if to is None else None)
    if is_proof(path):
        if (kept := certificate_in(path)) is None:
            raise NotThere(f"{path} is no proof that can be read; name the file that it is of")
        return _Wanted(None, kept, to or path)
    described = describe_file(path)
    to = to or path.with_name(path.name + PROOF)
    return _Wanted(what, certificate_about(client, described, _proven_in(to)).id, to)


def _proven_in(to: Path) -> str | None:
    """The certificate that the proof there is of. Raises `CannotMake` where none can be."""
    return certificate_in(to) if is_taken(to) else None


def _made(client: Client, wanted: _Wanted, since: int, timeout_s: float) -> ProofMade:
    described = wanted.attached_to
    before = certificate_attached(wanted.to) if described is not None else _proven_in(wanted.to)
    if before not in (None, wanted.certificate_id):
        told = f"{wanted.to} is the proof of another certificate, {before[:SHORT_ID]}…"
        raise CannotMake(f"{told}; move it away, or name another file with --to")
    files = client.prove(wanted.certificate_id, since=since, fresh=not client.is_file, timeout_s=timeout_s)
    if described is not None:
        attach_proof(wanted.to, attached_form(files), described.sha256)
        written = Written(wanted.to, None, None)
    else:
        written = write_proof(files, wanted.to)
    header = read_bundle(files.proof.encode(), files.members, files.payload).extra.header
    return ProofMade(
        file=wanted.file,
        certificate=wanted.certificate_id,
        proof=str(written.proof),
        members=str(written.members) if written.members else None,
        payload=str(written.payload) if written.payload else None,
        block_index=header.index,
        block_timestamp_ms=header.timestamp_ms,
        was_there=before is not None,
    )


def _tell(made: list[ProofMade], failed: list[NotProved], ledger_id: str) -> None:
    for lost in failed[:MOST_LINES]:
        say(marked("×", lost.what, f" has no new proof: {lost.problem.detail}"))
    if len(failed) > MOST_LINES:
        say(f"… and {len(failed) - MOST_LINES:,} more without one")
    for one in made[:MOST_LINES]:
        became = "made anew" if one.was_there else "made"
        became = f"attached, {became}" if one.proof == one.file else became
        said = f" is {became}: the log up to block {one.block_index}, {utc(one.block_timestamp_ms)}"
        say(marked("✓", one.proof, said))
        say(field("certificate", one.certificate))
        beside = [name for name in (one.members, one.payload) if name is not None]
        if beside:
            say(field("hand on too", ", ".join(beside)))
    if len(made) > MOST_LINES:
        say(f"… and {len(made) - MOST_LINES:,} more")
    if len(made) + len(failed) > 1:
        say(f"{many(len(made), 'proof')} made{f', {len(failed):,} not' if failed else ''}")
    if made:
        hint(how_to_verify(_named(made[0]), ledger_id))


def _named(one: ProofMade) -> str:
    """What `verify` is told of it."""
    if one.file is None:
        named = one.proof.endswith(PROOF)
        return shlex.quote(one.proof) if named else f"FILE --proof {shlex.quote(one.proof)}"
    beside = "" if one.proof in (one.file, one.file + PROOF) else f" --proof {shlex.quote(one.proof)}"
    return f"{shlex.quote(one.file)}{beside}"
