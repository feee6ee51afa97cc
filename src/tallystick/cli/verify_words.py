"""What `tallystick verify` says of a file, in plain words."""

from typing import Final

from tallystick.api import proof_views as v
from tallystick.api.words import SHORT_ID
from tallystick.cli.output import Text, field, marked, say, say_fields
from tallystick.cli.words import continued, lasting, many, names_of, utc, validity, whole
from tallystick.client.proof_files import PROOF
from tallystick.ledger.file_statement import LACKING
from tallystick.problems import ExitCode

_MOST_CHANGES: Final = 8
_DAY_MS: Final = 86_400_000


def tell_verdict(one: v.FileVerdict, now_ms: int) -> None:
    """All that is proven of one file; or which check failed, and what it claims."""
    if one.failure is None:
        assert one.proven is not None, "what is verified is proven"
        say(marked("✓", one.name, _headline(one, one.proven)))
    else:
        say(marked("×", one.name, f" is not verified: {_reason(one, now_ms)}"))
        check = f"{one.failure.rule}, {one.failure.step}" if one.failure.rule else ""
        say_fields({"check": check, "do next": one.failure.advice})
    if one.proven is not None:
        if one.failure is not None:
            say(Text("  What is proven of it all the same:", style="dim"))
        _tell_proven(one, one.proven, now_ms)
    elif one.claims is not None:
        _tell_claims(one, one.claims)


def row_of(one: v.FileVerdict, now_ms: int) -> dict[str, str]:
    """One line of many: the file, what it came to, by whom, and as of when."""
    proven = one.proven
    verdict = _WORDS[ExitCode(one.exit_code)]
    if proven is not None and one.failure is None:
        verdict = verdict if proven.kind == _STATEMENT else f"proves {_KINDS[proven.kind]}"
        verdict = verdict if one.sha256 is not None else f"{verdict}, no document"
    return {
        "File": one.path or one.name,
        "Verdict": f"{verdict} !" if is_marked(one) else verdict,
        "Issuer": (proven.issuer.title or f"{proven.issuer.key[:SHORT_ID]}…") if proven else "",
        "Block time": utc(proven.block_ms)[:10] if proven else "",
        "Status as of": f"{utc(proven.status_ms)[:10]}, {_days(now_ms - proven.status_ms)}" if proven else "",
        "Check": one.failure.rule or "" if one.failure else "",
    }


def is_marked(one: v.FileVerdict) -> bool:
    """Whether there is a warning to it, which a line has no room for."""
    return one.proven is not None and bool(_warnings(one.proven))


MARK_MEANS: Final = (
    "! a newer block of its ledger was verified here before, or the ledger says that it continues another;"
    " verify the file alone to read which"
)
_STATEMENT: Final = "statement"
_KINDS: Final = {
    _STATEMENT: "a certificate",
    "stake": "a change of stake",
    "evidence": "evidence against a member",
    "motion": "a motion",
    "approval": "an approval",
    "objection": "an objection",
    "key_change": "a change of keys",
    "revocation": "a revocation",
    "supersession": "a supersession",
    "erasure": "an order to erase",
    "erasure_confirmation": "the confirmation of an erasure",
}
"""What a certificate is, by its kind: only a statement certifies anything."""
_WORDS: Final = {
    ExitCode.OK: "verified",
    ExitCode.USAGE: "cannot be read",
    ExitCode.NOT_TRUSTED: "ledger not trusted",
    ExitCode.NO_PROOF: "no proof",
    ExitCode.NOT_PROVEN: "not proven",
    ExitCode.OTHER_DOCUMENT: "other document",
    ExitCode.OTHER_ISSUER: "other issuer",
    ExitCode.NOT_VALID: "not valid",
    ExitCode.NOT_FRESH: "not fresh",
}


def _headline(one: v.FileVerdict, proven: v.Proven) -> str:
    by = _by(proven)
    if one.sha256 is not None and proven.kind == _STATEMENT:
        return f" is certified by {by}"
    if proven.is_content_gone:
        return f": {_KINDS[proven.kind]} by {by} is proven; {LACKING}"
    compared = "it is about this document" if one.sha256 is not None else "no document was compared"
    return f" proves {_KINDS[proven.kind]} by {by}; {compared}"


def _by(proven: v.Proven) -> str:
    """The organisation, unless it did not stand behind the key any more."""
    issuer = proven.issuer
    if issuer.title is None:
        return whole(issuer)
    organisation = f"{issuer.title} ({issuer.organisation})"
    if proven.validity is not None and proven.validity.key == "ended_before":
        return f"key {issuer.key}, which had ended; it was one of {organisation}"
    return organisation


