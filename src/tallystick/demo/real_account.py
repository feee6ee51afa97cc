"""The account of a demo with real processes: everything that it came to, as plain values, for people and as JSON."""

from msgspec import Struct


class CertifiedLine(Struct):
    """A certificate that became final."""

    subject: str
    file: str | None
    node: str
    id: str
    block_index: int
    took_ms: float


class KillingLine(Struct):
    """The node that was killed; indexes of blocks, times in milliseconds."""

    node: str
    killed_at_index: int
    went_on_to_index: int
    kept_index: int
    """Where it began again."""
    caught_up_index: int
    caught_up_ms: int


class JoiningLine(Struct):
    """The node that joined with an invite."""

    node: str
    public_key: str
    caught_up_index: int
    caught_up_ms: int


class NodeLine(Struct):
    """A node at the end."""

    name: str
    public_key: str
    stake: int
    tip_index: int
    tip_hash: str
    certificates: int
    exit_code: int


class FileLine(Struct):
    """A file, and the nodes at which it verified, and failed when one byte was changed."""

    name: str
    sha256: str
    verified_by: list[str]
    failed_when_changed_by: list[str]
    verifies_as_kept: bool


class RealAccount(Struct):
    """What the demo came to."""

    account_version: int
    simulated: bool
    ledger_id: str
    took_ms: int
    nodes_agree: bool
    went_on_without_the_killed: bool
    the_killed_caught_up: bool
    the_invited_caught_up: bool
    all_files_verify: bool
    all_ended_well: bool
    certified: list[CertifiedLine]
    killing: KillingLine
    joining: JoiningLine
    nodes: list[NodeLine]
    files: list[FileLine]

    @property
    def is_good(self) -> bool:
        """Whether everything came out as it should."""
        lasted = self.went_on_without_the_killed and self.the_killed_caught_up and self.the_invited_caught_up
        return lasted and self.nodes_agree and self.all_files_verify and self.all_ended_well
