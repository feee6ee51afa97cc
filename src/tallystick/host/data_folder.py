"""A node's data folder: its key, its ledger, and where it listens; everything of one node is in it."""

import tomllib
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from tallystick.host.errors import HostError
from tallystick.host.key_file import open_key_file, read_sealed, write_sealed
from tallystick.host.store import Store
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.wallet import Wallet, sealed_public_key

_SETTINGS_FILE: Final = "node.toml"
_SETTINGS: Final = """# A tallystick node. Changes take effect when it starts again.

# Where it listens: an address of this machine (0.0.0.0 or [::] for all of them) and a port.
listen = {listen}

# Where the other members reach it: a name or an address, and a port.
address = {address}

# Whom it asks first, as KEY@ADDRESS. It learns of all others from them.
bootstrap = [{bootstrap}]
"""

Address = Annotated[str, Meta(min_length=3, max_length=255, pattern=r"\A[!-~]+:[0-9]{1,5}\Z")]


class FolderError(HostError):
    """The data folder cannot be used as asked."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator decides: `node.toml`."""

    listen: Address
    address: Address
    bootstrap: tuple[Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}@[!-~]+:[0-9]{1,5}\Z")], ...] = ()

    @property
    def bootstrap_peers(self) -> list[tuple[bytes, str]]:
        """Keys and addresses."""
        split = (one.split("@", 1) for one in self.bootstrap)
        return [(bytes.fromhex(key), address) for key, address in split]


class DataFolder:
    """The files of one node."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings_path = path / _SETTINGS_FILE
        self.key_path = path / "key"
        self.ledger_path = path / "ledger.db"
        self.socket_path = path / "control.sock"
        self.lock_path = path / "lock"

    @property
    def is_there(self) -> bool:
        """Whether a node was set up here."""
        return self.settings_path.exists()

    def create(self, settings: Settings, genesis: Genesis, sealed_key: bytes | None) -> None:
        """Set a node up: its folder (mode 0700), its key unless there is one already, a ledger with no blocks.

        Raises `HostError`; a node that is there already stays as it is.
        """
        if self.is_there or self.ledger_path.exists():
            raise FolderError(f"{self.path} holds a node already; name another folder with --data")
        self.make()
        if sealed_key is not None:
            write_sealed(self.key_path, sealed_key)
        elif not self.key_path.exists():
            raise FolderError(f"there is no key in {self.path}; make one with: tallystick key new --data {self.path}")
        Store.create(self.ledger_path, genesis).close()
        self.write_settings(settings)

    def make(self) -> None:
        """Make the folder itself, for its owner alone. Raises `FolderError`."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise FolderError(f"{self.path} cannot be made: {error.strerror}; name a folder of yours") from None

    def write_settings(self, settings: Settings) -> None:
        """Write `node.toml`, all of it or nothing. Raises `FolderError`."""
        quoted = [_quoted(one) for one in settings.bootstrap]
        text = _SETTINGS.format(
            listen=_quoted(settings.listen),
            address=_quoted(settings.address),
            bootstrap="".join(f"\n    {one}," for one in quoted) + ("\n" if quoted else ""),
        )
        new = self.settings_path.with_suffix(".new")
        try:
            new.write_text(text)
            new.replace(self.settings_path)
        except OSError as error:
            raise FolderError(f"{self.settings_path} cannot be written: {error.strerror}") from None

    def settings(self) -> Settings:
        """Read `node.toml`. Raises `FolderError` with what is wrong in it."""
        try:
            found = tomllib.loads(self.settings_path.read_text())
            return msgspec.convert(found, Settings)
        except FileNotFoundError:
            advice = "make one with tallystick new or tallystick join, or name its folder with --data"
            raise FolderError(f"there is no node in {self.path}: {advice}") from None
        except OSError as error:
            raise FolderError(f"{self.settings_path} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
            raise FolderError(f"{self.settings_path}: {error}; mend it by hand, and start again") from None

    def public_key(self) -> bytes:
        """The node's public key, without its passphrase. Raises `KeyFileError`, `Refused`."""
        return sealed_public_key(read_sealed(self.key_path))

    def wallet(self, passphrase: str) -> Wallet:
        """The node's key. Raises `KeyFileError`, `Refused` (K3, K4)."""
        return open_key_file(self.key_path, passphrase)


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()  # a JSON string is a TOML string
