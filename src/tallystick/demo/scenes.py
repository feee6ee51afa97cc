"""The simulated demo, scene after scene."""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import ClassVar, Final, TypeAlias

from msgspec.structs import asdict

from tallystick.cli.output import Terminal, fail
from tallystick.cli.words import many, names_of, seconds
from tallystick.demo.account import KEPT, Account, Killing, Moment, NodeLine, Stretch
from tallystick.demo.fraud import BURNED, CERTIFICATES, FRAUD, HONEST, IN_TURN, MESSAGES
from tallystick.demo.play import KeptChain, Play, check_file, make_room, read_back
from tallystick.demo.simulation import FRAME_MS, TOKENS, Simulation
from tallystick.ledger.file_statement import file_payload
from tallystick.ledger.messages import encode_message
from tallystick.network.archiving import FullArchive
from tallystick.problems import ExitCode
from tallystick.storage.described_files import describe_file
from tallystick.storage.store import Store

_FRAUDS_STAKE: Final = 15
"""What the fraud stakes at first: together with any one node, less than a third."""
_MOST_VIEWS: Final = 60
"""Until the fraud is drawn: with a fifth of the stake, one time in 600,000 he is not."""


def play_simulated(demo: "SimulatedDemo", chain: Path) -> Account:
    """Play it, and keep the chain of the first node. Raises `Problem`."""
    make_room(chain)
    try:
        with Store.create(chain, demo.genesis) as store, demo.status:
            store.remember_names(demo.names)
            demo.play(store)
    except KeyboardInterrupt:
        raise fail(f"stopped; the blocks forged so far are in {chain}", ExitCode.STOPPED) from None
    return demo.close(chain)


Scene: TypeAlias = Generator[None, KeptChain, None]
"""It yields when it is over, and is sent the kept chain after the last scene, to give its verdict."""


