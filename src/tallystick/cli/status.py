"""`tallystick status`: how the running node is, and why the ledger does or does not advance."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Group, RenderableType
from rich.live import Live

from tallystick.cli.connecting import RunningNode, connect_at, ledger_info
from tallystick.cli.options import AsJson, Data
from tallystick.cli.output import Terminal, Text, error_boundary, help_text, make_console, print_json
from tallystick.cli.words import ago, lasting, many, name_of, names_of, utc
from tallystick.host.control import GetPeers, GetStatus, PeerLine, Peers, Status
from tallystick.problems import ExitCode

HELP: Final = help_text(
    "Tell how the running node is: whether the ledger advances, and if not, who is missing and since when.",
    "It ends with 1 when the ledger is stuck, and when this node is a member that does not vote: it recovers, or is "
    "silent until a later view, as what its key signed is lost; another machine signs with its key; its key is burned. "
    "It ends with 3 when the node does not run.",
    "Examples:",
    "  tallystick status",
    "  tallystick status --watch",
)

_REFRESH_SECONDS: Final = 1.0
_HINDRANCES: Final = ("mismatch", "burned", "twin", "recovering", "silent")
_MARKS: Final = {
    "mismatch": ("× ", "bold red"),
    "burned": ("× ", "bold red"),
    "twin": ("× ", "bold red"),
    "recovering": ("! ", "bold yellow"),
    "silent": ("! ", "bold yellow"),
    "stuck": ("× ", "bold red"),
    "catching_up": ("↓ ", "bold yellow"),
    "alone": ("! ", "bold yellow"),
    "advancing": ("✓ ", "bold green"),
    "quiet": ("✓ ", "bold green"),
}


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Tell again every second, until Ctrl-C.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """See `HELP`."""
    if watch and as_json:
        raise typer.BadParameter("--watch is for people; call --json as often as you need it")
    with error_boundary():
        with connect_at(data) as node:
            names = ledger_info(node.folder)[1]
            if watch:
                _watch(node, names)
                return
            value = look(node, names)
        if as_json:
            print_json(value)
        else:
            make_console().print(_picture(value, node.folder.path))
    if value["state"] == "stuck" or value["why_not_voting"] is not None:
        raise typer.Exit(ExitCode.FAILED)


def look(node: RunningNode, names: Mapping[bytes, str]) -> dict[str, Any]:
    """The node's state as plain values. Raises `Problem`."""
    told, peers = node.one(GetStatus(), Status), node.one(GetPeers(), Peers).peers
    state = _state(told)
    stuck = told.stuck
    return {
        "state": state,
        "why": _why(told, state, names),
        "ledger": told.ledger_name,
        "ledger_id": told.ledger_id.hex(),
        "version": told.version,
        "public_key": told.key.hex(),
        "name": name_of(told.key, names),
        "address": told.address,
        "started_ms": told.started_ms,
        "now_ms": told.now_ms,
        "tip_index": told.index,
        "tip_hash": told.tip_hash.hex(),
        "tip_timestamp_ms": told.tip_timestamp_ms,
        "best_index": told.best_index,
        "caught_up_percent": _percent(told),
        "certificates": told.certificates,
        "waiting": told.waiting,
        "epoch": told.epoch,
        "view": told.view,
        "stake": told.stake,
        "total_stake": told.total_stake,
        "is_voting": told.is_voting,
        "why_not_voting": _why_not_voting(told, names),
        "guard": told.guard,
        "unanswered": [{"name": name_of(one, names), "public_key": one.hex()} for one in told.unanswered],
        "silent_until": _place(told.silent_until),
        "twin": _place(told.twin),
        "is_loss_accepted": told.is_loss_accepted,
        "is_burned": told.is_burned,
        "mismatch": told.mismatch or None,
        "peers": told.peers,
        "members": told.members,
        "members_connected": told.members_connected,
        "stuck": None
        if stuck is None
        else {
            "since_ms": stuck.since_ms,
            "heard_stake": stuck.heard_stake,
            "total_stake": stuck.total_stake,
            "missing": [_missing(one, peers, names) for one in stuck.missing],
        },
    }


def _hindrance(told: Status) -> str | None:
    """What keeps this node's key from signing what it finds right, if anything does."""
    if told.mismatch or told.is_burned:
        return "mismatch" if told.mismatch else "burned"
    if told.guard == "twin":
        return "twin"
    if not told.stake or told.is_voting:
        return None
    return "recovering" if told.guard == "lost" else "silent"


def _state(told: Status) -> str:
    hindrance = _hindrance(told)
    if hindrance in ("mismatch", "burned", "twin"):
        return hindrance
    if told.best_index > told.index:
        return "catching_up"
    if told.stuck is not None:
        return "stuck"
    if hindrance is not None:
        return hindrance
    if told.members_connected <= 1 < told.members:
        return "alone"
    return "advancing" if told.waiting else "quiet"


