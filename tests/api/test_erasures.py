"""Payloads that are to be erased everywhere, as they are told: who ordered it, who confirmed, what waits for whom."""

from dataclasses import dataclass

from tests.api.test_governed import Governed, on_a_ledger
from tests.builders import START_MS

from tallystick.api import governed_views
from tallystick.api.erasures import MOST_WAITING
from tallystick.ledger import changes
from tallystick.ledger.certificate import AnyCertificate, Payload, Statement, issue_statement


@dataclass
class Erasable:
    """A statement with its payload."""

    statement: Statement
    payload: Payload

    @property
    def id(self) -> str:
        return self.statement.id.hex()


def certified(ledger: Governed, number: int = 1, by: str = "ada") -> Erasable:
    """A statement whose subject stands in its payload, kept."""
    payload = Payload.about(f"Lovelace: BSc {number}", None, number.to_bytes(32))
    one = issue_statement(ledger.scribe.key(by), ledger.scribe.ledger_id, START_MS, "", payload)
    ledger.forge(one)
    ledger.kept.store.keep_payload(payload)
    return Erasable(one, payload)


async def told(ledger: Governed, certificate: AnyCertificate) -> governed_views.Erasure:
    found = (await ledger.told(certificate)).erasure
    assert found is not None
    return found


async def waiting(ledger: Governed, name: str) -> list[str]:
    """What waits for the operator of a node with this key."""
    key = ledger.scribe.key(name).public_key
    return [one.target for one in await ledger.kept.reader.erasures_waiting(key)]


@on_a_ledger
async def test_an_order_is_told_with_who_confirmed_it_and_who_has_not(ledger: Governed) -> None:
    scribe, one = ledger.scribe, certified(ledger)
    assert (await ledger.told(one.statement)).erasure is None
    ordered = ledger.forge(order := scribe.erasure(one.statement))
    found = await told(ledger, one.statement)
    assert (found.target, found.payload_hash, found.confirmed) == (one.id, one.payload.hash().hex(), [])
    (by,) = found.orders
    assert (by.id, by.kind, by.by.organisation) == (order.id.hex(), "erasure", "ada")
    assert (by.since_block, by.since_ms) == (ordered.index, ordered.header.timestamp_ms)
    assert [key.organisation for key in found.unconfirmed] == ["ada", "ben", "cy", "dot"]
    assert not found.is_erased_here
    for what in ("observers", "backups", "exports", "proofs"):
        assert what in found.not_reached
    confirmed = ledger.forge(confirmation := scribe.erased(order, one.statement, "cy"))
    ledger.kept.store.erase_payload(one.payload.hash())
    found = await told(ledger, one.statement)
    (said,) = found.confirmed
    assert (said.member.organisation, said.id) == ("cy", confirmation.id.hex())
    assert (said.block_index, said.block_timestamp_ms) == (confirmed.index, confirmed.header.timestamp_ms)
    assert [key.title for key in found.unconfirmed] == [f"University of {name}" for name in ("Ada", "Ben", "Dot")]
    assert found.is_erased_here
    assert await told(ledger, order) == await told(ledger, confirmation) == found
    assert (await ledger.client.erasures()).erasures == [found]


@on_a_ledger
async def test_a_motion_is_an_order_once_it_has_passed(ledger: Governed) -> None:
    scribe, one = ledger.scribe, certified(ledger)
    motion, closed = (scribe.motion(changes.Erase(one.statement.id), by) for by in ("ben", "cy"))
    ledger.forge(motion, closed, scribe.objection(closed, "ada"), scribe.objection(closed, "dot"))
    assert (await ledger.told(motion)).erasure is None
    assert (await ledger.client.motion(motion.id.hex())).erasure is None
    assert await waiting(ledger, "cy") == []
    assert (await ledger.client.erasures()).erasures == []
    passed = ledger.forge(scribe.approval(motion, "cy"), scribe.approval(motion, "dot"))
    ledger.forge(scribe.erased(motion, one.statement, "dot"), scribe.erased(closed, one.statement, "ben"))
    found = await told(ledger, motion)
    assert [(by.id, by.kind, by.by.organisation) for by in found.orders] == [(motion.id.hex(), "motion", "ben")]
    assert (found.orders[0].since_block, found.orders[0].since_ms) == (passed.index, passed.header.timestamp_ms)
    assert [said.member.organisation for said in found.confirmed] == ["dot"], "a closed motion is no order"
    assert (await ledger.client.motion(motion.id.hex())).erasure == found
    assert (await ledger.client.motion(closed.id.hex())).erasure == found, "of the same statement"
    assert await waiting(ledger, "cy") == [one.id]


@on_a_ledger
async def test_what_is_confirmed_without_an_order_for_that_statement_counts_for_nothing(ledger: Governed) -> None:
    scribe, one, other = ledger.scribe, certified(ledger, 1), certified(ledger, 2)
    revocation = scribe.revocation(other.statement)
    ledger.forge(order := scribe.erasure(one.statement), revocation)
    ledger.forge(scribe.erased(order, other.statement, "ben"), scribe.erased(revocation, other.statement, "cy"))
    assert (await ledger.told(other.statement)).erasure is None
    ledger.forge(late := scribe.erasure(other.statement))
    assert (await told(ledger, other.statement)).confirmed == []
    assert (await told(ledger, one.statement)).confirmed == []
    ledger.forge(scribe.erased(late, other.statement, "ben"))
    assert [said.member.organisation for said in (await told(ledger, other.statement)).confirmed] == ["ben"]


