"""`tallystick audit`: whether a log that anybody serves only grew, and follows from its entries."""

from pathlib import Path
from typing import Annotated

import typer

from tallystick.api.proof_views import Audited
from tallystick.cli.options import Data, Trust, argument, node_folder, option, trust_store
from tallystick.cli.output import counting, give, marked, say
from tallystick.cli.verify import read_policy
from tallystick.cli.words import many
from tallystick.client.auditing import LogAudit, TrustedLog, log_of_key
from tallystick.client.mirror import Mirror
from tallystick.client.own_node import own_node
from tallystick.client.sources import source_at
from tallystick.host.clock import now_ms
from tallystick.host.seen_logs import SeenLogs
from tallystick.host.text import is_hex_digest, shown_url
from tallystick.host.trust import TrustStore
from tallystick.ledger.note import KeyType, parse_key
from tallystick.problems import BadRequest, ExitCode, Problem


class _Untrusted(Problem):
    """Nobody said whose checkpoints count."""

    code, exit_code = "not-trusted", ExitCode.NOT_TRUSTED


def audit(
    source: Annotated[str, argument("URL|DIR|NODE", "A mirror, by URL or folder; a node's folder; a chain's file.")],
    *,
    ledger: Annotated[
        str | None, option("The ledger to audit.", "NAME|ID", show_default="the one that you trust or run")
    ] = None,
    log: Annotated[str | None, option("Another program's log (C2SP tlog-tiles), by its key.", "VKEY")] = None,
    policy: Annotated[
        Path | None, option("Which signatures have to be there (C2SP tlog-policy).", "FILE", show_default="the log's")
    ] = None,
    all_of_it: Annotated[
        bool, typer.Option("--all", help="Derive everything again, from the first entry on, not only what is new.")
    ] = False,
    trust: Trust = None,
    data: Data = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing if all is well.")] = False,
) -> None:
    """Did a log only grow since it was last audited, and does its root follow from its entries?

    It reads the newest checkpoint, which has to be signed by members of the ledger, followed from its genesis on, or by
    whom --log or --policy names. It proves by the log's tiles that it goes on from the checkpoint that was seen last,
    and derives what is new: entries, tiles, roots, and of a ledger the signatures of issuers, and all headers.

    What was seen is kept beside the ledgers that you trust, and never goes back. If the log shows another history,
    both checkpoints are kept as one file, FILE.tlog-conflict, which tallystick verify judges anywhere, offline. One
    that is smaller than what was seen may be an old copy or a fork: the next audit of a larger log tells.

    Examples:
      tallystick audit https://log.uni-a.example/mirror --ledger universities
      tallystick audit ./mirror --all
      tallystick audit https://log.example --log log.example+3ade4b14+AfzWxUa6…
    """
    if log is not None and (ledger is not None or policy is not None):
        raise typer.BadParameter("--log excludes --ledger and --policy")
    store = trust_store(trust)
    trusted = _trusted(store, ledger, log, policy, data)
    with Mirror(source_at(source)) as mirror:
        found = LogAudit(mirror, trusted, SeenLogs(store.path))
        seen = found.before.checkpoint.size if found.before is not None else None
        with counting("Auditing", found.checkpoint.size - found.since(all_of_it)) as on_done:
            since, blocks = found.rederive(all_of_it, on_done)
        found.keep(now_ms())
    checkpoint = found.checkpoint
    told = Audited(
        source=shown_url(source),
        origin=checkpoint.origin,
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        seen_before=seen,
        derived_since=since,
        entries=checkpoint.size - since,
        blocks=blocks,
    )
    give(told)
    if not quiet:
        _tell(told)


def _tell(told: Audited) -> None:
    of_blocks = f", {many(told.blocks, 'block')}" if told.blocks else ""
    derived = f"{many(told.entries, 'entry')}{of_blocks} derived again"
    say(marked("✓", told.origin, f": {many(told.size, 'entry')}; {derived}"))
    if told.seen_before is None:
        say("Seen for the first time: from now on it may only grow.")
    elif told.seen_before == told.size:
        say("Nothing is new since it was last seen.")
    else:
        say(f"It goes on from the {many(told.seen_before, 'entry')} that were seen before.")


def _trusted(
    store: TrustStore, ledger: str | None, log: str | None, policy: Path | None, data: Path | None
) -> TrustedLog:
    """Whose checkpoints count. Raises `Problem`, `Refused`."""
    if log is not None:
        key = parse_key(log)
        if key.type != KeyType.LOG:
            raise BadRequest("--log is the key of a log that signs by Ed25519 (type 0x01), as its operator gives it")
        return log_of_key(key)
    needed = read_policy(policy) if policy is not None else None
    ledger_id = _ledger_id(store, ledger, data)
    if ledger_id is None:
        if needed is None:
            advice = "name it with --ledger, trust it with tallystick trust add, or name a log with --log VKEY"
            raise _Untrusted(f"it is not said which ledger is audited, and not exactly one is trusted; {advice}")
        return TrustedLog(policy=needed)
    kept = store.get(ledger_id)
    return TrustedLog(ledger_id, kept.anchors if kept is not None else (), needed)


def _ledger_id(store: TrustStore, ledger: str | None, data: Path | None) -> bytes | None:
    """The ledger that is named, or else the only one there is; `None`: that is not known."""
    if ledger is not None:
        return bytes.fromhex(ledger.lower()) if is_hex_digest(ledger.lower()) else store.id_of(ledger)
    known = {one.ledger_id for one in store.read_all().ledgers}
    own = own_node(node_folder(data)).ledger_id
    known |= {own} if own is not None else set()
    return known.pop() if len(known) == 1 else None
