"""`tallystick verify`: is a file certified, by whom, and is it still valid? Offline, from the proof beside it."""

import re
import sys
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from msgspec.structs import replace

from tallystick.api.proof_views import FileVerdict, Verdicts
from tallystick.api.proven import unreadable_view
from tallystick.cli.options import STANDARD_INPUT, Data, Trust, argument, node_folder, option, trust_store
from tallystick.cli.output import MOST_LINES, give, hint, say, say_table, warn
from tallystick.cli.show import moment_ms
from tallystick.cli.verify_words import MARK_MEANS, is_marked, row_of, tell_conflict, tell_verdict
from tallystick.cli.words import many
from tallystick.client.conflicts import CONFLICT, judge_conflict
from tallystick.client.own_node import own_node
from tallystick.client.proof_files import Found, RawProof, find_proof, find_proof_of_stream
from tallystick.client.verdicts import Question, Verifier
from tallystick.host.clock import now_ms
from tallystick.host.ml_dsa import ml_dsa_verifier
from tallystick.host.text import shown_url
from tallystick.ledger.bundle import Bundle
from tallystick.ledger.tlog_conflict import MAX_CONFLICT_BYTES
from tallystick.ledger.tlog_policy import MAX_POLICY_BYTES, Policy, parse_policy
from tallystick.problems import ExitCode, Problem, UnreadableFile
from tallystick.storage.described_files import read_bounded

if TYPE_CHECKING:
    from tallystick.client.proof_sources import ProofSource

_MOST_EXPLAINED: Final = 3
"""Of so many files all is told, of more a line each."""
_UNITS: Final = {"d": 86_400_000, "h": 3_600_000, "min": 60_000, "s": 1_000}
_SPAN: Final = re.compile(r"(\d{1,9})(d|h|min|s)", re.ASCII)


