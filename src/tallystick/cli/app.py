"""The command `tallystick` and its sub-commands, each loaded when it is called."""

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import version
from inspect import cleandoc
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from typer.core import TyperGroup
from typer.main import get_command

from tallystick.cli.output import error_boundary, print_line, show_fault, speak_json
from tallystick.problems import AUDITED, VERDICTS, ExitCode, NodeExit

_TRY: Final = "Try it out"
_FOUND: Final = "Found and join a ledger"
_USE: Final = "Certify and verify"
_DECIDE: Final = "Decide together"
_LOOK: Final = "Look"
_KEEP: Final = "Keep"
_COMMANDS: Final = {
    "demo": ("demo.command", _TRY),
    "up": ("demo.up", _TRY),
    "key": ("cli.founding", _FOUND),
    "new": ("cli.founding", _FOUND),
    "run": ("cli.running", _FOUND),
    "invite": ("cli.operating", _FOUND),
    "join": ("cli.founding", _FOUND),
    "certify": ("cli.certify", _USE),
    "verify": ("cli.verify", _USE),
    "prove": ("cli.prove", _USE),
    "renew": ("cli.renew", _USE),
    "anchor": ("cli.anchor", _USE),
    "policy": ("cli.policy", _USE),
    "page": ("cli.page", _USE),
    "trust": ("cli.trust", _USE),
    "audit": ("cli.audit", _USE),
    "revoke": ("cli.issuers", _USE),
    "supersede": ("cli.issuers", _USE),
    "member": ("cli.members", _DECIDE),
    "motion": ("cli.motions", _DECIDE),
    "issuer": ("cli.issuers", _DECIDE),
    "stake": ("cli.operating", _DECIDE),
    "show": ("cli.show", _LOOK),
    "search": ("cli.show", _LOOK),
    "status": ("cli.status", _LOOK),
    "guard": ("cli.guard", _KEEP),
    "check": ("cli.checking", _KEEP),
    "backup": ("cli.operating", _KEEP),
    "export": ("cli.export", _KEEP),
    "unban": ("cli.operating", _KEEP),
    "erase": ("cli.erasing", _KEEP),
    "names": ("cli.operating", _KEEP),
    "witness": ("cli.witness", _KEEP),
    "config": ("cli.operating", _KEEP),
}
"""The module of each, with a function or a group of further commands of its name, and the panel that lists it."""
_SILENT: Final = ("run", "up")
"""They give no result: they end when they are told to."""
_SETTINGS: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"]}
_LOOKS: Final[dict[str, Any]] = {"rich_markup_mode": "rich", "pretty_exceptions_enable": False}


class _Commands(TyperGroup):
    """Knows its commands by name, and loads one when it is called or described."""

    def list_commands(self, _context: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _context: Any, cmd_name: str) -> Any:
        return _load(cmd_name, *_COMMANDS[cmd_name]) if cmd_name in _COMMANDS else None

    def get_params(self, ctx: Any) -> list[Any]:
        """As Click."""
        return _without_types(super().get_params, ctx)

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        """As Click; what is wrong with the usage is told in printable form, as JSON if that is asked for."""
        given = list(sys.argv[1:] if args is None else args)
        speak_json("--json" in given)
        with error_boundary():
            sys.exit(super().main(given, *rest, **{**options, "standalone_mode": False}) or 0)

    def invoke(self, ctx: Any) -> Any:
        """As Click, and so is what is in the way of a command: before Click takes Ctrl-C for an end of its own."""
        with error_boundary():
            return super().invoke(ctx)


def _load(name: str, module: str, panel: str) -> Any:
    """The command of this name; its help is its docstring."""
    found = getattr(import_module(f"tallystick.{module}"), name)
    command: Any = get_command(found) if isinstance(found, typer.Typer) else _as_command(found, name)
    command.name, command.rich_help_panel = name, panel
    leaves = getattr(command, "commands", {name: command}).values()
    for one in {command, *leaves}:
        one.help = _in_paragraphs(one.help, _exit_codes(name))
        one.get_params = partial(_without_types, one.get_params)
    for one in leaves if name not in _SILENT else ():
        one.params += _as_command(_give_json, name).params
    return command


def _exit_codes(name: str) -> Iterable[ExitCode | NodeExit]:
    """What the command can end with."""
    if name == "run":
        return NodeExit
    own = {"verify": VERDICTS, "audit": AUDITED}.get(name, ())
    return [one for one in ExitCode if one in own or one not in (*VERDICTS, *AUDITED)]


def _as_command(function: Callable[..., None], name: str) -> Any:
    alone = typer.Typer(add_completion=False, **_LOOKS)
    takes_negative_numbers = name == "stake"
    alone.command(name, context_settings={**_SETTINGS, "ignore_unknown_options": takes_negative_numbers})(function)
    return get_command(alone)


def _without_types(get_params: Callable[[Any], list[Any]], context: Any) -> list[Any]:
    """The parameters; in the help stand words for their values, or the choices, where Typer puts types of Python."""
    params = get_params(context)
    for one in params:
        kind = getattr(one, "type_descriptor", None)
        if kind is not None and not kind.is_choice:
            takes_value = one.param_type_name == "option" and not one.is_flag
            word = (one.metavar or max(one.opts, key=len).lstrip("-").upper()) if takes_value else ""
            one.display_type_rich = lambda ctx, word=word: word
    return params


def _give_json(
    _: Annotated[
        bool,
        typer.Option("--json", callback=speak_json, expose_value=False, help="Print one JSON object; ask nothing."),
    ] = False,
) -> None:
    """What every command takes that has a result."""


def _in_paragraphs(described: str, codes: Iterable[ExitCode | NodeExit]) -> str:
    """A help as Typer takes it: paragraphs as wide as the terminal is, examples a line each, the exit codes last."""
    paragraphs = escape(cleandoc(described)).split("\n\n")  # tallystick[pq] is a name, and no markup
    lines = [one if one.startswith("Examples:") else one.replace("\n", " ") for one in paragraphs]
    ends = ", ".join(f"{one.value} {one.says}" for one in codes)
    return "\n\n".join([*lines, f"Exit codes: {ends}."])


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print_line(f"tallystick {version('tallystick')}")
        raise typer.Exit


app = typer.Typer(name="tallystick", no_args_is_help=True, cls=_Commands, context_settings=_SETTINGS, **_LOOKS)
_HELP: Final = """A shared record of signed certificates that no single member can rewrite.

Example: tallystick demo, then tallystick show"""
_VERSION: Final = typer.Option(
    "--version", "-V", callback=_print_version, is_eager=True, help="Print the version and leave."
)


@app.callback(help=_in_paragraphs(_HELP, _exit_codes("")))
def main(_version: Annotated[bool, _VERSION] = False) -> None:
    """Prepare for every sub-command."""
    sys.excepthook = show_fault  # without the values of variables: they may hold keys
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a sign shows another, and nothing breaks
