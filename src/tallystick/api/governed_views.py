"""What is answered about organisations, motions and validity."""

from tallystick.api.decisions import AnyChange
from tallystick.api.view_base import SCHEMA, Answer, Key, Outcome, View


class Validity(View, frozen=True, kw_only=True):
    """Whether a statement is, or was, valid: from its place in the log and final block times alone."""

    at_ms: int
    """When."""
    as_of_ms: int
    """The block time of the tip: what was decided until then is taken into account."""
    state: str
    """`valid`, `superseded`, `revoked`, `void` (it never was valid) or `not_yet` (it was not final at that time)."""
    since_ms: int | None
    """The block time from which it is so; `null`: not yet."""
    by: str | None
    """The id of the certificate (of the motion, if one did it) that made it so; `null`: none."""
    by_log_index: int | None
    by_ms: int | None
    """When that took effect, by block time: of what is void, later than `since_ms`."""
    successor: str | None
    """Of a superseded statement: the id of the one in its place."""
    reason: str | None
    """Why it is revoked or void: `unspecified`, `mistake`, `fraud`, `withdrawn`, `key_compromised` or
    `organisation_ended`."""
    key: str | None
    """What is known now of the issuer's key: `in_force`, `ended_after` the statement, `ended_before`,
    `compromised_after` or `compromised_before`; `null`: the directory does not have it."""
    key_since_log_index: int | None
    """From which log index on the key is ended, or compromised."""
    summary: str
    """In words."""


class ValidityAnswer(Answer, frozen=True, kw_only=True):
    """Whether a certificate is, or was, valid."""

    id: str
    validity: Validity


class ErasureOrder(View, frozen=True):
    """What orders that a payload be erased everywhere."""

    id: str
    kind: str
    """`erasure`, of the organisation that certified, or `motion`, that passed."""
    by: Key
    """Who signed the erasure, or made the motion."""
    since_block: int
    """From which it stands."""
    since_ms: int
    """That block's time."""


class ErasureConfirmed(View, frozen=True):
    """A member says that its node has erased a payload."""

    member: Key
    id: str
    """Of its certificate."""
    block_index: int
    block_timestamp_ms: int


class Erasure(View, frozen=True):
    """A statement's payload that is to be erased everywhere. No node erases it before its operator does."""

    target: str
    """The statement's id."""
    payload_hash: str | None
    """`null`: it has no payload, so nothing is to be done."""
    orders: list[ErasureOrder]
    """In the order of the log."""
    confirmed: list[ErasureConfirmed]
    """Of each organisation the first."""
    unconfirmed: list[Key]
    """The member keys of the organisations that did not confirm, in the order of their ids."""
    is_erased_here: bool
    """At the node, or in the file, that answers."""
    not_reached: str
    """What no order reaches, in words."""


class Erasures(Answer, frozen=True, kw_only=True):
    """What is to be erased everywhere, by the latest order first; a page may hold fewer than was asked for."""

    erasures: list[Erasure]
    next: str | None


class SignedDecision(Answer, frozen=True, kw_only=True):
    """A decision that was signed and submitted."""

    id: str
    """Of the certificate."""
    entry: str
    """The certificate with its payload, encoded: fit to be submitted again."""
    outcome: Outcome


class Admission(Answer, frozen=True, kw_only=True):
    """That a key wants to be an organisation's."""

    organisation: str
    key: str
    admitted: str
    """The key's signature, for this ledger alone."""


class Rotation(View, frozen=True):
    """A member key that follows another when the block time has come, unless a motion stops it."""

    organisation: str
    before: Key
    after: str
    due_ms: int
    compromised_since: int | None
    """What the key before certified from this log index on is void then."""


class Leaving(View, frozen=True, kw_only=True):
    """Of the node's key: it was a member key and is none any more, or it is decided or moved that it be none."""

    organisation: str
    how: str
    """`removed`, with its organisation, or `replaced` by another key."""
    successor: str | None
    """The other key, if it is known by which it is replaced."""
    left_with: int | None
    """The last block that the key voted on; `null`: it still votes."""
    due_ms: int | None
    """Of a rotation that is announced: the block time from which the successor votes."""
    motion: str | None
    """The id of the open motion on it, if it is not decided."""
    may_stop: bool
    """Whether the node may be switched off: members with more than a third of the stake say that they have the block
    with which it left, or another block follows that, so the ledger goes on without it."""
    summary: str
    """In words."""


class OrganisationLine(View, frozen=True):
    """An organisation in a list."""

    id: str
    title: str
    domain: str | None
    """Vouched for by those who approved it, and by nobody else."""
    member_key: str | None
    """`null`: it was removed."""
    organisation_key: str | None
    """Kept offline: while there is one, it alone changes the other keys."""
    staked: int
    votes_with: int
    """Its stake in the current epoch."""
    live_keys: int
    """Keys that have not ended."""
    rotation: Rotation | None
    """Of its member key, if one is announced."""


class KeyOfOrganisation(View, frozen=True):
    """A key of an organisation, from its admission on."""

    key: str
    role: str
    """`member` (votes and certifies), `voter` (votes), `issuer` (certifies) or `organisation`."""
    label: str
    since: int
    """The first log index at which it counts."""
    until: int | None
    """The first at which it counts no more; `null`: it has not ended."""
    until_ms: int | None
    """The block time from which it counts no more."""
    compromised_since: int | None
    """What it certified from this log index on is void."""
    is_in_force: bool
    """For the next block."""


class Organisation(OrganisationLine, frozen=True, kw_only=True):
    """One organisation, with all its keys, also those that have ended."""

    schema: int = SCHEMA
    keys: list[KeyOfOrganisation]
    ml_dsa_key: str | None
    """The ML-DSA-44 key of its member key."""


class Organisations(Answer, frozen=True, kw_only=True):
    """All organisations that ever were, in the order of their ids."""

    organisations: list[OrganisationLine]
    next: str | None


class MotionLine(View, frozen=True):
    """A motion in a list."""

    id: str
    summary: str
    """What it is about, in words."""
    change: AnyChange
    mover: Key
    log_index: int
    expires_ms: int
    """By block time."""
    state: str
    """`open`, `accepted` (it takes effect with the next epoch), `passed` (it is in effect), `closed` (a third of the
    stake or more objected), `expired`, or `void` (it passed, but what it changes from did not hold any more)."""
    approving: int
    """Stake of those whose last word approves; of a motion that was decided, in the epoch in which it was."""
    objecting: int
    needed: int
    """Stake that has to approve."""
    total_stake: int
    waits_for: str | None
    """In words; `null`: it was decided."""
    decided_block: int | None
    decided_ms: int | None
    stops_without: list[str]
    """Of a motion that is not decided: the organisations, by title, without any one of which nothing becomes final
    after it; empty if there are none, or the same as without it."""
    danger: str | None
    """That in words; `null`: there are none."""


class MotionWord(View, frozen=True):
    """A member's last word on a motion."""

    member: Key
    stake: int
    word: str | None
    """`approves` or `objects`; `null`: none yet."""


class Motion(MotionLine, frozen=True, kw_only=True):
    """One motion, with the word of each member."""

    schema: int = SCHEMA
    words: list[MotionWord]
    """Of the members that count, those with most at stake first."""
    erasure: Erasure | None = None
    """Of a motion to erase that passed: who has confirmed."""


class Motions(Answer, frozen=True, kw_only=True):
    """Motions: the open ones, then those that were decided, the latest first of each."""

    motions: list[MotionLine]
    next: str | None
