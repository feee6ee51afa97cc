"""Processes of the command that are forked from one that has loaded all of it.

Python and the imports cost such a process more processor time than most of what tests start it for, hundreds of times
in a run. From its imports until its exit it is the process that a user has. Tests of the start itself start Python.

On Linux each is given one core: a node starts a verification worker, a Python too, for each core that it may use.
"""

import array
import atexit
import ctypes
import gc
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

_ORDER_BYTES = 256 * 1024
_NOT_LOADED = ("tallystick.course", "tallystick.__main__")
"""What no command needs, and the command itself."""
_LOADED_LATE = ("structlog.dev", "structlog.stdlib", "typer._adapters", "uvicorn.lifespan.off")
"""What libraries import only when a command runs: half of what it then takes."""
_PR_SET_PDEATHSIG = 1


class ForkedProcess:
    """`python -m tallystick ARGS`, with as much of `subprocess.Popen` as tests use."""

    def __init__(
        self,
        args: Sequence[str],
        env: Mapping[str, str],
        files: tuple[int, int, int],
        *,
        cwd: Path | None = None,
        start_new_session: bool = False,
    ) -> None:
        """`files`: the descriptors of its standard input, output and error."""
        self.args = list(args)
        self.returncode: int | None = None
        told, telling = os.pipe()
        order = {"args": self.args, "env": dict(env), "cwd": str(cwd or Path.cwd()), "session": start_new_session}
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [*files, telling]))
        try:
            _server()[0].sendmsg([json.dumps(order).encode()], [rights])
        finally:
            os.close(telling)
        self._told = os.fdopen(told, "rb", buffering=0)
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        """Its exit code; `None` while it runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, when it has ended. Raises `subprocess.TimeoutExpired`."""
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it without a word."""
        self.send_signal(signal.SIGKILL)

    def _wait(self, timeout_s: float | None) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout_s)[0]:
            self.returncode = int(self._told.readline() or -signal.SIGKILL)  # nothing: the server was killed
            self._told.close()
        return self.returncode


@cache
def _server() -> tuple[socket.socket, "subprocess.Popen[bytes]"]:
    """The process that forks, and where it takes orders; it ends with ours, and so does what it forked."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        command = [sys.executable, "-c", f"from {__name__} import serve; serve({its.fileno()})"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        server = subprocess.Popen(command, env=environment, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL)
    return ours, server


def serve(channel: int) -> None:
    """Fork a process for each order, and tell how it ended; in the forked process, be the command."""
    ended = list[int]()
    atexit.register(_leave, ended)  # before what is imported registers its own: this is called last
    import tallystick  # noqa: PLC0415

    for one in pkgutil.walk_packages(tallystick.__path__, "tallystick."):
        if not one.name.startswith(_NOT_LOADED):
            import_module(one.name)
    for name in _LOADED_LATE:
        import_module(name)
    gc.freeze()  # or each process copies all of it when it first looks for what nobody refers to
    order = _forked(socket.socket(fileno=channel))
    if order is not None:
        sys.argv = ["tallystick", *order]
        from tallystick.__main__ import main  # noqa: PLC0415

        try:
            main()
        except SystemExit as end:
            if isinstance(end.code, int):
                ended.append(end.code)
            raise
        ended.append(0)


def _leave(ended: list[int]) -> None:
    """End here: to take apart all that was loaded costs more than most commands, and nobody would see it."""
    if ended:
        try:
            sys.stdout.flush(), sys.stderr.flush()
        except (OSError, ValueError):
            return  # Python has a word and a code for that
        os._exit(ended[0])


def _forked(orders: socket.socket) -> list[str] | None:
    """The command's arguments, in a forked process; `None`, in the server, when no more orders will come."""
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started the tests
    telling: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([orders.fileno(), awake], [], [])
        if awake in ready:
            os.read(awake, 4096)
            _tell_ended(telling)
        if orders.fileno() not in ready:
            continue
        data, files, _, _ = socket.recv_fds(orders, _ORDER_BYTES, 4)
        if not data:
            return None
        if (pid := os.fork()) == 0:
            signal.set_wakeup_fd(-1)
            for one in (awake, wake, *telling.values()):
                os.close(one)
            orders.close()
            return _become(json.loads(data), files)
        telling[pid] = files.pop()
        os.write(telling[pid], b"%d\n" % pid)
        for one in files:
            os.close(one)


def _tell_ended(telling: dict[int, int]) -> None:
    while telling:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with os.fdopen(telling.pop(pid), "wb", buffering=0) as told:
            told.write(b"%d\n" % os.waitstatus_to_exitcode(status))


def _become(order: dict[str, Any], files: list[int]) -> list[str]:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, [cores[os.getpid() % len(cores)]])
    if order["session"]:
        os.setsid()
    for place, one in enumerate(files[:3]):
        os.dup2(one, place)
    for one in files:
        os.close(one)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    return list(order["args"])
