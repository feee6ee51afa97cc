"""How much a node holds: every collection within it, by name, against a stated limit (INV-5)."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any

from tests.simulation.campaign.books import Broken

_FLOORS = ("tallystick.node.", "tallystick.consensus.")
_LEFT_OUT = {
    "Node.chain",
    "ChainCopy.chain",
    "Simplex._chain",
    "Rounds._chain",
    "FinalityProofs._state",
    "FinalityProofs._params",
    "Council._chain",
    "Node.limits",
    "BoxForBlocks._params",
    "Pending.state",
}
"""The chain may grow, by one place a certificate; limits, parameters and states do not."""

_HOSTS = 12
"""More than a campaign's network has: members, twins, observers and who joins late."""
_CERTIFICATES = 128
"""More than are handed in during a run, evidence included."""
_EPOCH_VIEWS = 110
"""More than the longest epoch of a campaign takes."""
_VIEWS = 66
"""What a member keeps votes for: 64 views ahead of its own, its own, and the final one."""

LIMITS = {
    "ChainCopy._recent": 257,
    "Node._timers": 6,
    "PayloadSearch._erased": 0,
    "Node._to_report": 2 * _CERTIFICATES,
    "CertificateBox._waiting": _CERTIFICATES,
    "CertificateBox._staking": _CERTIFICATES,
    "CertificateBox._of_issuer": _HOSTS,
    "Gossip._eager": _HOSTS,
    "Gossip._level": _HOSTS,
    "Gossip._repeaters": _HOSTS,
    "Gossip._lowest": _CERTIFICATES,
    "Gossip._fresh": _CERTIFICATES,
    "Gossip._asked": _CERTIFICATES,
    "Allowances._left": _HOSTS,
    "PeerExchange._known": 0,
    "PeerExchange._records": 0,
    "PeerExchange._connected": _HOSTS,
    "PeerExchange._dialled": 0,
    "PeerExchange._banned": _HOSTS,
    "PeerExchange._members": _HOSTS,
    "PeerExchange._holders": _HOSTS,
    "FinalityProofs._epochs": _CERTIFICATES,
    "FinalityProofs._pins": _CERTIFICATES,
    "Sync._shares": _HOSTS,
    "Sync._requests": 4,
    "Sync._aside": 512,
    "_Share.blocks": 512,
    "PayloadSearch._wanted": _CERTIFICATES,
    "PayloadSearch._requests": _HOSTS,
    "_Request.hashes": 64,
    "Council._partial": 32,
    "Council._asked_ms": 2 * _VIEWS,
    "Council._accused": _HOSTS,
    "Council._standings_asked": 64,
    "Council._routes": 256,
    "_Route.passed_on": _HOSTS,
    "_Partial.missing": _CERTIFICATES,
    "_Partial.certificates": _CERTIFICATES,
    "Record._own": 6 * _EPOCH_VIEWS,
    "Record._heard": _HOSTS,
    "Rounds._last": _HOSTS,
    "Rounds._early": 3 * _HOSTS,
    "Record._floor": 2,
    "Rounds._rounds": _VIEWS,
    "Rounds._blocks": 3 * _VIEWS,
    "Rounds._judged": 3 * _VIEWS,
    "Rounds._illegal": 3 * _VIEWS,
    "Rounds._rivals": _VIEWS,
    "Rounds._news": 4 * _HOSTS * _VIEWS,
    "Rounds._lacked": 2 * _VIEWS,
    "Round.votes": _HOSTS,
    "Round.weight": 3 * _HOSTS,
    "Round.kept": 3,
    "Pace._round": 2,
    "Pending.ids": _CERTIFICATES,
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
    for where, size in found.items():
        if size > LIMITS[where]:
            raise Broken(f"{where} of {name} holds {size}, {LIMITS[where]} allowed")
