"""Every rule of docs/protocol.md by its number, and the one refusal that cites them."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum


class Rule(Enum):
    """A numbered rule; the value is its title in docs/protocol.md."""

    E1 = "encoded size within its bound"
    E2 = "encoded form as declared"
    E3 = "canonical encoding"
    E4 = "known version"

    K1 = "public key is a valid Ed25519 key"
    K2 = "signature verifies"
    K3 = "key file readable by its owner alone"
    K4 = "passphrase opens the key file"

    G1 = "genesis members distinct, in order, with valid keys"
    G2 = "genesis tokens positive and bounded"
    G3 = "stake liable for two epochs at least"
    G4 = "founding organisations hold all stake"
    G5 = "continuation signed by members of the old ledger"

    C1 = "certificate signed by its issuer"
    C2 = "certificate not dated in the future"
    C3 = "payload is the one the certificate covers"
    C4 = "certificate not in the box already"
    C5 = "certificate not on the chain already"
    C6 = "room in the certificate box"
    C7 = "room in the box for this issuer"

    S1 = "staked amount is not zero"
    S2 = "tokens to stake are the issuer's own"
    S3 = "stake to withdraw is the issuer's own"
    S4 = "some stake remains on the ledger"
    S5 = "tokens within the ledger's bound"
    S6 = "the accused has stake to lose"
    S7 = "withdrawals under way within their bound"
    S8 = "key is not burned"
    S9 = "stake of a ledger with a directory is set by motion"

    D1 = "issuer may certify"
    D2 = "name is unique, and of known characters"
    D3 = "key admits itself to its organisation"
    D4 = "key stands in the directory once"
    D5 = "changes of an organisation within their bounds"
    D6 = "change made by the key that may make it"
    D7 = "ML-DSA key is of the member key in force, and another than before"

    M1 = "motions are made, approved and objected to by members"
    M2 = "motion changes what is in force to what is legal"
    M3 = "open motions within their bounds"
    M4 = "motion is open"

    R1 = "status is of a statement on the chain"
    R2 = "status set by the organisation that held the issuer's key"
    R3 = "status only strengthens"
    R4 = "erasure confirmed by a member, once for an order"

    V1 = "vote signed by its member"
    V2 = "votes of more than 2/3 of the epoch's stake"
    V3 = "evidence shows two votes or headers that conflict"
    V4 = "chain holds the trusted block"
    V6 = "evidence is of an epoch whose stake is liable"

    B1 = "block index follows the tip"
    B2 = "block parent is the tip"
    B3 = "block signed by its forger"
    B4 = "block forger is entitled to forge"
    B5 = "every certificate in the block is legal"
    B6 = "no certificate in the block was seen before"
    B7 = "header covers the block's certificates"
    B8 = "block time after its parent's and not ahead of the clock"
    B9 = "block within its size"
    B10 = "block belongs to this ledger"
    B11 = "block epoch is the one that its parent leads to"
    B12 = "state root is that of the state after the block"

    N1 = "message is for this ledger"
    N2 = "set-aside blocks within the peer's share"
    N3 = "requests and statuses within the peer's allowance"
    N4 = "answers only to what was asked"
    N5 = "peers that break what no honest peer breaks are disconnected"
    N6 = "peer is one that the ledger admits"
    N7 = "address record signed by its key"
    N8 = "address record not dated in the future"
    N9 = "address records within the peer's allowance"
    N10 = "cosignature is its member's, of this ledger's log"
    N11 = "cosignatures within the peer's allowance"
    N12 = "cosignature not dated in the future"

    P1 = "proof file and policy as C2SP has them"
    P2 = "own part of the proof as declared"
    P3 = "ledger is one that the verifier trusts"
    P4 = "members are followed without a gap"
    P5 = "header is final"
    P6 = "checkpoint is the header's"
    P7 = "checkpoint countersigned by members"
    P8 = "certificate is in the log"
    P9 = "block time is that of the certificate's block"
    P10 = "document is the one certified"
    P11 = "issuer is the one asked for"
    P12 = "certificate is valid"
    P13 = "status is fresh enough"
    P14 = "time stamp of a trusted authority holds"
    P15 = "ML-DSA signatures are by registered keys"
    P16 = "nothing but its proof follows the PDF"

    T1 = "trie proof leads to the root"
    T2 = "audit path has the form of its place in the tree"
    T3 = "consistency proof leads from the earlier root"

    A1 = "conflict file as declared"
    A2 = "the two checkpoints conflict"
    A3 = "one key signed both"


_MOST_TOLD = 120

BLAMES_THE_PEER = frozenset({Rule.E1, Rule.E2, Rule.E3, Rule.N1, Rule.N4})
"""Rules that a peer breaks by what it made itself, or by the form of its message: breaking one disconnects (N5).

What it passes on for others is ignored, not punished: an honest peer may have been handed it.
"""


class Refused(ValueError):
    """Input refused by a rule. Nothing has changed; `rule` and `reason` say what was wrong."""

    def __init__(self, rule: Rule, reason: str) -> None:
        super().__init__(f"[{rule.name}] {rule.value}: {reason}")
        self.rule = rule
        self.reason = reason


class NotProven(Refused):
    """A check failed: `rule` is its number."""

    verdict: object = None
    """What is proven, if it is only not what the verifier asks for."""

    def __init__(self, rule: Rule, what: str, expected: object = None, found: object = None) -> None:
        self.expected, self.found = expected, found
        is_told = expected is not None or found is not None
        super().__init__(rule, f"{what}: {_told(expected)} expected, {_told(found)} found" if is_told else what)


def expect(rule: Rule, what: str, expected: object, found: object) -> None:
    """Raise `NotProven` unless both are the same."""
    if expected != found:
        raise NotProven(rule, what, expected, found)


@contextmanager
def step(rule: Rule, what: str) -> Iterator[None]:
    """What is refused inside is not proven, by this check."""
    try:
        yield
    except NotProven:
        raise
    except Refused as refused:
        raise NotProven(rule, f"{what}: {refused.reason}") from None


def _told(value: object) -> str:
    """A value for a person, not longer than a line: it may come from elsewhere."""
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= _MOST_TOLD else f"{text[:_MOST_TOLD]}… ({len(text):,} characters)"
