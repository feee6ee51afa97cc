"""The file in which a demo keeps its chain, and how a demo closes: its verdicts, and what to look at next."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.table import Table

from tallystick.cli.options import node_folder
from tallystick.cli.output import DEFAULT_CHAIN, Terminal, Text
from tallystick.problems import StoreError
from tallystick.storage.store import Store

LEDGER_NAME: Final = "tallystick demo"


def make_room(path: Path) -> None:
    """Remove an earlier demo's chain, and nothing else. Raises `StoreError`, and then nothing has changed."""
    check_room(path)
    if path.exists():
        Store.open(path).delete()


def check_room(path: Path) -> None:
    """Raise `StoreError` when something else than an earlier demo's chain is in the way, or no file can be made."""
    if not os.access(path.absolute().parent, os.W_OK):
        raise StoreError(f"{path} cannot be made: its folder is not there, or not yours to write; name another file")
    if path.exists():
        with Store.open(path, read_only=True) as earlier:
            name = earlier.genesis.name
        if name != LEDGER_NAME:
            raise StoreError(f"{path} holds the ledger {name!r} and is left alone; name another file with --chain")


def show_verdicts(console: Terminal, verdicts: Sequence[tuple[bool, str]]) -> None:
    """What was to be shown, and whether it was."""
    lines = Table.grid(padding=(0, 1))
    for is_good, verdict in verdicts:
        lines.add_row(Text("✓", style="bold green") if is_good else Text("×", style="bold red"), Text(verdict))
    console.print(lines)


def show_kept(console: Terminal, chain: Path, file_name: str) -> None:
    """Where the chain is kept, and how to look into it."""
    is_found = chain == Path(DEFAULT_CHAIN) and not node_folder(None).is_there
    option = "" if is_found else f" --chain {shlex.quote(str(chain))}"
    console.print()
    console.print(Text.assemble("The chain is kept in ", (str(chain), "bold"), ". Look into it:"), soft_wrap=True)
    for command in ("show", "show block 1", f"verify {shlex.quote(file_name)}"):
        console.print(Text(f"  tallystick {command}{option}", style="bold"), soft_wrap=True)
