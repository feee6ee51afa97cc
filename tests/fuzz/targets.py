"""What is fuzzed: each parser with the files that it starts from."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tallystick.client.mirror import Mirror
from tallystick.client.mirror_proving import MirrorProver
from tallystick.client.pdf_files import carried_by
from tallystick.client.time_stamp_token import read_token
from tallystick.client.time_stamps import TimeStamps
from tallystick.ledger.bundle import extra_codec, hand_over_codec, read_bundle
from tallystick.ledger.checkpoint import parse_checkpoint
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.note import Note, parse_key, parse_note
from tallystick.ledger.tlog_conflict import make_conflict, parse_conflict
from tallystick.ledger.tlog_policy import parse_policy
from tallystick.ledger.tlog_proof import parse_proof
from tallystick.ledger.tlog_witness import AddCheckpoint, parse_add_checkpoint
from tallystick.problems import Problem
from tallystick.proof.verify import Demand, verify
from tests.mirrors import mirror_files
from tests.proof_corpus import CASES, FOLDER
from tests.proving import ProvenLedger, short_epochs
from tests.tiled_log import TiledLog

C2SP = Path(__file__).parent.parent / "vectors" / "c2sp"
PDFS = C2SP.parent / "pdf"


class Target(NamedTuple):
    """`run` raises `Refused`, or `AssertionError` where what was read is not written the same again."""

    run: Callable[[bytes], None]
    starts: Callable[[], list[bytes]]


def _proof(data: bytes) -> None:
    proof = parse_proof(data)
    assert proof.encoded.encode() == data
    parse_checkpoint(proof.checkpoint.text)


def _note(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    assert parse_note(text).encoded == text


def _checkpoint(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    assert text.startswith(parse_checkpoint(text).text)


def _policy(data: bytes) -> None:
    policy = parse_policy(data)
    assert policy.holds({key.public_key for key in policy.keys})
    for note in _some_notes():
        try:
            policy.check(note)
        except Refused:
            continue


def _key(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    assert parse_key(text).text == text


def _extra(data: bytes) -> None:
    assert extra_codec.decode(data).encoded == data


def _hand_over(data: bytes) -> None:
    assert hand_over_codec.decode(data).encoded == data


def _verdict(data: bytes) -> None:
    """The whole verifier, which trusts whatever ledger the proof is of."""
    bundle = read_bundle(data)
    verify(bundle, Demand(0, bundle.extra.genesis.ledger_id))


def _of_extra(data: bytes) -> None:
    """The whole verifier, of a proof that is whole but for its extra."""
    proof = parse_proof(_proofs()[0])
    _verdict(proof._replace(extra=data).encoded.encode())


def _conflict(data: bytes) -> None:
    conflict = parse_conflict(data)
    assert conflict.encoded.encode() == data
    conflict.check()
    conflict.signers(conflict.keys)


def _request(data: bytes) -> None:
    asked = parse_add_checkpoint(data)
    assert asked.encoded.encode() == data
    asked.check_goes_on(asked.checkpoint)


def _pdf(data: bytes) -> None:
    """A PDF that carries a proof, or another."""
    carried = carried_by("a.pdf", data)
    if carried is not None and carried.changed is not None:
        raise carried.changed


def _mirrored(path: str, data: bytes) -> None:
    """Whatever a mirror holds, what is proven by it is so, or nothing is."""
    files, certificate_id, block = _mirror()
    try:
        with Mirror(_InMemory({**files, path: data})) as mirror:
            made = MirrorProver(mirror).prove(certificate_id)
    except Problem as problem:
        raise Refused(Rule.E2, str(problem)) from None
    bundle = read_bundle(made.proof.encode(), made.members, made.payload)
    verdict = verify(bundle, Demand(0, bytes.fromhex(files["ledger"].decode())))
    assert (verdict.certificate.id.hex(), verdict.block.hash) == (certificate_id, block)


def _of_mirror(path: str) -> Target:
    return Target(partial(_mirrored, path), lambda: [_mirror()[0][path]])


class _InMemory(NamedTuple):
    """A mirror's files."""

    files: dict[str, bytes]
    where: str = "memory"

    def read(self, wanted: Sequence[tuple[str, int]]) -> list[bytes | None]:
        return [self.files.get(path) for path, _ in wanted]

    def close(self) -> None:
        pass


