"""`tallystick certify`: put statements on the ledger, and wait until they are final."""

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from tallystick.api.problem_view import problem_view
from tallystick.api.words import SHORT_ID
from tallystick.cli import options
from tallystick.cli.issuers import holder_of
from tallystick.cli.options import Data, NoPassphrase, PassphraseFile, argument, flag, open_node, option
from tallystick.cli.output import MOST_LINES, counting, fail, field, give, hint, marked, say, told, warn
from tallystick.cli.words import how_to_verify, many, seconds
from tallystick.client import drafts
from tallystick.client.batches import SIGNED, Certification, Result, ResultFile, Results
from tallystick.client.blocking import Client
from tallystick.client.pdf_files import as_it_was
from tallystick.client.proof_files import PROOF
from tallystick.client.proof_writing import attach_proofs, without_proofs, write_proofs
from tallystick.problems import ExitCode, NotInTime, Problem
from tallystick.storage.described_files import describe_file

_MOST_PROOF_SECONDS: Final = 30.0
"""So long at most for members to countersign what is final."""
_COLUMNS: Final = ", ".join(drafts.COLUMNS)


def certify(
    files: Annotated[list[Path] | None, argument("FILE", "Files to certify; - is standard input.")] = None,
    *,
    recursive: Annotated[list[Path] | None, option("All files of a folder and its sub-folders.", "FOLDER")] = None,
    name: Annotated[str | None, option("What to call standard input.")] = None,
    subject: Annotated[
        str | None, option("What the statement is about, for all to read.", show_default="File and its name")
    ] = None,
    note: Annotated[str, option("More about it. Beside the certificate, and can be erased.")] = "",
    media_type: Annotated[str, option("Of the note, when there is no file.", show_default=drafts.NOTE_MEDIA_TYPE)] = "",
    batch: Annotated[Path | None, option(f"A file with a statement a row; its columns: {_COLUMNS}.", "CSV")] = None,
    results: Annotated[
        Path | None,
        option("What was signed, and what became of it.", "CSV", show_default="x.results.csv for --batch x.csv"),
    ] = None,
    public_subject: Annotated[
        bool, flag("--public-subject", "The subject in the certificate itself: for ever, where it cannot be erased.")
    ] = False,
    again: Annotated[bool, flag("--again", "Also files that this key has certified already.")] = False,
    key: Annotated[
        Path | None, option("Sign with the key in this file, here.", "FILE", show_default="the node's own")
    ] = None,
    wait: Annotated[bool, flag("--wait/--no-wait", "Wait until it is final, or only until the node has it.")] = True,
    timeout: Annotated[float | None, option("Wait no longer.", "SECONDS", min=0.1, show_default="no limit")] = None,
    proof: Annotated[bool, flag("--proof/--no-proof", "Write the proof of each, once it is final.")] = True,
    proofs_to: Annotated[
        Path | None,
        option("Write them all there.", "FOLDER", show_default="beside each file; x.proofs for --batch x.csv"),
    ] = None,
    attach: Annotated[bool, flag("--attach", "Attach the proof to the PDF that it is of, instead.")] = False,
    data: Data = None,
    url: Annotated[str | None, option("A node's URL, instead of a folder; needs --key.")] = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
) -> None:
    """Certify files, or statements in words, and wait until that is final.

    Of a file only its name, size and hash go out, never its content. Where organisations certify, subject and note
    stand beside the certificate, and can be erased; with --public-subject the subject is in it, for ever.

    The running node signs with its own key, unless --key names another; if no organisation certifies with the key, that
    is said before. With --batch, each row of a CSV file is a statement; its first line names the columns (subject or
    file, the others as you need them; files are named from the CSV's folder). One bad row, and nothing of it is sent.

    With --batch or --results, everything is signed, and stands in the result file, before anything is sent: the same
    command again goes on where it stopped, and certifies nothing twice. Without a result file, only files that this
    key has certified already are not certified again; a --subject is, every time.

    With --attach, a PDF carries its proof, as an attachment that viewers list: nothing stands beside it. Certified is
    the PDF as it was before; any other change of it afterwards is found. One that is signed or locked, or no PDF, and
    nothing is sent: its proof can stand beside it.

    Examples:
      tallystick certify report.pdf data.csv --note 'final version'
      tallystick certify --recursive results --results results.csv
      tallystick certify --subject 'Ada Lovelace: BSc, 2026' --note '{"grade": 1.0}' --media-type application/json
      tallystick certify --batch diplomas.csv
      tallystick certify diplomas/*.pdf --attach
    """
    named = [*(files or ()), *(recursive or ())]
    _check_usage(named, subject, note, media_type, batch)
    if attach and (proofs_to is not None or not (proof and wait)):
        raise typer.BadParameter("--attach puts proofs into the PDF files: without --proofs-to, --no-proof, --no-wait")
    if attach and (name is not None or (batch is None and not named)):
        raise typer.BadParameter("--attach is for PDF files: name them")
    if proofs_to is not None and not (proof and wait):
        raise typer.BadParameter("--proofs-to is for proofs, which are made of what is final: without --no-wait")
    if (name is None) == (options.STANDARD_INPUT in named):
        raise typer.BadParameter("--name is what standard input is called: give it with -, and only then")
    if url is not None and key is None:
        raise typer.BadParameter("--url needs --key: only its own user may have a node sign")
    begun_s = time.monotonic()
    describe = as_it_was if attach else describe_file
    if batch is not None:
        certified = drafts.read_batch(batch, describe)
        _check_all_files(certified, attach)
        results = results or batch.with_suffix(".results.csv")
        proofs_to = proofs_to or (None if attach else batch.with_suffix(".proofs"))
    elif named:
        certified = drafts.about_files(_files(files or (), recursive or (), results), subject, note, describe)
        certified += [drafts.about_stream(name, sys.stdin.buffer, subject, note)] if name is not None else []
    else:
        certified = [drafts.in_words(subject or "", note, media_type)]
    wallet = options.wallet_in(key, passphrase_file, no_passphrase)
    with open_node(data, url, wallet) as client:
        issuer = wallet.public_key if wallet else bytes.fromhex(client.status().node.key)
        _warn_of(client, issuer.hex())
        run = Certification(client, issuer, ResultFile(results) if results else None)
        run.prepare(certified, again=again, public_subject=public_subject)
        problem = _send(run, wait, timeout)
        if proof and wait:
            problem = _prove(client, run, proofs_to, attach, timeout) or problem
    found = run.results
    give(Results(results=found, problem=problem_view(problem) if problem else None))
    _tell(found, seconds(round(1000 * (time.monotonic() - begun_s))))
    at = f" --data {options.node_folder(data).quoted}" if data else ""
    status = f"; how the node gets on: tallystick status{at}" if url is None else ""
    _tell_next(found, wait, results, client.ledger_id.hex(), status)
    if problem is not None:
        raise told(problem)
    if any(one.outcome.state == "refused" for one in found):
        raise typer.Exit(ExitCode.REFUSED)


