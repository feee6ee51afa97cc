"""`tallystick check`: whether what is kept is sound, and mending it."""

import time
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import convert, to_builtins

from tallystick.api.command_views import Checked, Repaired
from tallystick.cli import options
from tallystick.cli.options import AsJson, ChainFile, Data, NoPassphrase, PassphraseFile
from tallystick.cli.output import (
    Text,
    counting,
    error_boundary,
    help_text,
    hint,
    make_console,
    make_side_console,
    marked,
    print_json,
)
from tallystick.cli.words import CHECKED_AGAIN, many, seconds
from tallystick.host.data_folder import DataFolder
from tallystick.problems import DamagedStore, ExitCode, NoChain
from tallystick.storage.store import Store

HELP: Final = help_text(
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


def check(
    chain: ChainFile = None,
    data: Data = None,
    *,
    mends: Annotated[bool, typer.Option("--repair", help="Mend what is damaged; the node must not run.")] = False,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    as_json: AsJson = False,
) -> None:
    if mends and chain is not None:
        raise typer.BadParameter("--repair is for a node's folder, --data; no peer knows of a file of its own")
    with error_boundary():
        if mends:
            _mend(options.node_folder(data), passphrase_file, no_passphrase, as_json)
            return
        file = options.chain_file(chain, data)
        next_step = _next_step(None if chain is not None else options.node_folder(data))
        try:
            checked = _checked(file)
        except (DamagedStore, NoChain) as error:
            raise DamagedStore(f"{error}; {next_step}") from None
        if as_json:
            print_json(to_builtins(checked))
        else:
            _show(checked)
        if not checked.is_sound:
            hint(f"To mend it: {next_step}")
            raise typer.Exit(ExitCode.DAMAGED)


def _checked(file: Path) -> Checked:
    from tallystick.integrity.check import find_damage  # noqa: PLC0415

    begun_s = time.monotonic()
    with Store.open(file, read_only=True) as store, counting("Checking blocks", store.tip_index) as on_block:
        genesis, report = store.genesis, find_damage(store, on_block=on_block)
    final, damage = report.final, report.lines
    return Checked(
        file=str(file),
        name=genesis.name,
        ledger_id=genesis.ledger_id.hex(),
        is_sound=not damage,
        damage=damage,
        tip_index=final.index if final else report.tip_index,
        tip_hash=final.tip.hash.hex() if final else None,
        log_size=final.log.size if final else None,
        log_root=final.log.root().hex() if final else None,
        left_out=report.tip_index - final.index if final else 0,
        size_bytes=file.stat().st_size,
        took_ms=round(1000 * (time.monotonic() - begun_s)),
    )


def _show(checked: Checked) -> None:
    console = make_console()
    blocks, took = many(checked.tip_index, "block"), f" ({seconds(checked.took_ms)})"
    if not checked.is_sound:
        bad = marked("×", checked.file, f": {blocks}, damaged:").append(took, style="dim")
        console.print(bad, soft_wrap=True)
        for line in checked.damage[:_MOST_LINES]:
            console.print(Text(f"  {line}"), soft_wrap=True)
        if (more := len(checked.damage) - _MOST_LINES) > 0:
            console.print(Text(f"  and {more} more; --json tells all"), soft_wrap=True)
        return
    said = CHECKED_AGAIN if checked.tip_index else "nothing is on it yet"
    sound = marked("✓", checked.file, f": {blocks}, {many(checked.log_size or 0, 'certificate')}; {said}")
    console.print(sound.append(took, style="dim"), soft_wrap=True)
    if checked.left_out:
        left_out = f"  {many(checked.left_out, 'block')} at the end left out: no votes prove them final"
        console.print(Text(left_out, style="yellow"), soft_wrap=True)
    console.print(Text(f"  log root     {checked.log_root}", style="dim"), soft_wrap=True)


def _next_step(folder: DataFolder | None) -> str:
    if folder is None or not folder.is_there:
        return "put a good copy in its place, and look after the disk"
    return f"stop the node if it runs, look after the disk, then: tallystick check --repair --data {folder.quoted}"


def _mend(folder: DataFolder, passphrase_file: Path | None, no_passphrase: bool, as_json: bool) -> None:
    from tallystick.integrity.mending import Mending  # noqa: PLC0415  # it brings ZeroMQ along

    folder.settings()
    stories = make_side_console()
    mending = Mending(
        folder,
        lambda: options.open_wallet(folder, passphrase_file, no_passphrase),
        lambda line: stories.print(Text(line)),
        counting,
    )
    mended = convert(mending.run(), Repaired, from_attributes=True)
    if as_json:
        print_json(to_builtins(mended))
    else:
        _show_mended(folder, mended)
    if not mended.is_sound:
        hint("Restore a backup; or keep key and guard, set the rest of the data folder aside, and join the ledger anew")
        raise typer.Exit(ExitCode.DAMAGED)
    if mended.found:
        hint(f"Start the node: tallystick run --data {folder.quoted}. It fetches later blocks, and payloads, by itself")


def _show_mended(folder: DataFolder, mended: Repaired) -> None:
    console = make_console()
    became = "repaired, and checked again" if mended.is_sound else "still damaged"
    what = f": {many(mended.tip_index, 'block')}; {became if mended.found else 'nothing is damaged'}"
    console.print(marked("✓" if mended.is_sound else "×", str(folder.ledger_path), what), soft_wrap=True)
    if mended.refetched_blocks or mended.refetched_finalizations:
        blocks = many(mended.refetched_blocks, "block")
        finalizations = many(mended.refetched_finalizations, "finalization")
        console.print(Text(f"  {blocks} and {finalizations} fetched from peers"), soft_wrap=True)
    if mended.dropped_blocks:
        dropped = many(mended.dropped_blocks, "damaged block")
        console.print(Text(f"  {dropped} at the end dropped, for the node to fetch"), soft_wrap=True)
