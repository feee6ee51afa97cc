"""What a mirror is read from: a folder or a web server, which may be anybody's, and may be hostile."""

import gzip
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.mirrors import write_mirror
from tests.ports import drawn_port
from tests.proving import ProvenLedger, short_epochs
from tests.tiled_log import TiledLog

from tallystick.client import mirror
from tallystick.client.mirror import FolderFiles, Mirror, Missing, files_at
from tallystick.client.mirror_proving import MirrorProver
from tallystick.client.rederiving import rederive_log
from tallystick.problems import DamagedStore, ExitCode, NotInTime, NotRunning, Problem
from tallystick.storage.mirror import Part, tiles

Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """That of a mirror with one certificate, of which the id stands in the file `id`."""
    ledger = ProvenLedger(tmp_path / "chain.db", short_epochs(4))
    one = ledger.scribe.statement()
    ledger.forge(one)
    write_mirror(ledger, ledger.countersigned(), tmp_path / "mirror")
    (tmp_path / "id").write_text(one.id.hex())
    return tmp_path / "mirror"


@contextmanager
def served(answer: Answer) -> Iterator[str]:
    """A web server that answers so; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", drawn_port(1)), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/m"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def from_folder(folder: Path) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        file = folder / handler.path.removeprefix("/m/")
        reply(handler, 200, file.read_bytes()) if file.is_file() else reply(handler, 404)

    return answer


def test_a_web_server_and_a_folder_give_the_same_proof(folder: Path) -> None:
    certificate_id, made = (folder.parent / "id").read_text(), []
    with served(from_folder(folder)) as url:
        for where in (folder, str(folder), url, f"{url}/"):
            with Mirror(files_at(where)) as one:
                made.append(MirrorProver(one).prove(certificate_id))
    assert made.count(made[0]) == 4


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("nowhere", "there is no folder nowhere; name a mirror by its folder, or by its URL"),
        ("ftp://log.example", "ftp://log.example is no mirror that can be read here"),
        ("https://", "is no URL of a folder"),
        ("https://log.example/?at=1", r"is no URL of a folder; name it without \? and #"),
        ("http://log.example:port", "is no URL; name"),
        ("HTTPS://ada:secret@log.example/?at=1", r"^HTTPS://log.example/\?… is no URL of a folder"),
        ("https:/ada:secret@log.example", "there is no folder …@log.example; name"),
        ("ada:secret@log.example", "there is no folder …@log.example; name"),
    ],
)
def test_what_names_no_mirror_is_told(where: str, said: str) -> None:
    with pytest.raises(Problem, match=said):
        files_at(where)


def test_what_is_no_mirror_is_told(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(Problem, match=f"{tmp_path} is no mirror: it has no file checkpoint; name the folder or URL"):
        MirrorProver(Mirror(files_at(tmp_path)))
    for content in (b"", b"\xff", b"<html>\n", b"x" * 300_000):
        (folder / "checkpoint").write_bytes(content)
        with pytest.raises(Problem, match="is no mirror: "):
            MirrorProver(Mirror(files_at(folder)))


def test_links_lead_nowhere_else(tmp_path: Path, folder: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes((folder / "checkpoint").read_bytes())
    (folder / "inside").symlink_to(folder / "checkpoint")
    files = FolderFiles(folder)
    assert files.read([("inside", 10_000)])[0] == secret.read_bytes()
    (folder / "checkpoint").unlink()
    (folder / "circle").symlink_to(folder / "circle")
    for target in (secret, Path("../secret"), Path("/dev/zero"), folder / "circle"):
        (folder / "checkpoint").symlink_to(target)
        with pytest.raises(DamagedStore, match="checkpoint leads out of it"):
            MirrorProver(Mirror(files))
        (folder / "checkpoint").unlink()
    with pytest.raises(DamagedStore, match="leads out of it"):
        files.read([("../secret", 10)])
    with pytest.raises(DamagedStore, match="leads out of it"):
        files.read([("/etc/passwd", 10)])


def test_what_is_no_file_is_not_read(folder: Path) -> None:
    (folder / "checkpoint").unlink()
    os.mkfifo(folder / "checkpoint")
    with pytest.raises(Problem, match="it has no file checkpoint"):
        MirrorProver(Mirror(files_at(folder)))


# ---- hostile servers ------------------------------------------------------------------------------------------------


def refused(url: str) -> Problem:
    with Mirror(files_at(url)) as one, pytest.raises(Problem) as caught:
        MirrorProver(one)
    return caught.value


def test_a_body_that_does_not_end_is_cut_off() -> None:
    sent = []

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                sent.append(handler.wfile.write(b"x" * 65_536))
        except OSError:
            handler.close_connection = True

    with served(endless) as url:
        assert "is no mirror: " in str(refused(url))
    assert sum(sent) < 16 * 1024 * 1024, "what the buffers of sockets hold beside the bound"


def test_a_redirect_is_not_followed() -> None:
    asked = []

    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        reply(handler, 302, Location="/m/other")

    with served(elsewhere) as url:
        assert "sends elsewhere for checkpoint; name the address where the mirror is itself" in str(refused(url))
    assert asked == ["/m/checkpoint"]


def test_what_is_compressed_otherwise_than_by_gzip_is_refused() -> None:
    with served(lambda handler: reply(handler, 200, b"x", Content_Encoding="br")) as url:
        found = refused(url)
    assert "compressed, and not by gzip" in str(found)
    assert found.exit_code == ExitCode.NOT_RUNNING


def test_what_a_server_compresses_by_gzip_is_opened(folder: Path) -> None:
    certificate_id = (folder.parent / "id").read_text()

    def compressed(handler: BaseHTTPRequestHandler) -> None:
        file = folder / handler.path.removeprefix("/m/")
        body = gzip.compress(file.read_bytes()) if file.is_file() else b""
        reply(handler, 200 if body else 404, body, Content_Encoding="gzip")

    with served(compressed) as url, Mirror(files_at(url)) as one, Mirror(files_at(folder)) as same:
        assert MirrorProver(one).prove(certificate_id) == MirrorProver(same).prove(certificate_id)


def gzipped(body: bytes) -> Answer:
    return lambda handler: reply(handler, 200, body, Content_Encoding="gzip")


def test_no_more_is_opened_of_what_is_compressed_than_the_file_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "_FIRST_PAUSE_S", 0.001)
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    for body, most, found in ((bomb, 1_000, 1_001), (bomb, 200_000, 200_001)):
        with served(gzipped(body)) as url:
            files = files_at(url)
            (data,) = files.read([("x", most)])
            files.close()
        assert data is not None
        assert len(data) == found
    for body, said in ((bomb[:5_000], "cut off"), (b"x" * 40, "is none")):
        with served(gzipped(body)) as url:
            files = files_at(url)
            with pytest.raises(NotRunning, match=said):
                files.read([("x", 1 << 30)])
            files.close()


def test_a_port_that_there_is_not_and_a_password_are_told_of_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "_FIRST_PAUSE_S", 0.001)
    for place, said in (
        ("127.0.0.1:99999/", "ports are 1 to 65,535"),
        ("127.0.0.1:65536/m", "ports are 1 to 65,535"),
        ("127.0.0.1:0/", "ports are 1 to 65,535"),
        (f"127.0.0.1:{drawn_port(1)}/m", "nobody answers there"),
        ("log.example/?x", "no URL of a folder"),
        ("[::1", "no URL"),
        ("/", "no URL of a folder"),
    ):
        with pytest.raises(Problem, match=said) as caught, Mirror(files_at(f"http://ada:se@cret@{place}")) as one:
            MirrorProver(one)
        assert "cret" not in str(caught.value)
    with pytest.raises(Problem, match=r"^ftp://log.example is no mirror"):
        files_at("ftp://ada:secret@log.example")


@pytest.mark.parametrize("has_headers", [True, False])
def test_a_drip_of_bytes_is_given_up(has_headers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "_PATIENCE_S", 0.2)
    stop = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        if has_headers:
            handler.send_response(200)
            handler.end_headers()
        else:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        with suppress(OSError):
            while not stop.wait(0.02):
                handler.wfile.write(b"x")
        handler.close_connection = True

    with served(drip) as url:
        try:
            assert isinstance(refused(url), NotInTime)
        finally:
            stop.set()


def test_who_does_not_answer_or_fails_is_asked_again_a_few_times(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(mirror, "_FIRST_PAUSE_S", 0.001)
    asked, sound = [], from_folder(folder)

    def failing(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        reply(handler, 503) if len(asked) < 3 else sound(handler)

    with served(failing) as url, Mirror(files_at(url)) as one:
        MirrorProver(one)
    with served(lambda handler: reply(handler, 500)) as url:
        found = refused(url)
    assert isinstance(found, NotRunning)
    assert f"{url} cannot be read: it answers 500; name another mirror" == str(found)
    nobody = refused(f"http://127.0.0.1:{drawn_port(1)}")
    assert "cannot be read: nobody answers there; name another mirror" in str(nobody)


def test_what_speaks_no_http_is_told_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "_FIRST_PAUSE_S", 0.001)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(3):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"SSH-2.0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        said = str(refused(f"http://127.0.0.1:{server.getsockname()[1]}"))
        thread.join()
    assert "cannot be read: the connection broke off" in said
    assert "Error" not in said


def test_what_is_more_than_is_kept_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = TiledLog().grow(2_048 + 300)
    files, asked = FolderFiles(log.write(tmp_path / "log")), list[str]()
    read = files.read

    def counted(wanted: Sequence[tuple[str, int]]) -> list[bytes | None]:
        asked.extend(path for path, _ in wanted if "entries" in path)
        return read(wanted)

    monkeypatch.setattr(files, "read", counted)
    monkeypatch.setattr(mirror, "_MOST_KEPT_BYTES", 4_000)
    rederive_log(Mirror(files), len(log.entries), log.root(), 0, lambda done: None)
    assert len(asked) == len(set(asked)) == 10


def test_what_was_read_is_kept_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, asked = TiledLog().grow(3 * 256), list[str]()
    files = FolderFiles(log.write(tmp_path / "log"))
    read = files.read

    def counted(wanted: Sequence[tuple[str, int]]) -> list[bytes | None]:
        asked.extend(path for path, _ in wanted)
        return read(wanted)

    monkeypatch.setattr(files, "read", counted)
    monkeypatch.setattr(mirror, "_MOST_KEPT_BYTES", 2 * 256 * 32)
    of_it = Mirror(files)
    for number in (0, 1, 0, 2, 0, 1):
        of_it.items(Part(tiles(0), number, 256))
    assert asked == [f"tile/0/00{number}" for number in (0, 1, 2, 1)], "what was not asked for longest goes"


def test_a_store_that_forbids_what_it_lacks_lacks_it(folder: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if "state" in handler.path:
            reply(handler, 403)
        else:
            from_folder(folder)(handler)

    with served(answer) as url:
        assert isinstance(refused(url), Missing)
