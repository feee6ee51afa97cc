"""Which courses of the small world there are: sets of them, each cut into tasks that share their first phases."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, NamedTuple

from tests.explore.world import Gate, Violation, World, install, ledger

Task = tuple[int, ...]


class Course(NamedTuple):
    """One way that things can go: who leads each view, and which processes are on one side in it, a bit each."""

    leaders: tuple[int, ...]
    sides: tuple[int, ...]


@dataclass(frozen=True)
class CourseSet:
    """Courses of one kind."""

    title: str
    count: int
    tasks: Callable[[], list[Task]]
    run: Callable[[Task, int], Counter[str]]
    """Runs a task's courses, or of these every so manieth, and counts what happened. Raises `Failed`."""


class Failed(AssertionError):
    """What must hold does not, and how to see it again."""


@cache
def gate_for(*stakes: int) -> Gate:
    """The gate that a process remembers for all its courses."""
    return Gate(ledger(*stakes))


def _count(counts: Counter[str], world: World, rounds: int) -> None:
    counts["courses"] += 1
    counts["the twins contradicted each other"] += world.has_equivocated
    counts["an honest member took both"] += world.is_shown
    counts["the twin was convicted"] += world.is_caught
    counts["a guard was lost"] += world.has_lost
    counts["healing took time"] += rounds > 0


def _finish(name: str, world: World, course: Course, counts: Counter[str]) -> None:
    try:
        rounds = world.heal()
    except Violation as why:
        raise Failed(f"{name} {course}: {why}") from why
    _count(counts, world, rounds)


def _phase(name: str, world: World, leaders: tuple[int, ...], sides: tuple[int, ...]) -> World:
    """A copy of the world, one phase further on; the next view's leader is known by then."""
    world = world.copied()
    world.gate.leaders = list(leaders)
    try:
        world.run_phase(sides[-1])
    except Violation as why:
        raise Failed(f"{name} {Course(leaders, sides)}: {why}") from why
    return world


def _some(partitions: range, first: int, every: int) -> dict[int, list[int]]:
    """Of the last two views' partitions, the courses with which have these numbers on, every so manieth.

    Those of the last view by that of the one before. Where there is none, no phase is run.
    """
    size = len(partitions)
    found = {one: [two for two in partitions if (first + size * one + two) % every == 0] for one in partitions}
    return {one: last for one, last in found.items() if last}


# ---- a twin, three views: all of it -------------------------------------------------------------------------------

_PARTITIONS = range(16)
"""Of five processes, the last always on side 0."""


def _run_three(task: Task, every: int) -> Counter[str]:
    first, sides1, second = task
    gate, counts = gate_for(1, 1, 1, 1), Counter[str]()
    install(gate)
    gate.leaders = [first, second]
    one = None
    for third in range(4):
        leaders = (first, second, third)
        for sides2, last in _some(_PARTITIONS, 256 * third + 101 * sum(task), every).items():
            one = one or _phase("three", World(gate), (first, second), (sides1,))
            two = _phase("three", one, leaders, (sides1, sides2))
            for sides3 in last:
                three = _phase("three", two, leaders, (sides1, sides2, sides3))
                _finish("three", three, Course(leaders, (sides1, sides2, sides3)), counts)
    return counts


# ---- a twin, four views, one schedule of leaders ------------------------------------------------------------------

_SCHEDULE = (0, 1, 0, 2)


def _run_four(first: Task, every: int) -> Counter[str]:
    leaders, gate, counts = _SCHEDULE, gate_for(1, 1, 1, 1), Counter[str]()
    install(gate)
    gate.leaders = list(leaders)
    world, some = World(gate), _some(_PARTITIONS, 101 * sum(first), every)
    for length in range(1, len(first) + 1) if some else ():
        world = _phase("four", world, leaders, tuple(first[:length]))
    for sides3, last in some.items():
        three = _phase("four", world, leaders, (*first, sides3))
        for sides4 in last:
            sides = (*first, sides3, sides4)
            _finish("four", _phase("four", three, leaders, sides), Course(leaders, sides), counts)
    return counts


# ---- lost guards --------------------------------------------------------------------------------------------------

_ROTATIONS = ((0, 1, 2), (1, 2, 3), (2, 3, 0), (3, 0, 1))


