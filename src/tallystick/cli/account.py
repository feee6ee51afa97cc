"""The account of a demo: everything that it came to, as plain values, for people and as JSON."""

from collections.abc import Iterable

from msgspec import Struct

from tallystick.cli.file_check import FileCheck
from tallystick.cli.words import kind_of, what_it_says
from tallystick.cli.world import Refusal, World
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
    """A block of the chain."""

    index: int
    hash: str
    parent_hash: str
    forger: str
    timestamp_ms: int
    certificates: list[CertificateLine]


class NodeLine(Struct):
    """A node at the end."""

    name: str
    forges_as: str
    tip_index: int
    tip_hash: str
    certificates: int
    log_root: str
    waiting: int
    set_aside: int
    forged: int
    refused: int


class MemberLine(Struct):
    """A person or node with tokens."""

    name: str
    public_key: str
    free: int
    staked: int
    blocks_forged: int


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

    checked: FileCheck
    verifies: bool
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
    nodes: list[NodeLine]
    blocks: list[BlockLine]
    members: list[MemberLine]
    attempts: list[AttemptLine]
    refused: list[RuleLine]
    files: list[FileLine]
    trace_digest: str

    @property
    def is_good(self) -> bool:
        """Whether everything came out as it should."""
        return self.nodes_agree and self.all_attempts_refused and self.all_files_verify


def give_account(world: World, blocks: Iterable[Block], files: list[FileLine], seed: int, simulated: bool) -> Account:
    """What a world that has come to its end amounts to."""
    attempts = _attempts(world)
    return Account(
        account_version=1,
        simulated=simulated,
        seed=seed,
        ledger_id=world.genesis.ledger_id.hex(),
        created_ms=world.genesis.created_ms,
        virtual_ms=world.elapsed_ms,
        nodes_agree=world.agree,
        all_attempts_refused=all(attempt.rule for attempt in attempts),
        all_files_verify=all(file.verifies and file.fails_with_one_byte_changed for file in files),
        nodes=[_node(world, name, node) for name, node in world.nodes()],
        blocks=[_block(world, block) for block in blocks],
        members=_members(world),
        attempts=attempts,
        refused=_rules(world.story.refusals),
        files=files,
        trace_digest=world.network.digest,
    )


def _node(world: World, name: str, node: Node) -> NodeLine:
    return NodeLine(
        name=name,
        forges_as=world.runners[name],
        tip_index=node.state.index,
        tip_hash=node.state.tip.hash.hex(),
        certificates=node.state.log.size,
        log_root=node.state.log.root().hex(),
        waiting=len(node.box),
        set_aside=node.set_aside_count,
        forged=world.story.forged[name],
        refused=world.story.refused[name],
    )


def _block(world: World, block: Block) -> BlockLine:
    return BlockLine(
        index=block.index,
        hash=block.hash.hex(),
        parent_hash=block.header.parent_hash.hex(),
        forger=world.name_of(block.header.forger),
        timestamp_ms=block.header.timestamp_ms,
        certificates=[
            CertificateLine(
                id=certificate.id.hex(),
                kind=kind_of(certificate),
                issuer=world.name_of(certificate.issuer),
                says=what_it_says(certificate),
                timestamp_ms=certificate.timestamp_ms,
            )
            for certificate in block.certificates
        ],
    )


def _members(world: World) -> list[MemberLine]:
    stakes = world.nodes()[0][1].state.stakes
    forged = {world.runners[node]: count for node, count in world.story.forged.items()}
    accounts = [(name, wallet, stakes.account(wallet.public_key)) for name, wallet in world.wallets.items()]
    return [
        MemberLine(name, wallet.public_key.hex(), account.total - account.staked, account.staked, forged.get(name, 0))
        for name, wallet, account in accounts
    ]


def _attempts(world: World) -> list[AttemptLine]:
    refused = {refusal.attempt: refusal.refused for refusal in world.story.refusals}
    lines = []
    for attempt in world.story.attempts:
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
