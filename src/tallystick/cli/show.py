"""`tallystick show`: what is on a kept chain."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tallystick.cli import show_view
from tallystick.cli.output import DEFAULT_CHAIN, ExitCode, errors_explained, fail, help_text, make_console, print_json
from tallystick.cli.reading import open_chain, read_chain
from tallystick.cli.words import kind_of, name_of, what_it_says
from tallystick.host.checked_chain import CheckedChain, Found
from tallystick.host.file_statement import file_statement_in
from tallystick.host.store import Store
from tallystick.ledger.block import Block
from tallystick.ledger.certificate import AnyCertificate, Payload, StakingOperation

HELP: Final = help_text(
    "Show a kept chain, or a part of it. The whole chain is checked again first.",
    "Examples:",
    "  tallystick show",
    "  tallystick show block 3",
    "  tallystick show certificate 5f0c",
    "  tallystick show stakes --json",
)

_MOST_TEXT_BYTES: Final = 1024


class Part(StrEnum):
    """What can be shown."""

    CHAIN = "chain"
    BLOCK = "block"
    CERTIFICATE = "certificate"
    STAKES = "stakes"


def show(
    part: Annotated[Part, typer.Argument(metavar="PART", help="What to show.")] = Part.CHAIN,
    which: Annotated[
        str | None,
        typer.Argument(
            metavar="INDEX|ID", help="A block's index, or how a certificate's id begins.", show_default=False
        ),
    ] = None,
    chain: Annotated[Path, typer.Option(help="The file that the chain is kept in.")] = Path(DEFAULT_CHAIN),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")] = False,
) -> None:
    """See `HELP`."""
    with errors_explained():
        _check_which(part, which)
        with open_chain(chain) as store:
            checked = read_chain(store)
            reader = Reader(store, checked, store.names())
            match part:
                case Part.BLOCK:
                    value = reader.block(str(which))
                case Part.CERTIFICATE:
                    value = reader.certificate(str(which))
                case Part.STAKES:
                    value = reader.stakes()
                case Part.CHAIN:
                    value = reader.chain()
    if as_json:
        print_json(value)
    else:
        show_view.VIEWS[part.value](make_console(), value)


def _check_which(part: Part, which: str | None) -> None:
    needs = {
        Part.BLOCK: "an index: tallystick show block 3",
        Part.CERTIFICATE: "an id: tallystick show certificate 5f0c",
    }
    if part in needs and which is None:
        raise typer.BadParameter(f"a {part} is named by {needs[part]}")
    if part not in needs and which is not None:
        raise typer.BadParameter(f"{which!r} is too much: {part} takes no index or id")
    if part is Part.BLOCK and not str(which).isdecimal():
        raise typer.BadParameter(f"{which!r} is not a block's index: a whole number from 0 on")
    if part is Part.CERTIFICATE and not (which and set(which.lower()) <= set("0123456789abcdef")):
        raise typer.BadParameter(f"{which!r} is not how a certificate's id begins: digits and letters a to f")


class Reader:
    """Puts what a checked chain holds into plain values."""

    def __init__(self, store: Store, checked: CheckedChain, names: Mapping[bytes, str]) -> None:
        self._store = store
        self._checked = checked
        self._names = names

    def chain(self) -> dict[str, Any]:
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
            "is_final": checked.is_final,
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
        header, finality = block.header, self._checked.finality(block.index)
        return {
            **self._block_line(block),
            "parent_hash": header.parent_hash.hex(),
            "forger_key": header.forger.hex(),
            "certificates_hash": header.certificates_hash.hex(),
            "signature": block.signature.hex(),
            "voters": [name_of(member, self._names) for member in finality.voters] if finality else [],
            "certificates": [self._certificate(one) for one in block.certificates],
        }

    def certificate(self, id_prefix: str) -> dict[str, Any]:
        """One certificate, its payload, and the proof that it is in the log."""
        found = self._checked.find_certificates(id_prefix)
        if not found:
            raise fail(f"no certificate's id begins with {id_prefix}", ExitCode.FAILED)
        if len(found) > 1:
            ids = ", ".join(one.certificate.id.hex()[:16] + "…" for one in found[:4])
            raise typer.BadParameter(f"{len(found)} ids begin with {id_prefix}: {ids}; give more digits")
        return self._with_proof(found[0])

    def stakes(self) -> dict[str, Any]:
        """Who holds what."""
        stakes = self._checked.state.stakes
        allotted = {one.member for one in self._checked.genesis.allotments}
        keys = sorted(allotted | {key for key, _ in stakes.members} | self._checked.burned.keys())
        accounts = [(key, stakes.account(key).at(self._checked.state.index + 1)) for key in keys]
        lines = [
            {
                "name": name_of(key, self._names),
                "public_key": key.hex(),
                "free": account.free,
                "staked": account.staked,
                "leaving": [{"amount": amount, "free_from_block": until} for until, amount in account.leaving],
                "burned": self._checked.burned.get(key, 0),
                "blocks_forged": self._checked.forged.get(key, 0),
            }
            for key, account in sorted(accounts, key=lambda one: (-one[1].staked, one[0]))
        ]
        totals = {"total": stakes.total, "total_staked": stakes.total_staked, "burned": stakes.burned}
        return {**totals, "members": lines}

    def _block_line(self, block: Block) -> dict[str, Any]:
        finality = self._checked.finality(block.index)
        return {
            "index": block.index,
            "epoch": self._checked.epoch_of(block.index).number,
            "view": block.header.view,
            "final_by": finality.by_block if finality else None,
            "voted_stake": finality.stake if finality else None,
            "total_stake": finality.total_stake if finality else None,
            "hash": block.hash.hex(),
            "timestamp_ms": block.header.timestamp_ms,
            "forger": name_of(block.header.forger, self._names) if block.index else "genesis",
            "certificate_count": len(block.certificates),
        }

    def _certificate(self, certificate: AnyCertificate) -> dict[str, Any]:
        fields = {
            "id": certificate.id.hex(),
            "kind": kind_of(certificate),
            "issuer": name_of(certificate.issuer, self._names),
            "issuer_key": certificate.issuer.hex(),
            "timestamp_ms": certificate.timestamp_ms,
            "says": what_it_says(certificate, self._names),
        }
        if isinstance(certificate, StakingOperation):
            fields["amount"] = certificate.amount
        return fields

    def _with_proof(self, found: Found) -> dict[str, Any]:
        certificate = found.certificate
        payload_hash = certificate.payload_hash
        payload = self._store.payload(payload_hash) if payload_hash else None
        return {
            **self._certificate(certificate),
            "subject": certificate.subject,
            "signature": certificate.signature.hex(),
            "block_index": found.block.index,
            "position": found.position,
            "payload_hash": payload_hash.hex() if payload_hash else None,
            "payload": _payload(payload) if payload else None,
            "leaf_index": self._checked.leaf_index(found),
            "log_size": self._checked.state.log.size,
            "log_root": self._checked.log_root.hex(),
            "proof": [one.hex() for one in self._checked.prove(found)],
        }


def _payload(payload: Payload) -> dict[str, Any]:
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
        value["text"] = payload.content.decode("utf-8", "replace")
    return value
