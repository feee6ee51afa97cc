"""The command `tallystick` and its sub-commands."""

import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Final

import typer

from tallystick.cli import (
    banning,
    certify,
    founding,
    inviting,
    joining,
    keeping,
    running,
    show,
    staking,
    status,
    verify,
)
from tallystick.cli.guard import guard
from tallystick.cli.keys import keys
from tallystick.cli.output import Commands, help_text, print_line, show_fault

app = typer.Typer(
    name="tallystick",
    no_args_is_help=True,
    cls=Commands,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
# By name: nothing below demo/ imports it.
_demo, _up = import_module("tallystick.demo.command"), import_module("tallystick.demo.up")
_NEGATIVE_NUMBERS: Final = {"ignore_unknown_options": True}

_FOUND: Final = "Found and join a ledger"
_USE: Final = "Certify and verify"
_LOOK: Final = "Look"
_KEEP: Final = "Keep"

app.command(help=_demo.HELP, rich_help_panel="Try it out")(_demo.demo)
app.command(help=_up.HELP, rich_help_panel="Try it out")(_up.up)
app.add_typer(keys, name="key", rich_help_panel=_FOUND)
app.command(help=founding.HELP, rich_help_panel=_FOUND)(founding.new)
app.command(help=running.HELP, rich_help_panel=_FOUND)(running.run)
app.command(help=inviting.HELP, rich_help_panel=_FOUND)(inviting.invite)
app.command(help=joining.HELP, rich_help_panel=_FOUND)(joining.join)
app.command(help=certify.HELP, rich_help_panel=_USE)(certify.certify)
app.command(help=verify.HELP, rich_help_panel=_USE)(verify.verify)
app.command(help=staking.HELP, rich_help_panel=_USE, context_settings=_NEGATIVE_NUMBERS)(staking.stake)
app.command(help=show.HELP, rich_help_panel=_LOOK)(show.show)
app.command(help=status.HELP, rich_help_panel=_LOOK)(status.status)
app.add_typer(guard, name="guard", rich_help_panel=_KEEP)
app.command(help=keeping.CHECK_HELP, rich_help_panel=_KEEP)(keeping.check)
app.command(help=keeping.BACKUP_HELP, rich_help_panel=_KEEP)(keeping.backup)
app.command(help=banning.HELP, rich_help_panel=_KEEP)(banning.unban)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print_line(f"tallystick {version('tallystick')}")
        raise typer.Exit


@app.callback(
    help=help_text(
        "A shared record of signed certificates that no single member can rewrite.",
        "Example: tallystick demo, then tallystick show, tallystick verify README.md",
    )
)
def main(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Prepare for every sub-command."""
    sys.excepthook = show_fault  # without the values of variables: they may hold keys
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a sign shows another, and nothing breaks
