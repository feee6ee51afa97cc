"""`tallystick verify`: is a file certified, what was certified, and who says so?"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import to_builtins

from tallystick.api import views
from tallystick.cli.options import AsJson, ChainFile, Data, node_folder
from tallystick.cli.output import Terminal, Text, error_boundary, help_text, make_console, marked, print_json
from tallystick.cli.source import WHERE, open_source
from tallystick.cli.words import CHECKED_AGAIN, many, utc
from tallystick.client.blocking import Client
from tallystick.client.verdicts import (
    SHORTEST_ID,
    Demand,
    Verdict,
    Verdicts,
    give_verdicts,
    is_id_beginning,
    known_in,
    pick_issuer,
)
from tallystick.client.verification import Certified
from tallystick.problems import ExitCode
from tallystick.storage.file_statement import FileStatement, describe_file, describe_stream

HELP: Final = help_text(
    "Is a file certified, and who says so?",
    WHERE,
    "A ledger counts only if you have a node of it, or name its id with --ledger: whoever hands you a file may have "
    "founded the ledger in it, under any name. Names of issuers come from your own node's address book alone.",
    "Of a running node's answer it checks here: the file's hash, the certificate's and its block's signatures and "
    "hashes, and the votes that made the block final; what that leaves is said. In a file it checks every hash, "
    "signature, vote and rule.",
    "Examples:",
    "  tallystick verify report.pdf",
    "  tallystick verify report.pdf --issuer Alice",
    "  tallystick verify report.pdf --chain copy.db --ledger 41d2a0fb5fa0c1e7",
)

_MOST_EXPLAINED: Final = 3
"""Of so many files all is told, of more a line each."""
_MOST_LINES: Final = 40
_STANDARD_INPUT: Final = "-"


def verify(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Files to check; - is standard input.", show_default=False),
    ],
    *,
    issuer: Annotated[
        str | None,
        typer.Option(
            metavar="KEY|NAME", help="Only this issuer's certificates count; a name is your node's.", show_default="any"
        ),
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help=f"Only this ledger counts: its id, {SHORTEST_ID} digits or more.",
            show_default="your node's",
        ),
    ] = None,
    chain: ChainFile = None,
    data: Data = None,
    url: Annotated[str | None, typer.Option(help="Ask the node at this URL instead.", show_default=False)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; the exit code says it.")] = False,
    as_json: AsJson = False,
) -> None:
    if url is not None and chain is not None:
        raise typer.BadParameter("--url and --chain exclude each other")
    if ledger is not None and not is_id_beginning(ledger.lower()):
        raise typer.BadParameter(f"--ledger is a ledger's id: its first {SHORTEST_ID} hexadecimal digits, or more")
    with error_boundary():
        known = known_in(node_folder(data))
        demand = Demand(ledger.lower() if ledger else None, pick_issuer(issuer, known) if issuer else None)
        statements = [_described(path) for path in files]
        with Client(url) if url else open_source(chain, data) as client:
            verdicts = give_verdicts(client, statements, known, demand)
            is_file = client.is_file
    if as_json:
        print_json(to_builtins(verdicts))
    elif not quiet:
        _tell(make_console(), verdicts, is_file=is_file)
    if not all(one.verifies for one in verdicts.files):
        raise typer.Exit(ExitCode.FAILED)


def _described(path: Path) -> FileStatement:
    if path == Path(_STANDARD_INPUT):
        return describe_stream("standard input", sys.stdin.buffer)
    return describe_file(path)


def _tell(console: Terminal, verdicts: Verdicts, *, is_file: bool) -> None:
    ledger, files = verdicts.ledger, verdicts.files
    looked = CHECKED_AGAIN if is_file else "asked of a node, and checked here as far as is said below"
    size = f"{many(ledger.tip.index, 'block')}, {many(ledger.log_size, 'certificate')}"
    console.print(Text.assemble("Ledger ", (ledger.name, "bold"), f" {ledger.ledger_id}"), soft_wrap=True)
    console.print(Text(f"  {size}; {looked}", style="dim"), soft_wrap=True)
    if len(files) <= _MOST_EXPLAINED:
        for one in files:
            console.print()
            _tell_verdict(console, one)
            for covering in one.certificates:
                _tell_covering(console, one, covering)
        return
    console.print()
    good = [one for one in files if one.verifies]
    for one in [*(one for one in files if not one.verifies), *good][:_MOST_LINES]:
        _tell_verdict(console, one)
    told = f"{many(len(files), 'file')}: {len(good):,} certified, {len(files) - len(good):,} not"
    console.print(told, soft_wrap=True)


def _tell_verdict(console: Terminal, verdict: Verdict) -> None:
    if verdict.verifies:
        issuers = dict.fromkeys(_who(one.certificate.issuer) for one in verdict.certificates)
        console.print(marked("✓", verdict.name, f" is certified by {', '.join(issuers)}"), soft_wrap=True)
        return
    console.print(marked("×", verdict.name, f": {verdict.why_not}"), soft_wrap=True)
    if verdict.certificates:
        return
    console.print(Text(f"  SHA-256      {verdict.sha256}", style="dim"), soft_wrap=True)
    for other in verdict.other_versions:
        changed = "  A file of this name is certified with other bytes: this one was changed, or is another version."
        for line in (changed, f"  certified    {other}"):
            console.print(Text(line, style="yellow"), soft_wrap=True)


def _tell_covering(console: Terminal, verdict: Verdict, covering: Certified) -> None:
    one, stated = covering.certificate, covering.certificate.payload.file if covering.certificate.payload else None
    place = one.place
    fields = {
        "says": one.subject or "",
        "note": stated.note if stated else "",
        "certified as": stated.name if stated and stated.name != verdict.name else "",
        "issued by": _who(one.issuer),
        "at": f"{utc(one.timestamp_ms)}, as its issuer says",
        "block": f"{place.block_index}, position {place.position}; {utc(place.block_timestamp_ms)}",
        "final": _finality(covering.finality, place.block_index),
        "log": f"certificate {place.log_index:,}",
        "certificate": one.id,
        "SHA-256": verdict.sha256,
        "size": f"{verdict.size_bytes:,} bytes",
        "checked here": ", ".join(covering.checked),
        "claimed only": _claims(covering.claimed),
    }
    for label, text in fields.items():
        if text:
            console.print(Text(f"  {label:<13}", style="dim").append(text, style="not dim"), soft_wrap=True)


def _who(key: views.Key) -> str:
    return f"{key.key} ({key.name})" if key.name else key.key


def _claims(claimed: Sequence[str]) -> str:
    return f"{', '.join(claimed)}; a file checks them, too: tallystick verify --chain" if claimed else ""


def _finality(finality: views.Finality | None, block_index: int) -> str:
    if finality is None:
        return "no votes are kept for it: the node says so"
    later = f", for block {finality.by_block}" if finality.by_block != block_index else ""
    return f"by votes of {finality.stake:,} of {finality.total_stake:,} tokens at stake{later}"
