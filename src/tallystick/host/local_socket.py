"""A Unix socket in a data folder, which only its user opens."""

import os
import socket
from pathlib import Path
from typing import Final

from tallystick.problems import Problem

_MAX_ADDRESS_BYTES: Final = 103
_BACKLOG: Final = 256


def listen_locally(path: Path) -> socket.socket:
    """A Unix socket that only this user opens. The folder's lock is held, so one that is there is left over.

    Raises `Problem`.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        listening.bind(short_address(path))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise Problem(f"{path} cannot be listened on: {error.strerror}") from None
    finally:
        os.umask(before)
    return listening


def short_address(path: Path) -> str:
    """The socket's path, absolute or from here, whichever is shorter: Unix allows about a hundred bytes."""
    address = min(str(path.absolute()), os.path.relpath(path), key=len)
    if len(os.fsencode(address)) > _MAX_ADDRESS_BYTES:
        reason = f"{address} is too long a name for a socket, which has at most {_MAX_ADDRESS_BYTES} bytes"
        raise Problem(f"{reason}; choose a data folder with a shorter one")
    return address
