"""What the commands ask: a running node, or the file of a chain."""

from contextlib import suppress
from pathlib import Path
from typing import Final

from tallystick.cli.options import chain_file, node_folder
from tallystick.cli.output import DEFAULT_CHAIN, Terminal, Text
from tallystick.client.blocking import Client
from tallystick.ledger.wallet import Wallet
from tallystick.problems import NotRunning, StoreError

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
