"""A key's guard while its node does not run: how it stands, and what its operator has to say of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from tallystick.consensus.signing_guard import GuardState, GuardStatus, LossAccepted, Lost
from tallystick.host.data_folder import DataFolder
from tallystick.host.data_lock import data_lock
from tallystick.host.guard_file import GuardError, GuardFile, read_guard, summaries
from tallystick.ledger.genesis import Genesis
from tallystick.storage.store import Store

_TWO_MACHINES: Final = "Does this key sign on no other machine, now or later"

Confirm = Callable[[str], None]
"""Asks the operator, and raises `Problem` unless the answer is yes."""


class Standing(NamedTuple):
    """How a guard stands, by ledger."""

    loss: str | None
    """Why the file has to be taken for lost."""
    elsewhere: GuardState
    """On every ledger that is not named."""
    ledgers: dict[bytes, GuardState]
    genesis: Genesis | None
    """Of the folder's ledger, if there is one."""


def look(folder: DataFolder) -> Standing:
    """Read the guard; nothing is changed. Raises `Problem`, `Refused` (K3)."""
    key = folder.public_key()
    with data_lock(folder.path):
        found = read_guard(folder.guard_path, key)
    genesis = _genesis(folder) if folder.ledger_path.exists() else None
    states = summaries(found.records if found.loss is None else [*found.records, Lost(None)])
    elsewhere = states[None]
    ledgers = {ledger_id: state for ledger_id, state in states.items() if ledger_id is not None}
    if genesis is not None:
        ledgers.setdefault(genesis.ledger_id, elsewhere)
    return Standing(found.loss, elsewhere, ledgers, genesis)


def say_lost(folder: DataFolder, confirm: Confirm) -> None:
    """The machine was set back: the guard counts as lost on every ledger. Raises `Problem`, `Refused` (K3)."""
    with _opened(folder) as file:
        if summaries(file.records)[None].status is GuardStatus.MOVED:
            confirm(f"The key was moved away. {_TWO_MACHINES}?")
        file.append([Lost(None)])


def recover(folder: DataFolder, confirm: Confirm) -> None:
    """Another machine signed, and has stopped for good. Raises `Problem`, `Refused` (K3)."""
    with _opened(folder) as file:
        genesis, state = _on_its_ledger(folder, file)
        if state.status is GuardStatus.MOVED:
            advice = "recover it there, or read: tallystick guard lost --help"
            raise GuardError(f"the key was moved to another machine; {advice}")
        if state.status is GuardStatus.TWIN:
            confirm(f"Another machine signed with this key. {_TWO_MACHINES}?")
        file.append([Lost(genesis.ledger_id)])


def accept_loss(folder: DataFolder, confirm: Confirm) -> None:
    """Go on although what was signed is lost, and not enough others can tell. Raises `Problem`, `Refused` (K3)."""
    with _opened(folder) as file:
        genesis, state = _on_its_ledger(folder, file)
        if state.status is not GuardStatus.LOST and state.silent <= state.final:
            raise GuardError(f"the guard is {state.status.value}, not lost: there is no loss to accept")
        confirm("This risks the stake, and with liars of more than a third together a fork. Go on?")
        file.append([LossAccepted(genesis.ledger_id)])


@contextmanager
def _opened(folder: DataFolder) -> Iterator[GuardFile]:
    key = folder.public_key()
    with data_lock(folder.path), GuardFile.open(folder.guard_path, key) as file:
        yield file


def _on_its_ledger(folder: DataFolder, file: GuardFile) -> tuple[Genesis, GuardState]:
    """The folder's ledger, and how the guard stands there. Raises `StoreError`."""
    genesis = _genesis(folder)
    states = summaries(file.records)
    return genesis, states.get(genesis.ledger_id, states[None])


def _genesis(folder: DataFolder) -> Genesis:
    with Store.open(folder.ledger_path, read_only=True) as store:
        return store.genesis
