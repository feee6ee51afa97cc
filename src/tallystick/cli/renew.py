"""`tallystick renew`: newer proofs in the place of older ones, for a whole folder, from cron."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tallystick.api.made_proof_views import NotProved, NotStamped, ProofRenewed, ProofsRenewed, ProofStamped
from tallystick.api.problem_view import problem_view
from tallystick.cli.anchor import open_anchorer
from tallystick.cli.options import ChainFile, Data, Trust, Tsa, argument, node_folder, open_source, option, trust_store
from tallystick.cli.output import MOST_LINES, counting, give, marked, say, say_table
from tallystick.cli.verify import span_ms
from tallystick.cli.words import many, utc, with_ml_dsa
from tallystick.client.made_proofs import ProofJudge
from tallystick.client.own_node import own_node
from tallystick.client.proof_folders import find_proofs
from tallystick.client.proof_sources import NodeSource, ProofSource, open_mirror
from tallystick.client.renewing import Renewer
from tallystick.host.clock import now_ms
from tallystick.problems import ExitCode, Problem

if TYPE_CHECKING:
    from tallystick.client.anchoring import Anchorer

_STATES: Final = {
    "renewed": "renewed",
    "as_new": "no newer one there",
    "young": "new enough",
    "other_ledger": "of another ledger",
}


def renew(
    folders: Annotated[
        list[Path], argument("DIR", "Folders with proofs, and folders inside; or single proofs, or PDFs.")
    ],
    *,
    older_than: Annotated[
        int | None, option("Only proofs whose status is older: 30d.", "SPAN", parser=span_ms, show_default="all")
    ] = None,
    timeout: Annotated[float, option("Wait no longer for members, or the authority.", "SECONDS", min=0.1)] = 30.0,
    tsa: Tsa = None,
    trust: Trust = None,
    mirror: Annotated[
        str | None, option("Make them from this mirror, without a node (tallystick export).", "URL|DIR", "--from")
    ] = None,
    chain: ChainFile = None,
    data: Data = None,
    url: Annotated[str | None, option("Ask the node at this URL instead.")] = None,
) -> None:
    """Make every proof in a folder anew, with a later status and today's signatures; and have them time stamped.

    A proof is replaced only by one that was verified, under what was verified here before, is of the same certificate
    and has a later status. What fails stays as it is, and hinders no other. Cut off, the same command goes on: with
    --older-than it leaves out what was renewed. Content that the node has erased is kept in FILE.payload. Proofs of
    another ledger are left alone.

    A proof with a time stamp of its own is kept, with that, as FILE.DATE.tlog-proof and FILE.DATE.tsr: the older one
    serves after a break. verify --signed-before finds it, and renew leaves it as it is.

    A proof with signatures by ML-DSA-44 is renewed at a later epoch's end that members signed so, too. Where there is
    none, at a mirror or without tallystick[pq], the new one is without them: the earlier one is kept, and that is said.
    Later runs ask again for one that has them.

    A proof that a PDF carries (certify --attach) is replaced in the PDF, which is read as it was before. One that was
    changed since is told, and left. Other files are not touched.

    With --tsa, or $TALLYSTICK_TSA, each gets a time stamp as by tallystick anchor, unless it has one that holds.

    Ends with the code of all that fail, or with 1 if they fail for different reasons: for cron.

    Examples:
      tallystick renew diplomas/ --older-than 30d
      tallystick renew diplomas/ --from https://log.uni-a.example
      tallystick renew /srv/diplomas --older-than 330d --url https://node.uni-a.example --tsa https://freetsa.org/tsr
    """
    if sum(one is not None for one in (url, chain, mirror)) > 1:
        raise typer.BadParameter("--url, --chain and --from exclude each other")
    anchorer = open_anchorer(tsa, trust, timeout) if tsa is not None else None
    run = _Run(anchorer)
    found = run.find(folders)
    with ExitStack() as stack:
        if mirror is not None:
            source: ProofSource = open_mirror(mirror, stack)
        else:
            source = NodeSource(stack.enter_context(open_source(chain, data, url)), timeout_s=timeout)
        renewer = Renewer(source, ProofJudge(trust_store(trust), own_node(node_folder(data)), now_ms()), older_than)
        with counting("Renewing proofs", len(found)) as on_done:
            for done in run.go(renewer, found):
                on_done(done)
    told = run.told()
    give(told)
    _tell(told)
    if run.codes:
        raise typer.Exit(run.codes.pop() if len(run.codes) == 1 else ExitCode.FAILED)


class _Run:
    """What became of all proofs so far."""

    def __init__(self, anchorer: "Anchorer | None") -> None:
        self._anchorer = anchorer
        self._proofs, self._failed = list[ProofRenewed](), list[NotProved]()
        self._stamped, self._not_stamped = list[ProofStamped](), list[NotStamped]()
        self.codes = set[int]()

    def find(self, folders: Sequence[Path]) -> list[Path]:
        """The proofs there are."""
        found = list[Path]()
        for path, problem in find_proofs(folders):
            if problem is None:
                found.append(path)
            else:
                self._fail(path, problem)
        return found

    def go(self, renewer: Renewer, found: Sequence[Path]) -> Iterator[int]:
        """Renew them all, one after the other; gives how many are done."""
        for done, path in enumerate(found, start=1):
            try:
                one = renewer.renew(path)
            except Problem as problem:
                self._fail(path, problem)
            else:
                self._proofs.append(one)
                if one.state != "other_ledger":
                    self._anchor(path)
            yield done

    def _anchor(self, path: Path) -> None:
        if self._anchorer is None:
            return
        try:
            self._stamped.append(self._anchorer.anchor(path))
        except Problem as problem:
            self._not_stamped.append(NotStamped(str(path), problem_view(problem)))
            self.codes.add(problem.exit_code)

    def _fail(self, path: Path, problem: Problem) -> None:
        self._failed.append(NotProved(str(path), problem_view(problem)))
        self.codes.add(problem.exit_code)

    def told(self) -> ProofsRenewed:
        """All of it."""
        return ProofsRenewed(
            renewed=sum(one.state == "renewed" for one in self._proofs),
            proofs=self._proofs,
            failed=self._failed,
            requests=self._anchorer.requests if self._anchorer is not None else 0,
            stamped=self._stamped,
            not_stamped=self._not_stamped,
        )


def _tell(told: ProofsRenewed) -> None:
    for lost in told.failed[:MOST_LINES]:
        say(marked("×", lost.what, f" is not renewed: {lost.problem.detail}"))
    for bare in told.not_stamped[:MOST_LINES]:
        say(marked("×", bare.proof, f" is not time stamped: {bare.problem.detail}"))
    poorer = [one for one in told.proofs if one.kept is not None and one.lost_ml_dsa]
    for one in poorer[:MOST_LINES]:
        say(marked("!", one.proof, f" is renewed; the earlier one is kept, {with_ml_dsa(one.lost_ml_dsa)}: {one.kept}"))
    if len(poorer) > MOST_LINES:
        say(f"… and {len(poorer) - MOST_LINES:,} more of which the earlier one is kept")
    more = max(0, len(told.failed) - MOST_LINES) + max(0, len(told.not_stamped) - MOST_LINES)
    if more:
        say(f"… and {more:,} more that are not")
    stamps = {one.proof: utc(one.not_later_ms)[:10] for one in told.stamped}
    shown = sorted(told.proofs, key=lambda one: one.state != "renewed")[:MOST_LINES]
    say_table(
        shown,
        {
            "Proof": lambda one: one.proof,
            "Became": lambda one: _STATES[one.state],
            "Status as of": lambda one: utc(one.status_ms)[:10] if one.status_ms is not None else "",
            "Before": lambda one: utc(one.status_before_ms)[:10] if one.status_before_ms is not None else "",
            "Time stamped": lambda one: stamps.get(one.proof, ""),
        },
        left_out=("Before",),
    )
    if len(told.proofs) > len(shown):
        say(f"… and {len(told.proofs) - len(shown):,} more")
    left = len(told.proofs) - told.renewed
    stamped = f", {len(told.stamped):,} with a time stamp" if told.stamped else ""
    failed = f", {len(told.failed):,} failed" if told.failed else ""
    say(f"{many(told.renewed, 'proof')} renewed, {left:,} left as they are{failed}{stamped}")
