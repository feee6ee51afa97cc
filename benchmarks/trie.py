"""A trie of many entries: what one change and one proof cost."""

import gc
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from typing import TypeVar

from benchmarks.result import Figure, at_most, figure
from benchmarks.workload import cpu_seconds
from tallystick.ledger.encoding import encode
from tallystick.ledger.trie import Trie, TrieProof, proven_value

ENTRIES = 100_000
VALUE = bytes(range(64))
ROUNDS = 9
PER_ROUND = 1_000

T = TypeVar("T")


def large() -> Iterator[Figure]:
    """Microseconds for a change and for a proof with `ENTRIES` entries, and the bytes of a proof."""
    trie, keys = Trie(), [sha256(b"%d" % number).digest() for number in range(ENTRIES)]
    for key in keys:
        trie = trie.set(key, VALUE)
    first_root_s = cpu_seconds(trie.root)
    replaced, added, made, verified = [], [], [], []
    proofs: list[tuple[bytes, TrieProof]] = []
    for first in range(0, ROUNDS * PER_ROUND, PER_ROUND):
        old = keys[first : first + PER_ROUND]
        new = [sha256(b"new %d" % number).digest() for number in range(first, first + PER_ROUND)]
        shown = [(key, trie.prove(key)) for key in (*old[::2], *new[::2])]
        gc.collect()
        replaced.append(_us_each(old, partial(_change, trie)))
        added.append(_us_each(new, partial(_change, trie)))
        made.append(_us_each(new, partial(_prove, trie)))
        verified.append(_us_each(shown, partial(_verify, trie.root())))
        proofs += shown
    sizes = [len(proof.encoded) for _, proof in proofs]
    what = f"one change among {ENTRIES:,} entries and the root after it"
    yield figure("new value", what, replaced, "µs", goal=at_most(1_000))
    yield figure("new key", what, added, "µs", goal=at_most(1_000))
    yield figure("proof", f"with a value of {len(VALUE)} bytes", sizes, "bytes", goal=at_most(2_000))
    yield figure("proof made", "and encoded", made, "µs")
    yield figure("proof verified", "the same", verified, "µs")
    yield figure("first root", "which hashes all", [first_root_s], "s")


def _us_each(given: list[T], work: Callable[[T], object]) -> float:
    """Processor time of one call, in us."""
    return cpu_seconds(lambda: [work(one) for one in given]) / len(given) * 1e6


def _change(trie: Trie, key: bytes) -> None:
    trie.set(key, b"changed").root()


def _prove(trie: Trie, key: bytes) -> None:
    encode(trie.prove(key))


def _verify(root: bytes, shown: tuple[bytes, TrieProof]) -> None:
    key, proof = shown
    proven_value(proof, key, root)
