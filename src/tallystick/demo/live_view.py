"""The demo while it runs: a table of the nodes that changes in place; without a terminal, line after line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table

from tallystick.cli.output import Terminal, Text, make_table
from tallystick.cli.words import seconds
from tallystick.demo.recorder import StoryEvent
from tallystick.demo.simulation import Simulation
from tallystick.node.node import Node

STYLES: Final = {"honest": "default", "block": "green", "refused": "red", "trouble": "yellow", "network": "cyan"}
_MARKS: Final = {"honest": "+", "block": "■", "refused": "×", "trouble": "!", "network": ">"}
_MEMBER_STYLES: Final = ("green", "cyan", "magenta", "blue")
_STAKE_WIDTH: Final = 48
_BOX_WIDTH: Final = 5
_NOT_YET: Final = "later"
_LINES_AROUND: Final = 13
"""Lines of the live view besides the nodes and the story."""
_FEWEST_STORY_LINES: Final = 4
_MOST_STORY_LINES: Final = 10


class Watcher(Protocol):
    """Whoever looks on."""

    def look(self) -> None:
        """A frame of virtual time has passed."""


class Silent:
    """Looks away."""

    def look(self) -> None:
        """See `Watcher`."""


class LineByLine:
    """Prints what happens as it happens."""

    def __init__(self, console: Terminal, simulation: Simulation) -> None:
        self._console = console
        self._simulation = simulation
        self._printed = 0

    def look(self) -> None:
        """See `Watcher`."""
        events = self._simulation.story.events
        for event in events[self._printed :]:
            self._console.print(story_line(event), soft_wrap=True)
        self._printed = len(events)


class LiveView:
    """Redraws the nodes and the latest of the story."""

    def __init__(self, live: Live, simulation: Simulation) -> None:
        self._live = live
        self._simulation = simulation

    def look(self) -> None:
        """See `Watcher`."""
        self._live.update(_dashboard(self._simulation, self._live.console.height), refresh=True)


@contextmanager
def watching(console: Terminal, simulation: Simulation) -> Iterator[Watcher]:
    """A live view on a terminal, line by line elsewhere."""
    if not (sys.stdout.isatty() and console.is_interactive):
        yield LineByLine(console, simulation)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield LiveView(live, simulation)


def _dashboard(simulation: Simulation, height: int) -> RenderableType:
    rows = len(simulation.runners)
    most_rows = max(3, height - _LINES_AROUND - _FEWEST_STORY_LINES)
    shown = min(rows, most_rows)
    story_lines = min(_MOST_STORY_LINES, max(_FEWEST_STORY_LINES, height - _LINES_AROUND - shown))
    nodes, story = _nodes(simulation, shown), _story(simulation, story_lines)
    parts = (_header(simulation), "", _quorum(simulation), "", nodes, "", story)
    return Padding(Group(*parts), (1, 0, 0, 0))


def _header(simulation: Simulation) -> RenderableType:
    title = Text(simulation.scene.title, style="bold")
    progress = Table.grid(padding=(0, 2), expand=False)
    bar = ProgressBar(total=simulation.act_count, completed=simulation.acts_done, width=60, complete_style="green")
    clock = Text(f"{seconds(simulation.elapsed_ms)} of the nodes' time", style="dim")
    progress.add_row(bar, clock)
    return Group(title, progress)


def _quorum(simulation: Simulation) -> RenderableType:
    """The epoch's stake, member by member: solid where votes can come from, up to the mark where they suffice."""
    _, agreement = simulation.foremost
    epoch, view = agreement.epoch, agreement.view
    within_reach = simulation.within_reach()
    bar, laid, reached = Text(), 0, 0
    for place, (member, stake) in enumerate(epoch.members):
        name = simulation.name_of(member)
        width = _STAKE_WIDTH * (laid + stake) // epoch.total - _STAKE_WIDTH * laid // epoch.total
        label = (name if len(name) < width else "").center(width - 1) + "│" * (width > 0)
        laid += stake
        if name in within_reach:
            reached += stake
            bar.append(label, style=f"black on {_MEMBER_STYLES[place % len(_MEMBER_STYLES)]}")
        else:
            bar.append(label.replace(" ", "░"), style="red")
    needed = 2 * epoch.total // 3 + 1
    style = "dim" if epoch.is_quorum(reached) else "bold red"
    bar.append(f"  {reached} of {epoch.total} can vote", style=style)
    mark = " " * (_STAKE_WIDTH * needed // epoch.total) + f"▲ {needed} make a block final"
    where = f"Epoch {epoch.number}, view {view}: {simulation.name_of(agreement.views.leader(view))} is drawn to forge"
    return Group(Text(where), bar, Text(mark, style="dim"))


def _nodes(simulation: Simulation, shown: int) -> RenderableType:
    table = make_table()
    table.show_edge = False
    table.add_column("Node", no_wrap=True)
    table.add_column("Forges as", no_wrap=True, min_width=len(_NOT_YET))
    table.add_column("Stake", justify="right")
    table.add_column("View", justify="right", min_width=4)
    table.add_column("Tip", justify="right", min_width=3)
    table.add_column("Tip hash", no_wrap=True)
    table.add_column("Box", no_wrap=True, min_width=_BOX_WIDTH)
    table.add_column("Forged", justify="right")
    table.add_column("Refused", justify="right")
    running = dict(simulation.nodes())
    parting = simulation.story.parting
    last_of_side = parting.sides[0][-1] if parting and parting.healed_ms is None else None
    highest = max(node.state.index for node in running.values())
    for name in list(simulation.runners)[:shown]:
        if name in running:
            table.add_row(*_node_cells(simulation, name, running[name], highest), end_section=name == last_of_side)
        else:
            table.add_row(name, Text(_NOT_YET, style="dim"))
    left_out = len(simulation.runners) - shown
    return Group(table, Text(f"  … and {left_out} more", style="dim")) if left_out else table


def _node_cells(simulation: Simulation, name: str, node: Node, highest: int) -> list[RenderableType]:
    runner = simulation.runners[name]
    is_behind = node.state.index < highest
    forged, refused = simulation.story.forged[name], simulation.story.refused[name]
    cells: list[RenderableType] = [
        Text(name),
        Text(runner) if runner != name else Text("itself", style="dim"),
        str(node.state.stakes.account(simulation.wallets[runner].public_key).staked),
        str(simulation.agreements[name].view),
        Text(str(node.state.index), style="yellow" if is_behind else "green"),
        Text(node.state.tip.hash.hex()[:8] + "…", style="dim" if is_behind else "cyan"),
        _box(len(node.box)),
        Text(str(forged or "·"), style="green" if forged else "dim"),
        Text(str(refused or "·"), style="red" if refused else "dim"),
    ]
    if not simulation.is_up(name):
        cells[3], cells[6] = Text("–", style="red"), Text("down", style="bold red")
    return cells


def _box(waiting: int) -> Text:
    filled = min(waiting, _BOX_WIDTH)
    bar = Text("■" * filled, style="yellow").append("□" * (_BOX_WIDTH - filled), style="dim")
    return bar.append(f" +{waiting - filled}" if waiting > filled else "")


def _story(simulation: Simulation, lines: int) -> RenderableType:
    latest = simulation.story.events[-lines:]
    blank = [Text("")] * (lines - len(latest))
    return Group(*(story_line(event) for event in latest), *blank)


def story_line(event: StoryEvent) -> Text:
    """What happened, and when."""
    line = Text(f"{seconds(event.time_ms):>7}  ", style="dim", no_wrap=True, overflow="ellipsis")
    style = STYLES[event.kind]
    return line.append(f"{_MARKS[event.kind]} {event.text}", style=f"not dim {style}")
