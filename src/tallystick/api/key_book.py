"""How keys are told: by the directory, on which all nodes agree, and by the address book of the one that answers."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from tallystick.api import views
from tallystick.ledger.directory import Directory


class Keys(Protocol):
    """Tells keys."""

    def view(self, key: bytes, log_index: int | None = None) -> views.Key:
        """A key, as it is told; with a log index, of the organisation that held it there."""

    def is_listed(self, key: bytes, log_index: int) -> bool | None:
        """Whether the directory had the key there; `None`: the ledger has no directory."""


class KeyBook(NamedTuple):
    """The address book, and the directory at the tip."""

    names: Mapping[bytes, str]
    directory: Directory

    def view(self, key: bytes, log_index: int | None = None) -> views.Key:
        """A key, as it is told; with a log index, of the organisation that held it there."""
        entry = self.directory.keys.get(key)
        if entry is None or (log_index is not None and log_index < entry.since):
            return views.Key(key.hex(), self.names.get(key))
        title = self.directory.organisations[entry.organisation].title
        return views.Key(key.hex(), self.names.get(key), entry.organisation, title, entry.label or None)

    def is_listed(self, key: bytes, log_index: int) -> bool | None:
        """Whether the directory had the key there; `None`: the ledger has no directory."""
        return self.directory.holder(key, log_index) is not None if self.directory else None

    def said(self, key: bytes) -> str:
        """A key in words."""
        return name_of(self.view(key))


def name_of(key: views.Key) -> str:
    """A key in words: of what organisation it is, else what the address book calls it, else how it begins."""
    return key.title or key.name or f"{key.key[:12]}…"
