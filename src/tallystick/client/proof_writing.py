"""Makes proofs of what is on a ledger, and writes them beside documents, or into a folder."""

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from tallystick.api import questions as q
from tallystick.api import views
from tallystick.client.batches import Result
from tallystick.client.blocking import Client
from tallystick.client.doors import AnswerProblem
from tallystick.client.drafts import UNDER_WAY
from tallystick.client.earlier_proofs import kept_under, lost_ml_dsa, places, stamped_on
from tallystick.client.pdf_files import Marked, attach, carried_in, mark_in
from tallystick.client.pdf_revision import AttachedProof
from tallystick.client.proof_files import (
    MEMBERS,
    PAYLOAD,
    PROOF,
    TIME_STAMP,
    Found,
    RawProof,
    document_of,
    is_there,
    read_proof,
)
from tallystick.client.time_stamp_token import MAX_TOKEN_BYTES, TokenFile, read_token
from tallystick.ledger.bundle import Bundle, hand_over_codec
from tallystick.ledger.certificate import payload_codec
from tallystick.ledger.checkpoint import MlDsaCosigners
from tallystick.ledger.encoding import Codec
from tallystick.ledger.errors import Refused
from tallystick.ledger.file_statement import FILE_MEDIA_TYPE, FileStatement
from tallystick.problems import CannotMake, NotAllowed, NotThere, Problem, UnreadableFile
from tallystick.storage.described_files import read_bounded
from tallystick.storage.making import ProofFiles
from tallystick.storage.sqlite_file import sync_folder

_MOST_NAMESAKES: Final = 20
_AT_ONCE: Final = q.MOST_PROOFS
_NO_ML_DSA: Final = MlDsaCosigners()
_MOST_NAME: Final = 80
_TO: Final = "name another place with --to"
_PROOFS_TO: Final = "name another place with --proofs-to"
_IN_PLACE: Final = "make its folder writable, or leave it out"
"""Advice: a proof that is replaced goes to no other place."""
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9._-]+")


class Kept(NamedTuple):
    """What became of a proof whose place another took."""

    path: Path | None = None
    """Where it is now; `None`: nowhere, as the other has all that it had."""
    lost_ml_dsa: int = 0
    """So many signed it by ML-DSA-44, and not the other."""


class Written(NamedTuple):
    """The files of a proof."""

    proof: Path
    members: Path | None
    payload: Path | None
    earlier: Kept = Kept()


def write_proof(made: ProofFiles, path: Path, advice: str = _TO, ml_dsa: MlDsaCosigners = _NO_ML_DSA) -> Written:
    """Write a proof, and what stands beside it, durably; the proof is the last to take its place.

    `advice` is what the command has to do where it cannot be; `ml_dsa`: who was found to have signed it by ML-DSA-44. A
    proof of before that has a time stamp of its own, or signatures by ML-DSA-44 that this one lacks, is kept beside it
    under its date.

    Cut off before that, it stands as it was, maybe beside new .members, which need not fit it: `verify` tells what to
    do, and to write the proof again mends it. What is no file of a proof is not replaced. Raises `CannotMake`.
    """
    base = document_of(path)
    members, payload = (base.with_name(base.name + ending) for ending in (MEMBERS, PAYLOAD))
    proof, earlier = made.proof.encode(), Kept()
    data = {members: made.members, payload: made.payload, path: proof}
    for beside, codec in ((members, hand_over_codec), (payload, payload_codec)):
        if data[beside] is not None:
            _check_is_of_proof(beside, codec, advice)
    if is_taken(path, advice):
        if certificate_in(path) is None:
            raise CannotMake(f"{path} is there, and is no proof; {advice}")
        if (before := read_proof(path)).proof != proof:
            earlier = _kept(base, before, lost_ml_dsa(before.proof, proof, ml_dsa), path, advice)
    _replace({one: written for one, written in data.items() if written is not None}, advice)
    has_members, has_payload = made.members is not None, made.payload is not None
    return Written(path, members if has_members else None, payload if has_payload else None, earlier)


