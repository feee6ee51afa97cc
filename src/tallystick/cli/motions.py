"""`tallystick motion`: what members decide together, and how a decision is signed, waited for and told."""

from pathlib import Path
from typing import Annotated, Final

import typer

from tallystick.api import decisions as d
from tallystick.api import governed_views, views
from tallystick.api.governance import stops_without
from tallystick.api.questions import MOST_ITEMS
from tallystick.api.words import SHORT_ID, change_in_words
from tallystick.cli.operating import settled
from tallystick.cli.options import ChainFile, Data, Yes, argument, group, node_folder, open_node, open_source, option
from tallystick.cli.output import (
    Columns,
    Text,
    confirm,
    fail,
    give,
    hint,
    is_json,
    marked,
    say,
    say_fields,
    say_table,
    told,
    warn,
)
from tallystick.cli.show import PAGE, Cursor, Limit, again, tell_of_more
from tallystick.cli.words import called, erasure_fields, names_of, utc, whole, without
from tallystick.client.blocking import Client
from tallystick.host.clock import now_ms
from tallystick.ledger.params import CHANGEABLE
from tallystick.problems import ExitCode, NotThere, Problem

_DAY_MS: Final = 86_400_000
_MOST_DAYS: Final = 89
"""A motion is open for 90 days at most by the time of its block, which no clock here tells exactly."""
_MOST_DIGITS: Final = 15
_SHORTEST_KEY: Final = 8

Days = Annotated[int, option("Closed after so many days, unless it was decided.", "DAYS", min=1, max=_MOST_DAYS)]
DAYS: Final = 14

motion = group(
    """What members decide together: list motions, show one, and say yes or no.

    A motion passes when members with more than 2/3 of the stake approve, and takes effect within seconds. A third of
    the stake that objects closes it. Each member's last word counts.

    Example: tallystick motion list
    """
)


# ---- what is decided --------------------------------------------------------------------------------------------


def decide(client: Client, signed: governed_views.SignedDecision) -> views.Outcome:
    """Wait until what was signed is final, and give it under `--json`. Raises `Problem` when it is refused."""
    outcome = settled(client, signed.outcome)
    give(views.Outcomes(outcomes=[outcome]))
    if outcome.state == "refused":
        if outcome.rule == "M3":
            hint("When one of them is decided, another can be made; others object to one: tallystick motion list")
        raise told(fail(f"it was refused: {outcome.reason}", ExitCode.REFUSED))
    return outcome


def move(
    client: Client,
    change: d.AnyChange,
    days: int,
    data: Path | None,
    *,
    question: str = "",
    why: str = "",
    yes: bool = False,
) -> None:
    """Move that something be changed, and tell what the motion waits for.

    Asks before if there is a question, or if the ledger could stop afterwards. Raises `Problem`.
    """
    stakes = {one.id: (one.title, one.staked) for one in organisations(client) if one.member_key}
    _, danger = stops_without(d.change_in(change), stakes)
    _ask(f"{question} {danger or ''}".strip(), f"Move to {in_words(change)}?", danger, yes=yes)
    outcome = decide(client, client.move(change, expires_ms=now_ms() + days * _DAY_MS, words=why, timeout_s=0))
    if is_json():
        return
    made = client.motion(outcome.id)
    say(marked("✓", f"Motion {made.id[:SHORT_ID]}", f": to {made.summary}"))
    _tell_waiting(made)
    if made.state == "open":
        at = f" --data {node_folder(data).quoted}" if data else ""
        hint(f"The other members say yes with: tallystick motion approve {made.id[:SHORT_ID]}")
        hint(f"How it stands: tallystick motion show {made.id[:SHORT_ID]}{at}")


def _ask(reasons: str, question: str, danger: str | None, *, yes: bool) -> None:
    """Ask if there is a reason to. Whoever is not asked is warned of a danger all the same."""
    is_asked = bool(reasons) and not yes
    if danger and not is_asked:
        warn(danger)
    confirm(f"{reasons} {question}", is_said=not is_asked)


def in_words(change: d.AnyChange) -> str:
    """What a change is about, after “to”."""
    return change_in_words(d.change_in(change))


def organisations(client: Client) -> list[governed_views.OrganisationLine]:
    """All that ever were. Raises `Problem` on an open ledger."""
    found, cursor = list[governed_views.OrganisationLine](), None
    while True:
        page = client.organisations(cursor=cursor)
        found += page.organisations
        if (cursor := page.next) is None:
            break
    if not found:
        raise Problem("this ledger is open: it has no organisations, anybody certifies, and keys stake tokens")
    return found


