"""What is fuzzed: each parser with the files that it starts from."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tallystick.client.time_stamp_token import read_token
from tallystick.client.time_stamps import TimeStamps
from tallystick.ledger.checkpoint import parse_checkpoint
from tallystick.ledger.errors import Refused
from tallystick.ledger.note import Note, parse_key, parse_note
from tallystick.ledger.tlog_policy import parse_policy
from tallystick.ledger.tlog_proof import parse_proof
from tallystick.proof.bundle import extra_codec, hand_over_codec, read_bundle
from tallystick.proof.verify import Demand, verify
from tests.proof_corpus import CASES, FOLDER

C2SP = Path(__file__).parent.parent / "vectors" / "c2sp"


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


TARGETS = {
    "proof": Target(_proof, lambda: [*_others(), *_proofs()]),
    "note": Target(_note, _notes),
    "checkpoint": Target(_checkpoint, lambda: [one.rpartition(b"\n\n")[0] + b"\n" for one in _notes()]),
    "policy": Target(_policy, _policies),
    "key": Target(_key, _keys),
    "extra": Target(_extra, _extras),
    "hand-over": Target(_hand_over, _hand_overs),
    "verdict": Target(_verdict, _proofs),
    "verdict of an extra": Target(_of_extra, _extras),
    "time stamp": Target(_time_stamp, lambda: [(C2SP / "log-5" / "r.tsr").read_bytes()]),
}
