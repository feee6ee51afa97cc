"""When a view's time is up: a function of view and final view, and only while the view has something to do."""

import pytest

from tallystick.consensus.view_timer import MAX_TIMEOUT_MS, ViewTimer

DELTA_MS = 300
NOW_MS = 1_000_000


def timer_in(view, final_view=0, *, delta_ms=DELTA_MS, has_work=True, now_ms=NOW_MS):
    timer = ViewTimer(delta_ms)
    timer.look(now_ms, 0, view, final_view, has_work)
    return timer


def timeouts(timer):
    """Deltas for a proposal to come, and for the view to end, from when it began."""
    return [(timer.deadline_ms(is_proposed) - NOW_MS) / DELTA_MS for is_proposed in (False, True)]


@pytest.mark.parametrize(
    ("view", "final_view", "factor"),
    [(1, 0, 1), (2, 0, 1), (3, 0, 1), (4, 0, 2), (5, 0, 4), (6, 0, 8), (7, 0, 16), (104, 100, 2), (101, 100, 1)],
)
def test_timeouts_double_from_the_fourth_view_after_the_final_one_on(view, final_view, factor):
    assert timeouts(timer_in(view, final_view)) == [2 * factor, 5 * factor]


@pytest.mark.parametrize("view", [20, 64, 70, 500, 2**53 - 1])
def test_timeouts_have_a_bound(view):
    assert timer_in(view).deadline_ms(is_proposed=True) == NOW_MS + MAX_TIMEOUT_MS
    assert timer_in(view).deadline_ms(is_proposed=False) == NOW_MS + MAX_TIMEOUT_MS * 2 // 5
    slow = timer_in(view, delta_ms=10_000)
    assert slow.deadline_ms(is_proposed=True) == NOW_MS + 8 * 5 * 10_000, "eight times a base that is long"


def test_a_jump_and_a_restart_change_no_timeout():
    timer = timer_in(2)
    timer.look(NOW_MS, 0, 9, 0, has_work=True)
    assert timeouts(timer) == timeouts(timer_in(9))
    timer.look(NOW_MS, 0, 9, 8, has_work=True)
    assert timeouts(timer) == timeouts(timer_in(1)), "the tip is final in a later view meanwhile"


def test_without_work_there_are_no_times_and_they_begin_with_the_work():
    timer = timer_in(1, has_work=False)
    times = [timer.settled_ms(), timer.deadline_ms(is_proposed=True), timer.relay_ms(), timer.repeat_ms()]
    assert [timer.since_ms, *times] == [None] * 5
    timer.look(NOW_MS + 500, 0, 1, 0, has_work=True)
    timer.look(NOW_MS + 700, 0, 1, 0, has_work=True)
    assert timer.since_ms == NOW_MS + 500
    assert timer.settled_ms() == NOW_MS + 500 + DELTA_MS
    timer.look(NOW_MS + 800, 0, 1, 0, has_work=False)
    assert timer.since_ms is None


def test_repetitions_come_at_doubling_intervals_and_those_slept_through_are_not_made_up_for():
    timer, due = timer_in(1), []
    for _ in range(6):
        due.append((timer.repeat_ms() - NOW_MS) // DELTA_MS)
        timer.repeated(timer.repeat_ms())
    assert due == [4, 12, 28, 60, 92, 124]
    month_ms = 30 * 24 * 3_600_000
    timer.repeated(NOW_MS + month_ms)
    assert NOW_MS + month_ms < timer.repeat_ms() <= NOW_MS + month_ms + 32 * DELTA_MS


def test_a_clock_that_is_set_back_begins_the_view_anew():
    timer = timer_in(1)
    timer.look(NOW_MS - 10**9, 0, 1, 0, has_work=True)
    assert timer.since_ms == timer.unfinal_since_ms == NOW_MS - 10**9
    assert timer.repeat_ms() == NOW_MS - 10**9 + 4 * DELTA_MS


def test_views_come_and_go_while_it_waits_for_a_final_block():
    timer = timer_in(1, has_work=False)
    for passed_ms, place in [(100, (0, 1, 0)), (200, (0, 2, 0)), (300, (0, 3, 0))]:
        timer.look(NOW_MS + passed_ms, *place, has_work=True)
        assert timer.unfinal_since_ms == NOW_MS + 100
    for passed_ms, place in [(400, (0, 4, 3)), (500, (1, 1, 0))]:
        timer.look(NOW_MS + passed_ms, *place, has_work=True)
        assert timer.unfinal_since_ms == NOW_MS + passed_ms, "a block became final, or an epoch began with one"
    timer.look(NOW_MS + 600, 1, 1, 0, has_work=False)
    assert timer.unfinal_since_ms is None


@pytest.mark.parametrize("place", [(0, 2), (1, 1)])
def test_a_new_view_or_epoch_begins_anew(place):
    timer = timer_in(1)
    timer.repeated(timer.repeat_ms())
    timer.look(NOW_MS + 100, *place, 0, has_work=True)
    assert timer.since_ms == NOW_MS + 100
    assert timer.repeat_ms() == NOW_MS + 100 + 4 * DELTA_MS


def test_what_nothing_moves_is_repeated_at_doubling_intervals_up_to_32_delta():
    timer, times = timer_in(1), []
    for _ in range(7):
        times.append((timer.repeat_ms() - NOW_MS) // DELTA_MS)
        timer.repeated(timer.repeat_ms())
    assert times == [4, 12, 28, 60, 92, 124, 156]


def test_repetitions_that_were_slept_through_are_not_made_up_for():
    timer = timer_in(1)
    timer.repeated(NOW_MS + 50 * DELTA_MS)
    assert timer.repeat_ms() == NOW_MS + 60 * DELTA_MS


def test_what_was_heard_is_relayed_after_every_delta():
    timer = timer_in(1)
    assert timer.relay_ms() == NOW_MS + DELTA_MS
    timer.relayed(NOW_MS + DELTA_MS)
    assert timer.relay_ms() == NOW_MS + 2 * DELTA_MS
    timer.relayed(NOW_MS + 5 * DELTA_MS + 17)
    assert timer.relay_ms() == NOW_MS + 6 * DELTA_MS
