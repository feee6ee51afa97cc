"""How certificates are put into words."""

from tests.builders import BEN, evidence, proposal_evidence, staking, statement

from tallystick.api import views
from tallystick.api.certificate_view import Beside, certificate_line
from tallystick.api.key_book import KeyBook
from tallystick.ledger.directory import Directory

BESIDE = Beside(views.Place(block_index=1, position=0, log_index=0, block_timestamp_ms=0))


def test_each_kind_of_certificate_has_its_words():
    ben = f"{BEN.public_key.hex()[:12]}…"
    certificates = (
        statement("mine"),
        statement(""),
        staking(5),
        staking(-5),
        evidence(BEN),
        proposal_evidence(BEN),
    )
    lines = [certificate_line(one, BESIDE, KeyBook({}, Directory())) for one in certificates]
    assert [(one.kind, one.summary) for one in lines] == [
        ("statement", "mine"),
        ("statement", ""),
        ("stake", "stakes 5"),
        ("stake", "withdraws 5 from stake"),
        ("evidence", f"shows that {ben} signed votes that conflict"),
        ("evidence", f"shows that {ben} forged blocks that conflict"),
    ]


def test_evidence_names_its_offender_if_the_address_book_does():
    line = certificate_line(evidence(BEN), BESIDE, KeyBook({BEN.public_key: "Ben"}, Directory()))
    assert line.summary == "shows that Ben signed votes that conflict"