def _warn_of(client: Client, key: str) -> None:
    """Say before anything is signed that no organisation stands behind what the key certifies, where there are some."""
    if not client.ledger().has_directory:
        return
    found = holder_of(client, key)
    if found is None:
        is_told = "no organisation of this ledger has it: none stands behind what it certifies"
    elif not found[1].is_in_force or found[1].role not in ("member", "issuer"):
        is_told = f"it is no key with which {found[0].title} certifies now"
    else:
        return
    warn(f"of the key {key[:SHORT_ID]}…: {is_told}")


def _check_usage(named: Sequence[Path], subject: str | None, note: str, media_type: str, batch: Path | None) -> None:
    if batch is not None and (named or subject is not None or note or media_type):
        raise typer.BadParameter("with --batch, what is certified stands in the CSV file alone")
    if batch is None and not named and subject is None:
        raise typer.BadParameter("name a FILE, a --subject, or a --batch")
    if media_type and (named or not note):
        raise typer.BadParameter("--media-type is the note's when there is no file")


def _check_all_files(certified: Sequence[drafts.Draft], attach: bool) -> None:
    wrong = [f"line {one.line}: no file is named, and --attach is for PDF files" for one in certified if not one.file]
    if attach and wrong:
        raise drafts.CannotCertify(wrong)


def _files(files: Sequence[Path], folders: Sequence[Path], results: Path | None) -> list[Path]:
    """All files that were named; the result file is none of them."""
    paths = [one for one in files if one != options.STANDARD_INPUT]
    for folder in folders:
        found, left_out = drafts.files_below(folder)
        found = without_proofs(found)
        paths += [one for one in found if results is None or one.absolute() != results.absolute()]
        if left_out:
            warn(f"{many(len(left_out), 'file')} below {folder} left out: they are empty, or no regular files")
    if not paths and not files:
        raise Problem(f"there is nothing to certify below {', '.join(map(str, folders))}")
    return paths


