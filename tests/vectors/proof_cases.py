"""What a case of the corpus of proofs is, and how proofs are taken apart and put together again."""

from collections.abc import Callable, Sequence
from hashlib import sha256, sha512
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from msgspec.structs import replace

from tallystick.host.ml_dsa import ml_dsa_verifier
from tallystick.ledger.bundle import Bundle, HandOver, ProofExtra, extra_codec, read_bundle
from tallystick.ledger.certificate import AnyCertificate
from tallystick.ledger.checkpoint import Checkpoint, cosigned_bytes, cosigner_key, log_key
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Refused, Rule
from tallystick.ledger.file_statement import FileStatement
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.note import Note, NoteSignature, make_note
from tallystick.ledger.tlog_policy import parse_policy
from tallystick.ledger.tlog_proof import parse_proof
from tallystick.ledger.wallet import Wallet
from tallystick.node.checkpoints import Countersigned
from tallystick.proof.members import Anchor
from tallystick.proof.verify import Demand, Verdict, verify
from tallystick.storage.making import ProofFiles
from tests.curve import BASE, TORSION, L, add, challenge, encoded, times
from tests.proving import NOW_MS, ProvenLedger

DOCUMENT = b"Tallystick: a document that proofs of this folder are about.\n"
REPORT = FileStatement("document.txt", len(DOCUMENT), sha256(DOCUMENT).digest(), "")

EXITS = {
    **dict.fromkeys((Rule.P1, Rule.P2), 11),
    Rule.P3: 10,
    **dict.fromkeys((Rule.P4, Rule.P5, Rule.P6, Rule.P7, Rule.P8, Rule.P9, Rule.P15, Rule.C1, Rule.T1), 12),
    Rule.P10: 13,
    Rule.P11: 14,
    Rule.P12: 15,
    Rule.P13: 16,
}
VERDICTS = {
    0: "valid",
    6: "unusable policy",
    10: "no trusted ledger",
    11: "malformed",
    12: "not proven",
    13: "another document",
    14: "another issuer",
    15: "not valid",
    16: "not fresh",
}


class Asked(NamedTuple):
    """What the verifier trusts and asks for, besides the document; the policy is a text."""

    ledger: bytes | None
    anchors: tuple[Anchor, ...] = ()
    policy: str | None = None
    has_document: bool = False
    issuer: str | None = None
    at_ms: int | None = None
    fresh_ms: int | None = None
    verifies_ml_dsa: bool | None = None
    """Whether the verifier's machine knows ML-DSA-44; `None`: that makes no difference."""

    @property
    def is_policy_unusable(self) -> bool:
        """Whether there is one that is none."""
        try:
            return self.policy is not None and not parse_policy(self.policy.encode())
        except Refused:
            return True

    @property
    def demand(self) -> Demand:
        """For `verify`. Raises `Refused` (P1)."""
        policy = None if self.policy is None else parse_policy(self.policy.encode())
        document = REPORT if self.has_document else None
        demand = Demand(NOW_MS, self.ledger, self.anchors, policy, document, self.issuer, self.at_ms, self.fresh_ms)
        return demand._replace(verify_ml_dsa=ml_dsa_verifier() if self.verifies_ml_dsa else None)


class Case(NamedTuple):
    """Files, what is asked of them, and by which rule they are refused."""

    name: str
    what: str
    proof: bytes
    members: bytes | None
    payload: bytes | None
    asked: Asked
    rule: Rule | None
    leaf: bytes
    """The certificate that the proof is said to be of."""
    others_policy: str
    """For tools that know nothing of `extra`."""

    @property
    def exit_code(self) -> int:
        """What `tallystick verify` ends with: 6 where the policy is none, so that nothing is judged."""
        if self.rule is None:
            return 0
        return 6 if self.asked.is_policy_unusable else EXITS[self.rule]

    def judge(self) -> Verdict:
        """Raises `Refused`."""
        return verify(self.bundle, self.asked.demand)

    @property
    def bundle(self) -> Bundle:
        """The proof, read. Raises `Refused` (P1, P2)."""
        return read_bundle(self.proof, self.members, self.payload)


