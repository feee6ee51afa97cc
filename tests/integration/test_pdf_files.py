"""Proofs in PDF files of several producers: what is attached, and that any other change of the file is told."""

import fcntl
import logging
import os
import re
import signal
import subprocess
import sys
import zlib
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter
from pypdf.annotations import FreeText
from pypdf.generic import ArrayObject, DictionaryObject, NameObject, TextStringObject
from tests import pdfs
from tests.pdfs import OTHER_PROOF, PROOF

from tallystick.client import pdf_files, pdf_objects, pdf_reading
from tallystick.client.drafts import files_below
from tallystick.client.pdf_files import Carried, as_it_was, attach, carried_in, read_base
from tallystick.client.pdf_reading import CannotAttach, Pdf
from tallystick.client.pdf_revision import AttachedProof, PdfBase, find_mark, write_revision
from tallystick.client.pdf_syntax import MalformedPdf
from tallystick.client.proof_files import find_proof
from tallystick.ledger.errors import Rule
from tallystick.problems import CannotMake, UnreadableFile

VECTORS = Path(__file__).parents[1] / "vectors" / "pdf"
MARK = b"%tallystick.pdf-proof.v1 "


def made(path: Path, pdf: bytes, proof: AttachedProof = PROOF) -> Path:
    """A file of the PDF with its proof attached."""
    path.write_bytes(pdf)
    attach(path, proof, sha256(pdf).digest())
    return path


def carried(path: Path, data: bytes) -> Carried | None:
    path.write_bytes(data)
    return carried_in(path)


def is_refused(found: Carried | None, pdf: bytes) -> bool:
    """Whether nothing of the certified PDF is verified any more."""
    return found is None or found.changed is not None or found.document.sha256 != sha256(pdf).digest()


@pytest.fixture(scope="module", params=sorted(pdfs.PRODUCERS))
def pdf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return pdfs.PRODUCERS[request.param](tmp_path_factory.mktemp("made"))


# ---- of every producer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("proof", [PROOF, OTHER_PROOF])
def test_the_pdf_stays_as_it_is_and_then_comes_its_proof(pdf: bytes, tmp_path: Path, proof: AttachedProof) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf)
    described = as_it_was(path)
    data = made(path, pdf, proof).read_bytes()
    assert data.startswith(pdf)
    assert data == pdf + write_revision(read_base(pdf), proof)
    found = carried_in(path)
    assert (found.proof, found.changed) == (proof, None)
    assert (found.document.size_bytes, found.document.sha256) == (len(pdf), sha256(pdf).digest())
    assert as_it_was(path) == found.document == described
    attach(path, PROOF, found.document.sha256)
    assert path.read_bytes() == pdf + write_revision(read_base(pdf), PROOF), "renewed: after the same PDF"


def test_readers_list_the_attachment_beside_those_that_were_there(pdf: bytes, tmp_path: Path) -> None:
    path = made(tmp_path / "a.pdf", pdf, OTHER_PROOF)
    before, after = (dict(PdfReader(BytesIO(one)).attachments) for one in (pdf, path.read_bytes()))
    own = {name: [content] for name, content in OTHER_PROOF.files}
    assert after == {**before, **own}
    root: Any = PdfReader(path, strict=True).root_object
    assert [one.get_object()["/AFRelationship"] for one in root["/AF"][-3:]] == ["/Supplement"] * 3
    listed = pdfs.run(tmp_path, "qpdf", "--list-attachments", "a.pdf")
    assert all(f"{name} -> " in listed for name in after)


def test_poppler_lists_the_proof_and_takes_it_out(pdf: bytes, tmp_path: Path) -> None:
    made(tmp_path / "a.pdf", pdf, OTHER_PROOF)
    listed = pdfs.run(tmp_path, "pdfdetach", "-list", "a.pdf")
    for name, content in OTHER_PROOF.files:
        assert name in listed
        pdfs.run(tmp_path, "pdfdetach", "-savefile", name, "-o", "saved", "a.pdf")
        assert (tmp_path / "saved").read_bytes() == content


def test_qpdf_finds_no_mistake(pdf: bytes, tmp_path: Path) -> None:
    made(tmp_path / "a.pdf", pdf)
    assert "No syntax or stream encoding errors found" in pdfs.run(tmp_path, "qpdf", "--check", "a.pdf")


def test_pages_look_the_same(pdf: bytes, tmp_path: Path) -> None:
    (tmp_path / "before.pdf").write_bytes(pdf)
    made(tmp_path / "after.pdf", pdf)
    for one in ("before", "after"):
        pdfs.run(tmp_path, "pdftoppm", "-r", "50", f"{one}.pdf", one)
    pages = [sorted(tmp_path.glob(f"{one}-*.ppm")) for one in ("before", "after")]
    assert len(pages[0]) == len(PdfReader(BytesIO(pdf)).pages)
    assert [one.read_bytes() for one in pages[0]] == [one.read_bytes() for one in pages[1]]


