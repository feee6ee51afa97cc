"""`tallystick member`: the organisations of a ledger, and motions on who joins, leaves and votes with how much."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from msgspec import ValidationError, convert

from tallystick.api import decisions as d
from tallystick.api import governed_views
from tallystick.cli.admissions import Admitted, Since, read_admission, void_since
from tallystick.cli.motions import DAYS, Days, decide, member_named, move, organisation, organisations, own_organisation
from tallystick.cli.options import (
    ChainFile,
    Data,
    NoPassphrase,
    PassphraseFile,
    Yes,
    argument,
    flag,
    group,
    node_folder,
    open_node,
    open_source,
    option,
    wallet_in,
)
from tallystick.cli.output import Columns, Text, confirm, give, hint, is_json, marked, number, say, say_table, share_bar
from tallystick.cli.words import utc
from tallystick.client.blocking import Client
from tallystick.ledger.changes import MAX_STAKES_A_MOTION
from tallystick.ledger.encoding import digest
from tallystick.ledger.fields import MAX_TOKENS, Title, WebDomain
from tallystick.ledger.wallet import Wallet
from tallystick.problems import Problem

member = group(
    """The organisations of a ledger, and motions on who joins, who leaves, and who votes with how much.

    All but list, certifies and ml-dsa make a motion: it takes effect when members with more than 2/3 of the stake
    approve.

    Example: tallystick member list
    """
)


def _title(said: str) -> str:
    return _checked(said, Title, "name: a line of text of 1 to 64 characters")


def _domain(said: str) -> str:
    return _checked(said, WebDomain, "web domain: lower-case letters, digits and hyphens, as law.example.org")


def _domain_or_none(said: str) -> str:
    return _domain(said) if said else said


def _checked(said: str, kind: object, what: str) -> str:
    """What is said, if the ledger takes it. Raises `typer.BadParameter`."""
    try:
        return str(convert(said, kind))
    except ValidationError:
        raise typer.BadParameter(f"{said!r} is no {what}") from None


@member.command("list")
def list_members(chain: ChainFile = None, data: Data = None) -> None:
    """List the organisations: names, stakes, keys, and what is announced.

    Examples:
      tallystick member list
      tallystick member list --json
    """
    with open_source(chain, data) as client:
        lines = organisations(client)
    give(governed_views.Organisations(organisations=lines, next=None))
    total = sum(one.staked for one in lines)
    columns: Columns[governed_views.OrganisationLine] = {
        "Organisation": lambda one: one.title,
        "Id": lambda one: one.id,
        "At stake": lambda one: f"{one.staked:,}",
        "Share": lambda one: share_bar(one.staked, total, "yellow"),
        "Votes with": lambda one: number(one.votes_with),
        "Member key": lambda one: Text(f"{one.member_key[:16]}…", "cyan") if one.member_key else Text("removed", "dim"),
    }
    say_table(lines, columns)
    for one in lines:
        if (rotation := one.rotation) is not None:
            told = f"{rotation.after[:16]}… follows as its member key on {utc(rotation.due_ms)}"
            say(Text(f"  {one.title}: {told}; to stop that: tallystick member stop-rotation {one.id}", "bold yellow"))


@member.command()
def admit(
    admission: Admitted,
    title: Annotated[str, option("What the organisation is called.", "NAME", parser=_title)],
    *,
    stake: Annotated[
        int | None,
        option(
            "It votes with so many tokens; 0: it certifies alone.",
            "TOKENS",
            min=0,
            max=MAX_TOKENS,
            show_default="what all others have",
        ),
    ] = None,
    domain: Annotated[
        str | None, option("Its web domain, which those who approve vouch for.", "DOMAIN", parser=_domain)
    ] = None,
    voter: Annotated[bool, flag("--voter", "Its member key votes, and does not certify.")] = False,
    days: Days = DAYS,
    data: Data = None,
    yes: Yes = False,
) -> None:
    """Move that another organisation be admitted.

    It makes its key and signs: tallystick key new, then tallystick key admit ID --ledger LEDGER. The id that it chose
    is its own for ever. It then joins with an invite, as an observer, and is a member as soon as the motion passes.

    Example: tallystick member admit 'e:5f0c…:93ab…' --title 'University E'
    """
    with open_node(data) as client:
        found = read_admission(admission, client.ledger_id)
        own_organisation(client)
        tokens = _common_stake(client) if stake is None else stake
        role: d.MemberRole = "voter" if voter else "member"
        change = d.Admit(found.organisation, title, domain, found.key, role, tokens, found.signature)
        move(client, change, days, data, yes=yes)


def _common_stake(client: Client) -> int:
    stakes = {one.staked for one in organisations(client) if one.staked}
    if len(stakes) != 1:
        raise typer.BadParameter("members have different stakes; say with --stake how much the new one has")
    return stakes.pop()


@member.command()
def remove(
    who: Annotated[str, argument("WHO", "The organisation's id or name.")],
    days: Days = DAYS,
    data: Data = None,
    *,
    yes: Yes = False,
) -> None:
    """Move that an organisation be removed: its keys vote and certify no more, for good.

    What it certified stays valid. The others can do this also while it is away, as long as they are a quorum.

    Example: tallystick member remove 'University E'
    """
    with open_node(data) as client:
        own_organisation(client)
        one = member_named(client, who)
        question = f"The keys of {one.title} end for good, and its id with them."
        move(client, d.Remove(one.id, one.staked), days, data, question=question, yes=yes)


@member.command("set-stake")
def set_stake(
    stakes: Annotated[list[str], argument("WHO=TOKENS", "An organisation's stake; or one number, for all of them.")],
    days: Days = DAYS,
    data: Data = None,
    *,
    yes: Yes = False,
) -> None:
    """Move that stakes be set, all that are named in one motion: they are the weights with which members vote.

    Examples:
      tallystick member set-stake 100
      tallystick member set-stake uni-a=150 uni-b=150
    """
    with open_node(data) as client:
        own_organisation(client)
        if len(stakes) == 1 and "=" not in stakes[0]:
            wanted = {one.id: (one, stakes[0]) for one in organisations(client) if one.member_key and one.staked}
        else:
            if unclear := [said for said in stakes if "=" not in said]:
                raise typer.BadParameter(f"{unclear[0]!r} says no stake: WHO=TOKENS, as {unclear[0]}=150")
            pairs = [said.rpartition("=") for said in stakes]
            named = [(member_named(client, who), tokens) for who, _, tokens in pairs]
            wanted = {one.id: (one, tokens) for one, tokens in named}
        changes = [d.StakeOf(name, one.staked, _tokens(tokens)) for name, (one, tokens) in sorted(wanted.items())]
        changed = [one for one in changes if one.before != one.after]
        if not changed:
            raise Problem("these are their stakes already; nothing was moved")
        if len(changed) > MAX_STAKES_A_MOTION:
            most = f"a motion sets {MAX_STAKES_A_MOTION} stakes at most, and these are {len(changed)}"
            raise typer.BadParameter(f"{most}: name them as WHO=TOKENS, in two motions or more")
        move(client, d.SetStakes(changed), days, data, yes=yes)


def _tokens(said: str) -> int:
    if not (said.isascii() and said.isdecimal() and int(said) <= MAX_TOKENS):
        raise typer.BadParameter(f"{said!r} is no number of tokens: 0 to {MAX_TOKENS}")
    return int(said)


@member.command("replace-key")
def replace_key(
    admission: Admitted,
    compromised_since: Since = None,
    days: Days = DAYS,
    data: Data = None,
    *,
    yes: Yes = False,
) -> None:
    """Move that an organisation's member key be replaced: it is lost, or stolen.

    The organisation makes another key and signs: tallystick key new, tallystick key admit ID --ledger LEDGER. The old
    key votes and certifies no more when the motion passes, and never again.

    Examples:
      tallystick member replace-key 'd:5f0c…:93ab…'
      tallystick member replace-key 'd:5f0c…:93ab…' --compromised-since 1207
    """
    with open_node(data) as client:
        own_organisation(client)
        found = read_admission(admission, client.ledger_id)
        one = member_named(client, found.organisation)
        change = d.ReplaceMemberKey(one.id, one.member_key or "", found.key, compromised_since, found.signature)
        old, void = (one.member_key or "")[:16], void_since(compromised_since)
        sure = f"Ask them over the telephone whether their new one is {found.key[:16]}…."
        question = f"The key {old}… of {one.title} ends for good{void}. {sure}"
        move(client, change, days, data, question=question, yes=yes)


@member.command()
def rename(
    who: Annotated[str, argument("WHO", "The organisation's id or name.")],
    title: Annotated[str | None, option("The new name.", "NAME", show_default="as it is", parser=_title)] = None,
    domain: Annotated[
        str | None,
        option("The new web domain; empty: none.", "DOMAIN", show_default="as it is", parser=_domain_or_none),
    ] = None,
    days: Days = DAYS,
    data: Data = None,
) -> None:
    """Move that an organisation be called otherwise. Its id stays.

    Example: tallystick member rename uni-a --title 'Technical University A'
    """
    if title is None and domain is None:
        raise typer.BadParameter("say --title, --domain, or both")
    with open_node(data) as client:
        own_organisation(client)
        one = member_named(client, who)
        after = one.title if title is None else title, one.domain if domain is None else domain or None
        if after == (one.title, one.domain):
            raise Problem(f"{one.title} has that name and web domain already; nothing was moved")
        move(client, d.Rename(one.id, one.title, after[0], one.domain, after[1]), days, data)


@member.command("organisation-key")
def organisation_key(
    admission: Annotated[str, argument("ADMISSION", "Of the new key; or the organisation's id, with --end.")],
    end: Annotated[bool, flag("--end", "No such key any more.")] = False,
    days: Days = DAYS,
    data: Data = None,
    *,
    yes: Yes = False,
) -> None:
    """Move that an organisation's organisation key be set: kept offline, it alone changes the other keys from then on.

    Then whoever steals the machine with the member key cannot rotate it, nor add issuer keys.

    Examples:
      tallystick member organisation-key 'uni-a:5f0c…:93ab…'
      tallystick member organisation-key uni-a --end
    """
    with open_node(data) as client:
        own_organisation(client)
        found = None if end else read_admission(admission, client.ledger_id)
        one = member_named(client, found.organisation if found else admission)
        after = (found.key, found.signature) if found else (None, None)
        question = f"From then on {'the member key' if end else 'that key alone'} changes the keys of {one.title}."
        move(client, d.SetOrganisationKey(one.id, one.organisation_key, *after), days, data, question=question, yes=yes)


def _own(client: Client, wallet: Wallet | None) -> governed_views.OrganisationLine:
    """The organisation whose member key or organisation key signs. Raises `Problem`."""
    own = wallet.public_key.hex() if wallet else client.status().node.key
    found = [line for line in organisations(client) if own in (line.organisation_key, line.member_key)]
    if not found:
        raise Problem(f"the key {own[:16]}… is no organisation's member key or organisation key")
    return found[0]


@member.command()
def certifies(
    value: Annotated[Literal["on", "off"], argument("VALUE", "Whether it does: on or off.")],
    *,
    key: Annotated[
        Path | None, option("Sign with the organisation key in this file.", "FILE", show_default="the node's own")
    ] = None,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
) -> None:
    """Say whether the own organisation's member key certifies: off, issuer keys alone do, and it only votes.

    It needs no motion, and holds at once. Where an organisation key is set, that has to sign (--key).

    Example: tallystick member certifies off
    """
    wallet = wallet_in(key, passphrase_file, no_passphrase)
    role: d.MemberRole = "member" if value == "on" else "voter"
    with open_node(data, wallet=wallet) as client:
        one = _own(client, wallet)
        member_key = one.member_key or ""
        if role in [held.role for held in client.organisation(one.id).keys if held.key == member_key]:
            raise Problem(f"that is so already of the member key of {one.title}; nothing was changed")
        outcome = decide(client, client.change_keys(d.SetMemberRole(member_key, role), timeout_s=0))
    does = "certifies" if value == "on" else "certifies no more, and votes"
    say(marked("✓", f"{member_key[:16]}…", f" of {one.title} {does}: block {outcome.block_index or 0:,}"))


@member.command("ml-dsa")
def register_ml_dsa(
    *,
    end: Annotated[bool, flag("--end", "It has none any more.")] = False,
    key: Annotated[
        Path | None, option("Sign with the organisation key in this file.", "FILE", show_default="the node's own")
    ] = None,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
) -> None:
    """Register the key of ML-DSA-44 in the node's folder on the ledger, in the place of one before.

    It is made by tallystick key ml-dsa. The node cosigns the ends of epochs by it, too, once it was started with it.
    It needs no motion, and holds at once, for the member key that the organisation has now. Where an organisation key
    is set, that has to sign (--key).

    Examples:
      tallystick member ml-dsa
      tallystick member ml-dsa --end
    """
    from tallystick.host.ml_dsa import ml_dsa_public_key  # noqa: PLC0415  # few commands need it

    folder = node_folder(data)
    if not end and not folder.ml_dsa_path.exists():
        raise Problem(f"there is no {folder.ml_dsa_path}; make it with: tallystick key ml-dsa --data {folder.quoted}")
    public_key = None if end else ml_dsa_public_key(folder.ml_dsa_path).hex()
    wallet = wallet_in(key, passphrase_file, no_passphrase)
    with open_node(data, wallet=wallet) as client:
        one = _own(client, wallet)
        member_key = one.member_key or ""
        if client.organisation(one.id).ml_dsa_key == public_key:
            raise Problem(f"that is so already of the member key of {one.title}; nothing was changed")
        outcome = decide(client, client.change_keys(d.SetMlDsaKey(member_key, public_key), timeout_s=0))
    sha256 = digest(bytes.fromhex(public_key or "")).hex()
    has = f"has the ML-DSA-44 key {sha256[:16]}…" if public_key else "has no ML-DSA-44 key now"
    say(marked("✓", f"{member_key[:16]}…", f" of {one.title} {has}: block {outcome.block_index or 0:,}"))


@member.command("stop-rotation")
def stop_rotation(
    who: Annotated[str, argument("WHO", "The organisation's id or name.")], days: Days = DAYS, data: Data = None
) -> None:
    """Move that a rotation of a member key that is announced be stopped: a thief announced it.

    Example: tallystick member stop-rotation uni-a
    """
    with open_node(data) as client:
        own_organisation(client)
        one = member_named(client, who)
        if one.rotation is None:
            raise Problem(f"{one.title} has announced no rotation; nothing was moved")
        move(client, d.StopRotation(one.id, one.rotation.after), days, data)


@member.command()
def leave(days: Days = DAYS, data: Data = None, *, yes: Yes = False) -> None:
    """Move that the own organisation be removed. Its node has to stay until that is done.

    It votes until the epoch ends in which the motion passes; tallystick status says when it may be switched off. Its
    keys end for good; what it certified stays valid.

    Example: tallystick member leave
    """
    with open_node(data) as client:
        one = own_organisation(client)
        question = (
            f"The keys of {one.title} end for good, and its id with them. Its node has to stay until this has passed."
        )
        move(client, d.Remove(one.id, one.staked), days, data, question=question, yes=yes)
        if is_json():
            return
        is_gone = organisation(client, one.id).member_key is None
    where = f" --data {node_folder(data).quoted}" if data else ""
    stay = "the epoch in which that passes has ended: until then it votes, and others may need its vote"
    say("  Let the node run until " + ("it has the next block." if is_gone else f"{stay}."))
    hint(f"When it may be switched off: tallystick status{where}")


def rotate_key(
    admission: str, compromised_since: int | None, wallet: Wallet | None, data: Path | None, *, yes: bool
) -> None:
    """Announce another member key for the own organisation: see `tallystick key rotate`."""
    with open_node(data, wallet=wallet) as client:
        found = read_admission(admission, client.ledger_id)
        one = member_named(client, found.organisation)
        before = one.member_key or ""
        ends = f"The key {before[:16]}… of {one.title} ends for good when {found.key[:16]}… follows"
        confirm(f"{ends}{void_since(compromised_since)}. Rotate it?", is_said=yes)
        change = d.RotateMemberKey(one.id, before, found.key, compromised_since, found.signature)
        outcome = decide(client, client.change_keys(change, timeout_s=0))
        after = organisation(client, one.id)
    index = outcome.block_index or 0
    if after.rotation is None:
        say(marked("✓", one.title, f" has the member key {found.key[:16]}… now: block {index:,}"))
        return
    say(marked("✓", one.title, f" has announced {found.key[:16]}… as its member key: block {index:,}"))
    say(f"  It follows on {utc(after.rotation.due_ms)}, with the next block after that. Let this node run until then.")
    hint("A member can stop it: tallystick member stop-rotation " + one.id)
