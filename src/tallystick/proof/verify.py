"""Verifies a proof offline: `verify` is the list of checks, in the order and by the numbers of docs/proofs.md."""

from dataclasses import dataclass
from typing import NamedTuple

from tallystick.ledger.bundle import Bundle, ProofExtra
from tallystick.ledger.certificate import AnyCertificate, Payload, Statement, check_signed
from tallystick.ledger.checkpoint import MlDsaCosigners, check_ml_dsa, times_told
from tallystick.ledger.directory import KeyEntry, Organisation, proven_key, proven_organisation, proven_voters
from tallystick.ledger.errors import NotProven, Rule, expect, step
from tallystick.ledger.fields import is_domain
from tallystick.ledger.file_statement import FileStatement, check_document, file_statement_in
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.header import Header
from tallystick.ledger.keys import Verify, is_signed
from tallystick.ledger.merkle import EMPTY_ROOT, leaf_hash, root_from_path
from tallystick.ledger.status import proven_status
from tallystick.ledger.tlog_policy import Policy
from tallystick.ledger.trie import TrieProof
from tallystick.ledger.validity import KeyState, Stated, Validity, ValidityState, validity_at
from tallystick.proof.head import Cosigner, Head, proven_head
from tallystick.proof.members import Anchor, MemberChange


class Demand(NamedTuple):
    """Whom a verifier trusts, and what it asks for. Without ledger and policy it trusts nobody."""

    now_ms: int
    ledger_id: bytes | None = None
    anchors: tuple[Anchor, ...] = ()
    """What was verified of this ledger before."""
    policy: Policy | None = None
    document: FileStatement | None = None
    """What the document at hand is; `None`: there is none."""
    issuer: str | None = None
    """An organisation's id, domain or title, or a key (64 hexadecimal digits). What looks like a domain is one."""
    at_ms: int | None = None
    """When it has to be valid; `None`: as of the proof's status."""
    fresh_ms: int | None = None
    """How old the status may be; `None`: any age."""
    verify_ml_dsa: Verify | None = None
    """`None`: ML-DSA-44 cannot be verified here."""


@dataclass(frozen=True)
class Verdict:
    """What a proof proves."""

    genesis: Genesis
    certificate: AnyCertificate
    log_index: int
    block: Header
    """With which the certificate entered the log: its time is the block time."""
    header: Header
    """Of the checkpoint's block: status and directory are those after it."""
    has_directory: bool
    """Whether the ledger has organisations."""
    payload: Payload | None
    issuer: KeyEntry | None
    """`None`: no organisation held the issuer's key."""
    organisation: Organisation | None
    validity: Validity | None
    """`None`: the certificate is no statement."""
    cosigners: tuple[Cosigner, ...]
    ml_dsa: MlDsaCosigners
    """Who cosigned by ML-DSA-44, too, which says nothing of voters and status."""
    ml_dsa_stake: int
    """Of those whose are good."""
    total_stake: int
    final_s: int
    """Holders of more than 1/3 of the stake say that the checkpoint was final by then."""
    status_s: int
    """Holders of more than 2/3 of the stake say that nothing later was final by then; and nothing known here was."""
    changes: tuple[MemberChange, ...]
    is_older: bool
    """Whether the verifier knew a newer header."""
    anchor: Anchor
    """What the verifier may keep."""

    @property
    def document(self) -> FileStatement | None:
        """The file that the certificate is about."""
        return file_statement_in(self.payload) if self.payload is not None else None

    @property
    def is_content_gone(self) -> bool:
        """Whether the certificate covers a payload that is not there: nobody can tell any more what it was."""
        return self.payload is None and self.certificate.payload_hash is not None


