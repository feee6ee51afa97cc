"""Judges a file of two checkpoints that conflict, offline: whether no log has both, and who signed them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from tallystick.api.proof_views import ConflictVerdict
from tallystick.api.proven import exit_code_of
from tallystick.host.seen_logs import SeenLogs
from tallystick.host.text import is_hex_digest
from tallystick.host.trust import TrustedLedger, TrustStore
from tallystick.ledger.checkpoint import cosigner_key, log_key
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.genesis import decode_genesis
from tallystick.ledger.note import NoteKey
from tallystick.ledger.tlog_conflict import TlogConflict, parse_conflict
from tallystick.ledger.tlog_policy import Policy
from tallystick.problems import ExitCode, Problem

CONFLICT: Final = ".tlog-conflict"

Voters = tuple[tuple[bytes, int], ...]
"""Keys, each with its stake."""


class NoConflict(Problem):
    """The file does not show what it says."""

    code = "not-proven"

    def __init__(self, refused: Refused) -> None:
        super().__init__(f"{refused}; do not rely on it, and ask for the file again")
        self.exit_code = ExitCode.NO_PROOF if refused.rule is Rule.A1 else exit_code_of(refused)


class _Signed(NamedTuple):
    """Who signed both, of the voters of an epoch."""

    keys: frozenset[bytes]
    epoch: int
    stake: int
    total: int


def judge_conflict(
    path: Path, data: bytes, store: TrustStore, ledger: str | None = None, policy: Policy | None = None
) -> ConflictVerdict:
    """What the file shows to a verifier who trusts these ledgers, and this policy's keys.

    Raises `NoConflict` for what is malformed (A1), no conflict (A2, T3), or signed twice by nobody (A3); `Problem`.
    """
    try:
        conflict = parse_conflict(data)
        conflict.check()
    except Refused as refused:
        raise NoConflict(refused) from None
    first, second = conflict.checkpoints
    ledger_id = _ledger_in(first.origin)
    kept = _trusted(store, ledger, ledger_id)
    signed = _most(conflict, first.origin, _known_voters(conflict, store, ledger_id, kept))
    is_known = kept is not None and signed is not None and bool(signed.keys)
    signers = signed.keys if signed is not None and is_known else None
    if signers is None:
        signers = conflict.signers(policy.keys if policy is not None else conflict.keys)
    if not signers:
        raise NoConflict(Refused(Rule.A3, "no key that is known here signed both"))
    return ConflictVerdict(
        path=str(path),
        origin=first.origin,
        sizes=[first.size, second.size],
        roots=[first.root.hex(), second.root.hex()],
        other_root=conflict.root.hex() if conflict.root is not None else None,
        trusted=is_known or policy is not None,
        signers=sorted(one.hex() for one in signers),
        epoch=signed.epoch if signed is not None else None,
        stake=signed.stake if signed is not None else None,
        total_stake=signed.total if signed is not None else None,
    )


def _ledger_in(origin: str) -> bytes | None:
    """The ledger id that an origin ends with; `None`: it is of another program."""
    last = origin.rpartition("/")[2]
    return bytes.fromhex(last) if is_hex_digest(last) else None


def _trusted(store: TrustStore, ledger: str | None, ledger_id: bytes | None) -> TrustedLedger | bytes | None:
    """What is kept of the ledger, or its id if it is only named; `None`: it is not trusted. Raises `Problem`."""
    if ledger_id is None:
        return None
    if ledger is not None:
        named = bytes.fromhex(ledger.lower()) if is_hex_digest(ledger.lower()) else store.id_of(ledger)
        if named != ledger_id:
            return None
        return store.get(ledger_id) or ledger_id
    return store.get(ledger_id)


def _known_voters(
    conflict: TlogConflict, store: TrustStore, ledger_id: bytes | None, kept: TrustedLedger | bytes | None
) -> Iterable[tuple[int, Voters]]:
    """Epochs with their voters: the first, by the genesis that leads to the id, and those verified here.

    Raises `NoConflict` for the genesis of another ledger, `TrustError`, `DamagedStore`.
    """
    if conflict.genesis is not None and ledger_id is not None:
        try:
            genesis = decode_genesis(conflict.genesis)
        except Refused as refused:
            raise NoConflict(Refused(Rule.A1, refused.reason)) from None
        if genesis.ledger_id != ledger_id:
            raise NoConflict(Refused(Rule.A1, "the genesis in it is another ledger's"))
        yield 0, genesis.stakes().members
    if isinstance(kept, TrustedLedger):
        yield from ((one.epoch, one.voters) for one in kept.anchors)
    seen = SeenLogs(store.path).get(conflict.checkpoints[0].origin) if kept is not None else None
    if seen is not None and seen.anchor is not None:
        yield seen.anchor.epoch, seen.anchor.voters


def _most(conflict: TlogConflict, origin: str, known: Iterable[tuple[int, Voters]]) -> _Signed | None:
    """Of the epochs that are known the one in which those who signed both hold the most."""
    found = list[_Signed]()
    for epoch, voters in known:
        keys: list[NoteKey] = [make(origin, key) for key, _ in voters for make in (log_key, cosigner_key)]
        signers = conflict.signers(keys)
        stake, total = sum(staked for key, staked in voters if key in signers), sum(staked for _, staked in voters)
        found.append(_Signed(signers, epoch, stake, total))
    return max(found, key=lambda one: (one.stake / one.total, one.epoch), default=None)
