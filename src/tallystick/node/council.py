"""The node's part in Simplex: votes, proposals and standings on the wire, and what the box has for a block."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from tallystick.consensus.agreement import (
    Cast,
    Caught,
    CaughtForging,
    CaughtVoting,
    Drifted,
    Finalized,
    Holds,
    Keep,
    Lacks,
    Repeat,
    Share,
)
from tallystick.consensus.simplex import Simplex
from tallystick.ledger.block import Block, certificates_hash
from tallystick.ledger.blockchain import Blockchain, State
from tallystick.ledger.certificate import (
    AnyCertificate,
    Evidence,
    StakingOperation,
    issue_proposal_evidence,
    issue_vote_evidence,
)
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.header import SignedHeader
from tallystick.ledger.messages import (
    MAX_IDS,
    MAX_TALLIES,
    Proposal,
    ProposalCertificates,
    ProposalRequest,
    Standing,
    StandingRequest,
    Votes,
    sign_standing,
)
from tallystick.ledger.params import MAX_MESSAGE_BYTES, Params
from tallystick.ledger.vote import Ballot, Tally, Vote, tally_of
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.events import Action, Broadcast, Peer, PersistVotes, ReportRefused, ReportStuck, Send

_PARTIAL_PROPOSALS: Final = 32
_PATIENCE: Final = 4
"""Of delta, the part that gossip is given to bring the certificates of a proposal that overtook them."""

_STANDINGS_ASKED: Final = 64
_STANDING_PATIENCE: Final = 4
"""How many delta a member that may not vote yet waits for standings, while there is news, before it asks again."""
_ROUTES: Final = 256


class BoxForBlocks:
    """The certificate box, as agreement looks into it."""

    def __init__(self, box: CertificateBox, params: Params) -> None:
        self._box, self._params = box, params

    def due_ms(self, holds: Holds) -> int | None:
        """When the certificates that no block holds yet want to be forged; `None`: there are none."""
        full, after_ms = self._params.forge_at_certificates, self._params.forge_after_ms
        free = list(islice((one for one in self._box.waiting() if not holds(one.entry.certificate.id)), full))
        if not free:
            return None
        if len(free) == full:
            return free[-1].since_ms
        return None if after_ms is None else free[0].since_ms + after_ms

    def choose(self, base: State, holds: Holds) -> list[AnyCertificate]:
        """Certificates for a block on `base`, legal in this order: those that waited longest, as many as fit."""
        chosen: list[AnyCertificate] = []
        stakes, room = base.stakes, self._box.block_bytes
        for waiting in self._box.waiting():
            certificate = waiting.entry.certificate
            if holds(certificate.id):
                continue
            room -= len(certificate.encoded)
            if room < 0 or len(chosen) == self._params.max_block_certificates:
                break
            if isinstance(certificate, StakingOperation | Evidence):
                try:
                    stakes = stakes.after([certificate], base.index + 1)
                except Refused:
                    continue
            chosen.append(certificate)
        return chosen


@dataclass
class _Partial:
    """A proposal of which certificates are missing (the last in the list is looked for first).

    Gossip may bring them yet. From `ask_ms` on they are asked for: first of the sender, then (`None`) of everybody.
    """

    proposal: Proposal
    sender: Peer | None
    ask_ms: int | None
    missing: list[bytes]
    uses_box: bool = True
    certificates: dict[bytes, AnyCertificate] = field(default_factory=dict)


@dataclass
class _Route:
    """The way back for the standings that another member asked for."""

    peer: Peer
    passed_on: set[bytes] = field(default_factory=set)
    """Members whose standings went that way."""


class Council:
    """Carries out what `Simplex` decides, and feeds it what peers say."""

    def __init__(
        self,
        simplex: Simplex,
        chain: Blockchain,
        box: CertificateBox,
        finalized: Callable[[int, Finalized, list[Action]], Tally | None],
        accuse: Callable[[int, Evidence, list[Action]], None],
    ) -> None:
        self.simplex = simplex
        self._wallet = simplex.wallet
        self._chain = chain
        self._box = box
        self._waiting = BoxForBlocks(box, chain.genesis.params)
        self._finalized, self._accuse = finalized, accuse
        self._partial: dict[bytes, _Partial] = {}
        self._asked_ms: dict[bytes, int] = {}
        self._accused: dict[bytes, int] = {}
        self._standings_asked: dict[int, None] = {}
        self._asked_standing_ms = 0
        self._routes: dict[tuple[bytes, int], _Route] = {}
        self._turn = 0

    @property
    def member(self) -> bytes | None:
        """This node's own key, if it has one."""
        return self._wallet.public_key if self._wallet else None

    def ask_standing(self, now_ms: int) -> StandingRequest:
        """What a new peer is asked first: where it stands, and which vote of ours it saw last."""
        self._standings_asked[now_ms] = None
        self._asked_standing_ms = now_ms
        if len(self._standings_asked) > _STANDINGS_ASKED:
            del self._standings_asked[next(iter(self._standings_asked))]
        return StandingRequest(self.member, now_ms)

    def step(self, now_ms: int, actions: list[Action]) -> int | None:
        """Do all that agreement wants done now. Returns when it wants to be woken."""
        patience_ms = _STANDING_PATIENCE * self._chain.genesis.params.delta_ms
        if self.simplex.wants_standings and now_ms >= self._asked_standing_ms + patience_ms:
            actions.append(Broadcast(self.ask_standing(now_ms)))
        for block_hash, partial in list(self._partial.items()):
            self._complete(now_ms, block_hash, partial, actions)
        while outputs := self.simplex.step(now_ms, self._waiting):
            for output in outputs:
                match output:
                    case Cast(vote, block):
                        self._cast(vote, block, actions)
                    case Keep(tally):
                        actions.append(PersistVotes(tally))
                    case Finalized():
                        self.moved(self._finalized(now_ms, output, actions))
                    case Lacks(block_hash):
                        self._ask_for(block_hash, now_ms, actions)
                    case Drifted(ballot):
                        actions.append(ReportRefused(_drift(ballot), None))
                    case Repeat():
                        is_ready = self.simplex.is_ready  # then nobody need look for our votes far away
                        asking = StandingRequest(None, now_ms) if is_ready else self.ask_standing(now_ms)
                        actions.append(Broadcast(asking))
                        actions.append(self._explain(now_ms))
                        actions.extend(Broadcast(Votes(part)) for part in self._all_votes())
                    case Share(tallies):
                        actions.extend(Broadcast(Votes(part)) for part in in_parts(tallies))
            if all(isinstance(output, Drifted | Lacks | Share | Repeat) for output in outputs):
                break
        wakes = [self.simplex.wake_ms(now_ms, self._waiting), *(one.ask_ms for one in self._partial.values())]
        return min((one for one in wakes if one is not None), default=None)

    def moved(self, finalization: Tally | None) -> None:
        """The tip moved, by this finalization: its view is the one that the next ones follow."""
        self.simplex.moved()
        for vote in finalization.votes if finalization else ():
            self.simplex.add_vote(vote)
        wants = self.simplex.wants
        self._partial = {one: partial for one, partial in self._partial.items() if wants(partial.proposal.header)}
        self._asked_ms.clear()
        self._routes.clear()

    def _explain(self, now_ms: int) -> ReportStuck:
        simplex = self.simplex
        missing = tuple(simplex.missing())
        heard = simplex.epoch.total - sum(simplex.epoch.stake(member) for member in missing)
        since_ms = simplex.stuck_since_ms(now_ms)
        return ReportStuck(simplex.epoch.number, simplex.view, since_ms, heard, simplex.epoch.total, missing)

    def _cast(self, vote: Vote, block: Block | None, actions: list[Action]) -> None:
        tally = tally_of([vote])
        actions.append(PersistVotes(tally, block))
        if block is not None and block.header.forger == vote.member and block.header.view == vote.ballot.view:
            actions.append(Broadcast(_proposal_of(block)))
        actions.append(Broadcast(Votes((tally,))))

    def _ask_for(self, block_hash: bytes, now_ms: int, actions: list[Action]) -> None:
        delta_ms = self._chain.genesis.params.delta_ms
        partial = self._partial.get(block_hash)
        if partial is not None:
            partial.ask_ms = now_ms + delta_ms // _PATIENCE if partial.ask_ms is None else partial.ask_ms
        elif now_ms >= self._asked_ms.get(block_hash, 0) + delta_ms:
            self._asked_ms[block_hash] = now_ms
            actions.append(Broadcast(ProposalRequest(block_hash, ())))

    # ---- what peers say ---------------------------------------------------------------------------------------

    def receive(
        self,
        now_ms: int,
        peer: Peer,
        message: Votes | Standing | Proposal | ProposalCertificates,
        actions: list[Action],
    ) -> None:
        """Take what a peer says of votes and proposals; `step` then says what follows."""
        match message:
            case Votes():
                self._on_votes(now_ms, message, actions)
            case Standing():
                self._on_votes(now_ms, message, actions)
                self._on_standing(message, actions)
            case Proposal():
                self._on_proposal(now_ms, peer, message, actions)
            case ProposalCertificates():
                self._on_certificates(message)

    def answer(self, peer: Peer, request: StandingRequest | ProposalRequest, actions: list[Action]) -> None:
        """Answer what a peer asks."""
        if isinstance(request, StandingRequest):
            self._answer_standing(peer, request, actions)
        else:
            self._answer_proposal(peer, request, actions)

    def _on_votes(self, now_ms: int, votes: Votes | Standing, actions: list[Action]) -> None:
        """Count votes; contradictions become evidence."""
        caught = [self.simplex.add_vote(vote) for tally in votes.tallies for vote in tally.votes]
        self.accuse(now_ms, caught, actions)

    def compare(self, blocks: Iterable[Block]) -> list[Caught | None]:
        """What the forgers of these blocks signed besides; asked before the blocks are added, as an epoch may end."""
        return [self.simplex.add_header(block.signed_header) for block in blocks]

    def accuse(self, now_ms: int, caught: Iterable[Caught | None], actions: list[Action]) -> None:
        """Issue evidence against whoever was caught, once in an epoch."""
        epoch = self.simplex.epoch.number
        for one in caught:
            if one is None or self._wallet is None or self._accused.get(one.offender) == epoch:
                continue
            self._accused[one.offender] = epoch
            match one:
                case CaughtVoting(first, second):
                    evidence: Evidence = issue_vote_evidence(self._wallet, self._chain.ledger_id, now_ms, first, second)
                case CaughtForging(header, other):
                    evidence = issue_proposal_evidence(self._wallet, self._chain.ledger_id, now_ms, header, other)
            self._accuse(now_ms, evidence, actions)

    def _answer_standing(self, peer: Peer, request: StandingRequest, actions: list[Action]) -> None:
        """Tell a peer where this node stands, and the last vote it saw from that member."""
        if request.member is not None:
            if request.member == self.member or (request.member, request.asked_ms) in self._routes:
                return  # our own, or one that came from another side before
            self._pass_on(peer, request.member, request, actions)
        if self._wallet is None:
            return
        yours = self.simplex.last_vote_of(request.member) if request.member else None
        newest, *more = self._all_votes() or [()]
        epoch, view, own = self.simplex.epoch.number, self.simplex.view, self._wallet.public_key
        standing = Standing(own, request.member, request.asked_ms, epoch, view, yours, newest)
        actions.append(Send(peer, sign_standing(standing, self._wallet, self._chain.ledger_id)))
        actions.extend(Send(peer, Votes(part)) for part in more)

    def _pass_on(self, peer: Peer, asker: bytes, request: StandingRequest, actions: list[Action]) -> None:
        """Who asks again did not hear enough from its own peers: ours are asked too, and answer by way of us."""
        if not self.simplex.epoch.stake(asker):
            return
        asks_again = any(member == asker for member, _ in self._routes)
        self._routes[asker, request.asked_ms] = _Route(peer)
        if len(self._routes) > _ROUTES:
            del self._routes[next(iter(self._routes))]
        if asks_again:
            actions.append(Broadcast(request, but=peer))

    def _on_standing(self, standing: Standing, actions: list[Action]) -> None:
        """An answer to us, or to a member that asked by way of us."""
        if standing.asker is None:
            return
        if standing.asker == self.member:
            if standing.asked_ms in self._standings_asked and standing.epoch == self.simplex.epoch.number:
                self.simplex.heard_standing(standing.member, standing.view, standing.yours)
            return
        route = self._routes.get((standing.asker, standing.asked_ms))
        if route and self.simplex.epoch.stake(standing.member) and standing.member not in route.passed_on:
            route.passed_on.add(standing.member)
            actions.append(Send(route.peer, standing))

    def _all_votes(self) -> list[tuple[Tally, ...]]:
        """What others may lack, in two messages at most: the newest views, and of older ones another part each time."""
        parts = in_parts(self.simplex.standing())
        if len(parts) <= 2:
            return parts
        self._turn += 1
        return [parts[0], parts[1 + self._turn % (len(parts) - 1)]]

    def _on_proposal(self, now_ms: int, peer: Peer, proposal: Proposal, actions: list[Action]) -> None:
        """A header and its certificates' ids: `step` takes what the box has, and asks for the rest."""
        self.accuse(now_ms, [self.simplex.add_header(SignedHeader(proposal.header, proposal.signature))], actions)
        block_hash = proposal.header.hash
        if block_hash in self._partial or self.simplex.proposal(block_hash) or not self.simplex.wants(proposal.header):
            return
        ask_ms = now_ms + self._chain.genesis.params.delta_ms // _PATIENCE
        self._partial[block_hash] = _Partial(proposal, peer, ask_ms, list(proposal.ids))
        if len(self._partial) > _PARTIAL_PROPOSALS:
            del self._partial[next(iter(self._partial))]

    def _on_certificates(self, answer: ProposalCertificates) -> None:
        """Certificates of a proposal that were asked for."""
        partial = self._partial.get(answer.block_hash)
        if partial is not None:
            partial.certificates.update({one.id: one for one in answer.certificates})

    def _complete(self, now_ms: int, block_hash: bytes, partial: _Partial, actions: list[Action]) -> None:
        """Hand a proposal to agreement if it is whole, or ask for the rest of it if it is time to."""
        proposal, known, missing = partial.proposal, partial.certificates, partial.missing
        while missing:
            if missing[-1] not in known:
                entry = self._box.get(missing[-1]) if partial.uses_box else None
                if entry is None:
                    break
                known[missing[-1]] = entry.certificate
            missing.pop()
        if not missing:
            certificates = tuple(known[one] for one in proposal.ids)
            if certificates_hash(certificates) == proposal.header.certificates_hash:
                del self._partial[block_hash]
                self.simplex.add_block(Block(proposal.header, proposal.signature, certificates))
                return
            # The same certificates, signed another time: only the proposer's own will do.
            partial.ask_ms = now_ms if partial.uses_box else None
            partial.uses_box, partial.missing, partial.certificates = False, list(proposal.ids), {}
        if partial.ask_ms is not None and partial.ask_ms <= now_ms:
            self._ask_for_rest(now_ms, block_hash, partial, actions)

    def _ask_for_rest(self, now_ms: int, block_hash: bytes, partial: _Partial, actions: list[Action]) -> None:
        """Ask for certificates of a proposal: first whoever sent it, then everybody, then only if it is voted for."""
        lacks = [one for one in partial.missing if one not in partial.certificates]
        if partial.uses_box:
            lacks = [one for one in lacks if one not in self._box]
        for start in range(0, len(lacks), MAX_IDS):
            request = ProposalRequest(block_hash, tuple(lacks[start : start + MAX_IDS]))
            actions.append(Send(partial.sender, request) if partial.sender is not None else Broadcast(request))
        partial.ask_ms = None if partial.sender is None else now_ms + self._chain.genesis.params.delta_ms
        partial.sender = None

    def _answer_proposal(self, peer: Peer, request: ProposalRequest, actions: list[Action]) -> None:
        """Send a proposal, or the certificates of it that the peer lacks."""
        block = self.simplex.proposal(request.block_hash)
        if block is None:
            return
        if not request.ids:
            actions.append(Send(peer, _proposal_of(block)))
            return
        wanted = set(request.ids)
        certificates = tuple(one for one in block.certificates if one.id in wanted)
        actions.append(Send(peer, ProposalCertificates(request.block_hash, certificates)))


def _drift(ballot: Ballot) -> Refused:
    voted = f"more than 2/3 of the stake voted that they are {ballot.stakes_hash.hex()[:16]}…"
    advice = "stop this node, and let it fetch the chain anew with the software that the others run"
    return Refused(Rule.V5, f"block {ballot.block_hash.hex()[:16]}… leads to other stakes here; {voted}; {advice}")


def in_parts(tallies: Iterable[Tally]) -> list[tuple[Tally, ...]]:
    """Split tallies into what a message holds: `MAX_TALLIES`, and half the bytes, so that others fields have room."""
    parts: list[list[Tally]] = []
    room_bytes = 0
    for tally in tallies:
        size_bytes = len(encode(tally))
        if not parts or size_bytes > room_bytes or len(parts[-1]) == MAX_TALLIES:
            parts.append([])
            room_bytes = MAX_MESSAGE_BYTES // 2
        parts[-1].append(tally)
        room_bytes -= size_bytes
    return [tuple(part) for part in parts]


def _proposal_of(block: Block) -> Proposal:
    return Proposal(block.header, block.signature, tuple(one.id for one in block.certificates))
