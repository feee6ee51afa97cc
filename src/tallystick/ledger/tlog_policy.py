"""Policies (c2sp.org/tlog-policy): by which keys a log's checkpoint has to be signed, as the verifier names them.

Witnesses cosign by Ed25519 (type 0x04). Keys of other types, such as ML-DSA-44's (0x06), are not verified here: they
never count, and a policy that cannot be fulfilled without them is refused.
"""

import re
from collections.abc import Container
from typing import Final, NamedTuple

from tallystick.ledger.checkpoint import cosigned_bytes, parse_checkpoint, split_cosignature
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.keys import Verify, is_signed
from tallystick.ledger.note import KeyType, Note, NoteKey, parse_key

MAX_POLICY_BYTES: Final = 1024 * 1024
MAX_USES: Final = 4_096
"""Of so many keys and members of groups at most."""

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_COUNT: Final = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)
_WORDS: Final = {"log": (1, 2), "witness": (2, 3), "group": (3, 2 + MAX_USES), "quorum": (1, 1)}
"""The least and most words after each kind of line's first; a URL may stand last."""

Used = set[tuple[str, bytes | str]]
"""Keys of logs, keys of witnesses, members of groups: each may be named once."""


class Group(NamedTuple):
    """So many of these members, each a witness or group of a line before. A witness of another type is 1 of none."""

    least: int
    members: tuple[str, ...]


class Policy(NamedTuple):
    """What a verifier asks of the signatures under a checkpoint."""

    logs: list[NoteKey]
    names: dict[str, NoteKey | Group]
    """Witnesses and groups, in the order of their lines."""
    quorum: str

    @property
    def witnesses(self) -> list[NoteKey]:
        """Those whose cosignatures count."""
        return [one for one in self.names.values() if isinstance(one, NoteKey)]

    def holds(self, keys: Container[bytes]) -> bool:
        """Whether the witnesses with these public keys, which all signed, are a quorum."""
        met = {"none"}
        for name, one in self.names.items():
            if one.public_key in keys if isinstance(one, NoteKey) else sum(map(met.__contains__, one[1])) >= one[0]:
                met.add(name)
        return self.quorum in met

    def check(self, note: Note, verify: Verify = is_signed) -> None:
        """Raise `Refused` (P1, P7) unless a log signed this checkpoint, and a quorum cosigned it, and none badly."""
        origin = parse_checkpoint(note.text).origin
        signers = {key for key in (*self.logs, *self.witnesses) if _has_signed(key, note, verify)}
        if not any(key.type == KeyType.LOG and key.name == origin for key in signers):
            raise Refused(Rule.P7, f"no log of the policy signed this checkpoint of {origin}")
        if not self.holds({key.public_key for key in signers if key.type == KeyType.COSIGNATURE}):
            raise Refused(Rule.P7, f"those who cosigned are no quorum of the policy, which is {self.quorum}")


def parse_policy(data: bytes) -> Policy:
    """Raise `Refused` (P1; K1 of its keys) unless this is a policy that can be fulfilled here."""
    text = data.decode(errors="surrogateescape")  # names are bytes, whatever they mean
    if len(data) > MAX_POLICY_BYTES or _CONTROL.search(text) or not text.endswith("\n"):
        raise Refused(Rule.P1, f"a policy is at most {MAX_POLICY_BYTES} bytes of lines without control characters")
    policy, used = Policy([], {}, ""), Used()
    for number, line in enumerate(text[:-1].split("\n"), start=1):
        words = re.findall(r"[^ \t]+", line)
        if words and not words[0].startswith("#"):
            try:
                policy = _with(policy, used, *words)
            except Refused as error:
                raise Refused(error.rule, f"line {number} of the policy: {error.reason}") from None
    if not policy.quorum or not policy.logs:
        raise Refused(Rule.P1, "a policy has a quorum, and the Ed25519 key (type 0x01) of one log at least")
    if not policy.holds({one.public_key for one in policy.witnesses}):
        raise Refused(Rule.P1, f"the quorum {policy.quorum} needs keys of types that are not verified here")
    return policy


def _with(policy: Policy, used: Used, kind: str, *words: str) -> Policy:
    least, most = _WORDS.get(kind, (1, 0))
    if not least <= len(words) <= most or len(used) >= MAX_USES:
        raise Refused(Rule.P1, "it is no log, witness, group or quorum of the known form, or one too many")
    name, names, is_known = words[0], policy.names, words[0] in (*policy.names, "none")
    if kind == "quorum":
        if policy.quorum or not is_known:
            raise Refused(Rule.P1, "the one quorum is none, or a witness or group of a line before")
        return policy._replace(quorum=name)
    if kind != "log" and is_known:
        raise Refused(Rule.P1, "a witness or group has a name of its own, other than none")
    if kind == "group":
        names[name] = _group(names, used, words[1], words[2:])
        return policy
    key = parse_key(words[0 if kind == "log" else 1])
    _use(used, kind, key.public_key)
    if kind == "log":
        policy.logs.extend([key] if key.type == KeyType.LOG else [])
    elif key.type == KeyType.LOG:
        raise Refused(Rule.P1, "the key of a witness is of a type for cosignatures, not 0x01")
    else:
        names[name] = key if key.type == KeyType.COSIGNATURE else Group(1, ())
    return policy


def _group(names: Container[str], used: Used, count: str, members: tuple[str, ...]) -> Group:
    for name in members:
        if name not in names:
            raise Refused(Rule.P1, "a member of a group is a witness or group of a line before")
        _use(used, "member", name)
    least = {"any": 1, "all": len(members)}.get(count) or (int(count) if _COUNT.fullmatch(count) else 0)
    if not 1 <= least <= len(members):
        raise Refused(Rule.P1, "a group says all, any, or a number from 1 to that of its members")
    return Group(least, members)


def _use(used: Used, kind: str, what: bytes | str) -> None:
    if (kind, what) in used:
        raise Refused(Rule.P1, f"a {kind} is named twice")
    used.add((kind, what))


def _has_signed(key: NoteKey, note: Note, verify: Verify) -> bool:
    for data in note.signed_by(key):
        time_s, signature = (None, data) if key.type == KeyType.LOG else split_cosignature(data)
        signed = note.text.encode() if time_s is None else cosigned_bytes(time_s, note.text)
        if not verify(signed, signature, key.public_key):
            raise Refused(Rule.P7, f"a signature by {key.name} is bad")
    return bool(note.signed_by(key))
