"""`tallystick unban`: let a banned peer in again before its time."""

from typing import Annotated, Final

import typer

from tallystick.cli.connecting import connect_at, ledger_info
from tallystick.cli.options import AsJson, Data
from tallystick.cli.output import error_boundary, fail, help_text, make_console, marked, print_json
from tallystick.cli.words import name_of
from tallystick.host.control import GetPeers, Peers, Unban
from tallystick.problems import ExitCode

HELP: Final = help_text(
    "Let a banned peer in again.",
    "A peer that sends what no honest node sends is banned for an hour; tallystick show peers tells who is, and for "
    "what. Ask its operator for the version first: what it sent, it will send again.",
    "Example: tallystick unban 5f0c93ab",
)


def unban(
    who: Annotated[
        str, typer.Argument(metavar="KEY", help="How the peer's key begins, or its name.", show_default=False)
    ],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """See `HELP`."""
    with error_boundary(), connect_at(data) as node:
        names = ledger_info(node.folder)[1]
        banned = [one.key for one in node.one(GetPeers(), Peers).peers if one.banned_until_ms]
        found = [key for key in banned if key.hex().startswith(who.lower()) or names.get(key) == who]
        if not found:
            reason = f"no banned peer is called {who}, nor does its key begin so"
            raise fail(f"{reason}; see tallystick show peers", ExitCode.NOT_THERE)
        if len(found) > 1:
            raise typer.BadParameter(f"{len(found)} banned peers have keys that begin with {who}; give more digits")
        list(node.ask(Unban(found[0])))
    if as_json:
        print_json({"public_key": found[0].hex(), "name": name_of(found[0], names)})
    else:
        make_console().print(marked("✓", name_of(found[0], names), " is let in again"))
