"""A transport without a network, for a node that runs in the test."""

from collections.abc import Callable
from typing import Any


class Wire:
    """A transport that a test speaks for: it tells the node what came, by `tell`."""

    def __init__(self) -> None:
        self.paused: list[bool] = []

    async def start(self, on_event: Callable[[Any], None]) -> None:
        self.tell = on_event

    async def stop(self) -> None:
        pass

    def admit(self, is_admitted: object) -> None:
        pass

    def dial(self, peer: bytes, address: str) -> None:
        pass

    def send(self, peer: bytes, frame: bytes) -> None:
        pass

    def pause(self, peer: bytes, *, is_urgent: bool = False) -> None:
        self.paused.append(is_urgent)

    def resume(self, peer: bytes, *, is_urgent: bool = False) -> None:
        self.paused.remove(is_urgent)
