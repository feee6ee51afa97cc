"""`tallystick run`: this node, in the foreground, until it is told to stop."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec.structs import replace

from tallystick.cli.addresses import split_address
from tallystick.cli.options import Data, Listen, NoPassphrase, PassphraseFile, Reach, find_passphrase, node_folder
from tallystick.cli.output import error_boundary, help_text
from tallystick.host.data_folder import DataFolder
from tallystick.ledger.wallet import Wallet
from tallystick.problems import KeyFileError

_EXIT_CODES: Final = (
    "Exit codes: 0 stopped when it was told to, 1 a part of it failed, 2 wrong usage, or it cannot start, 3 its state "
    "is not the ledger's, 4 another machine signs with its key: started again, it signs nothing."
)
HELP: Final = help_text(
    "Run the node of a folder, in the foreground, until Ctrl-C or SIGTERM.",
    "Its log goes to standard error. Other commands (certify, status, show, …) talk to it through a socket in its "
    "folder that only you can open.",
    "Example: tallystick run --data ./node --passphrase-file ./passphrase",
    exit_codes=_EXIT_CODES,
)


class LogLevel(StrEnum):
    """From everything to the worst alone."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LogJson = Annotated[bool, typer.Option("--log-json", help="Write the log as one JSON object a line.")]
Level = Annotated[LogLevel, typer.Option("--log-level", help="What is worth a line.")]


def run(
    *,
    listen: Listen = None,
    address: Reach = None,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    log_json: LogJson = False,
    log_level: Level = LogLevel.INFO,
) -> None:
    """See `HELP`."""
    with error_boundary():
        folder = node_folder(data)
        settings = folder.settings()
        if not folder.key_path.exists():
            raise KeyFileError(f"{folder.path} has no key file any more; restore {folder.key_path} from a copy")
        for asked in (listen, address):
            if asked is not None:
                split_address(asked)
        changed = replace(settings, listen=listen or settings.listen, address=address or settings.address)
        wallet = open_wallet(folder, passphrase_file, no_passphrase)
        if changed != settings:
            folder.write_settings(changed)
        code = run_here(folder, wallet, log_json=log_json, log_level=log_level)
    raise typer.Exit(code)


def open_wallet(folder: DataFolder, passphrase_file: Path | None, no_passphrase: bool) -> Wallet:
    """The node's key. Raises `HostError`, and `Refused` (K3, K4)."""
    return folder.wallet(find_passphrase(passphrase_file, no_passphrase, str(folder.key_path)))


def run_here(folder: DataFolder, wallet: Wallet, *, log_json: bool = False, log_level: LogLevel = LogLevel.INFO) -> int:
    """Run the node in this process to its end; returns the exit code."""
    from tallystick.host.process import run_node  # noqa: PLC0415  # the other commands need none of it

    code: int = run_node(folder, wallet, log_json=log_json, log_level=log_level.value)
    return code
