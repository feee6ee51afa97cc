"""`tallystick certify`: put statements on the ledger, and wait until they are final."""

import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from msgspec import Struct, to_builtins
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tallystick.cli.connecting import RunningNode, connect_at
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
)
from tallystick.cli.statements import COLUMNS, NOTE_MEDIA_TYPE, Draft, about_file, in_batches, in_words, read_batch
from tallystick.cli.words import many, utc
from tallystick.host.control import Accepted, Answer, Certify, Finalized, GetStatus, Refused, Request, Status, Submit
from tallystick.host.key_file import open_key_file
from tallystick.ledger.certificate import SALT_BYTES, Payload, issue_statement
from tallystick.ledger.encoding import encode
from tallystick.ledger.messages import Entry
from tallystick.ledger.wallet import Wallet
from tallystick.problems import ExitCode, NotInTime

HELP: Final = help_text(
    "Certify files, or statements in words, and wait until that is final.",
    "Of a file only its name, size and hash go out, never its content. The running node signs with its own key, unless "
    "--key names another. With --batch, each row of a CSV file is a statement; its first line names the columns: "
    f"{', '.join(COLUMNS)} (subject or file, the others as you need them; files are named from the CSV's folder). "
    "One bad row, and nothing of it is sent.",
    "Examples:",
    "  tallystick certify report.pdf data.csv --note 'final version'",
    "  tallystick certify --subject 'Ada Lovelace: BSc, 2026' --note '{\"grade\": 1.0}' --media-type application/json",
    "  tallystick certify --batch diplomas.csv",
)

_MOST_LINES: Final = 40
_STATES: Final = ("final", "taken", "refused", "sent")


class Outcome(Struct):
    """What became of one statement: `sent`, `taken`, `final` or `refused`."""

    number: int
    subject: str
    file: str | None
    state: str = "sent"
    id: str | None = None
    block_index: int | None = None
    position: int | None = None
    block_timestamp_ms: int | None = None
    took_ms: float | None = None
    rule: str | None = None
    reason: str | None = None


def certify(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="Files to certify.", show_default=False)
    ] = None,
    *,
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
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    as_json: AsJson = False,
) -> None:
    """See `HELP`."""
    _check_usage(files, subject, note, media_type, batch)
    with error_boundary():
        drafts = _drafts(files or (), subject, note, media_type, batch)
        wallet = None
        if key is not None:
            wallet = open_key_file(key, find_passphrase(passphrase_file, no_passphrase, str(key)))
        until_s = None if timeout is None else time.monotonic() + timeout
        with connect_at(data) as node:
            outcomes = carry_out(node, drafts, wallet, wait=wait, until_s=until_s)
    if as_json:
        print_json(summary(outcomes))
    else:
        _tell(outcomes, wait, data)
    if any(one.state == "refused" for one in outcomes):
        raise typer.Exit(ExitCode.REFUSED)
    if any(one.state not in (("final",) if wait else ("final", "taken")) for one in outcomes):
        raise fail("the time was up; what is taken goes on by itself: see tallystick status", ExitCode.NOT_IN_TIME)


def carry_out(
    node: RunningNode, drafts: Sequence[Draft], wallet: Wallet | None, *, wait: bool, until_s: float | None
) -> list[Outcome]:
    """Hand all in, batch by batch; the outcomes are in the order of the drafts. Raises `Problem`."""
    outcomes = [
        Outcome(number, draft.statement.subject, str(draft.file) if draft.file else None)
        for number, draft in enumerate(drafts)
    ]
    ledger_id = node.one(GetStatus(), Status).ledger_id if wallet else b""
    begun = 0
    with _progress(len(drafts)) as advance:
        for batch in in_batches(drafts):
            request = _signed(batch, wallet, ledger_id) if wallet else Certify(tuple(one.statement for one in batch))
            if not follow(node, request, outcomes[begun : begun + len(batch)], advance, wait=wait, until_s=until_s):
                break
            begun += len(batch)
    return outcomes


