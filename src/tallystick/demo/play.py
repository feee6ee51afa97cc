"""A demo as it is played: what it tells as it happens, and the account that it comes to in the end."""

import asyncio
import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

from msgspec.structs import asdict

from tallystick.api import governed_views, views
from tallystick.api.file_source import CheckedReader, open_file
from tallystick.api.key_book import name_of
from tallystick.api.questions import MOST_ITEMS
from tallystick.cli.output import Terminal, Text
from tallystick.cli.words import many, seconds
from tallystick.demo.account import Account, FileLine, Killing, Moment, NodeLine, Stretch, Verdict
from tallystick.ledger.file_statement import FileStatement
from tallystick.problems import StoreError
from tallystick.storage.described_files import describe_file, describe_stream
from tallystick.storage.store import Store

LEDGER_NAME: Final = "tallystick demo"
_STYLES: Final = {"+": "default", "■": "green", "×": "red", "!": "yellow", ">": "cyan"}


class KeptChain(NamedTuple):
    """The kept chain as its file was read back, every rule checked again."""

    ledger: views.Ledger
    epochs: list[dict[str, int]]
    blocks: list[views.Block]
    members: list[views.Member]
    organisations: list[governed_views.Organisation]
    covers: Callable[[FileStatement], bool]
    """Whether it holds a certificate of these bytes of a file."""


class Play:
    """Prints a line for each thing that happens, on a terminal with the scene below; and collects the verdicts."""

    due: ClassVar[Sequence[str]] = ("nodes_agree", "all_files_verify")
    """The verdicts that are to be given; one that is not has failed."""

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

    def judge_killing(
        self, one: Killing, how: str = "", *, called: str | None = None, is_missed: bool = True, **facts: Any
    ) -> Verdict:
        """The ledger went on without a node that was killed and missed, and it came back."""
        self._stretches.append(Stretch(one.node, "killed", one.killed_ms, one.restarted_ms))
        went_on = one.tip_index < (one.went_on.index or 0) <= one.last_index
        came_back = (one.caught_up.index or 0) >= one.last_index and one.voted_again.ms is not None
        who = called or one.node
        says = f"Without {who}, which was killed, the ledger did not go on"
        if went_on and not is_missed:
            says = f"{who} was killed, and no view was nullified for lack of it"
        elif went_on and not came_back:
            says = f"{who}, which was killed, did not come back"
        elif went_on:
            cost = f"after {_took(one.killed_ms, one.went_on)} block {one.went_on.index} was final without it"
            back = f"back after {seconds(one.restarted_ms - one.killed_ms)}"
            caught_up = f"it caught up in {_took(one.restarted_ms, one.caught_up)}, and votes again"
            says = f"{who} was killed{how}: {cost}; {back}, {caught_up}"
        holds = went_on and is_missed and came_back
        return self.judge("went_on_without_the_killed", holds, says, **asdict(one), **facts)

    def judge_joining(self, node: str, caught_up: Moment, called: str | None = None) -> None:
        """A node that joined late caught up."""
        had = f"had block {caught_up.index} {_took(self._joined_ms[node], caught_up)} later"
        says = f"{called or node} joined late, and " + (had if caught_up.index else "did not catch up")
        self.judge("the_joiner_caught_up", bool(caught_up.index), says, node=node, **asdict(caught_up))

    def judge_ends(
        self, kept: KeptChain, nodes: Sequence[NodeLine], files: Sequence[FileLine], doors: Sequence[str]
    ) -> None:
        """All nodes and the kept chain stand at one tip; each file is to verify at each of these doors."""
        ledger, tip = kept.ledger, kept.ledger.tip
        ends = {(one.tip_index, one.tip_hash, one.log_size, one.log_root) for one in nodes}
        agree = ends == {(tip.index, tip.hash, ledger.log_size, ledger.log_root)}
        agreed = f"All {len(nodes)} nodes agree: block {tip.index}, {tip.hash[:16]}…"
        self.judge("nodes_agree", agree, agreed if agree else f"The {len(nodes)} nodes do not agree")
        good = sum(one.verified_by == one.failed_when_changed_by == list(doors) for one in files)
        says = f"{good} of {many(len(files), 'file')} verified, and failed when changed"
        self.judge("all_files_verify", good == len(files), says)

    def give_account(self, kept: KeptChain, nodes: Sequence[NodeLine], files: Sequence[FileLine]) -> Account:
        """Close the account with the kept chain and all verdicts."""
        judged = {one.what for one in self._verdicts}
        for what in self.due:
            if what not in judged:
                self.judge(what, False, f"Nobody judged this: {what}")
        return Account(
            took_ms=self.elapsed_ms,
            verdicts=self._verdicts,
            ledger=kept.ledger,
            epochs=kept.epochs,
            blocks=kept.blocks,
            members=kept.members,
            organisations=kept.organisations,
            nodes=list(nodes),
            stretches=self._stretches,
            files=list(files),
        )


def _took(from_ms: int, until: Moment) -> str:
    return seconds((until.ms or from_ms) - from_ms)


def read_back(chain: Path) -> KeptChain:
    """Read the kept chain. Raises `DamagedStore`."""
    return asyncio.run(_read_back(chain))


async def _read_back(chain: Path) -> KeptChain:
    async with open_file(chain) as app:
        reader = app.reader
        assert isinstance(reader, CheckedReader)
        checked, ledger, members = reader.checked, await reader.ledger(), await reader.members(MOST_ITEMS)
        lines = (await reader.organisations(MOST_ITEMS)).organisations
        organisations = [await reader.organisation(one.id) for one in lines]
        blocks = [await reader.block(index) for index in range(1, ledger.tip.index + 1)]
    epochs = {one.epoch: checked.epoch_of(one.index).members for one in blocks}
    stakes = [{name_of(reader.key(key)): stake for key, stake in one} for one in epochs.values()]

    def covers(file: FileStatement) -> bool:
        return any(one.size_bytes == file.size_bytes for one, _ in checked.stating(file.sha256))

    return KeptChain(ledger, stakes, blocks, members.members, organisations, covers)


def check_file(path: Path, doors: Mapping[str, Callable[[FileStatement], object]]) -> FileLine:
    """Look for a file's certificates at each door, the kept chain's among them, and for those of a changed file."""
    now, changed = describe_file(path), _with_one_byte_changed(path)
    verified = [name for name, covers in doors.items() if covers(now)]
    failed = [name for name, covers in doors.items() if not covers(changed)]
    return FileLine(now.name, now.sha256.hex(), verified, failed)


def _with_one_byte_changed(path: Path) -> FileStatement:
    """What the file would be described as with one bit of its middle byte turned; the file itself stays as it is."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY) as changed:
        changed[len(changed) // 2] ^= 1
        return describe_stream(path.name, changed)


def make_room(path: Path) -> None:
    """Remove an earlier demo's chain, and nothing else. Raises `StoreError`, and then nothing has changed."""
    check_room(path)
    if path.exists():
        Store.open(path).delete()


def check_room(path: Path) -> None:
    """Raise `StoreError` when something else than an earlier demo's chain is in the way, or no file can be made."""
    if not os.access(path.absolute().parent, os.W_OK):
        raise StoreError(f"{path} cannot be made: its folder is not there, or not yours to write; name another file")
    if path.exists():
        with Store.open(path, read_only=True) as earlier:
            name = earlier.genesis.name
        if name != LEDGER_NAME:
            raise StoreError(f"{path} holds the ledger {name!r} and is left alone; name another file with --chain")
