"""How `tallystick show` looks to people. It prints the same values as `--json`."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from tallystick.cli.output import make_table
from tallystick.cli.words import many, utc

_LABEL_WIDTH: Final = 13


def show_chain(console: Console, chain: Mapping[str, Any]) -> None:
    """The chain as a whole."""
    _heading(console, chain["name"], "every hash, signature and rule checked again")
    tip = f"{chain['tip_index']}  {chain['tip_hash']}"
    fields = {
        "ledger": chain["ledger_id"],
        "begun": utc(chain["created_ms"]),
        "tip": tip,
        "log": many(chain["log_size"], "certificate"),
        "log root": chain["log_root"],
    }
    _fields(console, fields)
    table = make_table()
    table.add_column("#", justify="right")
    table.add_column("Time", no_wrap=True)
    table.add_column("Hash", no_wrap=True, style="cyan")
    table.add_column("Forged by", style="green")
    table.add_column("Certificates", justify="right")
    for block in chain["blocks"]:
        time, count = utc(block["timestamp_ms"]), str(block["certificate_count"])
        table.add_row(str(block["index"]), time, block["hash"][:16] + "…", Text(block["forger"]), count)
    console.print(table)
    if chain["files"]:
        files = make_table()
        files.add_column("File")
        files.add_column("Bytes", justify="right")
        files.add_column("SHA-256", no_wrap=True, style="cyan")
        files.add_column("Block", justify="right")
        for file in chain["files"]:
            size, sha256 = f"{file['size_bytes']:,}", file["sha256"][:16] + "…"
            files.add_row(Text(file["name"]), size, sha256, str(file["block_index"]))
        console.print(files)


def show_block(console: Console, block: Mapping[str, Any]) -> None:
    """One block."""
    _heading(console, f"Block {block['index']}", many(block["certificate_count"], "certificate"))
    fields = {
        "hash": block["hash"],
        "parent": block["parent_hash"],
        "time": utc(block["timestamp_ms"]),
        "forger": f"{block['forger']}  {block['forger_key']}"
        if block["index"]
        else "nobody: it follows from the genesis",
        "view": str(block["view"]),
        "covers": block["certificates_hash"],
    }
    _fields(console, fields)
    if block["certificates"]:
        table = make_table()
        table.add_column("Certificate", no_wrap=True, style="cyan")
        table.add_column("Kind", no_wrap=True)
        table.add_column("Issuer")
        table.add_column("Says")
        for one in block["certificates"]:
            table.add_row(one["id"][:16] + "…", one["kind"], Text(one["issuer"]), Text(one["says"]))
        console.print(table)


def show_certificate(console: Console, certificate: Mapping[str, Any]) -> None:
    """One certificate."""
    _heading(console, certificate["kind"].capitalize(), certificate["says"])
    place = f"block {certificate['block_index']}, position {certificate['position']}"
    count = len(certificate["proof"])
    proof = f"RFC 6962 inclusion of leaf {certificate['leaf_index']}, {count} hashes: verified against the log's root"
    fields = {
        "id": certificate["id"],
        "issuer": f"{certificate['issuer']}  {certificate['issuer_key']}",
        "time": f"{utc(certificate['timestamp_ms'])}, as its issuer says",
        "place": place,
        "signature": certificate["signature"],
        "payload hash": certificate["payload_hash"] or "none",
        "payload": _payload_words(certificate),
        "proof": proof,
        "log": many(certificate["log_size"], "certificate"),
        "log root": certificate["log_root"],
    }
    _fields(console, fields)


def show_stakes(console: Console, stakes: Mapping[str, Any]) -> None:
    """Who holds what."""
    _heading(console, "Tokens", f"{stakes['total']:,} in all, {stakes['total_staked']:,} at stake")
    table = make_table()
    table.add_column("Member")
    table.add_column("Key", no_wrap=True, style="cyan")
    table.add_column("At stake", justify="right")
    table.add_column("Share", justify="right")
    table.add_column("Free", justify="right")
    table.add_column("Blocks forged", justify="right")
    for member in stakes["members"]:
        share = f"{100 * member['staked'] / stakes['total_staked']:.1f} %" if stakes["total_staked"] else "–"
        numbers = (f"{member['staked']:,}", share, f"{member['free']:,}", f"{member['blocks_forged']:,}")
        table.add_row(Text(member["name"]), member["public_key"][:16] + "…", *numbers)
    console.print(table)


VIEWS: Final[Mapping[str, Callable[[Console, Mapping[str, Any]], None]]] = {
    "chain": show_chain,
    "block": show_block,
    "certificate": show_certificate,
    "stakes": show_stakes,
}


def _heading(console: Console, title: str, more: str) -> None:
    console.print(Text(title, style="bold").append(f"  {more}", style="not bold dim"), soft_wrap=True)


def _fields(console: Console, fields: Mapping[str, str]) -> None:
    for label, text in fields.items():
        console.print(Text(f"  {label:<{_LABEL_WIDTH}}", style="dim").append(text, style="not dim"), soft_wrap=True)


def _payload_words(certificate: Mapping[str, Any]) -> str:
    payload = certificate["payload"]
    if payload is None:
        return "not kept here" if certificate["payload_hash"] else "none"
    if "file" in payload:
        file = payload["file"]
        return f"the file {file['name']}, {file['size_bytes']:,} bytes, SHA-256 {file['sha256']}"
    return str(payload.get("text", f"{payload['size_bytes']:,} bytes of {payload['media_type']}"))
