"""A member whose machine's clock is wrong, or is set while it runs."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.integration import skewed_node
from tests.integration.network import Network, NodeProcess, network, streams, wait_for

HOUR_MS = 3_600_000

_real = time.time_ns


@contextmanager
def founded(ago_ms: int, members: int = 4) -> Iterator[Network]:
    """A network of a ledger that was founded so long ago, by the founder's clock."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: _real() - ago_ms * 1_000_000)
        opened = network(members)
        net = opened.__enter__()
    try:
        yield net
    finally:
        opened.__exit__(None, None, None)


def with_clock(net: Network, number: int) -> Path:
    """Give a node a clock of its own, right for now: the file that says how wrong it is."""
    path = net.nodes[number].folder.path
    offset = path.with_name(f"{path.name}.clock")
    set_clock(offset, 0)
    net.nodes[number] = NodeProcess(path, module=(skewed_node.__file__, str(offset)))
    return offset


def set_clock(offset: Path, ms: int) -> None:
    new = offset.with_suffix(".new")
    new.write_text(str(ms))
    new.replace(offset)


@pytest.mark.parametrize("wrong_ms", [10_000, -10_000, -HOUR_MS], ids=["ahead", "behind", "an hour behind"])
def test_a_member_with_a_wrong_clock_holds_nobody_up_and_is_served(wrong_ms: int) -> None:
    with founded(2 * HOUR_MS) as net:
        clock = with_clock(net, 0)
        set_clock(clock, wrong_ms)
        net.start()
        wrong, *right = net.nodes
        with streams(net.nodes) as told:
            wait_for(lambda: all(len(one.final) > 20 for one in told), "certificates become final through all of them")
        net.wait_until_agreed()
        assert abs(wrong.status().now_ms - right[0].status().now_ms - wrong_ms) < 5_000
        accepted = [one for each in told for one in each.accepted]
        net.assert_equal_chains([one for each in told for one in each.final], accepted)


@pytest.mark.parametrize("jump_ms", [HOUR_MS, -HOUR_MS], ids=["forward", "back"])
def test_a_clock_that_is_set_right_while_a_node_runs_does_not_stop_it(jump_ms: int) -> None:
    with founded(2 * HOUR_MS) as net:
        clock = with_clock(net, 0)
        set_clock(clock, -jump_ms)
        net.start()
        jumping, second, *_ = net.nodes
        second.certify("before")
        with streams(net.nodes[1:]) as told:
            wait_for(lambda: all(one.final for one in told), "certificates become final")
            set_clock(clock, 0)
            second.kill()  # from here on the one whose clock was set has to vote
            seen = [len(one.final) for one in told[1:]]
            wait_for(lambda: all(len(a.final) > b for a, b in zip(told[1:], seen, strict=True)), "it votes on")
            jumping.certify("after")
            second.start()
        net.wait_until_agreed()
        net.assert_equal_chains([one for each in told for one in each.final])


# ---- a ledger that begins ahead of the clock ------------------------------------------------------------------------


def test_a_node_waits_until_its_ledger_has_begun_and_says_so() -> None:
    with founded(-HOUR_MS, members=1) as net:
        clock = with_clock(net, 0)
        (node,) = net.nodes
        node.launch()
        wait_for(lambda: "waiting for the clock" in node.log, "it says what it waits for")
        told = next(line for line in node.log.splitlines() if "waiting for the clock" in line)
        assert "ahead of this machine's clock: set this clock right" in told
        (ahead_ms,) = (int(one.partition("=")[2]) for one in told.split() if one.startswith("ahead_ms="))
        assert HOUR_MS - 120_000 < ahead_ms <= HOUR_MS
        set_clock(clock, HOUR_MS)
        node.wait_until_running()
        node.certify("now it has begun")
        assert node.stop() == 0


def test_a_node_that_waits_for_the_clock_is_stopped_like_any_other() -> None:
    with founded(-HOUR_MS, members=1) as net:
        (node,) = net.nodes
        node.launch()
        wait_for(lambda: "waiting for the clock" in node.log, "it waits")
        assert node.stop(signal.SIGINT) == 0
