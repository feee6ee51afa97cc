"""`python skewed_node.py FILE …`: the command in a process whose clock is as many ms off as the file says, at any time.

It stands for a machine with a wrong clock. Timers run on the monotonic clock, which no setting of the time moves.
"""

import sys
import time
from pathlib import Path

from tallystick.cli.app import app

_real = time.time_ns


def main() -> None:
    """Put the clock wrong, and be the command."""
    offset = Path(sys.argv.pop(1))
    time.time_ns = lambda: _real() + int(offset.read_text()) * 1_000_000

    app()


if __name__ == "__main__":
    main()
