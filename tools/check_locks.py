"""Install each lock as a clone does, with each pip that a Python may bring: nothing is resolved, nothing is missing.

    python tools/check_locks.py

The packages are fetched once, by the newest pip. Each lock is then installed by the Makefile into an empty .venv of a
copy of the project, from an index in which every package has a later release than the locked one. Prints one line for
each install, and exits 1 when one has failed.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import Distribution, distributions
from itertools import product
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

# Debian 12 brings 23.0.1, the oldest. Like 23.2.1 of Python 3.11.7 it takes a pin of `coverage` for none of
# `coverage[toml]`.
NEWEST = "pip"
PIPS = ("pip==23.0.1", NEWEST)

# Which dependency groups of pyproject.toml a lock holds, beside what the package itself depends on.
GROUPS = {"runtime": ("build",), "dev": ("build", "dev"), "notebook": ("build", "notebook")}

HASHES = re.compile(r"( --hash=sha256:[0-9a-f]{64} *)+")


def read(lock: str) -> str:
    """The text of the lock named so."""
    return (ROOT / "locks" / f"{lock}.txt").read_text(encoding="utf-8")


def asked_for(lock: str) -> list[Requirement]:
    """What pyproject.toml has the lock named so bring."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = (project["dependency-groups"][group] for group in GROUPS[lock])
    return [Requirement(one) for one in sum(groups, project["project"]["dependencies"])]


def pins(text: str) -> list[Requirement]:
    """The requirements of a lock. Raises ValueError for what is not an exact version with its hashes."""
    found = []
    for line in re.sub(r"\\\n *", "", text).splitlines():
        if not line or line.startswith("#"):
            continue
        requirement, mark, hashes = line.partition(" --hash=")
        if not HASHES.fullmatch(mark + hashes.replace("--hash", " --hash")):
            raise ValueError(f"not a requirement with its hashes: {line[:80]}")
        pin = Requirement(requirement)
        if not re.fullmatch(r"==[^*,]+", str(pin.specifier)):
            raise ValueError(f"not an exact version: {requirement}")
        found.append(pin)
    return found


def gaps(lock: Iterable[Requirement], asked: Iterable[Requirement], installed: Iterable[Distribution]) -> Iterator[str]:
    """What the project or a package of the lock asks for on this machine, and the lock or the environment lacks."""
    locked = {canonicalize_name(pin.name): pin for pin in lock if applies(pin)}
    packages = {canonicalize_name(package.name): package for package in installed}
    wanted = [("the project", one) for one in asked if applies(one)]
    for name, pin in locked.items():
        if name in packages and pin.specifier.contains(packages[name].version, prereleases=True):
            requires = map(Requirement, packages[name].requires or ())
            wanted += [(str(pin), one) for one in requires if applies(one, pin.extras)]
        else:
            yield f"{pin} is not installed"
    for who, one in wanted:
        found = locked.get(canonicalize_name(one.name))
        if found is None:
            yield f"{who} asks for {one}, which the lock lacks"
        elif not (names(one) <= names(found) and one.specifier.contains(version(found), prereleases=True)):
            yield f"{who} asks for {one}, and the lock has {found}"


def applies(requirement: Requirement, extras: Iterable[str] = ()) -> bool:
    """Whether a package with these extras asks for it, with this Python on this machine."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def names(requirement: Requirement) -> set[str]:
    """Its extras, each in one spelling."""
    return {canonicalize_name(extra) for extra in requirement.extras}


def version(pin: Requirement) -> str:
    """The one version that a pin lets in."""
    return str(pin.specifier).removeprefix("==")


def fetch(folder: Path) -> None:
    """Fetch each pip into pips/ and the packages of all locks into wheels/, and make an index of them in index/."""
    for pip in PIPS:
        run([sys.executable, "-m", "pip", "--quiet", "install", "--target", str(folder / "pips" / pip), pip], folder)
    locks = [word for lock in GROUPS for word in ("--requirement", str(ROOT / "locks" / f"{lock}.txt"))]
    download = ["download", "--quiet", "--require-hashes", "--no-deps", "--dest", "wheels", *locks]
    newest = os.environ | {"PYTHONPATH": str(folder / "pips" / NEWEST)}
    run([sys.executable, "-m", "pip", *download], folder, newest)
    for file in (folder / "wheels").iterdir():
        name = canonicalize_name(re.split(r"-(?=\d)", file.name)[0])
        page = folder / "index" / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        later = f"{name.replace('-', '_')}-9999-py3-none-any.whl"  # not there: it must not even be looked at
        with page.open("a", encoding="utf-8") as links:
            links.writelines(f'<a href="{file.with_name(one).as_uri()}">{one}</a>\n' for one in (file.name, later))


def install(folder: Path, pip: str, lock: str) -> list[str]:
    """Install the lock with this pip into an empty .venv of a copy; what is missing or too much afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        clone = Path(name)
        copy_project(clone)
        venv = clone / ".venv"
        run([sys.executable, "-m", "venv", "--without-pip", str(venv)], clone)
        packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(venv)}))
        (packages / "pip.pth").write_text(str(folder / "pips" / pip), encoding="utf-8")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
        environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": (folder / "index").as_uri()}
        environment["PIP_COMPILE"] = "0"  # bytecode takes most of the time and says nothing here
        run(["make", "--silent", f".venv/.{lock}"], clone, environment)
        installed = list(distributions(path=[str(packages)]))
        locked = pins(read(lock))
        expected = {canonicalize_name(one.name) for one in locked} | {"tallystick"}
        surplus = sorted({canonicalize_name(one.name) for one in installed} - expected)
        faults = list(gaps(locked, asked_for(lock), installed))
        return faults + [f"{one} is installed, and not in the lock" for one in surplus]


def copy_project(folder: Path) -> None:
    """Copy what the Makefile installs."""
    listing = ["git", "-C", str(ROOT), "ls-files", "Makefile", "LICENSE", "README.md", "pyproject.toml", "locks", "src"]
    for name in subprocess.run(listing, capture_output=True, check=True, text=True).stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())


def run(command: list[str], folder: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Run the command in that folder. Raises RuntimeError with what it printed if it fails."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def outcome(folder: Path, pip: str, lock: str) -> list[str]:
    """What is wrong with that install, also when it failed altogether."""
    try:
        return install(folder, pip, lock)
    except RuntimeError as failed:
        return str(failed).splitlines()


def in_memory() -> str | None:
    """The folder of shared memory if it has room: a disk makes all of this take half as long again."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > 4 << 30 else None


def main() -> None:
    failed = False
    with tempfile.TemporaryDirectory(dir=in_memory()) as name, ThreadPoolExecutor(os.cpu_count()) as threads:
        fetch(Path(name))
        installs = list(product(PIPS, GROUPS))
        outcomes = threads.map(lambda one: outcome(Path(name), *one), installs)
        for (pip, lock), faults in zip(installs, outcomes, strict=True):
            print(f"{pip}: locks/{lock}.txt", "FAILED" if faults else "installed", flush=True)
            print(*(f"  {fault}\n" for fault in faults), sep="", end="")
            failed |= bool(faults)
    sys.exit(failed)


if __name__ == "__main__":
    main()
