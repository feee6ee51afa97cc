"""`tallystick show` and `tallystick search`: a ledger, or a part of it, as a running node or a chain's file has it."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import typer
from msgspec import UNSET

from tallystick.api import views
from tallystick.api.questions import MOST_ITEMS, Search
from tallystick.cli.options import ChainFile, Data, argument, flag, node_folder, open_node, open_source, option
from tallystick.cli.output import (
    Columns,
    Text,
    field,
    give,
    hint,
    is_json,
    number,
    say,
    say_fields,
    say_heading,
    say_table,
    share_bar,
)
from tallystick.cli.words import (
    CHECKED_AGAIN,
    IN_NO_ORGANISATION,
    ago,
    called,
    continued,
    erasure_fields,
    lasting,
    many,
    utc,
    validity,
    votes,
    whole,
)
from tallystick.client.blocking import Client
from tallystick.host.text import is_hex_digest
from tallystick.ledger.fields import MAX_INDEX
from tallystick.problems import NotRunning
from tallystick.storage.described_files import describe_file

PAGE: Final = 20
_MOST_CHARACTERS: Final = 255
_MOST_DIGITS: Final = 16
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Part = Literal["chain", "blocks", "block", "certificate", "log", "stakes", "member", "peers"]
_Kind = Literal[
    "statement",
    "stake",
    "evidence",
    "motion",
    "approval",
    "objection",
    "key_change",
    "revocation",
    "supersession",
]
Limit = Annotated[int | None, option("At most so many lines.", min=1, max=MOST_ITEMS, show_default=str(PAGE))]
Cursor = Annotated[int | None, option("Where the page before ended.", "NEXT", min=0, max=MAX_INDEX)]
_WHICH_HELP: Final = "A block's index, how a certificate's id begins, a member's name or how its key begins."


def show(
    part: Annotated[Part, argument("PART", "What to show.")] = "chain",
    which: Annotated[str | None, argument("WHICH", _WHICH_HELP)] = None,
    chain: ChainFile = None,
    data: Data = None,
    *,
    limit: Limit = None,
    cursor: Cursor = None,
) -> None:
    """Show a ledger, or a part of it: chain, blocks, block, certificate, log, stakes, member or peers.

    Lists come in pages; it says with which command to go on.

    Examples:
      tallystick show
      tallystick show block 3
      tallystick show certificate 5f0c93ab
      tallystick show log --limit 100
      tallystick show member Alice
      tallystick show stakes --json
    """
    shown = _PARTS[part]
    _check(part, shown, which, is_paged=(limit, cursor) != (None, None))
    if part == "peers" and chain is not None:
        raise NotRunning("peers are what a running node has; start it with: tallystick run")
    with open_node(data) if part == "peers" else open_source(chain, data) as client:
        page = limit or (MOST_ITEMS if is_json() else PAGE), None if cursor is None else str(cursor)
        view = shown.ask(client, *(page if shown.has_pages else () if which is None else (which,)))
        give(view)
        if is_json():
            return
        shown.tell(client, view)
        if part == "chain":
            part, view = "blocks", client.blocks(PAGE)
            _PARTS[part].tell(client, view)
    tell_of_more(["show", part], getattr(view, "next", None), again(limit, chain, data))


def _check(part: Part, shown: "_Shown", which: str | None, *, is_paged: bool) -> None:
    if shown.named_by and which is None:
        raise typer.BadParameter(f"a {part} is named by {shown.named_by}")
    if not shown.named_by and which is not None:
        raise typer.BadParameter(f"{which!r} is too much: {part} takes no index, id or name")
    if part == "block" and not _is_number(which or ""):
        raise typer.BadParameter(f"{which!r} is not a block's index: a whole number from 0 on")
    if is_paged and not shown.has_pages:
        pages = ", ".join(name for name, one in _PARTS.items() if one.has_pages)
        raise typer.BadParameter(f"--limit and --cursor are for pages; {part} has none, {pages} have")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < _MOST_DIGITS


def again(limit: int | None, chain: Path | None, data: Path | None) -> dict[str, object]:
    """The options with which a command looks at the same again."""
    return {"--limit": limit, "--chain": chain, "--data": data and node_folder(data).path}


def tell_of_more(command: Sequence[str], following: str | None, options: Mapping[str, object]) -> None:
    """Say that there is another page, and with which command it is shown."""
    if following is None:
        return
    words = ["tallystick", *command]
    for name, value in {**options, "--cursor": following}.items():
        if value is not None:
            words += [name] if value is True else [name, str(value)]
    hint(f"There is more: {shlex.join(words)}")


# ---- the parts, for people --------------------------------------------------------------------------------------


def _tell_blocks(client: Client, told: views.Blocks) -> None:
    columns: Columns[views.BlockLine] = {
        "#": lambda one: str(one.index),
        "Epoch": lambda one: str(one.epoch),
        "View": lambda one: str(one.view),
        "Time (UTC)": lambda one: utc(one.timestamp_ms)[:19],
        "Hash": lambda one: Text(f"{one.hash[:8]}…", style="cyan"),
        "Forged by": lambda one: Text(called(one.forger) if one.forger else "nobody", style="green"),
        "Final by": _final_by,
        "Certificates": lambda one: str(one.certificate_count),
    }
    say_table(told.blocks, columns, left_out=("Epoch", "Hash"))


def _final_by(block: views.BlockLine) -> Text:
    if block.final_by == block.index:
        return Text("votes", style="cyan")
    return Text("·" if block.final_by is None else f"with {block.final_by}", style="dim")


def _tell_certificates(_: Client, told: views.Certificates | views.Block) -> None:
    columns: Columns[views.CertificateLine] = {
        "#": lambda one: f"{one.place.log_index:,}",
        "Certificate": lambda one: Text(f"{one.id[:12]}…", style="cyan"),
        "Kind": lambda one: one.kind,
        "Issuer": _issuer,
        "Says": lambda one: one.summary or "(no subject)",
        "Time (UTC)": lambda one: utc(one.place.block_timestamp_ms)[:19],
    }
    say_table(told.certificates, columns, left_out=("Kind", "Issuer"))


def _issuer(one: views.CertificateLine) -> Text:
    """Loudly, if it is in no organisation of a ledger that has some."""
    return (
        Text(f"! {called(one.issuer)}, in no organisation", "bold red")
        if one.is_listed is False
        else Text(called(one.issuer))
    )


def _by(client: Client) -> str:
    return CHECKED_AGAIN if client.is_file else "as the running node has it"


def _tokens(ledger: views.Ledger) -> str:
    burned = f", {ledger.burned:,} burned" if ledger.burned else ""
    return f"{ledger.total:,} in all, {ledger.total_staked:,} at stake{burned}"


def _tell_chain(client: Client, ledger: views.Ledger) -> None:
    say_heading(ledger.name, _by(client))
    if ledger.continues is not None:
        say(field("!", continued(ledger.continues), "bold yellow"))
    fields = {
        "ledger": ledger.ledger_id,
        "begun": utc(ledger.created_ms),
        "tip": f"{ledger.tip.index}  {ledger.tip.hash}",
        "log": many(ledger.log_size, "certificate"),
        "log root": ledger.log_root,
        "tokens": _tokens(ledger),
    }
    say_fields(fields)


def _tell_block(client: Client, block: views.Block) -> None:
    say_heading(f"Block {block.index}", f"{many(block.certificate_count, 'certificate')}; {_by(client)}")
    voters = ", ".join(map(called, block.finality.voters)) if block.finality else ""
    fields = {
        "hash": block.hash,
        "parent": block.parent_hash,
        "time": utc(block.timestamp_ms),
        "forger": whole(block.forger) if block.forger else "nobody: it follows from the genesis",
        "epoch": str(block.epoch),
        "view": str(block.view),
        "covers": block.certificates_hash,
        "state root": block.state_root,
        "final by": f"{votes(block.finality, block.index)}: {voters}" if block.finality else "",
    }
    say_fields(fields)
    _tell_certificates(client, block)


def _tell_certificate(_: Client, one: views.Certificate) -> None:
    say_heading(one.kind.replace("_", " ").capitalize(), one.summary or "(no subject)")
    place = one.place
    fields = {
        "id": one.id,
        "issuer": whole(one.issuer),
        "validity": validity(one.validity) if one.validity else "",
        "time": f"{utc(one.timestamp_ms)}, as its issuer says" if one.kind != "erasure_confirmation" else "",
        "place": f"block {place.block_index}, position {place.position}; in the log: {place.log_index}",
        "forged": f"{utc(place.block_timestamp_ms)}, as the members voted",
        "signature": one.signature,
        "offender": whole(one.offender) if one.offender else "",
        "payload hash": one.payload_hash or "none",
        "payload": _payload_words(one),
        "why": one.payload.subject if one.payload and one.kind != "statement" else "",
        "note": one.payload.file.note if one.payload and one.payload.file else "",
    }
    if one.is_listed is False:
        say(field("!", IN_NO_ORGANISATION, "bold red"))
    say_fields(fields | (erasure_fields(one.erasure) if one.erasure else {}))


def _payload_words(one: views.Certificate) -> str:
    if one.payload is None:
        kept = "not kept here: it was erased" if one.is_erased else "not kept here"
        return kept if one.payload_hash else "none"
    if (file := one.payload.file) is not None:
        return f"the file {file.name}, {file.size_bytes:,} bytes, SHA-256 {file.sha256}"
    if not one.payload.media_type:
        return "words alone"
    size = f"{one.payload.size_bytes:,} bytes of {one.payload.media_type}"
    return size if one.payload.text is None else one.payload.text


def _tell_stakes(client: Client, told: views.Members) -> None:
    ledger = client.ledger()
    columns: Columns[views.Member] = {
        "Member": lambda one: called(one.member),
        "At stake": lambda one: f"{one.staked:,}",
        "Share": lambda one: share_bar(one.staked, ledger.total_staked, "yellow"),
        "Unbonding": lambda one: number(sum(part.amount for part in one.unbonding)),
        "Free": lambda one: f"{one.free:,}",
        "Votes with": lambda one: number(one.votes_with),
        "": lambda one: Text("burned" if one.is_burned else "", style="bold red"),
    }
    say_heading("Tokens", _tokens(ledger))
    say_table(told.members, columns)


def _member(client: Client, who: str) -> views.MemberAnswer:
    return views.MemberAnswer(account=client.member(client.key_of(who)))


def _tell_member(client: Client, told: views.MemberAnswer) -> None:
    account = told.account
    share = share_bar(account.staked, client.ledger().total_staked, "yellow", 0).plain.strip()
    say_heading(called(account.member))
    fields = {
        "key": account.member.key,
        "at stake": f"{account.staked:,} tokens, {share} of all",
        "free": f"{account.free:,} tokens",
        "unbonding": ", ".join(map(_free_from, account.unbonding)),
        "votes with": f"{account.votes_with:,} tokens in this epoch",
        "burned": "it contradicted itself: its key never holds stake again" if account.is_burned else "",
    }
    say_fields(fields)


def _free_from(one: views.Unbonding) -> str:
    where = f"epoch {one.free_from_epoch:,}, block {one.free_from_block:,} and {utc(one.free_from_ms)}"
    return f"{one.amount:,} tokens until {where}"


def _tell_peers(_: Client, told: views.Peers) -> None:
    now_ms = told.now_ms
    columns: Columns[views.Peer] = {
        "Peer": lambda one: called(one.peer),
        "Address": lambda one: one.address or "not known",
        "Votes with": lambda one: f"{one.votes_with:,}" if one.votes_with else Text("observer", "dim"),
        "Tip": lambda one: f"{one.tip_index:,}",
        "Connected": lambda one: _connected(one, now_ms),
        "Last heard of": lambda one: ago(now_ms, one.last_heard_ms) if one.last_heard_ms else "·",
    }
    say_heading("Peers", f"{sum(one.is_connected for one in told.peers)} of {len(told.peers)} here are connected")
    say_table(told.peers, columns)
    for one in told.peers:
        if one.banned_until_ms is not None:
            left = f"banned for {lasting(one.banned_until_ms - now_ms)} more"
            lifting = f"to let it in: tallystick unban {one.peer.key[:16]}"
            say(Text(f"  {left}: {called(one.peer)}: {one.banned_for}; {lifting}", "red"))


def _connected(one: views.Peer, now_ms: int) -> Text:
    if not one.is_connected:
        return Text("no", style="red")
    since_ms = one.connected_since_ms
    return Text("yes" if since_ms is None else f"for {lasting(now_ms - since_ms)}", style="green")


class _Shown(NamedTuple):
    """How a part is asked for, by its name or page, and told."""

    ask: Callable[..., views.View]
    tell: Callable[[Client, Any], None]
    named_by: str = ""
    has_pages: bool = False


_PARTS: Final[Mapping[Part, _Shown]] = {
    "chain": _Shown(Client.ledger, _tell_chain),
    "blocks": _Shown(Client.blocks, _tell_blocks, has_pages=True),
    "block": _Shown(lambda client, index: client.block(int(index)), _tell_block, "an index: tallystick show block 3"),
    "certificate": _Shown(Client.certificate, _tell_certificate, "an id: tallystick show certificate 5f0c93ab"),
    "log": _Shown(Client.log, _tell_certificates, has_pages=True),
    "stakes": _Shown(Client.members, _tell_stakes, has_pages=True),
    "member": _Shown(_member, _tell_member, "a name or key: tallystick show member Alice"),
    "peers": _Shown(Client.peers, _tell_peers, has_pages=True),
}


# ---- search -----------------------------------------------------------------------------------------------------


def moment_ms(text: str, *, is_end: bool = False) -> int:
    """A time as it is entered: a day, a day and a time, or milliseconds since 1970. Raises `typer.BadParameter`."""
    if _is_number(text):
        return int(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time: a day, a day and a time, or milliseconds since 1970") from None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    is_day = "T" not in text and ":" not in text
    end = timedelta(days=1, milliseconds=-1) if is_day and is_end else timedelta()
    return max(0, (when - _EPOCH + end) // timedelta(milliseconds=1))


def _end_ms(text: str) -> int:
    return moment_ms(text, is_end=True)


def _digest(text: str) -> str:
    if not is_hex_digest(text.lower()):
        raise typer.BadParameter(f"{text!r} is no SHA-256: 64 hexadecimal digits")
    return text.lower()


def search(
    words: Annotated[list[str] | None, argument("WORDS", "Of the subject, a file's name or its note.")] = None,
    *,
    prefix: Annotated[bool, flag("--prefix", "The last word may go on.")] = False,
    issuer: Annotated[str | None, option("An organisation, a name, or how an account's key begins.", "WHO")] = None,
    kind: Annotated[_Kind | None, option("Of the certificate.")] = None,
    media_type: Annotated[str | None, option("Of the payload.", "TYPE")] = None,
    file: Annotated[Path | None, option("Certificates of its bytes.", "FILE")] = None,
    sha256: Annotated[str | None, option("Certificates of bytes with this hash.", "HEX", parser=_digest)] = None,
    since: Annotated[int | None, option("In blocks from then on.", "TIME", parser=moment_ms)] = None,
    until: Annotated[int | None, option("In blocks up to then.", "TIME", parser=_end_ms)] = None,
    chain: ChainFile = None,
    data: Data = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> None:
    """Find certificates that match all that is named, the newest first.

    Words are those of subjects, and of the names and notes of files, whatever their case. A TIME is a day (2025-09-01,
    to its end for --until), a day and a time (2025-09-01T12:00, in UTC unless it says otherwise), or milliseconds
    since 1970.

    Examples:
      tallystick search diploma 2025
      tallystick search --prefix delivery 47
      tallystick search --issuer Alice --kind statement --since 2025-09-01
      tallystick search --file report.pdf
    """
    text = " ".join(words or ())
    if file is not None and sha256 is not None:
        raise typer.BadParameter("--file and --sha256 exclude each other")
    if max(len(text), len(media_type or "")) > _MOST_CHARACTERS:
        raise typer.BadParameter(f"more than {_MOST_CHARACTERS} characters are looked for; name fewer words")
    digest = describe_file(file).sha256.hex() if file is not None else sha256
    with open_source(chain, data) as client:
        question = Search(
            text=text,
            prefix=prefix,
            issuer=client.key_of(issuer) if issuer is not None else None,
            kind=kind,
            media_type=media_type,
            sha256=digest,
            since_ms=since,
            until_ms=until,
            limit=limit or (MOST_ITEMS if is_json() else PAGE),
            cursor=cursor,
        )
        found, size = client.search(question), client.ledger().log_size
    give(found)
    _tell_certificates(client, found)
    if not found.certificates and cursor is None:
        hint("Nothing matches. All words have to be there; --prefix takes the beginning of the last one")
    if found.indexed is not UNSET and found.indexed < size:
        hint(f"The index has {found.indexed:,} of {many(size, 'certificate')} so far; search again for later ones")
    asked: dict[str, object] = {"--prefix": prefix or None, "--issuer": issuer, "--kind": kind}
    asked |= {"--media-type": media_type, "--file": file, "--sha256": sha256, "--since": since, "--until": until}
    argument = [f" {text}" if text.startswith("-") else text] if text else []
    tell_of_more(["search", *argument], found.next, {**asked, **again(limit, chain, data)})
