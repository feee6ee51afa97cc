"""What is known of an epoch's views: who voted for what, which quorums that makes, and the blocks not yet final."""

from dataclasses import dataclass, field
from typing import Final

from tallystick.consensus.agreement import Caught, CaughtForging, CaughtVoting, Lacks, Output
from tallystick.consensus.proof_of_stake import draw
from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import Blockchain, State, holds_nothing
from tallystick.ledger.encoding import ZERO_DIGEST
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.header import Header, SignedHeader
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Tally, Vote, tally_of

_VIEWS_AHEAD: Final = 64
"""Votes for views further ahead are not kept: a member that far behind asks where the others stand."""

_BLOCKS_A_VIEW: Final = 2
"""Proposals kept for one view: a second one is evidence enough."""


@dataclass
class Round:
    """What is known of one view."""

    leader: bytes | None
    votes: dict[bytes, list[Vote]] = field(default_factory=dict)
    """Of each member those that count; only who contradicts itself has more than three."""
    weight: dict[Ballot, int] = field(default_factory=dict)
    proposed: bytes | None = None
    notarized: bytes | None = None
    is_nullified: bool = False
    finalized: Ballot | None = None
    header: SignedHeader | None = None
    """The first that its leader was seen to have signed."""
    rival: bytes | None = None
    """Another block that members notarize, so that its leader may have signed two."""
    blocks: int = 0
    kept: set[Ballot] = field(default_factory=set)
    """Quorums that were handed out to be persisted."""

    @property
    def has_ended(self) -> bool:
        """Whether a quorum moved everybody on."""
        return self.notarized is not None or self.is_nullified

    def chose(self, block_hash: bytes) -> bool:
        """Whether a quorum notarized or finalized this block here."""
        return block_hash == self.notarized or (self.finalized is not None and block_hash == self.finalized.block_hash)

    def tally(self, ballot: Ballot) -> Tally:
        """The votes for a ballot (at least one)."""
        return tally_of(vote for votes in self.votes.values() for vote in votes if vote.ballot == ballot)


@dataclass
class Pending:
    """A block above the final tip, whole and judged legal on its parent."""

    block: Block
    state: State
    ids: frozenset[bytes]
    parent: "Pending | None"

    def holds(self, certificate_id: bytes) -> bool:
        """Whether this block or one below it, down to the final tip, holds the certificate with this id."""
        link: Pending | None = self
        while link is not None:
            if certificate_id in link.ids:
                return True
            link = link.parent
        return False

    def path(self) -> "list[Pending]":
        """The blocks from the final tip up to this one."""
        links = [self]
        while links[-1].parent is not None:
            links.append(links[-1].parent)
        return links[::-1]


