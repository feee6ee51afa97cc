"""When a view's time is up. The clock runs only while there is something to do, so a quiet ledger is silent."""

from typing import Final

MAX_TIMEOUT_MS: Final = 30_000
"""A view's timeout grows up to this, or to eight times its base if that is longer: a ledger is slow, not still."""

_FREE_VIEWS: Final = 3
"""So many views after the final one have the base timeout."""

_LONGEST: Final = 5
"""Of delta, the longer base timeout."""

_ENTRIES: Final = 4
"""Of so many views it is remembered when they were entered: of this one, and of those in which silence is looked at."""


class ViewTimer:
    """The times of one view after the other. Timeouts are a function of view and final view: no jump harms them."""

    def __init__(self, delta_ms: int) -> None:
        self._delta_ms = delta_ms
        self._place = self._final = (-1, -1)
        self._factor = 1
        self._relays = 0
        self._repeats = 0
        self._entered: list[tuple[int, int]] = []
        """The last few views and when each was entered (ms), as far as that was looked at."""
        self.since_ms: int | None = None
        """Since when the view has had something to do; `None`: it has nothing, and no times."""
        self.unfinal_since_ms: int | None = None
        """Since when something waits and no block became final."""

    def look(self, now_ms: int, epoch: int, view: int, final_view: int, has_work: bool) -> None:
        """Say which view it is, which is the final one, and whether the view has something to do."""
        is_set_back = self.since_ms is not None and now_ms < self.since_ms
        if self._place != (epoch, view) or not has_work or is_set_back:
            self._note_entry(now_ms, epoch, view)
            self._place, self._relays, self._repeats, self.since_ms = (epoch, view), 0, 0, None
        if self._final != (epoch, final_view) or not has_work or is_set_back:
            self._final, self.unfinal_since_ms = (epoch, final_view), None
        if has_work:
            self.since_ms = now_ms if self.since_ms is None else self.since_ms
            self.unfinal_since_ms = now_ms if self.unfinal_since_ms is None else self.unfinal_since_ms
        self._factor = _factor(view, final_view)

    def _note_entry(self, now_ms: int, epoch: int, view: int) -> None:
        known = [one for one in self._entered if one[1] <= now_ms] if self._place[0] == epoch else []
        if self._place != (epoch, view) or not known:
            known.append((view, now_ms))
        self._entered = known[-_ENTRIES:]

    def silence_ms(self, view: int) -> int | None:
        """When whoever has voted in no view from this one on is late: after 2 delta, 1 to enter it, 1 for the vote."""
        entered = (entered_ms for one, entered_ms in self._entered if one >= view)
        return next((entered_ms + 2 * self._delta_ms for entered_ms in entered), None)

    def settled_ms(self) -> int | None:
        """When the finalize votes of the view before have had their time: after 1 delta."""
        return self._after(self._delta_ms)

    def longest_ms(self, view: int, final_view: int) -> int:
        """How long a view of this number lasts at most, once there is something to do and its leader has proposed."""
        return self._timeout_ms(_LONGEST, _factor(view, final_view))

    def _timeout_ms(self, deltas: int, factor: int) -> int:
        bound_ms = max(MAX_TIMEOUT_MS, 8 * _LONGEST * self._delta_ms) * deltas // _LONGEST
        return min(deltas * self._delta_ms * factor, bound_ms)

    def deadline_ms(self, is_proposed: bool) -> int | None:
        """When to nullify: 2 delta for a proposal to come, 5 for the view to end, doubled with every view not final.

        Of these, two are for a request for certificates that the proposal overtook and its answer, one for the votes.
        """
        deltas = _LONGEST if is_proposed else 2
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
