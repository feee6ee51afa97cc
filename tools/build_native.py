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

LOAD = """
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
loader = ExtensionFileLoader("tallystick_native", sys.argv[1])
module = module_from_spec(spec_from_loader("tallystick_native", loader))
loader.exec_module(module)
print(module.VERSION, module.arithmetic())
"""
"""Loads a library from a file of any name, and tells of it."""

REPLACES_CONFIGURATION = {
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
}
"""In an environment, these replace the flags of native/.cargo/config.toml, or where the library is found."""

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
    version, arithmetic = install(built, Path(sysconfig.get_path("platlib"), "tallystick_native.abi3.so"))
    print(f"Installed tallystick-native {version}: signatures are verified in batches, with {arithmetic}")


def install(built: Path, installed: Path) -> tuple[str, str]:
    """Install the library, whole and only if it loads; returns its version and what it computes with."""
    part = installed.with_suffix(".part")
    with built.open("rb") as source, part.open("wb") as target:
        shutil.copyfileobj(source, target)
        target.flush()
        os.fsync(target.fileno())
    loaded = subprocess.run([sys.executable, "-c", LOAD, part], check=False, capture_output=True, text=True)
    if loaded.returncode:
        part.unlink()
        sys.exit(f"{loaded.stderr}The library that was built does not load, as said above. Nothing was installed.")
    part.replace(installed)  # a node that runs keeps the file it has loaded
    version, _, arithmetic = loaded.stdout.strip().partition(" ")
    return version, arithmetic


def check_cargo() -> None:
    """End with what to do when cargo is not there, does not run, or is older than native/Cargo.toml asks for."""
    asked = re.search(r'^rust-version = "(\d+)\.(\d+)"', (NATIVE / "Cargo.toml").read_text(), flags=re.MULTILINE)
    assert asked
    found, here = None, "there is none here"
    if shutil.which("cargo"):
        said = subprocess.run(["cargo", "--version"], check=False, capture_output=True, text=True, cwd=NATIVE)
        found = re.match(r"cargo (\d+)\.(\d+)", said.stdout)
        here = f"this is {found[0]}" if found else "the one here does not run, as it says above"
        if not found:
            print(said.stderr.strip() or said.stdout.strip(), file=sys.stderr)
    if found is None or tuple(map(int, found.groups())) < tuple(map(int, asked.groups())):
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
    environment = {name: value for name, value in os.environ.items() if name not in REPLACES_CONFIGURATION}
    environment["PYO3_PYTHON"] = sys.executable
    try:
        subprocess.run(["cargo", *arguments], check=True, cwd=NATIVE, env=environment)
    except subprocess.CalledProcessError as error:
        sys.exit(f"cargo {arguments[0]} has failed with {error.returncode}; what it prints above says why")


if __name__ == "__main__":
    main()
