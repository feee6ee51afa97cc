"""The course's ledger: one genesis for everybody, so that a wallet can sign before it knows any network."""

from functools import lru_cache
from typing import Final

from tallystick.ledger.fields import MAX_INDEX, MAX_TIMESTAMP_MS
from tallystick.ledger.genesis import make_genesis
from tallystick.ledger.keys import is_signed
from tallystick.ledger.messages import decode_message
from tallystick.ledger.params import Params
from tallystick.node.limits import Limits

GENESIS: Final = make_genesis(
    "course",
    created_ms=0,
    allotments=[],
    params=Params(
        forge_at_certificates=5,  # "let's take 5" (assignment, Certificate Box)
        min_block_certificates=0,
        certificate_ahead_ms=None,
        block_ahead_ms=None,
        epoch_blocks=MAX_INDEX,
        epoch_ms=MAX_TIMESTAMP_MS,
        unbonding_blocks=0,
        unbonding_ms=0,
        mint_freely=True,
    ),
)
LEDGER_ID: Final = GENESIS.ledger_id

LIMITS: Final = Limits(
    set_aside_blocks_per_peer=1_000_000,
    set_aside_bytes_per_peer=2**40,
    range_blocks=1,  # a request is one integer (assignment, bonus)
    requests_in_flight=64,
    waits_when_behind=False,
    requests_per_second=1_000_000,
    gossip_batch_ms=0,
)
"""Everybody shares one process: nothing is gained by holding a peer to a share of it."""

# All nodes of a process decode and verify the same bytes. Equal bytes give equal results, so it is done once for all.
decode = lru_cache(maxsize=1024)(decode_message)
verify = lru_cache(maxsize=16_384)(is_signed)
