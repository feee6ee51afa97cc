"""`tallystick check` and `tallystick backup`: whether what is kept is sound, and a copy of it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from tallystick.cli.connecting import connect
from tallystick.cli.options import AsJson, Data, NoPassphrase, PassphraseFile, node_folder
from tallystick.cli.output import (
    ExitCode,
    Terminal,
    Text,
    error_boundary,
    help_text,
    hint,
    make_console,
    make_side_console,
    marked,
    print_json,
)
from tallystick.cli.reading import find_damage, open_chain
from tallystick.cli.repairing import Mending, findings
from tallystick.cli.running import open_wallet
from tallystick.cli.source import Chain, find_source, is_running
from tallystick.cli.words import CHECKED_AGAIN, many, seconds
from tallystick.host.control import BackedUp, Backup
from tallystick.host.data_folder import DataFolder
from tallystick.ledger.wallet import Wallet
from tallystick.problems import DamagedStore, NoChain
from tallystick.storage.backup import copy_database
from tallystick.storage.store import Store

CHECK_HELP: Final = help_text(
    "Check all of the node's ledger again, from the genesis on: every hash, signature, vote, rule and root.",
    "It names all damage, only reads, and the node may run meanwhile. With --repair, while the node does not run, it "
    "mends what is damaged: what follows from the rest is made anew, damaged blocks and finalizations, and no others, "
    "are fetched from members that can be reached. Cut off, or with nobody in reach, it goes on the next time.",
    "Examples:",
    "  tallystick check",
    "  tallystick check --repair",
    "  tallystick check --chain copy.db",
)
_MOST_LINES: Final = 50

BACKUP_HELP: Final = help_text(
    "Write a copy of the ledger into a new file, whether the node runs or not.",
    "The copy holds the ledger, not the key: keep a copy of the key file apart from it. To restore, put it into the "
    "node's folder as ledger.db while the node does not run, and leave the file guard there as it is.",
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
    with error_boundary():
        if mends:
            if chain is not None:
                raise typer.BadParameter("--repair is for a node's folder, --data; no peer knows of a file of its own")
            folder = node_folder(data)
            return _mend(folder, lambda: open_wallet(folder, passphrase_file, no_passphrase), as_json)
        source = find_source(chain, data)
        begun_s = time.monotonic()
        try:
            with open_chain(source.file) as store:
                genesis, report = store.genesis, find_damage(store)
        except (DamagedStore, NoChain) as error:
            raise DamagedStore(f"{error}; {_what_next(chain, data)}") from None
        size_bytes = source.file.stat().st_size
        took_ms = round(1000 * (time.monotonic() - begun_s))
    damage = findings(report)
    final = report.final
    found = {
        "file": str(source.file),
        "name": genesis.name,
        "ledger_id": genesis.ledger_id.hex(),
        "is_sound": not damage,
        "damage": damage,
        "tip_index": final.index if final else report.tip_index,
        "tip_hash": final.tip.hash.hex() if final else None,
        "log_size": final.log.size if final else None,
        "log_root": final.log.root().hex() if final else None,
        "left_out": report.tip_index - final.index if final else 0,
        "size_bytes": size_bytes,
        "took_ms": took_ms,
    }
    if as_json:
        print_json(found)
    else:
        _show(found)
    if damage:
        hint(f"To mend it: {_what_next(chain, data)}")
        raise typer.Exit(ExitCode.FAILED)
    return None


def _show(found: dict[str, Any]) -> None:
    console = make_console()
    damage, took = found["damage"], f" ({seconds(found['took_ms'])})"
    if damage:
        bad = marked("×", found["file"], f": {many(found['tip_index'], 'block')}, damaged:").append(took, style="dim")
        console.print(bad, soft_wrap=True)
        for line in damage[:_MOST_LINES]:
            console.print(Text(f"  {line}"), soft_wrap=True)
        if len(damage) > _MOST_LINES:
            console.print(Text(f"  and {len(damage) - _MOST_LINES} more; --json tells all"), soft_wrap=True)
        return
    blocks, certificates = many(found["tip_index"], "block"), many(found["log_size"], "certificate")
    said = CHECKED_AGAIN if found["tip_index"] else "nothing is on it yet"
    sound = marked("✓", found["file"], f": {blocks}, {certificates}; {said}")
    console.print(sound.append(took, style="dim"), soft_wrap=True)
    if found["left_out"]:
        left_out = f"  {many(found['left_out'], 'block')} at the end left out: no votes prove them final"
        console.print(Text(left_out, style="yellow"), soft_wrap=True)
    console.print(Text(f"  log root     {found['log_root']}", style="dim"), soft_wrap=True)


def _what_next(chain: Path | None, data: Path | None) -> str:
    folder = node_folder(data)
    if chain is not None or not folder.is_there:
        return "put a good copy in its place, and look after the disk"
    return f"stop the node if it runs, look after the disk, then: tallystick check --repair --data {folder.path}"


def _mend(folder: DataFolder, unlock: Callable[[], Wallet], as_json: bool) -> None:
    folder.settings()
    stories = make_side_console()
    mended = Mending(folder, unlock, lambda line: stories.print(Text(line))).run()
    if as_json:
        print_json(msgspec.to_builtins(mended))
    else:
        console = make_console()
        blocks = many(mended.tip_index, "block")
        became = "repaired, and checked again" if mended.is_sound else "still damaged"
        what = f": {blocks}; {became if mended.found else 'nothing is damaged'}"
        console.print(marked("✓" if mended.is_sound else "×", str(folder.ledger_path), what), soft_wrap=True)
        if mended.refetched_blocks or mended.refetched_finalizations:
            fetched_blocks = many(mended.refetched_blocks, "block")
            finalizations = many(mended.refetched_finalizations, "finalization")
            console.print(Text(f"  {fetched_blocks} and {finalizations} fetched from peers"), soft_wrap=True)
        if mended.dropped_blocks:
            dropped = many(mended.dropped_blocks, "damaged block")
            console.print(Text(f"  {dropped} at the end dropped, for the node to fetch"), soft_wrap=True)
    if not mended.is_sound:
        hint("Restore a backup; or keep key and guard, set the rest of the data folder aside, and join the ledger anew")
        raise typer.Exit(ExitCode.FAILED)
    if mended.found:
        hint(f"Start the node: tallystick run --data {folder.path}. It fetches later blocks, and payloads, by itself")


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The copy; it must not exist yet.", show_default=False)],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """See `BACKUP_HELP`."""
    with error_boundary():
        folder = node_folder(data)
        folder.settings()
        target = file.absolute()
        with Terminal(stderr=True).status(f"Copying the ledger into {file}"):
            if is_running(folder):
                with connect(folder) as node:
                    index = node.one(Backup(str(target)), BackedUp).index
            else:
                copy_database(folder.ledger_path, target)
                with Store.open(target, read_only=True) as copy:
                    index = copy.tip_index
        size_bytes = target.stat().st_size
    if as_json:
        print_json({"file": str(file), "tip_index": index, "size_bytes": size_bytes})
        return
    console = make_console()
    console.print(marked("✓", str(file), f": block {index:,}, {size_bytes:,} bytes"), soft_wrap=True)
    hint(f"Check it with: tallystick check --chain {file}")
