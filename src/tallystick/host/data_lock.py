"""One process a data folder: two nodes with one key and one chain would contradict each other, and lose their stake."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tallystick.problems import DataInUse, Problem


@contextmanager
def data_lock(folder: Path) -> Iterator[None]:
    """Hold a folder, at most to the end of the process, however it ends: the kernel keeps the lock.

    Raises `DataInUse`, naming the process that holds it, and `Problem` when the folder cannot be written.
    """
    path = folder / "lock"
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", errors="replace")
    except OSError as error:
        advice = "name a data folder that exists and that you may write to"
        raise Problem(f"{path} cannot be made: {error.strerror}; {advice}") from None
    with file:  # it stays: removing it would let two take two of that name
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read(32).strip()
            process = f"process {holder}" if holder.isdecimal() else "another process"
            advice = "stop that one first, or name another data folder"
            raise DataInUse(f"{folder} is in use by {process}; {advice}") from None
        except OSError as error:
            reason = f"{path} cannot be locked: {error.strerror}"
            raise Problem(f"{reason}; keep the data folder on a disk of this machine") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        os.register_at_fork(after_in_child=file.close)  # or a worker that outlives this process would hold it
        yield
