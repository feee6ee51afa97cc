"""What a user may ask of a running node, over a socket in its data folder that only its user can open.

Each message is a MessagePack map behind its length (4 bytes, big-endian). One request gets answers until `Done` or
`Failed`; then the next may follow. Whoever can open the socket acts in the node's name: file permissions guard it.
"""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from tallystick.ledger.stake import BlockContext
from tallystick.problems import HostError

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
LENGTH_BYTES: Final = 4
_MAX_ADDRESS_BYTES: Final = 103
MAX_BATCH: Final = 4096
"""Certificates in one request, at most."""

_LATE: Final = "the node did not answer in time; look at its log"


class NotRunning(HostError):
    """Nobody listens on the folder's socket."""


class NotInTime(HostError):
    """The node did not answer within the time allowed."""


# ---- requests ---------------------------------------------------------------------------------------------------


class NewStatement(Struct, frozen=True):
    """A statement that the node is to sign with its own key. The payload's salt is the node's to draw."""

    subject: str
    media_type: str = ""
    content: bytes = b""
    """Of the payload; without a media type there is none."""


class Certify(Struct, frozen=True, tag=True):
    """Sign these, put them on the ledger, and tell of each when it is taken and when it is final."""

    statements: tuple[NewStatement, ...]


class Submit(Struct, frozen=True, tag=True):
    """Put certificates on the ledger that somebody else signed: encoded entries (docs/protocol.md)."""

    entries: tuple[bytes, ...]


class ChangeStake(Struct, frozen=True, tag=True):
    """Stake this many of the node's own tokens; a negative amount withdraws."""

    amount: int


class GetStatus(Struct, frozen=True, tag=True):
    """How the node is, and why it does or does not advance."""


class GetPeers(Struct, frozen=True, tag=True):
    """Whom the node knows, and with whom it is connected."""


class GetStakes(Struct, frozen=True, tag=True):
    """All accounts."""


class GetBlock(Struct, frozen=True, tag=True):
    """A block by its index."""

    index: int


class FindCertificates(Struct, frozen=True, tag=True):
    """The certificates whose id begins so, in hex (8 digits at least)."""

    id_prefix: str


class FindFile(Struct, frozen=True, tag=True):
    """The certificates that cover these bytes."""

    sha256: bytes
    size_bytes: int


class Unban(Struct, frozen=True, tag=True):
    """Let a banned peer in again before its time."""

    key: bytes


class MakeInvite(Struct, frozen=True, tag=True):
    """A line of text with which somebody else's node finds this ledger."""


class Backup(Struct, frozen=True, tag=True):
    """Write a consistent copy of the ledger, made while the node runs, into a file that does not exist yet."""

    path: str


Request = (
    Certify
    | Submit
    | ChangeStake
    | GetStatus
    | GetPeers
    | GetStakes
    | GetBlock
    | FindCertificates
    | FindFile
    | Unban
    | MakeInvite
    | Backup
)

# ---- answers ----------------------------------------------------------------------------------------------------


class Accepted(Struct, frozen=True, tag=True):
    """The request's certificate of this number is in the node's box, and kept."""

    number: int
    certificate_id: bytes


class Finalized(Struct, frozen=True, tag=True):
    """It is on the ledger, for good."""

    number: int
    certificate_id: bytes
    block_index: int
    position: int
    block_timestamp_ms: int
    took_ms: float


class Refused(Struct, frozen=True, tag=True):
    """It was refused: by which rule, and why."""

    number: int
    rule: str
    reason: str


class MemberLine(Struct, frozen=True):
    """One account."""

    key: bytes
    free: int
    staked: int
    unbonding: tuple[tuple[BlockContext, int], ...]
    """What is withdrawn and not free yet: the block from which it is, and how much."""
    votes_with: int
    """Its stake in the current epoch."""
    is_connected: bool


class Stakes(Struct, frozen=True, tag=True):
    """All accounts, the tokens burned so far, and the epoch of the next block."""

    members: tuple[MemberLine, ...]
    burned: int
    epoch: int


class PeerLine(Struct, frozen=True):
    """Somebody this node knows."""

    key: bytes
    address: str
    is_connected: bool
    stake: int
    since_ms: int
    """When it connected, or when it was last heard of; 0: never."""
    tip_index: int
    banned_until_ms: int = 0
    """0: it is not banned."""
    banned_for: str = ""
    """The rule that it broke, and how."""


class Peers(Struct, frozen=True, tag=True):
    """All whom the node knows."""

    peers: tuple[PeerLine, ...]


class Stuck(Struct, frozen=True):
    """Why agreement does not advance."""

    since_ms: int
    heard_stake: int
    total_stake: int
    missing: tuple[bytes, ...]


