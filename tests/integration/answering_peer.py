"""A member's key, address and ledger, without a node: it tells what it is asked, and answers in a manner of its own."""

import asyncio
import sys
from pathlib import Path

from msgspec.structs import replace

from tallystick.host.data_folder import DataFolder
from tallystick.ledger.encoding import encode
from tallystick.ledger.messages import (
    BlockRequest,
    Blocks,
    FinalizationRequest,
    Finalizations,
    decode_message,
    encode_message,
)
from tallystick.network.archiving import answer
from tallystick.network.transport import Received, TransportEvent
from tallystick.network.zeromq import ZeroMQTransport
from tallystick.storage.store import Store

ANSWER_BYTES = 1 << 20


def honest(store: Store, asked: BlockRequest | FinalizationRequest) -> Blocks | Finalizations:
    """What a node answers."""
    answered = answer(store, asked, ANSWER_BYTES)
    assert isinstance(answered, Blocks | Finalizations)
    return answered


def false(answered: Blocks | Finalizations) -> Blocks | Finalizations:
    """The same with a signature that is none: hashes and links are right."""
    if isinstance(answered, Blocks):
        return Blocks(answered.start, tuple(replace(one, signature=bytes(64)) for one in answered.blocks))
    first = answered.proofs[0]
    votes = replace(first.finalization, signatures=tuple((one, bytes(64)) for one, _ in first.finalization.signatures))
    return Finalizations((replace(first, finalization=votes),))


async def main(path: Path, manner: str, answers: int) -> None:
    """`manner`: honest, false, or silent; silent it is in any case after so many answers."""
    folder = DataFolder(path)
    with Store.open(folder.ledger_path, read_only=True) as store:
        listen = folder.settings().listen
        transport = ZeroMQTransport(folder.wallet(""), store.genesis.ledger_id, listen, encode(store.genesis))
        left = 0 if manner == "silent" else answers

        def on_event(event: TransportEvent) -> None:
            nonlocal left
            if not isinstance(event, Received):
                return
            asked = decode_message(event.frame)
            if isinstance(asked, BlockRequest | FinalizationRequest):
                told = f"{asked.start} {asked.count}" if isinstance(asked, BlockRequest) else f"{asked.epoch}"
                print(type(asked).__name__, told, flush=True)
                if left:
                    left -= 1
                    said = honest(store, asked)
                    transport.send(event.peer, encode_message(false(said) if manner == "false" else said))

        await transport.start(on_event)
        transport.admit(lambda key: True)
        print("listening", flush=True)
        await asyncio.to_thread(sys.stdin.read)  # until the test is over
        await transport.stop()


asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
