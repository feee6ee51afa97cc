"""Policies (c2sp.org/tlog-policy): by which keys a log's checkpoint has to be signed, as the verifier names them.

Witnesses cosign by Ed25519 (type 0x04), or by ML-DSA-44 (0x06) where it can be verified. Keys of other types never
count, and a policy that cannot be fulfilled without them is refused.
"""

import re
from collections.abc import Container, Iterable
from typing import Final, NamedTuple

from tallystick.ledger.checkpoint import parse_checkpoint, signed_at
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.keys import Verify, is_signed
from tallystick.ledger.note import KeyType, Note, NoteKey, parse_key

MAX_POLICY_BYTES: Final = 1024 * 1024
MAX_USES: Final = 4_096  # keys, and members of groups

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_COUNT: Final = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)
_WORDS: Final = {"log": (1, 2), "witness": (2, 3), "group": (3, 2 + MAX_USES), "quorum": (1, 1)}  # with a URL or not

Group = tuple[int, tuple[str, ...]]
"""So many of these members, each a witness or group of a line before."""
Used = set[tuple[str, bytes | str]]
"""Keys of logs, keys of witnesses, members of groups: each may be named once."""


class Policy(NamedTuple):
    """What a verifier asks of the signatures under a checkpoint."""

    keys: list[NoteKey]
    """Of logs and witnesses, in the order of their lines."""
    names: dict[str, bytes | Group]
    """Witnesses, by their public keys (empty: not verified here), and groups; none is one of no members."""
    quorum: str
    verify_ml_dsa: Verify | None = None
    """`None`: it cannot be verified here, so witnesses of ML-DSA never count; what they sign has to be formed well."""

    @property
    def names_voters(self) -> bool:
        """Whether keys of Ed25519, the only ones that vote, can be a quorum."""
        return self.holds({key.public_key for key in self.keys if key.type == KeyType.COSIGNATURE})

    def holds(self, keys: Container[bytes]) -> bool:
        """Whether the witnesses with these public keys, which all signed, are a quorum."""
        met = set[str]()
        for name, one in self.names.items():
            if one in keys if isinstance(one, bytes) else sum(member in met for member in one[1]) >= one[0]:
                met.add(name)
        return self.quorum in met

    def check(self, note: Note, verify: Verify = is_signed) -> None:
        """Raise `Refused` (P1, P7) unless a log signed this checkpoint, and a quorum cosigned it, and none badly."""
        origin = parse_checkpoint(note.text).origin
        by_type: dict[int, Verify | None] = {KeyType.ML_DSA: self.verify_ml_dsa}
        signers = [key for key in self.keys if signed_at(key, note, by_type.get(key.type, verify))]
        if not any(key.type == KeyType.LOG and key.name == origin for key in signers):
            raise Refused(Rule.P7, f"no log of the policy signed this checkpoint of {origin}")
        if not self.holds(_cosigning(signers)):
            raise Refused(Rule.P7, "those who cosigned are no quorum of the policy")


def parse_policy(data: bytes, verify_ml_dsa: Verify | None = None) -> Policy:
    """Raise `Refused` (P1) unless this is a policy that can be fulfilled here: without ML-DSA where it is `None`."""
    text = data.decode(errors="surrogateescape")  # names are bytes, whatever they mean
    if len(data) > MAX_POLICY_BYTES or _CONTROL.search(text) or not text.endswith("\n"):
        raise Refused(Rule.P1, f"a policy is at most {MAX_POLICY_BYTES} bytes of lines without control characters")
    policy, used = Policy([], {"none": (0, ())}, "", verify_ml_dsa), Used()
    for number, line in enumerate(text[:-1].split("\n"), start=1):
        words = re.findall(r"[^ \t]+", line)
        if words and not words[0].startswith("#"):
            try:
                policy = _with(policy, used, *words)
            except Refused as error:
                raise Refused(Rule.P1, f"line {number} of the policy: {error.reason}") from None
    if not policy.quorum or not any(key.type == KeyType.LOG for key in policy.keys):
        raise Refused(Rule.P1, "a policy has a quorum, and the Ed25519 key (type 0x01) of one log at least")
    if not policy.holds(_cosigning(policy.keys)):
        raise Refused(Rule.P1, "the quorum of the policy needs keys of types that are not verified here")
    return policy


def _with(policy: Policy, used: Used, kind: str, *words: str) -> Policy:
    least, most = _WORDS.get(kind, (1, 0))
    if not least <= len(words) <= most or len(used) >= MAX_USES:
        raise Refused(Rule.P1, "it is no log, witness, group or quorum of the known form, or one too many")
    name, names = words[0], policy.names
    if kind == "quorum":
        if policy.quorum or name not in names:
            raise Refused(Rule.P1, "the one quorum is none, or a witness or group of a line before")
        return policy._replace(quorum=name)
    if kind != "log" and name in names:
        raise Refused(Rule.P1, "a witness or group has a name of its own, other than none")
    if kind == "group":
        names[name] = _group(names, used, words[1], words[2:])
        return policy
    key = parse_key(words[0 if kind == "log" else 1])
    _use(used, kind, key.public_key)
    is_known = key.type in ((KeyType.LOG,) if kind == "log" else (KeyType.COSIGNATURE, KeyType.ML_DSA))
    policy.keys.extend([key] if is_known else [])
    if kind == "witness":
        if key.type == KeyType.LOG:
            raise Refused(Rule.P1, "a witness signs by a type for cosignatures, not 0x01")
        is_verified = is_known and (key.type == KeyType.COSIGNATURE or policy.verify_ml_dsa is not None)
        names[name] = key.public_key if is_verified else b""
    return policy


def _group(names: Container[str], used: Used, count: str, members: tuple[str, ...]) -> Group:
    for name in members:
        if name not in names or name == "none":
            raise Refused(Rule.P1, "a member of a group is a witness or group of a line before")
        _use(used, "member", name)
    least = {"any": 1, "all": len(members)}.get(count) or (int(count) if _COUNT.fullmatch(count) else 0)
    if not 1 <= least <= len(members):
        raise Refused(Rule.P1, "a group says all, any, or a number from 1 to that of its members")
    return least, members


def _use(used: Used, kind: str, what: bytes | str) -> None:
    if (kind, what) in used:
        raise Refused(Rule.P1, f"a {kind} stands in a line before")
    used.add((kind, what))


def _cosigning(keys: Iterable[NoteKey]) -> set[bytes]:
    return {key.public_key for key in keys if key.type in (KeyType.COSIGNATURE, KeyType.ML_DSA)}
