"""The time stamping authorities that a user trusts: beside the trusted ledgers, a file of certificates in PEM for each.

They are named by whoever verifies, never by a proof or a token. What stands in the files is read by `client/`, which
has the library for it; any other program reads them, too.
"""

from pathlib import Path
from typing import Final

from tallystick.host.own_files import TrustError, check_own_folder, explained, locked, read_own, write_whole
from tallystick.host.trust import is_safe_name
from tallystick.problems import NotThere
from tallystick.storage.sqlite_file import sync_folder

MAX_AUTHORITIES: Final = 64
MAX_PEM_BYTES: Final = 64 * 1024

_ENDING: Final = ".pem"


class Authorities:
    """The folder. It is made when something is first kept in it."""

    def __init__(self, trust: Path) -> None:
        """`trust`: the folder of what the user trusts."""
        self._trust, self.path = trust, trust / "authorities"

    def names(self) -> list[str]:
        """All that are trusted. Raises `TrustError`."""
        try:
            self._check()
            found = [one.name.removesuffix(_ENDING) for one in self.path.iterdir() if one.name.endswith(_ENDING)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise TrustError(f"{self.path} cannot be read: {error.strerror}") from None
        return sorted(filter(is_safe_name, found))[:MAX_AUTHORITIES]

    def get(self, name: str) -> bytes:
        """The certificates of one, in PEM. Raises `NotThere`, `TrustError`, `DamagedStore`."""
        self._check()
        found = read_own(self._file(name), MAX_PEM_BYTES) if is_safe_name(name) else None
        if found is None:
            raise NotThere(f"no time stamping authority that you trust is called {name}; tallystick trust list has all")
        return found

    def read_all(self) -> dict[str, bytes]:
        """The certificates of each, by name. Raises `TrustError`, `DamagedStore`."""
        return {name: self.get(name) for name in self.names()}

    def add(self, name: str, pem: bytes) -> None:
        """Trust an authority. Raises `TrustError` where another, or another file, has the name."""
        with locked(self._trust), explained(self.path):
            self.path.mkdir(mode=0o700, exist_ok=True)
            kept = self.names()
            if name in kept and self.get(name) != pem:
                raise TrustError(f"you trust another authority as {name}; choose another local name with --name")
            if name not in kept and len(kept) >= MAX_AUTHORITIES:
                raise TrustError(f"{MAX_AUTHORITIES} authorities are trusted, the most there can be; remove one first")
            write_whole(self._file(name), pem)

    def remove(self, name: str) -> None:
        """Trust one no more. Raises `NotThere`, `TrustError`, `DamagedStore`."""
        with locked(self._trust), explained(self.path):
            self.get(name)
            self._file(name).unlink(missing_ok=True)
            sync_folder(self._file(name))

    def _check(self) -> None:
        for folder in (self._trust, self.path):
            check_own_folder(folder)

    def _file(self, name: str) -> Path:
        return self.path / f"{name}{_ENDING}"
