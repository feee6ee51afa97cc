"""What can be in the way outside the ledger: a file, a folder, a disk. Illegal input is `Refused`, as everywhere."""

from enum import IntEnum

from tallystick.ledger.errors import Refused


class NodeExit(IntEnum):
    """What a node's process ends with."""

    STOPPED = 0
    """It was told to."""
    FAILED = 1
    """A part of it failed: the disk, the port, this program. Started again it goes on."""
    UNUSABLE = 2
    """It cannot start: wrong usage, a key or folder that cannot be used, a key that was moved away."""
    STATE_MISMATCH = 3
    """A quorum chose a block that is illegal by this node's state: its state, or its version, is not the ledger's."""
    TWIN = 4
    """Another machine signs with its key. Started again it signs nothing, until `tallystick guard recover`."""


class HostError(Exception):
    """The message says what is in the way and what to do next."""


class MustEnd(HostError):
    """The node has seen what it must not go on with."""

    def __init__(self, message: str, code: NodeExit) -> None:
        super().__init__(message)
        self.code = code


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
