"""Proofs that PDF files carry, renewed in them, and time stamps beside such files."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import pdfs
from tests.integration.command_line import cli, in_json
from tests.integration.test_renew import Renewed
from tests.integration.test_verify import Given
from tests.time_authority import Authority, founded, serving, stamping

from tallystick.api.made_proof_views import ProofRenewed
from tallystick.client import pdf_files
from tallystick.client.pdf_files import Marked, attach, mark_in
from tallystick.client.proof_files import PROOF, TIME_STAMP, read_proof
from tallystick.client.proof_folders import find_proofs
from tallystick.client.proof_writing import attached_form, bundle_attached, without_proofs
from tallystick.ledger.bundle import Bundle
from tallystick.problems import CannotMake, DamagedStore, RefusedInput, UnreadableFile
from tallystick.storage.described_files import describe_file
from tallystick.storage.making import ProofFiles

DIPLOMA = "diploma.pdf"
AUTHORITY: Authority = founded()
BEFORE = ("--signed-before", "2026-03-02")


class Attached(Renewed):
    """The same folder, and in it a PDF that carries its proof."""

    def __init__(self, folder: Path, chain: Path) -> None:
        super().__init__(folder, chain)
        self.diploma, self.content = folder / DIPLOMA, pdfs.by_reportlab()
        self.given[DIPLOMA] = self.attach(DIPLOMA, self.content)

    def attach(self, name: str, content: bytes) -> Given:
        given, path = self.certify(name, content=content), self.folder / name
        at = self.ledger.countersigned(time_s=self.now_ms // 1000)
        attach(path, attached_form(self.ledger.prove(given.certificate, at)), describe_file(path).sha256)
        return given

    @property
    def before(self) -> tuple[str, ...]:
        return (*BEFORE, "--issuer", str(self.ledger.scribe.key("ada").public_key.hex()))

    def renewed(self) -> ProofRenewed:
        return self.renewer().renew(self.diploma)


@pytest.fixture
def attached(tmp_path: Path) -> Attached:
    (folder := tmp_path / "registrar").mkdir()
    one = Attached(folder, tmp_path / "chain.db")
    one.trust()
    return one


@pytest.fixture
def url(attached: Attached) -> Iterator[str]:
    (attached.folder / "tsa.pem").write_bytes(AUTHORITY.root.pem)
    cli("trust", "add-tsa", "tsa.pem", "--yes", cwd=attached.folder)
    with serving(stamping(AUTHORITY)) as (url, _):
        yield url


def found_in(folder: Path) -> set[str]:
    return {path.name for path, problem in find_proofs([folder]) if problem is None}


# ---- which files ------------------------------------------------------------------------------------------------


def test_a_folder_s_proofs_are_those_that_count(attached: Attached) -> None:
    sidecars = {f"{name}{PROOF}" for name in ("a.pdf", "b.pdf", "c.pdf")}
    (attached.folder / "plain.pdf").write_bytes(pdfs.by_fpdf())
    (attached.folder / "text.txt").write_bytes(attached.diploma.read_bytes()[5:])
    (attached.folder / "link.pdf").symlink_to(attached.diploma)
    assert found_in(attached.folder) == {*sidecars, DIPLOMA}
    beside = attached.folder / f"{DIPLOMA}{PROOF}"
    beside.write_bytes(attached.path("a.pdf").read_bytes())
    assert found_in(attached.folder) == {*sidecars, DIPLOMA}, "the proof beside it does not count"
    ((path, problem),) = find_proofs([beside])
    assert path == beside
    assert f"does not count, as {attached.diploma} carries its proof" in str(problem)
    assert [path for path, _ in find_proofs([attached.diploma, attached.folder])].count(attached.diploma) == 1
    attached.diploma.write_bytes(b"%PDF-1.7\n" + attached.diploma.read_bytes())
    assert found_in(attached.folder) == {*sidecars, beside.name}, "as for verify, the proof beside one that moved"
    beside.unlink()
    assert found_in(attached.folder) == {*sidecars, DIPLOMA}, "it is told that this one was changed"


@pytest.mark.parametrize("piece_bytes", [1, 7, 64, 1000, 1024 * 1024])
def test_the_mark_of_a_proof_is_found_wherever_the_pieces_end(
    attached: Attached, monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    monkeypatch.setattr(pdf_files, "_PIECE_BYTES", piece_bytes)
    assert mark_in(attached.diploma) is Marked.THERE
    for extra, marked in ((b"%PDF-1.7\n", Marked.ELSEWHERE), (b" ", Marked.NOT)):
        (attached.folder / "other").write_bytes(extra + attached.diploma.read_bytes())
        assert mark_in(attached.folder / "other") is marked
    line = b"\n%%tallystick.pdf-proof.v1 prefix=%d proof=1 members=- payload=-"
    before = b"%PDF-1.7" + line % 1
    (attached.folder / "other").write_bytes(before + line % len(before) + b"\n")
    assert mark_in(attached.folder / "other") is Marked.THERE, "as for verify, of two with a newline in common"
    assert mark_in(attached.folder / "none") is Marked.NOT


def test_no_file_of_a_folder_is_read_whole_to_find_proofs(attached: Attached, monkeypatch: pytest.MonkeyPatch) -> None:
    (attached.folder / "plain.pdf").write_bytes(pdfs.by_fpdf())
    read: list[str] = []
    monkeypatch.setattr(pdf_files, "_read", lambda path: read.append(path.name))
    assert DIPLOMA in found_in(attached.folder)
    assert read == []
    assert pdf_files.carried_in(attached.diploma) is None
    assert read == [DIPLOMA]


def test_a_pdf_that_cannot_be_read_is_told_and_other_files_are_not(
    attached: Attached, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the tests may read everything: it is the look at the file that fails."""

    def refuse(path: Path) -> Marked:
        raise UnreadableFile(f"{path.name} cannot be read")

    (attached.folder / "key").write_bytes(b"secret")
    monkeypatch.setattr("tallystick.client.proof_folders.mark_in", refuse)
    told = [(path.name, str(problem)) for path, problem in find_proofs([attached.folder]) if problem is not None]
    assert told == [(name, f"{name} cannot be read") for name in ("a.pdf", "b.pdf", "c.pdf", DIPLOMA)]
    assert found_in(attached.folder) == {f"{name}{PROOF}" for name in ("a.pdf", "b.pdf", "c.pdf")}


