"""The page's prover, under Node: of a mirror it makes the very proof that a node makes, or says why not."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from msgspec.structs import replace

from tallystick.client.mirror import FolderFiles, Mirror
from tallystick.client.mirror_proving import MirrorProver
from tallystick.ledger.certificate import AnyCertificate, Payload, issue_statement
from tallystick.ledger.changes import Effect
from tallystick.problems import Problem
from tallystick.storage.making import ProofFiles
from tallystick.storage.mirror import HEADERS, bundle, header_codec, items_in, part_with, state_codec, state_path
from tests.builders import START_MS
from tests.governed import directory_genesis
from tests.integration.test_proving import NAMES, replaced
from tests.mirrors import write_mirror
from tests.page.expected import run_suite
from tests.proving import ProvenLedger, read, short_epochs

pytestmark = pytest.mark.skipif(which("node") is None, reason="node is not installed: THE PAGE'S PROVER IS NOT TESTED")


def told(files: ProofFiles) -> dict[str, str | None]:
    parts = {"proof": files.proof.encode(), "members": files.members, "payload": files.payload}
    return {name: in_base64(data) for name, data in parts.items()}


def in_base64(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode()


def case(
    name: str,
    folder: Path,
    before: ProofFiles,
    made: ProofFiles | str,
    changed: Mapping[str, bytes | None] | None = None,
) -> dict[str, Any]:
    """A mirror, some files of which are changed; and the proof that is made, or how what is said begins or goes on."""
    return {
        "name": name,
        "folder": str(folder),
        "changed": {path: in_base64(data) for path, data in (changed or {}).items()},
        "before": told(before),
        "made": None if isinstance(made, str) else told(made),
        "problem": made if isinstance(made, str) else None,
    }


def long_ledger(tmp_path: Path) -> tuple[ProvenLedger, list[AnyCertificate]]:
    """More than a tile of certificates, and of blocks."""
    genesis = directory_genesis(epoch_blocks=1000, unbonding_blocks=2000, unbonding_ms=2000, epoch_ms=1000)
    ledger = ProvenLedger(tmp_path / "long.db", genesis)
    said: list[AnyCertificate] = [ledger.scribe.statement() for _ in range(700)]
    for index in range(350):
        ledger.forge(*said[2 * index : 2 * index + 2])
    return ledger, said


def changed_ledger(tmp_path: Path) -> tuple[ProvenLedger, list[AnyCertificate]]:
    """All members were replaced, a statement is revoked, and one has a payload that does not fit into a proof."""
    ledger = ProvenLedger(tmp_path / "changed.db", short_epochs(4))
    payload = Payload(bytes(32), "", "text/plain", bytes(60_000))
    long = issue_statement(ledger.scribe.key("ada"), ledger.genesis.ledger_id, START_MS, "", payload)
    one, short = ledger.about()
    other = ledger.scribe.statement()
    ledger.forge(one, long, other, payloads=[short, payload])
    for name in NAMES:
        replaced(ledger, name, f"{name}-2")
    ledger.forge(ledger.scribe.revocation(other, "ada-2", effect=Effect.REVOKED))
    ledger.forge(is_finalized=False)
    return ledger, [one, long, other]


def test_the_proof_is_the_nodes_byte_for_byte(tmp_path: Path) -> None:
    cases = list[dict[str, Any]]()
    for name, (ledger, said) in {"long": long_ledger(tmp_path), "changed": changed_ledger(tmp_path)}.items():
        at = ledger.countersigned()
        ledger.forge()
        write_mirror(ledger, at, tmp_path / name)
        for place in sorted({place for place in (0, 1, 2, 255, 256, 400, 511, 512, 699) if place < len(said)}):
            made = ledger.prove(said[place], at)
            cases.append(case(f"{name}, {place}", tmp_path / name, made, made))
        if name == "long":
            elsewhere = made._replace(proof=made.proof.replace("\nindex 699\n", "\nindex 1\n"))
            rows = {"tallystick/ids/000.p/700": 700 * (said[699].id[:8] + (1).to_bytes(4, "big"))}
            cases.append(case("ids alike", tmp_path / name, elsewhere, "more than 64 ids begin alike", rows))
    run_suite("mirror.test.js", cases)


def test_of_a_single_block(tmp_path: Path) -> None:
    ledger = ProvenLedger(tmp_path / "one.db", short_epochs(4))
    one = ledger.scribe.statement()
    ledger.forge(one)
    at = ledger.countersigned("ada", "ben", "cy")
    write_mirror(ledger, at, tmp_path / "one")
    made = ledger.prove(one, at)
    run_suite("mirror.test.js", [case("of a single block", tmp_path / "one", made, made)])


@pytest.fixture
def small(tmp_path: Path) -> tuple[ProvenLedger, AnyCertificate, Path]:
    """A ledger of a few certificates, one of them, and the ledger's mirror."""
    ledger = ProvenLedger(tmp_path / "chain.db", short_epochs(4))
    said = [ledger.scribe.statement() for _ in range(6)]
    for number in range(0, 6, 2):
        ledger.forge(*said[number : number + 2])
    ledger.forge(ledger.scribe.revocation(said[1], effect=Effect.REVOKED))
    write_mirror(ledger, ledger.countersigned(), tmp_path / "mirror")
    return ledger, said[2], tmp_path / "mirror"