def test_what_another_program_adds_is_told(pdf: bytes, tmp_path: Path) -> None:
    path = made(tmp_path / "a.pdf", pdf)
    writer = PdfWriter(path, incremental=True)
    writer.add_annotation(0, FreeText(text="not so", rect=(50, 550, 200, 650)))
    writer.write(path)
    found = carried_in(path)
    assert found.proof == PROOF
    assert found.changed.rule is Rule.P16
    assert found.changed.expected == "the end"
    with pytest.raises(CannotAttach, match="carries a proof, and was changed after certification"):
        as_it_was(path)


def test_a_shadow_revision_is_told(pdf: bytes, tmp_path: Path) -> None:
    """One that shows another page, in the form of ours, before or after it, or as ours."""
    base = read_base(pdf)
    shown = base._replace(catalog=base.catalog | {b"Pages": b"%d 0 R" % base.next_object})
    path = tmp_path / "a.pdf"
    for data in (
        pdf + write_revision(shown, PROOF),
        pdf + write_revision(base, PROOF) + write_revision(shown, PROOF),
        pdf + write_revision(base._replace(catalog=base.catalog | {b"OpenAction": b"[]"}), PROOF),
    ):
        found = carried(path, data)
        assert found.changed.rule is Rule.P16
    before = pdf + write_revision(shown, PROOF).replace(MARK, b"%")
    assert is_refused(carried(path, before + write_revision(base._replace(size_bytes=len(before)), PROOF)), pdf)


def test_attached_twice_is_told(pdf: bytes, tmp_path: Path) -> None:
    once = made(tmp_path / "a.pdf", pdf).read_bytes()
    twice = once + write_revision(read_base(pdf)._replace(size_bytes=len(once)), OTHER_PROOF)
    found = carried(tmp_path / "a.pdf", twice)
    assert found.changed.reason == (
        f"changed after certification: a proof was attached to it twice, the second time after {len(once):,} bytes"
    )
    assert carried(tmp_path / "a.pdf", once + once[len(pdf) :]).changed.rule is Rule.P16, "the same again"


# ---- any change -----------------------------------------------------------------------------------------------------

SAMPLES = {
    "table": pdfs.by_reportlab(),
    "attachments": pdfs.with_attachments(),
    "hand": pdfs.by_hand(),
    "vector": (VECTORS / "object-streams.pdf").read_bytes(),
}
ATTACHED = {
    name: (pdf, pdf + write_revision(read_base(pdf), OTHER_PROOF)) for name, pdf in SAMPLES.items() if name != "vector"
}
MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(st.sampled_from(sorted(ATTACHED)), st.data())
def test_one_byte_changed_anywhere_is_told(tmp_path: Path, name: str, data: st.DataObject) -> None:
    pdf, whole = ATTACHED[name]
    at = data.draw(st.integers(0, len(whole) - 1) | st.integers(len(pdf), len(whole) - 1))
    byte = data.draw(st.integers(0, 255))
    assume(byte != whole[at])
    found = carried(tmp_path / "a.pdf", whole[:at] + bytes([byte]) + whole[at + 1 :])
    assert is_refused(found, pdf) or found.proof != OTHER_PROOF
    if found is not None and found.changed is None and found.proof is not None and at >= len(pdf):
        expected = pdf + write_revision(read_base(pdf), found.proof)
        assert (tmp_path / "a.pdf").read_bytes() == expected, "another proof, which is judged"


@MANY
@given(st.sampled_from(sorted(ATTACHED)), st.data())
def test_bytes_put_in_or_taken_out_anywhere_are_told(tmp_path: Path, name: str, data: st.DataObject) -> None:
    pdf, whole = ATTACHED[name]
    at = data.draw(st.integers(0, len(whole)) | st.just(len(whole)))
    more = data.draw(st.binary(max_size=8) | st.sampled_from([b"\n", b"%\n", b" ", b"\r\n%%EOF\n", whole[len(pdf) :]]))
    end = data.draw(st.integers(at, len(whole)))
    changed = whole[:at] + more + whole[end:]
    assume(changed != whole)
    assert is_refused(carried(tmp_path / "a.pdf", changed), pdf)


@MANY
@given(st.sampled_from(sorted(SAMPLES)), st.lists(st.tuples(st.integers(0), st.binary(max_size=4)), max_size=20))
def test_a_damaged_pdf_gets_a_proof_or_a_refusal(name: str, changes: list[tuple[int, bytes]]) -> None:
    pdf = bytearray(SAMPLES[name])
    for at, new in changes:
        place = max(0, len(pdf) - 1 - at % 1500) if at % 2 else at % len(pdf)
        pdf[place : place + len(new)] = new
    with suppress(CannotAttach):
        assert write_revision(read_base(bytes(pdf)), PROOF)


# ---- refusals -------------------------------------------------------------------------------------------------------


def refused(path: Path, pdf: bytes) -> str:
    path.write_bytes(pdf)
    with pytest.raises(CannotAttach) as raised:
        as_it_was(path)
    assert path.read_bytes() == pdf
    return str(raised.value)


def written(writer: PdfWriter) -> bytes:
    stream = BytesIO()
    writer.write(stream)
    return stream.getvalue()


