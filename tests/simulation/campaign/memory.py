"""How much a node holds: every collection within it, by name, against a stated limit (INV-5)."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any

from tests.simulation.campaign.books import Broken

from tallystick.consensus.views import RECENT_VIEWS
from tallystick.ledger.params import MAX_BLOCK_CERTIFICATES

_FLOORS = ("tallystick.node.", "tallystick.consensus.")
_LEFT_OUT = {
    "Node.chain",
    "Checkpoints._state",
    "Candidate.state",
    "Candidate.voters",
    "LastFinalization._epoch",
    "ChainCopy.chain",
    "Simplex.chain",
    "Views._chain",
    "SimplexDriver._chain",
    "FinalityProofs._state",
    "Finality._params",
    "Node.limits",
    "CertificateBox._state",
    "CertificateBox._projected",
    "Pending.state",
}
"""The chain may grow, by one place a certificate; limits, parameters and states do not."""

_HOSTS = 16
"""More than a campaign's network has: members, their successors, twins, observers and who joins late."""
_CERTIFICATES = 256
"""More than wait during a run, evidence included."""
_VIEWS_WITH_VOTES = 2 + 2 + RECENT_VIEWS
"""The views whose single votes count, the final one, and one ahead."""
_PROPOSALS = 3 * _VIEWS_WITH_VOTES

LIMITS = {
    "ChainCopy._recent": 257,
    "Node._timers": 7,
    "Checkpoints._candidates": 10,
    "Checkpoints._ahead": _HOSTS,
    "Checkpoints._fresh": 0,
    "Checkpoints._strange": 0,
    "Checkpoints._unkept": 10 * _HOSTS,
    "Checkpoints._dropped": _CERTIFICATES,
    "Candidate.cosignatures": _HOSTS,
    "CosignedEnds._ahead": _HOSTS,
    "_End.keys": _HOSTS,
    "_End.lines": _HOSTS,
    "PayloadSearch._erased": 0,
    "Node._to_report": 2 * _CERTIFICATES,
    "CertificateBox._waiting": _CERTIFICATES,
    "CertificateBox._staking": _CERTIFICATES,
    "CertificateBox._decisions": _CERTIFICATES,
    "CertificateBox._until_ms": _CERTIFICATES,
    "CertificateBox._of_issuer": _CERTIFICATES,
    "BoxShares._shares": _CERTIFICATES,
    "EvidencePool._of": _HOSTS,
    "EvidencePool._ids": _HOSTS,
    "LateVotes._seen": 1_024,
    "Gossip._eager": _HOSTS,
    "Gossip._level": _HOSTS,
    "Gossip._repeaters": _HOSTS,
    "Gossip._sources": _HOSTS,
    "Gossip._lowest": _CERTIFICATES,
    "Gossip._fresh": _CERTIFICATES,
    "Gossip._asked": _CERTIFICATES,
    "Allowances._left": _HOSTS,
    "PeerExchange._known": 0,
    "PeerExchange.records": 0,
    "PeerExchange._connected": _HOSTS,
    "PeerExchange._dialled": 0,
    "PeerExchange.bans": _HOSTS,
    "PeerExchange._members": _HOSTS,
    "PeerExchange._holders": _HOSTS,
    "PeerExchange._leaving": _HOSTS,
    "FinalityProofs._epochs": _CERTIFICATES,
    "FinalityProofs._pins": _CERTIFICATES,
    "Sync._shares": _HOSTS,
    "Sync._requests": 5,
    "_Share.blocks": 512,
    "PayloadSearch._wanted": _CERTIFICATES,
    "PayloadSearch._requests": _HOSTS,
    "_Request.hashes": 64,
    "SimplexDriver._partial": 32,
    "SimplexDriver._asked_ms": _VIEWS_WITH_VOTES * 4,
    "SimplexDriver._equivocations": 0,
    "SimplexDriver._routes": 256,
    "SimplexDriver._place": 2,
    "SimplexDriver._corrected_ms": _HOSTS,
    "_Route.passed_on": _HOSTS,
    "Partial.missing": MAX_BLOCK_CERTIFICATES,
    "Partial.certificates": MAX_BLOCK_CERTIFICATES,
    "Partial.asked": MAX_BLOCK_CERTIFICATES,
    "Simplex._requested": 2,
    "SigningGuard._new": 2 * _VIEWS_WITH_VOTES,
    "SigningGuard._synced_floor": 2,
    "SigningGuard.final": 2,
    "SigningGuard.silent": 2,
    "SigningGuard.limited": 2,
    "SigningGuard.recovered": 2,
    "SigningGuard.twin": 2,
    "SigningGuard.entries": _VIEWS_WITH_VOTES,
    "_Entry.ballots": 3,
    "Recovery._answers": _HOSTS,
    "Recovery._recovering": _HOSTS,
    "ViewTimer._place": 2,
    "ViewTimer._final": 2,
    "ViewTimer._entered": 4,
    "Views._early": 3 * _HOSTS,
    "Views._heard": _HOSTS,
    "Views.absent": _HOSTS,
    "Views._views": _VIEWS_WITH_VOTES,
    "Proposals._whole": _PROPOSALS,
    "Proposals._passed": _PROPOSALS,
    "Proposals._refused": _PROPOSALS,
    "Proposals._voted": _PROPOSALS,
    "Proposals._unpersisted": 0,
    "Proposals._outputs": _VIEWS_WITH_VOTES,
    "ViewState.decided": 3,
    "ViewState.chosen": 2,
    "Views._persisted": _PROPOSALS,
    "Proposals._requested": _PROPOSALS,
    "Views.outputs": _VIEWS_WITH_VOTES,
    "Views.news": 4 * _HOSTS * _VIEWS_WITH_VOTES,
    "Views._certificates": 2 * _VIEWS_WITH_VOTES,
    "Views.forgotten": 4 * _HOSTS * _VIEWS_WITH_VOTES,
    "ViewState.votes": _HOSTS,
    "ViewState.weight": 4 * _HOSTS,
    "ViewState.persisted": 4 * _HOSTS,
    "Pending.ids": MAX_BLOCK_CERTIFICATES,
}
"""Of every collection in a node that took part in one run. `Node.chain` alone may grow with the ledger."""


