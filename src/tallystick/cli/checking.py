"""`tallystick check`: whether what is kept is sound, and mending it."""

import time
from pathlib import Path
from typing import Annotated

import typer
from msgspec import convert

from tallystick.api.command_views import Checked, Repaired, checked_view
from tallystick.cli import options
from tallystick.cli.options import ChainFile, Data, NoPassphrase, PassphraseFile, chain_file, flag, node_folder
from tallystick.cli.output import MOST_LINES, Text, counting, field, give, hint, marked, note, say
from tallystick.cli.words import CHECKED_AGAIN, many, seconds
from tallystick.host.data_folder import DataFolder
from tallystick.problems import DamagedStore, ExitCode, NoChain
from tallystick.storage.store import Store


def check(
    chain: ChainFile = None,
    data: Data = None,
    *,
    mends: Annotated[bool, flag("--repair", "Mend what is damaged; the node must not run.")] = False,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
) -> None:
    """Check all of the node's ledger again, from the genesis on: every hash, signature, vote, rule and root.

    It names all damage, only reads, and the node may run meanwhile. With --repair, while the node does not run, it
    mends what is damaged: what follows from the rest is made anew, damaged blocks and finalizations, and no others,
    are fetched from members that can be reached. Cut off, or with nobody in reach, it goes on the next time.

    Examples:
      tallystick check
      tallystick check --repair
      tallystick check --chain copy.db
    """
    folder = node_folder(data)
    if mends and chain is not None:
        raise typer.BadParameter("--repair is for a node's folder, --data; no peer knows of a file of its own")
    if mends:
        _mend(folder, passphrase_file, no_passphrase)
        return
    file = chain_file(chain, data)
    is_own = chain is None and folder.is_there
    next_step = "put a good copy in its place, and look after the disk"
    if is_own:
        repair = f"tallystick check --repair --data {folder.quoted}"
        next_step = f"stop the node if it runs, look after the disk, then: {repair}"
    try:
        checked = _checked(file)
    except (DamagedStore, NoChain) as error:
        if isinstance(error, NoChain) and not is_own:
            raise  # another file was named
        raise DamagedStore(f"{error}; {next_step}") from None
    give(checked)
    _tell(checked)
    if not checked.is_sound:
        hint(f"To mend it: {next_step}")
        raise typer.Exit(ExitCode.DAMAGED)


def _checked(file: Path) -> Checked:
    from tallystick.integrity.check import find_damage  # noqa: PLC0415

    begun_s = time.monotonic()
    with Store.open(file, read_only=True) as store, counting("Checking blocks", store.tip_index) as on_block:
        genesis, report = store.genesis, find_damage(store, on_block=on_block)
    return checked_view(file, genesis, report, round(1000 * (time.monotonic() - begun_s)))


def _tell(checked: Checked) -> None:
    blocks, took = many(checked.tip_index, "block"), f" ({seconds(checked.took_ms)})"
    if not checked.is_sound:
        say(marked("×", checked.file, f": {blocks}, damaged:").append(took, style="dim"))
        for line in checked.damage[:MOST_LINES]:
            say(f"  {line}")
        if (more := len(checked.damage) - MOST_LINES) > 0:
            say(f"  and {more} more; --json tells all")
        return
    said = CHECKED_AGAIN if checked.tip_index else "nothing is on it yet"
    sound = marked("✓", checked.file, f": {blocks}, {many(checked.log_size or 0, 'certificate')}; {said}")
    say(sound.append(took, style="dim"))
    if checked.left_out:
        left_out = f"  {many(checked.left_out, 'block')} at the end left out: no votes prove them final"
        say(Text(left_out, style="yellow"))
    say(field("log root", checked.log_root or ""))


def _mend(folder: DataFolder, passphrase_file: Path | None, no_passphrase: bool) -> None:
    from tallystick.integrity.mending import Mending  # noqa: PLC0415  # it brings ZeroMQ along

    folder.settings()
    mending = Mending(
        folder,
        lambda: options.open_key(folder.key_path, passphrase_file, no_passphrase),
        lambda line: note(Text(line)),
        counting,
    )
    mending.run()
    mended = convert(mending, Repaired, from_attributes=True)
    give(mended)
    became = "repaired, and checked again" if mended.is_sound else "still damaged"
    what = f": {many(mended.tip_index, 'block')}; {became if mended.found else 'nothing is damaged'}"
    say(marked("✓" if mended.is_sound else "×", str(folder.ledger_path), what))
    if mended.refetched_blocks or mended.refetched_finalizations:
        finalizations = many(mended.refetched_finalizations, "finalization")
        say(f"  {many(mended.refetched_blocks, 'block')} and {finalizations} fetched from peers")
    if mended.dropped_blocks:
        say(f"  {many(mended.dropped_blocks, 'damaged block')} at the end dropped, for the node to fetch")
    if not mended.is_sound:
        hint("Restore a backup; or keep key and guard, set the rest of the data folder aside, and join the ledger anew")
        raise typer.Exit(ExitCode.DAMAGED)
    if mended.found:
        hint(f"Start the node: tallystick run --data {folder.quoted}. It fetches later blocks, and payloads, by itself")
