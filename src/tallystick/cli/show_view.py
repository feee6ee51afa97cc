"""How `tallystick show` looks to people. It prints the same values as `--json`."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from rich.table import Table

from tallystick.cli.output import Terminal, Text, is_narrow, make_table, share_bar
from tallystick.cli.words import CHECKED_AGAIN, lasting, many, utc

_LABEL_WIDTH: Final = 13
_VOTES_WIDTH: Final = 6
_SHARE_WIDTH: Final = 8


def show_chain(console: Terminal, chain: Mapping[str, Any]) -> None:
    """The chain as a whole."""
    is_whole = chain["log_root"] is not None
    _heading(console, chain["name"], CHECKED_AGAIN if is_whole else "as the running node has it")
    tip = f"{chain['tip_index']}  {chain['tip_hash']}"
    fields = {
        "ledger": chain["ledger_id"],
        "begun": utc(chain["created_ms"]),
        "tip": tip,
        "log": many(chain["log_size"], "certificate"),
    }
    if is_whole:
        fields["log root"] = chain["log_root"]
    if chain["left_out"]:
        fields["left out"] = f"{many(chain['left_out'], 'block')} at the end that no votes prove final"
    _fields(console, fields)
    if chain["blocks"]:
        console.print(_blocks(chain, is_narrow(console)))
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


def _blocks(chain: Mapping[str, Any], narrow: bool) -> Table:
    """The blocks, a line each."""
    blocks = chain["blocks"]
    columns: dict[str, list[str | Text]] = {
        "#": [str(block["index"]) for block in blocks],
        "Epoch": [str(block["epoch"]) for block in blocks],
        "View": [str(block["view"]) for block in blocks],
        "Time (UTC)": [utc(block["timestamp_ms"]).removesuffix(" UTC") for block in blocks],
        "Hash": [Text(block["hash"][:8] + "…", style="cyan") for block in blocks],
        "Forged by": [Text(block["forger"], style="green") for block in blocks],
        "Final by": [_final_by(block, 0 if narrow else _VOTES_WIDTH) for block in blocks],
        "Certificates": [str(block["certificate_count"]) for block in blocks],
    }
    shown = {title: cells for title, cells in columns.items() if not (narrow and title in ("Epoch", "Hash"))}
    table = make_table()
    for title in shown:
        table.add_column(title, justify="right" if title in ("#", "Epoch", "View", "Certificates") else "left")
    for place, cells in enumerate(zip(*shown.values(), strict=True)):
        is_last = blocks[place]["epoch"] != blocks[min(place + 1, len(blocks) - 1)]["epoch"]
        table.add_row(*cells, end_section=is_last)
    return table


def _final_by(block: Mapping[str, Any], bar_width: int) -> Text:
    if block["final_by"] != block["index"]:
        return Text(f"with {block['final_by']}" if block["final_by"] else "·", style="dim")
    if block["voted_stake"] is None:
        return Text("votes", style="cyan")
    return share_bar(block["voted_stake"], block["total_stake"] or 0, "cyan", bar_width)


def show_block(console: Terminal, block: Mapping[str, Any]) -> None:
    """One block."""
    _heading(console, f"Block {block['index']}", many(block["certificate_count"], "certificate"))
    fields = {
        "hash": block["hash"],
        "parent": block["parent_hash"],
        "time": utc(block["timestamp_ms"]),
        "forger": f"{block['forger']}  {block['forger_key']}"
        if block["index"]
        else "nobody: it follows from the genesis",
        "epoch": str(block["epoch"]),
        "view": str(block["view"]),
        "covers": block["certificates_hash"],
        "state root": block["state_root"],
    }
    if block["final_by"] is not None:
        fields["final by"] = _votes_words(block)
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


def _votes_words(block: Mapping[str, Any]) -> str:
    tokens = "" if block["voted_stake"] is None else f" of {block['voted_stake']:,} of {block['total_stake']:,} tokens"
    votes = f"votes{tokens}: {', '.join(block['voters'])}"
    return (
        votes if block["final_by"] == block["index"] else f"{votes}; for block {block['final_by']}, which builds on it"
    )


def show_certificate(console: Terminal, certificate: Mapping[str, Any]) -> None:
    """One certificate."""
    _heading(console, certificate["kind"].capitalize(), certificate["says"])
    place = f"block {certificate['block_index']}, position {certificate['position']}"
    fields = {
        "id": certificate["id"],
        "issuer": f"{certificate['issuer']}  {certificate['issuer_key']}",
        "time": f"{utc(certificate['timestamp_ms'])}, as its issuer says",
        "place": place,
        "signature": certificate["signature"],
        "payload hash": certificate["payload_hash"] or "none",
        "payload": _payload_words(certificate),
    }
    if certificate["proof"] is not None:
        leaf, count = certificate["leaf_index"], len(certificate["proof"])
        fields["proof"] = f"RFC 6962 inclusion of leaf {leaf}, {count} hashes: verified against the log's root"
        fields["log root"] = certificate["log_root"]
    fields["log"] = many(certificate["log_size"], "certificate")
    _fields(console, fields)


def show_stakes(console: Terminal, stakes: Mapping[str, Any]) -> None:
    """Who holds what."""
    burned = f", {stakes['burned']:,} burned" if stakes["burned"] else ""
    _heading(console, "Tokens", f"{stakes['total']:,} in all, {stakes['total_staked']:,} at stake{burned}")
    narrow = is_narrow(console)
    table = make_table()
    table.add_column("Member")
    if not narrow:
        table.add_column("Key", no_wrap=True, style="cyan")
    table.add_column("At stake", justify="right")
    table.add_column("Share", no_wrap=True)
    table.add_column("Unbonding", justify="right")
    table.add_column("Burned", justify="right")
    table.add_column("Free", justify="right")
    table.add_column("Forged", justify="right")
    for member in stakes["members"]:
        table.add_row(
            Text(member["name"]),
            *([] if narrow else [member["public_key"][:8] + "…"]),
            f"{member['staked']:,}",
            share_bar(member["staked"], stakes["total_staked"], "yellow", 0 if narrow else _SHARE_WIDTH),
            f"{unbonding:,}"
            if (unbonding := sum(one["amount"] for one in member["unbonding"]))
            else Text("·", style="dim"),
            Text(f"{member['burned']:,}", style="bold red") if member["burned"] else Text("·", style="dim"),
            f"{member['free']:,}",
            Text("·", style="dim") if member["blocks_forged"] is None else f"{member['blocks_forged']:,}",
        )
    console.print(table)


def show_member(console: Terminal, member: Mapping[str, Any]) -> None:
    """One account."""
    _heading(console, member["name"], "")
    share = share_bar(member["staked"], member["total_staked"], "yellow", 0).plain.strip()
    fields = {
        "key": member["public_key"],
        "at stake": f"{member['staked']:,} tokens, {share} of all",
        "free": f"{member['free']:,} tokens",
        "unbonding": ", ".join(map(_free_from, member["unbonding"])),
        "burned": f"{member['burned']:,} tokens" if member["burned"] else "",
        "votes with": f"{member['votes_with']:,} tokens in this epoch" if "votes_with" in member else "",
        "forged": "" if member["blocks_forged"] is None else many(member["blocks_forged"], "block"),
        "address": member.get("address") or "",
    }
    if "is_connected" in member:
        fields["connected"] = "yes" if member["is_connected"] else "no"
    _fields(console, {label: text for label, text in fields.items() if text})


def show_peers(console: Terminal, told: Mapping[str, Any]) -> None:
    """Whom a node knows."""
    peers = told["peers"]
    connected = sum(1 for peer in peers if peer["is_connected"])
    _heading(console, "Peers", f"{connected} connected, {len(peers)} known")
    if not peers:
        return
    table = make_table()
    table.add_column("Peer")
    table.add_column("Key", no_wrap=True, style="cyan")
    table.add_column("Address", no_wrap=True)
    table.add_column("Votes with", justify="right")
    table.add_column("Tip", justify="right")
    table.add_column("Connected")
    for peer in peers:
        lasted = lasting(told["now_ms"] - peer["since_ms"]) if peer["since_ms"] else ""
        table.add_row(
            Text(peer["name"]),
            peer["public_key"][:8] + "…",
            Text(peer["address"] or "not known"),
            f"{peer['votes_with']:,}" if peer["votes_with"] else Text("observer", style="dim"),
            f"{peer['tip_index']:,}",
            Text(f"for {lasted}", style="green") if peer["is_connected"] else Text("no", style="red"),
        )
    console.print(table)
    for peer in (one for one in peers if one["banned_until_ms"]):
        left = lasting(peer["banned_until_ms"] - told["now_ms"])
        console.print(Text(f"  banned for {left} more: {peer['name']}: {peer['banned_for']}", "red"), soft_wrap=True)


def _free_from(one: Mapping[str, Any]) -> str:
    where = f"epoch {one['free_from_epoch']:,}, block {one['free_from_block']:,} and {utc(one['free_from_ms'])}"
    return f"{one['amount']:,} tokens until {where}"


VIEWS: Final[Mapping[str, Callable[[Terminal, Mapping[str, Any]], None]]] = {
    "chain": show_chain,
    "block": show_block,
    "certificate": show_certificate,
    "stakes": show_stakes,
    "member": show_member,
    "peers": show_peers,
}


def _heading(console: Terminal, title: str, more: str) -> None:
    console.print(Text(title, style="bold").append(f"  {more}", style="not bold dim"), soft_wrap=True)


def _fields(console: Terminal, fields: Mapping[str, str]) -> None:
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
