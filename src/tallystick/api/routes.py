"""The routes of version 1: what each asks, does and answers. `app.py` serves them, `openapi.py` documents them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from msgspec import Struct

from tallystick.api import questions as q
from tallystick.api import views
from tallystick.api.live_node import LiveNode
from tallystick.api.reader import LedgerReader, LogPlace
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused
from tallystick.ledger.messages import Entry, entry_codec
from tallystick.problems import BadRequest, NotAllowed, NotRunning
from tallystick.storage.search_index import Query

T = TypeVar("T")
OffLoop = Callable[[Callable[[], T]], Awaitable[T]]


@dataclass
class Source:
    """What the routes answer from: a running node, or a checked file."""

    reader: LedgerReader
    read: Callable[[Callable[[], Any]], Awaitable[Any]]
    """Runs what reads the store, where that disturbs nobody."""
    find: Callable[[Query, int | None, int], Awaitable[tuple[list[int], int]]] | None = None
    """Searches: the log indexes found, and how many certificates were looked through. `None`: not at this door."""
    node: LiveNode | None = None

    def live(self) -> LiveNode:
        """The node. Raises `NotRunning`."""
        if self.node is None:
            raise NotRunning("a file does not tell this, a running node does; start one with: tallystick run")
        return self.node


@dataclass(frozen=True)
class Asked:
    """A request that was understood."""

    source: Source
    path: Mapping[str, str]
    question: Any
    body: Any

    @property
    def reader(self) -> LedgerReader:
        """Of the ledger."""
        return self.source.reader

    @property
    def node(self) -> LiveNode:
        """Raises `NotRunning`."""
        return self.source.live()

    def key(self, name: str) -> bytes:
        """32 bytes of the path. Raises `BadRequest`."""
        text = self.path[name]
        if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
            raise BadRequest(f"{name} {text!r} is not 64 lower-case hexadecimal digits")
        return bytes.fromhex(text)


Handler = Callable[[Asked], Awaitable[Struct]]


@dataclass(frozen=True)
class Endpoint:
    """One route."""

    method: str
    path: str
    handler: Handler
    answer: type[Struct]
    question: type[q.Question] = q.Nothing
    bodies: Mapping[str, type[Struct]] = field(default_factory=dict)
    """By media type."""
    is_local: bool = False
    """Only at the node's own socket."""

    @property
    def waits(self) -> bool:
        """Whether its answer may take long on purpose."""
        return any("wait_ms" in kind.__struct_fields__ for kind in (self.question, *self.bodies.values()))

    @property
    def summary(self) -> str:
        """One sentence."""
        return (self.handler.__doc__ or "").strip().split("\n")[0]


def _page(items: Sequence[T], asked: q.Page) -> tuple[list[T], str | None]:
    first = asked.cursor or 0
    last = first + asked.limit
    return list(items[first:last]), str(last) if last < len(items) else None


# ---- reads ------------------------------------------------------------------------------------------------------


async def ledger(asked: Asked) -> views.Ledger:
    """The ledger as a whole."""
    found: views.Ledger = await asked.source.read(partial(asked.reader.ledger, asked.reader.state))
    return found


async def blocks(asked: Asked) -> views.Blocks:
    """Blocks, the newest first."""
    tip = asked.reader.state.index
    last = tip if asked.question.cursor is None else min(tip, asked.question.cursor)
    lines = await asked.source.read(partial(asked.reader.blocks, last, asked.question.limit))
    first = lines[-1].index
    return views.Blocks(blocks=lines, next=str(first - 1) if first else None)


async def block(asked: Asked) -> views.Block:
    """One block, with its certificates."""
    text = asked.path["index"]
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise BadRequest(f"{text!r} is not a block's index: a whole number from 0 on")
    look = partial(asked.reader.block, int(text), asked.reader.state, encoded=asked.question.encoded)
    found: views.Block = await asked.source.read(look)
    return found


async def certificate(asked: Asked) -> views.Certificate:
    """One final certificate, by its id or how that begins (8 digits or more)."""
    found: views.Certificate = await asked.source.read(
        partial(asked.reader.certificate, asked.reader.find(asked.path["id"]))
    )
    return found


