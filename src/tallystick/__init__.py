"""A shared record of signed certificates that no single member can rewrite.

>>> from tallystick import Client
>>> with Client("node-1") as client:  # a node's folder, its URL, or the file of a chain
...     print(client.certify("report.pdf").state)
final
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tallystick.client.blocking import Client
    from tallystick.client.client import AsyncClient
    from tallystick.host.key_file import open_key_file
    from tallystick.ledger.errors import Refused
    from tallystick.ledger.wallet import Wallet
    from tallystick.problems import Problem

__all__ = ["AsyncClient", "Client", "Problem", "Refused", "Wallet", "__version__", "open_key_file"]

_HOMES = {
    "AsyncClient": "tallystick.client.client",
    "Client": "tallystick.client.blocking",
    "Problem": "tallystick.problems",
    "Refused": "tallystick.ledger.errors",
    "Wallet": "tallystick.ledger.wallet",
    "open_key_file": "tallystick.host.key_file",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for, and nothing before."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415

        return version("tallystick")
    if name not in _HOMES:
        raise AttributeError(f"module 'tallystick' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
