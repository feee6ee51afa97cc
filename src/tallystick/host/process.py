"""One node as a process, from its data folder: started, run until it is told to stop or fails, and ended in order."""

import asyncio
import logging
import signal
from typing import Final

from tallystick.consensus.simplex import Simplex
from tallystick.host.acceptance import check_acceptance
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.host.data_lock import DataLock
from tallystick.host.errors import DamagedStore, HostError
from tallystick.host.logs import note, start_logging
from tallystick.host.runner import Runner, now_ms
from tallystick.host.service import Service
from tallystick.host.store import Store
from tallystick.host.verification import Verifier
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused
from tallystick.ledger.invite import write_invite
from tallystick.ledger.wallet import Wallet
from tallystick.network.transport import TransportError
from tallystick.network.zeromq import ZeroMQTransport
from tallystick.node.events import Started
from tallystick.node.node import Node
from tallystick.node.peer_exchange import own_record

_FAILED: Final = 1


def run_node(folder: DataFolder, wallet: Wallet, *, log_json: bool = False, log_level: str = "info") -> int:
    """Run a node until SIGTERM or SIGINT (returns 0), or until a part of it fails (logged; returns 1).

    Raises `HostError` when it cannot start: another process has the folder, the ledger is damaged, the port is taken,
    this machine's libsodium breaks rule K2.
    """
    settings = folder.settings()
    check_acceptance()
    start_logging(log_level, log_json)
    try:
        with DataLock(folder.path), Store.open(folder.ledger_path) as store:
            return asyncio.run(_run(folder, settings, wallet, store))
    except DamagedStore as damage:
        raise DamagedStore(f"{damage}; {_mending(folder)}", damage.refused) from None


async def _run(folder: DataFolder, settings: Settings, wallet: Wallet, store: Store) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ledger_id = store.genesis.ledger_id
    try:
        node = Node(store.genesis, Simplex(wallet), archive=store)
    except Refused as refused:
        raise DamagedStore(f"{store.path} was altered: {refused}", refused) from None
    address, known = settings.address, tuple(settings.bootstrap_peers)
    started = Started(wallet.public_key, own_record(wallet, ledger_id, address, now_ms(), store), known)
    transport = ZeroMQTransport(wallet, ledger_id, settings.listen, encode(store.genesis))
    service = Service(wallet, address, lambda: write_invite(ledger_id, wallet.public_key, (address,)))
    verifier = Verifier()
    runner = Runner(node, store, transport, verifier.verify, service.watch)
    try:
        await verifier.start()
        await runner.start(started)
        await service.start(runner, folder.socket_path)
        note(logging.INFO, "running", ledger=ledger_id, key=wallet.public_key, address=address, index=node.state.index)
        return await _until_stopped(stop, runner, folder)
    except TransportError as error:
        raise HostError(str(error)) from None
    finally:
        await service.stop()
        await runner.stop()
        await verifier.stop()
        folder.socket_path.unlink(missing_ok=True)


async def _until_stopped(stop: asyncio.Event, runner: Runner, folder: DataFolder) -> int:
    """Wait for the first of both."""
    stopping, failing = asyncio.ensure_future(stop.wait()), asyncio.ensure_future(runner.failed())
    await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not failing.done():
        failing.cancel()
        runner.store.keep_snapshot(runner.node.chain)
        note(logging.INFO, "stopped", index=runner.node.state.index)
        return 0
    error = failing.exception()
    expected = isinstance(error, HostError | Refused)
    reason = str(error) if expected else repr(error)
    note(logging.ERROR, "failed", reason=f"{reason}; {_mending(folder)}" if isinstance(error, DamagedStore) else reason)
    if error is not None and not expected:
        raise error  # a fault in this program: with its traceback
    return _FAILED


def _mending(folder: DataFolder) -> str:
    return f"look after the disk, then mend it with: tallystick check --repair --data {folder.path}"
