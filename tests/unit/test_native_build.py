"""`make fast`: what the native module is built of is locked, and who lacks cargo is told so."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from shutil import which

import pytest
from tests.working_copy import ROOT
from tools import build_native

from tallystick.host.batches import verify_natively

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


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (None, "there is none here"),
        ("echo 'cargo 1.75.0 (1d8b05cdd 2023-11-20)'", "this is cargo 1.75"),
        (
            "echo 'rustup could not choose a version' >&2; exit 1",
            "rustup could not choose a version\ntallystick-native",
        ),
        ("echo 'rustup could not choose a version' >&2; exit 1", "the one here does not run, as it says above"),
    ],
)
def test_who_lacks_cargo_is_told_what_to_do(script: str | None, told: str, tmp_path: Path) -> None:
    if script is not None:
        program(tmp_path / "cargo", script)
    command = [sys.executable, str(ROOT / "tools" / "build_native.py")]
    env = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Rust 1.89 or newer" in done.stderr
    assert "Tallystick works without" in done.stderr
    assert "Traceback" not in done.stderr


def test_flags_of_the_environment_do_not_replace_those_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "cargo", f"env > '{tmp_path}/seen'")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    names = {"RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET"}
    for name in names:
        monkeypatch.setenv(name, "of the environment")
    build_native.cargo("build")
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines() if "=" in line)
    assert not names & set(seen)
    assert seen["PYO3_PYTHON"] == sys.executable
    assert seen["PATH"] == os.environ["PATH"]


def test_a_library_that_does_not_load_is_not_installed(tmp_path: Path) -> None:
    built, installed = tmp_path / "built.so", tmp_path / "installed" / "tallystick_native.abi3.so"
    installed.parent.mkdir()
    built.write_bytes(b"no library")
    installed.write_bytes(b"the one before")
    with pytest.raises(SystemExit, match=r"ImportError[\s\S]*does not load.*Nothing was installed"):
        build_native.install(built, installed)
    assert installed.read_bytes() == b"the one before"
    assert list(installed.parent.iterdir()) == [installed]


@pytest.mark.skipif(
    verify_natively is None, reason="the native module is not built: run `make fast`, which needs cargo"
)
def test_the_library_is_installed_and_told_of(tmp_path: Path) -> None:
    import tallystick_native  # noqa: PLC0415  # not every machine has it

    built, installed = Path(tallystick_native.__file__), tmp_path / "tallystick_native.abi3.so"
    told = build_native.install(built, installed)
    assert told == (tallystick_native.VERSION, tallystick_native.arithmetic())
    assert installed.read_bytes() == built.read_bytes()


CARGO_LOCK = build_native.CARGO_LOCK


def runs_cargo() -> bool:
    """It may be there and not run: rustup needs to be told of a toolchain."""
    asks = ["cargo", "--version"]
    return which("cargo") is not None and subprocess.run(asks, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(
    not CARGO_LOCK.exists() or not runs_cargo(), reason="no cargo, or `make fast` did not run: NO TESTS IN RUST"
)
def test_the_tests_in_rust_pass() -> None:
    build_native.cargo("test", "--release", "--locked", "--offline", "--quiet", "--target-dir", "target")


def test_the_locks_are_left_alone_where_cargo_is_missing() -> None:
    """`make lock` asks for cargo before it writes any of them."""
    shown = subprocess.run(["make", "-n", "lock"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert 0 < shown.index("build_native.py --lock") < shown.index("pip compile")


def test_a_native_module_that_cannot_be_built_does_not_end_the_checks(tmp_path: Path) -> None:
    """As where cargo is too old, or cannot reach its registry."""
    (line,) = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if "make fast" in line]
    program(tmp_path / "make", "exit 2")
    program(tmp_path / "cargo", "exit 1")
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "-euo", "pipefail", "-c", f"{line}\necho goes on"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["The native module is not built: its tests are skipped", "goes on"]
