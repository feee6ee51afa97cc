"""Drives one real node of `tallystick.node`: course objects go in, and what it does comes out as course objects."""

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Final, Protocol, TypeGuard, get_args

from tallystick.consensus.signing_guard import SigningGuard
from tallystick.course.block import Block
from tallystick.course.certificate import Certificate
from tallystick.course.fields import checked
from tallystick.course.ledger import GENESIS, LEDGER_ID, LIMITS, decode, verify
from tallystick.course.lone_driver import LoneDriver
from tallystick.course.lone_forger import ForgerRule, LoneForger
from tallystick.course.records import Records
from tallystick.course.timestamp import follow, reading
from tallystick.ledger.block import Block as EngineBlock
from tallystick.ledger.block import VerifiedBlock, genesis_block
from tallystick.ledger.blockchain import Blockchain, check_follows
from tallystick.ledger.certificate import AnyCertificate
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import Index
from tallystick.ledger.messages import (
    BlockRequest,
    Certificates,
    Entry,
    Message,
    NewBlock,
    PayloadRequest,
    Payloads,
    encode_message,
)
from tallystick.ledger.state import State
from tallystick.ledger.wallet import Wallet as EngineWallet
from tallystick.node.events import (
    Action,
    Broadcast,
    CertificatesSubmitted,
    Event,
    MessageReceived,
    Multicast,
    Peer,
    PeerConnected,
    PersistBlock,
    PersistPayload,
    ReportAccepted,
    ReportRefused,
    Send,
    SendKept,
    SetTimer,
    Timer,
    TimerFired,
)
from tallystick.node.intake import Intake
from tallystick.node.node import Node


class _User:
    """Stands for the user at this node where the engine wants a peer."""


class _Everybody:
    """Stands for all other nodes, which the assignment reaches together, where the engine wants a peer."""


USER: Final = _User()
EVERYBODY: Final = _Everybody()

_Leaving = Broadcast | Multicast | Send | SendKept
_LEAVING: Final = frozenset(get_args(_Leaving))


class Outlet(Protocol):
    """Where objects and refusals go: a `BlockchainNode`."""

    refusals: list[Refused]

    def broadcast_object(self, obj: object, /) -> None:
        """Send to every other node of the network."""

    def send_object_to_node(self, obj: object, nodeIdentifier: Hashable, /) -> None:
        """Send to one node of the network."""


class _NotingForger(LoneForger):
    """Notes each block that it forges, before the node judges it as it does everybody's."""

    def __init__(self, rule: ForgerRule, guard: SigningGuard | None, note: Callable[[EngineBlock], None]) -> None:
        super().__init__(rule, guard)
        self._note = note

    def forge(self, now_ms: int, state: State, certificates: Sequence[AnyCertificate]) -> VerifiedBlock | None:
        block = super().forge(now_ms, state, certificates)
        if block is not None:
            self._note(block)
        return block


