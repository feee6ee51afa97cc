"""What a seed decides: a ledger, its members and their roles, and what goes wrong when."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.simulation.campaign.byzantine import Byzantine
from tests.simulation.campaign.liars import LyingSyncer, Twins
from tests.simulation.campaign.roles import FILL_BOXES, ROLES
from tests.simulation.campaign.schemer import Schemer

from tallystick.ledger.vote import FINALIZE, NOTARIZE, NULLIFY
from tallystick.network.simulated import Link

DELTA_MS = 300
TIMEOUT_MS = 5 * DELTA_MS
"""The time after which a member gives up a view that somebody proposed in, as long as views end in final blocks."""

HELD_BACK_MS = 5 * DELTA_MS
"""How late votes are, at most, that are singled out: late enough for views to end without them."""

NAMES = ("ada", "ben", "cy", "dot", "eve", "fay", "gus")
_LONG = 40
"""One seed in so many makes a long chain."""
_FIRST_GOVERNED = 7
"""Two in five seeds above this one have a directory."""

WITHDRAWN = 0.1
"""The part of their stake, at most, that honest members withdraw altogether."""


@dataclass(frozen=True)
class Crash:
    """A host stops after this many more actions, counted from its next vote if so asked, and starts again later.

    `from_vote` is a kind of vote (`FINALIZE`), or 0 for any; `None`: counted from now.
    """

    at_ms: int
    name: str
    actions: int
    down_ms: int
    from_vote: int | None = None


@dataclass(frozen=True)
class Restore:
    """A host stops, and starts again with its database, its guard or both not as they were."""

    name: str
    loses_guard: bool
    is_accepted: bool
    """Whether the operator gives the word that it may go on without a quorum of others."""
    has_old_database: bool
    """Whether its archive is an old copy; one without its guard may well have all of its database."""
    copy_before: int | None = None
    """The kind of own vote just before whose signing the copy is made (0: any); `None`: made at any time."""


@dataclass(frozen=True)
class Phase:
    """A while in which certain things go wrong."""

    duration_ms: int
    link: Link
    groups: tuple[tuple[str, ...], ...] = ()
    crashes: tuple[Crash, ...] = ()
    held_back: int = 0
    """A kind of vote, of which every other message is late by up to `HELD_BACK_MS`; 0: none."""
    all_restart_at_ms: int | None = None
    restores: tuple[Restore, ...] = ()
    withholds_answers: bool = False
    """Whether most answers to who lost its guard are lost, and the rest late."""


@dataclass(frozen=True)
class Scenario:
    """Everything that a run follows from."""

    seed: int
    stakes: dict[str, int]
    roles: dict[str, type[Byzantine]] = field(default_factory=dict)
    skews_ms: dict[str, int] = field(default_factory=dict)
    observers: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    calm: Link = field(default_factory=Link)
    phases: tuple[Phase, ...] = ()
    certificates: int = 16
    moves_stake: bool = True
    is_ring: bool = False
    """Whether each host that is there from the beginning is connected with two others only."""
    is_governed: bool = False
    """Whether members are organisations, and decide on members and stakes together."""
    unreliable: tuple[str, ...] = ()
    """Members that keep to the protocol and yet may not be counted on: they lose their guard, or have a wrong clock."""

    @property
    def honest(self) -> list[str]:
        """Members that keep to the protocol."""
        return [name for name in self.stakes if name not in self.roles]

    @property
    def steady(self) -> list[str]:
        """Members that can be counted on: they have more than two thirds of the stake."""
        return [name for name in self.honest if name not in self.unreliable]

    @property
    def hosts(self) -> list[str]:
        """All hosts that are there from the beginning."""
        twins = [twin_of(name) for name, role in self.roles.items() if role is Twins]
        return [*self.stakes, *twins, *self.observers]

    @property
    def chaos_ms(self) -> int:
        """How long things go wrong."""
        return sum(phase.duration_ms for phase in self.phases)


def twin_of(name: str) -> str:
    """The second machine with a member's key."""
    return f"{name}'s twin"