class Rounds:
    """The views of the current epoch from the final one on, and the blocks above the final tip."""

    _number: int
    _rounds: dict[int, Round]
    _blocks: dict[bytes, Block]
    _judged: dict[bytes, Pending]
    _illegal: set[bytes]
    _lacked: set[bytes]
    _rivals: list[bytes]
    _news: list[Vote]
    final_view: int
    """The latest view known to have notarized the final tip; 0 when that was in the epoch before."""
    view: int
    """The first view that has not ended, as far as `go_on` was asked to look."""

    def __init__(self, chain: Blockchain) -> None:
        self._chain = chain
        self._last: dict[bytes, Vote] = {}
        self._early: dict[tuple[bytes, int], Vote] = {}
        self._begin_epoch()

    # ---- what is known ----------------------------------------------------------------------------------------

    @property
    def epoch(self) -> Epoch:
        """The epoch of the next block: whose votes count."""
        return self._chain.state.epoch

    def at(self, view: int) -> Round:
        """What is known of a view."""
        if view not in self._rounds:
            drawn = draw(self.epoch.stakes, self._chain.ledger_id, self.epoch.number, view)
            self._rounds[view] = Round(drawn)
        return self._rounds[view]

    def open(self) -> list[tuple[int, Round]]:
        """The known views after the final one, ascending."""
        return sorted((view, one) for view, one in self._rounds.items() if view > self.final_view)

    def ballot(self, kind: int, view: int, block_hash: bytes | None = None, stakes_hash: bytes | None = None) -> Ballot:
        """What a member of this epoch votes for; `stakes_hash`: this epoch's, unless given."""
        return Ballot(kind, self.epoch.number, view, block_hash or ZERO_DIGEST, stakes_hash or self.epoch.hash)

    def wants(self, header: Header) -> bool:
        """Whether a block with this header may be a proposal that is worth fetching."""
        return header.view > self.final_view and self._is_in_turn(header)

    def _is_in_turn(self, header: Header) -> bool:
        """Whether its forger was drawn for its view, and the view is one of those that are looked at."""
        if self._chain.genesis.params.epoch_of(header.index) != self.epoch.number:
            return False
        in_window = self.final_view <= header.view <= self.view + _VIEWS_AHEAD
        return in_window and header.forger == self.at(header.view).leader

    def proposal(self, block_hash: bytes) -> Block | None:
        """A block that is not final yet, if it is known whole."""
        return self._blocks.get(block_hash)

    def standing(self) -> list[Tally]:
        """All votes known, of each view from the final one on, the newest first."""
        newest_first = sorted(self._rounds.items(), reverse=True)
        return [round_.tally(ballot) for _, round_ in newest_first for ballot in round_.weight]

    def knows_vote(self, vote: Vote) -> bool:
        """Whether this very vote, signature included, was counted."""
        round_ = self._rounds.get(vote.ballot.view)
        return round_ is not None and vote in round_.votes.get(vote.member, ())

    @property
    def has_news(self) -> bool:
        """Whether votes were heard since `take_news`."""
        return bool(self._news)

    def take_news(self) -> list[Tally]:
        """The votes above the final view that were heard since this was last asked."""
        news: dict[Ballot, list[Vote]] = {}
        for vote in self._news:
            news.setdefault(vote.ballot, []).append(vote)
        self._news = []
        return [tally_of(votes) for votes in news.values()]

    def last_vote_of(self, member: bytes) -> Vote | None:
        """The latest vote seen from a member, to remind it if it was restored from an old backup."""
        return self._last.get(member)

    def missing(self) -> list[bytes]:
        """Members not heard from in the current view."""
        heard = self.at(self.view).votes
        return [member for member, _ in self.epoch.members if member not in heard]

    def has_work(self) -> bool:
        """Whether something wants an end: a proposal, a notarized block not yet final, or over 1/3 that nullify."""
        current = self.at(self.view)
        if current.proposed is not None or any(one.notarized or one.finalized for _, one in self.open()):
            return True
        return 3 * current.weight.get(self.ballot(NULLIFY, self.view), 0) > self.epoch.total

    def newest(self) -> Pending | None:
        """The newest notarized block, if it is above the final tip and known whole."""
        hashes = [one.notarized for _, one in sorted(self._rounds.items()) if one.notarized]
        return self._judged.get(hashes[-1]) if hashes else None

    def parent_for(self, view: int) -> bytes | None:
        """The newest notarized block such that every view since is nullified; the final tip if there is none."""
        for earlier in range(view - 1, self.final_view, -1):
            round_ = self.at(earlier)
            if round_.notarized is not None:
                return round_.notarized
            if not round_.is_nullified:
                return None
        return self._chain.state.tip.hash

    def may_follow(self, block_hash: bytes, view: int) -> bool:
        """Whether the block is notarized in an earlier view and every view in between is nullified."""
        for earlier in range(view - 1, self.final_view, -1):
            round_ = self.at(earlier)
            if round_.notarized == block_hash:
                return True
            if not round_.is_nullified:
                return False
        return block_hash == self._chain.state.tip.hash

    def judge(self, block_hash: bytes, outputs: list[Output]) -> Pending | None:
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
                state = self._chain.after(block, None, base, parent.holds if parent else holds_nothing)
            except Refused:
                self._illegal.add(block.hash)
                return None
            parent = Pending(block, state, frozenset(one.id for one in block.certificates), parent)
            self._judged[block.hash] = parent
        return parent

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
        if ballot.epoch != self.epoch.number or (ballot.kind != FINALIZE and ballot.stakes_hash != self.epoch.hash):
            return None
        if not self.final_view <= ballot.view <= self.view + _VIEWS_AHEAD or not self.epoch.stake(vote.member):
            return None
        round_ = self.at(ballot.view)
        known = round_.votes.setdefault(vote.member, [])
        if any(earlier.ballot == ballot for earlier in known):
            return None
        earlier = next((earlier for earlier in known if earlier.conflicts_with(vote)), None)
        if earlier is None or ballot in round_.weight:  # quorums may rest on votes of members that said both
            self._count(round_, vote)
            if round_.chose(self._chain.state.tip.hash):
                self._settle(ballot.view)
        return CaughtVoting(earlier, vote) if earlier else None

    def _count(self, round_: Round, vote: Vote) -> None:
        ballot = vote.ballot
        round_.votes[vote.member].append(vote)
        self._news.append(vote)
        weight = round_.weight[ballot] = round_.weight.get(ballot, 0) + self.epoch.stake(vote.member)
        if ballot.kind == NOTARIZE and round_.proposed is None and vote.member == round_.leader:
            round_.proposed = ballot.block_hash
        if ballot.kind == NOTARIZE:
            self._suspect(round_)
        if self.epoch.is_quorum(weight):
            if ballot.kind == NOTARIZE:
                round_.notarized = ballot.block_hash
            elif ballot.kind == NULLIFY:
                round_.is_nullified = True
            elif ballot.kind == FINALIZE:
                round_.finalized = ballot

    def add_header(self, signed: SignedHeader) -> CaughtForging | None:
        """Note what a leader signed; the signature is good. Returns evidence if it signed another for this view."""
        if not self._is_in_turn(signed.header):
            return None
        round_ = self.at(signed.header.view)
        if round_.header is None:
            round_.header = signed
            self._suspect(round_)
        return CaughtForging(round_.header, signed) if round_.header.conflicts_with(signed) else None

    def _suspect(self, round_: Round) -> None:
        """Members notarize what the leader did not show us: it may have signed two, so we want to see the other."""
        if round_.header is None or round_.rival is not None:
            return
        shown = round_.header.header.hash
        others = [one for one in round_.weight if one.kind == NOTARIZE and one.block_hash != shown]
        tip_hash = self._chain.state.tip.hash
        rivals = [one for one in others if one.block_hash != tip_hash and one.block_hash not in self._blocks]
        if rivals:
            round_.rival = max(rivals, key=lambda ballot: round_.weight[ballot]).block_hash
            self._rivals.append(round_.rival)

    def ask_for_rivals(self, outputs: list[Output]) -> None:
        """Ask for what may be a second proposal, once in a view and once again with every repetition."""
        outputs += [Lacks(one) for one in self._rivals]
        self._rivals = []

    def add_block(self, block: Block) -> CaughtForging | None:
        """Keep a whole block whose signatures are good, if it may be a proposal of this epoch. Returns evidence."""
        caught = self.add_header(block.signed_header)
        is_new = self.wants(block.header) and block.hash not in self._blocks
        if is_new and (self.at(block.header.view).blocks < _BLOCKS_A_VIEW or block.hash in self._lacked):
            self.keep(block)
        return caught

    def keep(self, block: Block) -> None:
        """Keep a block, however many its view has: this member's own."""
        self.at(block.header.view).blocks += 1
        self._blocks[block.hash] = block

    def ask_again(self) -> None:
        """Blocks that were asked for in vain are lacked anew."""
        self._lacked = set()
        for _, round_ in self.open():
            round_.rival = None
            self._suspect(round_)

    # ---- on to the next ---------------------------------------------------------------------------------------

    def go_on(self) -> None:
        """On to the next view. Where views keep ending nothing is repeated, so what is lacked is asked for in each."""
        self.view += 1
        self._lacked = set()

    def moved(self) -> None:
        """The chain's tip moved: what hung from elsewhere is forgotten, and perhaps an epoch begins."""
        state = self._chain.state
        if state.epoch.number != self._number:
            self._begin_epoch()
            early, self._early = self._early, {}
            for vote in early.values():
                self.add_vote(vote)
            return
        self._judged = {}
        self._settle(self._tip_view())
        for view, round_ in sorted(self._rounds.items()):
            if round_.chose(state.tip.hash):
                self._settle(view)

    def _settle(self, view: int) -> None:
        """The final tip was notarized in this view: what is older does not matter any more."""
        self.final_view = max(self.final_view, view)
        self._rounds = {one: round_ for one, round_ in self._rounds.items() if one >= self.final_view}
        self._blocks = {one: block for one, block in self._blocks.items() if block.header.view > self.final_view}
        self._illegal &= self._blocks.keys()
        self._news = [vote for vote in self._news if vote.ballot.view > self.final_view]
        self.view = max(self.view, self.final_view + 1)

    def _begin_epoch(self) -> None:
        self._number = self.epoch.number
        self._rounds, self._blocks, self._judged, self._illegal, self._lacked = {}, {}, {}, set(), set()
        self._rivals, self._news = [], []
        self.final_view = self._tip_view()
        self.view = self.final_view + 1

    def _tip_view(self) -> int:
        """The view of this epoch in which the tip was proposed; 0 if that was the epoch before."""
        state = self._chain.state
        return state.tip.view if state.index % self._chain.genesis.params.epoch_blocks else 0


def _place(vote: Vote) -> tuple[int, int, int]:
    """Later votes of an honest member have a higher one."""
    return vote.ballot.epoch, vote.ballot.view, vote.ballot.kind
