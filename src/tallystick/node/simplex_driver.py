"""Drives `Simplex`: carries out what it decides, and feeds it what peers say of votes, proposals and recovery."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from tallystick.consensus import agreement
from tallystick.consensus.agreement import Equivocation, Finalized, Output, SendProposal
from tallystick.consensus.recovery import RECOVERING
from tallystick.consensus.signing_guard import Place
from tallystick.consensus.simplex import Simplex
from tallystick.ledger import messages
from tallystick.ledger.block import Block, verified
from tallystick.ledger.blockchain import Blockchain, CheckForger
from tallystick.ledger.certificate import AnyCertificate, certificates_hash
from tallystick.ledger.checkpoint import Checkpoint, Cosignature
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.finality import Finalization
from tallystick.ledger.header import SignedHeader
from tallystick.ledger.messages import Proposal, RecoveryRequest, RecoveryResponse, Said, Votes, votes_in_parts
from tallystick.ledger.state import State
from tallystick.ledger.vote import Ballot, Tally, Vote, tally_of
from tallystick.node import events
from tallystick.node.agreement import Agreement, AgreementStatus, Step, status_of
from tallystick.node.archive import Archive, kept_epoch
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.events import Action, Broadcast, Peer, ReportStuck, Send
from tallystick.node.finality_proofs import FinalityProofs, TrustedBlock
from tallystick.node.late_votes import LastFinalization
from tallystick.node.limits import Allowances, Limits
from tallystick.node.partial_proposal import Partial

_PATIENCE: Final = 4
"""Of delta, the part that gossip is given to bring the certificates of a proposal that overtook them."""

_PARTIALS_A_VIEW: Final = 2
_PARTIALS_A_PEER: Final = 4
"""Unfinished proposals of one sender."""
_STUCK_AFTER: Final = 8
"""After how many delta without a final block, while something waits, the ledger counts as stuck."""
_CORRECT_EVERY: Final = 4
"""How many delta pass before a peer that is behind is told so again."""
_RELAY_EVERY: Final = 2
"""How many delta pass before a recovery request of the same member is relayed again."""
_RECOVERED_VOTES: Final = 256
"""More votes than a member casts in the views that others remember."""
_RELAYS: Final = 4
"""So many requests of one member are relayed in that time."""
_ROUTES: Final = 256


@dataclass
class _Route:
    """The way back for the answers to another member's recovery request."""

    peer: Peer
    relayed_ms: int
    passed_on: set[tuple[bytes, bool]] = field(default_factory=set)
    """Members whose answers went that way, and whether they recover themselves."""


