"""Cases of the corpus of proofs: cosignatures by ML-DSA-44 under a checkpoint."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from tallystick.ledger.checkpoint import (
    Checkpoint,
    MlDsaCosignature,
    cosigner_key,
    ml_dsa_cosigner_key,
    subtree_bytes,
)
from tallystick.ledger.directory import MlDsaEntry, ml_dsa_place
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Rule
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.note import Note, NoteSignature, make_note
from tests.ml_dsa import KnownWallet
from tests.proving import NOW_MS, ProvenLedger, short_epochs
from tests.vectors.proof_cases import REPORT, Family

_T1, _P15 = Rule.T1, Rule.P15
_TIME_S = NOW_MS // 1000
_BY = ("ada", "ben", "cy")
"""Who registers a key; dot has none."""


def signed(origin: str, head: Checkpoint, member: bytes, by: KnownWallet, time_s: int = _TIME_S) -> MlDsaCosignature:
    """What a key signs in a member's name."""
    message = subtree_bytes(cosigner_key(origin, member).name, time_s, head)
    return MlDsaCosignature(head.size, head.root, member, time_s, by.sign(message))


def ml_dsa(ledger: ProvenLedger) -> list[Family]:
    """Three of four members cosign by ML-DSA, too; one has replaced its key before, in another epoch."""
    scribe, origin, keys = ledger.scribe, ledger.genesis.origin, {name: KnownWallet(name) for name in _BY}
    earlier = KnownWallet("ada before")
    ledger.forge(scribe.ml_dsa("ada", earlier.public_key))
    one, payload = ledger.about(REPORT)
    ledger.forge(one, payloads=[payload])
    older = ledger.countersigned().state.log
    ledger.forge(*[scribe.ml_dsa(name, keys[name].public_key) for name in _BY])
    at = ledger.countersigned()
    head, members = Checkpoint(origin, at.state.log.size, at.state.log.root()), {n: scribe.member_key(n) for n in _BY}
    lines = {name: signed(origin, head, members[name], keys[name]) for name in _BY}
    at = at._replace(ml_dsa=tuple(sorted(lines.values(), key=lambda line: line.member)))
    known: dict[str, Any] = {"has_document": True, "verifies_ml_dsa": True}
    family = Family("ml-dsa", ledger, one, at, **known)
    family.case("valid", "three of four members cosigned by ML-DSA-44, too")
    family.case("unchecked", "the same, where ML-DSA-44 is not known", verifies_ml_dsa=False)
    of_ada = ml_dsa_cosigner_key(origin, members["ada"], keys["ada"].public_key)

    def with_ada(change: Callable[[NoteSignature], NoteSignature]) -> Note:
        return family.with_signatures(lambda line: change(line) if line.key_id == of_ada.id else line)

    def forged(name: str, what: str, rule: Rule | None, line: MlDsaCosignature, key: bytes = b"") -> None:
        made = line.line(origin, key or keys["ada"].public_key)
        family.case(name, what, rule, note=with_ada(lambda _: made))

    def cut(line: NoteSignature) -> NoteSignature:
        return line._replace(signature=line.signature[:-1])

    good = lines["ada"]
    broken = replace(good, signature=good.signature[:-1] + bytes([good.signature[-1] ^ 1]))
    forged("bad", "one of the three is bad", _P15, broken)
    bad = with_ada(lambda _: broken.line(origin, keys["ada"].public_key))
    family.case("bad-unchecked", "the same, where ML-DSA-44 is not known", note=bad, verifies_ml_dsa=False)
    always: dict[str, Any] = {"verifies_ml_dsa": None}
    family.case("short", "one of the three is a byte short", _P15, note=with_ada(cut), **always)
    no_time = with_ada(lambda line: line._replace(signature=b"\xff" * 8 + line.signature[8:]))
    family.case("no-time", "one of the three with a time that is none", _P15, note=no_time, **always)
    forged("time", "one of the three with another time", _P15, replace(good, time_s=_TIME_S + 1))
    another = replace(lines["ben"], member=members["ada"])
    forged("another-name", "what ben signed stands in the name of ada", _P15, another)
    by_ben = signed(origin, head, members["ada"], keys["ben"])
    forged("another-key", "ben signed in the name of ada, by his own key", _P15, by_ben)
    forged(
        "stolen-listing",
        "the same, under the id that ben's key has in ada's name",
        None,
        by_ben,
        keys["ben"].public_key,
    )
    smaller = signed(origin, Checkpoint(origin, older.size, older.root()), members["ada"], keys["ada"])
    forged("older", "ada signed a smaller log", _P15, smaller)
    elsewhere = signed("elsewhere/log", head._replace(origin="elsewhere/log"), members["ada"], keys["ada"])
    forged("other-origin", "ada signed another log of that size and root", _P15, elsewhere)
    before = signed(origin, head, members["ada"], earlier)
    forged("replaced", "by the key that ada has replaced", None, before, earlier.public_key)
    twice = family.proof.checkpoint
    family.case("twice", "each line twice", note=make_note(twice.text, [*twice.signatures, *twice.signatures]))
    _of_directory(family, members["ada"], earlier)
    return [family]


def _of_directory(family: Family, ada: bytes, earlier: KnownWallet) -> None:
    proofs = family.extra.cosigners
    others = tuple(one for one in proofs if one.leaf_key != ml_dsa_place(ada))
    (own,) = set(proofs) - set(others)
    family.case("not-shown", "the proof does not show which key ada has", extra={"cosigners": others})
    entry = encode(MlDsaEntry("ada", earlier.public_key, 0))
    changed = (*others, replace(own, leaf_value=entry))
    family.case("entry-changed", "the proof shows the key that ada has replaced", _T1, extra={"cosigners": changed})
    ended = (*others, replace(own, leaf_value=encode(MlDsaEntry("ada", None, 0))))
    family.case("entry-ended", "the proof shows that ada has none", _T1, extra={"cosigners": ended})
    moved = (*others, replace(own, leaf_key=ml_dsa_place(bytes(32))))
    family.case("entry-moved", "the key stands at another place", _T1, extra={"cosigners": moved})


WRITERS: tuple[tuple[Callable[[ProvenLedger], list[Family]], Genesis], ...] = ((ml_dsa, short_epochs(100)),)
