"""`python held_up_node.py FILE …`: the command in a process that verifies nothing in bulk while the file is there.

It stands for a machine with more certificates to verify than it can: what comes in bulk is always behind others.
"""

import asyncio
import sys
from collections import deque
from pathlib import Path
from typing import Any

from tallystick.cli.app import app
from tallystick.host.verification import Verifier

_LOOK_S = 0.02


def main() -> None:
    """Hold back what waits in bulk, and be the command."""
    gate = Path(sys.argv.pop(1))
    hand_over, start = Verifier._hand_over, Verifier.start

    def held(verifier: Verifier) -> None:
        if not gate.exists():
            hand_over(verifier)
            return
        bulk, verifier._bulk.batches = verifier._bulk.batches, deque()
        hand_over(verifier)
        verifier._bulk.batches = bulk

    def look(verifier: Verifier) -> None:
        verifier._hand_over()
        asyncio.get_running_loop().call_later(_LOOK_S, look, verifier)

    async def started(verifier: Verifier) -> None:
        await start(verifier)
        look(verifier)

    changed: Any = Verifier
    changed._hand_over, changed.start = held, started
    app()


if __name__ == "__main__":
    main()
