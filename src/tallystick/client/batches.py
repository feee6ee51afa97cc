"""Certifies drafts; with a result file, an interrupted or repeated run certifies nothing twice.

Everything is signed, and stands in the result file, before anything is sent. A later run with that file sends the same
bytes again, which is safe, and signs only what is new.
"""

import csv
import os
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
from msgspec.structs import astuple

from tallystick.api import views
from tallystick.client.blocking import Client
from tallystick.client.client import BATCH
from tallystick.client.drafts import Draft, said_by
from tallystick.ledger.certificate import Statement
from tallystick.ledger.encoding import encode
from tallystick.ledger.keys import is_signed
from tallystick.ledger.messages import Entry, entry_codec
from tallystick.problems import NotInTime, Problem
from tallystick.storage.sqlite_file import sync_folder

SIGNED: Final = "signed"
"""The state of what is signed and, as far as is known, was never sent."""

_POLL_S: Final = 2.0
_LONG_S: Final = 3.0
"""Nothing to hear of for so long: the node is asked why."""
_FAR: Final = 1e9
_TROUBLES: Final = ("stuck", "out_of_reach")


class Result(views.View, frozen=True, kw_only=True):
    """A statement, and what became of it."""

    line: int | None
    """Of the CSV file."""
    subject: str
    file: str | None
    """As it was named."""
    sha256: str | None
    """Of the file."""
    proof: str | None
    """The file of its proof, or that carries it; `null`: there is none yet."""
    was_certified: bool
    """Before this run."""
    outcome: views.Outcome
    """With the state `signed` while it was not sent; `unknown` if it was sent, and the node did not answer."""


class Results(views.Answer, frozen=True, kw_only=True):
    """What a run of certify came to."""

    results: list[Result]
    problem: views.Problem | None
    """What ended the run before all was final."""


class _Row(msgspec.Struct, frozen=True):
    """A row of a result file, column by column."""

    line: int | None = None
    subject: str = ""
    file: str | None = None
    sha256: str | None = None
    proof: str | None = None
    certificate_id: str = ""
    entry: str = ""
    """In Base64; empty if the certificate was found on the ledger."""
    state: str = ""
    block_index: int | None = None
    position: int | None = None
    log_index: int | None = None
    rule: str | None = None
    reason: str | None = None


_COLUMNS: Final = _Row.__struct_fields__


