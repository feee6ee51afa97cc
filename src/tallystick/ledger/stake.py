"""Who holds which tokens, and how many of them are at stake."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

from tallystick.ledger.certificate import AnyCertificate, Evidence, StakingOperation
from tallystick.ledger.encoding import derived
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.params import MAX_TOKENS


class Account(NamedTuple):
    """One key's tokens: free, at stake, and leaving stake. All are whole and never below zero."""

    free: int
    staked: int
    leaving: tuple[tuple[int, int], ...] = ()
    """What was withdrawn and is still liable: (index of the block from which it is free, amount), in order."""

    @property
    def total(self) -> int:
        """All tokens of the key."""
        return self.free + self.staked + sum(amount for _, amount in self.leaving)

    def at(self, index: int) -> "Account":
        """The account as block `index` finds it: what has left stake by then is free."""
        released = sum(amount for until, amount in self.leaving if until <= index)
        if not released:
            return self
        still = tuple(one for one in self.leaving if one[0] > index)
        return Account(self.free + released, self.staked, still)


_EMPTY = Account(0, 0)


class StakeTable:
    """Immutable. Tokens only move between free, staked and leaving, and evidence burns them.

    With `mint_freely` (course), staking makes what is short.
    """

    def __init__(
        self,
        accounts: Mapping[bytes, Account],
        *,
        mint_freely: bool = False,
        unbonding_blocks: int = 0,
        burned: int = 0,
    ) -> None:
        self._accounts = dict(accounts)
        self._mint_freely = mint_freely
        self._unbonding_blocks = unbonding_blocks
        self.burned = burned
        self.total_staked = sum(account.staked for account in self._accounts.values())
        self.total = burned + sum(account.total for account in self._accounts.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StakeTable) and (self._accounts, self.burned) == (other._accounts, other.burned)

    def __hash__(self) -> int:
        return hash(tuple(sorted(self._accounts.items())))

    def account(self, key: bytes) -> Account:
        """The key's tokens; nothing for a key never heard of."""
        return self._accounts.get(key, _EMPTY)

    @property
    def accounts(self) -> Mapping[bytes, Account]:
        """All keys that ever had tokens."""
        return self._accounts

    @derived
    def members(self) -> tuple[tuple[bytes, int], ...]:
        """Keys with stake, ascending, each with its stake."""
        return tuple(sorted((key, account.staked) for key, account in self._accounts.items() if account.staked))

    @derived
    def holders(self) -> frozenset[bytes]:
        """Keys with tokens of any kind: members, and whoever can become one by staking."""
        return frozenset(key for key, account in self._accounts.items() if account.total)

    @derived
    def _upper_ends(self) -> list[int]:
        return list(accumulate(stake for _, stake in self.members))

    def holder(self, draw_number: int) -> bytes:
        """The member whose stretch of the staked tokens, in key order, holds `draw_number` (0 to total - 1)."""
        return self.members[bisect_right(self._upper_ends, draw_number)][0]

    def after(self, certificates: Iterable[AnyCertificate], index: int) -> "StakeTable":
        """The table after these certificates of block `index`, in order; this table never changes.

        Raises `Refused` (S1 to S6).
        """
        moving = [one for one in certificates if isinstance(one, StakingOperation | Evidence)]
        if not moving:
            return self
        accounts = dict(self._accounts)
        total_staked, minted, burned = self.total_staked, 0, self.burned
        for one in moving:
            if isinstance(one, Evidence):
                account = accounts.get(one.offender, _EMPTY).at(index)
                if account.total == account.free:
                    raise Refused(Rule.S6, f"{one.offender.hex()[:16]}… has no stake left")
                accounts[one.offender] = Account(account.free, 0)
                burned += account.total - account.free
                total_staked -= account.staked
                continue
            account = accounts.get(one.issuer, _EMPTY).at(index)
            short = max(0, one.amount - account.free) if self._mint_freely else 0
            accounts[one.issuer] = self._moved(account, one.amount, short, index)
            minted += short
            total_staked += one.amount
            if self.total + minted > MAX_TOKENS:
                raise Refused(Rule.S5, f"the ledger would hold {self.total + minted} tokens, {MAX_TOKENS} allowed")
            if total_staked == 0 and not self._mint_freely:
                raise Refused(Rule.S4, "this would withdraw the ledger's last stake")
        after = StakeTable(
            accounts, mint_freely=self._mint_freely, unbonding_blocks=self._unbonding_blocks, burned=burned
        )
        if after.total != self.total + minted or after.total_staked != total_staked:
            raise AssertionError("tokens were made or lost (INV-1)")
        return after

    def _moved(self, account: Account, amount: int, minted: int, index: int) -> Account:
        if amount == 0:
            raise Refused(Rule.S1, "a staking operation of 0 tokens moves nothing")
        if amount > account.free + minted:
            raise Refused(Rule.S2, f"staking {amount} tokens, {account.free} are free")
        if -amount > account.staked:
            raise Refused(Rule.S3, f"withdrawing {-amount} tokens, {account.staked} are staked")
        if amount > 0 or not self._unbonding_blocks:
            return Account(account.free + minted - amount, account.staked + amount, account.leaving)
        until, leaving = index + self._unbonding_blocks, account.leaving
        if leaving and leaving[-1][0] == until:  # one entry a block, so that many small withdrawals cost nothing
            leaving, amount_leaving = leaving[:-1], leaving[-1][1] - amount
        else:
            amount_leaving = -amount
        return Account(account.free, account.staked + amount, (*leaving, (until, amount_leaving)))
