"""`tallystick invite`: the line of text with which somebody else's node finds this ledger."""

from typing import Final

from tallystick.cli.connecting import connect_at
from tallystick.cli.options import AsJson, Data
from tallystick.cli.output import error_boundary, help_text, hint, print_json, print_line
from tallystick.host.control import InviteMade, MakeInvite

HELP: Final = help_text(
    "Print the line of text with which another node joins.",
    "It holds the ledger's id, this node's key and addresses: nothing secret, and no right of its own. Send it over a "
    "way on which nobody can exchange it, as whoever joins trusts the ledger that it names.",
    "Example: tallystick invite > invite.txt",
)


def invite(data: Data = None, as_json: AsJson = False) -> None:
    """See `HELP`."""
    with error_boundary(), connect_at(data) as node:
        invite = node.one(MakeInvite(), InviteMade).invite
    if as_json:
        print_json({"invite": invite})
        return
    print_line(invite)
    hint("Whoever gets this line joins with: tallystick join LINE, and then tallystick run")
