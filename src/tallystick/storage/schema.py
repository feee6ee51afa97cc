"""What is in the file of a chain: its tables, and how the file is told from others."""

import sqlite3
from pathlib import Path
from typing import Final

from tallystick.ledger.errors import Refused
from tallystick.ledger.genesis import Genesis, decode_genesis
from tallystick.problems import DamagedStore, NoChain, StoreError

FORMAT_VERSION: Final = 8
_APPLICATION_ID: Final = 0x74616C79  # "taly": marks the file as this program's

KEPT: Final = {
    "genesis": "encoded BLOB NOT NULL",
    "blocks": "block_index INTEGER PRIMARY KEY CHECK (block_index > 0), block_hash BLOB NOT NULL, "
    "header_leaf BLOB NOT NULL, encoded BLOB NOT NULL",
    "finalizations": "block_index INTEGER PRIMARY KEY, encoded BLOB NOT NULL",
    "epoch_ends": "epoch INTEGER PRIMARY KEY, block_index INTEGER UNIQUE NOT NULL, roots BLOB NOT NULL, members BLOB",
    "votes": "number INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, view INTEGER NOT NULL, encoded BLOB NOT NULL",
    "proposals": "block_hash BLOB PRIMARY KEY, block_index INTEGER NOT NULL, encoded BLOB NOT NULL",
    "waiting": "number INTEGER PRIMARY KEY, digest BLOB NOT NULL, encoded BLOB NOT NULL",
    "payloads": "payload_hash BLOB PRIMARY KEY, encoded BLOB NOT NULL",
    "erased": "payload_hash BLOB PRIMARY KEY NOT NULL",
    "addresses": "public_key BLOB PRIMARY KEY, encoded BLOB NOT NULL",
    "cosignatures": "size INTEGER NOT NULL, member BLOB NOT NULL, encoded BLOB NOT NULL, PRIMARY KEY (size, member)",
    "names": "public_key BLOB PRIMARY KEY, name TEXT NOT NULL",
}
"""Tables that nothing else can tell; each has row ids, by which what is readable of it can be saved."""

DERIVED: Final = {
    "awaited": "payload_hash BLOB, block_index INTEGER, position INTEGER, "
    "PRIMARY KEY (payload_hash, block_index, position)) WITHOUT ROWID",
    "files": "sha256 BLOB, block_index INTEGER, position INTEGER, payload_hash BLOB, "
    "PRIMARY KEY (sha256, block_index, position)) WITHOUT ROWID",
    "ids": "last_block INTEGER PRIMARY KEY, first INTEGER NOT NULL, digest BLOB NOT NULL, counts BLOB NOT NULL, "
    "ids BLOB NOT NULL, issuers BLOB NOT NULL)",
    "id_runs": "place INTEGER PRIMARY KEY, bounds BLOB NOT NULL, marks BLOB NOT NULL, digest BLOB NOT NULL, "
    "entries BLOB NOT NULL)",
    "snapshot": "block_index INTEGER PRIMARY KEY, encoded BLOB NOT NULL, runs BLOB NOT NULL, digest BLOB NOT NULL)",
    "about": "certificate_id BLOB, block_index INTEGER, position INTEGER, "
    "PRIMARY KEY (certificate_id, block_index, position)) WITHOUT ROWID",
    "state_parts": "block_index INTEGER PRIMARY KEY, members_hash BLOB NOT NULL)",
    "decided": "motion BLOB PRIMARY KEY, block_index INTEGER NOT NULL, outcome INTEGER NOT NULL) WITHOUT ROWID",
    "tiles": "tree INTEGER, level INTEGER, number INTEGER, block_index INTEGER NOT NULL, position INTEGER NOT NULL, "
    "root BLOB NOT NULL, middle BLOB NOT NULL, hashes BLOB NOT NULL, PRIMARY KEY (tree, level, number))",
}
"""Tables that follow from the others, and can be made anew."""

_SCHEMA: Final = (
    *(f"CREATE TABLE {name} ({columns})" for name, columns in KEPT.items()),
    *(f"CREATE TABLE {name} ({columns}" for name, columns in DERIVED.items()),
    "CREATE INDEX votes_by_view ON votes (epoch, view)",
    "CREATE INDEX ids_by_number ON ids (first)",
    "CREATE INDEX changes_of_members ON epoch_ends (epoch) WHERE members IS NOT NULL",
)


def write_schema(connection: sqlite3.Connection) -> None:
    """Make all tables in an empty file, within a transaction."""
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")


def check_format(path: Path, connection: sqlite3.Connection) -> None:
    """Raise `StoreError` for the file of another program or of another version."""
    ((application_id,),) = connection.execute("PRAGMA application_id").fetchall()
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    if application_id != _APPLICATION_ID:
        raise NoChain(f"{path} is the database of another program; name the file of a tallystick chain")
    if version != FORMAT_VERSION:
        known = f"{path} has format {version}, this program knows format {FORMAT_VERSION}"
        advice = "use the version that wrote it, or move it away and make it anew: by the demo, or from the peers"
        raise StoreError(f"{known}; {advice}")


def read_genesis(path: Path, connection: sqlite3.Connection) -> Genesis:
    """The genesis of the chain in the file. Raises `DamagedStore`."""
    rows = connection.execute("SELECT encoded FROM genesis").fetchall()
    if len(rows) != 1 or not isinstance(rows[0][0], bytes):
        raise DamagedStore(f"{path}: its genesis is missing; restore the file from a copy")
    try:
        return decode_genesis(rows[0][0])
    except Refused as refused:
        raise DamagedStore(f"{path}: its genesis was altered: {refused}", refused) from None
