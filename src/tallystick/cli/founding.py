"""`tallystick key`, `new` and `join`: keys, and a node on a ledger of one's own or of somebody who invites."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from tallystick.api import command_views as views
from tallystick.cli import options
from tallystick.cli.admissions import Admitted, Admitting, Since
from tallystick.cli.continuing import OldLedger, consent, read_signed, unsigned_members
from tallystick.cli.options import Data, Listen, NoPassphrase, PassphraseFile, Reach, Yes, argument, flag, group, option
from tallystick.cli.output import (
    Columns,
    Text,
    ask,
    busy,
    can_ask,
    counting,
    field,
    give,
    hint,
    is_json,
    marked,
    print_line,
    say,
    say_table,
    warn,
)
from tallystick.cli.running import run_here
from tallystick.cli.words import continued, names_of, utc
from tallystick.host import founding
from tallystick.host.addresses import places
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.host.founding import DEFAULT_STAKE, Member
from tallystick.host.invite import read_invite
from tallystick.host.text import is_hex_digest
from tallystick.ledger.changes import sign_admission
from tallystick.ledger.encoding import digest
from tallystick.ledger.params import MAX_UNBONDING_EPOCHS, Params
from tallystick.ledger.wallet import Wallet
from tallystick.problems import BadRequest
from tallystick.storage.store import Store

_NETWORK: Final = Path("tallystick-network")
_MOST_NODES: Final = 64
_DEFAULTS: Final = Params()
_UNBONDING_DEFAULT: Final = f"7 days, or {MAX_UNBONDING_EPOCHS} epochs if that is less"

key = group(
    """Keys: make one, show its public half, sign with it for an organisation or a new ledger, and change it.

    Example: tallystick key new
    """
)


@key.command("new")
def new_key(data: Data = None, passphrase_file: PassphraseFile = None, no_passphrase: NoPassphrase = False) -> None:
    """Make a key, in the node's folder, sealed with a passphrase.

    Its public half is printed: send that to whoever founds the ledger. An existing key is never overwritten. There is
    no way back from a lost passphrase or file: keep a copy of both, apart. Beside the key stands its guard, the record
    of what it has signed: never copy that. A key that is to run elsewhere is moved (tallystick guard move).

    Example: tallystick key new --data ./node
    """
    folder = options.node_folder(data)
    folder.check_path()
    folder.check_no_key()
    passphrase = options.find_passphrase(passphrase_file, no_passphrase, str(folder.key_path), is_new=True)
    public_key = founding.make_key(folder, passphrase).public_key.hex()
    give(views.OwnKey(public_key=public_key, key_file=str(folder.key_path)))
    print_line(public_key)
    hint(f"This is your public key; the secret one is in {folder.key_path}. The founder of a ledger admits you with")
    hint(f"  tallystick new NAME --member YOU={public_key}")


@key.command("ml-dsa")
def new_ml_dsa_key(
    data: Data = None, passphrase_file: PassphraseFile = None, no_passphrase: NoPassphrase = False
) -> None:
    """Make a key of ML-DSA-44 beside the node's key, in the file key.ml-dsa: it signs the ends of epochs, too.

    It is meant to withstand quantum computers. Let it have the same passphrase, as the node opens both when it starts.
    Register it on the ledger then. It takes the extra: pip install 'tallystick[pq]'.

    Example: tallystick key ml-dsa --data ./node
    """
    from tallystick.host.ml_dsa import MlDsaWallet, create_ml_dsa_file  # noqa: PLC0415  # an extra

    folder = options.node_folder(data)
    path = folder.ml_dsa_path
    folder.public_key()  # beside a key there is another, and nowhere else
    MlDsaWallet(bytes(32))  # or there is no library for it: that is said before a passphrase is asked for
    passphrase = options.find_passphrase(passphrase_file, no_passphrase, str(path), is_new=True)
    strength = "moderate" if passphrase else "minimal"
    public_key = create_ml_dsa_file(path, passphrase, strength).public_key
    give(views.MlDsaKey(sha256=digest(public_key).hex(), public_key=public_key.hex(), key_file=str(path)))
    say(marked("✓", str(path), f" holds a key of ML-DSA-44, SHA-256 {digest(public_key).hex()[:16]}…"))
    where = f" --data {folder.quoted}" if data else ""
    hint(f"Register it, and start the node again: tallystick member ml-dsa{where}")


@key.command("show")
def show_key(
    data: Data = None,
    with_address: Annotated[
        bool, flag("--address", "As KEY@ADDRESS, the form that node.toml's bootstrap takes.")
    ] = False,
) -> None:
    """Print the public key: it is what others know you by. No passphrase is needed.

    Examples:
      tallystick key show
      tallystick key show --address
    """
    folder = options.node_folder(data)
    public_key = folder.public_key().hex()
    address = folder.settings().address if with_address or folder.is_there else None
    if (changed := folder.key_change()) is not None:
        warn(changed)
    give(views.OwnKey(public_key=public_key, key_file=str(folder.key_path), address=address))
    print_line(f"{public_key}@{address}" if with_address else public_key)


@key.command("admit")
def admit(
    organisation: Annotated[str, argument("ORGANISATION", "Whose key it is to be: the organisation's id.")],
    *,
    ledger: Annotated[
        str | None, option("The ledger's id, 64 hexadecimal digits, or an invite.", "ID", show_default="the folder's")
    ] = None,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
) -> None:
    """Sign that this key wants to be an organisation's: a new member's, an issuer's, or in the place of a lost one.

    The line it prints goes to whoever makes the motion or adds the key. It holds for that organisation and ledger
    alone, and admits nobody by itself. An organisation's id is of lower-case letters, digits and hyphens.

    Examples:
      tallystick key admit uni-e --ledger 41d2…
      tallystick key admit uni-e --ledger "$(cat invite.txt)" > admission.txt
    """
    folder = options.node_folder(data)
    ledger_id = _ledger_id(folder, ledger)
    if re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", organisation) is None:
        raise typer.BadParameter(
            f"{organisation!r} is no id of an organisation: lower-case letters, digits and hyphens"
        )
    wallet = options.open_key(folder.key_path, passphrase_file, no_passphrase)
    signed = Admitting(organisation, wallet.public_key.hex(), sign_admission(wallet, ledger_id, organisation).hex())
    give(
        views.Admission(
            organisation=organisation,
            public_key=signed.key,
            signature=signed.signature,
            ledger_id=ledger_id.hex(),
            line=signed.line,
        )
    )
    print_line(signed.line)
    hint("Send this line to a member of the ledger. A new organisation is moved with: tallystick member admit LINE")
    hint("A lost member key: tallystick member replace-key LINE; one's own: tallystick key rotate LINE; an issuer's:")
    hint("tallystick issuer add LINE. Tell them the first digits of the key over the telephone, too")


def _ledger_id(folder: DataFolder, said: str | None) -> bytes:
    if said is None:
        if not folder.is_there:
            ways = "its id, 64 hexadecimal digits, or an invite"
            raise typer.BadParameter(f"{folder.path} is on no ledger yet; name with --ledger which is meant: {ways}")
        folder.settings()
        with Store.open(folder.ledger_path, read_only=True) as store:
            return store.genesis.ledger_id
    if is_hex_digest(said.lower()):
        return bytes.fromhex(said)
    if said.startswith("tallystick1"):
        return read_invite(said).ledger_id
    raise typer.BadParameter(f"{said!r} is no ledger's id, 64 hexadecimal digits, and no invite")


@key.command("rotate")
def rotate(
    admission: Admitted,
    compromised_since: Since = None,
    *,
    key: Annotated[
        Path | None, option("Sign with the organisation key in this file.", "FILE", show_default="the node's own")
    ] = None,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    yes: Yes = False,
) -> None:
    """Announce another member key for the own organisation: it follows after the ledger's delay, 24 h unless changed.

    Meanwhile every status shows it, and a motion can stop it: a thief could announce one as well. By the organisation
    key (--key) it follows at once. Set the node of the new key up before (tallystick join in another folder): it reads
    along, and votes from then on; the old one has to run until then.

    Example: tallystick key rotate 'uni-a:5f0c…:93ab…'
    """
    from tallystick.cli.members import rotate_key  # noqa: PLC0415  # it brings the client along

    wallet = options.wallet_in(key, passphrase_file, no_passphrase)
    rotate_key(admission, compromised_since, wallet, data, yes=yes)


key.command("continue")(consent)


def new(
    name: Annotated[str | None, argument("NAME", "What the ledger is called.", show_default="the draft's")] = None,
    *,
    members: Annotated[int | None, option("Make N nodes on this machine.", "N", min=1, max=_MOST_NODES)] = None,
    into: Annotated[Path, option("With --members: where the nodes' folders go.", "FOLDER")] = _NETWORK,
    port: Annotated[
        int | None, option("With --members: the first one's.", min=1, max=65_535, show_default="the first free ones")
    ] = None,
    member: Annotated[list[str] | None, option("A first member; :STAKE if it differs. Repeat it.", "NAME=KEY")] = None,
    own_name: Annotated[
        str | None, option("With --member: your own organisation.", "NAME", "--as", show_default="it is asked for")
    ] = None,
    stake: Annotated[int, option("What each has at stake.", "TOKENS", min=1)] = DEFAULT_STAKE,
    continues: Annotated[
        Path | None, option("Go on from a ledger that lost its quorum: its node's folder, or its file.", "OLD")
    ] = None,
    key: Annotated[
        Path | None,
        option("With --continues: the old node's key.", "FILE", show_default="in the old folder, else the new one"),
    ] = None,
    draft: Annotated[
        Path | None, option("With --continues: only write a draft, for others who go on to sign.", "FILE")
    ] = None,
    from_draft: Annotated[Path | None, option("Found the ledger of this draft.", "FILE")] = None,
    signed: Annotated[
        list[str] | None, option("With --from-draft: what tallystick key continue printed. Repeat it.", "LINE")
    ] = None,
    is_open: Annotated[
        bool, flag("--open", "An open ledger: anybody certifies, and keys stake tokens of their own.")
    ] = False,
    free: Annotated[
        int | None, option("With --open: and more, to stake later.", "TOKENS", min=0, show_default=str(DEFAULT_STAKE))
    ] = None,
    epoch_blocks: Annotated[
        int, option("Blocks of an epoch, unless stakes change: they count from the next.", "BLOCKS")
    ] = _DEFAULTS.epoch_blocks,
    epoch_ms: Annotated[int, option("The least time of an epoch.", "MS")] = _DEFAULTS.epoch_ms,
    unbonding_blocks: Annotated[
        int | None, option("Blocks until withdrawn stake is free.", "BLOCKS", show_default="two epochs")
    ] = None,
    unbonding_ms: Annotated[
        int | None, option("And time until it is free; it is liable until then.", "MS", show_default=_UNBONDING_DEFAULT)
    ] = None,
    delta_ms: Annotated[
        int, option("In which time a message arrives, as a rule; timeouts are multiples.", "MS")
    ] = _DEFAULTS.delta_ms,
    observers: Annotated[
        bool, flag("--observers/--members-only", "Whether nodes without tokens may read along.")
    ] = True,
    listen: Listen = None,
    address: Reach = None,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    yes: Yes = False,
) -> None:
    """Found a ledger.

    With --members N: nodes on this machine, each in a folder of its own, for a class or a try-out. With --member: the
    ledger of the keys that others made (tallystick key new) and told you; your own key is one of them, or is added,
    and your node is set up. The ledger begins at the time of this machine's clock, which has to be right.

    Members are organisations: they stand in the ledger's directory under their names, they alone certify, and they
    decide by motions who joins and who leaves. An organisation's id, for ever, comes from its name; ID/NAME says
    another. With --open anybody certifies, members are keys, and nothing is decided in common.

    Four members or more of equal stake go on without one. With three, nobody can be removed or replaced who is gone.

    A ledger that lost its quorum for good has ended. Those who are left found another, which says that it continues the
    old one (--continues), by how many of its members, and that no ledger decided that. It shows what the old key is to
    sign, and asks. Where several go on, they sign a --draft first (tallystick key continue). The old node has to be
    stopped; its folder stays, to be read, and the new node has a folder of its own.

    Examples:
      tallystick new class --members 4
      tallystick new diplomas --as 'University A' --address node.a.edu:7117 --member 'University B=5f0c…' --member …
      tallystick new play --members 2 --open --free 1000
      tallystick new diplomas-2 --continues ./old --data ./new --member 'carol/Carol University=5f0c…' --draft draft.txt
      tallystick new --from-draft draft.txt --signed 93ab… --data ./new --address node.b.edu:7117
    """
    if from_draft is not None:
        if any((name, members, member, own_name, continues, key, draft, is_open)):
            raise typer.BadParameter("with --from-draft, name, members and stakes are those of the draft")
        _found_from_draft(from_draft, signed or (), options.node_folder(data), places(listen, address, towards=None))
        return
    if name is None:
        raise typer.BadParameter("NAME is missing: what the ledger is called")
    if continues is None and (key, draft, signed) != (None, None, None):
        raise typer.BadParameter("--key and --draft need --continues, and --signed needs --from-draft")
    if (members is None and not member and continues is None) or (members is not None and (member or continues)):
        raise typer.BadParameter("say either --members N, or --member NAME=KEY for each member")
    if free is not None and not is_open:
        raise typer.BadParameter("--free needs --open: where members decide together nobody has tokens to stake alone")
    params = Params(
        epoch_blocks=epoch_blocks,
        epoch_ms=epoch_ms,
        unbonding_blocks=2 * epoch_blocks if unbonding_blocks is None else unbonding_blocks,
        unbonding_ms=founding.default_unbonding_ms(epoch_ms) if unbonding_ms is None else unbonding_ms,
        delta_ms=delta_ms,
        admits_observers=observers,
        anybody_certifies=is_open,
    )
    founding.check_plausible(params)
    extra = DEFAULT_STAKE if free is None else free
    if members is not None:
        passphrase = options.find_passphrase(passphrase_file, no_passphrase, "all keys", is_new=True)
        with counting("Sealing keys", members) as on_key:
            folders = founding.found_here(
                name, into, members, passphrase, params=params, stake=stake, free=extra, port=port, on_key=on_key
            )
        _tell(folders, [founding.member_here(one, stake, is_open=is_open) for one in folders], into)
        return
    first = [founding.parse_member(one, stake, is_open=is_open) for one in member or ()]
    settings = None if draft else Settings(*places(listen, address, towards=None))
    folder = options.node_folder(data)
    folder.check_free()
    folder.check_path()
    old = OldLedger(continues, folder, key, draft) if continues is not None else None
    named = {one.key for one in first}
    if not (folder.key_path.exists() and folder.public_key() in named):
        own_id, title = _own_name(own_name, old, is_open=is_open)
        founding.check_distinct([Member(title, b"", stake, own_id), *first], is_open=is_open)
    own = _own_wallet(folder, passphrase_file, no_passphrase)
    if own.public_key not in named:
        first = [Member(title, own.public_key, stake, own_id), *first]
    genesis = founding.found(name, first, extra, params)
    if old is not None:
        genesis = old.sign(genesis, own, passphrase_file, no_passphrase, yes=yes)
    if settings is not None:
        founding.set_up(folder, settings, genesis, first)
        _tell([folder], first)


def _found_from_draft(path: Path, signed: Sequence[str], folder: DataFolder, place: tuple[str, str]) -> None:
    """Found the ledger of a draft that all who go on have signed. Raises `Problem`, `Refused` (G5)."""
    folder.check_free()
    folder.check_path()
    genesis, first = read_signed(path, signed, folder)
    if silent := unsigned_members(genesis, first):
        warn(f"{names_of(silent)}: a member of the new ledger that has not signed; nothing says that it goes on")
    founding.set_up(folder, Settings(*place), genesis, first)
    _tell([folder], first)


def _own_name(said: str | None, old: OldLedger | None, *, is_open: bool) -> tuple[str, str]:
    """Id and name of the founder's own organisation: those that it had, unless others are said."""
    if is_open:
        return "", said or "founder"
    before = old.own_name() if old is not None and said is None else None
    return before or founding.parse_name(said or _ask_name())


