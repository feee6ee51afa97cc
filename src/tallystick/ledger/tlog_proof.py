"""A proof that a leaf is in a log, as a file: c2sp.org/tlog-proof."""

from base64 import b64encode
from typing import Final, NamedTuple

from tallystick.ledger.checkpoint import decode_digest, encode_digest, parse_number
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.note import Note, decode_base64, parse_note

MAX_PROOF_BYTES: Final = 256 * 1024
MAX_PATH: Final = 63

_FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"


class TlogProof(NamedTuple):
    """A proof file, as every tool reads it."""

    extra: bytes | None
    """What the log adds; no signature covers it."""
    log_index: int
    """The leaf's."""
    path: tuple[bytes, ...]
    """RFC 6962, from the leaf upwards."""
    checkpoint: Note

    @property
    def encoded(self) -> str:
        """The text of the file."""
        extra = [] if self.extra is None else [f"extra {b64encode(self.extra).decode()}"]
        lines = [_FIRST_LINE, *extra, f"index {self.log_index}", *map(encode_digest, self.path)]
        return "\n".join(lines) + "\n\n" + self.checkpoint.encoded


def parse_proof(data: bytes) -> TlogProof:
    """Raise `Refused` (P1) unless this is a proof file, in its one canonical form."""
    if len(data) > MAX_PROOF_BYTES:
        raise Refused(Rule.P1, f"a proof of {len(data)} bytes, {MAX_PROOF_BYTES} allowed")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Refused(Rule.P1, "the proof is not text in UTF-8") from None
    head, gap, note = text.partition("\n\n")
    lines = iter(head.split("\n"))
    if next(lines) != _FIRST_LINE or not gap:
        raise Refused(Rule.P1, f"a proof begins with {_FIRST_LINE}, and has an empty line before its checkpoint")
    line = next(lines, "")
    extra = None
    if line.startswith("extra "):
        extra, line = decode_base64(line.removeprefix("extra "), "extra"), next(lines, "")
    if not line.startswith("index "):
        raise Refused(Rule.P1, "the index is missing: a line index N, after the first or after extra")
    index = parse_number(line.removeprefix("index "), "the index")
    path = tuple(decode_digest(one, f"hash {number}") for number, one in enumerate(lines, start=1))
    if len(path) > MAX_PATH:
        raise Refused(Rule.P1, f"{len(path)} hashes, {MAX_PATH} allowed")
    return TlogProof(extra, index, path, parse_note(note))
