"""`tallystick show`: what is on a ledger, as a running node or a kept chain has it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tallystick.cli import show_view
from tallystick.cli.connecting import connect, ledger_info
from tallystick.cli.node_reader import NodeReader
from tallystick.cli.node_values import NodeValues
from tallystick.cli.options import AsJson, Data
from tallystick.cli.output import error_boundary, help_text, make_console, print_json
from tallystick.cli.reading import open_chain, read_chain
from tallystick.cli.show_values import ChainValues
from tallystick.cli.source import WHERE, Chain, find_source
from tallystick.host.data_folder import DataFolder
from tallystick.problems import NotRunning

HELP: Final = help_text(
    "Show a ledger, or a part of it: chain, block, certificate, stakes, member or peers.",
    WHERE,
    "Examples:",
    "  tallystick show",
    "  tallystick show block 3",
    "  tallystick show certificate 5f0c93ab",
    "  tallystick show member Alice",
    "  tallystick show stakes --json",
)


class Part(StrEnum):
    """What can be shown."""

    CHAIN = "chain"
    BLOCK = "block"
    CERTIFICATE = "certificate"
    STAKES = "stakes"
    MEMBER = "member"
    PEERS = "peers"


def show(
    part: Annotated[Part, typer.Argument(metavar="PART", help="What to show.")] = Part.CHAIN,
    which: Annotated[
        str | None,
        typer.Argument(
            metavar="WHICH",
            help="A block's index, how a certificate's id begins, a member's name or how its key begins.",
            show_default=False,
        ),
    ] = None,
    chain: Chain = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """See `HELP`."""
    with error_boundary():
        _check_which(part, which)
        source = find_source(chain, data)
        if source.node is not None:
            value = _of_node(source.node, part, which or "")
        else:
            value = _of_file(source.file, part, which or "")
    if as_json:
        print_json(value)
    else:
        show_view.VIEWS[part.value](make_console(), value)


def _of_node(folder: DataFolder, part: Part, which: str) -> dict[str, Any]:
    genesis, names = ledger_info(folder)
    with connect(folder) as node:
        values = NodeValues(NodeReader(node, genesis), genesis, names)
        readers = {
            Part.CHAIN: values.chain,
            Part.BLOCK: values.block,
            Part.CERTIFICATE: values.certificate,
            Part.STAKES: values.stakes,
            Part.MEMBER: values.member,
            Part.PEERS: values.peers,
        }
        return readers[part](which)


def _of_file(file: Path, part: Part, which: str) -> dict[str, Any]:
    if part is Part.PEERS:
        raise NotRunning("peers are what a running node has; start it with: tallystick run")
    with open_chain(file) as store:
        values = ChainValues(store, read_chain(store), store.names())
        readers = {
            Part.CHAIN: values.chain,
            Part.BLOCK: values.block,
            Part.CERTIFICATE: values.certificate,
            Part.STAKES: values.stakes,
            Part.MEMBER: values.member,
        }
        return readers[part](which)


def _check_which(part: Part, which: str | None) -> None:
    needs = {
        Part.BLOCK: "an index: tallystick show block 3",
        Part.CERTIFICATE: "an id: tallystick show certificate 5f0c93ab",
        Part.MEMBER: "a name or key: tallystick show member Alice",
    }
    if part in needs and which is None:
        raise typer.BadParameter(f"a {part} is named by {needs[part]}")
    if part not in needs and which is not None:
        raise typer.BadParameter(f"{which!r} is too much: {part} takes no index, id or name")
    if part is Part.BLOCK and not str(which).isdecimal():
        raise typer.BadParameter(f"{which!r} is not a block's index: a whole number from 0 on")
    if part is Part.CERTIFICATE and not (which and set(which.lower()) <= set("0123456789abcdef")):
        raise typer.BadParameter(f"{which!r} is not how a certificate's id begins: digits and letters a to f")
