"""Who holds which tokens, and how many of them are at stake."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import NamedTuple

from tallystick.ledger.certificate import AnyCertificate, Evidence, StakingOperation
from tallystick.ledger.encoding import Encoded, derived, digest, encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import MAX_TOKENS
from tallystick.ledger.params import Params

MAX_SHARED_STAKE = 2**40
"""Most tokens at stake where motions set them: while what was replaced is unbonding, it counts once more (S5)."""

MAX_WITHDRAWALS = 64
"""Most withdrawals of one key, a block each, that are under way at once (rule S7)."""


class BlockContext(Encoded):
    """The block for which certificates are validated."""

    epoch: int
    index: int
    timestamp_ms: int

    def reaches(self, other: "BlockContext") -> bool:
        """Whether it is as late as the other in all three."""
        return self.epoch >= other.epoch and self.index >= other.index and self.timestamp_ms >= other.timestamp_ms

    def freed_from(self, params: Params) -> "BlockContext":
        """From where on that is free which this block withdraws."""
        until_ms = self.timestamp_ms + params.unbonding_ms
        return BlockContext(self.epoch + 2, self.index + params.unbonding_blocks, until_ms)


class Account(NamedTuple):
    """One key's tokens: free, at stake, and unbonding. All are whole and never below zero."""

    free: int
    staked: int
    unbonding: tuple[tuple[BlockContext, int], ...] = ()
    """What was withdrawn and is still liable: (block from which it is free, amount), in order."""
    since: int = 0
    """The epoch from which the liable tokens count: evidence of earlier ones is not about them."""

    @property
    def liable(self) -> int:
        """Tokens that evidence burns."""
        return self.staked + sum(amount for _, amount in self.unbonding)

    @property
    def total(self) -> int:
        """All tokens of the key."""
        return self.free + self.liable

    def at(self, context: BlockContext) -> "Account":
        """The account as a block finds it: what has finished unbonding is free."""
        released = sum(amount for until, amount in self.unbonding if context.reaches(until))
        if not released:
            return self
        still = tuple(one for one in self.unbonding if not context.reaches(one[0]))
        return Account(self.free + released, self.staked, still, self.since)


_EMPTY = Account(0, 0)


