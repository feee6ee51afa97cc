"""`tallystick new`: found a ledger, for nodes on this machine or for the keys of its members."""

import re
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import track

from tallystick.cli.addresses import HERE, free_ports, places
from tallystick.cli.keys import make_key, own_wallet
from tallystick.cli.options import (
    AsJson,
    Data,
    Listen,
    NoPassphrase,
    PassphraseFile,
    Reach,
    find_passphrase,
    node_folder,
)
from tallystick.cli.output import (
    Terminal,
    Text,
    error_boundary,
    help_text,
    make_console,
    make_table,
    marked,
    print_json,
)
from tallystick.host.data_folder import DataFolder, FolderError, Settings
from tallystick.ledger.fields import MAX_TIMESTAMP_MS, MAX_TOKENS
from tallystick.ledger.genesis import Allotment, Genesis, make_genesis
from tallystick.ledger.keys import check_public_key
from tallystick.ledger.params import MAX_UNBONDING_BLOCKS, MAX_UNBONDING_EPOCHS, Params
from tallystick.storage.store import Store

HELP: Final = help_text(
    "Found a ledger.",
    "With --members N: nodes on this machine, each in a folder of its own, for a class or a try-out. With --member: "
    "the ledger of the keys that others made (tallystick key new) and told you; your own key is one of them, or is "
    "added, and your node is set up. Name and parameters cannot be changed later: the ledger's id is their hash.",
    "Examples:",
    "  tallystick new class --members 4",
    "  tallystick new diplomas --address node.alice.org:7117 --member BOB=5f0c… --member CAROL=93ab…:200",
)

DEFAULT_STAKE: Final = 100
MOST_NODES: Final = 64
_DEFAULTS: Final = Params()
_MEMBER: Final = re.compile(r"(?P<name>[^=\x00-\x1f]{1,64})=(?P<key>[0-9a-fA-F]{64})(:(?P<stake>[0-9]{1,16}))?")
_LOCAL_STRENGTH: Final = "interactive"


@dataclass(frozen=True)
class Member:
    """One of the first members."""

    name: str
    key: bytes
    stake: int


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the ledger is called.", show_default=False)],
    *,
    members: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_NODES, metavar="N", help="Make N nodes on this machine.", show_default=False),
    ] = None,
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="With --members: where the nodes' folders go.")] = Path(
        "tallystick-network"
    ),
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65_535, help="With --members: the first node's port.", show_default="the first that are free"
        ),
    ] = None,
    member: Annotated[
        list[str] | None,
        typer.Option(
            "--member",
            metavar="NAME=KEY",
            help="A first member, with its key, and :STAKE if not like the others. Repeat it.",
            show_default=False,
        ),
    ] = None,
    own_name: Annotated[str, typer.Option("--as", metavar="NAME", help="With --member: your own name.")] = "founder",
    stake: Annotated[
        int, typer.Option(min=1, metavar="TOKENS", help="Tokens at stake of each member.")
    ] = DEFAULT_STAKE,
    free: Annotated[
        int, typer.Option(min=0, metavar="TOKENS", help="Further tokens of each member, to stake later.")
    ] = DEFAULT_STAKE,
    epoch_blocks: Annotated[
        int,
        typer.Option(
            min=1,
            max=MAX_UNBONDING_BLOCKS // 2,
            metavar="BLOCKS",
            help="Blocks of an epoch, unless stakes change: they count from the next.",
        ),
    ] = _DEFAULTS.epoch_blocks,
    epoch_ms: Annotated[
        int, typer.Option(min=0, max=MAX_TIMESTAMP_MS, metavar="MS", help="The shortest time that an epoch lasts.")
    ] = _DEFAULTS.epoch_ms,
    unbonding_blocks: Annotated[
        int | None,
        typer.Option(min=0, metavar="BLOCKS", help="Blocks until withdrawn stake is free.", show_default="two epochs"),
    ] = None,
    unbonding_ms: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="MS",
            help="And time until it is free; it is liable until then.",
            show_default=f"7 days, or {MAX_UNBONDING_EPOCHS} epochs if that is less",
        ),
    ] = None,
    delta_ms: Annotated[
        int,
        typer.Option(
            min=1, metavar="MS", help="In which time a message arrives, as a rule; timeouts are multiples of it."
        ),
    ] = _DEFAULTS.delta_ms,
    observers: Annotated[
        bool, typer.Option("--observers/--members-only", help="Whether nodes without tokens may read along.")
    ] = True,
    listen: Listen = None,
    address: Reach = None,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    as_json: AsJson = False,
) -> None:
    """See `HELP`."""
    if (members is None) == (not member):
        raise typer.BadParameter("say either --members N, or --member NAME=KEY for each member")
    with error_boundary():
        params = Params(
            epoch_blocks=epoch_blocks,
            epoch_ms=epoch_ms,
            unbonding_blocks=2 * epoch_blocks if unbonding_blocks is None else unbonding_blocks,
            unbonding_ms=_default_unbonding_ms(epoch_ms) if unbonding_ms is None else unbonding_ms,
            delta_ms=delta_ms,
            admits_observers=observers,
        )
        if members is not None:
            passphrase = find_passphrase(passphrase_file, no_passphrase, "all keys", is_new=True)
            folders = found_here(name, into, members, passphrase, params=params, stake=stake, free=free, port=port)
            _show_nodes(name, folders, into, as_json)
            return
        others = [_parse_member(one, stake) for one in member or ()]
        settings = Settings(*places(listen, address, towards=None))
        folder = node_folder(data)
        _refuse_occupied(folder)
        own = own_wallet(folder, passphrase_file, no_passphrase)
        is_named = own.public_key in {one.key for one in others}
        first = others if is_named else [Member(own_name, own.public_key, stake), *others]
        genesis = found(name, first, free, params)
        folder.create(settings, genesis)
        _remember_names(folder, first)
        _show_founded(folder, genesis, first, settings, as_json)


