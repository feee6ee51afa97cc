"""Geneses, certificates and names, legal and not, with what Python says of each: what few proofs have in them."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from operator import attrgetter
from random import Random
from typing import Any, Final

from msgspec.structs import replace

from tallystick.ledger.certificate import AnyCertificate, certificate_codec, check_signed
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused
from tallystick.ledger.fields import MAX_TOKENS
from tallystick.ledger.genesis import Genesis, decode_genesis
from tallystick.ledger.keys import is_signed
from tallystick.ledger.names import fold
from tests.builders import ADA, sign_anything
from tests.curve import BASE, TORSION, add, encoded, times
from tests.page.expected import HERE

_VECTORS: Final = HERE.parent / "vectors"
_RANDOM_NAMES: Final = 2_000
_MIXED: Final = encoded(add(times(5, BASE), TORSION[1]))
"""A key of mixed order."""


def parts() -> dict[str, list[list[Any]]]:
    """Of each the input, and why it is refused, or null; of names what they fold to, too."""
    listed = json.loads((_VECTORS / "certificates.json").read_bytes())
    ledger = bytes.fromhex(listed["ledger_id"])
    certificates = [bytes.fromhex(one["encoded"]) for one in listed["certificates"]]
    return {
        "names": [[name, *_folded(name)] for name in _names()],
        "geneses": [[data.hex(), _refusal(partial(decode_genesis, data))] for data in _geneses()],
        "certificates": [
            [data.hex(), ledger.hex(), _refusal(partial(_check, data, ledger))]
            for one in certificates
            for data in _reissued(certificate_codec.decode(one), ledger)
        ],
    }


def _refusal(run: Callable[[], object]) -> str | None:
    try:
        run()
    except Refused as refused:
        return str(refused)
    return None


def _folded(name: str) -> tuple[str | None, str | None]:
    try:
        return fold(name), None
    except Refused as refused:
        return None, str(refused)


def _names() -> list[str]:
    listed = json.loads((_VECTORS / "folding.json").read_bytes())
    known = [*(one["name"] for one in listed["names"]), *listed["refused"]]
    letters, random = sorted(set("".join(known)) - {"\n"}), Random(14)
    made = ["".join(random.choices(letters, k=random.randrange(1, 8))) for _ in range(_RANDOM_NAMES)]
    return [*known, *made, *(chr(code) for code in range(0x20, 0x3000) if not 0xD800 <= code < 0xE000)]


def _geneses() -> Iterator[bytes]:
    """Those of the vectors, and each with one field changed."""
    listed = json.loads((_VECTORS / "geneses.json").read_bytes())
    governed = json.loads((_VECTORS / "governed.json").read_bytes())
    for data in [*(bytes.fromhex(one["encoded"]) for one in listed), bytes.fromhex(governed["genesis"])]:
        genesis = decode_genesis(data)
        yield data
        yield from map(encode, _changed_geneses(genesis))


def _changed_geneses(one: Genesis) -> Iterator[Genesis]:
    params, allotted, founders = one.params, one.allotments, one.founders
    yield replace(one, version=2)
    for changed in (
        {"mint_freely": not params.mint_freely},
        {"anybody_certifies": False},
        {"unbonding_ms": MAX_TOKENS},
        {"epoch_blocks": params.unbonding_blocks + 1},
        {"epoch_ms": params.unbonding_ms + 1},
    ):
        yield replace(one, params=replace(params, **changed))
    if allotted:
        yield replace(one, allotments=allotted[::-1])
        yield replace(one, allotments=(allotted[0], *allotted))
        yield replace(one, allotments=tuple(replace(each, staked=0) for each in allotted))
        yield replace(one, allotments=(replace(allotted[0], free=MAX_TOKENS), *allotted[1:]))
        strange = (*allotted, replace(allotted[0], member=_MIXED))
        yield replace(one, allotments=tuple(sorted(strange, key=attrgetter("member"))))
        yield replace(one, allotments=(replace(allotted[0], member=bytes(32)), *allotted[1:]))
    if len(founders) > 1:
        first, second, *others = founders
        yield replace(one, founders=founders[::-1])
        yield replace(one, founders=(first, replace(second, key=first.key), *others))
        yield replace(one, founders=(first, replace(second, stake=2**41), *others))
        for title in (first.organisation.upper(), first.title, "\u202e", "a\u0300\u0327", "---", "Торино s"):
            yield replace(one, founders=(first, replace(second, title=title), *others))
    if one.continues is not None:
        yield from (replace(one, continues=said) for said in _changed_continuations(one.continues))
        yield replace(one, created_ms=one.continues.timestamp_ms - 1)
        yield replace(one, created_ms=one.created_ms + 1)


def _changed_continuations(said: Any) -> Iterator[Any]:
    (key, signature), *others = said.consents
    yield replace(said, consents=())
    yield replace(said, consents=(*said.consents[::-1], *said.consents))
    yield replace(said, consents=((key, signature[:-1] + b"\x01"), *others))
    yield replace(said, consents=tuple(sorted(((ADA.public_key, signature), *others))))
    yield replace(said, voters=(*said.voters, said.voters[0]))
    yield replace(said, voters=(replace(said.voters[0], stake=MAX_TOKENS), *said.voters[1:]))
    yield replace(said, voters=(replace(said.voters[0], key=bytes(32)), *said.voters[1:]))
    yield replace(said, name="Another")


def _check(data: bytes, ledger: bytes) -> None:
    check_signed(certificate_codec.decode(data), ledger, is_signed)


def _reissued(one: AnyCertificate, ledger: bytes) -> Iterator[bytes]:
    """As it is; not signed by its issuer; and signed anew with something in it changed."""
    yield encode(one)
    yield encode(replace(one, timestamp_ms=one.timestamp_ms + 1))
    for changed in islice(_changed_certificates(one), 8):
        mine = replace(changed, issuer=ADA.public_key)
        yield encode(sign_anything(mine, ADA, ledger))


def _changed_certificates(one: Any) -> Iterator[Any]:
    yield one
    for name in ("change", "operation"):
        change: Any = getattr(one, name, None)
        if getattr(change, "admitted", None) is not None:
            yield replace(one, **{name: replace(change, admitted=bytes(64))})
            yield replace(one, **{name: replace(change, organisation="another")})
    if hasattr(one, "second"):
        first, second = one.first, one.second
        yield replace(one, second=first)
        yield replace(one, first=second, second=first)
        yield replace(one, second=replace(second, signature=bytes(64)))
        if hasattr(first, "header"):
            yield replace(one, second=replace(second, header=replace(second.header, ledger_id=bytes(32))))
            yield replace(one, second=replace(second, header=replace(second.header, view=second.header.view + 1)))
        else:
            yield replace(one, second=replace(second, ballot=replace(second.ballot, epoch=second.ballot.epoch + 1)))
            yield replace(one, second=replace(second, member=ADA.public_key))
