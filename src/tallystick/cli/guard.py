"""`tallystick guard`: what this node's key has signed, and what its operator has to say about that."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import to_builtins

from tallystick.api.command_views import GuardChanged, LedgerGuard, guard_view
from tallystick.api.views import ViewNumber
from tallystick.cli.options import AsJson, Data, Yes, node_folder
from tallystick.cli.output import Text, confirm, error_boundary, help_text, hint, make_console, marked, print_json
from tallystick.cli.words import many
from tallystick.host import guarding
from tallystick.host.data_folder import DataFolder
from tallystick.host.data_lock import DataLock

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

guard = typer.Typer(no_args_is_help=True, add_completion=False, help=HELP)


@guard.command("show", help=SHOW_HELP)
def show(data: Data = None, as_json: AsJson = False) -> None:
    with error_boundary():
        folder = node_folder(data)
        shown = guard_view(folder, guarding.look(folder))
    if as_json:
        print_json(to_builtins(shown))
        return
    console = make_console()
    file = shown.loss or shown.guard_file
    console.print(marked("×" if shown.loss else "✓", f"{shown.public_key[:16]}…", f": {file}"), soft_wrap=True)
    for one in shown.ledgers:
        console.print(Text(f"  {one.name or one.ledger_id[:16] + '…'}: {_in_words(one)}"), soft_wrap=True)
    console.print(Text(f"  on any other ledger: {shown.elsewhere}", style="dim"), soft_wrap=True)


@guard.command("move", help=MOVE_HELP)
def move(
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where key and guard go.", show_default=False)],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    with error_boundary():
        folder = node_folder(data)
        key = folder.public_key().hex()
        with DataLock(folder.path):
            folder.move_key(target)
    if as_json:
        print_json(to_builtins(GuardChanged(public_key=key, became="moved", moved_to=str(target))))
        return
    make_console().print(marked("✓", f"{key[:16]}…", f" is moved to {target}; here it signs no more"), soft_wrap=True)
    hint("Take that folder to one machine, and to no second one. The ledger's file may go along, but need not")


@guard.command("lost", help=LOST_HELP)
def lost(data: Data = None, yes: Yes = False, as_json: AsJson = False) -> None:
    became = "is lost: it signs nothing until others have answered"
    _say(guarding.say_lost, data, yes, ("lost", became), as_json)


@guard.command("recover", help=RECOVER_HELP)
def recover(data: Data = None, yes: Yes = False, as_json: AsJson = False) -> None:
    became = "recovers: it signs nothing until others have answered"
    _say(guarding.recover, data, yes, ("recovering", became), as_json)


@guard.command("accept-loss", help=ACCEPT_HELP)
def accept_loss(data: Data = None, yes: Yes = False, as_json: AsJson = False) -> None:
    _say(guarding.accept_loss, data, yes, ("loss accepted", "goes on by its operator's word"), as_json)


def _say(
    what: Callable[[DataFolder, guarding.Confirm], None],
    data: Path | None,
    yes: bool,
    became: tuple[str, str],
    as_json: bool,
) -> None:
    """Write the operator's word down, and tell what the guard became."""
    with error_boundary():
        folder = node_folder(data)
        what(folder, (lambda question: None) if yes else confirm)
        key = folder.public_key().hex()
    status, in_words = became
    if as_json:
        print_json(to_builtins(GuardChanged(public_key=key, became=status)))
        return
    make_console().print(marked("✓", f"{key[:16]}…", f" {in_words}"), soft_wrap=True)
    hint(
        f"Start the node: tallystick run --data {folder.quoted}, and look at: tallystick status --data {folder.quoted}"
    )


def _in_words(one: LedgerGuard) -> str:
    parts = [one.status]
    if one.twin:
        parts.append(f"another machine signed in {_where(one.twin)}")
    if one.is_loss_accepted:
        parts.append("its operator accepted the loss")
    if one.silent_until:
        parts.append(f"votes freely after {_where(one.silent_until)}")
    if one.floor:
        parts.append(f"signs above {_where(one.floor)}")
    return "; ".join([*parts, f"holds what it signed in {many(one.views, 'view')}"])


def _where(place: ViewNumber) -> str:
    return f"epoch {place.epoch:,}, view {place.view:,}"
