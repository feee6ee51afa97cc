"""What a client holds against the certificate itself, of all that it is told about one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tallystick.api import views
from tallystick.api.questions import Search
from tallystick.client.blocking import Client
from tallystick.client.checks import check_certificate
from tallystick.problems import DamagedStore


@pytest.fixture(scope="module")
def client(ledger: Path) -> Iterator[Client]:
    with Client(ledger) as opened:
        yield opened


def told(client: Client, kind: str) -> views.Certificate:
    return client.certificate(client.search(Search(kind=kind)).certificates[-1].id)


OTHER = "ab" * 32


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("statement", {"id": OTHER}),
        ("statement", {"kind": "stake"}),
        ("statement", {"issuer": views.Key(OTHER, "Alice")}),
        ("statement", {"timestamp_ms": 1}),
        ("statement", {"summary": "Something else"}),
        ("statement", {"subject": "Something else"}),
        ("statement", {"subject": None}),
        ("statement", {"amount": 5}),
        ("statement", {"offender": views.Key(OTHER, None)}),
        ("statement", {"signature": "00" * 64}),
        ("statement", {"payload_hash": OTHER}),
        ("stake", {"amount": 1_000}),
        ("stake", {"subject": ""}),
        ("evidence", {"offender": views.Key(OTHER, None)}),
        ("evidence", {"offender": None}),
    ],
    ids=lambda one: one if isinstance(one, str) else next(iter(one)),
)
def test_a_field_that_is_told_otherwise_is_caught(client: Client, kind: str, changes: dict[str, Any]) -> None:
    one = told(client, kind)
    check_certificate(one, client.ledger_id)
    with pytest.raises(DamagedStore, match=r"\[B7\]"):
        check_certificate(replace(one, **changes), client.ledger_id)


def test_what_a_payload_says_is_held_against_it_too(client: Client) -> None:
    (line,) = client.search(Search(text="report.txt")).certificates
    one = client.certificate(line.id)
    payload = one.payload
    assert payload is not None
    assert payload.file is not None
    for changed in (
        replace(payload, file=replace(payload.file, name="other.txt")),
        replace(payload, file=None),
        replace(payload, media_type="text/plain"),
        replace(payload, text="Something else"),
        replace(payload, size_bytes=1),
    ):
        with pytest.raises(DamagedStore, match=r"\[B7\]"):
            check_certificate(replace(one, payload=changed), client.ledger_id)


def test_an_erased_payload_is_no_lie(client: Client) -> None:
    check_certificate(replace(told(client, "statement"), payload=None), client.ledger_id)
