"""The key file: made once, for its owner's eyes alone, and refused otherwise."""

import json
import os
import stat
from pathlib import Path

import pytest
from tests.builders import ADA, refuses

from tallystick.host.data_folder import DataFolder
from tallystick.host.founding import make_key
from tallystick.host.key_file import ENTROPY_BYTES, create_key_file, open_key_file, read_sealed, seal, write_sealed
from tallystick.ledger.errors import Rule
from tallystick.ledger.wallet import Wallet
from tallystick.problems import KeyFileError

PASSPHRASE = "correct horse battery staple"
SEALED = seal(ADA, PASSPHRASE, bytes(ENTROPY_BYTES), "interactive")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ada.key"


def test_a_key_comes_back_from_its_file(path: Path) -> None:
    create_key_file(path, ADA, PASSPHRASE, "interactive")
    assert open_key_file(path, PASSPHRASE).public_key == ADA.public_key
    with refuses(Rule.K4):
        open_key_file(path, "wrong")


@pytest.mark.parametrize(("passphrase", "strength"), [("", "minimal"), (PASSPHRASE, "interactive")])
def test_time_is_spent_on_sealing_where_there_is_a_passphrase_to_guess(
    tmp_path: Path, passphrase: str, strength: str
) -> None:
    wallet = make_key(DataFolder(tmp_path / "node"), passphrase, "interactive")
    path = tmp_path / "node" / "key"
    assert json.loads(path.read_text())["kdf"] == f"argon2id-{strength}"
    assert open_key_file(path, passphrase).public_key == wallet.public_key


def test_two_files_of_one_key_have_nothing_secret_in_common(tmp_path: Path) -> None:
    for name in ("one", "two"):
        create_key_file(tmp_path / name, ADA, PASSPHRASE, "interactive")
    one, two = ((tmp_path / name).read_text().splitlines() for name in ("one", "two"))
    different = {line.split('"')[1] for line, other in zip(one, two, strict=True) if line != other}
    assert different == {"salt", "nonce", "sealed_seed"}


def test_a_key_file_is_its_owners_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        write_sealed(path, SEALED)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_existing_key_is_never_overwritten(path: Path) -> None:
    write_sealed(path, SEALED)
    with pytest.raises(KeyFileError, match="exists already, and a key is never overwritten"):
        create_key_file(path, Wallet(bytes(32)), PASSPHRASE, "interactive")
    assert path.read_bytes() == SEALED


def test_a_key_is_not_written_through_a_symbolic_link(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.symlink_to(target)
    with pytest.raises(KeyFileError, match="exists already"):
        write_sealed(path, SEALED)
    assert not target.exists()


def test_half_a_key_is_not_left_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyFileError, match="No space left on device; nothing was kept"):
        write_sealed(path, SEALED)
    assert not path.exists()


def test_a_key_for_a_folder_that_is_not_there_is_refused(path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"cannot be made: .*; name a folder"):
        write_sealed(path / "ada.key", SEALED)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o666])
def test_a_key_file_that_others_may_use_is_refused(path: Path, mode: int) -> None:
    """K3."""
    write_sealed(path, SEALED)
    path.chmod(mode)
    with refuses(Rule.K3):
        read_sealed(path)
    with refuses(Rule.K3):
        open_key_file(path, PASSPHRASE)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_key_file_of_its_owners_alone_is_read(path: Path, mode: int) -> None:
    write_sealed(path, SEALED)
    path.chmod(mode)
    assert read_sealed(path) == SEALED


def test_the_refusal_says_what_to_run(path: Path) -> None:
    write_sealed(path, SEALED)
    path.chmod(0o644)
    with pytest.raises(ValueError, match=r"has mode 0644, so others may read it; run: chmod 600 .*ada\.key"):
        read_sealed(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_file_of_somebody_else_is_refused(path: Path) -> None:
    """K3."""
    write_sealed(path, SEALED)
    os.chown(path, 12345, 12345)
    with refuses(Rule.K3):
        read_sealed(path)


def test_a_symbolic_link_is_judged_by_what_it_leads_to(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.key"
    link.symlink_to(path)
    write_sealed(path, SEALED)
    assert read_sealed(link) == SEALED
    path.chmod(0o644)
    with refuses(Rule.K3):
        read_sealed(link)


@pytest.mark.parametrize("odd", ["/dev/zero", "/", "."])
def test_a_link_to_something_odd_is_refused(path: Path, odd: str) -> None:
    path.symlink_to(odd)
    with refuses(Rule.E2):
        read_sealed(path)


def test_a_link_to_itself_a_pipe_and_a_directory_are_refused(path: Path, tmp_path: Path) -> None:
    path.symlink_to(path)
    with refuses(Rule.E2):
        read_sealed(path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with refuses(Rule.E2):
        read_sealed(pipe)  # and does not wait for anybody to write to it
    with refuses(Rule.E2):
        read_sealed(tmp_path)


@pytest.mark.parametrize(
    ("content", "rule"),
    [(b"x" * 5000, Rule.E1), (b"x" * 2000, Rule.E1), (b"", Rule.E2), (b"\xff\xfe", Rule.E2), (b"{}", Rule.E2)],
)
def test_what_is_no_key_is_refused(path: Path, content: bytes, rule: Rule) -> None:
    write_sealed(path, content)
    with refuses(rule):
        open_key_file(path, PASSPHRASE)


def test_a_missing_key_file_is_told(path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"there is no key file .*; check its name"):
        read_sealed(path)
