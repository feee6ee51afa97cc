"""`tallystick demo`: nodes as real processes on this machine; one is killed and comes back, one more joins."""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import to_builtins

from tallystick.cli.certify import Outcome, follow
from tallystick.cli.connecting import ledger_info
from tallystick.cli.file_check import check_file, with_one_byte_changed
from tallystick.cli.founding import found_here
from tallystick.cli.node_reader import NodeReader
from tallystick.cli.output import Terminal, print_json
from tallystick.cli.reading import read_chain
from tallystick.cli.statements import Draft, about_file, in_words
from tallystick.cli.verify import check_on_node
from tallystick.cli.words import many, seconds
from tallystick.demo.kept_chain import LEDGER_NAME, check_room, make_room
from tallystick.demo.live_view import story_line
from tallystick.demo.local_network import COMMAND, LocalNetwork, NodeProcess, terminated_like_interrupted
from tallystick.demo.real_account import CertifiedLine, FileLine, JoiningLine, KillingLine, NodeLine, RealAccount
from tallystick.demo.real_demo_view import show_real
from tallystick.demo.recorder import StoryEvent
from tallystick.host.control import BackedUp, Backup, Certify, InviteMade, MakeInvite, Status
from tallystick.host.data_folder import DataFolder
from tallystick.ledger.params import Params
from tallystick.problems import HostError
from tallystick.storage.file_statement import FileStatement, describe_file
from tallystick.storage.store import Store

MOST_PROCESSES: Final = 16
PARAMS: Final = Params(epoch_blocks=10, epoch_ms=10_000, unbonding_blocks=20, unbonding_ms=60_000)
"""To play with: whoever stakes or withdraws tokens sees what comes of it within a minute."""

_STATEMENTS_MEANWHILE: Final = 4
_FINAL_SECONDS: Final = 60.0
_JOIN_SECONDS: Final = 60.0


def play_real(console: Terminal, paths: Sequence[Path], nodes: int, chain: Path, *, as_json: bool) -> bool:
    """Play it, and tell what it came to; whether everything came out as it should.

    Raises `HostError` when something does not come to pass in its time. No process outlives this.
    """
    drafts = [about_file(path, None, "") for path in paths]
    check_room(chain)
    with terminated_like_interrupted(), tempfile.TemporaryDirectory(prefix="tallystick-") as root:
        folders = found_here(LEDGER_NAME, Path(root) / "net", nodes, "", params=PARAMS)
        with LocalNetwork([NodeProcess(folder) for folder in folders]) as network:
            demo = RealDemo(network, None if as_json else console)
            account = demo.play(drafts, paths, Path(root) / "kept.db")
        make_room(chain)
        shutil.move(Path(root) / "kept.db", chain)
    if as_json:
        print_json(to_builtins(account))
    else:
        show_real(console, account, chain)
    return account.is_good


