"""Where each certificate stands on the chain, in about 45 bytes a certificate.

The ids lie in one stretch of bytes in the order of the log, so a certificate is a number. Linear hashing (Litwin, 1980)
leads from an id to its number: there are as many buckets as certificates, and with each certificate one bucket is
split, so that no block ever waits for a whole table to be made anew. Buckets are chosen by Python's own hash of the id,
which is keyed anew in every process (unless PYTHONHASHSEED says otherwise): who grinds ids that begin alike, or that
fall together in a process of his own, makes no chain here longer.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from struct import iter_unpack
from typing import Final, NamedTuple

_ID_BYTES: Final = 32
_FIRST_BUCKETS: Final = 2
_HASH_BITS: Final = 0xFFFF_FFFF


class Place(NamedTuple):
    """Where a certificate stands on the chain."""

    block_index: int
    position: int


class CertificateIndex:
    """The ids of all certificates, block by block from block 1 on. An id is added once only (B6 sees to it)."""

    def __init__(self) -> None:
        self._ids = bytearray()
        self._ends = array("Q", [0])
        """How many certificates there are up to the end of each block; block 0 has none."""
        self._heads = array("I", [0] * _FIRST_BUCKETS)
        """The last certificate that fell into each bucket: its number plus 1; 0: none."""
        self._next = array("I")
        """For each certificate the one that fell into its bucket before it, likewise."""
        self._hashes = array("I")
        """32 bits of each id's hash: they tell most others apart, and which bucket it belongs to."""
        self._mask = _FIRST_BUCKETS - 1
        """Of a hash, the bits that name a bucket; where that is not split off yet, all but the highest of them."""

    def __len__(self) -> int:
        return self._ends[-1]

    @property
    def last_block(self) -> int:
        """The index of the last block that was added."""
        return len(self._ends) - 1

    def __contains__(self, certificate_id: bytes) -> bool:
        return self._number(certificate_id) is not None

    def place_of(self, certificate_id: bytes) -> Place | None:
        """Where the certificate with this id (32 bytes) stands, or `None`. The cost does not grow with the chain."""
        number = self._number(certificate_id)
        return None if number is None else self._place(number)

    def with_prefix(self, prefix: str) -> list[Place]:
        """Where the certificates stand whose ids begin so, in hex (2 digits or more); all ids are looked through."""
        first, found = bytes.fromhex(prefix[: len(prefix) // 2 * 2]), []
        at = self._ids.find(first)
        while at >= 0:
            number, offset = divmod(at, _ID_BYTES)
            if offset == 0 and self._ids[at : at + _ID_BYTES].hex().startswith(prefix):
                found.append(self._place(number))
            at = self._ids.find(first, at + 1)
        return found

    def append(self, ids: Sequence[bytes]) -> None:
        """Add the next block's certificates."""
        self.extend(b"".join(ids), [len(ids)])

    def extend(self, ids: bytes | bytearray, counts: Iterable[int]) -> None:
        """Add the next blocks' certificates: all ids, one after the other, and how many each block has.

        Raises `ValueError` when the two do not agree, and then nothing has changed.
        """
        ends, end = array("Q"), len(self)
        for count in counts:
            end += count
            ends.append(end)
        added = end - len(self)
        if _ID_BYTES * added != len(ids):
            raise ValueError(f"{len(ids)} bytes of ids for {added} certificates")
        if len(self) == 0:
            self._heads = array("I", bytes(max(_FIRST_BUCKETS, added) * self._heads.itemsize))
            self._mask = (1 << (len(self._heads) - 1).bit_length()) - 1
        else:
            for _ in range(added):
                self._split()
        self._ids += ids
        self._ends.extend(ends)
        hashes = array("I", (hash(one) & _HASH_BITS for (one,) in iter_unpack("32s", ids)))
        self._hashes.extend(hashes)
        heads, buckets, mask = self._heads, len(self._heads), self._mask
        lower, number, following = mask >> 1, len(self._next), self._next
        for hashed in hashes:
            number += 1
            bucket = hashed & mask
            if bucket >= buckets:
                bucket &= lower
            following.append(heads[bucket])
            heads[bucket] = number

    def ids_after(self, block_index: int) -> tuple[bytes, list[int]]:
        """What `extend` takes, for the blocks after this one."""
        ends = self._ends[block_index:]
        counts = [end - start for start, end in pairwise(ends)]
        return bytes(memoryview(self._ids)[_ID_BYTES * ends[0] :]), counts

    def _place(self, number: int) -> Place:
        block_index = bisect_right(self._ends, number)
        return Place(block_index, number - self._ends[block_index - 1])

    def _number(self, certificate_id: bytes) -> int | None:
        hashed = hash(certificate_id) & _HASH_BITS
        bucket = hashed & self._mask
        if bucket >= len(self._heads):
            bucket &= self._mask >> 1
        end = self._heads[bucket]
        while end:
            if self._hashes[end - 1] == hashed and self._ids[_ID_BYTES * (end - 1) : _ID_BYTES * end] == certificate_id:
                return end - 1
            end = self._next[end - 1]
        return None

    def _split(self) -> None:
        """Make one bucket more, which takes its share of the one that has stood for it."""
        added = len(self._heads)
        if added > self._mask:
            self._mask = 2 * self._mask + 1
        mask, hashes, following = self._mask, self._hashes, self._next
        end = self._heads[added & (mask >> 1)]
        stays = moves = 0
        while end:
            before = following[end - 1]
            if hashes[end - 1] & mask == added:
                following[end - 1], moves = moves, end
            else:
                following[end - 1], stays = stays, end
            end = before
        self._heads[added & (mask >> 1)] = stays
        self._heads.append(moves)
