"""Carries a scenario out on a simulated network."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count

from tallystick.demo import scenario
from tallystick.demo.fraud import Fraud, make
from tallystick.demo.kept_chain import LEDGER_NAME
from tallystick.demo.recorder import Doubling, Killing, Parting, Recorder, Story, Watched
from tallystick.demo.scenario import (
    Act,
    AwaitTurn,
    CertifyFile,
    Heal,
    Illegal,
    Join,
    KillForger,
    Part,
    RestartKilled,
    Say,
    Scene,
    Settle,
    SignTwice,
    Stake,
    Try,
    TryInTurn,
    Wait,
    runner_of,
)
from tallystick.demo.seeding import Seeding
from tallystick.ledger.certificate import Payload, issue_stake, issue_statement
from tallystick.ledger.errors import BLAMES_THE_PEER, Refused, Rule
from tallystick.ledger.genesis import Allotment, Genesis, make_genesis
from tallystick.ledger.messages import Entry, Votes, encode_message
from tallystick.ledger.params import Params
from tallystick.ledger.vote import tally_of
from tallystick.ledger.wallet import Wallet
from tallystick.network.archiving import FullArchive
from tallystick.network.simulated import Link, SimulatedNetwork
from tallystick.network.simulated_host import SimulatedHost
from tallystick.node.events import PeerDisconnected, Report, ReportBlock, ReportRefused, ReportStuck
from tallystick.node.node import Node
from tallystick.node.simplex_driver import SimplexDriver
from tallystick.storage.file_statement import FileStatement, file_payload

_LINK = Link(delay_min_ms=20, delay_max_ms=120, loss=0.02, duplication=0.02, reordering=True)
_TRIES = 5
"""A node that is busy with another request does not look at blocks it did not ask for: the fraud comes back."""


class Simulation:
    """The nodes, the users, and the time. `play` yields once a frame, so that somebody can watch."""

    def __init__(
        self,
        node_count: int,
        files: list[FileStatement],
        seed: int,
        seeding: Seeding,
        start_ms: int,
    ) -> None:
        self.files = files
        self.scenes = scenario.script(node_count, len(files))
        self.scene = self.scenes[0]
        self.acts_done = 0
        self.late = node_count + 1
        self.runners = {f"Node {number}": runner_of(number) for number in range(1, self.late + 1)}
        self.wallets = self._make_wallets(seeding)
        self.names = {wallet.public_key: name for name, wallet in self.wallets.items()}
        self.genesis = self._found(start_ms)
        self.network = SimulatedNetwork(self.genesis, seed, _LINK)
        self.network.on_report = self._on_report
        self.agreements: dict[str, Watched] = {}
        """What each node that was started decides by."""
        self.joined_ms: dict[str, int] = {}
        self._recorder = Recorder(self.names, self.runners, lambda: self.elapsed_ms)
        self._seeding = seeding
        self._start_ms = start_ms
        self._issued = 0
        self._intruders = 0
        self._attempt_at: dict[str, Illegal] = {}
        self._attempt_by: dict[object, Illegal] = {}

    # ---- before it begins -----------------------------------------------------------------------------------

    def _make_wallets(self, seeding: Seeding) -> dict[str, Wallet]:
        users = dict.fromkeys([*scenario.HONEST, *self.runners.values(), scenario.FRAUD])
        return {name: Wallet(seeding(f"key of {name}")) for name in users}

    def _found(self, start_ms: int) -> Genesis:
        forgers = {runner_of(number) for number in range(1, self.late)}
        allotments = [
            Allotment(wallet.public_key, scenario.FREE_TOKENS, scenario.STAKED_TOKENS if name in forgers else 0)
            for name, wallet in self.wallets.items()
        ]
        params = Params(
            epoch_blocks=scenario.EPOCH_BLOCKS,
            epoch_ms=scenario.EPOCH_MS,
            unbonding_blocks=scenario.UNBONDING_BLOCKS,
            unbonding_ms=scenario.UNBONDING_MS,
            delta_ms=scenario.DELTA_MS,
        )
        return make_genesis(LEDGER_NAME, start_ms, allotments, params)

    def start(self, archive_of_first: FullArchive | None = None) -> None:
        """Start the first nodes, all connected; the first keeps its chain in the given archive."""
        for number in range(1, self.late):
            self._add_node(number, archive_of_first if number == 1 else None)
        self.network.connect_all()

    def _add_node(self, number: int, archive: FullArchive | None = None) -> SimulatedHost:
        name, wallet = f"Node {number}", self.wallets[runner_of(number)]
        self.joined_ms[name] = self.elapsed_ms

        def make_agreement(host: SimulatedHost) -> SimplexDriver:
            guard = host.guard(wallet)
            agreement = Watched(guard, lambda output, ms: self._recorder.decided(name, agreement, output, ms))
            self.agreements[name] = agreement
            return SimplexDriver(agreement)

        return self.network.add(name, make_agreement, archive=archive)

    # ---- while it runs --------------------------------------------------------------------------------------

    @property
    def story(self) -> Story:
        """What was seen to happen so far."""
        return self._recorder.story

    @property
    def elapsed_ms(self) -> int:
        """Virtual time since the start."""
        return self.network.now_ms - self._start_ms

    @property
    def act_count(self) -> int:
        """How many acts the whole demo has."""
        return sum(len(scene.acts) for scene in self.scenes)

    def nodes(self) -> list[tuple[str, Node]]:
        """The nodes there are so far, by their names; one that was killed as it was then."""
        return [(name, host.node) for name, host in self.network.hosts.items()]

    def is_up(self, name: str) -> bool:
        """Whether this node runs."""
        return self.network.hosts[name].is_up

    @property
    def agree(self) -> bool:
        """Whether all nodes run, and have the same tip and the same log."""
        return all(self.is_up(name) for name, _ in self.nodes()) and _agree([node for _, node in self.nodes()])

    @property
    def foremost(self) -> tuple[str, Watched]:
        """The running node that is furthest, and what it decides by."""
        running = [one for one in self.agreements.items() if self.is_up(one[0])]
        return max(running, key=lambda one: (one[1].epoch.number, one[1].view))

    def within_reach(self) -> set[str]:
        """The members whose nodes run, on the foremost node's side while the network is parted."""
        side = set(self.agreements)
        parting = self.story.parting
        if parting is not None and parting.healed_ms is None:
            side = next(set(one) for one in parting.sides if self.foremost[0] in one)
        return {self.runners[name] for name in side if self.is_up(name)}

    def name_of(self, public_key: bytes | None) -> str:
        """What the demo calls a key."""
        return self._recorder.name_of(public_key)

    def play(self) -> Iterator[None]:
        """Carry out the scenes. Yields after each frame of virtual time."""
        for scene in self.scenes:
            self.scene = scene
            yield from self._play_scene(scene)

    def _play_scene(self, scene: Scene) -> Iterator[None]:
        for act in scene.acts:
            match act:
                case Settle():
                    yield from self._until(self._is_settled, scenario.SETTLE_AT_MOST_MS)
                case Wait(duration_ms):
                    yield from self._until(lambda: False, duration_ms)
                case Try():
                    yield from self._try_until_refused(act, scene.pause_ms)
                case AwaitTurn(meanwhile):
                    yield from self._await_turn(meanwhile)
                case _:
                    self._carry_out(act)
                    yield from self._until(lambda: False, scene.pause_ms)
            self.acts_done += 1

    def _until(self, is_done: Callable[[], bool], at_most_ms: int) -> Iterator[None]:
        for _ in range(0, at_most_ms, scenario.FRAME_MS):
            if is_done():
                return
            self.network.run_for(scenario.FRAME_MS)
            yield

    def _is_settled(self) -> bool:
        running = [node for name, node in self.nodes() if self.is_up(name)]
        return _agree(running) and not any(len(node.box) for node in running)

    def _carry_out(self, act: Act) -> None:
        match act:
            case CertifyFile(user, node, file):
                statement = self.files[file]
                door = self._issue(user, node, f"File {statement.name}"[:256], file_payload(statement, self._salt()))
                self._recorder.tell("honest", f"{user} certifies {statement.name} at {door}")
            case Say(user, node, subject, text):
                door = self._issue(user, node, subject, Payload(self._salt(), "text/plain", text.encode()))
                self._recorder.tell("honest", f"{user} states at {door}: {subject}")
            case Stake(user, node, amount):
                self._stake(user, node, amount)
            case KillForger():
                self._kill_forger()
            case RestartKilled():
                self._restart_killed()
            case TryInTurn(illegal):
                self._try_in_turn(illegal)
            case SignTwice(node):
                self._sign_twice(f"Node {node}")
            case Part(last_node):
                self._part(last_node)
            case Heal():
                self._heal()
            case Join():
                self._join()

    # ---- what users do -------------------------------------------------------------------------------------

    def _salt(self) -> bytes:
        self._issued += 1
        return self._seeding(f"salt {self._issued}")

    def _door(self, number: int) -> str:
        """The node with this number, or the next that is up."""
        names = list(self.network.hosts)
        return next(name for name in (*names[number - 1 :], *names) if self.is_up(name))

    def _issue(self, user: str, node: int, subject: str, payload: Payload) -> str:
        wallet, ledger_id, door = self.wallets[user], self.genesis.ledger_id, self._door(node)
        certificate = issue_statement(wallet, ledger_id, self.network.now_ms, subject, payload)
        self.network.submit(door, Entry(certificate, payload))
        return door

    def _stake(self, user: str, node: int, amount: int) -> None:
        operation = issue_stake(self.wallets[user], self.genesis.ledger_id, self.network.now_ms, amount)
        self.network.submit(self._door(node), Entry(operation))
        what = f"stakes {amount} tokens" if amount > 0 else f"withdraws {-amount} tokens from stake"
        self._recorder.tell("honest", f"{user} {what}")

    # ---- what the fraud does --------------------------------------------------------------------------------

    def _fraud_at(self, node: str) -> Fraud:
        host, kept = self.network.hosts[node], self.network.hosts["Node 1"].archive
        return Fraud(self.wallets, host.node, self.agreements[node], kept, self.network.now_ms)

    def _try_until_refused(self, attempt: Try, pause_ms: int) -> Iterator[None]:
        self.story.attempts.append(attempt)
        for _ in range(_TRIES):
            self._try(attempt.illegal, f"Node {attempt.node}")
            yield from self._until(lambda: False, pause_ms)
            if any(refusal.attempt is attempt.illegal for refusal in self.story.refusals):
                return

    def _try(self, illegal: Illegal, node: str) -> None:
        """The fraud submits certificates as a user does, and sends bytes as an unknown peer."""
        intruder = self._new_intruder()
        for thrown in make(illegal, self._fraud_at(node)):
            if isinstance(thrown, bytes):
                self._attempt_by[intruder] = illegal
                self.network.inject(intruder, node, thrown)
            else:
                self._attempt_at[node] = illegal
                self.network.submit(node, thrown)

    def _await_turn(self, meanwhile: Iterable[Say]) -> Iterator[None]:
        for say in meanwhile:
            if self._is_frauds_turn():
                return
            self._inject_everywhere(self._fraud_at("Node 1").sign_of_life())
            self._carry_out(say)
            yield from self._until(lambda: False, scenario.FRAME_MS)
            yield from self._until(self._is_settled, scenario.SETTLE_AT_MOST_MS)

    def _is_frauds_turn(self) -> bool:
        """Whether nothing is under way, and all nodes wait in a view in which he is drawn."""
        drawn = {agreement.views.leader(agreement.view) for agreement in self.agreements.values()}
        return self._is_settled() and drawn == {self.wallets[scenario.FRAUD].public_key}

    def _try_in_turn(self, illegal: Illegal) -> None:
        self.story.attempts.append(Try(illegal, 1))
        self._attempt_by[self.wallets[scenario.FRAUD].public_key] = illegal
        for thrown in make(illegal, self._fraud_at("Node 1")):
            assert isinstance(thrown, bytes)
            self._inject_everywhere(thrown)

    def _inject_everywhere(self, data: bytes) -> None:
        intruder = self._new_intruder()
        for name in self.network.hosts:
            self.network.inject(intruder, name, data)

    def _new_intruder(self) -> str:
        self._intruders += 1
        return f"Charlie-{self._intruders}"

    def _sign_twice(self, node: str) -> None:
        """One vote goes to all nodes, the other to one of them alone."""
        first, second = (encode_message(Votes((tally_of([vote]),))) for vote in self._fraud_at(node).two_votes())
        self._inject_everywhere(first)
        self.network.inject(self._new_intruder(), node, second)
        agreement = self.agreements[node]
        epoch, view = agreement.epoch.number, agreement.view
        staked = self.network.hosts[node].node.state.stakes.account(self.wallets[scenario.FRAUD].public_key).staked
        self.story.doubling = Doubling(scenario.FRAUD, epoch, view, staked, self.elapsed_ms)
        text = f"Charlie votes for two blocks in view {view} of epoch {epoch}; {node} sees both votes"
        self._recorder.tell("trouble", text)

    # ---- what befalls the nodes -----------------------------------------------------------------------------

    def _kill_forger(self) -> None:
        _, agreement = self.foremost
        nodes = {runner: name for name, runner in self.runners.items() if name in self.network.hosts}
        epoch = agreement.epoch.number
        drawn = ((view, self.name_of(agreement.views.leader(view))) for view in count(agreement.view))
        view, member = next(one for one in drawn if one[1] in nodes)
        node = nodes[member]
        self.story.killing = Killing(node, member, epoch, view, self.story.tip_index, self.elapsed_ms)
        self.network.crash(node)
        who = node if member == node else f"{node} ({member})"
        self._recorder.tell("trouble", f"{who} is killed, drawn to forge in view {view} of epoch {epoch}")

    def _restart_killed(self) -> None:
        killing = self.story.killing
        if killing is not None:
            killing.restarted_ms = self.elapsed_ms
            self._recorder.tell("network", f"{killing.node} starts again, from block {killing.tip_index} that it kept")
            self._recorder.comes(killing.node)
            self.network.restart(killing.node)

    def _part(self, last_node: int) -> None:
        names = list(self.network.hosts)
        sides = tuple(names[:last_node]), tuple(names[last_node:])
        self.story.parting = Parting(sides, self.story.tip_index, self.elapsed_ms)
        self.network.partition(*sides)
        said = " | ".join(" ".join(name.removeprefix("Node ") for name in side) for side in sides)
        self._recorder.tell("trouble", f"The network parts: nodes {said}" if len(said) < 40 else "The network parts")

    def _heal(self) -> None:
        parting = self.story.parting
        if parting is not None:
            parting.healed_ms, parting.tip_index_when_healed = self.elapsed_ms, self.story.tip_index
            self._recorder.tell("network", "The halves reach each other again")
            self.network.heal()

    def _join(self) -> None:
        host = self._add_node(self.late)
        self._recorder.tell("network", f"{host.name} joins, with an empty chain")
        self._recorder.comes(host.name)
        for number in range(1, self.late):
            self.network.connect(host.name, f"Node {number}")

    # ---- what is seen ---------------------------------------------------------------------------------------

    def _on_report(self, _now_ms: int, node: str, report: Report) -> None:
        match report:
            case ReportBlock(block, forged_here):
                self._recorder.final(node, block, forged_here)
            case ReportStuck():
                self._recorder.stuck(node, report, report.since_ms - self._start_ms)
            case ReportRefused(refused, peer):
                self._note_refusal(node, refused, peer)

    def _note_refusal(self, node: str, refused: Refused, peer: object) -> None:
        attempt = self._attempt_at.pop(node, None) if peer is None else self._attempt_by.get(peer)
        if attempt is None and refused.rule is Rule.S6:
            return  # others showed what it shows: it is not needed any more
        self._recorder.refused(node, refused, peer, attempt)
        if attempt and peer is not None and refused.rule in BLAMES_THE_PEER:
            host = self.network.hosts[node]
            self.network.at(self.network.now_ms, lambda: host.handle(PeerDisconnected(peer)))


def _agree(nodes: list[Node]) -> bool:
    return len({(node.state.tip.hash, node.state.log.size, node.state.log.root()) for node in nodes}) == 1