def replace_proof(made: ProofFiles, found: Found, ml_dsa: MlDsaCosigners) -> Kept:
    """Write a proof durably in the place of one of the same certificate: a file of its own, or the PDF that carries it.

    `ml_dsa` as for `write_proof`. Raises `CannotMake`, `CannotAttach`, `UnreadableFile`; that is as it was, then.
    """
    assert found.path is not None, "it was found there"
    if not found.is_attached:
        return write_proof(made, found.path, _IN_PLACE, ml_dsa).earlier
    assert found.document is not None, "the PDF"
    earlier = keep_attached(found, made, ml_dsa)
    attach(found.path, attached_form(made), found.document.sha256)
    return earlier


def keep_attached(found: Found, made: ProofFiles, ml_dsa: MlDsaCosigners) -> Kept:
    """Keep the proof that a PDF carries, before it is replaced, as `write_proof` does. Raises `CannotMake`."""
    if found.path is None or found.files is None:
        return Kept()
    lost = lost_ml_dsa(found.files.proof, made.proof.encode(), ml_dsa)
    return _kept(found.path, found.files, lost, found.path, _IN_PLACE)


def _kept(document: Path, before: RawProof, lost: int, like: Path, advice: str) -> Kept:
    if (date := kept_under(before, lost)) is None:
        return Kept()
    return Kept(_keep_earlier(document, before, date, like, advice), lost)


def _keep_earlier(document: Path, files: RawProof, date: str, like: Path, advice: str) -> Path:
    """Keep a proof that is about to be replaced, with its token, durably; returns where.

    They are readable to whom `like` is. Raises `CannotMake`, `UnreadableFile`.
    """
    for data in places(document, date, files):
        there = {path: read_bounded(path, len(one)) for path, one in data.items() if is_taken(path, advice)}
        if all(data[path] == one for path, one in there.items()):
            if len(there) < len(data):
                _replace(data, advice, like)
            return list(data)[-1]
    raise CannotMake(f"{document} has too many earlier proofs of {date}; move some away")


def write_time_stamp(response: bytes, found: Found) -> None:
    """Write the token of a proof beside it, durably. Raises as `time_stamp_place` does."""
    assert found.path is not None, "it was found there"
    path = time_stamp_place(found)
    if found.files is not None and (date := stamped_on(found.files)) is not None:
        _keep_earlier(document_of(found.path), found.files, date, found.path, _IN_PLACE)
    _replace({path: response}, _IN_PLACE)


def time_stamp_place(found: Found) -> Path:
    """Where the token of a proof goes. What is no token, or one of the document, is not replaced.

    Raises `CannotMake`, `UnreadableFile`.
    """
    assert found.path is not None, "it was found there"
    document = document_of(found.path)
    path = document.with_name(document.name + TIME_STAMP)
    if is_taken(path, _IN_PLACE):
        try:
            before = read_token(read_bounded(path, MAX_TOKEN_BYTES) or b"")
        except Refused:
            raise CannotMake(f"{path} is there, and is no time stamp token; move it away") from None
        if document.is_file() and _is_over_document(before, document, found):
            raise CannotMake(f"{path} is there, a time stamp of the document itself; move it away")
    return path


def _is_over_document(token: TokenFile, document: Path, found: Found) -> bool:
    """Whether a token is of a file, or of the PDF that it was before its proof was attached."""
    as_it_was = found.document if found.is_attached else None
    return token.is_over(document) or (as_it_was is not None and token.is_over(document, as_it_was.size_bytes))


def certificate_in(path: Path) -> str | None:
    """The id of the certificate that a proof is of; `None`: there is no proof. Raises `UnreadableFile`."""
    found = bundle_in(path)
    return found.extra.certificate.id.hex() if found is not None else None


def bundle_in(path: Path) -> Bundle | None:
    """The proof there, with what stands beside it; `None`: there is none. Raises `UnreadableFile`."""
    if not is_there(path) or not path.is_file():
        return None
    try:
        return read_proof(path).bundle
    except Refused:
        return None


def is_taken(path: Path, advice: str = _TO) -> bool:
    """Whether anything is there. Raises `CannotMake` where nothing can be: its name is too long, for one."""
    try:
        return path.exists()
    except OSError as error:
        raise _unwritable(path, error, advice) from None


