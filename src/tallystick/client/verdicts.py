"""Whether files are certified: by whom, on which ledger, and what of that was checked here.

Whoever hands over a chain's file has chosen its ledger's name, its organisations and its names for keys. So a ledger
counts only if the person who verifies named its id, or has a node of it; organisations are told of such a ledger alone;
and names come from that node's address book alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from msgspec.structs import replace

from tallystick.api import questions as q
from tallystick.api import views
from tallystick.client.blocking import Client
from tallystick.client.doors import AnswerProblem
from tallystick.client.verification import Certified
from tallystick.host.data_folder import DataFolder
from tallystick.host.text import is_hex_digest
from tallystick.ledger.continuation import Continuation
from tallystick.ledger.file_statement import FILE_MEDIA_TYPE, FileStatement
from tallystick.problems import Ambiguous, NotAllowed, NotThere, StoreError
from tallystick.storage.store import Store

SHORTEST_ID: Final = 16
"""Hexadecimal digits: fewer can be found by trying."""
_MOST_NAMESAKES: Final = 20


class Known(NamedTuple):
    """What the person who verifies has from the own node: its ledger's id, and names by key."""

    ledger_id: bytes | None
    names: Mapping[bytes, str]
    continues: Continuation | None = None
    """What that ledger says of the one that it goes on from, as far as that counts: up to the block that it names."""


class Demand(NamedTuple):
    """Which certificates count."""

    ledger: str | None = None
    """How the ledger's id begins; `None`: the own node's ledger."""
    issuer: str | None = None
    """How the issuer's key begins; `None`: anybody's."""
    organisation: str | None = None
    """The id of the organisation whose certificates alone count; `None`: anybody's."""

    def is_met_by(self, issuer: views.Key) -> bool:
        """Whether certificates of this key count."""
        return issuer.key.startswith(self.issuer or "") and self.organisation in (None, issuer.organisation)


class Verdict(views.View, frozen=True, kw_only=True):
    """Whether a file is certified as was asked for."""

    name: str
    size_bytes: int
    sha256: str
    verifies: bool
    why_not: str | None
    certificates: list[Certified]
    """Of these very bytes; by the issuer that was named, if one was. Names are those of the own node's address book."""
    other_versions: list[str]
    """SHA-256 of files that are certified under the same name, with other bytes."""


class Verdicts(views.Answer, frozen=True, kw_only=True):
    """What `verify` found."""

    ledger: views.Ledger
    is_ledger_known: bool
    """Whether its id was named, or is the own node's, or that of the ledger which the own node's continues."""
    files: list[Verdict]


def known_in(folder: DataFolder) -> Known:
    """What a node's folder tells, whether it runs or not."""
    if folder.ledger_path.exists():
        with suppress(StoreError), Store.open(folder.ledger_path, read_only=True) as store:
            return Known(store.genesis.ledger_id, store.names(), store.genesis.continues)
    return Known(None, {})


def is_id_beginning(text: str) -> bool:
    """Whether this is an id or key in hexadecimal, or how one begins, long enough to mean only one."""
    return is_hex_digest(text, SHORTEST_ID)


def pick_issuer(who: str, known: Known) -> str:
    """How the issuer's key begins, by a name in the own node's address book or by itself.

    Raises `NotThere`, `Ambiguous`.
    """
    if is_id_beginning(who.lower()):
        return who.lower()
    keys = [key.hex() for key, name in known.names.items() if name == who]
    if not keys:
        told = f"your node's address book has nobody called {who}" if known.ledger_id else "you have no node here"
        raise NotThere(f"{told}: names count only from there; give the issuer's key, {SHORTEST_ID} digits or more")
    if len(keys) > 1:
        raise Ambiguous(f"{who} is what your node's address book calls {len(keys)} keys: {', '.join(keys)}; give one")
    return keys[0]


def make_demand(client: Client, known: Known, ledger: str | None, issuer: str | None) -> Demand:
    """What is asked for: `ledger` is how its id begins, `issuer` an organisation's id or name, a name or key.

    Organisations count only of a ledger that is known: anybody can found another with the same names.

    Raises `NotThere`, `Ambiguous`.
    """
    if issuer is None:
        return Demand(ledger)
    if _is_known(client, known, ledger) and not is_id_beginning(issuer.lower()) and client.ledger().has_directory:
        for one in client.organisations().organisations:
            if issuer in (one.id, one.title):
                return Demand(ledger, organisation=one.id)
    return Demand(ledger, pick_issuer(issuer, known))


def _is_known(client: Client, known: Known, ledger: str | None) -> bool:
    if ledger is None:
        return client.ledger_id == known.ledger_id or _last_continued(client, known) is not None
    return client.ledger_id.hex().startswith(ledger)


def _last_continued(client: Client, known: Known) -> int | None:
    """The last block that counts of a ledger which the own node's continues; `None`: this is none, or a fork of it.

    Whoever gets hold of its members' keys later can go on with it.
    """
    before = known.continues
    if before is None or client.ledger_id != before.ledger_id or client.ledger().tip.index < before.index:
        return None
    return before.index if client.block(before.index).hash == before.block_hash.hex() else None


