"""`tallystick trust`: the ledgers whose proofs count for this user."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, NamedTuple

from tallystick.api.proof_views import (
    AuthorityCertificate,
    AuthorityTrusted,
    TrustChanged,
    TrustedAuthority,
    TrustedLedger,
    TrustedLedgers,
    TrustRemoved,
)
from tallystick.api.proven import trusted_view
from tallystick.api.words import SHORT_ID
from tallystick.cli.options import Data, Trust, Yes, argument, group, node_folder, option, trust_store
from tallystick.cli.output import confirm, field, give, hint, marked, say, say_fields, say_heading, say_table, warn
from tallystick.cli.words import many, utc
from tallystick.client.own_node import own_node
from tallystick.client.proof_files import PROOF, is_proof, read_proof
from tallystick.client.time_stamps import NamedCertificate, certificates_in, is_available
from tallystick.host import trust as kept
from tallystick.host.authorities import MAX_PEM_BYTES, Authorities
from tallystick.host.clock import now_ms
from tallystick.host.own_files import TrustError
from tallystick.host.seen_logs import SeenLogs
from tallystick.host.text import is_hex_digest
from tallystick.host.trust import SAFE_NAME, TrustStore, is_safe_name, named_ledger
from tallystick.ledger.errors import Refused
from tallystick.ledger.genesis import Genesis, decode_genesis
from tallystick.ledger.params import MAX_GENESIS_BYTES
from tallystick.problems import BadRequest, UnreadableFile
from tallystick.storage.described_files import read_bounded

trust = group(
    """The ledgers that you trust: proofs of others are not verified. And the authorities whose time stamps count.

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
    if called in Authorities(store.path).names():
        raise TrustError(f"a time stamping authority is called {called}; choose another local name with --name")
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
    if count := _conflicts(_view(store, added)):
        warn(f"{many(count, 'conflict')} with other histories of it seen before; tallystick trust show {added.name}")


@trust.command("add-tsa")
def add_tsa(
    file: Annotated[Path, argument("FILE.pem", "The authority's root, and what else of its chain it does not send.")],
    *,
    name: Annotated[str | None, option("What to call it here.", "NAME", show_default="the file's name")] = None,
    yes: Yes = False,
    trust: Trust = None,
) -> None:
    """Trust a time stamping authority (RFC 3161), by its root certificate in PEM: its time stamps beside proofs count.

    Get the root from the authority, and compare its fingerprint with what the authority publishes. A token says nothing
    about whom to trust: whoever hands you a file may have made both.

    Example: tallystick trust add-tsa freetsa-root.pem --name freetsa
    """
    store, pem = trust_store(trust), _read_pem(file)
    called = name if name is not None else file.stem.lower()
    if not is_safe_name(called):
        raise BadRequest(f"{called!r} is no local name: {SAFE_NAME}; choose one with --name")
    if any(one.name == called for one in store.read_all().ledgers):
        raise TrustError(f"a ledger that you trust is called {called}; choose another local name with --name")
    view = _authority(store, called, certificates_in(pem))
    for one in view.certificates:
        say_fields(_certificate_fields(one))
    confirm(f"Trust time stamps under {many(sum(one.is_root for one in view.certificates), 'root')}?", is_said=yes)
    Authorities(store.path).add(called, pem)
    give(AuthorityTrusted(authority=view))
    say(marked("✓", called, " is trusted for time stamps"))


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
        authorities=[_kept_authority(store, name) for name in Authorities(store.path).names()],
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
            "": lambda one: f"! {many(_conflicts(one), 'conflict')}" if _conflicts(one) else "",
        },
        left_out=("Calls itself",),
    )
    if told.authorities:
        say(f"For time stamps: {', '.join(one.name for one in told.authorities)}")
    if told.own_ledger is not None:
        say(f"The ledger of your own node is trusted, too: {told.own_ledger}")
    elif not lines:
        say("No ledger is trusted: proofs are not verified. Trust one with: tallystick trust add LEDGER-ID")


