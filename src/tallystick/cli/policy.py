"""`tallystick policy`: whom other people's tools are to ask for signatures under a ledger's checkpoints."""

from pathlib import Path
from typing import Annotated

import typer

from tallystick.api.command_views import PolicyMade
from tallystick.api.member_policy import Witness, needed_of, policy_text, warnings_of
from tallystick.api.proving_views import CheckpointMember
from tallystick.cli.options import ChainFile, Data, open_source, option
from tallystick.cli.output import give, marked, print_line, say, warn
from tallystick.cli.words import many, whole
from tallystick.ledger.tlog_policy import parse_policy
from tallystick.problems import CannotMake, NotThere


def policy(
    *,
    log: Annotated[
        str | None,
        option("Whose key is the log's: an organisation, a name, a key.", "MEMBER", show_default="the first cosigner"),
    ] = None,
    to: Annotated[Path | None, option("A new file to write it to.", "FILE", show_default="standard output")] = None,
    chain: ChainFile = None,
    data: Data = None,
    url: Annotated[str | None, option("Ask the node at this URL instead.")] = None,
) -> None:
    """Write a policy of C2SP (tlog-policy) for other people's tools: by whose keys a checkpoint has to be signed.

    It is for the members of the newest checkpoint's epoch: one log, each member as a witness, and so many of them that
    any so many hold more than 2/3 of the stake. It knows no stake, no changes of members and no status of certificates:
    tallystick verify does.

    Examples:
      tallystick policy --to universities.policy
      tallystick policy --log uni-a > universities.policy
    """
    if url is not None and chain is not None:
        raise typer.BadParameter("--url and --chain exclude each other")
    with open_source(chain, data, url) as client:
        checkpoint = client.checkpoint()
        key = client.key_of(log) if log is not None else None
    witnesses = [Witness(bytes.fromhex(one.member.key), one.stake, _said(one)) for one in checkpoint.members]
    key = key or next(one.member.key for one in checkpoint.members if one.time_ms is not None)
    if bytes.fromhex(key) not in {one.key for one in witnesses}:
        raise NotThere(f"{log} has no stake in epoch {checkpoint.epoch}, so it signs no checkpoint of it")
    text = policy_text(checkpoint.origin, checkpoint.epoch, bytes.fromhex(key), witnesses)
    parse_policy(text.encode())  # what other tools are to take has to be what is taken here
    if to is not None:
        _write(to, text)
    made = PolicyMade(
        epoch=checkpoint.epoch,
        policy=text.splitlines(),
        file=str(to) if to else None,
        members=len(witnesses),
        needed=needed_of(witnesses),
        warnings=warnings_of(checkpoint.epoch, witnesses),
    )
    give(made)
    _tell(made)


def _said(one: CheckpointMember) -> str:
    return f"{whole(one.member)}, {one.stake} staked"


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise CannotMake(f"{path} is there; name another file with --to") from None
    except OSError as error:
        raise CannotMake(f"{path} cannot be written: {error.strerror}; name another file with --to") from None


def _tell(made: PolicyMade) -> None:
    for one in made.warnings:
        warn(one)
    if made.file is None:
        for line in made.policy:
            print_line(line)
    else:
        needs = f": {made.needed} of {many(made.members, 'member')} of epoch {made.epoch}"
        say(marked("✓", made.file, needs))