def _reason(one: v.FileVerdict, now_ms: int) -> str:
    """Why not, times in words."""
    assert one.failure is not None, "it is not verified"
    proven, reason = one.proven, one.failure.reason
    if one.failure.rule == "P14" and one.failure.expected is not None and one.failure.found is not None:
        before_ms = int(one.failure.expected.removeprefix("before "))
        asked = f"asked for are signatures of before {utc(before_ms)}"
        return f"the time stamp shows no more than: not later than {utc(int(one.failure.found))}; {asked}"
    if proven is None or one.failure.rule not in ("P12", "P13"):
        return reason
    if one.failure.rule == "P12":
        return f"it is {validity(proven.validity)}" if proven.validity is not None else "it was not final by then"
    if (expected := one.failure.expected) is None:
        return reason
    asked_ms = int("".join(filter(str.isdigit, expected)))
    told = f"at most {lasting(asked_ms)} old" if expected.startswith("at most") else f"of {utc(asked_ms)} or later"
    return f"its status is as of {_aged(proven.status_ms, now_ms)}; asked for is one {told}"


def _tell_proven(one: v.FileVerdict, proven: v.Proven, now_ms: int) -> None:
    issuer, document = proven.issuer, proven.document
    for warning in _warnings(proven):
        say(field("!", warning, "bold yellow"))
    title = (
        f"{issuer.title} ({issuer.organisation}){f', {issuer.label}' if issuer.label else ''}, " if issuer.title else ""
    )
    name = f" ({issuer.name}, by your own address book)" if issuer.name else ""
    is_named_otherwise = document is not None and document.name != one.name and one.sha256 is not None
    say_fields(
        {
            "document": _compared(one, proven),
            "certified as" if proven.kind == _STATEMENT else "named": (
                document.name if document is not None and is_named_otherwise else ""
            ),
            "says": proven.subject or "",
            "content": _content(proven),
            "note": document.note if document is not None else "",
            "issued by": f"{title}key {issuer.key}{name}",
            "domain": f"{proven.domain}, vouched for by those who approved it as a member" if proven.domain else "",
            "claimed": f"{utc(proven.claimed_ms)}, by the issuer's own clock",
            "block time": f"{utc(proven.block_ms)}, of block {proven.block:,}: more than 2/3 of the stake voted for it",
            "final": f"not later than {utc(proven.final_ms)}, as holders of more than 1/3 of the stake say",
            "status": f"as of {_aged(proven.status_ms, now_ms)}: a later revocation would not show",
            "time stamped": _stamped(one.time_stamp),
            "validity": validity(proven.validity) if proven.validity else "a certificate of this kind has no status",
            "countersigned": f" {_cosigned(proven)}",
            "ML-DSA": _ml_dsa(proven),
            "members": _changes(proven),
            "ledger": f"{proven.ledger} {proven.ledger_id}, {_trusted(proven)}",
            "certificate": f"{proven.certificate}, number {proven.log_index:,} of the log",
            "proof": f"a newer one, from {one.online}" if one.online else _proof(one),
        }
    )


def _proof(one: v.FileVerdict) -> str:
    path = one.proof or ""
    if not one.is_attached:
        return path
    is_earlier = path.endswith(PROOF)
    told = f"{path}, an earlier one than the one attached to the PDF" if is_earlier else "attached to the PDF"
    return f"{told}, and nothing else was added to it"


def _stamped(stamp: v.TimeStamp | None) -> str:
    """What the token beside the proof shows of its checkpoint; no time of one that is not trusted."""
    if stamp is None:
        return ""
    if stamp.not_later_ms is not None:
        by = f"by {stamp.authority}, which you trust as {stamp.known_as}"
        return f"checkpoint and signatures: not later than {utc(stamp.not_later_ms)}, {by}"
    told = f"a time stamp token lies beside it; {stamp.reason}"
    if stamp.state == "not_trusted":
        claimed = f" (it says that it is of {stamp.authority})" if stamp.authority else ""
        return f"{told}: tallystick trust add-tsa{claimed}"
    return f"{told}: tallystick anchor asks for one" if stamp.state == "other_note" else told


def _compared(one: v.FileVerdict, proven: v.Proven) -> str:
    if one.is_attached:
        before = "the PDF as it was before the proof was attached"
        return f"{before}: its first {one.size_bytes or 0:,} bytes, SHA-256 {one.sha256}"
    if one.sha256 is not None:
        return f"these very bytes: {one.size_bytes or 0:,} bytes, SHA-256 {one.sha256}"
    if proven.document is None:
        return LACKING if proven.is_content_gone else "none: it is about no file"
    about = proven.document
    return f"not compared; it is about {about.name}, {about.size_bytes:,} bytes, SHA-256 {about.sha256}"


def _content(said: v.Proven | v.Claims) -> str:
    """What is said beside the subject, where it is about no file."""
    if said.document is not None or said.media_type is None:
        return ""
    return f"{said.media_type}, not shown" if said.content is None else f"{said.content} ({said.media_type})"


