"""Printing for people or as JSON, exit codes, and errors in one line."""

import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import TracebackType
from typing import Any, Final, Self

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.status import Status
from rich.style import Style
from rich.table import Table
from rich.text import Text as RichText
from typer.core import TyperGroup

from tallystick.host.control import NotRunning
from tallystick.host.text import escape_invisible, printable, shortened, to_json
from tallystick.ledger.errors import Refused
from tallystick.problems import DamagedStore, HostError


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
_ClickException: Any = typer.BadParameter.__mro__[2]
"""Of the Click that Typer brings along, under whichever name."""


def help_text(*paragraphs: str, exit_codes: str = _EXIT_CODES) -> str:
    """A command's help, the exit codes last."""
    return "\n\n".join((*paragraphs, exit_codes))


class Terminal(Console):
    """A console that shows strings as they are: no markup, no emoji codes, nothing invisible."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> RichText:
        """Every string that is printed, or stands in a table, passes here."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything that is printed passes here: the last net, for text that others put together."""
        for segment in super().render(renderable, options):
            lines = segment.text.split("\n")
            yield segment if segment.control else segment._replace(text="\n".join(map(escape_invisible, lines)))

    def status(self, status: RenderableType, **options: Any) -> Status:
        """A sign of life while something lasts; a string in it is no markup either."""
        return super().status(Text(status) if isinstance(status, str) else status, **options)


class Text(RichText):
    """Styled text, printable from the start: it is laid out as it is shown. It is one line; further ones are others."""

    def __init__(self, text: str = "", style: str | Style = "", **layout: Any) -> None:
        super().__init__(printable(text), style, **layout)

    def append(self, text: RichText | str, style: str | Style | None = None) -> Self:
        """See Rich."""
        super().append(printable(text) if isinstance(text, str) else text, style)
        return self

    @classmethod
    def assemble(cls, *parts: RichText | str | tuple[str, str | Style], **layout: Any) -> Self:
        """See Rich."""
        text = cls(**layout)
        for part in parts:
            text.append(*(part if isinstance(part, tuple) else (part,)))
        return text


def make_console() -> Terminal:
    """Standard output. Into a pipe or a file it is as wide as a good page, whatever the terminal's width."""
    return Terminal() if sys.stdout.isatty() else Terminal(width=_PAGE_WIDTH)


def make_side_console() -> Terminal:
    """Standard error, for what is said to people beside the command's result: lines as long as they are."""
    return Terminal(stderr=True, soft_wrap=True)


def marked(mark: str, what: str, said: str = "") -> Text:
    """A line that says what became of something: ✓, ×, or a mark in between."""
    style = {"✓": "bold green", "×": "bold red"}.get(mark, "bold yellow")
    return Text.assemble((f"{mark} ", style), (what, "bold"), said)


def is_narrow(console: Terminal) -> bool:
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
    sys.stdout.write(to_json(value, indent=2) + "\n")


def print_line(line: str) -> None:
    """What the next command in a pipe reads: this line, and nothing else."""
    sys.stdout.write(printable(line) + "\n")


def ask_secret(question: str, is_new: bool) -> str:
    """Ask at the terminal, on standard error, without showing the answer; for a new one twice."""
    answer: str = typer.prompt(printable(question), hide_input=True, confirmation_prompt=is_new, err=True)
    return answer


def fail(message: str, code: ExitCode) -> typer.Exit:
    """Print an error and return what to raise."""
    _say("error: ", "bold red", message)
    return typer.Exit(code)


def warn(message: str) -> None:
    """Print a warning on standard error."""
    _say("warning: ", "bold yellow", message)


def hint(message: str) -> None:
    """Print what to do next, on standard error: standard output stays fit for the next command in a pipe."""
    make_side_console().print(Text(message, style="dim"))


def _say(what: str, style: str, message: str) -> None:
    make_side_console().print(Text.assemble((what, style), shortened(message)))


class Commands(TyperGroup):
    """A group of commands whose usage errors quote arguments in printable form."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """See Click."""
        with _usage_printable():
            return super().make_context(*args, **options)

    def invoke(self, *args: Any, **options: Any) -> Any:
        """See Click."""
        with _usage_printable():
            return super().invoke(*args, **options)


@contextmanager
def _usage_printable() -> Iterator[None]:
    try:
        yield
    except _ClickException as error:
        error.message = printable(shortened(error.message))
        raise


def show_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a fault in this program: what `sys.excepthook` is to be."""
    for line in "".join(traceback.format_exception(kind, error, trace)).rstrip("\n").split("\n"):
        sys.stderr.write(printable(line) + "\n")


@contextmanager
def error_boundary() -> Iterator[None]:
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
