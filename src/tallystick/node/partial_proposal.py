"""A proposal on its way to being whole."""

from dataclasses import dataclass, field

from tallystick.ledger.certificate import AnyCertificate
from tallystick.ledger.messages import Proposal
from tallystick.node.events import Peer


@dataclass
class Partial:
    """A proposal of which certificates are missing (the last in the list is looked for first).

    No signature covers the list: each sender's stands for itself. Gossip may bring the certificates yet; at `ask_ms`
    the sender is asked for them, and if that was in vain all others for theirs.
    """

    sender: Peer
    proposal: Proposal
    ask_ms: int | None
    missing: list[bytes]
    uses_box: bool = True
    is_asked: bool = False
    asked: set[bytes] = field(default_factory=set)
    certificates: dict[bytes, AnyCertificate] = field(default_factory=dict)
