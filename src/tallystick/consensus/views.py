"""What is known of an epoch's views: votes, the certificates that they make, and the blocks that are not final yet."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from tallystick.consensus.agreement import Equivocation, Output, RequestBlock
from tallystick.ledger.block import VerifiedBlock
from tallystick.ledger.blockchain import Blockchain, holds_nothing
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.finality import Finalization, Notarization, Nullification, VoteCertificate, certificate_of
from tallystick.ledger.header import Header, SignedHeader
from tallystick.ledger.state import State
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Tally, Vote, tally_of

Draw = Callable[[Epoch, bytes, int], bytes | None]
"""The leader of a view: of an epoch, on the ledger with this id."""

RECENT_VIEWS: Final = 8
"""Of views further back single votes are not counted any more; their certificates stay known."""

SILENT_VIEWS: Final = 3
"""A leader not heard in so many views, all of which this node lived through, counts as silent."""

_BLOCKS_A_VIEW: Final = 2
"""Proposals kept for one view: a second one is evidence enough."""


@dataclass
class ViewState:
    """What is known of one view."""

    leader: bytes | None
    votes: dict[bytes, list[Vote]] = field(default_factory=dict)
    """Of each member those that count; only who contradicts itself has more than three."""
    weight: dict[Ballot, int] = field(default_factory=dict)
    """The stake behind each ballot in `votes`."""
    proposed: bytes | None = None
    """The block that the leader proposed first, as far as was seen."""
    parent_view: int | None = None
    """Where the leader says that the parent, or the block proposed again, was notarized."""
    notarized: bytes | None = None
    is_nullified: bool = False
    finalization: Finalization | None = None
    header: SignedHeader | None = None
    """The first that its leader was seen to have signed."""
    rival: bytes | None = None
    """Another block that members notarize, so that its leader may have signed two."""
    blocks: int = 0
    persisted: set[tuple[bytes, Ballot]] = field(default_factory=set)
    """Member and ballot of the votes that were handed out to be persisted."""

    @property
    def has_ended(self) -> bool:
        """Whether a certificate moves everybody on."""
        return self.notarized is not None or self.is_nullified or self.finalization is not None

    def chose(self, block_hash: bytes) -> bool:
        """Whether a quorum notarized or finalized this block here."""
        return block_hash == self.notarized or (
            self.finalization is not None and block_hash == self.finalization.block_hash
        )

    def tally(self, ballot: Ballot) -> Tally:
        """The votes for a ballot (at least one)."""
        return tally_of(vote for votes in self.votes.values() for vote in votes if vote.ballot == ballot)

    def take_unpersisted(self) -> list[Tally]:
        """The votes that were not handed out to be persisted yet, by ballot."""
        new = [one for votes in self.votes.values() for one in votes if (one.member, one.ballot) not in self.persisted]
        self.persisted.update((one.member, one.ballot) for one in new)
        return grouped(new)


@dataclass
class Pending:
    """A block above the final tip, whole, and passed by the gate."""

    block: VerifiedBlock
    state: State
    ids: frozenset[bytes]
    parent: "Pending | None"

    def holds(self, certificate_id: bytes) -> bool:
        """Whether this block or one below it, down to the final tip, holds the certificate with this id."""
        return any(certificate_id in link.ids for link in self.path())

    def path(self) -> "list[Pending]":
        """The blocks from the final tip up to this one."""
        links = [self]
        while links[-1].parent is not None:
            links.append(links[-1].parent)
        return links[::-1]


class Views:
    """The views of the current epoch from the final one on, and the blocks above the final tip."""

    final_view: int
    """The latest view known to have notarized or finalized the final tip; 0 when that was in the epoch before."""
    view: int
    """The view that this member is in: one after the highest that is known to have ended."""
    entered_by: VoteCertificate | None
    """The certificate by which `view` was entered; `None`: it is the epoch's first, or the member came by its guard."""
    lived_from: int
    """The first view since the start, the last jump or the epoch's begin."""

    def __init__(self, chain: Blockchain, draw: Draw) -> None:
        self._chain, self._draw = chain, draw
        self._early: dict[tuple[bytes, int], Vote] = {}
        self._certificates: list[Tally] = []
        self.forgotten: list[Tally] = []
        """Votes of views that are over, to be persisted with the next certificates."""
        self._persisted: set[bytes] = set()
        self._refused: list[tuple[bytes, Refused]] = []
        self._views: dict[int, ViewState] = {}
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        """Forget the epoch before; its votes that were not persisted yet are handed out."""
        for state in self._views.values():
            self._compact(state)
        self._views = {}
        self._blocks: dict[bytes, VerifiedBlock] = {}
        self._pending: dict[bytes, Pending] = {}
        self._illegal: dict[bytes, Refused] = {}
        self._persisted = set()
        self._requested: set[bytes] = set()
        self._rivals: list[bytes] = []
        self._news: list[Vote] = []
        self._heard: dict[bytes, int] = {}
        self.epoch_number = self.epoch.number
        self.final_view, self.view, self.entered_by = 0, 1, None
        self.lived_from = self.view
        early, self._early = self._early, {}
        for vote in early.values():
            self.add_vote(vote)

    # ---- what is known ----------------------------------------------------------------------------------------

    @property
    def epoch(self) -> Epoch:
        """The epoch of the next block: whose votes count."""
        return self._chain.state.epoch

    def at(self, view: int) -> ViewState:
        """What is known of a view."""
        if view not in self._views:
            self._views[view] = ViewState(self._draw(self.epoch, self._chain.ledger_id, view))
        return self._views[view]

    def leader(self, view: int) -> bytes | None:
        """The member drawn to propose in a view; nothing is remembered of views that are not looked at."""
        state = self._views.get(view)
        return state.leader if state else self._draw(self.epoch, self._chain.ledger_id, view)

    def open(self) -> list[tuple[int, ViewState]]:
        """The known views after the final one, ascending."""
        return sorted((view, one) for view, one in self._views.items() if view > self.final_view)

    def ballot(self, kind: int, view: int, block_hash: bytes | None = None) -> Ballot:
        """What a member of this epoch votes for."""
        return Ballot(kind, self.epoch.number, view, block_hash or ZERO_DIGEST)

    def wants(self, header: Header) -> bool:
        """Whether a block with this header may be a proposal that is worth fetching: leader, epoch and view are right.

        A view ahead of the next is not looked at: a certificate that leads there comes first.
        """
        return self._is_in_turn(header) and header.view > self.final_view

    def is_rival(self, header: Header) -> bool:
        """Whether the view's leader, if this header is its own, signed two: of open views, and of the final one."""
        state = self._views.get(header.view)
        known = state.header if state is not None else None
        return known is not None and known.header != header and self._is_in_turn(header)

    def _is_in_turn(self, header: Header) -> bool:
        in_window = header.epoch == self.epoch.number and self.final_view <= header.view <= self.view + 1
        return in_window and header.forger == self.leader(header.view)

    def wants_vote(self, ballot: Ballot, view: int) -> bool:
        """Whether a vote for this ballot counts by itself, for whoever is in this view."""
        if ballot.epoch == self.epoch.number + 1:
            return ballot.view == 1
        return ballot.epoch == self.epoch.number and self.oldest_wanted <= ballot.view <= view + 1

    def voting_stake(self, ballot: Ballot, member: bytes) -> int:
        """The stake with which a member votes for a ballot of this epoch, or of the next, as far as it is known."""
        is_early = ballot.epoch != self.epoch.number
        return self._chain.state.stakes.account(member).staked if is_early else self.epoch.stake(member)

    @property
    def oldest_wanted(self) -> int:
        """The first view of which single votes are counted."""
        return max(self.final_view + 1, self.view - RECENT_VIEWS)

    def is_certificate(self, tally: Tally) -> bool:
        """Whether these votes, if they are good, are a certificate of this epoch that says something new."""
        ballot = tally.ballot
        if ballot.epoch != self.epoch.number or ballot.view <= self.final_view:
            return False
        state = self._views.get(ballot.view)
        is_known = state is not None and (
            (ballot.kind == NOTARIZE and state.notarized is not None)
            or (ballot.kind == NULLIFY and state.is_nullified)
            or (ballot.kind == FINALIZE and state.finalization is not None)
        )
        return not is_known and self.epoch.is_quorum(sum(self.epoch.stake(member) for member, _ in tally.signatures))

    def block(self, block_hash: bytes) -> VerifiedBlock | None:
        """A block that is not final yet, if it is known whole and the gate has passed it."""
        pending = self._pending.get(block_hash)
        return pending.block if pending else None

    def is_chosen(self, block_hash: bytes) -> bool:
        """Whether a certificate above the final view names this block."""
        return any(one.chose(block_hash) for one in self._views.values())

    def is_requested(self, block_hash: bytes) -> bool:
        """Whether the block is asked for."""
        return block_hash in self._requested

    def parent_view_of(self, header: Header) -> int | None:
        """Where a block's parent was notarized, as far as its view is known."""
        state = self._views.get(header.view)
        return state.parent_view if state is not None else None

    def whole(self, block_hash: bytes) -> VerifiedBlock | None:
        """A block that is not final yet, if it is known whole, whatever the gate says of it."""
        return self._blocks.get(block_hash)

    def knows_vote(self, vote: Vote) -> bool:
        """Whether this very vote, signature included, was counted."""
        state = self._views.get(vote.ballot.view)
        return state is not None and vote in state.votes.get(vote.member, ())

    def votes_of(self, member: bytes) -> list[Tally]:
        """All votes held of a member, to answer it when it lost its guard."""
        votes = [one for _, state in sorted(self._views.items()) for one in state.votes.get(member, ())]
        votes += [one for (early, _), one in sorted(self._early.items()) if early == member]
        return grouped(votes)

    def rebroadcast(self) -> list[Tally]:
        """What others may lack: the best certificate for entering, votes of this view, finalize votes not final yet."""
        current = self.at(self.view)
        tallies = [self.entered_by.tally] if self.entered_by is not None else []
        tallies += [current.tally(ballot) for ballot in current.weight]
        for view, state in self.open()[::-1]:
            if view != self.view and view >= self.view - RECENT_VIEWS:
                finalize = [one for one in state.weight if one.kind == FINALIZE and state.notarized == one.block_hash]
                tallies += [state.tally(one) for one in finalize]
        return list(dict.fromkeys(tallies))

    @property
    def has_news(self) -> bool:
        """Whether votes were heard since `take_news`."""
        return bool(self._news)

    def take_news(self) -> list[Tally]:
        """The votes above the final view that were heard since this was last asked."""
        news, self._news = self._news, []
        return grouped(one for one in news if one.ballot.view > self.final_view)

    def take_unpersisted(self) -> list[Tally]:
        """Certificates that are new, and with them votes of views that are forgotten: they may become evidence."""
        if not self._certificates:
            return []
        unpersisted, self._certificates, self.forgotten = [*self._certificates, *self.forgotten], [], []
        return unpersisted

    def persists(self, block_hash: bytes) -> bool:
        """Whether a block that is voted for is to be persisted now; it is asked once."""
        is_new = block_hash not in self._persisted
        self._persisted.add(block_hash)
        return is_new

    def missing(self) -> list[bytes]:
        """Members not heard from in the current view."""
        heard = self.at(self.view).votes
        return [member for member, _ in self.epoch.members if member not in heard]

    def has_work(self) -> bool:
        """Whether something wants an end: a notarized block that is not final yet, or over 1/3 that nullify."""
        if self.in_flight():
            return True
        return 3 * self.at(self.view).weight.get(self.ballot(NULLIFY, self.view), 0) > self.epoch.total

    def in_flight(self) -> bool:
        """Whether a block above the final tip is notarized."""
        return any(one.notarized is not None or one.finalization for _, one in self.open())

    def is_leader_silent(self) -> bool:
        """Whether the leader was not heard in the last `SILENT_VIEWS` views, all of them lived through here.

        Whoever voted in the certificate that entered this view is never silent.
        """
        leader = self.leader(self.view)
        if leader is None or (self.entered_by is not None and leader in self.entered_by.members):
            return False
        return max(self._heard.get(leader, 0), self.lived_from) < self.view - SILENT_VIEWS

    # ---- which block follows which -------------------------------------------------------------------------------

    def parent_for(self, view: int) -> tuple[int, bytes] | None:
        """The newest notarized block such that every view since is nullified, and its view; else the final tip.

        `None`: a certificate is lacking (`lacking`).
        """
        for earlier in range(view - 1, self.final_view, -1):
            state = self._views.get(earlier)
            if state is None:
                return None
            if (chosen := _chosen(state)) is not None:
                return earlier, chosen
            if not state.is_nullified:
                return None
        return self.final_view, self._chain.state.tip.hash

    def may_follow(self, block_hash: bytes, view: int) -> bool:
        """Whether the block is notarized in an earlier view, or final, and every view in between is nullified."""
        for earlier in range(view - 1, self.final_view, -1):
            state = self._views.get(earlier)
            if state is None:
                return False
            if state.chose(block_hash):
                return True
            if not state.is_nullified:
                return False
        return block_hash == self._chain.state.tip.hash

    def lacking(self, view: int, parent_view: int | None = None) -> tuple[int, int] | None:
        """The first and last view of which a certificate is lacking to propose or vote in `view`; `None`: in none.

        `parent_view` is where the leader says that the parent was notarized; without it the newest notarized block
        that is known ends the search.
        """
        lowest = self.final_view + 1 if parent_view is None else max(self.final_view + 1, parent_view)
        for earlier in range(view - 1, lowest - 1, -1):
            state = self._views.get(earlier)
            is_known = state is not None and (state.is_nullified or _chosen(state) is not None)
            if earlier == parent_view:
                is_known = state is not None and _chosen(state) is not None
            if not is_known:
                return lowest, earlier
            if parent_view is None and state is not None and _chosen(state) is not None:
                return None
        return None

    def newest(self) -> Pending | None:
        """The newest notarized block, if it is above the final tip and passed by the gate."""
        hashes = [chosen for _, one in self.open() if (chosen := _chosen(one)) is not None]
        return self._pending.get(hashes[-1]) if hashes else None

    def validate(self, block_hash: bytes, outputs: list[Output]) -> Pending | None:
        """The block with its state, if it and all before it down to the final tip are known whole and legal."""
        path: list[VerifiedBlock] = []
        wanted, parent = block_hash, None
        while wanted != self._chain.state.tip.hash:
            parent = self._pending.get(wanted)
            if parent is not None:
                break
            block = self._blocks.get(wanted)
            if block is None:
                self.request(wanted, outputs)
                return None
            if wanted in self._illegal:
                self._illegal.update((one.hash, self._illegal[wanted]) for one in path)
                return None
            path.append(block)
            wanted = block.header.parent_hash
        for block in reversed(path):
            base = parent.state if parent else self._chain.state
            if base.epoch.number != self.epoch.number:
                return None  # the next epoch begins on a final block only
            try:
                state = self._chain.after(block, base, parent.holds if parent else holds_nothing)
            except Refused as refused:
                self._illegal[block.hash] = refused
                self._refused.append((block.header.forger, refused))
                return None
            parent = Pending(block, state, frozenset(one.id for one in block.certificates), parent)
            self._pending[block.hash] = parent
        return parent

    def request(self, block_hash: bytes, outputs: list[Output]) -> None:
        """Ask for a block, once; the final tip, if it is proposed again, is there."""
        if block_hash not in self._requested and block_hash != self._chain.state.tip.hash:
            self._requested.add(block_hash)
            outputs.append(RequestBlock(block_hash))

    def refusal(self, block_hash: bytes) -> Refused | None:
        """Why the gate refused a block, if it did."""
        return self._illegal.get(block_hash)

    def take_refused(self) -> list[tuple[bytes, Refused]]:
        """Blocks that the gate refused since this was last asked: each one's forger, and why."""
        refused, self._refused = self._refused, []
        return refused

    # ---- knowledge goes in ------------------------------------------------------------------------------------

    def add_tally(self, tally: Tally) -> list[Equivocation]:
        """Count votes whose signatures are good: each by itself, or all together if they are a certificate."""
        if not self.is_certificate(tally):
            return [found for one in tally.votes if (found := self.add_vote(one))]
        equivocations = [found for one in tally.votes if self.epoch.stake(one.member) and (found := self._add(one))]
        self._certify(certificate_of(tally, self.epoch))
        return equivocations

    def add_vote(self, vote: Vote) -> Equivocation | None:
        """Count a vote whose signature is good. Returns what it and an earlier one of its member prove."""
        ballot = vote.ballot
        if not self.wants_vote(ballot, self.view) or not self.voting_stake(ballot, vote.member):
            return None
        if ballot.epoch != self.epoch.number:
            self._early.setdefault((vote.member, ballot.kind), vote)
            return None
        caught = self._add(vote)
        state = self.at(ballot.view)
        if self.epoch.is_quorum(state.weight.get(ballot, 0)) and self.is_certificate(tally := state.tally(ballot)):
            self._certify(certificate_of(tally, self.epoch))
        return caught

    def _add(self, vote: Vote) -> Equivocation | None:
        ballot, state = vote.ballot, self.at(vote.ballot.view)
        known = state.votes.setdefault(vote.member, [])
        if any(earlier.ballot == ballot for earlier in known):
            return None
        earlier = next((one for one in known if one.conflicts_with(vote)), None)
        if earlier is None or ballot in state.weight or len(known) < 4:  # certificates may rest on who said both
            known.append(vote)
            if ballot.view >= self.oldest_wanted:
                self._news.append(vote)
            self._heard[vote.member] = max(self._heard.get(vote.member, 0), self.view)
            state.weight[ballot] = state.weight.get(ballot, 0) + self.epoch.stake(vote.member)
            if ballot.kind == NOTARIZE:
                if state.proposed is None and vote.member == state.leader:
                    state.proposed = ballot.block_hash
                self._suspect(state)
        return Equivocation(earlier, vote) if earlier else None

    def _certify(self, certificate: VoteCertificate) -> None:
        """A certificate is known: it ends its view for whoever is in it or before it."""
        state = self.at(certificate.view)
        if not isinstance(certificate, Finalization):  # that one is kept with its block
            self._certificates.append(certificate.tally)
            state.persisted.update((member, certificate.tally.ballot) for member, _ in certificate.tally.signatures)
        match certificate:
            case Notarization():
                state.notarized = certificate.block_hash
            case Nullification():
                state.is_nullified = True
            case Finalization():
                state.finalization = certificate
        if certificate.view >= self.view:
            is_jump = certificate.view > self.view
            self._enter(certificate.view + 1, certificate)
            if is_jump:
                self.lived_from = self.view
        elif certificate.view == self.view - 1 and self.entered_by is None:
            self.entered_by = certificate  # the guard alone led here, after a start
        elif certificate.view < self.view - RECENT_VIEWS:
            self._compact(state)
        if state.chose(self._chain.state.tip.hash):
            self._settle(certificate.view)

    def _enter(self, view: int, certificate: VoteCertificate | None) -> None:
        """On to a later view. Where views keep ending nothing is repeated, so what is missing is asked for in each."""
        self.view, self.entered_by = view, certificate
        self._requested = set()
        for old in [one for one in self._views if one < view - RECENT_VIEWS]:
            self._compact(self._views[old])
        self._news = [one for one in self._news if one.ballot.view >= self.oldest_wanted]
        self._forget_blocks()

    def _forget_blocks(self) -> None:
        """Let go of blocks of views that are over, but for those that a quorum chose above the final view."""
        self._blocks = {
            one: block
            for one, block in self._blocks.items()
            if block.header.view >= self.oldest_wanted or (block.header.view > self.final_view and self.is_chosen(one))
        }
        self._pending = {one: pending for one, pending in self._pending.items() if one in self._blocks}
        self._illegal = {one: refused for one, refused in self._illegal.items() if one in self._blocks}
        self._persisted &= self._blocks.keys()

    def _compact(self, state: ViewState) -> None:
        """Of a view long ended only its certificates' outcome stays in memory; the votes are handed out once."""
        if state.votes:
            self.forgotten += state.take_unpersisted()
            state.votes, state.weight, state.persisted = {}, {}, set()

    def enter_by_guard(self, view: int) -> None:
        """The guard shows that this member was in this view before it stopped."""
        if view > self.view:
            self._enter(view, None)
            self.lived_from = view

    def add_header(self, signed: SignedHeader, parent_view: int | None = None) -> Equivocation | None:
        """Note what a leader signed; the signature is good. Returns what it and another for this view prove."""
        if not self._is_in_turn(signed.header):
            return None
        state = self.at(signed.header.view)
        if state.header is None:
            state.header = signed
            if state.proposed is None:
                state.proposed, state.parent_view = signed.header.hash, parent_view
            self._heard[signed.header.forger] = max(self._heard.get(signed.header.forger, 0), self.view)
            self._suspect(state)
        return Equivocation(state.header, signed) if state.header.conflicts_with(signed) else None

    def heard_parent_view(self, view: int, block_hash: bytes, parent_view: int) -> None:
        """A peer says where the block that was proposed in a view, or its parent, was notarized: a hint, no proof."""
        if self.final_view < view <= self.view + 1:
            state = self.at(view)
            if state.parent_view is None and state.proposed in (None, block_hash):
                state.parent_view = parent_view

    def _suspect(self, state: ViewState) -> None:
        """Members notarize what the leader did not show us: it may have signed two, so we want to see the other."""
        if state.header is None or state.rival is not None:
            return
        shown, tip_hash = state.header.header.hash, self._chain.state.tip.hash
        others = [one for one in state.weight if one.kind == NOTARIZE and one.block_hash not in (shown, tip_hash)]
        rivals = [one for one in others if one.block_hash not in self._blocks]
        if rivals:
            state.rival = max(rivals, key=lambda ballot: state.weight[ballot]).block_hash
            self._rivals.append(state.rival)

    def take_rivals(self) -> list[RequestBlock]:
        """Requests for what may be a second proposal, once in a view and once again with every repetition."""
        rivals, self._rivals = self._rivals, []
        return [RequestBlock(one) for one in rivals]

    def add_block(self, block: VerifiedBlock) -> Equivocation | None:
        """Keep a whole block, if it may be a proposal of this epoch or a certificate names it."""
        caught = self.add_header(block.signed_header)
        header = block.header
        is_named = self.is_requested(block.hash) or self.is_chosen(block.hash)
        if block.hash in self._blocks or not (self.wants(header) or is_named):
            return caught
        if is_named or self.at(header.view).blocks < _BLOCKS_A_VIEW:
            self.keep(block)
        return caught

    def keep(self, block: VerifiedBlock) -> None:
        """Keep a block, however many its view has: this member's own."""
        if block.header.view > self.final_view:
            self.at(block.header.view).blocks += 1
        self._blocks[block.hash] = block

    def ask_again(self) -> None:
        """Blocks that were asked for in vain are asked for anew."""
        self._requested = set()
        for _, state in self.open():
            state.rival = state.parent_view = None  # the hint may have been wrong
            self._suspect(state)

    # ---- on to the next ---------------------------------------------------------------------------------------

    def tip_advanced(self, finalization: Finalization | None) -> None:
        """The chain's tip moved: what hung from elsewhere is forgotten, and perhaps an epoch begins."""
        tip, number = self._chain.state.tip, self.epoch.number
        if number != self.epoch_number:
            self._begin_epoch()
        self._pending = {}
        if finalization is not None and finalization.epoch == number:
            if finalization.view > self.final_view:
                self._certify(finalization)
        elif self.view == 1:
            self.entered_by = finalization
        if tip.epoch == number:
            self._settle(tip.view)
        for view, one in sorted(self._views.items()):
            if one.chose(tip.hash):
                self._settle(view)

    def _settle(self, view: int) -> None:
        """The final tip was notarized in this view: what is older does not matter any more."""
        if view <= self.final_view:
            return
        self.final_view, final = view, self._views.get(view)
        for old in [one for one in self._views if one <= view]:
            self._compact(self._views.pop(old))
        if final is not None:
            self.at(view).header = final.header  # its leader may yet sign another
        self._forget_blocks()
        if self.view <= view:
            self._enter(view + 1, None)


def _chosen(state: ViewState) -> bytes | None:
    """The block that a quorum notarized in a view, by either certificate."""
    return state.notarized or (state.finalization.block_hash if state.finalization is not None else None)


def grouped(votes: Iterable[Vote]) -> list[Tally]:
    """The votes, those for one ballot together."""
    by_ballot: dict[Ballot, list[Vote]] = {}
    for vote in votes:
        by_ballot.setdefault(vote.ballot, []).append(vote)
    return [tally_of(one) for one in by_ballot.values()]
