"""How the demos put certificates, and lists of names, into words."""

from collections.abc import Mapping, Sequence

from tallystick.api.certificate_view import summary_of
from tallystick.ledger.certificate import AnyCertificate, Evidence, StakingOperation


def kind_of(certificate: AnyCertificate) -> str:
    """The certificate's kind, in a word or two."""
    if isinstance(certificate, Evidence):
        return "evidence"
    return "staking operation" if isinstance(certificate, StakingOperation) else "statement"


def what_it_says(certificate: AnyCertificate, names: Mapping[bytes, str]) -> str:
    """What a certificate says, in a few words."""
    said = summary_of(certificate) or "(no subject)"
    if isinstance(certificate, Evidence) and certificate.offender in names:
        return said.replace(f"{certificate.offender.hex()[:12]}…", names[certificate.offender])
    return said


def names_of(names: Sequence[str], most: int = 5) -> str:
    """A list of names; beyond `most`, only how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
