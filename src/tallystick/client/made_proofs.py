"""Judges proofs that were made just now, under what was verified of their ledger before: who made them is not believed.

That is what the trust folder keeps, and the chain of the user's own node, as for `verify`.

A proof of another history than was verified here replaces none, and is kept as evidence, as `verify` does.
"""

from pathlib import Path

from tallystick.client.own_node import KnownBefore, OwnNode, check_not_after
from tallystick.client.proof_files import RawProof
from tallystick.host.ml_dsa import ml_dsa_verifier
from tallystick.host.own_files import TrustError
from tallystick.host.trust import TrustStore
from tallystick.ledger.bundle import Bundle
from tallystick.ledger.errors import NotProven, Refused
from tallystick.ledger.state import genesis_state
from tallystick.problems import CannotMake, DamagedStore
from tallystick.proof.members import Anchor, Conflict, first_voters
from tallystick.proof.verify import Demand, Verdict, verify
from tallystick.storage.making import ProofFiles


class ProofJudge:
    """Judges proofs under the user's trusted ledgers and own node, at one time."""

    def __init__(self, store: TrustStore, own: OwnNode, now_ms: int) -> None:
        self.now_ms = now_ms
        self._store, self._own, self._known_before = store, own, KnownBefore(own)

    @property
    def knows_ml_dsa(self) -> bool:
        """Whether signatures by ML-DSA-44 are verified here."""
        return ml_dsa_verifier() is not None

    def verdict(self, bundle: Bundle, ledger_id: bytes, start: tuple[Anchor, ...] = ()) -> Verdict:
        """What a proof shows to who trusts its ledger, whatever became of the certificate.

        `start`: known beside that. Raises `NotProven`, `Conflict`, `TrustError`, `StoreError`.
        """
        kept, before = self._store.get(ledger_id), self._own.continues
        shown = self._verified(bundle, ledger_id, kept.anchors if kept is not None else (), start)
        if kept is None and before is not None and before.ledger_id == ledger_id:
            check_not_after(before, shown)
        return shown

    def _verified(
        self, bundle: Bundle, ledger_id: bytes, kept: tuple[Anchor, ...], start: tuple[Anchor, ...]
    ) -> Verdict:
        anchors = self._known_before.anchors(ledger_id, bundle.extra.header.index, kept)
        epochs = {one.epoch for one in anchors}
        begun = (one for one in start if one.epoch not in epochs)
        try:
            known = (*begun, *anchors)
            return verify(bundle, Demand(self.now_ms, ledger_id, known, verify_ml_dsa=ml_dsa_verifier()))
        except NotProven as failed:
            if isinstance(failed.verdict, Verdict):
                return failed.verdict
            raise

    def verdict_of_made(self, made: ProofFiles, ledger_id: bytes, since: int = 0) -> Verdict:
        """The same of a proof that was made just now, for who knows the members of epoch `since`.

        Raises `DamagedStore` for what proves nothing, or another history: that is kept as evidence.
        """
        files = RawProof(made.proof.encode(), made.members, made.payload)
        another = "nothing was written: ask another node, or name another mirror"
        try:
            bundle = files.bundle
            return self.verdict(bundle, ledger_id, _known_start(bundle, since))
        except Conflict as conflict:
            place = self._keep(ledger_id, files, conflict)
            told = f"what was made is of another history than was verified here before: {conflict}"
            raise DamagedStore(f"{told}; {place}; {another}") from None
        except Refused as refused:
            raise DamagedStore(f"what was made is no proof that holds: {refused}; {another}") from None

    def check_not_older(self, made: Verdict, before: Bundle, path: Path) -> None:
        """Raise `CannotMake` if the proof that is there, of the same certificate, holds and is of a later block."""
        try:
            known = self.verdict(before, made.genesis.ledger_id)
        except NotProven:
            return
        if made.header.index < known.header.index:
            blocks = f"of block {made.header.index}, the one in {path} of block {known.header.index}"
            told = f"the new proof would be older, {blocks}; that stays"
            raise CannotMake(f"{told}: ask a newer node or mirror, or name another file with --to")

    def _keep(self, ledger_id: bytes, files: RawProof, conflict: Conflict) -> str:
        """Keep both histories; what is to be done with them."""
        try:
            place = self._store.keep_conflict(ledger_id, files.kept, conflict.reason, self.now_ms)
        except TrustError as error:
            return f"the evidence is not kept: {error}"
        return f"both are kept in {place}: show them to its members" if place else "show its members who made it"


def _known_start(bundle: Bundle, since: int) -> tuple[Anchor, ...]:
    """The voters of a later epoch, from which the proof starts, as known if it was asked for."""
    start, genesis = bundle.hand_over, bundle.extra.genesis
    if not 0 < start.since <= since:
        return ()
    voters = first_voters(genesis, start)
    begins = genesis_state(genesis).tip
    return (Anchor(genesis.ledger_id, start.since, voters, 0, begins.hash, begins.timestamp_ms),)
