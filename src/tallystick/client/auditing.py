"""Audits a log that anybody serves: whether it only grew since it was last seen, and follows from its entries.

Of what the source says nothing is believed: the checkpoint is signed by whom the auditor trusts, and all else leads to
its root. Two checkpoints that conflict are kept, as evidence for others.
"""

import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from tallystick.client.mirror import Mirror, Missing, TiledTree
from tallystick.client.rederiving import OnDone, rederive_ledger, rederive_log
from tallystick.host.own_files import TrustError
from tallystick.host.seen_logs import SeenLog, SeenLogs, Smaller
from tallystick.ledger.checkpoint import Checkpoint, cosigner_key, log_key, parse_checkpoint
from tallystick.ledger.errors import NotProven, Refused, Rule
from tallystick.ledger.merkle import EMPTY_ROOT, root_from_consistency
from tallystick.ledger.note import Note, NoteKey
from tallystick.ledger.tlog_conflict import make_conflict
from tallystick.ledger.tlog_policy import Policy
from tallystick.problems import ExitCode, Problem
from tallystick.proof.head import Head, proven_head
from tallystick.proof.members import Anchor, Conflict
from tallystick.storage.log_tiles import Tree
from tallystick.storage.mirror import MirroredState

_TRIES: Final = 3
"""So often the newest checkpoint is read, if files of an older one go meanwhile."""


class NotSigned(Problem):
    """The checkpoint is not signed by those who are trusted for it."""

    code, exit_code = "not-proven", ExitCode.NOT_PROVEN


class OtherLog(Problem):
    """The checkpoint is of another log than is audited."""

    code, exit_code = "not-trusted", ExitCode.NOT_TRUSTED


class OlderLog(Problem):
    """The log is smaller than it was: an old copy, or a fork."""

    code, exit_code = "older", ExitCode.OLDER


class OtherHistory(Problem):
    """The log has two histories."""

    code, exit_code = "other-history", ExitCode.OTHER_HISTORY


class EvidenceNotKept(OtherHistory):
    """The log has two histories, and the folder of what is trusted cannot be written."""


class TrustedLog(NamedTuple):
    """Whose checkpoints count: a ledger of this program, or any log by a policy."""

    ledger_id: bytes | None = None
    anchors: tuple[Anchor, ...] = ()
    """What was verified of the ledger before."""
    policy: Policy | None = None


