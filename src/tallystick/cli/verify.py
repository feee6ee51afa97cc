"""`tallystick verify`: is a file certified, what was certified, and who says so?"""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from tallystick.cli.options import STANDARD_INPUT, ChainFile, Data, argument, node_folder, open_source, option
from tallystick.cli.output import MOST_LINES, Text, field, give, marked, say, say_fields
from tallystick.cli.show import moment_ms
from tallystick.cli.words import (
    CHECKED_AGAIN,
    IN_NO_ORGANISATION,
    KEY_HAD_ENDED,
    continued,
    many,
    utc,
    validity,
    votes,
    whole,
)
from tallystick.client.blocking import Client
from tallystick.client.verdicts import (
    SHORTEST_ID,
    Verdict,
    Verdicts,
    give_verdicts,
    is_id_beginning,
    is_valid,
    is_vouched_for,
    known_in,
    make_demand,
)
from tallystick.client.verification import Certified
from tallystick.problems import ExitCode, Problem
from tallystick.storage.described_files import describe_file, describe_stream

_MOST_EXPLAINED: Final = 3
"""Of so many files all is told, of more a line each."""
_NO_VOTES: Final = "no votes are kept for it: the node says so"
_LEDGER_HELP: Final = f"Only this ledger counts: its id, {SHORTEST_ID} digits or more."


def verify(
    files: Annotated[list[Path], argument("FILE", "Files to check; - is standard input.")],
    *,
    issuer: Annotated[
        str | None,
        option("Only this issuer's count: an organisation, a key, a name of your node's.", "WHO", show_default="any"),
    ] = None,
    ledger: Annotated[str | None, option(_LEDGER_HELP, "ID", show_default="your node's")] = None,
    at: Annotated[
        int | None, option("Was it valid at this time?", "TIME", parser=moment_ms, show_default="as of the last block")
    ] = None,
    chain: ChainFile = None,
    data: Data = None,
    url: Annotated[str | None, option("Ask the node at this URL instead.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; the exit code says it.")] = False,
) -> None:
    """Is a file certified, and who says so?

    A ledger counts only if you have a node of it, or name its id with --ledger: whoever hands you a file may have
    founded the ledger in it, under any name. Names of organisations are told of such
    a ledger alone, others from your own node's address book.

    On a ledger with organisations the word of a key in none of them, or of one that had ended, counts only if --issuer
    names the key.

    A certificate that is revoked, void or superseded does not count; it says since when, and why. What was decided
    after the time that it names is not known here. With --at it is asked whether it was valid at that time, by what is
    known now: it counts from the time of its block on, whatever its issuer claims. A time after the last block is not
    taken.

    Of a running node's answer it checks here: the file's hash, the certificate's and its block's signatures and
    hashes, and the votes that made the block final; what that leaves is said. In a file it checks every hash,
    signature, vote and rule.

    Examples:
      tallystick verify report.pdf
      tallystick verify report.pdf --issuer Alice
      tallystick verify report.pdf --at 2027-06-30T12:00
      tallystick verify report.pdf --chain copy.db --ledger 41d2a0fb5fa0c1e7
    """
    if url is not None and chain is not None:
        raise typer.BadParameter("--url and --chain exclude each other")
    if ledger is not None and not is_id_beginning(ledger.lower()):
        raise typer.BadParameter(f"--ledger is a ledger's id: its first {SHORTEST_ID} hexadecimal digits, or more")
    known = known_in(node_folder(data))
    statements = [
        describe_stream("standard input", sys.stdin.buffer) if one == STANDARD_INPUT else describe_file(one)
        for one in files
    ]
    with open_source(chain, data, url) as client:
        _check_known_by(client, at)
        demand = make_demand(client, known, ledger.lower() if ledger else None, issuer)
        verdicts = give_verdicts(client, statements, known, demand, at)
    give(verdicts)
    if not quiet:
        _tell(verdicts, is_file=client.is_file)
    if not all(one.verifies for one in verdicts.files):
        raise typer.Exit(ExitCode.FAILED)


