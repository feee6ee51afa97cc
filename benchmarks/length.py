"""What a certificate costs a real node whose ledger is long, beside one whose ledger is short; and what each holds."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from benchmarks.network import BATCH, feed, running_network, sessions_of, statements_for
from benchmarks.processes import held_bytes, memory_of, spent_s
from benchmarks.result import Figure, at_most, figure
from tallystick.demo.local_network import LocalNetwork, NodeProcess

ROUNDS = 5
PER_ROUND = 8_192
SHORT = 1_024
MILLION = 1_000_000
_LOT = 16_384

Nodes = LocalNetwork[NodeProcess]


def by_length(lengths: Sequence[int]) -> Iterator[Figure]:
    """Processor time of a certificate at each of these lengths, over that of a node with a new ledger; and memory."""
    numbers, held = count(step=_LOT), dict[int, tuple[int, int]]()
    with running_network(1) as long:
        for length in lengths:
            _grow(long, length, numbers)
            held[length] = _held(long)
            costs, ratios = [], []
            for _ in range(ROUNDS):
                with running_network(1) as short:
                    _grow(short, SHORT, numbers)
                    at_start_us = _spent_us(short, next(numbers))
                costs.append(_spent_us(long, next(numbers)))
                ratios.append(costs[-1] / at_start_us)
            what, about = "processor time of a node for a certificate, fed over HTTP", f"{SHORT:,} certificates"
            yield figure("cost", what, costs, "µs", at=length)
            yield figure("long / short", f"{what} / with {about}", ratios, goal=at_most(1.05), at=length)
            yield from _memory(held, length)


def _held(nodes: Nodes) -> tuple[int, int]:
    """Bytes of the node's process, and of all its processes."""
    (session,) = sessions_of(nodes)
    return memory_of(session).rss, held_bytes(session)


def _memory(held: Mapping[int, tuple[int, int]], length: int) -> Iterator[Figure]:
    """What a node holds at this length, and a certificate beyond the shortest one."""
    main, whole = held[length]
    goal = at_most(120) if length >= MILLION else None
    yield figure(
        "memory", "resident, of the process that holds a running node", [main / 1e6], "MB", goal=goal, at=length
    )
    what = "of all processes of a node, those that verify among them, what they share counted once"
    yield figure("memory, whole", what, [whole / 1e6], "MB", at=length)
    shortest = min(held)
    if length >= MILLION > shortest:
        each = (main - held[shortest][0]) / (length - shortest)
        what = f"of the process that holds a running node, a certificate beyond {shortest:,}"
        yield figure("memory beyond", what, [each], "bytes", goal=at_most(44), at=length)


def _grow(nodes: Nodes, length: int, numbers: "count[int]") -> None:
    (node,) = nodes.nodes
    while (missing := length - node.status().log_size) > 0:
        feed([node.folder], statements_for(node.folder, min(_LOT, max(missing, BATCH)), next(numbers)))


def _spent_us(nodes: Nodes, first: int) -> float:
    (node,) = nodes.nodes
    certificates = statements_for(node.folder, PER_ROUND, first)
    before_s = spent_s(sessions_of(nodes))
    feed([node.folder], certificates)
    return 1e6 * (spent_s(sessions_of(nodes)) - before_s) / PER_ROUND