class SimulatedDemo(Simulation):
    """One play."""

    due: ClassVar = (
        "went_on_without_the_killed",
        "burned_the_stake_of_who_signed_twice",
        "stopped_in_halves_and_went_on",
        "the_joiner_caught_up",
        "all_attempts_refused",
        *Play.due,
    )

    def __init__(self, console: Terminal, paths: Sequence[Path], nodes: int, seed: int, speed: float) -> None:
        super().__init__(console, nodes, seed, speed)
        self._paths, self._files = paths, [describe_file(path) for path in paths]
        self._over: list[Scene] = []

    def play(self, archive: FullArchive) -> None:
        """Start the nodes, of which the first keeps its chain in the archive, and play all scenes."""
        for node in self._first:
            self._add_node(node, archive if node == self._first[0] else None)
        self._network.connect_all()
        self.tell(">", "An open ledger: no organisations, anybody certifies, keys stake their own tokens")
        scenes: dict[str, Callable[[], Scene | None]] = {
            "Honest users certify files": self._certify,
            "They stake tokens and make statements; so does Charlie, the fraud": self._stake,
            "Charlie submits illegal certificates, while honest work goes on": lambda: self._try_all(CERTIFICATES),
            "The node drawn to forge next is killed: the ledger goes on without it": self._kill_the_forger,
            "Charlie throws forged votes, blocks and bytes at the nodes": lambda: self._try_all(MESSAGES),
            "Charlie stakes all he has, is drawn to forge, and lies about the state": self._lie_in_turn,
            "Charlie signs two votes that conflict: they cost his stake, and his key is dead": self._sign_twice,
            "The network parts in two halves, and neither makes a block final": self._part,
            "A node joins late, catches up, and takes part": self._join,
        }
        for title, scene in scenes.items():
            self.show_scene(title)
            if (played := scene()) is not None:
                next(played, None)
                self._over.append(played)

    def close(self, chain: Path) -> Account:
        """The account, once it was played, with the chain that the first node kept."""
        kept = read_back(chain)
        for one in self._over:
            with suppress(StopIteration):
                one.send(kept)
        refused = {one.attempt for one in self._refusals} & set(self._attempts)
        says = f"{len(refused)} of Charlie's {len(self._attempts)} illegal attempts were refused"
        self.judge("all_attempts_refused", len(refused) == len(self._attempts), says, attempts=self._attempts)
        files = [check_file(path, {KEPT: kept.covers}) for path in self._paths]
        nodes = [self._node_line(name) for name in self._members]
        self.judge_ends(kept, nodes, files, [KEPT])
        account = self.give_account(kept, nodes, files)
        account.seed, account.trace_digest = self._seed, self._network.digest
        account.nullified, account.refusals = list(self._nullified.values()), self._refusals
        return account

    def _node_line(self, name: str) -> NodeLine:
        state = self._network.hosts[name].node.state
        end = state.index, state.tip.hash.hex(), state.log.size, state.log.root().hex()
        return NodeLine(name, self._members[name], self._joined_ms[name], *end)

    def _certify(self) -> None:
        for place, statement in enumerate(self._files):
            user, payload = HONEST[place % len(HONEST)], file_payload(statement, self._salt())
            door = self._issue(user, place % len(self._first), f"File {statement.name}"[:256], payload)
            self.tell("+", f"{user} certifies {statement.name} at {door}")
            self._elapse(max(FRAME_MS, min(400, 4_000 // len(self._files))))

    def _stake(self) -> None:
        for place, (user, amount) in enumerate({"Alice": 20, "Bob": -20, FRAUD: _FRAUDS_STAKE}.items()):
            self._move(user, place, amount, 300)
            self._work(1, 300)
        self._settle()

    def _try_all(self, attempts: Iterable[str]) -> None:
        for what in attempts:
            self._try_at(self._first[len(self._attempts) % len(self._first)], what, 200)
            self._work(1, 200)
        self._settle()

    def _lie_in_turn(self) -> None:
        self._move(FRAUD, 2, TOKENS - _FRAUDS_STAKE, 300)
        for what in IN_TURN:
            self._await_turn()
            self._attempts.append(what)
            self._tried[self._wallets[FRAUD].public_key] = what
            for one in self._fraud_at(self._first[0]).throws(what):
                assert isinstance(one, bytes)
                self._inject_everywhere(one)
            self._elapse(300)
        self._settle()

    def _await_turn(self) -> None:
        """Honest work goes on until all nodes wait in a view in which the fraud is drawn, and none has voted there."""
        for number in range(_MOST_VIEWS):
            everybody = [host.simplex.views for host in self._network.hosts.values()]
            drawn = {self._name_of(one.leader(one.view)) for one in everybody}
            if self._is_settled() and drawn == {FRAUD} and not any(one.at(one.view).votes for one in everybody):
                return
            self._inject_everywhere(encode_message(self._fraud_at(self._first[0]).sign_of_life()))
            self._say("Delphine", 2, f"River gauge {number + 1}", "2.31 m", FRAME_MS)
            self._settle()

    def _sign_twice(self) -> Scene:
        """One vote goes to all nodes, the other to one of them alone."""
        node, key, signed_ms = self._first[2], self._wallets[FRAUD].public_key, self.elapsed_ms
        fraud, view = self._fraud_at(node), self._network.hosts[node].simplex.view
        first, second = map(encode_message, fraud.two_votes())
        self._inject_everywhere(first)
        self._network.inject(self._new_intruder(), node, second)
        self._stretches.append(Stretch(FRAUD, "signed twice", signed_ms, signed_ms))
        self.tell("!", f"Charlie votes for two blocks in view {view}; {node} sees both votes")
        before = fraud.node.state.stakes.account(key)
        self._elapse(300)
        self._work(5, 300)
        self._settle()
        for what, node in zip(BURNED, self._first, strict=False):
            self._try_at(node, what, 300)
        self._settle()
        kept = yield
        held = ((block.index, one) for block in kept.blocks for one in block.certificates)
        recorded = [(index, one.issuer.name) for index, one in held if one.kind == "evidence"]
        says, burned = "No evidence was recorded against the member that signed twice", kept.ledger.burned
        for index, accuser in recorded:
            told = f"{accuser} showed both votes, and block {index} burned {burned} tokens at stake"
            says = f"Charlie voted for two blocks in one view: {told}"
        (his,) = [one for one in kept.members if one.member.key == key.hex()]
        taken = {one.member.name: burned for one in kept.members if one.is_burned}
        is_burned = len(recorded) == 1 and list(taken) == [FRAUD] and 0 < before.liable == burned
        has_lost = (his.staked, his.unbonding, his.free) == (0, [], before.free)
        facts = {"signed_ms": signed_ms, "staked": before.staked, "recorded": recorded, "burned": taken}
        self.judge("burned_the_stake_of_who_signed_twice", is_burned and has_lost, says, **facts)

    def _kill_the_forger(self) -> Scene:
        node, epoch, view = self._drawn_next()
        member, one = self._members[node], Killing(node, self._tip_index, self.elapsed_ms)
        who = node if member == node else f"{node} ({member})"
        self.tell("!", f"{who} is killed, drawn to forge in view {view} of epoch {epoch}")
        self._next_block[f"The ledger goes on without {node}"] = one.went_on
        self._network.crash(node)
        self._elapse(200)
        self._work(7, 200)
        self._settle()
        self._elapse(1_000)
        one.restarted_ms, one.last_index = self.elapsed_ms, self._tip_index
        one.kept_index = self._network.hosts[node].archive.tip_index
        lost = sum(gone.drawn == member and gone.time_ms >= one.killed_ms for gone in self._nullified.values())
        self.tell(">", f"{node} starts again, from block {one.kept_index} that it kept")
        self._catching_up[node], self._votes[node] = one.caught_up, one.voted_again
        self._network.restart(node)
        self._elapse(700)
        self._work(5, 200)
        self._settle()
        yield
        how, is_missed = f" when drawn to forge, which cost {many(lost, 'view')}", (epoch, view) in self._nullified
        self.judge_killing(one, how, is_missed=is_missed, member=member, epoch=epoch, view=view)

    def _drawn_next(self) -> tuple[str, int, int]:
        """The node whose member is drawn to forge next, and in which epoch and view."""
        everybody = [self._network.hosts[node].simplex for node in self._first]
        foremost = max(everybody, key=lambda one: (one.epoch.number, one.view))
        nodes = {self._members[node]: node for node in self._first}
        drawn = ((view, self._name_of(foremost.views.leader(view))) for view in count(foremost.view))
        view, member = next(one for one in drawn if one[1] in nodes)
        return nodes[member], foremost.epoch.number, view

    def _part(self) -> Scene:
        half, tip_index, parted_ms = len(self._first) // 2, self._tip_index, self.elapsed_ms
        sides = self._first[:half], self._first[half:]
        said = " | ".join(" ".join(node.removeprefix("Node ") for node in side) for side in sides)
        self.tell("!", f"The network parts: nodes {said}" if len(said) < 40 else "The network parts")
        self._stuck.clear()
        self._network.partition(*sides)
        self._elapse(300)
        self._work(6, 300)
        self._elapse(2_400)
        healed_ms, more, stuck = self.elapsed_ms, self._tip_index - tip_index, list(self._stuck)
        self._stretches += [Stretch(node, "parted", parted_ms, healed_ms) for node in self._first]
        self.tell(">", "The halves reach each other again")
        self._next_block["The ledger goes on by itself"] = went_on = Moment()
        self._network.heal()
        self._elapse(300)
        self._settle()
        yield
        says = "The halves of the network did not come together"
        if stuck and went_on.ms is not None:
            made = f"{many(more, 'block')} became final" if more else "no half made a block final"
            told = f"{stuck[0].node} named who was missing ({names_of(stuck[0].missing, most=3)})"
            took = f"{seconds(went_on.ms - healed_ms)} after they met it went on"
            says = f"In halves for {seconds(healed_ms - parted_ms)}, {made}, {told}; {took}"
        facts = {"sides": sides, "parted_ms": parted_ms, "healed_ms": healed_ms, "went_on": asdict(went_on)}
        holds = bool(stuck) and not more and went_on.ms is not None
        self.judge("stopped_in_halves_and_went_on", holds, says, more=more, stuck=stuck, **facts)

    def _join(self) -> Scene:
        newcomer, place = self._late, len(self._first)
        self._add_node(newcomer)
        self.tell(">", f"{newcomer} joins, with an empty chain")
        self._catching_up[newcomer] = caught_up = Moment()
        for node in self._first:
            self._network.connect(newcomer, node)
        self._elapse(400)
        self._settle()
        self._move(newcomer, place, TOKENS, 400)
        self._move("Delphine", 2, -30, 400)
        self._say(newcomer, place, "The whole chain checked", "from its first block on", 400)
        self._say("Alice", place, "Audit closed", "submitted at the new node", 400)
        self._settle()
        yield
        self.judge_joining(newcomer, caught_up)
