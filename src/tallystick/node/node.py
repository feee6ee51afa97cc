"""The node as a state machine: it is told the time and an event, and returns the actions that follow.

No clock, no randomness, no I/O. The simulator, the course and the real host drive this same class.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from tallystick.consensus.agreement import Equivocation
from tallystick.ledger import messages
from tallystick.ledger.address import AddressRecord
from tallystick.ledger.block import verified
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import AnyCertificate, Payload, issue_evidence
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.messages import Addresses, Blocks, Entry, NewBlock, Prune, Request, Said, Status
from tallystick.ledger.state import State
from tallystick.ledger.vote import Tally, Vote
from tallystick.node import events
from tallystick.node.agreement import Agreement, AgreementStatus
from tallystick.node.answers import Answers
from tallystick.node.archive import Archive
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.chain_copy import RECENT_BLOCKS, ChainCopy
from tallystick.node.events import Action, Broadcast, CheckedMessage, Event, Peer, Send, Timer, refuse
from tallystick.node.finality_proofs import Checkpoint, Proof
from tallystick.node.gossip import Gossip
from tallystick.node.knowledge import Knowledge
from tallystick.node.late_votes import LateVotes
from tallystick.node.limits import Limits
from tallystick.node.payload_search import PayloadSearch
from tallystick.node.peer_exchange import Ban, PeerExchange
from tallystick.node.sync import Sync


class Node:
    """One participant: a chain (as its host kept it), a box, and its peers. The rest of the archive it reads once."""

    def __init__(
        self,
        chain: Blockchain,
        agreement: Agreement,
        limits: Limits | None = None,
        archive: Archive | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.chain = chain
        self.box = CertificateBox(self.limits, self.state)
        self._agreement = agreement
        self._gossip = Gossip(self.limits)
        self._exchange = PeerExchange(self.limits, chain.genesis, self.state, archive.addresses() if archive else ())
        wanted, erased = (archive.lacking(self.limits.wanted_payloads), archive.erased()) if archive else ((), ())
        self._search = PayloadSearch(self.limits, wanted, erased)
        sync = Sync(self.limits, agreement.finality(self.chain, self.limits, checkpoint))
        own = agreement.wallet.public_key if agreement.wallet is not None else None
        self._copy = ChainCopy(self.chain, self.box, self._search, sync, own)
        for block_hash in archive.hashes(max(1, self.state.index - RECENT_BLOCKS)) if archive else ():
            self._copy.remember(block_hash)
        self._late = LateVotes()
        self._timers: dict[Timer, int] = {}
        self._to_report: list[Action] = []
        for entry in archive.waiting() if archive else ():
            self._put_back(entry)
        for block in archive.proposals() if archive else ():
            for certificate in block.certificates:
                self._put_back(Entry(certificate))
        agreement.start(self.chain, self.box, archive)
        self._answers = Answers(self.limits, self.box)
        self.knowledge = Knowledge(agreement, self._copy, self.box, self._exchange)

    def _put_back(self, entry: Entry) -> None:
        """A restart emptied the box; what is kept waits again, and what became illegal meanwhile is forgotten."""
        certificate = entry.certificate
        try:
            if self.chain.place_of(certificate.id) is None and certificate.id not in self.box:
                self.box.add(entry, self.state.tip.timestamp_ms)
        except Refused as refused:
            forget, report = (
                events.ForgetCertificate(certificate.id),
                events.ReportRefused(refused, None, certificate.id),
            )
            self._to_report += [forget, report]

    # ---- what a person may consult ----------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The agreed state at the tip."""
        return self.chain.state

    @property
    def set_aside_count(self) -> int:
        """Early blocks waiting for the ones before them."""
        return self._copy.sync.set_aside_count

    @property
    def addresses(self) -> tuple[AddressRecord, ...]:
        """Where this node last heard that nodes can be reached, itself included: one record of a key."""
        return self._exchange.addresses

    @property
    def bans(self) -> tuple[Ban, ...]:
        """Who is no peer for a while (N5), the oldest ban first."""
        return self._exchange.bans

    @property
    def best_index(self) -> int:
        """The latest block that a peer told of, or its own tip."""
        return max(self.state.index, self._copy.sync.best_index)

    def tip_of(self, peer: Peer) -> int:
        """The latest block that this peer told of; 0 if of none."""
        return self._copy.sync.tip_of(peer)

    def agreement_status(self) -> AgreementStatus:
        """How this node's part in agreement stands."""
        status = self._agreement.status()
        mismatch = self._copy.mismatch
        return status if mismatch is None else replace(status, mismatch=str(mismatch))

    # ---- events -----------------------------------------------------------------------------------------------

    def handle(self, now_ms: int, event: Event) -> list[Action]:
        """Take one event and return what the host has to do, in order. Raises nothing, whatever a peer sends."""
        actions, self._to_report = self._to_report, []
        match event:
            case events.MessageReceived(peer, checked):
                if self._exchange.admits(peer):
                    self._on_message(now_ms, peer, checked, actions)
            case events.CertificatesSubmitted(checked):
                self._on_entries(now_ms, None, [one.entry for one in checked], actions)
            case events.TimerFired(timer):
                self._timers.pop(timer, None)
                self._on_timer(now_ms, timer, actions)
            case events.Started():
                self._exchange.started(event, actions)
                self._dial(now_ms, actions)
                self._advance(now_ms, actions)
            case events.PeerConnected(peer):
                if self._exchange.connected(now_ms, peer, actions):
                    self._on_connected(now_ms, peer, actions)
            case events.PeerDisconnected(peer):
                self._exchange.disconnected(now_ms, peer)
                self._dial(now_ms, actions)
                actions.extend(self._gossip.disconnected(peer))
                self._search.forget(peer)
                self._copy.sync.forget(peer)
                self._ask_for_more(now_ms, actions)
            case events.PayloadErasureAsked(payload_hash):
                self._search.erase(payload_hash)
                self.box.erase_payload(payload_hash)
                self._gossip.erase_payload(payload_hash)
                actions.append(events.ErasePayload(payload_hash))
            case events.UnbanAsked(peer):
                self._exchange.unban(peer, actions)
                self._dial(now_ms, actions)
            case events.VotesRead(late, kept):
                self._compare(now_ms, late, kept, actions)
        self._report_equivocations(now_ms, actions)
        self._update_peers(now_ms, actions)
        return actions

    def _on_timer(self, now_ms: int, timer: Timer, actions: list[Action]) -> None:
        match timer:
            case Timer.AGREE:
                self._advance(now_ms, actions)
            case Timer.GOSSIP:
                self._share(now_ms, actions)
            case Timer.ANNOUNCE:
                actions.extend(self._gossip.announce(now_ms, self._status(()), self.box))
                self._set_timer(Timer.ANNOUNCE, self._gossip.announce_ms, actions)
            case Timer.SYNC:
                self._search.expire(now_ms)
                if self._copy.sync.expire(now_ms):
                    self._has_news(now_ms, actions)
                self._ask_for_more(now_ms, actions)
                self._advance(now_ms, actions)
            case Timer.DIAL:
                self._dial(now_ms, actions)

    def _on_message(self, now_ms: int, peer: Peer, checked: CheckedMessage, actions: list[Action]) -> None:
        for refused in checked.refusals:
            refuse(peer, refused, actions)
        if checked.known:
            actions.extend(self._gossip.heard_again(peer, checked.known, now_ms))
        if checked.late and self._answers.may_ask(now_ms, peer):
            self._agreement.heard_late(now_ms, peer, checked.late, actions)
            self._compare(now_ms, checked.late, self._agreement.unkept(), actions)
            for tally in checked.late:
                actions.append(events.ReadVotes(tally.ballot.epoch, tally.ballot.view, (tally,)))
        match checked.message:
            case None:
                pass
            case request if isinstance(request, Request):
                self._on_request(now_ms, peer, request, actions)
            case said if isinstance(said, Said):
                self._on_said(now_ms, peer, said, actions)
            case Prune() | Addresses() as said:
                self._on_links(now_ms, peer, said, actions)
            case messages.Certificates(entries):
                self._on_entries(now_ms, peer, entries, actions)
            case NewBlock() | Blocks() | messages.Finalizations() | messages.Headers() as said:
                self._on_blocks(now_ms, peer, said, actions)
            case Status():
                self._on_status(now_ms, peer, checked.message, actions)
            case messages.Payloads(payloads):
                self._on_payloads(now_ms, peer, payloads, actions)

    def _on_request(self, now_ms: int, peer: Peer, request: Request, actions: list[Action]) -> None:
        if not self._answers.admits(now_ms, peer, actions):
            return
        match request:
            case messages.RecoveryRequest():
                self._on_said(now_ms, peer, request, actions)
            case messages.ProposalRequest():
                self._agreement.answer(peer, request, actions)
            case _:
                if isinstance(request, messages.CertificateRequest):
                    self._gossip.grafted(peer)
                self._answers.answer(peer, request, actions)

    # ---- certificates -----------------------------------------------------------------------------------------

    def _on_entries(self, now_ms: int, peer: Peer | None, entries: Iterable[Entry], actions: list[Action]) -> None:
        accepted = []
        for offered in entries:
            self._gossip.received(offered.certificate.id)
            is_erased = self._search.is_erased(offered.certificate.payload_hash)
            entry = Entry(offered.certificate) if is_erased else offered
            try:
                self._check_certificate(entry.certificate, now_ms)
                self.box.add(entry, now_ms)
            except Refused as refused:
                if peer is None:
                    actions.append(events.ReportRefused(refused, None, entry.certificate.id))
                # Gossip brings a certificate from several sides, and every member that sees a contradiction shows it.
                elif refused.rule not in (Rule.C4, Rule.C5, Rule.S6):
                    refuse(peer, refused, actions)
            else:
                accepted.append(entry)
        if not accepted:
            return
        if peer is None:
            actions.append(events.PersistCertificates(tuple(accepted)))
        actions.extend(events.ReportAccepted(entry.certificate) for entry in accepted)
        self._advance(now_ms, actions)
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

    def _advance(self, now_ms: int, actions: list[Action]) -> None:
        """Take the steps that agreement wants taken; what becomes final is added, kept and told of."""
        while self._copy.mismatch is None:
            is_behind = self._copy.sync.is_behind(self.state.index, now_ms)
            step = self._agreement.step(now_ms, is_behind, actions)
            if step.is_stuck:
                actions.append(Broadcast(self._status(())))
            if step.finalized is None:
                self._set_timer(Timer.AGREE, step.wake_ms, actions)
                break
            self._copy.add_agreed(step.finalized, actions)
            self._agreement.added(step.finalized, actions)
            self._tip_advanced(now_ms, actions)

    def _on_said(self, now_ms: int, peer: Peer, said: Said, actions: list[Action]) -> None:
        self._agreement.receive(now_ms, peer, said, actions)
        self._advance(now_ms, actions)

    def _on_blocks(self, now_ms: int, peer: Peer, said: NewBlock | Blocks | Proof, actions: list[Action]) -> None:
        match said:
            case NewBlock(block):
                self._agreement.compare((block,), None)
                if self._copy.receive_new(now_ms, peer, verified(block), actions):
                    actions.append(Broadcast(said, but=peer))
                    self._after_blocks(now_ms, actions)
            case Blocks(_, blocks, _, finalization):
                self._agreement.compare(blocks, finalization)
                if self._copy.receive(now_ms, peer, said, actions):
                    self._after_blocks(now_ms, actions)
            case proof:
                self._copy.receive_proof(now_ms, peer, proof, actions)
        self._ask_for_more(now_ms, actions)

    def _after_blocks(self, now_ms: int, actions: list[Action]) -> None:
        """A peer's blocks moved the tip: perhaps it is ours to forge."""
        self._tip_advanced(now_ms, actions)
        self._advance(now_ms, actions)

    def _tip_advanced(self, now_ms: int, actions: list[Action]) -> None:
        """Blocks set aside follow; agreement goes on from there, and peers are told."""
        self._copy.take_set_aside(now_ms, actions)
        self._agreement.tip_advanced(self._copy.finalization)
        self._has_news(now_ms, actions)
        self._ask_for_more(now_ms, actions)

    # ---- evidence ---------------------------------------------------------------------------------------------

    def _compare(self, now_ms: int, late: tuple[Tally, ...], held: Iterable[Tally], actions: list[Action]) -> None:
        for one in self._late.compare(late, held, self.chain.ledger_id):
            self._report_equivocation(now_ms, one, actions)

    def _report_equivocations(self, now_ms: int, actions: list[Action]) -> None:
        for one in self._agreement.take_equivocations():
            self._report_equivocation(now_ms, one, actions)

    def _report_equivocation(self, now_ms: int, equivocation: Equivocation, actions: list[Action]) -> None:
        """Issue evidence, unless as good waits already or the key is dead."""
        first, second, offender = *equivocation, equivocation.offender
        epoch = first.ballot.epoch if isinstance(first, Vote) else first.header.epoch
        wallet, ledger_id = self._agreement.wallet, self.chain.ledger_id
        is_known = self.box.evidence.accuses(offender, epoch) or offender in self.state.stakes.burned_keys
        if wallet is None or is_known:
            return
        evidence = issue_evidence(wallet, ledger_id, now_ms, first, second)
        self._on_entries(now_ms, None, [Entry(evidence)], actions)

    def _ask_for_more(self, now_ms: int, actions: list[Action]) -> None:
        """Ask for missing blocks, and for the payloads of those that came."""
        actions.extend(self._copy.sync.ask(self.state.index, now_ms))
        actions.extend(self._search.ask(now_ms))
        for deadline_ms in (self._copy.sync.deadline_ms(), self._search.deadline_ms()):
            if deadline_ms is not None and deadline_ms < self._timers.get(Timer.SYNC, deadline_ms + 1):
                self._set_timer(Timer.SYNC, deadline_ms, actions)

    # ---- payloads ---------------------------------------------------------------------------------------------

    def _on_payloads(self, now_ms: int, peer: Peer, payloads: tuple[Payload, ...], actions: list[Action]) -> None:
        actions.extend(events.PersistPayload(payload) for payload in self._search.received(peer, payloads))
        self._ask_for_more(now_ms, actions)

    # ---- peers ------------------------------------------------------------------------------------------------

    def _on_connected(self, now_ms: int, peer: Peer, actions: list[Action]) -> None:
        self._dial(now_ms, actions)
        actions.append(Send(peer, self._status()))
        actions.extend(self._gossip.connected(peer))
        if self.box:
            self._has_news(now_ms, actions)
        self._agreement.connected(now_ms, peer, actions)
        self._search.connected(peer)
        self._ask_for_more(now_ms, actions)
        self._advance(now_ms, actions)

    def _on_links(self, now_ms: int, peer: Peer, said: Prune | Addresses, actions: list[Action]) -> None:
        if isinstance(said, Prune):
            self._gossip.pruned(peer)
        elif self._exchange.heard(now_ms, peer, said.records, actions):
            self._dial(now_ms, actions)

    def _dial(self, now_ms: int, actions: list[Action]) -> None:
        self._set_timer(Timer.DIAL, self._exchange.dial(now_ms, actions), actions)

    def _update_peers(self, now_ms: int, actions: list[Action]) -> None:
        """Whom an event cut off is dialled no more; whose tokens it moved may be a peer, or has to be dialled."""
        cut_off = [one for one in actions if isinstance(one, events.Disconnect) and one.refused.rule is not Rule.N6]
        for one in cut_off:
            self._exchange.ban(now_ms, one.peer, one.refused, actions)
        if self._exchange.moved(self.state, actions) or cut_off:
            self._dial(now_ms, actions)

    def _status(self, waiting: tuple[bytes, ...] | None = None) -> Status:
        ids = self.box.ids(messages.MAX_IDS) if waiting is None else waiting
        return Status(self.chain.ledger_id, self.state.epoch.number, self.state.index, self.state.tip.hash, ids)

    def _on_status(self, now_ms: int, peer: Peer, status: Status, actions: list[Action]) -> None:
        if status.ledger_id != self.chain.ledger_id:
            other = status.ledger_id.hex()[:16]
            return refuse(peer, Refused(Rule.N1, f"the peer is on ledger {other}…"), actions)
        self._copy.sync.heard_tip(peer, status.tip_index, status.epoch)
        lacking = tuple(one for one in status.waiting if one not in self.box and self.chain.place_of(one) is None)
        actions.extend(self._gossip.ask(peer, lacking, now_ms))
        if status.tip_index < self.state.index and self._answers.may_ask(now_ms, peer):
            actions.append(Send(peer, self._status(())))
        if status.tip_hash == self.state.tip.hash and set(status.waiting).issuperset(self.box.ids(messages.MAX_IDS)):
            self._gossip.in_sync(peer)
        self._ask_for_more(now_ms, actions)
        return None

    def _has_news(self, now_ms: int, actions: list[Action]) -> None:
        self._set_timer(Timer.ANNOUNCE, self._gossip.news(now_ms), actions)

    def _set_timer(self, timer: Timer, at_ms: int | None, actions: list[Action]) -> None:
        if at_ms is not None and self._timers.get(timer) != at_ms:
            self._timers[timer] = at_ms
            actions.append(events.SetTimer(timer, at_ms))
