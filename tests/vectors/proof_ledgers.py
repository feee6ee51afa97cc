"""Cases of the corpus of proofs: blocks and what makes them final, members and how they are followed."""

from msgspec.structs import replace

from tallystick.ledger.bundle import Entrance, FinalVotes, Step
from tallystick.ledger.certificate import Statement
from tallystick.ledger.checkpoint import Checkpoint
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import Rule
from tallystick.ledger.header import Header
from tallystick.ledger.vote import FINALIZE, Ballot, cast
from tallystick.ledger.wallet import Wallet
from tallystick.proof.members import Anchor
from tests.builders import wallet
from tests.curve import BASE, TORSION, add, encoded, times
from tests.proving import ProvenLedger, short_epochs
from tests.vectors.proof_cases import REPORT, Family

_P4, _P5, _P9 = Rule.P4, Rule.P5, Rule.P9
NAMES = ("ada", "ben", "cy", "dot")


def votes_of(header: Header, voters: Epoch, by: list[Wallet]) -> FinalVotes:
    """Votes of these for a block, as if it was theirs to vote on."""
    places = {key: place for place, (key, _) in enumerate(voters.members)}
    ballot = Ballot(FINALIZE, header.epoch, header.view, header.hash)
    signed = {places[one.public_key]: cast(one, header.ledger_id, ballot).signature for one in by}
    return FinalVotes(header.view, tuple(sorted(signed.items())))


def replaced(ledger: ProvenLedger, organisation: str, after: str) -> None:
    """The organisation's member key is replaced by a motion, in one epoch."""
    scribe = ledger.scribe
    epoch, by = scribe.state.epoch.number, [holder(ledger, one) for one in ("ada", "ben", "cy")]
    motion = scribe.motion(scribe.replace_key(organisation, after), by[0])
    ledger.forge(motion, *[scribe.approval(motion, one) for one in by[1:]])
    ledger.forge_until(epoch + 1)


def holder(ledger: ProvenLedger, organisation: str) -> str:
    """The name of the wallet that is the organisation's member key now."""
    key = ledger.scribe.member_key(organisation)
    return next(name for name, one in ledger.scribe.keys.items() if one.public_key == key)


def anchor(family: Family) -> Anchor:
    """What a verifier keeps of a proof."""
    voters, header = family.at.voters, family.extra.header
    return Anchor(header.ledger_id, voters.number, voters.members, header.index, header.hash, header.timestamp_ms)


# ---- blocks ---------------------------------------------------------------------------------------------------


def blocks(ledger: ProvenLedger) -> list[Family]:
    """Where a certificate entered, and what made the checkpoint's block final."""
    scribe = ledger.scribe
    said = [scribe.statement() for _ in range(9)]
    ledger.forge(*said[:1])
    own = Family("own-block", ledger, said[0], ledger.countersigned())
    own.case("valid", "the certificate of the first block, proven by that block")
    entrance = replace(own.extra.entrance, path=(bytes(32),))
    own.case("with-path", "the same, with a path to its own headers", _P9, extra={"entrance": entrance})
    ledger.forge(*said[1:4])
    ledger.forge(said[4], is_finalized=False)
    following = ledger.countersigned()
    ledger.forge(said[5], is_finalized=False)
    ledger.forge(said[6])
    followed = Family("followed", ledger, said[2], following)
    followed.case("valid", "made final by votes for the second block after it")
    headers = followed.extra.following
    followed.case(
        "gap", "a header missing between it and the block that was voted for", _P5, extra={"following": headers[1:]}
    )
    followed.case("none", "the headers after it missing", _P5, extra={"following": ()})
    followed.case("order", "the headers after it in the wrong order", _P5, extra={"following": headers[::-1]})
    followed.case(
        "changed", "a header after it changed", _P5, extra={"following": (replace(headers[0], nonce=1), headers[1])}
    )
    last_of_epoch = ledger.forge(said[7], is_finalized=False)
    at = ledger.countersigned()
    voters = ledger.epoch
    assert scribe.state.epoch.number == voters.number + 1, "the epoch is over"
    next_block = ledger.forge(said[8])
    crossing = followed.extra.header.epoch + 1
    assert next_block.header.epoch == crossing
    several = Family("several", ledger, said[2], ledger.countersigned())
    several.case("valid", "the second of three certificates of a block, proven in a later epoch")
    by = [scribe.keys[one] for one in NAMES]
    forged = {
        "header": last_of_epoch.header,
        "following": (next_block.header,),
        "votes": votes_of(next_block.header, scribe.state.epoch, by),
        "log": at.state.roots.of_log,
        "of_members": at.state.roots.of_members,
    }
    head = Checkpoint(several.origin, at.state.log.size, at.state.log.root())
    several.case(
        "of-next-epoch",
        "made final by votes of the epoch after its own",
        _P5,
        extra=forged,
        note=several.cosigned(head),
    )
    _of_votes(several)
    _of_entrance(several, ledger, said)
    return [own, followed, several]


