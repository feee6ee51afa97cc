"""The file in which a key is kept: sealed with a passphrase, and its owner's alone."""

import errno
import os
import shlex
import stat
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct
from nacl import pwhash
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import ML_DSA_KEY_BYTES
from tallystick.ledger.wallet import Wallet
from tallystick.problems import KeyFileError
from tallystick.storage.sqlite_file import sync_folder

ENTROPY_BYTES: Final = pwhash.argon2id.SALTBYTES + SecretBox.NONCE_SIZE
"""Random bytes that sealing a key uses up: Argon2id's salt, then the secret box's nonce."""

_STRENGTHS: Final = {
    "moderate": (pwhash.argon2id.OPSLIMIT_MODERATE, pwhash.argon2id.MEMLIMIT_MODERATE),
    "interactive": (pwhash.argon2id.OPSLIMIT_INTERACTIVE, pwhash.argon2id.MEMLIMIT_INTERACTIVE),
    "minimal": (pwhash.argon2id.OPSLIMIT_MIN, pwhash.argon2id.MEMLIMIT_MIN),  # where there is no passphrase to guess
}
_CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
_MAX_PASSPHRASE_BYTES: Final = 1024
_MAX_FILE_BYTES: Final = 4096
"""More than any sealed key takes: a file is not read further."""


class KeyKind(NamedTuple):
    """What is sealed, and how its file says so."""

    format: str
    key_bytes: int
    """Of a public key."""
    max_bytes: int
    """Of a file."""


ED25519: Final = KeyKind("tallystick-key-v1", 32, 1024)
ML_DSA: Final = KeyKind("tallystick-ml-dsa-key-v1", ML_DSA_KEY_BYTES, _MAX_FILE_BYTES)


class SecretKey(NamedTuple):
    """A key that is sealed."""

    kind: KeyKind
    seed: bytes
    public_key: bytes


class _Sealed(Struct):
    format: str
    public_key: Annotated[str, Meta(pattern=r"\A([0-9a-fA-F]{2})+\Z")]
    kdf: str
    salt: Annotated[str, Meta(pattern=r"\A[0-9a-fA-F]{32}\Z")]
    nonce: Annotated[str, Meta(pattern=r"\A[0-9a-fA-F]{48}\Z")]
    sealed_seed: Annotated[str, Meta(pattern=r"\A([0-9a-fA-F]{2})*\Z")]


def create_key_file(path: Path, wallet: Wallet, passphrase: str, strength: str = "moderate") -> None:
    """Seal the wallet's key into a new file of mode 0600. Raises `KeyFileError`; an existing file stays as it is."""
    write_sealed(path, seal(wallet, passphrase, os.urandom(ENTROPY_BYTES), strength))


def open_key_file(path: Path, passphrase: str) -> Wallet:
    """Open the key in a file. Raises `KeyFileError`, and `Refused` as `read_sealed` and `unseal` do."""
    return unseal(read_sealed(path), passphrase)


def write_sealed(path: Path, sealed: bytes) -> None:
    """Write a sealed key durably into a file that must not exist yet. Raises `KeyFileError`."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyFileError(f"{path} exists already, and a key is never overwritten; name another file") from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be made: {error.strerror}; name a folder that you may write to") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path)
    except OSError as error:
        path.unlink(missing_ok=True)  # half a key is worse than none
        raise KeyFileError(f"{path} cannot be written: {error.strerror}; nothing was kept") from None


def read_sealed(path: Path) -> bytes:
    """The sealed key in a file. Raises `KeyFileError` when it cannot be read.

    Raises `Refused` (K3) when anybody but its owner may read or change it, (E2) when it is no regular file, (E1) when
    it is too big. A symbolic link is followed, and what it leads to is judged.
    """
    try:
        # Not waiting for a writer, should the path be a named pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)  # of the file that was opened, not of whatever has its name now
            if not stat.S_ISREG(status.st_mode):
                raise Refused(Rule.E2, f"{path} is not a regular file")
            if reason := _exposed(path, status, "key"):
                raise Refused(Rule.K3, reason)
            data = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise KeyFileError(f"there is no key file {path}; check its name and the folder you are in") from None
    except IsADirectoryError:
        raise Refused(Rule.E2, f"{path} is a directory, not a key file") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refused(Rule.E2, f"{path} is a symbolic link that leads back to itself") from None
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _MAX_FILE_BYTES:
        raise Refused(Rule.E1, f"{path} holds more than {_MAX_FILE_BYTES} bytes, so it is no key file")
    return data


def read_passphrase(path: Path) -> str:
    """The passphrase in a file that is its owner's alone, or a credential of systemd. Raises `KeyFileError`."""
    credentials = os.environ.get(_CREDENTIALS_VARIABLE)
    is_credential = bool(credentials) and path.absolute().parent == Path(str(credentials)).absolute()
    try:
        with path.open("rb") as file:
            # systemd's credentials are root's, and their group's to read.
            if reason := _exposed(path, os.fstat(file.fileno()), "passphrase", is_credential):
                raise KeyFileError(reason)
            data = file.read(_MAX_PASSPHRASE_BYTES + 1)
        passphrase = data.decode().rstrip("\r\n")
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}; name the file with the passphrase") from None
    except UnicodeDecodeError:
        raise KeyFileError(f"{path} holds no text; name the file with the passphrase") from None
    if not passphrase or len(data) > _MAX_PASSPHRASE_BYTES:
        expected = f"one line of at most {_MAX_PASSPHRASE_BYTES} bytes is expected"
        raise KeyFileError(f"{path} holds no passphrase: {expected}")
    return passphrase


