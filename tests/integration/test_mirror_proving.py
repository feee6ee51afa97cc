"""Proofs from a mirror alone: those of the node, byte for byte; and what a hostile mirror can do, which is to deny."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.builders import START_MS
from tests.governed import directory_genesis
from tests.integration.test_proving import NAMES, replaced
from tests.mirrors import mirror_files
from tests.proving import ProvenLedger, read, short_epochs

from tallystick.client import mirror_proving
from tallystick.client.mirror import Mirror, Missing
from tallystick.client.mirror_proving import MirrorProver
from tallystick.ledger.certificate import Payload, issue_statement
from tallystick.ledger.changes import Effect
from tallystick.ledger.checkpoint import Checkpoint
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import NotProven
from tallystick.ledger.note import parse_note
from tallystick.problems import Ambiguous, DamagedStore, NotThere, Problem
from tallystick.storage.mirror import HEADERS, bundle, header_codec, items_in, parse_path, state_codec, state_path


@pytest.fixture
def ledger(tmp_path: Path) -> ProvenLedger:
    return ProvenLedger(tmp_path / "chain.db", short_epochs(4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mirror"


class MemoryFiles:
    """A mirror in memory, which counts what is read of it."""

    where = "memory"

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.asked = files, list[str]()
        self.on_read: Callable[[str], object] = lambda path: None

    def read(self, wanted: Sequence[tuple[str, int]]) -> list[bytes | None]:
        return [self._read(path, most) for path, most in wanted]

    def _read(self, path: str, most: int) -> bytes | None:
        self.asked.append(path)
        self.on_read(path)
        found = self.files.get(path)
        return found[: most + 1] if found is not None else None

    def close(self) -> None:
        pass


def prover(files: dict[str, bytes]) -> MirrorProver:
    return MirrorProver(Mirror(MemoryFiles(files)))


def test_each_certificate_of_each_block_has_the_nodes_own_proof_at_each_checkpoint(ledger: ProvenLedger) -> None:
    said = [ledger.scribe.statement() for _ in range(12)]
    for first in range(0, 12, 3):
        ledger.forge(*said[first : first + 3])
        ledger.forge()
        at = ledger.countersigned()
        made = prover(mirror_files(ledger, at))
        assert made.ledger_id == ledger.genesis.ledger_id
        for one in said[: first + 3]:
            assert made.prove(one.id.hex()) == ledger.prove(one, at)
        with pytest.raises(NotThere, match="name a newer mirror"):
            made.prove(said[first + 3].id.hex() if first < 9 else "ab" * 32)


def test_of_the_checkpoints_own_block_and_of_the_first(ledger: ProvenLedger) -> None:
    one = ledger.scribe.statement()
    ledger.forge(one)
    at = ledger.countersigned("ada", "ben", "cy")
    files = prover(mirror_files(ledger, at)).prove(one.id.hex())
    assert files == ledger.prove(one, at)
    assert read(files).extra.entrance.header is None


def test_members_who_were_all_replaced_statuses_and_later_votes_are_as_at_the_node(
    ledger: ProvenLedger,
) -> None:
    one, other = ledger.scribe.statement(), ledger.scribe.statement()
    ledger.forge(one, other)
    for name in NAMES:
        replaced(ledger, name, f"{name}-2")
    ledger.forge(ledger.scribe.revocation(one, "ada-2", effect=Effect.REVOKED))
    ledger.forge(is_finalized=False)
    at = ledger.countersigned()
    ledger.forge()
    made = prover(mirror_files(ledger, at))
    for certificate in (one, other):
        assert made.prove(certificate.id.hex()) == ledger.prove(certificate, at)
    extra = read(made.prove(other.id.hex())).extra
    assert extra.following
    assert {proof.leaf_key for proof in extra.cosigners} == {ledger.scribe.key(f"{one}-2").public_key for one in NAMES}


def test_more_than_a_tile_of_certificates_and_of_blocks(tmp_path: Path) -> None:
    genesis = directory_genesis(epoch_blocks=1000, unbonding_blocks=2000, unbonding_ms=2000, epoch_ms=1000)
    ledger = ProvenLedger(tmp_path / "chain.db", genesis)
    said = [ledger.scribe.statement() for _ in range(700)]
    for index in range(0, 350):
        ledger.forge(*said[2 * index : 2 * index + 2])
    at = ledger.countersigned()
    files = MemoryFiles(mirror_files(ledger, at))
    made = MirrorProver(Mirror(files))
    assert {"tile/0/001", "tile/1/000.p/2", "tallystick/tile/0/000", "tallystick/headers/001.p/94"} < files.files.keys()
    for index in (0, 1, 255, 256, 400, 512, 698, 699):
        assert made.prove(said[index].id.hex()) == ledger.prove(said[index], at)
    assert len(files.asked) == len(set(files.asked)), "what never changes is read once"


# ---- payloads and earlier proofs ------------------------------------------------------------------------------------


def test_the_payload_comes_from_the_earlier_proof_and_is_lacking_without(ledger: ProvenLedger) -> None:
    payload = Payload(bytes(32), "", "text/plain", bytes(60_000))
    long = issue_statement(ledger.scribe.key("ada"), ledger.genesis.ledger_id, START_MS, "", payload)
    one, short = ledger.about()
    ledger.forge(one, long, payloads=[short, payload])
    before = [ledger.prove(certificate, ledger.countersigned()) for certificate in (one, long)]
    ledger.forge(ledger.scribe.statement())
    at = ledger.countersigned()
    files = MemoryFiles(mirror_files(ledger, at))
    made = MirrorProver(Mirror(files))
    for certificate, earlier in zip((one, long), before, strict=True):
        assert made.prove(certificate.id.hex(), read(earlier)) == ledger.prove(certificate, at)
    assert not [path for path in files.asked if path.startswith("tallystick/ids")], "the earlier proof tells the place"
    assert ledger.verdict(made.prove(one.id.hex())).is_content_gone
    another = read(before[0])._replace(payload=payload)
    assert ledger.verdict(made.prove(one.id.hex(), another)).is_content_gone, "what it does not cover is left out"


def test_the_place_that_an_earlier_proof_tells_is_not_believed(ledger: ProvenLedger) -> None:
    one, other = ledger.scribe.statement(), ledger.scribe.statement()
    ledger.forge(one, other)
    at = ledger.countersigned()
    before, made = read(ledger.prove(one, at)), prover(mirror_files(ledger, at))
    for log_index in (1, 2, 2**53 - 1):
        elsewhere = before._replace(proof=before.proof._replace(log_index=log_index))
        assert made.prove(one.id.hex(), elsewhere) == ledger.prove(one, at)
    other_ledger = replace(before.extra, genesis=replace(before.extra.genesis, name="other"))
    with pytest.raises(NotThere, match="name a mirror of that"):
        made.prove(one.id.hex(), before._replace(extra=other_ledger))


def test_an_id_is_found_by_how_it_begins(ledger: ProvenLedger) -> None:
    said = [ledger.scribe.statement() for _ in range(20)]
    ledger.forge(*said)
    made = prover(mirror_files(ledger, ledger.countersigned()))
    for one in said:
        for digits in (8, 9, 15, 16, 17, 64):
            assert made.certificate_id(one.id.hex()[:digits].upper()) == one.id.hex()
    first = said[0].id.hex()[0]
    alike = sum(one.id.hex().startswith(first) for one in said)
    if alike > 1:
        with pytest.raises(Ambiguous):
            made.certificate_id(first)
    with pytest.raises(NotThere, match="no certificate's id begins with abababab"):
        made.certificate_id("abababab")


# ---- a mirror that changes ------------------------------------------------------------------------------------------


def test_what_went_meanwhile_is_read_at_the_newer_checkpoint(ledger: ProvenLedger) -> None:
    one = ledger.scribe.statement()
    ledger.forge(one)
    files = MemoryFiles(mirror_files(ledger, ledger.countersigned()))
    made = MirrorProver(Mirror(files))
    ledger.forge(ledger.scribe.statement())
    at = ledger.countersigned()
    files.files = mirror_files(ledger, at)
    assert made.prove(one.id.hex()) == ledger.prove(one, at)


def test_a_checkpoint_that_was_replaced_while_its_state_was_read(ledger: ProvenLedger) -> None:
    one = ledger.scribe.statement()
    ledger.forge(one)
    files = MemoryFiles(mirror_files(ledger, ledger.countersigned()))
    ledger.forge(ledger.scribe.statement())
    at = ledger.countersigned()

    def publish(path: str) -> None:
        if path == state_path(1):
            files.files = mirror_files(ledger, at)

    files.on_read = publish
    assert MirrorProver(Mirror(files)).prove(one.id.hex()) == ledger.prove(one, at)


def test_a_full_file_stands_in_for_the_one_that_was_not_full(ledger: ProvenLedger) -> None:
    said = [ledger.scribe.statement() for _ in range(300)]
    ledger.forge(*said[:200])
    at = ledger.countersigned()
    files = mirror_files(ledger, at)
    ledger.forge(*said[200:])
    later = mirror_files(ledger, ledger.countersigned())
    kept = {path: data for path, data in files.items() if ".p/200" not in path or "ids" in path}
    assert kept.keys() < files.keys()
    made = prover({**later, **kept})
    assert made.prove(said[7].id.hex()) == ledger.prove(said[7], at)


def test_a_file_that_is_missing_is_named(ledger: ProvenLedger) -> None:
    one = ledger.scribe.statement()
    ledger.forge(one)
    ledger.forge(ledger.scribe.statement())
    files = mirror_files(ledger, ledger.countersigned())
    for path in set(files) - {"checkpoint", "tallystick/tile/1/000"}:
        lacking = {name: data for name, data in files.items() if name != path}
        with pytest.raises(Missing, match=f"the mirror memory lacks {path}; name another mirror, or a node"):
            prover(lacking).prove(one.id.hex())


# ---- a mirror that lies ---------------------------------------------------------------------------------------------


@pytest.fixture
def lying(ledger: ProvenLedger) -> tuple[dict[str, bytes], str]:
    """The files of a sound mirror, and a certificate of it."""
    said = [ledger.scribe.statement() for _ in range(6)]
    for number in range(0, 6, 2):
        ledger.forge(*said[number : number + 2])
    ledger.forge(ledger.scribe.revocation(said[1], effect=Effect.REVOKED))
    return mirror_files(ledger, ledger.countersigned()), said[2].id.hex()


def test_whatever_one_byte_of_a_mirror_is_no_other_proof_comes_of_it(
    ledger: ProvenLedger, lying: tuple[dict[str, bytes], str]
) -> None:
    """It is refused by the mirror's reader, or by whoever verifies the proof: never believed, never another error."""
    files, certificate_id = lying
    sound, judged = prover(files).prove(certificate_id), 0
    proven = ledger.verdict(sound)
    for path, data in files.items():
        for place in range(0, len(data), max(1, len(data) // 150)):
            altered = {**files, path: data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]}
            try:
                made = prover(altered).prove(certificate_id)
            except Problem:
                continue
            if made != sound:
                judged += 1
                with suppress(NotProven):
                    found = ledger.verdict(made)  # without one of four cosigners, say
                    assert (found.certificate, found.block, found.header, found.validity) == (
                        proven.certificate,
                        proven.block,
                        proven.header,
                        proven.validity,
                    ), (path, place)
    assert judged, "some is left to the verifier"


@pytest.mark.parametrize("length", [0, 1, 80])
def test_files_that_were_cut_off_are_told(lying: tuple[dict[str, bytes], str], length: int) -> None:
    files, certificate_id = lying
    for path in files:
        with pytest.raises(Problem, match=r"^(what the mirror )?memory (holds|is)"):
            prover({**files, path: files[path][:length]}).prove(certificate_id)


def test_sizes_that_are_not_those_of_the_log(lying: tuple[dict[str, bytes], str]) -> None:
    files, certificate_id = lying
    part = next(one for one in map(parse_path, files) if one is not None and one.series == HEADERS)
    blocks, sound, refused = items_in(part, files[part.path]), prover(files).prove(certificate_id), 0
    for number, size in product(range(1, len(blocks)), (0, 3, 5, 2**53 - 1)):
        altered = replace(header_codec.decode(blocks[number]), log_size=size).encoded
        told = {**files, part.path: bundle([*blocks[:number], altered, *blocks[number + 1 :]])}
        try:
            assert prover(told).prove(certificate_id) == sound, "it was not asked for, or has this size"
        except DamagedStore:
            refused += 1
    assert refused > len(blocks)


def test_a_checkpoint_that_nobody_signed_says_nothing_of_how_much_is_to_be_read(
    lying: tuple[dict[str, bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size alone would have 10^11 files of ids searched; its tries are not built either."""
    files, certificate_id = lying
    path = next(one for one in files if one.startswith("tallystick/state/"))
    told, note = state_codec.decode(files[path]), parse_note(files["checkpoint"].decode())
    log = replace(told.log, log_size=2**53 - 1)
    state = replace(told, log=log, header=replace(told.header, state_root=log.hash))
    text = Checkpoint(told.genesis.origin, log.log_size, log.log_root).text
    forged = {"checkpoint": note._replace(text=text).encoded.encode(), state_path(log.log_size): encode(state)}
    monkeypatch.setattr(mirror_proving, "Trie", None)
    read = MemoryFiles({**files, **forged})
    with pytest.raises(DamagedStore, match=r"its checkpoint is not proven: \[P"):
        MirrorProver(Mirror(read)).prove(certificate_id)
    assert read.asked == list(forged)


def test_no_more_files_of_ids_are_searched_than_may_be(
    ledger: ProvenLedger, lying: tuple[dict[str, bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large a log its own members signed."""
    files, certificate_id = lying
    made = prover(files)
    before = read(made.prove(certificate_id))
    monkeypatch.setattr(mirror_proving, "_MOST_ID_FILES", 0)
    with pytest.raises(Problem, match="too many to search; name an earlier proof"):
        made.prove(certificate_id)
    assert made.prove(certificate_id, before)


def test_what_is_missing_at_the_same_checkpoint_has_no_state_read_again(lying: tuple[dict[str, bytes], str]) -> None:
    files, certificate_id = lying
    read = MemoryFiles({path: data for path, data in files.items() if "/ids/" not in path})
    with pytest.raises(Missing):
        MirrorProver(Mirror(read)).prove(certificate_id)
    assert sum("/state/" in one for one in read.asked) == 1


def test_ids_of_which_too_many_begin_alike_are_no_honest_logs(
    lying: tuple[dict[str, bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files, certificate_id = lying
    alike = {**files, "tallystick/ids/000.p/7": b"".join([bytes.fromhex(certificate_id)[:8] + bytes(4)] * 7)}
    with pytest.raises(NotThere):
        prover(alike).prove(certificate_id[:16] + "0" * 48)
    monkeypatch.setattr(mirror_proving, "_MOST_ALIKE", 6)
    with pytest.raises(DamagedStore, match="more than 6 ids begin with"):
        prover(alike).prove(certificate_id[:16] + "0" * 48)
