"""`tallystick trust`: the ledgers whose proofs count for this user."""

from pathlib import Path
from typing import Annotated, Final, NamedTuple

from tallystick.api.proof_views import TrustChanged, TrustedLedger, TrustedLedgers, TrustRemoved
from tallystick.api.proven import trusted_view
from tallystick.api.words import SHORT_ID
from tallystick.cli.options import Data, Trust, Yes, argument, group, node_folder, option, trust_store
from tallystick.cli.output import confirm, field, give, hint, marked, say, say_fields, say_heading, say_table, warn
from tallystick.cli.words import many, utc
from tallystick.client.proof_files import PROOF, is_proof, read_proof
from tallystick.client.verdicts import own_node
from tallystick.host import trust as kept
from tallystick.host.clock import now_ms
from tallystick.host.text import is_hex_digest
from tallystick.host.trust import TrustStore, named_ledger
from tallystick.ledger.errors import Refused
from tallystick.ledger.genesis import Genesis, decode_genesis
from tallystick.ledger.params import MAX_GENESIS_BYTES
from tallystick.problems import BadRequest, UnreadableFile

trust = group(
    """The ledgers that you trust: proofs of others are not verified.

    Get a ledger's id from one of its members, on another way than with a proof: whoever hands you a file may have
    founded the ledger in it, under any name.

    Example: tallystick trust add LEDGER-ID --name universities
    """
)


_MOST_NAME: Final = 255
"""Characters of a file's name that are kept."""


class _Named(NamedTuple):
    ledger_id: bytes
    genesis: Genesis | None
    how: str


@trust.command()
def add(
    what: Annotated[str, argument("LEDGER-ID|FILE", "All 64 digits of a ledger's id, or a file: genesis or proof.")],
    *,
    name: Annotated[str | None, option("What to call it here.", "NAME", show_default="its short name")] = None,
    yes: Yes = False,
    trust: Trust = None,
) -> None:
    """Trust a ledger, by its id, its genesis, or a proof of it, whose id you compare with what a member told you.

    Examples:
      tallystick trust add 41d2a0fb5fa0c1e7…(64 digits) --name universities
      tallystick trust add report.pdf.tlog-proof
    """
    store, named = trust_store(trust), _named(what)
    called = named_ledger(named.ledger_id, named.genesis, name)
    if not is_hex_digest(what.lower()):
        if named.genesis is not None:
            say_fields({"claims to be": named.genesis.name, "ledger id": named.ledger_id.hex(), "as": named.how})
        hint("Compare the whole id with one that you have from its members, on another way than with this file.")
        confirm(f"Trust the ledger {named.ledger_id.hex()}?", is_said=yes)
    encoded = named.genesis.encoded if named.genesis is not None else None
    added = store.add(kept.TrustedLedger(called, named.ledger_id, now_ms(), named.how, encoded))
    give(TrustChanged(ledger=_view(store, added)))
    if name is not None and added.name != name:
        warn(f"it was trusted before, as {added.name}, and still is; to rename it, remove it first")
    say(marked("✓", added.name, f" is trusted: {added.ledger_id.hex()}"))
    if found := store.conflicts(added.ledger_id):
        warn(f"{many(len(found), 'other history')} of it was seen before; tallystick trust show {added.name}")


@trust.command("list")
def list_(trust: Trust = None, data: Data = None) -> None:
    """List the ledgers that you trust.

    Example: tallystick trust list
    """
    store, own = trust_store(trust), own_node(node_folder(data)).ledger_id
    found = store.read_all()
    lines = [_view(store, one) for one in found.ledgers]
    told = TrustedLedgers(
        folder=str(store.path),
        ledgers=lines,
        damaged=[str(one) for one in found.damaged],
        own_ledger=own.hex() if own else None,
    )
    give(told)
    for path in told.damaged:
        warn(f"{path} is damaged: the ledger in it is not trusted until it is restored from a copy")
    say_table(
        lines,
        {
            "Name": lambda one: one.name,
            "Ledger id": lambda one: f"{one.ledger_id[:SHORT_ID]}…",
            "Calls itself": lambda one: one.title or "",
            "Newest block": _newest,
            "": lambda one: f"! {many(len(one.conflicts), 'conflict')}" if one.conflicts else "",
        },
        left_out=("Calls itself",),
    )
    if told.own_ledger is not None:
        say(f"The ledger of your own node is trusted, too: {told.own_ledger}")
    elif not lines:
        say("No ledger is trusted: proofs are not verified. Trust one with: tallystick trust add LEDGER-ID")


