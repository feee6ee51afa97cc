"""What a demo came to, for people: a picture, the chain, the members, the refusals, and the verdicts."""

import shlex
from collections import Counter
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from tallystick.api import governed_views, views
from tallystick.api.key_book import name_of
from tallystick.api.verify_page import PAGE
from tallystick.api.words import SHORT_ID
from tallystick.cli.options import node_folder
from tallystick.cli.output import (
    DEFAULT_CHAIN,
    Columns,
    Text,
    make_console,
    marked,
    number,
    say,
    say_heading,
    say_how_to_find_it,
    say_table,
    share_bar,
)
from tallystick.cli.words import many, names_of, seconds
from tallystick.demo.account import Account, Nullified, Stretch
from tallystick.demo.handing_on import DIPLOMA, LEDGER_ID, handed_on
from tallystick.ledger.errors import Rule

_TICK_MS: Final = 5_000
_SIGNS: Final = {
    "there": ("─", "dim"),
    "parted": ("╌", "yellow"),
    "killed": (" ", ""),
    "drawn in vain": ("×", "red"),
    "forged": ("■", "green"),
    "signed twice": ("!", "bold red"),
}
"""What the picture shows; the later ones over the earlier ones."""


def show_account(account: Account, chain: Path, file: Path) -> None:
    """Print the whole account; `file` is one of those that were certified."""
    say_heading("Who forged when")
    _show_picture(account)
    say_heading("The chain", f"{many(len(account.blocks), 'block')} after the genesis block")
    _show_chain(account)
    say_heading("Who has what at stake, forged what, and voted")
    _show_members(account)
    if account.refusals:
        say_heading("What was refused, and by which rule")
        _show_refusals(account)
    _show_verdicts(account)
    _show_kept(account, chain, file)


# ---- the picture --------------------------------------------------------------------------------------------


def _show_picture(account: Account) -> None:
    """A row for each node (and for a member without one that did something), a column for each stretch of time."""
    stretches, nodes = _stretches(account), account.nodes
    rows = {one.name if one.name == one.member else f"{one.name} {one.member}": {one.name, one.member} for one in nodes}
    known = {name for one in nodes for name in (one.name, one.member)}
    rows |= {one.who: {one.who} for one in stretches if one.who not in known}
    margin = max(map(len, rows)) + 2
    columns = max(20, make_console().width - 2 - margin)
    say(Text(" " * margin).append(_scale(account.took_ms, columns), style="dim"))
    for label, who in rows.items():
        cells = [(" ", "")] * columns
        for one in stretches:
            if one.who in who:
                first, last = (_column(time_ms, account.took_ms, columns) for time_ms in (one.from_ms, one.until_ms))
                cells[first : last + 1] = [_SIGNS[one.what]] * (last + 1 - first)
        say(Text(f"{label:<{margin}}").append(Text.assemble(*cells)))
    drawn = {one.what for one in stretches} - {"there", "killed"}
    legend = [part for what in _SIGNS if what in drawn for part in (_SIGNS[what], f" {what}   ")]
    say(Text(" " * margin).append(Text.assemble(*legend)), soft_wrap=False)
    say("")


def _stretches(account: Account) -> list[Stretch]:
    began_ms, took_ms = account.ledger.created_ms, account.took_ms
    there = [Stretch(one.name, "there", one.joined_ms, took_ms) for one in account.nodes]
    in_vain = [Stretch(one.drawn, "drawn in vain", one.time_ms, one.time_ms) for one in account.nullified]
    times = [(_name(one.forger), one.timestamp_ms - began_ms) for one in account.blocks]
    forged = [Stretch(who, "forged", time_ms, time_ms) for who, time_ms in times]
    order = list(_SIGNS)
    return sorted([*there, *account.stretches, *in_vain, *forged], key=lambda one: order.index(one.what))


