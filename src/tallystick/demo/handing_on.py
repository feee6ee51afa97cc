"""What the demo leaves to be verified by hand: a diploma, its proof, the page that verifies, and the ledger's id."""

import shutil
from pathlib import Path
from typing import Final

from tallystick.api.verify_page import PAGE
from tallystick.client.proof_files import PROOF
from tallystick.problems import StoreError

DIPLOMA: Final = "hamilton.txt"
LEDGER_ID: Final = "ledger-id.txt"
_FILES: Final = (DIPLOMA, DIPLOMA + PROOF, PAGE.name, LEDGER_ID)
_HOW: Final = """{ledger_id}

This is the id of the demo's ledger. One of its members would tell it to you, by
another way than the file came.

In a browser:
1. Open {page}.
2. Choose {diploma} and {diploma}{proof}.
3. Open "I have the ledger's id from one of its members", paste the id above,
   say that you have it from the demo, and press "Trust this ledger".

On the command line, in this folder:
tallystick verify {diploma} --ledger {ledger_id}

Then change a letter of {diploma}, and verify it again.
"""


def handed_on(chain: Path) -> Path:
    """The folder in which they are, beside the kept chain."""
    return chain.with_name(f"{chain.stem}-proof")


def check_handed_on(chain: Path) -> None:
    """Raise `StoreError` when something else than what an earlier demo left is in the way."""
    folder = handed_on(chain)
    if not folder.exists():
        return
    others = [one.name for one in folder.iterdir() if one.name not in _FILES] if folder.is_dir() else []
    if others or not folder.is_dir():
        what = f"has a file {min(others)}, which no demo left there" if others else "is no folder"
        raise StoreError(f"{folder} {what}; move it away, or name another file with --chain")


def hand_on(diploma: Path, ledger_id: str, chain: Path) -> None:
    """Leave them in the place of what an earlier demo left."""
    folder = handed_on(chain)
    folder.mkdir(exist_ok=True)
    for one in (diploma, diploma.with_name(diploma.name + PROOF), PAGE):
        shutil.copyfile(one, folder / one.name)
    how = _HOW.format(ledger_id=ledger_id, page=PAGE.name, diploma=DIPLOMA, proof=PROOF)
    (folder / LEDGER_ID).write_text(how)
