"""`tallystick key`: a user's or a node's key."""

import secrets
from pathlib import Path
from typing import Annotated, Final

import typer

from tallystick.cli.options import AsJson, Data, NoPassphrase, PassphraseFile, find_passphrase, node_folder
from tallystick.cli.output import error_boundary, help_text, hint, print_json, print_line
from tallystick.host.data_folder import DataFolder
from tallystick.ledger.wallet import SEED_BYTES, Wallet
from tallystick.problems import KeyFileError

HELP: Final = help_text("Make a key, or show its public half.", "Example: tallystick key new")
NEW_HELP: Final = help_text(
    "Make a key, in the node's folder, sealed with a passphrase.",
    "Its public half is printed: send that to whoever founds the ledger. An existing key is never overwritten. There "
    "is no way back from a lost passphrase or file: keep a copy of both, apart. Beside the key stands its guard, the "
    "record of what it has signed: never copy that. A key that is to run elsewhere is moved (tallystick guard move).",
    "Example: tallystick key new --data ./node",
)
SHOW_HELP: Final = help_text(
    "Print the public key: it is what others know you by. No passphrase is needed.",
    "Examples:",
    "  tallystick key show",
    "  tallystick key show --address",
)

keys = typer.Typer(no_args_is_help=True, help=HELP)


def make_key(folder: DataFolder, passphrase: str, strength: str = "moderate") -> Wallet:
    """A fresh key, sealed in the folder, which is made if need be, and its guard. Raises `HostError`.

    Without a passphrase there is nothing to be guessed, so nothing that time spent on sealing would protect.
    """
    wallet = Wallet(secrets.token_bytes(SEED_BYTES))
    folder.create_key(wallet, passphrase, strength if passphrase else "interactive")
    return wallet


def own_wallet(folder: DataFolder, file: Path | None, none: bool) -> Wallet:
    """The folder's key, made if there is none. Raises `HostError`, and `Refused` (K3, K4)."""
    is_new = not folder.key_path.exists()
    passphrase = find_passphrase(file, none, str(folder.key_path), is_new)
    return make_key(folder, passphrase) if is_new else folder.wallet(passphrase)


@keys.command("new", help=NEW_HELP)
def new_key(
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    as_json: AsJson = False,
) -> None:
    """See `NEW_HELP`."""
    with error_boundary():
        folder = node_folder(data)
        if folder.key_path.exists():
            reason = f"{folder.key_path} exists already, and a key is never overwritten"
            raise KeyFileError(f"{reason}; tallystick key show prints it")
        passphrase = find_passphrase(passphrase_file, no_passphrase, str(folder.key_path), is_new=True)
        public_key = make_key(folder, passphrase).public_key.hex()
    if as_json:
        print_json({"public_key": public_key, "key_file": str(folder.key_path)})
        return
    print_line(public_key)
    hint(f"This is your public key; the secret one is in {folder.key_path}. The founder of a ledger admits you with")
    hint(f"  tallystick new NAME --member YOU={public_key}")


@keys.command("show", help=SHOW_HELP)
def show_key(
    data: Data = None,
    with_address: Annotated[
        bool, typer.Option("--address", help="As KEY@ADDRESS, the form that node.toml's bootstrap takes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See `SHOW_HELP`."""
    with error_boundary():
        folder = node_folder(data)
        public_key = folder.public_key().hex()
        address = folder.settings().address if with_address or (as_json and folder.is_there) else None
    if as_json:
        print_json({"public_key": public_key, "key_file": str(folder.key_path), "address": address})
    else:
        print_line(f"{public_key}@{address}" if with_address else public_key)
