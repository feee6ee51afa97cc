"""The node as a state machine: it is told the time and an event, and returns the actions that follow.

No clock, no randomness, no I/O. The simulator, the course and the real host drive this same class.
"""

from collections.abc import Iterable
from typing import Final, Protocol

from tallystick.ledger.block import Block, Header
from tallystick.ledger.blockchain import Blockchain, State
from tallystick.ledger.certificate import AnyCertificate, Payload
from tallystick.ledger.errors import BLAMES_THE_PEER, Refused, Rule
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.messages import (
    MAX_IDS,
    BlockRequest,
    Blocks,
    CertificateRequest,
    Certificates,
    Entry,
    Message,
    NewBlock,
    PayloadRequest,
    Payloads,
    Status,
)
from tallystick.node.archive import Archive, lacking
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.events import (
    Action,
    Broadcast,
    CertificateSubmitted,
    CheckedMessage,
    Disconnect,
    ErasePayload,
    Event,
    MessageReceived,
    PayloadErasureAsked,
    Peer,
    PeerConnected,
    PeerDisconnected,
    PersistBlock,
    PersistPayload,
    ReportAccepted,
    ReportBlock,
    ReportRefused,
    Send,
    SendBlocks,
    SendPayloads,
    SetTimer,
    Timer,
    TimerFired,
)
from tallystick.node.gossip import Gossip, batched
from tallystick.node.limits import Allowance, Limits
from tallystick.node.payload_search import PayloadSearch
from tallystick.node.sync import Sync

_RECENT_BLOCKS: Final = 256
_ALLOWANCES: Final = 4096


class Agreement(Protocol):
    """Who may forge, and forging for this node's own key."""

    def check_forger(self, state: State, header: Header) -> None:
        """Raise `Refused` (B4) unless the header's forger may extend `state`."""

    def may_forge(self, state: State) -> bool:
        """Whether this node has a turn to take after `state`."""

    def forge(self, now_ms: int, state: State, certificates: list[AnyCertificate]) -> Block | None:
        """Forge, or spend one step of work on it and return `None`: call again."""


