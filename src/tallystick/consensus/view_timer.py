"""When a view's time is up. The clock runs only while there is something to do, so a quiet ledger is silent."""

from typing import Final

MAX_TIMEOUT_MS: Final = 30_000
"""A view's timeout grows up to this, or to eight times its base if that is longer: a ledger is slow, not still."""

_FREE_VIEWS: Final = 3
"""So many views after the final one have the base timeout."""


class ViewTimer:
    """The times of one view after the other. Timeouts are a function of view and final view: no jump harms them."""

    def __init__(self, delta_ms: int) -> None:
        self._delta_ms = delta_ms
        self._place = self._final = (-1, -1)
        self._factor = 1
        self._relays = 0
        self._repeats = 0
        self.since_ms: int | None = None
        """Since when the view has had something to do; `None`: it has nothing, and no times."""
        self.unfinal_since_ms: int | None = None
        """Since when something waits and no block became final."""

    def look(self, now_ms: int, epoch: int, view: int, final_view: int, has_work: bool) -> None:
        """Say which view it is, which is the final one, and whether the view has something to do."""
        is_set_back = self.since_ms is not None and now_ms < self.since_ms
        if self._place != (epoch, view) or not has_work or is_set_back:
            self._place, self._relays, self._repeats, self.since_ms = (epoch, view), 0, 0, None
        if self._final != (epoch, final_view) or not has_work or is_set_back:
            self._final, self.unfinal_since_ms = (epoch, final_view), None
        if has_work:
            self.since_ms = now_ms if self.since_ms is None else self.since_ms
            self.unfinal_since_ms = now_ms if self.unfinal_since_ms is None else self.unfinal_since_ms
        self._factor = _factor(view, final_view)

    def settled_ms(self) -> int | None:
        """When the finalize votes of the view before have had their time: after 1 delta."""
        return self._after(self._delta_ms)

    def longest_ms(self, view: int, final_view: int) -> int:
        """How long a view of this number lasts at most, once there is something to do and its leader has proposed."""
        return self._timeout_ms(3, _factor(view, final_view))

    def _timeout_ms(self, deltas: int, factor: int) -> int:
        bound_ms = max(MAX_TIMEOUT_MS, 8 * 3 * self._delta_ms) * deltas // 3
        return min(deltas * self._delta_ms * factor, bound_ms)

    def deadline_ms(self, is_proposed: bool) -> int | None:
        """When to nullify: 2 delta for a proposal to come, 3 for the view to end, doubled with every view not final."""
        deltas = 3 if is_proposed else 2
        return self._after(self._timeout_ms(deltas, self._factor))

    def relay_ms(self) -> int | None:
        """When to pass on the votes heard meanwhile: after every delta."""
        return self._after((self._relays + 1) * self._delta_ms)

    def relayed(self, now_ms: int) -> None:
        """What was heard until now was passed on."""
        self._relays = (now_ms - (self.since_ms or now_ms)) // self._delta_ms

    def repeat_ms(self) -> int | None:
        """When to tell the others again: after 4 delta, and then at doubling intervals up to 32."""
        deltas = (4, 12, 28)[self._repeats] if self._repeats < 3 else 32 * self._repeats - 36
        return self._after(deltas * self._delta_ms)

    def repeated(self, now_ms: int) -> None:
        """The others were told; times that were slept through are not made up for."""
        passed = (now_ms - (now_ms if self.since_ms is None else self.since_ms)) // self._delta_ms
        self._repeats = (passed >= 4) + (passed >= 12) if passed < 28 else 3 + (passed - 28) // 32

    def _after(self, duration_ms: int) -> int | None:
        return None if self.since_ms is None else self.since_ms + duration_ms


def _factor(view: int, final_view: int) -> int:
    return 1 << min(64, max(0, view - final_view - _FREE_VIEWS))
