"""`tallystick prove`: a proof of a certificate, which needs no node."""

import re
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

from tallystick.api.made_proof_views import NotProved, ProofMade, ProofsMade
from tallystick.api.problem_view import problem_view
from tallystick.api.proven import validity_as_proven
from tallystick.api.words import SHORT_ID
from tallystick.cli.options import ChainFile, Data, Trust, argument, flag, node_folder, open_source, option, trust_store
from tallystick.cli.output import MOST_LINES, field, give, hint, marked, say
from tallystick.cli.words import how_to_verify, many, utc, validity, with_ml_dsa
from tallystick.client.made_proofs import ProofJudge
from tallystick.client.own_node import own_node
from tallystick.client.pdf_files import as_it_was, carried_in
from tallystick.client.pdf_files import attach as attach_proof
from tallystick.client.proof_files import PROOF, find_proof, is_proof, is_there
from tallystick.client.proof_sources import NodeSource, ProofSource, open_mirror
from tallystick.client.proof_writing import (
    Kept,
    Written,
    attached_form,
    bundle_attached,
    bundle_in,
    is_taken,
    keep_attached,
    write_proof,
)
from tallystick.host.clock import now_ms
from tallystick.ledger.bundle import Bundle
from tallystick.ledger.file_statement import LACKING, FileStatement
from tallystick.problems import CannotMake, ExitCode, NotThere, Problem
from tallystick.storage.described_files import describe_file

_ID: Final = re.compile(r"[0-9a-fA-F]{8,64}")


class _Wanted(NamedTuple):
    """A certificate, and where its proof goes."""

    file: str | None
    certificate_id: str
    to: Path
    before: Bundle | None
    """An earlier proof, if one is at hand: of it, or of what has its place."""
    attached_to: FileStatement | None = None
    """The PDF as it was before, if the proof is attached to it."""


def prove(
    what: Annotated[list[str], argument("FILE|ID", "Files that are certified, proofs to renew, ids of certificates.")],
    *,
    since: Annotated[
        int, option("For who knows the members of this epoch.", "EPOCH", min=0, show_default="those of the genesis")
    ] = 0,
    ml_dsa: Annotated[
        bool, flag("--ml-dsa", "At the newest epoch's end that members signed with ML-DSA-44, too: an older status.")
    ] = False,
    to: Annotated[Path | None, option("Write it there.", "FILE", show_default="FILE.tlog-proof, ID.tlog-proof")] = None,
    attach: Annotated[
        bool, flag("--attach", "Attach it to the PDF. A proof that a PDF carries is made anew there in any case.")
    ] = False,
    timeout: Annotated[float, option("Wait no longer for members to countersign.", "SECONDS", min=0)] = 30.0,
    mirror: Annotated[
        str | None, option("Make it from this mirror, without a node (tallystick export).", "URL|DIR", "--from")
    ] = None,
    trust: Trust = None,
    chain: ChainFile = None,
    data: Data = None,
    url: Annotated[str | None, option("Ask the node at this URL instead.")] = None,
) -> None:
    """Make the proof of a certificate, or make it anew: FILE.tlog-proof, beside the file. Keep it with the file.

    With it whoever trusts the ledger can verify the file, offline, when all nodes are gone: tallystick verify FILE
    --ledger ID. A proof says as of
    when its status is known; made anew it has a later one, and the same block time.

    Of several, one that cannot be made does not hinder the others; the code is that of all that fail, or 1.

    From a mirror any of its certificates is proven, named by its id or by an earlier proof. A mirror is not believed,
    and holds no contents: the earlier proof brings its own, and one that is made of an id alone is without.

    With --attach, a PDF carries its proof, as an attachment that viewers list; a proof attached before is replaced.

    What was made is written if it holds, and is of the history that was verified here before: a proof of another is
    kept as evidence, as by tallystick verify.

    A proof with a time stamp of its own is kept, with that, when another takes its place: FILE.DATE.tlog-proof. So is
    one with signatures by ML-DSA-44 that the new one lacks, and that is said.

    A long proof has further files beside it, FILE.members and FILE.payload: hand them on together.

    Examples:
      tallystick prove report.pdf
      tallystick prove diplomas/*.pdf --attach
      tallystick prove 3f786850e387550f --to diploma.tlog-proof
      tallystick prove report.pdf --ml-dsa
      tallystick prove diplomas/*.pdf --from https://log.uni-a.example
    """
    if to is not None and len(what) > 1:
        raise typer.BadParameter("--to is for the proof of one")
    if attach and to is not None:
        raise typer.BadParameter("--attach puts the proof into the PDF: without --to")
    if sum(one is not None for one in (url, chain, mirror)) > 1:
        raise typer.BadParameter("--url, --chain and --from exclude each other")
    if mirror is not None and since:
        raise typer.BadParameter("--since takes a node: a mirror tells the members from the genesis on")
    if mirror is not None and ml_dsa:
        raise typer.BadParameter("--ml-dsa takes a node: a mirror has no signatures by ML-DSA-44")
    with ExitStack() as stack:
        if mirror is not None:
            source: ProofSource = open_mirror(mirror, stack)
        else:
            client = stack.enter_context(open_source(chain, data, url))
            source = NodeSource(client, since, timeout, ml_dsa=ml_dsa)
        judge = ProofJudge(trust_store(trust), own_node(node_folder(data)), now_ms())
        made, failed, codes = list[ProofMade](), list[NotProved](), set[int]()
        for one in what:
            try:
                made.append(_made(source, judge, _wanted(source, one, to, attach), since))
            except Problem as problem:
                if len(what) == 1:
                    raise
                failed.append(NotProved(one, problem_view(problem)))
                codes.add(problem.exit_code)
    give(ProofsMade(proofs=made, failed=failed))
    _tell(made, failed, source.ledger_id.hex())
    if codes:
        raise typer.Exit(codes.pop() if len(codes) == 1 else ExitCode.FAILED)


