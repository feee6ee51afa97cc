"""The proofs in a folder: found by their ending, recursively, never through a symbolic link.

Hidden folders are left out: programs keep things of their own there, such as what a user trusts.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tallystick.client.proof_files import PROOF
from tallystick.problems import Problem, UnreadableFile

MAX_FOUND: Final = 1_000_000


def find_proofs(named: Iterable[Path]) -> Iterator[tuple[Path, Problem | None]]:
    """The proofs of documents, proofs themselves, and those in folders, each once; and what hinders it for one.

    Raises `Problem` if there are too many.
    """
    seen = set[Path]()
    for path in named:
        for found, problem in _in_folder(path) if path.is_dir() else [_of_file(path)]:
            if problem is None and found in seen:
                continue
            if len(seen) >= MAX_FOUND:
                raise Problem(f"there are more than {MAX_FOUND:,} proofs in it; name folders inside one by one")
            seen.add(found)
            yield found, problem


def _of_file(path: Path) -> tuple[Path, Problem | None]:
    proof = path if path.name.endswith(PROOF) else path.with_name(path.name + PROOF)
    if proof.is_file():
        return proof, None
    return path, UnreadableFile(f"there is no proof {proof}; tallystick prove makes one")


def _in_folder(folder: Path) -> Iterator[tuple[Path, Problem | None]]:
    hindered = list[OSError]()
    for place, folders, names in os.walk(folder, onerror=hindered.append):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if name.endswith(PROOF) and not path.is_symlink() and path.is_file():
                yield path, None
    for error in hindered:
        told = f"{error.filename} cannot be read: {error.strerror}; what is in it is left out"
        yield Path(error.filename), UnreadableFile(told)
