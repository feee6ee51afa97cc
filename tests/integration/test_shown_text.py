"""Text from elsewhere in every field, and every command that shows it: no terminal, JSON or log gets it raw."""

import asyncio
import json
import logging
import re
import sys
from collections.abc import Iterator
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer
from msgspec.structs import replace
from rich.panel import Panel
from rich.table import Table
from rich.text import Text as RichText
from tests.builders import ADA, BEN, MEMBERS, START_MS, FinalScribe, statement
from tests.integration.command_line import cli
from tests.integration.network import Network, NodeProcess
from tests.integration.test_cli_node import ALL_COMMANDS
from tests.pdfs import by_hand
from tests.ports import drawn_port
from tests.strange_text import MARKUP, STRANGE, strange_characters
from tests.tiled_log import TiledLog
from tests.time_authority import certified

from tallystick.cli.output import Terminal, Text, ask_secret, show_fault
from tallystick.client.pdf_files import attach
from tallystick.client.pdf_revision import AttachedProof
from tallystick.host import joining
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.host.invite import write_invite
from tallystick.host.logs import ReportLog, note, start_logging
from tallystick.host.text import printable
from tallystick.ledger.certificate import Payload
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.file_statement import FileStatement, file_payload
from tallystick.ledger.genesis import Allotment, Genesis, make_genesis
from tallystick.ledger.params import Params
from tallystick.ledger.tlog_conflict import make_conflict
from tallystick.node.events import ReportRefused
from tallystick.storage.described_files import describe_file
from tallystick.storage.store import Store

ANYTHING = "".join(STRANGE.values())
ENCODABLE = ANYTHING.encode(errors="ignore").decode()
"""What UTF-8, and so a message or a database, can hold."""
LEGAL = re.sub(r"[\x00-\x1f\x7f-\x9f]", "", ENCODABLE)
"""What the ledger takes into a subject, a media type or a file's name."""
NOTE_NAME = re.sub(r"[\s+]", "", f"{LEGAL}{MARKUP}")
"""What a key of a note may be called."""
FILE_NAME = f"{ANYTHING} {MARKUP}".replace("\0", "").replace("/", "")
FOLDER_NAME = ANYTHING.replace("\0", "").replace("/", "")
"""Short enough for a node's socket to be in it."""
CONTENT = f"seen {MARKUP}\x1b]0;pwned\a\x1b[2J {ENCODABLE}".encode() + b" \xff end"
MEDIA_TYPE = f"x/{LEGAL}{MARKUP}"[:128]
SALT = bytes(32)

_FORMS: tuple[tuple[list[str], dict[str, str]], ...] = (
    ([], {}),
    ([], {"NO_COLOR": "", "FORCE_COLOR": "1", "TERM": "xterm-256color"}),
    (["--json"], {}),
)
_OF_RICH_ITSELF = re.compile(r"\r?\x1b\[[0-9;?]*[A-Za-z]")
"""Colours, and the cursor's way to a line that changes. No field holds such a sequence with its bracket but CONTENT."""


def found_ledger() -> Genesis:
    allotments = [Allotment(one.public_key, 1_000, 100) for one in MEMBERS.values()]
    return make_genesis(f"class{LEGAL}"[:64], START_MS, allotments, Params(epoch_blocks=10, unbonding_blocks=20))


def fill(path: Path, file: Path) -> list[str]:
    """A ledger with strange text wherever it takes any, and the ids of its certificates."""
    genesis = found_ledger()
    scribe = FinalScribe(genesis)
    payloads = [
        Payload(SALT, "", "text/plain", CONTENT),
        Payload(SALT, "", MEDIA_TYPE, b"content"),
        file_payload(FileStatement(f"certified {LEGAL}", 5, bytes(32), f"{MARKUP}{LEGAL}"), SALT),
        file_payload(describe_file(file, f"{MARKUP}{LEGAL}"), SALT),
    ]
    signed = [
        statement(f"{number} {MARKUP}{LEGAL}", ledger=genesis.ledger_id, payload=payload)
        for number, payload in enumerate(payloads)
    ]
    with Store.create(path, genesis) as store:
        scribe.forge(*signed)
        store.append(replace(scribe.kept[-1], payloads=tuple(payloads)))
        names = {member.public_key: f"{name} {MARKUP}{ENCODABLE}" for name, member in MEMBERS.items()}
        store.remember_names(names)
    return [one.id.hex() for one in signed]