def _of_votes(family: Family) -> None:
    votes, header, by = family.extra.votes, family.extra.header, family.voters
    signatures, voters = votes.signatures, family.at.voters

    def voted(name: str, what: str, *changed: tuple[int, bytes], **more: int) -> None:
        family.case(name, what, _P5, extra={"votes": FinalVotes(more.get("view", votes.view), changed or signatures)})

    bad = signatures[0][1][:-1] + bytes([signatures[0][1][-1] ^ 1])
    voted("vote-bad", "one vote of four is bad", (0, bad), *signatures[1:])
    voted("votes-two", "two votes of four", *signatures[:2])
    voted("votes-twice", "a vote twice", signatures[0], signatures[0], *signatures[1:])
    voted("votes-order", "votes in the wrong order", signatures[1], signatures[0], *signatures[2:])
    voted("vote-of-nobody", "a vote of a fifth of four", *signatures, (4, signatures[0][1]))
    voted("vote-view", "votes of another view", view=votes.view + 1)
    other = replace(header, nonce=header.nonce + 1)
    voted("votes-of-other", "votes for another block", *votes_of(other, voters, by).signatures)
    parent = family.extra.entrance.parent
    voted("votes-old", "votes for an older block", *votes_of(parent, voters, by).signatures)
    three = votes_of(header, voters, by[:3])
    family.case("votes-three", "three votes of four", extra={"votes": three})
    for field, value in (
        ("timestamp_ms", header.timestamp_ms + 1),
        ("state_root", bytes(32)),
        ("index", header.index + 1),
    ):
        changed = replace(header, **{field: value})
        family.case(f"header-{field}", f"the header with another {field}", _P5, extra={"header": changed})
    for field, value in (("ledger_id", bytes(32)), ("version", 2)):
        changed = replace(header, **{field: value})
        resigned = votes_of(changed, voters, by)
        family.case(
            f"header-{field}",
            f"a header with another {field}, for which all voted",
            _P5,
            extra={"header": changed, "votes": resigned},
        )
    later = replace(header, state_root=bytes(32))
    family.case("state-root-forged", "all voted for a header whose state root opens to nothing", _P5,
                extra={"header": later, "votes": votes_of(later, voters, by)})  # fmt: skip
    log, of_members = family.extra.log, family.extra.of_members
    family.case(
        "log-size",
        "the opened log size is not the header's",
        _P5,
        extra={"log": replace(log, log_size=log.log_size + 1)},
    )
    family.case(
        "log-root", "the opened log root is not the header's", _P5, extra={"log": replace(log, log_root=bytes(32))}
    )
    family.case(
        "headers-root",
        "the opened root of headers is not the header's",
        _P5,
        extra={"log": replace(log, headers_root=bytes(32))},
    )
    family.case(
        "members-roots",
        "the opened status root is not the header's",
        _P5,
        extra={"of_members": replace(of_members, status=bytes(32))},
    )