def _why_not_voting(told: Status, names: Mapping[bytes, str]) -> str | None:
    match _hindrance(told):
        case "mismatch":
            return f"a quorum chose what is illegal by this node's state ({told.mismatch}); it signs nothing"
        case "burned":
            return "this key signed what no honest member signs: its stake is lost, its votes with this epoch"
        case "twin":
            epoch, view = told.twin or (0, 0)
            seen = f"another machine signs with this node's own key (seen in epoch {epoch:,}, view {view:,})"
            return f"{seen}, so this one signs nothing; stop the other for good, then: tallystick guard recover"
        case "recovering":
            waits = names_of([name_of(one, names) for one in told.unanswered])
            asked = f"it asks the others, and {waits} did not answer yet" if waits else "all others answered"
            alone = " and are no quorum without it: read tallystick guard accept-loss --help" if not waits else ""
            word = "; its operator accepted the loss" if told.is_loss_accepted else alone
            return f"what this key signed is lost; {asked}{word}"
        case "silent" if told.silent_until is not None:
            epoch, view = told.silent_until
            return f"what this key signed is lost, so it votes from epoch {epoch:,}, view {view + 1:,} on"
    return None


def _why(told: Status, state: str, names: Mapping[bytes, str]) -> str:
    if state in _HINDRANCES:
        return _why_not_voting(told, names) or ""
    waits = f"{many(told.waiting, 'certificate')} to be forged into a block" if told.waiting else "nothing waits"
    match state:
        case "stuck" if told.stuck:
            heard = f"{told.stuck.heard_stake:,} of {told.stuck.total_stake:,} tokens at stake are heard"
            since = lasting(told.now_ms - told.stuck.since_ms)
            missing = names_of([name_of(one, names) for one in told.stuck.missing])
            needed = 2 * told.stuck.total_stake // 3 + 1
            return f"for {since} no block became final: {heard}, {needed:,} are needed; missing: {missing}"
        case "catching_up":
            return f"block {told.index:,} of {told.best_index:,}, {_percent(told)} %"
        case "alone":
            return "no other member is connected; it takes what is submitted, and goes on when they come"
        case "advancing":
            return waits
    return f"{waits}; a quiet ledger makes no blocks"


def _place(place: tuple[int, int] | None) -> dict[str, int] | None:
    return None if place is None else {"epoch": place[0], "view": place[1]}


def _percent(told: Status) -> int:
    return 100 * told.index // told.best_index if told.best_index > told.index else 100


def _missing(key: bytes, peers: tuple[PeerLine, ...], names: Mapping[bytes, str]) -> dict[str, Any]:
    line = next((one for one in peers if one.key == key), None)
    return {
        "name": name_of(key, names),
        "public_key": key.hex(),
        "stake": line.stake if line else 0,
        "is_connected": line.is_connected if line else False,
        "last_heard_ms": (line.since_ms or None) if line else None,
    }


def _watch(node: RunningNode, names: Mapping[bytes, str]) -> None:
    console = Terminal()
    try:
        with Live(console=console, auto_refresh=False, transient=not console.is_terminal) as live:
            while True:
                live.update(_picture(look(node, names), node.folder.path), refresh=True)
                time.sleep(_REFRESH_SECONDS)
    except KeyboardInterrupt:
        return


def _picture(value: Mapping[str, Any], folder: Path) -> RenderableType:
    title = {"catching_up": "catching up", "alone": "no member in reach"}.get(value["state"], value["state"])
    head = Text.assemble(_MARKS[value["state"]], (title, "bold"), f": {value['why']}")
    share = f"{value['stake']:,} of {value['total_stake']:,} tokens"
    if not value["stake"]:
        role = "observes: it has no stake in this epoch"
    elif value["is_voting"]:
        role = f"votes with {share}"
    else:
        more = "" if value["state"] in _HINDRANCES else f": {value['why_not_voting']}"
        role = f"has {share}, and does not vote{more}"
    tip_ago = ago(value["now_ms"], value["tip_timestamp_ms"])
    fields = {
        "ledger": f"{value['ledger']}  {value['ledger_id'][:16]}…",
        "node": f"{value['name']}  {value['public_key']}",
        "in": f"{folder}, version {value['version']}, up for {lasting(value['now_ms'] - value['started_ms'])}",
        "reached at": value["address"],
        "tip": f"block {value['tip_index']:,}, {tip_ago} ({utc(value['tip_timestamp_ms'])})  {value['tip_hash'][:16]}…",
        "log": many(value["certificates"], "certificate"),
        "waiting": many(value["waiting"], "certificate"),
        "agreement": f"epoch {value['epoch']:,}, view {value['view']:,}; it {role}",
        "peers": f"{value['peers']} connected; {value['members_connected']} of {value['members']} members in reach",
    }
    lines = [Text(f"  {label:<13}", style="dim").append(text, style="not dim") for label, text in fields.items()]
    lines += [_missing_line(one, value["now_ms"]) for one in (value["stuck"] or {}).get("missing", ())]
    return Group(head, *lines)


def _missing_line(one: Mapping[str, Any], now_ms: int) -> Text:
    heard = f"last heard of {ago(now_ms, one['last_heard_ms'])}" if one["last_heard_ms"] else "not heard of"
    connection = "connected, but silent" if one["is_connected"] else f"not connected, {heard}"
    line = Text(f"  {'missing':<13}", style="yellow")
    return line.append(f"{one['name']} with {one['stake']:,} tokens: {connection}", style="not dim")
