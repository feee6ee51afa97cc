"""The same client for programs that are not asynchronous."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from tallystick.api import questions as q
from tallystick.api import views
from tallystick.client.client import AsyncClient
from tallystick.client.verification import Certified
from tallystick.ledger.certificate import Payload
from tallystick.ledger.wallet import Wallet
from tallystick.storage.file_statement import FileStatement

T = TypeVar("T")


class Client:
    """A ledger at one door: a node's folder or socket, a URL, or the file of a chain. Each method is `AsyncClient`'s.

    >>> with Client("node-1") as client:
    ...     outcome = client.certify("report.pdf")
    ...     print(outcome.state)
    final
    """

    def __init__(
        self,
        where: str | Path = "~/.tallystick",
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the door."""
        self._run(self._client.close())
        self._runner.close()

    @property
    def ledger_id(self) -> bytes:
        """The ledger that this client speaks for."""
        return self._client.ledger_id

    @property
    def is_file(self) -> bool:
        """Whether it answers from a file, of which every hash, signature, vote and rule was checked here."""
        return self._client.is_file

    def ledger(self) -> views.Ledger:
        """The ledger as a whole."""
        return self._run(self._client.ledger())

    def certificate(self, certificate_id: str) -> views.Certificate:
        """A final certificate, checked, by its id or how that begins."""
        return self._run(self._client.certificate(certificate_id))

    def block(self, index: int) -> views.Block:
        """A block, with its certificates."""
        return self._run(self._client.block(index))

    def blocks(self, limit: int = 50, cursor: str | None = None) -> views.Blocks:
        """A page of blocks, the newest first."""
        return self._run(self._client.blocks(limit, cursor))

    def log(self, limit: int = 50, cursor: str | None = None) -> views.Certificates:
        """A page of all certificates, the oldest first."""
        return self._run(self._client.log(limit, cursor))

    def search(self, question: q.Search) -> views.Certificates:
        """A page of the certificates that match, the newest first."""
        return self._run(self._client.search(question))

    def members(self, limit: int = q.MOST_ITEMS, cursor: str | None = None) -> views.Members:
        """A page of accounts, those with most at stake first."""
        return self._run(self._client.members(limit, cursor))

    def member(self, who: str) -> views.Member:
        """An account, by the member's name or how its key begins."""
        return self._run(self._client.member(who))

    def key_of(self, who: str) -> str:
        """A whole key, by a name or how the key begins."""
        return self._run(self._client.key_of(who))

    def names(self) -> views.Names:
        """The address book."""
        return self._run(self._client.names())

    def peers(self, limit: int = q.MOST_ITEMS, cursor: str | None = None) -> views.Peers:
        """A page of those whom the node knows."""
        return self._run(self._client.peers(limit, cursor))

    def status(self) -> views.Status:
        """How the node is."""
        return self._run(self._client.status())

    def certify(
        self, path: str | Path, *, subject: str | None = None, note: str = "", timeout_s: float | None = 60.0
    ) -> views.Outcome:
        """Certify a file, and wait until that is final."""
        return self._run(self._client.certify(path, subject=subject, note=note, timeout_s=timeout_s))

    def sign(self, statements: Sequence[tuple[str, Payload | None]]) -> list[bytes]:
        """Sign subjects with their payloads; nothing is submitted."""
        return self._run(self._client.sign(statements))

    def submit(
        self,
        entries: Sequence[bytes],
        *,
        timeout_s: float | None = 60.0,
        on_outcomes: Callable[[Sequence[views.Outcome]], object] = lambda outcomes: None,
    ) -> list[views.Outcome]:
        """Submit encoded entries, and wait for them."""
        return self._run(self._client.submit(entries, timeout_s=timeout_s, on_outcomes=on_outcomes))

    def wait(self, certificate_ids: Sequence[str], *, timeout_s: float | None = 60.0) -> list[views.Outcome]:
        """What became of submitted certificates, once none waits any more."""
        return self._run(self._client.wait(certificate_ids, timeout_s=timeout_s))

    def statements_of(self, described: FileStatement) -> list[tuple[views.Certificate, FileStatement]]:
        """The certificates of a file's very bytes, and what each states."""
        return self._run(self._client.statements_of(described))

    def verify_statement(self, described: FileStatement) -> list[Certified]:
        """The certificates of a file that was described already, checked here."""
        return self._run(self._client.verify_statement(described))

    def verify(self, path: str | Path) -> list[Certified]:
        """The certificates of a file's very bytes, checked here; empty: there is none."""
        return self._run(self._client.verify(path))

    def follow(self, after: int | None = None) -> Iterator[views.CertificateLine]:
        """Certificates as they become final, without an end."""
        following = self._client.follow(after)
        try:
            while True:
                yield self._run(_next(following))
        finally:
            self._run(following.aclose())

    def stake(self, amount: int, *, timeout_s: float | None = 60.0) -> views.Outcome:
        """Stake tokens of the node's own, or withdraw them."""
        return self._run(self._client.stake(amount, timeout_s=timeout_s))

    def invite(self) -> str:
        """A line of text with which somebody else's node finds this ledger."""
        return self._run(self._client.invite())

    def backup(self, path: str | Path) -> views.Backup:
        """Have the node write a copy of the ledger into a new file."""
        return self._run(self._client.backup(path))

    def unban(self, key: str) -> None:
        """Let a banned peer in again before its time."""
        self._run(self._client.unban(key))

    def erase(self, payload_hash: str) -> None:
        """Erase a payload from the node, for good."""
        self._run(self._client.erase(payload_hash))

    def remember_name(self, key: str, name: str) -> None:
        """Note in the node's address book what a key is called."""
        self._run(self._client.remember_name(key, name))

    def _run(self, work: "Coroutine[Any, Any, T]") -> T:
        return self._runner.run(work)


async def _next(following: AsyncIterator[T]) -> T:
    return await anext(following)
