"""What a checkpoint alone proves: of a ledger that is trusted, by members who are followed to it (P3 to P7).

A proof of a certificate begins with it, and whoever audits the log has no more.
"""

from collections.abc import Iterable
from typing import NamedTuple

from tallystick.ledger.bundle import FinalVotes, HandOver
from tallystick.ledger.checkpoint import Checkpoint, check_cosigned, parse_checkpoint
from tallystick.ledger.epoch import Epoch
from tallystick.ledger.errors import NotProven, Rule, expect, step
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.header import Header
from tallystick.ledger.note import Note
from tallystick.ledger.roots import LogRoots, MemberRoots
from tallystick.ledger.tlog_policy import Policy
from tallystick.proof.members import Anchor, Conflict, FinalBlock, MemberChange, Members


class Cosigner(NamedTuple):
    """A voter that countersigned the checkpoint."""

    key: bytes
    organisation: str | None
    """The id of the one that has the key; `None`: the proof shows none."""
    stake: int
    time_s: int


class Head(NamedTuple):
    """A checkpoint, with the header that it is of, and how the members follow from those of the genesis."""

    genesis: Genesis
    header: Header
    votes: FinalVotes
    """For the block, or for the last of `following`."""
    following: tuple[Header, ...]
    hand_over: HandOver
    log: LogRoots
    of_members: MemberRoots
    note: Note

    def anchor(self, voters: Epoch) -> Anchor:
        """What the verifier may keep, once it is proven."""
        header = self.header
        ledger_id, epoch = self.genesis.ledger_id, voters.number
        return Anchor(ledger_id, epoch, voters.members, header.index, header.hash, header.timestamp_ms)


class ProvenHead(NamedTuple):
    """Who stands for a checkpoint."""

    voters: Epoch
    cosigners: tuple[Cosigner, ...]
    changes: tuple[MemberChange, ...]


def proven_head(
    head: Head, ledger_id: bytes | None, anchors: tuple[Anchor, ...] = (), policy: Policy | None = None
) -> ProvenHead:
    """Who stands for it, to a verifier who trusts this ledger. Raises `NotProven` with the first check that fails.

    `anchors`: what was verified of the ledger before. Without a ledger, a policy names whom to trust.
    """
    # P3: the ledger is one that the verifier trusts, or the verifier's policy says whom to trust.
    _check_trusted(head.genesis, ledger_id, policy)
    # P4: the members are followed, from the genesis or from what was verified before, to the header's epoch.
    members = Members(head.genesis, head.hand_over, anchors)
    for one in head.hand_over.steps:
        members.follow(one)
    # P5: more than 2/3 of their stake, and of that of the voters whom the header's state root names, made it final.
    voters = _final_voters(head, members)
    if ledger_id is not None:
        members.check_trusted()
    elif policy is not None and not policy.holds({voters.members[place][0] for place, _ in head.votes.signatures}):
        raise NotProven(Rule.P5, "those who voted do not satisfy the policy")
    _check_order(head.header, anchors)
    # P6: the checkpoint is the head of the log that the same state root names.
    _check_checkpoint(head)
    # P7: more than 2/3 of the stake countersigned it, one member as the log; no signature of a member is bad.
    return ProvenHead(voters, _cosigners(head.note, head.genesis.origin, voters, policy), tuple(members.changes))


def _check_trusted(genesis: Genesis, ledger_id: bytes | None, policy: Policy | None) -> None:
    if ledger_id is None and policy is None:
        raise NotProven(Rule.P3, "no ledger is trusted here; name the one that you trust: tallystick trust add")
    if ledger_id is not None:
        expect(Rule.P3, "ledger", ledger_id, genesis.ledger_id)
    elif policy is not None and policy.holds(()):
        raise NotProven(Rule.P3, "the policy asks for no witness: whom to trust for the status, it does not say")
    elif policy is not None and not policy.names_voters:
        lacking = (
            "the policy needs witnesses by ML-DSA-44, and members vote by Ed25519: whose votes count, it does not say"
        )
        raise NotProven(Rule.P3, f"{lacking}; name the ledger, too: --ledger ID")


def _final_voters(head: Head, members: Members) -> Epoch:
    last = head.header
    for one in head.following:
        if (one.epoch, one.index, one.parent_hash) != (last.epoch, last.index + 1, last.hash):
            raise NotProven(Rule.P5, f"block {one.index} does not follow block {last.index} within its epoch")
        last = one
    final = FinalBlock(head.header, last, head.votes, head.log, head.of_members)
    return members.final_voters(final, head.hand_over.voters, Rule.P5)


def _check_order(header: Header, anchors: Iterable[Anchor]) -> None:
    """On one chain index, time and epoch rise together, so a header that does not fit in is of another history."""
    for one in anchors:
        later = 1 if header.index > one.index else -1
        rises = later * (header.timestamp_ms - one.timestamp_ms) > 0 and later * (header.epoch - one.epoch) >= 0
        if not (header.hash == one.block_hash if header.index == one.index else rises):
            raise Conflict(Rule.P4, f"a history with block {one.index}, verified before", one.block_hash, header.hash)


def _check_checkpoint(head: Head) -> None:
    expected = Checkpoint(head.genesis.origin, head.log.log_size, head.log.log_root)
    checkpoint = parse_checkpoint(head.note.text)
    for what, one, found in zip(Checkpoint._fields, expected, checkpoint, strict=True):
        expect(Rule.P6, f"{what} of the checkpoint", one, found)
    expect(Rule.P6, "lines of the checkpoint", len(checkpoint), head.note.text.count("\n"))


def _cosigners(note: Note, origin: str, voters: Epoch, policy: Policy | None) -> tuple[Cosigner, ...]:
    with step(Rule.P7, "checkpoint"):
        times_s = check_cosigned(note, origin, [key for key, _ in voters.members])
        if policy is not None:
            policy.check(note)
    stake = sum(voters.stake(key) for key in times_s)
    if not voters.is_quorum(stake):
        raise NotProven(Rule.P7, "stake that countersigned", f"more than 2/3 of {voters.total}", stake)
    return tuple(Cosigner(key, None, voters.stake(key), time_s) for key, time_s in times_s.items())
