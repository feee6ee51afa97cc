"""The node as a state machine: it is told the time and an event, and returns the actions that follow.

No clock, no randomness, no I/O. The simulator, the course and the real host drive this same class.
"""

from collections.abc import Iterable, Sequence, Set
from itertools import islice

from msgspec.structs import replace

from tallystick.consensus.agreement import Equivocation
from tallystick.ledger import messages
from tallystick.ledger.block import verified
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import AnyCertificate, issue_evidence
from tallystick.ledger.changes import VOTING
from tallystick.ledger.checkpoint import Cosignature
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.messages import (
    Blocks,
    Cosignatures,
    Entry,
    Message,
    MlDsaCosignatures,
    NewBlock,
    Request,
    Said,
    Status,
    is_request,
    is_said,
)
from tallystick.ledger.state import State
from tallystick.ledger.vote import Tally, Vote
from tallystick.node import events
from tallystick.node.agreement import Agreement, AgreementStatus
from tallystick.node.archive import Archive, kept_epoch
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.chain_copy import RECENT_BLOCKS, ChainCopy
from tallystick.node.checkpoints import Checkpoints, Countersigned
from tallystick.node.epoch_ends import CosignedEnds, MlDsa, OwnPart
from tallystick.node.events import Action, Broadcast, CheckedMessage, Event, Peer, Send, Timer, refuse
from tallystick.node.finality_proofs import Proof, TrustedBlock
from tallystick.node.gossip import Gossip
from tallystick.node.keeping import kept_first
from tallystick.node.knowledge import Knowledge
from tallystick.node.late_votes import LateVotes
from tallystick.node.limits import Allowances, Limits
from tallystick.node.payload_search import PayloadSearch
from tallystick.node.peer_exchange import PeerExchange
from tallystick.node.sync import Sync


