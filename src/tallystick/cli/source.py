"""What the commands ask: a running node, or the file of a chain."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from tallystick.cli.options import DEFAULT_DATA, chain_file, node_folder
from tallystick.cli.output import DEFAULT_CHAIN, Terminal, Text
from tallystick.client.blocking import Client
from tallystick.host import control
from tallystick.host.data_folder import DataFolder
from tallystick.ledger.wallet import Wallet
from tallystick.problems import NotRunning, StoreError

Chain = Annotated[
    Path | None,
    typer.Option(
        "--chain",
        metavar="FILE",
        help="Check a kept chain instead of asking the node.",
        show_default=f"the node's; without a node, {DEFAULT_CHAIN}",
    ),
]

WHERE: Final = (
    f"It asks the running node. With --chain, or when the node does not run, the whole chain in a file is checked "
    f"again; where there is no node, the {DEFAULT_CHAIN} that a demo left in this folder."
)
_BLOCKS_A_TIME: Final = 100


def open_source(chain: Path | None, data: Path | None) -> Client:
    """Open the chain's file that was named, else the node's folder, else the demo's file here.

    A node comes before the demo's file: a file that lies about in a folder must not speak in its place. A file is
    checked from its genesis on. Raises `StoreError` when there is neither, `DamagedStore`, `Problem`.
    """
    file = chain_file(chain, data)
    if file.is_dir():
        raise StoreError(f"{file} is a directory; name the file of a chain, or a node's folder with --data")
    if chain is None and file != Path(DEFAULT_CHAIN):
        with suppress(NotRunning):
            return Client(file.parent)
    with Terminal(stderr=True).status("Checking the chain") as sign:

        def count(index: int) -> None:
            if index % _BLOCKS_A_TIME == 0:
                sign.update(Text(f"Checking the chain: block {index:,}"))

        return Client(file, on_block=count)


def open_node(data: Path | None, wallet: Wallet | None = None) -> Client:
    """Open the node of the folder that was named, or the usual one; `wallet` signs instead of it.

    Raises `NotRunning`, `Problem`.
    """
    folder = node_folder(data)
    if not folder.is_there:
        folder.settings()
    return Client(folder.path, wallet=wallet)


@dataclass(frozen=True)
class Source:
    """A file that is to be checked as a whole, or a node that runs."""

    file: Path
    node: DataFolder | None = None


def find_source(chain: Path | None, data: Path | None) -> Source:
    """See the module. Raises `StoreError` when there is neither file nor node, `Problem`.

    A node comes before the demo's file: a file that lies about in a folder must not speak in its place.
    """
    if chain is not None:
        return Source(chain)
    folder = node_folder(data)
    if folder.is_there or data is not None:
        folder.settings()
        return Source(folder.ledger_path, folder if is_running(folder) else None)
    if not Path(DEFAULT_CHAIN).exists():
        ways = "make one with tallystick demo, or name a chain's file with --chain or a node's folder with --data"
        raise StoreError(f"there is no node in {DEFAULT_DATA}, and no {DEFAULT_CHAIN} here: {ways}")
    return Source(Path(DEFAULT_CHAIN))


def is_running(folder: DataFolder) -> bool:
    """Whether a node runs there. Raises `Problem` when that cannot be told."""
    try:
        with control.Client(folder.socket_path):
            return True
    except NotRunning:
        return False
