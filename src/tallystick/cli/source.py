"""Where `show` and `verify` look: a chain's file that was named, else the node's folder, else the demo's file here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from tallystick.cli.options import DEFAULT_DATA, node_folder
from tallystick.cli.output import DEFAULT_CHAIN
from tallystick.host.control import Client, NotRunning
from tallystick.host.data_folder import DataFolder
from tallystick.problems import StoreError

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


@dataclass(frozen=True)
class Source:
    """A file that is to be checked as a whole, or a node that runs."""

    file: Path
    node: DataFolder | None = None


def find_source(chain: Path | None, data: Path | None) -> Source:
    """See the module. Raises `StoreError` when there is neither file nor node, `HostError`.

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
    """Whether a node runs there. Raises `HostError` when that cannot be told."""
    try:
        with Client(folder.socket_path):
            return True
    except NotRunning:
        return False
