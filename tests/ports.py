"""Ports for what tests start: none is given again for long, neither within a worker nor to one that runs beside it."""

import os
import secrets
from contextlib import suppress
from itertools import cycle, islice
from typing import Final

from tallystick.host.addresses import AddressError, free_ports

OF_TESTS: Final = range(10_000, 20_000)
"""Neither the usual ones nor those that the demo draws, whose processes may run meanwhile."""

_IN_A_ROW: Final = 16
_WORKERS: Final = 10
_WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_ROWS: Final = OF_TESTS[::_IN_A_ROW][_WORKER % _WORKERS :: _WORKERS]
_next_rows: Final = islice(cycle(_ROWS), secrets.randbelow(len(_ROWS)), None)


def drawn_port(how_many: int = 1) -> int:
    """The first of as many free ports in a row, 16 at most. Raises `AddressError`."""
    assert how_many <= _IN_A_ROW
    for first in islice(_next_rows, len(_ROWS)):
        with suppress(AddressError):
            return free_ports(how_many, first)[0]
    raise AddressError(f"no {how_many} ports in a row of {OF_TESTS[0]} to {OF_TESTS[-1]} are free")
