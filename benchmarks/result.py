"""What a benchmark yields: figures with all their rounds, those not taken, and on what they were measured."""

import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from tallystick.host.batches import VERIFIER, verify_natively

FOLDER: Final = Path(__file__).parent / "results"
_ROOT: Final = FOLDER.parent.parent
LIBSODIUM: Final = "libsodium"


class Goal(Struct, frozen=True, forbid_unknown_fields=True):
    """What a figure's median is to be, at least or at most."""

    bound: float
    is_least: bool

    def is_met(self, median: float) -> bool:
        """Whether this median is on the right side."""
        return median >= self.bound if self.is_least else median <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.is_least else '≤'} {number(self.bound)}"


class Figure(Struct, frozen=True, forbid_unknown_fields=True):
    """One figure. Those of one name that differ in `at` are a curve."""

    name: str
    compared: str
    """What is measured, or over what."""
    unit: str
    """Empty: a ratio."""
    median: float
    low: float
    high: float
    rounds: tuple[float, ...]
    goal: Goal | None = None
    at: float | None = None
    """The length, size or count that it was taken at."""


class Absent(Struct, frozen=True, forbid_unknown_fields=True):
    """A figure that was not taken."""

    name: str
    reason: str


class Result(Struct, frozen=True, forbid_unknown_fields=True):
    """One run of a benchmark."""

    benchmark: str
    commit: str
    """With a `+` when the working copy differed from it."""
    taken_at: str
    processor: str
    cores: int
    python: str
    verifier: str
    figures: tuple[Figure, ...]
    absent: tuple[Absent, ...]
    is_quick: bool = False
    """Whether it had fewer or smaller rounds than a full run."""

    @property
    def is_native(self) -> bool:
        """Whether signatures were verified in batches."""
        return not self.verifier.startswith(LIBSODIUM)

    @property
    def path(self) -> Path:
        """Where it is kept: one file a benchmark, verifier and kind of run."""
        return FOLDER / f"{self.benchmark}{'.native' if self.is_native else ''}{'.quick' if self.is_quick else ''}.json"

    def write(self) -> None:
        """Keep it in place of the one before."""
        FOLDER.mkdir(exist_ok=True)
        data = msgspec.json.format(msgspec.json.encode(self), indent=1)
        new = self.path.with_suffix(".new")
        new.write_bytes(data + b"\n")
        new.replace(self.path)


def figure(
    name: str,
    compared: str,
    rounds: Iterable[float],
    unit: str = "",
    *,
    goal: Goal | None = None,
    at: float | None = None,
) -> Figure:
    """A figure of what each round gave."""
    taken = tuple(float(f"{one:.5g}") for one in rounds)
    return Figure(name, compared, unit, statistics.median(taken), min(taken), max(taken), taken, goal, at)


def at_least(bound: float, *, native: float | None = None) -> Goal:
    """This, or what is asked of the native verifier when that is at work."""
    return Goal(_bound(bound, native), is_least=True)


def at_most(bound: float, *, native: float | None = None) -> Goal:
    """This, or what is asked of the native verifier when that is at work."""
    return Goal(_bound(bound, native), is_least=False)


def _bound(bound: float, native: float | None) -> float:
    return bound if native is None or verifier().startswith(LIBSODIUM) else native


def verifier() -> str:
    """What verifies signatures in the nodes of this run, and its version."""
    return f"{LIBSODIUM} of PyNaCl {version('PyNaCl')}" if verify_natively is None else VERIFIER


def result(benchmark: str, taken: Sequence[Figure | Absent], *, is_quick: bool = False) -> Result:
    """What was taken just now, on this machine."""
    return Result(
        benchmark,
        _commit(),
        datetime.now(UTC).isoformat(timespec="seconds"),
        _processor(),
        os.cpu_count() or 1,
        platform.python_version(),
        verifier(),
        tuple(one for one in taken if isinstance(one, Figure)),
        tuple(one for one in taken if isinstance(one, Absent)),
        is_quick,
    )


def read_results() -> list[Result]:
    """All that are kept."""
    return [msgspec.json.decode(one.read_bytes(), type=Result) for one in sorted(FOLDER.glob("*.json"))]


def number(value: float) -> str:
    """With as many digits as tell something."""
    size = abs(value)
    if size >= 100 or value == round(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.2g}"


def _commit() -> str:
    """The commit of the working copy, and whether anything but results differs from it."""
    git = ["git", "-C", str(_ROOT)]
    try:
        short = subprocess.run([*git, "rev-parse", "--short=7", "HEAD"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ".", ":!benchmarks/results"], check=False)
    return f"{short.stdout.strip()}{'+' if changed.returncode else ''}"


def _processor() -> str:
    """The model's name, and what of its instructions batches of signatures can use (Linux)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = [one for one in ("avx2", "avx512ifma") if one in told.get("flags", "").split()]
    model = f"family {told.get('cpu family', '?')} model {told.get('model', '?')}"
    return ", ".join([f"{told.get('model name', platform.machine())} ({model})", *flags])
