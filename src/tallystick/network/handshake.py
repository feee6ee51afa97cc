"""Who is at the other end: what two nodes say to each other before the first frame. No I/O.

CURVE has proven by then that each side holds an X25519 key. The hello and its answer name the Ed25519 keys, which have
to be those keys' origin, and both sides sign the whole exchange. Four steps: hello, answer, proof, and the dialled
node's welcome (or the genesis, if that was all the hello asked for). Either side may end it, with a reason.
"""

from typing import Final, TypeVar

from msgspec import Struct

from tallystick.ledger.encoding import Codec, encode
from tallystick.ledger.errors import Refused
from tallystick.ledger.fields import Digest, PublicKey, Signature
from tallystick.ledger.keys import Domain, is_signed, signed_bytes
from tallystick.ledger.wallet import Wallet
from tallystick.network.curve import x25519_key

T = TypeVar("T")

VERSION: Final = 1
"""Of the handshake and of all that follows it; every version's hello begins with it, as two bytes, big-endian."""

NONCE_BYTES: Final = 32

_VERSION_BYTES: Final = 2
_MAX_BYTES: Final = 256
_DIALLER, _LISTENER = "dialler", "listener"


class PeerError(Exception):
    """The other side is not whom or what this one can talk to; the text says why, to people at either end."""


class _Hello(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    ledger_id: Digest
    key: PublicKey
    nonce: Digest
    wants_genesis: bool


class _Answer(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    key: PublicKey
    nonce: Digest
    signature: Signature


class _Proof(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    signature: Signature


_hellos: Codec[_Hello] = Codec(_Hello, _MAX_BYTES, "hello")
_answers: Codec[_Answer] = Codec(_Answer, _MAX_BYTES, "answer")
_proofs: Codec[_Proof] = Codec(_Proof, _MAX_BYTES, "proof")


class DiallerHandshake:
    """The side that dialled, and so knows whom it expects."""

    def __init__(self, wallet: Wallet, ledger_id: bytes, peer: bytes, nonce: bytes, wants_genesis: bool) -> None:
        """`nonce`: `NONCE_BYTES` fresh random bytes."""
        self._wallet = wallet
        self.peer = peer
        self.wants_genesis = wants_genesis
        self._hello = _Hello(ledger_id, wallet.public_key, nonce, wants_genesis)

    def hello(self) -> bytes:
        """The first message."""
        return VERSION.to_bytes(_VERSION_BYTES, "big") + encode(self._hello)

    def prove(self, data: bytes) -> bytes:
        """Check the answer and return the proof. Raises `PeerError`."""
        answer = _decoded(_answers, data)
        if answer.key != self.peer:
            raise PeerError(f"key {answer.key.hex()} answers where {self.peer.hex()} was dialled")
        body = _body(_LISTENER, self._hello, answer.key, answer.nonce)
        _check(self._hello.ledger_id, body, answer.signature, answer.key)
        body = _body(_DIALLER, self._hello, answer.key, answer.nonce)
        return encode(_Proof(self._wallet.sign(Domain.CONNECTION, self._hello.ledger_id, body)))


class ListenerHandshake:
    """The side that was dialled."""

    def __init__(self, wallet: Wallet, ledger_id: bytes, nonce: bytes, dialler_x25519_key: bytes) -> None:
        """`dialler_x25519_key`: what CURVE has authenticated."""
        self._wallet = wallet
        self._ledger_id = ledger_id
        self._nonce = nonce
        self.x25519_key = dialler_x25519_key
        self._hello: _Hello | None = None

    def answer(self, data: bytes) -> bytes:
        """Check the hello and return the answer. Raises `PeerError`."""
        version = int.from_bytes(data[:_VERSION_BYTES], "big")
        if version != VERSION:
            spoken = f"the dialled node speaks version {VERSION} of the protocol, the dialling one version {version}"
            raise PeerError(f"{spoken}; upgrade the older of the two")
        hello = _decoded(_hellos, data[_VERSION_BYTES:])
        if hello.ledger_id != self._ledger_id:
            kept = f"the dialled node is on ledger {self._ledger_id.hex()}"
            raise PeerError(f"{kept}, the dialling one on {hello.ledger_id.hex()}")
        if hello.key == self._wallet.public_key:
            raise PeerError("both nodes run with the same key; each needs its own")
        if self._hello is not None or not _is_origin(hello.key, self.x25519_key):
            raise PeerError("the hello names another key than the one that the connection is encrypted with")
        self._hello = hello
        body = _body(_LISTENER, hello, self._wallet.public_key, self._nonce)
        signature = self._wallet.sign(Domain.CONNECTION, self._ledger_id, body)
        return encode(_Answer(self._wallet.public_key, self._nonce, signature))

    @property
    def peer(self) -> bytes | None:
        """Who says hello; proven once `check` has passed."""
        return None if self._hello is None else self._hello.key

    def check(self, data: bytes) -> bool:
        """Check the proof; whether the genesis is all that the peer wants. Raises `PeerError`."""
        proof = _decoded(_proofs, data)
        if self._hello is None:
            raise PeerError("a proof before the hello")
        body = _body(_DIALLER, self._hello, self._wallet.public_key, self._nonce)
        _check(self._ledger_id, body, proof.signature, self._hello.key)
        return self._hello.wants_genesis


def _decoded(codec: Codec[T], data: bytes) -> T:
    try:
        return codec.decode(data)
    except Refused as refused:
        raise PeerError(f"not what version {VERSION} of the protocol says: {refused.reason}") from None


def _is_origin(key: bytes, form: bytes) -> bool:
    try:
        return x25519_key(key) == form
    except Refused:
        return False


def _body(signer: str, hello: _Hello, listener: bytes, nonce: bytes) -> bytes:
    return encode((VERSION, signer, hello, listener, nonce))


def _check(ledger_id: bytes, body: bytes, signature: bytes, key: bytes) -> None:
    if not is_signed(signed_bytes(Domain.CONNECTION, ledger_id, body), signature, key):
        raise PeerError(f"the peer has not proven that it holds key {key.hex()}")
