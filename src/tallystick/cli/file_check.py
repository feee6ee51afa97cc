"""Whether a chain covers a file: the same check for `verify` and at the end of `demo`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from tallystick.cli.words import name_of
from tallystick.integrity.checked_chain import CheckedChain, Coverage
from tallystick.storage.file_statement import FileStatement, Readable, describe_stream


class Covering(Struct):
    """A certificate that covers the file, and where it stands."""

    id: str
    issuer: str
    issuer_key: str
    timestamp_ms: int
    block_index: int
    block_timestamp_ms: int
    position: int
    payload_hash: str
    certified_name: str


class CoveringCertificate(Covering):
    """With its RFC 6962 proof of inclusion in the ledger's log."""

    leaf_index: int
    proof: list[str]


class FileCheck(Struct):
    """What the chain says about a file's bytes."""

    name: str
    size_bytes: int
    sha256: str
    certificates: list[CoveringCertificate]
    other_versions: list[str]
    """SHA-256 of files that are certified under the same name and are not these bytes."""

    @property
    def is_covered(self) -> bool:
        """Whether at least one certificate covers these very bytes."""
        return bool(self.certificates)


def check_file(chain: CheckedChain, statement: FileStatement, names: Mapping[bytes, str]) -> FileCheck:
    """Look a file up on a chain that was checked. Raises `DamagedStore`."""
    covering = [_covering(one, names) for one in chain.covering(statement)]
    namesakes = {other.sha256.hex(): None for other, _ in chain.files if other.name == statement.name}
    namesakes.pop(statement.sha256.hex(), None)
    return FileCheck(statement.name, statement.size_bytes, statement.sha256.hex(), covering, list(namesakes))


def with_one_byte_changed(path: Path, size_bytes: int) -> FileStatement:
    """What the file would be described as with one bit of its middle byte turned; the file itself stays as it is."""
    with path.open("rb") as stream:
        return describe_stream(path.name, _OneByteChanged(stream, size_bytes // 2))


class _OneByteChanged:
    def __init__(self, stream: Any, place: int) -> None:
        self._stream: Readable = stream
        self._left = place

    def read(self, size_bytes: int, /) -> bytes:
        chunk = bytearray(self._stream.read(size_bytes) or b"")
        if 0 <= self._left < len(chunk):
            chunk[self._left] ^= 1
        self._left -= len(chunk)
        return bytes(chunk)


def _covering(coverage: Coverage, names: Mapping[bytes, str]) -> CoveringCertificate:
    block, certificate = coverage.found.block, coverage.found.certificate
    return CoveringCertificate(
        id=certificate.id.hex(),
        issuer=name_of(certificate.issuer, names),
        issuer_key=certificate.issuer.hex(),
        timestamp_ms=certificate.timestamp_ms,
        block_index=block.index,
        block_timestamp_ms=block.header.timestamp_ms,
        position=coverage.found.position,
        payload_hash=(certificate.payload_hash or b"").hex(),
        certified_name=coverage.statement.name,
        leaf_index=coverage.leaf_index,
        proof=[one.hex() for one in coverage.proof],
    )
