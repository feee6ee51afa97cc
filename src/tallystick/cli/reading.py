"""Reading a kept chain back, with a sign of life when that takes a while."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tallystick.cli.output import Terminal
from tallystick.host.verification import verifying
from tallystick.integrity.check import Check, Report, Verify
from tallystick.integrity.checked_chain import CheckedChain
from tallystick.problems import StoreError
from tallystick.storage.store import Store

_PATIENCE_SECONDS: Final = 1.0


def open_chain(path: Path) -> Store:
    """Open a kept chain to read it. Raises `StoreError`."""
    if not path.exists():
        raise StoreError(f"there is no {path} here: make one with tallystick demo, or name a chain's file with --chain")
    return Store.open(path, read_only=True)


def read_chain(store: Store) -> CheckedChain:
    """Check the whole chain, up to the first rule that it breaks. Raises `DamagedStore`."""
    with counting("Checking blocks", store.tip_index) as on_block:
        return CheckedChain(store, on_block=on_block)


def find_damage(store: Store, verify: Verify | None = None) -> Report:
    """Check all that the file holds, as it is at this moment, and name all damage."""
    if verify is None:
        with asyncio.Runner() as runner, verifying(runner) as in_processes:
            return find_damage(store, in_processes)
    with store.frozen(), counting("Checking blocks", store.tip_index) as on_block:
        return Check(store, verify, on_block).run()


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], object]]:
    """Gives what is to be told how many are done. After a second, a bar on standard error shows it to people."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn())
    begun_s = time.monotonic()
    with Progress(*columns, console=Terminal(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total, visible=False)

        def on_done(done: int) -> None:
            progress.update(task, completed=done, visible=time.monotonic() - begun_s > _PATIENCE_SECONDS)

        yield on_done
