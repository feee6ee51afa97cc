"""How much one source may ask of a door that anybody reaches: a token bucket for each address."""

import ipaddress
import time
from typing import Final

from starlette.requests import Request

from tallystick.problems import Busy

_PER_SECOND: Final = 200.0
"""What a source may spend. A request costs 1, and one more for each certificate submitted or to be proven."""
_AT_ONCE: Final = 5_000.0
_MOST_SOURCES: Final = 10_000
_IPV6_NETWORK_BITS: Final = 64


class TooManyRequests(Busy):
    """This source asks faster than it may."""

    code, http_status = "too-many-requests", 429

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"you ask faster than {_PER_SECOND:.0f} a second; wait {wait_s:.0f} s")
        self.wait_s = wait_s


class Rates:
    """The buckets of the sources heard of lately."""

    def __init__(self, proxy: str | None = None) -> None:
        """`proxy`: the address whose `X-Forwarded-For` counts; nobody else's does."""
        self._proxy = proxy
        self._buckets: dict[str, tuple[float, float]] = {}
        """By source: what was left, and when (s, monotonic)."""

    def spend(self, request: Request, cost: float) -> None:
        """Take from the source's bucket. Raises `TooManyRequests` when it holds too little."""
        source, now_s = self._source(request), time.monotonic()
        left, at_s = self._buckets.pop(source, (_AT_ONCE, now_s))
        left = min(_AT_ONCE, left + (now_s - at_s) * _PER_SECOND)
        self._buckets[source] = (left - cost if cost <= left else left), now_s
        if len(self._buckets) > _MOST_SOURCES:
            del self._buckets[next(iter(self._buckets))]
        if cost > left:
            raise TooManyRequests((cost - left) / _PER_SECOND)

    def _source(self, request: Request) -> str:
        address = request.client.host if request.client else ""
        if self._proxy is not None and address == self._proxy:
            address = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip() or address
        return source_of(address)


def source_of(address: str, ipv6_bits: int = _IPV6_NETWORK_BITS) -> str:
    """Whoever has an address has it alone, or all of its IPv6 network, of so many bits."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, ipv6_bits), strict=False))
    return address
