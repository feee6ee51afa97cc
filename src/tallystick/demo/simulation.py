"""Nodes in virtual time, the users that submit to them, one of whom is a fraud, and what is seen of it all."""

import time
from hashlib import sha256
from itertools import count, islice
from typing import Final

from tallystick.cli.output import Terminal
from tallystick.cli.words import many, names_of, seconds
from tallystick.consensus.agreement import PersistQuorum
from tallystick.consensus.signing_guard import Signed
from tallystick.demo.account import Moment, Nullified, Refusal, Stuck
from tallystick.demo.fraud import FRAUD, HONEST, Fraud
from tallystick.demo.play import LEDGER_NAME, Play
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import Evidence, Payload, issue_stake, issue_statement
from tallystick.ledger.errors import BLAMES_THE_PEER, Refused, Rule
from tallystick.ledger.genesis import Allotment, Genesis, make_genesis
from tallystick.ledger.messages import Entry
from tallystick.ledger.params import Params
from tallystick.ledger.vote import NULLIFY, Tally
from tallystick.ledger.wallet import Wallet
from tallystick.network.archiving import FullArchive
from tallystick.network.simulated import Link, SimulatedNetwork
from tallystick.network.simulated_host import SimulatedHost, member
from tallystick.node import events

FRAME_MS: Final = 100
"""Virtual time passes in frames of this length; users act between two frames."""
TOKENS: Final = 100
"""What everybody has to stake, the fraud too; and what each of the first nodes begins with at stake."""
PARAMS: Final = Params(epoch_blocks=10, epoch_ms=5_000, unbonding_blocks=20, unbonding_ms=10_000, delta_ms=300)

_START_MS: Final = 1_735_689_600_000
"""1 January 2025, 00:00 UTC."""
_LINK: Final = Link(delay_min_ms=20, delay_max_ms=120, loss=0.02, duplication=0.02, reordering=True)
_SETTLE_AT_MOST_MS: Final = 60_000
_TRIES: Final = 20
"""A node that waits for blocks looks at no others until the time for the answer is up: the fraud goes on for longer."""
_WORK: Final = (
    ("Bob", "Delivery {} received", 4711, "12 crates, none damaged"),
    ("Alice", "Diploma 2025-{} awarded", 118, "with distinction"),
    ("Delphine", "Sample {} measured", 83, "pH 7.04 at 21.3 degrees"),
)


