"""Founding a ledger: keys, the genesis, and the folders of its first nodes."""

import re
import secrets
import shutil
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Final, NamedTuple

from tallystick.host.addresses import HERE, free_ports
from tallystick.host.clock import now_ms
from tallystick.host.data_folder import DataFolder, FolderError, Settings
from tallystick.ledger.changes import Role
from tallystick.ledger.fields import MAX_TOKENS
from tallystick.ledger.genesis import Allotment, Founder, Genesis, make_genesis
from tallystick.ledger.keys import check_public_key
from tallystick.ledger.params import MAX_UNBONDING_BLOCKS, MAX_UNBONDING_EPOCHS, Params
from tallystick.ledger.wallet import SEED_BYTES, Wallet
from tallystick.problems import Problem
from tallystick.storage.store import Store

DEFAULT_STAKE: Final = 100

_NAME: Final = re.compile(r"((?P<id>[a-z0-9][a-z0-9-]{0,39})/)?(?P<name>[^=\x00-\x1f]{1,64})")
_MEMBER: Final = re.compile(r"(?P<name>[^=\x00-\x1f]+)=(?P<key>[0-9a-fA-F]{64})(:(?P<stake>[0-9]{1,16}))?")
_LOCAL_STRENGTH: Final = "interactive"
_DAY_MS: Final = 86_400_000
_BOUNDS: Final[Mapping[str, tuple[int, int, str]]] = {
    "delta_ms": (20, 60_000, "in less no message arrives, and after more a member that fails stops all for minutes"),
    "epoch_ms": (
        1_000,
        31 * _DAY_MS,
        "an epoch takes a few blocks at least, and stakes that change count from the next",
    ),
    "epoch_blocks": (1, MAX_UNBONDING_BLOCKS // 2, "unbonding takes two epochs and is counted in blocks, too"),
    "unbonding_ms": (2_000, 366 * _DAY_MS, "withdrawn stake is liable until then, and cannot be used"),
}
"""What a ledger that people run can have; tests and the course go beyond."""


class Implausible(Problem):
    """A ledger with these parameters or members would not work, or not as anybody means it."""


class Member(NamedTuple):
    """One of the first members; on a ledger with a directory, an organisation."""

    name: str
    key: bytes
    stake: int
    id: str
    """The organisation's, for ever."""


def make_key(folder: DataFolder, passphrase: str, strength: str = "moderate") -> Wallet:
    """A fresh key, sealed in the folder, which is made if need be, and its guard. Raises `Problem`.

    Without a passphrase there is nothing to be guessed, so nothing that time spent on sealing would protect.
    """
    wallet = Wallet(secrets.token_bytes(SEED_BYTES))
    folder.create_key(wallet, passphrase, strength if passphrase else "minimal")
    return wallet


def default_unbonding_ms(epoch_ms: int) -> int:
    """Seven days, but two epochs at least, and no more epochs than a ledger can name (G3)."""
    return max(2 * epoch_ms, min(Params().unbonding_ms, MAX_UNBONDING_EPOCHS * max(1, epoch_ms)))


def check_plausible(params: Params) -> None:
    """Raise `Implausible` for parameters that people who found a ledger cannot mean."""
    for name, (least, most, reason) in _BOUNDS.items():
        if not least <= (given := getattr(params, name)) <= most:
            option = f"--{name.replace('_', '-')}"
            raise Implausible(f"{option} {given} is not between {least} and {most}: {reason}")


def organisation_id(name: str) -> str:
    """The id of an organisation, as its name suggests it. Raises `Implausible` for one that suggests none."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    suggested = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-")
    if not suggested:
        raise Implausible(f"{name!r} has no letters that an id may have; say ID/NAME, the id in a to z, 0 to 9 and -")
    return suggested


def parse_name(said: str) -> tuple[str, str]:
    """An organisation's id and name as they are entered: ID/NAME, or NAME. Raises `Implausible`."""
    match = _NAME.fullmatch(said)
    if match is None:
        raise Implausible(f"{said!r} is no name of an organisation: 1 to 64 characters, without = and control codes")
    return match["id"] or organisation_id(match["name"]), match["name"]


def parse_member(said: str, stake: int, *, is_open: bool = False) -> Member:
    """A member as it is entered; `stake` unless another is said. Raises `Implausible`, `Refused` (K1).

    On an open ledger a member is a key, so its name is for people here, and needs no id.
    """
    match = _MEMBER.fullmatch(said)
    if match is None:
        form = "NAME=KEY or NAME=KEY:STAKE, the key in 64 hexadecimal digits as tallystick key show prints it"
        raise Implausible(f"{said!r} does not name a member: {form}")
    own_id, name = ("", match["name"]) if is_open else parse_name(match["name"])
    member = Member(name, bytes.fromhex(match["key"]), int(match["stake"] or stake), own_id)
    check_public_key(member.key)
    if not 0 < member.stake <= MAX_TOKENS:
        raise Implausible(f"{said!r}: a member has 1 to {MAX_TOKENS} tokens at stake")
    return member


def check_distinct(members: Sequence[Member], *, is_open: bool) -> None:
    """Raise `FolderError` for members named twice; those of an open ledger have no ids."""
    told = {
        "name": [one.name for one in members],
        "key": [one.key.hex() for one in members],
        "id": [] if is_open else [one.id for one in members],
    }
    for what, said in told.items():
        twice = sorted({one for one in said if said.count(one) > 1})
        if twice:
            raise FolderError(f"two members have the {what} {twice[0]}; name each once")


def member_here(folder: DataFolder, stake: int, *, is_open: bool, name: str | None = None) -> Member:
    """The member whose node is in a folder that was made together with its ledger; called as the folder, or otherwise.

    Raises `Implausible` for another name that suggests no id.
    """
    own_id = folder.path.name if name is None else organisation_id(name)
    return Member(name or folder.path.name, folder.public_key(), stake, "" if is_open else own_id)


def members_in(genesis: Genesis) -> list[Member]:
    """The members that a ledger begins with; those of an open one have no names there but their keys'."""
    if genesis.founders:
        return [Member(one.title, one.key, one.stake, one.organisation) for one in genesis.founders]
    return [Member(one.member.hex()[:12], one.member, one.staked, "") for one in genesis.allotments if one.staked]


def found(name: str, members: Sequence[Member], free: int, params: Params) -> Genesis:
    """The ledger's first document. Raises `FolderError` for members named twice, `Refused` as `make_genesis`."""
    check_distinct(members, is_open=params.anybody_certifies)
    if params.anybody_certifies:
        return make_genesis(name, now_ms(), [Allotment(one.key, free, one.stake) for one in members], params)
    founders = [Founder(one.id, one.name, None, one.key, Role.MEMBER, one.stake) for one in members]
    return make_genesis(name, now_ms(), (), params, founders)


def indispensable(stakes: Mapping[str, int]) -> list[str]:
    """Those, by name, without whom nothing can become final, so that the others can neither remove nor replace them."""
    total = sum(stakes.values())
    return [name for name, stake in stakes.items() if stake and 3 * (total - stake) <= 2 * total]


def set_up(folder: DataFolder, settings: Settings, genesis: Genesis, members: Sequence[Member]) -> None:
    """Set a node of the founder's up; its address book has the members' names. Raises `Problem`."""
    folder.create(settings, genesis)
    with Store.open(folder.ledger_path) as store:
        store.remember_names({one.key: one.name for one in members})


def found_here(  # noqa: PLR0913  each is the founder's to choose
    name: str,
    into: Path,
    how_many: int,
    passphrase: str,
    *,
    params: Params,
    stake: int = DEFAULT_STAKE,
    free: int = DEFAULT_STAKE,  # on an open ledger alone
    port: int | None = None,
    called: Sequence[str] | None = None,
    on_key: Callable[[int], object] = lambda done: None,
) -> list[DataFolder]:
    """Found a ledger of nodes on this machine, in `into`/node-1 and so on: all of them, or on an error none.

    `called` names the members, otherwise called as their folders; `on_key` is told how many keys are made.

    Raises `Problem`, `Refused`.
    """
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise FolderError(f"{into} holds something already; name another folder with --into")
    names = [f"node-{number}" for number in range(1, how_many + 1)]
    made = [DataFolder(into / one) for one in names]
    made[-1].check_path()
    addresses = [f"{HERE}:{one}" for one in free_ports(how_many, port)]
    new = into.with_name(f"{into.name}.{secrets.token_hex(4)}.new")
    try:
        folders = [DataFolder(new / one) for one in names]
        wallets: list[Wallet] = []
        for folder in folders:
            wallets.append(make_key(folder, passphrase, _LOCAL_STRENGTH))
            on_key(len(wallets))
        members = [
            member_here(folder, stake, is_open=params.anybody_certifies, name=one)
            for folder, one in zip(folders, called if called is not None else repeat(None, how_many), strict=True)
        ]
        genesis = found(name, members, free, params)
        reached = [f"{wallet.public_key.hex()}@{place}" for wallet, place in zip(wallets, addresses, strict=True)]
        for folder, address, own in zip(folders, addresses, reached, strict=True):
            others = tuple(one for one in reached if one != own)
            set_up(folder, Settings(address, address, others), genesis, members)
        if into.exists():
            into.rmdir()
        new.replace(into)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return made


def ahead_ms(genesis: Genesis) -> int:
    """How far a ledger's beginning lies ahead of what its members take for now; 0: no block is refused for that."""
    allowed_ms, ahead = genesis.params.block_ahead_ms, genesis.created_ms - now_ms()
    return ahead if allowed_ms is not None and ahead > allowed_ms else 0
