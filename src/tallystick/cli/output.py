"""Everything that is printed: a command's result, for people or as JSON, and in one line what is in the way."""

import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

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
from tallystick.problems import BadRequest, ExitCode, Problem, RefusedInput

DEFAULT_CHAIN: Final = "tallystick-demo.db"
"""Where `demo` keeps its chain, and where commands that read one look for it."""

MOST_LINES: Final = 40
"""Of a long list people are told so many; `--json` tells all."""
_PAGE_WIDTH: Final = 100
_BAR_WIDTH: Final = 8
_PATIENCE_SECONDS: Final = 1.0
_NUMBERS: Final = ("#", "Epoch", "View", "Certificates", "At stake", "Unbonding", "Free", "Votes with", "Tip")
_WHOLE: Final = (
    "Certificate",
    "Kind",
    "Hash",
    "Time (UTC)",
    "Share",
    "Folder",
    "Address",
    "Key",
    "Ledger id",
    "Newest block",
)
_ClickException: Any = typer.BadParameter.__mro__[2]
"""Of the Click that Typer brings along, under whichever name."""

_is_json = False
"""Whether this process tells its result, and what goes wrong, as JSON, with nothing beside it on standard output.

Warnings and signs of life go to standard error all the same; nothing is asked.
"""

T = TypeVar("T")


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
        """See Rich, whose `assemble` appends, too."""
        super().append(printable(text) if isinstance(text, str) else text, style)
        return self


def make_console() -> Terminal:
    """Standard output. Into a pipe or a file it is as wide as a good page, whatever the terminal's width."""
    return Terminal() if sys.stdout.isatty() else Terminal(width=_PAGE_WIDTH)


def busy(what: str) -> Status:
    """A sign of life on standard error while something lasts."""
    return Terminal(stderr=True).status(what)


# ---- the result: either as JSON or for people -------------------------------------------------------------------


def speak_json(is_asked: bool) -> bool:
    """From here on the result is told as JSON, or not."""
    global _is_json  # noqa: PLW0603  # a process is one command
    _is_json = is_asked
    return is_asked


def is_json() -> bool:
    """Whether it is told as JSON."""
    return _is_json


def give(view: Any) -> None:
    """The result of a command: all that is printed under `--json`, and only then. What follows is for people."""
    if _is_json:
        sys.stdout.write(to_json(to_builtins(view), indent=2) + "\n")


def print_line(line: str) -> None:
    """What the next command in a pipe reads: this line, and nothing else."""
    if not _is_json:
        sys.stdout.write(printable(line) + "\n")


def say(what: RenderableType, *, soft_wrap: bool = True) -> None:
    """A part of the result for people; a line may be as long as it is."""
    if not _is_json:
        make_console().print(what, soft_wrap=soft_wrap)


def say_how_to_find_it() -> None:
    """Tell how the shell finds this command by its name, where it does not: in a `.venv` that is not activated."""
    called = Path(sys.argv[0])
    if called.name == "tallystick" and shutil.which(called.name) is None:
        say("Where the shell does not find tallystick:")
        say(Text(f'  export PATH={shlex.quote(str(called.parent.absolute()))}:"$PATH"', style="bold"))


def say_heading(title: str, more: str = "") -> None:
    """What is shown, and something about it."""
    say(Text(title, style="bold").append(f"  {more}", style="not bold dim"))


def field(label: str, text: str, style: str = "dim") -> Text:
    """A line that says what something is."""
    return Text(f"  {label:<13}", style=style).append(text, style="not dim")


def say_fields(told: Mapping[str, str]) -> None:
    """A line for each field that says something."""
    for label, text in told.items():
        if text:
            say(field(label, text))


Columns: TypeAlias = Mapping[str, Callable[[T], str | Text]]
"""What a table shows of each row, by title."""


def say_table(rows: Sequence[T], columns: Columns[T], left_out: Collection[str] = ()) -> None:
    """A table, unless it has no rows; `left_out` are the columns that a narrow terminal goes without."""
    shown = {title: cell for title, cell in columns.items() if title not in left_out or not _is_narrow()}
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in shown:
        table.add_column(title, justify="right" if title in _NUMBERS else "left", no_wrap=title in _WHOLE)
    for row in rows:
        table.add_row(*(cell(row) for cell in shown.values()))
    if rows:
        say(table, soft_wrap=False)


def _is_narrow() -> bool:
    """Whether bars and hashes have to give way to what a table is about."""
    return make_console().width < _PAGE_WIDTH - 4


def number(count: int) -> Text:
    """A count in a table; 0 stands back."""
    return Text(f"{count:,}" if count else "·", "" if count else "dim", justify="right")


