"""Renews the proofs in a folder: each is replaced by one that holds and shows a later status, or left as it is.

A proof with signatures by ML-DSA-44 is replaced by one at a later epoch's end that has some, too; where there is none,
or none with a later status, by one without, and kept. As long as it is kept beside that, the next one has some again.

A proof that a PDF carries is replaced in it: the PDF stays as it was, and so does one that was changed since.
"""

from pathlib import Path

from msgspec.structs import replace

from tallystick.api.made_proof_views import ProofRenewed
from tallystick.client.earlier_proofs import EarlierProofs, has_ml_dsa
from tallystick.client.made_proofs import ProofJudge
from tallystick.client.proof_files import counted_proof, document_of
from tallystick.client.proof_sources import ProofSource
from tallystick.client.proof_writing import replace_proof
from tallystick.ledger.bundle import Bundle
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.tlog_proof import MAX_PROOF_BYTES
from tallystick.problems import DamagedStore, RefusedInput, UnreadableFile
from tallystick.proof.verify import Verdict
from tallystick.storage.described_files import read_bounded
from tallystick.storage.making import ProofFiles


class Renewer:
    """Renews one proof after the other."""

    def __init__(self, source: ProofSource, judge: ProofJudge, older_ms: int | None) -> None:
        """The source is not believed. Proofs whose status is older than `older_ms` are renewed; `None`: all."""
        self._source, self._judge, self._older_ms = source, judge, older_ms
        self._earlier = EarlierProofs()

    def renew(self, path: Path) -> ProofRenewed:
        """What became of a proof, or of that in a PDF.

        It is replaced once the new one is durable; raises `Problem`, and it stays.
        """
        try:
            found, files = counted_proof(path)
            before = files.bundle
            is_own = before.extra.genesis.ledger_id == self._source.ledger_id
            known = self._judge.verdict(before, self._source.ledger_id) if is_own else None
        except Refused as refused:
            problem = RefusedInput(refused)
            another = ", tallystick prove makes another" if refused.rule != Rule.P16 else ""
            problem.args = (f"{refused}; it stays: tallystick verify tells more{another}",)
            raise problem from None
        certificate_id = before.extra.certificate.id.hex()
        if known is None:
            return ProofRenewed(proof=str(path), certificate=certificate_id, state="other_ledger")
        before_ms = known.status_s * 1000
        if self._older_ms is not None and self._judge.now_ms - before_ms <= self._older_ms:
            return _told(path, known, "young", before_ms)
        wants_ml_dsa = bool(known.ml_dsa.signed) or self._lost_ml_dsa(path)
        made, newer = self._latest(certificate_id, before, known, wants_ml_dsa=wants_ml_dsa)
        if not _is_later(newer, known):
            return _told(path, known, "as_new", before_ms)
        whole = made if newer.payload is not None else _with_payload(made, before)
        earlier = replace_proof(whole, found, newer.ml_dsa)
        told = _told(path, newer, "renewed", before_ms)
        return replace(told, kept=str(earlier.path) if earlier.path else None, lost_ml_dsa=earlier.lost_ml_dsa)

    def _lost_ml_dsa(self, path: Path) -> bool:
        """Whether an earlier proof, kept beside this one, is signed by ML-DSA-44, which is verified here."""
        if not self._judge.knows_ml_dsa:
            return False
        try:
            kept = self._earlier.of(document_of(path))
            return any(has_ml_dsa(read_bounded(one, MAX_PROOF_BYTES) or b"") for one in kept)
        except (OSError, UnreadableFile):
            return False  # that hinders no renewal

    def _latest(
        self, certificate_id: str, before: Bundle, known: Verdict, *, wants_ml_dsa: bool
    ) -> tuple[ProofFiles, Verdict]:
        """One that is signed by ML-DSA-44, as far as that is verified here, if it is wanted, and later.

        Else the newest: a revocation has to show before the next epoch ends. Raises `Problem`.
        """
        if wants_ml_dsa and (made := self._source.prove_by_ml_dsa(certificate_id)) is not None:
            newer = self._newer(made, before)
            if newer.ml_dsa.signed and _is_later(newer, known):
                return made, newer
        made = self._source.prove(certificate_id, before)
        return made, self._newer(made, before)

    def _newer(self, made: ProofFiles, before: Bundle) -> Verdict:
        """What the new proof shows. Raises `DamagedStore` unless it holds and is of the same certificate."""
        newer = self._judge.verdict_of_made(made, self._source.ledger_id)
        if newer.certificate.encoded != before.extra.certificate.encoded:
            raise DamagedStore("what was made is a proof of another certificate; the proof stays: ask another node")
        return newer


def _is_later(newer: Verdict, known: Verdict) -> bool:
    return newer.status_s > known.status_s and newer.header.index >= known.header.index


def _with_payload(made: ProofFiles, before: Bundle) -> ProofFiles:
    """A new proof with the content of the earlier one: whoever made it may have erased that, or never had it."""
    if before.payload is None:
        return made
    return made._replace(payload=encode(before.payload))


def _told(path: Path, verdict: Verdict, state: str, before_ms: int) -> ProofRenewed:
    return ProofRenewed(
        proof=str(path),
        certificate=verdict.certificate.id.hex(),
        state=state,
        status_ms=verdict.status_s * 1000,
        status_before_ms=before_ms,
        block_index=verdict.header.index,
    )
