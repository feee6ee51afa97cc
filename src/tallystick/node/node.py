"""The node as a state machine: it is told the time and an event, and returns the actions that follow.

No clock, no randomness, no I/O. The simulator, the course and the real host drive this same class.
"""

from collections.abc import Iterable
from typing import Final

from tallystick.consensus.agreement import Finalized, Turns
from tallystick.consensus.simplex import Simplex
from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import Blockchain, State
from tallystick.ledger.certificate import AnyCertificate, Evidence, Payload
from tallystick.ledger.errors import BLAMES_THE_PEER, Refused, Rule
from tallystick.ledger.finality import Members, check_final
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.messages import (
    MAX_IDS,
    Blocks,
    CertificateRequest,
    Certificates,
    Entry,
    Finalizations,
    Headers,
    NewBlock,
    Payloads,
    Proposal,
    ProposalCertificates,
    ProposalRequest,
    Standing,
    StandingRequest,
    Status,
    Votes,
)
from tallystick.ledger.vote import Tally
from tallystick.node.answers import Answers
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
    ForgetCertificate,
    MessageReceived,
    PayloadErasureAsked,
    Peer,
    PeerConnected,
    PeerDisconnected,
    PersistBlock,
    PersistCertificate,
    PersistPayload,
    ReportAccepted,
    ReportBlock,
    ReportRefused,
    Send,
    SetTimer,
    Timer,
    TimerFired,
)
from tallystick.node.gossip import Gossip
from tallystick.node.limits import Limits
from tallystick.node.payload_search import PayloadSearch
from tallystick.node.sync import SetAside, Sync
from tallystick.node.trail import Checkpoint, Trail

_RECENT_BLOCKS: Final = 256


