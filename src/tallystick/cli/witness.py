"""`tallystick witness`: a node that cosigns others' logs, by a key of its own."""

import os
from contextlib import closing
from pathlib import Path
from typing import Annotated

from tallystick.api.command_views import WitnessedLog, WitnessShown
from tallystick.cli.options import (
    Data,
    NoPassphrase,
    PassphraseFile,
    argument,
    find_passphrase,
    group,
    node_folder,
)
from tallystick.cli.output import give, hint, marked, print_line, say, say_table
from tallystick.client.own_node import own_node
from tallystick.host.data_folder import DataFolder
from tallystick.host.key_file import create_key_file
from tallystick.host.witness import NEVER_RESTORE, Witness, create_witness
from tallystick.ledger.note import NoteKey, parse_key
from tallystick.ledger.tlog_witness import witness_key
from tallystick.ledger.wallet import SEED_BYTES, Wallet
from tallystick.problems import BadRequest, KeyFileError, NotThere
from tallystick.storage.sqlite_file import remove_database

witness = group(
    """Cosign others' logs (C2SP tlog-witness), by a key of its own. Off until there is one.

    A node with a witness answers logs at the door that tallystick run --api opens. What it states of a checkpoint is
    that the log only grew since the last one that it cosigned.

    Example: tallystick witness new witness.uni-a.example
    """
)


@witness.command()
def new(
    name: Annotated[str, argument("NAME", "What the witness is called: an address of yours, without https://.")],
    *,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
) -> None:
    """Make the key of a witness, in the node's folder, sealed with the same passphrase as the node's key.

    Its line goes to operators of logs. Never restore witness.db from a copy: it would cosign what is older than what it
    has cosigned. If it is lost, make a witness of another name.

    Example: tallystick witness new witness.uni-a.example --data ./node
    """
    folder = node_folder(data)
    folder.settings()
    _check_is_none(folder)
    wallet = Wallet(os.urandom(SEED_BYTES))
    parse_key(witness_key(name, wallet.public_key).text)
    passphrase = find_passphrase(passphrase_file, no_passphrase, str(folder.witness_key_path), is_new=True)
    create_witness(folder.witness_path, name, wallet.public_key)
    create_key_file(folder.witness_key_path, wallet, passphrase, "moderate" if passphrase else "minimal")
    _tell_key(witness_key(name, wallet.public_key), [])
    hint("Give this line to operators of logs, and add theirs: tallystick witness add-log VKEY")
    hint("It answers from the next start of the node on, at the door that tallystick run --api opens.")


@witness.command()
def show(data: Data = None) -> None:
    """Print the witness's key, as operators of logs take it, and the logs that it cosigns.

    Example: tallystick witness show
    """
    with closing(_open(node_folder(data))) as found:
        key, logs = found.key, _lines(found)
    _tell_key(key, logs)
    say_table(logs, {"Log": lambda one: one.origin, "Cosigned entries": lambda one: f"{one.size:,}"})


@witness.command("add-log")
def add_log(
    vkey: Annotated[str, argument("VKEY", "The log's key, as its operator gives it; its name is the log's origin.")],
    *,
    data: Data = None,
) -> None:
    """Cosign a log from now on. The node need not be started again.

    Not the node's own ledger: its members countersign that by their own keys.

    Example: tallystick witness add-log log.example+3ade4b14+AfzWxUa6…
    """
    folder, key = node_folder(data), parse_key(vkey)
    with closing(_open(folder)) as found:
        own = own_node(folder).ledger_id
        if own is not None and key.name.endswith(f"/{own.hex()}"):
            raise BadRequest(f"{key.name} is the node's own ledger: its members countersign it by their own keys")
        if key.public_key in (folder.public_key(), found.public_key):
            raise BadRequest("this is the key of the node or of its witness, and no other's log is signed by it")
        added = found.add_log(vkey)
        told = WitnessShown(key=found.key.text, logs=_lines(found))
    give(told)
    say(marked("✓", added.name, " is cosigned from now on, as it grows"))


@witness.command("remove-log")
def remove_log(
    origin: Annotated[str, argument("ORIGIN", "Of the log, as witness show has it.")], *, data: Data = None
) -> None:
    """Cosign a log no more, from now on. The node need not be started again.

    How far it was cosigned is kept: after add-log, with the same key, it goes on from there.

    Example: tallystick witness remove-log log.example
    """
    with closing(_open(node_folder(data))) as found:
        found.remove_log(origin)
        told = WitnessShown(key=found.key.text, logs=_lines(found))
    give(told)
    say(marked("✓", origin, " is cosigned no more"))


def _lines(found: Witness) -> list[WitnessedLog]:
    return [WitnessedLog(one.key.name, one.key.text, one.latest.size) for one in found.logs()]


def _check_is_none(folder: DataFolder) -> None:
    """Raise `Problem` if there is a witness. The file of one that never had a key is removed: `new` was cut off."""
    path: Path = folder.witness_path
    if path.exists() and not folder.witness_key_path.exists():
        with closing(Witness(path)) as found:
            is_unused = found.is_unused
        if not is_unused:
            advice = f"put it back, or move {path.name} away and make a witness of another name"
            raise KeyFileError(f"there is no {folder.witness_key_path}, the key of {path}; {advice}")
        remove_database(path)
    elif path.exists():
        raise KeyFileError(f"there is a witness in {folder.path}; tallystick witness show prints its key")
    _check_not_lost(folder)


def _check_not_lost(folder: DataFolder) -> None:
    """Raise `KeyFileError` if there is a key, and what was cosigned by it is gone."""
    if folder.witness_key_path.exists() and not folder.witness_path.exists():
        raise KeyFileError(f"{folder.witness_path} is lost, so what was cosigned is not known; {NEVER_RESTORE}")


def _open(folder: DataFolder) -> Witness:
    path: Path = folder.witness_path
    _check_not_lost(folder)
    if not path.exists():
        raise NotThere(f"there is no witness in {folder.path}; make one with: tallystick witness new NAME")
    return Witness(path)


def _tell_key(key: NoteKey, logs: list[WitnessedLog]) -> None:
    give(WitnessShown(key=key.text, logs=logs))
    print_line(key.text)
