"""`tallystick up`: a network of nodes on this machine, to play with until Ctrl-C."""

import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from tallystick.cli.options import NoPassphrase, PassphraseFile, find_passphrase
from tallystick.cli.output import Terminal, Text, fail, make_console, marked, warn
from tallystick.demo.local_network import LocalNetwork, NodeProcess, in_order, terminated_like_interrupted
from tallystick.demo.real_demo import MOST_PROCESSES, PARAMS
from tallystick.host.data_folder import DataFolder, FolderError
from tallystick.host.founding import found_here
from tallystick.ledger.errors import Refused, Rule
from tallystick.problems import ExitCode

_LOOK_SECONDS: Final = 0.5


def up(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", help="Where the nodes' folders are.", show_default="a temporary one"),
    ] = None,
    *,
    nodes: Annotated[int, typer.Option(min=1, max=MOST_PROCESSES, help="Without FOLDER: how many nodes.")] = 4,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
) -> None:
    """Run a network of nodes on this machine, until Ctrl-C.

    In a temporary folder that is gone afterwards; or the nodes in FOLDER, as tallystick new NAME --members N made them.
    It says which commands to try in another terminal.

    Examples:
      tallystick up
      tallystick new class --members 6 --into class --no-passphrase, then tallystick up class
    """
    with terminated_like_interrupted(), _folders(folder, nodes) as folders:
        passphrase = "" if _opens(folders[0], "") else find_passphrase(passphrase_file, no_passphrase, "all keys")
        with LocalNetwork([NodeProcess(one, passphrase) for one in folders]) as network:
            _run(make_console(), network)


@contextmanager
def _folders(folder: Path | None, nodes: int) -> Iterator[list[DataFolder]]:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="tallystick-") as root:
            yield found_here("tallystick playground", Path(root) / "net", nodes, "", params=PARAMS)
        return
    folders = [DataFolder(one) for one in folder.glob("node-*")]
    found = sorted((one for one in folders if one.is_there), key=lambda one: in_order(one.path.name))
    if not found:
        advice = f"make some with: tallystick new NAME --members 4 --into {shlex.quote(str(folder))}"
        raise FolderError(f"there are no nodes in {folder}; {advice}")
    yield found


def _opens(folder: DataFolder, passphrase: str) -> bool:
    try:
        folder.wallet(passphrase)
    except Refused as refused:
        if refused.rule is not Rule.K4:
            raise
        return False
    return True


def _run(console: Terminal, network: LocalNetwork[NodeProcess]) -> None:
    with console.status("The nodes start, and find each other"):
        network.start()
    try:
        _tell(console, [node.folder for node in network.nodes])
        while network.running:
            for node, code in network.ended():
                again = f"tallystick run --data {node.folder.quoted}"
                warn(f"{node.name} has ended with {code}; start it again with: {again}")
            time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        codes = network.stop()
        if any(codes.values()):
            ended = ", ".join(f"{name} with {code}" for name, code in codes.items() if code)
            raise fail(f"not all nodes ended well: {ended}", ExitCode.FAILED) from None
        console.print()
        console.print("The node has ended." if len(codes) == 1 else f"All {len(codes)} nodes have ended.")
        return
    raise fail("all nodes have ended; their logs are beside their folders", ExitCode.FAILED)


def _tell(console: Terminal, folders: Sequence[DataFolder]) -> None:
    paths = [one.quoted for one in folders]
    last = paths[-1]
    what = "one node runs" if len(folders) == 1 else f"{len(folders)} nodes run"
    ends = "ends it" if len(folders) == 1 else "ends them"
    console.print(marked("✓", what, f" in {folders[0].path.parent}; Ctrl-C {ends}."))
    console.print()
    console.print("Try in another terminal:")
    for command in (
        f"tallystick status --data {paths[0]}",
        f"tallystick certify FILE --data {paths[0]}",
        f"tallystick verify FILE --data {last}",
        f"tallystick show --data {last}",
        f"tallystick stake 50 --data {paths[0]}",
        f"tallystick join $(tallystick invite --data {paths[0]}) --data ./mine --no-passphrase --run",
    ):
        console.print(Text(f"  {command}", style="bold"), soft_wrap=True)
