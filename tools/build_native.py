"""Build tallystick-native from native/ with cargo, into the environment of the Python that runs this (`make fast`).

    python tools/build_native.py
    python tools/build_native.py --lock

The first builds exactly what locks/native.lock lists. That is cargo's own lock, but for the address of its registry,
which no lock here has: cargo is asked for it. The second resolves that lock anew (`make lock`). Exits 1 when something
is missing, and says what.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "native"
LOCK = ROOT / "locks" / "native.lock"
CARGO_LOCK = NATIVE / "Cargo.lock"

SOURCE = re.compile(r"^source = .*\n", flags=re.MULTILINE)
CHECKSUM = re.compile(r"^checksum = ", flags=re.MULTILINE)


def main() -> None:
    """Build and install, or lock."""
    check_cargo()
    if sys.argv[1:] == ["--lock"]:
        cargo("update")
        LOCK.write_text(without_address(CARGO_LOCK.read_text(encoding="utf-8")), encoding="utf-8")
        return
    write_cargo_lock()
    cargo("build", "--release", "--locked", "--target-dir", "target")
    built = next(path for path in (NATIVE / "target" / "release").iterdir() if path.suffix in (".so", ".dylib"))
    installed = Path(sysconfig.get_path("platlib"), "tallystick_native.abi3.so")
    part = installed.with_suffix(".part")
    shutil.copyfile(built, part)
    part.replace(installed)  # a node that runs keeps the file it has loaded
    command = [sys.executable, "-c", "from tallystick_native import VERSION, arithmetic; print(VERSION, arithmetic())"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().partition(" ")
    print(f"Installed tallystick-native {told[0]}: signatures are verified in batches, with {told[2]}")


def check_cargo() -> None:
    """End with what to do when cargo is not there, or older than native/Cargo.toml asks for."""
    asked = re.search(r'^rust-version = "(\d+)\.(\d+)"', (NATIVE / "Cargo.toml").read_text(), flags=re.MULTILINE)
    assert asked
    found = None
    if shutil.which("cargo"):
        said = subprocess.run(["cargo", "--version"], check=False, capture_output=True, text=True, cwd=NATIVE).stdout
        found = re.match(r"cargo (\d+)\.(\d+)", said)
    if found is None or tuple(map(int, found.groups())) < tuple(map(int, asked.groups())):
        here = f"this is {found[0]}" if found else "there is none here"
        sys.exit(
            f"tallystick-native is built by cargo, of Rust {asked[1]}.{asked[2]} or newer, and {here}. Install Rust "
            "and a C linker, and run this again.\n"
            "Nothing was changed: Tallystick works without, with the same verdicts, and takes longer to verify."
        )


def write_cargo_lock() -> None:
    """Give cargo its lock, unless it has it. Needs a way to cargo's registry, as does the first build."""
    pinned = LOCK.read_text(encoding="utf-8")
    if CARGO_LOCK.exists() and without_address(CARGO_LOCK.read_text(encoding="utf-8")) == pinned:
        return
    cargo("generate-lockfile", "--quiet")
    found = SOURCE.search(CARGO_LOCK.read_text(encoding="utf-8"))
    assert found, "cargo names no registry in its lock"
    CARGO_LOCK.write_text(CHECKSUM.sub(lambda checksum: found[0] + checksum[0], pinned), encoding="utf-8")


def without_address(lock: str) -> str:
    """A lock of cargo's as this project keeps it."""
    return SOURCE.sub("", lock)


def cargo(*arguments: str) -> None:
    """Run cargo in native/, where its configuration is; end when it fails, which it explains itself."""
    try:
        subprocess.run(["cargo", *arguments], check=True, cwd=NATIVE, env={**os.environ, "PYO3_PYTHON": sys.executable})
    except subprocess.CalledProcessError as error:
        sys.exit(f"cargo {arguments[0]} has failed with {error.returncode}; what it prints above says why")


if __name__ == "__main__":
    main()
