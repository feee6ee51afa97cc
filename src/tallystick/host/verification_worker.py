"""A process that does nothing but verify: batches of claims come in over its socket, a byte a claim goes out.

A batch is its length in bytes (four, big-endian) and the MessagePack of its claims. The first byte out says that the
worker is ready, and by what it verifies; one whose libraries break rule K2 says so on its standard error instead, and
exits 1. It holds no state and ends when its socket closes, so it outlives its node by no more than a batch.
"""

import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from tallystick.host.acceptance import check_acceptance
from tallystick.host.batches import Claim, VerifyBatch, verify_batch, verify_one_by_one
from tallystick.ledger.encoding import encode
from tallystick.problems import VerificationFailed

READY_ONE_BY_ONE: Final = b"\x01"
READY_NATIVELY: Final = b"\x02"

_LENGTH_BYTES: Final = 4


def frame(claims: Sequence[Claim]) -> bytes:
    """The batch as it is handed to a worker."""
    data = encode(claims)
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def ready_byte(verify: VerifyBatch) -> bytes:
    """What a worker says first that verifies by this."""
    return READY_ONE_BY_ONE if verify is verify_one_by_one else READY_NATIVELY


def main() -> None:
    """Verify what comes in over the standard input, which is a socket, until it closes."""
    for one in (signal.SIGINT, signal.SIGTERM):  # the node's to answer, and it may need verdicts while it stops
        signal.signal(one, signal.SIG_IGN)
    try:
        check_acceptance()
    except VerificationFailed as error:
        raise SystemExit(str(error)) from None
    with suppress(ConnectionError), socket.socket(fileno=0) as connection:
        _serve(connection, verify_batch)


def _serve(connection: socket.socket, verify: VerifyBatch) -> None:
    with connection.makefile("rwb") as stream:
        stream.write(ready_byte(verify))
        stream.flush()
        while length := stream.read(_LENGTH_BYTES):
            data = stream.read(int.from_bytes(length, "big"))
            if len(data) < int.from_bytes(length, "big"):
                break
            stream.write(verify(data))
            stream.flush()


if __name__ == "__main__":
    main()
