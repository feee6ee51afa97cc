"""What can be in the way outside the ledger: a file, a folder, a disk. Illegal input is `Refused`, as everywhere."""

from tallystick.ledger.errors import Refused


class HostError(Exception):
    """The message says what is in the way and what to do next."""


class StoreError(HostError):
    """The file of a chain cannot be used as asked."""


class DamagedStore(StoreError):
    """What the file holds is not what was written; `refused` names the rule it breaks, if one is broken."""

    def __init__(self, message: str, refused: Refused | None = None) -> None:
        super().__init__(message)
        self.refused = refused


class KeyFileError(HostError):
    """A key file cannot be read or made."""


class UnreadableFile(HostError):
    """A file to be certified or verified cannot be read."""


class VerificationFailed(HostError):
    """Signatures cannot be verified: workers do not start, keep dying, or were stopped."""