def span_ms(text: str) -> int:
    """A span of time as it is entered: 30d, 12h, 90min, 30s. Raises `typer.BadParameter`."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no span of time: a number with d, h, min or s, as 30d")
    return int(found.group(1)) * _UNITS[found.group(2)]


def verify(
    files: Annotated[list[Path], argument("FILE", "Documents to verify, or FILE.tlog-proof alone; - is a document.")],
    *,
    proof: Annotated[Path | None, option("The proof of the one FILE.", "FILE", show_default="FILE.tlog-proof")] = None,
    ledger: Annotated[
        str | None, option("Only this ledger counts.", "NAME|ID", show_default="all that you trust")
    ] = None,
    issuer: Annotated[
        str | None, option("Only this issuer counts: an organisation, its domain, a key.", "WHO", show_default="any")
    ] = None,
    at: Annotated[
        int | None, option("Was it valid at this time?", "TIME", parser=moment_ms, show_default="as of its status")
    ] = None,
    fresh: Annotated[
        int | None, option("How old its status may be: 30d, 12h.", "SPAN", parser=span_ms, show_default="any age")
    ] = None,
    policy: Annotated[Path | None, option("Signatures that have to be there, too (C2SP tlog-policy).", "FILE")] = None,
    online: Annotated[
        str | None, option("Verify a newer proof, from this node or mirror.", "URL|DIR", show_default="offline")
    ] = None,
    signed_before: Annotated[
        int | None, option("Does a time stamp show that its signatures are older?", "TIME", parser=moment_ms)
    ] = None,
    trust: Trust = None,
    data: Data = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; the exit code says it.")] = False,
) -> None:
    """Is a file certified, by whom, and is it still valid? Offline: from the file, and FILE.tlog-proof beside it.

    A proof names its own ledger, so it counts only if you trust that: by tallystick trust add, by a node of yours, by
    --ledger with the whole id, or by --policy. Without that it is said what the proof claims, and that is not verified.
    Of a ledger named by its whole id alone nothing is kept: another history of it is found only within one command.

    A PDF may carry its proof (certify --attach). The document is then the PDF as it was before, and verified only if
    nothing but the proof was added to it.

    Four times are told, and never mixed: what the issuer claims, the time of the block, until when it was final at the
    latest, and as of when its status is known. A revocation after that does not show: --fresh demands a status that is
    not older, and --online verifies a newer proof under the same trust: one that a node makes, or that is made here
    from a mirror, which may be a folder (tallystick export).

    --issuer takes an organisation's whole id, title or domain, or a key (16 digits or more); nothing that only looks
    like it. Where there are organisations, a key in none of them, or one that had ended, counts only if it is named so.

    A token of a time stamping authority, FILE.tsr beside the proof, counts under the authorities that you trust:
    tallystick trust add-tsa. --signed-before demands one that shows that the log and its signatures existed before:
    of a proof whose kind of signature was broken since. Its members have to be known without a vote in it: from the
    genesis, from a trust folder of before, or by --policy with witnesses. The issuer counts as a key then, named in
    full with --issuer: whose it was rests on votes, unless the proof's block is one that the trust folder has.

    Several files end with the code of all that fail, or with 1 if they fail for different reasons.

    FILE.tlog-conflict, which tallystick audit wrote, holds two checkpoints of one log that cannot both be true. It is
    judged alone: whether they conflict, and who signed both. Code 0 says that it is so.

    Examples:
      tallystick verify report.pdf
      tallystick verify report.pdf --issuer uni-a.example --fresh 30d
      tallystick verify report.pdf --at 2027-06-30T12:00
      tallystick verify report.pdf.tlog-proof --online https://node.uni-a.example
    """
    if proof is not None and len(files) > 1:
        raise typer.BadParameter("--proof is the proof of one FILE")
    if any(one.name.endswith(CONFLICT) for one in files):
        _verify_conflict(files, trust, ledger, policy, quiet=quiet)
        return
    if signed_before is not None and online is not None:
        raise typer.BadParameter("--signed-before asks of the proof at hand, --online of a newer one")
    policy_read = read_policy(policy) if policy else None
    place = shown_url(online) if online is not None else None
    asked = Question(now_ms(), ledger, issuer, at, fresh, policy_read, place, signed_before)
    with ExitStack() as stack:
        fetch = _Asking(online, stack) if online is not None else None
        verifier = Verifier(trust_store(trust), own_node(node_folder(data)), asked, fetch)
        verdicts = [_verdict(verifier, one, proof, len(files) == 1) for one in files]
    verifier.finish()
    told = Verdicts(
        checked_ms=asked.now_ms,
        files=verdicts,
        verified=sum(one.failure is None for one in verdicts),
        warnings=list(dict.fromkeys(verifier.warnings)),
    )
    give(told)
    if not quiet:
        _tell(told)
    codes = {one.exit_code for one in verdicts if one.failure is not None}
    if codes:
        raise typer.Exit(codes.pop() if len(codes) == 1 else ExitCode.FAILED)


class _Asking:
    """Has newer proofs made, at a node or from a mirror; one that cannot be opened is not tried again."""

    def __init__(self, where: str, stack: ExitStack) -> None:
        self._where, self._stack = where, stack
        self._source: ProofSource | Problem | None = None

    def __call__(self, bundle: Bundle) -> RawProof:
        """A newer proof of the same certificate, as it is told. Raises `Problem`."""
        if self._source is None:
            self._source = self._opened()
        if isinstance(self._source, Problem):
            raise self._source
        made = self._source.prove(bundle.extra.certificate.id.hex(), bundle)
        return RawProof(made.proof.encode(), made.members, made.payload)

    def _opened(self) -> "ProofSource | Problem":
        from tallystick.client.proof_sources import open_online  # noqa: PLC0415  # who verifies offline needs none of it

        try:
            return open_online(self._where, self._stack)
        except Problem as problem:
            return problem


def _verify_conflict(
    files: list[Path], trust: Path | None, ledger: str | None, policy: Path | None, quiet: bool
) -> None:
    """Judge the one file of two checkpoints. Raises `typer.Exit` with what fails."""
    if len(files) > 1:
        raise typer.BadParameter(f"a file of two checkpoints ({CONFLICT}) is judged alone")
    path = files[0]
    data = read_bounded(path, MAX_CONFLICT_BYTES)
    if data is None:
        raise UnreadableFile(f"there is no file {path}; name a file that tallystick audit wrote")
    told = judge_conflict(path, data, trust_store(trust), ledger, read_policy(policy) if policy is not None else None)
    give(told)
    if not quiet:
        tell_conflict(told)
    if not told.trusted:
        raise typer.Exit(ExitCode.NOT_TRUSTED)


def _verdict(verifier: Verifier, path: Path, proof: Path | None, is_alone: bool) -> FileVerdict:
    """On one file; of several, one that cannot be read does not hinder the others. Raises `Problem`."""
    try:
        found = _find(path, proof)
    except UnreadableFile as problem:
        if is_alone:
            raise
        return unreadable_view(path, problem)
    return replace(verifier.verify(found), path=str(path) if path != STANDARD_INPUT else None)


def _find(path: Path, proof: Path | None) -> Found:
    if path == STANDARD_INPUT:
        return find_proof_of_stream("standard input", sys.stdin.buffer, proof)
    return find_proof(path, proof)


def read_policy(path: Path) -> Policy:
    """The policy in a file. Raises `UnreadableFile`, `Refused` (P1)."""
    try:
        with path.open("rb") as file:
            return parse_policy(file.read(MAX_POLICY_BYTES + 1), ml_dsa_verifier())
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}; name the file of a policy") from None


def _tell(told: Verdicts) -> None:
    for warning in told.warnings:
        warn(warning)
    if len(told.files) <= _MOST_EXPLAINED:
        for place, one in enumerate(told.files):
            if place:
                say("")
            tell_verdict(one, told.checked_ms)
    else:
        shown = sorted(told.files, key=lambda one: one.failure is None)[:MOST_LINES]
        _tell_many(shown, told.checked_ms)
        if len(told.files) > len(shown):
            say(f"… and {len(told.files) - len(shown):,} more")
    if len(told.files) > 1:
        say(f"{many(len(told.files), 'file')}: {told.verified:,} verified, {len(told.files) - told.verified:,} not")
    if any(one.exit_code == ExitCode.NOT_TRUSTED for one in told.files):
        hint("tallystick trust list shows which ledgers you trust.")


def _tell_many(shown: list[FileVerdict], checked_ms: int) -> None:
    rows = [row_of(one, checked_ms) for one in shown]
    say_table(rows, {title: itemgetter(title) for title in rows[0]}, left_out=("Block time",))
    if any(map(is_marked, shown)):
        say(MARK_MEANS)
