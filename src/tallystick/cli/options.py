"""Options that several commands have, and what they name: a node's folder, its key, a ledger to be asked."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tallystick.cli.output import DEFAULT_CHAIN, ask_secret, can_ask, counting, warn
from tallystick.host.data_folder import DataFolder, usual_folder
from tallystick.host.key_file import open_key_file, read_passphrase
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.wallet import Wallet
from tallystick.problems import BadRequest, NotRunning, StoreError
from tallystick.storage.store import Store

if TYPE_CHECKING:  # not every command needs its libraries
    from tallystick.client.blocking import Client
    from tallystick.host.ml_dsa import MlDsaWallet
    from tallystick.host.trust import TrustStore

DATA_VARIABLE: Final = "TALLYSTICK_DATA"
TRUST_VARIABLE: Final = "TALLYSTICK_TRUST"
TSA_VARIABLE: Final = "TALLYSTICK_TSA"
PASSPHRASE_VARIABLE: Final = "TALLYSTICK_PASSPHRASE"  # noqa: S105  a name, no secret
STANDARD_INPUT: Final = Path("-")

_DATA_DEFAULT: Final = "tallystick in your folder for data of programs; on Linux, ~/.local/share/tallystick"
_TRUST_DEFAULT: Final = "trust in tallystick's folder for configuration; on Linux, ~/.config/tallystick/trust"
_CHAIN_HELP: Final = "Look into this file of a chain, all of which is checked again."
_CHAIN_DEFAULT: Final = f"the node, or its file; where there is no node, {DEFAULT_CHAIN}"
_PASSPHRASE_HELP: Final = (
    f"A file with the key's passphrase, yours alone. Without it: ${PASSPHRASE_VARIABLE}, or a prompt."
)


def option(help_text: str, metavar: str | None = None, *names: str, **more: Any) -> Any:
    """An option; without a name it is called as the parameter. `more` is what else Typer is to know of it."""
    return typer.Option(*names, metavar=metavar, help=help_text, **more)


def flag(name: str, help_text: str) -> Any:
    """An option without a value."""
    return typer.Option(name, help=help_text)


def argument(metavar: str, help_text: str, **more: Any) -> Any:
    """What is named without an option."""
    return typer.Argument(metavar=metavar, help=help_text, **more)


Data = Annotated[
    Path | None, option("The node's folder.", "FOLDER", "--data", envvar=DATA_VARIABLE, show_default=_DATA_DEFAULT)
]
Trust = Annotated[
    Path | None,
    option("Where the ledgers that you trust are kept.", "FOLDER", envvar=TRUST_VARIABLE, show_default=_TRUST_DEFAULT),
]
Tsa = Annotated[
    str | None,
    option(
        "The time stamping authority that is asked (RFC 3161, over HTTP).",
        "URL",
        envvar=TSA_VARIABLE,
        show_default="none",
    ),
]
ChainFile = Annotated[Path | None, option(_CHAIN_HELP, "FILE", "--chain", show_default=_CHAIN_DEFAULT)]
Yes = Annotated[bool, flag("--yes", "Do not ask: what follows is known.")]
PassphraseFile = Annotated[Path | None, option(_PASSPHRASE_HELP, "FILE")]
NoPassphrase = Annotated[
    bool, flag("--no-passphrase", "The key has no passphrase: whoever can read its file can use it.")
]
Listen = Annotated[str | None, option("Where the node listens, on this machine.", "ADDRESS:PORT")]
Reach = Annotated[str | None, option("Where the others reach the node.", "HOST:PORT", "--address")]


def group(help_text: str) -> typer.Typer:
    """A command that is only the name of further ones."""
    return typer.Typer(no_args_is_help=True, add_completion=False, help=help_text)


def node_folder(data: Path | None) -> DataFolder:
    """The folder that was named, or the usual one."""
    return DataFolder(data.expanduser() if data else usual_folder())


def trust_store(trust: Path | None) -> "TrustStore":
    """The folder of trusted ledgers that was named, or the user's usual one."""
    from tallystick.host.trust import TrustStore, usual_trust_folder  # noqa: PLC0415  # few commands need it

    return TrustStore(trust.expanduser() if trust else usual_trust_folder())


