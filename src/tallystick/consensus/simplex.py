"""Simplex: final blocks among members who do not trust each other, with votes weighted by stake.

Chan and Pass, "Simplex Consensus" (eprint 2023/463); docs/protocol.md, section 4, has every rule. Sans-I/O: knowledge
goes in by `add_…`, and `step` says what follows from it. In view v:

- Upon entering v as its leader: propose a block on the newest notarized one, or propose that one again.   (1)
- Upon a legal proposal of the leader whose parent is notarized, every view since nullified: notarize it.  (2)
- Upon time out, an illegal proposal, or a leader that has been silent: nullify v.                         (3)
- Upon a notarization, nullification or finalization of v or a later view w: enter w + 1.                  (4)
- Upon a notarization of a view that it did not nullify: finalize that view.                               (5)
- Upon a finalization: the block and all before it are final.                                              (6)
- While v lasts: relay the votes heard, every delta; rebroadcast when nothing moves.                       (7)

Differences from the paper, and why: votes weigh stake, as members are not equal. A leader with nothing to add proposes
the notarized block again instead of an empty one, so that a quiet ledger writes nothing. Votes are relayed only while a
view lasts, as most views end within delta. Views start when there is something to do, so a quiet ledger is silent.
Stakes change between epochs, and each epoch begins on a final block. Timeouts double while nothing becomes final, so a
delta that is too small makes a ledger slow, not still. Leaders known to be silent or to have proposed what is illegal
are not waited for. What a member signed stands in its signing guard, so that no crash makes it contradict itself.
"""

from collections.abc import Container, Iterable
from typing import Final

from tallystick.consensus import agreement
from tallystick.consensus.agreement import Equivocation, Output, SendProposal, Waiting
from tallystick.consensus.proof_of_stake import check_drawn, draw
from tallystick.consensus.proposals import Pending, Proposals
from tallystick.consensus.recovery import Recovery
from tallystick.consensus.signing_guard import Confirmed, GuardStatus, SigningGuard
from tallystick.consensus.view_timer import ViewTimer
from tallystick.consensus.views import SILENT_VIEWS, Draw, Views
from tallystick.ledger.block import Block, VerifiedBlock, verified
from tallystick.ledger.blockchain import NOTHING, Above, Blockchain, check_clock
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.finality import Finalization
from tallystick.ledger.header import Header, SignedHeader
from tallystick.ledger.state import State
from tallystick.ledger.transition import make_header
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Tally

_MAX_BEHIND_MS: Final = 10_000
"""A first proposal may be dated so far behind a member's clock, or as far as its view may last by now."""


