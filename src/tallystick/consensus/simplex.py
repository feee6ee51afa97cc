"""Simplex: final blocks among members who do not trust each other, with votes weighted by stake.

Chan and Pass, "Simplex Consensus" (eprint 2023/463); docs/protocol.md states this form of it, and every difference.
Sans-I/O: knowledge goes in by `add_…`, and `step` says what follows from it.

In each view one member is drawn to propose. Members notarize what it proposes, or nullify the view when time is up;
over 2/3 of the stake of either kind moves everybody to the next view. Who saw a view notarized and did not nullify it
votes to finalize; over 2/3 of those make the block, and all before it, final.
"""

from collections.abc import Iterable

from tallystick.consensus.agreement import Cast, Caught, Drifted, Finalized, Keep, Output, Repeat, Share, Waiting
from tallystick.consensus.pace import Pace
from tallystick.consensus.proof_of_stake import check_drawn
from tallystick.consensus.record import Record
from tallystick.consensus.rounds import Pending, Rounds
from tallystick.ledger.block import Block, make_header, sign_block
from tallystick.ledger.blockchain import Blockchain, holds_nothing
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.header import Header, SignedHeader
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Tally, Vote
from tallystick.ledger.wallet import Wallet


class Simplex:
    """One member's part in agreement, or an observer's (no wallet, or no stake)."""

    _chain: Blockchain
    _rounds: Rounds
    _pace: Pace

    check_forger = staticmethod(check_drawn)

    def __init__(self, wallet: Wallet | None = None) -> None:
        self._wallet = wallet
        self._record = Record(wallet)

    def start(
        self, chain: Blockchain, votes: Iterable[Vote], proposals: Iterable[Block], has_lost_votes: bool = False
    ) -> None:
        """Start, or start again from what was persisted: own votes, the quorums and the blocks that they rest on.

        `has_lost_votes`: some of them were lost since, so that the record is no better than an old backup.
        """
        votes = list(votes)
        self._chain, self._rounds, self._pace = chain, Rounds(chain), Pace(chain.genesis.params.delta_ms)
        self._record.restore(votes, is_stale=has_lost_votes)
        self._rounds.view = max(self._rounds.view, self._record.last_view(self.epoch.number))
        for block in proposals:
            self.add_block(block)
        for vote in votes:
            self.add_vote(vote)

    # ---- what others may ask ----------------------------------------------------------------------------------

    @property
    def epoch(self) -> Epoch:
        """The epoch of the next block: whose votes count."""
        return self._rounds.epoch

    @property
    def view(self) -> int:
        """The view that this member is in."""
        return self._rounds.view

    @property
    def wallet(self) -> Wallet | None:
        """The key that votes, if there is one."""
        return self._wallet

    @property
    def is_ready(self) -> bool:
        """Whether enough members have told where they stand, since the start, for this one to vote."""
        return self._record.is_ready

    def leader(self, view: int) -> bytes | None:
        """The member drawn to propose in a view of this epoch."""
        return self._rounds.at(view).leader

    def wants(self, header: Header) -> bool:
        """Whether a block with this header may be a proposal that is worth fetching."""
        return self._rounds.wants(header)

    def proposal(self, block_hash: bytes) -> Block | None:
        """A block that is not final yet, if it is known whole."""
        return self._rounds.proposal(block_hash)

    def standing(self) -> list[Tally]:
        """What others may lack: all votes known of each view from the final one on, the newest first."""
        return self._rounds.standing()

    def knows_vote(self, vote: Vote) -> bool:
        """Whether this very vote, signature included, was counted."""
        return self._rounds.knows_vote(vote)

    def last_vote_of(self, member: bytes) -> Vote | None:
        """The latest vote seen from a member, to remind it if it was restored from an old backup."""
        return self._rounds.last_vote_of(member)

    @property
    def is_silent(self) -> bool:
        """Whether this member is ready to vote, but not in this view: it may have, and does not remember."""
        return self.is_ready and self._has_stake and not self._may_vote(self.view)

    @property
    def wants_standings(self) -> bool:
        """Whether this member has stake, and too few told it where they stand for it to vote."""
        return self._has_stake and not self._record.has_heard_enough(self.epoch)

    def missing(self) -> list[bytes]:
        """Members not heard from in the current view, when it does not advance."""
        return self._rounds.missing()

    def stuck_since_ms(self, now_ms: int) -> int:
        """Since when the current view has had something to do and has not ended."""
        return now_ms if self._pace.since_ms is None else self._pace.since_ms

    # ---- knowledge goes in ------------------------------------------------------------------------------------

    def add_vote(self, vote: Vote) -> Caught | None:
        """Count a vote whose signature is good. Returns evidence if it contradicts an earlier one of its member."""
        self._record.recall(self.epoch, vote)
        return self._rounds.add_vote(vote)

    def add_header(self, signed: SignedHeader) -> Caught | None:
        """Note what a view's forger signed; the signature is good. Returns evidence if it signed another before."""
        return self._rounds.add_header(signed)

    def add_block(self, block: Block) -> Caught | None:
        """Keep a whole block whose signatures are good, if it may be a proposal of this epoch. Returns evidence."""
        return self._rounds.add_block(block)

    def heard_standing(self, member: bytes, view: int, yours: Vote | None) -> None:
        """A member of our epoch answered, since our start, with its view and the last vote it saw from us."""
        self._record.heard_standing(self.epoch, member, view, yours)

    def moved(self) -> None:
        """The chain's tip moved, perhaps into another epoch."""
        self._rounds.moved()
        self._record.forget_before(self.epoch.number - 1)

    # ---- what follows from it: docs/protocol.md, section 4, "A view" -----------------------------------------

    def step(self, now_ms: int, waiting: Waiting) -> list[Output]:
        """What is to be done now. Call again, after carrying it out, until nothing is."""
        outputs: list[Output] = []
        if self._finalize(outputs):
            return outputs
        self._vote_to_finalize(outputs)
        self._end_views(outputs)
        self._propose(now_ms, waiting, outputs)
        self._notarize(now_ms, outputs)
        self._nullify(now_ms, waiting, outputs)
        self._repeat(now_ms, outputs)
        self._rounds.ask_for_rivals(outputs)
        return outputs

    def _propose(self, now_ms: int, waiting: Waiting, outputs: list[Output]) -> None:
        """1. The view's forger proposes on the newest notarized block, or proposes that block again."""
        if self._wallet is None or self.leader(self.view) != self._wallet.public_key:
            return
        if self._has_cast(self.view, NOTARIZE) or self._has_cast(self.view, NULLIFY) or not self._may_vote(self.view):
            return
        parent_hash = self._rounds.parent_for(self.view)
        if parent_hash is None:
            return
        parent = self._rounds.judge(parent_hash, outputs) if parent_hash != self._chain.state.tip.hash else None
        if parent is None and parent_hash != self._chain.state.tip.hash:
            return
        block = self._make_block(now_ms, waiting, parent)
        if block is not None:
            self._rounds.keep(block)
            self._cast(NOTARIZE, self.view, block.hash, outputs, block)
        elif parent is not None and _has_come(self._paced(now_ms, waiting).settled_ms(), now_ms):
            self._cast(NOTARIZE, self.view, parent.block.hash, outputs)

    def _make_block(self, now_ms: int, waiting: Waiting, parent: Pending | None) -> Block | None:
        """A block on the parent (`None`: on the final tip), or `None`: there is nothing to forge, or it is not time."""
        base = parent.state if parent else self._chain.state
        if self._wallet is None or base.epoch.number != self.epoch.number:
            return None
        holds = parent.holds if parent else holds_nothing
        if not _has_come(waiting.due_ms(holds), now_ms):
            return None
        chosen = waiting.choose(base, holds)
        if not chosen:
            return None
        header = make_header(base.tip, self.view, now_ms, self._wallet.public_key, chosen)
        return sign_block(header, chosen, self._wallet)

    def _notarize(self, now_ms: int, outputs: list[Output]) -> None:
        """2. Notarize what was proposed, if it is known whole, legal, and follows what was notarized."""
        view, proposed = self.view, self._rounds.at(self.view).proposed
        if proposed is None or self._has_cast(view, NOTARIZE) or self._has_cast(view, NULLIFY):
            return
        pending = self._rounds.judge(proposed, outputs)
        if pending is None or pending.block.header.view > view:
            return
        header = pending.block.header
        extended = header.parent_hash if header.view == view else pending.block.hash
        ahead_ms = self._chain.genesis.params.block_ahead_ms
        is_early = ahead_ms is not None and header.timestamp_ms > now_ms + ahead_ms
        if self._rounds.may_follow(extended, view) and not is_early:
            self._cast(NOTARIZE, view, pending.block.hash, outputs, pending.block)

    def _nullify(self, now_ms: int, waiting: Waiting, outputs: list[Output]) -> None:
        """3. Time is up: nullify the view."""
        pace, is_proposed = self._paced(now_ms, waiting), self._rounds.at(self.view).proposed is not None
        done = self._has_cast(self.view, NULLIFY) or self._has_cast(self.view, FINALIZE)
        if _has_come(pace.deadline_ms(is_proposed), now_ms) and not done:
            self._cast(NULLIFY, self.view, None, outputs)

    def _end_views(self, outputs: list[Output]) -> None:
        """4. A quorum of notarize or of nullify votes ends the view."""
        while (current := self._rounds.at(self.view)).has_ended:
            self._keep(NOTARIZE if current.notarized else NULLIFY, self.view, outputs)
            self._rounds.go_on()

    def _vote_to_finalize(self, outputs: list[Output]) -> None:
        """4. Finalize what was notarized in a view that this member did not nullify."""
        for view, round_ in self._rounds.open():
            if round_.notarized is None or self._has_cast(view, NULLIFY) or self._has_cast(view, FINALIZE):
                continue
            pending = self._rounds.judge(round_.notarized, outputs)
            if pending is not None:
                self._keep(NOTARIZE, view, outputs)
                ballot = self._rounds.ballot(FINALIZE, view, round_.notarized, pending.state.epoch.hash)
                self._sign(ballot, None, outputs)

    def _finalize(self, outputs: list[Output]) -> bool:
        """5. A quorum of finalize votes makes the block and all before it final."""
        for _, round_ in self._rounds.open():
            ballot = round_.finalized
            last = self._rounds.judge(ballot.block_hash, outputs) if ballot else None
            if last is None or ballot is None:
                continue
            if ballot.stakes_hash != last.state.epoch.hash:
                if ballot not in round_.kept:
                    round_.kept.add(ballot)
                    outputs.append(Drifted(ballot))
                continue
            path = last.path()
            blocks, states = tuple(one.block for one in path), tuple(one.state for one in path)
            outputs.append(Finalized(blocks, states, round_.tally(ballot)))
            return True
        return False

    def _repeat(self, now_ms: int, outputs: list[Output]) -> None:
        """6. While the view lasts, pass on what was heard; when nothing moves, tell the others everything again."""
        if _has_come(self._pace.repeat_ms(), now_ms):
            self._pace.repeated()
            self._rounds.ask_again()
            self._rounds.take_news()
            outputs.append(Repeat())
        elif self._rounds.has_news and _has_come(self._pace.share_ms(), now_ms):
            self._pace.shared(now_ms)
            outputs.append(Share(tuple(self._rounds.take_news())))

    # ---- time -------------------------------------------------------------------------------------------------

    def wake_ms(self, now_ms: int, waiting: Waiting) -> int | None:
        """When `step` may have something to do though nothing new came in; `None`: nothing, all is silent."""
        newest, pace = self._rounds.newest(), self._paced(now_ms, waiting)
        is_proposed = self._rounds.at(self.view).proposed is not None
        times = [pace.settled_ms(), pace.deadline_ms(is_proposed), pace.repeat_ms()]
        times.append(pace.share_ms() if self._rounds.has_news else None)
        times.append(waiting.due_ms(newest.holds if newest else holds_nothing))
        return min((one for one in times if one is not None and one > now_ms), default=None)

    def _paced(self, now_ms: int, waiting: Waiting) -> Pace:
        """The times of the view we are in."""
        has_work = self._rounds.has_work() or _has_come(waiting.due_ms(holds_nothing), now_ms)
        self._pace.look(now_ms, (self.epoch.number, self.view), has_work)
        return self._pace

    # ---- votes ------------------------------------------------------------------------------------------------

    @property
    def _has_stake(self) -> bool:
        return self._wallet is not None and self.epoch.stake(self._wallet.public_key) > 0

    def _may_vote(self, view: int) -> bool:
        return self._record.may_vote(self.epoch, view)

    def _has_cast(self, view: int, kind: int) -> bool:
        return self._record.has_cast(self.epoch.number, view, kind)

    def _cast(
        self, kind: int, view: int, block_hash: bytes | None, outputs: list[Output], block: Block | None = None
    ) -> None:
        self._sign(self._rounds.ballot(kind, view, block_hash), block, outputs)

    def _sign(self, ballot: Ballot, block: Block | None, outputs: list[Output]) -> None:
        vote = self._record.cast(self.epoch, self._chain.ledger_id, ballot)
        if vote is not None:
            outputs.append(Cast(vote, block))
            self.add_vote(vote)

    def _keep(self, kind: int, view: int, outputs: list[Output]) -> None:
        """Hand out a quorum to be persisted, once."""
        round_ = self._rounds.at(view)
        ballot = self._rounds.ballot(kind, view, round_.notarized if kind == NOTARIZE else None)
        if self._wallet and ballot not in round_.kept:
            round_.kept.add(ballot)
            outputs.append(Keep(round_.tally(ballot)))


def _has_come(time_ms: int | None, now_ms: int) -> bool:
    return time_ms is not None and time_ms <= now_ms