def with_signature(is_made: bool) -> bytes:
    """In a field below another, with references wherever there may be some."""
    writer = PdfWriter(BytesIO(pdfs.by_reportlab()))
    kind = writer._add_object(NameObject("/Sig"))
    field = DictionaryObject({NameObject("/FT"): kind, NameObject("/T"): TextStringObject("here")})
    if is_made:
        field[NameObject("/V")] = DictionaryObject({NameObject("/Type"): NameObject("/Sig")})
    kids = writer._add_object(ArrayObject([writer._add_object(field)]))
    fields = writer._add_object(ArrayObject([writer._add_object(DictionaryObject({NameObject("/Kids"): kids}))]))
    form = DictionaryObject({NameObject("/Fields"): fields})
    writer.root_object[NameObject("/AcroForm")] = writer._add_object(form)
    return written(writer)


def test_a_signed_pdf_is_refused(tmp_path: Path) -> None:
    told = refused(tmp_path / "a.pdf", with_signature(is_made=True))
    assert "a.pdf is signed: to attach anything would break its signature; leave out --attach" in told
    made(tmp_path / "a.pdf", with_signature(is_made=False))
    form = b"/Type /Catalog /Pages 2 0 R /AcroForm << /Fields [] /SigFlags 3 >>"
    assert "is signed" in refused(tmp_path / "a.pdf", pdfs.by_hand(form))


def test_a_locked_pdf_is_refused(tmp_path: Path) -> None:
    writer = PdfWriter(BytesIO(pdfs.by_reportlab()))
    writer.encrypt("", "owner", algorithm="RC4-128")
    assert "a.pdf is locked (encrypted): nothing can be attached to it; leave out" in refused(
        tmp_path / "a.pdf", written(writer)
    )
    told = refused(tmp_path / "a.pdf", pdfs.by_hand(b"/Type /Catalog /Pages 2 0 R /Perms << /UR3 3 0 R >>"))
    assert "says which changes of it are allowed (Perms)" in told


def test_an_attachment_by_another_program_stays_and_is_no_proof(tmp_path: Path) -> None:
    writer = PdfWriter(BytesIO(pdfs.by_reportlab()))
    writer.add_attachment("proof.tlog-proof", PROOF.proof)
    path = tmp_path / "a.pdf"
    told = refused(path, written(writer))
    assert "has an attachment proof.tlog-proof already, put there by another program" in told
    assert carried_in(path) is None


@pytest.mark.parametrize(
    ("pdf", "why"),
    [
        (b"no PDF at all", "is no PDF file"),
        (b"%PDF-1.7\n", "it does not end as a PDF does"),
        (pdfs.by_reportlab()[:-30], "it does not end as a PDF does"),
        (pdfs.by_reportlab()[10:], "is no PDF file"),
        (b"\n" + pdfs.by_reportlab(), "is no PDF file"),
        (pdfs.by_hand(b"/Type /Catalog"), "is damaged"),
        (pdfs.by_hand(b"/Type /Pages /Pages 2 0 R"), "its catalog is missing"),
        (pdfs.by_hand(b"/Type /Catalog /Pages 2 0 R /Pages 3 0 R"), "a dictionary has an entry twice"),
        (pdfs.by_hand().replace(b"/Size 4", b"/Size 3"), "it has more objects than it says"),
        (pdfs.by_hand().replace(b"/Count 1", b"/Count 0").replace(b"[3 0 R]", b"[     ]"), "it has no page"),
        (pdfs.by_hand(b"/Type /Catalog /Pages 2 0 R /AF 9 0 R"), "its object 9 is missing"),
        (
            pdfs.by_hand(
                b"/Type /Catalog /Pages 2 0 R /Names << /EmbeddedFiles 4 0 R >>", {4: b"<< /Kids [4 0 R 4 0 R] >>"}
            ),
            "its list of attachments does not end",
        ),
    ],
)
def test_what_is_no_sound_pdf_is_refused(tmp_path: Path, pdf: bytes, why: str) -> None:
    told = refused(tmp_path / "a.pdf", pdf)
    assert why in told
    assert told.endswith("leave out --attach: its proof then stands beside it")


def test_a_large_pdf_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "a.pdf", pdfs.by_hand())
    monkeypatch.setattr(pdf_files, "MAX_PDF_BYTES", 100)
    assert "is larger than 0 MiB" in refused(path, pdfs.by_hand())
    monkeypatch.setattr(pdf_files, "_MAX_REVISION_BYTES", 100)
    assert "is no PDF file, or larger than 0 MiB" in refused(path, pdfs.by_hand())
    monkeypatch.setattr(pdf_files, "MAX_PDF_BYTES", 10_000)
    with pytest.raises(CannotAttach, match=r"would carry .* bytes more, which is too much"):
        made(path, pdfs.by_hand())
    assert path.read_bytes() == pdfs.by_hand()


