"""Catching up: blocks that came early, and asking for those that are missing, range by range, from several peers.

With a `FinalityProofs` (Simplex), proof comes first, and only what can be judged on arrival is asked for.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tallystick.ledger.block import Block
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.messages import BlockRequest, HeaderRequest
from tallystick.ledger.vote import Tally
from tallystick.node.events import Peer, Send
from tallystick.node.finality_proofs import FinalityProofs
from tallystick.node.limits import Limits

_PATIENCE: Final = 5
"""Requests in a row that a peer may leave unanswered before its tip counts for nothing until it tells it again."""


class SetAside(NamedTuple):
    """A block that came early, and the votes that make it final, if it came with them."""

    block: Block
    finalization: Tally | None


@dataclass
class _Share:
    """What is known of one peer, and what it has set aside here: at most one block an index."""

    tip_index: int = 0
    stalls: int = 0
    distrusted_until_ms: int = 0
    blocks: dict[int, SetAside] = field(default_factory=dict)
    size_bytes: int = 0


@dataclass(frozen=True)
class _Request:
    peer: Peer
    start: int
    count: int
    deadline_ms: int

    def covers(self, index: int) -> bool:
        return self.start <= index < self.start + self.count


class Sync:
    """A lying or stalling peer costs time, never a wrong block: what arrives is checked when its turn comes."""

    def __init__(self, limits: Limits, proofs: FinalityProofs | None = None) -> None:
        self._limits = limits
        self._proofs = proofs
        self._proof_request: _Request | None = None
        self._shares: dict[Peer, _Share] = {}
        self._requests: list[_Request] = []
        self._aside: Counter[int] = Counter()

    @property
    def set_aside_count(self) -> int:
        """Blocks waiting for the ones before them."""
        return self._aside.total()

    def deadline_ms(self) -> int | None:
        """When the first request under way runs out of time; `None`: nothing was asked."""
        return min((request.deadline_ms for request in self._under_way()), default=None)

    @property
    def best_index(self) -> int:
        """The latest block that a peer told of; 0 if of none."""
        return max((share.tip_index for share in self._shares.values()), default=0)

    def tip_of(self, peer: Peer) -> int:
        """The latest block that this peer told of; 0 if of none."""
        share = self._shares.get(peer)
        return share.tip_index if share else 0

    def is_behind(self, tip_index: int, now_ms: int) -> bool:
        """Whether a peer that has let nobody wait so far, and is not distrusted, says its chain is longer."""
        return any(
            share.tip_index > tip_index and not share.stalls and share.distrusted_until_ms <= now_ms
            for share in self._shares.values()
        )

    def is_asked(self, start: int) -> bool:
        """Whether a request for blocks from this index on is under way."""
        return any(request.start == start for request in self._requests)

    def heard_tip(self, peer: Peer, index: int) -> None:
        """A peer says, or shows by a block, that its chain reaches this index."""
        share = self._shares.setdefault(peer, _Share())
        share.tip_index = max(share.tip_index, index)

    def forget(self, peer: Peer) -> None:
        """The peer is gone: what it set aside goes with it, what it was asked is asked elsewhere."""
        share = self._shares.get(peer)
        if share is not None:
            for index in list(share.blocks):
                self._drop(share, index)
            del self._shares[peer]
        self._requests = [request for request in self._requests if request.peer != peer]
        if self.proof_asked(peer) is not None:
            self.proof_answered()

    def proof_asked(self, peer: Peer) -> int | None:
        """The index that proof (finalizations, or headers) was asked for, if of this peer."""
        request = self._proof_request
        return request.start if request is not None and request.peer == peer else None

    def proof_answered(self) -> None:
        """The request for proof is over."""
        self._proof_request = None

    def proved(self, peer: Peer, index: int) -> None:
        """The peer proved its chain up to this index, and no more: what else it claimed counts for nothing."""
        share = self._shares.get(peer)
        if share is not None:
            share.tip_index, share.stalls = min(share.tip_index, index), 0

    def set_aside(self, peer: Peer, aside: SetAside) -> None:
        """Keep an early block on its sender's account.

        Raises `Refused` (N2) when the account is full and this block is the one furthest off: a peer's far blocks
        make way for its nearer ones, never another peer's.
        """
        block = aside.block
        self.heard_tip(peer, block.index)
        share, limits = self._shares[peer], self._limits
        replaced = share.blocks.get(block.index)
        count = len(share.blocks) + (replaced is None)
        size_bytes = share.size_bytes + len(block.encoded) - (len(replaced.block.encoded) if replaced else 0)
        making_way: set[int] = set()
        while count > limits.set_aside_blocks_per_peer or size_bytes > limits.set_aside_bytes_per_peer:
            furthest = max(share.blocks.keys() - making_way, default=0)
            if furthest <= block.index:
                raise Refused(Rule.N2, f"block {block.index} is not set aside: the share of its sender is full")
            making_way.add(furthest)
            count -= 1
            size_bytes -= len(share.blocks[furthest].block.encoded)
        for index in (*making_way, block.index):
            self._drop(share, index)
        share.blocks[block.index] = aside
        share.size_bytes += len(block.encoded)
        self._aside[block.index] += 1

    def take(self, index: int) -> list[tuple[Peer, SetAside]]:
        """The set-aside blocks for this index, one a peer at most; they leave."""
        if index not in self._aside:
            return []
        taken = [(peer, self._drop(share, index)) for peer, share in self._shares.items()]
        return [(peer, one) for peer, one in taken if one is not None]

    def added(self, index: int) -> None:
        """The chain reached this index: rivals set aside for it go, and requests answered by it are over."""
        self.take(index)
        self._requests = [one for one in self._requests if one.start + one.count - 1 > index]

    def answered(self, peer: Peer, start: int, count: int, now_ms: int) -> bool:
        """Whether these blocks were asked of the peer; then the request is over.

        No blocks at all lower its tip, and it is not asked for a while: it said that it had them.
        """
        request = next((one for one in self._requests if one.peer == peer and one.start == start), None)
        if request is None:
            return False
        self._requests.remove(request)
        share = self._shares[peer]
        share.stalls = 0
        if count == 0:
            share.tip_index = min(share.tip_index, start - 1)
            share.distrusted_until_ms = now_ms + self._limits.request_timeout_ms
        return True

    def distrust(self, peer: Peer, now_ms: int) -> None:
        """The peer's blocks did not fit: what it set aside goes, and it has to tell its tip anew.

        Even then it is not asked for a while, or a liar would be asked at the speed of the line.
        """
        share = self._shares.get(peer)
        if share is not None:
            share.tip_index = 0
            share.distrusted_until_ms = now_ms + self._limits.request_timeout_ms
            for index in list(share.blocks):
                self._drop(share, index)

    def expire(self, now_ms: int) -> bool:
        """Give up requests whose time has run out. Returns whether a peer's tip counts for nothing from now on."""
        late = [request for request in self._under_way() if request.deadline_ms <= now_ms]
        self._requests = [request for request in self._requests if request.deadline_ms > now_ms]
        if self._proof_request in late:
            self._proof_request = None
        lost_a_peer = False
        for request in late:
            share = self._shares[request.peer]
            share.stalls += 1
            if share.stalls >= _PATIENCE:
                share.stalls, share.tip_index = 0, 0
                lost_a_peer = True
        return lost_a_peer

    def ask(self, tip_index: int, now_ms: int) -> list[Send]:
        """Requests for the nearest missing ranges, as many as may be under way, spread over peers that have them."""
        limits = self._limits
        window_end = tip_index + limits.requests_in_flight * limits.range_blocks
        trusted = {peer: share for peer, share in self._shares.items() if share.distrusted_until_ms <= now_ms}
        claimed = max((share.tip_index for share in trusted.values()), default=0)
        sends = self._ask_for_proof(trusted, claimed, now_ms)
        highest = min(window_end, claimed, self._proofs.horizon if self._proofs else claimed)
        start = tip_index + 1
        while len(self._requests) < limits.requests_in_flight:
            while start <= highest and self._is_coming(start):
                start += 1
            peer = self._best_peer(trusted, start) if start <= highest else None
            if peer is None:
                break
            end = start + 1
            range_end = self._proofs.range_end(start) if self._proofs else start + limits.range_blocks - 1
            last = min(highest, trusted[peer].tip_index, range_end)
            while end <= last and not self._is_coming(end):
                end += 1
            self._requests.append(_Request(peer, start, end - start, now_ms + limits.request_timeout_ms))
            sends.append(Send(peer, BlockRequest(start, end - start)))
            start = end
        return sends

    def _ask_for_proof(self, trusted: dict[Peer, _Share], claimed: int, now_ms: int) -> list[Send]:
        """One question at a time, to a peer that claims to know more than is proven."""
        question = self._proofs.question(claimed) if self._proofs and self._proof_request is None else None
        if self._proofs is None or question is None:
            return []
        needed = question.last if isinstance(question, HeaderRequest) else self._proofs.horizon + 1
        peer = self._best_peer(trusted, needed)
        if peer is None:
            return []
        self._proof_request = _Request(peer, needed, 1, now_ms + self._limits.request_timeout_ms)
        return [Send(peer, question)]

    def _under_way(self) -> list[_Request]:
        return self._requests + ([self._proof_request] if self._proof_request else [])

    def _is_coming(self, index: int) -> bool:
        return index in self._aside or any(request.covers(index) for request in self._requests)

    def _best_peer(self, trusted: dict[Peer, _Share], index: int) -> Peer | None:
        """Of the peers that have this block: the one that stalled least, then the one with the least to do."""
        busy = Counter(request.peer for request in self._requests)
        able = [(share.stalls, busy[peer], peer) for peer, share in trusted.items() if share.tip_index >= index]
        return min(able, key=lambda one: one[:2], default=(0, 0, None))[2]

    def _drop(self, share: _Share, index: int) -> SetAside | None:
        aside = share.blocks.pop(index, None)
        if aside is not None:
            share.size_bytes -= len(aside.block.encoded)
            self._aside[index] -= 1
            if not self._aside[index]:
                del self._aside[index]
        return aside
