"""A ledger that a demo has made, and the folder of a node that has it."""

import shutil
from pathlib import Path

import pytest
from tests.integration.command_line import REPORT, cli

from tallystick.host.data_folder import DataFolder, Settings


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with votes, several epochs and the file report.txt on it."""
    folder = tmp_path_factory.mktemp("ledger")
    (folder / "report.txt").write_bytes(REPORT)
    cli("demo", "report.txt", "--simulated", "--seed", "7", "--chain", "ledger.db", cwd=folder)
    return folder / "ledger.db"


@pytest.fixture
def folder(tmp_path: Path, ledger: Path) -> Path:
    """A folder with report.txt, and a node in `node`."""
    (tmp_path / "report.txt").write_bytes(REPORT)
    node = DataFolder(tmp_path / "node")
    node.make()
    shutil.copy(ledger, node.ledger_path)
    node.write_settings(Settings("127.0.0.1:7117", "127.0.0.1:7117"))
    return tmp_path
