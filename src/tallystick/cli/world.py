"""Carries a scenario out on a simulated network, and writes down what happened."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tallystick.cli import scenario
from tallystick.cli.chance import Chance
from tallystick.cli.fraud import Fraud, make
from tallystick.cli.scenario import (
    Act,
    CertifyFile,
    Illegal,
    Join,
    Say,
    Scene,
    Settle,
    Stake,
    Try,
    runner_of,
)
from tallystick.cli.words import many
from tallystick.consensus.lone_forger import LoneForger
from tallystick.consensus.proof_of_stake import ProofOfStake
from tallystick.host.file_statement import FileStatement, file_payload
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import Payload, issue_stake, issue_statement
from tallystick.ledger.errors import Refused
from tallystick.ledger.genesis import Allotment, Genesis, make_genesis
from tallystick.ledger.messages import Entry
from tallystick.ledger.params import Params
from tallystick.ledger.wallet import Wallet
from tallystick.network.simulated import Link, Report, SimulatedHost, SimulatedNetwork
from tallystick.node.archive import Archive
from tallystick.node.events import ReportBlock, ReportRefused
from tallystick.node.node import Node

_LINK = Link(delay_min_ms=20, delay_max_ms=120, loss=0.02, duplication=0.02, reordering=True)


@dataclass(frozen=True)
class Happening:
    """One line of the demo's story."""

    time_ms: int
    kind: str
    """`honest`, `block`, `refused` or `network`."""
    text: str


@dataclass(frozen=True)
class Refusal:
    """Something that a node refused; `attempt` when it was one of the fraud's."""

    node: str
    refused: Refused
    attempt: Illegal | None


@dataclass
class Story:
    """All that was seen to happen."""

    happenings: list[Happening] = field(default_factory=list)
    attempts: list[Try] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    forged: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


