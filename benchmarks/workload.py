"""What the benchmarks feed: members, a ledger, signed certificates; and how they measure."""

import statistics
import time
from collections.abc import Callable

from tallystick.consensus.signing_guard import SigningGuard
from tallystick.course.lone_driver import LoneDriver
from tallystick.course.lone_forger import LoneForger
from tallystick.course.stake_rule import StakeRule
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import Statement, issue_statement
from tallystick.ledger.genesis import Allotment, Genesis, make_genesis
from tallystick.ledger.messages import Certificates, Entry, encode_message
from tallystick.ledger.params import Params
from tallystick.ledger.wallet import Wallet
from tallystick.network.memory_archive import MemoryArchive
from tallystick.node.events import MessageReceived, PersistBlock
from tallystick.node.intake import Intake
from tallystick.node.node import Node

CREATED_MS = 1_700_000_000_000
ISSUERS = [Wallet(number.to_bytes(32, "big")) for number in range(1, 65)]
MEMBERS = (4, 16, 64, 100)
HOP_MS = 50


def member_wallets(count: int) -> list[Wallet]:
    """The keys of this many members."""
    return [*ISSUERS, *(Wallet(number.to_bytes(32, "big")) for number in range(1000, 1100))][:count]


def ledger(members: list[Wallet], params: Params | None = None) -> Genesis:
    """A ledger whose members all have the same stake."""
    return make_genesis("bench", CREATED_MS, [Allotment(one.public_key, 0, 10) for one in members], params)


def statements(genesis: Genesis, count: int, first: int = 0) -> list[Statement]:
    """Signed statements of about 200 bytes by 64 issuers; `first` keeps two lots apart."""
    return [
        issue_statement(
            ISSUERS[number % len(ISSUERS)],
            genesis.ledger_id,
            CREATED_MS + number,
            f"sample {number:>8} of a batch of measurements, as filed",
        )
        for number in range(first, first + count)
    ]


def batches(certificates: list[Statement], size: int) -> list[bytes]:
    """The certificates as encoded messages of `size` entries."""
    entries = [Entry(certificate) for certificate in certificates]
    return [
        encode_message(Certificates(tuple(entries[start : start + size]))) for start in range(0, len(entries), size)
    ]


class LoneNode:
    """A node that is its ledger's only member, so it forges whenever its box is full; with its intake and archive."""

    def __init__(self, genesis: Genesis, wallet: Wallet) -> None:
        guard = SigningGuard(wallet, genesis.ledger_id, (), entropy=bytes(32))
        agreement = LoneDriver(LoneForger(StakeRule(), guard))
        self.node = Node(Blockchain(genesis, agreement.check_forger), agreement)
        self.archive = MemoryArchive()
        self._intake = Intake(genesis.ledger_id, self.node.knowledge)
        self._now_ms = CREATED_MS

    def take(self, data: bytes) -> None:
        """Bytes from a peer, all the way to a block when one is due."""
        self._now_ms += 10
        for action in self.node.handle(self._now_ms, MessageReceived("peer", self._intake.check(data))):
            if isinstance(action, PersistBlock):
                self.archive.append(action)


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def summary(ratios: list[float]) -> str:
    """Median and range of ratios measured in one run."""
    return f"{statistics.median(ratios):.2f} (median of {len(ratios)}; {min(ratios):.2f} to {max(ratios):.2f})"
