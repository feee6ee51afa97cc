"""Earlier proofs of a document that have what the one in their place lacks: kept beside it.

That is a time stamp, or signatures by ML-DSA-44. FILE.YYYY-MM-DD.tlog-proof with FILE.YYYY-MM-DD.tsr, .members and
.payload if it has them, by the date of the token, or else of the checkpoint's block; the second of a day is
FILE.YYYY-MM-DD.2. An old token is the better one once a kind of signature is broken.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from tallystick.client.proof_files import MEMBERS, PAYLOAD, PROOF, TIME_STAMP, RawProof
from tallystick.client.time_stamp_token import read_token
from tallystick.ledger.checkpoint import MlDsaCosigners, cosigner_key, parse_checkpoint
from tallystick.ledger.errors import Refused
from tallystick.ledger.fields import ML_DSA_SIGNATURE_BYTES
from tallystick.ledger.tlog_proof import parse_proof

_ML_DSA_LINE_BYTES: Final = 8 + ML_DSA_SIGNATURE_BYTES
_MOST_OF_A_DAY: Final = 99
_MOST_EARLIER: Final = 64
_LAST_S: Final = 253_402_300_799
"""The end of the year 9999."""
_DATED: Final = re.compile(r"(?P<of>.+)\.(?P<date>\d{4}-\d{2}-\d{2})(?:\.(?P<number>[1-9]\d?))?", re.ASCII | re.DOTALL)


def stamped_on(files: RawProof) -> str | None:
    """The date of the token beside a proof, if it is over that proof's note, whoever made it; `None`: there is none."""
    try:
        token = read_token(files.time_stamp or b"")
        if hashlib.new(token.hash_name, files.note).digest() != token.imprint:
            return None
    except Refused:
        return None
    return _date(token.not_later_ms)


def kept_under(before: RawProof, lost: int) -> str | None:
    """The date under which a proof is kept when another takes its place; `None`: the other has all that it has.

    `lost`: as `lost_ml_dsa` counts.
    """
    date = stamped_on(before)
    return _date(before.bundle.extra.header.timestamp_ms) if date is None and lost else date


def lost_ml_dsa(before: bytes, made: bytes, shown: MlDsaCosigners) -> int:
    """So many signed the one proof by ML-DSA-44, by the form of the lines, and not the other.

    What the other shows was verified: a line counts in the name of a member alone, by whatever key if it is good, and
    by the same key if that cannot be told here. Lines of keys that nobody knows replace none.
    """
    try:
        note = parse_proof(made).checkpoint
        origin = parse_checkpoint(note.text).origin
    except Refused:
        return len(_ml_dsa_keys(before))
    good, unchecked = ({cosigner_key(origin, one).name for one in some} for some in (shown.signed, shown.unchecked))
    again = {key for key in _ml_dsa_keys(made) if key[0] in unchecked}
    return len({name for name, _ in _ml_dsa_keys(before) - again} - good)


def has_ml_dsa(proof: bytes) -> bool:
    """Whether somebody signed it by ML-DSA-44, by the form of the lines."""
    return bool(_ml_dsa_keys(proof))


def _ml_dsa_keys(proof: bytes) -> frozenset[tuple[str, bytes]]:
    """Names and key ids."""
    try:
        lines = parse_proof(proof).checkpoint.signatures
    except Refused:
        return frozenset()
    return frozenset((one.name, one.key_id) for one in lines if len(one.signature) == _ML_DSA_LINE_BYTES)


def _date(time_ms: int) -> str:
    return datetime.fromtimestamp(min(time_ms // 1000, _LAST_S), UTC).date().isoformat()


def places(document: Path, date: str, files: RawProof) -> Iterator[dict[Path, bytes]]:
    """Under which names a proof can be kept with its token: the one after the other; the proof is the last to write.

    A token beside it that is over another note is not its own.
    """
    token = files.time_stamp if stamped_on(files) is not None else None
    for number in range(1, _MOST_OF_A_DAY + 1):
        base = f"{document.name}.{date}" + (f".{number}" if number > 1 else "")
        data = {TIME_STAMP: token, MEMBERS: files.members, PAYLOAD: files.payload, PROOF: files.proof}
        yield {document.with_name(base + ending): one for ending, one in data.items() if one is not None}


class EarlierProofs:
    """Those that are kept beside documents. A folder is listed once for all that are asked about in a row."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._found: dict[str, list[Path]] = {}

    def of(self, document: Path) -> list[Path]:
        """The newest first. Raises `OSError`."""
        if document.parent != self._folder:
            self._found, self._folder = _listed(document.parent), document.parent
        return self._found.get(document.name, [])


def _listed(folder: Path) -> dict[str, list[Path]]:
    """By the document's name."""
    found = defaultdict[str, list[tuple[str, int, Path]]](list)
    for path in folder.iterdir():
        dated = _DATED.fullmatch(path.name.removesuffix(PROOF)) if path.name.endswith(PROOF) else None
        if dated is not None:
            found[dated["of"]].append((dated["date"], int(dated["number"] or 1), path))
    return {of: [path for *_, path in islice(sorted(some, reverse=True), _MOST_EARLIER)] for of, some in found.items()}


def is_earlier(name: str, names: Collection[str]) -> bool:
    """Whether a proof of this name, among these in a folder, is an earlier one, and no document has its date."""
    of_it = name.removesuffix(PROOF)
    dated = _DATED.fullmatch(of_it)
    return dated is not None and of_it not in names and (dated["of"] in names or dated["of"] + PROOF in names)
