"""The ledgers that a user trusts: a folder with a file for each, which every proof verified makes stronger.

Trust is named by whoever verifies, never by a proof. It never goes back: of each ledger the newest header that was
verified is kept, with the proof that showed it, and what contradicts it is kept as evidence, with that proof.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.structs import replace

from tallystick.host.own_files import TrustError, check_own_folder, explained, locked, read_own, write_whole
from tallystick.host.text import is_hex_digest
from tallystick.ledger.fields import Digest, Milliseconds
from tallystick.ledger.genesis import Genesis, decode_genesis
from tallystick.ledger.params import MAX_GENESIS_BYTES
from tallystick.problems import Ambiguous, DamagedStore, NotThere
from tallystick.proof.members import Anchor
from tallystick.storage.sqlite_file import sync_folder

MAX_LEDGERS: Final = 1_024
MAX_ANCHORS: Final = 32
MAX_CONFLICTS: Final = 32
"""Of a ledger; more are refused likewise, and not kept."""
SHORTEST_ID: Final = 16
"""Hexadecimal digits: fewer can be found by trying."""

_FORMAT: Final = 1
_MAX_FILE_BYTES: Final = 8 * 1024 * 1024
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,39}", re.ASCII)
SAFE_NAME: Final = "1 to 40 characters of a-z, 0-9, - and ., the first a letter or digit, and not like an id"
"""How something that is trusted may be called."""


class KeptProof(NamedTuple):
    """A proof as it came: its file, and that of its hand-over, if there was one."""

    proof: bytes
    members: bytes | None = None


class TrustedLedger(Struct, frozen=True, forbid_unknown_fields=True):
    """A ledger that the user trusts, and what was verified of it."""

    name: str
    """The user's own; unique."""
    ledger_id: Digest
    added_ms: Milliseconds
    added_from: Annotated[str, Meta(max_length=1_024)]
    """What the user named: its id, or which file."""
    genesis: Annotated[bytes, Meta(max_length=MAX_GENESIS_BYTES)] | None = None
    """Encoded; `None`: not seen yet."""
    anchors: Annotated[tuple[Anchor, ...], Meta(max_length=MAX_ANCHORS)] = ()
    """Headers that were verified, each when it was the newest; in the order of the chain."""

    @property
    def newest(self) -> Anchor | None:
        """The newest header that was verified."""
        return self.anchors[-1] if self.anchors else None

    def check(self, ledger_id: bytes) -> None:
        """Raise `ValueError` unless all of it is of this ledger, and in order."""
        decoded = decode_genesis(self.genesis) if self.genesis is not None else None
        ids = {self.ledger_id, ledger_id, *(one.ledger_id for one in self.anchors)}
        if len(ids) > 1 or not _rise_together(self.anchors) or not is_safe_name(self.name):
            raise ValueError("it is not in order")
        if decoded is not None and decoded.ledger_id != ledger_id:
            raise ValueError("its genesis is another ledger's")


class Conflict(Struct, frozen=True, forbid_unknown_fields=True):
    """A proof of another history than the one that was verified before. Both stand beside it."""

    seen_ms: Milliseconds
    reason: str


class Trusted(NamedTuple):
    """All that is trusted, by name, and the files that cannot be read."""

    ledgers: tuple[TrustedLedger, ...]
    damaged: tuple[Path, ...]


class _File(Struct, forbid_unknown_fields=True):
    format: int
    sha256: str
    """Of the encoded ledger."""
    ledger: Raw


def usual_trust_folder() -> Path:
    """Where the trusted ledgers of this user are: in the platform's place for configuration, not in a node's folder."""
    from platformdirs import user_config_path  # noqa: PLC0415  # whoever names a folder needs none of it

    return user_config_path("tallystick", appauthor=False) / "trust"


def is_safe_name(name: str) -> bool:
    """Whether a ledger may be called so here: plain letters, and nothing that an id could be taken for."""
    return _NAME.fullmatch(name) is not None and not is_hex_digest(name, SHORTEST_ID)


def named_ledger(ledger_id: bytes, genesis: Genesis | None, name: str | None) -> str:
    """What to call a ledger: as the user says, else by its own short name, else by its id. Raises `TrustError`."""
    if name is not None and not is_safe_name(name):
        raise TrustError(f"{name!r} is no local name: {SAFE_NAME}")
    short = genesis.short_name.lstrip(".-") if genesis is not None else ""
    return name or (short if is_safe_name(short) else f"ledger-{ledger_id.hex()[:8]}")


