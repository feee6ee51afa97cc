"""`tallystick issuer`, `revoke` and `supersede`: with which keys an organisation certifies, and what it takes back."""

from pathlib import Path
from typing import Annotated, Final, Literal, cast

import typer

from tallystick.api import decisions as d
from tallystick.api import governed_views, views
from tallystick.api.command_views import OrganisationKeys
from tallystick.api.words import SHORT_ID
from tallystick.cli import options
from tallystick.cli.admissions import Admitted, Since, read_admission
from tallystick.cli.motions import DAYS, Days, decide, move, organisation, organisations, own_organisation
from tallystick.cli.options import ChainFile, Data, NoPassphrase, PassphraseFile, Yes, argument, flag, group, option
from tallystick.cli.output import Columns, Text, confirm, give, hint, marked, say, say_table
from tallystick.cli.show import moment_ms
from tallystick.cli.words import called, utc
from tallystick.client.blocking import Client
from tallystick.host.clock import now_ms
from tallystick.host.text import is_hex_digest
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.wallet import Wallet
from tallystick.problems import Ambiguous, NotThere, Problem, RefusedInput
from tallystick.storage.described_files import describe_file

_FEWEST_DIGITS: Final = 2
_SHORTEST_ID: Final = 8
Reason = Literal["unspecified", "mistake", "fraud", "withdrawn", "key-compromised", "organisation-ended"]
SignWith = Annotated[
    Path | None, option("Sign with the key in this file, here.", "FILE", "--key", show_default="the node's own")
]
ByMotion = Annotated[bool, flag("--by-motion", "All members decide, as the organisation that certified is gone.")]
Why = Annotated[str, option("Why, in a line of text: beside the certificate, and can be erased.", "TEXT")]

issuer = group(
    """The keys with which an organisation certifies, besides its member key.

    A registry's or a faculty's key, with a label that is shown wherever it certified. An organisation adds and ends
    its own, without a vote: by its organisation key if it has one (--key), else by its member key.

    Example: tallystick issuer list
    """
)


@issuer.command("list")
def list_issuers(
    who: Annotated[str | None, argument("WHO", "The organisation's id or name.", show_default="all")] = None,
    chain: ChainFile = None,
    data: Data = None,
) -> None:
    """List the keys of organisations: what each may do, from when to when, and whether it was compromised.

    Examples:
      tallystick issuer list
      tallystick issuer list 'University A'
    """
    with options.open_source(chain, data) as client:
        lines = [organisation(client, who)] if who else organisations(client)
        found = [client.organisation(one.id) for one in lines]
    give(OrganisationKeys(organisations=found))
    rows = [(one, key) for one in found for key in one.keys]
    columns: Columns[tuple[governed_views.Organisation, governed_views.KeyOfOrganisation]] = {
        "Organisation": lambda row: row[0].title,
        "Key": lambda row: Text(f"{row[1].key[:SHORT_ID]}…", style="cyan"),
        "May": lambda row: _MAY.get(row[1].role, row[1].role),
        "Label": lambda row: row[1].label,
        "From": lambda row: f"{row[1].since:,}",
        "State": lambda row: _state(row[1]),
    }
    say_table(rows, columns, left_out=("From",))


_MAY: Final = {
    "member": "vote, certify",
    "voter": "vote",
    "issuer": "certify",
    "organisation": "change keys",
}


def _state(one: governed_views.KeyOfOrganisation) -> Text:
    if one.compromised_since is not None:
        return Text(f"compromised since {one.compromised_since:,}", style="bold red")
    if one.until is not None:
        return Text(f"ended at {one.until:,}", style="dim")
    until = f" until {utc(one.until_ms)[:16]}" if one.until_ms is not None else ""
    return Text(f"in force{until}" if one.is_in_force else f"over{until}", style="green" if one.is_in_force else "dim")


