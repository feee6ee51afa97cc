"""How lists look to people: fields, tables, and pages."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Final

import typer

from tallystick.api import views
from tallystick.api.questions import MOST_ITEMS
from tallystick.cli.output import Terminal, Text, hint, is_narrow, make_table
from tallystick.cli.words import called, utc

PAGE: Final = 20
_LABEL_WIDTH: Final = 13
_NUMBERS: Final = ("#", "Epoch", "View", "Certificates", "At stake", "Unbonding", "Free", "Votes with", "Tip")
_WHOLE: Final = ("Certificate", "Kind", "Hash", "Time (UTC)", "Share", "Address")

Limit = Annotated[
    int | None, typer.Option("--limit", min=1, max=MOST_ITEMS, help="At most so many lines.", show_default=str(PAGE))
]
Cursor = Annotated[
    int | None,
    typer.Option("--cursor", min=0, max=2**53, metavar="NEXT", help="Where the page before ended.", show_default=False),
]


def heading(console: Terminal, title: str, more: str) -> None:
    """What is shown, and something about it."""
    console.print(Text(title, style="bold").append(f"  {more}", style="not bold dim"), soft_wrap=True)


def fields(console: Terminal, told: Mapping[str, str]) -> None:
    """A line for each field that says something."""
    for label, text in told.items():
        if text:
            line = Text(f"  {label:<{_LABEL_WIDTH}}", style="dim").append(text, style="not dim")
            console.print(line, soft_wrap=True)


def table(console: Terminal, columns: Mapping[str, Sequence[str | Text]], left_out: Collection[str] = ()) -> None:
    """A table of these columns; `left_out` are those that a narrow terminal goes without."""
    shown = {title: cells for title, cells in columns.items() if not (is_narrow(console) and title in left_out)}
    made = make_table()
    for title in shown:
        made.add_column(title, justify="right" if title in _NUMBERS else "left", no_wrap=title in _WHOLE)
    for cells in zip(*shown.values(), strict=True):
        made.add_row(*cells)
    if made.row_count:
        console.print(made)


def show_certificates(console: Terminal, lines: Sequence[views.CertificateLine]) -> None:
    """Certificates, a line each."""
    columns: dict[str, Sequence[str | Text]] = {
        "#": [f"{one.place.log_index:,}" for one in lines],
        "Certificate": [Text(f"{one.id[:12]}…", style="cyan") for one in lines],
        "Kind": [one.kind for one in lines],
        "Issuer": [called(one.issuer) for one in lines],
        "Says": [one.summary or "(no subject)" for one in lines],
        "Time (UTC)": [utc(one.place.block_timestamp_ms)[:19] for one in lines],
    }
    table(console, columns, left_out=("Kind", "Issuer"))


def tell_of_more(command: Sequence[str], following: str | None, options: Mapping[str, object]) -> None:
    """Say that there is another page, and with which command it is shown."""
    if following is None:
        return
    words = ["tallystick", *command]
    for name, value in {**options, "--cursor": following}.items():
        if value is not None:
            words += [name] if value is True else [name, str(value)]
    hint(f"There is more: {shlex.join(words)}")
