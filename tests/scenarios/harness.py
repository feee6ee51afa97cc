"""Text scenarios: commands and what they print, in one file, played on production nodes in a simulated network.

A file is blocks with blank lines between: commands, a line `----`, and what they print. Lines that begin with `#` are
comments. `pytest tests/scenarios --rewrite` writes what is printed now into the files; the diff is then to be judged.

What it speaks of
    A block is named by what it holds and the view it was forged in: `s1@2` holds the statement s1, of view 2. Views of
    later epochs stand behind the epoch: `1.3` is view 3 of epoch 1. Messages take 10 ms; delta is 300 ms. Who leads
    which view is said with `leaders=` (in turn), in place of the draw.

    A node that sees a twin, or whose state is not the ledger's, ends; a supervisor is played by `restart`.

Setting up
    members ada=100 ben=100 … [leaders=ben,cy,…] [epoch-blocks=… and other parameters] [box=3]
    observer eve                        a node without a key

What people and machines do
    submit ada s1 s2                    hand statements in (`many=2600 long` makes as many long ones)
    stake ada +500 [at ben]             submit a staking operation
    crash ada, restart ada, run 500ms, run quiet; delay 900ms (of each message), unlink ada ben
    crash ada when=vote                 right after the next vote is synced in its guard, before it is kept or sent
    partition ada ben | cy dot, heal
    drop from=… to=… kind=… view=1..3   lose such messages from now on; kinds: propose, notarize, nullify, finalize,
                                        request, response (of recovery), blocks, certificates, status, views
    hold from=… …                       keep them back; `release` sends them
    allow                               drop and hold nothing any more
    replay kind=response to=ada         send all such messages that ever went there once more

What goes wrong
    save ada as monday                  copy its database and guard
    restore ada database=monday         put that copy in the place of its database (or guard=monday), while it is down
    lose-guard ada                      no guard beside the key
    guard-lost, guard-recover, accept-loss ada    the operator's word; takes effect with the next start
    copy-key ada as twin [guard=none|copy|empty]  a second machine with ada's key
    corrupt ben root|version|size|old   it proposes blocks of that kind whenever it leads (old: dated 11 s ago)
    drift ada                           its state becomes another than the ledger's
    lie cy to=ada view=3                a signed answer to ada's recovery request, of a bare number
    sign cy finalize 3 s1@3 to=ben,dot  a vote of cy's, whatever it voted before

What is looked at
    status, chain, votes 2 [of ben], guard ada, leaders 1..8, show kind,kind (of the lines that `run` prints)
"""

import dataclasses
import re
from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from tests.builders import START_MS, wallet
from tests.seat import Schedule

from tallystick.consensus.agreement import SendProposal, StateMismatch, TwinFound
from tallystick.consensus.proposals import Pending
from tallystick.consensus.recovery import RECOVERING
from tallystick.consensus.signing_guard import (
    Confirmed,
    GuardRecord,
    GuardStatus,
    Limited,
    LossAccepted,
    Lost,
    Recovered,
    Signed,
    SigningGuard,
    TwinSeen,
)
from tallystick.consensus.simplex import Simplex
from tallystick.ledger.block import Block, verified
from tallystick.ledger.blockchain import NOTHING
from tallystick.ledger.certificate import AnyCertificate, Evidence, Statement, issue_stake, issue_statement
from tallystick.ledger.fields import ZERO_DIGEST
from tallystick.ledger.genesis import Allotment, make_genesis
from tallystick.ledger.header import Header
from tallystick.ledger.messages import (
    Blocks,
    CertificateRequest,
    Certificates,
    Entry,
    Message,
    Proposal,
    ProposalCertificates,
    ProposalRequest,
    RecoveryRequest,
    RecoveryResponse,
    Status,
    ViewCertificateRequest,
    Votes,
    decode_message,
    encode_message,
)
from tallystick.ledger.params import Params
from tallystick.ledger.state import genesis_state
from tallystick.ledger.transition import make_header
from tallystick.ledger.vote import NAMES, NOTARIZE, NULLIFY, Ballot, cast, tally_of
from tallystick.ledger.wallet import Wallet, sign
from tallystick.network.simulated import Link, SimulatedNetwork
from tallystick.network.simulated_host import SimulatedHost
from tallystick.node.agreement import Agreement
from tallystick.node.events import (
    Action,
    Broadcast,
    Disconnect,
    PersistBlock,
    PersistSigned,
    Report,
    ReportRefused,
    ReportStuck,
    Send,
)
from tallystick.node.limits import Limits
from tallystick.node.simplex_driver import SimplexDriver

