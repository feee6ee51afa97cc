"""`tallystick certify`: put statements on the ledger, and wait until they are final."""

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import to_builtins
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tallystick.api.problem_view import problem_view
from tallystick.cli.options import AsJson, Data, NoPassphrase, PassphraseFile, find_passphrase
from tallystick.cli.output import (
    Terminal,
    Text,
    error_boundary,
    fail,
    help_text,
    hint,
    make_console,
    marked,
    print_json,
    warn,
)
from tallystick.cli.source import open_node
from tallystick.cli.words import many, seconds
from tallystick.client.batches import SIGNED, Certification, Result, ResultFile, Results
from tallystick.client.blocking import Client
from tallystick.client.drafts import (
    COLUMNS,
    NOTE_MEDIA_TYPE,
    about_files,
    about_stream,
    files_below,
    in_words,
    read_batch,
)
from tallystick.host.key_file import open_key_file
from tallystick.problems import ExitCode, Problem

HELP: Final = help_text(
    "Certify files, or statements in words, and wait until that is final.",
    "Of a file only its name, size and hash go out, never its content. The running node signs with its own key, unless "
    "--key names another. With --batch, each row of a CSV file is a statement; its first line names the columns: "
    f"{', '.join(COLUMNS)} (subject or file, the others as you need them; files are named from the CSV's folder). "
    "One bad row, and nothing of it is sent.",
    "Everything is signed, and stands in the result file, before anything is sent. The same command again goes on "
    "where it stopped, and certifies nothing twice.",
    "Examples:",
    "  tallystick certify report.pdf data.csv --note 'final version'",
    "  tallystick certify --recursive results --results results.csv",
    "  tallystick certify --subject 'Ada Lovelace: BSc, 2026' --note '{\"grade\": 1.0}' --media-type application/json",
    "  tallystick certify --batch diplomas.csv",
)

_MOST_LINES: Final = 40
_STANDARD_INPUT: Final = "-"


def certify(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Files to certify; - is standard input.", show_default=False),
    ] = None,
    *,
    recursive: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="All files of a folder and its sub-folders.", show_default=False),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call standard input.", show_default=False)] = None,
    subject: Annotated[
        str | None,
        typer.Option(help="What the statement is about, for all to read.", show_default="File and its name"),
    ] = None,
    note: Annotated[str, typer.Option(help="More about it. Beside the certificate, and can be erased.")] = "",
    media_type: Annotated[
        str, typer.Option(help="Of the note, when there is no file.", show_default=NOTE_MEDIA_TYPE)
    ] = "",
    batch: Annotated[
        Path | None, typer.Option(metavar="CSV", help="A file with a statement a row.", show_default=False)
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="What was signed, and what became of it.",
            show_default="x.results.csv for --batch x.csv",
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also files that this key has certified already.")] = False,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Sign with the key in this file, here.", show_default="the node's own"),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until it is final, or only until the node has it.")
    ] = True,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Wait no longer.", show_default="no limit"),
    ] = None,
    data: Data = None,
    url: Annotated[
        str | None, typer.Option(help="A node's URL, instead of a folder; needs --key.", show_default=False)
    ] = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    as_json: AsJson = False,
) -> None:
    named = [*(files or ()), *(recursive or ())]
    _check_usage(named, subject, note, media_type, batch)
    if (name is None) == (Path(_STANDARD_INPUT) in named):
        raise typer.BadParameter("--name is what standard input is called: give it with -, and only then")
    if url is not None and key is None:
        raise typer.BadParameter("--url needs --key: only its own user may have a node sign")
    begun_s = time.monotonic()
    with error_boundary():
        if batch is not None:
            drafts = read_batch(batch)
            results = results or batch.with_suffix(".results.csv")
        elif named:
            drafts = about_files(_files(files or (), recursive or (), results), subject, note)
            drafts += [about_stream(name, sys.stdin.buffer, subject, note)] if name is not None else []
        else:
            drafts = [in_words(subject or "", note, media_type)]
        wallet = open_key_file(key, find_passphrase(passphrase_file, no_passphrase, str(key))) if key else None
        with Client(url, wallet=wallet) if url else open_node(data, wallet=wallet) as client:
            issuer = wallet.public_key if wallet else bytes.fromhex(client.status().node.key)
            run = Certification(client, issuer, ResultFile(results) if results else None)
            run.prepare(drafts, again=again)
            problem = _send(run, wait, timeout)
    found = Results(results=run.results, problem=problem_view(problem) if problem else None)
    if as_json:
        print_json(to_builtins(found))
    else:
        _tell(found.results, seconds(round(1000 * (time.monotonic() - begun_s))))
        _tell_next(found.results, wait, results, data)
    if problem is not None:
        raise typer.Exit(problem.exit_code) if as_json else fail(str(problem), problem.exit_code)
    if any(one.outcome.state == "refused" for one in found.results):
        raise typer.Exit(ExitCode.REFUSED)


