"""The demo with nodes as real processes on this machine; one is killed and comes back, one more joins."""

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, Final

from tallystick.cli.output import Terminal
from tallystick.cli.words import many
from tallystick.client.drafts import Draft, about_files, in_words
from tallystick.demo.account import KEPT, Account, Killing, Moment, NodeLine
from tallystick.demo.local_network import LocalNetwork, NodeProcess, terminated_like_interrupted
from tallystick.demo.play import LEDGER_NAME, Play, check_file, check_room, make_room, read_back
from tallystick.host.addresses import HERE, drawn_port
from tallystick.host.clock import now_ms
from tallystick.host.data_folder import DataFolder
from tallystick.host.founding import found_here, make_key
from tallystick.host.invite import read_invite
from tallystick.host.joining import fetch, set_up_invited
from tallystick.ledger.params import Params
from tallystick.problems import NotInTime, Problem
from tallystick.storage.store import Store

MOST_PROCESSES: Final = 16
PARAMS: Final = Params(epoch_blocks=10, epoch_ms=10_000, unbonding_blocks=20, unbonding_ms=60_000)
"""To play with: whoever stakes or withdraws tokens sees what comes of it within a minute."""

_STATEMENTS_MEANWHILE: Final = 4
_FINAL_SECONDS: Final = 60.0


def play_real(console: Terminal, paths: Sequence[Path], nodes: int, chain: Path) -> Account:
    """Play it, and keep the chain; no process outlives this. Raises `Problem` when something does not come to pass."""
    drafts = about_files(paths)
    check_room(chain)
    with terminated_like_interrupted(), tempfile.TemporaryDirectory(prefix="tallystick-") as root:
        kept = Path(root) / "kept.db"
        folders = found_here(LEDGER_NAME, Path(root) / "net", nodes, "", params=PARAMS, port=drawn_port(nodes))
        with LocalNetwork([NodeProcess(folder) for folder in folders]) as network:
            demo = RealDemo(console, network)
            with demo.status:
                account = demo.play(drafts, paths, kept)
        make_room(chain)
        shutil.move(kept, chain)
    return account