def test_a_pdf_that_pypdf_has_to_mend_is_refused_and_carries_no_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pdf = pdfs.by_hand().replace(b"0000000115", b"0000000117")
    assert "no object begins at byte 117" in refused(tmp_path / "a.pdf", pdf)
    path, reader = made(tmp_path / "b.pdf", pdfs.by_hand()), pdf_reading._reader

    def warning(data: bytes) -> PdfReader:
        logging.getLogger("pypdf._reader").warning("finds fault with it")
        return reader(data)

    monkeypatch.setattr(pdf_reading, "_reader", warning)
    assert (
        "which is damaged, or is written as few PDF files are (pypdf has to mend it)" in carried_in(path).changed.reason
    )
    assert "pypdf has to mend it" in refused(path, pdfs.by_hand())


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "link.pdf").symlink_to("link.pdf")
    for name in ("gone.pdf", "link.pdf"):
        with pytest.raises(UnreadableFile, match=r"cannot be read: .*; nothing is attached to it"):
            attach(tmp_path / name, PROOF, bytes(32))


def test_without_pypdf_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "a.pdf", pdfs.by_reportlab())
    monkeypatch.setitem(sys.modules, "pypdf", None)
    for ask in (carried_in, as_it_was, find_proof):
        with pytest.raises(UnreadableFile, match=r"install it: pip install 'tallystick\[pdf\]'"):
            ask(path)
    path.write_bytes(pdfs.by_reportlab())
    assert find_proof(path).files is None, "what carries no proof is not read with it"


# ---- what is there already ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "catalog", [b"/Names << /EmbeddedFiles 4 0 R /Dests 3 0 R >> /AF [7 0 R]", b"/Names 9 0 R /AF 10 0 R"]
)
def test_a_tree_of_attachments_is_kept_in_order(tmp_path: Path, catalog: bytes) -> None:
    more = dict(pdfs.kids()) | {9: b"<< /EmbeddedFiles 4 0 R /Dests 3 0 R >>", 10: b"[7 0 R]"}
    pdf = pdfs.by_hand(b"/Type /Catalog /Pages 2 0 R " + catalog, more)
    path = made(tmp_path / "a.pdf", pdf)
    root: Any = PdfReader(path).root_object
    names = root["/Names"]["/EmbeddedFiles"]["/Names"]
    assert [one if isinstance(one, bytes) else str(one) for one in names[::2]] == [
        "a",
        "b",
        "proof.tlog-proof",
        "y",
        "z",
    ]
    assert root["/Names"].raw_get("/Dests").idnum == 3
    assert [one.idnum for one in root["/AF"]] == [7, read_base(pdf).next_object + 1]


def test_an_older_update_of_the_pdf_is_part_of_it(tmp_path: Path) -> None:
    writer = PdfWriter(BytesIO(pdfs.by_reportlab()), incremental=True)
    writer.add_annotation(0, FreeText(text="before it was certified", rect=(50, 550, 200, 650)))
    pdf = written(writer)
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf)
    assert as_it_was(path).size_bytes == len(pdf)
    assert carried_in(made(path, pdf)).changed is None
    page: Any = PdfReader(path).pages[0]
    assert len(page["/Annots"]) == 1


def test_what_is_about_another_section_is_not_carried_over() -> None:
    base = read_base(pdfs.by_hand())
    own = (b"Type", b"W", b"Index", b"Length", b"Filter", b"DecodeParms", b"DL", b"XRefStm", b"Prev")
    base.trailer.update(dict.fromkeys((*own, b"Info"), b"77"))
    written = write_revision(base, PROOF)
    assert [one for one in (*own, b"Info") if b"/%b 77" % one in written] == [b"Info"]


def test_a_pdf_may_hold_one_that_carries_a_proof(tmp_path: Path) -> None:
    """Its mark stands at another place than it names: that is no revision of the outer one."""
    inner = made(tmp_path / "inner.pdf", pdfs.by_reportlab()).read_bytes()
    held = b"<< /Length %d >>\nstream\n%b\nendstream" % (len(inner), inner)
    outer = pdfs.by_hand(more={4: held})
    path = made(tmp_path / "outer.pdf", outer)
    assert carried_in(path).changed is None
    path.write_bytes(outer)
    path.with_name("outer.pdf.tlog-proof").write_bytes(b"a proof beside it")
    found = find_proof(path)
    assert (found.is_attached, found.files.proof) == (False, b"a proof beside it")


def test_a_mark_that_was_moved_is_told(tmp_path: Path) -> None:
    whole = made(tmp_path / "a.pdf", pdfs.by_reportlab()).read_bytes()
    found = carried(tmp_path / "a.pdf", whole[:9] + b"%\n" + whole[9:])
    assert (found.proof, found.changed.rule) == (None, Rule.P16)


