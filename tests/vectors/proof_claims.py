"""Cases of the corpus of proofs: whose ledger it is, who certified, and whether that is valid."""

from collections.abc import Callable

from msgspec.structs import replace

from tallystick.ledger.certificate import (
    AnyCertificate,
    Approval,
    Payload,
    Statement,
    certificate_codec,
    issue_decision,
    issue_stake,
)
from tallystick.ledger.changes import Effect, Reason, Role
from tallystick.ledger.checkpoint import cosigner_key, log_key
from tallystick.ledger.continuation import Continuation, OldVoter
from tallystick.ledger.errors import Rule
from tallystick.ledger.file_statement import file_payload
from tallystick.ledger.genesis import Founder, Genesis, continuing, make_genesis
from tallystick.ledger.keys import Domain
from tallystick.ledger.params import Params
from tallystick.ledger.trie import TrieProof
from tests.builders import ADA, START_MS, STRANGER, FinalScribe, found, wallet
from tests.curve import TORSION, encoded
from tests.governed import DAY_MS, directory_genesis
from tests.proving import NOW_MS, ProvenLedger, short_epochs
from tests.vectors.proof_cases import REPORT, Family, policy_of
from tests.vectors.signatures import vectors

_P1, _P3, _P10, _P11, _P12, _P13, _T1 = Rule.P1, Rule.P3, Rule.P10, Rule.P11, Rule.P12, Rule.P13, Rule.T1


# ---- whom the verifier trusts -----------------------------------------------------------------------------------


