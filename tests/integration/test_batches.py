"""Rule K2 in batches: the native module and PyNaCl give the same verdicts, on whatever comes."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.crafted import KINDS, Crafter, difference
from tests.vectors.signatures import vectors

from tallystick.host import acceptance
from tallystick.host.acceptance import check_acceptance
from tallystick.host.batches import VERIFIER, Claim, VerifyBatch, verify_batch, verify_natively, verify_one_by_one
from tallystick.host.verification_worker import READY_ONE_BY_ONE, frame
from tallystick.ledger.encoding import encode
from tallystick.problems import VerificationFailed

needs_native = pytest.mark.skipif(
    verify_natively is None, reason="the native module is not built: run `make fast`, which needs cargo"
)
BACK_ENDS = [
    pytest.param(verify_one_by_one, id="PyNaCl"),
    pytest.param(verify_natively, id="native", marks=needs_native),
]
each_back_end = pytest.mark.parametrize("verify", BACK_ENDS)

CLAIMS: list[Claim] = [(one.message, one.signature, one.public_key) for one in vectors()]
VERDICTS = bytes(one.accepted for one in vectors())
GOOD = [claim for claim, verdict in zip(CLAIMS, VERDICTS, strict=True) if verdict]


# ---- verdicts -------------------------------------------------------------------------------------------------------


@each_back_end
def test_the_vectors_are_decided_as_listed_alone_and_together(verify: VerifyBatch) -> None:
    assert verify(encode(CLAIMS)) == VERDICTS
    assert b"".join(verify(encode([claim])) for claim in CLAIMS) == VERDICTS
    assert verify(encode([])) == b""


@each_back_end
def test_one_bad_claim_anywhere_in_a_batch_is_the_one_that_is_refused(verify: VerifyBatch) -> None:
    bad = [claim for claim, verdict in zip(CLAIMS, VERDICTS, strict=True) if not verdict]
    for number, claim in enumerate(bad):
        place = number % (len(GOOD) + 1)
        found = verify(encode([*GOOD[:place], claim, *GOOD[place:]]))
        assert found == bytes([1] * place + [0] + [1] * (len(GOOD) - place))


@each_back_end
def test_the_same_claim_many_times_is_verified_each_time(verify: VerifyBatch) -> None:
    assert verify(encode([GOOD[0], GOOD[0], CLAIMS[-1], GOOD[0]])) == bytes([1, 1, VERDICTS[-1], 1])


@needs_native
@pytest.mark.parametrize("number", range(4))
def test_both_say_the_same_of_crafted_claims_and_so_does_the_rule_in_plain_integers(number: int) -> None:
    """`python -m tests.crafted` has done it with a million and more (docs/adr/0036)."""
    crafter, plain, count = Crafter(number), Random(number), 0
    while count < 1000:
        batch = crafter.batch()
        assert difference(batch, plain) is None
        count += len(batch)


@pytest.mark.parametrize("kind", KINDS)
def test_of_what_is_crafted_each_kind_is_what_it_is_called(kind: str) -> None:
    accepted = {"honest", "R of mixed order", "R of small order"}
    partly = {"torsion that cancels"}
    for seed in range(5):
        found = verify_one_by_one(encode(KINDS[kind](Crafter(seed))))
        assert set(found) == ({1} if kind in accepted else {0, 1} if kind in partly else {0})


# ---- what is no batch -----------------------------------------------------------------------------------------------

BATCH = encode(CLAIMS[:2])
CLAIM = encode(CLAIMS[0])
NO_BATCHES = {
    "nothing": b"",
    "a number": b"\x01",
    "no array": b"\xc0",
    "a map": b"\x81" + CLAIM + CLAIM,
    "a claim, not a list of them": CLAIM,
    "a pair": encode([CLAIMS[0][:2]]),
    "four parts": encode([(*CLAIMS[0], b"")]),
    "text for bytes": encode([("text", *CLAIMS[0][1:])]),
    "a claim more than there are": b"\x93" + BATCH[1:],
    "a claim less than there are": b"\x91" + BATCH[1:],
    "more claims than any memory holds": b"\xdd\xff\xff\xff\xff" + BATCH[1:],
    "a message longer than the rest": b"\x91\x93\xc6\xff\xff\xff\xff" + CLAIM,
    "something behind": BATCH + b"\x00",
}


@each_back_end
@pytest.mark.parametrize("data", NO_BATCHES.values(), ids=list(NO_BATCHES))
def test_what_is_no_batch_is_an_error(verify: VerifyBatch, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        verify(data)


@each_back_end
def test_a_batch_that_ends_anywhere_too_early_is_an_error(verify: VerifyBatch) -> None:
    for size in range(len(BATCH)):
        with pytest.raises(ValueError, match=r"."):
            verify(BATCH[:size])


@needs_native
@given(place=st.integers(0, len(BATCH) - 1), byte=st.integers(0, 255), other=st.binary(max_size=40))
def test_both_take_the_same_for_a_batch(place: int, byte: int, other: bytes) -> None:
    for data in (BATCH[:place] + bytes([byte]) + BATCH[place + 1 :], BATCH[:place] + other, other):
        outcomes = []
        for verify in (verify_one_by_one, verify_natively):
            assert verify is not None
            try:
                outcomes.append(verify(data))
            except ValueError:
                outcomes.append(b"no batch")
        assert outcomes[0] == outcomes[1]


def headed(counts: tuple[bytes, bytes], sizes: Callable[[bytes], bytes]) -> bytes:
    """A batch of one claim, with these headers of the two arrays, and one for each byte string."""
    return counts[0] + counts[1] + b"".join(sizes(part) + part for part in GOOD[0])


@each_back_end
@pytest.mark.parametrize("outer", [b"\x91", b"\xdc\0\1", b"\xdd\0\0\0\1"])
@pytest.mark.parametrize("inner", [b"\x93", b"\xdc\0\3", b"\xdd\0\0\0\3"])
@pytest.mark.parametrize(("head", "size_bytes"), [(b"\xc4", 1), (b"\xc5", 2), (b"\xc6", 4)])
def test_counts_and_lengths_may_have_any_form(
    verify: VerifyBatch, outer: bytes, inner: bytes, head: bytes, size_bytes: int
) -> None:
    assert verify(headed((outer, inner), lambda part: head + len(part).to_bytes(size_bytes, "big"))) == b"\1"


# ---- where it runs --------------------------------------------------------------------------------------------------


@needs_native
def test_the_interpreter_goes_on_while_the_native_module_verifies() -> None:
    """With an interval that never ends, another thread gets a turn only if the lock is let go of."""
    batch, is_begun, is_done, seen_at_work = encode(GOOD * 2000), threading.Event(), threading.Event(), False

    def work() -> None:
        is_begun.set()
        verify_batch(batch)
        is_done.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        is_begun.wait()
        seen_at_work = not is_done.is_set()
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert seen_at_work


def test_the_verifier_has_a_name() -> None:
    assert VERIFIER.startswith("PyNaCl" if verify_natively is None else "tallystick-native ")


WITHOUT = "import sys; sys.path[:0] = {path!r}; sys.modules['tallystick_native'] = None\n"
WORKER = WITHOUT + "from tallystick.host.verification_worker import main; main()"


def test_a_worker_without_the_native_module_gives_the_same_verdicts() -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", WORKER.format(path=sys.path)]
    with ours, theirs, subprocess.Popen(command, stdin=theirs.fileno()) as worker:
        theirs.close()
        stream = ours.makefile("rwb")
        assert stream.read(1) == READY_ONE_BY_ONE
        stream.write(frame(CLAIMS))
        stream.flush()
        assert stream.read(len(CLAIMS)) == VERDICTS
        stream.close()
        ours.close()
        assert worker.wait() == 0


def raising(error: Exception) -> VerifyBatch:
    def verify(_batch: bytes) -> bytes:
        raise error

    return verify


@pytest.mark.parametrize(
    ("native", "told"),
    [
        (lambda batch: bytes([1]) * len(msgspec.msgpack.decode(batch)), r"\[K2\].*is accepted, and has to be refused"),
        (
            lambda batch: bytes([0]) * len(msgspec.msgpack.decode(batch)),
            r"\[K2\].*'honest' is refused, and has to be accepted",
        ),
        (lambda batch: VERDICTS if batch == encode(CLAIMS) else b"\x00", r"\[K2\].*'honest' is refused"),
        (lambda _: b"", r"gives 0 verdicts on \d+ signatures"),
        (lambda batch: VERDICTS if batch == encode(CLAIMS) else b"", r"gives 0 verdicts on 1 signatures"),
        (lambda _: None, r"ends in TypeError"),
        (raising(ValueError("no list")), r"ends in ValueError\('no list'\)"),
        (raising(OSError("no randomness")), r"ends in OSError\('no randomness'\)"),
    ],
    ids=["accepts all", "refuses all", "differs alone", "none", "none alone", "nothing", "ValueError", "OSError"],
)
def test_a_native_module_that_breaks_the_rule_is_not_used(
    native: VerifyBatch, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptance, "verify_natively", native)
    with pytest.raises(VerificationFailed, match=rf"{told}.*make fast"):
        check_acceptance()


BROKEN = {
    "not a library": ("tallystick_native.abi3.so", b"no library" * 100, "ImportError"),
    "an older one": ("tallystick_native.py", b"VERSION = '0.0'\nverify_batch = bytes\n", "AttributeError"),
    "lacks what it needs": ("tallystick_native.py", b"import nothing_of_this_name\n", "nothing_of_this_name"),
    "raises": ("tallystick_native.py", b"raise SystemError('half of it')\n", "half of it"),
}
LOADS = """
import sys; sys.path[:0] = {path!r}
from tallystick.host.acceptance import check_acceptance
from tallystick.host.batches import VERIFIER
from tallystick.host.verification import verify_in_line
from tallystick.problems import VerificationFailed
print(VERIFIER)
for use in (check_acceptance, lambda: verify_in_line([])):
    try:
        use()
    except VerificationFailed as failure:
        print(failure)
"""


@pytest.mark.parametrize(("name", "content", "told"), BROKEN.values(), ids=list(BROKEN))
def test_a_native_module_that_does_not_load_is_an_error_where_it_is_to_verify(
    name: str, content: bytes, told: str, tmp_path: Path
) -> None:
    """And not where it is imported: what verifies nothing works, and nobody is left with PyNaCl unawares."""
    (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-c", LOADS.format(path=[str(tmp_path), *sys.path])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    verifier, *failures = done.stdout.splitlines()
    assert "does not load" in verifier
    assert len(failures) == 2
    assert all("does not load" in one and told in one and "make fast" in one for one in failures)
