"""What is malformed is told in words for people, wherever it comes in: no inner type, path or pattern of a decoder."""

import importlib
import json
import pkgutil
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.api.conftest import Doors
from tests.builders import Bench
from tests.integration.command_line import cli
from typer.testing import CliRunner

import tallystick
from tallystick.api.problem_view import problem_view
from tallystick.cli.app import app
from tallystick.host.invite import PREFIX, to_bech32m
from tallystick.host.key_file import unseal
from tallystick.host.logs import ReportLog, start_logging
from tallystick.ledger.encoding import Codec
from tallystick.ledger.errors import Refused
from tallystick.node.events import ReportRefused
from tallystick.problems import Problem

VECTORS = Path(__file__).parents[1] / "vectors"
STRANGE: tuple[object, ...] = (
    None,
    True,
    -1,
    2**64 - 1,
    1.5,
    "",
    "a\nb $[1] `int`",
    b"",
    b"x" * 31,
    [],
    [[]],
    {},
    {"a": 1},
)
INNER = re.compile(r"Expected `|\$|msgspec|regex|\^|bytes`|`array|\b(int|str|float|NoneType|codec)\b|Traceback|\\A|\\Z")


def encodings(told: Any) -> Iterator[bytes]:
    """All that vectors give as the encoding of a value."""
    if isinstance(told, list):
        for one in told:
            yield from encodings(one)
    elif isinstance(told, dict):
        for name, one in told.items():
            if name == "encoded" or name.endswith("_encoded"):
                yield bytes.fromhex(one)
            else:
                yield from encodings(one)


def altered(value: Any) -> Iterator[Any]:
    """The same with a strange value at one place, or an item more or less in one list."""
    yield from STRANGE
    if isinstance(value, list):
        yield [*value, None]
        yield value[:-1]
        for number, one in enumerate(value[:12]):
            for other in altered(one):
                yield [*value[:number], other, *value[number + 1 :]]


