"""What `prove`, `anchor` and `renew` print under `--json`, field by field."""

from tallystick.api.governed_views import Validity
from tallystick.api.views import Answer, Problem, View


class ProofMade(View, frozen=True, kw_only=True):
    """A proof that was written."""

    file: str | None
    """The document, as it was named; `null`: a certificate was."""
    certificate: str
    proof: str
    """The file."""
    members: str | None
    """The file beside it; `null`: none is needed."""
    payload: str | None
    """Likewise."""
    block_index: int
    """The last block of the log that was countersigned."""
    block_timestamp_ms: int
    status_ms: int
    """As of when its status is known, as holders of more than 2/3 of the stake say: a later revocation does not
    show."""
    validity: Validity | None
    """As of then; `null`: it is no statement, and has none."""
    is_content_gone: bool
    """Whether the content that it covers is not in the proof, nor beside it: erased, or, from a mirror, not at hand."""
    was_there: bool
    """Whether it took the place of an earlier proof of the same certificate."""
    kept: str | None = None
    """Where the earlier one is kept: it has a time stamp, or signatures by ML-DSA-44 that this one lacks."""
    lost_ml_dsa: int = 0
    """So many signed the earlier one by ML-DSA-44, and not this one."""


class NotProved(View, frozen=True):
    """A proof that could not be made."""

    what: str
    """The file or id, as it was named."""
    problem: Problem


class ProofsMade(Answer, frozen=True, kw_only=True):
    """What `prove` made."""

    proofs: list[ProofMade]
    failed: list[NotProved]
    """Those of several that could not be made."""


class ProofStamped(View, frozen=True, kw_only=True):
    """A proof with a time stamp beside it."""

    proof: str
    time_stamp: str
    """The file of the token."""
    not_later_ms: int
    """The checkpoint and its signatures existed by then."""
    authority: str
    """The subject of the signer's certificate."""
    known_as: str
    """The user's own name for the authority."""
    was_there: bool
    """Whether the token lay beside it already."""


class NotStamped(View, frozen=True):
    """A proof that got no time stamp."""

    proof: str
    """Its file, or what was named."""
    problem: Problem


class Anchored(Answer, frozen=True, kw_only=True):
    """What `anchor` did."""

    requests: int
    """So many tokens were asked for: proofs made together share one."""
    stamped: list[ProofStamped]
    failed: list[NotStamped]


class ProofRenewed(View, frozen=True, kw_only=True):
    """What became of a proof that was to be renewed."""

    proof: str
    certificate: str
    state: str
    """`renewed`; or it is as it was: `as_new`, there is none with a later status; `young`, it is not as old as was
    asked for; `other_ledger`, it is of another."""
    status_ms: int | None = None
    """Its status is as of then; `null`: it is of another ledger, and was not verified."""
    status_before_ms: int | None = None
    """That of the proof that was there."""
    block_index: int | None = None
    """The last block of the log that was countersigned."""
    kept: str | None = None
    """Where the proof that was there is kept: it has a time stamp, or signatures by ML-DSA-44 that this one lacks."""
    lost_ml_dsa: int = 0
    """So many signed that one by ML-DSA-44, and not this one."""


class ProofsRenewed(Answer, frozen=True, kw_only=True):
    """What `renew` did."""

    renewed: int
    proofs: list[ProofRenewed]
    failed: list[NotProved]
    """They stay as they are."""
    requests: int
    """So many time stamps were asked for."""
    stamped: list[ProofStamped]
    not_stamped: list[NotStamped]
