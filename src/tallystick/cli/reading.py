"""Reading a kept chain back, with a sign of life when that takes a while."""

import sys
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tallystick.host.checked_chain import CheckedChain
from tallystick.host.errors import StoreError
from tallystick.host.store import Store

_PATIENCE_SECONDS: Final = 1.0


def open_chain(path: Path) -> Store:
    """Open a kept chain to read it. Raises `StoreError`."""
    if not path.exists():
        raise StoreError(f"there is no {path} here: make one with tallystick demo, or name a chain's file with --chain")
    return Store.open(path, read_only=True)


def read_chain(store: Store) -> CheckedChain:
    """Check the whole chain. After a second, a bar on standard error shows how far it has come."""
    if not sys.stderr.isatty():
        return CheckedChain(store)
    columns = (TextColumn("Checking blocks"), BarColumn(), MofNCompleteColumn())
    begun_s = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=store.tip_index, visible=False)

        def on_block(index: int) -> None:
            progress.update(task, completed=index, visible=time.monotonic() - begun_s > _PATIENCE_SECONDS)

        return CheckedChain(store, on_block=on_block)
