"""One node, told anything at all: nothing is raised, nothing refused leaves a trace, and state equals replay."""

from hashlib import sha256
from itertools import islice

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace
from tests import strategies as some
from tests.builders import (
    ADA,
    BEN,
    MEMBERS,
    STRANGER,
    Bench,
    Scribe,
    found,
    lone_driver,
    rules,
    sign_anything,
    staking,
    started_node,
    statement,
    with_payload,
)

from tallystick.ledger.block import VerifiedBlock, verified
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.messages import (
    Addresses,
    BlockRequest,
    Blocks,
    CertificateRequest,
    Certificates,
    Entry,
    NewBlock,
    PayloadRequest,
    Payloads,
    Prune,
    Status,
    encode_message,
)
from tallystick.network.archiving import sign_address
from tallystick.network.memory_archive import MemoryArchive
from tallystick.node.events import (
    Action,
    Broadcast,
    ErasePayload,
    MessageReceived,
    Multicast,
    PayloadErasureAsked,
    PeerConnected,
    PeerDisconnected,
    PersistBlock,
    PersistPayload,
    ReportAccepted,
    ReportRefused,
    Send,
    SetTimer,
    Started,
    Timer,
    TimerFired,
    UnbanAsked,
)
from tallystick.node.limits import Limits

GENESIS = found(forge_at_certificates=3, max_block_certificates=4)
LEDGER = GENESIS.ledger_id
LIMITS = Limits(
    box_certificates=7,
    box_certificates_per_issuer=4,
    box_bytes=3_000,
    set_aside_blocks_per_peer=3,
    requests_per_second=8,
    range_blocks=2,
    requests_in_flight=2,
)
PEERS = ("x", "y", "z")
peers = st.sampled_from(PEERS)
issuers = st.sampled_from([*MEMBERS.values(), STRANGER])
small = st.integers(0, 40)
subjects = st.integers(0, 25).map(str)


