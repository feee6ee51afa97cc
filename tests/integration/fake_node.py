"""A node as its socket shows it: answers what a test tells it to, from a kept chain where that is asked for."""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, chdir, contextmanager, suppress
from pathlib import Path
from typing import Any

from tallystick.host.control import (
    LENGTH_BYTES,
    Accepted,
    Answer,
    BlockFound,
    CertificateFound,
    Certify,
    ChangeStake,
    Done,
    Failed,
    Finalized,
    FindCertificates,
    FindFile,
    GetBlock,
    GetPeers,
    GetStakes,
    GetStatus,
    MemberLine,
    Peers,
    Request,
    Stakes,
    Status,
    Submit,
    decode_request,
    framed,
)
from tallystick.host.data_folder import DataFolder
from tallystick.ledger.encoding import encode
from tallystick.storage.file_statement import FileStatement
from tallystick.storage.store import Store

NOW_MS = 1_750_000_000_000

Answering = Callable[[Request], Iterable[Answer]]


class ChainNode:
    """Answers as a node does whose ledger is this file, and takes whatever it is handed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.asked: list[Request] = []

    def __call__(self, request: Request) -> Iterable[Answer]:
        self.asked.append(request)
        with Store.open(self._file, read_only=True) as store:
            yield from self.answer(store, request)

    def answer(self, store: Store, request: Request) -> Iterator[Answer]:
        match request:
            case GetStatus():
                yield status(store)
            case GetPeers():
                yield Peers(())
            case GetStakes():
                yield stakes(store)
            case GetBlock(index):
                block, finalization = store.block(index), store.finalization(index)
                if block is None:
                    yield Failed(f"there is no block {index}")
                else:
                    yield BlockFound(block.encoded, encode(finalization) if finalization else b"")
            case FindCertificates(id_prefix):
                for block in store.blocks():
                    for position, one in enumerate(block.certificates):
                        if one.id.hex().startswith(id_prefix):
                            yield found(store, block.index, position)
            case FindFile(sha256, size_bytes):
                for place in store.find_file(FileStatement("?", size_bytes, sha256)):
                    yield found(store, place.block_index, place.position)
            case Certify() | Submit() | ChangeStake():
                statements = request.statements if isinstance(request, Certify) else ()
                count = 1 if isinstance(request, ChangeStake) else len(statements or getattr(request, "entries", ()))
                for number in range(count):
                    yield Accepted(number, bytes([number % 256]) * 32)
                for number in range(count):
                    yield Finalized(number, bytes([number % 256]) * 32, 7, number, NOW_MS, 120.0)


def status(store: Store, **changed: object) -> Status:
    block = store.block(store.tip_index)
    fields = {
        "ledger_id": store.genesis.ledger_id,
        "ledger_name": store.genesis.name,
        "version": "0.1.0",
        "key": store.genesis.allotments[0].member,
        "address": "127.0.0.1:7117",
        "started_ms": NOW_MS - 60_000,
        "now_ms": NOW_MS,
        "index": store.tip_index,
        "tip_hash": block.hash if block else bytes(32),
        "tip_timestamp_ms": NOW_MS - 3_000,
        "certificates": 20,
        "epoch": 0,
        "view": 1,
        "stake": 100,
        "total_stake": 400,
        "is_voting": True,
        "guard": "ready",
        "unanswered": (),
        "silent_until": None,
        "twin": None,
        "is_loss_accepted": False,
        "is_burned": False,
        "mismatch": "",
        "waiting": 0,
        "best_index": store.tip_index,
        "peers": 3,
        "members_connected": 4,
        "members": 4,
        "stuck": None,
    }
    return Status(**{**fields, **changed})  # type: ignore[arg-type]


def stakes(store: Store) -> Stakes:
    """Those that the ledger began with, told as if they were the last epoch's."""
    lines = [MemberLine(one.member, one.free, one.staked, (), one.staked, True) for one in store.genesis.allotments]
    tip = store.block(store.tip_index)
    return Stakes(tuple(lines), 0, tip.header.epoch if tip else 0)


def found(store: Store, block_index: int, position: int) -> CertificateFound:
    block = store.block(block_index)
    assert block is not None
    certificate = block.certificates[position]
    payload = store.payload(certificate.payload_hash) if certificate.payload_hash else None
    return CertificateFound(
        certificate.encoded,
        encode(payload) if payload else b"",
        block_index,
        position,
        block.hash,
        block.header.timestamp_ms,
    )


@contextmanager
def listening(path: Path, answering: Answering) -> Iterator[None]:
    """Serve on the socket until the end; whatever the test answers with, and `Done` unless it has failed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()
        thread = threading.Thread(target=_serve, args=(server, answering), daemon=True)
        thread.start()
        try:
            yield
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            path.unlink()
    thread.join(10)


def _serve(server: socket.socket, answering: Answering) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_talk, args=(client, answering), daemon=True).start()


def _talk(client: socket.socket, answering: Answering) -> None:
    with client, client.makefile("rb") as stream, suppress(OSError):
        while size := stream.read(LENGTH_BYTES):
            for answer in answering(decode_request(stream.read(int.from_bytes(size, "big")))):
                client.sendall(framed(answer))
                if isinstance(answer, Failed):
                    break
            else:
                client.sendall(framed(Done()))


class Running:
    """Lets a node run in the folder, with answers of a test's own where it gives some."""

    def __init__(self, folder: Path) -> None:
        self.node = DataFolder(folder / "node")
        self.chain = ChainNode(self.node.ledger_path)
        self._stack = ExitStack()

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, answering: Any = None) -> ChainNode:
        def answer(request: Request) -> Iterable[Answer]:
            own = answering(request) if answering else None
            if own is not None:
                self.chain.asked.append(request)
                return own
            return self.chain(request)

        self._stack.enter_context(chdir(self.node.path))
        self._stack.enter_context(listening(Path("control.sock"), answer))
        return self.chain
