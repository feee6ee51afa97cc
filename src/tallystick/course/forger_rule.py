"""Consensus algorithms of the course and of students, as the engine's rules of who may forge."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from msgspec.structs import replace

from tallystick.course.block import Block
from tallystick.course.block_list import KeptBlocks
from tallystick.course.engine import Engine
from tallystick.course.lone_forger import ForgerRule
from tallystick.course.timestamp import reading
from tallystick.ledger.block import Block as EngineBlock
from tallystick.ledger.blockchain import NOTHING
from tallystick.ledger.certificate import AnyCertificate
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.fields import UNSIGNED
from tallystick.ledger.header import Header
from tallystick.ledger.state import State
from tallystick.ledger.transition import make_header


class ConsensusAlgorithm:
    """What `ProofOfStake` and `ProofOfWork` share: a rule of the engine. A subclass may judge otherwise."""

    rule: ForgerRule
    isStopped: bool = False

    mines: ClassVar[bool] = False
    """Whether forging takes a search for a nonce."""

    def is_next_block_forger_legit(self, blockList: Sequence[Block], block: Block) -> bool:
        """Whether the block's issuer may forge what comes after these blocks."""
        try:
            self.rule.check(state_after(blockList), block.as_engine().header)
        except Refused:
            return False
        return True

    def is_the_engines(self) -> bool:
        """Whether nobody has put another judgement in place of the engine's."""
        name = "is_next_block_forger_legit"
        return name not in vars(self) and getattr(type(self), name) is getattr(ConsensusAlgorithm, name)


class Anybody:
    """The rule of a chain without a consensus algorithm."""

    def may_forge(self, state: State, forger: bytes) -> bool:
        """Always."""
        return True

    def check(self, state: State, header: Header) -> None:
        """Refuse nobody."""

    def work(self, header: Header) -> tuple[Header, bool]:
        """Ready as it is."""
        return header, True


class OwnRule:
    """A student's own algorithm: "create a block as if you were going to forge it, and use this function on it".

    The very block that was asked about is forged.
    """

    def __init__(self, algorithm: Any, engine: Engine) -> None:
        self._algorithm = algorithm
        self._engine = engine
        self._blocks = KeptBlocks(engine)
        self._mines = isinstance(algorithm, ConsensusAlgorithm) and algorithm.mines
        self._approved: Header | None = None

    def may_forge(self, state: State, forger: bytes) -> bool:
        """Whether the algorithm says yes to a draft; one that mines is asked about each nonce instead."""
        if self._is_stopped():
            return False
        if self._mines:
            return True
        certificates = self._waiting()
        draft = make_header(state, state.index + 1, reading(), forger, certificates)
        return self._approves(state, draft, certificates)

    def work(self, header: Header) -> tuple[Header, bool]:
        """The header that the algorithm said yes to; if it mines, after trying nonces until it does or is stopped."""
        if not self._mines:
            assert self._approved is not None, "only who may forge works"
            return self._approved, True
        state, certificates = self._engine.node.state, self._waiting()
        while not self._is_stopped():
            if self._approves(state, header, certificates):
                return header, True
            header = replace(header, nonce=header.nonce + 1)
        return header, False

    def check(self, state: State, header: Header) -> None:
        """Raise `Refused` (B4) unless the algorithm says yes."""
        if header == self._approved:
            return
        if not self._says_yes(state, self._engine.records.noted_block(header.hash)):
            name = type(self._algorithm).__name__
            raise Refused(Rule.B4, f"{name} does not let {header.forger.hex()[:16]}… forge block {header.index}")

    def _is_stopped(self) -> bool:
        return bool(getattr(self._algorithm, "isStopped", False))

    def _waiting(self) -> list[AnyCertificate]:
        node = self._engine.node
        return node.box.choose(reading(), node.state, NOTHING)

    def _approves(self, state: State, header: Header, certificates: list[AnyCertificate]) -> bool:
        self._approved = None
        if self._says_yes(state, EngineBlock(header, UNSIGNED, tuple(certificates))):
            self._approved = header
        return self._approved is not None

    def _says_yes(self, state: State, block: EngineBlock) -> bool:
        records = self._engine.records
        records.follow(state)
        try:
            return bool(self._algorithm.is_next_block_forger_legit(self._blocks, records.course_block(block)))
        except Exception as error:  # whatever it is, the node goes on and the student gets to see it
            self._engine.fail(error)
            return False


def rule_for(algorithm: object) -> Callable[[Engine], ForgerRule]:
    """How to make the rule by which an engine judges forgers. Raises `TypeError` for what is no algorithm."""
    if algorithm is None:
        return lambda engine: Anybody()
    name = type(algorithm).__name__
    if isinstance(algorithm, ConsensusAlgorithm) and not hasattr(algorithm, "rule"):
        raise TypeError(f"{name} is not ready: its __init__ has to call super().__init__(…)")
    if isinstance(algorithm, ConsensusAlgorithm) and algorithm.is_the_engines():
        rule = algorithm.rule
        return lambda engine: rule
    if not callable(getattr(algorithm, "is_next_block_forger_legit", None)):
        raise TypeError(
            f"a consensus algorithm needs a method is_next_block_forger_legit(blockList, block); "
            f"{name} has none. Give an object, as in ProofOfStake(wallet.publicKey)"
        )
    return lambda engine: OwnRule(algorithm, engine)


def state_after(blockList: Iterable[Block]) -> State:
    """The engine's state after these blocks, whoever forged them. Raises `Refused` unless they are a chain."""
    if isinstance(blockList, KeptBlocks):
        return blockList.engine.node.state
    return Engine(rule_for(None)).rebuilt(list(blockList)).node.state