class World:
    """The nodes, the people, and the time. `play` yields once a frame, so that somebody can watch."""

    def __init__(
        self,
        node_count: int,
        files: list[FileStatement],
        seed: int,
        chance: Chance,
        start_ms: int,
    ) -> None:
        self.files = files
        self.scenes = scenario.script(node_count, len(files))
        self.scene = self.scenes[0]
        self.acts_done = 0
        self.story = Story()
        self.late = node_count + 1
        self.runners = {f"Node {number}": runner_of(number) for number in range(1, self.late + 1)}
        self.wallets = self._make_wallets(chance)
        self.names = {wallet.public_key: name for name, wallet in self.wallets.items()}
        self.genesis = self._found(start_ms)
        self.network = SimulatedNetwork(self.genesis, seed, _LINK)
        self.network.on_report = self._on_report
        self._chance = chance
        self._start_ms = start_ms
        self._issued = 0
        self._has_caught_up = False
        self._attempt_at: dict[str, Illegal] = {}
        self._attempt_by: dict[str, Illegal] = {}

    # ---- before it begins -----------------------------------------------------------------------------------

    def _make_wallets(self, chance: Chance) -> dict[str, Wallet]:
        people = dict.fromkeys([*scenario.HONEST, *self.runners.values(), scenario.FRAUD])
        return {name: Wallet(chance(f"key of {name}")) for name in people}

    def _found(self, start_ms: int) -> Genesis:
        """Only who runs a node from the start has stake: a drawn forger has to be awake."""
        forgers = {runner_of(number) for number in range(1, self.late)}
        allotments = [
            Allotment(wallet.public_key, scenario.FREE_TOKENS, scenario.STAKED_TOKENS if name in forgers else 0)
            for name, wallet in self.wallets.items()
        ]
        params = Params(
            forge_at_certificates=scenario.FORGE_AT_CERTIFICATES,
            forge_after_ms=scenario.FORGE_AFTER_MS,
        )
        return make_genesis(scenario.LEDGER_NAME, start_ms, allotments, params)

    def start(self, archive_of_first: Archive | None = None) -> None:
        """Start the first nodes, all connected; the first keeps its chain in the given archive."""
        for number in range(1, self.late):
            self._add_node(number, archive_of_first if number == 1 else None)
        self.network.connect_all()

    def _add_node(self, number: int, archive: Archive | None = None) -> SimulatedHost:
        wallet = self.wallets[runner_of(number)]
        return self.network.add(f"Node {number}", lambda: LoneForger(ProofOfStake(), wallet), archive=archive)

    # ---- while it runs --------------------------------------------------------------------------------------

    @property
    def elapsed_ms(self) -> int:
        """Virtual time since the start."""
        return self.network.now_ms - self._start_ms

    @property
    def act_count(self) -> int:
        """How many acts the whole demo has."""
        return sum(len(scene.acts) for scene in self.scenes)

    def nodes(self) -> list[tuple[str, Node]]:
        """The nodes there are so far, by their names."""
        return [(name, host.node) for name, host in self.network.hosts.items()]

    @property
    def agree(self) -> bool:
        """Whether all nodes have the same tip and the same log."""
        seen = {(node.state.tip.hash, node.state.log.size, node.state.log.root()) for _, node in self.nodes()}
        return len(seen) == 1

    def name_of(self, public_key: bytes) -> str:
        """What the demo calls a key."""
        return self.names.get(public_key, "nobody")

    def play(self) -> Iterator[None]:
        """Carry out the scenes. Yields after each frame of virtual time."""
        for scene in self.scenes:
            self.scene = scene
            yield from self._play_scene(scene)

    def _play_scene(self, scene: Scene) -> Iterator[None]:
        for act in scene.acts:
            if isinstance(act, Settle):
                yield from self._until(self._is_settled, scenario.SETTLE_AT_MOST_MS)
            else:
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
        return self.agree and not any(len(node.box) for _, node in self.nodes())

    def _carry_out(self, act: Act) -> None:
        match act:
            case CertifyFile(person, node, file):
                statement = self.files[file]
                self._issue(person, node, f"File {statement.name}"[:256], file_payload(statement, self._salt()))
                self._tell("honest", f"{person} certifies {statement.name} at Node {node}")
            case Say(person, node, subject, text):
                self._issue(person, node, subject, Payload(self._salt(), "text/plain", text.encode()))
                self._tell("honest", f"{person} states at Node {node}: {subject}")
            case Stake(node, amount):
                self._stake(node, amount)
            case Try(illegal, node):
                self.story.attempts.append(act)
                self._try(illegal, f"Node {node}")
            case Join():
                self._tell("network", f"Node {self.late} joins, with an empty chain")
                host = self._add_node(self.late)
                for number in range(1, self.late):
                    self.network.connect(host.name, f"Node {number}")

    # ---- what people do -------------------------------------------------------------------------------------

    def _salt(self) -> bytes:
        self._issued += 1
        return self._chance(f"salt {self._issued}")

    def _issue(self, person: str, node: int, subject: str, payload: Payload) -> None:
        wallet, ledger_id = self.wallets[person], self.genesis.ledger_id
        certificate = issue_statement(wallet, ledger_id, self.network.now_ms, subject, payload)
        self.network.submit(f"Node {node}", Entry(certificate, payload))

    def _stake(self, node: int, amount: int) -> None:
        runner = runner_of(node)
        operation = issue_stake(self.wallets[runner], self.genesis.ledger_id, self.network.now_ms, amount)
        self.network.submit(f"Node {node}", Entry(operation))
        what = f"stakes {amount} tokens" if amount > 0 else f"withdraws {-amount} tokens from stake"
        self._tell("honest", f"{runner} {what}")

    def _try(self, illegal: Illegal, node: str) -> None:
        """The fraud hands a certificate in as a person does, and sends bytes as an unknown peer."""
        host = self.network.hosts[node]
        thrown = make(illegal, Fraud(self.wallets, host.node, host.archive, self.network.now_ms))
        if isinstance(thrown, bytes):
            intruder = f"Charlie-{len(self.story.attempts)}"
            self._attempt_by[intruder] = illegal
            self.network.inject(intruder, node, thrown)
            return
        self._attempt_at = {node: illegal}
        for entry in thrown:
            self.network.submit(node, entry)

    # ---- what is seen ---------------------------------------------------------------------------------------

    def _on_report(self, now_ms: int, node: str, report: Report) -> None:
        match report:
            case ReportBlock(block, forged_here=False) if node == f"Node {self.late}" and not self._has_caught_up:
                self._has_caught_up = block.index == max(other.state.index for _, other in self.nodes())
                if self._has_caught_up:
                    self._tell("network", f"{node} has caught up: {many(block.index, 'block')}, each checked")
            case ReportBlock(block, forged_here=True):
                self.story.forged[node] += 1
                self._tell("block", self._describe_forged(node, block))
            case ReportRefused(refused, peer):
                self._note_refusal(node, refused, peer)

    def _note_refusal(self, node: str, refused: Refused, peer: object) -> None:
        attempt = self._attempt_at.pop(node, None) if peer is None else self._attempt_by.get(str(peer))
        self.story.refusals.append(Refusal(node, refused, attempt))
        self.story.refused[node] += 1
        what = f"Charlie: {attempt.value}" if attempt else f"something from {peer or 'its own box'}"
        self._tell("refused", f"{node} refuses [{refused.rule.name}] {what}")

    def _describe_forged(self, node: str, block: Block) -> str:
        count = len(block.certificates)
        forger = self.name_of(block.header.forger)
        by = node if forger == node else f"{forger} ({node})"
        return f"{by} forges block {block.index} with {count} certificate{'s' if count != 1 else ''}"

    def _tell(self, kind: str, text: str) -> None:
        self.story.happenings.append(Happening(self.elapsed_ms, kind, text))
