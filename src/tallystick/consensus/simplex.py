"""Simplex: final blocks among members who do not trust each other, with votes weighted by stake.

Chan and Pass, "Simplex Consensus" (eprint 2023/463); docs/protocol.md states this form of it, and every difference.
Sans-I/O: knowledge goes in by `add_…`, and `step` says what follows from it.

In each view one member is drawn to propose. Members notarize what it proposes, or nullify the view when time is up;
over 2/3 of the stake of either kind moves everybody to the next view. Who saw a view notarized and did not nullify it
votes to finalize; over 2/3 of those make the block, and all before it, final.
"""

from collections.abc import Iterable
from typing import Final

from tallystick.consensus.agreement import Cast, Caught, Finalized, Keep, Lacks, Output, Repeat, Waiting
from tallystick.consensus.proof_of_stake import draw
from tallystick.consensus.rounds import Pending, Round
from tallystick.ledger.block import Block, Header, make_header, sign_block
from tallystick.ledger.blockchain import Blockchain, State
from tallystick.ledger.encoding import ZERO_DIGEST
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Tally, Vote, cast, tally_of
from tallystick.ledger.wallet import Wallet

_VIEWS_AHEAD: Final = 64
"""Votes for views further ahead are not kept: a member that far behind asks where the others stand."""

_BLOCKS_A_VIEW: Final = 2
"""Proposals kept for one view: a second one is evidence enough."""


