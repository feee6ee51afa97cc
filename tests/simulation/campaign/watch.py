"""The checkers. They are told of every action and event of the honest hosts, and share no code with the workload."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from tests.simulation.campaign.books import Books, Broken
from tests.simulation.campaign.governed_books import GovernedBooks
from tests.simulation.campaign.memory import check_memory

from tallystick.consensus.agreement import PersistQuorum, StateMismatch, TwinFound
from tallystick.consensus.signing_guard import (
    Confirmed,
    Cosigned,
    GuardRecord,
    GuardStatus,
    Limited,
    Lost,
    Recovered,
    Signed,
)
from tallystick.consensus.simplex import Simplex
from tallystick.ledger.block import Block, verified
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import ProposalEvidence, Statement, VoteEvidence
from tallystick.ledger.checkpoint import Cosignature
from tallystick.ledger.header import Header
from tallystick.ledger.messages import Blocks, Cosignatures, Proposal, RecoveryResponse, Votes
from tallystick.ledger.stake import BlockContext
from tallystick.ledger.state import State
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
    PersistFinalization,
    PersistSigned,
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
        self.books = (GovernedBooks if network.genesis.founders else Books)(network.genesis)
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
        self._guarded: dict[str, set[Ballot | bytes]] = defaultdict(set)
        """By host: the ballots, and hashes of headers, that its guard was synced with."""
        self._without_floor: set[str] = set()
        """Hosts whose guard was lost, and not synced since with what makes it sign again."""
        self._forged: dict[tuple[bytes, int, int], Header] = {}
        self._cosigned: dict[bytes, Cosignature] = {}
        """By member: what it cosigned last."""
        self._root_of: dict[int, bytes] = {}
        self._rooted = 0
        self._countersigned: dict[str, tuple[int, int]] = {}
        self._accepted: dict[bytes, Any] = {}
        self._evidence: dict[bytes, tuple[bytes, int]] = {}
        self._statements: dict[bytes, bytes] = {}
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

    def lost_guard(self, name: str, set_back: Iterable[GuardRecord]) -> None:
        """A host's guard is gone, or set back to these records: what it signed is not known any more."""
        self._guarded[name].clear()
        for record in set_back:
            self._note_synced(self.honest[name], record)
        self._without_floor.add(name)

    def restored(self, name: str) -> None:
        """A host starts from an old backup: what was submitted since is gone, if the others restart, too."""
        kept = {entry.certificate.id for entry in self.honest[name].archive.waiting()} | self.books.certificates.keys()
        for one in [one for one, taken_by in self.promised.items() if taken_by == name and one not in kept]:
            del self.promised[one]

    # ---- after each action --------------------------------------------------------------------------------------

    def on_action(self, host: SimulatedHost, action: Action) -> None:
        """Look at what a host is about to do."""
        if type(host) is not SimulatedHost:
            return
        match action:
            case PersistSigned(records):
                for one in records:
                    self._note_synced(host, one)
            case PersistQuorum(tallies, blocks):
                self._check_own(host, tallies)
                for block in blocks:
                    self._check_own_header(host, block.header)
            case Broadcast(Proposal() as said) | Send(_, Proposal() as said):
                self._check_own_header(host, said.header)
            case Send(_, Votes(tallies)) | Broadcast(Votes(tallies)):
                self._check_own(host, tallies)
            case Send(_, RecoveryResponse() as said) if said.member == _key_of(host):
                self._check_own(host, [said.entered_by] if said.entered_by else [])
            case PersistBlock(block, _, finalization, roots, members):
                self._check_block(host, block, finalization)
                if not self.conflicts:
                    self.books.check_proof(block, roots, members)
            case PersistFinalization(index, finalization):
                if not self.conflicts:
                    self.books.check_final(self.books.blocks[index - 1], finalization)
            case Broadcast(Cosignatures(cosignatures)):
                for signed in cosignatures:
                    self._check_cosigned(host, signed)
            case ReportAccepted(certificates):
                for certificate in certificates:
                    self._accepted[certificate.id] = certificate
                    if isinstance(certificate, Statement):
                        self._statements[certificate.id] = certificate.issuer
                    if isinstance(certificate, VoteEvidence | ProposalEvidence):
                        self._evidence[certificate.id] = (certificate.offender, certificate.epoch)
            case ForgetCertificate(certificate_id):
                self._check_forgotten(host, certificate_id)
            case ReportStuck():
                self.stuck += 1
            case TwinFound(epoch, view):
                raise Broken(f"{host.name} takes another machine for its twin, in view {view} of epoch {epoch}")
            case StateMismatch(refused):
                raise Broken(f"{host.name} finds that its state is not the ledger's: {refused}")
            case Disconnect(peer, refused):
                if type(self._network.hosts.get(str(peer))) is SimulatedHost:
                    raise Broken(f"{host.name} cuts off {peer}, which is honest: {refused}")

    def _check_cosigned(self, host: SimulatedHost, one: Cosignature) -> None:
        """No member cosigns a smaller log later, nor another root of one size, nor one that is not the ledger's."""
        if one.member != _key_of(host):
            return
        if Cosigned(self.genesis.ledger_id, one.size, one.root, one.time_s) not in host.guard_records:
            raise Broken(f"{host.name} cosigns a log of {one.size} that its guard does not hold")
        last = self._cosigned.get(one.member, one)
        if one.size < last.size:
            raise Broken(f"{host.name} cosigns a log of {one.size} certificates after one of {last.size}")
        if one.size == last.size and (one.root != last.root or one.time_s < last.time_s):
            raise Broken(f"{host.name} cosigns a log of {one.size} certificates twice")
        self._cosigned[one.member] = one
        if not self.conflicts and self._roots().get(one.size) != one.root:
            raise Broken(f"{host.name} cosigns a log of {one.size} certificates that is not the ledger's")

    def _roots(self) -> dict[int, bytes]:
        """By size of the log."""
        for state in self.states[self._rooted :]:
            self._root_of.setdefault(state.log.size, state.log.root())
        self._rooted = len(self.states)
        return self._root_of

    def _check_countersigned(self, host: SimulatedHost) -> None:
        """What a host takes for countersigned is the state of the agreed chain, by a quorum of that block's epoch."""
        found = host.node.checkpoint
        if found is None or self._countersigned.get(host.name) == (found.state.index, len(found.cosignatures)):
            return
        self._countersigned[host.name] = found.state.index, len(found.cosignatures)
        state, before = self.states[found.state.index], self.states[found.state.index - 1]
        if found.state != state or found.voters.hash != state.voters:
            raise Broken(f"{host.name} has a countersigned checkpoint at block {state.index} of another state")
        signed = {
            one.member for one in found.cosignatures if (one.size, one.root) == (state.log.size, state.log.root())
        }
        if 3 * sum(before.epoch.stake(one) for one in signed) <= 2 * before.epoch.total:
            raise Broken(f"{host.name} takes a checkpoint for countersigned that is not")
        if not all(one.is_signed(self.genesis.origin, self._network.verify) for one in found.cosignatures):
            raise Broken(f"{host.name} counts a cosignature that is not signed")

    def _note_synced(self, host: SimulatedHost, record: GuardRecord) -> None:
        match record:
            case Signed(_, _, _, header_hash, ballot):
                self._guarded[host.name] |= {ballot or b"", header_hash or b""}
            case Lost():
                self._without_floor.add(host.name)
            case Recovered() | Limited() | Confirmed():
                self._without_floor.discard(host.name)

    def _check_own(self, host: SimulatedHost, tallies: Iterable[Tally]) -> None:
        """No honest key signs a pair of votes that costs its stake, crashes included; its guard holds them all."""
        key = _key_of(host)
        for tally in tallies:
            for vote in tally.votes:
                self.seen.add(vote)
                if key is None or vote.member != key:
                    continue
                if (earlier := self._signed.add(vote)) is not None:
                    raise Broken(f"{host.name} signed two votes that conflict: {earlier.ballot} and {tally.ballot}")
                self._check_guarded(host, vote.ballot, vote.ballot.epoch, vote.ballot.view)

    def _check_own_header(self, host: SimulatedHost, header: Header) -> None:
        if header.forger != _key_of(host):
            return
        place = (header.forger, header.epoch, header.view)
        if self._forged.setdefault(place, header) != header:
            raise Broken(f"{host.name} forged two blocks in view {header.view} of epoch {header.epoch}")
        self._check_guarded(host, header.hash, header.epoch, header.view)

    def _check_guarded(self, host: SimulatedHost, signed: Ballot | bytes, epoch: int, view: int) -> None:
        guard = host.simplex.guard
        if guard.status is GuardStatus.LOST:
            return  # it signs nothing, and passes on what others, or its database, show of its votes
        if (epoch, view) <= guard.floor:
            return
        if signed not in self._guarded[host.name]:
            raise Broken(f"{host.name} lets out what its guard does not hold: {signed!r}")
        if host.name in self._without_floor:
            raise Broken(f"{host.name} signs, and would not know after a restart from which view on it may")

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
            assert ahead_ms is not None
            if block.header.timestamp_ms > self._network.now_ms + ahead_ms + MOST_SKEW_MS:
                raise Broken(f"block {block.index} is final, and dated ahead of every clock that can be relied upon")
            self._replay.append(verified(block))
            if self._replay.state.roots.hash != block.header.state_root:
                raise Broken(f"block {block.index} is final, and commits to another state than it leads to")
            self.states.append(self._replay.state)
        if self.conflicts:
            if not self._may_conflict:
                raise Broken(f"two blocks are final at index {block.index}, the second one at {host.name}")
        elif finalization is not None:
            self.books.check_final(block, finalization)

    def _check_forgotten(self, host: SimulatedHost, certificate_id: bytes) -> None:
        """What became illegal is promised no more; evidence does so only when there is nothing left to burn for it."""
        self.promised.pop(certificate_id, None)
        issuer = self._statements.get(certificate_id)
        if issuer is not None and isinstance(self.books, GovernedBooks) and self.books.may_certify(issuer):
            raise Broken(f"{host.name} lets go of what a key certified that may certify")
        if certificate_id not in self._evidence:
            return
        offender, epoch = self._evidence[certificate_id]
        tip = host.node.state.tip
        if not self.books.is_liable(epoch, tip.index + 1, tip.timestamp_ms + 1):
            self._accused.pop(offender, None)

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
            case MessageReceived(_, checked) if isinstance(checked.message, Votes):
                self._note_heard(host, checked.message.tallies)
            case MessageReceived(_, checked) if isinstance(checked.message, Blocks) and checked.message.finalization:
                for vote in checked.message.finalization.votes:
                    self.seen.add(vote)
        self._accepted.clear()
        if not self.conflicts:
            self._check_state(host)
            self._check_countersigned(host)
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
        if isinstance(self.books, GovernedBooks):
            if state.index == len(self.books.blocks):
                self._check_governed(host.name, state, self.books)
            return
        if state.stakes.total != self.books.tokens:
            raise Broken(f"{host.name} counts {state.stakes.total} tokens, there are {self.books.tokens}")
        if state.index == len(self.books.blocks):
            for key in self.books.free | self.books.staked:
                account, liable = state.stakes.account(key), self.books.liable(key)
                ours = (self.books.staked[key], self.books.free[key] + liable)
                if (account.staked, account.total) != ours:
                    raise Broken(f"{host.name} counts {account} for a key that has {ours}")

    @staticmethod
    def _check_governed(name: str, state: State, books: GovernedBooks) -> None:
        """Members, stakes and open motions are those of the books."""
        if state.directory.member_keys != set(books.members.values()):
            raise Broken(f"{name} has other members than motions made")
        if state.motions.open.keys() != books.motions.keys():
            raise Broken(f"{name} has other motions open than were moved and not decided")
        tip = state.tip
        for key in books.staked:
            account = state.stakes.account(key).at(BlockContext(tip.epoch, tip.index, tip.timestamp_ms))
            if (account.staked, account.liable) != (books.staked[key], books.liable(key)):
                raise Broken(
                    f"{name} counts {account} for a key that has {books.staked[key]}, {books.liable(key)} liable"
                )

    def _note_heard(self, host: SimulatedHost, tallies: Iterable[Tally]) -> None:
        """A pair that conflicts, heard by a member in its own view, has to end as evidence on the chain."""
        simplex, node = host.simplex, host.node
        if host.name not in self._heard or self._heard[host.name][0] is not node:
            self._heard[host.name] = (node, VoteBook())
        heard = self._heard[host.name][1]
        for tally in tallies:
            ballot = tally.ballot
            is_current = ballot.epoch == simplex.epoch.number and ballot.view >= simplex.view
            for vote in tally.votes:
                self.seen.add(vote)
                counts = is_current and simplex.epoch.stake(vote.member)
                if counts and heard.add(vote) and host.agreement.wallet is not None:
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
        self._check_tip_is_countersigned()
        for name, host in self.honest.items():
            replay = Blockchain(self.genesis, Simplex().check_forger)
            for block in host.archive.blocks():
                replay.append(verified(block))
            if replay.state != host.node.state:
                raise Broken(f"replay of what {name} kept gives another state")
            both = [one.id for one in host.node.box if one.id in self.books.certificates]
            if both:
                raise Broken(f"{len(both)} certificates are on the chain and in the box of {name}")
            check_memory(name, host.node)

    def _check_tip_is_countersigned(self) -> None:
        """If a quorum cosigned the last block's log, everybody knows that by now."""
        if len(self.states) < 2 or self.conflicts:
            return
        tip, epoch = self.states[-1], self.states[-2].epoch
        signed = [member for member, one in self._cosigned.items() if one.size == tip.log.size]
        if 3 * sum(map(epoch.stake, signed)) <= 2 * epoch.total:
            return
        for name, host in self.honest.items():
            if host.node.checkpoint is None or host.node.checkpoint.state != tip:
                raise Broken(f"{name} does not know that the last block is countersigned")


def _key_of(host: SimulatedHost) -> bytes | None:
    return host.agreement.wallet.public_key if host.agreement.wallet is not None else None
