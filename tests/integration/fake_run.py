"""Stands in for `python -m tallystick run`: answers on its socket, and behaves as the file `behaviour` tells it."""

import signal
import sys
import threading
from contextlib import chdir
from pathlib import Path

from tests.integration.fake_node import ChainNode, listening

from tallystick.host.data_folder import DataFolder


def main() -> int:
    folder = DataFolder(Path(sys.argv[sys.argv.index("--data") + 1]).resolve())
    told = folder.path / "behaviour"
    behaviour = told.read_text() if told.exists() else ""
    if behaviour == "fails":
        sys.stderr.write("something first\nthe port is taken\n\n")
        return 3
    stop = threading.Event()
    if behaviour == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if behaviour == "silent":
        stop.wait()
        return 0
    with chdir(folder.path), listening(Path("control.sock"), ChainNode(folder.ledger_path)):
        stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
