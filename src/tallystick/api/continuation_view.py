"""How it is told that a ledger continues another: by how many, and that no ledger decided it."""

from tallystick.api.views import Continuation, OldMember
from tallystick.ledger.genesis import Genesis


def continuation_view(genesis: Genesis) -> Continuation | None:
    """What the genesis says of an older ledger; `None`: the ledger continues none."""
    if (said := genesis.continues) is None:
        return None
    signers = said.consenting
    keys, stake = {one.key for one in signers}, sum(one.stake for one in signers)
    who = f"{len(signers):,} of {len(said.voters):,} {'member' if len(said.voters) == 1 else 'members'}"
    what = f"{stake:,} of {said.total_stake:,} tokens at stake"
    return Continuation(
        ledger_id=said.ledger_id.hex(),
        name=said.name,
        block_index=said.index,
        block_hash=said.block_hash.hex(),
        block_timestamp_ms=said.timestamp_ms,
        log_size=said.log_size,
        log_root=said.log_root.hex(),
        members=[OldMember(one.key.hex(), one.organisation, one.stake, one.key in keys) for one in said.voters],
        stake_signed=stake,
        total_stake=said.total_stake,
        summary=f"continued by {who} with {what}, a decision outside the ledger",
    )
