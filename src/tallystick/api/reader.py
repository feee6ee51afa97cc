"""Answers what is asked of a ledger, from its chain and its store: those of a running node, or of a checked file.

What needs the chain in memory is looked up at once (`find`, `places`); what needs the store is read afterwards, on any
one thread, from a connection that only reads. So a reader never keeps a node from agreeing.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from msgspec.structs import asdict

from tallystick.api import views
from tallystick.api.certificate_view import certificate_line, certificate_view, key_view
from tallystick.ledger.block import Block, genesis_block
from tallystick.ledger.blockchain import Blockchain
from tallystick.ledger.certificate_index import Place
from tallystick.ledger.encoding import encode
from tallystick.ledger.stake import Account
from tallystick.ledger.state import State
from tallystick.problems import Ambiguous, DamagedStore, NotThere
from tallystick.storage.file_statement import FileStatement, file_statement_in
from tallystick.storage.store import Store

T = TypeVar("T")


class LogPlace(NamedTuple):
    """Where a certificate stands in its block, and in the log."""

    place: Place
    log_index: int


class LedgerReader:
    """One ledger. Raises `NotThere` for what it does not have, `DamagedStore` for what is not what was written."""

    def __init__(self, chain: Blockchain, store: Store) -> None:
        self._chain, self._store = chain, store
        self.names: Mapping[bytes, str] = store.names()

    @property
    def state(self) -> State:
        """At the tip."""
        return self._chain.state

    # ---- in memory ----------------------------------------------------------------------------------------------

    def find(self, id_beginning: str) -> LogPlace:
        """Where the final certificate stands whose id, in lower-case hex, begins so. Raises `NotThere`, `Ambiguous`."""
        index = self._chain.certificate_index
        if len(id_beginning) == 64:
            found = [place] if (place := index.place_of(bytes.fromhex(id_beginning))) else []
        else:
            found = index.with_prefix(id_beginning)
        if not found:
            raise NotThere(f"no certificate's id begins with {id_beginning}; if it was submitted just now, it may wait")
        if len(found) > 1:
            raise Ambiguous(f"{len(found)} ids begin with {id_beginning}; give more digits")
        return LogPlace(found[0], self.log_index(found[0]))

    def at(self, log_index: int) -> LogPlace:
        """The place of the certificate with this log index."""
        return LogPlace(self._chain.certificate_index.place_at(log_index), log_index)

    def page(self, first: int, count: int) -> list[LogPlace]:
        """Certificates of the log, from this index on."""
        return [self.at(one) for one in range(max(0, first), min(first + count, self.state.log.size))]

    def first_of(self, block_index: int) -> int:
        """The log index of a block's first certificate, or of what comes after it if it has none."""
        return self.log_index(Place(block_index, 0)) if block_index else 0

    def members(self) -> list[views.Member]:
        """All accounts, those with most at stake first."""
        state = self.state
        context = state.context(now_ms=0)
        accounts = [(key, account.at(context)) for key, account in state.stakes.accounts.items()]
        accounts.sort(key=lambda one: (-one[1].staked, one[0]))
        return [self._member(key, account, state) for key, account in accounts]

    def pick_member(self, who: str) -> views.Member:
        """The account with this name, or whose key begins so. Raises `NotThere`, `Ambiguous`."""
        members = self.members()
        found = [one for one in members if one.member.name == who]
        found = found or [one for one in members if len(who) > 1 and one.member.key.startswith(who.lower())]
        if not found:
            raise NotThere(f"no account is called {who}, nor does a key begin so")
        if len(found) > 1:
            raise Ambiguous(f"{len(found)} accounts are called {who}, or have keys that begin so; give more digits")
        return found[0]

    def _member(self, key: bytes, account: Account, state: State) -> views.Member:
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

    def key(self, key: bytes) -> views.Key:
        """A key, with its name."""
        return key_view(key, self.names)

    def log_index(self, place: Place) -> int:
        """Of the certificate at a place."""
        return self._chain.certificate_index.number_of(place)

    # ---- from the store -----------------------------------------------------------------------------------------

    def ledger(self, state: State) -> views.Ledger:
        """The ledger as a whole."""
        genesis, stakes = self._chain.genesis, state.stakes
        return views.Ledger(
            ledger_id=genesis.ledger_id.hex(),
            name=genesis.name,
            created_ms=genesis.created_ms,
            tip=self._line(self._block(state.index)),
            log_size=state.log.size,
            log_root=state.log.root().hex(),
            total=stakes.total,
            total_staked=stakes.total_staked,
            burned=stakes.burned,
            params=asdict(genesis.params),
        )

    def block(self, index: int, state: State, *, encoded: bool) -> views.Block:
        """A block, with its certificates."""
        if not 0 <= index <= state.index:
            raise NotThere(f"there is no block {index}: the last is {state.index}")
        block = self._block(index)
        header, first = block.header, self.first_of(index)
        return views.Block(
            **asdict(self._line(block)),
            parent_hash=header.parent_hash.hex(),
            certificates_hash=header.certificates_hash.hex(),
            state_root=header.state_root.hex(),
            signature=block.signature.hex(),
            finality=self._finality(block, encoded=encoded),
            encoded=block.encoded.hex() if encoded else None,
            certificates=[
                certificate_line(one, views.Place(index, position, first + position, header.timestamp_ms), self.names)
                for position, one in enumerate(block.certificates)
            ],
        )

    def blocks(self, last: int, count: int) -> list[views.BlockLine]:
        """Blocks up to this one, the newest first."""
        first = max(0, last - count + 1)
        return [self._line(self._block(index)) for index in range(last, first - 1, -1)]

    def certificate(self, at: LogPlace) -> views.Certificate:
        """The certificate at a place that `find` or `page` told."""
        block = self._block(at.place.block_index)
        one = block.certificates[at.place.position]
        payload = self._store.payload(one.payload_hash) if one.payload_hash else None
        return certificate_view(one, payload, _place(block, at), self.names)

    def lines(self, places: Sequence[LogPlace]) -> list[views.CertificateLine]:
        """The certificates at these places; each block is read once."""
        blocks = {index: self._block(index) for index in {at.place.block_index for at in places}}
        read = ((blocks[at.place.block_index], at) for at in places)
        return [
            certificate_line(block.certificates[at.place.position], _place(block, at), self.names) for block, at in read
        ]

    def covering(self, sha256: bytes, size_bytes: int | None) -> list[Place]:
        """Where certificates stand whose payloads state these bytes of a file."""
        return [place for stated, place in self.stating(sha256) if size_bytes in (None, stated.size_bytes)]

    def stating(self, sha256: bytes) -> list[tuple[FileStatement, Place]]:
        """What the ledger's payloads state of a file with this hash, and where their certificates stand."""
        found = []
        for at in self._store.find_file(FileStatement("", 0, sha256)):
            payload = self._store.payload(at.payload_hash)
            stated = file_statement_in(payload) if payload else None
            if stated is not None and stated.sha256 == sha256:
                found.append((stated, Place(at.block_index, at.position)))
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

    def _line(self, block: Block) -> views.BlockLine:
        header = block.header
        return views.BlockLine(
            index=block.index,
            epoch=header.epoch,
            view=header.view,
            hash=block.hash.hex(),
            timestamp_ms=header.timestamp_ms,
            forger=self.key(header.forger) if block.index else None,
            certificate_count=len(block.certificates),
            final_by=self._store.finalized_from(block.index) if block.index else None,
        )

    def _finality(self, block: Block, *, encoded: bool) -> views.Finality | None:
        by_block = self._store.finalized_from(block.index) if block.index else None
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


def _place(block: Block, at: LogPlace) -> views.Place:
    return views.Place(at.place.block_index, at.place.position, at.log_index, block.header.timestamp_ms)


def page(items: Sequence[T], limit: int, cursor: int | None) -> tuple[list[T], str | None]:
    """A page of a list, and the cursor of the next."""
    last = (cursor or 0) + limit
    return list(items[cursor or 0 : last]), str(last) if last < len(items) else None
