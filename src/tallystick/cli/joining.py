"""`tallystick join`: set a node up from an invite."""

import asyncio
from typing import Annotated, Final

import typer

from tallystick.cli.addresses import places
from tallystick.cli.keys import own_wallet
from tallystick.cli.options import AsJson, Data, Listen, NoPassphrase, PassphraseFile, Reach, node_folder
from tallystick.cli.output import Terminal, Text, error_boundary, help_text, hint, make_console, marked, print_json
from tallystick.cli.running import LogLevel, run_here
from tallystick.host.data_folder import DataFolder, FolderError, Settings
from tallystick.host.invite import Invite, read_invite
from tallystick.ledger.genesis import Genesis, decode_genesis
from tallystick.ledger.wallet import Wallet
from tallystick.network.transport import TransportError
from tallystick.network.zeromq import fetch_genesis
from tallystick.problems import HostError

HELP: Final = help_text(
    "Set a node up on a ledger that somebody invited you to.",
    "Makes a key unless the folder has one, asks the inviting node for the ledger's first document, holds it to the id "
    "in the invite, and writes the folder. A key among the members votes; any other reads along, and certifies.",
    "Example: tallystick join tallystick1… --address node.bob.org:7117 --run",
)


_PATIENCE_MS: Final = 15_000


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
    """See `HELP`."""
    with error_boundary():
        folder = node_folder(data)
        if folder.is_there or folder.ledger_path.exists():
            raise FolderError(f"{folder.path} holds a node already; name another folder with --data")
        invited = read_invite(" ".join(invite))
        own_listen, own_address = places(listen, address, towards=invited.addresses[0])
        wallet = own_wallet(folder, passphrase_file, no_passphrase)
        console = Terminal(stderr=True)
        with console.status(f"Asking {invited.addresses[0]} for the ledger"):
            genesis = fetch(invited, wallet)
        bootstrap = tuple(f"{invited.key.hex()}@{one}" for one in invited.addresses)
        settings = Settings(own_listen, own_address, bootstrap)
        folder.create(settings, genesis)
        _tell(folder, genesis, wallet, settings, as_json)
        if run:
            raise typer.Exit(run_here(folder, wallet, log_json=False, log_level=LogLevel.INFO))


def fetch(invited: Invite, wallet: Wallet) -> Genesis:
    """The ledger's first document, from the inviting node, at the first of its addresses that answers.

    Raises `HostError`, and `Refused` when what came is not the document of the invite's ledger.
    """
    reasons = []
    for address in invited.addresses:
        asked = fetch_genesis(wallet, invited.ledger_id, invited.key, address, _PATIENCE_MS)
        try:
            return decode_genesis(asyncio.run(asked))
        except TransportError as error:
            reasons.append(str(error))
    advice = "make sure that the inviting node runs and can be reached from here, and that it admits your key"
    raise HostError(f"{'; '.join(reasons)}; {advice}")


def _tell(folder: DataFolder, genesis: Genesis, wallet: Wallet, settings: Settings, as_json: bool) -> None:
    allotted = {one.member: one.staked for one in genesis.allotments}
    stake = allotted.get(wallet.public_key, 0)
    if as_json:
        ledger = {"name": genesis.name, "ledger_id": genesis.ledger_id.hex()}
        own = {"public_key": wallet.public_key.hex(), "stake_at_first": stake, "address": settings.address}
        print_json({**ledger, "folder": str(folder.path), **own})
        return
    console = make_console()
    ledger_id = genesis.ledger_id.hex()[:16]
    console.print(marked("✓", genesis.name, f" is joined: ledger {ledger_id}…"))
    role = f"a first member, with {stake:,} tokens at stake" if stake else "an observer: it reads along, and certifies"
    place = f"in {folder.path}; it listens on {settings.listen}, and others reach it at {settings.address}"
    console.print(Text(f"Your node is {role}. It is {place}."), soft_wrap=True)
    hint(f"It runs with: tallystick run --data {folder.path}")
