"""The certificates that were submitted here and are in no block yet: one row for each submission, while any waits."""

from collections.abc import Collection, Iterable, Iterator
from typing import Annotated, Final

from msgspec import Meta, Raw

from tallystick.ledger.certificate import AnyCertificate
from tallystick.ledger.encoding import Codec, digest, encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.params import MAX_CERTIFICATE_BYTES
from tallystick.problems import DamagedStore
from tallystick.storage.sqlite_file import Database

_MOST: Final = 1_024
"""Certificates in a row; a submission of more takes several."""

_submission_codec: Codec[tuple[AnyCertificate, ...]] = Codec(
    Annotated[tuple[AnyCertificate, ...], Meta(min_length=1, max_length=_MOST)],
    _MOST * MAX_CERTIFICATE_BYTES + 8,
    "submission",
)


def decoded_submission(kept_digest: object, encoded: object) -> tuple[AnyCertificate, ...]:
    """The certificates of a row. Raises `Refused` (E1 to E3) when they are not as they were kept.

    Their signatures were verified before that, and are not again: `check` does so.
    """
    if not isinstance(encoded, bytes) or digest(encoded) != kept_digest:
        raise Refused(Rule.E2, "they are not as they were kept")
    return _submission_codec.decode(encoded)


class WaitingTable:
    """The table `waiting`. What is in it is remembered by who writes, so that a block takes no look-up of each id."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._left: dict[int, dict[bytes, bytes]] | None = None
        """By row, in order: the encoded certificates that still wait, by id. `None`: to be read."""
        self._row_of: dict[bytes, int] = {}
        """By id: the row that the certificate stands in."""
        self._changed: set[int] = set()
        """Rows of which some wait no more, until that is written."""

    def certificates(self) -> Iterator[AnyCertificate]:
        """All that wait, in the order in which they came. Raises `DamagedStore` at a row that is no submission."""
        for _, certificates in self._rows():
            yield from certificates

    def forget(self) -> None:
        """Read the table anew: a transaction failed, and what it changed is not there."""
        self._left, self._changed = None, set()

    # ---- within a transaction -------------------------------------------------------------------------------

    def keep(self, certificates: Collection[AnyCertificate]) -> None:
        """Keep a submission. What waits already stands in its row alone. Raises `DamagedStore`."""
        self.settle(one.id for one in certificates)
        left, encoded = self._read(), [(one.id, one.encoded) for one in certificates]
        number = next(reversed(left), 0)
        for start in range(0, len(encoded), _MOST):
            number += 1
            left[number] = row = dict(encoded[start : start + _MOST])
            self._row_of.update(dict.fromkeys(row, number))
            self._database.execute("INSERT INTO waiting VALUES (?, ?, ?)", (number, *_columns(row)))

    def settle(self, certificate_ids: Iterable[bytes]) -> None:
        """These wait no more, whether they did or not; `write` tells the table. Raises `DamagedStore`."""
        left = self._read()
        for one in certificate_ids:
            if (number := self._row_of.pop(one, None)) is not None:
                del left[number][one]
                self._changed.add(number)

    def write(self) -> None:
        """Write what was settled: once a row, however many of it were."""
        changed, self._changed = sorted(self._changed), set()
        for number in changed:
            if row := self._read()[number]:
                sql = "UPDATE waiting SET digest = ?, encoded = ? WHERE number = ?"
                self._database.execute(sql, (*_columns(row), number))
            else:
                del self._read()[number]
                self._database.execute("DELETE FROM waiting WHERE number = ?", (number,))

    def _read(self) -> dict[int, dict[bytes, bytes]]:
        if self._left is None:
            self._left = {number: {one.id: one.encoded for one in some} for number, some in self._rows()}
            self._row_of = {one: number for number, row in self._left.items() for one in row}
        return self._left

    def _rows(self) -> Iterator[tuple[int, tuple[AnyCertificate, ...]]]:
        rows = self._database.select("SELECT number, digest, encoded FROM waiting ORDER BY number")
        for number, kept_digest, encoded in rows:
            try:
                yield number, decoded_submission(kept_digest, encoded)
            except Refused as refused:
                path = self._database.path
                raise DamagedStore(f"{path}: certificates that wait were altered: {refused}", refused) from None


def _columns(row: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    encoded = encode([Raw(one) for one in row.values()])
    return digest(encoded), encoded
