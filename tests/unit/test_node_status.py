"""How a node says that it is: its state, the words for it, and whether all is well."""

from hashlib import sha256
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from tests.builders import ADA, BEN, CY, DOT, GENESIS
from tests.governed import GovernedScribe

from tallystick.api import views
from tallystick.api.key_book import KeyBook
from tallystick.api.node_status import status_of
from tallystick.cli.output import Terminal
from tallystick.cli.status import picture
from tallystick.consensus.proof_of_stake import check_drawn
from tallystick.consensus.signing_guard import GuardStatus
from tallystick.host.batches import VERIFIER
from tallystick.host.clock import now_ms
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.directory import Directory
from tallystick.ledger.state import State
from tallystick.node.agreement import AgreementStatus
from tallystick.node.epoch_ends import OwnPart

NAMES = {BEN.public_key: "Ben", CY.public_key: "Cy", DOT.public_key: "Dot"}
READY = AgreementStatus("simplex", 0, 1, ADA.public_key, GuardStatus.READY)
LOST = replace(READY, guard=GuardStatus.LOST)
ALL = (BEN, CY, DOT)


def status(
    agreement: AgreementStatus = READY,
    *,
    connected: Any = ALL,
    waiting: int = 0,
    best: int = 0,
    stuck_s: int = 0,
    silent: Any = (),
    state: State | None = None,
    ml_dsa: OwnPart | None = None,
) -> views.Status:
    """Of one of four members with a stake of 100 each, or on another ledger."""
    chain = Blockchain(GENESIS, check_drawn)
    node = SimpleNamespace(
        chain=chain,
        state=state or chain.state,
        agreement_status=lambda: agreement,
        ml_dsa=ml_dsa,
        box=range(waiting),
        sync=SimpleNamespace(best_index=best),
    )
    runner: Any = SimpleNamespace(
        node=node,
        connected={one.public_key: 0 for one in connected},
        last_heard_ms={BEN.public_key: now_ms() - 300_000},
        waiting_since_ms=now_ms() - 1000 * stuck_s if stuck_s else None,
        stuck=SimpleNamespace(missing=[one.public_key for one in silent]) if silent else None,
    )
    return status_of(runner, KeyBook(NAMES, Directory()), ADA.public_key, "127.0.0.1:7117", now_ms() - 60_000)


def shown(told: views.Status) -> str:
    file = StringIO()
    Terminal(file=file, width=200, force_terminal=False).print(picture(told, Path("node")), soft_wrap=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("told", "state", "said"),
    [
        (status(), "quiet", "nothing waits; a quiet ledger makes no blocks"),
        (status(waiting=3), "advancing", "3 waiting to be forged into a block"),
        (status(best=1_000), "catching_up", "block 0 of 1,000, 0 %"),
        (status(connected=(BEN, CY)), "quiet", "nothing waits; a quiet ledger makes no blocks"),
    ],
)
def test_a_node_that_is_well_says_so(told: views.Status, state: str, said: str) -> None:
    assert (told.state, told.why, told.is_well, told.missing) == (state, said, True, [])
    assert said in shown(told)
    assert "votes with 100 of 400 tokens" in shown(told)


@pytest.mark.parametrize(
    ("told", "state", "said"),
    [
        (status(replace(LOST, unanswered=(BEN.public_key, CY.public_key))), "recovering", "Ben, Cy did not answer yet"),
        (status(replace(LOST, is_loss_accepted=True)), "recovering", "its operator accepted the loss"),
        (
            status(LOST),
            "recovering",
            "all others answered and are no quorum without it: read tallystick guard accept",
        ),
        (status(replace(READY, silent_until=(2, 1_234))), "silent", "it votes from epoch 2, view 1,235 on"),
        (status(replace(READY, guard=GuardStatus.TWIN, twin=(3, 7))), "twin", "own key (seen in epoch 3, view 7)"),
        (status(replace(READY, is_burned=True)), "burned", "its stake is lost, its votes with this epoch"),
        (status(replace(READY, mismatch="[B12] why")), "mismatch", "illegal by this node's state ([B12] why)"),
        (status(LOST, waiting=1, stuck_s=90), "stuck", "and does not vote: what this key signed is lost"),
        (status(LOST, best=9_999), "catching_up", "and does not vote: what this key signed is lost"),
    ],
)
def test_a_member_that_does_not_vote_says_why_and_is_not_well(told: views.Status, state: str, said: str) -> None:
    assert (told.state, told.is_well, told.is_voting) == (state, False, False)
    assert told.why_not_voting
    assert said in shown(told)
    assert told.why_not_voting in shown(told)
    assert "votes with 100" not in shown(told)


