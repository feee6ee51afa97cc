"""Evidence that waits to be forged: beside the box, so that no flood of certificates keeps it out."""

from collections.abc import Iterator

from tallystick.ledger.certificate import Evidence
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.messages import Entry
from tallystick.ledger.state import State


class EvidencePool:
    """One evidence an offender: of all that is legal, the one that stays so longest, of the latest epoch."""

    def __init__(self) -> None:
        self._of: dict[bytes, Evidence] = {}

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[Evidence]:
        return iter(self._of.values())

    def __contains__(self, certificate_id: object) -> bool:
        return bool(self._of) and any(one.id == certificate_id for one in self)

    def get(self, certificate_id: bytes) -> Entry | None:
        """The evidence with this id."""
        return next((Entry(one) for one in self if one.id == certificate_id), None) if self._of else None

    def accuses(self, offender: bytes, epoch: int) -> bool:
        """Whether evidence of this epoch against the offender, or of a later one, waits."""
        held = self._of.get(offender)
        return held is not None and held.epoch >= epoch

    def add(self, evidence: Evidence, state: State, now_ms: int) -> None:
        """Raise `Refused` (V6, S6; C4 no better than what waits) unless it is taken."""
        self._check(evidence, state, now_ms)
        if self.accuses(evidence.offender, evidence.epoch):
            raise Refused(Rule.C4, f"evidence against {evidence.offender.hex()[:16]}… waits already")
        self.remove(evidence.offender)
        self._of[evidence.offender] = evidence

    def remove(self, offender: bytes) -> None:
        """Let go of what waits against this key."""
        self._of.pop(offender, None)

    def drop_illegal(self, state: State, now_ms: int = 0) -> list[tuple[bytes, Refused]]:
        """Evidence goes that is illegal in a block made now, or just after the tip. Returns its ids, and why."""
        left = []
        for evidence in list(self._of.values()):
            try:
                self._check(evidence, state, now_ms)
            except Refused as refused:
                self.remove(evidence.offender)
                left.append((evidence.id, refused))
        return left

    @staticmethod
    def _check(evidence: Evidence, state: State, now_ms: int) -> None:
        context = state.context(now_ms)
        state.check_liable(evidence, context)
        state.stakes.after([evidence], context)
