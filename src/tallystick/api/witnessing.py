"""The routes of a witness: c2sp.org/tlog-witness v1.0.0, `add-checkpoint`, and the retrieval by monitors."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.asked import Bodies
from tallystick.api.questions import PLAIN_TEXT
from tallystick.host.clock import now_ms
from tallystick.host.witness import OtherSize, Witness
from tallystick.ledger.tlog_witness import MAX_REQUEST_BYTES
from tallystick.ledger.wallet import Wallet

_COST: Final = 20.0
"""Beyond that of a request: a signature is verified, one made, and the disk waited for."""
_SIZE: Final = {"Content-Type": "text/x.tlog.size"}
"""Exactly so: of a media type Starlette would add the charset."""

Spend = Callable[[Request, float], None]


class WitnessDoor:
    """A witness, at a door for everybody."""

    def __init__(self, witness: Witness, wallet: Wallet) -> None:
        """`wallet`: the witness's own key."""
        self._witness, self._wallet = witness, wallet

    def routes(self, bodies: Bodies, spend: Spend) -> list[tuple[str, str, Callable[[Request], Awaitable[Response]]]]:
        """Method, path and handler of each."""

        async def add_checkpoint(request: Request) -> Response:
            spend(request, _COST)
            body = await bodies.read_bytes(request, MAX_REQUEST_BYTES)
            try:
                line = await asyncio.to_thread(self._witness.add_checkpoint, body, self._wallet, now_ms() // 1000)
            except OtherSize as other:
                return Response(f"{other.size}\n", other.http_status, _SIZE)
            return Response(line, media_type=PLAIN_TEXT)

        async def checkpoint(request: Request) -> Response:
            found = await asyncio.to_thread(self._witness.checkpoint, request.path_params["origin_hash"])
            return Response(found, media_type=PLAIN_TEXT, headers={"Cache-Control": "max-age=60"})

        return [("POST", "/add-checkpoint", add_checkpoint), ("GET", "/{origin_hash}/checkpoint", checkpoint)]
