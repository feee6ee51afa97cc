"""What a ledger's genesis says of an older ledger that it goes on from, and who of that one's members signed it.

A ledger that lost its quorum for good decides nothing any more, so neither does this: it is a decision outside of it,
and shown as one. What stands on the old ledger stays there, and its proofs hold.
"""

from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace

from tallystick.ledger.encoding import Encoded
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import (
    MAX_INDEX,
    MAX_TOKENS,
    Digest,
    Index,
    Milliseconds,
    OrganisationId,
    PublicKey,
    Signature,
    Stake,
    Title,
)
from tallystick.ledger.keys import Domain, Verify, check_public_key, signed_bytes

MAX_OLD_VOTERS: Final = 1024
"""With as many founders, and all of these signing, a genesis stays well within its bytes."""


class OldVoter(Encoded):
    """Whose votes would count for the old ledger's next block."""

    key: PublicKey
    stake: Stake
    organisation: OrganisationId | None
    """That held the key there."""


class Continuation(Encoded):
    """An older ledger as of its final block, and the consents of those of its voters who go on.

    Voters and consents stand in ascending order of their keys.
    """

    ledger_id: Digest
    name: Title
    index: Annotated[int, Meta(ge=1, le=MAX_INDEX)]
    block_hash: Digest
    timestamp_ms: Milliseconds
    log_size: Index
    """This and the log's root are of the state after the block; so are the voters."""
    log_root: Digest
    voters: Annotated[tuple[OldVoter, ...], Meta(min_length=1, max_length=MAX_OLD_VOTERS)]
    consents: Annotated[tuple[tuple[PublicKey, Signature], ...], Meta(max_length=MAX_OLD_VOTERS)] = ()

    @property
    def total_stake(self) -> int:
        """Of all voters."""
        return sum(one.stake for one in self.voters)

    @property
    def consenting(self) -> list[OldVoter]:
        """The voters that signed."""
        keys = {key for key, _ in self.consents}
        return [one for one in self.voters if one.key in keys]

    def with_consents(self, consents: Mapping[bytes, bytes]) -> "Continuation":
        """The same with these signatures, by key, and no others."""
        return replace(self, consents=tuple(sorted(consents.items())))

    def consent_bytes(self, unsigned: bytes) -> bytes:
        """The message under a consent: the genesis without any consent, for a member of the old ledger."""
        return signed_bytes(Domain.CONTINUATION, self.ledger_id, unsigned)

    def check(self, created_ms: int, unsigned: bytes, verify: Verify) -> None:
        """Raise `Refused` (K1, G5) unless at least one voter signed this very genesis, which begins after the block."""
        keys, signers = [one.key for one in self.voters], [key for key, _ in self.consents]
        for ordered, who in ((keys, "voters of the old ledger"), (signers, "those who sign the continuation")):
            if ordered != sorted(set(ordered)):
                raise Refused(Rule.G5, f"{who} must be distinct and in ascending order of their keys")
        for key in keys:
            check_public_key(key)
        if self.total_stake > MAX_TOKENS:
            raise Refused(Rule.G5, f"{self.total_stake} tokens at stake on the old ledger, {MAX_TOKENS} allowed")
        if created_ms < self.timestamp_ms:
            raise Refused(Rule.G5, "the ledger begins before the block that it goes on from")
        if not signers:
            raise Refused(Rule.G5, "nobody of the old ledger signed the continuation")
        message = self.consent_bytes(unsigned)
        for key, signature in self.consents:
            if key not in keys:
                raise Refused(Rule.G5, f"{key.hex()[:16]}… had no stake on the old ledger")
            if not verify(message, signature, key):
                raise Refused(Rule.G5, f"the consent of {key.hex()[:16]}… is not to this genesis, or not its own")