def _unwritable(path: Path, error: OSError, advice: str) -> CannotMake:
    return CannotMake(f"{path} cannot be written: {error.strerror}; {advice}")


def _check_is_of_proof(path: Path, codec: Codec[Any], advice: str) -> None:
    """Raise `CannotMake` if something else is there."""
    try:
        if is_taken(path, advice):
            codec.decode(read_bounded(path, codec.max_bytes) or b"")
    except Refused:
        raise CannotMake(f"{path} is there, and belongs to no proof; move it away, or {advice}") from None


def _replace(files: Mapping[Path, bytes], advice: str, like: Path | None = None) -> None:
    """Write files of one folder, then put each in its place, in this order even if the power fails.

    Who may read a file stays as it was; of a new one it is as of `like`, if that is given.
    """
    path = next(iter(files))
    try:
        with TemporaryDirectory(dir=path.parent, prefix=UNDER_WAY) as folder:
            written = {path: Path(folder, str(number)) for number, path in enumerate(files)}
            for path, temporary in written.items():
                with temporary.open("wb") as stream:
                    stream.write(files[path])
                    stream.flush()
                    _keep_mode(stream.fileno(), path, like)
                    os.fsync(stream.fileno())
            for path, temporary in written.items():
                temporary.replace(path)
                sync_folder(path)
    except OSError as error:
        raise _unwritable(path, error, advice) from None


def _keep_mode(descriptor: int, path: Path, like: Path | None) -> None:
    """Give a new file the mode of the one that it replaces, or of `like`, and its owner, as far as one may."""
    of = path if path.exists() else like
    if of is None:
        return
    before = of.stat()
    with suppress(PermissionError):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))


# ---- of a file that was certified -----------------------------------------------------------------------------------


def certificate_about(client: Client, described: FileStatement, before: str | None = None) -> views.Certificate:
    """The certificate of a file's very bytes: the one that there was a proof of before, else the first that is valid.

    Raises `NotThere`, and says whether a file of this name is certified with other bytes.
    """
    found = client.statements_of(described)
    if not found:
        told = f"there is no certificate about this file, {described.name}, SHA-256 {described.sha256.hex()}"
        if others := other_versions(client, described):
            told += (
                "; a file of this name is certified with other bytes: this one was changed, or is another version."
                f" Certified: {', '.join(others)}"
            )
        raise NotThere(told)
    kept = [one for one in found if one.id == before]
    valid = [one for one in found if one.validity is not None and one.validity.state == "valid"]
    return (kept or valid or found)[0]


def other_versions(client: Client, described: FileStatement) -> list[str]:
    """The SHA-256 of what else is certified under the file's name, where the door searches."""
    question = q.Search(text=described.name, media_type=FILE_MEDIA_TYPE, limit=_MOST_NAMESAKES)
    try:
        lines = client.search(question).certificates
    except AnswerProblem as problem:
        if problem.code == NotAllowed.code:
            return []
        raise
    files = [one.payload.file for one in map(client.certificate, [line.id for line in lines]) if one.payload]
    found = {one.sha256 for one in files if one is not None and one.name == described.name}
    return sorted(found - {described.sha256.hex()})


# ---- of what was certified just now ---------------------------------------------------------------------------------


def write_proofs(
    client: Client, results: Sequence[Result], folder: Path | None, timeout_s: float
) -> Iterator[tuple[str, Path | Problem]]:
    """Make the proofs of all that is final, and write those that are not there: where each is, or what hinders it.

    By certificate, one after the other, without those that nobody countersigned in time. Into the folder, or beside
    each file; what is said in words, into the folder where this runs. Raises `CannotMake` if there is no folder,
    `AnswerProblem`.
    """
    if folder is not None:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise CannotMake(f"{folder} cannot be made: {error.strerror}; {_PROOFS_TO}") from None
    final = {one.outcome.id: one for one in results if one.outcome.state == "final"}
    missing, taken = dict[str, Path](), set[Path]()
    for one, result in final.items():
        try:
            path = _free(_path_of(result, folder), one, taken)
            is_written = certificate_in(path) == one
        except (CannotMake, UnreadableFile) as problem:
            yield one, problem
            continue
        taken.add(path)
        if is_written:
            yield one, path
        else:
            missing[one] = path
    left = list(missing)
    for start in range(0, len(left), _AT_ONCE):
        made = client.proofs(left[start : start + _AT_ONCE], timeout_s=timeout_s)
        for one, files in made.items():
            yield one, _written(files, missing[one])


