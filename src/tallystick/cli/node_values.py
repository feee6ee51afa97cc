"""Puts what a running node tells into the plain values that `show` prints: the same fields as of a kept chain.

What takes the whole chain to know is `null`.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

import typer

from tallystick.cli.node_reader import NodeReader, Standing
from tallystick.cli.output import fail
from tallystick.cli.show_values import (
    block_values,
    certificate_values,
    payload_values,
    pick_member,
    unbonding_values,
    without_details,
)
from tallystick.cli.words import name_of
from tallystick.host.control import PeerLine
from tallystick.ledger.block import Block
from tallystick.ledger.genesis import Genesis
from tallystick.ledger.stake import Account
from tallystick.problems import ExitCode

_LATEST: Final = 10
"""Blocks shown of a running node's chain."""
_SHORTEST_PREFIX: Final = 8


class NodeValues:
    """What can be shown of a running node. Raises `Problem`."""

    def __init__(self, reader: NodeReader, genesis: Genesis, names: Mapping[bytes, str]) -> None:
        self._reader = reader
        self._genesis = genesis
        self._names = names

    def chain(self, _which: str) -> dict[str, Any]:
        """The ledger, and its latest blocks."""
        status = self._reader.status
        indexes = range(max(1, status.index - _LATEST + 1), status.index + 1)
        blocks = [block for index in indexes if (block := self._reader.block(index)) is not None]
        return {
            "name": status.ledger_name,
            "ledger_id": status.ledger_id.hex(),
            "created_ms": self._genesis.created_ms,
            "tip_index": status.index,
            "tip_hash": status.tip_hash.hex(),
            "tip_timestamp_ms": status.tip_timestamp_ms,
            "log_size": status.certificates,
            "log_root": None,
            "left_out": 0,
            "forged": None,
            "files": None,
            "blocks": [without_details(self._block(block)) for block in blocks],
        }

    def block(self, index: str) -> dict[str, Any]:
        """One block, with its certificates."""
        block = self._reader.block(int(index)) if len(index) < len(str(2**53)) else None
        if block is None:
            raise fail(f"there is no block {index}: the chain ends at {self._reader.index}", ExitCode.NOT_THERE)
        return self._block(block)

    def certificate(self, id_prefix: str) -> dict[str, Any]:
        """One certificate, with its payload."""
        if len(id_prefix) < _SHORTEST_PREFIX:
            raise typer.BadParameter(f"{id_prefix}: give {_SHORTEST_PREFIX} digits of the id or more")
        found = self._reader.certificates(id_prefix)
        if not found:
            raise fail(f"no certificate's id begins with {id_prefix}", ExitCode.NOT_THERE)
        if len(found) > 1:
            ids = ", ".join(one.certificate.id.hex()[:16] + "…" for one in islice(found, 4))
            raise typer.BadParameter(f"{len(found)} ids begin with {id_prefix}: {ids}; give more digits")
        return self._certificate(found[0])

    def stakes(self, _which: str) -> dict[str, Any]:
        """Who holds what."""
        told = self._reader.stakes()
        held = [Account(one.free, one.staked, one.unbonding) for one in told.members]
        total = told.burned + sum(account.total for account in held)
        members = [
            {
                "name": name_of(one.key, self._names),
                "public_key": one.key.hex(),
                "free": one.free,
                "staked": one.staked,
                "unbonding": unbonding_values(one.unbonding),
                "burned": None,
                "blocks_forged": None,
                "votes_with": one.votes_with,
                "is_connected": one.is_connected,
            }
            for one in sorted(told.members, key=lambda one: (-one.staked, one.key))
        ]
        staked = sum(one.staked for one in told.members)
        return {"total": total, "total_staked": staked, "burned": told.burned, "members": members}

    def member(self, who: str) -> dict[str, Any]:
        """One account, and how its node is reached."""
        stakes = self.stakes("")
        line = pick_member(stakes["members"], who)
        peer = next((one for one in self._reader.peers() if one.key.hex() == line["public_key"]), None)
        return {**line, "total_staked": stakes["total_staked"], "address": peer.address if peer else None}

    def peers(self, _which: str) -> dict[str, Any]:
        """Whom the node knows, those connected first."""
        told = sorted(self._reader.peers(), key=lambda one: (not one.is_connected, -one.stake, one.key))
        return {"now_ms": self._reader.status.now_ms, "peers": [self._peer(one) for one in told]}

    def _peer(self, one: PeerLine) -> dict[str, Any]:
        return {
            "name": name_of(one.key, self._names),
            "public_key": one.key.hex(),
            "address": one.address,
            "is_connected": one.is_connected,
            "since_ms": one.since_ms or None,
            "votes_with": one.stake,
            "tip_index": one.tip_index,
            "banned_until_ms": one.banned_until_ms or None,
            "banned_for": one.banned_for or None,
        }

    def _block(self, block: Block) -> dict[str, Any]:
        voted = self._reader.voted(block)
        return {
            **block_values(block, self._names),
            "final_by": voted.by_block if voted else None,
            "voted_stake": voted.stake if voted else None,
            "total_stake": voted.total_stake if voted else None,
            "voters": [name_of(one, self._names) for one in voted.voters] if voted else [],
        }

    def _certificate(self, standing: Standing) -> dict[str, Any]:
        certificate = standing.certificate
        return {
            **certificate_values(certificate, self._names),
            "subject": certificate.subject,
            "signature": certificate.signature.hex(),
            "block_index": standing.block.index,
            "position": standing.position,
            "payload_hash": certificate.payload_hash.hex() if certificate.payload_hash else None,
            "payload": payload_values(standing.payload) if standing.payload else None,
            "leaf_index": None,
            "log_size": self._reader.status.certificates,
            "log_root": None,
            "proof": None,
        }