def _of_entrance(family: Family, ledger: ProvenLedger, said: list[Statement]) -> None:
    entrance, later = family.extra.entrance, entrance_of(ledger, said[4], family)
    assert entrance.header is not None
    assert entrance.log is not None

    def entered(name: str, what: str, **changed: object) -> None:
        family.case(f"entrance-{name}", what, _P9, extra={"entrance": replace(entrance, **changed)})

    family.case(
        "entrance-later",
        "the block after the certificate's, with all that belongs to it",
        _P9,
        extra={"entrance": later},
    )
    entered("own", "the checkpoint's own block", header=None, log=None, path=())
    entered("own-with-path", "the checkpoint's own block, with a path", header=None, log=None)
    entered("parent", "another block for the one before it", parent=later.parent, parent_log=later.parent_log)
    entered(
        "parent-log", "the log before it opened to another size", parent_log=replace(entrance.parent_log, log_size=0)
    )
    entered("log", "its log opened to another size", log=replace(entrance.log, log_size=99))
    entered("log-missing", "its log not opened", log=None)
    entered("time", "the block with an earlier time", header=replace(entrance.header, timestamp_ms=1))
    entered("path", "a hash of its path changed", path=(bytes(32), *entrance.path[1:]))
    entered("path-short", "a hash of its path missing", path=entrance.path[:-1])
    entered("path-missing", "no path", path=())
    first = Family("several", ledger, said[1], family.at)
    first.case(
        "entrance-before",
        "the block before that of the first of its certificates, with all that belongs to it",
        _P9,
        extra={"entrance": entrance_of(ledger, said[0], family)},
    )
    family.cases += first.cases


def entrance_of(ledger: ProvenLedger, one: Statement, family: Family) -> Entrance:
    """That of another certificate, at the same checkpoint."""
    return Family("other", ledger, one, family.at).extra.entrance


# ---- members --------------------------------------------------------------------------------------------------


def members(ledger: ProvenLedger) -> list[Family]:
    """Each of four member keys is replaced, one at a time."""
    scribe = ledger.scribe
    one, payload = ledger.about(REPORT)
    ledger.forge(one, payloads=[payload])
    early = Family("early", ledger, one, ledger.countersigned(), has_document=True)
    middle, bases = None, []
    for name in NAMES:
        replaced(ledger, name, f"{name}-2")
        ledger.forge(scribe.statement(holder(ledger, "ada")))
        bases.append(anchor(Family("at", ledger, one, ledger.countersigned())))
        if name == "ben":
            middle = Family("middle", ledger, one, ledger.countersigned(), has_document=True)
    assert middle is not None
    ledger.forge(scribe.statement("ada-2"))
    last = Family("replaced", ledger, one, ledger.countersigned(), has_document=True)
    last.case("valid", "every member was replaced, one at a time: followed from the genesis")
    steps = last.hand_over.steps
    assert len(steps) >= 2
    last.hand("step-missing", "a step is missing: too little of the stake known before voted", steps=steps[1:])
    last.hand("last-step-missing", "the last step is missing", _P5, steps=steps[:-1])
    last.hand("no-steps", "all steps are missing", _P5, steps=())
    last.hand("steps-order", "the steps in the wrong order", steps=steps[::-1])
    last.hand("step-twice", "a step twice", steps=(steps[0], *steps))
    of_first = early.extra
    inner = Step(of_first.header, of_first.votes, of_first.log, of_first.of_members, None, None)
    last.hand("step-not-last", "a step to a block that is not the last of its epoch", steps=(inner, *steps))
    last.hand("keys-missing", "no keys", keys=())
    last.hand(
        "keys-swapped",
        "two keys swapped",
        keys=(last.hand_over.keys[1], last.hand_over.keys[0], *last.hand_over.keys[2:]),
    )
    mixed = encoded(add(times(5, BASE), TORSION[1]))
    last.hand("keys-mixed-order", "a key of mixed order in place of a member's", keys=(mixed, *last.hand_over.keys[1:]))
    first = steps[0]

    def step(name: str, what: str, **changed: object) -> None:
        last.hand(f"step-{name}", what, steps=(replace(first, **changed), *steps[1:]))

    votes = first.votes.signatures
    bad = votes[0][1][:-1] + bytes([votes[0][1][-1] ^ 1])
    step("vote-bad", "a vote of a step is bad", votes=replace(first.votes, signatures=((votes[0][0], bad), *votes[1:])))
    step("votes-few", "two votes for a step", votes=replace(first.votes, signatures=votes[:2]))
    step("header", "the header of a step changed", header=replace(first.header, timestamp_ms=1))
    step(
        "roots", "the roots of a step are not its header's", of_members=replace(first.of_members, next_voters=bytes(32))
    )
    stakes = tuple((place, 10) for place in range(4))
    step("next-voters", "a step names other voters than its state root", next_voters=stakes)
    step(
        "stakes",
        "a step names other stakes than its state root",
        next_voters=tuple((place, stake + 1) for place, stake in first.next_voters or stakes),
    )
    step("unordered", "voters of a step in the wrong order", next_voters=(first.next_voters or stakes)[::-1])
    last.case("old-members", "cosigned by members of the first epoch", Rule.P7, note=last.cosigned(by=early.voters))
    _of_trust(early, middle, last, bases)
    _forged_by_old_keys(early, last, bases)
    return [early, middle, last, *_since(ledger, one, last, bases)]