def follow(
    node: RunningNode,
    request: Request,
    outcomes: Sequence[Outcome],
    advance: Callable[[], None],
    *,
    wait: bool,
    until_s: float | None,
) -> bool:
    """Note what the node tells about a request until all of it is settled; false when the time was up before.

    Raises `Problem`.
    """
    ends = ("final", "refused") if wait else ("taken", "final", "refused")
    left = len(outcomes)
    for answer in _until_late(node.ask(request, until_s)):
        outcome = outcomes[answer.number] if isinstance(answer, Accepted | Finalized | Refused) else None
        match answer:
            case Accepted(_, certificate_id) if outcome:
                outcome.state, outcome.id = "taken", certificate_id.hex()
            case Finalized(_, certificate_id, block_index, position, block_timestamp_ms, took_ms) if outcome:
                outcome.state, outcome.id, outcome.took_ms = "final", certificate_id.hex(), round(took_ms, 3)
                outcome.block_index, outcome.position = block_index, position
                outcome.block_timestamp_ms = block_timestamp_ms
            case Refused(_, rule, reason) if outcome:
                outcome.state, outcome.rule, outcome.reason = "refused", rule, reason
        if outcome and outcome.state in ends:
            advance()
            left -= 1
            if not left and not wait:
                return True
    return not left


def _until_late(answers: Iterator[Answer]) -> Iterator[Answer]:
    with suppress(NotInTime):
        yield from answers


def _check_usage(files: list[Path] | None, subject: str | None, note: str, media_type: str, batch: Path | None) -> None:
    if batch is not None and (files or subject is not None or note or media_type):
        raise typer.BadParameter("with --batch, what is certified stands in the CSV file alone")
    if batch is None and not files and subject is None:
        raise typer.BadParameter("name a FILE, a --subject, or a --batch")
    if media_type and (files or not note):
        raise typer.BadParameter("--media-type is the note's when there is no file")


def _drafts(files: Sequence[Path], subject: str | None, note: str, media_type: str, batch: Path | None) -> list[Draft]:
    if batch is not None:
        return read_batch(batch)
    if files:
        return [about_file(path, subject, note) for path in files]
    return [in_words(subject or "", note, media_type)]


def _signed(batch: Sequence[Draft], wallet: Wallet, ledger_id: bytes) -> Submit:
    entries = []
    for said in (draft.statement for draft in batch):
        salt = secrets.token_bytes(SALT_BYTES)
        payload = Payload(salt, said.media_type, said.content) if said.media_type else None
        certificate = issue_statement(wallet, ledger_id, time.time_ns() // 1_000_000, said.subject, payload)
        entries.append(encode(Entry(certificate, payload)))
    return Submit(tuple(entries))


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error, when there is somebody to see it."""
    console = Terminal(stderr=True)
    if not console.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("Certifying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """As JSON: how many came to what, and each one."""
    states = [one.state for one in outcomes]
    counts = {state: states.count(state) for state in _STATES}
    return {**counts, "certificates": to_builtins(list(outcomes))}


def _tell(outcomes: Sequence[Outcome], wait: bool, data: Path | None) -> None:
    console = make_console()
    shown = outcomes if len(outcomes) <= _MOST_LINES else [one for one in outcomes if one.state == "refused"]
    for one in shown[:_MOST_LINES]:
        _tell_one(console, one)
    if len(outcomes) > 1:
        counts = summary(outcomes)
        told = ", ".join(f"{counts[state]:,} {state}" for state in _STATES if counts[state])
        times = sorted(one.took_ms for one in outcomes if one.took_ms is not None)
        median = f"; median {times[len(times) // 2] / 1000:.2f} s" if times else ""
        console.print(f"{many(len(outcomes), 'certificate')}: {told}{median}", soft_wrap=True)
    files = [one.file for one in outcomes if one.file and one.state == "final"]
    option = f" --data {shlex.quote(str(data))}" if data else ""
    if files:
        hint(f"Anybody can check it: tallystick verify {shlex.quote(files[0])}{option}")
    elif not wait:
        hint(f"It becomes final by itself; how the node gets on: tallystick status{option}")


def _tell_one(console: Terminal, one: Outcome) -> None:
    what = Path(one.file).name if one.file else one.subject
    match one.state:
        case "final":
            took = f"{(one.took_ms or 0) / 1000:.2f} s"
            place = f"block {one.block_index}, position {one.position}; {utc(one.block_timestamp_ms or 0)}; took {took}"
            line = marked("✓", what, f" is certified: {place}")
        case "taken":
            line = marked("·", what, " is taken, and not final yet")
        case "refused":
            line = marked("×", what, f" was refused: {one.reason}")
        case _:
            line = marked("?", what, " was sent; the node has not told of it")
    console.print(line, soft_wrap=True)
    if one.id:
        console.print(Text(f"  certificate  {one.id}", style="dim"), soft_wrap=True)