def draw_scenario(seed: int) -> Scenario:
    """The scenario of a seed, the same in every process."""
    random = Random(f"scenario {seed}")
    names = list(NAMES[: random.randint(4, 7)])
    random.shuffle(names)
    stakes = {name: 100 if seed % 2 else random.randint(20, 200) for name in names}
    weak = names[: random.choice([1, 1, 2, 2, 3][: 2 * len(names) - 6])] if seed % 5 else []
    faulty = ["wrong clock", "lost guard", "lost guard", "lost guard"]
    kinds = [random.choice(ROLES if random.random() < 0.65 else faulty) for _ in weak]
    if not weak and random.random() < 0.8:
        weak, kinds = names[:1], ["lost guard"]
    _cap(random, stakes, weak)
    roles: dict[str, type[Byzantine]] = {
        name: kind for name, kind in zip(weak, kinds, strict=True) if not isinstance(kind, str)
    }
    skews_ms = {name: random.randint(-200, 200) for name in names}
    skews_ms |= {
        name: random.choice([-1, 1]) * random.randint(800, 4_000)
        for name, kind in zip(weak, kinds, strict=True)
        if kind == "wrong clock"
    }
    forgetful = [name for name, kind in zip(weak, kinds, strict=True) if kind == "lost guard"]
    newcomer = random.random() < 0.2 and not weak
    if newcomer:
        stakes[names[-1]] = 0
    if seed % _LONG == 0:
        return _long(random, seed, stakes)
    epoch_blocks, epoch_ms = random.randint(2, 5), random.choice([200, 500, 1_500])
    fills_boxes = any(issubclass(role, FILL_BOXES) for role in roles.values())
    is_ring = len(roles) < 2 and Twins not in roles.values() and random.random() < 0.15
    most = 4096 if fills_boxes or is_ring else random.choice([1, 2, 4, 4096])
    scenario = Scenario(
        seed,
        stakes,
        roles,
        skews_ms,
        observers=("onlooker",) if random.random() < 0.3 else (),
        late=("late", "later") if LyingSyncer in roles.values() else ("late",) * (random.random() < 0.3),
        params={
            "epoch_blocks": epoch_blocks,
            "epoch_ms": epoch_ms,
            "unbonding_blocks": random.randint(2 * epoch_blocks, 3 * epoch_blocks),
            "unbonding_ms": random.randint(2 * epoch_ms, 4 * epoch_ms),
            "delta_ms": DELTA_MS,
            "max_block_certificates": most,
        },
        calm=Link(delay_max_ms=random.choice([20, 50, 120])),
        certificates=random.randint(6, 20),
        unreliable=tuple(name for name in weak if name not in roles),
        is_ring=is_ring,
    )
    phases = [_phase(random, scenario) for _ in range(random.randint(1, 3))]
    if forgetful:
        phases += [_restoring(random, forgetful, loses_guard=True) for _ in range(2)]
    if random.random() < 0.4:
        phases.append(_restoring(random, [random.choice(scenario.honest)], loses_guard=False))
    random.shuffle(phases)
    drawn = Scenario(**{**vars(scenario), "phases": tuple(phases)})
    return _governed(drawn) if seed > _FIRST_GOVERNED and seed % 5 in (2, 3) else drawn


def _governed(scenario: Scenario) -> Scenario:
    """The same with organisations that decide together; their draws are their own, so that other seeds stay."""
    random = Random(f"governed {scenario.seed}")
    roles = {name: Schemer if random.random() < 0.5 else role for name, role in scenario.roles.items()}
    roles = {name: role if scenario.roles[name] is not Twins else Twins for name, role in roles.items()}
    params = {
        **scenario.params,
        "anybody_certifies": random.random() < 0.2,
        "rotation_delay_ms": random.choice([0, 500, 2_000]),
    }
    if random.random() < 0.5:  # only decisions end an epoch
        params |= {"epoch_blocks": 1_000, "unbonding_blocks": 2_000}
    certificates = scenario.certificates + 10
    changed = {"roles": roles, "params": params, "moves_stake": False, "is_governed": True, "is_ring": False}
    return Scenario(**{**vars(scenario), **changed, "certificates": certificates})


