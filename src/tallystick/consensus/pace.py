"""When a view's time is up. The clock runs only while there is something to do, so a quiet ledger is silent."""


class Pace:
    """The times of one view after the other, in multiples of delta."""

    def __init__(self, delta_ms: int) -> None:
        self._delta_ms = delta_ms
        self._round = (-1, -1)
        self._shares = 0
        self._repeats = 0
        self.since_ms: int | None = None
        """Since when the view has had something to do; `None`: it has nothing, and no times."""

    def look(self, now_ms: int, round_: tuple[int, int], has_work: bool) -> None:
        """Say which view it is (epoch, view), and whether it has something to do."""
        if self._round != round_ or not has_work:
            self._round, self._shares, self._repeats, self.since_ms = round_, 0, 0, None
        if has_work and self.since_ms is None:
            self.since_ms = now_ms

    def settled_ms(self) -> int | None:
        """When the finalize votes of the view before have had their time: after 1 delta."""
        return self._after(1)

    def deadline_ms(self, is_proposed: bool) -> int | None:
        """When to nullify: 2 delta for a proposal to come, 3 for the view to end."""
        return self._after(3 if is_proposed else 2)

    def share_ms(self) -> int | None:
        """When to pass on the votes heard meanwhile: after every delta."""
        return self._after(self._shares + 1)

    def shared(self, now_ms: int) -> None:
        """What was heard until now was passed on."""
        self._shares = (now_ms - (self.since_ms or now_ms)) // self._delta_ms

    def repeat_ms(self) -> int | None:
        """When to tell the others again: after 4 delta, and then at doubling intervals up to 32."""
        return self._after(sum(1 << min(2 + count, 5) for count in range(self._repeats + 1)))

    def repeated(self) -> None:
        """The others were told."""
        self._repeats += 1

    def _after(self, deltas: int) -> int | None:
        return None if self.since_ms is None else self.since_ms + deltas * self._delta_ms
