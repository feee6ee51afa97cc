"""A ledger's asynchronous client: what it is asked, submits, waits for, and checks of what it is told."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import httpx
import msgspec
from msgspec.structs import replace

from tallystick.api import proving_views, views
from tallystick.api import questions as q
from tallystick.client.checks import check_certificate
from tallystick.client.doors import AnswerProblem, Request, ask, ask_bytes, open_door, problem_in, segment
from tallystick.client.drafts import about_file
from tallystick.client.governing import Governing
from tallystick.host.clock import now_ms
from tallystick.host.data_folder import usual_folder
from tallystick.host.text import is_hex_digest
from tallystick.ledger.bundle import read_bundle
from tallystick.ledger.certificate import SALT_BYTES, Payload, issue_statement
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused
from tallystick.ledger.file_statement import FileStatement
from tallystick.ledger.messages import Entry, entry_codec
from tallystick.ledger.wallet import Wallet
from tallystick.problems import DamagedStore, NotYet, Problem
from tallystick.storage.described_files import describe_file
from tallystick.storage.making import ProofFiles

BATCH: Final = 1_024
_MOST_BATCH_BYTES: Final = 8 * 1024 * 1024
_WAIT_MS: Final = 30_000
_ROOM_S: Final = 30.0
"""So long a node lets a submission wait for room."""
_RECONNECT_S: Final = 1.0
"""The first pause before a follower comes back; each in a row is twice as long."""
_MOST_RECONNECT_S: Final = 30.0
_PASSING: Final = (429, 503, 504)
"""HTTP statuses of what will not last: too much is asked, the node ends, or it is too slow."""
_FAR: Final = 1e9

V = TypeVar("V")
T = TypeVar("T")
PageT = TypeVar("PageT", views.Names, views.Found)


class AsyncClient(Governing):
    """One ledger, at one door. Use `open`, and close it when done, or use it in an `async with` block.

    It speaks for one ledger: `DamagedStore` is raised for a certificate, a checked block and a log that is followed of
    another. Certificates are checked here (id, signature, payload); of their places and of all else it tells what the
    door claims, unless a method says that it checks.
    """

    def __init__(
        self, http: httpx.AsyncClient, ledger: views.Ledger, wallet: Wallet | None, stack: AsyncExitStack, is_file: bool
    ) -> None:
        """Use `open`."""
        self.ledger_id = bytes.fromhex(ledger.ledger_id)
        self.wallet = wallet
        self._has_directory = ledger.has_directory
        self.is_file = is_file
        """Whether it answers from a file, of which every hash, signature, vote and rule was checked here."""
        self._http, self._stack = http, stack

    @classmethod
    async def open(
        cls,
        where: str | Path | None = None,
        *,
        ledger_id: str | None = None,
        wallet: Wallet | None = None,
        on_block: Callable[[int], object] = lambda index: None,
    ) -> Self:
        """Open a node's folder or its socket, a URL, or the file of a chain, which is checked from its genesis on.

        Where nothing is named, it is this user's `usual_folder`. `ledger_id`, 64 hexadecimal digits, pins the ledger;
        without it, the first answer does. `wallet` signs what is certified; without it, the node signs with its own
        key, which only its own user may ask for. `on_block` is told of each block of a file that is checked. Raises
        `NotRunning`, `DamagedStore`, `Problem`.
        """
        where = usual_folder() if where is None else where
        async with AsyncExitStack() as stack:
            http, is_file = await open_door(where, stack, on_block)
            ledger = await ask(http, Request("/v1/ledger"), views.Ledger)
            if ledger_id not in (None, ledger.ledger_id):
                raise DamagedStore(f"{where} has the ledger {ledger.ledger_id[:16]}…, not the one that was named")
            return cls(http, ledger, wallet, stack.pop_all(), is_file)
        raise AssertionError("the block returns or raises")

    async def close(self) -> None:
        """Let go of the door."""
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ---- reading ------------------------------------------------------------------------------------------------

    async def ledger(self) -> views.Ledger:
        """The ledger as a whole."""
        ledger = await self._get(views.Ledger, "/v1/ledger")
        if bytes.fromhex(ledger.ledger_id) != self.ledger_id:
            raise DamagedStore(f"the node has another ledger now: {ledger.ledger_id[:16]}…")
        return ledger

    async def certificate(self, certificate_id: str) -> views.Certificate:
        """A final certificate, by its id or how that begins (8 digits or more). Raises `AnswerProblem`."""
        beginning = certificate_id.lower()
        found = await self._get(views.Certificate, f"/v1/certificates/{segment(beginning)}")
        if not found.id.startswith(beginning):
            raise DamagedStore(f"the node answered with another certificate than {certificate_id}")
        check_certificate(found, self.ledger_id)
        return found

    async def block(self, index: int) -> views.Block:
        """A block, with its certificates."""
        return await self._get(views.Block, f"/v1/blocks/{index}")

    async def blocks(self, limit: int = 50, cursor: str | None = None) -> views.Blocks:
        """A page of blocks, the newest first."""
        return await self._get(views.Blocks, "/v1/blocks", limit=limit, cursor=cursor)

    async def log(self, limit: int = 50, cursor: str | None = None) -> views.Certificates:
        """A page of all certificates, the oldest first; the cursor is a log index."""
        return await self._get(views.Certificates, "/v1/log", limit=limit, cursor=cursor)

    async def search(self, question: q.Search) -> views.Certificates:
        """A page of the certificates that match, the newest first."""
        return await self._get(views.Certificates, "/v1/search", **msgspec.structs.asdict(question))

    async def members(self, limit: int = q.MOST_ITEMS, cursor: str | None = None) -> views.Members:
        """A page of accounts, those with most at stake first."""
        return await self._get(views.Members, "/v1/members", limit=limit, cursor=cursor)

    async def member(self, who: str) -> views.Member:
        """An account, by the member's name or how its key begins."""
        return (await self._get(views.MemberAnswer, f"/v1/members/{segment(who)}")).account

    async def key_of(self, who: str) -> str:
        """A whole key: an organisation's member key, of a name in the address book, or an account's that begins so."""
        if is_hex_digest(who.lower()):
            return who.lower()
        lines = (await self.organisations()).organisations if self._has_directory else []
        found = [one.member_key for one in lines if one.member_key and who in (one.id, one.title)]
        if found:
            return found[0]
        with suppress(AnswerProblem):  # not every door has the address book
            found = [one.key for one in (await self.names()).names if one.name == who]
        return found[0] if len(found) == 1 else (await self.member(who)).member.key

    async def names(self) -> views.Names:
        """The address book, at the node's own door or of a file."""
        pages = [page async for page in self._pages(views.Names, "/v1/names", limit=q.MOST_ITEMS)]
        return views.Names(names=[one for page in pages for one in page.names], next=None)

    async def peers(self, limit: int = q.MOST_ITEMS, cursor: str | None = None) -> views.Peers:
        """A page of those whom the node knows. Raises `NotRunning` for a file."""
        return await self._get(views.Peers, "/v1/peers", limit=limit, cursor=cursor)

    async def status(self) -> views.Status:
        """How the node is. Raises `NotRunning` for a file."""
        return await self._get(views.Status, "/v1/status")

    # ---- certifying ---------------------------------------------------------------------------------------------

    async def certify(
        self,
        path: str | Path,
        *,
        subject: str | None = None,
        note: str = "",
        public_subject: bool = False,
        timeout_s: float | None = 60.0,
    ) -> views.Outcome:
        """Certify a file: its name, size and SHA-256; its content stays here. Waits until that is final.

        `public_subject`: as `sign` takes it. Raises `UnreadableFile`, `AnswerProblem`, `Problem`.
        """
        draft = about_file(Path(path), subject, note)
        entries = await self.sign([(draft.subject, draft.payload)], public_subject=public_subject)
        return (await self.submit(entries, timeout_s=timeout_s))[0]

    async def sign(
        self, statements: Sequence[tuple[str, Payload | None]], *, public_subject: bool = False
    ) -> list[bytes]:
        """Sign subjects with their payloads, by the wallet or else the node; nothing is submitted.

        On a ledger with a directory the subject stands in the payload, which can be erased, unless `public_subject`.
        Returns encoded entries: the same bytes may be submitted again and again. The node draws its own salts.
        """
        if self.wallet is not None:
            is_erasable = self._has_directory and not public_subject
            return [encode(self._signed(self.wallet, *one, is_erasable=is_erasable)) for one in statements]
        drafts = [
            q.NewStatement(
                subject, payload.media_type if payload else "", payload.content.hex() if payload else "", public_subject
            )
            for subject, payload in statements
        ]
        signed: list[bytes] = []
        for batch in _in_batches(drafts, lambda one: len(one.content)):
            told = await self._send(views.Signed, "/v1/sign", body=q.SignedHere(batch, submit=False))
            signed += map(bytes.fromhex, told.entries)
        return signed

    def _signed(self, wallet: Wallet, subject: str, payload: Payload | None, *, is_erasable: bool) -> Entry:
        if is_erasable:
            subject, payload = "", Payload.about(subject, payload, os.urandom(SALT_BYTES))
        return Entry(issue_statement(wallet, self.ledger_id, now_ms(), subject, payload), payload)

    async def submit(
        self,
        entries: Sequence[bytes],
        *,
        timeout_s: float | None = 60.0,
        on_outcomes: Callable[[Sequence[views.Outcome]], object] = lambda outcomes: None,
    ) -> list[views.Outcome]:
        """Submit encoded entries, and wait until none waits any more, or for so long (0: not at all; `None`: for ever).

        To submit again is safe. `on_outcomes` is told of each batch as it is taken. Returns the outcomes in order.
        """
        outcomes: list[views.Outcome] = []
        for batch in _in_batches(entries, len):
            told = await self._send(views.Outcomes, "/v1/certificates", body=q.Submission(batch), wait_s=_ROOM_S)
            outcomes += _of_each(told, (entry_codec.decode(one).certificate.id.hex() for one in batch))
            on_outcomes(told.outcomes)
        return await self._settled(outcomes, timeout_s)

    async def wait(self, certificate_ids: Sequence[str], *, timeout_s: float | None = 60.0) -> list[views.Outcome]:
        """What became of submitted certificates, once none waits any more, or after so long."""
        until_s = time.monotonic() + (_FAR if timeout_s is None else timeout_s)
        known: dict[str, views.Outcome] = {}
        left = list(certificate_ids)
        while left:
            for start in range(0, len(left), BATCH):
                wait_ms = round(min(_WAIT_MS, max(0, 1000 * (until_s - time.monotonic()))))
                body = q.OutcomesAsked(left[start : start + BATCH], wait_ms)
                told = await self._send(views.Outcomes, "/v1/outcomes", body=body, wait_s=wait_ms / 1000)
                known.update((one.id, one) for one in _of_each(told, body.ids))
            left = [one for one in left if known[one].state == "waiting"]
            if time.monotonic() >= until_s:
                break
        return [known[one] for one in certificate_ids]

    async def _settled(self, outcomes: list[views.Outcome], timeout_s: float | None) -> list[views.Outcome]:
        """The same, once none waits any more, or after so long."""
        waiting = [one.id for one in outcomes if one.state == "waiting" and timeout_s != 0]
        settled = {one.id: one for one in await self.wait(waiting, timeout_s=timeout_s)}
        return [settled.get(one.id, one) for one in outcomes]

    # ---- proving ------------------------------------------------------------------------------------------------

    async def prove(
        self,
        certificate_id: str,
        *,
        since: int = 0,
        fresh: bool = False,
        ml_dsa: bool = False,
        timeout_s: float = 60.0,
    ) -> ProofFiles:
        """The proof of a certificate, which needs no node, for whoever knows the members of epoch `since`.

        Waits for a checkpoint that covers it. `fresh`: has members countersign anew what is older than a minute.
        `ml_dsa`: at the newest end of an epoch that members cosigned by ML-DSA-44, too, and without waiting.
        Raises `AnswerProblem`.
        """
        asked = {"since": since, "fresh": str(fresh).lower(), "wait_ms": _wait_ms(timeout_s)}
        asked |= {"ml_dsa": "true"} if ml_dsa else {}
        path = f"/v1/certificates/{segment(certificate_id.lower())}/proof"
        told = await self._get_slowly(proving_views.ProofAnswer, path, timeout_s, **asked)
        return self._checked(told.proof, certificate_id.lower())

    async def proofs(
        self, certificate_ids: Sequence[str], *, since: int = 0, fresh: bool = False, timeout_s: float = 60.0
    ) -> dict[str, ProofFiles]:
        """The proofs of certificates by their ids; those that no checkpoint covers by then, or nobody has, are missing.

        Raises `AnswerProblem`.
        """
        until_s = time.monotonic() + timeout_s
        made: dict[str, ProofFiles] = {}
        left = list(dict.fromkeys(certificate_ids))
        while left:
            asked, left = left[: q.MOST_PROOFS], left[q.MOST_PROOFS :]
            wait_s = max(0.0, until_s - time.monotonic())
            body = q.ProofsAsked(asked, since, fresh, _wait_ms(wait_s))
            told = await self._send(proving_views.Proofs, "/v1/proofs", body=body, wait_s=wait_s)
            ids = [one.id for one in told.proofs] + [one.id for one in told.left_out]
            if others := set(ids).difference(asked):
                raise DamagedStore(f"the node told of another certificate than it was asked for, {min(others)[:16]}…")
            made |= {one.id: self._checked(one, one.id) for one in told.proofs}
            again = [one.id for one in told.left_out if one.code == "more"]
            if not told.proofs and again:
                raise DamagedStore("the node says that its answer is full, and there is no proof in it")
            if not self.is_file and time.monotonic() < until_s:
                again += [one.id for one in told.left_out if one.code == NotYet.code]
            if not told.proofs and again:
                await asyncio.sleep(min(_RECONNECT_S, max(0.0, until_s - time.monotonic())))
            left = [one for one in (*again, *left) if one not in made]
        return made

    async def checkpoint(self, *, fresh: bool = False, timeout_s: float = 10.0) -> proving_views.Checkpoint:
        """The newest checkpoint that members countersigned; its `note` is the signed note. Raises `AnswerProblem`."""
        asked = {"fresh": str(fresh).lower(), "wait_ms": _wait_ms(timeout_s)}
        return await self._get_slowly(proving_views.Checkpoint, "/v1/checkpoint", timeout_s, **asked)

    async def mirrored(self, path: str) -> bytes:
        """A file of the ledger's mirror (docs/mirrors.md), as it is told. Raises `AnswerProblem`."""
        return await ask_bytes(self._http, Request(f"/{path}"))

    def _checked(self, told: proving_views.Proof, certificate_id: str) -> ProofFiles:
        """What was told, if it is a proof of this certificate. What it proves is for its verifier to see."""
        members, payload = (None if one is None else bytes.fromhex(one) for one in (told.members, told.payload))
        made = ProofFiles(told.proof, members, payload)
        try:
            extra = read_bundle(made.proof.encode(), members, payload).extra
        except Refused as refused:
            raise DamagedStore(f"the node's proof of {certificate_id[:16]}… is none: {refused}") from None
        is_asked_for = extra.certificate.id.hex().startswith(certificate_id)
        if extra.genesis.ledger_id != self.ledger_id or not is_asked_for:
            raise DamagedStore(f"the node's proof is of another certificate than {certificate_id[:16]}…")
        return made

    async def _get_slowly(self, kind: type[V], path: str, wait_s: float, **query: Any) -> V:
        return await ask(self._http, Request(path, query=query, wait_s=wait_s), kind)

    # ---- of a file ----------------------------------------------------------------------------------------------

    async def statements_of(self, file: str | Path | FileStatement) -> list[views.Certificate]:
        """The certificates of a file's very bytes, by its path, or as it was described. Raises `UnreadableFile`.

        Their places, and whether they are valid, are what the door claims.
        """
        described = file if isinstance(file, FileStatement) else describe_file(Path(file))
        wanted = described.sha256.hex(), described.size_bytes
        pages = self._pages(views.Found, f"/v1/files/{wanted[0]}", size_bytes=described.size_bytes)
        found = [one async for page in pages for one in page.certificates]
        for one in found:
            check_certificate(one, self.ledger_id)
            stated = one.payload.file if one.payload else None
            if stated is None or (stated.sha256, stated.size_bytes) != wanted:
                raise DamagedStore(f"certificate {one.id[:16]}… does not state this file, as the node says")
        return found

    # ---- following ----------------------------------------------------------------------------------------------

    async def follow(self, after: int | None = None) -> AsyncGenerator[views.CertificateLine, None]:
        """Certificates as they become final: from this log index on, or from now on. Without an end.

        A broken connection is made again, also to a node that is busy or ends. Raises `NotRunning` for a file,
        `DamagedStore` when another ledger's node answers or the log has a gap.
        """
        size = (await self.ledger()).log_size if after is None else after
        pause_s = _RECONNECT_S
        while True:
            try:
                async with aclosing(self._events(size)) as events:
                    async for _ in events:
                        has_more = True
                        while has_more:
                            page = await self.log(q.MOST_ITEMS, str(size))
                            await self.ledger()  # whose page it is: the node may have been replaced
                            for line in page.certificates:
                                if (index := line.place.log_index) != size:
                                    raise DamagedStore(f"the node's log goes on with {index}, not {size}")
                                pause_s = _RECONNECT_S
                                size += 1
                                yield line
                            has_more = bool(page.certificates and page.next)
            except httpx.HTTPError:
                pass
            except Problem as problem:
                if self.is_file or problem.http_status not in _PASSING:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _MOST_RECONNECT_S)

    async def _events(self, size: int) -> AsyncGenerator[None, None]:
        """Yields when the stream is open, and at each event."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(size)}
        timeout = httpx.Timeout(30.0)
        async with self._http.stream("GET", "/v1/events", headers=headers, timeout=timeout) as response:
            if response.status_code != httpx.codes.OK:
                await response.aread()
                raise problem_in(response)
            yield
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    yield

    # ---- at the node's own door ---------------------------------------------------------------------------------

    async def stake(self, amount: int, *, timeout_s: float | None = 60.0) -> views.Outcome:
        """Stake tokens of the node's own, or withdraw them if the amount is negative."""
        told = await self._send(views.Outcomes, "/v1/stake", body=q.StakeChange(amount), is_repeatable=False)
        return (await self._settled(told.outcomes, timeout_s))[0]

    async def invite(self) -> str:
        """A line of text with which somebody else's node finds this ledger."""
        return (await self._send(views.Invite, "/v1/invite")).invite

    async def backup(self, path: str | Path) -> views.Backup:
        """Have the node write a copy of the ledger into a new file."""
        body = q.BackupTo(str(Path(path).absolute()))
        return await self._send(views.Backup, "/v1/backup", body=body, is_repeatable=False, wait_s=_FAR)

    async def unban(self, key: str) -> None:
        """Let a banned peer in again before its time."""
        await self._send(views.Done, f"/v1/bans/{segment(key)}", "DELETE")

    async def payload_use(self, payload_hash: str) -> views.PayloadUse:
        """What certificates cover a payload, as the node looks it up in all blocks."""
        return await self._get(views.PayloadUse, f"/v1/payloads/{segment(payload_hash)}")

    async def erase(self, payload_hash: str, *, timeout_s: float | None = 60.0) -> views.Erased:
        """Erase a payload from the node, for good; where that was ordered, the node's member confirms it.

        Waits until that is final, or for so long (0: not at all). Cut off, ask again: nothing is done twice.
        """
        told = await self._send(views.Erased, f"/v1/payloads/{segment(payload_hash)}", "DELETE")
        return replace(told, confirmations=await self._settled(told.confirmations, timeout_s))

    async def remember_name(self, key: str, name: str) -> None:
        """Note in the node's address book what a key is called."""
        await self._send(views.Done, f"/v1/names/{segment(key)}", "PUT", body=q.Name(name))

    async def _get(self, kind: type[V], path: str, /, **query: Any) -> V:
        return await ask(self._http, Request(path, query=query), kind)

    async def _send(self, kind: type[V], path: str, method: str = "POST", **how: Any) -> V:
        return await ask(self._http, Request(path, method, **how), kind)

    async def _pages(self, kind: type[PageT], path: str, **query: Any) -> AsyncIterator[PageT]:
        cursor: str | None = None
        while True:
            yield (page := await self._get(kind, path, cursor=cursor, **query))
            if (cursor := page.next) is None:
                return


def _wait_ms(timeout_s: float) -> int:
    return min(q.MOST_WAIT_MS, round(1000 * timeout_s))


def _of_each(told: views.Outcomes, certificate_ids: Iterable[str]) -> list[views.Outcome]:
    """The outcomes of these, in order. Raises `DamagedStore` when others are told."""
    if [one.id for one in told.outcomes] != list(certificate_ids):
        raise DamagedStore("the node told what became of other certificates than it was asked about")
    return told.outcomes


def _in_batches(items: Iterable[T], size_of: Callable[[T], int]) -> Iterable[list[T]]:
    """Cut into what one request may hold."""
    batch: list[T] = []
    size = 0
    for one in items:
        if batch and (len(batch) == BATCH or size + size_of(one) > _MOST_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += size_of(one)
    if batch:
        yield batch