class Place:
    """A folder with a strange file, and a node's folder whose ledger holds strange text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / FILE_NAME
        self.file.write_bytes(b"bytes")
        node = DataFolder(folder / "node")
        node.make()
        self.ids = fill(node.ledger_path, self.file)
        node.write_settings(Settings("127.0.0.1:7117", "127.0.0.1:7117"))
        self.seen = set[tuple[str, ...]]()
        """The commands that were read."""

    def read(self, *args: str, expect: int = 0, is_json: bool = True) -> str:
        """Run the command into a pipe, on a terminal and as JSON; return what it says, and what its JSON holds."""
        self.seen |= {args[:1], args[:2]}
        said: list[str] = []
        for form, (more, environment) in enumerate(_FORMS[: 3 if is_json else 2]):
            own = [one.replace("{form}", str(form)) for one in args]  # what makes a file makes one a form
            result = cli(*own, *more, cwd=self.folder, expect=expect, **environment)
            for stream in (result.stdout, result.stderr):
                said += (_OF_RICH_ITSELF.sub("", stream) if environment else stream).split("\n")
            if more and result.stdout:
                said += strings_in(json.loads(result.stdout))
        for line in said:
            assert not strange_characters(line), (args, line)
        return "\n".join(said)


def strings_in(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, one in value.items():
                yield key
                yield from strings_in(one)
        case list():
            for one in value:
                yield from strings_in(one)


# ---- every command --------------------------------------------------------------------------------------------


def of_a_kept_chain(place: Place) -> None:
    chain = place.folder / f"{FILE_NAME}.db"
    (place.folder / "node" / "ledger.db").rename(chain)
    where = ("--chain", str(chain))
    assert printable(MARKUP + LEGAL) in place.read("show", "block", "1", *where)
    assert printable(f"class{LEGAL}"[:64]) in place.read("show", *where)
    payloads = (CONTENT.decode(errors="replace"), MEDIA_TYPE, f"certified {LEGAL}", f"{MARKUP}{LEGAL}")
    for certificate_id, held in zip(place.ids, payloads, strict=True):
        assert printable(held) in place.read("show", "certificate", certificate_id, *where)
    assert printable(f"ada {MARKUP}{ENCODABLE}") in place.read("show", "stakes", *where)
    assert printable(f"ben {MARKUP}{ENCODABLE}") in place.read("show", "member", BEN.public_key.hex(), *where)
    nobody = ENCODABLE.replace("/", "")
    assert printable(f"is called {nobody}") in place.read("show", "member", nobody, *where, expect=5)
    place.read("show", "member", ANYTHING, *where, expect=2)
    assert printable(str(chain)) in place.read("check", *where)
    (place.folder / FILE_NAME).write_bytes(b"other")
    assert printable(place.file.name) in place.read("verify", str(place.file), expect=11)
    place.read("verify", str(place.file), "--issuer", ANYTHING, expect=11)
    assert printable(ENCODABLE) in place.read("verify", str(place.file), "--ledger", ENCODABLE, expect=5)
    of_trusted_ledgers(place)
    of_time_stamps(place, where)
    place.read("prove", str(place.file), *where, expect=5)
    place.read("prove", ANYTHING, *where, expect=5)
    assert printable(FILE_NAME) in place.read("prove", ANYTHING, "--from", FILE_NAME, expect=2)
    assert printable(ENCODABLE) in place.read("prove", "ab" * 32, "--from", f"ftp://{ENCODABLE}", expect=2)
    place.read("policy", *where, expect=5)
    assert printable(FILE_NAME[:60]) in place.read("page", "--to", f"{{form}}{FILE_NAME[:60]}.html")
    place.read("page")
    assert printable(LEGAL) in place.read("search", "evil", *where)
    assert printable(LEGAL) in place.read("show", "log", "--limit", "1", *where)
    assert printable(f"{FILE_NAME}.not") in place.read("verify", f"{FILE_NAME}.not", expect=2)
    chain.write_bytes(b"no chain")
    assert printable(str(chain)) in place.read("check", *where, expect=2)


def of_trusted_ledgers(place: Place) -> None:
    (place.folder / f"{FILE_NAME}.genesis").write_bytes(found_ledger().encoded)
    shown = place.read("trust", "add", f"{FILE_NAME}.genesis", "--name", "ours", "--yes")
    assert printable(f"class{LEGAL}"[:64]) in shown
    assert printable(FILE_NAME.encode("utf-8", "backslashreplace").decode()) in place.read("trust", "show", "ours")
    assert printable(f"class{LEGAL}"[:64])[:20] in place.read("trust", "list")
    assert printable(ENCODABLE) in place.read("trust", "show", ENCODABLE, expect=5)
    assert printable(ENCODABLE) in place.read("trust", "remove", ENCODABLE, expect=5)
    place.read("trust", "add", ANYTHING, expect=2)
    of_audited_logs(place)


def of_audited_logs(place: Place) -> None:
    """What a log calls itself, which may be anything but control characters."""
    strange = TiledLog(NOTE_NAME).grow(1)
    (place.folder / "mirror").mkdir()
    strange.write(place.folder / "mirror")
    where = ("--log", TiledLog().key.text)
    assert printable(NOTE_NAME) in place.read("audit", "mirror", *where, expect=10)
    assert printable(FILE_NAME) in place.read("audit", f"{FILE_NAME}.not", *where, expect=2)
    place.read("audit", "mirror", "--log", ANYTHING, expect=6)
    conflict = make_conflict(strange.note(), strange.fork(0).grow(1, "other").note(), [strange.key])
    (place.folder / "x.tlog-conflict").write_text(conflict.encoded)
    assert printable(NOTE_NAME) in place.read("verify", "x.tlog-conflict", expect=10)


def of_time_stamps(place: Place, where: tuple[str, ...]) -> None:
    root = certified(f"{MARKUP}{LEGAL}"[:60], is_ca=True)
    subject = printable(root.certificate.subject.rfc4514_string())
    (place.folder / f"{FILE_NAME}.pem").write_bytes(root.pem)
    assert subject in place.read("trust", "add-tsa", f"{FILE_NAME}.pem", "--name", "stamps", "--yes")
    assert subject in place.read("trust", "show", "stamps")
    assert "stamps" in place.read("trust", "list")
    assert printable(FILE_NAME) in place.read("trust", "add-tsa", f"{FILE_NAME}.not", expect=2)
    place.read("trust", "add-tsa", ANYTHING, "--name", ANYTHING, expect=2)
    nobody = ("--tsa", "http://127.0.0.1:9")
    assert printable(FILE_NAME) in place.read("anchor", FILE_NAME, *nobody, expect=2)
    place.read("anchor", FILE_NAME, "--tsa", ANYTHING, expect=2)
    (place.folder / "proofs").mkdir()
    (place.folder / "proofs" / f"{FILE_NAME}.tlog-proof").write_text("none")
    assert printable(FILE_NAME) in place.read("anchor", "proofs", *nobody, expect=6)
    assert printable(FILE_NAME) in place.read("renew", "proofs", *where, expect=6)
    marked = b"%PDF-1.7\n\n%tallystick.pdf-proof.v1 prefix=7 proof=1 members=- payload=-\n"
    (place.folder / f"{FILE_NAME}.pdf").write_bytes(marked)
    place.read("anchor", f"{FILE_NAME}.pdf", *nobody, expect=6)
    assert printable(FILE_NAME) in place.read("renew", f"{FILE_NAME}.pdf", *where, expect=6)
    assert printable(FILE_NAME) in place.read("renew", f"{FILE_NAME}.pdf", "--from", FILE_NAME, expect=2)
    place.read("verify", "proofs", "--signed-before", ANYTHING, expect=2)


def of_a_running_node(place: Place) -> None:
    """One of four members, alone: it tells everything, and nothing becomes final."""
    folder = DataFolder(place.folder / "node")
    folder.create_key(ADA, "", "minimal")
    address = f"127.0.0.1:{drawn_port(1)}"
    folder.write_settings(Settings(address, address))
    with Network(place.folder) as net:
        node = net.add(NodeProcess(folder.path))
        node.start()
        where = ("--data", "node")
        for args in (("status",), ("show", "peers"), ("show", "stakes"), ("show", "blocks"), ("names", "list")):
            shown = place.read(*args, *where, expect=int(args == ("status",)))
            assert printable(f"ben {MARKUP}{ENCODABLE}") in shown or args == ("show", "blocks"), args
        assert printable(f"class{LEGAL}"[:64]) in place.read("status", *where, expect=1)
        for args in (("block", "1"), ("member", BEN.public_key.hex()), ("log",), ("certificate", place.ids[0])):
            assert printable(LEGAL) in place.read("show", *args, *where), args
        assert printable(LEGAL) in place.read("search", "--issuer", f"ada {MARKUP}{ENCODABLE}", *where)
        paged = place.read("search", "evil", "--issuer", f"ada {MARKUP}{ENCODABLE}", "--limit", "1", *where)
        assert f"There is more: tallystick search evil --issuer 'ada {printable(MARKUP)}" in paged
        place.read("search", f"evil {ENCODABLE}", *where)
        place.read("search", ANYTHING, *where, expect=2)
        place.read("search", "--file", f"{FILE_NAME}.not", *where, expect=2)
        place.read("show", *where)
        place.read("verify", str(place.file), *where, expect=11)
        of_a_pdf(place, *where)
        assert printable(FILE_NAME) in place.read("certify", str(place.file), "--no-wait", *where)
        place.read("certify", "--subject", f"{MARKUP}{LEGAL}", "--no-wait", *where)
        place.read("stake", "5000", *where, expect=6)
        place.read("stake", "-5", *where, expect=2)
        place.read("invite", *where)
        assert printable(ENCODABLE) in place.read("unban", ENCODABLE, *where, expect=5)
        place.read("erase", ENCODABLE, *where, expect=2)
        assert printable(f"certified {LEGAL}") in place.read("erase", place.ids[2], *where, expect=2)
        place.read("erase", place.ids[2], "--yes", *where)
        place.read("names", "set", "ab" * 32, ANYTHING, *where, expect=2)
        place.read("names", "set", f"nobody {ENCODABLE}".replace("/", ""), "Ben", *where, expect=5)
        assert printable(MARKUP) in place.read("names", "set", "ab" * 32, MARKUP, *where)
        copy = FILE_NAME.replace(STRANGE["lone surrogate"], "")
        assert printable(copy) in place.read("backup", f"{{form}}{copy}", *where)
        place.read("export", f"{{form}}{copy}.mirror", "--timeout", "0", *where, expect=4)
        assert "is no mirror" in place.read("export", ".", *where, expect=2)
        assert printable(copy) in place.read("backup", f"0{copy}", *where, expect=2)
        place.read("backup", FILE_NAME, *where, expect=2)


def of_a_pdf(place: Place, *where: str) -> None:
    """One that carries what is no proof, under a strange name; and what cannot carry any."""
    path, pdf = place.folder / f"{FILE_NAME}.pdf", by_hand()
    path.write_bytes(pdf)
    attach(path, AttachedProof(f"c2sp.org/tlog-proof@v1\nextra {ENCODABLE}".encode()), sha256(pdf).digest())
    assert printable(path.name) in place.read("verify", str(path), *where, expect=11)
    assert sha256(pdf).hexdigest() in place.read("prove", str(path), *where, expect=5)
    path.write_bytes(path.read_bytes() + CONTENT)
    for command in (("verify",), ("certify", "--attach"), ("prove", "--attach")):
        told = place.read(command[0], str(path), *command[1:], *where, expect=13 if command == ("verify",) else 2)
        assert printable(path.name) in told
    assert printable(FILE_NAME) in place.read("certify", str(place.file), "--attach", *where, expect=2)
    path.unlink()


def of_what_is_decided(place: Place) -> None:
    """A ledger of one organisation, whose words pass at once."""
    free = ("--no-passphrase",)
    port = ("--port", str(drawn_port()))
    cli("new", "class", "--members", "1", "--into", "net", *port, *free, cwd=place.folder)
    cli("key", "new", "--data", "registry", *free, cwd=place.folder)
    with Network(place.folder) as net:
        node = net.add(NodeProcess(place.folder / "net" / "node-1"))
        node.start()
        where, label, subject = ("--data", "net/node-1"), LEGAL[:64], f"{MARKUP}{LEGAL}"
        admission = ("key", "admit", "node-1", "--ledger", node.status().ledger_id, "--data", "registry")
        line = cli(*admission, cwd=place.folder).stdout.strip()
        assert line in place.read(*admission)
        for args in (("admit", ANYTHING), ("admit", "x", "--ledger", ANYTHING), ("rotate", ANYTHING, *where)):
            place.read("key", *args, *(() if "rotate" in args else ("--data", "registry")), expect=2)
        cli("issuer", "add", line, "--label", label, *where, cwd=place.folder)
        place.read("issuer", "add", line, "--label", label, *where, expect=6)
        assert printable(label) in place.read("issuer", "list", *where)
        place.read("issuer", "withdraw", ENCODABLE, *where, expect=5)
        signed = ("certify", "--subject", subject, "--key", "registry/key", "--json", *where)
        (result,) = json.loads(cli(*signed, cwd=place.folder).stdout)["results"]
        shown = place.read("show", "certificate", result["outcome"]["id"], *where)
        assert printable(subject) in shown
        assert printable(f"node-1, {label}") in shown
        assert printable(label) in place.read("show", "log", *where)
        revoke = ("revoke", result["outcome"]["id"], "--why", subject, *where)
        assert printable(subject) in place.read(*revoke, expect=2)
        cli(*revoke, "--yes", cwd=place.folder)
        place.read(*revoke, "--yes", expect=6)
        place.read("supersede", result["outcome"]["id"], ENCODABLE, *where, expect=2)
        assert printable(subject) in place.read("motion", "erase", result["outcome"]["id"], *where, expect=2)
        order = ("erase", result["outcome"]["id"], "--everywhere", *where)
        place.read(*order, "--why", subject, expect=2)
        assert printable(label) in place.read(*order, "--key", "registry/key", "--yes", "--why", subject)
        assert printable(label) in place.read("show", "certificate", result["outcome"]["id"], *where)
        for args in (("admit", ENCODABLE, "--title", "x"), ("replace-key", ENCODABLE), ("organisation-key", ENCODABLE)):
            place.read("member", *args, *where, expect=2)
        assert "nothing was changed" in place.read("member", "certifies", "on", *where, expect=2)
        place.read("member", "ml-dsa", *where, expect=2)
        assert "nothing was changed" in place.read("member", "ml-dsa", "--end", *where, expect=2)
        for args in (("remove", LEGAL), ("rename", LEGAL, "--title", "x"), ("stop-rotation", LEGAL)):
            assert printable(LEGAL) in place.read("member", *args, *where, expect=5)
        place.read("member", "rename", "node-1", "--title", label, *where, expect=6)
        place.read("member", "set-stake", f"{LEGAL}=5", *where, expect=5)
        place.read("member", "leave", *where, expect=2)
        place.read("member", "list", *where)
        place.read("motion", "set", ANYTHING, "5", *where, expect=2)
        place.read("motion", "list", *where)
        for word in ("show", "approve", "object"):
            place.read("motion", word, LEGAL, *where, expect=2)


def of_what_is_named(place: Place) -> None:
    """Arguments, files and folders with strange names, and what they hold."""
    folder = FOLDER_NAME
    (place.folder / "batch.csv").write_text(f'subject,{MARKUP}"{ENCODABLE}\n'.replace("\0", ""), newline="")
    for args in (["batch.csv"], [FILE_NAME], [f"{FILE_NAME}.not"]):
        place.read("certify", "--batch", *args, "--data", "node", expect=2)
    place.read("certify", "--subject", ANYTHING, "--data", "node", expect=2)
    place.read("certify", f"{FILE_NAME}.not", "--data", "node", expect=2)
    place.read("key", "new", "--no-passphrase", "--data", f"{{form}}{folder}")
    place.read("key", "ml-dsa", "--no-passphrase", "--data", f"{{form}}{folder}")
    folder = f"0{folder}"
    assert printable(folder) in place.read("key", "new", "--no-passphrase", "--data", folder, expect=2)
    assert printable(folder) in place.read("key", "show", "--data", folder)
    assert printable(folder) in place.read("run", "--data", folder, expect=2, is_json=False)
    assert printable(folder) in place.read("up", folder, expect=2, is_json=False)
    for command in (["status"], ["config"], ["names", "list"], ["backup", "copy.db"]):
        assert printable(folder) in place.read(*command, "--data", folder, expect=2)
    assert printable(folder) in place.read("guard", "show", "--data", folder)
    assert printable(folder) in place.read("guard", "move", folder, "--data", folder, expect=2)
    assert printable(folder) in place.read("guard", "lost", "--data", folder)
    for word in ("recover", "accept-loss"):
        assert printable(folder) in place.read("guard", word, "--yes", "--data", folder, expect=2)
    for command in (["new", NOTE_NAME], ["show"], ["add-log", TiledLog().key.text], ["remove-log", NOTE_NAME]):
        code = {"new": 2}.get(command[0], 5)
        assert printable(folder) in place.read("witness", *command, "--data", folder, expect=code)
    place.read("witness", "add-log", ANYTHING, "--data", folder, expect=6)
    (place.folder / folder / "node.toml").write_text(f'listen = "{LEGAL}"\n{MARKUP}')
    place.read("config", "--data", folder, expect=2)
    for command in (["show", "--chain"], ["search", "--chain"]):
        assert printable(folder) in place.read(*command, folder, expect=2)
    assert printable(LEGAL[:5]) in place.read("run", "--data", folder, expect=2, is_json=False)


def of_what_is_founded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    name, folder = f"class{LEGAL}"[:64], f"{{form}}{FOLDER_NAME}"
    free = ("--no-passphrase",)
    told = place.read("new", name, "--members", "1", "--into", folder, *free)
    assert printable(name) in told
    member = f"{LEGAL}={BEN.public_key.hex()}"
    told = place.read("new", name, "--member", member, "--address", "a:1", "--data", f"own{folder}", "--open", *free)
    assert printable(LEGAL) in told
    directory = ["new", name, "--address", "a:1", "--data", "own", *free]
    told = place.read(*directory, "--as", "A", "--member", f"b/{member}", expect=6)
    assert "is no character of names" in told
    place.read(*directory, "--as", ANYTHING, "--member", f"B={BEN.public_key.hex()}", expect=2)
    line = write_invite(bytes(32), BEN.public_key, ("127.0.0.1:7200",))
    monkeypatch.setattr(joining, "fetch", lambda *_: found_ledger())
    assert printable(name) in place.read("join", line, "--data", f"joined{folder}", *free)
    place.read("join", f"tallystick1{ANYTHING}", "--data", "new", *free, expect=6)
    place.read("new", ANYTHING, "--members", "1", "--into", "new", *free, expect=6)
    for listen in (["--listen", ANYTHING], ["--address", ANYTHING]):
        place.read("join", line, "--data", "new", *listen, *free, expect=2)
    of_what_is_continued(place)
    told = place.read("demo", FILE_NAME, "--simulated", "--seed", "7", "--chain", f"{FILE_NAME}.db")
    assert printable(FILE_NAME) in told


def of_what_is_continued(place: Place) -> None:
    """An older ledger's name, in a draft and in the ledger that comes of it."""
    name, folder = printable(f"class{LEGAL}"[:64]), f"continued{{form}}{FOLDER_NAME}"
    DataFolder(place.folder / "old").create_key(ADA, "", "minimal")
    new = ("new", f"class{LEGAL}"[:64], "--continues", "node", "--key", "old/key", "--as", "A", "--data", folder)
    assert name in place.read(*new, "--draft", "{form}draft", "--no-passphrase", "--yes")
    sign = ("key", "continue", "--chain", "node/ledger.db", "--data", "old")
    assert name in place.read(*sign, "0draft", expect=2)
    assert name in place.read(*sign, "0draft", "--yes")
    place.read(*sign, FILE_NAME, expect=6)
    found = ("new", "--from-draft", "{form}draft", "--address", "a:1", "--data", folder)
    place.read(*found, "--signed", ANYTHING, expect=2)
    assert f"goes on from {name}" in place.read(*found)
    assert f"goes on from {name}" in place.read("show", "--data", folder.replace("{form}", "0"))