class Node:
    """One participant: a chain (as its host kept it), a box, and its peers. The rest of the archive it reads once."""

    def __init__(  # noqa: PLR0913, PLR0917  each is a part of it that its host knows
        self,
        chain: Blockchain,
        agreement: Agreement,
        limits: Limits | None = None,
        archive: Archive | None = None,
        trusted_block: TrustedBlock | None = None,
        ml_dsa: MlDsa | None = None,
    ) -> None:
        """`ml_dsa`: `None` where the host does not know ML-DSA-44."""
        self.limits = limits or Limits()
        self.chain = chain
        self.box = CertificateBox(self.limits, self.state, chain.finder)
        self._agreement = agreement
        self.exchange = PeerExchange(self.limits, chain.genesis, self.state, archive.addresses() if archive else ())
        self.sync = Sync(self.limits, agreement.finality(chain, self.limits, trusted_block))
        self._gossip = Gossip(self.limits)
        self._search = PayloadSearch(self.limits)
        self._checkpoints = Checkpoints(chain.genesis, self.state, agreement, self.limits)
        self._ends = CosignedEnds(chain.genesis, self._checkpoints, self.limits, ml_dsa)
        self._copy = ChainCopy(chain, self.box, self._search, self.sync, self._checkpoints)
        self._late = LateVotes()
        self._allowances = Allowances(self.limits.requests_per_second, 2 * self.limits.requests_per_second)
        self._statuses = Allowances(self.limits.statuses_per_second, 8 * self.limits.statuses_per_second)
        self._timers: dict[Timer, int] = {}
        self._to_report: list[Action] = []
        if archive is not None:
            self._resume(archive)
        agreement.start(chain, self.box, archive)
        epoch = kept_epoch(self.state.tip.epoch, archive, chain) if archive is not None else self.state.epoch
        self._checkpoints.resume(archive, epoch)
        self.knowledge = Knowledge(agreement, self._copy, self.box, self.exchange, self.limits)

    def _resume(self, archive: Archive) -> None:
        """A restart emptied the box; what is kept waits again, and what became illegal meanwhile is forgotten."""
        for payload_hash in archive.erased():
            self._search.erase(payload_hash)
        for payload_hash in archive.lacking(self.limits.wanted_payloads):
            self._search.want(payload_hash)
        for block_hash in archive.hashes(max(1, self.state.index - RECENT_BLOCKS)):
            self._copy.remember(block_hash)
        proposed = (Entry(one) for block in archive.proposals() for one in block.certificates)
        for entry in (*archive.waiting(), *proposed):
            certificate_id = entry.certificate.id
            try:
                if self.chain.place_of(certificate_id) is None and certificate_id not in self.box:
                    self.box.add_again(entry)
            except Refused as refused:
                events.give_up([(certificate_id, refused)], self._to_report)

    # ---- what a user may consult ------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The agreed state at the tip."""
        return self.chain.state

    @property
    def checkpoint(self) -> Countersigned | None:
        """The newest checkpoint that is countersigned, as far as this node knows since its start."""
        return self._checkpoints.newest

    @property
    def epoch_checkpoint(self) -> Countersigned | None:
        """The newest of an epoch's end that members cosigned by ML-DSA-44, too, as far as is known since the start."""
        return self._ends.newest

    @property
    def ml_dsa(self) -> OwnPart | None:
        """How its part in cosigning by ML-DSA-44 stands; `None`: this machine does not know that."""
        return self._ends.own_part

    def agreement_status(self) -> AgreementStatus:
        """How this node's part in agreement stands."""
        status = self._agreement.status()
        left_with = self._left_with(status.key) if status.key is not None else None
        if left_with is not None:
            status = replace(status, left_with=left_with, may_stop=self._is_known(left_with))
        mismatch = self._copy.mismatch
        return status if mismatch is None else replace(status, mismatch=str(mismatch))

    def _left_with(self, key: bytes) -> int | None:
        """The block with which a key of the directory ended whose votes counted up to then."""
        entry = self.state.directory.keys.get(key)
        if entry is None or entry.role not in VOTING or entry.until is None or self.state.epoch.stake(key):
            return None
        return self.chain.certificate_index.place_at(entry.until - 1).block_index

    def _is_known(self, index: int) -> bool:
        """Whether more than a third of the stake, so one honest member, says that it has this block, or built on it.

        Until then it may be this node alone that can prove it final, and without it nothing else ever would be.
        """
        if self.state.index > index:
            return True
        epoch = self.state.epoch
        return 3 * sum(stake for key, stake in epoch.members if self.sync.tip_of(key) >= index) > epoch.total

    # ---- events -----------------------------------------------------------------------------------------------

    def handle(self, now_ms: int, event: Event) -> list[Action]:
        """Take one event and return what the host has to do, in order. Raises nothing, whatever a peer sends."""
        actions, self._to_report = self._to_report, []
        match event:
            case events.MessageReceived(peer, checked):
                if self.exchange.admits(peer):
                    self._on_message(now_ms, peer, checked, actions)
            case events.CertificatesSubmitted(checked):
                self._on_entries(now_ms, None, [one.entry for one in checked], actions)
            case events.TimerFired(timer):
                self._timers.pop(timer, None)
                self._on_timer(now_ms, timer, actions)
            case events.Started():
                self.exchange.started(event, actions)
                self._dial(now_ms, actions)
                self._advance(now_ms, actions)
            case events.PeerConnected(peer):
                if self.exchange.connected(now_ms, peer, actions):
                    self._on_connected(now_ms, peer, actions)
            case events.PeerDisconnected(peer):
                self.exchange.disconnected(now_ms, peer)
                self._dial(now_ms, actions)
                actions.extend(self._gossip.disconnected(peer, now_ms))
                self._search.forget(peer)
                self.sync.forget(peer)
                self._ask_for_more(now_ms, actions)
                self._agreement.disconnected(peer)
                self._advance(now_ms, actions)
            case events.PayloadErasureAsked(payload_hash):
                self._search.erase(payload_hash)
                self.box.erase_payload(payload_hash)
                self._gossip.erase_payload(payload_hash)
                actions.append(events.ErasePayload(payload_hash))
            case events.UnbanAsked(peer):
                self.exchange.unban(peer, actions)
                self._dial(now_ms, actions)
            case events.FreshCheckpointAsked():
                self._ask_anew(now_ms, None, actions)
            case events.VotesRead(late, kept):
                self._compare(now_ms, (late,), kept, actions)
        self._report_equivocations(now_ms, self._agreement.take_equivocations(), actions)
        self._update_peers(now_ms, actions)
        self._settle_checkpoints(now_ms, actions)
        return kept_first(actions)

    def _on_timer(self, now_ms: int, timer: Timer, actions: list[Action]) -> None:
        match timer:
            case Timer.AGREE:
                self._advance(now_ms, actions)
            case Timer.GOSSIP:
                self._share(now_ms, actions)
            case Timer.ANNOUNCE:
                actions.extend(self._gossip.announce(now_ms, self._status(), self.box))
                self._set_timer(Timer.ANNOUNCE, self._gossip.announce_ms, actions)
            case Timer.SYNC:
                self._search.expire(now_ms)
                if self.sync.expire(now_ms):
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
        if checked.is_voter and isinstance(peer, bytes):
            self._agreement.heard(peer)
        if checked.late:
            self._on_late(now_ms, peer, checked.late, actions)
        if checked.message is not None:
            self._on_good(now_ms, peer, checked.message, actions)

    def _on_good(self, now_ms: int, peer: Peer, message: Message, actions: list[Action]) -> None:
        match message:
            case messages.Certificates(entries):
                self._on_entries(now_ms, peer, entries, actions)
            case request if is_request(request):
                self._on_request(now_ms, peer, request, actions)
            case said if is_said(said):
                self._on_said(now_ms, peer, said, actions)
            case messages.Prune() | messages.Addresses() | Cosignatures() | MlDsaCosignatures() as told:
                self._on_told(now_ms, peer, told, actions)
            case NewBlock() | Blocks() | messages.Finalizations() | messages.Headers() as said:
                self._on_blocks(now_ms, peer, said, actions)
            case Status():
                self._on_status(now_ms, peer, message, actions)
            case messages.Payloads(payloads):
                actions.extend(events.PersistPayload(payload) for payload in self._search.received(peer, payloads))
                self._ask_for_more(now_ms, actions)

    def _on_told(
        self,
        now_ms: int,
        peer: Peer,
        told: messages.Prune | messages.Addresses | Cosignatures | MlDsaCosignatures,
        actions: list[Action],
    ) -> None:
        match told:
            case messages.Prune():
                self._gossip.pruned(peer)
            case messages.Addresses(records):
                if self.exchange.heard(now_ms, peer, records, actions):
                    self._dial(now_ms, actions)
            case Cosignatures():
                self._pass_on(self._checkpoints.receive(now_ms, peer, told, actions), peer, actions)
            case MlDsaCosignatures():
                if new := self._ends.receive(now_ms, peer, told, actions):
                    self._spread(MlDsaCosignatures(new), peer, actions)

    def _on_request(self, now_ms: int, peer: Peer, request: Request, actions: list[Action]) -> None:
        """Answer, within the peer's allowance: what waits, from the box; what is kept, the host sends."""
        if not self._allowances.take(now_ms, peer):
            refused = Refused(Rule.N3, f"more than {self.limits.requests_per_second} requests a second")
            actions.append(events.ReportRefused(refused, peer))
            return
        match request:
            case messages.RecoveryRequest():
                self._on_said(now_ms, peer, request, actions)
            case messages.ProposalRequest():
                self._agreement.answer(peer, request, actions)
            case messages.CosignatureRequest():
                self._ask_anew(now_ms, peer, actions)
            case messages.CertificateRequest(ids):
                self._gossip.grafted(peer)
                entries = [entry for one in dict.fromkeys(ids) if (entry := self.box.get(one))]
                parts = messages.certificates_in_parts(entries, self.limits.answer_bytes)
                actions.extend(Send(peer, part) for part in islice(parts, 1))
            case _:
                actions.append(events.SendKept(peer, request))

    # ---- certificates -----------------------------------------------------------------------------------------

    def _on_entries(self, now_ms: int, peer: Peer | None, entries: Sequence[Entry], actions: list[Action]) -> None:
        accepted = []
        ids = [one.certificate.id for one in entries]
        on_chain = self.chain.certificate_index.known(ids)
        self._gossip.received(ids)
        for offered in entries:
            certificate = offered.certificate
            is_erased = offered.payload is not None and self._search.is_erased(certificate.payload_hash)
            entry = Entry(certificate) if is_erased else offered
            try:
                self._check_certificate(certificate, on_chain, now_ms)
                self.box.add(entry, now_ms)
            except Refused as refused:
                if peer is None:
                    actions.append(events.ReportRefused(refused, None, certificate.id))
                # Gossip brings a certificate from several sides, and every member that sees a contradiction shows it.
                elif refused.rule not in (Rule.C4, Rule.C5, Rule.S6):
                    refuse(peer, refused, actions)
            else:
                accepted.append(entry)
        if not accepted:
            return
        if peer is None:
            actions.append(events.PersistCertificates(tuple(accepted)))
        actions.append(events.ReportAccepted(tuple([entry.certificate for entry in accepted])))
        self._advance(now_ms, actions)
        for entry in accepted:
            if entry.certificate.id in self.box:
                self._gossip.offer(entry, peer, now_ms)
        self._share(now_ms, actions)
        self._has_news(now_ms, actions)

    def _check_certificate(self, certificate: AnyCertificate, on_chain: Set[bytes], now_ms: int) -> None:
        if certificate.id in on_chain and (place := self.chain.place_of(certificate.id)) is not None:
            raise Refused(Rule.C5, f"certificate {certificate.id.hex()[:16]}… is in block {place.block_index}")
        ahead_ms = self.chain.state.params.certificate_ahead_ms
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
        if over := self.box.time_passed(now_ms):
            events.give_up(over, actions)
        while self._copy.mismatch is None:
            step = self._agreement.step(now_ms, lambda: self.sync.is_behind(self.state.index, now_ms), actions)
            if step.is_stuck:
                actions.append(Broadcast(self._status()))
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
        index = self.state.index
        match said:
            case NewBlock(block):
                self._agreement.compare((block,), None)
                self._copy.receive_new(now_ms, peer, verified(block), actions)
                if self.state.index > index:
                    actions.append(Broadcast(said, but=peer))
            case Blocks(_, blocks, _, finalization):
                self._agreement.compare(blocks, finalization)
                self._copy.receive(now_ms, peer, said, actions)
            case proof:
                self._copy.receive_proof(now_ms, peer, proof, actions)
        if self.state.index > index:
            self._tip_advanced(now_ms, actions)
            self._advance(now_ms, actions)  # perhaps it is ours to forge
        self._ask_for_more(now_ms, actions)

    def _tip_advanced(self, now_ms: int, actions: list[Action]) -> None:
        """Blocks set aside follow; agreement goes on from there, and peers are told."""
        self._copy.take_set_aside(now_ms, actions)
        self._agreement.tip_advanced(self._copy.finalization)
        self._has_news(now_ms, actions)
        self._ask_for_more(now_ms, actions)

    def _ask_for_more(self, now_ms: int, actions: list[Action]) -> None:
        """Ask for missing blocks, and for the payloads of those that came."""
        actions.extend(self.sync.ask(self.state.index, now_ms))
        actions.extend(self._search.ask(now_ms))
        for deadline_ms in (self.sync.deadline_ms(), self._search.deadline_ms()):
            if deadline_ms is not None and deadline_ms < self._timers.get(Timer.SYNC, deadline_ms + 1):
                self._set_timer(Timer.SYNC, deadline_ms, actions)

    # ---- checkpoints ------------------------------------------------------------------------------------------

    def _settle_checkpoints(self, now_ms: int, actions: list[Action]) -> None:
        """Cosign what is due, unless this node's state is not the ledger's; pass on what others cosigned."""
        if self._copy.mismatch is None:
            is_behind = self.sync.is_behind(self.state.index, now_ms)
            due_ms = self._checkpoints.settle(now_ms, not self.box, is_behind, actions)
            self._set_timer(Timer.CHECKPOINT, due_ms, actions)
            if fresh := self._checkpoints.take_fresh():
                self._pass_on(fresh, None, actions)
            if lines := self._ends.settle(actions):
                self._spread(MlDsaCosignatures(lines), None, actions)

    def _pass_on(self, new: tuple[Cosignature, ...], peer: Peer | None, actions: list[Action]) -> None:
        if new:
            self._spread(Cosignatures(new), peer, actions)

    def _spread(self, said: Cosignatures | MlDsaCosignatures, peer: Peer | None, actions: list[Action]) -> None:
        """Along the tree of peers, as certificates go; whom that does not reach is told at the next connection."""
        if peers := self._gossip.eager(but=peer):
            actions.append(events.Multicast(peers, said))

    def _tell_checkpoints(self, now_ms: int, peer: Peer, actions: list[Action]) -> None:
        actions.extend(Send(peer, one) for one in self._checkpoints.told())
        actions.extend(Send(peer, one) for one in self._ends.told(now_ms, peer))

    def _ask_anew(self, now_ms: int, peer: Peer | None, actions: list[Action]) -> None:
        """Somebody wants fresh cosignatures of an idle tip: a peer is told those at hand."""
        if peer is not None:
            self._tell_checkpoints(now_ms, peer, actions)
        self._checkpoints.ask_anew(now_ms, peer, self.sync.is_behind(self.state.index, now_ms), actions)

    # ---- evidence ---------------------------------------------------------------------------------------------

    def _on_late(self, now_ms: int, peer: Peer, late: tuple[Tally, ...], actions: list[Action]) -> None:
        """Compare them with what is not kept yet, and have the host read what is."""
        if self._allowances.take(now_ms, peer):
            self._agreement.heard_late(now_ms, peer, late, actions)
            self._compare(now_ms, late, self._agreement.unkept(), actions)
            actions.extend(events.ReadVotes(tally) for tally in late)

    def _compare(self, now_ms: int, late: tuple[Tally, ...], held: Iterable[Tally], actions: list[Action]) -> None:
        self._report_equivocations(now_ms, self._late.compare(late, held, self.chain.ledger_id), actions)

    def _report_equivocations(self, now_ms: int, equivocations: Iterable[Equivocation], actions: list[Action]) -> None:
        """Issue evidence, unless as good waits already or the key is dead."""
        wallet = self._agreement.wallet
        for equivocation in equivocations:
            first, second, offender = *equivocation, equivocation.offender
            epoch = first.ballot.epoch if isinstance(first, Vote) else first.header.epoch
            is_known = self.box.evidence.accuses(offender, epoch) or offender in self.state.stakes.burned_keys
            if wallet is not None and not is_known:
                evidence = issue_evidence(wallet, self.chain.ledger_id, now_ms, first, second)
                self._on_entries(now_ms, None, [Entry(evidence)], actions)

    # ---- peers ------------------------------------------------------------------------------------------------

    def _on_connected(self, now_ms: int, peer: Peer, actions: list[Action]) -> None:
        self._dial(now_ms, actions)
        actions.append(Send(peer, self._status(self.box.ids(messages.MAX_IDS))))
        actions.extend(self._gossip.connected(peer))
        self._tell_checkpoints(now_ms, peer, actions)
        if self.box:
            self._has_news(now_ms, actions)
        self._agreement.connected(now_ms, peer, actions)
        self._search.connected(peer)
        self._ask_for_more(now_ms, actions)
        self._advance(now_ms, actions)

    def _dial(self, now_ms: int, actions: list[Action]) -> None:
        self._set_timer(Timer.DIAL, self.exchange.dial(now_ms, actions), actions)

    def _update_peers(self, now_ms: int, actions: list[Action]) -> None:
        """Whom an event cut off is dialled no more; whose tokens it moved may be a peer, or has to be dialled."""
        cut_off = [one for one in actions if type(one) is events.Disconnect and one.refused.rule is not Rule.N6]
        for one in cut_off:
            self.exchange.ban(now_ms, one.peer, one.refused, actions)
        if self.exchange.tip_advanced(self.state, actions) or cut_off:
            self._dial(now_ms, actions)

    def _status(self, waiting: tuple[bytes, ...] = ()) -> Status:
        return Status(self.chain.ledger_id, self.state.epoch.number, self.state.index, self.state.tip.hash, waiting)

    def _on_status(self, now_ms: int, peer: Peer, status: Status, actions: list[Action]) -> None:
        if status.ledger_id != self.chain.ledger_id:
            other = status.ledger_id.hex()[:16]
            return refuse(peer, Refused(Rule.N1, f"the peer is on ledger {other}…"), actions)
        if not self._statuses.take(now_ms, peer):
            refused = Refused(Rule.N3, f"more than {self.limits.statuses_per_second} statuses a second")
            return actions.append(events.ReportRefused(refused, peer))
        self.sync.heard_tip(peer, status.tip_index, status.epoch)
        elsewhere = [one for one in dict.fromkeys(status.waiting) if one not in self.box]
        on_chain = self.knowledge.on_chain(elsewhere)
        actions.extend(self._gossip.ask(peer, tuple(one for one in elsewhere if one not in on_chain), now_ms))
        if status.tip_index < self.state.index and self._allowances.take(now_ms, peer):
            actions.append(Send(peer, self._status()))
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