def malformed(encoded: bytes) -> Iterator[bytes]:
    """Of a valid encoding."""
    yield from (encoded[: len(encoded) // 2], encoded + b"\x00", b"", b"\xc1", b"\xa1\xff", b"\x91" * 3_000)
    yield from map(msgspec.msgpack.encode, altered(msgspec.msgpack.decode(encoded, strict=False)))


def read(name: str) -> list[bytes]:
    return list(encodings(json.loads((VECTORS / f"{name}.json").read_text())))


def all_codecs() -> dict[str, Codec[Any]]:
    """By name, whatever module declares them."""
    modules = (
        importlib.import_module(one.name)
        for one in pkgutil.walk_packages(tallystick.__path__, "tallystick.")
        if not one.name.endswith("__main__")
    )
    found = (one for module in modules for one in vars(module).values() if isinstance(one, Codec))
    return {one.name: one for one in found}


CODECS = all_codecs()


def in_plain_words(*texts: str) -> None:
    for text in texts:
        assert not INNER.search(text), text


@pytest.mark.parametrize("name", CODECS)
def test_every_form_is_refused_in_plain_words(name: str) -> None:
    told = set()
    for kind in ("messages", "certificates", "addresses", "payloads", "geneses"):
        for encoded in read(kind)[:30:3]:
            for data in malformed(encoded):
                try:
                    CODECS[name].decode(data)
                except Refused as refused:
                    told.add(str(refused))
    assert len(told) > 2
    in_plain_words(*told)


def kinds_of(kind: type[Problem]) -> Iterator[type[Problem]]:
    yield kind
    for one in kind.__subclasses__():
        yield from kinds_of(one)


@pytest.mark.parametrize("kind", [*kinds_of(Problem)])
def test_the_title_of_a_problem_is_a_sentence_for_people(kind: type[Problem]) -> None:
    problem = kind.__new__(kind)
    vars(problem)["refused"] = None
    title = problem_view(problem).title
    assert re.fullmatch(r"[A-Z][^`]+\.", title)
    assert "message" not in title


def test_the_api_tells_in_plain_words(doors: Doors) -> None:
    forms = [form for encoded in read("certificates")[:2] for form in malformed(encoded)][::9]
    no_lists: tuple[object, ...] = (5, [5], [None], {}, "00")
    bodies = [*({"entries": [form.hex()]} for form in forms), *({"entries": one} for one in no_lists)]
    bodies += [{}, {"entries": ["00"], "wait_ms": "soon"}, {"entries": ["00"], "wait_ms": 10**9}]
    told = []
    with doors.local() as local:
        for path in ("certificates", "sign", "stake", "outcomes", "backup", "invite"):
            for body in bodies if path == "certificates" else [*STRANGE, *bodies[-8:]]:
                if body in ({}, None) and path == "invite":
                    continue
                packed = {"Content-Type": "application/vnd.msgpack"}
                answers = [local.post(f"/v1/{path}", content=msgspec.msgpack.encode(body), headers=packed)]
                if not isinstance(body, bytes):
                    answers.append(local.post(f"/v1/{path}", json=body))
                told += [one.json()["detail"] for one in answers if one.is_error]
        statements: tuple[object, ...] = (
            {"subject": "x" * 999},
            {"subject": 5},
            {"subject": "a", "note": 5},
            {"subject": "a", "sha256": 5},
            5,
            {"subject": "a", "media_type": "text/plain", "content": "00" * 65_537},
        )
        for statement in statements:
            told.append(local.post("/v1/sign", json={"statements": [statement]}).json()["detail"])
        for amount in (0, 2**53 - 1, 2**60, 1.5, "1", None):
            told.append(local.post("/v1/stake", json={"amount": amount}).json().get("detail", ""))
        for path in ("log?cursor=$", "blocks/x", "certificates/^", "outcomes/1", "search?issuer=`int`", "members/$"):
            told.append(
                local.get(f"/v1/{path}").json()["detail"].replace(path.partition("=")[2] or path.rpartition("/")[2], "")
            )
    assert len(told) > 60
    in_plain_words(*told)


@pytest.mark.parametrize("column", ["genesis", "blocks", "finalizations", "payloads"])
def test_a_command_tells_of_a_damaged_file_in_plain_words(column: str, doors: Doors, tmp_path: Path) -> None:
    for number, data in enumerate((b"", b"\xc1", b"\x91\x05", "text", 5)):
        path = tmp_path / f"{number}.db"
        shutil.copy(doors.copy, path)
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(f"UPDATE {column} SET encoded = ? WHERE rowid = (SELECT max(rowid) FROM {column})", [data])
        for command in (["check", "--chain", str(path)], ["show", "blocks", "--chain", str(path)]):
            told = CliRunner(env={"NO_COLOR": "1", "COLUMNS": "6000"}).invoke(app, command)
            assert told.exit_code in (0, 7), told.output
            in_plain_words(told.output)


def test_a_command_tells_of_an_invite_and_a_key_file_in_plain_words(tmp_path: Path) -> None:
    for data in (b"\xc1", b"\x91\x05", *(msgspec.msgpack.encode([1, one, one, one]) for one in STRANGE)):
        in_plain_words(cli("join", to_bech32m(PREFIX, data), "--no-passphrase", cwd=tmp_path, expect=6).output)
    for content in (b"", b"{", b"[]", b"{}", b'{"format":5}', b"\xff", b"[" * 1_000):
        with pytest.raises(Refused) as refused:
            unseal(content, "")
        in_plain_words(str(refused.value))


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ("show foo", "'PART': 'foo' is not one of 'chain', 'blocks',"),
        ("search --kind foo", "'--kind': 'foo' is not one of 'statement', 'stake', 'evidence'"),
        ("certify a.txt --timeout 0", "'--timeout': '0' is too little: 0.1 is the least"),
        ("certify a.txt --timeout soon", "'--timeout': 'soon' is no number"),
        ("show log --cursor 9007199254740993", "'--cursor': '9007199254740993' is too much: 9007199254740991 is the"),
        ("stake abc", "'AMOUNT': 'abc' is no whole number"),
        ("stake 1.5", "'AMOUNT': '1.5' is no whole number"),
        ("new x --members 0", "'--members': '0' is too little: 1 is the least"),
    ],
)
def test_a_command_tells_of_wrong_usage_in_its_own_words(tmp_path: Path, args: str, told: str) -> None:
    for more in ((), ("--json",)):
        output = cli(*args.split(), *more, cwd=tmp_path, expect=2).output
        assert f"Invalid value for {told}" in output
        assert not re.search(r"Input should|Value error|valid integer", output)


def test_a_node_tells_in_plain_words_why_it_cannot_listen_or_read_its_settings(tmp_path: Path) -> None:
    cli("new", "class", "--members", "1", "--no-passphrase", cwd=tmp_path)
    data = ("--data", "tallystick-network/node-1")
    run = [sys.executable, "-m", "tallystick", "run", *data]
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        for address, why in (
            ("192.0.2.1:7117", "it is no address of this machine"),
            (f"127.0.0.1:{port}", "another program listens there"),
            ("nobody.invalid:7117", "no machine of the name nobody.invalid is known here"),
        ):
            done = subprocess.run(
                [*run, "--listen", address], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
            )
            other = "name another with --listen and --address, or in tallystick-network/node-1/node.toml"
            assert done.stderr.rstrip().endswith(f"cannot listen at {address}: {why}; {other}")
    settings = tmp_path / "tallystick-network" / "node-1" / "node.toml"
    for content, why in (
        (b"listen = ", "no TOML, at "),
        (b"a = 1\na = 2", "no TOML, at "),
        (b'a = "\xff"', "no text in UTF"),
    ):
        settings.write_bytes(content)
        told = cli("config", *data, cwd=tmp_path, expect=2).output
        assert f"node.toml: it is {why}" in told
        in_plain_words(told)


@pytest.mark.parametrize("as_json", [True, False])
def test_the_log_tells_of_messages_in_plain_words(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("info", as_json)
    bench, log = Bench(), ReportLog()
    for encoded in read("messages")[::3]:
        for data in malformed(encoded):
            for refused in bench.intake.check(b"p" * 32, data).refusals:
                log.note(0, ReportRefused(refused, b"p" * 32))
    told = capsys.readouterr().err.splitlines()
    assert len(told) > 100
    in_plain_words(*told)