def _column(time_ms: int, took_ms: int, columns: int) -> int:
    return min(columns - 1, max(0, time_ms) * columns // max(1, took_ms))


def _scale(took_ms: int, columns: int) -> str:
    scale = ""
    for time_ms in range(0, took_ms, _TICK_MS):
        tick = f"{time_ms // 1000} s"
        column = _column(time_ms, took_ms, columns)
        if len(scale) <= column <= columns - len(tick):
            scale = scale.ljust(column) + tick
    return scale


# ---- the tables ---------------------------------------------------------------------------------------------


def _show_chain(account: Account) -> None:
    """Each epoch with what counts in it, its blocks, and its views that came to nothing."""
    rows: list[tuple[str | Text, ...]] = []
    began_ms = account.ledger.created_ms
    for epoch, stakes in enumerate(account.epochs):
        shares = [f"{name} {stake}" for name, stake in sorted(stakes.items())]
        told = f"{sum(stakes.values())} at stake: {names_of(shares, most=8)}"
        rows.append(("", "", "", "", Text(f"Epoch {epoch}", style="bold"), "", Text(told, style="dim")))
        blocks = [(one.view, _block_cells(one, began_ms)) for one in account.blocks if one.epoch == epoch]
        in_vain = [(one.view, _nullified_cells(one)) for one in account.nullified if one.epoch == epoch]
        rows += [cells for _, cells in sorted([*blocks, *in_vain], key=itemgetter(0))]
    titles = ("#", "View", "Time", "Hash", "Forged by", "Final by", "What it holds")
    say_table(rows, {title: itemgetter(place) for place, title in enumerate(titles)}, left_out=("Hash",))


def _block_cells(block: views.Block, began_ms: int) -> tuple[str | Text, ...]:
    final, held = block.finality, Text()
    for place, one in enumerate(block.certificates):
        held.append(" · " if place else "", style="dim").append(f"{_name(one.issuer)}: ", style="dim")
        held.append(one.summary, style="bold red" if one.kind == "evidence" else "")
    by_votes = share_bar(final.stake, final.total_stake, "cyan", 6) if final else Text()
    final_by = by_votes if block.final_by == block.index else Text(f"with {block.final_by}", style="dim")
    time, forger = seconds(block.timestamp_ms - began_ms), Text(_name(block.forger), style="green")
    return str(block.index), str(block.view), time, Text(f"{block.hash[:8]}…", style="cyan"), forger, final_by, held


def _nullified_cells(one: Nullified) -> tuple[str | Text, ...]:
    cells = ("", str(one.view), seconds(one.time_ms), "×", one.drawn, "nullified", "nothing came of it")
    return tuple(Text(cell, style="yellow") for cell in cells)


def _show_members(account: Account) -> None:
    """The organisations, or the accounts of an open ledger."""
    forged = Counter(_name(one.forger) for one in account.blocks)
    votes = {one.finality.by_block: one.finality.voters for one in account.blocks if one.finality}
    voted = Counter(_name(key) for voters in votes.values() for key in voters)
    has: Columns[Any] = {
        "Member": _title,
        "At stake": lambda one: number(one.staked),
        "Share": lambda one: share_bar(one.staked, account.ledger.total_staked, "yellow"),
    }
    did: Columns[Any] = {
        "Blocks": lambda one: number(forged[_title(one)]),
        "Voted": lambda one: share_bar(voted[_title(one)], len(votes), "cyan"),
    }
    organisations: Columns[governed_views.Organisation] = {
        **has,
        "Member key": lambda one: Text(f"{(one.member_key or '')[:8]}…", style="cyan"),
        **did,
        "": _key_changes,
    }
    accounts: Columns[views.Member] = {
        **has,
        "Unbonding": lambda one: number(sum(part.amount for part in one.unbonding)),
        "Free": lambda one: number(one.free),
        **did,
        "": lambda one: Text("burned" if one.is_burned else "", style="bold red"),
    }
    if account.ledger.has_directory:
        say_table(account.organisations, organisations)
    else:
        say_table(account.members, accounts)


def _title(one: governed_views.Organisation | views.Member) -> str:
    return one.title if isinstance(one, governed_views.Organisation) else _name(one.member)


def _key_changes(one: governed_views.Organisation) -> str:
    if any(key.until is not None for key in one.keys):
        return "key replaced"
    return "admitted later" if min(key.since for key in one.keys) else ""


def _show_refusals(account: Account) -> None:
    """By rule; the example is the first thing refused by it."""
    first = {one.rule: one for one in reversed(account.refusals)}
    times = Counter(one.rule for one in account.refusals)
    rules = [rule for rule in Rule if rule.name in first]
    columns: Columns[Rule] = {
        "Rule": lambda rule: Text(rule.name, style="red"),
        "What it demands": lambda rule: rule.value,
        "Times": lambda rule: number(times[rule.name]),
        "For example": lambda rule: first[rule.name].attempt or first[rule.name].reason,
    }
    say_table(rules, columns)


def _name(key: views.Key | None) -> str:
    return name_of(key) if key else "nobody"


# ---- the end ------------------------------------------------------------------------------------------------


def _show_verdicts(account: Account) -> None:
    """What was to be shown, and whether it was."""
    for verdict in account.verdicts:
        say(marked("✓" if verdict.holds else "×", "", verdict.says), soft_wrap=False)
    told = f"  {seconds(account.took_ms)} in all"
    if account.seed is not None:
        told += f", of the nodes' time. Repeatable: tallystick demo --simulated --seed {account.seed}"
    say(Text(told, style="dim"))
    say("")


def _show_kept(account: Account, chain: Path, file: Path) -> None:
    """Where the chain is kept, and how to look into it."""
    is_found = chain == Path(DEFAULT_CHAIN) and not node_folder(None).is_there
    option = "" if is_found else f" --chain {shlex.quote(str(chain))}"
    say(Text.assemble("The chain is kept in ", (str(chain), "bold"), ". Look into it:"))
    search = f"search --file {shlex.quote(str(file))}"
    revoked = [one.facts["id"] for one in account.verdicts if one.what == "the_revoked_was_valid_until_then"]
    more = ("member list", *(f"show certificate {one[:SHORT_ID]}" for one in revoked))
    for command in ("show", "show block 1", *(more if account.ledger.has_directory else ()), search):
        say(Text(f"  tallystick {command}{option}", style="bold"))
    say_how_to_find_it()
    if account.seed is None:
        folder = handed_on(chain)
        told = f"Open the page in a browser, choose {DIPLOMA} and its proof there, and enter the id from {LEDGER_ID}:"
        say("")
        say(Text.assemble("A diploma, its proof and a page that verifies are in ", (str(folder), "bold"), "."))
        say(Text(told), soft_wrap=False)
        say(Text(f"  {(folder / PAGE.name).absolute().as_uri()}", style="bold"))
