"""Brings a mirror in a folder to a ledger's newest checkpoint, once or for as long as it goes on."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final

from tallystick.client.blocking import Client
from tallystick.client.doors import AnswerProblem
from tallystick.ledger.checkpoint import parse_checkpoint
from tallystick.ledger.errors import Refused
from tallystick.ledger.note import parse_note
from tallystick.problems import DamagedStore, ExitCode, Problem
from tallystick.storage.mirror import CHECKPOINT_PATH, state_path
from tallystick.storage.mirror_files import MirrorFolder, Published

_ATTEMPTS: Final = 5
_PAUSE_S: Final = 1.0
_FRESH_EVERY_S: Final = 600.0
"""While nothing is certified: then the mirror tells statuses as of a later time."""

_PASSING: Final = (ExitCode.NOT_RUNNING, ExitCode.NOT_IN_TIME)
_NO_FILE: Final = "no-such-file"
"""As a node answers while it starts, or has no checkpoint yet."""

Counting = Callable[[int], AbstractContextManager[Callable[[int], object]]]
"""Shows how far it is, of how many certificates."""


def export(client: Client, mirror: MirrorFolder, counting: Counting, timeout_s: float) -> Published:
    """Publish the newest checkpoint, countersigned anew if a node runs. Raises `Problem` as `MirrorFolder.publish`."""
    client.checkpoint(fresh=not client.is_file, timeout_s=timeout_s)
    note, state = _head(client)
    with counting(parse_checkpoint(parse_note(note).text).size) as on_done:
        return mirror.publish(note, state, on_done)


def follow(client: Client, mirror: MirrorFolder, on_trouble: Callable[[Problem], object]) -> Iterator[Published]:
    """Publish each checkpoint that is newer than the last one, without end: what passes by itself is waited for.

    `on_trouble` is told once that it is. Raises `Problem` for what does not pass by itself.
    """
    published, asked_s, is_away = "", time.monotonic(), False
    while True:
        try:
            if time.monotonic() - asked_s > _FRESH_EVERY_S:
                asked_s = time.monotonic()
                client.checkpoint(fresh=True, timeout_s=0)
            note, state = _head(client, published)
            is_away = False
        except Problem as problem:
            if problem.exit_code not in _PASSING and problem.code != _NO_FILE:
                raise
            if not is_away:
                on_trouble(problem)
            is_away = True
        else:
            if state:
                yield mirror.publish(note, state)
                published = note
        time.sleep(_PAUSE_S)


def _head(client: Client, known: str = "") -> tuple[str, bytes]:
    """The newest checkpoint and its state, which is not asked for if the checkpoint is known."""
    for attempt in range(_ATTEMPTS):
        try:
            note = client.mirrored(CHECKPOINT_PATH).decode()
            if note == known:
                return note, b""
            return note, client.mirrored(state_path(parse_checkpoint(parse_note(note).text).size))
        except AnswerProblem as problem:
            if problem.code != _NO_FILE or attempt + 1 == _ATTEMPTS:
                raise
        except (Refused, UnicodeDecodeError) as error:
            raise DamagedStore(f"the node's checkpoint cannot be read: {error}") from None
    raise AssertionError("the last attempt returns or raises")
