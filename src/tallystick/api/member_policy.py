"""A policy of C2SP that says of a ledger's members what such policies can say (c2sp.org/tlog-policy)."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from tallystick.ledger.checkpoint import MAX_LOG_LINES, cosigner_key, log_key

MOST_WITNESSES: Final = 32
"""Other tools take no more."""


class Witness(NamedTuple):
    """A member of an epoch."""

    key: bytes
    stake: int
    said: str
    """Who it is, in a line."""


def needed_of(witnesses: Sequence[Witness]) -> int:
    """The smallest number of members of which any so many hold more than 2/3 of the stake."""
    stakes = sorted(one.stake for one in witnesses)
    held, total = 0, sum(stakes)
    for count, stake in enumerate(stakes, start=1):
        held += stake
        if 3 * held > 2 * total:
            return count
    raise ValueError("nobody has stake")


def warnings_of(epoch: int, witnesses: Sequence[Witness]) -> list[str]:
    """What whoever uses the policy has to know."""
    needed, count = needed_of(witnesses), len(witnesses)
    told = [f"this policy is for epoch {epoch}: after a change of members a newer one is needed"]
    if needed == count:
        told.append("it needs everybody: one member that is away, and nothing satisfies it")
    if count > MAX_LOG_LINES:
        told.append(f"a proof of more than {MAX_LOG_LINES} members has one log signature, that of the first by key")
    if count > MOST_WITNESSES:
        told.append(f"it has {count} witnesses, and other tools take {MOST_WITNESSES} at most")
    return told


def policy_text(origin: str, epoch: int, log: bytes, witnesses: Sequence[Witness]) -> str:
    """The policy: one log, each member as a witness, and how many of them are needed. Keys ascend."""
    ordered = sorted(witnesses)
    names = [one.key.hex()[:16] for one in ordered]
    lines = [f"# {origin}", *(f"# {one}" for one in warnings_of(epoch, ordered)), f"log {log_key(origin, log).text}"]
    for name, one in zip(names, ordered, strict=True):
        lines += [f"# {one.said}", f"witness {name} {cosigner_key(origin, one.key).text}"]
    lines += [f"group members {needed_of(ordered)} {' '.join(names)}", "quorum members"]
    return "\n".join(lines) + "\n"