@issuer.command("add")
def add(
    admission: Admitted,
    label: Annotated[str, option("What it is for, shown wherever it certified.", "TEXT")] = "",
    until: Annotated[int | None, option("It certifies no more from then on.", "TIME", parser=moment_ms)] = None,
    *,
    key: SignWith = None,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
) -> None:
    """Add an issuer key to the own organisation: it certifies at once.

    Whoever has that key signs first: tallystick key admit ID --ledger LEDGER.

    Example: tallystick issuer add 'uni-a:5f0c…:93ab…' --label 'Registry' --until 2027-12-31
    """
    if until is not None and until <= now_ms():
        raise typer.BadParameter(f"--until is {utc(until)}, which is over: the key would be spent and certify nothing")
    with options.open_node(data, wallet=options.wallet_in(key, passphrase_file, no_passphrase)) as client:
        found = read_admission(admission, client.ledger_id)
        change = d.AddIssuer(found.organisation, found.key, label, until, found.signature)
        outcome = decide(client, client.change_keys(change, timeout_s=0))
    what = f" certifies for {found.organisation}{f' ({label})' if label else ''}"
    say(marked("✓", f"{found.key[:SHORT_ID]}…", f"{what}: block {outcome.block_index or 0:,}"))
    hint("It certifies with: tallystick certify FILE --key KEYFILE, or from a node of its own")


@issuer.command("withdraw")
def withdraw(
    which: Annotated[str, argument("KEY", "How the issuer key begins.")],
    compromised_since: Since = None,
    *,
    by_motion: Annotated[
        bool, flag("--by-motion", "All members decide, as the organisation is gone whose key was compromised.")
    ] = False,
    days: Days = DAYS,
    key: SignWith = None,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    yes: Yes = False,
) -> None:
    """End an issuer key of the own organisation, for good. What it certified stays valid, unless the key was stolen.

    With --compromised-since all that it certified from that log index on is void, at once: tallystick show log tells
    the indexes. What it revoked stays revoked: certify that anew.

    The keys of an organisation that was removed have ended; that one of them was compromised the others say by motion,
    of a member key, too.

    Examples:
      tallystick issuer withdraw 5f0c93ab
      tallystick issuer withdraw 5f0c93ab --compromised-since 1207
      tallystick issuer withdraw 5f0c93ab --compromised-since 1207 --by-motion
    """
    if by_motion:
        if compromised_since is None:
            raise typer.BadParameter("the keys of an organisation that is gone have ended: say --compromised-since")
        _move_compromised(which, compromised_since, days, data, yes=yes)
        return
    with options.open_node(data, wallet=options.wallet_in(key, passphrase_file, no_passphrase)) as client:
        one, found = _key_that_certifies(client, which)
        ending = found.key
        void = (
            ""
            if compromised_since is None
            else f", and what it certified from log index {compromised_since:,} on is void"
        )
        question = f"The key {ending[:SHORT_ID]}… of {one.title} certifies no more, for good{void}. End it?"
        confirm(question, is_said=yes)
        outcome = decide(client, client.change_keys(d.EndIssuer(ending, compromised_since), timeout_s=0))
    say(marked("✓", f"{ending[:SHORT_ID]}…", f" of {one.title} has ended{void}: block {outcome.block_index or 0:,}"))


def _move_compromised(which: str, since: int, days: int, data: Path | None, *, yes: bool) -> None:
    with options.open_node(data) as client:
        own_organisation(client)
        one, found = _key_that_certifies(client, which, ("issuer", "member"))
        question = f"What the key {found.key[:SHORT_ID]}… of {one.title} certified from log index {since:,} on is void."
        change = d.SetCompromised(found.key, found.compromised_since, since)
        move(client, change, days, data, question=question, yes=yes)


