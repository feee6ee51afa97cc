"""A node's data folder: its key and guard, its ledger, and where it listens; everything of one node is in it."""

import shlex
import tomllib
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tallystick.consensus.signing_guard import GuardStatus, Moved
from tallystick.host.addresses import AddressError, split_address, split_peer, split_reached
from tallystick.host.guard_file import GuardFile, compacted, create_guard, guard_bytes, summaries, write_guard
from tallystick.host.key_file import create_key_file, open_key_file, read_sealed, sealed_public_key, write_sealed
from tallystick.host.local_socket import short_address
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.wallet import Wallet
from tallystick.problems import KeyFileError, Problem
from tallystick.storage.store import Store

_SETTINGS_FILE: Final = "node.toml"
_SETTINGS: Final = """# A tallystick node. Changes take effect when it starts again.

# Where it listens: an address of this machine (0.0.0.0 or [::] for all of them) and a port.
listen = {listen}

# Where the other members reach it: a name or an address, and a port.
address = {address}

# Whom it asks first, as KEY@ADDRESS. It learns of all others from them.
bootstrap = [{bootstrap}]

# The public key that it was set up for: the others know the node, and its stake, by it.
key = {key}
"""
_HOLDS: Final = 'it holds listen and address, each "HOST:PORT", a list bootstrap of "KEY@HOST:PORT", and key'


def usual_folder() -> Path:
    """Where a node of this user is when no folder is named: in the platform's place for data of programs."""
    from platformdirs import user_data_path  # noqa: PLC0415  # whoever names a folder needs none of it

    return user_data_path("tallystick", appauthor=False)


class FolderError(Problem):
    """The data folder cannot be used as asked."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator decides: `node.toml`. It is written when the node is set up, and never again."""

    listen: str
    address: str
    bootstrap: tuple[str, ...] = ()
    key: str = ""
    """The public key that the node was set up for; empty in a folder of before that was noted."""

    @property
    def bootstrap_peers(self) -> list[tuple[bytes, str]]:
        """Keys and addresses. Raises `AddressError`."""
        return [split_peer(one) for one in self.bootstrap]

    def check(self) -> None:
        """Raise `AddressError` unless every address in it can be used as it is meant."""
        split_address(self.listen)
        split_reached(self.address)
        for one in self.bootstrap:
            split_peer(one)