class NodeTold(RuleBasedStateMachine):
    """A node of Ada's; `scribe` writes the chain as the other members would, following what the node added."""

    @initialize()
    def begin(self) -> None:
        self.bench = Bench(GENESIS, owner=ADA, limits=LIMITS)
        self.bench.handle(Started(ADA.public_key, None, ((BEN.public_key, "h:1"),)))
        self.scribe = Scribe(GENESIS)
        self.persisted: list[VerifiedBlock] = []
        self.payloads: set[bytes] = set()
        self.erased: list[bytes] = []
        self.sent = [encode_message(Status(LEDGER, 0, 0, bytes(32), ()))]
        self.timers: set[Timer] = set()

    # ---- what is checked of every event -------------------------------------------------------------------------

    def fingerprint(self) -> bytes:
        node = self.bench.node
        state = node.state
        parts = [
            state.tip.hash,
            state.log.root(),
            *[one.encoded for one in node.box],
            str(node.box.size_bytes).encode(),
        ]
        parts += [encode(node.box.get(one.id).payload) for one in node.box]
        parts += [key + str(state.stakes.account(key)).encode() for key, _ in state.stakes.members]
        return sha256(b"|".join(parts)).digest()

    def tell(self, event) -> list[Action]:
        before, set_aside, tip = self.fingerprint(), self.bench.node.sync.set_aside_count, self.bench.node.state.tip
        actions = self.bench.handle(event)
        persisted = [action.block for action in actions if isinstance(action, PersistBlock)]
        accepted = [action for action in actions if isinstance(action, ReportAccepted)]
        if not persisted:
            assert self.bench.node.state.tip == tip
        if not persisted and not accepted and not isinstance(event, PayloadErasureAsked):
            assert self.fingerprint() == before
            if any(isinstance(action, ReportRefused) for action in actions):
                assert self.bench.node.sync.set_aside_count <= set_aside
        self.carry_out(actions)
        return actions

    def carry_out(self, actions) -> None:
        for action in actions:
            match action:
                case PersistBlock(block=block, payloads=payloads):
                    self.persisted.append(verified(block))
                    self.scribe.chain.append(self.persisted[-1])
                    assert not {one.hash() for one in payloads} & set(self.erased)
                    self.payloads |= {one.hash() for one in payloads}
                case PersistPayload(payload):
                    assert payload.hash() not in self.erased
                    self.payloads.add(payload.hash())
                case ErasePayload(payload_hash):
                    self.erased.append(payload_hash)
                case SetTimer(timer, _):
                    self.timers.add(timer)
                case Send(_, message) | Broadcast(message, _) | Multicast(_, message):
                    if isinstance(message, NewBlock):
                        assert message.block in self.persisted, "sent before it was kept"
                    self.sent.append(encode_message(message))

    def receive(self, peer, message) -> list[Action]:
        data = message if isinstance(message, bytes) else encode_message(message)
        self.sent.append(data)
        self.tell(UnbanAsked(peer))
        return self.tell(MessageReceived(peer, self.bench.intake.check(peer, data)))

    # ---- what honest people and peers do ------------------------------------------------------------------------

    @rule(issuer=issuers, subject=subjects, is_covered=st.booleans())
    def submit_statement(self, issuer, subject, is_covered):
        entry = with_payload(subject, issuer, LEDGER) if is_covered else Entry(statement(subject, issuer, LEDGER))
        self.carry_out(self.bench.submit(entry))

    @rule(peer=peers, issuer=issuers, amount=st.integers(-150, 1_100), at=small)
    def pass_on_staking(self, peer, issuer, amount, at):
        self.receive(peer, Certificates((Entry(staking(amount, issuer, self.bench.now_ms + at, LEDGER)),)))

    @rule(peer=peers, issuer=issuers, some_subjects=st.lists(subjects, min_size=1, max_size=4))
    def pass_on_statements(self, peer, issuer, some_subjects):
        self.receive(peer, Certificates(tuple(with_payload(one, issuer, LEDGER) for one in some_subjects)))

    @rule(peer=peers, subject=subjects, early=st.integers(0, 3), issuer=issuers)
    def other_members_forge(self, peer, subject, early, issuer):
        """The next blocks, the last one first when `early`."""
        ahead = Scribe(GENESIS)
        for block in self.persisted:
            ahead.chain.append(block)
        blocks = []
        for number in range(early + 1):
            one = statement(f"{subject} {number} {ahead.state.index}", issuer, LEDGER)
            blocks.append(ahead.forge(one, timestamp_ms=ahead.state.tip.timestamp_ms + 1))
        for block in reversed(blocks):
            self.receive(peer, NewBlock(block))

    @rule(peer=peers, count=st.integers(1, 3), shift=st.integers(0, 2))
    def answer_a_request(self, peer, count, shift):
        start = self.bench.node.state.index + 1 + shift
        self.receive(peer, Status(LEDGER, 0, start + count, bytes(32), ()))
        ahead = Scribe(GENESIS)
        for block in self.persisted:
            ahead.chain.append(block)
        made = [ahead.forge() for _ in range(shift + count)]
        self.receive(peer, Blocks(start, tuple(made[shift:])))

    @rule(peer=peers)
    def repeat_old_blocks(self, peer):
        for block in self.persisted[-2:]:
            before = self.bench.node.state.tip
            self.receive(peer, NewBlock(block))
            assert self.bench.node.state.tip == before

    @rule(peer=peers, subject=subjects)
    def send_payloads(self, peer, subject):
        self.receive(peer, Payloads((with_payload(subject, ADA, LEDGER).payload,)))

    @rule(subject=subjects)
    def erase(self, subject):
        self.tell(PayloadErasureAsked(with_payload(subject, ADA, LEDGER).payload.hash()))

    @rule(peer=peers, event=st.sampled_from([PeerConnected, PeerDisconnected]))
    def come_and_go(self, peer, event):
        self.tell(event(peer))

    @rule(timer=st.sampled_from(Timer))
    def fire(self, timer):
        self.tell(TimerFired(timer))

    @rule(ms=st.sampled_from([1, 10, 250, 2_000, 100_000, -1, -3_000]))
    def time_passes_or_jumps(self, ms):
        self.bench.now_ms = max(0, self.bench.now_ms + ms)

    @rule(peer=peers, index=st.integers(0, 50), count=st.integers(1, 256))
    def ask(self, peer, index, count):
        ids = self.bench.node.box.ids(5)
        for request in (BlockRequest(index, count), CertificateRequest(ids), PayloadRequest(ids)):
            self.receive(peer, request)

    @rule(peer=peers)
    def prune(self, peer):
        assert self.receive(peer, Prune()) == []

    @rule(peer=peers, owner=issuers, signer=issuers, port=st.integers(1, 5), ahead_ms=st.sampled_from([-9, 0, 10**7]))
    def tell_an_address(self, peer, owner, signer, port, ahead_ms):
        record = sign_address(signer, LEDGER, f"h:{port}", self.bench.now_ms + ahead_ms)
        actions = self.receive(peer, Addresses((replace(record, key=owner.public_key),)))
        assert (Rule.N7 in rules(actions)) == (owner != signer)

    # ---- what liars do ------------------------------------------------------------------------------------------

    @rule(peer=peers, tip=st.integers(0, 2**53 - 1), epoch=small, waiting=st.lists(some.digests, max_size=3))
    def boast(self, peer, tip, epoch, waiting):
        self.receive(peer, Status(LEDGER, epoch, tip, bytes(32), tuple(waiting)))

    @rule(
        peer=peers,
        change=st.sampled_from(
            [
                "epoch",
                "index",
                "view",
                "parent_hash",
                "timestamp_ms",
                "certificates_hash",
                "state_root",
                "nonce",
                "ledger_id",
            ]
        ),
        value=small,
        signer=st.sampled_from([None, STRANGER, ADA]),
        staked=st.integers(-200, 2_000),
    )
    def forge_illegally(self, peer, change, value, signer, staked):
        changed = value.to_bytes(32, "big") if change.endswith(("hash", "id", "root")) else value
        certificate = staking(staked, STRANGER, value, LEDGER)
        block = self.scribe.draft(certificate, signer=signer, **{change: changed})
        self.receive(peer, NewBlock(block))
        self.receive(peer, Blocks(block.index, (block, block)))

    @rule(peer=peers, subject=subjects, signature=some.signatures)
    def forge_a_signature(self, peer, subject, signature):
        counterfeit = replace(statement(subject, ADA, LEDGER), signature=signature)
        self.receive(peer, Certificates((Entry(counterfeit), Entry(statement(subject, STRANGER, LEDGER)))))
        self.receive(peer, NewBlock(self.scribe.draft(counterfeit)))

    @rule(peer=peers, certificate=some.certificates)
    def submit_nonsense(self, peer, certificate):
        nonsense = sign_anything(certificate, ADA, LEDGER)
        self.receive(peer, Certificates((Entry(nonsense),)))
        before = self.fingerprint()
        try:
            Entry(nonsense).check_form()
            self.bench.intake.check_entry(Entry(nonsense))
        except Refused:
            assert self.fingerprint() == before

    @rule(peer=peers, message=some.messages)
    def say_anything(self, peer, message):
        self.receive(peer, message)

    @rule(peer=peers, data=st.binary(max_size=60) | some.messagepack)
    def send_anything(self, peer, data):
        self.tell(MessageReceived(peer, self.bench.intake.check(peer, data)))

    @rule(peer=peers, pick=small, place=st.integers(0, 4_000), flip=st.integers(1, 255), cut=st.booleans())
    def garble(self, peer, pick, place, flip, cut):
        """What was once said, with one byte changed or the end missing."""
        data = self.sent[-1 - pick % len(self.sent)]
        place %= len(data)
        garbled = data[:place] if cut else data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
        self.tell(MessageReceived(peer, self.bench.intake.check(peer, garbled)))

    @rule()
    def restart(self):
        bench = Bench(GENESIS, owner=ADA, limits=LIMITS, blocks=self.persisted, erased=self.erased)
        bench.now_ms = self.bench.now_ms
        assert bench.node.state.tip == self.bench.node.state.tip
        self.bench = bench

    # ---- what always holds --------------------------------------------------------------------------------------

    @invariant()
    def state_is_what_replaying_the_kept_blocks_gives(self):
        node, state = self.bench.node, self.bench.node.state
        assert state == self.scribe.state
        assert state.index == len(self.persisted)
        for block in self.persisted[-2:]:
            for one in block.certificates:
                assert node.chain.place_of(one.id) == self.scribe.chain.place_of(one.id) is not None

    @invariant()
    def tokens_are_conserved(self):
        stakes = self.bench.node.state.stakes
        assert stakes.total == GENESIS.stakes().total
        assert sum(stakes.account(one.public_key).total for one in (*MEMBERS.values(), STRANGER)) == stakes.total
        assert 0 < stakes.total_staked <= stakes.total

    @invariant()
    def the_box_holds_what_may_be_forged_and_is_not_on_the_chain(self):
        node = self.bench.node
        assert all(node.chain.place_of(one.id) is None for one in node.box)
        if len(node.box):
            node.chain.after(self.scribe.draft(*islice(node.box, 4)))

    @invariant()
    def nothing_grows_beyond_its_limits(self):
        node = self.bench.node
        assert len(node.box) <= LIMITS.box_certificates
        assert node.box.size_bytes <= LIMITS.box_bytes
        assert node.sync.set_aside_count <= LIMITS.set_aside_blocks_per_peer * len(PEERS)
        del self.sent[:-50]

    def teardown(self):
        fresh = started_node(GENESIS, lone_driver(), MemoryArchive(self.persisted), LIMITS)
        assert fresh.state == self.bench.node.state
        for block in self.persisted:
            for one in block.certificates:
                assert fresh.chain.place_of(one.id) == self.bench.node.chain.place_of(one.id)


NodeTold.TestCase.settings = settings(
    settings(), max_examples=max(60, settings().max_examples // 4), stateful_step_count=40
)
TestNodeToldAnything = NodeTold.TestCase