def _ask_name() -> str:
    if not can_ask():
        raise BadRequest("what is your organisation called? Say so with --as NAME; members read it on the ledger")
    return ask("Your organisation's name, for all to read on the ledger")


def join(
    invite: Annotated[list[str], argument("INVITE", "The line that tallystick invite printed.")],
    *,
    listen: Listen = None,
    address: Reach = None,
    run: Annotated[bool, flag("--run", "Run the node once it has joined; from then on exit codes are run's.")] = False,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
) -> None:
    """Set a node up on a ledger that somebody invited you to.

    Makes a key unless the folder has one, asks the inviting node for the ledger's first document, holds it to the id
    in the invite, and writes the folder. A key among the members votes. Any other reads along; it certifies where
    anybody does, or else once an organisation lists it.

    Example: tallystick join tallystick1… --address node.bob.org:7117 --run
    """
    from tallystick.host import joining  # noqa: PLC0415  # it brings ZeroMQ along

    if run and is_json():
        raise typer.BadParameter("--run gives no result; join with --json, and then call tallystick run")
    folder = options.node_folder(data)
    folder.check_free()
    invited = read_invite(" ".join(invite))
    own_listen, own_address = places(listen, address, towards=invited.addresses[0])
    wallet = _own_wallet(folder, passphrase_file, no_passphrase)
    with busy(f"Asking {invited.addresses[0]} for the ledger"):
        genesis = joining.fetch(invited, wallet)
    settings = joining.set_up_invited(folder, invited, genesis, own_listen, own_address)
    joined = views.joined_view(folder, wallet.public_key, genesis)
    give(joined)
    say(marked("✓", joined.name, f" is joined: ledger {joined.ledger_id[:16]}…"))
    if joined.continues is not None:
        say(field("!", continued(joined.continues), "bold yellow"))
    member = f"a first member, with {joined.stake_at_first:,} tokens at stake"
    reads = "an observer: it reads along, and certifies" + (
        "" if joined.is_open else " when an organisation lists its key"
    )
    role = member if joined.stake_at_first else reads
    _say_place(folder, f"Your node is {role}. It is")
    hint(f"It runs with: tallystick run --data {folder.quoted}")
    if run:
        run_here(folder, settings, wallet)