def of_wrong_usage(place: Place) -> None:
    """What Typer says of arguments that it cannot make sense of."""
    wrong = f"{MARKUP}{ANYTHING}"
    for args in (["show", "block"], ["status", "--data"]):
        assert place.read(*args, "x" * 9_000, expect=2, is_json=False).count("x") < 2 * 5_000
    for args in (
        [wrong],
        [f"--{ANYTHING}"],
        ["show", wrong],
        ["show", "chain", wrong],
        ["show", "block", wrong],
        ["show", "certificate", wrong],
        ["show", f"--{ANYTHING}"],
        ["key", wrong],
        ["show", "log", "--cursor", wrong],
        ["search", "--since", wrong],
        ["search", "--sha256", wrong],
        ["search", "--kind", wrong],
        ["names", wrong],
        ["stake", wrong],
        ["status", wrong],
        ["run", "--log-level", wrong],
        ["new", "x", "--member", wrong],
        ["new", "x", "--members", wrong],
    ):
        place.read(*args, expect=2, is_json=False)
    assert r"\u{202e}" in place.read("status", "\u202e", expect=2, is_json=False)


LOOKS = (of_a_kept_chain, of_a_running_node, of_what_is_decided, of_what_is_named, of_wrong_usage)


def test_no_command_shows_what_drives_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set[tuple[str, ...]]()
    for number, look in enumerate(LOOKS):
        folder = tmp_path / str(number)
        folder.mkdir()
        place = Place(folder)
        look(place)
        seen |= place.seen
    place = Place(tmp_path)
    of_what_is_founded(place, monkeypatch)
    missing = {path for path in ALL_COMMANDS if path} - seen - place.seen
    assert not missing, "every command is read"


