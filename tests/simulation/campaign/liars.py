"""Byzantine members that answer others with lies, or say again what was said before."""

from collections import deque
from collections.abc import Callable

from msgspec.structs import replace
from tests.builders import sign_block
from tests.simulation.campaign.byzantine import Byzantine

from tallystick.ledger.certificate import issue_statement
from tallystick.ledger.messages import (
    Blocks,
    Finalizations,
    Message,
    RecoveryRequest,
    RecoveryResponse,
    Status,
    encode_message,
)
from tallystick.ledger.transition import make_header
from tallystick.ledger.vote import FINALIZE, Ballot, tally_of
from tallystick.ledger.wallet import sign
from tallystick.node.events import Peer

_HEARD = 120
"""Messages that a replayer remembers."""


class LyingSyncer(Byzantine):
    """Boasts of a long chain, and answers who asks for blocks with whatever might be taken for one."""

    def say(self, peer: str, message: Message) -> None:
        if isinstance(message, Status):
            self.tell(peer, replace(message, tip_index=message.tip_index + self.random.randint(1, 40)))
        elif isinstance(message, Blocks):
            lies: list[Callable[[Blocks], Blocks | None]] = [
                *(self._altered, self._reordered, self._foreign, self._unfinished, self._by_too_few),
                *[self._mislabelled] * 4,
                *[self._made_up] * 2,
                *(lambda answer: answer, lambda answer: None, lambda answer: Blocks(answer.start, ())),
            ]
            lie = self.random.choice(lies)(message)
            if lie is not None:
                self.tell(peer, lie)
        elif isinstance(message, Finalizations) and message.proofs:
            proof = self.random.choice([self._other_members, self._proven_by_too_few, self._backwards])
            self.tell(peer, proof(message) if self.random.random() < 0.4 else message)
        else:
            self.tell(peer, message)

    def _other_members(self, answer: Finalizations) -> Finalizations:
        """The coalition alone has stake in the next epoch."""
        members = tuple(sorted((one.public_key, 1_000) for one in self.coalition))
        return Finalizations((*answer.proofs[:-1], replace(answer.proofs[-1], members=members)))

    def _proven_by_too_few(self, answer: Finalizations) -> Finalizations:
        last = answer.proofs[-1]
        few = replace(last, finalization=tally_of(last.finalization.votes[:1]))
        return Finalizations((*answer.proofs[:-1], few))

    def _backwards(self, answer: Finalizations) -> Finalizations:
        return Finalizations(answer.proofs[::-1])

    def _altered(self, answer: Blocks) -> Blocks:
        at_ms = self.network.now_ms
        fresh = issue_statement(self.wallet, self.network.genesis.ledger_id, at_ms, "slipped in")
        return replace(answer, blocks=tuple(
            self.make(block, certificates=(*block.certificates, fresh)) for block in answer.blocks
        ))  # fmt: skip

    def _reordered(self, answer: Blocks) -> Blocks:
        return replace(answer, blocks=answer.blocks[::-1])

    def _foreign(self, answer: Blocks) -> Blocks:
        return replace(answer, blocks=tuple(self.make(one, ledger_id=bytes(32)) for one in answer.blocks))

    def _unfinished(self, answer: Blocks) -> Blocks:
        return replace(answer, finalization=None)

    def _by_too_few(self, answer: Blocks) -> Blocks:
        if answer.finalization is None:
            return answer
        some = [one for one in answer.finalization.votes if self.random.random() < 0.6]
        return replace(answer, finalization=tally_of(some or answer.finalization.votes[:1]))

    def _mislabelled(self, answer: Blocks) -> Blocks:
        """The finalization of another block, epoch or kind."""
        kept = [self.archive.finalization(block.index) for block in self.archive.blocks()]
        known = [one for one in kept if one is not None and one != answer.finalization]
        return replace(answer, headers=(), finalization=self.random.choice(known) if known else None)

    def _made_up(self, answer: Blocks) -> Blocks:
        """Blocks that nobody ever saw, forged by the coalition in views that are its own, finalized by it alone."""
        state, blocks = self.node.state, list(answer.blocks)[:-1]
        parent = blocks[-1].header if blocks else state.tip
        if parent.index + 1 < answer.start:
            return Blocks(answer.start, ())
        keys = {one.public_key: one for one in self.coalition}
        views = range(parent.view + 1, parent.view + 60)
        view, forger = next(((one, keys[key]) for one in views if (key := self.leader(one)) in keys), (0, None))
        if forger is None:
            return answer
        fresh = issue_statement(forger, self.network.genesis.ledger_id, self.network.now_ms, "made up")
        header = make_header(state, view, parent.timestamp_ms, forger.public_key, (fresh,))
        place = {"index": parent.index + 1, "parent_hash": parent.hash, "epoch": parent.epoch}
        block = sign_block(replace(header, timestamp_ms=parent.timestamp_ms + 1, **place), (fresh,), forger)
        ballot = Ballot(FINALIZE, parent.epoch, view, block.hash)
        votes = tally_of([self.sign(one, ballot) for one in self.coalition])
        return Blocks(answer.start, (*blocks, block), (), votes)


