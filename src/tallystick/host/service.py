"""Serves what users ask of a running node over its local socket (host/control.py)."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from tallystick.consensus.signing_guard import GuardStatus
from tallystick.host import control
from tallystick.host.control import (
    LENGTH_BYTES,
    MAX_BATCH,
    MAX_FRAME_BYTES,
    Accepted,
    Answer,
    BackedUp,
    Backup,
    BlockFound,
    CertificateFound,
    Certify,
    ChangeStake,
    Done,
    Failed,
    Finalized,
    FindCertificates,
    FindFile,
    GetBlock,
    GetPeers,
    GetStakes,
    GetStatus,
    InviteMade,
    MakeInvite,
    MemberLine,
    PeerLine,
    Peers,
    Request,
    Stakes,
    Status,
    Stuck,
    Submit,
    Unban,
    decode_request,
    framed,
    short_address,
)
from tallystick.host.logs import note
from tallystick.host.runner import Runner, now_ms
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import SALT_BYTES, Payload, issue_stake, issue_statement
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused
from tallystick.ledger.messages import Entry, entry_codec
from tallystick.ledger.wallet import Wallet
from tallystick.node.events import (
    Action,
    ForgetCertificate,
    ReportAccepted,
    ReportBlock,
    ReportRefused,
    ReportStuck,
    UnbanAsked,
)
from tallystick.problems import HostError
from tallystick.storage.file_statement import FileStatement

_ROOM_PART: Final = 2
"""Of the box: what users submit waits while more than this part of it is full."""
_SHORTEST_PREFIX: Final = 8


class _Submission:
    """What one request submitted: which of its certificates are still on their way."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Answer] = asyncio.Queue()
        self.began_ms = now_ms()
        self.numbers: dict[bytes, int] = {}