class Engine:
    """A chain and a box, from genesis on. What the node accepted is the truth; course objects are made from it."""

    def __init__(
        self,
        make_rule: Callable[["Engine"], ForgerRule],
        wallet: EngineWallet | None = None,
        outlet: Outlet | None = None,
    ) -> None:
        """`make_rule` is called for each engine that is rebuilt from this one, too."""
        self._make_rule, self._wallet, self._outlet = make_rule, wallet, outlet
        self.records = Records(self._waiting_entry)
        guard = SigningGuard(wallet, LEDGER_ID, (), entropy=bytes(32)) if wallet else None
        self._forger = _NotingForger(make_rule(self), guard, self.records.note_forged)
        self.node = Node(Blockchain(GENESIS, self._forger.check_forger), LoneDriver(self._forger), LIMITS)
        self.node.handle(0, PeerConnected(EVERYBODY))
        self._knowledge = self.node.knowledge
        self._intake = Intake(LEDGER_ID, self._knowledge, verify, decode)
        self._not_passed_on: set[int] = set()  # indices of others' blocks that everybody has, or is not to hear of
        self._sync_at_ms: int | None = None
        self._failure: Exception | None = None

    def set_rule(self, make_rule: Callable[["Engine"], ForgerRule]) -> None:
        """From the next block on, judge forgers by another rule."""
        self._make_rule = make_rule
        self._forger.stop()
        self._forger.rule = make_rule(self)

    def _waiting_entry(self, certificate_id: bytes) -> Entry | None:
        return self.node.box.get(certificate_id)

    def waiting(self) -> Iterator[Certificate]:
        """The certificates in the box, each as a new course object."""
        return (self.records.course_certificate(self.records.entry(one)) for one in list(self.node.box))

    def refuse(self, refused: Refused) -> None:
        """Let the outlet know of a refusal."""
        if self._outlet is not None:
            self._outlet.refusals.append(refused)

    def fail(self, error: Exception) -> None:
        """A student's own code raised this; it is raised again once what is under way has been finished."""
        self._failure = self._failure or error

    # ---- what comes in ----------------------------------------------------------------------------------------

    def has_seen(self, certificate: Certificate) -> bool:
        """Whether this very certificate waits in the box, signature included, or it, or this block, is on the chain."""
        try:
            if isinstance(certificate, Block):
                return self.records.has(certificate.as_engine())
            entry = certificate.as_entry()
        except Refused:
            return False
        known = self._knowledge
        return known.has_verified(entry.certificate) or bool(known.on_chain([entry.certificate.id]))

    def take_certificate(self, certificate: object, peer: Peer) -> bool:
        """Take a certificate from a peer or a user, unless it is refused. Returns whether it was taken."""
        try:
            if not isinstance(certificate, Certificate):
                raise Refused(Rule.E2, f"new_certificate takes a Certificate, not a {type(certificate).__name__}")
            entry = certificate.as_entry()
            event: Event
            if peer is USER:
                entry.check_form()
                event = CertificatesSubmitted((self._intake.check_entry(entry),))
            else:
                event = self._received(peer, Certificates((entry,)))
        except Refused as refused:
            self.refuse(refused)
            return False
        self.records.note_class(certificate, entry)
        return any(isinstance(action, ReportAccepted) for action in self._handle(event))

    def take_block(self, block: object, peer: Peer) -> None:
        """Take a block from a peer or a user, unless it is refused; an early one is set aside."""
        try:
            course_block, engine_block = _checked_block(block)
            if self.records.has(engine_block):
                if peer is USER:
                    check_follows(engine_block.header, self.node.state.tip)  # refuses it: a user should hear of it
                return
        except Refused as refused:
            self.refuse(refused)
            return
        self.records.note_block(course_block, engine_block)
        self._handle(self._received(peer, NewBlock(engine_block)))

    def take_request(self, index: int, peer: Peer) -> None:
        """Answer a peer that asks for the block at an index, if there is one."""
        try:
            start = checked("a block request", index, Index, "it has to be a block's index, 0 or more")
        except Refused as refused:
            self.refuse(refused)
        else:
            self._handle(self._received(peer, BlockRequest(start, 1)))

    def add(self, block: object) -> None:
        """Add the next block without passing it on. Raises `Refused`, and then nothing has changed."""
        course_block, engine_block = _checked_block(block)
        event = self._received(USER, NewBlock(engine_block))
        if event.checked.refusals:
            raise event.checked.refusals[0]
        check_follows(engine_block.header, self.node.state.tip)
        self.records.note_block(course_block, engine_block)
        self._not_passed_on.add(engine_block.index)
        actions = self._handle(event)
        if not self.records.has(engine_block):
            self._not_passed_on.discard(engine_block.index)
            raise next(one.refused for one in actions if isinstance(one, ReportRefused))

    def rebuilt(self, blocks: Sequence[object]) -> "Engine":
        """An engine like this one with these blocks, each judged anew, and an empty box. Raises `Refused`."""
        if not blocks or _checked_block(blocks[0])[1] != genesis_block(GENESIS):
            raise Refused(Rule.B10, "a chain begins with the genesis block as it was made: keep blockList[0]")
        rebuilt = Engine(self._make_rule, self._wallet)
        for block in blocks[1:]:
            rebuilt.add(block)
        return rebuilt

    def succeed(self, other: "Engine") -> None:
        """Take the other's place: its outlet, and what still waits in its box."""
        self._outlet = other._outlet
        self.records.learn_classes(other.records)
        for certificate in other.node.box:
            if self.node.chain.place_of(certificate.id) is None:
                try:
                    self.node.box.add(other.records.entry(certificate), reading())
                except Refused as refused:
                    self.refuse(refused)  # a withdrawal of stake that this chain does not have

    def _received(self, peer: Peer, message: Message) -> MessageReceived:
        """What a message becomes on its way through bytes and intake, as between any two nodes."""
        return MessageReceived(peer, self._intake.check(peer, encode_message(message)))

    # ---- what the node does -----------------------------------------------------------------------------------

    def _handle(self, event: Event) -> list[Action]:
        """Give the node an event and whatever follows from it; return all that it did.

        What it sends leaves last: a student's own `broadcast_object` may hand this node the next thing.
        """
        now_ms = reading()
        events, done, leaving = deque([event]), list[Action](), list[_Leaving]()
        if self._sync_at_ms is not None and self._sync_at_ms <= now_ms:
            self._sync_at_ms = None
            events.appendleft(TimerFired(Timer.SYNC))
        while events:
            actions = self.node.handle(now_ms, events.popleft())
            for action in actions:
                if self._is_leaving(action):
                    leaving.append(action)
                else:
                    events.extend(self._carry_out(action))
            done += actions
        if self.node.sync.set_aside_count == 0:
            self.records.forget_noted()
        if self._outlet is not None:
            for action in leaving:
                self._send(self._outlet, action)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return done

    @staticmethod
    def _is_leaving(action: Action) -> TypeGuard[_Leaving]:
        """Whether others are sent something. What a block's certificates say came with the block object."""
        is_leaving = type(action) in _LEAVING
        return is_leaving and not (isinstance(action, Send) and isinstance(action.message, PayloadRequest))

    def _carry_out(self, action: Action) -> Sequence[Event]:
        """Do what the node asks; return what happens to it in consequence."""
        match action:
            case PersistBlock(block, payloads):
                self.records.keep(block, payloads)
                follow(block.header.timestamp_ms)
            case PersistPayload(payload):
                self.records.keep_payload(payload)
            case ReportRefused(refused):
                self.refuse(refused)
            case Send(peer, PayloadRequest(hashes)):
                return [self._received(peer, Payloads(self.records.payloads(hashes)))]
            case SetTimer(Timer.AGREE):
                return [TimerFired(Timer.AGREE)]  # the next step of a Proof of Work
            case SetTimer(Timer.SYNC, at_ms):
                self._sync_at_ms = at_ms  # nobody waits for it: it is looked at with the next event
            case _:
                pass  # gossip needs no timers where nothing is lost; nobody leaves the course's network
        return ()

    def _send(self, outlet: Outlet, action: _Leaving) -> None:
        try:
            for obj in self._objects_of(action):
                outlet.broadcast_object(obj)
            match action:
                case SendKept(peer, BlockRequest(start)) if 0 < start < len(self.records):
                    outlet.send_object_to_node(self.records.course_block(self.records.engine_block(start)), peer)
        except Exception as error:  # a student's own send or broadcast: everything else still goes on its way
            self.fail(error)

    def _objects_of(self, action: _Leaving) -> Sequence[object]:
        """What everybody is to be sent: the assignment knows certificates, blocks, and integers that ask for blocks."""
        match action:
            case Multicast(_, Certificates(entries)):
                # One that was forged meanwhile is in a block: sent alone, it would have others work for it as well.
                box = self.node.box
                return [self.records.course_certificate(one) for one in entries if one.certificate.id in box]
            case Broadcast(NewBlock(block), source) if source is None or block.index not in self._not_passed_on:
                return [self.records.course_block(block)]
            case Send(_, BlockRequest(start, count)):
                # "we send a request to everyone" (assignment, bonus); the others have what we ask for.
                asked = range(start, start + count)
                self._not_passed_on.update(asked)
                return asked
        return ()


def _checked_block(block: object) -> tuple[Block, EngineBlock]:
    if not isinstance(block, Block):
        raise Refused(Rule.E2, f"new_block takes a Block, not a {type(block).__name__}")
    return block, block.as_engine()
