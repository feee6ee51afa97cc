"""Where a ledger begins: its name, parameters and first members. Its hash is the ledger's id."""

from typing import Annotated, Final

from msgspec import Meta

from tallystick.ledger.encoding import Codec, Encoded, derived, digest
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import MAX_TOKENS, NO_CONTROLS, Milliseconds, PublicKey, Tokens, Version
from tallystick.ledger.keys import check_public_key
from tallystick.ledger.params import MAX_GENESIS_BYTES, MAX_GENESIS_MEMBERS, MAX_UNBONDING_EPOCHS, Params
from tallystick.ledger.stake import Account, StakeTable

VERSION: Final = 1


class Allotment(Encoded):
    """What a first member is given: free tokens, and tokens already at stake."""

    member: PublicKey
    free: Tokens
    staked: Tokens


class Genesis(Encoded):
    """The document every node of a ledger starts from. Allotments stand in ascending order of their keys."""

    version: Version
    name: Annotated[str, Meta(min_length=1, max_length=64, pattern=NO_CONTROLS)]
    created_ms: Milliseconds
    params: Params
    allotments: Annotated[tuple[Allotment, ...], Meta(max_length=MAX_GENESIS_MEMBERS)]

    @derived
    def ledger_id(self) -> bytes:
        """The ledger's id: SHA-256 of the genesis, 32 bytes."""
        return digest(self.encoded)

    def stakes(self) -> StakeTable:
        """The stake table that the first block is validated by."""
        accounts = {one.member: Account(one.free, one.staked) for one in self.allotments}
        return StakeTable(accounts, self.params)


_codec: Codec[Genesis] = Codec(Genesis, MAX_GENESIS_BYTES, "genesis")


def make_genesis(name: str, created_ms: int, allotments: list[Allotment], params: Params | None = None) -> Genesis:
    """Found a ledger; allotments are put in order. Raises `Refused` (E1, E2, K1, G1 to G3)."""
    ordered = tuple(sorted(allotments, key=lambda one: one.member))
    genesis = Genesis(VERSION, name, created_ms, params or Params(), ordered)
    return decode_genesis(_codec.encode_checked(genesis))


def decode_genesis(data: bytes) -> Genesis:
    """Raise `Refused` (E1 to E4, K1, G1 to G3) unless the bytes are a legal genesis."""
    genesis = _codec.decode(data)
    if genesis.version != VERSION:
        raise Refused(Rule.E4, f"genesis of version {genesis.version}, {VERSION} is known")
    members = [one.member for one in genesis.allotments]
    if members != sorted(set(members)):
        raise Refused(Rule.G1, "members must be distinct and in ascending order of their keys")
    for member in members:
        check_public_key(member)
    total = sum(one.free + one.staked for one in genesis.allotments)
    if total > MAX_TOKENS:
        raise Refused(Rule.G2, f"{total} tokens allotted, {MAX_TOKENS} allowed")
    if not genesis.params.mint_freely and not any(one.staked for one in genesis.allotments):
        raise Refused(Rule.G2, "nobody has stake, so nobody could ever forge")
    _check_unbonding(genesis.params)
    return genesis


def _check_unbonding(params: Params) -> None:
    blocks, ms = params.unbonding_blocks, params.unbonding_ms
    if not params.mint_freely and (blocks < 2 * params.epoch_blocks or ms < 2 * params.epoch_ms):
        two = f"{2 * params.epoch_blocks} blocks and {2 * params.epoch_ms} ms"
        raise Refused(Rule.G3, f"withdrawn stake is free after {blocks} blocks and {ms} ms, two epochs are {two}")
    if ms > MAX_UNBONDING_EPOCHS * max(1, params.epoch_ms):
        raise Refused(Rule.G3, f"withdrawn stake is free after {ms} ms, more than {MAX_UNBONDING_EPOCHS} epochs")
