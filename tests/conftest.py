"""How the tests meet chance: Hypothesis is deterministic unless told otherwise, and simulations come with a seed."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

_SLOW_IS_FINE = (HealthCheck.too_slow, HealthCheck.data_too_large)

settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    max_examples=100,
    suppress_health_check=_SLOW_IS_FINE,
)
settings.register_profile(
    "search", deadline=None, print_blob=True, max_examples=2_000, suppress_health_check=_SLOW_IS_FINE
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


_SLOWEST = (
    "test_governing",
    "test_operate",
    "test_campaign",
    "test_explore",
    "test_cli",
    "test_governing_doors",
    "test_crashes",
    "test_gossip_tree",
    "test_clock_skew",
    "test_guard_running",
    "test_local_network",
    "test_governed",
    "test_check",
    "test_verification",
    "test_certify",
    "test_package",
    "test_late_joiner",
)
"""Test files that take half a minute or so, the longest first: a worker that gets one last lets the others wait."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files come first; within a file the order stays."""
    place = {name: number for number, name in enumerate(_SLOWEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


os.environ.pop("XDG_DATA_HOME", None)  # a test's home has the usual folder in it


def pytest_configure() -> None:
    """Let processes that tests start heed Ctrl-C, also when the run is a shell's background job, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=2, help="how many seeds each seeded simulation runs with")
    parser.addoption("--rewrite", action="store_true", help="write what text scenarios print now into their files")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `seed` runs once a seed; its name shows which."""
    if "seed" in metafunc.fixturenames:
        seeds = range(1, metafunc.config.getoption("--seeds") + 1)
        metafunc.parametrize("seed", seeds, ids=[f"seed={seed}" for seed in seeds])
