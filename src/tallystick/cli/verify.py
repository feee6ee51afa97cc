"""`tallystick verify`: is a file covered by a certificate on the chain?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from tallystick.cli.file_check import CoveringCertificate, FileCheck, check_file
from tallystick.cli.output import DEFAULT_CHAIN, ExitCode, errors_explained, help_text, make_console, print_json
from tallystick.cli.reading import open_chain, read_chain
from tallystick.cli.words import checked_again, many, utc
from tallystick.host.checked_chain import CheckedChain
from tallystick.host.file_statement import describe_file

HELP: Final = help_text(
    "Check files against a kept chain.",
    "First the whole chain is checked again: every hash, every signature, every vote, every rule. Then it says for "
    "each file which certificate covers its bytes, and checks the proof that it is in the ledger's log.",
    "Example: tallystick verify report.pdf --chain tallystick-demo.db",
)


def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files to check.", show_default=False)],
    chain: Annotated[Path, typer.Option(help="The file that the chain is kept in.")] = Path(DEFAULT_CHAIN),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")] = False,
) -> None:
    """See `HELP`."""
    with errors_explained():
        statements = [describe_file(path) for path in files]
        with open_chain(chain) as store:
            checked, names = read_chain(store), store.names()
            checks = [check_file(checked, statement, names) for statement in statements]
            if as_json:
                print_json(_as_json(checked, checks))
            else:
                _print_all(make_console(), chain, checked, checks)
    if not all(check.is_covered for check in checks):
        raise typer.Exit(ExitCode.FAILED)


def _as_json(checked: CheckedChain, checks: Sequence[FileCheck]) -> object:
    return {
        "ledger_id": checked.genesis.ledger_id.hex(),
        "tip_index": checked.state.index,
        "tip_hash": checked.state.tip.hash.hex(),
        "is_final": checked.is_final,
        "left_out": checked.left_out,
        "log_size": checked.state.log.size,
        "log_root": checked.log_root.hex(),
        "files": [{**msgspec.to_builtins(check), "verifies": check.is_covered} for check in checks],
    }


def _print_all(console: Console, chain: Path, checked: CheckedChain, checks: Sequence[FileCheck]) -> None:
    blocks, certificates = many(checked.state.index, "block"), many(checked.state.log.size, "certificate")
    sound = Text.assemble(("✓ ", "bold green"), (str(chain), "bold"), f": {blocks}, {certificates}; ")
    console.print(sound.append(checked_again(checked.is_final)), soft_wrap=True)
    if checked.left_out:
        left_out = f"  {many(checked.left_out, 'block')} at the end left out: no votes prove them final"
        console.print(Text(left_out, style="yellow"), soft_wrap=True)
    for check in checks:
        console.print()
        if check.is_covered:
            console.print(Text.assemble(("✓ ", "bold green"), (check.name, "bold"), " is certified"))
            for certificate in check.certificates:
                _print_covering(console, checked, check, certificate)
        else:
            _print_uncovered(console, check)


def _print_covering(
    console: Console, checked: CheckedChain, check: FileCheck, certificate: CoveringCertificate
) -> None:
    root, size = checked.log_root.hex()[:16], checked.state.log.size
    lines = [
        ("issued by", f"{certificate.issuer}  {certificate.issuer_key}"),
        ("at", f"{utc(certificate.timestamp_ms)}, as its issuer says"),
        ("block", f"{certificate.block_index}, position {certificate.position}; {utc(certificate.block_timestamp_ms)}"),
        ("final", _finality(checked, certificate.block_index)),
        ("certificate", certificate.id),
        ("SHA-256", check.sha256),
        ("size", f"{check.size_bytes:,} bytes"),
        ("payload", f"its hash is the one in the certificate, {certificate.payload_hash[:16]}…"),
        ("log", f"leaf {certificate.leaf_index} of {size:,}; inclusion (RFC 6962) verified against root {root}…"),
    ]
    if certificate.certified_name != check.name:
        lines.insert(0, ("certified as", certificate.certified_name))
    for label, text in lines:
        console.print(Text(f"  {label:<13}", style="dim").append(text, style="not dim"), soft_wrap=True)


def _finality(checked: CheckedChain, block_index: int) -> str:
    finality = checked.finality(block_index)
    if finality is None:
        return "its drawn forger's signature is all that says so"
    later = f", for block {finality.by_block}" if finality.by_block != block_index else ""
    return f"by votes of {finality.stake:,} of {finality.total_stake:,} tokens at stake{later}"


def _print_uncovered(console: Console, check: FileCheck) -> None:
    console.print(Text.assemble(("× ", "bold red"), (check.name, "bold"), ": no certificate on this chain covers it"))
    console.print(Text(f"  SHA-256      {check.sha256}", style="dim"), soft_wrap=True)
    for other in check.other_versions:
        hint = "  A file of this name is certified with other bytes: this one was changed, or is another version.\n"
        console.print(Text(f"{hint}  certified    {other}", style="yellow"), soft_wrap=True)
