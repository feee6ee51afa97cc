"""Two checkpoints of one log that cannot both be true, as a file to be judged offline (docs/proofs.md, A1 to A3).

Text in the manner of C2SP: what shows the conflict, then both signed notes as they were signed.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from tallystick.ledger.checkpoint import Checkpoint, decode_digest, encode_digest, parse_checkpoint, signed_at
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.merkle import root_from_consistency
from tallystick.ledger.note import MAX_NOTE_SIGNATURES, Note, NoteKey, decode_base64, parse_key, parse_note
from tallystick.ledger.params import MAX_GENESIS_BYTES
from tallystick.ledger.tlog_proof import MAX_PATH

MAX_CONFLICT_BYTES: Final = 2 * MAX_GENESIS_BYTES
MAX_KEYS: Final = 2 * MAX_NOTE_SIGNATURES

_FIRST_LINE: Final = "tallystick/tlog-conflict@v1"


class TlogConflict(NamedTuple):
    """Two signed checkpoints, and what shows that they conflict. Nothing of it is verified by reading it."""

    genesis: bytes | None
    """Of a ledger of this program, encoded: it tells who voted first. Its hash stands in the origin."""
    keys: tuple[NoteKey, ...]
    """Of those who signed both, as whoever made the file says."""
    root: bytes | None
    """Of the smaller size, by the log of the larger; `None`: both are of one size."""
    path: tuple[bytes, ...]
    """The consistency proof from there to the larger (RFC 6962)."""
    first: Note
    """The one of the smaller log, or of the smaller root."""
    second: Note

    @property
    def encoded(self) -> str:
        """The text of the file."""
        genesis = [] if self.genesis is None else [f"genesis {b64encode(self.genesis).decode()}"]
        root = [] if self.root is None else [f"root {encode_digest(self.root)}"]
        lines = [_FIRST_LINE, *genesis, *(f"key {one.text}" for one in self.keys), *root]
        head = "\n".join([*lines, *map(encode_digest, self.path)])
        return f"{head}\n\n{self.first.encoded}\n{self.second.encoded}"

    @property
    def checkpoints(self) -> tuple[Checkpoint, Checkpoint]:
        """Both. Raises `Refused` (P1)."""
        return parse_checkpoint(self.first.text), parse_checkpoint(self.second.text)

    def check(self) -> None:
        """Raise `Refused` (A2, T3) unless no log has both: it says nothing of who signed them."""
        first, second = self.checkpoints
        if first.size == second.size:
            if first.root == second.root:
                raise Refused(Rule.A2, "both are of the same log")
        elif self.root is None or self.root == first.root:
            raise Refused(Rule.A2, f"no other root of {first.size} leaves is shown")
        elif root_from_consistency(self.root, first.size, second.size, self.path) != second.root:
            raise Refused(Rule.A2, f"the hashes do not lead to the root of {second.size} leaves")

    def signers(self, keys: Iterable[NoteKey]) -> frozenset[bytes]:
        """Of these keys the public keys that signed both, as the log or as a cosigner."""
        known = list(keys)
        return _signers(self.first, known) & _signers(self.second, known)


def make_conflict(
    one: Note,
    other: Note,
    keys: Iterable[NoteKey],
    shown: tuple[bytes, tuple[bytes, ...]] | None = None,
    genesis: bytes | None = None,
) -> TlogConflict:
    """The file's content for two notes, in either order; of `keys` those that signed both stand in it.

    `shown`: the root of the smaller size by the larger log, and the consistency proof from it. Raises `Refused` (A2).
    """
    first, second = sorted((one, other), key=_place)
    root, path = shown or (None, ())
    known = list(keys)
    signed = TlogConflict(genesis, (), root, path, first, second).signers(known)
    named = sorted({key for key in known if key.public_key in signed}, key=lambda key: key.text)
    made = TlogConflict(genesis, tuple(named[:MAX_KEYS]), root, path, first, second)
    made.check()
    return made


def parse_conflict(data: bytes) -> TlogConflict:
    """Raise `Refused` (A1) unless this is such a file, in its one canonical form."""
    if len(data) > MAX_CONFLICT_BYTES:
        raise Refused(Rule.A1, f"a file of {len(data)} bytes, {MAX_CONFLICT_BYTES} allowed")
    try:
        found = _parse(data.decode())
    except UnicodeDecodeError:
        raise Refused(Rule.A1, "the file is not text in UTF-8") from None
    except Refused as refused:
        raise Refused(Rule.A1, refused.reason) from None
    if found.encoded.encode() != data:
        raise Refused(Rule.A1, "written again it is another text")
    return found


def _parse(text: str) -> TlogConflict:
    blocks = text.split("\n\n")
    lines = blocks[0].split("\n")
    if lines[0] != _FIRST_LINE or len(blocks) != 5:
        raise Refused(Rule.A1, f"it begins with {_FIRST_LINE}, and two signed checkpoints follow after empty lines")
    first, second = parse_note(f"{blocks[1]}\n\n{blocks[2]}\n"), parse_note(f"{blocks[3]}\n\n{blocks[4]}")
    told = iter(lines[1:])
    genesis, keys, root = None, list[NoteKey](), None
    line = next(told, "")
    if line.startswith("genesis "):
        genesis, line = decode_base64(line.removeprefix("genesis "), "the genesis"), next(told, "")
    while line.startswith("key ") and len(keys) < MAX_KEYS:
        keys.append(parse_key(line.removeprefix("key ")))
        line = next(told, "")
    if line.startswith("root "):
        root, line = decode_digest(line.removeprefix("root "), "the root"), next(told, "")
    path = tuple(decode_digest(one, "a hash of the proof") for one in (line, *told) if line)
    if len(path) > MAX_PATH:
        raise Refused(Rule.A1, f"{len(path)} hashes, {MAX_PATH} allowed")
    if [one.text for one in keys] != sorted({one.text for one in keys}):
        raise Refused(Rule.A1, "its keys do not stand in their order, each once")
    if _place(first) > _place(second) or (path and root is None):
        raise Refused(Rule.A1, "the smaller log stands first, and hashes need a line root")
    if parse_checkpoint(first.text).origin != parse_checkpoint(second.text).origin:
        raise Refused(Rule.A1, "the checkpoints are of two logs")
    return TlogConflict(genesis, tuple(keys), root, path, first, second)


def _place(note: Note) -> tuple[int, bytes]:
    checkpoint = parse_checkpoint(note.text)
    return checkpoint.size, checkpoint.root


def _signers(note: Note, keys: Iterable[NoteKey]) -> frozenset[bytes]:
    return frozenset(_signing(note, keys))


def _signing(note: Note, keys: Iterable[NoteKey]) -> Iterator[bytes]:
    for key in keys:
        with suppress(Refused):  # a bad signature says nothing of whose name it is in
            if signed_at(key, note):
                yield key.public_key
