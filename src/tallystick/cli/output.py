"""Printing for people or as JSON, exit codes, and errors in one line."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, Final

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tallystick.host.control import NotRunning
from tallystick.host.errors import DamagedStore, HostError
from tallystick.ledger.errors import Refused


class ExitCode(IntEnum):
    """What the process ends with; every command's help names them."""

    OK = 0
    FAILED = 1
    """Something does not verify, was refused, or is not there; the ledger does not advance."""
    BAD_INPUT = 2
    """Wrong usage, or a file that cannot be used."""
    NOT_RUNNING = 3
    """No node runs in the data folder."""
    NOT_FINAL = 4
    """The time was up before a certificate was final."""
    STOPPED = 130
    """By Ctrl-C, as shells have it."""


_EXIT_CODES: Final = (
    "Exit codes: 0 all is well, 1 it does not verify, was refused or is not there, 2 wrong usage or unusable file, "
    "3 no node runs here, 4 not final when the time was up, 130 stopped by Ctrl-C."
)

DEFAULT_CHAIN: Final = "tallystick-demo.db"
"""Where `demo` keeps its chain, and where `show` and `verify` look for one."""

_PAGE_WIDTH: Final = 100


def help_text(*paragraphs: str) -> str:
    """A command's help, the exit codes last."""
    return "\n\n".join((*paragraphs, _EXIT_CODES))


def make_console() -> Console:
    """Standard output. Into a pipe or a file it is as wide as a good page, whatever the terminal's width."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=_PAGE_WIDTH)


def marked(mark: str, what: str, said: str = "") -> Text:
    """A line that says what became of something: ✓, ×, or a mark in between."""
    style = {"✓": "bold green", "×": "bold red"}.get(mark, "bold yellow")
    return Text.assemble((f"{mark} ", style), (what, "bold"), said)


def is_narrow(console: Console) -> bool:
    """Whether bars and hashes have to give way to what a table is about."""
    return console.width < _PAGE_WIDTH - 4


def make_table() -> Table:
    """The one look of all tables."""
    return Table(box=SIMPLE_HEAD, pad_edge=False)


def share_bar(part: int, whole: int, style: str, width: int) -> Text:
    """How much of the whole a part is, as a bar (of `width` 0: without one) and in per cent."""
    filled = round(width * part / whole) if whole else 0
    bar = Text("█" * filled, style=style).append("░" * (width - filled), style="dim")
    return bar.append(f" {100 * part / whole if whole else 0:>3.0f} %")


def print_json(value: Any) -> None:
    """One JSON object, the same bytes for the same value."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def fail(message: str, code: ExitCode) -> typer.Exit:
    """Print an error and return what to raise."""
    printable = "".join(char if char.isprintable() else "?" for char in message)  # names of files may hold anything
    _aside().print(f"[bold red]error:[/] {escape(printable)}")
    return typer.Exit(code)


def warn(message: str) -> None:
    """Print a warning on standard error."""
    _aside().print(f"[bold yellow]warning:[/] {escape(message)}")


def hint(message: str) -> None:
    """Print what to do next, on standard error: standard output stays fit for the next command in a pipe."""
    _aside().print(Text(message, style="dim"))


def _aside() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def errors_explained() -> Iterator[None]:
    """Turn what stands in the way into a line on standard error and an exit code: no tracebacks for people."""
    try:
        yield
    except DamagedStore as error:
        raise fail(str(error), ExitCode.FAILED) from None
    except NotRunning as error:
        raise fail(str(error), ExitCode.NOT_RUNNING) from None
    except (HostError, Refused) as error:
        raise fail(str(error), ExitCode.BAD_INPUT) from None
    except BrokenPipeError:
        raise  # whoever was reading has had enough
    except OSError as error:
        raise fail(str(error), ExitCode.BAD_INPUT) from None
    except KeyboardInterrupt:
        raise fail("stopped", ExitCode.STOPPED) from None
