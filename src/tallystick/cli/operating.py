"""What a node's operator does: stake, invite, unban, names, backup, config."""

import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import convert

from tallystick.api import views
from tallystick.api.command_views import settings_view
from tallystick.cli.options import DATA_VARIABLE, Data, Yes, argument, group, node_folder, open_node
from tallystick.cli.output import (
    busy,
    confirm,
    fail,
    field,
    give,
    hint,
    is_json,
    marked,
    print_line,
    say,
    say_table,
    told,
    warn,
)
from tallystick.cli.words import called, lasting, utc
from tallystick.client.blocking import Client
from tallystick.host.data_folder import DataFolder
from tallystick.host.data_lock import data_lock
from tallystick.host.text import is_hex_digest, printable
from tallystick.ledger.fields import MAX_TOKENS
from tallystick.ledger.params import Params
from tallystick.ledger.stake import BlockContext
from tallystick.problems import Ambiguous, ExitCode, NotRunning, NotThere, Problem
from tallystick.storage.sqlite_file import copy_database
from tallystick.storage.store import Store

_MOST_NAME_CHARACTERS: Final = 100
_PATIENCE_S: Final = 5.0
_SET_STAKE: Final = (
    "members decide on stakes together on this ledger (rule S9): nobody stakes tokens alone. "
    "Make a motion: tallystick member set-stake WHO=TOKENS; who is there: tallystick member list"
)


def stake(
    amount: Annotated[int, argument("AMOUNT", "Tokens; below 0 to withdraw.", min=-MAX_TOKENS, max=MAX_TOKENS)],
    data: Data = None,
    *,
    yes: Yes = False,
) -> None:
    """Stake tokens of the node's own, on an open ledger; a negative amount withdraws, and asks first.

    It counts from the next epoch on: until then everybody votes and forges with what was at stake when this one began.
    Withdrawn tokens stay liable for a while before they are free, and as long the node has to stay.
    Where organisations decide together, stakes are set by motion: tallystick member set-stake.

    Examples:
      tallystick stake 50
      tallystick stake -20
    """
    if amount == 0:
        raise typer.BadParameter("0 tokens move nothing; name how many")
    with open_node(data) as client:
        ledger = client.ledger()
        if ledger.has_directory:
            raise Problem(_SET_STAKE)
        params = convert([ledger.params[name] for name in Params.__struct_fields__], Params)
        if amount < 0:
            counts = f"The node votes with the tokens until epoch {ledger.tip.epoch + 1:,} begins, or the one after."
            follows = f"{counts} {_liable(ledger.tip, params, 'no sooner than')}: let the node run until then."
            confirm(f"{follows} Withdraw {-amount:,} tokens from stake?", is_said=yes)
        outcome = settled(client, client.stake(amount, timeout_s=0))
        give(views.Outcomes(outcomes=[outcome]))
        if outcome.state == "refused":
            raise told(fail(f"it was refused: {outcome.reason}", ExitCode.REFUSED))
        if is_json():
            return
        index = outcome.block_index or 0
        what = f"{amount:,} tokens staked" if amount > 0 else f"{-amount:,} tokens withdrawn from stake"
        say(marked("✓", what, f": block {index:,}"))
        try:
            block = client.block(index)
        except Problem as problem:  # it is staked all the same
            warn(f"from when on it counts was not told: {problem}")
            return
    begins = f"it begins after the first block that is {lasting(params.epoch_ms)} or more into epoch {block.epoch:,}"
    say(f"  It counts from epoch {block.epoch + 1:,} on; {begins}.")
    if amount < 0 and (params.unbonding_blocks or params.unbonding_ms):
        say(f"  {_liable(block, params, 'from')} on. Let the node run until then.")


def settled(client: Client, outcome: views.Outcome) -> views.Outcome:
    """The same, once it waits no more; people are told once why it waits. Raises `Problem`."""
    is_told = False
    with busy("Waiting for a block"):
        while outcome.state == "waiting":
            (outcome,) = client.wait([outcome.id], timeout_s=_PATIENCE_S)
            if outcome.state == "waiting" and not is_told and not (status := client.status()).is_well:
                warn(f"it waits: {status.why}")
                is_told = True
    if outcome.state == "unknown":
        raise fail("the node does not know of it any more, and it is not on the ledger; try again", ExitCode.FAILED)
    return outcome


def _liable(block: views.BlockLine, params: Params, when: str) -> str:
    free = BlockContext(block.epoch, block.index, block.timestamp_ms).freed_from(params)
    return f"They are liable, and free {when} epoch {free.epoch:,}, block {free.index:,} and {utc(free.timestamp_ms)}"


def invite(data: Data = None) -> None:
    """Print the line of text with which another node joins.

    It holds the ledger's id, this node's key and addresses: nothing secret, and no right of its own. Send it over a
    way on which nobody can exchange it, as whoever joins trusts the ledger that it names.

    Example: tallystick invite > invite.txt
    """
    with open_node(data) as client:
        line = client.invite()
    give(views.Invite(invite=line))
    print_line(line)
    hint("Whoever gets this line joins with: tallystick join LINE, and then tallystick run")


