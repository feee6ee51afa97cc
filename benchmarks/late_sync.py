"""How fast a node fetches the end of a long ledger, beside one that fetches the beginning of it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.network import Synced, running, synced
from benchmarks.processes import ports
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.host.founding import make_key
from tallystick.ledger.genesis import Genesis
from tallystick.storage.search_index import SearchIndex
from tallystick.storage.store import Store

SYNCED: Final = 98_304
"""Certificates that a node fetches of either."""
_ROUNDS: Final = 5


class Stores(NamedTuple):
    """Of one ledger."""

    whole: Path
    beginning: Path
    """The first `SYNCED` certificates."""
    but_the_end: Path
    """All but the last `SYNCED`."""


def at_both_ends(stores: Stores) -> Iterator[tuple[Synced, Synced]]:
    """How nodes sync the ledger's beginning, and its end, in turn."""
    with tempfile.TemporaryDirectory() as folder, Store.open(stores.beginning, read_only=True) as beginning:
        into, genesis = Path(folder), beginning.genesis
        long, short = _reader(into / "long", genesis), _reader(into / "short", genesis)
        shutil.copy(stores.whole, long.ledger_path)
        shutil.copy(stores.beginning, short.ledger_path)
        late, early = _reader(into / "late", genesis, long), _reader(into / "early", genesis, short)
        shutil.copy(stores.but_the_end, late.ledger_path)
        held = _fill_search_index(late)  # or that would go on beside the sync
        shutil.copy(late.search_path, long.search_path)
        _fill_search_index(long)
        with running([long]), running([short]):
            for number in range(_ROUNDS):
                joiners = [
                    DataFolder(shutil.copytree(one.path, into / f"{one.path.name}-{number}")) for one in (early, late)
                ]
                os.sync()  # or the copies are written beside the sync
                yield synced(joiners[0], 0, SYNCED), synced(joiners[1], held, held + SYNCED)


def _reader(path: Path, genesis: Genesis, source: DataFolder | None = None) -> DataFolder:
    """The folder of a node that reads along."""
    folder, address = DataFolder(path), f"127.0.0.1:{ports(1).start}"
    make_key(folder, "")
    known = () if source is None else (f"{source.public_key().hex()}@{source.settings().address}",)
    folder.create(Settings(address, address, known), genesis)
    return folder


def _fill_search_index(folder: DataFolder) -> int:
    """Take all of the store in; how many certificates it has."""
    with Store.open(folder.ledger_path, read_only=True) as store:
        last = store.finalized_until()
        with closing(SearchIndex(folder.search_path, store.genesis.ledger_id)) as index:
            while index.fill(store, last, {}):
                pass
            return index.size
