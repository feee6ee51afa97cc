"""A log that others' libraries make: audited here, honest and forked, and cosigned here by a client of others."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.builders import ADA, GENESIS
from tests.integration.command_line import cli, in_json
from tests.integration.network import Network, NodeProcess
from tests.interop.judges import NoJudges, build_program
from tests.ports import drawn_port

from tallystick.host.data_folder import DataFolder, Settings
from tallystick.ledger.checkpoint import decode_digest
from tallystick.ledger.merkle import consistency_path, root_from_consistency
from tallystick.problems import ExitCode

SEED, ORIGIN = "07" * 32, "log.example/of-others"

Run = Callable[..., str]


@pytest.fixture(scope="session")
def growing_log(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The program of others; where it cannot be built, the test is skipped, and the summary says why."""
    try:
        program = build_program("growing_log", tmp_path_factory.mktemp("growing_log"))
    except NoJudges as reason:
        pytest.skip(f"no log of others: {reason}")

    def run(*args: object) -> str:
        ran = subprocess.run([program, *map(str, args)], capture_output=True, text=True, check=False, timeout=120)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    return run


def test_proofs_of_others_lead_where_ours_do(growing_log):
    for old_size, size in ((1, 2), (1, 300), (6, 7), (7, 8), (8, 8), (255, 256), (256, 257), (200, 300), (299, 300)):
        heads, *lines = growing_log("prove", old_size, size).splitlines()
        old, new = (decode_digest(one, "a root") for one in heads.split())
        path = [decode_digest(one, "a hash") for one in lines]
        assert root_from_consistency(old, old_size, size, path) == new
        assert len(consistency_path(old_size, size, lambda height, number: bytes(32))) == len(path)


def test_a_log_of_others_is_audited_as_it_grows_and_a_fork_of_it_is_found(growing_log, tmp_path: Path):
    vkey, trust = growing_log("key", SEED, ORIGIN), ("--trust", "trust")

    def audit(name: str, size: int, fork: int, expect: int = 0):
        growing_log("write", tmp_path / name, SEED, ORIGIN, size, fork)
        return in_json("audit", name, "--log", vkey, *trust, cwd=tmp_path, expect=expect)

    assert audit("honest", 300, 300)["entries"] == 300
    assert audit("honest", 70_000, 70_000)["entries"] == 69_700
    assert in_json("audit", "honest", "--log", vkey, "--all", *trust, cwd=tmp_path)["entries"] == 70_000
    audit("rolled back", 300, 300, ExitCode.OLDER)
    told = audit("forked", 70_001, 69_999, ExitCode.OTHER_HISTORY)
    (evidence,) = (tmp_path / "trust").glob("conflicts/*/*.tlog-conflict")
    assert evidence.name in told["detail"]
    (tmp_path / "policy").write_text(f"log {vkey}\nquorum none\n")
    judged = in_json("verify", str(evidence), "--policy", "policy", cwd=tmp_path)
    assert (judged["trusted"], judged["sizes"], len(judged["signers"])) == (True, [70_000, 70_001], 1)


def test_a_client_of_others_has_its_log_cosigned_and_verifies_that(growing_log, tmp_path: Path):
    node, address, port = DataFolder(tmp_path / "node"), f"127.0.0.1:{drawn_port(1)}", drawn_port(1)
    node.create_key(ADA, "", "minimal")
    node.create(Settings(address, address), GENESIS)
    where, free = ("--data", "node"), "--no-passphrase"
    witness: str = in_json("witness", "new", "witness.example/w1", free, *where, cwd=tmp_path)["key"]
    cli("witness", "add-log", growing_log("key", SEED, ORIGIN), *where, cwd=tmp_path)

    def submit(old: int, size: int, fork: int = 1_000, seed: str = SEED, origin: str = ORIGIN) -> str:
        answered: str = growing_log("submit", f"http://127.0.0.1:{port}", witness, seed, origin, old, size, fork)
        return answered

    with Network(tmp_path) as net:
        process = net.add(NodeProcess(node.path))
        process.start("--api", f"127.0.0.1:{port}")
        for old, size in ((0, 5), (5, 5), (5, 300), (300, 301)):
            assert submit(old, size).startswith("cosigned ")
        assert submit(0, 300).startswith("refused 301: ")
        stale = submit(5, 300)
        for old, size, fork in ((301, 301, 200), (301, 400, 200)):
            assert "proof" in submit(old, size, fork)
        assert "unknown" in submit(0, 5, origin="log.example/0f-others")
        assert "signature" in submit(301, 302, seed="08" * 32)
        assert stale.startswith("refused 301: ")
        process.stop()
