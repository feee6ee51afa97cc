"""What the demo with real processes came to, for people."""

from collections.abc import Sequence
from pathlib import Path

from rich.padding import Padding
from rich.rule import Rule as Line
from rich.table import Table

from tallystick.cli.output import Terminal, Text, make_table
from tallystick.cli.words import many, seconds
from tallystick.demo.kept_chain import show_kept, show_verdicts
from tallystick.demo.real_account import NodeLine, RealAccount


def show_real(console: Terminal, account: RealAccount, chain: Path) -> None:
    """Print the whole account."""
    console.print(Line(Text(f"{len(account.nodes)} nodes", style="bold"), align="left", style="dim", characters="─"))
    console.print(Padding(_nodes(account.nodes), (0, 0, 0, 1)))
    show_verdicts(console, _verdicts(account))
    times = sorted(one.took_ms for one in account.certified)
    facts = f"  {many(len(times), 'certificate')}, final after {times[len(times) // 2]:.0f} ms (median); "
    console.print(Text(f"{facts}all of it took {seconds(account.took_ms)}", style="dim"), soft_wrap=True)
    show_kept(console, chain, account.files[0].name)


def _nodes(nodes: Sequence[NodeLine]) -> Table:
    table = make_table()
    table.add_column("Node", no_wrap=True)
    table.add_column("Key", no_wrap=True, style="cyan")
    table.add_column("At stake", justify="right")
    table.add_column("Tip", justify="right")
    table.add_column("Tip hash", no_wrap=True, style="cyan")
    table.add_column("Certificates", justify="right")
    table.add_column("Ended with", justify="right")
    for node in nodes:
        table.add_row(
            node.name,
            node.public_key[:12] + "…",
            str(node.stake) if node.stake else Text("observes", style="dim"),
            str(node.tip_index),
            node.tip_hash[:12] + "…",
            str(node.certificates),
            str(node.exit_code),
        )
    return table


def _verdicts(account: RealAccount) -> list[tuple[bool, str]]:
    killing, joining, count = account.killing, account.joining, len(account.nodes)
    last = account.nodes[0]
    verified = sum(1 for one in account.files if len(one.verified_by) == len(one.failed_when_changed_by) == count)
    agreed = f"All {count} nodes agree: block {last.tip_index}, {last.tip_hash[:16]}…"
    went_on = f"Without {killing.node}, killed at block {killing.killed_at_index}, the others went on to block"
    caught_up = f"{killing.node} came back with block {killing.kept_index}, and had block {killing.caught_up_index}"
    joined = f"{joining.node} joined with one line of text, and had block {joining.caught_up_index}"
    files = f"{verified} of {many(len(account.files), 'file')} verified at every node, and failed when changed"
    ended = f"All {count} processes ended when they were asked to"
    return [
        (account.nodes_agree, agreed if account.nodes_agree else f"The {count} nodes do not agree"),
        (account.went_on_without_the_killed, f"{went_on} {killing.went_on_to_index}"),
        (account.the_killed_caught_up, f"{caught_up} {seconds(killing.caught_up_ms)} later"),
        (account.the_invited_caught_up, f"{joined} {seconds(joining.caught_up_ms)} later"),
        (account.all_files_verify, files),
        (account.all_ended_well, ended if account.all_ended_well else "A process had to be killed, or ended badly"),
    ]
