"""A node's transport in a process of its own, for tests that stop and kill it: it sends every frame back."""

import asyncio
import sys

from tallystick.ledger.wallet import Wallet
from tallystick.network.transport import Received, TransportEvent
from tallystick.network.zeromq import ZeroMQTransport


async def main(seed: bytes, ledger_id: bytes, listen: str) -> None:
    transport = ZeroMQTransport(Wallet(seed), ledger_id, listen)

    def on_event(event: TransportEvent) -> None:
        if isinstance(event, Received):
            transport.send(event.peer, event.frame)

    await transport.start(on_event)
    transport.admit(lambda key: True)
    print(transport.listening, flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the test is over
    await transport.stop()


asyncio.run(main(bytes.fromhex(sys.argv[1]), bytes.fromhex(sys.argv[2]), sys.argv[3]))