def _wanted(source: ProofSource, what: str, to: Path | None, attach: bool) -> _Wanted:
    """A file comes before an id that is written alike."""
    path = Path(what)
    if not is_there(path, "name a file, or the id of its certificate"):
        if _ID.fullmatch(what) is None:
            raise NotThere(f"there is no file {what}, and no id is written so")
        if attach:
            raise NotThere(f"there is no file {what}; name the PDF to which its proof is to be attached")
        certificate_id = source.certificate_id(what)
        to = to or Path(certificate_id + PROOF)
        return _Wanted(None, certificate_id, to, _proof_in(to))
    if attach or carried_in(path) is not None:
        described, before = as_it_was(path), bundle_attached(path)
        certificate_id = source.certificate_about(described, before)
        return _Wanted(what, certificate_id, to or path, before, described if to is None else None)
    if is_proof(path):
        if (kept := bundle_in(path)) is None:
            raise NotThere(f"{path} is no proof that can be read; name the file that it is of")
        return _Wanted(None, kept.extra.certificate.id.hex(), to or path, kept)
    described, beside = describe_file(path), path.with_name(path.name + PROOF)
    to = to or beside
    before = _proof_in(to) or _proof_in(beside)
    return _Wanted(what, source.certificate_about(described, before), to, before)


def _proof_in(to: Path) -> Bundle | None:
    """The proof there. Raises `CannotMake` where none can be."""
    return bundle_in(to) if is_taken(to) else None


def _made(source: ProofSource, judge: ProofJudge, wanted: _Wanted, since: int) -> ProofMade:
    described = wanted.attached_to
    there = _proof_in(wanted.to) if described is None else wanted.before
    if there is not None and (before := there.extra.certificate.id.hex()) != wanted.certificate_id:
        told = f"{wanted.to} is the proof of another certificate, {before[:SHORT_ID]}…"
        raise CannotMake(f"{told}; move it away, or name another file with --to")
    earlier = wanted.before
    is_of_it = earlier is not None and earlier.extra.certificate.id.hex() == wanted.certificate_id
    files = source.prove(wanted.certificate_id, earlier if is_of_it else None)
    verdict = judge.verdict_of_made(files, source.ledger_id, since)
    if there is not None:
        judge.check_not_older(verdict, there, wanted.to)
    if described is None:
        written = write_proof(files, wanted.to, ml_dsa=verdict.ml_dsa)
    else:
        kept = keep_attached(find_proof(wanted.to), files, verdict.ml_dsa) if there is not None else Kept()
        attach_proof(wanted.to, attached_form(files), described.sha256)
        written = Written(wanted.to, None, None, kept)
    header = verdict.header
    return ProofMade(
        file=wanted.file,
        certificate=wanted.certificate_id,
        proof=str(written.proof),
        members=str(written.members) if written.members else None,
        payload=str(written.payload) if written.payload else None,
        block_index=header.index,
        block_timestamp_ms=header.timestamp_ms,
        status_ms=1000 * verdict.status_s,
        validity=validity_as_proven(verdict),
        is_content_gone=verdict.is_content_gone,
        was_there=there is not None,
        kept=str(written.earlier.path) if written.earlier.path else None,
        lost_ml_dsa=written.earlier.lost_ml_dsa,
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
        say(field("status", f"as of {utc(one.status_ms)}: a later revocation would not show"))
        if one.validity is not None:
            say(field("validity", validity(one.validity)))
        if one.is_content_gone:
            say(field("content", f"{LACKING}; which document it is about, nobody can tell from it"))
        if one.kept is not None and one.lost_ml_dsa:
            say(field("earlier", f"{one.kept}, {with_ml_dsa(one.lost_ml_dsa)}; --ml-dsa makes one with such"))
        elif one.kept is not None:
            say(field("earlier", f"kept with its time stamp: {one.kept}"))
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