class LogAudit:
    """One audit: made, it has verified the newest checkpoint, and that the log only grew; then `rederive`, `keep`."""

    def __init__(self, mirror: Mirror, trusted: TrustedLog, seen: SeenLogs) -> None:
        """Raises `Problem`: a kind for each thing that may be wrong, with an exit code of its own."""
        self._mirror, self._trusted, self._logs = mirror, trusted, seen
        for attempt in range(1, _TRIES + 1):
            try:
                self._look()
                return
            except Missing as missing:
                if attempt == _TRIES:
                    raise mirror.damaged(f"it is not whole: {missing}") from None

    def _look(self) -> None:
        self.note, self.checkpoint = self._mirror.checkpoint()
        self._check_origin()
        self.before = self._logs.get(self.checkpoint.origin)
        self.state: MirroredState | None = None
        self.anchor: Anchor | None = None
        other = None
        try:
            self._verify()
        except Conflict as conflict:
            other = conflict
        self._check_grown()
        if other is not None:
            said = f"{self._mirror.where} shows another history than the proofs that were verified here: {other.reason}"
            raise OtherHistory(f"{said}; keep a copy of it, and {_SHOW}") from None

    def since(self, all_of_it: bool) -> int:
        """From which entry on is derived: what was derived before, and led to what is still known, is not again."""
        if all_of_it or self.before is None:
            return 0
        if self.state is None:
            return self.before.checkpoint.size
        is_anchored = self.before.anchor is not None and self.before.anchored_size is not None
        return (self.before.anchored_size or 0) if is_anchored else 0

    def rederive(self, all_of_it: bool, on_done: OnDone) -> tuple[int, int]:
        """Derive what is new, or all; returns since which entry, and how many blocks. Raises `Problem`."""
        since = self.since(all_of_it)
        anchor = self.before.anchor if self.before is not None and since else None
        try:
            if self.state is not None:
                return since, rederive_ledger(self._mirror, self.state, anchor, since, on_done)
            rederive_log(self._mirror, self.checkpoint.size, self.checkpoint.root, since, on_done)
        except Missing as missing:
            raise self._mirror.damaged(f"it is not whole: {missing}") from None
        return since, 0

    def keep(self, now_ms: int) -> None:
        """Keep the checkpoint as the newest that was seen. Raises `TrustError`.

        Without its ledger there is no anchor: then that of an earlier audit stays.
        """
        anchor, anchored_size = self.anchor, self.checkpoint.size if self.anchor is not None else None
        if anchor is None and self.before is not None:
            anchor, anchored_size = self.before.anchor, self.before.anchored_size
        newest = SeenLog(self.checkpoint.origin, self.note.encoded, now_ms, anchor, anchored_size)
        self._logs.keep(newest, self.before)

    # ---- the newest checkpoint ----------------------------------------------------------------------------------

    def _check_origin(self) -> None:
        """Raise `OtherLog` unless it says that it is the log that is audited."""
        origin, ledger_id, policy = self.checkpoint.origin, self._trusted.ledger_id, self._trusted.policy
        if ledger_id is not None:
            is_it, wanted = origin.endswith(f"/{ledger_id.hex()}"), f"the ledger {ledger_id.hex()}"
        else:
            names = {key.name for key in policy.keys} if policy is not None else set[str]()
            is_it, wanted = origin in names, "a log that the policy names"
        if not is_it:
            advice = "name that log's own mirror, or the ledger with --ledger"
            raise OtherLog(f"{self._mirror.where} is the log {origin}, and not {wanted}; {advice}")

    def _verify(self) -> None:
        """Raise `NotSigned`, `Conflict` unless those who are trusted signed it."""
        ledger_id, anchors, policy = self._trusted
        try:
            if ledger_id is None:
                assert policy is not None, "a ledger or a policy is trusted"
                policy.check(self.note)
                return
            self.state = state = self._mirror.state(self.checkpoint.size)
            head = Head(
                state.genesis,
                state.header,
                state.votes,
                state.following,
                state.hand_over,
                state.log,
                state.of_members,
                self.note,
            )
            try:
                self.anchor = head.anchor(proven_head(head, ledger_id, anchors, policy).voters)
            except Conflict:
                self.anchor = head.anchor(proven_head(head, ledger_id, (), policy).voters)
                raise
        except Conflict:
            raise
        except Refused as refused:
            said = f"[{refused.rule.name}] {refused.reason}" if isinstance(refused, NotProven) else str(refused)
            advice = "do not rely on it; ask whoever serves it, and audit another mirror"
            kind = OtherLog if refused.rule is Rule.P3 else NotSigned
            raise kind(f"the checkpoint at {self._mirror.where} is not to be trusted: {said}; {advice}") from None

    # ---- has it only grown? -------------------------------------------------------------------------------------

    def _check_grown(self) -> None:
        """Raise `OlderLog`, `OtherHistory`, `DamagedStore` unless the log goes on from what was seen."""
        if self.before is None:
            return
        old, new = self.before.checkpoint, self.checkpoint
        if not new.size and new.root != EMPTY_ROOT:
            raise self._mirror.damaged("its checkpoint is of an empty log, which has another root")
        if new.size < old.size:
            one = Smaller(self.note.encoded, self.anchor)
            kept = self._keep_smaller(one)
            with self._once(one):
                self._check_is_part(self.before)
            said = f"{self._mirror.where} shows {new.size:,} entries of the log {new.origin}, {old.size:,} were seen"
            what = "it is an old copy, the log was rolled back, or it is a fork"
            advice = "audit again the source that was audited before, or a larger log, which tells"
            raise OlderLog(f"{said}: {what}; its checkpoint is {kept}: {advice}")
        self._check_goes_on(self.before.note, self.before.anchor)
        self._check_smaller(self.before.smaller)

    def _keep_smaller(self, one: Smaller) -> str:
        """Keep it for the next larger log; says whether that was done. What was found is told all the same."""
        try:
            self._logs.keep_smaller(self.checkpoint.origin, one)
        except TrustError as problem:
            return f"not kept, as {problem}"
        return "kept"

    def _check_smaller(self, smaller: Iterable[Smaller]) -> None:
        """Raise `OtherHistory` if some that were shown are no part of it: of each the evidence is kept."""
        first = None
        for one in smaller:
            try:
                with self._once(one):
                    self._check_goes_on(one.note, one.anchor)
            except OtherHistory as other:
                first = first or other
        if first is not None:
            raise first

    @contextmanager
    def _once(self, one: Smaller) -> Iterator[None]:
        """Convicted inside, it is compared no more once the evidence is kept: the next audit goes on to what is new."""
        try:
            yield
        except EvidenceNotKept:
            raise
        except OtherHistory:
            with suppress(TrustError):  # then it is convicted once more
                self._logs.forget_smaller(self.checkpoint.origin, one)
            raise

    def _check_is_part(self, before: SeenLog) -> None:
        """Raise `OtherHistory` if the source itself still has what shows that the larger log has another root here.

        That takes hashes of the larger log's tree, and of that only the root is kept. So a source that serves a fork
        alone is convicted by the next one that has what was seen: it is asked all the same, as a log that was rolled
        back often leaves its tiles.
        """
        if not self.checkpoint.size:
            return
        try:
            shown = self._shown(self.checkpoint, before.checkpoint)
        except Problem:  # whatever it answers in place of these tiles, the log is smaller
            return
        if shown[0] != self.checkpoint.root:
            raise self._other_history(before.note, before.anchor, shown)

    def _check_goes_on(self, earlier: Note, anchor: Anchor | None) -> None:
        """Raise `OtherHistory`, `DamagedStore` unless the log goes on from an earlier checkpoint, of `anchor`."""
        old, new = parse_checkpoint(earlier.text), self.checkpoint
        if new.size == old.size:
            if new.root != old.root:
                raise self._other_history(earlier, anchor, None)
        elif old.size:
            shown = self._shown(old, new)
            if shown[0] != old.root:
                raise self._other_history(earlier, anchor, shown)

    def _shown(self, old: Checkpoint, new: Checkpoint) -> tuple[bytes, tuple[bytes, ...]]:
        """Which root the log had at the old size, by its tiles, and the proof of that. Raises `DamagedStore`."""
        tree = TiledTree(self._mirror, Tree.LOG, new.size)
        root, path = tree.root(old.size), tree.consistency(old.size, new.size)
        led_to = self._mirror.checked(lambda: root_from_consistency(root, old.size, new.size, path))
        if led_to != new.root:
            raise self._mirror.damaged("its tiles do not lead to the root that was signed")
        return root, path

    def _other_history(
        self, earlier: Note, anchor: Anchor | None, shown: tuple[bytes, tuple[bytes, ...]] | None
    ) -> OtherHistory:
        genesis = self.state.genesis.encoded if self.state is not None else None
        conflict = make_conflict(earlier, self.note, self._keys(anchor), shown, genesis)
        said = f"{self.checkpoint.origin} has two histories, both signed"
        try:
            judge = f"tallystick verify {shlex.quote(str(self._logs.keep_conflict(conflict)))}"
        except TrustError as problem:
            advice = f"keep a copy of what {self._mirror.where} serves, and audit that"
            return EvidenceNotKept(f"{said}, and the evidence is not kept, as {problem}; {advice}")
        return OtherHistory(f"{said}: {judge} says by whom; keep that, and {_SHOW}")

    def _keys(self, earlier: Anchor | None) -> Iterable[NoteKey]:
        """Those that may have signed both. `earlier`: the anchor of the earlier checkpoint."""
        if self._trusted.policy is not None:
            yield from self._trusted.policy.keys
        for key in {key for one in (self.anchor, earlier) if one is not None for key, _ in one.voters}:
            yield log_key(self.checkpoint.origin, key)
            yield cosigner_key(self.checkpoint.origin, key)


_SHOW: Final = "show it to the log's members or operators, and to others who rely on it"


def log_of_key(key: NoteKey) -> TrustedLog:
    """The log of this key alone, without witnesses."""
    return TrustedLog(policy=Policy([key], {"none": (0, ())}, "none"))