# ---- the doors themselves -------------------------------------------------------------------------------------


def printed(*what: Any, **options: Any) -> str:
    file = StringIO()
    Terminal(file=file, width=600, force_terminal=True, **options).print(*what)
    return _OF_RICH_ITSELF.sub("", file.getvalue()).rstrip("\n")


def test_a_string_is_shown_as_it_is_wherever_it_stands() -> None:
    table = Table(box=None)
    table.add_column(MARKUP)
    table.add_row(f"{MARKUP}{ANYTHING}")
    for what in (MARKUP, Text(MARKUP), table):
        assert MARKUP in printed(what)
    assert printable(ANYTHING) in printed(table)
    assert printed(ANYTHING) == printed(Text(ANYTHING)) == printable(ANYTHING)
    assert printed(Text("a\n").append("\u202e", style="bold"), r"\u{a}") == r"a\u{a}\u{202e} \u{5c}u{a}"
    assert printed(Text.assemble("a\\u{a}", ("\u202e", "bold"))) == r"a\u{5c}u{a}\u{202e}"


def test_text_that_others_put_together_is_caught_on_its_way() -> None:
    held = ANYTHING.replace("\n", "")
    for what in (RichText(held), Panel("body", title=held)):
        assert not strange_characters(printed(what).replace("\n", ""))
    with Terminal(file=(file := StringIO()), force_terminal=True).status(f"{MARKUP}{ANYTHING}"):
        pass
    shown = _OF_RICH_ITSELF.sub("", file.getvalue())
    assert not strange_characters(shown.replace("\n", ""))
    assert "[bold red]" in shown


