"""A node as a process: carries out what the node asks for, in order, and tells it what happens (DESIGN section 2).

Everything that the node is told, and everything that it asks for, happens in one event loop and in one order. Only
signatures are checked elsewhere, in worker processes. What fails here ends the process: a node is whole or not there.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Final, NamedTuple

from tallystick.consensus.agreement import StateMismatch, TwinFound
from tallystick.consensus.signing_guard import Signed
from tallystick.host.claims import VerifyAll, check_entries, settle
from tallystick.host.clock import now_ms
from tallystick.host.guard_file import GuardFile
from tallystick.host.logs import ReportLog, note
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.keys import Verify
from tallystick.ledger.messages import Entry, Message, encode_message, is_urgent
from tallystick.network.archiving import answer, carry_out
from tallystick.network.transport import FRAME_BYTES, Connected, Disconnected, Received, Transport, TransportEvent
from tallystick.node import events
from tallystick.node.intake import Intake
from tallystick.node.node import Node
from tallystick.problems import MustEnd, NodeExit
from tallystick.storage.store import Store

_LANE_FRAMES: Final = 8
"""Messages in each lane of a peer that are checked at a time."""
_LANE_BYTES: Final = 8 * 1024 * 1024
"""What may wait in each, before the peer has to slow down."""
_SLICE_ENTRIES: Final = 1024
"""So many certificates are looked at before the event loop gets to something else, such as a vote."""
_SLICES: Final = 4
"""Of one submission, that are checked at a time."""
_WAYS: Final = 64
"""So many turns of the event loop urgent messages may have before those in bulk that wait, lest a flood stops those."""
_AHEAD: Final = 64
"""So many messages in bulk of each member go before certificates from a door, lest a flood shuts the doors."""
_LOOK_SECONDS: Final = 5.0
"""How often the log looks at this node's part in agreement."""

_TWIN: Final = "stop one of the two for good; then, where the key is to stay: tallystick guard recover"
_MISMATCH: Final = "compare its version with the others', and run: tallystick check"


class Kept(NamedTuple):
    """What a node keeps on the disk."""

    store: Store
    guard_file: GuardFile


class _Lane:
    """What came from one peer, urgent or in bulk, and is not with the node yet; handed on in the order it came."""

    taker: asyncio.Task[None]

    def __init__(self, *, is_urgent: bool) -> None:
        self.is_urgent = is_urgent
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()
        self.waiting_bytes = 0
        self.received = self.handled = 0
        """Messages that came, and those of them that the node was told."""
        self.is_paused = False


