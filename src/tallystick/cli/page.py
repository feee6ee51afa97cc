"""`tallystick page`: where the page is with which anybody verifies in a browser."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from tallystick.api.command_views import PageShown
from tallystick.api.verify_page import PAGE, page_bytes, page_version
from tallystick.cli.options import option
from tallystick.cli.output import give, hint, marked, print_line, say
from tallystick.client.drafts import UNDER_WAY
from tallystick.problems import CannotMake
from tallystick.storage.sqlite_file import sync_folder


def page(
    *,
    to: Annotated[Path | None, option("A new file to write a copy to.", "FILE", show_default="no copy is made")] = None,
) -> None:
    """Say where the page is with which anybody verifies documents in a browser, or write a copy of it.

    It is one file that reaches no network: open it from disk, or hand it on. It makes the same checks as tallystick
    verify, in the same words; which ledgers it trusts is kept in the browser, apart from those of tallystick trust.

    Examples:
      tallystick page
      tallystick page --to verify.html
    """
    if to is not None:
        _write(to)
    path = (to or PAGE).absolute()
    shown = PageShown(address=path.as_uri(), path=str(path), version=page_version())
    give(shown)
    if to is not None:
        say(marked("✓", str(to), f": open {shown.address} in a browser"))
    else:
        print_line(shown.address)
        hint("Open it in a browser, and drop a document and its proof on it; --to FILE writes a copy to hand on.")


def _write(path: Path) -> None:
    """All of it or nothing, and never over another file."""
    try:
        with TemporaryDirectory(dir=path.parent, prefix=UNDER_WAY) as folder:
            whole = Path(folder, PAGE.name)
            with whole.open("wb") as file:
                file.write(page_bytes())
                file.flush()
                os.fsync(file.fileno())
            os.link(whole, path)
        sync_folder(path)
    except FileExistsError:
        raise CannotMake(f"{path} is there; name another file with --to") from None
    except OSError as error:
        raise CannotMake(f"{path} cannot be written: {error.strerror}; name another file with --to") from None
