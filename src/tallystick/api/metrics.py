"""What /metrics tells Prometheus, and /readyz a supervisor."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tallystick.api.views import Status


class _StatusCollector(Collector):
    def __init__(self, look: Callable[[], Status]) -> None:
        self._look = look

    def collect(self) -> Iterable[Metric]:
        """The status, number by number."""
        status = self._look()
        gauges = {
            "tip_index": ("Index of the last final block.", status.tip_index),
            "best_index": ("The latest block that a peer told of.", status.best_index),
            "log_certificates": ("Final certificates.", status.log_size),
            "waiting_certificates": ("Certificates that are not final.", status.waiting),
            "epoch": ("Of the next block.", status.epoch),
            "view": ("Of agreement.", status.view),
            "peers": ("Nodes connected with this one.", status.peers),
            "members": ("Keys with stake in this epoch.", status.members),
            "members_connected": ("Of them, those in reach, this node included.", status.members_connected),
            "heard_stake_tokens": ("Stake of the members in reach.", status.heard_stake),
            "total_stake_tokens": ("Stake of all members.", status.total_stake),
            "is_voting": ("Whether this node's key votes.", int(status.is_voting)),
            "is_well": ("Whether nobody has to do anything.", int(status.is_well)),
            "tip_timestamp_seconds": ("When the last final block was forged.", status.tip_timestamp_ms / 1000),
            "stuck_since_seconds": (
                "Since when nothing becomes final; 0: it does.",
                (status.stuck_since_ms or 0) / 1000,
            ),
        }
        for name, (what, value) in gauges.items():
            yield GaugeMetricFamily(f"tallystick_{name}", what, value)


def metrics(look: Callable[[], Status]) -> bytes:
    """In the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(_StatusCollector(look))
    return generate_latest(registry)