class RealDemo:
    """One play, scene after scene."""

    def __init__(self, network: LocalNetwork[NodeProcess], console: Terminal | None) -> None:
        self._network = network
        self._console = console
        self._begun_s = time.monotonic()
        self._certified: list[CertifiedLine] = []

    def play(self, drafts: Sequence[Draft], paths: Sequence[Path], kept: Path) -> RealAccount:
        """All of it. Raises `HostError`."""
        network, members = self._network, list(self._network.nodes)
        self._start(members)
        for number, draft in enumerate(drafts):
            self._certify(members[number % len(members)], draft)
        killing = self._kill_and_restart(members[2], [one for one in members if one is not members[2]])
        joining = self._invite(members[1], f"node-{len(members) + 1}")
        self._certify(network.nodes[-1], in_words(f"{joining.node} has joined", "", ""))
        self._wait_for_agreement()
        files = [self._verify(path) for path in paths]
        ends = {node.name: node.status() for node in network.running}
        self._keep(members[0], joining, kept)
        exit_codes = network.stop()
        self._tell("network", f"All {len(ends)} processes have ended")
        ledger_id = self._check_kept(kept, paths, files)
        last = max(one.index for one in ends.values())
        return RealAccount(
            account_version=1,
            simulated=False,
            ledger_id=ledger_id,
            took_ms=self._elapsed_ms,
            nodes_agree=len({(one.index, one.tip_hash, one.certificates) for one in ends.values()}) == 1,
            went_on_without_the_killed=killing.went_on_to_index > killing.killed_at_index,
            the_killed_caught_up=killing.caught_up_index >= killing.went_on_to_index,
            the_invited_caught_up=0 < joining.caught_up_index <= last == ends[joining.node].index,
            all_files_verify=all(_holds(one, list(ends)) for one in files),
            all_ended_well=all(code == 0 for code in exit_codes.values()),
            certified=self._certified,
            killing=killing,
            joining=joining,
            nodes=[_node_line(name, one, exit_codes[name]) for name, one in ends.items()],
            files=files,
        )

    # ---- the scenes -----------------------------------------------------------------------------------------

    def _start(self, members: Sequence[NodeProcess]) -> None:
        within = members[0].folder.path.parent
        told = f"{len(members)} node processes start in {within}, each with a folder, a key and a port"
        self._tell("network", told)
        self._network.start()
        self._tell("network", "They have found each other, and vote")

    def _certify(self, process: NodeProcess, draft: Draft) -> None:
        name = process.name
        outcome = Outcome(0, draft.statement.subject, str(draft.file) if draft.file else None)
        with process.connect() as node:
            until_s = time.monotonic() + _FINAL_SECONDS
            follow(node, Certify((draft.statement,)), [outcome], lambda: None, wait=True, until_s=until_s)
        if outcome.id is None or outcome.block_index is None or outcome.took_ms is None:
            reason = outcome.reason or f"it was not final within {_FINAL_SECONDS:.0f} s"
            raise HostError(f"{name} did not certify {draft.title!r}: {reason}")
        line = CertifiedLine(outcome.subject, outcome.file, name, outcome.id, outcome.block_index, outcome.took_ms)
        self._certified.append(line)
        what = draft.title if draft.file else f"“{draft.title}”"
        told = f"{what} is certified through {name}: block {line.block_index}, final after {line.took_ms:.0f} ms"
        self._tell("honest", told)

    def _kill_and_restart(self, victim: NodeProcess, others: Sequence[NodeProcess]) -> KillingLine:
        name = victim.name
        killed_at = victim.status().index
        victim.kill()
        self._tell("trouble", f"{name} is killed (SIGKILL) at block {killed_at}")
        for number in range(_STATEMENTS_MEANWHILE):
            self._certify(others[number % len(others)], in_words(f"{name} is away, statement {number + 1}", "", ""))
        went_on_to = max(one.status().index for one in others)
        with Store.open(victim.folder.ledger_path, read_only=True) as store:
            kept_index = store.tip_index
        begun_s = time.monotonic()
        victim.launch()
        self._tell("network", f"{name} starts again, with {many(kept_index, 'block')} that it had kept")
        caught_up, took_ms = self._wait_until_caught_up(victim, went_on_to, begun_s)
        self._tell("network", f"{name} has caught up with block {caught_up}, {seconds(took_ms)} after its start")
        self._network.wait_until_voting()
        self._certify(victim, in_words(f"{name} is back", "", ""))
        return KillingLine(name, killed_at, went_on_to, kept_index, caught_up, took_ms)

    def _invite(self, host: NodeProcess, name: str) -> JoiningLine:
        with host.connect() as node:
            invite = node.one(MakeInvite(), InviteMade).invite
        self._tell("network", f"{host.name} invites one more: tallystick join {invite[:24]}…")
        joiner = NodeProcess(DataFolder(host.folder.path.with_name(name)))
        goal = host.status().index
        begun_s = time.monotonic()
        public_key = _join(invite, joiner.folder)
        self._network.nodes.append(joiner)
        joiner.launch()
        index, took_ms = self._wait_until_caught_up(joiner, goal, begun_s)
        told = f"{name} has joined as an observer, and has caught up with block {index} in {seconds(took_ms)}"
        self._tell("network", told)
        return JoiningLine(name, public_key, index, took_ms)

    def _wait_until_caught_up(self, node: NodeProcess, index: int, begun_s: float) -> tuple[int, int]:
        """Where the node stands then, and how many ms that took."""
        self._network.wait_until(lambda: node.status().index >= index, f"{node.name} catching up")
        return node.status().index, round(1000 * (time.monotonic() - begun_s))

    def _wait_for_agreement(self) -> None:
        network = self._network

        def agree() -> bool:
            return len({node.status().tip_hash for node in network.running}) == 1

        network.wait_until(agree, "waiting for all nodes to have the same last block")

    def _verify(self, path: Path) -> FileLine:
        now = describe_file(path)
        changed = with_one_byte_changed(path, now.size_bytes)
        line = FileLine(now.name, now.sha256.hex(), [], [], verifies_as_kept=False)
        for node in self._network.running:
            if _covers(node, now):
                line.verified_by.append(node.name)
            if not _covers(node, changed):
                line.failed_when_changed_by.append(node.name)
        told = f"{path.name} verifies at {len(line.verified_by)} of {len(self._network.running)} nodes"
        self._tell("block", f"{told}, and with one byte changed fails at {len(line.failed_when_changed_by)}")
        return line

    def _keep(self, source: NodeProcess, joining: JoiningLine, kept: Path) -> None:
        with source.connect() as node:
            node.one(Backup(str(kept)), BackedUp)
        with Store.open(kept) as store:
            store.remember_names({bytes.fromhex(joining.public_key): joining.node})

    def _check_kept(self, kept: Path, paths: Sequence[Path], files: Sequence[FileLine]) -> str:
        with Store.open(kept, read_only=True) as store:
            checked, names = read_chain(store), store.names()
            for path, line in zip(paths, files, strict=True):
                line.verifies_as_kept = check_file(checked, describe_file(path), names).is_covered
            return store.genesis.ledger_id.hex()

    # ---- telling --------------------------------------------------------------------------------------------

    @property
    def _elapsed_ms(self) -> int:
        return round(1000 * (time.monotonic() - self._begun_s))

    def _tell(self, kind: str, text: str) -> None:
        if self._console is not None:
            self._console.print(story_line(StoryEvent(self._elapsed_ms, kind, text)), soft_wrap=True)