def test_of_a_changed_mirror_both_provers_make_the_same_proof_or_none(
    small: tuple[ProvenLedger, AnyCertificate, Path],
) -> None:
    ledger, one, folder = small
    before, cases = ledger.prove(one, ledger.countersigned()), list[dict[str, Any]]()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        path, data = str(file.relative_to(folder)), file.read_bytes()
        for place in range(0, len(data), max(1, len(data) // 20)):
            altered = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            try:
                with Mirror(AlteredFiles(folder, path, altered)) as mirror:
                    made: ProofFiles | str = MirrorProver(mirror).prove(one.id.hex(), read(before))
            except Problem as problem:
                made = "its checkpoint is not proven" if "its checkpoint is not proven" in str(problem) else "mirror"
            cases.append(case(f"{path}, byte {place}", folder, before, made, {path: altered}))
    assert 0 < sum(one["made"] is None for one in cases) < len(cases)
    run_suite("mirror.test.js", cases)


class AlteredFiles(FolderFiles):
    """A mirror with another file in the place of one."""

    def __init__(self, folder: Path, path: str, data: bytes) -> None:
        super().__init__(folder)
        self._altered = {path: data}

    def read(self, wanted: Sequence[tuple[str, int]]) -> list[bytes | None]:
        found = super().read(wanted)
        return [self._altered.get(path, data) for (path, _), data in zip(wanted, found, strict=True)]


def test_what_hinders_is_said(small: tuple[ProvenLedger, AnyCertificate, Path], tmp_path: Path) -> None:
    ledger, one, folder = small
    made = ledger.prove(one, ledger.countersigned())
    state = state_codec.decode((folder / state_path(7)).read_bytes())
    altered = replace(state, directory=tuple((key, value + b"!") for key, value in state.directory)).encoded
    headers = items_in(part_with(HEADERS, 0, 4), (folder / "tallystick/headers/000.p/4").read_bytes())
    larger = bundle([*headers[:2], replace(header_codec.decode(headers[2]), log_size=2**40).encoded, headers[3]])
    other = ProvenLedger(tmp_path / "other.db", directory_genesis((7, 7, 7, 7)))
    other.forge(other.scribe.statement())
    write_mirror(other, other.countersigned(), tmp_path / "elsewhere")
    later = ledger.scribe.statement()
    ledger.forge(later)
    newer = ledger.prove(later, ledger.countersigned())
    changes: list[tuple[str, bytes | None, str]] = [
        ("checkpoint", b"text", "what the mirror holds is not sound: the note"),
        (state_path(7), None, f"the mirror lacks {state_path(7)}"),
        (state_path(7), b"\x90", "mirrored state: "),
        (state_path(7), altered, "the root of the directory"),
        ("tile/0/000.p/7", bytes(7 * 32), "does not lead to"),
        ("tile/0/000.p/7", bytes(7 * 32 - 1), "does not hold 7 items"),
        ("tile/0/000.p/7", bytes(8 * 32), "does not hold 7 items"),
        ("tile/entries/000.p/7", None, "the mirror lacks tile/entries/000"),
        ("tile/entries/000.p/7", bytes(14), "certificate 2: "),
        ("tallystick/headers/000.p/4", bytes(8), "header 2: "),
        ("tallystick/headers/000.p/4", larger, "after block 2 the log is larger"),
    ]
    run_suite(
        "mirror.test.js",
        [
            case("no mirror", tmp_path / "nowhere", made, "no mirror: it has no file checkpoint"),
            case("another ledger", tmp_path / "elsewhere", made, "take a mirror of that"),
            case("not covered", folder, newer, "covers 7 certificates; take a newer one"),
            *(case(f"{path}: {said}", folder, made, said, {path: data}) for path, data, said in changes),
        ],
    )


def test_a_newer_proof_has_to_be_of_the_certificate_and_of_a_later_block() -> None:
    run_suite("newer.test.js")
