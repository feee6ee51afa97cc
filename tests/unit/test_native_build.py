"""`make fast`: what the native module is built of is locked, and who lacks cargo is told so. No compiler runs here."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.working_copy import ROOT
from tools import build_native

LOCK = tomllib.loads(build_native.LOCK.read_text())
ADDRESS = 'source = "registry+https://registry.example/index"\n'


def test_the_lock_has_exact_versions_with_checksums_and_no_address() -> None:
    assert "://" not in build_native.LOCK.read_text()
    ours = [one for one in LOCK["package"] if one["name"] == "tallystick-native"]
    others = [one for one in LOCK["package"] if one["name"] != "tallystick-native"]
    assert len(ours) == 1
    assert len(others) > 10
    assert all(len(bytes.fromhex(one["checksum"])) == 32 for one in others)


def test_the_lock_is_of_what_the_module_asks_for() -> None:
    asked = tomllib.loads((ROOT / "native" / "Cargo.toml").read_text())
    (ours,) = [one for one in LOCK["package"] if one["name"] == "tallystick-native"]
    assert sorted(asked["dependencies"]) == sorted(ours["dependencies"])
    assert asked["package"]["version"] == ours["version"]


def test_cargo_gets_the_locked_versions_at_the_registry_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it would have taken others; and it is asked once."""
    monkeypatch.setattr(build_native, "CARGO_LOCK", tmp_path / "Cargo.lock")
    asked: list[str] = []

    def resolve(*arguments: str) -> None:
        asked.append(arguments[0])
        newer = f'[[package]]\nname = "libc"\nversion = "99.0.0"\n{ADDRESS}checksum = "{"ab" * 32}"\n'
        (tmp_path / "Cargo.lock").write_text(newer)

    monkeypatch.setattr(build_native, "cargo", resolve)
    build_native.write_cargo_lock()
    written = (tmp_path / "Cargo.lock").read_text()
    assert written.count(ADDRESS) == sum("checksum" in one for one in LOCK["package"])
    assert build_native.without_address(written) == build_native.LOCK.read_text()
    assert {one["source"] for one in tomllib.loads(written)["package"] if "checksum" in one} == {ADDRESS[10:-2]}
    build_native.write_cargo_lock()
    assert asked == ["generate-lockfile"]


@pytest.mark.parametrize(
    ("said", "told"), [(None, "there is none here"), ("cargo 1.75.0 (1d8b05cdd 2023-11-20)", "this is cargo 1.75")]
)
def test_who_lacks_cargo_is_told_what_to_do(said: str | None, told: str, tmp_path: Path) -> None:
    if said is not None:
        (tmp_path / "cargo").write_text(f"#!/bin/sh\necho '{said}'\n")
        (tmp_path / "cargo").chmod(0o755)
    command = [sys.executable, str(ROOT / "tools" / "build_native.py")]
    env = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Rust 1.89 or newer" in done.stderr
    assert "Tallystick works without" in done.stderr
    assert "Traceback" not in done.stderr
