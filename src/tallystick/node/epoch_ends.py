"""Checkpoints at the ends of epochs, and what members cosigned of them by ML-DSA-44.

Nothing else waits for it: a node without the library hands in no functions for it, and takes no part.
docs/protocol.md, section 4, "Checkpoints"; docs/adr/0034.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from tallystick.ledger.checkpoint import Checkpoint, MlDsaCosignature, cosigner_key, subtree_bytes
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.keys import Verify
from tallystick.ledger.messages import MAX_ML_DSA_COSIGNATURES, MlDsaCosignatures
from tallystick.node.checkpoints import ANEW_AFTER_S, MAX_AHEAD_S, Candidate, Checkpoints, Countersigned
from tallystick.node.events import Action, Broadcast, Peer, ReportRefused
from tallystick.node.limits import Allowances, Limits

_SAVED_TIMES: Final = 4
"""A peer may tell what it knows of so many ends at once."""
_SAVED_ANSWERS: Final = 2
"""A peer is told all lines when it connects, and once more when it has come to know the members: then once a minute."""


class MlDsaSigner(Protocol):
    """A key of ML-DSA-44."""

    public_key: bytes

    def sign(self, message: bytes) -> bytes:
        """A signature, 2,420 bytes."""


class MlDsa(NamedTuple):
    """What a host hands in that knows ML-DSA-44."""

    verify: Verify
    signer: MlDsaSigner | None = None
    """The key of this node's member; it signs while it is the one that the ledger has."""


class OwnPart(NamedTuple):
    """How this node's part in cosigning by ML-DSA-44 stands."""

    key: bytes | None
    """The public key that it has; `None`: none, it only verifies."""
    end_size: int | None
    """Of the log at the newest end of an epoch that it knows since its start; `None`: it knows none."""
    members: frozenset[bytes]
    """Whose lines of that it has."""


class _Ahead(NamedTuple):
    """A line that is good by the key that its member had when it came."""

    line: MlDsaCosignature
    key: bytes


@dataclass
class _End:
    """The last block of an epoch whose log has a checkpoint."""

    candidate: Candidate
    keys: dict[bytes, bytes]
    """By member, ML-DSA-44 keys: of those voters who have one the first by stake."""
    lines: dict[bytes, MlDsaCosignature] = field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        """Whether a proof can be made here."""
        return bool(self.lines) and self.candidate.is_countersigned

    @property
    def in_order(self) -> tuple[MlDsaCosignature, ...]:
        """Keys ascending."""
        return tuple(self.lines[member] for member in sorted(self.lines))


