"""The account of a demo: everything that it came to, as plain values, for people and as JSON."""

from itertools import groupby

from msgspec import Struct

from tallystick.cli.words import kind_of, what_it_says
from tallystick.demo.recorder import Doubling, Killing, Nullified, Parting, Refusal
from tallystick.demo.simulation import Simulation
from tallystick.integrity.checked_chain import CheckedChain
from tallystick.ledger.block import Block
from tallystick.ledger.errors import Rule
from tallystick.node.node import Node


class CertificateLine(Struct):
    """A certificate on the chain."""

    id: str
    kind: str
    issuer: str
    says: str
    timestamp_ms: int


class BlockLine(Struct):
    """A block of the chain; final by the votes for it, or for the later block `final_by`."""

    index: int
    epoch: int
    view: int
    hash: str
    parent_hash: str
    forger: str
    timestamp_ms: int
    final_by: int
    voters: list[str]
    voted_stake: int
    total_stake: int
    certificates: list[CertificateLine]


class ShareLine(Struct):
    """What one member has at stake in an epoch."""

    member: str
    stake: int


class EpochLine(Struct):
    """A stretch of blocks in which the same stakes counted, and its views that came to nothing."""

    number: int
    first_block: int
    last_block: int
    total_stake: int
    members: list[ShareLine]
    nullified: list[Nullified]


class NodeLine(Struct):
    """A node at the end."""

    name: str
    forges_as: str
    joined_ms: int
    tip_index: int
    tip_hash: str
    certificates: int
    log_root: str
    waiting: int
    set_aside: int
    forged: int
    refused: int


class MemberLine(Struct):
    """A user or node with tokens."""

    name: str
    public_key: str
    free: int
    staked: int
    unbonding: int
    burned: int
    blocks_forged: int
    finalizations: int
    """How many of the chain's finalizations this member's vote is in."""


class AttemptLine(Struct):
    """Something illegal that the fraud tried, and the rule it was refused by; `None` if it was not refused."""

    what: str
    node: str
    rule: str | None
    reason: str | None


class RuleLine(Struct):
    """A rule, and how often something was refused by it."""

    rule: str
    title: str
    count: int
    example: str


class FileLine(Struct):
    """A file, checked against the chain as read back from its SQLite file."""

    name: str
    sha256: str
    verifies: bool
    certified_by: str | None
    block_index: int | None
    fails_with_one_byte_changed: bool


class Account(Struct):
    """The whole of it."""

    account_version: int
    simulated: bool
    seed: int
    ledger_id: str
    created_ms: int
    virtual_ms: int
    nodes_agree: bool
    all_attempts_refused: bool
    all_files_verify: bool
    went_on_without_a_forger: bool
    stopped_in_halves_and_went_on: bool
    burned_the_stake_of_who_signed_twice: bool
    nodes: list[NodeLine]
    epochs: list[EpochLine]
    blocks: list[BlockLine]
    members: list[MemberLine]
    killing: Killing | None
    parting: Parting | None
    doubling: Doubling | None
    attempts: list[AttemptLine]
    refused: list[RuleLine]
    files: list[FileLine]
    trace_digest: str

    @property
    def is_good(self) -> bool:
        """Whether everything came out as it should."""
        lasted = self.went_on_without_a_forger and self.stopped_in_halves_and_went_on
        kept = self.nodes_agree and self.all_files_verify
        return kept and lasted and self.all_attempts_refused and self.burned_the_stake_of_who_signed_twice


def give_account(simulation: Simulation, checked: CheckedChain, files: list[FileLine], seed: int) -> Account:
    """What a simulation that has come to its end amounts to, by its first node's chain as read back and checked."""
    attempts, story = _attempts(simulation), simulation.story
    agree = simulation.agree and checked.state.tip == simulation.nodes()[0][1].state.tip
    return Account(
        account_version=4,
        simulated=True,
        seed=seed,
        ledger_id=simulation.genesis.ledger_id.hex(),
        created_ms=simulation.genesis.created_ms,
        virtual_ms=simulation.elapsed_ms,
        nodes_agree=agree,
        all_attempts_refused=all(attempt.rule for attempt in attempts),
        all_files_verify=all(file.verifies and file.fails_with_one_byte_changed for file in files),
        went_on_without_a_forger=_went_on(story.killing, story.nullified),
        stopped_in_halves_and_went_on=_stopped_and_went_on(story.parting),
        burned_the_stake_of_who_signed_twice=_burned(simulation, checked),
        nodes=[_node(simulation, name, node) for name, node in simulation.nodes()],
        epochs=_epochs(simulation, checked),
        blocks=[_block(simulation, checked, block) for block in checked.blocks()],
        members=_members(simulation, checked),
        killing=story.killing,
        parting=story.parting,
        doubling=story.doubling,
        attempts=attempts,
        refused=_rules(story.refusals),
        files=files,
        trace_digest=simulation.network.digest,
    )


