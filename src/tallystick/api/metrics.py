"""What /metrics tells Prometheus."""

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from tallystick.api.views import Status


def metrics(status: Status) -> bytes:
    """The status, number by number, in the text format of Prometheus."""
    registry = CollectorRegistry()
    for name, what, value in (
        ("tip_index", "Index of the last final block.", status.tip_index),
        ("best_index", "The latest block that a peer told of.", status.best_index),
        ("log_certificates", "Final certificates.", status.log_size),
        ("waiting_certificates", "Certificates that are not final.", status.waiting),
        ("epoch", "Of the next block.", status.epoch),
        ("view", "Of agreement.", status.view),
        ("peers", "Nodes connected with this one.", status.peers),
        ("members", "Keys with stake in this epoch.", status.members),
        ("members_connected", "Of them, those in reach, this node included.", status.members_connected),
        ("heard_stake_tokens", "Stake of the members in reach.", status.heard_stake),
        ("total_stake_tokens", "Stake of all members.", status.total_stake),
        ("is_voting", "Whether this node's key votes.", status.is_voting),
        ("is_well", "Whether nobody has to do anything.", status.is_well),
        ("tip_timestamp_seconds", "When the last final block was forged.", status.tip_timestamp_ms / 1000),
        ("stuck_since_seconds", "Since when nothing becomes final; 0: it does.", (status.stuck_since_ms or 0) / 1000),
    ):
        Gauge(f"tallystick_{name}", what, registry=registry).set(value)
    return generate_latest(registry)