def verify(bundle: Bundle, demand: Demand) -> Verdict:
    """What the proof proves to this verifier. Raises `NotProven` with the number of the first check that fails.

    Nothing in `extra` counts before it is bound to the final header, or to the leaf in that header's log.
    """
    proof, checkpoint, extra, genesis = bundle.proof, bundle.checkpoint, bundle.extra, bundle.extra.genesis
    header, certificate, of_members = extra.header, extra.certificate, extra.of_members
    # P3 to P7: the ledger is trusted, its members are followed, and countersigned the checkpoint of a final header.
    head = Head(
        genesis, header, extra.votes, extra.following, bundle.hand_over, extra.log, of_members, proof.checkpoint
    )
    voters, cosigners, changes = proven_head(head, demand.ledger_id, demand.anchors, demand.policy)
    # P8: the certificate is the leaf at its index in that log.
    with step(Rule.P8, "path of the certificate"):
        root = root_from_path(certificate.leaf_hash, proof.log_index, checkpoint.size, proof.path)
    expect(Rule.P8, "root of the log, by the certificate's path", checkpoint.root, root)
    # C1: its issuer signed it.
    with step(Rule.C1, "certificate"):
        check_signed(certificate, genesis.ledger_id, is_signed)
    # P9: it entered the log with this block.
    block = _entrance_block(extra, proof.log_index)
    # P10: it is about the document at hand.
    with step(Rule.P10, "payload"):
        check_document(certificate, bundle.payload, demand.document)
    # T1: the directory says whose the issuer's key was; with the status trie, whether the certificate is valid.
    entry, organisation = _issuer(extra, proof.log_index)
    with step(Rule.T1, "directory"):
        keys = proven_voters(extra.cosigners, [key for key, _ in voters.members], of_members.directory)
    held = {one.key: one.organisation for one in genesis.founders} | keys.holders
    # P15: no signature by an ML-DSA key of a voter, which the directory names, is bad.
    with step(Rule.P15, "checkpoint"):
        ml_dsa = check_ml_dsa(proof.checkpoint, genesis.origin, keys.ml_dsa, demand.verify_ml_dsa)
    stated = Stated(certificate.issuer, proof.log_index, block.timestamp_ms)
    at_ms = header.timestamp_ms if demand.at_ms is None else demand.at_ms
    final_s, status_s = times_told([(one.time_s, one.stake) for one in cosigners], voters.total)
    later_ms = [one.timestamp_ms for one in demand.anchors if one.index > header.index]
    verdict = Verdict(
        genesis=genesis,
        certificate=certificate,
        log_index=proof.log_index,
        block=block,
        header=header,
        has_directory=of_members.directory != EMPTY_ROOT,
        payload=bundle.payload,
        issuer=entry,
        organisation=organisation,
        validity=_validity(extra, stated, entry, at_ms),
        cosigners=tuple(one._replace(organisation=held.get(one.key)) for one in cosigners),
        ml_dsa=ml_dsa,
        ml_dsa_stake=sum(map(voters.stake, ml_dsa.signed)),
        total_stake=voters.total,
        final_s=final_s,
        status_s=min(status_s, *(one // 1000 for one in later_ms)) if later_ms else status_s,
        changes=changes,
        is_older=bool(later_ms),
        anchor=head.anchor(voters),
    )
    # What the verifier asks of it: the issuer (P11), valid (P12), known as of a time that is late enough (P13).
    try:
        _check_issuer(verdict, demand.issuer)
        _check_valid(verdict, demand)
    except NotProven as not_proven:
        not_proven.verdict = verdict
        raise
    return verdict


def _entrance_block(extra: ProofExtra, log_index: int) -> Header:
    entrance, tip = extra.entrance, extra.header
    block, log = entrance.header or tip, entrance.log or extra.log
    if entrance.header is None:
        expect(Rule.P9, "path of the checkpoint's own block", 0, len(entrance.path))
    else:
        with step(Rule.P9, f"path of block {block.index}"):
            root = root_from_path(leaf_hash(block.encoded), block.index, tip.index, entrance.path)
        expect(Rule.P9, "root of the headers, by the block's path", extra.log.headers_root, root)
    expect(Rule.P9, f"state root of block {block.index}", block.state_root, log.hash)
    expect(Rule.P9, f"block before block {block.index}", block.parent_hash, entrance.parent.hash)
    expect(Rule.P9, "its state root", entrance.parent.state_root, entrance.parent_log.hash)
    if not entrance.parent_log.log_size <= log_index < log.log_size:
        sizes = f"{entrance.parent_log.log_size} to {log.log_size - 1}"
        raise NotProven(Rule.P9, f"log index in block {block.index}", sizes, log_index)
    return block


def _issuer(extra: ProofExtra, log_index: int) -> tuple[KeyEntry | None, Organisation | None]:
    """The entry of the issuer's key, and the organisation that had the key when the certificate entered the log."""
    key, root = extra.certificate.issuer, extra.of_members.directory
    with step(Rule.T1, "directory"):
        entry = proven_key(extra.issuer, key, root)
        if entry is None or entry.since > log_index:
            return None, None
        return entry, proven_organisation(extra.organisation or TrieProof(None, None), entry.organisation, root)


def _check_issuer(verdict: Verdict, asked: str | None) -> None:
    """A key that is in no organisation, or had ended, counts where there are organisations only if it is asked for."""
    key, by = verdict.certificate.issuer.hex(), verdict.organisation
    if asked == key:
        return
    has_ended = verdict.validity is not None and verdict.validity.key is KeyState.ENDED_BEFORE
    if by is None or has_ended:
        whose = "had ended" if has_ended else "was of no organisation"
        if asked is not None or verdict.has_directory:
            raise NotProven(Rule.P11, f"the issuer's key {key} {whose}: it counts only if the verifier names it")
    elif asked is not None:
        domain = asked.lower()
        if by.domain != domain if is_domain(domain) else asked not in (by.id, by.title):
            raise NotProven(Rule.P11, "issuer", asked, by.id)


def _validity(extra: ProofExtra, stated: Stated, entry: KeyEntry | None, at_ms: int) -> Validity | None:
    if not isinstance(extra.certificate, Statement):
        return None
    with step(Rule.T1, "status"):
        found = proven_status(extra.status, extra.certificate.id, extra.of_members.status)
    return validity_at(stated, entry, [found] if found is not None else [], at_ms)


def _check_valid(verdict: Verdict, demand: Demand) -> None:
    validity, status_ms = verdict.validity, 1000 * verdict.status_s
    state = validity.state if validity is not None else ValidityState.VALID
    if demand.at_ms is not None and demand.at_ms < verdict.block.timestamp_ms:
        state = ValidityState.NOT_YET
    if state is not ValidityState.VALID:
        raise NotProven(Rule.P12, "the certificate", ValidityState.VALID.value, state.value)
    if demand.at_ms is not None and demand.at_ms > max(status_ms, verdict.header.timestamp_ms):
        raise NotProven(Rule.P13, "time of the status (ms)", f"{demand.at_ms} or later", status_ms)
    if demand.fresh_ms is not None and abs(demand.now_ms - status_ms) > demand.fresh_ms:  # nor far ahead of the clock
        raise NotProven(Rule.P13, "age of the status (ms)", f"at most {demand.fresh_ms}", demand.now_ms - status_ms)
