"""Whether files are certified, offline: each proof is judged under what the user trusts, and makes that stronger.

A proof says nothing about whom to trust. Its ledger counts if the user has named it, or has a node of it.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from msgspec.structs import replace

from tallystick.api import proof_views as v
from tallystick.api.proven import (
    CONFLICT_ADVICE,
    RESULTS,
    advice_of,
    claims_view,
    exit_code_of,
    failure_view,
    proven_view,
)
from tallystick.client.earlier_proofs import EarlierProofs
from tallystick.client.own_node import KnownBefore, OwnNode, check_not_after
from tallystick.client.proof_files import PROOF, TIME_STAMP, Found, RawProof, document_of, read_proof
from tallystick.client.time_stamps import TimeStamps
from tallystick.host.authorities import Authorities
from tallystick.host.ml_dsa import ml_dsa_verifier
from tallystick.host.own_files import TrustError
from tallystick.host.text import is_hex_digest
from tallystick.host.trust import SHORTEST_ID, TrustStore
from tallystick.ledger.bundle import Bundle
from tallystick.ledger.checkpoint import MlDsaCosigners
from tallystick.ledger.continuation import Continuation
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import NotProven, Refused, Rule
from tallystick.ledger.header import Header
from tallystick.ledger.tlog_policy import Policy
from tallystick.problems import ExitCode, Problem, UnreadableFile
from tallystick.proof.members import Anchor, Conflict
from tallystick.proof.verify import Demand, Verdict, verify

_TRIES: Final = 8
"""So often a header is kept anew, if other commands keep newer ones meanwhile."""
_ADVICE_WITHOUT_NEWER: Final = (
    "name another node or mirror with --online; verified without it, the proof at hand counts as of its own status"
)

_UNSTAMPED: Final = (
    "block time, status, and which organisation held the issuer's key rest on votes, which no time stamp covers: take"
    " them from what was kept then"
)
_UNKNOWN_VOTERS: Final = (
    "its members are neither those of the genesis nor known from before: votes name them, which no time stamp covers;"
    " name the trust folder of then with --trust, or a policy of then with --policy"
)
_POLICY_OF_NOBODY: Final = (
    "the policy needs no witness, so it does not tell whose the signatures are; name one of then that needs some"
)


class Question(NamedTuple):
    """What the user asks of each file."""

    now_ms: int
    ledger: str | None = None
    """Only this one counts: a trusted ledger's local name, or its id; a whole id need not be kept as trusted."""
    issuer: str | None = None
    """An organisation's id, title or domain, or a key, or how that begins (16 digits or more)."""
    at_ms: int | None = None
    fresh_ms: int | None = None
    policy: Policy | None = None
    url: str | None = None
    """Of the node or mirror that a newer proof comes from, as it is told (`shown_url`); a folder, too."""
    signed_before_ms: int | None = None
    """A time stamp has to show that the checkpoint's signatures existed before."""


Fetch = Callable[[Bundle], RawProof]
"""Asks for a newer proof of the same certificate. Raises `Problem`."""


class _Trust(NamedTuple):
    """What is known of one ledger."""

    ledger_id: bytes | None
    """`None`: it is not trusted."""
    name: str | None = None
    kept: tuple[Anchor, ...] = ()
    """That stand in the folder."""
    until: Continuation | None = None
    by: str = "policy"
    """Why its proofs count, as `proof_views.Proven` tells it."""

    @property
    def is_kept(self) -> bool:
        """Whether it stands in the folder of trusted ledgers."""
        return self.by == "kept"


class _Judged(NamedTuple):
    """What became of one proof."""

    verdict: Verdict | None
    failed: NotProven | None
    advice: str | None = None
    time_stamp: v.TimeStamp | None = None


class _Newest(NamedTuple):
    bundle: Bundle
    files: RawProof
    anchor: Anchor