def organisation(client: Client, who: str) -> governed_views.OrganisationLine:
    """The organisation with this id, name, or member key that begins so. Raises `NotThere`."""
    lines = organisations(client)
    found = [one for one in lines if one.id == who]
    found = found or [one for one in lines if one.title.casefold() == who.casefold()]
    found = found or [one for one in lines if len(who) >= _SHORTEST_KEY and (one.member_key or "").startswith(who)]
    if found:
        return found[0]
    named = names_of([f"{one.id} ({one.title})" for one in lines if one.member_key])
    raise NotThere(f"no organisation has the id or name {who}; there are: {named}")


def own_organisation(client: Client) -> governed_views.OrganisationLine:
    """Of the node's own key. Raises `Problem` if it is no member key."""
    own = client.status().node.key
    found = [one for one in organisations(client) if one.member_key == own]
    if not found:
        raise Problem(f"this node's key, {own[:16]}…, is no organisation's member key: members alone decide")
    return found[0]


def member_named(client: Client, who: str) -> governed_views.OrganisationLine:
    """The organisation that is meant, if it was not removed. Raises `NotThere`."""
    found = organisation(client, who)
    if found.member_key is None:
        raise NotThere(f"{found.title} ({found.id}) was removed already")
    return found


# ---- the commands -----------------------------------------------------------------------------------------------


@motion.command("list")
def list_motions(chain: ChainFile = None, data: Data = None, limit: Limit = None, cursor: Cursor = None) -> None:
    """List motions: those that are open, and what they wait for, then those that were decided.

    Examples:
      tallystick motion list
      tallystick motion list --json
    """
    with open_source(chain, data) as client:
        page = client.motions(limit or (MOST_ITEMS if is_json() else PAGE), None if cursor is None else str(cursor))
    give(page)
    columns: Columns[governed_views.MotionLine] = {
        "Motion": lambda one: Text(f"{one.id[:SHORT_ID]}", style="cyan"),
        "State": lambda one: Text(one.state, style="yellow" if one.waits_for else "dim"),
        "Moves to": lambda one: one.summary,
        "By": lambda one: called(one.mover),
        "Stake for": lambda one: f"{one.approving:,} of {one.needed:,}",
    }
    say_table(page.motions, columns, left_out=("By",))
    for one in page.motions:
        if one.state == "open":
            say(f"  {one.id[:SHORT_ID]}: {one.waits_for}; closes on {utc(one.expires_ms)}{without(one)}")
    tell_of_more(["motion", "list"], page.next, again(limit, chain, data))
    if not page.motions and cursor is None:
        hint("Nothing was moved yet; what can be: tallystick member --help, tallystick motion set --help")


@motion.command("show")
def show_motion(
    which: Annotated[str, argument("MOTION", "Its id, or how that begins.")], chain: ChainFile = None, data: Data = None
) -> None:
    """Show a motion: what it changes, what each member said, and what it waits for.

    Example: tallystick motion show 5f0c93ab
    """
    with open_source(chain, data) as client:
        one = client.motion(which)
    give(one)
    say(marked("✓" if one.state == "passed" else "·", f"Motion {one.id[:SHORT_ID]}", f": to {one.summary}"))
    decided = f"block {one.decided_block:,}, {utc(one.decided_ms or 0)}" if one.decided_block is not None else ""
    fields = {
        "id": one.id,
        "moved by": whole(one.mover),
        "state": one.state,
        "waits for": one.waits_for or "",
        "decided": decided,
        "danger": one.danger or "",
        "closes on": "" if decided else f"{utc(one.expires_ms)}, unless it is decided before",
        "for": f"{one.approving:,} of {one.total_stake:,} tokens at stake; {one.needed:,} are needed",
        "against": f"{one.objecting:,}" if one.objecting else "",
    }
    say_fields(fields | (erasure_fields(one.erasure) if one.erasure else {}))
    columns: Columns[governed_views.MotionWord] = {
        "Member": lambda word: called(word.member),
        "At stake": lambda word: f"{word.stake:,}",
        "Word": lambda word: word.word or "·",
    }
    say_table(one.words, columns)


@motion.command()
def approve(
    which: Annotated[str, argument("MOTION", "Its id, or how that begins.")], data: Data = None, *, yes: Yes = False
) -> None:
    """Say yes to a motion, in this member's name. It asks first if the motion passes with that.

    Example: tallystick motion approve 5f0c93ab
    """
    with open_node(data) as client:
        one = _open(client, which)
        own = next((word.stake for word in one.words if word.member.key == client.status().node.key), 0)
        passes = one.approving + own >= one.needed
        effect = f"With this word it passes, and takes effect at once: to {one.summary}. {one.danger or ''}".strip()
        _ask(effect if passes else "", "Approve it?", one.danger, yes=yes)
        _say_word(client, one, client.approve(one.id, timeout_s=0), "approved")