def trust(ledger: ProvenLedger) -> list[Family]:
    """What a verifier names: nothing, a ledger, a policy, times."""
    one, payload = ledger.about(REPORT)
    ledger.forge(one, payloads=[payload])
    ledger.forge()
    family = Family("trust", ledger, one, ledger.countersigned(time_s=NOW_MS // 1000 - 3600), has_document=True)
    policy, keys = family.policy, [voter.public_key for voter in family.voters]
    family.case("nobody", "the verifier trusts no ledger", _P3, ledger=None)
    family.case("another", "the verifier trusts another ledger", _P3, ledger=bytes(32))
    family.case("policy-only", "the verifier names no ledger, but a policy", ledger=None, policy=policy)
    family.case("policy-too", "the verifier names the ledger and a policy", policy=policy)
    head = f"log {log_key(family.origin, keys[0]).text}\n"
    everybody = policy.replace("group members 3", "group members all")
    family.case("policy-all", "a policy that asks for all four", ledger=None, policy=everybody)
    three = family.cosigned(by=family.voters[:3])
    family.case(
        "policy-all-of-three", "a policy that asks for all four, three cosigned", Rule.P7, note=three, policy=everybody
    )
    family.case(
        "policy-none",
        "a policy that asks for no witness: whom to trust for the status?",
        _P3,
        ledger=None,
        policy=head + "quorum none\n",
    )
    family.case("policy-none-too", "the same, and the ledger is named", policy=head + "quorum none\n")
    strangers = policy_of(family.origin, [wallet(f"no {number}").public_key for number in range(4)])
    family.case("policy-strangers", "a policy of other witnesses", Rule.P5, ledger=None, policy=strangers)
    other_log = policy.replace(head, f"log {log_key(family.origin, STRANGER.public_key).text}\n")
    family.case("policy-log", "a policy with another log", Rule.P7, ledger=None, policy=other_log)
    outside = f"{head}witness outside {cosigner_key('witness.example', STRANGER.public_key).text}\nquorum outside\n"
    family.case("policy-outside", "the ledger, and a witness outside it that did not cosign", Rule.P7, policy=outside)
    family.case("policy-broken", "a policy without a quorum", _P1, policy=head)
    small = cosigner_key("witness.example", encoded(TORSION[1])).text
    family.case(
        "policy-small-order", "a policy with a key of small order", _P1, policy=f"{head}witness a {small}\nquorum a\n"
    )
    block_ms, status_ms = family.extra.header.timestamp_ms, (NOW_MS // 1000 - 3600) * 1000
    family.case("fresh", "its status may be an hour old, and is", fresh_ms=NOW_MS - status_ms)
    family.case("not-fresh", "its status has to be newer than it is", _P13, fresh_ms=NOW_MS - status_ms - 1)
    family.case("at", "valid at the time of its block", at_ms=block_ms)
    family.case("at-status", "valid at the time of its status", at_ms=status_ms)
    family.case("at-after", "valid later than its status is of", _P13, at_ms=status_ms + 1)
    family.case("at-before", "valid before it was certified", _P12, at_ms=block_ms - 10)
    family.case(
        "of-no-file",
        "certified is the document, asked for another",
        Rule.P10,
        has_document=True,
        payload=None,
        extra={"payload": None},
    )
    return [family, *_times(ledger, one)]


def _times(ledger: ProvenLedger, one: Statement) -> list[Family]:
    """Members cosigned at different times."""
    at = ledger.countersigned()
    signed = [
        ledger.countersigned(name, time_s=NOW_MS // 1000 - 1000 * place).cosignatures[0]
        for place, name in enumerate(("ada", "ben", "cy", "dot"))
    ]
    mixed = at._replace(cosignatures=tuple(sorted(signed, key=lambda cosignature: cosignature.member)))
    family = Family("times", ledger, one, mixed, has_document=True)
    family.case("valid", "members cosigned at four times, 1,000 s apart")
    far = ledger.countersigned(time_s=2**43)
    late = Family("time-far", ledger, one, far, has_document=True)
    late.case("valid", "members cosigned at a time of which many calendars know nothing")
    late.case("fresh", "the same, and the status may be a day old: it is far ahead of the clock", _P13, fresh_ms=DAY_MS)
    return [family, late]


def forged(ledger: ProvenLedger) -> list[Family]:
    """A ledger of the same name and organisations, which somebody else made."""
    for name in ("ada", "ben", "cy", "dot"):
        ledger.scribe.keys[name] = wallet(f"forger of {name}")
        ledger.scribe.key(name)
    one, payload = ledger.about(REPORT)
    ledger.forge(one, payloads=[payload])
    family = Family("forger", ledger, one, ledger.countersigned(), has_document=True)
    honest = short_epochs(4)
    family.case("valid", "a ledger of the same name as another, for who trusts it")
    family.case("famous-name", "the same, for who trusts the other", _P3, ledger=honest.ledger_id)
    family.case(
        "spliced",
        "its proof with the genesis of the other",
        Rule.P5,
        extra={"genesis": honest},
        ledger=honest.ledger_id,
    )
    return [family]


def forgers_genesis() -> Genesis:
    honest = short_epochs(4)
    founders = [replace(one, key=wallet(f"forger of {one.organisation}").public_key) for one in honest.founders]
    return replace(honest, founders=tuple(founders))


def continued(ledger: ProvenLedger) -> list[Family]:
    """A ledger that goes on from one that lost its quorum."""
    one, payload = ledger.about(REPORT)
    ledger.forge(one, payloads=[payload])
    family = Family("continued", ledger, one, ledger.countersigned(), has_document=True)
    family.case("valid", "on a ledger that continues another")
    without = replace(ledger.genesis, continues=None)
    family.case("denied", "its genesis without the ledger that it continues", _P3, extra={"genesis": without})
    return [family]


def continuing_genesis() -> Genesis:
    old = [OldVoter(wallet(name).public_key, 10, name) for name in ("ada", "ben", "cy", "dot")]
    voters = tuple(sorted(old, key=lambda one: one.key))
    continues = Continuation(b"o" * 32, "old", 7, b"b" * 32, START_MS, 3, b"r" * 32, voters)
    return continuing(short_epochs(4), continues, [wallet("ada"), wallet("ben")])


# ---- issuers ----------------------------------------------------------------------------------------------------


def issuers(ledger: ProvenLedger) -> list[Family]:
    """A ledger on which anybody certifies: an organisation, a key that is of none, and one that was claimed later."""
    scribe = ledger.scribe
    one, payload = ledger.about(REPORT)
    claimed, payload_2 = ledger.about(replace(REPORT, note="of a key"), by="registry")
    unknown, payload_3 = ledger.about(replace(REPORT, note="of nobody"), by="somebody")
    ledger.forge(one, claimed, unknown, payloads=[payload, payload_2, payload_3])
    ledger.forge(scribe.add_issuer("registry"))
    after = scribe.statement("registry")
    ledger.forge(after)
    ledger.forge(scribe.end_issuer("registry"))
    ended = scribe.statement("registry")
    ledger.forge(ended)
    motion = scribe.motion(scribe.admit("ada-2", title="University of Ada II"))
    ledger.forge(motion, *[scribe.approval(motion, name) for name in ("ben", "cy")])
    at = ledger.countersigned()
    by_ada = Family("issuer", ledger, one, at, has_document=True)
    for name, asked in (("id", "ada"), ("title", "University of Ada"), ("key", scribe.key("ada").public_key.hex())):
        by_ada.case(name, f"certified by the organisation asked for, by its {name}", issuer=asked)
    by_ada.case("another", "certified by another organisation than is asked for", _P11, issuer="ben")
    by_ada.case(
        "look-alike",
        "certified by the University of Ada, asked for is University of Ada II",
        _P11,
        issuer="University of Ada II",
    )
    by_ada.case("look-alike-id", "certified by ada, asked for is ada-2", _P11, issuer="ada-2")
    by_ada.case("another-key", "certified by another key than is asked for", _P11, issuer=bytes(32).hex())
    other = Family("other", ledger, claimed, at).extra
    by_ada.case("entry-of-another", "what the directory says of another key", _T1, extra={"issuer": other.issuer})
    by_ada.case(
        "entry-denied", "the directory is said not to have its key", _T1, extra={"issuer": TrieProof(None, None)}
    )
    ben = Family("other", ledger, scribe_statement(ledger, "ben"), ledger.countersigned()).extra
    by_ada.case(
        "organisation-of-another",
        "another organisation is shown as the one that has its key",
        _T1,
        extra={"organisation": ben.organisation},
    )
    by_ada.case(
        "organisation-missing", "the organisation that has its key is not shown", _T1, extra={"organisation": None}
    )
    path = by_ada.extra.issuer.path
    changed = replace(by_ada.extra.issuer, path=((path[0][0], bytes(32)), *path[1:]))
    by_ada.case("entry-path", "a hash of the directory's path changed", _T1, extra={"issuer": changed})
    value = by_ada.extra.issuer.leaf_value or b""
    changed = replace(by_ada.extra.issuer, leaf_value=value[:-1] + b"\x00")
    by_ada.case("entry-value", "the entry of its key changed", _T1, extra={"issuer": changed})
    key = scribe.key("registry").public_key.hex()
    by_claimed = Family("claimed", ledger, claimed, at, has_document=True)
    by_claimed.case("not-asked", "by a key that an organisation listed later: not certified by that", _P11)
    by_claimed.case("asked-organisation", "the same, that organisation is asked for", _P11, issuer="ada")
    by_claimed.case("asked-key", "the same, the key is asked for", issuer=key)
    by_nobody = Family("unlisted", ledger, unknown, at, has_document=True)
    by_nobody.case("not-asked", "by a key of no organisation", _P11)
    by_nobody.case("asked-key", "the same, the key is asked for", issuer=scribe.key("somebody").public_key.hex())
    in_time = Family("ended-after", ledger, after, at)
    in_time.case("valid", "by a key that has ended since then", issuer="ada")
    too_late = Family("ended-before", ledger, ended, at)
    too_late.case("not-asked", "by a key that had ended", _P11, issuer="ada")
    too_late.case("asked-key", "the same, the key is asked for", issuer=key)
    about = file_payload(REPORT, bytes(32))
    stranger = scribe.motion(scribe.admit("frank"), by="dot")
    ledger.forge(stranger)
    fields = (stranger.id,)
    word = issue_decision(Approval, scribe.key("dot"), scribe.ledger_id, START_MS + 10**9, fields, about)
    ledger.forge(word, payloads=[about])
    by_word = Family("approval", ledger, word, ledger.countersigned())
    by_word.case("valid", "an approval, with a payload that states a file")
    by_word.case("document", "the same: what is no statement certifies no file", _P10, has_document=True)
    by_word.case("at-before", "the same, asked for a time before", _P12, at_ms=1)
    eve = ledger.scribe.motion(ledger.scribe.admit("eve", title="ada.example"))
    ledger.forge(eve, *[ledger.scribe.approval(eve, name) for name in ("ben", "cy")])
    by_eve = Family("titled", ledger, scribe_statement(ledger, "eve"), ledger.countersigned())
    by_eve.case(
        "as-a-domain",
        "by an organisation whose title has the form of a domain, which is asked for",
        _P11,
        issuer="ada.example",
    )
    by_eve.case("as-a-written-domain", "the same, in capitals", _P11, issuer="Ada.Example")
    return [by_ada, by_claimed, by_nobody, in_time, too_late, by_word, by_eve]


def scribe_statement(ledger: ProvenLedger, by: str) -> Statement:
    """A statement in a block of its own."""
    one = ledger.scribe.statement(by)
    ledger.forge(one)
    return one


def open_genesis() -> Genesis:
    return directory_genesis(anybody_certifies=True)


# ---- validity ---------------------------------------------------------------------------------------------------


def statuses(ledger: ProvenLedger) -> list[Family]:
    """What was certified, and taken back or replaced; a key that was compromised."""
    scribe = ledger.scribe
    ledger.forge(scribe.add_issuer("registry"))
    names = ("revoked", "void", "superseded", "fine", "by-registry", "successor")
    said = {}
    for name in names:
        by = "registry" if name == "by-registry" else "ada"
        said[name], payload = ledger.about(replace(REPORT, note=name), by=by)
        ledger.forge(said[name], payloads=[payload])
    before = ledger.countersigned()
    early = Family("not-yet-revoked", ledger, said["revoked"], before, has_document=True)
    early.case("valid", "what was revoked later, in a proof of before")
    ledger.forge(scribe.revocation(said["revoked"], reason=Reason.WITHDRAWN))
    ledger.forge(scribe.revocation(said["void"], effect=Effect.VOID, reason=Reason.FRAUD))
    ledger.forge(scribe.supersession(said["superseded"], said["successor"]))
    between_ms = scribe.state.tip.timestamp_ms
    ledger.forge(scribe.revocation(said["superseded"], reason=Reason.WITHDRAWN))
    late = scribe_statement(ledger, "registry")
    ledger.forge(scribe.end_issuer("registry", since=scribe.state.log.size - 1))
    at = ledger.countersigned()
    revoked, void, superseded, fine = (Family(name, ledger, said[name], at, has_document=True) for name in names[:4])
    fine.case("valid", "valid, where others are not")
    revoked.case("now", "revoked since then", _P12)
    revoked.case("at-before", "the same, asked for a time before", at_ms=early.extra.header.timestamp_ms)
    void.case("now", "void", _P12)
    void.case(
        "at-before", "void, asked for a time before: it never was valid", _P12, at_ms=early.extra.header.timestamp_ms
    )
    superseded.case("now", "superseded, and revoked since then", _P12)
    superseded.case("at-between", "the same, asked for a time when it was superseded", _P12, at_ms=between_ms)
    superseded.case("at-before", "the same, asked for a time before", at_ms=early.extra.header.timestamp_ms)
    absent = fine.extra.status
    revoked.case(
        "absence-of-another",
        "the proof that the status of another certificate is not set",
        _T1,
        extra={"status": absent},
    )
    revoked.case(
        "absence-of-before",
        "the proof of before that its status was not set",
        _T1,
        extra={"status": early.extra.status},
    )
    revoked.case("status-empty", "the status trie is said to be empty", _T1, extra={"status": TrieProof(None, None)})
    roots = {
        "of_members": replace(revoked.extra.of_members, status=early.extra.of_members.status),
        "status": early.extra.status,
    }
    revoked.case("status-root-of-before", "the status root of a block before", Rule.P5, extra=roots)
    value = revoked.extra.status.leaf_value or b""
    weaker = replace(revoked.extra.status, leaf_value=b"\x01" + value[1:])
    revoked.case("status-changed", "the status changed to another effect", _T1, extra={"status": weaker})
    fine.case(
        "status-of-another", "the status of a certificate that is revoked", _T1, extra={"status": revoked.extra.status}
    )
    good = Family("compromised-after", ledger, said["by-registry"], at, has_document=True)
    good.case("valid", "by a key that was compromised later")
    bad = Family("compromised-before", ledger, late, at)
    bad.case("now", "by a key that was compromised before", _P12)
    ledger.store.erase_payload(said["fine"].payload_hash or b"")
    erased = Family("erased", ledger, said["fine"], at)
    erased.case("valid", "its content was erased, and no document is at hand")
    erased.case(
        "document", "its content was erased: which document it was, nobody can tell", Rule.P10, has_document=True
    )
    return [early, revoked, void, superseded, fine, good, bad, erased]


# ---- issuers whose signatures are at the edges -------------------------------------------------------------------

_EDGES = {
    "R of small order, 1 T": ("r-small-order", "accepted by rule K2, refused by many tools"),
    "R of mixed order, r B + 1 T": ("r-mixed-order", "accepted by rule K2, refused by many tools"),
    "S + 1 L": ("s-plus-l", "refused"),
    "R not canonical, y = p + 18": ("r-not-canonical", "refused"),
    "A of small order, 1 T": ("small-order", "refused"),
    "A of mixed order, a B + 1 T, k = 0 mod 8": ("mixed-order", "refused"),
    "S + 1": ("bad", "refused"),
}


def edges(ledger: ProvenLedger) -> list[Family]:
    """A ledger without organisations, whose members made blocks of certificates that no honest node takes."""
    one, payload = ledger.about(REPORT)
    stake = issue_stake(ADA, ledger.genesis.ledger_id, START_MS, 5)
    _forge(ledger, one, stake, payload=payload)
    plain = Family("open", ledger, one, ledger.countersigned(), has_document=True)
    plain.case("valid", "on a ledger without organisations")
    plain.case("key", "the same, the key is asked for", issuer=ADA.public_key.hex())
    plain.case("organisation", "the same, an organisation is asked for", _P11, issuer="ada")
    staking = Family("stake", ledger, stake, ledger.countersigned())
    staking.case("valid", "a staking operation, which is no statement")
    staking.case("document", "the same, asked for a document", Rule.P10, has_document=True)
    families = [plain, staking]
    for vector in vectors():
        if vector.name in _EDGES:
            name, what = _EDGES[vector.name]
            body = vector.message.removeprefix(Domain.CERTIFICATE + ledger.genesis.ledger_id)
            strange = certificate_codec.decode(body + b"\xc4\x40" + vector.signature)
            _forge(ledger, strange)
            family = Family("signature", ledger, strange, ledger.countersigned())
            family.case(name, f"the issuer's signature: {vector.name}: {what}", None if vector.accepted else Rule.C1)
            families.append(family)
    return families


def _forge(ledger: ProvenLedger, *certificates: AnyCertificate, payload: Payload | None = None) -> None:
    """The next block, whether its certificates are signed well or not."""
    FinalScribe.forge(ledger.scribe, *certificates)
    kept = ledger.scribe.kept[-1]
    ledger.store.append(replace(kept, payloads=(payload,) if payload else ()))


# ---- many members ---------------------------------------------------------------------------------------


def many(count: int) -> Callable[[ProvenLedger], list[Family]]:
    """A ledger of so many members."""

    def write(ledger: ProvenLedger) -> list[Family]:
        for number in range(count):
            ledger.scribe.key(f"member {number}")
        one = ledger.scribe.statement("member 0")
        ledger.forge(one)
        family = Family(f"of-{count}", ledger, one, ledger.countersigned())
        family.case("valid", f"cosigned by {count} members, one of which signed as the log")
        family.case(
            "quorum",
            "cosigned by just more than 2/3 of them",
            note=family.cosigned(by=family.voters[: 2 * count // 3 + 1]),
        )
        if count > 1:
            family.case(
                "no-quorum",
                "cosigned by just 2/3 of them, or less",
                Rule.P7,
                note=family.cosigned(by=family.voters[: 2 * count // 3]),
            )
        return [family]

    return write


def genesis_of(count: int) -> Genesis:
    """So many founders."""
    founders = [
        Founder(f"m{number}", f"University {number}", None, wallet(f"member {number}").public_key, Role.MEMBER, 10)
        for number in range(count)
    ]
    return make_genesis("many", START_MS, (), Params(anybody_certifies=False), founders)


WRITERS: tuple[tuple[Callable[[ProvenLedger], list[Family]], Genesis], ...] = (
    (trust, short_epochs(4)),
    (forged, forgers_genesis()),
    (continued, continuing_genesis()),
    (issuers, open_genesis()),
    (statuses, short_epochs(100)),
    (edges, found()),
    (many(1), genesis_of(1)),
    (many(9), genesis_of(9)),
    (many(17), genesis_of(17)),
    (many(64), genesis_of(64)),
)
