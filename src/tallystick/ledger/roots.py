"""The parts of a state root: what a header says of the state after its block, and what a proof opens of that."""

from tallystick.ledger.encoding import Encoded, derived, digest, encode
from tallystick.ledger.fields import Digest, Index
from tallystick.ledger.merkle import EMPTY_ROOT


class LogRoots(Encoded):
    """A state root opened as far as the log: the root is the hash of these."""

    log_size: Index
    log_root: Digest
    headers_root: Digest
    """RFC 6962, over the encoded headers before the block's own."""
    members_hash: Digest
    """Of the `MemberRoots`."""

    @derived
    def hash(self) -> bytes:
        """The state root: SHA-256 of the encoded roots, 32 bytes."""
        return digest(self.encoded)


class MemberRoots(Encoded):
    """The next part of a state root, opened: who votes, who is who, what became of statements."""

    voters: Digest
    """Of the block's epoch; `next_voters` of the next block's (`Epoch.hash`)."""
    next_voters: Digest
    directory: Digest
    status: Digest
    rest_hash: Digest
    """Of the encoded [accounts, burned, parameters, evidence, motions]."""

    @derived
    def hash(self) -> bytes:
        """SHA-256 of the encoded roots, 32 bytes: `LogRoots.members_hash`."""
        return digest(self.encoded)


class StateRoots(Encoded):
    """The state after a block, a digest a part. A proof opens only those that it needs."""

    log_size: Index
    log_root: Digest
    headers_root: Digest
    """RFC 6962, over the encoded headers before the block's own."""
    voters: Digest
    """Of the block's epoch; `next_voters` of the next block's (`Epoch.hash`)."""
    next_voters: Digest
    accounts: Digest
    burned: Digest
    parameters: Digest
    evidence: Digest
    """Of the ends of epochs whose evidence is legal."""
    directory: Digest = EMPTY_ROOT
    status: Digest = EMPTY_ROOT
    motions: Digest = EMPTY_ROOT

    @derived
    def of_members(self) -> MemberRoots:
        """The part about members, directory and status."""
        rest = (self.accounts, self.burned, self.parameters, self.evidence, self.motions)
        return MemberRoots(self.voters, self.next_voters, self.directory, self.status, digest(encode(rest)))

    @derived
    def of_log(self) -> LogRoots:
        """The part about the log."""
        return LogRoots(self.log_size, self.log_root, self.headers_root, self.of_members.hash)

    @derived
    def hash(self) -> bytes:
        """The state root, 32 bytes."""
        return self.of_log.hash