@trust.command()
def show(
    name: Annotated[str, argument("NAME", "What it is called here, or its id (16 digits or more).")],
    trust: Trust = None,
) -> None:
    """Show what is known of a trusted ledger.

    Example: tallystick trust show universities
    """
    store = trust_store(trust)
    one = store.get(store.id_of(name))
    assert one is not None, "its file is there"
    view = _view(store, one)
    give(TrustChanged(ledger=view))
    say_heading(view.name, view.ledger_id)
    blocks = ", ".join(f"{index:,}" for index in view.verified_blocks[:-1])
    say_fields(
        {
            "calls itself": view.title or "not seen yet",
            "added": f"{utc(view.added_ms)}, by {view.added_from}",
            "newest block": _newest(view) or "none was verified yet",
            "its hash": view.newest_hash or "",
            "before that": blocks,
            "folder": str(store.path),
        }
    )
    for conflict in view.conflicts:
        say(field("!", f"{utc(conflict.seen_ms)}: another history: {conflict.reason}; {conflict.folder}", "bold red"))


@trust.command()
def remove(
    name: Annotated[str, argument("NAME", "What it is called here, or its id (16 digits or more).")],
    *,
    yes: Yes = False,
    trust: Trust = None,
) -> None:
    """Trust a ledger no more, and forget which of its blocks were verified. Evidence of other histories stays.

    Example: tallystick trust remove universities
    """
    store = trust_store(trust)
    ledger_id = store.id_of(name)
    confirm(f"Trust {name} no more, and forget what was verified of it?", is_said=yes)
    store.remove(ledger_id)
    give(TrustRemoved(ledger_id=ledger_id.hex()))
    say(marked("✓", name, f" is trusted no more: {ledger_id.hex()}"))


def _named(what: str) -> _Named:
    """What was named. Raises `UnreadableFile`, `BadRequest`, `Refused`."""
    if is_hex_digest(what.lower()):
        return _Named(bytes.fromhex(what.lower()), None, "its id")
    path = Path(what)
    if not path.exists():
        if is_hex_digest(what.lower(), SHORT_ID):
            raise BadRequest("a ledger is trusted by all 64 digits of its id: others can found one whose id begins so")
        raise UnreadableFile(f"there is no file {what}, and it is no ledger's id: 64 hexadecimal digits")
    if is_proof(path):
        return _Named((genesis := read_proof(path).bundle.extra.genesis).ledger_id, genesis, _how("proof", path))
    try:
        with path.open("rb") as file:
            data = file.read(MAX_GENESIS_BYTES + 1)
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}; name a genesis or a proof") from None
    try:
        genesis = decode_genesis(data)
    except Refused as refused:
        beside = f"; its proof may be {path.name}{PROOF}" if not path.name.endswith(PROOF) else ""
        raise BadRequest(f"{path} is neither a proof nor a genesis ({refused.reason}){beside}") from None
    return _Named(genesis.ledger_id, genesis, _how("genesis", path))


def _how(what: str, path: Path) -> str:
    """What was named, as text: bytes of a file's name that are none are written out, which makes it longer."""
    name = path.name.encode("utf-8", "backslashreplace").decode()
    return f"the {what} {name if len(name) <= _MOST_NAME else name[:_MOST_NAME] + '…'}"


def _view(store: TrustStore, one: kept.TrustedLedger) -> TrustedLedger:
    return trusted_view(one, store.conflicts(one.ledger_id))


def _newest(one: TrustedLedger) -> str:
    return f"{one.newest_block:,}, {utc(one.newest_ms or 0)}" if one.newest_block is not None else ""
