"""`tallystick guard`: what this node's key has signed, and what its operator has to say about that."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tallystick.cli.connecting import ledger_info
from tallystick.cli.options import AsJson, Data, node_folder
from tallystick.cli.output import (
    Text,
    error_boundary,
    help_text,
    hint,
    make_console,
    marked,
    print_json,
)
from tallystick.cli.words import many
from tallystick.consensus.signing_guard import GuardRecord, GuardState, GuardStatus, LossAccepted, Lost, Place
from tallystick.host.data_folder import DataFolder
from tallystick.host.data_lock import DataLock
from tallystick.host.guard_file import GuardError, GuardFile, read_guard, summaries
from tallystick.ledger.genesis import Genesis

HELP: Final = help_text(
    "What this node's key has signed: its guard, a file beside the key. The node must not run meanwhile.",
    "A member that signs two things that contradict each other loses its stake. The guard keeps it from that, whatever "
    "becomes of the ledger's file. It cannot know of a second machine with the same key, nor that this one was set "
    "back: that its operator says here.",
    "Example: tallystick guard show",
)
SHOW_HELP: Final = help_text(
    "Tell of each ledger whether the key signs there, and from which epoch and view on.",
    "It changes nothing, and risks nothing. While the node runs, tallystick status tells the same.",
    "Example: tallystick guard show --json",
)
MOVE_HELP: Final = help_text(
    "Move the key to another machine: copy it with its guard into FOLDER, and close the guard here.",
    "FOLDER is made, for you alone; it is the other node's data folder, or what you carry there. Cut off half way, it "
    "is run again. Risk: a key that signs on two machines contradicts itself and loses its stake. So here it signs no "
    "more, and FOLDER goes to one machine only. A copy for safekeeping is something else: of the key file alone.",
    "Example: tallystick guard move /mnt/stick/alice",
)
LOST_HELP: Final = help_text(
    "Say that this machine was set back: to a snapshot, an image, a backup of the whole disk.",
    "Nothing on it can notice. From the next start on the node signs nothing until others have told what its key "
    "signed meanwhile. Risk: none for the stake, but a member that the others cannot do without (one of three equal "
    "ones) needs tallystick guard accept-loss then. Not to say it risks the stake. It also opens a guard that a move "
    "has closed: then the risk is that the key signs where it was moved to.",
    "Example: tallystick guard lost",
)
RECOVER_HELP: Final = help_text(
    "Go on after another machine signed with this key, once that one has stopped for good.",
    "From the next start on the node signs nothing until others have told what the key signed. Risk: if the other "
    "machine still runs, or is started again, both sign, contradict each other, and the stake is lost.",
    "Example: tallystick guard recover",
)
ACCEPT_HELP: Final = help_text(
    "Go on although what the key signed is lost and not enough others can tell: the operator's word.",
    "For members that the others cannot do without, as one of three equal ones, or that stay silent after a recovery "
    "while the ledger stands still. The node still asks all others, signs again what they show, and otherwise only "
    "helps to end views, up to the last one in which it may have signed. Risk: if one "
    "that answers lies, or knows less than it should, this member contradicts itself and loses its stake; and if it "
    "and liars have more than a third of the stake together, the ledger can fork. First have all others up.",
    "Example: tallystick guard accept-loss",
)
_TWO_MACHINES: Final = "Does this key sign on no other machine, now or later"

guard = typer.Typer(no_args_is_help=True, add_completion=False, help=HELP)

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask: the risk is known.")]


@guard.command("show", help=SHOW_HELP)
def show(data: Data = None, as_json: AsJson = False) -> None:
    """See `SHOW_HELP`."""
    with error_boundary():
        folder = node_folder(data)
        key = folder.public_key()
        with DataLock(folder.path):
            found = read_guard(folder.guard_path, key)
        genesis = _genesis(folder)
    records = found.records if found.loss is None else [*found.records, Lost(None)]
    ledgers = summaries(records)
    if genesis is not None:
        ledgers.setdefault(genesis.ledger_id, ledgers[None])
    names = {genesis.ledger_id: genesis.name} if genesis is not None else {}
    lines = [_values(ledger_id, names, one) for ledger_id, one in ledgers.items() if ledger_id is not None]
    value = {"public_key": key.hex(), "guard_file": str(folder.guard_path), "loss": found.loss}
    if as_json:
        print_json({**value, "elsewhere": ledgers[None].status.value, "ledgers": lines})
        return
    console = make_console()
    console.print(marked("×" if found.loss else "✓", f"{key.hex()[:16]}…", f": {found.loss or folder.guard_path}"))
    for line in lines:
        console.print(Text(f"  {line['name'] or line['ledger_id'][:16] + '…'}: {_in_words(line)}"), soft_wrap=True)
    console.print(Text(f"  on any other ledger: {ledgers[None].status.value}", style="dim"), soft_wrap=True)


@guard.command("move", help=MOVE_HELP)
def move(
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where key and guard go.", show_default=False)],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """See `MOVE_HELP`."""
    with error_boundary():
        folder = node_folder(data)
        key = folder.public_key().hex()
        with DataLock(folder.path):
            folder.move_key(target)
    if as_json:
        print_json({"public_key": key, "moved_to": str(target)})
        return
    make_console().print(marked("✓", f"{key[:16]}…", f" is moved to {target}; here it signs no more"), soft_wrap=True)
    hint("Take that folder to one machine, and to no second one. The ledger's file may go along, but need not")


@guard.command("lost", help=LOST_HELP)
def lost(data: Data = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """See `LOST_HELP`."""
    with error_boundary(), _opened(data) as (folder, file):
        if summaries(file.records)[None].status is GuardStatus.MOVED:
            _confirm(yes, f"The key was moved away. {_TWO_MACHINES}?")
        _write(folder, file, Lost(None), "is lost: it signs nothing until others have answered", as_json)


@guard.command("recover", help=RECOVER_HELP)
def recover(data: Data = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """See `RECOVER_HELP`."""
    with error_boundary(), _opened(data) as (folder, file):
        genesis, state = _of_ledger(folder, file)
        if state.status is GuardStatus.MOVED:
            advice = "recover it there, or read: tallystick guard lost --help"
            raise GuardError(f"the key was moved to another machine; {advice}")
        if state.status is GuardStatus.TWIN:
            _confirm(yes, f"Another machine signed with this key. {_TWO_MACHINES}?")
        _write(folder, file, Lost(genesis.ledger_id), "recovers: it signs nothing until others have answered", as_json)


@guard.command("accept-loss", help=ACCEPT_HELP)
def accept_loss(data: Data = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """See `ACCEPT_HELP`."""
    with error_boundary(), _opened(data) as (folder, file):
        genesis, state = _of_ledger(folder, file)
        if state.status is not GuardStatus.LOST and state.silent <= state.final:
            raise GuardError(f"the guard is {state.status.value}, not lost: there is no loss to accept")
        _confirm(yes, "This risks the stake, and with liars of more than a third together a fork. Go on?")
        _write(folder, file, LossAccepted(genesis.ledger_id), "goes on by its operator's word", as_json)


@contextmanager
def _opened(data: Path | None) -> Iterator[tuple[DataFolder, GuardFile]]:
    """The guard of a node that does not run. Raises `Problem`, `Refused` (K3)."""
    folder = node_folder(data)
    key = folder.public_key()
    with DataLock(folder.path), GuardFile.open(folder.guard_path, key) as file:
        yield folder, file


def _of_ledger(folder: DataFolder, file: GuardFile) -> tuple[Genesis, GuardState]:
    """The folder's ledger, and how the guard stands there. Raises `StoreError`."""
    genesis, _ = ledger_info(folder)
    ledgers = summaries(file.records)
    return genesis, ledgers.get(genesis.ledger_id, ledgers[None])