def share_bar(part: int, whole: int, style: str, width: int | None = None) -> Text:
    """How much of the whole a part is: as a bar (`width` 0: without one; `None`: if there is room) and in per cent."""
    if width is None:
        width = 0 if _is_narrow() else _BAR_WIDTH
    filled = round(width * part / whole) if whole else 0
    bar = Text("█" * filled, style=style).append("░" * (width - filled), style="dim")
    return bar.append(f" {100 * part / whole if whole else 0:>3.0f} %")


def marked(mark: str, what: str, said: str = "") -> RichText:
    """A line that says what became of something: ✓, ×, or a mark in between."""
    style = {"✓": "bold green", "×": "bold red"}.get(mark, "bold yellow")
    return Text.assemble((f"{mark} ", style), (what, "bold"), said)


# ---- beside the result, on standard error -----------------------------------------------------------------------


def hint(message: str) -> None:
    """Tell people what to do next: standard output stays fit for the next command in a pipe."""
    if not _is_json:
        note(Text(message, style="dim"))


def warn(message: str) -> None:
    """Tell of a danger."""
    note(Text.assemble(("warning: ", "bold yellow"), shortened(message)))


def note(line: RichText) -> None:
    """Print a line on standard error, as long as it is."""
    Terminal(stderr=True).print(line, soft_wrap=True)


def can_ask() -> bool:
    """Whether somebody is at the terminal, and not a program that reads JSON."""
    return sys.stdin.isatty() and not _is_json


def ask_secret(question: str, is_new: bool) -> str:
    """Ask at the terminal, on standard error, without showing the answer; for a new one twice."""
    answer: str = typer.prompt(printable(question), hide_input=True, confirmation_prompt=is_new, err=True)
    return answer


def ask(question: str) -> str:
    """Ask at the terminal, on standard error."""
    answer: str = typer.prompt(printable(question), err=True)
    return answer


def confirm(question: str, *, is_said: bool = False) -> None:
    """Go on only if the user says so at the terminal, or said so with `--yes`. Raises `Problem`."""
    if is_said:
        return
    if not can_ask():
        raise BadRequest(f"{question} Say so with --yes")
    if not typer.confirm(printable(question), err=True):
        raise Problem("nothing was changed")


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


# ---- what is in the way -----------------------------------------------------------------------------------------


def fail(message: str, code: ExitCode) -> Problem:
    """A problem of a command's own, to be raised."""
    problem = Problem(message)
    problem.exit_code = code
    return problem


def told(problem: Problem) -> Exception:
    """What to raise for a problem that the result holds: under `--json` it is not told twice."""
    return typer.Exit(problem.exit_code) if _is_json else problem


@contextmanager
def error_boundary() -> Iterator[None]:
    """End with the exit code of what is in the way, told in one line, or as JSON: no tracebacks for people."""
    try:
        yield
    except Problem as error:
        problem = error
    except (typer.Abort, KeyboardInterrupt):
        problem = fail("stopped", ExitCode.STOPPED)
    except _ClickException as error:
        problem = _wrong_usage(error)
    except BrokenPipeError:
        raise  # whoever was reading has had enough
    except Refused as refused:
        problem = RefusedInput(refused)
    except OSError as error:
        problem = Problem(str(error))
    else:
        return
    give(problem_view(problem))
    if not _is_json:
        note(Text.assemble(("error: ", "bold red"), shortened(str(problem))))
    raise SystemExit(problem.exit_code)


def _wrong_usage(error: Any) -> Problem:
    """What Typer says of arguments that it cannot make sense of."""
    if not error.format_message():  # a group without a command: its help was shown
        raise SystemExit(ExitCode.USAGE)
    context = getattr(error, "ctx", None)
    if context is not None and not _is_json:
        note(Text(context.get_usage().replace("\n", " ")))
        hint(f"try: {context.command_path} --help")
    if callable(found := getattr(error.__cause__, "errors", None)):
        error.message = _why_not(found()[0])
    return BadRequest(shortened(error.format_message()))


def _why_not(fault: Mapping[str, Any]) -> str:
    """Why a value is not taken: the checker's kind of fault, in our words."""
    given, told = repr(fault["input"]), fault.get("ctx", {})
    match fault["type"].split("_"):
        case ["greater", *_]:
            return f"{given} is too little: {told['ge']} is the least"
        case ["less", *_]:
            return f"{given} is too much: {told['le']} is the most"
        case ["value", "error"]:
            return str(told["error"])
        case ["int", *_]:
            return f"{given} is no whole number"
        case ["float", *_]:
            return f"{given} is no number"
    return f"{given} is not taken here"


def show_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a fault in this program: what `sys.excepthook` is to be."""
    for line in "".join(traceback.format_exception(kind, error, trace)).rstrip("\n").split("\n"):
        sys.stderr.write(printable(line) + "\n")
