"""The routes of version 1 that answer with a view: what each asks and answers is its handler's signature.

`app.py` and `openapi.py` read it. They add events and the OpenAPI document, which are no views.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter, signature
from typing import Any, Final, get_args, get_type_hints

from msgspec import NODEFAULT, Struct, defstruct
from msgspec.structs import asdict

from tallystick.api.live_node import LiveNode
from tallystick.api.questions import JSON, MESSAGEPACK
from tallystick.api.reader import LedgerReader


@dataclass(frozen=True)
class Endpoint:
    """One route."""

    method: str
    path: str
    handler: Callable[..., Awaitable[Struct]]
    """Of a `LedgerReader` or a `LiveNode`. It takes what stands in the path and the query, and the `body`."""
    is_local: bool = False
    """Only at the node's own socket."""
    lists: bool = False
    """It lists people, which not every door does."""

    @cached_property
    def _types(self) -> dict[str, Any]:
        return get_type_hints(self.handler, include_extras=True)

    @cached_property
    def answer(self) -> type[Struct]:
        """What it answers."""
        kind: type[Struct] = self._types["return"]
        return kind

    @cached_property
    def parameters(self) -> type[Struct]:
        """What stands in its path and its query."""
        if "question" in self._types:
            question: type[Struct] = self._types["question"]
            return question
        fields = [
            (name, self._types[name], NODEFAULT if one.default is Parameter.empty else one.default)
            for name, one in signature(self.handler).parameters.items()
            if name not in ("self", "body")
        ]
        return defstruct(self.handler.__name__, fields, frozen=True, forbid_unknown_fields=True)

    @cached_property
    def bodies(self) -> Mapping[str, type[Struct]]:
        """By media type; of a union, the first in JSON, the other in MessagePack."""
        body = self._types.get("body")
        kinds = get_args(body) or ([body] if body else [])
        return dict(zip((JSON, MESSAGEPACK), kinds, strict=False))

    @cached_property
    def waits(self) -> bool:
        """Whether its answer may take long on purpose."""
        return any("wait_ms" in kind.__struct_fields__ for kind in (self.parameters, *self.bodies.values()))

    @property
    def summary(self) -> str:
        """One sentence."""
        return (self.handler.__doc__ or "").strip().split("\n")[0]

    @property
    def is_live(self) -> bool:
        """Whether it asks a running node."""
        return getattr(LiveNode, self.handler.__name__, None) is self.handler

    async def answered(self, asked_of: LedgerReader | LiveNode, asked: Struct, body: Struct | None) -> Struct:
        """The answer. Raises `Problem`, `Refused`."""
        given = {"question": asked} if "question" in self._types else asdict(asked)
        return await self.handler(asked_of, **given, **({"body": body} if self.bodies else {}))


ENDPOINTS: Final = (
    Endpoint("GET", "/v1/ledger", LedgerReader.ledger),
    Endpoint("GET", "/v1/blocks", LedgerReader.blocks),
    Endpoint("GET", "/v1/blocks/{index}", LedgerReader.block),
    Endpoint("GET", "/v1/certificates/{id}", LedgerReader.certificate),
    Endpoint("GET", "/v1/certificates/{id}/validity", LedgerReader.validity),
    Endpoint("GET", "/v1/certificates/{id}/proof", LedgerReader.proof),
    Endpoint("POST", "/v1/proofs", LedgerReader.proofs),
    Endpoint("GET", "/v1/checkpoint", LedgerReader.checkpoint),
    Endpoint("GET", "/v1/log", LedgerReader.log),
    Endpoint("GET", "/v1/files/{sha256}", LedgerReader.file),
    Endpoint("GET", "/v1/search", LedgerReader.search, lists=True),
    Endpoint("GET", "/v1/members", LedgerReader.members),
    Endpoint("GET", "/v1/members/{who}", LedgerReader.member),
    Endpoint("GET", "/v1/organisations", LedgerReader.organisations),
    Endpoint("GET", "/v1/organisations/{id}", LedgerReader.organisation),
    Endpoint("GET", "/v1/motions", LedgerReader.motions),
    Endpoint("GET", "/v1/motions/{id}", LedgerReader.motion),
    Endpoint("GET", "/v1/erasures", LedgerReader.erasures),
    Endpoint("GET", "/v1/payloads/{payload_hash}", LedgerReader.payload, is_local=True),
    Endpoint("GET", "/v1/names", LedgerReader.names, is_local=True),
    Endpoint("GET", "/v1/peers", LiveNode.peers),
    Endpoint("GET", "/v1/status", LiveNode.status),
    Endpoint("POST", "/v1/certificates", LiveNode.submit),
    Endpoint("GET", "/v1/outcomes/{id}", LiveNode.outcome),
    Endpoint("POST", "/v1/outcomes", LiveNode.outcomes),
    Endpoint("POST", "/v1/sign", LiveNode.sign, is_local=True),
    Endpoint("POST", "/v1/stake", LiveNode.stake, is_local=True),
    Endpoint("POST", "/v1/decisions", LiveNode.decide, is_local=True),
    Endpoint("POST", "/v1/admissions", LiveNode.admission, is_local=True),
    Endpoint("POST", "/v1/invite", LiveNode.invite, is_local=True),
    Endpoint("POST", "/v1/backup", LiveNode.backup, is_local=True),
    Endpoint("DELETE", "/v1/bans/{key}", LiveNode.unban, is_local=True),
    Endpoint("DELETE", "/v1/payloads/{payload_hash}", LiveNode.erase, is_local=True),
    Endpoint("PUT", "/v1/names/{key}", LiveNode.name, is_local=True),
)
