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

from tallystick.api.views import Status
from tallystick.cli.output import Terminal, print_json
from tallystick.cli.words import many, seconds
from tallystick.client.blocking import Client
from tallystick.client.drafts import Draft, about_files, in_words
from tallystick.demo.kept_chain import LEDGER_NAME, check_room, make_room
from tallystick.demo.live_view import story_line
from tallystick.demo.local_network import COMMAND, LocalNetwork, NodeProcess, terminated_like_interrupted
from tallystick.demo.one_byte import with_one_byte_changed
from tallystick.demo.real_account import CertifiedLine, FileLine, JoiningLine, KillingLine, NodeLine, RealAccount
from tallystick.demo.real_demo_view import show_real
from tallystick.demo.recorder import StoryEvent
from tallystick.host.data_folder import DataFolder
from tallystick.host.founding import found_here
from tallystick.ledger.params import Params
from tallystick.problems import Problem
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

    Raises `Problem` when something does not come to pass in its time. No process outlives this.
    """
    drafts = about_files(paths)
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
        """All of it. Raises `Problem`."""
        network, members = self._network, list(self._network.nodes)
        self._start(members)
        for number, draft in enumerate(drafts):
            self._certify(members[number % len(members)], draft)
        killing = self._kill_and_restart(members[2], [one for one in members if one is not members[2]])
        joining = self._invite(members[1], f"node-{len(members) + 1}")
        self._certify(network.nodes[-1], in_words(f"{joining.node} has joined"))
        self._wait_for_agreement()
        files = [self._verify(path) for path in paths]
        ends = {node.name: _status(node) for node in network.running}
        self._keep(members[0], joining, kept)
        exit_codes = network.stop()
        self._tell("network", f"All {len(ends)} processes have ended")
        ledger_id = self._check_kept(kept, paths, files)
        last = max(one.tip_index for one in ends.values())
        return RealAccount(
            account_version=1,
            simulated=False,
            ledger_id=ledger_id,
            took_ms=self._elapsed_ms,
            nodes_agree=len({(one.tip_index, one.tip_hash, one.log_size) for one in ends.values()}) == 1,
            went_on_without_the_killed=killing.went_on_to_index > killing.killed_at_index,
            the_killed_caught_up=killing.caught_up_index >= killing.went_on_to_index,
            the_invited_caught_up=0 < joining.caught_up_index <= last == ends[joining.node].tip_index,
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
        with Client(process.folder.path) as client:
            signed = client.sign([(draft.subject, draft.payload)])
            begun_s = time.monotonic()
            (outcome,) = client.submit(signed, timeout_s=_FINAL_SECONDS)
            took_ms = round(1000 * (time.monotonic() - begun_s), 3)
        if outcome.block_index is None:
            reason = outcome.reason or f"it was not final within {_FINAL_SECONDS:.0f} s"
            raise Problem(f"{name} did not certify {draft.subject!r}: {reason}")
        line = CertifiedLine(draft.subject, draft.file, name, outcome.id, outcome.block_index, took_ms)
        self._certified.append(line)
        what = Path(draft.file).name if draft.file else f"“{draft.subject}”"
        told = f"{what} is certified through {name}: block {line.block_index}, final after {line.took_ms:.0f} ms"
        self._tell("honest", told)

    def _kill_and_restart(self, victim: NodeProcess, others: Sequence[NodeProcess]) -> KillingLine:
        name = victim.name
        killed_at = _status(victim).tip_index
        victim.kill()
        self._tell("trouble", f"{name} is killed (SIGKILL) at block {killed_at}")
        for number in range(_STATEMENTS_MEANWHILE):
            self._certify(others[number % len(others)], in_words(f"{name} is away, statement {number + 1}"))
        went_on_to = max(_status(one).tip_index for one in others)
        with Store.open(victim.folder.ledger_path, read_only=True) as store:
            kept_index = store.tip_index
        begun_s = time.monotonic()
        victim.launch()
        self._tell("network", f"{name} starts again, with {many(kept_index, 'block')} that it had kept")
        caught_up, took_ms = self._wait_until_caught_up(victim, went_on_to, begun_s)
        self._tell("network", f"{name} has caught up with block {caught_up}, {seconds(took_ms)} after its start")
        self._network.wait_until_voting()
        self._certify(victim, in_words(f"{name} is back"))
        return KillingLine(name, killed_at, went_on_to, kept_index, caught_up, took_ms)

    def _invite(self, host: NodeProcess, name: str) -> JoiningLine:
        with Client(host.folder.path) as client:
            invite = client.invite()
        self._tell("network", f"{host.name} invites one more: tallystick join {invite[:24]}…")
        joiner = NodeProcess(DataFolder(host.folder.path.with_name(name)))
        goal = _status(host).tip_index
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
        self._network.wait_until(lambda: _status(node).tip_index >= index, f"{node.name} catching up")
        return _status(node).tip_index, round(1000 * (time.monotonic() - begun_s))

    def _wait_for_agreement(self) -> None:
        network = self._network

        def agree() -> bool:
            return len({_status(node).tip_hash for node in network.running}) == 1

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
        with Client(source.folder.path) as client:
            client.backup(kept)
        with Store.open(kept) as store:
            store.remember_names({bytes.fromhex(joining.public_key): joining.node})

    def _check_kept(self, kept: Path, paths: Sequence[Path], files: Sequence[FileLine]) -> str:
        with Client(kept) as client:
            for path, line in zip(paths, files, strict=True):
                line.verifies_as_kept = bool(client.verify(path))
            return client.ledger_id.hex()

    # ---- telling --------------------------------------------------------------------------------------------

    @property
    def _elapsed_ms(self) -> int:
        return round(1000 * (time.monotonic() - self._begun_s))

    def _tell(self, kind: str, text: str) -> None:
        if self._console is not None:
            self._console.print(story_line(StoryEvent(self._elapsed_ms, kind, text)), soft_wrap=True)


def _covers(process: NodeProcess, statement: FileStatement) -> bool:
    with Client(process.folder.path) as client:
        return bool(client.verify_statement(statement))


def _status(process: NodeProcess) -> Status:
    with Client(process.folder.path) as client:
        return client.status()


def _join(invite: str, folder: DataFolder) -> str:
    """Join as a user does, in a process of its own; returns the public key. Raises `Problem`."""
    command = [*COMMAND, "join", invite, "--data", str(folder.path), "--no-passphrase", "--json"]
    try:
        done = subprocess.run(  # noqa: S603  ourselves
            command, capture_output=True, text=True, timeout=_JOIN_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Problem(f"{folder.path.name} could not join within {_JOIN_SECONDS:.0f} s") from None
    if done.returncode != 0:
        raise Problem(f"{folder.path.name} could not join: {done.stderr.strip()}")
    return str(json.loads(done.stdout)["public_key"])


def _holds(file: FileLine, names: list[str]) -> bool:
    return file.verified_by == file.failed_when_changed_by == names and file.verifies_as_kept


def _node_line(name: str, told: Status, exit_code: int) -> NodeLine:
    return NodeLine(
        name=name,
        public_key=told.node.key,
        stake=told.stake,
        tip_index=told.tip_index,
        tip_hash=told.tip_hash,
        certificates=told.log_size,
        exit_code=exit_code,
    )
