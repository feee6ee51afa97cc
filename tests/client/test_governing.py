"""Decisions through a running node: signed by it at its own door, or by whoever asks from elsewhere."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.builders import ADA, BEN, wallet
from tests.integration.network import QUICK, NodeProcess, short_folder
from tests.ports import drawn_port

from tallystick.api import decisions as d
from tallystick.cli.motions import DAYS
from tallystick.client.blocking import Client
from tallystick.client.client import AsyncClient
from tallystick.client.doors import AnswerProblem
from tallystick.client.governing import EXPIRES_AFTER_MS
from tallystick.host.clock import now_ms
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.ledger.certificate import Motion, check_signed
from tallystick.ledger.changes import Admission, Role
from tallystick.ledger.genesis import Founder, make_genesis
from tallystick.ledger.keys import is_signed
from tallystick.ledger.messages import entry_codec
from tallystick.ledger.params import Params
from tallystick.problems import NotThere


@dataclass
class Governed:
    """A node of ada, who has all the stake; ben certifies and has no node."""

    node: NodeProcess
    url: str

    def at_the_node(self) -> Client:
        return Client(self.node.folder.path)

    def ben(self) -> Client:
        """From elsewhere, with a key of his own."""
        return Client(self.url, wallet=BEN)


@pytest.fixture(scope="module")
def governed() -> Iterator[Governed]:
    founders = [
        Founder("ada", "University of Ada", None, ADA.public_key, Role.MEMBER, 10),
        Founder("ben", "University of Ben", None, BEN.public_key, Role.MEMBER, 0),
    ]
    params = Params(delta_ms=QUICK.delta_ms, anybody_certifies=False)
    genesis = make_genesis("Governed", now_ms() - 1_000, (), params, founders)
    with short_folder() as path:
        own, port = f"127.0.0.1:{drawn_port(1)}", drawn_port(1)
        folder = DataFolder(path / "node-1")
        folder.create_key(ADA, "", "interactive")
        folder.create(Settings(own, own, ()), genesis)
        node = NodeProcess(folder.path)
        node.start("--api", f"127.0.0.1:{port}", "--api-search")
        try:
            yield Governed(node, f"http://127.0.0.1:{port}")
        finally:
            node.stop()


def test_the_node_signs_what_its_user_decides(governed: Governed) -> None:
    with governed.at_the_node() as client:
        before = client.organisation("ben").title
        told = client.move(d.Rename("ben", before, "Ben's", None, "ben.example"), words="as Ben asked")
        assert told.outcome.state == "final"
        entry = entry_codec.decode(bytes.fromhex(told.entry))
        assert isinstance(entry.certificate, Motion)
        assert (entry.certificate.id.hex(), entry.certificate.issuer) == (told.id, ADA.public_key)
        check_signed(entry.certificate, client.ledger_id, is_signed)
        motion = client.motion(told.id)
        assert (motion.state, motion.approving, motion.needed) == ("passed", 10, 7)
        assert [(one.member.organisation, one.word) for one in motion.words] == [("ada", "approves")]
        assert (client.organisation("ben").title, client.organisation("ben").domain) == ("Ben's", "ben.example")
        certificate = client.certificate(told.id)
        assert certificate.payload is not None
        assert (certificate.subject, certificate.payload.subject) == (None, "as Ben asked")
        client.erase(certificate.payload_hash or "")
        assert client.certificate(told.id).is_erased


def test_a_clients_own_key_decides_from_elsewhere(governed: Governed) -> None:
    with governed.ben() as ben, governed.at_the_node() as ada:
        entries = ben.sign([("Menabrea: BSc", None), ("Menabrea: BA", None)])
        first, second = ben.submit(entries)
        assert ben.certificate(first.id).subject == "Menabrea: BSc"
        assert ben.supersede(first.id[:12], second.id).outcome.state == "final"
        assert (ben.validity(first.id).state, ben.validity(first.id).successor) == ("superseded", second.id)
        assert ben.revoke(first.id, "void", "mistake").outcome.state == "final"
        found = ben.validity(first.id)
        assert (found.state, found.reason, found.key) == ("void", "mistake", "in_force")
        refused = ada.revoke(second.id).outcome
        assert (refused.state, refused.rule) == ("refused", "R2"), "ada did not certify it"


def test_an_issuer_key_admits_itself_and_is_added_and_ended(governed: Governed) -> None:
    registrar = wallet("registrar")
    with governed.at_the_node() as client, Client(governed.url, wallet=registrar) as elsewhere:
        admission = elsewhere.admission("ada")
        assert admission == client.admission("ada", registrar)
        key, admitted = admission.key, admission.admitted
        Admission("ada", registrar.public_key, bytes.fromhex(admitted)).check(client.ledger_id, is_signed)
        assert client.change_keys(d.AddIssuer("ada", key, "Law", None, admitted)).outcome.state == "final"
        (certified,) = elsewhere.submit(elsewhere.sign([("Babbage: LLB", None)]))
        assert client.certificate(certified.id).issuer.label == "Law"
        since = client.certificate(certified.id).place.log_index
        assert client.change_keys(d.EndIssuer(key, since)).outcome.state == "final"
        assert client.validity(certified.id).state == "void"
        (refused,) = elsewhere.submit(elsewhere.sign([("Babbage: LLM", None)]))
        assert (refused.state, refused.rule) == ("refused", "D1")


def test_the_nodes_own_key_admits_itself_at_its_own_door(governed: Governed) -> None:
    with governed.at_the_node() as client:
        found = client.admission("ada")
        assert found.key == ADA.public_key.hex()
        Admission("ada", ADA.public_key, bytes.fromhex(found.admitted)).check(client.ledger_id, is_signed)


def test_a_member_without_enough_stake_leaves_a_motion_open_and_status_says_what_it_waits_for(
    governed: Governed,
) -> None:
    with governed.ben() as ben, governed.at_the_node() as ada:
        assert EXPIRES_AFTER_MS == DAYS * 86_400_000, "as by the command"
        expires_ms = now_ms() + 3_600_000
        moved = ben.move(d.SetParameter("rotation_delay_ms", 86_400_000, 1_000), expires_ms=expires_ms)
        (waiting,) = ada.status().motions
        assert (waiting.id, waiting.state, waiting.expires_ms) == (moved.id, "open", expires_ms)
        assert waiting.waits_for is not None
        assert waiting.waits_for.startswith("0 of 10 tokens at stake approve, 7 are needed; no word yet from: ")
        assert ada.object(moved.id[:10], words="too fast").outcome.state == "final"
        assert ada.motion(moved.id).state == "closed"
        assert ada.status().motions == []
        again = ben.move(d.SetParameter("rotation_delay_ms", 86_400_000, 1_000))
        assert ada.approve(again.id).outcome.state == "final"
        assert ada.motion(again.id).state == "passed"
        assert ada.ledger().params["rotation_delay_ms"] == 1_000
        late = ada.approve(again.id).outcome
        assert (late.state, late.rule) == ("refused", "M4")


def test_the_local_door_signs_subjects_into_payloads(governed: Governed) -> None:
    with governed.at_the_node() as client:
        (erasable,) = client.submit(client.sign([("Lovelace: BSc", None)]))
        (public,) = client.submit(client.sign([("Lovelace: public", None)], public_subject=True))
        told = client.certificate(erasable.id)
        assert told.payload is not None
        assert (told.subject, told.payload.subject) == ("Lovelace: BSc", "Lovelace: BSc")
        assert (client.certificate(public.id).subject, client.certificate(public.id).payload_hash) == (
            "Lovelace: public",
            None,
        )


def test_nobody_but_the_nodes_user_has_it_decide(governed: Governed) -> None:
    with httpx.Client(base_url=governed.url) as remote:
        for path in ("/v1/decisions", "/v1/admissions"):
            assert remote.post(path, json={}).status_code == 404
    with Client(governed.url) as nobody, pytest.raises(AnswerProblem):
        nobody.approve("00" * 32)


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        ({"kind": "wish"}, "decision.kind has to be one of motion, approval, objection, key_change, revocation"),
        ({"kind": "approval"}, "'motion' is missing"),
        ({"kind": "approval", "motion": "no"}, "decision.motion has to be 32 bytes in lower-case hex"),
        (
            {"kind": "revocation", "target": "00" * 32, "effect": "void", "reason": "whim"},
            "decision.reason has to be one of fraud, key_compromised, mistake",
        ),
        (
            {"kind": "motion", "expires_ms": 1, "change": {"change": "stop_rotation", "organisation": "A", "key": "0"}},
            "decision.change.organisation has to be an organisation's id",
        ),
        (
            {"kind": "motion", "expires_ms": 1, "change": {"change": "remove", "stake": 1, "organisation": 2}},
            "decision",
        ),
    ],
)
def test_what_is_wrong_with_a_decision_is_said_in_words(governed: Governed, decision: object, words: str) -> None:
    socket = httpx.HTTPTransport(uds=str(governed.node.folder.api_path))
    with httpx.Client(transport=socket, base_url="http://tallystick", timeout=30) as local:
        answer = local.post("/v1/decisions", json={"decision": decision})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(words)


def test_an_asynchronous_client_decides_likewise(governed: Governed) -> None:
    async def decide() -> None:
        async with await AsyncClient.open(governed.node.folder.path) as client:
            (one, other) = await client.submit(await client.sign([("one", None), ("other", None)]))
            told = await client.revoke(one.id, reason="withdrawn", timeout_s=None)
            assert (await client.validity(one.id)).by == told.id
            assert (await client.validity(other.id)).state == "valid"

    asyncio.run(decide())


# ---- erasing everywhere -----------------------------------------------------------------------------------------


def diploma(client: Client, name: str) -> str:
    """The id of a statement whose subject stands in its payload."""
    (outcome,) = client.submit(client.sign([(f"{name}: BSc", None)]))
    return outcome.id


def test_an_organisation_orders_its_own_erased_and_each_member_confirms(governed: Governed) -> None:
    with governed.at_the_node() as ada, governed.ben() as ben:
        one = ada.certificate(diploma(ada, "Somerville"))
        assert one.payload_hash is not None
        with pytest.raises(NotThere, match="nothing orders"):
            ben.confirm_erasure(one.id)
        refused = ben.order_erasure(one.id).outcome
        assert (refused.state, refused.rule) == ("refused", "R2"), "ada certified it"
        order = ada.order_erasure(one.id[:12], words="as she asked")
        assert order.outcome.state == "final"
        (waiting,) = ada.status().erasures
        assert (waiting.target, waiting.is_erased_here, waiting.orders[0].id) == (one.id, False, order.id)
        assert ada.certificate(one.id).payload is not None, "no node erases before its operator does"
        (confirmation,) = ada.erase(one.payload_hash).confirmations
        assert confirmation.state == "final"
        assert ada.status().erasures == []
        assert ada.erase(one.payload_hash).confirmations == [], "it is confirmed already"
        confirmed = ben.confirm_erasure(one.id)
        assert confirmed.outcome.state == "final"
        assert ben.confirm_erasure(one.id).id == confirmed.id, "there is one of it"
        told = ben.certificate(one.id)
        assert (told.subject, told.is_erased, told.summary) == (None, True, "(its payload was erased)")
        assert told.erasure is not None
        assert [said.id for said in told.erasure.confirmed] == [confirmation.id, confirmed.id]
        assert told.erasure.unconfirmed == []
        assert [found.target for found in ben.erasures().erasures] == [one.id]


def test_an_erasure_that_was_cut_off_before_it_was_confirmed_is_asked_for_again(governed: Governed) -> None:
    with governed.at_the_node() as ada:
        one = ada.certificate(diploma(ada, "Germain"))
        assert ada.erase(one.payload_hash or "").confirmations == [], "nothing was ordered"
        ada.order_erasure(one.id)
        assert [found.target for found in ada.status().erasures] == [one.id], "it is erased, and not confirmed"
        (first,) = ada.erase(one.payload_hash or "", timeout_s=0).confirmations
        (again,) = ada.erase(one.payload_hash or "", timeout_s=0).confirmations or [first]
        assert again.id == first.id
        assert ada.wait([first.id])[0].state == "final"
        assert ada.status().erasures == []


def test_what_another_certified_is_ordered_by_motion(governed: Governed) -> None:
    with governed.at_the_node() as ada, governed.ben() as ben:
        one = ben.certificate(diploma(ben, "Noether"))
        moved = ada.move(d.Erase(one.id))
        assert moved.outcome.state == "final"
        assert ada.motion(moved.id).state == "passed", "ada has all the stake"
        (waiting,) = ada.status().erasures
        assert (waiting.target, waiting.orders[0].kind, waiting.orders[0].id) == (one.id, "motion", moved.id)
        assert [each.state for each in ada.erase(one.payload_hash or "").confirmations] == ["final"]
        found = ada.motion(moved.id).erasure
        assert found is not None
        assert [said.member.organisation for said in found.confirmed] == ["ada"]
        assert [key.organisation for key in found.unconfirmed] == ["ben"]


def test_of_an_erased_file_no_statement_is_found(governed: Governed, tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    report.write_text("to be erased")
    with governed.at_the_node() as client:
        outcome = client.certify(report)
        client.order_erasure(outcome.id)
        assert [one.id for one in client.statements_of(report)] == [outcome.id]
        client.erase(client.certificate(outcome.id).payload_hash or "")
        assert client.statements_of(report) == []
