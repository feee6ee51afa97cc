"""`tallystick stake`: put the node's own tokens into or out of stake."""

from typing import Annotated, Final

import typer
from msgspec import to_builtins

from tallystick.api import views
from tallystick.cli.options import AsJson, Data, Yes
from tallystick.cli.output import (
    Terminal,
    confirm,
    error_boundary,
    fail,
    help_text,
    make_console,
    marked,
    print_json,
    warn,
)
from tallystick.cli.source import open_node
from tallystick.cli.words import lasting, utc
from tallystick.client.blocking import Client
from tallystick.ledger.fields import MAX_TOKENS
from tallystick.ledger.params import Params
from tallystick.ledger.stake import BlockContext
from tallystick.problems import ExitCode

HELP: Final = help_text(
    "Stake tokens of the node's own; a negative amount withdraws, and asks first.",
    "It counts from the next epoch on: until then everybody votes and forges with what was at stake when this one "
    "began. Withdrawn tokens stay liable for a while before they are free, and as long the node has to stay.",
    "Examples:",
    "  tallystick stake 50",
    "  tallystick stake -20",
)
_PATIENCE_S: Final = 5.0


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
    *,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    if amount == 0:
        raise typer.BadParameter("0 tokens move nothing; name how many")
    with error_boundary(), open_node(data) as client:
        ledger = client.ledger()
        params = Params(**ledger.params)  # type: ignore[arg-type]  # they were made of one
        if amount < 0 and not yes:
            confirm(f"{_what_follows(ledger.tip, params)} Withdraw {-amount:,} tokens from stake?")
        outcome = _waited_for(client, client.stake(amount, timeout_s=0))
        if outcome.state == "final" and not as_json:
            _tell(amount, client.block(outcome.block_index or 0), params)
    if as_json:
        print_json(to_builtins(views.Outcomes(outcomes=[outcome])))
    if outcome.state == "refused":
        raise typer.Exit(ExitCode.REFUSED) if as_json else fail(f"it was refused: {outcome.reason}", ExitCode.REFUSED)


def _waited_for(client: Client, outcome: views.Outcome) -> views.Outcome:
    is_told = False
    with Terminal(stderr=True).status("Waiting for a block"):
        while outcome.state == "waiting":
            (outcome,) = client.wait([outcome.id], timeout_s=_PATIENCE_S)
            if outcome.state == "waiting" and not is_told and not (status := client.status()).is_well:
                warn(f"it waits: {status.why}")
                is_told = True
    if outcome.state == "unknown":
        raise fail("the node does not know of it any more, and it is not on the ledger; try again", ExitCode.FAILED)
    return outcome


def _what_follows(tip: views.BlockLine, params: Params) -> str:
    counts = f"The node votes with the tokens until epoch {tip.epoch + 1:,} begins, or the one after."
    return f"{counts} {_liable(tip, params, 'no sooner than')}: let the node run until then."


def _liable(block: views.BlockLine, params: Params, when: str) -> str:
    free = BlockContext(block.epoch, block.index, block.timestamp_ms).freed_from(params)
    return f"They are liable, and free {when} epoch {free.epoch:,}, block {free.index:,} and {utc(free.timestamp_ms)}"


def _tell(amount: int, block: views.Block, params: Params) -> None:
    what = f"{amount:,} tokens staked" if amount > 0 else f"{-amount:,} tokens withdrawn from stake"
    console = make_console()
    console.print(marked("✓", what, f": block {block.index:,}"))
    begins = f"it begins after the first block that is {lasting(params.epoch_ms)} or more into epoch {block.epoch:,}"
    console.print(f"  It counts from epoch {block.epoch + 1:,} on; {begins}.", soft_wrap=True)
    if amount < 0 and (params.unbonding_blocks or params.unbonding_ms):
        console.print(f"  {_liable(block, params, 'from')} on. Let the node run until then.", soft_wrap=True)
