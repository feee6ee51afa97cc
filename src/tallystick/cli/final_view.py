"""What the demo came to, for people: the chain, the forgers, the refusals, the nodes and the files."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule as Line
from rich.table import Table
from rich.text import Text

from tallystick.cli.account import Account, BlockLine, FileLine
from tallystick.cli.output import DEFAULT_CHAIN, make_table
from tallystick.cli.words import many, seconds

_BAR_WIDTH = 20


def show_account(console: Console, account: Account, chain: Path) -> None:
    """Print the whole account."""
    for title, body in (
        (f"The chain: {many(len(account.blocks), 'block')} after the genesis block", _chain(account)),
        ("Who forged what", _forgers(account)),
        ("What was refused, and by which rule", _refused(account)),
        (f"{len(account.nodes)} nodes", _nodes(account)),
        ("The files, against the chain as read back from its SQLite file", _files(account)),
    ):
        console.print(Line(Text(title, style="bold"), align="left", style="dim", characters="─"))
        console.print(Padding(body, (0, 0, 0, 1)))
    _verdicts(console, account, chain)


def _chain(account: Account) -> Table:
    table = make_table()
    table.add_column("#", justify="right")
    table.add_column("Time", justify="right", no_wrap=True)
    table.add_column("Hash", no_wrap=True, style="cyan")
    table.add_column("Forged by", no_wrap=True, style="green")
    table.add_column("Certificates")
    for block in account.blocks:
        time = seconds(block.timestamp_ms - account.created_ms)
        table.add_row(str(block.index), time, block.hash[:8] + "…", block.forger, _certificates(block))
    return table


def _certificates(block: BlockLine) -> Text:
    text = Text()
    for place, certificate in enumerate(block.certificates):
        text.append(" · " if place else "", style="dim")
        text.append(f"{certificate.issuer}: ", style="dim").append(certificate.says)
    return text


def _forgers(account: Account) -> Table:
    table = make_table()
    table.add_column("Forger", no_wrap=True)
    table.add_column("Stake at the end", justify="right")
    table.add_column("Share of the stake", no_wrap=True)
    table.add_column("Blocks", justify="right")
    table.add_column("Share of the blocks", no_wrap=True)
    staked = sum(member.staked for member in account.members)
    blocks = len(account.blocks)
    for member in account.members:
        if member.staked or member.blocks_forged:
            stake_share, block_share = (
                _bar(member.staked, staked, "yellow"),
                _bar(member.blocks_forged, blocks, "green"),
            )
            table.add_row(member.name, str(member.staked), stake_share, str(member.blocks_forged), block_share)
    return table


def _bar(part: int, whole: int, style: str) -> Text:
    filled = round(_BAR_WIDTH * part / whole) if whole else 0
    bar = Text("█" * filled, style=style).append("░" * (_BAR_WIDTH - filled), style="dim")
    return bar.append(f" {100 * part / whole if whole else 0:>3.0f} %")


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
        table.add_row(file.checked.name, file.checked.sha256[:12] + "…", _as_it_is(file), _changed(file))
    return table


def _as_it_is(file: FileLine) -> Text:
    if not file.verifies:
        return Text("× no certificate covers it", style="red")
    first = file.checked.certificates[0]
    return Text.assemble(("✓ verifies", "green"), f": certified by {first.issuer} in block {first.block_index}")


def _changed(file: FileLine) -> Text:
    if file.fails_with_one_byte_changed:
        return Text.assemble(("✓ fails", "green"), ", as it should")
    return Text("× still verifies", style="red")


def _verdicts(console: Console, account: Account, chain: Path) -> None:
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
        (
            account.all_files_verify,
            f"{verified} of {many(len(account.files), 'file')} verified, and failed when changed",
        ),
    )
    for is_good, verdict in verdicts:
        console.print(Text("✓ " if is_good else "× ", style="bold green" if is_good else "bold red").append(verdict))
    facts = f"  {seconds(account.virtual_ms)} of the nodes' time. "
    facts += f"Repeatable: tallystick demo --simulated --seed {account.seed}"
    console.print(Text(facts, style="dim"), soft_wrap=True)
    name = shlex.quote(account.files[0].checked.name)
    option = "" if chain == Path(DEFAULT_CHAIN) else f" --chain {shlex.quote(str(chain))}"
    console.print(
        Text.assemble(
            "\nThe chain is kept in ",
            (str(chain), "bold"),
            ". Look into it:\n  ",
            (f"tallystick show{option}\n  tallystick show block 1{option}\n", "bold"),
            (f"  tallystick verify {name}{option}", "bold"),
        ),
        soft_wrap=True,
    )