class Node:
    """One participant: a chain, a box, and its peers. At a restart it reads what its host kept for it, once."""

    def __init__(
        self, genesis: Genesis, agreement: Agreement, limits: Limits | None = None, archive: Archive | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.chain = Blockchain(genesis, agreement.check_forger)
        self._recent: dict[bytes, None] = {self.chain.state.tip.hash: None}
        for block in archive.blocks() if archive else ():
            self.chain.append(block, None)
            self._remember(block)
        self.box = CertificateBox(self.limits, self.chain.state.stakes)
        self._agreement = agreement
        self._gossip = Gossip(self.limits)
        self._sync = Sync(self.limits)
        self._allowances: dict[Peer, Allowance] = {}
        self._search = PayloadSearch(self.limits, lacking(archive) if archive else ())
        self._erased = set(archive.erased()) if archive else set()
        self._timers: dict[Timer, int] = {}

    # ---- what a person may consult, and what intake asks ------------------------------------------------------

    @property
    def state(self) -> State:
        """The agreed state at the tip."""
        return self.chain.state

    @property
    def set_aside_count(self) -> int:
        """Early blocks waiting for the ones before them."""
        return self._sync.set_aside_count

    def has_verified(self, certificate: AnyCertificate) -> bool:
        """Whether these very bytes wait in the box; or the chain has the certificate, so it will be refused anyway."""
        held = self.box.holds(certificate)
        return self.chain.place_of(certificate.id) is not None if held is None else held

    def awaits_blocks(self, start: int) -> bool:
        """Whether blocks from this index on were asked for and have not come."""
        return self._sync.is_asked(start)

    def knows_block(self, block_hash: bytes) -> bool:
        """Whether this is one of the latest blocks of the chain."""
        return block_hash in self._recent

    # ---- events -----------------------------------------------------------------------------------------------

    def handle(self, now_ms: int, event: Event) -> list[Action]:
        """Take one event and return what the host has to do, in order. Raises nothing, whatever a peer sends."""
        actions: list[Action] = []
        match event:
            case MessageReceived(peer, checked):
                self._on_message(now_ms, peer, checked, actions)
            case CertificateSubmitted(checked):
                self._on_entries(now_ms, None, [checked.entry], actions)
            case TimerFired(timer):
                self._timers.pop(timer, None)
                self._on_timer(now_ms, timer, actions)
            case PeerConnected(peer):
                actions.append(Send(peer, self._status()))
                self._search.connected(peer)
                self._ask_for_more(now_ms, actions)
            case PeerDisconnected(peer):
                self._search.forget(peer)
                self._sync.forget(peer)
                self._ask_for_more(now_ms, actions)
            case PayloadErasureAsked(payload_hash):
                self._erased.add(payload_hash)
                self._search.drop(payload_hash)
                self.box.erase_payload(payload_hash)
                self._gossip.erase_payload(payload_hash)
                actions.append(ErasePayload(payload_hash))
        return actions

    def _on_timer(self, now_ms: int, timer: Timer, actions: list[Action]) -> None:
        match timer:
            case Timer.FORGE:
                self._maybe_forge(now_ms, actions)
            case Timer.GOSSIP:
                self._share(now_ms, actions)
            case Timer.ANNOUNCE:
                actions.append(Broadcast(self._status()))
                self._set_timer(Timer.ANNOUNCE, self._gossip.announced(now_ms), actions)
            case Timer.SYNC:
                self._search.expire(now_ms)
                if self._sync.expire(now_ms):
                    self._has_news(now_ms, actions)
                self._ask_for_more(now_ms, actions)
                self._maybe_forge(now_ms, actions)

    def _on_message(self, now_ms: int, peer: Peer, checked: CheckedMessage, actions: list[Action]) -> None:
        for refused in checked.refusals:
            self._refuse(peer, refused, actions)
        match checked.message:
            case None:
                pass
            case Certificates(entries):
                self._on_entries(now_ms, peer, entries, actions)
            case NewBlock(block):
                self._on_new_block(now_ms, peer, block, actions)
            case Blocks(start, blocks):
                self._on_blocks(now_ms, peer, start, blocks, actions)
            case Status():
                self._on_status(now_ms, peer, checked.message, actions)
            case Payloads(payloads):
                self._on_payloads(now_ms, peer, payloads, actions)
            case request:
                self._on_request(now_ms, peer, request, actions)

    # ---- certificates -----------------------------------------------------------------------------------------

    def _on_entries(self, now_ms: int, peer: Peer | None, entries: Iterable[Entry], actions: list[Action]) -> None:
        accepted = []
        for offered in entries:
            self._gossip.received(offered.certificate.id)
            is_erased = offered.certificate.payload_hash in self._erased
            entry = Entry(offered.certificate) if is_erased else offered
            try:
                self._check_certificate(entry.certificate, now_ms)
                self.box.add(entry, now_ms)
            except Refused as refused:
                # Gossip brings a certificate from several sides: hearing it again is no news to anybody.
                if peer is None or refused.rule not in (Rule.C4, Rule.C5):
                    self._refuse(peer, refused, actions)
            else:
                accepted.append(entry)
                actions.append(ReportAccepted(entry.certificate))
        if not accepted:
            return
        self._maybe_forge(now_ms, actions)
        for entry in accepted:
            if entry.certificate.id in self.box:
                self._gossip.offer(entry, peer)
        self._share(now_ms, actions)
        if Timer.ANNOUNCE not in self._timers:
            self._has_news(now_ms, actions)

    def _check_certificate(self, certificate: AnyCertificate, now_ms: int) -> None:
        place = self.chain.place_of(certificate.id)
        if place is not None:
            raise Refused(Rule.C5, f"certificate {certificate.id.hex()[:16]}… is in block {place.block_index}")
        ahead_ms = self.chain.genesis.params.certificate_ahead_ms
        if ahead_ms is not None and certificate.timestamp_ms > now_ms + ahead_ms:
            ahead = certificate.timestamp_ms - now_ms
            raise Refused(Rule.C2, f"dated {ahead} ms ahead of this node's clock, {ahead_ms} ms allowed")

    def _share(self, now_ms: int, actions: list[Action]) -> None:
        due_ms = self._gossip.due_ms(now_ms)
        if due_ms is not None and due_ms <= now_ms:
            actions.extend(self._gossip.flush(now_ms))
        elif due_ms is not None and Timer.GOSSIP not in self._timers:
            self._set_timer(Timer.GOSSIP, due_ms, actions)

    # ---- blocks -----------------------------------------------------------------------------------------------

    def _maybe_forge(self, now_ms: int, actions: list[Action]) -> None:
        """Forge while there is enough to forge and the turn is ours."""
        while self._is_due(now_ms, actions):
            certificates = self.box.first(self.chain.genesis.params.max_block_certificates)
            block = self._agreement.forge(now_ms, self.state, certificates)
            if block is None:
                return self._set_timer(Timer.FORGE, now_ms, actions)
            try:
                self._add_block(now_ms, None, block, actions)
            except Refused as refused:  # a forger rule that is not this project's own may forge what is illegal
                return self._refuse(None, refused, actions)
            actions.append(Broadcast(NewBlock(block)))
            self._has_news(now_ms, actions)
            self._ask_for_more(now_ms, actions)
        return None

    def _is_due(self, now_ms: int, actions: list[Action]) -> bool:
        """Whether to forge now; if it is only a matter of time, sets the timer."""
        params, oldest_ms = self.chain.genesis.params, self.box.oldest_ms()
        if oldest_ms is None:
            return False
        if len(self.box) >= params.forge_at_certificates:
            due_ms = now_ms
        elif params.forge_after_ms is None:
            return False
        else:
            due_ms = oldest_ms + params.forge_after_ms
        if self.limits.waits_when_behind and self._sync.is_behind(self.state.index, now_ms):
            return False  # a turn at an old index may be long over: taking it would part the chain
        if not self._agreement.may_forge(self.state):
            return False
        if params.block_ahead_ms is not None:
            due_ms = max(due_ms, self.state.tip.timestamp_ms + 1)  # never forge ahead of the own clock (B8)
        if now_ms < due_ms:
            self._set_timer(Timer.FORGE, due_ms, actions)
        return now_ms >= due_ms

    def _on_new_block(self, now_ms: int, peer: Peer, block: Block, actions: list[Action]) -> None:
        self._sync.heard_tip(peer, block.index)
        if block.index > self.state.index + 1:
            self._set_aside(peer, block, actions)
        elif not self.knows_block(block.hash) and self._try_block(now_ms, peer, block, actions):
            actions.append(Broadcast(NewBlock(block), but=peer))
            self._after_blocks(now_ms, actions)
        self._ask_for_more(now_ms, actions)

    def _on_blocks(self, now_ms: int, peer: Peer, start: int, blocks: tuple[Block, ...], actions: list[Action]) -> None:
        consecutive = all(block.index == start + place for place, block in enumerate(blocks))
        if not consecutive:
            return self._refuse(peer, Refused(Rule.N4, f"blocks from {start} on were asked for, others came"), actions)
        if not self._sync.answered(peer, start, len(blocks), now_ms):
            return None  # an answer that comes after its time, or twice
        added = False
        for block in blocks:
            if block.index > self.state.index + 1:
                self._set_aside(peer, block, actions)
            elif block.index == self.state.index + 1:
                if not self._try_block(now_ms, peer, block, actions):
                    break  # the rest stands on this one
                added = True
        if added:
            self._after_blocks(now_ms, actions)
        self._ask_for_more(now_ms, actions)
        return None

    def _try_block(self, now_ms: int, peer: Peer, block: Block, actions: list[Action]) -> bool:
        try:
            self._add_block(now_ms, peer, block, actions)
        except Refused as refused:
            self._sync.distrust(peer, now_ms)
            self._refuse(peer, refused, actions)
            return False
        return True

    def _add_block(self, now_ms: int, peer: Peer | None, block: Block, actions: list[Action]) -> None:
        """Check and publish one block; its certificates leave the box. Raises `Refused`, and then nothing changed."""
        self.chain.append(block, now_ms)
        self._remember(block)
        payloads, left = self.box.settle(block.certificates, self.state.stakes)
        self._sync.added(block.index)
        actions.append(PersistBlock(block, tuple(payloads.values())))
        actions.append(ReportBlock(block, forged_here=peer is None))
        actions.extend(ReportRefused(refused, None) for refused in left)
        if peer is not None:
            self._search.connected(peer)
        self._want_payloads(block, payloads)

    def _after_blocks(self, now_ms: int, actions: list[Action]) -> None:
        """The tip moved: set-aside blocks get their turn, one after the other, and perhaps it is ours to forge."""
        while candidates := self._sync.take(self.state.index + 1):
            index = self.state.index
            for peer, block in candidates:
                if self.state.index == index:
                    self._try_block(now_ms, peer, block, actions)
            if self.state.index == index:
                break
        self._maybe_forge(now_ms, actions)
        self._has_news(now_ms, actions)

    def _set_aside(self, peer: Peer, block: Block, actions: list[Action]) -> None:
        try:
            self._sync.set_aside(peer, block)
        except Refused as refused:
            self._refuse(peer, refused, actions)

    def _ask_for_more(self, now_ms: int, actions: list[Action]) -> None:
        """Ask for missing blocks, and for the payloads of those that came."""
        actions.extend(self._sync.ask(self.state.index, now_ms))
        actions.extend(self._search.ask(now_ms))
        for deadline_ms in (self._sync.deadline_ms(), self._search.deadline_ms()):
            if deadline_ms is not None and deadline_ms < self._timers.get(Timer.SYNC, deadline_ms + 1):
                self._set_timer(Timer.SYNC, deadline_ms, actions)

    def _remember(self, block: Block) -> None:
        self._recent[block.hash] = None
        if len(self._recent) > _RECENT_BLOCKS:
            del self._recent[next(iter(self._recent))]

    # ---- payloads ---------------------------------------------------------------------------------------------

    def _want_payloads(self, block: Block, at_hand: dict[bytes, Payload]) -> None:
        for certificate in block.certificates:
            payload_hash = certificate.payload_hash
            if payload_hash and payload_hash not in at_hand and payload_hash not in self._erased:
                self._search.want(payload_hash)

    def _on_payloads(self, now_ms: int, peer: Peer, payloads: tuple[Payload, ...], actions: list[Action]) -> None:
        actions.extend(PersistPayload(payload) for payload in self._search.received(peer, payloads))
        self._ask_for_more(now_ms, actions)

    # ---- peers ------------------------------------------------------------------------------------------------

    def _status(self) -> Status:
        return Status(self.chain.ledger_id, self.state.index, self.state.tip.hash, self.box.ids(MAX_IDS))

    def _on_status(self, now_ms: int, peer: Peer, status: Status, actions: list[Action]) -> None:
        if status.ledger_id != self.chain.ledger_id:
            other = status.ledger_id.hex()[:16]
            return self._refuse(peer, Refused(Rule.N1, f"the peer is on ledger {other}…"), actions)
        self._sync.heard_tip(peer, status.tip_index)
        lacking = tuple(one for one in status.waiting if one not in self.box and self.chain.place_of(one) is None)
        if asking := self._gossip.to_ask(lacking, now_ms):
            actions.append(Send(peer, CertificateRequest(asking)))
        if status.tip_index < self.state.index and self._may_ask(now_ms, peer):
            actions.append(Send(peer, self._status()))
        self._ask_for_more(now_ms, actions)
        return None

    def _on_request(self, now_ms: int, peer: Peer, request: Message, actions: list[Action]) -> None:
        if not self._may_ask(now_ms, peer):
            rate = self.limits.requests_per_second
            return self._refuse(peer, Refused(Rule.N3, f"more than {rate} requests a second"), actions)
        match request:
            case BlockRequest(start, count):
                actions.append(SendBlocks(peer, start, count))
            case CertificateRequest(ids):
                entries = [entry for one in dict.fromkeys(ids) if (entry := self.box.get(one))]
                for batch in batched(entries, self.limits.answer_bytes)[:1]:
                    actions.append(Send(peer, Certificates(batch)))
            case PayloadRequest(hashes):
                actions.append(SendPayloads(peer, hashes))
        return None

    def _may_ask(self, now_ms: int, peer: Peer) -> bool:
        if peer not in self._allowances:  # kept while a peer is away, or it could renew it by connecting again
            self._allowances[peer] = Allowance(self.limits.requests_per_second)
            if len(self._allowances) > _ALLOWANCES:
                del self._allowances[next(iter(self._allowances))]
        return self._allowances[peer].take(now_ms)

    def _refuse(self, peer: Peer | None, refused: Refused, actions: list[Action]) -> None:
        actions.append(ReportRefused(refused, peer))
        if peer is not None and refused.rule in BLAMES_THE_PEER:
            actions.append(Disconnect(peer, refused))

    def _has_news(self, now_ms: int, actions: list[Action]) -> None:
        self._set_timer(Timer.ANNOUNCE, self._gossip.news(now_ms), actions)

    def _set_timer(self, timer: Timer, at_ms: int | None, actions: list[Action]) -> None:
        if at_ms is not None and self._timers.get(timer) != at_ms:
            self._timers[timer] = at_ms
            actions.append(SetTimer(timer, at_ms))
