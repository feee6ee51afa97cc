"""All roles that a seed may give to a member."""

from tests.simulation.campaign.flooders import BoxFiller, Flooder, Withdrawer
from tests.simulation.campaign.liars import LyingAnswerer, LyingSyncer, StaleReplayer, Twins
from tests.simulation.campaign.voters import (
    Counterfeiter,
    Equivocator,
    FormBreaker,
    Loafer,
    Nullifier,
    Silent,
    Withholder,
)

ROLES = (
    Silent,
    Withholder,
    Nullifier,
    Loafer,
    Equivocator,
    Counterfeiter,
    FormBreaker,
    LyingSyncer,
    LyingAnswerer,
    StaleReplayer,
    Twins,
    Flooder,
    BoxFiller,
    Withdrawer,
)
FILL_BOXES = (BoxFiller, Withdrawer)
"""Where one of these is, boxes are small."""