def _own_wallet(folder: DataFolder, file: Path | None, none: bool) -> Wallet:
    """The key of a node that is to be set up in the folder, made if there is none. Raises `Problem`, `Refused`."""
    folder.check_free()
    folder.check_path()
    if folder.key_path.exists():
        return options.open_key(folder.key_path, file, none)
    return founding.make_key(folder, options.find_passphrase(file, none, str(folder.key_path), is_new=True))


def _tell(folders: Sequence[DataFolder], members: Sequence[Member], into: Path | None = None) -> None:
    """What was founded; `into`: all of its nodes are here."""
    with Store.open(folders[0].ledger_path, read_only=True) as store:
        told = views.founded_view(folders, members, store.genesis)
    give(told)
    say(marked("✓", told.name, f" is founded: ledger {told.ledger_id[:16]}…, which begins on {utc(told.created_ms)}"))
    if told.continues is not None:
        say(field("!", continued(told.continues), "bold yellow"))
    data = folders[0].quoted
    if into is not None:
        say_table(told.nodes, {"Folder": lambda one: one.folder, "Address": lambda one: one.address, "Key": _key})
        all_of_them = f"tallystick up {shlex.quote(str(into))}"
        _say_indispensable(told)
        _say_next({all_of_them: "runs them all", f"tallystick run --data {data}": "runs one"})
        return
    ids: Columns[views.FirstMember] = {} if told.is_open else {"Id": lambda one: one.organisation or ""}
    columns: Columns[views.FirstMember] = {"Member": lambda one: one.name, **ids}
    say_table(told.members, {**columns, "At stake": lambda one: f"{one.stake:,}", "Key": _key})
    _say_place(folders[0], "Your node is")
    needed = 2 * sum(one.stake for one in told.members) // 3 + 1
    say(f"Blocks become final once members with {needed:,} tokens at stake are connected.")
    _say_indispensable(told)
    invite = f"tallystick invite --data {data}"
    others = "then prints the line with which the others join"
    _say_next({f"tallystick run --data {data}": "starts your node", invite: others})