def _trusted(proven: v.Proven) -> str:
    """Why the ledger's proofs count."""
    return {
        "kept": f"which you trust as {proven.known_as}",
        "own_node": "which is that of your own node",
        "continued": "which that of your own node goes on from",
        "named": "which you named, and nothing is kept of",
        "policy": "which you do not trust: by your policy alone",
    }[proven.trusted_by]


def _warnings(proven: v.Proven) -> list[str]:
    said = []
    if proven.continues is not None:
        claim = f"The ledger says that it was {continued(proven.continues)}"
        said.append(f"{claim}; whether they were its members is not checked here")
    if proven.is_older:
        said.append("A newer block of this ledger was verified here before: a newer proof may say otherwise")
    return said


def _cosigned(proven: v.Proven) -> str:
    share = 100 * proven.cosigned_stake / proven.total_stake
    who = [
        f"{one.organisation or f'{one.key[:SHORT_ID]}…'} {100 * one.stake / proven.total_stake:.0f} %"
        for one in proven.cosigners
    ]
    stake = f"{proven.cosigned_stake:,} of {proven.total_stake:,} tokens at stake ({share:.0f} %)"
    return f"by {many(len(proven.cosigners), 'member')} with {stake}: {names_of(who, most=16)}"


def _ml_dsa(proven: v.Proven) -> str:
    """Who signed in a way that is meant to withstand quantum computers, and what that is of."""
    signed, unchecked = proven.ml_dsa.members, proven.ml_dsa.unchecked
    if unchecked:
        return f"signatures of {many(len(unchecked), 'member')}: not checked here; install tallystick[pq]"
    if not signed:
        return ""
    stake = f"{proven.ml_dsa.stake:,} of {proven.total_stake:,} tokens at stake"
    covers = "which covers the log only, not members and status"
    return f"also signed with ML-DSA-44 by {many(len(signed), 'member')} with {stake}, {covers}"


def _changes(proven: v.Proven) -> str:
    """Which changes of members were followed; the oldest of many are counted."""
    if not proven.changes:
        return "the same since the block from which they were followed"
    shown = []
    for one in proven.changes[-_MOST_CHANGES:]:
        parts = [f"{sign}{key[:8]}…" for sign, keys in (("+", one.joined), ("-", one.left)) for key in keys]
        shown.append(f"by epoch {one.epoch:,}: {names_of(parts)}")
    more = len(proven.changes) - len(shown)
    return f"{many(len(proven.changes), 'change')} followed: {f'{more:,} more, ' if more else ''}{'; '.join(shown)}"


def _tell_claims(one: v.FileVerdict, claims: v.Claims) -> None:
    about = claims.document
    say(Text("  What the file claims, none of which is verified:", style="yellow"))
    say_fields(
        {
            "ledger": f"{claims.ledger} {claims.ledger_id}",
            "issued by": f"key {claims.issuer}",
            "says": claims.subject or "",
            "content": _content(claims),
            "document": f"{about.name}, {about.size_bytes:,} bytes, SHA-256 {about.sha256}" if about else "",
            "claimed": utc(claims.claimed_ms),
            "at hand": _at_hand(one),
            "certificate": claims.certificate,
        }
    )


def _at_hand(one: v.FileVerdict) -> str:
    if one.sha256 is None:
        return ""
    which = "the first " if one.is_attached else ""
    return f"{which}{one.size_bytes or 0:,} bytes, SHA-256 {one.sha256}"


def _aged(time_ms: int, now_ms: int) -> str:
    return f"{utc(time_ms)}, {_days(now_ms - time_ms)}"


def _days(age_ms: int) -> str:
    if age_ms < 0:
        return "ahead of this machine's clock"
    return f"{many(age_ms // _DAY_MS, 'day')} ago" if age_ms >= _DAY_MS else f"{lasting(age_ms)} ago"


def tell_conflict(told: v.ConflictVerdict) -> None:
    """What two checkpoints of one log show, and about whom."""
    say(marked("✓" if told.trusted else "!", told.origin, " has two histories: not both checkpoints can be true"))
    smaller, larger = told.sizes
    say(field("first", f"{many(smaller, 'entry')}, root {told.roots[0]}"))
    say(field("second", f"{many(larger, 'entry')}, root {told.roots[1]}"))
    if told.other_root is not None:
        say(field("", f"of which the first {smaller:,} have the root {told.other_root}"))
    for key in told.signers:
        say(field("signed both", key))
    if told.stake is not None and told.total_stake:
        share = f"{told.stake:,} of {told.total_stake:,} staked, of those who voted in epoch {told.epoch}"
        is_proof = 3 * told.stake > told.total_stake
        meaning = "more than 1/3: at least so many broke the rules" if is_proof else "no more than 1/3"
        say(field("with", f"{share}; {meaning}"))
    if not told.trusted:
        say("Whose keys these are is not known here: trust the ledger and verify a proof of it, or name a --policy.")
