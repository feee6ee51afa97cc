"""While messages arrive within delta, no view is lost to members that are busy: with certificates, or altogether."""

from collections.abc import Callable

from tests.builders import MEMBERS
from tests.simulation.test_agreement import DELTA_MS, Assembly

from tallystick.ledger.messages import Certificates, Message, Votes, decode_message
from tallystick.ledger.vote import NULLIFY
from tallystick.network.simulated import Link

HOP_MS = 10
LATE_MS = DELTA_MS - 1


def assembled(seed: int, delay_ms: Callable[[str, str, Message], int], **params: int) -> tuple[Assembly, list[str]]:
    """Members whose messages take as long as that (ms), and the names of those that nullified, once a view."""
    assembly = Assembly(seed, Link(1, 1), epoch_blocks=1_000, **params).connect()
    network, nullified = assembly.network, list[str]()
    send = network.send

    def later(sender: str, receiver: str, data: bytes) -> None:
        message = decode_message(data)
        if isinstance(message, Votes) and any(one.ballot.kind == NULLIFY for one in message.tallies):
            nullified.append(sender)
        network.at(network.now_ms + delay_ms(sender, receiver, message) - 1, lambda: send(sender, receiver, data))

    network.send = later
    return assembly, nullified


def leader(assembly: Assembly) -> str:
    """Who proposes next, by what all members know: they have come to rest."""
    simplex = assembly.network.hosts["ada"].simplex
    drawn = simplex.views.leader(simplex.view)
    return next(name for name, wallet in MEMBERS.items() if wallet.public_key == drawn)


def test_certificates_that_a_proposal_overtook_are_fetched_before_its_view_is_given_up(seed):
    """A busy voter comes to what is in bulk long after the proposal; a request and its answer take delta each."""
    assembly, nullified = assembled(
        seed, lambda sender, receiver, message: 20 * DELTA_MS if isinstance(message, Certificates) else LATE_MS
    )
    for _ in range(10):
        assembly.submit(1, every_ms=8 * DELTA_MS, to=[leader(assembly)])
    assembly.settle()
    assembly.check_chains()
    assert nullified == []


def test_a_member_that_is_behind_is_not_taken_for_silent_where_views_end_fast(seed):
    assembly, nullified = assembled(seed, lambda sender, receiver, message: LATE_MS if sender == "dot" else HOP_MS)
    assembly.submit(200, every_ms=5)
    assembly.settle()
    assert nullified == []
