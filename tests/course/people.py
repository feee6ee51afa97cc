"""What the course's tests have people do."""

from hypothesis import strategies as st

from tallystick.course import Block, BlockchainNode, Certificate, ProofOfStake, StakingOperation, Wallet

FIELDS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3)
    | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
"""All that a field of a certificate can be."""


class Diploma(Certificate):
    """A student's own certificate."""

    def __init__(self, issuerPublicKey, student, grades):
        super().__init__(issuerPublicKey)
        self.student = student
        self.grades = grades


def signed(wallet, certificate=None):
    certificate = certificate or Certificate(wallet.publicKey)
    wallet.sign(certificate)
    return certificate


def staked(wallet, amount):
    return signed(wallet, StakingOperation(wallet.publicKey, amount))


def block_after(parent, wallet, certificates=()):
    block = Block(wallet.publicKey, parent.index + 1, parent.hash(), list(certificates))
    wallet.sign(block)
    return block


def network_of(count, algorithm=None):
    """Nodes on one network; the first is the default forger."""
    wallets = [Wallet() for _ in range(count)]
    algorithm = algorithm or ProofOfStake(wallets[0].publicKey)
    return [BlockchainNode(wallet, algorithm) for wallet in wallets]


def box(node):
    return node._BlockchainNode__certificateBox


def tips(nodes):
    return {node.blockchain.get_latest_block().hash() for node in nodes}


def feed(node, wallet, count):
    """Submit this many certificates; they are all taken."""
    certificates = [signed(wallet) for _ in range(count)]
    assert all(node.new_certificate(certificate) for certificate in certificates)
    return certificates