KINDS = {name: kind for kind, name in NAMES.items()}
_DELAY_MS = 10
_QUIET_MS = 3_600_000
_MESSAGES: dict[type[Any], str] = {
    Proposal: "propose",
    ProposalRequest: "propose",
    ProposalCertificates: "propose",
    RecoveryRequest: "request",
    RecoveryResponse: "response",
    Blocks: "blocks",
    Certificates: "certificates",
    CertificateRequest: "certificates",
    Status: "status",
    ViewCertificateRequest: "views",
}
SHOWN = ("propose", "vote", "final", "recovery", "views", "trouble", "guard")
"""The lines that `run` prints unless `show` says otherwise; `stuck` and `refused` are others."""


class Rule:
    """Which messages are lost, or held back."""

    def __init__(self, words: Iterable[str]) -> None:
        fields = dict(one.split("=") for one in words)
        self._from = set(fields.get("from", "").split(",")) - {""}
        self._to = set(fields.get("to", "").split(",")) - {""}
        self._kinds = set(fields.get("kind", "").split(",")) - {""}
        first, _, last = fields.get("view", "").partition("..")
        self._views = range(int(first), int(last or first) + 1) if first else None

    def concerns(self, sender: str, receiver: str) -> bool:
        """Whether messages on this way may be meant."""
        return (not self._from or sender in self._from) and (not self._to or receiver in self._to)

    def matches(self, kind: str, view: int | None) -> bool:
        """Whether a message of this kind is meant, or a tally in it."""
        return (not self._kinds or kind in self._kinds) and (self._views is None or view in self._views)


def split(message: Message, rule: Rule) -> tuple[Message | None, Message | None]:
    """What of the message the rule leaves, and what it takes."""
    if not isinstance(message, Votes):
        view = message.view if isinstance(message, Proposal | RecoveryResponse) else None
        is_meant = rule.matches(_MESSAGES.get(type(message), "other"), view)
        return (None, message) if is_meant else (message, None)
    taken = tuple(one for one in message.tallies if rule.matches(NAMES[one.ballot.kind], one.ballot.view))
    left = tuple(one for one in message.tallies if one not in taken)
    return Votes(left) if left else None, Votes(taken) if taken else None


class CorruptSimplex(Simplex):
    """A member that proposes illegal blocks whenever it leads, and else does all that is asked of it."""

    how: str

    def _propose(self, now_ms: int, waiting: Any) -> None:
        guard, view = self.guard, self.view
        assert guard is not None
        if self.views.leader(view) != guard.key or self._has_voted(view) or not waiting:
            return
        base = self.chain.state
        chosen = tuple(waiting) if self.how == "size" else tuple(waiting.choose(now_ms, base, NOTHING))
        header = make_header(base, view, now_ms - (11_000 if self.how == "old" else 0), guard.key, chosen)
        wrong: dict[str, dict[str, Any]] = {
            "root": {"state_root": bytes(32)},
            "version": {"version": 2},
            "size": {},
            "old": {},
        }
        header = replace(header, **wrong[self.how])
        signature = guard.sign_header(header)
        if signature is not None:
            block = verified(Block(header, signature, chosen))
            self.views.keep(block)
            self.proposals._passed[block.hash] = Pending(block, base, {}, None)  # as if it were legal
            self._vote(NOTARIZE, view, block, SendProposal(view, 0, block, is_new=True))


