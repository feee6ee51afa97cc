"""Mending the ledger of a node that does not run: from itself, and from peers what it lacks."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from tallystick.host.data_folder import DataFolder
from tallystick.host.data_lock import data_lock
from tallystick.host.verification import verifying
from tallystick.integrity.check import Report, Verify, find_damage
from tallystick.integrity.refetch import Peers, connected, refetch
from tallystick.integrity.repair import repair
from tallystick.integrity.salvage import finish_salvage, salvage_in_place
from tallystick.ledger.wallet import Wallet
from tallystick.problems import DamagedStore, NoChain
from tallystick.storage.store import Store

Say = Callable[[str], None]
Counting = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""Shows how many of a total are done: the block is given what is told."""


class Mending:
    """One repair, of a node that does not run; afterwards it tells what was found, and what became of it."""

    def __init__(self, folder: DataFolder, open_wallet: Callable[[], Wallet], say: Say, counting: Counting) -> None:
        """`open_wallet` is called only when something has to be fetched: peers want to know who asks."""
        self.is_sound = False
        self.found: list[str] = []
        """All damage, a line each."""
        self.damaged_files: list[str] = []
        """Where files are that were too damaged to be mended in place; what could be read of them was copied."""
        self.refetched_blocks = self.refetched_finalizations = self.dropped_blocks = self.tip_index = 0
        self._folder = folder
        self._path = folder.ledger_path
        self._open_wallet = open_wallet
        self._say = say
        self._counting = counting

    def run(self) -> None:
        """Check, and repair what is damaged, until nothing is. It may be cut off anywhere and begun again.

        Raises `DataInUse` while the node runs, `DamagedStore` for what could not be repaired, other `Problem`s.
        """
        with data_lock(self._folder.path), asyncio.Runner() as runner, verifying(runner) as verify:
            if (kept := finish_salvage(self._path)) is not None:
                self._set_aside(kept)
            seen: list[list[str]] = []
            while True:  # whether something is damaged may be known only when other damage is mended
                report, found = self._look(verify)
                if found in seen:
                    break
                seen.append(found)
                self._tell(found)
                if report is None or report.pages:
                    self._salvage()
                elif found:
                    self._repair(report, runner, verify)
                else:
                    self._end(report)
                    break

    def _look(self, verify: Verify) -> tuple[Report | None, list[str]]:
        """What a check finds, in words, too; no report if the file cannot even be opened."""
        try:
            with (
                Store.open(self._path, read_only=True) as store,
                self._counting("Checking blocks", store.tip_index) as on_block,
            ):
                report = find_damage(store, verify, on_block)
        except (DamagedStore, NoChain) as error:
            return None, [str(error)]
        return report, report.lines

    def _tell(self, found: Iterable[str]) -> None:
        for line in found:
            if line not in self.found:
                self.found.append(line)
                self._say(line)

    def _end(self, report: Report) -> None:
        self.tip_index, self.is_sound = report.tip_index, True
        if self.found:
            with Store.open(self._path) as store:
                repair(store, report)  # keeps what the chain has come to: the next start replays nothing

    def _salvage(self) -> None:
        self._say(f"Copying what can be read of {self._path}")
        lost, kept = salvage_in_place(self._path)
        for table, ranges in lost.items():
            if ranges:
                self._tell([f"lost of {table}: {', '.join(f'{first} to {last}' for first, last in ranges)}"])
        self._set_aside(kept)

    def _set_aside(self, kept: Path) -> None:
        self.damaged_files.append(str(kept))
        self._say(f"The damaged file is kept as {kept}; it is of no more use once this node votes again")

    def _repair(self, report: Report, runner: asyncio.Runner, verify: Verify) -> None:
        blocks = sum(last - first + 1 for first, last in report.missing_blocks)
        finalizations = len(report.missing_finalizations)
        wallet = self._open_wallet() if blocks or finalizations else None
        with Store.open(self._path) as store:
            repair(store, report)
            self.dropped_blocks += report.tip_index - report.last_good
            self.tip_index = report.last_good
            if wallet is None:
                return
            self._say(f"Fetching from peers; blocks: {blocks:,}, finalizations: {finalizations:,}")
            peers = self._peers(store, wallet.public_key)
            with (
                connected(store.genesis.ledger_id, wallet, peers, runner) as session,
                self._counting("Fetching", blocks + finalizations) as on_fetched,
            ):

                def on_put(more_blocks: int, more_finalizations: int) -> None:
                    self.refetched_blocks += more_blocks
                    self.refetched_finalizations += more_finalizations
                    on_fetched(self.refetched_blocks + self.refetched_finalizations)

                refetch(store, report, session, verify, on_put)

    def _peers(self, store: Store, own: bytes) -> Peers:
        addresses = dict(self._folder.settings().bootstrap_peers)
        for record in store.addresses():
            addresses.setdefault(record.key, record.address)
        return [(key, address) for key, address in addresses.items() if key != own]