@dataclass(frozen=True)
class StakeTable:
    """Tokens only move between free, staked and unbonding, and evidence burns them.

    With *mint freely* (course), staking makes what is short. A burned key never holds stake again.
    """

    accounts: Mapping[bytes, Account]
    """All keys that ever had tokens; where motions set stakes, those that have some."""
    params: Params = field(default_factory=Params)
    burned: int = 0
    burned_keys: frozenset[bytes] = frozenset()

    @derived
    def total_staked(self) -> int:
        """All tokens at stake."""
        return sum(account.staked for account in self.accounts.values())

    @derived
    def total(self) -> int:
        """All tokens, burned ones included."""
        return self.burned + sum(account.total for account in self.accounts.values())

    def __hash__(self) -> int:
        return hash(self.accounts_hash)

    @derived
    def accounts_hash(self) -> bytes:
        """SHA-256 of the encoded [[key, account] …], keys ascending."""
        return digest(encode(sorted(self.accounts.items())))

    @derived
    def burned_hash(self) -> bytes:
        """SHA-256 of the encoded [burned tokens, [burned key …]], keys ascending."""
        return digest(encode((self.burned, sorted(self.burned_keys))))

    def account(self, key: bytes) -> Account:
        """The key's tokens; nothing for a key never heard of."""
        return self.accounts.get(key, _EMPTY)

    @derived
    def members(self) -> tuple[tuple[bytes, int], ...]:
        """Keys with stake, ascending, each with its stake."""
        return tuple(sorted((key, account.staked) for key, account in self.accounts.items() if account.staked))

    @derived
    def holders(self) -> frozenset[bytes]:
        """Keys with tokens of any kind: members, and whoever can become one by staking."""
        return frozenset(key for key, account in self.accounts.items() if account.total)

    @derived
    def _upper_ends(self) -> list[int]:
        return list(accumulate(stake for _, stake in self.members))

    def holder(self, draw_number: int) -> bytes:
        """The member whose stretch of the staked tokens, in key order, holds `draw_number` (0 to total - 1)."""
        return self.members[bisect_right(self._upper_ends, draw_number)][0]

    def after(self, certificates: Iterable[AnyCertificate], context: BlockContext) -> "StakeTable":
        """The table after these certificates of a block, in order; this one stays. Raises `Refused` (S1 to S8)."""
        moving = [one for one in certificates if isinstance(one, StakingOperation | Evidence)]
        if not moving:
            return self
        accounts, burned, burned_keys = dict(self.accounts), self.burned, self.burned_keys
        total_staked, total = self.total_staked, self.total
        for one in moving:
            if isinstance(one, StakingOperation):
                if one.issuer in burned_keys:
                    raise Refused(Rule.S8, f"{one.issuer.hex()[:16]}… was burned; stake with a new key")
                account = accounts.get(one.issuer, _EMPTY).at(context)
                minted = max(0, one.amount - account.free) if self.params.mint_freely else 0
                accounts[one.issuer] = self._moved(account, one.amount, minted, context)
                total_staked, total = total_staked + one.amount, total + minted
                if total > MAX_TOKENS:
                    raise Refused(Rule.S5, f"the ledger would hold {total} tokens, {MAX_TOKENS} allowed")
                if total_staked == 0 and not self.params.mint_freely:
                    raise Refused(Rule.S4, "this would withdraw the ledger's last stake")
            elif isinstance(one, Evidence):
                account = accounts.get(one.offender, _EMPTY).at(context)
                if not account.liable or one.epoch < account.since:  # a burned key has nothing that is liable
                    raise Refused(Rule.S6, f"no stake of {one.offender.hex()[:16]}… counted in epoch {one.epoch}")
                accounts[one.offender] = Account(account.free, 0)
                burned, burned_keys = burned + account.liable, burned_keys | {one.offender}
                total_staked -= account.staked
        after = StakeTable(accounts, self.params, burned, burned_keys)
        vars(after).update(total_staked=total_staked, total=total)  # or each table would add up all accounts
        return after

    def burn(self, key: bytes, context: BlockContext) -> "StakeTable":
        """The table without what is liable of a key, which never holds stake again."""
        account = self.account(key).at(context)
        accounts = {**self.accounts, key: Account(account.free, 0)}
        return replace(
            self, accounts=accounts, burned=self.burned + account.liable, burned_keys=self.burned_keys | {key}
        )

    def with_stake(self, key: bytes, staked: int, context: BlockContext) -> "StakeTable":
        """The table with another stake of a key, as a motion sets it: what is more is made, what is less is unbonding.

        Raises `Refused` (S5, S7; S8 for stake of a burned key). Nothing becomes free (`without_free`).
        """
        if staked and key in self.burned_keys:
            raise Refused(Rule.S8, f"{key.hex()[:16]}… was burned; replace the key")
        before = self.without_free(context)
        account = before.account(key)
        if staked == account.staked:
            return before
        moved = self._moved(account, staked - account.staked, staked, context)._replace(free=0)
        total_staked = before.total_staked - account.staked + staked
        total = before.total - account.total + moved.total
        if total > MAX_TOKENS:
            raise Refused(Rule.S5, f"the ledger would hold {total} tokens, {MAX_TOKENS} allowed")
        after = replace(before, accounts={**before.accounts, key: moved})
        vars(after).update(total_staked=total_staked, total=total, _loose=before._loose | {key})  # as in `after`
        return after

    def without_free(self, context: BlockContext) -> "StakeTable":
        """The table in which what has finished unbonding belongs to nobody: where motions set stakes, none is free.

        Accounts without any tokens go, or every rotation would leave one.
        """
        held = {key: self.accounts[key] for key in self._loose}
        found = {key: account.at(context)._replace(free=0) for key, account in held.items()}
        kept = {key: account for key, account in found.items() if account.total}
        if kept == held:
            return self
        others = {key: account for key, account in self.accounts.items() if key not in held}
        return replace(self, accounts=others | kept)

    @derived
    def _loose(self) -> frozenset[bytes]:
        """The keys whose tokens are not all at stake: time changes what the others have in nothing."""
        return frozenset(key for key, one in self.accounts.items() if one.free or one.unbonding or not one.staked)

    def under(self, params: Params) -> "StakeTable":
        """The same under other parameters."""
        return replace(self, params=params)

    def _moved(self, account: Account, amount: int, minted: int, context: BlockContext) -> Account:
        if amount == 0:
            raise Refused(Rule.S1, "a staking operation of 0 tokens moves nothing")
        if amount > account.free + minted:
            raise Refused(Rule.S2, f"staking {amount} tokens, {account.free} are free")
        if -amount > account.staked:
            raise Refused(Rule.S3, f"withdrawing {-amount} tokens, {account.staked} are staked")
        if amount > 0 or not (self.params.unbonding_blocks or self.params.unbonding_ms):
            since = account.since if account.liable else context.epoch + 1
            return Account(account.free + minted - amount, account.staked + amount, account.unbonding, since)
        until, unbonding, withdrawn = context.freed_from(self.params), account.unbonding, -amount
        if unbonding and unbonding[-1][0] == until:
            withdrawn += unbonding[-1][1]
            unbonding = unbonding[:-1]
        if len(unbonding) == MAX_WITHDRAWALS:
            raise Refused(Rule.S7, f"{MAX_WITHDRAWALS} withdrawals are under way, more have to wait")
        return Account(account.free, account.staked + amount, (*unbonding, (until, withdrawn)), account.since)