class ScenarioNetwork(SimulatedNetwork):
    """Loses and holds back what it is told to, and remembers what was sent."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.dropping: list[Rule] = []
        self.holding: list[Rule] = []
        self.held: list[tuple[str, str, bytes]] = []
        self.sent: list[tuple[str, str, Message, bytes]] = []

    def send(self, sender: str, receiver: str, data: bytes) -> None:
        """See `SimulatedNetwork`."""
        message: Message | None = decode_message(data)
        if message is not None and not isinstance(message, Certificates | ProposalCertificates):
            self.sent.append((sender, receiver, message, data))
        for rules, is_held in ((self.dropping, False), (self.holding, True)):
            for rule in (one for one in rules if one.concerns(sender, receiver)):
                if message is None:
                    return
                message, taken = split(message, rule)
                if is_held and taken is not None:
                    self.held.append((sender, receiver, encode_message(taken)))
        if message is not None:
            super().send(sender, receiver, encode_message(message))

    def release(self) -> None:
        """Send what was held back."""
        held, self.held, self.holding = self.held, [], []
        for one in held:
            super().send(*one)


class Scenario:
    """One ledger, and what happens to it."""

    network: ScenarioNetwork

    def __init__(self) -> None:
        self._wallets: dict[str, Wallet] = {}
        self._roles: dict[str, str] = {}
        self._saved: dict[str, tuple[Any, Any]] = {}
        self._names: dict[bytes, str] = {}
        self._schedule: Schedule | None = None
        self._limits: Limits | None = None
        self._crash_at_vote: set[str] = set()
        self._lines: list[tuple[int, str, str, str]] = []
        self._shown = set(SHOWN)

    @property
    def _ledger_id(self) -> bytes:
        return self.network.genesis.ledger_id

    def run(self, command: str) -> list[str]:
        """Carry out one command. Returns what it prints."""
        name, *args = command.split()
        method: Callable[..., list[str] | None] = getattr(self, "do_" + name.replace("-", "_"))
        return method(*args) or []

    # ---- setting up -------------------------------------------------------------------------------------------

    def do_members(self, *words: str) -> None:
        fields = dict(one.split("=") for one in words)
        leaders, box = fields.pop("leaders", ""), fields.pop("box", None)
        params = {one: int(fields.pop(one)) for one in list(fields) if "-" in one}
        blocks, epoch_ms = params.get("epoch-blocks", 100), params.get("epoch-ms", 1_000)
        defaults: dict[str, Any] = {"epoch_ms": epoch_ms, "unbonding_blocks": 2 * blocks, "unbonding_ms": 2 * epoch_ms}
        given = {one.replace("-", "_"): value for one, value in params.items()}
        self._wallets = {one: wallet(one) for one in fields}
        self._names |= {one.public_key: name for name, one in self._wallets.items()}
        allotments = [Allotment(self._wallets[one].public_key, 1_000, int(stake)) for one, stake in fields.items()]
        genesis = make_genesis("scenario", START_MS, allotments, Params(**{**defaults, **given}))
        self._names[genesis_state(genesis).tip.hash] = "genesis"
        if leaders:
            self._schedule = Schedule(leaders.replace(",", " "), self._wallets)
        self._limits = Limits(box_certificates=int(box)) if box else None
        self.network = ScenarioNetwork(genesis, 1, Link(_DELAY_MS, _DELAY_MS))
        self.network.on_action, self.network.on_report = self._on_action, self._on_report
        for one in self._wallets:
            self.network.add(one, self._member(one), self._limits)
        self.network.connect_all()
        self.network.run_for(2 * _DELAY_MS)

    def do_observer(self, name: str) -> None:
        self.network.add(name, lambda host: self._scheduled(Simplex()), self._limits)
        self._connect(name)

    def _connect(self, name: str) -> None:
        for other in self.network.hosts:
            if other != name:
                self.network.connect(name, other)

    def _member(self, name: str) -> Callable[[SimulatedHost], Agreement]:
        def make(host: SimulatedHost) -> Agreement:
            guard, role = host.guard(self._wallets[name]), self._roles.get(name)
            simplex = CorruptSimplex(guard) if role else Simplex(guard)
            if isinstance(simplex, CorruptSimplex):
                simplex.how = role or ""
            return self._scheduled(simplex)

        return make

    def _scheduled(self, simplex: Simplex) -> SimplexDriver:
        if self._schedule is not None:
            simplex._leader = self._schedule.leader
            simplex.check_forger = self._schedule.check
        return SimplexDriver(simplex)

    # ---- what people and machines do --------------------------------------------------------------------------

    def do_submit(self, name: str, *subjects: str) -> None:
        for subject in subjects:
            if subject.startswith("many="):
                texts = ["é" * 190 + f" {number}" for number in range(int(subject[5:]))]
            else:
                texts = [subject]
            for text in texts:
                issued = issue_statement(self._wallets[name], self._ledger_id, self.network.now_ms, text)
                self.network.submit(name, Entry(issued))

    def do_stake(self, name: str, amount: str, *at: str) -> None:
        issued = issue_stake(self._wallets[name], self._ledger_id, self.network.now_ms, int(amount.replace("+", "")))
        self.network.submit(at[-1] if at else name, Entry(issued))

    def do_crash(self, name: str, when: str = "") -> None:
        if when:
            self._crash_at_vote.add(name)
        else:
            self.network.crash(name)

    def do_restart(self, name: str) -> None:
        self.network.restart(name)

    def do_run(self, duration: str) -> list[str]:
        self._lines = []
        if duration == "quiet":
            assert self.network.run_until_quiet(_QUIET_MS), "it never becomes quiet"
        else:
            number, unit = re.fullmatch(r"(\d+)(ms|s|min)", duration).groups()
            self.network.run_for(int(number) * {"ms": 1, "s": 1_000, "min": 60_000}[unit])
        return self._printed()

    def do_delay(self, duration: str) -> None:
        delay_ms = int(duration.removesuffix("ms"))
        self.network.relink(Link(delay_ms, delay_ms))

    def do_unlink(self, one: str, other: str) -> None:
        self.network.cut(one, other)

    def do_partition(self, *words: str) -> None:
        groups = [one.split() for one in " ".join(words).split("|")]
        self.network.partition(*groups)

    def do_heal(self) -> None:
        self.network.heal()

    def do_drop(self, *words: str) -> None:
        self.network.dropping.append(Rule(words))

    def do_hold(self, *words: str) -> None:
        self.network.holding.append(Rule(words))

    def do_release(self) -> None:
        self.network.release()

    def do_allow(self) -> None:
        self.network.dropping = []

    def do_replay(self, *words: str) -> list[str]:
        rule, count = Rule(words), 0
        for sender, receiver, message, data in list(self.network.sent):
            if rule.concerns(sender, receiver) and split(message, rule)[1] is not None:
                self.network.inject(sender, receiver, data)
                count += 1
        return [f"{count} messages"]

    # ---- what goes wrong --------------------------------------------------------------------------------------

    def do_save(self, name: str, _: str, copy: str) -> None:
        host = self.network.hosts[name]
        self._saved[copy] = deepcopy(host.archive), list(host.guard_records)

    def do_restore(self, name: str, *words: str) -> None:
        host = self.network.hosts[name]
        assert not host.is_up, "crash it first"
        for what, copy in (one.split("=") for one in words):
            archive, records = self._saved[copy]
            if what == "database":
                host.archive = deepcopy(archive)
            else:
                host.guard_records = list(records)

    def do_lose_guard(self, name: str) -> None:
        host = self.network.hosts[name]
        assert not host.is_up, "crash it first"
        host.guard_records = [Lost(None)]

    def do_guard_lost(self, name: str) -> None:
        self.network.hosts[name].guard_records.append(Lost(None))

    def do_guard_recover(self, name: str) -> None:
        self.do_guard_lost(name)

    def do_accept_loss(self, name: str) -> None:
        self.network.hosts[name].guard_records.append(LossAccepted(self._ledger_id))

    def do_copy_key(self, name: str, _: str, twin: str, guard: str = "guard=empty") -> None:
        records: dict[str, list[GuardRecord]] = {
            "none": [Lost(None)],
            "copy": list(self.network.hosts[name].guard_records),
            "empty": [],
        }
        self._wallets[twin] = self._wallets[name]
        host = self.network.add(twin, self._member(twin), self._limits)
        host.stop()
        host.guard_records = records[guard.removeprefix("guard=")]
        host.start()
        for other in self.network.hosts:
            if other not in (twin, name):
                self.network.connect(twin, other)

    def do_drift(self, name: str) -> None:
        """Its state becomes another than the ledger's, as a bug would make it."""
        chain = self.network.hosts[name].node.chain
        chain.state = dataclasses.replace(chain.state, log=chain.state.log.extend([bytes(32)]))

    def do_corrupt(self, name: str, how: str) -> None:
        self._roles[name] = how
        self.network.crash(name)
        self.network.restart(name)

    def do_lie(self, name: str, to: str, view: str) -> None:
        asker = self.network.hosts[to.removeprefix("to=")]
        recovery, own = asker.simplex.recovery, self._wallets[name]
        assert recovery is not None
        epoch, number = asker.node.state.epoch.number, int(view.removeprefix("view="))
        key = self._wallets[asker.name].public_key
        response = RecoveryResponse(own.public_key, key, recovery.nonce, epoch, number, None, ())
        data = encode_message(sign(response, own, self._ledger_id))
        self.network.inject("liar", asker.name, data)

    def do_sign(self, name: str, kind: str, view: str, *words: str) -> None:
        block = next((one for key, one in self._blocks() if words[0] == key), ZERO_DIGEST)
        epoch, _, number = view.rpartition(".")
        ballot = Ballot(KINDS[kind], int(epoch or 0), int(number), block)
        tally = tally_of([cast(self._wallets[name], self._ledger_id, ballot)])
        for receiver in words[-1].removeprefix("to=").split(","):
            self.network.inject("liar", receiver, encode_message(Votes((tally,))))

    def _blocks(self) -> list[tuple[str, bytes]]:
        return [(name, key) for key, name in self._names.items()]

    # ---- what is looked at ------------------------------------------------------------------------------------

    def do_status(self) -> list[str]:
        lines = []
        for name, host in self.network.hosts.items():
            if not host.is_up:
                lines.append((name, "down"))
                continue
            status, simplex = host.node.agreement_status(), host.simplex
            place = self._view(status.epoch, status.view)
            words = [f"index {host.node.state.index}, view {place}, final {simplex.views.final_view}"]
            if status.guard is not None and status.guard.value != "ready":
                words.append(f"guard {status.guard.value}")
            if status.unanswered:
                words.append(f"waits for {self._people(status.unanswered)}")
            if status.silent_until is not None:
                words.append(f"silent until {self._view(*status.silent_until)}")
            words += ["loss accepted"] * status.is_loss_accepted + ["burned"] * status.is_burned
            if status.mismatch:
                words.append(f"mismatch: {re.sub('[0-9a-f]{16}…', '…', status.mismatch)}")
            words.append(f"{len(host.node.box)} in the box") if len(host.node.box) else None
            lines.append((name, ", ".join(words)))
        return merged(lines)

    def do_chain(self) -> list[str]:
        lines = []
        for name, host in self.network.hosts.items():
            for block in host.archive.blocks():
                self._note(block.header, block.certificates)
            blocks = [self._names[block.hash] for block in host.archive.blocks()]
            lines.append((name, " ".join(blocks) or "nothing"))
        return merged(lines)

    def do_votes(self, view: str, *of: str) -> list[str]:
        names = of[1:] or [name for name, host in self.network.hosts.items() if host.is_up]
        lines = []
        for name in names:
            state = self.network.hosts[name].simplex.views.at(int(view))
            ballots = sorted(state.weight, key=lambda one: (one.kind, one.block_hash))
            said = [
                f"{self._ballot(one)} by {self._people(m for m, _ in state.tally(one).signatures)}" for one in ballots
            ]
            lines.append((name, "; ".join(said) or "nothing"))
        return merged(lines)

    def do_guard(self, name: str) -> list[str]:
        host = self.network.hosts[name]
        guard = self._guard(host)
        floor = self._view(*guard.floor) if guard.floor >= (0, 0) else "none"
        lines = [f"{guard.status.value}, floor {floor}"]
        votes = [one.ballot for epoch in range(10) for one in guard.votes(epoch)]
        return lines + [f"signed {self._ballot(one)}" for one in votes]

    def _guard(self, host: SimulatedHost, more: Iterable[GuardRecord] = ()) -> SigningGuard:
        """As its records stand, with these."""
        return SigningGuard(self._wallets[host.name], self._ledger_id, [*host.guard_records, *more], bytes(32))

    def do_leaders(self, views: str) -> list[str]:
        first, _, last = views.partition("..")
        simplex = next(host.simplex for host in self.network.hosts.values() if host.is_up)
        keys = [simplex.views.leader(view) for view in range(int(first), int(last or first) + 1)]
        return [" ".join(self._names[one] if one else "nobody" for one in keys)]

    def do_show(self, kinds: str = "") -> None:
        self._shown = set(kinds.split(",")) if kinds else set(SHOWN)

    def do_supply(self) -> list[str]:
        """Who is burned, at the first node that is up."""
        host = next(one for one in self.network.hosts.values() if one.is_up)
        stakes = host.node.state.stakes
        burned = self._people(stakes.burned_keys) or "nobody"
        return [f"burned: {burned}, {stakes.burned} tokens"]

    # ---- what happens, in words -------------------------------------------------------------------------------

    def _on_action(self, host: SimulatedHost, action: Action) -> None:
        match action:
            case PersistSigned(records):
                for number, record in enumerate(records):
                    self._on_record(host, record, self._guard(host, records[:number]))
                is_vote = any(isinstance(one, Signed) for one in records)
                if is_vote and host.name in self._crash_at_vote:
                    self._crash_at_vote.discard(host.name)
                    host.crash_within(0)
                    self._line(host.name, "trouble", "crashes, the vote synced and not sent")
            case PersistBlock(block, _, finalization):
                self._note(block.header, block.certificates)
                by = (
                    f" by view {self._view(finalization.ballot.epoch, finalization.ballot.view)}"
                    if finalization
                    else ""
                )
                self._line(host.name, "final", f"{self._names[block.hash]} is final{by}")
            case Broadcast(Proposal(view, _, header, _, ids)) if view == host.simplex.view:
                whole = host.simplex.proposals.whole(header.hash)
                self._note(header, whole.certificates if whole else ())
                again = "" if ids is not None else " again"
                self._line(host.name, "propose", f"proposes {self._names[header.hash]}{again}")
            case Broadcast(RecoveryRequest(member)) if member == self._wallets[host.name].public_key:
                self._line(host.name, "recovery", "asks to recover")
            case Send(_, RecoveryResponse(member, asker, _, epoch, view)) if member == self._key(host.name):
                said = f"view {self._view(epoch, view)}" if view != RECOVERING else "it recovers itself"
                self._line(host.name, "recovery", f"answers {self._names[asker]}: {said}")
            case Broadcast(ViewCertificateRequest(_, first, last)):
                self._line(host.name, "views", f"asks for the certificates of views {first}..{last}")
            case Disconnect(peer, refused):
                self._line(host.name, "trouble", f"disconnects {peer}: {refused.rule.name}")

    def _on_record(self, host: SimulatedHost, record: Any, before: SigningGuard) -> None:
        match record:
            case Signed(_, _, _, None, ballot) if ballot is not None:
                name = host.name
                block = host.simplex.proposals.whole(ballot.block_hash)
                if block is not None:
                    self._note(block.header, block.certificates)
                is_careful = before.is_loss_accepted and (ballot.epoch, ballot.view) <= (
                    before.silent_until or (-1, -1)
                )
                is_shown = before.status is GuardStatus.LOST or (is_careful and ballot.kind != NULLIFY)
                said = f"is shown that it voted {self._ballot(ballot)}" if is_shown else self._ballot(ballot)
                self._line(name, "guard" if is_shown else "vote", said)
            case Recovered(_, epoch, view):
                self._line(host.name, "guard", f"recovered, silent until {self._view(epoch, view)}")
            case Limited(_, epoch, view):
                self._line(
                    host.name, "guard", f"goes on by the operator's word, careful until {self._view(epoch, view)}"
                )
            case Confirmed():
                self._line(host.name, "guard", "its recovery is confirmed")
            case Lost():
                self._line(host.name, "guard", "has to recover again")
            case TwinSeen():
                pass

    def _on_report(self, now_ms: int, name: str, report: Report) -> None:
        match report:
            case TwinFound(epoch, view):
                self._end(name, f"sees a twin in view {self._view(epoch, view)}, and ends")
            case StateMismatch(refused):
                self._end(name, f"finds its state to be another ({refused.rule.name}), and ends")
            case ReportStuck(epoch, view, _, heard, total, missing):
                who = self._people(missing)
                self._line(
                    name, "stuck", f"is stuck in view {self._view(epoch, view)}: {heard} of {total}, misses {who}"
                )
            case ReportRefused(refused, peer):
                self._line(name, "refused", f"refuses {'a person' if peer is None else peer}: {refused.rule.name}")

    def _end(self, name: str, why: str) -> None:
        """The process ends, as a node's does."""
        self._line(name, "trouble", why)
        self.network.at(self.network.now_ms, lambda: self.network.crash(name))

    def _line(self, name: str, kind: str, text: str) -> None:
        self._lines.append((self.network.now_ms, name, kind, text))

    def _printed(self) -> list[str]:
        """Lines of one time that say the same become one, with all their names."""
        begin_ms = self.network.genesis.created_ms
        found: dict[tuple[int, str], list[str]] = {}
        for now_ms, name, kind, text in self._lines:
            if kind in self._shown and name not in found.setdefault((now_ms, text), []):
                found[now_ms, text].append(name)
        order = list(self.network.hosts)
        said = [(now_ms, text, sorted(names, key=order.index)) for (now_ms, text), names in found.items() if names]
        return [f"{now_ms - begin_ms:>6} ms  {' '.join(names)}: {text}" for now_ms, text, names in said]

    def _key(self, name: str) -> bytes | None:
        return self._wallets[name].public_key if name in self._wallets else None

    def _people(self, keys: Iterable[bytes]) -> str:
        order = list(self._wallets)
        return " ".join(sorted((self._names[one] for one in keys), key=order.index))

    def _view(self, epoch: int, view: int) -> str:
        return f"{epoch}.{view}" if epoch else f"{view}"

    def _ballot(self, ballot: Ballot) -> str:
        view = self._view(ballot.epoch, ballot.view)
        return f"{NAMES[ballot.kind]} {view}" + (
            "" if ballot.kind == NULLIFY else f" {self._names.get(ballot.block_hash, '?')}"
        )

    def _note(self, header: Header, certificates: Iterable[AnyCertificate]) -> None:
        """Give a block its name: what it holds, and the view it was forged in."""
        if header.hash in self._names:
            return
        held = [self._title(one) for one in certificates]
        what = "+".join(held[:3]) + (f"+{len(held) - 3}more" if len(held) > 3 else "")
        name = f"{what}@{self._view(header.epoch, header.view)}"
        while name in self._names.values():
            name += "'"
        self._names[header.hash] = name

    def _title(self, certificate: AnyCertificate) -> str:
        if isinstance(certificate, Statement):
            return certificate.subject if len(certificate.subject) < 20 else "long"
        if isinstance(certificate, Evidence):
            return f"evidence({self._names[certificate.offender]})"
        return f"stake({self._names[certificate.issuer]},{certificate.amount:+})"


