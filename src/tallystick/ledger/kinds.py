"""The word for each kind of certificate, the same in answers and in the search index."""

from collections.abc import Mapping
from typing import Final

from tallystick.ledger import certificate as core

KINDS: Final[Mapping[type[core.Certificate], str]] = {
    core.Statement: "statement",
    core.StakingOperation: "stake",
    core.VoteEvidence: "evidence",
    core.ProposalEvidence: "evidence",
    core.Motion: "motion",
    core.Approval: "approval",
    core.Objection: "objection",
    core.KeyChange: "key_change",
    core.Revocation: "revocation",
    core.Supersession: "supersession",
    core.Erasure: "erasure",
    core.ErasureConfirmation: "erasure_confirmation",
}


def kind_of(certificate: core.AnyCertificate) -> str:
    """The certificate's kind, in a word."""
    return KINDS[type(certificate)]
