"""What only a running node can do: take certificates, sign with its key, tell how it is and whom it knows."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tallystick.api import views
from tallystick.api.node_status import status_of
from tallystick.api.questions import NewStatement
from tallystick.api.reader import LedgerReader
from tallystick.host.logs import note
from tallystick.host.runner import Runner, now_ms
from tallystick.host.submissions import Outcome, Submissions, Waiting
from tallystick.ledger.certificate import SALT_BYTES, Payload, issue_stake, issue_statement
from tallystick.ledger.certificate_index import Place
from tallystick.ledger.errors import Refused
from tallystick.ledger.messages import Entry
from tallystick.ledger.wallet import Wallet
from tallystick.node.events import PayloadErasureAsked, UnbanAsked
from tallystick.problems import BadRequest, NotRunning, NotThere
from tallystick.storage.sqlite_file import copy_database


class LiveNode:
    """A node that runs, with its key."""

    def __init__(self, submissions: Submissions, wallet: Wallet, address: str, make_invite: Callable[[], str]) -> None:
        self.submissions = submissions
        self.make_invite = make_invite
        self._wallet, self._address = wallet, address
        self._started_ms = now_ms()

    @property
    def runner(self) -> Runner:
        """The node's runner."""
        return self.submissions.runner

    def check_sound(self) -> None:
        """Raises `NotRunning` once the node has failed: it may know what is not kept, and takes nothing any more."""
        if self.runner.failed.done():
            raise NotRunning("the node has failed, and ends; look at its log")

    def status(self, reader: LedgerReader) -> views.Status:
        """How the node is."""
        return status_of(self.runner, reader.names, self._wallet.public_key, self._address, self._started_ms)

    def peers(self, reader: LedgerReader) -> list[views.Peer]:
        """Whom the node knows, those connected first."""
        runner, exchange = self.runner, self.runner.node.exchange
        stakes, bans = dict(runner.node.state.epoch.members), exchange.bans
        banned = {key for key in bans if isinstance(key, bytes)}
        keys = (runner.connected.keys() | exchange.records.keys() | stakes.keys() | banned) - {self._wallet.public_key}
        peers = [
            views.Peer(
                peer=reader.key(key),
                address=exchange.records[key].address if key in exchange.records else None,
                is_connected=key in runner.connected,
                connected_since_ms=runner.connected.get(key),
                last_heard_ms=runner.last_heard_ms.get(key),
                votes_with=stakes.get(key, 0),
                tip_index=runner.node.sync.tip_of(key),
                banned_until_ms=bans[key].until_ms if key in bans else None,
                banned_for=str(bans[key].refused) if key in bans else None,
            )
            for key in keys
        ]
        return sorted(peers, key=lambda one: (not one.is_connected, -one.votes_with, one.peer.key))

    # ---- certificates -------------------------------------------------------------------------------------------

    async def submit(self, entries: Sequence[Entry], wait_ms: int, reader: LedgerReader) -> views.Outcomes:
        """Submit; wait for those that are taken; what became of each."""
        outcomes = await self.submissions.submit(entries)
        ids = [entry.certificate.id for entry in entries]
        if wait_ms:
            await self.submissions.wait(ids, wait_ms / 1000)
            outcomes = [
                self.submissions.outcome(one) if isinstance(outcome, Waiting) else outcome
                for one, outcome in zip(ids, outcomes, strict=True)
            ]
        return views.Outcomes(outcomes=[self._outcome(*one, reader) for one in zip(ids, outcomes, strict=True)])

    async def outcomes(self, ids: Sequence[bytes], wait_ms: int, reader: LedgerReader) -> views.Outcomes:
        """What became of certificates; wait for those that wait."""
        if wait_ms:
            await self.submissions.wait(ids, wait_ms / 1000)
        return views.Outcomes(outcomes=[self._outcome(one, self.submissions.outcome(one), reader) for one in ids])

    def sign(self, statements: Sequence[NewStatement]) -> list[Entry]:
        """Sign statements with the node's key, now. Raises `BadRequest`, `Refused`."""
        ledger_id, at_ms = self.runner.node.chain.ledger_id, now_ms()
        entries = []
        for one in statements:
            try:
                content = bytes.fromhex(one.content)
            except ValueError:
                raise BadRequest(f"the content of {one.subject!r} is not hexadecimal") from None
            payload = Payload(os.urandom(SALT_BYTES), one.media_type, content) if one.media_type else None
            entries.append(Entry(issue_statement(self._wallet, ledger_id, at_ms, one.subject, payload), payload))
        return entries

    def sign_stake(self, amount: int) -> Entry:
        """Sign a staking operation with the node's key, now. Raises `Refused`."""
        return Entry(issue_stake(self._wallet, self.runner.node.chain.ledger_id, now_ms(), amount))

    # ---- what its operator asks ---------------------------------------------------------------------------------

    async def backup(self, path: Path) -> views.Backup:
        """Write a copy of the store while the node runs. Raises `BadRequest`, `StoreError`."""
        if not path.is_absolute():
            raise BadRequest(f"{path}: the node needs the whole path of the copy")
        index = self.runner.node.state.index
        await asyncio.to_thread(copy_database, self.runner.store.path, path)
        note(logging.INFO, "backup", path=str(path), index=index)
        return views.Backup(path=str(path), tip_index=index, size_bytes=path.stat().st_size)

    def unban(self, key: bytes) -> None:
        """Let a banned peer in again. Raises `NotThere`."""
        if key not in self.runner.node.exchange.bans:
            raise NotThere(f"{key.hex()[:16]}… is not banned; tallystick show peers tells who is")
        self.runner.handle(UnbanAsked(key))
        note(logging.INFO, "ban lifted", peer=key)

    def erase(self, payload_hash: bytes) -> None:
        """Erase a payload here, for good."""
        self.runner.handle(PayloadErasureAsked(payload_hash))
        note(logging.INFO, "payload erased", payload=payload_hash)

    def remember_name(self, key: bytes, name: str) -> Mapping[bytes, str]:
        """Note what the node's owner calls a key; the whole address book."""
        self.runner.store.remember_names({key: name})
        return self.runner.store.names()

    def _outcome(self, certificate_id: bytes, outcome: Outcome, reader: LedgerReader) -> views.Outcome:
        one = certificate_id.hex()
        match outcome:
            case Place():
                return views.Outcome(one, "final", *outcome, reader.log_index(outcome))
            case Refused():
                return views.Outcome(one, "refused", rule=outcome.rule.name, reason=str(outcome))
            case _:
                return views.Outcome(one, "waiting" if isinstance(outcome, Waiting) else "unknown")