def _check_known_by(client: Client, at_ms: int | None) -> None:
    """Raise `Problem` for a time after the last block: a later block may still have decided otherwise by then."""
    if at_ms is not None and at_ms > (last_ms := client.ledger().tip.timestamp_ms):
        known = f"the last block here is of {utc(last_ms)}; without --at it is asked as of that"
        raise Problem(f"what is valid at {utc(at_ms)} is not known yet: {known}")


def _tell(verdicts: Verdicts, *, is_file: bool) -> None:
    ledger, files = verdicts.ledger, verdicts.files
    looked = CHECKED_AGAIN if is_file else "asked of a node, and checked here as far as is said below"
    size = f"{many(ledger.tip.index, 'block')}, {many(ledger.log_size, 'certificate')}"
    say(Text.assemble("Ledger ", (ledger.name, "bold"), f" {ledger.ledger_id}"))
    say(Text(f"  {size}; {looked}", style="dim"))
    if ledger.continues is not None:
        say(field("!", continued(ledger.continues), "bold yellow"))
    if len(files) <= _MOST_EXPLAINED:
        for one in files:
            say("")
            _tell_verdict(one)
            for covering in one.certificates:
                _tell_covering(one, covering)
        return
    say("")
    good = sum(one.verifies for one in files)
    for one in sorted(files, key=lambda one: one.verifies)[:MOST_LINES]:
        _tell_verdict(one)
    say(f"{many(len(files), 'file')}: {good:,} certified, {len(files) - good:,} not")


def _tell_verdict(verdict: Verdict) -> None:
    if verdict.verifies:
        valid = [one.certificate for one in verdict.certificates if is_valid(one.certificate)]
        vouched = [one for one in valid if is_vouched_for(one)]
        issuers = dict.fromkeys(whole(one.issuer) for one in vouched or valid)
        said = f" is certified by {', '.join(issuers)}"
        why = IN_NO_ORGANISATION if all(one.is_listed is False for one in valid) else KEY_HAD_ENDED
        say(marked("✓", verdict.name, said) if vouched else marked("!", verdict.name, f"{said}. {why}"))
        return
    say(marked("×", verdict.name, f": {verdict.why_not}"))
    if verdict.certificates:
        return
    say_fields({"SHA-256": verdict.sha256})
    for other in verdict.other_versions:
        changed = "  A file of this name is certified with other bytes: this one was changed, or is another version."
        say(Text(changed, style="yellow"))
        say_fields({"certified": other})


def _tell_covering(verdict: Verdict, covering: Certified) -> None:
    one, place, claimed = covering.certificate, covering.certificate.place, ", ".join(covering.claimed)
    stated = one.payload.file if one.payload else None
    fields = {
        "says": one.subject or "",
        "note": stated.note if stated else "",
        "certified as": stated.name if stated and stated.name != verdict.name else "",
        "issued by": whole(one.issuer),
        "validity": validity(one.validity) if one.validity else "",
        "at": f"{utc(one.timestamp_ms)}, as its issuer says",
        "block": f"{place.block_index}, position {place.position}; {utc(place.block_timestamp_ms)}",
        "final": f"by {votes(covering.finality, place.block_index)}" if covering.finality else _NO_VOTES,
        "log": f"certificate {place.log_index:,}",
        "certificate": one.id,
        "SHA-256": verdict.sha256,
        "size": f"{verdict.size_bytes:,} bytes",
        "checked here": ", ".join(covering.checked),
        "claimed only": f"{claimed}; a file checks them, too: tallystick verify --chain" if claimed else "",
    }
    if one.is_listed is False:
        say(field("!", IN_NO_ORGANISATION, "bold red"))
    elif not is_vouched_for(one):
        say(field("!", KEY_HAD_ENDED, "bold red"))
    say_fields(fields)
