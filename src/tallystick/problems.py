"""What can be in the way, for a user and for a program: one root, and for each kind a code, exit code and HTTP status.

Illegal input to the ledger is `Refused` in the core; at the edge it becomes `RefusedInput`, with its rule.
"""

from enum import IntEnum
from typing import ClassVar

from tallystick.ledger.errors import Refused


class ExitCode(IntEnum):
    """What a command's process ends with; docs/operate.md lists them."""

    OK = 0
    FAILED = 1
    """It does not verify; the ledger does not advance; a fault in this program."""
    USAGE = 2
    """Wrong usage, or a file, folder or key that cannot be used."""
    NOT_RUNNING = 3
    """No node runs there."""
    NOT_IN_TIME = 4
    """The time was up before a certificate was final, or before the node answered."""
    NOT_THERE = 5
    """No such certificate, block or member."""
    REFUSED = 6
    """A rule of the ledger refuses it."""
    DAMAGED = 7
    """What is kept or was answered is not what was written."""
    STOPPED = 130
    """By Ctrl-C, as shells have it."""


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


class Problem(Exception):
    """The message says what is in the way and what to do next."""

    code: ClassVar[str] = "unusable"
    """Stable, for programs; the end of the problem's type URI."""
    exit_code: ClassVar[ExitCode] = ExitCode.USAGE
    http_status: ClassVar[int] = 500


class BadRequest(Problem):
    """A question or submission that is none."""

    code, http_status = "bad-request", 400


class NotAllowed(Problem):
    """Not at this door: only the node's own user may ask for it."""

    code, http_status = "not-allowed", 403


class NotThere(Problem):
    """What was asked for is not on the ledger, or not known."""

    code, exit_code, http_status = "not-there", ExitCode.NOT_THERE, 404


class Ambiguous(Problem):
    """More than one thing is called so."""

    code, http_status = "ambiguous", 409


class Busy(Problem):
    """Too much is asked or submitted at once; later it goes."""

    code, exit_code, http_status = "busy", ExitCode.NOT_IN_TIME, 503


class RefusedInput(Problem):
    """A rule of the ledger refuses what was submitted."""

    code, exit_code, http_status = "refused", ExitCode.REFUSED, 422

    def __init__(self, refused: Refused) -> None:
        super().__init__(str(refused))
        self.rule = refused.rule.name


class NotRunning(Problem):
    """No node runs there."""

    code, exit_code, http_status = "not-running", ExitCode.NOT_RUNNING, 503


class NotInTime(Problem):
    """The node did not answer within the time allowed."""

    code, exit_code, http_status = "not-in-time", ExitCode.NOT_IN_TIME, 504


class MustEnd(Problem):
    """The node has seen what it must not go on with."""

    def __init__(self, message: str, node_exit: NodeExit) -> None:
        super().__init__(message)
        self.node_exit = node_exit


class StoreError(Problem):
    """The file of a chain cannot be used as asked."""


class StoreFailed(StoreError):
    """Whether the last change is on the disk is not known: the process has to end, and to start from what is there.

    A failed sync tells once, and then never again: who goes on, goes on without knowing what is on the disk.
    """


class DamagedStore(StoreError):
    """What the file holds is not what was written; `refused` names the rule it breaks, if one is broken."""

    code, exit_code = "damaged", ExitCode.DAMAGED

    def __init__(self, message: str, refused: Refused | None = None) -> None:
        super().__init__(message)
        self.refused = refused


class NoChain(StoreError):
    """The file does not look like one of a chain at all: another was named, or its first page is lost."""


class DataInUse(Problem):
    """Another process works with this data."""


class KeyFileError(Problem):
    """A key file cannot be read or made."""


class UnreadableFile(Problem):
    """A file to be certified or verified cannot be read."""


class VerificationFailed(Problem):
    """Signatures cannot be verified: workers do not start, keep dying, or were stopped."""
