"""What can be in the way, for a user and for a program: one root, and for each kind a code, exit code and HTTP status.

Illegal input to the ledger is `Refused` in the core; at the edge it becomes `RefusedInput`, with its rule.
"""

from enum import IntEnum
from typing import Final, Self

from tallystick.ledger.errors import Refused


class _Exit(IntEnum):
    """A process's exit code, and what it says to people."""

    says: str

    def __new__(cls, code: int, says: str = "") -> Self:
        one = int.__new__(cls, code)
        one._value_, one.says = code, says
        return one


class ExitCode(_Exit):
    """What a command ends with: its help and docs/operate.md list them."""

    OK = 0, "all is well"
    FAILED = 1, "the ledger does not advance, files do not verify for different reasons, or it failed otherwise"
    USAGE = 2, "wrong usage or unusable file"
    NOT_RUNNING = 3, "no node runs there"
    NOT_IN_TIME = 4, "not in time"
    NOT_THERE = 5, "not there"
    REFUSED = 6, "refused by a rule"
    DAMAGED = 7, "damaged"
    NOT_TRUSTED = 10, "not verified: it is of no ledger that you trust"
    NO_PROOF = 11, "no proof, or a malformed one"
    NOT_PROVEN = 12, "not proven: a signature, hash or quorum does not hold"
    OTHER_DOCUMENT = 13, "another document, or its content is not in the proof"
    OTHER_ISSUER = 14, "another issuer"
    NOT_VALID = 15, "revoked, void or superseded, or not final by then"
    NOT_FRESH = 16, "its status is not fresh enough"
    OTHER_HISTORY = 20, "two histories of one log: the evidence is kept"
    OLDER = 21, "smaller than what was seen: an old copy, a rollback or a fork"
    STOPPED = 130, "stopped by Ctrl-C"


VERDICTS: Final = tuple(one for one in ExitCode if ExitCode.NOT_TRUSTED <= one <= ExitCode.NOT_FRESH)
"""What `verify` alone ends with: why a file does not verify."""

AUDITED: Final = (ExitCode.NOT_TRUSTED, ExitCode.NOT_PROVEN, ExitCode.OTHER_HISTORY, ExitCode.OLDER)
"""What `audit` ends with, besides what every command does: a cron job tells them apart."""


class NodeExit(_Exit):
    """What a node's process ends with, `tallystick run`; systemd starts it again after 1, 2 and 4."""

    STOPPED = 0, "stopped when it was told to"
    FAILED = 1, "a part of it failed"
    UNUSABLE = 2, "wrong usage, or it cannot start"
    STATE_MISMATCH = 3, "its state is not the ledger's"
    TWIN = 4, "another machine signs with its key: started again, it signs nothing"


class Problem(Exception):
    """It cannot be done as asked.

    The message says what is in the way and what to do next; the first line of a kind's docstring is its title.
    """

    code: str = "unusable"
    """Stable, for programs; the end of the problem's type URI. A kind sets it, or an answer."""
    exit_code: ExitCode = ExitCode.USAGE
    http_status: int = 500


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


class NotYet(Problem):
    """It is not there yet; in a while it will be."""

    code, exit_code, http_status = "not-yet", ExitCode.NOT_IN_TIME, 503


class RefusedInput(Problem):
    """A numbered rule refuses what was given."""

    code, exit_code, http_status = "refused", ExitCode.REFUSED, 422

    def __init__(self, refused: Refused) -> None:
        super().__init__(str(refused))
        self.refused = refused


class NotRunning(Problem):
    """No node runs there."""

    code, exit_code, http_status = "not-running", ExitCode.NOT_RUNNING, 503


class NotInTime(Problem):
    """Something did not come within the time allowed."""

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
    """What the file holds is not what was written.

    `refused` names the rule it breaks, if one is broken.
    """

    code, exit_code = "damaged", ExitCode.DAMAGED

    def __init__(self, message: str, refused: Refused | None = None) -> None:
        super().__init__(message)
        self.refused = refused


class CannotMake(StoreError):
    """A file cannot be made where it was named."""

    http_status = 409


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
