"""`tallystick verify`: is a file covered by a certificate on the chain?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import Struct, to_builtins

from tallystick.cli.connecting import connect, ledger_info
from tallystick.cli.file_check import Covering, CoveringCertificate, FileCheck, check_file
from tallystick.cli.node_reader import NodeReader, Standing
from tallystick.cli.options import AsJson, Data
from tallystick.cli.output import ExitCode, Terminal, Text, error_boundary, help_text, make_console, print_json
from tallystick.cli.reading import open_chain, read_chain
from tallystick.cli.source import WHERE, Chain, find_source
from tallystick.cli.words import CHECKED_AGAIN, many, name_of, utc
from tallystick.host.data_folder import DataFolder
from tallystick.integrity.checked_chain import CheckedChain
from tallystick.storage.file_statement import FileStatement, describe_file

HELP: Final = help_text(
    "Is a file certified, and who says so?",
    WHERE,
    "Of a running node's answer it checks here: the file's hash, the certificate's and its block's signatures and "
    "hashes, and the votes that made the block final. In a file it checks every hash, signature, vote and rule, and "
    "the proof that the certificate is in the ledger's log.",
    "Examples:",
    "  tallystick verify report.pdf",
    "  tallystick verify report.pdf --chain tallystick-demo.db",
)


class NodeCovering(Covering):
    """With the votes that made its block final; the stake is told when it can be shown from here."""

    final_by: int | None
    voters: list[str]
    voted_stake: int | None
    total_stake: int | None


class NodeFileCheck(Struct):
    """What a running node knows about a file's bytes, as far as it was checked here."""

    name: str
    size_bytes: int
    sha256: str
    certificates: list[NodeCovering]

    @property
    def is_covered(self) -> bool:
        """Whether at least one certificate covers these very bytes."""
        return bool(self.certificates)


def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files to check.", show_default=False)],
    chain: Chain = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """See `HELP`."""
    with error_boundary():
        statements = [describe_file(path) for path in files]
        source = find_source(chain, data)
        if source.node is not None:
            covered = _verify_on_node(source.node, statements, as_json)
        else:
            covered = _verify_on_file(source.file, statements, as_json)
    if not covered:
        raise typer.Exit(ExitCode.FAILED)


def check_on_node(reader: NodeReader, statement: FileStatement, names: Mapping[bytes, str]) -> NodeFileCheck:
    """Look a file up at a running node, and check its answer. Raises `HostError`."""
    certificates = [_node_covering(reader, standing, stated, names) for standing, stated in reader.covering(statement)]
    return NodeFileCheck(statement.name, statement.size_bytes, statement.sha256.hex(), certificates)


def _node_covering(
    reader: NodeReader, standing: Standing, stated: FileStatement, names: Mapping[bytes, str]
) -> NodeCovering:
    certificate, block, voted = standing.certificate, standing.block, reader.voted(standing.block)
    return NodeCovering(
        id=certificate.id.hex(),
        issuer=name_of(certificate.issuer, names),
        issuer_key=certificate.issuer.hex(),
        timestamp_ms=certificate.timestamp_ms,
        block_index=block.index,
        block_timestamp_ms=block.header.timestamp_ms,
        position=standing.position,
        payload_hash=(certificate.payload_hash or b"").hex(),
        certified_name=stated.name,
        final_by=voted.by_block if voted else None,
        voters=[name_of(one, names) for one in voted.voters] if voted else [],
        voted_stake=voted.stake if voted else None,
        total_stake=voted.total_stake if voted else None,
    )


def _verify_on_node(folder: DataFolder, statements: Sequence[FileStatement], as_json: bool) -> bool:
    genesis, names = ledger_info(folder)
    with connect(folder) as node:
        reader = NodeReader(node, genesis)
        checks = [check_on_node(reader, statement, names) for statement in statements]
    if as_json:
        ledger = {"ledger_id": genesis.ledger_id.hex(), "tip_index": reader.index, "checked": "node"}
        print_json({**ledger, "files": [{**to_builtins(check), "verifies": check.is_covered} for check in checks]})
    else:
        _print_node(make_console(), folder, reader, checks)
    return all(check.is_covered for check in checks)


def _verify_on_file(chain: Path, statements: Sequence[FileStatement], as_json: bool) -> bool:
    with open_chain(chain) as store:
        checked, names = read_chain(store), store.names()
        checks = [check_file(checked, statement, names) for statement in statements]
        if as_json:
            print_json(_as_json(checked, checks))
        else:
            _print_all(make_console(), chain, checked, checks)
    return all(check.is_covered for check in checks)


