"""One node as a process, from its data folder: started, run until it is told to stop or fails, and ended in order."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from threading import Thread
from typing import Final, NamedTuple

from tallystick.consensus.signing_guard import GuardStatus
from tallystick.consensus.simplex import Simplex
from tallystick.host.acceptance import check_acceptance
from tallystick.host.clock import now_ms
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.host.data_lock import data_lock
from tallystick.host.founding import ahead_ms
from tallystick.host.guard_file import GuardError, GuardFile
from tallystick.host.logs import note
from tallystick.host.ml_dsa import MlDsaWallet, ml_dsa_verifier
from tallystick.host.runner import Kept, Runner
from tallystick.host.submissions import Submissions
from tallystick.host.verification import Verifier
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.wallet import Wallet
from tallystick.network.archiving import own_record
from tallystick.network.replay import replayed
from tallystick.network.transport import TransportError
from tallystick.network.zeromq import ZeroMQTransport
from tallystick.node.epoch_ends import MlDsa
from tallystick.node.events import Started
from tallystick.node.node import Node
from tallystick.node.simplex_driver import SimplexDriver
from tallystick.problems import DamagedStore, MustEnd, NodeExit, Problem
from tallystick.storage.store import Store

_SAY_AGAIN_MS: Final = 60_000
_LOOK_AGAIN_S: Final = 1.0
_AHEAD: Final = (
    "the ledger begins ahead of this machine's clock: set this clock right; if it is, the founder's was fast, and the "
    "ledger has to be founded anew, or waited for"
)
_MOVED: Final = "run it there. Only if nothing ever ran there: tallystick guard lost, and start it again"


class _Keys(NamedTuple):
    """What the node signs with."""

    wallet: Wallet
    ml_dsa: MlDsaWallet | None


class Hosted(NamedTuple):
    """A node that runs, for those who open its doors."""

    folder: DataFolder
    wallet: Wallet
    address: str
    submissions: Submissions


OpenDoors = Callable[[Hosted], AbstractAsyncContextManager[None]]


def run_node(  # noqa: PLR0913, PLR0917  # a process has them all
    folder: DataFolder,
    settings: Settings,
    wallet: Wallet,
    open_doors: OpenDoors,
    ml_dsa: MlDsaWallet | None = None,
    until_eof: int | None = None,
) -> NodeExit:
    """Run a node until SIGTERM or SIGINT, or until it has to end (logged); returns how it ended.

    With a key of ML-DSA-44 it cosigns the ends of epochs by that, too. `until_eof`: a descriptor, at whose end it stops
    as by SIGTERM: whoever holds the other side is gone, however it ended.

    Raises `Problem` when it cannot start: another process has the folder, the ledger is damaged, the port is taken,
    the key was moved away, this machine's libsodium breaks rule K2.
    """
    check_acceptance()
    try:
        with (
            data_lock(folder.path),
            Store.open(folder.ledger_path) as store,
            GuardFile.open(folder.guard_path, wallet.public_key) as guard_file,
        ):
            return asyncio.run(
                _run(folder, settings, _Keys(wallet, ml_dsa), Kept(store, guard_file), open_doors, until_eof)
            )
    except DamagedStore as damage:
        raise DamagedStore(f"{damage}; {_mending(folder)}", damage.refused) from None


async def _run(  # noqa: PLR0913, PLR0917  # as of `run_node`
    folder: DataFolder, settings: Settings, keys: _Keys, kept: Kept, open_doors: OpenDoors, until_eof: int | None
) -> NodeExit:
    wallet, stop = keys.wallet, asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if until_eof is not None:
        Thread(target=_stop_at_end, args=(until_eof, stop, asyncio.get_running_loop()), daemon=True).start()
    store, ledger_id = kept.store, kept.store.genesis.ledger_id
    guard = kept.guard_file.signing_guard(wallet, ledger_id)
    if guard.status is GuardStatus.MOVED:
        raise GuardError(f"the key in {folder.path} was moved to another machine: {_MOVED}")
    if not await _has_begun(stop, store.genesis):
        return NodeExit.STOPPED
    agreement = SimplexDriver(Simplex(guard))
    try:
        chain = replayed(store.genesis, agreement.check_forger, store)
    except Refused as refused:
        raise DamagedStore(f"{store.path} was altered: {refused}", refused) from None
    verify_ml_dsa = ml_dsa_verifier()
    ml_dsa = MlDsa(verify_ml_dsa, keys.ml_dsa) if verify_ml_dsa is not None else None
    node = Node(chain, agreement, archive=store, ml_dsa=ml_dsa)
    address, known = settings.address, tuple(settings.bootstrap_peers)
    started = Started(wallet.public_key, own_record(wallet, ledger_id, address, now_ms(), store), known)
    transport = ZeroMQTransport(wallet, ledger_id, settings.listen, encode(store.genesis))
    verifier = Verifier()
    runner = Runner(node, kept, transport, verifier.verify)
    hosted = Hosted(folder, wallet, address, Submissions(runner))
    if (loss := kept.guard_file.loss) is not None:
        note(logging.ERROR, "signing guard lost", reason=loss)
    try:
        await verifier.start()
        await runner.start(started)
        note(logging.INFO, "running", ledger=ledger_id, key=wallet.public_key, address=address, index=node.state.index)
        gc.freeze()  # what is there by now stays: no collection has to look at it
        async with open_doors(hosted):
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait((stopping, runner.failed), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
    except TransportError as error:
        raise Problem(f"{error}; name another with --listen and --address, or in {folder.settings_path}") from None
    finally:
        await runner.stop()
        await verifier.stop()
        ended = _told(runner, folder)
    if ended is NodeExit.STOPPED:  # now that it does nothing any more
        runner.store.keep_snapshot(runner.node.chain)
        runner.guard_file.compact()
        note(logging.INFO, "stopped", index=runner.node.state.index)
    return ended


def _stop_at_end(descriptor: int, stop: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
    """Stop the node once the input there ends, or cannot be read any more.

    Not by a file of Python's: the interpreter may not end while a thread reads that.
    """
    with suppress(OSError):
        while os.read(descriptor, 4_096):
            pass
    with suppress(RuntimeError):  # it has ended
        loop.call_soon_threadsafe(stop.set)


async def _has_begun(stop: asyncio.Event, genesis: Genesis) -> bool:
    """Wait until this machine's clock has reached the ledger's beginning; false if the node is stopped before.

    The right time may come after the machine has started; and a founder's clock may have been fast.
    """
    told_ms: int | None = None
    while (ahead := ahead_ms(genesis)) and not stop.is_set():
        if told_ms is None or abs(told_ms - ahead) >= _SAY_AGAIN_MS:
            told_ms = ahead
            note(logging.WARNING, "waiting for the clock", ahead_ms=ahead, reason=_AHEAD)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), min(_LOOK_AGAIN_S, ahead / 1000))
    return not stop.is_set()


def _told(runner: Runner, folder: DataFolder) -> NodeExit:
    """How a node ended, written down if it failed, be it while it was stopping. Raises faults in this program."""
    if not runner.failed.done():
        return NodeExit.STOPPED
    error = runner.failed.exception()
    expected = isinstance(error, Problem | Refused)
    reason = str(error) if expected else repr(error)
    note(logging.ERROR, "failed", reason=f"{reason}; {_mending(folder)}" if isinstance(error, DamagedStore) else reason)
    if error is not None and not expected:
        raise error  # a fault in this program: with its traceback
    return error.node_exit if isinstance(error, MustEnd) else NodeExit.FAILED


def _mending(folder: DataFolder) -> str:
    return f"look after the disk, then mend it with: tallystick check --repair --data {folder.quoted}"
