"""How the demos put certificates, and lists of names, into words."""

from collections.abc import Mapping, Sequence

from tallystick.ledger.certificate import AnyCertificate, Evidence, ProposalEvidence, StakingOperation


def kind_of(certificate: AnyCertificate) -> str:
    """The certificate's kind, in a word or two."""
    if isinstance(certificate, Evidence):
        return "evidence"
    return "staking operation" if isinstance(certificate, StakingOperation) else "statement"


def what_it_says(certificate: AnyCertificate, names: Mapping[bytes, str]) -> str:
    """What a certificate says, in a few words."""
    if isinstance(certificate, Evidence):
        what = "forged blocks" if isinstance(certificate, ProposalEvidence) else "signed votes"
        offender = names.get(certificate.offender) or f"{certificate.offender.hex()[:12]}…"
        return f"shows that {offender} {what} that conflict"
    if not isinstance(certificate, StakingOperation):
        return certificate.subject or "(no subject)"
    return f"withdraws {-certificate.amount} from stake" if certificate.amount < 0 else f"stakes {certificate.amount}"


def names_of(names: Sequence[str], most: int = 5) -> str:
    """A list of names; beyond `most`, only how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
