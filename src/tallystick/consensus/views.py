"""What is known of an epoch's views: votes, the certificates that they make, and what their leaders signed."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tallystick.consensus.agreement import Equivocation, Output, RequestBlock
from tallystick.consensus.proposals import Proposals
from tallystick.ledger.block import VerifiedBlock
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.finality import Finalization, VoteCertificate, certificate_of
from tallystick.ledger.header import Header, SignedHeader
from tallystick.ledger.stake import StakeTable
from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY, Ballot, Tally, Vote, tally_of

Draw = Callable[[StakeTable, bytes, int, int], bytes | None]
"""The leader of a view: by these stakes, on the ledger with this id, in this epoch."""

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
    decided: dict[int, bytes] = field(default_factory=dict)
    """What a quorum voted for, by kind of vote: a block, or zero where it nullified."""
    chosen: list[bytes] = field(default_factory=list)
    """The block that a quorum notarized, finalized or both; two of them only if a third of the stake is bad."""
    finalization: Finalization | None = None
    header: SignedHeader | None = None
    """The first that its leader was seen to have signed."""
    rival: bytes | None = None
    """Another block that members notarize, so that its leader may have signed two."""
    blocks: int = 0
    persisted: set[tuple[bytes, Ballot]] = field(default_factory=set)
    """Member and ballot of the votes that were handed out to be persisted."""

    @property
    def notarized(self) -> bytes | None:
        """The block that a quorum notarized."""
        return self.decided.get(NOTARIZE)

    @property
    def is_nullified(self) -> bool:
        """Whether a quorum nullified the view."""
        return NULLIFY in self.decided

    def tally(self, ballot: Ballot) -> Tally:
        """The votes for a ballot (at least one)."""
        return tally_of(vote for votes in self.votes.values() for vote in votes if vote.ballot == ballot)

    def take_unpersisted(self) -> list[Tally]:
        """The votes that were not handed out to be persisted yet, by ballot."""
        new = [one for votes in self.votes.values() for one in votes if (one.member, one.ballot) not in self.persisted]
        self.persisted.update((one.member, one.ballot) for one in new)
        return grouped(new)


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

    outputs: list[Output]
    """What is to be done about what became known, until the next step hands it out."""
    proposals: Proposals
    news: list[Vote]
    """Votes that were heard and not passed on yet; those of views that still count."""

    def __init__(self, chain: Blockchain, draw: Draw) -> None:
        self._chain, self._draw, self.outputs = chain, draw, []
        self._early: dict[tuple[bytes, int], Vote] = {}
        """By member and kind: votes for view 1 of the next epoch."""
        self._certificates: list[Tally] = []
        """Those of this epoch that were not handed out to be persisted yet."""
        self.forgotten: list[Tally] = []
        """Votes of views that are over, to be persisted with the next certificates."""
        self._views: dict[int, ViewState] = {}
        """From the final view on; single votes stand in those from `oldest_wanted` on."""
        self.absent: set[bytes] = set()
        """Members whose connection with this node ended, or that were found silent, and were not heard since."""
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        """Forget the epoch before; its votes that were not persisted yet are handed out."""
        for state in self._views.values():
            self._compact(state)
        self._views, self.news = {}, []
        self.proposals = Proposals(self._chain, self.outputs)
        self._heard: dict[bytes, int] = {}
        self.absent = {one for one in self.absent if self.epoch.stake(one)}
        self._epoch_number = self.epoch.number
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
            self._views[view] = ViewState(self.leader(view))
        return self._views[view]

    def leader(self, view: int) -> bytes | None:
        """The member drawn to propose in a view; nothing is remembered of views that are not looked at."""
        state, epoch = self._views.get(view), self.epoch
        return state.leader if state else self._draw(epoch.stakes, self._chain.ledger_id, epoch.number, view)

    def open(self) -> list[tuple[int, ViewState]]:
        """The known views after the final one, ascending."""
        return [(view, self._views[view]) for view in sorted(self._views) if view > self.final_view]

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
        state = self._views.get(ballot.view)
        is_known = state is not None and ballot.kind in state.decided
        return ballot.view > self.final_view and not is_known and self.epoch.certifies(tally)

    def is_chosen(self, block_hash: bytes) -> bool:
        """Whether a certificate above the final view names this block."""
        return any(block_hash in one.chosen for one in self._views.values())

    def knows_vote(self, vote: Vote) -> bool:
        """Whether this very vote, signature included, was counted."""
        state = self._views.get(vote.ballot.view)
        return state is not None and vote in state.votes.get(vote.member, ())

    def gathered(self, finalization: Finalization) -> Finalization:
        """The same with all votes for its ballot that are at hand."""
        state, ballot = self.at(finalization.ballot.view), finalization.ballot
        votes = {one.member: one for one in finalization.tally.votes}
        if ballot in state.weight:
            votes |= {one.member: one for one in state.tally(ballot).votes}
        return Finalization(tally_of(votes.values()), self.epoch)

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

    def take_news(self) -> list[Tally]:
        """The votes above the final view that were heard since this was last asked."""
        news, self.news = self.news, []
        return grouped(one for one in news if one.ballot.view > self.final_view)

    def take_unpersisted(self) -> list[Tally]:
        """Certificates that are new, and with them votes of views that are forgotten: they may become evidence."""
        if not self._certificates:
            return []
        unpersisted, self._certificates, self.forgotten = [*self._certificates, *self.forgotten], [], []
        return unpersisted

    def missing(self) -> list[bytes]:
        """Members not heard from in the current view."""
        heard = self.at(self.view).votes
        return [member for member, _ in self.epoch.members if member not in heard]

    def has_work(self) -> bool:
        """Whether something wants an end: a notarized block that is not final yet, or over 1/3 that nullify."""
        nullifying = self.at(self.view).weight.get(self.ballot(NULLIFY, self.view), 0)
        return 3 * nullifying > self.epoch.total or any(one.chosen for _, one in self.open())

    def is_leader_absent(self) -> bool:
        """Whether the leader is absent and has not proposed: who has is not waited for in vain."""
        return self.leader(self.view) in self.absent and self.at(self.view).proposed is None

    def is_leader_unheard(self) -> bool:
        """Whether the leader was not heard in the last `SILENT_VIEWS` views, all lived through here.

        Whoever voted in the certificate that entered this view is not silent for that long.
        """
        leader, oldest = self.leader(self.view), self.view - SILENT_VIEWS
        if leader is None or max(self._heard.get(leader, 0), self.lived_from) >= oldest:
            return False
        return self.entered_by is None or leader not in self.entered_by.members

    # ---- which block follows which -------------------------------------------------------------------------------

    def parents(self, view: int) -> Iterator[tuple[int, bytes]]:
        """What a block of this view may follow, newest first, each with the view that chose it.

        Notarized blocks such that every view since is nullified; at last the final tip, unless a certificate is
        lacking (`lacking`).
        """
        for earlier in range(view - 1, self.final_view, -1):
            state = self._views.get(earlier, _UNKNOWN)
            yield from ((earlier, one) for one in state.chosen)
            if not state.is_nullified:
                return
        yield self.final_view, self._chain.state.tip.hash

    def may_follow(self, block_hash: bytes, view: int) -> bool:
        """Whether the block is one of `parents`."""
        return any(one == block_hash for _, one in self.parents(view))

    def lacking(self, view: int, parent_view: int | None = None) -> tuple[int, int] | None:
        """The first and last view of which a certificate is lacking to propose or vote in `view`; `None`: in none.

        `parent_view` is where the leader says that the parent was notarized; without it the newest notarized block
        that is known ends the search.
        """
        lowest = self.final_view + 1 if parent_view is None else max(self.final_view + 1, parent_view)
        for earlier in range(view - 1, lowest - 1, -1):
            state = self._views.get(earlier, _UNKNOWN)
            if parent_view is None and state.chosen:
                return None
            if not state.chosen and (earlier == parent_view or not state.is_nullified):
                return lowest, earlier
        return None

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
        equivocation = self._add(vote)
        state = self.at(ballot.view)
        if self.epoch.is_quorum(state.weight.get(ballot, 0)) and self.is_certificate(tally := state.tally(ballot)):
            self._certify(certificate_of(tally, self.epoch))
        return equivocation

    def _add(self, vote: Vote) -> Equivocation | None:
        ballot, state = vote.ballot, self.at(vote.ballot.view)
        known = state.votes.setdefault(vote.member, [])
        if any(earlier.ballot == ballot for earlier in known):
            return None
        earlier = next((one for one in known if one.conflicts_with(vote)), None)
        if earlier is None or ballot in state.weight or len(known) < 4:  # certificates may rest on who said both
            known.append(vote)
            if ballot.view >= self.oldest_wanted:
                self.news.append(vote)
            self.hear(vote.member)
            state.weight[ballot] = state.weight.get(ballot, 0) + self.epoch.stake(vote.member)
            if ballot.kind == NOTARIZE:
                if state.proposed is None and vote.member == state.leader:
                    state.proposed = ballot.block_hash
                self._suspect(state)
        return Equivocation(earlier, vote) if earlier else None

    def hear(self, member: bytes) -> None:
        """A member said something: it is not absent, and not silent for some views."""
        self._heard[member] = self.view
        self.absent.discard(member)

    def _certify(self, certificate: VoteCertificate) -> None:
        """A certificate is known: it ends its view for whoever is in it or before it."""
        ballot, state = certificate.ballot, self.at(certificate.ballot.view)
        state.decided[certificate.kind] = ballot.block_hash
        if certificate.kind != NULLIFY and ballot.block_hash not in state.chosen:
            state.chosen.append(ballot.block_hash)
        if isinstance(certificate, Finalization):
            state.finalization = certificate
        else:  # a finalization is kept with its block
            self._certificates.append(certificate.tally)
            state.persisted.update((member, ballot) for member, _ in certificate.tally.signatures)
        if ballot.view >= self.view:
            is_jump = ballot.view > self.view
            self._enter(ballot.view + 1, certificate)
            if is_jump:
                self.lived_from = self.view
        elif ballot.view == self.view - 1 and self.entered_by is None:
            self.entered_by = certificate  # the guard alone led here, after a start
        elif ballot.view < self.view - RECENT_VIEWS:
            self._compact(state)
        if self._chain.state.tip.hash in state.chosen:
            self._raise_final_view(ballot.view)

    def _enter(self, view: int, certificate: VoteCertificate | None) -> None:
        """On to a later view. Where views keep ending nothing is repeated, so what is missing is asked for in each."""
        self.view, self.entered_by = view, certificate
        self.proposals.ask_again()
        for old in [one for one in self._views if one < view - RECENT_VIEWS]:
            self._compact(self._views[old])
        self.news = [one for one in self.news if one.ballot.view >= self.oldest_wanted]
        self._forget_blocks()

    def _forget_blocks(self) -> None:
        """Let go of blocks of views that are over, but for those that a quorum chose above the final view."""
        oldest, chosen = self.oldest_wanted, {one for state in self._views.values() for one in state.chosen}
        self.proposals.forget(
            lambda header: header.view >= oldest or (header.view > self.final_view and header.hash in chosen)
        )

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
            self.hear(signed.header.forger)
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
        rivals = [one for one in others if self.proposals.whole(one.block_hash) is None]
        if rivals:
            state.rival = max(rivals, key=lambda ballot: state.weight[ballot]).block_hash
            self.outputs.append(RequestBlock(state.rival))  # once in a view, and with every repetition

    def add_block(self, block: VerifiedBlock) -> None:
        """Keep a whole block, if it may be a proposal of this epoch or a certificate names it."""
        is_named = self.proposals.is_requested(block.hash) or self.is_chosen(block.hash)
        has_room = self.wants(block.header) and self.at(block.header.view).blocks < _BLOCKS_A_VIEW
        if self.proposals.whole(block.hash) is None and (is_named or has_room):
            self.keep(block)

    def keep(self, block: VerifiedBlock) -> None:
        """Keep a block, however many its view has: this member's own."""
        if block.header.view > self.final_view:
            self.at(block.header.view).blocks += 1
        self.proposals.keep(block)

    def ask_again(self) -> None:
        """Blocks that were asked for in vain are asked for anew."""
        self.proposals.ask_again()
        for _, state in self.open():
            state.rival = state.parent_view = None  # the hint may have been wrong
            self._suspect(state)

    # ---- on to the next ---------------------------------------------------------------------------------------

    def tip_advanced(self, finalization: Finalization | None) -> bool:
        """The chain's tip moved: what hung from elsewhere is forgotten. Returns whether an epoch begins."""
        tip, number, before = self._chain.state.tip, self.epoch.number, self._epoch_number
        if number != before:
            self._begin_epoch()
        self.proposals.tip_advanced()
        if finalization is not None and finalization.ballot.epoch == number:
            if finalization.ballot.view > self.final_view:
                self._certify(finalization)
        elif self.view == 1:
            self.entered_by = finalization
        if tip.epoch == number:
            self._raise_final_view(tip.view)
        for view, one in sorted(self._views.items()):
            if tip.hash in one.chosen:
                self._raise_final_view(view)
        return number != before

    def _raise_final_view(self, view: int) -> None:
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


_UNKNOWN: Final = ViewState(None)


def grouped(votes: Iterable[Vote]) -> list[Tally]:
    """The votes, those for one ballot together."""
    by_ballot: dict[Ballot, list[Vote]] = {}
    for vote in votes:
        by_ballot.setdefault(vote.ballot, []).append(vote)
    return [tally_of(one) for one in by_ballot.values()]
