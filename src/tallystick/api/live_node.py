"""What only a running node can do: take certificates, sign with its key, tell how it is and whom it knows."""

import asyncio
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tallystick.api import decisions as d
from tallystick.api import governed_views, views
from tallystick.api import questions as q
from tallystick.api.events import BlockEvents
from tallystick.api.node_status import status_of
from tallystick.api.reader import LedgerReader, page
from tallystick.host.clock import now_ms
from tallystick.host.invite import write_invite
from tallystick.host.logs import note
from tallystick.host.submissions import Outcome, Waiting
from tallystick.ledger.certificate import SALT_BYTES, Payload, issue_stake, issue_statement
from tallystick.ledger.certificate_index import Place
from tallystick.ledger.changes import sign_admission
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused
from tallystick.ledger.messages import Entry, entry_codec
from tallystick.node.events import PayloadErasureAsked, UnbanAsked
from tallystick.problems import BadRequest, DamagedStore, NotRunning, NotThere
from tallystick.storage.sqlite_file import copy_database

if TYPE_CHECKING:  # a file's reader does without
    from tallystick.host.process import Hosted


class LiveNode:
    """A node that runs, with its key. Each public asynchronous method is a route (`routes.py`)."""

    def __init__(self, reader: LedgerReader, hosted: "Hosted", most: int) -> None:
        """`most`: connections that a door holds; a quarter is left to those that neither listen nor wait."""
        self.events = BlockEvents(reader, most // 2)
        self.most_waiting = most // 4
        hosted.submissions.runner.watchers.append(self.events.watch)
        self._submissions = hosted.submissions
        self._reader, self._hosted, self._wallet = reader, hosted, hosted.wallet
        self._runner = hosted.submissions.runner
        self._started_ms = now_ms()

    def check_sound(self) -> None:
        """Raises `NotRunning` once the node has failed: it may know what is not kept, and takes nothing any more."""
        if self._runner.failed.done():
            raise NotRunning("the node has failed, and ends; look at its log")

    async def status(self) -> views.Status:
        """How the node is, and why the ledger does or does not advance."""
        keys, key = self._reader.keys, self._wallet.public_key
        try:
            waiting = await self._reader.erasures_waiting(key)
        except DamagedStore:  # tallystick check tells of that
            waiting = []
        told = status_of(self._runner, keys, key, self._hosted.address, self._started_ms)
        return replace(told, erasures=waiting)

    async def peers(self, limit: q.Limit = 50, cursor: q.Cursor = None) -> views.Peers:
        """Whom the node knows, those connected first."""
        runner, exchange = self._runner, self._runner.node.exchange
        stakes, bans = dict(runner.node.state.epoch.members), exchange.bans
        banned = {key for key in bans if isinstance(key, bytes)}
        keys = (runner.connected.keys() | exchange.records.keys() | stakes.keys() | banned) - {self._wallet.public_key}
        peers = [
            views.Peer(
                peer=self._reader.key(key),
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
        peers.sort(key=lambda one: (not one.is_connected, -one.votes_with, one.peer.key))
        shown, following = page(peers, limit, cursor)
        return views.Peers(now_ms=now_ms(), peers=shown, next=following)

    # ---- certificates -------------------------------------------------------------------------------------------

    async def submit(self, body: q.HexSubmission | q.Submission) -> views.Outcomes:
        """Put signed certificates on the ledger. What was submitted before is not submitted twice."""
        given: Sequence[bytes | str] = body.entries
        return await self._submit([_entry(*one) for one in enumerate(given)], body.wait_ms)

    async def outcome(self, id: q.HexInPath, wait_ms: q.WaitMs = 0) -> views.Outcomes:
        """What became of a certificate that was submitted here."""
        return await self.outcomes(q.OutcomesAsked([id], wait_ms))

    async def outcomes(self, body: q.OutcomesAsked) -> views.Outcomes:
        """What became of certificates that were submitted here."""
        ids = [bytes.fromhex(one) for one in body.ids]
        if body.wait_ms:
            await self._submissions.wait(ids, body.wait_ms / 1000)
        outcomes = await self._submissions.outcomes(ids)
        return self._told([(one, outcomes[one]) for one in ids])

    async def sign(self, body: q.SignedHere) -> views.Signed:
        """Sign statements with the node's key, and put them on the ledger unless that is not wanted."""
        chain, at_ms, entries = self._runner.node.chain, now_ms(), []
        for one in body.statements:
            try:
                content = bytes.fromhex(one.content)
            except ValueError:
                raise BadRequest(f"the content of {one.subject!r} is not hexadecimal") from None
            payload = Payload(os.urandom(SALT_BYTES), "", one.media_type, content) if one.media_type else None
            subject = one.subject
            if chain.state.directory and not one.public_subject:
                subject, payload = "", Payload.about(subject, payload, os.urandom(SALT_BYTES))
            entries.append(Entry(issue_statement(self._wallet, chain.ledger_id, at_ms, subject, payload), payload))
        outcomes = (await self._submit(entries, body.wait_ms)).outcomes if body.submit else []
        return views.Signed(entries=[encode(one).hex() for one in entries], outcomes=outcomes)

    async def stake(self, body: q.StakeChange) -> views.Outcomes:
        """Stake tokens of the node's own, or withdraw them."""
        signed = issue_stake(self._wallet, self._runner.node.chain.ledger_id, now_ms(), body.amount)
        return await self._submit([Entry(signed)], body.wait_ms)

    async def decide(self, body: d.NewDecision) -> governed_views.SignedDecision:
        """Sign a decision with the node's key, and put it on the ledger: a motion, a word on one, keys, a status."""
        entry = d.signed_decision(body.decision, body.words, self._wallet, self._runner.node.chain.ledger_id, now_ms())
        (outcome,) = (await self._submit([entry], body.wait_ms)).outcomes
        return governed_views.SignedDecision(id=outcome.id, entry=encode(entry).hex(), outcome=outcome)

    async def admission(self, body: d.AdmissionTo) -> governed_views.Admission:
        """Sign, with the node's key, that it wants to be an organisation's: others put that into their decision."""
        admitted = sign_admission(self._wallet, self._runner.node.chain.ledger_id, body.organisation)
        key = self._wallet.public_key.hex()
        return governed_views.Admission(organisation=body.organisation, key=key, admitted=admitted.hex())

    async def _submit(self, entries: Sequence[Entry], wait_ms: int) -> views.Outcomes:
        """Submit; wait for those that are taken; what became of each."""
        outcomes = await self._submissions.submit(entries, wait_ms / 1000)
        return self._told([(entry.certificate.id, one) for entry, one in zip(entries, outcomes, strict=True)])

    def _told(self, outcomes: Iterable[tuple[bytes, Outcome]]) -> views.Outcomes:
        told = []
        for certificate_id, outcome in outcomes:
            one = certificate_id.hex()
            if isinstance(outcome, Place):
                told.append(views.Outcome(one, "final", *outcome, self._reader.log_index(outcome)))
            elif isinstance(outcome, Refused):
                told.append(views.Outcome(one, "refused", rule=outcome.rule.name, reason=str(outcome)))
            else:
                told.append(views.Outcome(one, "waiting" if isinstance(outcome, Waiting) else "unknown"))
        return views.Outcomes(outcomes=told)

    # ---- what its operator asks ---------------------------------------------------------------------------------

    async def invite(self) -> views.Invite:
        """Make a line of text with which somebody else's node finds this ledger."""
        ledger_id, addresses = self._runner.node.chain.ledger_id, (self._hosted.address,)
        return views.Invite(invite=write_invite(ledger_id, self._wallet.public_key, addresses))

    async def backup(self, body: q.BackupTo) -> views.Backup:
        """Write a consistent copy of the ledger into a new file on the node's machine."""
        path, index = Path(body.path), self._runner.node.state.index
        await asyncio.to_thread(copy_database, self._runner.store.path, path)
        note(logging.INFO, "backup", path=str(path), index=index)
        return views.Backup(path=str(path), tip_index=index, size_bytes=path.stat().st_size)

    async def unban(self, key: q.HexInPath) -> views.Done:
        """Let a banned peer in again before its time."""
        banned = bytes.fromhex(key)
        if banned not in self._runner.node.exchange.bans:
            raise NotThere(f"{key[:16]}… is not banned; tallystick show peers tells who is")
        self._runner.handle(UnbanAsked(banned))
        note(logging.INFO, "ban lifted", peer=banned)
        return views.Done()

    async def erase(self, payload_hash: q.HexInPath) -> views.Erased:
        """Erase a payload from this node, for good; where that was ordered, its member confirms it.

        The certificate and every proof of it stay. Cut off in between, it is asked again: nothing is done twice.
        """
        erased = bytes.fromhex(payload_hash)
        self._runner.handle(PayloadErasureAsked(erased))
        self.check_sound()
        note(logging.INFO, "payload erased", payload=erased)
        due = await self._reader.erasures_to_confirm(erased, self._wallet.public_key)
        confirming = [d.ConfirmErasure(one.orders[0].id, one.target) for one in due]
        ledger_id = self._runner.node.chain.ledger_id
        entries = [d.signed_decision(one, "", self._wallet, ledger_id, 0) for one in confirming]
        outcomes = (await self._submit(entries, 0)).outcomes if entries else []
        return views.Erased(payload_hash=payload_hash, confirmations=outcomes)

    async def name(self, key: q.HexInPath, body: q.Name) -> views.Done:
        """Note in the node's address book what a key is called."""
        self._runner.store.remember_names({bytes.fromhex(key): body.name})
        self._reader.address_book = self._runner.store.names()
        return views.Done()


def _entry(number: int, given: bytes | str) -> Entry:
    try:
        return entry_codec.decode(given if isinstance(given, bytes) else bytes.fromhex(given))
    except Refused as refused:
        rule = f"{refused.rule.name}, {refused.rule.value}"
        told = f"entry {number} is no certificate with its payload as docs/protocol.md encodes them ({rule})"
    except ValueError:
        told = f"entry {number} is not hexadecimal"
    raise BadRequest(f"{told}; nothing was submitted")