class Status(Struct, frozen=True, tag=True):
    """How the node is."""

    ledger_id: bytes
    ledger_name: str
    version: str
    key: bytes
    address: str
    started_ms: int
    now_ms: int
    index: int
    tip_hash: bytes
    tip_timestamp_ms: int
    certificates: int
    epoch: int
    view: int
    stake: int
    total_stake: int
    is_voting: bool
    """Whether it has stake in this epoch, and its key signs what it finds right in this view."""
    guard: str
    """Of the key: ready, lost, twin."""
    unanswered: tuple[bytes, ...]
    """While what the key signed is lost: the members that have not answered yet."""
    silent_until: tuple[int, int] | None
    """The epoch and view up to which it votes for nothing that others have not shown: it may have voted there."""
    twin: tuple[int, int] | None
    """Epoch and view in which another machine was seen to sign with the key."""
    is_loss_accepted: bool
    is_burned: bool
    mismatch: str
    """Why its state is not the ledger's; empty if it is."""
    waiting: int
    """Certificates in the box."""
    best_index: int
    """The latest block that a peer told of; beyond `index`, the node is catching up."""
    peers: int
    members_connected: int
    members: int
    stuck: Stuck | None


class BlockFound(Struct, frozen=True, tag=True):
    """An encoded block, and the encoded finalization (0 bytes: a later block's covers it) with which it is kept."""

    encoded: bytes
    finalization: bytes


class CertificateFound(Struct, frozen=True, tag=True):
    """A certificate on the ledger: encoded, with its payload if that is at hand, and where it stands."""

    encoded: bytes
    payload: bytes
    block_index: int
    position: int
    block_hash: bytes
    block_timestamp_ms: int


class InviteMade(Struct, frozen=True, tag=True):
    """The line of text."""

    invite: str


class BackedUp(Struct, frozen=True, tag=True):
    """How much was written."""

    index: int
    size_bytes: int


class Done(Struct, frozen=True, tag=True):
    """That was all."""


class Failed(Struct, frozen=True, tag=True):
    """The request cannot be served; nothing more comes."""

    reason: str


Answer = (
    Accepted
    | Finalized
    | Refused
    | Stakes
    | Peers
    | Status
    | BlockFound
    | CertificateFound
    | InviteMade
    | BackedUp
    | Done
    | Failed
)

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def framed(message: Request | Answer) -> bytes:
    """The bytes of a message, its length first."""
    encoded = _encoder.encode(message)
    return len(encoded).to_bytes(LENGTH_BYTES, "big") + encoded


def decode_request(encoded: bytes) -> Request:
    """Raises `msgspec.DecodeError` or `ValidationError` for anything else."""
    return _requests.decode(encoded)


def short_address(path: Path) -> str:
    """The socket's path, absolute or from here, whichever is shorter: Unix allows about a hundred bytes."""
    address = min(str(path.absolute()), os.path.relpath(path), key=len)
    if len(os.fsencode(address)) > _MAX_ADDRESS_BYTES:
        raise HostError(f"{address} is too long a name for a socket; choose a data folder with a shorter one")
    return address


class Client:
    """The user's end of the socket; one request at a time."""

    def __init__(self, path: Path, timeout_s: float | None = None) -> None:
        """Connect. Raises `NotRunning` when no node listens there, `HostError` when it may not be opened."""
        address = short_address(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            self._socket.close()
            folder = path.parent
            raise NotRunning(f"no node runs in {folder}; start it with: tallystick run --data {folder}") from None
        except OSError as error:
            self._socket.close()
            reason = f"the node's socket {path} cannot be opened: {error.strerror or error}"
            raise HostError(f"{reason}; only the user that runs the node may") from None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, request: Request, until_s: float | None = None) -> Iterator[Answer]:
        """Send a request; yield its answers without the closing `Done`. Raises `HostError` with a failure's reason.

        By `until_s`, of the monotonic clock, all of it has to be there, or it raises `NotInTime`.
        """
        try:
            self._allow(until_s)
            self._socket.sendall(framed(request))
        except TimeoutError:
            raise NotInTime(_LATE) from None
        except OSError as error:
            raise HostError(
                f"the node took no request: {error.strerror}; look at its log, and start it again"
            ) from None
        while True:
            encoded = self._read(int.from_bytes(self._read(LENGTH_BYTES, until_s), "big"), until_s)
            try:
                answer = _answers.decode(encoded)
            except msgspec.DecodeError as error:
                raise HostError(f"the node's answer is not known here: {error}; is it of another version?") from None
            match answer:
                case Done():
                    return
                case Failed(reason):
                    raise HostError(reason)
                case _:
                    yield answer

    def _allow(self, until_s: float | None) -> None:
        if until_s is not None:
            self._socket.settimeout(max(0.001, until_s - time.monotonic()))

    def _read(self, count: int, until_s: float | None) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            try:
                self._allow(until_s)
                part = self._socket.recv(min(count - len(parts), 1 << 20))
            except TimeoutError:
                raise NotInTime(_LATE) from None
            except OSError as error:
                raise HostError(f"the connection to the node broke: {error.strerror}; look at its log") from None
            if not part:
                raise HostError("the node ended before it answered; look at its log, and start it again")
            parts += part
        return bytes(parts)