def test_the_proof_of_before_is_kept_with_its_time_stamp_when_a_pdf_gets_another(attached: Attached, url: str) -> None:
    cli("anchor", DIPLOMA, "--tsa", url, cwd=attached.folder)
    told, kept = attached.renewed(), f"{DIPLOMA}.2026-03-01{PROOF}"
    assert (told.state, told.kept) == ("renewed", str(attached.folder / kept))
    shown = attached.verify(DIPLOMA, *attached.before)
    assert f"proof {kept}, an earlier one than the one attached to the PDF" in shown
    assert found_in(attached.folder) == {DIPLOMA, *(f"{name}{PROOF}" for name in ("a.pdf", "b.pdf", "c.pdf"))}


# ---- renewed ----------------------------------------------------------------------------------------------------


def test_a_proof_is_renewed_in_the_pdf_which_stays_as_it_was(attached: Attached) -> None:
    before, attached_before = attached.status(DIPLOMA), attached.diploma.read_bytes()
    attached.diploma.chmod(0o640)
    one = attached.renewed()
    assert (one.state, one.proof, one.status_before_ms) == ("renewed", str(attached.diploma), before)
    after = attached.file(DIPLOMA)
    assert (after["is_attached"], after["result"], after["proven"]["status_ms"]) == (True, "verified", one.status_ms)
    assert (one.status_ms or 0) > before
    written = attached.diploma.read_bytes()
    assert written.startswith(attached.content)
    assert written != attached_before
    assert (written.count(b"%tallystick.pdf-proof.v1 "), attached.diploma.stat().st_mode & 0o777) == (1, 0o640)
    assert [one.name for one in attached.folder.iterdir() if one.name.startswith(DIPLOMA)] == [DIPLOMA]
    assert attached.renewed().state == "as_new"
    assert attached.diploma.read_bytes() == written


def test_what_does_not_hold_is_not_attached(attached: Attached) -> None:
    before = attached.diploma.read_bytes()
    other = read_proof(attached.path("b.pdf")).bundle

    def wrong(_: Bundle) -> ProofFiles:
        return attached.made(other)

    with pytest.raises(DamagedStore, match="a proof of another certificate"):
        attached.renewer(wrong).renew(attached.diploma)
    assert attached.diploma.read_bytes() == before


@pytest.mark.parametrize(("begins", "ends"), [(b"", b"\n"), (b"%PDF-1.7\n", b"")])
def test_a_pdf_that_was_changed_is_told_and_left(attached: Attached, begins: bytes, ends: bytes) -> None:
    data = begins + attached.diploma.read_bytes() + ends
    attached.diploma.write_bytes(data)
    with pytest.raises(RefusedInput, match="changed after certification") as refused:
        attached.renewed()
    assert str(refused.value).endswith("it stays: tallystick verify tells more")
    assert (attached.diploma.read_bytes(), attached.asked) == (data, [])


def test_the_pdf_is_whole_whenever_it_is_cut_off(attached: Attached, monkeypatch: pytest.MonkeyPatch) -> None:
    before = attached.diploma.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(CannotMake, match="No space left on device"):
            attached.renewed()
    assert attached.diploma.read_bytes() == before
    assert attached.renewed().state == "renewed"