class SimplexDriver(Agreement):
    """Simplex, as a node drives it."""

    has_cosigners = True

    _chain: Blockchain
    _box: CertificateBox
    _finality: FinalityProofs
    _corrections: Allowances
    _epoch: Epoch

    def __init__(self, simplex: Simplex) -> None:
        self.simplex = simplex
        self.wallet, self._key = simplex.guard.wallet, simplex.guard.key
        self._partial: dict[tuple[bytes, Peer], Partial] = {}
        """By block and sender."""
        self._asked_ms: dict[bytes, int] = {}
        self._equivocations: list[Equivocation] = []
        self._routes: dict[tuple[bytes, bytes], _Route] = {}
        self._recovery_ms = 0
        """When the others are to be asked again, by a member that lost its guard."""
        self._last: LastFinalization | None = None
        self._place = (-1, -1)
        self._entered_ms = 0

    @property
    def check_forger(self) -> CheckForger:
        return self.simplex.check_forger

    def finality(self, chain: Blockchain, limits: Limits, trusted_block: TrustedBlock | None) -> FinalityProofs:
        self._finality = FinalityProofs(chain.state, limits.range_blocks, trusted_block)
        return self._finality

    def start(self, chain: Blockchain, box: CertificateBox, archive: Archive | None) -> None:
        self._chain, self._box = chain, box
        self._begin_epoch()
        if archive is None:
            self.simplex.start(chain, None)
            return
        self._last = LastFinalization.kept(archive, chain)
        tip = archive.finalization(chain.state.index)
        finalization = Finalization(tip, kept_epoch(tip.ballot.epoch, archive, chain)) if tip is not None else None
        votes, blocks = archive.votes(chain.state.epoch.number), [verified(one) for one in archive.proposals()]
        self._equivocations += self.simplex.start(chain, finalization, votes, blocks)

    def _begin_epoch(self) -> None:
        """A motion may have set another delta."""
        self._epoch = self._chain.state.epoch
        self._corrections = Allowances(1_000 / (_CORRECT_EVERY * self._delta_ms), 1)

    @property
    def _delta_ms(self) -> int:
        return self._chain.state.params.delta_ms

    # ---- what is worth a look ---------------------------------------------------------------------------------

    def is_wanted(self, message: Said) -> bool:
        """Asked before any signature is verified, and again when the message's turn comes."""
        views = self.simplex.views
        match message:
            case _ if self._finality.is_below_trusted_block:
                return False
            case Proposal(view, _, header, _, ids):
                is_new = views.wants(header) and views.proposals.whole(header.hash) is None
                is_asked = views.proposals.is_requested(header.hash) or (ids is None and view == views.view)
                return is_new or is_asked or views.is_rival(header)
            case messages.ProposalCertificates(block_hash, certificates):
                return bool(self._asked_for(block_hash, certificates))
            case RecoveryRequest(member):
                return member != self._key and self.simplex.epoch.stake(member) > 0
            case RecoveryResponse():
                return self._is_wanted_response(message)
        return True

    def _is_wanted_response(self, response: RecoveryResponse) -> bool:
        """Whether a member answers us, with proof, or another, whose request came by here; with the asker's votes."""
        epoch, recovery, asker = self.simplex.epoch, self.simplex.recovery, response.asker
        is_own = all([member for member, _ in one.signatures] == [asker] for one in response.votes)
        if not epoch.stake(response.member) or not is_own or len(response.votes) > _RECOVERED_VOTES:
            return False
        if asker != self._key:
            route = self._routes.get((asker, response.nonce))
            return route is not None and (response.member, response.view == RECOVERING) not in route.passed_on
        is_asked = self.simplex.is_recovering and response.nonce == recovery.nonce
        return is_asked and response.epoch == epoch.number and self._proves(response)

    def _proves(self, response: RecoveryResponse) -> bool:
        """Whether the certificate proves the view. The first needs none, nor does a member that recovers itself."""
        view, entered_by = response.view, response.entered_by
        if view in (RECOVERING, 1) or entered_by is None:
            return view in (RECOVERING, 1)
        return entered_by.ballot.view + 1 == view and self.simplex.epoch.certifies(entered_by)

    def wanted_votes(self, votes: Votes) -> Votes | None:
        """Certificates that say something new, and single votes of members for views at hand."""
        if self._finality.is_below_trusted_block:
            return None
        views, wanted = self.simplex.views, []
        tallies = [(tally, views.is_certificate(tally)) for tally in votes.tallies]
        view = max([views.view, *(one.ballot.view + 1 for one, ends in tallies if ends)])  # before single votes
        for tally, is_certificate in tallies:
            is_wanted = is_certificate or views.wants_vote(tally.ballot, view)
            counting = [one for one in tally.votes if is_wanted and views.voting_stake(tally.ballot, one.member)]
            if self._last is not None and not counting:
                counting = self._last.lacking(tally)
            if counting:
                wanted.append(tally if len(counting) == len(tally.signatures) else tally_of(counting))
        return Votes(tuple(wanted)) if wanted else None

    def unkept(self) -> Iterable[Tally]:
        return self.simplex.views.forgotten

    def knows_vote(self, vote: Vote) -> bool:
        return self.simplex.views.knows_vote(vote)

    # ---- what peers say ---------------------------------------------------------------------------------------

    def connected(self, now_ms: int, peer: Peer, actions: list[Action]) -> None:
        if isinstance(peer, bytes):
            self.simplex.views.absent.discard(peer)
        self._tell_votes(peer, actions)
        if self.simplex.is_recovering:
            actions.append(Send(peer, self._recovery_request()))

    def disconnected(self, peer: Peer) -> None:
        if isinstance(peer, bytes) and self.simplex.epoch.stake(peer):
            self.simplex.views.absent.add(peer)

    def heard(self, member: bytes) -> None:
        if self.simplex.epoch.stake(member):
            self.simplex.views.hear(member)

    def receive(self, now_ms: int, peer: Peer, said: Said, actions: list[Action]) -> None:
        match said:
            case _ if not self.is_wanted(said):
                pass  # things moved on while it was verified
            case Votes(tallies):
                self._on_votes(now_ms, peer, tallies, actions)
            case Proposal():
                self._on_proposal(now_ms, peer, said)
            case messages.ProposalCertificates(block_hash, certificates):
                for partial in self._asked_for(block_hash, certificates):
                    partial.certificates.update({one.id: one for one in certificates})
            case RecoveryRequest():
                self._on_recovery_request(now_ms, peer, said, actions)
            case RecoveryResponse():
                self._on_recovery_response(said, actions)

    def _on_votes(self, now_ms: int, peer: Peer, tallies: Iterable[Tally], actions: list[Action]) -> None:
        self.heard_late(now_ms, peer, tallies, actions)
        for tally in tallies:
            if self._last is not None:
                self._last.add(tally, actions)
            self._equivocations += self.simplex.add_tally(tally)

    def is_over(self, ballot: Ballot) -> bool:
        views = self.simplex.views
        return (ballot.epoch, ballot.view) < (self.simplex.epoch.number, views.oldest_wanted)

    def heard_late(self, now_ms: int, peer: Peer, tallies: Iterable[Tally], actions: list[Action]) -> None:
        """Now and then the peer is told the certificate that leads to our view."""
        place = (self.simplex.epoch.number, self.simplex.view)
        is_settled = self._place == place and now_ms >= self._entered_ms + self._delta_ms
        is_behind = is_settled and max(self._led_to(one) for one in tallies) < place
        if is_behind and self._corrections.take(now_ms, peer):
            self._tell_votes(peer, actions)

    def _tell_votes(self, peer: Peer, actions: list[Action]) -> None:
        actions.extend(Send(peer, one) for one in votes_in_parts(self.simplex.views.rebroadcast()))

    def _led_to(self, tally: Tally) -> tuple[int, int]:
        """Epoch and view of a peer that says these votes: theirs, or where they lead if they are a certificate."""
        ballot, number, entered_by = tally.ballot, self.simplex.epoch.number, self.simplex.views.entered_by
        if entered_by is not None and ballot == entered_by.ballot and ballot.epoch < number:
            return number, 1  # what ended the epoch before; sync helps who lacks that
        return ballot.epoch, ballot.view + self.simplex.epoch.certifies(tally)

    def compare(self, blocks: tuple[Block, ...], finalization: Tally | None) -> None:
        for block in blocks:
            self._note(self.simplex.add_header(block.signed_header))
        if finalization is not None:
            self._equivocations += self.simplex.add_tally(finalization)

    def take_equivocations(self) -> list[Equivocation]:
        found, self._equivocations = self._equivocations, []
        return found

    def _note(self, equivocation: Equivocation | None) -> None:
        if equivocation is not None:
            self._equivocations.append(equivocation)

    # ---- steps ------------------------------------------------------------------------------------------------

    def step(self, now_ms: int, is_behind: Callable[[], bool], actions: list[Action]) -> Step:
        if self._finality.is_below_trusted_block:
            return Step()
        self._ask_to_recover(now_ms, actions)
        for partial in list(self._partial.values()):
            self._complete(now_ms, partial, actions)
        is_stuck = False
        while outputs := self.simplex.step(now_ms, self._box):
            self._carry_out(now_ms, outputs, actions)
            is_stuck = is_stuck or any(isinstance(one, agreement.Rebroadcast) for one in outputs)
            if isinstance(outputs[-1], Finalized):
                return Step(outputs[-1], is_stuck=is_stuck)
        self._sync_guard(actions)
        place = (self.simplex.epoch.number, self.simplex.view)
        if place != self._place:
            self._place, self._entered_ms = place, now_ms
            self._forget_partial()
        wakes = [self.simplex.wake_ms(now_ms, self._box), *(one.ask_ms for one in self._partial.values())]
        if self.simplex.is_recovering:
            wakes.append(self._recovery_ms)
        return Step(None, min((one for one in wakes if one is not None), default=None), is_stuck)

    def _carry_out(self, now_ms: int, outputs: list[Output], actions: list[Action]) -> None:
        """First the guard, then the database (`PersistQuorum` comes first), then the peers."""
        self._sync_guard(actions)
        for output in outputs:
            match output:
                case SendProposal():
                    actions.append(Broadcast(_proposal_of(output)))
                case agreement.SendVote(vote):
                    actions.append(Broadcast(Votes((tally_of([vote]),))))
                case agreement.RequestBlock(block_hash):
                    self._ask_for(block_hash, now_ms, actions)
                case agreement.RequestViewCertificates(first, last):
                    actions.append(Broadcast(messages.ViewCertificateRequest(self.simplex.epoch.number, first, last)))
                case agreement.Rebroadcast():
                    self._explain(now_ms, actions)
                    actions.extend(Broadcast(one) for one in votes_in_parts(self.simplex.views.rebroadcast()))
                case agreement.RelayVotes(votes):
                    actions.extend(Broadcast(one) for one in votes_in_parts(votes))
                case agreement.IllegalProposal(forger, refused):
                    actions.append(events.ReportRefused(refused, forger))
                case agreement.PersistQuorum() | agreement.StateMismatch() | agreement.TwinFound():
                    actions.append(output)

    def _sync_guard(self, actions: list[Action]) -> None:
        if records := self.simplex.guard.take_records():
            actions.append(events.PersistSigned(records))

    def cosign(self, checkpoint: Checkpoint, place: Place, time_s: int, actions: list[Action]) -> Cosignature | None:
        if self.simplex.mismatch is not None or self._finality.is_below_trusted_block:
            return None
        signed = self.simplex.guard.cosign(checkpoint, place, time_s)
        self._sync_guard(actions)
        return signed

    def tip_advanced(self, finalization: Finalization | None) -> None:
        self.simplex.tip_advanced(finalization)
        if (tip := self._chain.state).epoch.number != self._epoch.number:
            self._last = LastFinalization.of(tip.index, finalization.tally if finalization else None, self._epoch)
            self._begin_epoch()
        self._forget_partial()
        self._asked_ms.clear()

    def _forget_partial(self) -> None:
        """Let go of unfinished proposals of views that are over, but for those that a quorum chose."""
        views = self.simplex.views
        for key, partial in list(self._partial.items()):
            header = partial.proposal.header
            is_open = views.wants(header) and header.view >= views.oldest_wanted
            if not is_open and not views.is_chosen(header.hash):
                del self._partial[key]

    def _explain(self, now_ms: int, actions: list[Action]) -> None:
        """Say who is missing, if something has waited for long and no block became final."""
        simplex, since_ms = self.simplex, self.simplex.timer.unfinal_since_ms
        if since_ms is not None and now_ms - since_ms >= _STUCK_AFTER * self._delta_ms:
            missing, total = tuple(simplex.views.missing()), simplex.epoch.total
            heard = total - sum(simplex.epoch.stake(member) for member in missing)
            actions.append(ReportStuck(simplex.epoch.number, simplex.view, since_ms, heard, total, missing))

    def status(self) -> AgreementStatus:
        simplex = self.simplex
        status = status_of("simplex", simplex.view, simplex.guard, self._chain.state)
        unanswered = tuple(simplex.recovery.unanswered(simplex.epoch)) if simplex.is_recovering else ()
        mismatch = str(simplex.mismatch) if simplex.mismatch is not None else None
        return replace(status, unanswered=unanswered, mismatch=mismatch)

    # ---- recovery ---------------------------------------------------------------------------------------------

    def _ask_to_recover(self, now_ms: int, actions: list[Action]) -> None:
        recovery = self.simplex.recovery
        if self.simplex.is_recovering and now_ms >= self._recovery_ms:
            self._recovery_ms = now_ms + recovery.asked() * self._delta_ms
            actions.append(Broadcast(self._recovery_request()))

    def _recovery_request(self) -> RecoveryRequest:
        return self.simplex.guard.sign_recovery(RecoveryRequest(self._key, self.simplex.recovery.nonce))

    def _on_recovery_request(self, now_ms: int, peer: Peer, request: RecoveryRequest, actions: list[Action]) -> None:
        """Answer, and relay the request: the member may not be connected with all others. Within a budget.

        Others may play a member's old requests again, so a few of its are relayed at a time, and none goes unanswered.
        """
        asker, since_ms = request.member, now_ms - _RELAY_EVERY * self._delta_ms
        route = self._routes.get((asker, request.nonce))
        recent = sum(member == asker and one.relayed_ms > since_ms for (member, _), one in self._routes.items())
        if (route is None or route.relayed_ms <= since_ms) and recent < _RELAYS:
            self._routes.pop((asker, request.nonce), None)
            self._routes[asker, request.nonce] = _Route(peer, now_ms)
            if len(self._routes) > _ROUTES:
                del self._routes[next(iter(self._routes))]
            actions.append(Broadcast(request, but=peer))
        elif route is not None and route.peer != peer:
            return  # it came another way before
        proven, guard = self.simplex.proven_view(), self.simplex.guard
        if self.simplex.is_recovering:
            proven = RECOVERING, None
        if proven is None or not self.simplex.has_stake:
            return
        view, entered_by = proven
        votes = tuple(self.simplex.views.votes_of(asker))[-_RECOVERED_VOTES:]
        epoch = self.simplex.epoch.number
        response = RecoveryResponse(guard.key, asker, request.nonce, epoch, view, entered_by, votes)
        actions.append(Send(peer, guard.sign_recovery(response)))

    def _on_recovery_response(self, response: RecoveryResponse, actions: list[Action]) -> None:
        """An answer to us, or to a member that asked by way of us."""
        if response.asker != self._key:
            route = self._routes[response.asker, response.nonce]
            route.passed_on.add((response.member, response.view == RECOVERING))
            actions.append(Send(route.peer, response))
            return
        self.simplex.recovery.answered(response.member, response.view)
        for tally in response.votes if response.entered_by is None else (*response.votes, response.entered_by):
            self._equivocations += self.simplex.add_tally(tally)

    # ---- proposals --------------------------------------------------------------------------------------------

    def _ask_for(self, block_hash: bytes, now_ms: int, actions: list[Action]) -> None:
        is_coming = any(one[0] == block_hash and partial.ask_ms is not None for one, partial in self._partial.items())
        if not is_coming:
            self._ask_all(block_hash, now_ms, actions)

    def _ask_all(self, block_hash: bytes, now_ms: int, actions: list[Action]) -> None:
        if now_ms >= self._asked_ms.get(block_hash, 0) + self._delta_ms:
            self._asked_ms[block_hash] = now_ms
            actions.append(Broadcast(messages.ProposalRequest(block_hash, ())))

    def _on_proposal(self, now_ms: int, peer: Peer, proposal: Proposal) -> None:
        """A header and its certificates' ids: `step` takes what the box has, and asks for the rest."""
        header, views = proposal.header, self.simplex.views
        parent_view = proposal.parent_view if proposal.view == header.view else None
        self._note(self.simplex.add_header(SignedHeader(header, proposal.signature), parent_view))
        if proposal.parent_view is not None:
            views.heard_parent_view(proposal.view, header.hash, proposal.parent_view)
        if proposal.ids is None or views.proposals.whole(header.hash) is not None:
            return
        known = self._partial.get((header.hash, peer))
        of_peer = [one.proposal.header.view for key, one in self._partial.items() if key[1] == peer]
        has_room = len(of_peer) < _PARTIALS_A_PEER and of_peer.count(header.view) < _PARTIALS_A_VIEW
        has_room = has_room and views.wants(header) and header.view >= views.oldest_wanted
        is_new = known is None and (has_room or views.proposals.is_requested(header.hash))
        if is_new or (known is not None and known.ask_ms is None):
            ask_ms = now_ms + self._delta_ms // _PATIENCE
            self._partial[header.hash, peer] = Partial(peer, proposal, ask_ms, list(proposal.ids))

    def _asked_for(self, block_hash: bytes, certificates: tuple[AnyCertificate, ...]) -> list[Partial]:
        """The unfinished proposals of this block for which all these certificates were asked."""
        of_block = (partial for key, partial in self._partial.items() if key[0] == block_hash)
        return [one for one in of_block if one.asked.issuperset(certificate.id for certificate in certificates)]

    def _complete(self, now_ms: int, partial: Partial, actions: list[Action]) -> None:
        """Hand a proposal to agreement if it is whole, or ask for the rest of it if it is time to."""
        proposal, known, missing = partial.proposal, partial.certificates, partial.missing
        ids = proposal.ids or ()
        while missing:
            if missing[-1] not in known:
                entry = self._box.get(missing[-1]) if partial.uses_box else None
                if entry is None:
                    break
                known[missing[-1]] = entry.certificate
            missing.pop()
        if not missing:
            certificates = tuple(known[one] for one in ids)
            if certificates_hash(certificates) == proposal.header.certificates_hash:
                self._partial = {key: one for key, one in self._partial.items() if key[0] != proposal.header.hash}
                self._note(self.simplex.add_block(verified(Block(proposal.header, proposal.signature, certificates))))
                return
            # The same certificates, signed another time: only the proposer's own will do.
            if partial.uses_box:
                partial.ask_ms, partial.asked, partial.is_asked = now_ms, set(), False
            partial.uses_box, partial.missing, partial.certificates = False, list(ids), {}
        if partial.ask_ms is not None and partial.ask_ms <= now_ms:
            self._ask_for_rest(now_ms, partial, actions)

    def _ask_for_rest(self, now_ms: int, partial: Partial, actions: list[Action]) -> None:
        """Ask the sender of a proposal for what is missing, one sender at a time; in vain, all others for theirs."""
        block_hash = partial.proposal.header.hash
        of_block = (one for key, one in self._partial.items() if key[0] == block_hash and one is not partial)
        if awaited := [one.ask_ms for one in of_block if one.is_asked and one.ask_ms is not None]:
            partial.ask_ms = max(*awaited, now_ms + 1)
        elif partial.is_asked:
            partial.ask_ms = None
            self._ask_all(block_hash, now_ms, actions)
        else:
            known = self._box if partial.uses_box else ()
            lacks = [one for one in partial.missing if one not in partial.certificates and one not in known]
            partial.asked, partial.is_asked, partial.ask_ms = set(lacks), True, now_ms + self._delta_ms
            for start in range(0, len(lacks), messages.MAX_IDS):
                some = tuple(lacks[start : start + messages.MAX_IDS])
                actions.append(Send(partial.sender, messages.ProposalRequest(block_hash, some)))

    def proposed_on(self, block_hash: bytes) -> tuple[State, Iterator[AnyCertificate]] | None:
        partial = next((one for (known, _), one in self._partial.items() if known == block_hash), None)
        base = self.simplex.proposals.state_after(partial.proposal.header.parent_hash) if partial else None
        if partial is None or base is None:
            return None
        ids = partial.proposal.ids or ()
        waiting = (entry.certificate for one in ids if (entry := self._box.get(one)) is not None)
        return base, (one for some in (partial.certificates.values(), waiting) for one in some)

    def answer(self, peer: Peer, request: messages.ProposalRequest, actions: list[Action]) -> None:
        """A proposal that the gate has passed, or the certificates of it that the peer lacks."""
        block = self.simplex.proposals.whole(request.block_hash)  # perhaps on a tip that has moved since
        if block is None or self.simplex.proposals.validate(block.hash) is None:
            return
        if not request.ids:
            parent_view = self.simplex.views.at(block.header.view).parent_view
            actions.append(Send(peer, _proposal_of(SendProposal(block.header.view, parent_view, block, is_new=True))))
            return
        wanted = set(request.ids)
        certificates = tuple(one for one in block.certificates if one.id in wanted)
        actions.append(Send(peer, messages.ProposalCertificates(request.block_hash, certificates)))


def _proposal_of(sent: SendProposal) -> Proposal:
    ids = tuple(one.id for one in sent.block.certificates) if sent.is_new else None
    return Proposal(sent.view, sent.parent_view, sent.block.header, sent.block.signature, ids)
