"""What `tallystick check --repair` does: mend a node's ledger from itself, and from peers what it lacks."""

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from tallystick.host.check import Check, Report
from tallystick.host.data_folder import DataFolder
from tallystick.host.data_lock import DataLock
from tallystick.host.errors import DamagedStore, StoreError
from tallystick.host.refetch import refetch
from tallystick.host.repair import LOST_VOTES, repair
from tallystick.host.salvage import salvage
from tallystick.host.store import Store
from tallystick.ledger.wallet import Wallet

Say = Callable[[str], None]


class Mended(Struct, frozen=True):
    """What was found, and what became of it."""

    was_sound: bool
    is_sound: bool
    tip_index: int
    refetched_blocks: int
    refetched_finalizations: int
    damaged_copy: str | None
    """Where the file is that was too damaged to be mended in place; its content was copied."""


def mend(folder: DataFolder, open_wallet: Callable[[], Wallet], say: Say) -> Mended:
    """Check, and repair what is damaged. The node must not run. Raises `HostError` for what could not be repaired.

    The key is opened only when something has to be fetched: peers want to know who asks.
    """
    with DataLock(folder.path):
        damaged_copy = _readable(folder, say)
        with Store.open(folder.ledger_path) as store:
            report = Check(store).run()
            if report.pages:
                raise StoreError(f"{folder.ledger_path} is still damaged after it was copied; restore a backup")
            was_sound = report.is_sound and damaged_copy is None
            blocks = sum(last - first + 1 for first, last in report.missing_blocks)
            finalizations = len(report.missing_finalizations)
            if not report.is_sound:
                for line in findings(report):
                    say(line)
                repair(store, report)
            if report.missing_blocks or report.missing_finalizations:
                say(f"Fetching {blocks} blocks and {finalizations} finalizations from peers")
                addresses = {record.key: record.address for record in store.addresses()}
                addresses |= dict(folder.settings().bootstrap_peers)
                wallet = open_wallet()
                addresses.pop(wallet.public_key, None)
                refetch(store, report, wallet, list(addresses.items()))
            last = Check(store).run()
            if last.derived:
                repair(store, last)
                last = Check(store).run()
            return Mended(was_sound, last.is_sound, last.tip_index, blocks, finalizations, damaged_copy)


def findings(report: Report) -> list[str]:
    """What a check found, a line each."""
    found = [f"the file's pages: {one}" for one in report.pages]
    found += [f"block {index}: {reason}" for index, reason in sorted(report.blocks.items())]
    found += [f"finalization of block {index}: {reason}" for index, reason in sorted(report.finalizations.items())]
    found += [f"payload {key.hex()[:16]}…: {reason}" for key, reason in sorted(report.payloads.items())]
    found += [f"a proposal: {reason}" for reason in report.proposals.values()]
    found += [f"a certificate that waited, to be handed in again: {reason}" for reason in report.waiting.values()]
    found += [f"derived: {what}" for what in report.derived]
    if report.votes:
        found.append(LOST_VOTES)
    return found


def _readable(folder: DataFolder, say: Say) -> str | None:
    """Put what can be read of a file with damaged pages in its place; returns the damaged file's new name."""
    try:
        with Store.open(folder.ledger_path) as store:
            if not Check(store).run().pages:
                return None
    except DamagedStore as error:
        say(str(error))
    kept = _unused(folder.ledger_path.with_name("ledger.damaged.db"))
    new = _unused(folder.ledger_path.with_name("ledger.salvaged.db"))
    say(f"Copying what can be read of {folder.ledger_path}; the damaged file is kept as {kept}")
    salvaged = salvage(folder.ledger_path, new)
    for table, lost in salvaged.lost.items():
        say(f"lost of the {table}: rows {', '.join(f'{first} to {last}' for first, last in lost)}")
    for suffix in ("", "-wal", "-shm"):
        old = folder.ledger_path.with_name(folder.ledger_path.name + suffix)
        if old.exists():
            old.replace(kept.with_name(kept.name + suffix))
    new.replace(folder.ledger_path)
    return str(kept)


def _unused(path: Path) -> Path:
    number = 1
    while path.exists():
        number += 1
        path = path.with_name(f"{path.name.split('.')[0]}.{path.name.split('.')[1]}-{number}.db")
    return path
