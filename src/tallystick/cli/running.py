"""`tallystick run`: this node, in the foreground, until it is told to stop."""

from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from msgspec.structs import replace

from tallystick.cli.options import Data, NoPassphrase, PassphraseFile, node_folder, open_wallet
from tallystick.cli.output import error_boundary, fail, help_text
from tallystick.host.addresses import split_address
from tallystick.host.data_folder import DataFolder, Settings
from tallystick.ledger.wallet import Wallet
from tallystick.problems import DamagedStore, ExitCode

if TYPE_CHECKING:
    from tallystick.api.doors import TcpDoor

_EXIT_CODES: Final = (
    "Exit codes: 0 stopped when it was told to, 1 a part of it failed, 2 wrong usage, or it cannot start, 3 its state "
    "is not the ledger's, 4 another machine signs with its key: started again, it signs nothing."
)
HELP: Final = help_text(
    "Run the node of a folder, in the foreground, until Ctrl-C or SIGTERM.",
    "Its log goes to standard error. Other commands (certify, status, show, …) talk to it through a socket in its "
    "folder that only you can open. While the ledger begins ahead of this machine's clock, it waits, and says so.",
    "Example: tallystick run --data ./node --passphrase-file ./passphrase",
    exit_codes=_EXIT_CODES,
)


class LogLevel(StrEnum):
    """From everything to the worst alone."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_FOR_THIS_RUN: Final = "for this run: node.toml, which says it otherwise, stays as it is."

Api = Annotated[
    str | None,
    typer.Option("--api", metavar="ADDRESS:PORT", help="Answer over HTTP there, too: reads and signed submissions."),
]
ApiHost = Annotated[
    list[str] | None,
    typer.Option(
        "--api-host", metavar="NAME", help="What that door is called, besides its address; as often as needed."
    ),
]
ApiProxy = Annotated[
    str | None, typer.Option("--api-proxy", metavar="ADDRESS", help="A proxy whose X-Forwarded-For is believed.")
]
ApiSearch = Annotated[bool, typer.Option("--api-search", help="Let anybody search there: that lists people.")]
TlsCert = Annotated[
    Path | None, typer.Option("--tls-cert", metavar="FILE", help="A certificate for that door, in PEM.")
]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="The certificate's key, in PEM.")]


def run(
    *,
    listen: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS:PORT", help=f"Where the node listens, {_FOR_THIS_RUN}", show_default=False),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help=f"Where the others reach it, {_FOR_THIS_RUN}", show_default=False),
    ] = None,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Write the log as one JSON object a line.")] = False,
    log_level: Annotated[LogLevel, typer.Option("--log-level", help="What is worth a line.")] = LogLevel.INFO,
    api: Api = None,
    api_host: ApiHost = None,
    api_proxy: ApiProxy = None,
    api_search: ApiSearch = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    with error_boundary():
        folder = node_folder(data)
        settings = folder.check_startable()
        settings = replace(settings, listen=listen or settings.listen, address=address or settings.address)
        settings.check()
        wallet = open_wallet(folder, passphrase_file, no_passphrase)
        tcp = (
            tcp_door(api, names=api_host or (), proxy=api_proxy, lists=api_search, certificate=tls_cert, key=tls_key)
            if api
            else None
        )
        code = run_here(folder, settings, wallet, tcp, log_json=log_json, log_level=log_level)
    raise typer.Exit(code)


def tcp_door(
    api: str, *, names: Sequence[str], proxy: str | None, lists: bool, certificate: Path | None, key: Path | None
) -> "TcpDoor":
    """The door for everybody. Raises `BadParameter`."""
    from tallystick.api.doors import TcpDoor  # noqa: PLC0415
    from tallystick.api.server import Tls  # noqa: PLC0415

    if (certificate is None) != (key is None):
        raise typer.BadParameter("--tls-cert and --tls-key belong together")
    host, port = split_address(api)
    tls = Tls(certificate, key) if certificate and key else None
    return TcpDoor(host, port, tuple(names), tls, proxy, lists)


def run_here(
    folder: DataFolder,
    settings: Settings,
    wallet: Wallet,
    tcp: "TcpDoor | None" = None,
    *,
    log_json: bool = False,
    log_level: LogLevel = LogLevel.INFO,
) -> int:
    """Run the node in this process to its end; returns the exit code."""
    from tallystick.api.doors import open_doors  # noqa: PLC0415
    from tallystick.host.logs import start_logging  # noqa: PLC0415
    from tallystick.host.process import run_node  # noqa: PLC0415  # the other commands need none of it

    start_logging(log_level.value, log_json)
    try:
        code: int = run_node(folder, settings, wallet, partial(open_doors, tcp))
    except DamagedStore as damage:  # `run` has exit codes of its own
        raise fail(str(damage), ExitCode.FAILED) from None
    return code