class TrustStore:
    """The folder. It is made when something is first kept in it; commands at the same time wait for each other."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # ---- reading ----------------------------------------------------------------------------------------------

    def read_all(self) -> Trusted:
        """Everything that can be read. Raises `TrustError` when the folder cannot be."""
        ledgers, damaged = list[TrustedLedger](), list[Path]()
        for ledger_id in self._ids():
            try:
                found = self.get(ledger_id)
            except DamagedStore:
                damaged.append(self._file(ledger_id))
            else:
                ledgers += [found] if found is not None else []
        return Trusted(tuple(sorted(ledgers, key=lambda one: one.name)), tuple(damaged))

    def get(self, ledger_id: bytes) -> TrustedLedger | None:
        """What is kept of a ledger; `None`: it is not trusted. Raises `DamagedStore`, `TrustError`."""
        path = self._file(ledger_id)
        check_own_folder(self.path)
        data = read_own(path, _MAX_FILE_BYTES)
        if data is None:
            return None
        try:
            file = msgspec.json.decode(data, type=_File)
            if file.format != _FORMAT or sha256(bytes(file.ledger)).hexdigest() != file.sha256:
                raise ValueError("it is not as it was written")
            found = msgspec.json.decode(file.ledger, type=TrustedLedger)
            found.check(ledger_id)
        except (ValueError, RecursionError):
            advice = "restore it from a copy; or, if there is none, remove it and trust the ledger anew"
            raise DamagedStore(f"{path} is damaged: {advice}, by an id that you have from its members") from None
        return found

    def id_of(self, who: str) -> bytes:
        """The ledger's id, by its local name, or how the id begins. Raises `NotThere`, `Ambiguous`, `TrustError`."""
        if is_hex_digest(who.lower(), SHORTEST_ID):
            found = [one for one in self._ids() if one.hex().startswith(who.lower())]
        else:
            found = [one.ledger_id for one in self.read_all().ledgers if one.name == who]
        if not found:
            raise NotThere(f"no ledger that you trust is called {who}; tallystick trust list has them all")
        if len(found) > 1:
            raise Ambiguous(f"more than one trusted ledger's id begins with {who}; give more digits")
        return found[0]

    def conflicts(self, ledger_id: bytes) -> list[tuple[Path, Conflict]]:
        """What contradicts the verified history, each in a folder of its own."""
        found = []
        for path in sorted(self._evidence(ledger_id).glob("*/about.json")):
            with suppress(OSError, ValueError):
                found.append((path.parent, msgspec.json.decode(path.read_bytes(), type=Conflict)))
        return sorted(found, key=lambda one: one[1].seen_ms)

    # ---- what the user decides ----------------------------------------------------------------------------------

    def add(self, new: TrustedLedger) -> TrustedLedger:
        """Trust a ledger; what is known of it already stays. Raises `TrustError`, `DamagedStore`."""
        with locked(self.path):
            before = self.get(new.ledger_id)
            if before is not None:
                merged = replace(before, genesis=before.genesis or new.genesis)
                if merged != before:
                    self._write(merged)
                return merged
            kept = self.read_all()
            if len(kept.ledgers) + len(kept.damaged) >= MAX_LEDGERS:
                raise TrustError(f"{MAX_LEDGERS:,} ledgers are trusted, the most there can be; remove one first")
            holder = next((one for one in kept.ledgers if one.name == new.name), None)
            if holder is not None:
                other = f"your trusted ledger {holder.ledger_id.hex()[:SHORTEST_ID]}… is called {new.name}"
                raise TrustError(f"{other}; choose another local name with --name")
            self._write(new)
            return new

    def remove(self, ledger_id: bytes) -> None:
        """Trust a ledger no more. Evidence of conflicting histories stays. Raises `TrustError`."""
        with locked(self.path), explained(self.path):
            for path in (self._file(ledger_id), *self._proof_files(ledger_id)):
                path.unlink(missing_ok=True)
            sync_folder(self._file(ledger_id))

    # ---- what verified proofs tell --------------------------------------------------------------------------------

    def keep(self, ledger_id: bytes, newer: Anchor, shown_by: KeptProof, known: Sequence[Anchor]) -> bool:
        """Keep a newer header of a ledger, and its proof. It was verified under `known`, all that was kept then.

        `False`: another command has kept more meanwhile, so that it is to be verified once more. An older header
        changes nothing. Raises `TrustError`, also for one that cannot be of the same chain, and `DamagedStore`.
        """
        with locked(self.path):
            before = self.get(ledger_id)
            if before is None:
                return True
            if before.anchors != tuple(known):
                return False
            if any(one.index == newer.index for one in before.anchors):
                return True
            anchors = sorted((*before.anchors, newer), key=lambda one: one.index)
            if not _rise_together(anchors):
                raise TrustError(f"block {newer.index} has another place in time, or among epochs, than in the chain")
            if anchors[-1] != newer:
                return True
            for path, data in zip(self._proof_files(ledger_id), shown_by, strict=True):
                self._write_or_remove(path, data)
            self._write(replace(before, anchors=tuple(anchors[-MAX_ANCHORS:])))
            return True

    def learn_genesis(self, genesis: Genesis) -> None:
        """Keep the genesis of a ledger that is trusted by its id. Raises `TrustError`, `DamagedStore`."""
        with locked(self.path):
            before = self.get(genesis.ledger_id)
            if before is not None and before.genesis is None:
                self._write(replace(before, genesis=genesis.encoded))

    def keep_conflict(
        self, ledger_id: bytes, refused: KeptProof, reason: str, now_ms: int, before: KeptProof | None = None
    ) -> Path | None:
        """Keep a proof of another history, and the proof of the one that was verified before, for good; where.

        `before`: that is not kept here. `None`: too many are kept. Raises `TrustError`.
        """
        place = self._evidence(ledger_id) / sha256(refused.proof).hexdigest()[:32]
        with locked(self.path), explained(self.path):
            if (place / "about.json").exists():
                return place
            if len(self.conflicts(ledger_id)) >= MAX_CONFLICTS:
                return None
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            kept = [path.read_bytes() if path.exists() else None for path in self._proof_files(ledger_id)]
            for name, two in (("verified-before", before or kept), ("refused", refused)):
                for ending, data in zip(("tlog-proof", "members"), two, strict=True):
                    self._write_or_remove(place / f"{name}.{ending}", data)
            write_whole(place / "about.json", msgspec.json.encode(Conflict(now_ms, reason)))
            for path in (place, place.parent, place.parent.parent):
                sync_folder(path)
        return place

    # ---- files ------------------------------------------------------------------------------------------------

    def _file(self, ledger_id: bytes) -> Path:
        return self.path / f"{ledger_id.hex()}.json"

    def _proof_files(self, ledger_id: bytes) -> tuple[Path, Path]:
        """Of the proof that showed the newest header."""
        return self.path / f"{ledger_id.hex()}.tlog-proof", self.path / f"{ledger_id.hex()}.members"

    def _evidence(self, ledger_id: bytes) -> Path:
        return self.path / "conflicts" / ledger_id.hex()

    def _ids(self) -> list[bytes]:
        try:
            stems = [one.stem for one in self.path.iterdir() if one.suffix == ".json"]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise TrustError(f"{self.path} cannot be read: {error.strerror}") from None
        return [bytes.fromhex(one) for one in sorted(stems) if is_hex_digest(one)][:MAX_LEDGERS]

    def _write(self, ledger: TrustedLedger) -> None:
        encoded = msgspec.json.encode(ledger)
        file = _File(_FORMAT, sha256(encoded).hexdigest(), Raw(encoded))
        with explained(self.path):
            write_whole(self._file(ledger.ledger_id), msgspec.json.encode(file) + b"\n")

    def _write_or_remove(self, path: Path, data: bytes | None) -> None:
        with explained(self.path):
            if data is None:
                path.unlink(missing_ok=True)
            else:
                write_whole(path, data)


def _rise_together(anchors: Sequence[Anchor]) -> bool:
    """Whether these are in the order of one chain, each once: a later block has a later time, and no earlier epoch."""
    return all(
        one.index < next_one.index and one.epoch <= next_one.epoch and one.timestamp_ms < next_one.timestamp_ms
        for one, next_one in pairwise(anchors)
    )