@trust.command()
def show(
    name: Annotated[str, argument("NAME", "What it is called here, or its id (16 digits or more).")],
    trust: Trust = None,
) -> None:
    """Show what is known of a trusted ledger, or of a time stamping authority.

    Example: tallystick trust show universities
    """
    store = trust_store(trust)
    if name in Authorities(store.path).names():
        _show_authority(_kept_authority(store, name))
        return
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
    for path in view.conflicting_checkpoints:
        say(field("!", f"an audit kept two checkpoints of its log that conflict: tallystick verify {path}", "bold red"))


@trust.command()
def remove(
    name: Annotated[str, argument("NAME", "What it is called here, or its id (16 digits or more).")],
    *,
    yes: Yes = False,
    trust: Trust = None,
) -> None:
    """Trust a ledger no more, and forget which of its blocks were verified. Evidence of other histories stays.

    Or trust a time stamping authority no more.

    Example: tallystick trust remove universities
    """
    store = trust_store(trust)
    if name in Authorities(store.path).names():
        confirm(f"Trust time stamps of {name} no more?", is_said=yes)
        Authorities(store.path).remove(name)
        give(TrustRemoved(ledger_id=None, authority=name))
        say(marked("✓", name, " is trusted for time stamps no more"))
        return
    ledger_id = store.id_of(name)
    confirm(f"Trust {name} no more, and forget what was verified of it?", is_said=yes)
    store.remove(ledger_id)
    give(TrustRemoved(ledger_id=ledger_id.hex(), authority=None))
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


def _read_pem(path: Path) -> bytes:
    """What is in a file of certificates. Raises `UnreadableFile`, `BadRequest`."""
    pem = read_bounded(path, MAX_PEM_BYTES)
    if pem is None:
        raise UnreadableFile(f"there is no file {path}; name one with the authority's root certificate in PEM")
    if len(pem) > MAX_PEM_BYTES:
        raise BadRequest(f"{path} has more than {MAX_PEM_BYTES:,} bytes; name the certificates of one authority")
    return pem


def _kept_authority(store: TrustStore, name: str) -> TrustedAuthority:
    """One that is trusted; without the library for it, its name and file. Raises `Problem`."""
    pem = Authorities(store.path).get(name)
    return _authority(store, name, certificates_in(pem) if is_available() else [])


def _authority(store: TrustStore, name: str, certificates: Iterable[NamedCertificate]) -> TrustedAuthority:
    return TrustedAuthority(
        name=name,
        file=str(Authorities(store.path).path / f"{name}.pem"),
        certificates=[AuthorityCertificate(**one._asdict()) for one in certificates],
    )


def _show_authority(one: TrustedAuthority) -> None:
    give(AuthorityTrusted(authority=one))
    say_heading(one.name, "a time stamping authority")
    for certificate in one.certificates:
        say_fields(_certificate_fields(certificate))
    say_fields({"file": one.file})
    if not one.certificates:
        hint("To read its certificates, and to verify time stamps, install tallystick[tsa].")


def _certificate_fields(one: AuthorityCertificate) -> dict[str, str]:
    return {"root" if one.is_root else "further": one.subject, "SHA-256": one.sha256, "valid until": utc(one.ends_ms)}


def _how(what: str, path: Path) -> str:
    """What was named, as text: bytes of a file's name that are none are written out, which makes it longer."""
    name = path.name.encode("utf-8", "backslashreplace").decode()
    return f"the {what} {name if len(name) <= _MOST_NAME else name[:_MOST_NAME] + '…'}"


def _view(store: TrustStore, one: kept.TrustedLedger) -> TrustedLedger:
    return trusted_view(one, store.conflicts(one.ledger_id), SeenLogs(store.path).conflicts(one.ledger_id))


def _conflicts(one: TrustedLedger) -> int:
    return len(one.conflicts) + len(one.conflicting_checkpoints)


def _newest(one: TrustedLedger) -> str:
    return f"{one.newest_block:,}, {utc(one.newest_ms or 0)}" if one.newest_block is not None else ""
