"""`tallystick stake`: move the node's own tokens in or out of stake."""

from typing import Annotated, Any, Final

import typer
from msgspec import to_builtins

from tallystick.cli.certify import Outcome, follow
from tallystick.cli.connecting import connect_at, ledger_info
from tallystick.cli.node_reader import NodeReader
from tallystick.cli.options import AsJson, Data
from tallystick.cli.output import error_boundary, fail, help_text, make_console, marked, print_json
from tallystick.cli.words import lasting, utc
from tallystick.host.control import ChangeStake
from tallystick.ledger.block import Block
from tallystick.ledger.fields import MAX_TOKENS
from tallystick.ledger.params import Params
from tallystick.ledger.state import context_of
from tallystick.problems import ExitCode

HELP: Final = help_text(
    "Stake tokens of the node's own; a negative amount withdraws.",
    "It counts from the next epoch on: until then everybody votes and forges with what was at stake when this one "
    "began. Withdrawn tokens stay liable for a while before they are free.",
    "Examples:",
    "  tallystick stake 50",
    "  tallystick stake -20",
)


def stake(
    amount: Annotated[
        int,
        typer.Argument(
            metavar="AMOUNT",
            min=-MAX_TOKENS,
            max=MAX_TOKENS,
            help="Tokens; below 0 to withdraw.",
            show_default=False,
        ),
    ],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """See `HELP`."""
    if amount == 0:
        raise typer.BadParameter("0 tokens move nothing; name how many")
    with error_boundary(), connect_at(data) as node:
        genesis, _ = ledger_info(node.folder)
        outcome = Outcome(0, "", None)
        follow(node, ChangeStake(amount), [outcome], lambda: None, wait=True, until_s=None)
        block = NodeReader(node, genesis).block(outcome.block_index) if outcome.block_index is not None else None
    effect = _effect(amount, block, genesis.params)
    if as_json:
        print_json({"amount": amount, **to_builtins(outcome), **effect})
    if outcome.state != "final":
        raise fail(f"the operation was refused: {outcome.reason}", ExitCode.REFUSED)
    if not as_json:
        _tell(amount, outcome, effect, genesis.params)


def _effect(amount: int, block: Block | None, params: Params) -> dict[str, Any]:
    """From which epoch on it counts, and from which epoch, block and time on withdrawn tokens are free."""
    counts_from = block.header.epoch + 1 if block is not None else None
    until = context_of(block.header).freed_from(params) if block is not None and amount < 0 else None
    return {
        "counts_from_epoch": counts_from,
        "free_from_epoch": until.epoch if until else None,
        "free_from_block": until.index if until else None,
        "free_from_ms": until.timestamp_ms if until else None,
    }


def _tell(amount: int, outcome: Outcome, effect: dict[str, Any], params: Params) -> None:
    what = f"{amount:,} tokens staked" if amount > 0 else f"{-amount:,} tokens withdrawn from stake"
    console = make_console()
    console.print(marked("✓", what, f": block {outcome.block_index:,}"))
    epoch = effect["counts_from_epoch"]
    begins = f"it begins after the first block that is {lasting(params.epoch_ms)} or more into epoch {epoch - 1:,}"
    console.print(f"  It counts from epoch {epoch:,} on; {begins}.", soft_wrap=True)
    if effect["free_from_block"] is not None:
        free = f"epoch {effect['free_from_epoch']:,}, block {effect['free_from_block']:,} and"
        console.print(f"  The tokens stay liable until {free} {utc(effect['free_from_ms'])}.", soft_wrap=True)