class StaleReplayer(Byzantine):
    """Says again, to anybody and at any time, what it once heard or said itself."""

    def __init__(self, *arguments, **more) -> None:
        self._heard: deque[bytes] = deque(maxlen=_HEARD)
        super().__init__(*arguments, **more)

    def say(self, peer: str, message: Message) -> None:
        self._heard.append(encode_message(message))
        self.tell(peer, message)

    def receive(self, peer: Peer, data: bytes) -> None:
        if self.is_up:
            self._heard.append(data)
            others = self.others()
            if self.random.random() < 0.3 and others:
                self.tell(self.random.choice(others), self.random.choice(self._heard))
        super().receive(peer, data)


class LyingAnswerer(Byzantine):
    """Answers who lost its guard with any view but its own, and other votes than it holds; and asks without a loss."""

    def say(self, peer: str, message: Message) -> None:
        is_own = isinstance(message, RecoveryResponse) and message.member == self.wallet.public_key
        if not is_own:
            if not isinstance(message, RecoveryRequest | RecoveryResponse) or self.random.random() < 0.5:
                self.tell(peer, message)
            return
        lies: list[Callable[[RecoveryResponse], RecoveryResponse]] = [
            *[self._of_an_older_view] * 4,
            lambda answer: replace(answer, view=answer.view + self.random.randint(1, 60)),
            lambda answer: replace(answer, view=max(1, answer.view - 1)),
            lambda answer: replace(answer, view=1, entered_by=None),
            lambda answer: replace(answer, entered_by=None),
            lambda answer: replace(answer, epoch=answer.epoch + self.random.choice([-1, 1]) * bool(answer.epoch)),
            lambda answer: replace(answer, votes=()),
            lambda answer: replace(answer, votes=tuple(self.simplex.views.rebroadcast())),
            lambda answer: replace(answer, nonce=self.random.randbytes(32)),
        ]
        for lie in [*self.random.sample(lies, 2), lambda answer: answer][: self.random.randint(1, 3)]:
            self.tell(peer, self._signed(lie(message)))

    def hear(self, peer: str, message: Message) -> None:
        if self.random.random() < 0.02:
            self.tell(peer, self._signed(RecoveryRequest(self.wallet.public_key, self.random.randbytes(32))))

    def _of_an_older_view(self, answer: RecoveryResponse) -> RecoveryResponse:
        """A view that it has passed long ago, with its certificate, and no vote from later ones."""
        kept = self.archive.view_certificates(answer.epoch, 1, answer.view)
        old = [one for one in kept if self.epoch.is_quorum(sum(self.epoch.stake(key) for key, _ in one.signatures))]
        if not old or answer.epoch != self.epoch.number:
            return replace(answer, votes=())
        chosen = self.random.choice(old)
        votes = tuple(one for one in answer.votes if one.ballot.view <= chosen.ballot.view)
        return replace(answer, view=chosen.ballot.view + 1, entered_by=chosen, votes=votes)

    def _signed(self, message):
        return sign(message, self.wallet, self.network.genesis.ledger_id)


class Twins(Byzantine):
    """One key on two machines, each with its own archive; both follow the protocol, and neither knows of the other."""
