"""`tallystick run`: this node, in the foreground, until it is told to stop."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, NoReturn, TypeAlias

import typer
from msgspec.structs import replace

from tallystick.cli.options import (
    Data,
    NoPassphrase,
    PassphraseFile,
    flag,
    node_folder,
    open_key,
    open_ml_dsa_key,
    option,
)
from tallystick.cli.output import fail
from tallystick.host.addresses import split_address
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.ledger.errors import Refused
from tallystick.ledger.wallet import Wallet
from tallystick.problems import DamagedStore, ExitCode, KeyFileError, Problem

if TYPE_CHECKING:
    from tallystick.api.app import TcpDoor
    from tallystick.api.witnessing import WitnessDoor
    from tallystick.host.ml_dsa import MlDsaWallet

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
_STANDARD_INPUT: Final = 0
_GIVE_A_PIPE: Final = "leave it out, or give a pipe that another program holds"
_FOR_THIS_RUN: Final = "for this run: node.toml, which says it otherwise, stays as it is."


@contextmanager
def _ends_as_a_node() -> Iterator[None]:
    """A node's process has exit codes of its own, `NodeExit`."""
    try:
        yield
    except DamagedStore as damage:
        raise fail(str(damage), ExitCode.FAILED) from None
    except Refused as refused:
        raise Problem(str(refused)) from None


@_ends_as_a_node()
def run(
    *,
    listen: Annotated[str | None, option(f"Where the node listens, {_FOR_THIS_RUN}", "ADDRESS:PORT")] = None,
    address: Annotated[str | None, option(f"Where the others reach it, {_FOR_THIS_RUN}", "HOST:PORT")] = None,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    log_json: Annotated[bool, flag("--log-json", "Write the log as one JSON object a line.")] = False,
    log_level: Annotated[LogLevel, option("What is worth a line.")] = "info",
    until_eof: Annotated[
        bool, flag("--until-eof", "End, too, when standard input ends: with the program that holds it.")
    ] = False,
    api: Annotated[
        str | None, option("Answer over HTTP there, too: reads and signed submissions.", "ADDRESS:PORT")
    ] = None,
    api_host: Annotated[
        list[str] | None, option("What that door is called, besides its address; as often as needed.", "NAME")
    ] = None,
    api_proxy: Annotated[str | None, option("A proxy whose X-Forwarded-For is believed.", "ADDRESS")] = None,
    api_search: Annotated[bool, flag("--api-search", "Let anybody search there: that lists people.")] = False,
    tls_cert: Annotated[Path | None, option("A certificate for that door, in PEM.", "FILE")] = None,
    tls_key: Annotated[Path | None, option("The certificate's key, in PEM.", "FILE")] = None,
) -> None:
    """Run the node of a folder, in the foreground, until Ctrl-C or SIGTERM.

    Its log goes to standard error. Other commands (certify, status, show, …) talk to it through a socket in its folder
    that only you can open. Where there is a witness (tallystick witness), the door of --api answers others' logs, too.
    While the ledger begins ahead of this machine's clock, it waits, and says so.

    Example: tallystick run --data ./node --passphrase-file ./passphrase
    """
    if until_eof:
        _check_input()
    folder = node_folder(data)
    settings = folder.check_startable()
    settings = replace(settings, listen=listen or settings.listen, address=address or settings.address)
    settings.check()
    tcp = None
    if api is None and (api_host or api_proxy or api_search or tls_cert or tls_key):
        raise typer.BadParameter("--api-host, --api-proxy, --api-search, --tls-cert and --tls-key need --api")
    if api is not None:
        from tallystick.api.app import TcpDoor  # noqa: PLC0415  # the other commands need none of it
        from tallystick.api.server import Tls  # noqa: PLC0415

        if (tls_cert is None) != (tls_key is None):
            raise typer.BadParameter("--tls-cert and --tls-key belong together")
        tls = Tls(tls_cert, tls_key) if tls_cert and tls_key else None
        tcp = TcpDoor(*split_address(api), tuple(api_host or ()), tls, api_proxy, api_search)
    wallet = open_key(folder.key_path, passphrase_file, no_passphrase)
    has_ml_dsa_key = folder.ml_dsa_path.exists()
    ml_dsa = open_ml_dsa_key(folder.ml_dsa_path, passphrase_file, no_passphrase) if has_ml_dsa_key else None
    with ExitStack() as stack:
        if tcp is not None and folder.witness_path.exists():
            witness_wallet = open_key(folder.witness_key_path, passphrase_file, no_passphrase)
            tcp = dataclasses.replace(tcp, witness=_witness(folder, witness_wallet, stack))
        held = _STANDARD_INPUT if until_eof else None
        run_here(folder, settings, wallet, tcp, ml_dsa=ml_dsa, until_eof=held, log_json=log_json, log_level=log_level)


def _check_input() -> None:
    """Raise `BadParameter` unless another program can hold this one's standard input."""
    try:
        os.fstat(_STANDARD_INPUT)
    except OSError:
        raise typer.BadParameter(f"--until-eof needs a standard input, and it is closed; {_GIVE_A_PIPE}") from None
    if os.isatty(_STANDARD_INPUT):
        raise typer.BadParameter(f"--until-eof does not read a terminal; {_GIVE_A_PIPE}, and end the node with Ctrl-C")


def _witness(folder: DataFolder, wallet: Wallet, stack: ExitStack) -> "WitnessDoor":
    """The witness in the folder, by its own key, until the stack is left. Raises `Problem`."""
    from tallystick.api.witnessing import WitnessDoor  # noqa: PLC0415
    from tallystick.host.witness import Witness  # noqa: PLC0415  # few nodes have one

    witness = stack.enter_context(closing(Witness(folder.witness_path)))
    if wallet.public_key != witness.public_key or wallet.public_key == folder.public_key():
        other = f"{folder.witness_key_path} is not the key of {folder.witness_path}"
        raise KeyFileError(f"{other}; restore the key's file from a copy, or make a witness of another name")
    return WitnessDoor(witness, wallet)


@_ends_as_a_node()
def run_here(
    folder: DataFolder,
    settings: Settings,
    wallet: Wallet,
    tcp: "TcpDoor | None" = None,
    *,
    ml_dsa: "MlDsaWallet | None" = None,
    until_eof: int | None = None,
    log_json: bool = False,
    log_level: LogLevel = "info",
) -> NoReturn:
    """Run the node in this process to its end, and end with its exit code. `until_eof` as for `run_node`."""
    from tallystick.api.doors import open_doors  # noqa: PLC0415
    from tallystick.host.logs import start_logging  # noqa: PLC0415
    from tallystick.host.process import run_node  # noqa: PLC0415  # the other commands need none of it

    start_logging(log_level, log_json)
    raise typer.Exit(run_node(folder, settings, wallet, partial(open_doors, tcp), ml_dsa, until_eof))
