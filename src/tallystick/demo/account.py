"""The account of a demo: everything that it came to, as plain values, for people and as JSON."""

from typing import Any, Final

from msgspec import Struct, field

from tallystick.api import governed_views, views

KEPT: Final = "the kept chain"


class Verdict(Struct):
    """Something that was to be shown, whether it was, and what that rests on."""

    what: str
    holds: bool
    says: str
    facts: dict[str, Any]


class Moment(Struct):
    """When something came to pass, and at which block; `None`: it did not."""

    ms: int | None = None
    index: int | None = None


class Killing(Struct):
    """A node that was killed at block `tip_index`, and started again with the blocks up to `kept_index`."""

    node: str
    tip_index: int
    killed_ms: int
    kept_index: int = 0
    restarted_ms: int = 0
    last_index: int = 0
    """The last block that was final when it started again."""
    went_on: Moment = field(default_factory=Moment)
    """The first block that became final after it was killed."""
    caught_up: Moment = field(default_factory=Moment)
    voted_again: Moment = field(default_factory=Moment)


class NodeLine(Struct):
    """A node at the end."""

    name: str
    member: str
    joined_ms: int
    tip_index: int
    tip_hash: str
    log_size: int
    log_root: str


class Refusal(Struct):
    """Something that a node refused; `attempt` when it was one of the fraud's."""

    node: str
    rule: str
    reason: str
    attempt: str | None


class Nullified(Struct):
    """A view that over 2/3 of the stake gave up; `drawn` was to forge."""

    epoch: int
    view: int
    drawn: str
    time_ms: int
    lasted_ms: int
    """Since it had something to do."""


class Stuck(Struct):
    """A node told that nothing became final: what it heard of the stake, and whom it missed."""

    node: str
    since_ms: int
    heard_stake: int
    total_stake: int
    missing: list[str]


class Stretch(Struct):
    """How long a node or member was `killed` or `parted`, or when it `signed twice`."""

    who: str
    what: str
    from_ms: int
    until_ms: int


class FileLine(Struct):
    """A file, where it verified, and where it failed with one byte changed: at nodes, and in the kept chain."""

    name: str
    sha256: str
    verified_by: list[str]
    failed_when_changed_by: list[str]


class Account(Struct, kw_only=True):
    """The whole of it: what was seen, and the chain as read back from its file, every rule checked again.

    Times of the story are milliseconds since the ledger began.
    """

    account_version: int = 6
    took_ms: int
    seed: int | None = None
    """`None`: the nodes were real processes."""
    trace_digest: str | None = None
    verdicts: list[Verdict]
    ledger: views.Ledger
    epochs: list[dict[str, int]]
    """What each member has at stake in an epoch, from the first epoch on."""
    blocks: list[views.Block]
    members: list[views.Member]
    organisations: list[governed_views.Organisation]
    """With all their keys; of an open ledger none."""
    nodes: list[NodeLine]
    stretches: list[Stretch]
    files: list[FileLine]
    nullified: list[Nullified] = []
    refusals: list[Refusal] = []

    @property
    def is_good(self) -> bool:
        """Whether everything came out as it should."""
        return all(verdict.holds for verdict in self.verdicts)
