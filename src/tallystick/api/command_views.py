"""What commands that ask no node print under `--json`, field by field, as `views` does for answers."""

from tallystick.api.views import Answer, View, ViewNumber
from tallystick.consensus import signing_guard
from tallystick.host.data_folder import DataFolder
from tallystick.host.guarding import Standing


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


class Founded(Answer, frozen=True, kw_only=True):
    """A new ledger."""

    name: str
    ledger_id: str
    created_ms: int
    """By the founder's clock."""
    nodes: list[FirstNode]
    """That were made here."""
    members: list[FirstMember]


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
