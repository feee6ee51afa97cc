"""Checkpoints of a ledger's log, and what members sign of them.

Formats: c2sp.org/tlog-checkpoint v1.0.0 and c2sp.org/tlog-cosignature v1.0.1. ML-DSA is verified by a function that is
handed in: it is no part of what every machine has, and of no consensus rule. docs/protocol.md, section 4,
"Checkpoints", says when a member signs.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, NamedTuple

from msgspec import Meta

from tallystick.ledger.encoding import Codec, Encoded
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import (
    MAX_INDEX,
    ML_DSA_SIGNATURE_BYTES,
    UNSIGNED,
    Digest,
    Index,
    MlDsaSignature,
    PublicKey,
    Signature,
)
from tallystick.ledger.keys import Verify, is_signed
from tallystick.ledger.note import KeyType, Note, NoteKey, NoteSignature, decode_base64, make_note
from tallystick.ledger.wallet import Wallet

MAX_LOG_LINES: Final = 8
"""Of so many members at most each has its own log signature under a checkpoint; of more, one has."""

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_TIME_BYTES: Final = 8
_SIGNATURE_BYTES: Final[Mapping[int, int]] = {KeyType.COSIGNATURE: 64, KeyType.ML_DSA: ML_DSA_SIGNATURE_BYTES}
_MAX_NAME_BYTES: Final = 255
"""Of cosigner and log in what ML-DSA signs."""
_MAX_TIME_S: Final = 2**63 - 1
"""Of other people's cosigners."""

Seconds = Annotated[int, Meta(ge=0, le=2**43)]


class Checkpoint(NamedTuple):
    """The head of a log: its origin, size and RFC 6962 root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text of the note, three lines."""
        return f"{self.origin}\n{self.size}\n{encode_digest(self.root)}\n"


class Cosignature(Encoded):
    """What a member signs of a checkpoint: at this time it was the largest log that the member knew to be final."""

    size: Index
    root: Digest
    member: PublicKey
    time_s: Seconds
    """Since 1970 (UTC), by the member's clock."""
    signature: Signature = UNSIGNED
    """Of type 0x04: over time and text."""
    log_signature: Signature = UNSIGNED
    """Of type 0x01: over the text, in the name of the log."""

    def is_signed(self, origin: str, verify: Verify = is_signed) -> bool:
        """Whether both signatures are the member's, for the log of this origin."""
        text = Checkpoint(origin, self.size, self.root).text
        is_cosigned = verify(cosigned_bytes(self.time_s, text), self.signature, self.member)
        return is_cosigned and verify(text.encode(), self.log_signature, self.member)


class MlDsaCosignature(Encoded):
    """What a member signs of the checkpoint at an epoch's end by its ML-DSA-44 key, too: the same, at the same time."""

    size: Index
    root: Digest
    member: PublicKey
    time_s: Seconds
    signature: MlDsaSignature

    def is_signed(self, origin: str, key: bytes, verify: Verify) -> bool:
        """Whether this is the key's, for the log of this origin; `verify` is for ML-DSA-44."""
        name, checkpoint = cosigner_key(origin, self.member).name, Checkpoint(origin, self.size, self.root)
        return verify(subtree_bytes(name, self.time_s, checkpoint), self.signature, key)

    def line(self, origin: str, key: bytes) -> NoteSignature:
        """As it stands under a note, by this key."""
        signed = self.time_s.to_bytes(_TIME_BYTES, "big") + self.signature
        return ml_dsa_cosigner_key(origin, self.member, key).signature(signed)


cosignature_codec: Codec[Cosignature] = Codec(Cosignature, 256, "cosignature")


def cosign(wallet: Wallet, checkpoint: Checkpoint, time_s: int) -> Cosignature:
    """Sign a checkpoint. Only `SigningGuard` may call this: a member never signs a smaller log after a larger one."""
    text = checkpoint.text
    signature = wallet.sign_note(cosigned_bytes(time_s, text))
    return Cosignature(
        checkpoint.size, checkpoint.root, wallet.public_key, time_s, signature, wallet.sign_note(text.encode())
    )