def attach_proofs(client: Client, results: Sequence[Result], timeout_s: float) -> Iterator[tuple[str, Path | Problem]]:
    """Make the proofs of all that is final, and attach each to its PDF: where it is, or what hinders it.

    By file, without those that nobody countersigned in time; what a PDF carries already stays. Raises `AnswerProblem`.
    """
    left: dict[str, list[Result]] = {}
    for one in results:
        if one.outcome.state != "final" or one.file is None:
            continue
        try:
            attached = bundle_attached(Path(one.file))
        except UnreadableFile as problem:
            yield one.file, problem
            continue
        if attached is not None and attached.extra.certificate.id.hex() == one.outcome.id:
            yield one.file, Path(one.file)
        else:
            left.setdefault(one.outcome.id, []).append(one)
    ids = list(left)
    for start in range(0, len(ids), _AT_ONCE):
        for one_id, files in client.proofs(ids[start : start + _AT_ONCE], timeout_s=timeout_s).items():
            for one in left[one_id]:
                yield one.file or "", _attached(files, one)


def bundle_attached(path: Path) -> Bundle | None:
    """The proof that a PDF carries, and nothing else after it. Raises `UnreadableFile`."""
    carried = carried_in(path)
    if carried is None or carried.proof is None or carried.changed is not None:
        return None
    try:
        return RawProof(*carried.proof).bundle
    except Refused:
        return None


def _attached(made: ProofFiles, result: Result) -> Path | Problem:
    path = Path(result.file or "")
    try:
        attach(path, attached_form(made), bytes.fromhex(result.sha256 or ""))
    except Problem as problem:
        return problem
    return path


def attached_form(made: ProofFiles) -> AttachedProof:
    """A proof as it is attached."""
    return AttachedProof(made.proof.encode(), made.members, made.payload)


def _written(made: ProofFiles, path: Path) -> Path | Problem:
    try:
        return write_proof(made, path, _PROOFS_TO).proof
    except (CannotMake, UnreadableFile) as problem:
        return problem


def _path_of(result: Result, folder: Path | None) -> Path:
    """Where the proof of a result goes, if nothing else is there."""
    if folder is None:
        if result.file is not None:
            return Path(result.file + PROOF)
        return Path(result.outcome.id + PROOF)
    name = Path(result.file).name if result.file is not None else result.subject
    plain = _NOT_PLAIN.sub("-", name).strip("-.")[:_MOST_NAME]
    parts = [f"{result.line:04d}"] if result.line is not None else []
    return folder / ("-".join([*parts, plain] if plain else [*parts, result.outcome.id[:16]]) + PROOF)


def _free(path: Path, certificate_id: str, taken: Collection[Path]) -> Path:
    """This place, or one beside it if another certificate's proof, or something else, has it. Raises `CannotMake`."""
    if path not in taken and (not is_taken(path, _PROOFS_TO) or certificate_in(path) == certificate_id):
        return path
    return path.with_name(f"{path.name.removesuffix(PROOF)}-{certificate_id[:16]}{PROOF}")


def without_proofs(paths: Iterable[Path]) -> list[Path]:
    """Files of a folder that are no proofs, nor belong to one."""
    every = list(paths)
    known = set(every)
    return [one for one in every if not _is_of_proof(one, known)]


def _is_of_proof(path: Path, known: set[Path]) -> bool:
    if path.name.endswith(PROOF):
        return True
    bases = (path.name.removesuffix(ending) for ending in (MEMBERS, PAYLOAD, TIME_STAMP) if path.name.endswith(ending))
    beside = [path.with_name(base) for base in bases]
    if any(one.with_name(one.name + PROOF) in known for one in beside):
        return True
    is_token = path.name.endswith(TIME_STAMP)
    return is_token and any(one in known and mark_in(one) is Marked.THERE for one in beside)