def found(name: str, members: Sequence[Member], free: int, params: Params) -> Genesis:
    """The ledger's first document. Raises `FolderError` for members named twice, `Refused` as `make_genesis`."""
    for what, said in (("name", [one.name for one in members]), ("key", [one.key.hex() for one in members])):
        twice = sorted({one for one in said if said.count(one) > 1})
        if twice:
            raise FolderError(f"two members have the {what} {twice[0]}; name each once")
    allotments = [Allotment(one.key, free, one.stake) for one in members]
    return make_genesis(name, time.time_ns() // 1_000_000, allotments, params)


def found_here(
    name: str,
    into: Path,
    how_many: int,
    passphrase: str,
    *,
    params: Params,
    stake: int = DEFAULT_STAKE,
    free: int = DEFAULT_STAKE,
    port: int | None = None,
) -> list[DataFolder]:
    """Found a ledger of nodes on this machine, in `into`/node-1 and so on: all of them, or on an error none.

    Raises `HostError`, `Refused`.
    """
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise FolderError(f"{into} holds something already; name another folder with --into")
    names = [f"node-{number}" for number in range(1, how_many + 1)]
    ports = free_ports(how_many, port)
    new = into.with_name(f"{into.name}.{secrets.token_hex(4)}.new")
    try:
        folders = [DataFolder(new / one) for one in names]
        console = Terminal(stderr=True)
        in_sight = track(folders, "Sealing keys", console=console, transient=True, disable=not console.is_terminal)
        wallets = [make_key(folder, passphrase, _LOCAL_STRENGTH) for folder in in_sight]
        members = [Member(one, wallet.public_key, stake) for one, wallet in zip(names, wallets, strict=True)]
        genesis = found(name, members, free, params)
        addresses = [f"{HERE}:{one}" for one in ports]
        reached = [f"{wallet.public_key.hex()}@{place}" for wallet, place in zip(wallets, addresses, strict=True)]
        for folder, address, own in zip(folders, addresses, reached, strict=True):
            others = tuple(one for one in reached if one != own)
            folder.create(Settings(address, address, others), genesis)
            _remember_names(folder, members)
        if into.exists():
            into.rmdir()
        new.replace(into)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return [DataFolder(into / one) for one in names]


def _default_unbonding_ms(epoch_ms: int) -> int:
    """Seven days, but two epochs at least, and no more epochs than a ledger can name (G3)."""
    return max(2 * epoch_ms, min(_DEFAULTS.unbonding_ms, MAX_UNBONDING_EPOCHS * max(1, epoch_ms)))


def _parse_member(said: str, stake: int) -> Member:
    match = _MEMBER.fullmatch(said)
    if match is None:
        form = "NAME=KEY or NAME=KEY:STAKE, the key in 64 hexadecimal digits as tallystick key show prints it"
        raise typer.BadParameter(f"{said!r} does not name a member: {form}")
    member = Member(match["name"], bytes.fromhex(match["key"]), int(match["stake"] or stake))
    check_public_key(member.key)
    if not 0 < member.stake <= MAX_TOKENS:
        raise typer.BadParameter(f"{said!r}: a member has 1 to {MAX_TOKENS} tokens at stake")
    return member


def _refuse_occupied(folder: DataFolder) -> None:
    if folder.is_there or folder.ledger_path.exists():
        raise FolderError(f"{folder.path} holds a node already; name another folder with --data")


def _remember_names(folder: DataFolder, members: Sequence[Member]) -> None:
    with Store.open(folder.ledger_path) as store:
        store.remember_names({one.key: one.name for one in members})


def _show_nodes(name: str, folders: Sequence[DataFolder], into: Path, as_json: bool) -> None:
    lines = [(str(one.path), one.settings().address, one.public_key().hex()) for one in folders]
    with Store.open(folders[0].ledger_path, read_only=True) as store:
        ledger_id = store.genesis.ledger_id.hex()
    if as_json:
        nodes = [dict(zip(("folder", "address", "public_key"), line, strict=True)) for line in lines]
        print_json({"name": name, "ledger_id": ledger_id, "nodes": nodes})
        return
    table = make_table()
    for title in ("Folder", "Address", "Key"):
        table.add_column(title, no_wrap=True)
    for folder, address, key in lines:
        table.add_row(Text(folder, style="bold"), address, Text(key[:16] + "…", style="cyan"))
    console = make_console()
    console.print(marked("✓", name, f" is founded: ledger {ledger_id[:16]}…"))
    console.print(table)
    _say_next(console, {f"tallystick up {into}": "runs them all", f"tallystick run --data {into}/node-1": "runs one"})


def _show_founded(
    folder: DataFolder, genesis: Genesis, members: Sequence[Member], settings: Settings, as_json: bool
) -> None:
    if as_json:
        said = [{"name": one.name, "public_key": one.key.hex(), "stake": one.stake} for one in members]
        ledger = {"name": genesis.name, "ledger_id": genesis.ledger_id.hex()}
        print_json({**ledger, "folder": str(folder.path), "address": settings.address, "members": said})
        return
    console = make_console()
    console.print(marked("✓", genesis.name, f" is founded: ledger {genesis.ledger_id.hex()[:16]}…"))
    table = make_table()
    table.add_column("Member")
    table.add_column("At stake", justify="right")
    table.add_column("Key", no_wrap=True, style="cyan")
    for one in members:
        table.add_row(Text(one.name), f"{one.stake:,}", one.key.hex()[:16] + "…")
    console.print(table)
    reached = f"it listens on {settings.listen}, and others reach it at {settings.address}"
    console.print(Text(f"Your node is in {folder.path}; {reached}."), soft_wrap=True)
    needed = 2 * sum(one.stake for one in members) // 3 + 1
    console.print(f"Blocks become final once members with {needed:,} tokens at stake are connected.", soft_wrap=True)
    option = f" --data {folder.path}"
    _say_next(
        console,
        {
            f"tallystick run{option}": "starts your node",
            f"tallystick invite{option}": "then prints the line with which the others join",
        },
    )


def _say_next(console: Terminal, commands: Mapping[str, str]) -> None:
    width = max(map(len, commands))
    console.print()
    console.print("Next:")
    for command, what in commands.items():
        console.print(Text.assemble("  ", (f"{command:<{width}}", "bold"), f"   {what}"), soft_wrap=True)
