"""What a running node tells of its ledger, checked here: hashes, signatures, and the votes that make a block final."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tallystick.cli.connecting import RunningNode
from tallystick.host.control import (
    BlockFound,
    CertificateFound,
    FindCertificates,
    FindFile,
    GetBlock,
    GetPeers,
    GetStakes,
    GetStatus,
    PeerLine,
    Peers,
    Stakes,
    Status,
)
from tallystick.ledger.block import Block, block_codec, check_form, genesis_block
from tallystick.ledger.blockchain import check_follows
from tallystick.ledger.certificate import AnyCertificate, Payload, certificate_codec, check_payload, payload_codec
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.keys import is_signed
from tallystick.ledger.vote import FINALIZE, Tally, tally_codec
from tallystick.problems import DamagedStore
from tallystick.storage.file_statement import FileStatement, file_statement_in


@dataclass(frozen=True)
class Voted:
    """Who voted a block final, or the later block `by_block` that builds on it."""

    by_block: int
    voters: tuple[bytes, ...]
    stake: int | None
    """What the voters had at stake; `None`: who had what in that epoch cannot be shown from here."""
    total_stake: int | None


@dataclass(frozen=True)
class Standing:
    """A certificate with the block that it stands in."""

    certificate: AnyCertificate
    payload: Payload | None
    block: Block
    position: int


class NodeReader:
    """Asks a node; takes nothing on trust that can be checked without the whole chain. Raises `HostError`.

    An answer that does not hold raises `DamagedStore`, with the rule that it breaks.
    """

    def __init__(self, node: RunningNode, genesis: Genesis) -> None:
        self._node = node
        self._genesis = genesis
        self._ledger_id = genesis.ledger_id
        self._found: dict[int, tuple[Block, Tally | None]] = {}
        self.status = node.one(GetStatus(), Status)
        if self.status.ledger_id != self._ledger_id:
            raise DamagedStore(f"the node runs another ledger than the one in {node.folder.path}; start it again")

    @property
    def index(self) -> int:
        """The tip's index."""
        return self.status.index

    def block(self, index: int) -> Block | None:
        """The block with this index; `None` beyond the tip."""
        if index == 0:
            return genesis_block(self._genesis)
        return self._block(index)[0] if index <= self.index else None

    def voted(self, block: Block) -> Voted | None:
        """Who made the block final; `None` when no votes are kept for it or a block after it."""
        if block.index == 0:
            return None
        epoch = block.header.epoch
        with _explained(f"block {block.index}"):
            for index in range(block.index, self.index + 1):
                following, finalization = self._block(index)
                if index > block.index:
                    check_follows(following.header, block.header)
                if following.header.epoch != epoch:
                    return None
                block = following
                if finalization is not None:
                    return self._check_votes(block, finalization)
        return None

    def certificates(self, id_prefix: str) -> list[Standing]:
        """The certificates whose id begins so (8 digits at least)."""
        found = self._node.all(FindCertificates(id_prefix), CertificateFound)
        standings = [self._standing(one) for one in found]
        if not all(one.certificate.id.hex().startswith(id_prefix.lower()) for one in standings):
            raise DamagedStore(f"the node found certificates whose ids do not begin with {id_prefix}")
        return standings

    def covering(self, statement: FileStatement) -> Iterator[tuple[Standing, FileStatement]]:
        """The certificates that cover these bytes, with what they state."""
        for one in self._node.all(FindFile(statement.sha256, statement.size_bytes), CertificateFound):
            standing = self._standing(one)
            stated = file_statement_in(standing.payload) if standing.payload else None
            if stated is not None and stated.is_about_same_bytes(statement):
                yield standing, stated

    def stakes(self) -> Stakes:
        """All accounts, as the node tells."""
        return self._node.one(GetStakes(), Stakes)

    def peers(self) -> tuple[PeerLine, ...]:
        """All whom the node knows."""
        return self._node.one(GetPeers(), Peers).peers

    # ---- inside ---------------------------------------------------------------------------------------------

    def _block(self, index: int) -> tuple[Block, Tally | None]:
        if index not in self._found:
            answer = self._node.one(GetBlock(index), BlockFound)
            with _explained(f"block {index}"):
                block = block_codec.decode(answer.encoded)
                if block.index != index:
                    raise Refused(Rule.B1, f"it says that its index is {block.index}")
                check_form(block, self._ledger_id)
                if not is_signed(block.header.signed_bytes(), block.signature, block.header.forger):
                    raise Refused(Rule.B3, "its forger did not sign it so")
                self._found[index] = block, tally_codec.decode(answer.finalization) if answer.finalization else None
        return self._found[index]

    def _standing(self, found: CertificateFound) -> Standing:
        block, _ = self._block(found.block_index)
        with _explained(f"the certificate at {found.position} in block {block.index}"):
            certificate = certificate_codec.decode(found.encoded)
            signed = certificate.signed_bytes(self._ledger_id)
            if not is_signed(signed, certificate.signature, certificate.issuer):
                raise Refused(Rule.C1, "its issuer did not sign it so")
            if block.hash != found.block_hash or certificate not in block.certificates[found.position :][:1]:
                raise Refused(Rule.B7, "it does not stand there")
            payload = payload_codec.decode(found.payload) if found.payload else None
            check_payload(certificate, payload)
        return Standing(certificate, payload, block, found.position)

    def _check_votes(self, block: Block, tally: Tally) -> Voted:
        ballot, epoch = tally.ballot, block.header.epoch
        if (ballot.kind, ballot.epoch, ballot.block_hash) != (FINALIZE, epoch, block.hash):
            raise Refused(Rule.V2, "the votes kept with it are for something else")
        signed = ballot.signed_bytes(self._ledger_id)
        for vote in tally.votes:
            if not is_signed(signed, vote.signature, vote.member):
                raise Refused(Rule.V1, "a vote for it is not signed by its member")
        voters = tuple(dict.fromkeys(member for member, _ in tally.signatures))
        members = self._members(epoch)
        if members is None:
            return Voted(block.index, voters, None, None)
        stake, total = sum(members.get(voter, 0) for voter in voters), sum(members.values())
        if 3 * stake <= 2 * total:
            raise Refused(Rule.V2, f"{stake} of {total} staked tokens voted for it")
        return Voted(block.index, voters, stake, total)

    def _members(self, epoch: int) -> Mapping[bytes, int] | None:
        """Who has what at stake in an epoch: by the genesis in the first; in the current one, as the node tells."""
        if epoch == 0:
            return dict(self._genesis.stakes().members)
        told = self.stakes()
        return {one.key: one.votes_with for one in told.members} if told.epoch == epoch else None


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn a refusal into a `DamagedStore` that says what does not hold."""
    try:
        yield
    except Refused as refused:
        message = f"{what}, as the node tells it, does not hold: {refused}; run tallystick check"
        raise DamagedStore(message, refused) from None
