"""The command `tallystick` and its sub-commands, each loaded when it is called."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command

from tallystick.cli.output import help_text, print_line, show_fault, usage_told

_TRY: Final = "Try it out"
_FOUND: Final = "Found and join a ledger"
_USE: Final = "Certify and verify"
_LOOK: Final = "Look"
_KEEP: Final = "Keep"


class _Entry(NamedTuple):
    """Where a command is: its module, and the function in it, or the group of further commands."""

    module: str
    name: str
    panel: str
    help_name: str = "HELP"
    takes_negative_numbers: bool = False


_COMMANDS: Final = {
    "demo": _Entry("tallystick.demo.command", "demo", _TRY),
    "up": _Entry("tallystick.demo.up", "up", _TRY),
    "key": _Entry("tallystick.cli.founding", "keys", _FOUND),
    "new": _Entry("tallystick.cli.founding", "new", _FOUND),
    "run": _Entry("tallystick.cli.running", "run", _FOUND),
    "invite": _Entry("tallystick.cli.operating", "invite", _FOUND, "INVITE_HELP"),
    "join": _Entry("tallystick.cli.joining", "join", _FOUND),
    "certify": _Entry("tallystick.cli.certify", "certify", _USE),
    "verify": _Entry("tallystick.cli.verify", "verify", _USE),
    "stake": _Entry("tallystick.cli.staking", "stake", _USE, takes_negative_numbers=True),
    "show": _Entry("tallystick.cli.show", "show", _LOOK),
    "search": _Entry("tallystick.cli.show", "search", _LOOK, "SEARCH_HELP"),
    "status": _Entry("tallystick.cli.status", "status", _LOOK),
    "guard": _Entry("tallystick.cli.guard", "guard", _KEEP),
    "check": _Entry("tallystick.cli.checking", "check", _KEEP),
    "backup": _Entry("tallystick.cli.operating", "backup", _KEEP, "BACKUP_HELP"),
    "unban": _Entry("tallystick.cli.operating", "unban", _KEEP, "UNBAN_HELP"),
    "erase": _Entry("tallystick.cli.operating", "erase", _KEEP, "ERASE_HELP"),
    "names": _Entry("tallystick.cli.operating", "names", _KEEP),
    "config": _Entry("tallystick.cli.operating", "config", _KEEP, "CONFIG_HELP"),
}


class _Commands(TyperGroup):
    """Knows its commands by name, and loads one when it is called or described."""

    def list_commands(self, _context: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _context: Any, cmd_name: str) -> Any:
        return _load(cmd_name) if cmd_name in _COMMANDS else None

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        """As Click; what is wrong with the usage is told in printable form, as JSON if that is asked for."""
        given = list(sys.argv[1:] if args is None else args)
        with usage_told(as_json="--json" in given):
            sys.exit(super().main(given, *rest, **{**options, "standalone_mode": False}) or 0)


def _load(name: str) -> Any:
    entry = _COMMANDS[name]
    module = import_module(entry.module)
    found = getattr(module, entry.name)
    if isinstance(found, typer.Typer):
        group: Any = get_command(found)
        group.name, group.rich_help_panel = name, entry.panel
        return group
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    settings: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
    if entry.takes_negative_numbers:
        settings["ignore_unknown_options"] = True
    alone.command(name, help=getattr(module, entry.help_name), rich_help_panel=entry.panel, context_settings=settings)(
        found
    )
    return get_command(alone)


app = typer.Typer(
    name="tallystick",
    no_args_is_help=True,
    cls=_Commands,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version and leave."),
    ] = False,
) -> None:
    """Prepare for every sub-command."""
    sys.excepthook = show_fault  # without the values of variables: they may hold keys
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a sign shows another, and nothing breaks
