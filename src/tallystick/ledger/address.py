"""Where a node can be reached, in its own signed words."""

from typing import Annotated, Final

from msgspec import Meta

from tallystick.ledger.encoding import Codec
from tallystick.ledger.fields import UNSIGNED, Milliseconds, PublicKey, Signature
from tallystick.ledger.keys import Domain
from tallystick.ledger.wallet import Signable

MAX_AHEAD_MS: Final = 600_000
"""How far a record's time may lie ahead of a node's clock (rule N8)."""

_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]{{2,45}}\])"
_PORT: Final = r"(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"

Address = Annotated[str, Meta(max_length=255, pattern=rf"\A{_HOST}:{_PORT}\Z")]
"""`host:port` in ASCII: a name, an IPv4 address, or an IPv6 address in brackets; port 1 to 65535."""


class AddressRecord(Signable):
    """Where the node with this key listened at a time of its own clock; of one key's records the latest counts."""

    domain = Domain.ADDRESS

    key: PublicKey
    address: Address
    time_ms: Milliseconds
    signature: Signature = UNSIGNED


address_codec: Codec[AddressRecord] = Codec(AddressRecord, 512, "address record")
