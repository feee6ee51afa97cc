"""`tallystick up`: a network of nodes on this machine, to play with until Ctrl-C."""

import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

from tallystick.cli.options import NoPassphrase, PassphraseFile, argument, find_passphrase, open_bare_key, option
from tallystick.cli.output import Text, fail, make_console, marked, say, say_how_to_find_it, warn
from tallystick.cli.words import names_of
from tallystick.demo.local_network import LocalNetwork, NodeProcess, terminated_like_interrupted
from tallystick.demo.real_demo import MOST_PROCESSES, PARAMS, UNIVERSITIES
from tallystick.host.addresses import drawn_port
from tallystick.host.data_folder import DataFolder, FolderError
from tallystick.host.founding import found_here
from tallystick.ledger.genesis import Founder
from tallystick.problems import ExitCode
from tallystick.storage.store import Store

_LOOK_SECONDS: Final = 0.5


def up(
    folder: Annotated[
        Path | None, argument("FOLDER", "Where the nodes' folders are.", show_default="a temporary one")
    ] = None,
    *,
    nodes: Annotated[int, option("Without FOLDER: how many nodes.", min=1, max=MOST_PROCESSES)] = 4,
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
        bare = open_bare_key(folders[0].key_path)
        passphrase = "" if bare else find_passphrase(passphrase_file, no_passphrase, "all keys")
        with LocalNetwork([NodeProcess(one, passphrase) for one in folders]) as network:
            _run(network)


@contextmanager
def _folders(folder: Path | None, nodes: int) -> Iterator[list[DataFolder]]:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="tallystick-") as root:
            into, port, called = Path(root) / "net", drawn_port(nodes), UNIVERSITIES[:nodes]
            yield found_here("tallystick playground", into, nodes, "", params=PARAMS, port=port, called=called)
        return
    folders = [DataFolder(one) for one in folder.glob("node-*")]
    found = sorted((one for one in folders if one.is_there), key=lambda one: (len(one.path.name), one.path.name))
    if not found:
        advice = f"make some with: tallystick new NAME --members 4 --into {shlex.quote(str(folder))}"
        raise FolderError(f"there are no nodes in {folder}; {advice}")
    yield found


def _run(network: LocalNetwork[NodeProcess]) -> None:
    with make_console().status("The nodes start, and find each other"):
        network.start()
    try:
        _tell([node.folder for node in network.nodes])
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
        say("")
        say("The node has ended." if len(codes) == 1 else f"All {len(codes)} nodes have ended.")
        return
    raise fail("all nodes have ended; their logs are beside their folders", ExitCode.FAILED)


def _needed_beside_the_first(folders: Sequence[DataFolder], founders: Sequence[Founder]) -> Iterator[DataFolder]:
    """With how many of the others the first node passes a motion: more than 2/3 of the stake, as it was founded."""
    stakes = {one.key: one.stake for one in founders}
    approving = 0
    for one in folders:
        if approving:
            yield one
        approving += stakes.get(one.public_key(), 0)
        if 3 * approving > 2 * sum(stakes.values()):
            return


def _tell(folders: Sequence[DataFolder]) -> None:
    with Store.open(folders[0].ledger_path, read_only=True) as store:
        founders = store.genesis.founders
    first, last, own = folders[0].quoted, folders[-1].quoted, folders[0].public_key()
    what = "one node runs" if len(folders) == 1 else f"{len(folders)} nodes run"
    say(marked("✓", what, f" in {folders[0].path.parent}; Ctrl-C ends it all."))
    if founders:
        say(f"  They are {names_of([one.title for one in founders])}; they decide together, and they alone certify.")
    else:
        say("  The ledger is open: anybody certifies, and keys stake tokens of their own.")
    say("")
    say("Try in another terminal:")
    at, joining = f"--data {first}", f"tallystick join $(tallystick invite --data {first}) --data ./mine"
    governed = (
        f"tallystick member list {at}",
        *(
            f"tallystick member rename {one.organisation} --title 'New {one.title}' {at}"
            for one in founders
            if one.key == own
        ),
        *(f"tallystick motion approve ID --data {one.quoted}" for one in _needed_beside_the_first(folders, founders)),
        f"{joining} --no-passphrase --run",
        f"tallystick member admit $(tallystick key admit mine --data ./mine) --title Mine {at}",
    )
    for command in (
        f"tallystick status {at}",
        f"tallystick certify FILE {at}",
        f"tallystick search --file FILE --data {last}",
        f"tallystick show --data {last}",
        *(governed if founders else (f"tallystick stake 50 {at}", f"{joining} --no-passphrase --run")),
    ):
        say(Text(f"  {command}", style="bold"))
    say_how_to_find_it()