def sizes(node: Any) -> Counter[str]:
    """The elements of the fullest collection of each name, `Class.attribute`, anywhere within the node."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    todo: list[tuple[str, Any]] = [("Node", node)]
    while todo:
        name, one = todo.pop()
        if id(one) in seen:
            continue
        if isinstance(one, dict | list | set | frozenset | deque | tuple) and not hasattr(one, "_fields"):
            found[name] = max(found[name], len(one))
            todo += ((name, inner) for inner in (one.values() if isinstance(one, Mapping) else one))
        elif type(one).__module__.startswith(_FLOORS):
            seen.add(id(one))
            todo += (pair for pair in _attributes(one) if pair[0] not in _LEFT_OUT)
    return found


def _attributes(one: Any) -> Iterator[tuple[str, Any]]:
    for name, value in vars(one).items() if hasattr(one, "__dict__") else ():
        yield f"{type(one).__name__}.{name}", value


def check_memory(name: str, node: Any) -> None:
    """Raise `Broken` for a collection that is over its limit, or that has none."""
    found = sizes(node)
    if found.keys() - LIMITS.keys():
        raise Broken(f"collections without a limit: state one in {__name__} for {found.keys() - LIMITS.keys()}")
    views = node._agreement.simplex.views
    chosen = sum(bool(state.chosen) for _, state in views.open())
    for where in ("Proposals._whole", "Proposals._passed", "Proposals._voted"):
        found[where] -= chosen  # what a quorum chose above the final block may be final any time
    for where in ("Views._views", "SigningGuard.entries", "Views._certificates"):
        found[where] -= views.view - views.final_view  # they are needed until a later block is final
    for where, size in found.items():
        if size > LIMITS[where]:
            raise Broken(f"{where} of {name} holds {size}, {LIMITS[where]} allowed")