def _of_trust(early: Family, middle: Family, last: Family, bases: list[Anchor]) -> None:
    early.case("valid", "proven in the first epoch")
    early.case("older", "older than what the verifier verified before", anchors=(bases[-1],))
    middle.case("valid", "proven when two of four members were replaced")
    middle.case("older", "older than what the verifier verified before", anchors=(bases[-1],))
    last.case("newer", "newer than what the verifier verified before", anchors=(bases[0], bases[1]))
    other = replace(bases[-1], block_hash=bytes(32), index=last.extra.header.index, epoch=last.at.voters.number,
                    voters=last.at.voters.members)  # fmt: skip
    last.case("conflict-block", "the verifier verified another block of this index", _P4, anchors=(other,))
    far = replace(bases[-1], index=early.extra.header.index - 1)
    early.case("conflict-order", "of an earlier epoch, after a block that the verifier verified", _P4, anchors=(far,))
    late_ms = early.extra.header.timestamp_ms - 1
    early.case("conflict-time", "before a block that the verifier verified, and later than that", _P4,
               anchors=(replace(bases[-1], timestamp_ms=late_ms),))  # fmt: skip
    early.case("older-not-fresh", "cosigned now, and older than what the verifier verified a day ago", Rule.P13,
               anchors=(bases[-1],), fresh_ms=60_000)  # fmt: skip
    strangers = tuple(sorted((wallet(f"no {number}").public_key, 10) for number in range(4)))
    last.case(
        "conflict-voters",
        "the verifier verified other voters of its epoch",
        _P4,
        anchors=(replace(other, voters=strangers, index=1),),
    )
    between = replace(bases[1], voters=strangers)
    last.case("conflict-between", "the verifier verified other voters of an epoch on the way", _P4, anchors=(between,))


def _forged_by_old_keys(early: Family, last: Family, bases: list[Anchor]) -> None:
    """The keys of the first members, after they were replaced, make a block of a later epoch that names themselves."""
    voters = Epoch(last.at.voters.number, early.at.voters.stakes, 0, 0)
    of_members = replace(early.extra.of_members, voters=voters.hash)
    log = replace(early.extra.log, members_hash=of_members.hash)
    header = replace(last.extra.header, state_root=log.hash)
    forged = {
        "header": header,
        "votes": votes_of(header, voters, early.voters),
        "log": log,
        "of_members": of_members,
        "hand_over": replace(early.hand_over, keys=(), steps=(), voters=None),
        "entrance": replace(early.extra.entrance, log=early.extra.log, header=early.extra.header, path=()),
    }
    early.case(
        "forged-known",
        "forged by replaced keys, for a verifier who verified the new members",
        _P4,
        extra=forged,
        anchors=(bases[-1],),
    )
    just_before = replace(bases[-1], epoch=voters.number - 1)
    early.case(
        "forged-known-before",
        "the same, who verified them in the epoch before",
        _P4,
        extra=forged,
        anchors=(just_before,),
    )
    early.case(
        "forged-entrance",
        "forged by replaced keys: the block that the certificate entered with is not in its headers",
        _P9,
        extra=forged,
    )


