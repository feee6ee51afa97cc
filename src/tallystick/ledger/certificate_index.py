"""Where each certificate stands on the chain, and who issued each statement.

A certificate is a number, its place in the log. The oldest may be the host's to keep (`Older`, docs/adr/0037). Of the
others the ids lie in one stretch of bytes in the order of the log. A dictionary leads from the latest ids to their
numbers, in some 220 bytes each altogether; where more are in memory, buckets lead to those before, in 48. Both go by
Python's own hash of the id, which is keyed anew in every process (unless PYTHONHASHSEED says otherwise): who grinds ids
that begin alike, or that fall together in a process of his own, makes no look-up here longer.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from struct import iter_unpack
from sys import maxsize
from typing import Final, NamedTuple, Protocol

_ID_BYTES: Final = 32
_HASH_BITS: Final = 0xFFFFFFFF
_MOST_IN_DICTIONARY: Final = 262_144
"""More than a host with a file has in memory; of more, the oldest leave it for the buckets, all but half as many."""
_MOST_ABSENT: Final = 32_768


class Place(NamedTuple):
    """Where a certificate stands on the chain."""

    block_index: int
    position: int


class Found(NamedTuple):
    """A certificate on the chain: its log index, and its issuer if it is a statement."""

    log_index: int
    issuer: bytes | None


class Older(Protocol):
    """The oldest certificates, which the host keeps. What it does may raise what reading the host's file raises."""

    def may_have(self, certificate_id: bytes) -> bool:
        """Whether it takes more than memory to tell if the certificate with this id is one of them."""

    def number_of(self, certificate_id: bytes) -> int | None:
        """The log index of the certificate with this id, if it is one of them."""

    def with_prefix(self, prefix: str) -> list[int]:
        """The log indexes of those whose ids begin so, in hex."""

    def ids(self, first: int, count: int) -> bytes:
        """The ids of so many of them in the order of the log, one after the other."""

    def issuer_of(self, number: int) -> bytes:
        """Who issued the statement with this log index; empty: it is no statement."""


class _Nothing:
    def may_have(self, certificate_id: bytes) -> bool:
        return False

    def number_of(self, certificate_id: bytes) -> int | None:
        return None

    def with_prefix(self, prefix: str) -> list[int]:
        return []

    def ids(self, first: int, count: int) -> bytes:
        return b""

    def issuer_of(self, number: int) -> bytes:
        raise IndexError(number)


