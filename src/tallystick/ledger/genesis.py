"""Where a ledger begins: its name, parameters, first members and organisations. Its hash is the ledger's id."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace

from tallystick.ledger.changes import MemberRole, Role
from tallystick.ledger.continuation import Continuation
from tallystick.ledger.directory import Directory, KeyEntry, Organisation
from tallystick.ledger.encoding import Codec, Encoded, derived, digest
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import (
    MAX_TOKENS,
    Milliseconds,
    OrganisationId,
    PublicKey,
    ShortName,
    Title,
    Tokens,
    Version,
    WebDomain,
)
from tallystick.ledger.keys import Domain, check_public_key, is_signed
from tallystick.ledger.params import MAX_GENESIS_BYTES, MAX_GENESIS_MEMBERS, MAX_UNBONDING_EPOCHS, Params
from tallystick.ledger.stake import MAX_SHARED_STAKE, Account, StakeTable
from tallystick.ledger.wallet import Wallet

VERSION: Final = 1


class Allotment(Encoded):
    """What a first member is given: free tokens, and tokens already at stake."""

    member: PublicKey
    free: Tokens
    staked: Tokens


class Founder(Encoded):
    """A first organisation, with its member key and the stake of that. Its votes are the key's admission."""

    organisation: OrganisationId
    title: Title
    domain: WebDomain | None
    key: PublicKey
    role: MemberRole
    stake: Tokens


class Genesis(Encoded):
    """The document every node of a ledger starts from.

    Allotments stand in ascending order of their keys, founders of their ids. A ledger has one kind or the other: with
    organisations stake is set by motions, without them keys move their own tokens.
    """

    version: Version
    name: Title
    short_name: ShortName
    """The ledger's name where the free title has no place: in the origin of its checkpoints."""
    created_ms: Milliseconds
    params: Params
    allotments: Annotated[tuple[Allotment, ...], Meta(max_length=MAX_GENESIS_MEMBERS)]
    founders: Annotated[tuple[Founder, ...], Meta(max_length=MAX_GENESIS_MEMBERS)] = ()
    continues: Continuation | None = None
    """An older ledger that this one goes on from."""

    @derived
    def ledger_id(self) -> bytes:
        """The ledger's id: SHA-256 of the genesis, 32 bytes."""
        return digest(self.encoded)

    @property
    def origin(self) -> str:
        """Which log a checkpoint is of (C2SP tlog-checkpoint)."""
        return f"{self.short_name}/{self.ledger_id.hex()}"

    def stakes(self) -> StakeTable:
        """The stake table that the first block is validated by."""
        accounts = {one.member: Account(one.free, one.staked) for one in self.allotments}
        accounts |= {one.key: Account(0, one.stake) for one in self.founders if one.stake}
        return StakeTable(accounts, self.params)

    def directory(self) -> Directory:
        """The directory that the first block is validated by. Raises `Refused` (D2)."""
        founders = [Organisation(one.organisation, one.title, one.domain, one.key) for one in self.founders]
        return Directory.of(
            founders, {one.key: KeyEntry(one.organisation, Role(one.role), "", 0) for one in self.founders}
        )


_codec: Codec[Genesis] = Codec(Genesis, MAX_GENESIS_BYTES, "genesis")


def make_genesis(  # noqa: PLR0913  each is a part of the genesis
    name: str,
    created_ms: int,
    allotments: Iterable[Allotment] = (),
    params: Params | None = None,
    founders: Iterable[Founder] = (),
    *,
    short_name: str | None = None,
) -> Genesis:
    """Found a ledger; allotments and founders are put in order. The short name follows from the name if none is given.

    Raises `Refused` (E1, E2, K1, G1 to G4, D2).
    """
    ordered = tuple(sorted(allotments, key=lambda one: one.member))
    organisations = tuple(sorted(founders, key=lambda one: one.organisation))
    short_name = short_name_of(str(name)) if short_name is None else short_name
    genesis = Genesis(VERSION, name, short_name, created_ms, params or Params(), ordered, organisations)
    return decode_genesis(_codec.encode_checked(genesis))