def test_it_tells_what_verifies_signatures() -> None:
    assert f"signatures by {VERIFIER}" in shown(status())


def test_a_stuck_ledger_names_who_is_missing() -> None:
    told = status(waiting=2, stuck_s=90, silent=(BEN, CY), connected=(CY, DOT))
    assert (told.state, told.is_well) == ("stuck", False)
    assert [(one.member.name, one.is_connected) for one in told.missing] == [("Ben", False), ("Cy", True)]
    text = shown(told)
    assert "no block became final for 90 s, and 2 waiting: 300 of 400 tokens at stake are in reach" in text
    assert f"Ben ({BEN.public_key.hex()[:8]}…) with 100 tokens: not connected, last heard of 5 min ago" in text
    assert "with 100 tokens: connected, but silent" in text


def test_too_little_stake_in_reach_is_said_also_when_nothing_waits() -> None:
    told = status(connected=(DOT,))
    assert (told.state, told.is_well, told.heard_stake) == ("out_of_reach", False, 200)
    assert told.why.startswith("nothing can become final: 200 of 400 tokens at stake are in reach, 267 are needed")
    assert "Ben" in told.why
    assert "not connected, not heard of" in shown(told)


KEY, OTHER = bytes(1_312), b"o" * 1_312
SHA256 = sha256(KEY).hexdigest()
SIGNED = OwnPart(KEY, 12, frozenset({ADA.public_key, BEN.public_key}))


@pytest.mark.parametrize(
    ("own", "registered", "said"),
    [
        (SIGNED, KEY, f"key {SHA256[:16]}…; 2 signatures of the newest, of 12 certificates, its own among them"),
        (
            SIGNED._replace(members=frozenset({BEN.public_key})),
            KEY,
            "1 signature of the newest, of 12 certificates, its own is not there",
        ),
        (OwnPart(KEY, None, frozenset()), KEY, "of none since its start is a signature at hand"),
        (None, KEY, "it does not sign: the library for ML-DSA-44 is not installed here: tallystick[pq]"),
        (OwnPart(None, 12, frozenset()), KEY, "it does not sign: this node has no key of ML-DSA-44"),
        (SIGNED, OTHER, "it does not sign: the ledger has another key of ML-DSA-44 for this node's own key"),
        (SIGNED, None, "it does not sign: the ledger has no key of ML-DSA-44 for this node's own key"),
    ],
)
def test_a_member_says_whether_it_signs_by_ml_dsa(own: OwnPart | None, registered: bytes | None, said: str) -> None:
    scribe = GovernedScribe()
    if registered is not None:
        scribe.forge(scribe.ml_dsa("ada", registered))
    told = status(state=scribe.state, ml_dsa=own)
    assert said in shown(told)
    found = told.ml_dsa
    assert found.is_signing is (own is not None and own.key == registered)
    assert found.key == (SHA256 if own and own.key else None)
    assert found.registered == (sha256(registered).hexdigest() if registered else None)
    assert (found.end_size, found.end_signatures) == ((own.end_size, len(own.members)) if own else (None, 0))
    assert found.is_end_signed is bool(own and ADA.public_key in own.members)


def test_of_ml_dsa_nothing_is_shown_where_nobody_has_to_do_with_it() -> None:
    told = status()
    assert "ML-DSA" not in shown(told)
    assert told.ml_dsa.why_not is not None
