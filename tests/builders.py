"""What tests start from: people, a ledger, signed certificates, legal blocks, and networks of nodes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pytest
from msgspec.structs import replace

from tallystick.consensus.proof_of_stake import check_drawn, draw
from tallystick.consensus.signing_guard import GuardRecord, SigningGuard
from tallystick.consensus.simplex import Simplex
from tallystick.course.lone_driver import LoneDriver
from tallystick.course.lone_forger import ForgerRule, LoneForger
from tallystick.course.stake_rule import StakeRule
from tallystick.ledger.block import Block, VerifiedBlock, verified
from tallystick.ledger.blockchain import Above, Blockchain
from tallystick.ledger.certificate import (
    AnyCertificate,
    Payload,
    ProposalEvidence,
    StakingOperation,
    Statement,
    VoteEvidence,
    certificates_hash,
    issue_evidence,
    issue_stake,
    issue_statement,
)
from tallystick.ledger.certificate_index import Found
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import MAX_TIMESTAMP_MS, ZERO_DIGEST
from tallystick.ledger.finality import FinalHeader
from tallystick.ledger.genesis import Allotment, Genesis, make_genesis
from tallystick.ledger.header import VERSION, Header, SignedHeader
from tallystick.ledger.keys import Domain, is_signed
from tallystick.ledger.messages import Entry, Message, encode_message
from tallystick.ledger.params import Params
from tallystick.ledger.state import State
from tallystick.ledger.transition import next_state
from tallystick.ledger.vote import FINALIZE, NULLIFY, Ballot, Tally, Vote, cast, tally_of
from tallystick.ledger.wallet import Wallet
from tallystick.network.archiving import FullArchive
from tallystick.network.memory_archive import MemoryArchive
from tallystick.network.replay import replayed
from tallystick.network.simulated import Link, SimulatedNetwork
from tallystick.network.simulated_host import MakeAgreement, SimulatedHost
from tallystick.node.agreement import Agreement
from tallystick.node.epoch_ends import MlDsa
from tallystick.node.events import (
    Action,
    CertificatesSubmitted,
    Disconnect,
    MessageReceived,
    Peer,
    PersistBlock,
    ReportRefused,
    SetTimer,
    Timer,
    TimerFired,
)
from tallystick.node.finality_proofs import TrustedBlock
from tallystick.node.intake import Intake
from tallystick.node.limits import Limits
from tallystick.node.node import Node
from tallystick.node.simplex_driver import SimplexDriver

P = ParamSpec("P")
T = TypeVar("T")
Given = TypeVar("Given")

START_MS = 1_750_000_000_000
"""When the ledgers of the tests begin."""


def wallet(name: str) -> Wallet:
    """The wallet of the person with this name, always the same."""
    return Wallet(sha256(name.encode()).digest())


MEMBERS = {name: wallet(name) for name in ("ada", "ben", "cy", "dot")}
ADA, BEN, CY, DOT = MEMBERS.values()
STRANGER = wallet("stranger")
_BY_KEY = {member.public_key: member for member in (*MEMBERS.values(), STRANGER)}


def found(*members: Wallet, free: int = 1_000, staked: int = 100, created_ms: int = START_MS, **params: Any) -> Genesis:
    """A ledger of these members (all four if none is named), each with the same tokens.

    Unless an epoch's time is given, blocks 1 ms apart make it as long as its count of blocks does.
    """
    allotments = [Allotment(one.public_key, free, staked) for one in members or MEMBERS.values()]
    blocks = params.get("epoch_blocks", 100)
    epoch_ms = params.get("epoch_ms", blocks)
    unbonding = {"unbonding_blocks": 2 * blocks, "unbonding_ms": 2 * epoch_ms}
    defaults = {"forge_at_certificates": 5, "epoch_ms": epoch_ms, **unbonding}
    return make_genesis("test", created_ms, allotments, Params(**{**defaults, **params}))


GENESIS = found()
LEDGER = GENESIS.ledger_id


class Held:
    """The blocks above the tip that hold the certificates with these ids, whose issuers nobody asks for."""

    def __init__(self, *certificate_ids: bytes) -> None:
        self._ids = frozenset(certificate_ids)

    def known(self, ids: Set[bytes]) -> Set[bytes]:
        return self._ids & ids

    def find(self, certificate_id: bytes) -> Found | None:
        return None


class EmptyBox:
    """Nothing waits to be forged: for `Simplex`, when only votes matter."""

    def __len__(self) -> int:
        return 0

    def choose(self, now_ms: int, base: State, above: Above, until_ms: int = MAX_TIMESTAMP_MS) -> list[AnyCertificate]:
        return []


def statement(subject: str = "a statement", issuer: Wallet = ADA, ledger: bytes = LEDGER, **more: Any) -> Statement:
    return issue_statement(issuer, ledger, more.pop("at_ms", START_MS), subject, **more)


def statements(count: int, issuer: Wallet = ADA, ledger: bytes = LEDGER) -> list[Statement]:
    return [statement(f"statement {number}", issuer, ledger) for number in range(count)]


def staking(amount: int, issuer: Wallet = ADA, at_ms: int = START_MS, ledger: bytes = LEDGER) -> StakingOperation:
    return issue_stake(issuer, ledger, at_ms, amount)


def vote(
    kind: int,
    block_hash: bytes = ZERO_DIGEST,
    member: Wallet = ADA,
    epoch: int = 0,
    view: int = 1,
    genesis: Genesis = GENESIS,
) -> Vote:
    """A member's vote."""
    return cast(member, genesis.ledger_id, Ballot(kind, epoch, view, block_hash))