class Simplex:
    """One member's part in agreement, or an observer's (no wallet, or no stake)."""

    _chain: Blockchain
    _delta_ms: int
    _rounds: dict[int, Round]
    _blocks: dict[bytes, Block]
    _judged: dict[bytes, Pending]
    _illegal: set[bytes]
    _lacked: set[bytes]
    _rounds_epoch: int
    _final_view: int
    _working_since_ms: int | None
    _repeats: int
    view: int

    def __init__(self, wallet: Wallet | None = None) -> None:
        self._wallet = wallet
        self._own: dict[tuple[int, int, int], Vote] = {}
        self._heard: dict[bytes, tuple[int, int]] = {}
        self._last: dict[bytes, Vote] = {}
        self._is_ready = False
        self._is_stale = False
        self._floor = (-1, -1)
        self._early: dict[tuple[bytes, int], Vote] = {}

    def start(self, chain: Blockchain, votes: Iterable[Vote], proposals: Iterable[Block]) -> None:
        """Start, or start again from what was persisted: own votes, the quorums and the blocks that they rest on."""
        self._chain, self._delta_ms = chain, chain.genesis.params.delta_ms
        votes = list(votes)
        for vote in votes:
            if self._wallet and vote.member == self._wallet.public_key:
                self._own[vote.ballot.epoch, vote.ballot.view, vote.ballot.kind] = vote
        self._begin_epoch()
        self.view = max([self.view, *(view for epoch, view, _ in self._own if epoch == self.epoch.number)])
        for block in proposals:
            self.add_block(block)
        for vote in votes:
            self.add_vote(vote)

    # ---- what others may ask ----------------------------------------------------------------------------------

    @property
    def epoch(self) -> Epoch:
        """The epoch of the next block: whose votes count."""
        return self._chain.state.epoch

    @property
    def wallet(self) -> Wallet | None:
        """The key that votes, if there is one."""
        return self._wallet

    def wants(self, header: Header) -> bool:
        """Whether a block with this header may be a proposal that is worth fetching."""
        in_window = self._final_view < header.view <= self.view + _VIEWS_AHEAD
        return in_window and header.forger == self.leader(header.view)

    def check_forger(self, state: State, header: Header) -> None:
        """Raise `Refused` (B4) unless the header's forger was drawn for its view in the epoch after `state`."""
        epoch = state.epoch
        drawn = draw(epoch.stakes, header.ledger_id, epoch.number, header.view) if header.view else None
        if header.forger != drawn:
            name = f"{drawn.hex()[:16]}…" if drawn else "nobody"
            raise Refused(Rule.B4, f"forged by {header.forger.hex()[:16]}…, drawn for view {header.view}: {name}")

    def check_final(self, state: State, block: Block, finalization: Tally | None) -> None:
        """Raise `Refused` (V2) unless this is a quorum of the epoch after `state`; its signatures are good."""
        epoch = state.epoch
        if finalization is None:
            raise Refused(Rule.V2, f"block {block.index} comes without a finalization")
        ballot = finalization.ballot
        if ballot != Ballot(FINALIZE, epoch.number, ballot.view, block.hash, epoch.hash):
            raise Refused(Rule.V2, f"these votes do not finalize block {block.index} in epoch {epoch.number}")
        stake = sum(epoch.stake(member) for member in {member for member, _ in finalization.signatures})
        if not epoch.is_quorum(stake):
            raise Refused(Rule.V2, f"{stake} of {epoch.total} staked tokens voted to finalize block {block.index}")

    def leader(self, view: int) -> bytes | None:
        """The member drawn to propose in a view of this epoch."""
        return draw(self.epoch.stakes, self._chain.ledger_id, self.epoch.number, view)

    def proposal(self, block_hash: bytes) -> Block | None:
        """A block that is not final yet, if it is known whole."""
        return self._blocks.get(block_hash)

    def standing(self) -> list[Tally]:
        """What a member behind needs: of each view from the final one on, every quorum, and this member's own votes."""
        own = self._wallet.public_key if self._wallet else None
        tallies = []
        for _, round_ in sorted(self._rounds.items()):
            for ballot, weight in round_.weight.items():
                if self.epoch.is_quorum(weight):
                    tallies.append(round_.tally(ballot))
                elif own:
                    tallies += [tally_of([vote]) for vote in round_.votes.get(own, ()) if vote.ballot == ballot]
        return tallies

    def last_vote_of(self, member: bytes) -> Vote | None:
        """The latest vote seen from a member, to remind it if it was restored from an old backup."""
        return self._last.get(member)

    def missing(self) -> list[bytes]:
        """Members not heard from in the current view, when it does not advance."""
        heard = self._round(self.view).votes
        return [member for member, _ in self.epoch.members if member not in heard]

    def stuck_since_ms(self, now_ms: int) -> int:
        """Since when the current view has had something to do and has not ended."""
        return now_ms if self._working_since_ms is None else self._working_since_ms

    # ---- knowledge goes in ------------------------------------------------------------------------------------

    def add_vote(self, vote: Vote) -> Caught | None:
        """Count a vote whose signature is good. Returns evidence if it contradicts an earlier one of its member."""
        ballot = vote.ballot
        last = self._last.get(vote.member)
        if self.epoch.stake(vote.member) and (last is None or _place(last) < _place(vote)):
            self._last[vote.member] = vote
        if ballot.epoch == self.epoch.number + 1 and self._chain.state.stakes.account(vote.member).staked:
            self._early.setdefault((vote.member, ballot.kind), vote)
            return None
        if ballot.epoch != self.epoch.number or ballot.stakes_hash != self.epoch.hash:
            return None
        if not self._final_view <= ballot.view <= self.view + _VIEWS_AHEAD or not self.epoch.stake(vote.member):
            return None
        round_ = self._round(ballot.view)
        known = round_.votes.setdefault(vote.member, [])
        if any(earlier.ballot == ballot for earlier in known):
            return None
        earlier = next((earlier for earlier in known if earlier.conflicts_with(vote)), None)
        if earlier is None or ballot in round_.weight:  # quorums may rest on votes of members that said both
            self._count(round_, vote)
            if self._chain.state.tip.hash in (round_.notarized, round_.finalized):
                self._settle(ballot.view)
        return Caught(earlier, vote) if earlier else None

    def _count(self, round_: Round, vote: Vote) -> None:
        ballot = vote.ballot
        round_.votes[vote.member].append(vote)
        weight = round_.weight[ballot] = round_.weight.get(ballot, 0) + self.epoch.stake(vote.member)
        if ballot.kind == NOTARIZE and round_.proposed is None and vote.member == self.leader(ballot.view):
            round_.proposed = ballot.block_hash
        if self.epoch.is_quorum(weight):
            match ballot.kind:
                case 1:
                    round_.notarized = ballot.block_hash
                case 2:
                    round_.is_nullified = True
                case 3:
                    round_.finalized = ballot.block_hash

    def add_block(self, block: Block) -> None:
        """Keep a whole block whose signatures are good, if it may be a proposal of this epoch."""
        header = block.header
        if not self.wants(header) or block.hash in self._blocks:
            return
        round_ = self._round(header.view)
        if round_.blocks < _BLOCKS_A_VIEW or block.hash in self._lacked:
            round_.blocks += 1
            self._blocks[block.hash] = block

    def heard_standing(self, member: bytes, view: int, yours: Vote | None) -> None:
        """A member of our epoch answered, since our start, with its view and the last vote it saw from us.

        A vote of ours that we do not remember means that our record is an old backup: we stay silent through every
        view in which we may have voted. Those end one view beyond the highest heard, or with the next epoch's first.
        """
        if not self.epoch.stake(member):
            return
        self._heard.setdefault(member, (self.epoch.number, view))
        if yours is not None and self._own.get((yours.ballot.epoch, yours.ballot.view, yours.ballot.kind)) != yours:
            self._is_stale = True
            self._floor = max(self._floor, yours.round)
        if self._is_stale:
            self._floor = max(self._floor, *((epoch, seen + 1) for epoch, seen in self._heard.values()))

    def moved(self) -> None:
        """The chain's tip moved: what hung from elsewhere is forgotten, and perhaps an epoch begins."""
        state = self._chain.state
        if state.epoch.number != self._rounds_epoch:
            self._begin_epoch()
            early, self._early = self._early, {}
            for vote in early.values():
                self.add_vote(vote)
            return
        self._judged = {}
        self._settle(self._tip_view())
        for view, round_ in sorted(self._rounds.items()):
            if state.tip.hash in (round_.notarized, round_.finalized):
                self._settle(view)

    def _settle(self, view: int) -> None:
        """The final tip was notarized in this view: what is older does not matter any more."""
        self._final_view = max(self._final_view, view)
        self._rounds = {one: round_ for one, round_ in self._rounds.items() if one >= self._final_view}
        self._blocks = {one: block for one, block in self._blocks.items() if block.header.view > self._final_view}
        self._illegal &= self._blocks.keys()
        if self.view <= self._final_view:
            self._enter(self._final_view + 1)

    def _begin_epoch(self) -> None:
        self._rounds_epoch = self.epoch.number
        self._rounds, self._blocks, self._judged, self._illegal, self._lacked = {}, {}, {}, set(), set()
        self._final_view = self._tip_view()
        self._enter(self._final_view + 1)

    def _tip_view(self) -> int:
        """The view of this epoch in which the tip was proposed; 0 if that was the epoch before."""
        state = self._chain.state
        return state.tip.view if state.index % self._chain.genesis.params.epoch_blocks else 0

    def _enter(self, view: int) -> None:
        self.view = view
        self._working_since_ms = None
        self._repeats = 0

    def _round(self, view: int) -> Round:
        if view not in self._rounds:
            self._rounds[view] = Round()
        return self._rounds[view]

    # ---- what follows from it ---------------------------------------------------------------------------------

    def step(self, now_ms: int, waiting: Waiting) -> list[Output]:
        """What is to be done now. Call again, after carrying it out, until nothing is."""
        outputs: list[Output] = []
        if self._finalize(outputs):
            return outputs
        self._vote_to_finalize(outputs)
        while self._round(self.view).notarized or self._round(self.view).is_nullified:
            self._keep(NOTARIZE if self._round(self.view).notarized else NULLIFY, self.view, outputs)
            self._enter(self.view + 1)
        self._propose(now_ms, waiting, outputs)
        self._notarize(now_ms, outputs)
        self._nullify(now_ms, waiting, outputs)
        return outputs

    def _finalize(self, outputs: list[Output]) -> bool:
        for view, round_ in self._rounds.items():
            if round_.finalized is None or view <= self._final_view:
                continue
            link = self._judge(round_.finalized, outputs)
            if link is None:
                continue
            path: list[Pending] = []
            while link is not None:
                path.insert(0, link)
                link = link.parent
            ballot = Ballot(FINALIZE, self.epoch.number, view, round_.finalized, self.epoch.hash)
            blocks, states = tuple(one.block for one in path), tuple(one.state for one in path)
            outputs.append(Finalized(blocks, states, round_.tally(ballot)))
            return True
        return False

    def _vote_to_finalize(self, outputs: list[Output]) -> None:
        for view, round_ in self._rounds.items():
            if round_.notarized is None or self._has_cast(view, NULLIFY) or self._has_cast(view, FINALIZE):
                continue
            if view > self._final_view and self._judge(round_.notarized, outputs) is not None:
                self._keep(NOTARIZE, view, outputs)
                self._cast(FINALIZE, view, round_.notarized, outputs)

    def _keep(self, kind: int, view: int, outputs: list[Output]) -> None:
        """Hand out a quorum to be persisted, once."""
        round_ = self._round(view)
        block_hash = (round_.notarized if kind == NOTARIZE else None) or ZERO_DIGEST
        ballot = Ballot(kind, self.epoch.number, view, block_hash, self.epoch.hash)
        if self._wallet and ballot not in round_.kept:
            round_.kept.add(ballot)
            outputs.append(Keep(round_.tally(ballot)))

    def _propose(self, now_ms: int, waiting: Waiting, outputs: list[Output]) -> None:
        if self._wallet is None or self.leader(self.view) != self._wallet.public_key:
            return
        if self._has_cast(self.view, NOTARIZE) or self._has_cast(self.view, NULLIFY) or not self._may_vote(self.view):
            return
        parent_hash = self._proposable_parent()
        if parent_hash is None:
            return
        parent = self._judge(parent_hash, outputs) if parent_hash != self._chain.state.tip.hash else None
        if parent is None and parent_hash != self._chain.state.tip.hash:
            return
        block = self._make_block(now_ms, waiting, parent)
        if block is not None:
            self._blocks[block.hash] = block
            self._cast(NOTARIZE, self.view, block.hash, outputs, block)
        elif parent is not None and self._is_settled(now_ms, waiting):
            self._cast(NOTARIZE, self.view, parent.block.hash, outputs)

    def _is_settled(self, now_ms: int, waiting: Waiting) -> bool:
        """Whether the finalize votes of the view before had their time, so that its block is worth proposing again."""
        since_ms = self._working_since(now_ms, waiting)
        return since_ms is not None and now_ms >= since_ms + self._delta_ms

    def _make_block(self, now_ms: int, waiting: Waiting, parent: Pending | None) -> Block | None:
        """A block on the parent (`None`: on the final tip), or `None`: there is nothing to forge, or it is not time."""
        base = parent.state if parent else self._chain.state
        if self._wallet is None or base.epoch.number != self.epoch.number:
            return None
        holds = parent.holds if parent else _holds_nothing
        due_ms = waiting.due_ms(holds)
        if due_ms is None or now_ms < due_ms:
            return None
        chosen = waiting.choose(base, holds)
        if not chosen:
            return None
        header = make_header(base.tip, self.view, now_ms, self._wallet.public_key, chosen)
        return sign_block(header, chosen, self._wallet)

    def _proposable_parent(self) -> bytes | None:
        """The newest notarized block such that every view since is nullified; the final tip if there is none."""
        for view in range(self.view - 1, self._final_view, -1):
            round_ = self._round(view)
            if round_.notarized is not None:
                return round_.notarized
            if not round_.is_nullified:
                return None
        return self._chain.state.tip.hash

    def _notarize(self, now_ms: int, outputs: list[Output]) -> None:
        view, round_ = self.view, self._round(self.view)
        if round_.proposed is None or self._has_cast(view, NOTARIZE) or self._has_cast(view, NULLIFY):
            return
        pending = self._judge(round_.proposed, outputs)
        if pending is None:
            return
        header = pending.block.header
        is_new = header.view == view
        if not is_new and header.view > view:
            return
        extended = header.parent_hash if is_new else pending.block.hash
        ahead_ms = self._chain.genesis.params.block_ahead_ms
        is_early = ahead_ms is not None and header.timestamp_ms > now_ms + ahead_ms
        if self._may_follow(extended, view) and not is_early:
            self._cast(NOTARIZE, view, pending.block.hash, outputs, pending.block)

    def _may_follow(self, block_hash: bytes, view: int) -> bool:
        """Whether the block is notarized in an earlier view and every view in between is nullified."""
        for earlier in range(view - 1, self._final_view, -1):
            round_ = self._round(earlier)
            if round_.notarized == block_hash:
                return True
            if not round_.is_nullified:
                return False
        return block_hash == self._chain.state.tip.hash

    def _nullify(self, now_ms: int, waiting: Waiting, outputs: list[Output]) -> None:
        """Time is up: nullify the view; and while nothing moves, tell the others again, at growing intervals."""
        since_ms = self._working_since(now_ms, waiting)
        if since_ms is None:
            return
        done = self._has_cast(self.view, NULLIFY) or self._has_cast(self.view, FINALIZE)
        if now_ms >= self._deadline_ms(since_ms) and not done:
            self._cast(NULLIFY, self.view, ZERO_DIGEST, outputs)
        if now_ms >= self._repeat_at_ms(since_ms):
            self._repeats += 1
            self._lacked = set()
            outputs.append(Repeat())

    # ---- time -------------------------------------------------------------------------------------------------

    def wake_ms(self, now_ms: int, waiting: Waiting) -> int | None:
        """When `step` may have something to do though nothing new came in; `None`: nothing, all is silent."""
        newest = self._newest()
        times = [waiting.due_ms(newest.holds if newest else _holds_nothing)]
        since_ms = self._working_since(now_ms, waiting)
        if since_ms is not None:
            times += [since_ms + self._delta_ms, self._deadline_ms(since_ms), self._repeat_at_ms(since_ms)]
        return min((one for one in times if one is not None and one > now_ms), default=None)

    def _working_since(self, now_ms: int, waiting: Waiting) -> int | None:
        """Since when this view has had something to do. A quiet ledger has no timeouts, so it is silent."""
        if not self._has_work(now_ms, waiting):
            self._working_since_ms, self._repeats = None, 0
        elif self._working_since_ms is None:
            self._working_since_ms = now_ms
        return self._working_since_ms

    def _has_work(self, now_ms: int, waiting: Waiting) -> bool:
        round_ = self._round(self.view)
        later = (one for view, one in self._rounds.items() if view > self._final_view)
        if round_.proposed is not None or any(one.notarized or one.finalized for one in later):
            return True
        nullify = Ballot(NULLIFY, self.epoch.number, self.view, ZERO_DIGEST, self.epoch.hash)
        nullifying = round_.weight.get(nullify, 0)
        if 3 * nullifying > self.epoch.total:
            return True
        due_ms = waiting.due_ms(_holds_nothing)
        return due_ms is not None and due_ms <= now_ms

    def _deadline_ms(self, since_ms: int) -> int:
        """2 delta for a proposal to come, 3 for the view to end."""
        return since_ms + self._delta_ms * (2 if self._round(self.view).proposed is None else 3)

    def _repeat_at_ms(self, since_ms: int) -> int:
        """After 4 delta, and then at doubling intervals up to 32."""
        return since_ms + self._delta_ms * sum(1 << min(2 + count, 5) for count in range(self._repeats + 1))

    # ---- inside -----------------------------------------------------------------------------------------------

    def _newest(self) -> Pending | None:
        """The newest notarized block that is known whole, above the final tip."""
        hashes = [one.notarized for _, one in sorted(self._rounds.items()) if one.notarized]
        return self._judged.get(hashes[-1]) if hashes else None

    def _judge(self, block_hash: bytes, outputs: list[Output]) -> Pending | None:
        """The block with its state, if it and all before it down to the final tip are known whole and legal."""
        path: list[Block] = []
        wanted, parent = block_hash, None
        while wanted != self._chain.state.tip.hash:
            parent = self._judged.get(wanted)
            if parent is not None:
                break
            block = self._blocks.get(wanted)
            if block is None:
                if wanted not in self._lacked:
                    self._lacked.add(wanted)
                    outputs.append(Lacks(wanted))
                return None
            if wanted in self._illegal:
                return None
            path.append(block)
            wanted = block.header.parent_hash
        for block in reversed(path):
            base = parent.state if parent else self._chain.state
            try:
                if base.epoch.number != self.epoch.number:
                    raise Refused(Rule.B4, "a new epoch begins on a final block only")
                state = self._chain.after(block, None, base, parent.holds if parent else _holds_nothing)
            except Refused:
                self._illegal.add(block.hash)
                return None
            parent = Pending(block, state, frozenset(one.id for one in block.certificates), parent)
            self._judged[block.hash] = parent
        return parent

    def _may_vote(self, view: int) -> bool:
        """Whether enough members told where they stand, and this record is known to be no old backup."""
        if self._wallet is None or not self.epoch.stake(self._wallet.public_key):
            return False
        if (self.epoch.number, view) <= self._floor or (self._is_stale and self._is_after_floor(view)):
            return False
        heard = self._heard.keys() | {self._wallet.public_key}
        self._is_ready = self._is_ready or self.epoch.is_quorum(sum(self.epoch.stake(member) for member in heard))
        return self._is_ready

    def _is_after_floor(self, view: int) -> bool:
        """Whether this is the first view of the epoch after the floor's: we may have gone on to it."""
        return view == 1 and self.epoch.number == self._floor[0] + 1

    def _has_cast(self, view: int, kind: int) -> bool:
        return (self.epoch.number, view, kind) in self._own

    def _cast(self, kind: int, view: int, block_hash: bytes, outputs: list[Output], block: Block | None = None) -> None:
        if self._wallet is None or not self._may_vote(view):
            return
        ballot = Ballot(kind, self.epoch.number, view, block_hash, self.epoch.hash)
        vote = cast(self._wallet, self._chain.ledger_id, ballot)
        self._own[ballot.epoch, view, kind] = vote
        outputs.append(Cast(vote, block))
        self.add_vote(vote)


def _holds_nothing(certificate_id: bytes) -> bool:
    return False


def _place(vote: Vote) -> tuple[int, int, int]:
    """Later votes of an honest member have a higher one."""
    return vote.ballot.epoch, vote.ballot.view, vote.ballot.kind
