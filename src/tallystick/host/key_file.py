"""The file in which a key is kept: sealed with a passphrase, and its owner's alone."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

from tallystick.host.errors import KeyFileError
from tallystick.host.sqlite_file import sync_folder
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.wallet import ENTROPY_BYTES, Wallet

_MAX_FILE_BYTES: Final = 4096
"""More than any sealed key takes; what it may take exactly is the wallet's to judge."""


def create_key_file(path: Path, wallet: Wallet, passphrase: str, strength: str = "moderate") -> None:
    """Seal the wallet's key into a new file of mode 0600. Raises `KeyFileError`; an existing file stays as it is."""
    write_sealed(path, wallet.seal(passphrase, os.urandom(ENTROPY_BYTES), strength))


def open_key_file(path: Path, passphrase: str) -> Wallet:
    """Open the key in a file. Raises `KeyFileError`, and `Refused` as `read_sealed` and `Wallet.unseal` do."""
    return Wallet.unseal(read_sealed(path), passphrase)


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
            _check_status(path, os.fstat(descriptor))  # of the file that was opened, not of whatever has its name now
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


def _check_status(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Refused(Rule.E2, f"{path} is not a regular file")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise Refused(Rule.K3, f"{path} has mode {mode:04o}, so others may use it; run: chmod 600 {path}")
    if status.st_uid != os.geteuid():
        raise Refused(Rule.K3, f"{path} belongs to another user; keep your key in a file of your own")
