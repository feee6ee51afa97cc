"""Where a certificate stands."""

from typing import NamedTuple

from tallystick.api import views
from tallystick.ledger.block import Block
from tallystick.ledger.certificate_index import Place


class LogPlace(NamedTuple):
    """Where a certificate stands in its block, and in the log."""

    place: Place
    log_index: int

    def view(self, block: Block) -> views.Place:
        """As it is told."""
        return views.Place(*self.place, self.log_index, block.header.timestamp_ms)
