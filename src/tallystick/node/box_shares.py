"""Shares of the certificate box: how much of it one source may fill, and what waits beside it."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from tallystick.ledger.certificate import AnyCertificate, Approval, Decision, KeyChange, Motion, Objection
from tallystick.ledger.errors import Refused, Rule
from tallystick.node.limits import Limits

Move = Motion | Approval | Objection | KeyChange
"""What members decide by. A few of each key wait beside all else, so that no flood of others keeps one out."""


class _Share(NamedTuple):
    """How much may wait of one source, or of all together."""

    rule: Rule
    source: bytes | str
    what: str
    most: int
    most_bytes: int | None = None


class BoxShares:
    """How much waits of each source: of one key, or of all keys of an organisation."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._counts = Counter[_Share]()
        self._bytes = Counter[_Share]()

    def check_room(self, certificate: AnyCertificate, organisation: str | None, size_bytes: int) -> None:
        """Raise `Refused` (C6, C7) unless there is room for what a key of this organisation, or of none, issued."""
        for share in self._of(certificate, organisation):
            if self._counts[share] >= share.most:
                raise Refused(share.rule, f"{share.most} {share.what} wait already; submit it again later")
            if share.most_bytes is not None and self._bytes[share] + size_bytes > share.most_bytes:
                most = f"the {share.most_bytes} bytes for {share.what} are used up"
                raise Refused(share.rule, f"{most}; submit it again later")

    def change(self, certificate: AnyCertificate, organisation: str | None, count: int, size_bytes: int) -> None:
        """So many more of the kind, and so many more bytes, wait; fewer if below zero."""
        for share in self._of(certificate, organisation):
            self._counts[share] += count
            self._bytes[share] += size_bytes
            if not self._counts[share]:
                del self._counts[share], self._bytes[share]

    def _of(self, certificate: AnyCertificate, organisation: str | None) -> Iterator[_Share]:
        limits, issuer = self._limits, certificate.issuer
        if isinstance(certificate, Move):  # by key: whoever stole the member key leaves the organisation key its share
            what = "motions, key changes and words on motions of this issuer"
            yield _Share(Rule.C7, issuer, what, limits.box_moves_per_issuer, limits.box_move_bytes_per_issuer)
            return
        source, of_whom = (issuer, "this issuer") if organisation is None else (organisation, organisation)
        yield _Share(Rule.C6, "", "certificates", limits.box_certificates, limits.box_bytes)
        yield _Share(Rule.C7, source, f"certificates of {of_whom}", limits.box_certificates_per_issuer)
        if isinstance(certificate, Decision):
            what = "revocations, supersessions and erasures"
            yield _Share(Rule.C7, source, f"{what} of {of_whom}", limits.box_decisions_per_issuer)
            if organisation is None:
                yield _Share(Rule.C7, "", f"{what} of keys in no organisation", limits.box_decisions_of_outsiders)
