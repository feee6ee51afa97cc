"""`tallystick stake`: move the node's own tokens in or out of stake."""

from typing import Annotated, Any, Final

import typer
from msgspec import to_builtins

from tallystick.cli.certify import Outcome, follow
from tallystick.cli.options import AsJson, Data
from tallystick.cli.output import ExitCode, errors_explained, fail, help_text, make_console, marked, print_json
from tallystick.cli.reaching import known_of, reach_at
from tallystick.host.control import ChangeStake
from tallystick.ledger.params import MAX_TOKENS, Params

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
    with errors_explained(), reach_at(data) as node:
        params = known_of(node.folder)[0].params
        outcome = Outcome(0, "", None)
        follow(node, ChangeStake(amount), [outcome], lambda: None, wait=True, until_s=None)
    effect = _effect(amount, outcome.block_index, params)
    if as_json:
        print_json({"amount": amount, **to_builtins(outcome), **effect})
    if outcome.state != "final":
        raise fail(f"the operation was refused: {outcome.reason}", ExitCode.FAILED)
    if not as_json:
        _tell(amount, outcome, effect)


def _effect(amount: int, block_index: int | None, params: Params) -> dict[str, Any]:
    """From which block on it counts, and from which on withdrawn tokens are free."""
    if block_index is None:
        return {"counts_from_block": None, "free_from_block": None}
    counts_from = (params.epoch_of(block_index) + 1) * params.epoch_blocks + 1
    return {
        "counts_from_block": counts_from,
        "free_from_block": block_index + params.unbonding_blocks if amount < 0 else None,
    }


def _tell(amount: int, outcome: Outcome, effect: dict[str, Any]) -> None:
    what = f"{amount:,} tokens staked" if amount > 0 else f"{-amount:,} tokens withdrawn from stake"
    console = make_console()
    console.print(marked("✓", what, f": block {outcome.block_index:,}"))
    console.print(f"  It counts from block {effect['counts_from_block']:,} on, where the next epoch begins.")
    if effect["free_from_block"] is not None:
        free = f"  The tokens stay liable, and are free from block {effect['free_from_block']:,} on."
        console.print(free)
