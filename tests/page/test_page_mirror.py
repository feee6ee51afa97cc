"""The page's prover, under Node: of a mirror it makes the very proof that a node makes, or says why not."""

from base64 import b64encode
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from msgspec.structs import replace
from tests.builders import START_MS
from tests.governed import directory_genesis
from tests.integration.test_proving import NAMES, replaced
from tests.mirrors import write_mirror
from tests.page.expected import run_suite
from tests.proving import ProvenLedger, short_epochs

from tallystick.ledger.certificate import AnyCertificate, Payload, issue_statement
from tallystick.ledger.changes import Effect
from tallystick.proof.making import ProofFiles
from tallystick.storage.mirror import state_codec, state_path

pytestmark = pytest.mark.skipif(which("node") is None, reason="node is not installed: THE PAGE'S PROVER IS NOT TESTED")


def told(files: ProofFiles) -> dict[str, str | None]:
    parts = {"proof": files.proof.encode(), "members": files.members, "payload": files.payload}
    return {name: None if data is None else b64encode(data).decode() for name, data in parts.items()}


def case(name: str, folder: Path, before: ProofFiles, made: ProofFiles | None, problem: str | None) -> dict[str, Any]:
    after = told(made) if made is not None else None
    return {"name": name, "folder": str(folder), "before": told(before), "made": after, "problem": problem}


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
            cases.append(case(f"{name}, {place}", tmp_path / name, made, made, None))
    run_suite("mirror.test.js", cases)


def test_of_a_single_block(tmp_path: Path) -> None:
    ledger = ProvenLedger(tmp_path / "one.db", short_epochs(4))
    one = ledger.scribe.statement()
    ledger.forge(one)
    at = ledger.countersigned("ada", "ben", "cy")
    write_mirror(ledger, at, tmp_path / "one")
    made = ledger.prove(one, at)
    run_suite("mirror.test.js", [case("of a single block", tmp_path / "one", made, made, None)])


def test_what_hinders_is_said(tmp_path: Path) -> None:
    ledger = ProvenLedger(tmp_path / "chain.db", short_epochs(4))
    one = ledger.scribe.statement()
    ledger.forge(one)
    ledger.forge(ledger.scribe.statement())
    at = ledger.countersigned()
    made, mirror = ledger.prove(one, at), tmp_path / "mirror"

    def changed(name: str, path: str, data: bytes | None) -> Path:
        folder = tmp_path / name
        write_mirror(ledger, at, folder)
        (folder / path).unlink()
        if data is not None:
            (folder / path).write_bytes(data)
        return folder

    other = ProvenLedger(tmp_path / "other.db", directory_genesis((7, 7, 7, 7)))
    other.forge(other.scribe.statement())
    write_mirror(other, other.countersigned(), tmp_path / "elsewhere")
    write_mirror(ledger, at, mirror)
    state = state_codec.decode((mirror / state_path(2)).read_bytes())
    entries = [(key, value + b"!") for key, value in state.directory]
    later = ledger.scribe.statement()
    ledger.forge(later)
    newer = ledger.prove(later, ledger.countersigned())
    cases = [
        case("no mirror", tmp_path / "nowhere", made, None, "no mirror: it has no file checkpoint"),
        case("another ledger", tmp_path / "elsewhere", made, None, "take a mirror of that"),
        case("not covered", mirror, newer, None, "covers 2 certificates; take a newer one"),
    ]
    for number, (path, data, said) in enumerate(
        [
            ("checkpoint", b"text", "what the mirror holds is not sound: the note"),
            (state_path(2), None, f"the mirror lacks {state_path(2)}"),
            (state_path(2), b"\x90", "mirrored state: "),
            (state_path(2), replace(state, directory=tuple(entries)).encoded, "the root of the directory"),
            ("tile/0/000.p/2", bytes(64), "does not lead to"),
            ("tile/0/000.p/2", bytes(63), "does not hold 2 items"),
            ("tile/entries/000.p/2", None, "the mirror lacks tile/entries/000"),
            ("tile/entries/000.p/2", bytes(4), "certificate 0: "),
            ("tallystick/headers/000.p/2", bytes(4), "header 1: "),
        ]
    ):
        cases.append(case(f"{number} {path}", changed(f"changed-{number}", path, data), made, None, said))
    run_suite("mirror.test.js", cases)
