"""What commands that ask no node print under `--json`, field by field, as `views` does for answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from tallystick.api.continuation_view import continuation_view
from tallystick.api.governed_views import Organisation
from tallystick.api.views import Answer, Continuation, View, ViewNumber
from tallystick.consensus import signing_guard
from tallystick.host.data_folder import DataFolder
from tallystick.host.founding import Member, indispensable, members_in
from tallystick.host.guarding import Standing
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.params import Params

if TYPE_CHECKING:
    from tallystick.integrity.check import Report


class MlDsaKey(Answer, frozen=True, kw_only=True):
    """A key of ML-DSA-44."""

    sha256: str
    """Of the public key."""
    public_key: str
    """1,312 bytes."""
    key_file: str


class OwnKey(Answer, frozen=True, kw_only=True):
    """The key of a node or user."""

    public_key: str
    """32 bytes."""
    key_file: str
    address: str | None = None
    """Where the others reach its node, if there is one."""


class FirstNode(View, frozen=True):
    """A node that was made together with its ledger."""

    folder: str
    address: str
    public_key: str


class FirstMember(View, frozen=True):
    """A member of a ledger from its beginning on."""

    name: str
    public_key: str
    stake: int
    organisation: str | None = None
    """The id of the organisation; `null`: the ledger is open."""


class Founded(Answer, frozen=True, kw_only=True):
    """A new ledger."""

    name: str
    ledger_id: str
    created_ms: int
    """By the founder's clock."""
    nodes: list[FirstNode]
    """That were made here."""
    members: list[FirstMember]
    is_open: bool
    """Whether anybody certifies, and stakes tokens; else organisations do, and decide by motions."""
    indispensable: list[str]
    """Members without whom nothing can become final: the others can neither remove nor replace them."""
    continues: Continuation | None = None
    """An older ledger that this one goes on from."""


class Joined(Answer, frozen=True, kw_only=True):
    """A node that was set up from an invite."""

    name: str
    """Of the ledger."""
    ledger_id: str
    folder: str
    public_key: str
    address: str
    stake_at_first: int
    """What the ledger gave the key at its beginning; 0: it was no first member."""
    is_open: bool
    """Whether anybody certifies; else the keys alone that organisations have in the directory."""
    continues: Continuation | None = None
    """An older ledger that this one goes on from."""


class Draft(Answer, frozen=True, kw_only=True):
    """A ledger that is to continue another, once all who go on have signed that."""

    file: str
    name: str
    created_ms: int
    members: list[FirstMember]
    continues: Continuation
    """With those who have signed so far."""
    other_parameters: dict[str, tuple[int | bool | None, int | bool | None]]
    """That differ from the older ledger's: there, and here."""


class Consent(Answer, frozen=True, kw_only=True):
    """That a member of an older ledger consents to a draft."""

    draft: Draft
    own_block_index: int
    """Of the last final block in the signer's own copy of the older ledger."""
    public_key: str
    signature: str
    line: str
    """Key and signature, in a line of text."""


class Setting(View, frozen=True):
    """A setting, and where it comes from."""

    name: str
    value: str
    origin: str


class Settings(Answer, frozen=True, kw_only=True):
    """A node's settings."""

    settings: list[Setting]


class LedgerGuard(View, frozen=True, kw_only=True):
    """How a key's guard stands on one ledger."""

    ledger_id: str
    name: str | None
    """Of the folder's ledger."""
    status: str
    """`ready`, `lost`, `moved` or `twin`."""
    floor: ViewNumber | None
    """It signs nothing up to here."""
    silent_until: ViewNumber | None
    """It votes freely after this."""
    twin: ViewNumber | None
    """Where another machine signed."""
    is_loss_accepted: bool
    views: int
    """Above the floor, of which it holds what was signed."""
    cosigned_size: int | None
    """Certificates in the largest log that it countersigned."""


class Guard(Answer, frozen=True, kw_only=True):
    """What a key has signed."""

    public_key: str
    guard_file: str
    loss: str | None
    """Why the file has to be taken for lost."""
    elsewhere: str
    """The status on every other ledger."""
    ledgers: list[LedgerGuard]


class GuardChanged(Answer, frozen=True, kw_only=True):
    """What an operator said of a key's guard."""

    public_key: str
    became: str
    """`lost`, `recovering`, `loss accepted` or `moved`."""
    moved_to: str | None = None


class Checked(Answer, frozen=True, kw_only=True):
    """What is to be said of the file of a chain."""

    file: str
    name: str
    """Of the ledger."""
    ledger_id: str
    is_sound: bool
    damage: list[str]
    tip_index: int
    tip_hash: str | None
    """This, and the log's size and root, are not known when too much is damaged."""
    log_size: int | None
    log_root: str | None
    left_out: int
    """Blocks at the end that no votes prove final."""
    size_bytes: int
    took_ms: int


class OrganisationKeys(Answer, frozen=True, kw_only=True):
    """Organisations with their keys."""

    organisations: list[Organisation]


class Admission(Answer, frozen=True, kw_only=True):
    """That a key wants to be an organisation's, as it signed that itself."""

    organisation: str
    public_key: str
    signature: str
    ledger_id: str
    line: str
    """All of it but the ledger, in a line of text."""


class Repaired(Answer, frozen=True, kw_only=True):
    """What was found damaged in a node's ledger, and what became of it."""

    is_sound: bool
    found: list[str]
    damaged_files: list[str]
    """Where files are that were too damaged to be mended in place; what could be read of them was copied."""
    refetched_blocks: int
    refetched_finalizations: int
    dropped_blocks: int
    """Damaged ones at the end, which the node fetches by itself."""
    tip_index: int


