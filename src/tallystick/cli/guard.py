"""`tallystick guard`: what this node's key has signed, and what its operator has to say about that."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

from tallystick.api.command_views import GuardChanged, LedgerGuard, guard_view
from tallystick.api.views import ViewNumber
from tallystick.cli.options import Data, Yes, argument, group, node_folder
from tallystick.cli.output import Text, confirm, give, hint, marked, say
from tallystick.cli.words import many
from tallystick.host import guarding
from tallystick.host.data_folder import DataFolder
from tallystick.host.data_lock import data_lock

guard = group(
    """What this node's key has signed: its guard, a file beside the key. The node must not run meanwhile.

    A member that signs two things that contradict each other loses its stake. The guard keeps it from that, whatever
    becomes of the ledger's file. It cannot know of a second machine with the same key, nor that this one was set back:
    that its operator says here.

    Example: tallystick guard show
    """
)


@guard.command()
def show(data: Data = None) -> None:
    """Tell of each ledger whether the key signs there, and from which epoch and view on.

    It changes nothing, and risks nothing. While the node runs, tallystick status tells the same.

    Example: tallystick guard show --json
    """
    folder = node_folder(data)
    shown = guard_view(folder, guarding.look(folder))
    give(shown)
    file = shown.loss or shown.guard_file
    say(marked("×" if shown.loss else "✓", f"{shown.public_key[:16]}…", f": {file}"))
    for one in shown.ledgers:
        say(Text(f"  {one.name or one.ledger_id[:16] + '…'}: {_in_words(one)}"))
    say(Text(f"  on any other ledger: {shown.elsewhere}", style="dim"))


def _in_words(one: LedgerGuard) -> str:
    parts = (
        one.status,
        f"another machine signed in {_where(one.twin)}" if one.twin else "",
        "its operator accepted the loss" if one.is_loss_accepted else "",
        f"votes freely after {_where(one.silent_until)}" if one.silent_until else "",
        f"signs above {_where(one.floor)}" if one.floor else "",
        f"holds what it signed in {many(one.views, 'view')}",
        f"countersigned a log of {many(one.cosigned_size, 'certificate')}" if one.cosigned_size else "",
    )
    return "; ".join(filter(None, parts))


def _where(place: ViewNumber) -> str:
    return f"epoch {place.epoch:,}, view {place.view:,}"


@guard.command()
def move(target: Annotated[Path, argument("FOLDER", "Where key and guard go.")], data: Data = None) -> None:
    """Move the key to another machine: copy it with its guard into FOLDER, and close the guard here.

    FOLDER is made, for you alone; it is the other node's data folder, or what you carry there. Cut off half way, it is
    run again. Risk: a key that signs on two machines contradicts itself and loses its stake. So here it signs no more,
    and FOLDER goes to one machine only. A copy for safekeeping is something else: of the key file alone.

    Example: tallystick guard move /mnt/stick/alice
    """
    folder = node_folder(data)
    key = folder.public_key().hex()
    with data_lock(folder.path):
        folder.move_key(target)
    give(GuardChanged(public_key=key, became="moved", moved_to=str(target)))
    say(marked("✓", f"{key[:16]}…", f" is moved to {target}; here it signs no more"))
    hint("Take that folder to one machine, and to no second one. The ledger's file may go along, but need not")


@guard.command()
def lost(data: Data = None, yes: Yes = False) -> None:
    """Say that this machine was set back: to a snapshot, an image, a backup of the whole disk.

    Nothing on it can notice. From the next start on the node signs nothing until others have told what its key signed
    meanwhile. Risk: none for the stake, but a member that the others cannot do without (one of three equal ones) needs
    tallystick guard accept-loss then. Not to say it risks the stake. It also opens a guard that a move has closed:
    then the risk is that the key signs where it was moved to.

    Example: tallystick guard lost
    """
    _write_down(guarding.say_lost, data, yes, "lost", "is lost: it signs nothing until others have answered")


@guard.command()
def recover(data: Data = None, yes: Yes = False) -> None:
    """Go on after another machine signed with this key, once that one has stopped for good.

    From the next start on the node signs nothing until others have told what the key signed. Risk: if the other
    machine still runs, or is started again, both sign, contradict each other, and the stake is lost.

    Example: tallystick guard recover
    """
    _write_down(guarding.recover, data, yes, "recovering", "recovers: it signs nothing until others have answered")


@guard.command()
def accept_loss(data: Data = None, yes: Yes = False) -> None:
    """Go on although what the key signed is lost and not enough others can tell: the operator's word.

    For members that the others cannot do without, as one of three equal ones, or that stay silent after a recovery
    while the ledger stands still. The node still asks all others, signs again what they show, and otherwise only helps
    to end views, up to the last one in which it may have signed. Risk: if one that answers lies, or knows less than it
    should, this member contradicts itself and loses its stake; and if it and liars have more than a third of the stake
    together, the ledger can fork. First have all others up.

    Example: tallystick guard accept-loss
    """
    _write_down(guarding.accept_loss, data, yes, "loss accepted", "goes on by its operator's word")


def _write_down(
    what: Callable[[DataFolder, guarding.Confirm], None], data: Path | None, yes: bool, became: str, in_words: str
) -> None:
    """Write the operator's word down, and tell what the guard became."""
    folder = node_folder(data)
    what(folder, partial(confirm, is_said=yes))
    key = folder.public_key().hex()
    give(GuardChanged(public_key=key, became=became))
    say(marked("✓", f"{key[:16]}…", f" {in_words}"))
    where = f"--data {folder.quoted}"
    hint(f"Start the node: tallystick run {where}, and look at: tallystick status {where}")