def _since(ledger: ProvenLedger, one: Statement, last: Family, bases: list[Anchor]) -> list[Family]:
    """For a verifier who knows the epoch that the hand-over starts from."""
    since = Family("since", ledger, one, last.at, since=bases[1].epoch, has_document=True)
    since.case("valid", "followed from an epoch that the verifier verified before", anchors=(bases[1],))
    since.case("unknown", "followed from an epoch that the verifier knows nothing of", _P4)
    since.case("other", "followed from an epoch of which the verifier knows other voters", _P4,
               anchors=(replace(bases[1], voters=last.at.voters.members),))  # fmt: skip
    at_once = Family("since-last", ledger, one, last.at, since=last.at.voters.number, has_document=True)
    at_once.case("valid", "no steps: the verifier knows the epoch of the checkpoint", anchors=(bases[-1],))
    return [since, at_once]


def little_stake(ledger: ProvenLedger) -> list[Family]:
    """Three of four first members hold 3 % today."""
    scribe = ledger.scribe
    one, payload = ledger.about(REPORT)
    ledger.forge(one, payloads=[payload])
    motion = scribe.motion(scribe.set_stakes(dot=970))
    ledger.forge(motion, scribe.approval(motion, "ben"), scribe.approval(motion, "cy"))
    ledger.forge_until(1)
    while scribe.state.epoch.number == 1 and scribe.state.index < 9:
        ledger.forge()
    family = Family("little-stake", ledger, one, ledger.countersigned(), has_document=True)
    family.case("valid", "one member holds most of the stake: followed from the genesis")
    three = [scribe.keys[one] for one in NAMES[:3]]
    header = family.extra.header
    few = {"votes": votes_of(header, family.at.voters, three)}
    family.case(
        "old-stake", "voted for by three who held enough of the stake at first, and hold 3 % of it now", _P5, extra=few
    )
    family.case("cosigned", "cosigned by three who hold 3 % of the stake", Rule.P7, note=family.cosigned(by=three))
    genesis = Epoch(header.epoch, ledger.genesis.stakes(), 0, 0)
    claimed = {
        "votes": votes_of(header, genesis, three),
        "hand_over": replace(family.hand_over, keys=(), steps=(), voters=None),
    }
    family.case(
        "old-voters",
        "voted for and cosigned by the same three, who are said to be enough: the state root says otherwise",
        _P5,
        extra=claimed,
        note=family.cosigned(by=three),
    )
    dot = {"votes": votes_of(header, family.at.voters, [scribe.keys["dot"]])}
    steps = family.hand_over.steps
    family.case("new-stake", "voted for by one who holds most of the stake now; the step to that is missing", _P4,
                extra=dot | {"hand_over": replace(family.hand_over, steps=())} if steps else dot)  # fmt: skip
    return [family]


def hundred(ledger: ProvenLedger) -> list[Family]:
    """A hundred replacements, then some more."""
    one, payload = ledger.about(REPORT)
    ledger.forge(one, payloads=[payload])
    families = []
    for count, name in ((100, "hundred"), (120, "hundred-twenty")):
        for number in range(ledger.scribe.state.epoch.number, count + 1):
            replaced(ledger, NAMES[number % 4], f"{NAMES[number % 4]}-{number}")
        ledger.forge(ledger.scribe.statement(holder(ledger, "ada")))
        families.append(Family(name, ledger, one, ledger.countersigned(), has_document=True))
    inside, beside = families
    inside.case("valid", "100 members were replaced, one after the other")
    beside.case("valid", "120 were: the hand-over and the payload stand in files beside the proof")
    assert beside.files.members is not None
    beside.case("members-missing", "the file with the hand-over is missing", Rule.P2, members=None)
    beside.case(
        "members-of-another", "the file with the hand-over of an older proof", _P5, members=inside.hand_over.encoded
    )
    return families


WRITERS = (
    (blocks, short_epochs(6)),
    (members, short_epochs(4)),
    (little_stake, short_epochs(4)),
    (hundred, short_epochs(1)),
)
