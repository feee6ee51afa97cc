"""How the tests meet chance: Hypothesis is deterministic unless told otherwise, and simulations come with a seed."""

import os

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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=2, help="how many seeds each seeded simulation runs with")
    parser.addoption("--rewrite", action="store_true", help="write what text scenarios print now into their files")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `seed` runs once a seed; its name shows which."""
    if "seed" in metafunc.fixturenames:
        seeds = range(1, metafunc.config.getoption("--seeds") + 1)
        metafunc.parametrize("seed", seeds, ids=[f"seed={seed}" for seed in seeds])
