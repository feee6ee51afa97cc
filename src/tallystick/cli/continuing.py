"""Going on from a ledger that lost its quorum for good: `tallystick new --continues`, `tallystick key continue`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from msgspec.structs import replace

from tallystick.api import command_views as views
from tallystick.api.continuation_view import continuation_view
from tallystick.cli import options
from tallystick.cli.options import ChainFile, Data, NoPassphrase, PassphraseFile, Yes, argument
from tallystick.cli.output import Text, confirm, counting, field, give, hint, is_json, note, print_line, say, warn
from tallystick.cli.words import continued, many, utc
from tallystick.host import drafts
from tallystick.host.data_folder import DataFolder
from tallystick.host.data_lock import data_lock
from tallystick.host.founding import Member, members_in
from tallystick.host.key_file import read_sealed, sealed_public_key
from tallystick.integrity.old_chain import OldChain, continuation_of, read_old_chain
from tallystick.ledger.continuation import Continuation
from tallystick.ledger.genesis import Genesis, continuing, sign_consent
from tallystick.ledger.wallet import Wallet
from tallystick.problems import BadRequest, DataInUse, Problem
from tallystick.storage.store import Store


class OldLedger:
    """The ledger that is to be continued, checked, and the key that consents to that."""

    def __init__(self, path: Path, own: DataFolder, key: Path | None, draft: Path | None) -> None:
        """`path`: the old node's folder, or its chain's file; `draft`: the file to be written. Raises `Problem`."""
        if draft is not None:
            drafts.check_free(draft)
        self._draft = draft
        if path.is_dir():
            _check_stopped(path)
        chain = DataFolder(path).ledger_path if path.is_dir() else path
        self.chain = _read(chain, None)
        self.continues = continuation_of(self.chain.genesis, self.chain.state)
        kept = [DataFolder(path).key_path, own.key_path]
        found = key or next((one for one in kept if one.exists()), None)
        if found is None:
            raise BadRequest(f"there is no key in {path}; name the file of the old node's key with --key")
        self._key_path = found
        self.public_key = sealed_public_key(read_sealed(self._key_path))
        _check_voter(self.continues, self.public_key, self._key_path)

    def own_name(self) -> tuple[str, str] | None:
        """The id and name that the organisation of the key has on the old ledger."""
        entry = self.chain.state.directory.keys.get(self.public_key)
        if entry is None:
            return None
        return entry.organisation, self.chain.state.directory.organisations[entry.organisation].title

    def sign(
        self, genesis: Genesis, own: Wallet, passphrase_file: Path | None, no_passphrase: bool, *, yes: bool
    ) -> Genesis:
        """The genesis as the continuation that the key consents to, in the draft too; `own` is the new node's key.

        It asks first. Raises `Problem`, `Refused`.
        """
        unsigned = replace(genesis, continues=self.continues)
        if not yes:
            _note(views.draft_view(self._draft or Path(), unsigned, self.chain.state.params))
        _confirm(self.continues, yes)
        is_same = own.public_key == self.public_key
        wallet = own if is_same else options.open_key(self._key_path, passphrase_file, no_passphrase)
        signed = continuing(genesis, self.continues, [wallet])
        if self._draft is not None:
            drafts.write_draft(self._draft, signed)
            self._tell_draft(self._draft, signed)
        return signed

    def _tell_draft(self, path: Path, draft: Genesis) -> None:
        told = views.draft_view(path, draft, self.chain.state.params)
        give(told)
        for line in _picture(told):
            say(line)
        hint(f"Send {path} to the others who go on. Each reads it, signs it, and sends back the line that this prints:")
        hint(f"  tallystick key continue {path.name} --data OLD_FOLDER")
        hint(f"Then found the ledger: tallystick new --from-draft {path} --signed LINE --signed LINE …")


def _read(path: Path, index: int | None) -> OldChain:
    with Store.open(path, read_only=True) as store:
        last = store.tip_index
    with counting("Checking the old chain", last) as on_block:
        return read_old_chain(path, index, on_block)


def _check_stopped(folder: Path) -> None:
    """Raise `DataInUse` while the old node runs: its ledger may go on by itself."""
    try:
        with data_lock(folder):
            pass
    except DataInUse:
        raise
    except Problem:
        return  # a copy that cannot be written to: no node runs there


def _confirm(said: Continuation, yes: bool) -> None:
    question = f"Sign that this ledger, with these members, stakes and parameters, continues {said.name}?"
    confirm(f"{question} No ledger decides that, and it cannot be taken back.", is_said=yes)


def _note(told: views.Draft) -> None:
    """Show a draft beside the result: what is printed is a consent, or a ledger that was founded."""
    for one in () if is_json() else _picture(told):
        note(one)


def _check_voter(continues: Continuation, key: bytes, path: Path) -> None:
    if key not in [one.key for one in continues.voters]:
        said = f"{path} holds {key.hex()[:16]}…, which has no stake on {continues.name} after block {continues.index}"
        raise BadRequest(f"{said}: only its members can say that it is continued; name the right key")


def _picture(told: views.Draft) -> Iterator[Text]:
    """What a draft says, line by line."""
    before = told.continues
    yield Text("Draft of the ledger ").append(told.name, "bold").append(f", which begins on {utc(told.created_ms)}")
    yield field("!", continued(before), "bold yellow")
    yield field("old ledger", before.ledger_id)
    yield field(
        "final block", f"{before.block_index:,}, of {utc(before.block_timestamp_ms)}  {before.block_hash[:16]}…"
    )
    yield field("log", many(before.log_size, "certificate"))
    for one in before.members:
        signed = "has signed" if one.has_signed else "has not signed"
        yield field(
            "was member", f"{one.organisation or ''} {one.key[:16]}… with {one.stake:,} tokens: {signed}".strip()
        )
    for new in told.members:
        called = f"{new.name} ({new.organisation})" if new.organisation else new.name
        yield field("member", f"{called} {new.public_key[:16]}… with {new.stake:,} tokens")
    for name, (there, here) in told.other_parameters.items():
        yield field("changed", f"{name} is {here}, and was {there}", "yellow")


def consent(
    draft: Annotated[Path, argument("FILE", "The draft that tallystick new --draft wrote.")],
    *,
    chain: ChainFile = None,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    yes: Yes = False,
) -> None:
    """Sign, as a member of a ledger that lost its quorum for good, that the ledger in a draft continues it.

    --data is the old node's folder, with its key. It shows what the draft says, holds it to this node's own copy of
    the old ledger, all of which is checked again, asks, and prints a line for whoever founds the new ledger. What is
    signed holds for that draft alone: these members, stakes and parameters.

    No ledger decides that, so everybody is told by how many members, with how much stake, it was signed.

    Example: tallystick key continue draft.txt --data ./old > consent.txt
    """
    found, folder = drafts.read_draft(draft), options.node_folder(data)
    said = found.continues
    assert said is not None
    if chain is None:
        _check_stopped(folder.path)
    own = _read(options.chain_file(chain, data), said.index)
    public_key = folder.public_key()
    if own.genesis.ledger_id != said.ledger_id:
        raise BadRequest(f"{draft} continues {said.name} ({said.ledger_id.hex()[:16]}…), and this node's is another")
    if own.state_then is not None and continuation_of(own.genesis, own.state_then) != said.with_consents({}):
        raise BadRequest(f"{draft} is not what this node's own copy of the old ledger says of block {said.index}")
    _check_voter(said, public_key, folder.key_path)
    told = views.draft_view(draft, found, own.state.params)
    _note(told)
    if (differs := _differs(own, said)) is not None:
        warn(differs)
    _confirm(said, yes)
    wallet = options.open_key(folder.key_path, passphrase_file, no_passphrase)
    signature = sign_consent(wallet, found)
    line = drafts.write_consent(public_key, signature)
    give(
        views.Consent(
            draft=told,
            own_block_index=own.state.index,
            public_key=public_key.hex(),
            signature=signature.hex(),
            line=line,
        )
    )
    print_line(line)
    hint("Send this line to whoever founds the ledger: tallystick new --from-draft FILE --signed LINE")


def _differs(own: OldChain, said: Continuation) -> str | None:
    """How the own copy of the old chain is another than the draft's; `None`: it ends with the same block."""
    last, later = own.state.index, many(abs(own.state.index - said.index), "block")
    ends = f"it ends with block {last:,}, the draft goes on after block {said.index:,}"
    if last > said.index:
        return f"your copy is newer: {ends}; what is in {later} after that is not part of what is continued"
    if last < said.index:
        return f"your copy is older: {ends}; it does not show whether the last {later} are on the old ledger"
    return None


def unsigned_members(genesis: Genesis, members: Sequence[Member]) -> list[str]:
    """Those members, by name, that were members of the old ledger, too, and whose old keys have not signed."""
    said = continuation_view(genesis)
    silent = [one for one in said.members if not one.has_signed] if said is not None else []
    ids = {one.organisation or one.key for one in silent}
    return [one.name for one in members if one.id in ids or one.key.hex() in ids]


def read_signed(path: Path, lines: Sequence[str], folder: DataFolder) -> tuple[Genesis, list[Member]]:
    """The ledger of a draft with all its consents, and its members; the folder's key has to be one of them.

    Raises `Problem`, `Refused` (G5).
    """
    genesis = drafts.with_lines(drafts.read_draft(path), lines)
    members = members_in(genesis)
    if not folder.key_path.exists() or folder.public_key() not in [one.key for one in members]:
        raise BadRequest(f"{folder.key_path} is no key of a member in {path}; name that one's folder with --data")
    return genesis, members
