"""`BlockchainNode`: keeps a chain, lets a user feed it, shares what is new, destroys what is not legal."""

from collections.abc import Hashable, Iterable, Iterator, Set

from tallystick.course.block import Block
from tallystick.course.blockchain import Blockchain
from tallystick.course.certificate import Certificate
from tallystick.course.engine import USER
from tallystick.course.network import Node
from tallystick.course.wallet import Wallet
from tallystick.ledger.errors import Refused, Rule


class CertificateBox(Set[Certificate]):
    """A node's box, live, to be looked at like a set; only the node puts certificates in and takes them out."""

    def __init__(self, blockchain: Blockchain) -> None:
        self._blockchain = blockchain

    @classmethod
    def _from_iterable(cls, certificates: Iterable[Certificate]) -> Set[Certificate]:  # type: ignore[override]
        return set(certificates)  # what `&`, `|` and `-` give

    def __contains__(self, certificate: object) -> bool:
        try:
            if not isinstance(certificate, Certificate):
                return False
            return certificate.as_entry().certificate.id in self._blockchain.engine.node.box
        except Refused:
            return False

    def __iter__(self) -> Iterator[Certificate]:
        return self._blockchain.engine.waiting()

    def __len__(self) -> int:
        return len(self._blockchain.engine.node.box)

    def __repr__(self) -> str:
        return repr(set(self))


class BlockchainNode(Node):
    """A node of the network with a chain and a box of its own; its identifier is its wallet's public key.

    `refusals` tells, latest last, what it refused and by which rule, whoever sent it.
    """

    def __init__(self, wallet: Wallet, consensusAlgorithm: object) -> None:
        """Raises `TypeError` for what is no wallet or no algorithm, `NetworkError` for a wallet that has a node."""
        if not isinstance(wallet, Wallet):
            raise TypeError(f"a BlockchainNode needs a Wallet(), not a {type(wallet).__name__}")
        if consensusAlgorithm is None:
            raise TypeError("a BlockchainNode needs a consensus algorithm, such as ProofOfStake(wallet.publicKey)")
        self.refusals: list[Refused] = []
        self._wallet = wallet
        self._blockchain = Blockchain(consensusAlgorithm, wallet=wallet, outlet=self)
        self.__certificateBox = CertificateBox(self._blockchain)
        super().__init__(wallet.publicKey)

    @property
    def wallet(self) -> Wallet:
        """The node's identity: what it signs blocks with."""
        return self._wallet

    @property
    def blockchain(self) -> Blockchain:
        """The node's own copy of the chain."""
        return self._blockchain

    @property
    def consensusAlgorithm(self) -> object:
        """Who may forge; can be replaced, and then counts from the next block on."""
        return self._blockchain.consensusAlgorithm

    @consensusAlgorithm.setter
    def consensusAlgorithm(self, algorithm: object) -> None:
        self._blockchain.consensusAlgorithm = algorithm

    @property
    def setAsideCount(self) -> int:
        """Blocks that came early and wait for the ones before them."""
        return self._blockchain.engine.node.sync.set_aside_count

    def new_certificate(self, certificate: Certificate) -> bool:
        """A user submits a certificate. Returns whether it was taken: into the box, or forged into a block at once.

        If not, the last of `refusals` says why.
        """
        self._require_network()
        with self._network:
            return self._blockchain.engine.take_certificate(certificate, USER)

    def new_block(self, block: Block) -> bool:
        """A user submits a block. Returns whether it is on the chain now and was not before.

        If not, it was set aside because it is early, or the last of `refusals` says why.
        """
        self._require_network()
        was_there = self._has(block)
        with self._network:
            self._blockchain.engine.take_block(block, USER)
        return not was_there and self._has(block)

    def _is_old_news(self, obj: object) -> bool:
        """Whether it is a certificate or a block that waits here or is on the chain.

        Everybody passes on what is new, so of what is on its way in a network of n nodes all but 1 in n is that.
        """
        return isinstance(obj, Certificate) and self._blockchain.engine.has_seen(obj)

    def receive_object_from_node(self, obj: object, senderNodeIdentifier: Hashable) -> None:
        """Take a certificate, a block, or a whole number that asks for the block at that index; refuse all else."""
        if senderNodeIdentifier == self.nodeIdentifier:
            return
        with self._network:
            engine = self._blockchain.engine
            if isinstance(obj, Block):
                engine.take_block(obj, senderNodeIdentifier)
            elif isinstance(obj, Certificate):
                engine.take_certificate(obj, senderNodeIdentifier)
            elif isinstance(obj, int):
                engine.take_request(obj, senderNodeIdentifier)  # refuses True and False
            else:
                kind = type(obj).__name__
                engine.refuse(Refused(Rule.E2, f"a node takes certificates, blocks and whole numbers, not a {kind}"))

    def _has(self, block: object) -> bool:
        try:
            return isinstance(block, Block) and self._blockchain.engine.records.has(block.as_engine())
        except Refused:
            return False
