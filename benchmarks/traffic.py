"""Bytes that the members of a Simplex ledger send for each certificate, by kind of message."""

from collections import Counter
from collections.abc import Iterator

from benchmarks.result import Figure, at_most, figure
from benchmarks.workload import CREATED_MS, HOP_MS, ISSUERS, MEMBERS, ledger, member_wallets
from tallystick.ledger.certificate import Statement, issue_statement
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.messages import Entry
from tallystick.network.simulated import Link, SimulatedNetwork
from tallystick.network.simulated_host import member

CERTIFICATES = 2000
BURST = 500
BURST_EVERY_MS = 100
CERTIFICATE_BYTES = 500

KINDS = {
    "certificates": ("Certificates",),
    "proposals": ("Proposal", "ProposalRequest", "ProposalCertificates"),
    "votes": ("Votes",),
    "statuses": ("Status",),
    "checkpoints": ("Cosignatures",),
    "repair": ("CertificateRequest", "Prune", "ViewCertificateRequest", "BlockRequest", "Blocks"),
}


class CountingNetwork(SimulatedNetwork):
    """Counts the bytes sent, by name of message."""

    def __init__(self, genesis: Genesis) -> None:
        super().__init__(genesis, seed=1, link=Link(HOP_MS, HOP_MS))
        self.sent_bytes: Counter[str] = Counter()

    def send(self, sender: str, receiver: str, data: bytes) -> None:
        """Count, and send."""
        self.sent_bytes[type(self.decode(data)).__name__] += len(data)
        super().send(sender, receiver, data)


def bytes_per_certificate() -> Iterator[Figure]:
    """What all members send for a certificate, in sizes of one times members: all, and by kind of message."""
    what = "bytes that all members send / (certificates × members × their size)"
    for members in MEMBERS:
        settled, cold = (_run(members, is_settled)[0] for is_settled in (True, False))
        yield figure("all", what, [sum(settled.values())], goal=at_most(1.3), at=members)
        for name in KINDS:
            yield figure(name, "the same, of one kind of message", [settled[name]], at=members)
        yield figure(
            "from cold", "the same with the very first certificates of a ledger", [sum(cold.values())], at=members
        )


def _run(members: int, is_settled: bool) -> tuple[dict[str, float], int]:
    wallets = member_wallets(members)
    genesis = ledger(wallets)
    network = CountingNetwork(genesis)
    for number, wallet in enumerate(wallets):
        network.add(f"member {number}", member(wallet))
    network.connect_all()
    assert network.run_until_quiet()
    certificates = _statements(genesis, CERTIFICATES + 1)
    if is_settled:
        network.submit("member 1", Entry(certificates.pop()))
        assert network.run_until_quiet()
    before, blocks = network.hosts["member 0"].node.state.log.size, network.hosts["member 0"].node.state.index
    network.sent_bytes.clear()
    for start in range(0, CERTIFICATES, BURST):
        for one in certificates[start : start + BURST]:
            network.submit(f"member {start // BURST * 7 % members}", Entry(one))
        network.run_for(BURST_EVERY_MS)
    assert network.run_until_quiet()
    assert {host.node.state.log.size for host in network.hosts.values()} == {before + CERTIFICATES}
    unit = CERTIFICATES * members * CERTIFICATE_BYTES
    ratios = {name: sum(network.sent_bytes[one] for one in kinds) / unit for name, kinds in KINDS.items()}
    assert sum(network.sent_bytes.values()) == round(sum(ratios.values()) * unit)
    return ratios, network.hosts["member 0"].node.state.index - blocks


def _statements(genesis: Genesis, count: int) -> list[Statement]:
    made = [
        issue_statement(
            ISSUERS[number % len(ISSUERS)], genesis.ledger_id, CREATED_MS + number, f"{number:>9}" + "é" * 188
        )
        for number in range(count)
    ]
    assert {len(one.encoded) for one in made} == {CERTIFICATE_BYTES}
    return made
