"""Answering what peers ask, each within its allowance. What is kept, the host sends; what waits, the box has."""

from tallystick.ledger.blockchain import State
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.messages import (
    MAX_PROOFS,
    BlockRequest,
    CertificateRequest,
    Certificates,
    FinalizationRequest,
    HeaderRequest,
    Message,
    PayloadRequest,
)
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.events import (
    Action,
    Peer,
    ReportRefused,
    Send,
    SendBlocks,
    SendFinalizations,
    SendHeaders,
    SendPayloads,
)
from tallystick.node.gossip import batched
from tallystick.node.limits import Allowances, Limits


class Answers:
    """Whether a peer may ask, and what it gets."""

    def __init__(self, limits: Limits, box: CertificateBox, proven_epoch_blocks: int | None) -> None:
        """`proven_epoch_blocks`: the blocks in an epoch where blocks are final by votes; `None`: lone forger."""
        self._limits = limits
        self._box = box
        self._proven_epoch_blocks = proven_epoch_blocks
        self._allowances = Allowances(limits.requests_per_second, 2 * limits.requests_per_second)

    def may_ask(self, now_ms: int, peer: Peer) -> bool:
        """Whether the peer has a request left; it is used up."""
        return self._allowances.take(now_ms, peer)

    def admits(self, now_ms: int, peer: Peer, actions: list[Action]) -> bool:
        """`may_ask`, and the refusal (N3) is reported."""
        is_admitted = self.may_ask(now_ms, peer)
        if not is_admitted:
            rate = self._limits.requests_per_second
            actions.append(ReportRefused(Refused(Rule.N3, f"more than {rate} requests a second"), peer))
        return is_admitted

    def answer(self, peer: Peer, request: Message, state: State, actions: list[Action]) -> None:
        """Answer, once it is admitted, from the box, or have the host answer from what it keeps."""
        match request:
            case BlockRequest(start, count):
                actions.append(SendBlocks(peer, start, count, self._proven_epoch_blocks is not None))
            case CertificateRequest(ids):
                entries = [entry for one in dict.fromkeys(ids) if (entry := self._box.get(one))]
                for batch in batched(entries, self._limits.answer_bytes)[:1]:
                    actions.append(Send(peer, Certificates(batch)))
            case PayloadRequest(hashes):
                actions.append(SendPayloads(peer, hashes))
            case FinalizationRequest(epoch) if self._proven_epoch_blocks is not None:
                actions.append(SendFinalizations(peer, self._ends(epoch, self._proven_epoch_blocks, state.index)))
            case HeaderRequest(last, count):
                actions.append(SendHeaders(peer, last, count))

    @staticmethod
    def _ends(epoch: int, epoch_blocks: int, tip_index: int) -> tuple[int, ...]:
        """The last blocks of epochs from this one on, and the tip: all of the chain that can be proven by votes."""
        ends = range((epoch + 1) * epoch_blocks, tip_index + 1, epoch_blocks)[:MAX_PROOFS]
        has_room = len(ends) < MAX_PROOFS and epoch * epoch_blocks < tip_index
        return (*ends, tip_index) if has_room and tip_index % epoch_blocks else tuple(ends)
