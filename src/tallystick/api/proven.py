"""Puts what a proof claims, proves and fails by into views."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tallystick.api import proof_views as v
from tallystick.api.certificate_view import text_in, validity_view
from tallystick.api.continuation_view import continuation_view
from tallystick.api.governed_views import Validity
from tallystick.api.views import Key
from tallystick.host.trust import Conflict as KeptConflict
from tallystick.host.trust import TrustedLedger
from tallystick.ledger.bundle import Bundle
from tallystick.ledger.certificate import Payload, Statement
from tallystick.ledger.errors import NotProven, Refused, Rule
from tallystick.ledger.file_statement import FileStatement, file_statement_in
from tallystick.ledger.genesis import decode_genesis
from tallystick.ledger.kinds import kind_of
from tallystick.ledger.validity import ValidityState
from tallystick.problems import ExitCode, Problem
from tallystick.proof.head import Cosigner
from tallystick.proof.members import Conflict, MemberChange
from tallystick.proof.verify import Verdict

EXIT_CODES: Final[Mapping[Rule, ExitCode]] = {
    Rule.P1: ExitCode.NO_PROOF,
    Rule.P2: ExitCode.NO_PROOF,
    Rule.P3: ExitCode.NOT_TRUSTED,
    Rule.P10: ExitCode.OTHER_DOCUMENT,
    Rule.P11: ExitCode.OTHER_ISSUER,
    Rule.P12: ExitCode.NOT_VALID,
    Rule.P13: ExitCode.NOT_FRESH,
    Rule.P16: ExitCode.OTHER_DOCUMENT,
}
"""By the check that fails; any other: not proven."""

RESULTS: Final[Mapping[ExitCode, str]] = {
    ExitCode.OK: "verified",
    ExitCode.NOT_TRUSTED: "not_trusted",
    ExitCode.NO_PROOF: "no_proof",
    ExitCode.NOT_PROVEN: "not_proven",
    ExitCode.OTHER_DOCUMENT: "other_document",
    ExitCode.OTHER_ISSUER: "other_issuer",
    ExitCode.NOT_VALID: "not_valid",
    ExitCode.NOT_FRESH: "not_fresh",
}

_ADVICE: Final[Mapping[ExitCode, str]] = {
    ExitCode.NO_PROOF: "ask whoever gave you the file for its proof, or make one at a node: tallystick prove",
    ExitCode.NOT_TRUSTED: "get the ledger's id from one of its members, on another way than with this file, and compare"
    " all of it: tallystick trust add LEDGER-ID",
    ExitCode.NOT_PROVEN: "do not rely on it; ask for the proof anew, from another source",
    ExitCode.OTHER_DOCUMENT: "compare with the file that was certified: one changed byte makes it another document",
    ExitCode.OTHER_ISSUER: "ask whom you expected; name a key only if you know whose it is",
    ExitCode.NOT_VALID: "ask its issuer what stands in its place",
    ExitCode.NOT_FRESH: "ask for a newer proof: tallystick prove at a node, or name one that answers with --online URL",
}

_ADVICE_FOR_LACKING: Final = (
    "ask whoever gave you the proof for FILE.payload, which belongs beside it; if its content was erased, nobody has it"
)

_ADVICE_FOR_TIME_STAMP: Final = (
    "ask whoever gave you the file for its FILE.tsr, or for a proof that was time stamped earlier;"
    " a bad one shows nothing: move it away to verify the proof without it"
)


CONFLICT_ADVICE: Final = (
    "members of this ledger signed two histories, or their keys were stolen: show both to its members"
)


def exit_code_of(refused: Refused) -> ExitCode:
    """What `verify` ends with for this check."""
    return EXIT_CODES.get(refused.rule, ExitCode.NOT_PROVEN)


def advice_of(failed: Refused, bundle: Bundle) -> str | None:
    """What to do about a history that conflicts with another, or members beside the proof that do not lead to it.

    `None`: what is told of that check in general. Members who are those of another proof are told by nothing else.
    """
    if isinstance(failed, Conflict):
        return CONFLICT_ADVICE
    if bundle.extra.hand_over is not None or failed.rule not in (Rule.P4, Rule.P5):
        return None
    mixed = "if .members beside it was made for another proof, of this file, too"
    return f"do not rely on it; {mixed}, make it anew: tallystick prove"


def failure_view(refused: Refused, advice: str | None = None, lacks_payload: bool = False) -> v.Failure:
    """Which check failed, and what to do: something else where the proof lacks its payload."""
    if lacks_payload and refused.rule is Rule.P10:
        advice = _ADVICE_FOR_LACKING
    if isinstance(refused, NotProven) and refused.found == ValidityState.NOT_YET.value:
        advice = "it became final later than the time asked for: name a later one with --at"
    if refused.rule is Rule.P14:
        advice = _ADVICE_FOR_TIME_STAMP
    expected, found = (refused.expected, refused.found) if isinstance(refused, NotProven) else (None, None)
    return v.Failure(
        rule=refused.rule.name,
        step=refused.rule.value,
        reason=refused.reason,
        expected=_told(expected),
        found=_told(found),
        advice=advice or _ADVICE[exit_code_of(refused)],
    )


def unreadable_view(path: Path, problem: Problem) -> v.FileVerdict:
    """Of a file that cannot be read, among others that are judged."""
    reason, _, advice = str(problem).partition("; ")
    return v.FileVerdict(
        name=path.name,
        path=str(path),
        sha256=None,
        size_bytes=None,
        proof=None,
        exit_code=ExitCode.USAGE,
        result="unreadable",
        online=None,
        claims=None,
        proven=None,
        time_stamp=None,
        failure=v.Failure(
            rule=None,
            step="reading the file",
            reason=reason,
            expected=None,
            found=None,
            advice=advice or "name a file that can be read",
        ),
    )


def _told(value: object) -> str | None:
    return value.hex() if isinstance(value, bytes) else None if value is None else str(value)


def claims_view(bundle: Bundle) -> v.Claims:
    """What a proof says, nothing of it checked."""
    genesis, certificate = bundle.extra.genesis, bundle.extra.certificate
    return v.Claims(
        ledger_id=genesis.ledger_id.hex(),
        ledger=genesis.name,
        certificate=certificate.id.hex(),
        issuer=certificate.issuer.hex(),
        subject=_subject_of(certificate, bundle.payload),
        document=_document_view(file_statement_in(bundle.payload) if bundle.payload else None),
        media_type=_media_type_of(bundle.payload),
        content=_content_of(bundle.payload),
        claimed_ms=certificate.timestamp_ms,
    )


def proven_view(
    verdict: Verdict, trusted_by: str, known_as: str | None, names: Mapping[bytes, str], at_ms: int | None
) -> v.Proven:
    """What a proof proves; `names` are those of the own address book."""
    certificate, entry, organisation = verdict.certificate, verdict.issuer, verdict.organisation
    key = Key(
        certificate.issuer.hex(),
        names.get(certificate.issuer),
        organisation.id if organisation else None,
        organisation.title if organisation else None,
        (entry.label or None) if entry else None,
    )
    return v.Proven(
        ledger_id=verdict.genesis.ledger_id.hex(),
        ledger=verdict.genesis.name,
        trusted_by=trusted_by,
        known_as=known_as,
        continues=continuation_view(verdict.genesis),
        certificate=certificate.id.hex(),
        log_index=verdict.log_index,
        kind=kind_of(certificate),
        issuer=key,
        domain=organisation.domain if organisation else None,
        subject=_subject_of(certificate, verdict.payload),
        document=_document_view(verdict.document),
        media_type=_media_type_of(verdict.payload),
        content=_content_of(verdict.payload),
        is_content_gone=verdict.is_content_gone,
        claimed_ms=certificate.timestamp_ms,
        block=verdict.block.index,
        block_ms=verdict.block.timestamp_ms,
        final_ms=1000 * verdict.final_s + 999,
        status_ms=1000 * verdict.status_s,
        checkpoint_block=verdict.header.index,
        cosigners=[_cosigner_view(one) for one in verdict.cosigners],
        cosigned_stake=sum(one.stake for one in verdict.cosigners),
        total_stake=verdict.total_stake,
        ml_dsa=v.MlDsa(
            [key.hex() for key in verdict.ml_dsa.signed],
            verdict.ml_dsa_stake,
            [key.hex() for key in verdict.ml_dsa.unchecked],
        ),
        changes=[_change_view(one) for one in verdict.changes],
        validity=validity_as_proven(verdict, at_ms),
        is_older=verdict.is_older,
    )


def validity_as_proven(verdict: Verdict, at_ms: int | None = None) -> Validity | None:
    """Whether a statement is valid at a time, or as of its status; `None`: it is none."""
    found, as_of_ms = verdict.validity, verdict.header.timestamp_ms
    return validity_view(found, as_of_ms if at_ms is None else at_ms, as_of_ms, None) if found else None


def trusted_view(
    one: TrustedLedger, conflicts: Sequence[tuple[Path, KeptConflict]], checkpoints: Sequence[Path]
) -> v.TrustedLedger:
    """A trusted ledger, and what is kept of other histories: of proofs, and of audits."""
    newest = one.newest
    return v.TrustedLedger(
        name=one.name,
        ledger_id=one.ledger_id.hex(),
        title=decode_genesis(one.genesis).name if one.genesis is not None else None,
        added_ms=one.added_ms,
        added_from=one.added_from,
        newest_block=newest.index if newest else None,
        newest_hash=newest.block_hash.hex() if newest else None,
        newest_ms=newest.timestamp_ms if newest else None,
        verified_blocks=[anchor.index for anchor in one.anchors],
        conflicts=[v.Conflict(str(path), conflict.seen_ms, conflict.reason) for path, conflict in conflicts],
        conflicting_checkpoints=list(map(str, checkpoints)),
    )


def _subject_of(certificate: object, payload: Payload | None) -> str | None:
    if not isinstance(certificate, Statement):
        return None
    return certificate.subject or (payload.subject if payload is not None else None)


def _media_type_of(payload: Payload | None) -> str | None:
    return (payload.media_type or None) if payload is not None else None


def _content_of(payload: Payload | None) -> str | None:
    return text_in(payload) if payload is not None and file_statement_in(payload) is None else None


def _document_view(one: FileStatement | None) -> v.Document | None:
    return v.Document(one.name, one.size_bytes, one.sha256.hex(), one.note) if one is not None else None


def _cosigner_view(one: Cosigner) -> v.Cosigner:
    return v.Cosigner(one.key.hex(), one.organisation, one.stake, 1000 * one.time_s)


def _change_view(one: MemberChange) -> v.MemberChange:
    return v.MemberChange(one.epoch, [key.hex() for key in one.joined], [key.hex() for key in one.left])
