"""The proofs in a folder: found by their ending, and in PDF files; recursively, never through a symbolic link.

An earlier proof that is kept under its date (`earlier_proofs`) is left as it is.

Hidden folders are left out: programs keep things of their own there, such as what a user trusts.
"""

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from tallystick.client.earlier_proofs import is_earlier
from tallystick.client.pdf_files import Marked, mark_in
from tallystick.client.proof_files import PROOF, document_of
from tallystick.problems import Problem, UnreadableFile

MAX_FOUND: Final = 1_000_000

_PDF: Final = ".pdf"


def find_proofs(named: Iterable[Path]) -> Iterator[tuple[Path, Problem | None]]:
    """The proofs of documents, proofs themselves, and those in folders, each once; and what hinders it for one.

    Of a proof that a PDF carries, the PDF: as for `verify`, a proof beside it does not count then. Raises `Problem` if
    there are too many.
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
    document = document_of(path)
    proof = path.with_name(document.name + PROOF)
    try:
        is_carried = _is_carried(document, is_beside=proof.is_file())
    except UnreadableFile as problem:
        return path, problem
    if is_carried and path != document:
        return path, Problem(f"{path} does not count, as {document} carries its proof; name {document}, or its folder")
    if is_carried or proof.is_file():
        return document if is_carried else proof, None
    return path, UnreadableFile(f"there is no proof {proof}; tallystick prove makes one")


def _in_folder(folder: Path) -> Iterator[tuple[Path, Problem | None]]:
    hindered = list[OSError]()
    for place, folders, names in os.walk(folder, onerror=hindered.append):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        yield from _among(Path(place), set(names))
    for error in hindered:
        told = f"{error.filename} cannot be read: {error.strerror}; what is in it is left out"
        yield Path(error.filename), UnreadableFile(told)


def _among(place: Path, names: Collection[str]) -> Iterator[tuple[Path, Problem | None]]:
    """Those of the files in one folder: a document comes before the proof beside it."""
    carrying = set[str]()
    for name in sorted(names):
        path = place / name
        if path.is_symlink() or not path.is_file():
            continue
        if name.endswith(PROOF):
            if name.removesuffix(PROOF) not in carrying and not is_earlier(name, names):
                yield path, None
            continue
        try:
            is_carried = _is_carried(path, is_beside=name + PROOF in names)
        except UnreadableFile as problem:
            if name.lower().endswith(_PDF):  # of anything else nobody expects a proof
                yield path, problem
            continue
        if is_carried:
            carrying.add(name)
            yield path, None


def _is_carried(document: Path, *, is_beside: bool) -> bool:
    """Whether the proof that counts of a document is in it, and not beside it. Raises `UnreadableFile`."""
    marked = mark_in(document)
    return marked is Marked.THERE or (marked is Marked.ELSEWHERE and not is_beside)
