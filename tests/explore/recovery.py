"""Recovery as arithmetic: whoever answers, the floor of a lost guard is above all that the key may have signed.

Members of an epoch, with stakes; one lost its guard when it was in view V, which a quorum's votes on V - 1 had led to.
Liars, less than a third together, answer with the lowest view there is; honest members that were in that quorum with
V - 1, the rest with view 1. Whenever `Recovery` is content, the floor has to be V or more. All quorums, all sets of
answers, and of the liars those that hurt most: all that are in both, if they are few enough.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations, combinations_with_replacement

from tallystick.consensus.recovery import Recovery
from tallystick.consensus.signing_guard import Lost, SigningGuard
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.stake import Account, StakeTable
from tests.builders import START_MS
from tests.explore.world import KEYS

LEDGER = b"e" * 32
VIEW = 9
"""V: where the key was; the highest that any honest answer proves is one less."""


def stakes_of(members: int, most: int) -> Iterator[tuple[int, ...]]:
    """All stakes from 1 to `most`, the asker's first; the others' in any order are one."""
    for own in range(1, most + 1):
        for others in combinations_with_replacement(range(1, most + 1), members - 1):
            yield own, *others


def check(stakes: tuple[int, ...]) -> Counter[str]:
    """All quorums and answers with these stakes. Raises `AssertionError` for a floor that is too low."""
    epoch = Epoch(
        0, StakeTable({key.public_key: Account(0, one) for key, one in zip(KEYS, stakes, strict=False)}), 1, START_MS
    )
    others, counts = range(1, len(stakes)), Counter[str]()
    sets = [chosen for size in range(len(stakes)) for chosen in combinations(others, size)]
    weight = {chosen: sum(stakes[one] for one in chosen) for chosen in sets}
    quorums = [chosen for chosen in sets if epoch.is_quorum(weight[chosen] + stakes[0])]
    for answering in sets:
        is_enough = epoch.is_quorum(weight[answering])
        for quorum in quorums:
            liars = [one for one in answering if one in quorum]
            if 3 * sum(stakes[one] for one in liars) >= epoch.total:
                liars = liars[1:]
                while 3 * sum(stakes[one] for one in liars) >= epoch.total:
                    liars = liars[1:]
            guard = SigningGuard(KEYS[0], LEDGER, [Lost(None)], bytes(32))  # type: ignore[arg-type]
            recovery = Recovery(guard)
            for one in answering:
                recovery.answered(KEYS[one].public_key, VIEW - 1 if one in quorum and one not in liars else 1)
            recovery.answered(KEYS[0].public_key, 1)
            assert recovery.finish(epoch, 1) is is_enough, (stakes, answering)
            assert not is_enough or guard.floor >= (0, VIEW), (stakes, answering, quorum, liars, guard.floor)
            counts["answers"] += 1
            counts["sufficed"] += is_enough
    counts["stakes"] += 1
    return counts