def evidence(
    offender: Wallet = BEN, issuer: Wallet = ADA, view: int = 1, genesis: Genesis = GENESIS, epoch: int = 0
) -> VoteEvidence:
    """Against a member that voted to nullify a view and to finalize it."""
    two = (
        vote(NULLIFY, ZERO_DIGEST, offender, epoch, view, genesis),
        vote(FINALIZE, b"b" * 32, offender, epoch, view, genesis),
    )
    made = issue_evidence(issuer, genesis.ledger_id, START_MS, *two)
    assert isinstance(made, VoteEvidence)
    return made


def sign_block(header: Header, certificates: Iterable[AnyCertificate], forger: Wallet) -> VerifiedBlock:
    """The block of a header, which covers these certificates if it is to be legal."""
    signature = forger.sign(Domain.BLOCK, header.ledger_id, header.encoded)
    return verified(Block(header, signature, tuple(certificates)))


def signed_header(
    forger: Wallet = BEN, epoch: int = 0, view: int = 1, nonce: int = 0, genesis: Genesis = GENESIS, index: int = 1
) -> SignedHeader:
    """What a forger signs of a block on nothing in particular."""
    header = Header(
        version=VERSION,
        ledger_id=genesis.ledger_id,
        epoch=epoch,
        index=index,
        view=view,
        parent_hash=ZERO_DIGEST,
        timestamp_ms=START_MS,
        forger=forger.public_key,
        certificates_hash=ZERO_DIGEST,
        state_root=ZERO_DIGEST,
        nonce=nonce,
    )
    return sign_block(header, (), forger).signed_header


def proposal_evidence(
    offender: Wallet = BEN, issuer: Wallet = ADA, view: int = 1, genesis: Genesis = GENESIS, epoch: int = 0
) -> ProposalEvidence:
    """Against a forger that signed two headers for a view."""
    two = (signed_header(offender, epoch, view, nonce, genesis) for nonce in (0, 1))
    made = issue_evidence(issuer, genesis.ledger_id, START_MS, *two)
    assert isinstance(made, ProposalEvidence)
    return made


def payload(content: str = "content") -> Payload:
    return Payload(sha256(content.encode()).digest(), "", "text/plain", content.encode())


if TYPE_CHECKING:

    class WholeEntry(Entry):
        """An entry that is known to have its payload."""

        payload: Payload
else:
    WholeEntry = Entry


def with_payload(subject: str, issuer: Wallet = ADA, ledger: bytes = LEDGER) -> WholeEntry:
    """A statement and the payload it covers, which says the same."""
    return WholeEntry(statement(subject[:200], issuer, ledger, payload=payload(subject)), payload(subject))


def sign_anything(certificate: AnyCertificate, issuer: Wallet = ADA, ledger: bytes = LEDGER) -> AnyCertificate:
    """Sign what `sign_certificate` would refuse to, as somebody with other software can."""
    return replace(certificate, signature=issuer.sign(Domain.CERTIFICATE, ledger, certificate.body))