@motion.command("object")
def object_to(which: Annotated[str, argument("MOTION", "Its id, or how that begins.")], data: Data = None) -> None:
    """Say no to a motion, in this member's name. A third of the stake closes it.

    Example: tallystick motion object 5f0c93ab
    """
    with open_node(data) as client:
        one = _open(client, which)
        _say_word(client, one, client.object(one.id, timeout_s=0), "objected to")


def _open(client: Client, which: str) -> governed_views.Motion:
    own_organisation(client)
    one = client.motion(which)
    if one.state != "open":
        raise Problem(f"motion {one.id[:SHORT_ID]} is {one.state}: no word changes that; tallystick motion list")
    return one


def _say_word(client: Client, one: governed_views.Motion, signed: governed_views.SignedDecision, what: str) -> None:
    decide(client, signed)
    if is_json():
        return
    say(marked("✓", f"Motion {one.id[:SHORT_ID]}", f" is {what}: to {one.summary}"))
    _tell_waiting(client.motion(one.id))


def _tell_waiting(one: governed_views.MotionLine) -> None:
    if one.state == "open":
        say(f"  It waits: {one.waits_for}. It closes on {utc(one.expires_ms)}.")
    else:
        say("  It has passed, and is in effect." if one.state == "passed" else f"  It is {one.state}.")
    if one.state == "passed" and isinstance(one.change, d.Erase):
        hint(f"Each operator, here and elsewhere, erases it with: tallystick erase {one.change.target[:SHORT_ID]}")


@motion.command("erase")
def erase_everywhere(
    which: Annotated[str, argument("CERTIFICATE", "A statement's id, or how that begins.")],
    data: Data = None,
    *,
    days: Days = DAYS,
    yes: Yes = False,
) -> None:
    """Move that what another organisation certified be erased everywhere: its payload, and the subject there.

    When that has passed, each node's operator erases it with tallystick erase, which confirms it on the ledger;
    tallystick motion show tells who has, and what is not reached. What the own organisation certified needs no motion:
    tallystick erase --everywhere.

    Example: tallystick motion erase 5f0c93ab
    """
    with open_node(data) as client:
        own = own_organisation(client)
        one = client.certificate(which)
        if one.kind != "statement" or one.payload_hash is None:
            raise NotThere(f"certificate {one.id[:SHORT_ID]}… is no statement with a payload: nothing to erase")
        what = f"“{one.summary}” ({one.id[:SHORT_ID]}…, by {called(one.issuer)})"
        if one.issuer.organisation == own.id:
            needs = f"needs no motion: tallystick erase --everywhere {one.id[:SHORT_ID]}"
            raise Problem(f"the own organisation certified {what}, which {needs}")
        question = f"What {what} says is to go from all nodes, for good; the certificate stays, with all proofs of it."
        move(client, d.Erase(one.id), days, data, question=question, yes=yes)


@motion.command("set")
def set_parameter(
    parameter: Annotated[str, argument("PARAMETER", "Which.")],
    value: Annotated[str, argument("VALUE", "A whole number; on or off.")],
    data: Data = None,
    *,
    days: Days = DAYS,
) -> None:
    """Move that a parameter of the ledger be changed, anybody_certifies among them.

    tallystick show --json lists all with their values. A motion may set: PARAMETERS.

    Examples:
      tallystick motion set rotation_delay_ms 3600000
      tallystick motion set anybody_certifies off
    """
    if parameter not in CHANGEABLE:
        raise typer.BadParameter(f"no motion sets {parameter}; those that one may: {', '.join(CHANGEABLE)}")
    if value not in ("on", "off") and not (value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS):
        raise typer.BadParameter(f"{value!r} is no whole number, and not on or off")
    with open_node(data) as client:
        own_organisation(client)
        now = client.ledger().params[parameter]
        if value in ("on", "off") and not isinstance(now, bool):
            raise typer.BadParameter(f"{parameter} is a number, not on or off; it is {now} now")
        before, after = None if now is None else int(now), int(value == "on") if value in ("on", "off") else int(value)
        if after == before:
            raise Problem(f"{parameter} is {value} already; nothing was moved")
        move(client, d.SetParameter(parameter, before, after), days, data)


set_parameter.__doc__ = (set_parameter.__doc__ or "").replace("PARAMETERS", ", ".join(CHANGEABLE))
