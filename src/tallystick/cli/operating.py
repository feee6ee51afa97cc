"""What a node's operator does: invite, unban, erase, names, backup, config."""

import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import to_builtins

from tallystick.api import views
from tallystick.cli.listing import fields, table
from tallystick.cli.options import DATA_VARIABLE, AsJson, Data, Yes, node_folder
from tallystick.cli.output import (
    Terminal,
    confirm,
    error_boundary,
    help_text,
    hint,
    make_console,
    marked,
    print_json,
    print_line,
)
from tallystick.cli.source import open_node
from tallystick.cli.words import called
from tallystick.client.blocking import Client
from tallystick.client.doors import AnswerProblem
from tallystick.host.data_folder import DataFolder
from tallystick.host.data_lock import DataLock
from tallystick.host.text import printable
from tallystick.problems import Ambiguous, ExitCode, NotRunning, NotThere
from tallystick.storage.sqlite_file import copy_database
from tallystick.storage.store import Store

INVITE_HELP: Final = help_text(
    "Print the line of text with which another node joins.",
    "It holds the ledger's id, this node's key and addresses: nothing secret, and no right of its own. Send it over a "
    "way on which nobody can exchange it, as whoever joins trusts the ledger that it names.",
    "Example: tallystick invite > invite.txt",
)
UNBAN_HELP: Final = help_text(
    "Let a banned peer in again.",
    "A peer that sends what no honest node sends is banned for an hour; tallystick show peers tells who is, and for "
    "what. Ask its operator for the version first: what it sent, it will send again.",
    "Example: tallystick unban 5f0c93ab",
)
ERASE_HELP: Final = help_text(
    "Erase a payload from this node, for good: what a certificate states, not the certificate.",
    "The certificate, its place and every proof of it stay, and so does its subject. Other nodes, and backups, have "
    "copies of their own: ask their operators. WHICH is a certificate's id, or how that begins, or a payload's hash.",
    "Example: tallystick erase 5f0c93ab",
)
NAMES_HELP: Final = help_text(
    "The address book: what this node calls others' keys. Nobody else sees it, or vouches for it.",
    "Example: tallystick names list",
)
LIST_HELP: Final = help_text(
    "List the names, whether the node runs or not.",
    "Example: tallystick names list --json",
)
SET_HELP: Final = help_text(
    "Call a key by a name, whether the node runs or not; an empty name: by none any more.",
    "KEY is all of it, how an account's begins, or the name that it has.",
    "Examples:",
    "  tallystick names set 5f0c93ab Alice",
    '  tallystick names set Alice ""',
)
BACKUP_HELP: Final = help_text(
    "Write a copy of the ledger into a new file, whether the node runs or not.",
    "The copy holds the ledger, not the key: keep a copy of the key file apart from it. To restore, put it into the "
    "node's folder as ledger.db while the node does not run, and leave the file guard there as it is.",
    "Example: tallystick backup /mnt/safe/ledger-monday.db",
)
CONFIG_HELP: Final = help_text(
    "Show a node's settings, and where each comes from. It changes nothing: edit node.toml, and start the node again.",
    "Example: tallystick config",
)
_MOST_NAME_CHARACTERS: Final = 100

names = typer.Typer(no_args_is_help=True, add_completion=False, help=NAMES_HELP)


def invite(data: Data = None, as_json: AsJson = False) -> None:
    with error_boundary(), open_node(data) as client:
        line = client.invite()
    if as_json:
        print_json(to_builtins(views.Invite(invite=line)))
        return
    print_line(line)
    hint("Whoever gets this line joins with: tallystick join LINE, and then tallystick run")