class Scribe:
    """Writes legal blocks, each by its drawn forger: the chain that nodes under test are measured by."""

    def __init__(self, genesis: Genesis = GENESIS) -> None:
        self.genesis = genesis
        self.chain = Blockchain(genesis, LoneForger(StakeRule()).check_forger)
        self.blocks: list[VerifiedBlock] = []
        self._wallets = dict(_BY_KEY)

    @property
    def state(self) -> State:
        return self.chain.state

    def forger(self) -> Wallet:
        """Whose turn it is."""
        drawn = StakeRule().forger_after(self.state)
        assert drawn is not None
        return self._wallets[drawn]

    def draft(self, *certificates: AnyCertificate, signer: Wallet | None = None, **changes: Any) -> VerifiedBlock:
        """The next block, not added; with other header fields where `changes` says so, signed by its forger.

        Its state root is right if its certificates are legal there.
        """
        tip, forger = self.state.tip, signer or self.forger()
        fields: dict[str, Any] = {
            "version": VERSION,
            "ledger_id": self.genesis.ledger_id,
            "epoch": self.state.epoch.number,
            "index": tip.index + 1,
            "view": tip.index + 1,
            "parent_hash": tip.hash,
            "timestamp_ms": tip.timestamp_ms + 1,
            "forger": forger.public_key,
            "certificates_hash": certificates_hash(certificates),
            "state_root": ZERO_DIGEST,
        }
        header = Header(**{**fields, **changes})
        if "state_root" not in changes:
            with suppress(Refused):
                header = replace(header, state_root=next_state(self.state, header, certificates).root)
        return sign_block(header, certificates, forger)

    def forge(self, *certificates: AnyCertificate, **changes: Any) -> VerifiedBlock:
        """The next block, added; with a statement of its own when none is given."""
        block = self.draft(*(certificates or [self._statement()]), **changes)
        self.chain.append(block)
        self.blocks.append(block)
        return block

    def forge_many(self, count: int) -> list[Block]:
        return [self.forge() for _ in range(count)]

    def _statement(self) -> Statement:
        return statement(f"in block {self.state.index + 1}", ledger=self.genesis.ledger_id)


class FinalScribe(Scribe):
    """Writes the chain of a Simplex ledger: each block by the forger drawn for its view, and finalized by a quorum."""

    def __init__(self, genesis: Genesis) -> None:
        super().__init__(genesis)
        self.chain = Blockchain(genesis, check_drawn)
        self.archive = MemoryArchive()
        self.kept: list[PersistBlock] = []
        """What a node keeps of each block, and in what order."""

    def forger(self) -> Wallet:
        epoch = self.state.epoch
        drawn = draw(epoch.stakes, self.genesis.ledger_id, epoch.number, self._view())
        assert drawn is not None
        return self._wallets[drawn]

    def draft(self, *certificates: AnyCertificate, signer: Wallet | None = None, **changes: Any) -> VerifiedBlock:
        return super().draft(*certificates, signer=signer, **{"view": self._view(), **changes})

    def forge(self, *certificates: AnyCertificate, is_finalized: bool = True, **changes: Any) -> VerifiedBlock:
        """The next block, added and kept, with its finalization unless a later block's is to do."""
        epoch = self.state.epoch
        block = super().forge(*certificates, **changes)
        proof = self.last(epoch, block) if self.state.epoch is not epoch else None
        finalization = self.finalization(epoch, block) if is_finalized else None
        roots, members = (proof.roots, proof.members) if proof else (None, None)
        decided = tuple(self.state.decided.items())
        kept = PersistBlock(block, (), finalization, roots, members, 0, decided, self.state.members_hash)
        self.kept.append(kept)
        self.archive.append(self.kept[-1])
        return block

    def finalization(self, epoch: Epoch, block: Block, *voters: Wallet, view: int | None = None) -> Tally:
        """Finalize votes for a block, of all members of its epoch unless some are named, in its own view or another."""
        ballot = Ballot(FINALIZE, epoch.number, view or block.header.view, block.hash)
        signers = voters or [self._wallets[member] for member, _ in epoch.members]
        return tally_of([cast(one, self.genesis.ledger_id, ballot) for one in signers])

    def last(self, epoch: Epoch, block: Block, *voters: Wallet) -> FinalHeader:
        """What proves the epoch after the one whose last block was just added."""
        members = self.state.epoch.members if self.state.epoch.members != epoch.members else None
        return FinalHeader(block.header, self.finalization(epoch, block, *voters), self.state.roots, members)

    def proofs(self, *indexes: int) -> tuple[FinalHeader, ...]:
        """What a peer that has the whole chain proves of these blocks."""
        found = [self.archive.final_header(index) for index in indexes]
        return tuple(one for one in found if one is not None)

    def _view(self) -> int:
        return self.state.index + 2 - self.state.epoch.first_index