def merged(lines: list[tuple[str, str]]) -> list[str]:
    """Lines that say the same become one, with all their names."""
    found: dict[str, list[str]] = {}
    for name, text in lines:
        found.setdefault(text, []).append(name)
    return [f"{' '.join(names)}: {text}" for text, names in found.items()]


# ---- files ----------------------------------------------------------------------------------------------------------


def play(text: str) -> str:
    """The file with what its commands print now."""
    scenario, blocks = Scenario(), []
    for block in re.split(r"\n{2,}", text.strip("\n")):
        lines = block.split("\n")
        asked = lines[: lines.index("----")] if "----" in lines else lines
        commands = [one for one in asked if not one.startswith("#")]
        if not commands:
            blocks.append(block)
            continue
        printed = [line for command in commands for line in scenario.run(command)]
        blocks.append("\n".join([*asked, "----", *(printed or ["ok"])]))
    return "\n\n".join(blocks) + "\n"


def check(path: Path, *, rewrite: bool) -> tuple[str, str]:
    """The file as it stands, and as its commands make it now; written there if asked to."""
    expected = path.read_text(encoding="utf-8")
    actual = play(expected)
    if rewrite and actual != expected:
        path.write_text(actual, encoding="utf-8")
        return actual, actual
    return expected, actual
