"""What `verify` and `trust` print under `--json`, field by field, as `views` does for answers."""

from tallystick.api.governed_views import Validity
from tallystick.api.views import Answer, Continuation, Key, View


class TrustedLedger(View, frozen=True, kw_only=True):
    """A ledger that the user trusts."""

    name: str
    """The user's own for it."""
    ledger_id: str
    title: str | None
    """What it calls itself, by its genesis; `null`: that was not seen yet."""
    added_ms: int
    added_from: str
    """What the user named."""
    newest_block: int | None
    """The newest block that was verified; `null`: none yet."""
    newest_hash: str | None
    newest_ms: int | None
    """That block's time."""
    verified_blocks: list[int]
    """All that are kept, each of when it was the newest."""
    conflicts: list["Conflict"]
    """Proofs of other histories, with which this one cannot be; empty, if all is well."""
    conflicting_checkpoints: list[str]
    """Files of two checkpoints of its log that conflict, kept by `audit`: `verify` judges them."""


class Conflict(View, frozen=True):
    """A proof of another history than the one that was verified before."""

    folder: str
    """Where both proofs are kept."""
    seen_ms: int
    reason: str


class TrustChanged(Answer, frozen=True, kw_only=True):
    """A ledger that is trusted from now on, or is shown."""

    ledger: TrustedLedger


class AuthorityCertificate(View, frozen=True, kw_only=True):
    """A certificate in the file of a time stamping authority."""

    subject: str
    sha256: str
    """Its fingerprint."""
    ends_ms: int
    """It is valid until then; a token of before stays good."""
    is_root: bool


class TrustedAuthority(View, frozen=True, kw_only=True):
    """A time stamping authority (RFC 3161) that the user trusts."""

    name: str
    """The user's own for it."""
    file: str
    certificates: list[AuthorityCertificate]
    """Empty where time stamps cannot be verified: `tallystick[tsa]` is not installed."""


class AuthorityTrusted(Answer, frozen=True, kw_only=True):
    """A time stamping authority that is trusted from now on, or is shown."""

    authority: TrustedAuthority


class TrustRemoved(Answer, frozen=True, kw_only=True):
    """A ledger, or a time stamping authority, that is trusted no more."""

    ledger_id: str | None
    authority: str | None
    """Its local name."""


class TrustedLedgers(Answer, frozen=True, kw_only=True):
    """All that is trusted."""

    folder: str
    ledgers: list[TrustedLedger]
    damaged: list[str]
    """Files that cannot be read."""
    own_ledger: str | None
    """The id of the ledger of the user's own node, which is trusted, too; `null`: there is none."""
    authorities: list[TrustedAuthority]
    """Of time stamps."""


class Document(View, frozen=True):
    """A file, as a certificate states it."""

    name: str
    size_bytes: int
    sha256: str
    note: str


class Claims(View, frozen=True, kw_only=True):
    """What a proof file says. Nothing of it was checked."""

    ledger_id: str
    ledger: str
    """What the ledger calls itself."""
    certificate: str
    issuer: str
    """The key."""
    subject: str | None
    document: Document | None
    media_type: str | None
    """Of the content; `null`: there is none, or it is not at hand."""
    content: str | None
    """Of what is about no file, if it is a text of at most 1,024 bytes."""
    claimed_ms: int


class Failure(View, frozen=True, kw_only=True):
    """The first check that failed."""

    rule: str | None
    """Its number (docs/proofs.md); `null`: the file could not be read, and nothing was checked."""
    step: str
    """What it is about."""
    reason: str
    expected: str | None
    found: str | None
    advice: str
    """What to do next."""


class Cosigner(View, frozen=True):
    """A member that countersigned."""

    key: str
    organisation: str | None
    """Its id; `null`: the proof shows none."""
    stake: int
    time_ms: int
    """By the member's clock."""


class MlDsa(View, frozen=True):
    """Who cosigned by ML-DSA-44, too: that covers the log only, not its members, nor the status."""

    members: list[str]
    """Keys of those whose signatures are good."""
    stake: int
    """Theirs."""
    unchecked: list[str]
    """Keys of those whose signatures cannot be verified on this machine: tallystick[pq] is not installed."""


class MemberChange(View, frozen=True):
    """A change of those who vote, that was followed."""

    epoch: int
    """From which it counts."""
    joined: list[str]
    left: list[str]