def unban(who: Annotated[str, argument("KEY", "How the peer's key begins, or its name.")], data: Data = None) -> None:
    """Let a banned peer in again.

    A peer that sends what no honest node sends is banned for an hour; tallystick show peers tells who is, and for
    what. Ask its operator for the version first: what it sent, it will send again.

    Example: tallystick unban 5f0c93ab
    """
    with open_node(data) as client:
        banned = [one.peer for one in client.peers().peers if one.banned_until_ms is not None]
        peer = _one_of(banned, who, "banned peer")
        client.unban(peer.key)
    _done(f"{called(peer)} is let in again")


def _done(said: str) -> None:
    give(views.Done())
    say(marked("✓", said))


names = group(
    """The address book: what this node calls others' keys. Nobody else sees it, or vouches for it.

    Example: tallystick names list
    """
)


@names.command("list")
def list_names(data: Data = None) -> None:
    """List the names, whether the node runs or not.

    Example: tallystick names list --json
    """
    try:
        with open_node(data) as client:
            book = client.names()
    except NotRunning:
        book = _kept_names(node_folder(data))
    give(book)
    say_table(book.names, {"Name": lambda one: one.name or "", "Key": lambda one: one.key})


@names.command("set")
def set_name(
    who: Annotated[str, argument("KEY", "Whose.")],
    name: Annotated[str, argument("NAME", "What to call it.")],
    data: Data = None,
) -> None:
    """Call a key by a name, whether the node runs or not; an empty name: by none any more.

    KEY is all of it, how an account's begins, or the name that it has.

    Examples:
      tallystick names set 5f0c93ab Alice
      tallystick names set Alice ""
    """
    if printable(name) != name or len(name) > _MOST_NAME_CHARACTERS:
        raise typer.BadParameter(f"a name is at most {_MOST_NAME_CHARACTERS} characters that can be seen")
    try:
        with open_node(data) as client:
            key = client.key_of(who)
            client.remember_name(key, name)
    except NotRunning:
        key = _keep_name(node_folder(data), who, name)
    _done(f"{key[:12]}… {f'is called {name}' if name else 'has no name any more'}")


def _kept_names(folder: DataFolder) -> views.Names:
    with Store.open(folder.ledger_path, read_only=True) as store:
        return views.Names(names=[views.Key(key.hex(), name) for key, name in store.names().items()], next=None)


def _keep_name(folder: DataFolder, who: str, name: str) -> str:
    key = who.lower()
    if not is_hex_digest(key):
        key = _one_of(_kept_names(folder).names, who, "key in the address book").key
    with data_lock(folder.path), Store.open(folder.ledger_path) as store:
        store.remember_names({bytes.fromhex(key): name})
    return key


def _one_of(keys: Sequence[views.Key], who: str, what: str) -> views.Key:
    """The key with this name, or that begins so. Raises `NotThere`, `Ambiguous`."""
    found = [one for one in keys if one.name == who]
    found = found or [one for one in keys if len(who) > 1 and one.key.startswith(who.lower())]
    if not found:
        raise NotThere(f"no {what} is called {who}, nor does one begin so; name all 64 digits")
    if len(found) > 1:
        raise Ambiguous(f"more than one {what} is called {who}, or begins so; give more digits")
    return found[0]


def backup(file: Annotated[Path, argument("FILE", "The copy; it must not exist yet.")], data: Data = None) -> None:
    """Write a copy of the ledger into a new file, whether the node runs or not.

    The copy holds the ledger, not the key: keep a copy of the key file apart from it. To restore, put it into the
    node's folder as ledger.db while the node does not run, and leave the file guard there as it is.

    Example: tallystick backup /mnt/safe/ledger-monday.db
    """
    with busy(f"Copying the ledger into {file}"):
        try:
            with open_node(data) as client:
                made = client.backup(file)
        except NotRunning:
            made = _copied(node_folder(data), file.absolute())
    give(made)
    say(marked("✓", str(file), f": block {made.tip_index:,}, {made.size_bytes:,} bytes"))
    hint(f"Check it with: {shlex.join(['tallystick', 'check', '--chain', str(file)])}")


def _copied(folder: DataFolder, target: Path) -> views.Backup:
    copy_database(folder.ledger_path, target)
    with Store.open(target, read_only=True) as copy:
        return views.Backup(path=str(target), tip_index=copy.tip_index, size_bytes=target.stat().st_size)


def config(data: Data = None) -> None:
    """Show a node's settings, and where each comes from. It changes nothing: edit node.toml, and start the node again.

    Example: tallystick config
    """
    folder = node_folder(data)
    by = f"${DATA_VARIABLE}" if os.environ.get(DATA_VARIABLE) == str(data) else "--data"
    address = None
    with suppress(NotRunning), open_node(data) as client:
        address = client.status().address
    told = settings_view(folder, "the default" if data is None else by, address)
    give(told)
    for one in told.settings:
        say(field(one.name, f"{one.value}  ({one.origin})"))
