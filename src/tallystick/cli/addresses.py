"""Where nodes listen and are reached: the command line's defaults."""

import socket
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from typing import Final

import msgspec

from tallystick.cli.options import DEFAULT_PORT
from tallystick.host.data_folder import Address, FolderError

HERE: Final = "127.0.0.1"
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104  a node is there to be reached
_MAX_PORT: Final = 65_535


def split_address(address: str) -> tuple[str, int]:
    """Host and port. Raises `FolderError` for what is no address."""
    with suppress(msgspec.ValidationError, ValueError):
        host, port = msgspec.convert(address, Address).rsplit(":", 1)
        if 0 < int(port) <= _MAX_PORT:
            return host, int(port)
    raise FolderError(f"{address!r} is no address: a host and a port, as in node.example.org:{DEFAULT_PORT}")


def free_ports(how_many: int, first: int | None = None) -> range:
    """Ports one after the other that are free on 127.0.0.1: from `first` on exactly, or the first ones that are.

    Raises `FolderError` when the ports asked for are taken, or there are none.
    """
    starts = range(first, first + 1) if first is not None else range(DEFAULT_PORT, _MAX_PORT - how_many)
    for start in starts:
        ports = range(start, start + how_many)
        if ports.stop <= _MAX_PORT + 1 and _are_free(ports):
            return ports
    wanted = f"ports {first} to {first + how_many - 1} of {HERE}" if first is not None else f"{how_many} ports in a row"
    raise FolderError(f"{wanted} are not free; name others with --port")


def places(listen: str | None, address: str | None, towards: str | None) -> tuple[str, str]:
    """Where a node is to listen, and where it is reached: as asked, else fitting to each other.

    `towards` is the address of a node that it will connect to: what this machine is called on the way there is the
    best guess of what others reach it by. Raises `FolderError` when there is nothing to guess from.
    """
    if address is None:
        address = listen if listen is not None and not _is_any(split_address(listen)[0]) else None
    if address is None and towards is not None:
        host = _own_host(split_address(towards)[0])
        port = split_address(listen)[1] if listen else (free_ports(1)[0] if _is_loopback(host) else DEFAULT_PORT)
        address = f"{_bracketed(host)}:{port}"
    if address is None:
        example = f"--address node.example.org:{DEFAULT_PORT}"
        raise FolderError(f"say where the others will reach this node, as in {example}")
    host, port = split_address(address)
    if listen is None:
        listen = address if _is_loopback(host) else f"{_EVERYWHERE}:{port}"
    split_address(listen)
    return listen, address


def _are_free(ports: range) -> bool:
    with ExitStack() as stack:
        for port in ports:
            one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind((HERE, port))
            except OSError:
                return False
    return True


def _own_host(remote_host: str) -> str:
    """The address that this machine has on the way to another. Nothing is sent."""
    try:
        found = socket.getaddrinfo(remote_host.strip("[]"), DEFAULT_PORT, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise FolderError(f"{remote_host} is not known here: {error}; name your own address with --address") from None
    for family, kind, *_, address in found:
        with suppress(OSError), socket.socket(family, kind) as one:
            one.connect(address)
            return str(one.getsockname()[0])
    raise FolderError(f"there is no way to {remote_host} from here; name your own address with --address")


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host.strip("[]")).is_loopback
    return host == "localhost"


def _is_any(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host.strip("[]")).is_unspecified
    return host == "*"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