def test_vectors_are_what_attaching_makes() -> None:
    """Bytes that never change: proofs in PDF files have to be judged the same in decades."""
    hashes = {}
    for path in sorted(VECTORS.glob("*.pdf")):
        data = path.read_bytes()
        if (mark := find_mark(data)) is not None:
            prefix = data[: mark.prefix_bytes]
            assert prefix + write_revision(read_base(prefix), mark.proof) == data, path
            changed = carried_in(path).changed
            is_needless = path.name == "attachments-attached.pdf"
            assert changed is None or (is_needless and "members are attached that the proof has" in changed.reason)
            hashes[path.name] = sha256(data).hexdigest()
    listed = (VECTORS / "SHA256SUMS").read_text().split()
    assert hashes == dict(zip(listed[1::2], listed[::2], strict=True))


# ---- what readers take otherwise ------------------------------------------------------------------------------------


def text_of(number: int, text: bytes) -> tuple[int, bytes]:
    """An object that is a page's content."""
    drawn = b"BT /F1 40 Tf 50 100 Td (%b) Tj ET" % text
    return number, b"<< /Length %d >>\nstream\n%b\nendstream" % (len(drawn), drawn)


def page_of(number: int, parent: int, content: int) -> tuple[int, bytes]:
    font = b"<< /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
    written = b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 500 200] /Contents %d 0 R /Resources << /Font %b >> >>"
    return number, written % (parent, content, font)


PASSED = dict([page_of(3, 2, 4), text_of(4, b"FAILED"), (5, b"null")])


def graded(catalog: bytes = b"", more: dict[int, bytes] | None = None) -> bytes:
    """A page that says FAILED."""
    return pdfs.by_hand(b"/Type /Catalog /Pages 2 0 R " + catalog, PASSED | (more or {}))


def updated(
    entry: bytes = b"", number: int = 4, value: bytes | None = None, trailer: bytes = b"", first: bytes = b""
) -> bytes:
    """The same, with an incremental update that says PASSED; `first`: in the trailer before it."""
    pdf = graded().replace(b"/Root 1 0 R >>", b"/Root 1 0 R %b>>" % first)
    written = b"%d 0 obj\n%b\nendobj\n" % (number, value or text_of(4, b"PASSED")[1])
    row = entry or b"%010d 00000 n \n" % len(pdf)
    before = pdf.rindex(b"xref\n0 ")
    table = b"xref\n%d 1\n%btrailer\n<< /Size 6 /Root 1 0 R /Prev %d %b>>\n" % (number, row, before, trailer)
    return pdf + written + table + b"startxref\n%d\n%%%%EOF\n" % (len(pdf) + len(written))


def ended(old: bytes, new: bytes) -> bytes:
    pdf = updated()
    at = pdf.rindex(b"startxref")
    return pdf[:at] + re.sub(old, new, pdf[at:])


WHOLE = (VECTORS / "linearized-attached.pdf").read_bytes()
LINEARIZED = WHOLE[: WHOLE.index(b"\n" + MARK)]


def nested() -> bytes:
    """An object that begins in the string of another: read as deep as they are nested, each is read as often."""
    pdf = (
        graded(more={5: b"(6 0 obj null endobj )"})
        .replace(b"xref\n0 6\n", b"xref\n0 7\n")
        .replace(b"/Size 6", b"/Size 7")
    )
    return pdf.replace(b"trailer\n", b"%010d 00000 n \ntrailer\n" % pdf.index(b"6 0 obj"))


def predicted(kind: bytes) -> bytes:
    """The row of a table, compressed with a predictor of this kind."""
    held = zlib.compress(kind + b"\2\0\5\0")
    about = b"/Filter /FlateDecode /DecodeParms << /Predictor 15 /Columns 4 >> /Length %d >>\nstream\n%b"
    return about % (len(held), held)


