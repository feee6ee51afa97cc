"""The lock on a data folder: one process at a time has it, and a killed one no longer."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tallystick.host.data_lock import data_lock
from tallystick.problems import DataInUse, Problem

HOLD = r"""
import os, sys, time
from pathlib import Path
from tallystick.host.data_lock import data_lock
lock = data_lock(Path(sys.argv[1]))
lock.__enter__()
if sys.argv[2] == "fork" and os.fork() == 0:
    os.write(1, f"child {os.getpid()}\n".encode())
    time.sleep(60)
os.write(1, b"holding\n")
time.sleep(60)
"""


def holder(folder: Path, how: str = "alone") -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder), how], stdout=subprocess.PIPE, text=True)


def test_a_second_process_is_refused_and_told_which_one_is_first(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        expected = rf"in use by process {process.pid}; stop that one first"
        with pytest.raises(DataInUse, match=expected), data_lock(tmp_path):
            pass
        process.kill()
        process.wait()
    with data_lock(tmp_path):
        pass


def test_a_worker_that_outlives_a_killed_node_does_not_hold_its_data(tmp_path: Path) -> None:
    with holder(tmp_path, "fork") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        child = next(int(line.split()[1]) for line in lines if line.startswith("child"))
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        try:
            with data_lock(tmp_path):
                os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_lock_is_taken_again_after_it_was_released(tmp_path: Path) -> None:
    for _ in range(2):
        with data_lock(tmp_path), pytest.raises(DataInUse, match=f"process {os.getpid()};"), data_lock(tmp_path):
            pass


def test_a_folder_that_is_not_there_is_refused_with_advice(tmp_path: Path) -> None:
    expected = r"cannot be made: .*; name a data folder that exists"
    with pytest.raises(Problem, match=expected), data_lock(tmp_path / "nowhere"):
        pass