class Simplex:
    """One member's part in agreement, or an observer's (no guard, or no stake)."""

    chain: Blockchain
    views: Views
    timer: ViewTimer

    check_forger = staticmethod(check_drawn)

    def __init__(self, guard: SigningGuard | None = None, leader: Draw = draw) -> None:
        self.guard = guard or SigningGuard(None, ZERO_DIGEST)
        self.recovery = Recovery(self.guard)
        self.mismatch: Refused | None = None
        """Why this node's state is not the ledger's; then it does nothing any more."""
        self._leader = leader
        self._requested: tuple[int, int] | None = None
        """The views whose certificates were asked for since the last repetition."""

    def start(
        self,
        chain: Blockchain,
        finalization: Finalization | None,
        tallies: Iterable[Tally] = (),
        proposals: Iterable[VerifiedBlock] = (),
    ) -> list[Equivocation]:
        """Start from what was persisted: votes of the epoch, blocks above the tip. Returns what the votes prove."""
        self.chain = chain
        self.views = Views(chain, self._leader)
        kept = {block.hash: block for block in proposals}
        self.tip_advanced(finalization, kept)
        found = [one for block in kept.values() if (one := self.add_block(block))]
        for tally in tallies:
            found += self.add_tally(tally)
        return found

    # ---- what others may ask ----------------------------------------------------------------------------------

    @property
    def epoch(self) -> Epoch:
        """The epoch of the next block: whose votes count."""
        return self.views.epoch

    @property
    def view(self) -> int:
        """The view that this member is in."""
        return self.views.view

    @property
    def proposals(self) -> Proposals:
        """The blocks above the final tip."""
        return self.views.proposals

    @property
    def has_stake(self) -> bool:
        """Whether this member's votes count in this epoch."""
        return self.epoch.stake(self.guard.key) > 0

    @property
    def is_recovering(self) -> bool:
        """Whether this member lost its guard, and does not know yet from which view on it may vote."""
        return self.guard.status is GuardStatus.LOST and self.has_stake

    def proven_view(self) -> tuple[int, Tally | None] | None:
        """The view that this member is in and the certificate that proves it; `None`: it cannot prove it.

        A member that recovers proves nothing, nor does one whose guard shows that it was in a later view than it can
        prove: who lost its guard would take a floor from it that is too low.
        """
        if self.is_recovering or self.guard.status is not GuardStatus.READY:
            return None
        place, entered_by = (self.epoch.number, self.view), self.views.entered_by
        if (entered_by is None and self.view > 1) or self.guard.latest > place:
            return None
        return self.view, entered_by.tally if entered_by is not None else None

    # ---- knowledge goes in ------------------------------------------------------------------------------------

    def add_tally(self, tally: Tally) -> list[Equivocation]:
        """Count votes whose signatures are good. Returns what they and earlier ones prove of their members."""
        is_own = any(member == self.guard.key for member, _ in tally.signatures)
        return [] if is_own and self._is_twin(tally.ballot) else self.views.add_tally(tally)

    def add_header(self, signed: SignedHeader, parent_view: int | None = None) -> Equivocation | None:
        """Note what a view's leader signed; the signature is good. Returns what it and an earlier one prove."""
        is_own = signed.header.forger == self.guard.key
        return None if is_own and self._is_twin(signed.header) else self.views.add_header(signed, parent_view)

    def add_block(self, block: VerifiedBlock) -> Equivocation | None:
        """Keep a whole block, if it may be a proposal of this epoch. Returns what its header and another prove."""
        equivocation = self.add_header(block.signed_header)
        self.views.add_block(block)
        return equivocation

    def tip_advanced(self, finalization: Finalization | None, kept: Container[bytes] | None = None) -> None:
        """The tip moved, by this finalization, and is stored. At a start, `kept` holds the blocks above it."""
        has_begun = self.views.tip_advanced(finalization) or kept is not None
        self._requested = None
        guard, tip = self.guard, self.chain.state.tip
        if finalization is not None:
            guard.raise_floor(finalization.ballot.epoch, finalization.ballot.view)
        if has_begun:
            self._begin_epoch(kept or ())
        if guard.recovered is not None and guard.recovered[0] < self.epoch.number:
            if (tip.epoch, tip.view) > guard.recovered and tip.epoch == guard.recovered[0]:
                guard.note(Confirmed(guard.ledger_id))
            else:
                guard.recover_again()

    def _begin_epoch(self, kept: Container[bytes]) -> None:
        """What the guard knows of the epoch, from before a start, counts as if it were heard now."""
        self.timer = ViewTimer(self.chain.state.params.delta_ms)
        self.recovery.begin_epoch()
        is_needed = not self.epoch.is_quorum(self.epoch.total - self.epoch.stake(self.guard.key))
        self.guard.needed_in = self.epoch.number if is_needed else None
        for vote in self.guard.votes(self.epoch.number):
            self.views.enter_by_guard(vote.ballot.view if vote.ballot.kind != FINALIZE else 0)
            if not self._is_lost(vote.ballot, kept):
                self.views.add_vote(vote)

    def _is_lost(self, ballot: Ballot, kept: Container[bytes]) -> bool:
        """Whether a lone member's crash came between its vote and the block: nobody has that, or heard of the vote."""
        is_alone = self.epoch.is_quorum(self.epoch.stake(self.guard.key))
        is_kept = ballot.block_hash in kept or ballot.block_hash == self.chain.state.tip.hash
        return is_alone and ballot.kind == NOTARIZE and not is_kept and not self._has_signed(ballot.view, FINALIZE)

    def _is_twin(self, signed: Ballot | Header) -> bool:
        """Whether another machine signed this with our key; then it is said, and not counted."""
        is_twin = self.guard.saw(signed)
        if is_twin:
            self.views.outputs.append(agreement.TwinFound(signed.epoch, signed.view))
        return is_twin

    # ---- what follows from it: docs/protocol.md, section 4, "A view" -------------------------------------------

    def step(self, now_ms: int, waiting: Waiting) -> list[Output]:
        """What is to be done now. Call again, after carrying it out, until nothing is."""
        if self.mismatch is None and not self._find_mismatch() and not self._finalize():
            if self.is_recovering and self.recovery.finish(self.epoch, self.view):
                for vote in self.guard.votes(self.epoch.number):  # what others showed counts, and is sent again
                    self.views.add_vote(vote)
                    self.views.outputs.append(agreement.SendVote(vote))
            self._vote_to_finalize()
            self._propose(now_ms, waiting)
            self._notarize(now_ms)
            self._nullify(now_ms, waiting)
            self._repeat(now_ms, waiting)
            self._persist()
        outputs = self.views.outputs.copy()
        self.views.outputs.clear()
        return outputs

    def _propose(self, now_ms: int, waiting: Waiting) -> None:
        """(1) The view's leader forges at once when nothing is in flight; else it waits for delta, then goes on."""
        if self._has_voted(self.view) or self.views.leader(self.view) != self.guard.key:
            return
        parent_view, parent_hash = next(self.views.parents(self.view), (0, None))
        if parent_hash is None:
            self._request(self.views.lacking(self.view))
            return
        parent = None
        if parent_hash != self.chain.state.tip.hash:
            parent = self.proposals.validate(parent_hash)
            if parent is None or not _has_come(self._timed(now_ms, waiting).settled_ms(), now_ms):
                return
        if (block := self._forge(now_ms, waiting, parent)) is not None:
            self.views.keep(block)
            if self.proposals.validate(block.hash) is None:
                return  # it passes the gate like any other
            proposal = SendProposal(self.view, parent_view, block, is_new=True)
        elif parent is not None:
            proposal = SendProposal(self.view, parent_view, parent.block, is_new=False)
        else:
            return
        self._vote(NOTARIZE, self.view, proposal.block, proposal)

    def _forge(self, now_ms: int, waiting: Waiting, parent: Pending | None) -> VerifiedBlock | None:
        """A block on the parent (`None`: on the final tip), or `None`: there is nothing to forge.

        What waited when the view was entered has been passed on by now; others may lack what came since.
        """
        base: State = parent.state if parent else self.chain.state
        above: Above = parent or NOTHING
        if base.epoch.number != self.epoch.number or not self.guard.may_sign_header(self.epoch.number, self.view):
            return None
        entered_ms = self._timed(now_ms, waiting).since_ms or now_ms
        chosen = waiting.choose(now_ms, base, above, entered_ms) or waiting.choose(now_ms, base, above)
        if not chosen:
            return None
        header = make_header(base, self.view, now_ms, self.guard.key, chosen, self.chain.finder(above))
        signature = self.guard.sign_header(header)
        return verified(Block(header, signature, tuple(chosen))) if signature is not None else None

    def _notarize(self, now_ms: int) -> None:
        """(2) Notarize what was proposed, if it is known whole, legal, in time, and follows what was notarized."""
        view, state = self.view, self.views.at(self.view)
        if state.proposed is None or self._has_voted(view):
            return
        block = self.proposals.whole(state.proposed)
        if block is None:
            self.proposals.request(state.proposed)
            return
        extended = block.header.parent_hash if block.header.view == view else block.hash
        if block.header.view > view or not self.views.may_follow(extended, view):
            self._request(self.views.lacking(view, state.parent_view))
            return
        if self.proposals.validate(block.hash) is None:
            return
        try:
            check_clock(block.header, self.chain.state.params, now_ms)
        except Refused:
            return  # not yet
        if block.header.view < view or not self._is_backdated(block.header, now_ms):
            self._vote(NOTARIZE, view, block)

    def _is_backdated(self, header: Header, now_ms: int) -> bool:
        """Whether a first proposal is dated before any time in which it can have been under way."""
        longest_ms = self.timer.longest_ms(self.view, self.views.final_view)
        return header.timestamp_ms < now_ms - max(_MAX_BEHIND_MS, longest_ms)

    def _nullify(self, now_ms: int, waiting: Waiting) -> None:
        """(3) Time is up, the proposal is illegal, or the leader is silent: nullify the view."""
        timer, state = self._timed(now_ms, waiting), self.views.at(self.view)
        is_illegal = state.proposed is not None and self.proposals.refusal(state.proposed) is not None
        leader = self.views.leader(self.view)
        if leader is not None and timer.since_ms is not None and _has_come(self._silence_ms(), now_ms):
            self.views.absent.add(leader)  # until it is heard: else each of its turns would take that time again
        is_silent = timer.since_ms is not None and self.views.is_leader_absent()
        is_late = _has_come(timer.deadline_ms(state.proposed is not None), now_ms)
        if (is_late or is_illegal or is_silent) and self._may_nullify():
            self._vote(NULLIFY, self.view)

    def _silence_ms(self) -> int | None:
        """When a leader that was not heard in the last views is found silent: the oldest was entered long ago then.

        Where views end fast, three of them are over before the votes of a member that is busy, and not dead, come.
        """
        return self.timer.silence_ms(self.view - SILENT_VIEWS) if self.views.is_leader_unheard() else None

    def _persist(self) -> None:
        """(4) Certificates that were gathered, and blocks, are durable before the first vote that rests on them."""
        tallies, blocks = self.views.take_unpersisted(), self.proposals.take_unpersisted()
        if tallies or blocks:
            self.views.outputs.insert(0, agreement.PersistQuorum(tuple(tallies), tuple(blocks)))

    def _vote_to_finalize(self) -> None:
        """(5) Finalize what was notarized in a view that this member did not nullify."""
        for view, state in self.views.open():
            if state.notarized is None or self._has_signed(view, NULLIFY) or self._has_signed(view, FINALIZE):
                continue
            if (pending := self.proposals.validate(state.notarized)) is not None:
                self._vote(FINALIZE, view, pending.block)

    def _finalize(self) -> bool:
        """(6) A finalization makes its block and all before it final."""
        for _, state in self.views.open()[::-1]:
            finalization = state.finalization
            last = self.proposals.validate(finalization.ballot.block_hash) if finalization else None
            if last is not None and finalization is not None:
                path = last.path()
                blocks, states = tuple(one.block for one in path), tuple(one.state for one in path)
                if last.state.epoch.number != self.epoch.number:  # proofs take the last block of an epoch
                    finalization = self.views.gathered(finalization)
                self.views.outputs.append(agreement.Finalized(blocks, states, finalization))
                return True
        return False

    def _repeat(self, now_ms: int, waiting: Waiting) -> None:
        """(7) While the view lasts, relay what was heard; when nothing moves, tell the others again."""
        timer = self._timed(now_ms, waiting)
        if _has_come(timer.repeat_ms(), now_ms):
            timer.repeated(now_ms)
            self._requested = None
            self.views.ask_again()
            self.views.take_news()
            self.views.outputs.append(agreement.Rebroadcast())
        elif self.views.news and _has_come(timer.relay_ms(), now_ms):
            timer.relayed(now_ms)
            if news := self.views.take_news():
                self.views.outputs.append(agreement.RelayVotes(tuple(news)))

    def _find_mismatch(self) -> bool:
        """A quorum chose what the gate refuses here: nobody is blamed, this node has drifted."""
        for chosen in [one for _, state in self.views.open() for one in state.chosen]:
            if self.proposals.whole(chosen) is not None:
                self.proposals.validate(chosen)
            self.mismatch = self.proposals.refusal(chosen)
            if self.mismatch is not None:
                self.views.outputs.append(agreement.StateMismatch(self.mismatch))
                return True
        return False

    # ---- time -------------------------------------------------------------------------------------------------

    def wake_ms(self, now_ms: int, waiting: Waiting) -> int | None:
        """When `step` may have something to do though nothing new came in; `None`: nothing, all is silent."""
        if self.mismatch is not None:
            return None
        timer, state = self._timed(now_ms, waiting), self.views.at(self.view)
        times = [timer.settled_ms(), timer.deadline_ms(state.proposed is not None), timer.repeat_ms()]
        times += [timer.relay_ms() if self.views.news else None, self._silence_ms()]
        block = self.proposals.whole(state.proposed) if state.proposed is not None else None
        ahead_ms = self.chain.state.params.block_ahead_ms
        if block is not None and ahead_ms is not None:
            times.append(block.header.timestamp_ms - ahead_ms)
        return min((one for one in times if one is not None and one > now_ms), default=None)

    def _timed(self, now_ms: int, waiting: Waiting) -> ViewTimer:
        """The times of the view we are in. A proposal that only this member was shown keeps it busy for one view."""
        views = self.views
        is_proposed = views.at(self.view).proposed is not None
        has_work = len(waiting) > 0 or views.has_work() or (is_proposed and self._may_nullify())
        self.timer.look(now_ms, self.epoch.number, views.view, views.final_view, has_work)
        return self.timer

    # ---- votes ------------------------------------------------------------------------------------------------

    def _may_nullify(self) -> bool:
        """Whether this member can give up the view that it is in, and has not yet."""
        ballot, has_ended = self.views.ballot(NULLIFY, self.view), self.views.at(self.view).decided
        is_signed = self._has_signed(self.view, NULLIFY)
        return self.has_stake and not is_signed and self.guard.may_sign(ballot, has_certificate=bool(has_ended))

    def _has_signed(self, view: int, kind: int) -> bool:
        return self.guard.has_signed(self.epoch.number, view, kind)

    def _has_voted(self, view: int) -> bool:
        """Whether this member notarized a block of the view or nullified it."""
        return self._has_signed(view, NOTARIZE) or self._has_signed(view, NULLIFY)

    def _vote(self, kind: int, view: int, block: VerifiedBlock | None = None, *proposal: SendProposal) -> None:
        """Sign and count a vote, if the guard allows it; a proposal goes out before it."""
        ballot = self.views.ballot(kind, view, block.hash if block else None)
        has_certificate = bool(self.views.at(view).decided)
        vote = self.guard.sign(ballot, has_certificate=has_certificate) if self.has_stake else None
        if vote is not None:
            if block is not None:
                self.proposals.voted_for(block)
            self.views.outputs += [*proposal, agreement.SendVote(vote)]
            self.views.add_vote(vote)

    def _request(self, lacking: tuple[int, int] | None) -> None:
        if lacking is not None and lacking != self._requested:
            self._requested = lacking
            self.views.outputs.append(agreement.RequestViewCertificates(*lacking))


def _has_come(time_ms: int | None, now_ms: int) -> bool:
    return time_ms is not None and time_ms <= now_ms
