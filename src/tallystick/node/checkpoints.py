"""Checkpoints of the log that members countersign: which, when, and what is known of them."""

from typing import NamedTuple

from tallystick.ledger.checkpoint import Cosignature
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.state import State


class Countersigned(NamedTuple):
    """A checkpoint with the cosignatures of more than 2/3 of the stake of its block's epoch."""

    state: State
    """After the checkpoint's block."""
    voters: Epoch
    """The epoch of that block."""
    cosignatures: tuple[Cosignature, ...]
    """Keys ascending."""
