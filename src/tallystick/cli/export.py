"""`tallystick export`: a mirror of the ledger in a folder, for any web server."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tallystick.api.command_views import Exported
from tallystick.cli.options import ChainFile, Data, argument, chain_file, flag, open_source, option
from tallystick.cli.output import counting, field, give, hint, marked, say, warn
from tallystick.cli.words import many
from tallystick.client.blocking import Client
from tallystick.client.exporting import export as export_once
from tallystick.client.exporting import follow as follow_on
from tallystick.storage.mirror_files import MirrorFolder, Published
from tallystick.storage.store import Store


def export(
    to: Annotated[Path, argument("DIR", "The mirror: a new or empty folder, or that of an earlier export.")],
    *,
    follow: Annotated[
        bool, flag("--follow", "Go on, and publish each new checkpoint, until Ctrl-C or SIGTERM.")
    ] = False,
    timeout: Annotated[float, option("Wait no longer for members to countersign.", "SECONDS", min=0)] = 30.0,
    chain: ChainFile = None,
    data: Data = None,
) -> None:
    """Write a mirror of the ledger into a folder: any web server, object store or CDN can serve it to everybody.

    It holds the log as tiles (C2SP tlog-tiles), the headers and the newest countersigned checkpoint, and no payloads.
    Run again, it adds what is new. It is checked before it is published, and what its file checkpoint names is whole
    at every moment, so a run may be cut off anywhere: the next one goes on.

    Of a node that runs, its newest checkpoint is published; of a chain's file, the one that was kept.

    Examples:
      tallystick export /var/www/ledger
      tallystick export /var/www/ledger --follow
      tallystick export ./mirror --chain ./ledger.db
    """
    file = chain_file(chain, data)
    with open_source(chain, data) as client, Store.open(file, read_only=True) as store:
        if follow and client.is_file:
            raise typer.BadParameter("--follow needs a running node: a file gets no new checkpoints")
        mirror = MirrorFolder(to, store)
        with mirror.held():
            begun_s = time.monotonic()
            done = export_once(client, mirror, lambda total: counting("Writing the mirror", total), timeout)
            told = _view(to, client, done, time.monotonic() - begun_s)
            _tell(told)
            if follow:
                told = _follow(to, client, mirror, told)
        give(told)


def _follow(to: Path, client: Client, mirror: MirrorFolder, told: Exported) -> Exported:
    """Until it is told to end; all that was written."""
    total = told
    try:
        with _ending_by_sigterm():
            for done in follow_on(client, mirror, lambda problem: warn(f"{problem}; it is waited for")):
                total = _view(to, client, done, total.duration_ms / 1000, total)
                if done.certificates:
                    say(marked("✓", f"{done.checkpoint.size:,}", f" certificates, {done.certificates:,} of them new"))
    except KeyboardInterrupt:
        say("")
        say(f"Ended as told. The mirror holds {many(total.log_size, 'certificate')}.")
    return total


def _view(to: Path, client: Client, done: Published, took_s: float, before: Exported | None = None) -> Exported:
    return Exported(
        folder=str(to),
        ledger_id=client.ledger_id.hex(),
        log_size=done.checkpoint.size,
        log_root=done.checkpoint.root.hex(),
        certificates=done.certificates + (before.certificates if before else 0),
        files=done.files + (before.files if before else 0),
        size_bytes=done.size_bytes + (before.size_bytes if before else 0),
        duration_ms=round(1000 * took_s),
        checkpoints=(done.files > 0) + (before.checkpoints if before else 0),
    )


def _tell(told: Exported) -> None:
    say(marked("✓", told.folder, f" holds {many(told.log_size, 'certificate')}"))
    rate = round(1000 * told.certificates / max(told.duration_ms, 1))
    written = f"{many(told.files, 'file')}, {told.size_bytes:,} bytes"
    say(field("new", f"{many(told.certificates, 'certificate')}, in {written}"))
    say(field("took", f"{told.duration_ms / 1000:.1f} s, {rate:,} certificates a second"))
    hint("Any web server can serve the folder as it is; docs/mirrors.md has the headers for caches.")


@contextmanager
def _ending_by_sigterm() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