def founded_view(folders: Sequence[DataFolder], members: Sequence[Member], genesis: Genesis) -> Founded:
    """A new ledger with its nodes in these folders."""
    return Founded(
        name=genesis.name,
        ledger_id=genesis.ledger_id.hex(),
        created_ms=genesis.created_ms,
        nodes=[FirstNode(str(one.path), one.settings().address, one.public_key().hex()) for one in folders],
        members=[FirstMember(one.name, one.key.hex(), one.stake, one.id or None) for one in members],
        is_open=genesis.params.anybody_certifies,
        indispensable=indispensable({one.name: one.stake for one in members}),
        continues=continuation_view(genesis),
    )


def draft_view(file: Path, draft: Genesis, before: Params) -> Draft:
    """A draft, beside the parameters of the older ledger."""
    continues = continuation_view(draft)
    assert continues is not None, "it continues no ledger"
    here, there = asdict(draft.params), asdict(before)
    members = members_in(draft)
    return Draft(
        file=str(file),
        name=draft.name,
        created_ms=draft.created_ms,
        members=[FirstMember(one.name, one.key.hex(), one.stake, one.id or None) for one in members],
        continues=continues,
        other_parameters={name: (there[name], here[name]) for name in here if here[name] != there[name]},
    )


def joined_view(folder: DataFolder, own: bytes, genesis: Genesis) -> Joined:
    """The node of a folder on a ledger that it joined with this key."""
    return Joined(
        name=genesis.name,
        ledger_id=genesis.ledger_id.hex(),
        folder=str(folder.path),
        public_key=own.hex(),
        address=folder.settings().address,
        stake_at_first=genesis.stakes().account(own).staked,
        is_open=genesis.params.anybody_certifies,
        continues=continuation_view(genesis),
    )


def settings_view(folder: DataFolder, named_by: str, address: str | None) -> Settings:
    """The settings of a folder that was named so; `address` is that of the node while it runs."""
    found, file = folder.settings(), str(folder.settings_path)
    settings = [
        Setting("folder", str(folder.path), named_by),
        Setting("listen", found.listen, file),
        Setting("address", found.address, file),
        *(Setting("bootstrap", one, file) for one in found.bootstrap),
    ]
    if address not in (None, found.address):
        settings.append(Setting("address", address, "--address of the running node"))
    return Settings(settings=settings)


def checked_view(file: Path, genesis: Genesis, report: "Report", took_ms: int) -> Checked:
    """What a check of a chain's file found."""
    final, damage = report.final, report.lines
    return Checked(
        file=str(file),
        name=genesis.name,
        ledger_id=genesis.ledger_id.hex(),
        is_sound=not damage,
        damage=damage,
        tip_index=final.index if final else report.tip_index,
        tip_hash=final.tip.hash.hex() if final else None,
        log_size=final.log.size if final else None,
        log_root=final.log.root().hex() if final else None,
        left_out=report.tip_index - final.index if final else 0,
        size_bytes=file.stat().st_size,
        took_ms=took_ms,
    )


def guard_view(folder: DataFolder, found: Standing) -> Guard:
    """How the guard of a folder's key stands."""
    names = {found.genesis.ledger_id: found.genesis.name} if found.genesis is not None else {}
    ledgers = [
        LedgerGuard(
            ledger_id=ledger_id.hex(),
            name=names.get(ledger_id),
            status=state.status.value,
            floor=_place(state.floor),
            silent_until=_place(state.silent_until),
            twin=_place(state.twin),
            is_loss_accepted=state.is_loss_accepted,
            views=len(state.entries),
            cosigned_size=state.cosigned.size if state.cosigned is not None else None,
        )
        for ledger_id, state in found.ledgers.items()
    ]
    return Guard(
        public_key=folder.public_key().hex(),
        guard_file=str(folder.guard_path),
        loss=found.loss,
        elsewhere=found.elsewhere.status.value,
        ledgers=ledgers,
    )


def _place(place: signing_guard.Place | None) -> ViewNumber | None:
    return None if place is None or place < (0, 0) else ViewNumber(*place)


class PageShown(Answer, frozen=True, kw_only=True):
    """The page that verifies in a browser."""

    address: str
    """To be opened: of the copy, if one was made."""
    path: str
    version: str
    """Of the package, and how the SHA-256 of the page's script begins; the page says the same at its end."""


class PolicyMade(Answer, frozen=True, kw_only=True):
    """A policy of C2SP for the members of an epoch."""

    epoch: int
    """It is for this one: others have other members."""
    policy: list[str]
    """Its lines."""
    file: str | None
    """Where it was written."""
    members: int
    needed: int
    """Any so many of them hold more than 2/3 of the stake."""
    warnings: list[str]


class WitnessedLog(View, frozen=True):
    """A log of others that a witness cosigns."""

    origin: str
    key: str
    """As its operator gives it (C2SP signed-note)."""
    size: int
    """Of the latest checkpoint that was cosigned; 0: none was."""


class WitnessShown(Answer, frozen=True, kw_only=True):
    """A witness of others' logs."""

    key: str
    """What operators of logs take (C2SP signed-note, type 0x04)."""
    logs: list[WitnessedLog]


class Exported(Answer, frozen=True, kw_only=True):
    """What `export` wrote into a mirror."""

    folder: str
    ledger_id: str
    log_size: int
    """Certificates in the mirror, by its checkpoint."""
    log_root: str
    certificates: int
    """That are new in it."""
    files: int
    """That were written, by this run."""
    size_bytes: int
    """Of those."""
    duration_ms: int
    """For writing; checking a chain's file before that takes longer."""
    checkpoints: int
    """That were published: one, or with `--follow` as many as came."""
