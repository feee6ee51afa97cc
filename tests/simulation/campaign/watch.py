"""The checkers. They are told of every action and event of the honest hosts, and share no code with the workload."""

from collections import Counter, defaultdict
from typing import Any

from tests.simulation.campaign.books import Books, Broken
from tests.simulation.campaign.memory import check_memory

from tallystick.consensus.simplex import Simplex
from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import Blockchain, State
from tallystick.ledger.certificate import ProposalEvidence, VoteEvidence
from tallystick.ledger.header import Header
from tallystick.ledger.messages import Blocks, Proposal, Standing, Votes
from tallystick.ledger.vote import FINALIZE, NULLIFY, Ballot, Tally, Vote
from tallystick.network.simulated import SimulatedNetwork
from tallystick.network.simulated_host import SimulatedHost
from tallystick.node.events import (
    Action,
    Broadcast,
    CertificatesSubmitted,
    Disconnect,
    Event,
    ForgetCertificate,
    MessageReceived,
    PersistBlock,
    PersistVotes,
    ReportAccepted,
    ReportStuck,
    Send,
)

MOST_SKEW_MS = 200
"""How far the clocks of those that can be relied upon are off."""

_EVENTS_BETWEEN_WALKS = 150


class VoteBook:
    """Who signed what. Judges pairs of votes by itself, not by `Vote.conflicts_with`."""

    def __init__(self) -> None:
        self._said: dict[tuple[bytes, int, int], dict[Ballot, Vote]] = defaultdict(dict)

    def add(self, vote: Vote) -> Vote | None:
        """Note a vote. Returns an earlier one of its member that no honest member signs with it."""
        ballot = vote.ballot
        said = self._said[vote.member, ballot.epoch, ballot.view]
        if ballot in said:
            return None
        said[ballot] = vote
        for other, earlier in said.items():
            is_second = other.kind == ballot.kind and other != ballot
            if is_second or {other.kind, ballot.kind} == {NULLIFY, FINALIZE}:
                return earlier
        return None

    def latest(self, member: bytes) -> tuple[int, int, int] | None:
        """Epoch, view and kind of the member's latest vote; `None`: it has not voted."""
        said = (ballot for (one, *_), ballots in self._said.items() if one == member for ballot in ballots)
        return max(((one.epoch, one.view, one.kind) for one in said), default=None)

    def offenders(self) -> set[bytes]:
        """Members of whom a pair is noted that no honest member signs."""
        caught = set()
        for (member, *_), said in self._said.items():
            kinds = Counter(ballot.kind for ballot in said)
            if max(kinds.values()) > 1 or {NULLIFY, FINALIZE} <= kinds.keys():
                caught.add(member)
        return caught


