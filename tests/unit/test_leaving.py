"""Until when a node has to run whose key was a member's, or is to be one no more."""

from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.builders import BEN, CY, DOT
from tests.governed import GovernedScribe

from tallystick.api import views
from tallystick.api.key_book import KeyBook
from tallystick.api.node_status import status_of
from tallystick.cli.output import Terminal
from tallystick.cli.status import picture
from tallystick.consensus.signing_guard import GuardStatus
from tallystick.host.clock import now_ms
from tallystick.ledger.state import State
from tallystick.node.agreement import AgreementStatus

OTHERS = ("ada", "ben", "cy")


def status(
    state: State, *, key: bytes = DOT.public_key, left_with: int | None = None, may_stop: bool = False, best: int = 0
) -> views.Status:
    """Of dot's node, unless another key is named."""
    place = state.epoch.number, 1
    agreement = AgreementStatus("simplex", *place, key, GuardStatus.READY, left_with=left_with, may_stop=may_stop)
    node = SimpleNamespace(
        chain=SimpleNamespace(ledger_id=bytes(32), genesis=SimpleNamespace(name="governed", continues=None)),
        state=state,
        agreement_status=lambda: agreement,
        ml_dsa=None,
        box=(),
        sync=SimpleNamespace(best_index=best),
    )
    connected = {one.public_key: 0 for one in (BEN, CY, DOT)}
    runner: Any = SimpleNamespace(node=node, connected=connected, last_heard_ms={}, waiting_since_ms=None, stuck=None)
    return status_of(runner, KeyBook({}, state.directory), key, "127.0.0.1:7117", now_ms())


def shown(told: views.Status) -> str:
    file = StringIO()
    Terminal(file=file, width=300, force_terminal=False).print(picture(told, Path("node")), soft_wrap=True)
    return file.getvalue()


def test_of_a_member_that_stays_nothing_is_said() -> None:
    scribe = GovernedScribe()
    scribe.forge(scribe.motion(scribe.remove("cy")))
    told = status(scribe.state)
    assert (told.leaving, told.is_well) == (None, True)
    assert "leaving" not in shown(told)
    assert status(scribe.state, key=scribe.key("observer").public_key).leaving is None


def test_who_is_removed_is_told_to_stay_until_others_have_its_last_block() -> None:
    scribe = GovernedScribe()
    motion = scribe.motion(scribe.remove("dot"), "dot")
    scribe.forge(motion)
    told = status(scribe.state)
    assert told.leaving is not None
    assert (told.leaving.how, told.leaving.motion, told.leaving.left_with) == ("removed", motion.id.hex(), None)
    said = f"University of Dot is removed when motion {motion.id.hex()[:16]} passes; let this node run until then"
    assert said in shown(told)
    assert (told.state, told.is_well, told.is_voting) == ("quiet", True, True)

    scribe.forge(*(scribe.approval(motion, one) for one in ("ada", "ben")))
    told = status(scribe.state, left_with=2)
    assert told.leaving is not None
    assert (told.leaving.organisation, told.leaving.how, told.leaving.left_with) == ("dot", "removed", 2)
    assert (told.leaving.may_stop, told.state, told.is_well) == (False, "left", False)
    said = "let the node run until others say that they have block 2, the last that it could vote on"
    assert f"University of Dot was removed, and this key votes no more: {said}" in shown(told)

    told = status(scribe.state, left_with=2, may_stop=True)
    assert told.leaving is not None
    assert (told.leaving.may_stop, told.state, told.is_well) == (True, "left", False)
    said = "the node may be switched off, as others have block 2"
    assert shown(told).count(f"University of Dot was removed, and this key votes no more: {said}") == 1


def test_a_node_that_left_and_catches_up_says_both() -> None:
    scribe = GovernedScribe()
    scribe.decide(scribe.remove("dot"), *OTHERS)
    told = status(scribe.state, left_with=1, best=100)
    assert (told.state, told.is_well) == ("catching_up", False)
    assert "leaving" in shown(told)
    assert "University of Dot was removed, and this key votes no more" in shown(told)


@pytest.mark.parametrize("how", ["by motion", "by the organisation key", "by itself"])
def test_a_key_that_is_replaced_is_told_the_same(how: str) -> None:
    scribe = GovernedScribe()
    new = scribe.key("new").public_key.hex()
    if how == "by motion":
        motion = scribe.motion(scribe.replace_key("dot", "new"))
        scribe.forge(motion)
        told = status(scribe.state)
        assert told.leaving is not None
        assert (told.leaving.how, told.leaving.successor, told.leaving.motion) == ("replaced", new, motion.id.hex())
        assert f"{new[:16]}… is the member key of University of Dot when motion {motion.id.hex()[:16]} passes" in shown(
            told
        )
        scribe.forge(*(scribe.approval(motion, one) for one in ("ben", "cy")))
    elif how == "by the organisation key":
        scribe.decide(scribe.organisation_key("dot", "offline"), *OTHERS)
        scribe.forge(scribe.rotation("dot", "new", "offline"))
    else:
        rotation = scribe.rotation("dot", "new")
        due_ms = scribe.forge(rotation).header.timestamp_ms + scribe.state.params.rotation_delay_ms
        told = status(scribe.state)
        assert told.leaving is not None
        assert (told.leaving.how, told.leaving.successor, told.leaving.due_ms) == ("replaced", new, due_ms)
        assert (told.leaving.left_with, told.is_well, told.is_voting) == (None, True, True)
        assert f"the key {new[:16]}… follows this one as the member key of University of Dot" in shown(told)
        scribe.forge(timestamp_ms=due_ms)
    told = status(scribe.state, left_with=scribe.state.index, may_stop=True)
    assert told.leaving is not None
    assert (told.leaving.how, told.leaving.successor, told.leaving.may_stop) == ("replaced", new, True)
    assert (told.state, told.is_well, told.is_voting) == ("left", False, False)
    said = "the member key of University of Dot is another, and this key votes no more: the node may be switched off"
    assert said in shown(told)
    assert status(scribe.state, key=scribe.key("new").public_key).leaving is None


def test_an_issuer_key_that_ended_has_no_node_to_switch_off() -> None:
    scribe = GovernedScribe()
    scribe.forge(scribe.add_issuer("registry"))
    scribe.forge(scribe.end_issuer("registry"))
    assert status(scribe.state, key=scribe.key("registry").public_key).leaving is None
