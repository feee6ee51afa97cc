"""The web servers of docs/mirrors.md, configured as it says: all of a mirror is read, with headers for caches."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest
from tests.integration.network import wait_for
from tests.mirrors import grow, publish, read_whole
from tests.ports import drawn_port
from tests.proving import ProvenLedger
from tests.working_copy import ROOT

MANUAL = (ROOT / "docs" / "mirrors.md").read_text()
ROOT_THERE = "/var/www/ledger"
HEAD = "text/plain; charset=utf-8", "max-age=5"
FILE = "application/octet-stream", "max-age=31536000, immutable"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def documented(language: str, **changes: str) -> str:
    """A configuration of the manual, with what only a real site has replaced."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", MANUAL, re.M | re.S)
    text = str(found)
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    return text


def by_nginx(folder: Path, mirror: Path, port: int) -> list[str]:
    changed = {"listen 443 ssl;": f"listen 127.0.0.1:{port};", ROOT_THERE: str(mirror)}
    elsewhere = "".join(f"{one}_temp_path {folder / one};\n" for one in TEMPORARY)
    http = f"access_log off;\n{elsewhere}{documented('nginx', **changed)}"
    user = "" if os.geteuid() else "user root;\n"  # others may not read the folder
    text = f"daemon off;\n{user}pid {folder / 'pid'};\nevents {{ }}\nhttp {{\n{http}}}\n"
    (folder / "nginx.conf").write_text(text)
    return ["-e", str(folder / "errors"), "-c", str(folder / "nginx.conf")]


def by_caddy(folder: Path, mirror: Path, port: int) -> list[str]:
    site = documented("caddyfile", **{"ledger.example.org": f"http://127.0.0.1:{port}", ROOT_THERE: str(mirror)})
    (folder / "Caddyfile").write_text(f"{{\nadmin off\n}}\n{site}")
    return ["run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


SERVERS = {"nginx": by_nginx, "caddy": by_caddy}


@contextmanager
def served(name: str, folder: Path, mirror: Path) -> Iterator[httpx.Client]:
    """By that server, for as long as the block goes on."""
    if (program := shutil.which(name)) is None:
        pytest.skip(f"NOT TESTED: {name} with its configuration of docs/mirrors.md, as it is not installed")
    port, log = drawn_port(), folder / "log"
    command = [program, *SERVERS[name](folder, mirror, port)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "HOME": str(folder)})
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:

            def answers() -> bool:
                assert process.poll() is None, log.read_text()
                try:
                    return client.get("/checkpoint").status_code == HTTPStatus.OK
                except httpx.ConnectError:
                    return False

            wait_for(answers, f"{name} answers")
            yield client
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_of_the_manual_serves_a_mirror_and_lets_caches_keep_no_more_than_lasts(
    tmp_path: Path, name: str
) -> None:
    ledger, mirror, folder = ProvenLedger(tmp_path / "ledger.db"), tmp_path / "mirror", tmp_path / "server"
    folder.mkdir()
    grow(ledger, 1, 300, 7)
    publish(ledger, mirror)
    (hidden,) = (one.name for one in mirror.iterdir() if one.name.startswith("."))
    with served(name, folder, mirror) as web:

        def read(path: str) -> bytes:
            answer = web.get(f"/{path}")
            if answer.status_code != HTTPStatus.OK:
                raise FileNotFoundError(path)
            kind, kept = HEAD if path == "checkpoint" else FILE
            assert answer.headers["Content-Type"] == kind
            assert answer.headers["Cache-Control"].removeprefix("public, ") == kept
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            return answer.content

        assert len(read_whole(read).entries) == 308
        for path in ("/tile/0/001", "/tile/0/x001/000", "/tallystick/state/1", "/tile/0", "/tile/", f"/{hidden}"):
            answer = web.get(path)
            assert answer.status_code == HTTPStatus.NOT_FOUND, path
            assert "Cache-Control" not in answer.headers, f"{path} may appear later"
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
        (mirror / "checkpoint").unlink()
        gone = web.get("/checkpoint")
        assert gone.status_code == HTTPStatus.NOT_FOUND
        assert gone.headers.get("Cache-Control", "public, max-age=5") == "public, max-age=5"
