"""`python -m tests.fuzz --runs 1000000`: fuzzes every parser of proofs, and says what broke and what took longest."""

import argparse
import resource
import time
from random import Random

from tallystick.ledger.errors import Refused
from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS


def fuzz(name: str, runs: int, seed: int, until: float = float("inf")) -> dict[str, float]:
    """Run one target so often, or until a time of the monotonic clock. Raises what the parser should not."""
    target = TARGETS[name]
    starts = target.starts()
    said = {"runs": 0.0, "read": 0.0, "slowest_ms": 0.0}
    for number in range(runs):
        random = Random(f"{name} {seed} {number}")
        data = mutated(random.choice(starts), starts, random)
        began = time.perf_counter()
        if began > until:
            break
        try:
            target.run(data)
            said["read"] += 1
        except Refused:
            pass
        except BaseException as error:
            error.add_note(f"{name}, seed {seed}, number {number}: {data!r}")
            raise
        said["runs"] += 1
        said["slowest_ms"] = max(said["slowest_ms"], (time.perf_counter() - began) * 1000)
    return said


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60, help="stop after so many")
    parser.add_argument("targets", nargs="*", help=f"of: {', '.join(TARGETS)}; default: all")
    given = parser.parse_args()
    names = given.targets or list(TARGETS)
    began = time.perf_counter()
    for place, name in enumerate(names, start=1):
        until = began + given.minutes * 60 * place / len(names)
        said = fuzz(name, -(-given.runs // len(names)), given.seed, until)
        print(
            f"{name}: {said['runs']:.0f} runs, {said['read']:.0f} read, slowest {said['slowest_ms']:.1f} ms", flush=True
        )
    print(
        f"{time.perf_counter() - began:.0f} s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB at most"
    )


if __name__ == "__main__":
    main()
