"""JSON over HTTP, as peers of the benchmarks speak it, with no more than that costs."""

import json
from http.client import OK, HTTPConnection
from typing import Any, Final

from tallystick.host.addresses import HERE

PATIENCE_S: Final = 120.0


class NotAccepted(Exception):
    """The server says that it cannot do what it was asked for."""


def connected(port: int) -> HTTPConnection:
    """A connection to a server on this machine."""
    connection = HTTPConnection(HERE, port, timeout=PATIENCE_S)
    connection.connect()
    return connection


def ask(connection: HTTPConnection, path: str, body: bytes) -> Any:
    """What the server answers to a request. Raises `NotAccepted`."""
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    told = answer.read()
    if answer.status != OK:
        raise NotAccepted(f"{answer.status}: {told[:500]!r}")
    return json.loads(told)


def get(port: int, path: str) -> Any:
    """What stands at a path."""
    connection = connected(port)
    connection.request("GET", path)
    told = json.loads(connection.getresponse().read())
    connection.close()
    return told
