"""Puts what a checked chain holds into plain values: what `show` prints, for people or as JSON."""

from collections.abc import Mapping
from typing import Any, Final

import typer

from tallystick.cli.output import ExitCode, fail
from tallystick.cli.words import kind_of, name_of, what_it_says
from tallystick.integrity.checked_chain import CheckedChain, Found
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import AnyCertificate, Payload, StakingOperation
from tallystick.ledger.stake import BlockContext
from tallystick.storage.file_statement import file_statement_in
from tallystick.storage.store import Store

_MOST_TEXT_BYTES: Final = 1024
_MORE_OF_BLOCKS: Final = (
    "parent_hash",
    "forger_key",
    "certificates_hash",
    "state_root",
    "signature",
    "voters",
    "certificates",
)
"""What a list of blocks does not show."""


class ChainValues:
    """What can be shown of a kept chain that was checked."""

    def __init__(self, store: Store, checked: CheckedChain, names: Mapping[bytes, str]) -> None:
        self._store = store
        self._checked = checked
        self._names = names

    def chain(self, _which: str) -> dict[str, Any]:
        """The chain as a whole."""
        checked = self._checked
        forged = {name_of(key, self._names): count for key, count in checked.forged.items()}
        return {
            "name": checked.genesis.name,
            "ledger_id": checked.genesis.ledger_id.hex(),
            "created_ms": checked.genesis.created_ms,
            "tip_index": checked.state.index,
            "tip_hash": checked.state.tip.hash.hex(),
            "tip_timestamp_ms": checked.state.tip.timestamp_ms,
            "log_size": checked.state.log.size,
            "log_root": checked.log_root.hex(),
            "left_out": checked.left_out,
            "forged": forged,
            "files": [
                {
                    "name": statement.name,
                    "size_bytes": statement.size_bytes,
                    "sha256": statement.sha256.hex(),
                    "block_index": place.block_index,
                    "position": place.position,
                }
                for statement, place in checked.files
            ],
            "blocks": [self._block_line(block) for block in checked.blocks()],
        }

    def block(self, index: str) -> dict[str, Any]:
        """One block, with its certificates."""
        block = self._checked.block(int(index)) if len(index) < len(str(2**53)) else None
        if block is None:
            raise fail(f"there is no block {index}: the chain ends at {self._checked.state.index}", ExitCode.FAILED)
        return self._block(block)

    def certificate(self, id_prefix: str) -> dict[str, Any]:
        """One certificate, its payload, and the proof that it is in the log."""
        found = self._checked.find_certificates(id_prefix)
        if not found:
            raise fail(f"no certificate's id begins with {id_prefix}", ExitCode.FAILED)
        if len(found) > 1:
            ids = ", ".join(one.certificate.id.hex()[:16] + "…" for one in found[:4])
            raise typer.BadParameter(f"{len(found)} ids begin with {id_prefix}: {ids}; give more digits")
        return self._with_proof(found[0])

    def stakes(self, _which: str) -> dict[str, Any]:
        """Who holds what."""
        stakes = self._checked.state.stakes
        allotted = {one.member for one in self._checked.genesis.allotments}
        keys = sorted(allotted | {key for key, _ in stakes.members} | self._checked.burned.keys())
        next_block = self._checked.state.context(now_ms=0)
        accounts = [(key, stakes.account(key).at(next_block)) for key in keys]
        lines = [
            {
                "name": name_of(key, self._names),
                "public_key": key.hex(),
                "free": account.free,
                "staked": account.staked,
                "unbonding": unbonding_values(account.unbonding),
                "burned": self._checked.burned.get(key, 0),
                "blocks_forged": self._checked.forged.get(key, 0),
            }
            for key, account in sorted(accounts, key=lambda one: (-one[1].staked, one[0]))
        ]
        totals = {"total": stakes.total, "total_staked": stakes.total_staked, "burned": stakes.burned}
        return {**totals, "members": lines}

    def member(self, who: str) -> dict[str, Any]:
        """One account."""
        stakes = self.stakes("")
        return {**pick_member(stakes["members"], who), "total_staked": stakes["total_staked"]}

    def _block(self, block: Block) -> dict[str, Any]:
        finality = self._checked.finality(block.index) if block.index else None
        return {
            **block_values(block, self._names),
            "final_by": finality.by_block if finality else None,
            "voted_stake": finality.stake if finality else None,
            "total_stake": finality.total_stake if finality else None,
            "voters": [name_of(member, self._names) for member in finality.voters] if finality else [],
        }

    def _block_line(self, block: Block) -> dict[str, Any]:
        return without_details(self._block(block))

    def _with_proof(self, found: Found) -> dict[str, Any]:
        certificate = found.certificate
        payload_hash = certificate.payload_hash
        payload = self._store.payload(payload_hash) if payload_hash else None
        return {
            **certificate_values(certificate, self._names),
            "subject": certificate.subject,
            "signature": certificate.signature.hex(),
            "block_index": found.block.index,
            "position": found.position,
            "payload_hash": payload_hash.hex() if payload_hash else None,
            "payload": payload_values(payload) if payload else None,
            "leaf_index": self._checked.leaf_index(found),
            "log_size": self._checked.state.log.size,
            "log_root": self._checked.log_root.hex(),
            "proof": [one.hex() for one in self._checked.prove(found)],
        }


