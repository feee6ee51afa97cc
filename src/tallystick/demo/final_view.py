"""What the demo came to, for people: pictures, the chain, the members, the refusals, the nodes and the files."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.padding import Padding
from rich.rule import Rule as Line
from rich.table import Table

from tallystick.cli.output import Terminal, Text, is_narrow, make_table, share_bar
from tallystick.cli.words import many, names_of, seconds
from tallystick.demo.account import Account, FileLine
from tallystick.demo.chain_view import chain_table, timeline
from tallystick.demo.kept_chain import show_kept, show_verdicts
from tallystick.demo.recorder import Killing, Nullified


def show_account(console: Terminal, account: Account, chain: Path) -> None:
    """Print the whole account."""
    sections: tuple[tuple[str, RenderableType], ...] = (
        ("Who forged when", Padding(timeline(account, console.width - 2), (1, 0))),
        (
            f"The chain: {many(len(account.blocks), 'block')} after the genesis block",
            chain_table(account, is_narrow(console)),
        ),
        ("Who has what at stake, forged what, and voted", _members(account, 0 if is_narrow(console) else 8)),
        ("What was refused, and by which rule", _refused(account)),
        (f"{len(account.nodes)} nodes", _nodes(account)),
        ("The files, against the chain as read back from its SQLite file", _files(account)),
    )
    for title, body in sections:
        console.print(Line(Text(title, style="bold"), align="left", style="dim", characters="─"))
        console.print(Padding(body, (0, 0, 0, 1)))
    _verdicts(console, account, chain)


def _members(account: Account, bar_width: int) -> Table:
    table = make_table()
    table.add_column("Member", no_wrap=True)
    table.add_column("At stake", justify="right")
    table.add_column("Share", no_wrap=True)
    table.add_column("Unbonding", justify="right")
    table.add_column("Burned", justify="right")
    table.add_column("Free", justify="right")
    table.add_column("Blocks", justify="right")
    table.add_column("Voted", no_wrap=True)
    staked = sum(member.staked for member in account.members)
    finalizations = len({block.final_by for block in account.blocks})
    for member in account.members:
        table.add_row(
            member.name,
            str(member.staked),
            share_bar(member.staked, staked, "yellow", bar_width),
            _amount(member.unbonding, "yellow"),
            _amount(member.burned, "bold red"),
            str(member.free),
            _amount(member.blocks_forged, "green"),
            share_bar(member.finalizations, finalizations, "cyan", bar_width),
        )
    return table


def _amount(amount: int, style: str) -> Text:
    return Text(str(amount), style=style) if amount else Text("·", style="dim")


def _refused(account: Account) -> Table:
    table = make_table()
    table.add_column("Rule", no_wrap=True, style="red")
    table.add_column("What it demands")
    table.add_column("Times", justify="right")
    table.add_column("For example")
    for line in account.refused:
        table.add_row(line.rule, line.title, str(line.count), line.example)
    return table


def _nodes(account: Account) -> Table:
    table = make_table()
    table.add_column("Node", no_wrap=True)
    table.add_column("Forges as", no_wrap=True)
    table.add_column("Tip", justify="right")
    table.add_column("Tip hash", no_wrap=True, style="cyan")
    table.add_column("Certificates", justify="right")
    table.add_column("Log root", no_wrap=True, style="cyan")
    table.add_column("Forged", justify="right")
    table.add_column("Refused", justify="right")
    for node in account.nodes:
        table.add_row(
            node.name,
            node.forges_as,
            str(node.tip_index),
            node.tip_hash[:12] + "…",
            str(node.certificates),
            node.log_root[:12] + "…",
            str(node.forged),
            str(node.refused),
        )
    return table


def _files(account: Account) -> Table:
    table = make_table()
    table.add_column("File")
    table.add_column("SHA-256", no_wrap=True, style="cyan")
    table.add_column("As it is")
    table.add_column("With one byte changed")
    for file in account.files:
        table.add_row(file.name, file.sha256[:12] + "…", _as_it_is(file), _changed(file))
    return table


def _as_it_is(file: FileLine) -> Text:
    if not file.verifies:
        return Text("× no certificate covers it", style="red")
    return Text.assemble(("✓ verifies", "green"), f": certified by {file.certified_by} in block {file.block_index}")


def _changed(file: FileLine) -> Text:
    if file.fails_with_one_byte_changed:
        return Text.assemble(("✓ fails", "green"), ", as it should")
    return Text("× still verifies", style="red")


def _verdicts(console: Terminal, account: Account, chain: Path) -> None:
    tip = account.nodes[0]
    refused = sum(1 for attempt in account.attempts if attempt.rule)
    verified = sum(1 for file in account.files if file.verifies and file.fails_with_one_byte_changed)
    console.print(Line(style="dim", characters="─"))
    verdicts: Sequence[tuple[bool, str]] = (
        (
            account.nodes_agree,
            f"All {len(account.nodes)} nodes agree: block {tip.tip_index}, {tip.tip_hash[:16]}…"
            if account.nodes_agree
            else f"The {len(account.nodes)} nodes do not agree",
        ),
        (
            account.all_attempts_refused,
            f"{refused} of Charlie's {len(account.attempts)} illegal attempts were refused",
        ),
        (account.burned_the_stake_of_who_signed_twice, _of_doubling(account)),
        (account.went_on_without_a_forger, _of_killing(account)),
        (account.stopped_in_halves_and_went_on, _of_parting(account)),
        (
            account.all_files_verify,
            f"{verified} of {many(len(account.files), 'file')} verified, and failed when changed",
        ),
    )
    show_verdicts(console, verdicts)
    facts = f"  {seconds(account.virtual_ms)} of the nodes' time. "
    facts += f"Repeatable: tallystick demo --simulated --seed {account.seed}"
    console.print(Text(facts, style="dim"), soft_wrap=True)
    show_kept(console, chain, account.files[0].name, account.ledger_id)


def _of_killing(account: Account) -> str:
    killing = account.killing
    if killing is None or killing.went_on_ms is None or killing.restarted_ms is None:
        return "Without the forger that was killed the ledger did not go on"
    lost = [one for epoch in account.epochs for one in epoch.nullified if _is_missed(one, killing)]
    cost_ms = sum(one.lasted_ms for one in lost)
    who = f"{killing.node} was killed when drawn to forge"
    cost = f"that cost {many(len(lost), 'view')} and {seconds(cost_ms)}, then block {killing.went_on_index} was final"
    back = "and it votes again" if killing.voted_again_ms is not None else "and it has not voted since"
    return f"{who}: {cost}; back after {seconds(killing.restarted_ms - killing.killed_ms)}, {back}"


def _is_missed(nullified: Nullified, killing: Killing) -> bool:
    if killing.restarted_ms is None or nullified.drawn != killing.member:
        return False
    return killing.killed_ms <= nullified.time_ms <= killing.restarted_ms


def _of_parting(account: Account) -> str:
    parting = account.parting
    if parting is None or not parting.said or parting.healed_ms is None or parting.went_on_ms is None:
        return "The halves of the network did not come together"
    more = (parting.tip_index_when_healed or 0) - parting.tip_index
    made = "no half made a block final" if not more else f"{many(more, 'block')} became final"
    said = parting.said[0]
    told = f"{said.node} named who was missing ({names_of(said.missing, most=3)})"
    went_on = f"{seconds(parting.went_on_ms - parting.healed_ms)} after they met it went on"
    return f"In halves for {seconds(parting.healed_ms - parting.parted_ms)}, {made}, {told}; {went_on}"


def _of_doubling(account: Account) -> str:
    doubling = account.doubling
    if doubling is None or doubling.recorded_in is None:
        return "No evidence was recorded against the member that signed twice"
    burned = sum(member.burned for member in account.members)
    told = f"{doubling.accuser} showed both votes, and block {doubling.recorded_in} burned {burned} tokens at stake"
    return f"{doubling.member} voted for two blocks in one view: {told}"