def cosigned_bytes(time_s: int, text: str) -> bytes:
    """The message under a cosignature: of the note's text at this time."""
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def subtree_bytes(cosigner: str, time_s: int, checkpoint: Checkpoint) -> bytes:
    """The message under a cosignature by ML-DSA-44: of all leaves of the log, at this time.

    Names have 1 to 255 bytes. Lines that extend the checkpoint are not signed.
    """
    parts = [b"subtree/v1\n\x00"]
    for name, number in ((cosigner, time_s), (checkpoint.origin, 0)):
        encoded = name.encode()
        parts += [bytes((len(encoded),)), encoded, number.to_bytes(8, "big")]
    return b"".join((*parts, checkpoint.size.to_bytes(8, "big"), checkpoint.root))


def log_key(origin: str, member: bytes) -> NoteKey:
    """The member's key as the log's."""
    return NoteKey(origin, KeyType.LOG, member)


def cosigner_key(origin: str, member: bytes) -> NoteKey:
    """The member's key as a cosigner's."""
    return NoteKey(f"{origin}/{member.hex()[:16]}", KeyType.COSIGNATURE, member)


def ml_dsa_cosigner_key(origin: str, member: bytes, key: bytes) -> NoteKey:
    """The ML-DSA-44 key of a member, in the name that its other cosignatures have."""
    return NoteKey(cosigner_key(origin, member).name, KeyType.ML_DSA, key)


def signed_checkpoint(
    origin: str,
    cosignatures: Iterable[Cosignature],
    log_member: bytes | None = None,
    further: Iterable[NoteSignature] = (),
) -> Note:
    """The checkpoint with what members signed of it (one at least, all of one log), in the order of their keys.

    `further` lines follow. Where there are more than `MAX_LOG_LINES`, `log_member` or else the first signs as the log.
    """
    ordered = sorted(cosignatures, key=lambda one: one.member)
    by = [one for one in ordered if len(ordered) <= MAX_LOG_LINES or one.member == log_member] or ordered[:1]
    lines = [log_key(origin, one.member).signature(one.log_signature) for one in by]
    for one in ordered:
        signed = timed_signature(one.time_s, one.signature)
        lines.append(cosigner_key(origin, one.member).signature(signed))
    return make_note(Checkpoint(origin, ordered[0].size, ordered[0].root).text, [*lines, *further])


def timed_signature(time_s: int, signature: bytes) -> bytes:
    """A cosignature as it stands under a note: its time, then the signature."""
    return time_s.to_bytes(_TIME_BYTES, "big") + signature


def split_cosignature(data: bytes, kind: int = KeyType.COSIGNATURE) -> tuple[int, bytes]:
    """The time (s) and the signature of a cosignature of this type under a note. Raises `Refused` (P1)."""
    if kind not in _SIGNATURE_BYTES:
        raise Refused(Rule.P1, f"a cosignature by a key of type {kind:02x}, which is not known here")
    expected = _TIME_BYTES + _SIGNATURE_BYTES[kind]
    if len(data) != expected:
        raise Refused(Rule.P1, f"a cosignature of {len(data)} bytes, {expected} expected")
    time_s = int.from_bytes(data[:_TIME_BYTES], "big")
    if time_s > _MAX_TIME_S:
        raise Refused(Rule.P1, f"a cosignature of the time {time_s}, {_MAX_TIME_S} allowed")
    return time_s, data[_TIME_BYTES:]


def signed_at(key: NoteKey, note: Note, verify: Verify | None = is_signed) -> list[int]:
    """When this key signed the checkpoint, as it says (s; a log: 0). Raises `Refused` (P1, P7) where it did not.

    `verify` is for signatures of the key's type; `None`: they cannot be verified here, and only their form counts.
    """
    times = []
    for data in note.signed_by(key):
        time_s, signature = (0, data) if key.type == KeyType.LOG else split_cosignature(data, key.type)
        signed = _bytes_under(key, note, time_s)
        if signed is None or (verify is not None and not verify(signed, signature, key.public_key)):
            raise Refused(Rule.P7, f"a signature in the name of {key.name} is not by its key")
        times.append(time_s)
    return times