def test_a_question_is_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(text: str, **_: object) -> str:
        asked.append(text)
        return "secret"

    monkeypatch.setattr(typer, "prompt", answer)
    assert ask_secret(ANYTHING, is_new=False) == "secret"
    assert asked == [printable(ANYTHING)]


def test_a_fault_in_the_program_is_told_without_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cli("key", "new", "--no-passphrase", cwd=tmp_path)
    assert sys.excepthook is show_fault
    try:
        raise ValueError(ANYTHING)
    except ValueError as error:
        show_fault(type(error), error, error.__traceback__)
    lines = capsys.readouterr().err.split("\n")
    assert lines[0] == "Traceback (most recent call last):"
    assert not any(strange_characters(line) for line in lines)


@pytest.mark.parametrize("as_json", [False, True])
def test_no_line_of_a_log_holds_it(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    text = f"{MARKUP}{ANYTHING}"
    start_logging("debug", as_json)
    ReportLog().note(0, ReportRefused(Refused(Rule.E2, text), ADA.public_key))
    note(logging.INFO, "disconnected", peer=ADA.public_key, reason=f"the peer says: {text}", address=text)
    note(logging.ERROR, text, reason="x" * 5_000)
    logging.getLogger("tallystick.network").info("no connection with %s", text)
    asyncio.run(_fails_unheard(text))
    logging.getLogger("somebody.else").warning("it says %s", text)
    lines = capsys.readouterr().err.removesuffix("\n").split("\n")
    assert len(lines) == 6
    assert "xxx" in lines[2]
    assert len(lines[2]) < 5_000
    for line in lines:
        assert not strange_characters(line), line
    if not as_json:
        assert printable(text).replace("\\", "\\\\") in lines[1]
        return
    events = [json.loads(line) for line in lines]
    assert not any(strange_characters(one) for event in events for one in strings_in(event))
    assert events[1]["address"] == events[2]["event"] == printable(text)
    assert printable(text) in events[0]["reason"]
    assert "traceback" in events[4]


async def _fails_unheard(text: str) -> None:
    loop = asyncio.get_running_loop()
    try:
        raise ValueError(text)
    except ValueError as error:
        loop.call_exception_handler({"message": f"exception {text}", "exception": error})