STRANGE = {
    "encrypted before it was updated": (updated(first=b"/Encrypt << >> "), "is locked"),
    "an object 0": (graded().replace(b"0000000000 65535 f", b"0000000009 00000 n"), "it has an object 0"),
    "more rows than bytes": (
        graded().replace(b"xref\n0 6\n", b"xref\n0 99999999\n"),
        "its table of objects is too long",
    ),
    "an object and more in its stream": (
        pdfs.hybrid(b"4 0 << /Type /StructTreeRoot >> 4"),
        "holds objects out of order",
    ),
    "an unusual predictor": (pdfs.hybrid(rows=predicted(b"\1")), "compressed in an unusual way"),
    "numbers too high": (graded().replace(b"/Size 6", b"/Size 2147483647"), "higher than readers take"),
    "linearized, with another first page": (
        LINEARIZED.replace(b"/O 8", b"/O 9"),
        "it says that it is linearized, and has other pages",
    ),
    "more digits": (ended(rb"(\d+)", rb"0000000000\1"), "does not end as a PDF does"),
    "a sign": (ended(rb"(\d+)", rb"+\1"), "does not end as a PDF does"),
    "a form feed": (ended(rb"(\d+)", rb"\1\f"), "does not end as a PDF does"),
    "a space": (ended(rb"(\d+)", rb"\1 "), "does not end as a PDF does"),
    "a comment at the end": (ended(rb"(\d+)", rb"\1 %"), "does not end as a PDF does"),
    "bytes after the end": (updated() + b"\n\n", "does not end as a PDF does"),
    "not at the start of a line": (ended(rb"startxref", rb"% startxref"), "does not end as a PDF does"),
    "trailer in a comment": (
        graded().replace(b"trailer\n", b"%trailer << /Size 6 /Root 3 0 R >>\ntrailer\n"),
        "not in the form of one",
    ),
    "comment after trailer": (graded().replace(b"trailer\n", b"trailer\n%<< >>\n"), "not in the form of one"),
    "two empty lines before the trailer": (graded().replace(b"trailer\n", b"\n\ntrailer\n"), "not in the form of one"),
    "comment in the table": (graded().replace(b"xref\n0 ", b"xref %\n0 "), "not in the form of one"),
    "nested": (graded(more={5: b"[" * 70 + b"]" * 70}), "values are nested too deep"),
    "reference to no object": (graded(b"/Lang 6 0 R "), "refers to objects that it cannot have"),
    "such a reference, deep down": (graded(more={5: b"[<< /A [(x) 9 0 R] >>]"}), "objects that it cannot have"),
    "such a reference in a trailer": (updated(trailer=b"/Info 7 0 R "), "refers to objects that it cannot have"),
    "another generation": (updated(b"%010d 00001 n \n" % len(graded())), "pypdf finds other objects in it"),
    "freed": (updated(b"0000000000 00001 f \n"), "its object 4 was replaced"),
    "freed catalog": (updated(b"0000000000 00001 f \n", number=1), "object 1 is missing"),
    "an entry twice": (graded().replace(b"xref\n0 6\n0000000000", b"xref\n0 1\n0000000000"), "not in the form of one"),
    "in the table and in its stream": (
        pdfs.hybrid().replace(b"0000000000 00000 f", b"0000000009 00000 n"),
        "its object 4 is at two places",
    ),
    "an object within another": (nested(), "a string does not end"),
    "linearized, of another length": (graded(b"/Linearized 1 /L 9999999 "), "says that it is linearized, and is not"),
}


@pytest.mark.parametrize("name", sorted(STRANGE))
def test_what_readers_take_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    pdf, why = STRANGE[name]
    told = refused(tmp_path / "a.pdf", pdf)
    assert re.search(why, told), told


@pytest.mark.parametrize(
    "pdf",
    [graded(), updated(), updated(trailer=b"/Info << /Title (a) >> "), pdfs.hybrid(rows=predicted(b"\2"))],
    ids=str,
)
def test_what_is_shown_stays_the_same(tmp_path: Path, pdf: bytes) -> None:
    (tmp_path / "before.pdf").write_bytes(pdf)
    made(tmp_path / "after.pdf", pdf)
    before, after = (pdfs.run(tmp_path, "pdftotext", f"{one}.pdf", "-") for one in ("before", "after"))
    assert before == after
    for one in ("before", "after"):
        pdfs.run(tmp_path, "pdftoppm", "-r", "50", f"{one}.pdf", one)
    pages = [[page.read_bytes() for page in sorted(tmp_path.glob(f"{one}-*.ppm"))] for one in ("before", "after")]
    assert pages[0] == pages[1] != []
    assert len(PdfReader(tmp_path / "before.pdf").pages) == len(PdfReader(tmp_path / "after.pdf").pages)


@pytest.mark.parametrize(
    "other",
    [
        updated(),
        updated(trailer=b"/Info 3 0 R "),
        updated(number=1, value=b"<< /Type /Catalog /Pages 2 0 R /Lang (en) >>"),
        updated(number=1, value=b"<< /Type /Catalog /Pages 2 0 R /Names << /Dests 5 0 R >> >>"),
    ],
)
def test_the_finished_file_has_to_show_the_same(other: bytes) -> None:
    before = Pdf(graded())
    before.check_shown_by(Pdf(graded() + write_revision(read_base(graded()), PROOF)))
    with pytest.raises(MalformedPdf, match="would not show the same"):
        before.check_shown_by(Pdf(other))


