"""An `Older` in memory: what a host keeps of an index's oldest certificates, and what it was asked."""

from collections.abc import Callable


class KeptElsewhere:
    """It tells ids that differ in their first 8 bytes apart without reading."""

    def __init__(self, ids: list[bytes], issuer_of: Callable[[bytes], bytes] = lambda certificate_id: b"") -> None:
        self._numbers = {one: number for number, one in enumerate(ids)}
        self._beginnings = {one[:8] for one in ids}
        self._ids, self._issuer_of = ids, issuer_of
        self.asked: list[bytes] = []
        """Ids that were looked for."""
        self.read: list[bytes] = []
        """Those for which that was not enough."""

    def may_have(self, certificate_id: bytes) -> bool:
        self.asked.append(certificate_id)
        return certificate_id[:8] in self._beginnings

    def number_of(self, certificate_id: bytes) -> int | None:
        self.read.append(certificate_id)
        return self._numbers.get(certificate_id)

    def with_prefix(self, prefix: str) -> list[int]:
        return [number for number, one in enumerate(self._ids) if one.hex().startswith(prefix)]

    def ids(self, first: int, count: int) -> bytes:
        return b"".join(self._ids[first : first + count])

    def issuer_of(self, number: int) -> bytes:
        return self._issuer_of(self._ids[number])