class Runner:
    """Runs one node."""

    def __init__(self, node: Node, kept: Kept, transport: Transport, verify_all: VerifyAll) -> None:
        self.node = node
        self.store, self.guard_file = kept
        self.transport = transport
        self.connected: dict[bytes, int] = {}
        """The peers that are there, and since when (ms)."""
        self.last_heard_ms: dict[bytes, int] = {}
        """When the last message came from each peer that is there, or that has stake."""
        self.waiting_since_ms: int | None = None
        """Since when certificates wait, and no block became final."""
        self.stuck: events.ReportStuck | None = None
        """What agreement reported last, until a block became final."""
        self.watchers: list[Callable[[events.Action], object]] = []
        """Told of each action when it is carried out."""
        self._verify_all = verify_all
        self._intake = Intake(node.chain.ledger_id, node.knowledge)
        self._lanes: dict[bytes, list[_Lane]] = {}
        """Of each peer two, in bulk and urgent: a vote waits for no certificates that came before it."""
        self._bulk_turn, self._door_turn = asyncio.Lock(), asyncio.Lock()
        self._held_up = self._let_through = 0
        """Pieces of work in bulk that wait for their turn; and how many of them now go, whatever is urgent."""
        self._bulk_handled = asyncio.Event()
        """Set when the node was told a message in bulk, or will never be."""
        self._timers: dict[events.Timer, asyncio.Handle] = {}
        self._reports = ReportLog()
        self._look: asyncio.TimerHandle | None = None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Has the exception that ends this node against its will; what it holds in memory may then not be kept."""
        self._is_stopping = False

    async def start(self, started: events.Started) -> None:
        """Begin. Raises `TransportError` when the address cannot be listened on."""
        await self.transport.start(self._on_event)
        self.handle(started)
        self._look_at_agreement()

    async def stop(self) -> None:
        """Hear and say nothing any more."""
        self._is_stopping = True
        for timer in (*self._timers.values(), *([self._look] if self._look else ())):
            timer.cancel()
        await self.transport.stop()
        takers = [lane.taker for lanes in self._lanes.values() for lane in lanes]
        for taker in takers:
            taker.cancel()
        await asyncio.gather(*takers, return_exceptions=True)

    # ---- what users submit --------------------------------------------------------------------------------------

    async def submit(self, entries: Iterable[Entry]) -> list[Refused | None]:
        """Check entries together, and tell the node of the good ones: what was wrong with each of the others.

        What the node itself says of them goes to `watchers`.
        """
        submitted = list(entries)
        refused: list[Refused | None] = []
        checks: deque[asyncio.Task[list[events.CheckedEntry | Refused]]] = deque()
        try:
            while submitted or checks:
                while submitted and len(checks) < _SLICES:
                    checks.append(asyncio.create_task(self._check_entries(submitted[:_SLICE_ENTRIES])))
                    del submitted[:_SLICE_ENTRIES]
                results = await checks.popleft()
                await self._give_way()
                if good := tuple(one for one in results if isinstance(one, events.CheckedEntry)):
                    self.handle(events.CertificatesSubmitted(good))
                refused += [one if isinstance(one, Refused) else None for one in results]
        finally:
            for check in checks:
                check.cancel()
        return refused

    async def _check_entries(self, entries: list[Entry]) -> list[events.CheckedEntry | Refused]:
        async with self._door_turn:
            await self._let_members_go_first()
        await self._give_way()
        return await settle(lambda verify: check_entries(self._intake.verifying_by(verify), entries), self._verify_all)

    async def _let_members_go_first(self) -> None:
        """Wait until the node has what members had sent in bulk by now, `_AHEAD` messages of each at most.

        They propose it soon. Were more taken in here than is looked at of theirs, every proposal would have to wait.
        """
        stake_of = self.node.state.epoch.stake
        bulk = [(peer, lanes[False]) for peer, lanes in self._lanes.items() if stake_of(peer)]
        due = [(peer, lane, min(lane.received, lane.handled + _AHEAD)) for peer, lane in bulk]
        for peer, lane, last in due:
            while lane.handled < last and lane in self._lanes.get(peer, ()):
                self._bulk_handled.clear()
                await self._bulk_handled.wait()

    # ---- what peers send ----------------------------------------------------------------------------------------

    def _on_event(self, event: TransportEvent) -> None:
        """The transport tells what happens."""
        if self._is_stopping:
            return
        match event:
            case Connected(peer):
                self.connected[peer] = now_ms()
                note(logging.INFO, "connected", peer=peer, address=event.address or "")
                self._lanes[peer] = lanes = [_Lane(is_urgent=False), _Lane(is_urgent=True)]
                for lane in lanes:
                    lane.taker = asyncio.create_task(self._take(peer, lane))
                self.handle(events.PeerConnected(peer))
            case Disconnected(peer, reason):
                note(logging.INFO, "disconnected", peer=peer, reason=reason)
                self._drop(peer)
            case Received(peer, frame):
                self._queue(peer, frame)

    def _drop(self, peer: bytes) -> None:
        self.connected.pop(peer, None)
        if not self.node.state.epoch.stake(peer):
            self.last_heard_ms.pop(peer, None)
        if (lanes := self._lanes.pop(peer, None)) is not None:
            for lane in lanes:
                lane.taker.cancel()
            self._bulk_handled.set()
            self.handle(events.PeerDisconnected(peer))

    def _queue(self, peer: bytes, frame: bytes) -> None:
        if (lanes := self._lanes.get(peer)) is None:
            return
        lane = lanes[is_urgent(frame)]
        self.last_heard_ms[peer] = now_ms()
        lane.received += 1
        lane.frames.put_nowait(frame)
        lane.waiting_bytes += len(frame) + FRAME_BYTES
        if lane.waiting_bytes > _LANE_BYTES and not lane.is_paused:
            lane.is_paused = True
            self.transport.pause(peer, is_urgent=lane.is_urgent)

    async def _take(self, peer: bytes, lane: _Lane) -> None:
        """Check the messages in a lane, several at a time, and hand them to the node in the order they came."""
        checks: deque[asyncio.Task[events.CheckedMessage]] = deque()
        try:
            while True:
                while not checks or (len(checks) < _LANE_FRAMES and not lane.frames.empty()):
                    frame = await lane.frames.get()
                    lane.waiting_bytes -= len(frame) + FRAME_BYTES
                    checks.append(asyncio.create_task(self._check(peer, frame, is_urgent=lane.is_urgent)))
                if lane.is_paused and lane.waiting_bytes <= _LANE_BYTES // 2:
                    lane.is_paused = False
                    self.transport.resume(peer, is_urgent=lane.is_urgent)
                checked = await checks.popleft()
                if not lane.is_urgent:
                    await self._give_way()
                lane.handled += 1
                if not lane.is_urgent:
                    self._bulk_handled.set()
                self.handle(events.MessageReceived(peer, checked))
        except Exception as error:
            self._fail(error)
        finally:
            for check in checks:
                check.cancel()

    async def _give_way(self) -> None:
        """Let the event loop get to all else, and urgent messages to the node, before the next in bulk.

        One piece of work in bulk is done in a turn of the loop, wherever it comes from. Once urgent messages had
        `_WAYS` turns, all that waits goes before they have as many again.
        """
        self._held_up += 1
        try:
            async with self._bulk_turn:
                await asyncio.sleep(0)
                ways = _WAYS
                while self._has_urgent() and not self._let_through:
                    await asyncio.sleep(0)
                    ways -= 1
                    if not ways:
                        self._let_through = self._held_up
                self._let_through = max(0, self._let_through - 1)
        finally:
            self._held_up -= 1

    def _has_urgent(self) -> bool:
        """Whether urgent messages are here that the node was not told yet."""
        return any(lanes[True].handled < lanes[True].received for lanes in self._lanes.values())

    async def _check(self, peer: bytes, frame: bytes, *, is_urgent: bool) -> events.CheckedMessage:
        def check(verify: Verify) -> events.CheckedMessage:
            return self._intake.verifying_by(verify).check(peer, frame)

        if not is_urgent:
            await self._give_way()
        return await settle(check, self._verify_all, is_urgent=is_urgent)

    # ---- the node -----------------------------------------------------------------------------------------------

    def handle(self, event: events.Event) -> None:
        """Tell the node what happened and carry out all that it asks for, in order."""
        if self._is_over:
            return
        try:
            self._carry_out(self.node.handle(now_ms(), event))
            if not self.node.box:
                self.waiting_since_ms = None
            elif self.waiting_since_ms is None:
                self.waiting_since_ms = now_ms()
        except BaseException as error:
            self._fail(error)

    @property
    def _is_over(self) -> bool:
        return self._is_stopping or self.failed.done()

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    def _carry_out(self, actions: list[events.Action]) -> None:
        changes: list[events.ArchiveChange] = []
        beside: events.PersistSigned | None = None
        for action in actions:
            if events.is_archive_change(action) and not isinstance(action, events.ErasePayload):
                changes.append(action)
                continue
            self._persist(changes, beside)
            beside = None
            if isinstance(action, events.PersistSigned) and action.is_beside:
                beside = action
            else:
                self._do(action)
                self._tell_watchers(action)
        self._persist(changes, beside)
        if self.guard_file.is_grown:
            self.guard_file.compact()
        if self.store.is_snapshot_due:  # not before all blocks of this event are kept
            self.store.keep_snapshot(self.node.chain)

    def _persist(self, changes: list[events.ArchiveChange], beside: events.PersistSigned | None) -> None:
        """What the node wants kept, one after the other, goes into one transaction, synced while the guard is."""
        with nullcontext() if beside is None else self.guard_file.appending(beside.records):
            if changes:
                with self.store.batch():
                    for change in changes:
                        carry_out(change, self.store)
        for action in (*(() if beside is None else (beside,)), *changes):
            self._tell_watchers(action)
        changes.clear()

    def _tell_watchers(self, action: events.Action) -> None:
        for watch in self.watchers:
            watch(action)

    def _do(self, action: events.Action) -> None:
        match action:
            case report if events.is_report(report):
                self._report(report)
            case events.Send(peer, message):
                self._send([peer], message)
            case events.Multicast(peers, message):
                self._send(peers, message)
            case events.Broadcast(message, but):
                self._send([peer for peer in self.connected if peer != but], message)
            case events.SetTimer(timer, at_ms):
                self._set_timer(timer, at_ms)
            case events.PersistSigned(records):
                self.guard_file.append(records)
                if not all(isinstance(one, Signed) for one in records):
                    self._reports.note_agreement(now_ms(), self.node.agreement_status())
            case events.ReadVotes():  # told afterwards: the node is in the middle of an event
                asyncio.get_running_loop().call_soon(self._read_votes, action)
            case events.ErasePayload():  # by itself: its traces in the write-ahead log go, too
                carry_out(action, self.store)
            case events.SendKept(peer, request):
                if (reply := answer(self.store, request, self.node.limits.answer_bytes)) is not None:
                    self._send([peer], reply)
            case events.Disconnect() | events.Admit() | events.Dial() | events.Forget():
                self._connect(action)

    def _connect(self, action: events.Disconnect | events.Admit | events.Dial | events.Forget) -> None:
        match action:
            case events.Disconnect(peer, refused):
                event = "peer turned away" if refused.rule is Rule.N6 else "peer banned"
                note(logging.WARNING, event, peer=peer, rule=refused.rule.name, reason=str(refused))
                self.transport.forget(_key(peer))
            case events.Admit(keys, banned):
                self.transport.admit(lambda key: (keys is None or key in keys) and key not in banned)
            case events.Dial(peer, address):
                note(logging.DEBUG, "dialling", peer=peer, address=address)
                self.transport.dial(peer, address)
            case events.Forget(peer):
                self.transport.forget(peer)

    def _report(self, report: events.Report) -> None:
        match report:
            case TwinFound(epoch, view):
                where = f"epoch {epoch}, view {view}"
                self._fail(MustEnd(f"another machine signs with this node's own key ({where}): {_TWIN}", NodeExit.TWIN))
            case StateMismatch(refused):
                reason = f"a quorum chose what is illegal by this node's state ({refused}): {_MISMATCH}"
                self._fail(MustEnd(reason, NodeExit.STATE_MISMATCH))
            case _:
                if isinstance(report, events.ReportBlock):
                    self.waiting_since_ms = self.stuck = None
                elif isinstance(report, events.ReportStuck):
                    self.stuck = report
                self._reports.note(now_ms(), report)

    def _read_votes(self, asked: events.ReadVotes) -> None:
        if self._is_over:
            return
        try:
            kept = tuple(self.store.votes_of(asked.late.ballot.epoch, asked.late.ballot.view))
        except BaseException as error:
            self._fail(error)
        else:
            self.handle(events.VotesRead(asked.late, kept))

    def _look_at_agreement(self) -> None:
        """Now and then, write down what is new of this node's part in agreement."""
        try:
            self._reports.note_agreement(now_ms(), self.node.agreement_status())
        except BaseException as error:
            self._fail(error)
        self._look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look_at_agreement)

    def _send(self, peers: Iterable[object], message: Message) -> None:
        peers = list(peers)
        if peers:
            frame = encode_message(message)
            for peer in peers:
                self.transport.send(_key(peer), frame)

    def _set_timer(self, timer: events.Timer, at_ms: int) -> None:
        earlier = self._timers.pop(timer, None)
        if earlier is not None:
            earlier.cancel()
        delay_s = max(0, at_ms - now_ms()) / 1000
        self._timers[timer] = asyncio.get_running_loop().call_later(delay_s, self._fire, timer)

    def _fire(self, timer: events.Timer, ways: int = _WAYS) -> None:
        """A time has come; urgent messages that came before are told first, or they would be late by our own fault."""
        if ways and self._has_urgent():
            self._timers[timer] = asyncio.get_running_loop().call_soon(self._fire, timer, ways - 1)
            return
        self._timers.pop(timer, None)
        self.handle(events.TimerFired(timer))


def _key(peer: object) -> bytes:
    assert isinstance(peer, bytes)
    return peer
