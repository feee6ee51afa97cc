"""Shares of the certificate box: how much of it one source may fill, and what waits beside it."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from tallystick.ledger.certificate import AnyCertificate, Approval, Decision, KeyChange, Motion, Objection, Statement
from tallystick.ledger.errors import Refused, Rule
from tallystick.node.limits import Limits

Move = Motion | Approval | Objection | KeyChange
"""What members decide by. A few of each key wait beside all else, so that no flood of others keeps one out."""

_MOVES: Final = "motions, key changes and words on motions of this issuer"
_DECISIONS: Final = "revocations, supersessions and erasures"
_ANY_BYTES: Final = 1 << 62


class _Limit(NamedTuple):
    """How much may wait of one kind of share; {} in the text is whose it is."""

    rule: Rule
    what: str
    most: int
    most_bytes: int = _ANY_BYTES


class Share(Struct, gc=False):
    """What waits of one source, or of all together."""

    limit: _Limit
    source: bytes | str
    count: int = 0
    size_bytes: int = 0


class BoxShares:
    """How much waits of each source: of one key, or of all keys of an organisation."""

    def __init__(self, limits: Limits) -> None:
        self._all = Share(_Limit(Rule.C6, "certificates", limits.box_certificates, limits.box_bytes), "")
        self._of_source = _Limit(Rule.C7, "certificates of {}", limits.box_certificates_per_issuer)
        self._decisions = _Limit(Rule.C7, f"{_DECISIONS} of {{}}", limits.box_decisions_per_issuer)
        outsiders = f"{_DECISIONS} of keys in no organisation"
        self._outsiders = Share(_Limit(Rule.C7, outsiders, limits.box_decisions_of_outsiders), "")
        self._moves = _Limit(Rule.C7, _MOVES, limits.box_moves_per_issuer, limits.box_move_bytes_per_issuer)
        self._shares: dict[tuple[str, bytes | str], Share] = {}
        """Those of sources of which something waits."""

    def of(self, certificate: AnyCertificate, organisation: str | None) -> Sequence[Share]:
        """The shares in which it would wait that a key of this organisation, or of none, issued."""
        source = certificate.issuer if organisation is None else organisation
        if isinstance(certificate, Statement):
            return self._all, self._share(self._of_source, source)
        if isinstance(certificate, Move):  # by key: whoever stole the member key leaves the organisation key its share
            return (self._share(self._moves, certificate.issuer),)
        shares = [self._all, self._share(self._of_source, source)]
        if isinstance(certificate, Decision):
            shares += [self._share(self._decisions, source), *([self._outsiders] if organisation is None else [])]
        return shares

    def check_room(self, shares: Sequence[Share], size_bytes: int) -> None:
        """Raise `Refused` (C6, C7) unless there is room in each of them."""
        for one in shares:
            limit = one.limit
            if one.count >= limit.most or one.size_bytes + size_bytes > limit.most_bytes:
                what = limit.what.format(one.source if isinstance(one.source, str) else "this issuer")
                full = f"{limit.most} {what} wait already"
                used = full if one.count >= limit.most else f"the {limit.most_bytes} bytes for {what} are used up"
                raise Refused(limit.rule, f"{used}; submit it again later")

    def change(self, shares: Sequence[Share], count: int, size_bytes: int) -> None:
        """So many more of them, and so many more bytes, wait; fewer if below zero."""
        for one in shares:
            if not one.count:
                self._shares[one.limit.what, one.source] = one
            one.count += count
            one.size_bytes += size_bytes
            if not one.count:
                del self._shares[one.limit.what, one.source]

    def _share(self, limit: _Limit, source: bytes | str) -> Share:
        return self._shares.get((limit.what, source)) or Share(limit, source)