def _check_usage(named: Sequence[Path], subject: str | None, note: str, media_type: str, batch: Path | None) -> None:
    if batch is not None and (named or subject is not None or note or media_type):
        raise typer.BadParameter("with --batch, what is certified stands in the CSV file alone")
    if batch is None and not named and subject is None:
        raise typer.BadParameter("name a FILE, a --subject, or a --batch")
    if media_type and (named or not note):
        raise typer.BadParameter("--media-type is the note's when there is no file")


def _files(files: Sequence[Path], folders: Sequence[Path], results: Path | None) -> list[Path]:
    """All files that were named; the result file is none of them."""
    paths = [one for one in files if one != Path(_STANDARD_INPUT)]
    for folder in folders:
        found, left_out = files_below(folder)
        paths += [one for one in found if results is None or one.absolute() != results.absolute()]
        if left_out:
            warn(f"{many(len(left_out), 'file')} below {folder} left out: they are empty, or no regular files")
    if not paths and not files:
        raise Problem(f"there is nothing to certify below {', '.join(map(str, folders))}")
    return paths


def _send(run: Certification, wait: bool, timeout_s: float | None) -> Problem | None:
    """Send all, and return what ended that before its time."""
    try:
        with _progress(run) as on_progress:
            run.send(wait=wait, timeout_s=timeout_s, on_progress=on_progress, on_trouble=warn)
    except Problem as problem:
        return problem
    except KeyboardInterrupt:
        stopped = Problem("stopped; what the node has goes on by itself")
        stopped.exit_code = ExitCode.STOPPED  # type: ignore[misc]  # of this one
        return stopped
    return None


@contextmanager
def _progress(run: Certification) -> Iterator[Callable[[], None]]:
    """A bar on standard error, when there is somebody to see it."""
    console = Terminal(stderr=True)
    if not console.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("Certifying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        total = run.unsettled
        task = progress.add_task("", total=total)
        yield lambda: progress.update(task, completed=total - run.unsettled)


def _tell(results: Sequence[Result], took: str) -> None:
    console = make_console()
    shown = results if len(results) <= _MOST_LINES else [one for one in results if one.outcome.state != "final"]
    for one in shown[:_MOST_LINES]:
        _tell_one(console, one)
    if len(shown) > _MOST_LINES:
        console.print(f"… and {len(shown) - _MOST_LINES:,} more that are not final", soft_wrap=True)
    if len(results) == 1:
        return
    before = sum(one.was_certified for one in results)
    counts = {
        "final": sum(one.outcome.state == "final" for one in results) - before,
        "certified already": before,
        "waiting": sum(one.outcome.state == "waiting" for one in results),
        "refused": sum(one.outcome.state == "refused" for one in results),
        "sent, not answered": sum(one.outcome.state == "unknown" for one in results),
        "not sent": sum(one.outcome.state == SIGNED for one in results),
    }
    told = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    console.print(f"{many(len(results), 'statement')}: {told}; took {took}", soft_wrap=True)


def _tell_one(console: Terminal, one: Result) -> None:
    outcome = one.outcome
    what = Path(one.file).name if one.file else one.subject or "(no subject)"
    where = f"block {outcome.block_index}, position {outcome.position}, certificate {outcome.log_index} of the log"
    match outcome.state:
        case "final" if one.was_certified:
            line = marked("✓", what, f" was certified already: {where}")
        case "final":
            line = marked("✓", what, f" is certified: {where}")
        case "waiting":
            line = marked("·", what, " is taken, and not final yet")
        case "refused":
            line = marked("×", what, f" was refused: {outcome.reason}")
        case "unknown":
            line = marked("?", what, " was sent, and the node has not answered")
        case _:
            line = marked("?", what, " was not sent")
    console.print(line, soft_wrap=True)
    console.print(Text(f"  certificate  {outcome.id}", style="dim"), soft_wrap=True)


def _tell_next(results: Sequence[Result], wait: bool, kept: Path | None, data: Path | None) -> None:
    option = f" --data {shlex.quote(str(data))}" if data else ""
    files = [one.file for one in results if one.file and one.outcome.state == "final"]
    if any(one.outcome.state not in ("final", "refused") for one in results):
        if kept is not None:
            hint(f"The same command again goes on where this one stopped: {kept} has all that was signed.")
        elif not wait:
            hint(f"It becomes final by itself; how the node gets on: tallystick status{option}")
    elif files:
        hint(f"Anybody can check it: tallystick verify {shlex.quote(files[0])}{option}")
