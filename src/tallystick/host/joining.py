"""Joining a ledger by an invite: its first document is fetched from the node that invites, and checked."""

import asyncio
from typing import Final

from tallystick.host.data_folder import DataFolder, Settings
from tallystick.host.founding import ahead_ms
from tallystick.host.invite import Invite
from tallystick.ledger.genesis import Genesis, decode_genesis
from tallystick.ledger.wallet import Wallet
from tallystick.network.transport import NobodyAnswers, TransportError
from tallystick.network.zeromq import fetch_genesis
from tallystick.problems import NotRunning, Problem

_PATIENCE_MS: Final = 15_000


def fetch(invited: Invite, wallet: Wallet) -> Genesis:
    """The ledger's first document, from the inviting node, at the first of its addresses that answers.

    Raises `NotRunning` when nobody answers, `Problem`, and `Refused` when what came is not the document of the invite's
    ledger.
    """
    errors: list[TransportError] = []
    for address in invited.addresses:
        asked = fetch_genesis(wallet, invited.ledger_id, invited.key, address, _PATIENCE_MS)
        try:
            return decode_genesis(asyncio.run(asked))
        except TransportError as error:
            errors.append(error)
    advice = "make sure that the inviting node runs and can be reached from here, and that it admits your key"
    kind = NotRunning if all(isinstance(one, NobodyAnswers) for one in errors) else Problem
    raise kind(f"{'; '.join(map(str, errors))}; {advice}")


def set_up_invited(folder: DataFolder, invited: Invite, genesis: Genesis, listen: str, address: str) -> Settings:
    """Set a node up on a ledger that was fetched. Raises `Problem`, also for one that begins ahead of the clock."""
    if (ahead := ahead_ms(genesis)) > 0:
        begins = f"the ledger begins {ahead / 1000:,.1f} s ahead of this machine's clock"
        advice = "set this clock right; if it is, the founder's was fast, and has to found the ledger anew"
        raise Problem(f"{begins}, and no block of it would count here until then; {advice}")
    settings = Settings(listen, address, tuple(f"{invited.key.hex()}@{one}" for one in invited.addresses))
    folder.create(settings, genesis)
    return settings
