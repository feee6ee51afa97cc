"""A hostile mirror in the page: its checkpoint is proven before it is searched, and no more is searched than may be."""

from pathlib import Path
from shutil import which
from typing import Any

import pytest
from msgspec.structs import replace

from tallystick.ledger.checkpoint import Checkpoint, cosign, signed_checkpoint
from tallystick.ledger.note import parse_note
from tallystick.ledger.wallet import Wallet
from tallystick.storage.making import ProofFiles
from tallystick.storage.mirror import MirroredState, state_codec, state_path
from tests.governed import directory_genesis
from tests.mirrors import mirror_files
from tests.page.expected import run_suite
from tests.page.test_page_mirror import in_base64, told
from tests.proving import NOW_MS, ProvenLedger, short_epochs
from tests.vectors.proof_ledgers import votes_of

pytestmark = pytest.mark.skipif(which("node") is None, reason="node is not installed: THE PAGE'S PROVER IS NOT TESTED")

TOO_MANY = 512 * 65_536 + 1


@pytest.fixture
def ledger(tmp_path: Path) -> ProvenLedger:
    """Of one certificate."""
    made = ProvenLedger(tmp_path / "chain.db", short_epochs(4))
    made.forge(made.scribe.statement())
    return made


@pytest.fixture
def files(ledger: ProvenLedger) -> dict[str, bytes]:
    """Its mirror, by the paths of its files."""
    return mirror_files(ledger, ledger.countersigned())


def state_in(files: dict[str, bytes]) -> MirroredState:
    return state_codec.decode(next(data for path, data in files.items() if path.startswith("tallystick/state/")))


def with_state(files: dict[str, bytes], state: MirroredState, note: str) -> dict[str, bytes]:
    kept = {path: data for path, data in files.items() if not path.startswith("tallystick/state/")}
    return {**kept, "checkpoint": note.encode(), state_path(state.log.log_size): state.encoded}


def of_size(state: MirroredState, log_size: int) -> MirroredState:
    """The same, of a log that is told to be so large."""
    log = replace(state.log, log_size=log_size)
    return replace(state, log=log, header=replace(state.header, state_root=log.hash))


def case(
    name: str, files: dict[str, bytes], before: ProofFiles, problem: str, asked: list[str] | None = None
) -> dict[str, Any]:
    """How what is said begins or goes on; and which files are read, in their order."""
    of_mirror = {path: in_base64(data) for path, data in files.items()}
    return {"name": name, "files": of_mirror, "before": told(before), "problem": problem, "asked": asked}


def proof_of(ledger: ProvenLedger) -> ProofFiles:
    at = ledger.countersigned()
    return ledger.prove(ledger.block(1).certificates[0], at)


def test_nothing_is_searched_of_a_checkpoint_that_nobody_signed(ledger: ProvenLedger, files: dict[str, bytes]) -> None:
    """Its size alone would have 10^11 files of ids searched; and votes, cosignatures and hand-over count, too."""
    state, note, before = state_in(files), parse_note(files["checkpoint"].decode()), proof_of(ledger)
    huge = of_size(state, 2**53 - 1)
    text = Checkpoint(ledger.genesis.origin, huge.log.log_size, huge.log.log_root).text
    no_votes = replace(state.votes, signatures=tuple((place, bytes(64)) for place, _ in state.votes.signatures))
    from_later = replace(state.hand_over, since=1)
    # An altered trie, too: it would be told if tries were built first.
    other_trie = replace(state, votes=no_votes, directory=state.directory[::-1])
    few = note._replace(signatures=note.signatures[:2])
    changed = {
        "a size that nobody signed": (huge, note._replace(text=text).encoded),
        "votes of nobody": (other_trie, note.encoded),
        "members of nowhere": (replace(state, hand_over=from_later), note.encoded),
        "few cosignatures": (state, few.encoded),
    }
    run_suite(
        "mirror_reads.test.js",
        [
            case(
                name,
                with_state(files, told_state, told_note),
                before,
                r"its checkpoint is not proven: \[P[4-7]\]",
                ["checkpoint", state_path(told_state.log.log_size)],
            )
            for name, (told_state, told_note) in changed.items()
        ],
    )


def test_nothing_is_read_of_the_mirror_of_another_ledger_and_its_genesis_is_not_believed(
    ledger: ProvenLedger, files: dict[str, bytes], tmp_path: Path
) -> None:
    """What it calls itself in its checkpoint is not enough."""
    other = ProvenLedger(tmp_path / "other.db", directory_genesis((7, 7, 7, 7)))
    other.forge(other.scribe.statement())
    others, before = mirror_files(other, other.countersigned()), proof_of(ledger)
    disguised = with_state(others, state_in(others), files["checkpoint"].decode())
    state = state_path(1)
    run_suite(
        "mirror_reads.test.js",
        [
            case("another ledger", others, before, "take a mirror of that", ["checkpoint"]),
            case("its genesis", disguised, before, "the genesis of the proof at hand", ["checkpoint", state]),
        ],
    )


def test_no_more_files_of_ids_are_searched_than_may_be(ledger: ProvenLedger, files: dict[str, bytes]) -> None:
    """However large a log its own members signed."""
    before, later = proof_of(ledger), ledger.countersigned()
    wallets: list[Wallet] = sorted(
        (one for one in ledger.scribe.keys.values() if one.public_key in dict(later.voters.members)),
        key=lambda one: one.public_key,
    )
    state = of_size(state_in(files), TOO_MANY)
    state = replace(state, votes=votes_of(state.header, later.voters, wallets), following=())
    checkpoint = Checkpoint(ledger.genesis.origin, state.log.log_size, state.log.log_root)
    note = signed_checkpoint(checkpoint.origin, [cosign(one, checkpoint, NOW_MS // 1000) for one in wallets])
    elsewhere = before._replace(proof=before.proof.replace("\nindex 0\n", f"\nindex {TOO_MANY}\n"))
    told_files = with_state(files, state, note.encoded)
    run_suite("mirror_reads.test.js", [case("too many", told_files, elsewhere, "33,554,433 certificates, too many")])
