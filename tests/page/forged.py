"""What somebody can make who has none of the members' keys: a proof that names voters of their own."""

from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from msgspec.structs import replace

from tallystick.ledger.bundle import ProofExtra, extra_codec, read_bundle
from tallystick.ledger.encoding import encode
from tallystick.ledger.file_statement import FileStatement
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.tlog_proof import parse_proof
from tallystick.proof.members import Anchor
from tests.builders import wallet
from tests.proof_corpus import read
from tests.proving import ProvenLedger

SINCE = 2
"""The epoch from which the forged proof starts."""


class Forged(NamedTuple):
    """A proof with the true genesis of the corpus's ledger, and the header that it takes to be verified."""

    proof: bytes
    anchor: Anchor


def forged(folder: Path, document: FileStatement) -> Forged:
    """A chain of the same organisations by other keys, all of it signed for the id of the corpus's ledger."""
    true = read_bundle(read("base-valid.tlog-proof") or b"").extra.genesis
    keys = {one.organisation: wallet(f"forged {one.organisation}") for one in true.founders}
    founders = tuple(replace(one, key=keys[one.organisation].public_key) for one in true.founders)
    with patch.object(Genesis, "ledger_id", true.ledger_id):
        ledger = ProvenLedger(folder / "forged.db", replace(true, founders=founders))
        ledger.scribe.keys.update(keys)
        for name in keys:
            ledger.scribe.key(name)
        statement, payload = ledger.about(document)
        ledger.forge(statement, payloads=[payload])
        ledger.forge_until(SINCE)
        block = ledger.forge()
        at = ledger.countersigned()
        files = ledger.prove(statement, at, SINCE)
    parsed = parse_proof(files.proof.encode())
    extra = extra_codec.decode(parsed.extra or b"")
    anchor = Anchor(true.ledger_id, SINCE, at.voters.members, block.header.index, block.hash, block.header.timestamp_ms)
    return Forged(parsed._replace(extra=encode(_of_genesis(extra, true))).encoded.encode(), anchor)


def _of_genesis(extra: ProofExtra, genesis: Genesis) -> ProofExtra:
    """With that genesis in place of the chain's own, whose voters the hand-over names among its keys then."""
    assert extra.hand_over is not None
    members = sorted((one.key, one.stake) for one in extra.genesis.founders)
    first = tuple((len(genesis.founders) + place, stake) for place, (_, stake) in enumerate(members))
    hand_over = replace(extra.hand_over, first=first, keys=tuple(key for key, _ in members))
    return replace(extra, genesis=genesis, hand_over=hand_over)