@cache
def _mirror() -> tuple[dict[str, bytes], str, bytes]:
    """The files of a small mirror, with the ledger's id; a certificate in it, and the hash of its block."""
    with TemporaryDirectory() as folder:
        ledger = ProvenLedger(Path(folder) / "chain.db", short_epochs(4))
        said = [ledger.scribe.statement() for _ in range(3)]
        blocks = [ledger.forge(one) for one in said]
        ledger.forge(ledger.scribe.revocation(said[2]))
        files = mirror_files(ledger, ledger.countersigned())
        ledger.store.close()
    return {**files, "ledger": ledger.genesis.ledger_id.hex().encode()}, said[1].id.hex(), blocks[1].hash


def _time_stamp(data: bytes) -> None:
    """Read, and judged by the library under its own root: what is not signed may change, what it shows may not."""
    token = read_token(data)
    again = read_token(token.with_certificates(token.certificates))
    assert again.signed_parts == token.signed_parts
    log = C2SP / "log-5"
    root = (log / "ca.pem").read_bytes()
    stamp = TimeStamps(lambda: {"test": root}).judge((log / "checkpoint").read_bytes(), data)
    assert stamp.not_later_ms in (None, 1_795_631_765_999)


@cache
def _proofs() -> list[bytes]:
    """Ours that are valid and not long, the plainest first."""
    names = ["base-valid.tlog-proof", *(case["proof"] for case in CASES if case["rule"] is None)]
    found = [(FOLDER / name).read_bytes() for name in names]
    return [one for one in found if len(one) < 20_000]


@cache
def _extras() -> list[bytes]:
    return [extra for one in _proofs() if (extra := parse_proof(one).extra) is not None]


def _hand_overs() -> list[bytes]:
    found = [extra_codec.decode(one).hand_over for one in _extras()]
    return [one.encoded for one in found if one is not None]


@cache
def _some_notes() -> list[Note]:
    return [parse_note(one.decode()) for one in _notes()[:2]]


def _notes() -> list[bytes]:
    others = [path.read_bytes() for path in sorted(C2SP.glob("log-*/checkpoint"))]
    return [*others, *(one.partition(b"\n\n")[2] for one in _others())]


def _others() -> list[bytes]:
    return [path.read_bytes() for path in sorted(C2SP.glob("proofs/*.tlog-proof"))]


def _policies() -> list[bytes]:
    return [path.read_bytes() for path in sorted(C2SP.glob("policy-*.txt"))]


def _keys() -> list[bytes]:
    return [word for policy in _policies() for word in policy.split() if b"+" in word]


def _conflicts() -> list[bytes]:
    log = TiledLog().grow(9)
    fork = log.fork(5).grow(12, "other")
    shown = (fork.root(9), tuple(fork.proof(9)))
    made = (
        make_conflict(log.note(), fork.note(9), [log.key]),
        make_conflict(log.note(), fork.note(), [log.key], shown),
    )
    return [one.encoded.encode() for one in made]


def _requests() -> list[bytes]:
    log = TiledLog().grow(9)
    asked = [AddCheckpoint(size, tuple(log.proof(size)), log.note(), log.checkpoint()) for size in (0, 5, 9)]
    return [one.encoded.encode() for one in asked]


TARGETS = {
    "proof": Target(_proof, lambda: [*_others(), *_proofs()]),
    "note": Target(_note, _notes),
    "checkpoint": Target(_checkpoint, lambda: [one.rpartition(b"\n\n")[0] + b"\n" for one in _notes()]),
    "policy": Target(_policy, _policies),
    "key": Target(_key, _keys),
    "extra": Target(_extra, _extras),
    "hand-over": Target(_hand_over, _hand_overs),
    "conflict": Target(_conflict, _conflicts),
    "request of a witness": Target(_request, _requests),
    "PDF": Target(_pdf, lambda: [path.read_bytes() for path in sorted(PDFS.glob("*-attached.pdf"))]),
    "verdict": Target(_verdict, _proofs),
    "verdict of an extra": Target(_of_extra, _extras),
    "mirror's state": _of_mirror("tallystick/state/4"),
    "mirror's headers": _of_mirror("tallystick/headers/000.p/4"),
    "mirror's certificates": _of_mirror("tile/entries/000.p/4"),
    "mirror's ids": _of_mirror("tallystick/ids/000.p/4"),
    "time stamp": Target(_time_stamp, lambda: [(C2SP / "log-5" / "r.tsr").read_bytes()]),
}