def test_content_that_its_source_has_not_is_kept_in_the_pdf(attached: Attached) -> None:
    given = attached.given[DIPLOMA]
    attached.ledger.store.erase_payload(given.certificate.payload_hash)
    attached.renewed()
    bundle = bundle_attached(attached.diploma)
    assert bundle is not None
    assert bundle.payload == given.payload
    attached.verify(DIPLOMA)


def test_the_command_renews_what_is_beside_and_what_is_in_a_pdf(
    attached: Attached, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = {f"{name}{PROOF}": read_proof(attached.path(name)).bundle for name in ("a.pdf", "b.pdf", "c.pdf")}
    carried = bundle_attached(attached.diploma)
    assert carried is not None
    by_id = {one.extra.certificate.id.hex(): one for one in (*bundles.values(), carried)}
    monkeypatch.setattr("tallystick.client.blocking.Client.prove", lambda _, one, **__: attached.made(by_id[one]))
    (attached.folder / "plain.pdf").write_bytes(pdfs.by_fpdf())
    attached.attach("changed.pdf", pdfs.by_fpdf())
    changed = (attached.folder / "changed.pdf").read_bytes() + b" "
    (attached.folder / "changed.pdf").write_bytes(changed)
    chain = str(attached.folder.parent / "chain.db")
    told = in_json("renew", ".", "--chain", chain, cwd=attached.folder, expect=6)
    assert (told["renewed"], {one["proof"] for one in told["proofs"]}) == (4, {*bundles, DIPLOMA})
    ((lost, detail),) = [(one["what"], one["problem"]["detail"]) for one in told["failed"]]
    assert lost == "changed.pdf"
    assert "changed after certification" in detail
    assert (attached.folder / "changed.pdf").read_bytes() == changed
    assert (attached.folder / "plain.pdf").read_bytes() == pdfs.by_fpdf()


# ---- time stamps ------------------------------------------------------------------------------------------------


def test_a_pdf_with_its_proof_is_time_stamped_beside_it(attached: Attached, url: str) -> None:
    whole = attached.diploma.read_bytes()
    assert "there is no .tsr beside it" in attached.verify(DIPLOMA, *attached.before, expect=12)
    told = in_json("anchor", ".", "--tsa", url, cwd=attached.folder)
    by_proof = {one["proof"]: one["time_stamp"] for one in told["stamped"]}
    assert by_proof[DIPLOMA] == f"{DIPLOMA}{TIME_STAMP}"
    assert attached.diploma.read_bytes() == whole
    attached.verify(DIPLOMA, *attached.before)
    one = attached.file(DIPLOMA)
    assert (one["is_attached"], one["time_stamp"]["state"]) == (True, "verified")
    again = in_json("anchor", DIPLOMA, "--tsa", url, cwd=attached.folder)
    assert (again["requests"], again["stamped"][0]["was_there"]) == (0, True)
    attached.renewed()
    assert attached.file(DIPLOMA)["time_stamp"]["state"] == "other_note", "that of the earlier proof"
    in_json("anchor", DIPLOMA, "--tsa", url, cwd=attached.folder)
    assert attached.file(DIPLOMA)["time_stamp"]["state"] == "verified"


def test_a_time_stamp_of_the_pdf_itself_is_not_replaced(attached: Attached, url: str) -> None:
    path = attached.folder / f"{DIPLOMA}{TIME_STAMP}"
    for content in (attached.content, attached.diploma.read_bytes()):
        own = AUTHORITY.token().response(content)
        path.write_bytes(own)
        said = cli("anchor", DIPLOMA, "--tsa", url, cwd=attached.folder, expect=2).output
        assert "a time stamp of the document itself" in " ".join(said.split())
        assert path.read_bytes() == own


def test_a_pdf_that_was_changed_gets_no_time_stamp(attached: Attached, url: str) -> None:
    attached.diploma.write_bytes(attached.diploma.read_bytes() + b" ")
    said = cli("anchor", DIPLOMA, "--tsa", url, cwd=attached.folder, expect=6).output
    assert "changed after certification" in " ".join(said.split())
    assert not (attached.folder / f"{DIPLOMA}{TIME_STAMP}").exists()


def test_the_time_stamp_of_a_pdf_with_its_proof_is_not_certified_with_the_folder(attached: Attached) -> None:
    names = (DIPLOMA, f"{DIPLOMA}{TIME_STAMP}", "plain.pdf", f"plain.pdf{TIME_STAMP}")
    (attached.folder / "plain.pdf").write_bytes(pdfs.by_fpdf())
    assert [one.name for one in without_proofs(attached.folder / name for name in names)] == [
        DIPLOMA,
        "plain.pdf",
        f"plain.pdf{TIME_STAMP}",
    ]
