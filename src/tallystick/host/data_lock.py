"""One process a data folder: two nodes with one key and one chain would contradict each other, and lose their stake."""

import fcntl
import os
from pathlib import Path

from tallystick.problems import DataInUse, Problem


class DataLock:
    """Held from `take` to `release`, or to the end of the process, however it ends: the kernel keeps it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lock"
        self._descriptor: int | None = None

    def take(self) -> None:
        """Raises `DataInUse`, naming the process that holds it, and `Problem` when the folder cannot be written."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            advice = "name a data folder that exists and that you may write to"
            raise Problem(f"{self.path} cannot be made: {error.strerror}; {advice}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                reason = f"{self.path} cannot be locked: {error.strerror}"
                raise Problem(f"{reason}; keep the data folder on a disk of this machine") from None
            process = f"process {holder}" if holder.isdecimal() else "another process"
            advice = "stop that one first, or name another data folder"
            raise DataInUse(f"{self.path.parent} is in use by {process}; {advice}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        os.register_at_fork(after_in_child=self.release)  # or a worker that outlives this process would hold it

    def release(self) -> None:
        """Let another process have the folder. The file stays: removing it would let two take two of that name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "DataLock":
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