class Family:
    """A proof, and what becomes of it when it is changed or other things are asked of it."""

    def __init__(self, name: str, ledger: ProvenLedger, one: AnyCertificate, at: Countersigned, **more: Any) -> None:
        """`more`: `since`, and what is asked for, as in `Asked`."""
        self.name, self.ledger, self.one, self.at = name, ledger, one, at
        self.files: ProofFiles = ledger.prove(one, at, more.pop("since", 0))
        self.asked = Asked(ledger.genesis.ledger_id, **more)
        self.proof = parse_proof(self.files.proof.encode())
        assert self.proof.extra is not None
        self.extra: ProofExtra = extra_codec.decode(self.proof.extra)
        self.cases: list[Case] = []

    @property
    def hand_over(self) -> HandOver:
        assert self.extra.hand_over is not None
        return self.extra.hand_over

    @property
    def origin(self) -> str:
        return self.ledger.genesis.origin

    @property
    def voters(self) -> list[Wallet]:
        """Of the checkpoint's epoch."""
        wallets = {one.public_key: one for one in self.ledger.scribe.keys.values()}
        return [wallets[key] for key, _ in self.at.voters.members]

    @property
    def policy(self) -> str:
        return policy_of(self.origin, [one.public_key for one in self.voters])

    def case(self, name: str, what: str, rule: Rule | None = None, **changed: Any) -> None:
        """`changed`: `text` (bytes), `tlog` (fields), `extra` (fields, or bytes), `note`, the files beside; `Asked`."""
        members, payload = changed.pop("members", self.files.members), changed.pop("payload", self.files.payload)
        proof = self.proof._replace(**changed.pop("tlog", {}))
        one = self.one
        if "extra" in changed:
            extra = changed.pop("extra")
            one = extra.get("certificate", one) if isinstance(extra, dict) else one
            extra = extra if extra is None or isinstance(extra, bytes) else encode(replace(self.extra, **extra))
            proof = proof._replace(extra=extra)
        proof = proof._replace(checkpoint=changed.pop("note", proof.checkpoint))
        text = changed.pop("text", proof.encoded.encode())
        asked = self.asked._replace(**changed)
        self.cases.append(
            Case(f"{self.name}-{name}", what, text, members, payload, asked, rule, one.encoded, self.policy)
        )

    def edit(self, name: str, what: str, before: str, after: str, rule: Rule | None = Rule.P1) -> None:
        """Of the proof's text, in one place."""
        text = self.files.proof
        assert text.count(before) >= 1, before
        self.case(name, what, rule, text=text.replace(before, after, 1).encode())

    def hand(self, name: str, what: str, rule: Rule | None = Rule.P4, **changed: Any) -> None:
        """Of the hand-over, by fields."""
        self.case(name, what, rule, extra={"hand_over": replace(self.hand_over, **changed)})

    def cosigned(self, head: Checkpoint | None = None, by: Sequence[Wallet] = (), more: str = "") -> Note:
        """A checkpoint (the same by default) as these sign it (all by default), with lines that extend it."""
        head = head or Checkpoint(self.origin, self.extra.log.log_size, self.extra.log.log_root)
        return signed_note(head.origin, head.text + more, by or self.voters)

    def with_signatures(self, change: Callable[[NoteSignature], NoteSignature | None]) -> Note:
        """The checkpoint with each signature changed, or left out."""
        lines = [changed for one in self.proof.checkpoint.signatures if (changed := change(one)) is not None]
        return make_note(self.proof.checkpoint.text, lines)


def policy_of(origin: str, keys: Sequence[bytes]) -> str:
    """More than 2/3 of these keys, by their number, and the first as the log."""
    lines = [f"log {log_key(origin, keys[0]).text}"]
    lines += [f"witness w{number} {cosigner_key(origin, key).text}" for number, key in enumerate(keys)]
    names = " ".join(f"w{number}" for number in range(len(keys)))
    return "\n".join([*lines, f"group members {2 * len(keys) // 3 + 1} {names}", "quorum members", ""])


def signed_note(origin: str, text: str, by: Sequence[Wallet], time_s: int = NOW_MS // 1000) -> Note:
    """What these sign of any text, each as the log and as a cosigner."""
    lines = [log_key(origin, one.public_key).signature(one.sign_note(text.encode())) for one in by]
    for one in by:
        signed = time_s.to_bytes(8, "big") + one.sign_note(cosigned_bytes(time_s, text))
        lines.append(cosigner_key(origin, one.public_key).signature(signed))
    return make_note(text, lines)


def strange_signature(wallet: Wallet, message: bytes, torsion: int = 0, more: int = 0) -> bytes:
    """A signature whose R has a part of small order, or whose S is larger by so much."""
    hashed = sha512(wallet.seed()).digest()
    secret = int.from_bytes(hashed[:32], "little") & ((1 << 254) - 8) | 1 << 254
    nonce = int.from_bytes(sha512(hashed[32:] + message).digest(), "little") % L
    commitment = encoded(add(times(nonce, BASE), TORSION[torsion]))
    scalar = (nonce + challenge(commitment, wallet.public_key, message) * secret) % L
    return commitment + (scalar + more).to_bytes(32, "little")


def on_a_new_ledger(write: Callable[[ProvenLedger], list[Family]], genesis: Genesis | None = None) -> list[Case]:
    """The cases of families whose ledger is written for them."""
    with TemporaryDirectory() as folder:
        ledger = ProvenLedger(Path(folder) / "chain.db", genesis)
        try:
            return [case for family in write(ledger) for case in family.cases]
        finally:
            ledger.store.close()


def refused_by(case: Case) -> Rule | None:
    """The rule that the verifier refuses a case by."""
    try:
        case.judge()
    except Refused as refused:
        return refused.rule
    return None
