"""The same client for programs that are not asynchronous."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from tallystick.api import views
from tallystick.client.client import AsyncClient
from tallystick.ledger.wallet import Wallet

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]],
) -> "Callable[Concatenate[Client, P], T]":
    """The method with its parameters and its description, for a client that waits for the answer."""

    @wraps(method)
    def run(self: "Client", /, *args: P.args, **options: P.kwargs) -> T:
        return self._runner.run(method(self._client, *args, **options))

    return run


class Client:
    """A ledger at one door: a node's folder or socket, a URL, or the file of a chain. Each method is `AsyncClient`'s.

    >>> with Client("node-1") as client:
    ...     outcome = client.certify("report.pdf")
    ...     print(outcome.state)
    final
    """

    def __init__(
        self,
        where: str | Path | None = None,
        *,
        ledger_id: str | None = None,
        wallet: Wallet | None = None,
        on_block: Callable[[int], object] = lambda index: None,
    ) -> None:
        """As `AsyncClient.open`."""
        self._runner = asyncio.Runner()
        try:
            opening = AsyncClient.open(where, ledger_id=ledger_id, wallet=wallet, on_block=on_block)
            self._client = self._runner.run(opening)
        except BaseException:
            self._runner.close()
            raise
        self.ledger_id, self.is_file = self._client.ledger_id, self._client.is_file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the door."""
        self._runner.run(self._client.close())
        self._runner.close()

    ledger = _blocking(AsyncClient.ledger)
    certificate = _blocking(AsyncClient.certificate)
    validity = _blocking(AsyncClient.validity)
    block = _blocking(AsyncClient.block)
    blocks = _blocking(AsyncClient.blocks)
    log = _blocking(AsyncClient.log)
    search = _blocking(AsyncClient.search)
    members = _blocking(AsyncClient.members)
    member = _blocking(AsyncClient.member)
    organisations = _blocking(AsyncClient.organisations)
    organisation = _blocking(AsyncClient.organisation)
    motions = _blocking(AsyncClient.motions)
    motion = _blocking(AsyncClient.motion)
    move = _blocking(AsyncClient.move)
    approve = _blocking(AsyncClient.approve)
    object = _blocking(AsyncClient.object)
    change_keys = _blocking(AsyncClient.change_keys)
    revoke = _blocking(AsyncClient.revoke)
    supersede = _blocking(AsyncClient.supersede)
    order_erasure = _blocking(AsyncClient.order_erasure)
    confirm_erasure = _blocking(AsyncClient.confirm_erasure)
    erasures = _blocking(AsyncClient.erasures)
    admission = _blocking(AsyncClient.admission)
    key_of = _blocking(AsyncClient.key_of)
    names = _blocking(AsyncClient.names)
    peers = _blocking(AsyncClient.peers)
    status = _blocking(AsyncClient.status)
    certify = _blocking(AsyncClient.certify)
    sign = _blocking(AsyncClient.sign)
    submit = _blocking(AsyncClient.submit)
    wait = _blocking(AsyncClient.wait)
    prove = _blocking(AsyncClient.prove)
    proofs = _blocking(AsyncClient.proofs)
    checkpoint = _blocking(AsyncClient.checkpoint)
    mirrored = _blocking(AsyncClient.mirrored)
    statements_of = _blocking(AsyncClient.statements_of)
    stake = _blocking(AsyncClient.stake)
    invite = _blocking(AsyncClient.invite)
    backup = _blocking(AsyncClient.backup)
    unban = _blocking(AsyncClient.unban)
    payload_use = _blocking(AsyncClient.payload_use)
    erase = _blocking(AsyncClient.erase)
    remember_name = _blocking(AsyncClient.remember_name)

    def follow(self, after: int | None = None) -> Generator[views.CertificateLine, None, None]:
        """As `AsyncClient.follow`; `close()` what it returns to end it early."""
        following = self._client.follow(after)

        async def following_one() -> views.CertificateLine:
            return await anext(following)

        try:
            while True:
                yield self._runner.run(following_one())
        finally:
            self._runner.run(following.aclose())