class Node:
    """One participant: a chain, a box, and its peers. At a restart it reads what its host kept for it, once."""

    def __init__(
        self,
        genesis: Genesis,
        agreement: Turns | Simplex,
        limits: Limits | None = None,
        archive: Archive | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Raise `Refused` (V4) when the kept chain does not hold the trusted checkpoint (Simplex only)."""
        self.limits = limits or Limits()
        self.chain = Blockchain(genesis, agreement.check_forger)
        self._recent: dict[bytes, None] = {self.chain.state.tip.hash: None}
        for block in archive.blocks() if archive else ():
            if checkpoint is not None and block.index == checkpoint.index and block.hash != checkpoint.hash:
                raise Refused(Rule.V4, f"the kept block {block.index} is {block.hash.hex()[:16]}…, another one")
            self.chain.append(block, None)
            self._remember(block)
        self.box = CertificateBox(self.limits, self.state.stakes, self.state.index + 1)
        self._lone = None if isinstance(agreement, Simplex) else agreement
        self._gossip = Gossip(self.limits)
        self._epoch = self.state.epoch
        self._trail: Trail | None = None
        if isinstance(agreement, Simplex):
            self._trail = Trail(self.state, genesis.params, self.limits.range_blocks, checkpoint)
        self._sync = Sync(self.limits, self._trail)
        self._answers = Answers(self.limits, self.box, genesis.params.epoch_blocks if self._trail else None)
        self._search = PayloadSearch(self.limits, lacking(archive) if archive else ())
        self._erased = set(archive.erased()) if archive else set()
        self._timers: dict[Timer, int] = {}
        self._to_report: list[Action] = []
        for entry in archive.waiting() if archive else ():
            self._put_back(entry)
        self._council: Council | None = None
        if isinstance(agreement, Simplex):
            for block in archive.proposals() if archive else ():
                for certificate in block.certificates:
                    self._put_back(Entry(certificate))
            agreement.start(self.chain, archive.votes() if archive else (), archive.proposals() if archive else ())
            self._council = Council(agreement, self.chain, self.box, self._on_finalized, self._accuse)
            self._council.moved(archive.finalization(self.state.index) if archive else None)

    def _put_back(self, entry: Entry) -> None:
        """A restart emptied the box; what is kept waits again, and what became illegal meanwhile is forgotten."""
        certificate = entry.certificate
        try:
            if self.chain.place_of(certificate.id) is None and certificate.id not in self.box:
                self.box.add(entry, self.state.tip.timestamp_ms)
        except Refused as refused:
            self._to_report += [ForgetCertificate(certificate.id), ReportRefused(refused, None)]

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
        actions, self._to_report = self._to_report, []
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
                if self._council is not None:
                    actions.append(Send(peer, self._council.ask_standing(now_ms)))
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
            case Timer.FORGE | Timer.AGREE:
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
            case Votes() | Standing() | Proposal() | ProposalCertificates() as said:
                self._on_said(now_ms, peer, said, actions)
            case Finalizations() | Headers():
                self._on_proof(now_ms, peer, checked.message, actions)
            case NewBlock(block):
                self._on_new_block(now_ms, peer, block, actions)
            case Blocks():
                self._on_blocks(now_ms, peer, checked.message, actions)
            case Status():
                self._on_status(now_ms, peer, checked.message, actions)
            case Payloads(payloads):
                self._on_payloads(now_ms, peer, payloads, actions)
            case StandingRequest() | ProposalRequest() as request if self._council is not None:
                if self._answers.admits(now_ms, peer, actions):
                    self._council.answer(peer, request, actions)
            case request:
                self._answers.answer(now_ms, peer, request, self.state, actions)

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
                if peer is None:
                    actions.append(PersistCertificate(entry))
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
        self.chain.check_evidence(certificate)

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
            wake_ms = self._council.step(now_ms, actions) if self._has_a_say else None
            return self._set_timer(Timer.AGREE, wake_ms, actions)
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

    @property
    def _has_a_say(self) -> bool:
        """Whether votes count here yet: below a trusted checkpoint, keys sold since could make up another history."""
        return self._trail is None or not self._trail.is_below_checkpoint

    def _on_said(
        self, now_ms: int, peer: Peer, said: Votes | Standing | Proposal | ProposalCertificates, actions: list[Action]
    ) -> None:
        if self._council is not None and self._has_a_say:
            self._council.receive(now_ms, peer, said, actions)
            self._maybe_forge(now_ms, actions)

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
            self._set_aside(peer, SetAside(block, None), actions)
        elif not self.knows_block(block.hash) and self._try_block(now_ms, peer, SetAside(block, None), actions):
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
        if self._trail is not None:
            return self._on_range(now_ms, peer, answer, self._trail, actions)
        added = False
        for block in blocks:
            if block.index > self.state.index + 1:
                self._set_aside(peer, SetAside(block, None), actions)
            elif block.index == self.state.index + 1:
                if not self._try_block(now_ms, peer, SetAside(block, None), actions):
                    break  # the rest stands on this one
                added = True
        if added:
            self._after_blocks(now_ms, actions)
        self._ask_for_more(now_ms, actions)
        return None

    def _on_range(self, now_ms: int, peer: Peer, answer: Blocks, trail: Trail, actions: list[Action]) -> None:
        """Blocks that were asked for: those proven to be final wait for their turn, and perhaps it has come."""
        caught = self._council.compare(answer.blocks) if self._council else []
        if answer.blocks:
            try:
                trail.check(answer.blocks, answer.headers, answer.finalization)
            except Refused as refused:
                self._sync.distrust(peer, now_ms)
                self._refuse(peer, refused, actions)
            else:
                for block in answer.blocks:
                    is_proven = block is answer.blocks[-1] and not answer.headers
                    if block.index > self.state.index:
                        self._set_aside(peer, SetAside(block, answer.finalization if is_proven else None), actions)
                self._after_blocks(now_ms, actions)
        if self._council is not None:
            self._council.accuse(now_ms, caught, actions)
        self._ask_for_more(now_ms, actions)

    def _on_proof(self, now_ms: int, peer: Peer, proof: Finalizations | Headers, actions: list[Action]) -> None:
        """What a peer was asked to prove of the chain ahead; where its proof ends, its claims end too."""
        asked = self._sync.proof_answered(peer)
        if self._trail is None or asked is None:
            return
        try:
            if isinstance(proof, Headers):
                self._trail.pin(proof.headers)
                has_no_more = not proof.headers
            else:
                proven = self._trail.extend(proof.proofs)
                is_tip = proven % self.chain.genesis.params.epoch_blocks > 0
                has_no_more = is_tip or self._trail.horizon < asked
        except Refused as refused:
            self._sync.distrust(peer, now_ms)
            self._refuse(peer, refused, actions)
        else:
            if has_no_more:
                self._sync.proved(peer, self._trail.horizon)
        self._ask_for_more(now_ms, actions)

    def _on_finalized(self, now_ms: int, finalized: Finalized, actions: list[Action]) -> None:
        for block, state in zip(finalized.blocks, finalized.states, strict=True):
            self.chain.publish(block, state)
            is_last = block is finalized.blocks[-1]
            self._settle(block, None, finalized.finalization if is_last else None, actions)
        self._has_news(now_ms, actions)
        self._ask_for_more(now_ms, actions)

    def _accuse(self, now_ms: int, evidence: Evidence, actions: list[Action]) -> None:
        self._on_entries(now_ms, None, [Entry(evidence)], actions)

    def _try_block(self, now_ms: int, peer: Peer, aside: SetAside, actions: list[Action]) -> bool:
        try:
            if self._trail is None:
                self._add_block(now_ms, peer, aside.block, actions)
            else:
                self._add_final(peer, aside, actions)
        except Refused as refused:
            self._sync.distrust(peer, now_ms)
            self._refuse(peer, refused, actions)
            return False
        return True

    def _add_block(self, now_ms: int, peer: Peer | None, block: Block, actions: list[Action]) -> None:
        """Check and publish one block. Raises `Refused`, and then nothing changed."""
        self.chain.append(block, now_ms)
        self._settle(block, peer, None, actions)

    def _add_final(self, peer: Peer, aside: SetAside, actions: list[Action]) -> None:
        """Publish a block that the trail proved. Raises `Refused`, V5 too: it leads to other stakes than voters saw."""
        block, finalization = aside
        state = self.chain.after(block, None)
        if finalization is not None:
            try:
                check_final(self.state.epoch, block.header, finalization, state.epoch.hash)
            except Refused as refused:
                raise Refused(Rule.V5, refused.reason) from None
        self.chain.publish(block, state)
        self._settle(block, peer, finalization, actions)

    def _settle(self, block: Block, peer: Peer | None, finalization: Tally | None, actions: list[Action]) -> None:
        """A block was published: it is kept and told of, and its certificates leave the box."""
        self._remember(block)
        payloads, left = self.box.settle(block.certificates, self.state.stakes, block.index + 1)
        self._sync.added(block.index)
        actions.append(PersistBlock(block, tuple(payloads.values()), finalization, self._new_members()))
        if self._trail is not None:
            self._trail.moved(self.state)
        is_own = self._council.member == block.header.forger if self._council else peer is None
        actions.append(ReportBlock(block, forged_here=is_own))
        for certificate_id, refused in left:
            actions += [ForgetCertificate(certificate_id), ReportRefused(refused, None)]
        if peer is not None:
            self._search.connected(peer)
        self._want_payloads(block, payloads)

    def _new_members(self) -> Members | None:
        """Who votes from the next block on, if that is other than before."""
        before, self._epoch = self._epoch, self.state.epoch
        return self._epoch.members if self._trail is not None and self._epoch.hash != before.hash else None

    def _after_blocks(self, now_ms: int, actions: list[Action]) -> None:
        """Set-aside blocks get their turn, one after the other, and perhaps it is ours to forge."""
        finalization = None
        while candidates := self._sync.take(self.state.index + 1):
            index = self.state.index
            for peer, aside in candidates:
                if self.state.index == index and self._try_block(now_ms, peer, aside, actions):
                    finalization = aside.finalization
            if self.state.index == index:
                break
        if self._council is not None:
            self._council.moved(finalization)
        self._maybe_forge(now_ms, actions)
        self._has_news(now_ms, actions)

    def _set_aside(self, peer: Peer, aside: SetAside, actions: list[Action]) -> None:
        try:
            self._sync.set_aside(peer, aside)
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
        if status.tip_index < self.state.index and self._answers.may_ask(now_ms, peer):
            actions.append(Send(peer, self._status()))
        self._ask_for_more(now_ms, actions)
        return None

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
