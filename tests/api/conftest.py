"""A node that runs with both of its doors open, and a file of what it had."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.integration.network import NodeProcess, network
from tests.ports import drawn_port

from tallystick.client.blocking import Client
from tallystick.ledger.certificate import Payload, issue_statement
from tallystick.ledger.encoding import encode
from tallystick.ledger.messages import Entry
from tallystick.ledger.wallet import Wallet

ISSUER = Wallet(b"i" * 32)
NOW_MS = 1_750_000_000_000
REPORT = b"The bridge is sound.\n" * 100


@dataclass
class Doors:
    """One node, and how it is asked."""

    node: NodeProcess
    url: str
    copy: Path
    """Of its ledger, made while it ran."""
    report: Path
    ledger_id: bytes
    ids: list[str]
    """Of the certificates that are final."""

    def local(self) -> httpx.Client:
        """At its own socket."""
        socket = httpx.HTTPTransport(uds=str(self.node.folder.api_path))
        return httpx.Client(transport=socket, base_url="http://tallystick", timeout=30)

    def remote(self, **headers: str) -> httpx.Client:
        """Over TCP."""
        return httpx.Client(base_url=self.url, timeout=30, headers=headers)


def entry(
    ledger_id: bytes, subject: str, text: str | None = None, *, wallet: Wallet = ISSUER, at_ms: int = NOW_MS
) -> Entry:
    """A signed statement, with a text as its payload if one is given."""
    payload = Payload(bytes(32), "", "text/plain", text.encode()) if text is not None else None
    return Entry(issue_statement(wallet, ledger_id, at_ms, subject, payload), payload)


def body(*entries: Entry, **more: object) -> dict[str, object]:
    """Of a submission in JSON."""
    return {"entries": [encode(one).hex() for one in entries], **more}


@contextmanager
def opened_doors() -> Iterator[Doors]:
    """Of a node that has certified this and that."""
    with network(1) as net:
        (node,) = net.nodes
        port = drawn_port(1)
        node.start("--api", f"127.0.0.1:{port}", "--api-search", "--api-host", "ledger.example.org")
        report, copy = net.path / "report.pdf", net.path / "copy.db"
        report.write_bytes(REPORT)
        with Client(node.folder.path) as client:
            ids = [client.certify(report, note="from the archive").id]
            ledger_id = client.ledger_id
            entries = [encode(entry(ledger_id, f"diploma {number}", f"mark {number}")) for number in range(30)]
            for one in entries:
                ids += [outcome.id for outcome in client.submit([one])]
            ids.append(client.stake(7).id)
            client.backup(copy)
        yield Doors(node, f"http://127.0.0.1:{port}", copy, report, ledger_id, ids)


@pytest.fixture(scope="session")
def doors() -> Iterator[Doors]:
    with opened_doors() as found:
        yield found
