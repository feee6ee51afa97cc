"""Other people's tools read a whole mirror: tessera's fsck and torchwood accept it, and refuse a damaged one."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.judges import Fsck, Judges
from tests.mirrors import grow, publish
from tests.proving import ProvenLedger

from tallystick.ledger.checkpoint import log_key
from tallystick.storage.mirror import ENTRIES, Part, tile_path

CERTIFICATES = 70_000
BLOCK = 3_500
_REFUSING_S = 10.0
"""Of a damaged log fsck says so at once, and never ends."""


class Mirrored:
    """A mirror, and the key of a member, who signs as its log."""

    def __init__(self, folder: Path, ledger: ProvenLedger) -> None:
        self.folder, self.size = folder, ledger.scribe.state.log.size
        self.key = log_key(ledger.genesis.origin, ledger.epoch.members[0][0]).text


@pytest.fixture(scope="module")
def mirrored() -> Iterator[Mirrored]:
    """Of 70,000 certificates, in large blocks; it was written in two runs."""
    with tempfile.TemporaryDirectory() as name:
        ledger = ProvenLedger(Path(name) / "ledger.db")
        for first in range(0, CERTIFICATES, BLOCK):
            grow(ledger, BLOCK)
            if first == 3 * BLOCK:
                publish(ledger, Path(name) / "mirror")
        publish(ledger, Path(name) / "mirror")
        yield Mirrored(Path(name) / "mirror", ledger)


def test_others_accept_a_mirror_of_70_000_certificates(mirrored: Mirrored, judges: Judges, fsck: Fsck) -> None:
    assert mirrored.size == CERTIFICATES
    assert judges.mirror(mirrored.folder, mirrored.key) == f"ok {CERTIFICATES}"
    assert fsck.accepts(mirrored.folder, mirrored.key)


def test_others_accept_a_mirror_that_is_smaller_than_a_tile(tmp_path: Path, judges: Judges, fsck: Fsck) -> None:
    ledger = ProvenLedger(tmp_path / "ledger.db")
    grow(ledger, 1, 4)
    publish(ledger, tmp_path / "mirror")
    small = Mirrored(tmp_path / "mirror", ledger)
    assert judges.mirror(small.folder, small.key) == "ok 5"
    assert fsck.accepts(small.folder, small.key)


def flip(path: Path) -> None:
    """Another byte in its middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [flip, Path.unlink], ids=["a byte", "lost"])
@pytest.mark.parametrize(
    "path",
    [tile_path(0, 7), tile_path(1, 1, 17), Part(ENTRIES, 7, 256).path, Part(ENTRIES, 273, 112).path],
)
def test_others_refuse_a_damaged_mirror(
    mirrored: Mirrored, judges: Judges, fsck: Fsck, tmp_path: Path, damage: Callable[[Path], None], path: str
) -> None:
    shutil.copytree(mirrored.folder, tmp_path / "mirror")
    damage(tmp_path / "mirror" / path)
    assert not judges.mirror(tmp_path / "mirror", mirrored.key).startswith("ok")
    assert not fsck.accepts(tmp_path / "mirror", mirrored.key, _REFUSING_S)
