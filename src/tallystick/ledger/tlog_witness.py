"""What a log asks of a witness, and when a witness cosigns: c2sp.org/tlog-witness v1.0.0, `add-checkpoint`.

Another root of the same size is no consistency (422), as that was made clear after v1.0.0: its text has 409.
"""

from typing import Final, NamedTuple

from tallystick.ledger.checkpoint import (
    Checkpoint,
    cosigned_bytes,
    decode_digest,
    encode_digest,
    parse_checkpoint,
    parse_number,
    timed_signature,
)
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.merkle import EMPTY_ROOT, root_from_consistency
from tallystick.ledger.note import MAX_NOTE_BYTES, KeyType, Note, NoteKey, NoteSignature, parse_note
from tallystick.ledger.tlog_proof import MAX_PATH
from tallystick.ledger.wallet import Wallet

MAX_REQUEST_BYTES: Final = MAX_NOTE_BYTES + 4 * 1024
"""A checkpoint, and 63 hashes before it."""


class AddCheckpoint(NamedTuple):
    """A request: this checkpoint goes on from the one of the old size."""

    old_size: int
    path: tuple[bytes, ...]
    """The consistency proof (RFC 6962)."""
    note: Note
    checkpoint: Checkpoint

    @property
    def encoded(self) -> str:
        """The body of the request."""
        lines = [f"old {self.old_size}", *map(encode_digest, self.path)]
        return "\n".join(lines) + "\n\n" + self.note.encoded

    def check_goes_on(self, latest: Checkpoint) -> None:
        """Raise `Refused` (T3) unless it goes on from the latest that was cosigned, which is of the old size."""
        new = self.checkpoint
        if new.size == 0 and new.root != EMPTY_ROOT:
            raise Refused(Rule.T3, "an empty log has another root")
        if self.old_size == 0:
            if self.path:
                raise Refused(Rule.T3, "from an empty log no hashes lead on")
            if new.size == 0:
                return
        elif root_from_consistency(latest.root, self.old_size, new.size, self.path) != new.root:
            raise Refused(Rule.T3, f"the hashes do not lead to the root of {new.size} leaves")


def parse_add_checkpoint(body: bytes) -> AddCheckpoint:
    """Raise `Refused` (P1) unless this is a request, and its old size no larger than its new one."""
    if len(body) > MAX_REQUEST_BYTES:
        raise Refused(Rule.P1, f"a request of more than {MAX_REQUEST_BYTES} bytes")
    try:
        head, gap, note = body.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise Refused(Rule.P1, "the request is not text in UTF-8") from None
    first, *hashes = head.split("\n")
    if not gap or not first.startswith("old "):
        raise Refused(Rule.P1, "a request is a line old N, hashes, an empty line, and a checkpoint")
    if len(hashes) > MAX_PATH:
        raise Refused(Rule.P1, f"{len(hashes)} hashes, {MAX_PATH} allowed")
    old_size = parse_number(first.removeprefix("old "), "the old size")
    path = tuple(decode_digest(one, f"hash {number}") for number, one in enumerate(hashes, start=1))
    parsed = parse_note(note)
    checkpoint = parse_checkpoint(parsed.text)
    if old_size > checkpoint.size:
        raise Refused(Rule.P1, f"from {old_size} leaves to {checkpoint.size}: a log only grows")
    return AddCheckpoint(old_size, path, parsed, checkpoint)


def witness_key(name: str, public_key: bytes) -> NoteKey:
    """The key of a witness, as operators of logs take it."""
    return NoteKey(name, KeyType.COSIGNATURE, public_key)


def witness_cosignature(wallet: Wallet, name: str, text: str, time_s: int) -> NoteSignature:
    """What the witness says of a checkpoint. Only who has kept it as the latest of its log may call this."""
    signed = timed_signature(time_s, wallet.sign_note(cosigned_bytes(time_s, text)))
    return witness_key(name, wallet.public_key).signature(signed)
