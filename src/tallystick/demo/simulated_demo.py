"""`tallystick demo --simulated`: nodes in virtual time, against a fraud; one seed, one account."""

import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from tallystick.cli.file_check import check_file, with_one_byte_changed
from tallystick.cli.output import ExitCode, Terminal, fail, print_json
from tallystick.demo.account import Account, FileLine, give_account
from tallystick.demo.final_view import show_account
from tallystick.demo.kept_chain import make_room
from tallystick.demo.live_view import Silent, Watcher, watching
from tallystick.demo.scenario import FRAME_MS
from tallystick.demo.seeding import from_seed
from tallystick.demo.simulation import Simulation
from tallystick.integrity.checked_chain import CheckedChain
from tallystick.storage.file_statement import FileStatement, describe_file
from tallystick.storage.store import Store

DEFAULT_SPEED: Final = 3.5
SIMULATED_START_MS: Final = 1_735_689_600_000
"""1 January 2025, 00:00 UTC."""


def play_simulated(
    console: Terminal, paths: list[Path], nodes: int, chain: Path, *, speed: float | None, seed: int, as_json: bool
) -> bool:
    """Play it, and tell what it came to; whether everything came out as it should. Raises `HostError`."""
    statements = [describe_file(path) for path in paths]
    simulation = Simulation(nodes, statements, seed, seeding=from_seed(seed), start_ms=SIMULATED_START_MS)
    make_room(chain)
    with Store.create(chain, simulation.genesis) as store:
        store.remember_names(simulation.names)
        simulation.start(store)
        if as_json:
            _play(simulation, Silent(), speed or 0, chain)
        else:
            with watching(console, simulation) as watcher:
                _play(simulation, watcher, _default_speed() if speed is None else speed, chain)
    account = _account_from_file(simulation, paths, chain, seed)
    if as_json:
        print_json(msgspec.to_builtins(account))
    else:
        show_account(console, account, chain)
    return account.is_good


def _default_speed() -> float:
    return DEFAULT_SPEED if sys.stdout.isatty() else 0


def _play(simulation: Simulation, watcher: Watcher, speed: float, chain: Path) -> None:
    """Let the demo run. At a speed above 0, frames of virtual time are paced by the real clock."""
    next_frame_s = time.monotonic()
    try:
        for _ in simulation.play():
            watcher.look()
            if speed:
                next_frame_s += FRAME_MS / 1000 / speed
                time.sleep(max(0.0, next_frame_s - time.monotonic()))
    except KeyboardInterrupt:
        raise fail(f"stopped; the blocks forged so far are in {chain}", ExitCode.STOPPED) from None


def _account_from_file(simulation: Simulation, paths: list[Path], chain: Path, seed: int) -> Account:
    """Close the account from the file alone: the chain is read back, and every rule on it checked again."""
    with Store.open(chain, simulation.genesis.ledger_id, read_only=True) as store:
        checked = CheckedChain(store)
        files = [
            _file_line(checked, simulation, path, said) for path, said in zip(paths, simulation.files, strict=True)
        ]
        return give_account(simulation, checked, files, seed)


def _file_line(checked: CheckedChain, simulation: Simulation, path: Path, certified: FileStatement) -> FileLine:
    now, changed = describe_file(path), with_one_byte_changed(path, certified.size_bytes)
    found = check_file(checked, now, simulation.names)
    return FileLine(found, found.is_covered, not check_file(checked, changed, simulation.names).is_covered)