def _exposed(path: Path, status: os.stat_result, what: str, is_credential: bool = False) -> str | None:
    """What is wrong if a file is not its owner's alone."""
    mode = stat.S_IMODE(status.st_mode)
    if mode & (0o037 if is_credential else 0o077):
        return f"{path} has mode {mode:04o}, so others may read it; run: chmod 600 {shlex.quote(str(path))}"
    if status.st_uid != os.geteuid() and not (is_credential and status.st_uid == 0):
        return f"{path} belongs to another user; keep your {what} in a file of your own"
    return None


def seal(wallet: Wallet, passphrase: str, entropy: bytes, strength: str = "moderate") -> bytes:
    """Return the key file's bytes: JSON with the seed in a secret box under Argon2id of the passphrase.

    `entropy` is `ENTROPY_BYTES` fresh random bytes; `strength` is `moderate`, `interactive`, or, without a passphrase,
    `minimal`.
    """
    return seal_secret(SecretKey(ED25519, wallet.seed(), wallet.public_key), passphrase, entropy, strength)


def seal_secret(secret: SecretKey, passphrase: str, entropy: bytes, strength: str = "moderate") -> bytes:
    """The same of any kind of key."""
    if len(entropy) != ENTROPY_BYTES:
        raise Refused(Rule.E2, f"sealing a key takes {ENTROPY_BYTES} random bytes, not {len(entropy)}")
    salt, nonce = entropy[: pwhash.argon2id.SALTBYTES], entropy[pwhash.argon2id.SALTBYTES :]
    sealed_seed = _secret_box(passphrase, salt, strength).encrypt(secret.seed, nonce).ciphertext
    parts = (salt.hex(), nonce.hex(), sealed_seed.hex())
    sealed = _Sealed(secret.kind.format, secret.public_key.hex(), f"argon2id-{strength}", *parts)
    return msgspec.json.format(msgspec.json.encode(sealed)) + b"\n"


def unseal(data: bytes, passphrase: str) -> Wallet:
    """Open a sealed key. Raises `Refused` (E1, E2 not a key file; E4 a later format; K4 wrong passphrase)."""
    secret = unseal_secret(data, passphrase, ED25519)
    wallet = Wallet(secret.seed)
    check_same_key(wallet.public_key, secret)
    return wallet


def check_same_key(public_key: bytes, secret: SecretKey) -> None:
    """Raise `Refused` (K4) unless this is the public key that the file names."""
    if public_key != secret.public_key:
        raise Refused(Rule.K4, "the sealed key is not the one that the file names")


def unseal_secret(data: bytes, passphrase: str, kind: KeyKind) -> SecretKey:
    """Open a sealed key of a kind, which is not compared with the public key yet. Raises `Refused` as `unseal` does."""
    sealed = _parse_sealed(data, kind)
    salt, nonce, sealed_seed = (bytes.fromhex(one) for one in (sealed.salt, sealed.nonce, sealed.sealed_seed))
    strength = sealed.kdf.removeprefix("argon2id-")
    if strength not in _STRENGTHS:
        raise Refused(Rule.E4, f"key derivation {sealed.kdf!r} is not known")
    try:
        seed = _secret_box(passphrase, salt, strength).decrypt(sealed_seed, nonce)
    except CryptoError:
        raise Refused(Rule.K4, "wrong passphrase, or the file was altered") from None
    return SecretKey(kind, seed, bytes.fromhex(sealed.public_key))


def sealed_public_key(data: bytes, kind: KeyKind = ED25519) -> bytes:
    """The public key that a key file names, without its passphrase. Raises `Refused` (E1, E2, E4)."""
    return bytes.fromhex(_parse_sealed(data, kind).public_key)


def _secret_box(passphrase: str, salt: bytes, strength: str) -> SecretBox:
    opslimit, memlimit = _STRENGTHS[strength]
    try:
        secret = passphrase.encode()
    except UnicodeEncodeError:
        raise Refused(Rule.K4, "a passphrase is text, and this is none") from None
    key = pwhash.argon2id.kdf(SecretBox.KEY_SIZE, secret, salt, opslimit=opslimit, memlimit=memlimit)
    return SecretBox(key)


def _parse_sealed(data: bytes, kind: KeyKind) -> _Sealed:
    if len(data) > kind.max_bytes:
        raise Refused(Rule.E1, f"key file of {len(data)} bytes, {kind.max_bytes} allowed")
    try:
        sealed = msgspec.json.decode(data, type=_Sealed)
    except (ValueError, RecursionError):
        raise Refused(Rule.E2, "key file: it is not in the form of one") from None
    if sealed.format != kind.format:
        raise Refused(Rule.E4, f"key file of format {sealed.format!r}, {kind.format!r} is known")
    if len(sealed.public_key) != 2 * kind.key_bytes:
        raise Refused(Rule.E2, f"key file: a public key of it has {kind.key_bytes:,} bytes")
    return sealed
