"""`tallystick key` and `tallystick new`: keys, and a ledger for nodes on this machine or for its members' keys."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import to_builtins

from tallystick.api import command_views as views
from tallystick.cli import options
from tallystick.cli.options import AsJson, Data, Listen, NoPassphrase, PassphraseFile, Reach, find_passphrase
from tallystick.cli.output import (
    Terminal,
    Text,
    counting,
    error_boundary,
    help_text,
    hint,
    make_console,
    make_table,
    marked,
    print_json,
    print_line,
    warn,
)
from tallystick.cli.words import utc
from tallystick.host.addresses import places
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.host.founding import (
    DEFAULT_STAKE,
    Member,
    check_plausible,
    default_unbonding_ms,
    found,
    found_here,
    make_key,
    parse_member,
    set_up,
)
from tallystick.ledger.params import MAX_UNBONDING_EPOCHS, Params
from tallystick.ledger.wallet import Wallet
from tallystick.storage.store import Store

KEY_HELP: Final = help_text("Make a key, or show its public half.", "Example: tallystick key new")
KEY_NEW_HELP: Final = help_text(
    "Make a key, in the node's folder, sealed with a passphrase.",
    "Its public half is printed: send that to whoever founds the ledger. An existing key is never overwritten. There "
    "is no way back from a lost passphrase or file: keep a copy of both, apart. Beside the key stands its guard, the "
    "record of what it has signed: never copy that. A key that is to run elsewhere is moved (tallystick guard move).",
    "Example: tallystick key new --data ./node",
)
KEY_SHOW_HELP: Final = help_text(
    "Print the public key: it is what others know you by. No passphrase is needed.",
    "Examples:",
    "  tallystick key show",
    "  tallystick key show --address",
)
HELP: Final = help_text(
    "Found a ledger.",
    "With --members N: nodes on this machine, each in a folder of its own, for a class or a try-out. With --member: "
    "the ledger of the keys that others made (tallystick key new) and told you; your own key is one of them, or is "
    "added, and your node is set up. Name and parameters cannot be changed later: the ledger's id is their hash. It "
    "begins at the time of this machine's clock, which has to be right.",
    "Examples:",
    "  tallystick new class --members 4",
    "  tallystick new diplomas --address node.alice.org:7117 --member BOB=5f0c… --member CAROL=93ab…:200",
)

_MOST_NODES: Final = 64
_DEFAULTS: Final = Params()

keys = typer.Typer(no_args_is_help=True, add_completion=False, help=KEY_HELP)


@keys.command("new", help=KEY_NEW_HELP)
def new_key(
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    as_json: AsJson = False,
) -> None:
    with error_boundary():
        folder = options.node_folder(data)
        folder.check_path()
        folder.check_no_key()
        passphrase = find_passphrase(passphrase_file, no_passphrase, str(folder.key_path), is_new=True)
        public_key = make_key(folder, passphrase).public_key.hex()
    if as_json:
        print_json(to_builtins(views.OwnKey(public_key=public_key, key_file=str(folder.key_path))))
        return
    print_line(public_key)
    hint(f"This is your public key; the secret one is in {folder.key_path}. The founder of a ledger admits you with")
    hint(f"  tallystick new NAME --member YOU={public_key}")


@keys.command("show", help=KEY_SHOW_HELP)
def show_key(
    data: Data = None,
    with_address: Annotated[
        bool, typer.Option("--address", help="As KEY@ADDRESS, the form that node.toml's bootstrap takes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    with error_boundary():
        folder = options.node_folder(data)
        public_key = folder.public_key().hex()
        address = folder.settings().address if with_address or folder.is_there else None
        if (changed := folder.key_change()) is not None:
            warn(changed)
    if as_json:
        print_json(to_builtins(views.OwnKey(public_key=public_key, key_file=str(folder.key_path), address=address)))
    else:
        print_line(f"{public_key}@{address}" if with_address else public_key)


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the ledger is called.", show_default=False)],
    *,
    members: Annotated[
        int | None,
        typer.Option(min=1, max=_MOST_NODES, metavar="N", help="Make N nodes on this machine.", show_default=False),
    ] = None,
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="With --members: where the nodes' folders go.")] = Path(
        "tallystick-network"
    ),
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="With --members: the first one's.", show_default="the first free ones"),
    ] = None,
    member: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=KEY", help="A first member; :STAKE if it differs. Repeat it.", show_default=False),
    ] = None,
    own_name: Annotated[str, typer.Option("--as", metavar="NAME", help="With --member: your own name.")] = "founder",
    stake: Annotated[int, typer.Option(min=1, metavar="TOKENS", help="What each has at stake.")] = DEFAULT_STAKE,
    free: Annotated[int, typer.Option(min=0, metavar="TOKENS", help="And more, to stake later.")] = DEFAULT_STAKE,
    epoch_blocks: Annotated[
        int, typer.Option(metavar="BLOCKS", help="Blocks of an epoch, unless stakes change: they count from the next.")
    ] = _DEFAULTS.epoch_blocks,
    epoch_ms: Annotated[int, typer.Option(metavar="MS", help="The least time of an epoch.")] = _DEFAULTS.epoch_ms,
    unbonding_blocks: Annotated[
        int | None,
        typer.Option(metavar="BLOCKS", help="Blocks until withdrawn stake is free.", show_default="two epochs"),
    ] = None,
    unbonding_ms: Annotated[
        int | None,
        typer.Option(
            metavar="MS",
            help="And time until it is free; it is liable until then.",
            show_default=f"7 days, or {MAX_UNBONDING_EPOCHS} epochs if that is less",
        ),
    ] = None,
    delta_ms: Annotated[
        int, typer.Option(metavar="MS", help="In which time a message arrives, as a rule; timeouts are multiples.")
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
    if (members is None) == (not member):
        raise typer.BadParameter("say either --members N, or --member NAME=KEY for each member")
    with error_boundary():
        params = Params(
            epoch_blocks=epoch_blocks,
            epoch_ms=epoch_ms,
            unbonding_blocks=2 * epoch_blocks if unbonding_blocks is None else unbonding_blocks,
            unbonding_ms=default_unbonding_ms(epoch_ms) if unbonding_ms is None else unbonding_ms,
            delta_ms=delta_ms,
            admits_observers=observers,
        )
        check_plausible(params)
        if members is not None:
            passphrase = find_passphrase(passphrase_file, no_passphrase, "all keys", is_new=True)
            with counting("Sealing keys", members) as on_key:
                folders = found_here(
                    name, into, members, passphrase, params=params, stake=stake, free=free, port=port, on_key=on_key
                )
            here = [Member(one.path.name, one.public_key(), stake) for one in folders]
            _tell(folders, here, as_json, into)
            return
        others = [parse_member(one, stake) for one in member or ()]
        settings = Settings(*places(listen, address, towards=None))
        folder = options.node_folder(data)
        own = own_wallet(folder, passphrase_file, no_passphrase)
        is_named = own.public_key in {one.key for one in others}
        first = others if is_named else [Member(own_name, own.public_key, stake), *others]
        set_up(folder, settings, found(name, first, free, params), first)
        _tell([folder], first, as_json)


def own_wallet(folder: DataFolder, file: Path | None, none: bool) -> Wallet:
    """The key of a node that is to be set up in the folder, made if there is none. Raises `Problem`, `Refused`."""
    folder.check_free()
    folder.check_path()
    is_new = not folder.key_path.exists()
    passphrase = find_passphrase(file, none, str(folder.key_path), is_new)
    return make_key(folder, passphrase) if is_new else folder.wallet(passphrase)


def _tell(folders: Sequence[DataFolder], members: Sequence[Member], as_json: bool, into: Path | None = None) -> None:
    """What was founded; `into`: all of its nodes are here."""
    with Store.open(folders[0].ledger_path, read_only=True) as store:
        genesis = store.genesis
    places = [(str(one.path), one.settings().address, one.public_key().hex()) for one in folders]
    if as_json:
        nodes = [views.FirstNode(*one) for one in places]
        said = [views.FirstMember(one.name, one.key.hex(), one.stake) for one in members]
        ledger_id, created_ms = genesis.ledger_id.hex(), genesis.created_ms
        founded = views.Founded(
            name=genesis.name, ledger_id=ledger_id, created_ms=created_ms, nodes=nodes, members=said
        )
        print_json(to_builtins(founded))
        return
    console = make_console()
    begins = f" is founded: ledger {genesis.ledger_id.hex()[:16]}…, which begins on {utc(genesis.created_ms)}"
    console.print(marked("✓", genesis.name, begins), soft_wrap=True)
    if into is not None:
        _show_table(console, ("Folder", "Address"), [(folder, place, key) for folder, place, key in places])
        network, first = shlex.quote(str(into)), folders[0].quoted
        _say_next(console, {f"tallystick up {network}": "runs them all", f"tallystick run --data {first}": "runs one"})
        return
    _show_table(console, ("Member", "At stake"), [(one.name, f"{one.stake:,}", one.key.hex()) for one in members])
    settings, data = folders[0].settings(), folders[0].quoted
    reached = f"it listens on {settings.listen}, and others reach it at {settings.address}"
    console.print(Text(f"Your node is in {folders[0].path}; {reached}."), soft_wrap=True)
    needed = 2 * sum(one.stake for one in members) // 3 + 1
    console.print(f"Blocks become final once members with {needed:,} tokens at stake are connected.", soft_wrap=True)
    invite = "then prints the line with which the others join"
    _say_next(
        console, {f"tallystick run --data {data}": "starts your node", f"tallystick invite --data {data}": invite}
    )


def _show_table(console: Terminal, titles: tuple[str, str], rows: Sequence[tuple[str, str, str]]) -> None:
    table = make_table()
    for title in (*titles, "Key"):
        table.add_column(title, no_wrap=True, justify="right" if title == "At stake" else "left")
    for what, value, key in rows:
        table.add_row(Text(what, style="bold"), value, Text(key[:16] + "…", style="cyan"))
    console.print(table)


def _say_next(console: Terminal, commands: Mapping[str, str]) -> None:
    width = max(map(len, commands))
    console.print()
    console.print("Next:")
    for command, what in commands.items():
        console.print(Text.assemble("  ", (f"{command:<{width}}", "bold"), f"   {what}"), soft_wrap=True)