def _key_that_certifies(
    client: Client, which: str, roles: tuple[str, ...] = ("issuer",)
) -> tuple[governed_views.Organisation, governed_views.KeyOfOrganisation]:
    """The issuer key that begins so, and whose it is. Raises `NotThere`, `Ambiguous`."""
    if len(which) < _FEWEST_DIGITS:
        raise typer.BadParameter(f"{which!r} is too short: give {_FEWEST_DIGITS} digits or more of the key")
    all_of_them = [client.organisation(one.id) for one in organisations(client)]
    begun = [(one, key) for one in all_of_them for key in one.keys if key.key.startswith(which.lower())]
    found = [(one, key) for one, key in begun if key.role in roles]
    if not found:
        for one, key in begun:
            if key.role in ("member", "voter"):
                instead = "tallystick member replace-key replaces it"
                raise NotThere(f"{which} is the member key of {one.title}, and no issuer key: {instead}")
        raise NotThere(f"no issuer key begins with {which}; tallystick issuer list tells them all")
    if len(found) > 1:
        raise Ambiguous(f"more than one issuer key begins with {which}; give more digits")
    return found[0]


# ---- what is taken back -----------------------------------------------------------------------------------------


def revoke(
    which: Annotated[str, argument("CERTIFICATE", "Its id, or how that begins; or the file.")],
    *,
    reason: Annotated[Reason, option("Why.")] = "unspecified",
    void: Annotated[bool, flag("--void", "It never was valid, instead of: from now on it is not.")] = False,
    why: Why = "",
    by_motion: ByMotion = False,
    days: Days = DAYS,
    key: SignWith = None,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    yes: Yes = False,
) -> None:
    """Take back what was certified: from now on it is not valid any more; or, with --void, it never was.

    Any key of the organisation that certified it may. The certificate stays, and verify says since when it is not
    valid, and why. There is no way back but certifying anew.

    Examples:
      tallystick revoke diploma.pdf --reason mistake
      tallystick revoke 5f0c93ab --void --reason fraud
    """
    effect: d.Effect = "void" if void else "revoked"
    told_reason = cast(d.Reason, reason.replace("-", "_"))
    wallet = options.wallet_in(key, passphrase_file, no_passphrase)
    with options.open_node(data, wallet=wallet) as client:
        signer = _signer(client, wallet)
        one = _statement(client, which, signer)
        then = "will count as never valid" if void else "is not valid from now on"
        question = f"{_in_words(one)} {then}, for good."
        if by_motion:
            move(client, d.SetStatus(one.id, effect, told_reason), days, data, question=question, why=why, yes=yes)
            return
        _check_own(one, signer)
        confirm(f"{question} Revoke it?", is_said=yes)
        outcome = decide(client, client.revoke(one.id, effect, told_reason, words=why, timeout_s=0))
    became = "never was valid" if void else "is revoked"
    say(marked("✓", f"{one.summary or one.id[:SHORT_ID]}", f" {became}: block {outcome.block_index or 0:,}"))


def supersede(
    which: Annotated[str, argument("CERTIFICATE", "Its id, or how that begins; or the file.")],
    successor: Annotated[str, argument("SUCCESSOR", "What stands in its place: its id, or the file.")],
    *,
    why: Why = "",
    by_motion: ByMotion = False,
    days: Days = DAYS,
    key: SignWith = None,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    yes: Yes = False,
) -> None:
    """Put another certificate in a certificate's place: a diploma was corrected and certified anew.

    Both are of one organisation; by motion, of one that is gone and of any other. Whoever verifies the old file is told
    that another stands in its place.

    Example: tallystick supersede diploma.pdf corrected.pdf
    """
    wallet = options.wallet_in(key, passphrase_file, no_passphrase)
    with options.open_node(data, wallet=wallet) as client:
        signer = _signer(client, wallet)
        one, new = _statement(client, which, signer), _statement(client, successor, signer)
        if one.id == new.id:
            raise typer.BadParameter("a certificate does not stand in its own place")
        question = f"{_in_words(one)} gives way for good to {_in_words(new)}."
        if by_motion:
            change = d.SetStatus(one.id, "superseded", "unspecified", new.id)
            move(client, change, days, data, question=question, why=why, yes=yes)
            return
        _check_own(one, signer)
        _check_own(new, signer)
        confirm(f"{question} Supersede it?", is_said=yes)
        outcome = decide(client, client.supersede(one.id, new.id, words=why, timeout_s=0))
    told = f" is superseded by {new.id[:SHORT_ID]}…: block {outcome.block_index or 0:,}"
    say(marked("✓", one.summary or one.id[:SHORT_ID], told))