class DataFolder:
    """The files of one node."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings_path = path / _SETTINGS_FILE
        self.key_path = path / "key"
        self.ml_dsa_path = path / "key.ml-dsa"
        self.guard_path = path / "guard"
        self.ledger_path = path / "ledger.db"
        self.api_path = path / "api.sock"
        self.search_path = path / "search.db"
        self.witness_path = path / "witness.db"
        self.witness_key_path = path / "witness.key"

    @property
    def is_there(self) -> bool:
        """Whether a node was set up here."""
        return self.settings_path.exists()

    def create(self, settings: Settings, genesis: Genesis) -> None:
        """Set a node up for the key that is there: a ledger with no blocks, and where it listens.

        Raises `Problem`; a node that is there already stays as it is.
        """
        self.check_free()
        if not self.key_path.exists():
            raise FolderError(f"there is no key in {self.path}; make one with: tallystick key new --data {self.quoted}")
        settings = replace(settings, key=self.public_key().hex())
        settings.check()
        Store.create(self.ledger_path, genesis).close()
        self.write_settings(settings)

    def check_free(self) -> None:
        """Raise `FolderError` if a node is here already."""
        if self.is_there or self.ledger_path.exists():
            raise FolderError(f"{self.path} holds a node already; name another folder with --data")

    def check_path(self) -> None:
        """Raise `Problem` if a socket in here would have too long a name: no node could run here."""
        short_address(self.api_path)

    def check_startable(self) -> Settings:
        """The settings of a node that has all it needs to run. Raises `Problem`.

        One of another key than it was set up for would run as somebody else, without its stake.
        """
        settings = self.settings()
        self.check_path()
        if not self.key_path.exists():
            raise KeyFileError(f"{self.path} has no key file any more; restore {self.key_path} from a copy")
        if (changed := self.key_change()) is not None:
            advice = "restore that key's file; or, if another key is meant, join the ledger with it in another folder"
            raise FolderError(f"{changed}; {advice}")
        return settings

    def key_change(self) -> str | None:
        """What is to be said if the key that is there is not the one that the node was set up for."""
        was, now = self.settings().key if self.is_there else "", self.public_key().hex()
        if was in ("", now):
            return None
        return f"{self.path} was set up for the key {was[:16]}…, and {self.key_path} holds {now[:16]}…"

    @property
    def quoted(self) -> str:
        """The path as a shell takes it."""
        return shlex.quote(str(self.path))

    def make(self) -> None:
        """Make the folder itself, for its owner alone. Raises `FolderError`."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise FolderError(f"{self.path} cannot be made: {error.strerror}; name a folder of yours") from None

    def create_key(self, wallet: Wallet, passphrase: str, strength: str = "moderate") -> None:
        """Make the folder, and in it the file of a key that has never signed anything, and its guard.

        Raises `Problem`; a key that is there already stays as it is.
        """
        self.check_no_key()
        self.make()
        create_guard(self.guard_path, wallet.public_key)  # first: a key without its guard counts as one that has signed
        create_key_file(self.key_path, wallet, passphrase, strength)

    def check_no_key(self) -> None:
        """Raise `KeyFileError` if a key is here, or the node that is here was set up for one."""
        if self.key_path.exists():
            reason = f"{self.key_path} exists already, and a key is never overwritten"
            raise KeyFileError(f"{reason}; tallystick key show --data {self.quoted} prints it")
        if self.is_there and (was := self.settings().key):
            reason = f"{self.path} was set up for the key {was[:16]}…, whose file is gone"
            raise KeyFileError(f"{reason}; restore {self.key_path} from a copy, or name another folder for a new key")

    def move_key(self, to: Path) -> None:
        """Copy key and guard to another folder, durably, and close this guard. Raises `Problem`, `Refused` (K3).

        Cut off anywhere, it is done again; until the guard here is closed, what stands there is not to be used.
        """
        target, sealed = DataFolder(to), read_sealed(self.key_path)
        with GuardFile.open(self.guard_path, self.public_key()) as guard:
            if summaries(guard.records)[None].status is GuardStatus.MOVED:
                raise FolderError(f"the key in {self.path} was moved already; its guard is where it was moved to")
            target.make()
            if target.path.samefile(self.path):
                raise FolderError(f"{to} is the key's own folder; name the one that it is to be moved to")
            records = compacted(guard.records)
            _check_same(target.key_path, sealed)
            _check_same(target.guard_path, guard_bytes(self.public_key(), records))
            write_guard(target.guard_path, self.public_key(), records)
            if not target.key_path.exists():
                write_sealed(target.key_path, sealed)
            guard.append([Moved()])

    def write_settings(self, settings: Settings) -> None:
        """Write `node.toml`, all of it or nothing. Raises `FolderError`."""
        quoted = [_quoted(one) for one in settings.bootstrap]
        text = _SETTINGS.format(
            listen=_quoted(settings.listen),
            address=_quoted(settings.address),
            bootstrap="".join(f"\n    {one}," for one in quoted) + ("\n" if quoted else ""),
            key=_quoted(settings.key),
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
            settings = msgspec.convert(tomllib.loads(self.settings_path.read_text()), Settings)
            settings.check()
        except FileNotFoundError:
            advice = "make one with tallystick new or tallystick join, or name its folder with --data"
            raise FolderError(f"there is no node in {self.path}: {advice}") from None
        except OSError as error:
            raise FolderError(f"{self.settings_path} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError, AddressError) as error:
            raise FolderError(f"{self.settings_path}: {_reason(error)}; mend it by hand, and start again") from None
        return settings

    def public_key(self) -> bytes:
        """The node's public key, without its passphrase. Raises `KeyFileError`, `Refused`."""
        return sealed_public_key(read_sealed(self.key_path))

    def wallet(self, passphrase: str) -> Wallet:
        """The node's key. Raises `KeyFileError`, `Refused` (K3, K4)."""
        return open_key_file(self.key_path, passphrase)


def _check_same(path: Path, expected: bytes) -> None:
    """Raise unless there is no such file, or an earlier try to move the key has left it."""
    if path.exists() and path.read_bytes() != expected:
        advice = "name another folder, or remove that file if nothing ever ran there"
        raise FolderError(f"{path} exists, and is no copy of what is to be moved there; {advice}")


def _reason(error: Exception) -> str:
    """Why settings cannot be read."""
    if isinstance(error, tomllib.TOMLDecodeError):
        return f"it is no TOML, at {str(error).rpartition('(at ')[2].rstrip(')')}"
    if isinstance(error, UnicodeDecodeError):
        return f"it is no text in UTF-8 from byte {error.start + 1:,} on"
    return _HOLDS if isinstance(error, msgspec.ValidationError) else str(error)


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()  # a JSON string is a TOML string
