"""The node as a state machine: it is told the time and an event, and returns the actions that follow.

No clock, no randomness, no I/O. The simulator, the course and the real host drive this same class.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from tallystick.consensus.agreement import Finalized, Turns
from tallystick.consensus.simplex import Simplex
from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import Blockchain, State, check_follows
from tallystick.ledger.certificate import AnyCertificate, Evidence, Payload
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
    Proposal,
    ProposalCertificates,
    ProposalRequest,
    Prune,
    Standing,
    StandingRequest,
    Status,
    Votes,
)
from tallystick.ledger.vote import Tally
from tallystick.node.archive import Archive, lacking
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.council import Council
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


class Node:
    """One participant: a chain, a box, and its peers. At a restart it reads what its host kept for it, once."""

    def __init__(
        self,
        genesis: Genesis,
        agreement: Turns | Simplex,
        limits: Limits | None = None,
        archive: Archive | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.chain = Blockchain(genesis, agreement.check_forger)
        self._recent: dict[bytes, None] = {self.chain.state.tip.hash: None}
        for block in archive.blocks() if archive else ():
            self.chain.append(block, None)
            self._remember(block)
        self.box = CertificateBox(self.limits, self.state.stakes, self.state.index + 1)
        self._lone = None if isinstance(agreement, Simplex) else agreement
        self._gossip = Gossip(self.limits)
        # Ranges of final blocks are taken one after the other: each is proven by the state before it.
        self._sync = Sync(replace(self.limits, requests_in_flight=1) if isinstance(agreement, Simplex) else self.limits)
        self._allowances: dict[Peer, Allowance] = {}
        self._search = PayloadSearch(self.limits, lacking(archive) if archive else ())
        self._erased = set(archive.erased()) if archive else set()
        self._timers: dict[Timer, int] = {}
        self._council: Council | None = None
        if isinstance(agreement, Simplex):
            for block in archive.proposals() if archive else ():
                self._put_back(block)
            agreement.start(self.chain, archive.votes() if archive else (), archive.proposals() if archive else ())
            self._council = Council(agreement, self.chain, self.box, self._on_finalized, self._accuse)
            self._council.moved(archive.finalization(self.state.index) if archive else None)

    def _put_back(self, proposal: Block) -> None:
        """A restart emptied the box; what a kept proposal holds waits again, should the proposal come to nothing."""
        for certificate in proposal.certificates:
            with suppress(Refused):
                self._check_certificate(certificate, proposal.header.timestamp_ms)
                self.box.add(Entry(certificate), proposal.header.timestamp_ms)

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
                actions.extend(self._gossip.connected(peer))
                if self.box:
                    self._has_news(now_ms, actions)
                if self._council is not None:
                    actions.append(Send(peer, self._council.ask_standing(now_ms)))
                self._search.connected(peer)
                self._ask_for_more(now_ms, actions)
            case PeerDisconnected(peer):
                actions.extend(self._gossip.disconnected(peer))
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
            case Timer.FORGE | Timer.AGREE:
                self._maybe_forge(now_ms, actions)
            case Timer.GOSSIP:
                self._share(now_ms, actions)
            case Timer.ANNOUNCE:
                actions.extend(self._gossip.announce(now_ms, self._status(()), self.box))
                self._set_timer(Timer.ANNOUNCE, self._gossip.announce_ms, actions)
            case Timer.SYNC:
                self._search.expire(now_ms)
                if self._sync.expire(now_ms):
                    self._has_news(now_ms, actions)
                self._ask_for_more(now_ms, actions)
                self._maybe_forge(now_ms, actions)

    def _on_message(self, now_ms: int, peer: Peer, checked: CheckedMessage, actions: list[Action]) -> None:
        for refused in checked.refusals:
            self._refuse(peer, refused, actions)
        if checked.known:
            actions.extend(self._gossip.heard_again(peer, checked.known, now_ms))
        match checked.message:
            case None:
                pass
            case Prune():
                self._gossip.pruned(peer)
            case Certificates(entries):
                self._on_entries(now_ms, peer, entries, actions)
            case Votes() | Standing() | Proposal() | ProposalCertificates():
                if self._council is not None:
                    self._council.receive(now_ms, peer, checked.message, actions)
                    self._maybe_forge(now_ms, actions)
            case NewBlock(block):
                self._on_new_block(now_ms, peer, block, actions)
            case Blocks():
                self._on_blocks(now_ms, peer, checked.message, actions)
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
                self._gossip.offer(entry, peer, now_ms)
        self._share(now_ms, actions)
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
        """Forge while there is enough to forge and the turn is ours; or take the steps that agreement wants taken."""
        if self._council is not None:
            return self._set_timer(Timer.AGREE, self._council.step(now_ms, actions), actions)
        while self._lone is not None and self._is_due(self._lone, now_ms, actions):
            certificates = self.box.first(self.chain.genesis.params.max_block_certificates)
            block = self._lone.forge(now_ms, self.state, certificates)
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

    def _is_due(self, lone: Turns, now_ms: int, actions: list[Action]) -> bool:
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
        if not lone.may_forge(self.state):
            return False
        if params.block_ahead_ms is not None:
            due_ms = max(due_ms, self.state.tip.timestamp_ms + 1)  # never forge ahead of the own clock (B8)
        if now_ms < due_ms:
            self._set_timer(Timer.FORGE, due_ms, actions)
        return now_ms >= due_ms

    def _on_new_block(self, now_ms: int, peer: Peer, block: Block, actions: list[Action]) -> None:
        if self._council is not None:
            return self._refuse(peer, Refused(Rule.V2, f"block {block.index} comes without a finalization"), actions)
        self._sync.heard_tip(peer, block.index)
        if block.index > self.state.index + 1:
            self._set_aside(peer, block, actions)
        elif not self.knows_block(block.hash) and self._try_block(now_ms, peer, block, actions):
            actions.append(Broadcast(NewBlock(block), but=peer))
            self._after_blocks(now_ms, actions)
        return self._ask_for_more(now_ms, actions)

    def _on_blocks(self, now_ms: int, peer: Peer, answer: Blocks, actions: list[Action]) -> None:
        start, blocks = answer.start, answer.blocks
        consecutive = all(block.index == start + place for place, block in enumerate(blocks))
        if not consecutive:
            return self._refuse(peer, Refused(Rule.N4, f"blocks from {start} on were asked for, others came"), actions)
        if not self._sync.answered(peer, start, len(blocks), now_ms):
            return None  # an answer that comes after its time, or twice
        added = False
        if self._council is not None:
            added, blocks = self._adopt(now_ms, peer, answer, actions), ()
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

    def _adopt(self, now_ms: int, peer: Peer, answer: Blocks, actions: list[Action]) -> bool:
        """Add final blocks that a peer sent: the last one's finalization covers all that it descends from."""
        council, blocks = self._council, answer.blocks
        if council is None or not blocks or answer.start != self.state.index + 1:
            return False
        try:
            parent = self.state.tip
            for block in blocks:
                check_follows(block.header, parent)
                parent = block.header
            council.simplex.check_final(self.state, blocks[-1], answer.finalization)
            for block in blocks:
                self.chain.append(block, None)
                self._settle(block, peer, answer.finalization if block is blocks[-1] else None, actions)
        except Refused as refused:
            self._sync.distrust(peer, now_ms)
            self._refuse(peer, refused, actions)
        council.moved(answer.finalization)
        return self.state.index >= answer.start

    def _on_finalized(self, now_ms: int, finalized: Finalized, actions: list[Action]) -> None:
        for block, state in zip(finalized.blocks, finalized.states, strict=True):
            self.chain.publish(block, state)
            is_last = block is finalized.blocks[-1]
            self._settle(block, None, finalized.finalization if is_last else None, actions)
        self._has_news(now_ms, actions)
        self._ask_for_more(now_ms, actions)

    def _accuse(self, now_ms: int, evidence: Evidence, actions: list[Action]) -> None:
        self._on_entries(now_ms, None, [Entry(evidence)], actions)

    def _try_block(self, now_ms: int, peer: Peer, block: Block, actions: list[Action]) -> bool:
        try:
            self._add_block(now_ms, peer, block, actions)
        except Refused as refused:
            self._sync.distrust(peer, now_ms)
            self._refuse(peer, refused, actions)
            return False
        return True

    def _add_block(self, now_ms: int, peer: Peer | None, block: Block, actions: list[Action]) -> None:
        """Check and publish one block. Raises `Refused`, and then nothing changed."""
        self.chain.append(block, now_ms)
        self._settle(block, peer, None, actions)

    def _settle(self, block: Block, peer: Peer | None, finalization: Tally | None, actions: list[Action]) -> None:
        """A block was published: it is kept and told of, and its certificates leave the box."""
        self._remember(block)
        payloads, left = self.box.settle(block.certificates, self.state.stakes, block.index + 1)
        self._sync.added(block.index)
        actions.append(PersistBlock(block, tuple(payloads.values()), finalization))
        is_own = self._council.member == block.header.forger if self._council else peer is None
        actions.append(ReportBlock(block, forged_here=is_own))
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

    def _status(self, waiting: tuple[bytes, ...] | None = None) -> Status:
        ids = self.box.ids(MAX_IDS) if waiting is None else waiting
        return Status(self.chain.ledger_id, self.state.index, self.state.tip.hash, ids)

    def _on_status(self, now_ms: int, peer: Peer, status: Status, actions: list[Action]) -> None:
        if status.ledger_id != self.chain.ledger_id:
            other = status.ledger_id.hex()[:16]
            return self._refuse(peer, Refused(Rule.N1, f"the peer is on ledger {other}…"), actions)
        self._sync.heard_tip(peer, status.tip_index)
        lacking = tuple(one for one in status.waiting if one not in self.box and self.chain.place_of(one) is None)
        actions.extend(self._gossip.ask(peer, lacking, now_ms))
        if status.tip_index < self.state.index and self._may_ask(now_ms, peer):
            actions.append(Send(peer, self._status(())))
        if status.tip_hash == self.state.tip.hash and set(status.waiting).issuperset(self.box.ids(MAX_IDS)):
            self._gossip.is_level(peer)
        self._ask_for_more(now_ms, actions)
        return None

    def _on_request(self, now_ms: int, peer: Peer, request: Message, actions: list[Action]) -> None:
        if not self._may_ask(now_ms, peer):
            rate = self.limits.requests_per_second
            return self._refuse(peer, Refused(Rule.N3, f"more than {rate} requests a second"), actions)
        match request:
            case BlockRequest(start, count):
                actions.append(SendBlocks(peer, start, min(count, self._left_of_epoch(start))))
            case CertificateRequest(ids):
                self._gossip.grafted(peer)
                entries = [entry for one in dict.fromkeys(ids) if (entry := self.box.get(one))]
                for batch in batched(entries, self.limits.answer_bytes)[:1]:
                    actions.append(Send(peer, Certificates(batch)))
            case PayloadRequest(hashes):
                actions.append(SendPayloads(peer, hashes))
            case StandingRequest() | ProposalRequest():
                if self._council is not None:
                    self._council.answer(peer, request, actions)
        return None

    def _left_of_epoch(self, start: int) -> int:
        """Blocks from this index to the end of its epoch: whoever asks can judge no finalization beyond."""
        return -start % self.chain.genesis.params.epoch_blocks + 1

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