def _covers(process: NodeProcess, statement: FileStatement) -> bool:
    genesis, names = ledger_info(process.folder)
    with process.connect() as node:
        return check_on_node(NodeReader(node, genesis), statement, names).is_covered


def _join(invite: str, folder: DataFolder) -> str:
    """Join as a user does, in a process of its own; returns the public key. Raises `HostError`."""
    command = [*COMMAND, "join", invite, "--data", str(folder.path), "--no-passphrase", "--json"]
    try:
        done = subprocess.run(  # noqa: S603  ourselves
            command, capture_output=True, text=True, timeout=_JOIN_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"{folder.path.name} could not join within {_JOIN_SECONDS:.0f} s") from None
    if done.returncode != 0:
        raise HostError(f"{folder.path.name} could not join: {done.stderr.strip()}")
    return str(json.loads(done.stdout)["public_key"])


def _holds(file: FileLine, names: list[str]) -> bool:
    return file.verified_by == file.failed_when_changed_by == names and file.verifies_as_kept


def _node_line(name: str, told: Status, exit_code: int) -> NodeLine:
    return NodeLine(
        name=name,
        public_key=told.key.hex(),
        stake=told.stake,
        tip_index=told.index,
        tip_hash=told.tip_hash.hex(),
        certificates=told.certificates,
        exit_code=exit_code,
    )