def _send(run: Certification, wait: bool, timeout_s: float | None) -> Problem | None:
    """Send all, and return what ended that before its time."""
    total = run.unsettled
    try:
        with counting("Certifying", total) as on_settled:
            run.send(
                wait=wait, timeout_s=timeout_s, on_progress=lambda: on_settled(total - run.unsettled), on_trouble=warn
            )
    except Problem as problem:
        return problem
    except KeyboardInterrupt:
        return fail("stopped; what the node has goes on by itself", ExitCode.STOPPED)
    return None


def _prove(
    client: Client, run: Certification, to: Path | None, attach: bool, timeout_s: float | None
) -> Problem | None:
    """Write or attach the proofs of what is final, and return what ended that before its time."""
    final = len({one.file if attach else one.outcome.id for one in run.results if one.outcome.state == "final"})
    wait_s = _MOST_PROOF_SECONDS if timeout_s is None else min(timeout_s, _MOST_PROOF_SECONDS)
    written, failed = dict[str, Path](), list[Problem]()
    ended: Problem | None = None
    try:
        with counting("Proving", final) as on_written:
            proofs = (
                attach_proofs(client, run.results, wait_s) if attach else write_proofs(client, run.results, to, wait_s)
            )
            for one, made in proofs:
                if isinstance(made, Problem):
                    failed.append(made)
                    continue
                written[one] = made
                on_written(len(written))
    except Problem as problem:
        ended = problem
    except KeyboardInterrupt:
        ended = fail("stopped; the same command again makes the proofs that are missing", ExitCode.STOPPED)
    try:
        run.attached(written) if attach else run.proven(written)
    except Problem as problem:
        ended = ended or problem
    if ended is not None or failed:
        return ended or _first_of(failed)
    if len(written) == final:
        return None
    missing = f"members have not countersigned what {many(final - len(written), 'proof')} would be of"
    return NotInTime(f"all of it is certified, but {missing}; the same command again makes what is missing")


def _first_of(failed: Sequence[Problem]) -> Problem:
    """What hindered the first proof, and how many more there are."""
    more = f" ({many(len(failed) - 1, 'more proof')} could not be written either)" if len(failed) > 1 else ""
    return fail(f"all of it is certified, but {failed[0]}{more}", failed[0].exit_code)


def _tell(results: Sequence[Result], took: str) -> None:
    shown = results if len(results) <= MOST_LINES else [one for one in results if one.outcome.state != "final"]
    for one in shown[:MOST_LINES]:
        _tell_one(one)
    if len(shown) > MOST_LINES:
        say(f"… and {len(shown) - MOST_LINES:,} more that are not final")
    if len(results) == 1:
        return
    states = [one.outcome.state for one in results]
    before = sum(one.was_certified for one in results)
    counts = {
        "final": states.count("final") - before,
        "certified already": before,
        "waiting": states.count("waiting"),
        "refused": states.count("refused"),
        "sent, not answered": states.count("unknown"),
        "not sent": states.count(SIGNED),
    }
    summary = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    say(f"{many(len(results), 'statement')}: {summary}; took {took}")


def _tell_one(one: Result) -> None:
    outcome = one.outcome
    where = f"block {outcome.block_index}, position {outcome.position}, certificate {outcome.log_index} of the log"
    mark, became = {
        "final": ("✓", f"{'was certified already' if one.was_certified else 'is certified'}: {where}"),
        "waiting": ("·", "is taken, and not final yet"),
        "refused": ("×", f"was refused: {outcome.reason}"),
        "unknown": ("?", "was sent, and the node has not answered"),
    }.get(outcome.state, ("?", "was not sent"))
    say(marked(mark, Path(one.file).name if one.file else one.subject or "(no subject)", f" {became}"))
    say(field("certificate", outcome.id))
    if one.proof:
        say(field("proof", "attached to it" if one.proof == one.file else one.proof))


def _tell_next(results: Sequence[Result], wait: bool, kept: Path | None, ledger_id: str, status: str) -> None:
    proven = [one for one in results if one.outcome.state == "final" and one.proof]
    at_hand = [one for one in proven if one.file and Path(one.file).exists()]
    if any(one.outcome.state not in ("final", "refused") for one in results):
        if kept is not None:
            hint(f"The same command again goes on where this one stopped: {kept} has all that was signed.")
        elif not wait:
            hint(f"It becomes final by itself{status}")
    elif at_hand or proven:
        hint(how_to_verify(_named((at_hand or proven)[0]), ledger_id))


def _named(one: Result) -> str:
    """What `verify` is told of it."""
    assert one.proof is not None, "it has a proof"
    if one.file is None or not Path(one.file).exists():
        return shlex.quote(one.proof)
    beside = "" if one.proof in (one.file, one.file + PROOF) else f" --proof {shlex.quote(one.proof)}"
    return f"{shlex.quote(one.file)}{beside}"