class Verifier:
    """Verifies files one after the other. `finish` keeps what they proved."""

    def __init__(self, store: TrustStore, own: OwnNode, question: Question, fetch: Fetch | None = None) -> None:
        """Raises `NotThere`, `Ambiguous`, `TrustError` for the ledger that is named."""
        self.warnings: list[str] = []
        self._store, self._own, self._question, self._fetch = store, own, question, fetch
        self._named = self._named_ledger(question.ledger) if question.ledger is not None else None
        self._known: dict[bytes, _Trust] = {}
        self._newest: dict[bytes, _Newest] = {}
        self._time_stamps = TimeStamps(Authorities(store.path).read_all)
        self._known_before = KnownBefore(own)
        self._earlier = EarlierProofs()

    def verify(self, found: Found) -> v.FileVerdict:
        """The verdict on one file. Raises `StoreError`, `TrustError` for what is kept of its ledger.

        If its signatures have to be older than its proof shows, an earlier proof that is kept beside it counts.
        """
        told = self._verify(found)
        if self._question.signed_before_ms is None or told.failure is None or told.failure.rule != Rule.P14.name:
            return told
        return self._by_earlier(found) or told

    def _by_earlier(self, found: Found) -> v.FileVerdict | None:
        """What the newest of the earlier proofs shows that serves; `None`: none does, or there are none."""
        if found.path is None:
            return None
        try:
            kept = self._earlier.of(document_of(found.path))
        except OSError as error:
            self.warnings.append(f"earlier proofs are not looked for: {error.strerror}")
            return None
        for path in kept:
            try:
                told = self._verify(found._replace(path=path, files=read_proof(path), ignored=None))
            except UnreadableFile:
                continue
            if told.failure is None:
                self.warnings.append(f"{path.name} is what shows it: the newer proof of {found.name} does not")
                return told
        return None

    def _verify(self, found: Found) -> v.FileVerdict:
        if found.ignored is not None:
            self.warnings.append(
                f"{found.ignored} is not looked at: {found.name} carries its proof; it counts with --proof"
            )
        if found.changed is not None:
            return self._told_changed(found, found.changed)
        if found.files is None:
            missing = "proof of it" if found.is_stream else f"{found.name}{PROOF} beside it"
            reason = f"there is no {missing}; name its proof with --proof"
            return self._told(found, None, NotProven(Rule.P1, reason), None)
        try:
            bundle = found.files.bundle
        except Refused as refused:
            return self._told(found, None, refused, None)
        judged, online = self._judge(bundle, found.files, found), None
        if self._fetch is not None and judged.verdict is not None:
            judged, online = self._judge_newer(bundle, judged, found, self._fetch)
        if online is None:
            stamp, failed = self._judge_time_stamp(found.files, judged.verdict)
            judged = judged._replace(failed=judged.failed or failed, time_stamp=stamp)
        return self._told(found, bundle, judged.failed, judged, online)

    def finish(self) -> None:
        """Keep the newest header of each ledger, and its proof. What hinders that is a warning.

        Nothing is kept of proofs whose signatures have to be older: what else they say may have been made since.
        Raises `Problem` if another command verified another history meanwhile.
        """
        if self._question.signed_before_ms is not None:
            return
        for ledger_id, newest in self._newest.items():
            try:
                if self._trust_in(ledger_id).is_kept:
                    self._keep(ledger_id, newest)
            except TrustError as error:
                self.warnings.append(f"what was verified is not kept: {error}")

    # ---- trust ------------------------------------------------------------------------------------------------

    def _named_ledger(self, who: str) -> bytes:
        if is_hex_digest(who.lower()):
            return bytes.fromhex(who.lower())
        return self._store.id_of(who)

    def _trust_in(self, ledger_id: bytes) -> _Trust:
        if ledger_id not in self._known:
            self._known[ledger_id] = self._look_up(ledger_id)
        return self._known[ledger_id]

    def _look_up(self, ledger_id: bytes) -> _Trust:
        if self._named is not None and self._named != ledger_id:
            return _Trust(self._named)
        kept, before = self._store.get(ledger_id), self._own.continues
        if kept is not None:
            for path, conflict in self._store.conflicts(ledger_id):
                self.warnings.append(f"of {kept.name} another history was seen: {conflict.reason}; kept in {path}")
            return _Trust(ledger_id, kept.name, kept.anchors, by="kept")
        if ledger_id == self._own.ledger_id:
            return _Trust(ledger_id, by="own_node")
        if ledger_id == self._named:
            return _Trust(ledger_id, by="named")
        if before is not None and before.ledger_id == ledger_id:
            return _Trust(ledger_id, until=before, by="continued")
        return _Trust(None)

    # ---- one proof --------------------------------------------------------------------------------------------

    def _judge(self, bundle: Bundle, files: RawProof, found: Found) -> _Judged:
        ledger_id, question = bundle.extra.genesis.ledger_id, self._question
        trust = self._trust_in(ledger_id)
        anchors = self._anchors(bundle.extra.header, trust)
        demand = Demand(
            now_ms=question.now_ms,
            ledger_id=trust.ledger_id,
            anchors=anchors,
            policy=question.policy,
            document=found.document,
            issuer=_issuer_asked(question.issuer, bundle),
            at_ms=question.at_ms,
            fresh_ms=question.fresh_ms,
            verify_ml_dsa=ml_dsa_verifier(),
        )
        try:
            judged = _Judged(verify(bundle, demand), None)
        except Conflict as conflict:
            return _Judged(None, conflict, self._conflict(ledger_id, files, conflict))
        except NotProven as failed:
            verdict = failed.verdict if isinstance(failed.verdict, Verdict) else None
            judged = _Judged(verdict, failed, advice_of(failed, bundle))
        if judged.verdict is None:
            return judged
        try:
            if trust.until is not None:
                check_not_after(trust.until, judged.verdict)
        except NotProven as late:
            return _Judged(None, late)
        newer = judged.verdict.anchor
        before = self._newest.get(ledger_id)
        known = (*trust.kept, *([before.anchor] if before is not None else []))
        if trust.ledger_id is not None and not any(one.index >= newer.index for one in known):
            self._newest[ledger_id] = _Newest(bundle, files, newer)
        return judged

    def _anchors(self, header: Header, trust: _Trust) -> tuple[Anchor, ...]:
        """What was verified before, by this command, too, and by the own node."""
        if trust.ledger_id is None:
            return ()
        newest = self._newest.get(trust.ledger_id)
        known = (*trust.kept, *([newest.anchor] if newest else []))
        return self._known_before.anchors(trust.ledger_id, header.index, known)

    def _conflict(self, ledger_id: bytes, files: RawProof, conflict: Conflict) -> str:
        """Keep both histories; what to do next."""
        trust, newest = self._trust_in(ledger_id), self._newest.get(ledger_id)
        try:
            if newest is not None and trust.is_kept:
                del self._newest[ledger_id]
                self._keep(ledger_id, newest)
                self._known.pop(ledger_id)
            before = newest.files.kept if newest is not None and not trust.is_kept else None
            now_ms = self._question.now_ms
            place = self._store.keep_conflict(ledger_id, files.kept, conflict.reason, now_ms, before)
        except TrustError as error:
            self.warnings.append(f"the evidence is not kept: {error}")
            place = None
        return f"{CONFLICT_ADVICE}; what shows it is kept in {place}" if place is not None else CONFLICT_ADVICE

    def _judge_newer(self, bundle: Bundle, judged: _Judged, found: Found, fetch: Fetch) -> tuple[_Judged, str | None]:
        """By a newer proof of the same certificate, under the same trust: never by what a node merely says."""
        try:
            files = fetch(bundle)
            newer = files.bundle
            if newer.extra.certificate.encoded != bundle.extra.certificate.encoded:
                raise NotProven(Rule.P13, "it is of another certificate")
            if newer.payload is None:
                newer = newer._replace(payload=bundle.payload)
            again = self._judge(newer, files, found)
            if isinstance(again.failed, Conflict):
                return again, self._question.url
            if again.verdict is None and again.failed is not None:
                raise again.failed
        except (Refused, Problem) as error:
            return _Judged(judged.verdict, self._not_had(error), _ADVICE_WITHOUT_NEWER), None
        if judged.verdict is not None and again.verdict is not None and _is_before(again.verdict, judged.verdict):
            self.warnings.append(f"the proof from {self._question.url} is older than the one at hand, which counts")
            return judged, None
        if _has_ml_dsa(judged.verdict) and not _has_ml_dsa(again.verdict):
            told = f"the newer proof of {found.name} is without the signatures by ML-DSA-44 that the one at hand has"
            self.warnings.append(f"{told}: keep that, and verify it without --online to read of them")
        return again, self._question.url

    def _not_had(self, error: Refused | Problem) -> NotProven:
        """Why there is no newer proof. A problem's own advice is for who asks it alone."""
        said = f"what it sent is not proven: {error}" if isinstance(error, Refused) else str(error).partition("; ")[0]
        return NotProven(Rule.P13, f"no newer proof could be had from {self._question.url}: {said}")

    def _judge_time_stamp(
        self, files: RawProof, verdict: Verdict | None
    ) -> tuple[v.TimeStamp | None, NotProven | None]:
        """What the token beside a proof shows, and why that is not enough (P14)."""
        stamp, before_ms = None, self._question.signed_before_ms
        try:
            if files.time_stamp is not None:
                stamp = self._time_stamps.judge(files.note, files.time_stamp)
        except NotProven as failed:
            return None, failed
        if before_ms is None:
            return stamp, None
        if stamp is None or stamp.not_later_ms is None:
            lacking = f"{TIME_STAMP} beside it" if stamp is None else f"time stamp that counts: {stamp.reason}"
            return stamp, NotProven(Rule.P14, f"nothing shows when its signatures existed: there is no {lacking}")
        if stamp.not_later_ms >= before_ms:
            told = "the time stamp does not show that its signatures existed by then, in ms since 1970"
            return stamp, NotProven(Rule.P14, told, f"before {before_ms}", stamp.not_later_ms)
        return stamp, self._unknown_from_before(verdict) if verdict is not None else None

    def _unknown_from_before(self, verdict: Verdict) -> NotProven | None:
        """Why it is not known without a vote in the proof who signed: the members, and the issuer (P14)."""
        policy, key = self._question.policy, verdict.certificate.issuer.hex()
        if policy is not None and policy.holds(()):
            return NotProven(Rule.P14, _POLICY_OF_NOBODY)
        kept = self._kept_before(verdict)
        genesis_voters = Epoch(0, verdict.genesis.stakes(), 1, 0).members
        if policy is None and verdict.anchor.voters not in (genesis_voters, *(one.voters for one in kept)):
            return NotProven(Rule.P14, _UNKNOWN_VOTERS)
        if self._is_header_of_before(verdict):
            return None
        self.warnings.append(_UNSTAMPED)
        if (self._question.issuer or "").lower() == key:
            return None
        told = (
            "whose the issuer's key was rests on votes, which no time stamp covers, so the issuer counts as a key alone"
        )
        return NotProven(Rule.P14, f"{told}: if {key} is known to be the issuer's from before, name it with --issuer")

    def _kept_before(self, verdict: Verdict) -> tuple[Anchor, ...]:
        """What was verified of its ledger before this command, and by the own node."""
        trust = self._trust_in(verdict.genesis.ledger_id)
        if trust.ledger_id is None:
            return ()
        return self._known_before.anchors(trust.ledger_id, verdict.header.index, trust.kept)

    def _is_header_of_before(self, verdict: Verdict) -> bool:
        """Whether the proof's header is one that was kept: what it binds needs no vote."""
        return any(one.block_hash == verdict.header.hash for one in self._kept_before(verdict))

    # ---- telling and keeping ------------------------------------------------------------------------------------

    def _told(
        self,
        found: Found,
        bundle: Bundle | None,
        failed: Refused | None,
        judged: _Judged | None,
        online: str | None = None,
    ) -> v.FileVerdict:
        document, verdict = found.document, judged.verdict if judged is not None else None
        code = exit_code_of(failed) if failed is not None else ExitCode.OK
        is_lacking = bundle is not None and bundle.payload is None and bundle.extra.certificate.payload_hash is not None
        advice = judged.advice if judged is not None else None
        return v.FileVerdict(
            name=found.name,
            sha256=document.sha256.hex() if document is not None else None,
            size_bytes=document.size_bytes if document is not None else None,
            proof=str(found.path) if found.path is not None else None,
            is_attached=found.is_attached,
            exit_code=code,
            result=RESULTS[code],
            online=online,
            claims=claims_view(bundle) if bundle is not None else None,
            proven=self._proven(verdict) if verdict is not None else None,
            time_stamp=judged.time_stamp if judged is not None else None,
            failure=failure_view(failed, advice, is_lacking) if failed is not None else None,
        )

    def _told_changed(self, found: Found, changed: NotProven) -> v.FileVerdict:
        """Of a PDF that is not what attaching its proof made: what that claims, and nothing that it proves."""
        bundle = None
        if found.files is not None:
            with suppress(Refused):
                bundle = found.files.bundle
        advice = "do not rely on what it shows; ask whoever gave it to you for the PDF anew"
        if found.files is not None and found.document is not None:
            taken = f"head -c {found.document.size_bytes} FILE"
            advice += f", or take out of it what was there before the proof, and verify that: {taken}"
        return self._told(found, bundle, changed, _Judged(None, changed, advice))

    def _proven(self, verdict: Verdict) -> v.Proven:
        trust = self._trust_in(verdict.genesis.ledger_id)
        told = proven_view(verdict, trust.by, trust.name, self._own.names, self._question.at_ms)
        if self._question.signed_before_ms is None or self._is_header_of_before(verdict):
            return told
        return _by_keys_alone(told)

    def _keep(self, ledger_id: bytes, newest: _Newest) -> None:
        known = self._trust_in(ledger_id).kept
        for _ in range(_TRIES):
            if self._store.keep(ledger_id, newest.anchor, newest.files.kept, known):
                self._store.learn_genesis(newest.bundle.extra.genesis)
                return
            kept = self._store.get(ledger_id)
            known = kept.anchors if kept is not None else ()
            try:
                verify(newest.bundle, Demand(self._question.now_ms, ledger_id, known, self._question.policy))
            except Conflict as conflict:
                advice = self._conflict_meanwhile(ledger_id, newest.files, conflict)
                raise Problem(f"another command has verified another history of this ledger: {advice}") from None
            except NotProven as failed:
                if failed.verdict is None:
                    raise Problem(f"it does not hold with what another command has verified: {failed}") from None
        raise TrustError("other commands keep newer headers all the time; try again later")

    def _conflict_meanwhile(self, ledger_id: bytes, files: RawProof, conflict: Conflict) -> str:
        place = self._store.keep_conflict(ledger_id, files.kept, conflict.reason, self._question.now_ms)
        return f"both are kept in {place}; show them to its members"


def _by_keys_alone(told: v.Proven) -> v.Proven:
    """What is proven without the organisations, which a directory says that votes alone bind."""
    issuer = replace(told.issuer, organisation=None, title=None, label=None)
    return replace(
        told, issuer=issuer, domain=None, cosigners=[replace(one, organisation=None) for one in told.cosigners]
    )


def _issuer_asked(asked: str | None, bundle: Bundle) -> str | None:
    """The issuer that is asked for; a key in full, if it begins as was asked."""
    key = bundle.extra.certificate.issuer.hex()
    if asked is not None and is_hex_digest(asked.lower(), SHORTEST_ID) and key.startswith(asked.lower()):
        return key
    return asked


def _is_before(one: Verdict, other: Verdict) -> bool:
    """Whether it shows an earlier status, or that of an earlier block, whatever its cosigners' clocks say."""
    return one.status_s < other.status_s or one.header.index < other.header.index


def _has_ml_dsa(one: Verdict | None) -> bool:
    return one is not None and one.ml_dsa != MlDsaCosigners()
