"""`tallystick status`: how the running node is, and why the ledger does or does not advance."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Group, RenderableType
from rich.live import Live

from tallystick.api import governed_views, views
from tallystick.api.words import SHORT_ID
from tallystick.cli.options import Data, flag, node_folder, open_node
from tallystick.cli.output import Terminal, field, give, is_json, marked, say
from tallystick.cli.words import ago, called, continued, lasting, many, utc, whose, without
from tallystick.client.blocking import Client
from tallystick.problems import ExitCode

_REFRESH_SECONDS: Final = 1.0
_MARKS: Final = {"advancing": "✓", "quiet": "✓", "catching_up": "↓", "recovering": "!", "silent": "!", "left": "!"}


def status(
    watch: Annotated[bool, flag("--watch", "Tell again every second, until Ctrl-C.")] = False, data: Data = None
) -> None:
    """Tell how the running node is: whether the ledger advances, and if not, who is missing and since when.

    It ends with 1 unless all is well: when the ledger is stuck, when too little stake is in reach for anything to
    become final, and when this node is a member that does not vote: it recovers, or is silent until a later view, as
    what its key signed is lost; another machine signs with its key; its key is burned; it was removed, or another key
    took its place. It ends with 3 when the node does not run.

    Open motions stand there, and what they wait for; member keys that are announced; payloads that were ordered to be
    erased everywhere, and wait for this node's operator; and, of a member that leaves or gets another key, until when
    this node has to run.

    Examples:
      tallystick status
      tallystick status --watch
    """
    if watch and is_json():
        raise typer.BadParameter("--watch is for people; call --json as often as you need it")
    folder = node_folder(data).path
    with open_node(data) as client:
        if watch:
            _watch(client, folder)
            return
        told = client.status()
    give(told)
    say(picture(told, folder))
    if not told.is_well:
        raise typer.Exit(ExitCode.FAILED)


def _watch(client: Client, folder: Path) -> None:
    console = Terminal()
    with (
        suppress(KeyboardInterrupt),
        Live(console=console, auto_refresh=False, transient=not console.is_terminal) as live,
    ):
        while True:
            live.update(picture(client.status(), folder), refresh=True)
            time.sleep(_REFRESH_SECONDS)


def picture(told: views.Status, folder: Path) -> RenderableType:
    """How a node is, for people."""
    head = marked(_MARKS.get(told.state, "×"), told.state.replace("_", " "), f": {told.why}")
    tip_ago = ago(told.now_ms, told.tip_timestamp_ms)
    reach = f"{told.members_connected} of {told.members} members in reach, with {told.heard_stake:,} tokens at stake"
    lines = {
        "ledger": f"{told.ledger_name}  {told.ledger_id[:16]}…",
        "node": f"{whose(told.node)}  {told.node.key}".strip(),
        "in": f"{folder}, version {told.version}, up for {lasting(told.now_ms - told.started_ms)}",
        "verifies": f"signatures by {told.verifier}",
        "reached at": told.address,
        "tip": f"block {told.tip_index:,}, {tip_ago} ({utc(told.tip_timestamp_ms)})  {told.tip_hash[:16]}…",
        "log": many(told.log_size, "certificate"),
        "waiting": many(told.waiting, "certificate"),
        "agreement": f"epoch {told.epoch:,}, view {told.view:,}; it {_role(told)}",
        "peers": f"{told.peers} connected; {reach}",
    }
    if told.ml_dsa.key is not None or told.ml_dsa.registered is not None:
        lines["ML-DSA-44"] = _ml_dsa(told.ml_dsa)
    beside = [field("!", continued(told.continues), "bold yellow")] if told.continues else []
    beside += [field("missing", _missing(one, told.now_ms), "yellow") for one in told.missing]
    beside += [field("motion", _motion(one), "yellow") for one in told.motions]
    beside += [field("new key", _rotation(one), "bold yellow") for one in told.rotations]
    beside += [field("erase", _erasure(one), "yellow") for one in told.erasures]
    if told.leaving is not None and told.leaving.summary != told.why:
        beside.append(field("leaving", told.leaving.summary, "bold yellow"))
    return Group(head, *(field(label, text) for label, text in lines.items()), *beside)


def _motion(one: governed_views.MotionLine) -> str:
    waits = f"{one.waits_for}; closes on {utc(one.expires_ms)}"
    return f"{one.id[:SHORT_ID]} to {one.summary}: {waits if one.state == 'open' else one.state}{without(one)}"


def _erasure(one: governed_views.Erasure) -> str:
    order = one.orders[0]
    ordered = f"ordered by {'motion' if order.kind == 'motion' else called(order.by)} on {utc(order.since_ms)}"
    target = one.target[:SHORT_ID]
    return f"the payload of {target}, {ordered}; look at it, then: tallystick erase {target}"


def _rotation(one: governed_views.Rotation) -> str:
    stop = f"if that is a thief's: tallystick member stop-rotation {one.organisation}"
    return f"{called(one.before)} is followed by {one.after[:SHORT_ID]}… on {utc(one.due_ms)}; {stop}"


def _ml_dsa(told: views.MlDsaSigning) -> str:
    """Of a member that registered a key, or has one."""
    if not told.is_signing:
        return f"it does not sign: {told.why_not}"
    key = f"it signs the ends of epochs by the key {(told.key or '')[:SHORT_ID]}…"
    if told.end_size is None:
        return f"{key}; of none since its start is a signature at hand"
    own = "its own among them" if told.is_end_signed else "its own is not there"
    at_hand = f"{many(told.end_signatures, 'signature')} of the newest, of {many(told.end_size, 'certificate')}"
    return f"{key}; {at_hand}, {own}"


def _role(told: views.Status) -> str:
    if not told.stake:
        return "observes: it has no stake in this epoch"
    share = f"{told.stake:,} of {told.total_stake:,} tokens"
    if told.is_voting:
        return f"votes with {share}"
    said = "" if told.why_not_voting == told.why else f": {told.why_not_voting}"
    return f"has {share}, and does not vote{said}"


def _missing(one: views.Missing, now_ms: int) -> str:
    heard = f"last heard of {ago(now_ms, one.last_heard_ms)}" if one.last_heard_ms else "not heard of"
    connection = "connected, but silent" if one.is_connected else f"not connected, {heard}"
    return f"{called(one.member)} with {one.stake:,} tokens: {connection}"
