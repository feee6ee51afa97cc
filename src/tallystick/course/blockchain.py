"""`Blockchain`: the chain of one node, judged by the engine at every change."""

from collections.abc import Iterable

from tallystick.course.block import Block
from tallystick.course.block_list import BlockList
from tallystick.course.certificate import Certificate
from tallystick.course.engine import Engine, Outlet
from tallystick.course.forger_rule import rule_for
from tallystick.course.wallet import Wallet
from tallystick.ledger.errors import Refused


class Blockchain:
    """A chain that begins with the genesis block. Without a consensus algorithm, anybody may forge its blocks.

    `wallet` and `outlet` are what a node adds: the key it forges with, and where its objects go.
    """

    def __init__(
        self,
        consensusAlgorithm: object = None,
        *,
        wallet: Wallet | None = None,
        outlet: Outlet | None = None,
    ) -> None:
        self._consensusAlgorithm = consensusAlgorithm
        self.engine = Engine(rule_for(consensusAlgorithm), wallet.engine if wallet else None, outlet)
        self._blockList = BlockList(self)

    @property
    def consensusAlgorithm(self) -> object:
        """Who may forge; can be replaced, and then counts from the next block on."""
        return self._consensusAlgorithm

    @consensusAlgorithm.setter
    def consensusAlgorithm(self, algorithm: object) -> None:
        self.engine.set_rule(rule_for(algorithm))
        self._consensusAlgorithm = algorithm

    @property
    def blockList(self) -> BlockList:
        """The blocks in order, live. Assigning a list replaces the chain, if the list is a legal chain.

        A shorter list winds the chain back: certificates of the blocks cut off are gone, those in the box stay.
        Raises `Refused`, and then nothing has changed.
        """
        return self._blockList

    @blockList.setter
    def blockList(self, blocks: Iterable[Block]) -> None:
        if blocks is not self._blockList:
            rebuilt = self.engine.rebuilt(list(blocks))
            rebuilt.succeed(self.engine)
            self.engine = rebuilt

    def add_block(self, block: Block) -> None:
        """Add the next block. Raises `Refused` for an illegal one, and then nothing has changed."""
        self.engine.add(block)

    def get_latest_block(self) -> Block:
        """The last block of the chain."""
        return self._blockList[-1]

    def contains_certificate(self, certificate: object) -> bool:
        """Whether the certificate is on the chain; the cost does not grow with the chain."""
        try:
            if not isinstance(certificate, Certificate):
                return False
            return self.engine.node.chain.place_of(certificate.as_entry().certificate.id) is not None
        except Refused:
            return False

    def is_legit(self) -> bool:
        """Whether the blocks, as the objects in `blockList` say them now, are a legal chain."""
        try:
            self.engine.rebuilt(list(self._blockList))
        except Refused:
            return False
        return True

    @property
    def stakes(self) -> dict[str, int]:
        """Tokens at stake after the last block, by public key."""
        return {key.hex(): stake for key, stake in self.engine.node.state.stakes.members}

    def display(self) -> None:
        """Print the chain, block by block."""
        for place, block in enumerate(self._blockList):
            print(f"Block {place}:")
            print(block.describe())
