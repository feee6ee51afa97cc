"""Shares of the certificate box: how much of it one source may fill, and what waits beside it."""

from typing import Final, NamedTuple

from tallystick.ledger.certificate import AnyCertificate, Approval, Decision, KeyChange, Motion, Objection
from tallystick.ledger.errors import Refused, Rule
from tallystick.node.limits import Limits

Move = Motion | Approval | Objection | KeyChange
"""What members decide by. A few of each key wait beside all else, so that no flood of others keeps one out."""


_MOVES: Final = "motions, key changes and words on motions of this issuer"
_DECISIONS: Final = "revocations, supersessions and erasures"
_ANY_BYTES: Final = 1 << 62


class _Limit(NamedTuple):
    """How much may wait of one kind of share."""

    rule: Rule
    what: str
    most: int
    most_bytes: int = _ANY_BYTES


_Share = tuple[str, bytes | str]
"""The kind of the share, and whose it is: a key's, an organisation's, or everybody's."""


class BoxShares:
    """How much waits of each source: of one key, or of all keys of an organisation."""

    def __init__(self, limits: Limits) -> None:
        self._limits = {
            "all": _Limit(Rule.C6, "certificates", limits.box_certificates, limits.box_bytes),
            "source": _Limit(Rule.C7, "certificates of {}", limits.box_certificates_per_issuer),
            "decisions": _Limit(Rule.C7, f"{_DECISIONS} of {{}}", limits.box_decisions_per_issuer),
            "outsiders": _Limit(Rule.C7, f"{_DECISIONS} of keys in no organisation", limits.box_decisions_of_outsiders),
            "moves": _Limit(Rule.C7, _MOVES, limits.box_moves_per_issuer, limits.box_move_bytes_per_issuer),
        }
        self._counts: dict[_Share, int] = {}
        self._bytes: dict[_Share, int] = {}

    def check_room(self, certificate: AnyCertificate, organisation: str | None, size_bytes: int) -> None:
        """Raise `Refused` (C6, C7) unless there is room for what a key of this organisation, or of none, issued."""
        for share in _shares_of(certificate, organisation):
            limit = self._limits[share[0]]
            if self._counts.get(share, 0) >= limit.most:
                what = limit.what.format(organisation or "this issuer")
                raise Refused(limit.rule, f"{limit.most} {what} wait already; submit it again later")
            if self._bytes.get(share, 0) + size_bytes > limit.most_bytes:
                what = limit.what.format(organisation or "this issuer")
                most = f"the {limit.most_bytes} bytes for {what} are used up"
                raise Refused(limit.rule, f"{most}; submit it again later")

    def change(self, certificate: AnyCertificate, organisation: str | None, count: int, size_bytes: int) -> None:
        """So many more of the kind, and so many more bytes, wait; fewer if below zero."""
        counts, sizes = self._counts, self._bytes
        for share in _shares_of(certificate, organisation):
            counts[share] = counts.get(share, 0) + count
            sizes[share] = sizes.get(share, 0) + size_bytes
            if not counts[share]:
                del counts[share], sizes[share]


def _shares_of(certificate: AnyCertificate, organisation: str | None) -> list[_Share]:
    if isinstance(certificate, Move):  # by key: whoever stole the member key leaves the organisation key its share
        return [("moves", certificate.issuer)]
    source = certificate.issuer if organisation is None else organisation
    shares: list[_Share] = [("all", ""), ("source", source)]
    if isinstance(certificate, Decision):
        shares.append(("decisions", source))
        if organisation is None:
            shares.append(("outsiders", ""))
    return shares
