"""A demo as it is played: what it tells as it happens, and the account that it comes to in the end."""

import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec.structs import asdict

from tallystick.cli.output import Terminal, Text
from tallystick.cli.words import many, seconds
from tallystick.client.blocking import Client
from tallystick.demo.account import KEPT, Account, FileLine, Killing, Moment, NodeLine, Stretch, Verdict
from tallystick.problems import StoreError
from tallystick.storage.file_statement import FileStatement, describe_file, describe_stream
from tallystick.storage.store import Store

LEDGER_NAME: Final = "tallystick demo"
_STYLES: Final = {"+": "default", "■": "green", "×": "red", "!": "yellow", ">": "cyan"}


class Play:
    """Prints a line for each thing that happens, on a terminal with the scene below; and collects the verdicts."""

    def __init__(self, console: Terminal, now_ms: Callable[[], int], began_ms: int) -> None:
        self.status = console.status("")
        self._now_ms, self._began_ms = now_ms, began_ms
        self._verdicts: list[Verdict] = []
        self._stretches: list[Stretch] = []
        self._joined_ms: dict[str, int] = {}

    @property
    def elapsed_ms(self) -> int:
        """Since the ledger began."""
        return self._now_ms() - self._began_ms

    def show_scene(self, title: str) -> None:
        """Say what all of this is about, until the next scene."""
        self.status.update(Text(f"{title} ({seconds(self.elapsed_ms)})", style="bold"))

    def tell(self, mark: str, text: str) -> None:
        """Something happened: + honest work, ■ a block, × a refusal, ! trouble, > in the network."""
        line = Text(f"{seconds(self.elapsed_ms):>7}  ", style="dim")
        self.status.console.print(line.append(f"{mark} {text}", f"not dim {_STYLES[mark]}"), soft_wrap=True)

    def judge(self, what: str, holds: bool, says: str, **facts: Any) -> Verdict:
        """Whether it was."""
        self._verdicts.append(verdict := Verdict(what, holds, says, facts))
        return verdict

    def judge_killing(self, one: Killing, how: str = "", *, is_missed: bool = True) -> Verdict:
        """The ledger went on without a node that was killed and missed, and it came back."""
        self._stretches.append(Stretch(one.node, "killed", one.killed_ms, one.restarted_ms))
        outlived = is_missed and one.went_on.ms is not None and one.went_on.ms < one.restarted_ms
        came_back = one.caught_up.ms is not None and one.voted_again.ms is not None
        says = f"Without {one.node}, which was killed, the ledger did not go on"
        if outlived and not came_back:
            says = f"{one.node}, which was killed, did not come back"
        elif outlived:
            cost = f"after {_took(one.killed_ms, one.went_on)} block {one.went_on.index} was final without it"
            back = f"back after {seconds(one.restarted_ms - one.killed_ms)}"
            caught_up = f"it caught up in {_took(one.restarted_ms, one.caught_up)}, and votes again"
            says = f"{one.node} was killed{how}: {cost}; {back}, {caught_up}"
        return self.judge("went_on_without_the_killed", outlived and came_back, says, **asdict(one))

    def judge_joining(self, node: str, caught_up: Moment) -> None:
        """A node that joined late caught up."""
        had = f"had block {caught_up.index} {_took(self._joined_ms[node], caught_up)} later"
        says = f"{node} joined late, and " + ("did not catch up" if caught_up.ms is None else had)
        self.judge("the_joiner_caught_up", caught_up.ms is not None, says, node=node, **asdict(caught_up))

    def give_account(self, chain: Path, nodes: Sequence[NodeLine], files: Sequence[FileLine]) -> Account:
        """Close the account with the kept chain, and with the verdicts on all nodes and files."""
        with Client(chain) as client:
            ledger, members = client.ledger(), client.members().members
            blocks = [client.block(index) for index in range(1, ledger.tip.index + 1)]
        agree = {one.tip_hash for one in nodes} == {ledger.tip.hash}
        agreed = f"All {len(nodes)} nodes agree: block {ledger.tip.index}, {ledger.tip.hash[:16]}…"
        self.judge("nodes_agree", agree, agreed if agree else f"The {len(nodes)} nodes do not agree")
        good = sum(KEPT in one.verified_by and one.verified_by == one.failed_when_changed_by for one in files)
        says = f"{good} of {many(len(files), 'file')} verified, and failed when changed"
        self.judge("all_files_verify", good == len(files), says)
        return Account(
            took_ms=self.elapsed_ms,
            verdicts=self._verdicts,
            ledger=ledger,
            epochs=_epochs(chain),
            blocks=blocks,
            members=members,
            nodes=list(nodes),
            stretches=self._stretches,
            files=list(files),
        )


def _took(from_ms: int, until: Moment) -> str:
    return seconds((until.ms or from_ms) - from_ms)


def _epochs(chain: Path) -> list[dict[str, int]]:
    with Store.open(chain, read_only=True) as store:
        names, last = store.names(), store.block(store.tip_index)
        kept = [store.voters(number) for number in range(last.header.epoch + 1 if last else 0)]
        epochs = [one if one is not None else store.genesis.stakes().members for one in kept]
    return [{names[key]: stake for key, stake in members} for members in epochs]


def check_file(path: Path, doors: Mapping[str, Client]) -> FileLine:
    """Look for a file's certificates at each door, the kept chain's among them, and for those of a changed file."""
    now, changed = describe_file(path), _with_one_byte_changed(path)
    verified = [name for name, client in doors.items() if client.verify_statement(now)]
    failed = [name for name, client in doors.items() if not client.verify_statement(changed)]
    return FileLine(now.name, now.sha256.hex(), verified, failed)


def _with_one_byte_changed(path: Path) -> FileStatement:
    """What the file would be described as with one bit of its middle byte turned; the file itself stays as it is."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY) as changed:
        changed[len(changed) // 2] ^= 1
        return describe_stream(path.name, changed)


def make_room(path: Path) -> None:
    """Remove an earlier demo's chain, and nothing else. Raises `StoreError`, and then nothing has changed."""
    if not os.access(path.absolute().parent, os.W_OK):
        raise StoreError(f"{path} cannot be made: its folder is not there, or not yours to write; name another file")
    if path.exists():
        with Store.open(path, read_only=True) as earlier:
            name = earlier.genesis.name
        if name != LEDGER_NAME:
            raise StoreError(f"{path} holds the ledger {name!r} and is left alone; name another file with --chain")
        Store.open(path).delete()
