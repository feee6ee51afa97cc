"""What commands about proofs print under `--json` is what docs/api.md says, field by field."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.builders import ADA, GENESIS
from tests.integration.command_line import in_json
from tests.integration.test_mirror_commands import Mirrored
from tests.tiled_log import TiledLog
from tools.write_api_docs import COMMANDS, TARGET

from tallystick.host.data_folder import DataFolder, Settings
from tallystick.ledger.tlog_conflict import make_conflict
from tallystick.node.events import PersistCosignatures

LOG = TiledLog().grow(3)


@pytest.fixture
def mirrored(tmp_path: Path) -> Mirrored:
    made = Mirrored(tmp_path)
    made.go_on()
    cosignatures = made.ledger.countersigned().cosignatures
    made.ledger.store.keep_cosignatures(PersistCosignatures(cosignatures, 0))
    made.ledger.store.close()
    return made


def test_each_command_prints_the_struct_that_is_documented(mirrored: Mirrored, tmp_path: Path) -> None:
    where, folder = mirrored.handed.id, mirrored.folder
    (folder / "other.pdf").write_text("other")
    ran = {
        "prove": ("report.pdf", "other.pdf", "--from", str(mirrored.mirror)),
        "renew": (".", "--from", str(mirrored.mirror)),
        "policy": ("--chain", str(tmp_path / "chain.db")),
        "trust list": (),
        "trust show": ("ours",),
        "verify": ("report.pdf", "other.pdf", "nowhere"),
        "audit": (str(mirrored.mirror), "--ledger", "ours"),
        "verify FILE.tlog-conflict": ("x.tlog-conflict", "--policy", "log-policy"),
        "witness new": ("witness.example", "--no-passphrase", "--data", "node"),
        "witness add-log": (LOG.key.text, "--data", "node"),
        "witness remove-log": (LOG.key.name, "--data", "node"),
        "witness show": ("--data", "node"),
        "trust remove": ("ours", "--yes"),
        "trust add": (where, "--name", "again", "--yes"),
    }
    assert ran.keys() == COMMANDS.keys()
    conflict = make_conflict(LOG.note(), LOG.fork(1).grow(3, "other").note(), [LOG.key])
    (folder / "x.tlog-conflict").write_text(conflict.encoded)
    (folder / "log-policy").write_text(f"log {LOG.key.text}\nquorum none\n")
    node = DataFolder(folder / "node")
    node.create_key(ADA, "", "minimal")
    node.create(Settings("127.0.0.1:7117", "127.0.0.1:7117"), GENESIS)
    for command, args in ran.items():
        told = in_json(
            *command.partition(" FILE")[0].split(), *args, cwd=folder, expect={"prove": 5, "verify": 1}.get(command, 0)
        )
        read = msgspec.convert(told, COMMANDS[command], strict=True)
        assert msgspec.to_builtins(read) == told, "no field that is not documented"
        assert f"| `tallystick {command}` | [{COMMANDS[command].__name__}]" in TARGET.read_text()


def test_a_command_that_can_do_nothing_prints_a_problem(mirrored: Mirrored) -> None:
    told: Any = in_json("prove", "nowhere", "--from", str(mirrored.mirror), cwd=mirrored.folder, expect=5)
    assert told["exit_code"] == 5
    assert told.keys() == {"type", "title", "status", "detail", "code", "exit_code", "rule"}
