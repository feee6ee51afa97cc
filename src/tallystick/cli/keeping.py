"""`tallystick check` and `tallystick backup`: whether what is kept is sound, and a copy of it."""

from pathlib import Path
from typing import Annotated, Final

import typer

from tallystick.cli.connecting import connect
from tallystick.cli.options import AsJson, Data, node_folder
from tallystick.cli.output import (
    Terminal,
    error_boundary,
    help_text,
    hint,
    make_console,
    marked,
    print_json,
)
from tallystick.cli.source import is_running
from tallystick.host.control import BackedUp, Backup
from tallystick.storage.backup import copy_database
from tallystick.storage.store import Store

BACKUP_HELP: Final = help_text(
    "Write a copy of the ledger into a new file, whether the node runs or not.",
    "The copy holds the ledger, not the key: keep a copy of the key file apart from it. To restore, put it into the "
    "node's folder as ledger.db while the node does not run, and leave the file guard there as it is.",
    "Example: tallystick backup /mnt/safe/ledger-monday.db",
)


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