def _say_indispensable(told: views.Founded) -> None:
    """Without whom the ledger stops for good: where they decide together, the others can do nothing about that."""
    found, count = told.indispensable, len(told.members)
    if told.is_open:
        return
    if not found:
        say("It goes on without any one member; the others can remove one that is gone, and replace a lost key.")
        return
    if count == 1:
        say(marked("!", "Indispensable: the only member", ": without it nothing becomes final. If its key is gone for"))
        say(
            "  good, the ledger has ended. Four equal members go on without one: admit others (tallystick member admit)"
        )
        say("  while it is there. Keep a copy of its key.")
        return
    every = f"each of {count} members"
    one, who = "one of them" if len(found) > 1 else "it", every if len(found) == count else names_of(found)
    say(marked("!", f"Indispensable: {who}", f": without {one} nothing becomes final. If {one} is gone for good, the"))
    say("  others can neither remove nor replace it, and the ledger has ended. Four equal members go on without one:")
    say("  found it with four, or admit more (tallystick member admit) while all are there. Keep copies of all keys.")


def _key(one: views.FirstNode | views.FirstMember) -> Text:
    return Text(f"{one.public_key[:16]}…", style="cyan")


def _say_place(folder: DataFolder, node: str) -> None:
    settings = folder.settings()
    say(f"{node} in {folder.path}; it listens on {settings.listen}, and others reach it at {settings.address}.")


def _say_next(commands: Mapping[str, str]) -> None:
    width = max(map(len, commands))
    say("")
    say("Next:")
    for command, what in commands.items():
        say(Text.assemble("  ", (f"{command:<{width}}", "bold"), f"   {what}"))
