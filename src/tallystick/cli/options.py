"""Options that several commands have, and what they mean."""

import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from tallystick.cli.output import DEFAULT_CHAIN, ask_secret, warn
from tallystick.host.data_folder import DataFolder
from tallystick.host.key_file import read_passphrase
from tallystick.ledger.wallet import Wallet
from tallystick.problems import KeyFileError, StoreError

DATA_VARIABLE: Final = "TALLYSTICK_DATA"
PASSPHRASE_VARIABLE: Final = "TALLYSTICK_PASSPHRASE"  # noqa: S105  a name, no secret
DEFAULT_DATA: Final = "~/.tallystick"

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", envvar=DATA_VARIABLE, metavar="FOLDER", help="The node's folder.", show_default=DEFAULT_DATA
    ),
]
ChainFile = Annotated[
    Path | None,
    typer.Option(
        "--chain", metavar="FILE", help="The file of a chain.", show_default=f"the node's; without, {DEFAULT_CHAIN}"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask: what follows is known.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help=f"A file with the key's passphrase, yours alone. Without it: ${PASSPHRASE_VARIABLE}, or a prompt.",
        show_default=False,
    ),
]
NoPassphrase = Annotated[
    bool, typer.Option("--no-passphrase", help="The key has no passphrase: whoever can read its file can use it.")
]
Listen = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS:PORT", help="Where the node listens, on this machine.", show_default=False),
]
Reach = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="Where the others reach the node.", show_default=False),
]


def node_folder(data: Path | None) -> DataFolder:
    """The folder that was named, or the usual one."""
    return DataFolder((data or Path(DEFAULT_DATA)).expanduser())


def chain_file(chain: Path | None, data: Path | None) -> Path:
    """The file that was named, else the node's, else the one that a demo left here. Raises `StoreError`, `Problem`."""
    folder = node_folder(data)
    if chain is not None:
        found = chain
    elif folder.is_there or data is not None:
        folder.settings()
        found = folder.ledger_path
    else:
        found = Path(DEFAULT_CHAIN)
    if not found.exists():
        ways = "make one with tallystick demo, or name a chain's file with --chain or a node's folder with --data"
        raise StoreError(f"there is no {found} here: {ways}")
    return found


def find_passphrase(file: Path | None, none: bool, what: str, is_new: bool = False) -> str:
    """The passphrase of the key `what`: from a file, the environment or a prompt, in this order.

    A new key's is asked for twice, and that there is none brings a warning. Raises `Problem`.
    """
    if none:
        if file is not None:
            raise typer.BadParameter("--no-passphrase and --passphrase-file exclude each other")
        if is_new:
            warn("this key has no passphrase: whoever can read its file can sign with it")
        return ""
    if file is not None:
        return read_passphrase(file)
    if given := os.environ.get(PASSPHRASE_VARIABLE):
        return given
    if not sys.stdin.isatty():
        others = "name a file with --passphrase-file, or say --no-passphrase"
        raise KeyFileError(f"the passphrase of {what} is needed: set ${PASSPHRASE_VARIABLE}, {others}")
    return ask_secret(f"Passphrase of {what}", is_new)


def open_wallet(folder: DataFolder, file: Path | None, none: bool) -> Wallet:
    """The node's key. Raises `Problem`, and `Refused` (K3, K4)."""
    return folder.wallet(find_passphrase(file, none, str(folder.key_path)))