class Watch:
    """Looks at every honest host: plain `SimulatedHost`s, whatever their names. Raises `Broken`."""

    def __init__(self, network: SimulatedNetwork, *, may_conflict: bool = False) -> None:
        self.books = Books(network.genesis)
        self.promised: dict[bytes, str] = {}
        """Certificates that a person was told are taken, and by which host."""
        self.seen = VoteBook()
        """All votes that honest hosts sent, kept or heard."""
        self.conflicts: list[tuple[Block, Block]] = []
        self.stuck = 0
        self.genesis = network.genesis
        self._network = network
        self._may_conflict = may_conflict
        self._replay = Blockchain(network.genesis, Simplex().check_forger)
        self.states: list[State] = [self._replay.state]
        self._signed = VoteBook()
        self._forged: dict[tuple[bytes, int, int], Header] = {}
        self._accepted: set[bytes] = set()
        self._looked: dict[str, tuple[Any, int]] = {}
        self._walked: Counter[str] = Counter()
        self._heard: dict[str, tuple[Any, VoteBook]] = {}
        self._accused: dict[bytes, tuple[SimulatedHost, Any]] = {}
        network.on_action = self.on_action
        network.on_event = self.on_event

    @property
    def honest(self) -> dict[str, SimulatedHost]:
        """The hosts that keep to the protocol."""
        return {name: host for name, host in self._network.hosts.items() if type(host) is SimulatedHost}

    def latest_signed(self, member: bytes) -> tuple[int, int, int] | None:
        """Epoch, view and kind of the latest vote that an honest member signed; `None`: it has signed none."""
        return self._signed.latest(member)

    def restored(self, name: str) -> None:
        """A host starts from an old backup: what was handed in since, and told to nobody, is gone with its disk."""
        others = [host for host in self.honest.values() if host.name != name]
        kept = {entry.certificate.id for entry in self.honest[name].archive.waiting()} | self.books.certificates.keys()
        for one in [one for one, taken_by in self.promised.items() if taken_by == name and one not in kept]:
            if not any(host.is_up and one in host.node.box for host in others):
                del self.promised[one]

    # ---- after each action --------------------------------------------------------------------------------------

    def on_action(self, host: SimulatedHost, action: Action) -> None:
        """Look at what a host is about to do."""
        if type(host) is not SimulatedHost:
            return
        match action:
            case PersistVotes(tally, block):
                self._check_own(host, [tally])
                if block is not None:
                    self._check_own_header(host, block.header)
            case Broadcast(Proposal(header)):
                self._check_own_header(host, header)
            case Send(_, Votes(tallies)) | Broadcast(Votes(tallies)) | Send(_, Standing(tallies=tallies)):
                self._check_own(host, tallies)
            case PersistBlock(block, _, finalization):
                self._check_block(host, block, finalization)
            case ReportAccepted(certificate):
                self._accepted.add(certificate.id)
            case ForgetCertificate(certificate_id):
                self.promised.pop(certificate_id, None)
            case ReportStuck():
                self.stuck += 1
            case Disconnect(peer, refused):
                if type(self._network.hosts.get(str(peer))) is SimulatedHost:
                    raise Broken(f"{host.name} cuts off {peer}, which is honest: {refused}")

    def _check_own(self, host: SimulatedHost, tallies: Any) -> None:
        """No honest key signs a pair of votes that costs its stake, crashes included."""
        wallet = host.agreement.wallet
        for tally in tallies:
            for member, signature in tally.signatures:
                vote = Vote(tally.ballot, member, signature)
                self.seen.add(vote)
                if wallet is not None and member == wallet.public_key:
                    earlier = self._signed.add(vote)
                    if earlier is not None:
                        raise Broken(f"{host.name} signed two votes that conflict: {earlier.ballot} and {tally.ballot}")

    def _check_own_header(self, host: SimulatedHost, header: Header) -> None:
        wallet = host.agreement.wallet
        if wallet is not None and header.forger == wallet.public_key:
            place = (header.forger, (header.index - 1) // self.genesis.params.epoch_blocks, header.view)
            if self._forged.setdefault(place, header) != header:
                raise Broken(f"{host.name} forged two blocks in view {header.view} of epoch {place[1]}")

    def _check_block(self, host: SimulatedHost, block: Block, finalization: Tally | None) -> None:
        """No two honest hosts have different final blocks at one index; what is final was voted to be so."""
        known = self.books.blocks
        for vote in finalization.votes if finalization else ():
            self.seen.add(vote)
        if block.index <= len(known):
            if known[block.index - 1].hash != block.hash:
                self.conflicts.append((known[block.index - 1], block))
        elif not self.conflicts:
            self.books.add(block)
            ahead_ms = self.genesis.params.block_ahead_ms
            if block.header.timestamp_ms > self._network.now_ms + ahead_ms + MOST_SKEW_MS:
                raise Broken(f"block {block.index} is final, and dated ahead of every clock that can be relied upon")
            self._replay.append(block, None)
            self.states.append(self._replay.state)
        if self.conflicts:
            if not self._may_conflict:
                raise Broken(f"two blocks are final at index {block.index}, the second one at {host.name}")
        elif finalization is not None:
            self.books.check_final(block, finalization)

    # ---- after each event ---------------------------------------------------------------------------------------

    def on_event(self, host: SimulatedHost, event: Event) -> None:
        """Look at what an event has made of a host."""
        if type(host) is not SimulatedHost:
            return
        match event:
            case CertificatesSubmitted((checked,)):
                certificate_id = checked.entry.certificate.id
                if certificate_id in self._accepted:
                    self.promised[certificate_id] = host.name
            case MessageReceived(_, checked) if isinstance(checked.message, Votes | Standing):
                self._note_heard(host, checked.message.tallies)
            case MessageReceived(_, checked) if isinstance(checked.message, Blocks) and checked.message.finalization:
                for vote in checked.message.finalization.votes:
                    self.seen.add(vote)
        self._accepted.clear()
        if not self.conflicts:
            self._check_state(host)
        self._walked[host.name] += 1
        if self._walked[host.name] % _EVENTS_BETWEEN_WALKS == 0:
            check_memory(host.name, host.node)

    def _check_state(self, host: SimulatedHost) -> None:
        """The node's state is what the replay of its blocks gives; its tokens are those of the books."""
        node, state = host.node, host.node.state
        if self._looked.get(host.name) == (node, state.index):
            return
        self._looked[host.name] = (node, state.index)
        if state.index >= len(self.states) or state != self.states[state.index]:
            raise Broken(f"the state of {host.name} at index {state.index} is not what replay gives")
        if state.stakes.total != self.books.tokens:
            raise Broken(f"{host.name} counts {state.stakes.total} tokens, there are {self.books.tokens}")
        if state.index == len(self.books.blocks):
            for key in self.books.free | self.books.staked:
                account = state.stakes.account(key)
                leaving = sum(amount for one, _, amount in self.books.leaving if one == key)
                ours = (self.books.staked[key], self.books.free[key] + leaving + self.books.staked[key])
                if (account.staked, account.total) != ours:
                    raise Broken(f"{host.name} counts {account} for a key that has {ours}")

    def _note_heard(self, host: SimulatedHost, tallies: Any) -> None:
        """A pair that conflicts, heard by a member in its own view, has to end as evidence on the chain."""
        agreement, node = host.agreement, host.node
        if host.name not in self._heard or self._heard[host.name][0] is not node:
            self._heard[host.name] = (node, VoteBook())
        heard = self._heard[host.name][1]
        for tally in tallies:
            ballot = tally.ballot
            is_counted = ballot.kind == FINALIZE or ballot.stakes_hash == agreement.epoch.hash
            is_current = is_counted and ballot.epoch == agreement.epoch.number
            for vote in tally.votes:
                self.seen.add(vote)
                is_now = is_current and ballot.view >= agreement.view and agreement.epoch.stake(vote.member)
                if is_now and heard.add(vote) and agreement.wallet is not None:
                    self._accused[vote.member] = (host, node)

    # ---- in the end ---------------------------------------------------------------------------------------------

    def missing(self) -> list[bytes]:
        """What was promised and is not on the chain."""
        return [one for one in self.promised if one not in self.books.certificates]

    def is_settled(self) -> bool:
        """All that was promised is final at every honest host, and they agree."""
        length = len(self.books.blocks)
        return all(host.is_up and host.node.state.index == length for host in self.honest.values()) and (
            not self.missing()
        )

    def unpunished(self) -> set[bytes]:
        """Whom an honest member, still running, heard contradict itself, and of whom no evidence is on the chain."""
        guilty = {member for member, (host, node) in self._accused.items() if host.is_up and host.node is node}
        return guilty - self.books.punished

    def evidence(self) -> int:
        """Certificates of evidence on the chain."""
        return sum(
            isinstance(one, VoteEvidence | ProposalEvidence)
            for block in self.books.blocks
            for one in block.certificates
        )

    def check_outcome(self) -> None:
        """Once all is settled: what was promised, replay, boxes, memory."""
        if self.missing():
            raise Broken(f"{len(self.missing())} certificates were taken, and are not on the chain")
        if self.unpunished():
            raise Broken(
                f"no evidence against {len(self.unpunished())} members that were heard to contradict themselves"
            )
        for name, host in self.honest.items():
            replay = Blockchain(self.genesis, Simplex().check_forger)
            for block in host.archive.blocks():
                replay.append(block, None)
            if replay.state != host.node.state:
                raise Broken(f"replay of what {name} kept gives another state")
            both = [one.id for one in host.node.box if one.id in self.books.certificates]
            if both:
                raise Broken(f"{len(both)} certificates are on the chain and in the box of {name}")
            check_memory(name, host.node)