class CertificateIndex:
    """The ids of all certificates, block by block from block 1 on. An id is added once only (B6 sees to it)."""

    def __init__(self, older: Older | None = None, counts: Iterable[int] = ()) -> None:
        """`older`: what the host keeps, which is all of the first blocks; `counts`: how many each of these has."""
        self._older: Older = older or _Nothing()
        self._ends = array("Q", accumulate(counts, initial=0))
        """How many certificates there are up to the end of each block; block 0 has none."""
        self._first = self._ends[-1]
        """The number of the first certificate in memory."""
        self._ids = bytearray()
        """Of those in memory, in the order of the log."""
        self._buckets = _Buckets(self._ids, self._first)
        """The oldest of them."""
        self._numbers: dict[bytes, int] = {}
        """Of all later ones: by id, the number."""
        self._issuers = array("I")
        """Of each certificate the number of its issuer in `_keys`, which is 0 for all that are no statements."""
        self._keys = [b""]
        self._key_numbers = {b"": 0}
        """Of each key in `_keys` its number."""
        self._absent = set[bytes]()
        """Ids found not to be among those before: what is new is asked for several times before it is on a block."""

    def __len__(self) -> int:
        return self._ends[-1]

    def __contains__(self, certificate_id: bytes) -> bool:
        return self.log_index_of(certificate_id) is not None

    def known(self, ids: Iterable[bytes], most_older: int = maxsize) -> set[bytes]:
        """Those of these ids that are on the chain; for who adds to it: on other threads only one by one.

        At most `most_older` are looked up with the host; the others that it may have are among those returned, too.
        """
        asked = list(ids)
        known = self._numbers.keys() & asked
        if len(known) < len(asked) and len(self._numbers) < len(self):
            if len(self._absent) >= _MOST_ABSENT:
                self._absent.clear()
            others = [one for one in asked if one not in known and one not in self._absent]
            found = {one for one in others if self._buckets and self._buckets.number_of(one) is not None}
            older = list(dict.fromkeys(one for one in others if one not in found and self._older.may_have(one)))
            found.update(one for one in older[:most_older] if self._older.number_of(one) is not None)
            found.update(older[most_older:])
            self._absent.update(others)
            self._absent -= found
            known |= found
        return known

    def in_lots(self, ids: Iterable[bytes], most_older: int) -> Iterator[list[bytes]]:
        """The ids in lots, to look up in turn: what memory tells of, then at most so many that the host may have."""
        at_hand, older = list[bytes](), list[bytes]()
        for one in ids:
            is_clear = one in self._numbers or one in self._absent
            is_clear = is_clear or (bool(self._buckets) and self._buckets.number_of(one) is not None)
            (at_hand if is_clear or not self._older.may_have(one) else older).append(one)
        yield at_hand
        for first in range(0, len(older), most_older):
            yield older[first : first + most_older]

    @property
    def last_block(self) -> int:
        """The index of the last block that was added."""
        return len(self._ends) - 1

    def place_of(self, certificate_id: bytes) -> Place | None:
        """Where the certificate with this id (32 bytes) stands, or `None`. The cost does not grow with the chain."""
        number = self.log_index_of(certificate_id)
        return self.place_at(number) if number is not None else None

    def find(self, certificate_id: bytes) -> Found | None:
        """The certificate's log index and its issuer, or `None`."""
        number = self.log_index_of(certificate_id)
        if number is None:
            return None
        if number < self._first:
            return Found(number, self._older.issuer_of(number) or None)
        return Found(number, self._keys[self._issuers[number - self._first]] or None)

    def log_index_of(self, certificate_id: bytes) -> int | None:
        """The log index of the certificate with this id (32 bytes), or `None`: the cheapest of the look-ups."""
        number = self._numbers.get(certificate_id)
        if number is None and self._buckets:
            number = self._buckets.number_of(certificate_id)
        return number if number is not None else self._older.number_of(certificate_id)

    def with_prefix(self, prefix: str) -> list[Place]:
        """Where the certificates stand whose ids begin so, in hex (2 digits or more); all in memory are looked at."""
        first = bytes.fromhex(prefix[: len(prefix) // 2 * 2])
        found = [self.place_at(number) for number in self._older.with_prefix(prefix) if number < self._first]
        at = self._ids.find(first)
        while at >= 0:
            number, offset = divmod(at, _ID_BYTES)
            if offset == 0 and self._ids[at : at + _ID_BYTES].hex().startswith(prefix):
                found.append(self.place_at(self._first + number))
            at = self._ids.find(first, at + 1)
        return found

    def extend(self, ids: bytes | bytearray, counts: Iterable[int], issuers: Sequence[bytes]) -> None:
        """Add the next blocks' certificates: all ids, one after the other, and how many each block has.

        `issuers` are those of statements, empty for other certificates. Raises `ValueError` when the three do not
        agree, and then nothing has changed.
        """
        ends = array("Q", accumulate(counts, initial=len(self)))
        added = ends[-1] - len(self)
        if _ID_BYTES * added != len(ids) or added != len(issuers):
            raise ValueError(f"{len(ids)} bytes of ids and {len(issuers)} issuers for {added} certificates")
        keys = self._key_numbers
        for issuer in issuers:
            if issuer not in keys:
                keys[issuer] = len(keys)
                self._keys.append(issuer)
        self._issuers.extend([keys[issuer] for issuer in issuers])
        self._ids += ids
        self._numbers.update(zip(_parted(ids), range(len(self), ends[-1]), strict=True))
        self._ends += ends[1:]
        if len(self._numbers) > _MOST_IN_DICTIONARY:
            self._pack(len(self._numbers) - _MOST_IN_DICTIONARY // 2)

    def _pack(self, count: int) -> None:
        """Move so many from the dictionary into the buckets, the oldest."""
        start = _ID_BYTES * len(self._buckets)
        packed = list(_parted(self._ids[start : start + _ID_BYTES * count]))
        self._buckets.add(packed)
        self._forget(packed)

    def _forget(self, ids: Iterable[bytes]) -> None:
        """These leave the dictionary."""
        self._absent.clear()
        for one in ids:
            del self._numbers[one]

    def let_go(self, older: Older, size: int) -> None:
        """Keep the first `size` certificates, which end with a block, no longer: from now on `older` has them."""
        gone = max(0, size - self._first)
        self._older = older
        self._forget(_parted(self._ids[_ID_BYTES * len(self._buckets) : _ID_BYTES * gone]))
        self._first += gone
        self._buckets.let_go(gone)
        del self._ids[: _ID_BYTES * gone], self._issuers[:gone]

    def between(self, block_index: int, last: int) -> tuple[bytes, list[int], list[bytes]]:
        """What `extend` takes, for the blocks after the one up to the other. Raises `ValueError` for those let go."""
        ends = self._ends[block_index : last + 1]
        if ends[0] < self._first:
            raise ValueError(f"the certificates up to {self._first} are the host's, {ends[0]} is asked for")
        counts = [end - start for start, end in pairwise(ends)]
        issuers = [self._keys[number] for number in self._issuers[ends[0] - self._first : ends[-1] - self._first]]
        return self.ids(ends[0], ends[-1] - ends[0]), counts, issuers

    def ids(self, first: int, count: int) -> bytes:
        """The ids of so many certificates in the order of the log, one after the other."""
        older = self._older.ids(first, min(count, self._first - first)) if first < self._first else b""
        start, end = max(0, first - self._first), max(0, first + count - self._first)
        return older + bytes(memoryview(self._ids)[_ID_BYTES * start : _ID_BYTES * end])

    def number_of(self, place: Place) -> int:
        """The log index of the certificate at a place."""
        return self._ends[place.block_index - 1] + place.position

    def place_at(self, number: int) -> Place:
        """Where the certificate with this log index stands."""
        block_index = bisect_right(self._ends, number)
        return Place(block_index, number - self._ends[block_index - 1])


class _Buckets:
    """The oldest certificates in memory, by linear hashing (Litwin, 1980).

    There are as many buckets as certificates, and with each certificate one is split, so that no block ever waits for a
    whole table to be made anew, however many there are.
    """

    def __init__(self, ids: bytearray, first: int) -> None:
        """`ids`: of all in memory, from the one with the number `first` on; its owner's to change."""
        self._ids, self._first = ids, first
        self._heads = array("I", [0])
        """The last certificate that fell into each bucket: its number plus 1. Up to `_first`: none."""
        self._hashes = array("I")
        """Of each id, so that a split reads no id."""
        self._next = array("I")
        """For each certificate the one that fell into its bucket before it, likewise: numbers descend."""
        self._mask = 0
        """Of a hash, the bits that name a bucket; where that is not split off yet, all but the highest of them."""

    def __len__(self) -> int:
        return len(self._next)

    def number_of(self, certificate_id: bytes) -> int | None:
        """The certificate's number, if it is one of them."""
        heads, bucket, first = self._heads, hash(certificate_id) & self._mask, self._first
        end = heads[bucket if bucket < len(heads) else bucket & (self._mask >> 1)]
        while end > first:
            if self._ids.startswith(certificate_id, _ID_BYTES * (end - 1 - first)):
                return end - 1
            end = self._next[end - 1 - first]
        return None

    def add(self, ids: Sequence[bytes]) -> None:
        """Take in the next certificates."""
        if ids and not self._next:  # no bucket holds anything that a split would move
            self._heads, self._mask = array("I", [0] * len(ids)), (1 << (len(ids) - 1).bit_length()) - 1
        self._split(len(self) + len(ids))
        hashes = array("I", [hash(one) & _HASH_BITS for one in ids])
        self._hashes += hashes
        heads, following, mask, buckets = self._heads, self._next, self._mask, len(self._heads)
        for number, hashed in enumerate(hashes, start=self._first + len(following) + 1):
            bucket = hashed & mask
            if bucket >= buckets:
                bucket &= mask >> 1
            following.append(heads[bucket])
            heads[bucket] = number

    def let_go(self, count: int) -> None:
        """So many of all in memory leave it, the oldest, before their ids do."""
        self._first += count
        del self._hashes[:count], self._next[:count]

    def _split(self, buckets: int) -> None:
        """Have so many buckets: each new one takes its share of that which has stood for it, in the same order."""
        heads, following, hashes, first = self._heads, self._next, self._hashes, self._first
        for added in range(len(heads), buckets):
            if added > self._mask:
                self._mask = 2 * self._mask + 1
            mask, before = self._mask, added & (self._mask >> 1)
            chain: list[int] = []
            end = heads[before]
            while end > first:
                chain.append(end)
                end = following[end - 1 - first]
            moves = [one for one in chain if hashes[one - 1 - first] & mask == added]
            heads.append(moves[0] if moves else 0)
            if not moves:
                continue
            stays = [one for one in chain if hashes[one - 1 - first] & mask != added]
            heads[before] = stays[0] if stays else 0
            for part in (stays, moves) if stays else ():
                for one, older in pairwise((*part, 0)):
                    following[one - 1 - first] = older


def _parted(ids: bytes | bytearray) -> Iterator[bytes]:
    return (one for (one,) in iter_unpack(f"{_ID_BYTES}s", ids))
