"""The chain as the list that the assignment knows: `blockchain.blockList`."""

from collections.abc import Callable, Iterable, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any, overload

from tallystick.course.block import Block
from tallystick.course.engine import Engine

if TYPE_CHECKING:
    from tallystick.course.blockchain import Blockchain


class KeptBlocks(Sequence[Block]):
    """An engine's chain, to be read like a list: it grows and shrinks with the chain. Slices are plain lists."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def engine(self) -> Engine:
        """Whose chain this is."""
        return self._engine

    def __len__(self) -> int:
        return len(self.engine.records)

    @overload
    def __getitem__(self, place: int) -> Block: ...
    @overload
    def __getitem__(self, place: slice) -> list[Block]: ...
    def __getitem__(self, place: int | slice) -> Block | list[Block]:
        block = self.engine.records.block
        if isinstance(place, slice):
            return [block(index) for index in range(len(self))[place]]
        try:
            return block(range(len(self))[place])
        except IndexError:
            raise IndexError(f"no block {place}: the chain has {len(self)}, counted from 0") from None

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, list | KeptBlocks) else NotImplemented

    __hash__ = None  # type: ignore[assignment] # as for any list

    def __add__(self, other: Iterable[Block]) -> list[Block]:
        return [*self, *other]

    def __radd__(self, other: Iterable[Block]) -> list[Block]:
        return [*other, *self]

    def __repr__(self) -> str:
        return repr(list(self))


class BlockList(KeptBlocks, MutableSequence[Block]):
    """A `Blockchain`'s own list. Whatever is done to it has to lead to a legal chain; else `Refused`, and no change."""

    def __init__(self, blockchain: "Blockchain") -> None:
        self._blockchain = blockchain

    @property
    def engine(self) -> Engine:
        """Whose chain this is; a `Blockchain` gets a new engine when its list is assigned."""
        return self._blockchain.engine

    @overload
    def __setitem__(self, place: int, value: Block) -> None: ...
    @overload
    def __setitem__(self, place: slice, value: Iterable[Block]) -> None: ...
    def __setitem__(self, place: Any, value: Any) -> None:
        self._change(lambda blocks: blocks.__setitem__(place, value))

    def __delitem__(self, place: int | slice) -> None:
        self._change(lambda blocks: blocks.__delitem__(place))

    def insert(self, index: int, value: Block) -> None:
        """Put a block before the one at an index; at the end, it is the next block of the chain."""
        if index >= len(self):
            self._blockchain.add_block(value)
        else:
            self._change(lambda blocks: blocks.insert(index, value))

    def copy(self) -> list[Block]:
        """A plain list of the blocks."""
        return list(self)

    def clear(self) -> None:
        """Refused: the genesis block stays."""
        self._change(list.clear)

    def reverse(self) -> None:
        """Refused, unless there is one block only."""
        self._change(list.reverse)

    def extend(self, values: Iterable[Block]) -> None:
        """Add several next blocks, or none of them."""
        more = list(values)
        self._change(lambda blocks: blocks.extend(more))

    def _change(self, change: Callable[[list[Block]], object]) -> None:
        blocks = list(self)
        change(blocks)
        self._blockchain.blockList = blocks
