"""Pictures of what the demo came to: who forged when, and the chain with its epochs, views and votes."""

from typing import Final

from rich.console import Group
from rich.table import Table

from tallystick.cli.output import Text, make_table, share_bar
from tallystick.cli.words import names_of, seconds
from tallystick.demo.account import Account, BlockLine, EpochLine
from tallystick.demo.recorder import AT_ONCE_MS, Nullified

_MOST_ROWS: Final = 12
_VOTES_WIDTH: Final = 6
_TICK_MS: Final = 5_000


def timeline(account: Account, width: int) -> Group:
    """A row for each node (and for the member without one), a column for each stretch of time."""
    label_width = max(len(_label(node.name, node.forges_as)) for node in account.nodes) + 2
    columns = max(20, width - label_width)
    rows = [_Row(node.name, node.forges_as, account, columns) for node in account.nodes[:_MOST_ROWS]]
    if account.doubling:
        rows.append(_Row("", account.doubling.member, account, columns))
    picture = [Text(" " * label_width).append(_scale(account.virtual_ms, columns), style="dim")]
    for row in rows:
        picture.append(Text(f"{_label(row.node, row.member):<{label_width}}").append(row.drawn))
    if len(account.nodes) > _MOST_ROWS:
        picture.append(Text(f"… and {len(account.nodes) - _MOST_ROWS} more nodes", style="dim"))
    legend = (("■", "green"), " forged   ", ("×", "red"), " drawn in vain   ", ("╌", "yellow"), " parted   ")
    return Group(*picture, Text.assemble(" " * label_width, *legend, ("!", "bold red"), " signed twice"))


class _Row:
    """One node's line of the picture."""

    def __init__(self, node: str, member: str, account: Account, columns: int) -> None:
        self.node, self.member = node, member
        self._columns, self._until_ms = columns, max(1, account.virtual_ms)
        self._cells: list[tuple[str, str]] = [(" ", "")] * columns
        self._draw(account)

    @property
    def drawn(self) -> Text:
        """The line."""
        return Text.assemble(*self._cells)

    def _draw(self, account: Account) -> None:
        killing, parting = account.killing, account.parting
        if self.node:
            joined_ms = next((node.joined_ms for node in account.nodes if node.name == self.node), 0)
            self._fill(joined_ms, self._until_ms, "─", "dim")
            if parting and joined_ms < parting.parted_ms:
                self._fill(parting.parted_ms, parting.healed_ms or self._until_ms, "╌", "yellow")
            if killing and killing.node == self.node:
                self._fill(killing.killed_ms, killing.restarted_ms or self._until_ms, " ", "")
        for epoch in account.epochs:
            for one in epoch.nullified:
                if one.drawn == self.member:
                    self._mark(one.time_ms, "×", "red")
        for block in account.blocks:
            if block.forger == self.member:
                self._mark(block.timestamp_ms - account.created_ms, "■", "green")
        if account.doubling and account.doubling.member == self.member:
            self._mark(account.doubling.signed_ms, "!", "bold red")

    def _column(self, time_ms: int) -> int:
        return min(self._columns - 1, time_ms * self._columns // self._until_ms)

    def _fill(self, from_ms: int, until_ms: int, sign: str, style: str) -> None:
        for column in range(self._column(from_ms), self._column(until_ms) + 1):
            self._cells[column] = (sign, style)

    def _mark(self, time_ms: int, sign: str, style: str) -> None:
        self._cells[self._column(time_ms)] = (sign, style)


def _label(node: str, member: str) -> str:
    return f"{node} {member}" if node and node != member else member


def _scale(until_ms: int, columns: int) -> str:
    scale = ""
    for time_ms in range(0, until_ms, _TICK_MS):
        tick = f"{time_ms // 1000} s"
        column = time_ms * columns // until_ms
        if len(scale) <= column <= columns - len(tick):
            scale = scale.ljust(column) + tick
    return scale


def chain_table(account: Account, narrow: bool) -> Table:
    """The chain: each epoch with what counts in it, its blocks, and its views that came to nothing."""
    table = make_table()
    table.add_column("#", justify="right")
    table.add_column("View", justify="right")
    table.add_column("Time", justify="right", no_wrap=True)
    if not narrow:
        table.add_column("Hash", no_wrap=True, style="cyan")
    table.add_column("Forged by", no_wrap=True, style="green")
    table.add_column("Final by", no_wrap=True)
    table.add_column("Certificates")
    for epoch in account.epochs:
        table.add_row(*[""] * (4 if narrow else 5), Text(f"Epoch {epoch.number}", style="bold"), _stakes(epoch))
        blocks = account.blocks[epoch.first_block - 1 : epoch.last_block]
        rows: list[BlockLine | Nullified] = [*blocks, *epoch.nullified]
        for row in sorted(rows, key=lambda one: one.view):
            if isinstance(row, BlockLine):
                time = seconds(row.timestamp_ms - account.created_ms)
                place = [str(row.index), str(row.view), time, *([] if narrow else [row.hash[:8] + "…"]), row.forger]
                table.add_row(*place, _final_by(row, 0 if narrow else _VOTES_WIDTH), _certificates(row))
            else:
                _add_nullified(table, row, narrow)
        table.add_section()
    return table


def _stakes(epoch: EpochLine) -> Text:
    shares = [f"{share.member} {share.stake}" for share in epoch.members]
    return Text(f"{epoch.total_stake} at stake: {names_of(shares, most=8)}", style="dim")


def _add_nullified(table: Table, nullified: Nullified, narrow: bool) -> None:
    lasted_ms = nullified.lasted_ms
    why = f"nothing came of it in {seconds(lasted_ms)}" if lasted_ms >= AT_ONCE_MS else "nothing was waited for"
    place = ["", str(nullified.view), seconds(nullified.time_ms), *([] if narrow else ["×"]), nullified.drawn]
    table.add_row(*(Text(cell, style="yellow") for cell in (*place, "nullified", why)))


def _final_by(block: BlockLine, bar_width: int) -> Text:
    if block.final_by != block.index:
        return Text(f"with {block.final_by}", style="dim")
    return share_bar(block.voted_stake, block.total_stake, "cyan", bar_width)


def _certificates(block: BlockLine) -> Text:
    text = Text()
    for place, certificate in enumerate(block.certificates):
        text.append(" · " if place else "", style="dim")
        style = "bold red" if certificate.kind == "evidence" else ""
        text.append(f"{certificate.issuer}: ", style="dim").append(certificate.says, style=style)
    return text