def chain_file(chain: Path | None, data: Path | None) -> Path:
    """The file that was named, else the node's, else the one that a demo left here. Raises `StoreError`, `Problem`."""
    folder, looked = node_folder(data), ""
    if chain is not None:
        found = chain
    elif folder.is_there or data is not None:
        folder.settings()
        found = folder.ledger_path
    else:
        found, looked = Path(DEFAULT_CHAIN), f"no node in {folder.path}, and "
    if not found.exists():
        ways = "make one with tallystick demo, or name a chain's file with --chain or a node's folder with --data"
        raise StoreError(f"there is {looked}no {found} here: {ways}")
    return found


def open_source(chain: Path | None, data: Path | None, url: str | None = None) -> "Client":
    """Open the URL or the chain's file that was named, else the node's folder, else the demo's file here.

    A node comes before the demo's file: a file that lies about in a folder must not speak in its place. A file is
    checked from its genesis on. Raises `StoreError` when there is neither, `DamagedStore`, `Problem`.
    """
    from tallystick.client.blocking import Client  # noqa: PLC0415

    if url is not None:
        return Client(url)
    file = chain_file(chain, data)
    if file.is_dir():
        raise StoreError(f"{file} is a directory; name the file of a chain, or a node's folder with --data")
    if chain is None and file != Path(DEFAULT_CHAIN):
        with suppress(NotRunning):
            return Client(file.parent)
    with Store.open(file, read_only=True) as store:
        last = store.tip_index
    with counting("Checking the chain", last) as on_block:
        return Client(file, on_block=on_block)


def open_node(data: Path | None, url: str | None = None, wallet: Wallet | None = None) -> "Client":
    """Open the node of the folder or URL that was named, or of the usual folder; `wallet` signs instead of it.

    Raises `NotRunning`, `Problem`.
    """
    from tallystick.client.blocking import Client  # noqa: PLC0415

    folder = node_folder(data)
    if url is None and not folder.is_there:
        folder.settings()
    return Client(url or folder.path, wallet=wallet)


def find_passphrase(file: Path | None, none: bool, what: str, is_new: bool = False) -> str:
    """The passphrase of the key `what`: from a file, the environment or a prompt, in this order.

    A new key's is asked for twice, and that there is none brings a warning. Raises `Problem`, also instead of a prompt
    under `--json`.
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
    if not can_ask():
        others = "name a file with --passphrase-file, or say --no-passphrase"
        raise BadRequest(f"the passphrase of {what} is needed: set ${PASSPHRASE_VARIABLE}, {others}")
    return ask_secret(f"Passphrase of {what}", is_new)


def open_key(path: Path, file: Path | None, none: bool) -> Wallet:
    """The key in a file. Nobody is asked for a passphrase that it does not have.

    Raises `Problem`, and `Refused` (K3, K4).
    """
    is_told = none or file is not None or os.environ.get(PASSPHRASE_VARIABLE)
    bare = None if is_told else open_bare_key(path)
    return bare or open_key_file(path, find_passphrase(file, none, str(path)))


def open_ml_dsa_key(path: Path, file: Path | None, none: bool) -> "MlDsaWallet | None":
    """The key of ML-DSA-44 in a file; `None`, with a warning, where this machine has no library for it.

    Raises as `open_key` does.
    """
    from tallystick.host.ml_dsa import has_ml_dsa, open_ml_dsa_file  # noqa: PLC0415  # few commands need it

    if not has_ml_dsa():
        warn(f"{path} is not used: there is no library for ML-DSA-44 here; install tallystick[pq]")
        return None
    if not (none or file is not None or os.environ.get(PASSPHRASE_VARIABLE)):
        with suppress(Refused):
            return open_ml_dsa_file(path, "")
    return open_ml_dsa_file(path, find_passphrase(file, none, str(path)))


def wallet_in(key: Path | None, passphrase_file: Path | None, no_passphrase: bool) -> Wallet | None:
    """The key in a file that is to sign; `None`: the node's own is. Raises as `open_key` does."""
    return open_key(key, passphrase_file, no_passphrase) if key else None


def open_bare_key(path: Path) -> Wallet | None:
    """The key in a file, if it has no passphrase. Raises `Problem`, and `Refused` (K3)."""
    try:
        return open_key_file(path, "")
    except Refused as refused:
        if refused.rule is not Rule.K4:
            raise
    return None
