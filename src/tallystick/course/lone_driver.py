"""Drives the lone forger: blocks are final as they come from their forger, and this node forges when it is its turn."""

from collections.abc import Callable
from typing import Final

from tallystick.consensus.agreement import Finalized, TwinFound
from tallystick.consensus.signing_guard import Confirmed, GuardStatus, Recovered
from tallystick.course.lone_forger import LoneForger
from tallystick.ledger.block import Block
from tallystick.ledger.blockchain import NOTHING, Blockchain, CheckForger
from tallystick.ledger.errors import Refused
from tallystick.ledger.finality import Finalization
from tallystick.ledger.messages import NewBlock
from tallystick.ledger.vote import Tally
from tallystick.node.agreement import Agreement, AgreementStatus, Step, status_of
from tallystick.node.archive import Archive
from tallystick.node.certificate_box import CertificateBox
from tallystick.node.events import Action, Broadcast, PersistSigned, ReportRefused
from tallystick.node.finality_proofs import Finality, TrustedBlock
from tallystick.node.limits import Limits

_IDLE: Final = Step()


class LoneDriver(Agreement):
    """The lone forger's rule, as a node drives it."""

    _chain: Blockchain
    _box: CertificateBox

    def __init__(self, forger: LoneForger) -> None:
        self._forger = forger
        self._waits_when_behind = True
        self.wallet = forger.guard.wallet if forger.guard is not None else None

    @property
    def check_forger(self) -> CheckForger:
        return self._forger.check_forger

    def finality(self, chain: Blockchain, limits: Limits, trusted_block: TrustedBlock | None) -> Finality:
        """A trusted block is looked at when the kept chain is read."""
        self._waits_when_behind = limits.waits_when_behind
        return Finality(chain.state.params, limits.range_blocks)

    def start(self, chain: Blockchain, box: CertificateBox, archive: Archive | None) -> None:
        self._chain, self._box = chain, box
        guard, tip = self._forger.guard, chain.state.tip
        if guard is not None and guard.status is GuardStatus.LOST and guard.is_loss_accepted:
            # Nobody else has signed, so nobody else can tell.
            guard.note(Recovered(guard.ledger_id, tip.epoch, tip.view))
            guard.note(Confirmed(guard.ledger_id))
        self.tip_advanced(None)

    def step(self, now_ms: int, is_behind: Callable[[], bool], actions: list[Action]) -> Step:
        """A turn at an index that others have passed is over: taking it would part the chain."""
        state, params, guard = self._chain.state, self._chain.state.params, self._forger.guard
        if guard is not None and guard.twin is not None and (records := guard.take_records()):
            actions += [PersistSigned(records), TwinFound(*guard.twin)]
        is_due = guard is not None and len(self._box) >= params.forge_at_certificates
        if not is_due or (self._waits_when_behind and is_behind()) or not self._forger.may_forge(state):
            return _IDLE
        if params.block_ahead_ms is not None and now_ms <= state.tip.timestamp_ms:
            return Step(wake_ms=state.tip.timestamp_ms + 1)  # never forge ahead of the own clock (B8)
        chosen = self._box.choose(now_ms, state, NOTHING)
        block = self._forger.forge(now_ms, state, chosen) if chosen else None
        if block is None:
            return Step(wake_ms=now_ms if chosen else None)
        try:
            after = self._chain.after(block)
        except Refused as refused:  # a forger rule that is not this project's own may forge what is illegal
            actions.append(ReportRefused(refused, None))
            return Step()
        return Step(Finalized((block,), (after,), None))

    def added(self, finalized: Finalized, actions: list[Action]) -> None:
        """The block is kept before the guard is synced: a crash in between leaves it as the floor."""
        if self._forger.guard is not None:
            actions.append(PersistSigned(self._forger.guard.take_records()))
        actions.extend(Broadcast(NewBlock(block)) for block in finalized.blocks)

    def compare(self, blocks: tuple[Block, ...], finalization: Tally | None) -> None:
        """Only own headers are looked at; on the course's ledger blocks are made by hand, too."""
        guard = self._forger.guard
        for block in blocks if guard is not None and not self._chain.state.params.mint_freely else ():
            if guard is not None and block.header.forger == guard.key:
                guard.saw(block.header)

    def tip_advanced(self, finalization: Finalization | None) -> None:
        tip = self._chain.state.tip
        if self._forger.guard is not None and tip.index:
            self._forger.guard.raise_floor(tip.epoch, tip.view)

    def status(self) -> AgreementStatus:
        return status_of("lone forger", self._chain.state.index + 1, self._forger.guard, self._chain.state)
