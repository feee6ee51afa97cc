"""The command: run seeds, or hunt the mutants, on all cores. `make simulate SEEDS=500` is its short form."""

import argparse
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import Pool, cpu_count
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tests.simulation.campaign.mutants import MOST_SEEDS, MUTANTS, hunt
from tests.simulation.campaign.run import RECOVERY_BOUND, Outcome, run_seed

_FAILURES_SHOWN = 5


def main() -> int:
    """Exit code 1: a seed failed, or a mutant survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.campaign", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many seeds (default: %(default)s)")
    parser.add_argument("--first", type=int, default=1, help="the first of them (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=cpu_count(), help="processes at once (default: %(default)s)")
    parser.add_argument("--mutants", action="store_true", help="hunt every mutant from the first seed on instead")
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    if arguments.mutants:
        return _hunt_all(console, arguments.first, arguments.jobs)
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    outcomes = list(_with_progress(console, "seeds", run_seed, seeds, arguments.jobs))
    _report(console, sorted(outcomes, key=lambda one: one.seed))
    return 1 if any(one.broken for one in outcomes) else 0


def _with_progress(
    console: Console, what: str, work: Callable[[Any], Any], items: Iterable[Any], jobs: int
) -> Iterator[Any]:
    items = list(items)
    columns = (TextColumn(f"{{task.description}} {what}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress, Pool(min(jobs, len(items))) as pool:
        task = progress.add_task("running", total=len(items))
        for result in pool.imap_unordered(work, items, chunksize=1 if len(items) < 100 else 8):
            progress.advance(task)
            yield result


def _report(console: Console, outcomes: list[Outcome]) -> None:
    faults, roles = Counter[str](), Counter[str]()
    for one in outcomes:
        faults.update(one.faults)
        roles.update(one.roles)
    recoveries = [(one.recovery, one.seed) for one in outcomes if one.recovery is not None]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row(
        "seeds", f"{len(outcomes):,} from {outcomes[0].seed} on, {sum(bool(one.broken) for one in outcomes)} failed"
    )
    table.add_row("faults", ", ".join(f"{count:,} {kind}" for kind, count in faults.most_common() if count))
    table.add_row("Byzantine members", ", ".join(f"{count:,} {role}" for role, count in roles.most_common()) or "none")
    table.add_row("simulated", f"{sum(one.simulated_ms for one in outcomes) / 3_600_000:.1f} hours")
    table.add_row("events", f"{sum(one.events for one in outcomes):,}")
    table.add_row("blocks finalized", f"{sum(one.blocks for one in outcomes):,}")
    table.add_row("evidence recorded", f"{sum(one.evidence for one in outcomes):,} certificates")
    if recoveries:
        worst, seed = max(recoveries)
        median = statistics.median(recovery for recovery, _ in recoveries)
        table.add_row(
            "recovery",
            f"worst {worst:.1f} timeouts (seed {seed}), median {median:.1f}, bound {RECOVERY_BOUND}",
        )
    table.add_row("processor time", f"{statistics.mean(one.cpu_seconds for one in outcomes):.2f} s a seed")
    console.print(table)
    failed = [one for one in outcomes if one.broken]
    for one in failed[:_FAILURES_SHOWN]:
        console.print(f"\nseed {one.seed} broke: {one.broken}\nthe last that happened:", markup=False)
        console.print("\n".join(f"  {line}" for line in one.trace), markup=False)
        console.print(f"again: make simulate SEEDS=1 FIRST={one.seed}", markup=False)
    if len(failed) > _FAILURES_SHOWN:
        console.print(f"\n… and {len(failed) - _FAILURES_SHOWN} more: {[one.seed for one in failed[_FAILURES_SHOWN:]]}")


def _hunt_from(work: tuple[str, int]) -> tuple[str, Outcome | None]:
    return work[0], hunt(*work)


def _hunt_all(console: Console, first: int, jobs: int) -> int:
    found = dict(_with_progress(console, "mutants", _hunt_from, [(name, first) for name in MUTANTS], jobs))
    table = Table("mutant", "seeds needed", "noticed as", box=None, pad_edge=False)
    for name in MUTANTS:
        outcome = found[name]
        if outcome is None:
            table.add_row(name, f"not in {MOST_SEEDS}", "")
        else:
            table.add_row(name, str(outcome.seed - first + 1), (outcome.broken or "")[:100])
    console.print(table)
    return 1 if None in found.values() else 0


if __name__ == "__main__":
    sys.exit(main())
