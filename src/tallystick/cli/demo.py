"""`tallystick demo`: several nodes turn files into one agreed chain, against a fraud."""

import secrets
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

import tallystick
from tallystick.cli.account import Account, FileLine, give_account
from tallystick.cli.chance import from_seed, from_system
from tallystick.cli.file_check import check_file, with_one_byte_changed
from tallystick.cli.final_view import show_account
from tallystick.cli.live_view import Silent, Watcher, watching
from tallystick.cli.output import DEFAULT_CHAIN, ExitCode, errors_explained, fail, help_text, make_console, print_json
from tallystick.cli.scenario import FRAME_MS, LEDGER_NAME
from tallystick.cli.world import World
from tallystick.host.checked_chain import CheckedChain
from tallystick.host.errors import StoreError
from tallystick.host.file_statement import FileStatement, describe_file
from tallystick.host.store import Store
from tallystick.ledger.genesis import Genesis

DEFAULT_SPEED: Final = 3.5
SIMULATED_START_MS: Final = 1_735_689_600_000
"""1 January 2025, 00:00 UTC."""

_DEFAULT_FILES: Final = ("README.md", "LICENSE")
_FALLBACK_FILES: Final = ("ledger/certificate.py", "ledger/block.py")
"""Of this package, so that they are always there."""

HELP: Final = help_text(
    "Watch several nodes turn files into one agreed chain.",
    "Four people, one of them a fraud, certify files (README.md and LICENSE unless you name others), stake tokens, "
    "forge blocks and vote for them. The fraud throws forged certificates, votes and blocks at the nodes; a forger is "
    "killed; the network parts; one more node joins late. The chain is kept in a SQLite file for show and verify.",
    "Example: tallystick demo report.pdf data.csv --nodes 6",
)


def demo(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="Files to certify.", show_default=False)
    ] = None,
    *,
    nodes: Annotated[
        int, typer.Option(min=4, max=50, help="Nodes at the start; one more joins late. Four can spare one.")
    ] = 4,
    speed: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds of the nodes' time in a second of yours; 0: as fast as it goes.",
            show_default=f"{DEFAULT_SPEED} on a terminal, else 0",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**63 - 1, help="What delays and losses are drawn from.", show_default="a random one"),
    ] = None,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Take keys and time from the seed too: the same account every time.")
    ] = False,
    chain: Annotated[Path, typer.Option(help="The file to keep the chain in; an earlier demo's is replaced.")] = Path(
        DEFAULT_CHAIN
    ),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the account as one JSON object, and nothing else.")
    ] = False,
) -> None:
    """See `HELP`."""
    with errors_explained():
        seed = secrets.randbits(32) if seed is None else seed
        paths = files or _default_files()
        world = World(
            nodes,
            [describe_file(path) for path in paths],
            seed,
            chance=from_seed(seed) if simulated else from_system,
            start_ms=SIMULATED_START_MS if simulated else time.time_ns() // 1_000_000,
        )
        console = make_console()
        with _new_chain_file(chain, world.genesis) as store:
            store.remember_names(world.names)
            world.start(store)
            if as_json:
                _play(world, Silent(), speed or 0, chain)
            else:
                if not files and paths[0].is_absolute():
                    console.print("No README.md or LICENSE here: the demo certifies two files of its own program.\n")
                with watching(console, world) as watcher:
                    _play(world, watcher, _default_speed() if speed is None else speed, chain)
        account = _account_from_file(world, paths, chain, seed, simulated)
        if as_json:
            print_json(msgspec.to_builtins(account))
        else:
            show_account(console, account, chain)
    if not account.is_good:
        raise typer.Exit(ExitCode.FAILED)


def _default_files() -> list[Path]:
    here = [Path(name) for name in _DEFAULT_FILES if Path(name).is_file()]
    package = Path(tallystick.__file__).parent
    return here or [package / name for name in _FALLBACK_FILES]


def _default_speed() -> float:
    return DEFAULT_SPEED if sys.stdout.isatty() else 0


def _new_chain_file(path: Path, genesis: Genesis) -> Store:
    """A new store; in place of an earlier demo's, and of nothing else."""
    if path.exists():
        with Store.open(path, read_only=True) as earlier:
            name = earlier.genesis.name
        if name != LEDGER_NAME:
            raise StoreError(f"{path} holds the ledger {name!r} and is left alone; name another file with --chain")
        Store.open(path).delete()
    return Store.create(path, genesis)


def _play(world: World, watcher: Watcher, speed: float, chain: Path) -> None:
    """Let the demo run. At a speed above 0, frames of virtual time are paced by the real clock."""
    next_frame_s = time.monotonic()
    try:
        for _ in world.play():
            watcher.look()
            if speed:
                next_frame_s += FRAME_MS / 1000 / speed
                time.sleep(max(0.0, next_frame_s - time.monotonic()))
    except KeyboardInterrupt:
        raise fail(f"stopped; the blocks forged so far are in {chain}", ExitCode.STOPPED) from None


def _account_from_file(world: World, paths: list[Path], chain: Path, seed: int, simulated: bool) -> Account:
    """Close the account from the file alone: the chain is read back, and every rule on it checked again."""
    with Store.open(chain, world.genesis.ledger_id, read_only=True) as store:
        checked = CheckedChain(store)
        files = [_file_line(checked, world, path, said) for path, said in zip(paths, world.files, strict=True)]
        return give_account(world, checked, files, seed, simulated)


def _file_line(checked: CheckedChain, world: World, path: Path, certified: FileStatement) -> FileLine:
    now, changed = describe_file(path), with_one_byte_changed(path, certified.size_bytes)
    found = check_file(checked, now, world.names)
    return FileLine(found, found.is_covered, not check_file(checked, changed, world.names).is_covered)
