"""A state in bytes: from it a node goes on without replaying the chain. They stay on the machine that made them."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from tallystick.ledger.blockchain import State
from tallystick.ledger.encoding import Codec, Digest, PublicKey
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.genesis import Genesis, Tokens
from tallystick.ledger.header import Header
from tallystick.ledger.merkle import Frontier
from tallystick.ledger.params import MAX_INDEX
from tallystick.ledger.stake import Account, StakeTable

_MAX_BYTES: Final = 64 * 1024 * 1024

_Count = Annotated[int, Meta(ge=0, le=MAX_INDEX)]
_Accounts = tuple[tuple[PublicKey, Tokens, Tokens, tuple[tuple[_Count, Tokens], ...]], ...]


class _Table(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    accounts: _Accounts
    burned: Tokens


class _Encoded(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`epoch_stakes` is `None` when they are the stakes at the tip."""

    tip: Header
    stakes: _Table
    epoch_number: _Count
    epoch_stakes: _Table | None
    log_size: _Count
    log_peaks: tuple[Digest, ...]


_codec: Codec[_Encoded] = Codec(_Encoded, _MAX_BYTES, "snapshot")


def encode_state(state: State) -> bytes:
    """The state's bytes; `decode_state` gives an equal one."""
    stakes, epoch = _encoded_table(state.stakes), _encoded_table(state.epoch.stakes)
    return _codec.encode_checked(
        _Encoded(
            state.tip, stakes, state.epoch.number, None if epoch == stakes else epoch, state.log.size, state.log.peaks
        )
    )


def decode_state(data: bytes, genesis: Genesis) -> State:
    """Raise `Refused` (E1 to E3, B10) unless the bytes are a state of this ledger.

    Only its form is checked: who keeps the bytes sees to it that they are those that were written.
    """
    encoded = _codec.decode(data)
    if encoded.tip.ledger_id != genesis.ledger_id:
        raise Refused(Rule.B10, f"a snapshot of ledger {encoded.tip.ledger_id.hex()[:16]}…")
    if len(encoded.log_peaks) != encoded.log_size.bit_count():
        raise Refused(Rule.E2, f"snapshot: {len(encoded.log_peaks)} peaks over {encoded.log_size} certificates")
    stakes = _table(encoded.stakes, genesis)
    epoch_stakes = stakes if encoded.epoch_stakes is None else _table(encoded.epoch_stakes, genesis)
    return State(
        encoded.tip,
        stakes,
        Epoch(encoded.epoch_number, epoch_stakes),
        Frontier(encoded.log_size, encoded.log_peaks),
    )


def _encoded_table(table: StakeTable) -> _Table:
    accounts = sorted(table.accounts.items())
    return _Table(tuple((key, one.free, one.staked, one.leaving) for key, one in accounts), table.burned)


def _table(encoded: _Table, genesis: Genesis) -> StakeTable:
    params = genesis.params
    return StakeTable(
        {key: Account(free, staked, leaving) for key, free, staked, leaving in encoded.accounts},
        mint_freely=params.mint_freely,
        unbonding_blocks=params.unbonding_blocks,
        burned=encoded.burned,
    )
