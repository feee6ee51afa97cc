"""Printing for people or as JSON, exit codes, and errors in one line."""

import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

import typer
from msgspec import to_builtins
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.status import Status
from rich.style import Style
from rich.table import Table
from rich.text import Text as RichText

from tallystick.api.problem_view import problem_view
from tallystick.host.text import escape_invisible, printable, shortened, to_json
from tallystick.ledger.errors import Refused
from tallystick.problems import BadRequest, ExitCode, Problem

_EXIT_CODES: Final = (
    "Exit codes: 0 all is well, 1 it does not verify or the ledger does not advance, 2 wrong usage or unusable file, "
    "3 no node runs there, 4 not in time, 5 not there, 6 refused by a rule, 7 damaged, 130 stopped by Ctrl-C."
)

DEFAULT_CHAIN: Final = "tallystick-demo.db"
"""Where `demo` keeps its chain, and where `show` and `verify` look for one."""

_PAGE_WIDTH: Final = 100
_PATIENCE_SECONDS: Final = 1.0
_is_json = False
"""Whether what goes wrong is to be told as JSON."""
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


def confirm(question: str) -> None:
    """Go on only if the user says so at the terminal. Raises `Problem`."""
    if not sys.stdin.isatty():
        raise Problem(f"{question} Say so with --yes")
    if not typer.confirm(printable(question), err=True):
        raise Problem("nothing was changed")


def fail(message: str, code: ExitCode) -> typer.Exit:
    """Print an error and return what to raise."""
    problem = Problem(message)
    problem.exit_code = code  # type: ignore[misc]  # of this one
    return _failed(problem)


def _failed(problem: Problem) -> typer.Exit:
    if _is_json:
        print_json(to_builtins(problem_view(problem)))
    else:
        _say("error: ", "bold red", str(problem))
    return typer.Exit(problem.exit_code)


def warn(message: str) -> None:
    """Print a warning on standard error."""
    _say("warning: ", "bold yellow", message)


def hint(message: str) -> None:
    """Print what to do next, on standard error: standard output stays fit for the next command in a pipe."""
    make_side_console().print(Text(message, style="dim"))


def _say(what: str, style: str, message: str) -> None:
    make_side_console().print(Text.assemble((what, style), shortened(message)))


@contextmanager
def usage_told(*, as_json: bool) -> Iterator[None]:
    """Tell what is wrong with a command's usage in printable form, and under `--json` as JSON, as all problems."""
    global _is_json  # noqa: PLW0603  # a process is one command
    _is_json = as_json
    try:
        yield
    except _ClickException as error:
        if not error.format_message():  # a group without a command: its help was shown
            raise SystemExit(ExitCode.USAGE) from None
        context = getattr(error, "ctx", None)
        if context is not None and not as_json:
            make_side_console().print(Text(context.get_usage().replace("\n", " ")))
            hint(f"try: {context.command_path} --help")
        raise SystemExit(_failed(BadRequest(shortened(error.format_message()))).exit_code) from None
    except typer.Abort:
        raise SystemExit(ExitCode.STOPPED) from None


def show_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a fault in this program: what `sys.excepthook` is to be."""
    for line in "".join(traceback.format_exception(kind, error, trace)).rstrip("\n").split("\n"):
        sys.stderr.write(printable(line) + "\n")


@contextmanager
def error_boundary() -> Iterator[None]:
    """Turn what stands in the way into a line on standard error and an exit code: no tracebacks for people."""
    try:
        yield
    except Problem as error:
        raise _failed(error) from None
    except Refused as refused:
        raise fail(str(refused), ExitCode.USAGE) from None
    except BrokenPipeError:
        raise  # whoever was reading has had enough
    except OSError as error:
        raise fail(str(error), ExitCode.USAGE) from None
    except KeyboardInterrupt:
        raise fail("stopped", ExitCode.STOPPED) from None


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], object]]:
    """Gives what is to be told how many are done. After a second, a bar on standard error shows it to people."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415  # only at a terminal

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn())
    begun_s = time.monotonic()
    with Progress(*columns, console=Terminal(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total, visible=False)

        def on_done(done: int) -> None:
            progress.update(task, completed=done, visible=time.monotonic() - begun_s > _PATIENCE_SECONDS)

        yield on_done
