"""`tallystick show`: a ledger, or a part of it, as a running node or a chain's file has it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import typer
from msgspec import UNSET, to_builtins

from tallystick.api import views
from tallystick.api.questions import MOST_ITEMS, Search
from tallystick.cli.listing import PAGE, Cursor, Limit, fields, heading, show_certificates, table, tell_of_more
from tallystick.cli.options import AsJson, ChainFile, Data
from tallystick.cli.output import (
    Terminal,
    Text,
    error_boundary,
    help_text,
    hint,
    is_narrow,
    make_console,
    print_json,
    share_bar,
)
from tallystick.cli.source import WHERE, open_node, open_source
from tallystick.cli.words import CHECKED_AGAIN, called, lasting, many, utc
from tallystick.client.blocking import Client
from tallystick.problems import NotRunning
from tallystick.storage.file_statement import describe_file

HELP: Final = help_text(
    "Show a ledger, or a part of it: chain, blocks, block, certificate, log, stakes, member or peers.",
    WHERE,
    f"Lists come in pages of {PAGE}; it says with which command to go on.",
    "Examples:",
    "  tallystick show",
    "  tallystick show block 3",
    "  tallystick show certificate 5f0c93ab",
    "  tallystick show log --limit 100",
    "  tallystick show member Alice",
    "  tallystick show stakes --json",
)
SEARCH_HELP: Final = help_text(
    "Find certificates that match all that is named, the newest first.",
    "Words are those of subjects, and of the names and notes of files, whatever their case. A TIME is a day "
    "(2025-09-01, to its end for --until), a day and a time (2025-09-01T12:00, in UTC unless it says otherwise), or "
    "milliseconds since 1970.",
    WHERE,
    "Examples:",
    "  tallystick search diploma 2025",
    "  tallystick search --prefix delivery 47",
    "  tallystick search --issuer Alice --kind statement --since 2025-09-01",
    "  tallystick search --file report.pdf",
)
_SHARE_WIDTH: Final = 8
_MOST_CHARACTERS: Final = 255
_MOST_DIGITS: Final = 16
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


Part = Literal["chain", "blocks", "block", "certificate", "log", "stakes", "member", "peers"]

_NEEDS: Final = {
    "block": "an index: tallystick show block 3",
    "certificate": "an id: tallystick show certificate 5f0c93ab",
    "member": "a name or key: tallystick show member Alice",
}
_PAGES: Final = ("blocks", "log", "stakes", "peers")


def show(
    part: Annotated[Part, typer.Argument(metavar="PART", help="What to show.")] = "chain",
    which: Annotated[
        str | None,
        typer.Argument(
            metavar="WHICH",
            help="A block's index, how a certificate's id begins, a member's name or how its key begins.",
            show_default=False,
        ),
    ] = None,
    chain: ChainFile = None,
    data: Data = None,
    *,
    limit: Limit = None,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    with error_boundary():
        _check(part, which, pages=(limit, cursor) != (None, None))
        if part == "peers" and chain is not None:
            raise NotRunning("peers are what a running node has; start it with: tallystick run")
        with open_node(data) if part == "peers" else open_source(chain, data) as client:
            page = limit or (MOST_ITEMS if as_json else PAGE), None if cursor is None else str(cursor)
            asked = _Asked(which or "", page)
            view = _PARTS[part].ask(client, asked)
            if as_json:
                print_json(to_builtins(view))
                return
            _PARTS[part].show(make_console(), client, view)
            if part == "chain":
                part, view = "blocks", client.blocks(PAGE)
                _show_blocks(make_console(), client, view)
    following = getattr(view, "next", None)
    tell_of_more(["show", part], following, {"--limit": limit, "--chain": chain, "--data": data})


def _check(part: Part, which: str | None, *, pages: bool) -> None:
    if part in _NEEDS and which is None:
        raise typer.BadParameter(f"a {part} is named by {_NEEDS[part]}")
    if part not in _NEEDS and which is not None:
        raise typer.BadParameter(f"{which!r} is too much: {part} takes no index, id or name")
    if part == "block" and not (str(which).isascii() and str(which).isdecimal() and len(str(which)) < _MOST_DIGITS):
        raise typer.BadParameter(f"{which!r} is not a block's index: a whole number from 0 on")
    if part not in _PAGES and pages:
        raise typer.BadParameter(f"--limit and --cursor are for pages; {part} has none, {', '.join(_PAGES)} have")


class _Asked(NamedTuple):
    which: str
    page: tuple[int, str | None]


# ---- the parts, for people --------------------------------------------------------------------------------------


def _by(client: Client) -> str:
    return CHECKED_AGAIN if client.is_file else "as the running node has it"


def _show_chain(console: Terminal, client: Client, ledger: views.Ledger) -> None:
    heading(console, ledger.name, _by(client))
    burned = f", {ledger.burned:,} burned" if ledger.burned else ""
    told = {
        "ledger": ledger.ledger_id,
        "begun": utc(ledger.created_ms),
        "tip": f"{ledger.tip.index}  {ledger.tip.hash}",
        "log": many(ledger.log_size, "certificate"),
        "log root": ledger.log_root,
        "tokens": f"{ledger.total:,} in all, {ledger.total_staked:,} at stake{burned}",
    }
    fields(console, told)


def _show_blocks(console: Terminal, _: Client, told: views.Blocks) -> None:
    blocks = told.blocks
    columns: dict[str, Sequence[str | Text]] = {
        "#": [str(one.index) for one in blocks],
        "Epoch": [str(one.epoch) for one in blocks],
        "View": [str(one.view) for one in blocks],
        "Time (UTC)": [utc(one.timestamp_ms)[:19] for one in blocks],
        "Hash": [Text(f"{one.hash[:8]}…", style="cyan") for one in blocks],
        "Forged by": [Text(called(one.forger) if one.forger else "nobody", style="green") for one in blocks],
        "Final by": [_final_by(one) for one in blocks],
        "Certificates": [str(one.certificate_count) for one in blocks],
    }
    table(console, columns, left_out=("Epoch", "Hash"))


def _final_by(block: views.BlockLine) -> Text:
    if block.final_by == block.index:
        return Text("votes", style="cyan")
    return Text("·" if block.final_by is None else f"with {block.final_by}", style="dim")


def _show_block(console: Terminal, client: Client, block: views.Block) -> None:
    heading(console, f"Block {block.index}", f"{many(block.certificate_count, 'certificate')}; {_by(client)}")
    forger = block.forger
    told = {
        "hash": block.hash,
        "parent": block.parent_hash,
        "time": utc(block.timestamp_ms),
        "forger": _whole(forger) if forger else "nobody: it follows from the genesis",
        "epoch": str(block.epoch),
        "view": str(block.view),
        "covers": block.certificates_hash,
        "state root": block.state_root,
    }
    if (final := block.finality) is not None:
        votes = f"votes of {final.stake:,} of {final.total_stake:,} tokens: {', '.join(map(called, final.voters))}"
        later = f"; for block {final.by_block}, which builds on it"
        told["final by"] = votes + (later if final.by_block != block.index else "")
    fields(console, told)
    show_certificates(console, block.certificates)


def _whole(key: views.Key) -> str:
    return f"{key.name}  {key.key}" if key.name else key.key


def _show_certificate(console: Terminal, _: Client, one: views.Certificate) -> None:
    heading(console, one.kind.capitalize(), one.summary)
    place = one.place
    told = {
        "id": one.id,
        "issuer": _whole(one.issuer),
        "time": f"{utc(one.timestamp_ms)}, as its issuer says",
        "place": f"block {place.block_index}, position {place.position}; in the log: {place.log_index}",
        "forged": f"{utc(place.block_timestamp_ms)}, as the members voted",
        "signature": one.signature,
        "offender": _whole(one.offender) if one.offender else "",
        "payload hash": one.payload_hash or "none",
        "payload": _payload_words(one),
        "note": one.payload.file.note if one.payload and one.payload.file else "",
    }
    fields(console, told)


def _payload_words(one: views.Certificate) -> str:
    if one.payload is None:
        return "not kept here" if one.payload_hash else "none"
    if (file := one.payload.file) is not None:
        return f"the file {file.name}, {file.size_bytes:,} bytes, SHA-256 {file.sha256}"
    size = f"{one.payload.size_bytes:,} bytes of {one.payload.media_type}"
    return size if one.payload.text is None else one.payload.text


def _show_log(console: Terminal, _: Client, told: views.Certificates) -> None:
    show_certificates(console, told.certificates)


def _show_stakes(console: Terminal, client: Client, told: views.Members) -> None:
    ledger, members, dim = client.ledger(), told.members, "dim"
    burned = f", {ledger.burned:,} burned" if ledger.burned else ""
    heading(console, "Tokens", f"{ledger.total:,} in all, {ledger.total_staked:,} at stake{burned}")
    width = 0 if is_narrow(console) else _SHARE_WIDTH
    columns: dict[str, Sequence[str | Text]] = {
        "Member": [called(one.member) for one in members],
        "At stake": [f"{one.staked:,}" for one in members],
        "Share": [share_bar(one.staked, ledger.total_staked, "yellow", width) for one in members],
        "Unbonding": [_number(sum(part.amount for part in one.unbonding)) for one in members],
        "Free": [f"{one.free:,}" for one in members],
        "Votes with": [_number(one.votes_with) for one in members],
        "": [Text("burned", "bold red") if one.is_burned else Text("", dim) for one in members],
    }
    table(console, columns)


def _number(count: int) -> Text:
    return Text(f"{count:,}") if count else Text("·", style="dim")


def _member(client: Client, who: str) -> views.MemberAnswer:
    return views.MemberAnswer(account=client.member(client.key_of(who)))


def _show_member(console: Terminal, client: Client, told: views.MemberAnswer) -> None:
    account = told.account
    share = share_bar(account.staked, client.ledger().total_staked, "yellow", 0).plain.strip()
    heading(console, called(account.member), "")
    lines = {
        "key": account.member.key,
        "at stake": f"{account.staked:,} tokens, {share} of all",
        "free": f"{account.free:,} tokens",
        "unbonding": ", ".join(map(_free_from, account.unbonding)),
        "votes with": f"{account.votes_with:,} tokens in this epoch",
        "burned": "it contradicted itself: its key never holds stake again" if account.is_burned else "",
    }
    fields(console, lines)


def _free_from(one: views.Unbonding) -> str:
    where = f"epoch {one.free_from_epoch:,}, block {one.free_from_block:,} and {utc(one.free_from_ms)}"
    return f"{one.amount:,} tokens until {where}"


def _show_peers(console: Terminal, _: Client, told: views.Peers) -> None:
    peers, now_ms = told.peers, told.now_ms
    heading(console, "Peers", f"{sum(one.is_connected for one in peers)} of {len(peers)} here are connected")
    columns: dict[str, Sequence[str | Text]] = {
        "Peer": [called(one.peer) for one in peers],
        "Address": [one.address or "not known" for one in peers],
        "Votes with": [f"{one.votes_with:,}" if one.votes_with else Text("observer", "dim") for one in peers],
        "Tip": [f"{one.tip_index:,}" for one in peers],
        "Connected": [_connected(one, now_ms) for one in peers],
        "Last heard of": [f"{lasting(now_ms - one.last_heard_ms)} ago" if one.last_heard_ms else "·" for one in peers],
    }
    table(console, columns)
    for one in peers:
        if one.banned_until_ms is not None:
            left = f"banned for {lasting(one.banned_until_ms - now_ms)} more"
            said = f"  {left}: {called(one.peer)}: {one.banned_for}; to let it in: tallystick unban {one.peer.key[:16]}"
            console.print(Text(said, "red"), soft_wrap=True)


def _connected(one: views.Peer, now_ms: int) -> Text:
    if not one.is_connected:
        return Text("no", style="red")
    since_ms = one.connected_since_ms
    return Text("yes" if since_ms is None else f"for {lasting(now_ms - since_ms)}", style="green")


class _Shown(NamedTuple):
    ask: Callable[[Client, _Asked], views.View]
    show: Callable[[Terminal, Client, Any], None]


_PARTS: Final[Mapping[Part, _Shown]] = {
    "chain": _Shown(lambda client, _: client.ledger(), _show_chain),
    "blocks": _Shown(lambda client, asked: client.blocks(*asked.page), _show_blocks),
    "block": _Shown(lambda client, asked: client.block(int(asked.which)), _show_block),
    "certificate": _Shown(lambda client, asked: client.certificate(asked.which), _show_certificate),
    "log": _Shown(lambda client, asked: client.log(*asked.page), _show_log),
    "stakes": _Shown(lambda client, asked: client.members(*asked.page), _show_stakes),
    "member": _Shown(
        lambda client, asked: views.MemberAnswer(account=client.member(client.key_of(asked.which))), _show_member
    ),
    "peers": _Shown(lambda client, asked: client.peers(*asked.page), _show_peers),
}


# ---- search -----------------------------------------------------------------------------------------------------


def _moment_ms(text: str, *, is_end: bool = False) -> int:
    if text.isascii() and text.isdecimal() and len(text) < _MOST_DIGITS:
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
    return _moment_ms(text, is_end=True)


def _digest(text: str) -> str:
    if len(text) != 64 or not set(text.lower()) <= set("0123456789abcdef"):
        raise typer.BadParameter(f"{text!r} is no SHA-256: 64 hexadecimal digits")
    return text.lower()


def _option(metavar: str | None, said: str, parser: Callable[[str], Any] | None = None) -> Any:
    return typer.Option(metavar=metavar, help=said, parser=parser, show_default=False)


def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORDS", help="Of the subject, a file's name or its note.", show_default=False),
    ] = None,
    *,
    prefix: Annotated[bool, typer.Option("--prefix", help="The last word may go on.")] = False,
    issuer: Annotated[str | None, _option("WHO", "A name, or how an account's key begins.")] = None,
    kind: Annotated[Literal["statement", "stake", "evidence"] | None, _option(None, "Of the certificate.")] = None,
    media_type: Annotated[str | None, _option("TYPE", "Of the payload.")] = None,
    file: Annotated[Path | None, _option("FILE", "Certificates of its bytes.")] = None,
    sha256: Annotated[str | None, _option("HEX", "Certificates of bytes with this hash.", _digest)] = None,
    since: Annotated[int | None, _option("TIME", "In blocks from then on.", _moment_ms)] = None,
    until: Annotated[int | None, _option("TIME", "In blocks up to then.", _end_ms)] = None,
    chain: ChainFile = None,
    data: Data = None,
    limit: Limit = None,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    text = " ".join(words or ())
    if file is not None and sha256 is not None:
        raise typer.BadParameter("--file and --sha256 exclude each other")
    if max(len(text), len(media_type or "")) > _MOST_CHARACTERS:
        raise typer.BadParameter(f"more than {_MOST_CHARACTERS} characters are looked for; name fewer words")
    with error_boundary():
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
                limit=limit or (MOST_ITEMS if as_json else PAGE),
                cursor=cursor,
            )
            found, size = client.search(question), client.ledger().log_size
    if as_json:
        print_json(to_builtins(found))
        return
    show_certificates(make_console(), found.certificates)
    if not found.certificates:
        hint("Nothing matches. All words have to be there; --prefix takes the beginning of the last one")
    if found.indexed is not UNSET and found.indexed < size:
        hint(f"The index has {found.indexed:,} of {many(size, 'certificate')} so far; search again for later ones")
    asked: dict[str, object] = {"--prefix": prefix or None, "--issuer": issuer, "--kind": kind}
    asked |= {"--media-type": media_type, "--file": file, "--sha256": sha256, "--since": since, "--until": until}
    argument = [f" {text}" if text.startswith("-") else text] if text else []
    tell_of_more(["search", *argument], found.next, {**asked, "--limit": limit, "--chain": chain, "--data": data})
