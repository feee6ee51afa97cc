"""What certificates say and decide, in a few words."""

from typing import Final

from tallystick.ledger import certificate as core
from tallystick.ledger import changes
from tallystick.ledger.certificate import AnyCertificate
from tallystick.ledger.changes import AnyChange, AnyKeyOperation, Effect, Reason, Role
from tallystick.ledger.encoding import digest

_MOST_NAMED = 3
SHORT_ID: Final = 16
"""So many digits of an id or key are shown: they mean only one."""


def summary_of(certificate: AnyCertificate, subject: str, offender: str) -> str:  # noqa: PLR0911  one for each kind
    """What a certificate says; `subject` is a statement's, and `offender` whom evidence accuses, in words."""
    match certificate:
        case core.Statement():
            return subject
        case core.StakingOperation(amount=amount):
            return f"withdraws {-amount} from stake" if amount < 0 else f"stakes {amount}"
        case core.ProposalEvidence():
            return f"shows that {offender} forged blocks that conflict"
        case core.VoteEvidence():
            return f"shows that {offender} signed votes that conflict"
        case core.Motion(change=change):
            return f"moves to {change_in_words(change)}"
        case core.Approval(motion=motion):
            return f"approves motion {_short(motion)}"
        case core.Objection(motion=motion):
            return f"objects to motion {_short(motion)}"
        case core.KeyChange(operation=operation):
            return _operation_in_words(operation)
        case core.Revocation(target=target, effect=effect, reason=reason):
            verb = "declares void" if effect == Effect.VOID else "revokes"
            return f"{verb} {_short(target)} ({reason_in_words(reason)})"
        case core.Supersession(target=target, successor=successor):
            return f"puts {_short(successor)} in the place of {_short(target)}"
        case core.Erasure(target=target):
            return f"has the payload of {_short(target)} erased everywhere"
        case core.ErasureConfirmation(target=target):
            return f"has erased the payload of {_short(target)}"


def change_in_words(change: AnyChange) -> str:  # noqa: PLR0911, PLR0912  one for each kind of change
    """What a motion is about, after “to”."""
    match change:
        case changes.Admit(organisation=organisation, title=title, role=role, stake=stake):
            with_stake = f"with {stake:,} tokens at stake" if stake else "without stake"
            silent = ", whose member key does not certify" if role == Role.VOTER else ""
            return f"admit {title} ({organisation}) {with_stake}{silent}"
        case changes.Remove(organisation=organisation, stake=stake):
            return f"remove {organisation}, which has {stake:,} tokens at stake"
        case changes.SetStakes(stakes=stakes):
            said = [f"{one.organisation} from {one.before:,} to {one.after:,}" for one in stakes[:_MOST_NAMED]]
            more = f" and {len(stakes) - _MOST_NAMED} more" if len(stakes) > _MOST_NAMED else ""
            return f"set the stake of {', '.join(said)}{more}"
        case changes.ReplaceMemberKey(organisation=organisation, after=after, compromised_since=since):
            return f"replace the member key of {organisation} by {_short(after)}{_compromised(since)}"
        case changes.SetOrganisationKey(organisation=organisation, before=before, after=after):
            if after is None:
                return f"end the organisation key of {organisation}"
            verb = "set" if before is None else "replace"
            return f"{verb} the organisation key of {organisation}: {_short(after)}"
        case changes.Rename(title_before=before, title=title, domain=domain, domain_before=domain_before):
            renamed = f"rename {before}" + (f" to {title}" if title != before else "")
            return renamed + (f", web domain {domain or 'none'}" if domain != domain_before else "")
        case changes.SetParameter(parameter=parameter, before=before_it, after=after_it):
            return f"set {parameter} from {'none' if before_it is None else before_it} to {after_it}"
        case changes.SetStatus(target=target, successor=bytes() as successor):
            return f"put {_short(successor)} in the place of {_short(target)}"
        case changes.SetStatus(target=target, effect=effect, reason=reason):
            verb = "declare void" if effect == Effect.VOID else "revoke"
            return f"{verb} {_short(target)} ({reason_in_words(reason)})"
        case changes.StopRotation(organisation=organisation, key=key):
            return f"stop the rotation of the member key of {organisation} to {_short(key)}"
        case changes.Erase(target=target):
            return f"erase the payload of {_short(target)} everywhere"
        case changes.SetCompromised(key=key, since=since):
            return f"declare void what the key {_short(key)} certified from log index {since:,} on"


def _operation_in_words(operation: AnyKeyOperation) -> str:
    match operation:
        case changes.AddIssuer(organisation=organisation, key=key, label=label):
            return f"adds the issuer key {_short(key)}{f' ({label})' if label else ''} of {organisation}"
        case changes.EndIssuer(key=key, compromised_since=since):
            return f"ends the issuer key {_short(key)}{_compromised(since)}"
        case changes.RotateMemberKey(organisation=organisation, after=after, compromised_since=since):
            return f"rotates the member key of {organisation} to {_short(after)}{_compromised(since)}"
        case changes.SetMemberRole(role=role):
            return "has its member key certify" if role == Role.MEMBER else "has its member key vote and not certify"
        case changes.SetMlDsaKey(member=member, key=key):
            told = f"registers the ML-DSA-44 key {_short(digest(key))}" if key is not None else "ends the ML-DSA-44 key"
            return f"{told} of the member key {_short(member)}"


def reason_in_words(reason: int) -> str:
    """Why a statement is not valid any more."""
    return Reason(reason).name.lower().replace("_", " ")


def _compromised(since: int | None) -> str:
    return f", compromised from log index {since:,} on" if since is not None else ""


def _short(key: bytes) -> str:
    return f"{key.hex()[:12]}…"