def _genesis(folder: DataFolder) -> Genesis | None:
    return ledger_info(folder)[0] if folder.ledger_path.exists() else None


def _write(folder: DataFolder, file: GuardFile, record: GuardRecord, became: str, as_json: bool) -> None:
    file.append([record])
    key = folder.public_key().hex()
    if as_json:
        print_json({"public_key": key, "guard": became})
        return
    make_console().print(marked("✓", f"{key[:16]}…", f" {became}"), soft_wrap=True)
    hint(f"Start the node: tallystick run --data {folder.path}, and look at: tallystick status")


def _confirm(yes: bool, question: str) -> None:
    """Go on only if the operator says so. Raises `GuardError`."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise GuardError(f"{question} Say so with --yes")
    if not typer.confirm(question, err=True):
        raise GuardError("nothing was changed")


def _values(ledger_id: bytes, names: dict[bytes, str], one: GuardState) -> dict[str, Any]:
    return {
        "ledger_id": ledger_id.hex(),
        "name": names.get(ledger_id),
        "status": one.status.value,
        "floor": _place(one.floor),
        "silent_until": _place(one.silent_until),
        "twin": _place(one.twin),
        "is_loss_accepted": one.is_loss_accepted,
        "views": len(one.entries),
    }


def _place(place: Place | None) -> dict[str, int] | None:
    return None if place is None or place < (0, 0) else {"epoch": place[0], "view": place[1]}


def _in_words(line: dict[str, Any]) -> str:
    parts = [line["status"]]
    if line["twin"]:
        parts.append(f"another machine signed in {_where(line['twin'])}")
    if line["is_loss_accepted"]:
        parts.append("its operator accepted the loss")
    if line["silent_until"]:
        parts.append(f"votes freely after {_where(line['silent_until'])}")
    if line["floor"]:
        parts.append(f"signs above {_where(line['floor'])}")
    return "; ".join([*parts, f"holds what it signed in {many(line['views'], 'view')}"])


def _where(place: dict[str, int]) -> str:
    return f"epoch {place['epoch']:,}, view {place['view']:,}"