class CosignedEnds:
    """The newest end of an epoch, and the newest that a proof can be made at."""

    def __init__(self, genesis: Genesis, checkpoints: Checkpoints, limits: Limits, ml_dsa: MlDsa | None) -> None:
        self._origin, self._checkpoints, self._ml_dsa = genesis.origin, checkpoints, ml_dsa
        self._rate = limits.ml_dsa_per_second
        self._allowances = Allowances(self._rate, _SAVED_TIMES * MAX_ML_DSA_COSIGNATURES)
        self._answers = Allowances(1 / ANEW_AFTER_S, _SAVED_ANSWERS)
        """By peer: a question of some bytes is answered with up to 160 kB."""
        self._end: _End | None = None
        self._ready: _End | None = None
        """An earlier one, while the newest is not."""
        self._ahead: dict[bytes, _Ahead] = {}
        """By member: of a larger log than this node's."""

    @property
    def newest(self) -> Countersigned | None:
        """The newest countersigned checkpoint with cosignatures by ML-DSA, as far as it is known since the start."""
        end = self._end if self._end is not None and self._end.is_ready else self._ready
        if end is None:
            return None
        return Countersigned(end.candidate.state, end.candidate.voters, end.candidate.in_order, end.in_order)

    @property
    def own_part(self) -> OwnPart | None:
        """`None`: this machine does not know ML-DSA-44."""
        if self._ml_dsa is None:
            return None
        signer, end = self._ml_dsa.signer, self._end
        size, members = (end.candidate.size, frozenset(end.lines)) if end is not None else (None, frozenset[bytes]())
        return OwnPart(signer.public_key if signer is not None else None, size, members)

    def told(self, now_ms: int, peer: Peer) -> Iterator[MlDsaCosignatures]:
        """What a peer may lack; nothing, if it was told not long ago."""
        if self._end is not None and self._end.lines and self._answers.take(now_ms, peer):
            yield MlDsaCosignatures(self._end.in_order)

    def receive(
        self, now_ms: int, peer: Peer, said: MlDsaCosignatures, actions: list[Action]
    ) -> tuple[MlDsaCosignature, ...]:
        """Count what a peer tells, as far as it is wanted, good, and within the peer's allowance. Returns what was new.

        One refusal a message is reported.
        """
        if self._ml_dsa is None:
            return ()
        new, refusals = [], list[Refused]()
        for one in said.cosignatures:
            if (key := self._key_wanted(one)) is None:
                continue
            if not self._allowances.take(now_ms, peer):
                refusals.append(Refused(Rule.N11, f"more than {self._rate} by ML-DSA a second"))
                break
            try:
                self._check(now_ms, one, key, self._ml_dsa.verify)
            except Refused as refused:
                refusals.append(refused)
                continue
            if self._end is not None and self._is_at(self._end, one):
                self._end.lines[one.member] = one
                new.append(one)
            else:
                self._ahead[one.member] = _Ahead(one, key)
        actions.extend(ReportRefused(one, peer) for one in refusals[:1])
        return tuple(new)

    def settle(self, actions: list[Action]) -> tuple[MlDsaCosignature, ...]:
        """After each event: go on to a later end, and sign what this member has just cosigned of it.

        Returns what others had told of it before, to be passed on now.
        """
        if self._ml_dsa is None or (found := self._checkpoints.epoch_end) is None:
            return ()
        fresh = list[MlDsaCosignature]()
        if self._end is None or found.size > self._end.candidate.size:
            if self._end is not None and self._end.is_ready:
                self._ready = self._end
            self._end = _End(found, _keys_of(found))
            known = self._checkpoints.ml_dsa_key
            self._ahead = {member: held for member, held in self._ahead.items() if known(member) == held.key}
            for one, key in [held for held in self._ahead.values() if held.line.size <= self._checkpoints.log_size]:
                del self._ahead[one.member]
                if self._is_at(self._end, one) and self._end.keys.get(one.member) == key:
                    self._end.lines[one.member] = one
                    fresh.append(one)
        self._cosign(self._end, actions)
        return tuple(fresh)

    # ---- the own part -------------------------------------------------------------------------------------------

    def _cosign(self, end: _End, actions: list[Action]) -> None:
        """What the signing guard let this member cosign is signed by ML-DSA, too: the same log at the same time."""
        signed, signer = self._checkpoints.own_latest, self._ml_dsa.signer if self._ml_dsa is not None else None
        if signer is None or signed is None or signed.size != end.candidate.size or signed.member in end.lines:
            return
        if end.keys.get(signed.member) != signer.public_key:
            return
        checkpoint = Checkpoint(self._origin, signed.size, signed.root)
        message = subtree_bytes(cosigner_key(self._origin, signed.member).name, signed.time_s, checkpoint)
        made = MlDsaCosignature(signed.size, signed.root, signed.member, signed.time_s, signer.sign(message))
        end.lines[signed.member] = made
        actions.append(Broadcast(MlDsaCosignatures((made,))))

    # ---- what peers tell ----------------------------------------------------------------------------------------

    def _key_wanted(self, one: MlDsaCosignature) -> bytes | None:
        """The key that has to have signed it; `None`: it is not looked at, as it is known, or of nothing held here."""
        end = self._end
        if one.size > self._checkpoints.log_size:
            held = self._ahead.get(one.member)
            is_room = held is not None or len(self._ahead) < MAX_ML_DSA_COSIGNATURES
            is_later = held is None or one.size > held.line.size
            return self._checkpoints.ml_dsa_key(one.member) if is_room and is_later else None
        if end is None or one.size != end.candidate.size or one.member in end.lines:
            return None
        return end.keys.get(one.member)

    def _check(self, now_ms: int, one: MlDsaCosignature, key: bytes, verify: Verify) -> None:
        """Raise `Refused` (N10, N12)."""
        who = f"{one.member.hex()[:16]}…"
        if one.time_s > now_ms // 1000 + MAX_AHEAD_S:
            raise Refused(Rule.N12, f"by ML-DSA, dated more than {MAX_AHEAD_S} s ahead of this node's clock")
        if not one.is_signed(self._origin, key, verify):
            raise Refused(Rule.N10, f"it is not signed by the ML-DSA key of {who}")
        if one.size <= self._checkpoints.log_size and not (self._end is not None and self._is_at(self._end, one)):
            raise Refused(Rule.N10, f"{who} signed another log of {one.size} certificates than this node's")

    @staticmethod
    def _is_at(end: _End, one: MlDsaCosignature) -> bool:
        return (one.size, one.root) == (end.candidate.size, end.candidate.root)


def _keys_of(candidate: Candidate) -> dict[bytes, bytes]:
    """Of the voters who have a key those with the most stake, as many as a message holds."""
    directory = candidate.state.directory
    found = [(stake, member) for member, stake in candidate.voters.members if directory.ml_dsa_key(member) is not None]
    chosen = sorted(found, key=lambda one: (-one[0], one[1]))[:MAX_ML_DSA_COSIGNATURES]
    return {member: key for _, member in chosen if (key := directory.ml_dsa_key(member)) is not None}
