"""How the tests meet chance: Hypothesis is deterministic unless told otherwise, and simulations come with a seed."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Generator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

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
    "test_operate",
    "page",
    "interop",
    "test_campaign",
    "test_cli",
    "test_governing",
    "test_crashes",
    "test_verification",
    "test_explore",
    "test_store_crashes",
    "test_local_network",
    "test_openapi",
    "test_shown_text",
    "test_scenarios",
    "test_partition",
    "test_package",
    "test_replacing",
    "test_check",
    "test_certify",
    "test_clock_skew",
    "test_id_runs",
    "test_native_build",
    "test_mirror_files",
    "test_zeromq",
    "test_demo",
    "test_repairing",
    "test_governing_doors",
    "test_guard_running",
    "test_pdf_files",
    "test_late_joiner",
    "test_gossip_tree",
    "test_continuation",
    "test_show",
    "test_governed",
    "test_cli_node",
    "test_export",
    "test_snapshots",
    "test_node",
    "test_certificate_index",
    "test_continues",
    "test_crowd",
)
"""Test files, and folders of them, that take ten seconds or more, the longest first: a worker that gets one last lets
the others wait.
"""

_IN_PARTS = ("test_campaign", "test_explore", "test_gossip_tree")
"""Those of which any worker may run each test function: they are long, and share little that takes long to make."""

_TOGETHER = ("interop", "page")
"""Folders whose tests one worker runs: they share programs built in Go, and a browser."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest come first; otherwise the order stays."""
    place = {name: number for number, name in enumerate(_SLOWEST)}
    items.sort(key=lambda item: place.get(item.path.stem, place.get(item.path.parent.name, len(place))))


class _ByFile(LoadScopeScheduling):  # type: ignore[misc]  # it comes without types
    """A file to one worker, but for those that are run in parts, and for `_TOGETHER`."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0])
        if file.stem in _IN_PARTS:
            return nodeid.partition("[")[0]
        return str(file.parent if file.parent.name in _TOGETHER else file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    return _ByFile(config, log) if config.getoption("dist") == "loadfile" else None


_OF_THE_CORE = Path(__file__).parent / "unit"
"""Whose tests have to reach the core's branches: that others pass through one says little, and tracing slows them."""

_OF_THE_EDGE = (
    "test_benchmarks",
    "test_fuzz",
    "test_invite",
    "test_locks",
    "test_native_build",
    "test_pdf_syntax",
    "test_sealed_key",
    "test_text",
    "test_time_stamp_token",
    "test_x25519",
)
"""Unit tests that have nothing to do with the core, or reach it by chance."""

_TRACE = pytest.StashKey[Any]()


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """With `--cov`, the core is imported here, to be measured; the rest is measured in its unit tests alone.

    Traced, the collection would take half as long again.
    """
    if session.config.pluginmanager.hasplugin("_cov"):
        for package in Coverage.current().get_option("run:source"):
            for module in walk_packages(import_module(package).__path__, f"{package}."):
                import_module(module.name)
        session.config.stash[_TRACE] = sys.gettrace(), threading.gettrace()
        _trace_with(None, None)
    return (yield)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Modules and tests are here to stay: a search for garbage through all of them takes a fifth of a second."""
    if not gc.get_freeze_count():  # a test that runs others is under way otherwise
        gc.collect()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Item) -> Generator[None, object, object]:
    """The test alone is traced: what pytest does about each takes as long again."""
    traced = pyfuncitem.config.stash.get(_TRACE, None) if _reaches_the_core(pyfuncitem) else None
    if traced is None:
        return (yield)
    _trace_with(*traced)
    try:
        return (yield)
    finally:
        _trace_with(None, None)


def _reaches_the_core(item: pytest.Item) -> bool:
    """Whether it has to: not by what Hypothesis draws, a hundred times over; a case that counts is written down."""
    is_unit = item.path.parent == _OF_THE_CORE and item.path.stem not in _OF_THE_EDGE
    return is_unit and item.get_closest_marker("hypothesis") is None


def _trace_with(trace: Any, of_threads: Any) -> None:
    sys.settrace(trace)
    threading.settrace(of_threads)


os.environ.pop("XDG_DATA_HOME", None)  # a test's home has the usual folder in it


def pytest_configure() -> None:
    """Let processes that tests start heed Ctrl-C, also when the run is a shell's background job, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=1, help="how many seeds each seeded simulation runs with")
    parser.addoption("--rewrite", action="store_true", help="write what text scenarios print now into their files")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `seed` runs once a seed; its name shows which."""
    if "seed" in metafunc.fixturenames:
        seeds = range(1, metafunc.config.getoption("--seeds") + 1)
        metafunc.parametrize("seed", seeds, ids=[f"seed={seed}" for seed in seeds])