class Service:
    """Listens on the socket, and answers. `runner` has `watch` told of every action."""

    def __init__(self, wallet: Wallet, address: str, make_invite: Callable[[], str]) -> None:
        self._wallet = wallet
        self._address = address
        self._make_invite = make_invite
        self._started_ms = now_ms()
        self._submissions: dict[bytes, list[_Submission]] = {}
        self._stuck: ReportStuck | None = None
        self._has_room = asyncio.Event()
        self._runner: Runner | None = None
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    # ---- the socket ---------------------------------------------------------------------------------------------

    async def start(self, runner: Runner, path: Path) -> None:
        """Listen. The folder's lock is held, so a socket that is there was left by a node that was killed."""
        self._runner = runner
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._talk, short_address(path))
        except OSError as error:
            raise HostError(f"{path} cannot be listened on: {error.strerror}") from None
        finally:
            os.umask(before)

    async def stop(self) -> None:
        """Listen no more; who is being answered is cut off."""
        if self._server is not None:
            self._server.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
                if size > MAX_FRAME_BYTES:
                    writer.write(framed(Failed(f"a request of {size} bytes, {MAX_FRAME_BYTES} allowed")))
                    break
                await self._reply(await reader.readexactly(size), writer)
        except asyncio.CancelledError:
            writer.transport.abort()  # the node stops, and does not wait for somebody who reads no answers
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # whoever asked has gone
        finally:
            self._talks.discard(talk)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _reply(self, encoded: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            async for answers in self._answer(decode_request(encoded)):
                writer.write(b"".join(framed(one) for one in answers))
                await writer.drain()
            last: Answer = Done()
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            last = Failed(f"not a request: {error}; is the command of the same version as the node?")
        except (HostError, Refused) as error:
            last = Failed(str(error))
        writer.write(framed(last))
        await writer.drain()

    # ---- requests -----------------------------------------------------------------------------------------------

    @property
    def runner(self) -> Runner:
        """The node's runner, once started."""
        assert self._runner is not None
        return self._runner

    async def _answer(self, request: Request) -> AsyncIterator[Sequence[Answer]]:
        """The answers, in order, those together that come together."""
        match request:
            case Certify() | Submit() | ChangeStake():
                async for answers in self._submit(self._entries(request)):
                    yield answers
            case GetStatus():
                yield [self._status()]
            case GetPeers():
                yield [self._peers()]
            case GetStakes():
                yield [self._stakes()]
            case GetBlock(index):
                yield [self._block(index)]
            case FindCertificates(id_prefix):
                yield self._certificates(id_prefix)
            case FindFile(sha256, size_bytes):
                yield self._covering(sha256, size_bytes)
            case Unban(key):
                self._unban(key)
            case MakeInvite():
                yield [InviteMade(self._make_invite())]
            case Backup(path):
                yield [await self._backup(Path(path))]

    def _entries(self, request: Certify | Submit | ChangeStake) -> list[Entry]:
        """What is submitted, signed here unless it is already. Raises `HostError`, `Refused`."""
        ledger_id, now = self.runner.node.chain.ledger_id, now_ms()
        match request:
            case ChangeStake(amount):
                return [Entry(issue_stake(self._wallet, ledger_id, now, amount))]
            case Submit(encoded):
                _check_count(len(encoded))
                return [entry_codec.decode(one) for one in encoded]
            case Certify(statements):
                _check_count(len(statements))
                entries = []
                for one in statements:
                    payload = Payload(os.urandom(SALT_BYTES), one.media_type, one.content) if one.media_type else None
                    entries.append(Entry(issue_statement(self._wallet, ledger_id, now, one.subject, payload), payload))
                return entries

    async def _submit(self, entries: list[Entry]) -> AsyncIterator[Sequence[Answer]]:
        """Tell of each entry when it is taken, and when it is final or came to nothing."""
        await self._wait_for_room()
        submission = _Submission()
        for number, entry in enumerate(entries):
            certificate_id = entry.certificate.id
            if submission.numbers.setdefault(certificate_id, number) == number:
                self._submissions.setdefault(certificate_id, []).append(submission)
            else:
                submission.answers.put_nowait(control.Refused(number, "C4", "the request holds this certificate twice"))
        try:
            numbered = list(submission.numbers.items())  # some may be final before the node has taken all
            refusals = await self.runner.submit([entries[number] for _, number in numbered])
            for (certificate_id, number), refused in zip(numbered, refusals, strict=True):
                if refused is not None:
                    self._end(certificate_id, submission, control.Refused(number, refused.rule.name, str(refused)))
            while submission.numbers or not submission.answers.empty():
                answers = [await submission.answers.get()]
                while not submission.answers.empty():
                    answers.append(submission.answers.get_nowait())
                yield answers
        finally:
            for certificate_id in list(submission.numbers):
                self._end(certificate_id, submission, None)

    async def _wait_for_room(self) -> None:
        """Whoever submits much has to wait for the ledger, and no longer than it takes."""
        limits, box = self.runner.node.limits, self.runner.node.box
        while len(box) > limits.box_certificates // _ROOM_PART:
            self._has_room.clear()
            await self._has_room.wait()

    def _end(self, certificate_id: bytes, submission: _Submission, answer: Answer | None) -> None:
        submission.numbers.pop(certificate_id, None)
        waiting = self._submissions.get(certificate_id, [])
        if submission in waiting:
            waiting.remove(submission)
        if not waiting:
            self._submissions.pop(certificate_id, None)
        if answer is not None:
            submission.answers.put_nowait(answer)

    # ---- what the node does -------------------------------------------------------------------------------------

    def watch(self, action: Action) -> None:
        """The node's actions, as they are carried out: of some of them somebody waits to hear."""
        match action:
            case ReportAccepted(certificate):
                for submission in self._submissions.get(certificate.id, ()):
                    submission.answers.put_nowait(Accepted(submission.numbers[certificate.id], certificate.id))
            case ReportRefused(refused, None, certificate_id) if certificate_id is not None:
                for submission in list(self._submissions.get(certificate_id, ())):
                    number = submission.numbers[certificate_id]
                    self._end(certificate_id, submission, control.Refused(number, refused.rule.name, str(refused)))
            case ReportBlock(block):
                self._stuck = None
                self._has_room.set()
                self._became_final(block)
            case ReportStuck():
                self._stuck = action
            case ForgetCertificate():
                self._has_room.set()

    def _became_final(self, block: Block) -> None:
        if not self._submissions:
            return
        for position, certificate in enumerate(block.certificates):
            for submission in list(self._submissions.get(certificate.id, ())):
                number, took_ms = submission.numbers[certificate.id], now_ms() - submission.began_ms
                timestamp_ms = block.header.timestamp_ms
                final = Finalized(number, certificate.id, block.index, position, timestamp_ms, took_ms)
                self._end(certificate.id, submission, final)

    # ---- what there is to see -----------------------------------------------------------------------------------

    def _status(self) -> Status:
        runner, node, key = self.runner, self.runner.node, self._wallet.public_key
        state, agreement = node.state, node.agreement_status()
        place, silent_until = (agreement.epoch, agreement.view), agreement.silent_until
        signs = agreement.guard is GuardStatus.READY and agreement.mismatch is None
        members = dict(state.epoch.members)
        said = self._stuck
        stuck = Stuck(said.since_ms, said.heard_stake, said.total_stake, said.missing) if said else None
        return Status(
            ledger_id=node.chain.ledger_id,
            ledger_name=node.chain.genesis.name,
            version=version("tallystick"),
            key=key,
            address=self._address,
            started_ms=self._started_ms,
            now_ms=now_ms(),
            index=state.index,
            tip_hash=state.tip.hash,
            tip_timestamp_ms=state.tip.timestamp_ms,
            certificates=state.log.size,
            epoch=state.epoch.number,
            view=agreement.view,
            stake=members.get(key, 0),
            total_stake=state.epoch.total,
            is_voting=key in members and signs and (silent_until is None or place > silent_until),
            guard=agreement.guard.value if agreement.guard else "",
            unanswered=agreement.unanswered,
            silent_until=silent_until,
            twin=agreement.twin,
            is_loss_accepted=agreement.is_loss_accepted,
            is_burned=agreement.is_burned,
            mismatch=agreement.mismatch or "",
            waiting=len(node.box),
            best_index=max(node.sync.best_index, state.index),
            peers=len(runner.connected),
            members_connected=len(members.keys() & (runner.connected.keys() | {key})),
            members=len(members),
            stuck=stuck,
        )

    def _peers(self) -> Peers:
        runner = self.runner
        stakes = dict(runner.node.state.epoch.members)
        addresses = {key: record.address for key, record in runner.node.exchange.records.items()}
        bans = runner.node.exchange.bans
        keys = (
            runner.connected.keys() | addresses.keys() | stakes.keys() | {key for key in bans if isinstance(key, bytes)}
        )
        lines = [
            PeerLine(
                key=key,
                address=addresses.get(key, ""),
                is_connected=key in runner.connected,
                stake=stakes.get(key, 0),
                since_ms=runner.connected.get(key, 0),
                tip_index=runner.node.sync.tip_of(key),
                banned_until_ms=bans[key].until_ms if key in bans else 0,
                banned_for=str(bans[key].refused) if key in bans else "",
            )
            for key in sorted(keys - {self._wallet.public_key})
        ]
        return Peers(tuple(lines))

    def _unban(self, key: bytes) -> None:
        if key not in self.runner.node.exchange.bans:
            raise HostError(f"{key.hex()[:16]}… is not banned; tallystick show peers tells who is")
        self.runner.handle(UnbanAsked(key))
        note(logging.INFO, "ban lifted", peer=key)

    def _stakes(self) -> Stakes:
        state, connected = self.runner.node.state, self.runner.connected
        lines = []
        for key, account in sorted(state.stakes.accounts.items()):
            votes_with = state.epoch.stake(key)
            is_there = key in connected or key == self._wallet.public_key
            lines.append(MemberLine(key, account.free, account.staked, account.unbonding, votes_with, is_there))
        return Stakes(tuple(lines), state.stakes.burned, state.epoch.number)

    def _block(self, index: int) -> BlockFound:
        store = self.runner.store
        block = store.block(index)
        if block is None:
            raise HostError(f"there is no block {index}; the ledger's last is {self.runner.node.state.index}")
        finalization = store.finalization(index)
        return BlockFound(block.encoded, encode(finalization) if finalization else b"")

    def _certificates(self, id_prefix: str) -> list[CertificateFound]:
        prefix = id_prefix.lower()
        if len(prefix) < _SHORTEST_PREFIX or not set(prefix) <= set("0123456789abcdef"):
            raise HostError(
                f"{id_prefix!r} is not the beginning of an id: give {_SHORTEST_PREFIX} hexadecimal digits or more"
            )
        places = self.runner.node.chain.certificate_index.with_prefix(prefix)
        return [self._found(place.block_index, place.position) for place in places]

    def _covering(self, sha256: bytes, size_bytes: int) -> list[CertificateFound]:
        places = self.runner.store.find_file(FileStatement("?", size_bytes, sha256))
        return [self._found(place.block_index, place.position) for place in places]

    def _found(self, block_index: int, position: int) -> CertificateFound:
        store = self.runner.store
        block = store.block(block_index)
        assert block is not None, "the index leads to blocks that are kept"
        certificate = block.certificates[position]
        payload = store.payload(certificate.payload_hash) if certificate.payload_hash else None
        return CertificateFound(
            encoded=certificate.encoded,
            payload=encode(payload) if payload else b"",
            block_index=block_index,
            position=position,
            block_hash=block.hash,
            block_timestamp_ms=block.header.timestamp_ms,
        )

    async def _backup(self, path: Path) -> BackedUp:
        if not path.is_absolute():
            raise HostError(f"{path}: the node needs the whole path of the copy")
        index = self.runner.node.state.index
        await asyncio.to_thread(self.runner.store.backup, path)
        note(logging.INFO, "backup", path=str(path), index=index)
        return BackedUp(index, path.stat().st_size)


def _check_count(count: int) -> None:
    if not 0 < count <= MAX_BATCH:
        raise HostError(f"{count} certificates in one request; give 1 to {MAX_BATCH}")
