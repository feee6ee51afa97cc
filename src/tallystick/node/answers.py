"""Answering what peers ask, each within its allowance. What is kept, the host sends; what waits, the box has."""

from itertools import islice

from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.messages import CertificateRequest, Kept, certificates_in_parts
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.events import Action, Peer, ReportRefused, Send, SendKept
from tallystick.node.limits import Allowances, Limits


class Answers:
    """Whether a peer may ask, and what it gets."""

    def __init__(self, limits: Limits, box: CertificateBox) -> None:
        self._limits = limits
        self._box = box
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

    def answer(self, peer: Peer, request: CertificateRequest | Kept, actions: list[Action]) -> None:
        """Answer, once it is admitted, from the box, or have the host answer from what it keeps."""
        match request:
            case CertificateRequest(ids):
                entries = [entry for one in dict.fromkeys(ids) if (entry := self._box.get(one))]
                parts = certificates_in_parts(entries, self._limits.answer_bytes)
                actions.extend(Send(peer, one) for one in islice(parts, 1))
            case _:
                actions.append(SendKept(peer, request))
