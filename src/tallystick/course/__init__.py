"""The assignment's classes under the assignment's names: thin adapters over the engine, with no rule of their own.

camelCase lives here and in `scripts/` only.
"""

from tallystick.course.block import Block
from tallystick.course.blockchain import Blockchain
from tallystick.course.certificate import Certificate
from tallystick.course.network import NetworkError, Node
from tallystick.course.node import BlockchainNode
from tallystick.course.proof_of_stake import ProofOfStake
from tallystick.course.proof_of_work import ProofOfWork
from tallystick.course.stake import StakingOperation
from tallystick.course.timestamp import now
from tallystick.course.wallet import Wallet
from tallystick.ledger.errors import Refused

__all__ = [
    "Block",
    "Blockchain",
    "BlockchainNode",
    "Certificate",
    "NetworkError",
    "Node",
    "ProofOfStake",
    "ProofOfWork",
    "Refused",
    "StakingOperation",
    "Wallet",
    "now",
]
