"""The package as it is given out: built, complete, and run from a venv that has nothing else of this project."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.integration.network import short_folder
from tests.ports import drawn_port
from tests.proving import ProvenLedger, short_epochs
from tests.working_copy import ROOT, copy_to, tracked
from tools.check_locks import applies, pins, read

from tallystick.storage.described_files import describe_file

NOBODY = 65_534
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the wheel and the source archive."""
    clone = copy_to(tmp_path_factory.mktemp("build") / "clone")
    command = [sys.executable, "-m", "build", "--no-isolation"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return clone / "dist"


@pytest.fixture(scope="module")
def environment(built: Path) -> Iterator[Path]:
    """The `bin` of a venv with the wheel and what it asks for; other users may run it, too."""
    with short_folder() as shared:
        shared.chmod(0o755)
        umask = os.umask(0o022)
        try:
            filled = _filled(shared / "venv", next(built.glob("*.whl")))
        finally:
            os.umask(umask)
        yield filled


def _filled(folder: Path, wheel: Path) -> Path:
    """The packages are those that run the tests, in the lock's versions: `make check-locks` installs from the index."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    for pin in filter(applies, pins(read("runtime"))):
        installed = distribution(pin.name)
        assert pin.specifier.contains(installed.version, prereleases=True), f"{pin}, not {installed.version}"
        for file in installed.files or ():
            if ".." not in file.parts:  # a command of its own
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file.locate(), packages / file)  # bytecode is told by the time whether it is as old
                (packages / file).chmod(0o644)

    def pip(*args: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), *args]
        done = subprocess.run(command, env=clean(), capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    pip("install", "--quiet", "--no-deps", "--no-compile", str(wheel))
    pip("check")
    return folder / "bin"


def clean() -> dict[str, str]:
    """The environment, without what would let another copy of the package in."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def modules() -> set[str]:
    return {name.removeprefix("src/") for name in tracked() if name.startswith("src/")}


def test_the_wheel_holds_every_module_and_no_test(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"tallystick-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.startswith(f"tallystick-{VERSION}.dist-info/")}
        entry_points = archive.read(f"tallystick-{VERSION}.dist-info/entry_points.txt").decode()
        assert f"tallystick-{VERSION}.dist-info/licenses/LICENSE" in archive.namelist()
    assert held == modules()
    assert "tallystick/py.typed" in held
    assert "tallystick = tallystick.__main__:main" in entry_points


def test_the_source_archive_holds_what_the_wheel_is_built_from_and_no_test(built: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert held >= {f"src/{name}" for name in modules()} | {"pyproject.toml", "README.md", "LICENSE"}
    assert not any(name.startswith("tests") for name in held)


def test_the_installed_command_founds_a_ledger_runs_it_and_verifies_when_all_of_it_is_gone(
    environment: Path, tmp_path: Path
) -> None:
    def tallystick(*args: str) -> str:
        done = subprocess.run(
            [str(environment / "tallystick"), *args],
            cwd=tmp_path,
            env={**clean(), "HOME": str(tmp_path), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (args, done.stdout, done.stderr)
        return done.stdout

    assert tallystick("--version") == f"tallystick {VERSION}\n"
    new = ("new", "Solo", "--members", "1", "--into", "net", "--port", str(drawn_port()), "--no-passphrase", "--json")
    founded = json.loads(tallystick(*new))
    report = tmp_path / "report.txt"
    report.write_text("The bridge is sound.\n")
    folder = "net/node-1"
    with running(environment, folder, tmp_path) as process:
        certified = json.loads(tallystick("certify", "report.txt", "--data", folder, "--timeout", "60", "--json"))
        assert certified["results"][0]["outcome"]["state"] == "final"
        assert "File report.txt" in tallystick("search", "--file", "report.txt", "--data", folder)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert "File report.txt" in tallystick("search", "--file", "report.txt", "--data", folder)
    assert founded["ledger_id"] in tallystick("check", "--data", folder, "--json")
    shutil.rmtree(tmp_path / "net")
    verified_elsewhere(environment, report, founded["ledger_id"])


def verified_elsewhere(environment: Path, report: Path, ledger_id: str) -> None:
    """By another user, with a home of its own and nothing in it but the document and its proof, off the network."""
    start, _ = elsewhere(environment)
    with short_folder() as home:
        for name in (report.name, f"{report.name}.tlog-proof"):
            shutil.copy(report.with_name(name), home)
        forge_proof(home / "forged.txt", "Solo")
        home.chmod(0o755)
        if "setpriv" in start:
            os.chown(home, NOBODY, NOBODY)

        def tallystick(*args: str, expect: int = 0) -> str:
            done = subprocess.run(
                [*start, str(environment / "tallystick"), *args],
                cwd=home,
                env={"PATH": os.environ["PATH"], "HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200"},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == expect, (args, done.stdout, done.stderr)
            assert "Traceback" not in done.stderr
            return " ".join((done.stdout + done.stderr).split())

        assert "× report.txt is not verified" in tallystick("verify", "report.txt", expect=10)
        assert ledger_id in tallystick("trust", "add", ledger_id, "--name", "solo")
        shown = tallystick("verify", "report.txt")
        assert "✓ report.txt is certified by node-1" in shown
        assert f"{ledger_id}, which you trust as solo" in shown
        refused = tallystick("verify", "forged.txt", expect=10)
        assert "× forged.txt is not verified" in refused
        assert "Solo" in refused, "that is what it calls itself"
        (home / "report.txt").write_text("The bridge is sounb.\n")
        changed = tallystick("verify", "report.txt", expect=13)
        assert "× report.txt is not verified: SHA-256 of the document" in changed
        assert "check P10" in changed
        kept = [path.stat().st_uid for path in home.rglob("*.json")]
        assert kept == [NOBODY if "setpriv" in start else os.geteuid()], "of that user, what is trusted is kept"


def test_it_was_verified_off_the_network_and_by_another_user(environment: Path) -> None:
    """How far the test before this one goes on this machine."""
    start, missing = elsewhere(environment)
    if missing:
        pytest.skip(f"NOT TESTED: {'; '.join(missing)}; all else of the test before this one is")
    assert start


def elsewhere(environment: Path) -> tuple[list[str], list[str]]:
    """How a command is run off the network by another user, as far as that goes here; what does not go."""
    ways = {
        "off the network": [["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]],
        "as another user": [["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]],
    }
    start, missing = list[str](), list[str]()
    for what, tried in ways.items():
        python = str(environment / "python")
        found = next((one for one in tried if is_run([*start, *one, python, "-c", "import tallystick"])), None)
        start += found or []
        if found is None:
            missing.append(f"nothing can be run {what} here")
        elif what == "off the network":
            connect = [*start, python, "-c", "import socket; socket.create_connection(('127.0.0.1', 9))"]
            said = subprocess.run(connect, capture_output=True, text=True, timeout=60, check=False).stderr
            assert "unreachable" in said, "not even this machine is"
    return start, missing


def is_run(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def forge_proof(document: Path, name: str) -> None:
    """A document with a sound proof, of a ledger that somebody else founded under a known name."""
    document.write_text("The bridge is sound, says somebody.\n")
    with short_folder() as folder:
        ledger = ProvenLedger(folder / "chain.db", replace(short_epochs(4), name=name))
        one, payload = ledger.about(describe_file(document))
        ledger.forge(one, payloads=[payload])
        document.with_name(f"{document.name}.tlog-proof").write_text(ledger.prove(one, ledger.countersigned()).proof)
        ledger.store.close()


@contextmanager
def running(environment: Path, folder: str, cwd: Path) -> Iterator["subprocess.Popen[str]"]:
    """A node, from when it says that it runs; whatever happens, it has ended afterwards."""
    command = [str(environment / "tallystick"), "run", "--data", folder, "--no-passphrase"]
    with subprocess.Popen(command, cwd=cwd, env=clean(), stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            if not any(" running " in line for line in process.stderr):
                pytest.fail("the node ended before it ran")
            yield process
        finally:
            process.kill()


def test_the_verifier_alone_loads_nothing_of_a_node_nor_of_the_shell() -> None:
    """So it can be vendored, audited and packed as one file with the ledger's rules and two libraries."""
    told = "import json, sys, tallystick.proof.verify; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, timeout=60)
    loaded = json.loads(done.stdout)
    ours = [name.split(".")[:2] for name in loaded if name.startswith("tallystick.")]
    assert {part for _, part in ours} == {"ledger", "proof"}
    assert not {*loaded} & {"asyncio", "sqlite3", "zmq", "starlette", "uvicorn", "httpx", "typer", "socket", "logging"}


def test_the_container_is_built_from_files_that_are_there_and_let_in(tmp_path: Path) -> None:
    """Docker itself is not run by any test."""
    instructions = instructions_of(ROOT / "packaging" / "Dockerfile")
    sources = [
        source
        for name, words in instructions
        if name == "COPY" and not words[0].startswith("--from")
        for source in words[:-1]
    ]
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {source.rstrip("/") for source in sources} == let_in
    for source in let_in:
        assert (ROOT / source).exists(), source
    stages = [words for name, words in instructions if name == "FROM"]
    assert len(stages) == 2
    final = instructions[max(place for place, (name, _) in enumerate(instructions) if name == "FROM") :]
    assert ("USER", ["tallystick"]) in final
    assert ("STOPSIGNAL", ["SIGTERM"]) in final
    install = next(words for name, words in instructions if name == "RUN" and "locks/runtime.txt" in words)
    assert {"--require-hashes", "--no-deps"} <= set(install)


def instructions_of(dockerfile: Path) -> list[tuple[str, list[str]]]:
    text = dockerfile.read_text().replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert all(line[0].isupper() for line in lines)
    return [(line[0], line[1:]) for line in lines]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="NOT TESTED: no systemd-analyze here")
def test_systemd_finds_the_unit_well_confined() -> None:
    unit = ROOT / "packaging" / "tallystick.service"
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "nrecognized option" in done.stderr:
        pytest.skip(f"NOT TESTED: this systemd-analyze is too old: {done.stderr}")
    assert done.returncode == 0, done.stdout[-400:] + done.stderr