def _went_on(killing: Killing | None, nullified: dict[tuple[int, int], Nullified]) -> bool:
    """The view of the killed forger came to nothing, a block became final before it was back, and it is back."""
    if killing is None or killing.went_on_ms is None or killing.restarted_ms is None:
        return False
    was_missed = (killing.epoch, killing.view) in nullified
    return was_missed and killing.went_on_ms < killing.restarted_ms and killing.voted_again_ms is not None


def _stopped_and_went_on(parting: Parting | None) -> bool:
    """No half made a block final; a node said who was missing; together they went on."""
    if parting is None or not parting.said:
        return False
    return parting.tip_index_when_healed == parting.tip_index and parting.went_on_ms is not None


def _burned(simulation: Simulation, checked: CheckedChain) -> bool:
    """The chain holds the evidence, and took all that the offender had at stake."""
    doubling = simulation.story.doubling
    if doubling is None or doubling.recorded_in is None:
        return False
    key = simulation.wallets[doubling.member].public_key
    burned = checked.burned.get(key, 0)
    is_burned = 0 < burned == doubling.staked == checked.state.stakes.burned
    return is_burned and checked.state.stakes.account(key).staked == 0


def _node(simulation: Simulation, name: str, node: Node) -> NodeLine:
    return NodeLine(
        name=name,
        forges_as=simulation.runners[name],
        joined_ms=simulation.joined_ms[name],
        tip_index=node.state.index,
        tip_hash=node.state.tip.hash.hex(),
        certificates=node.state.log.size,
        log_root=node.state.log.root().hex(),
        waiting=len(node.box),
        set_aside=node.sync.set_aside_count,
        forged=simulation.story.forged[name],
        refused=simulation.story.refused[name],
    )


def _epochs(simulation: Simulation, checked: CheckedChain) -> list[EpochLine]:
    lines = []
    nullified = sorted(simulation.story.nullified.values(), key=lambda one: (one.epoch, one.view))
    indexes = range(1, checked.state.index + 1)
    for epoch, group in groupby(indexes, key=checked.epoch_of):
        blocks = list(group)
        line = EpochLine(
            number=epoch.number,
            first_block=blocks[0],
            last_block=blocks[-1],
            total_stake=epoch.total,
            members=[ShareLine(simulation.name_of(member), stake) for member, stake in epoch.members],
            nullified=[one for one in nullified if one.epoch == epoch.number],
        )
        lines.append(line)
    return lines


def _block(simulation: Simulation, checked: CheckedChain, block: Block) -> BlockLine:
    finality = checked.finality(block.index)
    return BlockLine(
        index=block.index,
        epoch=block.header.epoch,
        view=block.header.view,
        hash=block.hash.hex(),
        parent_hash=block.header.parent_hash.hex(),
        forger=simulation.name_of(block.header.forger),
        timestamp_ms=block.header.timestamp_ms,
        final_by=finality.by_block,
        voters=[simulation.name_of(member) for member in finality.voters],
        voted_stake=finality.stake,
        total_stake=finality.total_stake,
        certificates=[
            CertificateLine(
                id=certificate.id.hex(),
                kind=kind_of(certificate),
                issuer=simulation.name_of(certificate.issuer),
                says=what_it_says(certificate, simulation.names),
                timestamp_ms=certificate.timestamp_ms,
            )
            for certificate in block.certificates
        ],
    )


def _members(simulation: Simulation, checked: CheckedChain) -> list[MemberLine]:
    stakes, index, next_block = checked.state.stakes, checked.state.index, checked.state.context(now_ms=0)
    finalities = [checked.finality(one) for one in range(1, index + 1)]
    lines = []
    for name, wallet in simulation.wallets.items():
        key = wallet.public_key
        account = stakes.account(key).at(next_block)
        line = MemberLine(
            name=name,
            public_key=key.hex(),
            free=account.free,
            staked=account.staked,
            unbonding=sum(amount for _, amount in account.unbonding),
            burned=checked.burned.get(key, 0),
            blocks_forged=checked.forged.get(key, 0),
            finalizations=len({one.by_block for one in finalities if key in one.voters}),
        )
        lines.append(line)
    return lines


def _attempts(simulation: Simulation) -> list[AttemptLine]:
    refused = {refusal.attempt: refusal.refused for refusal in simulation.story.refusals}
    lines = []
    for attempt in simulation.story.attempts:
        why = refused.get(attempt.illegal)
        line = AttemptLine(
            what=attempt.illegal.value,
            node=f"Node {attempt.node}",
            rule=why.rule.name if why else None,
            reason=why.reason if why else None,
        )
        lines.append(line)
    return lines


def _rules(refusals: list[Refusal]) -> list[RuleLine]:
    """In the order of the rules; the example is the first thing refused by each."""
    lines = []
    for rule in Rule:
        by_rule = [refusal for refusal in refusals if refusal.refused.rule is rule]
        if by_rule:
            first = by_rule[0]
            example = first.attempt.value if first.attempt else first.refused.reason
            lines.append(RuleLine(rule.name, rule.value, len(by_rule), example))
    return lines