class ResultFile:
    """Signed statements and what became of them, in a CSV file. What is in it from before stays in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[_Row] | None = None

    def read(self, ledger_id: bytes, issuer: bytes) -> list[tuple[_Row, Entry | None]]:
        """The rows of an earlier run, each with what was signed; none if there was none.

        Raises `Problem` for any other file, ledger or issuer.
        """
        try:
            with self.path.open(encoding="utf-8", newline="") as stream:
                found = list(self._read(csv.reader(stream), ledger_id, issuer))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Problem(f"{self.path} cannot be read: {error.strerror}; name another with --results") from None
        except (csv.Error, ValueError):
            raise self._strange("line 1") from None
        self._rows = [row for row, _ in found]
        return found

    def write(self, results: Iterable[Result], entries: Mapping[str, bytes]) -> None:
        """Replace the file durably, all of it or nothing. Raises `Problem`."""
        rows = [_row(one, entries.get(one.outcome.id, b"")) for one in results]
        ids = {one.certificate_id for one in rows}
        rows += [one for one in self._rows or () if one.certificate_id not in ids]
        try:
            with TemporaryDirectory(dir=self.path.parent) as folder:
                written = Path(folder, "results.csv")
                written.touch(0o600)
                with written.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
                    csv.writer(stream, lineterminator="\n").writerows([_COLUMNS, *map(astuple, rows)])
                    stream.flush()
                    os.fsync(stream.fileno())
                if self._rows is None:  # another run must not have signed the same meanwhile
                    self.path.open("x").close()
                    self._rows = []
                written.replace(self.path)
            sync_folder(self.path)
        except FileExistsError:
            raise Problem(f"another run has just made {self.path}; wait for it, and run this again") from None
        except OSError as error:
            told = f"{self.path} cannot be written: {error.strerror}"
            raise Problem(f"{told}; name a file that you may write to with --results") from None

    def _read(self, rows: Iterator[list[str]], ledger_id: bytes, issuer: bytes) -> Iterator[tuple[_Row, Entry | None]]:
        if tuple(next(rows, ())) != _COLUMNS:
            raise self._strange("line 1")
        for number, cells in enumerate(rows, start=1):
            try:
                told = {name: cell for name, cell in zip(_COLUMNS, cells, strict=True) if cell}
                row = msgspec.convert(told, _Row, strict=False)
                entry = entry_codec.decode(b64decode(row.entry, validate=True)) if row.entry else None
            except ValueError:
                raise self._strange(f"row {number}") from None
            if entry is not None:
                self._check(entry, row.certificate_id, ledger_id, issuer)
            yield row, entry

    def _check(self, entry: Entry, certificate_id: str, ledger_id: bytes, issuer: bytes) -> None:
        certificate = entry.certificate
        if not isinstance(certificate, Statement) or certificate.id.hex() != certificate_id:
            raise self._strange(f"certificate {certificate_id[:16]}…")
        if certificate.issuer != issuer:
            keys = f"by {certificate.issuer.hex()[:16]}…, and this run signs with {issuer.hex()[:16]}…"
            raise Problem(f"what is in {self.path} was signed {keys}; use that key, or another --results")
        if not is_signed(certificate.signed_bytes(ledger_id), certificate.signature, issuer):
            told = f"what is in {self.path} was signed for another ledger, or was altered"
            raise Problem(f"{told}; name the node of that ledger, or another --results")

    def _strange(self, where: str) -> Problem:
        told = f"{self.path} is no result file of certify, or was altered ({where}); it is left as it is"
        return Problem(f"{told}; name another with --results")


class Certification:
    """Drafts on their way to a ledger through one client, signed by its wallet or its node."""

    def __init__(self, client: Client, issuer: bytes, file: ResultFile | None = None) -> None:
        self._client, self._issuer, self._file = client, issuer, file
        self._drafts: list[tuple[Draft, str]] = []
        """With the ids of their certificates."""
        self._entries: dict[str, bytes] = {}
        self._outcomes: dict[str, views.Outcome] = {}
        self._was_certified: set[str] = set()
        self._proofs: dict[str, str] = {}
        self._attached: set[str] = set()
        """Files that carry their proofs."""
        self._said_trouble = False
        self._quiet_since_s = time.monotonic()

    @property
    def results(self) -> list[Result]:
        """What became of each, in the order of the drafts."""
        return [
            Result(
                line=draft.line,
                subject=draft.subject,
                file=draft.file,
                sha256=draft.described.sha256.hex() if draft.described else None,
                proof=draft.file if draft.file in self._attached else self._proofs.get(one),
                was_certified=one in self._was_certified,
                outcome=self._outcomes[one],
            )
            for draft, one in self._drafts
        ]

    @property
    def unsettled(self) -> int:
        """How many certificates are neither final nor refused."""
        return len(self._in_state(SIGNED, "unknown", "waiting"))

    # ---- before anything is sent --------------------------------------------------------------------------------

    def prepare(self, drafts: Sequence[Draft], *, again: bool = False, public_subject: bool = False) -> None:
        """Sign what is new, and keep all of it in the result file. Nothing is sent.

        A file whose very bytes this issuer has certified is not certified again, unless `again`. `public_subject`: as
        `Client.sign` takes it. Raises `Problem`.
        """
        ids = self._kept()
        for draft in drafts:
            if draft.says not in ids and not again and (found := self._find(draft)):
                ids[draft.says] = found
        new = list({draft.says: draft for draft in drafts if draft.says not in ids}.values())
        statements = [(one.subject, one.payload) for one in new]
        signed = self._client.sign(statements, public_subject=public_subject)
        for draft, entry in zip(new, signed, strict=True):
            ids[draft.says] = certificate_id = entry_codec.decode(entry).certificate.id.hex()
            self._entries[certificate_id] = entry
            self._know(views.Outcome(certificate_id, SIGNED))
        self._drafts = [(draft, ids[draft.says]) for draft in drafts]
        self._keep()

    def _kept(self) -> dict[tuple[str, str, bytes], str]:
        found = {}
        for row, entry in self._file.read(self._client.ledger_id, self._issuer) if self._file else ():
            if entry and isinstance(entry.certificate, Statement):
                found[said_by(entry.certificate.subject, entry.payload)] = row.certificate_id
                self._entries[row.certificate_id] = encode(entry)
                self._know(views.Outcome(row.certificate_id, *astuple(row)[_COLUMNS.index("state") :]))
        return found

    def _find(self, draft: Draft) -> str | None:
        """The id of this issuer's certificate of the same bytes, if the ledger has one."""
        if draft.described is None:
            return None
        for one in self._client.statements_of(draft.described):
            if one.issuer.key == self._issuer.hex():
                place = one.place
                self._know(views.Outcome(one.id, "final", place.block_index, place.position, place.log_index))
                return one.id
        return None

    def _know(self, outcome: views.Outcome) -> None:
        """Before anything is sent."""
        self._outcomes[outcome.id] = outcome
        if outcome.state == "final":
            self._was_certified.add(outcome.id)

    def proven(self, proofs: Mapping[str, Path]) -> None:
        """Note where the proofs are, by certificate. Raises `Problem`."""
        self._proofs |= {one: str(path) for one, path in proofs.items()}
        self._keep()

    def attached(self, files: Iterable[str]) -> None:
        """Note which files carry their proofs. Raises `Problem`."""
        self._attached |= set(files)
        self._keep()

    # ---- sending ------------------------------------------------------------------------------------------------

    def send(
        self,
        *,
        wait: bool = True,
        timeout_s: float | None = None,
        on_progress: Callable[[], object] = lambda: None,
        on_trouble: Callable[[str], object] = lambda why: None,
    ) -> None:
        """Submit what is not final, and wait for it. What came of it stands in `results` however this ends.

        `on_progress` is told when there is news; `on_trouble`, once, why the ledger does not advance.
        Raises `NotInTime`, `NotRunning`, `Problem`.
        """
        until_s = time.monotonic() + (_FAR if timeout_s is None else timeout_s)
        self._on_progress, self._on_trouble = on_progress, on_trouble
        try:
            self._submit(self._in_state(SIGNED, "unknown", "waiting", "refused"), until_s)
            while wait and (left := self._in_state("waiting", "unknown")):
                if time.monotonic() >= until_s:
                    raise NotInTime("the time was up; what waits goes on by itself, see: tallystick status")
                seconds = max(0.0, min(_POLL_S, until_s - time.monotonic()))
                self._note(self._client.wait(left, timeout_s=seconds))
                if lost := self._in_state("unknown"):  # the node let go of it
                    time.sleep(seconds)
                    self._submit(lost, until_s)
                self._tell_trouble()
        except KeyboardInterrupt:
            with suppress(Problem):
                self._note(self._client.wait(self._in_state("waiting", "unknown"), timeout_s=0))
            raise
        finally:
            self._keep()

    def _submit(self, ids: Sequence[str], until_s: float) -> None:
        for start in range(0, len(ids), BATCH):
            if time.monotonic() >= until_s:
                raise NotInTime("the time was up before all was sent; run it again to go on")
            batch = ids[start : start + BATCH]
            self._outcomes.update((one, views.Outcome(one, "unknown")) for one in batch)
            self._client.submit([self._entries[one] for one in batch], timeout_s=0, on_outcomes=self._note)
            self._tell_trouble()

    def _in_state(self, *states: str) -> list[str]:
        ids = dict.fromkeys(one for _, one in self._drafts)
        return [one for one in ids if one in self._entries and self._outcomes[one].state in states]

    def _note(self, outcomes: Sequence[views.Outcome]) -> None:
        if any(one.state == "final" and self._outcomes[one.id].state != "final" for one in outcomes):
            self._quiet_since_s = time.monotonic()
        self._outcomes.update((one.id, one) for one in outcomes)
        self._on_progress()

    def _tell_trouble(self) -> None:
        """Say once why nothing becomes final, if the ledger is what hinders it."""
        if self._said_trouble or time.monotonic() - self._quiet_since_s < _LONG_S or not self._in_state("waiting"):
            return
        status = self._client.status()
        if status.state in _TROUBLES:
            self._said_trouble = True
            self._on_trouble(status.why)

    def _keep(self) -> None:
        if self._file is not None:
            self._file.write(self.results, self._entries)


def _row(result: Result, entry: bytes) -> _Row:
    certificate_id, *became = astuple(result.outcome)
    return _Row(*(*astuple(result)[:5], certificate_id, b64encode(entry).decode(), *became))
