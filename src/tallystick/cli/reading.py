"""Reading a kept chain back, with a sign of life when that takes a while."""

from pathlib import Path

from tallystick.cli.output import counting
from tallystick.integrity.checked_chain import CheckedChain
from tallystick.problems import StoreError
from tallystick.storage.store import Store


def open_chain(path: Path) -> Store:
    """Open a kept chain to read it. Raises `StoreError`."""
    if not path.exists():
        raise StoreError(f"there is no {path} here: make one with tallystick demo, or name a chain's file with --chain")
    return Store.open(path, read_only=True)


def read_chain(store: Store) -> CheckedChain:
    """Check the whole chain, up to the first rule that it breaks. Raises `DamagedStore`."""
    with counting("Checking blocks", store.tip_index) as on_block:
        return CheckedChain(store, on_block=on_block)
