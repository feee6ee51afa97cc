"""What can be in the way outside the ledger: a file, a folder, a disk. Illegal input is `Refused`, as everywhere."""

from tallystick.ledger.errors import Refused


class HostError(Exception):
    """The message says what is in the way and what to do next."""


class StoreError(HostError):
    """The file of a chain cannot be used as asked."""


class StoreFailed(StoreError):
    """Whether the last change is on the disk is not known: the process has to end, and to start from what is there.

    A failed sync tells once, and then never again: who goes on, goes on without knowing what is on the disk.
    """


class DamagedStore(StoreError):
    """What the file holds is not what was written; `refused` names the rule it breaks, if one is broken."""

    def __init__(self, message: str, refused: Refused | None = None) -> None:
        super().__init__(message)
        self.refused = refused


class NoChain(StoreError):
    """The file does not look like one of a chain at all: another was named, or its first page is lost."""


class DataInUse(HostError):
    """Another process works with this data."""


class KeyFileError(HostError):
    """A key file cannot be read or made."""


class UnreadableFile(HostError):
    """A file to be certified or verified cannot be read."""


class VerificationFailed(HostError):
    """Signatures cannot be verified: workers do not start, keep dying, or were stopped."""
