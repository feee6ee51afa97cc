"""`tallystick join`: set a node up from an invite."""

from typing import Annotated, Final

import typer
from msgspec import to_builtins

from tallystick.api.command_views import Joined
from tallystick.cli.founding import own_wallet
from tallystick.cli.options import AsJson, Data, Listen, NoPassphrase, PassphraseFile, Reach, node_folder
from tallystick.cli.output import Terminal, Text, error_boundary, help_text, hint, make_console, marked, print_json
from tallystick.host.addresses import places
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.host.invite import read_invite
from tallystick.ledger.genesis import Genesis

HELP: Final = help_text(
    "Set a node up on a ledger that somebody invited you to.",
    "Makes a key unless the folder has one, asks the inviting node for the ledger's first document, holds it to the id "
    "in the invite, and writes the folder. A key among the members votes; any other reads along, and certifies.",
    "Example: tallystick join tallystick1… --address node.bob.org:7117 --run",
)


def join(
    invite: Annotated[
        list[str], typer.Argument(metavar="INVITE", help="The line that tallystick invite printed.", show_default=False)
    ],
    *,
    listen: Listen = None,
    address: Reach = None,
    run: Annotated[bool, typer.Option("--run", help="Run the node at once.")] = False,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    as_json: AsJson = False,
) -> None:
    from tallystick.host.joining import fetch, set_up_invited  # noqa: PLC0415  # it brings ZeroMQ along

    with error_boundary():
        folder = node_folder(data)
        folder.check_free()
        invited = read_invite(" ".join(invite))
        own_listen, own_address = places(listen, address, towards=invited.addresses[0])
        wallet = own_wallet(folder, passphrase_file, no_passphrase)
        with Terminal(stderr=True).status(f"Asking {invited.addresses[0]} for the ledger"):
            genesis = fetch(invited, wallet)
        settings = set_up_invited(folder, invited, genesis, own_listen, own_address)
        _tell(folder, genesis, settings, as_json)
        if run:
            from tallystick.cli.running import run_here  # noqa: PLC0415

            raise typer.Exit(run_here(folder, settings, wallet))


def _tell(folder: DataFolder, genesis: Genesis, settings: Settings, as_json: bool) -> None:
    key = folder.public_key()
    stake = {one.member: one.staked for one in genesis.allotments}.get(key, 0)
    if as_json:
        joined = Joined(
            name=genesis.name,
            ledger_id=genesis.ledger_id.hex(),
            folder=str(folder.path),
            public_key=key.hex(),
            address=settings.address,
            stake_at_first=stake,
        )
        print_json(to_builtins(joined))
        return
    console = make_console()
    console.print(marked("✓", genesis.name, f" is joined: ledger {genesis.ledger_id.hex()[:16]}…"))
    role = f"a first member, with {stake:,} tokens at stake" if stake else "an observer: it reads along, and certifies"
    place = f"in {folder.path}; it listens on {settings.listen}, and others reach it at {settings.address}"
    console.print(Text(f"Your node is {role}. It is {place}."), soft_wrap=True)
    hint(f"It runs with: tallystick run --data {folder.quoted}")