class RealDemo(Play):
    """One play, scene after scene."""

    due: ClassVar = ("went_on_without_the_killed", "the_joiner_caught_up", "all_ended_well", *Play.due)

    def __init__(self, console: Terminal, network: LocalNetwork[NodeProcess]) -> None:
        with Store.open(network.nodes[0].folder.ledger_path, read_only=True) as store:
            super().__init__(console, now_ms, store.genesis.created_ms)
        self._network, self._members = network, list(network.nodes)

    def play(self, drafts: Sequence[Draft], paths: Sequence[Path], kept: Path) -> Account:
        """All of it. Raises `Problem`."""
        members = self._members
        self._start()
        self.show_scene("Files are certified through the nodes")
        for number, draft in enumerate(drafts):
            self._certify(members[number % len(members)], draft)
        self._kill_and_restart(members[2], [one for one in members if one is not members[2]])
        joiner = self._invite(members[1], f"node-{len(members) + 1}")
        self._certify(joiner, in_words(f"{joiner.name} has joined"))
        tip_index = joiner.status().tip_index
        for node in members:
            self._wait_for(node, tip_index)
        return self._close(paths, joiner, kept)

    def _start(self) -> None:
        within, count = self._members[0].folder.path.parent, len(self._members)
        self.show_scene("The nodes start, and find each other")
        self.tell(">", f"{count} node processes start in {within}, each with a folder, a key and a port")
        self._joined_ms = dict.fromkeys([node.name for node in self._members], self.elapsed_ms)
        self._network.start()
        self.tell(">", "They have found each other, and vote")

    def _certify(self, process: NodeProcess, draft: Draft) -> Moment:
        with process.client() as client:
            signed, began_ms = client.sign([(draft.subject, draft.payload)]), self.elapsed_ms
            (outcome,) = client.submit(signed, timeout_s=_FINAL_SECONDS)
        final = Moment(self.elapsed_ms, outcome.block_index)
        failed = f"{process.name} did not certify {draft.subject!r}"
        if outcome.reason is not None:
            raise Problem(f"{failed}: {outcome.reason}")
        if final.index is None:
            raise NotInTime(f"{failed} within {_FINAL_SECONDS:.0f} s")
        what = Path(draft.file).name if draft.file else f"“{draft.subject}”"
        told = f"{what} is certified through {process.name}: block {final.index}"
        self.tell("+", f"{told}, final after {self.elapsed_ms - began_ms} ms")
        return final

    def _kill_and_restart(self, victim: NodeProcess, others: Sequence[NodeProcess]) -> None:
        name, tip_index = victim.name, victim.status().tip_index
        self.show_scene(f"{name} is killed: the ledger goes on without it")
        victim.kill()
        one = Killing(name, tip_index, self.elapsed_ms)
        self.tell("!", f"{name} is killed (SIGKILL) at block {tip_index}")
        meanwhile = [in_words(f"{name} is away, statement {number + 1}") for number in range(_STATEMENTS_MEANWHILE)]
        final = [self._certify(others[number % len(others)], draft) for number, draft in enumerate(meanwhile)]
        one.went_on, one.last_index = final[0], final[-1].index or 0
        with Store.open(victim.folder.ledger_path, read_only=True) as store:
            one.kept_index = store.tip_index
        victim.launch()
        one.restarted_ms = self.elapsed_ms
        self.tell(">", f"{name} starts again, with {many(one.kept_index, 'block')} that it had kept")
        one.caught_up = self._wait_for(victim, max(node.status().tip_index for node in others))
        self.tell(">", f"{name} has caught up with block {one.caught_up.index}, each checked")
        self._network.wait_until_voting()
        one.voted_again = self._certify(victim, in_words(f"{name} is back"))
        self.judge_killing(one)

    def _invite(self, host: NodeProcess, name: str) -> NodeProcess:
        self.show_scene("One more joins with a line of text")
        with host.client() as client:
            invite = client.invite()
        self.tell(">", f"{host.name} invites one more: tallystick join {invite[:24]}…")
        joiner = NodeProcess(DataFolder(host.folder.path.with_name(name)))
        self._joined_ms[name] = self.elapsed_ms
        invited = read_invite(invite)
        genesis = fetch(invited, make_key(joiner.folder, ""))
        address = f"{HERE}:{drawn_port()}"
        set_up_invited(joiner.folder, invited, genesis, address, address)
        self._network.nodes.append(joiner)
        joiner.launch()
        caught_up = self._wait_for(joiner, host.status().tip_index)
        self.tell(">", f"{name} has caught up with block {caught_up.index}, each checked")
        self.judge_joining(name, caught_up)
        return joiner

    def _wait_for(self, node: NodeProcess, tip_index: int) -> Moment:
        self._network.wait_until(lambda: node.status().tip_index >= tip_index, f"{node.name} catching up")
        return Moment(self.elapsed_ms, node.status().tip_index)

    def _close(self, paths: Sequence[Path], joiner: NodeProcess, kept: Path) -> Account:
        """Keep the chain, verify each file at every node and in the kept chain, and have all nodes end."""
        self.show_scene("Every file is verified at every node")
        with ExitStack() as stack:
            clients = {node.name: stack.enter_context(node.client()) for node in self._network.nodes}
            ends = {name: client.ledger() for name, client in clients.items()}
            clients[self._members[0].name].backup(kept)
            with Store.open(kept) as store:
                store.remember_names({joiner.folder.public_key(): joiner.name})
            chain = read_back(kept)
            doors = {name: client.verify_statement for name, client in clients.items()} | {KEPT: chain.covers}
            files = [check_file(path, doors) for path in paths]
        for one in files:
            told = f"{one.name} verifies at {', '.join(one.verified_by)}"
            self.tell("■", f"{told}; with one byte changed it fails at {len(one.failed_when_changed_by)} of them")
        nodes = [
            NodeLine(name, name, self._joined_ms[name], one.tip.index, one.tip.hash, one.log_size, one.log_root)
            for name, one in ends.items()
        ]
        codes = self._network.stop()
        ended = f"All {len(codes)} processes ended when they were asked to"
        says = "A process had to be killed, or ended badly" if any(codes.values()) else ended
        self.judge("all_ended_well", not any(codes.values()), says, exit_codes=codes)
        return self.give_account(chain, nodes, files, [*ends, KEPT])