def _run_lost(task: Task, every: int) -> Counter[str]:
    """Four members, one a twin; another loses its guard and recovers from the others."""
    rotation, sides1, view, is_alone = task
    leaders, gate, counts = _ROTATIONS[rotation], gate_for(1, 1, 1, 1), Counter[str]()
    install(gate)
    gate.leaders = list(leaders)
    some = _some(_PARTITIONS, 101 * sum(task), every)
    if not some:
        return counts
    world = World(gate)
    world.loser = world.processes[1] if (view, is_alone) == (1, 1) else None
    one = _phase("lost", world, leaders, (sides1,))
    if (view, is_alone) == (1, 0):
        one.lose_guard(1)
    one.loser = one.processes[1] if (view, is_alone) == (2, 1) else None
    for sides2, last in some.items():
        two = _phase("lost", one, leaders, (sides1, sides2))
        two.loser = None
        if (view, is_alone) == (2, 0):
            two.lose_guard(1)
        for sides3 in last:
            sides = (sides1, sides2, sides3)
            _finish("lost", _phase("lost", two, leaders, sides), Course(leaders, sides), counts)
    return counts


_WORDS = ((1, 1, 1), (40, 20, 20, 20))


def _run_word(task: Task, every: int) -> Counter[str]:
    """Three equal members, or 40, 20, 20, 20: the first loses its guard, and its operator gives the word."""
    which, sides1, when, first = task
    stakes, counts = _WORDS[which], Counter[str]()
    gate, members = gate_for(*stakes), range(len(stakes))
    install(gate)
    partitions = range(1 << (len(stakes) - 1))
    for number, (second, third) in enumerate(product(members, members)):
        some = _some(partitions, len(partitions) ** 2 * number + 101 * sum(task), every)
        if not some:
            continue
        leaders = (first, second, third)
        gate.leaders = list(leaders)
        one = _phase("word", World(gate, twins=0), leaders, (sides1,))
        if when == 1:
            one.lose_guard(0, is_accepted=True)
        for sides2, last in some.items():
            two = _phase("word", one, leaders, (sides1, sides2))
            if when == 2:
                two.lose_guard(0, is_accepted=True)
            for sides3 in last:
                sides = (sides1, sides2, sides3)
                _finish("word", _phase("word", two, leaders, sides), Course(leaders, sides), counts)
    return counts


def _tasks_of_word() -> list[Task]:
    return [
        (which, sides1, when, first)
        for which, stakes in enumerate(_WORDS)
        for sides1 in range(1 << (len(stakes) - 1))
        for when in (1, 2)
        for first in range(len(stakes))
    ]


SETS = {
    "three": CourseSet(
        "four members, one a twin, three views: all leaders, all two-sided partitions of the five processes",
        (4 * 16) ** 3,
        lambda: list(product(range(4), _PARTITIONS, range(4))),
        _run_three,
    ),
    "four": CourseSet(
        "the same with four views, led by the twin, Ben, the twin, Cy: all partitions",
        16**4,
        lambda: list(product(_PARTITIONS, _PARTITIONS)),
        _run_four,
    ),
    "lost": CourseSet(
        "four members, one a twin, three views, leaders in turn; another loses its guard after the first or second "
        "view, or all it has as soon as it alone was told how that view ended: all partitions",
        4 * 4 * 16**3,
        lambda: list(product(range(4), _PARTITIONS, (1, 2), (0, 1))),
        _run_lost,
    ),
    "word": CourseSet(
        "three equal members and 40/20/20/20, the first loses its guard after the first or second of three views, and "
        "its operator gives the word; all leaders",
        2 * (3 * 4) ** 3 + 2 * (4 * 8) ** 3,
        _tasks_of_word,
        _run_word,
    ),
}


def courses_of(name: str, every: int = 1) -> Iterator[tuple[str, Task, int]]:
    """What to give to `run_task`, for all courses of a set."""
    return ((name, task, every) for task in SETS[name].tasks())


def run_task(asked: tuple[str, Task, int]) -> Counter[str]:
    """One task, in whatever process."""
    name, task, every = asked
    return SETS[name].run(task, every)


def replay(name: str, leaders: list[int], sides: list[int]) -> Any:
    """One course of a set without a lost guard, from its beginning: the world at its end."""
    gate = gate_for(1, 1, 1, 1)
    install(gate)
    world, gate.leaders = World(gate), leaders
    for one in sides:
        world.run_phase(one)
    world.heal()
    return world
