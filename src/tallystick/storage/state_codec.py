"""A state in bytes: from it a node goes on without replaying the chain. They stay on the machine that made them."""

from functools import reduce
from typing import Annotated, Final

from msgspec import Meta, Struct

from tallystick.ledger.directory import Directory, KeyEntry, MlDsaEntry, Organisation
from tallystick.ledger.encoding import Codec, encode
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import Digest, Index, PublicKey, Tokens
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.header import Header
from tallystick.ledger.merkle import Frontier
from tallystick.ledger.motions import Motions, OpenMotion
from tallystick.ledger.params import Params
from tallystick.ledger.stake import Account, BlockContext, StakeTable
from tallystick.ledger.state import State
from tallystick.ledger.status import Status
from tallystick.ledger.trie import Trie

_MAX_BYTES: Final = 64 * 1024 * 1024

_Tree = tuple[Index, tuple[Digest, ...]]
_Time = Annotated[int, Meta(ge=0, le=2**55)]


class _Table(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    accounts: tuple[tuple[PublicKey, Account], ...]
    burned: Tokens
    burned_keys: tuple[PublicKey, ...]


class _Encoded(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`epoch` is number, stakes (`None`: those at the tip), first index and start."""

    tip: Header
    stakes: _Table
    epoch: tuple[Index, _Table | None, Index, _Time]
    log: _Tree
    headers: _Tree
    epoch_ends: tuple[BlockContext, ...]
    voters: Digest
    checkpoint_ms: _Time
    params: Params
    organisations: tuple[Organisation, ...]
    keys: tuple[tuple[PublicKey, KeyEntry], ...]
    ml_dsa: tuple[tuple[PublicKey, MlDsaEntry], ...]
    status: tuple[tuple[Digest, bytes], ...]
    motions: tuple[OpenMotion, ...]


_codec: Codec[_Encoded] = Codec(_Encoded, _MAX_BYTES, "snapshot")


def encode_state(state: State) -> bytes:
    """The state's bytes; `decode_state` gives an equal one."""
    epoch, is_same = state.epoch, state.epoch.stakes == state.stakes
    stakes = None if is_same else _encoded_table(epoch.stakes)
    return encode(
        _Encoded(
            tip=state.tip,
            stakes=_encoded_table(state.stakes),
            epoch=(epoch.number, stakes, epoch.first_index, epoch.start_ms),
            log=state.log,
            headers=state.headers,
            epoch_ends=state.epoch_ends,
            voters=state.voters,
            checkpoint_ms=state.checkpoint_ms,
            params=state.params,
            organisations=tuple(state.directory.organisations.values()),
            keys=tuple(state.directory.keys.items()),
            ml_dsa=tuple(state.directory.ml_dsa.items()),
            status=tuple(state.status.trie.items()),
            motions=tuple(state.motions.open.values()),
        )
    )


def decode_state(data: bytes, genesis: Genesis) -> State:
    """Raise `Refused` (E1 to E3, B10, B12) unless the bytes are a state of this ledger, with its tip's state root."""
    encoded = _codec.decode(data)
    tip, params, (number, epoch_stakes, first_index, start_ms) = encoded.tip, encoded.params, encoded.epoch
    if tip.ledger_id != genesis.ledger_id:
        raise Refused(Rule.B10, f"a snapshot of ledger {tip.ledger_id.hex()[:16]}…")
    log, headers = Frontier(*encoded.log), Frontier(*encoded.headers)
    if any(len(tree.peaks) != tree.size.bit_count() for tree in (log, headers)):
        raise Refused(Rule.E2, "snapshot: the peaks of a tree do not match its size")
    stakes = _table(encoded.stakes, params)
    epoch = Epoch(number, stakes if epoch_stakes is None else _table(epoch_stakes, params), first_index, start_ms)
    state = State(
        tip=tip,
        stakes=stakes,
        epoch=epoch,
        log=log,
        headers=headers,
        params=params,
        epoch_ends=encoded.epoch_ends,
        voters=encoded.voters,
        checkpoint_ms=encoded.checkpoint_ms,
        directory=Directory.of(encoded.organisations, dict(encoded.keys), dict(encoded.ml_dsa)),
        status=Status(reduce(lambda trie, entry: trie.set(*entry), encoded.status, Trie())),
        motions=Motions({one.id: one for one in encoded.motions}),
    )
    if state.root != tip.state_root:
        raise Refused(Rule.B12, f"a snapshot with root {state.root.hex()[:16]}…, its tip's is another")
    return state


def _encoded_table(table: StakeTable) -> _Table:
    accounts = tuple(sorted(table.accounts.items()))
    return _Table(accounts, table.burned, tuple(sorted(table.burned_keys)))


def _table(encoded: _Table, params: Params) -> StakeTable:
    return StakeTable(dict(encoded.accounts), params, encoded.burned, frozenset(encoded.burned_keys))
