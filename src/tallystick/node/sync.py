"""Catching up: blocks that came early, and asking for those that are missing, range by range, from several peers.

Only what can be judged on arrival is asked for; where that takes proof (`Finality.question`), the proof comes first.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from tallystick.ledger.block import Block, VerifiedBlock
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.messages import BlockRequest, FinalizationRequest, Finalizations, HeaderRequest, Headers
from tallystick.ledger.vote import Tally
from tallystick.node.events import Peer, Send
from tallystick.node.finality_proofs import Finality, Proof, Question
from tallystick.node.limits import Limits

_PATIENCE: Final = 5
"""Requests in a row that a peer may leave unanswered before its tip counts for nothing until it tells it again."""


class SetAside(NamedTuple):
    """A block that came early, and the votes that make it final, if it came with them."""

    block: VerifiedBlock
    finalization: Tally | None


@dataclass
class _Share:
    """What is known of one peer, and what it has set aside here: at most one block an index."""

    tip_index: int = 0
    epoch: int = 0
    """Of the block after its tip, as it says; 0 when its word counts for nothing."""
    stalls: int = 0
    distrusted_until_ms: int = 0
    blocks: dict[int, SetAside] = field(default_factory=dict)
    size_bytes: int = 0
    """Of `blocks`, encoded."""

    def take(self, index: int) -> SetAside | None:
        """The block set aside for this index, if there is one; it leaves."""
        if (aside := self.blocks.pop(index, None)) is not None:
            self.size_bytes -= len(aside.block.encoded)
        return aside


@dataclass(frozen=True)
class _Request:
    peer: Peer
    deadline_ms: int
    blocks: range = range(0)
    question: Question | None = None
    """For proof, not for blocks."""


class Sync:
    """A lying or stalling peer costs time, never a wrong block: what arrives is checked when its turn comes."""

    def __init__(self, limits: Limits, finality: Finality) -> None:
        self._limits = limits
        self.finality = finality
        self._shares: dict[Peer, _Share] = {}
        self._requests: list[_Request] = []
        self._range_blocks = limits.range_blocks
        """Blocks to ask for at a time: as many as fit an answer, were they as large as the last that came."""
        self._best_index: int | None = 0
        """`best_index`, unless a share has changed since."""

    @property
    def set_aside_count(self) -> int:
        """Blocks waiting for the ones before them."""
        return sum(len(share.blocks) for share in self._shares.values())

    def deadline_ms(self) -> int | None:
        """When the first request under way runs out of time; `None`: nothing was asked."""
        return min((request.deadline_ms for request in self._requests), default=None)

    @property
    def best_index(self) -> int:
        """The latest block that a peer told of; 0 if of none."""
        if self._best_index is None:
            self._best_index = max((share.tip_index for share in self._shares.values()), default=0)
        return self._best_index

    def tip_of(self, peer: Peer) -> int:
        """The latest block that this peer told of; 0 if of none."""
        share = self._shares.get(peer)
        return share.tip_index if share else 0

    def is_behind(self, tip_index: int, now_ms: int) -> bool:
        """Whether a peer that has let nobody wait so far, and is not distrusted, says its chain is longer."""
        if self.best_index <= tip_index:
            return False
        ahead = [one for one in self._shares.values() if one.tip_index > tip_index and not one.stalls]
        return any(one.distrusted_until_ms <= now_ms for one in ahead)

    def is_asked(self, peer: Peer, start: int) -> bool:
        """Whether the peer was asked for blocks from this index on."""
        return any(one.peer == peer and start in one.blocks[:1] for one in self._requests)

    def is_answer(self, peer: Peer, proof: Proof) -> bool:
        """Whether this answers what the peer was asked to prove: an answer may come late, or twice."""
        match next((one.question for one in self._requests if one.question and one.peer == peer), None):
            case HeaderRequest(last) if isinstance(proof, Headers):
                return all(header.index == last for header in proof.headers[-1:])
            case FinalizationRequest(epoch) if isinstance(proof, Finalizations):
                return all(one.header.epoch == epoch for one in proof.proofs[:1])
        return False

    def heard_tip(self, peer: Peer, index: int, epoch: int) -> None:
        """A peer says, or shows by a block, that its chain reaches this index, and this epoch with the next block."""
        share = self._shares.setdefault(peer, _Share())
        share.tip_index, share.epoch = max(share.tip_index, index), max(share.epoch, epoch)
        self._best_index = None

    def _lower(self, share: _Share, index: int) -> None:
        """What a peer claims beyond this index counts for nothing until it tells its tip again."""
        share.tip_index, share.epoch = min(share.tip_index, index), 0
        self._best_index = None

    def forget(self, peer: Peer) -> None:
        """The peer is gone: what it set aside goes with it, what it was asked is asked elsewhere."""
        self._shares.pop(peer, None)
        self._best_index = None
        self._requests = [request for request in self._requests if request.peer != peer]

    def proof_answered(self, peer: Peer, proof: Proof) -> bool:
        """Whether this answers what the peer was asked to prove; then the request is over."""
        is_answer = self.is_answer(peer, proof)
        if is_answer:
            self._requests = [one for one in self._requests if not (one.question and one.peer == peer)]
        return is_answer

    def proved(self, peer: Peer) -> None:
        """The peer proved all that it can: what it claims beyond that counts for nothing."""
        share = self._shares.get(peer)
        if share is not None:
            self._lower(share, self.finality.reach(share.tip_index, share.epoch))
            share.stalls = 0

    def set_aside(self, peer: Peer, aside: SetAside) -> None:
        """Keep an early block on its sender's account.

        Raises `Refused` (N2) when the account is full and this block is the one furthest off: a peer's far blocks
        make way for its nearer ones, never another peer's.
        """
        index, limits = aside.block.index, self._limits
        self.heard_tip(peer, index, aside.block.header.epoch)
        share = self._shares[peer]
        gone = {index} if index in share.blocks else set()
        room_bytes = limits.set_aside_bytes_per_peer - share.size_bytes - len(aside.block.encoded)
        while (
            len(share.blocks) - len(gone) >= limits.set_aside_blocks_per_peer
            or sum(len(share.blocks[one].block.encoded) for one in gone) + room_bytes < 0
        ):
            furthest = max(share.blocks.keys() - gone, default=index)
            if furthest <= index:
                raise Refused(Rule.N2, f"block {index} is not set aside: the share of its sender is full")
            gone.add(furthest)
        for one in gone:
            share.take(one)
        share.blocks[index] = aside
        share.size_bytes += len(aside.block.encoded)

    def take(self, index: int) -> list[tuple[Peer, SetAside]]:
        """The set-aside blocks for this index, one a peer at most; they leave."""
        return [(peer, aside) for peer, share in self._shares.items() if (aside := share.take(index))]

    def added(self, index: int) -> None:
        """The chain reached this index: rivals set aside for it go, and requests answered by it are over."""
        self.take(index)
        self._requests = [one for one in self._requests if one.question or one.blocks[-1] > index]

    def answered(self, peer: Peer, start: int, count: int, now_ms: int) -> bool:
        """Whether these blocks were asked of the peer; then the request is over, and its others have time anew.

        They are answered one after the other, and wait here while the blocks of the first are verified. So one that was
        passed over has no more time, nor its sender the merit of an answer. The peer is not trusted after an answer
        without blocks: it said that it had them.
        """
        asked = [one for one in self._requests if one.peer == peer and one.blocks]
        request = next((one for one in asked if one.blocks[0] == start), None)
        if request is None:
            return False
        place, share = asked.index(request), self._shares[peer]
        later, deadline_ms = asked[place + 1 :], now_ms + self._limits.request_timeout_ms
        self._requests = [
            replace(one, deadline_ms=deadline_ms) if one in later else one
            for one in self._requests
            if one is not request
        ]
        if place == 0:
            share.stalls = 0
        if count == 0:
            self.distrust(peer, now_ms)
        return True

    def came(self, blocks: Sequence[Block]) -> None:
        """Blocks came that were asked for, and are final: the next are asked for in ranges that fit an answer.

        Of a longer range a peer would read the rest in vain, and the requests under way would be far apart.
        """
        size_bytes = sum(len(one.encoded) for one in blocks)
        fitting = self._limits.answer_bytes * len(blocks) // size_bytes
        self._range_blocks = min(max(1, fitting), self._limits.range_blocks)

    def distrust(self, peer: Peer, now_ms: int) -> None:
        """The peer's blocks did not fit: what it set aside goes, and it has to tell its tip anew.

        Even then it is not asked for a while, or a liar would be asked at the speed of the line.
        """
        share = self._shares.get(peer)
        if share is not None:
            self._lower(share, 0)
            share.distrusted_until_ms = now_ms + self._limits.request_timeout_ms
            share.blocks, share.size_bytes = {}, 0

    def expire(self, now_ms: int) -> bool:
        """Give up requests whose time has run out. Returns whether a peer's tip counts for nothing from now on."""
        late = [request for request in self._requests if request.deadline_ms <= now_ms]
        self._requests = [request for request in self._requests if request.deadline_ms > now_ms]
        lost_a_peer = False
        for request in late:
            share = self._shares[request.peer]
            share.stalls += 1
            if share.stalls >= _PATIENCE:
                share.stalls = 0
                self._lower(share, 0)
                lost_a_peer = True
        return lost_a_peer

    def ask(self, tip_index: int, now_ms: int) -> list[Send]:
        """Requests for the nearest missing ranges, as many as may be under way, spread over peers that have them."""
        if self.best_index <= tip_index:
            return []
        limits = self._limits
        ahead = {peer: share for peer, share in self._shares.items() if share.tip_index > tip_index}
        if not (trusted := {peer: one for peer, one in ahead.items() if one.distrusted_until_ms <= now_ms}):
            return []
        sends = self._ask_for_proof(trusted, now_ms)
        reach = {peer: self.finality.reach(share.tip_index, share.epoch) for peer, share in trusted.items()}
        ends_prove = self.finality.is_below_trusted_block  # ranges end where they can be proven then
        range_blocks = limits.range_blocks if ends_prove else self._range_blocks
        highest = min(tip_index + limits.requests_in_flight * range_blocks, max(reach.values()))
        coming = {index for share in self._shares.values() for index in share.blocks}
        coming.update(index for request in self._requests for index in request.blocks)
        start = tip_index + 1
        while sum(not one.question for one in self._requests) < limits.requests_in_flight:
            while start <= highest and start in coming:
                start += 1
            peer = self._best_of(peer for peer, last in reach.items() if last >= start) if start <= highest else None
            if peer is None:
                break
            end, last = start + 1, min(reach[peer], self.finality.range_end(start))
            if not ends_prove:
                last = min(last, highest, start + range_blocks - 1)
            while end <= last and end not in coming:
                end += 1
            self._requests.append(_Request(peer, now_ms + limits.request_timeout_ms, range(start, end)))
            sends.append(Send(peer, BlockRequest(start, end - start)))
            start = end
        return sends

    def _ask_for_proof(self, trusted: dict[Peer, _Share], now_ms: int) -> list[Send]:
        """One question at a time, to a peer that claims to know more than is proven."""
        if any(request.question for request in self._requests):
            return []
        asked = ((peer, self.finality.question(share.tip_index, share.epoch)) for peer, share in trusted.items())
        questions = {peer: question for peer, question in asked if question is not None}
        peer = self._best_of(questions) if questions else None
        if peer is None:
            return []
        self._requests.append(_Request(peer, now_ms + self._limits.request_timeout_ms, question=questions[peer]))
        return [Send(peer, questions[peer])]

    def _best_of(self, able: Iterable[Peer]) -> Peer | None:
        """The peer that stalled least, then the one with the least to do."""
        busy = Counter(request.peer for request in self._requests if request.blocks)
        return min(able, key=lambda peer: (self._shares[peer].stalls, busy[peer]), default=None)