def keep(archive: FullArchive, block: Block, payloads: Iterable[Payload] = (), **more: Any) -> None:
    """Have the next block kept, as a node does."""
    archive.append(PersistBlock(block, tuple(payloads), **more))


@contextmanager
def refuses(rule: Rule, reason: str = "") -> Iterator[None]:
    """What happens inside has to be refused by this rule, with these words among others."""
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.rule is rule, caught.value
    assert reason in caught.value.reason


def unless_refused(read: Callable[[Given], T], given: Given, *rules: Rule) -> T | None:
    """What is read; `None` if it is refused by one of these rules."""
    try:
        return read(given)
    except Refused as refused:
        if refused.rule not in rules:
            raise
        return None


@cache
def long_chain() -> tuple[Genesis, list[Block]]:
    """A ledger of Ada's alone and 3,000 blocks of one certificate each."""
    scribe = Scribe(found(ADA))
    return scribe.genesis, scribe.forge_many(3_000)


verify = lru_cache(maxsize=50_000)(is_signed)
"""Equal bytes give equal results, so that a test need not wait for them twice."""


def guard_of(owner: Wallet, genesis: Genesis = GENESIS, *records: GuardRecord) -> SigningGuard:
    """The signing guard of this key, with these records; by default it has signed nothing yet."""
    return SigningGuard(owner, genesis.ledger_id, records, bytes(32))


def lone_driver(owner: Wallet | None = None, genesis: Genesis = GENESIS, rule: ForgerRule | None = None) -> LoneDriver:
    """A lone forger with this key, or one that only follows."""
    return LoneDriver(LoneForger(rule or StakeRule(), guard_of(owner, genesis) if owner else None))


def simplex_driver(owner: Wallet | None = None, genesis: Genesis = GENESIS, *records: GuardRecord) -> SimplexDriver:
    """A member of Simplex with this key, or an observer."""
    return SimplexDriver(Simplex(guard_of(owner, genesis, *records) if owner else None))


def started_node(
    genesis: Genesis,
    agreement: Agreement,
    archive: FullArchive,
    limits: Limits | None = None,
    trusted_block: TrustedBlock | None = None,
    ml_dsa: MlDsa | None = None,
) -> Node:
    """A node as a host starts it, from what the archive kept."""
    chain = replayed(genesis, agreement.check_forger, archive, trusted_block)
    return Node(chain, agreement, limits, archive, trusted_block, ml_dsa)


class Bench:
    """One node with its intake, driven event by event at a time that stands still until it is moved."""

    def __init__(
        self,
        genesis: Genesis = GENESIS,
        owner: Wallet | None = None,
        limits: Limits | None = None,
        blocks: Iterable[Block] = (),
        erased: Iterable[bytes] = (),
        agreement: Agreement | None = None,
        archive: FullArchive | None = None,
        ml_dsa: MlDsa | None = None,
    ) -> None:
        """By default a lone forger of this owner's."""
        archive = archive or MemoryArchive(blocks)
        for payload_hash in erased:
            archive.erase_payload(payload_hash)
        self.archive = archive
        self.agreement = agreement or lone_driver(owner, genesis)
        self.node = started_node(genesis, self.agreement, archive, limits, ml_dsa=ml_dsa)
        self.verified: list[tuple[bytes, bytes, bytes]] = []
        """The claims that intake verified: what was signed, the signature, the key."""
        self.timers: dict[Timer, int] = {}
        """When each timer is to fire (ms)."""
        self.intake = Intake(genesis.ledger_id, self.node.knowledge, self._verify)
        self.now_ms = max(START_MS, self.node.state.tip.timestamp_ms) + 1_000

    def _verify(self, message: bytes, signature: bytes, key: bytes) -> bool:
        self.verified.append((message, signature, key))
        return verify(message, signature, key)

    def handle(self, event: Any) -> list[Action]:
        actions = self.node.handle(self.now_ms, event)
        self.timers.update((one.timer, one.at_ms) for one in of_kind(SetTimer, actions))
        return actions

    def wait(self, duration_ms: int, timer: Timer = Timer.AGREE) -> list[Action]:
        """Let time pass; this timer fires whenever it is due."""
        end_ms, actions = self.now_ms + duration_ms, list[Action]()
        while self.timers.get(timer, end_ms + 1) <= end_ms:
            self.now_ms = max(self.now_ms, self.timers.pop(timer))
            actions += self.handle(TimerFired(timer))
        self.now_ms = end_ms
        return actions

    def receive(self, message: Message | bytes, peer: Peer = "peer") -> list[Action]:
        """Bytes, or a message as bytes, come from a peer."""
        data = message if isinstance(message, bytes) else encode_message(message)
        return self.handle(MessageReceived(peer, self.intake.check(peer, data)))

    def submit(self, entry: Entry | AnyCertificate) -> list[Action]:
        """A user submits a certificate."""
        entry = entry if isinstance(entry, Entry) else Entry(entry)
        entry.check_form()
        return self.handle(CertificatesSubmitted((self.intake.check_entry(entry),)))


