"""`python -m tests.explore`: all courses of the small world, and the arithmetic of recovery; or some of them."""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from multiprocessing import Pool

from tests.explore import recovery
from tests.explore.cases import SETS, Failed, courses_of, replay, run_task

MOST_MEMBERS = 7
MOST_STAKE = 4


def explore(names: Iterable[str], every: int, workers: int) -> bool:
    """Run sets of courses, or every so manieth of them, and say how many. Returns whether all was well."""
    with Pool(workers) as pool:
        for name in names:
            began, counts = time.monotonic(), Counter[str]()
            print(f"{name}: {SETS[name].title}", flush=True)
            try:
                for one in pool.imap_unordered(run_task, courses_of(name, every)):
                    counts.update(one)
            except Failed as failed:
                print(f"FAILED: {failed}")
                return False
            wanted = "all" if counts["courses"] == SETS[name].count else f"of {SETS[name].count}"
            print(f"  {counts.pop('courses')} courses ({wanted}) in {time.monotonic() - began:.0f} s")
            print(
                "".join(f"    {what}: {count}\n" for what, count in sorted(counts.items()) if count), end="", flush=True
            )
        return explore_recovery(pool)


def explore_recovery(pool: object) -> bool:
    """Every lost guard of 3 to 7 members with stakes from 1 to 4."""
    print(f"recovery: 3 to {MOST_MEMBERS} members with stakes 1 to {MOST_STAKE}, all quorums, all sets of answers")
    stakes = [one for members in range(3, MOST_MEMBERS + 1) for one in recovery.stakes_of(members, MOST_STAKE)]
    counts = Counter[str]()
    for one in pool.imap_unordered(recovery.check, stakes, 8):  # type: ignore[attr-defined]
        counts.update(one)
    print("  " + ", ".join(f"{what}: {count}" for what, count in sorted(counts.items())), flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.explore", description=__doc__)
    parser.add_argument("--sets", default=",".join(SETS), help=f"of {', '.join(SETS)}; all by default")
    parser.add_argument("--every", type=int, default=1, help="run only about every so manieth course")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--leaders", help="replay one course of `three` or `four`: who leads, 1,0,2")
    parser.add_argument("--sides", help="and the partitions: 3,0,5")
    given = parser.parse_args()
    if given.leaders:
        leaders, sides = ([int(one) for one in text.split(",")] for text in (given.leaders, given.sides))
        print(replay(given.sets.split(",")[0], leaders, sides).views())
        return 0
    return 0 if explore([one for one in given.sets.split(",") if one], given.every, given.workers) else 1


if __name__ == "__main__":
    sys.exit(main())