async def log(asked: Asked) -> views.Certificates:
    """All certificates in the order of the log, the oldest first."""
    first = asked.question.cursor or 0
    places = asked.reader.page(first, asked.question.limit)
    lines = await asked.source.read(partial(asked.reader.lines, places))
    end = first + len(places)
    return views.Certificates(certificates=lines, next=str(end) if end < asked.reader.state.log.size else None)


async def file(asked: Asked) -> views.Found:
    """The certificates whose payloads state a file with this SHA-256."""
    reader, question = asked.reader, asked.question
    places = await asked.source.read(partial(reader.covering, asked.key("sha256"), question.size_bytes))
    shown, following = _page(places, question)
    found = [LogPlace(one, reader.log_index(one)) for one in shown]
    certificates = await asked.source.read(lambda: [reader.certificate(one) for one in found])
    return views.Found(certificates=certificates, next=following)


async def search(asked: Asked) -> views.Certificates:
    """Certificates by words, issuer, kind, media type, file, time and block, the newest first.

    Pages stay as they are while the ledger grows.
    """
    question: q.Search = asked.question
    if asked.source.find is None:
        raise NotAllowed("this door lists nobody; look certificates up by their id, or by a file's SHA-256")
    query = Query(
        question.text,
        question.prefix,
        bytes.fromhex(question.issuer) if question.issuer else None,
        question.kind,
        question.media_type,
        bytes.fromhex(question.sha256) if question.sha256 else None,
        question.since_ms,
        question.until_ms,
        question.first_block,
        question.last_block,
    )
    found, indexed = await asked.source.find(query, question.cursor, question.limit)
    lines = await asked.source.read(partial(asked.reader.lines, [asked.reader.at(one) for one in found]))
    following = str(found[-1]) if len(found) == question.limit else None
    return views.Certificates(certificates=lines, next=following, indexed=indexed)


async def members(asked: Asked) -> views.Members:
    """All accounts, those with most at stake first."""
    shown, following = _page(asked.reader.members(), asked.question)
    return views.Members(members=shown, epoch=asked.reader.state.epoch.number, next=following)


async def member(asked: Asked) -> views.MemberAnswer:
    """One account, by the member's name or how its key begins."""
    return views.MemberAnswer(account=asked.reader.pick_member(asked.path["who"]))


async def names(asked: Asked) -> views.Names:
    """The address book, in the order of the keys."""
    known = [asked.reader.key(key) for key in sorted(asked.reader.names)]
    shown, following = _page(known, asked.question)
    return views.Names(names=shown, next=following)


async def outcome(asked: Asked) -> views.Outcomes:
    """What became of a certificate that was submitted here."""
    return await asked.node.outcomes([asked.key("id")], asked.question.wait_ms, asked.reader)


async def outcomes(asked: Asked) -> views.Outcomes:
    """What became of certificates that were submitted here."""
    ids = [bytes.fromhex(one) for one in asked.body.ids]
    return await asked.node.outcomes(ids, asked.body.wait_ms, asked.reader)


async def peers(asked: Asked) -> views.Peers:
    """Whom the node knows, those connected first."""
    shown, following = _page(asked.node.peers(asked.reader), asked.question)
    return views.Peers(now_ms=asked.node.status(asked.reader).now_ms, peers=shown, next=following)


async def status(asked: Asked) -> views.Status:
    """How the node is, and why the ledger does or does not advance."""
    return asked.node.status(asked.reader)


# ---- writes -----------------------------------------------------------------------------------------------------


async def submit(asked: Asked) -> views.Outcomes:
    """Put signed certificates on the ledger. What was submitted before is not submitted twice."""
    return await asked.node.submit(_entries(asked.body), asked.body.wait_ms, asked.reader)


async def sign(asked: Asked) -> views.Signed:
    """Sign statements with the node's key, and put them on the ledger unless that is not wanted."""
    entries = asked.node.sign(asked.body.statements)
    submitted = await asked.node.submit(entries, asked.body.wait_ms, asked.reader) if asked.body.submit else None
    return views.Signed(
        entries=[encode(one).hex() for one in entries], outcomes=submitted.outcomes if submitted else []
    )


