"""`tallystick check` and `tallystick backup`: whether what is kept is sound, and a copy of it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from tallystick.cli.options import AsJson, Data, NoPassphrase, PassphraseFile, node_folder
from tallystick.cli.output import ExitCode, errors_explained, help_text, hint, make_console, marked, print_json
from tallystick.cli.reaching import reach
from tallystick.cli.reading import open_chain, read_chain
from tallystick.cli.repairing import mend
from tallystick.cli.running import open_wallet
from tallystick.cli.source import Chain, find_source, is_running
from tallystick.cli.words import checked_again, many, seconds
from tallystick.host.control import BackedUp, Backup
from tallystick.host.data_folder import DataFolder
from tallystick.host.store import Store
from tallystick.ledger.wallet import Wallet

CHECK_HELP: Final = help_text(
    "Check all of the node's ledger again, from the genesis on: every hash, signature, vote, rule and root.",
    "It only reads, and the node may run meanwhile. With --repair, while the node does not run, it mends what is "
    "damaged: derived tables are made anew, damaged blocks and votes are fetched from members that can be reached.",
    "Examples:",
    "  tallystick check",
    "  tallystick check --repair",
    "  tallystick check --chain copy.db",
)
BACKUP_HELP: Final = help_text(
    "Write a copy of the ledger into a new file, whether the node runs or not.",
    "The copy holds the ledger, not the key: keep a copy of the key file apart from it. To restore, put it into the "
    "node's folder as ledger.db while the node does not run.",
    "Example: tallystick backup /mnt/safe/ledger-monday.db",
)


def check(
    chain: Chain = None,
    data: Data = None,
    *,
    mends: Annotated[bool, typer.Option("--repair", help="Mend what is damaged; the node must not run.")] = False,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    as_json: AsJson = False,
) -> None:
    """See `CHECK_HELP`."""
    with errors_explained():
        if mends:
            if chain is not None:
                raise typer.BadParameter(
                    "--repair is for a node's folder, --data; there are no peers to mend a file from"
                )
            folder = node_folder(data)
            return _mend(folder, lambda: open_wallet(folder, passphrase_file, no_passphrase), as_json)
        file = find_source(chain, data).file
        begun_s = time.monotonic()
        with open_chain(file) as store:
            checked = read_chain(store)
            size_bytes = file.stat().st_size
        took_ms = round(1000 * (time.monotonic() - begun_s))
    found = {
        "file": str(file),
        "name": checked.genesis.name,
        "ledger_id": checked.genesis.ledger_id.hex(),
        "tip_index": checked.state.index,
        "tip_hash": checked.state.tip.hash.hex(),
        "log_size": checked.state.log.size,
        "log_root": checked.log_root.hex(),
        "is_final": checked.is_final,
        "left_out": checked.left_out,
        "size_bytes": size_bytes,
        "took_ms": took_ms,
    }
    if as_json:
        print_json(found)
        return None
    console = make_console()
    blocks, certificates = many(checked.state.index, "block"), many(checked.state.log.size, "certificate")
    said = checked_again(checked.is_final) if checked.state.index else "nothing is on it yet"
    sound = marked("✓", str(file), f": {blocks}, {certificates}; {said}")
    console.print(sound.append(f" ({seconds(took_ms)})", style="dim"), soft_wrap=True)
    if checked.left_out:
        left_out = f"  {many(checked.left_out, 'block')} at the end left out: no votes prove them final"
        console.print(Text(left_out, style="yellow"), soft_wrap=True)
    console.print(Text(f"  log root     {found['log_root']}", style="dim"), soft_wrap=True)
    return None


def _mend(folder: DataFolder, unlock: Callable[[], Wallet], as_json: bool) -> None:
    folder.settings()
    stories = Console(stderr=True, highlight=False, soft_wrap=True)
    mended = mend(folder, unlock, lambda line: stories.print(Text(line)))
    if as_json:
        print_json(msgspec.to_builtins(mended))
    else:
        console = make_console()
        blocks = many(mended.tip_index, "block")
        what = f": {blocks}; nothing was damaged" if mended.was_sound else f": {blocks}; repaired, and checked again"
        console.print(marked("✓" if mended.is_sound else "×", str(folder.ledger_path), what), soft_wrap=True)
        if not mended.was_sound:
            hint(f"Start the node: tallystick run --data {folder.path}. It fetches later blocks and payloads by itself")
    if not mended.is_sound:
        raise typer.Exit(ExitCode.FAILED)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The copy; it must not exist yet.", show_default=False)],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """See `BACKUP_HELP`."""
    with errors_explained():
        folder = node_folder(data)
        folder.settings()
        target = file.absolute()
        with Console(stderr=True).status(f"Copying the ledger into {file}"):
            if is_running(folder):
                with reach(folder) as node:
                    index = node.one(Backup(str(target)), BackedUp).index
            else:
                copy_ledger(folder, target)
                with Store.open(target, read_only=True) as copy:
                    index = copy.tip_index
        size_bytes = target.stat().st_size
    if as_json:
        print_json({"file": str(file), "tip_index": index, "size_bytes": size_bytes})
        return
    console = make_console()
    console.print(marked("✓", str(file), f": block {index:,}, {size_bytes:,} bytes"), soft_wrap=True)
    hint(f"Check it with: tallystick check --chain {file}")


def copy_ledger(folder: DataFolder, target: Path) -> None:
    """Copy the ledger of a node that does not run into a new file. Raises `StoreError`."""
    from tallystick.host.backup import copy_database  # noqa: PLC0415

    copy_database(folder.ledger_path, target)
