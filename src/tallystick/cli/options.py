"""Options that several commands have, and what they mean."""

import os
import stat
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from tallystick.cli.output import ask_secret, warn
from tallystick.host.data_folder import DataFolder
from tallystick.problems import HostError, KeyFileError

DATA_VARIABLE: Final = "TALLYSTICK_DATA"
PASSPHRASE_VARIABLE: Final = "TALLYSTICK_PASSPHRASE"  # noqa: S105  a name, no secret
DEFAULT_DATA: Final = "~/.tallystick"
DEFAULT_PORT: Final = 7117

_CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
_MAX_PASSPHRASE_BYTES: Final = 1024

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", envvar=DATA_VARIABLE, metavar="FOLDER", help="The node's folder.", show_default=DEFAULT_DATA
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")]
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


def find_passphrase(file: Path | None, none: bool, what: str, is_new: bool = False) -> str:
    """The passphrase of the key `what`: from a file, the environment or a prompt, in this order.

    A new key's is asked for twice, and that there is none brings a warning. Raises `HostError`.
    """
    if none:
        if file is not None:
            raise typer.BadParameter("--no-passphrase and --passphrase-file exclude each other")
        if is_new:
            warn("this key has no passphrase: whoever can read its file can sign with it")
        return ""
    if file is not None:
        return _read_passphrase(file)
    if given := os.environ.get(PASSPHRASE_VARIABLE):
        return given
    if not sys.stdin.isatty():
        others = "name a file with --passphrase-file, or say --no-passphrase"
        raise KeyFileError(f"the passphrase of {what} is needed: set ${PASSPHRASE_VARIABLE}, {others}")
    return ask_secret(f"Passphrase of {what}", is_new)


def _read_passphrase(path: Path) -> str:
    try:
        with path.open("rb") as file:
            _check_private(path, os.fstat(file.fileno()))
            data = file.read(_MAX_PASSPHRASE_BYTES + 1)
        passphrase = data.decode().rstrip("\r\n")
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}; name the file with the passphrase") from None
    except UnicodeDecodeError:
        raise HostError(f"{path} holds no text; name the file with the passphrase") from None
    if not passphrase or len(data) > _MAX_PASSPHRASE_BYTES:
        raise HostError(f"{path} holds no passphrase: one line of at most {_MAX_PASSPHRASE_BYTES} bytes is expected")
    return passphrase


def _check_private(path: Path, status: os.stat_result) -> None:
    """Raise unless the file is its owner's alone; systemd's credentials are root's, and their group's to read."""
    credentials = os.environ.get(_CREDENTIALS_VARIABLE)
    is_credential = bool(credentials) and path.absolute().parent == Path(str(credentials)).absolute()
    closed = 0o037 if is_credential else 0o077
    mode = stat.S_IMODE(status.st_mode)
    if mode & closed:
        raise HostError(f"{path} has mode {mode:04o}, so others may read it; run: chmod 600 {path}")
    if status.st_uid not in ((os.geteuid(), 0) if is_credential else (os.geteuid(),)):
        raise HostError(f"{path} belongs to another user; keep the passphrase in a file of your own")