def unban(
    who: Annotated[
        str, typer.Argument(metavar="KEY", help="How the peer's key begins, or its name.", show_default=False)
    ],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    with error_boundary(), open_node(data) as client:
        peers = (one for one in client.peers().peers if one.banned_until_ms is not None)
        peer = _one_of([one.peer for one in peers], who, "banned peer")
        client.unban(peer.key)
    _done(f"{called(peer)} is let in again", as_json=as_json)


def erase(
    which: Annotated[
        str, typer.Argument(metavar="WHICH", help="A certificate's id, or a payload's hash.", show_default=False)
    ],
    data: Data = None,
    *,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    with error_boundary(), open_node(data) as client:
        payload_hash, what = _payload(client, which)
        kept = "The certificate and every proof of it stay; other nodes and backups keep their copies."
        if not yes:
            confirm(f"{kept} Erase {what} from this node, for good?")
        client.erase(payload_hash)
    _done(f"{what} is erased here", as_json=as_json)


def _payload(client: Client, which: str) -> tuple[str, str]:
    """The hash of the payload that is meant, and what it is."""
    try:
        one = client.certificate(which)
    except AnswerProblem as problem:
        if problem.exit_code is not ExitCode.NOT_THERE or len(which) != 64:
            raise
        return which.lower(), f"the payload {which[:12]}…, now or when it comes,"
    if one.payload_hash is None:
        raise NotThere(f"certificate {one.id[:12]}… has no payload; nothing was erased")
    if one.payload is None:
        return one.payload_hash, f"the payload of {one.id[:12]}…, which is not kept here now,"
    about = f", about the file {one.payload.file.name}," if one.payload.file else ""
    return one.payload_hash, f"the payload of {one.id[:12]}…{about}"


@names.command("list", help=LIST_HELP)
def list_names(data: Data = None, as_json: AsJson = False) -> None:
    with error_boundary():
        try:
            with open_node(data) as client:
                book = client.names()
        except NotRunning:
            book = _kept_names(node_folder(data))
    if as_json:
        print_json(to_builtins(book))
        return
    table(make_console(), {"Name": [one.name or "" for one in book.names], "Key": [one.key for one in book.names]})


@names.command("set", help=SET_HELP)
def set_name(
    who: Annotated[str, typer.Argument(metavar="KEY", help="Whose.", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.", show_default=False)],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    if printable(name) != name or len(name) > _MOST_NAME_CHARACTERS:
        raise typer.BadParameter(f"a name is at most {_MOST_NAME_CHARACTERS} characters that can be seen")
    with error_boundary():
        try:
            with open_node(data) as client:
                key = client.key_of(who)
                client.remember_name(key, name)
        except NotRunning:
            key = _keep_name(node_folder(data), who, name)
    _done(f"{key[:12]}… {f'is called {name}' if name else 'has no name any more'}", as_json=as_json)


def _kept_names(folder: DataFolder) -> views.Names:
    with Store.open(folder.ledger_path, read_only=True) as store:
        return views.Names(names=[views.Key(key.hex(), name) for key, name in store.names().items()], next=None)


def _keep_name(folder: DataFolder, who: str, name: str) -> str:
    """Note a name while the node does not run; whose it is."""
    is_whole = len(who) == 64 and set(who.lower()) <= set("0123456789abcdef")
    key = who.lower() if is_whole else _one_of(_kept_names(folder).names, who, "key in the address book").key
    with DataLock(folder.path), Store.open(folder.ledger_path) as store:
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


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The copy; it must not exist yet.", show_default=False)],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    with error_boundary(), Terminal(stderr=True).status(f"Copying the ledger into {file}"):
        try:
            with open_node(data) as client:
                made = client.backup(file)
        except NotRunning:
            made = _copied(node_folder(data), file.absolute())
    if as_json:
        print_json(to_builtins(made))
        return
    make_console().print(
        marked("✓", str(file), f": block {made.tip_index:,}, {made.size_bytes:,} bytes"), soft_wrap=True
    )
    hint(f"Check it with: {shlex.join(['tallystick', 'check', '--chain', str(file)])}")


def _copied(folder: DataFolder, target: Path) -> views.Backup:
    copy_database(folder.ledger_path, target)
    with Store.open(target, read_only=True) as copy:
        return views.Backup(path=str(target), tip_index=copy.tip_index, size_bytes=target.stat().st_size)


class _Setting(views.View, frozen=True):
    """A setting, and where it comes from."""

    name: str
    value: str
    origin: str


class _Settings(views.View, frozen=True, kw_only=True):
    """All settings of a node."""

    schema: int = views.SCHEMA
    settings: list[_Setting]


def config(data: Data = None, as_json: AsJson = False) -> None:
    with error_boundary():
        folder = node_folder(data)
        found, file = folder.settings(), str(folder.settings_path)
        by = f"${DATA_VARIABLE}" if os.environ.get(DATA_VARIABLE) == str(data) else "--data"
        settings = [
            _Setting("folder", str(folder.path), "the default" if data is None else by),
            _Setting("listen", found.listen, file),
            _Setting("address", found.address, file),
            *(_Setting("bootstrap", one, file) for one in found.bootstrap),
        ]
        with suppress(NotRunning), open_node(data) as client:
            if (address := client.status().address) != found.address:
                settings.append(_Setting("address", address, "--address of the running node"))
    if as_json:
        print_json(to_builtins(_Settings(settings=settings)))
        return
    for one in settings:
        fields(make_console(), {one.name: f"{one.value}  ({one.origin})"})


def _done(said: str, *, as_json: bool) -> None:
    if as_json:
        print_json(to_builtins(views.Done()))
    else:
        make_console().print(marked("✓", said), soft_wrap=True)