def _bytes_under(key: NoteKey, note: Note, time_s: int) -> bytes | None:
    """What a key of this type signs; `None`: it cannot sign that."""
    if key.type == KeyType.LOG:
        return note.text.encode()
    if key.type == KeyType.COSIGNATURE:
        return cosigned_bytes(time_s, note.text)
    head = parse_checkpoint(note.text)
    names = (one.encode() for one in (key.name, head.origin))
    return subtree_bytes(key.name, time_s, head) if all(len(one) <= _MAX_NAME_BYTES for one in names) else None


class MlDsaCosigners(NamedTuple):
    """Members whose ML-DSA-44 cosignatures stand under a checkpoint."""

    signed: tuple[bytes, ...] = ()
    unchecked: tuple[bytes, ...] = ()
    """Theirs cannot be verified here."""


def check_ml_dsa(note: Note, origin: str, keys: Mapping[bytes, bytes], verify: Verify | None) -> MlDsaCosigners:
    """Which of these members cosigned by their ML-DSA-44 keys. Raises `Refused` (P15) where one of them is bad.

    `verify` is `None` where that cannot be told: a line that is not formed well is bad there, too.
    """
    by = {member: ml_dsa_cosigner_key(origin, member, key) for member, key in keys.items()}
    try:
        found = tuple(member for member, key in by.items() if signed_at(key, note, verify))
    except Refused as refused:
        raise Refused(Rule.P15, refused.reason) from None
    return MlDsaCosigners(found) if verify is not None else MlDsaCosigners(unchecked=found)


def check_cosigned(note: Note, origin: str, members: Iterable[bytes]) -> dict[bytes, int]:
    """Of these keys those that cosigned the note, and when (s).

    Raises `Refused` (P7; P1) where a signature in the name of one of them is bad, or none of them signed as the log.
    """
    times_s, has_log = dict[bytes, int](), False
    for key in members:
        has_log |= bool(signed_at(log_key(origin, key), note))
        if times := signed_at(cosigner_key(origin, key), note):
            times_s[key] = max(times)
    if not has_log:
        raise Refused(Rule.P7, "no member signed the checkpoint as the log")
    return times_s


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint in a note's text; lines that extend it are let pass. Raises `Refused` (P1)."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise Refused(Rule.P1, "a checkpoint has three lines at least, none of them empty: origin, size, root")
    origin, size, root = lines[:3]
    return Checkpoint(origin, parse_number(size, "the checkpoint's size"), decode_digest(root, "the checkpoint's root"))


def parse_number(text: str, what: str) -> int:
    """A decimal number without sign or leading zeros, up to 2^53 - 1. Raises `Refused` (P1)."""
    if _NUMBER.fullmatch(text) is None or int(text) > MAX_INDEX:
        raise Refused(Rule.P1, f"{what} is no decimal number without leading zeros, up to {MAX_INDEX}")
    return int(text)


def decode_digest(text: str, what: str) -> bytes:
    """32 bytes in Base64. Raises `Refused` (P1)."""
    data = decode_base64(text, what)
    if len(data) != 32:
        raise Refused(Rule.P1, f"{what} has {len(data)} bytes, 32 expected")
    return data


def encode_digest(data: bytes) -> str:
    """A hash as checkpoints and proofs write it."""
    return b64encode(data).decode()


def times_told(cosigned: Iterable[tuple[int, int]], total: int) -> tuple[int, int]:
    """By when a checkpoint was final, and since when it is known to have been the newest (s).

    `cosigned` is the time and stake of each cosigner, with more than 2/3 of the total stake together. Holders of more
    than 1/3 had signed by the first time: one of them at least is honest. Holders of more than 2/3 signed since the
    second.
    """
    ordered, held = sorted(cosigned), 0
    for time_s, stake in ordered:
        held += stake
        if 3 * held > total:
            return time_s, status_time(ordered, total)
    raise ValueError("nobody has stake")


def status_time(cosigned: Iterable[tuple[int, int]], total: int) -> int:
    """The latest time (s) since which holders of more than 2/3 of the total stake signed; 0: so many never did."""
    held = 0
    for time_s, stake in sorted(cosigned, reverse=True):
        held += stake
        if 3 * held > 2 * total:
            return time_s
    return 0