def _signer(client: Client, wallet: Wallet | None) -> views.Key:
    """The key that is to sign, and its organisation."""
    if wallet is None:
        return client.status().node
    key = wallet.public_key.hex()
    found = holder_of(client, key)
    return views.Key(key, None, *((found[0].id, found[0].title) if found else ()))


def holder_of(client: Client, key: str) -> tuple[governed_views.Organisation, governed_views.KeyOfOrganisation] | None:
    """The organisation that has the key, or had it; `None`: none has. Asks nobody on an open ledger."""
    if not client.ledger().has_directory:
        return None
    lines = sorted(organisations(client), key=lambda one: one.member_key != key)
    found = (client.organisation(one.id) for one in lines)
    return next(((one, entry) for one in found for entry in one.keys if entry.key == key), None)


def _check_own(one: views.Certificate, signer: views.Key) -> None:
    """Raise `RefusedInput` (R2) if another organisation certified it than the one whose key is to sign."""
    holder = one.issuer.organisation
    if one.issuer.key == signer.key or (holder is not None and holder == signer.organisation):
        return
    by, own = called(one.issuer), signer.title or f"the key {signer.key[:SHORT_ID]}…, of no organisation"
    then = "it alone takes that back, or, once it was removed, members do: tallystick revoke --by-motion"
    raise RefusedInput(Refused(Rule.R2, f"{by} certified {one.id[:SHORT_ID]}…, and not {own}: {then}"))


def _statement(client: Client, which: str, signer: views.Key) -> views.Certificate:
    """By its id, how that begins, or the file that it is of. Raises `NotThere`, `Ambiguous`, `Problem`."""
    if Path(which).is_file():
        return _statement_of(client, Path(which), signer)
    if not is_hex_digest(which.lower(), _SHORTEST_ID):
        raise typer.BadParameter(f"there is no file {which}, and an id is {_SHORTEST_ID} hexadecimal digits or more")
    one = client.certificate(which)
    if one.kind != "statement":
        kind = f"but of the kind {one.kind}: nothing to take back"
        raise Problem(f"certificate {one.id[:SHORT_ID]}… is no statement, {kind}")
    return one


def _statement_of(client: Client, file: Path, signer: views.Key) -> views.Certificate:
    """The statement of a file's very bytes; of several the signer's own, of those the one that is valid."""
    found = client.statements_of(describe_file(file))
    if not found:
        raise NotThere(f"no certificate whose payload is kept here covers {file}; give its id, if that was erased")
    if len(found) > 1:
        found = [one for one in found if one.issuer.organisation == signer.organisation] or found
        found = [one for one in found if _is_valid(one)] or found
    if len(found) > 1:
        ids = ", ".join(f"{one.id[:SHORT_ID]} ({one.validity.summary})" if one.validity else one.id for one in found)
        raise Ambiguous(f"{len(found)} certificates cover {file}: {ids}; give one of these ids")
    return found[0]


def _in_words(one: views.Certificate) -> str:
    """What it states, its id, by whom, and its status if it has one."""
    what = f"“{one.summary}”" if one.payload or one.subject else "the statement"
    status = f"; {one.validity.summary}" if one.validity and not _is_valid(one) else ""
    return f"{what} ({one.id[:SHORT_ID]}…, by {called(one.issuer)}{status})"


def _is_valid(one: views.Certificate) -> bool:
    return one.validity is None or one.validity.state == "valid"