def give_verdicts(
    client: Client, statements: Iterable[FileStatement], known: Known, demand: Demand, at_ms: int | None = None
) -> Verdicts:
    """Look the files up, and check what is told of them: whether they are valid, or were at a time.

    Raises `DamagedStore`, `Problem`.
    """
    ledger, is_known = client.ledger(), _is_known(client, known, demand.ledger)
    last = _last_continued(client, known) if demand.ledger is None else None
    told, verdicts = _Told(known.names, is_known), []
    for described in statements:
        found = [_as_it_was(client, _with_names(one, told), at_ms) for one in client.verify_statement(described)]
        within = [one for one in found if last is None or one.certificate.place.block_index <= last]
        wanted = [one for one in within if demand.is_met_by(one.certificate.issuer)]
        why_not = (
            _why_not(found, wanted, ledger, demand, at_ms, is_known=is_known)
            if within or not found
            else f"it is certified after block {last}, from which your node's ledger goes on; {_name_it(ledger)}"
        )
        verdict = Verdict(
            name=described.name,
            size_bytes=described.size_bytes,
            sha256=described.sha256.hex(),
            verifies=why_not is None,
            why_not=why_not,
            certificates=wanted,
            other_versions=[] if found else _other_versions(client, described),
        )
        verdicts.append(verdict)
    forger = told.key(ledger.tip.forger) if ledger.tip.forger else None
    ledger = replace(ledger, tip=replace(ledger.tip, forger=forger))
    return Verdicts(ledger=ledger, is_ledger_known=is_known, files=verdicts)


def _as_it_was(client: Client, found: Certified, at_ms: int | None) -> Certified:
    """With its validity at that time."""
    if at_ms is None:
        return found
    validity = client.validity(found.certificate.id, at_ms)
    return replace(found, certificate=replace(found.certificate, validity=validity))


def _why_not(  # noqa: PLR0913  each may be the reason
    found: Sequence[Certified],
    wanted: Sequence[Certified],
    ledger: views.Ledger,
    demand: Demand,
    at_ms: int | None,
    *,
    is_known: bool,
) -> str | None:
    if not found:
        return f"no certificate whose payload is kept here covers it; another node may have one{_or_before(ledger)}"
    if not wanted:
        keys = ", ".join(dict.fromkeys(one.certificate.issuer.key for one in found))
        return f"it is certified, but not by the issuer that you named; by: {keys}"
    if not any(is_valid(one.certificate) for one in wanted):
        said = [
            f"{one.certificate.id[:16]}… is {one.certificate.validity.summary}"
            for one in wanted
            if one.certificate.validity
        ]
        was = "is not valid" if at_ms is None else "was not valid at the time that you named"
        return f"it was certified, and that {was}: {'; '.join(said)}"
    if is_known:
        return _outsiders(wanted, demand)
    where = f"it is certified on the ledger {ledger.name!r} (id {ledger.ledger_id})"
    if demand.ledger is not None:
        return f"{where}, which is not the one that you named"
    return f"{where}, which you did not name: {_name_it(ledger)}"


def _name_it(ledger: views.Ledger) -> str:
    return f"pass --ledger {ledger.ledger_id} if you know that id from somewhere else"


def _or_before(ledger: views.Ledger) -> str:
    """Where else a file may be certified: on the ledger that this one continues."""
    if (before := ledger.continues) is None:
        return ""
    where = f"so may the ledger {before.name!r} (id {before.ledger_id}), which this one continues"
    return f", and {where}: ask that with --data OLD_FOLDER, or with --chain and a copy of it"


def _outsiders(wanted: Sequence[Certified], demand: Demand) -> str | None:
    """Why it does not count that somebody certified it, where there are organisations and it was none of them."""
    valid = [one.certificate for one in wanted if is_valid(one.certificate)]
    if demand.issuer is not None or any(map(is_vouched_for, valid)):
        return None
    keys = " or ".join(dict.fromkeys(one.issuer.key for one in valid))
    whose = f"name the key if you know whose it is: --issuer {keys}"
    return f"it is certified, but by no key in force of an organisation of this ledger: by anybody; {whose}"


def is_vouched_for(one: views.Certificate) -> bool:
    """Whether an organisation stands behind a certificate, where there are some: its key counted there."""
    return one.is_listed is not False and (one.validity is None or one.validity.key != "ended_before")


def is_valid(one: views.Certificate) -> bool:
    """Whether a statement is valid as of the ledger's tip, or at the time that was asked about."""
    return one.validity is None or one.validity.state == "valid"


class _Told(NamedTuple):
    """What may be told of keys."""

    names: Mapping[bytes, str]
    is_ledger_known: bool

    def key(self, key: views.Key) -> views.Key:
        """With no name but these."""
        name = self.names.get(bytes.fromhex(key.key))
        return replace(key, name=name) if self.is_ledger_known else views.Key(key.key, name)


def _with_names(found: Certified, told: _Told) -> Certified:
    certificate, finality = found.certificate, found.finality
    if finality is not None:
        finality = replace(finality, voters=[told.key(one) for one in finality.voters])
    issuer = told.key(certificate.issuer)
    return replace(found, certificate=replace(certificate, issuer=issuer, erasure=None), finality=finality)


def _other_versions(client: Client, described: FileStatement) -> list[str]:
    """What else is certified under the file's name, where the door searches."""
    question = q.Search(text=described.name, media_type=FILE_MEDIA_TYPE, limit=_MOST_NAMESAKES)
    try:
        lines = client.search(question).certificates
    except AnswerProblem as problem:
        if problem.code == NotAllowed.code:
            return []
        raise
    files = [one.payload.file for one in map(client.certificate, [line.id for line in lines]) if one.payload]
    found = {one.sha256 for one in files if one is not None and one.name == described.name}
    return sorted(found - {described.sha256.hex()})