async def stake(asked: Asked) -> views.Outcomes:
    """Stake tokens of the node's own, or withdraw them."""
    return await asked.node.submit([asked.node.sign_stake(asked.body.amount)], asked.body.wait_ms, asked.reader)


async def invite(asked: Asked) -> views.Invite:
    """Make a line of text with which somebody else's node finds this ledger."""
    return views.Invite(invite=asked.node.make_invite())


async def backup(asked: Asked) -> views.Backup:
    """Write a consistent copy of the ledger into a new file on the node's machine."""
    return await asked.node.backup(Path(asked.body.path))


async def unban(asked: Asked) -> views.Done:
    """Let a banned peer in again before its time."""
    asked.node.unban(asked.key("key"))
    return views.Done()


async def erase(asked: Asked) -> views.Done:
    """Erase a payload from this node, for good. The certificate and every proof of it stay."""
    asked.node.erase(asked.key("payload_hash"))
    return views.Done()


async def name(asked: Asked) -> views.Done:
    """Note in the node's address book what a key is called."""
    asked.reader.names = asked.node.remember_name(asked.key("key"), asked.body.name)
    return views.Done()


def _entries(body: q.Submission | q.HexSubmission) -> list[Entry]:
    entries = []
    given: Sequence[bytes | str] = body.entries
    for number, one in enumerate(given):
        try:
            entries.append(entry_codec.decode(one if isinstance(one, bytes) else bytes.fromhex(one)))
        except ValueError:
            raise BadRequest(f"entry {number} is not hexadecimal; nothing was submitted") from None
        except Refused as refused:
            raise BadRequest(f"entry {number}: {refused}; nothing was submitted") from None
    return entries


JSON: Final = "application/json"
MESSAGEPACK: Final = "application/vnd.msgpack"
_SUBMISSION: Final[Mapping[str, type[Struct]]] = {JSON: q.HexSubmission, MESSAGEPACK: q.Submission}

ENDPOINTS: Final = (
    Endpoint("GET", "/v1/ledger", ledger, views.Ledger),
    Endpoint("GET", "/v1/blocks", blocks, views.Blocks, q.Page),
    Endpoint("GET", "/v1/blocks/{index}", block, views.Block, q.BlockQuestion),
    Endpoint("GET", "/v1/certificates/{id}", certificate, views.Certificate),
    Endpoint("GET", "/v1/log", log, views.Certificates, q.Page),
    Endpoint("GET", "/v1/files/{sha256}", file, views.Found, q.FileQuestion),
    Endpoint("GET", "/v1/search", search, views.Certificates, q.Search),
    Endpoint("GET", "/v1/members", members, views.Members, q.Page),
    Endpoint("GET", "/v1/members/{who}", member, views.MemberAnswer),
    Endpoint("GET", "/v1/names", names, views.Names, q.Page, is_local=True),
    Endpoint("GET", "/v1/peers", peers, views.Peers, q.Page),
    Endpoint("GET", "/v1/status", status, views.Status),
    Endpoint("POST", "/v1/certificates", submit, views.Outcomes, bodies=_SUBMISSION),
    Endpoint("GET", "/v1/outcomes/{id}", outcome, views.Outcomes, q.Waiting),
    Endpoint("POST", "/v1/outcomes", outcomes, views.Outcomes, bodies={JSON: q.OutcomesAsked}),
    Endpoint("POST", "/v1/sign", sign, views.Signed, bodies={JSON: q.SignedHere}, is_local=True),
    Endpoint("POST", "/v1/stake", stake, views.Outcomes, bodies={JSON: q.StakeChange}, is_local=True),
    Endpoint("POST", "/v1/invite", invite, views.Invite, is_local=True),
    Endpoint("POST", "/v1/backup", backup, views.Backup, bodies={JSON: q.BackupTo}, is_local=True),
    Endpoint("DELETE", "/v1/bans/{key}", unban, views.Done, is_local=True),
    Endpoint("DELETE", "/v1/payloads/{payload_hash}", erase, views.Done, is_local=True),
    Endpoint("PUT", "/v1/names/{key}", name, views.Done, bodies={JSON: q.Name}, is_local=True),
)
