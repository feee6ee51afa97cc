"""Machines to follow a manual on: this one's files, changed for each alone, with a systemd and a network of its own.

Namespaces and an overlay make them; all that they are ends with their first process, and nothing of them is on the host
but a folder for their processes among the control groups.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_SYSTEMD: Final = Path("/lib/systemd/systemd")
_NEEDED: Final = ("ip", "mount", "nsenter", "pivot_root", "su", "systemctl", "unshare", "useradd")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHON: Final = "/opt/python"
_PATIENCE_SECONDS: Final = 600

# What a machine starts of its own: a journal, and nothing that reaches for the kernel's settings.
_SYSINIT: Final = """[Unit]
DefaultDependencies=no
Wants=systemd-journald.service
After=systemd-journald.service
"""

_BOOT: Final = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$SCRATCH"
cd "$SCRATCH"
mkdir up work root
mount -t overlay overlay -o lowerdir=/,upperdir=up,workdir=work root
cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do cp -a "/dev/$device" dev/; done
mkdir dev/pts dev/shm old
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
if [ -n "$BASE" ]; then
  mkdir -p ".$PYTHON" && mount --bind "$BASE" ".$PYTHON"
  echo "$PYTHON/lib" > etc/ld.so.conf.d/00-python.conf  # its own library, not the system's of the same name
  ldconfig -r .
fi
rm -rf etc/systemd/system run/systemd
mkdir -p etc/systemd/system/multi-user.target.wants
printf '%s' "$SYSINIT" > etc/systemd/system/sysinit.target
: > etc/machine-id
cp -r "$GIVEN" root/dist
echo "$NAME" > etc/hostname
ip link set lo up
pivot_root . old
umount -l /old
mount --make-rshared /  # as systemd expects of whatever starts it: credentials are mounted from aside
exec env -i container=test PATH="$PATH" /lib/systemd/systemd --unit=basic.target --log-target=null >/dev/null 2>&1
"""


def missing() -> str | None:
    """What it lacks here to make machines, if anything."""
    if sys.platform != "linux":
        return "no Linux"
    if os.geteuid() != 0:
        return "not root"
    lacking = [name for name in _NEEDED if shutil.which(name, path=_PATH) is None]
    if lacking or not _SYSTEMD.exists():
        return f"no {', '.join(lacking) or _SYSTEMD}"
    if _control_groups() is None:
        return "no control groups of version 2 to write to"
    tried = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "true"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return f"no namespaces: {tried.stderr.strip()}" if tried.returncode else None


class Machine:
    """One machine, from `start` to `stop`; its root's home has the folder `dist` that was given."""

    def __init__(self, name: str, scratch: Path) -> None:
        self.name = name
        self._scratch = scratch
        self._holder: subprocess.Popen[bytes] | None = None
        self._group: Path | None = None
        self.pid = 0
        """Its first process, as the host sees it."""

    def start(self, given: Path) -> None:
        """Boot it."""
        self._scratch.mkdir(parents=True)
        base = "" if sys.base_prefix == "/usr" else sys.base_prefix
        environment = {"PATH": _PATH, "NAME": self.name, "SCRATCH": str(self._scratch), "GIVEN": str(given)}
        environment |= {"SYSINIT": _SYSINIT, "BASE": base, "PYTHON": _PYTHON}
        groups = _control_groups()
        assert groups is not None
        self._group = groups / f"tallystick-test-{os.getpid()}-{self.name}"
        self._group.mkdir()
        join = f"echo $$ > {self._group}/cgroup.procs; exec "
        unshare = "unshare --mount --net --pid --uts --ipc --cgroup --fork --kill-child bash -c "
        self._holder = subprocess.Popen(["bash", "-c", join + unshare + '"$0"', _BOOT], env=environment)
        self.pid = _only_child(self._holder)
        self._wait_until_booted()

    @property
    def root(self) -> Path:
        """Its files, as the host sees them while it runs."""
        return Path(f"/proc/{self.pid}/root")

    def _wait_until_booted(self) -> None:
        end_s = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < end_s:
            assert self._holder is not None
            assert self._holder.poll() is None, f"{self.name} did not boot"
            with suppress(OSError):
                has_pivoted = Path(f"/proc/{self.pid}/comm").read_text().strip() == "systemd"
                if has_pivoted and self.enter(["systemctl", "is-active", "--quiet", "basic.target"]).returncode == 0:
                    return
            time.sleep(0.1)
        raise AssertionError(f"{self.name} did not boot in {_PATIENCE_SECONDS} s")

    def enter(self, command: Sequence[str], text: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a command in it as root."""
        home = {"HOME": "/root", "USER": "root", "LANG": "C.UTF-8", "PATH": f"{_PYTHON}/bin:{_PATH}"}
        namespaces = ["--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--root", "env", "--chdir=/root"]
        return subprocess.run(
            ["nsenter", "--target", str(self.pid), *namespaces, *command],
            input=text,
            env=home,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )

    def run(self, script: str, user: str = "root") -> "subprocess.CompletedProcess[str]":
        """Run a script as a user who logged in; it ends with the first command that fails."""
        shell = ["bash", "-eu", "-o", "pipefail"]
        command = shell if user == "root" else ["su", "-", user, "-c", " ".join(shell)]
        return self.enter(command, script)

    def stop(self) -> None:
        """End all of its processes, and with them all that it was."""
        if self._holder is not None:
            self._holder.kill()  # its child, the machine's first process, is killed with it
            self._holder.wait()
        if self._group is not None:
            _remove_group(self._group)


@contextmanager
def network(addresses: Mapping[str, Sequence[str]], given: Path, scratch: Path) -> Iterator[dict[str, Machine]]:
    """Machines by name, joined by a bridge that is in a namespace of its own; addresses with their prefix lengths."""
    machines = {name: Machine(name, scratch / name) for name in addresses}
    switch = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    try:
        for machine in machines.values():
            machine.start(given)
        _wait_for_own_network(switch.pid)
        _in_network(switch.pid, "ip link add bridge type bridge", "ip link set bridge up")
        for number, (name, machine) in enumerate(machines.items()):
            port = f"port{number}"
            _in_network(
                switch.pid,
                f"ip link add {port} type veth peer name eth0 netns {machine.pid}",
                f"ip link set {port} master bridge up",
            )
            own = [f"ip address add {one} dev eth0" for one in addresses[name]]
            _in_network(machine.pid, *own, "ip link set eth0 up")
        yield machines
    finally:
        for machine in machines.values():
            machine.stop()
        switch.kill()
        switch.wait()


def _in_network(pid: int, *commands: str) -> None:
    for command in commands:
        subprocess.run(["nsenter", "--target", str(pid), "--net", *command.split()], check=True, timeout=60)


def _wait_for_own_network(pid: int) -> None:
    end_s = time.monotonic() + _PATIENCE_SECONDS
    while Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def _only_child(process: "subprocess.Popen[bytes]") -> int:
    end_s = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end_s:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if Path(f"/proc/{process.pid}/comm").read_text().strip() == "unshare" and children:
            return int(children[0])
        assert process.poll() is None, "a machine ended before it began"
        time.sleep(0.01)
    raise AssertionError("a machine did not begin")


def _control_groups() -> Path | None:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2" and os.access(place, os.W_OK):
            return Path(place)
    return None


def _remove_group(group: Path) -> None:
    end_s = time.monotonic() + _PATIENCE_SECONDS
    while group.exists() and time.monotonic() < end_s:
        for folder, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):  # the last of its processes is still ending
                Path(folder).rmdir()
        time.sleep(0.01)
