"""The certificates that were submitted here and are in no block yet: one row for each submission, while any waits."""

from collections.abc import Collection, Iterable, Iterator
from typing import Annotated, Final

from msgspec import Meta, Raw

from tallystick.ledger.certificate import AnyCertificate
from tallystick.ledger.encoding import Codec, encode
from tallystick.ledger.errors import Refused
from tallystick.ledger.params import MAX_CERTIFICATE_BYTES
from tallystick.problems import DamagedStore
from tallystick.storage.sqlite_file import Database, decode_column

_MOST: Final = 1_024
"""Certificates in a row; a submission of more takes several."""

submission_codec: Codec[tuple[AnyCertificate, ...]] = Codec(
    Annotated[tuple[AnyCertificate, ...], Meta(min_length=1, max_length=_MOST)],
    _MOST * MAX_CERTIFICATE_BYTES + 8,
    "submission",
)


class WaitingTable:
    """The table `waiting`. What is in it is remembered by who writes, so that a block takes no look-up of each id."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._left: dict[int, dict[bytes, bytes]] | None = None
        """By row, in order: the encoded certificates that still wait, by id. `None`: to be read."""
        self._row_of: dict[bytes, int] = {}
        """By id: the row that the certificate stands in."""

    def certificates(self) -> Iterator[AnyCertificate]:
        """All that wait, in the order in which they came. Raises `DamagedStore` at a row that is no submission."""
        for _, certificates in self._rows():
            yield from certificates

    def forget(self) -> None:
        """Read the table anew: a transaction failed, and what it changed is not there."""
        self._left = None

    # ---- within a transaction -------------------------------------------------------------------------------

    def keep(self, certificates: Collection[AnyCertificate]) -> None:
        """Keep a submission. Raises `DamagedStore`."""
        left, encoded = self._read(), [(one.id, one.encoded) for one in certificates]
        number = next(reversed(left), 0)
        for start in range(0, len(encoded), _MOST):
            number += 1
            left[number] = row = dict(encoded[start : start + _MOST])
            self._row_of.update(dict.fromkeys(row, number))
            self._database.execute("INSERT INTO waiting VALUES (?, ?)", (number, _joined(row)))

    def settle(self, certificate_ids: Iterable[bytes]) -> None:
        """These wait no more, whether they did or not. Raises `DamagedStore`."""
        left, touched = self._read(), set[int]()
        for one in certificate_ids:
            if (number := self._row_of.pop(one, None)) is not None:
                del left[number][one]
                touched.add(number)
        for number in sorted(touched):
            if left[number]:
                self._database.execute(
                    "UPDATE waiting SET encoded = ? WHERE number = ?", (_joined(left[number]), number)
                )
            else:
                del left[number]
                self._database.execute("DELETE FROM waiting WHERE number = ?", (number,))

    def _read(self) -> dict[int, dict[bytes, bytes]]:
        if self._left is None:
            self._left = {number: {one.id: one.encoded for one in some} for number, some in self._rows()}
            self._row_of = {one: number for number, row in self._left.items() for one in row}
        return self._left

    def _rows(self) -> Iterator[tuple[int, tuple[AnyCertificate, ...]]]:
        for number, encoded in self._database.select("SELECT number, encoded FROM waiting ORDER BY number"):
            try:
                yield number, decode_column(submission_codec, encoded)
            except Refused as refused:
                path = self._database.path
                raise DamagedStore(f"{path}: certificates that wait were altered: {refused}", refused) from None


def _joined(row: dict[bytes, bytes]) -> bytes:
    return encode([Raw(encoded) for encoded in row.values()])
