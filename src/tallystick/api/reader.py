"""Answers what is asked of a ledger, from its chain and its store: those of a running node, or of a checked file."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import lru_cache, partial
from typing import Any, Final, ParamSpec, TypeVar

from msgspec.structs import asdict, replace

from tallystick.api import governed_views, proving_views, views
from tallystick.api import questions as q
from tallystick.api.certificate_view import Beside, certificate_line, certificate_view
from tallystick.api.continuation_view import continuation_view
from tallystick.api.erasures import Erasures, target_of
from tallystick.api.governance import (
    Past,
    last_words,
    open_motion_line,
    open_motion_view,
    open_motions,
    organisation_line,
    organisation_view,
    past_motion_line,
    past_motion_view,
)
from tallystick.api.key_book import KeyBook
from tallystick.api.log_place import LogPlace
from tallystick.api.mirror import Mirror
from tallystick.api.proving import Checkpoints, Proofs
from tallystick.api.validities import validity_of
from tallystick.ledger.block import Block, genesis_block
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate import AnyCertificate, Motion, Statement
from tallystick.ledger.certificate_index import CertificateIndex, Place
from tallystick.ledger.changes import Erase
from tallystick.ledger.encoding import encode
from tallystick.ledger.file_statement import FileStatement, file_statement_in
from tallystick.ledger.state import State
from tallystick.problems import Ambiguous, DamagedStore, NotThere
from tallystick.storage.decision_tables import Decided, Decisions
from tallystick.storage.search_index import Query, SearchIndex
from tallystick.storage.store import Store

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", Store, SearchIndex)

Find = Callable[[Query, int, int], Awaitable[tuple[list[int], int]]]
"""Searches: the log indexes found below this one, so many; and how many certificates were looked through."""

_BLOCKS_AT_HAND: Final = 16


class Thread(ThreadPoolExecutor):
    """A thread of its own, for what may take its time."""

    def __init__(self, name: str) -> None:
        super().__init__(1, thread_name_prefix=name)

    async def __call__(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Run this there."""
        return await asyncio.get_running_loop().run_in_executor(self, partial(work, *args, **options))

    async def opened(self, stack: AsyncExitStack, make: Callable[P, C], *args: P.args, **options: P.kwargs) -> C:
        """What was made there, until the stack is left."""
        made = await self(make, *args, **options)
        stack.push_async_callback(self, made.close)
        return made