class Simulation(Play):
    """The nodes, the users, and the time: `speed` seconds of it in a second of ours, or at 0 as it comes."""

    def __init__(self, console: Terminal, node_count: int, seed: int, speed: float) -> None:
        super().__init__(console, lambda: self._network.now_ms, _START_MS)
        self._seed, self._speed, self._next_frame_s = seed, speed, time.monotonic()
        *self._first, self._late = (f"Node {number + 1}" for number in range(node_count + 1))
        named = dict(zip(self._first, HONEST, strict=False))
        self._members = {node: named.get(node, node) for node in (*self._first, self._late)}
        users = dict.fromkeys([*HONEST, *self._members.values(), FRAUD])
        self._wallets = {name: Wallet(self._derive(f"key of {name}")) for name in users}
        self.names = {wallet.public_key: name for name, wallet in self._wallets.items()}
        self.genesis = self._found()
        self._network = SimulatedNetwork(self.genesis, seed, _LINK)
        self._network.on_report, self._network.on_action = self._on_report, self._on_action
        self._network.on_event = self._on_event
        self._tip_index = 0
        self._attempts: list[str] = []
        self._refusals: list[Refusal] = []
        self._nullified: dict[tuple[int, int], Nullified] = {}
        self._stuck: list[Stuck] = []
        self._busy_since_ms: dict[str, int | None] = {}
        """Since when the view that a node is in has something to do."""
        self._salts, self._intruders, self._statements = count(1), count(1), count()
        self._tried: dict[object, str] = {}
        """What the fraud tried last, by the peer that he was, or the node where he submitted it."""
        self._next_block: dict[str, Moment] = {}
        self._catching_up: dict[str, Moment] = {}
        self._votes: dict[str, Moment] = {}
        """What is awaited: that a block becomes final, that a node has every block, and that it votes after that."""

    def _derive(self, purpose: str) -> bytes:
        """The same bytes for the same seed and purpose. Everybody can derive them: fit for a show only."""
        return sha256(f"tallystick demo {self._seed} {purpose}".encode()).digest()

    def _found(self) -> Genesis:
        staked = {self._members[node]: TOKENS for node in self._first}
        keys = {name: wallet.public_key for name, wallet in self._wallets.items()}
        allotments = [Allotment(key, TOKENS, staked.get(name, 0)) for name, key in keys.items()]
        return make_genesis(LEDGER_NAME, _START_MS, allotments, PARAMS)

    def _add_node(self, name: str, archive: FullArchive | None = None) -> None:
        self._joined_ms[name] = self.elapsed_ms
        self._network.add(name, member(self._wallets[self._members[name]]), archive=archive)

    def _name_of(self, public_key: bytes | None) -> str:
        return self.names.get(public_key or b"", "nobody")

    def _is_settled(self) -> bool:
        """Whether all running nodes agree, and no certificate waits."""
        running = [host.node for host in self._network.hosts.values() if host.is_up]
        tips = {(node.state.tip.hash, node.state.log.size, node.state.log.root()) for node in running}
        return len(tips) == 1 and not any(len(node.box) for node in running)

    def _elapse(self, duration_ms: int) -> None:
        for _ in range(0, duration_ms, FRAME_MS):
            self._network.run_for(FRAME_MS)
            if self._speed:
                self._next_frame_s += FRAME_MS / 1000 / self._speed
                time.sleep(max(0, self._next_frame_s - time.monotonic()))

    def _settle(self) -> None:
        """Nobody does anything until all is settled."""
        for _ in range(0, _SETTLE_AT_MOST_MS, FRAME_MS):
            if self._is_settled():
                return
            self._elapse(FRAME_MS)

    def _came(self, told: str, moment: Moment) -> None:
        moment.ms, moment.index = self.elapsed_ms, self._tip_index
        self.tell(">", told)

    # ---- what users do --------------------------------------------------------------------------------------

    def _salt(self) -> bytes:
        return self._derive(f"salt {next(self._salts)}")

    def _door(self, place: int) -> str:
        """The node at this place, or the next that is up."""
        names = list(self._network.hosts)
        return next(name for name in (*names[place:], *names) if self._network.hosts[name].is_up)

    def _issue(self, user: str, place: int, subject: str, payload: Payload) -> str:
        wallet, door = self._wallets[user], self._door(place)
        certificate = issue_statement(wallet, self.genesis.ledger_id, self._network.now_ms, subject, payload)
        self._network.submit(door, Entry(certificate, payload))
        return door

    def _say(self, user: str, place: int, subject: str, text: str, pause_ms: int) -> None:
        """A user makes a statement, and then for a while nothing."""
        door = self._issue(user, place, subject, Payload(self._salt(), "", "text/plain", text.encode()))
        self.tell("+", f"{user} states at {door}: {subject}")
        self._elapse(pause_ms)

    def _move(self, user: str, place: int, amount: int, pause_ms: int) -> None:
        """A user moves own tokens into stake, or (below zero) out of it, and then for a while nothing."""
        operation = issue_stake(self._wallets[user], self.genesis.ledger_id, self._network.now_ms, amount)
        self._network.submit(self._door(place), Entry(operation))
        what = f"stakes {amount} tokens" if amount > 0 else f"withdraws {-amount} tokens from stake"
        self.tell("+", f"{user} {what}")
        self._elapse(pause_ms)

    def _work(self, times: int, pause_ms: int) -> None:
        """Honest users make statements, at one node after the other."""
        for number in islice(self._statements, times):
            user, subject, first, text = _WORK[number % len(_WORK)]
            self._say(user, number % len(self._first), subject.format(first + number // len(_WORK)), text, pause_ms)

    # ---- what the fraud does --------------------------------------------------------------------------------

    def _fraud_at(self, node: str) -> Fraud:
        host, honest = self._network.hosts[node], [self._wallets[name].public_key for name in HONEST]
        archive, now_ms = self._network.hosts[self._first[0]].archive, self._network.now_ms
        return Fraud(self._wallets[FRAUD], honest, host.node, host.simplex, archive, now_ms)

    def _try_at(self, node: str, what: str, pause_ms: int) -> None:
        """The fraud submits certificates as a user does, and sends bytes as an unknown peer, until that is refused."""
        self._attempts.append(what)
        intruder = self._new_intruder()
        for _ in range(_TRIES):
            for one in self._fraud_at(node).throws(what):
                if isinstance(one, bytes):
                    self._tried[intruder] = what
                    self._network.inject(intruder, node, one)
                else:
                    self._tried[node] = what
                    self._network.submit(node, one)
            self._elapse(pause_ms)
            if any(refusal.attempt == what for refusal in self._refusals):
                return

    def _inject_everywhere(self, data: bytes) -> None:
        intruder = self._new_intruder()
        for name in self._network.hosts:
            self._network.inject(intruder, name, data)

    def _new_intruder(self) -> str:
        return f"{FRAUD}-{next(self._intruders)}"

    # ---- what is seen ---------------------------------------------------------------------------------------

    def _on_report(self, _now_ms: int, node: str, report: events.Report) -> None:
        match report:
            case events.ReportBlock(block):
                self._note_block(node, block)
            case events.ReportStuck():
                self._note_stuck(node, report)
            case events.ReportRefused(refused, peer):
                self._note_refusal(node, refused, peer)

    def _note_block(self, node: str, block: Block) -> None:
        if block.index > self._tip_index:
            self._tip_index = block.index
            forger, held = self._name_of(block.header.forger), many(len(block.certificates), "certificate")
            at = next((f" ({name})" for name, who in self._members.items() if name != who == forger), "")
            self.tell("■", f"Block {block.index} by {forger}{at} is final: view {block.header.view}, {held}")
            if any(isinstance(one, Evidence) for one in block.certificates):
                burned = self._network.hosts[node].node.state.stakes.burned
                self.tell("!", f"Block {block.index} holds both votes: Charlie loses the {burned} tokens at stake")
            while self._next_block:
                self._came(*self._next_block.popitem())
        if node in self._catching_up and block.index == self._tip_index:
            told = f"{node} has caught up with block {block.index}, each checked"
            self._came(told, self._catching_up.pop(node))

    def _note_stuck(self, node: str, report: events.ReportStuck) -> None:
        """A node says that nothing becomes final. Noted once for the same members missing."""
        missing, since_ms = [self._name_of(one) for one in report.missing], report.since_ms - self._began_ms
        if all(one.missing != missing for one in self._stuck):
            self._stuck.append(Stuck(node, since_ms, report.heard_stake, report.total_stake, missing))
            heard = f"hears {report.heard_stake} of {report.total_stake} tokens, not {names_of(missing)}"
            self.tell("!", f"{node}: stuck since {seconds(since_ms)}, {heard}")

    def _note_refusal(self, node: str, refused: Refused, peer: object) -> None:
        attempt = self._tried.pop(node, None) if peer is None else self._tried.get(peer)
        if attempt is None and refused.rule is Rule.S6:
            return  # others showed what it shows: it is not needed any more
        self._refusals.append(Refusal(node, refused.rule.name, refused.reason, attempt))
        what = f"Charlie: {attempt}" if attempt else f"something from {peer or 'its own box'}"
        self.tell("×", f"{node} refuses [{refused.rule.name}] {what}")
        if attempt and peer is not None and refused.rule in BLAMES_THE_PEER:
            host = self._network.hosts[node]
            self._network.at(self._network.now_ms, lambda: host.handle(events.PeerDisconnected(peer)))

    def _on_action(self, host: SimulatedHost, action: events.Action) -> None:
        match action:
            case PersistQuorum(tallies):
                for tally in tallies:
                    self._note_nullified(host, tally)
            case events.PersistSigned(records) if host.name in self._votes and host.name not in self._catching_up:
                ballot = next((one.ballot for one in records if isinstance(one, Signed) and one.ballot), None)
                if ballot is not None:
                    told = f"{host.name} votes again, in view {ballot.view} of epoch {ballot.epoch}"
                    self._came(told, self._votes.pop(host.name))

    def _on_event(self, host: SimulatedHost, _event: events.Event) -> None:
        self._busy_since_ms[host.name] = host.simplex.timer.since_ms

    def _note_nullified(self, host: SimulatedHost, tally: Tally) -> None:
        simplex, epoch, view, kind = host.simplex, tally.ballot.epoch, tally.ballot.view, tally.ballot.kind
        is_at_hand = kind == NULLIFY and epoch == simplex.epoch.number and (epoch, view) not in self._nullified
        if is_at_hand and simplex.epoch.certifies(tally):
            drawn, now_ms = self._name_of(simplex.views.leader(view)), self._network.now_ms
            lasted_ms = now_ms - (self._busy_since_ms[host.name] or now_ms)
            self._nullified[epoch, view] = Nullified(epoch, view, drawn, self.elapsed_ms, lasted_ms)
            told = f"{drawn} was to forge, and nothing came of it"
            self.tell("!", f"View {view} of epoch {epoch} is nullified: {told}")