def without_details(block: dict[str, Any]) -> dict[str, Any]:
    """A block as a line in a list."""
    return {key: value for key, value in block.items() if key not in _MORE_OF_BLOCKS}


def block_values(block: Block, names: Mapping[bytes, str]) -> dict[str, Any]:
    """A block and its certificates, without what others say about it."""
    header = block.header
    return {
        "index": block.index,
        "epoch": header.epoch,
        "view": header.view,
        "hash": block.hash.hex(),
        "timestamp_ms": header.timestamp_ms,
        "forger": name_of(header.forger, names) if block.index else "genesis",
        "certificate_count": len(block.certificates),
        "parent_hash": header.parent_hash.hex(),
        "forger_key": header.forger.hex(),
        "certificates_hash": header.certificates_hash.hex(),
        "state_root": header.state_root.hex(),
        "signature": block.signature.hex(),
        "certificates": [certificate_values(one, names) for one in block.certificates],
    }


def certificate_values(certificate: AnyCertificate, names: Mapping[bytes, str]) -> dict[str, Any]:
    """A certificate by itself."""
    fields = {
        "id": certificate.id.hex(),
        "kind": kind_of(certificate),
        "issuer": name_of(certificate.issuer, names),
        "issuer_key": certificate.issuer.hex(),
        "timestamp_ms": certificate.timestamp_ms,
        "says": what_it_says(certificate, names),
    }
    if isinstance(certificate, StakingOperation):
        fields["amount"] = certificate.amount
    return fields


def unbonding_values(unbonding: tuple[tuple[BlockContext, int], ...]) -> list[dict[str, Any]]:
    """Withdrawn tokens, and from where on they are free: in a block as late in all three."""
    return [
        {
            "amount": amount,
            "free_from_epoch": until.epoch,
            "free_from_block": until.index,
            "free_from_ms": until.timestamp_ms,
        }
        for until, amount in unbonding
    ]


def payload_values(payload: Payload) -> dict[str, Any]:
    """What a payload holds, as far as it can be shown."""
    value: dict[str, Any] = {"media_type": payload.media_type, "size_bytes": len(payload.content)}
    statement = file_statement_in(payload)
    if statement is not None:
        value["file"] = {
            "name": statement.name,
            "size_bytes": statement.size_bytes,
            "sha256": statement.sha256.hex(),
            "note": statement.note,
        }
    elif payload.media_type.startswith("text/") and len(payload.content) <= _MOST_TEXT_BYTES:
        value["text"] = payload.content.decode("utf-8", "surrogateescape")
    return value


def pick_member(lines: list[dict[str, Any]], who: str) -> dict[str, Any]:
    """The account with this name, or whose key begins so."""
    named = [one for one in lines if who == one["name"]]
    found = named or [one for one in lines if one["public_key"].startswith(who.lower())]
    if not found:
        raise fail(f"no account is called {who}, nor does a key begin so; see tallystick show stakes", ExitCode.FAILED)
    if len(found) > 1:
        raise typer.BadParameter(f"{len(found)} accounts are called {who} or have keys that begin so; give more digits")
    return found[0]
