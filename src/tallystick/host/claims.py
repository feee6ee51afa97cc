"""Claims, and checks that have theirs verified elsewhere: they run as if all signatures were good, and say which."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from tallystick.host.batches import Claim
from tallystick.ledger.errors import Refused
from tallystick.ledger.keys import Verify
from tallystick.ledger.messages import Entry
from tallystick.node.events import CheckedEntry
from tallystick.node.intake import Intake


class VerifyAll(Protocol):
    """Verifies signatures, somewhere."""

    def __call__(self, claims: Sequence[Claim], *, is_urgent: bool = False) -> Awaitable[list[bool]]:
        """A verdict for each claim; urgent ones wait for no others."""


T = TypeVar("T")


def claimed(note: Callable[[Claim], object]) -> Verify:
    """A verifier that takes every signature for good, and notes it, to be verified with others."""

    def verify(signed: bytes, signature: bytes, key: bytes) -> bool:
        note((signed, signature, key))
        return True

    return verify


def check_entries(intake: Intake, entries: Iterable[Entry]) -> list[CheckedEntry | Refused]:
    """`Intake.check_entry` for several; a refusal is an outcome like another."""
    outcomes: list[CheckedEntry | Refused] = []
    for entry in entries:
        try:
            outcomes.append(intake.check_entry(entry))
        except Refused as refused:
            outcomes.append(refused)
    return outcomes


async def settle(check: Callable[[Verify], T], verify_all: VerifyAll, *, is_urgent: bool = False) -> T:
    """Run a check as if all signatures were good, and ask whether they are; again with the verdicts if one is not.

    So its outcome, and the order of its refusals, are those of verifying in line. What is known may change until the
    second time, and with it the claims: those that are new are asked about too.
    """
    verdicts: dict[Claim, bool] = {}
    while True:
        assumed: list[Claim] = []
        outcome = check(partial(_verdict, verdicts, assumed))
        if not assumed:
            return outcome
        found = await verify_all(assumed, is_urgent=is_urgent)
        if all(found):
            return outcome
        verdicts.update(zip(assumed, found, strict=True))


def _verdict(verdicts: dict[Claim, bool], assumed: list[Claim], signed: bytes, signature: bytes, key: bytes) -> bool:
    claim = signed, signature, key
    if verdicts and claim in verdicts:
        return verdicts[claim]
    assumed.append(claim)
    return True
