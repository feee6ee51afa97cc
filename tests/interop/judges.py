"""Other people's verifiers as judges: two programs in Go of tlog-proofs, many a run, and two of whole logs in tiles."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCES = Path(__file__).parent
QUICKLY = ("-gcflags=all=-N -l", "-ldflags=-s")
"""How to build what runs for a second: without optimising, and without what debuggers want, in half of the time."""
OURS_TO_MEND = ("go.sum", "checksum mismatch", "updates to go.mod needed")
"""What Go says of modules that are listed wrongly, or that are not those that were listed: no reason to skip."""


_JUDGES = ("torchwood_judge", "formats_judge", "mirror_judge")
_FSCK = "github.com/transparency-dev/tessera/cmd/fsck@v1.0.4"
_FSCK_SECONDS = 120
"""On a damaged log it would go on for ever."""


class NoJudges(Exception):
    """This machine cannot build the judges."""


@dataclass(frozen=True, slots=True)
class Judges:
    """Each takes a policy, and leaves with their proofs; says "ok", or why it refuses, of each in turn.

    A proof that is no valid UTF-8 is given as text by `surrogateescape`.
    """

    folder: Path

    def torchwood(self, policy: str, cases: list[tuple[bytes, str]]) -> list[str]:
        """Ask filippo.io/torchwood."""
        return self._ask("torchwood_judge", policy, cases)

    def formats(self, policy: str, cases: list[tuple[bytes, str]]) -> list[str]:
        """Ask github.com/transparency-dev/formats."""
        return self._ask("formats_judge", policy, cases)

    def mirror(self, folder: Path, key: str) -> str:
        """Ask filippo.io/torchwood of a whole log in a folder: "ok" and the number of entries, or why not."""
        ran = subprocess.run(
            [self.folder / "mirror_judge", folder, key], capture_output=True, check=True, text=True, timeout=120
        )
        return ran.stdout.strip()

    def _ask(self, judge: str, policy: str, cases: list[tuple[bytes, str]]) -> list[str]:
        with TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "policy").write_bytes(policy.encode())
            lines = []
            for number, (leaf, proof) in enumerate(cases):
                paths = (folder / "policy", folder / f"{number}.leaf", folder / f"{number}.tlog-proof")
                paths[1].write_bytes(leaf)
                paths[2].write_bytes(proof.encode(errors="surrogateescape"))
                lines.append("\t".join(map(str, paths)) + "\n")
            ran = subprocess.run(
                [self.folder / judge],
                input="".join(lines).encode(),
                capture_output=True,
                check=False,
                timeout=120,  # torchwood never ends on a signed tree of more than 2^62 leaves
            )
        said = ran.stdout.decode(errors="backslashreplace").splitlines()
        if ran.returncode or len(said) != len(cases):
            raise RuntimeError(f"{judge} judged {len(said)} of {len(cases)} proofs: {ran.stderr.decode()}")
        return said


def build_judges(folder: Path) -> Judges:
    """Build them into a folder; raise NoJudges without Go, or without a way to its modules."""
    for name in _JUDGES:
        build_program(name, folder)
    return Judges(folder)


def build_program(name: str, folder: Path) -> Path:
    """Build one of the programs in Go that stand beside this file; raise NoJudges as `build_judges`."""
    go, environment = _go(folder)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [go, *arguments], cwd=SOURCES / name, env=environment, capture_output=True, check=False, text=True
        )

    loaded = run("list", "-deps", ".")
    if loaded.returncode and not any(words in loaded.stderr for words in OURS_TO_MEND):
        raise NoJudges(f"Go cannot load the modules of {name}: {' '.join(loaded.stderr.split())}")
    built = run("build", "-buildvcs=false", *QUICKLY, "-o", str(folder / name), ".")
    if built.returncode:
        raise RuntimeError(f"{name} cannot be built: {built.stderr.strip()}")
    return folder / name


@dataclass(frozen=True, slots=True)
class Fsck:
    """Tessera's program that checks a whole log in tiles."""

    program: Path

    def accepts(self, folder: Path, key: str, patience_s: float = _FSCK_SECONDS) -> bool:
        """Whether it says so; of a damaged log it says nothing at the end, or comes to none."""
        with TemporaryDirectory() as scratch:
            (Path(scratch) / "key").write_text(key)
            asked = [str(self.program), f"--storage_url=file://{folder}/", f"--public_key={scratch}/key", "--ui=false"]
            try:
                ran = subprocess.run(asked, capture_output=True, check=False, text=True, timeout=patience_s)
            except subprocess.TimeoutExpired:
                return False
        return "Successfully fsck'd" in ran.stdout + ran.stderr


def install_fsck(folder: Path) -> Fsck:
    """Install it into a folder, in the version that is named here; raise NoJudges where that cannot be."""
    go, environment = _go(folder)
    environment |= {"GOBIN": str(folder), "GOFLAGS": "-modcacherw"}
    ran = subprocess.run([go, "install", *QUICKLY, _FSCK], env=environment, capture_output=True, check=False, text=True)
    if ran.returncode:
        raise NoJudges(f"Go cannot install {_FSCK}: {' '.join(ran.stderr.split())[-500:]}")
    return Fsck(folder / "fsck")


def _go(folder: Path) -> tuple[str, dict[str, str]]:
    """Go, and the environment that it runs in."""
    go = shutil.which("go")
    if go is None:
        raise NoJudges("there is no `go` on this machine")
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -modcacherw", "GOWORK": "off"}
    environment["CGO_ENABLED"] = "0"  # none of them needs C, which takes a compiler more
    if not Path(environment.get("HOME", "")).is_absolute():  # where Go keeps what it has fetched and built
        environment |= {"GOCACHE": str(folder / "cache"), "GOPATH": str(folder / "path")}
    return go, environment
