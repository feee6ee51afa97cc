"""The routes of a witness: c2sp.org/tlog-witness v1.0.0, `add-checkpoint`, and the retrieval by monitors."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, ParamSpec

from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.asked import Bodies
from tallystick.api.questions import PLAIN_TEXT
from tallystick.host.clock import now_ms
from tallystick.host.logs import note
from tallystick.host.witness import OtherSize, Witness
from tallystick.ledger.tlog_witness import MAX_REQUEST_BYTES
from tallystick.ledger.wallet import Wallet
from tallystick.problems import StoreFailed

_COST: Final = 20.0
"""Beyond that of a request: a signature is verified, one made, and the disk waited for."""
_SIZE: Final = {"Content-Type": "text/x.tlog.size"}
"""Exactly so: of a media type Starlette would add the charset."""

Spend = Callable[[Request, float], None]
P = ParamSpec("P")


class WitnessDoor:
    """A witness, at a door for everybody."""

    def __init__(self, witness: Witness, wallet: Wallet) -> None:
        """`wallet`: the witness's own key."""
        self._witness, self._wallet = witness, wallet
        self._has_failed = False

    def routes(self, bodies: Bodies, spend: Spend) -> list[tuple[str, str, Callable[[Request], Awaitable[Response]]]]:
        """Method, path and handler of each."""

        async def add_checkpoint(request: Request) -> Response:
            spend(request, _COST)
            body = await bodies.read_bytes(request, MAX_REQUEST_BYTES)
            try:
                line = await self._asked(self._witness.add_checkpoint, body, self._wallet, now_ms() // 1000)
            except OtherSize as other:
                return Response(f"{other.size}\n", other.http_status, _SIZE)
            return Response(line, media_type=PLAIN_TEXT)

        async def checkpoint(request: Request) -> Response:
            found = await self._asked(self._witness.checkpoint, request.path_params["origin_hash"])
            return Response(found, media_type=PLAIN_TEXT, headers={"Cache-Control": "max-age=60"})

        return [("POST", "/add-checkpoint", add_checkpoint), ("GET", "/{origin_hash}/checkpoint", checkpoint)]

    async def _asked(self, ask: Callable[P, str], *args: P.args, **kwargs: P.kwargs) -> str:
        """What the witness says. Once it has failed it answers no more: its operator is told, once."""
        try:
            return await asyncio.to_thread(ask, *args, **kwargs)
        except StoreFailed as failed:
            if not self._has_failed:
                self._has_failed = True
                note(logging.ERROR, "witness failed", reason=str(failed))
            raise