def _long(random: Random, seed: int, stakes: dict[str, int]) -> Scenario:
    """Many blocks in one epoch, few faults: what a node keeps that it should have dropped shows here."""
    members = dict(list(stakes.items())[:4])
    params = {"epoch_blocks": 100, "delta_ms": DELTA_MS, "max_block_certificates": 1}
    link = Link(delay_max_ms=100, loss=0.05, reordering=True)
    phase = Phase(8_000, link, crashes=(Crash(2_000, random.choice(list(members)), random.randint(0, 40), 500),))
    return Scenario(seed, members, params=params, phases=(phase,), certificates=90, moves_stake=False)


def _cap(random: Random, stakes: dict[str, int], weak: list[str]) -> None:
    """Whoever is not to be relied upon has less than a third of the stake, often only just, whatever is withdrawn."""
    steady = sum(stake for name, stake in stakes.items() if name not in weak)
    most = (steady - int(steady * WITHDRAWN) - 1) // 2
    together = sum(stakes[name] for name in weak)
    if weak and (together > most or random.random() < 0.5):
        for name in weak:
            stakes[name] = most // len(weak)


def _link(random: Random) -> Link:
    return Link(
        delay_max_ms=random.choice([20, 50, 250, 600]),
        loss=random.choice([0, 0, 0.1, 0.3]),
        duplication=random.choice([0, 0.1, 0.3]),
        reordering=random.random() < 0.5,
    )


def _phase(random: Random, scenario: Scenario) -> Phase:
    """Several faults at once."""
    duration_ms = random.randint(1_500, 4_000)
    groups: tuple[tuple[str, ...], ...] = ()
    if random.random() < 0.35:
        hosts = random.sample(scenario.hosts, len(scenario.hosts))
        cut = random.randint(1, len(hosts) - 1)
        groups = (tuple(hosts[:cut]), tuple(hosts[cut:]))
    crashes: list[Crash] = []
    for name in [*scenario.honest, *scenario.observers]:
        for _ in range(random.choice([0, 0, 0, 1, 2])):
            at_ms, down_ms = random.randint(0, duration_ms), random.randint(50, random.choice([200, 2_000]))
            from_vote = random.choice([None, 0, 0, FINALIZE, FINALIZE])
            actions = random.randint(0, 40 if from_vote is None else 3)
            crashes.append(Crash(at_ms, name, actions, down_ms, from_vote))
    all_at_ms = random.randint(0, duration_ms) if random.random() < 0.3 else None
    held_back = random.choice([0, 0, NOTARIZE, NULLIFY, FINALIZE])
    return Phase(duration_ms, _link(random), groups, tuple(crashes), held_back, all_at_ms)


def _restoring(random: Random, names: list[str], *, loses_guard: bool) -> Phase:
    """Slow and lossy, so that a view may still be open when its member comes back."""
    link = Link(delay_max_ms=random.choice([50, 600]), loss=random.choice([0, 0.3]), reordering=random.random() < 0.7)
    restores = []
    for name in names:
        copy_before = random.choice([None, 0, NOTARIZE, NULLIFY])
        is_accepted = loses_guard and random.random() < 0.3
        has_old_database = not loses_guard or random.random() < 0.6
        restores.append(Restore(name, loses_guard, is_accepted, has_old_database, copy_before))
    duration_ms, withholds_answers = random.randint(2_000, 5_000), random.random() < 0.3
    return Phase(duration_ms, link, restores=tuple(restores), withholds_answers=withholds_answers)