def test_the_finished_file_is_compared_with_the_pdf_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reader before and the writer agree on."""
    path = made(tmp_path / "a.pdf", graded())
    base = Pdf.base

    def as_of_another(pdf: Pdf) -> PdfBase:
        return base(pdf)._replace(catalog=base(pdf).catalog | {b"Pages": b"3 0 R"})

    monkeypatch.setattr(Pdf, "base", as_of_another)
    path.write_bytes(graded() + write_revision(read_base(graded()), PROOF))
    changed = carried_in(path).changed
    assert changed is not None
    assert "with its proof it would not show the same" in changed.reason


SIGNATURE = b"<< /Filter /Adobe.PPKLite /ByteRange [0 1 2 3] /Contents <00> >>"


@pytest.mark.parametrize(
    "pdf",
    [
        graded(more={5: SIGNATURE}),
        graded(more={5: b"<< /Subtype /Widget /FT /Sig /V %b >>" % SIGNATURE}),
        graded(more={5: b"<< /Type /DocTimeStamp >>"}),
        graded(more={5: b"<< /T#79pe /S#69g >>"}),
        graded(b"/DSS << /Certs [] >> "),
        graded(b"/AcroForm << /Fields [] /SigFlags 5 0 R >> ", {5: b"3"}),
    ],
)
def test_a_signature_is_found_wherever_it_is(tmp_path: Path, pdf: bytes) -> None:
    assert "is signed" in refused(tmp_path / "a.pdf", pdf)


@pytest.mark.parametrize(
    "name",
    [
        b"(proof.members)",
        b"(\\160roof.members)",
        b"<feff" + "proof.members".encode("utf-16-be").hex().encode() + b">",
        b"<fffe" + "proof.members".encode("utf-16-le").hex().encode() + b">",
        b"<feff001b0065006e001b" + "proof.members".encode("utf-16-be").hex().encode() + b">",
        b"(\xef\xbb\xbfproof.members)",
    ],
)
def test_our_names_are_found_in_any_encoding(tmp_path: Path, name: bytes) -> None:
    """As a name in the tree, or only as the UF of a file."""
    for catalog, specification in ((name, b"(x)"), (b"(x)", b"<< /Type /Filespec /F (x) /UF %b >>" % name)):
        tree = b"/Names << /EmbeddedFiles << /Names [%b 5 0 R] >> >> " % catalog
        told = refused(tmp_path / "a.pdf", graded(tree, {5: specification}))
        assert "has an attachment proof.members already" in told


def object_stream(entries: int, padding: int) -> bytes:
    """A PDF whose objects from 6 on are in an object stream that is large only when it is decompressed."""
    header = b" ".join(b"%d %d" % (6 + one, 2 * one) for one in range(entries)) + b" " * padding
    held = zlib.compress(header + b"1 " * entries)
    more = b"/Type /ObjStm /N %d /First %d /Filter /FlateDecode" % (entries, len(header))
    pdf = graded(more={5: b"<< %b /Length %d >>\nstream\n%b\nendstream" % (more, len(held), held)})
    pdf = pdf[: pdf.rindex(b"xref\n0 ")]
    places = [pdf.index(b"\n%d 0 obj" % one) + 1 for one in range(1, 6)]
    rows = b"".join(b"\1" + one.to_bytes(4, "big") + b"\0\0" for one in places)
    rows += b"".join(b"\2\0\0\0\5" + one.to_bytes(2, "big") for one in range(entries))
    size = 6 + entries
    about = b"/Type /XRef /W [1 4 2] /Index [1 %d] /Size %d /Root 1 0 R" % (size - 1, size + 1)
    table = b"%d 0 obj\n<< %b /Length %d >>\nstream\n%b\nendstream\nendobj\n" % (size, about, len(rows), rows)
    return pdf + table + b"startxref\n%d\n%%%%EOF\n" % len(pdf)


def test_what_would_take_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    assert "too large when it is decompressed" in refused(path, object_stream(900, 30_000_000))
    pages = {one: b"<< /Type /Pages /Kids [%d 0 R %d 0 R] >>" % (one + 1, one + 1) for one in range(6, 50)}
    wide = {2: pages[6].replace(b"7", b"6")} | PASSED | pages | {50: PASSED[3]}
    assert "its tree of pages does not end" in refused(path, pdfs.by_hand(more=wide))
    loop = graded(b"/Names << /EmbeddedFiles 5 0 R >> ", {5: b"<< /Kids [%b] >>" % (b"5 0 R " * 5_000)})
    assert "its list of attachments does not end" in refused(path, loop)


@pytest.mark.parametrize(
    ("bound", "most", "why"),
    [("_MOST_ENTRIES", 5, "its table of objects is too long"), ("_MOST_DECODED_BYTES", 4, "when it is decompressed")],
)
def test_what_a_pdf_makes_a_reader_hold_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, most: int, why: str
) -> None:
    pdf = pdfs.hybrid(rows=predicted(b"\2"))
    path = made(tmp_path / "a.pdf", pdf)
    monkeypatch.setattr(pdf_objects, bound, most)
    assert why in carried_in(path).changed.reason
    assert why in refused(path, pdf)


# ---- what is attached -----------------------------------------------------------------------------------------------


def test_what_the_proof_does_not_lack_is_not_carried(tmp_path: Path) -> None:
    proof = find_mark((VECTORS / "attachments-attached.pdf").read_bytes()).proof.proof
    pdf = pdfs.by_hand()
    for needless in (AttachedProof(proof, members=b"x"), AttachedProof(proof, payload=b"BT (PASSED) Tj ET")):
        found = carried(tmp_path / "a.pdf", pdf + write_revision(read_base(pdf), needless))
        assert found.changed.rule is Rule.P16
        assert "are attached that the proof has itself" in found.changed.reason
        with pytest.raises(CannotAttach, match="cannot carry this proof"):
            made(tmp_path / "a.pdf", pdf, needless)


# ---- writing --------------------------------------------------------------------------------------------------------


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    kept = tmp_path / "kept" / "a.pdf"
    kept.write_bytes(pdfs.by_reportlab())
    (tmp_path / "link.pdf").symlink_to(kept)
    attach(tmp_path / "link.pdf", PROOF, sha256(pdfs.by_reportlab()).digest())
    assert (tmp_path / "link.pdf").is_symlink()
    assert carried_in(kept).proof == PROOF


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.pdf"
    path.write_bytes(pdfs.by_reportlab())
    monkeypatch.setattr(*((os, "fsync", fail) if failing == "fsync" else (Path, "replace", fail)))
    with pytest.raises(CannotMake, match="No space left on device; it is as it was"):
        attach(path, PROOF, sha256(pdfs.by_reportlab()).digest())
    assert path.read_bytes() == pdfs.by_reportlab()
    assert [one.name for one in tmp_path.iterdir()] == ["a.pdf"]


def test_owner_and_mode_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdfs.by_hand())
    path.chmod(0o640)
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "chown", lambda _, user, group: given.append((user, group)))
    attach(path, PROOF, sha256(pdfs.by_hand()).digest())
    kept = path.stat()
    assert given == [(kept.st_uid, -1), (-1, kept.st_gid)]
    assert kept.st_mode & 0o777 == 0o640


def test_a_group_that_may_not_be_given_gets_no_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, given = tmp_path / "a.pdf", os.chown
    path.write_bytes(pdfs.by_hand())
    try:
        os.chown(path, -1, 12_345)
    except PermissionError:
        pytest.skip("NOT CHECKED, groups that may not be given: only root can give a file any group")
    path.chmod(0o664)

    def refuse(at: Path, user: int, group: int) -> None:
        if group != -1:
            raise PermissionError
        given(at, user, group)

    monkeypatch.setattr(os, "chown", refuse)
    attach(path, PROOF, sha256(pdfs.by_hand()).digest())
    assert path.stat().st_gid != 12_345
    assert path.stat().st_mode & 0o777 == 0o604


def test_a_file_of_several_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdfs.by_hand())
    (tmp_path / "b.pdf").hardlink_to(path)
    assert "has several names (hard links), of which one would carry the proof" in refused(path, pdfs.by_hand())
    with pytest.raises(CannotAttach, match="hard links"):
        attach(path, PROOF, sha256(pdfs.by_hand()).digest())
    assert path.samefile(tmp_path / "b.pdf")


def test_what_one_left_that_was_killed_is_removed_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdfs.by_hand())
    subprocess.run([sys.executable, "-c", _CUT_OFF, str(path), "1"], check=False, timeout=60)
    (left,) = tmp_path.glob(".tallystick-*")
    others = [tmp_path / ".tallystick-others", left.with_name(left.name + "-holds-more")]
    for one in others:
        one.mkdir()
    (others[1] / "kept").touch()
    attach(path, PROOF, sha256(pdfs.by_hand()).digest())
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])


def test_only_one_attaches_to_a_file_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdfs.by_hand())
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(CannotAttach, match=r"another program attaches a proof to .*a\.pdf; try again"):
            attach(path, PROOF, sha256(pdfs.by_hand()).digest())
    assert path.read_bytes() == pdfs.by_hand()


def test_a_folder_that_cannot_be_synced_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(pdf_files, "sync_folder", fail)
    with pytest.raises(CannotMake, match="Input/output error; it carries its proof, though perhaps not after a power"):
        made(tmp_path / "a.pdf", pdfs.by_reportlab())
    assert carried_in(tmp_path / "a.pdf").proof == PROOF


def test_another_program_that_writes_meanwhile_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdfs.by_reportlab())
    sync = os.fsync

    def write_then_sync(descriptor: int) -> None:
        path.write_bytes(pdfs.by_fpdf())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", write_then_sync)
    with pytest.raises(CannotAttach, match="changed meanwhile"):
        attach(path, PROOF, sha256(pdfs.by_reportlab()).digest())
    assert path.read_bytes() == pdfs.by_fpdf()


_CUT_OFF = """
import os, signal, sys
from hashlib import sha256
from pathlib import Path
from tallystick.client.pdf_files import attach
from tests.pdfs import PROOF

calls = 0
def dying(name, real):
    def call(*args, **more):
        global calls
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **more)
    return call

path = Path(sys.argv[1])
digest = sha256(path.read_bytes()).digest()
os.fsync = dying("fsync", os.fsync)
os.replace = dying("replace", os.replace)
os.rename = dying("rename", os.rename)
attach(path, PROOF, digest)
"""


def test_killed_anywhere_the_file_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    pdf, path = pdfs.by_reportlab(), tmp_path / "a.pdf"
    new = pdf + write_revision(read_base(pdf), PROOF)
    seen = set()
    for call in range(1, 10):
        path.write_bytes(pdf)
        done = subprocess.run([sys.executable, "-c", _CUT_OFF, str(path), str(call)], check=False, timeout=60)
        assert done.returncode in (0, -signal.SIGKILL)
        assert path.read_bytes() in (pdf, new)
        seen.add((done.returncode, path.read_bytes() == new))
        assert files_below(tmp_path)[0] == [path], "what is half done is certified by nobody"
        if not done.returncode:
            break
    assert {(-signal.SIGKILL, False), (0, True)} <= seen
