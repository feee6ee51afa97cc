"""Answers about proofs and checkpoints."""

from typing import Final

from tallystick.api.view_base import Answer, Key, View
from tallystick.problems import Problem

_ASK: Final = "ask for application/json, or use tallystick prove"


class NotOneText(Problem):
    """The answer is no single text."""

    code, http_status = "not-one-text", 406


class Text(Answer, frozen=True, kw_only=True):
    """An answer whose main part is a text: whoever asks for neither JSON nor MessagePack gets that alone."""

    @property
    def text(self) -> str:
        """The main part. Raises `Problem` if it is nothing without the rest."""
        raise NotImplementedError


class CheckpointMember(View, frozen=True):
    """A member with stake in a checkpoint's epoch."""

    member: Key
    stake: int
    time_ms: int | None
    """When it countersigned, by its own clock, in whole seconds; `null`: it has not."""


class Checkpoint(Text, frozen=True, kw_only=True):
    """The newest checkpoint of the log that members with more than 2/3 of the stake countersigned."""

    note: str
    """The signed note (c2sp.org/tlog-checkpoint)."""
    origin: str
    log_size: int
    log_root: str
    block_index: int
    """The block after which the log was this."""
    block_hash: str
    block_timestamp_ms: int
    epoch: int
    status_ms: int
    """Members with more than 2/3 of the stake say that nothing later was final by then."""
    members: list[CheckpointMember]
    """Keys ascending."""
    total_stake: int

    @property
    def text(self) -> str:
        """The note."""
        return self.note


class Proof(View, frozen=True, kw_only=True):
    """A certificate's proof, which needs no node (docs/proofs.md)."""

    id: str
    proof: str
    """The text of FILE.tlog-proof (c2sp.org/tlog-proof)."""
    members: str | None
    """FILE.members, in hex; `null`: the hand-over stands in the proof."""
    payload: str | None
    """FILE.payload, in hex; `null`: the payload stands in the proof, or there is none, or it is not at hand."""


class ProofAnswer(Text, frozen=True, kw_only=True):
    """The proof of one certificate."""

    proof: Proof

    @property
    def text(self) -> str:
        """The proof, if nothing stands beside it."""
        if self.proof.members is not None or self.proof.payload is not None:
            raise NotOneText(f"a part of this proof stands beside it, in files of its own: {_ASK}")
        return self.proof.proof


class LeftOut(View, frozen=True):
    """A certificate that was asked for, and of which there is no proof."""

    id: str
    code: str
    """Of the problem; `more`: the answer would be too large with it, ask again."""
    reason: str


class Proofs(Answer, frozen=True, kw_only=True):
    """Proofs of many certificates, all at one checkpoint."""

    proofs: list[Proof]
    """In the order asked for."""
    left_out: list[LeftOut]
