"""Bounds of the protocol, and the parameters that a ledger fixes in its genesis."""

from typing import Annotated, Final

from msgspec import Meta

from tallystick.ledger.encoding import Encoded
from tallystick.ledger.fields import MAX_INDEX, MAX_TIMESTAMP_MS, Milliseconds

MAX_BLOCK_TIMESTAMP_MS = 2**52
"""Half of what a timestamp can hold, so that there is always a later time for the next block."""

MAX_CERTIFICATE_BYTES = 2 * 1024
MAX_PAYLOAD_BYTES = 64 * 1024
"""Bound on a payload's content; its encoding adds under 1,700 bytes."""

MAX_BLOCK_BYTES = 1024 * 1024
MAX_BLOCK_CERTIFICATES = 8192
MAX_GENESIS_BYTES = 1024 * 1024
MAX_GENESIS_MEMBERS = 4096
MAX_MESSAGE_BYTES = 2 * 1024 * 1024

MAX_UNBONDING_BLOCKS = 65_536
MAX_ROTATION_DELAY_MS = 30 * 86_400_000
MAX_UNBONDING_EPOCHS = 4096
"""Most epochs, of their shortest time, that unbonding lasts: the state names each of them."""

Count = Annotated[int, Meta(ge=1, le=MAX_BLOCK_CERTIFICATES)]


class Params(Encoded):
    """What every node of one ledger must agree on; part of its genesis, so of its id."""

    forge_at_certificates: Count = 1
    """The lone forger forges when its box holds this many; Simplex forges at once."""

    min_block_certificates: Annotated[int, Meta(ge=0, le=1)] = 1
    """A ledger with nothing to record makes no blocks; the course allows empty ones."""

    max_block_certificates: Count = 4096

    certificate_ahead_ms: Milliseconds | None = 60_000
    """How far a certificate's claimed time may lie ahead of a node's clock (rule C2); `None`: any."""

    block_ahead_ms: Milliseconds | None = 500
    """How far a block's time may lie ahead of a node's clock (rule B8); `None`: any."""

    epoch_blocks: Annotated[int, Meta(ge=1, le=MAX_INDEX)] = 100
    epoch_ms: Milliseconds = 600_000
    """An epoch lasts so many blocks and so much block time, or the time alone if stakes changed."""

    unbonding_blocks: Annotated[int, Meta(ge=0, le=MAX_UNBONDING_BLOCKS)] = 200
    unbonding_ms: Milliseconds = 604_800_000
    """Withdrawn stake is free, and no longer liable, after so many further blocks and so much block time."""

    delta_ms: Annotated[int, Meta(ge=1, le=MAX_TIMESTAMP_MS)] = 300
    """The time in which a message is assumed to arrive; timeouts are multiples of it."""

    mint_freely: bool = False
    """Course profile: whoever stakes is given the tokens, as in the assignment."""

    admits_observers: bool = True
    """Whether a key without tokens may be a peer (rule N6): it reads all, and submits what anybody may submit."""

    anybody_certifies: bool = True
    """Whether any key may certify; otherwise those alone that stand in the directory (rule D1)."""

    rotation_delay_ms: Annotated[int, Meta(ge=0, le=MAX_ROTATION_DELAY_MS)] = 86_400_000
    """How much block time passes before a member key that announced its successor is replaced by it."""


CHANGEABLE: Final = {
    "max_block_certificates": (1, MAX_BLOCK_CERTIFICATES),
    "certificate_ahead_ms": (0, 86_400_000),
    "block_ahead_ms": (1, 60_000),
    "epoch_blocks": (1, 1_000_000),
    "epoch_ms": (1_000, 2_592_000_000),
    "unbonding_blocks": (0, MAX_UNBONDING_BLOCKS),
    "unbonding_ms": (0, 31_536_000_000),
    "delta_ms": (10, 60_000),
    "admits_observers": (0, 1),
    "anybody_certifies": (0, 1),
    "rotation_delay_ms": (0, MAX_ROTATION_DELAY_MS),
}
"""The parameters that a motion may set, each with its bounds (rule M2)."""
