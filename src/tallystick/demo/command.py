"""`tallystick demo`: nodes turn files into one agreed chain, as real processes or in virtual time."""

import secrets
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

import tallystick
from tallystick.cli.options import argument, flag, option
from tallystick.cli.output import DEFAULT_CHAIN, Terminal, give, is_json, make_console
from tallystick.demo.closing_view import show_account
from tallystick.demo.real_demo import MOST_PROCESSES, play_real
from tallystick.demo.scenes import SimulatedDemo, play_simulated
from tallystick.problems import ExitCode

_DEFAULT_SPEED: Final = 3.5
_SPEED_HELP: Final = "Simulated: seconds of the nodes' time in a second of yours; 0: as fast as it goes."
_SPEED_DEFAULT: Final = f"{_DEFAULT_SPEED} on a terminal, else 0"
_SEED_HELP: Final = "Simulated: what keys, delays and losses are drawn from."
_DEFAULT_FILES: Final = ("README.md", "LICENSE")
_FALLBACK_FILES: Final = ("ledger/certificate.py", "ledger/block.py")
"""Of this package, so that they are always there."""


def demo(
    files: Annotated[list[Path] | None, argument("FILE", "Files to certify.")] = None,
    *,
    nodes: Annotated[int, option("At first; one more joins. Four can spare one.", min=4, max=50)] = 4,
    simulated: Annotated[bool, flag("--simulated", "In virtual time, on an open ledger, with a fraud.")] = False,
    speed: Annotated[float | None, option(_SPEED_HELP, min=0, show_default=_SPEED_DEFAULT)] = None,
    seed: Annotated[int | None, option(_SEED_HELP, min=0, max=2**63 - 1, show_default="a random one")] = None,
    chain: Annotated[Path, option("Where it is kept; an earlier demo's is replaced.")] = Path(DEFAULT_CHAIN),
) -> None:
    """Watch several nodes turn files into one agreed chain.

    Real node processes on this machine, in a temporary folder, each of a university: they certify files (README.md and
    LICENSE unless you name others), and an outsider's fake is refused. One node is killed and comes back; one more
    university joins, and is admitted by the others; a lost key is replaced; a diploma is revoked; and every file is
    verified at every node. When all nodes have stopped, a diploma verifies by its proof, until one byte of it is
    changed. The ledger is kept in a SQLite file for show and search.

    With --simulated: nodes in virtual time on an open ledger, where anybody certifies, and four users, one of them a
    fraud who throws forged certificates, votes and blocks at them; a forger is killed, the network parts, a node joins
    late.

    Examples:
      tallystick demo report.pdf data.csv
      tallystick demo --simulated --nodes 6
    """
    if not simulated and (speed is not None or seed is not None):
        raise typer.BadParameter("--speed and --seed are of the simulated demo; add --simulated")
    if not simulated and nodes > MOST_PROCESSES:
        raise typer.BadParameter(f"--nodes is {MOST_PROCESSES} at most, unless with --simulated: each is a process")
    console, paths = Terminal(quiet=True) if is_json() else make_console(), files or _default_files()
    if not files and paths[0].is_absolute():
        console.print("No README.md or LICENSE here: the demo certifies two files of its own program.")
        console.print()
    if simulated:
        pace = _DEFAULT_SPEED if speed is None and sys.stdout.isatty() and not is_json() else speed or 0
        drawn = secrets.randbits(32) if seed is None else seed
        account = play_simulated(SimulatedDemo(console, paths, nodes, drawn, pace), chain)
    else:
        account = play_real(console, paths, nodes, chain)
    give(account)
    show_account(account, chain, paths[0])
    if not account.is_good:
        raise typer.Exit(ExitCode.FAILED)


def _default_files() -> list[Path]:
    here = [Path(name) for name in _DEFAULT_FILES if Path(name).is_file()]
    package = Path(tallystick.__file__).parent
    return here or [package / name for name in _FALLBACK_FILES]