class Proven(View, frozen=True, kw_only=True):
    """What a proof proves."""

    ledger_id: str
    ledger: str
    """What the ledger calls itself."""
    trusted_by: str
    """Why its proofs count: `kept`, in the folder of trusted ledgers; `own_node`; `continued`, by the ledger of that;
    `named`, by `--ledger` alone; or `policy`: it is not trusted, and counts by `--policy` alone."""
    known_as: str | None
    """The user's own name for it; `null`, unless it is kept."""
    continues: Continuation | None
    """An older ledger that it goes on from."""
    certificate: str
    log_index: int
    kind: str
    issuer: Key
    """With its organisation, if one held the key at the certificate's log index; `name` is the own address book's."""
    domain: str | None
    """The organisation's, vouched for by those who approved it, and by nobody else."""
    subject: str | None
    document: Document | None
    """`null`: it is about no file, or its content is not in the proof."""
    media_type: str | None
    """Of the content; `null`: there is none, or it is not in the proof."""
    content: str | None
    """Of what is about no file, if it is a text of at most 1,024 bytes."""
    is_content_gone: bool
    """Whether the content that it covers is not in the proof, nor beside it: erased, or left out. The certificate is
    proven, and what it says is not."""
    claimed_ms: int
    """When it was made, as its issuer says."""
    block: int
    block_ms: int
    """The time of the block with which it entered the log: more than 2/3 of the stake voted for that."""
    final_ms: int
    """It was final not later than this, as holders of more than 1/3 of the stake say: the end of the second."""
    status_ms: int
    """As of when its status is known, as holders of more than 2/3 of the stake say: a later revocation does not
    show."""
    checkpoint_block: int
    cosigners: list[Cosigner]
    cosigned_stake: int
    total_stake: int
    ml_dsa: MlDsa
    changes: list[MemberChange]
    validity: Validity | None
    """`null`: it is no statement, and has none."""
    is_older: bool
    """Whether a newer block of the ledger was verified here before."""


class TimeStamp(View, frozen=True, kw_only=True):
    """A time stamp token beside a proof, over its checkpoint with all signatures."""

    state: str
    """`verified`; or it proves nothing: `not_trusted`, its authority is not one that the user named; `other_note`, it
    is of something else, maybe of an earlier proof; `not_verifiable`, not with what is installed here; `unreadable`."""
    not_later_ms: int | None = None
    """The checkpoint and its signatures existed by then, accuracy added; `null`, unless it is verified."""
    authority: str | None = None
    """The subject of the signer's certificate: a claim, unless it is verified."""
    known_as: str | None = None
    """The user's own name for the authority; `null`, unless it is verified."""
    reason: str | None = None
    """Why it proves nothing."""


class FileVerdict(View, frozen=True, kw_only=True):
    """Whether one file is certified as was asked for."""

    name: str
    path: str | None = None
    """As it was named; `null`: it came from standard input."""
    sha256: str | None
    """`null`: a proof was named, and no document is compared."""
    size_bytes: int | None
    proof: str | None
    """The proof's file; `null`: there is none."""
    is_attached: bool = False
    """Whether that is the PDF itself: the document is the PDF as it was before, the first `size_bytes` of it."""
    exit_code: int
    result: str
    """`verified`, `not_trusted`, `no_proof`, `not_proven`, `other_document`, `other_issuer`, `not_valid`,
    `not_fresh`, or, of one of several, `unreadable`."""
    online: str | None
    """The node or mirror whose newer proof was verified instead, as it was named; `null`: the file's own was."""
    claims: Claims | None
    """`null`: there is no proof that can be read."""
    proven: Proven | None
    """What is proven of it; `null`: nothing. Of one that is not what was asked for it is told, too."""
    time_stamp: TimeStamp | None
    """What the token beside the proof says of it; `null`: there is none, a newer proof was verified instead, or it is
    bad (P14)."""
    failure: Failure | None
    """`null`: it is verified."""


class Verdicts(Answer, frozen=True, kw_only=True):
    """What `verify` found."""

    checked_ms: int
    """By the clock here."""
    files: list[FileVerdict]
    verified: int
    warnings: list[str]


class Audited(Answer, frozen=True, kw_only=True):
    """A log that was audited, and found to be in order."""

    source: str
    """As it was named."""
    origin: str
    """What the log calls itself, signed by whom the auditor trusts."""
    size: int
    """How many entries it has."""
    root: str
    """RFC 6962, of all of them; 32 bytes."""
    seen_before: int | None
    """How many it had when it was last seen; `null`: never."""
    derived_since: int
    """The first entry that was derived again now."""
    entries: int
    """How many were."""
    blocks: int
    """Of a ledger, how many of its blocks were."""


class ConflictVerdict(Answer, frozen=True, kw_only=True):
    """What a file of two checkpoints that conflict shows."""

    path: str
    origin: str
    sizes: list[int]
    """Of the smaller log, and of the larger."""
    roots: list[str]
    """As they were signed, 32 bytes each."""
    other_root: str | None
    """Of the smaller size, by the larger log; `null`: both are of one size."""
    trusted: bool
    """Whether a policy vouches for the keys, or the ledger is trusted and they are of members who are known here."""
    signers: list[str]
    """Keys that signed both: those that the verifier knows, or where it knows none, those that the file names."""
    epoch: int | None
    """Of which the next two are; `null`: no members of this log are known."""
    stake: int | None
    """Of these keys, in an epoch that is known."""
    total_stake: int | None
