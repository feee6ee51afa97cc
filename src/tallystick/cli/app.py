"""The command `tallystick` and its sub-commands."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from tallystick.cli.demo import HELP as DEMO_HELP
from tallystick.cli.demo import demo
from tallystick.cli.output import help_text
from tallystick.cli.show import HELP as SHOW_HELP
from tallystick.cli.show import show
from tallystick.cli.verify import HELP as VERIFY_HELP
from tallystick.cli.verify import verify

app = typer.Typer(
    name="tallystick",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # they may hold keys
    rich_markup_mode="rich",
)
app.command(help=DEMO_HELP)(demo)
app.command(help=SHOW_HELP)(show)
app.command(help=VERIFY_HELP)(verify)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"tallystick {version('tallystick')}")
        raise typer.Exit


@app.callback(
    help=help_text(
        "A shared record of signed certificates that no single member can rewrite.",
        "Example: tallystick demo, then tallystick show",
    )
)
def main(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Prepare for every sub-command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a sign shows another, and nothing breaks
