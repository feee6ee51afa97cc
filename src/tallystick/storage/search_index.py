"""A full-text index of a ledger's certificates, in a SQLite file of its own, made from the store.

It is filled behind the chain and tells how far it is. Each certificate has a document by its log index in a table of
FTS5: the words of its subject, of its file's name and note, and facets (issuer, kind, media type, hash), which are
words as well, so that every combination is one intersection of sorted lists. What is said of one that covers a payload
has a row besides: it changes when the payload comes or goes.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from functools import lru_cache
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

from tallystick.ledger.block import Block
from tallystick.ledger.certificate import AnyCertificate, Payload, Statement
from tallystick.ledger.file_statement import file_statement_in
from tallystick.ledger.kinds import kind_of
from tallystick.problems import DamagedStore
from tallystick.storage.sqlite_file import carry_over, explained, remove_database
from tallystick.storage.store import Store

_FORMAT: Final = 5
_MOST_WORDS: Final = 16
BLOCKS_AT_ONCE: Final = 16
_REMEMBERED_FACETS: Final = 1024
_SCHEMA: Final = """
CREATE TABLE about (ledger_id BLOB NOT NULL, last_block INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE TABLE blocks (block_index INTEGER PRIMARY KEY, block_ms INTEGER NOT NULL, first INTEGER NOT NULL);
CREATE INDEX by_time ON blocks (block_ms);
CREATE TABLE covering (log_index INTEGER PRIMARY KEY, payload_hash BLOB NOT NULL, has_payload INTEGER NOT NULL,
  words TEXT NOT NULL, facets TEXT NOT NULL);
CREATE INDEX by_payload ON covering (payload_hash);
CREATE INDEX lacking ON covering (log_index) WHERE NOT has_payload;
CREATE VIRTUAL TABLE found USING fts5 (words, facets, content='', columnsize=0, prefix='2 3 4',
  tokenize="unicode61 remove_diacritics 2");
"""
_FIND: Final = "SELECT rowid FROM found WHERE found MATCH ? AND rowid >= ? AND rowid < ? ORDER BY rowid DESC LIMIT ?"
_FROM_TIME: Final = "SELECT first FROM blocks WHERE block_ms >= ? ORDER BY block_ms LIMIT 1"
_FROM_BLOCK: Final = "SELECT first FROM blocks WHERE block_index >= ? ORDER BY block_index LIMIT 1"
_ADD: Final = "INSERT INTO found (rowid, words, facets) VALUES (?, ?, ?)"
_ROWS_AT_ONCE: Final = 256
"""In a statement: after each, a thread waits for the interpreter's lock, and the node then for the thread."""
_UNFIND: Final = "INSERT INTO found (found, rowid, words, facets) VALUES ('delete', ?, ?, ?)"


class Query(NamedTuple):
    """What is looked for: certificates that match all of it."""

    text: str = ""
    is_prefix: bool = False
    """Whether the last word may go on."""
    issuer: bytes | None = None
    kind: str | None = None
    media_type: str | None = None
    sha256: bytes | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    """Times of blocks, both included."""
    first_block: int | None = None
    last_block: int | None = None


class SearchIndex:
    """One index, open for one thread. Raises `StoreError`."""

    def __init__(self, path: Path, ledger_id: bytes, *, read_only: bool = False) -> None:
        """Open the index, or begin a new one where there is none, or one of another ledger or format."""
        self._path = path
        with explained(path):
            if not read_only and not _is_current(path, ledger_id):
                _create(path, ledger_id)
            self._connection = _connect(path, read_only)
        self._overwrites = True
        """Whether the write-ahead log may hold what was erased; one that was left behind may."""

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @property
    def last_block(self) -> int:
        """The last block whose certificates are found."""
        return int(self._select("SELECT last_block FROM about")[0][0])

    @property
    def size(self) -> int:
        """How many certificates are found, from the first of the log on."""
        return int(self._select("SELECT size FROM about")[0][0])

    # ---- looking ------------------------------------------------------------------------------------------------

    def find(self, query: Query, below: int, limit: int) -> list[int]:
        """The log indexes of certificates that match, the highest first, all of them lower than `below`."""
        match, (low, high) = _match(query), self._range(query, below)
        if match is None:
            return []
        if not match:
            return list(range(low, high)[::-1][:limit])
        return [row[0] for row in self._select(_FIND, (match, low, high, limit))]

    def _range(self, query: Query, below: int) -> tuple[int, int]:
        """The range of log indexes that times and blocks mean: both only grow along the log."""
        low, high = 0, min(below, self.size)
        for sql, first, last in (
            (_FROM_TIME, query.since_ms, query.until_ms),
            (_FROM_BLOCK, query.first_block, query.last_block),
        ):
            if first is not None:
                low = max(low, next((row[0] for row in self._select(sql, (first,))), high))
            if last is not None:
                high = min(high, next((row[0] for row in self._select(sql, (last + 1,))), high))
        return low, high

    # ---- filling ------------------------------------------------------------------------------------------------

    def fill(self, store: Store, last: int, at_hand: Mapping[int, Block]) -> bool:
        """Take in some of the blocks up to this one; whether there are more. Those at hand, by index, are not read."""
        self._empty_log()
        first = self.last_block + 1
        if first > last:
            return False
        wanted = range(first, min(first + BLOCKS_AT_ONCE, last + 1))
        blocks = [block for one in wanted if (block := at_hand.get(one) or store.block(one))]
        with explained(self._path), self._connection:
            self._connection.execute("BEGIN")
            size = self.size
            for block in blocks:
                self._add(block, store, size)
                size += len(block.certificates)
            self._connection.execute("UPDATE about SET last_block = ?, size = ?", (blocks[-1].index, size))
        return blocks[-1].index < last

    def refill(self, store: Store, payload_hashes: Iterable[bytes]) -> None:
        """Take in payloads that came later, and let go of what was erased."""
        with explained(self._path):
            for payload_hash in payload_hashes:
                try:
                    payload = store.payload(payload_hash)
                except DamagedStore:
                    payload = None  # `check` tells of it
                self._take_payload(payload_hash, payload)
        self._empty_log()

    def lacking(self) -> list[bytes]:
        """The payloads that were not there when their certificates were taken in."""
        sql = "SELECT DISTINCT payload_hash FROM covering WHERE NOT has_payload"
        return [row[0] for row in self._select(sql)]

    def _add(self, block: Block, store: Store, size: int) -> None:
        covering, documents = [], []
        for log_index, one in enumerate(block.certificates, start=size):
            payload = store.payload(one.payload_hash) if one.payload_hash else None
            words, facets = _document(one, payload)
            documents.append((log_index, words, facets))
            if one.payload_hash:
                covering.append((log_index, one.payload_hash, payload is not None, words, facets))
        self._connection.execute("INSERT INTO blocks VALUES (?, ?, ?)", (block.index, block.header.timestamp_ms, size))
        self._connection.executemany("INSERT INTO covering VALUES (?, ?, ?, ?, ?)", covering)
        for start in range(0, len(documents), _ROWS_AT_ONCE):
            some = documents[start : start + _ROWS_AT_ONCE]
            self._connection.execute(f"{_ADD}{', (?, ?, ?)' * (len(some) - 1)}", list(chain.from_iterable(some)))

    def _take_payload(self, payload_hash: bytes, payload: Payload | None) -> None:
        """Describe the certificates of a payload anew: with it, or, if it is gone, without a trace of it in the file.

        FTS5 keeps deleted words in older segments until it merges them, so all are merged then.
        """
        sql = "SELECT log_index, words, facets FROM covering WHERE payload_hash = ? AND has_payload != ?"
        rows = self._select(sql, (payload_hash, payload is not None))
        if not rows:
            return
        execute = self._connection.execute
        with self._connection:
            execute("BEGIN")
            for log_index, words, facets in rows:
                said, facts = words.partition(_BREAK)[0], facets.partition(_BREAK)[0]
                if payload is not None:
                    said, facts = _with_payload(said, facts, payload)
                execute(_UNFIND, (log_index, words, facets))
                execute(_ADD, (log_index, said, facts))
                changed = (said, facts, payload is not None, log_index)
                execute("UPDATE covering SET words = ?, facets = ?, has_payload = ? WHERE log_index = ?", changed)
            if payload is None:
                execute("INSERT INTO found (found) VALUES ('optimize')")
        self._overwrites |= payload is None

    def _empty_log(self) -> None:
        """Overwrite what was erased in the log, too; where a reader hinders that, it is tried again the next time."""
        if self._overwrites:
            with explained(self._path):
                self._overwrites = not carry_over(self._connection, "TRUNCATE")

    def _select(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with explained(self._path):
            return self._connection.execute(sql, values).fetchall()


# ---- documents --------------------------------------------------------------------------------------------------

_BREAK: Final = "\n"
"""Parts what the certificate says from what its payload says."""


def _document(certificate: AnyCertificate, payload: Payload | None) -> tuple[str, str]:
    words = certificate.subject if isinstance(certificate, Statement) else ""
    facets = _facets(certificate.issuer, kind_of(certificate))
    return _with_payload(words, facets, payload) if payload else (words, facets)


def _with_payload(words: str, facets: str, payload: Payload) -> tuple[str, str]:
    facts, said = [_facet("media", payload.media_type.encode())], payload.subject
    stated = file_statement_in(payload)
    if stated is not None:
        facts.append(_facet("hash", stated.sha256))
        said += f" {stated.name} {stated.note}"
    if said:
        words += _BREAK + said
    return words, facets + _BREAK + " ".join(facts)


@lru_cache(maxsize=_REMEMBERED_FACETS)
def _facets(issuer: bytes, kind: str) -> str:
    return f"{_facet('issuer', issuer)} {_facet('kind', kind.encode())}"


def _facet(name: str, value: bytes) -> str:
    """A word that nobody writes by chance."""
    return f"{name}{sha256(value).hexdigest()[:24]}"


def _match(query: Query) -> str | None:
    """The query in the language of FTS5, each word in quotes; empty: everything; `None`: nothing is a word."""
    words = [one for one in query.text.replace('"', " ").replace("\0", " ").split() if any(map(str.isalnum, one))]
    words = words[:_MOST_WORDS]
    if query.text.strip() and not words:
        return None
    parts = [f'words : "{word}"' for word in words]
    if parts and query.is_prefix:
        parts[-1] += "*"
    facets = {
        "issuer": query.issuer,
        "kind": query.kind.encode() if query.kind else None,
        "media": query.media_type.encode() if query.media_type else None,
        "hash": query.sha256,
    }
    parts += [f'facets : "{_facet(name, value)}"' for name, value in facets.items() if value is not None]
    return " AND ".join(parts)


# ---- the file ---------------------------------------------------------------------------------------------------


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=10)
    if not read_only:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA synchronous = NORMAL")  # it can be made anew
        connection.execute("PRAGMA secure_delete = ON").fetchall()
    return connection


def _is_current(path: Path, ledger_id: bytes) -> bool:
    try:
        with closing(_connect(path, read_only=True)) as connection:
            ((version,),) = connection.execute("PRAGMA user_version").fetchall()
            return version == _FORMAT and connection.execute("SELECT ledger_id FROM about").fetchall() == [(ledger_id,)]
    except sqlite3.Error:
        return False


def _create(path: Path, ledger_id: bytes) -> None:
    remove_database(path)
    with closing(_connect(path, read_only=False)) as connection:
        connection.executescript(_SCHEMA)
        connection.execute("INSERT INTO about VALUES (?, 0, 0)", (ledger_id,))
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