class LedgerReader:
    """One ledger. Each public asynchronous method is a route (`routes.py`).

    What needs the chain in memory is looked up at once; what needs the store is read afterwards, on a thread and a
    connection that only read. So a reader never keeps a node from agreeing.
    Raises `NotThere` for what the ledger does not have, `DamagedStore` for what is not what was written.
    """

    def __init__(self, chain: Blockchain, store: Store, read: Thread, find: Find, checkpoints: Checkpoints) -> None:
        """On the thread that reads."""
        self._chain, self._store, self._read, self._find = chain, store, read, find
        self.kept = lru_cache(_BLOCKS_AT_HAND)(self._block)  # a block may hold a thousand of what is asked for
        self.address_book: Mapping[bytes, str] = store.names()
        self.decisions: Decisions = store.decision_tables
        self.to_erase = Erasures(self, store)
        self._proofs = Proofs(self, store, read, checkpoints)
        self.mirror = Mirror(chain.certificate_index, store, read, self._proofs)

    @property
    def state(self) -> State:
        """At the tip."""
        return self._chain.state

    @property
    def certificate_index(self) -> CertificateIndex:
        """Of all certificates."""
        return self._chain.certificate_index

    @property
    def keys(self) -> KeyBook:
        """How keys are told."""
        return KeyBook(self.address_book, self.state.directory)

    def key(self, key: bytes) -> views.Key:
        """A key, with its name and organisation."""
        return self.keys.view(key)

    def log_index(self, place: Place) -> int:
        """Of the certificate at a place."""
        return self._chain.certificate_index.number_of(place)

    def first_of(self, block_index: int) -> int:
        """The log index of a block's first certificate, or of what comes after it if it has none."""
        return self.log_index(Place(block_index, 0)) if block_index else 0

    def place_of(self, certificate_id: bytes) -> LogPlace | None:
        """The place of the certificate with this id, if the ledger has it."""
        place = self._chain.place_of(certificate_id)
        return LogPlace(place, self.log_index(place)) if place is not None else None

    def at(self, log_index: int) -> LogPlace:
        """The place of the certificate with this log index."""
        return LogPlace(self._chain.certificate_index.place_at(log_index), log_index)

    def line(self, index: int, block: Block | None = None) -> Coroutine[Any, Any, views.BlockLine]:
        """A block as in a list; `block`, if it is at hand, need not be read."""
        return self._read(self._line, index, block)

    # ---- routes -------------------------------------------------------------------------------------------------

    async def ledger(self) -> views.Ledger:
        """The ledger as a whole."""
        genesis, state = self._chain.genesis, self.state
        return views.Ledger(
            ledger_id=genesis.ledger_id.hex(),
            name=genesis.name,
            created_ms=genesis.created_ms,
            tip=await self.line(state.index),
            log_size=state.log.size,
            log_root=state.log.root().hex(),
            total=state.stakes.total,
            total_staked=state.stakes.total_staked,
            burned=state.stakes.burned,
            params=asdict(state.params),
            has_directory=bool(state.directory),
            continues=continuation_view(genesis),
        )

    async def blocks(self, limit: q.Limit = 50, cursor: q.Cursor = None) -> views.Blocks:
        """Blocks, the newest first."""
        last = self.state.index if cursor is None else min(self.state.index, cursor)
        first = max(0, last - limit + 1)
        lines = await self._read(lambda: [self._line(index) for index in range(last, first - 1, -1)])
        return views.Blocks(blocks=lines, next=str(first - 1) if first else None)

    async def block(self, index: q.BlockIndex, encoded: q.AsEncoded = False) -> views.Block:
        """One block, with its certificates."""
        if index > self.state.index:
            raise NotThere(f"there is no block {index}: the last is {self.state.index}")
        return await self._read(self.read_block, index, self.first_of(index), encoded)

    async def certificate(self, id: q.IdBeginning) -> views.Certificate:
        """One final certificate, by its id or how that begins (8 digits or more)."""
        return await self._read(self.certificate_at, self._found(id), self.state)

    async def validity(self, id: q.IdBeginning, at_ms: q.AtMs = None) -> governed_views.ValidityAnswer:
        """Whether a statement was valid at a time, or is as of the tip: what is known by now is taken into account."""
        return await self._read(self._validity_answer, self._found(id), self.state, at_ms)

    async def proof(
        self,
        id: q.IdBeginning,
        since: q.Since = 0,
        fresh: q.Fresh = False,
        wait_ms: q.WaitForCheckpointMs = 0,
        ml_dsa: q.MlDsa = False,
    ) -> proving_views.ProofAnswer:
        """The proof of a certificate; as a text, unless JSON or MessagePack is asked for."""
        return await self._proofs.one(self._found(id), since, fresh=fresh, wait_ms=wait_ms, ml_dsa=ml_dsa)

    async def proofs(self, body: q.ProofsAsked) -> proving_views.Proofs:
        """Proofs of many certificates at once, all at one checkpoint."""
        return await self._proofs.many(body)

    async def checkpoint(self, fresh: q.Fresh = False, wait_ms: q.WaitForCheckpointMs = 0) -> proving_views.Checkpoint:
        """The newest countersigned checkpoint; as a signed note, unless JSON or MessagePack is asked for."""
        return await self._proofs.checkpoint(fresh=fresh, wait_ms=wait_ms)

    def _found(self, id: str, kind: str = "certificate") -> LogPlace:
        index = self._chain.certificate_index
        places = [index.place_of(bytes.fromhex(id))] if len(id) == 64 else index.with_prefix(id)
        found = [one for one in places if one is not None]
        if not found:
            raise NotThere(f"no {kind}'s id begins with {id}; if it was submitted just now, it may wait")
        if len(found) > 1:
            raise Ambiguous(f"{len(found)} ids begin with {id}; give more digits")
        return LogPlace(found[0], self.log_index(found[0]))

    async def log(self, limit: q.Limit = 50, cursor: q.Cursor = None) -> views.Certificates:
        """All certificates in the order of the log, the oldest first."""
        size = self.state.log.size
        first = min(cursor or 0, size)
        last = min(first + limit, size)
        return views.Certificates(
            certificates=await self._lines(range(first, last)), next=str(last) if last < size else None
        )

    async def file(
        self, sha256: q.HexInPath, size_bytes: q.SizeBytes = None, limit: q.Limit = 50, cursor: q.Cursor = None
    ) -> views.Found:
        """The certificates whose payloads state a file with this SHA-256."""
        stating = await self._read(self.stating, bytes.fromhex(sha256))
        places = [place for stated, place in stating if size_bytes in (None, stated.size_bytes)]
        shown, following = page([LogPlace(one, self.log_index(one)) for one in places], limit, cursor)
        state = self.state
        certificates = await self._read(lambda: [self.certificate_at(one, state) for one in shown])
        return views.Found(certificates=certificates, next=following)

    async def search(self, question: q.Search) -> views.Certificates:
        """Certificates by words, issuer, kind, media type, file, time and block, the newest first.

        Pages stay as they are while the ledger grows.
        """
        issuer, sha256 = (bytes.fromhex(one) if one else None for one in (question.issuer, question.sha256))
        bounds = question.since_ms, question.until_ms, question.first_block, question.last_block
        query = Query(question.text, question.prefix, issuer, question.kind, question.media_type, sha256, *bounds)
        size = self.state.log.size  # an index may be ahead of a ledger that was restored from a backup
        below = size if question.cursor is None else min(size, question.cursor)
        found, indexed = await self._find(query, below, question.limit + 1)
        shown = found[: question.limit]
        following = str(shown[-1]) if len(found) > len(shown) else None
        return views.Certificates(certificates=await self._lines(shown), next=following, indexed=min(size, indexed))

    async def members(self, limit: q.Limit = 50, cursor: q.Cursor = None) -> views.Members:
        """All accounts, those with most at stake first."""
        stakes = self.state.stakes
        keys = sorted(stakes.accounts.keys() | stakes.burned_keys, key=lambda one: (-stakes.account(one).staked, one))
        shown, following = page(keys, limit, cursor)
        members = [self._member(one) for one in shown]
        return views.Members(members=members, epoch=self.state.epoch.number, next=following)

    async def member(self, who: q.Who) -> views.MemberAnswer:
        """One account, by the member's name or how its key begins."""
        keys = self.state.stakes.accounts.keys() | self.state.stakes.burned_keys
        found = [one for one in keys if self.address_book.get(one) == who]
        found = found or [one for one in keys if len(who) > 1 and one.hex().startswith(who.lower())]
        if not found:
            raise NotThere(f"no account is called {who}, nor does a key begin so")
        if len(found) > 1:
            raise Ambiguous(f"{len(found)} accounts are called {who}, or have keys that begin so; give more digits")
        return views.MemberAnswer(account=self._member(found[0]))

    async def organisations(self, limit: q.Limit = 50, cursor: q.Cursor = None) -> governed_views.Organisations:
        """All organisations that ever were, in the order of their ids."""
        state, keys = self.state, self.keys
        found = state.directory.organisations
        shown, following = page(sorted(found), limit, cursor)
        lines = [organisation_line(found[one], state, keys) for one in shown]
        return governed_views.Organisations(organisations=lines, next=following)

    async def organisation(self, id: q.Organisation) -> governed_views.Organisation:
        """One organisation, with all its keys."""
        found = self.state.directory.organisations.get(id)
        if found is None:
            raise NotThere(f"there is no organisation {id}")
        return organisation_view(found, self.state, self.keys)

    async def motions(self, limit: q.Limit = 50, cursor: q.Cursor = None) -> governed_views.Motions:
        """The motions that are open, then those that were decided, the latest first of each."""
        state, keys, skip = self.state, self.keys, cursor or 0
        open_ones = open_motions(state)
        lines = [open_motion_line(one, state, keys) for one in open_ones[skip : skip + limit]]
        past = await self._read(self._past_motions, max(0, skip - len(open_ones)), limit + 1 - len(lines), state)
        lines += [past_motion_line(one, keys) for one in past]
        return governed_views.Motions(motions=lines[:limit], next=str(skip + limit) if len(lines) > limit else None)

    async def motion(self, id: q.IdBeginning) -> governed_views.Motion:
        """One motion, by its id or how that begins (8 digits or more), with the word of each member."""
        at, state, keys = self._found(id, "motion"), self.state, self.keys
        return await self._read(self._motion, at, state, keys)

    async def erasures(self, limit: q.Limit = 50, cursor: q.Cursor = None) -> governed_views.Erasures:
        """What is to be erased everywhere, and who has confirmed."""
        state = self.state
        targets, following = page(await self._read(self.to_erase.targets, state), limit, cursor)
        found = await self._read(lambda: [self.to_erase.of(one, state) for one in targets])
        return governed_views.Erasures(erasures=[one for one in found if one is not None], next=following)

    async def payload(self, payload_hash: q.HexInPath) -> views.PayloadUse:
        """What certificates cover a payload: all blocks are looked through."""
        digest = bytes.fromhex(payload_hash)
        places = await self._read(self.to_erase.covering, digest, self.state)
        return views.PayloadUse(
            payload_hash=payload_hash,
            is_kept=await self._read(self._store.payload, digest) is not None,
            is_erased=await self._read(self._store.payload_tables.is_erased, digest),
            certificates=await self._lines([self.log_index(one) for one in places]),
        )

    async def names(self, limit: q.Limit = 50, cursor: q.Cursor = None) -> views.Names:
        """The address book, in the order of the keys."""
        shown, following = page([self.key(one) for one in sorted(self.address_book)], limit, cursor)
        return views.Names(names=shown, next=following)

    # ---- for the operator of a node -----------------------------------------------------------------------------

    async def erasures_waiting(self, key: bytes) -> list[governed_views.Erasure]:
        """What is to be erased, and waits for the operator of the node with this key: the oldest, a few."""
        state = self.state
        return await self._read(self.to_erase.waiting, key, state) if state.directory else []

    async def erasures_to_confirm(self, payload_hash: bytes, key: bytes) -> list[governed_views.Erasure]:
        """What a member has not confirmed of the erasures that are about a payload; none, if the key is no member's."""
        state = self.state
        return await self._read(self.to_erase.unconfirmed, payload_hash, key, state) if state.directory else []

    # ---- in memory ----------------------------------------------------------------------------------------------

    def _member(self, key: bytes) -> views.Member:
        state = self.state
        account = state.stakes.account(key).at(state.context(now_ms=0))
        return views.Member(
            member=self.key(key),
            free=account.free,
            staked=account.staked,
            unbonding=[
                views.Unbonding(amount, until.epoch, until.index, until.timestamp_ms)
                for until, amount in account.unbonding
            ],
            votes_with=state.epoch.stake(key),
            is_burned=key in state.stakes.burned_keys,
        )

    async def _lines(self, log_indexes: Sequence[int]) -> list[views.CertificateLine]:
        """The certificates with these log indexes, in order: each block is read once."""
        found = [self.at(one) for one in log_indexes]
        return await self._read(lambda: [self._certificate_line(at) for at in found])

    # ---- from the store -----------------------------------------------------------------------------------------

    def stating(self, sha256: bytes) -> list[tuple[FileStatement, Place]]:
        """What the ledger's payloads state of a file with this hash, and where their certificates stand."""
        found = []
        for block_index, position, payload_hash in self._store.payload_tables.places_of_file(sha256):
            payload = self._store.payload(payload_hash)
            stated = file_statement_in(payload) if payload else None
            if stated is not None and stated.sha256 == sha256:
                found.append((stated, Place(block_index, position)))
        return found

    def members_for(self, block: Block) -> Mapping[bytes, int]:
        """Whose votes counted for a block, and for how much."""
        kept = self._store.voters(block.header.epoch)
        return dict(kept if kept is not None else self._chain.genesis.stakes().members)

    def _block(self, index: int) -> Block:
        block = self._store.block(index) if index else genesis_block(self._chain.genesis)
        if block is None:
            raise DamagedStore(f"{self._store.path}: block {index} is missing; run: tallystick check")
        return block

    def _certificate_line(self, at: LogPlace) -> views.CertificateLine:
        block = self.kept(at.place.block_index)
        one = block.certificates[at.place.position]
        return certificate_line(one, self._beside(one, at.view(block), is_line=True), self.keys)

    def _beside(self, one: AnyCertificate, place: views.Place, *, is_line: bool = False) -> Beside:
        """What belongs to a certificate; in a list its payload only if the subject stands there."""
        says = isinstance(one, Statement) and not one.subject
        if one.payload_hash is None or (is_line and not says):
            return Beside(place)
        payload = self._store.payload(one.payload_hash)
        return Beside(place, payload, payload is None and self._store.payload_tables.is_erased(one.payload_hash))

    def certificate_at(self, at: LogPlace, state: State | None = None) -> views.Certificate:
        """The certificate there, with its payload; what became of it up to a state, by default the tip's."""
        block = self.kept(at.place.block_index)
        one, place, state = block.certificates[at.place.position], at.view(block), state or self.state
        validity = validity_of(self, one, place, state) if isinstance(one, Statement) else None
        beside = self._beside(one, place)._replace(validity=validity, erasure=self.to_erase.of(target_of(one), state))
        return certificate_view(one, beside, self.keys)

    def _validity_answer(self, at: LogPlace, state: State, at_ms: int | None) -> governed_views.ValidityAnswer:
        block = self.kept(at.place.block_index)
        one = block.certificates[at.place.position]
        if not isinstance(one, Statement):
            raise NotThere(f"{one.id.hex()[:16]}… is no statement: only those are valid or not")
        return governed_views.ValidityAnswer(
            id=one.id.hex(), validity=validity_of(self, one, at.view(block), state, at_ms)
        )

    def certificate_with(self, certificate_id: bytes) -> AnyCertificate | None:
        """The certificate with this id, if the ledger has one."""
        place = self._chain.place_of(certificate_id)
        return self._certificate(place) if place is not None else None

    def _certificate(self, place: Place) -> AnyCertificate:
        return self.kept(place.block_index).certificates[place.position]

    def _motion(self, at: LogPlace, state: State, keys: KeyBook) -> governed_views.Motion:
        one = self._certificate(at.place)
        if not isinstance(one, Motion):
            raise NotThere(f"{one.id.hex()[:16]}… is no motion")
        if (still := state.motions.open.get(one.id)) is not None:
            return open_motion_view(still, state, keys)
        decided = self.decisions.outcome_of(one.id)
        if decided is None:
            raise DamagedStore(f"{self._store.path}: what became of a motion is missing; run: tallystick check")
        told = past_motion_view(self._past(one, at.log_index, decided), keys)
        return (
            replace(told, erasure=self.to_erase.of(one.change.target, state)) if isinstance(one.change, Erase) else told
        )

    def _past_motions(self, skip: int, most: int, state: State) -> list[Past]:
        """Those that were decided up to a state, the latest first."""
        past = []
        for decided in self.decisions.outcomes(skip, most):
            place = self._chain.place_of(decided.motion)
            one = self._certificate(place) if place is not None and decided.block_index <= state.index else None
            if place is not None and isinstance(one, Motion):
                past.append(self._past(one, self.log_index(place), decided))
        return past

    def _past(self, one: Motion, log_index: int, decided: Decided) -> Past:
        block = self.kept(decided.block_index)
        words = last_words(one, self.decisions.places_about(one.id), block.index, self._certificate)
        return Past(one, log_index, decided, block, words, self.members_for(block))

    def _line(self, index: int, block: Block | None = None) -> views.BlockLine:
        block = block or self.kept(index)
        return views.BlockLine(
            index=index,
            epoch=block.header.epoch,
            view=block.header.view,
            hash=block.hash.hex(),
            timestamp_ms=block.header.timestamp_ms,
            forger=self.key(block.header.forger) if index else None,
            certificate_count=len(block.certificates),
            final_by=self._store.finalized_from(index) if index else None,
        )

    def read_block(self, index: int, first: int, encoded: bool) -> views.Block:
        """A block on the chain, whose first certificate has this log index."""
        block, line = self.kept(index), self._line(index)
        header = block.header
        return views.Block(
            **asdict(line),
            parent_hash=header.parent_hash.hex(),
            certificates_hash=header.certificates_hash.hex(),
            state_root=header.state_root.hex(),
            signature=block.signature.hex(),
            finality=self._finality(block, line.final_by, encoded),
            encoded=block.encoded.hex() if encoded else None,
            certificates=[
                self._certificate_line(LogPlace(Place(index, position), first + position))
                for position in range(len(block.certificates))
            ],
        )

    def _finality(self, block: Block, by_block: int | None, encoded: bool) -> views.Finality | None:
        tally = self._store.finalization(by_block) if by_block else None
        if by_block is None or tally is None or tally.ballot.epoch != block.header.epoch:
            return None
        members = self.members_for(block)
        voters = [member for member, _ in tally.signatures]
        return views.Finality(
            by_block=by_block,
            voters=[self.key(one) for one in voters],
            stake=sum(members.get(one, 0) for one in voters),
            total_stake=sum(members.values()),
            encoded=encode(tally).hex() if encoded else None,
        )


def page(items: Sequence[T], limit: int, cursor: int | None) -> tuple[list[T], str | None]:
    """A page of a list, and the cursor of the next."""
    last = (cursor or 0) + limit
    return list(items[cursor or 0 : last]), str(last) if last < len(items) else None
