"""Who holds which tokens, and how many of them are at stake."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from tallystick.ledger.certificate import AnyCertificate, StakingOperation
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.params import MAX_TOKENS


class Account(NamedTuple):
    """One key's tokens: free ones, and ones at stake. Both are whole and never below zero."""

    free: int
    staked: int


_EMPTY = Account(0, 0)


class StakeTable:
    """Immutable. Tokens only move between free and staked; with `mint_freely`, staking makes what is short."""

    def __init__(self, accounts: Mapping[bytes, Account], mint_freely: bool = False) -> None:
        self._accounts = dict(accounts)
        self._mint_freely = mint_freely
        self.total_staked = sum(account.staked for account in self._accounts.values())
        self.total = self.total_staked + sum(account.free for account in self._accounts.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StakeTable) and self._accounts == other._accounts

    def __hash__(self) -> int:
        return hash(tuple(sorted(self._accounts.items())))

    def account(self, key: bytes) -> Account:
        """The key's tokens; nothing for a key never heard of."""
        return self._accounts.get(key, _EMPTY)

    @cached_property
    def members(self) -> tuple[tuple[bytes, int], ...]:
        """Keys with stake, ascending, each with its stake."""
        return tuple(sorted((key, account.staked) for key, account in self._accounts.items() if account.staked))

    @cached_property
    def _upper_ends(self) -> list[int]:
        return list(accumulate(stake for _, stake in self.members))

    def holder(self, ticket: int) -> bytes:
        """The member whose stretch of the staked tokens, laid in key order, holds token `ticket` (0 to total - 1)."""
        return self.members[bisect_right(self._upper_ends, ticket)][0]

    def after(self, certificates: Iterable[AnyCertificate]) -> "StakeTable":
        """The table after these certificates in order. Raises `Refused` (S1 to S5); this table never changes."""
        operations = [one for one in certificates if isinstance(one, StakingOperation)]
        if not operations:
            return self
        accounts = dict(self._accounts)
        total_staked, minted = self.total_staked, 0
        for operation in operations:
            account = accounts.get(operation.issuer, _EMPTY)
            short = max(0, operation.amount - account.free) if self._mint_freely else 0
            moved = self._moved(account, operation.amount, short)
            accounts[operation.issuer] = moved
            minted += short
            total_staked += operation.amount
            if self.total + minted > MAX_TOKENS:
                raise Refused(Rule.S5, f"the ledger would hold {self.total + minted} tokens, {MAX_TOKENS} allowed")
            if total_staked == 0 and not self._mint_freely:
                raise Refused(Rule.S4, "this would withdraw the ledger's last stake")
        after = StakeTable(accounts, self._mint_freely)
        if after.total != self.total + minted or after.total_staked != total_staked:
            raise AssertionError("tokens were made or lost (INV-1)")
        return after

    def _moved(self, account: Account, amount: int, minted: int) -> Account:
        if amount == 0:
            raise Refused(Rule.S1, "a staking operation of 0 tokens moves nothing")
        if amount > account.free + minted:
            raise Refused(Rule.S2, f"staking {amount} tokens, {account.free} are free")
        if -amount > account.staked:
            raise Refused(Rule.S3, f"withdrawing {-amount} tokens, {account.staked} are staked")
        return Account(account.free + minted - amount, account.staked + amount)
