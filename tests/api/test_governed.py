"""A ledger with a directory, as it is told: who is who, and what is valid."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from msgspec.structs import replace
from tests.api.kept_ledger import Kept, kept_ledger
from tests.builders import START_MS, Scribe, statement
from tests.governed import NAMES, GovernedScribe

from tallystick.api import decisions as d
from tallystick.api import views
from tallystick.api.app import App
from tallystick.api.certificate_view import Beside, certificate_view
from tallystick.api.governance import open_motion_line, rotations_in
from tallystick.api.governed_views import KeyOfOrganisation, Rotation
from tallystick.api.key_book import KeyBook
from tallystick.client.checks import check_certificate
from tallystick.client.client import AsyncClient
from tallystick.client.doors import AnswerProblem, Request, ask
from tallystick.ledger import changes
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import AnyCertificate, Payload, check_payload, issue_statement
from tallystick.ledger.changes import Effect, Reason, Role
from tallystick.ledger.messages import entry_codec
from tallystick.problems import DamagedStore


class Governed(NamedTuple):
    """A ledger with a directory, and whoever asks it over HTTP."""

    scribe: Any
    kept: Kept
    client: AsyncClient

    def forge(self, *certificates: AnyCertificate, **changes: Any) -> Block:
        return self.kept.forge(*certificates, **changes)

    async def told(self, certificate: AnyCertificate) -> views.Certificate:
        return await self.client.certificate(certificate.id.hex())


@asynccontextmanager
async def governed(folder: Path, scribe: Scribe | None = None) -> AsyncIterator[Governed]:
    """Of ada, ben, cy and dot, each with a quarter of the stake."""
    scribe = scribe or GovernedScribe()
    async with AsyncExitStack() as stack:
        kept = await stack.enter_async_context(kept_ledger(folder, scribe))
        transport = httpx.ASGITransport(App(kept.reader).asgi)
        http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://kept"))
        ledger = await ask(http, Request("/v1/ledger"), views.Ledger)
        yield Governed(scribe, kept, AsyncClient(http, ledger, None, stack, is_file=False))


Case = Callable[[Governed], Coroutine[Any, Any, None]]


def on_a_ledger(case: Case) -> Callable[[Path], None]:
    """A test that is given such a ledger."""

    def run(tmp_path: Path) -> None:
        async def running() -> None:
            async with governed(tmp_path) as ledger:
                await case(ledger)

        asyncio.run(running())

    run.__doc__ = case.__doc__
    return run


def add_issuer(scribe: GovernedScribe, name: str, organisation: str, label: str = "Registrar") -> AnyCertificate:
    key = scribe.key(name).public_key
    added = changes.AddIssuer(organisation, key, label, None, scribe.admission(name, organisation))
    return scribe.key_change(added, organisation)


# ---- keys -------------------------------------------------------------------------------------------------------


@on_a_ledger
async def test_a_key_is_told_with_the_organisation_that_all_nodes_agree_on(ledger: Governed) -> None:
    scribe = ledger.scribe
    ledger.forge(add_issuer(scribe, "registrar", "ada"))
    ledger.forge(one := scribe.statement("registrar"), other := scribe.statement("ben"))
    registrar, ben = (scribe.key(name).public_key.hex() for name in ("registrar", "ben"))
    told = await ledger.told(one)
    assert told.issuer == views.Key(registrar, None, "ada", "University of Ada", "Registrar")
    assert (told.is_listed, told.kind) == (True, "statement")
    ledger.kept.reader.address_book = {bytes.fromhex(ben): "my friend"}
    assert (await ledger.told(other)).issuer == views.Key(ben, "my friend", "ben", "University of Ben", None)
    renamed = changes.Rename("ben", "University of Ben", "Ben's", None, "ben.example")
    motion = scribe.motion(renamed)
    ledger.forge(motion, *(scribe.approval(motion, name) for name in ("ben", "cy")))
    assert (await ledger.told(other)).issuer.title == "Ben's"
    assert (await ledger.client.ledger()).has_directory


@on_a_ledger
async def test_a_certificate_belongs_to_the_organisation_that_held_its_key_when_it_entered_the_log(
    ledger: Governed,
) -> None:
    """While anybody certifies, a key may certify first and be listed later."""
    scribe = ledger.scribe
    motion = scribe.motion(changes.SetParameter("anybody_certifies", 0, 1))
    ledger.forge(motion, *(scribe.approval(motion, name) for name in ("ben", "cy")))
    assert (await ledger.client.ledger()).params["anybody_certifies"] is True
    scribe.key("outsider")
    ledger.forge(before := scribe.statement("outsider"))
    assert ((await ledger.told(before)).is_listed, (await ledger.told(before)).issuer.organisation) == (False, None)
    ledger.forge(add_issuer(scribe, "outsider", "ada"))
    ledger.forge(after := scribe.statement("outsider"))
    assert ((await ledger.told(after)).is_listed, (await ledger.told(after)).issuer.organisation) == (True, "ada")
    told = await ledger.told(before)
    assert (told.is_listed, told.issuer.organisation, told.issuer.title, told.issuer.label) == (False, None, None, None)
    lines = {line.id: line for line in (await ledger.client.log()).certificates}
    assert (lines[told.id].is_listed, lines[told.id].issuer) == (False, told.issuer)


# ---- words ------------------------------------------------------------------------------------------------------


def short(text: str | bytes) -> str:
    return f"{text.hex() if isinstance(text, bytes) else text:.12}…"


ID, OTHER, SIGNED = b"\xab" * 32, b"\xcd" * 32, bytes(64)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            changes.Admit("eve", "Eve's", None, ID, Role.MEMBER, 1_000, SIGNED),
            "admit Eve's (eve) with 1,000 tokens at stake",
        ),
        (
            changes.Admit("eve", "Eve's", "eve.example", ID, Role.VOTER, 0, SIGNED),
            "admit Eve's (eve) without stake, whose member key does not certify",
        ),
        (changes.Remove("ben", 10), "remove ben, which has 10 tokens at stake"),
        (
            changes.SetStakes(tuple(changes.StakeChange(one, 1, 2) for one in "abcde")),
            "set the stake of a from 1 to 2, b from 1 to 2, c from 1 to 2 and 2 more",
        ),
        (
            changes.ReplaceMemberKey("ben", ID, OTHER, 7, SIGNED),
            "replace the member key of ben by cdcdcdcdcdcd…, compromised from log index 7 on",
        ),
        (
            changes.SetOrganisationKey("ben", None, ID, SIGNED),
            "set the organisation key of ben: abababababab…",
        ),
        (changes.SetOrganisationKey("ben", OTHER, ID, SIGNED), "replace the organisation key of ben: abababababab…"),
        (changes.SetOrganisationKey("ben", ID, None, None), "end the organisation key of ben"),
        (changes.Rename("ben", "Ben", "Benny", None, None), "rename Ben to Benny"),
        (changes.Rename("ben", "Ben", "Ben", None, "ben.example"), "rename Ben, web domain ben.example"),
        (changes.SetParameter("epoch_ms", 5, 6), "set epoch_ms from 5 to 6"),
        (changes.SetParameter("block_ahead_ms", None, 6), "set block_ahead_ms from none to 6"),
        (changes.SetStatus(ID, Effect.VOID, Reason.FRAUD), "declare void abababababab… (fraud)"),
        (changes.SetStatus(ID, Effect.REVOKED, Reason.ORGANISATION_ENDED), "revoke abababababab… (organisation ended)"),
        (changes.StopRotation("ben", ID), "stop the rotation of the member key of ben to abababababab…"),
        (changes.Erase(ID), "erase the payload of abababababab… everywhere"),
        (
            changes.SetCompromised(ID, None, 1_207),
            "declare void what the key abababababab… certified from log index 1,207 on",
        ),
    ],
)
def test_a_motion_is_told_in_words_and_as_fields(change: changes.AnyChange, said: str) -> None:
    motion = GovernedScribe().motion(change)
    told = _told_alone(motion)
    assert (told.kind, told.summary, told.subject) == ("motion", f"moves to {said}", None)
    assert isinstance(told.decision, d.Move)
    assert _signed_again(told.decision, motion) == motion


def _told_alone(certificate: AnyCertificate) -> views.Certificate:
    place = views.Place(block_index=1, position=0, log_index=0, block_timestamp_ms=0)
    keys = KeyBook({}, GovernedScribe().state.directory)
    return certificate_view(certificate, Beside(place), keys)


def _signed_again(decision: d.AnyDecision, signed: AnyCertificate) -> AnyCertificate:
    """By what was told of a certificate, as that was."""
    signer = next(one for one in NAMES.values() if one.public_key == signed.issuer)
    return d.signed_decision(decision, "", signer, GovernedScribe().ledger_id, signed.timestamp_ms).certificate


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (changes.AddIssuer("ada", ID, "Law", None, SIGNED), "adds the issuer key abababababab… (Law) of ada"),
        (changes.AddIssuer("ada", ID, "", 5, SIGNED), "adds the issuer key abababababab… of ada"),
        (changes.EndIssuer(ID, None), "ends the issuer key abababababab…"),
        (changes.EndIssuer(ID, 0), "ends the issuer key abababababab…, compromised from log index 0 on"),
        (
            changes.RotateMemberKey("ada", ID, OTHER, None, SIGNED),
            "rotates the member key of ada to cdcdcdcdcdcd…",
        ),
        (changes.SetMemberRole(ID, Role.VOTER), "has its member key vote and not certify"),
        (changes.SetMemberRole(ID, Role.MEMBER), "has its member key certify"),
    ],
)
def test_a_change_of_keys_is_told_in_words_and_as_fields(operation: changes.AnyKeyOperation, said: str) -> None:
    signed = GovernedScribe().key_change(operation, "ada")
    told = _told_alone(signed)
    assert (told.kind, told.summary) == ("key_change", said)
    assert isinstance(told.decision, d.ChangeKeys)
    assert _signed_again(told.decision, signed) == signed


def test_words_and_changes_of_status_are_told_in_words_and_as_fields() -> None:
    scribe = GovernedScribe()
    one, other = scribe.statement(), scribe.statement()
    motion, erasure = scribe.motion(changes.Remove("ben", 10)), scribe.erasure(one)
    for signed, kind, said, decision in (
        (scribe.approval(motion, "ben"), "approval", f"approves motion {short(motion.id)}", d.Approve(motion.id.hex())),
        (
            scribe.objection(motion, "ben"),
            "objection",
            f"objects to motion {short(motion.id)}",
            d.Object(motion.id.hex()),
        ),
        (
            scribe.revocation(one),
            "revocation",
            f"revokes {short(one.id)} (mistake)",
            d.Revoke(one.id.hex(), "revoked", "mistake"),
        ),
        (
            scribe.revocation(one, effect=Effect.VOID, reason=Reason.KEY_COMPROMISED),
            "revocation",
            f"declares void {short(one.id)} (key compromised)",
            d.Revoke(one.id.hex(), "void", "key_compromised"),
        ),
        (
            scribe.supersession(one, other),
            "supersession",
            f"puts {short(other.id)} in the place of {short(one.id)}",
            d.Supersede(one.id.hex(), other.id.hex()),
        ),
        (
            erasure,
            "erasure",
            f"has the payload of {short(one.id)} erased everywhere",
            d.OrderErasure(one.id.hex()),
        ),
        (
            scribe.erased(erasure, one, "ben"),
            "erasure_confirmation",
            f"has erased the payload of {short(one.id)}",
            d.ConfirmErasure(erasure.id.hex(), one.id.hex()),
        ),
    ):
        told = _told_alone(signed)
        assert (told.kind, told.summary, told.decision, told.validity) == (kind, said, decision, None)
        assert _signed_again(decision, signed) == signed


@on_a_ledger
async def test_a_decision_that_is_told_otherwise_is_caught(ledger: Governed) -> None:
    scribe = ledger.scribe
    ledger.forge(motion := scribe.motion(changes.Remove("ben", 10)), one := scribe.statement())
    told = await ledger.told(motion)
    assert isinstance(told.decision, d.Move)
    other = replace(told.decision, change=d.Remove("cy", 10))
    lies: tuple[dict[str, Any], ...] = (
        {"decision": other},
        {"decision": None},
        {"summary": "moves to remove cy, which has 10 tokens at stake"},
        {"kind": "approval"},
        {"subject": ""},
    )
    for lie in lies:
        with pytest.raises(DamagedStore, match=r"\[B7\]"):
            check_certificate(replace(told, **lie), scribe.ledger_id)
    with pytest.raises(DamagedStore, match=r"\[B7\]"):
        check_certificate(replace(await ledger.told(one), decision=other), scribe.ledger_id)


# ---- validity ---------------------------------------------------------------------------------------------------


@on_a_ledger
async def test_a_statement_is_valid_until_it_is_revoked_and_a_void_one_never_was(ledger: Governed) -> None:
    scribe = ledger.scribe
    one, other, third = (scribe.statement("ben") for _ in range(3))
    there_ms = ledger.forge(one, other, third).header.timestamp_ms
    assert (await ledger.told(one)).validity == await ledger.client.validity(one.id.hex())
    revoking = scribe.revocation(one, "ben", reason=Reason.WITHDRAWN)
    declaring = scribe.revocation(other, "ben", Effect.VOID, Reason.FRAUD)
    ledger.forge()
    then_ms = ledger.forge(scribe.supersession(third, one, "ben"), revoking, declaring).header.timestamp_ms
    found = [await ledger.client.validity(one.id.hex(), at_ms) for at_ms in (there_ms - 1, then_ms - 1, then_ms)]
    assert [told.state for told in found] == ["not_yet", "valid", "revoked"]
    assert [told.since_ms for told in found] == [None, there_ms, then_ms]
    assert found[2] == (await ledger.told(one)).validity
    by = (revoking.id.hex(), found[2].by_log_index, then_ms, "withdrawn")
    assert (found[2].by, found[2].by_log_index, found[2].by_ms, found[2].reason) == by
    assert (await ledger.told(revoking)).place.log_index == found[2].by_log_index
    assert found[2].summary == "revoked (withdrawn)"
    void = await ledger.client.validity(other.id.hex(), there_ms)
    assert (void.state, void.since_ms, void.by_ms, void.summary) == ("void", there_ms, then_ms, "void (fraud)")
    replaced = await ledger.client.validity(third.id.hex())
    assert (replaced.state, replaced.successor) == ("superseded", one.id.hex())
    assert replaced.summary == f"superseded by {short(one.id)}"


@on_a_ledger
async def test_what_motions_did_to_a_statement_is_told_for_each_time(ledger: Governed) -> None:
    scribe = ledger.scribe
    diploma, corrected = scribe.statement("dot"), scribe.statement("ada")
    ledger.forge(diploma, corrected)
    times = []
    for change in (
        scribe.remove("dot"),
        changes.SetStatus(diploma.id, Effect.SUPERSEDED, Reason.MISTAKE, corrected.id),
        changes.SetStatus(diploma.id, Effect.REVOKED, Reason.FRAUD),
    ):
        motion = scribe.motion(change)
        ledger.forge(motion, scribe.approval(motion, "ben"), scribe.approval(motion, "cy"))
        times.append(scribe.state.tip.timestamp_ms)
    found = [await ledger.client.validity(diploma.id.hex(), at_ms) for at_ms in times]
    assert [one.state for one in found] == ["valid", "superseded", "revoked"]
    assert [one.successor for one in found] == [None, corrected.id.hex(), None]
    assert [one.by_ms for one in found] == [None, *times[1:]]


@on_a_ledger
async def test_a_key_that_was_compromised_makes_void_what_it_certified_since(ledger: Governed) -> None:
    scribe = ledger.scribe
    ledger.forge(add_issuer(scribe, "registrar", "ada"))
    ledger.forge(good := scribe.statement("registrar"))
    ledger.forge(forged := scribe.statement("registrar"))
    since = (await ledger.told(forged)).place.log_index
    in_force = (await ledger.told(good)).validity
    assert in_force is not None
    assert (in_force.key, in_force.key_since_log_index) == ("in_force", None)
    ledger.forge(scribe.key_change(changes.EndIssuer(scribe.key("registrar").public_key, since), "ada"))
    before, after = [await ledger.client.validity(one.id.hex()) for one in (good, forged)]
    assert (before.state, before.key, before.key_since_log_index) == ("valid", "compromised_after", since)
    assert (after.state, after.reason, after.by, after.key) == ("void", "key_compromised", None, "compromised_before")
    assert after.summary == "void (key compromised); its issuer's key was compromised by then"


@on_a_ledger
async def test_only_statements_are_valid_or_not(ledger: Governed) -> None:
    ledger.forge(motion := ledger.scribe.motion(changes.Remove("ben", 10)))
    with pytest.raises(AnswerProblem, match="is no statement") as caught:
        await ledger.client.validity(motion.id.hex())
    assert caught.value.http_status == 404
    with pytest.raises(AnswerProblem, match="no certificate's id begins with"):
        await ledger.client.validity("00" * 32)


@on_a_ledger
async def test_a_statement_that_was_superseded_first_and_revoked_later_was_superseded_in_between(
    ledger: Governed,
) -> None:
    """The status holds the strongest entry alone."""
    scribe = ledger.scribe
    ledger.forge(one := scribe.statement("ben"), other := scribe.statement("ben"))
    superseding, revoking = scribe.supersession(one, other, "ben"), scribe.revocation(one, "ben")
    times = [ledger.forge(superseding).header.timestamp_ms]
    ledger.forge()
    times.append(ledger.forge(revoking).header.timestamp_ms)
    asked = [times[0] - 1, times[0], times[1] - 1, times[1]]
    found = [await ledger.client.validity(one.id.hex(), at_ms) for at_ms in asked]
    assert [told.state for told in found] == ["valid", "superseded", "superseded", "revoked"]
    assert [told.by for told in found] == [None, *[superseding.id.hex()] * 2, revoking.id.hex()]
    assert [told.successor for told in found] == [None, *[other.id.hex()] * 2, None]


# ---- subjects ---------------------------------------------------------------------------------------------------


@on_a_ledger
async def test_a_subject_in_the_payload_is_told_until_it_is_erased(ledger: Governed) -> None:
    scribe, store = ledger.scribe, ledger.kept.store
    payload = Payload.about("Lovelace: BSc", None, bytes(32))
    missing = Payload.about("Menabrea: BSc", None, bytes(32))
    one, lost = (
        issue_statement(scribe.key("ada"), scribe.ledger_id, START_MS, "", each) for each in (payload, missing)
    )
    ledger.forge(one, lost)
    store.keep_payload(payload)
    told = await ledger.told(one)
    assert (told.subject, told.summary, told.is_erased) == ("Lovelace: BSc", "Lovelace: BSc", False)
    assert told.payload is not None
    assert (told.payload.subject, told.payload.media_type, told.payload.size_bytes) == ("Lovelace: BSc", "", 0)
    block = await ledger.client.block(1)
    log = (await ledger.client.log()).certificates
    assert [line.summary for line in block.certificates] == [line.summary for line in log]
    assert [line.summary for line in log] == ["Lovelace: BSc", "(its payload is not kept here)"]
    store.erase_payload(payload.hash())
    told = await ledger.told(one)
    assert (told.subject, told.summary, told.is_erased) == (None, "(its payload was erased)", True)
    assert (await ledger.client.log()).certificates[0].summary == "(its payload was erased)"
    assert (await ledger.told(lost)).is_erased is False


@on_a_ledger
async def test_a_clients_subject_can_be_erased_unless_it_is_to_be_public(ledger: Governed) -> None:
    client = ledger.client
    client.wallet = ledger.scribe.key("ada")
    note = Payload(bytes(32), "", "text/plain", b"with distinction")
    statements = [("Lovelace: BSc", None), ("Babbage: BSc", note)]
    erasable = [entry_codec.decode(one) for one in await client.sign(statements)]
    public = [entry_codec.decode(one) for one in await client.sign(statements, public_subject=True)]
    assert [one.certificate.subject for one in erasable + public] == ["", "", "Lovelace: BSc", "Babbage: BSc"]
    assert [one.payload.subject if one.payload else None for one in erasable] == ["Lovelace: BSc", "Babbage: BSc"]
    assert [one.payload for one in public] == [None, note]
    for one in erasable + public:
        check_payload(one.certificate, one.payload)


def test_where_there_is_no_directory_a_subject_stands_in_the_certificate(tmp_path: Path) -> None:
    async def sign() -> list[bytes]:
        async with governed(tmp_path, Scribe()) as ledger:
            ledger.client.wallet = NAMES["ada"]
            assert not (await ledger.client.ledger()).has_directory
            ledger.forge(one := statement("mine"))
            assert (await ledger.told(one)).is_listed is None
            return await ledger.client.sign([("Lovelace: BSc", None)])

    (entry,) = map(entry_codec.decode, asyncio.run(sign()))
    assert (entry.certificate.subject, entry.payload) == ("Lovelace: BSc", None)


# ---- organisations ----------------------------------------------------------------------------------------------


@on_a_ledger
async def test_an_organisation_is_told_with_all_keys_that_it_ever_had(ledger: Governed) -> None:
    scribe = ledger.scribe
    ledger.forge(add_issuer(scribe, "registrar", "ada"), scribe.statement())
    ledger.forge(scribe.key_change(changes.EndIssuer(scribe.key("registrar").public_key, 1), "ada"))
    told = await ledger.client.organisation("ada")
    ada, registrar = (scribe.key(name).public_key.hex() for name in ("ada", "registrar"))
    assert (told.id, told.title, told.domain, told.member_key) == ("ada", "University of Ada", None, ada)
    assert (told.staked, told.votes_with, told.live_keys, told.rotation) == (10, 10, 1, None)
    assert told.keys == [
        KeyOfOrganisation(ada, "member", "", 0, None, None, None, is_in_force=True),
        KeyOfOrganisation(registrar, "issuer", "Registrar", 0, 2, None, 1, is_in_force=False),
    ]
    pages = [await ledger.client.organisations(limit=3), await ledger.client.organisations(limit=3, cursor="3")]
    assert [[one.id for one in page.organisations] for page in pages] == [["ada", "ben", "cy"], ["dot"]]
    assert [page.next for page in pages] == ["3", None]
    with pytest.raises(AnswerProblem, match="there is no organisation eve"):
        await ledger.client.organisation("eve")


@on_a_ledger
async def test_a_rotation_is_told_from_its_announcement_until_it_is_in_effect(ledger: Governed) -> None:
    scribe = ledger.scribe
    before, after = (scribe.key(name).public_key for name in ("ada", "ada's next"))
    rotating = changes.RotateMemberKey("ada", before, after, None, scribe.admission("ada's next", "ada"))
    announced_ms = ledger.forge(scribe.key_change(rotating, "ada")).header.timestamp_ms
    (line, *_) = (await ledger.client.organisations()).organisations
    due_ms = announced_ms + scribe.state.params.rotation_delay_ms
    key = views.Key(before.hex(), None, "ada", "University of Ada", None)
    assert line.rotation == Rotation("ada", key, after.hex(), due_ms, None)
    assert rotations_in(scribe.state, ledger.kept.reader.keys) == [line.rotation]


@on_a_ledger
async def test_a_removed_organisation_has_no_member_key_and_keeps_its_name(ledger: Governed) -> None:
    scribe = ledger.scribe
    ledger.forge(one := scribe.statement("dot"))
    motion = scribe.motion(changes.Remove("dot", 10))
    ledger.forge(motion, *(scribe.approval(motion, name) for name in ("ben", "cy")))
    told = await ledger.client.organisation("dot")
    assert (told.member_key, told.staked, told.votes_with) == (None, 0, 0)
    assert [one.is_in_force for one in told.keys] == [False]
    certificate = await ledger.told(one)
    assert (certificate.issuer.title, certificate.is_listed) == ("University of Dot", True)
    assert certificate.validity is not None
    assert (certificate.validity.state, certificate.validity.key) == ("valid", "ended_after")


# ---- motions ----------------------------------------------------------------------------------------------------


@on_a_ledger
async def test_an_open_motion_is_told_with_what_it_waits_for(ledger: Governed) -> None:
    scribe = ledger.scribe
    motion = scribe.motion(changes.Rename("ben", "University of Ben", "Ben's", None, None))
    ledger.forge(motion, scribe.approval(motion, "ben"), scribe.objection(motion, "cy"))
    told = await ledger.client.motion(motion.id.hex()[:12])
    assert (told.summary, told.state, told.mover.organisation) == ("rename University of Ben to Ben's", "open", "ada")
    assert told.change == d.Rename("ben", "University of Ben", "Ben's", None, None)
    assert (told.approving, told.objecting, told.needed, told.total_stake) == (20, 10, 27, 40)
    waits_for = "20 of 40 tokens at stake approve, 27 are needed; no word yet from: University of Dot"
    assert (told.waits_for, told.decided_block, told.expires_ms) == (waits_for, None, motion.expires_ms)
    words = {one.member.organisation: (one.word, one.stake) for one in told.words}
    expected = {"ada": ("approves", 10), "ben": ("approves", 10), "cy": ("objects", 10), "dot": (None, 10)}
    assert words == expected
    (line,) = (await ledger.client.motions()).motions
    assert line == open_motion_line(scribe.state.motions.open[motion.id], scribe.state, ledger.kept.reader.keys)
    assert (line.id, line.waits_for) == (told.id, told.waits_for)


@on_a_ledger
async def test_a_motion_tells_without_whom_the_ledger_stops_after_it(ledger: Governed) -> None:
    scribe, client = ledger.scribe, ledger.client
    removal = scribe.motion(scribe.remove("dot"))
    safe = scribe.motion(scribe.admit("eve", 10), "ben")
    ledger.forge(removal, safe, scribe.motion(changes.Rename("ben", "University of Ben", "Ben's", None, None)))
    three = [f"University of {name}" for name in ("Ada", "Ben", "Cy")]
    told = await client.motion(removal.id.hex())
    assert told.stops_without == three
    assert (told.danger or "").startswith("Afterwards the ledger stops without any of its 3 members: nothing becomes")
    assert [one.stops_without for one in (await client.motions()).motions if one.id != removal.id.hex()] == [[], []]
    ledger.forge(*(scribe.approval(removal, name) for name in ("ben", "cy")))
    told = await client.motion(removal.id.hex())
    assert (told.state, told.stops_without, told.danger) == ("passed", [], None)
    most = scribe.motion(scribe.set_stakes(ada=30))
    ledger.forge(most, same := scribe.motion(scribe.admit("dee"), "ben"))
    told = await client.motion(most.id.hex())
    assert told.stops_without == ["University of Ada"]
    assert (told.danger or "").startswith("Afterwards the ledger stops without University of Ada: nothing becomes")
    assert (await client.motion(same.id.hex())).danger is None, "it stops without any of three now, too"


@on_a_ledger
async def test_motions_that_were_decided_are_told_with_the_words_that_decided_them(ledger: Governed) -> None:
    scribe = ledger.scribe
    passed, closed, void, expired = (
        scribe.motion(changes.Rename("ben", "University of Ben", title, None, None), by)
        for title, by in (("Ben's", "ada"), ("Bens", "ben"), ("Benny's", "cy"), ("Benny", "dot"))
    )
    ledger.forge(passed, closed, void, expired, scribe.objection(passed, "ben"))
    ledger.forge(scribe.objection(closed, "cy"), scribe.objection(closed, "dot"))
    ledger.forge(*(scribe.approval(passed, name) for name in ("ben", "cy")))
    ledger.forge(*(scribe.approval(void, name) for name in ("ada", "ben")))
    late_ms = expired.expires_ms
    ledger.forge(timestamp_ms=late_ms)
    ledger.forge(still := scribe.motion(changes.Remove("dot", 10)))
    outcomes = {passed.id: "passed", closed.id: "closed", void.id: "void", expired.id: "expired", still.id: "open"}
    for motion_id, state in outcomes.items():
        assert (await ledger.client.motion(motion_id.hex())).state == state
    listed = (await ledger.client.motions()).motions
    order = [still, expired, void, passed, closed]
    assert [one.id for one in listed] == [one.id.hex() for one in order]
    pages = [await ledger.client.motions(limit=2, cursor=cursor) for cursor in (None, "2", "4")]
    assert [one for page in pages for one in page.motions] == listed
    assert [page.next for page in pages] == ["2", "4", None]
    told = await ledger.client.motion(passed.id.hex())
    assert (told.approving, told.objecting, told.needed, told.total_stake, told.waits_for) == (30, 0, 27, 40, None)
    assert (told.decided_block, told.mover.organisation) == (3, "ada")
    words = {one.member.organisation: one.word for one in told.words}
    assert words == {"ada": "approves", "ben": "approves", "cy": "approves", "dot": None}
    told = await ledger.client.motion(closed.id.hex())
    assert (told.approving, told.objecting, told.decided_block) == (10, 20, 2)
    assert (await ledger.client.motion(expired.id.hex())).decided_ms == late_ms


@on_a_ledger
async def test_what_is_no_motion_is_not_told_as_one(ledger: Governed) -> None:
    ledger.forge(one := ledger.scribe.statement())
    with pytest.raises(AnswerProblem, match="is no motion"):
        await ledger.client.motion(one.id.hex())
    assert (await ledger.client.motions()).motions == []
