"""`python -m benchmarks.sampled FOLDER run …`: the command `tallystick`, which notes where its main thread is at work.

Each millisecond of the process's time, a signal looks at the main thread's stack. SIGUSR1 begins anew; SIGUSR2 writes
FOLDER/PID.json: stages with their seconds, of which those of other threads, together, are one.
"""

import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

import tallystick
from tallystick.__main__ import main

EVERY_S: Final = 0.001
THREADS: Final = "search index, on a thread of its own"
OTHER: Final = "event loop, and all else"
_ROOT: Final = f"{Path(tallystick.__file__).parent}{os.sep}"
_TICKS: Final = os.sysconf("SC_CLK_TCK")

_STAGES: Final = {
    "requests and answers": ("api/", "host/local_socket"),
    "submissions: what is known, what became of them": ("host/submissions",),
    "checks before signatures": ("node/intake", "node/knowledge", "ledger/certificate.", "ledger/keys"),
    "signatures handed to workers, and verdicts": ("host/claims", "host/verification", "host/batches"),
    "look-up of ids on the chain": ("ledger/certificate_index", "ledger/certificate_runs"),
    "box": ("node/certificate_box", "node/box_shares", "node/evidence_pool"),
    "gossip and lanes": ("node/gossip", "node/node", "node/peer_exchange", "node/sync", "host/runner"),
    "agreement": ("consensus/", "node/simplex_driver", "node/agreement", "node/late_votes", "ledger/vote"),
    "block and state": ("ledger/blockchain", "ledger/transition", "ledger/block", "ledger/state", "node/chain_copy"),
    "checkpoints": ("node/checkpoints", "node/epoch_ends", "ledger/checkpoint"),
    "guard file": ("host/guard",),
    "store": ("storage/", "network/archiving"),
    "transport": ("network/",),
}
"""By the innermost of the program's frames that tells a stage: beginnings of paths below the package."""
_ENCODING: Final = "encoding and decoding"
_SHARED: Final = ("ledger/encoding", "ledger/merkle", "ledger/messages", "ledger/wallet", "ledger/fields")
"""Of help to all stages: the caller tells which; but for the codec."""


def stage_of(frame: FrameType | None) -> str:
    """What the thread is at, by its stack."""
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(_ROOT):
            name = path.removeprefix(_ROOT).replace(os.sep, "/")
            if name == "ledger/encoding.py" and frame.f_code.co_qualname.startswith("Codec."):
                return _ENCODING
            if not name.startswith(_SHARED):
                return next((stage for stage, begun in _STAGES.items() if name.startswith(begun)), OTHER)
        frame = frame.f_back
    return OTHER


class Sampler:
    """Counts samples by stage."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{os.getpid()}.json"
        self._counts: Counter[str] = Counter()
        self._begun_s = 0.0, 0.0
        signal.signal(signal.SIGPROF, lambda _, frame: self._counts.update([stage_of(frame)]))
        signal.signal(signal.SIGUSR1, self._begin)
        signal.signal(signal.SIGUSR2, self._write)
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)

    def _begin(self, _: int, __: FrameType | None) -> None:
        self._counts.clear()
        self._begun_s = _spent_s()

    def _write(self, _: int, __: FrameType | None) -> None:
        main_s, whole_s = (now - begun for now, begun in zip(_spent_s(), self._begun_s, strict=True))
        total = self._counts.total() or 1
        seconds = {stage: main_s * count / total for stage, count in self._counts.items()}
        new = self._path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(seconds | {THREADS: whole_s - main_s}))
        new.replace(self._path)


def _spent_s() -> tuple[float, float]:
    """Processor time of the main thread, and of all threads."""
    return _of(Path(f"/proc/self/task/{os.getpid()}/stat")), _of(Path("/proc/self/stat"))


def _of(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    Sampler(Path(sys.argv.pop(1)))
    main()
