"""Where nodes listen and are reached: addresses as people enter them, and the defaults."""

import secrets
import socket
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

import msgspec

from tallystick.host.text import is_hex_digest
from tallystick.ledger.address import Address
from tallystick.problems import Problem

DEFAULT_PORT: Final = 7117
HERE: Final = "127.0.0.1"

_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104  a node is there to be reached
_MAX_PORT: Final = 65_535
_LOWEST_DRAWN: Final = 20_000
_DRAWN_PORTS: Final = 12_000
"""Below those that systems give to outgoing connections."""


class AddressError(Problem):
    """What was entered is no address, or cannot be used as one."""


def split_address(text: str) -> tuple[str, int]:
    """Host and port of an address to listen at. Raises `AddressError`, with what is wrong with it."""
    host, separator, port = text.rpartition(":")
    if "://" in text:
        reason = f"leave {text.split('://', 1)[0]}:// out, and what follows the port"
    elif not (separator and host):
        reason = "it takes a host and a port"
    elif not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= _MAX_PORT):
        reason = f"its port is no number from 1 to {_MAX_PORT}"
    elif ":" in host and not (host.startswith("[") and host.endswith("]")):
        reason = "an IPv6 address stands in brackets, as in [2001:db8::7]:7117"
    elif not _is_host(host):
        reason = "its host is no name in ASCII and no IP address"
    else:
        return host, int(port)
    raise AddressError(f"{text!r} is no address: {reason}, as in node.example.org:{DEFAULT_PORT}")


def split_reached(text: str) -> tuple[str, int]:
    """Host and port of an address to reach. Raises `AddressError`, also for one that stands for all of a machine's."""
    host, port = split_address(text)
    if _is_any(host):
        reason = f"{host} stands for all addresses of a machine, and nobody reaches it there"
        raise AddressError(f"{text!r}: {reason}; name one of them, as in node.example.org:{port}")
    return host, port


def split_peer(text: str) -> tuple[bytes, str]:
    """Key and address of a peer, entered as KEY@HOST:PORT. Raises `AddressError`."""
    key, separator, address = text.partition("@")
    if not separator or not is_hex_digest(key):
        form = "KEY@HOST:PORT, the key in 64 hexadecimal digits"
        raise AddressError(f"{text!r} does not name a peer: {form}, as tallystick key show --address prints it")
    split_reached(address)
    return bytes.fromhex(key), address


def free_ports(how_many: int, first: int | None = None) -> range:
    """Ports one after the other that are free on 127.0.0.1: from `first` on exactly, or the first ones that are.

    Raises `AddressError` when the ports asked for are taken, or there are none.
    """
    starts = range(first, first + 1) if first is not None else range(DEFAULT_PORT, _MAX_PORT - how_many)
    for start in starts:
        ports = range(start, start + how_many)
        if ports.stop <= _MAX_PORT + 1 and _are_free(ports):
            return ports
    wanted = f"ports {first} to {first + how_many - 1} of {HERE}" if first is not None else f"{how_many} ports in a row"
    raise AddressError(f"{wanted} are not free; name others with --port")


def drawn_port(how_many: int = 1) -> int:
    """The first of as many free ports one after the other, drawn: networks that start together do not meet there.

    Raises `AddressError` when there are none.
    """
    drawn = secrets.randbelow(_DRAWN_PORTS)
    for place in range(_DRAWN_PORTS):
        with suppress(AddressError):
            return free_ports(how_many, _LOWEST_DRAWN + (drawn + place) % _DRAWN_PORTS)[0]
    between = f"from {_LOWEST_DRAWN} to {_LOWEST_DRAWN + _DRAWN_PORTS + how_many - 2} of {HERE}"
    raise AddressError(f"no {how_many} ports in a row {between} are free; end some of what listens there")


def places(listen: str | None, address: str | None, towards: str | None) -> tuple[str, str]:
    """Where a node is to listen, and where it is reached: as asked, else fitting to each other.

    `towards` is the address of a node that it will connect to: what this machine is called on the way there is the
    best guess of what others reach it by. Raises `AddressError` when there is nothing to guess from.
    """
    own = split_address(listen) if listen is not None else None
    if address is None and own is not None and not _is_any(own[0]):
        address = listen
    if address is None and towards is not None:
        host = _own_host(split_reached(towards)[0])
        port = own[1] if own else (free_ports(1)[0] if _is_loopback(host) else DEFAULT_PORT)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if address is None:
        example = f"--address node.example.org:{DEFAULT_PORT}"
        raise AddressError(f"say where the others will reach this node, as in {example}")
    host, port = split_reached(address)
    return listen or (address if _is_loopback(host) else f"{_EVERYWHERE}:{port}"), address


def _is_host(host: str) -> bool:
    """A name of the DNS, an IPv4 address, or an IPv6 address in brackets: what an address record can hold."""
    try:
        msgspec.convert(f"{host}:1", Address)
    except msgspec.ValidationError:
        return False
    is_bracketed, is_numeric = host.startswith("["), host.rpartition(".")[2].isdigit()
    return isinstance(_ip(host), IPv6Address if is_bracketed else IPv4Address) if is_bracketed or is_numeric else True


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
    except (OSError, UnicodeError):
        told = f"no machine of the name {remote_host} is known here"
        raise AddressError(f"{told}; name your own address with --address") from None
    for family, kind, *_, address in found:
        with suppress(OSError), socket.socket(family, kind) as one:
            one.connect(address)
            return str(one.getsockname()[0])
    raise AddressError(f"there is no way to {remote_host} from here; name your own address with --address")


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    with suppress(ValueError):
        return ip_address(host.strip("[]"))
    return None


def _is_loopback(host: str) -> bool:
    return host == "localhost" or bool((ip := _ip(host)) and ip.is_loopback)


def _is_any(host: str) -> bool:
    return bool((ip := _ip(host)) and ip.is_unspecified)
