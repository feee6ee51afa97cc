"""docs/operate.md, followed word for word on five machines.

A block marked `sh USER@MACHINE` is run as that user on that machine (`all`: on all founders' at once, as people would),
`sh build` in a clone. Where the text says that a file of one person goes to another, it does.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from tests.integration.machines import Machine, missing, network
from tests.working_copy import ROOT, copy_to

MANUAL: Final = ROOT / "docs" / "operate.md"
ADDRESSES: Final = {
    "alice": ["10.77.0.1/24"],
    "bob": ["10.77.0.2/24"],
    "carol": ["10.77.0.3/24", "10.77.0.33/24"],
    "dora": ["10.77.0.4/24"],
    "erin": ["10.77.0.5/24"],
}
FOUNDERS: Final = ["alice", "bob", "carol", "dora"]

STEP: Final = re.compile(
    r"^```sh (?P<who>[a-z@,]+)\n(?P<script>.*?)^```$"
    r"|`(?P<file>[\w.]+)` of (?P<giver>[A-Z]\w+)\s+goes\s+to\s+"
    r"(?P<takers>[A-Z]\w+(?:,\s+[A-Z]\w+)*(?:\s+and\s+[A-Z]\w+)?)\s+as\s+`(?P<name>[\w.]+)`",
    re.M | re.S,
)

ENVIRONMENT: Final = re.compile(r"^python3 -m venv /(?P<folder>\S+)\n(?:/(?P=folder)/bin/pip .*\n)+", re.M)
"""What takes a machine longest, and is the same on each: the first makes it, and the others get a copy."""


class Step(NamedTuple):
    """What is to be done, and on which line the manual says so."""

    line: int
    found: "re.Match[str]"


def steps() -> Iterator[Step]:
    text = MANUAL.read_text()
    for found in STEP.finditer(text):
        yield Step(text.count("\n", 0, found.start()) + 1, found)


def test_every_step_names_a_user_and_machines_that_there_are() -> None:
    blocks = [step.found["who"] for step in steps() if step.found["who"]]
    assert blocks[0] == "build"
    assert {"root@all", "tallystick@alice", "tallystick@bob"} <= set(blocks)
    for who in set(blocks) - {"build"}:
        user, _, on = who.partition("@")
        assert user in ("root", "tallystick"), who
        assert on == "all" or set(on.split(",")) <= set(ADDRESSES), who


def test_machines_become_one_ledger_by_the_manual(tmp_path: Path) -> None:
    if lack := missing():
        pytest.skip(f"NOT TESTED: machines in namespaces cannot be made here: {lack}")
    clone = copy_to(tmp_path / "clone")
    (clone / ".venv").symlink_to(sys.prefix)
    todo = list(steps())
    for step in [one for one in todo if one.found["who"] == "build"]:
        build(clone, step)
    with network(ADDRESSES, clone / "dist", tmp_path / "machines") as machines:
        makers: dict[str, Machine] = {}
        for step in todo:
            match step.found["who"]:
                case "build":
                    continue
                case None:
                    hand_over(machines, step)
                case who:
                    user, _, on = who.partition("@")
                    names = FOUNDERS if on == "all" else on.split(",")
                    follow([machines[name] for name in names], step, user, makers)


def build(clone: Path, step: Step) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    shell = ["bash", "-eu", "-c", step.found["script"]]
    done = subprocess.run(shell, cwd=clone, env=environment, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode and ("No matching distribution" in done.stderr or "onnection" in done.stderr):
        pytest.skip(f"NOT TESTED: no package index in reach: {done.stderr}")
    assert done.returncode == 0, f"{MANUAL.name}:{step.line}\n{done.stdout}\n{done.stderr}"


def hand_over(machines: dict[str, Machine], step: Step) -> None:
    giver = machines[step.found["giver"].lower()]
    told = giver.run(f"cat {step.found['file']}", "tallystick")
    assert told.returncode == 0, (step.line, told.stderr)
    for taker in re.findall(r"[A-Z]\w+", step.found["takers"]):
        taken = machines[taker.lower()].enter(
            ["su", "-", "tallystick", "-c", f"cat > {step.found['name']}"], told.stdout
        )
        assert taken.returncode == 0, (step.line, taken.stderr)


def follow(machines: list[Machine], step: Step, user: str, makers: dict[str, Machine]) -> None:
    """Carry a block out on all of these at once. `makers`: who made an environment, by how it is made."""
    script: str = step.found["script"]
    if environment := ENVIRONMENT.search(script):
        how, folder = environment[0], environment["folder"]
        if how not in makers:
            makers[how], *machines = machines
            carry_out(makers[how], step, user, script)
        for machine in machines:
            shutil.copytree(makers[how].root / folder, machine.root / folder, symlinks=True)
        script = script.replace(how, "")
    together(lambda machine: carry_out(machine, step, user, script), machines)


def carry_out(machine: Machine, step: Step, user: str, script: str) -> None:
    begun_s = time.monotonic()
    done = machine.run(script, user)
    journal = machine.run("journalctl --no-pager --lines 40 --unit tallystick").stdout if done.returncode else ""
    where = f"{MANUAL.name}:{step.line} as {user} on {machine.name} ended with {done.returncode}"
    where += f" after {time.monotonic() - begun_s:.1f} s"
    assert done.returncode == 0, f"{where}\n{done.stdout}\n{done.stderr}\n{journal}"
    print(f"--- {where}\n{done.stdout}{done.stderr}")


def together(do: Callable[[Machine], None], machines: list[Machine]) -> None:
    with ThreadPoolExecutor() as threads:
        for _ in threads.map(do, machines):
            pass