@on_a_ledger
async def test_an_order_by_a_key_that_was_compromised_by_then_does_not_stand(ledger: Governed) -> None:
    scribe, one = ledger.scribe, certified(ledger)
    ledger.forge(scribe.add_issuer("registry"))
    ledger.forge(order := scribe.erasure(one.statement, "registry"))
    assert await waiting(ledger, "ben") == [one.id]
    index = (await ledger.told(order)).place.log_index
    ledger.forge(scribe.end_issuer("registry", since=index))
    assert (await ledger.told(one.statement)).erasure is None
    assert await waiting(ledger, "ben") == []


@on_a_ledger
async def test_an_organisation_counts_once_whichever_member_key_confirmed(ledger: Governed) -> None:
    scribe, one = ledger.scribe, certified(ledger)
    ledger.forge(order := scribe.erasure(one.statement))
    ledger.forge(first := scribe.erased(order, one.statement, "dot"), scribe.erased(order, one.statement, "cy"))
    replacing, removing = scribe.motion(scribe.replace_key("dot", "new")), scribe.motion(scribe.remove("cy"))
    ledger.forge(
        replacing, removing, *(scribe.approval(each, by) for each in (replacing, removing) for by in ("ben", "dot"))
    )
    ledger.forge(scribe.erased(order, one.statement, "new"))
    found = await told(ledger, one.statement)
    assert [said.member.organisation for said in found.confirmed] == ["dot", "cy"]
    assert found.confirmed[0].id == first.id.hex()
    assert [key.organisation for key in found.unconfirmed] == ["ada", "ben"], "a removed organisation that is silent"


@on_a_ledger
async def test_a_confirmation_waits_for_the_operator_until_the_payload_is_erased_here_and_that_is_confirmed(
    ledger: Governed,
) -> None:
    scribe, one = ledger.scribe, certified(ledger)
    ledger.forge(order := scribe.erasure(one.statement))
    assert await waiting(ledger, "ben") == await waiting(ledger, "observer") == [one.id]
    ledger.forge(scribe.erased(order, one.statement, "ben"))
    assert await waiting(ledger, "ben") == [one.id], "a backup was restored, or somebody else confirmed with the key"
    ledger.kept.store.erase_payload(one.payload.hash())
    assert await waiting(ledger, "ben") == []
    assert await waiting(ledger, "observer") == []
    assert await waiting(ledger, "ada") == [one.id], "it is erased, and not confirmed"
    due = await ledger.kept.reader.erasures_to_confirm(one.payload.hash(), scribe.key("ada").public_key)
    assert [each.target for each in due] == [one.id]
    for name in ("ben", "observer"):
        assert await ledger.kept.reader.erasures_to_confirm(one.payload.hash(), scribe.key(name).public_key) == []


@on_a_ledger
async def test_of_many_that_wait_the_oldest_are_told(ledger: Governed) -> None:
    scribe = ledger.scribe
    many = [certified(ledger, number) for number in range(1, MOST_WAITING + 3)]
    bare = scribe.statement("ada")
    ledger.forge(bare)
    ledger.forge(*(scribe.erasure(one.statement) for one in many), scribe.erasure(bare))
    assert await waiting(ledger, "ben") == [one.id for one in many[:MOST_WAITING]]
    for one in many[:5]:
        ledger.kept.store.erase_payload(one.payload.hash())
    assert await waiting(ledger, "observer") == [one.id for one in many[5:]], "what has no payload waits for nobody"
    pages = [await ledger.client.erasures(limit=8), await ledger.client.erasures(limit=8, cursor="8")]
    listed = [one.target for page in pages for one in page.erasures]
    assert listed == [bare.id.hex(), *(one.id for one in reversed(many))]
    assert [page.next for page in pages] == ["8", None]


@on_a_ledger
async def test_a_payload_is_told_with_all_certificates_that_cover_it(ledger: Governed) -> None:
    """Somebody may certify a hash that another certified, and then order that its own be erased."""
    scribe, one = ledger.scribe, certified(ledger)
    copied = issue_statement(scribe.key("ben"), scribe.ledger_id, START_MS + 1, "", one.payload)
    ledger.forge(scribe.statement(), copied)
    found = await ledger.client.payload_use(one.payload.hash().hex())
    assert (found.is_kept, found.is_erased) == (True, False)
    assert [(line.id, line.issuer.organisation) for line in found.certificates] == [
        (one.id, "ada"),
        (copied.id.hex(), "ben"),
    ]
    ledger.kept.store.erase_payload(one.payload.hash())
    found = await ledger.client.payload_use(one.payload.hash().hex())
    assert (found.is_kept, found.is_erased, len(found.certificates)) == (False, True, 2)
    assert (await ledger.client.payload_use("00" * 32)).certificates == []