def _as_json(checked: CheckedChain, checks: Sequence[FileCheck]) -> object:
    return {
        "ledger_id": checked.genesis.ledger_id.hex(),
        "checked": "chain",
        "tip_index": checked.state.index,
        "tip_hash": checked.state.tip.hash.hex(),
        "left_out": checked.left_out,
        "log_size": checked.state.log.size,
        "log_root": checked.log_root.hex(),
        "files": [{**to_builtins(check), "verifies": check.is_covered} for check in checks],
    }


def _print_all(console: Terminal, chain: Path, checked: CheckedChain, checks: Sequence[FileCheck]) -> None:
    blocks, certificates = many(checked.state.index, "block"), many(checked.state.log.size, "certificate")
    sound = Text.assemble(("✓ ", "bold green"), (str(chain), "bold"), f": {blocks}, {certificates}; ")
    console.print(sound.append(CHECKED_AGAIN), soft_wrap=True)
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
    console: Terminal, checked: CheckedChain, check: FileCheck, certificate: CoveringCertificate
) -> None:
    root, size = checked.log_root.hex()[:16], checked.state.log.size
    log = f"leaf {certificate.leaf_index} of {size:,}; inclusion (RFC 6962) verified against root {root}…"
    final = _finality(checked, certificate.block_index)
    _print_fields(console, check, certificate, {"final": final, "log": log})


def _print_fields(
    console: Terminal, check: FileCheck | NodeFileCheck, certificate: Covering, more: Mapping[str, str]
) -> None:
    place = f"{certificate.block_index}, position {certificate.position}; {utc(certificate.block_timestamp_ms)}"
    fields = {
        "certified as": "" if certificate.certified_name == check.name else certificate.certified_name,
        "issued by": f"{certificate.issuer}  {certificate.issuer_key}",
        "at": f"{utc(certificate.timestamp_ms)}, as its issuer says",
        "block": place,
        "final": more["final"],
        "certificate": certificate.id,
        "SHA-256": check.sha256,
        "size": f"{check.size_bytes:,} bytes",
        "payload": f"its hash is the one in the certificate, {certificate.payload_hash[:16]}…",
        **more,
    }
    for label, text in fields.items():
        if text:
            console.print(Text(f"  {label:<13}", style="dim").append(text, style="not dim"), soft_wrap=True)


def _print_node(console: Terminal, folder: DataFolder, reader: NodeReader, checks: Sequence[NodeFileCheck]) -> None:
    asked = f": {reader.status.ledger_name}, block {reader.index:,}; hashes, signatures and votes checked here"
    console.print(Text.assemble(("✓ ", "bold green"), (f"the node in {folder.path}", "bold"), asked), soft_wrap=True)
    for check in checks:
        console.print()
        if not check.is_covered:
            said = ": no certificate on this ledger covers it, as far as this node has it"
            console.print(Text.assemble(("× ", "bold red"), (check.name, "bold"), said), soft_wrap=True)
            console.print(Text(f"  SHA-256      {check.sha256}", style="dim"), soft_wrap=True)
            continue
        console.print(Text.assemble(("✓ ", "bold green"), (check.name, "bold"), " is certified"))
        for one in check.certificates:
            _print_fields(console, check, one, {"final": _votes(one)})


def _votes(covering: NodeCovering) -> str:
    if covering.final_by is None:
        return "no votes are kept for it: its forger's signature is all that says so"
    later = f", for block {covering.final_by}" if covering.final_by != covering.block_index else ""
    if covering.voted_stake is None:
        stakes = "what they had at stake then takes the whole chain: tallystick verify --chain"
        return f"by signed votes of {', '.join(covering.voters)}{later}; {stakes}"
    return f"by signed votes of {covering.voted_stake:,} of {covering.total_stake:,} tokens at stake{later}"


def _finality(checked: CheckedChain, block_index: int) -> str:
    finality = checked.finality(block_index)
    later = f", for block {finality.by_block}" if finality.by_block != block_index else ""
    return f"by votes of {finality.stake:,} of {finality.total_stake:,} tokens at stake{later}"


def _print_uncovered(console: Terminal, check: FileCheck) -> None:
    console.print(Text.assemble(("× ", "bold red"), (check.name, "bold"), ": no certificate on this chain covers it"))
    console.print(Text(f"  SHA-256      {check.sha256}", style="dim"), soft_wrap=True)
    for other in check.other_versions:
        changed = "  A file of this name is certified with other bytes: this one was changed, or is another version."
        for line in (changed, f"  certified    {other}"):
            console.print(Text(line, style="yellow"), soft_wrap=True)
