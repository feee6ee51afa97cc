"""Keys of ML-DSA-44: what they sign, and the files in which they are kept."""

import json
import stat
import sys

import pytest
from tests.builders import refuses
from tests.ml_dsa import LACKING

from tallystick.host import ml_dsa
from tallystick.host.key_file import ML_DSA, SecretKey, open_key_file, seal_secret, write_sealed
from tallystick.host.ml_dsa import (
    MlDsaWallet,
    NoMlDsa,
    create_ml_dsa_file,
    has_ml_dsa,
    ml_dsa_public_key,
    ml_dsa_verifier,
    open_ml_dsa_file,
)
from tallystick.ledger.errors import Rule
from tallystick.problems import KeyFileError

pytestmark = pytest.mark.skipif(not has_ml_dsa(), reason=LACKING)
SEED = bytes(range(32))


def verify(message, signature, public_key):
    verifier = ml_dsa_verifier()
    return verifier is not None and verifier(message, signature, public_key)


def test_what_a_key_signs_is_its_own_alone():
    wallet, other = MlDsaWallet(SEED), MlDsaWallet(bytes(32))
    signature = wallet.sign(b"message")
    assert (len(wallet.public_key), len(signature)) == (1_312, 2_420)
    assert verify(b"message", signature, wallet.public_key)
    assert verify(b"message", wallet.sign(b"message"), wallet.public_key)
    assert not verify(b"message.", signature, wallet.public_key)
    assert not verify(b"message", signature, other.public_key)
    assert not verify(b"message", signature[:-1], wallet.public_key)
    assert not verify(b"message", signature, wallet.public_key[:-1])
    assert not verify(b"message", bytes(2_420), bytes(1_312))


def test_a_key_file_is_its_owners_alone_and_opens_with_its_passphrase(tmp_path):
    path = tmp_path / "key.ml-dsa"
    made = create_ml_dsa_file(path, "open sesame", "minimal")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ml_dsa_public_key(path) == made.public_key == open_ml_dsa_file(path, "open sesame").public_key
    assert verify(b"x", open_ml_dsa_file(path, "open sesame").sign(b"x"), made.public_key)
    with refuses(Rule.K4, "wrong passphrase"):
        open_ml_dsa_file(path, "sesame")
    with pytest.raises(KeyFileError, match="never overwritten"):
        create_ml_dsa_file(path, "another", "minimal")
    path.chmod(0o640)
    with refuses(Rule.K3):
        open_ml_dsa_file(path, "open sesame")


def test_key_files_of_one_kind_are_none_of_the_other(tmp_path):
    path = tmp_path / "key.ml-dsa"
    create_ml_dsa_file(path, "", "minimal")
    with refuses(Rule.E1):
        open_key_file(path, "")
    short = json.loads(path.read_text())
    path.write_text(json.dumps({**short, "public_key": short["public_key"][:64]}))
    with refuses(Rule.E4, "tallystick-ml-dsa-key-v1"):
        open_key_file(path, "")
    with refuses(Rule.E2, "1,312 bytes"):
        open_ml_dsa_file(path, "")


def test_a_file_whose_seed_is_of_another_key_is_refused(tmp_path):
    for number, seed in enumerate((bytes(32), SEED[:-1], SEED + b"\x00")):
        path, secret = tmp_path / str(number), SecretKey(ML_DSA, seed, MlDsaWallet(SEED).public_key)
        write_sealed(path, seal_secret(secret, "", bytes(40), "minimal"))
        with refuses(Rule.K4):
            open_ml_dsa_file(path, "")


def test_without_the_library_it_is_said_what_to_install(tmp_path, monkeypatch):
    create_ml_dsa_file(path := tmp_path / "key.ml-dsa", "", "minimal")
    public_key = ml_dsa_public_key(path)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.mldsa", None)
    ml_dsa.has_ml_dsa.cache_clear()
    try:
        assert ml_dsa_verifier() is None
        assert ml_dsa_public_key(path) == public_key, "to know it takes none"
        with pytest.raises(NoMlDsa, match=r"install tallystick\[pq\]"):
            open_ml_dsa_file(path, "")
        with pytest.raises(NoMlDsa, match=r"install tallystick\[pq\]"):
            create_ml_dsa_file(tmp_path / "other", "", "minimal")
        assert not (tmp_path / "other").exists()
    finally:
        ml_dsa.has_ml_dsa.cache_clear()