def short_name_of(name: str) -> str:
    """A legal short name that is like the name."""
    kept = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")
    return kept[:40].rstrip("-.") or "ledger"


def continuing(genesis: Genesis, continues: Continuation, signers: Iterable[Wallet]) -> Genesis:
    """The same, as the continuation of an older ledger that these voters of it sign. Raises `Refused`."""
    unsigned = replace(genesis, continues=continues.with_consents({}))
    return with_consents(unsigned, {one.public_key: sign_consent(one, unsigned) for one in signers})


def sign_consent(wallet: Wallet, genesis: Genesis) -> bytes:
    """The consent of an old ledger's voter that this genesis, and no other, continues that ledger (64 bytes)."""
    assert genesis.continues is not None, "it continues no ledger"
    return wallet.sign(Domain.CONTINUATION, genesis.continues.ledger_id, _without_consents(genesis))


def with_consents(genesis: Genesis, consents: Mapping[bytes, bytes]) -> Genesis:
    """The same with these consents, by key, and no others: a ledger of its own. Raises `Refused`, as `make_genesis`."""
    assert genesis.continues is not None, "it continues no ledger"
    signed = replace(genesis, continues=genesis.continues.with_consents(consents))
    return decode_genesis(_codec.encode_checked(signed))


def _without_consents(genesis: Genesis) -> bytes:
    assert genesis.continues is not None, "it continues no ledger"
    return replace(genesis, continues=genesis.continues.with_consents({})).encoded


def decode_genesis(data: bytes) -> Genesis:
    """Raise `Refused` (E1 to E4, K1, G1 to G5, D2) unless the bytes are a legal genesis."""
    genesis = _codec.decode(data)
    if genesis.version != VERSION:
        raise Refused(Rule.E4, f"genesis of version {genesis.version}, {VERSION} is known")
    members = [one.member for one in genesis.allotments]
    if members != sorted(set(members)):
        raise Refused(Rule.G1, "members must be distinct and in ascending order of their keys")
    _check_founders(genesis)
    stakes = genesis.stakes()
    for member in [*members, *(one.key for one in genesis.founders)]:
        check_public_key(member)
    total, most = stakes.total, MAX_SHARED_STAKE if genesis.founders else MAX_TOKENS
    if total > most:
        raise Refused(Rule.G2, f"{total} tokens allotted, {most} allowed")
    if not genesis.params.mint_freely and not stakes.total_staked:
        raise Refused(Rule.G2, "nobody has stake, so nobody could ever forge")
    check_unbonding(genesis.params)
    if genesis.continues is not None:
        genesis.continues.check(genesis.created_ms, _without_consents(genesis), is_signed)
    return genesis


def _check_founders(genesis: Genesis) -> None:
    names = [one.organisation for one in genesis.founders]
    if names != sorted(set(names)) or len({one.key for one in genesis.founders}) < len(names):
        raise Refused(Rule.G1, "organisations must be distinct, in ascending order of their ids, each with its own key")
    if genesis.founders and genesis.allotments:
        raise Refused(Rule.G4, "stake is allotted to organisations or to keys, not to both")
    if genesis.founders and genesis.params.mint_freely:
        raise Refused(Rule.G4, "tokens are minted freely only where no organisation decides on stakes")
    if not genesis.founders and not genesis.params.anybody_certifies:
        raise Refused(Rule.G4, "without organisations nobody could certify")
    genesis.directory()


def check_unbonding(params: Params) -> None:
    """Raise `Refused` (G3) unless withdrawn stake is liable for two epochs at least, and not for too many."""
    blocks, ms = params.unbonding_blocks, params.unbonding_ms
    if not params.mint_freely and (blocks < 2 * params.epoch_blocks or ms < 2 * params.epoch_ms):
        two = f"{2 * params.epoch_blocks} blocks and {2 * params.epoch_ms} ms"
        raise Refused(Rule.G3, f"withdrawn stake is free after {blocks} blocks and {ms} ms, two epochs are {two}")
    if ms > MAX_UNBONDING_EPOCHS * max(1, params.epoch_ms):
        raise Refused(Rule.G3, f"withdrawn stake is free after {ms} ms, more than {MAX_UNBONDING_EPOCHS} epochs")