def of_kind(kind: type[Any] | tuple[type[Any], ...], actions: Iterable[Action]) -> list[Any]:
    return [action for action in actions if isinstance(action, kind)]


def noting(calls: list[Any], call: Callable[P, T]) -> Callable[P, T]:
    """The same call, once its arguments are noted."""

    def noted(*args: P.args, **more: P.kwargs) -> T:
        calls.append(args)
        return call(*args, **more)

    return noted


def rules(actions: Iterable[Action]) -> list[Rule]:
    """By which rules something was refused, in order."""
    return [action.refused.rule for action in of_kind(ReportRefused, actions)]


def cut_off(actions: Iterable[Action]) -> set[object]:
    """The peers that the node disconnects."""
    return {action.peer for action in of_kind(Disconnect, actions)}


def agreement_of(owner: Wallet | None) -> MakeAgreement:
    """A host with a lone forger of this owner's, or with one that only follows."""
    return lambda host: LoneDriver(LoneForger(StakeRule(), host.guard(owner) if owner else None))


def network_of(
    seed: int,
    genesis: Genesis = GENESIS,
    link: Link | None = None,
    limits: Limits | None = None,
    names: Iterable[str] = MEMBERS,
    start_ms: int | None = None,
) -> SimulatedNetwork:
    """Connected nodes: the members', and onlookers' for names that are no member's."""
    network = SimulatedNetwork(genesis, seed, link, start_ms)
    for name in names:
        network.add(name, agreement_of(MEMBERS.get(name)), limits)
    network.connect_all()
    return network


def honest(network: SimulatedNetwork) -> dict[str, SimulatedHost]:
    """The nodes, without the peers that only pretend to be one."""
    hosts: Mapping[str, object] = network.hosts
    return {name: host for name, host in hosts.items() if isinstance(host, SimulatedHost)}


def tips(network: SimulatedNetwork) -> dict[str, tuple[int, str]]:
    """Index and hash of every node's tip."""
    states = {name: host.node.state for name, host in honest(network).items()}
    return {name: (state.index, state.tip.hash.hex()[:16]) for name, state in states.items()}


def assert_agreed(network: SimulatedNetwork, *certificates: AnyCertificate) -> None:
    """All nodes have one chain, it is the one they kept, and it holds each of these certificates once."""
    seed, nodes = f"seed {network.seed}", honest(network)
    assert len(set(tips(network).values())) == 1, (seed, tips(network))
    first = next(iter(nodes.values()))
    for name, host in nodes.items():
        assert host.node.state.log == first.node.state.log, (seed, name)
        assert host.node.state.stakes == first.node.state.stakes, (seed, name)
        assert host.node.state.stakes.total == network.genesis.stakes().total, (seed, name)
        kept = [one.id for block in host.archive.blocks() for one in block.certificates]
        assert len(kept) == len(set(kept)) == host.node.state.log.size, (seed, name)
        lost = {one.id for one in certificates} - set(kept)
        assert not lost, (seed, name, f"{len(lost)} of {len(certificates)} certificates are not on the chain")
